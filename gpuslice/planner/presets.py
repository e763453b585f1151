"""Typical GPU workloads, for a first plan before anything was measured. Each figure says what it rests on."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType


@dataclass(frozen=True, slots=True)
class Preset:
    """Values of a workload, in the words of the input file; what the file gives itself comes first."""

    memory: str
    mean: float
    p95: float
    gpu: str
    latency: str
    reasons: tuple[str, ...]


PRESETS: Mapping[str, Preset] = MappingProxyType(
    {
        "low-batch-inference": Preset(
            "3Gi",
            0.07,
            0.40,
            "T4",
            "tolerant",
            (
                (
                    "143 inference pods of Alibaba's GenAI trace (2026): busy 7.0 % on average, p90 24.7 %, p99 78.6 %;"
                    " p95 is interpolated. The trace is scaled: its shape holds, not its figures."
                ),
                "3 GiB: a small model in half precision, with its activations. An assumption.",
            ),
        ),
        "hpc-cpu-bottleneck": Preset(
            "2Gi",
            0.25,
            0.35,
            "T4",
            "tolerant",
            (
                (
                    "Solvers whose main loop runs on the CPU: GROMACS keeps 0.365 of the throughput on a slice of a"
                    " seventh of an A100 (NJIT, HPC documentation)."
                ),
                "A quarter of the time on the GPU: an assumption.",
            ),
        ),
        "notebooks": Preset(
            "3Gi",
            0.05,
            0.25,
            "T4",
            "tolerant",
            (
                "A person reads and writes between cells; the GPU works in short bursts. Both figures are assumptions.",
                "Memory stays taken between cells: it decides how many share a GPU.",
            ),
        ),
        "spark": Preset(
            "6Gi",
            0.30,
            0.50,
            "T4",
            "tolerant",
            (
                (
                    "Two ML tasks of Ray on a time-sliced GPU took 1.74 times as long each, together 1.15 times as much"
                    " (COMPSAC 2024): two are worth it, more are not."
                ),
                "6 GiB: two executors on a 16 GiB GPU. An assumption.",
            ),
        ),
        "rendering": Preset(
            "6Gi",
            0.85,
            0.98,
            "T4",
            "tolerant",
            (
                (
                    "A renderer keeps its GPU busy; with time-slicing all tenants get 0.90 of it together (YOLOS, A100,"
                    " nebuly's comparison). Sharing saves nothing, so it stays alone. An assumption."
                ),
            ),
        ),
        "ci-runners": Preset(
            "2Gi",
            0.05,
            0.25,
            "T4",
            "tolerant",
            (
                "Jobs build and download most of the time and test on the GPU last. Both figures are assumptions.",
                "Jobs of different teams run each other's code: give each team a group.",
            ),
        ),
    }
)
