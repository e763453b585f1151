"""Cases of policies/rules/sharing.py."""

import bottlerocket_settings
import mig_layouts
import plugin_configs
from base import Edit, accepted, drop, like, put, put_head, put_yaml, refused, without
from cases_limits import replicas
from cases_mig import both_a100, bottlerocket
from plugin_configs import BLOCK, CAPACITY, LIMITS, MIG_VALUES, PLUGIN_VALUES, WHOLE, shared, values

RESOLVES, BESIDE, EFFECT = "config-label-resolves", "config-map-beside-operator", "sharing-has-effect"
NAME, PODS = "slice-name-unambiguous", "slices-fit-pods"
LABELS = ("spec", "template", "metadata", "labels")
TAINTS = ("spec", "template", "spec", "taints")
PLUGIN_LABEL, MIG_LABEL = "nvidia.com/device-plugin.config", "nvidia.com/mig.config"
TYPES = ("spec", "template", "spec", "requirements", 0, "values")
GPU_TAINT = {"key": "nvidia.com/gpu", "value": "true", "effect": "NoSchedule"}
SLICED = (
    "pool-shared",
    "pool-mig",
    "pool-bottle",
    "overlay-shared",
    "overlay-mig",
    "overlay-bottle",
    "server",
    "quota",
)
SMALL, MIDDLE = "nvidia.com/mig-1g.5gb", "nvidia.com/mig-2g.10gb"


def plain_pool(*taints: dict[str, str]) -> tuple[Edit, ...]:
    """A pool whose slices are called nvidia.com/gpu, with these taints besides that of GPUs."""
    block = "{failRequestsGreaterThanOne: true, resources: [{name: nvidia.com/gpu, replicas: 4}]}"
    return (
        put("plugin-configs", "data", "plain", f"sharing: {{timeSlicing: {block}}}"),
        like("overlay-plain", "overlay-shared", put("overlay-plain", "metadata", "name", "plain")),
        put("overlay-plain", "spec", "requirements", 0, "values", ["plain"]),
        put("overlay-plain", *CAPACITY, {WHOLE: 4}),
        like("pool-plain", "pool-shared", put("pool-plain", "metadata", "name", "plain")),
        put_head("pool-plain", "dependencies", ["karpenter", "karpenter-crd", "class-shared", "overlay-plain"]),
        put("pool-plain", *LIMITS, {"nodes": 2, WHOLE: 8}),
        put("pool-plain", *LABELS, {PLUGIN_LABEL: "plain"}),
        *(put("pool-plain", *TAINTS, number, taint) for number, taint in enumerate(taints, start=1)),
    )


def tolerated(key: str) -> tuple[Edit, ...]:
    """The operands tolerate a taint with any effect."""
    places = (
        ("gpu-operator", "values", "daemonsets", "tolerations"),
        ("gpu-operator", "values", "node-feature-discovery", "worker", "tolerations"),
        ("exporter", "spec", "template", "spec", "tolerations"),
    )
    return tuple(put(*place, 2, {"key": key, "operator": "Exists"}) for place in places)


def generated(layout: str, capacity: dict[str, int]) -> tuple[Edit, ...]:
    """The pool `mig` with a layout that the MIG manager makes of the hardware, since it is given none."""
    return (
        drop("gpu-operator", *MIG_VALUES, "name"),
        put("pool-mig", *LABELS, MIG_LABEL, layout),
        put("overlay-mig", *CAPACITY, {WHOLE: 0, **capacity}),
        put("pool-mig", *LIMITS, {"nodes": 2, **{name: 2 * number for name, number in capacity.items()}}),
    )


CASES = [
    *plugin_configs.CASES,
    *bottlerocket_settings.CASES,
    refused(
        RESOLVES,
        "a label",
        put("pool-shared", *LABELS, PLUGIN_LABEL, "quarters"),
        says="nvidia.com/device-plugin.config: quarters, which no configuration is named, as is quarter",
    ),
    refused(RESOLVES, "a label in capitals", put("pool-shared", *LABELS, PLUGIN_LABEL, "Quarter")),
    refused(RESOLVES, "of a pool of whole GPUs", put("pool-whole", *LABELS, PLUGIN_LABEL, "exclusive")),
    refused(
        RESOLVES,
        "a label of MIG",
        put("pool-mig", *LABELS, MIG_LABEL, "a100-mixd"),
        says="nvidia.com/mig.config: a100-mixd, which no configuration is named, as is a100-mixed",
    ),
    refused(
        RESOLVES,
        "the operator's default",
        put("gpu-operator", *PLUGIN_VALUES, "default", "hole"),
        says="devicePlugin.config.default to hole",
    ),
    refused(
        RESOLVES,
        "a ConfigMap that is not there",
        put("gpu-operator", *PLUGIN_VALUES, "name", "plugin-config"),
        says="points devicePlugin.config.name at the ConfigMap plugin-config, which is not in this program",
    ),
    refused(
        RESOLVES,
        "layouts that are not there",
        put("gpu-operator", *MIG_VALUES, "name", "mig-config"),
        says="points migManager.config.name at the ConfigMap mig-config",
    ),
    refused(
        RESOLVES,
        "layouts under another key",
        put(
            "mig-configs",
            "data",
            {"mig.yaml": "{version: v1, mig-configs: {all-disabled: [{devices: all, mig-enabled: false}]}}"},
        ),
        says="ConfigMap mig-configs, which lacks the key config.yaml",
    ),
    refused(
        RESOLVES,
        "no ConfigMap at all",
        drop("gpu-operator", *PLUGIN_VALUES),
        says="has the label nvidia.com/device-plugin.config: quarter, which no configuration is named",
    ),
    refused(
        RESOLVES,
        "a default without a ConfigMap",
        drop("gpu-operator", *PLUGIN_VALUES, "name"),
        says="devicePlugin.config.default to whole",
    ),
    refused(
        RESOLVES,
        "a layout as the default",
        put("gpu-operator", *MIG_VALUES, "default", "a100-mixed"),
        says="migManager.config.default to a100-mixed; allowed: all-disabled",
    ),
    accepted(RESOLVES, "no default layout", put("gpu-operator", *MIG_VALUES, "default", "")),
    accepted(RESOLVES, "no default", put("gpu-operator", *PLUGIN_VALUES, "default", "")),
    accepted(
        RESOLVES,
        "an empty configuration",
        put("plugin-configs", "data", "spare", ""),
        put("pool-whole", *LABELS, PLUGIN_LABEL, "spare"),
    ),
    accepted(
        RESOLVES,
        "a node class of another program",
        put("pool-whole", "spec", "template", "spec", "nodeClassRef", "name", "elsewhere"),
    ),
    accepted(RESOLVES, "made by the chart", values({})),
    accepted(RESOLVES, "no layout", put("pool-whole", *LABELS, MIG_LABEL, "all-disabled")),
    accepted(RESOLVES, "Bottlerocket, which has no use for it", put("pool-bottle", *LABELS, PLUGIN_LABEL, "none")),
    accepted(RESOLVES, "a layout of the hardware", *generated("all-1g.5gb", {SMALL: 56})),
    accepted(RESOLVES, "media engines of the hardware", *generated("all-1g.5gb.me", {f"{SMALL}.me": 8})),
    accepted(
        RESOLVES,
        "a mixture of the hardware",
        *generated("all-balanced", {SMALL: 16, MIDDLE: 8, "nvidia.com/mig-3g.20gb": 8}),
    ),
    refused(RESOLVES, "a layout that no hardware has", *generated("all-1g.6gb", {SMALL: 56}), says="all-1g.6gb, which"),
    refused(
        RESOLVES,
        "a label that would have said the MIG strategy",
        put("gpu-operator", "values", "mig", "strategy", ""),
        put("pool-mig", *LABELS, PLUGIN_LABEL, "hole"),
        says="device-plugin.config: hole, which",
    ),
    accepted(
        RESOLVES,
        "configurations of another program",
        without("gpu-operator"),
        without("plugin-configs"),
        without("mig-configs"),
    ),
    refused(
        RESOLVES,
        "without the operator, beside its configurations",
        without("gpu-operator"),
        put("pool-shared", *LABELS, PLUGIN_LABEL, "fifth"),
        says="device-plugin.config: fifth, which no configuration is named",
    ),
    refused(
        BESIDE,
        "in another namespace",
        put("plugin-configs", "metadata", "namespace", "default"),
        says="is in namespace gpu-operator, and its ConfigMap plugin-configs in default",
    ),
    refused(
        BESIDE, "the layouts", put("mig-configs", "metadata", "namespace", "mig"), says="ConfigMap mig-configs in mig"
    ),
    accepted(BESIDE, "both in the provider's", drop("plugin-configs", "metadata", "namespace")),
    accepted(
        BESIDE,
        "the release in the provider's",
        drop("gpu-operator", "namespace"),
        put("plugin-configs", "metadata", "namespace", "default"),
    ),
    refused(
        EFFECT,
        "GPUs under MIG",
        put("pool-mig", *LABELS, PLUGIN_LABEL, "quarter"),
        says="quarter, which shares nvidia.com/gpu; its nodes have nvidia.com/mig-1g.5gb, nvidia.com/mig-2g.10gb",
    ),
    refused(
        EFFECT,
        "instances of whole GPUs",
        shared("{failRequestsGreaterThanOne: true, resources: [{name: mig-1g.5gb, replicas: 4}]}"),
        put("pool-whole", *LABELS, PLUGIN_LABEL, "spare"),
        says="its nodes have nvidia.com/gpu",
    ),
    accepted(
        EFFECT,
        "one resource of two",
        put_yaml(
            "plugin-configs",
            "quarter",
            *BLOCK,
            "resources",
            [{"name": "mig-1g.5gb", "replicas": 2}, {"name": "gpu", "replicas": 4}],
        ),
    ),
    accepted(
        EFFECT,
        "on one type of two",
        mig_layouts.layout(mig_layouts.FOR_40, mig_layouts.FOR_80),
        *both_a100(),
        shared(
            "{renameByDefault: true, failRequestsGreaterThanOne: true, resources: [{name: mig-1g.5gb, replicas: 2}]}"
        ),
        put("pool-mig", *LABELS, PLUGIN_LABEL, "spare"),
        put("overlay-mig", *CAPACITY, {WHOLE: 0, f"{SMALL}.shared": 48, MIDDLE: 16}),
        put("pool-mig", *LIMITS, f"{SMALL}.shared", 96),
    ),
    accepted(
        EFFECT,
        "the operator's default",
        put("gpu-operator", *PLUGIN_VALUES, "default", "quarter"),
    ),
    refused(
        NAME, "the GPU taint alone", *plain_pool(), says="calls its slices nvidia.com/gpu, as pool whole calls whole"
    ),
    refused(NAME, "a preference", *plain_pool({"key": "team", "value": "plain", "effect": "PreferNoSchedule"})),
    refused(
        NAME,
        "another taint of GPUs",
        *plain_pool({"key": "nvidia.com/mode", "effect": "NoSchedule"}),
        *tolerated("nvidia.com/mode"),
    ),
    refused(
        NAME,
        "a taint that the other pool has too",
        *plain_pool({"key": "team", "value": "plain", "effect": "NoSchedule"}),
        put("pool-whole", *TAINTS, 1, {"key": "team", "value": "plain", "effect": "NoSchedule"}),
    ),
    accepted(
        NAME,
        "one that ends pods",
        *plain_pool({"key": "team", "value": "plain", "effect": "NoExecute"}),
        *tolerated("team"),
    ),
    refused(
        NAME,
        "two slices of a GPU",
        *plain_pool(),
        put_yaml("plugin-configs", "plain", "sharing", "timeSlicing", "resources", 0, "replicas", 2),
        put("overlay-plain", *CAPACITY, {WHOLE: 2}),
    ),
    refused(
        NAME,
        "a taint that a second pool has too",
        *plain_pool({"key": "team", "value": "plain", "effect": "NoSchedule"}),
        like("pool-other", "pool-whole", put("pool-other", "metadata", "name", "other")),
        put("pool-other", *TAINTS, 1, {"key": "team", "value": "plain", "effect": "NoSchedule"}),
        says="as pool other calls whole GPUs",
    ),
    refused(NAME, "whole GPUs in the first pool", *plain_pool(), *map(without, SLICED), says="as pool whole calls"),
    refused(
        NAME,
        "on the first type alone",
        *bottlerocket("7", 56),
        put("pool-bottle", *TYPES, ["p4d.24xlarge", "p4de.24xlarge"]),
        drop("pool-bottle", *TAINTS, 1),
    ),
    refused(
        NAME,
        "on the second type alone",
        *bottlerocket("1", 56, 'mig.profile."a100.80gb" = "7"'),
        put("pool-bottle", *TYPES, ["p4d.24xlarge", "p4de.24xlarge"]),
        put("overlay-bottle", "spec", "requirements", 1, "values", ["p4de.24xlarge"]),
        drop("pool-bottle", *TAINTS, 1),
    ),
    accepted(
        NAME,
        "beside a type that nobody knows",
        *plain_pool(),
        put("pool-shared", *TYPES, ["g9.xlarge"]),
        without("pool-whole"),
        without("training"),
    ),
    accepted(
        NAME,
        "a taint of its own before the other",
        *plain_pool(),
        put("pool-plain", *TAINTS, [{"key": "team", "value": "plain", "effect": "NoSchedule"}, GPU_TAINT]),
    ),
    accepted(NAME, "a taint of its own", *plain_pool({"key": "team", "value": "plain", "effect": "NoSchedule"})),
    accepted(
        NAME,
        "another value than the other pool's",
        *plain_pool({"key": "team", "value": "plain", "effect": "NoSchedule"}),
        put("pool-whole", *TAINTS, 1, {"key": "team", "value": "whole", "effect": "NoSchedule"}),
    ),
    accepted(NAME, "no whole GPUs beside it", *plain_pool(), without("pool-whole"), without("training")),
    refused(
        PODS, "one more", config={PODS: {"systemPods": 55}}, says="offers 4 slices on a g5.xlarge; allowed: 3, beside"
    ),
    refused(
        PODS,
        "the second type",
        *replicas(4, ("g5.4xlarge", "g5g.xlarge")),
        config={PODS: {"systemPods": 55}},
        says="offers 4 slices on a g5g.xlarge",
    ),
    accepted(PODS, "as many as there is room for", config={PODS: {"systemPods": 54}}),
    refused(
        PODS,
        "fewer pods by the node class",
        put("class-bottle", "spec", "kubelet", "maxPods", "12"),
        says="offers 3 slices on a g6.4xlarge; allowed: 2, beside",
    ),
    accepted(PODS, "room by the node class", put("class-bottle", "spec", "kubelet", "maxPods", 13)),
    refused(
        PODS,
        "both profiles together",
        put("class-shared", "spec", "kubelet", "maxPods", 49),
        says="offers 40 slices on a p4d.24xlarge",
    ),
    accepted(PODS, "room for both", put("class-shared", "spec", "kubelet", "maxPods", 50)),
]
