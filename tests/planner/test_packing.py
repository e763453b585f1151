"""Packing of items on identical bins: judged here by code that shares nothing with it."""

import math
import random
import subprocess
import sys
import time
from functools import cache
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from packings import judged

from gpuslice.planner import knapsack, patterns
from gpuslice.planner.packing import bins_of, bounds, instance, pack
from gpuslice.planner.patterns import pack_exactly

MILLION = 1_000_000
ROOT = Path(__file__).resolve().parents[2]
LINE = st.lists(st.tuples(st.tuples(st.integers(0, 30)), st.integers(0, 6)), max_size=9)
SPACE = st.lists(st.tuples(st.tuples(*[st.integers(0, 12)] * 3), st.integers(0, 4)), max_size=7)
UNHURRIED = settings(deadline=None, max_examples=60)
TINY = st.lists(st.integers(1, 10), min_size=1, max_size=8)


def fewest(sizes, capacity) -> int:
    """Fewest bins by trying everything: each item in each bin so far, or in a new one."""
    sizes = sorted(sizes, reverse=True)

    @cache
    def best(index, rooms):
        if index == len(sizes):
            return len(rooms)
        size = sizes[index]
        answers = [best(index + 1, tuple(sorted((*rooms, tuple(c - s for c, s in zip(capacity, size, strict=True))))))]
        for place, room in enumerate(rooms):
            left = tuple(r - s for r, s in zip(room, size, strict=True))
            if min(left) >= 0:
                answers.append(best(index + 1, tuple(sorted((*rooms[:place], left, *rooms[place + 1 :])))))
        return min(answers)

    return best(0, ())


@UNHURRIED
@given(LINE)
def test_greedy_holds_every_item_and_keeps_the_capacity(items):
    bins = judged(items, (30,), pack(items, (30,)))
    assert bounds(items, (30,)).volume <= bounds(items, (30,)).martello_toth <= bins


@UNHURRIED
@given(SPACE)
def test_greedy_keeps_the_capacity_in_every_dimension(items):
    bins = judged(items, (12, 15, 30), pack(items, (12, 15, 30)))
    assert bounds(items, (12, 15, 30)).martello_toth <= bins


@UNHURRIED
@given(st.sampled_from([(LINE, (30,)), (SPACE, (12, 15, 30))]).flatmap(lambda k: st.tuples(k[0], st.just(k[1]))))
def test_bound_exact_and_greedy_are_in_order(question):
    items, capacity = question
    exact = pack_exactly(items, capacity, 2)
    assert exact.bins == judged(items, capacity, exact.patterns)
    assert exact.bound <= exact.bins <= bins_of(pack(items, capacity))
    assert bounds(items, capacity).martello_toth <= exact.bound


@UNHURRIED
@given(SPACE, st.randoms(use_true_random=False))
def test_the_order_of_the_items_and_their_classes_never_matter(items, chance):
    capacity = (12, 15, 30)
    alone = [(size, 1) for size, count in items for _ in range(count)]
    chance.shuffle(alone)
    assert bins_of(pack(alone, capacity)) == bins_of(pack(items, capacity))
    assert bounds(alone, capacity) == bounds(items, capacity)
    judged(alone, capacity, pack(alone, capacity))
    assert pack_exactly(alone, capacity, 2).bins == pack_exactly(items, capacity, 2).bins


@UNHURRIED
@given(LINE, st.integers(0, 30))
def test_one_item_more_never_needs_fewer_bins(items, size):
    before, after = (pack_exactly(list_, (30,), 2) for list_ in (items, [*items, ((size,), 1)]))
    if before.bins == before.bound and after.bins == after.bound:
        assert before.bins <= after.bins <= before.bins + 1


@UNHURRIED
@given(TINY)
def test_the_bound_is_below_the_best_of_all_packings(sizes):
    items = [((size,), 1) for size in sizes]
    best = fewest([(size,) for size in sizes], (10,))
    exact = pack_exactly(items, (10,), 2)
    assert exact.bound <= best <= exact.bins
    assert exact.bins == best


@UNHURRIED
@given(st.lists(st.tuples(*[st.integers(0, 6)] * 2), min_size=1, max_size=7))
def test_the_bound_is_below_the_best_of_all_packings_in_two_dimensions(sizes):
    exact = pack_exactly([(size, 1) for size in sizes], (6, 9), 2)
    assert exact.bound <= fewest(sizes, (6, 9)) <= exact.bins


@UNHURRIED
@given(
    st.lists(st.tuples(st.tuples(*[st.integers(0, 6)] * 2), st.integers(0, 9), st.integers(0, 3)), max_size=4),
    st.integers(0, 12),
    st.tuples(*[st.integers(0, 4)] * 2),
)
def test_the_most_valuable_pattern_is_found_whatever_the_multipliers(classes, floor, multipliers):
    sizes, values, limits = ([row[i] for row in classes] for i in range(3))
    best = floor
    for numbers in _all([range(limit + 1) for limit in limits]):
        if all(sum(s[d] * n for s, n in zip(sizes, numbers, strict=True)) <= 9 for d in range(2)):
            best = max(best, sum(v * n for v, n in zip(values, numbers, strict=True)))
    question = knapsack.Question(sizes, values, limits, (9, 9))
    found = knapsack.solve(question, floor, multipliers, math.inf)
    assert found.most == best
    assert _worth(question, found.found[-1:]) == ([best] if best > floor else [])


def _all(ranges):
    if not ranges:
        yield ()
        return
    for rest in _all(ranges[1:]):
        for number in ranges[0]:
            yield (number, *rest)


def _worth(question, found):
    return [sum(question.values[c] * n for c, n in pattern.items()) for pattern in found]


@UNHURRIED
@given(st.lists(st.tuples(st.integers(1, 9), st.integers(0, 9), st.integers(0, 3)), max_size=5), st.integers(0, 20))
def test_table_and_search_agree(classes, floor):
    sizes, values, limits = ([row[i] for row in classes] for i in range(3))
    line = knapsack.Question([(size,) for size in sizes], values, limits, (20,))
    plane = knapsack.Question([(size, 0) for size in sizes], values, limits, (20, 1))
    one, two = knapsack.solve(line, floor, (1,), math.inf), knapsack.solve(plane, floor, (1, 1), math.inf)
    assert one.most == two.most
    assert _worth(line, one.found[-1:]) == _worth(plane, two.found[-1:])


def test_a_search_that_stops_early_still_bounds_every_pattern(monkeypatch):
    chance = random.Random(3)
    sizes = [(chance.randrange(50, 400), chance.randrange(50, 400)) for _ in range(14)]
    question = knapsack.Question(sizes, [a + b + chance.randrange(9) for a, b in sizes], [1] * 14, (1000, 1000))
    best = knapsack.solve(question, 0, (1, 1), math.inf).most
    monkeypatch.setattr(knapsack, "_BETWEEN_LOOKS", 3)
    stopped = knapsack.solve(question, 0, (1, 1), -math.inf)
    assert max(_worth(question, stopped.found)) < stopped.most
    assert stopped.most >= best


def test_prices_with_errors_still_prove_only_what_holds(monkeypatch):
    """Floats from the solver may be anything: the bound has to hold with them."""
    relaxed = patterns._Master.relaxed
    chance = random.Random(5)

    def wrong(self, counts, stop):
        solved = relaxed(self, counts, stop)
        return solved and (
            solved[0],
            [price * chance.uniform(0.5, 2) + chance.uniform(-0.1, 0.1) for price in solved[1]],
        )

    monkeypatch.setattr(patterns._Master, "relaxed", wrong)
    for _ in range(30):
        items = [((size,), 1) for size in (chance.randrange(2, 8) for _ in range(9))]
        exact = pack_exactly(items, (12,), 1)
        assert exact.bound <= fewest([size for size, _ in items], (12,)) <= judged(items, (12,), exact.patterns)


def test_column_generation_proves_more_than_counting():
    # Only two of 34 fit a bin, though there is space for 2.9.
    items = [((34,), 59)]
    assert bounds(items, (100,)).volume == 21
    exact = pack_exactly(items, (100,), 5)
    assert (exact.bins, exact.bound, exact.gap) == (30, 30, 0.0)


def test_exact_beats_greedy_where_greedy_errs():
    # 51 goes with 27 first, though six bins of 51 + 26 + 23 and three of 27 + 27 + 23 + 23 would all be full.
    items = [((51,), 6), ((27,), 6), ((26,), 6), ((23,), 12)]
    capacity = (100,)
    greedy, exact = bins_of(pack(items, capacity)), pack_exactly(items, capacity, 5)
    assert (greedy, judged(items, capacity, exact.patterns), exact.bound) == (11, 9, 9)


def test_random_lists_meet_their_bound_or_say_the_gap():
    chance = random.Random(11)
    items = [((chance.randrange(20, 700) * 1000,), chance.randint(1, 200)) for _ in range(20)]
    exact = pack_exactly(items, (MILLION,), 10)
    assert judged(items, (MILLION,), exact.patterns) == exact.bins
    assert exact.bins - exact.bound <= 1
    assert exact.gap == pytest.approx((exact.bins - exact.bound) / exact.bins)


def test_the_time_limit_holds_and_leaves_an_answer_and_a_bound():
    chance = random.Random(2)
    capacity = (MILLION, 40_000, 16)
    items = [((chance.randrange(20_000, 500_000), chance.randrange(500, 20_000), 1), 1) for _ in range(700)]
    start = time.monotonic()
    exact = pack_exactly(items, capacity, 0.5)
    assert time.monotonic() - start < 5
    assert exact.bound <= judged(items, capacity, exact.patterns) <= bins_of(pack(items, capacity))
    assert pack_exactly(items, capacity, 0).bound == bounds(items, capacity).martello_toth


def test_a_worse_packing_never_takes_the_place_of_a_better_one():
    question = instance([((5,), 4)], (10,))
    search = patterns._Search(question, [({0: 2}, 2)], 0, time.monotonic(), 1)
    search._offer([({0: 1}, 4)])
    assert search.best == [({0: 2}, 2)]
    search._offer([({0: 1}, 1)])
    assert search.best == [({0: 2}, 2)]


def test_classes_of_one_size_are_one_class_and_only_dimensions_that_can_bind_stay():
    question = instance([((4, 2), 1), ((6, 2), 2), ((4, 1), 3)], (10, 10))
    assert (question.sizes, question.counts, question.capacity) == ([(3,), (2,)], [2, 4], (5,))
    # Ten by the first dimension, eleven by the second: neither may be left out for being nearly the other.
    assert judged([((1, 1), 11)], (10, 11), pack([((1, 1), 11)], (10, 11))) == 2


def test_a_limit_of_pods_is_a_dimension_like_any_other():
    items = [((10_000, 1), 100)]
    assert judged(items, (MILLION, 16), pack(items, (MILLION, 16))) == 7
    assert pack_exactly(items, (MILLION, 16), 2).bound == 7


def test_greedy_stays_near_the_bound_in_many_dimensions():
    chance = random.Random(7)
    capacity = (MILLION, 40_000, 7_910, 30_000, 16)
    items = [
        (
            (
                chance.randrange(20_000, 500_000),
                chance.randrange(500, 12_000),
                chance.choice([500, 1000, 2000, 4000]),
                chance.choice([1024, 2048, 4096, 16_384]),
                1,
            ),
            1,
        )
        for _ in range(3000)
    ]
    assert judged(items, capacity, pack(items, capacity)) <= 1.08 * bounds(items, capacity).martello_toth


def test_greedy_needs_no_longer_for_more_of_the_same_item():
    items = [((size,), 10**9) for size in range(300_000, 600_000, 1000)]
    packing = pack(items, (MILLION,))
    assert judged(items, (MILLION,), packing) >= bounds(items, (MILLION,)).martello_toth
    assert len(packing) <= 2 * len(items)


@pytest.mark.parametrize(("items", "answer"), [([], 0), ([((5,), 0)], 0), ([((0,), 7)], 1), ([((10,), 3)], 3)])
def test_edges(items, answer):
    assert judged(items, (10,), pack(items, (10,))) == answer
    assert bounds(items, (10,)) == (answer, answer)
    exact = pack_exactly(items, (10,), 1)
    assert (exact.bins, exact.bound, exact.gap) == (answer, answer, 0.0)


@pytest.mark.parametrize("size", [(11,), (-1,), (1, 1), ()])
@pytest.mark.parametrize("function", [pack, bounds, lambda i, c: pack_exactly(i, c, 1)])
def test_an_item_that_no_bin_can_hold_is_refused(size, function):
    with pytest.raises(ValueError, match="item 1: "):
        function([((3,), 1), (size, 1)], (10,))


def test_a_count_below_zero_is_refused():
    with pytest.raises(ValueError, match="item 0: size"):
        pack([((3,), -1)], (10,))


def test_a_plan_without_the_exact_packing_loads_no_solver():
    code = "import sys, gpuslice.planner.patterns; sys.exit(bool({'highspy', 'numpy', 'pulumi'} & set(sys.modules)))"
    assert subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=False).returncode == 0
