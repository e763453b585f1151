"""Profiles and folders in ParvaGPU's format, made for a test."""

from __future__ import annotations

from decimal import Decimal
from pathlib import Path

from gpuslice.planner.profiles import Profile, Row

HEADER = "Mig instance,Batch size,Workload Number,Throughput,Latency"


def row(slices: int, rate: str, latency: str = "0.01", batch: int = 1, processes: int = 1) -> Row:
    return Row(slices, batch, processes, Decimal(rate), Decimal(latency))


def profile(name: str, **rates: str) -> Profile:
    """One row for each size of slice: `profile("a", s1="10", s7="100")`."""
    return Profile(name, tuple(row(int(key[1:]), rate) for key, rate in rates.items()))


def written(folder: Path, profiles: dict[str, str], rates: str, latencies: str) -> Path:
    """A folder with the profiles' rows, without their header, and the two tables."""
    for place in ("prof_data", "SLO"):
        (folder / place).mkdir(parents=True, exist_ok=True)
    for name, rows in profiles.items():
        (folder / "prof_data" / f"{name}.csv").write_text(f"{HEADER}\n{rows}\n", encoding="utf-8")
    (folder / "SLO" / "SLO_req_rate.csv").write_text(rates, encoding="utf-8")
    (folder / "SLO" / "SLO_latency.csv").write_text(latencies, encoding="utf-8")
    return folder
