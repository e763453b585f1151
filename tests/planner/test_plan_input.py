"""Wrong input: one clear message for each problem, with its place and what is allowed; exit code 1, no traceback."""

import json
import os

import pytest
from planrun import command

GOOD = "{mean: 0.1, p95: 0.25}"
HEAD = "name,memory_gib,mean,p95\n"


def entry(**changes):
    """One workload as YAML, with some values replaced; None leaves a key out."""
    values = {"name": "a", "count": "1", "memory": "3Gi", "utilization": GOOD} | changes
    inner = ", ".join(f"{key}: {value}" for key, value in values.items() if value is not None)
    return f"workloads:\n  - {{{inner}}}\n"


def refused(capsys, path, *arguments, code=1):
    """What is said of an input that is refused."""
    for more in ((), ("--json",)):
        given, out, error = command(capsys, path, *arguments, *more)
        assert given == code, (out, error)
        assert out == ""
        assert "Traceback" not in error
    assert error.startswith("gpuslice: ")
    assert all(line.isprintable() for line in error.splitlines())
    return error


def write(tmp_path, content, name="w.yaml"):
    path = tmp_path / name
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return path


YAML = {
    "count negative": (entry(count="-1"), "workloads[0].count: is -1", "1 to 1000000"),
    "count zero": (entry(count="0"), "workloads[0].count: is 0", "1 to 1000000"),
    "count huge": (entry(count="1000001"), "workloads[0].count: is 1000001", "1 to 1000000"),
    "count of 6000 digits": (entry(count="0x" + "f" * 6000), "workloads[0].count", "1 to 1000000"),
    "count of 6000 decimal digits": (entry(count="9" * 6000), "workloads[0].count: is '9999", "whole number"),
    "count in octal": (entry(count="010"), "workloads[0].count: is '010'", "whole number"),
    "count in sixties": (entry(count="1:30"), "workloads[0].count: is '1:30'", "whole number"),
    "more pods than are planned": (
        "workloads:\n"
        + "".join(
            f"  - {{name: w{n}, count: 1000000, memory: 1Gi, utilization: {{mean: 0.1, p95: 0.1}}}}\n" for n in "abc"
        ),
        "asks for 3000000 pods",
        "at most 2000000",
    ),
    "count a part": (entry(count="1.5"), "workloads[0].count: is 1.5", "whole number"),
    "count true": (entry(count="true"), "workloads[0].count: is True", "whole number"),
    "count in other digits": (entry(count="'٣'"), "workloads[0].count", "whole number"),
    "count a list": (entry(count="[1]"), "workloads[0].count: is [1]", "whole number"),
    "memory without unit": (entry(memory="3"), "workloads[0].memory: is 3, without a unit", "3Gi"),
    "memory in another unit": (entry(memory="3GB"), "workloads[0].memory: is '3GB'", "3Gi"),
    "memory negative": (entry(memory="-3Gi"), "workloads[0].memory: is '-3Gi'", "3Gi"),
    "memory zero": (entry(memory="0Mi"), "workloads[0].memory: is '0Mi'", "from 1Mi to 4Ti"),
    "memory huge": (entry(memory="5Ti"), "workloads[0].memory: is '5Ti'", "4Ti"),
    "memory missing": (entry(memory=None), "workloads[0].memory: is missing", "3Gi"),
    "memory null": (entry(memory="null"), "workloads[0].memory: is missing", "3Gi"),
    "name missing": (entry(name=None), "workloads[0].name: is missing", "1 to 253"),
    "name null": (entry(name="null"), "workloads[0].name: is missing", "1 to 253"),
    "name a number": (entry(name="7"), "workloads[0].name: is 7", "text"),
    "name empty": (entry(name="' '"), "workloads[0].name: is ' '", "text"),
    "name too long": (entry(name="a" * 254), "workloads[0].name", "1 to 253"),
    "name with a control character": (entry(name='"a\\e[31mb"'), "workloads[0].name", "printable"),
    "name with a line break": (entry(name='"a\\nb"'), "workloads[0].name", "printable"),
    "name turned around": (entry(name='"a\\u202eb"'), "workloads[0].name", "printable"),
    "use missing": (entry(utilization=None), "workloads[0].utilization: is missing", "mean: 0.10"),
    "use null": (entry(utilization="null"), "workloads[0].utilization: is missing", "mean: 0.10"),
    "use a number": (entry(utilization="0.2"), "workloads[0].utilization: is 0.2", "mean: 0.10"),
    "p95 missing": (entry(utilization="{mean: 0.1}"), "workloads[0].utilization.p95: is missing", "0.25"),
    "p95 negative": (entry(utilization="{mean: 0.1, p95: -0.2}"), "utilization.p95: is -0.2", "above 0, up to 1"),
    "p95 zero": (entry(utilization="{mean: 0.1, p95: 0}"), "utilization.p95: is 0", "above 0, up to 1"),
    "p95 no number": (entry(utilization="{mean: 0.1, p95: .nan}"), "utilization.p95: is nan", "above 0, up to 1"),
    "p95 endless": (entry(utilization="{mean: 0.1, p95: .inf}"), "utilization.p95: is inf", "above 0, up to 1"),
    "p95 in per cent": (entry(utilization="{mean: 0.1, p95: 25}"), "utilization.p95: is 25 (write 0.25 for 25 %)", ""),
    "p95 below mean": (entry(utilization="{mean: 0.5, p95: 0.25}"), "p95 0.25 is below the mean 0.5", "at or above"),
    "p99": (entry(utilization="{mean: 0.1, p95: 0.2, p99: 0.3}"), "utilization.p99: unknown key", "Did you mean p95?"),
    "gpu unknown": (entry(gpu="A100-40"), "workloads[0].gpu: GPU 'A100-40'", "a100-40gb"),
    "gpu near": (entry(gpu="L4S"), "workloads[0].gpu: GPU 'L4S' is not known", "did you mean"),
    "gpu of two sizes": (entry(gpu="A100"), "may be a100-40gb or a100-80gb", "which"),
    "gpu a number": (entry(gpu="4"), "workloads[0].gpu", "allowed: t4"),
    "cpu negative": (entry(cpu="-1"), "workloads[0].cpu: is -1", "cores such as 2"),
    "cpu no number": (entry(cpu=".nan"), "workloads[0].cpu: is nan", "cores such as 2"),
    "cpu huge": (entry(cpu="1001"), "workloads[0].cpu: is 1001", "at most 1000"),
    "ram without unit": (entry(ram="4"), "workloads[0].ram: is 4, without a unit", "3Gi"),
    "isolation unknown": (entry(isolation="hard"), "workloads[0].isolation: is 'hard'", "none, hardware"),
    "latency unknown": (entry(latency="critcal"), "workloads[0].latency: is 'critcal'", "Did you mean critical?"),
    "group with a space": (entry(group="team a"), "workloads[0].group: is 'team a'", "lower-case"),
    "preset unknown": (entry(preset="notebook"), "workloads[0].preset: is 'notebook'", "Did you mean notebooks?"),
    "key unknown": (entry(utilisation="1"), "workloads[0].utilisation: unknown key", "Did you mean utilization?"),
    "key with a control character": (entry() + '"a\\e[31m\\n": 1\n', "a\\x1b[31m", "unknown key"),
    "key twice": (
        entry() + "candidates: [g4dn.xlarge]\ncandidates: [g5.xlarge]\n",
        ":4: 'candidates' is there twice",
        "",
    ),
    "name twice": (
        entry() + "  - {name: a, memory: 3Gi, utilization: " + GOOD + "}\n",
        "workloads[1].name: 'a'",
        "once",
    ),
    "top key unknown": (entry() + "candidate: [g4dn.xlarge]\n", "candidate: unknown key", "Did you mean candidates?"),
    "candidate unknown": (entry() + "candidates: [g4dn.xlage]\n", "'g4dn.xlage'", "Did you mean g4dn.xlarge?"),
    "candidate a list": (entry() + "candidates: [[g4dn.xlarge]]\n", "candidates: unknown instance type ['g4dn", ""),
    "no candidate": (entry() + "candidates: []\n", "candidates: is []", "a list of instance types"),
    "hours a part": (entry() + "hoursPerMonth: 720.5\n", "hoursPerMonth: is 720.5", "1 to 744"),
    "hours zero": (entry() + "hoursPerMonth: 0\n", "hoursPerMonth: is 0", "1 to 744"),
    "region unknown": (entry() + "region: us-est-1\n", "region 'us-est-1'", "us-east-1"),
    "efficiency in per cent": (entry() + "efficiency: 90\n", "efficiency: is 90 (write 0.9", "above 0, up to 1"),
    "headroom unknown": (entry() + "headroom: always\n", "headroom: is 'always'", "advise, require"),
    "replicas none": (entry() + "maxReplicas: 0\n", "maxReplicas: is 0", "1 to 48"),
    "tax all": (entry() + "migTax: 1\n", "migTax: is 1", "from 0 to below 1"),
    "factor zero": (entry() + "prices: {basis: spot, factor: 0}\n", "prices.factor: is 0", "above 0, up to 1"),
    "factor missing": (entry() + "prices: {basis: spot}\n", "spot prices are not known here", "--price-factor"),
    "factor alone": (entry() + "prices: {factor: 0.5}\n", "for spot or reserved", "--price-basis"),
    "prices a list": (entry() + "prices: [1]\n", "prices: is [1]", "basis, factor"),
    "no workload": ("workloads: []\n", "has no workloads", "at least one"),
    "workloads a map": ("workloads: {a: 1}\n", "workloads: is {'a': 1}", "a list"),
    "workloads missing": ("region: us-east-1\n", "workloads: is missing", "a list"),
    "workload a text": ("workloads: [a]\n", "workloads[0]: is 'a'", "a map"),
    "a list at the top": ("- a\n", "is ['a']", "a map with the key workloads"),
    "only text": ("hello\n", "is 'hello'", "a map with the key workloads"),
    "only a comment": ("# nothing\n", "is None", "a map with the key workloads"),
    "not YAML": ("workloads: [\n", ":2: is not YAML", ""),
    "a tab": ("workloads:\n\t- a\n", ":2: is not YAML", ""),
    "two documents": (entry() + "---\n" + entry(), "is not YAML", ""),
    "a tag of Python": (entry(count="!!python/object:os.system x"), "is not YAML", ""),
    "a tag that does not suit": (entry(count="!!bool x"), "does not suit its tag", "without tags"),
    "a date of a month 13": (entry(count="2026-13-01"), "is not YAML", ""),
    "empty": ("", "is empty", "workloads"),
    "only space": (" \n\t\n", "is empty", "workloads"),
    "nested deeply": ("[" * 5000 + "]" * 5000, ":1: is nested too deeply", "levels"),
    "nested beyond any stack": ("workloads: " + "[" * 200_000, ":1: is nested too deeply", "levels"),
    "a map as a key": ("{workloads: 1}: 2\n", "is not YAML", ""),
    "a merge": ("a: &a {b: 1}\nworkloads:\n- {<<: *a}\n", ":3: has a merge key", "aliases"),
}


@pytest.mark.parametrize("name", YAML)
def test_wrong_yaml(name, tmp_path, capsys):
    text, what, allowed = YAML[name]
    error = refused(capsys, write(tmp_path, text))
    assert what in error
    assert allowed in error
    assert "region 'us" in error or "price" in error or "w.yaml" in error


CSV = {
    "a column missing": ("name,memory_gib,mean\na,1,0.1\n", ":1: the column p95 is missing", "name, count"),
    "a column unknown": (
        "name,memory_gib,mean,p95,gpus\na,1,0.1,0.2,T4\n",
        "unknown column 'gpus'",
        "Did you mean gpu?",
    ),
    "a column twice": ("name,memory_gib,mean,p95,p95\na,1,0.1,0.2,0.2\n", "the column p95 is there twice", "once"),
    "memory in MiB": (HEAD + "a,8192,0.1,0.2\n", "w.csv:2: memory_gib: is '8192' (8192 is a number of MiB", "GiB"),
    "memory with a unit": (HEAD + "a,3Gi,0.1,0.2\n", "w.csv:2: memory_gib: is '3Gi'", "number of GiB"),
    "memory negative": (HEAD + "a,-3,0.1,0.2\n", "w.csv:2: memory_gib: is '-3'", "number of GiB"),
    "memory zero": (HEAD + "a,0,0.1,0.2\n", "w.csv:2: memory_gib: is '0'", "number of GiB"),
    "p95 in per cent": (HEAD + "a,3,0.1,25\n", "w.csv:2: p95: is '25' (write 0.25 for 25 %)", "part of one GPU"),
    "p95 with a sign": (HEAD + "a,3,0.1,25%\n", "w.csv:2: p95: is '25%'", "part of one GPU"),
    "p95 no number": (HEAD + "a,3,0.1,nan\n", "w.csv:2: p95: is 'nan'", "part of one GPU"),
    "p95 endless": (HEAD + "a,3,0.1,inf\n", "w.csv:2: p95: is 'inf'", "part of one GPU"),
    "p95 below mean": (HEAD + "b,3,0.1,0.2\na,3,0.3,0.2\n", "w.csv:3: p95 0.2 is below the mean 0.3", "at or above"),
    "an empty cell": (HEAD + "a,3,0.1,\n", "w.csv:2: p95: is ''", "part of one GPU"),
    "other digits": (HEAD + "a,٣,0.1,0.2\n", "w.csv:2: memory_gib", "number of GiB"),
    "a decimal comma": (HEAD + 'a,3,"0,1",0.2\n', "w.csv:2: mean: is '0,1'", "part of one GPU"),
    "underscores": (HEAD + "a,1_0,0.1,0.2\n", "w.csv:2: memory_gib: is '1_0'", "number of GiB"),
    "a cell too many": (HEAD + "a,3,0.1,0.2,1\n", "w.csv:2: has 5 cells", "4, as in the first line"),
    "a cell too few": (HEAD + "a,3,0.1\n", "w.csv:2: has 3 cells", "4, as in the first line"),
    "semicolons": ("name;memory_gib;mean;p95\na;3;0.1;0.2\n", "the column name is missing", "name, count"),
    "a name twice": (HEAD + "a,3,0.1,0.2\nb,3,0.1,0.2\na,3,0.1,0.2\n", "w.csv:4: 'a' is in line 2 already", "once"),
    "a name twice but for space": (HEAD + "a,3,0.1,0.2\n a ,3,0.1,0.2\n", "w.csv:3: 'a' is in line 2 already", "once"),
    "a name with an escape": (HEAD + "a\x1b[31m,3,0.1,0.2\n", "w.csv:2: name: is 'a\\x1b[31m'", "printable"),
    "a name with a null": (HEAD + "a\0b,3,0.1,0.2\n", "w.csv:2: name", "printable"),
    "a quote left open": (HEAD + 'a,3,0.1,"0.2\n', "is not CSV", "comma"),
    "a quote in the middle": (HEAD + 'a,3,0.1,"0.2"x\n', "is not CSV", "comma"),
    "only a header": (HEAD, "has no workloads", "at least one"),
    "empty": ("", "is empty", "workloads"),
}


@pytest.mark.parametrize("name", CSV)
def test_wrong_csv(name, tmp_path, capsys):
    text, what, allowed = CSV[name]
    error = refused(capsys, write(tmp_path, text, "w.csv"))
    assert what in error
    assert allowed in error
    assert "w.csv" in error


@pytest.mark.parametrize("name", ["w.yaml", "w.csv"])
@pytest.mark.parametrize(
    ("content", "what"),
    [
        ("name: ä".encode("utf-16"), "is not UTF-8 text (byte 0)"),
        ("name: ä".encode("latin-1"), "is not UTF-8 text (byte 6)"),
        (bytes(range(256)), "is not UTF-8 text (byte 128)"),
        (b"\x7fELF\xff", "is not UTF-8 text (byte 4)"),
    ],
    ids=["UTF-16", "latin-1", "bytes", "binary"],
)
def test_what_is_not_utf_8_is_refused_with_the_byte(name, content, what, tmp_path, capsys):
    error = refused(capsys, write(tmp_path, content, name))
    assert what in error
    assert "Allowed: UTF-8" in error


@pytest.mark.parametrize("name", ["d.yaml", "d.csv"])
def test_a_folder_is_not_a_file(name, tmp_path, capsys):
    (tmp_path / name).mkdir()
    error = refused(capsys, tmp_path / name)
    assert f"{name}: is not a file" in error
    assert "Allowed: a YAML or CSV file" in error


@pytest.mark.parametrize("name", ["p.yaml", "p.csv"])
def test_a_pipe_is_not_waited_for(name, tmp_path, capsys):
    os.mkfifo(tmp_path / name)
    assert "is not a file" in refused(capsys, tmp_path / name)


@pytest.mark.parametrize("name", ["gone.yaml", "gone.csv"])
def test_a_file_that_is_missing_is_no_wrong_input(name, tmp_path, capsys):
    assert f"{name}: No such file" in refused(capsys, tmp_path / name, code=2)


def test_an_unknown_suffix_is_refused(tmp_path, capsys):
    error = refused(capsys, write(tmp_path, entry(), "w.txt"))
    assert "'.txt'" in error
    assert ".yaml, .yml, .json, .csv" in error


def test_aliases_do_not_blow_up(tmp_path, capsys):
    lines = ["a: &a [x,x,x,x,x,x,x,x,x]"]
    lines += [f"{c}: &{c} [{','.join(['*' + b] * 9)}]" for b, c in zip("abcdefghij", "bcdefghijk", strict=True)]
    error = refused(capsys, write(tmp_path, "\n".join([*lines, "workloads: *k", ""])))
    assert "workloads[8]: is [[[" in error
    assert len(error) < 10_000
    assert "workloads[0]: is [[[[...]]]]" in refused(capsys, write(tmp_path, "workloads: &a [*a]\n"))


def test_a_thousand_problems_are_cut_short(tmp_path, capsys):
    error = refused(capsys, write(tmp_path, HEAD + "".join(f"w{i},3,0.1,25\n" for i in range(1500)), "w.csv"))
    assert len(error.splitlines()) == 52
    assert error.splitlines()[-1] == "... and 950 more"
    error = refused(capsys, write(tmp_path, "workloads:\n" + "  - {name: a}\n" * 1500))
    assert len(error.splitlines()) == 52


def test_all_problems_come_at_once(tmp_path, capsys):
    text = "hoursPerMonth: 0\ncandidates: [x]\n" + entry(count="0", memory="3", gpu="T5")
    error = refused(capsys, write(tmp_path, text))
    assert error.startswith("gpuslice: 5 problems:\n")


OPTIONS = {
    "--hours-per-month": ("0", "745", "x", "1.5", "nan", "-5", ""),
    "--efficiency": ("0", "1.1", "90", "nan", "x", ""),
    "--max-replicas": ("0", "49", "2.5", "x"),
    "--price-factor": ("0", "-1", "2", "nan", "x"),
    "--headroom": ("maybe",),
    "--method": ("guess",),
    "--seconds": ("0", "-1", "nan", "inf", "x"),
    "--candidates": ("", ",", "g4dn.xlage", "g4dn.xlarge,t2.micro"),
    "--region": ("", "us-est-1", "cn-north-1"),
    "--price-basis": ("free",),
}


@pytest.mark.parametrize(("option", "value"), [(o, v) for o, values in OPTIONS.items() for v in values])
def test_wrong_options(option, value, tmp_path, capsys):
    code, out, error = command(capsys, write(tmp_path, entry()), f"{option}={value}")
    assert (code, out) == (1, "")
    assert option in error or "region" in error
    assert "Traceback" not in error


def test_neither_two_sources_nor_none(tmp_path, capsys):
    path = write(tmp_path, entry())
    both = (path, "--prometheus", "http://127.0.0.1:1")
    for arguments, what in (((), "nothing to plan"), (both, "two sources"), ((path, "--window", "5x"), "--prometheus")):
        code, out, error = command(capsys, *arguments)
        assert (code, out) == (1, "")
        assert what in error


def fine(capsys, path, *arguments):
    code, out, error = command(capsys, path, "--json", *arguments)
    assert code == 0
    assert not error or error.startswith("gpuslice: still planning")
    return json.loads(out, parse_constant=lambda text: pytest.fail(text))


@pytest.mark.parametrize("mark", [b"", b"\xef\xbb\xbf"], ids=["", "mark"])
@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"], ids=["LF", "CRLF", "CR"])
def test_marks_and_line_ends_of_other_systems_are_read(mark, end, tmp_path, capsys):
    csv = mark + (HEAD + "a,3,0.1,0.25\n\nb,3,0.1,0.25\n").replace("\n", end).encode()
    assert {p["workload"] for p in fine(capsys, write(tmp_path, csv, "w.csv"))["placements"]} == {"a", "b"}
    yaml = mark + (entry() + "candidates: [g4dn.xlarge]\n").replace("\n", end).encode()
    assert fine(capsys, write(tmp_path, yaml))["after"]["nodes"] == 1


@pytest.mark.parametrize("name", ['=cmd|"/c calc"!A1', "+1", "@SUM(A1)", "-1", "<script>", "жук", "名前", "a b", "'"])
def test_odd_names_come_out_as_they_went_in(name, tmp_path, capsys):
    cell = '"' + name.replace('"', '""') + '"'
    answer = fine(capsys, write(tmp_path, HEAD + f"{cell},3,0.1,0.25\n", "w.csv"))
    assert [p["workload"] for p in answer["placements"]] == [name]
    text = "workloads:\n  - {name: " + json.dumps(name) + ", memory: 3Gi, utilization: " + GOOD + "}\n"
    assert [p["workload"] for p in fine(capsys, write(tmp_path, text))["placements"]] == [name]


def test_json_is_read_too(tmp_path, capsys):
    use = {"mean": 0.1, "p95": 0.25}
    document = {"workloads": [{"name": "a\t\u00e4".replace("\t", " "), "memory": "3Gi", "utilization": use}]}
    assert fine(capsys, write(tmp_path, json.dumps(document, indent=1), "w.json"))["after"]["nodes"] == 1


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"memory": "400Gi"}, "needs 409600 MiB of GPU memory"),
        ({"cpu": "200"}, "asks for 200000 millicores"),
        ({"ram": "4Ti"}, "MiB of memory"),
        ({"gpu": "T4G"}, "against t4g is not known"),
    ],
    ids=["memory", "CPU", "RAM", "speed"],
)
def test_what_fits_nowhere_is_named_with_the_reason(changes, reason, tmp_path, capsys):
    path = write(tmp_path, entry(**changes) + "  - {name: b, memory: 3Gi, utilization: " + GOOD + "}\n")
    code, out, error = command(capsys, path, "--json")
    assert (code, error) == (1, "")
    (left,) = json.loads(out)["unplaced"]
    assert left["workload"] == "a"
    assert reason in left["reason"]


def test_no_row_of_a_hundred_thousand_is_dropped(tmp_path, capsys, record_property):
    import time

    rows = (f"w{i},{1 + i % 3},{1 + i % 7},0.05,{0.05 + i % 19 / 20:.2f},,\n" for i in range(100_000))
    path = write(tmp_path, "name,count,memory_gib,mean,p95,gpu,cpu\n" + "".join(rows), "w.csv")
    start = time.process_time()
    answer = fine(capsys, path, "--candidates", "g4dn.xlarge,g5.xlarge")
    record_property("cpu_seconds", time.process_time() - start)
    assert not answer["unplaced"]
    placed = {}
    for p in answer["placements"]:
        placed[p["workload"]] = placed.get(p["workload"], 0) + p["count"]
    assert placed == {f"w{i}": 1 + i % 3 for i in range(100_000)}
