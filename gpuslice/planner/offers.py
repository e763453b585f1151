"""From workloads and instance types to the solver's offers and demands."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache

from gpuslice.catalog import InstanceType
from gpuslice.planner.guards import Fit, Gpu, fits, table
from gpuslice.planner.model import Workload
from gpuslice.planner.options import Options
from gpuslice.planner.solver import Demand, Market, Offer, Slot
from gpuslice.reserves import cpu_room_milli, pod_room, ram_room_mib
from gpuslice.sharing.mig import maximal_layouts

WHOLE = "gpu"
SHARED = "shared"
_COARSE_ABOVE = ((3000, 3), (50_000, 2))
"""With more kinds of workloads than this, CPU and memory are rounded up to so many digits."""


@dataclass(frozen=True)
class Hardware:
    """An instance type with what pods find on it. `price`: whole millionths of a dollar per hour."""

    kind: InstanceType
    price: int

    @cached_property
    def gpu(self) -> Gpu:
        return Gpu.of(self.kind)

    @cached_property
    def room(self) -> tuple[int, int, int]:
        return cpu_room_milli(self.kind), ram_room_mib(self.kind), pod_room(self.kind)


@dataclass(frozen=True)
class NodeKind:
    """A node that can be bought: a type, sliced in one way; for one group where tenants share a GPU."""

    hardware: Hardware
    mode: str
    replicas: int = 1
    layout: tuple[tuple[str, int], ...] = ()
    group: str = ""

    @property
    def per_gpu(self) -> dict[str, int]:
        """Kind of slot to slots of each GPU."""
        if self.mode == "mig":
            return dict(self.layout)
        return {SHARED if self.mode == "time-slicing" else WHOLE: self.replicas}

    def offer(self) -> Offer:
        kind = self.hardware.kind
        name = f"{kind.name} {self.mode} {self.replicas} {self.layout} {self.group}"
        slots = {slot: count * kind.devices for slot, count in self.per_gpu.items()}
        family = f"{kind.name} mig" if self.mode == "mig" else ""
        return Offer(name, self.hardware.price, slots, self.hardware.room, family)


@dataclass(frozen=True)
class WorkloadClass:
    """Workloads that the same slices suit and that ask for the same room, by their numbers."""

    fits: tuple[Fit, ...]
    needs: tuple[int, int, int]
    group: str
    members: tuple[int, ...]


def classes(workloads: Sequence[Workload], park: Sequence[Hardware], options: Options) -> list[WorkloadClass]:
    """The workloads by what suits them. `fits` go by the distinct GPUs of the park (`gpus_of`)."""
    suits = _fits(workloads, gpus_of(park), options)
    found = _grouped(workloads, suits, _exactly, _exactly)
    cpu, ram = ([hardware.room[dimension] for hardware in park] for dimension in (0, 1))
    for most, digits in _COARSE_ABOVE:
        if len(found) > most:
            found = _grouped(workloads, suits, _rounding(cpu, digits), _rounding(ram, digits))
    return found


def gpus_of(park: Iterable[Hardware]) -> tuple[Gpu, ...]:
    return tuple(dict.fromkeys(hardware.gpu for hardware in park))


def _exactly(amount: int) -> int:
    return amount


def _rounding(rooms: Iterable[int], digits: int) -> Callable[[int], int]:
    """Rounds up to so many digits, but not past a room that is enough: a pod that just fits a node still does."""
    known = sorted(set(rooms))

    def rounded(amount: int) -> int:
        step = int(10 ** max(0, len(str(amount)) - digits))
        enough = bisect_left(known, amount)
        up = -(-amount // step) * step
        return min(up, known[enough]) if enough < len(known) else up

    return lru_cache(maxsize=65536)(rounded)


def _fits(workloads: Sequence[Workload], gpus: Sequence[Gpu], options: Options) -> list[tuple[Fit, ...]]:
    """What of each GPU suits each workload."""
    tables = {source: table(source, gpus, options) for source in {w.gpu for w in workloads}}
    known: dict[tuple[object, ...], tuple[Fit, ...]] = {}
    found = []
    for w in workloads:
        key = (w.gpu, w.p95, w.memory_mib, w.latency, w.isolation)
        suits = known.get(key)
        if suits is None:
            suits = known[key] = fits(w, tables[w.gpu])
        found.append(suits)
    return found


def _grouped(
    workloads: Sequence[Workload],
    suits: Sequence[tuple[Fit, ...]],
    cpu: Callable[[int], int],
    ram: Callable[[int], int],
) -> list[WorkloadClass]:
    members: dict[tuple[tuple[Fit, ...], tuple[int, int, int], str], list[int]] = {}
    shareable: dict[tuple[Fit, ...], bool] = {}
    for number, (w, found) in enumerate(zip(workloads, suits, strict=True)):
        shares = shareable.get(found)
        if shares is None:
            shares = shareable[found] = any(f.replicas > 1 for f in found)
        group = w.group if shares else ""
        members.setdefault((found, (cpu(w.cpu_milli), ram(w.ram_mib), 1), group), []).append(number)
    return [WorkloadClass(*key, tuple(numbers)) for key, numbers in members.items()]


@dataclass(frozen=True)
class Catalogue:
    """What can be bought for some classes of workloads, and the solver's view of it."""

    kinds: tuple[NodeKind, ...]
    market: Market
    classes: tuple[WorkloadClass, ...]
    """Those that some offer suits, in the order of the market's demands."""
    left_out: tuple[WorkloadClass, ...]
    """Those that nothing suits."""


def catalogue(
    workloads: Sequence[Workload],
    found: Sequence[WorkloadClass],
    park: Sequence[Hardware],
    modes: Sequence[str] = ("exclusive", "time-slicing", "mig"),
) -> Catalogue:
    """The offers of some modes, without those that another one beats whatever is asked."""
    kinds = [
        kind for mode in modes for hardware in park for kind in _OF_MODE[mode](hardware, _seen(found, park, hardware))
    ]
    offers = [kind.offer() for kind in kinds]
    numbers = {gpu: index for index, gpu in enumerate(gpus_of(park))}
    suited = [[_slots(cls, kind, cls.fits[numbers[kind.hardware.gpu]]) for cls in found] for kind in kinds]
    kept = _undominated(offers, suited, found)
    kinds, offers = [kinds[k] for k in kept], [offers[k] for k in kept]
    demands: list[Demand] = []
    placed: list[WorkloadClass] = []
    left_out: list[WorkloadClass] = []
    for number, cls in enumerate(found):
        yields: dict[Slot, int] = {(new, slot): 1 for new, old in enumerate(kept) for slot in suited[old][number]}
        if yields:
            amount = sum(workloads[member].count for member in cls.members)
            demands.append(Demand(workloads[cls.members[0]].name, amount, cls.needs, yields))
        (placed if yields else left_out).append(cls)
    return Catalogue(tuple(kinds), Market(offers, demands), tuple(placed), tuple(left_out))


def _seen(found: Sequence[WorkloadClass], park: Sequence[Hardware], hardware: Hardware) -> list[tuple[Fit, str]]:
    """What the classes want of a type's GPU, each with its group."""
    index = gpus_of(park).index(hardware.gpu)
    return list(dict.fromkeys((cls.fits[index], cls.group) for cls in found))


def _exclusive(hardware: Hardware, wanted: Sequence[tuple[Fit, str]]) -> list[NodeKind]:
    return [NodeKind(hardware, "exclusive")] if any(f.whole for f, _ in wanted) else []


def _time_slicing(hardware: Hardware, wanted: Sequence[tuple[Fit, str]]) -> list[NodeKind]:
    """With as many replicas as some class can stand, no other number is of use."""
    # The settings refuse a pool with more slices than its nodes hold pods.
    most = hardware.room[2] // hardware.kind.devices
    pairs = {(min(f.replicas, most), group) for f, group in wanted}
    return [NodeKind(hardware, "time-slicing", r, group=group) for r, group in sorted(pairs) if r > 1]


def _mig(hardware: Hardware, wanted: Sequence[tuple[Fit, str]]) -> list[NodeKind]:
    profiles = frozenset[str]().union(*(f.profiles for f, _ in wanted)) if wanted else frozenset()
    if not profiles or hardware.gpu.mig_gpu is None:
        return []
    most = hardware.room[2] // hardware.kind.devices
    layouts = [layout for layout in maximal_layouts(hardware.gpu.mig_gpu) if sum(layout.values()) <= most]
    return [NodeKind(hardware, "mig", layout=tuple(layout.items())) for layout in layouts if profiles & set(layout)]


_OF_MODE: dict[str, Callable[[Hardware, Sequence[tuple[Fit, str]]], list[NodeKind]]] = {
    "exclusive": _exclusive,
    "time-slicing": _time_slicing,
    "mig": _mig,
}


def _slots(cls: WorkloadClass, kind: NodeKind, wants: Fit) -> tuple[str, ...]:
    """The kinds of slots of a node that suit a class."""
    if any(need > room for need, room in zip(cls.needs, kind.hardware.room, strict=True)):
        return ()
    if kind.mode == "mig":
        return tuple(name for name, _ in kind.layout if name in wants.profiles)
    if kind.mode == "exclusive":
        return (WHOLE,) if wants.whole else ()
    shares = wants.replicas >= kind.replicas and cls.group == kind.group
    return (SHARED,) if shares else ()


def _undominated(
    offers: Sequence[Offer], suited: Sequence[Sequence[tuple[str, ...]]], found: Sequence[WorkloadClass]
) -> list[int]:
    """The offers that no other one replaces at the same price or less, whatever is asked for."""
    summaries = [s for i, offer in enumerate(offers) if (s := _Summary.of(i, offer, suited[i], found))]
    kept: list[_Summary] = []
    for candidate in sorted(summaries, key=lambda s: (s.price / s.most, -s.breadth, s.price, s.number)):
        if not any(other.replaces(candidate) for other in kept):
            kept.append(candidate)
    return sorted(s.number for s in kept)


@dataclass(frozen=True)
class _Summary:
    """An offer as the comparison sees it: kind of slot to slots, and to the classes that it suits, as bits."""

    number: int
    price: int
    slots: dict[str, int]
    suits: dict[str, int]
    room: tuple[int, int, int]
    roomy: bool
    """Whether any mixture of pods that its slots suit finds room."""

    @classmethod
    def of(
        cls, number: int, offer: Offer, suited: Sequence[tuple[str, ...]], found: Sequence[WorkloadClass]
    ) -> _Summary | None:
        suits: dict[str, int] = {}
        needs = [0, 0, 0]
        for bit, suiting in enumerate(suited):
            for slot in suiting:
                suits[slot] = suits.get(slot, 0) | 1 << bit
            if suiting:
                needs = [max(a, b) for a, b in zip(needs, found[bit].needs, strict=True)]
        if not suits:
            return None
        total = sum(offer.slots.values())
        roomy = all(need * total <= room for need, room in zip(needs, offer.room, strict=True))
        slots = {slot: offer.slots[slot] for slot in suits}
        return cls(number, offer.price, slots, suits, offer.room, roomy)

    @property
    def most(self) -> int:
        return sum(self.slots.values())

    @property
    def breadth(self) -> int:
        return sum(bits.bit_count() for bits in self.suits.values())

    def replaces(self, other: _Summary) -> bool:
        """Whether so many of this offer as cost no more than one of the other do all that the other does."""
        pairs = self._pairs(other)
        if pairs is None or any(other.suits[theirs] & ~self.suits[mine] for mine, theirs in pairs):
            return False
        copies = max(-(-other.slots[theirs] // self.slots[mine]) for mine, theirs in pairs)
        if copies * self.price > other.price:
            return False
        return self.roomy or (copies == 1 and all(a >= b for a, b in zip(self.room, other.room, strict=True)))

    def _pairs(self, other: _Summary) -> list[tuple[str, str]] | None:
        if len(self.slots) == len(other.slots) == 1:
            return [(next(iter(self.slots)), next(iter(other.slots)))]
        return [(slot, slot) for slot in other.slots] if set(other.slots) <= set(self.slots) else None
