"""The system's own daemons of GPU nodes still run there: they tolerate the taints that keep all others away.

Charts replace a list, they never add to it: who gives `tolerations` gives all of them.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from policies import facts, karpenter
from policies.items import HELM
from policies.model import Config, Finding, Item, Option, Rule, Stack, each
from policies.view import View
from policies.workloads import GPU_TAINT, Taint, containers, pod_spec, tolerated

DAEMON_SET = "apps/DaemonSet"
NFD_BUG = "https://github.com/NVIDIA/gpu-feature-discovery/issues/70"
EFA = "aws-efa-k8s-device-plugin"
# The last parts of the names of their images, or their own names.
DAEMONS = (
    "k8s-device-plugin",
    "nvidia-device-plugin",
    "nvidia-device-plugin-daemonset",
    "gpu-feature-discovery",
    "node-feature-discovery",
    "dcgm-exporter",
    "nvidia-dcgm-exporter",
    "k8s-mig-manager",
    "nvidia-mig-manager",
    EFA,
)
Toleration = Mapping[str, str]
_GPU: Toleration = {"key": GPU_TAINT.key, "operator": "Exists", "effect": GPU_TAINT.effect}
_GPU_PRESENT: Toleration = {"key": GPU_TAINT.key, "operator": "Equal", "value": "present", "effect": GPU_TAINT.effect}


@dataclass(frozen=True)
class Operand:
    """Pods of a chart that run on every GPU node: where its values have their tolerations, and what they are if not.

    `switch` is the value that turns them on, with its default; without one they always run.
    """

    chart: str
    parent: tuple[str, ...] = ()
    default: tuple[Toleration, ...] = ()
    switch: tuple[str, ...] = ()
    on: bool = True

    @property
    def field(self) -> str:
        return ".".join((*self.parent, "tolerations"))

    def given(self, release: Item) -> View:
        """The object of the values that may hold `tolerations`."""
        return release.data.at("values", *self.parent)

    def runs(self, release: Item) -> bool:
        return not self.switch or release.data.at("values", *self.switch).flag(self.on)


# Sources: the values.yaml of each chart, that of gpu-operator at v26.7.0.
OPERANDS = (
    Operand("gpu-operator", ("daemonsets",), (_GPU,)),
    Operand("gpu-operator", ("node-feature-discovery", "worker"), (_GPU,), ("nfd", "enabled")),
    Operand("nvidia-device-plugin", (), (_GPU,)),
    Operand("nvidia-device-plugin", ("nfd", "worker"), (_GPU_PRESENT,), ("gfd", "enabled"), on=False),
    Operand("node-feature-discovery", ("worker",)),
    Operand("dcgm-exporter"),
    Operand(EFA),
)


def _operands(release: Item) -> list[Operand]:
    chart = facts.chart_name(release)
    return [operand for operand in OPERANDS if operand.chart == chart]


def operands_tolerate_gpu_taint(item: Item, config: Config) -> Iterator[str]:
    for operand in _operands(item):
        given = operand.given(item)
        if given["tolerations"].present and not tolerated(given, GPU_TAINT) and operand.runs(item):
            yield f"does not tolerate {GPU_TAINT} in values.{operand.field}, which replaces the chart's default"


def gpu_daemons_tolerate_gpu_taint(item: Item, config: Config) -> Iterator[str]:
    if not tolerated(pod_spec(item), GPU_TAINT) and _is_daemon(item, config["daemons"]):
        yield f"runs a daemon of GPU nodes and does not tolerate {GPU_TAINT}"


def _is_daemon(item: Item, names: tuple[str, ...]) -> bool:
    return item.name in names or any(_image(c) in names for c in containers(pod_spec(item)))


def _image(container: View) -> str:
    """`dcgm-exporter` of `nvcr.io/nvidia/k8s/dcgm-exporter:4.6.0@sha256:...`."""
    return container["image"].text().partition("@")[0].rpartition("/")[2].partition(":")[0]


def daemons_tolerate_pool_taints(stack: Stack, config: Config) -> Iterator[Finding]:
    wanted = _pool_taints(stack)
    yield from each(stack.of(HELM), lambda release: _missed_by_chart(release, wanted))
    yield from each(stack.of(DAEMON_SET), lambda item: _missed_by_daemon(item, wanted, config))


def _pool_taints(stack: Stack) -> dict[Taint, bool]:
    """The taints of GPU pools that keep pods away, and whether a pool that has it offers EFA."""
    found: dict[Taint, bool] = {}
    for pool in facts.pools(stack):
        efa = any(t.efa_interfaces for t in pool.types)
        for taints in facts.readable([pool.item], lambda item: [Taint.of(t) for t in karpenter.taints(item)]):
            for taint in taints:
                if taint.effect != "PreferNoSchedule":
                    found[taint] = found.get(taint, False) or efa
    return found


def _missed_by_chart(release: Item, wanted: Mapping[Taint, bool]) -> Iterator[str]:
    for operand in _operands(release):
        given = operand.given(release)
        default = View({"tolerations": list(operand.default)})
        own = given["tolerations"].present
        missed = _missed(given if own else default, wanted, operand.chart == EFA, GPU_TAINT if own else None)
        if missed and operand.runs(release):
            yield f"does not tolerate {missed} in values.{operand.field}{'' if own else ', left to the default'}"


def _missed_by_daemon(item: Item, wanted: Mapping[Taint, bool], config: Config) -> Iterator[str]:
    spec = pod_spec(item)
    missed = _missed(spec, wanted, False, GPU_TAINT)
    if missed and _is_daemon(item, (EFA,)):
        missed = _missed(spec, wanted, True, GPU_TAINT)
    if missed and _is_daemon(item, config["daemons"]):
        yield f"runs a daemon of GPU nodes and does not tolerate {missed}"


def _missed(spec: View, wanted: Mapping[Taint, bool], efa: bool, but: Taint | None) -> str:
    """Taints that are not tolerated, those of pools with EFA if `efa`, without the one that a resource rule judges."""
    counted = [taint for taint, has_efa in wanted.items() if taint != but and (has_efa or not efa)]
    return ", ".join(str(taint) for taint in counted if not tolerated(spec, taint))


_DAEMON_OPTIONS = {
    "daemons": Option("list", DAEMONS, "the last part of the image's name, or the name, of DaemonSets of GPU nodes")
}
RULES = (
    Rule(
        id="operands-tolerate-gpu-taint",
        description="Tolerations in the values of charts with daemons of GPU nodes include the one for "
        "nvidia.com/gpu=true:NoSchedule.",
        why="The list replaces the chart's own. Without the toleration the device plugin or the labels never come to "
        "the node, it never offers a GPU, and it is billed until somebody looks.",
        remedy="Add {key: nvidia.com/gpu, operator: Exists, effect: NoSchedule} to the list.",
        url=NFD_BUG,
        severity="high",
        check=operands_tolerate_gpu_taint,
        kinds=(HELM,),
    ),
    Rule(
        id="gpu-daemons-tolerate-gpu-taint",
        description="A DaemonSet that is a daemon of GPU nodes tolerates nvidia.com/gpu=true:NoSchedule.",
        why="Without the toleration it never runs on a GPU node, and what it does for the node is not done.",
        remedy="Add {key: nvidia.com/gpu, operator: Exists, effect: NoSchedule} to its tolerations.",
        url=NFD_BUG,
        severity="high",
        check=gpu_daemons_tolerate_gpu_taint,
        kinds=(DAEMON_SET,),
        options=_DAEMON_OPTIONS,
    ),
    Rule(
        id="daemons-tolerate-pool-taints",
        description="Charts and DaemonSets with daemons of GPU nodes tolerate every taint of the program's GPU pools.",
        why="A pool's own taint keeps away the device plugin and the MIG manager too, and the chart's defaults know "
        "nothing of it: the node never offers a slice, and it is billed until somebody looks.",
        remedy="Add a toleration for the taint. For the GPU Operator it must stand in both daemonsets.tolerations and "
        "node-feature-discovery.worker.tolerations, beside the one for nvidia.com/gpu.",
        url=NFD_BUG,
        severity="high",
        check=daemons_tolerate_pool_taints,
        options=_DAEMON_OPTIONS,
    ),
)
