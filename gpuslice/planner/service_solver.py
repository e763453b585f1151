"""The cheapest nodes of one price for services: fewest nodes by slots alone, then with CPU and memory.

Where nothing but slots is scarce, `slices` knows that only the number of slots of each kind matters, and finds and
proves more than a programme over every node's content does. Its bound holds where CPU and memory are scarce too.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from dataclasses import replace

from gpuslice.planner import greedy
from gpuslice.planner.options import Options
from gpuslice.planner.plan import exact_wanted
from gpuslice.planner.solver import Market, Node, Solution, cost, fill

_MOST_EXACT = 2000
"""Up to so many services, the method is exact by itself."""
_MOST_BY_NODE = 1000
"""Up to so many services, CPU and memory, where they are scarce, are a matter of the exact method too."""
_SHARE = 0.5
"""Part of the time for the slots alone, where CPU or memory are scarce too."""


def exactly(options: Options, services: int) -> bool:
    """Whether the exact method is wanted and can be had. Raises InputError where it is wanted and cannot."""
    return exact_wanted(options) and (options.method == "exact" or services <= _MOST_EXACT)


def solve(market: Market, weights: Mapping[str, int], seconds: float) -> Solution:
    """The cheapest nodes found in so many seconds; 0: by the greedy method.

    All offers have one price, and a slot of one kind gives a demand the same on each. `weights`: kind of slot to what
    it should count where the cost is the same, its compute slices.
    """
    if not market.demands:
        return Solution((), 0, 0)
    if not seconds:
        return greedy.solve(market)
    from gpuslice.planner import exact
    from gpuslice.planner.node_patterns import tight

    end = time.monotonic() + seconds
    scarce = bool(tight(market))
    found = _by_slots(market, weights, seconds * (_SHARE if scarce else 1))
    if found.cost == found.bound or not scarce:
        return found
    by_node = len(market.demands) <= _MOST_BY_NODE
    other = exact.solve(market, max(1.0, end - time.monotonic())) if by_node else greedy.solve(market)
    best = min(found, other, key=lambda solution: solution.cost)
    return replace(best, bound=min(best.cost, max(found.bound, other.bound)))


def _by_slots(market: Market, weights: Mapping[str, int], seconds: float) -> Solution:
    """The fewest nodes by their slots, filled by first fit: more nodes where CPU or memory run out."""
    from gpuslice.planner import slices

    free = Market(market.offers, [replace(demand, needs=(0, 0, 0)) for demand in market.demands])
    answer = slices.solve(free, weights, seconds)
    nodes = tuple(_filled(market, answer.nodes))
    price = cost(market.offers, nodes)
    return Solution(nodes, price, min(price, answer.count.bound * market.offers[0].price))


def _filled(market: Market, nodes: tuple[Node, ...]) -> Iterator[Node]:
    takes: dict[int, dict[tuple[int, str], int]] = {}
    for node in nodes:
        wanted = takes.setdefault(node.offer, {})
        for key, count in node.takes.items():
            wanted[key] = wanted.get(key, 0) + count * node.copies
    for offer, wanted in sorted(takes.items()):
        yield from fill(market, offer, wanted)
