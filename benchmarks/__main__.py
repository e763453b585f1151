"""Prints how long the commands and the core take, each beside a yardstick of the same run.

Times on a shared machine wander; the ratios within one run are what to compare.
"""

from __future__ import annotations

import json
import os
import statistics
import time
from functools import partial
from typing import Any

from benchmarks import karpenter, planner, policies
from benchmarks.timing import command, seconds
from gpuslice.catalog import mig_gpus
from gpuslice.load import load_settings
from gpuslice.render import rendered
from gpuslice.sharing import mig

SDKS = "import pulumi, pulumi_aws, pulumi_eks, pulumi_kubernetes"


def stack_of(count: int) -> dict[str, Any]:
    """A stack with so many pools, a quarter of each mode that shares, and every mode's own shape."""
    shapes: list[dict[str, Any]] = [
        {"instanceTypes": ["g4dn.xlarge", "g4dn.12xlarge"], "sharing": {"mode": "time-slicing", "replicas": 4}},
        {"instanceTypes": ["p4d.24xlarge"], "sharing": {"mode": "mig", "layout": {"1g.5gb": 3, "2g.10gb": 2}}},
        {"instanceTypes": ["p5.4xlarge"], "sharing": {"mode": "mig", "layout": {"1g.10gb": 7}}},
        {"instanceTypes": ["p5.48xlarge"], "sharing": {"mode": "exclusive"}, "efa": True},
    ]
    pools = [{"name": f"pool-{i}", **shapes[i % len(shapes)]} for i in range(count)]
    return {"gpu-slicing:pools": pools}


def validate_and_render(count: int) -> None:
    config = json.loads(json.dumps(stack_of(count)))
    rendered(load_settings(config, "bench"))


def pools_growth() -> None:
    print("\nValidate, derive and render (target: 200 pools under 1 s, growing linearly)")
    validate_and_render(10)
    per_pool = []
    for count in (50, 100, 200, 400):
        taken = seconds(partial(validate_and_render, count))
        per_pool.append(taken / count)
        print(f"  {count:>4} pools  {taken:6.3f} s   {1000 * taken / count:6.3f} ms for each")
    print(f"  400 pools against 50, for each pool: {per_pool[-1] / per_pool[0]:.2f} (1.00 is linear)")


def previews() -> None:
    print("Credential-free preview, a process from start to end (target: prod under 3 s)")
    yardstick = seconds(command("-c", SDKS))
    print(f"  {'importing the SDKs alone':<26} {yardstick:6.2f} s   1.00")
    for stack in ("local", "dev", "prod"):
        taken = seconds(command("-m", "gpuslice.cli", "preview", "--stack", stack, "--json", os.devnull))
        print(f"  {'preview of ' + stack:<26} {taken:6.2f} s   {taken / yardstick:.2f}")
    taken = seconds(command("-m", "gpuslice.cli", "validate", "Pulumi.prod.yaml"))
    print(f"  {'validate prod':<26} {taken:6.2f} s   {taken / yardstick:.2f}")


def placements() -> None:
    print("\nMIG placement by search, every layout of every GPU")
    layouts = [(gpu, layout) for gpu in mig_gpus() for layout in mig.layouts(gpu)]
    times = []
    for gpu, layout in layouts:
        start = time.perf_counter()
        mig.place(gpu, layout)
        times.append(time.perf_counter() - start)
    median, worst = statistics.median(times), max(times)
    print(f"  {len(layouts)} layouts: median {1e6 * median:.0f} us, worst {1e6 * worst:.0f} us")


def main() -> None:
    previews()
    pools_growth()
    placements()
    policies.main()
    planner.main()
    karpenter.main([])


if __name__ == "__main__":
    main()
