"""A plan for services with measured profiles as JSON: the keys of a plan for workloads. `docs/planner.md` says more."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from gpuslice.planner.answer import VERSION, comparison, money
from gpuslice.planner.model import MILLION
from gpuslice.planner.pricing import prices_json
from gpuslice.planner.service_plan import ServiceNode, ServicePlan, ServicePool, served, service_pools, usable
from gpuslice.planner.service_warnings import warnings
from gpuslice.planner.services import Placed, Service, sizes, unserved
from gpuslice.planner.solver import Solution
from gpuslice.planner.stack import stack_file

_NO_TIME_SLICING = "a profile tells of MIG slices alone; what neighbours on a time-sliced GPU take was not measured"


@dataclass(frozen=True)
class _View:
    """A plan with what the parts of the answer share: `busy` is asked against given rate, by service."""

    made: ServicePlan
    pools: list[ServicePool]
    services: dict[str, Service]
    busy: dict[str, float]

    @property
    def hours(self) -> int:
        return self.made.request.options.hours_per_month


def as_json(made: ServicePlan) -> dict[str, Any]:
    """The answer, as plain data."""
    rates, services = served(made), {service.name: service for service in made.offered.services}
    view = _View(made, service_pools(made), services, {n: float(s.rate / rates[n]) for n, s in services.items()})
    return {
        "version": VERSION,
        "prices": prices_json(made.request.options, made.prices, made.unpriced),
        "options": _options(made),
        **_bills(view),
        "pools": [_pool(view, pool) for pool in view.pools],
        "nodes": [_node(view, pool, node) for pool in view.pools for node in pool.nodes],
        "placements": [entry for pool in view.pools for node in pool.nodes for entry in _placements(pool, node)],
        "refused": list(_refused(made)),
        "unplaced": [{"workload": u.service.name, "count": 1, "reason": u.reason} for u in made.unplaced],
        "warnings": warnings(made, view.pools, rates),
        "replicas": [],
    }


def stack_text(made: ServicePlan) -> str:
    """A stack file with the plan's pools. Raises InputError as `stack.stack_text` does."""
    return stack_file(service_pools(made), made.request.options, made.after.cost)


def _options(made: ServicePlan) -> dict[str, Any]:
    request = made.request
    return {
        "method": "exact" if made.exact else "greedy",
        "gpu": request.gpu,
        "maxProcesses": request.max_processes,
        "latencyShare": float(request.latency_share),
    }


def _bills(view: _View) -> dict[str, Any]:
    made, before, after = view.made, view.made.before, view.made.after
    return {
        "before": _bill(made, before),
        "after": _bill(made, after),
        **comparison(before, after, view.hours),
        # Time-slicing plays no part, so nothing has to be kept free for it.
        "withHeadroom": {"efficiency": 1.0, "shortfall": 0.0} | _bill(made, after),
    }


def _bill(made: ServicePlan, solution: Solution) -> dict[str, Any]:
    nodes = sum(node.copies for node in solution.nodes)
    types = {made.hardware.kind.name: nodes} if nodes else {}
    return money(solution.cost, made.request.options.hours_per_month) | {"nodes": nodes, "instanceTypes": types}


def _resource(pool: ServicePool, profile: str) -> str:
    return pool.kind.hardware.gpu.profiles[profile].resource


def _pool(view: _View, pool: ServicePool) -> dict[str, Any]:
    hardware, nodes = pool.kind.hardware, len(pool.nodes)
    placed = [entry for node in pool.nodes for entry in node.placed]
    used = Counter(entry.profile for entry in placed)
    return {
        "name": pool.name,
        "mode": "mig",
        "instanceType": hardware.kind.name,
        "gpu": hardware.gpu.key,
        "gpusPerNode": hardware.kind.devices,
        "layout": dict(pool.kind.layout),
        "nodes": nodes,
        "resources": {
            _resource(pool, profile): {
                "perNode": count * hardware.kind.devices,
                "memoryMiB": hardware.gpu.profile_memory_mib(hardware.gpu.profiles[profile]),
                "used": used[profile],
            }
            for profile, count in pool.kind.layout
        },
        "usdPerNodeHour": hardware.price / MILLION,
        **money(hardware.price * nodes, view.hours),
        "headroom": round(1 - max(view.busy[entry.service] for entry in placed), 3),
    }


def _node(view: _View, pool: ServicePool, node: ServiceNode) -> dict[str, Any]:
    hardware, here = pool.kind.hardware, [view.services[placed.service] for placed in node.placed]
    cpu, ram, _ = hardware.room
    return {
        "name": node.name,
        "pool": pool.name,
        "instanceType": hardware.kind.name,
        "gpus": [_gpu(view, pool, node, gpu) for gpu in range(hardware.kind.devices)],
        "cpu": {"used": sum(service.cpu_milli for service in here) / 1000, "allocatable": cpu / 1000},
        "ramMiB": {"used": sum(service.ram_mib for service in here), "allocatable": ram},
    }


def _gpu(view: _View, pool: ServicePool, node: ServiceNode, gpu: int) -> dict[str, Any]:
    """Use in compute slices: `p95` those that hold a service, `mean` the part of them that its rate keeps busy."""
    here, whole = [placed for placed in node.placed if placed.gpu == gpu], pool.kind.hardware.gpu.slices[0]
    return {
        "mean": round(sum(p.slices * view.busy[p.service] for p in here) / whole, 6),
        "p95": round(sum(p.slices for p in here) / whole, 6),
        "slices": sum(count for _, count in pool.kind.layout),
        "used": len(here),
    }


def _placements(pool: ServicePool, node: ServiceNode) -> Iterator[dict[str, Any]]:
    """Equal slices of a GPU together; `rate` and `latencySeconds` are those of one of them."""
    alike: dict[tuple[int, str, str], list[Placed]] = {}
    for placed in node.placed:
        alike.setdefault((placed.gpu, placed.profile, placed.service), []).append(placed)
    for (gpu, profile, service), entries in sorted(alike.items()):
        yield {
            "workload": service,
            "pool": pool.name,
            "node": node.name,
            "gpu": gpu,
            "resource": _resource(pool, profile),
            "count": len(entries),
            "batch": entries[0].batch,
            "processes": entries[0].processes,
            "rate": float(entries[0].rate),
            "latencySeconds": float(entries[0].latency),
        }


def _refused(made: ServicePlan) -> Iterator[dict[str, Any]]:
    """For each service that is placed, the sizes of slices that do not serve it in time, and why."""
    request = made.request
    for service in made.offered.services:
        there = usable(service, request)
        for size, profile in sizes(request.mig_gpu).items():
            if size not in there:
                reason = unserved(service, request.max_processes, request.latency_share, size)
                yield {"workloads": [service.name], "alternative": profile, "reason": reason}
    if made.offered.services:
        names = [service.name for service in made.offered.services]
        yield {"workloads": names, "alternative": "time-slicing", "reason": _NO_TIME_SLICING}
