"""Nodes with GPUs are tainted, and only what needs a GPU tolerates the taint."""

from __future__ import annotations

from collections.abc import Iterator

from policies import karpenter
from policies.facts import MIG_LABEL
from policies.model import Config, Item, Option, Rule
from policies.workloads import (
    EXEMPT,
    GPU,
    GPU_TAINT,
    WORKLOADS,
    Taint,
    asks_for_gpu,
    exempt,
    pod_spec,
    tolerated,
)

TAINTS = "https://kubernetes.io/docs/concepts/scheduling-eviction/taint-and-toleration/"
EKS_TOLERATION = "https://github.com/aws/containers-roadmap/issues/739"
NODE_GROUPS = ("aws:eks/nodeGroup:NodeGroup", "eks:index:ManagedNodeGroup")
# Each of them is taken away by the program whose name it bears, once that runs on the node. Sources: the documentation
# of Cilium ("Taint effects"), of the CSI drivers for EBS, EFS, FSx and S3 ("node startup taint"), and Istio's untaint
# controller (pilot/pkg/serviceregistry/kube/controller/nodeuntaint.go).
REMOVED_TAINTS = (
    "node.cilium.io/agent-not-ready",
    "ebs.csi.aws.com/agent-not-ready",
    "efs.csi.aws.com/agent-not-ready",
    "fsx.csi.aws.com/agent-not-ready",
    "s3.csi.aws.com/agent-not-ready",
    "cni.istio.io/not-ready",
)


def gpu_pool_taint(item: Item, config: Config) -> Iterator[str]:
    if karpenter.names_gpus(item) and karpenter.may_buy_gpus(item) and not karpenter.tainted(item):
        yield f"lacks the taint {GPU_TAINT}{_instead(item)}"


def general_pool_excludes_gpus(item: Item, config: Config) -> Iterator[str]:
    if not karpenter.names_gpus(item) and karpenter.may_buy_gpus(item) and not karpenter.tainted(item):
        yield f"may buy GPUs ({_buyable(item)}) and lacks the taint {GPU_TAINT}{_instead(item)}"


def _taints(item: Item, field: str = "taints") -> list[Taint]:
    return [Taint.of(taint) for taint in karpenter.taints(item, field)]


def _instead(item: Item) -> str:
    """What the pool has in place of the GPU taint."""
    if GPU_TAINT in _taints(item, "startupTaints"):
        return " (it has it as a startup taint only, which is taken away once the node is ready)"
    found = ", ".join(str(taint) for taint in _taints(item))
    return f" (it has {found})" if found else ""


def _buyable(item: Item) -> str:
    names = [instance_type.name for instance_type in karpenter.buyable(item)]
    if not names:
        return "families that the catalogue does not have"
    return ", ".join(names[:3]) + (f" and {len(names) - 3} more" if len(names) > 3 else "")


def gpu_node_group_taint(item: Item, config: Config) -> Iterator[str]:
    bought = [name for name in item.data["instanceTypes"].texts() if karpenter.is_gpu_type(name)]
    image = item.data["amiType"].text()
    if not bought and "NVIDIA" not in image and "GPU" not in image:
        return
    found = [Taint.of(taint) for taint in item.data["taints"].items()]
    if Taint(GPU, "true", "NO_SCHEDULE") not in found:
        yield f"runs GPUs ({', '.join(bought) or image}) and lacks the taint {GPU}=true:NO_SCHEDULE"


def distinct_taints(item: Item, config: Config) -> Iterator[str]:
    found = [(t.key, t.effect) for field in ("taints", "startupTaints") for t in _taints(item, field)]
    for key, effect in dict.fromkeys(pair for pair in found if found.count(pair) > 1):
        yield f"has more than one taint with key {key} and effect {effect}, startup taints included"


def startup_taints_have_remover(item: Item, config: Config) -> Iterator[str]:
    kept = [(taint.key, taint.effect) for taint in _taints(item)]
    for taint in _taints(item, "startupTaints"):
        # distinct-taints refuses those that are kept as well, and the rules on the GPU taint that one.
        elsewhere = (taint.key, taint.effect) in kept or (taint == GPU_TAINT and karpenter.may_buy_gpus(item))
        if not elsewhere and (taint.key == GPU or taint.key not in config["removed"]):
            allowed = ", ".join(config["removed"])
            yield f"has the startup taint {taint}, which nothing is known to take away; allowed keys: {allowed}"


def mig_pool_own_taint(item: Item, config: Config) -> Iterator[str]:
    layout = karpenter.node_labels(item)[MIG_LABEL].text()
    if layout in ("", "all-disabled") or any(_keeps_gpu_pods_away(taint) for taint in _taints(item)):
        return
    yield f"is labelled {MIG_LABEL}={layout} and has no taint of its own beside {GPU_TAINT}"


def _keeps_gpu_pods_away(taint: Taint) -> bool:
    """Whether a pod that asks for whole GPUs needs more than the toleration that EKS adds for that resource."""
    return taint.effect in ("NoSchedule", "NoExecute") and taint.key != GPU and not taint.key.startswith(f"{GPU}.")


def gpu_toleration_needs_gpu(item: Item, config: Config) -> Iterator[str]:
    spec = pod_spec(item)
    if tolerated(spec, GPU_TAINT) and not asks_for_gpu(spec) and not exempt(item, config):
        yield f"tolerates {GPU_TAINT} and asks for no GPU"


RULES = (
    Rule(
        id="gpu-pool-taint",
        description="A NodePool that asks for GPUs carries the taint nvidia.com/gpu=true:NoSchedule, exactly.",
        why="Without it any pod lands on the node and keeps it alive, and billed. Another value or effect does not "
        "match the tolerations of other charts, or keeps nobody away; a startup taint is gone once the node is ready.",
        remedy="Add {key: nvidia.com/gpu, value: 'true', effect: NoSchedule} to spec.template.spec.taints.",
        url=TAINTS,
        severity="critical",
        check=gpu_pool_taint,
        kinds=(karpenter.NODE_POOL,),
    ),
    Rule(
        id="general-pool-excludes-gpus",
        description="A NodePool that does not ask for GPUs cannot buy them, or carries the taint "
        "nvidia.com/gpu=true:NoSchedule.",
        why="Karpenter takes every type that the requirements leave in: a pod that asks for a GPU, or a shortage of "
        "all other types, buys a GPU node without taint, limits or slices from the pool for everything else.",
        remedy="Add {key: karpenter.k8s.aws/instance-gpu-count, operator: DoesNotExist}, or name the categories that "
        "the pool is for, such as c, m and r. NotIn needs all of g, gr and p.",
        url="https://karpenter.sh/docs/concepts/nodepools/",
        severity="critical",
        check=general_pool_excludes_gpus,
        kinds=(karpenter.NODE_POOL,),
    ),
    Rule(
        id="gpu-node-group-taint",
        description="An EKS node group of GPU instances carries the taint nvidia.com/gpu=true:NO_SCHEDULE, exactly.",
        why="Its nodes run, and are billed, whether a pod needs a GPU or not. Without the taint any pod takes the "
        "place of one that does.",
        remedy="Add {key: nvidia.com/gpu, value: 'true', effect: NO_SCHEDULE} to taints.",
        url="https://docs.aws.amazon.com/eks/latest/userguide/node-taints-managed-node-groups.html",
        severity="high",
        check=gpu_node_group_taint,
        kinds=NODE_GROUPS,
    ),
    Rule(
        id="distinct-taints",
        description="A NodePool has each pair of taint key and effect once, its startup taints included.",
        why="Karpenter calls such a pool invalid, and buys nothing for it.",
        remedy="Keep one of them.",
        url="https://karpenter.sh/docs/concepts/nodepools/",
        severity="high",
        check=distinct_taints,
        kinds=(karpenter.NODE_POOL,),
    ),
    Rule(
        id="startup-taints-have-remover",
        description="A NodePool has only startup taints that something is known to take away.",
        why="Karpenter plans as if a startup taint were not there. One that stays keeps the node from becoming "
        "ready, and it is billed, while its pods have a next node bought for them. Nothing takes nvidia.com/gpu away.",
        remedy="Move the taint to taints, or name its key in the option removed if a program of yours takes it away.",
        url="https://github.com/aws/karpenter-provider-aws/issues/6355",
        severity="high",
        check=startup_taints_have_remover,
        kinds=(karpenter.NODE_POOL,),
        options={
            "removed": Option(
                "list", REMOVED_TAINTS, "keys of startup taints that a program takes away; nvidia.com/gpu never counts"
            )
        },
    ),
    Rule(
        id="mig-pool-own-taint",
        description="A NodePool with a MIG layout carries a second taint, whose key is not under nvidia.com/gpu.",
        why="EKS adds the toleration for nvidia.com/gpu by itself to a pod that asks for it. Before the layout is "
        "applied the node offers whole GPUs: such a pod would take it, and keep the layout from being applied.",
        remedy="Add a taint such as {key: example.com/pool, value: <pool>, effect: NoSchedule}, and tolerate it in the "
        "operands and in the pods that are meant for the pool.",
        url=EKS_TOLERATION,
        severity="high",
        check=mig_pool_own_taint,
        kinds=(karpenter.NODE_POOL,),
    ),
    Rule(
        id="gpu-toleration-needs-gpu",
        description="A workload that tolerates the GPU taint asks for a GPU, except in the system's own namespaces.",
        why="It may be placed on a GPU node, takes the CPU and memory of pods that need one, and keeps the node alive. "
        "A toleration without a key tolerates this taint too.",
        remedy="Take the toleration away or ask for a GPU. For a daemon of the system, name its namespace in the "
        "option namespaces.",
        url=TAINTS,
        severity="high",
        check=gpu_toleration_needs_gpu,
        kinds=WORKLOADS,
        options=EXEMPT,
    ),
)
