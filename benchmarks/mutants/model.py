"""A mutant, and the copy of the project that it lives in."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

ROOT = Path(__file__).resolve().parents[2]
TIMEOUT_S = 300
LEFT_OUT = shutil.ignore_patterns(".git", ".venv", ".sandbox", "__pycache__", ".*_cache", ".hypothesis", "build")


@dataclass(frozen=True)
class Edit:
    """One replacement in one file; `old` stands there exactly once."""

    file: str
    old: str
    new: str


@dataclass(frozen=True)
class Mutant:
    """A fault. `edits` make it. `tests`: what must fail; none means that the policy pack itself must refuse a stack."""

    name: str
    edits: tuple[Edit, ...]
    tests: tuple[str, ...] = ()


class DoesNotApply(Exception):
    """The text that a mutant replaces is not there once: the mutant is out of date."""


def check(mutant: Mutant, root: Path = ROOT) -> None:
    """Raises DoesNotApply for an edit that cannot be made."""
    for edit in mutant.edits:
        count = (root / edit.file).read_text(encoding="utf-8").count(edit.old)
        if count != 1 or edit.old == edit.new:
            raise DoesNotApply(f"{mutant.name}: {edit.file} has {count} times: {edit.old!r}")


@contextmanager
def copied() -> Iterator[Path]:
    """A copy of the project to break."""
    with TemporaryDirectory() as folder:
        root = Path(folder) / "project"
        shutil.copytree(ROOT, root, ignore=LEFT_OUT, symlinks=True)
        yield root


@contextmanager
def applied(mutant: Mutant, root: Path) -> Iterator[None]:
    """The fault in the copy, for a while."""
    check(mutant, root)
    before = {edit.file: (root / edit.file).read_text(encoding="utf-8") for edit in mutant.edits}
    try:
        for edit in mutant.edits:
            path = root / edit.file
            path.write_text(path.read_text(encoding="utf-8").replace(edit.old, edit.new), encoding="utf-8")
        yield
    finally:
        for file, text in before.items():
            (root / file).write_text(text, encoding="utf-8")


def run(root: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Python in the copy, which comes before the installed project on its path."""
    # Byte code would be taken for current where two mutants of a file have the same size and second.
    environment = {**os.environ, "PYTHONPATH": str(root), "PYTHONDONTWRITEBYTECODE": "1"}
    return subprocess.run(
        [sys.executable, *arguments], cwd=root, env=environment, capture_output=True, text=True, timeout=TIMEOUT_S
    )
