"""What the nodes of each GPU pool will offer, from the configuration that their labels or user data choose."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from functools import cached_property, partial

from gpuslice.catalog import InstanceType, mig_profiles
from policies import bottlerocket, device_plugin, facts, karpenter, mig_parted
from policies.device_plugin import Share
from policies.facts import GpuPool, Overlay
from policies.model import Finding, Item, Stack, notes
from policies.view import MISSING, OddShape, Unjudged, View
from policies.workloads import GPU

PLUGIN = "devicePlugin"
MIG = "migManager"


@dataclass(frozen=True)
class Device:
    """What the GPUs of a node are before the plugin shares them: how many, with how much memory each."""

    count: int
    memory_mib: int


@dataclass(frozen=True, eq=False)
class Sliced:
    """A pool of GPUs whose configuration is known and can work.

    `plugin` is the device plugin's configuration, `layout` the entries of its MIG layout, none without MIG.
    `partitions` is what Bottlerocket makes of each GPU by MIG.
    """

    pool: GpuPool
    plugin: View
    layout: tuple[View, ...] = ()
    partitions: Mapping[str, int] | None = None

    @property
    def types(self) -> tuple[InstanceType, ...]:
        return self.pool.types

    def devices(self, instance_type: InstanceType) -> dict[str, Device]:
        """Extended resource to devices on a node of that type, one of the pool's."""
        return self._by_type[instance_type.name]

    @cached_property
    def _by_type(self) -> dict[str, dict[str, Device]]:
        return {instance_type.name: self._devices(instance_type) for instance_type in self.types}

    def _devices(self, instance_type: InstanceType) -> dict[str, Device]:
        number, memory = instance_type.devices, instance_type.gpu_memory_mib
        if self.layout:
            return self._instances(instance_type)
        parts = (self.partitions or {}).get(instance_type.gpu.key, 1)
        return {GPU: Device(number * parts, memory // parts)}

    def _instances(self, instance_type: InstanceType) -> dict[str, Device]:
        wanted: dict[int, dict[str, int]] = {}
        for entry in self.layout:
            if mig_parted.applies(entry, instance_type.gpu):
                wanted |= dict.fromkeys(mig_parted.covered(entry, instance_type.devices), mig_parted.counts(entry))
        totals = sum((Counter(counts) for counts in wanted.values()), Counter[str]())
        profiles = mig_profiles(str(instance_type.gpu.mig_gpu))
        return {mig_parted.resource(p): Device(n, profiles[p].memory_gb * 1024) for p, n in totals.items()}

    @cached_property
    def wanted(self) -> list[Share]:
        """What the plugin's configuration shares, where the nodes have it."""
        return device_plugin.shares(self.plugin)

    def shares(self, instance_type: InstanceType) -> list[Share]:
        """What of the plugin's configuration has an effect on a node of that type."""
        found = self.devices(instance_type)
        return [share for share in self.wanted if share.resource in found]

    def offers(self, instance_type: InstanceType) -> dict[str, int]:
        """Extended resource to its quantity on a node of that type, as the device plugin advertises it."""
        offered = {name: device.count for name, device in self.devices(instance_type).items()}
        for share in self.shares(instance_type):
            offered[share.name] = offered.pop(share.resource) * share.replicas
        return offered

    def needs_overlay(self, instance_type: InstanceType) -> bool:
        """Whether a node offers something else than Karpenter believes."""
        return self.offers(instance_type) != counted(instance_type)


def counted(instance_type: InstanceType) -> dict[str, int]:
    """What Karpenter believes of a type by itself: EC2's number of GPUs, 0 for a fraction of one."""
    return {GPU: instance_type.gpu_count}


def known(stack: Stack) -> list[Sliced]:
    """The GPU pools whose configuration the program has and that can work; other rules report the others."""

    def derive() -> list[Sliced]:
        found = []
        for pool in facts.pools(stack):
            with suppress(OddShape, Unjudged):
                found.append(_sliced(stack, pool))
        return [sliced for sliced in found if sliced]

    return facts.once(stack, "sliced", derive)


def each(pools: Iterable[GpuPool], check: Callable[[GpuPool], Iterable[str]]) -> Iterator[Finding]:
    """The findings of a rule that looks at one pool after the other, as `policies.model.each` for items."""
    for pool in pools:
        for note in notes(partial(check, pool)):
            yield note, pool.item


def each_known(stack: Stack, check: Callable[[Sliced], Iterable[str]]) -> Iterator[Finding]:
    """The same for the pools whose configuration is known."""
    by_pool = {sliced.pool: sliced for sliced in known(stack)}
    return each(by_pool, lambda pool: check(by_pool[pool]))


def is_mig(pool: GpuPool) -> bool:
    """Whether the pool's label asks for a MIG layout."""
    return pool.mig not in ("", mig_parted.DISABLED)


def bottlerocket_class(stack: Stack, pool: GpuPool) -> Item | None:
    """The pool's EC2NodeClass where that makes Bottlerocket nodes, which slice by their user data alone."""
    found = facts.node_class(stack, pool)
    return found if found and facts.is_bottlerocket(found) else None


def _sliced(stack: Stack, pool: GpuPool) -> Sliced | None:
    node_class = bottlerocket_class(stack, pool)
    if node_class:
        return _by_user_data(pool, node_class)
    plugin, layout = plugin_config(stack, pool), mig_layout(stack, pool)
    if plugin is None or not device_plugin.is_valid(plugin):
        return None
    if is_mig(pool) and not _fits(pool, layout):
        return None
    return Sliced(pool, plugin, tuple(layout.items()))


def _fits(pool: GpuPool, layout: View) -> bool:
    if not mig_parted.is_valid(layout) or any(mig_parted.misplaced(entry) for entry in layout.items()):
        return False
    able = all(t.gpu.mig_status == "supported" for t in pool.types)
    return able and not any(list(mig_parted.unfit(layout.items(), t)) for t in pool.types)


def _by_user_data(pool: GpuPool, node_class: Item) -> Sliced | None:
    if not bottlerocket.is_valid(node_class):
        return None
    nvidia = bottlerocket.settings(node_class)
    parts = {t.gpu.key: bottlerocket.partitions(nvidia, t.gpu) for t in pool.types}
    found = {key: number for key, number in parts.items() if number}
    return Sliced(pool, bottlerocket.plugin_config(nvidia), (), found) if len(found) == len(parts) else None


def plugin_config(stack: Stack, pool: GpuPool) -> View | None:
    """The device plugin's configuration on nodes with the operator; None where the program does not have it.

    Without a label the operator's default counts, and without that none (FALLBACK_STRATEGIES is `empty`).
    """
    name = pool.plugin or next(iter(_defaults(stack)), "")
    if name:
        return facts.plugin_configs(stack).get(name)
    # A MIG pool's slices come from its layout; whether whole GPUs are shared, only the operator tells.
    return View({}) if facts.releases(stack, facts.OPERATOR_CHART) or is_mig(pool) else None


def _defaults(stack: Stack) -> list[str]:
    """The operator's default configuration; the chart leaves it out where it names no ConfigMap."""
    releases = facts.releases(stack, facts.OPERATOR_CHART)
    configs = facts.readable(releases, lambda release: config_values(release, PLUGIN))
    named = [config for config in configs if config["name"].text()]
    return [name for config in named if (name := config["default"].text())]


def config_values(release: Item, operand: str) -> View:
    """`<operand>.config` of the GPU operator's values."""
    return release.data.at("values", operand, "config")


def plugin_documents(stack: Stack, item: Item) -> Iterable[View]:
    """The device plugin configurations that the operator's nodes find in a ConfigMap or in its own values."""
    if item.kind == facts.CONFIG_MAP:
        releases = facts.releases(stack, facts.OPERATOR_CHART)
        names = facts.readable(releases, lambda release: config_values(release, PLUGIN)["name"].text())
        data = item.data["data"] if item.name in names else View(MISSING)
    else:
        data = config_values(item, PLUGIN)["data"]
    return facts.documents(data, facts.is_plugin_config).values()


def mig_layout(stack: Stack, pool: GpuPool) -> View:
    """The entries of the layout that the pool's label names; none without MIG, or where the program has it not."""
    return mig_layouts(stack).get(pool.mig, View(MISSING)) if is_mig(pool) else View(MISSING)


def mig_layouts(stack: Stack) -> dict[str, View]:
    """MIG layouts by name: those of the program, or those that the MIG manager makes of the hardware."""
    operators = facts.releases(stack, facts.OPERATOR_CHART)
    names = facts.readable(operators, lambda release: config_values(release, MIG)["name"].text())
    return mig_parted.generated() if operators and names == [""] * len(operators) else facts.mig_configs(stack)


def covers(overlay: Overlay, pool: GpuPool, instance_type: InstanceType) -> bool:
    """Whether Karpenter applies an overlay to a type in a pool, by all of its requirements."""
    if not overlay.covers(pool.name, instance_type.name):
        return False
    labels = {**karpenter.type_labels(instance_type.name), karpenter.POOL_KEY: pool.name}
    wanted = overlay.item.data.at("spec", "requirements").items()
    return all(karpenter.admits(requirement, labels) for requirement in wanted)
