"""Measured profiles: how fast a model answers on each size of MIG slice, and what services ask of it.

The format is that of ParvaGPU (Lee et al., SC 2024; github.com/MunQ-Lee/ParvaGPU_SC24). A profile is a CSV with the
columns of `COLUMNS`: compute slices of the MIG instance, batch size, number of processes that share the instance,
requests per second of EACH process, seconds for one batch. A combination that did not run has throughput 0. A folder
holds `prof_data/<model>.csv` and two tables without a header, `SLO/SLO_req_rate.csv` (requests per second) and
`SLO/SLO_latency.csv` (milliseconds): one row a scenario, one column a model in the order of the file names, `N/A`
where the scenario lacks the model.
"""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from decimal import Decimal
from pathlib import Path

from gpuslice.planner.errors import InputError, shown
from gpuslice.planner.files import readable_text

COLUMNS = ("Mig instance", "Batch size", "Workload Number", "Throughput", "Latency")
SLICES = (1, 2, 3, 4, 7)
"""Compute slices of the MIG instances of an A100."""
MAX_BYTES = 8 * 1024 * 1024
MOST = 10**9
"""Largest figure: anything above is a slip, in whatever unit."""
ABSENT = "N/A"
_NUMBER = re.compile(r"[0-9]{1,12}(\.[0-9]{0,18})?([eE][+-]?[0-9]{1,2})?", re.ASCII)
_FORMAT = f"a CSV with the columns {', '.join(COLUMNS)}"


@dataclass(frozen=True, slots=True)
class Row:
    """One measurement. `throughput`: requests per second of each process; `latency`: seconds for a batch."""

    slices: int
    batch: int
    processes: int
    throughput: Decimal
    latency: Decimal

    @property
    def rate(self) -> Decimal:
        """Requests per second of all processes together."""
        return self.throughput * self.processes


@dataclass(frozen=True)
class Profile:
    """What was measured of one model: the rows that ran, in the order of the file."""

    name: str
    rows: tuple[Row, ...]


@dataclass(frozen=True)
class Objective:
    """What a scenario asks of one model: `rate` requests per second, each answered in `latency_ms`."""

    rate: Decimal
    latency_ms: Decimal


@dataclass(frozen=True)
class Scenario:
    """One row of the two SLO tables: model to what is asked of it. `number` counts from 1, as ParvaGPU does."""

    number: int
    objectives: Mapping[str, Objective]


@dataclass(frozen=True)
class Measured:
    """A folder in ParvaGPU's layout: every model's profile by name, and the scenarios."""

    profiles: Mapping[str, Profile]
    scenarios: tuple[Scenario, ...]


def read_profile(path: Path) -> Profile:
    """One model's profile, named after the file.

    Columns may come in any order, and further ones are let pass. Raises InputError with every problem: file, line,
    column, what is allowed.
    """
    table = _Table(path)
    rows = tuple(_profile_rows(table))
    if not table.problems and not rows:
        table.note(1, "has no row with a throughput above 0", "at least one combination that ran")
    if table.problems:
        raise InputError(table.problems)
    return Profile(path.stem, rows)


def read_parvagpu(folder: Path) -> Measured:
    """All profiles and scenarios of a folder. Raises InputError with every problem of every file."""
    problems: list[str] = []
    profiles: dict[str, Profile] = {}
    files = _profile_files(folder)
    for path in files:
        try:
            profiles[path.stem] = read_profile(path)
        except InputError as error:
            problems += error.problems
    try:
        scenarios = _scenarios(folder / "SLO", [path.stem for path in files])
    except InputError as error:
        problems += error.problems
    if problems:
        raise InputError(problems)
    return Measured(profiles, scenarios)


def _profile_files(folder: Path) -> list[Path]:
    where = folder / "prof_data"
    try:
        files = sorted((p for p in where.iterdir() if p.suffix == ".csv"), key=lambda p: p.stem)
    except OSError as error:
        raise InputError([f"{where}: cannot be read: {error.strerror}. Allowed: a folder of <model>.csv"]) from None
    if not files:
        raise InputError([f"{where}: has no profile. Allowed: one <model>.csv for each model"])
    return files


@dataclass
class _Table:
    """A CSV and what is wrong with it."""

    path: Path
    problems: list[str] = field(default_factory=list)

    def note(self, line: int, what: str, allowed: str) -> None:
        self.problems.append(f"{self.path.parent.name}/{self.path.name}:{line}: {what}. Allowed: {allowed}")

    def lines(self) -> Iterator[tuple[int, list[str]]]:
        """Line number and cells of every line that is not blank."""
        reader = csv.reader(
            io.StringIO(readable_text(self.path, str(self.path), "a CSV file", MAX_BYTES), newline=""), strict=True
        )
        try:
            for cells in reader:
                if any(cell.strip() for cell in cells):
                    yield reader.line_num, [cell.strip() for cell in cells]
        except csv.Error as error:
            self.note(reader.line_num, f"is not CSV: {error}", "comma-separated values")

    def number(self, line: int, column: str, text: str, least: str, positive: bool = False) -> Decimal | None:
        """A plain number of at most `MOST`; anything else is noted."""
        value = Decimal(text) if _NUMBER.fullmatch(text) else None
        if value is not None and value <= MOST and (value > 0 or not positive):
            return value
        self.note(line, f"{column} is {shown(text)}", f"{least}, at most {MOST}")
        return None

    def count(self, line: int, column: str, text: str, allowed: tuple[int, ...] | None = None) -> int | None:
        """A whole number above 0, or one of those that are allowed."""
        value = int(text) if text.isascii() and text.isdigit() and len(text) < 10 else 0
        if value > 0 and (allowed is None or value in allowed):
            return value
        self.note(line, f"{column} is {shown(text)}", ", ".join(map(str, allowed or ())) or "a whole number above 0")
        return None


def _profile_rows(table: _Table) -> Iterator[Row]:
    try:
        lines = table.lines()
        header = _header(table, next(lines, (1, []))[1])
        seen: dict[tuple[int, int, int], int] = {}
        for line, cells in lines if header else ():
            row = _row(table, line, cells, header)
            if row is None:
                continue
            key = row.slices, row.batch, row.processes
            if key in seen:
                what = f"slice {key[0]}, batch {key[1]}, {key[2]} processes is there twice, first in line {seen[key]}"
                table.note(line, what, "each combination once")
            seen.setdefault(key, line)
            if row.throughput:
                yield row
    except InputError as error:
        table.problems += error.problems


def _header(table: _Table, cells: list[str]) -> dict[str, int]:
    """Column name to its place, and the number of columns under ""; empty where columns are missing."""
    if not cells:
        table.note(1, "is empty", _FORMAT)
        return {}
    names = [cell.lower() for cell in cells]
    for column in COLUMNS:
        if names.count(column.lower()) != 1:
            how = "there twice" if column.lower() in names else "missing"
            table.note(1, f"the column {column} is {how}", _FORMAT)
    if table.problems:
        return {}
    return {column: names.index(column.lower()) for column in COLUMNS} | {"": len(cells)}


def _row(table: _Table, line: int, cells: list[str], header: Mapping[str, int]) -> Row | None:
    if len(cells) != header[""]:
        table.note(line, f"has {len(cells)} cells", f"{header['']}, as in the first line")
        return None
    slices, batch, processes, throughput, latency = (cells[header[column]] for column in COLUMNS)
    whole = (
        table.count(line, COLUMNS[0], slices, SLICES),
        table.count(line, COLUMNS[1], batch),
        table.count(line, COLUMNS[2], processes),
    )
    rate = table.number(line, COLUMNS[3], throughput, "requests per second, 0 for what did not run")
    ran = rate is not None and rate > 0
    allowed = "seconds, above 0 where it ran" if ran else "seconds"
    seconds = table.number(line, COLUMNS[4], latency, allowed, positive=ran)
    if rate is None or seconds is None or not (whole[0] and whole[1] and whole[2]):
        return None
    return Row(whole[0], whole[1], whole[2], rate, seconds)


def _scenarios(folder: Path, models: list[str]) -> tuple[Scenario, ...]:
    rate_table, latency_table = _Table(folder / "SLO_req_rate.csv"), _Table(folder / "SLO_latency.csv")
    rates = _objectives(rate_table, models, "requests per second")
    latencies = _objectives(latency_table, models, "milliseconds")
    if rate_table.problems or latency_table.problems:
        raise InputError(rate_table.problems + latency_table.problems)
    if len(rates) != len(latencies):
        latency_table.note(1, f"has {len(latencies)} rows", f"{len(rates)}, as {rate_table.path.name} has")
    if not rates:
        rate_table.note(1, "is empty", "one row for each scenario")
    for (_, asked), (line, within) in zip(rates, latencies, strict=False):
        for model in (model for model in asked if (asked[model] == ABSENT) != (within.get(model) == ABSENT)):
            what = f"column {models.index(model) + 1} ({model}) is there in only one of the two tables"
            latency_table.note(line, what, f"{ABSENT} in both, or a number in both")
    if rate_table.problems or latency_table.problems:
        raise InputError(rate_table.problems + latency_table.problems)
    return tuple(
        Scenario(
            number,
            {
                m: Objective(v, w)
                for m, v in asked.items()
                if isinstance(v, Decimal) and isinstance(w := within[m], Decimal)
            },
        )
        for number, ((_, asked), (_, within)) in enumerate(zip(rates, latencies, strict=True), 1)
    )


def _objectives(table: _Table, models: list[str], unit: str) -> list[tuple[int, dict[str, Decimal | str | None]]]:
    """Line and model to its figure for each row; None for a figure that is wrong."""
    rows = []
    try:
        for line, cells in table.lines():
            if len(cells) != len(models):
                table.note(
                    line, f"has {len(cells)} columns", f"{len(models)}, one for each profile: {', '.join(models)}"
                )
                continue
            rows.append((line, dict(zip(models, _figures(table, line, cells, models, unit), strict=True))))
    except InputError as error:
        table.problems += error.problems
    return rows


def _figures(
    table: _Table, line: int, cells: list[str], models: list[str], unit: str
) -> Iterator[Decimal | str | None]:
    for number, (cell, model) in enumerate(zip(cells, models, strict=True), 1):
        if cell.upper() == ABSENT:
            yield ABSENT
        else:
            allowed = f"{unit} above 0, or {ABSENT}"
            yield table.number(line, f"column {number} ({model})", cell, allowed, positive=True)
