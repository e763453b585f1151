"""Which rules a pod breaks, in plain Python, for the stack that `admission_cases` describes.

Written from `docs/admission.md` and Kubernetes' documentation, not from the rules' CEL: the two are compared on random
pods. What the stack's pools are is typed here once more for the same reason.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

Manifest = Mapping[str, Any]
HINT = "gpu-slicing.io/gpu-memory-mib"
POOL = "gpu-slicing.io/pool"
GPU_TAINT = ("nvidia.com/gpu", "true", "NoSchedule")
FORBIDDEN_NAMES = {
    "NVIDIA_VISIBLE_DEVICES",
    "NVIDIA_MIG_CONFIG_DEVICES",
    "NVIDIA_MIG_MONITOR_DEVICES",
    "NVIDIA_IMEX_CHANNELS",
}
EXPONENTS = {"m": -3, "": 0, "k": 3, "M": 6, "G": 9}


@dataclass(frozen=True)
class Offer:
    """What a pool is to a pod: resource to MiB, the namespaces that may use it, and its taints beside the GPU's."""

    memory: Mapping[str, int]
    namespaces: frozenset[str]
    sharing: str
    fences: tuple[tuple[str, str, str], ...] = ()


POOLS = {
    "t4": Offer({"nvidia.com/gpu.shared": 3584}, frozenset({"team-a", "gpu-slicing-verification"}), "time-slicing"),
    "l4": Offer({"nvidia.com/gpu.shared": 10932}, frozenset({"team-a", "team-b"}), "time-slicing"),
    "a100-mig": Offer(
        {"nvidia.com/mig-1g.5gb": 4608, "nvidia.com/mig-2g.10gb": 9728},
        frozenset({"team-a"}),
        "mig",
        ((POOL, "a100-mig", "NoSchedule"),),
    ),
    "h100-mig": Offer(
        {"nvidia.com/mig-1g.10gb": 9728}, frozenset({"team-b"}), "mig", ((POOL, "h100-mig", "NoSchedule"),)
    ),
    "t4-plain": Offer(
        {"nvidia.com/gpu": 3584},
        frozenset({"team-a"}),
        "time-slicing",
        (("example.com/plain", "", "NoSchedule"), ("example.com/team", "a", "NoExecute")),
    ),
    "h100-whole": Offer({"nvidia.com/gpu": 81408}, frozenset({"team-a"}), "exclusive"),
}


def number(quantity: str | int) -> Decimal:
    """A Kubernetes quantity, of those without binary suffix."""
    found = re.fullmatch(r"(\d+)([mkMG]?)", str(quantity))
    assert found, quantity
    return Decimal(found[1]).scaleb(EXPONENTS[found[2]])


def as_pod(template: Manifest) -> Manifest:
    """What a template becomes: EKS' admission lets a pod tolerate the taint of each extended resource it names."""
    spec = dict(template["spec"])
    named = sorted({name for c in [*spec["containers"], *spec.get("initContainers", ())] for name in limits(c)})
    added = [{"key": name, "operator": "Exists", "effect": "NoSchedule"} for name in named if "/" in name]
    return {**template, "spec": {**spec, "tolerations": [*spec.get("tolerations", ()), *added]}}


def limits(container: Manifest) -> Mapping[str, str | int]:
    found: Mapping[str, str | int] = container.get("resources", {}).get("limits", {})
    return found


def gpus(container: Manifest) -> dict[str, Decimal]:
    """The GPU resources of a container of which it asks for any."""
    names = [
        k for k in limits(container) if k == "nvidia.com/gpu" or k.startswith(("nvidia.com/gpu.", "nvidia.com/mig-"))
    ]
    return {name: amount for name in names if (amount := number(limits(container)[name])) > 0}


def every_container(spec: Manifest) -> list[Manifest]:
    return [c for kind in ("initContainers", "containers", "ephemeralContainers") for c in spec.get(kind, ())]


def tolerates(toleration: Manifest, taint: tuple[str, str, str]) -> bool:
    """kubernetes.io/docs/concepts/scheduling-eviction/taint-and-toleration"""
    key, value, effect = taint
    if toleration.get("effect", effect) != effect:
        return False
    if "key" not in toleration:
        return bool(toleration["operator"] == "Exists")
    if toleration["key"] != key:
        return False
    return toleration.get("operator") == "Exists" or toleration.get("value", "") == value


def highest_use(spec: Manifest, resource: str) -> Decimal:
    """The most of a resource that the containers of a pod hold at one time, as the scheduler counts it."""
    peak = sidecars = Decimal(0)
    for container in spec.get("initContainers", ()):
        amount = gpus(container).get(resource, Decimal(0))
        if container.get("restartPolicy") == "Always":
            sidecars += amount
            peak = max(peak, sidecars)
        else:
            peak = max(peak, sidecars + amount)
    running = sum((gpus(c).get(resource, Decimal(0)) for c in spec["containers"]), Decimal(0))
    return max(peak, sidecars + running)


def reachable(spec: Manifest) -> list[str]:
    """The pools on whose nodes the pod can land."""
    tolerations = spec.get("tolerations", ())
    wanted = spec.get("nodeSelector", {}).get(POOL)
    asked = {name for c in every_container(spec) for name in gpus(c)}
    return [
        name
        for name, offer in POOLS.items()
        if asked & set(offer.memory)
        and wanted in (None, name)
        and all(any(tolerates(t, fence) for t in tolerations) for fence in offer.fences)
    ]


def broken(template: Manifest, namespace: str, *, placed: bool = False) -> set[str]:
    """The names of the rules that a pod, or the template of one, breaks; `placed`: its node was chosen already."""
    spec = template["spec"]
    found = set(_of_resources(spec)) | set(_of_devices(template)) | set(_of_host(spec)) | set(_of_tolerations(spec))
    if spec.get("nodeName") and not placed:
        found.add("no-node-name")
    return found | set(_of_pools(template, namespace))


def _of_resources(spec: Manifest) -> Iterator[str]:
    containers = every_container(spec)
    # A GPU of a pool whose slices keep that name may be a slice.
    whole = {"nvidia.com/gpu"} - {
        n for p in reachable(spec) if POOLS[p].sharing != "exclusive" for n in POOLS[p].memory
    }
    slices = {name for c in containers for name in gpus(c)} - whole
    if any(gpus(c).get(name, 0) > 1 for c in containers for name in slices):
        yield "one-slice-per-container"
    if _share(spec, slices):
        yield "one-slice-per-pod"
    if len({name for c in containers for name in gpus(c)}) > 1:
        yield "one-kind-of-gpu"


def _share(spec: Manifest, slices: set[str]) -> bool:
    """Whether two containers hold slices at one time: count each container as one, whatever it asks."""

    def one(container: Manifest) -> Manifest:
        return {
            **container,
            "resources": {"limits": {"nvidia.com/gpu.any": "1"} if slices & set(gpus(container)) else {}},
        }

    counted = {kind: [one(c) for c in spec.get(kind, ())] for kind in ("initContainers", "containers")}
    return highest_use(counted, "nvidia.com/gpu.any") > 1


def _of_devices(template: Manifest) -> Iterator[str]:
    spec = template["spec"]
    containers = every_container(spec)
    variables = [e for c in containers for e in c.get("env", ()) if e["name"] in FORBIDDEN_NAMES]
    if any(e.get("value") not in ("void", "none") for e in variables):
        yield "no-device-variables"
    prefixes = [f.get("prefix", "") for c in containers for f in c.get("envFrom", ())]
    if any(name.startswith(p) for p in prefixes if p for name in FORBIDDEN_NAMES):
        yield "no-device-variable-prefix"
    if spec.get("runtimeClassName") in ("nvidia", "nvidia-cdi", "nvidia-legacy"):
        yield "no-gpu-runtime-class"
    if any("nvidia-container-devices" in m["mountPath"] for c in containers for m in c.get("volumeMounts", ())):
        yield "no-device-mounts"
    annotations = template.get("metadata", {}).get("annotations", {})
    if any(key.startswith("cdi.k8s.io/") for key in annotations):
        yield "no-cdi-annotations"


def _of_host(spec: Manifest) -> Iterator[str]:
    containers = every_container(spec)
    if not any(gpus(c) for c in containers) and not any(tolerates(t, GPU_TAINT) for t in spec.get("tolerations", ())):
        return
    contexts = [c.get("securityContext", {}) for c in containers]
    if any(context.get("privileged") for context in contexts):
        yield "no-privileged"
    added = [a.upper().removeprefix("CAP_") for c in contexts for a in c.get("capabilities", {}).get("add", ())]
    if {"ALL", "SYS_ADMIN", "SYS_PTRACE"} & set(added):
        yield "no-capabilities"
    if any(spec.get(field) for field in ("hostPID", "hostIPC", "hostNetwork")):
        yield "no-host-namespaces"
    if any("hostPath" in volume for volume in spec.get("volumes", ())):
        yield "no-host-paths"


def _of_tolerations(spec: Manifest) -> Iterator[str]:
    tolerations = spec.get("tolerations", ())
    named = [t for t in tolerations if "key" in t]
    if len(named) < len(tolerations):
        yield "no-blanket-toleration"
    reaching = any(t["key"] == POOL or tolerates(t, GPU_TAINT) for t in named)
    if reaching and not any(gpus(c) for c in every_container(spec)):
        yield "gpu-toleration"


def _of_pools(template: Manifest, namespace: str) -> Iterator[str]:
    spec, hint = template["spec"], template.get("metadata", {}).get("annotations", {}).get(HINT)
    asked = {name for c in every_container(spec) for name in gpus(c)}
    well = hint is not None and re.fullmatch("[1-9][0-9]{0,8}", hint)
    if asked and hint is not None and not well:
        yield "memory-hint-format"
    for name, offer in POOLS.items():
        own = [fence for fence in offer.fences if fence[0] == POOL]
        if name not in reachable(spec) and asked and namespace not in offer.namespaces:
            keyed = [t for t in spec.get("tolerations", ()) if "key" in t]
            if any(tolerates(t, fence) for t in keyed for fence in own):
                yield "pool-toleration"
        if name in reachable(spec):
            yield from _of_pool(spec, offer, namespace, hint, bool(well))


def _of_pool(spec: Manifest, offer: Offer, namespace: str, hint: str | None, well: bool) -> Iterator[str]:
    asked = {name for c in every_container(spec) for name in gpus(c)} & set(offer.memory)
    if namespace not in offer.namespaces:
        yield "pool-namespace"
    if offer.sharing == "time-slicing" and hint is None:
        yield "memory-hint-required"
    if hint is not None and well and any(int(hint) > offer.memory[name] for name in asked):
        yield "memory-hint-fits"
