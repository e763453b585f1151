"""The real Pulumi CLI reads our project and stack files, and hands the program what our own loader reads."""

from __future__ import annotations

import json

import pytest
from stacks import NEEDS_ENGINE, ROOT, NewWorkspace

from gpuslice.project import read_settings

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

pytestmark = NEEDS_ENGINE


@pytest.mark.parametrize("stack", STACKS)
def test_the_engine_hands_over_what_our_loader_reads(new_workspace: NewWorkspace, stack: str) -> None:
    workspace = new_workspace(stack, program=PROGRAM)
    workspace.succeed("up", "--yes", "--skip-preview")
    output = workspace.succeed("stack", "output", "settings")
    assert json.loads(output) == json.loads(read_settings(ROOT / f"Pulumi.{stack}.yaml").model_dump_json())


def test_a_refused_setting_is_one_message_without_a_traceback(new_workspace: NewWorkspace) -> None:
    workspace = new_workspace("dev", program=PROGRAM)
    workspace.edit(lambda config: config["pools"][0]["sharing"].update(replcas=4))
    text = workspace.fail("preview")
    assert "gpu-slicing:pools[0].sharing.replcas: unknown key" in text
    assert "Traceback" not in text


def test_a_pool_list_of_the_wrong_shape_is_refused_by_the_typed_configuration(new_workspace: NewWorkspace) -> None:
    config = {"gpu-slicing:pools": {"name": "not-a-list"}}
    assert "pools" in new_workspace("dev", config, PROGRAM).fail("preview")
