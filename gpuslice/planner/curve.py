"""Cost against the number of replicas: what one number for every pool would cost, and where it stops being safe."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from gpuslice.planner.guards import Fit, refusal, unshareable
from gpuslice.planner.model import MILLION, Workload
from gpuslice.planner.offers import Hardware, classes, gpus_of
from gpuslice.planner.plan import Plan, answer

_BEYOND = 2
"""So many numbers of replicas that do not fit are shown."""
_MOST_WORKLOADS = 5000


@dataclass(frozen=True)
class _Group:
    """Workloads that trust each other. `tightest`: for each GPU, the one that stands the fewest replicas there."""

    pods: int
    cpu_milli: int
    ram_mib: int
    tightest: tuple[tuple[int, Workload], ...]

    @classmethod
    def of(cls, members: Sequence[tuple[Workload, tuple[Fit, ...]]]) -> _Group:
        gpus = range(len(members[0][1]))
        return cls(
            sum(w.count for w, _ in members),
            max(w.cpu_milli for w, _ in members),
            max(w.ram_mib for w, _ in members),
            tuple(min(((f[g].replicas, w) for w, f in members), key=lambda p: (p[0], p[1].name)) for g in gpus),
        )


def curve(plan: Plan) -> list[tuple[int, int, str]]:
    """(replicas, cost in millionths of a dollar per hour, why it is not safe), from one replica on.

    Each group's shareable workloads in pools of one size on one instance type, the others as they are without
    time-slicing. Empty where nothing can be shared, or for more workloads than a picture is made of.
    """
    unplaced = {u.workload.name for u in plan.unplaced}
    placed = [(w, cls.fits) for cls in plan.classes for w in _members(plan, cls.members) if w.name not in unplaced]
    shareable = [(w, fits) for w, fits in placed if not unshareable(w)]
    if not shareable or len(placed) > _MOST_WORKLOADS:
        return []
    groups = [
        _Group.of([(w, f) for w, f in shareable if w.group == g]) for g in sorted({w.group for w, _ in shareable})
    ]
    rest = _without_sharing(plan, [w for w, _ in placed if unshareable(w)])
    points, beyond = [(1, plan.before.solution.cost, "")], 0
    for replicas in range(2, plan.request.options.max_replicas + 1):
        choices = [_cheapest(plan, group, replicas) for group in groups]
        reason = next((why for _, why in choices if why), "")
        points.append((replicas, rest + sum(cost for cost, _ in choices), reason))
        beyond += bool(reason)
        if beyond > _BEYOND:
            break
    return points


def _members(plan: Plan, numbers: Sequence[int]) -> list[Workload]:
    return [plan.request.workloads[number] for number in numbers]


def _without_sharing(plan: Plan, workloads: list[Workload]) -> int:
    if not workloads:
        return 0
    options = replace(plan.request.options, method="greedy")
    found = classes(workloads, plan.park, options)
    return answer(workloads, found, plan.park, options, ("exclusive", "mig")).solution.cost


def _cheapest(plan: Plan, group: _Group, replicas: int) -> tuple[int, str]:
    """On the cheapest type for the group, or the cheapest that is safe for all of it if there is one."""
    numbers = {gpu: number for number, gpu in enumerate(gpus_of(plan.park))}
    choices = [
        _on(hardware, group, numbers[hardware.gpu], replicas, plan)
        for hardware in plan.park
        if hardware.gpu.compute == MILLION
    ]
    if not choices:
        return 0, "no candidate has a whole GPU"
    return min(choices, key=lambda choice: (bool(choice[1]), choice[0], choice[1]))


def _on(hardware: Hardware, group: _Group, gpu: int, replicas: int, plan: Plan) -> tuple[int, str]:
    nodes = -(-group.pods // (replicas * hardware.kind.devices))
    most, workload = group.tightest[gpu]
    reason = _reason(workload, hardware, replicas, most, plan) if most < replicas else ""
    return nodes * hardware.price, reason or _no_room(hardware, group, replicas)


def _reason(workload: Workload, hardware: Hardware, replicas: int, most: int, plan: Plan) -> str:
    options = replace(plan.request.options, max_replicas=max(2, replicas))
    why = refusal(workload, hardware.gpu, "time-slicing", options)
    return f"{workload.name}: {why or f'at most {most} of it share one {hardware.gpu.key}'}"


def _no_room(hardware: Hardware, group: _Group, replicas: int) -> str:
    slots = replicas * hardware.kind.devices
    if slots > hardware.room[2]:
        return f"{hardware.kind.name} holds {hardware.room[2]} pods"
    if group.cpu_milli * slots > hardware.room[0]:
        return f"{hardware.kind.name} has too little CPU for {slots} pods"
    return (
        f"{hardware.kind.name} has too little memory for {slots} pods"
        if group.ram_mib * slots > hardware.room[1]
        else ""
    )
