"""The best answer that HiGHS finds in a given time, and a proven bound.

An integer programme over nodes and slots: whole numbers of nodes of each offer, and of slots that each demand takes of
each kind. Where pods of any mixture find room on a node, that is exact. For the other offers it takes patterns: what
one node holds. All of them where they are few, else those that column generation asks for; the bound then is that of
the linear programme over all patterns, after Farley (Operations Research 38, 1990).
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from math import ceil, floor, gcd

from gpuslice.planner import greedy
from gpuslice.planner.milp import TOLERANCE, Programme, Result
from gpuslice.planner.node_patterns import Pattern, all_patterns, best_pattern, tight
from gpuslice.planner.solver import ROOM, Market, Node, Solution, cost, fill, fill_given, meets, pods_in

_PATTERNS = 4000
"""More patterns than this are not listed but generated."""
_SLACKS = (0.98, 0.94, 0.88)


def solve(market: Market, seconds: float = 10.0) -> Solution:
    """The cheapest nodes found within the time, with the best proven bound.

    Raises ImportError where highspy is not installed.
    """
    search = _Search(market, greedy.solve(market), time.monotonic() + seconds)
    offers = [offer for offer in tight(market) if market.offers[offer].price < search.best.cost]
    if not search.done:
        search.take(_Model(market, search.best.cost, {}), 0.2)
    narrow = frozenset[int]() if search.done else _worthwhile(market, search)
    _with_slack(market, search, {}, narrow, 0.2)
    if offers and not search.done:
        _with_slack(market, search, _listed_or_generated(market, search, offers), narrow, 0.35)
    return search.best


def _with_slack(
    market: Market, search: _Search, patterns: Mapping[int, Sequence[Pattern]], narrow: frozenset[int], share: float
) -> None:
    """With less room on nodes than there is, what the programme puts onto them finds a place more often."""
    for slack in _SLACKS:
        if not search.done:
            search.take(_Model(market, search.best.cost, patterns, slack, narrow), share, all_columns=False)


def _worthwhile(market: Market, search: _Search) -> frozenset[int]:
    """The offers that cost nothing extra in the linear programme: a good answer needs few others."""
    model = _Model(market, search.best.cost, {})
    result = model.programme.solve(search.seconds, whole=False)
    if result.duals is None:
        return frozenset(market.by_offer)
    found = set()
    for column, offer in model.node_columns:
        worth = sum(result.duals[row] * value for row, value in model.programme.columns[column].items())
        if market.offers[offer].price - worth <= 1:
            found.add(offer)
    return frozenset(found)


def _listed_or_generated(market: Market, search: _Search, offers: Sequence[int]) -> Mapping[int, Sequence[Pattern]]:
    patterns = all_patterns(market, offers, _PATTERNS, time.monotonic() + 0.3 * search.seconds)
    if patterns is not None:
        search.take(_Model(market, search.best.cost, patterns), 0.5)
        return patterns
    patterns, least = _generated(market, search, offers)
    search.raise_bound(least)
    search.take(_Model(market, search.best.cost, patterns), 0.5, all_columns=False)
    return patterns


class _Search:
    """The best answer and the best bound so far."""

    def __init__(self, market: Market, start: Solution, end: float) -> None:
        self.market, self.best, self.end = market, start, end
        self.step = gcd(*(market.offers[offer].price for offer in market.by_offer))

    @property
    def done(self) -> bool:
        return self.best.cost <= self.best.bound

    @property
    def seconds(self) -> float:
        return self.end - time.monotonic()

    def raise_bound(self, least: float, optimal: bool = False) -> None:
        """Costs come in multiples of a step, so a bound does too. The value of an optimum is itself a whole number."""
        if least <= 0:
            return
        slack = 0.5 if optimal else TOLERANCE * max(1.0, abs(least))
        bound = ceil((least - slack) / self.step) * self.step
        self.best = Solution(self.best.nodes, self.best.cost, min(self.best.cost, max(self.best.bound, bound)))

    def take(self, model: _Model, share: float, all_columns: bool = True) -> None:
        """Solves a model in a share of the time that is left. Without all columns its bound says nothing."""
        result = model.programme.solve(self.seconds * share)
        if all_columns:
            self.raise_bound(result.bound, result.optimal)
        if result.values is not None:
            nodes = tuple(model.nodes(result.values))
            price = cost(self.market.offers, nodes)
            if price < self.best.cost and meets(self.market, nodes):
                self.best = Solution(nodes, price, min(price, self.best.bound))


def _generated(market: Market, search: _Search, offers: Sequence[int]) -> tuple[dict[int, list[Pattern]], float]:
    """Patterns that the linear programme over all patterns wants, and its proven bound."""
    patterns: dict[int, list[Pattern]] = {offer: [] for offer in offers}
    for node in search.best.nodes:
        if node.offer in patterns:
            patterns[node.offer].append(dict(node.takes))
    for offer in offers:
        patterns[offer] += [_alone(market, offer, key) for key in market.by_offer[offer]]
    least = 0.0
    end = time.monotonic() + 0.6 * search.seconds
    while time.monotonic() < end:
        model = _Model(market, search.best.cost, patterns)
        result = model.programme.solve(end - time.monotonic(), whole=False)
        if result.duals is None:
            break
        bound, grown = _priced(market, model, result, patterns, end)
        least = max(least, bound)
        if not grown or least >= result.bound * (1 - TOLERANCE):
            break
    return patterns, least


def _alone(market: Market, offer: int, key: tuple[int, str]) -> Pattern:
    """As many pods of one demand as a node holds."""
    needs, room = market.demands[key[0]].needs, market.offers[offer].room
    return {key: min(market.offers[offer].slots[key[1]], pods_in(room, needs))}


def _priced(
    market: Market, model: _Model, result: Result, patterns: dict[int, list[Pattern]], end: float
) -> tuple[float, bool]:
    """Adds each offer's best pattern under the duals, where it beats the node's price. Bound, and whether any did."""
    assert result.duals is not None
    values = [max(0.0, result.duals[row]) / s for row, s in zip(model.demand_rows, model.scales, strict=True)]
    excess, grown = 1.0, False
    for offer, known in patterns.items():
        pattern, most = best_pattern(market, offer, values, max(0.1, end - time.monotonic()))
        excess = max(excess, most / market.offers[offer].price)
        worth = sum(values[n] * market.demands[n].yields[offer, kind] * c for (n, kind), c in pattern.items())
        if worth > market.offers[offer].price * (1 + TOLERANCE) and pattern not in known:
            known.append(pattern)
            grown = True
    return result.bound / excess, grown


class _Model:
    """The programme of a market. Offers in `patterns` come as patterns, the others as nodes and slots, by family."""

    def __init__(
        self,
        market: Market,
        ceiling: int,
        patterns: Mapping[int, Sequence[Pattern]],
        slack: float = 1.0,
        only: frozenset[int] | None = None,
    ) -> None:
        self.market, self.patterns, self.ceiling, self.slack = market, patterns, ceiling, slack
        self.programme = Programme()
        # In slots: rates run into the millions.
        self.scales = [max(demand.yields.values()) for demand in market.demands]
        amounts = [demand.amount / scale for demand, scale in zip(market.demands, self.scales, strict=True)]
        self.demand_rows = [self.programme.row(lower=amount) for amount in amounts]
        self.pattern_columns: list[tuple[int, int, Pattern]] = []
        self.node_columns: list[tuple[int, int]] = []
        self.take_columns: list[tuple[int, int, tuple[int, ...], str]] = []
        families: dict[str, list[int]] = {}
        wanted = market.by_offer if only is None else only
        for offer in sorted(o for o in wanted if market.offers[o].price <= ceiling):
            if offer in patterns:
                self._pattern_columns(offer)
            else:
                families.setdefault(market.offers[offer].family or f"offer {offer}", []).append(offer)
        for offers in families.values():
            self._slot_columns(tuple(offers))

    def _most(self, offer: int) -> float:
        return float(self.ceiling // self.market.offers[offer].price)

    def part(self, demand: int, offer: int, kind: str) -> float:
        """What one slot gives, in units of the demand's best slot."""
        return self.market.demands[demand].yields[offer, kind] / self.scales[demand]

    def _pattern_columns(self, offer: int) -> None:
        for pattern in self.patterns[offer]:
            entries: dict[int, float] = {}
            for (demand, kind), count in pattern.items():
                row = self.demand_rows[demand]
                entries[row] = entries.get(row, 0.0) + count * self.part(demand, offer, kind)
            column = self.programme.column(self.market.offers[offer].price, self._most(offer), entries)
            self.pattern_columns.append((column, offer, pattern))

    def _slot_columns(self, offers: tuple[int, ...]) -> None:
        suited = {key: offer for offer in offers for key in self.market.by_offer[offer]}
        room = self.market.offers[offers[0]].room
        slot_rows = {kind: self.programme.row(upper=0.0) for kind in sorted({kind for _, kind in suited})}
        room_rows = {d: self.programme.row(upper=0.0) for d in range(ROOM) if self._scarce(offers, d)}
        # Added-up room lets seven pods onto two nodes of which each holds three: so each demand has a row of its own.
        alone = {number: pods_in(room, self.market.demands[number].needs) for number, _ in suited}
        slots = max(sum(self.market.offers[offer].slots.values()) for offer in offers)
        alone_rows = {number: self.programme.row(upper=0.0) for number, pods in alone.items() if pods < slots}
        shared = dict.fromkeys(room_rows.values(), -self.slack)
        shared |= {row: -float(alone[number]) for number, row in alone_rows.items()}
        for offer in offers:
            bought = self.market.offers[offer]
            entries = {row: -float(bought.slots[k]) for k, row in slot_rows.items() if k in bought.slots}
            self.node_columns.append((self.programme.column(bought.price, self._most(offer), entries | shared), offer))
        for (number, kind), offer in suited.items():
            demand = self.market.demands[number]
            takes = {self.demand_rows[number]: self.part(number, offer, kind), slot_rows[kind]: 1.0}
            takes |= {row: demand.needs[d] / room[d] for d, row in room_rows.items() if demand.needs[d]}
            takes |= {alone_rows[number]: 1.0} if number in alone_rows else {}
            limit = -(-demand.amount // demand.yields[offer, kind])
            self.take_columns.append((self.programme.column(0.0, limit, takes), number, offers, kind))

    def _scarce(self, offers: Sequence[int], dimension: int) -> bool:
        return any(
            max(self.market.demands[n].needs[dimension] for n, _ in self.market.by_offer[offer])
            * sum(self.market.offers[offer].slots.values())
            > self.market.offers[offer].room[dimension]
            for offer in offers
        )

    def nodes(self, values: Sequence[float]) -> list[Node]:
        """The nodes of a solution; what finds no place on them is packed anew."""
        bought: dict[int, int] = {offer: _whole(values[column]) for column, offer in self.node_columns}
        wanted: dict[tuple[int, ...], dict[tuple[int, str], int]] = {}
        for column, number, offers, kind in self.take_columns:
            if _whole(values[column]):
                wanted.setdefault(offers, {})[number, kind] = _whole(values[column])
        for column, offer, pattern in self.pattern_columns:
            copies = _whole(values[column])
            bought[offer] = bought.get(offer, 0) + copies
            for key, count in pattern.items() if copies else ():
                takes = wanted.setdefault((offer,), {})
                takes[key] = takes.get(key, 0) + count * copies
        self._give_back(wanted)
        nodes: list[Node] = []
        rest: dict[int, int] = {}
        for offers, takes in sorted(wanted.items()):
            placed, left = self._placed(offers, takes, bought, values)
            nodes += placed
            for (number, kind), count in left.items():
                gives = next(g for o in offers if (g := self.market.demands[number].yields.get((o, kind))))
                rest[number] = rest.get(number, 0) + count * gives
        return greedy.merged([*nodes, *greedy.retail(self.market, rest)])

    def _placed(
        self,
        offers: tuple[int, ...],
        takes: dict[tuple[int, str], int],
        bought: Mapping[int, int],
        values: Sequence[float],
    ) -> tuple[list[Node], dict[tuple[int, str], int]]:
        """Pods on the nodes that were bought for them. What found no place comes second."""
        if len(offers) > 1:
            return fill_given(self.market, (o for o in offers for _ in range(bought[o])), takes)
        nodes = fill(self.market, offers[0], takes)
        if sum(node.copies for node in nodes) <= bought[offers[0]]:
            return nodes, {}
        if offers[0] in self.patterns:
            return self._as_patterns(offers[0], takes, values), {}
        return fill_given(self.market, [offers[0]] * bought[offers[0]], takes)

    def _as_patterns(self, offer: int, wanted: Mapping[tuple[int, str], int], values: Sequence[float]) -> list[Node]:
        left, kept = dict(wanted), []
        for column, _, pattern in (entry for entry in self.pattern_columns if entry[1] == offer):
            for _ in range(_whole(values[column])):
                content = {key: min(count, left.get(key, 0)) for key, count in pattern.items()}
                content = {key: count for key, count in content.items() if count}
                for key, count in content.items():
                    left[key] -= count
                if content:
                    kept.append(Node(offer, 1, content))
        return kept

    def _give_back(self, wanted: Mapping[tuple[int, ...], dict[tuple[int, str], int]]) -> None:
        """Takes away what a demand has more than it needs."""
        taken: dict[int, list[tuple[int, tuple[int, ...], str]]] = {}
        for offers, takes in wanted.items():
            for number, kind in takes:
                gives = next(g for o in offers if (g := self.market.demands[number].yields.get((o, kind))))
                taken.setdefault(number, []).append((-gives, offers, kind))
        for number, slots in taken.items():
            has = sum(-gives * wanted[offers][number, kind] for gives, offers, kind in slots)
            over = has - self.market.demands[number].amount
            for gives, offers, kind in sorted(slots):
                back = min(wanted[offers][number, kind], over // -gives)
                if back > 0:
                    wanted[offers][number, kind] -= back
                    over += back * gives


def _whole(value: float) -> int:
    return floor(value + 0.5)
