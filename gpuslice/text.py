"""Data as YAML or TOML text: what programs parse is dumped, never typed."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from typing import Any

import yaml

WIDTH = 120
# libyaml's emitter, which PyYAML's wheels carry, is ten times as fast as the one in Python.
_Base: Any = getattr(yaml, "CSafeDumper", yaml.SafeDumper)


class _Dumper(_Base):  # type: ignore[misc]
    """Block text for strings of several lines, so that configurations inside ConfigMaps can be read; no anchors."""

    def ignore_aliases(self, data: Any) -> bool:
        return True


def _string(dumper: Any, value: str) -> Any:
    return dumper.represent_scalar("tag:yaml.org,2002:str", value, style="|" if "\n" in value else None)


_Dumper.add_representer(str, _string)


def too_deep(text: str, loader: Any, most: int) -> int | None:
    """The line, from 1, on which YAML is nested more deeply than so many levels; None where it nowhere is.

    Composing recurses, in C where it can, and ends the process when there is no more stack: look before.
    """
    depth = 0
    for event in yaml.parse(text, Loader=loader):
        if isinstance(event, yaml.CollectionStartEvent):
            depth += 1
        elif isinstance(event, yaml.CollectionEndEvent):
            depth -= 1
        if depth > most:
            return int(event.start_mark.line) + 1 if event.start_mark else 0
    return None


def dump(data: Mapping[str, Any]) -> str:
    """One YAML document, keys in the order of the data."""
    return str(yaml.dump(data, Dumper=_Dumper, sort_keys=False, width=WIDTH))


def dump_all(documents: Sequence[Mapping[str, Any]]) -> str:
    """Several YAML documents in one file."""
    return str(yaml.dump_all(documents, Dumper=_Dumper, sort_keys=False, width=WIDTH))


def dump_toml(data: Mapping[str, Any], above: tuple[str, ...] = ()) -> str:
    """Nested tables of scalars as TOML: JSON's strings, numbers and booleans are TOML's too; the library only reads."""
    scalars = {key: value for key, value in data.items() if not isinstance(value, Mapping)}
    lines = [f"[{'.'.join(map(_toml_key, above))}]"] if scalars and above else []
    lines += [f"{_toml_key(key)} = {json.dumps(value)}" for key, value in scalars.items()]
    below = [dump_toml(value, (*above, key)) for key, value in data.items() if isinstance(value, Mapping)]
    return "".join([*(line + "\n" for line in lines), *below])


def _toml_key(key: str) -> str:
    return key if re.fullmatch(r"[A-Za-z0-9_-]+", key) else json.dumps(key)
