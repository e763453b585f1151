"""Data as YAML text: what programs parse is dumped, never typed."""

from __future__ import annotations

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


def dump(data: Mapping[str, Any]) -> str:
    """One YAML document, keys in the order of the data."""
    return str(yaml.dump(data, Dumper=_Dumper, sort_keys=False, width=WIDTH))


def dump_all(documents: Sequence[Mapping[str, Any]]) -> str:
    """Several YAML documents in one file."""
    return str(yaml.dump_all(documents, Dumper=_Dumper, sort_keys=False, width=WIDTH))
