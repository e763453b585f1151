"""The fewest nodes and slots, against every possibility on small questions, and the bound's own arithmetic."""

from __future__ import annotations

from itertools import combinations_with_replacement, cycle, product
from time import monotonic

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gpuslice.planner import exact, slices
from gpuslice.planner.solver import Demand, Market, Offer, meets

# A GPU of 4 slices: {4}, {2, 1}, {1, 1, 1}. Not every sum of slices that fits by number is a layout.
LAYOUTS = ({"4g": 1}, {"2g": 1, "1g": 1}, {"1g": 3})
WEIGHTS = {"1g": 1, "2g": 2, "4g": 4}


def market(needs: list[tuple[int, dict[str, int]]]) -> Market:
    offers = [Offer(str(number), 1, layout, (0, 0, 99)) for number, layout in enumerate(LAYOUTS)]
    demands = [
        Demand(
            str(n), amount, (0, 0, 1), {(o, k): y for o, lay in enumerate(LAYOUTS) for k, y in own.items() if k in lay}
        )
        for n, (amount, own) in enumerate(needs)
    ]
    return Market(offers, demands)


def covers(needs: list[tuple[int, dict[str, int]]]) -> list[tuple[int, int, int]]:
    """Numbers of 1g, 2g and 4g slots that can meet all demands, none of them with a slot to spare for itself."""
    sums = {(0, 0, 0)}
    for amount, own in needs:
        limits = [-(-amount // own[k]) if k in own else 0 for k in WEIGHTS]
        choices = [
            c
            for c in product(*(range(m + 1) for m in limits))
            if sum(n * own.get(k, 0) for n, k in zip(c, WEIGHTS, strict=True)) >= amount
        ]
        sums = {tuple(a + b for a, b in zip(s, c, strict=True)) for s in sums for c in choices}
    return sorted(sums)


def brute(needs: list[tuple[int, dict[str, int]]]) -> tuple[int, int]:
    wanted = covers(needs)
    for count in range(20):
        fitting = [
            sum(n * w for n, w in zip(slots, WEIGHTS.values(), strict=True))
            for chosen in combinations_with_replacement(LAYOUTS, count)
            for have in [[sum(layout.get(kind, 0) for layout in chosen) for kind in WEIGHTS]]
            for slots in wanted
            if all(n <= h for n, h in zip(slots, have, strict=True))
        ]
        if fitting:
            return count, min(fitting)
    raise AssertionError


needs = st.lists(
    st.tuples(
        st.integers(1, 30),
        st.dictionaries(st.sampled_from(list(WEIGHTS)), st.integers(5, 20), min_size=1),
    ),
    max_size=3,
)


@settings(max_examples=60, deadline=None)
@given(needs)
def test_the_answer_is_the_least_of_all_possibilities_and_proven(asked):
    question = market(asked)
    found = slices.solve(question, WEIGHTS)
    assert meets(question, found.nodes)
    assert sum(node.copies for node in found.nodes) == found.count.value
    assert (found.count.value, found.weight.value) == brute(asked)
    assert (found.count.bound, found.weight.bound) == brute(asked)


@settings(max_examples=20, deadline=None)
@given(needs.filter(len))
def test_the_planner_s_exact_method_says_the_same_number_of_nodes(asked):
    question = market(asked)
    found, other = slices.solve(question, WEIGHTS), exact.solve(question)
    assert other.bound <= found.count.value
    assert found.count.bound <= other.cost


@settings(max_examples=100, deadline=None)
@given(
    st.integers(1, 60),
    st.dictionaries(st.sampled_from("abc"), st.tuples(st.integers(1, 20), st.integers(0, 20)), min_size=1),
)
def test_the_cheapest_cover_is_the_cheapest_of_all(amount, own):
    yields, prices = {k: y for k, (y, _) in own.items()}, {k: p for k, (_, p) in own.items()}
    price, cover = slices.cheapest_cover(amount, yields, prices)
    ranges = (range(-(-amount // y) + 1) for y in yields.values())
    enough = (c for c in product(*ranges) if sum(n * y for n, y in zip(c, yields.values(), strict=True)) >= amount)
    assert price == min(sum(n * p for n, p in zip(c, prices.values(), strict=True)) for c in enough)
    assert sum(yields[kind] * count for kind, count in cover.items()) >= amount
    assert sum(prices[kind] * count for kind, count in cover.items()) == price


def test_a_cover_that_is_not_searched_for_is_still_a_bound():
    yields, prices = {"a": 3, "b": 5}, {"a": 3, "b": 6}
    assert slices.cheapest_cover(7, yields, prices)[0] == 9
    assert slices.cheapest_cover(7, yields, prices, looks=0)[0] == 7


@settings(max_examples=60, deadline=None)
@given(needs.filter(len), st.fixed_dictionaries({kind: st.integers(0, 3_000_000) for kind in WEIGHTS}))
def test_any_prices_prove_a_bound_that_holds(asked, prices):
    problem = slices._problem(market(asked), WEIGHTS, monotonic() + 60)
    problem.covers = [[] for _ in asked]
    count, weight = brute(asked)
    assert slices._priced(problem, None, prices, problem.end)[0] <= count
    assert slices._priced(problem, count, prices, problem.end)[0] <= weight
    assert slices._priced(problem, count, prices, 0.0)[0] <= slices._priced(problem, count, prices, problem.end)[0]


def test_prices_by_weight_prove_the_least_weight_over_the_largest_layout():
    problem = slices._problem(market([(12, {"4g": 12}), (13, {"4g": 12})]), WEIGHTS, monotonic() + 60)
    problem.covers = [[], []]
    assert slices._priced(problem, None, WEIGHTS, problem.end)[0] == 3


@settings(max_examples=60, deadline=None)
@given(needs.filter(len))
def test_the_least_weight_is_the_price_of_the_cheapest_cover_by_weight(asked):
    for amount, yields in asked:
        assert slices._least_weight(amount, yields, WEIGHTS) == slices.cheapest_cover(amount, yields, WEIGHTS)[0]


def test_the_least_weight_of_endless_amounts_is_still_a_bound():
    assert slices._least_weight(7 * 10**9, {"1g": 2, "2g": 5}, WEIGHTS) == 2 * 7 * 10**9 // 5


def test_an_answer_that_no_demand_would_choose_for_itself():
    """Alone each demand is best on a 2g, of which a node has one: the third node's 1g are three for the fourth."""
    found = slices.solve(market([(11, {"1g": 5, "2g": 11})] * 4), WEIGHTS)
    assert (found.count.value, found.weight.value) == (3, 9)


def test_a_solver_that_calls_a_poor_answer_optimal_is_not_believed(monkeypatch):
    """It says 99 of the one programme and knows nothing of the other: four nodes are the start, three are enough."""
    asked = [(11, {"1g": 5, "2g": 11})] * 4
    assert brute(asked) == (3, 9)
    real, told = slices.Programme.solve, cycle([99.0, 0.0])

    def sloppy(self, seconds, whole=True):
        result = real(self, seconds, whole)
        return type(result)(None, None, next(told), True) if whole else result

    monkeypatch.setattr(slices.Programme, "solve", sloppy)
    found = slices.solve(market(asked), WEIGHTS)
    assert meets(market(asked), found.nodes)
    assert found.count.value == 4
    assert found.count.bound <= 3


def test_a_plan_that_lacks_slots_is_not_taken(monkeypatch):
    real = slices.Programme.solve

    def short(self, seconds, whole=True):
        result = real(self, seconds, whole)
        return type(result)([0.0] * len(result.values), None, 0.0, True) if whole else result

    monkeypatch.setattr(slices.Programme, "solve", short)
    question = market([(25, {"1g": 5, "2g": 11})])
    found = slices.solve(question, WEIGHTS)
    assert meets(question, found.nodes)
    assert found.count.bound <= found.count.value


def test_other_markets_are_refused():
    two = market([(5, {"1g": 5})])
    dear = Offer("dear", 2, {"1g": 3}, (0, 0, 99))
    with pytest.raises(ValueError, match="differ in price"):
        slices.solve(Market([*two.offers, dear], two.demands), WEIGHTS)
    with pytest.raises(ValueError, match="yields differently"):
        slices.solve(Market(two.offers, [Demand("a", 5, (0, 0, 1), {(1, "1g"): 5, (2, "1g"): 6})]), WEIGHTS)
    with pytest.raises(ValueError, match="has room for it"):
        slices.solve(Market(two.offers, [Demand("a", 5, (1, 0, 1), {(2, "1g"): 5})]), WEIGHTS)


def test_nothing_asked_is_nothing_bought():
    found = slices.solve(market([]), WEIGHTS)
    assert (found.nodes, found.count.value, found.weight.value) == ((), 0, 0)
