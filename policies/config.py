"""The pack's configuration: the level of each rule and its options, checked, with the defaults filled in.

The form is the one of `pulumi --policy-pack-config`: rule id to a level, or to an object with `enforcementLevel` and
the rule's options; `all` gives the level of every rule that is not named.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from difflib import get_close_matches
from typing import Any, get_args

from policies.model import Level, Option, Rule

LEVELS: tuple[str, ...] = get_args(Level)
LEVEL_KEY = "enforcementLevel"
ALL = "all"


class ConfigError(ValueError):
    """The configuration is wrong; the text has a line for each problem, with rule, key, value and what is allowed."""


@dataclass(frozen=True)
class Configured:
    """A rule with its level and its options."""

    rule: Rule
    level: Level
    options: Mapping[str, Any]


def configure(rules: Iterable[Rule], given: Any) -> dict[str, Configured]:
    """Every rule by id, as `given` configures it. Raises ConfigError with every problem."""
    by_id = {rule.id: rule for rule in rules}
    if not isinstance(given, Mapping):
        raise ConfigError(f"the policy configuration is {_shown(given)}; allowed: an object of rule ids")
    problems = [_unknown_rule(key, by_id) for key in given if key != ALL and key not in by_id]
    if ALL in given:
        problems += _level_problems(ALL, given[ALL])
    configured = {}
    for rule in by_id.values():
        entry, found = given.get(rule.id, {}), []
        if isinstance(entry, str):
            entry = {LEVEL_KEY: entry}
        if not isinstance(entry, Mapping):
            found = [f"{rule.id}: {_shown(entry)} is neither a level ({', '.join(LEVELS)}) nor an object"]
        else:
            found = list(_problems(rule, entry))
        problems += found
        if not found:
            level = entry.get(LEVEL_KEY, given.get(ALL, rule.level))
            configured[rule.id] = Configured(rule, level, _options(rule, entry))
    if problems:
        raise ConfigError("\n".join(problems))
    return configured


def _options(rule: Rule, entry: Mapping[str, Any]) -> dict[str, Any]:
    return {name: _value(option, entry.get(name, option.default)) for name, option in rule.options.items()}


def _value(option: Option, value: Any) -> Any:
    """A checked value; a map is laid over the default, and numbers arrive as doubles."""
    if option.type == "integer":
        return int(value)
    if option.type == "map":
        return {**option.default, **{key: int(number) for key, number in value.items()}}
    return tuple(value)


def _problems(rule: Rule, entry: Mapping[str, Any]) -> Iterable[str]:
    for key, value in entry.items():
        if key == LEVEL_KEY:
            yield from _level_problems(rule.id, value)
        elif key not in rule.options:
            allowed = ", ".join((LEVEL_KEY, *rule.options))
            yield f"{rule.id}.{key}: unknown option (got {_shown(value)}). Allowed: {allowed}{_hint(key, rule.options)}"
        elif not _fits(rule.options[key], value):
            yield f"{rule.id}.{key}: {_shown(value)} is not allowed. Allowed: {allowed_values(rule.options[key])}"


def _level_problems(where: str, level: Any) -> list[str]:
    if isinstance(level, str) and level in LEVELS:
        return []
    return [f"{where}.{LEVEL_KEY}: {_shown(level)} is no level. Allowed: {', '.join(LEVELS)}{_hint(level, LEVELS)}"]


def _unknown_rule(key: Any, by_id: Mapping[str, Rule]) -> str:
    return f"{_shown(key)}: no rule of this pack{_hint(key, by_id)} (`docs/policies.md` lists them)"


def _hint(key: Any, known: Iterable[str]) -> str:
    close = get_close_matches(str(key)[:80], list(known), n=1)
    return f". Did you mean {close[0]}?" if close else ""


def _fits(option: Option, value: Any) -> bool:
    if option.type == "integer":
        return _is_whole(option, value)
    if option.type == "list":
        return isinstance(value, list | tuple) and all(isinstance(v, str) and v for v in value)
    return isinstance(value, Mapping) and all(k in option.default and _is_whole(option, v) for k, v in value.items())


def _is_whole(option: Option, value: Any) -> bool:
    if isinstance(value, bool) or not isinstance(value, int | float) or value != value:
        return False
    return option.minimum <= value <= option.maximum and float(value).is_integer()


def allowed_values(option: Option) -> str:
    """The values of an option in words."""
    whole = f"a whole number from {option.minimum} to {option.maximum}"
    if option.type == "integer":
        return whole
    if option.type == "list":
        return "a list of texts that are not empty"
    return f"an object from {', '.join(option.default)} to {whole}"


def _shown(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 80 else f"{text[:77]}..."
