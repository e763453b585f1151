"""What is wrong with a stack's settings, in words: where, what, what is allowed, and the nearest valid spelling."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass
from typing import Any, get_args

from pydantic import BaseModel, Tag, ValidationError, WithJsonSchema
from pydantic_core import ErrorDetails

from gpuslice.fields import Whole, nearest
from gpuslice.settings import SHARING_MODES, TAG_MARK

LONGEST_VALUE = 80
LONGEST_REPORT = 200
SECRET = "[secret]"
SECRET_WORDS = ("secret", "password", "passwd", "token", "credential", "privatekey", "accesskey", "apikey")
# AWS access key ids, GitHub tokens, PEM blocks: secrets by their looks, wherever they stand.
_SECRET_LOOKS = re.compile(r"\b(AKIA|ASIA)[0-9A-Z]{16}\b|\bgh[pousr]_[0-9A-Za-z]{20}|-----BEGIN [A-Z ]*PRIVATE KEY")
_PLAIN_KEY = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_./:+*-]{0,79}")


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
    """Everything that is wrong with the settings, each once, in the order of their paths."""

    def __init__(self, problems: Iterable[Problem]) -> None:
        self.problems = tuple(sorted(dict.fromkeys(problems), key=_place))
        lines = [str(p) for p in self.problems[:LONGEST_REPORT]]
        more = len(self.problems) - len(lines)
        super().__init__("\n".join([*lines, f"... and {more} more"] if more else lines))


def _place(problem: Problem) -> tuple[list[tuple[int, str]], str, str]:
    """Sorts `pools[2]` before `pools[10]`."""
    parts = re.split(r"([0-9]+)", problem.path)
    return [(int(p[:18]), "") if p.isdecimal() else (-1, p) for p in parts], problem.message, problem.value


def shown(value: Any, path: str = "") -> str:
    """The value as it may be printed: on one line, at most 80 characters, without what looks like a secret."""
    if any(secretive(part) for part in re.split(r"[.:\[\]]", path)):
        return SECRET
    text = _printable(json.dumps(_redacted(value), ensure_ascii=False, default=lambda v: type(v).__name__))
    return text if len(text) <= LONGEST_VALUE else text[: LONGEST_VALUE - 3] + "..."


def secretive(key: str) -> bool:
    """Whether a key's value should not be printed, going by its name."""
    plain = key.lower().replace("-", "").replace("_", "")
    return plain == "secure" or any(word in plain for word in SECRET_WORDS)


def _redacted(value: Any) -> Any:
    if isinstance(value, dict):
        if "secure" in value:
            return SECRET
        return {str(k): SECRET if secretive(str(k)) else _redacted(v) for k, v in value.items()}
    if isinstance(value, list | tuple):
        # More than this is never printed.
        return [_redacted(v) for v in value[:LONGEST_VALUE]]
    if isinstance(value, str):
        # One character more than fits shows that something was cut.
        return SECRET if _SECRET_LOOKS.search(value) else value[: LONGEST_VALUE + 1]
    return value


def _printable(text: str) -> str:
    return "".join(c if c.isprintable() else f"\\u{ord(c):04x}" for c in text)


def join(base: str, location: Iterable[int | str]) -> str:
    """`gpu-slicing:pools[0]` and `("sharing", "replicas")` as one path. Odd keys stand in quotes, cut when long."""
    return base + "".join(_step(part) for part in location)


def _step(part: int | str) -> str:
    if isinstance(part, int):
        return f"[{part}]"
    return f".{part}" if _PLAIN_KEY.fullmatch(part) else f"[{shown(part)}]"


def _walk(value: Any, location: Sequence[int | str]) -> tuple[list[int | str], Any]:
    """The parts of `location` that name keys of `value`, without the marks of pydantic, and what they lead to."""
    kept: list[int | str] = []
    for part in location:
        if isinstance(part, str) and part.startswith(TAG_MARK):
            continue
        if isinstance(value, dict):
            value = value.get(str(part))
        elif isinstance(value, list) and isinstance(part, int):
            value = value[part]
        kept.append(part)
    return kept, value


def from_pydantic(error: ValidationError, base: str, raw: Any, model: type[BaseModel]) -> list[Problem]:
    """The problems of one section of the settings: `raw` is what was validated against `model`.

    An error that only follows from another one is left out: a list that is too short because all its entries were
    wrong, a key that is missing because it is misspelt.
    """
    errors = error.errors(include_url=False)
    problems = [(e, _problem(e, base, raw, model)) for e in errors]
    misspelt = {(*e["loc"][:-1], p.suggestion) for e, p in problems if e["type"] == "extra_forbidden"}
    return [p for e, p in problems if not _follows(e, errors) and not (e["type"] == "missing" and e["loc"] in misspelt)]


def _follows(error: ErrorDetails, errors: Sequence[ErrorDetails]) -> bool:
    location = error["loc"]
    return error["type"] == "too_short" and any(
        len(e["loc"]) > len(location) and e["loc"][: len(location)] == location for e in errors
    )


def _problem(error: ErrorDetails, base: str, raw: Any, model: type[BaseModel]) -> Problem:
    location = error["loc"]
    kept, value = _walk(raw, location)
    if _about_key(raw, location):
        kept, value = kept[:-2], location[-2]
    path = join(base, kept)
    if error["type"] == "extra_forbidden":
        allowed = allowed_keys(model, location[:-1])
        return Problem(path, shown(value, path), "unknown key", ", ".join(allowed), nearest(location[-1], allowed))
    if error["type"] in {"union_tag_invalid", "union_tag_not_found"}:
        return _mode_problem(path, value, allowed_keys(model, location))
    message, allowed_text, suggestion = _words(error, value, model)
    given = "" if message == "is missing" else shown(value, path)
    return Problem(path, given, message, allowed_text, suggestion)


def _about_key(raw: Any, location: Sequence[int | str]) -> bool:
    """Whether the error is about a key of a map: pydantic adds `[key]` then, which could be a key of the file too."""
    if len(location) < 2 or location[-1] != "[key]":
        return False
    below = _walk(raw, location[:-1])[1]
    return not (isinstance(below, dict) and "[key]" in below)


def _mode_problem(path: str, sharing: Any, keys: list[str]) -> Problem:
    """What is wrong with a `sharing` of which pydantic cannot tell the model."""
    if not isinstance(sharing, dict):
        return Problem(path, shown(sharing, path), "must be a map", "the keys " + ", ".join(keys))
    misspelt = next((k for k in sharing if k not in keys and nearest(k, ["mode"])), None)
    if misspelt is not None:
        where = join(path, [misspelt])
        return Problem(where, shown(sharing[misspelt], where), "unknown key", ", ".join(keys), "mode")
    where, mode, modes = f"{path}.mode", sharing.get("mode"), ", ".join(SHARING_MODES)
    if mode is None:
        return Problem(where, "", "is missing", modes)
    return Problem(where, shown(mode), "is not a sharing mode", modes, nearest(mode, SHARING_MODES))


_TYPES = {
    "bool_type": ("must be true or false", "true, false"),
    "dict_type": ("must be a map", "keys with values"),
    "tuple_type": ("must be a list", "a list, such as [a, b]"),
    "list_type": ("must be a list", "a list, such as [a, b]"),
}


def _words(error: ErrorDetails, value: Any, model: type[BaseModel]) -> tuple[str, str, str]:
    """Message, allowed and suggestion for one pydantic error."""
    kind, context = error["type"], error.get("ctx", {})
    if kind == "gpuslice":
        return context["message"], context["allowed"], context["suggestion"]
    if kind == "literal_error":
        allowed = re.findall(r"'([^']*)'", context["expected"])
        return "is not one of the allowed values", ", ".join(allowed), nearest(value, allowed)
    if kind == "missing":
        return "is missing", _wanted(model, error["loc"]), ""
    if kind in {"model_type", "model_attributes_type"}:
        return "must be a map", "the keys " + ", ".join(allowed_keys(model, error["loc"])), ""
    if kind == "too_short":
        least, given = context["min_length"], context["actual_length"]
        return "has too few entries" if given else "is empty", f"at least {least} {_entries(least)}", ""
    if kind == "too_long":
        return f"has {context['actual_length']} entries", f"at most {context['max_length']}", ""
    return *_TYPES.get(kind, (error["msg"], "")), _boolean(value) if kind == "bool_type" else ""


def _entries(count: int) -> str:
    return "entry" if count == 1 else "entries"


def _boolean(value: Any) -> str:
    words = {"yes": "true", "on": "true", "true": "true", "no": "false", "off": "false", "false": "false"}
    return words.get(str(value).lower(), "")


def allowed_keys(model: type[BaseModel], location: Sequence[int | str]) -> list[str]:
    """The keys that the model at `location` (as pydantic gives it, with union tags) takes."""
    models = _at(model, location)
    return list(dict.fromkeys(str(field.alias) for m in models for field in m.model_fields.values()))


def _wanted(model: type[BaseModel], location: Sequence[int | str]) -> str:
    """What may stand where a key is missing, as far as its type says it."""
    fields = [f for m in _at(model, location[:-1]) for f in m.model_fields.values() if f.alias == location[-1]]
    for field in fields:
        words = [str(word) for word in get_args(field.annotation) if isinstance(word, str)]
        for mark in field.metadata:
            if isinstance(mark, WithJsonSchema):
                words.append(str((mark.json_schema or {}).get("description", "")))
            elif isinstance(mark, Whole):
                words.append(mark.allowed)
        if words:
            return ", ".join(words)
    keys = allowed_keys(model, location)
    return "a map with the keys " + ", ".join(keys) if keys else "a map or list with at least one entry"


def _at(model: type[BaseModel], location: Sequence[int | str]) -> list[type[BaseModel]]:
    candidates: list[tuple[type[BaseModel], str]] = [(model, "")]
    for part in location:
        if isinstance(part, int):
            continue
        if part.startswith(TAG_MARK):
            candidates = [c for c in candidates if c[1] == part] or candidates
        else:
            candidates = [m for c, _ in candidates for m in _field_models(c, part)]
    return [m for m, _ in candidates]


def _field_models(model: type[BaseModel], key: int | str) -> list[tuple[type[BaseModel], str]]:
    return [found for f in model.model_fields.values() if f.alias == key for found in _models(f.annotation)]


def _models(annotation: Any, tag: str = "") -> Iterator[tuple[type[BaseModel], str]]:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        yield annotation, tag
    metadata = [m.tag for m in getattr(annotation, "__metadata__", ()) if isinstance(m, Tag)]
    for argument in get_args(annotation):
        yield from _models(argument, metadata[0] if metadata else tag)
