"""The rules of the stack of `admission_pods` in a cluster that has pods and NodePools already."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from admission_client import Api, Verdict
from admission_pods import NAMESPACES, SECTIONS, SHARED, Manifest, container, named, on_t4, pod

from gpuslice.load import load_settings
from gpuslice.manifests.admission import admission_manifests
from gpuslice.manifests.verification import NAMESPACE as VERIFICATION
from gpuslice.pools import Pool
from gpuslice.settings import Settings
from sandbox.client import Cluster
from sandbox.processes import wait_for
from tests.helpers import config_of

RUNTIMES = ("nvidia", "nvidia-cdi", "nvidia-legacy", "gvisor")
LABELS = {"name": "kube-system", "app.kubernetes.io/managed-by": "gpu-slicing"}
"""Of every namespace: nobody is exempt by them."""
SPACES = (*NAMESPACES, VERIFICATION, "gpu-operator")
SETTLE_SECONDS = 30


@dataclass(frozen=True)
class Rules:
    """The rules in force. `old` and `leaving`, a pod and a NodePool each, break them, and were there before."""

    api: Api
    cluster: Cluster
    settings: Settings
    manifests: tuple[Manifest, ...]
    old: tuple[Manifest, ...]
    leaving: tuple[Manifest, ...]

    @property
    def pools(self) -> list[Pool]:
        return [Pool.of(p) for p in self.settings.pools]

    def of_kind(self, kind: str) -> list[Manifest]:
        return [m for m in self.manifests if m["kind"] == kind]

    def really(self, manifest: Manifest) -> Verdict:
        """The verdict without a dry run; what was taken is taken away again."""
        verdict = self.api.create(manifest, dry_run=False)
        if verdict.admitted:
            remove(self.cluster, manifest)
        return verdict


@contextmanager
def installed(cluster: Cluster, kubeconfig: Path) -> Iterator[Rules]:
    """As the stack's program would apply them; afterwards they are gone, for the tests of other things.

    The namespaces stay: the next module needs them, and one that goes takes its time.
    """
    api, settings = Api(kubeconfig), load_settings(config_of(SECTIONS), "prod")
    for manifest in (*(_plain("v1", "Namespace", name, LABELS) for name in SPACES), *_runtimes()):
        cluster.apply(manifest)
    for name in SPACES:
        wait_for(lambda n=name: cluster.get("v1", "ServiceAccount", "default", n), 30, f"a service account in {name}")
    old, leaving = (tuple(cluster.create(finalized(m)) for m in faulty(name)) for name in ("old", "leaving"))
    manifests = tuple(admission_manifests(settings, [Pool.of(p) for p in settings.pools]))
    for manifest in manifests:
        cluster.apply(manifest)
    wait_in_force(api)
    yield Rules(api, cluster, settings, manifests, old, leaving)
    for manifest in (*reversed(manifests), *old, *leaving):
        remove(cluster, manifest)
    wait_in_force(api, False)
    api.close()


def _plain(version: str, kind: str, name: str, labels: dict[str, str] | None = None) -> Manifest:
    return {"apiVersion": version, "kind": kind, "metadata": {"name": name, "labels": labels or {}}}


def _runtimes() -> list[Manifest]:
    return [_plain("node.k8s.io/v1", "RuntimeClass", name) | {"handler": name} for name in RUNTIMES]


def wait_in_force(api: Api, in_force: bool = True) -> None:
    """Until the first rule and the last one are in force; or until none is."""
    tried = (named(pod(nodeName="any"), "probe", "team-a"), bound("probe"))
    what = f"the admission rules to be {'in force' if in_force else 'gone'}"

    def settled() -> bool:
        return all(("ValidatingAdmissionPolicy" in api.create(m).message) == in_force for m in tried)

    wait_for(settled, SETTLE_SECONDS, what)


def bound(name: str, namespace: str = "team-a") -> Manifest:
    """A pod put on a node by hand."""
    target = {"apiVersion": "v1", "kind": "Node", "name": "any"}
    metadata = {"name": name, "namespace": namespace}
    return {"apiVersion": "v1", "kind": "Binding", "metadata": metadata, "target": target}


def faulty(name: str) -> tuple[Manifest, Manifest]:
    """A pod with two slices and no hint, and a NodePool without taint and limits."""
    return named(on_t4(container(limits={SHARED: "2"}), hint=None), name, "team-a"), node_pool(name)


def finalized(manifest: Manifest) -> Manifest:
    return manifest | {"metadata": manifest["metadata"] | {"finalizers": ["example.com/keep"]}}


def remove(cluster: Cluster, made: Manifest) -> None:
    key, namespace = (made["apiVersion"], made["kind"], made["metadata"]["name"]), made["metadata"].get("namespace")
    if cluster.delete(*key, namespace, grace_seconds=0) and made["metadata"].get("finalizers"):
        cluster.patch(*key, {"metadata": {"finalizers": None}}, namespace)


TAINT = {"key": "nvidia.com/gpu", "value": "true", "effect": "NoSchedule"}
INSTANCE_TYPE = "node.kubernetes.io/instance-type"


def requires(key: str, operator: str, *values: str) -> Manifest:
    """A requirement of a NodePool; `key` is a label of instance types, by its last part."""
    full = key if "/" in key else f"karpenter.k8s.aws/instance-{key}"
    return {"key": full, "operator": operator} | ({"values": list(values)} if values else {})


def node_pool(name: str, *requirements: Manifest, limits: Any = None, **template: Any) -> Manifest:
    reference = {"group": "karpenter.k8s.aws", "kind": "EC2NodeClass", "name": name}
    spec: Manifest = {"nodeClassRef": reference, "requirements": [requires("kubernetes.io/arch", "In", "amd64")]}
    spec = {**spec, "requirements": [*spec["requirements"], *requirements], **template}
    whole = {"template": {"spec": spec}} | ({"limits": limits} if limits else {})
    return {"apiVersion": "karpenter.sh/v1", "kind": "NodePool", "metadata": {"name": name}, "spec": whole}
