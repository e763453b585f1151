"""Admission rules as data, and the texts of CEL that several of them share."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Rule:
    """`found` is CEL for a list of texts, one for each thing that is wrong; `demand` says what to do about it."""

    name: str
    found: str
    demand: str

    @property
    def variable(self) -> str:
        """The variable of the policy for this rule: `one-slice-per-pod` in camel case."""
        first, *rest = self.name.split("-")
        return first + "".join(map(str.capitalize, rest))

    def message(self) -> str:
        """CEL for a list: one text of all that was found, or none."""
        text = f"{literal(self.name + ': ')} + found.join('; ') + {literal('. ' + self.demand + '.')}"
        return f"[{self.found}].filter(found, size(found) > 0).map(found, {text})"


def literal(value: Any) -> str:
    """Text, numbers, lists and maps as CEL writes them, which is as JSON does."""
    return json.dumps(value)


def when(condition: str, text: str) -> str:
    """One text where the condition is true, else none."""
    return f"{condition} ? [{text}] : []"


def only(guard: str, found: str) -> str:
    """What was found, where the guard is true."""
    return f"{guard} ? {found} : []"


def tolerates(key: str, value: str, effect: str) -> str:
    """Whether the toleration `t` matches a taint, whose parts are CEL.

    An absent effect is every effect, an absent key every key, an absent operator Equal; another operator takes any
    value.
    """
    return (
        f"(!has(t.effect) || t.effect in ['', {effect}]) && (!has(t.key) || t.key in ['', {key}])"
        f" && (has(t.operator) && !(t.operator in ['', 'Equal']) || (has(t.value) ? t.value : '') == {value})"
    )


def annotation(metadata: str, key: str) -> str:
    """An annotation of an object, or the empty text."""
    where = f"{metadata}.annotations"
    return f"(has({where}) && {literal(key)} in {where} ? {where}[{literal(key)}] : '')"
