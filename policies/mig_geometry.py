"""Which MIG layouts fit on a GPU, judged by every way of laying their instances over its memory slices."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from functools import cache

from gpuslice.catalog import MigProfile, mig_gpus, mig_profiles


def placeable(mig_gpu: str, counts: Mapping[str, int]) -> bool:
    """Whether one GPU (such as `A100-40GB`) can hold these instances at once: profile name to count."""
    return _placeable(mig_gpu, frozenset(counts.items()))


def placeable_anywhere(counts: Mapping[str, int]) -> bool:
    """Whether some GPU can hold these instances."""
    return any(placeable(mig_gpu, counts) for mig_gpu in mig_gpus())


@cache
def _placeable(mig_gpu: str, counts: frozenset[tuple[str, int]]) -> bool:
    profiles = mig_profiles(mig_gpu)
    if any(name not in profiles or count > profiles[name].max_instances for name, count in counts):
        return False
    # A GPU has one set of media engines to give away by name.
    if sum(count for name, count in counts if profiles[name].takes_media) > 1:
        return False
    return _fit(_masks(profiles[name]) for name, count in counts for _ in range(count))


def _masks(profile: MigProfile) -> tuple[int, ...]:
    """The memory slices that an instance takes in each of its places, one bit for each slice."""
    return tuple((1 << profile.memory_slices) - 1 << start for start in profile.placements)


def _fit(instances: Iterable[tuple[int, ...]]) -> bool:
    """Whether every instance finds a place of its own.

    All sets of taken slices that the instances so far can lead to are kept, at most 256 of them: no order of placing
    is preferred, so none can be missed.
    """
    reachable = {0}
    for masks in instances:
        reachable = {taken | mask for taken in reachable for mask in masks if not taken & mask}
    return bool(reachable)
