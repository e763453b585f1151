"""What can be said about a plan besides its workloads. Each default has its reason."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from gpuslice.catalog import HOURS_PER_MONTH, PRICE_REGION
from gpuslice.planner.model import Workload

Headroom = Literal["advise", "require"]
Method = Literal["auto", "greedy", "exact"]
Basis = Literal["on-demand", "spot", "reserved"]

EFFICIENCY = 900_000
"""What busy tenants of a time-sliced GPU get of it together, in millionths: 0.90, for 3, 5 and 7 tenants alike
(YOLOS-small on A100, nebuly/nos, demos/gpu-sharing-comparison; the worst seen elsewhere is 0.84)."""
MIG_TAX = 92_500
"""What an A100 loses of its compute in MIG mode, in millionths: 98 of 108 SMs are left (CERN, MIG tests, part 5)."""
MAX_REPLICAS = 16
"""As in the settings of a pool."""
SLICE_FLOOR_MIB = 1024
"""The least memory of a slice, as in the settings of a pool (`minMemory`)."""
TAIL = (1.3, 1.7)
"""How much longer the slowest requests take beside a busy neighbour on a time-sliced GPU: p95 of Llama 3.1 8B on an
A100 with four tenants, p99 of an FFT beside GEMM (figures of two articles)."""


@dataclass(frozen=True)
class Options:
    """`headroom`: whether efficiency is a warning (`advise`) or a limit (`require`). `seconds`: for the exact method.
    `price_factor`: of the on-demand price, for spot and reserved capacity."""

    hours_per_month: int = HOURS_PER_MONTH
    region: str = PRICE_REGION
    basis: Basis = "on-demand"
    price_factor: float = 1.0
    price_table: Path | None = None
    efficiency: int = EFFICIENCY
    headroom: Headroom = "advise"
    max_replicas: int = MAX_REPLICAS
    mig_tax: int = MIG_TAX
    method: Method = "auto"
    seconds: float = 10.0


@dataclass(frozen=True)
class Request:
    """What is planned for. `candidates`: names of instance types, None for the catalogue. `notes`: what to warn of.

    `usage`: what was measured, where the workloads come from that, as the answer gives it.
    """

    workloads: tuple[Workload, ...]
    candidates: tuple[str, ...] | None = None
    options: Options = field(default_factory=Options)
    notes: tuple[str, ...] = ()
    usage: Mapping[str, Any] | None = None
