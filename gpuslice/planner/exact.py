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
from gpuslice.planner.solver import ROOM, Market, Node, Slot, Solution, cost, fill, meets

_PATTERNS = 4000
"""More patterns than this are not listed but generated."""
_NOTHING: Mapping[int, Sequence[Pattern]] = {}


def solve(market: Market, seconds: float = 10.0) -> Solution:
    """The cheapest nodes found within the time, with the best proven bound.

    Raises ImportError where highspy is not installed.
    """
    search = _Search(market, greedy.solve(market), time.monotonic() + seconds)
    if not search.done:
        search.take(_Model(market, search.best.cost, _NOTHING), 0.4)
    if not search.done:
        offers = [offer for offer in tight(market) if market.offers[offer].price < search.best.cost]
        patterns = all_patterns(market, offers, _PATTERNS)
        if patterns is None:
            patterns, least = _generated(market, search, offers)
            search.raise_bound(least)
            search.take(_Model(market, search.best.cost, patterns), 1.0, all_columns=False)
        elif offers:
            search.take(_Model(market, search.best.cost, patterns), 1.0)
    return search.best


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
    return {key: min(market.offers[offer].slots[key[1]], *(r // n for n, r in zip(needs, room, strict=True) if n))}


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
    """The programme of a market. Offers in `patterns` come as patterns, the others as nodes and slots."""

    def __init__(self, market: Market, ceiling: int, patterns: Mapping[int, Sequence[Pattern]]) -> None:
        self.market, self.patterns = market, patterns
        self.programme = Programme()
        # In slots: rates run into the millions.
        self.scales = [max(demand.yields.values()) for demand in market.demands]
        amounts = [demand.amount / scale for demand, scale in zip(market.demands, self.scales, strict=True)]
        self.demand_rows = [self.programme.row(lower=amount) for amount in amounts]
        self.pattern_columns: list[tuple[int, int, Pattern]] = []
        self.take_columns: list[tuple[int, int, Slot]] = []
        for offer in sorted(market.by_offer):
            most = float(ceiling // market.offers[offer].price)
            if not most:
                continue
            if offer in patterns:
                self._pattern_columns(offer, most)
            else:
                self._slot_columns(offer, most)

    def part(self, demand: int, offer: int, kind: str) -> float:
        """What one slot gives, in units of the demand's best slot."""
        return self.market.demands[demand].yields[offer, kind] / self.scales[demand]

    def _pattern_columns(self, offer: int, most: float) -> None:
        for pattern in self.patterns[offer]:
            entries: dict[int, float] = {}
            for (demand, kind), count in pattern.items():
                row = self.demand_rows[demand]
                entries[row] = entries.get(row, 0.0) + count * self.part(demand, offer, kind)
            column = self.programme.column(self.market.offers[offer].price, most, entries)
            self.pattern_columns.append((column, offer, pattern))

    def _slot_columns(self, offer: int, most: float) -> None:
        bought, suited = self.market.offers[offer], self.market.by_offer[offer]
        slot_rows = {kind: self.programme.row(upper=0.0) for kind in sorted({kind for _, kind in suited})}
        room_rows = {d: self.programme.row(upper=0.0) for d in range(ROOM) if self._scarce(offer, d)}
        entries = {row: -float(bought.slots[kind]) for kind, row in slot_rows.items()}
        self.programme.column(bought.price, most, entries | dict.fromkeys(room_rows.values(), -1.0))
        for number, kind in suited:
            demand = self.market.demands[number]
            takes = {self.demand_rows[number]: self.part(number, offer, kind), slot_rows[kind]: 1.0}
            takes |= {row: demand.needs[d] / bought.room[d] for d, row in room_rows.items() if demand.needs[d]}
            limit = -(-demand.amount // demand.yields[offer, kind])
            self.take_columns.append((self.programme.column(0.0, limit, takes), number, (offer, kind)))

    def _scarce(self, offer: int, dimension: int) -> bool:
        most = max(self.market.demands[n].needs[dimension] for n, _ in self.market.by_offer[offer])
        bought = self.market.offers[offer]
        return most * sum(bought.slots.values()) > bought.room[dimension]

    def nodes(self, values: Sequence[float]) -> list[Node]:
        """The nodes of a solution. What a demand takes more than it needs is given back."""
        takes: dict[int, dict[tuple[int, str], int]] = {}
        for column, number, (offer, kind) in self.take_columns:
            if floor(values[column] + 0.5):
                takes.setdefault(offer, {})[number, kind] = floor(values[column] + 0.5)
        for column, offer, pattern in self.pattern_columns:
            wanted = takes.setdefault(offer, {})
            for key, count in pattern.items():
                wanted[key] = wanted.get(key, 0) + count * floor(values[column] + 0.5)
        self._give_back(takes)
        return [node for offer in sorted(takes) for node in self._filled(offer, takes[offer], values)]

    def _filled(self, offer: int, wanted: dict[tuple[int, str], int], values: Sequence[float]) -> list[Node]:
        """First fit, unless the patterns themselves are fewer nodes."""
        nodes = fill(self.market, offer, wanted)
        bought = sum(floor(values[c] + 0.5) for c, o, _ in self.pattern_columns if o == offer)
        if offer not in self.patterns or sum(node.copies for node in nodes) <= bought:
            return nodes
        left, kept = dict(wanted), []
        for column, _, pattern in (entry for entry in self.pattern_columns if entry[1] == offer):
            for _ in range(floor(values[column] + 0.5)):
                content = {key: min(count, left.get(key, 0)) for key, count in pattern.items()}
                content = {key: count for key, count in content.items() if count}
                for key, count in content.items():
                    left[key] -= count
                if content:
                    kept.append(Node(offer, 1, content))
        return kept

    def _give_back(self, takes: dict[int, dict[tuple[int, str], int]]) -> None:
        for number, demand in enumerate(self.market.demands):
            mine = [(offer, kind) for offer in takes for n, kind in takes[offer] if n == number]
            over = sum(takes[o][number, k] * demand.yields[o, k] for o, k in mine) - demand.amount
            for offer, kind in sorted(mine, key=lambda s: (-demand.yields[s], s)):
                back = min(takes[offer][number, kind], over // demand.yields[offer, kind])
                if back > 0:
                    takes[offer][number, kind] -= back
                    over -= back * demand.yields[offer, kind]
