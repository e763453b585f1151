"""A compliant program of somebody else, and how a case changes it in one place."""

from __future__ import annotations

import copy
import json
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

import yaml

from policies.model import Options, Resource
from policies.view import UNKNOWN

Program = dict[str, dict[str, Any]]
"""Resource name to what base.yaml says of it."""
Edit = Callable[[Program], None]
DOCUMENTS = ("policy", "assumeRolePolicy", "eventPattern")


@dataclass(frozen=True)
class Case:
    """A change of the base program, and the one rule that must refuse it, or none."""

    rule: str
    name: str
    edits: tuple[Edit, ...]
    refused: bool
    says: str = ""
    config: Mapping[str, Any] = field(default_factory=dict)

    @property
    def id(self) -> str:
        return f"{self.rule}: {self.name}"


def refused(rule: str, name: str, *edits: Edit, says: str = "", config: Mapping[str, Any] | None = None) -> Case:
    """Only `rule` must refuse it, with a message that contains `says`. `config` are the pack's settings."""
    return Case(rule, name, edits, True, says, config or {})


def accepted(rule: str, name: str, *edits: Edit, config: Mapping[str, Any] | None = None) -> Case:
    """Near what `rule` refuses, and yet no rule may refuse it."""
    return Case(rule, name, edits, False, "", config or {})


def put(name: str, *path_and_value: Any) -> Edit:
    """Sets a property: `put("pool-shared", "spec", "limits", "nodes", 3)`. A list index is an int; lists are extended
    by the index that follows their last one. Objects on the way are made where they are missing."""
    *path, last, value = path_and_value

    def edit(program: Program) -> None:
        place = _place(program[name]["properties"], path)
        if isinstance(place, list) and last == len(place):
            place.append(copy.deepcopy(value))
        else:
            place[last] = copy.deepcopy(value)

    return edit


def drop(name: str, *path: Any) -> Edit:
    """Takes a property away."""

    def edit(program: Program) -> None:
        del _place(program[name]["properties"], path[:-1])[path[-1]]

    return edit


def put_yaml(name: str, key: str, *path_and_value: Any) -> Edit:
    """Sets a field inside the YAML text under `data.<key>` of a ConfigMap."""
    *path, last, value = path_and_value

    def edit(program: Program) -> None:
        data = program[name]["properties"]["data"]
        document = yaml.safe_load(data[key])
        _place(document, path)[last] = value
        data[key] = yaml.safe_dump(document)

    return edit


def drop_yaml(name: str, key: str, *path: Any) -> Edit:
    """Takes a field away inside the YAML text under `data.<key>` of a ConfigMap."""

    def edit(program: Program) -> None:
        data = program[name]["properties"]["data"]
        document = yaml.safe_load(data[key])
        del _place(document, path[:-1])[path[-1]]
        data[key] = yaml.safe_dump(document)

    return edit


def put_option(name: str, key: str, value: Any) -> Edit:
    """Sets a resource option: `protect`, or `deleteTimeout` in seconds."""
    return lambda program: program[name].setdefault("options", {}).__setitem__(key, value)


def put_head(name: str, key: str, value: Any) -> Edit:
    """Sets what stands beside the properties: `type`, `provider`, `parent`, `dependencies`."""
    return lambda program: program[name].__setitem__(key, value)


def without(name: str) -> Edit:
    """Takes a resource away."""
    return lambda program: program.__delitem__(name)


def also(name: str, type_: str, properties: Any, **head: Any) -> Edit:
    """One resource more."""
    made = {"name": name, "type": type_, "provider": "research", "properties": properties, **head}
    return lambda program: program.__setitem__(name, copy.deepcopy(made))


def like(name: str, original: str, *edits: Edit) -> Edit:
    """A copy of a resource under another name; `edits` name the copy."""

    def edit(program: Program) -> None:
        program[name] = {**copy.deepcopy(program[original]), "name": name}
        for change in edits:
            change(program)

    return edit


def _place(data: Any, path: Iterable[Any]) -> Any:
    for key in path:
        data = data.setdefault(key, {}) if isinstance(data, dict) else data[key]
    return data


@cache
def _base() -> Program:
    entries = yaml.safe_load(Path(__file__).with_name("base.yaml").read_text(encoding="utf-8"))
    # What an anchor repeats must not change everywhere at once.
    entries = json.loads(json.dumps(entries))
    return {entry["name"]: entry for entry in entries}


def program_of(*edits: Edit) -> Program:
    """The base program with these changes, as base.yaml writes it."""
    program = copy.deepcopy(_base())
    for edit in edits:
        edit(program)
    return program


def resources_of(*edits: Edit) -> list[Resource]:
    """The base program with these changes, as the rules get it."""
    program = program_of(*edits)
    urns = {name: urn(name, entry["type"]) for name, entry in program.items()}
    return [_resource(entry, urns) for entry in program.values()]


def urn(name: str, type_: str) -> str:
    return f"urn:pulumi:prod::research::{type_}::{name}"


def _resource(entry: Mapping[str, Any], urns: Mapping[str, str]) -> Resource:
    """`dependencies`, `propertyDependencies` and `parent` are names of resources; one that is not there counts not."""
    options = entry.get("options", {})
    return Resource(
        entry["type"],
        entry["name"],
        _with_unknowns(_documents(entry["properties"])),
        urn(entry["name"], entry["type"]),
        Options(options.get("protect", False), float(options.get("deleteTimeout", 0))),
        entry.get("provider", ""),
        urns.get(entry.get("parent", ""), ""),
        tuple(urns[name] for name in entry.get("dependencies", ()) if name in urns),
        {key: tuple(urns[name] for name in names) for key, names in entry.get("propertyDependencies", {}).items()},
    )


def _documents(properties: Any) -> Any:
    if not isinstance(properties, dict):
        return properties
    return {k: json.dumps(v) if k in DOCUMENTS and isinstance(v, dict) else v for k, v in properties.items()}


def _with_unknowns(value: Any) -> Any:
    if value == "<unknown>":
        return UNKNOWN
    if isinstance(value, dict):
        return {key: _with_unknowns(v) for key, v in value.items()}
    return [_with_unknowns(v) for v in value] if isinstance(value, list) else value
