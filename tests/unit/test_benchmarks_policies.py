"""What `make bench` compares: the resources are what it says, and the engines find the same in them.

conftest itself is asked in `make bench` alone, which stops where it finds something else than the pack.
"""

from __future__ import annotations

import json
import re
from collections import Counter
from pathlib import Path

import pytest

from benchmarks import policies, resources
from benchmarks.engines import REGO, REGO_RULES, Conftest, Questions, catalogue, conftest_version, findings, sdk_server
from benchmarks.policies import ASKED, Files
from gpuslice.catalog import instance_types
from policies.load import load
from policies.server import Analyzer
from sandbox import SandboxError


@pytest.fixture(scope="module")
def files(tmp_path_factory) -> Files:
    return Files.written(tmp_path_factory.mktemp("bench"))


def of_kind(kind: str) -> list[resources.Entry]:
    return [entry for entry in resources.compliant() if entry["type"].endswith(f":{kind}")]


def number_of(name: str) -> str:
    """That of the copy, "" for the base program."""
    return "".join(re.findall(r"-\d+$", name))


def test_there_are_500_resources_each_with_an_address_of_its_own():
    urns = [entry["urn"] for entry in resources.compliant()]
    assert len(urns) == len(set(urns)) == resources.COUNT == 500


def test_kubernetes_objects_have_names_of_their_own():
    metadata = [(e["type"], e["inputs"].get("metadata")) for e in resources.compliant()]
    names = [(type_, given.get("namespace"), given["name"]) for type_, given in metadata if given]
    assert [name for name, times in Counter(names).items() if times > 1] == []


def test_the_resources_are_the_same_every_time():
    assert resources.document(resources.compliant()) == resources.document(resources.compliant())


def test_each_copy_has_the_pools_of_the_base_program():
    base = [e for e in resources.violating() if e["type"].endswith(":NodePool") and not e["name"].startswith("slip-")]
    assert len(of_kind("NodePool")) == len(base) * (resources.COPIES + 1)


def test_a_copied_pool_has_a_node_class_and_overlays_of_its_own():
    classes = {entry["inputs"]["metadata"]["name"] for entry in of_kind("EC2NodeClass")}
    for pool in of_kind("NodePool"):
        reference = pool["inputs"]["spec"]["template"]["spec"]["nodeClassRef"]["name"]
        assert reference == "elsewhere" or reference in classes
        assert reference == "elsewhere" or number_of(reference) == number_of(pool["inputs"]["metadata"]["name"])
    pools = {pool["inputs"]["metadata"]["name"] for pool in of_kind("NodePool")}
    scopes = [entry["inputs"]["spec"]["requirements"][0]["values"] for entry in of_kind("NodeOverlay")]
    assert {name for values in scopes for name in values} <= pools
    assert max(Counter(map(tuple, scopes)).values()) == 1


def test_no_rule_refuses_any_of_the_500(files):
    assert policies.judged(files.compliant) == set()


def test_every_slip_is_refused_by_its_rule_alone_among_those_in_rego(files):
    assert policies.judged(files.violating, files.config) == resources.expected()


def test_every_rule_in_rego_is_slipped_past_once():
    assert {slip.rule for slip in resources.SLIPS} == set(REGO_RULES)


def test_rego_says_these_rules_and_no_others():
    said = [rule for file in REGO.glob("*.rego") for rule in re.findall(r'"rule": "([^"]+)"', file.read_text())]
    assert set(said) == set(REGO_RULES)


def test_the_servers_find_what_the_pack_finds_in_files(files):
    given = load([files.violating]).resources
    questions, expected = Questions.about(given), policies.judged(files.violating)
    assert resources.expected() <= expected
    assert questions.ask(Analyzer(ASKED)) == expected
    assert questions.ask(sdk_server(ASKED, given)) == expected


def test_the_catalogue_for_rego_has_every_gpu_type_once():
    names = [labels["node.kubernetes.io/instance-type"] for labels in json.loads(json.dumps(catalogue()))["types"]]
    assert sorted(names) == sorted(instance_types())


def test_what_conftest_prints_is_read_as_rule_and_resource():
    failure = {"msg": "m", "metadata": {"query": "data.main.deny", "rule": "ami-pinned", "resource": "class"}}
    printed = [{"filename": "f", "successes": 1}, {"filename": "g", "successes": 0, "failures": [failure]}]
    assert list(findings(json.dumps(printed))) == [("ami-pinned", "class")]


def test_the_version_of_conftest_is_the_pinned_one():
    assert re.fullmatch(r"v\d+\.\d+\.\d+", conftest_version())


def test_engines_that_disagree_are_not_compared():
    with pytest.raises(SystemExit, match=r"conftest finds \[\('a', 'x'\)\] more and \[\('b', 'y'\)\] less"):
        policies.agree("conftest", {("a", "x")}, {("b", "y")})


def test_a_conftest_that_cannot_be_built_is_one_line(files, monkeypatch, capsys):
    def fails(folder: Path, progress: object) -> Conftest:
        raise SandboxError(
            "building conftest failed (download): see below\ngo: go.mod requires go >= 1.26.8\nlog: /x.log"
        )

    monkeypatch.setattr(Conftest, "built", fails)
    policies.checks(files)
    said = "conftest is left out: building conftest failed (download): see below go: go.mod requires go >= 1.26.8 log:"
    assert capsys.readouterr().out == f"  {said} /x.log\n"
