"""The tables of a plan's page: rows of values, which the page escapes and prints."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from gpuslice.planner.amounts import counted, dollars, hourly, percent, shorten
from gpuslice.planner.markup import Table
from gpuslice.planner.panels import Answer

_NAMED_NODES = 4


def pools(answer: Answer) -> Table:
    """A row for each pool, and its share of the cost."""
    heads = ("Pool", "GPUs", "Shared by", "Resources: used of all", "Head-room")
    costs = ("Nodes", "USD a node-hour", "USD a month")
    rows = [_pool(pool) for pool in answer.get("pools") or []]
    return Table("Pools of the plan", (*heads, *costs), rows, frozenset(range(4, 8)), most=300)


def _pool(pool: Mapping[str, Any]) -> tuple[Any, ...]:
    resources = "; ".join(
        f"{name}: {found['used']:,} of {found['perNode'] * pool['nodes']:,}, {found['memoryMiB']:,} MiB each"
        for name, found in pool["resources"].items()
    )
    headroom = pool.get("headroom")
    return (
        pool["name"],
        f"{pool['gpusPerNode']} × {pool['gpu']} in {pool['instanceType']}",
        _sharing(pool),
        resources,
        "" if headroom is None else percent(headroom),
        f"{pool['nodes']:,}",
        hourly(pool["usdPerNodeHour"]),
        dollars(pool["usdPerMonth"]),
    )


def _sharing(pool: Mapping[str, Any]) -> str:
    if pool["mode"] == "time-slicing":
        group = f", only for group {pool['group']}" if pool.get("group") else ""
        return f"time-slicing, {counted(pool['replicas'], 'replica')}{group}"
    layout = ", ".join(f"{count} × {profile}" for profile, count in (pool.get("layout") or {}).items())
    return f"{pool['mode']}: {layout}" if layout else str(pool["mode"])


def nodes(answer: Answer) -> Table:
    """A row for each node, with the use of its GPUs."""
    heads = ("Node", "Pool", "Instance type", "GPUs: p95 (mean), slices used", "CPU used of", "RAM used of, MiB")
    rows = [_node(node) for node in (answer.get("nodes") or [])]
    return Table("Nodes of the plan", heads, rows, frozenset((4, 5)), most=1000)


def _node(node: Mapping[str, Any]) -> tuple[Any, ...]:
    gpus = [f"{percent(g['p95'])} ({percent(g['mean'])}), {g['used']} of {g['slices']}" for g in node["gpus"]]
    cpu, ram = node.get("cpu"), node.get("ramMiB")
    return (
        node["name"],
        node["pool"],
        node["instanceType"],
        "; ".join(gpus),
        f"{cpu['used']:,} of {cpu['allocatable']:,}" if cpu else "",
        f"{ram['used']:,} of {ram['allocatable']:,}" if ram else "",
    )


def placements(answer: Answer) -> Table:
    """A row for each workload, pool and resource: how many pods, on which nodes."""
    pool_of = {node["name"]: node["pool"] for node in answer.get("nodes") or []}
    found: dict[tuple[Any, ...], dict[str, int]] = {}
    for row in answer.get("placements") or []:
        key = (row["workload"], pool_of.get(row["node"], ""), row["resource"], row.get("batch"), row.get("processes"))
        on = found.setdefault(key, {})
        on[row["node"]] = on.get(row["node"], 0) + row["count"]
    heads = ("Workload", "Pool", "Resource", "Pods", "Nodes")
    rows = [_placement(key, on) for key, on in found.items()]
    return Table("Where each workload runs", heads, rows, frozenset((3,)), most=1000)


def _placement(key: tuple[Any, ...], on: Mapping[str, int]) -> tuple[Any, ...]:
    workload, pool, resource, batch, processes = key
    service = [f"batch {batch}"] if batch is not None else []
    service += [counted(processes, "process", "processes")] if processes is not None else []
    named = [f"{count:,} on {shorten(node, 60)}" for node, count in list(on.items())[:_NAMED_NODES]]
    more = [f"and {len(on) - _NAMED_NODES:,} more nodes"] if len(on) > _NAMED_NODES else []
    return workload, pool, ", ".join([resource, *service]), f"{sum(on.values()):,}", ", ".join([*named, *more])


def replicas(answer: Answer) -> Table:
    """What the plan would cost with the same number of replicas for every workload that may share."""
    rows = [
        (row["replicas"], dollars(row["usdPerMonth"]), "yes" if row["fits"] else "no", row.get("reason", ""))
        for row in answer.get("replicas") or []
    ]
    heads = ("Replicas", "USD a month", "Fits", "Why not")
    return Table("Cost by number of replicas, the same for every workload", heads, rows, frozenset((1,)), fold=0)


def unplaced(answer: Answer) -> Table:
    """Pods that no pool of the plan can run."""
    rows = [(row["workload"], f"{row['count']:,}", row["reason"]) for row in answer.get("unplaced") or []]
    return Table("Pods without a place", ("Workload", "Pods", "Why"), rows, frozenset((1,)))


def refused(answer: Answer) -> Table:
    """Ways to run a workload that the planner looked at and refused."""
    rows = [(_names(row["workloads"]), row["alternative"], row["reason"]) for row in answer.get("refused") or []]
    return Table("Refused alternatives", ("Workloads", "Alternative", "Why"), rows)


def _names(names: list[str]) -> str:
    more = f" and {len(names) - 8:,} more" if len(names) > 8 else ""
    return ", ".join(shorten(name, 60) for name in names[:8]) + more
