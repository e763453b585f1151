"""What a change of the pools does to their cost, and how it is shown."""

import io
from decimal import Decimal

from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console

from gpuslice.catalog.prices import PriceTable, on_demand
from gpuslice.cost_change import Range, cost_change
from gpuslice.costs import most_per_month
from gpuslice.load import load_settings
from offline.base import Base
from offline.change import change_json, show_change
from tests.helpers import MIG, PRICES, SHARED, WHOLE, config_of, pools, stack_of

TEN = {**SHARED, "limits": {"nodes": 10}}
T4_NODE = Decimal("378.72")  # 0.526 x 720


def pool(base=TEN, **changes):
    return pools({**base, **changes})[0]


def change(before, after, before_prices=PRICES, after_prices=PRICES):
    return cost_change(before, after, before_prices, after_prices)


def one(before, after, **options):
    (found,) = change([before], [after], **options).pools
    return found


def amounts(found):
    return found.before, found.after, found.change


def test_the_same_pools_change_nothing():
    found = change(pools(TEN, MIG), pools(TEN, MIG))
    assert [p.kind for p in found.pools] == ["unchanged", "unchanged"]
    assert found.total.change == 0
    assert found.total.before == found.total.after == 10 * T4_NODE + most_per_month(pool(MIG), PRICES)


def test_a_pool_that_is_new_cost_nothing_before():
    found = change(pools(TEN), pools(TEN, MIG)).pools[1]
    assert (found.name, found.kind, found.what) == ("a100-mig", "added", ())
    assert amounts(found.month) == (0, most_per_month(pool(MIG), PRICES), most_per_month(pool(MIG), PRICES))
    assert [(s.resource, s.before) for s in found.slices] == [("nvidia.com/mig-1g.5gb", None)]


def test_a_pool_that_is_gone_stands_last_and_costs_nothing_after():
    found = change(pools(MIG, TEN), pools(TEN)).pools
    assert [(p.name, p.kind) for p in found] == [("t4-shared", "unchanged"), ("a100-mig", "removed")]
    assert found[1].month.after == 0
    assert found[1].month.change == -most_per_month(pool(MIG), PRICES)
    assert found[1].slices[0].after is None


def test_a_limit_changes_the_month_and_not_the_slice():
    found = one(pool(limits={"nodes": 10}), pool(limits={"nodes": 12}))
    assert found.what == ("limits.nodes 10 -> 12",)
    assert amounts(found.month) == (10 * T4_NODE, 12 * T4_NODE, 2 * T4_NODE)
    assert found.slices[0].before == found.slices[0].after


def test_replicas_change_the_slice_and_not_the_month():
    found = one(pool(), pool(sharing={"mode": "time-slicing", "replicas": 2}))
    assert (found.kind, found.what) == ("changed", ("sharing time-slicing-4 -> time-slicing-2",))
    assert found.month.change == 0
    assert (found.slices[0].before, found.slices[0].after) == (
        Range(Decimal("0.1315"), Decimal("0.1315")),
        Range(Decimal("0.263"), Decimal("0.263")),
    )


def test_types_change_both_and_a_slice_has_the_least_and_the_most():
    found = one(pool(), pool(instanceTypes=["g4dn.2xlarge", "g4dn.12xlarge"]))
    assert found.what == ("with g4dn.2xlarge, g4dn.12xlarge", "without g4dn.xlarge")
    assert found.slices[0].after == Range(Decimal("0.188"), Decimal("0.2445"))
    assert found.month.after == 10 * Decimal("2816.64")


def test_another_layout_changes_the_resources():
    found = one(pool(MIG), pool(MIG, sharing={"mode": "mig", "layout": {"2g.10gb": 3, "1g.5gb": 1}}))
    assert [(s.resource, s.before is None, s.after is None) for s in found.slices] == [
        ("nvidia.com/mig-1g.5gb", False, False),
        ("nvidia.com/mig-2g.10gb", True, False),
    ]


def test_spot_for_on_demand_is_said_though_list_prices_do_not_show_it():
    found = one(pool(capacityTypes=["spot", "on-demand"]), pool(capacityTypes=["on-demand"]))
    assert (found.kind, found.what) == ("changed", ("capacityTypes spot, on-demand -> on-demand",))
    assert found.month.change == 0


def test_what_has_no_bearing_on_the_cost_is_no_change():
    assert one(pool(), pool(labels={"team": "a"}, rootVolume="200Gi")).kind == "unchanged"


def test_a_renamed_pool_is_one_removed_and_one_added():
    found = change([pool()], [pool(name="other")]).pools
    assert [(p.name, p.kind) for p in found] == [("other", "added"), ("t4-shared", "removed")]


def test_another_region_changes_the_price_of_the_same_pool():
    found = change([pool()], [pool()], PRICES, on_demand("eu-central-1"))
    assert found.regions == ("us-east-1", "eu-central-1")
    assert (found.pools[0].kind, found.pools[0].what) == ("changed", ())
    assert found.pools[0].month.change == 10 * (Decimal("0.658") - Decimal("0.526")) * 720


def test_what_is_not_known_is_never_taken_as_nothing():
    unpriced = pool(WHOLE, instanceTypes=["p5e.48xlarge"])
    found = change([pool()], [pool(), unpriced])
    assert amounts(found.pools[1].month) == (0, None, None)
    assert found.pools[1].slices[0].after is None
    assert amounts(found.total) == (10 * T4_NODE, None, None)


@given(st.integers(1, 99), st.integers(1, 99), st.sampled_from(["g4dn.xlarge", "g5.xlarge", "p5e.48xlarge"]))
def test_the_change_is_the_difference_of_the_two_and_turns_with_them(before, after, type_):
    one, two = (
        pool(WHOLE, instanceTypes=[type_], limits={"nodes": nodes}) if type_ == "p5e.48xlarge"
        else pool(instanceTypes=[type_], limits={"nodes": nodes})
        for nodes in (before, after)
    )  # fmt: skip
    there, back = change([one], [two]).total, change([two], [one]).total
    assert (there.before, there.after) == (most_per_month(one, PRICES), most_per_month(two, PRICES))
    assert there.change == (None if back.change is None else -back.change)


# --- shown --------------------------------------------------------------------------------------------------------


def shown(base: Base, settings) -> str:
    output = io.StringIO()
    show_change(Console(file=output, width=80, highlight=False), base, settings)
    return output.getvalue()


def rows(text: str) -> list[list[str]]:
    return [line.split() for line in text.splitlines()]


def test_the_table_has_each_pool_that_changed_and_the_sum():
    before = stack_of(TEN, MIG)
    after = stack_of({**TEN, "instanceTypes": ["g4dn.xlarge", "g4dn.2xlarge"], "limits": {"nodes": 5}}, MIG, WHOLE)
    text = shown(Base("origin/main (1234567)", before), after)
    assert text.startswith("Change in cost against origin/main (1234567)")
    found = rows(text)
    assert ["t4-shared", "$3,787.20", "$2,707.20", "-$1,080.00"] in found
    assert ["nvidia.com/gpu.shared", "0.1315", "0.1315", "to", "0.1880", "+0.0000", "to", "+0.0565"] in found
    assert ["h100-whole", "$0.00", "$79,257.60", "+$79,257.60"] in found
    assert ["nvidia.com/gpu", "-", "6.8800", "-"] in found
    assert ["all", "pools", "$35,406.20", "$113,583.80", "+$78,177.60"] in found
    assert "t4-shared changed: limits.nodes 10 -> 5; with g4dn.2xlarge\nh100-whole added\n1 pool unchanged" in text
    assert "a100-mig" not in text
    assert max(map(len, text.splitlines())) <= 80


def test_without_a_change_there_is_one_line():
    text = shown(Base("HEAD (1234567)", stack_of(TEN)), stack_of(TEN))
    assert text == "No change in cost against HEAD (1234567): $3,787.20 a month for all nodes.\n"


def test_a_new_stack_was_not_paid_before():
    text = shown(Base("HEAD (1234567)", None), stack_of(TEN))
    assert "The stack is new: HEAD (1234567) has no file of it." in text
    assert ["t4-shared", "$0.00", "$3,787.20", "+$3,787.20"] in rows(text)


def test_a_base_that_is_refused_is_said_without_figures():
    base = Base("v1 (1234567)", None, "gpu-slicing:pools[0].x: unknown key.\nanother [red]one[/]")
    text = " ".join(shown(base, stack_of(TEN)).split())
    assert text == (
        "The change in cost is not known: today's rules refuse the stack file of v1 (1234567)."
        " gpu-slicing:pools[0].x: unknown key. another [red]one[/]"
    )
    assert change_json(base, stack_of(TEN)) == {"base": base.label, "problem": base.problem}


def test_prices_of_two_regions_are_named():
    before, after = (
        load_settings(config_of({"pools": [TEN]}, region), "prod") for region in ("us-east-1", "eu-central-1")
    )
    assert "Prices of us-east-1 before, of eu-central-1 after." in shown(Base("HEAD", before), after)
    assert "Prices of" not in shown(Base("HEAD", before), stack_of({**TEN, "limits": {"nodes": 1}}))


def test_a_type_without_a_price_is_shown_as_such():
    found = rows(shown(Base("HEAD", stack_of(TEN)), stack_of(TEN, {**WHOLE, "instanceTypes": ["p5e.48xlarge"]})))
    assert ["h100-whole", "$0.00", "no", "price", "not", "known"] in found
    assert ["all", "pools", "$3,787.20", "no", "price", "not", "known"] in found


def test_a_long_name_is_folded_and_no_figure_is():
    name = "inference-for-the-whole-of-the-department-a"
    types = ["g4dn.xlarge", "g4dn.12xlarge"]
    before = stack_of({**TEN, "name": name, "instanceTypes": types, "limits": {"nodes": 100}})
    text = shown(Base("HEAD", before), stack_of({**TEN, "name": name, "limits": {"nodes": 100}}))
    assert max(map(len, text.splitlines())) <= 80
    assert "…" not in text
    assert any(row[-3:] == ["$281,664.00", "$37,872.00", "-$243,792.00"] for row in rows(text))
    assert "0.1315 to 0.2445" in text


def test_json_has_both_sides_and_what_changed():
    after = stack_of({**TEN, "limits": {"nodes": 12}})
    assert change_json(Base("HEAD", stack_of(TEN)), after) == {
        "base": "HEAD",
        "newStack": False,
        "priceRegion": {"before": "us-east-1", "after": "us-east-1"},
        "usdPerMonthAtLimit": {"before": 3787.2, "after": 4544.64, "change": 757.44},
        "pools": [
            {
                "name": "t4-shared",
                "change": "changed",
                "what": ["limits.nodes 10 -> 12"],
                "usdPerMonthAtLimit": {"before": 3787.2, "after": 4544.64, "change": 757.44},
                "slices": [
                    {
                        "resource": "nvidia.com/gpu.shared",
                        "usdPerSliceHour": {
                            "before": {"min": 0.1315, "max": 0.1315},
                            "after": {"min": 0.1315, "max": 0.1315},
                        },
                    }
                ],
            }
        ],
    }
    assert change_json(Base("HEAD", None), after)["newStack"] is True


def test_prices_of_ones_own_can_be_compared_too():
    cheap = PriceTable("us-east-1", "", "mine.csv", {"g4dn.xlarge": Decimal("0.1")})
    assert one(pool(), pool(), after_prices=cheap).month.after == 10 * 72
