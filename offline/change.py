"""Shows what a change of the stack does to its cost, against a base."""

from __future__ import annotations

from decimal import Decimal
from typing import TYPE_CHECKING, Any

from gpuslice.catalog.prices import stack_prices
from gpuslice.cost_change import Amounts, CostChange, PoolChange, Range, cost_change
from gpuslice.settings import Settings
from offline.base import Base
from offline.tables import by_pool, money, pools

if TYPE_CHECKING:
    from rich.console import Console
    from rich.table import Table


def change_from(base: Base, settings: Settings) -> CostChange | None:
    """The change against a base; None where the base is refused today, so that nothing can be compared."""
    if base.problem:
        return None
    prices = stack_prices(settings.region)
    if base.settings is None:
        return cost_change([], pools(settings), prices, prices)
    return cost_change(pools(base.settings), pools(settings), stack_prices(base.settings.region), prices)


def change_json(base: Base, settings: Settings) -> dict[str, Any]:
    """The change for programs; `problem` instead of figures where the base is refused today."""
    change = change_from(base, settings)
    if change is None:
        return {"base": base.label, "problem": base.problem}
    return {"base": base.label, "newStack": base.new, **change.as_json()}


def show_change(console: Console, base: Base, settings: Settings) -> None:
    """The pools whose cost or sharing changed, in figures and then in words, within 80 columns."""
    change = change_from(base, settings)
    if change is None:
        lines = [f"  {line}" for line in base.problem.splitlines()]
        lines.insert(0, f"The change in cost is not known: today's rules refuse the stack file of {base.label}.")
        console.print(*lines, sep="\n", markup=False)
        return
    changed = [p for p in change.pools if p.kind != "unchanged"]
    if not changed:
        total = money(change.total.after)
        console.print(f"No change in cost against {base.label}: {total} a month for all nodes.", markup=False)
        return
    console.print(_table(base, change.total, changed), "", sep="\n")
    console.print(*_words(base, change, changed), sep="\n", markup=False)


def _words(base: Base, change: CostChange, changed: list[PoolChange]) -> list[str]:
    before, after = change.regions
    lines = ["In dollars: all nodes of a pool for a month; below it, one slice for an hour."]
    lines += [f"The stack is new: {base.label} has no file of it."] if base.new else []
    lines += [f"Prices of {before} before, of {after} after."] if before != after else []
    lines += [f"{p.name} {p.kind}" + (f": {'; '.join(p.what)}" if p.what else "") for p in changed]
    rest = len(change.pools) - len(changed)
    return lines + ([f"{rest} {'pool' if rest == 1 else 'pools'} unchanged"] if rest else [])


def _table(base: Base, total: Amounts, changed: list[PoolChange]) -> Table:
    from rich.markup import escape

    table = by_pool(f"Change in cost against {escape(base.label)}")
    for column in ("before", "after", "change"):
        table.add_column(column, justify="right", no_wrap=True)
    for pool in changed:
        table.add_row(pool.name, *_months(pool.month))
        for row in pool.slices:
            prices = (_hourly(row.before), _hourly(row.after), _difference(row.before, row.after))
            table.add_row(f"  {row.resource}", *prices)
        table.add_section()
    table.add_row("all pools", *_months(total))
    return table


def _months(amounts: Amounts) -> tuple[str, str, str]:
    return money(amounts.before), money(amounts.after), _signed(amounts.change)


def _signed(amount: Decimal | None) -> str:
    if amount is None:
        return "not known"
    return f"{'-' if amount < 0 else '+'}${abs(amount):,.2f}" if amount else "none"


def _hourly(prices: Range | None) -> str:
    if prices is None:
        return "-"
    low, high = f"{prices.low:.4f}", f"{prices.high:.4f}"
    return low if low == high else f"{low} to {high}"


def _difference(before: Range | None, after: Range | None) -> str:
    """Of the cheapest and of the dearest instance type, once where it is the same."""
    if before is None or after is None:
        return "-"
    if before == after:
        return "none"
    low, high = f"{after.low - before.low:+.4f}", f"{after.high - before.high:+.4f}"
    return low if low == high else f"{low} to {high}"
