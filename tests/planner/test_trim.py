"""A plan says no more than it needs to: few replicas, few layouts, and pools that keep others' pods out."""

from __future__ import annotations

import yaml

from gpuslice.planner.model import Workload
from gpuslice.planner.options import Options, Request
from gpuslice.planner.plan import plan
from gpuslice.planner.pools import pools
from gpuslice.planner.stack import stack_text


def pod(name: str, count: int, p95: float, memory: int = 1024, **more) -> Workload:
    return Workload(name, count, memory, 0, round(p95 * 1e6), "t4", **more)


def planned(*workloads: Workload, candidates: tuple[str, ...] = ("g4dn.xlarge",), **options):
    return plan(Request(workloads, candidates, Options(**options)))


def replicas(made) -> list[int]:
    return [pool.kind.replicas for pool in pools(made.after, made.request.workloads)]


def test_three_pods_that_could_be_ten_on_a_gpu_are_three():
    assert replicas(planned(pod("a", 3, 0.05))) == [3]


def test_seven_pods_on_two_nodes_are_four_on_each_at_most():
    made = planned(pod("a", 7, 0.2))
    assert made.after.nodes == 2
    assert replicas(made) == [4]


def test_where_cpu_lets_few_pods_onto_a_node_there_are_few_replicas():
    made = planned(pod("a", 6, 0.1, cpu_milli=1200))
    assert made.after.nodes == 2
    assert replicas(made) == [3]


def test_a_pod_alone_has_a_whole_gpu():
    (pool,) = pools((made := planned(pod("a", 1, 0.05))).after, made.request.workloads)
    assert pool.kind.mode == "exclusive"


def test_fewer_replicas_give_back_the_head_room():
    made = planned(pod("a", 3, 0.25))
    assert made.headroom.solution.cost == made.after.solution.cost
    assert replicas(made) == [3]


def test_a_workload_on_mig_has_slices_of_one_size_where_that_is_enough():
    made = planned(
        *(Workload(f"w{i}", 5, 4096, 0, 30_000, "a100-40gb", isolation="hardware") for i in range(2)),
        candidates=("p4d.24xlarge",),
    )
    (pool,) = pools(made.after, made.request.workloads)
    slots = {placed.slot for node in pool.nodes for placed in node.placed}
    assert (pool.kind.mode, len(slots)) == ("mig", 1)


def test_pools_that_offer_the_same_keep_each_others_pods_out():
    made = planned(pod("wide", 2, 0.5), pod("slim", 4, 0.25))
    (first, second) = yaml.safe_load(stack_text(made))["config"]["gpu-slicing:pools"]
    for entry in (first, second):
        assert entry["extraTaints"] == [{"key": "gpu-pool", "value": entry["name"], "effect": "NoSchedule"}]


def test_a_pool_that_is_alone_needs_no_taint_of_its_own():
    (entry,) = yaml.safe_load(stack_text(planned(pod("a", 4, 0.25))))["config"]["gpu-slicing:pools"]
    assert "extraTaints" not in entry


def test_every_stack_file_says_that_pods_need_the_node_selector():
    assert "node selector" in stack_text(planned(pod("a", 4, 0.25)))


def test_before_is_never_dearer_than_a_plan_that_shares_nothing():
    shapes = [Workload(f"w{i}", 2, 12 * 1024, 0, 900_000, "a10g", 30_000 + 9000 * i, 64_000) for i in range(3)]
    made = planned(*shapes, candidates=("p4d.24xlarge", "g5.12xlarge"), method="greedy")
    assert made.before.solution.cost <= made.after.solution.cost or any(
        kind.mode != "exclusive" for kind in (made.after.catalogue.kinds[n.offer] for n in made.after.solution.nodes)
    )
