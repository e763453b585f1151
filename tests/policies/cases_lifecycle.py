"""Cases of policies/rules/lifecycle.py."""

from base import Edit, Program, accepted, also, drop, like, put, put_head, put_option, refused, without

GRACE = ("spec", "template", "spec", "terminationGracePeriod")
SPOT = [{"key": "karpenter.sh/capacity-type", "operator": "In", "values": ["spot"]}]
NEEDED = ("karpenter", "karpenter-crd", "class-shared", "overlay-shared")


def depends(name: str, *on: str) -> Edit:
    return put_head(name, "dependencies", list(on))


def version(name: str, value: str) -> Edit:
    return put(name, "version", value)


def elsewhere(name: str, original: str, *edits: Edit) -> Edit:
    """A copy of a resource, in another cluster."""
    return like(name, original, put_head(name, "provider", "other"), *edits)


def grouped(name: str) -> Edit:
    """Moves an object into a group, whose options are not those of its objects."""

    def edit(program: Program) -> None:
        objects = [program.pop(name)["properties"]]
        also("group", "kubernetes:yaml/v2:ConfigGroup", {"objs": objects})(program)

    return edit


NO_CRDS = (without("karpenter-crd"),)

CRDS = [
    refused(
        "karpenter-crds-match",
        "newer CRDs",
        version("karpenter-crd", "1.15.0"),
        says="is 1.14.1, and its CRDs are 1.15.0",
    ),
    refused("karpenter-crds-match", "older CRDs", version("karpenter-crd", "1.14.0")),
    refused("karpenter-crds-match", "a pre-release of the CRDs", version("karpenter-crd", "1.14.1-rc.1")),
    refused(
        "karpenter-crds-match",
        "no chart for the CRDs",
        *NO_CRDS,
        put("karpenter", "skipCrds", False),
        says="upgrades them never",
    ),
    refused("karpenter-crds-match", "no chart for the CRDs by default", *NO_CRDS, drop("karpenter", "skipCrds")),
    refused(
        "karpenter-crds-match",
        "the chart for the CRDs in another cluster",
        put_head("karpenter-crd", "provider", "other"),
        drop("karpenter", "skipCrds"),
    ),
    refused(
        "karpenter-crds-match",
        "CRDs of another cluster",
        version("karpenter-crd", "1.14.0"),
        elsewhere("more-crd", "karpenter-crd"),
        elsewhere("more", "karpenter"),
    ),
    accepted("karpenter-crds-match", "CRDs from somewhere else", *NO_CRDS),
    accepted("karpenter-crds-match", "a v", version("karpenter-crd", "v1.14.1")),
    accepted("karpenter-crds-match", "the chart's own CRDs beside theirs", drop("karpenter", "skipCrds")),
    accepted(
        "karpenter-crds-match",
        "a chart that Pulumi renders",
        *NO_CRDS,
        drop("karpenter", "skipCrds"),
        put_head("karpenter", "type", "kubernetes:helm.sh/v4:Chart"),
    ),
    accepted(
        "karpenter-crds-match",
        "two clusters",
        elsewhere("more-crd", "karpenter-crd", version("more-crd", "1.15.0")),
        elsewhere("more", "karpenter", version("more", "1.15.0")),
    ),
    refused(
        "karpenter-crds-match",
        "a provider that is not known",
        put_head("karpenter-crd", "provider", ""),
        version("karpenter-crd", "1.14.0"),
    ),
    refused(
        "karpenter-crds-match",
        "the second of two clusters",
        elsewhere("more-crd", "karpenter-crd", version("more-crd", "1.15.0")),
        elsewhere("more", "karpenter"),
    ),
    accepted(
        "karpenter-crds-match",
        "two clusters whose providers are not known",
        put_head("karpenter-crd", "provider", ""),
        put_head("karpenter", "provider", ""),
        like("more-crd", "karpenter-crd", version("more-crd", "1.15.0")),
        like("more", "karpenter", version("more", "1.15.0")),
        depends("pool-general", "more", "more-crd", "karpenter"),
        *(put_head(f"pool-{name}", "parent", "pool-general") for name in ("shared", "mig", "whole", "bottle")),
    ),
    accepted("karpenter-crds-match", "CRDs alone", without("karpenter"), version("karpenter-crd", "1.15.0")),
]

NEEDS = [
    refused(
        "nodepool-needs-karpenter", "without any", depends("pool-shared"), says="does not depend on helm karpenter;"
    ),
    refused(
        "nodepool-needs-karpenter",
        "without its EC2NodeClass",
        depends("pool-shared", "karpenter", "overlay-shared"),
        says="does not depend on EC2NodeClass shared",
    ),
    refused(
        "nodepool-needs-karpenter",
        "without another EC2NodeClass",
        depends("pool-bottle", "karpenter", "overlay-bottle"),
        says="does not depend on EC2NodeClass bottle",
    ),
    refused(
        "nodepool-needs-karpenter",
        "without its overlay",
        depends("pool-shared", "karpenter", "class-shared"),
        says="does not depend on NodeOverlay shared",
    ),
    refused(
        "nodepool-needs-karpenter",
        "without Karpenter",
        depends("pool-shared", "karpenter-crd", "class-shared", "overlay-shared"),
        depends("class-shared"),
        depends("overlay-shared"),
        says="does not depend on helm karpenter;",
    ),
    refused(
        "nodepool-needs-karpenter",
        "without the CRDs",
        depends("karpenter"),
        depends("pool-shared", "karpenter", "class-shared", "overlay-shared"),
        says="does not depend on helm karpenter-crd",
    ),
    refused(
        "nodepool-needs-karpenter",
        "the last pool",
        depends("pool-general", "karpenter-crd"),
        says="does not depend on helm karpenter;",
    ),
    refused(
        "nodepool-needs-karpenter",
        "of a second overlay",
        like(
            "overlay-more",
            "overlay-shared",
            put("overlay-more", "metadata", "name", "more"),
            put("overlay-more", "spec", "requirements", 1, "values", ["g5.4xlarge"]),
        ),
        put("pool-shared", "spec", "template", "spec", "requirements", 0, "values", 2, "g5.4xlarge"),
        says="does not depend on NodeOverlay more",
    ),
    refused(
        "nodepool-needs-karpenter",
        "a parent whose neighbour depends on them",
        also("pools", "research:index:Pools", {}, provider=""),
        put_head("pool-shared", "parent", "pools"),
        put_head("class-shared", "parent", "pools"),
        depends("pool-shared"),
        says="EC2NodeClass shared",
    ),
    accepted("nodepool-needs-karpenter", "through others", depends("pool-shared", "class-shared", "overlay-shared")),
    accepted(
        "nodepool-needs-karpenter",
        "through a property",
        depends("pool-shared", "overlay-shared"),
        put_head("pool-shared", "propertyDependencies", {"spec": ["class-shared"]}),
    ),
    accepted(
        "nodepool-needs-karpenter",
        "through its component",
        also("pools", "research:index:Pools", {}, provider="", dependencies=list(NEEDED)),
        put_head("pool-shared", "parent", "pools"),
        depends("pool-shared"),
    ),
    accepted(
        "nodepool-needs-karpenter",
        "an overlay of no pool in particular",
        like(
            "overlay-spot",
            "overlay-shared",
            put("overlay-spot", "metadata", "name", "spot"),
            put("overlay-spot", "spec", {"requirements": SPOT, "priceAdjustment": "-10%"}),
        ),
    ),
    accepted("nodepool-needs-karpenter", "in a circle", depends("class-shared", "karpenter", "pool-shared")),
    accepted(
        "nodepool-needs-karpenter",
        "Karpenter from another program",
        without("karpenter"),
        depends("pool-shared"),
        depends("pool-mig"),
        depends("pool-whole"),
        depends("pool-bottle"),
        depends("pool-general"),
    ),
    accepted(
        "nodepool-needs-karpenter",
        "Karpenter of another cluster",
        elsewhere("more-crd", "karpenter-crd"),
        elsewhere("more", "karpenter"),
    ),
    accepted(
        "nodepool-needs-karpenter",
        "through the file that it stands in",
        also("file", "kubernetes:yaml/v2:ConfigFile", {"file": "pools.yaml"}, dependencies=list(NEEDED)),
        put_head("pool-shared", "parent", "file"),
        depends("pool-shared"),
    ),
    accepted(
        "nodepool-needs-karpenter",
        "through several properties",
        depends("pool-shared"),
        put_head(
            "pool-shared",
            "propertyDependencies",
            {"metadata": ["karpenter"], "spec": ["overlay-shared", "class-shared"]},
        ),
    ),
    accepted("nodepool-needs-karpenter", "inside a group", grouped("pool-whole")),
]

TIMEOUT = [
    refused(
        "nodepool-delete-timeout",
        "a second short",
        put_option("pool-shared", "deleteTimeout", 4499),
        says="gives up its deletion after 4499 s; allowed: a delete timeout of at least 4500 s",
    ),
    refused(
        "nodepool-delete-timeout",
        "the provider's own",
        put_option("pool-shared", "deleteTimeout", 0),
        says="after the provider's 10 minutes",
    ),
    refused("nodepool-delete-timeout", "as long as the drain alone", put_option("pool-whole", "deleteTimeout", 86400)),
    refused(
        "nodepool-delete-timeout",
        "a pool without GPUs",
        put_option("pool-general", "deleteTimeout", 1799),
        says="at least 1800 s",
    ),
    refused(
        "nodepool-delete-timeout",
        "under Pulumi's name for every custom resource",
        put_head("pool-shared", "type", "kubernetes:apiextensions.k8s.io:CustomResource"),
        put_option("pool-shared", "deleteTimeout", 0),
    ),
    accepted("nodepool-delete-timeout", "inside a group", grouped("pool-whole")),
    accepted("nodepool-delete-timeout", "exactly the time", put_option("pool-shared", "deleteTimeout", 4500)),
    accepted(
        "nodepool-delete-timeout",
        "half an hour for an endless drain",
        put_option("pool-general", "deleteTimeout", 1800),
    ),
    accepted(
        "nodepool-delete-timeout",
        "a short drain",
        put("pool-shared", *GRACE, "5m"),
        put_option("pool-shared", "deleteTimeout", 1200),
    ),
]


def annotation(name: str, key: str, value: str) -> Edit:
    return put(name, "metadata", "annotations", f"pulumi.com/{key}", value)


AWAITED = [
    refused(
        "nodepool-delete-awaited",
        "orphaned",
        annotation("pool-shared", "deletionPropagationPolicy", "orphan"),
        says="with the propagation policy orphan",
    ),
    refused(
        "nodepool-delete-awaited",
        "in the background",
        annotation("class-shared", "deletionPropagationPolicy", "Background"),
    ),
    refused(
        "nodepool-delete-awaited",
        "not waited for",
        annotation("pool-general", "skipAwait", "true"),
        says="is not waited for",
    ),
    accepted(
        "nodepool-delete-awaited",
        "in the foreground",
        annotation("pool-shared", "deletionPropagationPolicy", "Foreground"),
    ),
    accepted(
        "nodepool-delete-awaited", "waited for, in so many words", annotation("pool-shared", "skipAwait", "false")
    ),
    accepted("nodepool-delete-awaited", "another object", annotation("web", "skipAwait", "true")),
]

NAMES = [
    refused(
        "karpenter-fixed-names", "no name", drop("pool-general", "metadata", "name"), says="has no name of its own"
    ),
    refused("karpenter-fixed-names", "no metadata", drop("pool-general", "metadata")),
    refused(
        "karpenter-fixed-names", "a prefix of a name", put("pool-general", "metadata", {"generateName": "general-"})
    ),
    refused("karpenter-fixed-names", "an empty name", put("pool-general", "metadata", "name", "")),
    refused(
        "karpenter-fixed-names",
        "a name that Pulumi made up",
        annotation("pool-shared", "autonamed", "true"),
        says="has the name shared, which Pulumi made up",
    ),
    refused("karpenter-fixed-names", "an EC2NodeClass", annotation("class-bottle", "autonamed", "true")),
    refused("karpenter-fixed-names", "a NodeOverlay", annotation("overlay-mig", "autonamed", "true")),
    accepted("karpenter-fixed-names", "an annotation that is false", annotation("pool-shared", "autonamed", "false")),
    accepted("karpenter-fixed-names", "another object", annotation("web", "autonamed", "true")),
]

UNPROTECTED = put_option("pool-mig", "protect", False)

PROTECTED = [
    refused(
        "pools-protected-with-cluster",
        "not protected",
        UNPROTECTED,
        says="can be deleted while its cluster is protected",
    ),
    refused("pools-protected-with-cluster", "the component's cluster alone", UNPROTECTED, without("cluster-classic")),
    refused("pools-protected-with-cluster", "the classic cluster alone", UNPROTECTED, without("cluster-component")),
    refused(
        "pools-protected-with-cluster",
        "another pool may go",
        UNPROTECTED,
        config={"pools-protected-with-cluster": {"breakGlass": ["shared"]}},
    ),
    accepted(
        "pools-protected-with-cluster",
        "the pool may go",
        UNPROTECTED,
        config={"pools-protected-with-cluster": {"breakGlass": ["mig"]}},
    ),
    accepted(
        "pools-protected-with-cluster",
        "no cluster in the program",
        UNPROTECTED,
        without("cluster-classic"),
        without("cluster-component"),
    ),
    refused(
        "pools-protected-with-cluster",
        "the first of two clusters is not protected",
        UNPROTECTED,
        put("cluster-component", "deletionProtection", False),
        config={"eks-deletion-protection": "disabled"},
    ),
    accepted(
        "pools-protected-with-cluster",
        "no cluster is protected",
        UNPROTECTED,
        without("cluster-classic"),
        put("cluster-component", "deletionProtection", False),
        config={"eks-deletion-protection": "disabled"},
    ),
    accepted("pools-protected-with-cluster", "inside a group", grouped("pool-whole")),
    accepted("pools-protected-with-cluster", "a pool without GPUs", put_option("pool-general", "protect", False)),
]


CASES = [*CRDS, *NEEDS, *TIMEOUT, *AWAITED, *NAMES, *PROTECTED]
