"""What the sandbox applies, waits for and deletes, and in which order; the cluster is a list of what it was asked."""

import json

import pytest

from offline import UNKNOWN
from offline.recording import Recording, Resource
from sandbox import SandboxError, deploy
from sandbox.deploy import Key, apply, inventory, left_out, prune, remember, wait_available, waves
from sandbox.state import Sandbox

CLASS = {"apiVersion": "karpenter.k8s.aws/v1", "kind": "EC2NodeClass", "metadata": {"name": "t4"}}
OVERLAY = {"apiVersion": "karpenter.sh/v1alpha1", "kind": "NodeOverlay", "metadata": {"name": "t4-1gpu"}}
POOL = {"apiVersion": "karpenter.sh/v1", "kind": "NodePool", "metadata": {"name": "t4"}}
SPACE = {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "team"}}
QUOTA = {"apiVersion": "v1", "kind": "ResourceQuota", "metadata": {"name": "slices", "namespace": "team"}}
DEPLOYMENT = {
    "apiVersion": "apps/v1",
    "kind": "Deployment",
    "metadata": {"name": "proof", "namespace": "team"},
    "spec": {"replicas": 2},
}
OBJECTS = (SPACE, CLASS, OVERLAY, POOL, DEPLOYMENT, QUOTA)
READY = {"conditions": [{"type": "Ready", "status": "True"}]}


class FakeCluster:
    """Remembers every change in order; `found` is what it holds by (kind, name)."""

    def __init__(self, **status):
        self.asked = []
        self.found = {}
        self.status = {"EC2NodeClass": READY, "NodeOverlay": READY, "NodePool": READY, **status}
        self.refuse = None
        self.events = []

    def apply(self, manifest):
        kind, name = manifest["kind"], manifest["metadata"]["name"]
        if kind == self.refuse:
            raise SandboxError(f"the API server refused {kind} {name}")
        self.asked.append(f"apply {kind} {name}")
        metadata = {"generation": 1, **manifest["metadata"]}
        self.found[kind, name] = {**manifest, "metadata": metadata, "status": self.status.get(kind, {})}

    def get(self, api_version, kind, name, namespace=None):
        found = self.found.get((kind, name))
        if found and kind in deploy.READY_KINDS:
            self.asked.append(f"look at {kind} {name}")
        return found

    def delete(self, api_version, kind, name, namespace=None, *, propagation):
        self.asked.append(f"delete {kind} {name} {propagation}")
        self.found.pop((kind, name), None)

    def list(self, api_version, kind):
        if kind == "Event":
            return self.events
        return [found for (k, _), found in self.found.items() if k == kind]


@pytest.fixture
def sandbox(tmp_path):
    return Sandbox(tmp_path)


@pytest.fixture
def told():
    return []


def test_deployments_come_after_karpenter_has_accepted_its_objects(sandbox, told):
    cluster = FakeCluster()
    apply(sandbox, cluster, OBJECTS, told.append)
    assert cluster.asked == [
        "apply Namespace team",
        "apply EC2NodeClass t4",
        "apply NodeOverlay t4-1gpu",
        "apply NodePool t4",
        "apply ResourceQuota slices",
        "look at EC2NodeClass t4",
        "look at NodeOverlay t4-1gpu",
        "look at NodePool t4",
        "apply Deployment proof",
    ]
    assert told == ["Karpenter has accepted the pools", "applied 6 Kubernetes objects"]
    assert inventory(sandbox) == [Key.of(o) for o in OBJECTS]


def test_what_was_begun_is_known_after_a_cut_short_run(sandbox, tmp_path, told):
    cluster = FakeCluster()
    cluster.refuse = "NodePool"
    with pytest.raises(SandboxError, match="refused NodePool t4"):
        apply(sandbox, cluster, OBJECTS, told.append)
    assert "apply EC2NodeClass t4" in cluster.asked
    saved = json.loads((tmp_path / "state.json").read_text())["facts"][deploy.INVENTORY]
    assert [Key(*entry) for entry in saved] == [Key.of(o) for o in OBJECTS]


def test_what_karpenter_refuses_is_told_with_its_reason(sandbox, told, monkeypatch):
    monkeypatch.setattr(deploy, "_READY_SECONDS", 0)
    unmet = {"conditions": [{"type": "ValidationSucceeded", "status": "False", "message": "conflict with another"}]}
    cluster = FakeCluster(NodeOverlay=unmet)
    cluster.events = [
        {"type": "Warning", "involvedObject": {"kind": "NodePool"}, "message": "Failed resolving NodeClass"},
        {"type": "Normal", "involvedObject": {"kind": "Node"}, "message": "all is well"},
    ]
    with pytest.raises(SandboxError) as failed:
        apply(sandbox, cluster, OBJECTS, told.append)
    text = str(failed.value)
    assert "NodeOverlay t4-1gpu to be ready" in text
    assert "ValidationSucceeded=False conflict with another" in text
    assert "NodePool: Failed resolving NodeClass" in text
    assert "all is well" not in text


def test_surplus_goes_dependants_first_and_is_forgotten_when_it_is_gone(sandbox, told):
    cluster = FakeCluster()
    apply(sandbox, cluster, OBJECTS, told.append)
    apply(sandbox, cluster, (SPACE, QUOTA), told.append)
    assert set(inventory(sandbox)) == {Key.of(o) for o in OBJECTS}
    cluster.asked.clear()
    told.clear()
    prune(sandbox, cluster, (SPACE, QUOTA), told.append)
    assert cluster.asked == [
        "delete Deployment proof Foreground",
        "delete NodePool t4 Foreground",
        "delete NodeOverlay t4-1gpu Foreground",
        "delete EC2NodeClass t4 Foreground",
    ]
    assert told[0] == "deleting Deployment team/proof"
    assert inventory(sandbox) == [Key.of(SPACE), Key.of(QUOTA)]


def test_nothing_is_deleted_where_nothing_is_surplus(sandbox, told):
    cluster = FakeCluster()
    apply(sandbox, cluster, OBJECTS, told.append)
    cluster.asked.clear()
    prune(sandbox, cluster, OBJECTS, told.append)
    assert cluster.asked == []


def test_an_object_that_does_not_go_is_named(sandbox, told, monkeypatch):
    monkeypatch.setattr(deploy, "_DELETE_SECONDS", 0)
    cluster = FakeCluster()
    apply(sandbox, cluster, OBJECTS, told.append)
    cluster.delete = lambda *arguments, **options: True
    with pytest.raises(SandboxError, match="waited 0 s in vain for ResourceQuota team/slices to be gone"):
        prune(sandbox, cluster, (), told.append)
    assert Key.of(QUOTA) in inventory(sandbox)


def test_kinds_go_together_each_where_its_last_object_stood():
    def key(kind, name):
        return Key("v1", kind, "", name)

    order = [key(k, n) for k, n in (("Pool", "b"), ("Class", "b"), ("Space", "x"), ("Pool", "a"), ("Class", "a"))]
    together = [[str(k) for k in wave] for wave in waves([*order, key("Space", "y")])]
    assert together == [["Pool b", "Pool a"], ["Class b", "Class a"], ["Space x", "Space y"]]
    assert waves([]) == []


@pytest.mark.parametrize(
    ("status", "available"),
    [
        ({"observedGeneration": 1, "readyReplicas": 2, "updatedReplicas": 2}, True),
        ({"observedGeneration": 1, "readyReplicas": 1, "updatedReplicas": 2}, False),
        # Two pods are ready, but one of them is of the former template.
        ({"observedGeneration": 1, "readyReplicas": 2, "updatedReplicas": 1}, False),
        # The controller has not seen the newest template, so the numbers are of the former one.
        ({"observedGeneration": 0, "readyReplicas": 2, "updatedReplicas": 2}, False),
        ({}, False),
    ],
)
def test_a_deployment_is_available_when_all_pods_of_its_newest_template_are_ready(told, monkeypatch, status, available):
    monkeypatch.setattr(deploy, "_PODS_SECONDS", 0)
    cluster = FakeCluster(Deployment=status)
    cluster.apply(DEPLOYMENT)
    if available:
        wait_available(cluster, OBJECTS, told.append)
    else:
        with pytest.raises(SandboxError, match="Deployment team/proof to be ready"):
            wait_available(cluster, OBJECTS, told.append)
    assert told == ["waiting for Deployment team/proof: 2 pods"]


def test_what_is_left_out_is_counted_by_type():
    def resource(kind, name, custom=True):
        return Resource(f"urn::{name}", kind, name, None, {"kind": "x"}, custom=custom)

    recording = Recording(
        "gpu-slicing",
        "local",
        False,
        (
            resource("aws:iam/role:Role", "a"),
            resource("aws:iam/role:Role", "b"),
            resource("kubernetes:helm.sh/v3:Release", "operator"),
            # Applied, played by the simulated AWS, and no resources of anybody's account.
            resource("kubernetes:karpenter.sh/v1:NodePool", "pool"),
            resource("aws:ec2/vpc:Vpc", "vpc"),
            resource("pulumi:providers:aws", "provider"),
            resource("gpu-slicing:index:Network", "network", custom=False),
        ),
    )
    assert left_out(recording) == {"aws:iam/role:Role": 2, "kubernetes:helm.sh/v3:Release": 1}


def test_remembering_twice_keeps_one(sandbox):
    remember(sandbox, [Key.of(POOL), Key.of(SPACE), Key.of(POOL)])
    assert inventory(Sandbox.load(sandbox.directory)) == [Key.of(POOL), Key.of(SPACE)]


def test_an_object_with_an_unknown_value_is_refused():
    known = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "a", "namespace": "b"}, "data": {"c": "d"}}
    deploy.refuse_unknown([known])
    with pytest.raises(SandboxError, match="are part of ConfigMap b/a"):
        deploy.refuse_unknown([known, {**known, "data": {"c": UNKNOWN}}])
