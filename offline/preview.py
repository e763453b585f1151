"""The credential-free preview: the program itself, run in process, with everything unknown that AWS decides."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from gpuslice.costs import basis, costs_json, most_per_month, pool_costs
from gpuslice.pools import Pool, warnings
from gpuslice.project import OFFLINE_VARIABLE, PROJECT, policy_config, read_settings, stack_file
from gpuslice.settings import Settings
from gpuslice.stackfile import load_stack_file
from offline import Recording, record

if TYPE_CHECKING:
    from rich.table import Table

    from policies.report import Report


@dataclass(frozen=True)
class StackRecording:
    """A stack's settings, what its program registers, and what the policy pack says of that."""

    stack: str
    settings: Settings
    recording: Recording
    policies: Report | None = None


def record_stack(root: Path, stack: str, *, unknowns: bool) -> StackRecording:
    """Runs the program of `root` for a stack. Raises SettingsError before it starts, ProgramFailed from within."""
    path = stack_file(stack, root)
    settings = read_settings(path)
    config = engine_config(load_stack_file(path))
    with _outside_the_engine():
        recording = record(root, project=PROJECT, stack=stack, config=config, preview=unknowns)
    return StackRecording(stack, settings, recording)


@contextmanager
def _outside_the_engine() -> Iterator[None]:
    """Tells the program that nothing real will be made, so that it may run a stack of the sandbox."""
    before = os.environ.get(OFFLINE_VARIABLE)
    os.environ[OFFLINE_VARIABLE] = "1"
    try:
        yield
    finally:
        os.environ.pop(OFFLINE_VARIABLE)
        if before is not None:
            os.environ[OFFLINE_VARIABLE] = before


def engine_config(config: Mapping[str, Any]) -> dict[str, str]:
    """The configuration as the engine hands it to a program: text, structures as JSON."""
    return {key: value if isinstance(value, str) else json.dumps(value) for key, value in config.items()}


def preview(root: Path, stack: str) -> StackRecording:
    """As the first preview of an empty account, judged by the policy pack."""
    return judged(root, stack, unknowns=True)


def judged(root: Path, stack: str, *, unknowns: bool) -> StackRecording:
    """The recording of a stack with the pack's verdict. Raises what the two raise.

    The pack starts while the program is recorded.
    """
    path = stack_file(stack, root)
    read_settings(path)  # a wrong stack file is said at once
    from offline.policy_pack import ask, starting

    with starting(root / "policies") as connect:
        report = record_stack(root, stack, unknowns=unknowns)
        return replace(report, policies=ask(connect(), report.recording, policy_config(stack, root)))


def pools(report: StackRecording) -> list[Pool]:
    return [Pool.of(p) for p in report.settings.pools]


def as_json(report: StackRecording) -> dict[str, Any]:
    """The preview for programs: resources, outputs and costs."""
    from offline.tree import to_json

    return {
        **to_json(report.recording),
        "stack": report.stack,
        "costs": costs_json(pools(report), report.settings.region),
        "warnings": warnings(pools(report)),
        **(report.policies.as_json() if report.policies else {}),
    }


def show(report: StackRecording) -> None:
    """The preview for a person, on standard output; its tables fit into 80 columns."""
    from rich.console import Console

    from offline.tree import counts_by_package, resource_tree, to_rich

    console = Console(highlight=False)
    settings = report.settings
    console.print(
        f"Preview of stack [bold]{report.stack}[/]: cluster {settings.cluster.name} in {settings.region},"
        f" Kubernetes {settings.cluster.kubernetes_version}. No credentials were used; nothing was made.\n"
    )
    console.print(to_rich(resource_tree(report.recording)))
    counts = counts_by_package(report.recording)
    kinds = ", ".join(f"{package} {count}" for package, count in counts.items())
    console.print(f"\n{sum(counts.values())} resources to create ({kinds})\n")
    found = pools(report)
    console.print(_slices_table(found), "", _cost_table(found), "", sep="\n")
    console.print(basis(settings.region) + " The cluster itself, its system nodes and its network are not counted.")
    for warning in warnings(found):
        console.print(f"Warning: {warning}.")
    if report.policies:
        console.print("", *report.policies.lines(), sep="\n", markup=False)


def _slices_table(found: list[Pool]) -> Table:
    table = _table("Slices of a node, with the GPU memory and the price of one", "a pod asks for", "instance type")
    for column in ("slices", "MiB", "$/hour"):
        table.add_column(column, justify="right", no_wrap=True)
    for pool in found:
        above = ("", "")
        for row in pool_costs(pool):
            here = (row.pool, row.resource)
            pool_cell, resource_cell = ("" if cell == last else cell for cell, last in zip(here, above, strict=True))
            above = here
            price = "no price" if row.usd_per_slice_hour is None else f"{row.usd_per_slice_hour:.4f}"
            numbers = (str(row.slices_per_node), f"{row.memory_mib:,}", price)
            table.add_row(pool_cell, resource_cell, row.instance_type, *numbers)
        table.add_section()
    return table


def _cost_table(found: list[Pool]) -> Table:
    table = _table("Monthly cost of one node, and of all that the pool may buy", "sharing", "isolation")
    for column in ("one node", "nodes", "all nodes"):
        table.add_column(column, justify="right", no_wrap=True)
    for pool in found:
        prices = [row.usd_per_node_month for row in pool_costs(pool) if row.usd_per_node_month is not None]
        most = most_per_month(pool)
        one = "no price" if not prices else _range(float(min(prices)), float(max(prices)))
        all_nodes = "no price" if most is None else f"${most:,.2f}"
        limit = str(pool.settings.limits.nodes)
        table.add_row(pool.name, pool.settings.sharing.mode, pool.isolation, one, limit, all_nodes)
    return table


def _table(title: str, *columns: str) -> Table:
    """A table by pool. Only a long pool name is folded; everything else stays whole."""
    from rich.box import SIMPLE_HEAD
    from rich.table import Table

    table = Table(
        title=title, title_justify="left", box=SIMPLE_HEAD, show_edge=False, pad_edge=False, padding=(0, 1, 0, 0)
    )
    table.add_column("pool", overflow="fold")
    for column in columns:
        table.add_column(column, no_wrap=True)
    return table


def _range(least: float, most: float) -> str:
    return f"${least:,.2f}" if least == most else f"${least:,.2f} to ${most:,.2f}"
