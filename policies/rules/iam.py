"""Who may do what in AWS: Karpenter's policies, administrators, roles and the access entries of nodes."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from policies import aws, karpenter
from policies.facts import CLUSTERS, readable
from policies.iam_evaluator import Document, Request, may_allow, parse
from policies.iam_probes import FOREIGNER, PROBES, SCOPING
from policies.model import Config, Finding, Item, Option, Rule, Stack, each
from policies.view import View

CLOUDFORMATION = (
    "https://github.com/aws/karpenter-provider-aws/blob/v1.14.1/website/content/en/v1.14/getting-started/"
    "getting-started-with-karpenter/cloudformation.yaml"
)
GRAMMAR = "https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_policies_grammar.html"
LEAST_PRIVILEGE = "https://docs.aws.amazon.com/IAM/latest/UserGuide/best-practices.html#grant-least-privilege"
CONFUSED_DEPUTY = "https://docs.aws.amazon.com/IAM/latest/UserGuide/confused-deputy.html"
ACCESS_ENTRIES = "https://docs.aws.amazon.com/eks/latest/userguide/access-entries.html"
# An action that no service has, on a resource that no service has: who may do it may do everything.
ANYTHING = Request("unheard-of:Anything", "arn:*:unheard-of:*:*:anything")
SHOWN = 4
ADMINISTRATORS = (
    "AdministratorAccess",
    "PowerUserAccess",
    "IAMFullAccess",
    "AmazonEC2FullAccess",
    "SystemAdministrator",
)
"""Policies of AWS with which their holder can give itself everything, or change every instance."""
_ATTACHED = {
    "aws:iam/rolePolicyAttachment:RolePolicyAttachment": "policyArn",
    "aws:iam/userPolicyAttachment:UserPolicyAttachment": "policyArn",
    "aws:iam/groupPolicyAttachment:GroupPolicyAttachment": "policyArn",
    "aws:iam/policyAttachment:PolicyAttachment": "policyArn",
}
_ATTACHED_LISTS = {
    "aws:iam/rolePolicyAttachmentsExclusive:RolePolicyAttachmentsExclusive": "policyArns",
    aws.ROLE: "managedPolicyArns",
}
COMPONENT = CLUSTERS[0]
ENTRY = "aws:eks/accessEntry:AccessEntry"
ASSOCIATION = "aws:eks/accessPolicyAssociation:AccessPolicyAssociation"
NODE_GROUP = "aws:eks/nodeGroup:NodeGroup"
MASTERS = "system:masters"
ADMIN_POLICIES = ("AmazonEKSClusterAdminPolicy", "AmazonEKSAdminPolicy")


def readable_policy_documents(item: Item, config: Config) -> Iterator[str]:
    for view in aws.permissions(item):
        parse(aws.decoded(view))
    for view in aws.resource_policies(item):
        if not all(statement.principals for statement in parse(aws.decoded(view))):
            yield f"has a statement without Principal in {view.path}"


def karpenter_policy_scoped(item: Item, config: Config) -> Iterator[str]:
    for view, document in aws.parsed(aws.permissions(item)):
        if is_administrator(document) or not _is_karpenters(document):
            continue
        allowed = [probe.name for probe in PROBES if may_allow(document, probe.request)]
        if allowed:
            more = f" and {len(allowed) - SHOWN} more" if len(allowed) > SHOWN else ""
            yield f"lets its holder {', '.join(allowed[:SHOWN])}{more} ({view.path})"


def is_administrator(document: Document) -> bool:
    return may_allow(document, ANYTHING)


def _is_karpenters(document: Document) -> bool:
    return any(s.allows and s.reaches(probe.request) is not False for s in document for probe in SCOPING)


def no_administrator_policies(item: Item, config: Config) -> Iterator[str]:
    for view, document in aws.parsed(aws.permissions(item)):
        if is_administrator(document):
            yield f"allows every action on every resource ({view.path})"
    for arn in _attached(item):
        name = arn.text().rpartition("/")[2]
        if name in config["policies"]:
            yield f"attaches {name}"


def _attached(item: Item) -> list[View]:
    """ARNs of managed policies. One that is not known yet is of a policy that the program makes and that is judged."""
    found = [item.data[_ATTACHED[item.kind]]] if item.kind in _ATTACHED else []
    if item.kind in _ATTACHED_LISTS:
        listed = item.data[_ATTACHED_LISTS[item.kind]]
        found += [] if listed.unknown else listed.items()
    return [arn for arn in found if not arn.unknown]


def role_trust_closed(item: Item, config: Config) -> Iterator[str]:
    anybody = Request("sts:AssumeRole", context=FOREIGNER)
    for _, document in aws.parsed(aws.resource_policies(item)):
        if any(s.allows and s.for_everybody and s.applies(anybody) is not False for s in document):
            yield "may be assumed by anybody: Principal * without a condition on the account or the organisation"


@dataclass(frozen=True)
class Grant:
    """What an access entry or an association gives to whom. `who` is the role's name and the URNs of its source."""

    item: Item
    who: frozenset[str]
    node: bool
    admin: tuple[str, ...]


def node_entry_not_admin(stack: Stack, config: Config) -> Iterator[Finding]:
    kinds = (ENTRY, ASSOCIATION, COMPONENT)
    nodes = _node_roles(stack, [g for found in readable(stack.of(*kinds), _grants) for g in found])

    def check(item: Item) -> Iterator[str]:
        for grant in _grants(item):
            if grant.admin and (grant.node or grant.who & nodes):
                yield f"makes the nodes' role an administrator: {', '.join(grant.admin)}"

    yield from each(stack.of(*kinds), check)


def _node_roles(stack: Stack, grants: list[Grant]) -> set[str]:
    """The roles that nodes have: those with an entry for nodes, of node groups, and of Karpenter's node classes."""
    found = {who for grant in grants if grant.node for who in grant.who}
    for group in readable(stack.of(NODE_GROUP), lambda item: _who(item, "nodeRoleArn", item.data["nodeRoleArn"])):
        found |= group
    found |= set(readable(stack.of(karpenter.NODE_CLASS), lambda item: item.data.at("spec", "role").text()))
    for name, urn in readable(stack.of(aws.ROLE), lambda item: (item.data["name"].text(), item.resource.urn)):
        found |= {name, urn} if {name, urn} & found else set()
    return found


def _grants(item: Item) -> list[Grant]:
    if item.kind == COMPONENT:
        entries = item.data["accessEntries"].fields().values()
        return [_grant(item, e, [p["policyArn"] for p in e["accessPolicies"].fields().values()]) for e in entries]
    return [_grant(item, item.data, [item.data["policyArn"]])]


def _grant(item: Item, entry: View, policies: list[View]) -> Grant:
    """An entry that names no type is STANDARD, for people and programs."""
    named = [arn.text().rpartition("/")[2] for arn in policies]
    admin = [name for name in (*named, *entry["kubernetesGroups"].texts()) if name in (MASTERS, *ADMIN_POLICIES)]
    node = entry["type"].text("STANDARD") != "STANDARD"
    return Grant(item, _who(item, "principalArn", entry["principalArn"]), node, tuple(admin))


def _who(item: Item, field: str, arn: View) -> frozenset[str]:
    sources = item.resource.property_dependencies.get(field, ())
    return frozenset((*sources, *([] if arn.unknown else [arn.text().rpartition("/")[2]])))


RULES = (
    Rule(
        id="readable-policy-documents",
        description="IAM documents, trust policies and queue policies are JSON in the form that AWS accepts.",
        why="What cannot be read cannot be judged, and would pass the rules on what it allows.",
        remedy="Write the document as IAM's grammar has it: Statement, with Effect and Action in each.",
        url=GRAMMAR,
        severity="high",
        check=readable_policy_documents,
        kinds=tuple(dict.fromkeys((*aws.PERMISSIONS, *aws.RESOURCE_POLICIES))),
    ),
    Rule(
        id="karpenter-policy-scoped",
        description="A policy to launch, tag and terminate instances or to pass roles reaches nothing of another "
        "cluster, and no rights beyond.",
        why="Karpenter's pod holds these rights: who takes it over has them all. Its own policies tie each to the "
        "cluster's tags and to one role; a dropped condition goes unnoticed, since all keeps working.",
        remedy="Take the statements of Karpenter's CloudFormation template, conditions included, and name the node "
        "role's ARN in iam:PassRole.",
        url=CLOUDFORMATION,
        severity="critical",
        check=karpenter_policy_scoped,
        kinds=aws.PERMISSIONS,
    ),
    Rule(
        id="no-administrator-policies",
        description="No role, user or group gets administrator rights.",
        why="A pod that reaches its node's credentials has the node role's rights, a controller's token those of its "
        "role.",
        remedy="Attach policies that name what is needed, such as AmazonEKSWorkerNodePolicy for nodes.",
        url=LEAST_PRIVILEGE,
        severity="critical",
        check=no_administrator_policies,
        kinds=tuple(dict.fromkeys((*aws.PERMISSIONS, *_ATTACHED, *_ATTACHED_LISTS))),
        options={"policies": Option("list", ADMINISTRATORS, "names of managed policies that nobody may have")},
    ),
    Rule(
        id="role-trust-closed",
        description="No role can be assumed by everybody.",
        why="A trust policy for the principal * lets every AWS account use the role, unless a condition names the own "
        "account or organisation; an external ID is no secret.",
        remedy="Name the service or the ARN in Principal, or add a condition on aws:PrincipalOrgID.",
        url=CONFUSED_DEPUTY,
        severity="critical",
        check=role_trust_closed,
        kinds=(aws.ROLE,),
    ),
    Rule(
        id="node-entry-not-admin",
        description="The role of nodes has an access entry for nodes and no administrator rights in the cluster.",
        why="Every pod that gets at its node's credentials would own the cluster.",
        remedy="Take the association or the group away; an entry of type EC2_LINUX needs neither.",
        url=ACCESS_ENTRIES,
        severity="critical",
        check=node_entry_not_admin,
    ),
)
