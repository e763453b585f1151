"""One pool of the settings, and everything that follows from it: resources, slices, labels, taints, limits, cost.

Nothing here is written twice anywhere else: manifests, overlays, quotas, outputs and the preview all read a `Pool`.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from decimal import Decimal
from fractions import Fraction
from typing import Any, Literal

from gpuslice.catalog import GpuModel, InstanceType, instance_types, mig_profiles
from gpuslice.catalog.prices import PriceTable
from gpuslice.reserves import CONTEXT_RESERVE_MIB, slice_memory_mib
from gpuslice.settings import Exclusive, Mig, Mps, PoolSettings, Replicated
from gpuslice.sharing import mig

GPU = "nvidia.com/gpu"
GPU_SHARED = "nvidia.com/gpu.shared"
POOL_LABEL = "gpu-slicing.io/pool"
MANAGED_BY = {"app.kubernetes.io/managed-by": "gpu-slicing"}
"""On every Kubernetes object of this program."""
PLUGIN_LABEL = "nvidia.com/device-plugin.config"
MIG_LABEL = "nvidia.com/mig.config"
EXCLUSIVE_CONFIG = "exclusive"
Taint = dict[str, str]
Isolation = Literal["none", "hardware"]


@dataclass(frozen=True)
class SliceResource:
    """An extended resource that pods ask for.

    `per_gpu`: how many each GPU is advertised as. `memory_mib`: GPU memory that one gives a pod, in MiB, the least
    over the pool's instance types. `price_share`: the share of one GPU's price that one of them carries.
    """

    name: str
    per_gpu: int
    memory_mib: int
    price_share: Fraction
    profile: str | None = None


@dataclass(frozen=True)
class Overlay:
    """What Karpenter must believe about some instance types of a pool: extended resource to quantity per node."""

    name: str
    instance_types: tuple[str, ...]
    capacity: Mapping[str, int]


@dataclass(frozen=True)
class Pool:
    """A pool and what is derived from it. Make one with `Pool.of`, from settings that `load_settings` accepted."""

    settings: PoolSettings
    types: tuple[InstanceType, ...]
    resources: tuple[SliceResource, ...]

    @classmethod
    def of(cls, settings: PoolSettings) -> Pool:
        known = instance_types()
        types = tuple(known[name] for name in settings.instance_types)
        return cls(settings, types, _resources(settings, types))

    @property
    def name(self) -> str:
        return str(self.settings.name)

    @property
    def gpu(self) -> GpuModel:
        """The GPU model; the first instance type's where a pool has several."""
        return self.types[0].gpu

    @property
    def gpus(self) -> tuple[GpuModel, ...]:
        """The distinct GPU models of the pool, in the order of its instance types."""
        return tuple(dict.fromkeys(t.gpu for t in self.types))

    @property
    def isolation(self) -> Isolation:
        """`hardware`: memory and faults are separated by MIG or by whole GPUs. `none`: neighbours share both."""
        return "none" if isinstance(self.settings.sharing, Replicated) else "hardware"

    @property
    def bottlerocket(self) -> bool:
        return bool(self.settings.ami.startswith("bottlerocket@"))

    @property
    def strict(self) -> bool:
        """Whether a node's containers are kept from GPUs that they did not ask for (`gpuslice.node_isolation`)."""
        return self.settings.isolation == "strict"

    @property
    def config_name(self) -> str:
        """The name, made from its content, of the sharing configuration that the pool's nodes are labelled with."""
        sharing = self.settings.sharing
        if isinstance(sharing, Mig):
            return mig.layout_name(str(self.gpu.mig_gpu), sharing.layout)
        if isinstance(sharing, Replicated):
            return replicas_config_name(sharing.mode, sharing.replicas, sharing.rename)
        return EXCLUSIVE_CONFIG

    @property
    def config_label(self) -> tuple[str, str]:
        key = MIG_LABEL if isinstance(self.settings.sharing, Mig) else PLUGIN_LABEL
        return key, self.config_name

    def slices(self, instance_type: InstanceType) -> dict[str, int]:
        """Extended resource to its quantity on a node of that type, as the device plugin will advertise it."""
        return {r.name: r.per_gpu * instance_type.devices for r in self.resources}

    @property
    def node_labels(self) -> dict[str, str]:
        """Labels of the pool's nodes."""
        labels = {POOL_LABEL: self.name, self.config_label[0]: self.config_label[1]}
        if self.bottlerocket:
            labels |= BOTTLEROCKET_LABELS
        return labels | dict(self.settings.labels)

    @property
    def taints(self) -> list[Taint]:
        """Taints of the pool's nodes.

        A MIG node shows whole GPUs until the layout is applied, and EKS adds the toleration for `nvidia.com/gpu` by
        itself to a pod that asks for it: the second taint keeps such a pod away.
        """
        taints = [{"key": GPU, "value": "true", "effect": "NoSchedule"}]
        if isinstance(self.settings.sharing, Mig):
            taints.append({"key": POOL_LABEL, "value": self.name, "effect": "NoSchedule"})
        extra = [t.model_dump(exclude_none=True) for t in self.settings.extra_taints]
        return taints + extra

    @property
    def tolerations(self) -> list[Taint]:
        """What a pod must tolerate to run in the pool: exactly its taints."""
        return [_toleration(taint) for taint in self.taints]

    @property
    def node_selector(self) -> dict[str, str]:
        return {POOL_LABEL: self.name}

    @property
    def limits(self) -> dict[str, int]:
        """Karpenter limits: nodes, and slices in the units that the overlays count."""
        nodes = self.settings.limits.nodes
        limits = {"nodes": nodes}
        for resource in self.resources:
            limits[resource.name] = nodes * max(self.slices(t)[resource.name] for t in self.types)
        return limits

    @property
    def overlays(self) -> list[Overlay]:
        """One overlay for each number of GPUs; none where EC2's own count is right."""
        if isinstance(self.settings.sharing, Exclusive) and not any(t.fractional for t in self.types):
            return []
        counts = sorted({t.devices for t in self.types})
        return [self._overlay(count) for count in counts]

    def _overlay(self, gpus: int) -> Overlay:
        types = tuple(t for t in self.types if t.devices == gpus)
        capacity = {GPU: 0} | self.slices(types[0])
        return Overlay(f"{self.name}-{gpus}gpu", tuple(t.name for t in types), capacity)

    def slice_price(self, resource: SliceResource, instance_type: InstanceType, prices: PriceTable) -> Decimal | None:
        """On-demand US dollars for one slice and hour on that type; None where the type has no price in `prices`."""
        price = prices.of(instance_type.name)
        if price is None:
            return None
        per_gpu = Fraction(price) / instance_type.devices
        share = per_gpu * resource.price_share
        return Decimal(share.numerator) / Decimal(share.denominator)

    def output(self, prices: PriceTable) -> dict[str, Any]:
        """What other stacks read of the pool."""
        return {
            "mode": self.settings.sharing.mode,
            "isolation": self.isolation,
            "gpuModels": [g.key for g in self.gpus],
            "instanceTypes": [t.name for t in self.types],
            "resources": [self._resource_output(r, prices) for r in self.resources],
            "nodeSelector": self.node_selector,
            "tolerations": self.tolerations,
            "maxNodes": self.settings.limits.nodes,
            "priceRegion": prices.region,
        }

    def _resource_output(self, resource: SliceResource, table: PriceTable) -> dict[str, Any]:
        prices = {t.name: self.slice_price(resource, t, table) for t in self.types}
        return {
            "name": resource.name,
            "slicesPerNode": {t.name: self.slices(t)[resource.name] for t in self.types},
            "memoryMiB": resource.memory_mib,
            "pricePerSliceHour": {n: round(float(p), 6) for n, p in prices.items() if p is not None},
        }


def warnings(pools: Iterable[Pool]) -> list[str]:
    """What a user should know before relying on the pools: allowed, but not as good as it looks."""
    mps = [p.name for p in pools if isinstance(p.settings.sharing, Mps)]
    if not mps:
        return []
    names = ", ".join(mps)
    reason = "a fault of one client can end the others, and nothing of it was run on a GPU"
    return [f"pool {names}: MPS sharing is experimental, in NVIDIA's device plugin and here: {reason}"]


BOTTLEROCKET_LABELS = {
    f"nvidia.com/gpu.deploy.{operand}": "false"
    for operand in (
        "driver",
        "container-toolkit",
        "device-plugin",
        "mig-manager",
        "operator-validator",
        "mps-control-daemon",
    )
}
"""Bottlerocket has the driver, toolkit and device plugin inside: the operator's own must stay away from its nodes."""


def replicas_config_name(mode: str, replicas: int, rename: bool) -> str:
    """`time-slicing-4`, or `time-slicing-4-plain` where the slices keep the name `nvidia.com/gpu`."""
    return f"{mode}-{replicas}" + ("" if rename else "-plain")


def _toleration(taint: Taint) -> Taint:
    toleration = {"key": taint["key"], "operator": "Equal" if "value" in taint else "Exists"}
    return toleration | {k: taint[k] for k in ("value", "effect") if k in taint}


def _resources(settings: PoolSettings, types: tuple[InstanceType, ...]) -> tuple[SliceResource, ...]:
    sharing = settings.sharing
    memory = min(t.gpu_memory_mib for t in types)
    if isinstance(sharing, Mig):
        return _mig_resources(sharing.layout, types[0].gpu, memory)
    if isinstance(sharing, Replicated):
        name = GPU_SHARED if sharing.rename else GPU
        slice_memory = slice_memory_mib(memory, sharing.replicas)
        return (SliceResource(name, sharing.replicas, slice_memory, Fraction(1, sharing.replicas)),)
    return (SliceResource(GPU, 1, memory - CONTEXT_RESERVE_MIB, Fraction(1)),)


def _mig_resources(layout: Mapping[str, int], gpu: GpuModel, memory: int) -> tuple[SliceResource, ...]:
    profiles = mig_profiles(str(gpu.mig_gpu))
    shares = mig.shares(str(gpu.mig_gpu), layout)
    slices = max(p.memory_slices for p in profiles.values())
    return tuple(
        SliceResource(
            profile.resource,
            layout[profile.name],
            min(profile.memory_gb * 1024, memory * profile.memory_slices // slices) - CONTEXT_RESERVE_MIB,
            shares[profile.name],
            profile.name,
        )
        for profile in profiles.values()
        if profile.name in layout
    )
