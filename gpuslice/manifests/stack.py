"""Every Kubernetes object of a stack, by file, in the order in which a cluster must get them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from gpuslice.gpu_operator import config_maps, values
from gpuslice.manifests.admission import admission_manifests
from gpuslice.manifests.karpenter import pool_manifests
from gpuslice.manifests.tenancy import operator_namespace, tenant_manifests
from gpuslice.manifests.verification import deployment_name, verification_manifests
from gpuslice.pools import Pool
from gpuslice.settings import Settings

Manifest = dict[str, Any]
POOL_FILES = {
    "time-slicing": "karpenter-soft.yaml",
    "mps": "karpenter-soft.yaml",
    "mig": "karpenter-mig.yaml",
    "exclusive": "karpenter-exclusive.yaml",
}


def stack_manifests(settings: Settings) -> dict[str, list[Manifest]]:
    """File name to its objects. The names are those of the classic recipe where they fit."""
    pools = [Pool.of(p) for p in settings.pools]
    files: dict[str, list[Manifest]] = {"namespaces.yaml": [operator_namespace(settings)]}
    for config_map in config_maps(pools):
        files[f"{config_map['metadata']['name']}.yaml"] = [config_map]
    if settings.admission.enabled:
        files["admission.yaml"] = admission_manifests(settings, pools)
    for pool in pools:
        files.setdefault(POOL_FILES[pool.settings.sharing.mode], []).extend(pool_manifests(pool, settings))
    for tenant in settings.tenants:
        files.setdefault("tenants.yaml", []).extend(tenant_manifests(tenant, settings, pools))
    if settings.verification is not None:
        pool = Pool.of(settings.pool(settings.verification.pool))
        files[f"{deployment_name(pool)}.yaml"] = verification_manifests(settings)
    return files


def helm_values(settings: Settings, pools: Sequence[Pool]) -> dict[str, dict[str, Any]]:
    """File name to Helm values, for those who install the charts themselves."""
    return {"gpu-operator-values.yaml": values(settings, pools)}
