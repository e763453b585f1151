"""Plans for services with measured profiles: dollars reckoned by hand, and drawn ones under an independent check."""

from __future__ import annotations

import os
from dataclasses import replace
from decimal import Decimal
from fractions import Fraction
from math import ceil
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from plan_rules import full_layouts
from planrun import command
from servicefiles import GPUS, MONTH, NODE, SIZES, faults, planned, rows, service, small, write

from benchmarks import parvagpu_check
from gpuslice.planner.profiles import Profile, Row
from gpuslice.planner.service_plan import not_dearer
from gpuslice.planner.service_solver import solve
from gpuslice.planner.services import GpuNode, Service, market
from gpuslice.planner.solver import Node, Solution


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


def test_before_counts_the_largest_slice_even_where_a_smaller_one_gives_more(tmp_path, capsys):
    """90 of 10 each are nine GPUs, of 15 each they would be six."""
    answer = planned(capsys, write(tmp_path, {"a": rows(s4=15, s7=10)}, [service("a", "a", 90)]))
    assert (answer["before"]["nodes"], answer["after"]["nodes"]) == (2, 1)


def test_a_plan_that_is_dearer_than_whole_gpus_gives_way_to_them(tmp_path, capsys, monkeypatch):
    def dear(market, weights, seconds):
        found = solve(market, weights, seconds)
        nodes = tuple(replace(node, copies=9 * node.copies) for node in found.nodes)
        return found if "gpu" in weights else replace(found, nodes=nodes, cost=9 * found.cost)

    monkeypatch.setattr("gpuslice.planner.service_plan.solve", dear)
    answer = planned(capsys, small(tmp_path))
    assert answer["after"] == answer["before"]
    assert answer["pools"][0]["layout"] == {"7g.80gb": 1}


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
    assert (answer["before"]["nodes"], answer["after"]["nodes"], answer["gap"]) == (3, 3, 0.0)
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
    assert "Fits nowhere\n  late (1 pod): no slice" in out


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
