"""The plan: the cheapest nodes for a request, beside what the same workloads cost on whole GPUs."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from importlib.util import find_spec

from gpuslice.catalog import InstanceType, instance_types
from gpuslice.catalog.prices import PriceTable
from gpuslice.planner import greedy
from gpuslice.planner.errors import InputError
from gpuslice.planner.guards import refusal
from gpuslice.planner.model import Workload
from gpuslice.planner.offers import Catalogue, Hardware, NodeKind, WorkloadClass, catalogue, classes
from gpuslice.planner.options import Options, Request
from gpuslice.planner.pricing import millionths, price_table
from gpuslice.planner.shortlist import least, shortlist
from gpuslice.planner.solver import Solution

_MOST_PAIRS = 4000
"""Up to so many pairs of a kind of workload and an instance type, every node that could be bought is looked at."""
_MOST_DEMANDS = 1000
_MOST_YIELDS = 20_000
"""Up to so many kinds of workloads, and pairs of one and a node that suits it, the method is exact by itself."""


@dataclass(frozen=True)
class Unplaced:
    """A workload that fits nowhere, and why."""

    workload: Workload
    reason: str


@dataclass(frozen=True)
class Answer:
    """One way to buy: the nodes of a solution, with what they were chosen from."""

    catalogue: Catalogue
    solution: Solution
    exact: bool

    @property
    def nodes(self) -> int:
        return sum(node.copies for node in self.solution.nodes)

    def by_type(self) -> dict[str, int]:
        """Instance type to nodes, by name."""
        found: dict[str, int] = {}
        for node in self.solution.nodes:
            name = self.catalogue.kinds[node.offer].hardware.kind.name
            found[name] = found.get(name, 0) + node.copies
        return dict(sorted(found.items()))


@dataclass(frozen=True)
class Plan:
    """Costs in millionths of a dollar per hour. `headroom`: the same workloads with efficiency as a limit."""

    request: Request
    prices: PriceTable
    park: tuple[Hardware, ...]
    classes: tuple[WorkloadClass, ...]
    before: Answer
    after: Answer
    headroom: Answer
    unplaced: tuple[Unplaced, ...]
    unpriced: tuple[str, ...]
    """Candidates that have no price in the region."""
    not_candidates: tuple[tuple[str, str], ...]
    """Types that were not looked at, unless named, and why."""


def plan(request: Request) -> Plan:
    """The plan of a request. Raises InputError where there is nothing to choose from."""
    request = replace(request, workloads=tuple(sorted(request.workloads, key=lambda w: w.name)))
    options = request.options
    prices = price_table(options)
    kinds, skipped = _candidates(request)
    park = tuple(Hardware(kind, millionths(prices, kind, options)) for kind in kinds if prices.of(kind.name))
    unpriced = tuple(kind.name for kind in kinds if not prices.of(kind.name))
    if not park:
        raise InputError([f"no candidate has a price in {options.region}: {', '.join(unpriced)}"])
    found = classes(request.workloads, park, options)
    after = answer(request.workloads, found, park, options)
    unplaced = _unplaced(request, after.catalogue.left_out, park)
    before = answer(request.workloads, after.catalogue.classes, park, options, ("exclusive",))
    headroom = _headroom(request, park, after)
    # What has head-room, or shares nothing, is a plan too; at the same price, head-room is for free.
    if _shares_nothing(after) and after.solution.cost < before.solution.cost:
        before = replace(after, solution=replace(after.solution, bound=before.solution.bound))
    best = min((before, headroom, after), key=lambda made: made.solution.cost)
    if best is not after:
        bound = min(after.solution.bound, best.solution.cost)
        after = replace(best, solution=replace(best.solution, bound=bound), exact=after.exact)
    headroom = after if options.headroom == "require" else min((headroom, before), key=lambda made: made.solution.cost)
    from gpuslice.planner.trim import trimmed

    after, headroom = trimmed(after), trimmed(headroom)
    return Plan(request, prices, park, tuple(found), before, after, headroom, unplaced, unpriced, tuple(skipped))


def _headroom(request: Request, park: Sequence[Hardware], after: Answer) -> Answer:
    if request.options.headroom == "require":
        return after
    options = replace(request.options, headroom="require")
    if not any(node.mode == "time-slicing" for node in _kinds(after)):
        return after
    return answer(request.workloads, classes(request.workloads, park, options), park, options)


def _shares_nothing(made: Answer) -> bool:
    return all(kind.mode == "exclusive" for kind in _kinds(made))


def _kinds(made: Answer) -> list[NodeKind]:
    return [made.catalogue.kinds[node.offer] for node in made.solution.nodes]


def answer(
    workloads: Sequence[Workload],
    found: Sequence[WorkloadClass],
    park: Sequence[Hardware],
    options: Options,
    modes: Sequence[str] = ("exclusive", "time-slicing", "mig"),
) -> Answer:
    """The cheapest nodes that were found for some classes, with some modes."""
    exact = exact_wanted(options)
    small = len(found) * len(park) <= _MOST_PAIRS or options.method == "exact"
    amounts = [sum(workloads[member].count for member in cls.members) for cls in found]
    if small:
        bought = catalogue(workloads, found, park, modes)
    else:
        bought = shortlist(amounts, [workloads[cls.members[0]].name for cls in found], found, park, modes)
    if options.method == "auto":
        demands = bought.market.demands
        exact = exact and len(demands) <= _MOST_DEMANDS and sum(len(d.yields) for d in demands) <= _MOST_YIELDS
    solution = _solved(bought, options.seconds if exact else 0)
    if not small or rounded(workloads, bought.classes):
        bound = least(workloads, bought.classes, park, modes)
        solution = replace(solution, bound=min(solution.cost, bound))
    return Answer(bought, solution, exact)


def rounded(workloads: Sequence[Workload], found: Sequence[WorkloadClass]) -> bool:
    """Whether some class asks for more CPU or memory than one of its workloads: then the solver's bound is too high."""
    return any(
        (workloads[member].cpu_milli, workloads[member].ram_mib) != cls.needs[:2]
        for cls in found
        for member in cls.members
    )


def _solved(bought: Catalogue, seconds: float) -> Solution:
    if not seconds:
        return greedy.solve(bought.market)
    from gpuslice.planner import exact

    return exact.solve(bought.market, seconds)


def exact_wanted(options: Options) -> bool:
    """Whether the exact method is wanted and can be had."""
    if options.method == "exact" and find_spec("highspy") is None:
        raise InputError(["the exact method needs the Python package highspy. Allowed: --method greedy"])
    return options.method != "greedy" and find_spec("highspy") is not None


def _candidates(request: Request) -> tuple[list[InstanceType], list[tuple[str, str]]]:
    """The instance types to choose from, and those of the catalogue that are left out unless they are named."""
    known = instance_types()
    if request.candidates is not None:
        # In the catalogue's order, so that the answer does not hang on theirs.
        return [kind for name, kind in known.items() if name in request.candidates], []
    kinds, skipped = [], []
    for kind in known.values():
        reason = _not_by_default(kind)
        if reason:
            skipped.append((kind.name, reason))
        else:
            kinds.append(kind)
    return kinds, skipped


def _not_by_default(kind: InstanceType) -> str:
    if kind.architecture == "arm64":
        return "arm64: images for amd64 do not run on it"
    return "a fraction of a GPU, whose driver is NVIDIA's GRID driver" if kind.fractional else ""


def _unplaced(request: Request, left_out: Iterable[WorkloadClass], park: Sequence[Hardware]) -> tuple[Unplaced, ...]:
    numbers = sorted(member for cls in left_out for member in cls.members)
    workloads = [request.workloads[number] for number in numbers]
    return tuple(Unplaced(w, nowhere(w, park, request.options)) for w in workloads)


def nowhere(workload: Workload, park: Sequence[Hardware], options: Options) -> str:
    """Why a workload fits on no candidate: the reason of the candidate that has most of what it wants."""
    best = max(park, key=lambda h: (h.gpu.compute * h.gpu.memory_mib, h.room, h.kind.name))
    reasons = dict.fromkeys(no_node(workload, hardware, options) for hardware in (best, *park))
    reasons.pop("", None)
    first = next(iter(reasons), "no way of sharing suits it")
    more = len(park) - 1
    return first + (f"; and no other candidate of {more} suits it" if more else "")


def no_node(workload: Workload, hardware: Hardware, options: Options) -> str:
    """Why a workload does not even fit alone onto a node of a type; empty where it does."""
    reason = refusal(workload, hardware.gpu, "exclusive", options)
    if reason:
        return reason
    for what, need, room in zip(
        ("millicores", "MiB of memory"), (workload.cpu_milli, workload.ram_mib), hardware.room, strict=False
    ):
        if need > room:
            return f"asks for {need} {what}; {hardware.kind.name} has {room} for pods"
    return ""
