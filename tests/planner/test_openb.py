"""Pools of equal replicas, and the benchmark on pod lists of the openb form."""

import json
import os
from collections import Counter
from functools import cache
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from packings import judged

from benchmarks import openb
from gpuslice.planner.equal_pools import equal_pools
from gpuslice.planner.patterns import pack_exactly

MILLION = 1_000_000
UNHURRIED = settings(deadline=None, max_examples=60)

# Pools of equal replicas


def promised(shares, pools) -> None:
    """Gives every pod a slot, strictest pods first, and checks that the pools are as they say."""
    slots = []
    for replicas, (gpus, pods) in pools.items():
        assert gpus > 0
        assert gpus * replicas >= pods
        slots += [replicas] * pods
    assert len(slots) == len(shares)
    for replicas, share in zip(sorted(slots), sorted(shares, reverse=True), strict=True):
        assert replicas * share <= MILLION


def fewest_gpus(shares, most) -> int:
    """All numbers of GPUs of each pool, by trying them."""
    limits = sorted(min(most, MILLION // share) if share else most for share in shares)

    @cache
    def best(index):
        # Pods in the order of what they allow: a pool takes a run of them, of the first one's limit at the most.
        if index >= len(limits):
            return 0
        return 1 + min(best(index + replicas) for replicas in range(1, limits[index] + 1))

    return best(0)


@UNHURRIED
@given(st.lists(st.integers(0, MILLION), max_size=14), st.integers(1, 8))
def test_pools_take_the_fewest_gpus_and_every_pod_is_safe(shares, most):
    pools = equal_pools(shares, most)
    promised(shares, pools)
    assert all(1 <= replicas <= most for replicas in pools)
    assert sum(gpus for gpus, _ in pools.values()) == fewest_gpus(shares, most)


def test_spare_slots_take_pods_that_would_be_allowed_more():
    assert equal_pools([500_000, 333_333, 333_333], 16) == {2: (1, 2), 3: (1, 1)}
    assert equal_pools([500_000, 100_000], 16) == {2: (1, 2)}
    assert equal_pools([333_334] * 2, 16) == {2: (1, 2)}


@pytest.mark.parametrize("share", [-1, MILLION + 1])
def test_a_share_that_no_gpu_has_is_refused(share):
    with pytest.raises(ValueError, match=f"share {share}: only 0 to 1000000"):
        equal_pools([share], 4)
    with pytest.raises(ValueError, match="below 1"):
        equal_pools([1], 0)


# The benchmark on pod lists

HEADER = "name,cpu_milli,memory_mib,num_gpu,gpu_milli,gpu_spec,qos\n"


def written(folder, *lines, header=HEADER):
    path = folder / "pods.csv"
    path.write_text(header + "".join(f"{line}\n" for line in lines), encoding="utf-8")
    return path


def test_benchmark_has_a_row_for_each_class_of_pods_and_for_growth(tmp_path, capsys):
    path = written(
        tmp_path,
        *(f"p{i},1000,1024,1,{milli},,{qos}" for i, (milli, qos) in enumerate([(600, "LS"), (400, "BE"), (250, "BE")])),
        "whole,1000,1024,1,1000,,LS",
        "many,1000,1024,8,1000,,Burstable",
        "none,1000,1024,0,0,,LS",
    )
    assert openb.main([str(path), "--json", "--scaling", "50", "100"]) == 0
    rows = json.loads(capsys.readouterr().out)
    assert [row["scenario"] for row in rows] == ["shared", "shared-BE", "shared-LS", "scaling", "scaling"]
    shared = rows[0]
    assert {key: shared[key] for key in ("pods", "before", "greedy", "gpus", "lowerBound", "gap", "guardedGpus")} == {
        "pods": 3,
        "before": 3,
        "greedy": 2,
        "gpus": 2,
        "lowerBound": 2,
        "gap": 0.0,
        "guardedGpus": 2,
    }
    assert shared["guardedPools"] == {"1": {"gpus": 1, "pods": 1}, "2": {"gpus": 1, "pods": 2}}
    assert (shared["guardCost"], shared["guardCostFraction"]) == (0, 0.0)
    assert [row["pods"] for row in rows[3:]] == [50, 100]
    assert rows[3]["timePerItemRatio"] == 1.0
    assert openb.main([str(path), "--scaling"]) == 0
    assert "shared-LS" in capsys.readouterr().out


def test_random_workloads_are_all_different_and_of_the_lists_shares():
    sizes = openb.distinct([1, 500], 2000)
    assert len(set(sizes)) == 2000
    assert all(0 < size <= openb.FINE or 490 * openb.FINE < size <= 500 * openb.FINE for size in sizes)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "pods.csv: line 1: no column num_gpu, gpu_milli, qos. Found: 'nothing'"),
        ("name,num_gpu,qos\n", "pods.csv: line 1: no column gpu_milli. Found: 'name, num_gpu, qos'"),
        (HEADER, "pods.csv: no pod of part of a GPU (num_gpu 1, gpu_milli 1 to 999)"),
        (HEADER + "a,1,1,1,half,,LS\n", "line 2, column gpu_milli: 'half'. Allowed: a whole number from 0"),
        (HEADER + "a,1,1,1,500,,LS\nb,1,1,-1,500,,LS\n", "line 3, column num_gpu: '-1'. Allowed: a whole number"),
        (HEADER + "a,1,1,1,1001,,LS\n", "line 2, column gpu_milli: 1001. Allowed where num_gpu is 1: 1 to 1000"),
        (HEADER + "a,1,1,1,0,,LS\n", "line 2, column gpu_milli: 0. Allowed where num_gpu is 1: 1 to 1000"),
        (HEADER + "a,1,1\n", "line 2, column num_gpu: None. Allowed: a whole number from 0"),
        (HEADER + "a,1,1,1,²,,LS\n", "line 2, column gpu_milli: '²'. Allowed: a whole number from 0"),
        (HEADER + 'a,1,1,1,5,,"L\x1bS"\n', "line 2, column qos: 'L\\x1bS'. Allowed: a short name"),
    ],
)
def test_a_bad_list_is_one_message_with_its_place(tmp_path, capsys, text, said):
    path = written(tmp_path, header=text)
    assert openb.main([str(path), "--json"]) == 1
    output = capsys.readouterr()
    assert output.out == ""
    assert said in output.err
    assert output.err.count("\n") == 1


def test_what_is_no_text_or_no_file_is_one_message(tmp_path, capsys):
    (tmp_path / "bytes.csv").write_bytes(b"\xff\xfe\x00")
    for path, said in ((tmp_path / "bytes.csv", "UTF-8"), (tmp_path, "directory"), (tmp_path / "x", "No such file")):
        assert openb.main([str(path)]) == 1
        assert said in capsys.readouterr().err


def test_openb_is_packed_to_its_bound_within_a_second():
    folder = os.environ.get("OPENB_DATA")
    path = Path(folder or "") / "openb_pod_list_default.csv"
    if not folder or not path.is_file():
        pytest.skip("OPENB_DATA names no folder with openb_pod_list_default.csv")
    pods = openb.read(path)
    rows = {row["scenario"]: row for row in openb.rows(pods, 16, 5, [])}
    shared = rows["shared"]
    assert (shared["pods"], shared["greedy"], shared["lowerBound"]) == (3078, 1975, 1965)
    assert shared["gpus"] <= 1966
    assert shared["guardedGpus"] <= 2137
    assert shared["seconds"] < 1
    assert (rows["shared-LS"]["gpus"], rows["shared-BE"]["lowerBound"]) == (498, 1547)
    items = [((milli,), count) for milli, count in Counter(pod.milli for pod in pods).items()]
    exact = pack_exactly(items, (1000,), 5)
    assert judged(items, (1000,), exact.patterns) == shared["gpus"]
    promised([pod.milli * 1000 for pod in pods], equal_pools([pod.milli * 1000 for pod in pods], 16))
    assert sum(pod.milli for pod in pods) <= exact.bound * 1000
