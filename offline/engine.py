"""Runs the real Pulumi CLI on the program, where the CLI and AWS credentials are present."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

Progress = Callable[[str], None]


class EngineFailed(Exception):
    """The CLI could not be run; the text says why."""


def usable(root: Path, stack: str, command: str, progress: Progress) -> Any | None:
    """The CLI if `command` can run with it, else None, after one plain line that says what is missing."""
    from offline.pulumi_cli import aws_credentials_present, find_pulumi
    from sandbox.build import cache_directory

    if not aws_credentials_present(os.environ):
        progress(f"no AWS credentials: {_instead(command, stack)}")
        return None
    installation = find_pulumi(cache_directory(), progress)
    if installation is None:
        progress(f"no Pulumi CLI: {_instead(command, stack)}")
    return installation


def _instead(command: str, stack: str) -> str:
    if command == "preview":
        return f"previewing {stack} without them, by running the program in process"
    return f"`make preview STACK={stack}` works without either"


def run(installation: Any, root: Path, stack: str, command: str) -> int:
    """`pulumi preview|up|destroy` of a stack, with its output on this terminal; returns the CLI's exit code."""
    from offline.pulumi_cli import backend_environment

    environment = {**os.environ, **backend_environment(os.environ, Path.home(), root)}
    program = str(installation.command)
    selected = subprocess.run([program, "stack", "select", "--create", stack, "--cwd", str(root)], env=environment)
    if selected.returncode:
        raise EngineFailed(f"pulumi could not select the stack {stack}")
    return subprocess.run([program, command, "--stack", stack, "--cwd", str(root)], env=environment).returncode
