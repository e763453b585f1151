"""The real Pulumi CLI reads our project and stack files, and hands the program what our own loader reads."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from gpuslice.project import read_settings

ROOT = Path(__file__).resolve().parents[2]
STACKS = sorted(p.name.split(".")[1] for p in ROOT.glob("Pulumi.*.yaml"))
PROGRAM = """
import pulumi
from components.config import stack_settings
from gpuslice.problems import SettingsError
try:
    pulumi.export("settings", stack_settings().model_dump_json())
except SettingsError as error:
    raise pulumi.RunError(str(error)) from None
"""

pytestmark = [
    pytest.mark.engine,
    pytest.mark.skipif(shutil.which("pulumi") is None, reason="the Pulumi CLI is not on PATH"),
]


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """A project with our configuration keys and stack files, whose program only exports its settings."""
    definition = yaml.safe_load((ROOT / "Pulumi.yaml").read_text())
    definition["runtime"] = {"name": "python", "options": {"toolchain": "pip", "virtualenv": sys.prefix}}
    folder = tmp_path / "project"
    folder.mkdir()
    (folder / "Pulumi.yaml").write_text(yaml.safe_dump(definition))
    (folder / "__main__.py").write_text(PROGRAM)
    for stack in STACKS:
        shutil.copy(ROOT / f"Pulumi.{stack}.yaml", folder)
    return folder


def pulumi(project: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    state = project.parent / "state"
    state.mkdir(exist_ok=True)
    environment = {
        **os.environ,
        "PULUMI_BACKEND_URL": state.as_uri(),
        "PULUMI_CONFIG_PASSPHRASE": "test",
        "PULUMI_SKIP_UPDATE_CHECK": "true",
        "PULUMI_HOME": str(project.parent / "home"),
        "PYTHONPATH": str(ROOT),
    }
    command = ["pulumi", *arguments, "--non-interactive", "--cwd", str(project)]
    return subprocess.run(command, env=environment, capture_output=True, text=True, timeout=300)


@pytest.mark.parametrize("stack", STACKS)
def test_the_engine_hands_over_what_our_loader_reads(project: Path, stack: str) -> None:
    assert pulumi(project, "stack", "init", stack).returncode == 0
    run = pulumi(project, "up", "--yes", "--stack", stack)
    assert run.returncode == 0, run.stdout + run.stderr
    output = pulumi(project, "stack", "output", "settings", "--stack", stack)
    assert json.loads(output.stdout) == json.loads(read_settings(ROOT / f"Pulumi.{stack}.yaml").model_dump_json())


def test_a_refused_setting_is_one_message_without_a_traceback(project: Path) -> None:
    file = project / "Pulumi.dev.yaml"
    file.write_text(file.read_text().replace("replicas: 4", "replcas: 4", 1))
    assert pulumi(project, "stack", "init", "dev").returncode == 0
    run = pulumi(project, "preview", "--stack", "dev")
    text = run.stdout + run.stderr
    assert run.returncode != 0
    assert "gpu-slicing:pools[0].sharing.replcas: unknown key" in text
    assert "Traceback" not in text


def test_a_pool_list_of_the_wrong_shape_is_refused_by_the_typed_configuration(project: Path) -> None:
    stack = {"config": {"gpu-slicing:pools": {"name": "not-a-list"}}}
    (project / "Pulumi.dev.yaml").write_text(yaml.safe_dump(stack))
    assert pulumi(project, "stack", "init", "dev").returncode == 0
    run = pulumi(project, "preview", "--stack", "dev")
    assert run.returncode != 0
    assert "pools" in run.stdout + run.stderr
