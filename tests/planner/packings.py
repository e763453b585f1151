"""A judge of packings that shares nothing with what packs."""

from collections import Counter


def judged(items, capacity, packing) -> int:
    """The number of bins of a packing, after a look at every bin and every item."""
    packed: Counter[int] = Counter()
    bins = 0
    for pattern, number in packing:
        assert number > 0
        assert pattern
        for dimension, limit in enumerate(capacity):
            assert sum(items[c][0][dimension] * k for c, k in pattern.items()) <= limit
        for c, k in pattern.items():
            assert k > 0
            packed[c] += k * number
        bins += number
    assert packed == +Counter({c: count for c, (_, count) in enumerate(items)})
    return bins
