"""Whatever a rule reads, in a shape that it cannot have, is refused; nothing crashes a rule, and no rule is silent."""

from __future__ import annotations

import copy
import random
import re
from collections.abc import Iterator
from typing import Any

import pytest
from base import program_of, resources_of
from cases import CASES

from policies import view
from policies.judge import Judge
from policies.model import Resource
from policies.pack import RULES
from policies.view import UNKNOWN, View

STEP = re.compile(r'\["([^"]*)"\]|\[(\d+)\]|\.?([^.\[\]]+)')
# A value that the reader of that name cannot take, whatever the field.
WRONG = {"text": 7, "flag": "maybe", "number": "many", "fields": "text", "items": "text"}
JUDGE = Judge(RULES)


def steps(path: str) -> list[str | int]:
    return [int(index) if index else (quoted or plain) for quoted, index, plain in STEP.findall(path)]


def reads() -> dict[tuple[str, str], str]:
    """What the rules read of the base program: resource and path, and with which reader."""
    found: dict[tuple[str, str], str] = {}
    current: list[str] = []

    def traced(name: str, original: Any) -> Any:
        def read(self: View, *args: Any) -> Any:
            answer = original(self, *args)
            if self.present:
                found[current[0], self.path] = name
            return answer

        return read

    originals = {name: getattr(View, name) for name in ("text", "flag", "number", "items", "fields", "_mapping")}
    try:
        for name, original in originals.items():
            setattr(View, name, traced("fields" if name == "_mapping" else name, original))
        for resource in resources_of():
            current[:] = [resource.name]
            JUDGE.resource(resource)
    finally:
        for name, original in originals.items():
            setattr(View, name, original)
    return found


READS = reads()


def with_value(resource: Resource, path: str, value: Any) -> Resource | None:
    """The resource with another value at the path; None where the path leads into a text (YAML, JSON, TOML)."""
    properties: Any = copy.deepcopy(resource.properties)
    *way, last = steps(path) or [None]
    place = properties
    for step in way:
        place = _at(place, step)
    now = None if last is None else _at(place, last)
    # A rule may look at a text as at a part of something else, such as a label as at a requirement.
    if now is None or (isinstance(now, str) and isinstance(value, str) and value == WRONG["fields"]):
        return None
    place[last] = value
    return Resource(**{**resource.__dict__, "properties": properties})


def instead(changed: Resource) -> list[Resource]:
    """The base program with this resource in the place of its own."""
    return [changed if resource.name == changed.name else resource for resource in resources_of()]


def _at(place: Any, step: str | int) -> Any:
    """What stands there; None where there is no such place, as below a text that a rule has parsed."""
    if isinstance(place, dict):
        return place.get(step)
    return place[step] if isinstance(place, list) and isinstance(step, int) and step < len(place) else None


def test_the_rules_read_the_base_program():
    assert len(READS) > 150


@pytest.mark.parametrize("name", sorted({name for name, _ in READS}))
def test_a_field_of_the_wrong_shape_is_refused(name):
    resource = next(r for r in resources_of() if r.name == name)
    silent = []
    for (_, path), reader in (item for item in READS.items() if item[0][0] == name):
        changed = with_value(resource, path, WRONG[reader])
        if changed is not None and not JUDGE.resource(changed) and not JUDGE.stack(instead(changed)):
            silent.append(f"{path} = {WRONG[reader]!r} ({reader})")
    assert silent == []


@pytest.mark.parametrize("name", sorted({name for name, _ in READS}))
def test_a_field_that_is_not_known_yet_is_remarked_or_not_needed(name):
    """Never a refusal for what nobody knows, and never a failed rule."""
    resource = next(r for r in resources_of() if r.name == name)
    for _, path in (key for key in READS if key[0] == name):
        changed = with_value(resource, path, UNKNOWN)
        for verdict in JUDGE.resource(changed) if changed else []:
            assert verdict.unknown or "the rule failed" not in verdict.message, (path, str(verdict))


ODD: tuple[Any, ...] = (
    None,
    True,
    -1,
    0,
    2.5,
    1e300,
    "",
    "x",
    "-",
    "🦄" * 50,
    [],
    [None],
    [[]],
    {},
    {"": None},
    UNKNOWN,
)


def places(value: Any) -> Iterator[tuple[Any, Any]]:
    """Every key of every object and list in the value, with what holds it."""
    pairs = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, inner in list(pairs):
        yield value, key
        yield from places(inner)


@pytest.mark.parametrize("seed", range(8))
def test_no_shape_makes_a_rule_fail_or_the_judge_crash(seed):
    """Random places of the whole program, set to random odd values; stack rules included."""
    chance = random.Random(seed)
    for _ in range(25):
        resources = copy.deepcopy(resources_of())
        for _ in range(chance.randint(1, 4)):
            where = list(places(chance.choice(resources).properties))
            holder, key = chance.choice(where)
            holder[key] = copy.deepcopy(chance.choice(ODD))
        failed = [str(v) for v in JUDGE.all(resources) if "the rule failed" in v.message]
        assert failed == []


@pytest.mark.parametrize(
    "properties", [{}, {"spec": None}, {"spec": []}, {"spec": "x"}, {"values": 3}, {"policy": "{"}]
)
def test_an_empty_or_broken_resource_of_every_kind_is_judged(properties):
    for entry in program_of().values():
        resource = Resource(entry["type"], entry["name"], {**_head(entry), **properties})
        for verdict in JUDGE.all([resource]):
            assert "the rule failed" not in verdict.message, str(verdict)


def _head(entry: dict[str, Any]) -> dict[str, Any]:
    return {key: entry["properties"][key] for key in ("apiVersion", "kind") if key in entry["properties"]}


def test_an_unrelated_field_changes_no_verdict():
    for case in CASES[::25]:
        resources = resources_of(*case.edits)
        more = [Resource(**{**r.__dict__, "properties": {**r.properties, "unrelated": {"a": [1]}}}) for r in resources]
        judge = Judge(RULES, case.config)
        before, after = ([(v.rule.id, v.message) for v in judge.all(given)] for given in (resources, more))
        assert after == before, case.id


def test_the_marks_of_what_is_missing_and_unknown_are_told_apart():
    data = View({"a": None, "b": UNKNOWN, "c": {"d/e": 1}})
    assert not data["a"].present
    assert data["b"].present
    assert data["c"]["d/e"].path == 'c["d/e"]'
    with pytest.raises(view.Unjudged, match=r"^b$"):
        data["b"].text()
    with pytest.raises(view.OddShape, match=r"c is \{'d/e': 1\}, not a text"):
        data["c"].text()
