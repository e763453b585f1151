"""Cases of policies/rules/operands.py."""

from base import accepted, also, drop, put, refused, without

POD = ("spec", "template", "spec")
GPU = {"key": "nvidia.com/gpu", "operator": "Exists", "effect": "NoSchedule"}
GPU_TRUE = {"key": "nvidia.com/gpu", "operator": "Equal", "value": "true", "effect": "NoSchedule"}
GPU_PRESENT = GPU_TRUE | {"value": "present"}
TEAM = {"key": "team", "operator": "Exists"}
BOTH = [GPU, TEAM]
DAEMONSETS = ("values", "daemonsets", "tolerations")
WORKER = ("values", "node-feature-discovery", "worker", "tolerations")
EFA = "aws-efa-k8s-device-plugin"
NO_MIG = without("pool-mig")
ALL = [{"operator": "Exists"}]
ALL_LABELS = put("gpu-operator", *WORKER, ALL)
LAB = put("pool-shared", *POD, "taints", 1, {"key": "lab", "value": "a100", "effect": "NoSchedule"})
# What is left are GPUs on instances without EFA.
NO_EFA = (without("pool-mig"), without("pool-whole"))


def chart(name, values, **more):
    """A release of another chart."""
    return also(
        "plugin", "kubernetes:helm.sh/v3:Release", {"chart": name, "version": "1.0.0", "values": values, **more}
    )


def daemon(image, *tolerations, name="daemon", field="containers"):
    spec = {"tolerations": list(tolerations), "containers": []}
    spec |= {field: [{"name": "one", "image": "example.com/one:1"}, {"name": "two", "image": image}]}
    metadata = {"name": name, "namespace": "gpu-operator"}
    return also("daemon", "kubernetes:apps/v1:DaemonSet", {"metadata": metadata, "spec": {"template": {"spec": spec}}})


VALUES = "operands-tolerate-gpu-taint"
NESTED_NFD = {"nfd": {"worker": {"tolerations": [GPU_PRESENT, TEAM]}}}
GIVEN = [
    refused(
        VALUES, "operands", put("gpu-operator", *DAEMONSETS, [TEAM]), says="in values.daemonsets.tolerations, which"
    ),
    refused(VALUES, "an empty list", NO_MIG, put("gpu-operator", *DAEMONSETS, [])),
    refused(VALUES, "another value", put("gpu-operator", *DAEMONSETS, [GPU_PRESENT, TEAM])),
    refused(VALUES, "another effect", put("gpu-operator", *DAEMONSETS, [GPU | {"effect": "NoExecute"}, TEAM])),
    refused(
        VALUES, "the labels", put("gpu-operator", *WORKER, [TEAM]), says="values.node-feature-discovery.worker.tol"
    ),
    refused(
        VALUES,
        "the labels, turned on",
        put("gpu-operator", *WORKER, [TEAM]),
        put("gpu-operator", "values", "nfd", "enabled", True),
    ),
    refused(
        VALUES,
        "from a registry",
        put("gpu-operator", "chart", "oci://r/x/gpu-operator"),
        put("gpu-operator", *WORKER, [TEAM]),
    ),
    refused(VALUES, "EFA's", chart(EFA, {"tolerations": [TEAM]}), says="in values.tolerations, which"),
    refused(VALUES, "the plain plugin's", chart("nvidia-device-plugin", {"tolerations": [TEAM]})),
    refused(
        VALUES,
        "the plain plugin's labels",
        chart("nvidia-device-plugin", {"tolerations": BOTH, "gfd": {"enabled": True}} | NESTED_NFD),
    ),
    refused(VALUES, "the exporter's", chart("dcgm-exporter", {"tolerations": [TEAM]})),
    refused(
        VALUES, "plain node feature discovery's", chart("node-feature-discovery", {"worker": {"tolerations": [TEAM]}})
    ),
    accepted(VALUES, "the exact toleration", put("gpu-operator", *DAEMONSETS, [TEAM, GPU_TRUE])),
    accepted(VALUES, "everything", put("gpu-operator", *DAEMONSETS, [{"operator": "Exists"}])),
    accepted(VALUES, "the defaults", NO_MIG, drop("gpu-operator", *DAEMONSETS), drop("gpu-operator", *WORKER)),
    accepted(
        VALUES,
        "labels that are off",
        put("gpu-operator", *WORKER, []),
        put("gpu-operator", "values", "nfd", "enabled", False),
    ),
    accepted(
        VALUES, "the plain plugin's labels, off", chart("nvidia-device-plugin", {"tolerations": BOTH} | NESTED_NFD)
    ),
    accepted(VALUES, "another chart", chart("fluent-bit", {"tolerations": []})),
    accepted(VALUES, "EFA's, tolerant", chart(EFA, {"tolerations": BOTH})),
]

MANIFESTS = "gpu-daemons-tolerate-gpu-taint"
IMAGES = [
    "nvcr.io/nvidia/k8s-device-plugin:v0.20.0",
    "registry.example.com:5000/gpu-feature-discovery",
    "registry.k8s.io/nfd/node-feature-discovery:v0.19.0-minimal",
    "nvcr.io/nvidia/k8s/dcgm-exporter@sha256:0123",
    "nvcr.io/nvidia/cloud-native/k8s-mig-manager:v0.15.0@sha256:0123",
    f"602401143452.dkr.ecr.us-west-2.amazonaws.com/eks/{EFA}:v0.5.30",
    "dcgm-exporter",
]
NAMES = ["nvidia-device-plugin", "nvidia-device-plugin-daemonset", "nvidia-dcgm-exporter", "nvidia-mig-manager"]
GIVEN_AS_MANIFESTS = [
    *(refused(MANIFESTS, f"the image {image}", daemon(image, TEAM), says="DaemonSet daemon: ") for image in IMAGES),
    *(refused(MANIFESTS, f"the name {name}", daemon("example.com/mirror:1", TEAM, name=name)) for name in NAMES),
    refused(MANIFESTS, "no tolerations", drop("exporter", *POD, "tolerations"), NO_MIG),
    refused(MANIFESTS, "an init container's image", daemon(IMAGES[0], TEAM, field="initContainers")),
    refused(
        MANIFESTS,
        "one that the option names",
        daemon("example.com/probe:1", TEAM),
        config={MANIFESTS: {"daemons": ["probe"]}},
    ),
    accepted(MANIFESTS, "the exact toleration", daemon(IMAGES[0], TEAM, GPU_TRUE)),
    accepted(MANIFESTS, "an image that starts alike", daemon("example.com/dcgm-exporter-ui:1", TEAM)),
    accepted(MANIFESTS, "a folder of that name", daemon("example.com/dcgm-exporter/ui:1", TEAM)),
    accepted(MANIFESTS, "a name that starts alike", daemon("example.com/one:1", TEAM, name="nvidia-device-plugin-ui")),
    accepted(MANIFESTS, "an image that is not known yet", daemon("<unknown>", *BOTH)),
    accepted(
        MANIFESTS,
        "one that the option leaves out",
        daemon(IMAGES[0], TEAM),
        config={name: {"daemons": ["probe"]} for name in (MANIFESTS, "daemons-tolerate-pool-taints")},
    ),
]

POOLS = "daemons-tolerate-pool-taints"
OWN = "does not tolerate team=mig:NoSchedule in values."
STARTUP = {"key": "node.cilium.io/agent-not-ready", "effect": "NoSchedule"}
OF_POOLS = [
    refused(POOLS, "operands", put("gpu-operator", *DAEMONSETS, [GPU]), says=f"{OWN}daemonsets.tolerations"),
    refused(POOLS, "operands by default", drop("gpu-operator", *DAEMONSETS), says="tolerations, left to the default"),
    refused(
        POOLS, "labels", put("gpu-operator", *WORKER, [GPU]), says=f"{OWN}node-feature-discovery.worker.tolerations"
    ),
    refused(POOLS, "labels by default", drop("gpu-operator", *WORKER), says="node-feature-discovery.worker.tol"),
    refused(POOLS, "another value", put("gpu-operator", *DAEMONSETS, 1, {"key": "team", "value": "a"})),
    refused(
        POOLS, "it ends pods", put("pool-mig", *POD, "taints", 1, "effect", "NoExecute"), says="team=mig:NoExecute"
    ),
    refused(
        POOLS, "a manifest", put("exporter", *POD, "tolerations", [GPU]), says="DaemonSet dcgm-exporter: runs a daemon"
    ),
    refused(
        POOLS, "EFA by default", chart(EFA, {}), says="tolerate nvidia.com/gpu=true:NoSchedule, team=mig:NoSchedule in"
    ),
    refused(POOLS, "EFA", chart(EFA, {"tolerations": [GPU]}), says=f"{OWN}tolerations"),
    refused(
        POOLS, "EFA, on some types of a pool", without("pool-mig"), chart(EFA, {}), says="tolerate nvidia.com/gpu=true"
    ),
    refused(
        POOLS,
        "operands of a pool without EFA",
        LAB,
        ALL_LABELS,
        put("exporter", *POD, "tolerations", ALL),
        says="=a100",
    ),
    refused(
        POOLS, "a manifest, of a pool without EFA", LAB, ALL_LABELS, put("gpu-operator", *DAEMONSETS, ALL), says="=a100"
    ),
    refused(POOLS, "EFA's manifest", daemon(f"example.com/{EFA}:1", GPU)),
    refused(POOLS, "the exporter by default", NO_MIG, chart("dcgm-exporter", {}), says="nvidia.com/gpu=true:NoSch"),
    refused(POOLS, "plain node feature discovery", NO_MIG, chart("node-feature-discovery", {})),
    refused(
        POOLS,
        "labels of the plain plugin by default",
        chart("nvidia-device-plugin", {"tolerations": BOTH, "gfd": {"enabled": True}}),
        says="values.nfd.worker.tolerations, left to the default",
    ),
    refused(POOLS, "the plain plugin by default", chart("nvidia-device-plugin", {}), says=f"{OWN}tolerations, left to"),
    refused(
        POOLS, "one that the option names", daemon("example.com/probe:1", GPU), config={POOLS: {"daemons": ["probe"]}}
    ),
    accepted(POOLS, "a preference", put("pool-whole", *POD, "taints", 1, {"key": "a", "effect": "PreferNoSchedule"})),
    accepted(POOLS, "a startup taint", put("pool-mig", *POD, "startupTaints", [STARTUP])),
    accepted(POOLS, "a pool without GPUs", put("pool-general", *POD, "taints", [{"key": "a", "effect": "NoSchedule"}])),
    accepted(
        POOLS,
        "labels that are off",
        drop("gpu-operator", *WORKER),
        put("gpu-operator", "values", "nfd", "enabled", False),
    ),
    accepted(POOLS, "labels of the plain plugin, off", chart("nvidia-device-plugin", {"tolerations": BOTH})),
    accepted(POOLS, "another chart", chart("fluent-bit", {})),
    accepted(POOLS, "another DaemonSet", daemon("example.com/logs:1")),
    accepted(POOLS, "EFA, where no pool has any", *NO_EFA, chart(EFA, {})),
    accepted(
        POOLS,
        "EFA's manifest, where no pool has any",
        *NO_EFA,
        put("pool-shared", *POD, "taints", 1, {"key": "team", "effect": "NoSchedule"}),
        daemon(f"example.com/{EFA}:1", GPU),
    ),
]

CASES = [*GIVEN, *GIVEN_AS_MANIFESTS, *OF_POOLS]
