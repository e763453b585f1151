"""What the pools of a stack cost: US dollars from list prices, on demand, for a month of 720 hours.

The prices are those of the stack's region (`gpuslice.catalog.prices.stack_prices`).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

from gpuslice.catalog import HOURS_PER_MONTH, InstanceType
from gpuslice.catalog.prices import PriceTable
from gpuslice.pools import Pool

CENT = Decimal("0.01")


@dataclass(frozen=True)
class ResourceCost:
    """One slice resource on one instance type of a pool. Prices are None where the type has none in the region."""

    pool: str
    mode: str
    isolation: str
    instance_type: str
    gpus: int
    resource: str
    slices_per_node: int
    memory_mib: int
    usd_per_slice_hour: Decimal | None
    usd_per_node_month: Decimal | None

    def as_json(self) -> dict[str, Any]:
        return {
            "pool": self.pool,
            "mode": self.mode,
            "isolation": self.isolation,
            "instanceType": self.instance_type,
            "gpus": self.gpus,
            "resource": self.resource,
            "slicesPerNode": self.slices_per_node,
            "memoryMiB": self.memory_mib,
            "usdPerSliceHour": _number(self.usd_per_slice_hour, 6),
            "usdPerNodeMonth": _number(self.usd_per_node_month, 2),
        }


def _number(value: Decimal | None, digits: int) -> float | None:
    return None if value is None else round(float(value), digits)


def pool_costs(pool: Pool, prices: PriceTable) -> list[ResourceCost]:
    """One row for each instance type and resource of the pool."""
    return [
        ResourceCost(
            pool.name,
            pool.settings.sharing.mode,
            pool.isolation,
            instance_type.name,
            instance_type.devices,
            resource.name,
            pool.slices(instance_type)[resource.name],
            resource.memory_mib,
            pool.slice_price(resource, instance_type, prices),
            node_month(instance_type, prices),
        )
        for instance_type in pool.types
        for resource in pool.resources
    ]


def node_month(instance_type: InstanceType, prices: PriceTable) -> Decimal | None:
    """One node for a month, to the cent."""
    price = prices.of(instance_type.name)
    return None if price is None else (price * HOURS_PER_MONTH).quantize(CENT)


def most_per_month(pool: Pool, prices: PriceTable) -> Decimal | None:
    """The pool at its limit: every node that it may have, of its dearest type. None where a type has no price."""
    months = [node_month(t, prices) for t in pool.types]
    known = [m for m in months if m is not None]
    return max(known) * pool.settings.limits.nodes if len(known) == len(months) else None


def unpriced(pools: Sequence[Pool], prices: PriceTable) -> list[str]:
    """The instance types of the pools that have no price, each once, in the order of the pools."""
    return list(dict.fromkeys(t.name for p in pools for t in p.types if prices.of(t.name) is None))


def basis(pools: Sequence[Pool], region: str, prices: PriceTable) -> str:
    """What the figures rest on, in a few sentences: which prices, and what they are not."""
    date = f", {prices.date}" if prices.date else ""
    text = (
        f"On-demand list prices of {prices.region}{date}; a month has {HOURS_PER_MONTH} hours. An idle pool has"
        f" no nodes and costs nothing; spot and reserved nodes cost less."
    )
    if region != prices.region:
        text += f" This stack is in {region}, whose prices are not known here: they differ from these."
    if missing := unpriced(pools, prices):
        text += f" No price in {prices.region}: {', '.join(missing)}."
    return text


def costs_json(pools: Sequence[Pool], region: str, prices: PriceTable) -> dict[str, Any]:
    """The costs of a stack in `region` for programs."""
    return {
        "hoursPerMonth": HOURS_PER_MONTH,
        "priceRegion": prices.region,
        "priceDate": prices.date,
        "priceSource": prices.source,
        "unpriced": unpriced(pools, prices),
        "basis": basis(pools, region, prices),
        "pools": [
            {
                "name": p.name,
                "maxNodes": p.settings.limits.nodes,
                "usdPerMonthAtLimit": _number(most_per_month(p, prices), 2),
                "slices": [row.as_json() for row in pool_costs(p, prices)],
            }
            for p in pools
        ],
    }
