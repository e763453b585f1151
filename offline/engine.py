"""Runs the real Pulumi CLI on the program, where the CLI and AWS credentials are present."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Callable
from pathlib import Path

from gpuslice.project import cache_directory
from gpuslice.settings import Settings
from offline.pulumi_cli import PulumiInstallation, aws_credentials_present, backend_environment, find_pulumi

Progress = Callable[[str], None]
PRIVATE_ENDPOINT = (
    "If the cluster's API could not be reached: its endpoint is private. Run this inside the VPC (a runner or a VPN),"
    " or set cluster.endpoint.public: true with the publicCidrs of your own network."
)

PASSPHRASE = (
    "If it speaks of an incorrect passphrase: the stack file has the encryptionsalt of another state. Remove that line,"
    " or give the passphrase of that state in PULUMI_CONFIG_PASSPHRASE."
)


class EngineFailed(Exception):
    """The CLI could not be run; the text says why."""


def usable(stack: str, command: str, progress: Progress) -> PulumiInstallation | None:
    """The CLI if `command` can run with it, else None, after one plain line that says what is missing."""
    if not aws_credentials_present(os.environ):
        if command == "preview":
            progress(f"no AWS credentials: {_instead(command, stack)}")
            return None
        # An instance role is not seen without a network call: the CLI itself will say if there is none.
        progress("no AWS credentials in the environment or in ~/.aws: trying with the machine's own role")
    installation = find_pulumi(cache_directory(), progress)
    if installation is None:
        progress(f"no Pulumi CLI: {_instead(command, stack)}")
    return installation


def _instead(command: str, stack: str) -> str:
    if command == "preview":
        return f"previewing {stack} without them, by running the program in process"
    return f"`make preview STACK={stack}` works without either"


def run(installation: PulumiInstallation, root: Path, settings: Settings, command: str, *flags: str) -> None:
    """`pulumi preview|up|destroy` of a stack, with its output on this terminal. Raises EngineFailed."""
    environment = {**os.environ, **backend_environment(os.environ, Path.home(), root)}
    select = [str(installation.command), "stack", "select", "--create", settings.stack, "--cwd", str(root)]
    if subprocess.run(select, env=environment).returncode:
        raise EngineFailed(f"pulumi could not select the stack {settings.stack}. {PASSPHRASE}")
    arguments = [str(installation.command), command, "--stack", settings.stack, "--cwd", str(root), *flags]
    code = subprocess.run(arguments, env=environment).returncode
    if code:
        hint = "" if settings.cluster.endpoint.public else f" {PRIVATE_ENDPOINT}"
        raise EngineFailed(f"pulumi {command} ended with code {code}.{hint}")
