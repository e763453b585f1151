"""The fewest equal nodes of a market, and on so many nodes the fewest slots by weight, each with a proof.

For markets where every offer has the same price, nothing but slots is scarce, and a slot of one kind gives a demand the
same on every offer: MIG layouts of one GPU. Then only the number of slots of each kind matters, not whose node they
are on, and the programme has one column for each demand and kind.

The bound does not rest on the solver's word. Any prices for slots that no layout exceeds prove one: a demand costs at
least its cheapest cover at those prices, in whole slots, and all of that is counted in whole numbers. The solver only
suggests the prices, by Kelley's cutting planes (Journal of SIAM 8, 1960). Where that bound stays below the answer, two
differently written programmes are solved, and the lower of their bounds counts: HiGHS 1.15.1 has been seen to call an
answer optimal that was one slot off.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from fractions import Fraction
from itertools import islice
from math import ceil, floor

from gpuslice.planner.milp import TOLERANCE, Programme
from gpuslice.planner.solver import Market, Node

_UNIT = 10**6
"""Prices of slots are whole millionths of a node, or of a unit of weight."""
_LOOKS = 5000
"""Partial covers looked at for one demand; past them the bound of its linear relaxation counts."""
_ROUNDS = 60
_LONGEST_TABLE = 20_000


@dataclass(frozen=True)
class Least:
    """A number, what it cannot be below, and whether that was proven in whole numbers, without the solver's word."""

    value: int
    bound: int
    certified: bool


@dataclass(frozen=True)
class Answer:
    """Nodes that meet every demand; how many they are, and the weight of the slots that are taken."""

    nodes: tuple[Node, ...]
    count: Least
    weight: Least


@dataclass(frozen=True)
class _Need:
    amount: int
    yields: Mapping[str, int]
    least_weight: int


@dataclass
class _Plan:
    """Numbers of nodes by offer, and of slots by demand and kind."""

    nodes: list[int]
    takes: list[dict[str, int]]


@dataclass
class _Problem:
    layouts: list[Mapping[str, int]]
    needs: list[_Need]
    weights: Mapping[str, int]
    end: float
    covers: list[list[Mapping[str, int]]] = field(default_factory=list)
    """For each demand the covers that cutting planes were made of."""

    def seconds(self, share: float = 1.0) -> float:
        return max(0.05, share * (self.end - time.monotonic()))

    def weight(self, plan: _Plan) -> int:
        return sum(self.weights[kind] * count for takes in plan.takes for kind, count in takes.items())

    def valid(self, plan: _Plan) -> bool:
        """Whether every demand is met on slots that are there. In whole numbers: HiGHS has tolerances."""
        for kind in self.weights:
            there = sum(layout.get(kind, 0) * count for layout, count in zip(self.layouts, plan.nodes, strict=True))
            if sum(takes.get(kind, 0) for takes in plan.takes) > there:
                return False
        given = (sum(need.yields[k] * c for k, c in t.items()) for need, t in zip(self.needs, plan.takes, strict=True))
        return all(have >= need.amount for have, need in zip(given, self.needs, strict=True))


def solve(market: Market, weights: Mapping[str, int], seconds: float = 5.0) -> Answer:
    """The fewest nodes, and then the least weight; `weights`: kind of slot to its weight.

    The same market has the same answer whatever the order of its demands, unless time runs out. Raises ValueError for a
    market of another kind (see above), ImportError where highspy is not installed.
    """
    problem = _problem(market, weights, time.monotonic() + seconds)
    if not problem.needs:
        return Answer((), Least(0, 0, True), Least(0, 0, True))
    plan, count = _least(problem, _start(problem), None, 0.6)
    plan, weight = _least(problem, plan, count.value, 1.0)
    nodes = tuple(node for node in _nodes(problem, plan) if node.takes)
    # The second stage may leave a node empty, where time ran out before the first knew that it could.
    used = sum(node.copies for node in nodes)
    return Answer(nodes, replace(count, value=used), weight)


def _problem(market: Market, weights: Mapping[str, int], end: float) -> _Problem:
    if len({offer.price for offer in market.offers}) > 1:
        raise ValueError("the offers differ in price")
    needs = []
    for demand in market.demands:
        yields: dict[str, int] = {}
        for (offer, kind), amount in demand.yields.items():
            if yields.setdefault(kind, amount) != amount:
                raise ValueError(f"demand {demand.name}: kind {kind} yields differently on different offers")
            slots, room = sum(market.offers[offer].slots.values()), market.offers[offer].room
            if any(need * slots > there for need, there in zip(demand.needs, room, strict=True)):
                raise ValueError(f"demand {demand.name}: not every slot of {market.offers[offer].name} has room for it")
        needs.append(_Need(demand.amount, yields, _least_weight(demand.amount, yields, weights)))
    return _Problem([offer.slots for offer in market.offers], needs, weights, end)


def _least_weight(amount: int, yields: Mapping[str, int], weights: Mapping[str, int]) -> int:
    """The least weight that covers an amount: exact up to a weight of `_LONGEST_TABLE`, a lower bound above."""
    best = [0]
    while best[-1] < amount and len(best) <= _LONGEST_TABLE:
        size = len(best)
        with_last = (best[size - weights[k]] + y for k, y in yields.items() if weights[k] <= size)
        best.append(max(with_last, default=0))
    if best[-1] >= amount:
        return len(best) - 1
    return min(-(-amount * weights[kind] // y) for kind, y in yields.items())


def _least(problem: _Problem, plan: _Plan, nodes: int | None, share: float) -> tuple[_Plan, Least]:
    """The best plan by nodes, or by weight on at most so many nodes, in a share of the time that is left."""
    end = time.monotonic() + problem.seconds(share)

    def value(found: _Plan) -> int:
        return sum(found.nodes) if nodes is None else problem.weight(found)

    proven, solver = 0, []
    for scaled in (False, True):
        found, bound = _programmed(problem, nodes, sum(plan.nodes), scaled, 0.6 * (end - time.monotonic()))
        solver.append(bound)
        if found is not None and sum(found.nodes) <= sum(plan.nodes) and value(found) < value(plan):
            plan = found
        proven = max(proven, _certified(problem, nodes, plan, value(plan), 0.5 * (end - time.monotonic())))
        if proven >= value(plan):
            break
    assert proven <= value(plan), "a bound that is counted in whole numbers is above an answer"
    bound = min(value(plan), max(proven, min(solver)))
    return plan, Least(value(plan), bound, proven >= bound)


def _programmed(
    problem: _Problem, nodes: int | None, most: int, scaled: bool, seconds: float
) -> tuple[_Plan | None, int]:
    """HiGHS's plan on at most so many nodes, and its bound.

    `scaled`: amounts in units of a demand's best slot, else as whole numbers.
    """
    programme = Programme()
    rows = {kind: programme.row(upper=0.0) for kind in problem.weights}
    total = programme.row(upper=float(most))
    for layout in problem.layouts:
        entries = {rows[kind]: -float(count) for kind, count in layout.items()}
        programme.column(1.0 if nodes is None else 0.0, float(most), entries | {total: 1.0})
    columns = []
    for need in problem.needs:
        scale = max(need.yields.values()) if scaled else 1
        covered, heavy = programme.row(lower=need.amount / scale), programme.row(lower=float(need.least_weight))
        for kind, gives in need.yields.items():
            weight = float(problem.weights[kind])
            entries = {rows[kind]: 1.0, covered: gives / scale, heavy: weight}
            columns.append(programme.column(0.0 if nodes is None else weight, float(-(-need.amount // gives)), entries))
    result = programme.solve(seconds)
    # The value of an optimum is a whole number; a bound is off by a relative tolerance.
    least = result.bound - (0.5 if result.optimal else TOLERANCE * max(1.0, abs(result.bound)))
    bound = ceil(least) if least > 0 else 0
    return (_plan(problem, columns, result.values) if result.values is not None else None), bound


def _plan(problem: _Problem, columns: Sequence[int], values: Sequence[float]) -> _Plan | None:
    nodes = [floor(value + 0.5) for value in values[: len(problem.layouts)]]
    rest = iter(columns)
    takes = []
    for need in problem.needs:
        counts = {kind: floor(values[next(rest)] + 0.5) for kind in need.yields}
        takes.append(_given_back(need, {kind: count for kind, count in counts.items() if count}))
    plan = _Plan(nodes, takes)
    return plan if problem.valid(plan) else None


def _given_back(need: _Need, takes: dict[str, int]) -> dict[str, int]:
    """Without slots that the demand is met without."""
    over = sum(need.yields[kind] * count for kind, count in takes.items()) - need.amount
    for kind in sorted(takes, key=lambda k: (-need.yields[k], k)):
        back = max(0, min(takes[kind], over // need.yields[kind]))
        takes[kind] -= back
        over -= back * need.yields[kind]
    return {kind: count for kind, count in takes.items() if count}


def _start(problem: _Problem) -> _Plan:
    """Every demand on the least weight, and nodes that have the most of what is left, one after the other."""
    takes = [cheapest_cover(need.amount, need.yields, problem.weights)[1] for need in problem.needs]
    left = {kind: sum(cover.get(kind, 0) for cover in takes) for kind in problem.weights}
    nodes = [0] * len(problem.layouts)
    while any(left.values()):
        used = [{kind: min(count, left[kind]) for kind, count in layout.items()} for layout in problem.layouts]
        most = [sum(problem.weights[kind] * count for kind, count in part.items()) for part in used]
        best = most.index(max(most))
        copies = min(left[kind] // count for kind, count in used[best].items() if count)
        nodes[best] += copies
        for kind, count in used[best].items():
            left[kind] -= count * copies
    return _Plan(nodes, takes)


def _certified(problem: _Problem, nodes: int | None, plan: _Plan, target: int, seconds: float) -> int:
    """A bound in whole numbers; stops where it reaches the target, or gains no more."""
    end = time.monotonic() + seconds
    if not problem.covers:
        problem.covers = [[{kind: -(-need.amount // y)} for kind, y in need.yields.items()] for need in problem.needs]
    for covers, takes in zip(problem.covers, plan.takes, strict=True):
        if takes not in covers:
            covers.append(takes)
    best = _priced(problem, nodes, {kind: weight * _UNIT for kind, weight in problem.weights.items()}, end)[0]
    for _ in range(_ROUNDS):
        prices = _suggested(problem, nodes, end - time.monotonic()) if best < target else None
        if prices is None:
            break
        bound, grown = _priced(problem, nodes, prices, end)
        best = max(best, bound)
        if best >= target or not grown or time.monotonic() > end:
            break
    return best


def _suggested(problem: _Problem, nodes: int | None, seconds: float) -> dict[str, int] | None:
    """The prices of slots, in units, that look best by the covers that are known."""
    programme = Programme()
    kinds = {kind: index for index, kind in enumerate(problem.weights)}
    entries: list[dict[int, float]] = [{} for _ in kinds]
    costs: list[dict[int, float]] = [{} for _ in problem.needs]
    dearest: dict[int, float] = {}
    for layout in problem.layouts:
        row = programme.row(upper=1.0 if nodes is None else 0.0)
        dearest[row] = -1.0
        for kind, count in layout.items():
            entries[kinds[kind]][row] = float(count)
    for number, covers in enumerate(problem.covers):
        for cover in covers:
            own = 0 if nodes is None else sum(problem.weights[kind] * count for kind, count in cover.items())
            row = programme.row(upper=float(own))
            costs[number][row] = 1.0
            for kind, count in cover.items():
                entries[kinds[kind]][row] = -float(count)
    for of_kind in entries:
        programme.column(0.0, 100.0, of_kind)
    for of_need in costs:
        programme.column(-1.0, 1e12, of_need)
    if nodes is not None:
        programme.column(float(nodes), 1e6, dearest)
    result = programme.solve(seconds, whole=False)
    if result.values is None:
        return None
    return {kind: max(0, floor(result.values[index] * _UNIT + 0.5)) for kind, index in kinds.items()}


def _priced(problem: _Problem, nodes: int | None, prices: Mapping[str, int], end: float) -> tuple[int, bool]:
    """The bound that prices prove, and whether a cover came up that was not known.

    By nodes: a node's slots cost at most `dearest`. By weight: slots cost their weight and the price besides, of which
    no more than `nodes * dearest` can be for what the nodes have.
    """
    dearest = max(sum(prices[kind] * count for kind, count in layout.items()) for layout in problem.layouts)
    total, grown = 0, False
    for need, known in zip(problem.needs, problem.covers, strict=True):
        own = {kind: 0 if nodes is None else problem.weights[kind] * _UNIT for kind in need.yields}
        looks = _LOOKS if time.monotonic() < end else 0
        least, cover = cheapest_cover(need.amount, need.yields, {k: own[k] + prices[k] for k in need.yields}, looks)
        total += least
        if cover not in known:
            known.append(cover)
            grown = True
    if nodes is not None:
        return max(0, -(-(total - nodes * dearest) // _UNIT)), grown
    return (-(-total // dearest) if dearest else 0), grown


def cheapest_cover(
    amount: int, yields: Mapping[str, int], prices: Mapping[str, int], looks: int = _LOOKS
) -> tuple[int, dict[str, int]]:
    """The least price of slots that together yield an amount, and a cover; a lower bound where the search is cut off.

    Depth first, the slots that give most for their price first; what is left is priced at the best of the rest.
    """
    kinds = sorted(yields, key=lambda kind: (Fraction(prices[kind], yields[kind]), -yields[kind], kind))
    single = min(kinds, key=lambda kind: (prices[kind] * -(-amount // yields[kind]), kind))
    best, cover = prices[single] * -(-amount // yields[single]), {single: -(-amount // yields[single])}
    waiting: list[tuple[int, int, int, dict[str, int]]] = [(0, amount, 0, {})]
    for _ in range(looks):
        if not waiting:
            return best, cover
        depth, left, paid, content = waiting.pop()
        kind, fewer = kinds[depth], []
        for count in range(-(-left // yields[kind]), -1, -1):
            rest, price = left - count * yields[kind], paid + count * prices[kind]
            if rest > 0:
                if depth + 1 == len(kinds):
                    break
                price_of_rest = -(-rest * prices[kinds[depth + 1]] // yields[kinds[depth + 1]])
                # One slot fewer of the kind that gives most for its price never makes the rest cheaper.
                if price + price_of_rest >= best:
                    break
                fewer.append((depth + 1, rest, price, content | {kind: count} if count else content))
            elif price < best:
                best, cover = price, content | {kind: count}
        waiting += reversed(fewer)
    return -(-amount * prices[kinds[0]] // yields[kinds[0]]), cover


def _nodes(problem: _Problem, plan: _Plan) -> list[Node]:
    """The plan on single nodes, equal ones together: demands in their order, nodes in the order of offers."""
    queues = {
        kind: iter([n for n, takes in enumerate(plan.takes) for _ in range(takes.get(kind, 0))])
        for kind in problem.weights
    }
    found: list[Node] = []
    for offer, count in enumerate(plan.nodes):
        for _ in range(count):
            takes: dict[tuple[int, str], int] = {}
            for kind, slots in problem.layouts[offer].items():
                for number in islice(queues[kind], slots):
                    takes[number, kind] = takes.get((number, kind), 0) + 1
            if found and (found[-1].offer, found[-1].takes) == (offer, takes):
                found[-1] = Node(offer, found[-1].copies + 1, takes)
            else:
                found.append(Node(offer, 1, takes))
    return found
