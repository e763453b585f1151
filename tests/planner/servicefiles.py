"""Files of services, and a check of their plans that shares no code with the planner."""

from __future__ import annotations

import json
from collections import Counter, defaultdict
from decimal import Decimal
from fractions import Fraction

import yaml
from plan_rules import placeable, price_list, rooms
from planrun import command
from profilefiles import HEADER

from benchmarks import parvagpu_check

NODE, MONTH = 27.44705, 19761.88
"""p4de.24xlarge in us-east-1, on demand: dollars an hour, and in a month of 720 hours."""
GPUS = 8
MILLI = {"0": 0, "500m": 500, "4": 4000, "6": 6000, "20": 20_000, "96": 96_000}
SIZES = {1: "1g.10gb", 2: "2g.20gb", 3: "3g.40gb", 4: "4g.40gb", 7: "7g.80gb"}


def rows(**rates):
    """One row for each size of slice, of one process with batch 1 in 10 ms: `rows(s1=10, s7=50)`."""
    return "\n".join(f"{key[1:]},1,1,{rate},0.01" for key, rate in rates.items())


def service(name, profile, rate, latency=1000, **more):
    return {"name": name, "profile": f"profiles/{profile}.csv", "rate": rate, "latencyMs": latency, **more}


def write(folder, profiles, services, **more):
    """A file of services, beside the profiles that it names."""
    (folder / "profiles").mkdir(parents=True, exist_ok=True)
    for name, text in profiles.items():
        (folder / "profiles" / f"{name}.csv").write_text(f"{HEADER}\n{text}\n", encoding="utf-8")
    path = folder / "services.yaml"
    path.write_text(yaml.safe_dump({"services": services, **more}, allow_unicode=True), encoding="utf-8")
    return path


def planned(capsys, path, *arguments, code=0):
    given, out, error = command(capsys, path, "--json", *arguments)
    assert given == code, error
    answer = json.loads(out)
    if path.is_file():
        assert faults(path, answer) == []
    return answer


def measured(path):
    """Name to (what is asked, the profile, read anew) of a file."""
    document = yaml.safe_load(path.read_text(encoding="utf-8"))
    found = {}
    for entry in document["services"]:
        found[entry["name"]] = entry, parvagpu_check.profile(path.parent / entry["profile"])
    return document, found


def faults(path, answer):
    """What is wrong with the placements and the bill; shares no code with the planner."""
    document, asked = measured(path)
    share, most = Fraction(str(document.get("latencyShare", 0.45))), document.get("maxProcesses", 99)
    layouts = {pool["name"]: pool["layout"] for pool in answer["pools"]}
    pool_of = {node["name"]: node["pool"] for node in answer["nodes"]}
    found = [f"{p}: layout" for p, lay in layouts.items() if not placeable("a100-80gb", tuple(sorted(lay.items())))]
    rates, used, held = defaultdict(Fraction), Counter(), defaultdict(list)
    for entry in answer["placements"]:
        service, profile = asked[entry["workload"]]
        size = next(s for s, name in SIZES.items() if entry["resource"] == f"nvidia.com/mig-{name}")
        rate, seconds = profile[size, entry["batch"], entry["processes"]]
        if (float(rate), float(seconds)) != (entry["rate"], entry["latencySeconds"]):
            found.append(f"{entry}: measured {float(rate)} in {float(seconds)} s")
        if seconds >= share * Fraction(str(service["latencyMs"])) / 1000 or entry["processes"] > most:
            found.append(f"{entry}: too late, or too many processes")
        rates[entry["workload"]] += rate * entry["count"]
        used[entry["node"], entry["gpu"], SIZES[size]] += entry["count"]
        held[entry["node"]] += [service] * entry["count"]
    found += [f"{key}: {n} slices" for key, n in used.items() if n > layouts[pool_of[key[0]]].get(key[2], 0)]
    found += [f"GPU {gpu} of {node}" for node, gpu, _ in used if not 0 <= gpu < GPUS]
    left = {entry["workload"] for entry in answer["unplaced"]}
    for name, (service, _) in asked.items():
        if (rates[name] < Fraction(str(service["rate"]))) != (name in left):
            found.append(f"{name}: {float(rates[name])} of {service['rate']}")
    for node, services in held.items():
        cpu = sum(MILLI[str(s.get("cpu", "0"))] for s in services)
        found += [f"{node}: {cpu} millicores"] if cpu > rooms("p4de.24xlarge")[0] else []
    return found + bill_faults(answer, held)


def bill_faults(answer, held):
    price, hours = price_list({"region": "us-east-1", "prices": None, "price_factor": 1})["p4de.24xlarge"], 720
    found = [] if set(held) == {node["name"] for node in answer["nodes"]} else ["a node holds nothing"]
    for key in ("before", "after", "withHeadroom"):
        cost = Decimal(price * answer[key]["nodes"]) / 10**6
        month = (cost * hours).quantize(Decimal("0.01"))
        if (Decimal(str(answer[key]["usdPerHour"])), Decimal(str(answer[key]["usdPerMonth"]))) != (cost, month):
            found.append(f"{key}: {answer[key]}")
    if len(held) != answer["after"]["nodes"]:
        found.append("after: nodes")
    if not answer["lowerBound"]["usdPerHour"] <= answer["after"]["usdPerHour"] == answer["withHeadroom"]["usdPerHour"]:
        found.append("lowerBound")
    return found


def small(tmp_path, **more):
    return write(tmp_path, {"a": rows(s1=10, s7=50)}, [service("a", "a", 10)], **more)
