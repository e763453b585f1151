"""Pods, and what makes pods: where their specification is, what they ask for, what they tolerate."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from decimal import Decimal

from policies.model import Config, Item, Option
from policies.view import View

GPU = "nvidia.com/gpu"
GPU_SHARED = "nvidia.com/gpu.shared"
PREFIX = "nvidia.com/"
_TEMPLATE = ("spec", "template", "spec")
_POD_SPECS = {
    "/Pod": ("spec",),
    "/PodTemplate": ("template", "spec"),
    "/ReplicationController": _TEMPLATE,
    "apps/Deployment": _TEMPLATE,
    "apps/ReplicaSet": _TEMPLATE,
    "apps/StatefulSet": _TEMPLATE,
    "apps/DaemonSet": _TEMPLATE,
    "batch/Job": _TEMPLATE,
    "batch/CronJob": ("spec", "jobTemplate", "spec", "template", "spec"),
}
WORKLOADS = tuple(_POD_SPECS)


@dataclass(frozen=True)
class Taint:
    """A taint of a node; `value` is "" where it has none."""

    key: str
    value: str
    effect: str

    @classmethod
    def of(cls, view: View) -> Taint:
        return cls(view["key"].text(), view["value"].text(), view["effect"].text())

    def __str__(self) -> str:
        return f"{self.key}{'=' if self.value else ''}{self.value}:{self.effect}"


GPU_TAINT = Taint(GPU, "true", "NoSchedule")


EXEMPT: dict[str, Option] = {
    "namespaces": Option(
        "list",
        ("gpu-operator", "kube-system"),
        "namespaces of the system's own pods, by their exact names, in which the rule does not hold",
    )
}


def pod_spec(item: Item) -> View:
    """The specification of the item's pods."""
    return item.data.at(*_POD_SPECS[item.kind])


def pod_metadata(item: Item) -> View:
    """The metadata of the item's pods."""
    return item.data.at(*_POD_SPECS[item.kind][:-1], "metadata")


def exempt(item: Item, config: Config) -> bool:
    """Whether the item is one of the system's own, by a rule with the options `EXEMPT`."""
    return namespace(item) in config["namespaces"]


def namespace(item: Item) -> str:
    """The namespace of the item's pods; that of the API where none is given."""
    return item.data.at("metadata", "namespace").text() or "default"


def containers(spec: View, *fields: str) -> Iterator[View]:
    """Containers of every kind, or those in the named fields."""
    for name in fields or ("initContainers", "containers", "ephemeralContainers"):
        yield from spec[name].items()


def gpu_requests(container: View) -> dict[str, Decimal]:
    """NVIDIA resources that a container asks for, zeros left out. A limit alone is a request too."""
    found: dict[str, Decimal] = {}
    for part in ("requests", "limits"):
        for name, amount in container.at("resources", part).fields().items():
            number = amount.number() if name.startswith(PREFIX) else None
            if number:
                found[name] = max(number, found.get(name, Decimal(0)))
    return found


def is_slice(resource: str) -> bool:
    """Whether a resource is a part of a GPU: `nvidia.com/gpu.shared`, `nvidia.com/mig-1g.5gb`."""
    return resource == GPU_SHARED or resource.startswith(f"{PREFIX}mig-")


def slices(container: View) -> dict[str, Decimal]:
    """The parts of GPUs that a container asks for."""
    return {name: number for name, number in gpu_requests(container).items() if is_slice(name)}


def asks_for_gpu(spec: View) -> bool:
    return any(gpu_requests(container) for container in containers(spec))


def tolerates(toleration: View, taint: Taint) -> bool:
    """Whether one toleration matches a taint, as the scheduler sees it.

    Source: k8s.io/api/core/v1 Toleration.ToleratesTaint: no effect is every effect, no key with Exists is every key.
    """
    effect, key = toleration["effect"].text(), toleration["key"].text()
    if effect not in ("", taint.effect) or key not in ("", taint.key):
        return False
    operator = toleration["operator"].text() or "Equal"
    if operator == "Exists":
        return True
    return bool(key) and operator == "Equal" and toleration["value"].text() == taint.value


def tolerated(spec: View, taint: Taint) -> bool:
    """Whether pods of this specification may run on nodes with the taint."""
    return any(tolerates(toleration, taint) for toleration in spec["tolerations"].items())
