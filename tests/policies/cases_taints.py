"""Cases of policies/rules/taints.py."""

from base import accepted, also, drop, like, put, refused
from cases_workloads import KINDS, asks, workload

from gpuslice.catalog import instance_types

POD = ("spec", "template", "spec")
TAINTS = (*POD, "taints")
STARTUP = (*POD, "startupTaints")
REQUIREMENTS = (*POD, "requirements")
LABELS = ("spec", "template", "metadata", "labels")
GPU_TAINT = {"key": "nvidia.com/gpu", "value": "true", "effect": "NoSchedule"}
TEAM_TAINT = {"key": "team", "value": "mig", "effect": "NoSchedule"}
ALL = [{"operator": "Exists"}]
AWS = "karpenter.k8s.aws/instance-"
AUTO_MODE = "eks.amazonaws.com/instance-"
TYPE = "node.kubernetes.io/instance-type"
OLD_TYPE = "beta.kubernetes.io/instance-type"
EVERY_FAMILY = sorted({name.partition(".")[0] for name in instance_types()})

# Daemons of the base program that run whatever the taint, for cases that give pools taints of other kinds.
TOLERANT_DAEMONS = (
    put("gpu-operator", "values", "daemonsets", "tolerations", ALL),
    put("gpu-operator", "values", "node-feature-discovery", "worker", "tolerations", ALL),
    put("exporter", *POD, "tolerations", ALL),
)


def needs(key, operator, *values):
    return {"key": key, "operator": operator, "values": list(values)}


def general(*rows):
    """The pool for everything else, with these requirements."""
    return put("pool-general", *REQUIREMENTS, [needs(*row) for row in rows])


def untainted(*rows):
    """A pool of GPUs with these requirements and no taint."""
    return put("pool-whole", *REQUIREMENTS, [needs(*row) for row in rows]), drop("pool-whole", *TAINTS)


GPU_POOL = "gpu-pool-taint"
WHOLE_GPUS = (f"{AWS}family", "NotIn", "g6f", "gr6f")
NAMED = [
    ("a family", (f"{AWS}family", "In", "m5", "g6e")),
    ("a family, as Auto Mode names it", (f"{AUTO_MODE}family", "In", "g6e")),
    ("a category", (f"{AWS}category", "In", "c", "gr"), (f"{AWS}size", "In", "8xlarge")),
    ("the second requirement", ("kubernetes.io/arch", "In", "amd64"), (TYPE, "In", "g5.xlarge")),
    ("a type, under its old label", (OLD_TYPE, "In", "g5.xlarge")),
    ("a GPU's name", (f"{AWS}gpu-name", "In", "a10g")),
    ("more GPUs than", (f"{AWS}gpu-count", "Gt", "4")),
    ("GPUs from", (f"{AWS}gpu-count", "Gte", "4")),
    ("fewer GPUs than", (f"{AWS}gpu-count", "Lt", "4"), WHOLE_GPUS),
    ("GPUs up to", (f"{AWS}gpu-count", "Lte", "4"), WHOLE_GPUS),
    ("as many GPUs as its family has", (f"{AWS}family", "In", "g6e"), (f"{AWS}gpu-count", "Gte", "8")),
    ("any count of GPUs", (f"{AWS}gpu-count", "Exists"), WHOLE_GPUS),
    ("a type that the catalogue does not have", (TYPE, "In", "p9.48xlarge")),
    ("a family that the catalogue does not have", (f"{AWS}family", "In", "p9")),
    ("a new type of a new family", (TYPE, "In", "p9.48xlarge"), (f"{AWS}family", "In", "p9")),
    ("a new type and its GPUs", (TYPE, "In", "p9.48xlarge"), (f"{AWS}gpu-count", "Gt", "4")),
    ("a generation that is still to come", (f"{AWS}category", "In", "p"), (f"{AWS}generation", "Gt", "8")),
]
NO_NVIDIA = [
    ("a family of AMD's GPUs", (f"{AWS}family", "In", "g4ad")),
    ("a category, but of AMD's GPUs", (f"{AWS}category", "In", "g"), (f"{AWS}gpu-manufacturer", "In", "amd")),
    ("a category, but without GPUs", (f"{AWS}category", "In", "c", "g"), (f"{AWS}gpu-count", "DoesNotExist")),
    ("a new family, but without GPUs", (f"{AWS}family", "In", "p9"), (f"{AWS}gpu-count", "DoesNotExist")),
    ("more GPUs than its family has", (f"{AWS}family", "In", "g6e"), (f"{AWS}gpu-count", "Gt", "8")),
    ("a type that only starts alike", (TYPE, "In", "gp9.large")),
    (
        "a family that no other requirement leaves in",
        (f"{AWS}family", "In", "g5"),
        ("kubernetes.io/arch", "In", "arm64"),
    ),
    ("a type that no other requirement leaves in", (TYPE, "In", "g5.xlarge"), ("kubernetes.io/arch", "In", "arm64")),
]
GPU_POOLS = [
    refused(GPU_POOL, "no taints", drop("pool-shared", *TAINTS), says="lacks the taint nvidia.com/gpu=true:NoSchedule"),
    refused(GPU_POOL, "an empty list", put("pool-shared", *TAINTS, [])),
    refused(
        GPU_POOL, "another value", put("pool-shared", *TAINTS, 0, "value", "present"), says="(it has nvidia.com/gpu=p"
    ),
    refused(GPU_POOL, "no value", drop("pool-shared", *TAINTS, 0, "value"), says="(it has nvidia.com/gpu:NoSchedule)"),
    refused(GPU_POOL, "another effect", put("pool-shared", *TAINTS, 0, "effect", "PreferNoSchedule")),
    refused(
        GPU_POOL,
        "another key",
        *TOLERANT_DAEMONS,
        put("pool-shared", *TAINTS, 0, "key", "nvidia.com/gpus"),
        says="gpus",
    ),
    refused(
        GPU_POOL, "half of the key", *TOLERANT_DAEMONS, put("pool-shared", *TAINTS, 0, "key", "gpu"), says="gpu=true"
    ),
    refused(
        GPU_POOL,
        "as a startup taint only",
        drop("pool-shared", *TAINTS),
        put("pool-shared", *STARTUP, [GPU_TAINT]),
        says="as a startup taint only",
    ),
    refused(GPU_POOL, "by a label of its nodes", *untainted(), put("pool-whole", *LABELS, TYPE, "g6e.xlarge")),
    *(refused(GPU_POOL, f"by {name}", *untainted(*rows)) for name, *rows in NAMED),
    *(accepted(GPU_POOL, name, *untainted(*rows)) for name, *rows in NO_NVIDIA),
    accepted(GPU_POOL, "one taint more", put("pool-shared", *TAINTS, 1, {"key": "team", "effect": "NoSchedule"})),
    refused(GPU_POOL, "another taint", put("pool-shared", *TAINTS, [TEAM_TAINT]), says="(it has team=mig:NoSchedule)"),
    accepted(GPU_POOL, "it is the second of two", put("pool-shared", *TAINTS, [TEAM_TAINT, GPU_TAINT])),
]

OTHER_FAMILIES = [family for family in EVERY_FAMILY if family != "g6e"]
GENERAL = "general-pool-excludes-gpus"
LEFT_IN = [
    ("an empty list", "(g4dn.xlarge, g4dn.2xlarge, g4dn.4xlarge and "),
    ("only an architecture", "g5g.xlarge", ("kubernetes.io/arch", "In", "arm64")),
    ("only an architecture, under its old label", "g5g.xlarge", ("beta.kubernetes.io/arch", "In", "arm64")),
    ("only a system", "g4dn.xlarge", ("kubernetes.io/os", "In", "windows")),
    ("only a capacity type", "", ("karpenter.sh/capacity-type", "In", "spot")),
    ("a category that exists", "", (f"{AWS}category", "Exists")),
    ("gr is left in", "(gr6.4xlarge, gr6.8xlarge, gr6f.4xlarge)", (f"{AWS}category", "NotIn", "g", "p")),
    ("p is left in", "p4d.24xlarge", (f"{AWS}category", "NotIn", "g", "gr")),
    ("g is left in", "g4dn.xlarge", (f"{AWS}category", "NotIn", "p", "gr")),
    ("all known families are out", "families that the catalogue does not", (f"{AWS}family", "NotIn", *EVERY_FAMILY)),
    ("all known types are out", "families that the catalogue does not", (TYPE, "NotIn", *instance_types())),
    ("one GPU is out", "(g5.xlarge", (f"{AWS}gpu-name", "NotIn", "t4")),
    ("GPUs of one size are out", "(g5.xlarge", (f"{AWS}gpu-memory", "NotIn", "16384")),
    ("one size", "(g5.24xlarge, g6.24xlarge, g6e.24xlarge and 5 more)", (f"{AWS}size", "In", "24xlarge")),
    (
        "four types",
        "and 1 more)",
        (f"{AWS}size", "In", "24xlarge"),
        (f"{AWS}family", "NotIn", "g5", "p3dn", "p4d", "p4de"),
    ),
    ("a label with the name of a family", "may buy GPUs", ("tier", "In", "g5")),
    ("a new generation", "g7.2xlarge", (f"{AWS}generation", "Gt", "6")),
    ("few processors", "(g4dn.xlarge, g5.xlarge, g5g.xlarge and ", (f"{AWS}cpu", "Lt", "5")),
    ("fewer than two processors", "families that the catalogue does not", (f"{AWS}cpu", "Lt", "2")),
    ("two processors at most", "(g6f.large)", (f"{AWS}cpu", "Lte", "2")),
    ("more memory than", "(p6-b300.48xlarge)", (f"{AWS}memory", "Gt", "2097152")),
    ("memory from", "(p6-b300.48xlarge)", (f"{AWS}memory", "Gte", "4194304")),
    ("a bound that is no number", "(g4dn.xlarge", (f"{AWS}memory", "Gte", "4Ti")),
    ("two bounds", "(g4dn.xlarge", (f"{AWS}memory", "Lt", "1", "2")),
    ("an operator that is none", "(g4dn.xlarge", (f"{AWS}memory", "Near", "1")),
    ("a number of a text", "(g4dn.xlarge", (f"{AWS}size", "Gt", "1")),
    ("no accelerators, which GPUs are not", "", (f"{AWS}accelerator-count", "DoesNotExist")),
    ("not these accelerators", "", (f"{AWS}accelerator-name", "NotIn", "inferentia")),
    ("no local disk", "", (f"{AWS}local-nvme", "DoesNotExist")),
    ("not flexible", "(g4dn.xlarge", (f"{AWS}capability-flex", "In", "false")),
    ("new and not flexible", "", (f"{AWS}capability-flex", "In", "false"), (f"{AWS}family", "NotIn", *EVERY_FAMILY)),
    ("a label of its own", "", ("team", "In", "web")),
    ("two requirements", "", ("team", "In", "web"), (f"{AWS}category", "NotIn", "t")),
]
LEFT_OUT = [
    ("all three categories", (f"{AWS}category", "NotIn", "g", "gr", "p")),
    ("types without GPUs", (f"{AWS}gpu-count", "DoesNotExist")),
    ("types without GPUs, as Auto Mode says it", (f"{AUTO_MODE}gpu-count", "DoesNotExist")),
    ("no maker of GPUs", (f"{AWS}gpu-manufacturer", "DoesNotExist")),
    ("not this maker", (f"{AWS}gpu-manufacturer", "NotIn", "nvidia")),
    ("GPUs of AMD", (f"{AWS}gpu-manufacturer", "In", "amd")),
    ("other families", (f"{AWS}family", "In", "m5", "c7g", "g4ad")),
    ("other types", (TYPE, "In", "m5.large", "c5.large")),
    ("other types, under the old label", (OLD_TYPE, "In", "m5.large")),
    ("chips for inference", (f"{AWS}accelerator-name", "In", "inferentia2")),
    ("any accelerator", (f"{AWS}accelerator-count", "Exists")),
    ("flexible types", (f"{AWS}capability-flex", "In", "true")),
    ("a zone that is not known yet", ("topology.kubernetes.io/zone", "In", "<unknown>"), (f"{AWS}category", "In", "m")),
    ("the second requirement", (f"{AWS}category", "NotIn", "g", "gr"), (f"{AWS}family", "In", "m5", "c5")),
]
GENERAL_POOLS = [
    refused(
        GENERAL, "no requirements", drop("pool-general", *REQUIREMENTS), says="and lacks the taint nvidia.com/gpu=true"
    ),
    *(refused(GENERAL, name, general(*rows), says=says or "may buy GPUs") for name, says, *rows in LEFT_IN),
    refused(
        GENERAL, "the taint with another value", general(), put("pool-general", *TAINTS, [GPU_TAINT | {"value": "1"}])
    ),
    refused(
        GENERAL, "as a startup taint", general(), put("pool-general", *STARTUP, [GPU_TAINT]), says="startup taint only"
    ),
    refused(
        GENERAL,
        "the second of two pools",
        like("batch", "pool-general", put("batch", "metadata", "name", "batch"), put("batch", *REQUIREMENTS, [])),
        says="NodePool batch: ",
    ),
    *(accepted(GENERAL, name, general(*rows)) for name, *rows in LEFT_OUT),
    accepted(
        GENERAL,
        "with the taint",
        put(
            "pool-whole",
            *REQUIREMENTS,
            [needs(f"{AWS}family", "NotIn", *OTHER_FAMILIES), needs(f"{AWS}size", "NotIn", "48xlarge")],
        ),
    ),
    accepted(GENERAL, "by a label of its nodes", general(), put("pool-general", *LABELS, {f"{AWS}family": "m5"})),
]

GROUP = "gpu-node-group-taint"
GROUP_TAINT = {"key": "nvidia.com/gpu", "value": "true", "effect": "NO_SCHEDULE"}


def node_group(types=("g5.xlarge",), taints=(), token="aws:eks/nodeGroup:NodeGroup", **more):
    properties = {"clusterName": "research", "instanceTypes": list(types), "taints": list(taints), **more}
    return also("group", token, properties, provider="")


NODE_GROUPS = [
    refused(
        GROUP, "no taints", node_group(["m5.large", "g5.xlarge"]), says="runs GPUs (g5.xlarge) and lacks the taint"
    ),
    refused(GROUP, "another key", node_group(taints=[GROUP_TAINT | {"key": "gpu"}])),
    refused(GROUP, "another value", node_group(taints=[GROUP_TAINT | {"value": "1"}])),
    refused(GROUP, "another effect", node_group(taints=[GROUP_TAINT | {"effect": "PREFER_NO_SCHEDULE"}])),
    refused(GROUP, "a type that the catalogue does not have", node_group(["p9.48xlarge"])),
    refused(GROUP, "an image for GPUs", node_group([], amiType="AL2023_x86_64_NVIDIA"), says="(AL2023_x86_64_NVIDIA)"),
    refused(GROUP, "an older image for GPUs", node_group([], amiType="AL2_x86_64_GPU")),
    refused(GROUP, "a component", node_group(token="eks:index:ManagedNodeGroup")),
    accepted(GROUP, "tainted", node_group(taints=[{"key": "team", "effect": "NO_EXECUTE"}, GROUP_TAINT])),
    accepted(GROUP, "no GPUs", node_group(["m7i.large", "g4ad.xlarge"], amiType="AL2023_x86_64_STANDARD")),
    accepted(GROUP, "the default type", node_group([])),
]

DISTINCT = "distinct-taints"
WAIT = {"key": "example.com/wait", "effect": "NoSchedule"}
CILIUM = {"key": "node.cilium.io/agent-not-ready", "value": "true", "effect": "NoExecute"}
OTHER_VALUE = CILIUM | {"value": "later"}
DISTINCT_TAINTS = [
    refused(
        DISTINCT, "twice", put("pool-shared", *TAINTS, 1, GPU_TAINT), says="key nvidia.com/gpu and effect NoSchedule"
    ),
    refused(
        DISTINCT, "with another value", put("pool-general", *TAINTS, [CILIUM, OTHER_VALUE]), says="agent-not-ready and"
    ),
    refused(DISTINCT, "startup too", put("pool-general", *TAINTS, [CILIUM]), put("pool-general", *STARTUP, [CILIUM])),
    refused(
        DISTINCT, "nobody's, startup too", put("pool-general", *TAINTS, [WAIT]), put("pool-general", *STARTUP, [WAIT])
    ),
    refused(DISTINCT, "two startup taints", put("pool-general", *STARTUP, [CILIUM, OTHER_VALUE])),
    refused(DISTINCT, "the GPU taint at startup too", put("pool-shared", *STARTUP, [GPU_TAINT])),
    accepted(
        DISTINCT, "two effects", *TOLERANT_DAEMONS, put("pool-shared", *TAINTS, 1, GPU_TAINT | {"effect": "NoExecute"})
    ),
    accepted(DISTINCT, "two keys", put("pool-shared", *TAINTS, 1, GPU_TAINT | {"key": "team"})),
]

REMOVER = "startup-taints-have-remover"
REMOVED = [
    "node.cilium.io/agent-not-ready",
    "ebs.csi.aws.com/agent-not-ready",
    "efs.csi.aws.com/agent-not-ready",
    "fsx.csi.aws.com/agent-not-ready",
    "s3.csi.aws.com/agent-not-ready",
    "cni.istio.io/not-ready",
]


def startup(*taints, pool="pool-general"):
    return put(pool, *STARTUP, list(taints))


def removed(*keys):
    return {REMOVER: {"removed": list(keys)}}


STARTUP_TAINTS = [
    refused(REMOVER, "nobody's", startup(WAIT), says="has the startup taint example.com/wait:NoSchedule"),
    refused(REMOVER, "the second one", startup(CILIUM, WAIT), says="allowed keys: node.cilium.io/agent-not-ready, ebs"),
    refused(REMOVER, "on a pool of GPUs", startup(WAIT, pool="pool-shared")),
    refused(REMOVER, "the GPU taint where no GPU is bought", startup(GPU_TAINT)),
    refused(REMOVER, "the GPU taint, other effect", startup(GPU_TAINT | {"effect": "NoExecute"}, pool="pool-shared")),
    refused(REMOVER, "the GPU taint, whatever the option", startup(GPU_TAINT), config=removed("nvidia.com/gpu")),
    refused(REMOVER, "one that the option leaves out", startup(CILIUM), config=removed("example.com/wait")),
    refused(REMOVER, "a key that starts alike", startup(CILIUM | {"key": "node.cilium.io/agent"})),
    refused(
        REMOVER,
        "beside a taint of that key",
        put("pool-general", *TAINTS, [WAIT]),
        startup(WAIT | {"effect": "NoExecute"}),
    ),
    *(accepted(REMOVER, key, startup({"key": key, "effect": "NoExecute"}, pool="pool-shared")) for key in REMOVED),
    accepted(REMOVER, "one that the option names", startup(WAIT), config=removed("a", "example.com/wait")),
]

OWN = "mig-pool-own-taint"
MIG_TAINTS = [
    refused(
        OWN, "the GPU taint alone", put("pool-mig", *TAINTS, [GPU_TAINT]), says="nvidia.com/mig.config=a100-mixed and"
    ),
    refused(OWN, "another effect", *TOLERANT_DAEMONS, put("pool-mig", *TAINTS, 1, GPU_TAINT | {"effect": "NoExecute"})),
    refused(OWN, "a key below", *TOLERANT_DAEMONS, put("pool-mig", *TAINTS, 1, "key", "nvidia.com/gpu.shared")),
    refused(OWN, "a preference", put("pool-mig", *TAINTS, 1, "effect", "PreferNoSchedule")),
    refused(OWN, "a startup taint", put("pool-mig", *TAINTS, [GPU_TAINT]), startup(CILIUM, pool="pool-mig")),
    accepted(OWN, "it ends pods", *TOLERANT_DAEMONS, put("pool-mig", *TAINTS, 1, "effect", "NoExecute")),
    accepted(OWN, "it comes first", put("pool-mig", *TAINTS, [TEAM_TAINT, GPU_TAINT])),
    accepted(
        OWN, "a key that starts alike", *TOLERANT_DAEMONS, put("pool-mig", *TAINTS, 1, "key", "nvidia.com/gpu-team")
    ),
    accepted(OWN, "no MIG", put("pool-whole", *LABELS, "nvidia.com/mig.config", "all-disabled")),
]

TOLERATES = "gpu-toleration-needs-gpu"
GPU_EXISTS = {"key": "nvidia.com/gpu", "operator": "Exists"}
TOLERATED = [
    ("the taint itself", {"key": "nvidia.com/gpu", "value": "true", "effect": "NoSchedule"}),
    ("any value", GPU_EXISTS | {"effect": "NoSchedule"}),
    ("any value and effect", GPU_EXISTS),
    ("an equal value", {"key": "nvidia.com/gpu", "operator": "Equal", "value": "true"}),
    ("everything", {"operator": "Exists"}),
    ("everything with that effect", {"operator": "Exists", "effect": "NoSchedule"}),
    ("the second one", {"key": "a", "operator": "Exists"}, GPU_EXISTS),
]
NOT_TOLERATED = [
    ("another value", {"key": "nvidia.com/gpu", "value": "present", "effect": "NoSchedule"}),
    ("another effect", GPU_EXISTS | {"effect": "NoExecute"}),
    ("another key", {"key": "nvidia.com/gpu.shared", "operator": "Exists"}),
    ("everything with another effect", {"operator": "Exists", "effect": "NoExecute"}),
    ("a smaller value", {"key": "nvidia.com/gpu", "operator": "Lt", "value": "true"}),
]


def tolerating(*tolerations):
    return put("web", *POD, "tolerations", list(tolerations))


def living_in(namespace):
    return put("web", "metadata", "namespace", namespace)


def asking(name, amount, field="containers"):
    limits = {"resources": {"limits": {name: amount}}}
    return put("web", *POD, field, [{"name": "main", "image": "example.com/web:1", **limits}])


def exempting(*namespaces):
    return {TOLERATES: {"namespaces": list(namespaces)}}


TOLERATIONS = [
    *(refused(TOLERATES, name, tolerating(*tolerations)) for name, *tolerations in TOLERATED),
    refused(
        TOLERATES, "a Deployment", tolerating(GPU_EXISTS), says="Deployment web: tolerates nvidia.com/gpu=true:NoS"
    ),
    *(refused(TOLERATES, kind, workload(asks(), kind=kind)) for kind in KINDS),
    refused(TOLERATES, "the default namespace", tolerating(GPU_EXISTS), drop("web", "metadata", "namespace")),
    refused(TOLERATES, "a namespace that starts alike", tolerating(GPU_EXISTS), living_in("kube-system-2")),
    refused(TOLERATES, "the start of a namespace", tolerating(GPU_EXISTS), living_in("gpu")),
    refused(
        TOLERATES, "not exempt", tolerating(GPU_EXISTS), living_in("kube-system"), config=exempting("gpu-operator")
    ),
    refused(TOLERATES, "it asks for zero", tolerating(GPU_EXISTS), asking("nvidia.com/gpu", 0)),
    refused(TOLERATES, "it asks for another device", tolerating(GPU_EXISTS), asking("amd.com/gpu", 1)),
    *(accepted(TOLERATES, name, tolerating(*tolerations)) for name, *tolerations in NOT_TOLERATED),
    accepted(TOLERATES, "it asks for a GPU", tolerating(GPU_EXISTS), asking("nvidia.com/gpu", "1")),
    accepted(TOLERATES, "it warms a GPU up", tolerating(GPU_EXISTS), asking("nvidia.com/gpu", 1.0, "initContainers")),
    accepted(TOLERATES, "in kube-system", tolerating(GPU_EXISTS), living_in("kube-system")),
    accepted(TOLERATES, "in gpu-operator", tolerating({"operator": "Exists"}), living_in("gpu-operator")),
    accepted(TOLERATES, "exempt", tolerating(GPU_EXISTS), living_in("logs"), config=exempting("gpu-operator", "logs")),
    accepted(
        TOLERATES,
        "exempt, as the default namespace",
        tolerating(GPU_EXISTS),
        drop("web", "metadata", "namespace"),
        config=exempting("gpu-operator", "default"),
    ),
]

CASES = [
    *GPU_POOLS,
    *GENERAL_POOLS,
    *NODE_GROUPS,
    *DISTINCT_TAINTS,
    *STARTUP_TAINTS,
    *MIG_TAINTS,
    *TOLERATIONS,
]
