"""Karpenter's order of filling nodes: what of a plan it needs more nodes for, and where no order does."""

from __future__ import annotations

import random

import pytest

from gpuslice.planner.model import Workload
from gpuslice.planner.options import Request
from gpuslice.planner.order import any_order, nodes_at_worst, nodes_bought
from gpuslice.planner.plan import plan
from gpuslice.planner.pools import PlannedPool, pools


def pod(name: str, count: int, cpu: int, ram: int = 1024, p95: int = 250_000, **more: str) -> Workload:
    return Workload(name, count, 2048, 0, p95, "t4", cpu, ram, **more)  # type: ignore[arg-type]


def planned(*workloads: Workload, candidates: tuple[str, ...] = ("g4dn.xlarge",)) -> list[PlannedPool]:
    made = plan(Request(workloads, candidates))
    return pools(made.after, made.request.workloads)


# A g4dn.xlarge has 3720 millicores for pods: one wide pod and two slim ones fill it. Karpenter puts the two wide ones
# on one node first, and what is left there is too little for a slim one (seen with Karpenter itself: tests/sandbox).
TIGHT = (pod("wide", 2, 1488), pod("slim", 4, 1116))


def test_the_largest_first_takes_a_node_more_than_the_plan():
    (pool,) = planned(*TIGHT)
    assert len(pool.nodes) == 2
    assert nodes_bought(pool) == nodes_at_worst(pool) == 3
    assert not any_order(pool)


def test_the_reverse_may_be_worse_than_karpenters_order():
    """Karpenter itself bought four for these, when its batch did not hold all of them."""
    pods = (pod("a", 3, 1200, 4096), pod("b", 2, 1900, 4096), pod("c", 1, 1900, 6144))
    (pool,) = planned(*pods)
    assert (len(pool.nodes), nodes_bought(pool), nodes_at_worst(pool)) == (3, 3, 4)


def test_the_node_with_the_fewest_pods_comes_first():
    """By the fullest node first it would be three."""
    (pool,) = planned(pod("a", 2, 2100), pod("b", 2, 700), pod("c", 2, 500), pod("d", 2, 350))
    assert len(pool.nodes) == nodes_bought(pool) == 2


@pytest.mark.parametrize(
    ("pods", "safe"),
    [
        ((pod("a", 9, 900), pod("b", 3, 930)), True),
        ((pod("a", 9, 900), pod("b", 3, 931)), True),
        ((pod("a", 9, 900), pod("b", 4, 931)), False),
        ((pod("a", 9, 400, 3000), pod("b", 4, 400, 3600)), False),
        ((pod("a", 9, 1400),), True),
        ((pod("a", 9, 1400), pod("b", 2, 1400)), True),
        ((pod("a", 9, 930, 1024), pod("b", 4, 930, 12000)), False),
    ],
)
def test_any_order_will_do_where_only_slots_run_out_or_all_pods_are_alike(pods, safe):
    (pool,) = planned(*pods)
    assert any_order(pool) is safe
    if safe:
        assert nodes_bought(pool) == nodes_at_worst(pool) == len(pool.nodes)


def test_slots_of_two_kinds_may_run_out_in_any_order():
    found = planned(pod("a", 30, 100, isolation="hardware"), pod("b", 20, 100), candidates=("p4d.24xlarge",))
    mig = [pool for pool in found if pool.kind.mode == "mig"]
    for pool in mig:
        kinds = {placed.slot for node in pool.nodes for placed in node.placed}
        assert any_order(pool) is (len(kinds) == 1)
        assert nodes_bought(pool) == len(pool.nodes)


def one_by_one(pool: PlannedPool) -> int:
    """Karpenter's order, a pod at a time, for pools with slots of one kind."""
    cpu, ram, _ = pool.kind.hardware.room
    (slots,) = [n * pool.kind.hardware.kind.devices for n in pool.kind.per_gpu.values()]
    pods = [
        (p.workload.cpu_milli, p.workload.ram_mib) for node in pool.nodes for p in node.placed for _ in range(p.count)
    ]
    nodes: list[list[tuple[int, int]]] = []
    for asked in sorted(pods, reverse=True):
        for node in sorted(nodes, key=len):
            there = [*node, asked]
            if len(there) <= slots and sum(c for c, _ in there) <= cpu and sum(r for _, r in there) <= ram:
                node.append(asked)
                break
        else:
            nodes.append([asked])
    return len(nodes)


@pytest.mark.parametrize("seed", range(30))
def test_never_fewer_nodes_than_the_plan_and_as_many_where_any_order_will_do(seed):
    chance = random.Random(seed)
    sizes = [chance.choice([300, 700, 930, 1200, 1488, 1900, 2400]) for _ in range(4)]
    pods = [pod(f"w{i}", chance.randint(1, 6), cpu, 1024 * chance.randint(1, 6)) for i, cpu in enumerate(sizes)]
    for pool in planned(*pods):
        assert len(pool.nodes) <= nodes_at_worst(pool)
        assert nodes_bought(pool) == one_by_one(pool) <= nodes_at_worst(pool)
        if any_order(pool):
            assert nodes_bought(pool) == nodes_at_worst(pool) == len(pool.nodes)
