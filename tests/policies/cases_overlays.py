"""Cases of policies/rules/overlays.py."""

from typing import Any

import mig_layouts
from base import Edit, accepted, drop, like, put, put_head, put_yaml, refused, without
from bottlerocket_settings import NVIDIA, SLICES, user_data
from cases_mig import bottlerocket
from cases_sharing import generated

SCOPED, PRESENT, MATCHES = "overlay-scoped", "overlay-present", "overlay-matches-config"
DISJOINT, PRICE, GATE = "overlay-scopes-disjoint", "overlay-sets-no-price", "karpenter-nodeoverlay-gate"
TYPES = ("spec", "template", "spec", "requirements", 0, "values")
LABELS = ("spec", "template", "metadata", "labels")
POOLS, OVERLAID = ("spec", "requirements", 0), ("spec", "requirements", 1)
CAPACITY, LIMITS = ("spec", "capacity"), ("spec", "limits")
SHARED, WHOLE = "nvidia.com/gpu.shared", "nvidia.com/gpu"
SMALL, MIDDLE = "nvidia.com/mig-1g.5gb", "nvidia.com/mig-2g.10gb"
GATES = ("karpenter", "values", "settings", "featureGates")
NEEDS = ["karpenter", "karpenter-crd", "class-shared", "overlay-shared"]
HUGE = "hugepages-2Mi"
TIME_SLICING = 'device-sharing-strategy = "time-slicing"'
MIXTURE = {SMALL: 16, MIDDLE: 8, "nvidia.com/mig-3g.20gb": 8}


def second(*edits: Edit) -> tuple[Edit, ...]:
    """Another overlay of the pool `shared`: the same as its own, but for the edits."""
    return (
        like("overlay-second", "overlay-shared", put("overlay-second", "metadata", "name", "second"), *edits),
        put_head("pool-shared", "dependencies", [*NEEDS, "overlay-second"]),
    )


def sized(**numbers: Any) -> tuple[Edit, ...]:
    """The pool `shared` buys types of one GPU and of four, each with an overlay of its own: `one`, `four` slices."""
    return (
        put("pool-shared", *TYPES, ["g5.xlarge", "g5.12xlarge"]),
        put("overlay-shared", *OVERLAID, "values", ["g5.xlarge"]),
        put("overlay-shared", *CAPACITY, SHARED, numbers["one"]),
        *second(put("overlay-second", *OVERLAID, "values", ["g5.12xlarge"])),
        put("overlay-second", *CAPACITY, SHARED, numbers["four"]),
    )


def fraction(**capacity: int) -> tuple[Edit, ...]:
    """The pool `whole` buys a fraction of a GPU, of which EC2 counts none."""
    return (
        put("pool-whole", "spec", "template", "spec", "requirements", 0, "values", ["g6f"]),
        put("pool-whole", *LIMITS, {"nodes": 4, WHOLE: 4}),
        like("overlay-whole", "overlay-shared", put("overlay-whole", "metadata", "name", "whole")),
        put("overlay-whole", *POOLS, "values", ["whole"]),
        put(
            "overlay-whole", *OVERLAID, "values", [f"g6f.{size}" for size in ("large", "xlarge", "2xlarge", "4xlarge")]
        ),
        put("overlay-whole", *CAPACITY, {WHOLE: 1}),
        put_head("pool-whole", "dependencies", [*NEEDS[:3], "overlay-whole"]),
    )


def only_whole() -> tuple[Edit, ...]:
    """The program with its pool of whole GPUs alone."""
    gone = ("pool-shared", "pool-mig", "pool-bottle", "overlay-shared", "overlay-mig", "overlay-bottle")
    return (*map(without, gone), without("class-bottle"), without("server"), without("quota"))


CASES = [
    refused(
        SCOPED,
        "no pool",
        put(
            "overlay-mig",
            "spec",
            "requirements",
            [{"key": "node.kubernetes.io/instance-type", "operator": "In", "values": ["p4d.24xlarge"]}],
        ),
        says="and lacks a requirement karpenter.sh/nodepool In [...]",
    ),
    refused(
        SCOPED,
        "no types",
        put(
            "overlay-shared",
            "spec",
            "requirements",
            [{"key": "karpenter.sh/nodepool", "operator": "In", "values": ["shared"]}],
        ),
        says="lacks a requirement node.kubernetes.io/instance-type In [...]",
    ),
    refused(
        SCOPED,
        "another operator",
        put("overlay-shared", *POOLS, {"key": "karpenter.sh/nodepool", "operator": "NotIn", "values": ["mig"]}),
        says="karpenter.sh/nodepool In",
    ),
    refused(
        SCOPED,
        "by the number of GPUs",
        put(
            "overlay-shared",
            *OVERLAID,
            {"key": "karpenter.k8s.aws/instance-gpu-count", "operator": "In", "values": ["1"]},
        ),
    ),
    accepted(
        SCOPED,
        "other resources",
        put("overlay-mig", *CAPACITY, HUGE, "1Gi"),
        *second(
            drop("overlay-second", "spec", "requirements"),
            put("overlay-second", *CAPACITY, {HUGE: "1Gi"}),
            put("overlay-second", "spec", "weight", 7),
        ),
    ),
    refused(
        PRESENT,
        "none",
        without("overlay-shared"),
        says="shared: has no NodeOverlay for g5.xlarge, g5.2xlarge; a g5.xlarge offers nvidia.com/gpu.shared: 4",
    ),
    refused(
        PRESENT, "none for MIG", without("overlay-mig"), says="offers nvidia.com/mig-1g.5gb: 24, nvidia.com/mig-2g"
    ),
    refused(PRESENT, "none for Bottlerocket", without("overlay-bottle"), says="g6.4xlarge; a g6.4xlarge offers"),
    refused(
        PRESENT, "not the second type", put("overlay-shared", *OVERLAID, "values", ["g5.xlarge"]), says="for g5.2xlarge"
    ),
    refused(
        PRESENT, "not the first type", put("overlay-shared", *OVERLAID, "values", ["g5.2xlarge"]), says="for g5.xlarge"
    ),
    refused(PRESENT, "another pool's", put("overlay-shared", *POOLS, "values", ["share"]), says="for g5.xlarge"),
    refused(PRESENT, "of other resources", put("overlay-shared", *CAPACITY, {HUGE: "1Gi"}), says="for g5.xlarge"),
    refused(
        PRESENT,
        "limited further",
        put(
            "overlay-shared",
            "spec",
            "requirements",
            2,
            {"key": "karpenter.k8s.aws/instance-size", "operator": "In", "values": ["xlarge"]},
        ),
        says="for g5.2xlarge",
    ),
    refused(
        PRESENT,
        "none for a fraction of a GPU",
        *fraction(),
        without("overlay-whole"),
        says="a g6f.large offers nvidia.com/gpu: 1",
    ),
    accepted(PRESENT, "a fraction of a GPU", *fraction()),
    accepted(
        PRESENT,
        "limited further, to what the pool buys",
        put(
            "overlay-shared",
            "spec",
            "requirements",
            2,
            {"key": "karpenter.k8s.aws/instance-family", "operator": "In", "values": ["g5"]},
        ),
    ),
    accepted(
        PRESENT,
        "limited by what types do not tell",
        put(
            "overlay-shared",
            "spec",
            "requirements",
            2,
            {"key": "karpenter.sh/capacity-type", "operator": "In", "values": ["spot"]},
        ),
    ),
    accepted(PRESENT, "more pools and types", put("overlay-shared", *POOLS, "values", ["other", "shared"])),
    accepted(PRESENT, "one for each number of GPUs", *sized(one="4", four="16")),
    refused(
        MATCHES,
        "one slice more",
        put("overlay-shared", *CAPACITY, SHARED, 5),
        says="NodeOverlay shared: says nvidia.com/gpu.shared: 5 of a g5.xlarge in pool shared, which offers 4",
    ),
    refused(MATCHES, "one slice less", put("overlay-shared", *CAPACITY, SHARED, "3"), says="shared: 3 of a g5.2xlarge"),
    refused(
        MATCHES,
        "the physical GPU too",
        drop("overlay-shared", *CAPACITY, WHOLE),
        says="says nvidia.com/gpu: 1 of a g5.xlarge in pool shared, which offers 0",
    ),
    refused(
        MATCHES, "one profile of two", drop("overlay-mig", *CAPACITY, MIDDLE), says="mig-2g.10gb: 0 of a p4d.24xlarge"
    ),
    refused(MATCHES, "the instances of one GPU", put("overlay-mig", *CAPACITY, SMALL, 3), says="which offers 24"),
    refused(
        MATCHES,
        "a profile that there is not",
        put("overlay-mig", *CAPACITY, "nvidia.com/mig-3g.20gb", 8),
        says="which offers 0",
    ),
    refused(
        MATCHES,
        "the number of one GPU on four",
        *sized(one=4, four=4),
        says="NodeOverlay second: says nvidia.com/gpu.shared: 4 of a g5.12xlarge in pool shared, which offers 16",
    ),
    refused(
        MATCHES, "Bottlerocket", put("overlay-bottle", *CAPACITY, SHARED, 4), says="in pool bottle, which offers 3"
    ),
    refused(
        MATCHES,
        "slices of whole GPUs",
        put("overlay-shared", *POOLS, "values", ["shared", "whole"]),
        put("overlay-shared", *OVERLAID, "values", ["g5.xlarge", "g5.2xlarge", "g6e.xlarge"]),
        put_head("pool-whole", "dependencies", NEEDS),
        says="of a g6e.xlarge in pool whole, which offers 1",
    ),
    refused(
        MATCHES,
        "the replicas changed",
        put_yaml("plugin-configs", "quarter", "sharing", "timeSlicing", "resources", 0, "replicas", 3),
        says="which offers 3",
    ),
    refused(
        MATCHES,
        "the larger weight wins",
        *second(put("overlay-second", "spec", "weight", 5)),
        put("overlay-second", *CAPACITY, SHARED, 8),
        says="NodeOverlay second: says nvidia.com/gpu.shared: 8",
    ),
    *(
        refused(
            MATCHES,
            f"the {name} of a mixture of the hardware",
            *generated("all-balanced", {**MIXTURE, f"nvidia.com/mig-{name}": number + 1}),
            says=f"nvidia.com/mig-{name}: {number + 1} of a p4d.24xlarge in pool mig, which offers {number}",
        )
        for name, number in (("1g.5gb", 16), ("2g.10gb", 8), ("3g.20gb", 8))
    ),
    refused(MATCHES, "a layout of the hardware", *generated("all-2g.10gb", {MIDDLE: 23}), says="which offers 24"),
    refused(
        MATCHES,
        "without a default configuration",
        put("gpu-operator", "values", "devicePlugin", "config", "default", ""),
        put("overlay-mig", *CAPACITY, SMALL, 23),
    ),
    refused(
        MATCHES,
        "whole GPUs without a label and a default",
        put("gpu-operator", "values", "devicePlugin", "config", "default", ""),
        drop("pool-whole", *LABELS),
        *fraction(),
        put("overlay-whole", *CAPACITY, WHOLE, 2),
    ),
    refused(MATCHES, "MIG without the operator", without("gpu-operator"), put("overlay-mig", *CAPACITY, SMALL, 23)),
    accepted(
        MATCHES,
        "what an operator of another program decides",
        without("gpu-operator"),
        drop("pool-shared", *LABELS, "nvidia.com/device-plugin.config"),
    ),
    refused(
        MATCHES,
        "two models on Bottlerocket",
        *bottlerocket("7", 55, 'mig.profile."a100.80gb" = "7"'),
        put("pool-bottle", *TYPES, ["p4d.24xlarge", "p4de.24xlarge"]),
        put("overlay-bottle", *OVERLAID, "values", ["p4d.24xlarge", "p4de.24xlarge"]),
        says="nvidia.com/gpu: 55 of a p4de.24xlarge in pool bottle, which offers 56",
    ),
    accepted(
        MATCHES,
        "whole names on Bottlerocket",
        user_data(NVIDIA, TIME_SLICING, SLICES, "replicas = 3", "rename-by-default = false"),
        put("overlay-bottle", *CAPACITY, {WHOLE: 3}),
        put("pool-bottle", *LIMITS, {"nodes": 3, WHOLE: 9}),
        put("pool-bottle", "spec", "template", "spec", "taints", 1, {"key": "team", "effect": "NoSchedule"}),
    ),
    refused(
        MATCHES,
        "a single instance forgotten",
        mig_layouts.layout({"mig-devices": {"3g.40gb": 1, "4g.40gb": 1}}),
        put("pool-mig", *TYPES, ["p5.4xlarge"]),
        put("pool-mig", *LIMITS, {"nodes": 2, "nvidia.com/mig-3g.40gb": 2, "nvidia.com/mig-4g.40gb": 2}),
        put("overlay-mig", *OVERLAID, "values", ["p5.4xlarge"]),
        put("overlay-mig", *CAPACITY, {WHOLE: 0, "nvidia.com/mig-3g.40gb": 1}),
        says="says nvidia.com/mig-4g.40gb: 0 of a p5.4xlarge in pool mig, which offers 1",
    ),
    refused(
        MATCHES,
        "a fraction not counted",
        *fraction(),
        put("overlay-whole", *CAPACITY, {SHARED: 0}),
        says="says nvidia.com/gpu: 0 of a g6f.large in pool whole, which offers 1",
    ),
    refused(
        MATCHES,
        "a fraction counted twice",
        *fraction(),
        put("overlay-whole", *CAPACITY, WHOLE, 2),
        says="says nvidia.com/gpu: 2 of a g6f.large",
    ),
    accepted(
        MATCHES,
        "the smaller weight is not heard",
        *second(put("overlay-second", *CAPACITY, SHARED, 8)),
        put("overlay-shared", "spec", "weight", "5"),
    ),
    accepted(MATCHES, "written as doubles", put("overlay-shared", *CAPACITY, {WHOLE: 0.0, SHARED: 4.0})),
    accepted(MATCHES, "other resources besides", put("overlay-shared", *CAPACITY, HUGE, "1Gi")),
    accepted(
        MATCHES,
        "types that no pool buys",
        put("overlay-shared", *OVERLAID, "values", ["g5.xlarge", "g5.2xlarge", "g5.48xlarge"]),
    ),
    accepted(
        MATCHES,
        "two overlays together",
        *second(put("overlay-second", *CAPACITY, {SHARED: 4})),
        put("overlay-shared", *CAPACITY, {WHOLE: 0}),
    ),
    refused(
        DISJOINT,
        "twice",
        *second(),
        says="second: sets nvidia.com/gpu, nvidia.com/gpu.shared where NodeOverlay shared does, at the same weight 0",
    ),
    refused(
        DISJOINT,
        "one type in common",
        *second(put("overlay-second", *OVERLAID, "values", ["g5.2xlarge", "g5.4xlarge"])),
    ),
    refused(DISJOINT, "one resource in common", *second(put("overlay-second", *CAPACITY, {WHOLE: 0}))),
    refused(
        DISJOINT,
        "the same weight",
        *second(),
        put("overlay-shared", "spec", "weight", 3),
        put("overlay-second", "spec", "weight", "3"),
        says="the same weight 3",
    ),
    refused(
        DISJOINT,
        "other resources of every pool",
        *second(drop("overlay-second", "spec", "requirements"), put("overlay-second", *CAPACITY, {HUGE: "1Gi"})),
        put("overlay-mig", *CAPACITY, HUGE, "2Gi"),
        says="sets hugepages-2Mi where NodeOverlay mig does",
    ),
    refused(
        DISJOINT,
        "the first one without limits",
        put("overlay-shared", *CAPACITY, HUGE, "1Gi"),
        *second(drop("overlay-second", "spec", "requirements"), put("overlay-second", *CAPACITY, {HUGE: "1Gi"})),
    ),
    refused(
        DISJOINT,
        "where no pool is",
        *second(put("overlay-second", *POOLS, "values", ["none"])),
        *[like("overlay-third", "overlay-second", put("overlay-third", "metadata", "name", "third"))],
        says="NodeOverlay third: sets",
    ),
    accepted(DISJOINT, "other types", *second(put("overlay-second", *OVERLAID, "values", ["g5.4xlarge"]))),
    accepted(DISJOINT, "another pool", *second(put("overlay-second", *POOLS, "values", ["none"]))),
    accepted(DISJOINT, "another weight", *second(put("overlay-second", "spec", "weight", 1))),
    accepted(DISJOINT, "other resources", *second(put("overlay-second", *CAPACITY, {HUGE: "1Gi"}))),
    refused(PRICE, "a price", put("overlay-shared", "spec", "price", "0.5"), says="sets price beside a capacity"),
    refused(
        PRICE, "an adjustment", put("overlay-shared", "spec", "priceAdjustment", "-10%"), says="sets priceAdjustment"
    ),
    accepted(
        PRICE,
        "in an overlay of its own",
        *second(drop("overlay-second", *CAPACITY), put("overlay-second", "spec", "price", "0.5")),
    ),
    accepted(
        PRICE,
        "an empty capacity",
        *second(put("overlay-second", *CAPACITY, {}), put("overlay-second", "spec", "price", "0.5")),
    ),
    refused(GATE, "off", put(*GATES, "nodeOverlay", False), says="helm karpenter: leaves settings"),
    refused(GATE, "off by default", drop(*GATES), says="settings.featureGates.nodeOverlay off, and NodeOverlay"),
    refused(GATE, "another gate", put(*GATES, {"nodeRepair": True})),
    refused(
        GATE,
        "for other resources",
        put(*GATES, {}),
        without("pool-shared"),
        without("server"),
        without("quota"),
        put("overlay-shared", *CAPACITY, {HUGE: "1Gi"}),
    ),
    accepted(GATE, "whole GPUs alone", put(*GATES, {}), *only_whole()),
    accepted(
        GATE,
        "a chart of another name",
        put("karpenter-crd", "values", "settings", "featureGates", "nodeOverlay", False),
    ),
    accepted(GATE, "Karpenter of another program", without("karpenter"), without("karpenter-crd")),
]
