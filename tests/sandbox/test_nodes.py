"""The whole scaling loop with hand-written manifests: pods, the real Karpenter, simulated machines, slices."""

from __future__ import annotations

import uuid
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import pytest
import yaml

from sandbox import account, world
from sandbox.account import CapacityReservation, GpuStack, SecurityGroup, SeedRequest, Simulator, Subnet
from sandbox.client import Cluster
from sandbox.nodes import MIG_STATE_LABEL, PLUGIN_ERROR
from sandbox.processes import terminate, wait_for
from sandbox.state import Progress, Sandbox

pytestmark = pytest.mark.sandbox

SECONDS = 90
CLAIMS = ("karpenter.sh/v1", "NodeClaim")
DISCOVERY = {"karpenter.sh/discovery": "sandbox"}
REQUEST = SeedRequest(
    cluster_name="sandbox",
    kubernetes_version="1.35",
    region="us-east-1",
    vpc_cidr="10.40.0.0/16",
    subnets=tuple(
        Subnet(cidr=f"10.40.{16 * i}.0/20", zone=f"us-east-1{zone}", tags=DISCOVERY) for i, zone in enumerate("abc")
    ),
    security_groups=(SecurityGroup(name="nodes", tags=DISCOVERY),),
    node_role_name="node-role",
    queue_name="interruptions",
    ami_aliases=("al2023@v20260915", "bottlerocket@v1.50.0"),
    capacity_reservations=(
        CapacityReservation(id="cr-0123456789abcdef0", instance_type="p4d.24xlarge", zone="us-east-1b", count=1),
    ),
    gpu_stack=GpuStack(
        plugin_config_map="time-slicing-config-fine",
        plugin_default="exclusive",
        mig_config_map="mig-layouts",
        mig_strategy="mixed",
    ),
)
BOTTLEROCKET = """
[settings.kubelet-device-plugins.nvidia]
device-sharing-strategy = "time-slicing"
[settings.kubelet-device-plugins.nvidia.time-slicing]
replicas = 3
rename-by-default = true
"""


@dataclass
class Pool:
    """One NodePool with what belongs to it, and pods that only it takes."""

    cluster: Cluster
    simulator: Simulator
    name: str

    def node_class(self, alias: str = "al2023@v20260915", **spec: Any) -> None:
        self.cluster.apply(
            {
                "apiVersion": "karpenter.k8s.aws/v1",
                "kind": "EC2NodeClass",
                "metadata": {"name": self.name},
                "spec": {
                    "role": REQUEST.node_role_name,
                    "amiSelectorTerms": [{"alias": alias}],
                    "subnetSelectorTerms": [{"tags": DISCOVERY}],
                    "securityGroupSelectorTerms": [
                        {"tags": DISCOVERY},
                        {"tags": {"aws:eks:cluster-name": REQUEST.cluster_name}},
                    ],
                    **spec,
                },
            }
        )

    def overlay(self, instance_type: str, capacity: Mapping[str, str]) -> None:
        requirements = [
            {"key": "karpenter.sh/nodepool", "operator": "In", "values": [self.name]},
            {"key": "node.kubernetes.io/instance-type", "operator": "In", "values": [instance_type]},
        ]
        self.cluster.apply(
            {
                "apiVersion": "karpenter.sh/v1alpha1",
                "kind": "NodeOverlay",
                "metadata": {"name": self.name},
                "spec": {"requirements": requirements, "capacity": dict(capacity)},
            }
        )

    def node_pool(
        self,
        *instance_types: str,
        labels: Mapping[str, str] | None = None,
        capacity_types: tuple[str, ...] = ("on-demand",),
    ) -> None:
        requirements = [
            {"key": "node.kubernetes.io/instance-type", "operator": "In", "values": list(instance_types)},
            {"key": "karpenter.sh/capacity-type", "operator": "In", "values": list(capacity_types)},
        ]
        template = {
            "expireAfter": "720h",
            "nodeClassRef": {"group": "karpenter.k8s.aws", "kind": "EC2NodeClass", "name": self.name},
            "taints": [{"key": "nvidia.com/gpu", "value": "true", "effect": "NoSchedule"}],
            "requirements": requirements,
        }
        self.cluster.apply(
            {
                "apiVersion": "karpenter.sh/v1",
                "kind": "NodePool",
                "metadata": {"name": self.name},
                "spec": {
                    "limits": {"nodes": "6"},
                    "disruption": {"consolidationPolicy": "WhenEmpty", "consolidateAfter": "10m"},
                    "template": {
                        "metadata": {"labels": {"gpu-slicing.io/pool": self.name, **(labels or {})}},
                        "spec": template,
                    },
                },
            }
        )

    def pods(self, replicas: int, resource: str, app: str | None = None) -> None:
        app = app or self.name
        container = {"name": "main", "image": "none", "resources": {"limits": {resource: "1"}}}
        spec = {
            "nodeSelector": {"gpu-slicing.io/pool": self.name},
            "containers": [container],
            "tolerations": [{"operator": "Exists", "effect": "NoSchedule"}],
        }
        template = {"metadata": {"labels": {"app": app}}, "spec": spec}
        self.cluster.apply(
            {
                "apiVersion": "apps/v1",
                "kind": "Deployment",
                "metadata": {"name": app, "namespace": "default"},
                "spec": {
                    "replicas": replicas,
                    "selector": {"matchLabels": {"app": app}},
                    "template": template,
                },
            }
        )

    def running(self, app: str | None = None) -> int:
        pods = self.cluster.list("v1", "Pod", "default", f"app={app or self.name}")
        return sum(pod["status"].get("phase") == "Running" for pod in pods)

    def await_running(self, count: int, app: str | None = None) -> None:
        wait_for(lambda: self.running(app) == count, SECONDS, f"{count} pods of {app or self.name} to run")

    def nodes(self) -> list[dict[str, Any]]:
        return self.cluster.list("v1", "Node", label_selector=f"gpu-slicing.io/pool={self.name}")

    def claims(self) -> list[dict[str, Any]]:
        return self.cluster.list(*CLAIMS, label_selector=f"karpenter.sh/nodepool={self.name}")

    def initialized(self) -> list[bool]:
        return [
            any(c["type"] == "Initialized" and c["status"] == "True" for c in claim["status"].get("conditions", []))
            for claim in self.claims()
        ]

    def instances(self, state: str = "running") -> list[dict[str, Any]]:
        return [
            instance
            for instance in self.simulator.instances()
            if instance["tags"].get("karpenter.sh/nodepool") == self.name and instance["state"] == state
        ]

    def gpus(self) -> list[dict[str, str]]:
        """The NVIDIA resources of each node, without those that are zero."""
        return [
            {
                name: count
                for name, count in node["status"]["allocatable"].items()
                if name.startswith("nvidia.com/") and count != "0"
            }
            for node in self.nodes()
        ]

    def delete(self) -> None:
        for deployment in self.cluster.list("apps/v1", "Deployment", "default"):
            name = deployment["metadata"]["name"]
            if name.startswith(self.name):
                self.cluster.delete("apps/v1", "Deployment", name, "default")
        self.cluster.delete("karpenter.sh/v1", "NodePool", self.name)
        self.cluster.delete("karpenter.sh/v1alpha1", "NodeOverlay", self.name)
        self.cluster.delete("karpenter.k8s.aws/v1", "EC2NodeClass", self.name)


@pytest.fixture(scope="module")
def simulator(control_plane: Sandbox, cluster: Cluster, progress: Progress) -> Iterator[Simulator]:
    running = account.start(control_plane)
    running.seed(REQUEST)
    cluster.apply({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "gpu-operator"}})
    sharing = {"renameByDefault": True, "resources": [{"name": "nvidia.com/gpu", "replicas": 5}]}
    layout = {"devices": "all", "mig-enabled": True, "mig-devices": {"1g.5gb": 3, "2g.10gb": 2}}
    _config_map(
        cluster,
        "time-slicing-config-fine",
        {
            "exclusive": {"version": "v1"},
            "time-slicing-5": {"version": "v1", "sharing": {"timeSlicing": sharing}},
        },
    )
    _config_map(cluster, "mig-layouts", {"config.yaml": {"version": "v1", "mig-configs": {"a100": [layout]}}})
    world.start_karpenter(control_plane, REQUEST, progress)
    yield running
    # Without Karpenter nothing would ever end the finalizers of what is left.
    wait_for(lambda: not cluster.list(*CLAIMS), SECONDS, "the last nodes to go")
    for name in (world.KARPENTER, account.SIMULATOR):
        terminate(control_plane.processes.pop(name))


def _config_map(cluster: Cluster, name: str, data: Mapping[str, Any]) -> None:
    text = {key: yaml.safe_dump(value) for key, value in data.items()}
    metadata = {"name": name, "namespace": "gpu-operator"}
    cluster.apply({"apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata, "data": text})


@pytest.fixture
def pool(cluster: Cluster, simulator: Simulator) -> Iterator[Pool]:
    made = Pool(cluster, simulator, f"pool-{uuid.uuid4().hex[:6]}")
    yield made
    simulator.hold_mig(False)
    made.delete()


def test_whole_gpus_are_bought_one_for_each_pod_where_they_are_cheapest(pool):
    pool.node_class()
    pool.node_pool("g4dn.xlarge", capacity_types=("spot", "on-demand"))
    pool.pods(3, "nvidia.com/gpu")
    pool.await_running(3)
    assert pool.gpus() == [{"nvidia.com/gpu": "1"}] * 3
    assert {instance["market"] for instance in pool.instances()} == {"spot"}


def test_mig_takes_the_reservation_first_and_shows_whole_gpus_until_it_is_applied(pool):
    pool.simulator.hold_mig(True)
    pool.node_class(capacityReservationSelectorTerms=[{"id": "cr-0123456789abcdef0"}])
    slices = {"nvidia.com/mig-1g.5gb": "24", "nvidia.com/mig-2g.10gb": "16"}
    pool.overlay("p4d.24xlarge", {"nvidia.com/gpu": "0", **slices})
    pool.node_pool("p4d.24xlarge", labels={"nvidia.com/mig.config": "a100"}, capacity_types=("reserved", "on-demand"))
    pool.pods(26, "nvidia.com/mig-1g.5gb")
    wait_for(lambda: pool.gpus() == [{"nvidia.com/gpu": "8"}] * 2, SECONDS, "two nodes with whole GPUs")
    assert pool.running() == 0
    assert not any(pool.initialized())
    pool.simulator.hold_mig(False)
    pool.await_running(26)
    assert pool.gpus() == [slices] * 2
    assert {node["metadata"]["labels"][MIG_STATE_LABEL] for node in pool.nodes()} == {"success"}
    reservations = sorted(str(instance["reservation"]) for instance in pool.instances())
    assert reservations == ["None", "cr-0123456789abcdef0"]


def test_an_overlay_that_promises_what_the_plugin_never_gives_leaves_the_node_uninitialised(pool):
    pool.node_class()
    pool.overlay("g4dn.xlarge", {"nvidia.com/gpu": "0", "nvidia.com/gpu.shared": "4"})
    pool.node_pool("g4dn.xlarge", labels={"nvidia.com/device-plugin.config": "time-slicing-4"})
    pool.pods(1, "nvidia.com/gpu.shared")
    wait_for(lambda: _annotation(pool, PLUGIN_ERROR), SECONDS, "the plugin to fail")
    assert _annotation(pool, PLUGIN_ERROR) == "specified config time-slicing-4 does not exist"
    assert pool.gpus() == [{}]
    assert pool.initialized() == [False]
    # The label is what config-manager watches: with one that resolves, the node recovers.
    name = pool.nodes()[0]["metadata"]["name"]
    labels = {"nvidia.com/device-plugin.config": "time-slicing-5"}
    pool.cluster.patch("v1", "Node", name, {"metadata": {"labels": labels}})
    pool.await_running(1)
    assert _annotation(pool, PLUGIN_ERROR) is None


def test_bottlerocket_slices_by_its_user_data(pool):
    disks = [
        {"deviceName": "/dev/xvda", "ebs": {"volumeSize": "4Gi"}},
        {"deviceName": "/dev/xvdb", "rootVolume": True, "ebs": {"volumeSize": "100Gi"}},
    ]
    pool.node_class("bottlerocket@v1.50.0", userData=BOTTLEROCKET, blockDeviceMappings=disks)
    pool.overlay("g6.12xlarge", {"nvidia.com/gpu": "0", "nvidia.com/gpu.shared": "12"})
    pool.node_pool("g6.12xlarge")
    pool.pods(12, "nvidia.com/gpu.shared")
    pool.await_running(12)
    assert pool.gpus() == [{"nvidia.com/gpu.shared": "12"}]
    assert pool.nodes()[0]["status"]["allocatable"]["ephemeral-storage"] == "100Gi"


def test_a_fraction_of_a_gpu_is_one_gpu(pool):
    pool.node_class()
    pool.overlay("g6f.large", {"nvidia.com/gpu": "1"})
    pool.node_pool("g6f.large")
    pool.pods(1, "nvidia.com/gpu")
    pool.await_running(1)
    assert pool.gpus() == [{"nvidia.com/gpu": "1"}]


def test_an_instance_that_dies_takes_its_node_with_it(pool):
    pool.node_class()
    pool.node_pool("g4dn.xlarge")
    pool.pods(1, "nvidia.com/gpu")
    pool.await_running(1)
    (first,) = pool.instances()
    pool.simulator.terminate(first["id"])
    wait_for(
        lambda: [each["id"] for each in pool.instances()] not in ([], [first["id"]]),
        SECONDS,
        "another instance to take its place",
    )
    pool.await_running(1)


def _annotation(pool: Pool, name: str) -> str | None:
    nodes = pool.nodes()
    return nodes[0]["metadata"].get("annotations", {}).get(name) if nodes else None
