"""The ways that `benchmarks.karpenter` compares: the same pods in each, and which GPUs of a placement are unsafe."""

from __future__ import annotations

from collections import Counter

import pytest

from benchmarks.karpenter import (
    WORKLOADS,
    State,
    as_json,
    lines,
    quantity,
    room_differences,
    stack_config,
    usd_per_hour,
)
from benchmarks.karpenter import Outcome as Measured
from benchmarks.karpenter_ways import REPLICAS, Ask, Verdict, deployment, planned, verdict, ways
from gpuslice.catalog import instance_types
from gpuslice.load import load_settings
from gpuslice.planner.model import Workload
from gpuslice.planner.options import Request
from gpuslice.planner.plan import plan
from gpuslice.planner.read import read_request
from gpuslice.pools import GPU, GPU_SHARED, Pool
from gpuslice.reserves import DAEMON_CPU_MILLI, DAEMON_PODS, DAEMON_RAM_MIB, cpu_room_milli, pod_room, ram_room_mib

T4 = instance_types()["g4dn.xlarge"]
FOUR_T4 = instance_types()["g4dn.12xlarge"]
A100 = instance_types()["p4d.24xlarge"]


@pytest.fixture(scope="module")
def made():
    return plan(read_request(WORKLOADS))


def pods(count: int, p95: float = 0.2, memory: int = 2048, group: str = "a", resource: str = GPU_SHARED) -> list[Ask]:
    workload = Workload(f"w-{p95}-{memory}-{group}", count, memory, 0, round(p95 * 1e6), "t4", group=group)
    return [Ask(workload, 1, "pool", resource)] * count


def test_every_way_has_every_pod(made):
    wanted = {w.name: w.count for w in made.request.workloads}
    for way in ways(made):
        counts: Counter[str] = Counter()
        for ask in way.asks:
            counts[ask.workload.name] += ask.count
        assert dict(counts) == wanted
        assert way.pods == sum(wanted.values())


def test_the_settings_take_the_pools_of_all_ways_at_once(made):
    found = ways(made)
    settings = load_settings(stack_config([p for way in found for p in way.pools], "us-east-1", ["hand"]), "bench")
    assert {p.name for p in settings.pools} == {ask.pool for way in found for ask in way.asks}


def test_by_hand_only_what_must_not_share_has_a_gpu(made):
    (way,) = [way for way in ways(made) if way.name == "hand"]
    whole = {ask.workload.name for ask in way.asks if ask.resource == GPU}
    assert whole == {w.name for w in made.request.workloads if w.latency == "critical" or w.isolation == "hardware"}
    assert way.replicas("hand-shared") == REPLICAS
    assert way.replicas("hand-whole") == 1


def test_a_whole_gpu_is_only_asked_for_on_types_that_suit():
    big = Workload("big", 1, 20 * 1024, 0, 100_000, "a100-40gb")
    made = plan(Request((big,), ("g4dn.xlarge", "g5.xlarge", "p4d.24xlarge")))
    (ask,) = ways(made)[0].asks
    assert "g4dn.xlarge" not in ask.types
    assert "p4d.24xlarge" in ask.types


def test_a_deployment_asks_for_what_the_plan_says(made):
    way = planned(made)
    settings = load_settings(stack_config(way.pools, "us-east-1"), "bench")
    contracts = {p.name: Pool.of(p).output(made.prices) for p in settings.pools}
    for ask, manifest in way.deployments(contracts).values():
        spec = manifest["spec"]["template"]["spec"]
        assert manifest["spec"]["replicas"] == ask.count
        assert spec["nodeSelector"] == {"gpu-slicing.io/pool": ask.pool}
        assert spec["tolerations"] == contracts[ask.pool]["tolerations"]
        assert spec["containers"][0]["resources"]["limits"] == {ask.resource: "1"}
    alike = {name for name, c in contracts.items() if c["resources"][0]["name"] == "nvidia.com/gpu.shared"}
    kept = {t["value"] for c in contracts.values() for t in c["tolerations"] if t["key"] == "gpu-pool"}
    assert len(alike) > 1
    assert alike <= kept


def test_names_of_deployments_are_names_of_kubernetes():
    workload = Workload("Über Workload/7 " + "x" * 90, 1, 1024, 0, 0)
    way = planned(plan(Request((workload,), ("g4dn.xlarge",))))
    ((name, _),) = way.deployments({way.asks[0].pool: {"nodeSelector": {}, "tolerations": []}}).items()
    assert name.startswith("ber-workload-7-xxx")
    assert name.endswith("-0")
    assert len(name) <= 63


def test_types_are_tied_by_affinity_only_where_there_are_some():
    contract = {"nodeSelector": {}, "tolerations": []}
    (tied,) = pods(1)
    assert "affinity" not in deployment("n", "s", tied, contract)["spec"]["template"]["spec"]
    tied = Ask(tied.workload, 1, "pool", GPU, ("g4dn.xlarge",))
    assert "g4dn.xlarge" in str(deployment("n", "s", tied, contract)["spec"]["template"]["spec"]["affinity"])


@pytest.mark.parametrize(
    ("there", "kind", "wanted"),
    [
        (pods(4, 0.25), T4, Verdict(1)),
        (pods(4, 0.26), T4, Verdict(1, busy=1, unsafe=1)),
        (pods(4, 0.1, 3584), T4, Verdict(1)),
        (pods(4, 0.1, 3585), T4, Verdict(1, memory=1, unsafe=1)),
        (pods(1, group="a") + pods(1, group="b"), T4, Verdict(1, mixed=1, unsafe=1)),
        (pods(2, 0.9, 15000, "a") + pods(2, 0.9, 15000, "b"), T4, Verdict(1, 1, 1, 1, 1)),
        (pods(2, 0.9), FOUR_T4, Verdict(2)),
        (pods(4, 0.9) + pods(12, 0.03, 1024), FOUR_T4, Verdict(4)),
        (pods(5, 0.6), FOUR_T4, Verdict(4, busy=1, unsafe=1)),
        (pods(3, 0.2, 4608, resource="nvidia.com/mig-1g.5gb"), A100, Verdict(3)),
        (pods(1, 0.2, 4609, resource="nvidia.com/mig-1g.5gb"), A100, Verdict(1, memory=1, unsafe=1)),
        ([], T4, Verdict()),
    ],
)
def test_unsafe_gpus_of_a_node(made, there, kind, wanted):
    assert verdict(made, kind, there, 4) == wanted


def test_the_answer_and_its_text(made):
    (way,) = [way for way in ways(made) if way.name == "hand"]
    first = State({"n": "g4dn.xlarge"}, {"n": pods(2, 0.9)}, {"p": "no room"}, {"n": "hand-shared"})
    later = State({}, {}, {}, {})
    answer = as_json(made, [Measured(way, first, 12.3, later)], ["p4d.24xlarge: differs"])
    (entry,) = answer["ways"]
    assert entry["bought"] == {"usdPerHour": 0.526, "nodes": 1, "instanceTypes": {"g4dn.xlarge": 1}}
    assert entry["gpus"] == {"used": 1, "overP95": 1, "overMemory": 0, "mixedGroups": 0, "unsafe": 1}
    assert entry["planned"] is None
    text = "\n".join(lines(answer))
    assert all(part in text for part in ("0.526", "later   nothing", "1/1", "no room", "room differs: p4d.24xlarge"))
    assert max(map(len, text.splitlines())) <= 120
    assert usd_per_hour(made, {"g4dn.xlarge": 2, "p4d.24xlarge": 1}) == 2 * made.prices.of("g4dn.xlarge") + (
        made.prices.of("p4d.24xlarge")
    )


@pytest.mark.parametrize(("text", "wanted"), [("3920m", 3.92), ("4", 4), ("14481Mi", 14481 * 2**20), ("2Ki", 2048)])
def test_quantities(text, wanted):
    assert quantity(text) == pytest.approx(wanted)


class Fake:
    """A cluster of one node; `more` is what it has beyond the planner's room, in MiB."""

    def __init__(self, more: int) -> None:
        cpu, memory, room = cpu_room_milli(T4), ram_room_mib(T4), pod_room(T4)
        self.right = {"cpu": f"{cpu + DAEMON_CPU_MILLI}m", "pods": str(room + DAEMON_PODS)}
        self.memory = memory + DAEMON_RAM_MIB
        self.more = more

    def list(self, version: str, kind: str) -> list[dict[str, object]]:
        del version
        labels = {"node.kubernetes.io/instance-type": "g4dn.xlarge"}
        memory = self.memory + (self.more if kind == "Node" else 0)
        status = {"nodeName": "n", "allocatable": {**self.right, "memory": f"{memory}Mi"}}
        return [{"metadata": {"name": "n", "labels": labels}, "status": status}]


def test_a_room_that_differs_is_told():
    assert room_differences(Fake(0)) == []
    (text,) = room_differences(Fake(1))
    assert text.startswith("g4dn.xlarge: the node has (3920, 14482, 29), the planner (3920, 14481, 29)")
