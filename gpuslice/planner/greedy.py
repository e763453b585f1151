"""A fast answer at any size: every demand where a slot is cheapest, then the last, half-full nodes packed anew."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from math import ceil, gcd

from gpuslice.planner.solver import PATIENCE, ROOM, Demand, Market, Node, Slot, Solution, cost, fill, pods_in

_NEARLY_ALL = 0.999
_MANY = 2000
"""With more demands than this, only the last node of each offer is packed anew."""


def solve(market: Market) -> Solution:
    """Every demand of the market met, and a bound. Each demand must have a slot that suits it."""
    full, rest = _wholesale(market)
    nodes = merged([*full, *retail(market, rest)])
    return Solution(tuple(nodes), cost(market.offers, nodes), bound(market))


def bound(market: Market) -> int:
    """What no answer can cost less than: every unit at the price of its cheapest slot, as if slots were sold singly.

    A node's price divided evenly among its slots, or by what pods take of its CPU, memory or pods, is never exceeded by
    what the node holds: each of the four is a price list that no node beats, and the dearest list counts.
    """
    totals = [0.0] * (ROOM + 1)
    for demand in market.demands:
        parts = [_parts(market, demand, slot) for slot in demand.yields]
        for index, part in enumerate(zip(*parts, strict=True)):
            totals[index] += demand.amount * min(part)
    # One part in 10^9 for the rounding of the sum. Costs come in multiples of a step, so the bound does too.
    step = gcd(*(market.offers[offer].price for offer in market.by_offer)) or 1
    return ceil((max(totals) * (1 - 1e-9) - 1e-6) / step) * step


def _parts(market: Market, demand: Demand, slot: Slot) -> list[float]:
    """What one unit of the demand carries of a node's price: by slots, CPU, memory and pods."""
    offer = market.offers[slot[0]]
    price = offer.price / demand.yields[slot]
    rooms = (price * need / room if need else 0.0 for need, room in zip(demand.needs, offer.room, strict=True))
    return [price / sum(offer.slots.values()), *rooms]


def _wholesale(market: Market) -> tuple[list[Node], dict[int, int]]:
    """Nodes that are worth their price, and demand to the amount that is left."""
    takes: dict[int, dict[tuple[int, str], int]] = {}
    values: dict[int, float] = {}
    for number, demand in enumerate(market.demands):
        slot, values[number] = _cheapest(market, demand)
        slots = -(-demand.amount // demand.yields[slot])
        takes.setdefault(slot[0], {})[number, slot[1]] = slots
    full: list[Node] = []
    rest = {number: demand.amount for number, demand in enumerate(market.demands)}
    for offer, wanted in takes.items():
        nodes = fill(market, offer, wanted)
        if len(market.demands) > _MANY:
            kept = [*nodes[:-1], replace(nodes[-1], copies=nodes[-1].copies - 1)]
        else:
            least = _NEARLY_ALL * market.offers[offer].price
            kept = [node for node in nodes if _worth(market, node, values, rest) >= least]
        for node in kept:
            for number, amount in _given(market, node).items():
                rest[number] -= amount * node.copies
        full += [node for node in kept if node.copies]
    return full, {number: amount for number, amount in rest.items() if amount > 0}


def _cheapest(market: Market, demand: Demand) -> tuple[Slot, float]:
    return min(((s, market.unit_price(demand, s)) for s in demand.yields), key=lambda pair: (pair[1], pair[0]))


def _given(market: Market, node: Node) -> dict[int, int]:
    """Demand to what one such node gives of its amount."""
    given: dict[int, int] = {}
    for (number, kind), count in node.takes.items():
        given[number] = given.get(number, 0) + count * market.demands[number].yields[node.offer, kind]
    return given


def _worth(market: Market, node: Node, values: Mapping[int, float], rest: Mapping[int, int]) -> float:
    """What a node gives of what is wanted, at the prices of `values`."""
    return sum(values[number] * min(amount, rest[number]) for number, amount in _given(market, node).items())


def retail(market: Market, rest: dict[int, int]) -> list[Node]:
    """What is left, on the nodes that give most of it for their price, one after the other."""
    values = {number: _cheapest(market, market.demands[number])[1] for number in rest}
    suited: dict[int, list[tuple[int, str]]] = {}
    for number in rest:
        for offer, kind in market.demands[number].yields:
            suited.setdefault(offer, []).append((number, kind))
    for offer, keys in suited.items():
        keys.sort(key=lambda key: (-values[key[0]] * market.demands[key[0]].yields[offer, key[1]], key))
    best: dict[int, tuple[float, Node]] = {}
    stale = set(suited)
    nodes = []
    while rest:
        for offer in sorted(stale):
            node = _best_node(market, offer, suited[offer], rest)
            best.pop(offer, None)
            if node is not None:
                best[offer] = _worth(market, node, values, rest) / market.offers[offer].price, node
        offer = max(best, key=lambda o: (best[o][0], -o))
        node = best[offer][1]
        given = _given(market, node)
        copies = max(1, min(rest[number] // amount for number, amount in given.items()))
        nodes.append(Node(offer, copies, node.takes))
        stale = {o for number in given for o, _ in market.demands[number].yields}
        for number, amount in given.items():
            rest[number] -= copies * amount
            if rest[number] <= 0:
                del rest[number]
    return nodes


def _best_node(market: Market, offer: int, suited: list[tuple[int, str]], rest: Mapping[int, int]) -> Node | None:
    """One node of the offer with what is worth most: the dearest demands first, as `suited` lists them."""
    slots, room = dict(market.offers[offer].slots), market.offers[offer].room
    free = sum(slots.values())
    left: dict[int, int] = {}
    takes: dict[tuple[int, str], int] = {}
    misses = 0
    for number, kind in suited:
        if number not in rest:
            continue
        demand = market.demands[number]
        wanted = -(-max(0, left.get(number, rest[number])) // demand.yields[offer, kind])
        count = min(slots[kind], wanted, pods_in(room, demand.needs))
        if count <= 0:
            misses += 1
            if misses >= PATIENCE:
                break
            continue
        takes[number, kind] = count
        slots[kind] -= count
        free -= count
        left[number] = left.get(number, rest[number]) - count * demand.yields[offer, kind]
        room = (
            room[0] - count * demand.needs[0],
            room[1] - count * demand.needs[1],
            room[2] - count * demand.needs[2],
        )
        if not free:
            break
    return Node(offer, 1, takes) if takes else None


def merged(nodes: list[Node]) -> list[Node]:
    """Equal nodes as one entry, in a fixed order."""
    copies: dict[tuple[int, tuple[tuple[tuple[int, str], int], ...]], int] = {}
    for node in nodes:
        key = (node.offer, tuple(sorted(node.takes.items())))
        copies[key] = copies.get(key, 0) + node.copies
    return [Node(offer, count, dict(takes)) for (offer, takes), count in sorted(copies.items())]
