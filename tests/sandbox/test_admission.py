"""Pods and workloads, judged by the real API server and by a reference in plain Python."""

from __future__ import annotations

from collections import Counter

import pytest
from admission_cases import Case, cases
from admission_pods import EXEMPT, SHARED, container, named, on_t4, workload
from admission_random import Pods
from admission_reference import as_pod, broken

from gpuslice.manifests.admission_rules import pod_rules

pytestmark = pytest.mark.sandbox

RULES = [rule.name for rule in pod_rules("true")]
KINDS = ("Deployment", "ReplicaSet", "StatefulSet", "DaemonSet", "Job", "CronJob")
TABLE = cases()
by_name = pytest.mark.parametrize("case", TABLE, ids=lambda case: f"{case.namespace}: {case.name}")


def test_the_table_is_large_and_has_every_rule_alone():
    """A pod that breaks one rule and no other shows that this rule refuses it."""
    assert len(TABLE) >= 60
    assert len({(c.namespace, c.name) for c in TABLE}) == len(TABLE)
    assert {rule for c in TABLE if len(c.breaks) == 1 for rule in c.breaks} == set(RULES)
    assert {rule for c in TABLE if len(c.breaks) == 1 and c.told for rule in c.breaks} == set(RULES)
    assert sum(not c.breaks for c in TABLE) >= 30


@by_name
def test_a_pod_gets_its_verdict(rules, case: Case):
    """It is told of every rule that it breaks, and of the one with what is wrong and what to do."""
    verdict = rules.api.create(named(case.pod, "tried", case.namespace))
    assert verdict.refused_by == case.breaks, verdict.message
    assert verdict.status == (403 if case.breaks else 201)
    if len(case.breaks) == 1:
        assert case.told in verdict.message


@by_name
def test_a_deployment_is_taken_with_a_warning_for_each_rule(rules, case: Case):
    verdict = rules.api.create(workload(case.pod, "Deployment", "tried", case.namespace))
    assert verdict.admitted, verdict.message
    assert verdict.warned_by == (case.breaks if case.template_breaks is None else case.template_breaks)
    if len(case.breaks) == 1 and case.template_breaks is None:
        assert any(case.told in warning for warning in verdict.warnings)


@by_name
def test_the_reference_says_the_same(case: Case):
    """So that it can be trusted with pods that nobody looked at."""
    template = case.breaks if case.template_breaks is None else case.template_breaks
    assert broken(as_pod(case.pod), case.namespace) == case.breaks
    assert broken(case.pod, case.namespace) == template


def test_random_pods_are_judged_as_the_reference_judges_them(rules):
    """200 pods, and a Deployment of each, whose warnings tell every rule that it breaks."""
    pods, seen = Pods(seed=1), Counter[str]()
    for _ in range(200):
        made, namespace = pods.one()
        expected = broken(as_pod(made), namespace)
        seen.update(expected or {"admitted"})
        verdict = rules.api.create(named(made, "random", namespace))
        assert verdict.refused_by == expected, (made, namespace, verdict.message)
        warned = rules.api.create(workload(made, "Deployment", "random", namespace)).warned_by
        assert warned == broken(made, namespace), (made, namespace)
    assert set(RULES) <= seen.keys()
    assert seen["admitted"] >= 20


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_of_workload_is_warned_of_at_once(rules, kind):
    good, bad = on_t4(), on_t4(container(limits={SHARED: 2}), hint=None)
    assert rules.api.create(workload(good, kind, "tried", "team-a")).warnings == ()
    verdict = rules.api.create(workload(bad, kind, "tried", "team-a"))
    assert verdict.admitted
    assert verdict.warned_by == {"one-slice-per-container", "memory-hint-required"}
    assert rules.api.create(workload(bad, kind, "tried", EXEMPT)).warnings == ()


@pytest.mark.parametrize(
    ("given", "number"), [("1", 1), ("1000m", 1), ("0", 0), ("2", 2), ("2000m", 2), ("1k", 1000), ("1M", 1_000_000)]
)
def test_a_quantity_is_a_number_however_it_is_written(rules, given, number):
    verdicts = [
        rules.api.create(named(on_t4(container(limits={SHARED: amount})), "tried", "team-a"))
        for amount in (given, number)
    ]
    assert verdicts[0].message == verdicts[1].message
    assert [v.admitted for v in verdicts] == [number == 1] * 2
