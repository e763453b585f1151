"""What somebody who acts on a plan should know: allowed, but not as good as it looks."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from gpuslice.planner.amounts import listed
from gpuslice.planner.model import MILLION, Workload
from gpuslice.planner.order import any_order, nodes_at_worst
from gpuslice.planner.plan import Plan, rounded
from gpuslice.planner.pools import PlannedPool, shortfall

PACK_REPLICAS = 4
"""What the policy pack allows unless it is told otherwise (`replicas-within-cap`)."""
_NAMES = 5
_MOST_NODES = 2000


def warnings(plan: Plan, pools: Sequence[PlannedPool], worst: Mapping[str, int]) -> list[str]:
    """One sentence each, the dearest mistake first. `worst`: `at_worst` of each pool, by name."""
    found = [*_unplaced(plan), *_headroom(plan, pools), *plan.request.notes, *_unknown_gpu(plan), *_unknown_room(plan)]
    found += [*_split(pools), *_rounded(plan)]
    return [
        *found,
        *_order(plan, pools, worst),
        *_replicas(pools),
        *_isolation(plan, pools),
        *_prices(plan),
        *_proof(plan),
    ]


def names(workloads: Iterable[Workload]) -> str:
    """The first few names, and how many more there are."""
    return listed([w.name for w in workloads], _NAMES)


def _unplaced(plan: Plan) -> list[str]:
    if not plan.unplaced:
        return []
    return [f"fits nowhere, and is in no figure: {names(u.workload for u in plan.unplaced)}"]


def _headroom(plan: Plan, pools: Sequence[PlannedPool]) -> list[str]:
    short, pool = shortfall(pools, plan.request.options.efficiency)
    if pool is None or short <= 0:
        return []
    efficiency = plan.request.options.efficiency / MILLION
    nodes, month = plan.headroom.nodes, plan.headroom.solution.cost * plan.request.options.hours_per_month / MILLION
    return [
        (
            f"no head-room: at {efficiency:.2f} efficiency of time-slicing, pool {pool.name} is {short:.0%} short when"
            f" the {pool.kind.replicas} pods of a GPU are busy at once; with head-room it takes {nodes} nodes"
            f" and ${month:,.2f} a month (--headroom require)"
        )
    ]


def _unknown_gpu(plan: Plan) -> list[str]:
    models = {hardware.gpu.key for hardware in plan.park}
    without = [w for w in plan.request.workloads if w.gpu is None]
    if not without or len(models) < 2:
        return []
    return [f"no GPU model is given for {names(without)}: its use counts the same on every model"]


def _unknown_room(plan: Plan) -> list[str]:
    without = [w for w in plan.request.workloads if not (w.cpu_milli and w.ram_mib)]
    return [f"no CPU or memory is given for {names(without)}: nodes may be too small for it"] if without else []


def _split(pools: Sequence[PlannedPool]) -> list[str]:
    """A Deployment has one node selector and asks for one resource."""
    places: dict[str, set[tuple[str, str]]] = {}
    for pool in pools:
        for placed in (p for node in pool.nodes for p in node.placed):
            places.setdefault(placed.workload.name, set()).add((pool.name, placed.slot))
    split = sorted(name for name, found in places.items() if len(found) > 1)
    if not split:
        return []
    text = "split over several pools or slices, so each needs a Deployment for each row below"
    return [f"{text}: {listed(split, _NAMES)}"]


def _rounded(plan: Plan) -> list[str]:
    if not rounded(plan.request.workloads, plan.classes):
        return []
    return ["CPU and memory are rounded up, for so many kinds of workloads: a node may hold more"]


def _order(plan: Plan, pools: Sequence[PlannedPool], worst: Mapping[str, int]) -> list[str]:
    more = [pool for pool in pools if worst[pool.name] > len(pool.nodes)]
    if not more:
        return []
    extra = sum((worst[pool.name] - len(pool.nodes)) * pool.kind.hardware.price for pool in more)
    month = extra * plan.request.options.hours_per_month / MILLION
    shown = [f"{pool.name} {worst[pool.name]} and not {len(pool.nodes)}" for pool in more[:_NAMES]]
    text = "CPU or memory is tight, and Karpenter fills nodes in an order of its own: it may buy more than planned"
    return [f"{text} ({', '.join(shown)} nodes), up to ${month:,.2f} a month more"]


def at_worst(pool: PlannedPool) -> int:
    """Nodes that Karpenter may buy for a pool. Not looked at for pools of thousands of nodes."""
    if len(pool.nodes) > _MOST_NODES or any_order(pool):
        return len(pool.nodes)
    return max(len(pool.nodes), nodes_at_worst(pool))


def _replicas(pools: Sequence[PlannedPool]) -> list[str]:
    over = [p.name for p in pools if p.kind.mode == "time-slicing" and p.kind.replicas > PACK_REPLICAS]
    if not over:
        return []
    return [
        (
            f"more than {PACK_REPLICAS} replicas in {', '.join(over[:_NAMES])}: the policy pack refuses that unless"
            " maxReplicas of replicas-within-cap is raised (docs/policies.md)"
        )
    ]


def _isolation(plan: Plan, pools: Sequence[PlannedPool]) -> list[str]:
    wanted = any(w.isolation == "hardware" for pool in pools for w, _ in pool.pods().values())
    if not wanted:
        return []
    return [
        "hardware isolation holds against images that ask for every GPU only with isolation: strict (docs/isolation.md)"
    ]


def _prices(plan: Plan) -> list[str]:
    found = []
    if plan.unpriced and plan.request.candidates is not None:
        region = plan.request.options.region
        found.append(f"no price in {region}, so no candidate: {listed(plan.unpriced, _NAMES, what='more types')}")
    if plan.request.options.basis != "on-demand":
        factor = plan.request.options.price_factor
        found.append(
            f"prices are {factor:g} of on-demand, as you say: {plan.request.options.basis} prices are not known here"
        )
    return found


def _proof(plan: Plan) -> list[str]:
    before = plan.before.solution
    said = []
    if before.cost > before.bound:
        part = (before.cost - before.bound) / before.cost
        said = [f"the cost before is not proven the cheapest on whole GPUs ({part:.1%} at most): less may be saved"]
    cost, bound = plan.after.solution.cost, plan.after.solution.bound
    if cost <= bound:
        return said
    how = "in the time given" if plan.after.exact else "by the greedy method"
    return [*said, f"not proven the cheapest {how}: the proven bound is {(cost - bound) / cost:.1%} lower"]
