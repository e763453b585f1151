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

GROUP_TAINT = "trust-group"


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
    entries = [entry(options, pool) for pool in found]
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
    lines = [
        f"{nodes} nodes, ${cost * hours / 1e6:,.2f} a month of {hours} hours, {options.basis}.",
        "limits.nodes is what Karpenter may need at worst, and one more: it replaces a node before it drains it.",
    ]
    if any(pool.kind.group for pool in found):
        lines.append(f"Pods of a group need its pools' node selector, and a toleration for {GROUP_TAINT}.")
    return lines


def entry(options: Options, pool: PlannedPool | ServicePool) -> dict[str, Any]:
    """One pool of the settings."""
    kind = pool.kind
    made: dict[str, Any] = {"name": pool.name, "instanceTypes": [kind.hardware.kind.name], "sharing": _sharing(pool)}
    if options.basis == "spot":
        made["capacityTypes"] = ["spot"]
    nodes = at_worst(pool) if isinstance(pool, PlannedPool) else len(pool.nodes)
    made["limits"] = {"nodes": nodes + 1}
    if kind.group:
        made["extraTaints"] = [{"key": GROUP_TAINT, "value": kind.group, "effect": "NoSchedule"}]
    return made


def _sharing(pool: PlannedPool | ServicePool) -> dict[str, Any]:
    kind = pool.kind
    if kind.mode == "mig":
        return {"mode": "mig", "layout": dict(kind.layout)}
    if kind.mode == "exclusive":
        return {"mode": "exclusive"}
    more = {"maxReplicas": kind.replicas} if kind.replicas > MAX_REPLICAS else {}
    return {"mode": "time-slicing", "replicas": kind.replicas, **more}
