"""Namespaces of the platform and of its tenants, with pod-security labels, slice quotas and container limits."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from gpuslice.catalog import versions
from gpuslice.gpu_operator import NAMESPACE as OPERATOR_NAMESPACE
from gpuslice.pools import GPU, MANAGED_BY, Pool
from gpuslice.settings import Settings, Tenant

Manifest = dict[str, Any]


def namespace(name: str, pod_security: str, kubernetes_version: str = versions.KUBERNETES) -> Manifest:
    """A namespace whose pods must meet a pod-security standard, at a pinned version: upgrades change nothing."""
    labels = {f"pod-security.kubernetes.io/{mode}": pod_security for mode in ("enforce", "warn", "audit")}
    labels["pod-security.kubernetes.io/enforce-version"] = f"v{kubernetes_version}"
    return {
        "apiVersion": "v1",
        "kind": "Namespace",
        "metadata": {"name": name, "labels": MANAGED_BY | labels},
    }


def operator_namespace(settings: Settings) -> Manifest:
    """Privileged: the operator's operands mount host paths and load devices. No other namespace here is."""
    return namespace(OPERATOR_NAMESPACE, "privileged", settings.cluster.kubernetes_version)


def tenant_manifests(tenant: Tenant, settings: Settings, pools: Sequence[Pool]) -> list[Manifest]:
    """A tenant's namespace, its quota over every GPU resource of the stack, and the limits of its containers."""
    version = settings.cluster.kubernetes_version
    return [
        namespace(tenant.namespace, tenant.pod_security, version),
        resource_quota(tenant, pools),
        limit_range(tenant, pools),
    ]


def quota(tenant: Tenant, pools: Sequence[Pool]) -> dict[str, int]:
    """Extended resource to the number that the tenant's pods may hold; 0 for what it was not given.

    Kubernetes counts by resource name, so the quotas of two pools that offer one name add up.
    """
    totals = {GPU: 0} | {r.name: 0 for p in pools for r in p.resources}
    for pool in pools:
        given = tenant.quota.get(pool.name, 0)
        for resource in pool.resources:
            totals[resource.name] += given if isinstance(given, int) else given.get(str(resource.profile), 0)
    return totals


def resource_quota(tenant: Tenant, pools: Sequence[Pool]) -> Manifest:
    """Extended resources take only the `requests.` form of a quota."""
    hard = {f"requests.{name}": str(count) for name, count in quota(tenant, pools).items()}
    return _namespaced("ResourceQuota", "gpu-slices", tenant.namespace, {"hard": hard})


def limit_range(tenant: Tenant, pools: Sequence[Pool]) -> Manifest:
    """At most one slice for a container; a second one gives it nothing.

    A maximum without a default would give a slice to every container that asks for none, so the default is 0. The
    plain `nvidia.com/gpu` is left out: a default for it, even 0, makes EKS add the GPU toleration to every pod.
    """
    names = [r.name for p in pools for r in p.resources if r.name != GPU]
    limits: Manifest = {
        "type": "Container",
        "defaultRequest": {"cpu": "100m", "memory": "128Mi"} | dict.fromkeys(names, "0"),
    }
    if names:
        limits |= {"default": dict.fromkeys(names, "0"), "max": dict.fromkeys(names, "1")}
    return _namespaced("LimitRange", "gpu-slices", tenant.namespace, {"limits": [limits]})


def _namespaced(kind: str, name: str, namespace_name: str, spec: Manifest) -> Manifest:
    metadata = {"name": name, "namespace": namespace_name, "labels": dict(MANAGED_BY)}
    return {"apiVersion": "v1", "kind": kind, "metadata": metadata, "spec": spec}
