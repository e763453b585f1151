"""A Deployment that proves that slices of a pool can be had: each pod holds one and lists its GPU."""

from __future__ import annotations

from typing import Any

from gpuslice.catalog import versions
from gpuslice.manifests.admission_rules import MEMORY_ANNOTATION
from gpuslice.manifests.tenancy import namespace
from gpuslice.pools import MANAGED_BY, Pool, SliceResource
from gpuslice.settings import Settings, Verification

Manifest = dict[str, Any]
NAMESPACE = "gpu-slicing-verification"


def verification_manifests(settings: Settings) -> list[Manifest]:
    """The namespace, its network policy and the Deployment; nothing where the stack asks for no verification."""
    wanted = settings.verification
    if wanted is None:
        return []
    pool = Pool.of(settings.pool(wanted.pool))
    version = settings.cluster.kubernetes_version
    return [namespace(NAMESPACE, "restricted", version), network_policy(), deployment(wanted, pool)]


def network_policy() -> Manifest:
    """No traffic: nobody calls its pods, and they call nobody. The probe runs inside the container."""
    return {
        "apiVersion": "networking.k8s.io/v1",
        "kind": "NetworkPolicy",
        "metadata": {"name": "no-traffic", "namespace": NAMESPACE, "labels": dict(MANAGED_BY)},
        "spec": {"podSelector": {}, "policyTypes": ["Ingress", "Egress"]},
    }


def deployment_name(pool: Pool) -> str:
    """`time-slicing-verification`, `mig-verification`, ..."""
    return f"{pool.settings.sharing.mode}-verification"


def verified_resource(wanted: Verification, pool: Pool) -> SliceResource:
    """The resource that each pod asks for: the profile that was named, or the pool's first (smallest)."""
    return next((r for r in pool.resources if r.profile == wanted.profile), pool.resources[0])


def deployment(wanted: Verification, pool: Pool) -> Manifest:
    name = deployment_name(pool)
    labels = {"app.kubernetes.io/name": name} | MANAGED_BY
    resource = verified_resource(wanted, pool)
    # It takes all that its slice promises, and so fits exactly.
    template = {"labels": labels, "annotations": {MEMORY_ANNOTATION: str(resource.memory_mib)}}
    spec = {
        "replicas": wanted.replicas,
        # A rolling update would buy a node for the pods that it adds for a moment.
        "strategy": {"type": "Recreate"},
        "selector": {"matchLabels": {"app.kubernetes.io/name": name}},
        "template": {"metadata": template, "spec": _pod(resource, pool)},
    }
    metadata = {"name": name, "namespace": NAMESPACE, "labels": dict(labels)}
    return {"apiVersion": "apps/v1", "kind": "Deployment", "metadata": metadata, "spec": spec}


def _pod(resource: SliceResource, pool: Pool) -> Manifest:
    return {
        "nodeSelector": pool.node_selector,
        "tolerations": pool.tolerations,
        "automountServiceAccountToken": False,
        "terminationGracePeriodSeconds": 5,
        "securityContext": {
            "runAsNonRoot": True,
            "runAsUser": 65532,
            "runAsGroup": 65532,
            "seccompProfile": {"type": "RuntimeDefault"},
        },
        "containers": [_container(resource)],
    }


def _container(resource: SliceResource) -> Manifest:
    return {
        "name": "cuda",
        "image": versions.CUDA_IMAGE,
        # A tag can be moved. A new GPU node has no image yet, so this costs nothing.
        "imagePullPolicy": "Always",
        "command": ["sh", "-c", "nvidia-smi -L && exec sleep infinity"],
        "readinessProbe": {
            "exec": {"command": ["nvidia-smi", "-L"]},
            "periodSeconds": 30,
            "timeoutSeconds": 10,
        },
        "resources": {
            "requests": {"cpu": "50m", "memory": "64Mi", resource.name: "1"},
            "limits": {"memory": "256Mi", resource.name: "1"},
        },
        "securityContext": {
            "allowPrivilegeEscalation": False,
            "readOnlyRootFilesystem": True,
            "capabilities": {"drop": ["ALL"]},
        },
    }
