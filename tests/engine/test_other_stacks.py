"""Another team's stack reads ours: the example, by a stack reference that the engine resolves."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

from stacks import NEEDS_ENGINE, ROOT, Workspace, use_this_python

from gpuslice.catalog.prices import stack_prices
from gpuslice.pools import Pool
from gpuslice.project import read_settings

pytestmark = NEEDS_ENGINE


def test_the_example_runs_on_a_slice_of_the_deployed_stack(dev: Workspace, tmp_path: Path) -> None:
    workspace = dev.copy(tmp_path / "copy")
    shutil.rmtree(workspace.project)
    shutil.copytree(ROOT / "examples" / "inference-service", workspace.project)
    use_this_python(workspace.project)
    workspace.succeed("stack", "init")
    made = workspace.up()
    assert {o.label for o in made} == {
        "Deployment inference",
        "Service inference",
        "PodDisruptionBudget inference",
    }
    pool = Pool.of(read_settings(ROOT / "Pulumi.dev.yaml").pools[0]).output(stack_prices("us-east-1"))
    outputs = json.loads(workspace.succeed("stack", "output", "--json"))
    assert outputs["pool"] == "t4-shared"
    assert outputs["sliceResource"] == pool["resources"][0]["name"]
    assert outputs["memoryMiB"] == pool["resources"][0]["memoryMiB"]
    deployment = next(r for r in workspace.export() if r["type"] == "kubernetes:apps/v1:Deployment")
    pod = deployment["inputs"]["spec"]["template"]["spec"]
    assert pod["nodeSelector"] == pool["nodeSelector"]
    assert pod["containers"][0]["resources"]["limits"][outputs["sliceResource"]] == "1"
    configured = {line["server"] for line in workspace.log_lines() if line["operation"] == "configure"}
    cluster = next(r for r in dev.export() if r["type"] == "aws:eks/cluster:Cluster")
    assert configured == {cluster["outputs"]["endpoint"]}
    assert "get-token" not in json.dumps(workspace.export())
