"""Packs the shared pods of a cluster trace on GPUs: before, greedy, exact with its bound, and what Kubernetes promises.

    python -m benchmarks.openb POD_LIST.csv [--json]

The list has the form of the openb trace (Alibaba, cluster-trace-gpu-v2023): one pod a line, columns in any order, of
which `num_gpu`, `gpu_milli` and `qos` are read. Shared is a pod of one GPU and less than 1000 thousandths of it.
Only the share is packed: the list knows no GPU memory.
"""

from __future__ import annotations

import argparse
import csv
import json
import random
import sys
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from gpuslice.planner.equal_pools import equal_pools
from gpuslice.planner.errors import InputError, shown
from gpuslice.planner.packing import Items, bins_of, pack
from gpuslice.planner.patterns import pack_exactly

COLUMNS = ("num_gpu", "gpu_milli", "qos")
WHOLE = 1000
"""The list counts a GPU in thousandths."""
FINE = 1_000_000
"""Steps of a thousandth in the random workloads, so that a million of them differ."""
SEED = 1
Row = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Pod:
    """A pod that asks for part of one GPU: `milli`, below 1000."""

    milli: int
    qos: str


def read(path: Path) -> list[Pod]:
    """The shared pods of a list. InputError: what is wrong first, with file, line and column."""
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            pods = [pod for pod in _pods(file, path.name) if pod]
    except OSError as error:
        raise InputError([f"{path}: {error.strerror}"]) from None
    except UnicodeDecodeError as error:
        raise InputError([f"{path.name}: is not text in UTF-8: {error.reason}"]) from None
    if not pods:
        raise InputError([f"{path.name}: no pod of part of a GPU (num_gpu 1, gpu_milli 1 to {WHOLE - 1})"])
    return pods


def _pods(file: Any, name: str) -> Iterator[Pod | None]:
    reader = csv.DictReader(file)
    try:
        missing = [column for column in COLUMNS if column not in (reader.fieldnames or ())]
        if missing:
            found = ", ".join(reader.fieldnames or ()) or "nothing"
            raise InputError([f"{name}: line 1: no column {', '.join(missing)}. Found: {shown(found)}"])
        for row in reader:
            yield _pod(row, f"{name}: line {reader.line_num}")
    except csv.Error as error:
        raise InputError([f"{name}: line {reader.line_num}: {error}"]) from None


def _pod(row: dict[str, str | None], place: str) -> Pod | None:
    gpus = _number(row, "num_gpu", place)
    milli = _number(row, "gpu_milli", place)
    qos = row["qos"] or ""
    if not qos.isprintable() or len(qos) > 40:
        raise InputError([f"{place}, column qos: {shown(qos)}. Allowed: a short name"])
    if gpus != 1:
        return None
    if not 1 <= milli <= WHOLE:
        raise InputError([f"{place}, column gpu_milli: {milli}. Allowed where num_gpu is 1: 1 to {WHOLE}"])
    return Pod(milli, qos) if milli < WHOLE else None


def _number(row: dict[str, str | None], column: str, place: str) -> int:
    text = (row[column] or "").strip()
    if not (text.isascii() and text.isdigit() and len(text) <= 9):
        raise InputError([f"{place}, column {column}: {shown(row[column])}. Allowed: a whole number from 0"])
    return int(text)


def scenario(name: str, shares: Sequence[int], max_replicas: int, limit: float) -> Row:
    """One row: the same pods on GPUs of one kind in four ways. `shares` in thousandths; `limit` in seconds."""
    start = time.perf_counter()
    items: Items = [((share,), count) for share, count in Counter(shares).items()]
    greedy = bins_of(pack(items, (WHOLE,)))
    greedy_seconds = time.perf_counter() - start
    exact = pack_exactly(items, (WHOLE,), limit)
    pools = equal_pools([share * 1000 for share in shares], max_replicas)
    guarded = sum(gpus for gpus, _ in pools.values())
    return {
        "scenario": name,
        "pods": len(shares),
        "before": len(shares),
        "greedy": greedy,
        "greedySeconds": round(greedy_seconds, 6),
        "gpus": exact.bins,
        "lowerBound": exact.bound,
        "gap": exact.gap,
        "seconds": round(time.perf_counter() - start, 6),
        "guardedGpus": guarded,
        "guardedPools": {str(replicas): {"gpus": gpus, "pods": pods} for replicas, (gpus, pods) in pools.items()},
        "guardCost": guarded - exact.bins,
        "guardCostFraction": (guarded - exact.bins) / exact.bins,
    }


def scaling(shares: Sequence[int], sizes: Sequence[int]) -> Iterator[Row]:
    """How the greedy packing's time grows with distinct random workloads of the list's shares."""
    first = None
    for count in sizes:
        items: Items = [((size,), 1) for size in distinct(shares, count)]
        start = time.perf_counter()
        gpus = bins_of(pack(items, (WHOLE * FINE,)))
        taken = time.perf_counter() - start
        first = first or taken / count
        yield {
            "scenario": "scaling",
            "pods": count,
            "gpus": gpus,
            "seconds": round(taken, 6),
            "itemsPerSecond": round(count / taken),
            "timePerItemRatio": taken / count / first,
        }


def distinct(shares: Sequence[int], count: int) -> list[int]:
    """Random sizes, all different: shares of the list less up to a hundredth of a GPU, in steps of `FINE`."""
    chance = random.Random(SEED)
    sizes: dict[int, None] = {}
    while len(sizes) < count:
        share = chance.choice(shares) * FINE
        sizes[share - chance.randrange(min(share, 10 * FINE))] = None
    return list(sizes)


def rows(pods: Sequence[Pod], max_replicas: int, limit: float, sizes: Sequence[int]) -> Iterator[Row]:
    """All shared pods, those of each QoS class, and the growth of the greedy packing."""
    shares = [pod.milli for pod in pods]
    yield scenario("shared", shares, max_replicas, limit)
    for qos in sorted({pod.qos for pod in pods}):
        mine = [pod.milli for pod in pods if pod.qos == qos]
        yield scenario(f"shared-{qos or 'none'}", mine, max_replicas, limit)
    yield from scaling(shares, sizes)


def _table(found: Sequence[Row]) -> str:
    lines = [
        "GPUs for the pods of part of a GPU; bound: proven, guarded: pools of equal replicas, any pods may meet",
        f"{'scenario':<18}{'pods':>8}{'greedy':>8}{'exact':>8}{'bound':>8}{'gap':>9}{'guarded':>9}{'cost':>8}{'s':>8}",
    ]
    for row in (row for row in found if row["scenario"] != "scaling"):
        cost = f"{row['guardCostFraction']:.1%}"
        lines.append(
            f"{row['scenario']:<18}{row['pods']:>8}{row['greedy']:>8}{row['gpus']:>8}{row['lowerBound']:>8}"
            f"{row['gap']:>9.3%}{row['guardedGpus']:>9}{cost:>8}{row['seconds']:>8.3f}"
        )
        pools = ", ".join(f"{r}: {pool['gpus']}" for r, pool in row["guardedPools"].items())
        lines.append(f"    GPUs of the guarded pools by replicas: {pools}")
    for row in (row for row in found if row["scenario"] == "scaling"):
        lines.append(
            f"greedy, {row['pods']:>9} distinct workloads: {row['seconds']:8.3f} s,"
            f" {row['itemsPerSecond']:>8} a second, time for each {row['timePerItemRatio']:.2f} of the first row's"
        )
    return "\n".join(lines)


def _positive(text: str) -> int:
    value = int(text)
    if value < 1:
        raise ValueError(text)
    return value


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.openb", description="Packs the shared pods of a trace.")
    parser.add_argument("pods", type=Path, metavar="POD_LIST.csv")
    parser.add_argument("--json", action="store_true", help="a JSON list, one row a scenario")
    parser.add_argument("--seconds", type=float, default=5.0, help="limit for each exact packing (%(default)s)")
    parser.add_argument("--max-replicas", type=_positive, default=16, help="of a guarded pool (%(default)s)")
    parser.add_argument(
        "--scaling",
        type=_positive,
        nargs="*",
        default=[10_000, 100_000, 1_000_000],
        help="numbers of random workloads for the greedy packing; none: leave it out",
    )
    chosen = parser.parse_args(arguments)
    try:
        found = list(rows(read(chosen.pods), chosen.max_replicas, chosen.seconds, chosen.scaling))
    except InputError as error:
        print(error, file=sys.stderr)
        return 1
    print(json.dumps(found, indent=2) if chosen.json else _table(found))
    return 0


if __name__ == "__main__":
    sys.exit(main())
