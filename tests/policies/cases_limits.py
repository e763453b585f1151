"""Cases of policies/rules/limits.py."""

import mig_layouts
from base import Edit, accepted, drop, put, put_yaml, refused
from cases_mig import SHARING, both_a100, bottlerocket

CAP, FLOOR, HAS = "replicas-within-cap", "slice-memory-floor", "gpu-pool-has-limits"
COUNT, ONE_NODE = "limits-count-slices", "limits-allow-one-node"
NODES, SLICES = "pool-nodes-capped", "pool-slices-capped"
LIMITS = ("spec", "limits")
LABELS = ("spec", "template", "metadata", "labels")
TYPES = ("spec", "template", "spec", "requirements", 0, "values")
OVERLAID = ("spec", "requirements", 1, "values")
CAPACITY = ("spec", "capacity")
SHARED, WHOLE = "nvidia.com/gpu.shared", "nvidia.com/gpu"
PLUGIN_LABEL = "nvidia.com/device-plugin.config"


def replicas(number: float, types: tuple[str, ...] = ("g5.xlarge", "g5.2xlarge"), gpus: int = 1) -> tuple[Edit, ...]:
    """The pool `shared` with so many replicas, on these types of so many GPUs."""
    return (
        put_yaml("plugin-configs", "quarter", "sharing", "timeSlicing", "resources", 0, "replicas", number),
        put("overlay-shared", *CAPACITY, SHARED, number * gpus),
        put("pool-shared", *LIMITS, SHARED, 10 * number * gpus),
        put("overlay-shared", *OVERLAID, list(types)),
        put("pool-shared", *TYPES, list(types)),
    )


def caps(**numbers: int) -> dict[str, object]:
    return {CAP: {"maxReplicas": numbers}}


def floor(mib: int, cap: int = 4) -> dict[str, object]:
    return caps(a10g=cap) | {FLOOR: {"minMemoryMiB": mib}}


def user_data(*lines: str) -> Edit:
    head = ("[settings.kubelet-device-plugins.nvidia]", 'device-sharing-strategy = "time-slicing"')
    table = "[settings.kubelet-device-plugins.nvidia.time-slicing]"
    return put("class-bottle", "spec", "userData", "\n".join((*head, table, *lines)))


def old_bottle(strategy: str) -> tuple[Edit, ...]:
    """The Bottlerocket pool shares V100s seventeen times."""
    settings = f'device-sharing-strategy = "{strategy}"\n{strategy}.replicas = 17'
    return (
        put("class-bottle", "spec", "userData", f"[settings.kubelet-device-plugins.nvidia]\n{settings}"),
        put("pool-bottle", *TYPES, ["p3dn.24xlarge"]),
        put("pool-bottle", *LIMITS, SHARED, 500),
        put("overlay-bottle", *OVERLAID, ["p3dn.24xlarge"]),
        put("overlay-bottle", *CAPACITY, SHARED, 136),
    )


def mps(number: int, types: tuple[str, ...], gpus: int = 1) -> tuple[Edit, ...]:
    """The pool `shared` under MPS, without the MIG pool, whose strategy the plugin refuses beside it."""
    block = f"{{renameByDefault: true, resources: [{{name: gpu, replicas: {number}}}]}}"
    return (
        *replicas(number, types, gpus),
        put("plugin-configs", "data", "quarter", f"sharing: {{mps: {block}}}"),
        put("gpu-operator", "values", "mig", "strategy", "none"),
        put("pool-mig", *LABELS, {}),
        put("overlay-mig", *CAPACITY, {WHOLE: 8}),
        put("pool-mig", *LIMITS, WHOLE, 16),
    )


def shared_instances(small: int, middle: int) -> tuple[Edit, ...]:
    """The pool `mig` with its instances shared too."""
    one, other = "mig-1g.5gb", "mig-2g.10gb"
    resources = f"[{{name: {one}, replicas: {small}}}, {{name: {other}, replicas: {middle}}}]"
    block = f"{{renameByDefault: true, failRequestsGreaterThanOne: true, resources: {resources}}}"
    capacity = {f"nvidia.com/{one}.shared": 24 * small, f"nvidia.com/{other}.shared": 16 * middle}
    return (
        put("plugin-configs", "data", "instances", f"sharing: {{timeSlicing: {block}}}"),
        put("pool-mig", *LABELS, PLUGIN_LABEL, "instances"),
        put("overlay-mig", *CAPACITY, {WHOLE: 0, **capacity}),
        put("pool-mig", *LIMITS, {"nodes": 2, **dict.fromkeys(capacity, 500)}),
    )


CASES = [
    refused(CAP, "five", *replicas(5), says="shares nvidia.com/gpu 5 times; allowed on a10g: 2 to 4"),
    refused(CAP, "over the option", config=caps(a10g=3), says="allowed on a10g: 2 to 3"),
    accepted(CAP, "up to the option", *replicas(5), config=caps(a10g=5)),
    accepted(CAP, "two", *replicas(2), config=caps(a10g=2)),
    accepted(CAP, "written as a double", *replicas(4.0)),
    accepted(CAP, "another model's option", config=caps(t4=2)),
    refused(
        CAP,
        "the second type's model",
        *replicas(4, ("g5.xlarge", "g6.xlarge")),
        config=caps(l4=3),
        says="allowed on l4: 2 to 3",
    ),
    refused(
        CAP,
        "the first type's model",
        *replicas(4, ("g6.xlarge", "g5.xlarge")),
        config=caps(l4=3),
        says="allowed on l4: 2 to 3",
    ),
    accepted(
        CAP,
        "an entry that no pool uses",
        put_yaml("plugin-configs", "tenth", "sharing", "timeSlicing", "resources", 0, "replicas", 40),
    ),
    refused(
        CAP,
        "the operator's default, without a label",
        *replicas(5),
        drop("pool-shared", *LABELS, PLUGIN_LABEL),
        put("gpu-operator", "values", "devicePlugin", "config", "default", "quarter"),
    ),
    accepted(
        CAP,
        "no default for a pool with a label",
        put("gpu-operator", "values", "devicePlugin", "config", "default", "tenth"),
    ),
    refused(CAP, "a type that the catalogue does not have", *replicas(5, ("g9.xlarge",)), says="does not have: 2 to 4"),
    accepted(CAP, "such a type within every cap", *replicas(4, ("g9.xlarge",))),
    refused(CAP, "such a type over the least cap", *replicas(4, ("g9.xlarge",)), config=caps(t4=3)),
    refused(
        CAP,
        "Bottlerocket",
        user_data("replicas = 5"),
        put("overlay-bottle", *CAPACITY, SHARED, 5),
        says="allowed on l4: 2 to 4",
    ),
    accepted(CAP, "Bottlerocket's default of two", user_data(), put("overlay-bottle", *CAPACITY, SHARED, 2)),
    refused(
        CAP,
        "instances of MIG",
        *shared_instances(5, 2),
        config={FLOOR: {"minMemoryMiB": 256}},
        says="shares nvidia.com/mig-1g.5gb 5 times; allowed on a100-40gb: 2 to 4",
    ),
    refused(CAP, "the second resource", *shared_instances(2, 5), says="shares nvidia.com/mig-2g.10gb 5 times"),
    accepted(CAP, "instances of MIG, two times", *shared_instances(2, 2)),
    refused(
        CAP,
        "the second resource of such a type",
        *replicas(4, ("g9.xlarge",)),
        put_yaml(
            "plugin-configs",
            "quarter",
            "sharing",
            "timeSlicing",
            "resources",
            [{"name": "gpu", "replicas": 4}, {"name": "mig-1g.5gb", "replicas": 5}],
        ),
        says="shares nvidia.com/mig-1g.5gb 5 times",
    ),
    refused(CAP, "MPS", *mps(5, ("g5.xlarge",)), says="allowed on a10g: 2 to 4"),
    accepted(CAP, "MPS within the cap", *mps(4, ("g5.xlarge",))),
    refused(
        CAP,
        "MPS on an old GPU, whatever the option says",
        *mps(17, ("p3dn.24xlarge",), 8),
        config=caps(v100=48) | {FLOOR: {"minMemoryMiB": 256}},
        says="allowed on v100: 2 to 16",
    ),
    accepted(
        CAP,
        "sixteen clients on an old GPU",
        *mps(16, ("p3dn.24xlarge",), gpus=8),
        config=caps(v100=48) | {FLOOR: {"minMemoryMiB": 256}},
    ),
    refused(
        CAP,
        "MPS on an old GPU of Bottlerocket's",
        *old_bottle("mps"),
        config=caps(v100=48) | {FLOOR: {"minMemoryMiB": 256}},
        says="allowed on v100: 2 to 16",
    ),
    accepted(
        CAP,
        "time-slicing on an old GPU of Bottlerocket's",
        *old_bottle("time-slicing"),
        config=caps(v100=48) | {FLOOR: {"minMemoryMiB": 256}},
    ),
    accepted(
        CAP,
        "more clients from compute capability 7.5 on",
        *mps(17, ("g4dn.8xlarge",)),
        config=caps(t4=48) | {FLOOR: {"minMemoryMiB": 256}},
    ),
    accepted(
        CAP,
        "time-slicing on an old GPU",
        *replicas(17, ("p3dn.24xlarge",), gpus=8),
        config=caps(v100=48) | {FLOOR: {"minMemoryMiB": 256}},
    ),
    # An A10G has 22888 MiB.
    refused(
        FLOOR,
        "a MiB less",
        config=floor(5211),
        says="leaves each slice of g5.2xlarge 5210 MiB of memory; allowed: 5211 or more",
    ),
    accepted(FLOOR, "to the MiB", config=floor(5210)),
    refused(
        FLOOR,
        "the default floor",
        *replicas(15),
        config=caps(a10g=15),
        says="1013 MiB of memory; allowed: 1024 or more",
    ),
    accepted(FLOOR, "over the default floor", *replicas(14), config=caps(a10g=14)),
    refused(
        FLOOR,
        "the second type",
        *replicas(4, ("g5.xlarge", "g5g.xlarge")),
        config=floor(3585),
        says="slice of g5g.xlarge 3584 MiB",
    ),
    refused(
        FLOOR,
        "the first type",
        *replicas(4, ("g4dn.xlarge", "g5.xlarge")),
        config=floor(3585),
        says="slice of g4dn.xlarge 3584 MiB",
    ),
    accepted(FLOOR, "both types", *replicas(4, ("g5.xlarge", "g4dn.xlarge")), config=floor(3584)),
    refused(FLOOR, "an instance of MIG", *shared_instances(2, 2), config=floor(2049), says="p4d.24xlarge 2048 MiB"),
    refused(
        FLOOR,
        "the second resource",
        *shared_instances(2, 5),
        config={CAP: {"maxReplicas": {"a100-40gb": 5}}, FLOOR: {"minMemoryMiB": 2048}},
        says="p4d.24xlarge 1536 MiB",
    ),
    refused(
        FLOOR,
        "a part of Bottlerocket's",
        *bottlerocket("7", 112, *SHARING),
        put("overlay-bottle", *CAPACITY, {WHOLE: 0, SHARED: 112}),
        put("pool-bottle", *LIMITS, SHARED, 200),
        config=floor(2414),
        says="leaves each slice of p4d.24xlarge 2413 MiB",
    ),
    accepted(FLOOR, "a whole instance of MIG", config=floor(5000)),
    refused(HAS, "none", drop("pool-shared", *LIMITS), says="its limits: none"),
    refused(HAS, "none on nodes", drop("pool-shared", *LIMITS, "nodes"), says="lacks spec.limits.nodes"),
    refused(HAS, "a null on nodes", put("pool-shared", *LIMITS, "nodes", None), says="lacks spec.limits.nodes"),
    refused(
        HAS,
        "cpu and memory alone",
        put("pool-shared", *LIMITS, {"cpu": 100, "memory": "400Gi", "nodes": 10}),
        says="such as nvidia.com/gpu (its limits: cpu, memory, nodes)",
    ),
    refused(HAS, "a null on slices", put("pool-shared", *LIMITS, SHARED, None), says="such as nvidia.com/gpu"),
    refused(HAS, "another maker's", put("pool-shared", *LIMITS, {"nodes": 10, "amd.com/gpu": 10})),
    accepted(HAS, "written as texts", put("pool-shared", *LIMITS, {"nodes": "10", SHARED: "40"})),
    accepted(HAS, "in another order", put("pool-shared", *LIMITS, {SHARED: 40, WHOLE: None, "nodes": 10})),
    accepted(HAS, "a null besides", put("pool-shared", *LIMITS, {"nodes": 10, WHOLE: None, SHARED: 40})),
    accepted(HAS, "no GPUs", drop("pool-general", *LIMITS)),
    refused(
        COUNT,
        "GPUs where slices are offered",
        put("pool-shared", *LIMITS, {"nodes": 10, WHOLE: 10}),
        says="limits nvidia.com/gpu, and not nvidia.com/gpu.shared",
    ),
    refused(
        COUNT,
        "slices where GPUs are offered",
        put("pool-whole", *LIMITS, {"nodes": 4, SHARED: 16}),
        says="and not nvidia.com/gpu, which",
    ),
    refused(
        COUNT, "one profile of two", drop("pool-mig", *LIMITS, "nvidia.com/mig-2g.10gb"), says="not nvidia.com/mig-2g"
    ),
    refused(
        COUNT, "Bottlerocket", put("pool-bottle", *LIMITS, {"nodes": 3, WHOLE: 3}), says="not nvidia.com/gpu.shared"
    ),
    refused(
        COUNT,
        "a null for the slices",
        put("pool-shared", *LIMITS, {"nodes": 10, SHARED: None, WHOLE: 10}),
        says="limits nvidia.com/gpu, and not nvidia.com/gpu.shared",
    ),
    refused(
        COUNT,
        "the second model's slices",
        mig_layouts.layout(mig_layouts.FOR_40, mig_layouts.FOR_80),
        *both_a100(),
        drop("pool-mig", *LIMITS, "nvidia.com/mig-1g.10gb"),
        says="and not nvidia.com/mig-1g.10gb",
    ),
    refused(
        COUNT,
        "the first model's slices",
        mig_layouts.layout(mig_layouts.FOR_40, mig_layouts.FOR_80),
        *both_a100(),
        drop("pool-mig", *LIMITS, "nvidia.com/mig-1g.5gb"),
        says="and not nvidia.com/mig-1g.5gb",
    ),
    accepted(COUNT, "another limit besides", put("pool-shared", *LIMITS, WHOLE, 10)),
    refused(
        ONE_NODE,
        "one slice short",
        put("pool-shared", *LIMITS, SHARED, 3),
        says="limits nvidia.com/gpu.shared to 3, and one g5.xlarge has 4",
    ),
    accepted(ONE_NODE, "one node exactly", put("pool-shared", *LIMITS, SHARED, "4")),
    accepted(ONE_NODE, "a text that sorts before", put("pool-mig", *LIMITS, "nvidia.com/mig-1g.5gb", "100")),
    refused(ONE_NODE, "a text that sorts behind", put("pool-mig", *LIMITS, "nvidia.com/mig-1g.5gb", "9")),
    refused(
        ONE_NODE, "the second profile", put("pool-mig", *LIMITS, "nvidia.com/mig-2g.10gb", 15.0), says="to 15.0, and"
    ),
    refused(ONE_NODE, "the largest type", put("pool-whole", *LIMITS, WHOLE, 3), says="one g6e.24xlarge has 4"),
    refused(ONE_NODE, "one GPU", put("pool-whole", *LIMITS, WHOLE, 1), says="to 1, and one g6e.24xlarge has 4"),
    refused(ONE_NODE, "in another order", put("pool-shared", *LIMITS, {SHARED: 3, "nodes": 10}), says="shared to 3"),
    accepted(ONE_NODE, "a limit that no rule needs", put("pool-shared", *LIMITS, "memory", "<unknown>")),
    accepted(
        ONE_NODE, "a type that nobody knows", *replicas(4, ("g9.xlarge",)), put("pool-shared", *LIMITS, "cpu", "500m")
    ),
    accepted(ONE_NODE, "the largest type exactly", put("pool-whole", *LIMITS, WHOLE, 4)),
    refused(
        ONE_NODE, "cpu of the second type", put("pool-shared", *LIMITS, "cpu", 7), says="cpu to 7, and one g5.2xlarge"
    ),
    refused(ONE_NODE, "a part of a cpu", put("pool-shared", *LIMITS, "cpu", "500m"), says="to 0.5"),
    accepted(ONE_NODE, "cpu of one node", put("pool-shared", *LIMITS, "cpu", "8000m")),
    accepted(ONE_NODE, "a resource that its nodes do not have", put("pool-shared", *LIMITS, "nvidia.com/gpu.other", 1)),
    refused(NODES, "one more", put("pool-shared", *LIMITS, "nodes", 51), says="limits.nodes to 51; allowed: 1 to 50"),
    refused(NODES, "one more, as a text", put("pool-shared", *LIMITS, "nodes", "51")),
    refused(NODES, "none", put("pool-shared", *LIMITS, "nodes", 0), says="to 0; allowed: 1 to 50"),
    refused(NODES, "over the option", config={NODES: {"maxNodes": 9}}, says="allowed: 1 to 9"),
    accepted(NODES, "the most", put("pool-shared", *LIMITS, "nodes", 50.0)),
    accepted(NODES, "one", put("pool-shared", *LIMITS, "nodes", 1)),
    accepted(NODES, "a text that sorts behind", put("pool-shared", *LIMITS, "nodes", "9")),
    accepted(NODES, "no GPUs", put("pool-general", *LIMITS, "nodes", 1000)),
    refused(SLICES, "one more", put("pool-shared", *LIMITS, SHARED, 2001), says="to 2001; allowed: 1 to 2000"),
    refused(SLICES, "in thousands", put("pool-shared", *LIMITS, SHARED, "3k"), says="to 3k; allowed"),
    refused(SLICES, "the second profile", put("pool-mig", *LIMITS, "nvidia.com/mig-2g.10gb", 2001)),
    refused(SLICES, "none", put("pool-shared", *LIMITS, SHARED, 0), says="to 0; allowed"),
    refused(SLICES, "over the option", config={SLICES: {"maxSlices": 47}}, says="to 48; allowed: 1 to 47"),
    accepted(SLICES, "the most", put("pool-shared", *LIMITS, SHARED, 2000)),
    accepted(SLICES, "a text that sorts behind", put("pool-shared", *LIMITS, SHARED, "300")),
    accepted(SLICES, "other resources", put("pool-shared", *LIMITS, "cpu", 5000)),
    accepted(SLICES, "no GPUs", put("pool-general", *LIMITS, WHOLE, 0)),
]
