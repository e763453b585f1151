"""The same workloads as different ways of asking Karpenter for GPUs: pools, pods, and what their neighbours mean."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import yaml

from gpuslice.catalog import InstanceType
from gpuslice.manifests.admission_rules import MEMORY_ANNOTATION
from gpuslice.planner.answer import resource_of
from gpuslice.planner.guards import Gpu, fit, unshareable, use_on
from gpuslice.planner.model import MILLION, Workload
from gpuslice.planner.offers import Hardware
from gpuslice.planner.order import nodes_bought
from gpuslice.planner.plan import Plan, no_node
from gpuslice.planner.pools import pools
from gpuslice.planner.stack import stack_text
from gpuslice.pools import GPU, GPU_SHARED
from gpuslice.reserves import CONTEXT_RESERVE_MIB, DAEMON_CPU_MILLI, DAEMON_RAM_MIB

REPLICAS = 4
"""What recipes for time-slicing set for every GPU, whatever runs on it (the device plugin's and EKS' examples)."""
APP_LABEL = "app.kubernetes.io/name"
WAYS = ("whole", "whole-single", "hand", "hand-single", "planned")
LIMIT = 200
"""Nodes of a pool: none of these ways is to end at a limit."""
CONSOLIDATION = {
    "consolidationPolicy": "WhenEmptyOrUnderutilized",
    "consolidateAfter": "30s",
    "budgets": [{"nodes": "100%"}],
}
"""Karpenter's own policy, faster than anybody would have it: nothing here waits for it for long."""
Manifest = dict[str, Any]


@dataclass(frozen=True)
class Ask:
    """`count` pods of a workload: the pool, the resource that each asks for, and the instance types it is tied to."""

    workload: Workload
    count: int
    pool: str
    resource: str
    types: tuple[str, ...] = ()


@dataclass(frozen=True)
class Way:
    """`name` is its namespace too. `pools`: entries of the settings. `planned`: instance type to nodes, None where
    nobody planned. `foretold`: the same as Karpenter's order of filling nodes will have it, for the planner's pools."""

    name: str
    text: str
    pools: tuple[Mapping[str, Any], ...]
    asks: tuple[Ask, ...]
    planned: Mapping[str, int] | None = None
    foretold: Mapping[str, int] | None = None

    @property
    def pods(self) -> int:
        return sum(ask.count for ask in self.asks)

    def replicas(self, pool: str) -> int:
        """Pods that may meet on one GPU of a pool."""
        (found,) = [p for p in self.pools if p["name"] == pool]
        return int(found["sharing"].get("replicas", 1))

    def deployments(self, contracts: Mapping[str, Any]) -> dict[str, tuple[Ask, Manifest]]:
        """By name. `contracts`: the stack's output `gpuPools`."""
        names = [f"{_slug(ask.workload.name)}-{number}" for number, ask in enumerate(self.asks)]
        return {
            name: (ask, deployment(name, self.name, ask, contracts[ask.pool]))
            for name, ask in zip(names, self.asks, strict=True)
        }


def ways(plan: Plan) -> list[Way]:
    """Whole GPUs, slices by hand, each on all candidates and on those with one GPU, and the plan's pools."""
    single = [h for h in plan.park if h.kind.devices == 1]
    return [
        _whole(plan, plan.park, "whole", "a GPU for each pod, one pool of all types"),
        _whole(plan, single, "whole-single", "a GPU for each pod, types with one GPU"),
        _by_hand(plan, plan.park, "hand", f"{REPLICAS} slices everywhere, one pool of all types"),
        _by_hand(plan, single, "hand-single", f"{REPLICAS} slices everywhere, types with one GPU"),
        planned(plan),
    ]


def _whole(plan: Plan, park: Sequence[Hardware], name: str, text: str) -> Way:
    asks = tuple(Ask(w, w.count, name, GPU, _suited(plan, w, park)) for w in _placed(plan))
    return Way(name, text, (_pool(name, park, {"mode": "exclusive"}),), asks, plan.before.by_type())


def _by_hand(plan: Plan, park: Sequence[Hardware], name: str, text: str) -> Way:
    """What must not share gets a GPU; the rest shares, and nobody looks at how busy or how large it is."""
    sharing = {"mode": "time-slicing", "replicas": REPLICAS}
    made = (_pool(f"{name}-shared", park, sharing), _pool(f"{name}-whole", park, {"mode": "exclusive"}))
    asks = tuple(
        Ask(w, w.count, f"{name}-whole", GPU, _suited(plan, w, park))
        if unshareable(w)
        else Ask(w, w.count, f"{name}-shared", GPU_SHARED)
        for w in _placed(plan)
    )
    return Way(name, text, made, asks)


def planned(plan: Plan) -> Way:
    """The plan's pools and placements, as `gpuslice plan --stack` writes the pools."""
    found = pools(plan.after, plan.request.workloads)
    counts: Counter[tuple[Workload, str, str]] = Counter()
    for pool in found:
        for placed in (p for node in pool.nodes for p in node.placed):
            counts[placed.workload, pool.name, resource_of(pool, placed.slot)] += placed.count
    asks = tuple(Ask(w, count, pool, resource) for (w, pool, resource), count in counts.items())
    made = tuple(yaml.safe_load(stack_text(plan))["config"]["gpu-slicing:pools"])
    foretold: Counter[str] = Counter()
    for pool in found:
        foretold[pool.kind.hardware.kind.name] += nodes_bought(pool)
    return Way("planned", "the planner's pools", made, asks, plan.after.by_type(), dict(sorted(foretold.items())))


def _placed(plan: Plan) -> list[Workload]:
    nowhere = {u.workload.name for u in plan.unplaced}
    return [w for w in plan.request.workloads if w.name not in nowhere]


def _suited(plan: Plan, workload: Workload, park: Iterable[Hardware]) -> tuple[str, ...]:
    """The types whose whole GPU suits a workload: what its team knows and writes down."""
    return tuple(h.kind.name for h in park if not no_node(workload, h, plan.request.options))


def _pool(name: str, park: Iterable[Hardware], sharing: Mapping[str, Any]) -> dict[str, Any]:
    types = [h.kind.name for h in park]
    limits = {"nodes": LIMIT}
    return {"name": name, "instanceTypes": types, "sharing": sharing, "limits": limits, "disruption": CONSOLIDATION}


def _slug(name: str) -> str:
    return re.sub("[^a-z0-9]+", "-", name.lower())[:40].strip("-") or "workload"


def deployment(name: str, namespace: str, ask: Ask, contract: Mapping[str, Any]) -> Manifest:
    """A Deployment as a team writes it from the stack's outputs. `contract`: the pool's entry in `gpuPools`."""
    labels = {APP_LABEL: name}
    requests = {"cpu": f"{ask.workload.cpu_milli}m", "memory": f"{ask.workload.ram_mib}Mi"}
    resources = {"requests": requests, "limits": {ask.resource: "1"}}
    spec: Manifest = {
        "nodeSelector": dict(contract["nodeSelector"]),
        "tolerations": [dict(t) for t in contract["tolerations"]],
        "containers": [{"name": "main", "image": "registry.invalid/none", "resources": resources}],
    }
    if ask.types:
        wanted = {"key": "node.kubernetes.io/instance-type", "operator": "In", "values": list(ask.types)}
        terms = {"nodeSelectorTerms": [{"matchExpressions": [wanted]}]}
        spec["affinity"] = {"nodeAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": terms}}
    metadata = {"labels": labels, "annotations": {MEMORY_ANNOTATION: str(ask.workload.memory_mib)}}
    return {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": name, "namespace": namespace},
        "spec": {
            "replicas": ask.count,
            "selector": {"matchLabels": labels},
            "template": {"metadata": metadata, "spec": spec},
        },
    }


def daemons() -> Manifest:
    """What the system's pods request on every node, as one DaemonSet: the planner leaves them room."""
    labels = {APP_LABEL: "daemons"}
    requests = {"cpu": f"{DAEMON_CPU_MILLI}m", "memory": f"{DAEMON_RAM_MIB}Mi"}
    container = {"name": "main", "image": "registry.invalid/none", "resources": {"requests": requests}}
    spec = {"tolerations": [{"operator": "Exists"}], "containers": [container]}
    return {
        "apiVersion": "apps/v1",
        "kind": "DaemonSet",
        "metadata": {"name": "daemons", "namespace": "kube-system"},
        "spec": {
            "selector": {"matchLabels": labels},
            "template": {"metadata": {"labels": labels}, "spec": spec},
        },
    }


@dataclass(frozen=True)
class Verdict:
    """How many GPUs are in use, and on how many of them the pods at their p95 want more than the GPU does (`busy`),
    more memory than it has (`memory`), or do not trust each other (`mixed`). `unsafe`: any of the three."""

    gpus: int = 0
    busy: int = 0
    memory: int = 0
    mixed: int = 0
    unsafe: int = 0

    def __add__(self, other: Verdict) -> Verdict:
        return Verdict(*(a + b for a, b in zip(self.figures, other.figures, strict=True)))

    @property
    def figures(self) -> tuple[int, ...]:
        return self.gpus, self.busy, self.memory, self.mixed, self.unsafe


def verdict(plan: Plan, kind: InstanceType, pods: Sequence[Ask], replicas: int) -> Verdict:
    """Of one node with these pods, one entry each, and so many replicas of each of its GPUs.

    Time-sliced and whole GPUs: with the pods spread over the node's GPUs, the busiest first, as evenly as it goes, so
    that nothing is counted that a lucky device plugin could avoid. MIG: a slice counts as a GPU.
    """
    gpu = Gpu.of(kind)
    slices = [_slice(plan, gpu, ask) for ask in pods if "/mig-" in ask.resource]
    others = [ask.workload for ask in pods if "/mig-" not in ask.resource]
    gpus = [_judge(gpu, there) for there in _spread(gpu, kind.devices, replicas, others) if there]
    return sum([*slices, *gpus], Verdict())


def _slice(plan: Plan, gpu: Gpu, ask: Ask) -> Verdict:
    profile = next(p for p in gpu.profiles.values() if p.resource == ask.resource)
    bad = profile.name not in fit(ask.workload, gpu, plan.request.options).profiles
    memory = ask.workload.memory_mib > gpu.profile_memory_mib(profile)
    return Verdict(1, int(bad and not memory), int(memory), 0, int(bad))


def _spread(gpu: Gpu, devices: int, replicas: int, workloads: Iterable[Workload]) -> list[list[Workload]]:
    found: list[list[Workload]] = [[] for _ in range(devices)]
    for workload in sorted(workloads, key=lambda w: (-(use_on(w, gpu) or 0), w.name)):
        min(found, key=lambda there: (len(there) >= replicas, _use(gpu, there), len(there))).append(workload)
    return found


def _use(gpu: Gpu, workloads: Iterable[Workload]) -> int:
    return sum(use_on(w, gpu) or 0 for w in workloads)


def _judge(gpu: Gpu, workloads: Sequence[Workload]) -> Verdict:
    busy = _use(gpu, workloads) > MILLION
    memory = sum(w.memory_mib + CONTEXT_RESERVE_MIB for w in workloads) > gpu.memory_mib
    mixed = len({w.group for w in workloads}) > 1
    return Verdict(1, int(busy), int(memory), int(mixed), int(busy or memory or mixed))
