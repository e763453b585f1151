"""A plan for a person at a terminal, in 80 columns where names allow it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from textwrap import wrap
from typing import Any

from gpuslice.planner.amounts import listed

_WIDTH = 100
_MOST_ROWS = 40
_MOST_KINDS = 4


def lines(answer: Mapping[str, Any]) -> list[str]:
    """The answer (`gpuslice.planner.answer.as_json`) in lines: what is saved first, what to mind next."""
    found = [*_bill(answer), ""]
    for warning in answer["warnings"]:
        found += wrap(f"Warning: {warning}.", _WIDTH, subsequent_indent="  ")
    if answer["warnings"]:
        found.append("")
    found += [*_pools(answer["pools"]), "", *_placements(answer["placements"])]
    found += _unplaced(answer["unplaced"])
    found += ["", "Not taken"]
    for entry in answer["refused"][:_MOST_ROWS]:
        names = _names(entry["workloads"], entry.get("count", 0))
        text = f"{names}: no {entry['alternative']}: {entry['reason']}."
        found += wrap(text, _WIDTH, initial_indent="  ", subsequent_indent="    ")
    found += _more(len(answer["refused"]), "  ")
    return [*found, *_usage(answer.get("usage")), "", *_basis(answer)]


def _usage(usage: Mapping[str, Any] | None) -> list[str]:
    if not usage:
        return []
    found = ["", f"Measured from {usage['first']} to {usage['last']}, {usage['samples']:,} samples"]
    if usage["underUsed"]:
        text = f"below half of a GPU at p95: {_names(usage['underUsed'])}."
        found += wrap(text, _WIDTH, initial_indent="  ", subsequent_indent="    ")
    idle = [
        f"{i['gpu'] or 'a GPU'} ({i['model'] or 'unknown'}, {i['idle']:.0%} of the time)" for i in usage["idleGpus"]
    ]
    if idle:
        text = f"GPUs without a pod: {_names(idle)}."
        found += wrap(text, _WIDTH, initial_indent="  ", subsequent_indent="    ")
    return found


def _bill(answer: Mapping[str, Any]) -> list[str]:
    rows = [("before, whole GPUs", answer["before"]), ("after, with this plan", answer["after"])]
    if answer["withHeadroom"]["usdPerHour"] != answer["after"]["usdPerHour"]:
        rows.append((f"at {answer['withHeadroom']['efficiency']:.2f} efficiency", answer["withHeadroom"]))
    rows.append(("no plan costs less than", answer["lowerBound"]))
    table = [[name, _hour(row), _month(row), *_nodes(row)] for name, row in rows]
    saved = answer["savings"]
    table.append(["saved", _hour(saved), _month(saved), f"{saved['fraction']:.0%}", ""])
    return _table(["", "$/hour", "$/month", "nodes", "of type"], table, left=(0, 4))


def _hour(row: Mapping[str, Any]) -> str:
    return f"{row['usdPerHour']:,.3f}"


def _month(row: Mapping[str, Any]) -> str:
    return f"{row['usdPerMonth']:,.2f}"


def _nodes(row: Mapping[str, Any]) -> list[str]:
    if "nodes" not in row:
        return ["", ""]
    kinds = sorted(row["instanceTypes"].items(), key=lambda pair: (-pair[1], pair[0]))
    return [f"{row['nodes']:,}", listed([f"{n:,} x {t}" for t, n in kinds], _MOST_KINDS, what="more types")]


def _pools(pools: Sequence[Mapping[str, Any]]) -> list[str]:
    table = []
    for pool in pools:
        for resource, row in pool["resources"].items():
            slots = row["perNode"] * pool["nodes"]
            table.append(
                [
                    pool["name"],
                    f"{pool['nodes']} x {pool['instanceType']}",
                    resource,
                    f"{row['used']}/{slots}",
                    f"{row['memoryMiB']:,}",
                    f"{pool['headroom']:.0%}",
                    _month(pool),
                ]
            )
    head = ["pool", "nodes", "a pod asks for", "used", "MiB", "room", "$/month"]
    return _table(head, _only_changes(table), left=(0, 1, 2))


def _only_changes(table: list[list[str]]) -> list[list[str]]:
    """A pool's name and cost once, where it has several resources."""
    seen: set[str] = set()
    shown = []
    for row in table:
        shown.append(["", "", *row[2:5], "", ""] if row[0] in seen else row)
        seen.add(row[0])
    return shown


def _placements(placements: Sequence[Mapping[str, Any]]) -> list[str]:
    more_heads = [key for key in ("batch", "processes") if any(key in entry for entry in placements)]
    counts: dict[tuple[str, ...], int] = {}
    for entry in placements:
        key = (entry["workload"], entry["pool"], entry["resource"], *(str(entry[head]) for head in more_heads))
        counts[key] = counts.get(key, 0) + entry["count"]
    rows = [[workload, f"{count}", *rest] for (workload, *rest), count in sorted(counts.items())]
    shown = _table(["workload", "pods", "pool", "resource", *more_heads], rows[:_MOST_ROWS], left=(0, 2, 3))
    return [*shown, *_more(len(rows))]


def _unplaced(unplaced: Sequence[Mapping[str, Any]]) -> list[str]:
    if not unplaced:
        return []
    found = ["", "Fits nowhere"]
    for entry in unplaced[:_MOST_ROWS]:
        text = f"{entry['workload']} ({entry['count']} {'pod' if entry['count'] == 1 else 'pods'}): {entry['reason']}."
        found += wrap(text, _WIDTH, initial_indent="  ", subsequent_indent="    ")
    return [*found, *_more(len(unplaced), "  ")]


def _more(rows: int, indent: str = "") -> list[str]:
    return [f"{indent}... and {rows - _MOST_ROWS} more; all of them with --json"] if rows > _MOST_ROWS else []


def _names(names: Sequence[str], count: int = 0) -> str:
    return listed(names, 3, count)


def _basis(answer: Mapping[str, Any]) -> list[str]:
    prices, options = answer["prices"], answer["options"]
    factor = "" if prices["basis"] == "on-demand" else f" at {prices['factor']:g} of on demand"
    dated = f" of {prices['date']}" if prices["date"] else ""
    proof = "proven the cheapest plan under these rules"
    if answer["gap"]:
        proof = f"proven that the cheapest under these rules is at most {answer['gap']:.1%} cheaper"
    if not answer["pools"]:
        proof = "nothing is planned"
    text = (
        f"Prices: {prices['basis']}{factor}, {prices['region']}{dated}, from {prices['source']};"
        f" a month has {prices['hoursPerMonth']} hours. Method: {options['method']}, {proof}."
    )
    return wrap(text, _WIDTH, break_on_hyphens=False)


def _table(head: Sequence[str], rows: Sequence[Sequence[str]], left: Sequence[int]) -> list[str]:
    """Columns as wide as their longest cell; those in `left` from the left, numbers from the right."""
    widths = [max(len(row[i]) for row in (head, *rows)) for i in range(len(head))]

    def line(row: Sequence[str]) -> str:
        cells = (c.ljust(w) if i in left else c.rjust(w) for i, (c, w) in enumerate(zip(row, widths, strict=True)))
        return "  ".join(cells).rstrip()

    return [line(head), line(["-" * width for width in widths]), *(line(row) for row in rows)]
