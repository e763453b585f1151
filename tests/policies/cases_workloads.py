"""Cases of policies/rules/workloads.py."""

from base import accepted, also, put, refused

GPU, SHARED = "nvidia.com/gpu", "nvidia.com/gpu.shared"
SMALL, LARGE = "nvidia.com/mig-1g.5gb", "nvidia.com/mig-2g.10gb"
TOLERATION = {"key": GPU, "operator": "Exists", "effect": "NoSchedule"}
TEMPLATE = ("spec", "template", "spec")
KINDS = {
    "core/v1:Pod": ("spec",),
    "core/v1:PodTemplate": ("template", "spec"),
    "core/v1:ReplicationController": TEMPLATE,
    "apps/v1:Deployment": TEMPLATE,
    "apps/v1:ReplicaSet": TEMPLATE,
    "apps/v1:StatefulSet": TEMPLATE,
    "apps/v1:DaemonSet": TEMPLATE,
    "batch/v1:Job": TEMPLATE,
    "batch/v1:CronJob": ("spec", "jobTemplate", *TEMPLATE),
}


def asks(name=None, amount=1, where="limits", **more):
    """A container that asks for an amount of a resource."""
    container = {"name": "main", "image": "example.com/main:1", **more}
    return container | ({"resources": {where: {name: amount}}} if name else {})


def nested(path, value):
    for key in reversed(path):
        value = {key: value}
    return value


def workload(*containers, kind="core/v1:Pod", name="extra", namespace="vision", **spec):
    """A workload that tolerates the GPU taint, with these containers."""
    body = {"tolerations": [TOLERATION], "containers": list(containers), **spec}
    properties = {"metadata": {"name": name, "namespace": namespace}, **nested(KINDS[kind], body)}
    return also(name, f"kubernetes:{kind}", properties)


TAINT = "gpu-workload-tolerates-taint"
TOLERATIONS = [
    refused(
        TAINT, "shared GPUs", workload(asks(SHARED), tolerations=[]), says="Pod extra: asks for nvidia.com/gpu.shared"
    ),
    refused(
        TAINT, "a MIG slice", workload(asks(SMALL), tolerations=[]), says="does not tolerate nvidia.com/gpu=true:NoS"
    ),
    refused(TAINT, "requests alone", workload(asks(SHARED, where="requests"), tolerations=[])),
    refused(TAINT, "the second container", workload(asks(), asks(SHARED), tolerations=[])),
    refused(TAINT, "an init container", workload(asks(), initContainers=[asks(SHARED)], tolerations=[])),
    refused(TAINT, "an ephemeral container", workload(asks(), ephemeralContainers=[asks(SHARED)], tolerations=[])),
    refused(TAINT, "that of the slice", workload(asks(SHARED), tolerations=[TOLERATION | {"key": SHARED}])),
    refused(
        TAINT, "a key that ends early", workload(asks(SHARED), tolerations=[TOLERATION | {"key": "nvidia.com/gp"}])
    ),
    refused(TAINT, "another effect", workload(asks(SHARED), tolerations=[TOLERATION | {"effect": "NoExecute"}])),
    refused(TAINT, "Equal without a value", workload(asks(SHARED), tolerations=[{"key": GPU}])),
    refused(TAINT, "an empty key that is Equal", workload(asks(SHARED), tolerations=[{"value": "true"}])),
    *(refused(TAINT, kind, workload(asks(SHARED), kind=kind, tolerations=[])) for kind in KINDS),
    accepted(TAINT, "whole GPUs, which EKS tolerates", workload(asks(GPU), tolerations=[])),
    accepted(TAINT, "no GPU", workload(asks("cpu"), tolerations=[])),
    accepted(TAINT, "zero slices", workload(asks(SHARED, "0"), tolerations=[])),
    accepted(TAINT, "a device of another maker", workload(asks("nvidia.com.example/gpu"), tolerations=[])),
    accepted(TAINT, "the exact one", workload(asks(SHARED), tolerations=[{"key": GPU, "value": "true"}])),
    accepted(TAINT, "all", workload(asks(SHARED), tolerations=[{"key": "a"}, {"operator": "Exists"}])),
]

ONE = "one-slice-per-container"
PER_CONTAINER = [
    refused(
        ONE, "two", workload(asks(SHARED, 2)), says="asks for 2 of nvidia.com/gpu.shared in container main; allowed: 1"
    ),
    refused(ONE, "two in a text", workload(asks(SHARED, "2"))),
    refused(ONE, "two as a float", workload(asks(SHARED, 2.0))),
    refused(ONE, "two MIG slices", workload(asks(SMALL, 2)), says="of nvidia.com/mig-1g.5gb"),
    refused(ONE, "two shared MIG slices", workload(asks(f"{SMALL}.shared", 2))),
    refused(ONE, "half a slice", workload(asks(SHARED, "500m")), says="asks for 0.5"),
    refused(ONE, "less than none", workload(asks(SHARED, -1))),
    refused(ONE, "requests alone", workload(asks(SHARED, 2, where="requests"))),
    refused(ONE, "the larger of two", workload(asks(resources={"limits": {SHARED: 1}, "requests": {SHARED: 2}}))),
    refused(ONE, "the second resource", workload(asks(resources={"limits": {"cpu": 1, SHARED: 3}}))),
    refused(ONE, "the second container", workload(asks(), asks(SMALL, 2))),
    refused(ONE, "an init container", workload(asks(), initContainers=[asks(SMALL, 2)])),
    refused(ONE, "an ephemeral container", workload(asks(), ephemeralContainers=[asks(SMALL, 2)])),
    *(refused(ONE, kind, workload(asks(SHARED, 2), kind=kind)) for kind in KINDS),
    *(accepted(ONE, f"one as {amount!r}", workload(asks(SHARED, amount))) for amount in (1, 1.0, "1", "1000m")),
    accepted(ONE, "four whole GPUs", workload(asks(GPU, 4))),
    accepted(ONE, "none", workload(asks(resources={"limits": {SHARED: 0, GPU: 2}}))),
]

POD = "one-slice-per-pod"
SIDECAR = {"restartPolicy": "Always"}
PER_POD = [
    refused(
        POD, "two containers", workload(asks(SHARED), asks(SHARED)), says="in 2 containers that run at the same time"
    ),
    refused(
        POD,
        "the second and the third",
        workload(asks(), asks(SMALL), asks(SMALL)),
        says="asks for nvidia.com/mig-1g.5gb",
    ),
    refused(POD, "one that restarts for ever", workload(asks(SHARED), initContainers=[asks(SHARED, **SIDECAR)])),
    refused(POD, "beside an init container", workload(asks(), initContainers=[asks(SHARED, **SIDECAR), asks(SHARED)])),
    refused(
        POD, "two that restart", workload(asks(), initContainers=[asks(SHARED, **SIDECAR), asks(SHARED, **SIDECAR)])
    ),
    refused(POD, "an ephemeral container", workload(asks(SHARED), ephemeralContainers=[asks(SHARED)])),
    refused(
        POD,
        "of three kinds of container",
        workload(
            asks(),
            asks(SHARED),
            initContainers=[asks(SHARED), asks(SHARED, **SIDECAR)],
            ephemeralContainers=[asks(SHARED)],
        ),
        says="in 3 containers",
    ),
    *(refused(POD, kind, workload(asks(SHARED), asks(SHARED), kind=kind)) for kind in KINDS),
    accepted(POD, "an init container that ends", workload(asks(SHARED), initContainers=[asks(SHARED)])),
    accepted(POD, "two that end", workload(asks(), initContainers=[asks(SHARED), asks(SHARED)])),
    accepted(
        POD,
        "one that ends before one that stays",
        workload(asks(), initContainers=[asks(SHARED), asks(SHARED, **SIDECAR)]),
    ),
    accepted(
        POD, "one that stays without a slice", workload(asks(SHARED), initContainers=[asks(**SIDECAR), asks(SHARED)])
    ),
    accepted(POD, "two containers with a whole GPU each", workload(asks(GPU), asks(GPU, 2))),
    accepted(POD, "one of two", workload(asks(SHARED), asks(SHARED, 0))),
]

KIND = "one-gpu-resource-kind"
MIXED = [
    refused(
        KIND, "whole and shared", workload(asks(GPU), asks(SHARED)), says=f"asks for {GPU} and {SHARED}; allowed: one"
    ),
    refused(KIND, "in one container", workload(asks(resources={"limits": {GPU: 1, SMALL: 1}}))),
    refused(KIND, "two MIG profiles", workload(asks(SMALL), asks(LARGE))),
    refused(KIND, "shared and MIG", workload(asks(SHARED), initContainers=[asks(LARGE)])),
    refused(KIND, "by an ephemeral container", workload(asks(SMALL), ephemeralContainers=[asks(GPU)])),
    *(refused(KIND, kind, workload(asks(SMALL), asks(LARGE), kind=kind)) for kind in KINDS),
    accepted(KIND, "beside zero of another", workload(asks(SHARED), asks(GPU, "0"))),
    accepted(KIND, "with a network device", workload(asks(GPU), asks("nvidia.com/hostdev"))),
    accepted(KIND, "with EFA", workload(asks(resources={"limits": {GPU: 8, "vpc.amazonaws.com/efa": 32}}))),
]

CAP = "gpu-workload-replicas-capped"
SCALED = {
    "apps/v1:Deployment": ("spec", "replicas"),
    "apps/v1:ReplicaSet": ("spec", "replicas"),
    "apps/v1:StatefulSet": ("spec", "replicas"),
    "core/v1:ReplicationController": ("spec", "replicas"),
    "batch/v1:Job": ("spec", "parallelism"),
    "batch/v1:CronJob": ("spec", "jobTemplate", "spec", "parallelism"),
}


def scaled(amount, *containers, kind="apps/v1:Deployment", **more):
    def edit(program):
        workload(*(containers or [asks(SHARED)]), kind=kind, **more)(program)
        put("extra", *SCALED[kind], amount)(program)

    return edit


def cap(rule, number):
    return {rule: {"replicas": number}}


CAPPED = [
    *(
        refused(CAP, f"{kind} of 101", scaled(101, kind=kind), says="wants 101 pods with a slice each")
        for kind in SCALED
    ),
    *(accepted(CAP, f"{kind} of 100", scaled(100, kind=kind)) for kind in SCALED),
    refused(CAP, "a text", scaled("101"), says="allowed: up to 100"),
    refused(CAP, "a float", scaled(101.0)),
    refused(CAP, "a lower cap", scaled(8), config=cap(CAP, 7), says="allowed: up to 7"),
    refused(CAP, "MIG slices", scaled(101, asks(SMALL))),
    refused(CAP, "the second container's", scaled(101, asks(), asks(SMALL))),
    refused(CAP, "an init container's", scaled(101, asks(), initContainers=[asks(SHARED)])),
    accepted(CAP, "a text of 100", scaled("100")),
    accepted(CAP, "the lowest cap", scaled(1), put("server", "spec", "replicas", 1), config=cap(CAP, 1)),
    accepted(CAP, "the highest cap", scaled(100_000), config=cap(CAP, 100_000)),
    accepted(CAP, "none given is one", workload(asks(SHARED), kind="apps/v1:Deployment"), config=cap(CAP, 8)),
    accepted(CAP, "no slices", scaled(101, asks(), tolerations=[])),
    accepted(CAP, "whole GPUs", scaled(101, asks(GPU))),
]

GROW = "gpu-autoscaler-capped"


def autoscaler(most, version="v2", namespace="vision", **target):
    reference = {"apiVersion": "apps/v1", "kind": "Deployment", "name": "extra", **target}
    spec = {"scaleTargetRef": reference, "maxReplicas": most}
    properties = {"metadata": {"name": "scaler", "namespace": namespace}, "spec": spec}
    return also("scaler", f"kubernetes:autoscaling/{version}:HorizontalPodAutoscaler", properties)


GROWING = [
    refused(GROW, "101", scaled(1), autoscaler(101), says="lets Deployment extra grow to 101 pods with a slice each"),
    refused(GROW, "a text", scaled(1), autoscaler("101", version="v1"), says="allowed: up to 100"),
    refused(GROW, "a lower cap", scaled(1), autoscaler(8), config=cap(GROW, 7)),
    refused(GROW, "another kind", scaled(1, kind="apps/v1:StatefulSet"), autoscaler(101, kind="StatefulSet")),
    refused(GROW, "in the default namespace", scaled(1, namespace=""), autoscaler(101, namespace="default")),
    accepted(GROW, "100", scaled(1), autoscaler(100)),
    accepted(GROW, "a higher cap", scaled(1), autoscaler(101), config=cap(GROW, 101)),
    accepted(GROW, "no slices", scaled(1, asks(), tolerations=[]), autoscaler(101)),
    accepted(GROW, "another name", scaled(1), autoscaler(101, name="other")),
    accepted(GROW, "another kind of that name", scaled(1), autoscaler(101, kind="StatefulSet")),
    accepted(GROW, "another namespace", scaled(1), autoscaler(101, namespace="speech")),
    accepted(GROW, "no most", scaled(1), autoscaler(None)),
    accepted(GROW, "a target that is not known yet", scaled(1), autoscaler(100, name="<unknown>")),
]

LATE = "no-late-label-selector"
PRODUCT = "nvidia.com/gpu.product"
FEATURE = "feature.node.kubernetes.io/pci-10de.present"


def required(*terms):
    """Node affinity with these terms, each a list of rows."""
    listed = [
        {"matchExpressions": [{"key": key, "operator": operator, "values": values} for key, operator, *values in term]}
        for term in terms
    ]
    return {"nodeAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": {"nodeSelectorTerms": listed}}}


def preferred(key):
    term = {"weight": 1, "preference": {"matchExpressions": [{"key": key, "operator": "Exists"}]}}
    return {"nodeAffinity": {"preferredDuringSchedulingIgnoredDuringExecution": [term]}}


def selects(*keys, **more):
    return workload(asks(SHARED), nodeSelector=dict.fromkeys(keys, "x"), **more)


def affine(affinity, *containers, **more):
    return workload(*(containers or [asks(SHARED)]), affinity=affinity, **more)


LATE_LABELS = [
    PRODUCT,
    "nvidia.com/gpu.memory",
    "nvidia.com/gpu.present",
    "nvidia.com/mig.strategy",
    "nvidia.com/mig-1g.5gb.product",
    "nvidia.com/cuda.driver-version.full",
    FEATURE,
    "vendor.feature.node.kubernetes.io/card",
]
CATEGORY = ("karpenter.k8s.aws/instance-category", "In", "g")
SELECTORS = [
    *(refused(LATE, key, selects(key), says=f"selects nodes by {key}, which") for key in LATE_LABELS),
    refused(LATE, "the second label", selects("team", PRODUCT)),
    *(refused(LATE, f"required {op}", affine(required([(PRODUCT, op, "1")]))) for op in ("In", "Exists", "Gt", "Lt")),
    refused(LATE, "the second expression", affine(required([CATEGORY, (PRODUCT, "Exists")]))),
    refused(LATE, "the second term", affine(required([CATEGORY], [(PRODUCT, "Exists")]))),
    refused(LATE, "without a GPU", affine(required([(FEATURE, "Exists")]), asks(), tolerations=[])),
    refused(LATE, "a GPU pod avoids it", affine(required([(PRODUCT, "NotIn", "T4")]))),
    refused(LATE, "a GPU pod wants none", affine(required([(FEATURE, "DoesNotExist")]))),
    refused(LATE, "one that the option leaves out", selects("nvidia.com/mig.config"), config={LATE: {"labels": ["a"]}}),
    *(refused(LATE, kind, selects(PRODUCT, kind=kind)) for kind in KINDS if not kind.endswith("DaemonSet")),
    accepted(
        LATE, "labels that pools set", selects("nvidia.com/mig.config", "nvidia.com/device-plugin.config", "team")
    ),
    accepted(LATE, "Karpenter's label", selects("karpenter.k8s.aws/instance-gpu-name")),
    accepted(LATE, "a domain that ends alike", selects("nvidia.com.example/gpu", "myfeature.node.kubernetes.io/x")),
    accepted(LATE, "preferred", affine(preferred(PRODUCT))),
    accepted(LATE, "others avoid it", affine(required([(FEATURE, "NotIn", "true")]), asks(), tolerations=[])),
    accepted(LATE, "others want none", affine(required([(PRODUCT, "DoesNotExist")]), asks(), tolerations=[])),
    accepted(LATE, "a DaemonSet follows nodes", selects(PRODUCT, kind="apps/v1:DaemonSet")),
    accepted(LATE, "one that the option names", selects(PRODUCT), config={LATE: {"labels": ["a", PRODUCT]}}),
]

REQUIRES = "no-late-label-requirement"


def requires(key, operator="In", index=2):
    return put("pool-shared", *TEMPLATE, "requirements", index, {"key": key, "operator": operator, "values": ["1"]})


REQUIREMENTS = [
    refused(REQUIRES, "a product", requires(PRODUCT), says="has a requirement on nvidia.com/gpu.product, which no"),
    refused(REQUIRES, "a feature", requires(FEATURE)),
    refused(REQUIRES, "an exclusion", requires(PRODUCT, "NotIn")),
    refused(
        REQUIRES, "one that the option leaves out", requires("nvidia.com/mig.config"), config={REQUIRES: {"labels": []}}
    ),
    refused(
        REQUIRES,
        "a pool without GPUs",
        put("pool-general", *TEMPLATE, "requirements", 1, {"key": FEATURE, "operator": "DoesNotExist"}),
    ),
    accepted(REQUIRES, "a label of its own", requires("team", "Exists")),
    accepted(REQUIRES, "Karpenter's own", requires("karpenter.k8s.aws/instance-gpu-memory", "Gt")),
    accepted(REQUIRES, "one that the option names", requires(PRODUCT), config={REQUIRES: {"labels": [PRODUCT]}}),
]

CASES = [
    *TOLERATIONS,
    *PER_CONTAINER,
    *PER_POD,
    *MIXED,
    *CAPPED,
    *GROWING,
    *SELECTORS,
    *REQUIREMENTS,
]
