"""The life of a stack in the sandbox, lived once for all tests: what each chapter needs to be told and to be read.

The tests look at `Snapshot`s, which are plain data, so they can run in any order and never disturb each other.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import yaml

from gpuslice.manifests.admission_rules import MEMORY_ANNOTATION
from gpuslice.pools import GPU, GPU_SHARED, POOL_LABEL
from gpuslice.project import project_root
from offline import Recording, preview
from offline.preview import StackRecording
from sandbox import SandboxError
from sandbox.account import Simulator
from sandbox.client import Cluster
from sandbox.deploy import Key, Manifest
from sandbox.processes import wait_for

WORKLOADS = "workloads"
PLAIN_TAINT = {"key": "example.com/plain", "effect": "NoSchedule"}
KINDS = {
    "Node": "v1",
    "Pod": "v1",
    "Event": "v1",
    "ConfigMap": "v1",
    "Namespace": "v1",
    "LimitRange": "v1",
    "ResourceQuota": "v1",
    "Deployment": "apps/v1",
    "NetworkPolicy": "networking.k8s.io/v1",
    "ValidatingAdmissionPolicy": "admissionregistration.k8s.io/v1",
    "ValidatingAdmissionPolicyBinding": "admissionregistration.k8s.io/v1",
    "NodeClaim": "karpenter.sh/v1",
    "NodePool": "karpenter.sh/v1",
    "NodeOverlay": "karpenter.sh/v1alpha1",
    "EC2NodeClass": "karpenter.k8s.aws/v1",
}
_POLL_SECONDS = 0.25

Fact = Callable[["Snapshot"], bool]


@dataclass(frozen=True)
class Snapshot:
    """What the cluster and the account held at one moment: objects by kind, and every instance ever launched."""

    objects: Mapping[str, Sequence[Manifest]]
    every_instance: Sequence[Mapping[str, Any]]

    def get(self, kind: str, name: str) -> Manifest | None:
        return next((o for o in self.objects[kind] if o["metadata"]["name"] == name), None)

    def named(self, kind: str) -> dict[Key, Manifest]:
        return {Key.of(o): o for o in self.objects[kind]}

    def nodes(self, pool: str) -> list[Manifest]:
        return [n for n in self.objects["Node"] if n["metadata"]["labels"].get(POOL_LABEL) == pool]

    def claims(self, pool: str) -> list[Manifest]:
        return [c for c in self.objects["NodeClaim"] if c["metadata"]["labels"].get("karpenter.sh/nodepool") == pool]

    def instances(self, pool: str, state: str = "running") -> list[Mapping[str, Any]]:
        return [
            i for i in self.every_instance if i["tags"].get("karpenter.sh/nodepool") == pool and i["state"] == state
        ]

    def gpus(self, pool: str) -> list[dict[str, int]]:
        """The NVIDIA resources of each node of a pool, without those that are zero."""
        return [gpu_resources(n["status"]["allocatable"]) for n in self.nodes(pool)]

    def pods(self, app: str) -> list[Manifest]:
        return [p for p in self.objects["Pod"] if p["metadata"].get("labels", {}).get("app.kubernetes.io/name") == app]

    def running(self, app: str) -> int:
        return sum(p["status"].get("phase") == "Running" for p in self.pods(app))

    def hosts(self, app: str) -> set[str]:
        """The names of the nodes on which an application's pods are."""
        return {p["spec"]["nodeName"] for p in self.pods(app) if p["spec"].get("nodeName")}

    def unschedulable(self, app: str) -> list[str]:
        """Why the scheduler, when it last looked, could not place each of the application's waiting pods."""
        return [
            c.get("message", "")
            for p in self.pods(app)
            for c in p["status"].get("conditions", [])
            if c["type"] == "PodScheduled" and c.get("reason") == "Unschedulable"
        ]

    def karpenter_refusals(self, app: str) -> list[str]:
        """Why Karpenter bought nothing for the application's pods."""
        names = {p["metadata"]["name"] for p in self.pods(app)}
        return [
            e["message"]
            for e in self.objects["Event"]
            if e["involvedObject"].get("name") in names
            and e["reason"] == "FailedScheduling"
            and e["reportingComponent"] == "karpenter"
        ]


def gpu_resources(resources: Mapping[str, Any]) -> dict[str, int]:
    """The NVIDIA resources among `resources`, without those that are zero."""
    return {k: int(v) for k, v in resources.items() if k.startswith("nvidia.com/") and int(v)}


def condition(manifest: Manifest, kind: str) -> str | None:
    """The status of one of the object's conditions; None while it has none of that type."""
    conditions = manifest.get("status", {}).get("conditions", [])
    return next((c["status"] for c in conditions if c["type"] == kind), None)


TAINT_KEYS = {GPU, POOL_LABEL, PLAIN_TAINT["key"], "(any)"}


def tolerated_keys(pod: Manifest) -> set[str]:
    """The keys of the pod's tolerations, without those that every pod of a cluster gets.

    `TAINT_KEYS` are those of the nodes. A tenant's pod has one more for each slice that its namespace's limits mention.
    """
    keys = {t.get("key", "(any)") for t in pod["spec"].get("tolerations", [])}
    return keys - {"node.kubernetes.io/not-ready", "node.kubernetes.io/unreachable"}


@dataclass
class World:
    """A running sandbox, and how the story goes on in it."""

    cluster: Cluster
    simulator: Simulator

    def look(self) -> Snapshot:
        objects = {kind: self.cluster.list(version, kind) for kind, version in KINDS.items()}
        return Snapshot(objects, self.simulator.instances())

    def settle(self, *facts: Fact, seconds: float = 60) -> Snapshot:
        """The cluster once all facts hold, or as it is when the time is over: the tests then say which does not."""
        seen: list[Snapshot] = []

        def hold() -> bool:
            seen.append(self.look())
            return all(fact(seen[-1]) for fact in facts)

        with suppress(SandboxError):
            wait_for(hold, seconds, "the cluster to settle", _POLL_SECONDS)
        return seen[-1]

    def apply(self, manifests: Iterable[Manifest]) -> None:
        for manifest in manifests:
            self.cluster.apply(manifest)

    def version(self) -> str:
        """The cluster's resource version of now."""
        return self.cluster.list_with_version("v1", "Namespace")[1]

    def history(self, kind: str, since: str) -> list[tuple[str, Manifest]]:
        """Every change of objects of a kind since a resource version, as the API server remembers them."""
        return list(self.cluster.watch(KINDS[kind], kind, since, seconds=1))


def program_folder(folder: Path) -> Path:
    """A folder that runs the real program and pack, with the project's stack files and room for those of a test."""
    root = project_root()
    for part in ("__main__.py", "policies"):
        (folder / part).symlink_to(root / part)
    for file in (*root.glob("Pulumi*.yaml"), *root.glob("policies.*.json")):
        (folder / file.name).symlink_to(file)
    return folder


def record_config(folder: Path, stack: str, config: Mapping[str, Any]) -> StackRecording:
    """Records the real program for a configuration that the test made."""
    (folder / f"Pulumi.{stack}.yaml").write_text(yaml.safe_dump({"config": dict(config)}))
    return preview.record_stack(folder, stack, unknowns=False)


def without_overlays(recording: Recording, pools: Iterable[str]) -> Recording:
    """The same program, had somebody forgotten the overlays of these pools."""
    names = tuple(f"{pool}-" for pool in pools)

    def forgotten(kind: str, name: str) -> bool:
        return kind == "NodeOverlay" and name.startswith(names) and name.removesuffix("gpu")[-1].isdigit()

    kept = [
        r
        for r in recording.resources
        if not forgotten(r.inputs.get("kind", ""), r.inputs.get("metadata", {}).get("name", ""))
    ]
    return replace(recording, resources=tuple(kept))


def proof_config(local: Mapping[str, Any]) -> dict[str, Any]:
    """The local stack and, beside its pool, one of each kind that can go wrong in a way of its own."""
    g4dn = {"instanceTypes": ["g4dn.xlarge"], "limits": {"nodes": 6}}
    plain = g4dn | {
        "sharing": {"mode": "time-slicing", "replicas": 5, "rename": False},
        "extraTaints": [PLAIN_TAINT],
    }
    five = g4dn | {"sharing": {"mode": "time-slicing", "replicas": 5}}
    mig_p4d = {"mode": "mig", "layout": {"1g.5gb": 3, "2g.10gb": 2}}
    pools = [
        {"name": "t4-five", **five},
        {"name": "t4-plain", **plain},
        {"name": "t4-plain-bare", **plain},
        {"name": "t4-five-bare", **five},
        {"name": "a100-mig", "instanceTypes": ["p4d.24xlarge"], "sharing": mig_p4d},
        {"name": "h100-mig", "instanceTypes": ["p5.4xlarge"], "sharing": {"mode": "mig", "layout": {"1g.10gb": 7}}},
        {"name": "h100-whole", "instanceTypes": ["p5.48xlarge"], "sharing": {"mode": "exclusive"}, "efa": True},
    ]
    config = {**local, "gpu-slicing:pools": [*local["gpu-slicing:pools"], *pools]}
    return config | {"gpu-slicing:tenants": [*local["gpu-slicing:tenants"], team(config["gpu-slicing:pools"])]}


def team(pools: Iterable[Mapping[str, Any]]) -> dict[str, Any]:
    """The tenant whose workloads run in the story: as many slices of each pool as it likes."""
    quota = {p["name"]: dict.fromkeys(p["sharing"]["layout"], 99) if "layout" in p["sharing"] else 99 for p in pools}
    return {"namespace": WORKLOADS, "podSecurity": "baseline", "quota": quota}


BARE_POOLS = ("t4-plain-bare", "t4-five-bare")


def changed_config(proof: Mapping[str, Any]) -> dict[str, Any]:
    """Four replicas become five, and two pools are given up."""
    pools = [p for p in proof["gpu-slicing:pools"] if p["name"] not in ("t4-five", "t4-plain-bare")]
    first = {**pools[0], "sharing": {**pools[0]["sharing"], "replicas": 5}}
    tenants = [*proof["gpu-slicing:tenants"][:-1], team(pools)]
    return {**proof, "gpu-slicing:pools": [first, *pools[1:]], "gpu-slicing:tenants": tenants}


def workload(
    name: str,
    replicas: int,
    resource: str,
    pool: str | None = None,
    *,
    count: int = 1,
    memory: int = 1024,
    tolerations: Sequence[Mapping[str, str]] = (),
) -> Manifest:
    """A Deployment as a team writes it, with exactly these tolerations; `memory` in MiB of each slice or GPU."""
    labels = {"app.kubernetes.io/name": name}
    limits = {resource: str(count)}
    spec: Manifest = {
        "containers": [{"name": "main", "image": "registry.invalid/none", "resources": {"limits": limits}}],
        "tolerations": [dict(t) for t in tolerations],
    }
    if pool:
        spec["nodeSelector"] = {POOL_LABEL: pool}
    return {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": name, "namespace": WORKLOADS},
        "spec": {
            "replicas": replicas,
            "selector": {"matchLabels": labels},
            "template": {"metadata": {"labels": labels, "annotations": {MEMORY_ANNOTATION: str(memory)}}, "spec": spec},
        },
    }


def tenant_workload(outputs: Mapping[str, Any], pool: str, resource: str, replicas: int, name: str = "") -> Manifest:
    """A Deployment as another stack writes it: by nothing but the outputs of this one."""
    contract = outputs["gpuPools"][pool]
    (memory,) = [r["memoryMiB"] for r in contract["resources"] if r["name"] == resource]
    (selected,) = contract["nodeSelector"].items()
    assert selected == (POOL_LABEL, pool)
    return workload(name or pool, replicas, resource, pool, memory=memory, tolerations=contract["tolerations"])


def slice_workloads(outputs: Mapping[str, Any]) -> list[Manifest]:
    """For every sliced pool of the proof stack, pods that fill exactly one node."""
    return [
        tenant_workload(outputs, "t4-five", GPU_SHARED, 5),
        tenant_workload(outputs, "t4-plain", GPU, 5),
        tenant_workload(outputs, "t4-plain-bare", GPU, 5),
        tenant_workload(outputs, "t4-five-bare", GPU_SHARED, 5),
        tenant_workload(outputs, "a100-mig", "nvidia.com/mig-1g.5gb", 24, "a100-mig-1g"),
        tenant_workload(outputs, "a100-mig", "nvidia.com/mig-2g.10gb", 16, "a100-mig-2g"),
        tenant_workload(outputs, "h100-mig", "nvidia.com/mig-1g.10gb", 7),
    ]


WHOLE_GPU_PODS = ("whole-on-a100-mig", "whole-on-h100-mig", "whole-on-t4-shared")


def whole_gpu_workloads() -> list[Manifest]:
    """Pods that ask for whole GPUs and tolerate nothing themselves: one on nodes of slices, eight anywhere."""
    strays = [workload(name, 1, GPU, name.removeprefix("whole-on-")) for name in WHOLE_GPU_PODS]
    return [*strays, workload("whole-anywhere", 1, GPU, count=8)]


def loose_pool(objects: Iterable[Manifest]) -> list[Manifest]:
    """The MIG pool once more, without the taint of its own, as somebody else would make it: no rule is for it."""
    text = json.dumps([o for o in objects if o["kind"] in ("EC2NodeClass", "NodeOverlay", "NodePool")])
    copies: list[Manifest] = [
        o for o in json.loads(text.replace("a100-mig", "a100-loose")) if o["metadata"]["name"].startswith("a100-loose")
    ]
    for copy in copies:
        copy["metadata"] = {"name": copy["metadata"]["name"]}
    for pool in (o for o in copies if o["kind"] == "NodePool"):
        spec = pool["spec"]["template"]["spec"]
        spec["taints"] = [t for t in spec["taints"] if t["key"] != POOL_LABEL]
    return copies


def loose_workload(outputs: Mapping[str, Any]) -> Manifest:
    tolerations = [t for t in outputs["gpuPools"]["a100-mig"]["tolerations"] if t["key"] != POOL_LABEL]
    return workload("a100-loose", 1, "nvidia.com/mig-1g.5gb", "a100-loose", tolerations=tolerations)
