"""Money: list prices, a month of 720 hours, and shares of a node's price that always add up to it."""

from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gpuslice.catalog import instance_types
from gpuslice.catalog.prices import on_demand, stack_prices
from gpuslice.costs import basis, costs_json, most_per_month, node_month, pool_costs, unpriced
from gpuslice.pools import Pool
from gpuslice.sharing.mig import layouts
from tests.helpers import MIG, PRICES, SHARED, WHOLE, pool

HOURS = 720

# Node, sharing, slices of a node, $ of a node and of a slice for an hour: on-demand list prices of us-east-1 as
# Karpenter's AWS provider has them (pkg/providers/pricing, generated 2026-07-20), divided by hand.
TABLE = [
    ("g4dn.xlarge", {"mode": "time-slicing", "replicas": 4}, 4, "0.526", "0.132"),
    ("g5.xlarge", {"mode": "time-slicing", "replicas": 4}, 4, "1.006", "0.252"),
    ("g6.xlarge", {"mode": "time-slicing", "replicas": 4}, 4, "0.805", "0.201"),
    ("g6f.large", {"mode": "exclusive"}, 1, "0.202", "0.202"),
    ("p4d.24xlarge", {"mode": "mig", "layout": {"1g.5gb": 7}}, 56, "21.958", "0.392"),
    ("p4de.24xlarge", {"mode": "mig", "layout": {"1g.10gb": 7}}, 56, "27.447", "0.490"),
    ("p5.4xlarge", {"mode": "mig", "layout": {"1g.10gb": 7}}, 7, "6.880", "0.983"),
    ("p5.48xlarge", {"mode": "mig", "layout": {"1g.10gb": 7}}, 56, "55.040", "0.983"),
    ("p5en.48xlarge", {"mode": "mig", "layout": {"1g.18gb": 7}}, 56, "63.296", "1.130"),
    ("p6-b200.48xlarge", {"mode": "mig", "layout": {"1g.23gb": 7}}, 56, "113.933", "2.035"),
]


def of(type_: str, sharing: dict) -> Pool:
    return pool(WHOLE, instanceTypes=[type_], sharing=sharing)


def node_price(found: Pool) -> Decimal:
    """The price of a node, from the prices of its slices."""
    (t,) = found.types
    prices = [found.slice_price(r, t, PRICES) * found.slices(t)[r.name] for r in found.resources]
    return sum(prices, Decimal(0))


@pytest.mark.parametrize(("type_", "sharing", "slices", "node", "slice_"), TABLE, ids=[row[0] for row in TABLE])
def test_the_table_of_prices(type_, sharing, slices, node, slice_):
    found = of(type_, sharing)
    (row,) = pool_costs(found, PRICES)
    assert row.slices_per_node == slices
    assert f"{instance_types()[type_].usd_per_hour:.3f}" == node
    assert f"{row.usd_per_slice_hour:.3f}" == slice_


def test_four_quarters_of_one_gpu_against_four_gpus():
    """Four workloads that each keep a quarter of a T4 busy: four g4dn.2xlarge, or one with four slices."""
    found = pool(instanceTypes=["g4dn.2xlarge"])
    (row,) = pool_costs(found, PRICES)
    assert row.usd_per_node_month == Decimal("541.44")
    assert 4 * row.usd_per_node_month == Decimal("2165.76")
    assert 4 * row.usd_per_slice_hour * HOURS == Decimal("541.44")


@given(st.sampled_from([t for t in instance_types().values() if not t.fractional]), st.integers(2, 8))
def test_replicas_share_the_whole_price(instance_type, replicas):
    settings = {"mode": "time-slicing", "replicas": replicas, "minMemory": "1Mi"}
    if instance_type.gpu_memory_mib // replicas <= 512:
        return
    found = of(instance_type.name, settings)
    if instance_type.usd_per_hour is None:
        assert found.slice_price(found.resources[0], instance_type, PRICES) is None
    else:
        assert abs(node_price(found) - instance_type.usd_per_hour) < Decimal("1e-20")


@given(st.sampled_from(layouts("A100-40GB")))
def test_mig_slices_share_the_whole_price(layout):
    """Also where a layout leaves a part of the GPU unused: what is bought is paid by somebody."""
    found = of("p4d.24xlarge", {"mode": "mig", "layout": layout})
    assert abs(node_price(found) - instance_types()["p4d.24xlarge"].usd_per_hour) < Decimal("1e-20")


def test_a_larger_slice_is_never_cheaper():
    found = of("p4d.24xlarge", {"mode": "mig", "layout": {"1g.5gb": 2, "2g.10gb": 1, "3g.20gb": 1}})
    prices = [row.usd_per_slice_hour for row in pool_costs(found, PRICES)]
    assert prices == sorted(prices)


def test_sharing_never_makes_a_pods_share_dearer():
    whole = of("g4dn.xlarge", {"mode": "exclusive"})
    for replicas in range(2, 9):
        shared = of("g4dn.xlarge", {"mode": "time-slicing", "replicas": replicas})
        assert shared.slice_price(shared.resources[0], shared.types[0], PRICES) < whole.slice_price(
            whole.resources[0], whole.types[0], PRICES
        )


def test_a_month_is_rounded_to_the_cent():
    assert node_month(instance_types()["p4d.24xlarge"], PRICES) == Decimal("15809.50")  # 21.957642 x 720 = 15809.502...


def test_the_most_that_a_pool_may_cost():
    found = pool(instanceTypes=["g4dn.xlarge", "g4dn.12xlarge"], limits={"nodes": 10})
    assert most_per_month(found, PRICES) == 10 * node_month(instance_types()["g4dn.12xlarge"], PRICES)


def test_a_type_without_a_price_has_none_anywhere():
    found = of("p5e.48xlarge", {"mode": "exclusive"})
    (row,) = pool_costs(found, PRICES)
    assert row.usd_per_slice_hour is row.usd_per_node_month is None
    assert most_per_month(found, PRICES) is None
    assert found.output(PRICES)["resources"][0]["pricePerSliceHour"] == {}
    assert costs_json([found], "us-east-1", PRICES)["pools"][0]["slices"][0]["usdPerSliceHour"] is None


def test_a_maximum_is_not_known_where_one_price_is_not():
    assert most_per_month(pool(WHOLE, instanceTypes=["p5en.48xlarge", "p5e.48xlarge"]), PRICES) is None


def test_one_row_for_each_type_and_resource():
    found = pool(MIG, sharing={"mode": "mig", "layout": {"1g.5gb": 3, "2g.10gb": 2}})
    assert [(r.instance_type, r.resource) for r in pool_costs(found, PRICES)] == [
        ("p4d.24xlarge", "nvidia.com/mig-1g.5gb"),
        ("p4d.24xlarge", "nvidia.com/mig-2g.10gb"),
    ]


def test_the_basis_names_the_month_the_prices_and_their_date():
    text = basis([pool()], "us-east-1", PRICES)
    assert "list prices of us-east-1, 2026-07-20; a month has 720 hours" in text
    assert "This stack" not in text
    assert "No price" not in text


def test_a_stack_in_another_region_has_the_prices_of_that_region():
    prices = stack_prices("eu-central-1")
    (row,) = pool_costs(pool(), prices)
    assert row.usd_per_node_month == Decimal("0.658") * HOURS
    assert pool().output(prices)["resources"][0]["pricePerSliceHour"] == {"g4dn.xlarge": 0.1645}
    assert pool().output(prices)["priceRegion"] == "eu-central-1"
    text = basis([pool()], "eu-central-1", prices)
    assert "list prices of eu-central-1, 2026-01-21" in text
    assert "This stack" not in text


def test_a_region_without_prices_is_said_and_not_hidden():
    prices = stack_prices("cn-north-1")
    data = costs_json([pool()], "cn-north-1", prices)
    assert data["priceRegion"] == pool().output(prices)["priceRegion"] == "us-east-1"
    assert "This stack is in cn-north-1, whose prices are not known here" in data["basis"]


def test_a_type_without_a_price_in_the_region_is_named_and_never_free():
    prices = on_demand("eu-west-1")
    found = [pool(instanceTypes=["g4dn.xlarge"]), pool(WHOLE, instanceTypes=["p5.48xlarge"])]
    assert unpriced(found, prices) == costs_json(found, "eu-west-1", prices)["unpriced"] == ["p5.48xlarge"]
    assert basis(found, "eu-west-1", prices).endswith(" No price in eu-west-1: p5.48xlarge.")
    (row,) = pool_costs(found[1], prices)
    assert row.usd_per_slice_hour is row.usd_per_node_month is most_per_month(found[1], prices) is None


def test_json_has_numbers_and_camel_case():
    data = costs_json([pool(SHARED, limits={"nodes": 3})], "us-east-1", PRICES)
    assert data["hoursPerMonth"] == HOURS
    assert (data["priceRegion"], data["priceDate"]) == ("us-east-1", "2026-07-20")
    assert "karpenter" in data["priceSource"]
    (found,) = data["pools"]
    assert found["maxNodes"] == 3
    assert found["usdPerMonthAtLimit"] == pytest.approx(3 * 378.72)
    assert found["slices"] == [
        {
            "pool": "t4-shared",
            "mode": "time-slicing",
            "isolation": "none",
            "instanceType": "g4dn.xlarge",
            "gpus": 1,
            "resource": "nvidia.com/gpu.shared",
            "slicesPerNode": 4,
            "memoryMiB": 3584,
            "usdPerSliceHour": 0.1315,
            "usdPerNodeMonth": 378.72,
        }
    ]
