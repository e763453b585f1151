"""Which pods share a GPU: a fast packing of items on identical bins, and bounds.

An item class is `(size, count)`: a size per dimension (share in millionths, GPU memory, CPU, RAM, one pod, ...) and how
many such items there are. A bin is a capacity per dimension. All are whole numbers, so that no answer hangs on how a
float was rounded. Classes go by their place in the list of items.
"""

from __future__ import annotations

from bisect import bisect_left, insort
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import accumulate, islice
from math import gcd
from operator import eq, le, mul
from typing import Any, NamedTuple

Size = tuple[int, ...]
Items = Sequence[tuple[Size, int]]
"""Classes of items: size in every dimension, number of items."""
Pattern = dict[int, int]
"""What one bin holds: class -> number of its items."""
Patterns = list[tuple[Pattern, int]]
"""Patterns, each with the number of bins that hold it."""

_PLACE = 40
_PLACES = (1 << _PLACE) - 1
"""Open bins are sorted as one number: their room, and below it the place where their pattern is kept."""
_BLOCK = 500
"""Longest run of sorted numbers, in half: inserting moves what follows, which is slow in one list of a million."""
_LOOKS = 32
"""In several dimensions: open bins looked at for one item, from the fullest and again from the emptiest."""
_ROUND = 300
"""In several dimensions: classes packed from large to small before the bins that found no partner are closed. Time then
grows with the classes, not with their square; measured on random workloads, 4% over the bound."""


class Bounds(NamedTuple):
    """Numbers of bins that no packing can go below."""

    volume: int
    """Sum of the sizes over the capacity, rounded up; the largest over the dimensions."""
    martello_toth: int
    """L2 of Martello and Toth (Knapsack Problems, 1990, section 8.3.2), the largest over the dimensions: counts what
    no two of which fit one bin, too. Never below `volume`."""


@dataclass(frozen=True, slots=True)
class Instance:
    """The same question in its smallest form: distinct sizes, only dimensions that can bind, no common divisors.

    `names[c]`: the class of the question that class `c` stands for; `shared[c]`: where it stands for several, all of
    them, each with its count.
    """

    sizes: list[Size]
    counts: list[int]
    capacity: Size
    names: list[int]
    shared: dict[int, list[tuple[int, int]]]

    def answer(self, patterns: Patterns) -> Patterns:
        """Patterns over this instance's classes, said in the classes of the question."""
        return self.split([({self.names[c]: k for c, k in pattern.items()}, bins) for pattern, bins in patterns])

    def split(self, patterns: Patterns) -> Patterns:
        """Patterns that name classes by `names`, with the items of a class that stands for several dealt to those."""
        if not self.shared:
            return patterns
        left = {self.names[c]: [list(member) for member in reversed(found)] for c, found in self.shared.items()}
        return [named for pattern, bins in patterns for named in _named(pattern, bins, left)]


def pack(items: Items, capacity: Size) -> Patterns:
    """Best fit decreasing; for `n` classes about `n log n` steps, however many items or bins.

    Neither the order of the classes nor how equal items are spread over classes changes the number of bins. ValueError:
    an item that no bin can hold, a number below zero, or a size without one number per dimension.
    """
    question = instance(items, capacity)
    return question.split(best_fit(question, question.names))


def bins_of(patterns: Patterns) -> int:
    """How many bins a packing takes."""
    return sum(bins for _, bins in patterns)


def bounds(items: Items, capacity: Size) -> Bounds:
    """What every packing needs at the least. ValueError: as `pack`."""
    _check(items, capacity)
    best = Bounds(0, 0)
    for dimension, limit in enumerate(capacity):
        sizes: Counter[int] = Counter()
        for size, count in items:
            sizes[size[dimension]] += count
        del sizes[0]
        if sizes:
            volume = -(-sum(size * count for size, count in sizes.items()) // limit)
            best = Bounds(max(best.volume, volume), max(best.martello_toth, _martello_toth(sizes, limit)))
    # Items of no size at all still need a bin to be in.
    some = int(any(count for _, count in items))
    return Bounds(max(best.volume, some), max(best.martello_toth, some))


def instance(items: Items, capacity: Size) -> Instance:
    """The question in its smallest form. ValueError: as `pack`."""
    _check(items, capacity)
    real = [index for index, (_, count) in enumerate(items) if count]
    sizes = [items[index][0] for index in real]
    keep = _binding(sizes, capacity)
    common = [gcd(*[size[d] for size in sizes]) for d in keep]
    if keep != list(range(len(capacity))) or any(g > 1 for g in common):
        sizes = [tuple([size[d] // g for d, g in zip(keep, common, strict=True)]) for size in sizes]
    # Numbers sort three times as fast as tuples of one number.
    lines: Sequence[Any] = [size[0] for size in sizes] if len(keep) == 1 else sizes
    ordered = sorted(range(len(sizes)), key=lines.__getitem__, reverse=True)
    names = [real[place] for place in ordered]
    sizes = [sizes[place] for place in ordered]
    counts = [items[name][1] for name in names]
    limits = tuple(capacity[d] // g for d, g in zip(keep, common, strict=True))
    if any(map(eq, sizes, islice(sizes, 1, None))):
        return _merged(sizes, counts, names, limits)
    return Instance(sizes, counts, limits, names, {})


def _merged(sizes: Sequence[Size], counts: Sequence[int], names: Sequence[int], capacity: Size) -> Instance:
    """The instance of sorted classes, with those of one size as one."""
    found = Instance([], [], capacity, [], {})
    for size, count, name in zip(sizes, counts, names, strict=True):
        if found.sizes and size == found.sizes[-1]:
            c = len(found.sizes) - 1
            found.shared.setdefault(c, [(found.names[c], found.counts[c])]).append((name, count))
            found.counts[c] += count
        else:
            found.sizes.append(size)
            found.counts.append(count)
            found.names.append(name)
    return found


def best_fit(question: Instance, names: Sequence[int]) -> Patterns:
    """Best fit decreasing of an instance in its smallest form; `names`: what the patterns call its classes."""
    if not question.capacity:
        return [(dict(zip(names, question.counts, strict=True)), 1)] if question.counts else []
    if len(question.capacity) == 1:
        return _in_a_line(question, names)
    weights = _weights(question)
    keys = [sum(map(mul, size, weights)) for size in question.sizes]
    falling = sorted(range(len(keys)), key=lambda c: (keys[c], question.sizes[c]), reverse=True)
    rounds = -(-len(keys) // _ROUND)
    order = [c for first in range(rounds) for c in falling[first::rounds]]
    smallest = _smallest_to_come([question.sizes[c] for c in order])
    still_open = _Open(question.capacity, weights)
    for c, later, before in zip(order, smallest, [None, *order], strict=False):
        if before is not None and keys[before] < keys[c]:
            still_open.keep(_LOOKS)
        still_open.place(names[c], question.sizes[c], question.counts[c], keys[c], later)
    kinds = zip(still_open.patterns, still_open.numbers, strict=True)
    return [(pattern, bins) for pattern, bins in kinds if bins]


def _in_a_line(question: Instance, names: Sequence[int]) -> Patterns:
    """Best fit decreasing in one dimension. Equal bins are kept as one, with their number; sizes come decreasing."""
    (limit,), smallest = question.capacity, question.sizes[-1][0]
    room = _Sorted()
    patterns: list[Pattern] = []
    numbers: list[int] = []
    for c, (size,), count in zip(names, question.sizes, question.counts, strict=True):
        while count:
            found = room.pop(size << _PLACE)
            free, bins = (limit, count) if found is None else (found >> _PLACE, numbers[found & _PLACES])
            each = min(count, free // size) if size else count
            used = min(bins, count // each)
            count -= used * each
            place = len(patterns) if found is None else found & _PLACES
            if found is not None and used == bins:
                patterns[place][c] = each
            else:
                before = {} if found is None else patterns[place]
                if found is not None:
                    numbers[place] -= used
                    room.add(found)
                place = len(patterns)
                patterns.append({**before, c: each})
                numbers.append(used)
            if free - size * each >= smallest:
                room.add((free - size * each) << _PLACE | place)
    return list(zip(patterns, numbers, strict=True))


class _Open:
    """Bins with room in several dimensions, in the order of how much; equal bins are one kind, with their number."""

    def __init__(self, capacity: Size, weights: Size) -> None:
        self.patterns: list[Pattern] = []
        self.numbers: list[int] = []
        self._rooms: list[Size] = []
        self._capacity = capacity
        self._weights = weights
        self._sorted = _Sorted()

    def place(self, c: int, size: Size, count: int, key: int, later: Size | None) -> None:
        """All items of a class. `later`: per dimension the smallest size still to come; None after the last class."""
        while count:
            found = self._find(size, key)
            before, bins, room = ({}, count, self._capacity) if found is None else self._kind(found)
            each = min([count, *[free // s for free, s in zip(room, size, strict=True) if s]])
            used = min(bins, count // each)
            count -= used * each
            if found is not None:
                self.numbers[found & _PLACES] -= used
                if used == bins:
                    self._sorted.remove(found)
            left = tuple([free - s * each for free, s in zip(room, size, strict=True)])
            self.patterns.append({**before, c: each})
            self.numbers.append(used)
            self._rooms.append(left)
            if later is not None and all(map(le, later, left)):
                self._sorted.add(sum(map(mul, left, self._weights)) << _PLACE | len(self.patterns) - 1)

    def keep(self, most: int) -> None:
        """Closes all but so many kinds of bins: those with the most room over all their bins stay."""
        found = list(self._sorted.rising(0))
        found.sort(key=lambda entry: (entry >> _PLACE) * self.numbers[entry & _PLACES], reverse=True)
        self._sorted = _Sorted()
        for entry in found[:most]:
            self._sorted.add(entry)

    def _kind(self, found: int) -> tuple[Pattern, int, Size]:
        place = found & _PLACES
        return self.patterns[place], self.numbers[place], self._rooms[place]

    def _find(self, size: Size, key: int) -> int | None:
        # Best fit first. Where the fullest bins lack another dimension, the emptiest is the likeliest to have all.
        for entries in (self._sorted.rising(key << _PLACE), self._sorted.falling(key << _PLACE)):
            for entry in islice(entries, _LOOKS):
                if all(map(le, size, self._rooms[entry & _PLACES])):
                    return entry
        return None


class _Sorted:
    """Distinct whole numbers in order, in blocks."""

    def __init__(self) -> None:
        self._blocks: list[list[int]] = []
        self._tops: list[int] = []

    def add(self, number: int) -> None:
        if not self._tops:
            self._blocks, self._tops = [[number]], [number]
            return
        at = min(bisect_left(self._tops, number), len(self._tops) - 1)
        block = self._blocks[at]
        insort(block, number)
        if len(block) > 2 * _BLOCK:
            self._blocks.insert(at + 1, block[_BLOCK:])
            self._tops.insert(at + 1, block[-1])
            del block[_BLOCK:]
        self._tops[at] = block[-1]

    def remove(self, number: int) -> None:
        at = bisect_left(self._tops, number)
        block = self._blocks[at]
        del block[bisect_left(block, number)]
        if block:
            self._tops[at] = block[-1]
        else:
            del self._blocks[at], self._tops[at]

    def pop(self, least: int) -> int | None:
        """Takes out the smallest number that is not below `least`."""
        at = bisect_left(self._tops, least)
        if at == len(self._tops):
            return None
        block = self._blocks[at]
        found = block.pop(bisect_left(block, least))
        if not block:
            del self._blocks[at], self._tops[at]
        elif found == self._tops[at]:
            self._tops[at] = block[-1]
        return found

    def rising(self, least: int) -> Iterator[int]:
        """All numbers that are not below `least`, in order."""
        at = bisect_left(self._tops, least)
        for block in self._blocks[at:]:
            yield from block[bisect_left(block, least) :]

    def falling(self, least: int) -> Iterator[int]:
        """The same, the largest first."""
        at = bisect_left(self._tops, least)
        for block in reversed(self._blocks[at:]):
            yield from reversed(block[bisect_left(block, least) :])


def _check(items: Items, capacity: Size) -> None:
    if all(len(size) == len(capacity) for size, _ in items):
        tops = [max(size[d] for size, _ in items) <= limit for d, limit in enumerate(capacity) if items]
        least = [min(size[d] for size, _ in items) >= 0 for d in range(len(capacity)) if items]
        if all(tops) and all(least) and all(count >= 0 for _, count in items):
            return
    # Only now item by item: the question is seldom wrong, and this is slow.
    for index, (size, count) in enumerate(items):
        if len(size) != len(capacity):
            raise ValueError(f"item {index}: {len(size)} dimensions where a bin has {len(capacity)}")
        if count < 0 or (size and min(size) < 0):
            raise ValueError(f"item {index}: size {size}, count {count}: none may be below 0")
        if count and not all(map(le, size, capacity)):
            raise ValueError(f"item {index}: size {size} is over a whole bin, {capacity}")


def _binding(sizes: Sequence[Size], capacity: Size) -> list[int]:
    """Dimensions that can bind: not those where every item takes no more of a bin than in another dimension."""
    keep: list[int] = []
    asked = [d for d in range(len(capacity)) if any(size[d] for size in sizes)]
    for d in asked:
        # Of two that are equal everywhere the later one stays.
        others = [*keep, *(e for e in asked if e > d)]
        if not any(all(size[d] * capacity[e] <= size[e] * capacity[d] for size in sizes) for e in others):
            keep.append(d)
    return keep


def _weights(question: Instance) -> Size:
    """What a unit of each dimension counts for when bins and items are put in order: more where bins fill up first."""
    if len(question.capacity) == 1:
        return (1,)
    totals = [
        sum(size[d] * n for size, n in zip(question.sizes, question.counts, strict=True))
        for d in range(len(question.capacity))
    ]
    return tuple(max(1, (total << 40) // limit**2) for total, limit in zip(totals, question.capacity, strict=True))


def _smallest_to_come(sizes: Sequence[Size]) -> list[Size | None]:
    smallest = list(accumulate(reversed(sizes), lambda a, b: tuple(map(min, a, b))))[::-1]
    return [*smallest[1:], None]


def _martello_toth(sizes: Counter[int], limit: int) -> int:
    ordered = sorted(sizes)
    number = [0, *accumulate(sizes[size] for size in ordered)]
    volume = [0, *accumulate(size * sizes[size] for size in ordered)]
    half = bisect_left(ordered, limit // 2 + 1)
    alone = number[-1] - number[half]
    best = 0
    for low in range(half + 1):
        least = ordered[low] if low < half else limit // 2 + 1
        # From `high` on no item of the size `least` fits beside.
        high = max(half, bisect_left(ordered, limit - least + 1))
        room = (number[high] - number[half]) * limit - (volume[high] - volume[half])
        best = max(best, alone + max(0, -(-(volume[half] - volume[low] - room) // limit)))
    return max(best, -(-volume[-1] // limit))


def _named(pattern: Pattern, bins: int, left: dict[int, list[list[int]]]) -> Iterator[tuple[Pattern, int]]:
    """The bins of one pattern, where classes of `left` stand for several, whose items are taken in order."""
    several = [c for c in pattern if c in left]
    while bins:
        # As many equal bins as the first member of each class can fill; a bin that needs two members comes alone.
        alike = max(1, min([bins, *(left[c][-1][1] // pattern[c] for c in several)]))
        named = {c: each for c, each in pattern.items() if c not in left}
        for c in several:
            for index, each in _taken(left[c], pattern[c], alike):
                named[index] = each
        yield named, alike
        bins -= alike


def _taken(members: list[list[int]], each: int, bins: int) -> Iterator[tuple[int, int]]:
    """Takes `each` items for each of `bins`: class, items a bin. More bins than one only from the first member."""
    while each:
        index, there = members[-1]
        taken = min(each, there)
        yield index, taken
        each -= taken
        members[-1][1] -= taken * bins
        if not members[-1][1]:
            members.pop()
