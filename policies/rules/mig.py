"""MIG: on GPUs that have it, in layouts that fit, under the strategy that works with Karpenter."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial

from policies import bottlerocket, device_plugin, facts, karpenter, mig_parted, slices
from policies.facts import GpuPool
from policies.items import HELM
from policies.model import Config, Finding, Item, Rule, Stack, each
from policies.slices import MIG
from policies.view import View

GUIDE = "https://docs.nvidia.com/datacenter/cloud-native/gpu-operator/latest/gpu-operator-mig.html"
MIG_PARTED = "https://github.com/NVIDIA/mig-parted"
PLACEMENT = "https://docs.nvidia.com/datacenter/tesla/mig-user-guide/supported-mig-profiles.html"
RACE = "https://github.com/NVIDIA/gpu-operator/issues/2670"
PLUGIN_MPS = "https://github.com/NVIDIA/k8s-device-plugin#with-cuda-mps"
# The empty one leaves the choice to each configuration of the device plugin.
_STRATEGIES = ("mixed", "none", "")


def mig_only_where_supported(item: Item, config: Config) -> Iterator[str]:
    pool = facts.gpu_pool(item)
    if not pool or not slices.is_mig(pool):
        return
    for instance_type in {t.gpu.key: t for t in pool.types}.values():
        reason = {
            "none": f"the GPU {instance_type.gpu.key} has no MIG",
            "unproven": f"MIG on the GPU {instance_type.gpu.key} has not been seen to work on EC2",
        }.get(instance_type.gpu.mig_status)
        if reason:
            yield f"has the label {facts.MIG_LABEL}: {pool.mig} and may buy {instance_type.name}: {reason}"


def mig_config_valid(item: Item, config: Config) -> Iterator[str]:
    for document in _mig_documents(item):
        yield from mig_parted.problems(document)


def mig_layout_placeable(item: Item, config: Config) -> Iterator[str]:
    for document in _mig_documents(item):
        for name, layout in mig_parted.valid_layouts(document).items():
            wrong = [text for entry in layout.items() if (text := mig_parted.misplaced(entry))]
            yield from (f"has the layout {name}, which cannot be placed: {text}" for text in wrong)


def _mig_documents(item: Item) -> list[View]:
    """The MIG configurations of a ConfigMap or of the operator; `readable-resources` reports what cannot be read."""
    return [document for found in facts.readable([item], _documents) for document in found.values()]


def _documents(item: Item) -> dict[str, View]:
    if item.kind == facts.CONFIG_MAP:
        return facts.documents(item.data["data"], facts.is_mig_config)
    if facts.chart_name(item) == facts.OPERATOR_CHART:
        return facts.documents(slices.config_values(item, MIG)["data"], facts.is_mig_config)
    return {}


def mig_layout_fits_pool(stack: Stack, config: Config) -> Iterator[Finding]:
    return slices.each(facts.pools(stack), partial(_unfit, stack))


def _unfit(stack: Stack, pool: GpuPool) -> Iterator[str]:
    node_class = slices.bottlerocket_class(stack, pool)
    if node_class:
        yield from _unfit_user_data(pool, node_class)
        return
    layout = slices.mig_layout(stack, pool)
    types = pool.types if mig_parted.is_valid(layout) else ()
    for instance_type in (t for t in types if t.gpu.mig_status == "supported"):
        for text in mig_parted.unfit(layout.items(), instance_type):
            yield f"has the layout {pool.mig}, which {text}"


def _unfit_user_data(pool: GpuPool, node_class: Item) -> Iterator[str]:
    if bottlerocket.is_valid(node_class):
        nvidia = bottlerocket.settings(node_class)
        for gpu in {t.gpu.key: t.gpu for t in pool.types}.values():
            if bottlerocket.partitions(nvidia, gpu) is None:
                yield f"may buy the GPU {gpu.key}, which the MIG settings of EC2NodeClass {node_class.name} do not fit"


def mig_strategy_not_single(item: Item, config: Config) -> Iterator[str]:
    if facts.chart_name(item) == facts.OPERATOR_CHART and _exported(item) not in _STRATEGIES:
        yield f"uses the MIG strategy {_exported(item)} (without a value: single); allowed: mixed, or none without MIG"


def _exported(release: Item) -> str:
    """The strategy that the operator exports to its operands, over what their configurations say; "" for none."""
    return release.data.at("values", "mig", "strategy").text("single")


def mig_strategy_mixed(stack: Stack, config: Config) -> Iterator[Finding]:
    def check(pool: GpuPool) -> Iterator[str]:
        strategy = _strategy(stack, pool)
        # What the operator must not export is for `mig-strategy-not-single`.
        if slices.is_mig(pool) and strategy not in ("", "mixed") and _operators(stack) in _STRATEGIES:
            yield f"has the MIG layout {pool.mig}, and its nodes the MIG strategy {strategy}; allowed: mixed"

    return slices.each(facts.pools(stack), check)


def _operators(stack: Stack) -> str:
    """The strategy that the program's operator exports, "" without one."""
    return next(map(_exported, facts.releases(stack, facts.OPERATOR_CHART)), "")


def _strategy(stack: Stack, pool: GpuPool) -> str:
    """The MIG strategy of the pool's device plugin: the operator's, or else that of its configuration.

    "" where what decides is not in the program, and on Bottlerocket, which decides by itself.
    """
    if slices.bottlerocket_class(stack, pool) or not facts.releases(stack, facts.OPERATOR_CHART):
        return ""
    plugin = slices.plugin_config(stack, pool)
    return _operators(stack) or ("" if plugin is None else plugin["flags"]["migStrategy"].text("none"))


def mig_strategy_in_one_place(stack: Stack, config: Config) -> Iterator[Finding]:
    def check(item: Item) -> Iterator[str]:
        for document in filter(device_plugin.is_valid, slices.plugin_documents(stack, item)):
            own, exported = document["flags"]["migStrategy"], _operators(stack)
            if exported and own.present and own.text() != exported:
                yield f"sets {own.path} to {own.text()}; the operator's mig.strategy is {exported} and wins"

    return each([*stack.of(facts.CONFIG_MAP), *facts.releases(stack, facts.OPERATOR_CHART)], check)


def mps_without_mixed(stack: Stack, config: Config) -> Iterator[Finding]:
    def check(pool: GpuPool) -> Iterator[str]:
        plugin = slices.plugin_config(stack, pool)
        shares = device_plugin.shares(plugin) if plugin and device_plugin.is_valid(plugin) else []
        if any(share.mode == "mps" for share in shares) and _strategy(stack, pool) == "mixed":
            yield "shares its GPUs by MPS under the MIG strategy mixed"

    return slices.each(facts.pools(stack), check)


def mig_manager_enabled(stack: Stack, config: Config) -> Iterator[Finding]:
    pools = [pool for pool in facts.pools(stack) if slices.is_mig(pool) and not slices.bottlerocket_class(stack, pool)]

    def check(release: Item) -> Iterator[str]:
        if pools and not release.data.at("values", MIG, "enabled").flag(True):
            yield f"disables the MIG manager, and pool {pools[0].name} has the MIG layout {pools[0].mig}"

    return each(facts.releases(stack, facts.OPERATOR_CHART), check)


RULES = (
    Rule(
        id="mig-only-where-supported",
        description="A pool with a MIG layout buys only GPUs on which MIG works.",
        why="On another GPU the layout is never applied: the node offers none of its slices, and is billed. AWS took "
        "g7e from its own list of MIG types.",
        remedy="Buy p4d, p4de, p5, p5e, p5en or p6, or share the GPU by time-slicing.",
        url=PLACEMENT,
        severity="high",
        check=mig_only_where_supported,
        kinds=(karpenter.NODE_POOL,),
    ),
    Rule(
        id="mig-config-valid",
        description="Every MIG configuration is one that mig-parted reads, and says what all-disabled is.",
        why="mig-parted refuses a document as a whole: one wrong key, and no node gets any layout.",
        remedy="Write version: v1 and, for each layout, entries of devices, mig-enabled and mig-devices.",
        url=MIG_PARTED,
        severity="critical",
        check=mig_config_valid,
        kinds=(facts.CONFIG_MAP, HELM),
    ),
    Rule(
        id="mig-layout-placeable",
        description="Every MIG layout has a place on the GPU that it is meant for.",
        why="Instances start at fixed memory slices: counts that add up may still have no place (four 1g of double "
        "memory and three 1g). The MIG manager then fails, and the node never becomes ready.",
        remedy="Take instances away until `gpuslice mig` can place the rest, or filter the entry by another device.",
        url=PLACEMENT,
        severity="high",
        check=mig_layout_placeable,
        kinds=(facts.CONFIG_MAP, HELM),
    ),
    Rule(
        id="mig-layout-fits-pool",
        description="The MIG layout of a pool slices every GPU of every type that the pool may buy.",
        why="A GPU without an entry stays whole, or keeps MIG off: until the layout is applied a pod that asks for a "
        "whole GPU takes any of them, and then blocks it.",
        remedy="Write an entry with devices: all that fits each GPU model of the pool.",
        url=GUIDE,
        severity="high",
        check=mig_layout_fits_pool,
    ),
    Rule(
        id="mig-strategy-not-single",
        description="The GPU operator does not use the MIG strategy single.",
        why="Under single a fresh node first offers whole GPUs as nvidia.com/gpu, and pods land on it before it is "
        "sliced; Karpenter calls it ready with 8 of 56 (gpu-operator issue 2670). It is the chart's default.",
        remedy="Set mig.strategy to mixed, or to none where no pool has MIG.",
        url=RACE,
        severity="high",
        check=mig_strategy_not_single,
        kinds=(HELM,),
    ),
    Rule(
        id="mig-strategy-mixed",
        description="The nodes of a pool with a MIG layout have the MIG strategy mixed.",
        why="Without it the device plugin does not offer the profiles as resources: the overlay promises slices that "
        "never come.",
        remedy="Set mig.strategy: mixed in the GPU operator's values.",
        url=GUIDE,
        severity="high",
        check=mig_strategy_mixed,
    ),
    Rule(
        id="mig-strategy-in-one-place",
        description="No device plugin configuration sets another MIG strategy than the GPU operator.",
        why="The operator exports its strategy to the plugin, and the environment wins over the configuration: what "
        "stands there is ignored without a word.",
        remedy="Take flags.migStrategy away, or leave mig.strategy empty in the operator's values.",
        url=GUIDE,
        severity="medium",
        check=mig_strategy_in_one_place,
    ),
    Rule(
        id="mps-without-mixed",
        description="No pool shares GPUs by MPS under the MIG strategy mixed.",
        why="The device plugin refuses the two together and does not start.",
        remedy="Set mig.strategy: none in the GPU operator's values, or share by time-slicing.",
        url=PLUGIN_MPS,
        severity="critical",
        check=mps_without_mixed,
    ),
    Rule(
        id="mig-manager-enabled",
        description="The GPU operator runs the MIG manager where a pool has a MIG layout.",
        why="Nobody else applies the layout that the label names: the node offers no slice, and is billed.",
        remedy="Set migManager.enabled: true in the GPU operator's values.",
        url=GUIDE,
        severity="high",
        check=mig_manager_enabled,
    ),
)
