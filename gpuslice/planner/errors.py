"""The planner's one way to refuse an input."""

from __future__ import annotations

from collections.abc import Iterable

_LONGEST_REPORT = 50


class InputError(Exception):
    """Everything that is wrong with an input, each with its place: file, line or key, value, and what is allowed."""

    def __init__(self, problems: Iterable[str]) -> None:
        self.problems = tuple(dict.fromkeys(problems))
        shown = list(self.problems[:_LONGEST_REPORT])
        more = len(self.problems) - len(shown)
        super().__init__("\n".join([*shown, f"... and {more} more"] if more else shown))


def shown(value: object) -> str:
    """A value as an error may print it: on one line, at most 80 characters."""
    text = "".join(c if c.isprintable() else f"\\u{ord(c):04x}" for c in repr(value)[:200])
    return text if len(text) <= 80 else text[:77] + "..."
