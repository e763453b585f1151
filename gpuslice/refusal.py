"""How a validator of the settings says no, and the whole numbers that they hold.

Every refusal is a `PydanticCustomError` of type `gpuslice` whose context carries `allowed` and `suggestion`, so that
`gpuslice.problems` can print where, what, and what is allowed.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from pydantic import GetCoreSchemaHandler, GetJsonSchemaHandler
from pydantic_core import CoreSchema, PydanticCustomError, core_schema


def refuse(message: str, *, allowed: str = "", suggestion: str = "") -> PydanticCustomError:
    """The error that a validator raises: `message` says what is wrong, `allowed` what would be right."""
    context = {"message": message, "allowed": allowed, "suggestion": suggestion}
    return PydanticCustomError("gpuslice", "{message}", context)


def nearest(value: object, allowed: Iterable[str]) -> str:
    """The closest of `allowed` to `value`, or an empty string when none is close."""
    if not isinstance(value, str):
        return ""
    spellings = {a.lower(): a for a in allowed}
    close = difflib.get_close_matches(value[:80].lower(), spellings, n=1, cutoff=0.6)
    return spellings[close[0]] if close else ""


@dataclass(frozen=True)
class Whole:
    """Annotation for a strict whole number from `low` to `high`: no text, no truth value, no 4.0."""

    low: int
    high: int

    @property
    def allowed(self) -> str:
        return f"{self.low} to {self.high}"

    def check(self, value: Any) -> int:
        if type(value) is not int:
            raise refuse("must be a whole number", allowed=self.allowed, suggestion=_as_whole(value))
        if not self.low <= value <= self.high:
            raise refuse(f"is too {'small' if value < self.low else 'large'}", allowed=self.allowed)
        return value

    def __get_pydantic_core_schema__(self, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        return core_schema.no_info_before_validator_function(self.check, handler(source))

    def __get_pydantic_json_schema__(self, schema: CoreSchema, handler: GetJsonSchemaHandler) -> dict[str, Any]:
        return {"type": "integer", "minimum": self.low, "maximum": self.high}


def _as_whole(value: Any) -> str:
    """The whole number that was meant by `"4"` or `4.0`."""
    if isinstance(value, str) and re.fullmatch(r"[0-9]{1,9}", value):
        return f"{int(value)}, without quotes"
    return str(int(value)) if isinstance(value, float) and value.is_integer() else ""
