"""Whether one structure is in another, as `kubectl diff` sees it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any


def missing(wanted: Any, found: Any, path: str = "") -> list[str]:
    """The paths under which `found` lacks what `wanted` has, or has something else. Keys of its own are fine."""
    if isinstance(wanted, Mapping) and isinstance(found, Mapping):
        return [
            p for key, value in wanted.items() for p in missing(value, found.get(key), f"{path}.{key}" if path else key)
        ]
    both_lists = all(isinstance(v, Sequence) and not isinstance(v, str) for v in (wanted, found))
    if both_lists and len(wanted) == len(found):
        pairs = enumerate(zip(wanted, found, strict=True))
        return [p for i, (w, f) in pairs for p in missing(w, f, f"{path}[{i}]")]
    return [] if wanted == found else [f"{path}: {wanted!r}, not {found!r}"]
