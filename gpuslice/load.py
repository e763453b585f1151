"""From plain configuration values to `Settings`: every error of a stack in one report, before anything is made."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import BaseModel, TypeAdapter, ValidationError

from gpuslice import fields as f
from gpuslice.checks import cluster_problems, pool_problems, settings_problems
from gpuslice.checks.stack import Draft
from gpuslice.fields import nearest
from gpuslice.plain import Plain
from gpuslice.pools import Pool
from gpuslice.problems import Problem, SettingsError, from_pydantic, join, shown
from gpuslice.settings import (
    Admission,
    Cluster,
    GpuOperator,
    Karpenter,
    Monitoring,
    PoolSettings,
    Settings,
    Tenant,
    Verification,
)
from gpuslice.stackfile import read_stack_file

NAMESPACE = "gpu-slicing"
BASE = NAMESPACE + ":"
REGION_KEY = "aws:region"
DEFAULT_REGION = "us-east-1"
MAX_ENTRIES = 500
SECTIONS: dict[str, type[BaseModel]] = {
    "cluster": Cluster,
    "karpenter": Karpenter,
    "gpuOperator": GpuOperator,
    "admission": Admission,
    "monitoring": Monitoring,
    "verification": Verification,
}
LISTS: dict[str, type[BaseModel]] = {"pools": PoolSettings, "tenants": Tenant}
STAND_INS: dict[type[BaseModel], dict[str, Any]] = {
    Cluster: {"name": "stand-in"},
    PoolSettings: {"name": "stand-in", "instanceTypes": ["g4dn.xlarge"], "sharing": {"mode": "exclusive"}},
    Tenant: {"namespace": "stand-in"},
    Verification: {"pool": "stand-in"},
}
"""Values for required keys that are wrong, so that the rest of their section can still be checked."""


def load_settings(config: Mapping[str, Any], stack: str) -> Settings:
    """The settings of `stack` from its configuration: full keys (`gpu-slicing:pools`, `aws:region`) to plain data.

    Keys of other namespaces are left alone. Raises `SettingsError` with every problem that was found.
    """
    settings, problems = examine(config, stack)
    if problems:
        raise SettingsError(problems)
    return settings


def load_stack(path: Path, stack: str) -> Settings:
    """The settings of a stack file. What is wrong with its YAML and with its settings is one `SettingsError`."""
    reading = read_stack_file(path)
    settings, problems = examine(reading.config, stack)
    ambiguous = {where for where, _ in reading.faults}
    problems = [problem for _, problem in reading.faults] + [p for p in problems if p.path not in ambiguous]
    if problems:
        raise SettingsError(problems)
    return settings


def examine(config: Mapping[str, Any], stack: str) -> tuple[Settings, list[Problem]]:
    """The settings, and what is wrong with them: where something is, the settings hold stand-ins."""
    if not isinstance(config, Mapping):
        raise SettingsError([Problem("config", shown(config), "must be a map", f"keys such as {BASE}pools")])
    examination = _Examination(stack, config)
    return examination.settings(), examination.problems


@dataclass(frozen=True)
class _Parsed:
    """A section; `broken` are its fields that hold a default or a stand-in because the file's value is wrong."""

    value: Any
    broken: frozenset[str] = frozenset()


class _Examination:
    def __init__(self, stack: str, config: Mapping[str, Any]) -> None:
        self.stack = stack
        self.plain = Plain()
        self.problems: list[Problem] = []
        own = {k: v for k, v in config.items() if isinstance(k, str) and k.startswith(BASE)}
        self.given = {k.removeprefix(BASE) for k in own}
        self.raw = {k.removeprefix(BASE): c for k, v in own.items() if (c := self._plain(k, v)) is not None}
        self.problems += self.plain.problems
        self.region = self._region(config.get(REGION_KEY, DEFAULT_REGION))

    def _plain(self, key: str, value: Any) -> Any:
        return self.plain.copy(value, _top(key))

    def settings(self) -> Settings:
        self._unknown_keys()
        sections = {name: self._section(name, model) for name, model in SECTIONS.items()}
        lists = {name: self._list(name, model) for name, model in LISTS.items()}
        cluster = sections["cluster"]
        self.problems += cluster_problems(cluster.value, f"{BASE}cluster", cluster.broken)
        sound = [self._sound(parsed, index) for index, parsed in enumerate(lists["pools"] or [])]
        settings = self._whole(sections, lists)
        names = self._pool_names(lists["pools"])
        pools = [
            p for p, fine in zip(settings.pools, sound, strict=True) if fine and names and names.count(p.name) == 1
        ]
        self.problems += settings_problems(
            Draft(
                settings,
                BASE,
                {p.name: Pool.of(p) for p in pools},
                names,
                _broken(sections, lists),
            )
        )
        return settings

    def _sound(self, parsed: _Parsed, index: int) -> bool:
        path = f"{BASE}pools[{index}]"
        problems = list(pool_problems(parsed.value, path, self.region, self.stack, parsed.broken))
        self.problems += problems
        return not problems and not parsed.broken

    def _whole(self, sections: Mapping[str, _Parsed], lists: Mapping[str, list[_Parsed] | None]) -> Settings:
        values = {name: parsed.value for name, parsed in sections.items() if parsed.value is not None}
        values |= {name: tuple(p.value for p in found or ()) for name, found in lists.items()}
        return Settings.model_validate({"stack": self.stack, "region": self.region or DEFAULT_REGION, **values})

    def _pool_names(self, pools: list[_Parsed] | None) -> list[str] | None:
        """The names of the pools; None where one is wrong, as what seems to name no pool may mean that one."""
        if pools is None or any("name" in parsed.broken for parsed in pools):
            return None
        return [parsed.value.name for parsed in pools]

    def _region(self, value: Any) -> str:
        """The region, or an empty string when it is not one."""
        try:
            return str(TypeAdapter(f.Region).validate_python(value))
        except ValidationError as error:
            context = error.errors()[0]["ctx"]
            self.problems.append(Problem(REGION_KEY, shown(value), context["message"], context["allowed"]))
            return ""

    def _unknown_keys(self) -> None:
        allowed = (*SECTIONS, *LISTS)
        unknown = {key: nearest(key, allowed) for key in sorted(self.given - set(allowed))}
        for key, close in unknown.items():
            path = _top(BASE + key)
            suggestion = BASE + close if close else ""
            value = shown(self.raw.get(key), path)
            self.problems.append(Problem(path, value, "unknown key", ", ".join(allowed), suggestion))
        if "pools" not in self.given and "pools" not in unknown.values():
            self.problems.append(Problem(BASE + "pools", "", "is missing", "a list with at least one pool"))

    def _section(self, name: str, model: type[BaseModel]) -> _Parsed:
        raw = self.raw.get(name)
        if name == "cluster":
            raw = self._with_name(raw)
        elif raw is None:
            return _Parsed(None)
        return self._model(model, raw, BASE + name)

    def _with_name(self, raw: Any) -> Any:
        """The cluster's settings with a default name, except for a cluster that exists and so has its own."""
        if raw is not None and not isinstance(raw, dict):
            return raw
        cluster = raw or {}
        if "name" in cluster or cluster.get("mode") == "existing" or f"{BASE}cluster.name" in self.plain.paths:
            return cluster
        # A stack's name may have capitals, dots and underscores; a cluster's may not.
        slug = re.sub("[^a-z0-9]+", "-", self.stack.lower()).strip("-")[:36].strip("-")
        return {"name": f"gpu-{slug}" if slug else "gpu"} | cluster

    def _list(self, name: str, model: type[BaseModel]) -> list[_Parsed] | None:
        raw, path = self.raw.get(name), BASE + name
        if raw is None:
            return None
        fault = ""
        if not isinstance(raw, list):
            fault = "must be a list"
        elif len(raw) > MAX_ENTRIES:
            fault = f"has {len(raw)} entries"
        elif name == "pools" and not raw:
            fault = "is empty"
        if fault:
            allowed = f"a list of {'1' if name == 'pools' else '0'} to {MAX_ENTRIES} {name}"
            self.problems.append(Problem(path, shown(raw) if fault == "must be a list" else "", fault, allowed))
            return None
        return [self._model(model, entry, join(path, [index])) for index, entry in enumerate(raw)]

    def _model(self, model: type[BaseModel], raw: Any, path: str) -> _Parsed:
        try:
            return _Parsed(model.model_validate_json(json.dumps(raw)))
        except ValidationError as error:
            found = from_pydantic(error, path, raw, model)
            self.problems += [p for p in found if p.path not in self.plain.paths]
            return _repaired(model, raw, error)


def _top(key: str) -> str:
    """A key of the configuration as the start of a path."""
    return join("", [key]).removeprefix(".")


def _repaired(model: type[BaseModel], raw: Any, error: ValidationError) -> _Parsed:
    """The section with defaults and stand-ins for its wrong fields."""
    wrong = {e["loc"][0] for e in error.errors() if e["loc"]}
    kept = {k: v for k, v in raw.items() if k not in wrong} if isinstance(raw, dict) else {}
    names = {str(field.alias): name for name, field in model.model_fields.items()}
    broken = {names[str(key)] for key in wrong if key in names} if isinstance(raw, dict) else set(names.values())
    value = model.model_validate_json(json.dumps(STAND_INS.get(model, {}) | kept))
    return _Parsed(value, frozenset(broken))


def _broken(sections: Mapping[str, _Parsed], lists: Mapping[str, list[_Parsed] | None]) -> dict[str, frozenset[str]]:
    found = {name: parsed.broken for name, parsed in sections.items()}
    return found | {
        f"{name}[{index}]": parsed.broken
        for name, entries in lists.items()
        for index, parsed in enumerate(entries or ())
    }
