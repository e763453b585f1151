"""Nodes with GPUs are tainted, and only what needs a GPU tolerates the taint."""

from __future__ import annotations

from collections.abc import Iterator

from policies import karpenter
from policies.model import Config, Item, Rule
from policies.workloads import GPU, GPU_TAINT, Taint

TAINTS = "https://kubernetes.io/docs/concepts/scheduling-eviction/taint-and-toleration/"


def gpu_pool_taint(item: Item, config: Config) -> Iterator[str]:
    if not karpenter.names_gpus(item):
        return
    found = [Taint.of(taint) for taint in karpenter.taints(item)]
    if GPU_TAINT not in found:
        near = [str(taint) for taint in found if GPU in taint.key or taint.key in GPU]
        yield f"lacks the taint {GPU_TAINT}" + (f" (it has {', '.join(near)})" if near else "")


RULES = (
    Rule(
        id="gpu-pool-taint",
        description="A NodePool that asks for GPUs carries the taint nvidia.com/gpu=true:NoSchedule, exactly.",
        why="Without it any pod lands on the node and keeps it alive, and billed. Another value or effect does not "
        "match the tolerations of other charts, or keeps nobody away.",
        remedy="Add {key: nvidia.com/gpu, value: 'true', effect: NoSchedule} to spec.template.spec.taints.",
        url=TAINTS,
        severity="critical",
        check=gpu_pool_taint,
        kinds=(karpenter.NODE_POOL,),
    ),
)
