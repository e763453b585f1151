"""Folders in ParvaGPU's layout, and wrong input: one clear message for each problem, with its place."""

from __future__ import annotations

import pytest
from planrun import command
from profilefiles import written
from servicefiles import planned, rows, service, small, write


@pytest.fixture
def folder(tmp_path):
    return written(tmp_path / "data", {"a": rows(s1=10, s7=50), "b": rows(s7=5)}, "10,N/A\n10,45\n", "90,N/A\n90,90\n")


def test_a_folder_has_scenarios(folder, capsys):
    assert {e["workload"] for e in planned(capsys, folder)["placements"]} == {"a"}
    second = planned(capsys, folder, "--scenario", "2")
    assert {e["workload"] for e in second["placements"]} == {"a", "b"}
    assert second["after"]["nodes"] == 2


@pytest.mark.parametrize("number", ["3", "0", "-1", "x", "1.0", ""])
def test_a_scenario_that_is_not_there_is_refused_with_those_that_are(number, folder, capsys):
    code, out, error = command(capsys, folder, f"--scenario={number}")
    assert (code, out) == (1, "")
    assert "Allowed: 1, 2" in error


def test_a_folder_of_something_else_is_refused(tmp_path, capsys):
    code, _, error = command(capsys, tmp_path)
    assert (code, "nor a folder in ParvaGPU's layout" in error) == (1, True)
    (tmp_path / "prof_data").mkdir()
    assert "has no profile" in command(capsys, tmp_path)[2]
    code, _, error = command(capsys, small(tmp_path), "--scenario", "1")
    assert (code, "--scenario is for a folder" in error) == (1, True)


# Wrong input

GOOD = service("a", "a", 10)
WRONG = {
    "rate zero": ([GOOD | {"rate": 0}], "services[0].rate: is 0.", "requests per second above 0"),
    "rate negative": ([GOOD, GOOD | {"name": "b", "rate": -1}], "services[1].rate: is -1.", "such as 19"),
    "rate not a number": ([GOOD | {"rate": float("nan")}], "services[0].rate: is nan", "above 0"),
    "rate endless": ([GOOD | {"rate": float("inf")}], "services[0].rate: is inf", "at most 1000000000"),
    "rate absurd": ([GOOD | {"rate": 10**10}], "services[0].rate: is 10000000000", "at most 1000000000"),
    "rate of many slices": ([GOOD | {"rate": 10**9}], "services[0].rate: is 1000000000 and takes 20000000", "100000"),
    "rate true": ([GOOD | {"rate": True}], "services[0].rate: is True", "above 0"),
    "rate a text": ([GOOD | {"rate": "many"}], "services[0].rate: is 'many'", "above 0"),
    "rate missing": ([{k: x for k, x in GOOD.items() if k != "rate"}], "services[0].rate: is missing", "such as 19"),
    "latency zero": ([GOOD | {"latencyMs": 0}], "services[0].latencyMs: is 0.", "milliseconds above 0"),
    "latency null": ([GOOD | {"latencyMs": None}], "services[0].latencyMs: is missing", "such as 250"),
    "name missing": ([{k: x for k, x in GOOD.items() if k != "name"}], "services[0].name: is missing", "1 to 253"),
    "name empty": ([GOOD | {"name": " "}], "services[0].name: is ' '", "1 to 253"),
    "name twice": ([GOOD, GOOD], "services[1].name: 'a' is the name of services[0] already", "each name once"),
    "profile missing": (
        [GOOD | {"profile": "no.csv"}],
        "services[0].profile: ",
        "no.csv: cannot be read: No such file",
    ),
    "profile a folder": ([GOOD | {"profile": "profiles"}], "services[0].profile: ", "is not a file"),
    "profile a list": ([GOOD | {"profile": ["a"]}], "services[0].profile: is ['a']", "the path of a CSV file"),
    "profile with an end": ([GOOD | {"profile": "a\0b"}], "services[0].profile: is 'a\\x00b'", "the path of a CSV"),
    "profile of another format": (
        [GOOD | {"profile": "profiles/bad.csv"}],
        "profiles/bad.csv:2: Mig instance is '5'",
        "",
    ),
    "cpu negative": ([GOOD | {"cpu": -1}], "services[0].cpu: is -1", "cores such as 2"),
    "ram without unit": ([GOOD | {"ram": 8}], "services[0].ram: is 8, without a unit", "3Gi"),
    "key unknown": ([GOOD | {"latencyMS": 3}], "services[0].latencyMS: unknown key", "Did you mean"),
    "key of workloads": ([GOOD | {"count": 3}], "services[0].count: unknown key", "name, profile, rate"),
    "service a text": (["a"], "services[0]: is 'a'", "a map with the keys name, profile"),
    "no service": ([], "services: is empty", "at least one service"),
    "null": (None, "services: is empty", "at least one service"),
    "services a map": ({"a": 1}, "services: is {'a': 1}", "a list"),
}
WRONG_TOP = {
    "gpu unknown": ({"gpu": "A100-81GB"}, "gpu: GPU 'A100-81GB'", "a100-80gb"),
    "gpu of two sizes": ({"gpu": "A100"}, "gpu: GPU 'A100' may be", "which"),
    "gpu without MIG": ({"gpu": "T4"}, "gpu: t4 has no MIG", "a100-80gb"),
    "gpu a number": ({"gpu": 100}, "gpu: GPU", ""),
    "type of another GPU": ({"candidates": ["g4dn.xlarge"]}, "candidates: g4dn.xlarge has t4", "one of p4de.24xlarge"),
    "two types": (
        {"candidates": ["p5.48xlarge", "p5.4xlarge"], "gpu": "H100-80GB"},
        "candidates: 2 instance",
        "one of",
    ),
    "type unknown": ({"candidates": ["p4dx"]}, "candidates: unknown instance type 'p4dx'", ""),
    "processes none": ({"maxProcesses": 0}, "maxProcesses: is 0", "1 to 48"),
    "processes a part": ({"maxProcesses": 1.5}, "maxProcesses: is 1.5", "1 to 48"),
    "share zero": ({"latencyShare": 0}, "latencyShare: is 0", "above 0, up to 1"),
    "share in per cent": ({"latencyShare": 45}, "latencyShare: is 45", "such as 0.45"),
    "hours": ({"hoursPerMonth": 9999}, "hoursPerMonth: is 9999", "1 to 744"),
    "region": ({"region": "us-est-1"}, "region 'us-est-1'", "us-east-1"),
    "of time-slicing": ({"efficiency": 0.9}, "efficiency: unknown key", "latencyShare"),
    "key unknown": ({"latencyshare": 0.4}, "latencyshare: unknown key", "Did you mean latencyShare?"),
    "workloads too": ({"workloads": []}, "has workloads and services", "one of the two in a file; plan them apart"),
}


def refused(tmp_path, capsys, services, **more):
    path = write(tmp_path, {"a": rows(s1=10, s7=50), "bad": "5,1,1,10,0.1"}, services, **more)
    code, out, error = command(capsys, path, "--json")
    assert (code, out) == (1, "")
    assert "Traceback" not in error
    assert all(line.isprintable() for line in error.splitlines())
    return error


@pytest.mark.parametrize("name", WRONG)
def test_wrong_services(name, tmp_path, capsys):
    services, what, allowed = WRONG[name]
    error = refused(tmp_path, capsys, services)
    assert f"services.yaml: {what}" in error or (name == "profile of another format" and what in error)
    assert allowed in error


@pytest.mark.parametrize("name", WRONG_TOP)
def test_wrong_settings(name, tmp_path, capsys):
    more, what, allowed = WRONG_TOP[name]
    error = refused(tmp_path, capsys, [GOOD], **more)
    assert (what if name == "region" else f"services.yaml: {what}") in error
    assert allowed in error


def test_all_problems_come_at_once(tmp_path, capsys):
    services = [
        GOOD | {"rate": 0, "latencyMs": -1},
        service("b", "bad", 1),
        service("c", "bad", 1),
        service("a", "a", 1),
    ]
    error = refused(tmp_path, capsys, services, latencyShare=2, colour="red")
    for what in ("colour: unknown key", "latencyShare: is 2", "services[0].rate", "services[0].latencyMs"):
        assert what in error
    assert "services[3].name: 'a' is the name of services[0] already" in error
    assert error.count("profiles/bad.csv:2") == 1
    assert "6 problems" in error


def test_a_total_beyond_reason_is_refused(tmp_path, capsys):
    services = [service(f"s{n}", "a", 90_000 * 50) for n in range(2)]
    assert "the services take 180000 slices. Allowed: 100000 in all" in refused(tmp_path, capsys, services)
