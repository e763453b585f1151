"""`gpuslice plan`: from the command line to a plan, and what is written of it. Heavy imports wait for their use."""

from __future__ import annotations

import argparse
import csv
import json
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from gpuslice.planner.options import Request
    from gpuslice.planner.plan import Plan
    from gpuslice.planner.service_plan import ServiceRequest
    from gpuslice.planner.usage import Usage

FINE, REFUSED = 0, 1
_SILENT_S = 4.0
_NO_INPUT = "nothing to plan: give a file of workloads, or --prometheus URL. See docs/planner.md"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The arguments of `gpuslice plan`."""
    parser.add_argument(
        "workloads",
        type=Path,
        nargs="?",
        metavar="WORKLOADS",
        help="YAML or CSV of workloads, YAML of services, a CSV export of DCGM metrics, or a folder of ParvaGPU's",
    )
    parser.add_argument("--scenario", metavar="N", help="which row of a folder's SLO tables (default: 1)")
    source = parser.add_argument_group("instead of a file")
    source.add_argument("--prometheus", metavar="URL", help="plan from the DCGM metrics of a Prometheus server")
    source.add_argument("--window", metavar="TIME", help="how far back to look in it (default: 7d)")
    source.add_argument("--presets", action="store_true", help="list the typical workloads, with their reasons")
    output = parser.add_argument_group("what to write")
    output.add_argument("--json", action="store_true", help="the answer as JSON on standard output")
    output.add_argument("--stack", metavar="FILE", help="a stack file with the pools; - is standard output")
    output.add_argument("--html", type=Path, metavar="FILE", help="a page with plots, to show to others")
    output.add_argument("--plot", type=Path, metavar="FILE", help="the plots alone, as .svg or .png")
    _add_options(parser)


def _add_options(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group("how to plan (they come before what the file says)")
    group.add_argument("--candidates", metavar="TYPE,TYPE", help="instance types to choose from")
    group.add_argument("--region", help="whose prices count (default: us-east-1)")
    group.add_argument("--price-table", type=Path, metavar="CSV", help="your own prices: instance_type,usd_per_hour")
    group.add_argument("--price-basis", choices=("on-demand", "spot", "reserved"), help="default: on-demand")
    group.add_argument("--price-factor", metavar="PART", help="of the on-demand price, for spot and reserved")
    group.add_argument("--hours-per-month", metavar="HOURS", help="default: 720")
    group.add_argument("--efficiency", metavar="PART", help="of a GPU that busy tenants get together (default: 0.90)")
    group.add_argument("--headroom", choices=("advise", "require"), help="efficiency as a warning or as a limit")
    group.add_argument("--max-replicas", metavar="N", help="default: 16")
    group.add_argument("--mig-tax", metavar="PART", help="of a GPU that MIG takes (default: 0.0925)")
    group.add_argument("--method", choices=("auto", "greedy", "exact"), default="auto", help="default: auto")
    group.add_argument(
        "--seconds", type=_seconds, default=10.0, help="for each of up to three exact plans (default: 10)"
    )


def _seconds(text: str) -> float:
    value = float(text)
    if not 0 < value <= 86400:
        raise argparse.ArgumentTypeError("allowed: seconds above 0, at most 86400")
    return value


def run(options: argparse.Namespace) -> int:
    """Runs the command and returns its exit code: 1 also where a workload fits nowhere. Raises InputError."""
    if options.presets:
        print("\n".join(_presets()))
        return FINE
    _check(options)
    by_node = options.json or options.html is not None or options.plot is not None
    with _patience():
        answer, stack_text = _planned(_request(options), by_node)
    if options.stack:
        _write(options.stack, stack_text())
    _pictures(options, answer)
    if options.json:
        _print_json(answer)
    elif options.stack != "-":
        from gpuslice.planner.text import lines

        print("\n".join(lines(answer)))
    return REFUSED if answer["unplaced"] else FINE


@contextmanager
def _patience() -> Iterator[None]:
    """Says that the work goes on, once it takes longer than a person likes to look at nothing."""
    import threading

    text = "gpuslice: still planning; three exact plans take up to --seconds each; --method greedy is quick"
    timer = threading.Timer(_SILENT_S, print, (text,), {"file": sys.stderr, "flush": True})
    timer.daemon = True
    timer.start()
    try:
        yield
    finally:
        timer.cancel()


def _planned(request: Request | ServiceRequest, by_node: bool) -> tuple[dict[str, Any], Callable[[], str]]:
    """The answer, and what makes its stack file."""
    from gpuslice.planner.options import Request

    if isinstance(request, Request):
        from gpuslice.planner.answer import as_json
        from gpuslice.planner.plan import plan

        made = plan(request)
        return as_json(made, by_node), partial(_stack_text, made)
    from gpuslice.planner import service_answer, service_plan

    of_services = service_plan.plan(request)
    return service_answer.as_json(of_services), partial(service_answer.stack_text, of_services)


def _stack_text(made: Plan) -> str:
    from gpuslice.planner.stack import stack_text

    return stack_text(made)


def _print_json(answer: dict[str, Any]) -> None:
    """One line for each entry of a list: read by people, and written by the fast encoder."""
    for index, (key, value) in enumerate(answer.items()):
        print("{" if index == 0 else ",", f'\n  "{key}": ', sep="", end="")
        if isinstance(value, list) and value:
            print("[", end="")
            for number, row in enumerate(value):
                print("," if number else "", f"\n    {_compact(row)}", sep="", end="")
            print("\n  ]", end="")
        else:
            print(_compact(value), end="")
    print("\n}")


def _compact(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False, allow_nan=False)


def _check(options: argparse.Namespace) -> None:
    from gpuslice.planner.errors import InputError

    if (options.workloads is None) == (options.prometheus is None):
        both = options.workloads is not None
        raise InputError(["a file and --prometheus are two sources: give one" if both else _NO_INPUT])
    if options.window and options.prometheus is None:
        raise InputError(["--window is for --prometheus"])
    if str(options.html) == "-":
        raise InputError(["--html -: allowed: the name of a file"])
    if options.scenario is not None and not (options.workloads is not None and options.workloads.is_dir()):
        raise InputError(["--scenario is for a folder in ParvaGPU's layout. Allowed: a folder beside it"])
    if options.json and options.stack == "-":
        raise InputError(["--json and --stack - both write to standard output. Allowed: --stack FILE beside --json"])
    if options.plot is not None and options.plot.suffix.lower() not in {".svg", ".png"}:
        raise InputError([f"--plot {options.plot}: allowed: a name that ends in .svg or .png"])


def _request(options: argparse.Namespace) -> Request | ServiceRequest:
    from gpuslice.planner.options import Request

    request = _source(options)
    changes = dict(_changes(options))
    if not isinstance(request, Request):
        _refuse(options, "efficiency", "headroom", "max_replicas")
    if "candidates" in changes:
        request = replace(request, candidates=changes.pop("candidates"))
    if changes.get("basis") == "on-demand":
        changes.setdefault("price_factor", 1.0)
    made = replace(request.options, **changes)
    if made.basis == "on-demand" and made.price_factor != 1:
        raise _wrong(
            "a price factor is for spot or reserved capacity. Allowed: --price-basis spot or reserved beside it"
        )
    if made.basis != "on-demand" and made.price_factor == 1:
        raise _wrong(
            f"{made.basis} prices are not known here: say what part of the on-demand price you pay."
            " Allowed: --price-factor, such as 0.4"
        )
    return replace(request, options=made)


def _refuse(options: argparse.Namespace, *names: str) -> None:
    given = [f"--{name.replace('_', '-')}" for name in names if getattr(options, name) is not None]
    if given:
        raise _wrong(f"{', '.join(given)}: services with measured profiles are not time-sliced. Allowed: without it")


def _wrong(text: str) -> Exception:
    from gpuslice.planner.errors import InputError

    return InputError([text])


def _source(options: argparse.Namespace) -> Request | ServiceRequest:
    from gpuslice.planner.read import read_request

    if options.prometheus is not None:
        from gpuslice.planner.prometheus import from_prometheus

        return _of_usage(from_prometheus(options.prometheus, options.window or "7d"))
    if options.workloads.is_dir():
        from gpuslice.planner.read_services import read_folder

        return read_folder(options.workloads, options.scenario)
    if options.workloads.suffix.lower() == ".csv" and _is_dcgm(options.workloads):
        from gpuslice.planner.dcgm import read_dcgm_csv

        return _of_usage(read_dcgm_csv(options.workloads))
    return read_request(options.workloads)


def _is_dcgm(path: Path) -> bool:
    """Whether a CSV file is an export of metrics, by its header. What is no file is left to the reader to refuse."""
    if not path.is_file():
        return False
    try:
        with path.open(encoding="utf-8-sig", newline="") as lines:
            header = {cell.strip().lower() for cell in next(csv.reader(lines), [])}
    except (UnicodeDecodeError, csv.Error):
        return False
    return any(cell.startswith("dcgm_fi_") for cell in header) or {"__name__", "metric"} & header != set()


def _of_usage(usage: Usage) -> Request:
    from gpuslice.planner.options import Request
    from gpuslice.planner.usage import as_json

    if not usage.workloads:
        raise _wrong("no pod uses a GPU in these metrics: there is nothing to plan")
    return Request(tuple(usage.workloads), notes=tuple(usage.warnings), usage=as_json(usage))


def _changes(options: argparse.Namespace) -> Iterator[tuple[str, Any]]:
    """Options of the command line, read as the same keys of a file are."""
    from gpuslice.planner.read import read_option

    for name, key in _BY_KEY.items():
        text = getattr(options, name)
        if text is not None:
            yield read_option(key, text, f"--{name.replace('_', '-')}")
    if options.price_table is not None:
        yield "price_table", options.price_table
    yield "method", options.method
    yield "seconds", options.seconds


_BY_KEY = {
    "candidates": "candidates",
    "region": "region",
    "price_basis": "prices.basis",
    "price_factor": "prices.factor",
    "hours_per_month": "hoursPerMonth",
    "efficiency": "efficiency",
    "headroom": "headroom",
    "max_replicas": "maxReplicas",
    "mig_tax": "migTax",
}


def _write(target: str, text: str) -> None:
    if target == "-":
        print(text, end="")
    else:
        Path(target).write_text(text, encoding="utf-8")
        print(f"gpuslice: wrote {target}", file=sys.stderr)


def _pictures(options: argparse.Namespace, answer: dict[str, Any]) -> None:
    if options.html is not None:
        from gpuslice.planner.page import page

        source = options.workloads.stem if options.workloads is not None else "Prometheus"
        _write(str(options.html), page(answer, f"GPU plan: {source}"))
    if options.plot is not None:
        from gpuslice.planner.pictures import write_picture

        write_picture(answer, options.plot)
        print(f"gpuslice: wrote {options.plot}", file=sys.stderr)


def _presets() -> Iterator[str]:
    from gpuslice.planner.presets import PRESETS

    for name, preset in PRESETS.items():
        use = f"mean {preset.mean:.2f}, p95 {preset.p95:.2f} of a {preset.gpu}"
        yield f"{name}: {preset.memory} of GPU memory, {use}, latency {preset.latency}"
        for reason in preset.reasons:
            yield f"  - {reason}"
