"""Every key of an input, every column and every option of the command changes the answer: none is read and ignored."""

import argparse
import copy

import pytest
import yaml
from planrun import command, from_file

from gpuslice.planner import command as planner
from gpuslice.planner import read

# Every key and option, and a value of it with which the answer is another one.

BASE = {
    "candidates": ["g4dn.2xlarge", "g5.xlarge", "p4d.24xlarge"],
    "workloads": [
        {
            "name": "a",
            "count": 4,
            "memory": "3Gi",
            "utilization": {"mean": 0.1, "p95": 0.25},
            "gpu": "T4",
            "cpu": 1,
            "ram": "4Gi",
        },
        {
            "name": "m",
            "count": 112,
            "memory": "3Gi",
            "utilization": {"mean": 0.1, "p95": 0.1296},
            "gpu": "A100-40GB",
            "isolation": "hardware",
        },
    ],
}
TOP = {
    "candidates": ["g4dn.2xlarge", "g4dn.xlarge", "p4d.24xlarge"],
    "hoursPerMonth": 730,
    "region": "eu-west-1",
    "prices": {"basis": "spot", "factor": 0.4},
    "efficiency": 0.8,
    "headroom": "require",
    "maxReplicas": 2,
    "migTax": 0.1,
    "workloads": BASE["workloads"][:1],
}
ENTRY = {
    "name": "b",
    "preset": "rendering",
    "count": 5,
    "memory": "7Gi",
    "utilization": {"mean": 0.1, "p95": 0.5},
    "gpu": "L4",
    "cpu": 4,
    "ram": "20Gi",
    "isolation": "hardware",
    "latency": "critical",
    "group": "team-a",
}
CELLS = {
    "name": "b",
    "count": "5",
    "memory_gib": "7",
    "mean": "0.2",
    "p95": "0.5",
    "gpu": "L4",
    "cpu": "4000m",
    "ram_gib": "20",
    "isolation": "hardware",
    "latency": "critical",
    "group": "team-a",
}
ROW = {"name": "a", "count": "4", "memory_gib": "3", "mean": "0.1", "p95": "0.25", "gpu": "T4", "cpu": "1"} | {
    "ram_gib": "4",
    "isolation": "none",
    "latency": "tolerant",
    "group": "",
}


def substance(answer):
    """Without what only repeats the question."""
    return {key: value for key, value in answer.items() if key not in {"options", "prices"}}


def test_no_key_of_the_input_is_left_out_here():
    assert {*TOP, "services"} == set(read._TOP_KEYS)  # services have tests of their own
    assert set(ENTRY) == set(read._YAML_KEYS)
    assert list(CELLS) == list(read.CSV_COLUMNS)
    assert set(TOP["prices"]) == set(read._PRICE_KEYS)


@pytest.mark.parametrize("key", TOP)
def test_every_key_at_the_top_has_an_effect(key, tmp_path, capsys):
    plain = from_file(tmp_path, capsys, yaml.safe_dump(BASE))
    changed = from_file(tmp_path, capsys, yaml.safe_dump(BASE | {key: TOP[key]}))
    assert substance(changed) != substance(plain)


@pytest.mark.parametrize(("key", "value"), [("basis", "reserved"), ("factor", 0.5)])
def test_every_key_of_prices_has_an_effect(key, value, tmp_path, capsys):
    first, second = TOP["prices"], TOP["prices"] | {key: value}
    answers = [from_file(tmp_path, capsys, yaml.safe_dump(BASE | {"prices": p})) for p in (first, second)]
    assert substance(answers[0]) != substance(answers[1])


@pytest.mark.parametrize("key", [*ENTRY, "mean"])
def test_every_key_of_a_workload_has_an_effect(key, tmp_path, capsys):
    document = copy.deepcopy(BASE | {"workloads": BASE["workloads"][:1]})
    plain = from_file(tmp_path, capsys, yaml.safe_dump(document))
    entry = document["workloads"][0]
    if key == "mean":
        entry["utilization"]["mean"] = 0.2
    elif key == "preset":
        del entry["memory"], entry["utilization"]
        entry[key] = ENTRY[key]
    else:
        entry[key] = ENTRY[key]
    changed = from_file(tmp_path, capsys, yaml.safe_dump(document))
    assert substance(changed) != substance(plain)
    figures = ("after", "pools", "nodes", "placements")
    assert [changed[f] for f in figures] != [plain[f] for f in figures]


@pytest.mark.parametrize("column", CELLS)
def test_every_column_has_an_effect(column, tmp_path, capsys):
    def answer(row):
        text = ",".join(row) + "\n" + ",".join(row.values()) + "\n"
        return from_file(tmp_path, capsys, text, "--candidates", "g4dn.2xlarge,g5.xlarge", name="w.csv")

    plain, changed = answer(ROW), answer(ROW | {column: CELLS[column]})
    figures = ("after", "pools", "nodes", "placements")
    assert [changed[f] for f in figures] != [plain[f] for f in figures]


FLAGS = {
    "--candidates": ["g4dn.xlarge,p4d.24xlarge"],
    "--region": ["eu-west-1"],
    "--price-basis": ["spot", "--price-factor", "0.5"],
    "--price-factor": ["0.4", "--price-basis", "spot"],
    "--hours-per-month": ["730"],
    "--efficiency": ["0.8"],
    "--headroom": ["require"],
    "--max-replicas": ["2"],
    "--mig-tax": ["0.5"],
}
ELSEWHERE = {"--price-table", "--method", "--seconds", "--json", "--presets"}
"""Options that other tests of this file look at."""
OF_OTHERS = {"--prometheus", "--window", "--stack", "--html", "--plot", "--help", "--scenario"}
"""Options with tests in files of their own."""


def test_no_option_of_the_command_is_left_out_here():
    parser = argparse.ArgumentParser()
    planner.add_arguments(parser)
    names = {name for action in parser._actions for name in action.option_strings if name.startswith("--")}
    assert names == {*FLAGS, *ELSEWHERE, *OF_OTHERS}


@pytest.mark.parametrize("flag", FLAGS)
def test_every_option_has_an_effect_and_comes_before_the_file(flag, tmp_path, capsys):
    text = yaml.safe_dump(BASE)
    plain = from_file(tmp_path, capsys, text)
    changed = from_file(tmp_path, capsys, text, flag, *FLAGS[flag])
    assert substance(changed) != substance(plain)
    said = {"hoursPerMonth": 720, "efficiency": 0.95, "headroom": "advise", "maxReplicas": 16, "region": "us-west-2"}
    said["prices"] = {"basis": "reserved", "factor": 0.9} if "price" in flag else {}
    assert substance(from_file(tmp_path, capsys, yaml.safe_dump(BASE | said), flag, *FLAGS[flag])) != substance(plain)


def test_the_method_can_be_said(tmp_path, capsys):
    for method in ("greedy", "exact"):
        answer = from_file(tmp_path, capsys, yaml.safe_dump(BASE), "--method", method)
        assert answer["options"]["method"] == method


def test_the_seconds_reach_the_exact_method(tmp_path, capsys, monkeypatch):
    from gpuslice.planner import exact

    given, solve = [], exact.solve

    def noted(market, seconds=10.0):
        given.append(seconds)
        return solve(market, seconds)

    monkeypatch.setattr(exact, "solve", noted)
    from_file(tmp_path, capsys, yaml.safe_dump(BASE), "--method", "exact", "--seconds", "7.5")
    assert set(given) == {7.5}


def test_presets_are_listed_with_their_reasons(capsys):
    code, out, _ = command(capsys, "--presets")
    assert code == 0
    assert out.count("\n  - ") >= 6
    assert "notebooks: 3Gi" in out
