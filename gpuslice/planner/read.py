"""Reads workloads from YAML or CSV. All problems of a file come in one report, each with its place."""

from __future__ import annotations

import csv
import io
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, get_args

from gpuslice.catalog import instance_types
from gpuslice.planner import values as v
from gpuslice.planner.documents import Problems, load_yaml
from gpuslice.planner.errors import InputError, shown
from gpuslice.planner.files import text_of
from gpuslice.planner.model import Isolation, Latency, Workload
from gpuslice.planner.options import Options, Request
from gpuslice.planner.presets import PRESETS

if TYPE_CHECKING:
    from gpuslice.planner.service_plan import ServiceRequest

_MOST_PODS = 2_000_000
MAX_BYTES = 256 * 1024 * 1024
CSV_COLUMNS = ("name", "count", "memory_gib", "mean", "p95", "gpu", "cpu", "ram_gib", "isolation", "latency", "group")
_CSV_NEEDED = ("name", "memory_gib", "mean", "p95")
_YAML_KEYS = ("name", "preset", "count", "memory", "utilization", "gpu", "cpu", "ram", "isolation", "latency", "group")
_TOP_KEYS = (
    "candidates",
    "hoursPerMonth",
    "region",
    "prices",
    "efficiency",
    "headroom",
    "maxReplicas",
    "migTax",
    "workloads",
    "services",
)
# What of a workload can be read in the same way from both forms.
_COMMON: Mapping[str, Callable[[Any], Any]] = {
    "name": v.name,
    "count": v.count,
    "gpu": lambda value: v.gpu(value) if isinstance(value, str) else v.gpu(shown(value)),
    "isolation": lambda value: v.one_of(value, get_args(Isolation)),
    "latency": lambda value: v.one_of(value, get_args(Latency)),
    "group": v.group,
}


def read_request(path: Path) -> Request | ServiceRequest:
    """The workloads, or services, and options of a YAML or CSV file, by its suffix.

    Raises InputError; OSError where unreadable.
    """
    text = _text(path)
    if path.suffix.lower() == ".csv":
        return _Csv(path.name).request(text)
    if path.suffix.lower() in {".yaml", ".yml", ".json"}:
        problems = Problems(path.name)
        document = load_yaml(text, problems)
        if isinstance(document, dict) and "services" in document:
            from gpuslice.planner.read_services import service_request

            return service_request(document, problems, path.parent)
        return _Yaml(problems).request(document)
    raise InputError([f"{path.name}: the suffix {shown(path.suffix)} is not known. Allowed: .yaml, .yml, .json, .csv"])


def _text(path: Path) -> str:
    text = text_of(path, path.name, "a YAML or CSV file of workloads", MAX_BYTES)
    if not text.strip():
        raise InputError([f"{path.name}: is empty. Allowed: a list of workloads, see docs/planner.md"])
    return text


def _finished(problems: Problems, workloads: Sequence[Workload], places: Mapping[str, str]) -> tuple[Workload, ...]:
    if not workloads and not problems.found:
        problems.note("", "has no workloads. Allowed: at least one")
    pods = sum(workload.count for workload in workloads)
    if pods > _MOST_PODS:
        problems.note("", f"asks for {pods} pods. Allowed: at most {_MOST_PODS} in all")
    for workload in workloads:
        if workload.p95 < workload.mean:
            what = f"p95 {workload.p95 / 1e6:g} is below the mean {workload.mean / 1e6:g}"
            problems.note(places[workload.name], f"{what}. Allowed: p95 at or above mean")
    if problems.found:
        raise InputError(problems.found)
    return tuple(workloads)


class _Csv:
    def __init__(self, file: str) -> None:
        self.problems = Problems(file)
        self.lines: dict[str, str] = {}
        self.cache: dict[tuple[str, str], Any] = {}
        self.parsers: dict[str, tuple[str, Callable[[Any], Any]]] = {n: (n, p) for n, p in _COMMON.items()} | {
            "memory_gib": ("memory_mib", v.gib),
            "mean": ("mean", v.share),
            "p95": ("p95", v.share),
            "cpu": ("cpu_milli", v.cpu_milli),
            "ram_gib": ("ram_mib", lambda value: v.gib(value, 0)),
        }

    def request(self, text: str) -> Request:
        reader = csv.reader(io.StringIO(text, newline=""), strict=True)
        try:
            header = [cell.strip().lower() for cell in next(reader)]
            self._header(header)
            workloads = list(self._rows(header, reader))
        except csv.Error as error:
            self.problems.note(f":{reader.line_num}", f"is not CSV: {error}. Allowed: comma-separated values")
            raise InputError(self.problems.found) from None
        return Request(_finished(self.problems, workloads, self.lines))

    def _header(self, header: Sequence[str]) -> None:
        for name in (n for n in _CSV_NEEDED if n not in header):
            self.problems.note(":1", f"the column {name} is missing. Allowed: {', '.join(CSV_COLUMNS)}")
        for name in dict.fromkeys(header):
            if name not in CSV_COLUMNS:
                hint = v.nearest(name, CSV_COLUMNS)
                self.problems.note(":1", f"unknown column {shown(name)}. Allowed: {', '.join(CSV_COLUMNS)}{hint}")
            elif header.count(name) > 1:
                self.problems.note(":1", f"the column {name} is there twice. Allowed: each column once")
        if self.problems.found:
            raise InputError(self.problems.found)

    def _rows(self, header: Sequence[str], reader: Any) -> Iterator[Workload]:
        for cells in reader:
            if not any(cells):
                continue
            place = f":{reader.line_num}"
            if len(cells) != len(header):
                self.problems.note(place, f"has {len(cells)} cells. Allowed: {len(header)}, as in the first line")
                continue
            workload = self._row(header, cells, place)
            if workload is None:
                continue
            first = self.lines.setdefault(workload.name, place)
            if first != place:
                self.problems.note(
                    place, f"{shown(workload.name)} is in line {first[1:]} already. Allowed: each name once"
                )
            yield workload

    def _row(self, header: Sequence[str], cells: Sequence[str], place: str) -> Workload | None:
        made: dict[str, Any] = {"count": 1}
        for column, cell in zip(header, cells, strict=True):
            if not cell and column not in _CSV_NEEDED:
                continue
            made[self.parsers[column][0]] = self._value(column, cell.strip(), place)
        return None if any(value is None for value in made.values()) else Workload(**made)

    def _value(self, column: str, cell: str, place: str) -> Any:
        """Columns other than the name hold few different values, so each is parsed once."""
        known = self.cache.get((column, cell))
        if known is None:
            known = self.problems.read(f"{place}: {column}", self.parsers[column][1], cell)
            if known is not None and column != "name":
                self.cache[column, cell] = known
        return known


def unknown_keys(problems: Problems, place: str, entry: Mapping[Any, Any], allowed: Sequence[str]) -> None:
    """Notes the keys that are not allowed."""
    for key in (k for k in entry if k not in allowed):
        hint = v.nearest(key, allowed)
        shown_key = key if isinstance(key, str) and key.isprintable() and len(key) <= 80 else shown(key)
        where = f"{place}.{shown_key}" if place else f": {shown_key}"
        problems.note(where, f"unknown key. Allowed: {', '.join(allowed)}{hint}")


def options_of(problems: Problems, document: Mapping[str, Any]) -> Options:
    """What a file says of the options; what is wrong is noted."""
    changes: dict[str, Any] = {}
    for key, (name, parse) in _OPTION_KEYS.items():
        if key in document:
            changes[name] = problems.read(f": {key}", parse, document[key])
    prices = document.get("prices", {})
    if not isinstance(prices, dict):
        problems.note(": prices", f"is {shown(prices)}. Allowed: a map with the keys {', '.join(_PRICE_KEYS)}")
        prices = {}
    unknown_keys(problems, ": prices", prices, tuple(_PRICE_KEYS))
    for key, (name, parse) in _PRICE_KEYS.items():
        if key in prices:
            changes[name] = problems.read(f": prices.{key}", parse, prices[key])
    return replace(Options(), **{name: value for name, value in changes.items() if value is not None})


def candidates_of(problems: Problems, names: Any) -> tuple[str, ...] | None:
    """The instance types that a file names, None where it names none; what is wrong is noted."""
    if names is None:
        return None
    if not isinstance(names, list) or not names:
        problems.note(": candidates", f"is {shown(names)}. Allowed: a list of instance types")
        return None
    return check_candidates(names, problems)


class _Yaml:
    def __init__(self, problems: Problems) -> None:
        self.problems = problems
        self.places: dict[str, str] = {}
        self.notes: list[str] = []

    def request(self, document: Any) -> Request:
        if not isinstance(document, dict):
            self.problems.note("", f"is {shown(document)}. Allowed: a map with the key workloads")
            raise InputError(self.problems.found)
        unknown_keys(self.problems, "", document, _TOP_KEYS)
        options = options_of(self.problems, document)
        candidates = candidates_of(self.problems, document.get("candidates"))
        entries = document.get("workloads")
        if not isinstance(entries, list):
            what = "is missing" if entries is None else f"is {shown(entries)}"
            self.problems.note(": workloads", f"{what}. Allowed: a list of workloads")
            raise InputError(self.problems.found)
        workloads = [w for index, entry in enumerate(entries) if (w := self._workload(f": workloads[{index}]", entry))]
        return Request(_finished(self.problems, workloads, self.places), candidates, options, tuple(self.notes))

    def _workload(self, place: str, entry: Any) -> Workload | None:
        if not isinstance(entry, dict):
            self.problems.note(place, f"is {shown(entry)}. Allowed: a map with the keys {', '.join(_YAML_KEYS)}")
            return None
        unknown_keys(self.problems, place, entry, _YAML_KEYS)
        made = self._figures(place, self._with_preset(place, entry))
        if any(value is None for value in made.values()):
            return None
        first = self.places.setdefault(made["name"], place)
        if first != place:
            message = (
                f"{shown(made['name'])} is the name of {first.removeprefix(': ')} already. Allowed: each name once"
            )
            self.problems.note(f"{place}.name", message)
        return Workload(**made)

    def _with_preset(self, place: str, entry: Mapping[str, Any]) -> Mapping[str, Any]:
        if "preset" not in entry:
            return entry
        name = self.problems.read(f"{place}.preset", lambda value: v.one_of(value, tuple(PRESETS)), entry["preset"])
        if name is None:
            return entry
        preset = PRESETS[name]
        given: dict[str, Any] = {"memory": preset.memory, "gpu": preset.gpu, "latency": preset.latency}
        given["utilization"] = {"mean": preset.mean, "p95": preset.p95}
        assumed = [key for key in ("memory", "utilization") if key not in entry]
        if assumed:
            subject = shown(entry.get("name"))
            self.notes.append(f"workload {subject}: {' and '.join(assumed)} come from the preset {name}, not from you")
        return {**given, **{key: value for key, value in entry.items() if value is not None}}

    def _figures(self, place: str, entry: Mapping[str, Any]) -> dict[str, Any]:
        made: dict[str, Any] = {"count": 1}
        for key in ("name", "memory", "utilization"):
            if entry.get(key) is None:
                self.problems.note(f"{place}.{key}", f"is missing. Allowed: {_WANTED[key]}")
                made[key] = None
        for key, (name, parse) in _WORKLOAD_KEYS.items():
            if entry.get(key) is not None:
                made[name] = self.problems.read(f"{place}.{key}", parse, entry[key])
        use = entry.get("utilization")
        return made if use is None else made | self._use(f"{place}.utilization", use)

    def _use(self, place: str, use: Any) -> dict[str, Any]:
        if not isinstance(use, dict) or not {"mean", "p95"} & set(use):
            self.problems.note(place, f"is {shown(use)}. Allowed: {_WANTED['utilization']}")
            return {"mean": None}
        unknown_keys(self.problems, place, use, ("mean", "p95"))
        made = {}
        for key in ("mean", "p95"):
            if key in use:
                made[key] = self.problems.read(f"{place}.{key}", v.share, use[key])
            else:
                why = "a plan by one figure alone is over capacity much of the time"
                self.problems.note(f"{place}.{key}", f"is missing: {why}. Allowed: a part of one GPU, such as 0.25")
                made[key] = None
        return made


_WANTED = {
    "name": "text of 1 to 253 printable characters",
    "memory": "an amount such as 512Mi or 3Gi",
    "utilization": "{mean: 0.10, p95: 0.25}, parts of one GPU",
}
_WORKLOAD_KEYS: Mapping[str, tuple[str, Callable[[Any], Any]]] = {
    key: (key, parse) for key, parse in _COMMON.items()
} | {
    "memory": ("memory_mib", v.amount_mib),
    "cpu": ("cpu_milli", v.cpu_milli),
    "ram": ("ram_mib", lambda value: v.amount_mib(value, 0)),
}


def _hours(value: Any) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or not 1 <= value <= 744:
        raise v.Wrong(f"is {shown(value)}", "whole hours from 1 to 744, such as 720 or 730")
    return value


def _replicas(value: Any) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or not 1 <= value <= 48:
        raise v.Wrong(f"is {shown(value)}", "a whole number from 1 to 48")
    return value


def _factor(value: Any) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 < value <= 1:
        raise v.Wrong(f"is {shown(value)}", "a part of the on-demand price above 0, up to 1, such as 0.4")
    return float(value)


def _tax(value: Any) -> int:
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value < 1:
        raise v.Wrong(f"is {shown(value)}", "a part of the GPU from 0 to below 1, such as 0.0925")
    return round(value * 1_000_000)


def _text_value(value: Any) -> str:
    if not isinstance(value, str) or not value.strip():
        raise v.Wrong(f"is {shown(value)}", "text")
    return value.strip()


_OPTION_KEYS: Mapping[str, tuple[str, Callable[[Any], Any]]] = {
    "hoursPerMonth": ("hours_per_month", _hours),
    "region": ("region", _text_value),
    "efficiency": ("efficiency", v.share),
    "headroom": ("headroom", lambda value: v.one_of(value, ("advise", "require"))),
    "maxReplicas": ("max_replicas", _replicas),
    "migTax": ("mig_tax", _tax),
}
_PRICE_KEYS: Mapping[str, tuple[str, Callable[[Any], Any]]] = {
    "basis": ("basis", lambda value: v.one_of(value, ("on-demand", "spot", "reserved"))),
    "factor": ("price_factor", _factor),
}


def read_option(key: str, text: str, place: str) -> tuple[str, Any]:
    """An option given as text, by its key in the file (`prices.basis` for one of the prices): field and value."""
    problems = Problems("")
    if key == "candidates":
        wanted = [name.strip() for name in text.split(",") if name.strip()]
        found = check_candidates(wanted, problems)
        if problems.found or not found:
            raise InputError(
                [f"{place}{p.removeprefix(': candidates')}" for p in problems.found] or [f"{place} is empty"]
            )
        return "candidates", found
    name, parse = _PRICE_KEYS[key.removeprefix("prices.")] if key.startswith("prices.") else _OPTION_KEYS[key]
    value = problems.read(f"{place} ", parse, v.plain(text))
    if problems.found:
        raise InputError([p.replace(" : ", " ", 1) for p in problems.found])
    return name, value


def check_candidates(names: Iterable[Any], problems: Problems) -> tuple[str, ...]:
    """Known instance types, each once; what is wrong goes to `problems`."""
    known = instance_types()
    types = [name for name in names if isinstance(name, str) and name in known]
    for name in names:
        if name not in types:
            hint = v.nearest(name, tuple(known))
            problems.note(
                ": candidates", f"unknown instance type {shown(name)}. Allowed: GPU types such as g4dn.xlarge{hint}"
            )
    return tuple(dict.fromkeys(types))
