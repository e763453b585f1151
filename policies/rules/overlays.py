"""Karpenter believes of each node what the node will offer."""

from __future__ import annotations

from collections.abc import Iterator
from decimal import Decimal
from functools import partial

from gpuslice.catalog import InstanceType
from policies import facts, karpenter, slices
from policies.facts import Overlay
from policies.model import Config, Finding, Item, Rule, Stack, each
from policies.slices import Sliced
from policies.workloads import PREFIX

OVERLAYS = "https://karpenter.sh/docs/concepts/nodeoverlays/"
REPLICAS_UNKNOWN = "https://github.com/kubernetes-sigs/karpenter/issues/2140"
NEVER_READY = "https://github.com/Azure/karpenter-provider-azure/issues/1790"
SPOT_LOOP = "https://github.com/aws/karpenter-provider-aws/issues/8704"
_SCOPE = (karpenter.POOL_KEY, karpenter.INSTANCE_TYPE)


def overlay_scoped(item: Item, config: Config) -> Iterator[str]:
    for overlay in facts.readable([item], facts.overlay):
        missing = [key for key, scope in zip(_SCOPE, (overlay.pools, overlay.types), strict=True) if not scope]
        if _gpu_capacity(overlay) and missing:
            yield f"sets {', '.join(_gpu_capacity(overlay))} and lacks a requirement {' and '.join(missing)} In [...]"


def _gpu_capacity(overlay: Overlay) -> dict[str, Decimal]:
    return {name: amount for name, amount in overlay.capacity.items() if name.startswith(PREFIX)}


def overlay_present(stack: Stack, config: Config) -> Iterator[Finding]:
    # Which pools one that cannot be read is for, nobody knows; `readable-resources` reports it.
    if len(facts.overlays(stack)) < len(stack.of(karpenter.OVERLAY)):
        return iter(())

    def check(sliced: Sliced) -> Iterator[str]:
        bare = [t for t in sliced.types if sliced.needs_overlay(t) and not _overlays(stack, sliced, t)]
        if bare:
            offered = ", ".join(f"{name}: {number}" for name, number in sliced.offers(bare[0]).items())
            yield f"has no NodeOverlay for {', '.join(t.name for t in bare)}; a {bare[0].name} offers {offered}"

    return slices.each_known(stack, check)


def _overlays(stack: Stack, sliced: Sliced, instance_type: InstanceType) -> list[Overlay]:
    """The overlays that say something of the GPUs of a type in a pool; the ones that win come last."""
    name = sliced.pool.name
    near = facts.once(stack, f"overlays of {name}", lambda: [o for o in facts.overlays(stack) if _is_for(o, name)])
    found = [overlay for overlay in near if slices.covers(overlay, sliced.pool, instance_type)]
    return sorted(found, key=lambda overlay: overlay.weight)


def _is_for(overlay: Overlay, pool: str) -> bool:
    return bool(_gpu_capacity(overlay)) and (overlay.pools is None or pool in overlay.pools)


def overlay_matches_config(stack: Stack, config: Config) -> Iterator[Finding]:
    for sliced in slices.known(stack):
        for instance_type in sliced.types:
            applied = _overlays(stack, sliced, instance_type)
            if applied:
                yield from each([applied[-1].item], partial(_mismatch, sliced, instance_type, applied))


def _mismatch(sliced: Sliced, instance_type: InstanceType, applied: list[Overlay], _: Item) -> Iterator[str]:
    believed: dict[str, Decimal | int] = {**slices.counted(instance_type)}
    for overlay in applied:
        believed |= _gpu_capacity(overlay)
    offered = sliced.offers(instance_type)
    for name in sorted({*believed, *offered}):
        if believed.get(name, 0) != offered.get(name, 0):
            yield (
                f"says {name}: {believed.get(name, 0)} of a {instance_type.name} in pool {sliced.pool.name}, "
                f"which offers {offered.get(name, 0)}"
            )


def overlay_scopes_disjoint(stack: Stack, config: Config) -> Iterator[Finding]:
    overlays = facts.overlays(stack)
    rank = {overlay.item: number for number, overlay in enumerate(overlays)}

    def check(item: Item) -> Iterator[str]:
        own = overlays[rank[item]]
        for other in overlays[: rank[item]]:
            names = sorted(set(own.capacity) & set(other.capacity))
            if names and own.weight == other.weight and _meet(own, other):
                shared = ", ".join(names)
                yield f"sets {shared} where NodeOverlay {other.item.name} does, at the same weight {own.weight}"

    return each(rank, check)


def _meet(one: Overlay, other: Overlay) -> bool:
    """Whether a type in a pool may be within the limits of both; None is no limit."""
    pairs = ((one.pools, other.pools), (one.types, other.types))
    return all(a is None or b is None or bool(a & b) for a, b in pairs)


def overlay_sets_no_price(item: Item, config: Config) -> Iterator[str]:
    spec = item.data["spec"]
    for key in ("price", "priceAdjustment"):
        if spec[key].present and spec["capacity"].fields():
            yield f"sets {key} beside a capacity"


def karpenter_nodeoverlay_gate(stack: Stack, config: Config) -> Iterator[Finding]:
    overlays = stack.of(karpenter.OVERLAY)

    def check(release: Item) -> Iterator[str]:
        if overlays and not release.data.at("values", "settings", "featureGates", "nodeOverlay").flag():
            yield f"leaves settings.featureGates.nodeOverlay off, and NodeOverlay {overlays[0].name} without effect"

    return each(facts.releases(stack, facts.KARPENTER_CHART), check)


RULES = (
    Rule(
        id="overlay-scoped",
        description="A NodeOverlay that sets GPU resources is limited to named pools and instance types.",
        why="The quantities depend on both: on how the pool shares its GPUs, and on how many a type has. Elsewhere "
        "they are wrong, and Karpenter buys nodes that never become ready.",
        remedy="Require karpenter.sh/nodepool In [...] and node.kubernetes.io/instance-type In [...].",
        url=OVERLAYS,
        severity="high",
        check=overlay_scoped,
        kinds=(karpenter.OVERLAY,),
    ),
    Rule(
        id="overlay-present",
        description="Every type of a pool whose nodes offer other GPU resources than EC2 counts has a NodeOverlay.",
        why="Karpenter knows physical GPUs alone: it buys one node for each slice, and none at all for "
        "nvidia.com/gpu.shared or nvidia.com/mig-*.",
        remedy="Write a NodeOverlay for the pool and the type with what its nodes offer.",
        url=REPLICAS_UNKNOWN,
        severity="critical",
        check=overlay_present,
    ),
    Rule(
        id="overlay-matches-config",
        description="A NodeOverlay says exactly what the nodes will offer: GPUs x replicas, or the instances of the "
        "layout.",
        why="A node that never offers what Karpenter promised is never initialised and never consolidated, and there "
        "is no time limit: it is billed for ever. nvidia.com/gpu stays unless the overlay sets it to 0.",
        remedy="Set each resource to GPUs x replicas, or GPUs x instances, and nvidia.com/gpu to 0 where none stays "
        "whole.",
        url=NEVER_READY,
        severity="critical",
        check=overlay_matches_config,
    ),
    Rule(
        id="overlay-scopes-disjoint",
        description="No two NodeOverlays of the same weight set the same resource on the same type of the same pool.",
        why="Karpenter refuses the second of them as a whole and goes on without it. Weights were read the wrong way "
        "round before Karpenter 1.9.",
        remedy="Give each overlay instance types of its own.",
        url=OVERLAYS,
        severity="high",
        check=overlay_scopes_disjoint,
    ),
    Rule(
        id="overlay-sets-no-price",
        description="A NodeOverlay that sets a capacity sets no price.",
        why="A price that is not the market's keeps Karpenter asking for spot capacity that there is none of.",
        remedy="Take the price away, or write it in a NodeOverlay of its own.",
        url=SPOT_LOOP,
        severity="low",
        level="advisory",
        check=overlay_sets_no_price,
        kinds=(karpenter.OVERLAY,),
    ),
    Rule(
        id="karpenter-nodeoverlay-gate",
        description="Karpenter's feature gate for NodeOverlays is on where the program has some.",
        why="The gate is off by default, and Karpenter then ignores every NodeOverlay.",
        remedy="Set settings.featureGates.nodeOverlay: true in the values of the Karpenter chart.",
        url=OVERLAYS,
        severity="critical",
        check=karpenter_nodeoverlay_gate,
    ),
)
