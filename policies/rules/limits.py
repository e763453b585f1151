"""How often a GPU is shared, and how many nodes and slices a pool may have."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from decimal import Decimal

from gpuslice.catalog import GpuModel, InstanceType, gpu_models
from policies import device_plugin, facts, karpenter, slices
from policies.device_plugin import Share
from policies.model import Config, Finding, Item, Option, Rule, Stack
from policies.slices import Sliced
from policies.view import View
from policies.workloads import PREFIX

CONTEXT_MIB = 512
"""GPU memory that the CUDA context of one process takes: 0.2 to 0.5 GiB, counted at the upper end."""
SHARING = "https://docs.nvidia.com/datacenter/cloud-native/gpu-operator/latest/gpu-sharing.html"
SPEC_LIMITS = "https://karpenter.sh/docs/concepts/nodepools/#speclimits"


def replicas_within_cap(stack: Stack, config: Config) -> Iterator[Finding]:
    def check(sliced: Sliced) -> Iterator[str]:
        for model, share, cap in _capped(sliced, config["maxReplicas"]):
            if share.replicas > cap:
                yield f"shares {share.resource} {share.replicas} times; allowed on {model}: 2 to {cap}"

    return slices.each_known(stack, check)


def _capped(sliced: Sliced, caps: Mapping[str, int]) -> Iterator[tuple[str, Share, int]]:
    """GPU model, what is shared there, and how often it may be."""
    for instance_type in {t.gpu.key: t for t in sliced.types}.values():
        gpu = instance_type.gpu
        for share in sliced.shares(instance_type):
            yield gpu.key, share, min(caps[gpu.key], _clients(share, gpu))
    if not sliced.types:
        for share in sliced.wanted:
            yield "a GPU that the catalogue does not have", share, min(caps.values())


def _clients(share: Share, gpu: GpuModel) -> int:
    """The most that the hardware allows; `plugin-config-valid` knows the limit of newer GPUs."""
    old = share.mode == "mps" and gpu.compute_capability < (7, 5)
    return device_plugin.MPS_CLIENTS_BEFORE_7_5 if old else share.replicas


def slice_memory_floor(stack: Stack, config: Config) -> Iterator[Finding]:
    least = config["minMemoryMiB"]

    def check(sliced: Sliced) -> Iterator[str]:
        for share in sliced.wanted:
            having = [(t, device) for t in sliced.types if (device := sliced.devices(t).get(share.resource))]
            left = [(device.memory_mib // share.replicas - CONTEXT_MIB, t.name) for t, device in having]
            if left and min(left)[0] < least:
                yield f"leaves each slice of {min(left)[1]} {min(left)[0]} MiB of memory; allowed: {least} or more"

    return slices.each_known(stack, check)


def gpu_pool_has_limits(item: Item, config: Config) -> Iterator[str]:
    if not facts.is_gpu_pool(item):
        return
    limits = item.data.at("spec", "limits")
    if not limits["nodes"].present:
        yield "lacks spec.limits.nodes"
    if not _gpu_limits(limits):
        given = ", ".join(limits.fields()) or "none"
        yield f"lacks a limit of the GPUs or slices themselves, such as {PREFIX}gpu (its limits: {given})"


def _gpu_limits(limits: View) -> dict[str, View]:
    return {name: field for name, field in limits.fields().items() if name.startswith(PREFIX) and field.present}


def limits_count_slices(stack: Stack, config: Config) -> Iterator[Finding]:
    def check(sliced: Sliced) -> Iterator[str]:
        limits = _gpu_limits(_limits(sliced))
        offered = {name for t in sliced.types for name in sliced.offers(t)}
        missing = sorted(offered - set(limits))
        if limits and missing:
            yield f"limits {', '.join(limits)}, and not {', '.join(missing)}, which its nodes offer"

    return slices.each_known(stack, check)


def limits_allow_one_node(stack: Stack, config: Config) -> Iterator[Finding]:
    def check(sliced: Sliced) -> Iterator[str]:
        for name, limit in _limits(sliced).fields().items():
            amount, largest = max(((_amount(sliced, t, name), t.name) for t in sliced.types), default=(0, ""))
            number = limit.number() if amount else None
            # A limit of GPUs under one is for `pool-slices-capped`.
            if number is not None and number < amount and (number >= 1 or not name.startswith(PREFIX)):
                yield f"limits {name} to {number}, and one {largest} has {amount}: it is never bought"

    return slices.each_known(stack, check)


def _amount(sliced: Sliced, instance_type: InstanceType, name: str) -> int:
    return instance_type.vcpus if name == "cpu" else sliced.offers(instance_type).get(name, 0)


def _limits(sliced: Sliced) -> View:
    return sliced.pool.item.data.at("spec", "limits")


def pool_nodes_capped(item: Item, config: Config) -> Iterator[str]:
    if facts.is_gpu_pool(item):
        yield from _capped_limit(item.data.at("spec", "limits", "nodes"), config["maxNodes"])


def pool_slices_capped(item: Item, config: Config) -> Iterator[str]:
    if facts.is_gpu_pool(item):
        for limit in _gpu_limits(item.data.at("spec", "limits")).values():
            yield from _capped_limit(limit, config["maxSlices"])


def _capped_limit(limit: View, most: int) -> Iterator[str]:
    number = limit.number()
    if number is not None and not 1 <= number <= Decimal(most):
        yield f"sets {limit.path} to {limit.known()}; allowed: 1 to {most}"


RULES = (
    Rule(
        id="replicas-within-cap",
        description="A GPU pool shares each GPU at most as often as its model allows.",
        why="Four random inference pods on one GPU together ask for 100 % of it at the 95th percentile, six for 141 "
        "%: beyond four, neighbours wait for each other (Alibaba GenAI trace of 2026). A busy GPU gives all its "
        "tenants together 0.90 of what it gives one.",
        remedy="Label the pool with a configuration of fewer replicas, or raise maxReplicas for this GPU model.",
        url=SHARING,
        severity="high",
        check=replicas_within_cap,
        options={
            "maxReplicas": Option(
                "map",
                dict.fromkeys(gpu_models(), 4),
                "The most replicas of one GPU, by GPU model of the catalogue.",
                minimum=2,
                maximum=device_plugin.MPS_CLIENTS,
            )
        },
    ),
    Rule(
        id="slice-memory-floor",
        description="A slice that shares its GPU's memory with others has enough of it.",
        why="Time-slicing limits no memory: the tenants of a GPU end each other with out-of-memory errors. The CUDA "
        "context alone takes up to 512 MiB for each process.",
        remedy="Share the GPU less often, or buy one with more memory.",
        url=SHARING,
        severity="high",
        check=slice_memory_floor,
        options={
            "minMemoryMiB": Option(
                "integer",
                1024,
                "The least GPU memory of a slice in MiB, less 512 for the CUDA context.",
                minimum=256,
                maximum=65536,
            )
        },
    ),
    Rule(
        id="gpu-pool-has-limits",
        description="A GPU pool limits its nodes, and its GPUs or slices.",
        why="Karpenter counts only the limits that it is given: with one on cpu alone, or none, a loop of pending "
        "pods buys GPU nodes without end.",
        remedy="Set spec.limits.nodes and a limit on the resource that the nodes offer, such as nvidia.com/gpu.shared.",
        url=SPEC_LIMITS,
        severity="high",
        check=gpu_pool_has_limits,
        kinds=(karpenter.NODE_POOL,),
    ),
    Rule(
        id="limits-count-slices",
        description="A GPU pool limits every GPU resource that its nodes offer, by the name that they offer it under.",
        why="Karpenter compares limits with the capacity of the nodes: a limit on nvidia.com/gpu stops nothing where "
        "the nodes offer nvidia.com/gpu.shared.",
        remedy="Limit nvidia.com/gpu.shared, each nvidia.com/mig-<profile>, or nvidia.com/gpu, as the nodes offer it.",
        url=SPEC_LIMITS,
        severity="high",
        check=limits_count_slices,
    ),
    Rule(
        id="limits-allow-one-node",
        description="Each limit of a GPU pool leaves room for one node of every type that the pool may buy.",
        why="Karpenter leaves out each type that is over what is left of a limit, without a word: a limit of 8 with "
        "32 slices on a node never buys one, and looks like a lack of capacity.",
        remedy="Raise the limit to what one node of the largest type offers, or leave that type out of the "
        "requirements.",
        url="https://github.com/kubernetes-sigs/karpenter/issues/2275",
        severity="medium",
        check=limits_allow_one_node,
    ),
    Rule(
        id="pool-nodes-capped",
        description="A GPU pool has at most so many nodes as the organisation allows.",
        why="The limit on nodes is the plainest cap on money: GPU nodes cost from 0.50 to over 100 dollars an hour.",
        remedy="Set spec.limits.nodes to a number within the cap, or raise maxNodes.",
        url=SPEC_LIMITS,
        severity="high",
        check=pool_nodes_capped,
        kinds=(karpenter.NODE_POOL,),
        options={"maxNodes": Option("integer", 50, "The most nodes of one GPU pool.", minimum=1, maximum=1000)},
    ),
    Rule(
        id="pool-slices-capped",
        description="A GPU pool has at most so many GPUs or slices as the organisation allows.",
        why="A limit far over what anybody needs is none, and one of zero buys nothing.",
        remedy="Set the limit to a number within the cap, or raise maxSlices.",
        url=SPEC_LIMITS,
        severity="medium",
        check=pool_slices_capped,
        kinds=(karpenter.NODE_POOL,),
        options={
            "maxSlices": Option(
                "integer", 2000, "The most of one GPU resource in one pool.", minimum=1, maximum=100_000
            )
        },
    ),
)
