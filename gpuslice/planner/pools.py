"""A plan's answer as pools, nodes and placements: names, and which pod is on which GPU."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from gpuslice.planner.guards import Gpu, use_on
from gpuslice.planner.model import Workload
from gpuslice.planner.offers import NodeKind
from gpuslice.planner.plan import Answer
from gpuslice.planner.solver import Node
from gpuslice.planner.speeds import carried

_LONGEST_NAME = 50


@dataclass(frozen=True, slots=True)
class Placed:
    """`count` pods of a workload on one GPU of a node, each on a slot of the kind."""

    workload: Workload
    gpu: int
    slot: str
    count: int


@dataclass(frozen=True)
class PlannedNode:
    name: str
    placed: tuple[Placed, ...]


@dataclass
class PlannedPool:
    """Nodes of one kind."""

    name: str
    kind: NodeKind
    nodes: list[PlannedNode] = field(default_factory=list)

    def pods(self) -> dict[str, tuple[Workload, int]]:
        """Workload name to workload and pods in the pool."""
        found: dict[str, tuple[Workload, int]] = {}
        for node in self.nodes:
            for placed in node.placed:
                before = found.get(placed.workload.name, (placed.workload, 0))[1]
                found[placed.workload.name] = (placed.workload, before + placed.count)
        return found

    def busiest(self) -> int:
        """The most use of one GPU, in millionths, when the busiest pods that can meet on it are at their p95."""
        if self.kind.mode == "mig":
            return 0
        uses = ((use_on(w, self.kind.hardware.gpu) or 0, count) for w, count in self.pods().values())
        return largest_sum(uses, self.kind.replicas)


def largest_sum(amounts: Iterable[tuple[int, int]], most: int) -> int:
    """The sum of the largest `most` of some amounts, each of them given with how often it is there."""
    total = 0
    for amount, count in sorted(amounts, reverse=True):
        taken = min(most, count)
        total += taken * amount
        most -= taken
    return total


def pools(answer: Answer, workloads: Sequence[Workload]) -> list[PlannedPool]:
    """The pools of an answer, by name."""
    kinds = answer.catalogue.kinds
    names = pool_names([kinds[offer] for offer in sorted({node.offer for node in answer.solution.nodes})])
    found: dict[NodeKind, PlannedPool] = {}
    waiting = [_Waiting(workloads, cls.members) for cls in answer.catalogue.classes]
    for node in answer.solution.nodes:
        kind = kinds[node.offer]
        pool = found.setdefault(kind, PlannedPool(names[kind], kind))
        for _ in range(node.copies):
            pool.nodes.append(PlannedNode(f"{pool.name}-{len(pool.nodes)}", tuple(_content(kind, node, waiting))))
    return sorted(found.values(), key=lambda pool: pool.name)


class _Waiting:
    """Pods of a class that have no node yet, workload by workload."""

    def __init__(self, workloads: Sequence[Workload], members: Sequence[int]) -> None:
        self.pods = iter([(workloads[member], workloads[member].count) for member in members])
        self.current: tuple[Workload, int] | None = None

    def take(self, count: int) -> Iterator[tuple[Workload, int]]:
        while count:
            workload, left = self.current or next(self.pods)
            taken = min(left, count)
            self.current = (workload, left - taken) if left > taken else None
            count -= taken
            yield workload, taken


def _content(kind: NodeKind, node: Node, waiting: Sequence[_Waiting]) -> list[Placed]:
    """Where the pods of one node are: the busiest first, each on the GPU that is least busy."""
    gpus = [dict(kind.per_gpu) for _ in range(kind.hardware.kind.devices)]
    load = [0] * len(gpus)
    pods = [
        (w, slot, n) for (number, slot), count in sorted(node.takes.items()) for w, n in waiting[number].take(count)
    ]
    counts: dict[tuple[str, int, str], Placed] = {}
    for workload, slot, count in sorted(pods, key=lambda pod: (-pod[0].p95, pod[0].name, pod[1])):
        use = use_on(workload, kind.hardware.gpu) or 0
        for _ in range(count):
            gpu = min((g for g in range(len(gpus)) if gpus[g][slot]), key=lambda g: (load[g], g))
            gpus[gpu][slot] -= 1
            load[gpu] += use
            known = counts.get((workload.name, gpu, slot))
            counts[workload.name, gpu, slot] = Placed(workload, gpu, slot, known.count + 1 if known else 1)
    return sorted(counts.values(), key=lambda placed: (placed.gpu, placed.slot, placed.workload.name))


def pool_names(kinds: Sequence[NodeKind]) -> dict[NodeKind, str]:
    """A name for each kind of node, valid as the name of a pool; with the instance type where it takes that to tell."""
    short = {kind: _short_name(kind) for kind in kinds}
    taken = [(name, kind.group) for kind, name in short.items()]
    names: dict[NodeKind, str] = {}
    for kind, name in short.items():
        twice = taken.count((name, kind.group)) > 1
        full = f"{name}-{kind.hardware.kind.name.replace('.', '-')}" if twice else name
        if kind.group:
            full = f"{full}-{kind.group}"
        if len(full) > _LONGEST_NAME:
            full = f"{full[: _LONGEST_NAME - 9].rstrip('-')}-{hashlib.sha256(full.encode()).hexdigest()[:8]}"
        names[kind] = full
    return names


def _short_name(kind: NodeKind) -> str:
    gpu = kind.hardware.gpu.key
    if kind.mode == "time-slicing":
        return f"{gpu}-shared-{kind.replicas}"
    if kind.mode == "mig":
        return "-".join([gpu, "mig", *(f"{count}x{name.replace('.', '')}" for name, count in kind.layout)])
    return f"{gpu}-whole"


def mean_on(workload: Workload, gpu: Gpu) -> int:
    """Mean use of a workload on a GPU, in millionths."""
    if workload.gpu is None:
        return workload.mean
    return carried(workload.mean, workload.gpu, gpu.key) or 0


def shortfall(pools: Sequence[PlannedPool], efficiency: int) -> tuple[float, PlannedPool | None]:
    """How much the busiest GPU lacks when time-slicing gives `efficiency` of it: 0.11 for 11 %, below 0 for a rest."""
    shared = [pool for pool in pools if pool.kind.mode == "time-slicing"]
    worst = max(shared, key=lambda pool: (pool.busiest(), pool.name), default=None)
    return (worst.busiest() / efficiency - 1, worst) if worst else (-1.0, None)


def by_slot(pool: PlannedPool) -> Mapping[str, int]:
    """Kind of slot to slots in use."""
    used = dict.fromkeys(pool.kind.per_gpu, 0)
    for node in pool.nodes:
        for placed in node.placed:
            used[placed.slot] += placed.count
    return used
