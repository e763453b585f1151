"""What the pools of a stack cost: US dollars from list prices, on demand, for a month of 720 hours."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

from gpuslice.catalog import HOURS_PER_MONTH, PRICE_DATE, PRICE_REGION, InstanceType
from gpuslice.pools import Pool

CENT = Decimal("0.01")


@dataclass(frozen=True)
class ResourceCost:
    """One slice resource on one instance type of a pool. Prices are None where the type has no list price."""

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


def pool_costs(pool: Pool) -> list[ResourceCost]:
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
            pool.slice_price(resource, instance_type),
            node_month(instance_type),
        )
        for instance_type in pool.types
        for resource in pool.resources
    ]


def node_month(instance_type: InstanceType) -> Decimal | None:
    """One node for a month, to the cent."""
    price = instance_type.usd_per_hour
    return None if price is None else (price * HOURS_PER_MONTH).quantize(CENT)


def most_per_month(pool: Pool) -> Decimal | None:
    """The pool at its limit: every node that it may have, of its dearest type. None where a type has no price."""
    prices = [node_month(t) for t in pool.types]
    known = [p for p in prices if p is not None]
    return max(known) * pool.settings.limits.nodes if len(known) == len(prices) else None


def basis(region: str) -> str:
    """What the figures rest on, in a sentence or two."""
    elsewhere = "" if region == PRICE_REGION else f" This stack is in {region}, where prices differ."
    return (
        f"On-demand list prices of {PRICE_REGION}, {PRICE_DATE}; a month has {HOURS_PER_MONTH} hours. An idle pool has"
        f" no nodes and costs nothing; spot and reserved nodes cost less.{elsewhere}"
    )


def costs_json(pools: Sequence[Pool], region: str) -> dict[str, Any]:
    """The costs of a stack for programs."""
    return {
        "hoursPerMonth": HOURS_PER_MONTH,
        "priceRegion": PRICE_REGION,
        "priceDate": PRICE_DATE,
        "basis": basis(region),
        "pools": [
            {
                "name": p.name,
                "maxNodes": p.settings.limits.nodes,
                "usdPerMonthAtLimit": _number(most_per_month(p), 2),
                "slices": [row.as_json() for row in pool_costs(p)],
            }
            for p in pools
        ],
    }
