"""Karpenter's own policies pass every probe, and each of their conditions is held by one."""

import copy
import json

import pytest

from gpuslice.aws_policies import Account
from gpuslice.karpenter_iam import controller_policies
from policies.iam_evaluator import may_allow, parse
from policies.iam_probes import PROBES, SCOPING
from policies.view import View

PLACES = [
    ("research", Account("aws", "amazonaws.com", "111122223333", "eu-west-1")),
    ("vision", Account("aws-cn", "amazonaws.com.cn", "444455556666", "cn-north-1")),
]
WRITING = ("node-lifecycle", "iam-integration")
READS = {"AllowRegionalReadActions", "AllowZonalShiftStatusReadOnly"}
# What is left when one of these goes still names the cluster: they say twice what another condition says, or which
# EC2NodeClass something is for.
REDUNDANT = {
    ("AllowScopedResourceCreationTagging", "aws:RequestTag/eks:eks-cluster-name"),
    ("AllowScopedInstanceProfileCreationActions", "aws:RequestTag/eks:eks-cluster-name"),
    ("AllowScopedInstanceProfileCreationActions", "aws:RequestTag/karpenter.k8s.aws/ec2nodeclass"),
    ("AllowScopedInstanceProfileTagActions", "aws:RequestTag/eks:eks-cluster-name"),
    ("AllowScopedInstanceProfileTagActions", "aws:RequestTag/topology.kubernetes.io/region"),
    ("AllowScopedInstanceProfileTagActions", "aws:RequestTag/karpenter.k8s.aws/ec2nodeclass"),
    ("AllowScopedInstanceProfileTagActions", "aws:ResourceTag/karpenter.k8s.aws/ec2nodeclass"),
    ("AllowScopedInstanceProfileActions", "aws:ResourceTag/karpenter.k8s.aws/ec2nodeclass"),
}


def documents(cluster, account):
    return json.loads(json.dumps(controller_policies(account, cluster, f"{cluster}-gpu-node")))


def conditioned():
    found = [
        (name, index, statement["Sid"], operator, key)
        for name, document in documents(*PLACES[0]).items()
        for index, statement in enumerate(document["Statement"])
        for operator, keys in statement.get("Condition", {}).items()
        for key in keys
    ]
    assert len(found) > 30
    return found


def caught(document):
    parsed = parse(View(document))
    return [probe.name for probe in PROBES if may_allow(parsed, probe.request)]


@pytest.mark.parametrize(("cluster", "account"), PLACES)
def test_karpenters_own_policies_allow_no_probe(cluster, account):
    found = {name: caught(document) for name, document in documents(cluster, account).items()}
    assert [(name, names) for name, names in found.items() if names] == []


@pytest.mark.parametrize(("cluster", "account"), PLACES)
@pytest.mark.parametrize(("name", "index", "sid"), sorted({entry[:3] for entry in conditioned()}))
def test_a_statement_without_its_conditions_is_caught(cluster, account, name, index, sid):
    document = documents(cluster, account)[name]
    del document["Statement"][index]["Condition"]
    assert bool(caught(document)) is (sid not in READS)


@pytest.mark.parametrize(("name", "index", "sid", "operator", "key"), conditioned())
def test_a_statement_without_one_condition_is_caught(name, index, sid, operator, key):
    document = documents(*PLACES[0])[name]
    del document["Statement"][index]["Condition"][operator][key]
    assert bool(caught(document)) is (sid not in READS and (sid, key) not in REDUNDANT)


def test_the_policies_that_change_something_are_the_ones_that_are_judged():
    for name, document in documents(*PLACES[0]).items():
        statements = parse(View(document))
        judged = any(s.reaches(probe.request) is not False for s in statements for probe in SCOPING)
        assert judged is (name in WRITING), name


@pytest.mark.parametrize("probe", PROBES, ids=lambda probe: probe.name)
def test_a_probe_is_allowed_by_whoever_allows_its_action(probe):
    """Else it would find nothing, whatever a policy said."""
    policy = {"Statement": {"Effect": "Allow", "Action": probe.request.action, "Resource": "*"}}
    assert probe.name in caught(policy)
    other = copy.deepcopy(policy)
    other["Statement"]["Action"] = "s3:GetObject"
    assert caught(other) == []


@pytest.mark.parametrize("resource", ["*", "arn:aws:iam::111122223333:role/*", "arn:aws:iam::*:role/*"])
def test_passing_any_role_is_caught(resource):
    document = documents(*PLACES[0])["iam-integration"]
    document["Statement"][0]["Resource"] = resource
    assert caught(document) == ["pass-another-role"]


def test_probes_have_names_of_their_own():
    assert len({probe.name for probe in PROBES}) == len(PROBES)
