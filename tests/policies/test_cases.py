"""Each rule refuses what it is there for, alone, and accepts what comes near it."""

import importlib
import pkgutil
import re

import pytest
from base import Case, resources_of
from cases import CASES

from policies import rules
from policies.judge import Judge, Verdict
from policies.pack import RULES

BASE = {resource.name: resource for resource in resources_of()}


def verdicts_on(case: Case) -> list[Verdict]:
    """Of the whole pack. What is as in the base program, which is accepted, is judged only as a part of the stack."""
    judge, resources = Judge(RULES, case.config), resources_of(*case.edits)
    changed = [r for r in resources if r.name not in BASE or r.__dict__ != BASE[r.name].__dict__ or case.config]
    return [v for r in changed for v in judge.resource(r)] + judge.stack(resources)


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.id)
def test_a_case_is_judged_by_its_rule_alone(case):
    verdicts = verdicts_on(case)
    shown = [f"{v.rule.id}: {v}" for v in verdicts]
    assert {v.rule.id for v in verdicts} == ({case.rule} if case.refused else set()), shown
    assert not any(v.unknown for v in verdicts), shown
    if case.says:
        assert any(case.says in str(v) for v in verdicts), shown


def test_the_base_program_is_accepted():
    assert [f"{v.rule.id}: {v}" for v in Judge(RULES).all(resources_of())] == []


@pytest.mark.parametrize("rule", [r for r in RULES if r.scope != "change"], ids=lambda rule: rule.id)
def test_every_rule_has_a_case_on_either_side(rule):
    assert {case.refused for case in CASES if case.rule == rule.id} == {True, False}


def test_every_rule_of_every_module_is_listed_in_the_pack():
    found = {m.name: importlib.import_module(f"policies.rules.{m.name}") for m in pkgutil.iter_modules(rules.__path__)}
    assert [rule.id for module in found.values() for rule in module.RULES] == [rule.id for rule in RULES]
    ids = [rule.id for rule in RULES]
    assert len(set(ids)) == len(ids)


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.id)
def test_every_record_is_complete(rule):
    assert re.fullmatch(r"[a-z0-9]+(-[a-z0-9]+)+", rule.id)
    assert rule.check.__name__ == rule.id.replace("-", "_")
    assert rule.description.endswith(".")
    assert not re.search(r"\. [A-Z]", rule.description)
    assert rule.why.endswith(".")
    assert rule.remedy.endswith(".")
    assert rule.url.startswith("https://")
    assert all(option.description for option in rule.options.values())


def test_no_case_names_a_rule_that_is_not_there():
    assert {case.rule for case in CASES} <= {rule.id for rule in RULES}


def test_case_names_are_unique():
    ids = [case.id for case in CASES]
    assert len(set(ids)) == len(ids)
