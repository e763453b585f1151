"""How long something takes on a machine that others use too."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
RUNS = 3


def seconds(action: Callable[[], object], runs: int = RUNS) -> float:
    """The best of some runs: the one that the machine disturbed least."""
    times = []
    for _ in range(runs):
        start = time.perf_counter()
        action()
        times.append(time.perf_counter() - start)
    return min(times)


def process(*arguments: str) -> Callable[[], object]:
    """A program from start to end."""
    return lambda: subprocess.run(arguments, cwd=ROOT, check=True, capture_output=True)


def command(*arguments: str) -> Callable[[], object]:
    """Python from start to end."""
    return process(sys.executable, *arguments)
