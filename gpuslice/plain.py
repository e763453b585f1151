"""Whatever came in as configuration, reduced to what JSON can say: every later step may rely on that.

A Pulumi program gets its configuration as JSON, a stack file is YAML, and a caller may pass anything. Maps with text
as keys, lists, text, truth values, whole numbers of 64 bits and finite decimals pass; the rest is a problem with its
path. So is a value that Pulumi keeps encrypted (`secure:`), except among Helm values.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Mapping
from typing import Any

from gpuslice.problems import Problem, SettingsError, join, shown

MAX_DEPTH = 60
MAX_VALUES = 100_000
_MAY_BE_SECRET = "gpu-slicing:gpuOperator.values."
_LARGEST = 2**63
_ODD = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\x7f\ud800-\udfff]")


class Plain:
    """Copies values and notes `problems` on the way, with the paths of what had to be left out in `paths`.

    Raises `SettingsError` at once for what is too deep or too large to look through.
    """

    def __init__(self) -> None:
        self.problems: list[Problem] = []
        self.paths: set[str] = set()
        self._values = 0

    def copy(self, value: Any, path: str, depth: int = 0) -> Any:
        """The value as plain data; None stands for what was refused."""
        self._values += 1
        if depth > MAX_DEPTH:
            raise SettingsError([Problem(path[:200], "", "is nested too deeply", f"{MAX_DEPTH} levels")])
        if self._values > MAX_VALUES:
            raise SettingsError([Problem(path[:200], "", "has too many values", f"at most {MAX_VALUES} in a stack")])
        if isinstance(value, Mapping):
            if set(value) == {"secure"} and not path.startswith(_MAY_BE_SECRET):
                return self._refuse(path, value, "is encrypted, but decides which resources exist", "plain values")
            return dict(self._entries(value, path, depth))
        if isinstance(value, list | tuple):
            return [self.copy(entry, join(path, [index]), depth + 1) for index, entry in enumerate(value)]
        return self._scalar(value, path)

    def _entries(self, value: Mapping[Any, Any], path: str, depth: int) -> Iterator[tuple[str, Any]]:
        for key, entry in value.items():
            fault = _text_fault(key) if isinstance(key, str) else "is not text"
            if fault:
                self._refuse(path, key if isinstance(key, str) else _kind(key), f"has a key that {fault}", "text")
                continue
            below = join(path, [key])
            copied = self.copy(entry, below, depth + 1)
            if copied is not None:
                yield key, copied

    def _scalar(self, value: Any, path: str) -> Any:
        if value is None:
            return self._refuse(path, None, "has no value", "a value, or leave the key out")
        if isinstance(value, str):
            fault = _text_fault(value)
            return self._refuse(path, value, fault, "text") if fault else str(value)
        if isinstance(value, bool):
            return value
        if isinstance(value, int):
            if not -_LARGEST <= value < _LARGEST:
                return self._refuse(path, None, "is too large a number", "whole numbers of at most 18 digits")
            return value
        if isinstance(value, float):
            return value if math.isfinite(value) else self._refuse(path, str(value), "is not a number", "a number")
        return self._refuse(path, _kind(value), "is not a value of YAML or JSON", "text, numbers, true or false")

    def _refuse(self, path: str, value: Any, message: str, allowed: str) -> None:
        self.paths.add(path)
        given = "null" if message == "has no value" else "" if value is None else shown(value, path)
        self.problems.append(Problem(path, given, message, allowed))


def _text_fault(text: str) -> str:
    odd = _ODD.search(text)
    if odd is None:
        return ""
    if odd[0] >= "\ud800":
        return "is not Unicode text (half of a surrogate pair)"
    return f"has the control character U+{ord(odd[0]):04X}"


def _kind(value: Any) -> str:
    return f"a {type(value).__name__}"
