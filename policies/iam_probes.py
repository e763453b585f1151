"""What a Karpenter that was taken over would try, as requests that none of its policies may allow.

Karpenter v1.14 needs none of them: the policies that it publishes refuse each by a condition on tags or by the
resource. A policy that speaks of nothing in `SCOPING` is not about Karpenter's work and is not judged.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from policies.iam_evaluator import Request, Values

_OWNED = "kubernetes.io/cluster/"
_NODEPOOL = "karpenter.sh/nodepool"
_CLUSTER_NAME = "eks:eks-cluster-name"
_REGION = "topology.kubernetes.io/region"
_OTHER = "another-cluster-of-a-probe"
_ANY: Values = (None,)
_KARPENTERS: Mapping[str, Values] = {
    _CLUSTER_NAME: _ANY,
    _NODEPOOL: ("default",),
    "karpenter.sh/nodeclaim": ("default-x7k2p",),
    "karpenter.k8s.aws/ec2nodeclass": ("default",),
    _REGION: _ANY,
    "Name": _ANY,
}
_OWN: Mapping[str, Values] = {f"{_OWNED}*": ("owned",), **_KARPENTERS}
"""The tags of what the policy's own Karpenter made, whatever its cluster is called."""
_WRONG: Mapping[str, Values] = {f"{_OWNED}{_OTHER}": ("owned",), **_KARPENTERS}
"""Tags that a request can give for another cluster, all else as the policy wants it."""
_FOREIGN: Mapping[str, Values] = {**_WRONG, _CLUSTER_NAME: (_OTHER,)}
"""The tags of what another cluster's Karpenter made."""


@dataclass(frozen=True)
class Probe:
    """A request that must be denied, by the name of the attack."""

    name: str
    request: Request


def _without(tags: Mapping[str, Values], *names: str) -> dict[str, Values]:
    return {key: values for key, values in tags.items() if key not in names}


def _resource(tags: Mapping[str, Values]) -> dict[str, Values]:
    """Tags of the resource, as the condition keys of each service that has some of its own."""
    return {f"{service}:ResourceTag/{key}": values for service in ("aws", "ec2", "iam") for key, values in tags.items()}


def _tagging(tags: Mapping[str, Values]) -> dict[str, Values]:
    """Tags that the request gives."""
    keys = tuple(None if "*" in key else key for key in tags)
    return {f"aws:RequestTag/{key}": values for key, values in tags.items()} | {"aws:TagKeys": keys}


def _ec2(name: str, action: str, resource: str, *contexts: Mapping[str, Values]) -> Probe:
    return _probe(name, f"ec2:{action}", f"arn:*:ec2:*:*:{resource}", *contexts)


def _iam(name: str, action: str, resource: str, *contexts: Mapping[str, Values]) -> Probe:
    return _probe(name, f"iam:{action}", f"arn:*:iam::*:{resource}", *contexts)


def _probe(name: str, action: str, resource: str, *contexts: Mapping[str, Values]) -> Probe:
    return Probe(name, Request(action, resource, {k: v for context in contexts for k, v in context.items()}))


_INSTANCE, _VOLUME = "instance/i-0a1b2c3d4e5f60718", "volume/vol-0a1b2c3d4e5f60718"
_TEMPLATE, _FLEET = "launch-template/lt-0a1b2c3d4e5f60718", "fleet/fleet-0a1b2c3d4e5f60718"
_PROFILE, _ROLE = "instance-profile/of-another-cluster", "role/another-role-of-a-probe"
_THEIRS, _MINE, _SYSTEM = _resource(_FOREIGN), _resource(_OWN), _resource(_without(_OWN, _NODEPOOL))
_AWAY: Mapping[str, Values] = {**_OWN, _REGION: ("another-region-of-a-probe",)}
_FAR = _resource(_AWAY)
_POOLLESS, _RENAMED = _tagging(_without(_OWN, _NODEPOOL)), _tagging({**_OWN, _CLUSTER_NAME: (_OTHER,)})
_LAUNCHED: Mapping[str, Values] = {"ec2:CreateAction": ("RunInstances",)}

_LAUNCHING = (
    _ec2("launch-an-untagged-instance", "RunInstances", _INSTANCE),
    _ec2("launch-an-instance-for-another-cluster", "RunInstances", _INSTANCE, _tagging(_WRONG)),
    _ec2("launch-an-instance-outside-any-nodepool", "RunInstances", _INSTANCE, _POOLLESS),
    _ec2("launch-an-instance-under-the-name-of-another-cluster", "RunInstances", _INSTANCE, _RENAMED),
    _ec2("launch-an-untagged-volume", "RunInstances", _VOLUME),
    _ec2("launch-an-untagged-fleet", "CreateFleet", _FLEET),
    _ec2("launch-from-an-untagged-template", "RunInstances", _TEMPLATE),
    _ec2("launch-from-a-template-of-another-cluster", "RunInstances", _TEMPLATE, _THEIRS),
    _ec2("launch-from-a-template-of-no-nodepool", "RunInstances", _TEMPLATE, _SYSTEM),
    _ec2("launch-a-fleet-from-a-template-of-another-cluster", "CreateFleet", _TEMPLATE, _THEIRS),
    _ec2("create-an-untagged-template", "CreateLaunchTemplate", _TEMPLATE),
    _ec2("create-a-template-for-another-cluster", "CreateLaunchTemplate", _TEMPLATE, _tagging(_WRONG)),
)
_DELETING = (
    _ec2("terminate-an-untagged-instance", "TerminateInstances", _INSTANCE),
    _ec2("terminate-an-instance-of-another-cluster", "TerminateInstances", _INSTANCE, _THEIRS),
    _ec2("terminate-a-node-of-no-nodepool", "TerminateInstances", _INSTANCE, _SYSTEM),
    _ec2("delete-an-untagged-template", "DeleteLaunchTemplate", _TEMPLATE),
    _ec2("delete-a-template-of-another-cluster", "DeleteLaunchTemplate", _TEMPLATE, _THEIRS),
)
_TAGGING = (
    _ec2("claim-an-untagged-instance", "CreateTags", _INSTANCE, _tagging(_OWN)),
    _ec2("claim-an-instance-of-another-cluster", "CreateTags", _INSTANCE, _THEIRS, _tagging(_OWN)),
    _ec2("claim-a-node-of-no-nodepool", "CreateTags", _INSTANCE, _SYSTEM, _tagging(_OWN)),
    _ec2("rename-an-instance-of-another-cluster", "CreateTags", _INSTANCE, _THEIRS, _tagging({"Name": _ANY})),
    _ec2("rename-a-node-of-no-nodepool", "CreateTags", _INSTANCE, _SYSTEM, _tagging({"Name": _ANY})),
    _ec2("give-a-node-to-another-cluster", "CreateTags", _INSTANCE, _MINE, _tagging(_WRONG)),
    _ec2(
        "put-a-node-under-the-name-of-another-cluster",
        "CreateTags",
        _INSTANCE,
        _MINE,
        _tagging({_CLUSTER_NAME: (_OTHER,)}),
    ),
    _ec2("tag-what-it-launches-for-another-cluster", "CreateTags", _INSTANCE, _LAUNCHED, _tagging(_WRONG)),
    _ec2("tag-what-it-launches-for-no-nodepool", "CreateTags", _INSTANCE, _LAUNCHED, _POOLLESS),
)
_PASSING = (
    _iam("pass-another-role", "PassRole", _ROLE, {"iam:PassedToService": ("ec2.amazonaws.com",)}),
    _iam("pass-a-role-to-another-service", "PassRole", "*", {"iam:PassedToService": ("glue.amazonaws.com",)}),
)
_PROFILES = (
    _iam("create-an-untagged-instance-profile", "CreateInstanceProfile", _PROFILE),
    _iam("create-an-instance-profile-for-another-cluster", "CreateInstanceProfile", _PROFILE, _tagging(_WRONG)),
    _iam("create-an-instance-profile-for-another-region", "CreateInstanceProfile", _PROFILE, _tagging(_AWAY)),
    _iam("claim-an-untagged-instance-profile", "TagInstanceProfile", _PROFILE, _tagging(_OWN)),
    _iam("claim-an-instance-profile-of-another-cluster", "TagInstanceProfile", _PROFILE, _THEIRS, _tagging(_OWN)),
    _iam("claim-an-instance-profile-of-another-region", "TagInstanceProfile", _PROFILE, _FAR, _tagging(_OWN)),
    _iam("give-an-instance-profile-to-another-cluster", "TagInstanceProfile", _PROFILE, _MINE, _tagging(_WRONG)),
    _iam("put-a-role-into-an-untagged-instance-profile", "AddRoleToInstanceProfile", _PROFILE),
    _iam("put-a-role-into-an-instance-profile-of-another-cluster", "AddRoleToInstanceProfile", _PROFILE, _THEIRS),
    _iam("put-a-role-into-an-instance-profile-of-another-region", "AddRoleToInstanceProfile", _PROFILE, _FAR),
    _iam("empty-an-instance-profile-of-another-cluster", "RemoveRoleFromInstanceProfile", _PROFILE, _THEIRS),
    _iam("delete-an-instance-profile-of-another-cluster", "DeleteInstanceProfile", _PROFILE, _THEIRS),
    _iam("delete-an-instance-profile-of-another-region", "DeleteInstanceProfile", _PROFILE, _FAR),
)
_NEVER = (
    _ec2("untag-an-instance-of-another-cluster", "DeleteTags", _INSTANCE, _THEIRS),
    _ec2("rewrite-the-user-data-of-an-instance", "ModifyInstanceAttribute", _INSTANCE, _MINE),
    _ec2("swap-the-instance-profile-of-an-instance", "ReplaceIamInstanceProfileAssociation", _INSTANCE, _MINE),
    _probe("run-a-command-on-an-instance", "ssm:SendCommand", f"arn:*:ec2:*:*:{_INSTANCE}", _resource(_OWN)),
    _iam("attach-a-policy-to-a-role", "AttachRolePolicy", _ROLE),
    _iam("write-a-policy-into-a-role", "PutRolePolicy", _ROLE),
    _iam("change-who-may-use-a-role", "UpdateAssumeRolePolicy", _ROLE),
    _iam("change-a-managed-policy", "CreatePolicyVersion", "policy/another-policy-of-a-probe"),
    _iam("create-a-user", "CreateUser", "user/another-user-of-a-probe"),
    _iam("create-an-access-key", "CreateAccessKey", "user/another-user-of-a-probe"),
    _probe("become-administrator-of-a-cluster", "eks:AssociateAccessPolicy", f"arn:*:eks:*:*:access-entry/{_OTHER}/x"),
    _probe("take-messages-of-another-queue", "sqs:ReceiveMessage", "arn:*:sqs:*:*:another-queue-of-a-probe"),
)

SCOPING: tuple[Probe, ...] = (*_LAUNCHING, *_DELETING, *_TAGGING, *_PASSING, *_PROFILES)
PROBES: tuple[Probe, ...] = (*SCOPING, *_NEVER)
FOREIGNER: Mapping[str, Values] = {
    key: (value,)
    for keys, value in (
        (("aws:SourceAccount", "aws:PrincipalAccount"), "999999999999"),
        (("aws:SourceOrgID", "aws:PrincipalOrgID"), "o-stranger00"),
        (("aws:SourceOrgPaths", "aws:PrincipalOrgPaths"), "o-stranger00/r-0000/"),
        (("aws:SourceArn", "aws:PrincipalArn"), "arn:aws:iam::999999999999:role/stranger"),
    )
    for key in keys
}
"""The condition keys of a request from an account and an organisation that nobody here knows."""
