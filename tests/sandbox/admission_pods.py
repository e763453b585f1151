"""A stack with a pool of every kind, and the pods of its tenants from a few words."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from typing import Any

Manifest = dict[str, Any]
SHARED, WHOLE = "nvidia.com/gpu.shared", "nvidia.com/gpu"
MIG_1G, MIG_2G, H100 = "nvidia.com/mig-1g.5gb", "nvidia.com/mig-2g.10gb", "nvidia.com/mig-1g.10gb"
POOL, HINT = "gpu-slicing.io/pool", "gpu-slicing.io/gpu-memory-mib"
GPU = {"key": WHOLE, "operator": "Equal", "value": "true", "effect": "NoSchedule"}
PLAIN_TAINTS = [
    {"key": "example.com/plain", "effect": "NoSchedule"},
    {"key": "example.com/team", "value": "a", "effect": "NoExecute"},
    {"key": "example.com/soft", "effect": "PreferNoSchedule"},
]
PLAIN = [
    {"key": "example.com/plain", "operator": "Exists", "effect": "NoSchedule"},
    {"key": "example.com/team", "value": "a"},
]
"""What a pod must tolerate on the pool of these taints."""
EXEMPT = "observability"
SECTIONS: Mapping[str, Any] = {
    "pools": [
        {"name": "t4", "instanceTypes": ["g4dn.xlarge"], "sharing": {"mode": "time-slicing", "replicas": 4}},
        {"name": "l4", "instanceTypes": ["g6.xlarge"], "sharing": {"mode": "time-slicing", "replicas": 2}},
        {
            "name": "a100-mig",
            "instanceTypes": ["p4d.24xlarge"],
            "sharing": {"mode": "mig", "layout": {"1g.5gb": 3, "2g.10gb": 2}},
        },
        {
            "name": "h100-mig",
            "instanceTypes": ["p5.4xlarge"],
            "sharing": {"mode": "mig", "layout": {"1g.10gb": 7}},
        },
        {
            "name": "t4-plain",
            "instanceTypes": ["g4dn.xlarge"],
            "sharing": {"mode": "time-slicing", "replicas": 4, "rename": False},
            "extraTaints": PLAIN_TAINTS,
        },
        {"name": "h100-whole", "instanceTypes": ["p5.48xlarge"], "sharing": {"mode": "exclusive"}},
    ],
    "tenants": [
        {
            "namespace": "team-a",
            "quota": {"t4": 9, "l4": 9, "a100-mig": {"1g.5gb": 9}, "t4-plain": 9, "h100-whole": 8},
        },
        {"namespace": "team-b", "quota": {"l4": 9, "h100-mig": 9, "t4": 0, "a100-mig": {"1g.5gb": 0}}},
    ],
    "verification": {"pool": "t4", "replicas": 1},
    "admission": {"exemptNamespaces": [EXEMPT]},
}
# `team-a-2` begins as a tenant, `kube-systems` and `gpu-operator-2` as exempt ones; `fake-system` has their labels.
NAMESPACES = ("team-a", "team-b", "team-a-2", "elsewhere", "kube-systems", "gpu-operator-2", "fake-system", EXEMPT)


def own(pool: str) -> Manifest:
    """The toleration for a MIG pool's own taint."""
    return {"key": POOL, "operator": "Equal", "value": pool, "effect": "NoSchedule"}


def container(name: str = "main", limits: Mapping[str, str | int] | None = None, **fields: Any) -> Manifest:
    made = {"name": name, "image": "registry.invalid/none", **fields}
    return made | ({"resources": {"limits": dict(limits)}} if limits else {})


def sidecar(name: str, limits: Mapping[str, str | int] | None = None) -> Manifest:
    return container(name, limits, restartPolicy="Always")


def pod(
    *containers: Manifest, hint: str | None = None, annotations: Mapping[str, str] | None = None, **spec: Any
) -> Manifest:
    """A pod without a namespace or a name."""
    noted = dict(annotations or {}) | ({HINT: hint} if hint is not None else {})
    metadata = {"annotations": noted} if noted else {}
    return {"metadata": metadata, "spec": {"containers": list(containers) or [container()], **spec}}


def on_t4(*containers: Manifest, hint: str | None = "2048", **fields: Any) -> Manifest:
    """A pod that is right in team-a: a slice of the pool `t4`. Containers and fields take the place of its own."""
    spec = {"nodeSelector": {POOL: "t4"}, "tolerations": [GPU]} | fields
    return pod(*(containers or [container(limits={SHARED: "1"})]), hint=hint, **spec)


def with_main(**fields: Any) -> Manifest:
    """The same with more fields of its container."""
    return on_t4(container(limits={SHARED: "1"}, **fields))


def named(made: Manifest, name: str, namespace: str) -> Manifest:
    """A pod as the API takes it."""
    full = copy.deepcopy(made)
    return full | {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": full["metadata"] | {"name": name, "namespace": namespace},
    }


_JOBS = ("Job", "CronJob")


def workload(made: Manifest, kind: str, name: str, namespace: str) -> Manifest:
    """A workload of a kind with the pod as its template."""
    template = copy.deepcopy(made)
    labels = {"app": name}
    spec: Manifest = {"template": template}
    if kind in _JOBS:
        template["spec"]["restartPolicy"] = "Never"
    else:
        template["metadata"]["labels"] = labels
        spec["selector"] = {"matchLabels": labels}
    if kind == "CronJob":
        spec = {"schedule": "@daily", "jobTemplate": {"spec": spec}}
    group = "batch/v1" if kind in _JOBS else "apps/v1"
    return {"apiVersion": group, "kind": kind, "metadata": {"name": name, "namespace": namespace}, "spec": spec}
