"""Reading a resource whose shape nobody promised.

A rule reads through a `View`, which remembers its path. What is not known before the resource exists raises
`Unjudged`, and what has a shape that no provider accepts raises `OddShape`; whoever runs the rule turns the first
into a remark and the second into a violation. So a rule neither crashes on odd data nor passes it by accident.
"""

from __future__ import annotations

import enum
import math
import re
from collections.abc import Iterator, Mapping
from decimal import Decimal
from typing import Any, Final

from policies.quantity import parse_quantity

# Karpenter's pattern of durations (pkg/apis/v1/nodepool.go): hours, minutes and seconds in any order.
_DURATION = re.compile(r"(?:\d+[hms])+")
_SECONDS = {"h": 3600, "m": 60, "s": 1}


class Mark(enum.Enum):
    """What stands where there is no plain value."""

    UNKNOWN = "<unknown>"
    """Known only once the resource exists."""
    MISSING = "<missing>"

    def __repr__(self) -> str:
        return self.value


UNKNOWN: Final = Mark.UNKNOWN
MISSING: Final = Mark.MISSING


class Unjudged(Exception):
    """The rule needs a value that is not known yet; the text is its path."""


class OddShape(Exception):
    """The value has a shape that the field cannot have; the text says where, what and what was expected."""


class View:
    """A value and the path that leads to it. `value` is JSON data, or `UNKNOWN`, or `MISSING`.

    The path is put together when somebody asks: rules read a hundred fields for each that a message names.
    """

    __slots__ = ("_key", "_parent", "value")

    def __init__(self, value: Any, path: str | int = "", parent: View | None = None) -> None:
        self.value = value
        self._key = path
        self._parent = parent

    @property
    def path(self) -> str:
        """Such as `spec.limits["nvidia.com/gpu"]` or `items[0].name`."""
        if self._parent is None:
            return str(self._key)
        above, key = self._parent.path, self._key
        if isinstance(key, int):
            return f"{above}[{key}]"
        if not key or any(mark in key for mark in '."[]/'):
            return f'{above}["{key}"]'
        return f"{above}.{key}" if above else key

    def __getitem__(self, key: str) -> View:
        """The field of an object; a view of `MISSING` where there is none."""
        return View(self._mapping().get(key, MISSING), key, self)

    def at(self, *keys: str) -> View:
        """A field several levels down."""
        view = self
        for key in keys:
            view = view[key]
        return view

    @property
    def present(self) -> bool:
        """True where something is given, known or not; null is nothing."""
        return self.value is not MISSING and self.value is not None

    @property
    def unknown(self) -> bool:
        """True where something is given that is known only once the resource exists."""
        return self.value is UNKNOWN

    def fields(self) -> dict[str, View]:
        """The fields of an object; none where it is missing."""
        return {str(key): View(value, str(key), self) for key, value in self._mapping().items()}

    def items(self) -> list[View]:
        """The items of a list; none where it is missing."""
        if not self.present:
            return []
        if isinstance(self._known(), list | tuple):
            return [View(value, index, self) for index, value in enumerate(self.value)]
        raise self._odd("a list")

    def text(self, default: str = "") -> str:
        """A string, `default` where it is missing. Numbers and booleans are no strings."""
        if not self.present:
            return default
        if isinstance(self._known(), str):
            return str(self.value)
        raise self._odd("a text")

    def texts(self) -> list[str]:
        """The strings of a list."""
        return [item.text() for item in self.items()]

    def flag(self, default: bool = False) -> bool:
        """A boolean; AWS launch templates write them as the texts `true` and `false`."""
        if not self.present:
            return default
        known = self._known()
        if isinstance(known, bool):
            return known
        if known in ("true", "false"):
            return bool(known == "true")
        raise self._odd("true or false")

    def number(self) -> Decimal | None:
        """A number or a Kubernetes quantity (`100Gi`, `"4"`, `4.0`), None where it is missing."""
        if not self.present:
            return None
        known = self._known()
        parsed = None if isinstance(known, bool) else parse_quantity(known)
        if parsed is None:
            raise self._odd("a number or a quantity")
        return parsed

    def seconds(self, default: str) -> float:
        """A duration of Karpenter's (`1h30m`), infinite for `Never`; that of `default` where it is missing."""
        given = self.text(default)
        if given == "Never":
            return math.inf
        if not _DURATION.fullmatch(given):
            raise self._odd("a duration such as 1h30m")
        return sum(int(part[:-1]) * _SECONDS[part[-1]] for part in re.findall(r"\d+[hms]", given))

    def walk(self) -> Iterator[View]:
        """This view and every one below it, unknown ones included."""
        yield self
        if self.value is UNKNOWN or not self.present:
            return
        if isinstance(self.value, Mapping):
            for field in self.fields().values():
                yield from field.walk()
        elif isinstance(self.value, list | tuple):
            for item in self.items():
                yield from item.walk()

    def known(self) -> Any:
        """The plain value; raises Unjudged where it is not known yet. `MISSING` is returned as None."""
        return None if not self.present else self._known()

    def _mapping(self) -> Mapping[Any, Any]:
        if not self.present:
            return {}
        if isinstance(self._known(), Mapping):
            known: Mapping[Any, Any] = self.value
            return known
        raise self._odd("an object")

    def _known(self) -> Any:
        if self.value is UNKNOWN:
            raise Unjudged(self.path)
        return self.value

    def _odd(self, expected: str) -> OddShape:
        return OddShape(f"{self.path or 'the resource'} is {_shown(self.value)}, not {expected}")


def _shown(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 80 else f"{text[:77]}..."
