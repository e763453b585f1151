"""What Karpenter buys for the same workloads: a GPU for each pod, slices set by hand, and the planner's pools.

    python -m benchmarks.karpenter [WORKLOADS.yaml] [--json] [--way NAME] [--seconds N]

Karpenter, scheduler and API server are the real ones, in a sandbox of their own; AWS and the nodes are simulated.
Nodes are counted when every pod runs, and again when Karpenter's consolidation has found no more for a while.
"""

from __future__ import annotations

import argparse
import json
import signal
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path
from typing import Any

import yaml

from benchmarks.karpenter_ways import APP_LABEL, WAYS, Ask, Manifest, Verdict, Way, daemons, verdict, ways
from benchmarks.timing import ROOT
from gpuslice.catalog import instance_types
from gpuslice.planner.errors import InputError
from gpuslice.planner.plan import Plan, plan
from gpuslice.planner.read import read_request
from gpuslice.pools import POOL_LABEL
from gpuslice.reserves import DAEMON_CPU_MILLI, DAEMON_PODS, DAEMON_RAM_MIB, cpu_room_milli, pod_room, ram_room_mib
from offline.preview import StackRecording, record_stack
from sandbox import SandboxError, controlplane, world
from sandbox.client import Cluster, connect
from sandbox.deploy import deploy
from sandbox.state import Sandbox

WORKLOADS = Path(__file__).with_name("karpenter_workloads.yaml")
TYPE_LABEL = "node.kubernetes.io/instance-type"
_MOST_SECONDS = 300.0
_QUIET_SECONDS = 30.0
"""Karpenter's batch window is at most 10 s, and it looks at pods that it refused again after 10 s."""
_CONSOLIDATED_SECONDS = 75.0
"""`consolidateAfter` and Karpenter's own 15 s of second thoughts, with room."""
_POLL_SECONDS = 0.5
Progress = Callable[[str], None]


@dataclass(frozen=True)
class State:
    """What a way has at one moment: nodes as instance type to number, running pods as node name to their asks."""

    nodes: Mapping[str, str]
    pods: Mapping[str, Sequence[Ask]]
    waiting: Mapping[str, str]
    pool_of: Mapping[str, str]

    @property
    def running(self) -> int:
        return sum(map(len, self.pods.values()))

    @property
    def types(self) -> dict[str, int]:
        return dict(sorted(Counter(self.nodes.values()).items()))


@dataclass(frozen=True)
class Outcome:
    """`seconds`: from the first pod until all ran, or until nothing happened any more."""

    way: Way
    first: State
    seconds: float
    settled: State


def stack_config(pools: Iterable[Mapping[str, Any]], region: str, unruled: Sequence[str] = ()) -> dict[str, Any]:
    """A stack of the sandbox. `unruled`: namespaces in which pods need not say how much GPU memory they use."""
    return {
        "aws:region": region,
        "gpu-slicing:cluster": {"mode": "sandbox", "name": "gpu-bench", "deletionProtection": False},
        "gpu-slicing:pools": list(pools),
        "gpu-slicing:admission": {"exemptNamespaces": list(unruled)},
    }


def recorded(folder: Path, config: Mapping[str, Any]) -> StackRecording:
    """The project's program on that configuration."""
    (folder / "__main__.py").symlink_to(ROOT / "__main__.py")
    (folder / "Pulumi.bench.yaml").write_text(yaml.safe_dump({"config": dict(config)}), encoding="utf-8")
    return record_stack(folder, "bench", unknowns=False)


@contextmanager
def sandbox_of(found: Sequence[Way], region: str, progress: Progress) -> Iterator[tuple[Cluster, StackRecording]]:
    """A new sandbox with the pools of all ways and nothing else in it; it ends with the block."""
    with tempfile.TemporaryDirectory(prefix="gpuslice-bench-") as name:
        unruled = [way.name for way in found if way.name.startswith("hand")]
        stack = recorded(Path(name), stack_config([p for way in found for p in way.pools], region, unruled))
        directory = Path(name) / "sandbox"
        try:
            sandbox: Sandbox = world.start(directory, progress)
            deploy(sandbox, stack.recording, region, progress)
            cluster = connect(sandbox.kubeconfig)
            try:
                cluster.apply(daemons())
                yield cluster, stack
            finally:
                cluster.close()
        finally:
            controlplane.stop(directory, lambda line: None)


def run(cluster: Cluster, way: Way, contracts: Mapping[str, Any], most: float = _MOST_SECONDS) -> tuple[State, float]:
    """Applies the pods of a way; what there is when all run, or when nothing has changed for a while; and how long."""
    cluster.apply({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": way.name}})
    made = way.deployments(contracts)
    start = time.monotonic()
    for _, manifest in made.values():
        cluster.apply(manifest)
    seen = look(cluster, way, contracts)
    changed_at = time.monotonic()
    while seen.running < way.pods and time.monotonic() - changed_at < _QUIET_SECONDS:
        if time.monotonic() - start > most:
            raise SandboxError(f"way {way.name}: {seen.running} of {way.pods} pods run after {most:g} s")
        time.sleep(_POLL_SECONDS)
        before, seen = seen, look(cluster, way, contracts)
        if (before.nodes, before.running) != (seen.nodes, seen.running):
            changed_at = time.monotonic()
    return seen, time.monotonic() - start


def look(cluster: Cluster, way: Way, contracts: Mapping[str, Any]) -> State:
    """What the API server has of a way."""
    names = {pool["name"] for pool in way.pools}
    nodes = [n for n in cluster.list("v1", "Node") if n["metadata"]["labels"].get(POOL_LABEL) in names]
    asks = {name: ask for name, (ask, _) in way.deployments(contracts).items()}
    pods: dict[str, list[Ask]] = {}
    waiting: dict[str, str] = {}
    for pod in cluster.list("v1", "Pod", way.name):
        if pod["status"].get("phase") == "Running":
            pods.setdefault(pod["spec"]["nodeName"], []).append(asks[pod["metadata"]["labels"][APP_LABEL]])
        else:
            waiting[pod["metadata"]["name"]] = _reason(pod)
    types = {n["metadata"]["name"]: n["metadata"]["labels"][TYPE_LABEL] for n in nodes}
    return State(types, pods, waiting, {n["metadata"]["name"]: n["metadata"]["labels"][POOL_LABEL] for n in nodes})


def _reason(pod: Manifest) -> str:
    conditions = [c for c in pod["status"].get("conditions", []) if c["type"] == "PodScheduled"]
    return str(conditions[0].get("message", "")) if conditions else str(pod["status"].get("phase", ""))


def consolidated(cluster: Cluster, found: Sequence[Way], contracts: Mapping[str, Any], most: float) -> list[State]:
    """The same once Karpenter has changed nothing for a while, or after `most` seconds."""
    start = changed_at = time.monotonic()
    seen = [look(cluster, way, contracts) for way in found]
    while time.monotonic() - changed_at < _CONSOLIDATED_SECONDS and time.monotonic() - start < most:
        time.sleep(4 * _POLL_SECONDS)
        before, seen = seen, [look(cluster, way, contracts) for way in found]
        if [(s.nodes, s.running) for s in before] != [(s.nodes, s.running) for s in seen]:
            changed_at = time.monotonic()
    return seen


def judged(made: Plan, way: Way, state: State) -> Verdict:
    """Of all nodes of a way."""
    return sum(
        (
            verdict(made, instance_types()[state.nodes[node]], pods, way.replicas(state.pool_of[node]))
            for node, pods in state.pods.items()
            if node in state.nodes
        ),
        Verdict(),
    )


def room_differences(cluster: Cluster) -> list[str]:
    """Where the planner's room of an instance type is not what Karpenter reckons with and what the node has."""
    found: dict[str, None] = {}
    kinds = instance_types()
    nodes = {n["metadata"]["name"]: n for n in cluster.list("v1", "Node")}
    for claim in cluster.list("karpenter.sh/v1", "NodeClaim"):
        kind = kinds[claim["metadata"]["labels"][TYPE_LABEL]]
        room = (cpu_room_milli(kind), ram_room_mib(kind), pod_room(kind))
        planned = tuple(map(sum, zip(room, (DAEMON_CPU_MILLI, DAEMON_RAM_MIB, DAEMON_PODS), strict=True)))
        status = claim["status"]
        node = nodes.get(status.get("nodeName", ""), {}).get("status", {})
        for who, allocatable in (("Karpenter", status.get("allocatable")), ("the node", node.get("allocatable"))):
            if allocatable and amounts(allocatable) != planned:
                text = f"{kind.name}: {who} has {amounts(allocatable)}, the planner {planned} (millicores, MiB, pods)"
                found[text] = None
    return sorted(found)


def amounts(resources: Mapping[str, Any]) -> tuple[int, int, int]:
    """Millicores, whole MiB and pods."""
    return round(1000 * quantity(resources["cpu"])), int(quantity(resources["memory"]) / 2**20), int(resources["pods"])


def quantity(text: str) -> float:
    """A Kubernetes quantity of the kinds that nodes have: `3920m`, `4`, `14481Mi`, `15184Ki`."""
    units = {"Ki": 2.0**10, "Mi": 2.0**20, "Gi": 2.0**30, "m": 0.001, "k": 1e3, "M": 1e6, "G": 1e9}
    for suffix, factor in units.items():
        if text.endswith(suffix):
            return float(text.removesuffix(suffix)) * factor
    return float(text)


def measured(made: Plan, found: Sequence[Way], most: float, progress: Progress) -> tuple[list[Outcome], list[str]]:
    """What comes of each way, and where the planner's room is wrong."""
    with sandbox_of(found, made.request.options.region, progress) as (cluster, stack):
        contracts = stack.recording.outputs["gpuPools"]
        first = []
        for way in found:
            progress(f"{way.name}: {way.pods} pods, {way.text}")
            first.append(run(cluster, way, contracts))
            progress(f"{way.name}: {first[-1][0].running} run after {first[-1][1]:.0f} s, {first[-1][0].types}")
        differences = room_differences(cluster)
        progress(f"waiting for consolidation, {most:g} s at most")
        settled = consolidated(cluster, found, contracts, most)
        outcomes = [Outcome(w, s, t, later) for w, (s, t), later in zip(found, first, settled, strict=True)]
        return outcomes, differences


def usd_per_hour(made: Plan, types: Mapping[str, int]) -> Decimal:
    return sum((made.prices.prices[name] * count for name, count in types.items()), Decimal(0))


def as_json(made: Plan, outcomes: Sequence[Outcome], differences: Sequence[str]) -> dict[str, Any]:
    """The outcome as plain data; money in US dollars per hour, on demand."""
    return {
        "region": made.prices.region,
        "priceDate": made.prices.date,
        "ways": [_way_json(made, outcome) for outcome in outcomes],
        "roomDifferences": list(differences),
    }


def _way_json(made: Plan, outcome: Outcome) -> dict[str, Any]:
    way = outcome.way
    return {
        "way": way.name,
        "text": way.text,
        "pods": way.pods,
        "running": outcome.first.running,
        "waiting": sorted(set(outcome.first.waiting.values())),
        "seconds": round(outcome.seconds, 1),
        "planned": _bill(made, way.planned) if way.planned is not None else None,
        "foretold": _bill(made, way.foretold) if way.foretold is not None else None,
        "bought": _bill(made, outcome.first.types),
        "consolidated": _bill(made, outcome.settled.types) | {"running": outcome.settled.running},
        "gpus": _gpus(judged(made, way, outcome.first)),
        "consolidatedGpus": _gpus(judged(made, way, outcome.settled)),
    }


def _bill(made: Plan, types: Mapping[str, int]) -> dict[str, Any]:
    return {"usdPerHour": float(usd_per_hour(made, types)), "nodes": sum(types.values()), "instanceTypes": dict(types)}


def _gpus(found: Verdict) -> dict[str, int]:
    return dict(zip(("used", "overP95", "overMemory", "mixedGroups", "unsafe"), found.figures, strict=True))


def lines(answer: Mapping[str, Any]) -> Iterator[str]:
    """The same for a person."""
    yield "What Karpenter buys for the same workloads, in dollars per hour when all pods run and after consolidation"
    yield "(unsafe: GPUs on which the pods at their p95 want more than it does, or more memory than it has, or belong"
    yield "to groups that share none; of the GPUs and MIG slices in use)"
    yield f"  {'':<12} {'pods':>7} {'planned':>9} {'bought':>9} {'later':>9} {'nodes':>6} {'unsafe':>8} {'seconds':>8}"
    for way in answer["ways"]:
        plan_cost = f"{way['planned']['usdPerHour']:9.3f}" if way["planned"] else f"{'-':>9}"
        bought, later = way["bought"], way["consolidated"]
        pods, unsafe = f"{way['running']}/{way['pods']}", f"{way['gpus']['unsafe']}/{way['gpus']['used']}"
        yield (
            f"  {way['way']:<12} {pods:>7} {plan_cost} {bought['usdPerHour']:9.3f} {later['usdPerHour']:9.3f}"
            f" {bought['nodes']:>6} {unsafe:>8} {way['seconds']:8.1f}"
        )
    for way in answer["ways"]:
        yield from _details(way)
    yield from (f"  room differs: {difference}" for difference in answer["roomDifferences"])


def _details(way: Mapping[str, Any]) -> Iterator[str]:
    bought, later, planned, foretold = (way[key] for key in ("bought", "consolidated", "planned", "foretold"))
    yield f"  {way['way']}: {way['text']}"
    yield f"    bought  {_types(bought)}"
    if later["instanceTypes"] != bought["instanceTypes"]:
        yield f"    later   {_types(later)}"
    if planned and planned["instanceTypes"] != bought["instanceTypes"]:
        yield f"    planned {_types(planned)}"
    if foretold and foretold != planned:
        yield f"    in Karpenter's order of filling nodes {_types(foretold)}"
    for when, gpus in (("", way["gpus"]), (" later", way["consolidatedGpus"])):
        if gpus["unsafe"]:
            yield (
                f"    unsafe{when}: {gpus['unsafe']} of {gpus['used']}: {gpus['overP95']} over p95,"
                f" {gpus['overMemory']} over memory, {gpus['mixedGroups']} of several groups"
            )
    yield from (f"    waiting {reason}" for reason in way["waiting"])


def _types(bill: Mapping[str, Any]) -> str:
    return ", ".join(f"{count} x {name}" for name, count in bill["instanceTypes"].items()) or "nothing"


def compare(path: Path, names: Sequence[str], most: float, progress: Progress) -> dict[str, Any]:
    """Everything from a file of workloads, for the ways of these names, or for all. Raises InputError, SandboxError."""
    made = plan(read_request(path))
    found = [way for way in ways(made) if not names or way.name in names]
    return as_json(made, *measured(made, found, most, progress))


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.karpenter", description=__doc__.partition("\n")[0])
    parser.add_argument("workloads", nargs="?", type=Path, default=WORKLOADS, help="YAML or CSV, as of `gpuslice plan`")
    parser.add_argument("--json", action="store_true", help="the answer as JSON on standard output")
    parser.add_argument("--way", action="append", default=[], choices=WAYS, help="only this one; may be repeated")
    parser.add_argument("--seconds", type=float, default=120.0, help="for consolidation, at most (default: 120)")
    options = parser.parse_args(arguments)
    # The sandbox outlives whoever starts it: an end from outside must pass through the block that stops it.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    try:
        answer = compare(options.workloads, options.way, options.seconds, _tell)
    except (InputError, SandboxError, OSError) as error:
        print(f"benchmarks.karpenter: {error}", file=sys.stderr)
        return 1
    print(json.dumps(answer, indent=2) if options.json else "\n".join(lines(answer)))
    return 0


def _tell(line: str) -> None:
    print(line, file=sys.stderr, flush=True)


if __name__ == "__main__":
    sys.exit(main())
