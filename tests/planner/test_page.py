"""The page of a plan: whole numbers of the answer on it, nothing from outside, and names that stay text."""

from __future__ import annotations

import re
from functools import cache
from html.parser import HTMLParser

import pytest
from planexamples import answer, empty, huge

from gpuslice.planner.markup import BYTES
from gpuslice.planner.page import bound_sentence, page

VOID = {"meta"}
LOADING = {"src", "srcset", "href", "xlink:href", "action", "data", "poster", "background", "formaction", "ping"}


class Reader(HTMLParser):
    """Checks nesting while it gathers elements, ids and the text that a reader sees."""

    def __init__(self):
        super().__init__()
        self.open, self.elements, self.text = [], [], []

    def handle_starttag(self, tag, attrs):
        self.elements.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.elements.append((tag, dict(attrs)))

    def handle_endtag(self, tag):
        assert self.open, f"</{tag}> closes nothing"
        assert self.open.pop() == tag

    def handle_data(self, data):
        if self.open and self.open[-1] != "style":
            self.text.append(data)


def read(document):
    reader = Reader()
    reader.feed(document)
    reader.close()
    assert reader.open == []
    return reader


def seen(document):
    return re.sub(r"\s+", " ", " ".join(read(document).text))


def of(reader, tag):
    return [attrs for name, attrs in reader.elements if name == tag]


EXAMPLES = {
    "quarters": lambda: answer("quarters"),
    "mixed": lambda: answer("mixed"),
    "empty": empty,
    "huge": huge,
}


@cache
def made(name):
    return page(EXAMPLES[name](), "GPU plan")


@pytest.fixture
def no_pictures(monkeypatch):
    """For tests of words alone: drawing is most of the time that a page takes."""
    monkeypatch.setattr("gpuslice.planner.page._figures", lambda answer: [])


@pytest.fixture(params=EXAMPLES, scope="module")
def document(request: pytest.FixtureRequest) -> str:
    return made(request.param)


def test_is_well_formed_and_ids_are_unique(document):
    assert document.startswith('<!DOCTYPE html>\n<html lang="en">')
    reader = read(document)
    ids = [attrs["id"] for _, attrs in reader.elements if "id" in attrs]
    assert len(ids) == len(set(ids))
    for _, attrs in reader.elements:
        for name in attrs.get("aria-labelledby", "").split():
            assert name in ids
    assert set(re.findall(r"url\(#([^)]*)\)", document)) <= set(ids)


def test_loads_nothing_and_runs_nothing(document):
    reader = read(document)
    names = {tag for tag, _ in reader.elements}
    assert not names & {"script", "link", "img", "iframe", "object", "embed", "base", "form", "image", "foreignobject"}
    for tag, attrs in reader.elements:
        for key, value in attrs.items():
            assert not key.startswith("on"), (tag, key)
            assert key not in LOADING or value.startswith("#"), (tag, key, value)
            assert "http" not in (value or ""), (tag, key, value)
    assert "@import" not in document
    assert not re.search(r"url\((?!#)", document)
    policy = [attrs["content"] for attrs in of(reader, "meta") if attrs.get("http-equiv") == "Content-Security-Policy"]
    assert policy == ["default-src 'none'; style-src 'unsafe-inline'"]


def test_can_be_read_aloud(document):
    reader = read(document)
    pictures = of(reader, "svg")
    assert len(pictures) == len(of(reader, "figcaption")) == 3
    assert all(attrs["role"] == "img" and attrs["aria-labelledby"] for attrs in pictures)
    assert all(attrs.get("scope") in {"col", "row"} for attrs in of(reader, "th"))
    assert len(of(reader, "caption")) == len(of(reader, "table"))
    assert len(of(reader, "h1")) == 1


def test_is_small(document):
    assert len(document.encode()) < 2_000_000


def test_is_the_same_each_time():
    assert page(answer("quarters"), "GPU plan") == made("quarters")


def test_the_scenario_in_words():
    said = seen(made("quarters"))
    for text in (
        "GPU plan",
        "The plan saves $1,624.32 a month (75 %)",
        "No head-room. At peak (p95) the work on the tightest pool is 11.1 % more than its GPUs do when shared",
        "at an efficiency of 90 %: expect requests to wait then.",
        "With head-room the plan costs $1,082.88 a month on 2 nodes, $541.44 more, and saves $1,082.88 a month.",
        answer("quarters")["warnings"][0],
        "less than $541.44 a month (the lower bound), and this plan costs just that: it cannot be made cheaper.",
        "The work costs $2,165.76 a month before, $541.44 as planned, and $1,082.88 with head-room.",
        "On average 84 % of 1 GPU is used; the busiest reaches 100 % at p95.",
        "4 is the cheapest that fits, at $541.44 a month; in the plan: 4.",
        "4 nodes: 4 × g4dn.2xlarge",
    ):
        assert text in said, text


def test_every_number_of_the_answer_is_on_the_page_as_it_is_there():
    found = answer("mixed")
    said = seen(made("mixed"))
    for key in ("before", "after", "withHeadroom"):
        assert f"${found[key]['usdPerMonth']:,.2f} a month" in said
        assert f"${found[key]['usdPerHour']} an hour" in said
        assert f"{found[key]['nodes']} nodes" in said
    for key in ("savings", "lowerBound"):
        assert f"${found[key]['usdPerMonth']:,.2f}" in said
    for pool in found["pools"]:
        for value in (f"${pool['usdPerMonth']:,.2f}", f"${pool['usdPerNodeHour']}", pool["name"], pool["gpu"]):
            assert value in said
        for name, resource in pool["resources"].items():
            all_of = resource["perNode"] * pool["nodes"]
            assert f"{name}: {resource['used']} of {all_of}, {resource['memoryMiB']:,} MiB each" in said
    for node in found["nodes"]:
        assert f"{node['cpu']['used']} of {node['cpu']['allocatable']}" in said
        assert f"{node['ramMiB']['used']:,} of {node['ramMiB']['allocatable']:,}" in said
        for gpu in node["gpus"]:
            assert f"{gpu['p95'] * 100:.0f} % ({gpu['mean'] * 100:.0f} %), {gpu['used']} of {gpu['slices']}" in said


def test_everything_else_of_the_answer_is_on_the_page():
    found = answer("mixed")
    said = seen(made("mixed"))
    parts = [*found["warnings"], *[row["reason"] for key in ("refused", "unplaced", "replicas") for row in found[key]]]
    parts += [row["workload"] for key in ("unplaced", "placements") for row in found[key]]
    parts += ["reserved, 63 % of the list price", "0.63", "us-east-1", "2026-07-06", "AWS price list", "720"]
    parts += ["p5e.48xlarge", "9.25 %", "512 (MiB", "16 (pods", "greedy (", "scheduler (", "advise ("]
    parts += [
        "mig: 4 × 1g.5gb, 1 × 3g.20gb",
        "time-slicing, 3 replicas, only for group team-recommendations-and-search",
    ]
    parts += ["nvidia.com/mig-3g.20gb, batch 8, 2 processes", "but leaves 4 pods without a place"]
    parts += ["4 pods could not be placed; no cost here includes them."]
    for part in parts:
        assert re.sub(r"\s+", " ", part) in said, part


def test_pods_of_a_workload_are_added_up_over_gpus_and_nodes():
    said = seen(made("mixed"))
    assert "ranker t4-shared-3-team-recommendations-and-search nvidia.com/gpu.shared 9 3 on t4-shared-3-" in said
    assert "embedder a100-mig-1g5gb-3g20gb nvidia.com/mig-1g.5gb 27 27 on a100-mig-1g5gb-3g20gb-0" in said


EVIL = "<script>alert(1)</script>\"'&<img src=x onerror=alert(1)></title></style>"


def test_names_from_the_input_stay_text():
    """Each text of the answer, key or value, and the title is an attack; none becomes an element or an attribute."""
    document = page(_with_texts(answer("mixed"), EVIL), EVIL)
    reader = read(document)
    assert not {"script", "img"} & {tag for tag, _ in reader.elements}
    assert not [attrs for _, attrs in reader.elements if "onerror" in attrs]
    assert "<script" not in document
    assert len(of(reader, "title")) == 4
    assert EVIL in seen(document)


def _with_texts(value, text):
    known = {"mode", "fits"}
    if isinstance(value, dict):
        return {
            (f"{key}{text}" if "." in key else key): (item if key in known else _with_texts(item, text))
            for key, item in value.items()
        }
    if isinstance(value, list):
        return [_with_texts(item, text) for item in value]
    return f"{value}{text}" if isinstance(value, str) else value


@pytest.mark.usefixtures("no_pictures")
def test_characters_that_html_forbids_are_replaced():
    found = answer("quarters")
    found["placements"][0]["workload"] = "a\x00b\ud800c\u202ed"
    document = page(found, "x\x07")
    document.encode()
    assert "a\ufffdb\ufffdc\ufffdd" in document
    assert "x\ufffd" in document


def test_large_tables_say_what_they_leave_out():
    document = made("huge")
    said = seen(document)
    assert "Nodes of the plan: 5,000 rows" in said
    shown, left = re.search(r"The first ([\d,]+) of 5,000 rows; ([\d,]+) are left out here", said).groups()
    assert int(shown.replace(",", "")) + int(left.replace(",", "")) == 5000
    assert document.count("<details>") == 5
    assert "The first 500 of 900 rows; 400 are left out here" in said


@pytest.mark.usefixtures("no_pictures")
def test_the_page_stays_small_whatever_names_are():
    """Names of 250 characters that escaping makes longer, in every table, and thousands of warnings."""
    found = _with_texts(huge(2000), '"' * 250)
    found["warnings"] = ['"' * 1000] * 3000
    found["pools"] = [found["pools"][0]] * 2000
    document = page(found, "GPU plan")
    assert len(document.encode()) < 2_000_000
    assert len(document.encode()) > BYTES
    assert "And 2,960 more, in the JSON answer." in seen(document)


def test_a_small_table_is_open_and_complete():
    document = made("quarters")
    assert "left out here" not in document
    assert document.count("<details>") == 1


def test_no_warning_no_box():
    assert "Read this first" not in made("empty")
    assert "There is nothing to plan" in made("empty")


@pytest.mark.usefixtures("no_pictures")
def test_sections_that_are_missing_are_empty():
    bare = {key: value for key, value in empty().items() if key in ("before", "after", "savings", "gap", "prices")}
    assert seen(page(bare, "GPU plan")).count("None.") == 6


@pytest.mark.usefixtures("no_pictures")
def test_headroom_that_no_plan_has():
    found = answer("quarters")
    found["withHeadroom"] |= {"usdPerMonth": None, "usdPerHour": None, "nodes": 0}
    assert "No plan with head-room was found." in seen(page(found, "GPU plan"))


@pytest.mark.usefixtures("no_pictures")
def test_headroom_dearer_than_before():
    found = answer("quarters")
    found["withHeadroom"]["usdPerMonth"] = 3000.0
    assert "$2,458.56 more, and costs $834.24 more than before a month" in seen(page(found, "GPU plan"))


def test_the_gap_in_words():
    found = answer("mixed")
    assert bound_sentence(found).replace("\u00a0", " ") == (
        "No plan under these assumptions can cost less than $16,200.00 a month (the lower bound), so at most 18.86 % of"
        " this plan's cost (the gap) could still be saved by a better one."
    )
    assert bound_sentence(empty()) == "There is no lower bound to compare the plan with."


@pytest.mark.usefixtures("no_pictures")
def test_options_that_the_page_does_not_know_are_shown():
    found = answer("quarters")
    found["options"]["newOption"] = "<new>"
    assert "newOption <new>" in seen(page(found, "GPU plan"))
