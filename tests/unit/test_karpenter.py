"""Karpenter's permissions judged by a small IAM evaluator, its queue and events, and the component on recorded data."""

import fnmatch
import json
from collections.abc import Iterator

import pulumi
import pytest
from pulumi.provider.experimental.analyzer import Analyzer

from gpuslice import karpenter_iam as iam
from gpuslice.aws_policies import Account, dump
from gpuslice.catalog import versions
from gpuslice.karpenter_values import karpenter_values
from gpuslice.settings import Settings
from offline import Recording, record

ACCOUNT = Account("aws", "amazonaws.com", "123456789012", "us-east-1")
CLUSTER = "gpu-test"
NODE_ROLE = "gpu-test-us-east-1-gpu-node"
RELEASE = "kubernetes:helm.sh/v3:Release"
EC2 = "arn:aws:ec2:us-east-1:123456789012:"


# --- an evaluator of IAM policies: the parts of the language that these documents use ---


def _many(value) -> list:
    return value if isinstance(value, list) else [value]


def _holds(operator: str, key: str, wanted, context: dict) -> bool:
    wanted = [str(w) for w in _many(wanted)]
    if operator == "ForAllValues:StringEquals":
        return all(v in wanted for v in context.get(key, []))
    if operator == "StringEqualsIfExists":
        return key not in context or context[key] in wanted
    if key not in context:
        return False
    if operator in ("StringEquals", "Bool"):
        return context[key] in wanted
    if operator in ("StringLike", "ArnLike"):
        return any(fnmatch.fnmatchcase(context[key], w) for w in wanted)
    raise NotImplementedError(operator)


def _applies(statement: dict, action: str, resource: str, context: dict) -> bool:
    conditions = statement.get("Condition", {})
    return (
        any(fnmatch.fnmatchcase(action.lower(), a.lower()) for a in _many(statement["Action"]))
        and any(fnmatch.fnmatchcase(resource, r) for r in _many(statement["Resource"]))
        and all(_holds(op, key, value, context) for op, keys in conditions.items() for key, value in keys.items())
    )


def allowed(documents, action: str, resource: str, context: dict | None = None) -> bool:
    """IAM's verdict on one resource of a request: an explicit deny wins, then an allow, else no."""
    effects = {s["Effect"] for d in documents for s in d["Statement"] if _applies(s, action, resource, context or {})}
    return "Allow" in effects and "Deny" not in effects


POLICIES = list(iam.controller_policies(ACCOUNT, CLUSTER, NODE_ROLE).values())


def tags(where: str) -> dict[str, str]:
    """The tags that Karpenter puts on what it makes, as condition keys."""
    all_tags = {
        f"kubernetes.io/cluster/{CLUSTER}": "owned",
        "eks:eks-cluster-name": CLUSTER,
        "karpenter.sh/nodepool": "t4",
        "karpenter.k8s.aws/ec2nodeclass": "t4",
        "topology.kubernetes.io/region": "us-east-1",
    }
    return {f"aws:{where}Tag/{k}": v for k, v in all_tags.items()}


def foreign(own: dict[str, str]) -> dict[str, str]:
    return {k.replace(CLUSTER, "other"): v.replace(CLUSTER, "other") for k, v in own.items()}


def without(tag: str, own: dict[str, str]) -> dict[str, str]:
    return {k: v for k, v in own.items() if not k.endswith(tag)}


def adding(*keys: str) -> dict[str, list[str]]:
    return {"aws:TagKeys": list(keys)}


MINE, WANTED = tags("Resource"), tags("Request")
IAM, QUEUES = "arn:aws:iam::123456789012:", "arn:aws:sqs:us-east-1:123456789012:"
CLUSTERS, PARAMETERS = "arn:aws:eks:us-east-1:123456789012:cluster/", "arn:aws:ssm:us-east-1:"
INSTANCE, TEMPLATE, PROFILE = f"{EC2}instance/i-1", f"{EC2}launch-template/lt-1", f"{IAM}instance-profile/x"
ROLE = f"{IAM}role/{NODE_ROLE}"
CREATING = {"ec2:CreateAction": "RunInstances"}
TO_EC2, TO_LAMBDA = ({"iam:PassedToService": f"{s}.amazonaws.com"} for s in ("ec2", "lambda"))
HERE, THERE = ({"aws:RequestedRegion": r} for r in ("us-east-1", "eu-west-1"))
OTHER_NAME = {"aws:RequestTag/eks:eks-cluster-name": "other"}
OTHER_REGION = {"aws:ResourceTag/topology.kubernetes.io/region": "eu-west-1"}

CASES = [
    ("terminate its own node", True, "ec2:TerminateInstances", INSTANCE, MINE),
    ("terminate another cluster's node", False, "ec2:TerminateInstances", INSTANCE, foreign(MINE)),
    ("terminate a system node", False, "ec2:TerminateInstances", INSTANCE, without("nodepool", MINE)),
    ("terminate an untagged instance", False, "ec2:TerminateInstances", INSTANCE, {}),
    ("terminate in another region", False, "ec2:TerminateInstances", INSTANCE.replace("us-east", "us-west"), MINE),
    ("stop its own node", False, "ec2:StopInstances", INSTANCE, MINE),
    ("delete its own launch template", True, "ec2:DeleteLaunchTemplate", TEMPLATE, MINE),
    ("delete another cluster's template", False, "ec2:DeleteLaunchTemplate", TEMPLATE, foreign(MINE)),
    ("launch an instance", True, "ec2:RunInstances", INSTANCE, WANTED),
    ("launch for another cluster", False, "ec2:RunInstances", INSTANCE, foreign(WANTED)),
    ("launch outside a nodepool", False, "ec2:RunInstances", INSTANCE, without("nodepool", WANTED)),
    ("launch under another cluster's name", False, "ec2:CreateFleet", INSTANCE, WANTED | OTHER_NAME),
    ("make an untagged launch template", False, "ec2:CreateLaunchTemplate", TEMPLATE, {}),
    ("launch from a public image", True, "ec2:RunInstances", "arn:aws:ec2:us-east-1::image/ami-1", {}),
    ("launch from its own template", True, "ec2:CreateFleet", TEMPLATE, MINE),
    ("launch from a foreign template", False, "ec2:CreateFleet", TEMPLATE, foreign(MINE)),
    ("launch into a reservation", True, "ec2:RunInstances", f"{EC2}capacity-reservation/cr-1", {}),
    ("tag while launching", True, "ec2:CreateTags", INSTANCE, WANTED | CREATING),
    ("tag a foreign instance", False, "ec2:CreateTags", INSTANCE, foreign(MINE) | adding("Name")),
    ("adopt a foreign instance by its tags", False, "ec2:CreateTags", INSTANCE, foreign(MINE) | WANTED),
    ("name its own node", True, "ec2:CreateTags", INSTANCE, MINE | adding("Name")),
    ("move a node to another nodepool", False, "ec2:CreateTags", INSTANCE, MINE | adding("karpenter.sh/nodepool")),
    ("pass the node role to EC2", True, "iam:PassRole", ROLE, TO_EC2),
    ("pass the node role to Lambda", False, "iam:PassRole", ROLE, TO_LAMBDA),
    ("pass an administrator's role", False, "iam:PassRole", f"{IAM}role/admin", TO_EC2),
    ("make an instance profile", True, "iam:CreateInstanceProfile", PROFILE, WANTED),
    ("make an untagged instance profile", False, "iam:CreateInstanceProfile", PROFILE, {}),
    ("put a role into its own profile", True, "iam:AddRoleToInstanceProfile", PROFILE, MINE),
    ("put a role into a foreign profile", False, "iam:AddRoleToInstanceProfile", PROFILE, foreign(MINE)),
    ("delete a profile of another region", False, "iam:DeleteInstanceProfile", PROFILE, MINE | OTHER_REGION),
    ("take over a foreign profile by tags", False, "iam:TagInstanceProfile", PROFILE, foreign(MINE) | WANTED),
    ("make a role", False, "iam:CreateRole", f"{IAM}role/x", {}),
    ("read its queue", True, "sqs:ReceiveMessage", QUEUES + CLUSTER, {}),
    ("read another queue", False, "sqs:ReceiveMessage", QUEUES + "other", {}),
    ("write to its queue", False, "sqs:SendMessage", QUEUES + CLUSTER, {}),
    ("describe its cluster", True, "eks:DescribeCluster", CLUSTERS + CLUSTER, {}),
    ("describe another cluster", False, "eks:DescribeCluster", CLUSTERS + "other", {}),
    ("look around its region", True, "ec2:DescribeInstanceTypes", "*", HERE),
    ("look around another region", False, "ec2:DescribeInstanceTypes", "*", THERE),
    ("find an AMI", True, "ssm:GetParameter", PARAMETERS + ":parameter/aws/service/eks/optimized-ami/x", {}),
    ("read a secret parameter", False, "ssm:GetParameter", PARAMETERS + "123456789012:parameter/password", {}),
    ("ask a price", True, "pricing:GetProducts", "*", {}),
]


@pytest.mark.parametrize(("what", "may", "action", "resource", "context"), CASES, ids=[c[0] for c in CASES])
def test_karpenter_may(what, may, action, resource, context):
    assert allowed(POLICIES, action, resource, context) is may


def test_nothing_is_allowed_by_a_wildcard():
    for document in POLICIES:
        for statement in document["Statement"]:
            assert statement["Effect"] == "Allow"
            assert not [a for a in _many(statement["Action"]) if "*" in a]
            if statement["Resource"] == "*":
                reads = ("ec2:Describe", "pricing:Get", "iam:List", "arc-zonal-shift:Get")
                assert all(a.startswith(reads) for a in _many(statement["Action"])), statement["Sid"]


@pytest.mark.parametrize("region", ["us-east-1", "us-gov-west-1", "cn-northwest-1"])
def test_the_longest_names_fit_into_a_managed_policy(region):
    account = Account("aws-us-gov", "amazonaws.com", "123456789012", region)
    documents = iam.controller_policies(account, "c" * 40, "r" * 64)
    assert tuple(documents) == iam.CONTROLLER_POLICIES
    assert all(len(dump(d)) <= iam.POLICY_LIMIT for d in documents.values())
    sids = [s["Sid"] for d in documents.values() for s in d["Statement"]]
    assert len(sids) == len(set(sids)) == 18
    assert not any("arn:aws:" in dump(d) for d in documents.values())


def test_the_controllers_role_is_for_one_service_account_of_one_cluster():
    (statement,) = iam.controller_trust(ACCOUNT, CLUSTER, "kube-system", "karpenter")["Statement"]
    assert statement["Principal"] == {"Service": "pods.eks.amazonaws.com"}
    assert set(statement["Action"]) == {"sts:AssumeRole", "sts:TagSession"}
    session = {
        "aws:SourceAccount": "123456789012",
        "aws:RequestTag/eks-cluster-arn": "arn:aws:eks:us-east-1:123456789012:cluster/gpu-test",
        "aws:RequestTag/kubernetes-namespace": "kube-system",
        "aws:RequestTag/kubernetes-service-account": "karpenter",
    }
    trust = [{"Statement": [statement | {"Resource": "*"}]}]
    assert allowed(trust, "sts:AssumeRole", "role", session)
    for key in session:
        assert not allowed(trust, "sts:AssumeRole", "role", session | {key: "another"}), key
        assert not allowed(trust, "sts:AssumeRole", "role", {k: v for k, v in session.items() if k != key}), key


def test_the_queue_takes_events_over_tls_alone():
    arn = "arn:aws:sqs:us-east-1:123456789012:gpu-test"
    policy = iam.queue_policy(arn)
    allow, deny = policy["Statement"]
    assert allow["Principal"] == {"Service": ["events.amazonaws.com", "sqs.amazonaws.com"]}
    assert allow["Action"] == "sqs:SendMessage"
    assert (deny["Effect"], deny["Principal"]) == ("Deny", "*")
    assert allowed([policy], "sqs:SendMessage", arn, {"aws:SecureTransport": "true"})
    for action in ("sqs:SendMessage", "sqs:ReceiveMessage"):
        assert not allowed([policy], action, arn, {"aws:SecureTransport": "false"})
    assert not allowed([policy], "sqs:ReceiveMessage", arn, {"aws:SecureTransport": "true"})


# --- events ---


def matches(pattern: dict, event: dict) -> bool:
    """EventBridge: each field of the pattern lists the values that the event's field may have."""
    return all(event.get(field) in values for field, values in pattern.items())


# As EventBridge sends them (Amazon EC2 and AWS Health user guides), cut to the fields that a pattern can name.
EVENTS = {
    "scheduled-change": {"source": "aws.health", "detail-type": "AWS Health Event", "detail": {"service": "EC2"}},
    "spot-interruption": {
        "source": "aws.ec2",
        "detail-type": "EC2 Spot Instance Interruption Warning",
        "detail": {"instance-id": "i-1", "instance-action": "terminate"},
    },
    "rebalance": {
        "source": "aws.ec2",
        "detail-type": "EC2 Instance Rebalance Recommendation",
        "detail": {"instance-id": "i-1"},
    },
    "instance-state-change": {
        "source": "aws.ec2",
        "detail-type": "EC2 Instance State-change Notification",
        "detail": {"instance-id": "i-1", "state": "stopping"},
    },
    "capacity-reservation-interruption": {
        "source": "aws.ec2",
        "detail-type": "EC2 Capacity Reservation Instance Interruption Warning",
        "detail": {"instance-id": "i-1"},
    },
}


@pytest.mark.parametrize("rule", EVENTS)
def test_each_interruption_matches_its_rule_and_no_other(rule):
    patterns = iam.event_patterns()
    assert set(patterns) == set(EVENTS)
    assert [name for name, pattern in patterns.items() if matches(pattern, EVENTS[rule])] == [rule]


@pytest.mark.parametrize(
    "event",
    [
        {"source": "aws.ec2", "detail-type": "EBS Volume Notification"},
        {"source": "aws.autoscaling", "detail-type": "EC2 Instance Launch Successful"},
        {"source": "made.up", "detail-type": "EC2 Spot Instance Interruption Warning"},
    ],
)
def test_other_events_stay_away(event):
    assert not any(matches(pattern, event) for pattern in iam.event_patterns().values())


# --- the component ---


def settings(region="us-east-1", karpenter=None, monitoring=None, **cluster):
    values = {
        "stack": "test",
        "region": region,
        "cluster": {"name": CLUSTER, **cluster},
        "karpenter": karpenter or {},
        "monitoring": {"enabled": monitoring if monitoring is not None else True},
        "pools": (),
    }
    return Settings.model_validate(values, by_alias=True, by_name=True)


def run(chosen: Settings, *, preview: bool = False) -> Recording:
    """The platform, and a NodePool that depends on it as the program's do."""

    def program():
        import pulumi_kubernetes as k8s

        from components.karpenter import Karpenter, KarpenterArgs
        from components.kubernetes_cluster import kubernetes_provider
        from components.stack_cluster import stack_cluster

        cluster = stack_cluster(chosen)
        provider = kubernetes_provider("kubernetes", cluster)
        karpenter = Karpenter(
            "karpenter",
            KarpenterArgs.of(chosen, cluster.endpoint),
            pulumi.ResourceOptions(depends_on=cluster.ready, providers=[provider]),
        )
        k8s.apiextensions.CustomResource(
            "pool",
            api_version="karpenter.sh/v1",
            kind="NodePool",
            metadata={"name": "pool"},
            opts=pulumi.ResourceOptions(depends_on=karpenter.ready, provider=provider),
        )
        pulumi.export("nodeRole", karpenter.node_role_name)
        pulumi.export("queue", karpenter.queue_name)

    return record(program, project="p", stack="s", config={"aws:region": chosen.region}, preview=preview)


@pytest.fixture(scope="module")
def karpenter() -> Recording:
    return run(settings())


def of_karpenter(recording: Recording) -> Iterator:
    return (r for r in recording.resources if "gpu-slicing:index:Karpenter" in r.urn)


def one(recording: Recording, token: str, name: str):
    (found,) = [r for r in recording.by_type(token) if r.name == name]
    return found


def test_node_pools_go_before_everything_that_their_finalizers_need(karpenter):
    (pool,) = karpenter.by_type("kubernetes:karpenter.sh/v1:NodePool")
    needed = karpenter.reachable(pool.urn)
    wanted = {r.urn for r in of_karpenter(karpenter)}
    wanted |= {r.urn for r in karpenter.resources if r.type.startswith(("aws:eks/", "eks:"))}
    egress = (":NatGateway", ":Route", ":InternetGateway", ":RouteTableAssociation")
    wanted |= {r.urn for r in karpenter.resources if r.type.endswith(egress)}
    assert wanted - needed == set()
    kinds = {urn.rpartition("::")[0].rpartition(":")[2] for urn in wanted}
    assert {
        "Release",
        "PodIdentityAssociation",
        "RolePolicyAttachment",
        "AccessEntry",
        "QueuePolicy",
        "EventTarget",
    } <= kinds
    assert {"Addon", "NodeGroup", "NatGateway"} <= kinds


def test_the_controller_starts_with_its_permissions_and_stops_before_they_go(karpenter):
    release = one(karpenter, RELEASE, "karpenter")
    needed = karpenter.reachable(release.urn)
    assert {r.urn for r in of_karpenter(karpenter)} - {release.urn} <= needed
    assert {r.urn for r in karpenter.by_type("aws:eks/addon:Addon")} <= needed
    assert {r.urn for r in karpenter.by_type("aws:eks/nodeGroup:NodeGroup")} <= needed
    for resource in (release, one(karpenter, RELEASE, "karpenter-crd")):
        # Its own edge, not one by way of the component that happens to be its parent.
        assert {r.urn for r in karpenter.by_type("aws:eks/nodeGroup:NodeGroup")} <= resource.dependencies


def test_nothing_of_karpenter_is_skipped_at_destroy(karpenter):
    assert not [r.urn for r in of_karpenter(karpenter) if r.retain_on_delete or r.deleted_with]
    for release in karpenter.by_type(RELEASE):
        assert release.custom_timeouts["delete"]


def test_both_charts_are_of_one_version_and_fail_cleanly(karpenter):
    crds, main = one(karpenter, RELEASE, "karpenter-crd").inputs, one(karpenter, RELEASE, "karpenter").inputs
    assert crds["version"] == main["version"] == versions.KARPENTER
    assert (crds["chart"], main["chart"]) == (versions.KARPENTER_CRD_CHART, versions.KARPENTER_CHART)
    assert main["skipCrds"] is True
    for release in (crds, main):
        assert release["namespace"] == "kube-system"
        assert release["atomic"] is True
        assert release["cleanupOnFail"] is True
        assert release["timeout"] >= 300
    assert crds["name"] == "karpenter-crd"
    assert main["name"] == "karpenter"


def test_the_chart_is_told_about_the_cluster(karpenter):
    values = one(karpenter, RELEASE, "karpenter").inputs["values"]
    assert values["settings"]["clusterName"] == CLUSTER
    assert values["settings"]["clusterEndpoint"].startswith("https://")
    assert values["settings"]["interruptionQueue"] == karpenter.by_type("aws:sqs/queue:Queue")[0].inputs["name"]
    assert values["settings"]["featureGates"]["nodeOverlay"] is True
    assert values["controller"]["env"] == [{"name": "AWS_REGION", "value": "us-east-1"}]
    assert values["replicas"] == 2
    association = karpenter.by_type("aws:eks/podIdentityAssociation:PodIdentityAssociation")[0].inputs
    assert association["serviceAccount"] == values["serviceAccount"]["name"] == "karpenter"
    assert association["namespace"] == "kube-system"


def test_the_node_role_is_the_one_that_manifests_name(karpenter):
    from gpuslice.manifests.karpenter import node_role_name

    role = one(karpenter, "aws:iam/role:Role", "karpenter-node")
    assert role.inputs["name"] == karpenter.outputs["nodeRole"] == node_role_name(settings()) == NODE_ROLE
    (entry,) = karpenter.by_type("aws:eks/accessEntry:AccessEntry")
    assert entry.inputs["type"] == "EC2_LINUX"
    assert entry.inputs["principalArn"] == role.outputs["arn"]
    attached = {
        a.inputs["policyArn"].rpartition("/")[2]
        for a in karpenter.by_type("aws:iam/rolePolicyAttachment:RolePolicyAttachment")
        if a.inputs["role"] == NODE_ROLE
    }
    assert attached == {
        "AmazonEKSWorkerNodePolicy",
        "AmazonEKS_CNI_Policy",
        "AmazonEC2ContainerRegistryPullOnly",
        "AmazonSSMManagedInstanceCore",
    }
    passing = json.loads(one(karpenter, "aws:iam/policy:Policy", "karpenter-iam-integration").inputs["policy"])
    assert passing["Statement"][0]["Resource"] == role.outputs["arn"]


def test_the_controller_has_exactly_the_six_policies(karpenter):
    role = one(karpenter, "aws:iam/role:Role", "karpenter-controller")
    attached = [
        a.inputs["policyArn"]
        for a in karpenter.by_type("aws:iam/rolePolicyAttachment:RolePolicyAttachment")
        if a.inputs["role"] == role.id
    ]
    documents = {p.outputs["arn"]: json.loads(p.inputs["policy"]) for p in karpenter.by_type("aws:iam/policy:Policy")}
    assert sorted(attached) == sorted(documents)
    expected = iam.controller_policies(ACCOUNT, CLUSTER, NODE_ROLE)
    assert {p.name: json.loads(p.inputs["policy"]) for p in karpenter.by_type("aws:iam/policy:Policy")} == {
        f"karpenter-{name}": document for name, document in expected.items()
    }
    assert json.loads(role.inputs["assumeRolePolicy"]) == iam.controller_trust(
        ACCOUNT, CLUSTER, "kube-system", "karpenter"
    )


def test_the_queue_is_encrypted_short_lived_and_fed_by_five_rules(karpenter):
    (queue,) = karpenter.by_type("aws:sqs/queue:Queue")
    assert queue.inputs["name"] == CLUSTER
    assert queue.inputs["sqsManagedSseEnabled"] is True
    assert queue.inputs["messageRetentionSeconds"] == 300
    (policy,) = karpenter.by_type("aws:sqs/queuePolicy:QueuePolicy")
    assert json.loads(policy.inputs["policy"]) == iam.queue_policy(queue.outputs["arn"])
    rules = {
        r.id: json.loads(r.inputs["eventPattern"]) for r in karpenter.by_type("aws:cloudwatch/eventRule:EventRule")
    }
    targets = karpenter.by_type("aws:cloudwatch/eventTarget:EventTarget")
    assert {t.inputs["rule"] for t in targets} == set(rules)
    assert {t.inputs["arn"] for t in targets} == {queue.outputs["arn"]}
    assert sorted(map(str, rules.values())) == sorted(map(str, iam.event_patterns().values()))
    assert len(rules) == 5


def test_documents_are_readable_in_a_preview(karpenter):
    preview = run(settings(), preview=True)
    assert {r.urn for r in preview.resources} == {r.urn for r in karpenter.resources}
    for token in ("aws:iam/policy:Policy", "aws:sqs/queuePolicy:QueuePolicy", "aws:cloudwatch/eventRule:EventRule"):
        for resource in preview.by_type(token):
            text = resource.inputs.get("policy") or resource.inputs["eventPattern"]
            assert isinstance(text, str), f"{resource.urn} hides its document from the reviewer of a preview"


@pytest.mark.parametrize(
    ("change", "read", "expected"),
    [
        ({"karpenter": {"version": "1.14.2"}}, lambda r: {x.inputs["version"] for x in r.by_type(RELEASE)}, {"1.14.2"}),
        ({"monitoring": False}, lambda r: "serviceMonitor" in one(r, RELEASE, "karpenter").inputs["values"], False),
        ({"name": "other"}, lambda r: r.outputs["nodeRole"], "other-us-east-1-gpu-node"),
        ({"region": "eu-west-1"}, lambda r: r.outputs["nodeRole"], "gpu-test-eu-west-1-gpu-node"),
        ({"name": "other"}, lambda r: r.outputs["queue"], "other"),
    ],
)
def test_every_setting_of_karpenter_reaches_a_resource(karpenter, change, read, expected):
    assert read(karpenter) != expected
    assert read(run(settings(**change))) == expected


def test_an_installed_karpenter_is_left_alone(tmp_path):
    config = {
        "kind": "Config",
        "current-context": "c",
        "contexts": [{"name": "c", "context": {"cluster": "k", "user": "u"}}],
        "clusters": [{"name": "k", "cluster": {"server": "https://x"}}],
        "users": [{"name": "u", "user": {}}],
    }
    (tmp_path / "config").write_text(json.dumps(config))
    chosen = settings(
        karpenter={"install": False, "nodeRole": "theirs"},
        mode="existing",
        kubeconfig={"path": str(tmp_path / "config")},
    )
    recording = run(chosen)
    assert recording.outputs["nodeRole"] == "theirs"
    assert recording.outputs.get("queue") is None
    assert [r.type for r in of_karpenter(recording)] == ["gpu-slicing:index:Karpenter"]
    installed = run(settings(mode="existing", kubeconfig={"path": str(tmp_path / "config")}))
    assert len(installed.by_type(RELEASE)) == 2, "an existing cluster may get Karpenter from this program"


def test_the_service_monitor_is_asked_for_with_monitoring_only():
    def values(monitoring):
        return karpenter_values(
            cluster_name="c", cluster_endpoint="e", queue_name="q", region="r", monitoring=monitoring
        )

    assert values(True)["serviceMonitor"] == {"enabled": True}
    assert "serviceMonitor" not in values(False)


def test_components_can_be_published():
    from components.cluster import Cluster
    from components.encryption import ClusterKey
    from components.existing_cluster import ExistingCluster
    from components.karpenter import Karpenter
    from components.network import Network

    components = [ClusterKey, Network, Cluster, ExistingCluster, Karpenter]
    found = Analyzer("gpu").analyze(components)["component_definitions"]
    assert set(found) == {c.__name__ for c in components}
    assert set(found["Karpenter"].outputs) == {"nodeRoleName", "queueName"}
    assert set(found["Cluster"].outputs) >= {"name", "endpoint", "kubeconfig", "securityGroupId"}
    assert found["ExistingCluster"].inputs["endpoint"].optional
