"""Bounds and choices at the level of requests: shortlists, rounding, offers left out, and where pods end up."""

from __future__ import annotations

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from planrun import workload

from gpuslice.planner import offers
from gpuslice.planner import plan as planning
from gpuslice.planner.model import Workload
from gpuslice.planner.options import Options, Request
from gpuslice.planner.pools import pools
from gpuslice.planner.shortlist import least

pytest.importorskip("highspy")

FEW = settings(deadline=None, max_examples=40, suppress_health_check=list(HealthCheck))


def pods(most_cpu=3720, most=4):
    one = st.fixed_dictionaries(
        {
            "count": st.integers(1, 4),
            "memory": st.sampled_from([1000, 3072, 7680, 15_000]),
            "p95": st.sampled_from([0.05, 0.125, 0.25, 1 / 3, 0.5, 0.9]),
            "gpu": st.sampled_from(["t4", "a10g", None]),
            "cpu_milli": st.sampled_from([0, 251, 931, 1233, 1241, 1860, most_cpu]),
            "ram_mib": st.sampled_from([0, 1025, 4741, 9000]),
            "group": st.sampled_from(["", "", "x"]),
            "latency": st.sampled_from(["tolerant", "tolerant", "critical"]),
        }
    )
    return st.lists(one, min_size=1, max_size=most)


CANDIDATES = st.lists(
    st.sampled_from(["g4dn.xlarge", "g4dn.2xlarge", "g5.xlarge", "g6.xlarge", "g4dn.12xlarge", "p5.4xlarge"]),
    min_size=1,
    max_size=3,
    unique=True,
)


def solved(wanted, candidates, method="exact", most_replicas=5, **patches):
    """The best answer with the best of the modes, with parts of the planner replaced."""
    made = tuple(Workload(**workload(f"w{i}", mean=0.01, **w)) for i, w in enumerate(wanted))
    request = Request(made, tuple(candidates), Options(method=method, seconds=1.0, max_replicas=most_replicas))
    with pytest.MonkeyPatch.context() as patched:
        for name, value in patches.items():
            patched.setattr({"_undominated": offers, "_COARSE_ABOVE": offers}.get(name, planning), name, value)
        return planning.plan(request)


def everything(_offers, suited, _found):
    return [number for number, slots in enumerate(suited) if any(slots)]


@FEW
@given(pods(), CANDIDATES)
def test_no_offer_that_the_optimum_needs_is_left_out(wanted, candidates):
    pruned, full = solved(wanted, candidates), solved(wanted, candidates, _undominated=everything)
    a, b = pruned.after.solution, full.after.solution
    assert a.bound <= b.cost
    assert b.bound <= a.cost
    if a.cost == a.bound and b.cost == b.bound:
        assert a.cost == b.cost


@FEW
@given(pods(most_cpu=9999), CANDIDATES)
def test_the_bound_of_a_shortlist_holds(wanted, candidates):
    """Whatever fits nowhere costs nothing, and is no part of the bound."""
    few = solved(wanted, candidates, "greedy", _MOST_PAIRS=0)
    full = solved(wanted, candidates)
    assert [u.workload for u in few.unplaced] == [u.workload for u in full.unplaced]
    assert few.after.solution.bound <= full.after.solution.cost <= few.after.solution.cost
    assert least_of(full, MODES) <= full.after.solution.cost
    assert least_of(full, ("exclusive",)) <= full.before.solution.cost


MODES = ("exclusive", "time-slicing", "mig")


def least_of(made, modes):
    return least(made.request.workloads, made.after.catalogue.classes, made.park, modes)


SMALL = {"memory": 1000, "p95": 0.05, "gpu": "t4"}


@pytest.mark.parametrize(
    ("wanted", "candidates"),
    [
        ([{**SMALL, "count": 4, "ram_mib": 14_000}], ["g4dn.xlarge", "g5.xlarge"]),
        ([{**SMALL, "count": 4, "cpu_milli": 3700}], ["g4dn.xlarge", "g5.xlarge"]),
        ([{**SMALL, "count": 7, "latency": "critical"}], ["p5.4xlarge"]),
        ([{"count": 1, "p95": 0.9, "gpu": "t4"}, {**SMALL, "count": 5}], ["g4dn.xlarge"]),
        ([{**SMALL, "count": 5}, {"count": 1, "p95": 0.9, "gpu": "t4"}], ["g4dn.xlarge"]),
        ([{**SMALL, "count": 5}, {**SMALL, "count": 2, "cpu_milli": 9999}], ["g4dn.xlarge"]),
    ],
)
def test_memory_slices_and_replicas_in_the_bound_of_a_shortlist(wanted, candidates):
    made = solved(wanted, candidates)
    assert made.after.solution.cost == made.after.solution.bound
    assert 0 < least_of(made, MODES) <= made.after.solution.cost


@FEW
@given(pods(), CANDIDATES, st.sampled_from(["greedy", "exact"]))
def test_a_bound_holds_where_cpu_and_memory_are_rounded_up(wanted, candidates, method):
    rounded, full = solved(wanted, candidates, method, _COARSE_ABOVE=((0, 2),)), solved(wanted, candidates)
    assert rounded.after.solution.bound <= full.after.solution.cost <= rounded.after.solution.cost or (
        full.after.solution.cost > full.after.solution.bound
    )


@pytest.mark.parametrize("method", ["greedy", "exact"])
def test_three_pods_that_fit_are_not_two_in_the_bound(method):
    """3 x 1240 millicores are what a g4dn.xlarge has for pods; 1201 and 1240 round up to 1300."""
    wanted = [{"count": 3, "p95": 0.25, "gpu": "t4", "cpu_milli": cpu} for cpu in (1201, 1240)]
    made = solved(wanted, ["g4dn.xlarge"], method, _COARSE_ABOVE=((0, 2),))
    assert made.after.solution.cost == 3 * made.park[0].price
    assert made.after.solution.bound <= 2 * made.park[0].price


def test_what_fits_nowhere_does_not_raise_the_bound():
    wanted = [{"count": 1, "memory": 2048, "p95": 0.25, "gpu": "t4", "cpu_milli": cpu} for cpu in (1800, 1900, 1901)]
    huge = {"count": 1, "memory": 2048, "p95": 0.25, "gpu": "t4", "cpu_milli": 10_000_000}
    bounds = [
        solved(pods, ["g4dn.xlarge"], "greedy", _MOST_PAIRS=0).after.solution.bound
        for pods in (wanted, [*wanted, huge])
    ]
    assert bounds[0] == bounds[1] < 2 * 526_000


@pytest.mark.parametrize(("count", "nodes"), [(88, 1), (89, 2), (176, 2), (177, 3)])
def test_there_are_no_more_slots_than_a_node_holds_pods(count, nodes):
    """A p5.48xlarge has room for 90 pods on 8 GPUs. The settings refuse 12 replicas there, which were 96 slices."""
    wanted = [{"count": count, "memory": 1000, "p95": 0.01, "gpu": "h100-80gb"}]
    for method in ("greedy", "exact"):
        made = solved(wanted, ["p5.48xlarge"], method, most_replicas=16)
        assert (made.after.nodes, made.after.solution.bound) == (nodes, nodes * made.park[0].price)


@FEW
@given(pods(), CANDIDATES, st.sampled_from(["greedy", "exact"]))
def test_every_pod_is_on_one_slot_of_a_gpu(wanted, candidates, method):
    made = solved(wanted, candidates, method)
    found = {}
    for pool in pools(made.after, made.request.workloads):
        for node in pool.nodes:
            used = {}
            for placed in node.placed:
                used[placed.gpu, placed.slot] = used.get((placed.gpu, placed.slot), 0) + placed.count
                found[placed.workload.name] = found.get(placed.workload.name, 0) + placed.count
            assert all(count <= pool.kind.per_gpu[slot] for (_, slot), count in used.items())
            assert all(gpu < pool.kind.hardware.kind.devices for gpu, _ in used)
    left = {unplaced.workload.name for unplaced in made.unplaced}
    assert found == {w.name: w.count for w in made.request.workloads if w.name not in left}


def test_pods_of_one_class_are_dealt_out_workload_by_workload():
    """Both are of one class: the solver sees five pods, and there are two and three."""
    wanted = [{**SMALL, "count": 2, "cpu_milli": 1200}, {**SMALL, "count": 3, "cpu_milli": 1200}]
    made = solved(wanted, ["g4dn.xlarge"])
    (pool,) = pools(made.after, made.request.workloads)
    assert len(made.classes) == 1
    assert {name: count for name, (_, count) in pool.pods().items()} == {"w0": 2, "w1": 3}
    assert sorted(sum(placed.count for placed in node.placed) for node in pool.nodes) == [2, 3]


@pytest.mark.parametrize(
    ("uses", "loads"),
    [
        ({0.25: 2, 0.125: 4}, [250_000] * 4),
        ({0.2: 4, 0.19: 4, 0.01: 4}, [400_000] * 4),
        ({0.25: 1, 0.0001: 15}, [250_300, 400, 400, 400]),
    ],
)
def test_the_busiest_pods_come_first_each_on_the_gpu_that_is_least_busy(uses, loads):
    """As long as it has a free slot: each of the four has four."""
    made = solved(
        [{**SMALL, "p95": p95, "count": count, "memory": 3000} for p95, count in uses.items()], ["g4dn.12xlarge"]
    )
    (pool,) = pools(made.after, made.request.workloads)
    (node,) = pool.nodes
    found = [0] * 4
    for placed in node.placed:
        found[placed.gpu] += placed.count * placed.workload.p95
    assert found == loads
