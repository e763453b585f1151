"""Why each way of sharing that a plan does not take was refused, for each kind of workload."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from gpuslice.planner.guards import fit, refusal, unshareable
from gpuslice.planner.model import MILLION, Workload
from gpuslice.planner.offers import Hardware
from gpuslice.planner.options import Options
from gpuslice.planner.plan import Plan, no_node
from gpuslice.planner.solver import pods_in
from gpuslice.sharing.mig import maximal_layouts

ALTERNATIVES = ("time-slicing", "mig", "exclusive")
_MPS = (
    "NVIDIA's device plugin calls MPS experimental, and a fault of one client can end the others: it is not planned."
    " A pool may still be set to it by hand"
)
_MOST_NAMES = 20
_REASONS = 3
_MOST_CLASSES = 200


@dataclass(frozen=True)
class Refused:
    workloads: tuple[str, ...]
    count: int
    alternative: str
    reason: str


def refused(plan: Plan) -> list[Refused]:
    """For each kind of workload that is placed, each alternative that none of its pods takes, and why.

    Of the first two hundred kinds; `names` are those of the first twenty workloads of a kind.
    """
    found: dict[tuple[str, str], list[Sequence[Workload]]] = {}
    taken, prices = _taken(plan), _price_per_pod(plan)
    for number, cls in enumerate(plan.after.catalogue.classes[:_MOST_CLASSES]):
        paid = max(prices[slot[0]] for slot in taken[number])
        modes = {plan.after.catalogue.kinds[offer].mode for offer, _ in taken[number]}
        for alike in _alike([plan.request.workloads[member] for member in cls.members]):
            for mode in (m for m in ALTERNATIVES if m not in modes):
                found.setdefault((mode, _reason(plan, alike[0], mode, paid)), []).append(alike)
            found.setdefault(("mps", _MPS), []).append(alike)
    entries = [_entry(mode, reason, groups) for (mode, reason), groups in found.items()]
    return sorted(entries, key=lambda entry: (entry.workloads, entry.alternative, entry.reason))


def _entry(mode: str, reason: str, groups: Sequence[Sequence[Workload]]) -> Refused:
    names = sorted({w.name for group in groups for w in group[:_MOST_NAMES]})
    return Refused(tuple(names), sum(len(group) for group in groups), mode, reason)


def _alike(members: Sequence[Workload]) -> list[list[Workload]]:
    """Workloads that the same slices suit, by what they say of latency and isolation: that has reasons of its own."""
    found: dict[tuple[str, str], list[Workload]] = {}
    for workload in members:
        found.setdefault((workload.latency, workload.isolation), []).append(workload)
    return list(found.values())


def _taken(plan: Plan) -> dict[int, list[tuple[int, str]]]:
    slots: dict[int, list[tuple[int, str]]] = {}
    for node in plan.after.solution.nodes:
        for number, kind in node.takes:
            slots.setdefault(number, []).append((node.offer, kind))
    return slots


def _price_per_pod(plan: Plan) -> dict[int, float]:
    """What a pod costs on the nodes of each offer that is bought, by the pods that are on them."""
    costs: dict[int, int] = {}
    pods: dict[int, int] = {}
    for node in plan.after.solution.nodes:
        costs[node.offer] = (
            costs.get(node.offer, 0) + node.copies * plan.after.catalogue.market.offers[node.offer].price
        )
        pods[node.offer] = pods.get(node.offer, 0) + node.copies * sum(node.takes.values())
    return {offer: cost / pods[offer] for offer, cost in costs.items()}


def _reason(plan: Plan, workload: Workload, mode: str, paid: float) -> str:
    options = plan.request.options
    suits = [h for h in plan.park if not refusal(workload, h.gpu, mode, options) and not no_node(workload, h, options)]
    if suits:
        price, hardware = min(((_best_price(h, workload, mode, options), h) for h in suits), key=_by_price)
        return _dearer(price, hardware, paid, workload.count)
    return _impossible(plan.park, workload, mode, options)


def _by_price(pair: tuple[float, Hardware]) -> tuple[float, str]:
    return pair[0], pair[1].kind.name


def _best_price(hardware: Hardware, workload: Workload, mode: str, options: Options) -> float:
    """What one pod costs on a node that is full of it."""
    suits = fit(workload, hardware.gpu, options)
    per_gpu = 1
    if mode == "time-slicing":
        per_gpu = suits.replicas
    elif mode == "mig" and hardware.gpu.mig_gpu:
        layouts = maximal_layouts(hardware.gpu.mig_gpu)
        per_gpu = max(sum(count for name, count in layout.items() if name in suits.profiles) for layout in layouts)
    room = pods_in(hardware.room, (workload.cpu_milli, workload.ram_mib, 1))
    return hardware.price / min(hardware.kind.devices * per_gpu, room)


def _dearer(price: float, hardware: Hardware, paid: float, pods: int) -> str:
    name, each, spent = hardware.kind.name, price / MILLION, paid / MILLION
    if abs(price - paid) <= paid / 1e6:
        return f"costs no less: ${each:,.4f} per pod and hour on {name}"
    if price > paid:
        return f"at best ${each:,.4f} per pod and hour, on {name}, against ${spent:,.4f}"
    node, full = hardware.price / MILLION, round(hardware.price / price)
    if pods < full:
        return (
            f"${each:,.4f} per pod and hour on a full {name}, but that takes {full} pods, and a node costs ${node:,.3f}"
        )
    return f"${each:,.4f} per pod and hour on {name}, but on nodes that are bought for others there is room at no cost"


def _impossible(park: Sequence[Hardware], workload: Workload, mode: str, options: Options) -> str:
    if mode == "time-slicing" and unshareable(workload):
        return unshareable(workload)
    by_mig = sorted(park, key=lambda hardware: hardware.gpu.mig_gpu is None) if mode == "mig" else park
    reasons = dict.fromkeys(refusal(workload, h.gpu, mode, options) or no_node(workload, h, options) for h in by_mig)
    reasons.pop("", None)
    known = [reason for reason in reasons if not reason.endswith("is not known")] or list(reasons)
    more = len(known) - _REASONS
    return "; ".join(known[:_REASONS]) + (f"; and {more} more reason{'s' if more > 1 else ''}" if more > 0 else "")
