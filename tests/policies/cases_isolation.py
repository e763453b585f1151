"""Cases of policies/rules/isolation.py."""

from base import accepted, also, put, refused
from cases_workloads import GPU, KINDS, SHARED, asks, nested, workload

CONTAINER_FIELDS = ("containers", "initContainers", "ephemeralContainers")


def placed(container, field="containers", **more):
    """A workload with the container as the second one of its field."""
    fields = {"containers": [asks()], field: [asks(), container]}
    return workload(*fields.pop("containers"), tolerations=[], **fields, **more)


def exempting(rule, *namespaces):
    return {rule: {"namespaces": list(namespaces)}}


def exemptions(rule, fault):
    """That the fault, made in a namespace, counts everywhere but in those that are named exactly."""
    return [
        *(accepted(rule, f"in {name}", fault(namespace=name)) for name in ("kube-system", "gpu-operator")),
        accepted(
            rule, "where the option says so", fault(namespace="lab"), config=exempting(rule, "gpu-operator", "lab")
        ),
        refused(rule, "the default namespace", fault(namespace="")),
        refused(rule, "a namespace that starts alike", fault(namespace="gpu-operator-2")),
        refused(rule, "a namespace that ends alike", fault(namespace="my-kube-system")),
        refused(rule, "not exempt", fault(namespace="kube-system"), config=exempting(rule, "gpu-operator")),
    ]


ENV = "no-visible-devices-env"
VARIABLES = (
    "NVIDIA_VISIBLE_DEVICES",
    "NVIDIA_MIG_CONFIG_DEVICES",
    "NVIDIA_MIG_MONITOR_DEVICES",
    "NVIDIA_IMEX_CHANNELS",
)
FROM_FIELD = {"fieldRef": {"fieldPath": "metadata.labels['gpus']"}}


def sets(*entries, field="containers", **more):
    return placed(asks(env=[{"name": "HOME", "value": "/"}, *entries]), field, **more)


def visible(value, name=VARIABLES[0]):
    return {"name": name, "value": value}


ENVIRONMENT = [
    *(
        refused(ENV, name, sets(visible("all", name)), says=f"sets {name} to 'all' in container main")
        for name in VARIABLES
    ),
    *(refused(ENV, f"the value {value!r}", sets(visible(value))) for value in ("0", "", "GPU-1", "VOID", "void,all")),
    *(refused(ENV, f"in {field}", sets(visible("all"), field=field)) for field in CONTAINER_FIELDS),
    *(refused(ENV, kind, sets(visible("all"), kind=kind)) for kind in KINDS),
    refused(ENV, "no value", sets({"name": VARIABLES[0]}), says="to None in container main; allowed: void, none"),
    refused(
        ENV, "from elsewhere", sets({"name": VARIABLES[0], "valueFrom": FROM_FIELD}), says="to what another object says"
    ),
    refused(ENV, "a long value", sets(visible("x" * 200)), says=f"to '{'x' * 79} in container main"),
    refused(ENV, "set twice", sets(visible("void"), visible("all"))),
    *exemptions(ENV, lambda namespace: sets(visible("all"), namespace=namespace)),
    *(accepted(ENV, value, sets(visible(value))) for value in ("void", "none")),
    accepted(
        ENV, "names that are alike", sets(visible("all", "NVIDIA_VISIBLE_DEVICES_2"), visible("all", "VISIBLE_DEVICES"))
    ),
    accepted(ENV, "another variable, not known yet", sets({"name": "TOKEN", "value": "<unknown>"})),
]

INJECTION = "no-device-injection"
FOLDER = "/var/run/nvidia-container-devices"


def mounts(path, field="containers", **more):
    listed = [{"name": "a", "mountPath": "/data"}, {"name": "b", "mountPath": path}]
    return placed(asks(volumeMounts=listed), field, **more)


def annotated(key, kind="core/v1:Pod", namespace="vision"):
    """A workload whose pods have an annotation."""

    def edit(program):
        workload(asks(), kind=kind, namespace=namespace, tolerations=[])(program)
        put("extra", *KINDS[kind][:-1], "metadata", "annotations", {"team": "vision", key: "nvidia.com/gpu=all"})(
            program
        )

    return edit


INJECTIONS = [
    *(
        refused(INJECTION, path, mounts(path))
        for path in (FOLDER, f"{FOLDER}/all", f"/{FOLDER}/0", f"/var/./run/../{FOLDER[5:]}/")
    ),
    *(
        refused(INJECTION, f"in {field}", mounts(f"{FOLDER}/all", field), says=f"by a mount at {FOLDER}/all")
        for field in CONTAINER_FIELDS
    ),
    *(refused(INJECTION, f"a mount of a {kind}", mounts(FOLDER, kind=kind)) for kind in KINDS),
    *(
        refused(
            INJECTION,
            f"an annotation of a {kind}",
            annotated("cdi.k8s.io/gpu", kind),
            says="by the annotation cdi.k8s.io/gpu",
        )
        for kind in KINDS
    ),
    *exemptions(INJECTION, lambda namespace: mounts(FOLDER, namespace=namespace)),
    accepted(INJECTION, "a folder that starts alike", mounts(f"{FOLDER}-2/all")),
    accepted(INJECTION, "a folder above", mounts("/var/run")),
    accepted(INJECTION, "an annotation that starts alike", annotated("cdi.k8s.io.example/gpu")),
]

CLASS = "no-nvidia-runtime-class"
CLASSES = ("nvidia", "nvidia-cdi", "nvidia-legacy")


def runs_by(name, namespace="vision", kind="core/v1:Pod"):
    return workload(asks(), tolerations=[], runtimeClassName=name, namespace=namespace, kind=kind)


RUNTIME_CLASSES = [
    *(refused(CLASS, name, runs_by(name), says=f"Pod extra: uses the runtime class {name}") for name in CLASSES),
    *(refused(CLASS, kind, runs_by("nvidia", kind=kind)) for kind in KINDS),
    refused(CLASS, "one that the option names", runs_by("gpu"), config={CLASS: {"classes": ["gpu"]}}),
    *exemptions(CLASS, lambda namespace: runs_by("nvidia", namespace)),
    *(accepted(CLASS, f"the class {name}", runs_by(name)) for name in ("gvisor", "nvidia-2", "my-nvidia")),
    accepted(CLASS, "one that the option leaves out", runs_by("nvidia"), config={CLASS: {"classes": ["gpu"]}}),
]

RENAMED = "no-renamed-runtime-class"


def runtime_class(name, handler):
    properties = {"metadata": {"name": name}, "handler": handler}
    return also("class", "kubernetes:node.k8s.io/v1:RuntimeClass", properties)


RENAMINGS = [
    *(
        refused(RENAMED, handler, runtime_class("fast", handler), says=f"gives the runtime {handler} an")
        for handler in CLASSES
    ),
    refused(RENAMED, "a name that starts alike", runtime_class("nvidia-2", "nvidia")),
    refused(RENAMED, "one that the option names", runtime_class("fast", "gpu"), config={RENAMED: {"classes": ["gpu"]}}),
    *(accepted(RENAMED, f"{handler} as itself", runtime_class(handler, handler)) for handler in CLASSES),
    accepted(RENAMED, "another name that the rule on pods knows", runtime_class("nvidia-cdi", "nvidia")),
    accepted(RENAMED, "another handler", runtime_class("fast", "runsc")),
]

REACH = "no-privileged-gpu-pod"
CAPABILITIES = ("ALL", "SYS_ADMIN", "SYS_PTRACE")
HOST_PATH = [{"name": "a", "emptyDir": {}}, {"name": "b", "hostPath": {"path": "/dev"}}]


def reaching(*containers, **spec):
    return workload(asks(SHARED), *containers, **spec)


def secure(**context):
    return asks(securityContext=context)


REACHING = [
    *(
        refused(REACH, field, reaching(**{field: True}), says=f"has {field}")
        for field in ("hostPID", "hostIPC", "hostNetwork")
    ),
    refused(REACH, "hostPath", reaching(volumes=HOST_PATH), says="has hostPath"),
    refused(REACH, "nodeName", reaching(nodeName="ip-10-0-0-1"), says="has nodeName"),
    refused(REACH, "privileged", reaching(secure(privileged=True)), says="has the privileged container main"),
    refused(REACH, "privileged, as a text", reaching(secure(privileged="true"))),
    *(
        refused(REACH, name, reaching(secure(**nested(("capabilities", "add"), ["NET_BIND_SERVICE", name]))), says=name)
        for name in CAPABILITIES
    ),
    refused(REACH, "with whole GPUs", workload(asks(GPU), hostPID=True)),
    refused(REACH, "an init container asks", workload(asks(), initContainers=[asks(GPU)], hostPID=True)),
    *(refused(REACH, f"in {f}", reaching(**{f: [secure(privileged=True)]})) for f in CONTAINER_FIELDS[1:]),
    *(refused(REACH, kind, reaching(hostIPC=True, kind=kind)) for kind in KINDS),
    refused(REACH, "all at once", reaching(hostPID=True, volumes=HOST_PATH), says="has hostPID, hostPath"),
    *exemptions(REACH, lambda namespace: reaching(hostPID=True, namespace=namespace)),
    accepted(
        REACH, "all of it off", reaching(secure(privileged=False), hostPID=False, hostIPC=False, hostNetwork=False)
    ),
    accepted(REACH, "other capabilities", reaching(secure(capabilities={"add": ["CHOWN"], "drop": ["ALL"]}))),
    accepted(REACH, "other volumes", reaching(volumes=HOST_PATH[:1], nodeName="")),
    accepted(
        REACH, "without a GPU", workload(secure(privileged=True), tolerations=[], hostPID=True, volumes=HOST_PATH)
    ),
    accepted(REACH, "zero GPUs", workload(asks(GPU, 0), tolerations=[], nodeName="ip-10-0-0-1")),
]

CASES = [*ENVIRONMENT, *INJECTIONS, *RUNTIME_CLASSES, *RENAMINGS, *REACHING]
