"""Cases of policies/rules/mig.py."""

import mig_layouts
from base import Edit, accepted, also, drop, like, put, put_head, put_yaml, refused, without
from mig_layouts import CAPACITY, FOR_40, FOR_80, LABELS, LIMITS, MIG_LABEL, WHOLE, layout, no_mig

WHERE, FITS = "mig-only-where-supported", "mig-layout-fits-pool"
SINGLE, MIXED = "mig-strategy-not-single", "mig-strategy-mixed"
ONE_PLACE, MPS, MANAGER = "mig-strategy-in-one-place", "mps-without-mixed", "mig-manager-enabled"
TYPES = ("spec", "template", "spec", "requirements", 0, "values")
PLUGIN_VALUES = ("values", "devicePlugin", "config")
SMALL, MIDDLE = "nvidia.com/mig-1g.5gb", "nvidia.com/mig-2g.10gb"
SHARING = ('device-sharing-strategy = "time-slicing"', "time-slicing.replicas = 2")
STRATEGY = ("gpu-operator", "values", "mig", "strategy")


def offers(**numbers: int) -> tuple[Edit, ...]:
    """The pool `mig` offers so many `small` and `middle` instances on each node."""
    found = {{"small": SMALL, "middle": MIDDLE}[name]: number for name, number in numbers.items()}
    return (
        put("overlay-mig", *CAPACITY, {WHOLE: 0, **found}),
        put("pool-mig", *LIMITS, {"nodes": 2, **{name: 2 * number for name, number in found.items()}}),
    )


def bottlerocket(profile: str, instances: int, *more: str) -> tuple[Edit, ...]:
    """The Bottlerocket pool with MIG on p4d, whose instances are called nvidia.com/gpu; `more` are further settings."""
    lines = (
        "[settings.kubelet-device-plugins.nvidia]",
        'device-partitioning-strategy = "mig"',
        f'mig.profile."a100.40gb" = "{profile}"' if profile else "",
        *more,
    )
    return (
        put("class-bottle", "spec", "userData", "\n".join(lines)),
        put("pool-bottle", *TYPES, ["p4d.24xlarge"]),
        put("pool-bottle", *LIMITS, {"nodes": 3, WHOLE: 200}),
        put("pool-bottle", "spec", "template", "spec", "taints", 1, {"key": "team", "effect": "NoSchedule"}),
        put("overlay-bottle", "spec", "requirements", 1, "values", ["p4d.24xlarge"]),
        put("overlay-bottle", *CAPACITY, {WHOLE: instances}),
    )


def both_a100() -> tuple[Edit, ...]:
    """The pool `mig` buys p4de too, with an overlay for it."""
    return (
        put("pool-mig", *TYPES, ["p4d.24xlarge", "p4de.24xlarge"]),
        like("overlay-80", "overlay-mig", put("overlay-80", "metadata", "name", "mig-80")),
        put("overlay-80", "spec", "requirements", 1, "values", ["p4de.24xlarge"]),
        put("overlay-80", *CAPACITY, {WHOLE: 0, "nvidia.com/mig-1g.10gb": 24, "nvidia.com/mig-2g.20gb": 16}),
        put("pool-mig", *LIMITS, "nvidia.com/mig-1g.10gb", 48),
        put("pool-mig", *LIMITS, "nvidia.com/mig-2g.20gb", 32),
        put_head(
            "pool-mig", "dependencies", ["karpenter", "karpenter-crd", "class-shared", "overlay-mig", "overlay-80"]
        ),
    )


CASES = [
    *mig_layouts.CASES,
    refused(
        WHERE,
        "no MIG",
        put("pool-mig", *TYPES, ["g5.48xlarge"]),
        says="nvidia.com/mig.config: a100-mixed and may buy g5.48xlarge: the GPU a10g has no MIG",
    ),
    refused(
        WHERE, "the second type", put("pool-mig", *TYPES, ["p4d.24xlarge", "g6.48xlarge"]), says="the GPU l4 has no"
    ),
    refused(WHERE, "both types", put("pool-mig", *TYPES, ["g5.48xlarge", "g6.48xlarge"]), says="the GPU l4 has no MIG"),
    refused(
        WHERE,
        "the second type, with a layout for every GPU",
        layout({"mig-devices": {"1g.5gb": 3, "2g.10gb": 2}}),
        put("pool-mig", *TYPES, ["p4d.24xlarge", "g6.48xlarge"]),
        says="the GPU l4 has no MIG",
    ),
    refused(
        WHERE,
        "the first type, with a layout for every GPU",
        layout({"mig-devices": {"1g.5gb": 3, "2g.10gb": 2}}),
        put("pool-mig", *TYPES, ["g6.48xlarge", "p4d.24xlarge"]),
        says="the GPU l4 has no MIG",
    ),
    refused(
        WHERE,
        "unproven, with a layout of its own",
        layout({"device-filter": "0x2BB510DE", "mig-devices": {"1g.24gb": 4}}),
        put("pool-mig", *TYPES, ["g7e.48xlarge"]),
        says="the GPU rtx-pro-server-6000 has not",
    ),
    refused(
        WHERE,
        "unproven",
        put("pool-mig", *TYPES, ["g7e.48xlarge"]),
        says="MIG on the GPU rtx-pro-server-6000 has not been seen to work on EC2",
    ),
    accepted(WHERE, "a label that asks for none", put("pool-whole", *LABELS, MIG_LABEL, "all-disabled")),
    refused(
        FITS,
        "another GPU's layout",
        layout(FOR_80),
        says="has the layout a100-mixed, which has no entry for the a100-40gb of p4d.24xlarge",
    ),
    refused(FITS, "half of the GPUs", layout(FOR_40 | {"devices": [0, 1, 2, 3]}), says="leaves 4 of the 8 GPUs"),
    refused(FITS, "all but the last", layout(FOR_40 | {"devices": list(range(7))}), says="leaves 1 of the 8 GPUs"),
    refused(
        FITS,
        "half of them disabled",
        layout(FOR_40, {"devices": [0, 1, 2, 3], "mig-enabled": False}),
        says="leaves 4 of the 8 GPUs of p4d.24xlarge without slices",
    ),
    refused(FITS, "no instances", layout({"mig-devices": {}}), says="leaves 8 of the 8 GPUs"),
    refused(
        FITS,
        "not placeable here, but elsewhere",
        layout({"mig-devices": {"1g.10gb": 7}}),
        says="which cannot be placed on the a100-40gb of p4d.24xlarge: 7 x 1g.10gb",
    ),
    refused(
        FITS,
        "neither half placeable",
        layout(
            {"devices": [0, 1, 2, 3], "mig-devices": {"1g.10gb": 7}},
            {"devices": [4, 5, 6, 7], "mig-devices": {"1g.10gb": 5}},
        ),
        says="which cannot be placed on the a100-40gb of p4d.24xlarge: 5 x 1g.10gb",
    ),
    refused(
        FITS,
        "the second half not placeable",
        layout(
            {"devices": [0, 1, 2, 3], "mig-devices": {"1g.10gb": 4}},
            {"devices": [4, 5, 6, 7], "mig-devices": {"1g.10gb": 5}},
        ),
        says="5 x 1g.10gb",
    ),
    refused(
        FITS,
        "the second type",
        put("pool-mig", *TYPES, ["p4d.24xlarge", "p4de.24xlarge"]),
        says="no entry for the a100-80gb of p4de.24xlarge",
    ),
    accepted(FITS, "an entry for each model", layout(FOR_40, FOR_80), *both_a100()),
    accepted(
        FITS,
        "two halves",
        layout(
            FOR_40 | {"devices": [0, 1, 2, 3]},
            {"devices": [4, 5, 6, 7, 8, 400], "mig-devices": {"1g.5gb": 7}},
        ),
        *offers(small=40, middle=8),
    ),
    accepted(
        FITS,
        "a later entry wins",
        layout({"mig-enabled": False}, FOR_40, {"devices": [7], "mig-devices": {"1g.5gb": 7}}),
        *offers(small=28, middle=14),
    ),
    accepted(FITS, "a zero besides", layout(FOR_40 | {"mig-devices": {"1g.5gb": 7, "2g.10gb": 0}}), *offers(small=56)),
    accepted(
        FITS,
        "the second filter of two",
        layout({"device-filter": ["0x20B210DE", "0x20B010DE"], "mig-devices": {"1g.10gb": 4}}),
        put("overlay-mig", *CAPACITY, {WHOLE: 0, "nvidia.com/mig-1g.10gb": 32}),
        put("pool-mig", *LIMITS, {"nodes": 2, "nvidia.com/mig-1g.10gb": 64}),
    ),
    refused(
        FITS,
        "what the hardware has without instances",
        drop("gpu-operator", "values", "migManager", "config", "name"),
        put("pool-mig", *LABELS, MIG_LABEL, "all-enabled"),
        says="has the layout all-enabled, which leaves 8 of the 8 GPUs",
    ),
    accepted(FITS, "no filter", layout({"mig-devices": {"1g.5gb": 3, "2g.10gb": 2}})),
    accepted(
        FITS,
        "media engines",
        layout({"mig-devices": {"1g.5gb+me": 1}}),
        put("overlay-mig", *CAPACITY, {WHOLE: 0, f"{SMALL}.me": 8}),
        put("pool-mig", *LIMITS, {"nodes": 2, f"{SMALL}.me": 16}),
    ),
    refused(
        FITS,
        "a Bottlerocket GPU without MIG",
        put(
            "class-bottle",
            "spec",
            "userData",
            '[settings.kubelet-device-plugins.nvidia]\ndevice-partitioning-strategy = "mig"',
        ),
        says="may buy the GPU l4, which the MIG settings of EC2NodeClass bottle do not fit",
    ),
    refused(FITS, "a profile of another GPU", *bottlerocket("1g.20gb", 56), says="may buy the GPU a100-40gb, which"),
    refused(FITS, "parts that there are not", *bottlerocket("5", 40), says="may buy the GPU a100-40gb, which"),
    refused(
        FITS,
        "the second type on Bottlerocket",
        *bottlerocket("7", 56, 'mig.profile."a100.80gb" = "1g.5gb"'),
        put("pool-bottle", *TYPES, ["p4d.24xlarge", "p4de.24xlarge"]),
        says="may buy the GPU a100-80gb, which",
    ),
    refused(
        FITS,
        "the first type on Bottlerocket",
        *bottlerocket("1g.5gb+me", 56, 'mig.profile."a100.80gb" = "7"'),
        put("pool-bottle", *TYPES, ["p4d.24xlarge", "p4de.24xlarge"]),
        says="may buy the GPU a100-40gb, which",
    ),
    refused(
        FITS,
        "the second type on Bottlerocket, shared too",
        *bottlerocket("7", 0, 'mig.profile."a100.80gb" = "1g.5gb"', *SHARING),
        put("overlay-bottle", *CAPACITY, "nvidia.com/gpu.shared", 112),
        put("pool-bottle", *TYPES, ["p4d.24xlarge", "p4de.24xlarge"]),
        put("pool-bottle", *LIMITS, "nvidia.com/gpu.shared", 300),
        says="may buy the GPU a100-80gb, which",
    ),
    accepted(
        FITS,
        "a label that Bottlerocket has no use for",
        *bottlerocket("7", 56),
        mig_layouts.spare(FOR_80),
        put("pool-bottle", *LABELS, MIG_LABEL, "spare"),
    ),
    accepted(FITS, "a profile on Bottlerocket", *bottlerocket("2g.10gb", 24)),
    accepted(FITS, "parts on Bottlerocket", *bottlerocket("7", 56)),
    accepted(FITS, "one part by default", *bottlerocket("", 8)),
    refused(
        SINGLE, "the default", drop("gpu-operator", "values", "mig"), says="strategy single (without a value: single)"
    ),
    refused(SINGLE, "single", put(*STRATEGY, "single"), says="allowed: mixed, or none without MIG"),
    refused(SINGLE, "in capitals", put(*STRATEGY, "Mixed"), says="strategy Mixed"),
    accepted(SINGLE, "none, without MIG", put(*STRATEGY, "none"), *no_mig()),
    accepted(SINGLE, "left to the configurations, without MIG", put(*STRATEGY, ""), *no_mig()),
    accepted(SINGLE, "a chart of another name", put("karpenter", "values", "mig", "strategy", "single")),
    refused(
        MIXED,
        "none",
        put(*STRATEGY, "none"),
        says="NodePool mig: has the MIG layout a100-mixed, and its nodes the MIG strategy none; allowed: mixed",
    ),
    refused(MIXED, "left to a configuration that says nothing", put(*STRATEGY, ""), says="strategy none; allowed"),
    refused(
        MIXED,
        "left to a configuration that says single",
        put(*STRATEGY, ""),
        put_yaml("plugin-configs", "whole", "flags", {"migStrategy": "single"}),
        says="strategy single; allowed",
    ),
    accepted(
        MIXED,
        "left to a configuration that says mixed",
        put(*STRATEGY, ""),
        put_yaml("plugin-configs", "whole", "flags", {"migStrategy": "mixed"}),
    ),
    accepted(
        MIXED,
        "Bottlerocket, which has its own",
        put(*STRATEGY, "none"),
        *no_mig(),
        *bottlerocket("7", 56),
        put("pool-bottle", *LABELS, MIG_LABEL, "a100-mixed"),
    ),
    accepted(MIXED, "an operator of another program", without("gpu-operator")),
    refused(
        ONE_PLACE,
        "another strategy",
        put_yaml("plugin-configs", "tenth", "flags", {"migStrategy": "none"}),
        says="data.tenth.flags.migStrategy to none; the operator's mig.strategy is mixed and wins",
    ),
    accepted(ONE_PLACE, "the same", put_yaml("plugin-configs", "tenth", "flags", {"migStrategy": "mixed"})),
    accepted(
        ONE_PLACE,
        "out of the operator's sight",
        also(
            "app",
            "kubernetes:core/v1:ConfigMap",
            {"metadata": {"name": "app"}, "data": {"x": "flags: {migStrategy: none}"}},
        ),
    ),
    refused(
        ONE_PLACE,
        "in the chart's values",
        put("gpu-operator", *PLUGIN_VALUES, "create", True),
        put("gpu-operator", *PLUGIN_VALUES, "data", {"x": "flags: {migStrategy: none}"}),
        says="values.devicePlugin.config.data.x.flags.migStrategy to none",
    ),
    refused(
        MPS,
        "by its label",
        put(
            "plugin-configs",
            "data",
            "quarter",
            "sharing: {mps: {renameByDefault: true, resources: [{name: gpu, replicas: 4}]}}",
        ),
        says="NodePool shared: shares its GPUs by MPS under the MIG strategy mixed",
    ),
    accepted(
        MPS,
        "under another strategy",
        put(
            "plugin-configs",
            "data",
            "quarter",
            "sharing: {mps: {renameByDefault: true, resources: [{name: gpu, replicas: 4}]}}",
        ),
        put(*STRATEGY, "none"),
        *no_mig(),
    ),
    accepted(
        MPS,
        "where no pool uses it",
        put(
            "plugin-configs",
            "data",
            "spare",
            "sharing: {mps: {renameByDefault: true, resources: [{name: gpu, replicas: 4}]}}",
        ),
    ),
    accepted(
        MPS,
        "a label that Bottlerocket has no use for",
        put(
            "plugin-configs",
            "data",
            "spare",
            "sharing: {mps: {renameByDefault: true, resources: [{name: gpu, replicas: 4}]}}",
        ),
        put("pool-bottle", *LABELS, "nvidia.com/device-plugin.config", "spare"),
    ),
    accepted(
        MPS,
        "on Bottlerocket",
        put(
            "class-bottle",
            "spec",
            "userData",
            '[settings.kubelet-device-plugins.nvidia]\ndevice-sharing-strategy = "mps"\nmps.replicas = 3',
        ),
    ),
    refused(
        MANAGER,
        "disabled",
        put("gpu-operator", "values", "migManager", "enabled", False),
        says="disables the MIG manager, and pool mig has the MIG layout a100-mixed",
    ),
    refused(
        MANAGER,
        "disabled, with MIG in the first pool",
        put("gpu-operator", "values", "migManager", "enabled", False),
        *map(without, ("pool-shared", "overlay-shared", "server", "quota")),
    ),
    accepted(MANAGER, "enabled by default", drop("gpu-operator", "values", "migManager", "enabled")),
    accepted(
        MANAGER, "disabled, without MIG", put("gpu-operator", "values", "migManager", "enabled", False), *no_mig()
    ),
    accepted(
        MANAGER,
        "disabled, with MIG on Bottlerocket",
        put("gpu-operator", "values", "migManager", "enabled", False),
        *no_mig(),
        *bottlerocket("7", 56),
        put("pool-bottle", *LABELS, MIG_LABEL, "a100-mixed"),
    ),
]
