"""For many kinds of workloads: each with the node that is cheapest for it alone, and a few that it could share.

Looking at every node that could be bought takes time with the product of workloads and nodes. Here the cheapest node is
looked up by what a pod asks of a node and what of each GPU suits it, and both take few values.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from math import ceil, inf

from gpuslice.planner.model import Workload
from gpuslice.planner.offers import SHARED, WHOLE, Catalogue, Hardware, NodeKind, WorkloadClass, gpus_of
from gpuslice.planner.solver import Demand, Market, Slot, pods_in
from gpuslice.sharing.mig import maximal_layouts

Needs = tuple[int, int, int]
_Way = tuple[int, str, int, tuple[tuple[str, int], ...], str, str]
"""Hardware, mode, replicas, layout, group and slot, by numbers and names: a key that is quick to compare."""


def shortlist(
    amounts: Sequence[int],
    names: Sequence[str],
    found: Sequence[WorkloadClass],
    park: Sequence[Hardware],
    modes: Sequence[str],
) -> Catalogue:
    """The catalogue of what is cheapest for some class. `amounts`, `names`: pods and a name of each class."""
    search = _Search(park, modes)
    ways = [search.cheapest(cls) for cls in found]
    alone = _Search(park, [mode for mode in modes if mode == "exclusive"])
    wholes = [alone.cheapest(cls) for cls in found]
    chosen = list(dict.fromkeys(way[:5] for way in (*ways, *wholes) if way))
    number = {key: index for index, key in enumerate(chosen)}
    kinds = tuple(NodeKind(park[h], mode, replicas, layout, group) for h, mode, replicas, layout, group in chosen)
    shared: dict[tuple[int, str], list[int]] = {}
    for index, (hardware, mode, _, _, group) in enumerate(chosen):
        if mode == "time-slicing":
            shared.setdefault((hardware, group), []).append(index)
    demands: list[Demand] = []
    for way, whole, cls, amount, name in zip(ways, wholes, found, amounts, names, strict=True):
        if way:
            yields: dict[Slot, int] = {(number[way[:5]], way[5]): 1}
            if way[1] == "time-slicing":
                fewer = (i for i in shared[way[0], way[4]] if kinds[i].replicas <= way[2])
                yields |= {(index, SHARED): 1 for index in fewer}
            if whole:
                yields[number[whole[:5]], WHOLE] = 1
            demands.append(Demand(name, amount, cls.needs, yields))
    market = Market([kind.offer() for kind in kinds], demands)
    placed = tuple(cls for cls, way in zip(found, ways, strict=True) if way)
    return Catalogue(kinds, market, placed, tuple(cls for cls, way in zip(found, ways, strict=True) if not way))


def least(
    workloads: Sequence[Workload], placed: Sequence[WorkloadClass], park: Sequence[Hardware], modes: Sequence[str]
) -> int:
    """What no choice of nodes costs less than: each pod at its part of the cheapest node, by slots, CPU or memory.

    `placed`: classes that some node suits. What a pod asks for is its workload's, not what its class rounds that to.
    """
    search = _Search(park, modes)
    by_cpu = min(h.price / h.room[0] for h in park)
    by_ram = min(h.price / h.room[1] for h in park)
    by_slot, cpu, ram = 0.0, 0, 0
    for cls in placed:
        pods = 0
        for workload in (workloads[member] for member in cls.members):
            pods += workload.count
            cpu += workload.count * workload.cpu_milli
            ram += workload.count * workload.ram_mib
        by_slot += pods * search.slot_price(cls)
    return ceil(max(by_slot, by_cpu * cpu, by_ram * ram) * (1 - 1e-9) - 1e-6)


@dataclass
class _Search:
    park: Sequence[Hardware]
    modes: Sequence[str]
    found: dict[tuple[object, ...], tuple[float, _Way | None]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        gpus = gpus_of(self.park)
        self.gpu_numbers = [gpus.index(hardware.gpu) for hardware in self.park]
        self.by_gpu = [[h for h, g in enumerate(self.gpu_numbers) if g == number] for number in range(len(gpus))]

    def cheapest(self, cls: WorkloadClass) -> _Way | None:
        """The slot with the least price for one pod of the class."""
        best: tuple[float, _Way | None] = (inf, None)
        for number, wants in enumerate(cls.fits):
            if not wants.whole and not wants.profiles:
                continue
            key = (cls.needs, number, wants.replicas, wants.profiles)
            known = self.found.get(key)
            if known is None:
                known = self.found[key] = min(
                    self._ways(cls.needs, number, wants.replicas, wants.profiles), default=(inf, None), key=_first
                )
            if known[0] < best[0]:
                best = known
        way = best[1]
        return way and (*way[:4], cls.group if way[1] == "time-slicing" else "", way[5])

    def _ways(
        self, needs: Needs, number: int, replicas: int, profiles: frozenset[str]
    ) -> Iterator[tuple[float, _Way | None]]:
        for index in self.by_gpu[number]:
            hardware = self.park[index]
            room = pods_in(hardware.room, needs)
            if room < 1:
                continue
            for mode, per_gpu, layout, slot in self._slots(hardware, replicas, profiles):
                pods = min(room, per_gpu * hardware.kind.devices)
                yield hardware.price / pods, (index, mode, per_gpu if mode != "mig" else 1, layout, "", slot)

    def _slots(
        self, hardware: Hardware, replicas: int, profiles: frozenset[str]
    ) -> Iterator[tuple[str, int, tuple[tuple[str, int], ...], str]]:
        """Mode, slots of the kind on a GPU, layout and kind."""
        most = hardware.room[2] // hardware.kind.devices
        if "exclusive" in self.modes:
            yield "exclusive", 1, (), WHOLE
        if "time-slicing" in self.modes and min(replicas, most) > 1:
            yield "time-slicing", min(replicas, most), (), SHARED
        if "mig" in self.modes and hardware.gpu.mig_gpu:
            for profile in sorted(profiles):
                layouts = [x for x in maximal_layouts(hardware.gpu.mig_gpu) if sum(x.values()) <= most and profile in x]
                if layouts:
                    layout = max(layouts, key=lambda x: (x[profile], sorted(x.items())))
                    yield "mig", layout[profile], tuple(layout.items()), profile

    def slot_price(self, cls: WorkloadClass) -> float:
        """The least that one slot's part of a node costs, whatever the pod asks of the node besides."""
        free = (0, 0, 1)
        best = inf
        for number, wants in enumerate(cls.fits):
            if not wants.whole and not wants.profiles:
                continue
            key = ("slot", number, wants.replicas, bool(wants.profiles))
            known = self.found.get(key)
            if known is None:
                prices = [price for price, _ in self._ways(free, number, wants.replicas, frozenset())]
                # A node in MIG mode has no more slots than the layout with the most.
                for h in self.by_gpu[number] if wants.profiles and "mig" in self.modes else ():
                    gpu = self.park[h].gpu.mig_gpu
                    slots = max(sum(layout.values()) for layout in maximal_layouts(gpu)) if gpu else 1
                    prices.append(self.park[h].price / slots / self.park[h].kind.devices)
                known = self.found[key] = (min(prices, default=inf), None)
            best = min(best, known[0])
        return best


def _first(pair: tuple[float, _Way | None]) -> tuple[float, _Way | tuple[()]]:
    return pair[0], pair[1] or ()
