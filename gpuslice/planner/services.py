"""Services with a measured profile on MIG slices: the fewest GPUs that give every service its rate in time.

On each size of slice a service runs with the batch size and number of processes that give most requests per second
while a batch takes less than `LATENCY_SHARE` of the objective. That is the rule of ParvaGPU (Lee et al., SC 2024):
half of the objective, as a request may wait for as long as the batch before it runs, and a tenth of that in reserve.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from decimal import ROUND_CEILING, ROUND_FLOOR, Decimal
from functools import cache

from gpuslice.catalog import mig_profiles
from gpuslice.planner import slices
from gpuslice.planner.errors import InputError, shown
from gpuslice.planner.profiles import Profile, Row
from gpuslice.planner.slices import Least
from gpuslice.planner.solver import Demand, Market, Node, Offer
from gpuslice.sharing import mig

LATENCY_SHARE = Decimal("0.45")
MEASURED_ON = "A100-80GB"
MOST_SLICES = 100_000
"""For one service: more is a slip in the unit of a rate, and a list of placements that nobody reads."""
_THOUSAND = 1000
"""Rates are counted in thousandths of a request per second: what is asked rounded up, what is given rounded down."""


@dataclass(frozen=True)
class Service:
    """`rate`: requests per second in all; `latency_ms`: objective for one request. The rest is what each pod asks."""

    name: str
    profile: Profile
    rate: Decimal
    latency_ms: Decimal
    cpu_milli: int = 0
    ram_mib: int = 0


@dataclass(frozen=True)
class GpuNode:
    """A node with MIG GPUs, all of them in one layout. `price` and `room` are those of `solver.Offer`."""

    name: str = "gpu"
    mig_gpu: str = MEASURED_ON
    gpus: int = 1
    price: int = 1
    room: tuple[int, int, int] = (0, 0, 110)


@dataclass(frozen=True, slots=True)
class Placed:
    """One instance of a service. `rate`: requests per second of all its processes; `latency`: seconds for a batch."""

    node: int
    gpu: int
    start: int
    profile: str
    slices: int
    service: str
    batch: int
    processes: int
    rate: Decimal
    latency: Decimal


@dataclass(frozen=True)
class Offered:
    """The market of some services, and what its numbers stand for: `rows[demand][kind]` is how the service runs."""

    market: Market
    services: tuple[Service, ...]
    rows: tuple[Mapping[str, Row], ...]
    node: GpuNode

    def placed(self, nodes: Iterable[Node]) -> Iterator[Placed]:
        """Every instance of a solution in its place, node after node."""
        number = 0
        for node in nodes:
            layout = self.market.offers[node.offer].name
            instances = _instances(self.node.mig_gpu, layout)
            for _ in range(node.copies):
                yield from self._on_node(number, node, instances)
                number += 1

    def _on_node(self, number: int, node: Node, instances: Sequence[mig.Instance]) -> Iterator[Placed]:
        waiting: dict[str, list[int]] = {kind: [] for _, kind in node.takes}
        for (demand, kind), count in sorted(node.takes.items(), reverse=True):
            waiting[kind] += [demand] * count
        for gpu in range(self.node.gpus):
            for instance in instances:
                profile = instance.profile
                if waiting.get(profile.name):
                    demand = waiting[profile.name].pop()
                    row = self.rows[demand][profile.name]
                    size, name = profile.compute_slices, self.services[demand].name
                    how = row.batch, row.processes, row.rate, row.latency
                    yield Placed(number, gpu, instance.start, profile.name, size, name, *how)


@dataclass(frozen=True)
class SlicePlan:
    """Where each instance runs; GPUs and compute slices in use, with what neither can be below."""

    placed: tuple[Placed, ...]
    gpus: Least
    slices: Least

    def rates(self) -> dict[str, Decimal]:
        """Requests per second that each service gets."""
        rates: dict[str, Decimal] = {}
        for entry in self.placed:
            rates[entry.service] = rates.get(entry.service, Decimal(0)) + entry.rate
        return rates


def fewest_gpus(
    services: Iterable[Service],
    max_processes: int | None = None,
    latency_share: Decimal = LATENCY_SHARE,
    seconds: float = 5.0,
) -> SlicePlan:
    """The fewest GPUs, each in a layout of its own, and on so many GPUs the fewest compute slices.

    Raises InputError as `market` does, ImportError where highspy is not installed.
    """
    offered = market(services, GpuNode(), max_processes, latency_share)
    weights = {name: size for size, name in sizes(offered.node.mig_gpu).items()}
    answer = slices.solve(offered.market, weights, seconds)
    return SlicePlan(tuple(offered.placed(answer.nodes)), answer.count, answer.weight)


def market(
    services: Iterable[Service],
    node: GpuNode,
    max_processes: int | None = None,
    latency_share: Decimal = LATENCY_SHARE,
) -> Offered:
    """One offer for each maximal layout of the node's GPUs, one demand for each service, in the order of names.

    Raises InputError for services that no slice serves in time, services of one name, and more than `MOST_SLICES`.
    """
    ordered = tuple(sorted(services, key=lambda service: service.name))
    names = [service.name for service in ordered]
    problems = [f"service {shown(n)} is there twice. Allowed: each name once" for n in names if names.count(n) > 1]
    rows: list[dict[str, Row]] = []
    for service in ordered:
        found = segments(service, max_processes, latency_share)
        of_node = sizes(node.mig_gpu)
        rows.append({of_node[size]: row for size, row in found.items() if row is not None and size in of_node})
        if not rows[-1]:
            problems.append(f"service {shown(service.name)}: {unserved(service, max_processes, latency_share)}")
        elif service.rate > MOST_SLICES * max(row.rate for row in rows[-1].values()):
            problems.append(f"service {shown(service.name)} asks for more than {MOST_SLICES} slices. Allowed: fewer")
    if problems:
        raise InputError(problems)
    layouts = list(_layouts(node.mig_gpu).items())
    offers = [Offer(n, node.price, {k: c * node.gpus for k, c in lay.items()}, node.room) for n, lay in layouts]
    demands = [_demand(service, of_kind, offers) for service, of_kind in zip(ordered, rows, strict=True)]
    return Offered(Market(offers, demands), ordered, tuple(rows), node)


def segments(
    service: Service, max_processes: int | None = None, latency_share: Decimal = LATENCY_SHARE
) -> dict[int, Row | None]:
    """Compute slices to the row with the highest rate that is in time, None where none is.

    Of rows with the same rate the one with the fewest processes, then the smallest batch.
    """
    allowed = service.latency_ms * latency_share / 1000
    best: dict[int, Row | None] = dict.fromkeys(sorted({row.slices for row in service.profile.rows}))
    for row in _usable(service, max_processes):
        known = best[row.slices]
        if row.latency < allowed and (known is None or _rank(row) > _rank(known)):
            best[row.slices] = row
    return best


def sizes(mig_gpu: str) -> dict[int, str]:
    """Compute slices to the MIG profile that was measured: the one with the least memory of its size."""
    plain = [profile for profile in mig_profiles(mig_gpu).values() if profile.plain]
    plain.sort(key=lambda profile: (profile.compute_slices, -profile.memory_slices))
    return {profile.compute_slices: profile.name for profile in plain}


def _usable(service: Service, max_processes: int | None) -> list[Row]:
    """Rows with no more processes than allowed and at least a thousandth of a request per second."""
    rows = (row for row in service.profile.rows if row.rate * _THOUSAND >= 1)
    return [row for row in rows if max_processes is None or row.processes <= max_processes]


def _rank(row: Row) -> tuple[Decimal, int, int]:
    return row.rate, -row.processes, -row.batch


def unserved(
    service: Service,
    max_processes: int | None = None,
    latency_share: Decimal = LATENCY_SHARE,
    size: int | None = None,
) -> str:
    """Why no slice serves a service in time, or why none of so many compute slices does."""
    rows = [row for row in _usable(service, max_processes) if size in (None, row.slices)]
    if not rows:
        limit = f" with at most {max_processes} processes" if max_processes is not None else ""
        return f"its profile has nothing that ran{limit}" + ("" if size is None else f" on {size}g")
    fastest = min(rows, key=lambda row: (row.latency, row.slices, row.processes, row.batch))
    allowed = service.latency_ms * latency_share
    nothing = "no slice answers in time: the fastest takes" if size is None else "its fastest batch takes"
    return (
        f"{nothing} {_plain(fastest.latency * 1000)} ms ({fastest.slices}g, "
        f"batch {fastest.batch}, {fastest.processes} {'process' if fastest.processes == 1 else 'processes'}). "
        f"Allowed: below {_plain(allowed)} ms, which is {_plain(latency_share)} of its {_plain(service.latency_ms)} ms"
    )


def _plain(value: Decimal) -> str:
    return f"{value.normalize():f}"


def _demand(service: Service, rows: Mapping[str, Row], offers: Sequence[Offer]) -> Demand:
    gives = {kind: int((row.rate * _THOUSAND).to_integral_value(ROUND_FLOOR)) for kind, row in rows.items()}
    amount = int((service.rate * _THOUSAND).to_integral_value(ROUND_CEILING))
    yields = {(o, kind): gives[kind] for o, offer in enumerate(offers) for kind in offer.slots if kind in gives}
    return Demand(service.name, amount, (service.cpu_milli, service.ram_mib, 1), yields)


@cache
def _layouts(mig_gpu: str) -> dict[str, dict[str, int]]:
    """Name to layout: of the measured profiles, and no room for one more of them."""
    names = set(sizes(mig_gpu).values())
    found = [layout for layout in mig.layouts(mig_gpu) if names.issuperset(layout)]
    known = [frozenset(layout.items()) for layout in found]
    full = [lay for lay in found if not any(frozenset(_with_one(lay, name).items()) in known for name in names)]
    return {mig.layout_name(mig_gpu, layout): layout for layout in full}


def _with_one(layout: Mapping[str, int], name: str) -> dict[str, int]:
    return {**layout, name: layout.get(name, 0) + 1}


@cache
def _instances(mig_gpu: str, name: str) -> tuple[mig.Instance, ...]:
    return mig.place(mig_gpu, _layouts(mig_gpu)[name])
