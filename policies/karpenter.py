"""Which GPU instance types a Karpenter NodePool may buy, judged from its requirements and the catalogue."""

from __future__ import annotations

import re
from collections.abc import Container, Iterable, Mapping
from dataclasses import dataclass
from functools import cache

from gpuslice.catalog import InstanceType, instance_types
from policies.model import Item
from policies.view import View
from policies.workloads import GPU_TAINT, Taint

NODE_POOL = "karpenter.sh/NodePool"
NODE_CLASS = "karpenter.k8s.aws/EC2NodeClass"
OVERLAY = "karpenter.sh/NodeOverlay"
INSTANCE_TYPE = "node.kubernetes.io/instance-type"
POOL_KEY = "karpenter.sh/nodepool"
_AWS = "karpenter.k8s.aws/instance-"
_NAMING_KEYS = (INSTANCE_TYPE, f"{_AWS}family", f"{_AWS}category")
# Names that mean the same labels: Karpenter's own for the old ones (pkg/apis/v1/labels.go NormalizedLabels), and the
# prefix of EKS Auto Mode (docs.aws.amazon.com/eks/latest/userguide/create-node-pool.html).
_OLD_KEYS = {
    "beta.kubernetes.io/instance-type": INSTANCE_TYPE,
    "beta.kubernetes.io/arch": "kubernetes.io/arch",
}
_AUTO_MODE = "eks.amazonaws.com/instance-"
_CATEGORIES = ("g", "gr", "p")
# Families of other makers whose names begin like NVIDIA's: AMD's g4ad.
_NOT_NVIDIA = ("g4ad",)
# Karpenter's own pattern (pkg/providers/instancetype/types.go): letters before the generation's number.
_FAMILY = re.compile(r"([a-z]+)(\d+)[^.]*")


def requirements(pool: Item) -> list[View]:
    return pool.data.at("spec", "template", "spec", "requirements").items()


def taints(pool: Item, field: str = "taints") -> list[View]:
    return pool.data.at("spec", "template", "spec", field).items()


def tainted(pool: Item) -> bool:
    """Whether the nodes keep the GPU taint, exactly; a startup taint goes away."""
    return GPU_TAINT in [Taint.of(taint) for taint in taints(pool)]


def node_labels(pool: Item) -> View:
    return pool.data.at("spec", "template", "metadata", "labels")


def constraints(pool: Item) -> list[View]:
    """What limits the types that the pool may buy: its requirements, and the labels that it gives its nodes.

    Source: Karpenter's NewNodeClaimTemplate, which adds the labels to the requirements.
    """
    labels = node_labels(pool).fields().items()
    return requirements(pool) + [
        View({"key": key, "operator": "In", "values": [label.value]}, label.path) for key, label in labels
    ]


def label_key(requirement: View) -> str:
    """The label that a requirement means, by the name that Karpenter itself uses."""
    key = requirement["key"].text()
    if key.startswith(_AUTO_MODE):
        return _AWS + key.removeprefix(_AUTO_MODE)
    return _OLD_KEYS.get(key, key)


def buyable(pool: Item) -> list[InstanceType]:
    """The GPU types of the catalogue that satisfy every requirement of the pool."""
    wanted = _limits(pool)
    return [t for t in instance_types().values() if _allow(wanted, _labels(t.name))]


def buyable_unlisted(pool: Item) -> list[str]:
    """GPU types and families that the catalogue does not have and that the requirements leave in, as far as names tell.

    `p0` stands for every other family of its category, such as one that comes later.
    """
    wanted = _limits(pool)
    names = [*unknown_gpu_names(pool), *(f"{category}0" for category in _CATEGORIES)]
    return [name for name in names if _allow(wanted, _unlisted(name))]


def may_buy_gpus(pool: Item) -> bool:
    """Whether a GPU type, of the catalogue or newer than it, satisfies the requirements."""
    wanted = _limits(pool)
    return any(_allow(wanted, _labels(name)) for name in instance_types()) or bool(buyable_unlisted(pool))


def names_gpus(pool: Item) -> bool:
    """Whether the requirements ask for GPUs by name: type, family, category or a GPU label."""
    return any(_names_gpus(requirement) for requirement in constraints(pool))


def is_gpu_type(name: str) -> bool:
    """Whether an instance type or family has NVIDIA GPUs, by its name: `p4d.24xlarge`, `g5`, `gr6`, a bare `p`."""
    return _category(name)[0] in _CATEGORIES and name.partition(".")[0] not in _NOT_NVIDIA


def unknown_gpu_names(pool: Item) -> list[str]:
    """Names of types, families and categories that look like NVIDIA's and that the catalogue does not have."""
    known = set(instance_types()) | {_labels(name)[f"{_AWS}family"] for name in instance_types()}
    named = [value for requirement in constraints(pool) for value in _named(requirement)]
    return [value for value in named if value not in known and is_gpu_type(value)]


def _named(requirement: View) -> list[str]:
    return requirement["values"].texts() if label_key(requirement) in _NAMING_KEYS else []


def _names_gpus(requirement: View) -> bool:
    key, operator = label_key(requirement), requirement["operator"].text()
    if key.startswith(f"{_AWS}gpu-"):
        # Types without GPUs have no such label: any other operator leaves GPUs alone. DoesNotExist leaves none.
        return operator != "NotIn"
    if key not in _NAMING_KEYS or operator != "In":
        return False
    return any(is_gpu_type(value) for value in requirement["values"].texts())


def _category(name: str) -> tuple[str, str]:
    """Category and generation: `p` and `4` of `p4d.24xlarge`."""
    match = _FAMILY.match(name)
    return (match[1], match[2]) if match else (name, "")


@dataclass(frozen=True)
class Limit:
    """A requirement, read once to be asked for many types."""

    key: str
    operator: str
    values: tuple[str, ...]

    @classmethod
    def of(cls, requirement: View, labels: Container[str]) -> Limit:
        """Its values are read only where types have the label."""
        key = label_key(requirement)
        return cls(key, requirement["operator"].text(), tuple(requirement["values"].texts()) if key in labels else ())

    def allows(self, labels: Mapping[str, str]) -> bool:
        if self.key.startswith(f"{_AWS}accelerator-"):
            # Other makers' chips, which no NVIDIA type has (pkg/providers/instancetype/types.go).
            return self.operator in ("NotIn", "DoesNotExist")
        if self.key not in labels:
            return self.operator != "DoesNotExist" or not self.key.startswith(f"{_AWS}gpu-")
        if self.operator in ("In", "NotIn"):
            return (labels[self.key] in self.values) == (self.operator == "In")
        if self.operator == "DoesNotExist":
            return False
        return _compares(self.operator, labels[self.key], self.values)


def admits(requirement: View, labels: Mapping[str, str]) -> bool:
    """Whether an instance type with these labels satisfies a requirement.

    A label that is not among them may have any value: what is not known to exclude a type does not exclude it.
    """
    return Limit.of(requirement, labels).allows(labels)


def _limits(pool: Item) -> list[Limit]:
    known = _labels(next(iter(instance_types())))
    return [Limit.of(requirement, known) for requirement in constraints(pool)]


def _allow(limits: Iterable[Limit], labels: Mapping[str, str]) -> bool:
    return all(limit.allows(labels) for limit in limits)


def _compares(operator: str, value: str, values: tuple[str, ...]) -> bool:
    """Gt, Lt, Gte and Lte on whole numbers; any other operator, or a bound that is none, excludes nothing."""
    if len(values) != 1 or not values[0].isdigit() or not value.isdigit():
        return True
    number, bound = int(value), int(values[0])
    return {"Gt": number > bound, "Gte": number >= bound, "Lt": number < bound, "Lte": number <= bound}.get(
        operator, True
    )


def type_labels(name: str) -> Mapping[str, str]:
    """The well-known labels of a GPU type of the catalogue."""
    return _labels(name)


@cache
def _labels(name: str) -> Mapping[str, str]:
    """The well-known labels of a GPU type of the catalogue, as Karpenter's AWS provider sets them."""
    instance_type = instance_types()[name]
    family, _, size = name.partition(".")
    category, generation = _category(family)
    return {
        INSTANCE_TYPE: name,
        "kubernetes.io/arch": instance_type.architecture,
        f"{_AWS}category": category,
        f"{_AWS}family": family,
        f"{_AWS}generation": generation,
        f"{_AWS}size": size,
        f"{_AWS}capability-flex": "false",
        f"{_AWS}cpu": str(instance_type.vcpus),
        f"{_AWS}memory": str(instance_type.memory_mib),
        f"{_AWS}gpu-name": instance_type.gpu.karpenter_name,
        f"{_AWS}gpu-manufacturer": "nvidia",
        f"{_AWS}gpu-count": str(instance_type.gpu_count),
        f"{_AWS}gpu-memory": str(instance_type.gpu_memory_mib),
    }


def _unlisted(name: str) -> Mapping[str, str]:
    """The labels of a GPU type or family that the catalogue does not have, as far as its name tells them."""
    return {
        INSTANCE_TYPE: name,
        f"{_AWS}category": _category(name)[0],
        f"{_AWS}family": name.partition(".")[0],
        f"{_AWS}capability-flex": "false",
        f"{_AWS}gpu-manufacturer": "nvidia",
    }
