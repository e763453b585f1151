"""What can be said about a plan for services besides the services, and what is written of it."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest
import yaml
from planrun import command
from servicefiles import planned, rows, service, small, write

from gpuslice.cli import main


def test_the_type_is_that_with_the_gpu(tmp_path, capsys):
    plain = json.loads(command(capsys, small(tmp_path, gpu="NVIDIA A100-SXM4-40GB"), "--json")[1])
    assert plain["after"]["instanceTypes"] == {"p4d.24xlarge": 1}
    assert plain["pools"][0]["layout"]["1g.5gb"] >= 1
    named = json.loads(command(capsys, small(tmp_path, gpu="H100-80GB", candidates=["p5.48xlarge"]), "--json")[1])
    assert named["after"]["instanceTypes"] == {"p5.48xlarge": 1}
    again = command(capsys, small(tmp_path, gpu="H100-80GB", candidates=["p5.48xlarge"]), "--candidates", "p5.4xlarge")
    assert "1 x p5.4xlarge" in again[1]


@pytest.mark.parametrize(("price", "cheapest"), [(79, "p5.48xlarge"), (80, "p5.4xlarge"), (81, "p5.4xlarge")])
def test_the_type_is_the_cheapest_per_gpu_and_of_equals_the_smallest(price, cheapest, tmp_path, capsys):
    own = tmp_path / "own.csv"
    own.write_text(f"instance_type,usd_per_hour\np5.48xlarge,{price}\np5.4xlarge,10\n")
    out = command(capsys, small(tmp_path, gpu="H100-80GB"), "--json", "--price-table", own)[1]
    assert json.loads(out)["after"]["instanceTypes"] == {cheapest: 1}
    own.write_text(f"instance_type,usd_per_hour\np5.48xlarge,{price}\n")
    alone = json.loads(command(capsys, small(tmp_path, gpu="H100-80GB"), "--json", "--price-table", own)[1])
    assert alone["prices"]["unpriced"] == ["p5.4xlarge"]
    assert "no price in us-east-1, so not a candidate: p5.4xlarge" in alone["warnings"]


def test_the_greedy_method_needs_no_solver(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr("gpuslice.planner.plan.find_spec", lambda name: None)
    monkeypatch.setitem(sys.modules, "highspy", None)
    for more in ((), ("--method", "greedy")):
        assert planned(capsys, small(tmp_path), *more)["options"]["method"] == "greedy"
    code, out, error = command(capsys, small(tmp_path), "--method", "exact")
    assert (code, out) == (1, "")
    assert "needs the Python package highspy. Allowed: --method greedy" in error


def test_prices_of_the_file_and_of_the_command_line(tmp_path, capsys):
    path = small(tmp_path, hoursPerMonth=730, prices={"basis": "spot", "factor": 0.5})
    half = json.loads(command(capsys, path, "--json")[1])
    assert half["after"]["usdPerMonth"] == 10018.17
    assert "prices are 0.5 of on-demand, as you say: spot prices are not known here" in half["warnings"]
    east = json.loads(command(capsys, path, "--json", "--region", "eu-central-1", "--hours-per-month", "1")[1])
    assert east["after"]["usdPerHour"] == 17.14561
    own = tmp_path / "own.csv"
    own.write_text("instance_type,usd_per_hour\np4de.24xlarge,10\n")
    assert json.loads(command(capsys, small(tmp_path), "--json", "--price-table", own)[1])["after"]["usdPerHour"] == 10
    own.write_text("instance_type,usd_per_hour\np4d.24xlarge,10\n")
    code, _, error = command(capsys, small(tmp_path), "--price-table", own)
    assert (code, "no candidate has a price in us-east-1: p4de.24xlarge" in error) == (1, True)


@pytest.mark.parametrize("option", ["--efficiency=0.9", "--headroom=require", "--max-replicas=4"])
def test_what_is_about_time_slicing_is_refused(option, tmp_path, capsys):
    code, out, error = command(capsys, small(tmp_path), option)
    assert (code, out) == (1, "")
    assert f"{option.partition('=')[0]}: services with measured profiles are not time-sliced" in error


# Output


def test_every_kind_of_output(tmp_path, capsys):
    asked = [service("big", "big", 800), service("small", "small", 560)]
    path = write(tmp_path, {"big": rows(s7=100), "small": "1,8,2,5,0.01\n7,1,1,60,0.01"}, asked)
    stack, html, plot = tmp_path / "Pulumi.plan.yaml", tmp_path / "plan.html", tmp_path / "plan.svg"
    code, out, error = command(capsys, path, "--stack", stack, "--html", html, "--plot", plot)
    assert (code, "Traceback" in error) == (0, False)
    line = ["small", "56", "a100-80gb-mig-7x1g10gb", "nvidia.com/mig-1g.10gb", "8", "2"]
    assert line in [text.split() for text in out.splitlines()]
    assert "batch 8, 2 processes" in html.read_text(encoding="utf-8")
    assert plot.read_text(encoding="utf-8").startswith("<?xml")
    config = yaml.safe_load(stack.read_text())["config"]
    assert config["gpu-slicing:pools"][0] == {
        "name": "a100-80gb-mig-1x7g80gb",
        "instanceTypes": ["p4de.24xlarge"],
        "sharing": {"mode": "mig", "layout": {"7g.80gb": 1}},
        "limits": {"nodes": 2},
    }
    assert stack.read_text().startswith("# 2 nodes, $39,523.75 a month (720 h, on-demand).")
    assert main(["validate", str(stack)]) == 0


def test_processes_are_warned_of_only_where_there_are_several(tmp_path, capsys):
    assert not any("must start MPS" in text for text in planned(capsys, small(tmp_path))["warnings"])
    several = write(tmp_path, {"a": "1,1,2,10,0.01"}, [service("a", "a", 10)])
    (told,) = [text for text in planned(capsys, several)["warnings"] if "must start MPS" in text]
    assert ": a must start MPS and as many processes" in told


def test_a_plan_for_workloads_loads_nothing_of_this(tmp_path):
    plain = tmp_path / "w.yaml"
    plain.write_text("workloads: [{name: a, memory: 3Gi, utilization: {mean: 0.1, p95: 0.2}}]\n")
    code = (
        "import sys; from gpuslice.cli import main\n"
        "main(['plan', sys.argv[1], '--json'])\n"
        "print([m for m in sys.modules if 'service' in m or m.endswith(('.profiles', '.slices'))], file=sys.stderr)"
    )
    ran = subprocess.run([sys.executable, "-c", code, str(plain)], capture_output=True, text=True, timeout=120)
    assert ran.stderr.splitlines()[-1] == "[]"
