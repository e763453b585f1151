"""The solver against a dynamic programme over everything that nodes can hold: bounds hold, and solutions are valid."""

from __future__ import annotations

from dataclasses import replace
from functools import cache
from itertools import product
from math import inf
from time import monotonic

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from gpuslice.planner import exact, greedy, milp, node_patterns, offers, solver
from gpuslice.planner.offers import WorkloadClass
from gpuslice.planner.solver import Demand, Market, Node, Offer, Solution

pytest.importorskip("highspy")

SOME = settings(deadline=None, max_examples=150, suppress_health_check=list(HealthCheck))
FEW = settings(SOME, max_examples=40)
PRICES = st.one_of(st.integers(1, 12), st.sampled_from([526_000, 752_000, 1_006_001, 1_204_000, 3_912_000]))


def contents(market, number):
    """What one node of an offer can give to each demand; only what nothing else there exceeds."""
    offer = market.offers[number]
    keys = [(d, kind) for d, demand in enumerate(market.demands) for o, kind in demand.yields if o == number]
    found = set()

    def grow(index, slots, room, gives):
        if index == len(keys):
            found.add(tuple(gives))
            return
        d, kind = keys[index]
        demand = market.demands[d]
        for count in range(slots[kind] + 1):
            rest = [r - count * n for r, n in zip(room, demand.needs, strict=True)]
            if min(rest) < 0 or (count and (count - 1) * demand.yields[number, kind] >= demand.amount):
                return
            more = [g + count * demand.yields[number, kind] * (i == d) for i, g in enumerate(gives)]
            grow(index + 1, slots | {kind: slots[kind] - count}, rest, more)

    grow(0, dict(offer.slots), offer.room, [0] * len(market.demands))
    capped = {tuple(min(g, d.amount) for g, d in zip(gives, market.demands, strict=True)) for gives in found}
    return [
        a
        for a in capped
        if any(a) and not any(a != b and all(x <= y for x, y in zip(a, b, strict=True)) for b in capped)
    ]


def optimum(market):
    """The least cost of meeting every demand."""
    choices = [(offer.price, gives) for o, offer in enumerate(market.offers) for gives in contents(market, o)]

    @cache
    def from_here(left):
        if not any(left):
            return 0
        first = next(i for i, amount in enumerate(left) if amount)
        after = (
            (p, tuple(max(0, a - g) for a, g in zip(left, gives, strict=True))) for p, gives in choices if gives[first]
        )
        return min(price + from_here(rest) for price, rest in after)

    return from_here(tuple(demand.amount for demand in market.demands))


def problems(market, nodes):
    """What is wrong with nodes; an empty list for nothing. There is a pod for each slot that gives 1, and no more."""
    given = [0] * len(market.demands)
    found = []
    for node in nodes:
        offer, used = market.offers[node.offer], {}
        room = list(offer.room)
        if node.copies < 1 or not node.takes or min(node.takes.values()) < 1:
            found.append(f"{node}: empty")
        for (number, kind), count in node.takes.items():
            demand = market.demands[number]
            used[kind] = used.get(kind, 0) + count
            room = [r - count * n for r, n in zip(room, demand.needs, strict=True)]
            given[number] += node.copies * count * demand.yields.get((node.offer, kind), -(10**12))
        if any(count > offer.slots.get(kind, 0) for kind, count in used.items()):
            found.append(f"{node}: too many slots")
        if min(room) < 0:
            found.append(f"{node}: no room")
    for demand, amount in zip(market.demands, given, strict=True):
        spare = min(demand.yields.values()) if max(demand.yields.values()) == 1 else inf
        if not demand.amount <= amount < demand.amount + spare:
            found.append(f"{demand.name}: {amount} of {demand.amount}")
    return found


def checked(market, solution, best):
    assert problems(market, solution.nodes) == []
    assert solution.cost == sum(market.offers[node.offer].price * node.copies for node in solution.nodes)
    assert solution.bound <= best <= solution.cost
    return solution


@st.composite
def hardware(draw, number, families, scarce):
    """Offers of one price and room: one, or layouts of a family with slots of two kinds."""
    room = tuple(draw(st.sampled_from([3, 5, 7, 10] if scarce else [100])) for _ in range(2))
    price, pods = draw(PRICES), draw(st.sampled_from([3, 19] if scarce else [100]))
    if not draw(st.booleans()) or not families:
        slots = draw(st.sampled_from([{"a": 1}, {"a": 2}, {"a": 3}, {"a": 7}, {"b": 4}, {"a": 1, "b": 2}]))
        return [Offer(f"o{number}", price, slots, (*room, pods))]
    layouts = draw(st.sampled_from([({"a": 1}, {"b": 3}), ({"a": 1, "b": 2}, {"a": 2}, {"b": 3}), ({"a": 2, "b": 1},)]))
    return [Offer(f"o{number}-{i}", price, x, (*room, pods), f"f{number}") for i, x in enumerate(layouts)]


@st.composite
def markets(draw, families=True, scarce=True, most=6, gives=(1,), fewest=1):
    bought = []
    for number in range(draw(st.integers(fewest, 2))):
        bought += draw(hardware(number, families, scarce))
    bought = bought[:3]
    demands = []
    for number in range(draw(st.integers(1, 3))):
        needs = (draw(st.sampled_from([0, 1, 2, 3])), draw(st.sampled_from([0, 1, 2, 3])), 1)
        by_kind = {}
        for index, offer in enumerate(bought):
            for kind in offer.slots:
                place = (offer.family or offer.name, kind)
                if place not in by_kind:
                    suits = draw(st.integers(0, 3)) > 0 or (index == 0 and kind == next(iter(offer.slots)))
                    by_kind[place] = draw(st.sampled_from(gives)) if suits else 0
        yields = {(i, k): g for i, o in enumerate(bought) for k in o.slots if (g := by_kind[o.family or o.name, k])}
        demands.append(Demand(f"d{number}", draw(st.integers(1, most)) * max(1, max(gives) // 3), needs, yields))
    return Market(bought, demands)


SERVICES = markets(most=5, gives=(2, 3, 5, 7))
RATES = markets(most=4, gives=(333_333, 333_334, 499_999, 1_000_000))


@SOME
@given(st.one_of(markets(), SERVICES, RATES))
def test_no_choice_of_nodes_costs_less_than_the_bounds(market):
    best = optimum(market)
    assert greedy.bound(market) <= best
    first = checked(market, greedy.solve(market), best)
    found = checked(market, exact.solve(market, 2.0), best)
    assert first.bound <= found.bound
    assert found.cost <= first.cost


@SOME
@given(st.one_of(markets(families=False), markets(scarce=False), markets(families=False, gives=(2, 3, 5))))
def test_where_the_programme_is_exact_the_optimum_is_found_and_proven(market):
    """Nodes of a family on which room is scarce are the only ones of which no programme knows all."""
    best = optimum(market)
    found = checked(market, exact.solve(market, 5.0), best)
    assert (found.cost, found.bound) == (best, best)


@SOME
@given(st.one_of(markets(families=False), markets(families=False, gives=(2, 3, 5, 7))))
def test_a_bound_from_generated_patterns_holds(market):
    best = optimum(market)
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(exact, "_PATTERNS", 0)
        checked(market, exact.solve(market, 2.0), best)


def poor(market):
    """Every demand by itself, where it is dearest; and nothing is known of a bound."""
    nodes = []
    for number, demand in enumerate(market.demands):
        offer, kind = max(demand.yields, key=lambda slot: (market.unit_price(demand, slot), slot))
        nodes += solver.fill(market, offer, {(number, kind): -(-demand.amount // demand.yields[offer, kind])})
    return Solution(tuple(nodes), solver.cost(market.offers, nodes), 0)


def alone(market, offers):
    return {o: [exact._alone(market, o, key) for key in market.by_offer[o]] for o in offers}


@SOME
@given(st.one_of(markets(), SERVICES, markets(families=False)), st.sampled_from(["listed", "generated", "some"]))
def test_bounds_hold_without_a_good_start(market, patterns):
    best = optimum(market)
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(exact.greedy, "solve", poor)
        if patterns != "listed":
            patched.setattr(exact, "_PATTERNS", 0)
        if patterns == "some":
            patched.setattr(exact, "_generated", lambda market, _search, offers: (alone(market, offers), 0.0))
        bounds = recorded(patched)
        checked(market, exact.solve(market, 2.0), best)
        assert max(bounds, default=0) <= best * (1 + 1e-6)


def recorded(patched):
    """What is said to be a bound from now on. A cheap answer hides one that is too high: no bound is above its cost."""
    bounds, original = [], exact._Search.raise_bound

    def raise_bound(search, least_cost, optimal=False):
        bounds.append(least_cost)
        original(search, least_cost, optimal)

    patched.setattr(exact._Search, "raise_bound", raise_bound)
    return bounds


@SOME
@given(st.one_of(markets(families=False), markets(families=False, gives=(2, 3, 5))))
def test_the_bound_of_a_first_few_patterns_holds(market):
    """The linear programme over some patterns costs more than that over all: its value is no bound by itself."""
    best = optimum(market)
    patterns = alone(market, market.by_offer)
    model = exact._Model(market, greedy.solve(market).cost, patterns)
    result = model.programme.solve(2.0, whole=False)
    least_cost, _ = exact._priced(market, model, result, patterns, monotonic() + 2)
    assert least_cost <= best * (1 + 1e-6)


def test_a_wide_and_a_slim_pod_share_a_node_in_the_bound():
    needs = {"wide": (6, 0, 1), "slim": (4, 0, 1)}
    market = Market([Offer("o", 10, {"a": 4}, (10, 9, 9))], [Demand(d, 4, n, {(0, "a"): 1}) for d, n in needs.items()])
    patterns = {0: [{(0, "a"): 1}, {(1, "a"): 2}]}
    model = exact._Model(market, 60, patterns)
    result = model.programme.solve(2.0, whole=False)
    assert result.bound == pytest.approx(60)
    assert 30 < exact._priced(market, model, result, patterns, monotonic() + 2)[0] <= 40


def test_seven_pods_need_a_third_node_where_each_holds_three():
    """Though two nodes have room for seven, added up."""
    market = Market([Offer("o", 10, {"a": 7}, (7, 9, 9), "family")], [Demand("d", 7, (2, 0, 1), {(0, "a"): 1})])
    assert greedy.bound(market) == 20
    assert checked(market, exact.solve(market, 2.0), 30).bound == 30


@pytest.mark.parametrize(
    ("least_cost", "optimal", "bound"),
    [(6.0001, True, 6), (5.9999, True, 6), (6.000001, False, 6), (6.1, False, 7), (5.9, False, 6), (99.0, False, 8)],
)
def test_what_rounding_adds_to_a_bound_does_not_count(least_cost, optimal, bound):
    market = Market([Offer("o", 1, {"a": 1}, (9, 9, 9))], [Demand("d", 5, (0, 0, 1), {(0, "a"): 1})])
    search = exact._Search(market, Solution((), 8, 5), monotonic() + 1)
    search.raise_bound(least_cost, optimal)
    assert (search.best.bound, search.best.cost) == (bound, 8)


@FEW
@given(markets(families=False, most=4), st.lists(st.integers(0, 900), min_size=3, max_size=3))
def test_the_best_content_of_a_node_is_worth_no_more_than_its_bound(market, values):
    for number in market.by_offer:
        worths = [sum(v * g for v, g in zip(values, gives, strict=False)) for gives in contents(market, number)]
        pattern, most = node_patterns.best_pattern(market, number, values, 1.0)
        found = sum(values[d] * count * market.demands[d].yields[number, kind] for (d, kind), count in pattern.items())
        assert max(worths) <= most <= found * (1 + 1e-5)
        assert not pattern or problems(unasked(market), [Node(number, 1, pattern)]) == []


def test_without_an_answer_in_time_a_node_may_be_worth_all_its_slots(monkeypatch):
    market = Market(
        [Offer("o", 5, {"a": 2, "b": 3}, (9, 9, 9))], [Demand("d", 9, (0, 0, 1), {(0, "a"): 3, (0, "b"): 1})]
    )
    assert node_patterns.best_pattern(market, 0, [2], 1.0)[1] == pytest.approx(18, rel=1e-5)
    monkeypatch.setattr(milp.Programme, "solve", lambda *_: milp.Result(None, None, -inf, False))
    pattern, most = node_patterns.best_pattern(market, 0, [2], 1.0)
    assert (pattern, most >= 18) == ({}, True)


def unasked(market):
    """The same market, where nothing is too little or too much."""
    any_kind = {(9, "none"): 2}
    return Market(market.offers, [replace(d, amount=0, yields=d.yields | any_kind) for d in market.demands])


@SOME
@given(st.one_of(markets(most=30), SERVICES))
def test_what_is_left_is_bought_and_no_more(market):
    rest = {number: demand.amount for number, demand in enumerate(market.demands)}
    assert problems(market, greedy.retail(market, rest)) == []
    assert problems(market, greedy.solve(market).nodes) == []


@SOME
@given(st.one_of(markets(), SERVICES), st.data())
def test_what_is_put_on_given_nodes_is_there_or_left_over(market, data):
    number = data.draw(st.sampled_from(sorted(market.by_offer)))
    takes = {key: data.draw(st.integers(1, 9)) for key in market.by_offer[number]}
    bought = data.draw(st.integers(0, 4))
    nodes, left = solver.fill_given(market, [number] * bought, takes)
    assert len(nodes) <= bought
    assert problems(unasked(market), nodes) == []
    assert all(count > 0 for count in left.values())
    everything = solver.fill(market, number, takes)
    assert problems(unasked(market), everything) == []
    for key, count in takes.items():
        assert sum(node.copies * node.takes.get(key, 0) for node in nodes) + left.get(key, 0) == count
        assert sum(node.copies * node.takes.get(key, 0) for node in everything) == count
    # What is left over finds room on none of them.
    for (d, kind), node in product(left, [*nodes, *[Node(number, 1, {})] * (bought - len(nodes))]):
        more = Node(number, 1, {**node.takes, (d, kind): node.takes.get((d, kind), 0) + 1})
        assert problems(unasked(market), [more])


@pytest.mark.parametrize(("count", "met"), [(1, False), (2, False), (3, True), (4, True)])
def test_a_demand_is_met_by_what_its_slots_give(count, met):
    market = Market(
        [Offer("o", 5, {"a": 4}, (9, 9, 9))],
        [Demand("x", 7, (0, 0, 1), {(0, "a"): 3}), Demand("y", 1, (0, 0, 1), {(0, "a"): 1})],
    )
    nodes = [Node(0, 1, {(0, "a"): count})]
    assert not solver.meets(market, nodes)
    assert solver.meets(market, [*nodes, Node(0, 1, {(1, "a"): 1})]) is met


@settings(SOME, max_examples=250)
@given(st.one_of(markets(fewest=2), markets(fewest=2, families=False), markets(fewest=2, scarce=False)))
def test_an_offer_that_is_left_out_is_needed_for_nothing(market):
    found = [WorkloadClass((), demand.needs, "", ()) for demand in market.demands]
    suited = [
        [tuple(kind for kind in offer.slots if (number, kind) in demand.yields) for demand in market.demands]
        for number, offer in enumerate(market.offers)
    ]
    kept = offers._undominated(market.offers, suited, found)
    left = [{slot: gives for slot, gives in demand.yields.items() if slot[0] in kept} for demand in market.demands]
    assert all(left)
    pruned = [replace(demand, yields=yields) for demand, yields in zip(market.demands, left, strict=True)]
    assert optimum(Market(market.offers, pruned)) == optimum(market)


@pytest.mark.parametrize(
    ("sold", "kept"),
    [
        ([(10, {"a": 2, "b": 1}), (10, {"a": 1, "b": 2})], [0, 1]),
        ([(10, {"a": 2, "b": 2}), (10, {"a": 1, "b": 2})], [0]),
        ([(2, {"a": 2}), (3, {"a": 3})], [0, 1]),
        ([(2, {"a": 2}), (4, {"a": 3})], [0]),
        ([(2, {"a": 2}), (4, {"b": 4})], [0]),
    ],
)
def test_so_many_of_an_offer_replace_one_of_another(sold, kept):
    """As many as the scarcest kind of slot asks for, at no greater price in all."""
    bought = [Offer(f"o{number}", price, slots, (100, 100, 100)) for number, (price, slots) in enumerate(sold)]
    suited = [[tuple(slots)] for _, slots in sold]
    assert offers._undominated(bought, suited, [WorkloadClass((), (1, 1, 1), "", (0,))]) == kept
