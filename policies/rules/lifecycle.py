"""Order, names and options of Karpenter's objects: an update or a destroy must not strand nodes."""

from __future__ import annotations

from collections.abc import Iterator

from policies import facts, karpenter
from policies.model import Config, Finding, Item, Option, Options, Resource, Rule, Stack, each

KARPENTER_KINDS = (karpenter.NODE_POOL, karpenter.NODE_CLASS, karpenter.OVERLAY)
AUTONAMED = "pulumi.com/autonamed"
PROPAGATION = "pulumi.com/deletionPropagationPolicy"
SKIP_AWAIT = "pulumi.com/skipAwait"
MARGIN_SECONDS = 900
"""How long EC2 may take to stop an instance after its drain."""
UNLIMITED_DRAIN_SECONDS = 1800


def karpenter_crds_match(stack: Stack, config: Config) -> Iterator[Finding]:
    crds = facts.releases(stack, facts.KARPENTER_CRD_CHART)

    def check(item: Item) -> Iterator[str]:
        beside = [c for c in crds if _one_cluster(c, item)]
        version, others = _versions(item), _versions(*beside)
        if version and others and not version & others:
            yield f"is {min(version)}, and its CRDs are {', '.join(sorted(others))}; allowed: one version"
        if not beside and _is_release(item) and not item.data["skipCrds"].flag():
            yield "installs its CRDs once and upgrades them never; allowed: a release of karpenter-crd, and skipCrds"

    return each(facts.releases(stack, facts.KARPENTER_CHART), check)


def _versions(*found: Item) -> set[str]:
    """Their exact versions; `chart-versions-pinned` judges those that name none."""
    given = map(facts.chart_version, found)
    return {version.removeprefix("v") for version in given if facts.EXACT_VERSION.fullmatch(version)}


def _one_cluster(first: Item, second: Item) -> bool:
    """Whether two items are in one cluster, as far as their providers tell."""
    providers = {first.resource.provider, second.resource.provider}
    return len(providers - {""}) < 2


def _is_release(item: Item) -> bool:
    """Whether Helm installs it, which leaves CRDs alone once they exist; charts that Pulumi renders do not."""
    return item.resource.type.endswith(":Release")


def nodepool_needs_karpenter(stack: Stack, config: Config) -> Iterator[Finding]:
    by_urn = {resource.urn: resource for resource in stack.resources}

    def check(item: Item) -> Iterator[str]:
        reached = _dependencies(item.resource, by_urn)
        for needed in _needs(stack, item):
            if _one_cluster(needed, item) and needed.resource.urn not in reached:
                yield f"does not depend on {needed}; allowed: the option dependsOn, of itself or of its component"

    installed = facts.releases(stack, facts.KARPENTER_CHART)
    return each((item for item in stack.of(karpenter.NODE_POOL) if installed and _options(item)), check)


def _options(item: Item) -> Options | None:
    """The options of the object's own resource.

    None for a manifest, and for an object inside a group: that becomes a resource of its own, and is judged as one.
    """
    is_own = item.resource.type.rpartition(":")[2] in (item.kind.rpartition("/")[2], "CustomResource")
    return item.resource.options if is_own else None


def _needs(stack: Stack, pool: Item) -> Iterator[Item]:
    """What must be there as long as the pool has nodes: the finalizers' Karpenter, and what plans the pool's pods."""
    for chart in (facts.KARPENTER_CHART, facts.KARPENTER_CRD_CHART):
        yield from facts.releases(stack, chart)
    name = pool.data.at("spec", "template", "spec", "nodeClassRef", "name").text()
    yield from (item for item in stack.of(karpenter.NODE_CLASS) if item.name == name)
    yield from (overlay.item for overlay in facts.overlays(stack) if pool.name in (overlay.pools or ()))


def _dependencies(resource: Resource, by_urn: dict[str, Resource]) -> set[str]:
    """The URNs that the engine keeps until the resource is deleted.

    A parent outlives its children, so what it depends on does too. Source: pulumi pkg/resource/graph DependenciesOf.
    """
    reached: set[str] = set()
    waiting = [resource]
    while waiting:
        next_ = waiting.pop()
        urns = {*next_.dependencies, next_.parent, *(u for urns in next_.property_dependencies.values() for u in urns)}
        waiting += [by_urn[urn] for urn in urns - reached if urn in by_urn]
        reached |= urns
    return reached


def nodepool_delete_timeout(item: Item, config: Config) -> Iterator[str]:
    options = _options(item)
    if not options:
        return
    grace = item.data.at("spec", "template", "spec", "terminationGracePeriod")
    least = grace.seconds("0s") + MARGIN_SECONDS if grace.present else UNLIMITED_DRAIN_SECONDS
    if options.delete_timeout < least:
        shown = f"after {options.delete_timeout:g} s" if options.delete_timeout else "after the provider's 10 minutes"
        yield f"gives up its deletion {shown}; allowed: a delete timeout of at least {least:g} s"


def nodepool_delete_awaited(item: Item, config: Config) -> Iterator[str]:
    annotations = item.data.at("metadata", "annotations")
    policy = annotations[PROPAGATION].text("foreground")
    if policy.lower() != "foreground":
        yield f"is deleted with the propagation policy {policy}; allowed: foreground, or no annotation {PROPAGATION}"
    if annotations[SKIP_AWAIT].text() == "true":
        yield f"is not waited for: it has the annotation {SKIP_AWAIT}; allowed: none"


def karpenter_fixed_names(item: Item, config: Config) -> Iterator[str]:
    metadata = item.data["metadata"]
    if not metadata["name"].text():
        yield "has no name of its own; allowed: metadata.name, and no generateName"
    elif metadata["annotations"][AUTONAMED].text() == "true":
        yield f"has the name {metadata['name'].text()}, which Pulumi made up; allowed: metadata.name in the program"


def pools_protected_with_cluster(stack: Stack, config: Config) -> Iterator[Finding]:
    clusters = stack.of(*facts.CLUSTERS)

    def check(item: Item) -> Iterator[str]:
        options = _options(item)
        if options and not options.protect and any(c.data["deletionProtection"].flag() for c in clusters):
            yield "can be deleted while its cluster is protected; allowed: the option protect, or breakGlass"

    return each((pool.item for pool in facts.pools(stack) if pool.name not in config["breakGlass"]), check)


RULES = (
    Rule(
        id="karpenter-crds-match",
        description="Karpenter's CRDs are installed by their own chart, in the version of the controller.",
        why="Helm never upgrades the CRDs inside a chart. A newer controller then reads fields that the API server "
        "drops, and the pools are not what their manifests say.",
        remedy="Install karpenter-crd in the same version, and set skipCrds on the release of karpenter.",
        url="https://karpenter.sh/docs/upgrading/upgrade-guide/#crd-upgrades",
        severity="high",
        check=karpenter_crds_match,
    ),
    Rule(
        id="nodepool-needs-karpenter",
        description="A NodePool depends on Karpenter, its CRDs, its EC2NodeClass and its overlays.",
        why="A destroy goes backwards. Where Karpenter or the CRDs go before the NodePool, nobody runs its finalizers, "
        "and its instances stay, billed, without a cluster. Without its overlays, first pods are planned by raw GPUs.",
        remedy="Let the NodePool, or the component that it stands in, depend on them (dependsOn, depends_on).",
        url="https://github.com/aws/karpenter-provider-aws/issues/1134",
        severity="critical",
        check=nodepool_needs_karpenter,
    ),
    Rule(
        id="nodepool-delete-timeout",
        description="The deletion of a NodePool may take as long as the drain of its nodes.",
        why="The deletion waits for every node to drain and stop. The provider gives up after 10 minutes, and what "
        "is destroyed after it is what the drain still needs.",
        remedy="Set the option customTimeouts.delete to terminationGracePeriod plus 15 minutes or more.",
        url="https://www.pulumi.com/docs/iac/concepts/options/customtimeouts/",
        severity="high",
        check=nodepool_delete_timeout,
        kinds=(karpenter.NODE_POOL,),
    ),
    Rule(
        id="nodepool-delete-awaited",
        description="The deletion of a NodePool or EC2NodeClass waits for its nodes.",
        why="With another propagation policy, or without waiting, Pulumi goes on to delete Karpenter while nodes "
        "exist, and their instances stay, billed.",
        remedy=f"Take the annotations {PROPAGATION} and {SKIP_AWAIT} away.",
        url="https://kubernetes.io/docs/concepts/architecture/garbage-collection/#cascading-deletion",
        severity="critical",
        check=nodepool_delete_awaited,
        kinds=(karpenter.NODE_POOL, karpenter.NODE_CLASS),
    ),
    Rule(
        id="karpenter-fixed-names",
        description="NodePools, EC2NodeClasses and NodeOverlays have names that the program gives.",
        why="A name that Pulumi or Kubernetes makes up changes with a replacement: the pool of the old name is drained "
        "whole, and labels, overlays and quotas of that name match nothing.",
        remedy="Give metadata.name.",
        url="https://www.pulumi.com/docs/iac/concepts/resources/names/#autonaming",
        severity="high",
        check=karpenter_fixed_names,
        kinds=KARPENTER_KINDS,
    ),
    Rule(
        id="pools-protected-with-cluster",
        description="Where the cluster has deletion protection, its pools of GPUs have the option protect.",
        why="The deletion of a NodePool ends every pod on its nodes. Whoever protects a cluster does not expect one "
        "changed line to empty it.",
        remedy="Set the option protect on the NodePool; to remove one, name it in the option breakGlass first.",
        url="https://www.pulumi.com/docs/iac/concepts/options/protect/",
        severity="high",
        check=pools_protected_with_cluster,
        options={"breakGlass": Option("list", (), "names of NodePools that may be removed now")},
    ),
)
