"""How many nodes Karpenter buys for a pool's pods: it fills nodes in an order of its own and knows nothing of the plan.

Karpenter v1.14.1 (pkg/controllers/provisioning/scheduling, `byCPUAndMemoryDescending` and `Scheduler.add`) takes the
waiting pods by CPU, then memory, the largest first. Each goes to the node about to be bought that has the fewest pods
among those with room, else to a new one. Where CPU or memory are scarce that can take more nodes than the best packing.
"""

from __future__ import annotations

import heapq
import itertools
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from gpuslice.planner.model import Workload
from gpuslice.planner.pools import PlannedPool, largest_sum


@dataclass(frozen=True, slots=True)
class _Rest:
    """What a node has left: millicores, MiB, pods, and slots by kind."""

    pods: int
    cpu: int
    ram: int
    room: int
    slots: tuple[tuple[str, int], ...]

    def with_pod(self, workload: Workload, slot: str) -> _Rest | None:
        """The rest once a pod is there too, None where it has no room."""
        cpu, ram, left = self.cpu - workload.cpu_milli, self.ram - workload.ram_mib, dict(self.slots)
        left[slot] -= 1
        if min(cpu, ram, self.room - 1, left[slot]) < 0:
            return None
        return _Rest(self.pods + 1, cpu, ram, self.room - 1, tuple(left.items()))


def nodes_bought(pool: PlannedPool) -> int:
    """The nodes that Karpenter buys for the pods of a pool when all of them come at once."""
    return _nodes(pool, sorted(_pods(pool).items(), key=_largest_first))


def nodes_at_worst(pool: PlannedPool) -> int:
    """The nodes that it may come to: the scheduler binds pods in an order of its own as nodes appear, and for what then
    has no room Karpenter buys more. The most of Karpenter's order and its reverse, which leaves the largest holes; no
    proven bound, but no random order was found that needs more.
    """
    ordered = sorted(_pods(pool).items(), key=_largest_first)
    return max(_nodes(pool, ordered), _nodes(pool, ordered[::-1]))


def _nodes(pool: PlannedPool, pods: Sequence[tuple[tuple[Workload, str], int]]) -> int:
    cpu, ram, room = pool.kind.hardware.room
    devices = pool.kind.hardware.kind.devices
    empty = _Rest(0, cpu, ram, room, tuple((slot, n * devices) for slot, n in pool.kind.per_gpu.items()))
    nodes: Counter[_Rest] = Counter()
    for (workload, slot), count in pods:
        _open(nodes, empty, workload, slot, _fill(nodes, workload, slot, count))
    return nodes.total()


def any_order(pool: PlannedPool) -> bool:
    """Whether the pods of a pool take as many nodes in whatever order they come.

    So it is where nothing but slots of one kind can run out, or where all pods ask for the same.
    """
    pods = _pods(pool)
    if len({slot for _, slot in pods}) > 1:
        return False
    (slots,) = {pool.kind.per_gpu[slot] * pool.kind.hardware.kind.devices for _, slot in pods}
    asked = {(w.cpu_milli, w.ram_mib) for w, _ in pods}
    cpu, ram, _ = pool.kind.hardware.room
    return len(asked) == 1 or (_most(pods, slots, 0) <= cpu and _most(pods, slots, 1) <= ram)


def _most(pods: Counter[tuple[Workload, str]], slots: int, what: int) -> int:
    """The most CPU (0) or memory (1) that so many pods ask for."""
    return largest_sum((((w.cpu_milli, w.ram_mib)[what], count) for (w, _), count in pods.items()), slots)


def _pods(pool: PlannedPool) -> Counter[tuple[Workload, str]]:
    found: Counter[tuple[Workload, str]] = Counter()
    for placed in (p for node in pool.nodes for p in node.placed):
        found[placed.workload, placed.slot] += placed.count
    return found


def _largest_first(pods: tuple[tuple[Workload, str], int]) -> tuple[int, int, str, str]:
    (workload, slot), _ = pods
    return -workload.cpu_milli, -workload.ram_mib, workload.name, slot


def _fill(nodes: Counter[_Rest], workload: Workload, slot: str, count: int) -> int:
    """Puts pods on nodes, each on the one with the fewest pods that has room; returns how many found none.

    Nodes with the same rest are counted, and filled, together. What has no room for one of these pods stays so.
    """
    numbers = itertools.count()
    heap = [(rest.pods, next(numbers), rest) for rest in nodes]
    heapq.heapify(heap)
    while count and heap:
        _, _, rest = heapq.heappop(heap)
        filled = rest.with_pod(workload, slot)
        if filled is None:
            continue
        taken = min(count, nodes[rest])
        count -= taken
        nodes[rest] -= taken
        if not nodes[rest]:
            del nodes[rest]
        if filled not in nodes:
            heapq.heappush(heap, (filled.pods, next(numbers), filled))
        nodes[filled] += taken
    return count


def _open(nodes: Counter[_Rest], empty: _Rest, workload: Workload, slot: str, count: int) -> None:
    """Puts pods on new nodes, one node after the other."""
    steps = [empty]
    while len(steps) <= count and (filled := steps[-1].with_pod(workload, slot)) is not None:
        steps.append(filled)
    most = len(steps) - 1
    assert most or not count, "the plan has this pod on a node of this kind"
    if count >= most > 0:
        nodes[steps[most]] += count // most
    if most and count % most:
        nodes[steps[count % most]] += 1
