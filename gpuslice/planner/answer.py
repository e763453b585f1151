"""A plan as JSON. `docs/planner.md` has the contract."""

from __future__ import annotations

from collections.abc import Iterator
from decimal import ROUND_HALF_UP, Decimal
from typing import Any

from gpuslice.planner.curve import curve
from gpuslice.planner.guards import use_on
from gpuslice.planner.model import MILLION
from gpuslice.planner.offers import SHARED, WHOLE
from gpuslice.planner.plan import Answer, Plan
from gpuslice.planner.pools import PlannedNode, PlannedPool, by_slot, mean_on, pools, shortfall
from gpuslice.planner.pricing import prices_json
from gpuslice.planner.refused import refused
from gpuslice.planner.solver import Solution
from gpuslice.planner.warnings import at_worst, warnings
from gpuslice.reserves import CONTEXT_RESERVE_MIB, slice_memory_mib

VERSION = 1
_RESOURCES = {WHOLE: "nvidia.com/gpu", SHARED: "nvidia.com/gpu.shared"}


def as_json(plan: Plan, by_node: bool = True) -> dict[str, Any]:
    """The answer, as plain data. Not by node: no list of nodes, and placements by pool, for a person to read."""
    options = plan.request.options
    hours = options.hours_per_month
    found = pools(plan.after, plan.request.workloads)
    short, _ = shortfall(found, options.efficiency)
    worst = {pool.name: at_worst(pool) for pool in found}
    return {
        "version": VERSION,
        "prices": prices_json(options, plan.prices, plan.unpriced),
        "options": _options(plan),
        "before": _bill(plan.before, hours),
        "after": _bill(plan.after, hours),
        **comparison(plan.before.solution, plan.after.solution, hours),
        "withHeadroom": {"efficiency": options.efficiency / MILLION, "shortfall": round(max(0.0, short), 3)}
        | _bill(plan.headroom, hours),
        "pools": [_pool(plan, pool, worst[pool.name]) for pool in found],
        "nodes": [_node(pool, node) for pool in found for node in pool.nodes] if by_node else [],
        "placements": [e for pool in found for e in (_placements(pool) if by_node else _summary(pool))],
        "candidates": _candidates(plan),
        "refused": [
            {"workloads": list(r.workloads), "count": r.count, "alternative": r.alternative, "reason": r.reason}
            for r in refused(plan)
        ],
        "unplaced": [
            {"workload": u.workload.name, "count": u.workload.count, "reason": u.reason} for u in plan.unplaced
        ],
        "warnings": warnings(plan, found, worst),
        "replicas": [
            {"replicas": r, "usdPerMonth": money(cost, hours)["usdPerMonth"], "fits": not reason, "reason": reason}
            for r, cost, reason in curve(plan)
        ],
        **({"usage": dict(plan.request.usage)} if plan.request.usage else {}),
    }


def money(millionths: int, hours: int) -> dict[str, float]:
    """Millionths of a dollar per hour as dollars: exact per hour, whole cents per month."""
    return {"usdPerHour": float(Decimal(millionths) / MILLION), "usdPerMonth": float(_month(millionths, hours))}


def _month(millionths: int, hours: int) -> Decimal:
    return (Decimal(millionths) * hours / MILLION).quantize(Decimal("0.01"), ROUND_HALF_UP)


def _difference(before: int, after: int, hours: int) -> dict[str, float]:
    """What is saved. By the month it is the difference of the two figures that are shown, to the cent."""
    month = _month(before, hours) - _month(after, hours)
    return {"usdPerHour": float(Decimal(before - after) / MILLION), "usdPerMonth": float(month)}


def comparison(before: Solution, after: Solution, hours: int) -> dict[str, Any]:
    """`savings`, `lowerBound` and `gap` of an answer."""
    saved = (before.cost - after.cost) / before.cost if before.cost else 0.0
    return {
        "savings": _difference(before.cost, after.cost, hours) | {"fraction": round(saved, 4)},
        "lowerBound": money(after.bound, hours),
        "gap": round((after.cost - after.bound) / after.cost, 6) if after.cost else 0.0,
    }


def _candidates(plan: Plan) -> dict[str, Any]:
    left_out: dict[str, list[str]] = {}
    for name, reason in plan.not_candidates:
        left_out.setdefault(reason, []).append(name)
    for name in plan.unpriced:
        left_out.setdefault(f"no price in {plan.request.options.region}", []).append(name)
    return {
        "instanceTypes": [hardware.kind.name for hardware in plan.park],
        "leftOut": [{"instanceTypes": names, "reason": reason} for reason, names in left_out.items()],
    }


def _options(plan: Plan) -> dict[str, Any]:
    options = plan.request.options
    return {
        "efficiency": options.efficiency / MILLION,
        "headroom": options.headroom,
        "method": "exact" if plan.after.exact else "greedy",
        "maxReplicas": options.max_replicas,
        "migTax": options.mig_tax / MILLION,
        "contextReserveMiB": CONTEXT_RESERVE_MIB,
    }


def _bill(answer: Answer, hours: int) -> dict[str, Any]:
    return money(answer.solution.cost, hours) | {"nodes": answer.nodes, "instanceTypes": answer.by_type()}


def resource_of(pool: PlannedPool, slot: str) -> str:
    """The extended resource that a slot of the pool is."""
    profiles = pool.kind.hardware.gpu.profiles
    return profiles[slot].resource if pool.kind.mode == "mig" else _RESOURCES[slot]


def memory_of(pool: PlannedPool, slot: str) -> int:
    """GPU memory of a slot, in MiB, as the stack's outputs give it."""
    gpu = pool.kind.hardware.gpu
    if pool.kind.mode == "mig":
        return gpu.profile_memory_mib(gpu.profiles[slot])
    return slice_memory_mib(gpu.memory_mib, pool.kind.replicas)


def _pool(plan: Plan, pool: PlannedPool, worst: int) -> dict[str, Any]:
    options, kind, hardware = plan.request.options, pool.kind, pool.kind.hardware
    used, hours = by_slot(pool), options.hours_per_month
    cost = hardware.price * len(pool.nodes)
    return {
        "name": pool.name,
        "mode": kind.mode,
        "instanceType": hardware.kind.name,
        "gpu": hardware.gpu.key,
        "gpusPerNode": hardware.kind.devices,
        **({"replicas": kind.replicas, "group": kind.group} if kind.mode == "time-slicing" else {}),
        **({"layout": dict(kind.layout)} if kind.mode == "mig" else {}),
        "nodes": len(pool.nodes),
        "nodesAtWorst": worst,
        "resources": {
            resource_of(pool, slot): {
                "perNode": count * hardware.kind.devices,
                "memoryMiB": memory_of(pool, slot),
                "used": used[slot],
            }
            for slot, count in kind.per_gpu.items()
        },
        "usdPerNodeHour": hardware.price / MILLION,
        **money(cost, hours),
        "headroom": round(headroom(plan, pool), 3),
    }


def headroom(plan: Plan, pool: PlannedPool) -> float:
    """What is left of the busiest GPU or MIG slice with every pod on it at its p95; below 0 where it is too little."""
    options, gpu = plan.request.options, pool.kind.hardware.gpu
    if pool.kind.mode == "time-slicing":
        return 1 - pool.busiest() / options.efficiency
    if pool.kind.mode == "exclusive":
        return 1 - pool.busiest() / gpu.compute
    parts = (
        (use_on(placed.workload, gpu) or 0) / gpu.profile_use(gpu.profiles[placed.slot], options.mig_tax)
        for node in pool.nodes
        for placed in node.placed
    )
    return 1 - max(parts)


def _node(pool: PlannedPool, node: PlannedNode) -> dict[str, Any]:
    cpu, ram, _ = pool.kind.hardware.room
    used_cpu = sum(p.workload.cpu_milli * p.count for p in node.placed)
    used_ram = sum(p.workload.ram_mib * p.count for p in node.placed)
    return {
        "name": node.name,
        "pool": pool.name,
        "instanceType": pool.kind.hardware.kind.name,
        "gpus": _gpus(pool, node),
        "cpu": {"used": used_cpu / 1000, "allocatable": cpu / 1000},
        "ramMiB": {"used": used_ram, "allocatable": ram},
    }


def _gpus(pool: PlannedPool, node: PlannedNode) -> list[dict[str, Any]]:
    gpu, slices = pool.kind.hardware.gpu, sum(pool.kind.per_gpu.values())
    rows: list[dict[str, Any]] = []
    for index in range(pool.kind.hardware.kind.devices):
        here = [placed for placed in node.placed if placed.gpu == index]
        mean = sum(mean_on(p.workload, gpu) * p.count for p in here)
        p95 = sum((use_on(p.workload, gpu) or 0) * p.count for p in here)
        row = {"mean": mean / MILLION, "p95": p95 / MILLION, "slices": slices, "used": sum(p.count for p in here)}
        rows.append(row)
    return rows


def _placements(pool: PlannedPool) -> Iterator[dict[str, Any]]:
    for node in pool.nodes:
        for placed in node.placed:
            yield {
                "workload": placed.workload.name,
                "pool": pool.name,
                "node": node.name,
                "gpu": placed.gpu,
                "resource": resource_of(pool, placed.slot),
                "count": placed.count,
            }


def _summary(pool: PlannedPool) -> Iterator[dict[str, Any]]:
    counts: dict[tuple[str, str], int] = {}
    for node in pool.nodes:
        for placed in node.placed:
            key = (placed.workload.name, placed.slot)
            counts[key] = counts.get(key, 0) + placed.count
    for (name, slot), count in sorted(counts.items()):
        yield {"workload": name, "pool": pool.name, "resource": resource_of(pool, slot), "count": count}
