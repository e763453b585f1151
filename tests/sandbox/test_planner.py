"""The planner's pools under Karpenter itself: it buys the nodes of the plan, at the plan's price."""

from __future__ import annotations

from collections import Counter
from decimal import Decimal

import pytest

from gpuslice.planner.model import MILLION
from gpuslice.planner.order import any_order, nodes_at_worst, nodes_bought
from gpuslice.planner.pools import pools
from gpuslice.pools import GPU, GPU_SHARED

pytestmark = pytest.mark.sandbox


def test_karpenter_buys_the_nodes_of_the_plan(followed):
    planned = pools(followed.plan.after, followed.plan.request.workloads)
    assert len(planned) == 3
    assert all(any_order(pool) for pool in planned)
    wanted = Counter({(pool.name, pool.kind.hardware.kind.name): len(pool.nodes) for pool in planned})
    seen = followed.seen
    assert Counter((seen.pool_of[name], kind) for name, kind in seen.nodes.items()) == wanted
    launched = [i["type"] for pool in planned for i in followed.after.instances(pool.name)]
    assert sorted(launched) == sorted(seen.nodes.values())


def test_every_pod_of_the_plan_runs_on_its_pool(followed):
    assert followed.seen.waiting == {}
    placed = Counter((a.workload.name, a.pool, a.resource) for pods in followed.seen.pods.values() for a in pods)
    assert placed == Counter({(a.workload.name, a.pool, a.resource): a.count for a in followed.way.asks})
    assert Counter(resource for _, _, resource in placed.elements()) == {GPU_SHARED: 6, GPU: 1}
    for node, pods in followed.seen.pods.items():
        assert {ask.pool for ask in pods} == {followed.seen.pool_of[node]}


def test_it_costs_what_the_plan_says(followed):
    prices = followed.plan.prices
    bought = sum(prices.of(name) for name in followed.seen.nodes.values())
    assert bought == Decimal(followed.plan.after.solution.cost) / MILLION == Decimal("1.804")
    assert bought < Decimal(followed.plan.before.solution.cost) / MILLION


def test_the_planners_room_is_the_one_that_karpenter_and_the_nodes_have(followed):
    assert {k["metadata"]["labels"]["karpenter.sh/nodepool"] for k in followed.after.objects["NodeClaim"]} == {
        *followed.seen.pool_of.values(),
        *followed.seen_tight.pool_of.values(),
    }
    assert followed.room_differences == []


def test_where_cpu_is_scarce_karpenters_order_takes_a_node_more_as_foretold(followed):
    (pool,) = pools(followed.tight.after, followed.tight.request.workloads)
    assert len(pool.nodes) == 2
    assert len(followed.seen_tight.nodes) == nodes_bought(pool) == nodes_at_worst(pool) == 3
    assert followed.seen_tight.running == 6
