"""The order of creation and destruction: what a NodePool's finalizers need outlives it.

Karpenter's finalizers drain nodes and terminate instances. Whatever they need (Karpenter itself, its permissions, the
network's way out) must be destroyed after the NodePool, else instances stay behind and are billed: issues 1134, 1268,
1955 and 5727 of aws/karpenter-provider-aws.
"""

import re
from collections.abc import Callable
from dataclasses import dataclass, replace

import pytest
from stackdata import problems_of

from offline import Recording, Resource
from offline.recording import in_dependency_order
from tests.helpers import MIG, SHARED, STACKS, config_of, recorded, run

NODE_POOL = "kubernetes:karpenter.sh/v1:NodePool"
NODE_CLASS = "kubernetes:karpenter.k8s.aws/v1:EC2NodeClass"
OVERLAY = "kubernetes:karpenter.sh/v1alpha1:NodeOverlay"
RELEASE = "kubernetes:helm.sh/v3:Release"
ATTACHMENT = "aws:iam/rolePolicyAttachment:RolePolicyAttachment"
DEPLOYMENT = "kubernetes:apps/v1:Deployment"
INSTANCE_STOP_MINUTES = 15
"""EC2 takes minutes to stop a large GPU instance; Karpenter's finalizer waits for it."""


@dataclass(frozen=True)
class Need:
    """What must outlive a NodePool: `find` picks it among all resources, for one NodePool."""

    name: str
    find: Callable[[Resource, Resource], bool]


def type_is(*tokens: str) -> Callable[[Resource, Resource], bool]:
    return lambda resource, _pool: resource.type in tokens


def named(token: str, *names: str) -> Callable[[Resource, Resource], bool]:
    return lambda resource, _pool: resource.type == token and resource.name in names


def below(token: str, component: str, prefix: str = "") -> Callable[[Resource, Resource], bool]:
    """Of one type, inside a component of this program."""
    return lambda resource, _pool: (
        resource.type == token
        and (resource.parent or "").split("::")[2:3] == [f"gpu-slicing:index:{component}"]
        and resource.name.startswith(prefix)
    )


def of_the_pool(token: str) -> Callable[[Resource, Resource], bool]:
    return lambda resource, pool: resource.type == token and resource.parent == pool.parent


IN_EVERY_CLUSTER = (
    Need("the release with Karpenter's CRDs", named(RELEASE, "karpenter-crd")),
    Need("Karpenter's release", named(RELEASE, "karpenter")),
    Need("Karpenter's Pod Identity association", type_is("aws:eks/podIdentityAssociation:PodIdentityAssociation")),
    Need("the controller's role", named("aws:iam/role:Role", "karpenter-controller")),
    Need("the controller's policies", below("aws:iam/policy:Policy", "Karpenter")),
    Need("their attachments, and the node role's", below(ATTACHMENT, "Karpenter")),
    Need("the node role", named("aws:iam/role:Role", "karpenter-node")),
    Need("the node role's access entry", named("aws:eks/accessEntry:AccessEntry", "karpenter-node")),
    Need("the interruption queue", type_is("aws:sqs/queue:Queue")),
    Need("the queue's policy", type_is("aws:sqs/queuePolicy:QueuePolicy")),
    Need("the event rules", type_is("aws:cloudwatch/eventRule:EventRule")),
    Need("the rules' targets", type_is("aws:cloudwatch/eventTarget:EventTarget")),
    Need("the pool's EC2NodeClass", of_the_pool(NODE_CLASS)),
    Need("the operator's ConfigMaps", below("kubernetes:core/v1:ConfigMap", "GpuOperator")),
    Need("the operator's release", named(RELEASE, "gpu-operator")),
    Need("the Kubernetes provider", type_is("pulumi:providers:kubernetes")),
)
IN_A_NEW_CLUSTER = (
    Need("the Pod Identity agent", named("aws:eks/addon:Addon", "cluster-eks-pod-identity-agent")),
    Need("CoreDNS", named("aws:eks/addon:Addon", "cluster-coredns")),
    Need("the system nodes", type_is("aws:eks/nodeGroup:NodeGroup")),
    Need("the system nodes' policies", below(ATTACHMENT, "Cluster", "cluster-system-")),
    Need("the cluster", type_is("eks:index:Cluster")),
    Need("the key of the cluster's secrets", type_is("aws:kms/key:Key")),
    Need("the NAT gateways", type_is("aws:ec2/natGateway:NatGateway")),
    Need("the routes", type_is("aws:ec2/route:Route")),
    Need("the subnets' route tables", type_is("aws:ec2/routeTableAssociation:RouteTableAssociation")),
    Need("the subnets", type_is("aws:ec2/subnet:Subnet")),
    Need("the internet gateway", type_is("aws:ec2/internetGateway:InternetGateway")),
    Need("the VPC", type_is("aws:ec2/vpc:Vpc")),
)
OVERLAYS = Need("the pool's overlays", of_the_pool(OVERLAY))


def needs_of(recording: Recording, pool: Resource) -> list[Need]:
    shared = any(OVERLAYS.find(r, pool) for r in recording.resources)
    return [*IN_EVERY_CLUSTER, *IN_A_NEW_CLUSTER, *([OVERLAYS] if shared else [])]


def faults(recording: Recording, needs: Callable[[Recording, Resource], list[Need]] = needs_of) -> list[str]:
    """What a NodePool needs and could lose before it is gone; an empty list for a sound graph."""
    found = []
    for pool in recording.by_type(NODE_POOL):
        outliving = recording.reachable(pool.urn)
        for need in needs(recording, pool):
            matches = [r for r in recording.resources if need.find(r, pool)]
            lost = sorted(r.name for r in matches if r.urn not in outliving)
            if lost or not matches:
                found.append(f"{pool.name}: {need.name}: {lost or 'not there at all'}")
    return found


def changed(recording: Recording, change: Callable[[Resource], Resource]) -> Recording:
    return replace(recording, resources=tuple(change(r) for r in recording.resources))


def without(resource: Resource, urns: frozenset[str]) -> Resource:
    """The resource without its edges to `urns`, of whatever kind."""
    return replace(
        resource,
        dependencies=resource.dependencies - urns,
        provider=None if resource.provider in urns else resource.provider,
        providers={key: urn for key, urn in resource.providers.items() if urn not in urns},
        parent=None if resource.parent in urns else resource.parent,
    )


@pytest.fixture(params=STACKS)
def recording(request) -> Recording:
    return recorded(request.param).recording


def test_everything_that_a_node_pools_finalizers_need_outlives_it(recording):
    assert recording.by_type(NODE_POOL)
    assert faults(recording) == []


def test_the_same_in_a_first_preview():
    """The graph that is created, not only the one of a second run."""
    assert faults(recorded("prod", unknowns=True).recording) == []


@pytest.fixture
def existing(tmp_path):
    """The `cluster` section for one that exists."""
    path = tmp_path / "kubeconfig"
    path.write_text(
        "apiVersion: v1\nkind: Config\ncurrent-context: a\n"
        "contexts: [{name: a, context: {cluster: a, user: a}}]\n"
        "clusters: [{name: a, cluster: {server: 'https://example.com'}}]\n"
        "users: [{name: a, user: {}}]\n",
        encoding="utf-8",
    )
    return {"mode": "existing", "name": "a", "kubeconfig": {"path": str(path)}}


def test_the_same_above_an_existing_cluster(existing):
    found = run(config_of({"cluster": existing, "pools": [SHARED, MIG]}))
    assert faults(found, lambda _recording, _pool: [*IN_EVERY_CLUSTER, OVERLAYS]) == []


@pytest.mark.parametrize("need", [*IN_EVERY_CLUSTER, *IN_A_NEW_CLUSTER, OVERLAYS], ids=lambda need: need.name)
def test_a_missing_edge_is_seen(need):
    """Each need in turn: with the edges to it removed, the test above fails, and says which it was."""
    sound = recorded("prod").recording
    (pool,) = [r for r in sound.by_type(NODE_POOL) if r.name == "a100-mig"]
    lost = frozenset(r.urn for r in sound.resources if need.find(r, pool))
    assert lost
    mutant = changed(sound, lambda resource: without(resource, lost))
    assert any(need.name in fault for fault in faults(mutant))


@pytest.mark.parametrize("need", [*IN_EVERY_CLUSTER, *IN_A_NEW_CLUSTER], ids=lambda need: need.name)
def test_a_missing_resource_is_seen(need):
    sound = recorded("prod").recording
    (pool,) = [r for r in sound.by_type(NODE_POOL) if r.name == "a100-mig"]
    kept = tuple(r for r in sound.resources if not need.find(r, pool))
    assert any(need.name in fault for fault in faults(replace(sound, resources=kept)))


@pytest.mark.parametrize(
    ("component", "lost"),
    [
        ("GpuPool", "Karpenter's release"),
        ("GpuPool", "the operator's ConfigMaps"),
        ("Karpenter", "the system nodes"),
        ("Cluster", "the routes"),
    ],
)
def test_a_component_that_waits_for_nothing_is_seen(component, lost):
    """The mutant that a forgotten `depends_on` in the program or in a component is."""
    token = f"gpu-slicing:index:{component}"

    def forget(resource: Resource) -> Resource:
        own = resource.type == token or (resource.parent or "").split("::")[2:3] == [token]
        siblings = frozenset(u for u in resource.dependencies if token in u.split("::")[2])
        return replace(resource, dependencies=siblings) if own else resource

    mutant = changed(recorded("prod").recording, forget)
    if component == "Karpenter":
        # The pools depend on the cluster by themselves too; Karpenter must as well, or it outlives its nodes.
        release = next(r for r in mutant.by_type(RELEASE) if r.name == "karpenter")
        (nodes,) = mutant.by_type("aws:eks/nodeGroup:NodeGroup")
        assert nodes.urn not in mutant.reachable(release.urn)
    else:
        assert any(lost in fault for fault in faults(mutant))


def test_karpenter_runs_until_the_last_pool_is_gone_and_can_do_its_work(recording):
    """Not only the pools: the controller itself needs nodes, DNS, identity and a way out as long as it lives."""
    release = next(r for r in recording.by_type(RELEASE) if r.name == "karpenter")
    outliving = recording.reachable(release.urn)
    for need in (*IN_A_NEW_CLUSTER, *IN_EVERY_CLUSTER[2:12]):
        matches = [r.urn for r in recording.resources if need.find(r, release)]
        assert matches, need.name
        assert set(matches) <= outliving, need.name


def test_the_graph_has_no_cycle(recording):
    assert in_dependency_order(recording.resources) == recording.resources


def test_a_cycle_would_be_seen(recording):
    first, last = recording.resources[0], recording.resources[-1]
    mutant = changed(recording, lambda r: replace(r, dependencies=r.dependencies | {last.urn}) if r is first else r)
    linked = changed(mutant, lambda r: replace(r, dependencies=r.dependencies | {first.urn}) if r is last else r)
    with pytest.raises(ValueError, match="wait for each other"):
        in_dependency_order(linked.resources)


def test_every_edge_leads_to_a_resource_of_the_program(recording):
    assert {urn for r in recording.resources for urn in r.needs} <= recording.by_urn.keys()


def test_overlays_and_configurations_come_before_their_node_pool(recording):
    """Else the first pods are planned with raw GPU counts, or the first node finds no configuration."""
    place = {r.urn: index for index, r in enumerate(recording.resources)}
    for pool in recording.by_type(NODE_POOL):
        before = [r for r in recording.by_type(OVERLAY) if r.parent == pool.parent]
        before += recording.by_type("kubernetes:core/v1:ConfigMap")
        assert all(place[r.urn] < place[pool.urn] for r in before)
        assert {r.urn for r in before} <= recording.reachable(pool.urn)


def test_workloads_wait_for_every_pool(recording):
    """And so are gone before a pool is: nothing then holds up its drain."""
    (workload,) = recording.by_type(DEPLOYMENT)
    assert {r.urn for r in recording.by_type(NODE_POOL)} <= recording.reachable(workload.urn)


def test_one_pool_does_not_wait_for_another():
    prod = recorded("prod").recording
    pools = prod.by_type(NODE_POOL)
    for pool in pools:
        assert not {other.urn for other in pools} & prod.reachable(pool.urn)


def minutes(duration: str) -> float:
    """Kubernetes' and Pulumi's durations, read here once more."""
    parts = re.findall(r"(\d+)([hms])", duration)
    assert "".join(n + u for n, u in parts) == duration
    return sum(int(n) * {"h": 60, "m": 1, "s": 1 / 60}[u] for n, u in parts)


def drained(recording: Recording) -> list[Resource]:
    return [*recording.by_type(NODE_POOL), *recording.by_type(NODE_CLASS)]


def test_a_delete_may_take_as_long_as_a_drain_and_a_stop(recording):
    grace = {
        r.name: minutes(r.inputs["spec"]["template"]["spec"]["terminationGracePeriod"])
        for r in recording.by_type(NODE_POOL)
    }
    for resource in drained(recording):
        allowed = minutes(resource.custom_timeouts["delete"])
        assert allowed >= grace[resource.name] + INSTANCE_STOP_MINUTES
        # Shorter than this and the engine's own limit would have been enough.
        assert allowed >= 30


@pytest.mark.parametrize("grace", ["1s", "59m59s", "90m", "24h"])
def test_the_timeout_follows_the_grace_period(grace):
    pool = {**SHARED, "disruption": {"terminationGracePeriod": grace}}
    for resource in drained(run(config_of({"pools": [pool]}))):
        assert minutes(resource.custom_timeouts["delete"]) >= minutes(grace) + INSTANCE_STOP_MINUTES


def shortcuts(recording: Recording) -> list[str]:
    """What would delete a resource, or let it be forgotten, without its finalizers having run."""
    found = []
    karpenter = [r for r in recording.by_type(RELEASE) if r.name.startswith("karpenter")]
    for resource in [*drained(recording), *recording.by_type(OVERLAY), *karpenter]:
        annotations = resource.inputs.get("metadata", {}).get("annotations", {})
        marks = {
            "deleted_with": resource.deleted_with,
            "retain_on_delete": resource.retain_on_delete,
            "delete_before_replace": resource.delete_before_replace,
            "annotations": [key for key in annotations if key.startswith("pulumi.com/")],
            "skipAwait": resource.inputs.get("skipAwait"),
        }
        found += [f"{resource.name}: {mark}" for mark, value in marks.items() if value]
    return found


def test_no_shortcut_around_the_finalizers(recording):
    assert shortcuts(recording) == []


@pytest.mark.parametrize(
    "mark",
    [
        {"deleted_with": "urn:cluster"},
        {"retain_on_delete": True},
        {"delete_before_replace": True},
        {"inputs": {"metadata": {"annotations": {"pulumi.com/deletionPropagationPolicy": "background"}}}},
        {"inputs": {"skipAwait": True}},
    ],
    ids=lambda mark: next(iter(mark)),
)
@pytest.mark.parametrize("token", [NODE_POOL, NODE_CLASS, RELEASE])
def test_a_shortcut_would_be_seen(mark, token):
    mutant = changed(recorded("dev").recording, lambda r: replace(r, **mark) if r.type == token else r)
    assert shortcuts(mutant)


def test_names_are_fixed(recording):
    """A generated name would make each replacement another NodePool, whose old one drains every node at once."""
    for resource in [*drained(recording), *recording.by_type(OVERLAY)]:
        assert resource.inputs["metadata"]["name"]
        assert "generateName" not in resource.inputs["metadata"]


def test_deletion_protection_is_in_the_engine_too():
    guarded = {NODE_POOL, "eks:index:Cluster", "aws:ec2/vpc:Vpc"}
    prod, dev = recorded("prod"), recorded("dev")
    assert prod.settings.cluster.deletion_protection
    assert not dev.settings.cluster.deletion_protection
    for token in guarded:
        assert all(r.protect for r in prod.recording.by_type(token)), token
        assert not any(r.protect for r in dev.recording.by_type(token)), token
    assert not any(r.protect for r in dev.recording.resources)


def test_a_tenants_namespace_is_protected_where_the_cluster_is():
    """Deleting it deletes the tenant's workloads, which are nothing of this program's."""
    tenants = {t.namespace for t in recorded("prod").settings.tenants}
    found = recorded("prod").recording.by_type("kubernetes:core/v1:Namespace")
    assert {r.name for r in found if r.protect} == tenants


def test_the_pools_of_an_existing_cluster_are_not_protected(existing):
    """Its settings refuse `deletionProtection`, so nobody could lift it."""
    found = run(config_of({"cluster": existing, "pools": [SHARED]}))
    assert not any(r.protect for r in found.resources)
    assert problems_of(config_of({"cluster": existing | {"deletionProtection": False}, "pools": [SHARED]}))
