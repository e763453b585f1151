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


ATTACKS = {
    "ec2:RunInstances": {
        "launch-an-untagged-instance",
        "launch-an-instance-for-another-cluster",
        "launch-an-instance-outside-any-nodepool",
        "launch-an-instance-under-the-name-of-another-cluster",
        "launch-an-untagged-volume",
        "launch-from-an-untagged-template",
        "launch-from-a-template-of-another-cluster",
        "launch-from-a-template-of-no-nodepool",
    },
    "ec2:CreateFleet": {
        "launch-an-untagged-fleet",
        "launch-a-fleet-from-a-template-of-another-cluster",
    },
    "ec2:CreateLaunchTemplate": {
        "create-an-untagged-template",
        "create-a-template-for-another-cluster",
    },
    "ec2:TerminateInstances": {
        "terminate-an-untagged-instance",
        "terminate-an-instance-of-another-cluster",
        "terminate-a-node-of-no-nodepool",
    },
    "ec2:DeleteLaunchTemplate": {
        "delete-an-untagged-template",
        "delete-a-template-of-another-cluster",
    },
    "ec2:CreateTags": {
        "claim-an-untagged-instance",
        "claim-an-instance-of-another-cluster",
        "claim-a-node-of-no-nodepool",
        "rename-an-instance-of-another-cluster",
        "rename-a-node-of-no-nodepool",
        "give-a-node-to-another-cluster",
        "put-a-node-under-the-name-of-another-cluster",
        "tag-what-it-launches-for-another-cluster",
        "tag-what-it-launches-for-no-nodepool",
    },
    "iam:PassRole": {
        "pass-another-role",
        "pass-a-role-to-another-service",
    },
    "iam:CreateInstanceProfile": {
        "create-an-untagged-instance-profile",
        "create-an-instance-profile-for-another-cluster",
        "create-an-instance-profile-for-another-region",
    },
    "iam:TagInstanceProfile": {
        "claim-an-untagged-instance-profile",
        "claim-an-instance-profile-of-another-cluster",
        "claim-an-instance-profile-of-another-region",
        "give-an-instance-profile-to-another-cluster",
    },
    "iam:AddRoleToInstanceProfile": {
        "put-a-role-into-an-untagged-instance-profile",
        "put-a-role-into-an-instance-profile-of-another-cluster",
        "put-a-role-into-an-instance-profile-of-another-region",
    },
    "iam:RemoveRoleFromInstanceProfile": {
        "empty-an-instance-profile-of-another-cluster",
    },
    "iam:DeleteInstanceProfile": {
        "delete-an-instance-profile-of-another-cluster",
        "delete-an-instance-profile-of-another-region",
    },
    "ec2:DeleteTags": {
        "untag-an-instance-of-another-cluster",
    },
    "ec2:ModifyInstanceAttribute": {
        "rewrite-the-user-data-of-an-instance",
    },
    "ec2:ReplaceIamInstanceProfileAssociation": {
        "swap-the-instance-profile-of-an-instance",
    },
    "ssm:SendCommand": {
        "run-a-command-on-an-instance",
    },
    "iam:AttachRolePolicy": {
        "attach-a-policy-to-a-role",
    },
    "iam:PutRolePolicy": {
        "write-a-policy-into-a-role",
    },
    "iam:UpdateAssumeRolePolicy": {
        "change-who-may-use-a-role",
    },
    "iam:CreatePolicyVersion": {
        "change-a-managed-policy",
    },
    "iam:CreateUser": {
        "create-a-user",
    },
    "iam:CreateAccessKey": {
        "create-an-access-key",
    },
    "eks:AssociateAccessPolicy": {
        "become-administrator-of-a-cluster",
    },
    "sqs:ReceiveMessage": {
        "take-messages-of-another-queue",
    },
}
"""What is tried, by action: a probe that is lost or renamed is a hole that no policy shows."""


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


def test_passing_the_nodes_role_to_any_service_of_aws_is_caught():
    document = documents(*PLACES[0])["iam-integration"]
    document["Statement"][0]["Condition"] = {"StringLike": {"iam:PassedToService": "*.amazonaws.com"}}
    assert caught(document) == ["pass-a-role-to-another-service"]


ON_OTHERS = {"terminate-an-instance-of-another-cluster", "delete-an-instance-profile-of-another-cluster"}


def scoped_by(key, value):
    return {
        "Statement": {
            "Effect": "Allow",
            "Action": ["ec2:TerminateInstances", "iam:DeleteInstanceProfile"],
            "Resource": "*",
            "Condition": {"StringLike": {key: value}},
        }
    }


@pytest.mark.parametrize("service", ["aws", "ec2", "iam"])
@pytest.mark.parametrize(
    ("tag", "value"),
    [
        ("karpenter.sh/nodepool", "default"),
        ("karpenter.sh/nodeclaim", "*"),
        ("karpenter.k8s.aws/ec2nodeclass", "*"),
        ("Name", "*karpenter*"),
        ("topology.kubernetes.io/region", "us-east-1"),
    ],
)
def test_a_tag_that_every_karpenter_sets_scopes_nothing(service, tag, value):
    assert set(caught(scoped_by(f"{service}:ResourceTag/{tag}", value))) >= ON_OTHERS


@pytest.mark.parametrize("service", ["aws", "ec2", "iam"])
@pytest.mark.parametrize(
    ("tag", "value"),
    [("kubernetes.io/cluster/research", "owned"), ("eks:eks-cluster-name", "research"), ("team", "vision")],
)
def test_a_tag_of_the_own_cluster_scopes(service, tag, value):
    assert not ON_OTHERS & set(caught(scoped_by(f"{service}:ResourceTag/{tag}", value)))


def test_a_list_of_tag_keys_that_has_the_clusters_own_lets_instances_be_claimed():
    keys = ["kubernetes.io/cluster/research", "eks:eks-cluster-name", "karpenter.sh/nodepool", "karpenter.sh/nodeclaim"]
    keys += ["karpenter.k8s.aws/ec2nodeclass", "topology.kubernetes.io/region", "Name"]
    closed = {"ForAllValues:StringEquals": {"aws:TagKeys": keys}}
    allow = {"Effect": "Allow", "Action": "ec2:CreateTags", "Resource": "*", "Condition": closed}
    found = caught({"Statement": allow})
    assert "claim-an-untagged-instance" in found
    assert "tag-what-it-launches-for-another-cluster" not in found


def test_every_attack_is_tried():
    found = [(probe.request.action, probe.name) for probe in PROBES]
    assert sorted(found) == sorted((action, name) for action, names in ATTACKS.items() for name in names)
