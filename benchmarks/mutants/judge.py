"""Run inside a mutant: records the stacks of this copy and prints the policies that refuse them."""

from __future__ import annotations

from pathlib import Path

from benchmarks.mutants.__main__ import MARK
from gpuslice.project import policy_config
from offline import record
from offline.policy_pack import judge
from offline.preview import engine_config, record_stack
from offline.recording import Recording

ROOT = Path(__file__).resolve().parents[2]
# What the stacks of the project do not have: nodes with two volumes.
BOTTLEROCKET = {
    "aws:region": "us-east-1",
    "gpu-slicing:pools": [
        {
            "name": "bottle",
            "instanceTypes": ["g6.xlarge", "g6.2xlarge"],
            "ami": "bottlerocket@v1.54.0",
            "sharing": {"mode": "time-slicing", "replicas": 4},
        }
    ],
}


def recordings() -> list[tuple[str, Recording]]:
    """As in a first preview. One of them has an endpoint that the public may reach."""
    stacks = [(name, record_stack(ROOT, name, unknowns=True).recording) for name in ("dev", "prod")]
    bottle = record(ROOT, project="gpu-slicing", stack="bottle", config=engine_config(BOTTLEROCKET), preview=True)
    return [*stacks, ("bottle", bottle)]


def main() -> None:
    refusing: dict[str, None] = {}
    for stack, recording in recordings():
        report = judge(recording, ROOT / "policies", policy_config(stack, ROOT))
        refusing |= dict.fromkeys(v.policy for v in report.violations if v.level == "mandatory")
    if refusing:
        print(MARK + ", ".join(refusing))


if __name__ == "__main__":
    main()
