"""The same nodes at the same price, said more simply.

As few replicas as the pods of a pool need: more would leave each slice less memory, for nothing. And one MIG layout,
with one size of slice for each workload, where that is enough: a Deployment asks for one resource of one pool.
"""

from __future__ import annotations

from dataclasses import replace

from gpuslice.planner.offers import SHARED, WHOLE, NodeKind
from gpuslice.planner.plan import Answer
from gpuslice.planner.solver import Market, Node, fill

_MOST_DEMANDS = 2000
"""Larger plans fill their pools but for the last node, so there is little to gain."""


def trimmed(made: Answer) -> Answer:
    """Each time-sliced pool with the fewest replicas that hold its pods, and as few MIG layouts as will do."""
    market = made.catalogue.market
    if len(market.demands) > _MOST_DEMANDS:
        return made
    nodes = _fewer_layouts(market, list(made.solution.nodes))
    kinds, offers = list(made.catalogue.kinds), list(market.offers)
    for number in sorted({node.offer for node in nodes if kinds[node.offer].mode == "time-slicing"}):
        mine = [node for node in nodes if node.offer == number]
        kind, fewer = _fewest(market, number, kinds[number], mine)
        kinds[number], offers[number] = kind, kind.offer()
        nodes = [node for node in nodes if node.offer != number] + fewer
    catalogue = replace(made.catalogue, kinds=tuple(kinds), market=Market(offers, market.demands))
    return replace(made, catalogue=catalogue, solution=replace(made.solution, nodes=tuple(nodes)))


def _fewest(market: Market, offer: int, kind: NodeKind, nodes: list[Node]) -> tuple[NodeKind, list[Node]]:
    bought = sum(node.copies for node in nodes)
    pods: dict[int, int] = {}
    for node in nodes:
        for (demand, _), count in node.takes.items():
            pods[demand] = pods.get(demand, 0) + count * node.copies
    least = -(-sum(pods.values()) // (bought * kind.hardware.kind.devices))
    for replicas in range(max(1, least), kind.replicas):
        smaller = replace(kind, replicas=replicas) if replicas > 1 else NodeKind(kind.hardware, "exclusive")
        slot = SHARED if replicas > 1 else WHOLE
        offers = [*market.offers[:offer], smaller.offer(), *market.offers[offer + 1 :]]
        found = fill(Market(offers, market.demands), offer, {(demand, slot): count for demand, count in pods.items()})
        if sum(node.copies for node in found) <= bought:
            return smaller, found
    return kind, nodes


def _fewer_layouts(market: Market, nodes: list[Node]) -> list[Node]:
    for family in sorted({market.offers[node.offer].family for node in nodes} - {""}):
        mine = [node for node in nodes if market.offers[node.offer].family == family]
        simple = _one_layout(market, family, mine)
        if simple:
            nodes = [node for node in nodes if market.offers[node.offer].family != family] + simple
    return nodes


def _one_layout(market: Market, family: str, nodes: list[Node]) -> list[Node]:
    """The pods of a family's nodes on as many nodes of one layout, each demand on slices of one size; empty if none."""
    pods: dict[int, int] = {}
    for node in nodes:
        for (demand, _), count in node.takes.items():
            pods[demand] = pods.get(demand, 0) + count * node.copies
    bought = sum(node.copies for node in nodes)
    layouts = [number for number, offer in enumerate(market.offers) if offer.family == family]
    for number in sorted(layouts, key=lambda n: (len(market.offers[n].slots), n)):
        takes = {}
        for demand, count in pods.items():
            suited = [kind for offer, kind in market.demands[demand].yields if offer == number]
            if suited:
                takes[demand, max(suited, key=lambda kind: (market.offers[number].slots[kind], kind))] = count
        if len(takes) == len(pods):
            found = fill(market, number, takes)
            if sum(node.copies for node in found) <= bought:
                return found
    return []
