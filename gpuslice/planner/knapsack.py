"""The most valuable content of one bin, in whole numbers: exact, or with a bound that holds however early it stops."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from fractions import Fraction
from operator import mul, sub
from typing import Any

Size = tuple[int, ...]
Pattern = dict[int, int]

_TABLE_CELLS = 4_000_000
"""Largest table of the dynamic programme: about 4 MB and 10 ms."""
_TABLE_VALUE = 1 << 62
"""No sum of values in a table of 64-bit numbers may reach this."""
_BETWEEN_LOOKS = 512
"""Nodes between two looks at the clock."""
_QUICK_PATTERNS = 40
_ENOUGH_NODES = 5_000
"""Nodes after which a pattern that is good enough is taken, best or not."""


@dataclass(slots=True)
class Best:
    """`found`: patterns above the floor, each better than the one before. No pattern at all is worth over `most`."""

    most: int
    found: list[Pattern] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class Question:
    """Which pattern is worth the most? Class `c`: `sizes[c]`, `values[c]`, at most `limits[c]` items; all >= 0."""

    sizes: Sequence[Size]
    values: Sequence[int]
    limits: Sequence[int]
    capacity: Size

    def most(self, c: int) -> int:
        """How many of a class fit one bin."""
        fits = [room // size for room, size in zip(self.capacity, self.sizes[c], strict=True) if size]
        return min([self.limits[c], *fits])


def solve(question: Question, floor: int, multipliers: Sequence[int], stop: float) -> Best:
    """Patterns worth more than `floor`, the best if there is time, and a bound on the worth of every pattern.

    `multipliers`: what a unit of each dimension counts for in bounds, any numbers >= 0; best are the dual values of
    the linear relaxation. `stop`: time.monotonic() at which to give up.
    """
    classes = _ordered(question, multipliers)
    if len(question.capacity) == 1 and classes:
        parts = sum(question.most(c).bit_length() for c in classes)
        worth = sum(question.most(c) * question.values[c] for c in classes)
        if parts * (question.capacity[0] + 1) <= _TABLE_CELLS and worth < _TABLE_VALUE:
            return _by_table(question, classes, floor)
    return _Search(question, classes, floor, multipliers).run(stop)


def quick(question: Question, floor: int, multipliers: Sequence[int]) -> list[Pattern]:
    """Some patterns worth more than `floor` that share no item: what is worth most by weight first."""
    left = {c: question.most(c) for c in _ordered(question, multipliers)}
    found: list[Pattern] = []
    while left and len(found) < _QUICK_PATTERNS:
        pattern: Pattern = {}
        room = question.capacity
        for c, limit in left.items():
            size = question.sizes[c]
            number = min([limit, *[free // amount for free, amount in zip(room, size, strict=True) if amount]])
            if number:
                pattern[c] = number
                room = tuple([free - number * amount for free, amount in zip(room, size, strict=True)])
        if sum(question.values[c] * number for c, number in pattern.items()) <= floor:
            break
        found.append(pattern)
        left = {c: limit - pattern.get(c, 0) for c, limit in left.items() if limit > pattern.get(c, 0)}
    return found


def _ordered(question: Question, multipliers: Sequence[int]) -> list[int]:
    """Classes that are worth something, by value per weight; exact, because bounds lean on this order."""
    classes = [c for c, value in enumerate(question.values) if value and question.most(c)]
    weights = {c: sum(map(mul, question.sizes[c], multipliers)) for c in classes}
    return sorted(classes, key=lambda c: (weights[c] > 0, Fraction(-question.values[c], weights[c] or 1), c))


def _by_table(question: Question, classes: Sequence[int], floor: int) -> Best:
    """Dynamic programme over the rooms of a bin. A class enters as parts of 1, 2, 4, ... items: any number is a sum."""
    import numpy as np

    (room,) = question.capacity
    worth: Any = np.zeros(room + 1, dtype=np.int64)
    taken: list[tuple[int, int, Any]] = []
    for c in classes:
        left, part = question.most(c), 1
        while left:
            part = min(part, left)
            size = question.sizes[c][0] * part
            better = worth[: room + 1 - size] + question.values[c] * part
            gain = better > worth[size:]
            worth = worth.copy()
            worth[size:][gain] = better[gain]
            taken.append((c, part, gain))
            left -= part
            part *= 2
    best = Best(max(floor, int(worth[room])))
    if best.most > floor:
        pattern: Pattern = {}
        for c, part, gain in reversed(taken):
            size = question.sizes[c][0] * part
            if size <= room and gain[room - size]:
                pattern[c] = pattern.get(c, 0) + part
                room -= size
        best.found.append(pattern)
    return best


class _Search:
    """Branch and bound, depth first, classes by value per weight.

    The weight of a class adds its dimensions up with multipliers >= 0, so what fits a bin fits this one dimension too,
    and filling that with fractions of items bounds the value.
    """

    def __init__(self, question: Question, order: Sequence[int], floor: int, multipliers: Sequence[int]) -> None:
        self._classes = order
        self._sizes = [question.sizes[c] for c in order]
        self._values = [question.values[c] for c in order]
        self._limits = [question.most(c) for c in order]
        self._weights: list[int] = [sum(map(mul, size, multipliers)) for size in self._sizes]
        self._start = (question.capacity, sum(map(mul, question.capacity, multipliers)))
        self._best = Best(floor)

    def run(self, stop: float) -> Best:
        room, weight = self._start
        best, nodes = self._best, 0
        # A node has decided the classes before `at`; it stands for all ways to take at most `number` of class `at`.
        nodes_open: list[tuple[int, int, int, int, Size, tuple[Any, ...]]] = [
            (0, self._most(0, room), 0, weight, room, ())
        ]
        while nodes_open:
            at, number, value, weight, room, chosen = nodes_open.pop()
            if at == len(self._classes):
                continue
            value_now = value + number * self._values[at]
            weight_now = weight - number * self._weights[at]
            # With less of the class that is worth most by weight no bound rises: one that fails ends them all.
            if self._bound(at + 1, value_now, weight_now) <= best.most:
                continue
            if number:
                nodes_open.append((at, number - 1, value, weight, room, chosen))
                room = tuple(map(sub, room, [number * size for size in self._sizes[at]]))
                chosen = (at, number, chosen)
            if value_now > best.most:
                best.most = value_now
                best.found.append(self._pattern(chosen))
            nodes_open.append((at + 1, self._most(at + 1, room), value_now, weight_now, room, chosen))
            nodes += 1
            if nodes % _BETWEEN_LOOKS == 0 and (time.monotonic() > stop or (best.found and nodes > _ENOUGH_NODES)):
                bounds = [self._bound(at, value, weight) for at, _, value, weight, _, _ in nodes_open]
                best.most = max([best.most, *bounds])
                break
        return best

    def _most(self, at: int, room: Size) -> int:
        if at == len(self._classes):
            return 0
        fits = [left // size for left, size in zip(room, self._sizes[at], strict=True) if size]
        return min([self._limits[at], *fits])

    def _bound(self, at: int, value: int, weight: int) -> int:
        for place in range(at, len(self._classes)):
            each = self._weights[place]
            limit = self._limits[place]
            if each * limit > weight:
                return value + weight * self._values[place] // each
            weight -= each * limit
            value += self._values[place] * limit
        return value

    def _pattern(self, chosen: tuple[Any, ...]) -> Pattern:
        pattern: Pattern = {}
        while chosen:
            at, number, chosen = chosen
            pattern[self._classes[at]] = number
        return pattern
