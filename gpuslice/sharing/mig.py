"""MIG layouts: what fits on a GPU, what it is called, and the mig-parted configuration that makes it.

A layout says how many instances of each profile one GPU is cut into. It is placeable when the instances'
intervals of memory slices can be laid out without overlap, each starting where its profile may start. That
is found by search: adding up slices accepts layouts that the GPU refuses, and taking the first free place
refuses layouts that the GPU accepts (3g before 4g).
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from difflib import get_close_matches
from fractions import Fraction
from functools import cache
from typing import Any

from gpuslice.catalog import GpuModel, MigProfile, mig_gpus, mig_profiles

_NVIDIA_PCI_VENDOR = "10DE"
_LABEL_VALUE_LIMIT = 63

# Counts of profiles in catalogue order: the canonical, hashable form of a layout.
_Counts = tuple[tuple[str, int], ...]


class MigLayoutError(ValueError):
    """A layout that the GPU cannot hold, or that is not one. The message says where, what and why."""


@dataclass(frozen=True, slots=True)
class Instance:
    """One GPU instance in its place: it takes the memory slices `start` to `stop` - 1."""

    profile: MigProfile
    start: int

    @property
    def stop(self) -> int:
        return self.start + self.profile.memory_slices


def place(mig_gpu: str, layout: Mapping[str, int]) -> tuple[Instance, ...]:
    """Where each instance of a layout starts on one GPU, in order of the start slices.

    `layout` maps profile names to counts, as in `{"1g.5gb": 3, "2g.10gb": 2}`. The answer is the same for
    every order of its keys. Raises UnknownGpu for the GPU, MigLayoutError for the layout.
    """
    return _placed(mig_gpu, layout)[1]


def layouts(mig_gpu: str, media: bool = False) -> tuple[dict[str, int], ...]:
    """Every placeable layout of a GPU, one or more instances each, in a fixed order.

    Profiles with attributes (`+me`, `-me`, `+gfx`) take part only when `media` is true.
    """
    return tuple(dict(counts) for counts in _all_layouts(mig_gpu, media))


def maximal_layouts(mig_gpu: str) -> tuple[dict[str, int], ...]:
    """The layouts of profiles without attributes to which no further instance can be added."""
    return tuple(dict(counts) for counts in _maximal(mig_gpu))


def layout_name(mig_gpu: str, layout: Mapping[str, int]) -> str:
    """A layout's name, such as `a100-40gb.1g.5gb-3.2g.10gb-2`: a valid Kubernetes label value.

    It depends on the GPU and the counts alone, and no two layouts share one. Where the spelled-out name
    would pass 63 characters (four kinds of profile with attributes on one RTX PRO 6000), a digest of it
    stands in for the counts. Raises as `place` does: only what fits on a GPU has a name.
    """
    parts = [f"{name.replace('+', '.')}-{count}" for name, count in _placed(mig_gpu, layout)[0]]
    spelled = ".".join([mig_gpu.lower(), *parts])
    if len(spelled) <= _LABEL_VALUE_LIMIT:
        return spelled
    return f"{mig_gpu.lower()}.{hashlib.sha256(spelled.encode()).hexdigest()[:16]}"


def resources(mig_gpu: str, layout: Mapping[str, int]) -> dict[str, int]:
    """The extended resources that one GPU in this layout gives under the MIG strategy `mixed`.

    Raises as `place` does.
    """
    profiles = mig_profiles(mig_gpu)
    return {profiles[name].resource: count for name, count in _placed(mig_gpu, layout)[0]}


def shares(mig_gpu: str, layout: Mapping[str, int]) -> dict[str, Fraction]:
    """The share of one GPU's price that one slice of each profile carries.

    A slice weighs as much as the larger of its shares of the GPU's compute and memory slices. The shares of
    all slices of the layout add up to exactly 1: what a layout leaves unused is paid by those it has.
    Raises as `place` does.
    """
    profiles = mig_profiles(mig_gpu)
    counts, _ = _placed(mig_gpu, layout)
    compute = max(profile.compute_slices for profile in profiles.values())
    memory = _memory_slices(mig_gpu)
    weights = {
        name: max(Fraction(profiles[name].compute_slices, compute), Fraction(profiles[name].memory_slices, memory))
        for name, _ in counts
    }
    total = sum(weights[name] * count for name, count in counts)
    return {name: weight / total for name, weight in weights.items()}


def mig_parted_config(
    gpus: Iterable[GpuModel], extra: Iterable[tuple[GpuModel, Mapping[str, int]]] = ()
) -> dict[str, Any]:
    """The mig-parted configuration document (version v1), as data.

    It holds every placeable layout of each GPU under its `layout_name`, so that a node label made from any
    of them resolves, the layouts of `extra` besides (for example with `+me`), and `all-disabled`, which the
    GPU Operator asks for. The document is the same for every order of the arguments.

    Raises MigLayoutError for a GPU without MIG profiles or an extra layout that does not fit.
    """
    wanted = {(gpu, counts) for gpu in gpus for counts in _all_layouts(_mig_gpu(gpu), False)}
    for gpu, layout in extra:
        wanted.add((gpu, _placed(_mig_gpu(gpu), layout)[0]))
    configs: dict[str, list[dict[str, Any]]] = {"all-disabled": [{"devices": "all", "mig-enabled": False}]}
    for gpu, counts in sorted(wanted, key=lambda entry: (entry[0].key, entry[1])):
        # A list: two models with one profile table differ in their device filter only.
        configs.setdefault(layout_name(_mig_gpu(gpu), dict(counts)), []).append(_config_entry(gpu, counts))
    return {"version": "v1", "mig-configs": configs}


def _config_entry(gpu: GpuModel, counts: _Counts) -> dict[str, Any]:
    return {
        "device-filter": [f"{gpu.pci_device_id}{_NVIDIA_PCI_VENDOR}"],
        "devices": "all",
        "mig-enabled": True,
        "mig-devices": dict(counts),
    }


def _mig_gpu(gpu: GpuModel) -> str:
    if gpu.mig_gpu is None or gpu.pci_device_id is None:
        raise MigLayoutError(f"GPU {gpu.key} has no MIG profiles; GPUs with MIG: {', '.join(mig_gpus())}")
    return gpu.mig_gpu


def _placed(mig_gpu: str, layout: Mapping[str, int]) -> tuple[_Counts, tuple[Instance, ...]]:
    counts = _canonical(mig_gpu, layout)
    _check_limits(mig_gpu, counts)
    instances = _search(mig_gpu, counts)
    if instances is None:
        raise MigLayoutError(_does_not_fit(mig_gpu, counts))
    return counts, instances


def _memory_slices(mig_gpu: str) -> int:
    return max(profile.memory_slices for profile in mig_profiles(mig_gpu).values())


def _canonical(mig_gpu: str, layout: Mapping[str, int]) -> _Counts:
    """The layout with its profiles in catalogue order. Raises for unknown profiles and counts below 1."""
    profiles = mig_profiles(mig_gpu)
    if not layout:
        raise MigLayoutError(f"{mig_gpu}: the layout is empty; allowed profiles: {', '.join(profiles)}")
    for name, count in layout.items():
        if name not in profiles:
            raise MigLayoutError(_unknown_profile(mig_gpu, name))
        if isinstance(count, bool) or not isinstance(count, int) or count < 1:
            limit = profiles[name].max_instances
            raise MigLayoutError(f"{mig_gpu}: {name}: {count!r} is not a count; allowed: 1 to {limit}")
    return tuple((name, layout[name]) for name in profiles if name in layout)


def _unknown_profile(mig_gpu: str, name: object) -> str:
    profiles = mig_profiles(mig_gpu)
    shown = repr(name)[:80]
    owners = [gpu for gpu in mig_gpus() if name in mig_profiles(gpu)]
    message = f"{mig_gpu} has no MIG profile {shown}"
    if owners:
        message += f" ({', '.join(owners)} {'has' if len(owners) == 1 else 'have'} it)"
    message += f"; allowed: {', '.join(profiles)}"
    close = get_close_matches(str(name)[:80].lower(), profiles, n=1)
    return f"{message}; did you mean {close[0]}?" if close else message


def _check_limits(mig_gpu: str, counts: _Counts) -> None:
    profiles = mig_profiles(mig_gpu)
    for name, count in counts:
        limit = profiles[name].max_instances
        if count > limit:
            raise MigLayoutError(f"{mig_gpu}: {name}: {count} asked, at most {limit} on one GPU")
    media = [f"{name} x {count}" for name, count in counts if profiles[name].takes_media]
    if _media_instances(mig_gpu, counts) > 1:
        raise MigLayoutError(f"{mig_gpu}: {', '.join(media)}: at most one +me instance fits on one GPU")


def _media_instances(mig_gpu: str, counts: _Counts) -> int:
    profiles = mig_profiles(mig_gpu)
    return sum(count for name, count in counts if profiles[name].takes_media)


def _does_not_fit(mig_gpu: str, counts: _Counts) -> str:
    profiles = mig_profiles(mig_gpu)
    asked = sum(profiles[name].memory_slices * count for name, count in counts)
    fits = max(
        _within(mig_gpu, counts),
        key=lambda part: (sum(profiles[name].memory_slices * count for name, count in part), part),
    )
    return (
        f"{mig_gpu}: {_spell(counts)} cannot be placed: it needs {asked} of {_memory_slices(mig_gpu)} memory "
        f"slices, each instance at a fixed start; of it at most {_spell(fits)} fits on one GPU"
    )


def _spell(counts: _Counts) -> str:
    return " + ".join(f"{count} x {name}" for name, count in counts)


@cache
def _all_layouts(mig_gpu: str, media: bool) -> tuple[_Counts, ...]:
    profiles = mig_profiles(mig_gpu).values()
    caps = tuple((profile.name, profile.max_instances) for profile in profiles if media or profile.plain)
    return tuple(_within(mig_gpu, caps))


@cache
def _maximal(mig_gpu: str) -> tuple[_Counts, ...]:
    found = _all_layouts(mig_gpu, False)
    known = {frozenset(counts) for counts in found}
    names = [profile.name for profile in mig_profiles(mig_gpu).values() if profile.plain]

    def grows(counts: _Counts) -> bool:
        amounts = dict(counts)
        return any(frozenset({**amounts, name: amounts.get(name, 0) + 1}.items()) in known for name in names)

    return tuple(counts for counts in found if not grows(counts))


def _within(mig_gpu: str, caps: _Counts) -> Iterator[_Counts]:
    """Every placeable layout of at least one instance with no more of any profile than `caps` has.

    Each is grown from a smaller one: what has no place does not get one by adding to it.
    """

    def grow(counts: _Counts, rest: _Counts) -> Iterator[_Counts]:
        for index, (name, cap) in enumerate(rest):
            for count in range(1, cap + 1):
                grown = (*counts, (name, count))
                if _media_instances(mig_gpu, grown) > 1 or _search(mig_gpu, grown) is None:
                    break
                yield grown
                yield from grow(grown, rest[index + 1 :])

    return grow((), caps)


@cache
def _search(mig_gpu: str, counts: _Counts) -> tuple[Instance, ...] | None:
    """Backtracking over the start slices, the largest profiles first; None where there is no place."""
    profiles = mig_profiles(mig_gpu)
    wanted = [profiles[name] for name, count in counts for _ in range(count)]
    wanted.sort(key=lambda profile: profile.memory_slices, reverse=True)

    def extend(placed: tuple[Instance, ...]) -> tuple[Instance, ...] | None:
        if len(placed) == len(wanted):
            return tuple(sorted(placed, key=lambda instance: instance.start))
        profile = wanted[len(placed)]
        # Instances of one profile are interchangeable, so only ascending starts are tried.
        floor = placed[-1].stop if placed and placed[-1].profile == profile else 0
        for start in (start for start in profile.placements if start >= floor):
            instance = Instance(profile, start)
            if all(instance.stop <= other.start or other.stop <= start for other in placed):
                answer = extend((*placed, instance))
                if answer is not None:
                    return answer
        return None

    return extend(())
