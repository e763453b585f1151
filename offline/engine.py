"""Runs the real Pulumi CLI on the program, where the CLI and AWS credentials are present."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

from gpuslice.project import cache_directory, policy_config
from gpuslice.settings import Settings
from offline.policy_pack import PolicyRefused
from offline.pulumi_cli import PulumiInstallation, aws_credentials_present, backend_environment, find_pulumi
from policies.check import check_config, judge_changes

Progress = Callable[[str], None]
PRIVATE_ENDPOINT = (
    "If the cluster's API could not be reached: its endpoint is private. Run this inside the VPC (a runner or a VPN),"
    " or set cluster.endpoint.public: true with the publicCidrs of your own network."
)
POLICY_VIOLATION = 5
"""The CLI's exit code where a mandatory policy is violated (pulumi/pulumi sdk/go/common/util/cmdutil/exit.go).

Only where the program had ended by then: a program that the engine stops in the middle makes it a plain 1.
"""
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
    """`pulumi preview|up|destroy` of a stack, with its output on this terminal, judged by the policy pack.

    Raises EngineFailed, and PolicyRefused where the pack refuses the resources or what would be done to them.
    """
    check_config(policy_config(settings.stack, root))
    engine = _Engine(installation, root, settings)
    engine.select()
    if command == "destroy":
        engine.shown(command, *flags)
        return
    if command == "up":
        engine.refuse_changes()
    engine.shown(command, *flags, *policy_flags(root, settings.stack))
    if command == "preview":
        engine.refuse_changes()


def policy_flags(root: Path, stack: str) -> list[str]:
    """The flags with which the CLI runs the pack, with the stack's configuration of it where there is one."""
    config = policy_config(stack, root)
    return ["--policy-pack", str(root / "policies"), *(["--policy-pack-config", str(config)] if config else [])]


def mandatory_violation(log: Path) -> bool:
    """Whether an event log of the engine tells of a mandatory policy that was violated."""
    lines = log.read_text(encoding="utf-8").splitlines() if log.exists() else []
    events = (json.loads(line).get("policyEvent") or {} for line in lines)
    return any(event.get("enforcementLevel") == "mandatory" for event in events)


@dataclass(frozen=True)
class _Engine:
    """The CLI on one stack."""

    installation: PulumiInstallation
    root: Path
    settings: Settings

    def _command(self, *arguments: str) -> list[str]:
        return [str(self.installation.command), *arguments, "--cwd", str(self.root)]

    @property
    def _environment(self) -> dict[str, str]:
        return {**os.environ, **backend_environment(os.environ, Path.home(), self.root)}

    def select(self) -> None:
        stack = self.settings.stack
        if subprocess.run(self._command("stack", "select", "--create", stack), env=self._environment).returncode:
            raise EngineFailed(f"pulumi could not select the stack {stack}. {PASSPHRASE}")

    def shown(self, command: str, *flags: str) -> None:
        """The command with its output on this terminal."""
        with TemporaryDirectory() as folder:
            log = Path(folder) / "events.json"
            arguments = self._command(command, "--stack", self.settings.stack, *flags, "--event-log", str(log))
            # The CLI knows the flag only with this variable.
            code = subprocess.run(arguments, env={**self._environment, "PULUMI_DEBUG_COMMANDS": "true"}).returncode
            violated = code and (code == POLICY_VIOLATION or mandatory_violation(log))
        if violated:
            raise PolicyRefused(f"pulumi {command}: a mandatory policy is violated (see above); nothing was deployed")
        if code:
            hint = "" if self.settings.cluster.endpoint.public else f" {PRIVATE_ENDPOINT}"
            raise EngineFailed(f"pulumi {command} ended with code {code}.{hint}")

    def refuse_changes(self) -> None:
        """Judges what an update would do to what exists, which the engine does not tell a policy pack."""
        arguments = self._command("preview", "--json", "--stack", self.settings.stack)
        done = subprocess.run(arguments, env=self._environment, stdout=subprocess.PIPE, text=True)
        try:
            steps = json.loads(done.stdout)
        except ValueError:
            steps = {}
        if done.returncode or "steps" not in steps:
            told = [str(d.get("message", "")).strip() for d in steps.get("diagnostics") or []]
            raise EngineFailed("\n".join([f"pulumi preview ended with code {done.returncode}", *told]))
        report = judge_changes(steps, policy_config(self.settings.stack, self.root))
        if report.violations:
            print("\n".join(report.lines()), file=sys.stderr)
        if report.refused:
            raise PolicyRefused("the update was refused for what it would do to what exists (see above)")
