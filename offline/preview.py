"""The credential-free preview: the program itself, run in process, with everything unknown that AWS decides."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from gpuslice.costs import basis, costs_json, most_per_month, pool_costs
from gpuslice.load import load_settings
from gpuslice.pools import Pool
from gpuslice.project import OFFLINE_VARIABLE, PROJECT, stack_file
from gpuslice.settings import Settings
from gpuslice.stackfile import load_stack_file
from offline import Recording, record


@dataclass(frozen=True)
class StackRecording:
    """A stack's settings and what its program registers."""

    stack: str
    settings: Settings
    recording: Recording


def record_stack(root: Path, stack: str, *, unknowns: bool) -> StackRecording:
    """Runs the program of `root` for a stack. Raises SettingsError before it starts, ProgramFailed from within."""
    config = load_stack_file(stack_file(stack, root))
    settings = load_settings(config, stack)
    with _outside_the_engine():
        recording = record(root, project=PROJECT, stack=stack, config=engine_config(config), preview=unknowns)
    return StackRecording(stack, settings, recording)


@contextmanager
def _outside_the_engine() -> Iterator[None]:
    """Tells the program that nothing real will be made, so that it may run a stack of the sandbox."""
    os.environ[OFFLINE_VARIABLE] = "1"
    try:
        yield
    finally:
        del os.environ[OFFLINE_VARIABLE]


def engine_config(config: Mapping[str, Any]) -> dict[str, str]:
    """The configuration as the engine hands it to a program: text, structures as JSON."""
    return {key: value if isinstance(value, str) else json.dumps(value) for key, value in config.items()}


def preview(root: Path, stack: str) -> StackRecording:
    """As the first preview of an empty account."""
    return record_stack(root, stack, unknowns=True)


def pools(report: StackRecording) -> list[Pool]:
    return [Pool.of(p) for p in report.settings.pools]


def as_json(report: StackRecording) -> dict[str, Any]:
    """The preview for programs: resources, outputs and costs."""
    from offline.tree import to_json

    return {
        **to_json(report.recording),
        "stack": report.stack,
        "costs": costs_json(pools(report), report.settings.region),
    }


def show(report: StackRecording) -> None:
    """The preview for a person, on standard output."""
    from rich.console import Console

    from offline.tree import resource_tree, to_rich

    console = Console(soft_wrap=False, highlight=False)
    settings = report.settings
    console.print(
        f"Preview of stack [bold]{report.stack}[/]: cluster {settings.cluster.name} in {settings.region},"
        f" Kubernetes {settings.cluster.kubernetes_version}. No credentials were used; nothing was made.\n"
    )
    console.print(to_rich(resource_tree(report.recording)))
    count = sum(1 for r in report.recording.resources if r.custom)
    console.print(f"\n{count} resources to create, in {len(report.recording.resources) - count} components\n")
    console.print(_slices_table(pools(report)))
    console.print(_cost_table(pools(report)))
    console.print(basis(settings.region) + " The cluster itself, its system nodes and its network are not counted.")


def _slices_table(found: list[Pool]) -> Any:
    from rich.table import Table

    table = Table(title="Slices", title_justify="left")
    for column in ("pool", "sharing", "isolation", "instance type", "a pod asks for"):
        table.add_column(column, overflow="fold")
    for column in ("slices/node", "MiB/slice", "$/slice-hour"):
        table.add_column(column, justify="right")
    for row in (row for pool in found for row in pool_costs(pool)):
        price = "no list price" if row.usd_per_slice_hour is None else f"{row.usd_per_slice_hour:.3f}"
        cells = (row.pool, row.mode, row.isolation, row.instance_type, row.resource)
        table.add_row(*cells, str(row.slices_per_node), str(row.memory_mib), price)
    return table


def _cost_table(found: list[Pool]) -> Any:
    from rich.table import Table

    table = Table(title="Monthly cost", title_justify="left")
    table.add_column("pool", overflow="fold")
    for column in ("idle", "one node", "nodes at most", "at the limit"):
        table.add_column(column, justify="right")
    for pool in found:
        prices = [row.usd_per_node_month for row in pool_costs(pool) if row.usd_per_node_month is not None]
        most = most_per_month(pool)
        one = "no list price" if not prices else _range(float(min(prices)), float(max(prices)))
        limit = "no list price" if most is None else f"${most:,.2f}"
        table.add_row(pool.name, "$0.00", one, str(pool.settings.limits.nodes), limit)
    return table


def _range(least: float, most: float) -> str:
    return f"${least:,.2f}" if least == most else f"${least:,.2f} to ${most:,.2f}"
