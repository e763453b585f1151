"""Reading measured profiles and scenarios: what is right is read exactly, what is wrong is named with its place."""

from __future__ import annotations

import os
from decimal import Decimal

import pytest
from profilefiles import HEADER, written

from gpuslice.planner.errors import InputError
from gpuslice.planner.profiles import read_parvagpu, read_profile


@pytest.fixture
def read(tmp_path):
    def reading(content: str | bytes):
        path = tmp_path / "model.csv"
        path.write_bytes(content.encode() if isinstance(content, str) else content)
        return read_profile(path)

    return reading


def test_a_profile_is_read_exactly_without_what_did_not_run(read):
    found = read(f"{HEADER}\n1,8,2,74.408,0.013\n7,256,5,0,0\n\n2,1,1,1e2,.5\n".replace(",.5", ",0.5"))
    assert found.name == "model"
    assert [(r.slices, r.batch, r.processes, r.throughput, r.latency) for r in found.rows] == [
        (1, 8, 2, Decimal("74.408"), Decimal("0.013")),
        (2, 1, 1, Decimal(100), Decimal("0.5")),
    ]


def test_the_rate_is_that_of_all_processes(read):
    assert read(f"{HEADER}\n1,1,3,39.917,0.025\n").rows[0].rate == Decimal("119.751")


def test_columns_may_stand_in_any_order_beside_others_in_a_file_from_windows(read):
    text = "\ufefflatency,Note,THROUGHPUT,workload number, Batch size,Mig instance\r\n0.01,x,5,1,4,3\r\n"
    assert [(r.slices, r.batch, r.rate) for r in read(text).rows] == [(3, 4, Decimal(5))]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("", r"model\.csv:1: is empty\. Allowed: a CSV with the columns Mig instance, Batch size"),
        ("\n\n", "is empty"),
        (f"{HEADER}\n", "has no row with a throughput above 0"),
        (f"{HEADER}\n1,1,1,0,0\n", "has no row with a throughput above 0"),
        (f"{HEADER[:-8]}\n1,1,1,5\n", r"model\.csv:1: the column Latency is missing"),
        (f"{HEADER},latency\n1,1,1,5,1,1\n", "the column Latency is there twice"),
        (f"{HEADER}\n5,1,1,5,0.1\n", r"model\.csv:2: Mig instance is '5'\. Allowed: 1, 2, 3, 4, 7"),
        (f"{HEADER}\n1,0,1,5,0.1\n", r":2: Batch size is '0'\. Allowed: a whole number above 0"),
        (f"{HEADER}\n1,1.5,1,5,0.1\n", "Batch size is '1.5'"),
        (f"{HEADER}\n1,1,,5,0.1\n", "Workload Number is ''"),
        (f"{HEADER}\n1,1,1,-5,0.1\n", "Throughput is '-5'.*requests per second"),
        (f"{HEADER}\n1,1,1,NaN,0.1\n", "Throughput is 'NaN'"),
        (f"{HEADER}\n1,1,1,inf,0.1\n", "Throughput is 'inf'"),
        (f"{HEADER}\n1,1,1,1e99,0.1\n", "Throughput is '1e99'.*at most 1000000000"),
        (f"{HEADER}\n1,1,1,5,nan\n", "Latency is 'nan'"),
        (f"{HEADER}\n1,1,1,5,0\n", "Latency is '0'.*above 0 where it ran"),
        (f"{HEADER}\n1,1,1,5\n", r":2: has 4 cells\. Allowed: 5"),
        (f"{HEADER}\n1,1,1,5,1\n1,1,1,6,1\n", ":3: slice 1, batch 1, 1 processes is there twice, first in line 2"),
        (f"{HEADER}\n1,1,1,0,0\n1,1,1,6,1\n", "is there twice"),
        (f'{HEADER}\n"1,1,1,5,1\n', "is not CSV"),
        (f"{HEADER}\n".encode("utf-16"), r"is not UTF-8 text \(byte 0\)"),
        ("١" + HEADER, "Mig instance is missing"),
        (f"{HEADER}\n١,1,1,5,1\n", "Mig instance is '١'"),
    ],
)
def test_what_is_wrong_is_named_with_its_place(read, content, message):
    with pytest.raises(InputError, match=message):
        read(content)


def test_every_fault_is_told_at_once(read):
    with pytest.raises(InputError) as caught:
        read(f"{HEADER}\n9,1,1,x,1\n1,1,1,5,y\n")
    assert len(caught.value.problems) == 3


def test_folders_devices_and_missing_files_are_no_profiles(tmp_path):
    for path in (tmp_path, tmp_path / "none.csv", "/dev/zero"):
        with pytest.raises(InputError):
            read_profile(type(tmp_path)(path))


ROWS = "1,1,1,10,0.01"


def test_scenarios_are_rows_and_models_columns_in_the_order_of_file_names(tmp_path):
    folder = written(tmp_path, {"b": ROWS, "a": ROWS}, "1,N/A\n2.5,3\n", "100,n/a\n200,300.5\n")
    found = read_parvagpu(folder)
    assert list(found.profiles) == ["a", "b"]
    assert [s.number for s in found.scenarios] == [1, 2]
    asked = [{m: (str(o.rate), str(o.latency_ms)) for m, o in s.objectives.items()} for s in found.scenarios]
    assert asked == [{"a": ("1", "100")}, {"a": ("2.5", "200"), "b": ("3", "300.5")}]


@pytest.mark.parametrize(
    ("rates", "latencies", "message"),
    [
        ("1\n", "1,2\n", r"SLO/SLO_req_rate\.csv:1: has 1 columns\. Allowed: 2, one for each profile: a, b"),
        ("1,2\n", "1,2\n1,2\n", r"SLO_latency\.csv:1: has 2 rows\. Allowed: 1"),
        ("1,N/A\n", "1,2\n", r"SLO_latency\.csv:1: column 2 \(b\) is there in only one"),
        (
            "1,2\n1,0\n",
            "1,2\n1,2\n",
            r"SLO_req_rate\.csv:2: column 2 \(b\) is '0'\. Allowed: requests per second above",
        ),
        ("1,2\n", "1,-2\n", r"SLO_latency\.csv:1: column 2 \(b\) is '-2'\. Allowed: milliseconds above 0, or N/A"),
        ("1,NaN\n", "1,2\n", "is 'NaN'"),
        ("", "", "is empty"),
    ],
)
def test_tables_that_do_not_agree_with_the_profiles_are_refused(tmp_path, rates, latencies, message):
    folder = written(tmp_path, {"a": ROWS, "b": ROWS}, rates, latencies)
    with pytest.raises(InputError, match=message):
        read_parvagpu(folder)


def test_faults_of_profiles_and_tables_are_told_together(tmp_path):
    folder = written(tmp_path, {"a": "1,1,1,x,1", "b": "8,1,1,1,1"}, "1,z\n", "1,2\n")
    with pytest.raises(InputError) as caught:
        read_parvagpu(folder)
    assert [problem.partition(":")[0] for problem in caught.value.problems] == [
        "prof_data/a.csv",
        "prof_data/b.csv",
        "SLO/SLO_req_rate.csv",
    ]


def test_a_folder_without_profiles_is_refused(tmp_path):
    with pytest.raises(InputError, match="cannot be read"):
        read_parvagpu(tmp_path)
    (tmp_path / "prof_data").mkdir()
    with pytest.raises(InputError, match="has no profile"):
        read_parvagpu(tmp_path)


@pytest.mark.skipif("PARVAGPU_DATA" not in os.environ, reason="PARVAGPU_DATA names no folder of ParvaGPU's data")
def test_the_authors_files_are_read(tmp_path):
    found = read_parvagpu(type(tmp_path)(os.environ["PARVAGPU_DATA"]))
    assert found.profiles.keys() >= {"bert", "resnet50", "vgg19"}
    assert [len(scenario.objectives) for scenario in found.scenarios[:3]] == [6, 11, 11]
