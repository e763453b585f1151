"""What GPUs were seen to do, turned into workloads that the planner can place.

A reader (`dcgm.py`, `prometheus.py`) hands over one `Series` for each pod and GPU; `assemble` makes workloads of them:

- Pods of one owner are one workload. The owner is read off the pod's name, as Kubernetes builds it: a Deployment
  adds a hash and five characters, a Job or DaemonSet five characters, a CronJob the minute too, a StatefulSet a number.
- `count` is the largest number of the owner's pods that ran at one time; a pod runs from its first sample to its last.
- `mean` is over all samples of the owner's pods. `p95` is the largest of the pods' own 95th percentiles, and no less
  than the mean: no pod is above it for longer than a twentieth of its time.
- `memory_mib` is the largest framebuffer use that was seen. It holds the CUDA context already. The planner adds its
  reserve for the context on top, so by default the context counts twice: samples miss the peaks between them.
- A GPU's figures are those of the whole GPU: where pods shared one, each gets the sum. That is too much, never too
  little (github.com/NVIDIA/dcgm-exporter issues 307 and 587).
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from gpuslice.planner.amounts import listed
from gpuslice.planner.errors import InputError
from gpuslice.planner.model import MILLION, Workload

UNDER_USED = MILLION // 2
"""A workload whose p95 is below this is listed as under-used."""
FEWEST_SAMPLES = 20
"""Below so many samples of a pod, its 95th percentile is little more than its largest sample."""
SHORTEST_SPAN = 24 * 3600.0
"""Seconds. A shorter time is likely to miss the busy hours of a day."""

# What Kubernetes draws names from (k8s.io/apimachinery pkg/util/rand): no vowels, and no 0, 1 or 3. The hash of a
# ReplicaSet is a decimal number spelled in ten of them; a CronJob's Job carries its minute in digits.
_DRAWN = "[bcdfghjklmnpqrstvwxz2456789]{5}"
_SUFFIXES = (
    re.compile(rf"-(?:[456789bcdf]{{6,10}}|\d{{8,10}})-{_DRAWN}"),
    re.compile(rf"(?:-\d{{1,5}})?-{_DRAWN}"),
    re.compile(r"-\d{1,5}"),
)
_NAMED = 5


@dataclass(frozen=True, slots=True)
class Series:
    """What was seen of one pod on one GPU; with an empty `pod`, of a GPU that no pod held.

    `gpu`: what tells GPUs apart, empty where the source does not say. `model`: key of the catalogue, None where not
    known. `samples`, `total`: number and sum of the samples of use, in millionths of the GPU; `p95` alike.
    `memory_mib`: largest seen, None without a sample. `first`, `last`: seconds since 1970.
    """

    namespace: str
    pod: str
    gpu: str
    model: str | None
    mig: bool
    samples: int
    total: int
    p95: int
    memory_mib: int | None
    first: float
    last: float


@dataclass(frozen=True, slots=True)
class IdleGpu:
    """A GPU that was seen without a pod. `idle`: in how many millionths of its samples."""

    gpu: str
    model: str | None
    idle: int
    samples: int


@dataclass(frozen=True, slots=True)
class Usage:
    """What was measured, as workloads by name (`namespace/owner`, with `@gpu` behind it where an owner has several).

    `under_used`: names of the workloads whose p95 is below `UNDER_USED`. `samples`: samples of use, those of idle
    GPUs included. `blanks`: values that DCGM marked as blank, left out. `first`, `last`: seconds since 1970.
    """

    workloads: tuple[Workload, ...]
    idle_gpus: tuple[IdleGpu, ...]
    under_used: tuple[str, ...]
    samples: int
    blanks: int
    first: float
    last: float
    warnings: tuple[str, ...]


def as_json(usage: Usage) -> dict[str, Any]:
    """What was measured, as the answer of a plan gives it: times in ISO 8601, parts from 0 to 1."""
    first, last = (datetime.fromtimestamp(t, UTC).isoformat(timespec="seconds") for t in (usage.first, usage.last))
    return {
        "first": first,
        "last": last,
        "samples": usage.samples,
        "underUsed": list(usage.under_used),
        "idleGpus": [{"gpu": i.gpu, "model": i.model or "", "idle": i.idle / MILLION} for i in usage.idle_gpus],
    }


def owner(pod: str) -> str:
    """The name of what made a pod, as far as the pod's name tells: `api-6d4b75cb6d-x2x5q` -> `api`."""
    for suffix in _SUFFIXES:
        found = re.fullmatch(rf"(.+?){suffix.pattern}", pod)
        if found:
            return found[1]
    return pod


def most_at_once(spans: Iterable[tuple[float, float]]) -> int:
    """The largest number of spans (first, last) that share a moment; both ends belong to a span."""
    edges = sorted(edge for first, last in spans for edge in ((first, 0), (last, 1)))
    running = most = 0
    for _, ends in edges:
        running += -1 if ends else 1
        most = max(most, running)
    return most


def assemble(
    series: Sequence[Series], *, place: str, blanks: int = 0, warnings: Iterable[str] = (), context_mib: int = 0
) -> Usage:
    """Workloads of the series. `context_mib` is taken off every pod's memory: pass what the planner will add to it.

    `place` names the source in errors. Raises InputError where nothing at all was seen.
    """
    if not series:
        raise InputError([f"{place}: no samples of a GPU"])
    notes = [*warnings, *([f"values that DCGM marks as blank, left out: {blanks}"] if blanks else [])]
    usable = _usable([one for one in series if one.pod], notes)
    groups = _grouped(usable, notes)
    workloads = tuple(sorted((_workload(name, group, context_mib) for name, group in groups), key=lambda w: w.name))
    first, last = min(one.first for one in series), max(one.last for one in series)
    _judge(workloads, groups, last - first, notes)
    return Usage(
        workloads=workloads,
        idle_gpus=_idle(series),
        under_used=tuple(w.name for w in workloads if w.p95 < UNDER_USED),
        samples=sum(one.samples for one in series),
        blanks=blanks,
        first=first,
        last=last,
        warnings=tuple(notes),
    )


def _usable(series: list[Series], notes: list[str]) -> list[Series]:
    """The pods that held one whole GPU at a time; notes name the others."""
    on_mig = _pods(one for one in series if one.mig)
    _note(notes, on_mig, "pods on MIG instances, left out because the use of a slice is no use of a GPU")
    series = [one for one in series if _pod(one) not in on_mig]
    by_pod: dict[str, list[Series]] = defaultdict(list)
    for one in series:
        by_pod[_pod(one)].append(one)
    several = [pod for pod, parts in by_pod.items() if _gpus_at_once(parts) > 1]
    _note(notes, several, "pods that held several GPUs at once, left out because a workload here is a pod of one GPU")
    series = [one for one in series if _pod(one) not in set(several)]
    _note(
        notes,
        _sharing(series),
        "pods that shared a GPU, each given the use and the memory of the whole GPU",
    )
    return series


def _gpus_at_once(parts: list[Series]) -> int:
    by_gpu: dict[str, list[Series]] = defaultdict(list)
    for part in parts:
        by_gpu[part.gpu].append(part)
    return most_at_once((min(p.first for p in ps), max(p.last for p in ps)) for ps in by_gpu.values())


def _sharing(series: list[Series]) -> list[str]:
    """The pods that were on a GPU at the same time as another pod."""
    by_gpu: dict[str, list[Series]] = defaultdict(list)
    for one in series:
        if one.gpu:
            by_gpu[one.gpu].append(one)
    found: list[str] = []
    for parts in by_gpu.values():
        latest: Series | None = None
        for part in sorted(parts, key=lambda p: (p.first, p.last)):
            if latest and _pod(latest) != _pod(part) and part.first <= latest.last:
                found += [_pod(latest), _pod(part)]
            latest = part if latest is None or part.last > latest.last else latest
    return list(dict.fromkeys(found))


def _grouped(series: list[Series], notes: list[str]) -> list[tuple[str, list[Series]]]:
    """The series of each workload under its name; owners without a sample of use or of memory are left out."""
    owners: dict[tuple[str, str], dict[str, list[Series]]] = defaultdict(lambda: defaultdict(list))
    for one in series:
        owners[one.namespace, owner(one.pod)][one.model or ""].append(one)
    groups = []
    lacking = []
    for (namespace, name), models in owners.items():
        for model, group in models.items():
            title = f"{namespace}/{name}" + (f"@{model}" if len(models) > 1 else "")
            known = any(one.samples for one in group) and any(one.memory_mib is not None for one in group)
            (groups.append((title, group)) if known else lacking.append(title))
    _note(notes, lacking, "no sample of use, or none of memory, left out")
    return groups


def _workload(name: str, group: list[Series], context_mib: int) -> Workload:
    by_pod: dict[str, list[Series]] = defaultdict(list)
    for one in group:
        by_pod[one.pod].append(one)
    mean = -(-sum(one.total for one in group) // sum(one.samples for one in group))
    return Workload(
        name=name,
        count=most_at_once((min(p.first for p in parts), max(p.last for p in parts)) for parts in by_pod.values()),
        memory_mib=max(1, max(one.memory_mib or 0 for one in group) - context_mib),
        mean=mean,
        p95=max(mean, *(one.p95 for one in group)),
        gpu=group[0].model,
        group=group[0].namespace,
    )


def _judge(
    workloads: Sequence[Workload], groups: list[tuple[str, list[Series]]], span: float, notes: list[str]
) -> None:
    """Notes on what the figures cannot bear."""
    few = [name for name, group in groups if max(one.samples for one in group) < FEWEST_SAMPLES]
    _note(notes, few, f"fewer than {FEWEST_SAMPLES} samples of any pod, too few for a 95th percentile")
    _note(notes, [w.name for w in workloads if w.p95 == 0], "held a GPU and never used it")
    if span < SHORTEST_SPAN:
        notes.append(f"the samples span {span / 3600:.1f} hours: the busy hours of a day may be missing")


def _idle(series: Sequence[Series]) -> tuple[IdleGpu, ...]:
    """The GPUs with samples that no pod claims, by name."""
    by_gpu: dict[str, list[Series]] = defaultdict(list)
    for one in series:
        by_gpu[one.gpu].append(one)
    found = []
    for gpu, parts in sorted(by_gpu.items()):
        alone = [part for part in parts if not part.pod]
        total, idle = (sum(part.samples for part in some) for some in (parts, alone))
        if alone:
            model = next((part.model for part in alone if part.model), None)
            found.append(IdleGpu(gpu, model, MILLION * idle // total if total else MILLION, idle))
    return tuple(found)


def _pod(one: Series) -> str:
    return f"{one.namespace}/{one.pod}"


def _pods(series: Iterable[Series]) -> list[str]:
    return list(dict.fromkeys(_pod(one) for one in series))


def _note(notes: list[str], names: Sequence[str], what: str) -> None:
    if names:
        notes.append(f"{what}: {listed(names, _NAMED)}")
