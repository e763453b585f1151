"""On-demand prices by region: the catalogue's own, and a table that a user gives instead.

Sources of the catalogue's figures (prices.csv), all of them AWS's price list for Linux on shared hardware:
- us-east-1 and us-gov-*: the price tables of the Karpenter AWS provider, generated 2026-07-20. The release that is
  pinned here, v1.14.1, has the same figures (generated 2026-07-06 and 2026-06-15), but for g7, which it lacks.
- every other region: github.com/tsaol/aws-gpu, a copy of the price list of 2026-01-21 by way of Vantage's list of
  instances. Checked in November 2026: all of its 57 figures for us-east-1 and all of its 39 for us-gov-* are the ones
  that Karpenter has half a year later; so are the regional figures of g6e in SkyPilot's catalogue of 2026.
China is left out: AWS lists its prices there in yuan.
"""

from __future__ import annotations

import csv
import difflib
import io
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from decimal import Decimal
from functools import lru_cache
from pathlib import Path
from types import MappingProxyType

from gpuslice.catalog.load import PRICE_DATE, PRICE_REGION, PRICE_SOURCE, instance_types, list_prices
from gpuslice.planner.errors import InputError, shown
from gpuslice.planner.files import readable_text

OTHER_DATE = "2026-01-21"
OTHER_SOURCE = "github.com/tsaol/aws-gpu commit 77fcd9f, data/all_gpu_instances.js"
COLUMNS = ("region", "instance_type", "usd_per_hour")
MOST_USD_PER_HOUR = 1000
"""The dearest type of the catalogue costs 171 dollars an hour; a thousand is a month's price, or another currency."""
MAX_BYTES = 8 * 1024 * 1024
OWN_TABLE = (
    f"a table of your own: CSV with the columns {COLUMNS[1]}, {COLUMNS[2]} and, where it has several, {COLUMNS[0]}"
)
_PRICE = re.compile(r"[0-9]{1,12}(\.[0-9]{1,12})?", re.ASCII)
_CHINA = "cn-"


@dataclass(frozen=True)
class PriceTable:
    """What instance types cost in a region: on-demand US dollars per hour, by type.

    `date` is the day that the figures are of (ISO 8601), empty for a table of the user's own. A type that is missing
    has no known price; that is never a price of zero.
    """

    region: str
    date: str
    source: str
    prices: Mapping[str, Decimal]

    def of(self, instance_type: str) -> Decimal | None:
        """The price of a type, None where the table has none."""
        return self.prices.get(instance_type)


def priced_regions() -> tuple[str, ...]:
    """The regions whose prices the catalogue has, by name."""
    return tuple(sorted(list_prices()))


@lru_cache(maxsize=64)
def on_demand(region: str) -> PriceTable:
    """The catalogue's prices of a region. Raises InputError for a region that it has no prices of."""
    prices = list_prices().get(region)
    if prices is None:
        why = " (AWS lists them in yuan)" if region.startswith(_CHINA) else ""
        allowed = f"{', '.join(priced_regions())}; or {OWN_TABLE}"
        raise InputError([f"no prices are known for region {shown(region)}{why}. Allowed: {allowed}"])
    by_karpenter = region == PRICE_REGION or region.startswith("us-gov-")
    date, source = (PRICE_DATE, PRICE_SOURCE) if by_karpenter else (OTHER_DATE, OTHER_SOURCE)
    return PriceTable(region, date, source, prices)


def stack_prices(region: str) -> PriceTable:
    """The prices of a stack's region, or of us-east-1 where it has none: `PriceTable.region` tells which."""
    return on_demand(region if region in list_prices() else PRICE_REGION)


def read_price_table(path: Path, region: str) -> PriceTable:
    """A user's table of prices, as the prices of `region`: it replaces the catalogue's.

    CSV in UTF-8 with the columns `instance_type`, `usd_per_hour` and, optionally, `region`; rows of other regions are
    left out once they are checked. Types of families without a GPU here (m5) are left out too; an unknown type of a
    GPU family (g6.xlage) is an error. Raises InputError with every problem of the file: file, line, what is wrong,
    what is allowed.
    """
    reading = _Reading(path.name)
    rows = reading.rows(readable_text(path, path.name, OWN_TABLE, MAX_BYTES))
    if reading.problems:
        raise InputError(reading.problems)
    found = {row.instance_type: row.price for row in rows if row.region in (None, region)}
    if not found:
        have = ", ".join(sorted({row.region for row in rows if row.region})) or "no row"
        raise InputError([f"{path.name}: has no price for region {shown(region)}. It has: {have}"])
    known = {name: price for name, price in found.items() if name in instance_types()}
    if not known:
        raise InputError([f"{path.name}: has no price of a GPU type. Allowed: types such as g4dn.xlarge"])
    return PriceTable(region, "", path.name, MappingProxyType(known))


@dataclass(frozen=True)
class _Row:
    region: str | None
    instance_type: str
    price: Decimal


@dataclass
class _Reading:
    """Reads the rows and keeps what is wrong with them."""

    file: str
    problems: list[str] = field(default_factory=list)
    seen: dict[tuple[str | None, str], int] = field(default_factory=dict)

    def rows(self, text: str) -> list[_Row]:
        lines = csv.reader(io.StringIO(text, newline=""), strict=True)
        found: list[_Row] = []
        try:
            header = [name.strip().lower() for name in next(lines, [])]
            self._header(header)
            if not self.problems:
                for cells in lines:
                    if any(cell.strip() for cell in cells):
                        found += self._row(header, [cell.strip() for cell in cells], lines.line_num)
        except csv.Error as error:
            self._note(lines.line_num, f"is not CSV: {error}", OWN_TABLE)
        return found

    def _note(self, line: int, what: str, allowed: str) -> None:
        self.problems.append(f"{self.file}:{line}: {what}. Allowed: {allowed}")

    def _header(self, header: list[str]) -> None:
        if not any(header):
            self._note(1, "is empty", OWN_TABLE)
            return
        for name in (n for n in COLUMNS[1:] if n not in header):
            self._note(1, f"the column {name} is missing", OWN_TABLE)
        for name in dict.fromkeys(header):
            if name not in COLUMNS:
                self._note(1, f"unknown column {shown(name)}", ", ".join(COLUMNS))
            elif header.count(name) > 1:
                self._note(1, f"the column {name} is there twice", "each column once")

    def _row(self, header: list[str], cells: list[str], line: int) -> list[_Row]:
        if len(cells) != len(header):
            self._note(line, f"has {len(cells)} cells", f"{len(header)}, as in the first line")
            return []
        values = dict(zip(header, cells, strict=True))
        name, region = values["instance_type"], values.get("region")
        good = self._type(name, line)
        if region == "":
            self._note(line, "the region is empty", "a region such as us-east-1")
        first = self.seen.setdefault((region, name), line)
        if first != line:
            self._note(line, f"{shown(name)} is there twice, first in line {first}", "each type once in a region")
        price = self._price(values["usd_per_hour"], line)
        return [_Row(region, name, price)] if good and price is not None else []

    def _type(self, name: str, line: int) -> bool:
        """Families without GPUs are let pass, so that a table of all of EC2 can be given."""
        families = {known.partition(".")[0] for known in instance_types()}
        if name and (name in instance_types() or name.partition(".")[0].lower() not in families):
            return True
        close = difflib.get_close_matches(name.lower(), instance_types(), n=1)
        allowed = f"an EC2 instance type such as {close[0] if close else 'g4dn.xlarge'}"
        self._note(line, f"unknown instance type {shown(name)}", allowed)
        return False

    def _price(self, text: str, line: int) -> Decimal | None:
        price = Decimal(text) if _PRICE.fullmatch(text) else None
        if price is not None and 0 < price <= MOST_USD_PER_HOUR:
            return price
        allowed = f"US dollars per hour: a number above 0, at most {MOST_USD_PER_HOUR}, such as 0.526"
        self._note(line, f"usd_per_hour is {shown(text)}", allowed)
        return None
