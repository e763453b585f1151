"""Each rule refuses what it is there for, alone, and accepts what comes near it."""

import pytest
from base import resources_of
from cases import CASES

from policies.judge import Judge
from policies.pack import RULES


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.id)
def test_a_case_is_judged_by_its_rule_alone(case):
    verdicts = Judge(RULES, case.config).all(resources_of(*case.edits))
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


def test_no_case_names_a_rule_that_is_not_there():
    assert {case.rule for case in CASES} <= {rule.id for rule in RULES}


def test_case_names_are_unique():
    ids = [case.id for case in CASES]
    assert len(set(ids)) == len(ids)
