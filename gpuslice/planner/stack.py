"""A plan as the `gpu-slicing:pools` of a stack file."""

from __future__ import annotations

from typing import Any

from gpuslice.planner.errors import InputError
from gpuslice.planner.options import MAX_REPLICAS
from gpuslice.planner.plan import Plan
from gpuslice.planner.pools import PlannedPool, pools

GROUP_TAINT = "trust-group"


def stack_text(plan: Plan) -> str:
    """A stack file with the plan's pools, which passes `gpuslice validate`.

    Raises InputError where there is no pool to write, or where the settings refuse one.
    """
    from gpuslice.text import dump

    found = pools(plan.after, plan.request.workloads)
    if not found:
        raise InputError(["no pool to write: nothing of the input can be placed"])
    entries = [entry(plan, pool) for pool in found]
    _check(plan, entries)
    config = {"aws:region": plan.request.options.region, "gpu-slicing:pools": entries}
    return "".join(f"# {line}\n" for line in _head(plan, found)) + dump({"config": config})


def _check(plan: Plan, entries: list[dict[str, Any]]) -> None:
    from gpuslice.load import load_settings
    from gpuslice.problems import SettingsError

    try:
        load_settings({"aws:region": plan.request.options.region, "gpu-slicing:pools": entries}, "plan")
    except SettingsError as error:
        raise InputError(
            [f"the settings refuse a pool of this plan: {problem}" for problem in error.problems]
        ) from None


def _head(plan: Plan, found: list[PlannedPool]) -> list[str]:
    hours = plan.request.options.hours_per_month
    cost = plan.after.solution.cost * hours / 1e6
    lines = [
        f"{plan.after.nodes} nodes, ${cost:,.2f} a month of {hours} hours, {plan.request.options.basis}.",
        "limits.nodes has one node more than the plan, so that Karpenter can replace a node before it drains it.",
    ]
    if any(pool.kind.group for pool in found):
        lines.append(f"Pods of a group need its pools' node selector, and a toleration for {GROUP_TAINT}.")
    return lines


def entry(plan: Plan, pool: PlannedPool) -> dict[str, Any]:
    """One pool of the settings."""
    kind = pool.kind
    made: dict[str, Any] = {"name": pool.name, "instanceTypes": [kind.hardware.kind.name], "sharing": _sharing(pool)}
    if plan.request.options.basis == "spot":
        made["capacityTypes"] = ["spot"]
    made["limits"] = {"nodes": len(pool.nodes) + 1}
    if kind.group:
        made["extraTaints"] = [{"key": GROUP_TAINT, "value": kind.group, "effect": "NoSchedule"}]
    return made


def _sharing(pool: PlannedPool) -> dict[str, Any]:
    kind = pool.kind
    if kind.mode == "mig":
        return {"mode": "mig", "layout": dict(kind.layout)}
    if kind.mode == "exclusive":
        return {"mode": "exclusive"}
    more = {"maxReplicas": kind.replicas} if kind.replicas > MAX_REPLICAS else {}
    return {"mode": "time-slicing", "replicas": kind.replicas, **more}
