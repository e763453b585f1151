"""Plans that were reckoned by hand, each checked by rules written anew."""

import pytest
import yaml
from plan_checker import check
from planrun import answer_of, command, from_file, request, workload, yaml_of

SERVING = workload("serving", 4, gpu="t4", cpu_milli=1000, ram_mib=4096)
SCENARIO = request(SERVING, candidates=["g4dn.2xlarge"])


def checked(plain, **how):
    answer = answer_of(plain, **how)
    assert check(plain, answer) == []
    return answer


@pytest.mark.parametrize("method", ["greedy", "exact"])
def test_four_pods_of_a_quarter_share_one_gpu(method):
    answer = checked(SCENARIO, method=method)
    assert answer["before"]["usdPerMonth"] == 2165.76
    assert answer["after"]["usdPerMonth"] == 541.44
    assert answer["savings"] == {"usdPerHour": 2.256, "usdPerMonth": 1624.32, "fraction": 0.75}
    assert answer["after"]["instanceTypes"] == {"g4dn.2xlarge": 1}
    assert answer["gap"] == 0
    (placed,) = answer["placements"]
    assert (placed["node"], placed["resource"], placed["count"]) == ("t4-shared-4-0", "nvidia.com/gpu.shared", 4)


def test_the_rest_that_efficiency_takes_is_said_and_priced():
    answer = checked(SCENARIO)
    careful = answer["withHeadroom"]
    assert (careful["usdPerMonth"], careful["nodes"], careful["shortfall"]) == (1082.88, 2, 0.111)
    (warning,) = [text for text in answer["warnings"] if "head-room" in text]
    assert "0.90" in warning
    assert "11%" in warning
    assert "2 nodes and $1,082.88" in warning
    assert answer["pools"][0]["headroom"] == -0.111


def test_the_month_may_have_730_hours():
    answer = checked(request(SERVING, candidates=["g4dn.2xlarge"], hours_per_month=730))
    assert (answer["before"]["usdPerMonth"], answer["after"]["usdPerMonth"]) == (2195.84, 548.96)


def test_head_room_as_a_limit_takes_what_was_advised():
    answer = checked(request(SERVING, candidates=["g4dn.2xlarge"], headroom="require"))
    assert (answer["after"]["usdPerMonth"], answer["after"]["nodes"]) == (1082.88, 2)
    assert not [text for text in answer["warnings"] if "head-room" in text]


def test_the_curve_falls_to_four_replicas_and_says_what_is_wrong_with_five():
    curve = checked(SCENARIO)["replicas"]
    assert [(p["usdPerMonth"], p["fits"]) for p in curve] == [
        (2165.76, True),
        (1082.88, True),
        (1082.88, True),
        (541.44, True),
        (541.44, False),
        (541.44, False),
        (541.44, False),
    ]
    assert "serving" in curve[4]["reason"]


HARD = {"isolation": "hardware", "gpu": "a100-40gb", "memory": 3000, "mean": 0.05}
CASES = {
    # 56 slices of 1g.5gb on a node of 8 A100: its 4608 MiB and 0.9075 / 7 = 0.129642 of a GPU suffice.
    "mig": (request(workload("m", 112, p95=0.129642, **HARD), candidates=["p4d.24xlarge"]), {"p4d.24xlarge": 2}),
    "mig, a millionth more": (
        request(workload("m", 48, p95=0.129643, **HARD), candidates=["p4d.24xlarge"]),
        {"p4d.24xlarge": 2},
    ),
    "mig, a MiB more": (
        request(workload("m", 48, p95=0.1, **(HARD | {"memory": 4609})), candidates=["p4d.24xlarge"]),
        {"p4d.24xlarge": 2},
    ),
    "mig for 31 or fewer is dearer than small nodes": (
        request(workload("m", 31, p95=0.1, **HARD), candidates=["p4d.24xlarge", "g4dn.xlarge"]),
        {"g4dn.xlarge": 31},
    ),
    "critical": (
        request(workload("c", 3, p95=0.1, latency="critical"), candidates=["g4dn.xlarge"]),
        {"g4dn.xlarge": 3},
    ),
    "isolation without MIG": (
        request(workload("c", 3, p95=0.1, isolation="hardware"), candidates=["g4dn.xlarge"]),
        {"g4dn.xlarge": 3},
    ),
    "one group": (
        request(workload("a", 2, group="x"), workload("b", 2, group="x"), candidates=["g4dn.xlarge"]),
        {"g4dn.xlarge": 1},
    ),
    "two groups": (
        request(workload("a", 2, group="x"), workload("b", 2, group="y"), candidates=["g4dn.xlarge"]),
        {"g4dn.xlarge": 2},
    ),
    # 3720 millicores: two pods of 1860, one of 1861.
    "CPU": (request(workload("a", 4, cpu_milli=1860), candidates=["g4dn.xlarge"]), {"g4dn.xlarge": 2}),
    "CPU, a millicore more": (
        request(workload("a", 4, cpu_milli=1861), candidates=["g4dn.xlarge"]),
        {"g4dn.xlarge": 4},
    ),
    # 14225 MiB: three pods of 4741.
    "memory of the node": (request(workload("a", 6, ram_mib=4741), candidates=["g4dn.xlarge"]), {"g4dn.xlarge": 2}),
    # A larger node for $0.752 holds what takes two for $0.526 each.
    "the larger node": (
        request(workload("a", 4, cpu_milli=1900), candidates=["g4dn.xlarge", "g4dn.2xlarge"]),
        {"g4dn.2xlarge": 1},
    ),
    # Eleven cores each: a g4dn.4xlarge for one ($1.204) or a g4dn.12xlarge for four ($3.912).
    "four GPUs": (
        request(workload("a", 4, p95=0.9, cpu_milli=11_000), candidates=["g4dn.4xlarge", "g4dn.12xlarge"]),
        {"g4dn.12xlarge": 1},
    ),
    "four GPUs and one": (
        request(workload("a", 5, p95=0.9, cpu_milli=11_000), candidates=["g4dn.4xlarge", "g4dn.12xlarge"]),
        {"g4dn.12xlarge": 1, "g4dn.4xlarge": 1},
    ),
    "shared, on four GPUs": (request(workload("a", 33), candidates=["g4dn.12xlarge"]), {"g4dn.12xlarge": 3}),
    # 16384 // 2 - 512 = 7680 MiB.
    "memory of the GPU": (
        request(workload("a", 4, memory=7680, p95=0.05), candidates=["g4dn.xlarge"]),
        {"g4dn.xlarge": 2},
    ),
    "memory of the GPU, a MiB more": (
        request(workload("a", 4, memory=7681, p95=0.05), candidates=["g4dn.xlarge"]),
        {"g4dn.xlarge": 4},
    ),
    "replicas are limited": (request(SERVING, candidates=["g4dn.2xlarge"], max_replicas=2), {"g4dn.2xlarge": 2}),
    # The scheduler knows no shares: beside a half, a slot is a half.
    "a half and two quarters": (
        request(workload("h", 1, p95=0.5), workload("q", 2, p95=0.25), candidates=["g4dn.xlarge"]),
        {"g4dn.xlarge": 2},
    ),
    # From T4 to A10G the least gain is that of FP16, 70 / 65: a quarter is 0.2321, a half 0.4643.
    "on a faster GPU": (request(workload("a", 8, gpu="t4"), candidates=["g5.xlarge"]), {"g5.xlarge": 2}),
    "0.2692 of a T4 is a quarter of an A10G": (
        request(workload("a", 4, p95=0.269230, gpu="t4"), candidates=["g5.xlarge"]),
        {"g5.xlarge": 1},
    ),
    "a millionth more is more than a quarter": (
        request(workload("a", 4, p95=0.269231, gpu="t4"), candidates=["g5.xlarge"]),
        {"g5.xlarge": 2},
    ),
    # An L4 for $0.8048 has five slices of 4512 MiB, a T4 for $0.526 three: by the slice the L4 is cheaper.
    "one pod goes where the node is cheap": (
        request(workload("a", 1, memory=4000, p95=0.1), candidates=["g4dn.xlarge", "g6.xlarge"]),
        {"g4dn.xlarge": 1},
    ),
    "many pods go where slices are cheap": (
        request(workload("a", 15, memory=4000, p95=0.1), candidates=["g4dn.xlarge", "g6.xlarge"]),
        {"g6.xlarge": 3},
    ),
    # A fraction of 2861 MiB is 0.125 of an L4 of 22888.
    "a fraction": (
        request(workload("a", 1, memory=2349, mean=0.1, p95=0.125), candidates=["g6f.large"]),
        {"g6f.large": 1},
    ),
    "the floor of a slice": (
        # 16384 // 10 - 512 = 1126 MiB, 16384 // 11 - 512 = 977: under 1 GiB.
        request(workload("a", 11, memory=100, mean=0.01, p95=0.01), candidates=["g4dn.xlarge"]),
        {"g4dn.xlarge": 2},
    ),
}


@pytest.mark.parametrize("name", CASES)
def test_plans_by_hand(name):
    plain, bought = CASES[name]
    answer = checked(plain)
    assert answer["after"]["instanceTypes"] == bought
    assert answer["gap"] == 0
    assert checked(plain, method="greedy")["after"]["usdPerHour"] >= answer["after"]["usdPerHour"]


def test_a_mig_plan_in_dollars():
    answer = checked(CASES["mig"][0])
    assert answer["before"]["usdPerMonth"] == 221_333.03
    assert answer["after"]["usdPerMonth"] == 31_619.00
    assert answer["pools"][0]["layout"] == {"1g.5gb": 7}
    assert answer["pools"][0]["resources"] == {"nvidia.com/mig-1g.5gb": {"perNode": 56, "memoryMiB": 4608, "used": 112}}


def test_spot_prices_are_the_part_that_the_user_says():
    answer = checked(request(SERVING, candidates=["g4dn.2xlarge"], basis="spot", price_factor=0.4))
    assert (answer["after"]["usdPerHour"], answer["after"]["usdPerMonth"]) == (0.3008, 216.58)
    assert any("0.4 of on-demand" in text for text in answer["warnings"])


def test_prices_of_another_region():
    answer = checked(request(SERVING, candidates=["g4dn.2xlarge", "g6.xlarge"], region="eu-west-1"))
    assert (answer["before"]["usdPerMonth"], answer["after"]["usdPerMonth"]) == (2413.44, 603.36)
    assert answer["prices"]["region"] == "eu-west-1"
    assert answer["prices"]["unpriced"] == ["g6.xlarge"]
    assert any("no price in eu-west-1" in text and "g6.xlarge" in text for text in answer["warnings"])


def test_a_table_of_prices_of_ones_own(tmp_path, capsys):
    table = tmp_path / "mine.csv"
    table.write_text("instance_type,usd_per_hour\ng4dn.2xlarge,1\n")
    answer = from_file(tmp_path, capsys, yaml_of(SCENARIO), "--price-table", table)
    plain = request(SERVING, candidates=["g4dn.2xlarge"], prices={"g4dn.2xlarge": "1"})
    assert check(plain, answer) == []
    assert answer["after"]["usdPerMonth"] == 720
    assert answer["prices"]["source"] == "mine.csv"


@pytest.mark.parametrize(
    "candidates",
    [None, ["g4dn.xlarge"], ["g4dn.xlarge", "p4d.24xlarge", "g6f.large"]],
    ids=["catalogue", "one", "three"],
)
def test_what_fits_nowhere_is_left_out_and_named(candidates, tmp_path, capsys):
    plain = request(SERVING, workload("huge", 3, memory=400 * 1024), candidates=candidates)
    checked(plain)
    answer = from_file(tmp_path, capsys, yaml_of(plain), code=1)
    (entry,) = answer["unplaced"]
    assert (entry["workload"], entry["count"]) == ("huge", 3)
    assert "needs 409600 MiB of GPU memory" in entry["reason"]
    assert any("huge" in text for text in answer["warnings"])
    assert sum(p["count"] for p in answer["placements"]) == 4


def test_where_nothing_fits_the_plan_is_empty(tmp_path, capsys):
    plain = request(workload("huge", 1, memory=400 * 1024), candidates=["g4dn.xlarge"])
    answer = checked(plain)
    assert (answer["after"]["nodes"], answer["after"]["usdPerMonth"], answer["gap"]) == (0, 0, 0)
    assert answer["savings"] == {"usdPerHour": 0, "usdPerMonth": 0, "fraction": 0}
    code, out, _ = command(capsys, _write(tmp_path, yaml_of(plain)))
    assert code == 1
    assert "Fits nowhere" in out


def _write(tmp_path, text, name="w.yaml"):
    path = tmp_path / name
    path.write_text(text)
    return path


def test_the_text_has_the_same_figures(tmp_path, capsys):
    code, out, error = command(capsys, _write(tmp_path, yaml_of(SCENARIO)))
    assert (code, error) == (0, "")
    for figure in ("2,165.76", "541.44", "1,624.32", "75%", "1,082.88", "t4-shared-4", "3,584", "us-east-1"):
        assert figure in out


def test_a_preset_gives_what_the_entry_does_not(tmp_path, capsys):
    document = {"workloads": [{"name": "n", "preset": "notebooks", "count": 4}], "candidates": ["g4dn.xlarge"]}
    answer = from_file(tmp_path, capsys, yaml.safe_dump(document))
    assert check(request(workload("n", 4, mean=0.05, gpu="t4"), candidates=["g4dn.xlarge"]), answer) == []
    assert any("memory and utilization" in text and "preset notebooks" in text for text in answer["warnings"])
    document["workloads"][0]["utilization"] = {"mean": 0.4, "p95": 0.5}
    assert from_file(tmp_path, capsys, yaml.safe_dump(document))["after"]["nodes"] == 2


def test_csv_and_yaml_are_one_request(tmp_path, capsys):
    plain = request(
        workload("a", 5, memory=1536, cpu_milli=500, ram_mib=2048, group="x"),
        workload("b", 2, gpu="l4", latency="critical"),
        workload("c", 1, isolation="hardware"),
    )
    rows = [
        "name,count,memory_gib,mean,p95,gpu,cpu,ram_gib,isolation,latency,group",
        "a,5,1.5,0.1,0.25,,500m,2,,,x",
        "b,2,3,0.1,0.25,L4,,,,critical,",
        "c,,3,0.1,0.25,,,,hardware,,",
    ]
    of_csv = from_file(tmp_path, capsys, "\n".join(rows), name="w.csv")
    assert check(plain, of_csv) == []
    assert of_csv == from_file(tmp_path, capsys, yaml_of(plain))


def test_sharing_never_costs_more_than_whole_gpus():
    a100 = {"memory": 1, "mean": 0.025, "p95": 0.05}
    plain = request(
        workload("w0", 3, gpu="a100-40gb", latency="critical", **a100),
        workload("w1", 1, gpu="a100-40gb", **a100),
        workload("w2", 3, memory=1, mean=0.45, p95=0.9),
        workload("w3", 1, **a100),
        candidates=["g7e.2xlarge", "g6f.large", "p4d.24xlarge"],
    )
    checked(plain, method="greedy")


def test_head_room_never_costs_more_than_whole_gpus():
    a100 = {"mean": 0.001, "gpu": "a100-40gb"}
    plain = request(
        workload("w0", 2, memory=1, p95=0.25, cpu_milli=3000, **a100),
        workload("w1", 3, memory=7680, p95=0.9, **a100),
        workload("w2", 3, memory=15_000, p95=0.05, group="x", **a100),
        candidates=["g4dn.12xlarge", "p4d.24xlarge"],
    )
    answer = checked(plain, method="greedy")
    assert answer["withHeadroom"]["usdPerHour"] <= answer["before"]["usdPerHour"]


def test_a_pod_that_just_fits_is_placed_among_thousands_of_kinds(monkeypatch):
    from gpuslice.planner import offers

    monkeypatch.setattr(offers, "_COARSE_ABOVE", ((1, 2),))
    kinds = [workload(f"w{i}", 1, p95=0.05, cpu_milli=100 + i) for i in range(3)]
    checked(request(*kinds, workload("tight", 1, cpu_milli=3720, ram_mib=14225), candidates=["g4dn.xlarge"]))
