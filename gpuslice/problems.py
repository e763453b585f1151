"""What is wrong with a stack's settings, in words: where, what, what is allowed, and the nearest valid spelling."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from typing import Any, get_args

from pydantic import BaseModel, Tag, ValidationError
from pydantic_core import ErrorDetails

from gpuslice.fields import nearest

LONGEST_VALUE = 80
SECRET_WORDS = ("secret", "password", "token", "credential", "privatekey", "accesskey")


@dataclass(frozen=True)
class Problem:
    """One error. `value` is the given value as JSON text, cut at 80 characters, secrets hidden; empty when absent."""

    path: str
    value: str
    message: str
    allowed: str = ""
    suggestion: str = ""

    def as_json(self) -> dict[str, str]:
        return asdict(self)

    def __str__(self) -> str:
        got = f" (got {self.value})" if self.value else ""
        allowed = f" Allowed: {self.allowed}." if self.allowed else ""
        suggestion = f" Did you mean {self.suggestion}?" if self.suggestion else ""
        return f"{self.path}: {self.message}{got}.{allowed}{suggestion}"


class SettingsError(Exception):
    """Everything that is wrong with the settings, sorted by path."""

    def __init__(self, problems: Sequence[Problem]) -> None:
        self.problems = tuple(sorted(problems, key=lambda p: (p.path, p.message)))
        super().__init__("\n".join(map(str, self.problems)))


def shown(value: Any, path: str = "") -> str:
    """The value as it may be printed."""
    last = path.rsplit(".", 1)[-1].lower()
    if any(word in last for word in SECRET_WORDS) or (isinstance(value, dict) and "secure" in value):
        return "[secret]"
    text = json.dumps(value, ensure_ascii=False, default=str)
    return text if len(text) <= LONGEST_VALUE else text[: LONGEST_VALUE - 3] + "..."


def join(base: str, location: Sequence[int | str]) -> str:
    """`gpu-slicing:pools[0]` and `("sharing", "replicas")` as one path."""
    return base + "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in location)


def _walk(value: Any, location: Sequence[int | str]) -> tuple[list[int | str], Any]:
    """The parts of `location` that name keys of `value`, without the tags that unions add, and what they lead to."""
    kept: list[int | str] = []
    for part in location:
        if (isinstance(value, dict) and part in value) or (
            isinstance(value, list) and isinstance(part, int) and part < len(value)
        ):
            value = value[part]
        elif part == location[-1] and isinstance(value, dict) and "[" not in str(part):
            value = None
        else:
            continue
        kept.append(part)
    return kept, value


_TYPES = {
    "string_type": "must be a string",
    "int_type": "must be a whole number",
    "bool_type": "must be true or false",
    "model_type": "must be a map",
    "dict_type": "must be a map",
    "tuple_type": "must be a list",
    "list_type": "must be a list",
    "missing": "is missing",
}


def _bound(error: ErrorDetails) -> tuple[str, str]:
    context = error.get("ctx", {})
    bounds = {"greater_than_equal": ("ge", "at least"), "less_than_equal": ("le", "at most")}
    if error["type"] in bounds:
        key, words = bounds[error["type"]]
        return f"must be {words} {context[key]}", f"{words} {context[key]}"
    if error["type"] in {"too_short", "string_too_short"}:
        count = context.get("min_length", 1)
        return "has too few entries", f"at least {count}"
    return "has too many entries", f"at most {context.get('max_length')}"


def _words(error: ErrorDetails, value: Any) -> tuple[str, str, str]:
    """Message, allowed and suggestion for one pydantic error."""
    kind, context = error["type"], error.get("ctx", {})
    if kind == "gpuslice":
        return context["message"], context["allowed"], context["suggestion"]
    if kind == "literal_error":
        allowed = [word.strip("'") for word in context["expected"].replace(" or ", ", ").split(", ")]
        return "is not one of the allowed values", ", ".join(allowed), nearest(value, allowed)
    if kind == "union_tag_invalid":
        allowed = [word.strip("'") for word in context["expected_tags"].split(", ")]
        return "is not a sharing mode", ", ".join(allowed), nearest(context["tag"], allowed)
    if kind == "union_tag_not_found":
        return "is missing", "time-slicing, mig, mps, exclusive", ""
    if kind in _TYPES:
        hint = _quoting_hint(value) if kind == "string_type" else ""
        return _TYPES[kind], "", hint
    if kind in {
        "greater_than_equal",
        "less_than_equal",
        "too_short",
        "too_long",
        "string_too_short",
        "string_too_long",
    }:
        return *_bound(error), ""
    return error["msg"], "", ""


def _quoting_hint(value: Any) -> str:
    return f'"{value}", in quotes' if isinstance(value, int | float) and not isinstance(value, bool) else ""


def from_pydantic(error: ValidationError, base: str, raw: Any, model: type[BaseModel]) -> list[Problem]:
    """The problems of one section of the settings: `raw` is what was validated against `model`."""
    return [_problem(e, base, raw, model) for e in error.errors(include_url=False)]


def _problem(error: ErrorDetails, base: str, raw: Any, model: type[BaseModel]) -> Problem:
    location, value = _walk(raw, error["loc"])
    path = join(base, location)
    if error["type"] == "extra_forbidden":
        allowed = allowed_keys(model, error["loc"][:-1])
        return Problem(path, shown(value, path), "unknown key", ", ".join(allowed), nearest(location[-1], allowed))
    message, allowed_text, suggestion = _words(error, value)
    if error["type"] in {"union_tag_invalid", "union_tag_not_found"} and isinstance(value, dict):
        path, value = path + ".mode", value.get("mode")
    given = "" if error["type"] == "missing" or value is None else shown(value, path)
    return Problem(path, given, message, allowed_text, suggestion)


def allowed_keys(model: type[BaseModel], location: Sequence[int | str]) -> list[str]:
    """The keys that the model at `location` (as pydantic gives it, with union tags) takes."""
    candidates: list[tuple[type[BaseModel], str]] = [(model, "")]
    for part in location:
        tagged = [c for c in candidates if c[1] and c[1] == part]
        nested = [m for c, _ in candidates for m in _field_models(c, part)]
        candidates = tagged or nested or candidates
    return [str(field.alias) for c, _ in candidates for field in c.model_fields.values()]


def _field_models(model: type[BaseModel], key: int | str) -> list[tuple[type[BaseModel], str]]:
    field = next((f for f in model.model_fields.values() if f.alias == key), None)
    return list(_models(field.annotation)) if field else []


def _models(annotation: Any, tag: str = "") -> Iterator[tuple[type[BaseModel], str]]:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        yield annotation, tag
    metadata = [m.tag for m in getattr(annotation, "__metadata__", ()) if isinstance(m, Tag)]
    for argument in get_args(annotation):
        yield from _models(argument, metadata[0] if metadata else tag)
