"""Reads services with measured profiles: the list `services` of a YAML file, or a folder in ParvaGPU's layout.

All problems of a file, and of the profiles that it names, come in one report, each with its place.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from decimal import Decimal
from pathlib import Path
from typing import Any

from gpuslice.planner import values as v
from gpuslice.planner.documents import Problems
from gpuslice.planner.errors import InputError, shown
from gpuslice.planner.profiles import MOST, Profile, read_parvagpu, read_profile
from gpuslice.planner.read import candidates_of, options_of, unknown_keys
from gpuslice.planner.service_plan import ServiceRequest, check_candidates, check_gpu
from gpuslice.planner.services import LATENCY_SHARE, MEASURED_ON, Service

_TOP_KEYS = (
    "gpu",
    "candidates",
    "hoursPerMonth",
    "region",
    "prices",
    "maxProcesses",
    "latencyShare",
    "services",
)
_KEYS = ("name", "profile", "rate", "latencyMs", "cpu", "ram")
_NEEDED = {
    "name": "text of 1 to 253 printable characters",
    "profile": "a CSV file in ParvaGPU's format",
    "rate": "requests per second in all, such as 19",
    "latencyMs": "milliseconds for one request, such as 250",
}
_MOST_PROCESSES = 48
"""Clients of one MPS server on GPUs from Volta on (NVIDIA, Multi-Process Service, "Volta MPS")."""
_LONGEST_PATH = 1000


def service_request(document: Mapping[str, Any], problems: Problems, folder: Path) -> ServiceRequest:
    """The services of a YAML document; paths of profiles are relative to `folder`. Raises InputError."""
    if "workloads" in document:
        problems.note("", "has workloads and services. Allowed: one of the two in a file; plan them apart")
        raise InputError(problems.found)
    unknown_keys(problems, "", document, _TOP_KEYS)
    made: dict[str, Any] = {"options": options_of(problems, document)}
    made["candidates"] = candidates_of(problems, document.get("candidates"))
    for key, (name, parse, default) in _SETTINGS.items():
        made[name] = problems.read(f": {key}", parse, document.get(key, default))
    if made["candidates"] and made["gpu"]:
        problems.read(": candidates", lambda names: check_candidates(names, made["gpu"]), made["candidates"])
    reader = _Services(problems, folder)
    services = reader.all(document["services"])
    if problems.found:
        raise InputError(problems.found)
    return ServiceRequest(services, places=reader.in_file(), **made)


def read_folder(folder: Path, scenario: str | None) -> ServiceRequest:
    """One scenario, counted from 1, of a folder in ParvaGPU's layout. Raises InputError."""
    if not (folder / "prof_data").is_dir():
        what = f"{folder}: is not a file, nor a folder in ParvaGPU's layout"
        allowed = (
            "a YAML or CSV file, or a folder with prof_data/<model>.csv, SLO/SLO_req_rate.csv, SLO/SLO_latency.csv"
        )
        raise InputError([f"{what}. Allowed: {allowed}"])
    measured = read_parvagpu(folder)
    found = {str(one.number): one for one in measured.scenarios}
    wanted = found.get("1" if scenario is None else scenario.strip())
    if wanted is None:
        raise InputError([f"--scenario {shown(scenario)}: {folder.name} has no such one. Allowed: {', '.join(found)}"])
    if not wanted.objectives:
        raise InputError([f"scenario {wanted.number} of {folder.name} has no model. Allowed: at least one"])
    asked = wanted.objectives.items()
    return ServiceRequest(tuple(Service(m, measured.profiles[m], goal.rate, goal.latency_ms) for m, goal in asked))


def _amount(unit: str, example: str) -> Callable[[Any], Decimal]:
    """A parser of numbers above 0, as YAML's numbers or plain text."""

    def parse(value: Any) -> Decimal:
        number = v.plain(value) if isinstance(value, str) and len(value) < 40 else value
        if isinstance(number, bool) or not isinstance(number, int | float) or not 0 < number <= MOST:
            raise v.Wrong(f"is {shown(value)}", f"{unit} above 0, at most {MOST}, such as {example}")
        return Decimal(str(number))

    return parse


def _gpu(value: Any) -> str:
    return check_gpu(v.gpu(value if isinstance(value, str) else shown(value)))


def _processes(value: Any) -> int | None:
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, int) or not 1 <= value <= _MOST_PROCESSES:
        raise v.Wrong(f"is {shown(value)}", f"a whole number from 1 to {_MOST_PROCESSES}")
    return value


def _share(value: Any) -> Decimal:
    if isinstance(value, bool) or not isinstance(value, int | float | Decimal) or not 0 < value <= 1:
        raise v.Wrong(f"is {shown(value)}", f"a part of the objective above 0, up to 1, such as {LATENCY_SHARE}")
    return Decimal(str(value))


_SETTINGS: Mapping[str, tuple[str, Callable[[Any], Any], Any]] = {
    "gpu": ("gpu", _gpu, MEASURED_ON),
    "maxProcesses": ("max_processes", _processes, None),
    "latencyShare": ("latency_share", _share, LATENCY_SHARE),
}


@dataclass
class _Services:
    problems: Problems
    folder: Path
    places: dict[str, str] = field(default_factory=dict)
    profiles: dict[Path, Profile | None] = field(default_factory=dict)

    def all(self, entries: Any) -> tuple[Service, ...]:
        if not isinstance(entries, list) or not entries:
            what = "is empty" if entries in ([], None) else f"is {shown(entries)}"
            self.problems.note(": services", f"{what}. Allowed: a list of at least one service")
            return ()
        made = (self.one(f": services[{index}]", entry) for index, entry in enumerate(entries))
        return tuple(service for service in made if service)

    def in_file(self) -> dict[str, str]:
        """Service to its place, with the file's name."""
        return {name: f"{self.problems.file}{place}" for name, place in self.places.items()}

    def one(self, place: str, entry: Any) -> Service | None:
        if not isinstance(entry, dict):
            self.problems.note(place, f"is {shown(entry)}. Allowed: a map with the keys {', '.join(_KEYS)}")
            return None
        unknown_keys(self.problems, place, entry, _KEYS)
        made: dict[str, Any] = {}
        for key, (name, parse) in _PARSERS.items():
            if entry.get(key) is not None:
                made[name] = self.problems.read(f"{place}.{key}", parse, entry[key])
            elif key in _NEEDED:
                self.problems.note(f"{place}.{key}", f"is missing. Allowed: {_NEEDED[key]}")
                made[name] = None
        self._name(place, made["name"])
        if made["profile"] is not None:
            made["profile"] = self._profile(f"{place}.profile", made["profile"])
        return None if any(value is None for value in made.values()) else Service(**made)

    def _name(self, place: str, name: str | None) -> None:
        first = self.places.setdefault(name, place) if name else place
        if first != place:
            what = f"{shown(name)} is the name of {first.removeprefix(': ')} already"
            self.problems.note(f"{place}.name", f"{what}. Allowed: each name once")

    def _profile(self, place: str, name: str) -> Profile | None:
        """A file that several services name is read once, and its problems are told once."""
        path = self.folder / name
        if path not in self.profiles:
            self.profiles[path] = None
            try:
                self.profiles[path] = read_profile(path)
            except InputError as error:
                for problem in error.problems:
                    self.problems.note(place, problem)
        return self.profiles[path]


def _path(value: Any) -> str:
    if not isinstance(value, str) or not value.strip() or len(value) > _LONGEST_PATH or not value.isprintable():
        raise v.Wrong(f"is {shown(value)}", "the path of a CSV file, relative to this file")
    return value


_PARSERS: Mapping[str, tuple[str, Callable[[Any], Any]]] = {
    "name": ("name", v.name),
    "profile": ("profile", _path),
    "rate": ("rate", _amount("requests per second", "19")),
    "latencyMs": ("latency_ms", _amount("milliseconds", "250")),
    "cpu": ("cpu_milli", v.cpu_milli),
    "ram": ("ram_mib", lambda value: v.amount_mib(value, 0)),
}
