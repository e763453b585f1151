"""A finding stays only with a waiver, and a waiver only with a finding."""

from datetime import date, timedelta

import pytest
from pydantic import ValidationError
from scanner_waivers import LONGEST, Finding, Waiver, problems, read_waivers

TODAY = date(2026, 11, 25)
FINDING = Finding("CKV_K8S_16", "Pod.team-a.miner", "prod/pods.yaml", "Container should not be privileged")
ENTRY = {"id": FINDING.id, "resource": FINDING.resource, "reason": "it mines by order", "expires": date(2027, 5, 1)}


def waiver(**changes):
    return Waiver(**{**ENTRY, **changes})


def test_no_findings_and_no_waivers_are_no_problem():
    assert problems([], [], TODAY) == []


def test_a_waived_finding_is_no_problem():
    assert problems([FINDING], [waiver()], TODAY) == []


def test_one_waiver_is_for_its_resource_in_every_stack():
    elsewhere = Finding(FINDING.id, FINDING.resource, "dev/pods.yaml", FINDING.message)
    assert problems([FINDING, elsewhere], [waiver()], TODAY) == []


def test_a_finding_without_a_waiver_is_named_by_check_and_resource():
    (problem,) = problems([FINDING], [], TODAY)
    assert problem == "CKV_K8S_16 Pod.team-a.miner (prod/pods.yaml): Container should not be privileged"


@pytest.mark.parametrize("changes", [{"id": "CKV_K8S_1"}, {"resource": "Pod.team-b.miner"}])
def test_a_waiver_is_for_one_check_of_one_resource(changes):
    unwaived, idle = problems([FINDING], [waiver(**changes)], TODAY)
    assert unwaived.startswith("CKV_K8S_16 Pod.team-a.miner ")
    assert idle.endswith("matches nothing: take it away")


def test_a_waiver_that_matches_nothing_is_a_problem():
    assert problems([], [waiver()], TODAY) == [
        "the waiver of CKV_K8S_16 Pod.team-a.miner matches nothing: take it away"
    ]


def test_a_waiver_holds_until_its_last_day_and_not_longer():
    assert problems([FINDING], [waiver(expires=TODAY)], TODAY) == []
    unwaived, expired = problems([FINDING], [waiver(expires=TODAY)], TODAY + timedelta(days=1))
    assert unwaived.startswith("CKV_K8S_16 Pod.team-a.miner ")
    assert expired == "the waiver of CKV_K8S_16 Pod.team-a.miner expired on 2026-11-25"


def test_a_waiver_is_for_a_year_at_most():
    assert problems([FINDING], [waiver(expires=TODAY + LONGEST)], TODAY) == []
    unwaived, long = problems([FINDING], [waiver(expires=TODAY + LONGEST + timedelta(days=1))], TODAY)
    assert unwaived.startswith("CKV_K8S_16 Pod.team-a.miner ")
    assert "is for more than a year" in long


def test_two_waivers_of_one_finding_are_a_problem():
    (problem,) = problems([FINDING], [waiver(), waiver(reason="it mines well")], TODAY)
    assert problem == "the waiver of CKV_K8S_16 Pod.team-a.miner is there 2 times"


GOOD = "- {id: CKV_K8S_16, resource: Pod.team-a.miner, reason: it mines by order, expires: 2027-05-01}\n"


def test_the_file_is_a_list_of_waivers():
    assert read_waivers(GOOD) == [waiver()]
    assert read_waivers("[]") == []


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        (GOOD.replace("reason: it mines by order, ", ""), r"0\.reason\s+Field required"),
        (GOOD.replace("it mines by order", "''"), r"0\.reason\s+String should have at least 1 character"),
        (GOOD.replace("it mines by order", "' '"), r"0\.reason\s+String should have at least 1 character"),
        (GOOD.replace(", expires: 2027-05-01", ""), r"0\.expires\s+Field required"),
        (GOOD.replace("2027-05-01", "'2027-05-01'"), r"0\.expires\s+Input should be a valid date"),
        (GOOD.replace("2027-05-01", "never"), r"0\.expires\s+Input should be a valid date"),
        (GOOD.replace("}", ", owner: me}"), r"0\.owner\s+Extra inputs are not permitted"),
        (GOOD.replace("id: CKV_K8S_16, ", ""), r"0\.id\s+Field required"),
        (GOOD.replace("Pod.team-a.miner", "[]"), r"0\.resource\s+Input should be a valid string"),
        ("waivers: []", r"Input should be a valid list"),
        ("", r"Input should be a valid list"),
        (GOOD + "- CKV_K8S_16\n", r"1\s+Input should be .*Waiver"),
    ],
)
def test_a_malformed_file_is_refused_with_the_entry_and_the_key(text, complaint):
    with pytest.raises(ValidationError, match=complaint):
        read_waivers(text)
