"""Plans for services with measured profiles: dollars reckoned by hand, an independent check, wrong input."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections import Counter, defaultdict
from decimal import Decimal
from fractions import Fraction
from math import ceil
from pathlib import Path

import pytest
import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from plan_rules import full_layouts, placeable, price_list, rooms
from planrun import command
from profilefiles import HEADER, written

from benchmarks import parvagpu_check
from gpuslice.cli import main
from gpuslice.planner.profiles import Profile, Row
from gpuslice.planner.service_plan import not_dearer
from gpuslice.planner.services import GpuNode, Service, market
from gpuslice.planner.solver import Node, Solution

NODE, MONTH = 27.44705, 19761.88
"""p4de.24xlarge in us-east-1, on demand: dollars an hour, and in a month of 720 hours."""
GPUS = 8
MILLI = {"0": 0, "500m": 500, "4": 4000, "6": 6000, "20": 20_000, "96": 96_000}
SIZES = {1: "1g.10gb", 2: "2g.20gb", 3: "3g.40gb", 4: "4g.40gb", 7: "7g.80gb"}


def rows(**rates):
    """One row for each size of slice, of one process with batch 1 in 10 ms: `rows(s1=10, s7=50)`."""
    return "\n".join(f"{key[1:]},1,1,{rate},0.01" for key, rate in rates.items())


def service(name, profile, rate, latency=1000, **more):
    return {"name": name, "profile": f"profiles/{profile}.csv", "rate": rate, "latencyMs": latency, **more}


def write(folder, profiles, services, **more):
    """A file of services, beside the profiles that it names."""
    (folder / "profiles").mkdir(parents=True, exist_ok=True)
    for name, text in profiles.items():
        (folder / "profiles" / f"{name}.csv").write_text(f"{HEADER}\n{text}\n", encoding="utf-8")
    path = folder / "services.yaml"
    path.write_text(yaml.safe_dump({"services": services, **more}, allow_unicode=True), encoding="utf-8")
    return path


def planned(capsys, path, *arguments, code=0):
    given, out, error = command(capsys, path, "--json", *arguments)
    assert given == code, error
    answer = json.loads(out)
    if path.is_file():
        assert faults(path, answer) == []
    return answer


def measured(path):
    """Name to (what is asked, the profile, read anew) of a file."""
    document = yaml.safe_load(path.read_text(encoding="utf-8"))
    found = {}
    for entry in document["services"]:
        found[entry["name"]] = entry, parvagpu_check.profile(path.parent / entry["profile"])
    return document, found


def faults(path, answer):
    """What is wrong with the placements and the bill; shares no code with the planner."""
    document, asked = measured(path)
    share, most = Fraction(str(document.get("latencyShare", 0.45))), document.get("maxProcesses", 99)
    layouts = {pool["name"]: pool["layout"] for pool in answer["pools"]}
    pool_of = {node["name"]: node["pool"] for node in answer["nodes"]}
    found = [f"{p}: layout" for p, lay in layouts.items() if not placeable("a100-80gb", tuple(sorted(lay.items())))]
    rates, used, held = defaultdict(Fraction), Counter(), defaultdict(list)
    for entry in answer["placements"]:
        service, profile = asked[entry["workload"]]
        size = next(s for s, name in SIZES.items() if entry["resource"] == f"nvidia.com/mig-{name}")
        rate, seconds = profile[size, entry["batch"], entry["processes"]]
        if (float(rate), float(seconds)) != (entry["rate"], entry["latencySeconds"]):
            found.append(f"{entry}: measured {float(rate)} in {float(seconds)} s")
        if seconds >= share * Fraction(str(service["latencyMs"])) / 1000 or entry["processes"] > most:
            found.append(f"{entry}: too late, or too many processes")
        rates[entry["workload"]] += rate * entry["count"]
        used[entry["node"], entry["gpu"], SIZES[size]] += entry["count"]
        held[entry["node"]] += [service] * entry["count"]
    found += [f"{key}: {n} slices" for key, n in used.items() if n > layouts[pool_of[key[0]]].get(key[2], 0)]
    found += [f"GPU {gpu} of {node}" for node, gpu, _ in used if not 0 <= gpu < GPUS]
    left = {entry["workload"] for entry in answer["unplaced"]}
    for name, (service, _) in asked.items():
        if (rates[name] < Fraction(str(service["rate"]))) != (name in left):
            found.append(f"{name}: {float(rates[name])} of {service['rate']}")
    for node, services in held.items():
        cpu = sum(MILLI[str(s.get("cpu", "0"))] for s in services)
        found += [f"{node}: {cpu} millicores"] if cpu > rooms("p4de.24xlarge")[0] else []
    return found + bill_faults(answer, held)


def bill_faults(answer, held):
    price, hours = price_list({"region": "us-east-1", "prices": None, "price_factor": 1})["p4de.24xlarge"], 720
    found = [] if set(held) == {node["name"] for node in answer["nodes"]} else ["a node holds nothing"]
    for key in ("before", "after", "withHeadroom"):
        cost = Decimal(price * answer[key]["nodes"]) / 10**6
        month = (cost * hours).quantize(Decimal("0.01"))
        if (Decimal(str(answer[key]["usdPerHour"])), Decimal(str(answer[key]["usdPerMonth"]))) != (cost, month):
            found.append(f"{key}: {answer[key]}")
    if len(held) != answer["after"]["nodes"]:
        found.append("after: nodes")
    if not answer["lowerBound"]["usdPerHour"] <= answer["after"]["usdPerHour"] == answer["withHeadroom"]["usdPerHour"]:
        found.append("lowerBound")
    return found


# Plans that were reckoned by hand


def test_nine_services_on_nine_whole_gpus_fit_the_slices_of_one_node(tmp_path, capsys):
    path = write(tmp_path, {"a": rows(s1=10, s7=50)}, [service(f"s{n}", "a", 10) for n in range(9)])
    answer = planned(capsys, path)
    assert answer["before"] == {
        "usdPerHour": 54.8941,
        "usdPerMonth": 39523.75,
        "nodes": 2,
        "instanceTypes": {"p4de.24xlarge": 2},
    }
    assert answer["after"]["usdPerMonth"] == answer["lowerBound"]["usdPerMonth"] == MONTH
    assert answer["savings"] == {"usdPerHour": NODE, "usdPerMonth": 19761.87, "fraction": 0.5}
    assert answer["withHeadroom"] == {"efficiency": 1.0, "shortfall": 0.0} | answer["after"]
    assert (answer["gap"], answer["replicas"], answer["unplaced"]) == (0.0, [], [])
    assert answer["options"] == {
        "method": "exact",
        "gpu": "a100-80gb",
        "maxProcesses": None,
        "latencyShare": 0.45,
    }


@pytest.mark.parametrize("method", ["greedy", "exact"])
def test_each_layout_has_its_own_nodes_and_pool(method, tmp_path, capsys):
    """Eight 7g and 56 1g: 16 GPUs. On whole GPUs 8 and 10 of them, which is three nodes."""
    services = [service("big", "big", 800), service("small", "small", 560)]
    path = write(tmp_path, {"big": rows(s7=100), "small": rows(s1=10, s7=60)}, services)
    answer = planned(capsys, path, "--method", method)
    assert (answer["before"]["nodes"], answer["after"]["nodes"]) == (3, 2)
    assert [(pool["name"], pool["layout"], pool["nodes"]) for pool in answer["pools"]] == [
        ("a100-80gb-mig-1x7g80gb", {"7g.80gb": 1}, 1),
        ("a100-80gb-mig-7x1g10gb", {"1g.10gb": 7}, 1),
    ]
    assert answer["pools"][1]["resources"] == {"nvidia.com/mig-1g.10gb": {"perNode": 56, "memoryMiB": 9728, "used": 56}}
    assert answer["options"]["method"] == method


def test_a_service_without_the_largest_slice_in_time_is_counted_by_its_best_smaller_one(tmp_path, capsys):
    path = write(tmp_path, {"a": rows(s2=10, s4=15)}, [service("a", "a", 150)])
    answer = planned(capsys, path)
    assert answer["before"]["nodes"] == 2
    assert any(text.startswith("a has no 7g.80gb in time") for text in answer["warnings"])


def test_a_plan_is_no_dearer_than_whole_gpus_where_all_of_them_were_measured(tmp_path, capsys):
    profiles = {"a": rows(s1=1, s7=8), "b": rows(s3=5, s7=9), "c": rows(s4=3, s7=3)}
    path = write(tmp_path, profiles, [service("a", "a", 40), service("b", "b", 20), service("c", "c", 24)])
    for method in ("greedy", "exact"):
        answer = planned(capsys, path, "--method", method)
        assert answer["savings"]["usdPerHour"] >= 0


def test_whole_gpus_as_one_slice_each_stand_in_for_a_dearer_plan():
    """One demand of 8: a node of 7g gives it; what was found takes two nodes."""
    node = GpuNode("p4de.24xlarge", "A100-80GB", GPUS, 10, (1, 1, 700))
    profile = Profile("a", (Row(1, 1, 1, Decimal(1), Decimal(1)), Row(7, 1, 1, Decimal(1), Decimal(1))))
    offered = market([Service("a", profile, Decimal(8), Decimal(9999))], node)
    before = Solution((Node(0, 1, {(0, "gpu"): 8}),), 10, 10)
    found = not_dearer(offered, before, Solution((Node(3, 2, {(0, "1g.10gb"): 4}),), 20, 10))
    (only,) = found.nodes
    assert (found.cost, found.bound, only.takes) == (10, 10, {(0, "7g.80gb"): 8})
    assert offered.market.offers[only.offer].slots == {"7g.80gb": 8}
    assert not_dearer(offered, before, before) is before


def test_pods_take_the_room_of_their_node(tmp_path, capsys):
    """p4de.24xlarge has 95.x cores for pods: four pods of 20."""
    asked = [service(f"s{n}", "a", 10, cpu="20", ram="8Gi") for n in range(9)]
    answer = planned(capsys, write(tmp_path, {"a": rows(s1=10, s7=50)}, asked))
    assert (answer["before"]["nodes"], answer["after"]["nodes"]) == (3, 3)
    assert sorted(node["cpu"]["used"] for node in answer["nodes"]) in (
        [20.0, 80.0, 80.0],
        [40.0, 60.0, 80.0],
        [60.0] * 3,
    )
    assert sum(node["ramMiB"]["used"] for node in answer["nodes"]) == 9 * 8192
    assert not any("no CPU or memory" in text for text in answer["warnings"])


def test_a_placement_says_how_the_service_runs(tmp_path, capsys):
    """Of 2 slices: 3 processes of 9 a second in 40 ms beat one of 20; 99 in 45 ms are not below 0.45 of 100 ms."""
    profile = "2,1,1,20,0.01\n2,4,3,9,0.04\n2,8,1,99,0.045"
    path = write(tmp_path, {"a": profile}, [service("a", "a", 50, latency=100)])
    answer = planned(capsys, path)
    how = {"resource": "nvidia.com/mig-2g.20gb", "batch": 4, "processes": 3, "rate": 27.0, "latencySeconds": 0.04}
    for entry in answer["placements"]:
        assert {key: entry[key] for key in how} == how
        assert entry["node"] == f"{entry['pool']}-0"
        assert set(entry) == {"workload", "pool", "node", "gpu", "count", *how}
    assert sum(entry["count"] for entry in answer["placements"]) == 2
    one = planned(capsys, write(tmp_path, {"a": profile}, [service("a", "a", 50, latency=100)], maxProcesses=1))
    assert {(e["batch"], e["processes"], e["rate"]) for e in one["placements"]} == {(1, 1, 20.0)}
    assert sum(e["count"] for e in one["placements"]) == 3
    later = planned(capsys, write(tmp_path, {"a": profile}, [service("a", "a", 50, latency=100)], latencyShare=0.5))
    assert {(e["batch"], e["rate"]) for e in later["placements"]} == {(8, 99.0)}


def test_use_of_a_gpu_is_told_in_compute_slices(tmp_path, capsys):
    """Three 2g of one GPU hold the service, and it asks for 15 of the 30 that they give; a 4g holds the other."""
    answer = planned(capsys, write(tmp_path, {"a": rows(s7=20)}, [service("a", "a", 30)]))
    (node,) = answer["nodes"]
    assert node["gpus"][0] == {"mean": 0.75, "p95": 1.0, "slices": 1, "used": 1}
    assert node["gpus"][2] == {"mean": 0, "p95": 0, "slices": 1, "used": 0}
    assert answer["pools"][0]["headroom"] == 0.25
    assert "6 of 8 GPUs hold nothing: a node has 8 of them" in answer["warnings"]
    (told,) = [text for text in answer["warnings"] if "asked, the tightest first" in text]
    assert told.endswith("a 40 for 30 (+33.3%)")


def test_what_a_service_cannot_run_on_is_told_for_each_size(tmp_path, capsys):
    profile = "1,1,1,5,0.05\n2,1,1,0,0\n3,2,2,9,0.0449\n7,1,1,30,0.01"
    answer = planned(capsys, write(tmp_path, {"a": profile}, [service("a", "a", 9, latency=100)]))
    reasons = {entry["alternative"]: entry["reason"] for entry in answer["refused"]}
    assert set(reasons) == {"1g.10gb", "2g.20gb", "4g.40gb", "time-slicing"}
    assert "50 ms (1g, batch 1, 1 process). Allowed: below 45 ms, which is 0.45 of its 100 ms" in reasons["1g.10gb"]
    assert reasons["2g.20gb"] == "its profile has nothing that ran on 2g"


def test_what_no_slice_serves_is_told_beside_a_plan_for_the_rest(tmp_path, capsys):
    asked = [service("late", "a", 1, latency=1), service("fine", "a", 10), service("wide", "a", 1, cpu="96")]
    path = write(tmp_path, {"a": rows(s1=10, s7=50)}, asked)
    answer = planned(capsys, path, code=1)
    assert [entry["workload"] for entry in answer["unplaced"]] == ["late", "wide"]
    assert "no slice answers in time: the fastest takes 10 ms" in answer["unplaced"][0]["reason"]
    assert "96000 millicores; p4de.24xlarge has" in answer["unplaced"][1]["reason"]
    assert {entry["workload"] for entry in answer["placements"]} == {"fine"}
    assert answer["warnings"][0] == "served by no slice, and in no figure: late, wide"
    code, out, _ = command(capsys, path)
    assert code == 1
    assert "Fits nowhere\n  late (1 pods): no slice" in out


def test_nothing_to_place_is_an_empty_plan(tmp_path, capsys):
    path = write(tmp_path, {"a": rows(s1=10)}, [service("late", "a", 1, latency=1)])
    answer = planned(capsys, path, "--html", tmp_path / "p.html", code=1)
    assert (answer["after"]["nodes"], answer["before"]["usdPerMonth"], answer["gap"]) == (0, 0.0, 0.0)
    assert command(capsys, path)[0] == 1
    assert "no pool to write" in command(capsys, path, "--stack", tmp_path / "s.yaml")[2]


def test_profiles_are_found_from_the_file_that_names_them(tmp_path, capsys, monkeypatch):
    path = write(tmp_path / "deep", {"a": rows(s1=10)}, [service("a", "a", 10)])
    monkeypatch.chdir(tmp_path)
    assert planned(capsys, path)["after"]["nodes"] == 1


def test_where_cpu_is_scarce_pods_are_packed_by_it_too(tmp_path, capsys):
    """Eight pods of 20 cores take two nodes; 40 of half a core find room beside them: 80 and 20 of 95 cores."""
    services = [service("wide", "a", 80, cpu="20"), service("thin", "b", 400, cpu="500m")]
    answer = planned(capsys, write(tmp_path, {"a": rows(s4=10, s7=10), "b": rows(s1=10, s7=20)}, services))
    assert (answer["after"]["nodes"], answer["gap"]) == (2, 0.0)


# Options


def small(tmp_path, **more):
    return write(tmp_path, {"a": rows(s1=10, s7=50)}, [service("a", "a", 10)], **more)


def test_the_type_is_that_with_the_gpu(tmp_path, capsys):
    plain = json.loads(command(capsys, small(tmp_path, gpu="NVIDIA A100-SXM4-40GB"), "--json")[1])
    assert plain["after"]["instanceTypes"] == {"p4d.24xlarge": 1}
    assert plain["pools"][0]["layout"]["1g.5gb"] >= 1
    named = json.loads(command(capsys, small(tmp_path, gpu="H100-80GB", candidates=["p5.48xlarge"]), "--json")[1])
    assert named["after"]["instanceTypes"] == {"p5.48xlarge": 1}
    again = command(capsys, small(tmp_path, gpu="H100-80GB", candidates=["p5.48xlarge"]), "--candidates", "p5.4xlarge")
    assert "1 x p5.4xlarge" in again[1]
    cheapest = json.loads(command(capsys, small(tmp_path, gpu="H100-80GB"), "--json")[1])
    assert cheapest["after"]["instanceTypes"] == {"p5.4xlarge": 1}


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
    assert stack.read_text().startswith("# 2 nodes, $39,523.75 a month of 720 hours, on-demand.")
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


# Checked against rules written anew

rates = st.integers(1, 30)
drawn = st.lists(
    st.tuples(
        st.integers(1, 900),
        st.dictionaries(st.sampled_from(list(SIZES)), rates, min_size=1, max_size=2),
        st.sampled_from(["0", "0", "500m", "6", "20"]),
    ),
    min_size=1,
    max_size=3,
)


def coverable(slots, asked):
    """Whether the slots of one node, by size, serve all services: every number of slots is tried."""
    if not asked:
        return True
    (rate, of_size), *rest = asked
    first, *second = of_size
    for count in range(slots.get(first, 0) + 1):
        left = max(0, rate - count * of_size[first])
        more = ceil(Fraction(left, of_size[second[0]])) if second else (0 if left <= 0 else None)
        if more is None or (second and more > slots.get(second[0], 0)):
            continue
        after = {**slots, first: slots.get(first, 0) - count}
        if second:
            after[second[0]] = after.get(second[0], 0) - more
        if coverable(after, rest):
            return True
        if left <= 0:
            break
    return False


def one_node_does(asked):
    size_of = {name: size for size, name in SIZES.items()}
    layouts = (lay for lay in full_layouts("a100-80gb") if all(name in size_of for name, _ in lay))
    return any(coverable({size_of[name]: GPUS * n for name, n in lay}, asked) for lay in layouts)


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(drawn, st.sampled_from(["greedy", "exact"]))
def test_drawn_services_are_served_and_one_node_is_taken_where_one_does(tmp_path, capsys, asked, method):
    profiles = {f"p{n}": rows(**{f"s{s}": r for s, r in own.items()}) for n, (_, own, _) in enumerate(asked)}
    services = [service(f"m{n}", f"p{n}", rate, cpu=cpu) for n, (rate, _, cpu) in enumerate(asked)]
    answer = planned(capsys, write(tmp_path, profiles, services), "--method", method, "--seconds", 2)
    one = one_node_does([(rate, own) for rate, own, _ in asked])
    free = all(cpu == "0" for _, _, cpu in asked)
    if answer["after"]["nodes"] == 1 or (method == "exact" and free):
        assert (answer["after"]["nodes"] == 1) == one
    if answer["lowerBound"]["usdPerHour"] > NODE and free:
        assert not one
    assert answer["gap"] == 0 or method == "greedy" or not free


@pytest.mark.skipif("PARVAGPU_DATA" not in os.environ, reason="PARVAGPU_DATA names no folder of ParvaGPU's data")
@pytest.mark.parametrize(("scenario", "before", "after"), [("1", 1, 1), ("2", 2, 1), ("3", 2, 1)])
def test_the_scenarios_of_parvagpu_on_real_nodes(scenario, before, after, capsys, tmp_path):
    data = Path(os.environ["PARVAGPU_DATA"])
    answer = planned(capsys, data, "--scenario", scenario)
    assert (answer["before"]["nodes"], answer["after"]["nodes"], answer["gap"]) == (before, after, 0.0)
    asked = [
        {"name": model, "profile": f"{data}/prof_data/{model}.csv", "rate": float(rate), "latencyMs": float(within)}
        for model, (rate, within) in parvagpu_check.scenario(data, int(scenario)).items()
    ]
    assert faults(write(tmp_path, {}, asked), answer) == []


# A folder in ParvaGPU's layout


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
    assert what in error
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
