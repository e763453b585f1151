"""Deploys a recorded program into the sandbox: seeds the simulated AWS, applies the Kubernetes objects, waits.

The objects are applied unchanged, in the order of their dependencies, with server-side apply. Then, as the engine
does it, what an earlier deployment made and this one does not have is deleted, dependants first.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

from offline import Recording
from offline.values import contains_unknown
from sandbox import SandboxError, world
from sandbox.client import Cluster, connect
from sandbox.processes import wait_for
from sandbox.seed import seed_request
from sandbox.state import Sandbox

Manifest = dict[str, Any]
Progress = Callable[[str], None]
INVENTORY = "objects"
READY_KINDS = ("EC2NodeClass", "NodeOverlay", "NodePool")
_READY_SECONDS = 120.0
_PODS_SECONDS = 300.0
_DELETE_SECONDS = 180.0


@dataclass(frozen=True)
class Key:
    """What names an object in a cluster."""

    api_version: str
    kind: str
    namespace: str
    name: str

    @classmethod
    def of(cls, manifest: Mapping[str, Any]) -> Key:
        metadata = manifest["metadata"]
        return cls(manifest["apiVersion"], manifest["kind"], metadata.get("namespace", ""), metadata["name"])

    def __str__(self) -> str:
        return f"{self.kind} {self.namespace + '/' if self.namespace else ''}{self.name}"


@dataclass(frozen=True)
class Deployed:
    """`objects` were applied; `left_out` counts the resources of each type that the sandbox does not run."""

    objects: tuple[Manifest, ...]
    left_out: Mapping[str, int]


def deploy(sandbox: Sandbox, recording: Recording, region: str, progress: Progress) -> Deployed:
    """Bring the sandbox to what the program declares. Raises SandboxError, saying what refused or never came."""
    request = seed_request(recording, region)
    world.simulator(sandbox).seed(request)
    world.start_karpenter(sandbox, request, progress)
    objects = tuple(recording.kubernetes_objects())
    refuse_unknown(objects)
    cluster = connect(sandbox.kubeconfig)
    try:
        apply(sandbox, cluster, objects, progress)
        prune(sandbox, cluster, objects, progress)
        wait_available(cluster, objects, progress)
    finally:
        cluster.close()
    return Deployed(objects, left_out(recording))


def refuse_unknown(objects: Iterable[Manifest]) -> None:
    """Raises SandboxError for an object with a value that nobody here makes up, rather than apply half of it."""
    unknown = [str(Key.of(o)) for o in objects if contains_unknown(o)]
    if unknown:
        raise SandboxError(f"outputs of AWS that the sandbox does not model are part of {', '.join(unknown)}")


# What the simulated AWS is seeded from.
PLAYED = ("aws:ec2/vpc:Vpc", "aws:ec2/subnet:Subnet", "aws:sqs/queue:Queue")


def left_out(recording: Recording) -> dict[str, int]:
    """Type to number of the custom resources that are neither applied nor played by the simulated AWS."""
    counts: dict[str, int] = {}
    for resource in recording.resources:
        applied = resource.type.startswith("kubernetes:") and "helm.sh" not in resource.type
        if resource.custom and not applied and resource.type not in PLAYED and not resource.type.startswith("pulumi:"):
            counts[resource.type] = counts.get(resource.type, 0) + 1
    return dict(sorted(counts.items()))


def apply(sandbox: Sandbox, cluster: Cluster, objects: Sequence[Manifest], progress: Progress) -> None:
    """Every object in the order given, the Deployments once Karpenter has accepted its own.

    Pods that come earlier are planned without the pools, and Karpenter looks at them again only after 10 seconds.
    The inventory grows first, so that a cut-short run leaves nothing unknown.
    """
    keys = [Key.of(o) for o in objects]
    remember(sandbox, [*(key for key in inventory(sandbox) if key not in keys), *keys])
    deployments = [o for o in objects if o["kind"] == "Deployment"]
    for manifest in (o for o in objects if o["kind"] != "Deployment"):
        cluster.apply(manifest)
    for key in (k for k in keys if k.kind in READY_KINDS):
        _wait(cluster, key, _is_ready, _READY_SECONDS)
    progress("Karpenter has accepted the pools")
    for manifest in deployments:
        cluster.apply(manifest)
    progress(f"applied {len(objects)} Kubernetes objects")


def inventory(sandbox: Sandbox) -> list[Key]:
    """What earlier deployments applied, in their order."""
    return [Key(*entry) for entry in sandbox.facts.get(INVENTORY, [])]


def remember(sandbox: Sandbox, keys: Iterable[Key]) -> None:
    sandbox.facts[INVENTORY] = [[k.api_version, k.kind, k.namespace, k.name] for k in dict.fromkeys(keys)]
    sandbox.save()


def prune(sandbox: Sandbox, cluster: Cluster, objects: Sequence[Manifest], progress: Progress) -> None:
    """Delete what is no longer declared, in the reverse of the order of creation, each until it is gone."""
    wanted = {Key.of(o) for o in objects}
    surplus = [key for key in inventory(sandbox) if key not in wanted]
    for wave in waves(list(reversed(surplus))):
        progress(f"deleting {', '.join(map(str, wave))}")
        delete(cluster, wave)
    remember(sandbox, [key for key in inventory(sandbox) if key in wanted])


def waves(keys: Sequence[Key]) -> list[list[Key]]:
    """Keys in the order of their deletion, those of one kind together: at the place of the kind's last one.

    Objects of one kind never depend on each other here, and Karpenter takes 10 seconds and more for each NodePool.
    """
    last = {key.kind: place for place, key in enumerate(keys)}
    return [[key for key in keys if key.kind == kind] for kind in sorted(last, key=lambda kind: last[kind])]


def delete(cluster: Cluster, keys: Sequence[Key]) -> None:
    """Delete as the Pulumi provider does, dependants in the foreground, and wait until all are gone."""
    for key in keys:
        cluster.delete(key.api_version, key.kind, key.name, key.namespace or None, propagation="Foreground")
    for key in keys:
        wait_for(partial(_gone, cluster, key), _DELETE_SECONDS, f"{key} to be gone")


def wait_available(cluster: Cluster, objects: Sequence[Manifest], progress: Progress) -> None:
    """Every Deployment has the replicas that it asks for, all of its newest template."""
    for manifest in (o for o in objects if o["kind"] == "Deployment"):
        progress(f"waiting for {Key.of(manifest)}: {manifest['spec']['replicas']} pods")
        _wait(cluster, Key.of(manifest), _is_available, _PODS_SECONDS)


def _gone(cluster: Cluster, key: Key) -> bool:
    return _get(cluster, key) is None


def _get(cluster: Cluster, key: Key) -> Manifest | None:
    return cluster.get(key.api_version, key.kind, key.name, key.namespace or None)


def _wait(cluster: Cluster, key: Key, condition: Callable[[Manifest], bool], seconds: float) -> None:
    def holds() -> bool:
        found = _get(cluster, key)
        return found is not None and condition(found)

    try:
        wait_for(holds, seconds, f"{key} to be ready")
    except SandboxError as error:
        raise SandboxError("\n".join([str(error), *_why(cluster, key)])) from None


def _is_ready(found: Manifest) -> bool:
    conditions = found.get("status", {}).get("conditions", [])
    return any(c["type"] == "Ready" and c["status"] == "True" for c in conditions)


def _is_available(found: Manifest) -> bool:
    status = found.get("status", {})
    current = status.get("observedGeneration") == found["metadata"]["generation"]
    wanted = found["spec"]["replicas"]
    return bool(current and status.get("readyReplicas", 0) == wanted == status.get("updatedReplicas", 0))


def _why(cluster: Cluster, key: Key) -> list[str]:
    """What the cluster itself says: unmet conditions, and what its events complain of."""
    found = _get(cluster, key) or {}
    conditions = [c for c in found.get("status", {}).get("conditions", []) if c["status"] != "True"]
    lines = [f"  {key}: {c['type']}={c['status']} {c.get('message', '')}" for c in conditions]
    claims = cluster.list("karpenter.sh/v1", "NodeClaim")
    for claim in claims:
        unmet = [c for c in claim.get("status", {}).get("conditions", []) if c["status"] != "True"]
        lines += [f"  NodeClaim {claim['metadata']['name']}: {c['type']} {c.get('message', '')}" for c in unmet]
    warnings = [e for e in cluster.list("v1", "Event") if e.get("type") == "Warning"]
    texts = dict.fromkeys(f"  {e['involvedObject']['kind']}: {e.get('message', '')[:300]}" for e in warnings)
    return lines + list(texts)[-8:]
