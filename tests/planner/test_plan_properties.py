"""What holds of every plan: it is valid, the order of things is nothing to it, and its costs compare as they must."""

import copy

from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st
from plan_checker import check
from plan_rules import cheapest
from planrun import answer_of, request, workload

FEW = settings(deadline=None, max_examples=25, suppress_health_check=list(HealthCheck))
SINGLE = ["g4dn.xlarge", "g4dn.2xlarge", "g5.xlarge", "g6.xlarge", "g6e.xlarge"]
SMALL = [*SINGLE, "g4dn.12xlarge", "g6f.large", "g6f.4xlarge", "p5.4xlarge", "g5g.xlarge"]
ALL = [*SMALL, "p4d.24xlarge", "p4de.24xlarge", "p5en.48xlarge", "g7e.2xlarge", "g7.2xlarge"]
SECONDS = 0.7


@st.composite
def workloads(
    draw, most=6, count=12, gpus=(None, "t4", "a10g", "a100-40gb", "h100-80gb"), groups=("", "x", "y"), hard=True
):
    found = []
    for number in range(draw(st.integers(1, most))):
        p95 = draw(st.one_of(st.sampled_from([0.05, 0.1, 0.125, 0.2, 0.25, 1 / 3, 0.5, 0.9, 1.0]), st.floats(0.001, 1)))
        more = {
            "memory": draw(st.sampled_from([1, 1000, 2349, 3072, 3584, 3585, 4608, 7680, 15_000, 40_000])),
            "gpu": draw(st.sampled_from(gpus)),
            "cpu_milli": draw(st.sampled_from([0, 0, 250, 930, 1860, 3720])),
            "ram_mib": draw(st.sampled_from([0, 0, 1024, 4741, 9000])),
            "group": draw(st.sampled_from(groups)),
        }
        if hard:
            more["isolation"] = draw(st.sampled_from(["none", "none", "hardware"]))
            more["latency"] = draw(st.sampled_from(["tolerant", "tolerant", "critical"]))
        amount = draw(st.integers(1, count))
        found.append(workload(f"w{number}", amount, p95=max(p95, 1e-6), mean=p95 / 2, **more))
    return found


def some(types, most=4):
    return st.lists(st.sampled_from(types), min_size=1, max_size=most, unique=True)


OPTIONS = st.fixed_dictionaries(
    {},
    optional={
        "efficiency": st.sampled_from([1_000_000, 840_000, 500_000]),
        "headroom": st.sampled_from(["advise", "require"]),
        "max_replicas": st.sampled_from([1, 2, 3, 7, 48]),
        "mig_tax": st.sampled_from([0, 200_000]),
        "hours_per_month": st.sampled_from([1, 730, 744]),
    },
)


def cost(answer):
    return round(answer["after"]["usdPerHour"] * 1e6)


def bound(answer):
    return round(answer["lowerBound"]["usdPerHour"] * 1e6)


def proven(*answers):
    return all(cost(a) == bound(a) for a in answers)


def left(answer):
    return {entry["workload"] for entry in answer["unplaced"]}


def solved(plain, method="exact"):
    answer = answer_of(plain, method=method, seconds=SECONDS)
    assert check(plain, answer) == []
    return answer


@FEW
@given(workloads(count=300), some(ALL), OPTIONS)
def test_the_greedy_plan_is_valid(wanted, candidates, options):
    solved(request(*wanted, candidates=candidates, **options), "greedy")


@FEW
@given(workloads(most=4), some(SMALL), OPTIONS)
def test_the_exact_plan_is_valid_and_not_dearer_than_the_greedy_one(wanted, candidates, options):
    plain = request(*wanted, candidates=candidates, **options)
    exact, greedy = solved(plain), solved(plain, "greedy")
    assert bound(greedy) <= bound(exact) <= cost(exact) <= cost(greedy)
    assert left(exact) == left(greedy)


@FEW
@given(workloads(), some(ALL), st.randoms(use_true_random=False))
def test_the_order_of_workloads_and_candidates_does_not_matter(wanted, candidates, random):
    answer = answer_of(request(*wanted, candidates=candidates), "greedy")
    random.shuffle(wanted)
    random.shuffle(candidates)
    assert answer_of(request(*wanted, candidates=candidates), "greedy") == answer


@FEW
@given(workloads(most=3, count=5), some(SINGLE), st.randoms(use_true_random=False))
def test_nor_does_it_to_the_exact_method(wanted, candidates, random):
    answer = answer_of(request(*wanted, candidates=candidates), "exact", SECONDS)
    random.shuffle(wanted)
    random.shuffle(candidates)
    other = answer_of(request(*wanted, candidates=candidates), "exact", SECONDS)
    assert other == answer or not proven(answer, other)


@FEW
@given(workloads(most=4), some(SMALL), st.data())
def test_more_pods_never_cost_less(wanted, candidates, data):
    more = copy.deepcopy(wanted)
    more[data.draw(st.integers(0, len(more) - 1))]["count"] += data.draw(st.integers(1, 3))
    less = solved(request(*wanted, candidates=candidates))
    greater = solved(request(*more, candidates=candidates))
    assert cost(greater) >= bound(less)
    assert cost(greater) >= cost(less) or not proven(less)


@FEW
@given(workloads(most=4), some(SMALL))
def test_one_workload_more_never_costs_less(wanted, candidates):
    assume(len(wanted) > 1)
    less, greater = (solved(request(*part, candidates=candidates)) for part in (wanted[:-1], wanted))
    assert cost(greater) >= bound(less)
    assert cost(greater) >= cost(less) or not proven(less)


@FEW
@given(workloads(most=4), workloads(most=2), some(SMALL))
def test_two_plans_together_never_cost_more(first, second, candidates):
    second = [w | {"name": f"other-{w['name']}"} for w in second]
    parts = [solved(request(*part, candidates=candidates)) for part in (first, second)]
    both = solved(request(*first, *second, candidates=candidates))
    total = sum(map(cost, parts))
    assert bound(both) <= total
    assert cost(both) <= total or not proven(both)


@FEW
@given(workloads(most=3, groups=("x",), hard=False), workloads(most=3, groups=("y",), hard=False), some(SINGLE, 3))
def test_groups_that_share_nothing_add_up(first, second, candidates):
    """On nodes of one GPU without MIG."""
    second = [w | {"name": f"other-{w['name']}"} for w in second]
    parts = [solved(request(*part, candidates=candidates)) for part in (first, second)]
    both = solved(request(*first, *second, candidates=candidates))
    assert cost(both) == sum(map(cost, parts)) or not proven(both, *parts)


@FEW
@given(workloads(most=3), some(SMALL), st.integers(1, 8))
def test_to_allow_more_replicas_never_raises_what_a_slice_costs(wanted, candidates, most):
    fewer, more = (solved(request(*wanted, candidates=candidates, max_replicas=r)) for r in (most, most + 1))
    assert bound(more) <= cost(fewer)
    assert cost(more) <= cost(fewer) or not proven(more)
    whole = solved(request(*wanted, candidates=candidates, max_replicas=1))
    assert cost(more) <= round(whole["before"]["usdPerHour"] * 1e6)


@FEW
@given(workloads(most=4), some(ALL), st.data(), st.sampled_from(["greedy", "exact"]))
def test_half_the_pods_under_another_name_change_nothing(wanted, candidates, data, method):
    candidates = [c for c in candidates if method == "greedy" or c in SMALL] or ["g4dn.xlarge"]
    index = data.draw(st.integers(0, len(wanted) - 1))
    half = wanted[index]["count"]
    whole = copy.deepcopy(wanted)
    whole[index]["count"] = 2 * half
    halves = [*wanted[: index + 1], wanted[index] | {"name": f"{wanted[index]['name']}-b"}, *wanted[index + 1 :]]
    first, second = (solved(request(*part, candidates=candidates), method) for part in (whole, halves))
    assert first["after"] == second["after"] or (method == "exact" and not proven(first, second))
    assert first["before"] == second["before"]


@FEW
@given(workloads(most=4), some(SMALL, 3), st.sampled_from(SMALL))
def test_one_candidate_more_never_costs_more(wanted, candidates, another):
    few = solved(request(*wanted, candidates=candidates))
    many = solved(request(*wanted, candidates=list(dict.fromkeys([*candidates, another]))))
    assume(left(few) == left(many))
    assert bound(many) <= cost(few)
    assert cost(many) <= cost(few) or not proven(many)


@FEW
@given(workloads(most=4), some(ALL))
def test_head_room_never_costs_less_than_no_head_room(wanted, candidates):
    answer = solved(request(*wanted, candidates=candidates), "greedy")
    assert round(answer["withHeadroom"]["usdPerHour"] * 1e6) >= bound(answer)


@FEW
@given(workloads(most=3, count=2), some([*SINGLE[:3], "p5.4xlarge", "g4dn.12xlarge"], 2))
def test_of_all_plans_tried_one_by_one_none_is_cheaper(wanted, candidates):
    """The least cost is that of the answer: the checker has seen that it can be had."""
    plain = request(*wanted, candidates=candidates, max_replicas=5)
    answer = answer_of(plain, "exact", 5.0)
    assert check(plain, answer) == []
    placed = [w for w in wanted if w["name"] not in left(answer)]
    least = cheapest(request(*placed, candidates=candidates, max_replicas=5), cost(answer) - 1)
    assert least is None or bound(answer) <= least < cost(answer)
    assert least is None or not proven(answer)
