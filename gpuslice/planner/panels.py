"""The three panels of a plan's picture, each drawn on axes that the caller made and styled.

Colours are those of Okabe and Ito, which stay apart for colour-blind readers (https://jfly.uni-koeln.de/color/), two of
them darkened for text and thin lines; hatching and labels say the same again in grey print.
"""

from __future__ import annotations

import textwrap
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from gpuslice.planner.amounts import clean, compact, counted, dollars, percent, shorten

if TYPE_CHECKING:
    from matplotlib.axes import Axes

Answer = Mapping[str, Any]
NAMED_GPUS = 16
"""Up to so many GPUs each has its name beside its bar."""
BARS = 60
"""Up to so many GPUs each has a bar; more are drawn as a curve."""

INK, GREY = "#222222", "#8a8a8a"
_BLUE, _SKY, _DARK, _RED = "#0072B2", "#56B4E9", "#00324f", "#B34500"
_POINTS = 400
_EMPTY = 0.75


@dataclass(frozen=True)
class _Gpu:
    label: str
    pool: str
    mean: float
    p95: float
    note: str


def _nothing(axes: Axes, title: str, text: str) -> None:
    axes.set_title(title)
    axes.set_axis_off()
    axes.text(0.0, 0.5, text, transform=axes.transAxes, va="center")


# Cost before and after


def _costs(answer: Answer) -> list[tuple[str, float, int, str]]:
    """Name, USD per month, nodes and colour of each bar."""
    rows = (("Before", "before", GREY), ("Planned", "after", _BLUE), ("Planned, with head-room", "withHeadroom", _SKY))
    given = [(name, answer.get(key) or {}, colour) for name, key, colour in rows]
    return [(n, c["usdPerMonth"], c["nodes"], colour) for n, c, colour in given if c.get("usdPerMonth") is not None]


def cost_height(answer: Answer) -> float:
    return 1.15 + 0.42 * len(_costs(answer)) if _dearest(answer) else _EMPTY


def _dearest(answer: Answer) -> float:
    return max([cost for _, cost, _, _ in _costs(answer)] + [_least(answer) or 0.0])


def _least(answer: Answer) -> float | None:
    return (answer.get("lowerBound") or {}).get("usdPerMonth")


def draw_cost(axes: Axes, answer: Answer) -> None:
    rows = _costs(answer)
    bound, top = _least(answer), _dearest(answer)
    if top <= 0:
        return _nothing(axes, "Cost per month", "No cost: no GPU is planned.")
    axes.barh(range(len(rows)), [cost for _, cost, _, _ in rows], height=0.66, color=[row[3] for row in rows])
    axes.set_yticks(range(len(rows)), [name for name, _, _, _ in rows])
    axes.set_ylim(len(rows) - 0.5, -0.5)
    axes.set_xlim(0, top * 1.32)
    for place, (_, cost, nodes, _) in enumerate(rows):
        _beside(axes, (cost, place), f"{dollars(cost)}, {counted(nodes, 'node')}")
    _money(axes.xaxis)
    axes.set_xlabel("USD per month")
    axes.tick_params(axis="y", length=0)
    axes.set_title("Cost per month", pad=17)
    if bound is not None:
        _bound(axes, bound, f"no plan can cost less than {dollars(bound)}")


def _bound(axes: Axes, bound: float, text: str) -> None:
    axes.axvline(bound, color=_RED, linestyle=(0, (4, 2)), linewidth=1.3)
    side = "left" if bound < 0.6 * axes.get_xlim()[1] else "right"
    axes.annotate(
        text,
        (bound, 1.0),
        (-1 if side == "left" else 1, 2),
        xycoords=("data", "axes fraction"),
        textcoords="offset points",
        ha=side,
        color=_RED,
        fontsize=8.5,
    )


def _beside(axes: Axes, end: tuple[float, float], text: str) -> None:
    axes.annotate(text, end, (5, 0), textcoords="offset points", va="center")


def _money(axis: Any) -> None:
    from matplotlib.ticker import FuncFormatter, MaxNLocator

    axis.set_major_locator(MaxNLocator(5))
    axis.set_major_formatter(FuncFormatter(lambda value, _: compact(value)))


# Use of each GPU


def _gpus(answer: Answer) -> list[_Gpu]:
    found = []
    for node in answer.get("nodes") or []:
        several = len(node["gpus"]) > 1
        for index, gpu in enumerate(node["gpus"]):
            label = shorten(node["name"], 22) + (f" GPU {index}" if several else "")
            found.append(_Gpu(label, clean(node["pool"]), gpu["mean"], gpu["p95"], _taken(gpu)))
    return found


def _taken(gpu: Mapping[str, Any]) -> str:
    if gpu["slices"] == 1:
        return "whole" if gpu["used"] else "unused"
    return f"{gpu['used']} of {counted(gpu['slices'], 'slice')}"


def use_height(answer: Answer) -> float:
    count = len(_gpus(answer))
    return 3.2 if count > NAMED_GPUS else 1.3 + 0.27 * count if count else _EMPTY


def draw_use(axes: Axes, answer: Answer) -> None:
    gpus = _gpus(answer)
    efficiency = (answer.get("options") or {}).get("efficiency", 1.0)
    if not gpus:
        return _nothing(axes, "Use of each GPU", "No GPU is planned.")
    if len(gpus) <= NAMED_GPUS:
        return _named(axes, gpus, efficiency)
    (_bars if len(gpus) <= BARS else _curve)(axes, gpus)
    _upright(axes, gpus, efficiency)


def _limit(gpus: Sequence[_Gpu]) -> float:
    return max(1.0, *(max(gpu.p95, gpu.mean) for gpu in gpus))


def _named(axes: Axes, gpus: Sequence[_Gpu], efficiency: float) -> None:
    from matplotlib.ticker import MaxNLocator, PercentFormatter

    places, limit = range(len(gpus)), _limit(gpus)
    axes.barh(places, [gpu.p95 for gpu in gpus], height=0.7, color=_SKY, label="p95")
    axes.barh(places, [gpu.mean for gpu in gpus], height=0.3, color=_DARK, label="mean")
    axes.set_yticks(places, [gpu.label for gpu in gpus])
    axes.set_ylim(len(gpus) - 0.5, -0.5)
    axes.set_xlim(0, limit * 1.42)
    for place, gpu in enumerate(gpus):
        _beside(axes, (limit, place), f"{percent(gpu.p95, 0)} ({percent(gpu.mean, 0)}), {gpu.note}")
    axes.set_xticks([tick for tick in MaxNLocator(5).tick_values(0, limit) if tick <= limit])
    axes.xaxis.set_major_formatter(PercentFormatter(1.0, 0, " %"))
    axes.tick_params(axis="y", length=0)
    axes.set_xlabel("use of the GPU; figures: p95 (mean)")
    for value, text, side in _lines(efficiency):
        axes.axvline(value, color=_RED, linestyle="-" if side == "left" else (0, (4, 2)), linewidth=1.1)
        _mark(axes, (value, 1.0), (0 if side == "left" else 2, 2), ("data", "axes fraction"), text, side, "bottom")
    _use_title(axes)


def _lines(efficiency: float) -> list[tuple[float, str, str]]:
    """Where a line is drawn, what it is called, and on which side of it that stands."""
    whole = (1.0, "100 %", "left")
    usable = (efficiency, f"{percent(efficiency)} usable when shared", "right")
    return [whole, usable] if efficiency < 1 else [whole]


def _mark(axes: Axes, at: Any, offset: Any, coordinates: Any, text: str, ha: Any, va: Any) -> None:
    axes.annotate(
        text, at, offset, xycoords=coordinates, textcoords="offset points", ha=ha, va=va, color=_RED, fontsize=8.5
    )


def _use_title(axes: Axes) -> None:
    axes.set_title("Use of each GPU", pad=17)
    _legend(axes)


def _legend(axes: Axes, **options: Any) -> None:
    """Right of the title, in its line."""
    tight = {"columnspacing": 1.2, "handlelength": 1.5, "handletextpad": 0.5, "fontsize": 8.5}
    axes.legend(loc="lower right", bbox_to_anchor=(1.02, 1.0), ncols=3, borderaxespad=1.5, **tight, **options)


def _upright(axes: Axes, gpus: Sequence[_Gpu], efficiency: float) -> None:
    """What bars and curve have in common: the axis of use, and its lines with their names in the right margin."""
    from matplotlib.ticker import PercentFormatter

    axes.set_ylim(0, _limit(gpus) * 1.08)
    axes.set_xlim(0.5, len(gpus) + 0.5)
    axes.yaxis.set_major_formatter(PercentFormatter(1.0, 0, " %"))
    axes.set_ylabel("use of the GPU")
    for value, text, side in _lines(efficiency):
        axes.axhline(value, color=_RED, linestyle="-" if side == "left" else (0, (4, 2)), linewidth=1.1)
        short = text.replace(" usable when shared", "\nusable\nwhen\nshared")
        _mark(
            axes, (1.0, value), (4, 0), ("axes fraction", "data"), short, "left", "bottom" if side == "left" else "top"
        )
    _use_title(axes)


def _bars(axes: Axes, gpus: Sequence[_Gpu]) -> None:
    places = range(1, len(gpus) + 1)
    axes.bar(places, [gpu.p95 for gpu in gpus], width=0.8, color=_SKY, label="p95")
    axes.bar(places, [gpu.mean for gpu in gpus], width=0.36, color=_DARK, label="mean")
    spans = _spans([gpu.pool for gpu in gpus])
    names, turned = _span_names(spans, len(gpus))
    axes.set_xticks([(start + end + 1) / 2 for _, start, end in spans], names, fontsize=7, rotation=turned)
    axes.tick_params(axis="x", length=0)
    for _, start, _ in spans[1:] if not turned else ():
        axes.axvline(start + 0.5, color=GREY, linewidth=0.6, ymin=-0.1, clip_on=False)
    axes.set_xlabel(f"{counted(len(gpus), 'GPU')} in the order of their nodes, by pool")


def _spans(pools: Sequence[str]) -> list[tuple[str, int, int]]:
    """Runs of one pool: its name, its first GPU, the one after its last."""
    starts = [i for i, pool in enumerate(pools) if i == 0 or pool != pools[i - 1]]
    return [(pools[start], start, end) for start, end in zip(starts, [*starts[1:], len(pools)], strict=True)]


def _span_names(spans: Sequence[tuple[str, int, int]], count: int) -> tuple[list[str], int]:
    """The pools' names as they fit below their bars, in lines; turned by 90 degrees where some have too little room."""
    # So many characters of 7 points fit below a span.
    rooms = [int(84 / count * (end - start)) for _, start, end in spans]
    if min(rooms) < 9:
        return [shorten(pool, 20) for pool, _, _ in spans], 90
    wrapped = [
        textwrap.wrap(shorten(pool, room * 5 // 2), room) for (pool, _, _), room in zip(spans, rooms, strict=True)
    ]
    return ["\n".join(lines) for lines in wrapped], 0


def _curve(axes: Axes, gpus: Sequence[_Gpu]) -> None:
    count = len(gpus)
    # A page with a point for each of 40,000 GPUs would be megabytes of them.
    ranks = sorted({round(i * (count - 1) / (_POINTS - 1)) for i in range(_POINTS)})
    p95 = sorted((gpu.p95 for gpu in gpus), reverse=True)
    mean = sorted((gpu.mean for gpu in gpus), reverse=True)
    places = [rank + 1 for rank in ranks]
    axes.fill_between(places, [p95[rank] for rank in ranks], color=_SKY, linewidth=0, label="p95")
    axes.plot(places, [mean[rank] for rank in ranks], color=_DARK, linewidth=2, label="mean")
    axes.xaxis.set_major_formatter(lambda value, _: f"{value:,.0f}")
    axes.set_xlabel(f"{counted(count, 'GPU')}, most used first (p95 and mean sorted each by itself)")


# Cost against the number of replicas


def chosen_replicas(answer: Answer) -> set[int]:
    """The numbers of replicas of the plan's pools of mode time-slicing."""
    return {pool["replicas"] for pool in answer.get("pools") or [] if pool["mode"] == "time-slicing"}


def replicas_height(answer: Answer) -> float:
    return 3.1 if answer.get("replicas") else _EMPTY


def draw_replicas(axes: Axes, answer: Answer) -> None:
    title = "Cost by replicas"
    rows = answer.get("replicas") or []
    if not rows:
        return _nothing(axes, title, "No workload can share a GPU by time-slicing.")
    chosen, upright, step = chosen_replicas(answer), len(rows) > 8, 1 + (len(rows) - 1) // 24
    for place, row in enumerate(rows):
        cost, used = row["usdPerMonth"] or 0.0, row["replicas"] in chosen
        _replica_bar(axes, place, cost, row["fits"], used)
        if place % step == 0 or used:
            _replica_label(axes, (place, cost), _replica_text(row, used, upright), used, upright)
    axes.set_ylim(0, (max(row["usdPerMonth"] or 0.0 for row in rows) or 1.0) * (1.55 if upright else 1.32))
    axes.set_xlim(-0.6, max(len(rows), 4) - 0.4)
    _replica_axes(axes, rows, step)
    axes.set_title(title, pad=17)
    _replica_legend(axes)


def _replica_bar(axes: Axes, place: int, cost: float, fits: bool, chosen: bool) -> None:
    if fits:
        axes.bar(place, cost, width=0.72, color=_BLUE if chosen else _SKY)
    else:
        axes.bar(place, cost, width=0.72, color="white", edgecolor=GREY, hatch="////", linewidth=0.8)


def _replica_text(row: Mapping[str, Any], chosen: bool, upright: bool) -> str:
    cost = row["usdPerMonth"]
    if not row["fits"]:
        return "in plan,\nnot for all" if chosen and not upright else "×" if upright or cost is None else "not safe"
    price = "×" if cost is None else f"${cost:,.0f}" if cost >= 100 else dollars(cost)
    return f"in plan\n{price}" if chosen and not upright else price


def _replica_label(axes: Axes, end: tuple[float, float], text: str, used: bool, upright: bool) -> None:
    axes.annotate(
        text,
        end,
        (0, 3),
        textcoords="offset points",
        ha="center",
        fontsize=8,
        rotation=90 if upright and len(text) > 1 else 0,
        fontweight="bold" if used else "normal",
    )


def _replica_axes(axes: Axes, rows: Sequence[Mapping[str, Any]], step: int) -> None:
    places = range(0, len(rows), step)
    axes.set_xticks(places, [str(rows[place]["replicas"]) for place in places])
    axes.tick_params(axis="x", length=0)
    axes.set_xlabel("replicas per GPU, the same for each workload that may share by time-slicing")
    _money(axes.yaxis)
    axes.set_ylabel("USD per month")


def _replica_legend(axes: Axes) -> None:
    from matplotlib.patches import Patch

    keys = [
        Patch(facecolor=_BLUE, label="in the plan"),
        Patch(facecolor=_SKY, label="fits"),
        Patch(facecolor="white", edgecolor=GREY, hatch="////", label="does not fit, ×"),
    ]
    _legend(axes, handles=keys)
