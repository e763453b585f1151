"""What the planner plans for: workloads in whole numbers, so that no answer hangs on how a float was rounded."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

MILLION = 1_000_000
"""Use of a GPU is counted in millionths of it."""

Isolation = Literal["none", "hardware"]
Latency = Literal["tolerant", "critical"]


@dataclass(frozen=True, slots=True)
class Workload:
    """One kind of pod, of which `count` run at once.

    `memory_mib`: GPU memory that one pod needs, in MiB, without its CUDA context. `mean`, `p95`: use of one GPU of
    model `gpu` (a key of the catalogue, such as `t4`; None: of any model alike), in millionths. `cpu_milli`,
    `ram_mib`: what a pod requests of its node; 0 where it is not known. `group`: who trusts whom: pods of different
    groups share no GPU unless the hardware keeps them apart; empty is a group of its own.
    """

    name: str
    count: int
    memory_mib: int
    mean: int
    p95: int
    gpu: str | None = None
    cpu_milli: int = 0
    ram_mib: int = 0
    isolation: Isolation = "none"
    latency: Latency = "tolerant"
    group: str = ""
