"""`gpuslice preview`, `up` and `down` with the Pulumi CLI on PATH, in a copy of the repository."""

from __future__ import annotations

import json
import os
import re
import shutil
import stat
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest
from stacks import NEEDS_ENGINE, ROOT, TIMEOUT_S

pytestmark = NEEDS_ENGINE


@dataclass(frozen=True)
class Clone:
    """A copy of the repository, used by somebody with AWS credentials who is logged in nowhere."""

    root: Path
    home: Path
    plugins: Path

    @property
    def log(self) -> Path:
        return self.home / "operations.jsonl"

    def environment(self, **more: str) -> dict[str, str]:
        kept = {k: v for k, v in os.environ.items() if not k.startswith(("PULUMI_", "AWS_"))}
        return {
            **kept,
            "PATH": f"{self.plugins}{os.pathsep}{os.environ['PATH']}",
            "HOME": str(self.home),
            "AWS_ACCESS_KEY_ID": "AKIAIOSFODNN7EXAMPLE",
            "AWS_SECRET_ACCESS_KEY": "none",
            "PULUMI_SKIP_UPDATE_CHECK": "true",
            "PULUMI_DISABLE_AUTOMATIC_PLUGIN_ACQUISITION": "true",
            "FAKE_PROVIDER_LOG": str(self.log),
            **more,
        }

    def gpuslice(self, *arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-m", "gpuslice.cli", *arguments],
            cwd=self.root,
            env=self.environment(**environment),
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=TIMEOUT_S,
        )

    def done(self, verb: str) -> set[str]:
        """The types of what providers did."""
        lines = [json.loads(line) for line in self.log.read_text().splitlines()] if self.log.exists() else []
        return {line["type"] for line in lines if (line["operation"], line["phase"]) == (verb, "end")}


@pytest.fixture(scope="module")
def clone(tmp_path_factory: pytest.TempPathFactory, plugins: Path) -> Clone:
    root = tmp_path_factory.mktemp("clone")
    for package in ("gpuslice", "components", "offline", "policies"):
        shutil.copytree(ROOT / package, root / package, ignore=shutil.ignore_patterns("__pycache__"))
    for file in (ROOT / "__main__.py", *ROOT.glob("Pulumi*.yaml"), *ROOT.glob("policies.*.json")):
        shutil.copy(file, root)
    (root / ".venv").symlink_to(sys.prefix)
    return Clone(root, tmp_path_factory.mktemp("home"), plugins)


def test_preview_is_the_engines_own_where_the_engine_is(clone: Clone) -> None:
    run = clone.gpuslice("preview", "--stack", "dev", "--engine", "auto")
    assert run.returncode == 0, run.stderr
    assert "Previewing update (dev)" in run.stdout
    assert "kubernetes:karpenter.sh/v1:NodePool t4-shared create" in run.stdout
    assert not clone.done("create")


def test_the_engine_runs_the_policy_pack_and_it_has_nothing_to_say(clone: Clone) -> None:
    run = clone.gpuslice("preview", "--stack", "prod", "--engine", "auto")
    assert run.returncode == 0, run.stdout + run.stderr
    (pack,) = [line for line in run.stdout.splitlines() if "gpu-slicing@v" in line]
    assert "✅" in pack
    assert "[mandatory]" not in run.stdout
    assert "[advisory]" not in run.stdout
    assert "cannot be judged" not in run.stdout


def test_state_and_passphrase_stay_in_the_project_and_belong_to_the_user_alone(clone: Clone) -> None:
    state = clone.root / ".pulumi-state"
    if not state.exists():
        clone.gpuslice("preview", "--stack", "dev", "--engine", "auto")
    assert stat.S_IMODE(state.stat().st_mode) == 0o700
    assert stat.S_IMODE((state / "passphrase").stat().st_mode) == 0o600
    assert list((state / ".pulumi" / "stacks").rglob("dev.json"))
    # The engine notes a salt in the stack file, which is a key of the file like any other for our own loader.
    assert "encryptionsalt:" in (clone.root / "Pulumi.dev.yaml").read_text()
    assert clone.gpuslice("validate", "Pulumi.dev.yaml").returncode == 0


def test_without_credentials_the_preview_runs_in_process(clone: Clone) -> None:
    run = clone.gpuslice("preview", "--stack", "dev", "--engine", "auto", AWS_ACCESS_KEY_ID="")
    assert run.returncode == 0, run.stderr
    assert "no AWS credentials: previewing dev without them" in run.stderr
    assert "Preview of stack dev" in run.stdout


def test_up_asks_before_it_makes_anything(clone: Clone) -> None:
    """Without a terminal there is nobody to ask: the engine refuses, and says what to pass."""
    run = clone.gpuslice("up", "--stack", "prod")
    assert run.returncode != 0
    assert "non-interactive mode" in run.stderr
    assert not clone.done("create")


@contextmanager
def edited(clone: Clone, name: str, old: str, new: str) -> Iterator[None]:
    """A file of the clone with one text replaced, for a while; the file is made where it is not there."""
    file = clone.root / name
    before = file.read_text() if file.exists() else None
    assert before is None or old in before
    file.write_text(new if before is None else before.replace(old, new, 1))
    try:
        yield
    finally:
        file.unlink() if before is None else file.write_text(before)


@pytest.mark.parametrize("command", ["preview", "up"])
def test_a_mandatory_violation_is_exit_1_and_nothing_is_deployed(clone: Clone, command: str) -> None:
    with edited(clone, "Pulumi.dev.yaml", "replicas: 4", "replicas: 8"):
        options = ["--engine", "auto"] if command == "preview" else []
        run = clone.gpuslice(command, "--stack", "dev", *options, PULUMI_OPTION_YES="true")
    assert run.returncode == 1, run.stdout + run.stderr
    assert "replicas-within-cap" in run.stdout
    assert "a mandatory policy is violated (see above); nothing was deployed" in run.stderr
    assert not clone.done("create")


def test_a_configuration_of_the_pack_reaches_the_engine(clone: Clone) -> None:
    raised = '"replicas-within-cap": {"maxReplicas": {"t4": 8}}, "slice-memory-floor": "disabled"'
    with (
        edited(clone, "Pulumi.prod.yaml", "replicas: 4", "replicas: 8"),
        edited(clone, "policies.prod.json", '"all": "mandatory"', raised),
    ):
        run = clone.gpuslice("preview", "--stack", "prod", "--engine", "auto")
    assert run.returncode == 0, run.stdout + run.stderr


def test_up_and_down(clone: Clone) -> None:
    up = clone.gpuslice("up", "--stack", "dev", PULUMI_OPTION_YES="true")
    assert up.returncode == 0, up.stdout + up.stderr
    assert "kubernetes:karpenter.sh/v1:NodePool" in clone.done("create")
    with edited(clone, "Pulumi.dev.yaml", "name: gpu-dev", "name: gpu-other"):
        replaced = clone.gpuslice("up", "--stack", "dev", PULUMI_OPTION_YES="true")
    assert replaced.returncode == 1, replaced.stdout + replaced.stderr
    assert "mandatory no-replacement-without-break-glass" in replaced.stderr
    assert re.search(r"^    Cluster \S+: would be replaced", replaced.stderr, re.MULTILINE), replaced.stderr
    assert not clone.done("delete")
    fault = "delete kubernetes:karpenter.sh/v1:NodePool t4-shared"
    failed = clone.gpuslice("down", "--stack", "dev", PULUMI_OPTION_YES="true", FAKE_PROVIDER_FAULT=fault)
    assert failed.returncode != 0
    assert "fake fault" in failed.stdout + failed.stderr
    down = clone.gpuslice("down", "--stack", "dev", PULUMI_OPTION_YES="true")
    assert down.returncode == 0, down.stdout + down.stderr
    assert clone.done("delete") == clone.done("create")


def test_a_wrong_setting_never_reaches_the_engine(clone: Clone) -> None:
    file = clone.root / "Pulumi.dev.yaml"
    before = file.read_text()
    file.write_text(before.replace("replicas: 4", "replcas: 4", 1))
    try:
        run = clone.gpuslice("up", "--stack", "dev", PULUMI_OPTION_YES="true")
    finally:
        file.write_text(before)
    assert run.returncode == 1
    assert "pools[0].sharing.replcas: unknown key" in run.stderr
    assert not run.stdout
