"""What a change of the pools does to their cost: pool by pool, against the stack as it was."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Any, Literal

from gpuslice.catalog.prices import PriceTable
from gpuslice.costs import most_per_month
from gpuslice.pools import Pool, SliceResource

Kind = Literal["added", "removed", "changed", "unchanged"]
NOTHING = Decimal(0)


@dataclass(frozen=True)
class Amounts:
    """US dollars a month, before and after. None where a price is not known; a pool that is not there costs nothing."""

    before: Decimal | None
    after: Decimal | None

    @property
    def change(self) -> Decimal | None:
        return None if self.before is None or self.after is None else self.after - self.before

    def as_json(self) -> dict[str, float | None]:
        values = {"before": self.before, "after": self.after, "change": self.change}
        return {name: None if value is None else round(float(value), 2) for name, value in values.items()}


@dataclass(frozen=True)
class Range:
    """The least and the most that a slice costs an hour, in US dollars, over the instance types with a price."""

    low: Decimal
    high: Decimal

    def as_json(self) -> dict[str, float]:
        return {"min": round(float(self.low), 6), "max": round(float(self.high), 6)}


@dataclass(frozen=True)
class SliceChange:
    """One slice resource of a pool. None where the pool does not have it, or none of its types has a price."""

    resource: str
    before: Range | None
    after: Range | None

    def as_json(self) -> dict[str, Any]:
        sides = {"before": self.before, "after": self.after}
        prices = {name: None if side is None else side.as_json() for name, side in sides.items()}
        return {"resource": self.resource, "usdPerSliceHour": prices}


@dataclass(frozen=True)
class PoolChange:
    """One pool: what became of it, what of its settings changed, and the cost at its limit of nodes."""

    name: str
    kind: Kind
    what: tuple[str, ...]
    month: Amounts
    slices: tuple[SliceChange, ...]

    def as_json(self) -> dict[str, Any]:
        return {
            "name": self.name,
            "change": self.kind,
            "what": list(self.what),
            "usdPerMonthAtLimit": self.month.as_json(),
            "slices": [s.as_json() for s in self.slices],
        }


@dataclass(frozen=True)
class CostChange:
    """The pools of a stack against those before: first the ones that there are, then the ones that are gone."""

    regions: tuple[str, str]
    pools: tuple[PoolChange, ...]

    @property
    def total(self) -> Amounts:
        """All pools at their limits; None on a side where one of them has no price."""
        return Amounts(_sum([p.month.before for p in self.pools]), _sum([p.month.after for p in self.pools]))

    def as_json(self) -> dict[str, Any]:
        before, after = self.regions
        return {
            "priceRegion": {"before": before, "after": after},
            "usdPerMonthAtLimit": self.total.as_json(),
            "pools": [p.as_json() for p in self.pools],
        }


def cost_change(
    before: Sequence[Pool], after: Sequence[Pool], before_prices: PriceTable, after_prices: PriceTable
) -> CostChange:
    """Compares pools by their names: a pool with a new name is one removed and one added."""
    old, new = {p.name: p for p in before}, {p.name: p for p in after}
    names = [*new, *(name for name in old if name not in new)]
    changes = (_pool_change(name, old.get(name), new.get(name), before_prices, after_prices) for name in names)
    return CostChange((before_prices.region, after_prices.region), tuple(changes))


def _pool_change(
    name: str, old: Pool | None, new: Pool | None, old_prices: PriceTable, new_prices: PriceTable
) -> PoolChange:
    month = Amounts(
        NOTHING if old is None else most_per_month(old, old_prices),
        NOTHING if new is None else most_per_month(new, new_prices),
    )
    slices = _slice_changes(old, new, old_prices, new_prices)
    what = () if old is None or new is None else _what(old, new)
    kind: Kind = "unchanged"
    if old is None or new is None:
        kind = "added" if old is None else "removed"
    elif what or month.before != month.after or any(s.before != s.after for s in slices):
        kind = "changed"
    return PoolChange(name, kind, what, month, slices)


def _what(old: Pool, new: Pool) -> tuple[str, ...]:
    """The settings behind the cost, those that differ."""
    pairs = {
        "limits.nodes": (str(old.settings.limits.nodes), str(new.settings.limits.nodes)),
        "sharing": (old.config_name, new.config_name),
        "capacityTypes": (", ".join(old.settings.capacity_types), ", ".join(new.settings.capacity_types)),
    }
    what = [f"{key} {was} -> {now}" for key, (was, now) in pairs.items() if was != now]
    was, now = ([t.name for t in pool.types] for pool in (old, new))
    for word, names in (("with", [n for n in now if n not in was]), ("without", [n for n in was if n not in now])):
        if names:
            what.append(f"{word} {', '.join(names)}")
    return tuple(what)


def _slice_changes(
    old: Pool | None, new: Pool | None, old_prices: PriceTable, new_prices: PriceTable
) -> tuple[SliceChange, ...]:
    was, now = _ranges(old, old_prices), _ranges(new, new_prices)
    return tuple(SliceChange(name, was.get(name), now.get(name)) for name in dict.fromkeys([*now, *was]))


def _ranges(pool: Pool | None, prices: PriceTable) -> dict[str, Range | None]:
    return {} if pool is None else {r.name: _range(pool, r, prices) for r in pool.resources}


def _range(pool: Pool, resource: SliceResource, prices: PriceTable) -> Range | None:
    found = [pool.slice_price(resource, t, prices) for t in pool.types]
    known = [price for price in found if price is not None]
    return Range(min(known), max(known)) if known else None


def _sum(amounts: Sequence[Decimal | None]) -> Decimal | None:
    known = [a for a in amounts if a is not None]
    return sum(known, NOTHING) if len(known) == len(amounts) else None
