"""What the tables of a preview have in common."""

from __future__ import annotations

from decimal import Decimal
from typing import TYPE_CHECKING

from gpuslice.pools import Pool
from gpuslice.settings import Settings

if TYPE_CHECKING:
    from rich.table import Table


def pools(settings: Settings) -> list[Pool]:
    """The pools of a stack, derived."""
    return [Pool.of(p) for p in settings.pools]


def by_pool(title: str, *columns: str) -> Table:
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


def money(amount: Decimal | None) -> str:
    """US dollars to the cent."""
    return "no price" if amount is None else f"${amount:,.2f}"
