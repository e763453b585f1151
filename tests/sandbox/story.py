"""The chapters of a stack's life in the sandbox. Each returns plain data; later chapters go on where earlier ended."""

from __future__ import annotations

import io
from collections.abc import Mapping
from contextlib import redirect_stdout
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from scenarios import (
    BARE_POOLS,
    WHOLE_GPU_PODS,
    Snapshot,
    World,
    changed_config,
    condition,
    loose_pool,
    loose_workload,
    program_folder,
    proof_config,
    record_config,
    slice_workloads,
    whole_gpu_workloads,
    without_overlays,
    workload,
)

from benchmarks.karpenter import State, room_differences, run
from benchmarks.karpenter_ways import Way, daemons, planned
from gpuslice.planner.plan import Plan, plan
from gpuslice.planner.read import read_request
from gpuslice.pools import GPU, PLUGIN_LABEL
from gpuslice.stackfile import load_stack_file
from offline.preview import StackRecording
from sandbox import local, world
from sandbox.client import connect
from sandbox.deploy import Key, Manifest, deploy, inventory, prune, remember
from sandbox.state import Sandbox

CLAIMED = ("t4-shared", "t4-five", "t4-plain", "t4-plain-bare", "a100-mig", "h100-mig", "h100-whole")
DELETED_KINDS = ("NodeClaim", "NodePool", "EC2NodeClass")


@dataclass(frozen=True)
class LocalUp:
    """`gpuslice up --stack local` where nothing runs: what it printed and told, and what was there then."""

    folder: Path
    sandbox: Sandbox
    world: World
    exit_code: int
    printed: str
    told: list[str]
    after: Snapshot


@dataclass(frozen=True)
class Proof:
    """Every kind of pool: while MIG is held back, with a pool that has too few taints, and after MIG was applied."""

    config: Mapping[str, Any]
    stack: StackRecording
    objects: tuple[Manifest, ...]
    loose_objects: list[Manifest]
    held: Snapshot
    loose: Snapshot
    after: Snapshot


@dataclass(frozen=True)
class Changed:
    """The same deployed again; then other replicas and two pools fewer. `claims` is every change of a NodeClaim."""

    again: Snapshot
    after: Snapshot
    claims: list[tuple[str, Manifest]]
    told: list[str]


@dataclass(frozen=True)
class Destroyed:
    """Everything deleted while pods run.

    `moments`: what was there before each deletion, by what was told then. `history`: every change, by kind. `left`:
    what the sandbox then still believes to have deployed.
    """

    moments: dict[str, Snapshot]
    history: dict[str, list[tuple[str, Manifest]]]
    after: Snapshot
    left: list[Key]


@dataclass(frozen=True)
class Followed:
    """Two plans and what their pods had when all ran, the whole cluster then, and where the planner's room of a node
    was wrong. In the second plan CPU is so scarce that the order counts in which pods come to a node.
    """

    plan: Plan
    way: Way
    seen: State
    tight: Plan
    seen_tight: State
    after: Snapshot
    room_differences: list[str]


def up(folder: Path) -> LocalUp:
    program_folder(folder)
    told: list[str] = []
    printed = io.StringIO()
    with redirect_stdout(printed):
        code = local.up(folder, "local", told.append)
    sandbox = Sandbox.load(folder / local.FOLDER)
    life = World(connect(sandbox.kubeconfig), world.simulator(sandbox))
    return LocalUp(folder, sandbox, life, code, printed.getvalue(), told, life.look())


def prove(start: LocalUp) -> Proof:
    life = start.world
    config = proof_config(load_stack_file(start.folder / "Pulumi.local.yaml"))
    stack = record_config(start.folder, "proof", config)
    outputs = stack.recording.outputs
    life.simulator.hold_mig(True)
    deployed = deploy(start.sandbox, without_overlays(stack.recording, BARE_POOLS), stack.settings.region, _ignore)
    life.apply(slice_workloads(outputs))
    life.settle(
        lambda s: s.running("t4-five") == s.running("t4-plain") == s.running("t4-plain-bare") == 5,
        lambda s: bool(s.karpenter_refusals("t4-five-bare")),
        lambda s: s.gpus("a100-mig") == [{GPU: 8}] and s.gpus("h100-mig") == [{GPU: 1}],
    )
    life.apply(whole_gpu_workloads())
    held = life.settle(
        lambda s: s.running("whole-anywhere") == 1,
        lambda s: all(s.karpenter_refusals(app) for app in WHOLE_GPU_PODS),
    )
    loose_objects = loose_pool(deployed.objects)
    life.apply([*loose_objects, loose_workload(outputs)])
    life.settle(lambda s: s.gpus("a100-loose") == [{GPU: 8}])
    life.apply([workload("whole-on-a100-loose", 1, GPU, "a100-loose")])
    loose = life.settle(lambda s: s.running("whole-on-a100-loose") == 1)
    life.simulator.hold_mig(False)
    after = life.settle(
        lambda s: s.running("a100-mig-1g") == 24 and s.running("a100-mig-2g") == 16,
        lambda s: s.running("h100-mig") == 7,
        lambda s: all(condition(c, "Initialized") == "True" for pool in CLAIMED for c in s.claims(pool)),
    )
    return Proof(config, stack, deployed.objects, loose_objects, held, loose, after)


def change(start: LocalUp, proof: Proof) -> Changed:
    life, region = start.world, proof.stack.settings.region
    deploy(start.sandbox, without_overlays(proof.stack.recording, BARE_POOLS), region, _ignore)
    again = life.look()
    stack = record_config(start.folder, "proof", changed_config(proof.config))
    since, told = life.version(), list[str]()
    deploy(start.sandbox, without_overlays(stack.recording, BARE_POOLS), region, told.append)

    def replaced(seen: Snapshot) -> bool:
        labels = [n["metadata"]["labels"].get(PLUGIN_LABEL) for n in seen.nodes("t4-shared")]
        return bool(labels) and set(labels) == {"time-slicing-5"} and len(seen.claims("t4-shared")) == len(labels)

    after = life.settle(replaced, lambda s: s.running("time-slicing-verification") == 5, seconds=120)
    return Changed(again, after, life.history("NodeClaim", since), told)


def destroy(start: LocalUp, proof: Proof) -> Destroyed:
    life = start.world
    remember(start.sandbox, [*inventory(start.sandbox), *map(Key.of, proof.loose_objects)])
    since, moments = life.version(), dict[str, Snapshot]()

    def watch(line: str) -> None:
        moments[line] = life.look()

    prune(start.sandbox, life.cluster, (), watch)
    after = life.look()
    return Destroyed(
        moments, {kind: life.history(kind, since) for kind in DELETED_KINDS}, after, inventory(start.sandbox)
    )


def follow_plan(start: LocalUp) -> Followed:
    """The pools of two plans in the empty cluster, and their pods on them."""
    made = plan(read_request(Path(__file__).with_name("planned_workloads.yaml")))
    tight = plan(read_request(Path(__file__).with_name("tight_workloads.yaml")))
    ways, life = (planned(made), replace(planned(tight), name="tight")), start.world
    local_stack = load_stack_file(start.folder / "Pulumi.local.yaml")
    sections = {k: v for k, v in local_stack.items() if k not in ("gpu-slicing:tenants", "gpu-slicing:verification")}
    entries = [entry for way in ways for entry in way.pools]
    stack = record_config(start.folder, "planned", {**sections, "gpu-slicing:pools": entries})
    deploy(start.sandbox, stack.recording, stack.settings.region, _ignore)
    life.apply([daemons()])
    seen, seen_tight = (run(life.cluster, way, stack.recording.outputs["gpuPools"])[0] for way in ways)
    return Followed(made, ways[0], seen, tight, seen_tight, life.look(), room_differences(life.cluster))


def _ignore(line: str) -> None:
    """Progress that nobody reads."""
