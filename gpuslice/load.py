"""From plain configuration values to `Settings`: every error of a stack in one report, before anything is made."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any

from pydantic import BaseModel, TypeAdapter, ValidationError

from gpuslice import fields as f
from gpuslice.checks import cluster_problems, pool_problems, settings_problems
from gpuslice.fields import nearest
from gpuslice.problems import Problem, SettingsError, from_pydantic, join, shown
from gpuslice.settings import (
    Cluster,
    GpuOperator,
    Karpenter,
    Monitoring,
    PoolSettings,
    Settings,
    Tenant,
    Verification,
)

NAMESPACE = "gpu-slicing"
BASE = NAMESPACE + ":"
DEFAULT_REGION = "us-east-1"
MAX_POOLS = 500
SECTIONS: dict[str, type[BaseModel]] = {
    "cluster": Cluster,
    "karpenter": Karpenter,
    "gpuOperator": GpuOperator,
    "monitoring": Monitoring,
    "verification": Verification,
}
LISTS: dict[str, type[BaseModel]] = {"pools": PoolSettings, "tenants": Tenant}


def load_settings(config: Mapping[str, Any], stack: str) -> Settings:
    """The settings of `stack` from its configuration: full keys (`gpu-slicing:pools`, `aws:region`) to plain data.

    Raises `SettingsError` with every problem that was found.
    """
    loader = _Load(stack, config)
    settings = loader.settings()
    if loader.problems:
        raise SettingsError(loader.problems)
    assert settings is not None
    return settings


class _Load:
    def __init__(self, stack: str, config: Mapping[str, Any]) -> None:
        self.stack = stack
        self.raw = {k.removeprefix(BASE): v for k, v in config.items() if k.startswith(BASE)}
        self.problems: list[Problem] = []
        self.region = self._region(config.get("aws:region", DEFAULT_REGION))

    def settings(self) -> Settings | None:
        self._unknown_keys()
        found: dict[str, Any] = {name: self._section(name, model) for name, model in SECTIONS.items()}
        found |= {name: self._list(name, model) for name, model in LISTS.items()}
        if found["cluster"] is not None:
            self.problems += cluster_problems(found["cluster"], f"{BASE}cluster")
        sound = [pool for index, pool in enumerate(found["pools"]) if pool is not None and self._sound(pool, index)]
        if any(entry is None for name in LISTS for entry in found[name]) or not self._parsed(found):
            return None
        settings = self._whole(found)
        self.problems += settings_problems(settings, BASE, sound)
        return settings

    def _sound(self, pool: PoolSettings, index: int) -> bool:
        problems = list(pool_problems(pool, f"{BASE}pools[{index}]", self.region, self.stack))
        self.problems += problems
        return not problems

    def _parsed(self, found: dict[str, Any]) -> bool:
        """Whether every section that is there was valid in itself."""
        return found["cluster"] is not None and all(found[name] is not None for name in SECTIONS if name in self.raw)

    def _whole(self, found: dict[str, Any]) -> Settings:
        given = {name: value for name, value in found.items() if value is not None}
        values = {str(Settings.model_fields[_snake(name)].alias): value for name, value in given.items()}
        values |= {"pools": tuple(found["pools"]), "tenants": tuple(found["tenants"])}
        return Settings.model_validate({"stack": self.stack, "region": self.region, **values})

    def _region(self, value: Any) -> str:
        try:
            return str(TypeAdapter(f.Region).validate_python(value))
        except ValidationError:
            self.problems.append(Problem("aws:region", shown(value), "is not an AWS region", "such as us-east-1"))
            return DEFAULT_REGION

    def _unknown_keys(self) -> None:
        allowed = (*SECTIONS, *LISTS)
        for key in self.raw:
            if key not in allowed:
                self.problems.append(
                    Problem(
                        BASE + key,
                        shown(self.raw[key], key),
                        "unknown key",
                        ", ".join(allowed),
                        nearest(key, allowed),
                    )
                )
        if "pools" not in self.raw:
            self.problems.append(Problem(BASE + "pools", "", "is missing", "a list with at least one pool"))

    def _section(self, name: str, model: type[BaseModel]) -> BaseModel | None:
        raw = self.raw.get(name)
        if name == "cluster" and (raw is None or isinstance(raw, dict)):
            raw = {"name": f"gpu-{self.stack}", **(raw or {})}
        if raw is None:
            return None
        return self._model(model, raw, BASE + name)

    def _list(self, name: str, model: type[BaseModel]) -> list[BaseModel | None]:
        raw = self.raw.get(name)
        path = BASE + name
        if raw is None and name not in self.raw:
            return []
        if not isinstance(raw, list):
            self.problems.append(Problem(path, shown(raw), "must be a list", "a list of maps"))
            return []
        if len(raw) > MAX_POOLS or (name == "pools" and not raw):
            self.problems.append(Problem(path, f"{len(raw)} entries", "has the wrong length", f"1 to {MAX_POOLS}"))
            return []
        return [self._model(model, entry, join(path, [index])) for index, entry in enumerate(raw)]

    def _model(self, model: type[BaseModel], raw: Any, path: str) -> BaseModel | None:
        self.problems += [*_nulls(raw, path)]
        try:
            return model.model_validate_json(json.dumps(raw, default=str))
        except ValidationError as error:
            self.problems += from_pydantic(error, path, raw, model)
            return None


def _nulls(raw: Any, path: str) -> Iterator[Problem]:
    """A key without a value is a slip, not a request for the default."""
    if isinstance(raw, dict):
        for key, value in raw.items():
            if value is None:
                yield Problem(f"{path}.{key}", "null", "has no value", "a value, or leave the key out")
            else:
                yield from _nulls(value, f"{path}.{key}")
    elif isinstance(raw, list):
        for index, value in enumerate(raw):
            yield from _nulls(value, f"{path}[{index}]")


def _snake(name: str) -> str:
    return "".join("_" + c.lower() if c.isupper() else c for c in name)
