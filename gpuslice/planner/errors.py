"""The planner's one way to refuse an input."""

from __future__ import annotations

import reprlib
from collections.abc import Iterable

_LONGEST_REPORT = 50
# What YAML aliases make of a few lines can have billions of values, and no end: repr() of it would not come back.
_BRIEF = reprlib.Repr()
_BRIEF.maxlevel, _BRIEF.maxstring, _BRIEF.maxother = 3, 200, 200


class InputError(Exception):
    """Everything that is wrong with an input, each with its place: file, line or key, value, and what is allowed."""

    def __init__(self, problems: Iterable[str]) -> None:
        self.problems = tuple(dict.fromkeys(problems))
        shown = list(self.problems[:_LONGEST_REPORT])
        more = len(self.problems) - len(shown)
        super().__init__("\n".join([*shown, f"... and {more} more"] if more else shown))


def shown(value: object) -> str:
    """A value as an error may print it: on one line, at most 80 characters."""
    try:
        whole = _BRIEF.repr(value)
    except ValueError:
        whole = "a number of thousands of digits"
    text = "".join(c if c.isprintable() else f"\\u{ord(c):04x}" for c in whole[:200])
    return text if len(text) <= 80 else text[:77] + "..."
