"""Entries that stand in a list more than once."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from gpuslice.problems import Problem, shown


def repeated(lists: Mapping[str, Sequence[str]], path: str) -> Iterator[Problem]:
    """One problem for each value of `lists` (key to values) that is there more than once."""
    for key, values in lists.items():
        for index, value in enumerate(values):
            if value in values[:index]:
                yield Problem(f"{path}.{key}[{index}]", shown(value), "is there twice", "each value once")
