"""Stacks of our own program under the real Pulumi engine, with providers that need neither AWS nor a cluster.

`fake_provider.py` takes the place of the AWS, EKS and Kubernetes providers; everything else (the engine, the Python
language host, the SDK, `__main__.py`, the components) is what a user runs. Each provider operation is logged, so that
the order in which the engine did things is data.
"""

from __future__ import annotations

import json
import os
import shlex
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import yaml

from gpuslice.project import PROJECT

ROOT = Path(__file__).resolve().parents[2]
TIMEOUT_S = 300
"""Longer than any command here takes; what takes longer hangs."""

NEEDS_ENGINE = [
    pytest.mark.engine,
    pytest.mark.skipif(shutil.which("pulumi") is None, reason="the Pulumi CLI is not on PATH"),
]


@dataclass(frozen=True)
class Operation:
    """What a provider did; `began` and `ended` are positions in one order of all events of a run.

    `ended` is None for what failed or never ended.
    """

    verb: str
    type: str
    name: str
    urn: str
    began: int
    ended: int | None = None
    id: str | None = None

    @property
    def kind(self) -> str:
        """The last part of the type, such as `NodePool`."""
        return self.type.rpartition(":")[2]

    @property
    def label(self) -> str:
        return f"{self.kind} {self.name}"


@dataclass(frozen=True)
class Workspace:
    """A folder with a project, its state, its Pulumi home and its providers' log; all of one stack."""

    folder: Path
    stack: str
    plugins: Path

    @property
    def project(self) -> Path:
        return self.folder / "project"

    @property
    def log(self) -> Path:
        return self.folder / "operations.jsonl"

    @property
    def settings_file(self) -> Path:
        return self.project / f"Pulumi.{self.stack}.yaml"

    def environment(self, **more: str) -> dict[str, str]:
        kept = {k: v for k, v in os.environ.items() if not k.startswith(("PULUMI_", "AWS_ACCESS", "AWS_PROFILE"))}
        return {
            **kept,
            "PATH": f"{self.plugins}{os.pathsep}{os.environ['PATH']}",
            "PULUMI_BACKEND_URL": (self.folder / "state").as_uri(),
            "PULUMI_CONFIG_PASSPHRASE": "test",
            "PULUMI_SKIP_UPDATE_CHECK": "true",
            "PULUMI_DISABLE_AUTOMATIC_PLUGIN_ACQUISITION": "true",
            "PULUMI_HOME": str(self.folder / "home"),
            "PYTHONPATH": str(ROOT),
            "FAKE_PROVIDER_LOG": str(self.log),
            # The state is written when a command ends, not at every step, which takes a quarter of the time.
            "PULUMI_EXPERIMENTAL": "true",
            "PULUMI_SKIP_CHECKPOINTS": "true",
            **more,
        }

    def command(self, *arguments: str) -> list[str]:
        return ["pulumi", *arguments, "--stack", self.stack, "--non-interactive", "--cwd", str(self.project)]

    def run(self, *arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
        """`pulumi ARGUMENTS` on the stack; the caller judges the exit code."""
        return subprocess.run(
            self.command(*arguments),
            env=self.environment(**environment),
            capture_output=True,
            text=True,
            timeout=TIMEOUT_S,
        )

    def succeed(self, *arguments: str) -> str:
        """As `run`, for what must exit with 0; returns standard output."""
        done = self.run(*arguments)
        assert done.returncode == 0, f"{shlex.join(arguments)}\n{done.stdout}\n{done.stderr}"
        return done.stdout

    def fail(self, *arguments: str, **environment: str) -> str:
        """As `run`, for what must not exit with 0; returns all that it said."""
        done = self.run(*arguments, **environment)
        assert done.returncode != 0, f"{shlex.join(arguments)} should have failed\n{done.stdout}\n{done.stderr}"
        return done.stdout + done.stderr

    def up(self) -> list[Operation]:
        """What a successful `pulumi up` did."""
        return self._during("up", "--yes", "--skip-preview")

    def destroy(self) -> list[Operation]:
        return self._during("destroy", "--yes", "--skip-preview")

    def _during(self, *arguments: str) -> list[Operation]:
        before = len(self.log_lines())
        self.succeed(*arguments)
        return self.operations(before)

    def preview(self) -> dict[str, Any]:
        return dict(json.loads(self.succeed("preview", "--json")))

    def changes(self) -> dict[str, str]:
        """The resources that a preview would touch: `NodePool t4-shared` -> `update`."""
        steps = [s for s in self.preview()["steps"] if s["op"] != "same"]
        return {f"{s['urn'].split('::')[2].rpartition(':')[2]} {s['urn'].split('::')[3]}": s["op"] for s in steps}

    def export(self, *arguments: str) -> list[dict[str, Any]]:
        """The resources in the state."""
        return list(json.loads(self.succeed("stack", "export", *arguments))["deployment"].get("resources", []))

    def log_lines(self) -> list[dict[str, Any]]:
        text = self.log.read_text() if self.log.exists() else ""
        return [json.loads(line) for line in text.splitlines()]

    def operations(self, since: int = 0) -> list[Operation]:
        """The creates, updates and deletes from line `since` of the log on, in the order in which they began."""
        found: dict[tuple[str, str], Operation] = {}
        for position, line in enumerate(self.log_lines()[since:], start=since):
            key = (line["operation"], line["urn"])
            if line["phase"] == "begin":
                found[key] = Operation(line["operation"], line["type"], line["name"], line["urn"], position)
            elif line["phase"] == "end" and key in found:
                began = found[key]
                found[key] = Operation(*key[:1], began.type, began.name, began.urn, began.began, position, line["id"])
        return sorted(found.values(), key=lambda o: o.began)

    def edit(self, change: Callable[[dict[str, Any]], None]) -> None:
        """Changes the stack's settings: `change` gets the configuration without the project's prefix on its keys."""
        document = yaml.safe_load(self.settings_file.read_text())
        config = {key.removeprefix(f"{PROJECT}:"): value for key, value in document["config"].items()}
        change(config)
        document["config"] = {key if ":" in key else f"{PROJECT}:{key}": value for key, value in config.items()}
        self.settings_file.write_text(yaml.safe_dump(document))

    def copy(self, folder: Path) -> Workspace:
        """An independent stack in the same state, with an empty log."""
        shutil.copytree(self.folder, folder, symlinks=True, ignore=shutil.ignore_patterns("*.jsonl"))
        return Workspace(folder, self.stack, self.plugins)

    def interrupt_at(self, event: Mapping[str, str], **environment: str) -> None:
        """Starts `pulumi up`, and kills the engine when the log has a line with all of `event`."""
        with open(self.folder / "killed.txt", "w") as output:
            process = subprocess.Popen(
                self.command("up", "--yes", "--skip-preview"),
                env=self.environment(**environment, PULUMI_SKIP_CHECKPOINTS="false"),
                stdout=output,
                stderr=output,
                start_new_session=True,
            )
        try:
            limit = time.monotonic() + TIMEOUT_S
            while not any(event.items() <= line.items() for line in self.log_lines()):
                assert process.poll() is None, (self.folder / "killed.txt").read_text()
                assert time.monotonic() < limit, f"no {event} within {TIMEOUT_S} s"
                time.sleep(0.05)
        finally:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()


def make_workspace(
    folder: Path, plugins: Path, stack: str, config: Mapping[str, Any] | None = None, program: str | None = None
) -> Workspace:
    """The project with one initialised stack. `config` and `program` are by default those of the repository."""
    workspace = Workspace(folder, stack, plugins)
    (folder / "state").mkdir(parents=True)
    workspace.project.mkdir()
    shutil.copy(ROOT / "Pulumi.yaml", workspace.project)
    (workspace.project / "__main__.py").write_text(program or (ROOT / "__main__.py").read_text())
    if config is None:
        shutil.copy(ROOT / f"Pulumi.{stack}.yaml", workspace.settings_file)
    else:
        workspace.settings_file.write_text(yaml.safe_dump({"config": dict(config)}))
    use_this_python(workspace.project)
    workspace.succeed("stack", "init")
    return workspace


def use_this_python(project: Path) -> None:
    """Runs the project's program in the virtual environment of these tests."""
    file = project / "Pulumi.yaml"
    definition = yaml.safe_load(file.read_text())
    definition["runtime"]["options"]["virtualenv"] = sys.prefix
    file.write_text(yaml.safe_dump(definition))


NewWorkspace = Callable[..., Workspace]
"""The fixture `new_workspace`: `(stack, config=None, program=None)` to an initialised stack."""
