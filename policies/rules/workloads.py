"""What a workload that wants a GPU may say, so that it gets exactly one part, on a node that Karpenter can buy."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator

from policies import facts, karpenter
from policies.facts import MIG_LABEL, PLUGIN_LABEL
from policies.model import Config, Finding, Item, Option, Rule, Stack, each
from policies.view import View
from policies.workloads import (
    GPU,
    GPU_TAINT,
    PREFIX,
    WORKLOADS,
    asks_for_gpu,
    containers,
    gpu_requests,
    is_slice,
    namespace,
    pod_spec,
    slices,
    tolerated,
)

AUTOSCALER = "autoscaling/HorizontalPodAutoscaler"
EKS_TOLERATION = "https://github.com/aws/containers-roadmap/issues/739"
SHARED_ACCESS = "https://github.com/NVIDIA/k8s-device-plugin#shared-access-to-gpus"
# Sources: apps/v1 and batch/v1; what is not given is 1 for all of them.
_COPIES = {
    "apps/Deployment": ("spec", "replicas"),
    "apps/ReplicaSet": ("spec", "replicas"),
    "apps/StatefulSet": ("spec", "replicas"),
    "/ReplicationController": ("spec", "replicas"),
    "batch/Job": ("spec", "parallelism"),
    "batch/CronJob": ("spec", "jobTemplate", "spec", "parallelism"),
}
_AVOIDING = ("NotIn", "DoesNotExist")


def gpu_workload_tolerates_taint(item: Item, config: Config) -> Iterator[str]:
    spec = pod_spec(item)
    asked = {name for container in containers(spec) for name in gpu_requests(container)}
    if asked and GPU not in asked and not tolerated(spec, GPU_TAINT):
        yield f"asks for {', '.join(sorted(asked))} and does not tolerate {GPU_TAINT}"


def one_slice_per_container(item: Item, config: Config) -> Iterator[str]:
    for container in containers(pod_spec(item)):
        for name, number in slices(container).items():
            if number != 1:
                yield f"asks for {number:f} of {name} in container {container['name'].text()}; allowed: 1"


def one_slice_per_pod(item: Item, config: Config) -> Iterator[str]:
    for name, number in _at_once(pod_spec(item)).items():
        if number > 1:
            yield f"asks for {name} in {number} containers that run at the same time; allowed: 1"


def _at_once(spec: View) -> Counter[str]:
    """How many containers hold each slice at the same time, at most.

    Source: component-helpers, resource.AggregateContainerRequests: init containers run one after the other, and those
    that restart for ever stay beside all that come later.
    """
    beside: Counter[str] = Counter()
    most: Counter[str] = Counter()
    for container in containers(spec, "initContainers"):
        running = beside + Counter(list(slices(container)))
        most |= running
        if container["restartPolicy"].text() == "Always":
            beside = running
    for container in containers(spec, "containers", "ephemeralContainers"):
        beside.update(list(slices(container)))
    return most | beside


def one_gpu_resource_kind(item: Item, config: Config) -> Iterator[str]:
    asked = {name for container in containers(pod_spec(item)) for name in gpu_requests(container)}
    kinds = sorted(name for name in asked if name == GPU or is_slice(name))
    if len(kinds) > 1:
        yield f"asks for {' and '.join(kinds)}; allowed: one of them"


def gpu_workload_replicas_capped(item: Item, config: Config) -> Iterator[str]:
    number = item.data.at(*_COPIES[item.kind]).number() if _holds_slices(item) else None
    if number is not None and number > config["replicas"]:
        yield f"wants {number:f} pods with a slice each; allowed: up to {config['replicas']}"


def _holds_slices(item: Item) -> bool:
    return any(slices(container) for container in containers(pod_spec(item)))


def gpu_autoscaler_capped(stack: Stack, config: Config) -> Iterator[Finding]:
    scaled = dict(facts.readable(stack.of(*_COPIES), lambda item: (_reference(item, item.kind, item.name), item)))

    def check(item: Item) -> Iterator[str]:
        most = item.data.at("spec", "maxReplicas").number()
        if most is None or most <= config["replicas"]:
            return
        target = item.data.at("spec", "scaleTargetRef")
        workload = scaled.get(_reference(item, target["kind"].text(), target["name"].text()))
        if workload and _holds_slices(workload):
            yield f"lets {workload} grow to {most:f} pods with a slice each; allowed: up to {config['replicas']}"

    return each(stack.of(AUTOSCALER), check)


def _reference(item: Item, kind: str, name: str) -> tuple[str, str, str]:
    """What an object means that names another one: both are in one namespace."""
    return namespace(item), kind.rpartition("/")[2], name


def no_late_label_selector(item: Item, config: Config) -> Iterator[str]:
    spec = pod_spec(item)
    for key in _selected(spec, avoiding_too=asks_for_gpu(spec)):
        if _is_late(key, config["labels"]):
            yield f"selects nodes by {key}, which is there only after the node has joined"


def no_late_label_requirement(item: Item, config: Config) -> Iterator[str]:
    for requirement in karpenter.requirements(item):
        if _is_late(requirement["key"].text(), config["labels"]):
            yield f"has a requirement on {requirement['key'].text()}, which no instance type has"


def _selected(spec: View, avoiding_too: bool) -> Iterator[str]:
    """The labels that a node must have; those that it must not have as well where `avoiding_too`."""
    yield from spec["nodeSelector"].fields()
    required = spec.at("affinity", "nodeAffinity", "requiredDuringSchedulingIgnoredDuringExecution")
    for term in required["nodeSelectorTerms"].items():
        for expression in term["matchExpressions"].items():
            if avoiding_too or expression["operator"].text() not in _AVOIDING:
                yield expression["key"].text()


def _is_late(key: str, known: tuple[str, ...]) -> bool:
    """Whether only GPU feature discovery, node feature discovery or the operator set the label."""
    domain = key.partition("/")[0]
    late = key.startswith(PREFIX) or f".{domain}".endswith(".feature.node.kubernetes.io")
    return late and key not in known


_CAP = {"replicas": Option("integer", 100, "the most pods of one workload that hold a slice each", 1, 100_000)}
_LABELS = {
    "labels": Option("list", (PLUGIN_LABEL, MIG_LABEL), "labels of these kinds that NodePools set in their templates")
}
RULES = (
    Rule(
        id="gpu-workload-tolerates-taint",
        description="A workload that asks for a slice of a GPU tolerates nvidia.com/gpu=true:NoSchedule.",
        why="EKS adds a toleration whose key is the name of the resource that a pod asks for. For nvidia.com/gpu that "
        "is the key of the taint, for a slice it is not: without a toleration of its own the pod waits for ever.",
        remedy="Add {key: nvidia.com/gpu, operator: Exists, effect: NoSchedule} to the pod's tolerations.",
        url=EKS_TOLERATION,
        severity="high",
        check=gpu_workload_tolerates_taint,
        kinds=WORKLOADS,
    ),
    Rule(
        id="one-slice-per-container",
        description="A container asks for one slice at most.",
        why="Two slices are no more GPU time or memory than one, and may be of the same GPU. With "
        "failRequestsGreaterThanOne the pod ends in UnexpectedAdmissionError and must be deleted by hand.",
        remedy="Ask for 1, and for more memory take a pool with larger slices.",
        url="https://github.com/NVIDIA/k8s-device-plugin/issues/491",
        severity="high",
        check=one_slice_per_container,
        kinds=WORKLOADS,
    ),
    Rule(
        id="one-slice-per-pod",
        description="At any time one container of a pod holds a slice of a kind, at most.",
        why="The device plugin looks at one container alone: two with a slice each pass it, and the pod holds the "
        "share of two. An init container that has ended does not count, a restarting one does.",
        remedy="Let one container use the GPU, or put the second one into a pod of its own.",
        url="https://github.com/aws/karpenter-provider-aws/issues/9070",
        severity="high",
        check=one_slice_per_pod,
        kinds=WORKLOADS,
    ),
    Rule(
        id="one-gpu-resource-kind",
        description="A pod asks for one kind of GPU resource: whole GPUs, shared GPUs, or one MIG profile.",
        why="All containers of a pod run on one node, and no pool offers two sharing modes: the pod waits for ever. "
        "On a mixed MIG layout it holds two slices.",
        remedy="Ask for one kind, or make it two workloads.",
        url=SHARED_ACCESS,
        severity="high",
        check=one_gpu_resource_kind,
        kinds=WORKLOADS,
    ),
    Rule(
        id="gpu-workload-replicas-capped",
        description="A workload whose pods hold slices has no more of them than the cap.",
        why="Each pod is paid for: a slip of a digit buys nodes up to the limits of the pool, and takes the slices "
        "of all other teams.",
        remedy="Lower replicas (of a Job: parallelism), or raise the option replicas.",
        url=SHARED_ACCESS,
        severity="medium",
        check=gpu_workload_replicas_capped,
        kinds=tuple(_COPIES),
        options=_CAP,
    ),
    Rule(
        id="gpu-autoscaler-capped",
        description="A HorizontalPodAutoscaler lets a workload whose pods hold slices grow to the cap at most.",
        why="It sets the replicas in place of the workload's own number, and the bill follows the load.",
        remedy="Lower maxReplicas, or raise the option replicas.",
        url="https://kubernetes.io/docs/tasks/run-application/horizontal-pod-autoscale/",
        severity="medium",
        check=gpu_autoscaler_capped,
        options=_CAP,
    ),
    Rule(
        id="no-late-label-selector",
        description="A workload selects nodes by no label that appears only after a node has joined.",
        why="Karpenter cannot know the labels of GPU feature discovery and node feature discovery in advance: it "
        "never buys a node for a pod that wants one, and buys again and again for a GPU pod that avoids one.",
        remedy="Select by the pool's own label, or by karpenter.k8s.aws/instance-gpu-name. If your NodePools set the "
        "label in their templates, name it in the option labels.",
        url="https://github.com/aws/karpenter-provider-aws/issues/7535",
        severity="high",
        check=no_late_label_selector,
        # A DaemonSet buys no nodes: it follows those that there are, and may well wait for a label.
        kinds=tuple(kind for kind in WORKLOADS if kind != "apps/DaemonSet"),
        options=_LABELS,
    ),
    Rule(
        id="no-late-label-requirement",
        description="A NodePool has no requirement on a label that appears only after a node has joined.",
        why="No instance type has it, so it limits nothing: Karpenter writes the value on whatever node it buys, and "
        "pods that selected it end on another GPU or wait once the true value is there.",
        remedy="Require node.kubernetes.io/instance-type or karpenter.k8s.aws/instance-gpu-name.",
        url="https://github.com/aws/karpenter-provider-aws/issues/7535",
        severity="high",
        check=no_late_label_requirement,
        kinds=(karpenter.NODE_POOL,),
        options=_LABELS,
    ),
)
