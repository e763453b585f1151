"""The checker objects to every fault that is planted into right answers; it accepts the answers as they are."""

import copy
from functools import cache

import pytest
from plan_checker import check
from plan_rules import completed, placeable, rooms, use_on
from planrun import answer_of, request, workload

MIXED = request(
    workload("a", 8, p95=0.25, group="x", cpu_milli=500, ram_mib=1024),
    workload("b", 2, p95=0.20, group="y", cpu_milli=500, ram_mib=1024),
    workload("c", 2, p95=0.60, latency="critical"),
    workload("m", 56, memory=3000, mean=0.05, p95=0.10, gpu="a100-40gb", isolation="hardware"),
    workload("z", 1, memory=500_000),
    candidates=["g4dn.xlarge", "p4d.24xlarge"],
)


@cache
def right():
    return answer_of(MIXED)


def pool(answer, mode):
    return next(p for p in answer["pools"] if p["mode"] == mode)


def placement(answer, name):
    return next(p for p in answer["placements"] if p["workload"] == name)


def one_pod_less(answer):
    placement(answer, "m")["count"] -= 1


def pod_twice(answer):
    answer["placements"].append(dict(placement(answer, "c")))


def workload_left_out(answer):
    answer["placements"] = [p for p in answer["placements"] if p["workload"] != "c"]


def two_on_a_gpu(answer):
    first, second = (p for p in answer["placements"] if p["workload"] == "c")
    second["node"] = first["node"]


def other_group(answer):
    placement(answer, "b")["node"] = placement(answer, "a")["node"]


def critical_shared(answer):
    placement(answer, "c").update(node=placement(answer, "a")["node"], resource="nvidia.com/gpu.shared")


def isolated_shared(answer):
    placement(answer, "m").update(node=placement(answer, "a")["node"], resource="nvidia.com/gpu.shared", count=1)


def too_many_replicas(answer):
    pool(answer, "time-slicing")["replicas"] += 1


def layout_without_a_place(answer):
    mig = pool(answer, "mig")
    mig["layout"] = {**mig["layout"], "3g.20gb": 1}


def no_such_resource(answer):
    placement(answer, "m")["resource"] = "nvidia.com/mig-1g.10gb"


def no_such_gpu(answer):
    placement(answer, "a")["gpu"] = 1


def no_such_type(answer):
    pool(answer, "exclusive")["instanceType"] = "g5.xlarge"


def wrong_node_count(answer):
    pool(answer, "exclusive")["nodes"] += 1


def node_that_is_not_paid(answer):
    answer["after"]["instanceTypes"]["g4dn.xlarge"] -= 1


def wrong_price(answer):
    pool(answer, "exclusive")["usdPerNodeHour"] = 0.525


def wrong_month(answer):
    answer["after"]["usdPerMonth"] = round(answer["after"]["usdPerMonth"] + 0.01, 2)


def wrong_savings(answer):
    answer["savings"]["usdPerMonth"] = round(answer["savings"]["usdPerMonth"] - 0.01, 2)


def bound_too_high(answer):
    answer["lowerBound"] = {k: answer["before"][k] for k in ("usdPerHour", "usdPerMonth")}


def wrong_gap(answer):
    answer["gap"] = 0.5


def wrong_before(answer):
    answer["before"]["instanceTypes"] = {"g4dn.xlarge": 1}


def placed_though_unplaced(answer):
    answer["unplaced"] = []


def unplaced_though_it_fits(answer):
    answer["placements"] = [p for p in answer["placements"] if p["workload"] != "c"]
    answer["unplaced"].append({"workload": "c", "count": 2, "reason": "no room"})


def wrong_used(answer):
    next(iter(pool(answer, "mig")["resources"].values()))["used"] -= 1


def wrong_memory(answer):
    next(iter(pool(answer, "time-slicing")["resources"].values()))["memoryMiB"] += 512


def wrong_cpu(answer):
    answer["nodes"][0]["cpu"]["allocatable"] += 0.2


def wrong_p95(answer):
    answer["nodes"][-1]["gpus"][0]["p95"] += 0.01


def not_a_number(answer):
    answer["gap"] = float("nan")


def no_headroom_said(answer):
    answer["warnings"] = [w for w in answer["warnings"] if "head-room" not in w]


def wrong_shortfall(answer):
    answer["withHeadroom"]["shortfall"] = 0.0


def refused_but_taken(answer):
    answer["refused"][0] = {"workloads": ["m"], "alternative": "mig", "reason": "no"}


FAULTS = [
    value
    for value in list(globals().values())
    if callable(value) and getattr(value, "__code__", None) and value.__code__.co_varnames[:1] == ("answer",)
]
FAULTS = [fault for fault in FAULTS if fault not in (pool, placement)]


def test_the_answer_itself_is_right():
    assert check(MIXED, right()) == []
    assert {p["mode"] for p in right()["pools"]} == {"time-slicing", "mig", "exclusive"}
    assert right()["unplaced"]
    assert len(FAULTS) >= 25


@pytest.mark.parametrize("plant", FAULTS, ids=lambda f: f.__name__)
def test_a_planted_fault_is_found(plant):
    answer = copy.deepcopy(right())
    plant(answer)
    assert answer != right()
    assert check(MIXED, answer)


@pytest.mark.parametrize(
    ("change", "word"),
    [
        ({"memory_mib": 3585}, "memory"),
        ({"p95": 250_001}, "busy"),
        ({"cpu_milli": 931}, "millicores"),
        ({"ram_mib": 3557}, "MiB"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_a_request_that_asks_for_a_little_more_does_not_suit_the_answer(change, word):
    """Four pods of T4: 16384 / 4 - 512 MiB, a quarter each, 3720 millicores and 14225 MiB of a g4dn.xlarge."""
    exact = workload("a", 4, memory=3584, cpu_milli=930, ram_mib=3556)
    answer = answer_of(request(exact, candidates=["g4dn.xlarge"]))
    assert answer["after"]["nodes"] == 1
    found = check(request(exact | change, candidates=["g4dn.xlarge"]), answer)
    assert any(word in text for text in found)


def test_the_checkers_own_figures():
    """By hand: 4 vCPU keep 60 + 10 + 10 millicores; 16384 MiB less 1229, 574, 100 and 256."""
    assert rooms("g4dn.xlarge") == (4000 - 80 - 200, 14225, 19)
    assert use_on(250_000, "t4", "a10g") == 232_143
    assert placeable("a100-40gb", (("3g.20gb", 1), ("4g.20gb", 1)))
    assert not placeable("a100-40gb", (("1g.5gb", 1), ("3g.20gb", 2)))
    assert completed(MIXED)["workloads"][0]["isolation"] == "none"
