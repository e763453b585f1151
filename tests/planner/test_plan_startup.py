"""`gpuslice plan` starts fast because it imports little: nothing of Pulumi, no settings, no solver, no plots."""

import json
import subprocess
import sys

import pytest
from planrun import request, workload, yaml_of

SCENARIO = request(workload("serving", 4, gpu="t4", cpu_milli=1000, ram_mib=4096), candidates=["g4dn.2xlarge"])
HEAVY = {"pulumi", "pulumi_aws", "pydantic", "numpy", "highspy", "matplotlib", "grpc", "kubernetes", "jinja2"}
PROGRAM = """
import json, sys, time
start = time.perf_counter()
from gpuslice.cli import main
code = main(sys.argv[1:])
spent = time.perf_counter() - start
print(json.dumps({"code": code, "seconds": spent, "modules": sorted(sys.modules)}), file=sys.stderr)
"""


def run(path, *arguments):
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, "plan", path, *arguments], capture_output=True, text=True, check=True
    )
    return done.stdout, json.loads(done.stderr.splitlines()[-1])


@pytest.mark.parametrize("arguments", [(), ("--json",)], ids=["text", "JSON"])
def test_the_scenario_imports_nothing_heavy(arguments, tmp_path, record_property):
    path = tmp_path / "w.yaml"
    path.write_text(yaml_of(SCENARIO))
    out, told = run(path, *arguments)
    assert told["code"] == 0
    assert "541.44" in out
    record_property("seconds", told["seconds"])
    loaded = {name.partition(".")[0] for name in told["modules"]}
    assert not loaded & HEAVY
    assert not {"gpuslice.settings", "gpuslice.pools"} & set(told["modules"])
