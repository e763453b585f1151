"""The planner's problem without its names: demands that slots of nodes satisfy, nodes that cost money.

An `Offer` is a kind of node that can be bought any number of times; it has slots of some kinds, and room for what pods
request besides. A `Demand` takes slots of the kinds that suit it. Wanted is the cheapest set of nodes on which every
demand is met.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

Slot = tuple[int, str]
"""Index of an offer, kind of slot."""
ROOM = 3
"""What a node has room for besides slots: millicores, MiB of memory, pods."""


@dataclass(frozen=True, slots=True)
class Offer:
    """A kind of node. `price`: whole millionths of a dollar per hour. `slots`: kind to number on one node.

    Offers of one `family` (empty: none) have the same price and room, and a slot of a kind is the same on each of them:
    the MIG layouts of one instance type.
    """

    name: str
    price: int
    slots: Mapping[str, int]
    room: tuple[int, int, int]
    family: str = ""


@dataclass(frozen=True, slots=True)
class Demand:
    """What is asked for. `yields`: how much of `amount` one slot gives, for each slot that suits.

    Each slot that is taken holds one pod, which takes `needs` of the node's room.
    """

    name: str
    amount: int
    needs: tuple[int, int, int]
    yields: Mapping[Slot, int]


@dataclass(frozen=True, slots=True)
class Node:
    """`copies` nodes of one offer that hold the same: (demand, kind) to slots taken on each."""

    offer: int
    copies: int
    takes: Mapping[tuple[int, str], int]


@dataclass(frozen=True)
class Solution:
    """Nodes that meet every demand. `bound`: no set of nodes that does is cheaper, in the unit of prices."""

    nodes: tuple[Node, ...]
    cost: int
    bound: int


@dataclass
class Market:
    """Offers and demands, with what follows from both."""

    offers: Sequence[Offer]
    demands: Sequence[Demand]
    by_offer: dict[int, list[tuple[int, str]]] = field(init=False)
    """Offer to the (demand, kind) that it suits."""

    def __post_init__(self) -> None:
        self.by_offer = {}
        for number, demand in enumerate(self.demands):
            for offer, kind in demand.yields:
                self.by_offer.setdefault(offer, []).append((number, kind))

    def unit_price(self, demand: Demand, slot: Slot) -> float:
        """What one unit of the demand costs on nodes that hold nothing else."""
        offer = self.offers[slot[0]]
        pods = min(offer.slots[slot[1]], pods_in(offer.room, demand.needs))
        return offer.price / pods / demand.yields[slot]


def cost(offers: Sequence[Offer], nodes: Iterable[Node]) -> int:
    return sum(offers[node.offer].price * node.copies for node in nodes)


def meets(market: Market, nodes: Iterable[Node]) -> bool:
    """Whether the nodes meet every demand."""
    left = [demand.amount for demand in market.demands]
    for node in nodes:
        for (number, kind), count in node.takes.items():
            left[number] -= node.copies * count * market.demands[number].yields[node.offer, kind]
    return max(left, default=0) <= 0


def pods_in(room: Sequence[int], needs: Sequence[int]) -> int:
    """How many pods that ask for the same have room. Each asks for something: itself a pod, if nothing else."""
    return min(r // n for r, n in zip(room, needs, strict=True) if n)


PATIENCE = 200
"""After so many pods in a row that find no room, a node counts as full."""


def fill(market: Market, offer: int, takes: Mapping[tuple[int, str], int]) -> list[Node]:
    """Puts pods onto as few nodes of an offer as first fit decreasing finds, in Karpenter's order: CPU, then memory.

    `takes`: (demand, kind) to slots. A node is filled with the largest pods first; what was put on it is repeated as
    often as there are pods for it, so that the time goes with the different pods, not with their number. Where
    hundreds of different pods in a row do not fit, the node counts as full.
    """
    needs = {key: market.demands[key[0]].needs for key in takes}
    waiting = sorted((key for key, count in takes.items() if count), key=lambda k: (tuple(-n for n in needs[k]), k))
    left = {key: takes[key] for key in waiting}
    nodes = []
    while waiting:
        content = _one_node(market.offers[offer], waiting, left, needs)
        copies = min(left[key] // count for key, count in content.items())
        for key, count in content.items():
            left[key] -= copies * count
        nodes.append(Node(offer, copies, content))
        # Only what is on the node can have come to an end, and that stands near the front.
        waiting = [key for key in waiting if left[key]] if len(waiting) < PATIENCE else _without(waiting, left)
    return nodes


def fill_given(
    market: Market, bought: Iterable[int], takes: Mapping[tuple[int, str], int]
) -> tuple[list[Node], dict[tuple[int, str], int]]:
    """Puts pods onto given nodes, the largest first, each where the first place is. Nodes, and what found no place."""
    offers = list(bought)
    slots = [dict(market.offers[offer].slots) for offer in offers]
    rooms: list[tuple[int, ...]] = [market.offers[offer].room for offer in offers]
    contents: list[dict[tuple[int, str], int]] = [{} for _ in offers]
    left: dict[tuple[int, str], int] = {}
    for key in sorted(takes, key=lambda k: (tuple(-n for n in market.demands[k[0]].needs), k)):
        needs, waiting = market.demands[key[0]].needs, takes[key]
        for index, room in enumerate(rooms):
            if not waiting:
                break
            count = min(slots[index].get(key[1], 0), waiting, pods_in(room, needs))
            if count > 0:
                contents[index][key] = count
                slots[index][key[1]] -= count
                rooms[index] = tuple(r - count * n for r, n in zip(room, needs, strict=True))
                waiting -= count
        if waiting:
            left[key] = waiting
    return [Node(offer, 1, content) for offer, content in zip(offers, contents, strict=True) if content], left


def _without(waiting: list[tuple[int, str]], left: Mapping[tuple[int, str], int]) -> list[tuple[int, str]]:
    head = waiting[: 2 * PATIENCE]
    waiting[: 2 * PATIENCE] = [key for key in head if left[key]]
    return waiting


def _one_node(
    offer: Offer,
    waiting: Sequence[tuple[int, str]],
    left: Mapping[tuple[int, str], int],
    needs: Mapping[tuple[int, str], tuple[int, int, int]],
) -> dict[tuple[int, str], int]:
    slots, room = dict(offer.slots), list(offer.room)
    open_slots = sum(slots.values())
    content: dict[tuple[int, str], int] = {}
    misses = 0
    for key in waiting:
        count = min(slots[key[1]], left[key], pods_in(room, needs[key]))
        if count <= 0:
            misses += 1
            if misses >= PATIENCE:
                break
            continue
        content[key] = count
        slots[key[1]] -= count
        open_slots -= count
        room = [r - count * n for r, n in zip(room, needs[key], strict=True)]
        if not open_slots:
            break
    return content
