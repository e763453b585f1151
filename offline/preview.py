"""The credential-free preview: the program itself, run in process, with everything unknown that AWS decides."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from gpuslice.catalog.prices import PriceTable, stack_prices
from gpuslice.costs import basis, costs_json, most_per_month, pool_costs
from gpuslice.pools import Pool, warnings
from gpuslice.project import OFFLINE_VARIABLE, PROJECT, policy_config, read_settings, stack_file
from gpuslice.settings import Settings
from gpuslice.stackfile import load_stack_file
from offline import Recording, record
from offline.base import Base
from offline.change import change_json, show_change
from offline.tables import by_pool, money, pools

if TYPE_CHECKING:
    from rich.console import Console
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


def as_json(report: StackRecording, base: Base | None = None) -> dict[str, Any]:
    """The preview for programs: resources, outputs and costs, and the change in cost where a base is given."""
    from offline.tree import to_json

    found, region = pools(report.settings), report.settings.region
    return {
        **to_json(report.recording),
        "stack": report.stack,
        "costs": costs_json(found, region, stack_prices(region)),
        **({"costChange": change_json(base, report.settings)} if base else {}),
        "warnings": warnings(found),
        **(report.policies.as_json() if report.policies else {}),
    }


def show(report: StackRecording, base: Base | None = None) -> None:
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
    _show_costs(console, settings, base)
    for warning in warnings(pools(settings)):
        console.print(f"Warning: {warning}.")
    if report.policies:
        console.print("", *report.policies.lines(), sep="\n", markup=False)


def show_costs(settings: Settings, base: Base | None = None) -> None:
    """The part of the preview that the Pulumi CLI does not have: slices, cost, and the change in cost."""
    from rich.console import Console

    _show_costs(Console(highlight=False), settings, base)


def _show_costs(console: Console, settings: Settings, base: Base | None) -> None:
    found, prices = pools(settings), stack_prices(settings.region)
    console.print(_slices_table(found, prices), "", _cost_table(found, prices), "", sep="\n")
    text = basis(found, settings.region, prices)
    console.print(text + " The cluster itself, its system nodes and its network are not counted.")
    if base:
        console.print("")
        show_change(console, base, settings)


def _slices_table(found: list[Pool], prices: PriceTable) -> Table:
    table = by_pool("Slices of a node, with the GPU memory and the price of one", "a pod asks for", "instance type")
    for column in ("slices", "MiB", "$/hour"):
        table.add_column(column, justify="right", no_wrap=True)
    for pool in found:
        above = ("", "")
        for row in pool_costs(pool, prices):
            here = (row.pool, row.resource)
            pool_cell, resource_cell = ("" if cell == last else cell for cell, last in zip(here, above, strict=True))
            above = here
            price = "no price" if row.usd_per_slice_hour is None else f"{row.usd_per_slice_hour:.4f}"
            numbers = (str(row.slices_per_node), f"{row.memory_mib:,}", price)
            table.add_row(pool_cell, resource_cell, row.instance_type, *numbers)
        table.add_section()
    return table


def _cost_table(found: list[Pool], prices: PriceTable) -> Table:
    table = by_pool("Monthly cost of one node, and of all that the pool may buy", "sharing", "isolation")
    for column in ("one node", "nodes", "all nodes"):
        table.add_column(column, justify="right", no_wrap=True)
    for pool in found:
        months = [row.usd_per_node_month for row in pool_costs(pool, prices) if row.usd_per_node_month is not None]
        most = most_per_month(pool, prices)
        one = "no price" if not months else _range(float(min(months)), float(max(months)))
        all_nodes = money(most)
        limit = str(pool.settings.limits.nodes)
        table.add_row(pool.name, pool.settings.sharing.mode, pool.isolation, one, limit, all_nodes)
    return table


def _range(least: float, most: float) -> str:
    return f"${least:,.2f}" if least == most else f"${least:,.2f} to ${most:,.2f}"
