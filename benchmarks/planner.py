"""The planner: start, growth of the greedy method, what the exact one gains, and the public data where it is there.

The traces and profiles are not part of the project. Name their folders in OPENB_DATA (openb_pod_list_default.csv and
openb_node_list_gpu_node.csv) and PARVAGPU_DATA (prof_data, SLO); each part says so where its folder is missing.
"""

from __future__ import annotations

import os
import random
import time
from dataclasses import replace
from pathlib import Path

from benchmarks import fgd, openb, parvagpu
from benchmarks.timing import command, seconds
from gpuslice.planner.model import MILLION, Workload
from gpuslice.planner.options import Options, Request
from gpuslice.planner.plan import plan

SIZES = (1_000, 10_000, 100_000)
# One GPU size of each kind, as most teams' lists of candidates are.
CANDIDATES = ("g4dn.xlarge", "g4dn.2xlarge", "g5.xlarge", "g6.xlarge", "g6e.xlarge", "p4d.24xlarge")
SCENARIO = "examples/plans/quarters.yaml"


def workloads(count: int, seed: int = 1) -> tuple[Workload, ...]:
    """So many different workloads: use and memory at random, a tenth critical, a twentieth isolated, three groups."""
    chance = random.Random(seed)
    made = []
    for number in range(count):
        p95 = chance.randrange(MILLION // 100, MILLION)
        made.append(
            Workload(
                name=f"w{number}",
                count=1,
                memory_mib=chance.randrange(512, 14 * 1024),
                mean=p95 // 2,
                p95=p95,
                gpu="t4",
                cpu_milli=chance.choice((500, 1000, 2000)),
                ram_mib=1024 * chance.choice((1, 2, 4, 8)),
                isolation="hardware" if chance.random() < 0.05 else "none",
                latency="critical" if chance.random() < 0.1 else "tolerant",
                group=chance.choice("abc"),
            )
        )
    return tuple(made)


def start() -> None:
    print("\nThe planner, a process from start to end (target: 0.3 s for the scenario)")
    yardstick = seconds(command("-c", "import yaml"))
    taken = seconds(command("-m", "gpuslice.cli", "plan", SCENARIO, "--json"))
    print(f"  python with PyYAML alone   {yardstick:6.2f} s   1.00")
    print(f"  plan of {SCENARIO}  {taken:4.2f} s   {taken / yardstick:.2f}")


def growth() -> None:
    print(f"\nGreedy plans of different workloads, {len(CANDIDATES)} candidates: before, after and with head-room")
    first = None
    for size in SIZES:
        request = Request(workloads(size), CANDIDATES, Options(method="greedy"))
        began = time.process_time()
        made = plan(request)
        taken = time.process_time() - began
        first = first or taken / size
        gap = 1 - made.after.solution.bound / made.after.solution.cost
        print(
            f"  {size:>9,} workloads  {taken:7.2f} s CPU  {3 * size / taken:>9,.0f} workloads/s for each of the three"
            f"  per workload {taken / size / first:.2f}  bound {gap:.1%} lower"
        )


def exactness() -> None:
    print("\nThe exact method against the greedy one, the same workloads")
    for size in (10, 30, 100):
        request = Request(workloads(size, seed=size), CANDIDATES, Options(method="greedy"))
        quick = plan(request)
        began = time.process_time()
        exact = plan(replace(request, options=Options(method="exact")))
        taken = time.process_time() - began
        cost, bound = exact.after.solution.cost, exact.after.solution.bound
        print(
            f"  {size:>5} workloads  exact costs {cost / quick.after.solution.cost:.4f} of greedy,"
            f" at most {(cost - bound) / cost:.2%} over the cheapest, {taken:.1f} s CPU for three plans"
        )


def data(variable: str, *names: str) -> list[str] | None:
    """Paths within the folder that an environment variable names; None, which is said, without one."""
    folder = os.environ.get(variable)
    if not folder:
        print(f"  left out: {variable} names no folder")
        return None
    return [str(Path(folder) / name) for name in names]


def main() -> None:
    start()
    growth()
    exactness()
    print("\nopenb (Alibaba 2023): shared pods on identical GPUs")
    lists = data("OPENB_DATA", "openb_pod_list_default.csv", "openb_node_list_gpu_node.csv")
    if lists:
        openb.main(lists[:1])
        print("\nFGD's protocol at 130 % demand, on two of the ten seeds")
        fgd.main([*lists, "--seeds", "2"])
    print("\nParvaGPU (SC 2024): services on MIG slices of an A100")
    folders = data("PARVAGPU_DATA", "")
    if folders:
        parvagpu.main(folders)


if __name__ == "__main__":
    main()
