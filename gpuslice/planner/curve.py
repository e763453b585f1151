"""Cost against the number of replicas: what one number for every pool would cost, and where it stops being safe."""

from __future__ import annotations

from dataclasses import replace

from gpuslice.planner.guards import fit, refusal, unshareable
from gpuslice.planner.model import Workload
from gpuslice.planner.offers import Hardware, classes
from gpuslice.planner.plan import Plan, answer

_BEYOND = 2
"""So many numbers of replicas that do not fit are shown."""
_MOST_WORKLOADS = 5000


def curve(plan: Plan) -> list[tuple[int, int, str]]:
    """(replicas, cost in millionths of a dollar per hour, why it is not safe), from one replica on.

    Each group's shareable workloads in pools of one size on one instance type, the others as they are without
    time-slicing. Empty where nothing can be shared, or for more workloads than a picture is made of.
    """
    placed = [plan.request.workloads[m] for cls in plan.after.catalogue.classes for m in cls.members]
    shareable = [w for w in placed if not unshareable(w)]
    if not shareable or len(placed) > _MOST_WORKLOADS:
        return []
    rest = _without_sharing(plan, [w for w in placed if unshareable(w)])
    points, beyond = [(1, plan.before.solution.cost, "")], 0
    for replicas in range(2, plan.request.options.max_replicas + 1):
        cost, reason = _shared(plan, shareable, replicas)
        points.append((replicas, rest + cost, reason))
        beyond += bool(reason)
        if beyond > _BEYOND:
            break
    return points


def _without_sharing(plan: Plan, workloads: list[Workload]) -> int:
    if not workloads:
        return 0
    options = replace(plan.request.options, method="greedy")
    found = classes(workloads, plan.park, options)
    return answer(workloads, found, plan.park, options, ("exclusive", "mig")).solution.cost


def _shared(plan: Plan, workloads: list[Workload], replicas: int) -> tuple[int, str]:
    """The cheapest type for each group; one that is safe for all of it if there is one."""
    cost, reason = 0, ""
    for group in sorted({w.group for w in workloads}):
        members = [w for w in workloads if w.group == group]
        choices = [
            _on(hardware, members, replicas, plan) for hardware in plan.park if hardware.gpu.compute == 1_000_000
        ]
        if not choices:
            return cost, "no candidate has a whole GPU"
        best = min(choices, key=lambda choice: (bool(choice[1]), choice[0], choice[1]))
        cost += best[0]
        reason = reason or best[1]
    return cost, reason


def _on(hardware: Hardware, workloads: list[Workload], replicas: int, plan: Plan) -> tuple[int, str]:
    pods = sum(w.count for w in workloads)
    nodes = -(-pods // (replicas * hardware.kind.devices))
    unsafe = next((w for w in workloads if fit(w, hardware.gpu, plan.request.options).replicas < replicas), None)
    reason = "" if unsafe is None else _reason(unsafe, hardware, replicas, plan)
    return nodes * hardware.price, reason or _no_room(hardware, workloads, replicas)


def _reason(workload: Workload, hardware: Hardware, replicas: int, plan: Plan) -> str:
    options = replace(plan.request.options, max_replicas=max(2, replicas))
    most = fit(workload, hardware.gpu, plan.request.options).replicas
    why = refusal(workload, hardware.gpu, "time-slicing", options)
    return f"{workload.name}: {why or f'at most {most} of it share one {hardware.gpu.key}'}"


def _no_room(hardware: Hardware, workloads: list[Workload], replicas: int) -> str:
    slots = replicas * hardware.kind.devices
    if slots > hardware.room[2]:
        return f"{hardware.kind.name} holds {hardware.room[2]} pods"
    cpu = max(w.cpu_milli for w in workloads) * slots > hardware.room[0]
    ram = max(w.ram_mib for w in workloads) * slots > hardware.room[1]
    return f"{hardware.kind.name} has too little {'CPU' if cpu else 'memory'} for {slots} pods" if cpu or ram else ""
