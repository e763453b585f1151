"""The stack as it was, to compare with: another stack file, or the stack's own file in a revision of git."""

from __future__ import annotations

import os
import re
import subprocess
import tempfile
from dataclasses import dataclass
from pathlib import Path

from gpuslice.load import load_stack
from gpuslice.problems import SettingsError
from gpuslice.project import stack_name
from gpuslice.settings import Settings

_TIMEOUT_S = 60.0
_SHOWN_PROBLEMS = 5


class BaseRefused(Exception):
    """What was given is neither a stack file nor a revision; the text says so."""


class GitFailed(Exception):
    """git is missing, or this folder is in no repository; the text says which."""


@dataclass(frozen=True)
class Base:
    """The stack as it was. `settings` is None for a stack that had no file, and for a file that is refused today."""

    label: str
    settings: Settings | None
    problem: str = ""

    @property
    def new(self) -> bool:
        """True where the stack is new: nothing was there, so nothing was paid."""
        return self.settings is None and not self.problem


def find_base(root: Path, stack: str, given: str) -> Base:
    """The base that `given` names: the path of a stack file, else a revision that holds `Pulumi.<stack>.yaml`.

    A file that the rules of today refuse is no error: the base may be older than they are. Raises BaseRefused and
    GitFailed.
    """
    if os.path.isfile(given):
        return _read(Path(given), stack_name(Path(given)), given)
    commit = _commit(root, given)
    label = f"{given} ({commit[:7]})"
    name = f"Pulumi.{stack}.yaml"
    if not _output(root, "ls-tree", commit, "--", name):
        return Base(label, None)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / name
        path.write_bytes(_output(root, "show", f"{commit}:./{name}"))
        return _read(path, stack, label)


def _read(path: Path, stack: str, label: str) -> Base:
    try:
        return Base(label, load_stack(path, stack))
    except SettingsError as error:
        shown = [str(problem) for problem in error.problems[:_SHOWN_PROBLEMS]]
        more = len(error.problems) - len(shown)
        return Base(label, None, "\n".join([*shown, f"... and {more} more"] if more else shown))


def _commit(root: Path, given: str) -> str:
    """The commit that a revision names."""
    allowed = "the path of a stack file, or a revision of git such as origin/main"
    if not given.strip() or given.startswith("-"):
        raise BaseRefused(f"the base is {given!r}. Allowed: {allowed}.")
    repository = _git(root, "rev-parse", "--git-dir")
    if repository.returncode:
        raise GitFailed(f"base {given}: there is no such file, and git knows no revision here: {_reason(repository)}")
    found = _git(root, "rev-parse", "--verify", "--quiet", f"{given}^{{commit}}")
    commit = found.stdout.decode(errors="replace").strip()
    # `^HEAD` and the like are revisions to git too, with a mark before the commit.
    if found.returncode or not re.fullmatch(r"[0-9a-f]{40,64}", commit):
        shallow = _git(root, "rev-parse", "--is-shallow-repository").stdout.strip() == b"true"
        hint = " This clone is shallow: fetch the revision first." if shallow else ""
        raise BaseRefused(f"base {given}: is neither a file nor a revision that git knows.{hint} Allowed: {allowed}.")
    return commit


def _output(root: Path, *arguments: str) -> bytes:
    done = _git(root, *arguments)
    if done.returncode:
        raise GitFailed(f"git {arguments[0]} failed: {_reason(done)}")
    return done.stdout


def _reason(done: subprocess.CompletedProcess[bytes]) -> str:
    told = done.stderr.decode(errors="replace").strip().splitlines()
    return told[0] if told else f"exit code {done.returncode}"


def _git(root: Path, *arguments: str) -> subprocess.CompletedProcess[bytes]:
    try:
        return subprocess.run(
            ["git", "-C", str(root), *arguments],
            env={**os.environ, "LC_ALL": "C", "GIT_TERMINAL_PROMPT": "0"},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=_TIMEOUT_S,
        )
    except FileNotFoundError:
        raise GitFailed("git is not installed: give the path of a stack file as the base, or install git") from None
    except (OSError, subprocess.TimeoutExpired) as error:
        raise GitFailed(f"git did not answer: {error}") from None
