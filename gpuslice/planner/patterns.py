"""The fewest bins, with proof: column generation (Gilmore and Gomory, 1961) with HiGHS, and bounds in whole numbers.

A linear programme mixes patterns, a knapsack finds the pattern that its prices call for, until none is worth more than
a bin. The prices that HiGHS returns are floats. They are rounded down to a grid, and the knapsack is solved with those
whole numbers: the worth of all items over the worth of the best pattern is then a bound that no rounding can break
(Farley, 1990).
"""

from __future__ import annotations

import importlib
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from operator import mul
from typing import Any

from gpuslice.planner import knapsack
from gpuslice.planner.packing import (
    Instance,
    Items,
    Pattern,
    Patterns,
    Size,
    best_fit,
    bins_of,
    bounds,
    instance,
)

_GRID = 1 << 40
"""Steps of a price of one bin. What rounding down costs a bound: below one bin for a million million items."""
_WORTH_ADDING = _GRID + (_GRID >> 28)
"""HiGHS solves to about nine digits: a pattern has to be worth more than that to be news."""
_QUICK = 0.6
"""Share of the time in which any pattern worth adding will do."""
_INFINITE = float("inf")
_WHOLE = 1e-6
"""How far from a whole number HiGHS may leave one."""


@dataclass(frozen=True, slots=True)
class Exact:
    """A packing, and a proven number of bins that none can go below."""

    patterns: Patterns
    bound: int

    @property
    def bins(self) -> int:
        """How many bins the packing takes."""
        return bins_of(self.patterns)

    @property
    def gap(self) -> float:
        """(bins - bound) / bins: 0 says that the packing is proven best."""
        return (self.bins - self.bound) / self.bins if self.patterns else 0.0


def pack_exactly(items: Items, capacity: Size, seconds: float) -> Exact:
    """The best packing that is found in the time, with a proven bound; never worse than `pack`.

    `seconds` are for all of it; the greedy packing always runs to its end, and with 0 seconds it is the answer. Needs
    the package highspy (ModuleNotFoundError without it), unless the greedy packing is already proven best. ValueError:
    as `pack`.
    """
    start = time.monotonic()
    question = instance(items, capacity)
    patterns = best_fit(question, range(len(question.sizes)))
    bound = bounds(items, capacity).martello_toth
    if bound < bins_of(patterns) and seconds > 0:
        search = _Search(question, patterns, bound, start, seconds)
        search.run()
        patterns, bound = search.best, search.bound
    return Exact(question.answer(patterns), bound)


class _Search:
    """Bounds and packings of one question, better and better until the time is up or they meet."""

    def __init__(self, question: Instance, best: Patterns, bound: int, start: float, seconds: float) -> None:
        self.best, self.bound = best, bound
        self._fewest = bins_of(best)
        self._question = question
        self._start, self._seconds = start, seconds
        self._master = _Master(question.counts)

    def run(self) -> None:
        alone = [{c: 1} for c in range(len(self._question.sizes))]
        self._master.add_all([pattern for pattern, _ in self.best] + alone)
        # Shares of the time. First what costs least: the quick patterns alone often lead to what the bound allows.
        for share, exact in ((0.2, False), (0.6, True)):
            mix = self._generate(self._question.counts, self._until(share), exact)
            self._dive(mix, self._until(share + 0.2), exact)
        if time.monotonic() < self._until(1.0) and not self._done():
            limits = (self.bound, self._fewest - 1)
            self._offer(self._master.whole(self._question.counts, limits, self._until(1.0)))

    def _until(self, share: float) -> float:
        return self._start + share * self._seconds

    def _done(self) -> bool:
        return self._fewest <= self.bound

    def _offer(self, patterns: Patterns) -> None:
        """A packing that may hold too much or too little: made exact, and kept if it is the best so far."""
        exact = _exactly(self._question, patterns)
        if bins_of(exact) < self._fewest:
            self.best, self._fewest = exact, bins_of(exact)

    def _generate(self, counts: Sequence[int], stop: float, exact: bool) -> list[float] | None:
        """How much of each pattern the best mix takes; `exact`: over all patterns that there are, if there is time."""
        mix = None
        start = time.monotonic()
        while time.monotonic() < stop and not self._done():
            solved = self._master.relaxed(counts, stop)
            if solved is None:
                break
            mix, prices = solved
            values = [max(0, int(price * _GRID)) for price in prices]
            wanted = knapsack.Question(self._question.sizes, values, counts, self._question.capacity)
            multipliers = _multipliers(wanted, stop)
            # Only the exact search proves something: late, do it even where quick patterns are left.
            late = time.monotonic() > start + (stop - start) * _QUICK
            found = [] if exact and late else knapsack.quick(wanted, _WORTH_ADDING, multipliers)
            if exact and not found:
                found = self._priced(wanted, multipliers, stop)
            if not self._master.add_all((_filled(pattern, self._question) for pattern in found), stop):
                break
        return mix

    def _priced(self, wanted: knapsack.Question, multipliers: Sequence[int], stop: float) -> list[Pattern]:
        """The patterns that the prices call for, and the bound that the prices prove."""
        best = knapsack.solve(wanted, _WORTH_ADDING, multipliers, stop)
        # In a dive the limits are what is left: that many items alone need so many bins, so all of them do.
        worth = sum(map(mul, wanted.values, wanted.limits))
        self.bound = max(self.bound, -(-worth // best.most))
        return best.found

    def _dive(self, mix: list[float] | None, stop: float, exact: bool) -> None:
        """Takes what the mix takes whole, and mixes again for the rest, with patterns made for it."""
        left, taken = list(self._question.counts), Patterns()
        while mix and any(left) and not self._done():
            whole = [(c, int(x + _WHOLE)) for c, x in enumerate(mix) if x > 1 - _WHOLE]
            for c, bins in whole or [(max(range(len(mix)), key=mix.__getitem__), 1)]:
                pattern = {k: min(n, left[k]) for k, n in self._master.columns[c].items() if left[k]}
                if pattern:
                    taken.append((pattern, bins))
                    for k, n in pattern.items():
                        left[k] = max(0, left[k] - n * bins)
            mix = self._generate(left, stop, exact) if any(left) else None
        if taken:
            self._offer(taken)


class _Master:
    """The programme that mixes patterns so that together they hold all items."""

    def __init__(self, counts: Sequence[int]) -> None:
        self.columns: list[Pattern] = []
        self._known: set[frozenset[tuple[int, int]]] = set()
        self._highs = _solver()
        self._rows = len(counts)
        self._demand = list(counts)
        for count in counts:
            self._highs.addRow(count, _INFINITE, 0, [], [])

    def add_all(self, patterns: Iterable[Pattern], stop: float = _INFINITE) -> int:
        """How many of the patterns are new, of those that it comes to before it has to stop."""
        before = len(self.columns)
        for pattern in patterns:
            if time.monotonic() > stop:
                break
            content = frozenset(pattern.items())
            if content not in self._known:
                self._known.add(content)
                self.columns.append(pattern)
                self._highs.addCol(1.0, 0.0, _INFINITE, len(pattern), list(pattern), list(pattern.values()))
        return len(self.columns) - before

    def relaxed(self, counts: Sequence[int], stop: float) -> tuple[list[float], list[float]] | None:
        """How much of each pattern, and the price of an item of each class. None: not solved in the time."""
        for row, (old, new) in enumerate(zip(self._demand, counts, strict=True)):
            if old != new:
                self._highs.changeRowBounds(row, new, _INFINITE)
        self._demand = list(counts)
        if not _solved(self._highs, stop):
            return None
        solution = self._highs.getSolution()
        return list(solution.col_value), list(solution.row_dual)

    def whole(self, counts: Sequence[int], limits: tuple[int, int], stop: float) -> Patterns:
        """The best packing with these patterns alone, of at most so many bins; empty where none is found in time.

        `limits`: numbers of bins, from what is proven to what would be an improvement.
        """
        highs = _solver()
        least, most = limits
        for count in counts:
            highs.addRow(count, _INFINITE, 0, [], [])
        highs.addRow(least, most, 0, [], [])
        for place, pattern in enumerate(self.columns):
            if time.monotonic() > stop:
                return []
            rows = [*pattern, self._rows]
            highs.addCol(1.0, 0.0, _INFINITE, len(rows), rows, [*pattern.values(), 1])
            highs.changeColIntegrality(place, importlib.import_module("highspy").HighsVarType.kInteger)
        highs.setOptionValue("mip_abs_gap", 1 - _WHOLE)
        highs.setOptionValue("objective_target", float(least))
        _solved(highs, stop)
        if not highs.getInfo().primal_solution_status:
            return []
        bins = [round(x) for x in highs.getSolution().col_value]
        return [(pattern, n) for pattern, n in zip(self.columns, bins, strict=True) if n > 0]


def _solver() -> Any:
    # Here and by name: most plans need no solver, and loading one takes longer than they do.
    highs = importlib.import_module("highspy").Highs()
    highs.setOptionValue("output_flag", False)
    highs.setOptionValue("parallel", "off")
    highs.setOptionValue("dual_feasibility_tolerance", 1e-10)
    return highs


def _solved(highs: Any, stop: float) -> bool:
    highs.setOptionValue("time_limit", max(0.0, stop - time.monotonic()))
    highs.run()
    return bool(highs.getModelStatus() == importlib.import_module("highspy").HighsModelStatus.kOptimal)


def _multipliers(wanted: knapsack.Question, stop: float) -> list[int]:
    """What a unit of each dimension is worth in a bin filled with fractions of items; any rounding is allowed."""
    if len(wanted.capacity) == 1:
        return [1]
    highs = _solver()
    for limit in wanted.capacity:
        highs.addRow(-_INFINITE, limit, 0, [], [])
    for size, value, count in zip(wanted.sizes, wanted.values, wanted.limits, strict=True):
        used = [d for d, amount in enumerate(size) if amount]
        highs.addCol(-value / _GRID, 0.0, count, len(used), used, [size[d] for d in used])
    solved = _solved(highs, stop)
    prices = [max(0.0, -dual) for dual in highs.getSolution().row_dual] if solved else []
    worth = [price * limit for price, limit in zip(prices, wanted.capacity, strict=False)]
    if not any(worth):
        worth = [1.0] * len(wanted.capacity)
    # A whole bin has the same worth in whatever unit a dimension counts.
    return [
        int(part * _GRID) * max(wanted.capacity) // limit for part, limit in zip(worth, wanted.capacity, strict=True)
    ]


def _filled(pattern: Pattern, question: Instance) -> Pattern:
    """The pattern with what else fits, large sizes first: prices of 0 ask for nothing, but room is free."""
    full = dict(pattern)
    room = [limit - sum(question.sizes[c][d] * n for c, n in full.items()) for d, limit in enumerate(question.capacity)]
    for c, size in enumerate(question.sizes):
        fits = [left // amount for left, amount in zip(room, size, strict=True) if amount]
        more = min([question.counts[c] - full.get(c, 0), *fits])
        if more > 0:
            full[c] = full.get(c, 0) + more
            room = [left - more * amount for left, amount in zip(room, size, strict=True)]
    return full


def _exactly(question: Instance, patterns: Patterns) -> Patterns:
    """The packing without what it holds too often, and with bins for what it does not hold."""
    left, exact = list(question.counts), Patterns()
    for pattern, bins in patterns:
        while bins:
            wanted = {c: min(n, left[c]) for c, n in pattern.items() if left[c]}
            if not wanted:
                break
            alike = min([bins, *(left[c] // n for c, n in wanted.items())])
            for c, n in wanted.items():
                left[c] -= n * alike
            exact.append((wanted, alike))
            bins -= alike
    missing = [c for c, count in enumerate(left) if count]
    rest = instance([(question.sizes[c], left[c]) for c in missing], question.capacity)
    return exact + [({missing[c]: n for c, n in pattern.items()}, bins) for pattern, bins in _pack_rest(rest)]


def _pack_rest(rest: Instance) -> Patterns:
    """Best fit of an instance, in the classes of the question it came from."""
    return rest.split(best_fit(rest, rest.names))
