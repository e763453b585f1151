"""`make mutants`: prints each mutant with what killed it, then the ratio and the survivors by name.

With words as arguments, only the mutants whose names contain one of them.
"""

from __future__ import annotations

import sys
from pathlib import Path

from benchmarks.mutants import policy_code, program
from benchmarks.mutants.model import Mutant, applied, copied, run

MARK = "mutant killed by: "


def killer(mutant: Mutant, root: Path) -> str | None:
    """What noticed the fault; None where nothing did."""
    with applied(mutant, root):
        if mutant.tests:
            done = run(root, "-m", "pytest", "-x", "-q", "-p", "no:cacheprovider", *mutant.tests)
            # 1 is a failed test; 2 a test file that the fault keeps from loading.
            return _failed(done.stdout) if done.returncode in (1, 2) else None
        done = run(root, "-m", "benchmarks.mutants.judge")
        lines = [line for line in done.stdout.splitlines() if line.startswith(MARK)]
        if done.returncode == 0 and not lines:
            return None
        return (
            lines[0].removeprefix(MARK) if lines else f"the program ends: {done.stderr.strip().splitlines()[-1][:200]}"
        )


def _failed(output: str) -> str:
    """The first failed test that pytest names."""
    lines = [line for line in output.splitlines() if line.startswith(("FAILED", "ERROR"))]
    return lines[0].partition(" - ")[0] if lines else "a test file does not load"


def main(words: list[str]) -> int:
    mutants = [m for m in (*program.MUTANTS, *policy_code.MUTANTS) if not words or any(w in m.name for w in words)]
    survivors = []
    with copied() as root:
        if noticed := killer(Mutant("none", ()), root):
            print(f"the project itself is refused, so nothing can be said of its mutants: {noticed}")
            return 2
        for mutant in mutants:
            killed = killer(mutant, root)
            print(f"{'killed  ' if killed else 'SURVIVES'} {mutant.name}{f': {killed}' if killed else ''}", flush=True)
            survivors += [] if killed else [mutant.name]
    killed_count = len(mutants) - len(survivors)
    print(f"\n{killed_count} of {len(mutants)} mutants killed ({killed_count / max(1, len(mutants)):.0%})")
    for name in survivors:
        print(f"survivor: {name}")
    return int(bool(survivors))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
