"""The cheapest nodes for services with measured profiles, beside what they cost with one service on each whole GPU.

All nodes are of one instance type, that with the GPU that the profiles were measured on, and all GPUs of a node have
one MIG layout, as a pool of the stack has one. What a whole GPU does is taken to be what its largest slice does; where
that was not measured in time, what the best smaller one does, as a whole GPU does at least that.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from decimal import Decimal

from gpuslice.catalog import InstanceType, gpu_models, instance_types
from gpuslice.catalog.prices import PriceTable
from gpuslice.planner.errors import InputError, shown
from gpuslice.planner.offers import WHOLE, Hardware, NodeKind
from gpuslice.planner.options import Options
from gpuslice.planner.pools import pool_names
from gpuslice.planner.pricing import millionths, price_table
from gpuslice.planner.service_solver import exactly, solve
from gpuslice.planner.services import (
    LATENCY_SHARE,
    MEASURED_ON,
    MOST_SLICES,
    GpuNode,
    Offered,
    Placed,
    Service,
    market,
    segments,
    sizes,
    unserved,
)
from gpuslice.planner.solver import Demand, Market, Node, Offer, Solution, cost


@dataclass(frozen=True)
class ServiceRequest:
    """What is planned for. `gpu`: key of the model that was measured on. `places`: service to its place in a file."""

    services: tuple[Service, ...]
    gpu: str = MEASURED_ON.lower()
    candidates: tuple[str, ...] | None = None
    options: Options = field(default_factory=Options)
    max_processes: int | None = None
    latency_share: Decimal = LATENCY_SHARE
    places: Mapping[str, str] = field(default_factory=dict)

    @property
    def mig_gpu(self) -> str:
        """The GPU's name in the catalogue of MIG profiles."""
        return gpu_models()[self.gpu].mig_gpu or ""


@dataclass(frozen=True)
class Unserved:
    """A service that no slice of a node can serve, and why."""

    service: Service
    reason: str


@dataclass(frozen=True)
class ServicePlan:
    """Costs in millionths of a dollar per hour. `offered.services` are those that are placed, by name."""

    request: ServiceRequest
    prices: PriceTable
    hardware: Hardware
    offered: Offered
    before: Solution
    after: Solution
    exact: bool
    unplaced: tuple[Unserved, ...]
    unpriced: tuple[str, ...]
    """Types with the GPU that have no price in the region."""

    @property
    def kinds(self) -> list[NodeKind]:
        """What each offer of the market is."""
        offers, gpus = self.offered.market.offers, self.hardware.kind.devices
        layouts = (tuple((profile, count // gpus) for profile, count in offer.slots.items()) for offer in offers)
        return [NodeKind(self.hardware, "mig", layout=layout) for layout in layouts]


@dataclass(frozen=True)
class ServiceNode:
    name: str
    placed: tuple[Placed, ...]


@dataclass
class ServicePool:
    """Nodes of one layout."""

    name: str
    kind: NodeKind
    nodes: list[ServiceNode] = field(default_factory=list)


def plan(request: ServiceRequest) -> ServicePlan:
    """The plan of a request. Raises InputError where nothing can be chosen, or where a rate is beyond all reason."""
    prices = price_table(request.options)
    kind, unpriced = chosen_type(request, prices)
    hardware = Hardware(kind, millionths(prices, kind, request.options))
    reasons = [(service, _nowhere(service, request, hardware)) for service in request.services]
    placed = [service for service, reason in reasons if not reason]
    _check_rates(placed, request)
    node = GpuNode(kind.name, request.mig_gpu, kind.devices, hardware.price, hardware.room)
    offered = market(placed, node, request.max_processes, request.latency_share)
    exact = exactly(request.options, len(placed))
    seconds = request.options.seconds if exact else 0.0
    before = solve(whole_gpus(offered), {WHOLE: 1}, seconds)
    weights = {profile: size for size, profile in sizes(request.mig_gpu).items()}
    after = not_dearer(offered, before, solve(offered.market, weights, seconds))
    unplaced = sorted((Unserved(s, reason) for s, reason in reasons if reason), key=lambda u: u.service.name)
    return ServicePlan(request, prices, hardware, offered, before, after, exact, tuple(unplaced), unpriced)


def service_pools(made: ServicePlan) -> list[ServicePool]:
    """The pools of a plan, by name: one for each layout in use."""
    kinds, nodes = made.kinds, made.after.nodes
    names = pool_names([kinds[offer] for offer in sorted({node.offer for node in nodes})])
    content: dict[int, list[Placed]] = {}
    for entry in made.offered.placed(nodes):
        content.setdefault(entry.node, []).append(entry)
    found: dict[NodeKind, ServicePool] = {}
    for number, offer in enumerate(node.offer for node in nodes for _ in range(node.copies)):
        kind = kinds[offer]
        pool = found.setdefault(kind, ServicePool(names[kind], kind))
        pool.nodes.append(ServiceNode(f"{pool.name}-{len(pool.nodes)}", tuple(content.get(number, ()))))
    return sorted(found.values(), key=lambda pool: pool.name)


def served(made: ServicePlan) -> dict[str, Decimal]:
    """Requests per second that the plan gives each service, by name."""
    rates: dict[str, Decimal] = {}
    for entry in made.offered.placed(made.after.nodes):
        rates[entry.service] = rates.get(entry.service, Decimal(0)) + entry.rate
    return rates


def check_gpu(key: str) -> str:
    """The key of a GPU that has MIG on EC2. Raises InputError."""
    fine = [name for name, model in gpu_models().items() if model.mig_status == "supported" and types_with(name)]
    if key not in fine:
        raise InputError([f"{key} has no MIG that is known to work on EC2. Allowed: {', '.join(fine)}"])
    return key


def types_with(gpu: str) -> list[InstanceType]:
    """The instance types with whole GPUs of a model, but for those that images for amd64 do not run on."""
    kinds = (kind for kind in instance_types().values() if kind.gpu.key == gpu)
    return [kind for kind in kinds if not kind.fractional and kind.architecture != "arm64"]


def check_candidates(names: Sequence[str], gpu: str) -> None:
    """Raises InputError unless the names are one instance type, with the GPU."""
    known = instance_types()
    allowed = ", ".join(kind.name for kind in types_with(gpu))
    for name in names:
        if known[name].gpu.key != gpu or known[name].fractional:
            what = f"{name} has {known[name].gpu.key}, and the profiles were measured on {gpu}"
            raise InputError([f"{what}. Allowed: one of {allowed}"])
    if len(names) != 1:
        raise InputError([f"{len(names)} instance types. Allowed: one of {allowed}"])


def chosen_type(request: ServiceRequest, prices: PriceTable) -> tuple[InstanceType, tuple[str, ...]]:
    """The instance type of the plan, and the types that could not be chosen as they have no price."""
    if request.candidates is not None:
        try:
            check_candidates(request.candidates, request.gpu)
        except InputError as error:
            raise InputError([f"candidates: {problem}" for problem in error.problems]) from None
        kinds = [instance_types()[name] for name in request.candidates]
    else:
        kinds = types_with(request.gpu)
    priced = [(price / kind.devices, kind.devices, kind) for kind in kinds if (price := prices.of(kind.name))]
    unpriced = tuple(kind.name for kind in kinds if not prices.of(kind.name))
    if not priced:
        raise InputError([f"no candidate has a price in {request.options.region}: {', '.join(unpriced)}"])
    return min(priced, key=lambda entry: entry[:2])[2], unpriced


def _nowhere(service: Service, request: ServiceRequest, hardware: Hardware) -> str:
    """Why a service has no place on any node; empty where it has one."""
    needs = zip((service.cpu_milli, service.ram_mib), ("millicores", "MiB of memory"), hardware.room, strict=False)
    for need, what, room in needs:
        if need > room:
            return f"a pod asks for {need} {what}; {hardware.kind.name} has {room} for pods"
    return "" if usable(service, request) else unserved(service, request.max_processes, request.latency_share)


def usable(service: Service, request: ServiceRequest) -> dict[int, Decimal]:
    """Compute slices of the GPU's instances to the requests per second of one, for those that are in time."""
    rows = segments(service, request.max_processes, request.latency_share)
    there = sizes(request.mig_gpu)
    return {size: row.rate for size, row in rows.items() if row is not None and size in there}


def _check_rates(services: Sequence[Service], request: ServiceRequest) -> None:
    problems, total = [], Decimal(0)
    for service in services:
        slices = service.rate / max(usable(service, request).values())
        total += slices
        if slices > MOST_SLICES:
            place = request.places.get(service.name, f"service {shown(service.name)}")
            problems.append(f"{place}.rate: is {service.rate} and takes {int(slices)} slices. Allowed: {MOST_SLICES}")
    if not problems and total > MOST_SLICES:
        problems.append(f"the services take {int(total)} slices. Allowed: {MOST_SLICES} in all")
    if problems:
        raise InputError(problems)


def whole_gpus(offered: Offered) -> Market:
    """The same demands with a whole GPU for each pod, which does what the largest slice does."""
    node = offered.node
    offer = Offer(node.name, node.price, {WHOLE: node.gpus}, node.room)
    return Market([offer], [_whole(demand, offered) for demand in offered.market.demands])


def largest(offered: Offered) -> str:
    """The profile of the GPU's largest slice."""
    known = sizes(offered.node.mig_gpu)
    return known[max(known)]


def _whole(demand: Demand, offered: Offered) -> Demand:
    of_kind = {kind: gives for (_, kind), gives in demand.yields.items()}
    gives = of_kind.get(largest(offered), max(of_kind.values()))
    return Demand(demand.name, demand.amount, demand.needs, {(0, WHOLE): gives})


def not_dearer(offered: Offered, before: Solution, after: Solution) -> Solution:
    """The plan, or whole GPUs as one slice each, where the method found nothing as cheap."""
    top = largest(offered)
    if after.cost <= before.cost or any(top not in rows for rows in offered.rows):
        return after
    offers = offered.market.offers
    number = next(n for n, offer in enumerate(offers) if set(offer.slots) == {top})
    nodes = tuple(_sliced(before.nodes, number, top))
    return Solution(nodes, cost(offers, nodes), min(after.bound, before.cost))


def _sliced(nodes: Sequence[Node], offer: int, profile: str) -> Iterator[Node]:
    for node in nodes:
        yield Node(offer, node.copies, {(demand, profile): count for (demand, _), count in node.takes.items()})
