"""What a plan's prices are: a table, whole millionths of a dollar, and what the answer says of both."""

from __future__ import annotations

from collections.abc import Iterable
from decimal import ROUND_CEILING, Decimal
from typing import Any

from gpuslice.catalog import InstanceType
from gpuslice.catalog.prices import PriceTable, on_demand, read_price_table
from gpuslice.planner.model import MILLION
from gpuslice.planner.options import Options


def price_table(options: Options) -> PriceTable:
    """The user's own table, or the catalogue's of the region. Raises InputError."""
    if options.price_table is not None:
        return read_price_table(options.price_table, options.region)
    return on_demand(options.region)


def millionths(prices: PriceTable, kind: InstanceType, options: Options) -> int:
    """The price of a type that has one, in millionths of a dollar per hour, rounded up."""
    price = prices.of(kind.name)
    assert price is not None
    return int((price * Decimal(str(options.price_factor)) * MILLION).to_integral_value(ROUND_CEILING))


def prices_json(options: Options, prices: PriceTable, unpriced: Iterable[str]) -> dict[str, Any]:
    """`prices` of an answer."""
    return {
        "basis": options.basis,
        "factor": options.price_factor,
        "region": options.region,
        "date": prices.date,
        "source": prices.source,
        "hoursPerMonth": options.hours_per_month,
        "unpriced": list(unpriced),
    }
