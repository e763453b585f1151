"""Judges IAM policy documents over requests as AWS does, and knows when it cannot.

An answer is None where it depends on what the request does not say, or on something that is not evaluated here (an
operator on numbers, dates or addresses, a policy variable). Such a statement counts where it allows, and does not count
where it denies, so that nothing passes for not being understood.

Sources: IAM user guide, "Policy evaluation logic", "IAM JSON policy elements" (Condition operators, Multiple keys or
values, Resource) and "JSON policy element grammar".
"""

from __future__ import annotations

import fnmatch
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from functools import lru_cache

from policies.view import OddShape, View

Answer = bool | None
Values = tuple[str | None, ...]
"""The values of a condition key in a request; None stands for whichever value the policy asks for."""

EVERYBODY = "*"
# A key of these that is not in a request is known to be absent from it; of any other key nothing is known.
_DESCRIBED = (
    "aws:requesttag/",
    "aws:resourcetag/",
    "ec2:resourcetag/",
    "iam:resourcetag/",
    "aws:tagkeys",
    "ec2:createaction",
    "iam:passedtoservice",
)
_VARIABLE = re.compile(r"\$\{[^}]*\}")
_ARN_PARTS, _PARTITION, _REGION, _ACCOUNT, _NAME = 6, 1, 3, 4, 5
_NEGATED = {
    "StringNotEquals": "StringEquals",
    "StringNotEqualsIgnoreCase": "StringEqualsIgnoreCase",
    "StringNotLike": "StringLike",
    "ArnNotEquals": "ArnLike",
    "ArnNotLike": "ArnLike",
}
_PLAIN = ("StringEquals", "StringEqualsIgnoreCase", "StringLike", "ArnEquals", "ArnLike", "Bool")
_QUALIFIERS = ("", "ForAllValues", "ForAnyValue")


def some(answers: Iterable[Answer]) -> Answer:
    """True where one is, else None where one is."""
    found = list(answers)
    return True if True in found else None if None in found else False


def every(answers: Iterable[Answer]) -> Answer:
    """False where one is, else None where one is."""
    found = list(answers)
    return False if False in found else None if None in found else True


def opposite(answer: Answer) -> Answer:
    return None if answer is None else not answer


@dataclass(frozen=True)
class Request:
    """What is to be done. In the ARN, a part that is `*` is whichever the policy names.

    `context` leads from a condition key, or a pattern of keys, to its values.
    """

    action: str
    resource: str = "*"
    context: Mapping[str, Values] = field(default_factory=dict)

    def values(self, key: str) -> Values | None:
        """The values of a condition key, () where it is absent, None where nothing is known of it."""
        wanted = key.lower()
        for pattern, values in self.context.items():
            if fnmatch.fnmatchcase(wanted, pattern.lower()):
                return values
        return () if wanted.startswith(_DESCRIBED) else None


@dataclass(frozen=True)
class Condition:
    """One key of one operator, with the values of which one must match."""

    operator: str
    key: str
    wanted: tuple[str, ...]

    def holds(self, request: Request) -> Answer:
        qualifier, _, name = self.operator.rpartition(":")
        values = request.values(self.key)
        if values is None or qualifier not in _QUALIFIERS:
            return None
        if name == "Null":
            return some((not values) == (wanted.lower() == "true") for wanted in self.wanted)
        base = name.removesuffix("IfExists")
        negated = base in _NEGATED
        if not negated and base not in _PLAIN:
            return None
        if not values:
            return name.endswith("IfExists") or qualifier == "ForAllValues" or (negated and not qualifier)
        answers = [some(_matches(_NEGATED.get(base, base), one, value) for one in self.wanted) for value in values]
        return _together(qualifier, [opposite(answer) for answer in answers] if negated else answers)


def _together(qualifier: str, answers: list[Answer]) -> Answer:
    """AWS wants a qualifier where a key has several values, and does not say what happens without."""
    if qualifier == "ForAnyValue":
        return some(answers)
    return every(answers) if qualifier or len(answers) == 1 else None


def _matches(operator: str, wanted: str, value: str | None) -> Answer:
    if value is None or _VARIABLE.search(wanted):
        return None
    if operator == "StringEquals":
        return wanted == value
    if operator in ("StringEqualsIgnoreCase", "Bool"):
        return wanted.lower() == value.lower()
    return _like(wanted, value) if operator == "StringLike" else _arn_like(wanted, value)


def _arn_like(wanted: str, value: str) -> bool:
    """Each of the six parts is compared on its own."""
    parts, given = _arn(wanted), _arn(value)
    return len(parts) == len(given) == _ARN_PARTS and all(map(_like, parts, given))


def _arn(text: str) -> list[str]:
    """Its parts; the last one may have colons of its own."""
    return text.split(":", _ARN_PARTS - 1)


def _like(pattern: str, value: str) -> bool:
    return _glob(pattern).match(value) is not None


@lru_cache(maxsize=4096)
def _glob(pattern: str) -> re.Pattern[str]:
    """IAM has `*` and `?` alone; brackets mean themselves."""
    return re.compile(fnmatch.translate(pattern.replace("[", "[[]")))


@dataclass(frozen=True)
class Statement:
    """One statement; `negated` fields are the `Not` forms of what they stand beside."""

    allows: bool
    actions: tuple[str, ...]
    actions_negated: bool
    resources: tuple[str, ...]
    resources_negated: bool
    principals: tuple[tuple[str, str], ...]
    principals_negated: bool
    conditions: tuple[Condition, ...]

    @property
    def for_everybody(self) -> bool:
        """Whether it names all principals; `NotPrincipal` does not, where it denies."""
        named = any(kind in (EVERYBODY, "AWS") and name == EVERYBODY for kind, name in self.principals)
        return self.allows if self.principals_negated else named

    def reaches(self, request: Request) -> Answer:
        """Whether it speaks of the action and the resource, conditions aside."""
        named = any(_like(name.lower(), request.action.lower()) for name in self.actions)
        if named == self.actions_negated:
            return False
        resource = some(_covers(pattern, request.resource) for pattern in self.resources)
        return opposite(resource) if self.resources_negated else resource

    def conditions_hold(self, request: Request) -> Answer:
        return every(condition.holds(request) for condition in self.conditions)

    def applies(self, request: Request) -> Answer:
        return every([self.reaches(request), self.conditions_hold(request)])


def _covers(pattern: str, resource: str) -> Answer:
    """Whether a pattern takes a resource in: True for whatever the resource leaves free, None for some of it.

    The partition is the pattern's in any case, since a document lives in one.
    """
    generous = _VARIABLE.sub("*", pattern)
    if not _like(generous, _placed(resource, generous, (_PARTITION, _REGION, _ACCOUNT, _NAME))):
        return False
    return True if _like(pattern, _placed(resource, pattern, (_PARTITION,))) else None


def _placed(resource: str, pattern: str, free: Iterable[int]) -> str:
    """The resource where the pattern says, as far as the resource leaves these parts of its ARN free."""
    parts, given = _arn(resource), _arn(pattern)
    taken = [i for i in free if i < min(len(parts), len(given)) and parts[i] == "*"]
    return ":".join(given[i] if i in taken else part for i, part in enumerate(parts))


Document = tuple[Statement, ...]


def may_allow(document: Document, request: Request) -> bool:
    """Whether the request could be allowed: no statement surely denies it, and one could allow it."""
    return not surely_denies(document, request) and any(s.allows and s.applies(request) is not False for s in document)


def surely_denies(document: Document, request: Request) -> bool:
    return any(not s.allows and s.applies(request) is True for s in document)


def parse(document: View) -> Document:
    """The statements of a document; raises OddShape where AWS would refuse it."""
    statements = _many(document["Statement"])
    if not statements:
        raise OddShape(f"{document.path or 'the document'} has no Statement")
    return tuple(_statement(statement) for statement in statements)


def _statement(view: View) -> Statement:
    effect = view["Effect"].text()
    if effect not in ("Allow", "Deny"):
        raise OddShape(f"{view['Effect'].path} is {effect!r}, not Allow or Deny")
    actions, actions_negated = _either(view, "Action")
    if not actions:
        raise OddShape(f"{view.path} has neither Action nor NotAction")
    resources, resources_negated = _either(view, "Resource")
    principals_negated = view["NotPrincipal"].present
    return Statement(
        effect == "Allow",
        actions,
        actions_negated,
        # A trust policy has none: it is about its own role.
        resources or (EVERYBODY,),
        resources_negated,
        _principals(view["NotPrincipal" if principals_negated else "Principal"]),
        principals_negated,
        _conditions(view["Condition"]),
    )


def _either(view: View, name: str) -> tuple[tuple[str, ...], bool]:
    negated = view[f"Not{name}"].present
    return tuple(v.text() for v in _many(view[f"Not{name}" if negated else name])), negated


def _principals(view: View) -> tuple[tuple[str, str], ...]:
    if isinstance(view.known(), str):
        return ((EVERYBODY, view.text()),)
    return tuple((kind, name.text()) for kind, names in view.fields().items() for name in _many(names))


def _conditions(view: View) -> tuple[Condition, ...]:
    return tuple(
        Condition(operator, key, tuple(_scalar(value) for value in _many(values)))
        for operator, keys in view.fields().items()
        for key, values in keys.fields().items()
    )


def _scalar(view: View) -> str:
    """AWS takes booleans and numbers for their texts."""
    known = view.known()
    if isinstance(known, bool):
        return str(known).lower()
    return str(known) if isinstance(known, int | float) else view.text()


def _many(view: View) -> list[View]:
    """The entries of a list, or the one value that stands where a list may."""
    if isinstance(view.known(), list | tuple):
        return view.items()
    return [view] if view.present else []
