"""Checks placements of services on A100 GPUs by the measured profiles alone. Shares no code with the planner.

Reads ParvaGPU's files itself and knows the geometry of the A100 from NVIDIA's MIG user guide, "Supported MIG
Profiles": 8 memory slices, 7 compute slices, and for each size of instance where it may start.
"""

from __future__ import annotations

import csv
from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

STARTS = {1: (0, 1, 2, 3, 4, 5, 6), 2: (0, 2, 4), 3: (0, 4), 4: (0,), 7: (0,)}
"""Compute slices of an instance to the memory slices where it may start."""
WIDTHS = {1: 1, 2: 2, 3: 4, 4: 4, 7: 8}
"""Compute slices of an instance to its memory slices."""
COMPUTE = 7

Measured = dict[tuple[int, int, int], tuple[Fraction, Fraction]]
"""(compute slices, batch, processes) to requests per second of all processes and seconds for a batch."""


@dataclass(frozen=True)
class Instance:
    """One instance of a model on a GPU, as a placement says it."""

    gpu: int
    start: int
    slices: int
    model: str
    batch: int
    processes: int


def profile(path: Path) -> Measured:
    with path.open(encoding="utf-8-sig", newline="") as lines:
        reader = csv.DictReader(lines)
        names = {name.strip().lower(): name for name in reader.fieldnames or []}
        slices, batch, processes, throughput, latency = (
            names[name] for name in ("mig instance", "batch size", "workload number", "throughput", "latency")
        )
        return {
            (int(row[slices]), int(row[batch]), int(row[processes])): (
                Fraction(row[throughput].strip()) * int(row[processes]),
                Fraction(row[latency].strip()),
            )
            for row in reader
            if row[slices] and row[slices].strip()
        }


def scenario(folder: Path, number: int) -> dict[str, tuple[Fraction, Fraction]]:
    """Model to requests per second and milliseconds of the scenario, which counts from 1."""
    models = sorted(path.name[: -len(".csv")] for path in (folder / "prof_data").glob("*.csv"))
    cells = []
    for name in ("SLO_req_rate.csv", "SLO_latency.csv"):
        with (folder / "SLO" / name).open(encoding="utf-8-sig", newline="") as lines:
            rows = [row for row in csv.reader(lines) if any(cell.strip() for cell in row)]
        cells.append([cell.strip() for cell in rows[number - 1]])
    rates, latencies = cells
    return {
        model: (Fraction(rate), Fraction(latency))
        for model, rate, latency in zip(models, rates, latencies, strict=True)
        if rate.upper() != "N/A"
    }


def published(path: Path) -> list[Instance]:
    """A placement that ParvaGPU's authors published."""
    with path.open(encoding="utf-8-sig", newline="") as lines:
        rows = list(csv.DictReader(lines))
    keys = ("Num GPU", "Placement", "Instance size", "Batch size", "Num proc")
    ints = ([int(row[key]) for key in keys] for row in rows)
    return [
        Instance(gpu, start, size, row["Model"], batch, processes)
        for (gpu, start, size, batch, processes), row in zip(ints, rows, strict=True)
    ]


def faults(folder: Path, number: int, placed: Iterable[Instance], starts: bool = True) -> list[str]:
    """What is wrong with a placement for a scenario; empty where nothing is.

    Without `starts`, instances may lie elsewhere on their GPU than the placement says, if there is a place for all.
    """
    asked, instances = scenario(folder, number), list(placed)
    profiles = {model: profile(folder / "prof_data" / f"{model}.csv") for model in asked}
    found = [fault for instance in instances for fault in _of_instance(instance, asked, profiles)]
    rates: dict[str, Fraction] = defaultdict(Fraction)
    for instance in instances:
        key = instance.slices, instance.batch, instance.processes
        rates[instance.model] += profiles.get(instance.model, {}).get(key, (Fraction(0), Fraction(0)))[0]
    for model, (rate, _) in asked.items():
        if rates[model] < rate:
            found.append(f"{model}: {float(rates[model])} of {float(rate)} requests per second")
    return found + (geometry(instances) if starts else _sizes(instances))


def _of_instance(
    instance: Instance, asked: Mapping[str, tuple[Fraction, Fraction]], profiles: Mapping[str, Measured]
) -> list[str]:
    if instance.model not in asked:
        return [f"{instance.model}: not in the scenario"]
    what = f"{instance.model}: slice {instance.slices}, batch {instance.batch}, {instance.processes} processes"
    row = profiles[instance.model].get((instance.slices, instance.batch, instance.processes))
    if row is None or row[0] == 0:
        return [f"{what}: was not measured"]
    allowed = asked[instance.model][1] / 2 * Fraction(9, 10) / 1000
    if row[1] >= allowed:
        return [f"{what}: {float(row[1])} s, not below {float(allowed)} s"]
    return []


def geometry(instances: Iterable[Instance]) -> list[str]:
    """Instances that start where they may not, or that lie on each other, and GPUs with too much compute."""
    found = []
    taken: dict[int, set[int]] = defaultdict(set)
    compute: dict[int, int] = defaultdict(int)
    for instance in instances:
        if instance.start not in STARTS.get(instance.slices, ()):
            found.append(
                f"GPU {instance.gpu}: an instance of {instance.slices} slices cannot start at {instance.start}"
            )
            continue
        space = set(range(instance.start, instance.start + WIDTHS[instance.slices]))
        if space & taken[instance.gpu]:
            found.append(f"GPU {instance.gpu}: two instances on memory slices {sorted(space & taken[instance.gpu])}")
        taken[instance.gpu] |= space
        compute[instance.gpu] += instance.slices
    return found + [f"GPU {gpu}: {n} compute slices of {COMPUTE}" for gpu, n in compute.items() if n > COMPUTE]


def _sizes(instances: Iterable[Instance]) -> list[str]:
    sizes: dict[int, list[int]] = defaultdict(list)
    for instance in instances:
        sizes[instance.gpu].append(instance.slices)
    return [f"GPU {gpu}: no place for instances of {own} slices" for gpu, own in sizes.items() if not _placeable(own)]


def _placeable(sizes: list[int], free: frozenset[int] = frozenset(range(8)), compute: int = COMPUTE) -> bool:
    if not sizes:
        return True
    size, *rest = sizes
    spaces = (frozenset(range(start, start + WIDTHS[size])) for start in STARTS.get(size, ()))
    return size <= compute and any(s <= free and _placeable(rest, free - s, compute - size) for s in spaces)
