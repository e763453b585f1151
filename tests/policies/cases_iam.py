"""Cases of policies/rules/iam.py. Which probe catches what is in test_iam_probes.py."""

import json

from base import accepted, also, drop, like, put, put_head, refused, without

SCOPED, ADMIN, TRUST, ENTRY = (
    "karpenter-policy-scoped",
    "no-administrator-policies",
    "role-trust-closed",
    "node-entry-not-admin",
)
STATEMENTS = ("controller-lifecycle", "policy", "Statement")
PASS = ("controller-iam", "policy", "Statement", 0)
TRUSTED = ("node-role", "assumeRolePolicy", "Statement", 0)
ALL = {"Effect": "Allow", "Action": "*", "Resource": "*"}
NODE = "arn:aws:iam::111122223333:role/research-gpu-node"
CLUSTER_ADMIN = "arn:aws:eks::aws:cluster-access-policy/AmazonEKSClusterAdminPolicy"
TERMINATE = {"Effect": "Allow", "Action": "ec2:TerminateInstances", "Resource": "*"}
NOT_OWNED = {"StringNotEquals": {"aws:ResourceTag/kubernetes.io/cluster/research": "owned"}}
NO_POOL = {"Null": {"aws:ResourceTag/karpenter.sh/nodepool": "true"}}
OURS = {"aws:PrincipalOrgID": "o-a1b2c3d4e5"}


def document(*statements):
    return {"Version": "2012-10-17", "Statement": list(statements)}


def inline(*statements):
    """An inline policy of the node role, as the text that the provider wants."""
    return put("node-role", "inlinePolicies", [{"name": "x", "policy": json.dumps(document(*statements))}])


def attached(arn):
    return put("node-role-worker", "policyArn", arn)


def one_more(type_, statement):
    return also("more", type_, {"policy": json.dumps(document(statement))})


def entries(**entry):
    """An access entry in the component."""
    return put("cluster-component", "accessEntries", {"nodes": {"principalArn": NODE, "type": "EC2"} | entry})


def admin_for(principal):
    return put("admin-association", "principalArn", principal)


def by_source(role):
    """Administrator is a role of the program whose ARN is to come."""

    def edit(program):
        admin_for("<unknown>")(program)
        put_head("admin-association", "propertyDependencies", {"principalArn": [role]})(program)

    return edit


PEOPLE = like("people", "node-role", put("people", "name", "people"))

CASES = [
    refused("readable-policy-documents", "no JSON", put("controller-iam", "policy", "{"), says="policy is no JSON: "),
    refused("readable-policy-documents", "no statement", drop(*STATEMENTS), says="policy has no Statement"),
    refused("readable-policy-documents", "no effect", drop(*PASS, "Effect"), says="policy.Statement[0].Effect is ''"),
    refused("readable-policy-documents", "no action", drop(*PASS, "Action"), says="neither Action nor NotAction"),
    refused("readable-policy-documents", "a role's trust", put("node-role", "assumeRolePolicy", "{}")),
    refused("readable-policy-documents", "a trust for nobody", drop(*TRUSTED, "Principal"), says="without Principal"),
    refused(
        "readable-policy-documents", "a role's inline policy", put("node-role", "inlinePolicies", [{"policy": "["}])
    ),
    refused("readable-policy-documents", "a queue's", put("queue", "policy", "x")),
    refused(
        "readable-policy-documents",
        "of a queue for nobody",
        drop("queue-policy", "policy", "Statement", 0, "Principal"),
    ),
    refused("readable-policy-documents", "a user's", also("u", "aws:iam/userPolicy:UserPolicy", {"policy": "x"})),
    refused("readable-policy-documents", "a group's", also("g", "aws:iam/groupPolicy:GroupPolicy", {"policy": "x"})),
    accepted(
        "readable-policy-documents",
        "one statement without a list",
        put(
            "node-role",
            "assumeRolePolicy",
            "Statement",
            {"Effect": "Allow", "Principal": {"Service": "ec2.amazonaws.com"}, "Action": "sts:AssumeRole"},
        ),
    ),
    accepted(
        "readable-policy-documents",
        "an object",
        put(
            "controller-iam",
            "policy",
            json.dumps(document({"Effect": "Allow", "Action": "s3:GetObject", "Resource": "*"})),
        ),
    ),
    refused(
        SCOPED,
        "termination is not scoped",
        drop(*STATEMENTS, 3, "Condition"),
        says="lets its holder terminate-an-untagged-instance, terminate-an-instance-of-another-cluster, "
        "terminate-a-node-of-no-nodepool, delete-an-untagged-template and 1 more (policy)",
    ),
    refused(
        SCOPED,
        "instances of other clusters' pools",
        drop(*STATEMENTS, 3, "Condition", "StringEquals"),
        says="terminate-an-instance-of-another-cluster, delete-a-template-of-another-cluster (policy)",
    ),
    refused(
        SCOPED, "nodes outside pools", drop(*STATEMENTS, 3, "Condition", "StringLike"), says="a-node-of-no-nodepool ("
    ),
    refused(SCOPED, "launching is not scoped", drop(*STATEMENTS, 1, "Condition"), says="launch-an-untagged-instance"),
    refused(SCOPED, "tagging at any time", drop(*STATEMENTS, 2, "Condition", "StringEquals", "ec2:CreateAction")),
    refused(SCOPED, "any role", put(*PASS, "Resource", "*"), says="lets its holder pass-another-role (policy)"),
    refused(SCOPED, "every role", put(*PASS, "Resource", "arn:aws:iam::111122223333:role/*"), says="pass-another-role"),
    refused(SCOPED, "a role, to any service", drop(*PASS, "Condition"), says="pass-a-role-to-another-service"),
    refused(
        SCOPED, "profiles of others", drop("controller-iam", "policy", "Statement", 1, "Condition"), says="profile"
    ),
    refused(SCOPED, "more than four", put(*STATEMENTS, 3, {**TERMINATE, "Action": "ec2:*"}), says="more (policy)"),
    refused(SCOPED, "another document of its kind", one_more("aws:iam/userPolicy:UserPolicy", TERMINATE)),
    refused(SCOPED, "a role's inline policy", inline(TERMINATE), says="(inlinePolicies[0].policy)"),
    refused(
        SCOPED,
        "rights beyond",
        put(*STATEMENTS, 4, {"Effect": "Allow", "Action": "iam:AttachRolePolicy", "Resource": "*"}),
        says="lets its holder attach-a-policy-to-a-role (policy)",
    ),
    refused(SCOPED, "a condition that is not understood", put(*STATEMENTS, 3, "Condition", {"Shape": {"aws:x": "y"}})),
    refused(
        SCOPED,
        "a denial that is not understood",
        put(*STATEMENTS, 4, {**TERMINATE, "Condition": {"NumericEquals": {"aws:x": "1"}}}),
        put(*STATEMENTS, 5, {**TERMINATE, "Effect": "Deny", "Condition": {"Shape": {"aws:x": "y"}}}),
    ),
    refused(
        SCOPED,
        "four probes",
        one_more(
            "aws:iam/policy:Policy",
            {**TERMINATE, "Action": ["iam:CreateInstanceProfile", "iam:RemoveRoleFromInstanceProfile"]},
        ),
        says="for-another-region, empty-an-instance-profile-of-another-cluster (policy)",
    ),
    accepted(
        SCOPED,
        "denials, and rights elsewhere",
        put(*STATEMENTS, [{**TERMINATE, "Effect": "Deny"}, {**TERMINATE, "Action": "iam:CreateUser"}]),
    ),
    accepted(
        SCOPED,
        "scoped by denials",
        put(*STATEMENTS, 3, TERMINATE),
        put(*STATEMENTS, 4, {**TERMINATE, "Effect": "Deny", "Condition": NOT_OWNED}),
        put(*STATEMENTS, 5, {**TERMINATE, "Effect": "Deny", "Condition": NO_POOL}),
    ),
    accepted(
        SCOPED, "actions of no interest", one_more("aws:iam/policy:Policy", {**TERMINATE, "Action": "ec2:Describe*"})
    ),
    accepted(
        SCOPED,
        "rights elsewhere",
        one_more("aws:iam/policy:Policy", {**TERMINATE, "Action": ["iam:CreateUser", "ssm:SendCommand"]}),
    ),
    accepted(SCOPED, "denials alone", one_more("aws:iam/policy:Policy", {**TERMINATE, "Effect": "Deny"})),
    accepted(
        SCOPED,
        "profiles by name",
        put(
            "controller-iam",
            "policy",
            "Statement",
            1,
            {
                "Effect": "Allow",
                "Action": "iam:*InstanceProfile",
                "Resource": "arn:aws:iam::111122223333:instance-profile/research_*",
            },
        ),
    ),
    refused(
        ADMIN, "attached", attached("arn:aws:iam::aws:policy/AdministratorAccess"), says="attaches AdministratorAccess"
    ),
    refused(ADMIN, "another partition", attached("arn:aws-cn:iam::aws:policy/PowerUserAccess")),
    refused(ADMIN, "a path", attached("arn:aws:iam::aws:policy/job-function/SystemAdministrator")),
    refused(ADMIN, "EC2", attached("arn:aws:iam::aws:policy/AmazonEC2FullAccess")),
    refused(ADMIN, "IAM", attached("arn:aws:iam::aws:policy/IAMFullAccess")),
    *(
        refused(
            ADMIN,
            f"by a {kind}",
            also(
                "a",
                f"aws:iam/{kind[0].lower()}{kind[1:]}:{kind}",
                {"policyArn": "arn:aws:iam::aws:policy/AdministratorAccess"},
            ),
        )
        for kind in ("UserPolicyAttachment", "GroupPolicyAttachment", "PolicyAttachment")
    ),
    refused(
        ADMIN,
        "by a role itself",
        put("node-role", "managedPolicyArns", ["<unknown>", "arn:aws:iam::aws:policy/AdministratorAccess"]),
    ),
    refused(
        ADMIN,
        "by a list",
        also(
            "a",
            "aws:iam/rolePolicyAttachmentsExclusive:RolePolicyAttachmentsExclusive",
            {"policyArns": ["arn:aws:iam::aws:policy/AdministratorAccess"]},
        ),
    ),
    refused(
        ADMIN,
        "one that the option names",
        attached("arn:aws:iam::1:policy/team/Broad"),
        config={ADMIN: {"policies": ["Broad"]}},
    ),
    refused(
        ADMIN,
        "a document",
        one_more("aws:iam/policy:Policy", ALL),
        says="allows every action on every resource (policy)",
    ),
    refused(ADMIN, "a document beside others", put(*STATEMENTS, 4, ALL)),
    refused(ADMIN, "a user's document", one_more("aws:iam/userPolicy:UserPolicy", ALL)),
    refused(ADMIN, "a group's document", one_more("aws:iam/groupPolicy:GroupPolicy", ALL)),
    refused(ADMIN, "an object", put("node-role", "inlinePolicies", [{"policy": document(ALL)}])),
    refused(ADMIN, "a role's inline document", inline(ALL), says="(inlinePolicies[0].policy)"),
    refused(
        ADMIN,
        "in other words",
        one_more("aws:iam/policy:Policy", {**ALL, "Action": ["*:*"], "Resource": "arn:*:*:*:*:*"}),
    ),
    refused(
        ADMIN,
        "all but a little",
        one_more("aws:iam/policy:Policy", {"Effect": "Allow", "NotAction": "iam:*", "Resource": "*"}),
    ),
    accepted(ADMIN, "for clusters", attached("arn:aws:iam::aws:policy/AmazonEKSClusterPolicy")),
    accepted(ADMIN, "a name that only starts so", attached("arn:aws:iam::1:policy/AdministratorAccessForNobody")),
    accepted(ADMIN, "a policy to come", attached("<unknown>"), put("node-role", "managedPolicyArns", "<unknown>")),
    accepted(ADMIN, "all of one service", one_more("aws:iam/policy:Policy", {**ALL, "Action": "s3:*"})),
    accepted(ADMIN, "everything is denied", one_more("aws:iam/policy:Policy", {**ALL, "Effect": "Deny"})),
    accepted(
        ADMIN, "everything on one resource", one_more("aws:iam/policy:Policy", {**ALL, "Resource": "arn:aws:s3:::x"})
    ),
    refused(TRUST, "everybody", put(*TRUSTED, "Principal", "*"), says="may be assumed by anybody"),
    refused(TRUST, "every AWS principal", put(*TRUSTED, "Principal", {"AWS": ["arn:aws:iam::1:root", "*"]})),
    refused(
        TRUST, "all but one", put(*TRUSTED, "NotPrincipal", {"AWS": "arn:aws:iam::1:root"}), drop(*TRUSTED, "Principal")
    ),
    refused(
        TRUST,
        "an external ID",
        put(*TRUSTED, "Principal", "*"),
        put(*TRUSTED, "Condition", {"StringEquals": {"sts:ExternalId": "secret"}}),
    ),
    refused(
        TRUST, "the second statement", put(*TRUSTED[:-1], 1, {"Effect": "Allow", "Principal": "*", "Action": "sts:*"})
    ),
    accepted(
        TRUST,
        "everybody of the organisation",
        put(*TRUSTED, "Principal", "*"),
        put(*TRUSTED, "Condition", {"StringEquals": OURS}),
    ),
    accepted(
        TRUST, "everybody is denied", put(*TRUSTED[:-1], 1, {"Effect": "Deny", "Principal": "*", "Action": "sts:*"})
    ),
    accepted(TRUST, "one account", put(*TRUSTED, "Principal", {"AWS": "*111122223333*"})),
    refused(
        ENTRY,
        "the nodes' role, by its ARN",
        admin_for(NODE),
        says="makes the nodes' role an administrator: AmazonEKSClusterAdminPolicy",
    ),
    refused(
        ENTRY, "admin of a namespace", admin_for(NODE), put("admin-association", "policyArn", "x/AmazonEKSAdminPolicy")
    ),
    refused(
        ENTRY,
        "in the group of masters",
        put("node-entry", "kubernetesGroups", ["a", "system:masters"]),
        says="system:m",
    ),
    refused(
        ENTRY,
        "the nodes' role, by its source",
        put("node-entry", "principalArn", "<unknown>"),
        put_head("node-entry", "propertyDependencies", {"principalArn": ["x"]}),
        like("x", "node-role", drop("x", "name")),
        admin_for("<unknown>"),
        put_head("admin-association", "propertyDependencies", {"principalArn": ["x"]}),
    ),
    refused(
        ENTRY,
        "the role of a node class, by its source",
        without("node-entry"),
        admin_for("<unknown>"),
        put_head("admin-association", "propertyDependencies", {"principalArn": ["node-role"]}),
    ),
    refused(ENTRY, "the role of a node class, by its ARN", without("node-entry"), admin_for(NODE)),
    refused(
        ENTRY,
        "the role of a node group",
        also("group", "aws:eks/nodeGroup:NodeGroup", {"nodeRoleArn": "arn:aws:iam::1:role/system"}),
        admin_for("arn:aws:iam::1:role/system"),
    ),
    refused(ENTRY, "a role with a path", without("node-entry"), admin_for(NODE.replace("role/", "role/team/"))),
    refused(
        ENTRY,
        "the role of a node group, by its source",
        also("group", "aws:eks/nodeGroup:NodeGroup", {"nodeRoleArn": "<unknown>"}),
        put_head("group", "propertyDependencies", {"nodeRoleArn": ["people"], "subnetIds": ["cluster-classic"]}),
        PEOPLE,
        by_source("people"),
    ),
    refused(
        ENTRY,
        "the entry by its source, the association by the role's name",
        put("node-entry", "principalArn", "<unknown>"),
        put_head("node-entry", "propertyDependencies", {"principalArn": ["people"]}),
        PEOPLE,
        admin_for("arn:aws:iam::1:role/people"),
    ),
    accepted(ENTRY, "another role of the program", PEOPLE, by_source("people")),
    refused(ENTRY, "another type of nodes", put("admin-entry", "type", "EC2")),
    refused(ENTRY, "in the component", entries(accessPolicies={"x": {"policyArn": CLUSTER_ADMIN}})),
    refused(
        ENTRY,
        "in the component, a role to come",
        entries(principalArn="<unknown>", kubernetesGroups=["system:masters"]),
    ),
    refused(
        ENTRY,
        "in the component, for people",
        entries(type="STANDARD", accessPolicies={"x": {"policyArn": CLUSTER_ADMIN}}),
    ),
    accepted(
        ENTRY,
        "in the component, others",
        entries(
            type="STANDARD",
            principalArn="arn:aws:iam::1:role/people",
            accessPolicies={"x": {"policyArn": CLUSTER_ADMIN}},
        ),
    ),
    accepted(ENTRY, "an entry without type", drop("admin-entry", "type")),
    accepted(
        ENTRY, "nodes may view", admin_for(NODE), put("admin-association", "policyArn", "x/AmazonEKSAutoNodePolicy")
    ),
    accepted(ENTRY, "another group", put("node-entry", "kubernetesGroups", ["system:nodes"])),
    accepted(ENTRY, "a name that only ends alike", admin_for("arn:aws:iam::1:role/not-research-gpu-node")),
    accepted(
        ENTRY,
        "both are to come, from different roles",
        put("node-entry", "principalArn", "<unknown>"),
        put_head("node-entry", "propertyDependencies", {"principalArn": ["node-role"]}),
        admin_for("<unknown>"),
        put_head("admin-association", "propertyDependencies", {"principalArn": ["cluster-classic"]}),
    ),
    accepted(
        ENTRY,
        "both are to come, nobody knows from where",
        put("node-entry", "principalArn", "<unknown>"),
        admin_for("<unknown>"),
    ),
]
