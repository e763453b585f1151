"""One HTML page of a plan, for the people who decide on it: what it saves, its risks, its pictures, every number.

The page stands by itself: its style and pictures are inside it, it runs no script and loads nothing, and its own
Content-Security-Policy forbids both. Tables beyond a few hundred rows say how many they leave out.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from gpuslice.planner import pictures
from gpuslice.planner.amounts import counted, dollars, hourly, percent
from gpuslice.planner.markup import Html, inline_svg, listed, section, table, tag, text
from gpuslice.planner.page_tables import nodes, placements, pools, refused, replicas, unplaced
from gpuslice.planner.panels import Answer, chosen_replicas

_POLICY = "default-src 'none'; style-src 'unsafe-inline'"
_STYLE = """
:root { color-scheme: light dark; --ink: #1c1c1c; --paper: #fff; --soft: #f3f5f7; --line: #c9ced6; --warn: #fff4e0;
  --edge: #b34500; --good: #00527f; }
@media (prefers-color-scheme: dark) { :root { --ink: #e8e8e8; --paper: #16181b; --soft: #22262b; --line: #454b54;
  --warn: #3a2a12; --edge: #f0a05a; --good: #7cc4f0; } }
* { box-sizing: border-box; }
body { margin: 0 auto; max-width: 66rem; padding: 1rem; color: var(--ink); background: var(--paper);
  font: 1rem/1.5 system-ui, sans-serif; overflow-wrap: break-word; }
h1 { font-size: 1.2rem; font-weight: 600; margin: .5rem 0 0; }
h2 { font-size: 1.25rem; margin: 2.2rem 0 .6rem; border-bottom: 1px solid var(--line); }
.lead { font-size: clamp(1.5rem, 5vw, 2.3rem); font-weight: 700; line-height: 1.2; margin: .2rem 0 1rem;
  color: var(--good); }
.warnings { background: var(--warn); border-left: .4rem solid var(--edge); padding: .3rem 1rem; margin: 1rem 0; }
.warnings h2 { border: 0; margin: .4rem 0 0; font-size: 1.1rem; }
.warnings ul { margin: .3rem 0 .6rem; padding-left: 1.2rem; }
.figures { display: grid; grid-template-columns: repeat(auto-fit, minmax(12rem, 1fr)); gap: .8rem; margin: 1rem 0; }
.figures div { background: var(--soft); border-radius: .4rem; padding: .6rem .8rem; }
.figures dt { font-size: .9rem; }
.figures dd { margin: 0; }
.figures dd:first-of-type { font-size: 1.35rem; font-weight: 700; }
figure { margin: 1.2rem 0; }
figcaption { margin-top: .4rem; }
figcaption, .note { font-size: .95rem; }
figure .scroll { background: #fff; border: 1px solid var(--line); border-radius: .4rem; padding: .4rem; }
figure svg { display: block; width: 100%; height: auto; min-width: 34rem; max-width: 52rem; margin: auto; }
figure svg * { stroke-linejoin: round; stroke-linecap: butt; }
.scroll { overflow-x: auto; }
table { border-collapse: collapse; width: 100%; font-size: .92rem; }
caption { text-align: left; font-weight: 600; padding: .4rem 0; }
th, td { text-align: left; vertical-align: top; padding: .3rem .6rem; border-bottom: 1px solid var(--line);
  max-width: 28rem; }
thead th { background: var(--soft); vertical-align: bottom; }
tbody th { font-weight: 500; min-width: 8rem; }
.number { text-align: right; font-variant-numeric: tabular-nums; white-space: nowrap; }
thead .number { white-space: normal; }
td:not(.number) { min-width: 7rem; }
details { margin: .6rem 0; }
summary { cursor: pointer; font-weight: 600; padding: .4rem 0; }
.facts { display: grid; grid-template-columns: minmax(9rem, 15rem) 1fr; gap: .3rem 1rem; margin: 0; }
.facts dd { margin: 0; }
@media (max-width: 36rem) { .facts { grid-template-columns: 1fr; } .facts dd { margin-bottom: .5rem; } }
@media print { :root { --ink: #000; --paper: #fff; --soft: #f3f5f7; --line: #999; --warn: #fff; --good: #000; }
  body { max-width: none; padding: 0; font-size: 10pt; } figure, tr, .figures div, .warnings { break-inside: avoid; }
  .scroll { overflow: visible; } figure svg { min-width: 0; } thead { display: table-header-group; }
  details::details-content { content-visibility: visible; display: block; height: auto; } }
"""
_MEANING = {
    "efficiency": ("Efficiency of a shared GPU", "share of a GPU's work that is left when pods take turns on it"),
    "headroom": ("Head-room", "advise: the plan may lack it and says so; require: every pool has it"),
    "placement": ("Placement", "scheduler: any pods of a pool may meet on a GPU; packed: each pod is put by name"),
    "method": ("Method", "exact: the cheapest plan is searched for; greedy: a good one is built quickly"),
    "maxReplicas": ("Most replicas", "pods that may share one GPU by time-slicing"),
    "migTax": ("MIG tax", "share of a GPU's work that is lost when it is cut into MIG devices"),
    "gpu": ("Measured on", "GPU that the profiles of the services were measured on"),
    "maxProcesses": ("Most processes", "of a service on one MIG slice; None: as many as were measured"),
    "latencyShare": ("Latency share", "part of a service's objective that a measured batch may take"),
    "contextReserveMiB": ("Context reserve", "MiB of GPU memory kept free in each share for the pod's CUDA context"),
}
_WARNINGS = 40
_SHARES = ("efficiency", "migTax")


def page(answer: Answer, title: str) -> str:
    """The page of `answer` (as `gpuslice plan --json` gives it) under `title`: an HTML5 document, below 2 MB.

    Raises `InputError` where matplotlib is missing.
    """
    head = tag("head", Html(_head()), tag("title", title), tag("style", Html(_STYLE)))
    parts = [
        tag("header", tag("h1", title), tag("p", _lead(answer), class_="lead")),
        _warnings(answer),
        _key_figures(answer),
        tag("p", bound_sentence(answer)),
        section("Pictures", "pictures", *_figures(answer)),
        section("Pools", "pools", table(pools(answer)), table(replicas(answer))),
        section("Placements", "placements", table(placements(answer))),
        section("Nodes", "nodes", table(nodes(answer))),
        section("What could not be placed", "unplaced", table(unplaced(answer))),
        section("What was refused, and why", "refused", table(refused(answer))),
        section("Assumptions", "assumptions", _assumptions(answer)),
    ]
    body = tag("body", tag("main", Html("\n".join(parts))))
    return f'<!DOCTYPE html>\n<html lang="en">\n{head}\n{body}\n</html>\n'


def _head() -> str:
    return (
        '<meta charset="utf-8">\n'
        f'<meta http-equiv="Content-Security-Policy" content="{_POLICY}">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        '<meta name="generator" content="gpuslice">\n'
    )


def _lead(answer: Answer) -> str:
    left = pictures.left_out(answer)
    return pictures.headline(answer) + (f", but leaves {counted(left, 'pod')} without a place" if left else "")


def _warnings(answer: Answer) -> Html:
    # These two are said with their figures, from the answer itself.
    rest = [w for w in answer.get("warnings") or [] if not w.startswith(("no head-room", "fits nowhere"))]
    said = [*filter(None, [_headroom(answer), _left(answer)]), *_first(rest)]
    if not said:
        return Html("")
    return tag(
        "section", tag("h2", "Read this first", id="warnings-head"), listed(said), class_="warnings",
        aria_labelledby="warnings-head",
    )  # fmt: skip


def _first(warnings: list[str]) -> list[str]:
    left = len(warnings) - _WARNINGS
    return [*warnings[:_WARNINGS], f"And {left:,} more, in the JSON answer."] if left > 0 else warnings


def _left(answer: Answer) -> str:
    left = pictures.left_out(answer)
    return f"{counted(left, 'pod')} could not be placed; no cost here includes them." if left else ""


def _headroom(answer: Answer) -> Html:
    """What it costs to have the head-room that the plan lacks; nothing where it has it."""
    other = answer.get("withHeadroom") or {}
    if not (other.get("shortfall") or 0) > 0:
        return Html("")
    peak = (
        f" At peak (p95) the work on the tightest pool is {percent(other['shortfall'])} more than its GPUs do"
        f" when shared, at an efficiency of {percent(other['efficiency'])}: expect requests to wait then. "
    )
    return Html(tag("strong", "No head-room.") + text(peak) + text(_price_of_headroom(answer, other)))


def _price_of_headroom(answer: Answer, other: Mapping[str, Any]) -> str:
    cost, planned, before = other.get("usdPerMonth"), answer["after"]["usdPerMonth"], answer["before"]["usdPerMonth"]
    if cost is None:
        return "No plan with head-room was found."
    more = f"With head-room the plan costs {dollars(cost)} a month on {counted(other['nodes'], 'node')}"
    saves = f"saves {dollars(before - cost)}" if before >= cost else f"costs {dollars(cost - before)} more than before"
    return f"{more}, {dollars(cost - planned)} more, and {saves} a month."


def _key_figures(answer: Answer) -> Html:
    rows = (("Before", "before"), ("Planned", "after"), ("Planned, with head-room", "withHeadroom"))
    cards = [_card(name, answer[key]) for name, key in rows if answer.get(key)]
    return tag("dl", *cards, class_="figures")


def _card(name: str, cost: Mapping[str, Any]) -> Html:
    types = ", ".join(f"{count:,} × {kind}" for kind, count in (cost.get("instanceTypes") or {}).items())
    size = f"{counted(cost['nodes'], 'node')}{': ' if types else ''}{types}"
    price = f"{dollars(cost.get('usdPerMonth'))} a month"
    return tag(
        "div",
        tag("dt", name),
        tag("dd", price),
        tag("dd", f"{hourly(cost.get('usdPerHour'))} an hour"),
        tag("dd", size),
    )


def bound_sentence(answer: Answer) -> str:
    """The lower bound and the gap to it, for a reader who knows neither word."""
    bound = (answer.get("lowerBound") or {}).get("usdPerMonth")
    if bound is None or not answer["after"]["nodes"]:
        return "There is no lower bound to compare the plan with."
    least = f"No plan under these assumptions can cost less than {dollars(bound)} a month (the lower bound)"
    gap = answer["gap"]
    if gap <= 0:
        return f"{least}, and this plan costs just that: it cannot be made cheaper."
    return f"{least}, so at most {percent(gap, 2)} of this plan's cost (the gap) could still be saved by a better one."


def _figures(answer: Answer) -> list[Html]:
    plots = (
        ("cost", "Cost per month", pictures.cost_figure, _cost_caption(answer)),
        ("use", "Use of each GPU", pictures.use_figure, _use_caption(answer)),
        ("replicas", "Cost by replicas", pictures.replicas_figure, _replicas_caption(answer)),
    )
    return [_figure(f"picture-{n}", name, pictures.svg(draw(answer)), said) for n, name, draw, said in plots]


def _figure(name: str, title: str, document: str, caption: str) -> Html:
    picture = inline_svg(document, name, title, caption)
    box = tag("div", picture, class_="scroll", tabindex="0", role="region", aria_label=title)
    return tag("figure", box, tag("figcaption", caption))


def _cost_caption(answer: Answer) -> str:
    before, after = (dollars(answer[key]["usdPerMonth"]) for key in ("before", "after"))
    other = (answer.get("withHeadroom") or {}).get("usdPerMonth")
    also = f", and {dollars(other)} with head-room" if other is not None else ""
    return f"The work costs {before} a month before, {after} as planned{also}."


def _use_caption(answer: Answer) -> str:
    gpus = [gpu for node in answer.get("nodes") or [] for gpu in node["gpus"]]
    if not gpus:
        return "The plan has no GPU."
    mean = sum(gpu["mean"] for gpu in gpus) / len(gpus)
    top = max(gpu["p95"] for gpu in gpus)
    return (
        f"On average {percent(mean)} of {counted(len(gpus), 'GPU')} is used; the busiest reaches {percent(top)} at p95."
    )


def _replicas_caption(answer: Answer) -> str:
    fitting = [row for row in answer.get("replicas") or [] if row["fits"] and row["usdPerMonth"] is not None]
    if not fitting:
        return "No number of replicas fits a workload of this plan."
    best = min(fitting, key=lambda row: (row["usdPerMonth"], row["replicas"]))
    chosen = ", ".join(map(str, sorted(chosen_replicas(answer)))) or "none"
    return (
        f"With the same number of replicas for every workload, {best['replicas']} is the cheapest that fits, at"
        f" {dollars(best['usdPerMonth'])} a month; in the plan: {chosen}."
    )


def _assumptions(answer: Answer) -> Html:
    prices = answer.get("prices") or {}
    factor = prices.get("factor", 1)
    basis = f"{prices.get('basis')}" + (f", {percent(factor)} of the list price" if factor != 1 else "")
    rows = [
        ("Prices", f"{basis}, in US dollars, without tax, storage and traffic"),
        ("Factor on list prices", factor),
        ("Region", prices.get("region")),
        ("Date of the prices", prices.get("date")),
        ("Source of the prices", prices.get("source")),
        ("Hours a month", prices.get("hoursPerMonth")),
        ("Left out, having no price", ", ".join(prices.get("unpriced") or []) or "none"),
        *[_option(key, value) for key, value in (answer.get("options") or {}).items()],
    ]
    return tag("dl", *[Html(tag("dt", name) + tag("dd", value)) for name, value in rows], class_="facts")


def _option(key: str, value: Any) -> tuple[str, str]:
    name, meaning = _MEANING.get(key, (key, ""))
    said = percent(value, 2) if key in _SHARES and isinstance(value, int | float) else value
    return name, f"{said} ({meaning})" if meaning else f"{said}"
