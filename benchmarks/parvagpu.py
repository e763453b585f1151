"""Fewest GPUs for the scenarios of ParvaGPU, or of any folder in its format, against what its authors published.

    python -m benchmarks.parvagpu DATA_DIR [--json] [--max-processes N] [--seconds S]

Every placement is checked by `parvagpu_check`, which shares no code with the planner. Exit code 1, with a message on
standard error, where the data is wrong, a scenario cannot be served or a check fails.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from benchmarks import parvagpu_check
from benchmarks.parvagpu_check import Instance
from gpuslice.planner.errors import InputError
from gpuslice.planner.profiles import Measured, Scenario, read_parvagpu
from gpuslice.planner.services import Service, SlicePlan, fewest_gpus


def main(arguments: Sequence[str] | None = None) -> int:
    options = _parser().parse_args(arguments)
    try:
        measured = read_parvagpu(options.folder)
        rows = [_row(options, measured, scenario) for scenario in measured.scenarios]
    except InputError as error:
        print(error, file=sys.stderr)
        return 1
    except ImportError as error:
        print(f"the exact method needs highspy: {error}", file=sys.stderr)
        return 1
    print(json.dumps(rows, indent=1) if options.json else _table(rows))
    problems = [f"{row['scenario']}: {problem}" for row in rows for problem in row["problems"]]
    print("".join(f"{problem}\n" for problem in problems), end="", file=sys.stderr)
    return 1 if problems else 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.parvagpu", description=(__doc__ or "").partition("\n")[0]
    )
    parser.add_argument("folder", type=Path, metavar="DATA_DIR", help="prof_data/, SLO/ and perhaps deployment/")
    parser.add_argument("--json", action="store_true", help="one object for each scenario, with its placements")
    parser.add_argument("--max-processes", type=_at_least_one, metavar="N", help="most processes on one MIG instance")
    parser.add_argument("--seconds", type=_at_least_one, default=5, metavar="S", help="for one scenario (default: 5)")
    return parser


def _at_least_one(text: str) -> int:
    value = int(text)
    if value < 1:
        raise argparse.ArgumentTypeError(f"{value} is below 1")
    return value


def _row(options: argparse.Namespace, measured: Measured, scenario: Scenario) -> dict[str, Any]:
    start = time.perf_counter()
    asked = scenario.objectives.items()
    services = [Service(model, measured.profiles[model], goal.rate, goal.latency_ms) for model, goal in asked]
    row: dict[str, Any] = {"scenario": f"S{scenario.number}", "models": len(services)}
    try:
        plan = fewest_gpus(services, options.max_processes, seconds=options.seconds)
    except InputError as error:
        nothing = dict.fromkeys(("gpus", "lowerBound", "gap", "slices", "slicesLowerBound", "certified"))
        found = row | nothing | {"checked": False, "placements": [], "problems": list(error.problems)}
    else:
        found = row | _found(options.folder, scenario, plan)
    seconds = round(time.perf_counter() - start, 3)
    return found | {"seconds": seconds} | _published(options.folder, scenario.number)


def _found(folder: Path, scenario: Scenario, plan: SlicePlan) -> dict[str, Any]:
    placed = [Instance(p.node, p.start, p.slices, p.service, p.batch, p.processes) for p in plan.placed]
    problems = parvagpu_check.faults(folder, scenario.number, placed)
    rates = plan.rates()
    return {
        "gpus": plan.gpus.value,
        "lowerBound": plan.gpus.bound,
        "gap": round(1 - plan.gpus.bound / plan.gpus.value, 6) if plan.gpus.value else 0.0,
        "slices": plan.slices.value,
        "slicesLowerBound": plan.slices.bound,
        "certified": plan.gpus.certified and plan.slices.certified,
        "checked": not problems,
        "services": [
            {"model": model, "asked": float(goal.rate), "rate": float(rates[model])}
            for model, goal in scenario.objectives.items()
        ],
        "placements": [
            {
                "gpu": entry.node,
                "start": entry.start,
                "sliceSize": entry.slices,
                "profile": entry.profile,
                "model": entry.service,
                "batch": entry.batch,
                "processes": entry.processes,
            }
            for entry in plan.placed
        ],
        "problems": problems,
    }


def _published(folder: Path, number: int) -> dict[str, Any]:
    """What the authors published of the scenario; None where there is nothing.

    `publishedChecked`: rates, latencies, and a place for the sizes on each GPU. `publishedOverlaps`: where
    the start slices that they name do not hold.
    """
    where, own = folder / "deployment" / f"SLO{number}", f"SLO{number}_ParvaGPU_deploy.csv"
    files = sorted(where.glob("*.csv"), key=lambda path: (path.name != own, path.name))
    if not files:
        return dict.fromkeys(("publishedGpus", "publishedSlices", "publishedChecked", "publishedOverlaps"))
    try:
        placed = parvagpu_check.published(files[0])
    except (KeyError, ValueError, TypeError, OSError) as error:
        raise InputError([f"{files[0]}: is not a placement: {type(error).__name__}: {error}"]) from None
    return {
        "publishedGpus": len({instance.gpu for instance in placed}),
        "publishedSlices": sum(instance.slices for instance in placed),
        "publishedChecked": not parvagpu_check.faults(folder, number, placed, starts=False),
        "publishedOverlaps": parvagpu_check.geometry(placed),
    }


def _table(rows: Sequence[dict[str, Any]]) -> str:
    heads = (
        "scenario",
        "models",
        "GPUs",
        "at least",
        "published",
        "slices",
        "at least",
        "published",
        "seconds",
        "check",
    )
    keys = (
        "scenario",
        "models",
        "gpus",
        "lowerBound",
        "publishedGpus",
        "slices",
        "slicesLowerBound",
        "publishedSlices",
    )
    lines: list[tuple[str, ...]] = [heads]
    for row in rows:
        cells = ["-" if row[key] is None else str(row[key]) for key in keys]
        lines.append((*cells, f"{row['seconds']:.2f}", _verdict(row)))
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    return "\n".join("  ".join(cell.rjust(w) for cell, w in zip(line, widths, strict=True)) for line in lines)


def _verdict(row: dict[str, Any]) -> str:
    return "unserved" if row["gpus"] is None else "passed" if row["checked"] else "FAILED"


if __name__ == "__main__":
    sys.exit(main())
