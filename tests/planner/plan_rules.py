"""What a plan may do, written anew beside the planner: nothing of gpuslice is imported here.

A request is plain data: {"workloads": [{name, count, memory_mib, mean, p95, gpu, cpu_milli, ram_mib, isolation,
latency, group}], "candidates": names or None, "options": {...}}, uses in millionths of a GPU. The catalogue is read as
the CSV files that it is.
"""

from __future__ import annotations

import csv
import math
from fractions import Fraction
from functools import cache
from itertools import product
from pathlib import Path

CATALOG = Path(__file__).parents[2] / "gpuslice" / "catalog"
MILLION = 1_000_000
CONTEXT, FLOOR = 512, 1024
DEFAULTS = {
    "hours_per_month": 720,
    "region": "us-east-1",
    "basis": "on-demand",
    "price_factor": 1.0,
    "prices": None,
    "efficiency": 900_000,
    "headroom": "advise",
    "max_replicas": 16,
    "mig_tax": 92_500,
}
WORKLOAD = {"count": 1, "gpu": None, "cpu_milli": 0, "ram_mib": 0, "isolation": "none", "latency": "tolerant"}


@cache
def table(name):
    with (CATALOG / f"{name}.csv").open(encoding="utf-8", newline="") as lines:
        return tuple(csv.DictReader(lines))


@cache
def types():
    return {row["name"]: row for row in table("instance_types")}


@cache
def models():
    return {row["key"]: row for row in table("gpu_models")}


@cache
def speeds():
    names = ("memory_gb_s", "fp16_tflops", "fp32_tflops")
    return {row["key"]: [Fraction(row[name]) for name in names] for row in table("gpu_speeds")}


@cache
def profiles(gpu):
    """The plain MIG profiles of a catalogue GPU that has MIG on EC2: name to row."""
    model = models()[gpu]
    if model["mig_status"] != "supported":
        return {}
    rows = [row for row in table("mig_profiles") if row["gpu"] == model["mig_gpu"]]
    return {row["profile"]: row for row in rows if "+" not in row["profile"] and "-" not in row["profile"]}


@cache
def slices(gpu, what):
    return max(int(row[what]) for row in profiles(gpu).values())


@cache
def placeable(gpu, layout):
    """Whether a layout, as sorted (profile, count) pairs, can be laid out: every choice of starts is tried."""
    rows = [profiles(gpu).get(name) for name, count in layout for _ in range(count)]
    if None in rows or any(count > int(profiles(gpu)[name]["max_instances"]) for name, count in layout):
        return False

    def lay(index, taken):
        if index == len(rows):
            return True
        size = int(rows[index]["memory_slices"])
        for start in map(int, rows[index]["placements"].split(";")):
            cells = set(range(start, start + size))
            if not cells & taken and lay(index + 1, taken | cells):
                return True
        return False

    rows.sort(key=lambda row: -int(row["memory_slices"]))
    return lay(0, frozenset())


@cache
def use_on(use, measured, gpu):
    """Use of one GPU model as use of another, in millionths, rounded up; None where that is not known."""
    if measured is None or measured == gpu:
        return use
    if measured not in speeds() or gpu not in speeds():
        return None
    gain = min(new / old for new, old in zip(speeds()[gpu], speeds()[measured], strict=True))
    return math.ceil(use / gain)


@cache
def rooms(name):
    """Millicores, MiB of memory and pods of a node that are left to pods of users."""
    row = types()[name]
    milli, pods = 1000 * int(row["vcpus"]), int(row["max_pods"])
    steps = ((1000, Fraction(6, 100)), (1000, Fraction(1, 100)), (2000, Fraction(5, 1000)))
    kept, rest = 0, milli
    for width, part in steps:
        kept += math.floor(min(width, rest) * part)
        rest = max(0, rest - width)
    kept += math.floor(rest * Fraction(25, 10000))
    memory = int(row["memory_mib"]) - (64 if row["architecture"] == "arm64" else 0)
    memory -= math.ceil(memory * Fraction(75, 1000))
    return milli - kept - 200, memory - (11 * pods + 255) - 100 - 256, pods - 10


def devices(name):
    return max(1, int(types()[name]["gpu_count"]))


def compute(name):
    """What a node's GPU is of a whole one, in millionths."""
    row = types()[name]
    if int(row["gpu_count"]):
        return MILLION
    return MILLION * int(row["gpu_memory_mib"]) // int(models()[row["gpu"]]["memory_mib"])


def slice_memory(name, mode, replicas=1, profile=None):
    memory, gpu = int(types()[name]["gpu_memory_mib"]), types()[name]["gpu"]
    if mode == "mig":
        row = profiles(gpu)[profile]
        part = memory * int(row["memory_slices"]) // slices(gpu, "memory_slices")
        return min(1024 * int(row["memory_gb"]), part) - CONTEXT
    return memory // replicas - CONTEXT


def slice_use(name, profile, options):
    gpu = types()[name]["gpu"]
    of = slices(gpu, "compute_slices")
    return (MILLION - options["mig_tax"]) * int(profiles(gpu)[profile]["compute_slices"]) // of


def objection(workload, name, mode, options, replicas=1, profile=None, group=""):
    """Why a pod must not be on a slot of a node of a type; empty where it may."""
    gpu = types()[name]["gpu"]
    use = use_on(workload["p95"], workload["gpu"], gpu)
    if use is None:
        return f"its use on {gpu} is not known"
    if any(need > room for need, room in zip(needs(workload), rooms(name), strict=True)):
        return "does not fit a node even alone"
    if workload["memory_mib"] > slice_memory(name, mode, replicas, profile):
        return "has too little GPU memory"
    if mode == "exclusive":
        return "is too busy for a whole GPU" if use > compute(name) else ""
    if compute(name) < MILLION:
        return "shares a fraction of a GPU"
    if mode == "mig":
        return "is too busy for its MIG slice" if use > slice_use(name, profile, options) else ""
    if workload["latency"] == "critical" or workload["isolation"] == "hardware":
        return "must not be time-sliced"
    if slice_memory(name, mode, replicas) < FLOOR:
        return "has a slice below the floor"
    if workload["group"] != group:
        return "is of another group than its pool"
    whole = options["efficiency"] if options["headroom"] == "require" else MILLION
    return "is too busy for its part of the GPU" if use * replicas > whole else ""


def needs(workload):
    return workload["cpu_milli"], workload["ram_mib"], 1


def completed(request):
    """The request with every default filled in."""
    workloads = [{**WORKLOAD, "group": "", **workload} for workload in request["workloads"]]
    options = {**DEFAULTS, **request.get("options", {})}
    return {"workloads": workloads, "candidates": request.get("candidates"), "options": options}


def candidates(request):
    if request["candidates"] is not None:
        return list(dict.fromkeys(request["candidates"]))
    return [name for name, row in types().items() if row["architecture"] == "amd64" and int(row["gpu_count"])]


def price_list(options):
    """Instance type to millionths of a dollar per hour."""
    own = options["prices"]
    listed = own or {r["instance_type"]: r["usd_per_hour"] for r in table("prices") if r["region"] == options["region"]}
    factor = Fraction(str(options["price_factor"]))
    return {name: math.ceil(Fraction(str(price)) * factor * MILLION) for name, price in listed.items()}


def cheapest(request, most):
    """The least cost of any plan, in millionths per hour, by trying all: for a few pods, candidates of one GPU each.

    Pods are put one after the other onto every node that is there already, and onto every new one. None where every
    plan costs more than `most`.
    """
    request = completed(request)
    prices, options = price_list(request["options"]), request["options"]
    kinds = [node for name in candidates(request) if name in prices for node in ways(name, request)]
    pods = [workload for workload in request["workloads"] for _ in range(workload["count"])]
    best = [most + 1]
    seen = {}

    def put(index, nodes, cost):
        if cost >= best[0]:
            return
        if index == len(pods):
            best[0] = cost
            return
        state = (index, tuple(sorted(nodes)))
        if seen.get(state, cost + 1) <= cost:
            return
        seen[state] = cost
        for choice in dict.fromkeys(nodes):
            rest = list(nodes)
            rest.remove(choice)
            for grown in taken(choice, pods[index], kinds, options):
                put(index + 1, [*rest, grown], cost)
        for number, (name, mode, _, _, free) in enumerate(kinds):
            empty = (number, free, rooms(name))
            for grown in taken(empty, pods[index], kinds, options):
                assert devices(name) == 1 or mode != "mig"
                put(index + 1, [*nodes, grown], cost + prices[name])

    put(0, [], 0)
    return best[0] if best[0] <= most else None


def ways(name, request):
    """Each way to slice a type: name, mode, replicas, group, free slots of a node by kind."""
    yield name, "exclusive", 1, "", (("slot", devices(name)),)
    if compute(name) == MILLION:
        for replicas, group in product(
            range(2, request["options"]["max_replicas"] + 1), sorted({w["group"] for w in request["workloads"]})
        ):
            # The settings refuse a pool with more slices than its nodes hold pods.
            slots = replicas * devices(name)
            if slice_memory(name, "time-slicing", replicas) >= FLOOR and slots <= rooms(name)[2]:
                yield name, "time-slicing", replicas, group, (("slot", replicas * devices(name)),)
    gpu = types()[name]["gpu"]
    for layout in full_layouts(gpu):
        yield name, "mig", 1, "", tuple((p, n * devices(name)) for p, n in layout)


@cache
def full_layouts(gpu):
    """The layouts of a GPU to which no further instance can be added."""
    names = list(profiles(gpu))
    amounts = product(*(range(int(profiles(gpu)[p]["max_instances"]) + 1) for p in names)) if names else ()
    layouts = [{p: n for p, n in zip(names, counts, strict=True) if n} for counts in amounts]
    fitting = [layout for layout in layouts if layout and placeable(gpu, tuple(sorted(layout.items())))]
    grown = [[{**layout, p: layout.get(p, 0) + 1} for p in names] for layout in fitting]
    full = [layout for layout, more in zip(fitting, grown, strict=True) if not any(m in fitting for m in more)]
    return tuple(tuple(sorted(layout.items())) for layout in full)


def taken(node, workload, kinds, options):
    """The node with one pod more, for each kind of slot that suits it and is free."""
    number, free, room = node
    name, mode, replicas, group, _ = kinds[number]
    left = tuple(r - n for r, n in zip(room, needs(workload), strict=True))
    if min(left) < 0:
        return
    for slot, count in free:
        profile = slot if mode == "mig" else None
        if count and not objection(workload, name, mode, options, replicas, profile, group):
            yield number, tuple((s, n - (s == slot)) for s, n in free), left
