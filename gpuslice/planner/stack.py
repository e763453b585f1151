"""A plan as the `gpu-slicing:pools` of a stack file."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from gpuslice.planner.errors import InputError
from gpuslice.planner.options import MAX_REPLICAS, Options
from gpuslice.planner.plan import Plan
from gpuslice.planner.pools import PlannedPool, pools
from gpuslice.planner.warnings import at_worst

if TYPE_CHECKING:
    from gpuslice.planner.service_plan import ServicePool

POOL_TAINT = "gpu-pool"
"""Keeps pods that were planned for one pool out of another that offers the same resource."""


def stack_text(plan: Plan) -> str:
    """A stack file with the plan's pools. Raises InputError as `stack_file` does."""
    return stack_file(pools(plan.after, plan.request.workloads), plan.request.options, plan.after.solution.cost)


def stack_file(found: Sequence[PlannedPool | ServicePool], options: Options, cost: int) -> str:
    """A stack file with pools that cost so many millionths of a dollar per hour; it passes `gpuslice validate`.

    Raises InputError where there is no pool to write, or where the settings refuse one.
    """
    from gpuslice.text import dump

    if not found:
        raise InputError(["no pool to write: nothing of the input can be placed"])
    entries = [entry(options, pool, _needs_taint(pool, found)) for pool in found]
    config = {"aws:region": options.region, "gpu-slicing:pools": entries}
    _check(config)
    return "".join(f"# {line}\n" for line in _head(found, options, cost)) + dump({"config": config})


def _check(config: dict[str, Any]) -> None:
    from gpuslice.load import load_settings
    from gpuslice.problems import SettingsError

    try:
        load_settings(config, "plan")
    except SettingsError as error:
        raise InputError(
            [f"the settings refuse a pool of this plan: {problem}" for problem in error.problems]
        ) from None


def _head(found: Sequence[PlannedPool | ServicePool], options: Options, cost: int) -> list[str]:
    hours, nodes = options.hours_per_month, sum(len(pool.nodes) for pool in found)
    count = "1 node" if nodes == 1 else f"{nodes} nodes"
    lines = [
        f"{count}, ${cost * hours / 1e6:,.2f} a month ({hours} h, {options.basis}).",
        "limits.nodes is what Karpenter may need, and one more: it replaces a node before it drains it.",
        "Each pod needs its pool's node selector (gpu-slicing.io/pool) and tolerations (output gpuPools):",
        "without them it may land in another pool, and the guard rails do not hold.",
    ]
    if options.basis == "reserved":
        lines.append("Add capacityReservations, and reserved to capacityTypes, where the capacity is reserved.")
    return lines


def _needs_taint(pool: PlannedPool | ServicePool, found: Sequence[PlannedPool | ServicePool]) -> bool:
    """MIG pools have a taint of their own. Others need one where another pool offers the same, or for a group alone."""
    if pool.kind.mode == "mig":
        return False
    return bool(pool.kind.group) or any(other is not pool and other.kind.mode == pool.kind.mode for other in found)


def entry(options: Options, pool: PlannedPool | ServicePool, taint: bool) -> dict[str, Any]:
    """One pool of the settings."""
    kind = pool.kind
    made: dict[str, Any] = {"name": pool.name, "instanceTypes": [kind.hardware.kind.name], "sharing": _sharing(pool)}
    if options.basis == "spot":
        made["capacityTypes"] = ["spot"]
    nodes = at_worst(pool) if isinstance(pool, PlannedPool) else len(pool.nodes)
    made["limits"] = {"nodes": nodes + 1}
    if taint:
        made["extraTaints"] = [{"key": POOL_TAINT, "value": pool.name, "effect": "NoSchedule"}]
    return made


def _sharing(pool: PlannedPool | ServicePool) -> dict[str, Any]:
    kind = pool.kind
    if kind.mode == "mig":
        return {"mode": "mig", "layout": dict(kind.layout)}
    if kind.mode == "exclusive":
        return {"mode": "exclusive"}
    more = {"maxReplicas": kind.replicas} if kind.replicas > MAX_REPLICAS else {}
    return {"mode": "time-slicing", "replicas": kind.replicas, **more}
