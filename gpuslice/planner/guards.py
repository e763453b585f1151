"""The guard rails: what of a GPU suits a workload, in numbers, and why what does not suit is refused.

Time-slicing promises only what holds whichever pods of a pool meet on a GPU, since the Kubernetes scheduler knows no
shares of a slice: with r replicas, each pod's p95 is at most a part 1/r of the GPU, and its memory fits into 1/r of the
GPU's memory, less the reserve for its CUDA context.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from functools import cached_property
from typing import NamedTuple

from gpuslice.catalog import InstanceType, MigProfile, mig_profiles
from gpuslice.planner.model import MILLION, Workload
from gpuslice.planner.options import SLICE_FLOOR_MIB, TAIL, Options
from gpuslice.planner.speeds import carried, speed
from gpuslice.reserves import CONTEXT_RESERVE_MIB


@dataclass(frozen=True)
class Gpu:
    """A GPU, or a fraction of one, as instance types have it. `compute`: of a whole GPU, in millionths."""

    key: str
    memory_mib: int
    mig_gpu: str | None
    compute: int = MILLION

    @classmethod
    def of(cls, kind: InstanceType) -> Gpu:
        mig = kind.gpu.mig_gpu if kind.gpu.mig_status == "supported" and not kind.fractional else None
        part = MILLION * kind.gpu_memory_mib // kind.gpu.memory_mib if kind.fractional else MILLION
        return cls(kind.gpu.key, kind.gpu_memory_mib, mig, part)

    @cached_property
    def profiles(self) -> Mapping[str, MigProfile]:
        """The plain MIG profiles; empty where MIG on EC2 is not known to work."""
        known = mig_profiles(self.mig_gpu) if self.mig_gpu else {}
        return {name: profile for name, profile in known.items() if profile.plain}

    @cached_property
    def slices(self) -> tuple[int, int]:
        """Compute and memory slices."""
        profiles = self.profiles.values()
        return max(p.compute_slices for p in profiles), max(p.memory_slices for p in profiles)

    def profile_memory_mib(self, profile: MigProfile) -> int:
        """GPU memory of a MIG slice that a pod can count on, as `gpuslice.pools` reckons it."""
        part = self.memory_mib * profile.memory_slices // self.slices[1]
        return min(profile.memory_gb * 1024, part) - CONTEXT_RESERVE_MIB

    def profile_use(self, profile: MigProfile, tax: int) -> int:
        """What a MIG slice does of the GPU without MIG, in millionths: its compute slices, less what MIG takes.

        A lower bound: small models lose less on a slice (ParvaGPU's profiles: 7 slices give 1.1 to 3.35 GPUs).
        """
        return (MILLION - tax) * profile.compute_slices // self.slices[0]


@dataclass(frozen=True, slots=True)
class Fit:
    """What of a GPU suits a workload. `replicas`: the most with which it may be time-sliced, 1 for not at all."""

    whole: bool
    replicas: int
    profiles: frozenset[str]


NOTHING = Fit(False, 1, frozenset())


def use_on(workload: Workload, gpu: Gpu) -> int | None:
    """p95 of a workload on a GPU, in millionths of a whole one; None where it cannot be carried over."""
    return workload.p95 if workload.gpu is None else carried(workload.p95, workload.gpu, gpu.key)


class _Row(NamedTuple):
    """A GPU, as `fits` looks at it: use measured elsewhere, times `numerator` over `denominator`, is use of it."""

    numerator: int
    denominator: int
    compute: int
    memory_mib: int
    capacity: int
    most_replicas: int
    limits: list[tuple[str, int, int]]
    known: dict[tuple[int, tuple[str, ...]], Fit]


def table(source: str | None, gpus: Sequence[Gpu], options: Options) -> list[_Row | None]:
    """The GPUs, for workloads whose use was measured on `source`; None where use cannot be carried over."""
    return [_row(source, gpu, options) for gpu in gpus]


def _row(source: str | None, gpu: Gpu, options: Options) -> _Row | None:
    ratio = Fraction(1) if source is None else speed(source, gpu.key)
    if ratio is None:
        return None
    capacity = options.efficiency if options.headroom == "require" else MILLION
    limits = [
        (name, gpu.profile_memory_mib(p), gpu.profile_use(p, options.mig_tax)) for name, p in gpu.profiles.items()
    ]
    most = options.max_replicas if gpu.compute == MILLION else 1
    return _Row(ratio.denominator, ratio.numerator, gpu.compute, gpu.memory_mib, capacity, most, limits, {})


def fits(workload: Workload, rows: Sequence[_Row | None]) -> tuple[Fit, ...]:
    """What of each GPU of a table suits a workload. The inner loop of large plans: a million times a dozen GPUs."""
    memory = workload.memory_mib
    with_context = max(memory, SLICE_FLOOR_MIB) + CONTEXT_RESERVE_MIB
    alone = bool(unshareable(workload))
    found = []
    for row in rows:
        if row is None or memory > row.memory_mib - CONTEXT_RESERVE_MIB:
            found.append(NOTHING)
            continue
        use = -(-workload.p95 * row.numerator // row.denominator)
        if use > row.compute:
            found.append(NOTHING)
            continue
        replicas = 1 if alone else min(row.most_replicas, row.memory_mib // with_context)
        if use * replicas > row.capacity:
            replicas = row.capacity // use
        profiles = tuple([name for name, room, most in row.limits if memory <= room and use <= most])
        key = (replicas if replicas > 1 else 1, profiles)
        known = row.known.get(key)
        if known is None:
            known = row.known[key] = Fit(True, key[0], frozenset(profiles))
        found.append(known)
    return tuple(found)


def fit(workload: Workload, gpu: Gpu, options: Options) -> Fit:
    """What of one GPU suits a workload."""
    return fits(workload, table(workload.gpu, (gpu,), options))[0]


def unshareable(workload: Workload) -> str:
    """Why a workload must not be time-sliced on any GPU; empty where it may be."""
    if workload.latency == "critical":
        tail = f"{TAIL[0]} to {TAIL[1]} times as long"
        return f"latency is critical: beside a busy neighbour the slowest requests take {tail}"
    if workload.isolation == "hardware":
        return "isolation is hardware: tenants of a time-sliced GPU share its memory and its faults"
    return ""


def sharing_limits(workload: Workload, gpu: Gpu, use: int, options: Options) -> tuple[int, int, int]:
    """The most replicas by use, by memory, and by the option."""
    capacity = options.efficiency if options.headroom == "require" else MILLION
    memory = max(workload.memory_mib, SLICE_FLOOR_MIB) + CONTEXT_RESERVE_MIB
    return capacity // use if use else options.max_replicas, gpu.memory_mib // memory, options.max_replicas


def refusal(workload: Workload, gpu: Gpu, mode: str, options: Options) -> str:
    """Why a mode of sharing does not suit a workload on a GPU; empty where it does."""
    use = use_on(workload, gpu)
    if use is None:
        return f"the speed of {gpu.key} against {workload.gpu} is not known"
    if workload.memory_mib > gpu.memory_mib - CONTEXT_RESERVE_MIB:
        room = gpu.memory_mib - CONTEXT_RESERVE_MIB
        return f"needs {workload.memory_mib} MiB of GPU memory; {_part(gpu)} has {room}, less its CUDA context"
    if use > gpu.compute:
        return f"p95 is {use / MILLION:.0%} of one {gpu.key}" + (
            "" if gpu.compute == MILLION else f", and {_part(gpu)} is less"
        )
    if mode == "mig":
        return _no_mig(workload, gpu, use, options)
    return _no_sharing(workload, gpu, use, options) if mode == "time-slicing" else ""


def _part(gpu: Gpu) -> str:
    return gpu.key if gpu.compute == MILLION else f"{gpu.compute / MILLION:.3g} of a {gpu.key}"


def _no_sharing(workload: Workload, gpu: Gpu, use: int, options: Options) -> str:
    if unshareable(workload):
        return unshareable(workload)
    if gpu.compute < MILLION:
        return f"{_part(gpu)} is not shared further"
    by_use, by_memory, by_option = sharing_limits(workload, gpu, use, options)
    if min(by_use, by_memory, by_option) > 1:
        return ""
    if by_use < 2:
        return f"p95 is {use / MILLION:.0%} of one {gpu.key}: two do not fit"
    if by_memory < 2:
        return f"needs {workload.memory_mib} MiB of the {gpu.memory_mib} of {gpu.key}: two do not fit"
    return f"at most {by_option} replica is allowed"


def _no_mig(workload: Workload, gpu: Gpu, use: int, options: Options) -> str:
    if not gpu.profiles:
        return f"{gpu.key} has no MIG that is known to work on EC2"
    if fit(workload, gpu, options).profiles:
        return ""
    most = max(gpu.profile_use(p, options.mig_tax) for p in gpu.profiles.values())
    if use > most:
        return f"p95 is {use / MILLION:.0%} of one {gpu.key}; its largest MIG slice does {most / MILLION:.0%}"
    return f"no MIG slice of {gpu.key} has {workload.memory_mib} MiB and does {use / MILLION:.0%} of it"
