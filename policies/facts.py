"""What several stack rules need to know of a program: GPU pools, sharing configurations, overlays, node classes.

Each fact is derived once for a stack. It is derived here anew from what the resources say, with nothing of the program
that wrote them.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from decimal import Decimal
from functools import lru_cache
from typing import Any, TypeVar

import yaml

from gpuslice.catalog import InstanceType
from policies import karpenter
from policies.items import HELM
from policies.model import Item, Stack
from policies.view import OddShape, Unjudged, View
from policies.workloads import GPU, GPU_SHARED

PLUGIN_LABEL = "nvidia.com/device-plugin.config"
MIG_LABEL = "nvidia.com/mig.config"
CONFIG_MAP = "/ConfigMap"
OPERATOR_CHART = "gpu-operator"
KARPENTER_CHART = "karpenter"
KARPENTER_CRD_CHART = "karpenter-crd"
CLUSTERS = ("eks:index:Cluster", "aws:eks/cluster:Cluster")
# The last part of a chart's address: a name, then perhaps a version as a tag or in a file's name, and a digest.
_CHART = re.compile(r"(?P<name>.+?)(?:[:-](?P<version>v?\d+\.\d+\.\d+[^:@]*?))?(?:@sha256:\w+)?(?:\.tgz)?")
EXACT_VERSION = re.compile(r"v?\d+\.\d+\.\d+(?:[-+][0-9A-Za-z.+-]+)?")
"""A chart's version that is no range, with or without a pre-release."""
T = TypeVar("T")


@dataclass(frozen=True, eq=False)
class GpuPool:
    """A NodePool meant for GPUs. `plugin` and `mig` are the names of configurations that its label gives, or ""."""

    item: Item
    types: tuple[InstanceType, ...]
    plugin: str
    mig: str
    node_class: str

    @property
    def name(self) -> str:
        return self.item.name


@dataclass(frozen=True)
class Sharing:
    """Replicas that a device plugin configuration makes of each GPU. `mode` is `time-slicing` or `mps`."""

    mode: str
    replicas: int
    renamed: bool

    @property
    def resource(self) -> str:
        return GPU_SHARED if self.renamed else GPU


def chart_name(release: Item) -> str:
    """`gpu-operator` of `nvidia/gpu-operator`, `oci://registry/gpu-operator:v1.0.0` and `gpu-operator-v1.0.0.tgz`."""
    return _chart(release)[0]


def chart_version(release: Item) -> str:
    """The version that a release asks for, beside the chart's name or in it; "" where it takes the newest."""
    return release.data["version"].text() or _chart(release)[1]


def _chart(release: Item) -> tuple[str, str]:
    match = _CHART.fullmatch(release.data["chart"].text().rstrip("/").rpartition("/")[2])
    return (match["name"], match["version"] or "") if match else ("", "")


def releases(stack: Stack, chart: str) -> list[Item]:
    """The Helm releases of a chart."""
    named = readable(stack.of(HELM), lambda item: (chart_name(item), item))
    return [item for name, item in named if name == chart]


def once(stack: Stack, name: str, derive: Callable[[], T]) -> T:
    """What `derive` finds in a stack, found once."""
    if name not in stack.memo:
        stack.memo[name] = derive()
    found: T = stack.memo[name]
    return found


def pools(stack: Stack) -> list[GpuPool]:
    """The NodePools that are meant for GPUs."""
    return once(stack, "pools", lambda: [p for p in readable(stack.of(karpenter.NODE_POOL), gpu_pool) if p])


def readable(items: Iterable[Item], read: Callable[[Item], T]) -> list[T]:
    """What is read of each item, without those that are odd or not known yet: `readable-resources` reports them."""
    found = []
    for item in items:
        with suppress(OddShape, Unjudged):
            found.append(read(item))
    return found


def is_gpu_pool(item: Item) -> bool:
    """Whether a NodePool is meant for GPUs: it can buy them, and asks for them or carries their taint."""
    return (karpenter.names_gpus(item) or karpenter.tainted(item)) and karpenter.may_buy_gpus(item)


def gpu_pool(item: Item) -> GpuPool | None:
    """A NodePool as a pool of GPUs, None where it cannot buy any, or could only because it does not exclude them."""
    if not is_gpu_pool(item):
        return None
    labels = karpenter.node_labels(item)
    reference = item.data.at("spec", "template", "spec", "nodeClassRef", "name")
    return GpuPool(
        item,
        tuple(karpenter.buyable(item)),
        labels[PLUGIN_LABEL].text(),
        labels[MIG_LABEL].text(),
        reference.text(),
    )


def node_class(stack: Stack, pool: GpuPool) -> Item | None:
    """The EC2NodeClass that the pool names, None where it is not in the program."""
    found = [item for item in stack.of(karpenter.NODE_CLASS) if item.name == pool.node_class]
    return found[0] if found else None


def gpu_node_classes(stack: Stack) -> list[Item]:
    """The EC2NodeClasses that pools of GPUs name."""
    names = {pool.node_class for pool in pools(stack)}
    return [item for item in stack.of(karpenter.NODE_CLASS) if item.name in names]


def is_bottlerocket(item: Item) -> bool:
    """Whether an EC2NodeClass makes Bottlerocket nodes, whose device plugin is part of the OS."""
    return _is_family(item, "bottlerocket")


def is_al2023(item: Item) -> bool:
    """Whether an EC2NodeClass makes nodes of Amazon Linux 2023."""
    return _is_family(item, "al2023")


def _is_family(item: Item, wanted: str) -> bool:
    aliases = [term["alias"].text() for term in item.data.at("spec", "amiSelectorTerms").items()]
    family = item.data.at("spec", "amiFamily").text()
    return any(name.lower().startswith(wanted) for name in (*aliases, family))


def plugin_configs(stack: Stack) -> dict[str, View]:
    """Device plugin configurations by name: those of the operator's values, and of the ConfigMap they point to.

    Without an operator in the program, those of every ConfigMap that holds any.
    """
    return once(stack, "plugin", lambda: _configs(stack, "devicePlugin", is_plugin_config))


def mig_configs(stack: Stack) -> dict[str, View]:
    """MIG layouts by name: the entries of `mig-configs`, wherever the operator finds them."""

    def derive() -> dict[str, View]:
        documents = [d["mig-configs"] for d in _configs(stack, "migManager", is_mig_config).values()]
        # `mig-config-valid` reports what is no map of layouts.
        return {k: entry for d in documents if isinstance(d.known(), Mapping) for k, entry in d.fields().items()}

    return once(stack, "mig", derive)


def is_plugin_config(data: Any) -> bool:
    return isinstance(data, Mapping) and "mig-configs" not in data and bool({"version", "sharing", "flags"} & set(data))


def is_mig_config(data: Any) -> bool:
    return isinstance(data, Mapping) and "mig-configs" in data


def _configs(stack: Stack, operand: str, fits: Callable[[Any], bool]) -> dict[str, View]:
    operators = releases(stack, OPERATOR_CHART)
    names = set(readable(operators, lambda r: r.data.at("values", operand, "config", "name").text()))
    maps = [item for item in stack.of(CONFIG_MAP) if not operators or item.name in names]
    given = readable(operators, lambda r: documents(r.data.at("values", operand, "config", "data"), fits))
    given += readable(maps, lambda item: documents(item.data["data"], fits))
    return {key: parsed for found in given for key, parsed in found.items()}


def documents(data: View, fits: Callable[[Any], bool]) -> dict[str, View]:
    """The YAML documents of a ConfigMap's data that have the form asked for, by key."""
    found = {}
    for key, entry in data.fields().items():
        parsed = _parsed(entry)
        if fits(parsed):
            found[key] = View(parsed, entry.path)
    return found


def _parsed(entry: View) -> Any:
    """A text is YAML, as in a ConfigMap, which holds nothing else; Helm values may hold the document itself."""
    return entry.known() if isinstance(entry.known(), Mapping | None) else _loaded(entry.text())


@lru_cache(maxsize=256)
def _loaded(text: str) -> Any:
    """Many rules read the same documents, which nobody changes."""
    try:
        return yaml.load(text, Loader=_LOADER)
    except yaml.YAMLError:
        return None


_LOADER = getattr(yaml, "CSafeLoader", yaml.SafeLoader)


def sharing(config: View) -> Sharing | None:
    """How a device plugin configuration shares the resource nvidia.com/gpu; None where it does not.

    An `mps` block wins over `timeSlicing`. Source: k8s-device-plugin api/config/v1.
    """
    for key, mode in (("mps", "mps"), ("timeSlicing", "time-slicing")):
        block = config.at("sharing", key)
        for resource in block["resources"].items():
            replicas = resource["replicas"].number()
            if resource["name"].text() in (GPU, "gpu") and replicas is not None:
                return Sharing(mode, int(replicas), block["renameByDefault"].flag())
    return None


@dataclass(frozen=True, eq=False)
class Overlay:
    """A NodeOverlay: the pools and instance types that it is limited to (None: all), and what it says of them."""

    item: Item
    pools: frozenset[str] | None
    types: frozenset[str] | None
    weight: int
    capacity: Mapping[str, Decimal]

    def covers(self, pool: str, instance_type: str) -> bool:
        """Whether Karpenter applies it to the type in the pool, as far as these two limit it."""
        return _within(self.pools, pool) and _within(self.types, instance_type)


def _within(scope: frozenset[str] | None, value: str) -> bool:
    return scope is None or value in scope


def overlays(stack: Stack) -> list[Overlay]:
    return once(stack, "overlays", lambda: readable(stack.of(karpenter.OVERLAY), overlay))


def overlay(item: Item) -> Overlay:
    """A NodeOverlay read as one."""
    spec = item.data["spec"]
    capacity = {name: amount.number() or Decimal(0) for name, amount in spec["capacity"].fields().items()}
    pools, types = _scope(item, karpenter.POOL_KEY), _scope(item, karpenter.INSTANCE_TYPE)
    return Overlay(item, pools, types, int(spec["weight"].number() or 0), capacity)


def _scope(item: Item, key: str) -> frozenset[str] | None:
    """The values that the requirement `In` allows for a label; None where the overlay does not limit it so."""
    for requirement in item.data.at("spec", "requirements").items():
        if requirement["key"].text() == key and requirement["operator"].text() == "In":
            return frozenset(requirement["values"].texts())
    return None
