"""Runs the planner on plain requests (see plan_rules): through the program's own objects, or through the command."""

from __future__ import annotations

import json
from decimal import Decimal

import yaml
from plan_rules import DEFAULTS, completed

from gpuslice.cli import main
from gpuslice.planner.answer import as_json
from gpuslice.planner.model import Workload
from gpuslice.planner.options import Options, Request
from gpuslice.planner.plan import plan

OPTION_KEYS = {
    "hours_per_month": "hoursPerMonth",
    "region": "region",
    "headroom": "headroom",
    "max_replicas": "maxReplicas",
    "efficiency": "efficiency",
    "mig_tax": "migTax",
}


def workload(name="a", count=1, memory=3072, mean=0.10, p95=0.25, **more):
    """A workload of a plain request; `mean` and `p95` as parts of a GPU, `memory` in MiB."""
    use = {"mean": round(mean * 1e6), "p95": round(p95 * 1e6)}
    return {"name": name, "count": count, "memory_mib": memory, **use, **more}


def request(*workloads, candidates=None, **options):
    return {"workloads": list(workloads), "candidates": candidates, "options": options}


def answer_of(plain, method="auto", seconds=10.0):
    """The answer, through JSON and back."""
    filled = completed(plain)
    options = {k: v for k, v in filled["options"].items() if k != "prices"}
    made = Request(
        tuple(Workload(**w) for w in filled["workloads"]),
        None if filled["candidates"] is None else tuple(filled["candidates"]),
        Options(**options, method=method, seconds=seconds),
    )
    return json.loads(json.dumps(as_json(plan(made)), allow_nan=False))


def yaml_of(plain):
    """The plain request as an input file."""
    document = {"workloads": [_entry(w) for w in completed(plain)["workloads"]]}
    if plain.get("candidates") is not None:
        document["candidates"] = list(plain["candidates"])
    options = {**DEFAULTS, **plain["options"]}
    for name, key in OPTION_KEYS.items():
        scale = 1e6 if name in {"efficiency", "mig_tax"} else None
        document[key] = options[name] / scale if scale else options[name]
    if options["basis"] != "on-demand":
        document["prices"] = {"basis": options["basis"], "factor": options["price_factor"]}
    return yaml.safe_dump(document, allow_unicode=True)


def _entry(w):
    made = {"name": w["name"], "count": w["count"], "memory": f"{w['memory_mib']}Mi"}
    made["utilization"] = {"mean": float(Decimal(w["mean"]) / 10**6), "p95": float(Decimal(w["p95"]) / 10**6)}
    made |= {"gpu": w["gpu"]} if w["gpu"] else {}
    made |= {"cpu": f"{w['cpu_milli']}m", "ram": f"{w['ram_mib']}Mi", "isolation": w["isolation"]}
    return made | {"latency": w["latency"], "group": w["group"]}


def command(capsys, *arguments):
    """Exit code, standard output and standard error of `gpuslice plan`."""
    capsys.readouterr()
    try:
        code = main(["plan", *map(str, arguments)])
    except SystemExit as ended:
        code = ended.code
    return code, *capsys.readouterr()


def from_file(tmp_path, capsys, text, *arguments, name="w.yaml", code=0):
    path = tmp_path / name
    path.write_text(text)
    given, out, error = command(capsys, path, "--json", *arguments)
    assert given == code, error
    return json.loads(out)
