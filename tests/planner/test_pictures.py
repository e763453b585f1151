"""Pictures of a plan: what they show, that their texts keep apart, and that they are files one can compare."""

from __future__ import annotations

import json
import subprocess
import sys
from itertools import combinations
from xml.etree import ElementTree

import matplotlib as mpl
import pytest
from matplotlib.backends.backend_agg import FigureCanvasAgg
from planexamples import answer, empty, huge, with_gpus

from gpuslice.planner.amounts import clean, compact, counted, dollars, hourly, percent, shorten
from gpuslice.planner.errors import InputError
from gpuslice.planner.pictures import (
    all_figure,
    caveats,
    cost_figure,
    headline,
    replicas_figure,
    svg,
    use_figure,
    write_picture,
)

HEADROOM_SHORT = "but is 11.1\u00a0% short of head-room"


def many_replicas(count):
    found = answer("quarters")
    found["replicas"] = [
        {"replicas": i, "usdPerMonth": 2165.76 / i, "fits": i <= 4, "reason": ""} for i in range(1, count + 1)
    ]
    return found


ANSWERS = {
    "quarters": lambda: answer("quarters"),
    "mixed": lambda: answer("mixed"),
    "empty": empty,
    "16 GPUs": lambda: with_gpus(16),
    "40 GPUs": lambda: with_gpus(40, 6),
    "60 pools": lambda: with_gpus(60, 60),
    "huge": lambda: huge(300),
    "48 replicas": lambda: many_replicas(48),
}


@pytest.fixture(params=ANSWERS, scope="module")
def example(request):
    return ANSWERS[request.param]()


def texts(figure):
    """Every text that is drawn, with its box in pixels."""
    canvas = FigureCanvasAgg(figure)
    canvas.draw()
    found = [figure._suptitle, figure._supxlabel]
    for axes in figure.axes:
        legend = axes.get_legend()
        found += [*axes.texts, axes._left_title, *(legend.get_texts() if legend else [])]
        found += [text for axis in (axes.xaxis, axes.yaxis) if axes.axison for text in along(axis)]
    shown = [text for text in found if text is not None and text.get_text().strip()]
    return [(text.get_text(), text.get_window_extent(canvas.get_renderer())) for text in shown]


def along(axis):
    """An axis' label and those of its ticks that are in sight."""
    low, high = sorted(axis.get_view_interval())
    return [axis.label, *[tick.label1 for tick in axis.get_major_ticks() if low <= tick.get_loc() <= high]]


def words(figure):
    return [text for text, _ in texts(figure)]


def bars(figure):
    return [(patch.get_width(), patch.get_height()) for patch in figure.axes[0].patches]


def test_texts_overlap_nowhere_and_stay_inside(example):
    for make in (all_figure, use_figure) if example == answer("mixed") else (all_figure,):
        figure = make(example)
        found = texts(figure)
        assert found
        for (one, a), (other, b) in combinations(found, 2):
            apart = a.x1 <= b.x0 + 1 or b.x1 <= a.x0 + 1 or a.y1 <= b.y0 + 1 or b.y1 <= a.y0 + 1
            assert apart, (make.__name__, one, other)
        width, height = figure.canvas.get_width_height()
        outside = [
            text for text, box in found if box.x0 < -1 or box.y0 < -1 or box.x1 > width + 1 or box.y1 > height + 1
        ]
        assert not outside, make.__name__


def test_cost_names_every_cost_and_the_bound():
    found = words(cost_figure(answer("quarters")))
    for text in ("$2,165.76, 4 nodes", "$541.44, 1 node", "$1,082.88, 2 nodes", "no plan can cost less than $541.44"):
        assert text in found
    assert "USD per month" in found
    assert [width for width, _ in bars(cost_figure(answer("quarters")))] == [2165.76, 541.44, 1082.88]


def test_cost_without_headroom_and_bound():
    plain = answer("quarters") | {"withHeadroom": None, "lowerBound": None}
    assert [width for width, _ in bars(cost_figure(plain))] == [2165.76, 541.44]
    assert not [text for text in words(cost_figure(plain)) if "less than" in text]


def test_use_draws_each_gpu_in_the_order_of_the_nodes():
    figure = use_figure(answer("mixed"))
    gpus = [gpu for node in answer("mixed")["nodes"] for gpu in node["gpus"]]
    assert [width for width, _ in bars(figure)] == [g["p95"] for g in gpus] + [g["mean"] for g in gpus]
    found = words(figure)
    assert "91\u00a0% (60\u00a0%), 5 of 5 slices" in found
    assert "94\u00a0% (62\u00a0%), whole" in found
    assert "100 %" in found
    assert "90\u00a0% usable when shared" in found


def test_use_at_full_efficiency_has_one_line():
    found = answer("quarters")
    found["options"]["efficiency"] = 1.0
    assert not [text for text in words(use_figure(found)) if "usable" in text]


def test_use_above_one_gpu_stays_in_sight():
    found = answer("quarters")
    found["nodes"][0]["gpus"][0]["p95"] = 2.5
    figure = use_figure(found)
    assert figure.axes[0].get_xlim()[1] > 2.5
    assert "250\u00a0% (84\u00a0%), 4 of 4 slices" in words(figure)


def test_sixty_gpus_are_bars_and_more_are_a_curve():
    assert len(bars(use_figure(with_gpus(60, 2)))) == 120
    figure = use_figure(with_gpus(61, 2))
    assert bars(figure) == []
    assert list(figure.axes[0].lines[0].get_xdata()) == list(range(1, 62))


def test_the_curve_falls_from_the_most_used_to_the_least():
    found = huge(5000)
    line = use_figure(found).axes[0].lines[0]
    use = sorted((node["gpus"][0]["mean"] for node in found["nodes"]), reverse=True)
    drawn = list(line.get_ydata())
    assert len(drawn) == 400
    assert drawn == sorted(drawn, reverse=True)
    assert (drawn[0], drawn[-1]) == (use[0], use[-1])
    assert (line.get_xdata()[0], line.get_xdata()[-1]) == (1, 5000)


def test_replicas_that_do_not_fit_are_hatched_and_those_of_the_plan_dark():
    patches = replicas_figure(answer("quarters")).axes[0].patches
    assert [bool(patch.get_hatch()) for patch in patches] == [False] * 4 + [True] * 4
    colours = [patch.get_facecolor() for patch in patches]
    assert colours[0] == colours[1] == colours[2] != colours[3]
    assert [round(patch.get_height(), 2) for patch in patches] == [2165.76, 1082.88, 1082.88, 541.44, 541.44, 0, 0, 0]
    found = words(replicas_figure(answer("quarters")))
    assert "in plan\n$541" in found
    assert found.count("×") == 3


def test_headlines():
    found = answer("quarters")
    assert headline(found) == "The plan saves $1,624.32 a month (75\u00a0%)"
    found["savings"] = {"usdPerMonth": -10.0, "fraction": -0.005}
    assert headline(found) == "The plan costs an extra $10.00 a month (0.5\u00a0%)"
    found["savings"] = {"usdPerMonth": 10.0, "fraction": None}
    assert headline(found) == "The plan saves $10.00 a month"
    found["savings"] = {"usdPerMonth": 0.0, "fraction": 0.0}
    assert headline(found) == "The plan costs as much as today"
    assert headline(empty()) == "There is nothing to plan"


def test_the_picture_says_what_its_headline_leaves_out():
    assert caveats(answer("mixed")) == ["but leaves 4 pods without a place", "but is 3.3\u00a0% short of head-room"]
    assert caveats(empty()) == []
    title = all_figure(answer("quarters")).get_suptitle()
    assert title == f"The plan saves $1,624.32 a month (75\u00a0%)\n{HEADROOM_SHORT}"
    assert "USD, on-demand prices of us-east-1, 2026-07-06, 720 hours a month" in words(all_figure(answer("quarters")))


def test_svg_is_the_same_each_time_whatever_the_users_settings(tmp_path):
    one, other = tmp_path / "one.svg", tmp_path / "other.SVG"
    write_picture(answer("quarters"), one)
    with mpl.rc_context({"font.size": 30, "svg.hashsalt": "mine", "axes.grid": True}):
        write_picture(answer("quarters"), other)
        assert (mpl.rcParams["font.size"], mpl.rcParams["svg.hashsalt"]) == (30, "mine")
    assert one.read_bytes() == other.read_bytes()
    assert b"dc:date" not in one.read_bytes()
    assert b"The plan saves $1,624.32 a month" in one.read_bytes()
    assert ElementTree.parse(one).getroot().tag == "{http://www.w3.org/2000/svg}svg"


def test_png_is_the_same_each_time(tmp_path):
    for name in ("one.png", "other.png"):
        write_picture(empty(), tmp_path / name)
    content = (tmp_path / "one.png").read_bytes()
    assert content.startswith(b"\x89PNG")
    assert content == (tmp_path / "other.png").read_bytes()


@pytest.mark.parametrize("name", ["plan.pdf", "plan", "plan.svg.gz", ".svg"])
def test_other_suffixes_are_refused(tmp_path, name):
    with pytest.raises(InputError, match=r"a picture's name must end in \.svg or \.png"):
        write_picture(answer("quarters"), tmp_path / name)
    assert not list(tmp_path.iterdir())


def test_a_path_that_cannot_be_written_is_an_input_error(tmp_path):
    with pytest.raises(InputError, match="cannot write the picture: No such file or directory"):
        write_picture(answer("quarters"), tmp_path / "none" / "plan.svg")


def test_without_matplotlib_the_error_says_what_to_install(monkeypatch):
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(InputError, match="pip install matplotlib"):
        cost_figure(answer("quarters"))


@pytest.mark.parametrize("name", ["$x^2$ & <b>", "\x00\u202e\ud800", "模型-推理", "_hidden", "a\nb", "", "x" * 300])
def test_any_name_can_be_drawn_as_it_is(name):
    for found in (with_gpus(1), with_gpus(17, 2)):
        for node in found["nodes"]:
            node["name"] = node["pool"] = name
        drawn = "".join(ElementTree.fromstring(svg(use_figure(found))).itertext())
        assert len(found["nodes"]) > 1 or shorten(name, 22) in drawn


def test_neither_pyplot_nor_matplotlib_is_imported_early():
    code = (
        "import sys\nfrom gpuslice.planner import page, pictures\n"
        "assert not {'matplotlib', 'numpy', 'pydantic', 'pulumi'} & set(sys.modules)\n"
        "import json\nanswer = json.load(sys.stdin)\npictures.svg(pictures.all_figure(answer))\n"
        "assert 'matplotlib.pyplot' not in sys.modules\n"
    )
    subprocess.run(
        [sys.executable, "-W", "error", "-c", code], input=json.dumps(answer("quarters")), text=True, check=True
    )


def test_amounts():
    assert [dollars(v) for v in (0, 2165.76, -3, None)] == ["$0.00", "$2,165.76", "-$3.00", "unknown"]
    assert [hourly(v) for v in (3.008, 2, 21.957642, -0.5, None)] == [
        "$3.008",
        "$2.00",
        "$21.957642",
        "-$0.50",
        "unknown",
    ]
    assert [compact(v) for v in (0, 0.5, 541.44, 9990, 10828, 1_234_567, 3e9)] == [
        "$0", "$0.50", "$541", "$9,990", "$10.8k", "$1.23M", "$3,000M",
    ]  # fmt: skip
    said = [percent(v) for v in (0.75, 0.1111, 0, -0.111, 0.0001, 12.5, None)]
    assert [text.replace("\u00a0", " ") for text in said] == [
        "75 %", "11.1 %", "0 %", "-11.1 %", "< 0.1 %", "1,250 %", "unknown",
    ]  # fmt: skip
    assert (counted(1, "node"), counted(5000, "node"), counted(2, "x", "xes")) == ("1 node", "5,000 nodes", "2 xes")
    assert shorten("inference-cluster-0", 10) == "infere…r-0"
    assert clean("a\tb\x07") == "a b\ufffd"
