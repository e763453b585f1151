"""An export of DCGM's metrics becomes workloads that no pod is above, or is refused with its place."""

from collections.abc import Iterable
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gpuslice.planner.dcgm import read_dcgm_csv
from gpuslice.planner.errors import InputError
from gpuslice.planner.model import MILLION
from gpuslice.planner.usage import IdleGpu, Series, Usage, assemble, most_at_once, owner

START = 1_790_000_000
HEADER = "time,namespace,pod,modelName,UUID,DCGM_FI_DEV_GPU_UTIL,DCGM_FI_DEV_FB_USED"
POD = "api-6d4b75cb6d-x2x5q"
OTHER = "api-6d4b75cb6d-z7k9w"


@pytest.fixture
def read(tmp_path: Path):
    def reading(*lines: str, header: str = HEADER, **options: int) -> Usage:
        path = tmp_path / "usage.csv"
        path.write_text("\n".join([header, *lines]) + "\n", encoding="utf-8")
        return read_dcgm_csv(path, **options)

    return reading


@pytest.fixture
def refused(read):
    def refusal(*lines: str, header: str = HEADER) -> str:
        with pytest.raises(InputError) as caught:
            read(*lines, header=header)
        return str(caught.value)

    return refusal


def row(minute: int, pod: str = POD, gpu: str = "GPU-1", util: object = 20, memory: object = 3000) -> str:
    return f"{START + 60 * minute},team-a,{pod},Tesla T4,{gpu},{util},{memory}"


def rows(pod: str, gpu: str, utils: Iterable[object], start: int = 0) -> list[str]:
    return [row(start + at, pod, gpu, util) for at, util in enumerate(utils)]


def warned(usage: Usage, text: str) -> bool:
    return any(text in warning for warning in usage.warnings)


# ---- what the workloads say


def test_pods_of_one_owner_are_one_workload(read):
    usage = read(*rows(POD, "GPU-1", [10, 20]), *rows(OTHER, "GPU-2", [30, 60]))
    (workload,) = usage.workloads
    assert (workload.name, workload.group, workload.gpu, workload.count) == ("team-a/api", "team-a", "t4", 2)
    assert (workload.mean, workload.p95, workload.memory_mib) == (300_000, 600_000, 3000)
    assert (workload.cpu_milli, workload.ram_mib, workload.isolation, workload.latency) == (0, 0, "none", "tolerant")
    assert (usage.samples, usage.first, usage.last) == (4, START, START + 60)


def test_the_95th_percentile_is_that_of_the_busiest_pod_not_of_all(read):
    calm, busy = [1] * 100, [90] * 6 + [1] * 94
    usage = read(*rows(POD, "GPU-1", calm), *rows(OTHER, "GPU-2", busy))
    assert usage.workloads[0].p95 == 900_000


def test_five_in_a_hundred_samples_may_be_above_and_no_more(read):
    assert read(*rows(POD, "GPU-1", [90] * 5 + [40] * 5 + [0] * 90)).workloads[0].p95 == 400_000
    assert read(*rows(POD, "GPU-1", [90] * 6 + [40] * 4 + [0] * 90)).workloads[0].p95 == 900_000


def test_the_95th_percentile_is_never_below_the_mean(read):
    (workload,) = read(*rows(POD, "GPU-1", [100] * 4 + [0] * 96)).workloads
    assert workload.mean == workload.p95 == 40_000


def test_memory_is_the_largest_seen_with_its_context_unless_told_otherwise(read):
    lines = [row(0, memory="3000.2"), row(1, memory=2000)]
    assert read(*lines).workloads[0].memory_mib == 3001
    assert read(*lines, context_mib=512).workloads[0].memory_mib == 2489
    assert read(*lines, context_mib=4000).workloads[0].memory_mib == 1


def test_a_pod_that_another_replaced_does_not_count_twice(read):
    usage = read(*rows(POD, "GPU-1", [20] * 5), *rows(OTHER, "GPU-1", [20] * 5, start=5))
    assert usage.workloads[0].count == 1
    assert not warned(usage, "shared a GPU")


def test_pods_are_counted_together_though_their_samples_fall_between(read):
    first = [f"{START + 30 * at},team-a,{POD},T4,GPU-1,20,3000" for at in range(0, 10, 2)]
    second = [f"{START + 30 * at},team-a,{OTHER},T4,GPU-2,20,3000" for at in range(1, 11, 2)]
    assert read(*first, *second).workloads[0].count == 2


def test_an_owner_on_two_models_becomes_two_workloads(read):
    usage = read(row(0), row(0, OTHER, "GPU-2").replace("Tesla T4", "NVIDIA A10G"))
    assert [(w.name, w.gpu) for w in usage.workloads] == [("team-a/api@a10g", "a10g"), ("team-a/api@t4", "t4")]


def test_the_same_owner_in_two_namespaces_is_two_groups(read):
    usage = read(row(0), row(0, OTHER, "GPU-2").replace("team-a", "team-b"))
    assert [(w.name, w.group) for w in usage.workloads] == [("team-a/api", "team-a"), ("team-b/api", "team-b")]


def test_idle_and_under_used_gpus_are_told(read):
    lines = [*rows(POD, "GPU-1", [49] * 20), *rows("db-0", "GPU-2", [50] * 20), *rows("", "GPU-3", [0] * 20)]
    usage = read(*lines, *rows("", "GPU-2", [0] * 5, start=30))
    assert usage.under_used == ("team-a/api",)
    assert usage.idle_gpus == (IdleGpu("GPU-2", "t4", MILLION // 5, 5), IdleGpu("GPU-3", "t4", MILLION, 20))
    assert [w.name for w in usage.workloads] == ["team-a/api", "team-a/db"]


def test_only_idle_gpus_give_no_workloads_and_no_error(read):
    usage = read(*rows("", "GPU-1", [0, 0]), row(0, "", "GPU-2").replace("Tesla T4", "Radeon"))
    assert usage.workloads == ()
    assert [(gpu.gpu, gpu.model) for gpu in usage.idle_gpus] == [("GPU-1", "t4"), ("GPU-2", None)]


# ---- what the warnings say


def test_few_samples_a_short_time_and_no_use_are_warned_of(read):
    usage = read(*rows(POD, "GPU-1", [0] * 19))
    assert warned(usage, "fewer than 20 samples of any pod, too few for a 95th percentile: team-a/api")
    assert warned(usage, "held a GPU and never used it: team-a/api")
    assert warned(usage, "the samples span 0.3 hours")


def test_enough_samples_of_a_day_bring_no_warning(read):
    assert read(*[row(90 * at) for at in range(20)]).warnings == ()


def test_pods_on_mig_instances_are_left_out_and_named(read):
    header = f"{HEADER},GPU_I_PROFILE,GPU_I_ID"
    usage = read(f"{row(0)},1g.5gb,7", f"{row(0, 'db-0', 'GPU-2')},,", f"{row(0, '', 'GPU-1')},1g.5gb,8", header=header)
    assert [w.name for w in usage.workloads] == ["team-a/db"]
    assert warned(usage, f"on MIG instances, left out because the use of a slice is no use of a GPU: team-a/{POD}")
    assert not warned(usage, "no sample of use")
    assert usage.idle_gpus == ()


def test_what_a_mig_instance_says_of_its_use_is_not_looked_at(read):
    usage = read(f"{row(0, util='NaN', memory='9223372036854775794')},1g.5gb", header=f"{HEADER},GPU_I_PROFILE")
    assert (usage.workloads, usage.blanks) == ((), 0)


def test_pods_with_several_gpus_are_left_out_and_named(read):
    usage = read(row(0, gpu="GPU-1"), row(0, gpu="GPU-2"), row(0, "db-0", "GPU-3"))
    assert [w.name for w in usage.workloads] == ["team-a/db"]
    assert warned(usage, f"several GPUs at once, left out because a workload here is a pod of one GPU: team-a/{POD}")


def test_a_pod_that_came_back_on_another_gpu_is_no_pod_of_several(read):
    usage = read(*rows("db-0", "GPU-1", [20, 20]), *rows("db-0", "GPU-2", [80, 80], start=5))
    (workload,) = usage.workloads
    assert (workload.count, workload.p95, workload.mean) == (1, 800_000, 500_000)
    assert not warned(usage, "several GPUs")


def test_a_pod_that_was_away_for_a_while_is_counted_in_between(read):
    away = [row(at, "db-0", gpu) for at, gpu in ((0, "GPU-1"), (1, "GPU-1"), (5, "GPU-2"), (6, "GPU-2"))]
    assert read(*away, *rows("db-1", "GPU-3", [20, 20], start=2)).workloads[0].count == 2


def test_pods_on_one_gpu_get_the_whole_gpu_each_and_a_warning(read):
    usage = read(*rows(POD, "GPU-1", [70] * 3), *rows("db-0", "GPU-1", [70] * 3))
    assert [w.p95 for w in usage.workloads] == [700_000, 700_000]
    assert warned(usage, f"shared a GPU, each given the use and the memory of the whole GPU: team-a/{POD}, team-a/db-0")


def test_a_workload_without_a_sample_of_memory_or_use_is_left_out_and_named(read):
    usage = read(row(0, memory=""), row(0, "db-0", "GPU-2", util=""), row(0, "web-0", "GPU-3"))
    assert [w.name for w in usage.workloads] == ["team-a/web"]
    assert warned(usage, "no sample of use, or none of memory, left out: team-a/api, team-a/db")


@pytest.mark.parametrize(
    "blank",
    ["9223372036854775794", "9.223372036854776e+18", "9223372036854775792", "140737488355330.0", "2147483632"],
)
def test_blank_values_are_dropped_and_counted(read, blank):
    usage = read(row(0), row(1, util=blank), row(2, memory=blank))
    assert usage.blanks == 2
    assert (usage.workloads[0].mean, usage.workloads[0].memory_mib) == (200_000, 3000)
    assert warned(usage, "values that DCGM marks as blank, left out: 2")


# ---- forms of the file


def test_shares_and_percents_are_alike_and_the_larger_counts(read):
    header = f"{HEADER},DCGM_FI_PROF_GR_ENGINE_ACTIVE"
    usage = read(f"{row(0, util=20)},0.25", f"{row(1, util=40)},0.125", header=header)
    assert (usage.workloads[0].mean, usage.workloads[0].p95) == (325_000, 400_000)
    only = "time,namespace,pod,modelName,UUID,dcgm_fi_prof_gr_engine_active,dcgm_fi_dev_fb_used"
    assert read(row(0, util="0.1234567"), header=only).workloads[0].p95 == 123_457


@pytest.mark.parametrize("name", ["metric", "__name__"])
def test_one_metric_a_line(read, name):
    head = f"{name},TIMESTAMP,exported_namespace,exported_pod,namespace,pod,modelName,UUID,value"
    where = f"{START},team-a,{POD},monitoring,dcgm-exporter-abcde,Tesla T4,GPU-1"
    idle = f"DCGM_FI_DEV_GPU_UTIL,{START},,,monitoring,dcgm-exporter-abcde,Tesla T4,GPU-2,0"
    lines = [f"DCGM_FI_DEV_GPU_UTIL,{where},35", f"DCGM_FI_DEV_FB_USED,{where},900", f"DCGM_FI_DEV_GPU_TEMP,{where},x"]
    usage = read(*lines, idle, header=head)
    (workload,) = usage.workloads
    assert (workload.name, workload.p95, workload.memory_mib) == ("team-a/api", 350_000, 900)
    assert [gpu.gpu for gpu in usage.idle_gpus] == ["GPU-2"]


def test_the_exporters_own_pod_holds_no_gpu(read):
    usage = read(row(0), row(0, "nvidia-dcgm-exporter-x2x5q", "GPU-2"))
    assert [w.name for w in usage.workloads] == ["team-a/api"]
    assert [gpu.gpu for gpu in usage.idle_gpus] == ["GPU-2"]


@pytest.mark.parametrize(
    "time", [str(START), f"{START}000", f"{START}.0", "2026-09-21T14:13:20Z", "2026-09-21 14:13:20"]
)
def test_times_as_prometheus_and_grafana_write_them(read, time):
    assert read(row(0).replace(str(START), time, 1)).first == START


def test_gpus_are_told_apart_by_host_and_number_too(read):
    head = "time,namespace,pod,modelName,Hostname,gpu,DCGM_FI_DEV_GPU_UTIL,DCGM_FI_DEV_FB_USED"
    lines = [f"{START},team-a,{pod},T4,{host},0,20,900" for pod, host in ((POD, "n1"), (OTHER, "n2"))]
    usage = read(*lines, f"{START},,,T4,n3,1,0,3", header=head)
    assert not warned(usage, "shared")
    assert [gpu.gpu for gpu in usage.idle_gpus] == ["n3/gpu1"]


def test_a_byte_order_mark_and_quotes_are_read(tmp_path):
    path = tmp_path / "x.csv"
    path.write_text(f'{HEADER}\n{START},"team-a","{POD}","Tesla T4",GPU-1,20,3000\n', encoding="utf-8-sig")
    assert read_dcgm_csv(path).workloads[0].gpu == "t4"


# ---- refusals


@pytest.mark.parametrize(
    ("line", "said"),
    [
        (row(0, util=101), "DCGM_FI_DEV_GPU_UTIL: '101' is too large; allowed: percent, 0 to 100"),
        (row(0, util=-1), "DCGM_FI_DEV_GPU_UTIL: '-1' is no amount"),
        (row(0, util="NaN"), "'NaN' is no amount"),
        (row(0, util="inf"), "'inf' is no amount"),
        (row(0, util="1_0"), "'1_0' is no amount"),
        (row(0, util="1e999999999"), "is too large"),
        (row(0, util="busy"), "'busy' is no amount"),
        (row(0, memory=3_000_000_000), "DCGM_FI_DEV_FB_USED: '3000000000' is too large; allowed: MiB"),
        (row(0, pod="Api_1"), "pod 'Api_1' is no Kubernetes name"),
        (row(0).replace("team-a", ""), "namespace '' is no Kubernetes name"),
        (row(0).replace("Tesla T4", "A100"), "GPU 'A100' may be a100-40gb or a100-80gb"),
        (row(0).replace("Tesla T4", ""), "GPU '' is not known; allowed: t4"),
        (row(0).replace(str(START), "yesterday"), "time 'yesterday' is neither"),
        (row(0).replace(str(START), "nan"), "time 'nan' is neither"),
        (row(0).replace(str(START), "-5"), "time '-5' is neither"),
        (row(0) + ",1", "8 cells, but the header has 7"),
    ],
)
def test_a_wrong_line_is_refused_with_its_number(refused, tmp_path, line, said):
    text = refused(row(5), line)
    assert text.startswith(f"{tmp_path / 'usage.csv'}:3: ")
    assert said in text


def test_all_wrong_lines_are_told_at_once(refused):
    assert refused(row(0, util=101), row(1), row(2, util=102)).count("is too large") == 2


def test_a_share_above_one_is_refused(refused):
    head = HEADER.replace("DCGM_FI_DEV_GPU_UTIL", "DCGM_FI_PROF_GR_ENGINE_ACTIVE")
    assert "allowed: a share, 0 to 1" in refused(row(0, util="0.2"), row(1, util="20"), header=head)


def test_shares_in_the_column_of_percents_are_refused(refused, read):
    assert "nowhere above 1" in refused(row(0, util="0.4"), row(1, util="0.9"), row(2, util=1))
    assert read(row(0, util="0.4"), row(1, util=12)).workloads[0].p95 == 120_000


def test_two_samples_of_a_pod_at_one_time_need_a_name_of_the_gpu(refused):
    head = HEADER.replace("UUID,", "")
    text = refused(row(0).replace("GPU-1,", ""), row(0).replace("GPU-1,", ""), header=head)
    assert (
        ":3: a second DCGM_FI_DEV_GPU_UTIL of pod team-a/api-6d4b75cb6d-x2x5q at one time: add the column UUID" in text
    )


@pytest.mark.parametrize(
    ("header", "said"),
    [
        ("time,namespace,pod,UUID,DCGM_FI_DEV_GPU_UTIL,DCGM_FI_DEV_FB_USED", ":1: no column for 'modelName'"),
        ("namespace,modelName,DCGM_FI_DEV_GPU_UTIL,DCGM_FI_DEV_FB_USED", ":1: no column for 'time', 'pod'"),
        ("time,namespace,pod,modelName,DCGM_FI_DEV_FB_USED", "'DCGM_FI_DEV_GPU_UTIL' or"),
        ("time,namespace,pod,modelName,DCGM_FI_DEV_GPU_UTIL", "'DCGM_FI_DEV_FB_USED'"),
        ("time,namespace,pod,modelName,metric", "'DCGM_FI_DEV_FB_USED'"),
        ("time;namespace;pod", "semicolons"),
        ("time,Time,namespace,pod,modelName,metric,value", "column 'time' appears twice"),
        ("", "is empty"),
        (",,,", "is empty"),
    ],
)
def test_a_wrong_header_is_refused(refused, header, said):
    assert said in refused(header=header)


def test_a_file_without_samples_is_refused(refused):
    assert refused().endswith("usage.csv: no samples of a GPU")
    assert "no samples" in refused(row(0, util="", memory=""))


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"", "is empty"),
        (HEADER.encode("utf-16"), "is not UTF-8"),
        (f"{HEADER}\n{row(0)}\n".encode() + b"\xff\xfe\n", "is not UTF-8"),
        (f'{HEADER}\n{START},"team'.encode(), "is not CSV"),
    ],
)
def test_a_file_that_is_no_csv_is_refused(tmp_path, content, said):
    path = tmp_path / "odd.csv"
    path.write_bytes(content)
    with pytest.raises(InputError, match=said) as caught:
        read_dcgm_csv(path)
    assert str(caught.value).startswith(str(path))


def test_a_missing_file_and_a_folder_are_refused(tmp_path):
    for path in (tmp_path / "none.csv", tmp_path):
        with pytest.raises(InputError, match="cannot be read"):
            read_dcgm_csv(path)


# ---- owners, counting, and the law of the figures


@pytest.mark.parametrize(
    ("pod", "name"),
    [
        ("api-6d4b75cb6d-x2x5q", "api"),
        ("web-2-6d4b75cb6d-x2x5q", "web-2"),
        ("db-0", "db"),
        ("db-12", "db"),
        ("train-x2x5q", "train"),
        ("sweep-7-x2x5q", "sweep"),
        ("nightly-29836920-x2x5q", "nightly"),
        ("notebook", "notebook"),
        ("llama-model", "llama-model"),
        ("train-abcde", "train-abcde"),
        ("x2x5q", "x2x5q"),
    ],
)
def test_the_owner_is_read_off_the_name_of_the_pod(pod, name):
    assert owner(pod) == name


def test_most_at_once():
    assert most_at_once([]) == 0
    assert most_at_once([(0, 10), (10, 20), (21, 30)]) == 2
    assert most_at_once([(0, 9), (10, 20)]) == 1


PODS = st.lists(st.lists(st.integers(0, 100), min_size=1, max_size=60), min_size=1, max_size=5)


@settings(max_examples=40)
@given(PODS)
def test_no_pod_is_above_the_workload_for_more_than_a_twentieth_of_its_samples(tmp_path_factory, pods):
    path = tmp_path_factory.mktemp("law") / "x.csv"
    lines = [line for at, utils in enumerate(pods) for line in rows(f"db-{at}", f"GPU-{at}", utils)]
    path.write_text("\n".join([HEADER, *lines]), encoding="utf-8")
    (workload,) = read_dcgm_csv(path).workloads
    assert workload.count == len(pods)
    assert workload.mean <= workload.p95 <= 10_000 * max(map(max, pods))
    for utils in pods:
        assert sum(10_000 * util > workload.p95 for util in utils) * 20 <= len(utils)
    total, count = sum(map(sum, pods)), sum(map(len, pods))
    assert 0 <= workload.mean * count - 10_000 * total < count


SPANS = st.lists(st.tuples(st.integers(0, 20), st.integers(0, 20)).map(sorted).map(tuple), min_size=1, max_size=8)


@given(SPANS)
def test_the_count_is_the_most_pods_that_share_a_moment(spans):
    series = [
        Series("ns", f"db-{at}", f"GPU-{at}", "t4", False, 1, 0, 0, 1, float(first), float(last))
        for at, (first, last) in enumerate(spans)
    ]
    (workload,) = assemble(series, place="x").workloads
    assert workload.count == max(sum(first <= t <= last for first, last in spans) for t in range(21))
