"""Pictures of a plan, drawn from the answer of `gpuslice plan --json`: cost, use of each GPU, cost against replicas.

Figures are plain `matplotlib.figure.Figure` objects: pyplot is never imported, and matplotlib itself only when a
picture is asked for. Style settings hold while a picture is drawn and are put back, so a caller's own settings
neither change a picture nor are changed by one.
"""

from __future__ import annotations

import importlib.util
import io
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from gpuslice.planner.amounts import counted, dollars, percent, shorten
from gpuslice.planner.errors import InputError, shown
from gpuslice.planner.panels import (
    GREY,
    INK,
    Answer,
    cost_height,
    draw_cost,
    draw_replicas,
    draw_use,
    replicas_height,
    use_height,
)

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

SUFFIXES = (".svg", ".png")

_WIDTH = 8.0
_STYLE = {
    # `$541 to $1,083` is money, never a formula.
    "text.parse_math": False,
    # Text stays text: a page can be searched and read aloud, and a name in any script shows.
    "svg.fonttype": "none",
    "svg.hashsalt": "gpuslice",
    "font.family": ["DejaVu Sans"],
    "font.size": 9.0,
    "text.color": INK,
    "axes.labelcolor": INK,
    "axes.edgecolor": GREY,
    "axes.titlelocation": "left",
    "axes.titlesize": 10.5,
    "axes.titleweight": "bold",
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.axisbelow": True,
    "xtick.color": GREY,
    "xtick.labelcolor": INK,
    "ytick.color": GREY,
    "ytick.labelcolor": INK,
    "hatch.linewidth": 0.6,
    "legend.frameon": False,
}


@dataclass(frozen=True)
class _Panel:
    draw: Callable[[Axes, Answer], None]
    height: Callable[[Answer], float]


def cost_figure(answer: Answer) -> Figure:
    """Cost per month in USD: before, planned and with head-room as bars, the lower bound as a line."""
    return _one(answer, _COST)


def use_figure(answer: Answer) -> Figure:
    """Use of each GPU in percent, in the order of the nodes, p95 with the mean inside; a sorted curve above `BARS`."""
    return _one(answer, _USE)


def replicas_figure(answer: Answer) -> Figure:
    """Cost per month in USD for each number of replicas; those that do not fit hatched, those of the plan dark."""
    return _one(answer, _REPLICAS)


def all_figure(answer: Answer) -> Figure:
    """The three panels under a headline, with where the prices come from below them."""
    with _drawing():
        from matplotlib.figure import Figure

        panels = (_COST, _USE, _REPLICAS)
        heights = [panel.height(answer) for panel in panels]
        figure = Figure(figsize=(_WIDTH, sum(heights) + 0.9), layout="constrained")
        figure.get_layout_engine().set(h_pad=0.12, w_pad=0.12)  # type: ignore[union-attr,call-arg]
        for panel, axes in zip(panels, figure.subplots(3, 1, height_ratios=heights), strict=True):
            panel.draw(axes, answer)
        lines = [headline(answer), *caveats(answer)]
        figure.suptitle("\n".join(lines), x=0.012, ha="left", fontsize=12.5, fontweight="bold")
        figure.supxlabel(_source(answer), x=0.012, ha="left", fontsize=7, color=INK)
        return figure


def headline(answer: Answer) -> str:
    """What the plan saves, in one line."""
    savings = answer["savings"]
    month, fraction = savings["usdPerMonth"], savings["fraction"]
    if not answer["before"]["nodes"] and not answer["after"]["nodes"]:
        return "There is nothing to plan"
    if not month:
        return "The plan costs as much as today"
    verb = "saves" if month > 0 else "costs an extra"
    share = f" ({percent(abs(fraction))})" if fraction is not None else ""
    return f"The plan {verb} {dollars(abs(month))} a month{share}"


def left_out(answer: Answer) -> int:
    """How many pods have no place in the plan."""
    return sum(row["count"] for row in answer.get("unplaced") or [])


def caveats(answer: Answer) -> list[str]:
    """What nobody may overlook who reads the headline: pods without a place, and no head-room."""
    left = left_out(answer)
    short = (answer.get("withHeadroom") or {}).get("shortfall") or 0
    said = [f"but leaves {counted(left, 'pod')} without a place"] if left else []
    return said + ([f"but is {percent(short)} short of head-room"] if short > 0 else [])


def svg(figure: Figure, description: str = "") -> str:
    """The figure as an SVG document: the same text for the same figure, without a date."""
    return _bytes(figure, ".svg", description).decode()


def write_picture(answer: Answer, path: Path) -> None:
    """Write all panels as one picture. The suffix of `path`, `.svg` or `.png`, chooses the format.

    Raises `InputError` for another suffix, for a path that cannot be written and where matplotlib is missing.
    """
    suffix = path.suffix.lower()
    if suffix not in SUFFIXES:
        raise InputError([f"{shown(str(path))}: a picture's name must end in .svg or .png"])
    content = _bytes(all_figure(answer), suffix, headline(answer))
    try:
        path.write_bytes(content)
    except OSError as error:
        raise InputError([f"{shown(str(path))}: cannot write the picture: {error.strerror}"]) from error


def _bytes(figure: Figure, suffix: str, description: str) -> bytes:
    text = {"Title": "GPU plan", "Description": description}
    # matplotlib would add the date to an SVG, and its own version to both.
    own = {"Date": None, "Creator": "gpuslice"} if suffix == ".svg" else {"Software": None}
    out = io.BytesIO()
    with _drawing():
        figure.savefig(out, format=suffix[1:], dpi=150, metadata={**text, **own}, facecolor="white")
    return out.getvalue()


@contextmanager
def _drawing() -> Iterator[None]:
    """Our style, and only ours, while a picture is drawn or written."""
    if importlib.util.find_spec("matplotlib") is None:
        raise InputError(["pictures need matplotlib: pip install matplotlib"])
    from matplotlib import style

    with style.context(_STYLE, after_reset=True), warnings.catch_warnings():
        # A name in a script that the font lacks: an SVG's reader has the glyphs, and a PNG shows boxes.
        warnings.filterwarnings("ignore", "Glyph .* missing from font", UserWarning)
        yield


def _one(answer: Answer, panel: _Panel) -> Figure:
    with _drawing():
        from matplotlib.figure import Figure

        figure = Figure(figsize=(_WIDTH, panel.height(answer)), layout="constrained")
        panel.draw(figure.subplots(), answer)
        return figure


def _source(answer: Answer) -> str:
    prices = answer["prices"]
    said = [
        f"{prices['basis']} prices of {prices['region']}",
        prices["date"],
        f"{prices['hoursPerMonth']} hours a month",
    ]
    return shorten(f"USD, {', '.join(map(str, said))}", 110)


_COST = _Panel(draw_cost, cost_height)
_USE = _Panel(draw_use, use_height)
_REPLICAS = _Panel(draw_replicas, replicas_height)
