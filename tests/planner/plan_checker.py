"""Checks an answer of `gpuslice plan --json` against a request, by the rules of plan_rules: no gpuslice here either."""

from __future__ import annotations

import math
from collections import Counter, defaultdict
from decimal import ROUND_HALF_UP, Decimal
from fractions import Fraction

from plan_rules import (
    CONTEXT,
    MILLION,
    candidates,
    completed,
    compute,
    devices,
    needs,
    objection,
    placeable,
    price_list,
    rooms,
    slice_memory,
    slice_use,
    types,
    use_on,
)


def hour(entry):
    return Decimal(str(entry["usdPerHour"])) * MILLION


def cents(millionths, hours):
    return (Decimal(int(millionths)) * hours / MILLION).quantize(Decimal("0.01"), ROUND_HALF_UP)


def check(request, answer):
    """What is wrong with an answer, as text; an empty list where nothing is."""
    return Checker(completed(request), answer).all()


class Checker:
    def __init__(self, request, answer):
        self.request, self.answer, self.options = request, answer, request["options"]
        self.workloads = {workload["name"]: workload for workload in request["workloads"]}
        self.prices = price_list(self.options)
        self.found = []

    def expect(self, fine, text):
        if not fine:
            self.found.append(text)

    def same(self, given, right, text):
        self.expect(given == right, f"{text}: {given}, should be {right}")

    def all(self):
        finite(self.answer, "answer", self.found)
        if self.found:
            return self.found
        self.echoes()
        self.pools = {pool["name"]: pool for pool in self.answer["pools"]}
        self.nodes = {node["name"]: node for node in self.answer["nodes"]}
        self.expect(len(self.pools) == len(self.answer["pools"]), "two pools of one name")
        self.expect(len(self.nodes) == len(self.answer["nodes"]), "two nodes of one name")
        known = [self.pool(pool) for pool in self.answer["pools"]]
        if not all(known) or not self.placements():
            return self.found
        self.counts()
        for pool in self.answer["pools"]:
            self.pool_figures(pool)
        for node in self.answer["nodes"]:
            self.node(node)
        self.bills()
        self.stories()
        return self.found

    def echoes(self):
        options, prices, echoed = self.options, self.answer["prices"], self.answer["options"]
        self.same(prices["basis"], options["basis"], "prices.basis")
        self.same(prices["factor"], float(options["price_factor"]), "prices.factor")
        self.same(prices["region"], options["region"], "prices.region")
        self.same(prices["hoursPerMonth"], options["hours_per_month"], "prices.hoursPerMonth")
        missing = [name for name in candidates(self.request) if name not in self.prices]
        self.same(sorted(prices["unpriced"]), sorted(missing), "prices.unpriced")
        self.same(echoed["efficiency"], options["efficiency"] / MILLION, "options.efficiency")
        self.same(echoed["headroom"], options["headroom"], "options.headroom")
        self.same(echoed["maxReplicas"], options["max_replicas"], "options.maxReplicas")
        self.same(echoed["migTax"], options["mig_tax"] / MILLION, "options.migTax")
        self.same(echoed["contextReserveMiB"], CONTEXT, "options.contextReserveMiB")

    def pool(self, pool):
        """The shape of a pool; whether the rest can be looked at."""
        name, kind, mode = pool["name"], pool["instanceType"], pool["mode"]
        if kind not in candidates(self.request) or kind not in self.prices:
            self.expect(False, f"{name}: {kind} is no candidate with a price")
            return False
        self.same(pool["gpu"], types()[kind]["gpu"], f"{name}: gpu")
        self.same(pool["gpusPerNode"], devices(kind), f"{name}: gpusPerNode")
        self.same(pool["nodes"], sum(node["pool"] == name for node in self.answer["nodes"]), f"{name}: nodes")
        if mode == "mig":
            layout = tuple(sorted(pool["layout"].items()))
            if not layout or not placeable(pool["gpu"], layout):
                self.expect(False, f"{name}: the layout {layout} cannot be placed")
                return False
        elif mode == "time-slicing":
            fine = 2 <= pool["replicas"] <= self.options["max_replicas"]
            self.expect(fine, f"{name}: {pool['replicas']} replicas")
        elif mode != "exclusive":
            self.expect(False, f"{name}: mode {mode}")
            return False
        self.same(set(pool["resources"]), {self.resource(pool, slot) for slot in slots(pool)}, f"{name}: resources")
        return True

    def resource(self, pool, slot):
        if pool["mode"] == "mig":
            return f"nvidia.com/mig-{slot}"
        return "nvidia.com/gpu.shared" if pool["mode"] == "time-slicing" else "nvidia.com/gpu"

    def placements(self):
        """Every placement by itself; whether all of them are of known nodes and workloads."""
        self.on = defaultdict(Counter)
        used = Counter()
        for entry in self.answer["placements"]:
            node, workload = self.nodes.get(entry["node"]), self.workloads.get(entry["workload"])
            pool = self.pools.get(node["pool"]) if node else None
            slot = self.slot(pool, entry["resource"]) if pool else None
            if workload is None or slot is None or not 0 <= entry["gpu"] < devices(pool["instanceType"]):
                self.expect(False, f"a placement of nothing known: {entry}")
                return False
            self.expect(isinstance(entry["count"], int) and entry["count"] >= 1, f"a placement of no pod: {entry}")
            self.same(entry.get("pool", pool["name"]), pool["name"], f"pool of a placement on {entry['node']}")
            mode, profile = pool["mode"], slot if pool["mode"] == "mig" else None
            more = (pool.get("replicas", 1), profile, pool.get("group", ""))
            why = objection(workload, pool["instanceType"], mode, self.options, *more)
            self.expect(not why, f"{entry['workload']} on {entry['node']}: {why}")
            used[entry["node"], entry["gpu"], slot] += entry["count"]
            self.on[entry["node"], entry["gpu"]][entry["workload"]] += entry["count"]
        for (node, gpu, slot), count in used.items():
            most = slots(self.pools[self.nodes[node]["pool"]])[slot]
            self.expect(count <= most, f"{node}: GPU {gpu}: {count} pods on {most} slots of {slot}")
        self.used = used
        return True

    def slot(self, pool, resource):
        return next((slot for slot in slots(pool) if self.resource(pool, slot) == resource), None)

    def counts(self):
        placed = Counter()
        for content in self.on.values():
            placed.update(content)
        left = {entry["workload"]: entry for entry in self.answer["unplaced"]}
        self.expect(len(left) == len(self.answer["unplaced"]), "a workload is unplaced twice")
        for name, workload in self.workloads.items():
            wanted = 0 if name in left else workload["count"]
            self.same(placed[name], wanted, f"pods of {name}")
        for name, entry in left.items():
            if name not in self.workloads:
                self.expect(False, f"unplaced {name} was not asked for")
                continue
            self.same(entry["count"], self.workloads[name]["count"], f"unplaced {name}")
            self.expect(entry["reason"], f"unplaced {name}: no reason")
            fits = next((kind for kind in candidates(self.request) if self.suits(self.workloads[name], kind)), None)
            self.expect(fits is None, f"unplaced {name} fits {fits}")

    def suits(self, workload, kind):
        return kind in self.prices and not objection(workload, kind, "exclusive", self.options)

    def pool_figures(self, pool):
        name, kind, hours = pool["name"], pool["instanceType"], self.options["hours_per_month"]
        price, nodes = self.prices[kind], [n for n, node in self.nodes.items() if node["pool"] == name]
        self.same(Decimal(str(pool["usdPerNodeHour"])) * MILLION, price, f"{name}: usdPerNodeHour")
        self.money(pool, price * len(nodes), hours, name)
        self.expect(sum(slots(pool).values()) * devices(kind) <= rooms(kind)[2], f"{name}: more slices than pods")
        for slot, count in slots(pool).items():
            row, profile = pool["resources"][self.resource(pool, slot)], slot if pool["mode"] == "mig" else None
            self.same(row["perNode"], count * devices(kind), f"{name}: perNode of {slot}")
            memory = slice_memory(kind, pool["mode"], pool.get("replicas", 1), profile)
            self.same(row["memoryMiB"], memory, f"{name}: memoryMiB of {slot}")
            taken = sum(n for (node, _, s), n in self.used.items() if s == slot and self.nodes[node]["pool"] == name)
            self.same(row["used"], taken, f"{name}: used of {slot}")
        self.near(pool["headroom"], 1 - self.load(pool), 0.0006, f"{name}: headroom")

    def load(self, pool):
        """The busiest GPU or MIG slice that the pods of a pool can make, as a part of what it gives."""
        kind, uses = pool["instanceType"], Counter()
        for entry in self.answer["placements"]:
            if self.nodes[entry["node"]]["pool"] == pool["name"]:
                workload = self.workloads[entry["workload"]]
                use = use_on(workload["p95"], workload["gpu"], pool["gpu"])
                uses[Fraction(use, self.gives(pool, kind, entry["resource"]))] += entry["count"]
        pods = [use for use in sorted(uses, reverse=True) for _ in range(min(uses[use], 64))]
        return sum(pods[: pool.get("replicas", 1)])

    def gives(self, pool, kind, resource):
        if pool["mode"] == "time-slicing":
            return self.options["efficiency"]
        return slice_use(kind, self.slot(pool, resource), self.options) if pool["mode"] == "mig" else compute(kind)

    def node(self, node):
        name, pool = node["name"], self.pools.get(node["pool"])
        if pool is None:
            self.expect(False, f"{name}: no pool {node['pool']}")
            return
        kind = pool["instanceType"]
        self.same(node["instanceType"], kind, f"{name}: instanceType")
        self.same(len(node["gpus"]), devices(kind), f"{name}: GPUs")
        held = Counter()
        for index, row in enumerate(node["gpus"]):
            here = self.on.get((name, index), Counter())
            held.update(here)
            self.same(row["used"], sum(here.values()), f"{name}: used of GPU {index}")
            self.same(row["slices"], sum(slots(pool).values()), f"{name}: slices of GPU {index}")
            for figure in ("mean", "p95"):
                total = sum(n * self.carried(workload, figure, pool["gpu"]) for workload, n in here.items())
                self.near(row[figure], Fraction(total, MILLION), 1e-9, f"{name}: {figure} of GPU {index}")
        self.expect(held, f"{name}: holds nothing")
        total = [sum(n * need for need, n in column) for column in zip(*self.asked(held), strict=True)]
        for what, amount, room in zip(("millicores", "MiB", "pods"), total, rooms(kind), strict=False):
            self.expect(amount <= room, f"{name}: {amount} {what} of {room}")
        cpu, ram, _ = rooms(kind)
        self.same(node["cpu"], {"used": (total or [0])[0] / 1000, "allocatable": cpu / 1000}, f"{name}: cpu")
        self.same(node["ramMiB"], {"used": (total or [0, 0])[1], "allocatable": ram}, f"{name}: ramMiB")

    def asked(self, held):
        return [[(need, n) for need in needs(self.workloads[w])] for w, n in held.items()]

    def carried(self, name, figure, gpu):
        workload = self.workloads[name]
        return use_on(workload[figure], workload["gpu"], gpu)

    def near(self, given, right, slack, text):
        self.expect(abs(Fraction(str(given)) - right) <= slack, f"{text}: {given}, should be {float(right)}")

    def money(self, entry, millionths, hours, text):
        self.same(hour(entry), Decimal(millionths), f"{text}: usdPerHour")
        self.same(Decimal(str(entry["usdPerMonth"])), cents(millionths, hours), f"{text}: usdPerMonth")

    def bill(self, key):
        entry, hours = self.answer[key], self.options["hours_per_month"]
        known = all(name in self.prices and name in candidates(self.request) for name in entry["instanceTypes"])
        self.expect(known, f"{key}: a type that is no candidate with a price")
        cost = sum(self.prices.get(name, 0) * nodes for name, nodes in entry["instanceTypes"].items())
        self.same(entry["nodes"], sum(entry["instanceTypes"].values()), f"{key}: nodes")
        self.money(entry, cost, hours, key)
        return cost

    def bills(self):
        hours, placed = self.options["hours_per_month"], sum(sum(content.values()) for content in self.on.values())
        before, after, careful = (self.bill(key) for key in ("before", "after", "withHeadroom"))
        bought = Counter(node["instanceType"] for node in self.answer["nodes"])
        self.same(self.answer["after"]["instanceTypes"], dict(bought), "after: instanceTypes")
        whole = sum(devices(name) * n for name, n in self.answer["before"]["instanceTypes"].items())
        self.expect(whole >= placed, f"before: {whole} GPUs for {placed} pods")
        savings, bound = self.answer["savings"], int(hour(self.answer["lowerBound"]))
        self.same(hour(savings), Decimal(before - after), "savings: usdPerHour")
        month = Decimal(str(savings["usdPerMonth"]))
        self.same(month, cents(before, hours) - cents(after, hours), "savings: usdPerMonth")
        part = Fraction(before - after, before) if before else 0
        self.near(savings["fraction"], part, 0.00006, "savings: fraction")
        self.money(self.answer["lowerBound"], bound, hours, "lowerBound")
        self.expect(bound <= after, f"the bound {bound} is above the answer {after}")
        self.expect(bound <= before and bound <= careful, "a dearer plan is cheaper than the bound")
        self.expect(after <= before, f"after {after} is dearer than before {before}")
        self.expect(after <= careful <= before, f"head-room costs {careful}: not between {after} and {before}")
        self.near(self.answer["gap"], Fraction(after - bound, after) if after else 0, 6e-7, "gap")
        self.expect(bound > 0 or not placed, "the bound is nothing")
        if self.options["headroom"] == "require":
            self.same(careful, after, "withHeadroom where it is required")
        self.headroom()

    def headroom(self):
        entry, shared = self.answer["withHeadroom"], [p for p in self.answer["pools"] if p["mode"] == "time-slicing"]
        self.same(entry["efficiency"], self.options["efficiency"] / MILLION, "withHeadroom: efficiency")
        short = max([Fraction(0), *(self.load(pool) - 1 for pool in shared)])
        self.near(entry["shortfall"], short, 0.0006, "withHeadroom: shortfall")
        told = any(text.startswith("no head-room") for text in self.answer["warnings"])
        self.same(told, short > 0, "whether a warning says that there is no head-room")

    def stories(self):
        """What is refused, warned of and drawn must be of this plan."""
        modes = defaultdict(set)
        for entry in self.answer["placements"]:
            modes[entry["workload"]].add(self.pools[self.nodes[entry["node"]]["pool"]]["mode"])
        for entry in self.answer["refused"]:
            self.expect(entry["reason"] and entry["workloads"], f"refused without a reason: {entry}")
            for name in entry["workloads"]:
                taken = modes.get(name, set())
                self.expect(name in modes, f"refused {name} is not placed")
                self.expect(entry["alternative"] not in taken, f"{name} takes {entry['alternative']}, which is refused")
        anyones = set().union(*modes.values())
        for name, taken in modes.items():
            told = {entry["alternative"] for entry in self.answer["refused"] if name in entry["workloads"]}
            rest = {"time-slicing", "mig", "exclusive"} - anyones - taken - told
            self.expect(not rest or len(self.workloads) > 20, f"{name}: not said why no {rest}")
        curve = self.answer["replicas"]
        self.same([point["replicas"] for point in curve], list(range(1, len(curve) + 1)), "replicas")
        self.expect(all(point["fits"] == (not point["reason"]) for point in curve), "replicas: fits and reason differ")
        if curve:
            self.same(curve[0]["usdPerMonth"], self.answer["before"]["usdPerMonth"], "replicas: the first point")


def slots(pool):
    """Kind of slot to slots of one GPU."""
    if pool["mode"] == "mig":
        return pool["layout"]
    return {"slot": pool["replicas"] if pool["mode"] == "time-slicing" else 1}


def finite(value, place, found):
    """Notes what JSON cannot say."""
    if isinstance(value, dict):
        for key, entry in value.items():
            finite(entry, f"{place}.{key}", found)
    elif isinstance(value, list):
        for index, entry in enumerate(value):
            finite(entry, f"{place}[{index}]", found)
    elif isinstance(value, float) and not math.isfinite(value):
        found.append(f"{place} is {value}")
