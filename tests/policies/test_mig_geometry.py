"""The policies' own search for MIG placements against published vectors, and against the program's."""

from __future__ import annotations

from itertools import product

import pytest

from gpuslice.catalog import mig_gpus, mig_profiles
from gpuslice.sharing import mig
from policies.mig_geometry import placeable, placeable_anywhere

A100 = "A100-40GB"
BASE = ("1g.5gb", "2g.10gb", "3g.20gb", "4g.20gb", "7g.40gb")


def multisets(mig_gpu: str, names: tuple[str, ...]) -> list[dict[str, int]]:
    """Every choice of counts up to one more than the most that a profile says of itself."""
    most = [range(mig_profiles(mig_gpu)[name].max_instances + 2) for name in names]
    return [{n: c for n, c in zip(names, counts, strict=True) if c} for counts in product(*most)]


def maximal(mig_gpu: str, names: tuple[str, ...]) -> list[dict[str, int]]:
    fitting = [counts for counts in multisets(mig_gpu, names) if placeable(mig_gpu, counts)]
    return [c for c in fitting if not any(placeable(mig_gpu, {**c, name: c.get(name, 0) + 1}) for name in names)]


def test_an_a100_has_the_twelve_maximal_layouts_of_nvidias_table():
    assert len(maximal(A100, BASE)) == 12


def test_with_the_double_memory_profile_there_are_28_maximal_ones_of_77():
    names = (*BASE, "1g.10gb")
    fitting = [counts for counts in multisets(A100, names) if counts and placeable(A100, counts)]
    assert (len(maximal(A100, names)), len(fitting)) == (28, 77)


def test_a_gpu_of_four_slices_has_four_maximal_layouts():
    assert len(maximal("A30-24GB", ("1g.6gb", "2g.12gb", "4g.24gb"))) == 4


@pytest.mark.parametrize("mig_gpu", mig_gpus())
def test_it_agrees_with_the_programs_own_search(mig_gpu):
    """Written apart, by another method: where both accept or refuse a layout, a mistake is in neither."""
    known = {frozenset(layout.items()) for layout in mig.layouts(mig_gpu, media=True)}
    names = tuple(mig_profiles(mig_gpu))
    ours = {frozenset(c.items()) for c in grown(mig_gpu, names) if c}
    assert ours == known


def grown(mig_gpu: str, names: tuple[str, ...]) -> list[dict[str, int]]:
    """Every placeable layout: of what has no place nothing larger has one."""
    found: list[dict[str, int]] = [{}]
    for name in names:
        for counts in list(found):
            count = 1
            while placeable(mig_gpu, larger := {**counts, name: count}):
                found.append(larger)
                count += 1
    return found


def test_nothing_has_a_place_everywhere_and_an_unknown_profile_nowhere():
    assert all(placeable(mig_gpu, {}) for mig_gpu in mig_gpus())
    assert placeable_anywhere({"1g.5gb": 7})
    assert not placeable_anywhere({"1g.5gb": 1, "1g.18gb": 1})
    assert not placeable_anywhere({"1g.7gb": 1})


def test_a_count_beyond_reason_is_refused_at_once():
    assert not placeable(A100, {"1g.5gb": 10**15})
