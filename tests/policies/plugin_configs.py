"""Cases of the rules on single device plugin configurations, in ConfigMaps, Helm values and user data."""

from typing import Any

from base import Edit, accepted, also, drop_yaml, like, put, put_yaml, refused, without
from bottlerocket_settings import NVIDIA, SLICES, user_data
from mig_layouts import no_mig

VALID, IGNORED, ENTRIES = "plugin-config-valid", "plugin-config-ignored-keys", "plugin-config-entries"
DOUBLE = "slices-refuse-double-requests"
BLOCK = ("sharing", "timeSlicing")
FIRST = (*BLOCK, "resources", 0)
CAPACITY, LIMITS = ("spec", "capacity"), ("spec", "limits")
PLUGIN_VALUES = ("values", "devicePlugin", "config")
MIG_VALUES = ("values", "migManager", "config")
SHARED, WHOLE = "nvidia.com/gpu.shared", "nvidia.com/gpu"


def tenth(*path_and_value: Any) -> Edit:
    """Changes the configuration that no pool uses."""
    return put_yaml("plugin-configs", "tenth", *path_and_value)


def entry(text: str) -> Edit:
    """Another entry of the operator's ConfigMap, which no pool uses."""
    return put("plugin-configs", "data", "spare", text)


def shared(body: str) -> Edit:
    """Another entry that shares something: the body of `timeSlicing`."""
    return entry(f"{{version: v1, sharing: {{timeSlicing: {body}}}}}")


def elsewhere(text: str) -> Edit:
    """A ConfigMap that the operator does not read."""
    metadata = {"name": "app", "namespace": "web"}
    return also(
        "app",
        "kubernetes:core/v1:ConfigMap",
        {"apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata, "data": {"config.yaml": text}},
    )


def own_chart(text: str) -> Edit:
    """The device plugin's own chart besides."""
    values = {"config": {"map": {"default": text}}, "tolerations": [{"operator": "Exists"}]}
    return also("plugin", "kubernetes:helm.sh/v3:Release", {"chart": "nvdp/nvidia-device-plugin", "values": values})


def values(data: dict[str, Any], **more: Any) -> Edit:
    """The chart makes the ConfigMap of what the pools' labels name, and of `data`."""
    whole, quarter = "version: v1", "sharing: {timeSlicing: {renameByDefault: true, failRequestsGreaterThanOne: true, "
    quarter += "resources: [{name: gpu, replicas: 4}]}}"
    config = {"create": True, "name": "made", "default": "whole"} | more
    return put("gpu-operator", *PLUGIN_VALUES, config | {"data": {"whole": whole, "quarter": quarter, **data}})


CASES = [
    refused(VALID, "another version", tenth("version", "v2"), says="version to v2; allowed: v1"),
    refused(VALID, "a version that is a number", tenth("version", 1), says="version is 1, not a text"),
    refused(VALID, "a list of blocks", tenth("sharing", []), says="sharing is [], not an object"),
    refused(
        VALID,
        "the second block",
        entry("sharing: {timeSlicing: {resources: [{name: gpu, replicas: 4}]}, mps: {}}"),
        says="sharing.mps: resources is empty",
    ),
    refused(VALID, "an empty block", tenth(*BLOCK, {}), says="data.tenth.sharing.timeSlicing: resources is empty"),
    refused(VALID, "a block that is null", tenth(*BLOCK, None), says="resources is empty"),
    refused(VALID, "no resources", tenth(*BLOCK, "resources", []), says="resources is empty"),
    refused(VALID, "an empty block of MPS", entry("sharing: {mps: {}}"), says="sharing.mps: resources is empty"),
    refused(VALID, "no name", drop_yaml("plugin-configs", "tenth", *FIRST, "name"), says="lacks data.tenth.sharing"),
    refused(VALID, "an empty name", tenth(*FIRST, "name", ""), says="name to nvidia.com/; allowed"),
    refused(VALID, "a name in capitals", tenth(*FIRST, "name", "nvidia.com/GPU"), says="name to nvidia.com/GPU"),
    refused(VALID, "a name that ends in a dot", tenth(*FIRST, "name", "gpu."), says="name to nvidia.com/gpu."),
    refused(VALID, "another maker's name", tenth(*FIRST, "name", "amd.com/gpu"), says="nvidia.com/amd.com/gpu"),
    refused(VALID, "a name of 64 characters", tenth(*FIRST, "name", "n" * 53), says="63 characters"),
    refused(
        VALID,
        "no replicas",
        drop_yaml("plugin-configs", "tenth", *FIRST, "replicas"),
        says="lacks data.tenth.sharing.timeSlicing.resources[0].replicas",
    ),
    refused(
        VALID,
        "one replica where a pool uses it",
        put_yaml("plugin-configs", "quarter", *FIRST, "replicas", 1),
        says="data.quarter.sharing.timeSlicing.resources[0].replicas to '1'",
    ),
    refused(VALID, "one replica", tenth(*FIRST, "replicas", 1), says="to '1'; allowed: a whole number, 2 or more"),
    refused(VALID, "replicas as a text", tenth(*FIRST, "replicas", "4"), says="replicas to '4'; allowed"),
    refused(VALID, "half a replica", tenth(*FIRST, "replicas", 2.5), says="replicas to '2.5'"),
    refused(VALID, "replicas true", tenth(*FIRST, "replicas", True), says="replicas to 'True'"),
    refused(
        VALID,
        "the second resource",
        shared(
            "{failRequestsGreaterThanOne: true, resources: [{name: gpu, replicas: 2}, {name: mig-1g.5gb, replicas: 0}]}"
        ),
        says="resources[1].replicas to '0'",
    ),
    refused(
        VALID,
        "49 clients of MPS",
        entry("sharing: {mps: {resources: [{name: gpu, replicas: 49}]}}"),
        says="replicas to '49'; allowed: a whole number, 2 to 48",
    ),
    refused(
        VALID,
        "49 clients of MPS where a pool uses it",
        put("plugin-configs", "data", "quarter", "sharing: {mps: {resources: [{name: gpu, replicas: 49}]}}"),
        says="data.quarter.sharing.mps.resources[0].replicas to '49'",
    ),
    accepted(VALID, "48 clients of MPS", entry("sharing: {mps: {resources: [{name: gpu, replicas: 48}]}}")),
    accepted(VALID, "49 replicas", tenth(*FIRST, "replicas", 49)),
    accepted(VALID, "two replicas, written as a double", tenth(*FIRST, "replicas", 2.0)),
    accepted(VALID, "no version", drop_yaml("plugin-configs", "tenth", "version")),
    accepted(VALID, "an empty version", tenth("version", "")),
    accepted(VALID, "a name without its prefix", tenth(*FIRST, "name", "gpu")),
    accepted(VALID, "a name of 63 characters", tenth(*FIRST, "name", "n" * 52)),
    accepted(VALID, "MPS that is null", tenth("sharing", "mps", None)),
    refused(VALID, "rename as a text", tenth(*BLOCK, "renameByDefault", "true"), says="renameByDefault to 'true'"),
    refused(VALID, "refusal as a number", tenth(*BLOCK, "failRequestsGreaterThanOne", 1), says="ThanOne to '1'"),
    refused(VALID, "a MIG strategy", tenth("flags", "migStrategy", "multi"), says="allowed: none, single, mixed"),
    refused(VALID, "a discovery", tenth("flags", "deviceDiscoveryStrategy", "cuda"), says="auto, nvml, tegra"),
    refused(VALID, "an id strategy", tenth("flags", "plugin", "deviceIDStrategy", "name"), says="uuid, index"),
    refused(
        VALID,
        "an allocation policy",
        tenth("flags", "plugin", "sharedDevicesAllocationPolicy", "spread"),
        says="distributed, packed",
    ),
    refused(VALID, "a list strategy", tenth("flags", "plugin", "deviceListStrategy", "env"), says="envvar, volume"),
    refused(
        VALID,
        "the second list strategy",
        tenth("flags", "plugin", "deviceListStrategy", ["envvar", "env"]),
        says="deviceListStrategy to 'env'",
    ),
    refused(VALID, "a switch as a text", tenth("flags", "failOnInitError", "no"), says="to 'no'; allowed: true or"),
    refused(VALID, "a switch below", tenth("flags", "plugin", "passDeviceSpecs", 0), says="passDeviceSpecs to '0'"),
    *(
        refused(VALID, f"the switch {switch}", tenth("flags", switch, "false"), says=f"flags.{switch} to 'false'")
        for switch in ("gdrcopyEnabled", "gdsEnabled", "mofedEnabled", "useNodeFeatureAPI")
    ),
    accepted(
        VALID,
        "every flag",
        entry(
            "flags: {migStrategy: mixed, failOnInitError: true, mpsRoot: /run, nvidiaDriverRoot: /, nvidiaDevRoot: /, "
            "gdrcopyEnabled: false, gdsEnabled: false, mofedEnabled: false, useNodeFeatureAPI: true, "
            "deviceDiscoveryStrategy: tegra, plugin: {passDeviceSpecs: false, deviceListStrategy: "
            "[cdi-cri, cdi-annotations, volume-mounts], "
            "deviceIDStrategy: index, cdiAnnotationPrefix: x/, nvidiaCTKPath: /, containerDriverRoot: /, "
            "sharedDevicesAllocationPolicy: packed}, gfd: {oneshot: false, noTimestamp: true, sleepInterval: 1m, "
            "outputFile: /x, machineTypeFile: /y}}\nimex: {channelIDs: [0], required: false}\nresources: {}"
        ),
    ),
    refused(
        VALID, "in the chart's values", values({"spare": "flags: {migStrategy: all}"}), says="migStrategy to 'all'"
    ),
    refused(VALID, "in the plugin's own chart", own_chart("version: v1\nflags: {migStrategy: all}"), says="to 'all'"),
    accepted(VALID, "the plugin's own chart", own_chart("version: v1\nflags: {migStrategy: mixed}")),
    accepted(VALID, "the chart's values", values({"spare": "flags: {migStrategy: mixed}"})),
    refused(VALID, "out of the operator's sight", elsewhere("version: v3\nsharing: {mps: {resources: []}}"), says="v3"),
    refused(VALID, "flags alone", elsewhere("flags: {migStrategy: most}"), says="migStrategy to 'most'"),
    accepted(VALID, "another program's flags", elsewhere("flags: {newCheckout: {state: ENABLED}}")),
    accepted(VALID, "another program's version", elsewhere("version: 1\nhandlers: {console: {}}")),
    accepted(VALID, "another program's sharing", elsewhere("sharing: {enabled: 1}")),
    accepted(VALID, "a chart of another name", put("karpenter", *PLUGIN_VALUES, "data", {"x": "version: v2"})),
    accepted(VALID, "the vGPU manager's", elsewhere("version: v1\nvgpu-configs: {default: [{devices: all}]}")),
    refused(IGNORED, "a key of no meaning", tenth("tolerations", []), says="sets data.tenth.tolerations, which"),
    refused(
        IGNORED,
        "a misspelt key",
        entry("version: v1\nsharring: {timeSlicing: {}}"),
        says="sets data.spare.sharring, which the plugin does not know and ignores (did you mean sharing?)",
    ),
    refused(IGNORED, "misspelt, out of the operator's sight", elsewhere("version: v1\nshering: {}"), says="shering"),
    refused(IGNORED, "a block", tenth("sharing", "timeSlice", {}), says="(did you mean timeSlicing?)"),
    refused(IGNORED, "of a block", tenth(*BLOCK, "renameDefault", True), says="renameDefault, which the plugin does"),
    refused(IGNORED, "of a resource", tenth(*FIRST, "replica", 4), says="resources[0].replica, which"),
    refused(
        IGNORED,
        "of the second resource",
        shared(
            "{failRequestsGreaterThanOne: true, resources: [{name: gpu, replicas: 2}, "
            "{name: mig-1g.5gb, replicas: 2, count: 1}]}"
        ),
        says="resources[1].count",
    ),
    refused(
        IGNORED,
        "a name for the second resource's slices",
        shared(
            "{failRequestsGreaterThanOne: true, resources: [{name: gpu, replicas: 2}, "
            "{name: mig-1g.5gb, replicas: 2, rename: a}]}"
        ),
        says="resources[1].rename, which the plugin ignores",
    ),
    refused(
        IGNORED,
        "time-slicing beside MPS, which wins",
        *no_mig(),
        put("gpu-operator", "values", "mig", "strategy", "none"),
        put_yaml("plugin-configs", "quarter", "sharing", "mps", {"resources": [{"name": "gpu", "replicas": 2}]}),
        put_yaml("plugin-configs", "quarter", "sharing", "mps", "renameByDefault", True),
        put("overlay-shared", *CAPACITY, SHARED, 2),
    ),
    refused(IGNORED, "a flag", tenth("flags", "strategy", "mixed"), says="flags.strategy"),
    refused(IGNORED, "a flag of the plugin", tenth("flags", "plugin", "policy", "packed"), says="flags.plugin.policy"),
    refused(IGNORED, "a flag of discovery", tenth("flags", "gfd", "interval", "1m"), says="flags.gfd.interval"),
    refused(IGNORED, "of IMEX", tenth("imex", "ids", [0]), says="imex.ids"),
    refused(
        IGNORED,
        "resources",
        tenth("resources", {"gpus": [{"pattern": "*", "name": "gpu"}]}),
        says="data.tenth.resources",
    ),
    refused(
        IGNORED,
        "a name for the slices",
        tenth(*FIRST, "rename", "nvidia.com/slice"),
        says="rename, which the plugin ignores",
    ),
    refused(IGNORED, "some devices", tenth(*FIRST, "devices", [0, 1]), says="it shares all devices"),
    refused(IGNORED, "a number of devices", tenth(*FIRST, "devices", 2), says="resources[0].devices"),
    accepted(IGNORED, "all devices", tenth(*FIRST, "devices", "all")),
    refused(
        IGNORED,
        "time-slicing beside MPS",
        tenth("sharing", "mps", {"resources": [{"name": "gpu", "replicas": 4}]}),
        says="sharing.timeSlicing, which the plugin ignores beside mps",
    ),
    refused(IGNORED, "in a block of MPS", entry("sharing: {mps: {resources: [{name: gpu, replicas: 2, rename: a}]}}")),
    refused(
        IGNORED, "in the chart's values", values({"spare": "flags: {strategy: mixed}"}), says="spare.flags.strategy"
    ),
    refused(
        IGNORED,
        "values of which the chart makes nothing",
        put("gpu-operator", *PLUGIN_VALUES, "data", {"spare": "version: v1"}),
        says="sets values.devicePlugin.config.data, which the chart ignores without create: true",
    ),
    refused(
        IGNORED,
        "layouts of which the chart makes nothing",
        put("gpu-operator", *MIG_VALUES, "data", {"config.yaml": ""}),
        says="values.migManager.config.data",
    ),
    accepted(IGNORED, "no values for it to make", put("gpu-operator", *PLUGIN_VALUES, "data", {})),
    refused(ENTRIES, "a text", entry("hello"), says="holds data.spare, which is no YAML object"),
    refused(ENTRIES, "the first entry", put("plugin-configs", "data", "whole", "hello"), says="holds data.whole"),
    refused(
        ENTRIES,
        "behind another ConfigMap",
        like("plugin-last", "plugin-configs", put("plugin-last", "data", "spare", "hello")),
        without("plugin-configs"),
    ),
    refused(ENTRIES, "no YAML", entry("a: [b"), says="no YAML object"),
    refused(ENTRIES, "a list", entry("[version, v1]"), says="no YAML object"),
    refused(ENTRIES, "a version alone", entry("version: v2"), says="data.spare.version to v2"),
    refused(ENTRIES, "another program's", entry("version: v1\nvgpu-configs: {}"), says="data.spare.vgpu-configs"),
    accepted(ENTRIES, "nothing", entry(" \n")),
    accepted(ENTRIES, "an empty object", entry("{}")),
    accepted(ENTRIES, "in another ConfigMap", elsewhere("hello")),
    refused(DOUBLE, "false", put_yaml("plugin-configs", "quarter", *BLOCK, "failRequestsGreaterThanOne", False)),
    refused(
        DOUBLE,
        "the default",
        drop_yaml("plugin-configs", "quarter", *BLOCK, "failRequestsGreaterThanOne"),
        says="to true in data.quarter.sharing.timeSlicing",
    ),
    refused(DOUBLE, "where no pool uses it", tenth(*BLOCK, "failRequestsGreaterThanOne", False), says="data.tenth"),
    refused(
        DOUBLE,
        "MPS",
        entry("sharing: {mps: {failRequestsGreaterThanOne: false, resources: [{name: gpu, replicas: 4}]}}"),
        says="data.spare.sharing.mps",
    ),
    accepted(DOUBLE, "MPS by default", entry("sharing: {mps: {resources: [{name: gpu, replicas: 4}]}}")),
    refused(
        DOUBLE,
        "in the chart's values",
        values({"spare": "sharing: {timeSlicing: {resources: [{name: gpu, replicas: 4}]}}"}),
        says="config.data.spare.sharing",
    ),
    refused(
        DOUBLE,
        "Bottlerocket",
        user_data(
            NVIDIA,
            'device-sharing-strategy = "time-slicing"',
            SLICES,
            "replicas = 3",
            "fail-requests-greater-than-one = false",
        ),
        says="failRequestsGreaterThanOne to true in userData",
    ),
    accepted(
        DOUBLE,
        "what another OS makes nothing of",
        put(
            "class-shared",
            "spec",
            "userData",
            "\n".join(
                (NVIDIA, 'device-sharing-strategy = "time-slicing"', SLICES, "fail-requests-greater-than-one = false")
            ),
        ),
    ),
    accepted(
        DOUBLE,
        "Bottlerocket by default",
        user_data(NVIDIA, 'device-sharing-strategy = "time-slicing"', SLICES, "replicas = 3"),
    ),
]
