"""What one node of an offer can hold: all of it, or the best under given prices."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from math import inf

from gpuslice.planner.milp import TOLERANCE, Programme
from gpuslice.planner.solver import ROOM, Market, pods_in

Pattern = dict[tuple[int, str], int]
"""(demand, kind) to slots taken on one node."""


def tight(market: Market) -> list[int]:
    """The offers on which some mixture of pods has slots but no room; not those of a family."""
    found = []
    for offer, suited in sorted(market.by_offer.items()):
        bought, slots = market.offers[offer], sum(market.offers[offer].slots.values())
        if bought.family:
            continue
        needs = [max(market.demands[n].needs[d] for n, _ in suited) for d in range(ROOM)]
        if any(need * slots > room for need, room in zip(needs, bought.room, strict=True)):
            found.append(offer)
    return found


def all_patterns(
    market: Market, offers: Sequence[int], limit: int, end: float = inf
) -> dict[int, list[Pattern]] | None:
    """Every pattern to which nothing can be added, by offer.

    None where they are more than `limit` in all, or not found by `end` (of `time.monotonic`).
    """
    found: dict[int, list[Pattern]] = {}
    left = limit
    for offer in offers:
        found[offer] = []
        for pattern in _maximal(market, offer, 20 * limit):
            if pattern is None or left == 0 or time.monotonic() > end:
                return None
            found[offer].append(pattern)
            left -= 1
    return found


def _maximal(market: Market, offer: int, steps: int) -> Iterator[Pattern | None]:
    """The maximal patterns of an offer; None, once, where `steps` are not enough to find them."""
    suited = sorted(market.by_offer[offer], key=lambda key: (tuple(-n for n in market.demands[key[0]].needs), key))
    bought = market.offers[offer]
    budget = steps

    def most(key: tuple[int, str], slots: dict[str, int], room: tuple[int, ...]) -> int:
        demand = market.demands[key[0]]
        wanted = -(-demand.amount // demand.yields[offer, key[1]])
        return min(slots[key[1]], wanted, pods_in(room, demand.needs))

    def grow(index: int, content: Pattern, slots: dict[str, int], room: tuple[int, ...]) -> Iterator[Pattern | None]:
        nonlocal budget
        budget -= 1
        if budget < 0:
            yield None
            return
        if index == len(suited):
            if content and all(content.get(key, 0) == most_now(key, content, slots, room) for key in suited):
                yield dict(content)
            return
        key = suited[index]
        needs = market.demands[key[0]].needs
        for count in range(most(key, slots, room), -1, -1):
            rest = tuple(r - count * n for r, n in zip(room, needs, strict=True))
            grown = content | {key: count} if count else content
            yield from grow(index + 1, grown, slots | {key[1]: slots[key[1]] - count}, rest)
            if budget < 0:
                return

    def most_now(key: tuple[int, str], content: Pattern, slots: dict[str, int], room: tuple[int, ...]) -> int:
        demand, has = market.demands[key[0]], content.get(key, 0)
        wanted = -(-demand.amount // demand.yields[offer, key[1]])
        more = min(slots[key[1]], pods_in(room, demand.needs))
        return min(wanted, has + more)

    yield from grow(0, {}, dict(bought.slots), bought.room)


def best_pattern(market: Market, offer: int, values: Sequence[float], seconds: float) -> tuple[Pattern, float]:
    """What one node holds at most by value, and a bound on that. `values`: of one unit of each demand."""
    bought, suited = market.offers[offer], market.by_offer[offer]
    programme = Programme()
    rows = {kind: programme.row(upper=float(count)) for kind, count in sorted(bought.slots.items())}
    rooms = [programme.row(upper=1.0) for _ in range(ROOM)]
    columns = []
    gains = {key: values[key[0]] * market.demands[key[0]].yields[offer, key[1]] for key in suited}
    top = max(gains.values(), default=0.0)
    if top <= 0:
        return {}, 0.0
    for (number, kind), gain in gains.items():
        needs = {rooms[d]: need / bought.room[d] for d, need in enumerate(market.demands[number].needs) if need}
        limit = min(bought.slots[kind], -(-market.demands[number].amount // market.demands[number].yields[offer, kind]))
        columns.append((programme.column(-gain / top, float(limit), {rows[kind]: 1.0, **needs}), (number, kind)))
    result = programme.solve(seconds)
    if result.values is None or result.bound == -inf:
        return {}, top * sum(bought.slots.values())
    pattern = {key: round(result.values[column]) for column, key in columns}
    pattern = {key: count for key, count in pattern.items() if count}
    most = -result.bound * top
    return pattern, most + TOLERANCE * abs(most)
