"""Failing providers and killed engines: the next `pulumi up` or `destroy` goes on where the last one ended."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

from stacks import NEEDS_ENGINE, NewWorkspace, Workspace

pytestmark = NEEDS_ENGINE

# What fails in each update: each needs what failed in the one before, so that it cannot have been made then.
FAULTS = (
    ("create aws:iam/role:Role cluster-system",),
    (
        "create aws:sqs/queue:Queue karpenter-interruption",
        "create kubernetes:core/v1:ConfigMap time-slicing-config-fine",
    ),
    ("create kubernetes:helm.sh/v3:Release karpenter",),
    ("create kubernetes:karpenter.sh/v1:NodePool t4-shared",),
)


def made(workspace: Workspace) -> Counter[str]:
    """How often each resource was created, over all runs."""
    lines = workspace.log_lines()
    return Counter(line["urn"] for line in lines if line["operation"] == "create" and line["phase"] == "end")


def inputs(workspace: Workspace) -> dict[str, Any]:
    """The end state: every resource and what it was made from."""
    return {r["urn"]: r.get("inputs") for r in workspace.export("--show-secrets")}


def test_after_each_failed_update_the_next_goes_on(new_workspace: NewWorkspace, dev: Workspace) -> None:
    workspace = new_workspace("dev")
    for faults in FAULTS:
        before = made(workspace)
        said = workspace.fail("up", "--yes", "--skip-preview", FAKE_PROVIDER_FAULT=";".join(faults))
        assert [fault for fault in faults if f"fake fault: {fault}: AccessDenied" in said]
        failed = tuple(f"{type_}::{name}" for _, type_, name in map(str.split, faults))
        assert not [urn for urn in made(workspace) if urn.endswith(failed)]
        assert before < made(workspace), f"nothing was made beside {faults}"
    workspace.up()
    assert set(made(workspace).values()) == {1}
    assert made(workspace).keys() == made(dev).keys()
    assert inputs(workspace) == inputs(dev)


def test_a_failed_drain_keeps_what_the_nodes_need(dev: Workspace, tmp_path: Path) -> None:
    workspace = dev.copy(tmp_path / "copy")
    fault = "delete kubernetes:karpenter.sh/v1:NodePool t4-shared"
    said = workspace.fail("destroy", "--yes", "--skip-preview", FAKE_PROVIDER_FAULT=fault)
    assert f"fake fault: {fault}" in said
    left = {(r["type"], r["urn"].split("::")[3]) for r in workspace.export()}
    assert {
        ("kubernetes:karpenter.sh/v1:NodePool", "t4-shared"),
        ("kubernetes:karpenter.k8s.aws/v1:EC2NodeClass", "t4-shared"),
        ("kubernetes:karpenter.sh/v1alpha1:NodeOverlay", "t4-shared-1gpu"),
        ("kubernetes:helm.sh/v3:Release", "karpenter"),
        ("kubernetes:helm.sh/v3:Release", "karpenter-crd"),
        ("kubernetes:helm.sh/v3:Release", "gpu-operator"),
        ("kubernetes:core/v1:ConfigMap", "time-slicing-config-fine"),
        ("aws:eks/podIdentityAssociation:PodIdentityAssociation", "karpenter-controller"),
        ("aws:eks/accessEntry:AccessEntry", "karpenter-node"),
        ("aws:sqs/queue:Queue", "karpenter-interruption"),
        ("aws:cloudwatch/eventTarget:EventTarget", "karpenter-spot-interruption"),
        ("aws:iam/rolePolicyAttachment:RolePolicyAttachment", "karpenter-node-lifecycle"),
        ("aws:eks/nodeGroup:NodeGroup", "cluster-system"),
        ("aws:eks/cluster:Cluster", "cluster-eksCluster"),
        ("aws:eks/addon:Addon", "cluster-vpc-cni"),
        ("aws:eks/addon:Addon", "cluster-coredns"),
        ("aws:ec2/route:Route", "network-private-0"),
        ("aws:ec2/natGateway:NatGateway", "network-nat-0"),
    } <= left
    workspace.destroy()
    assert not workspace.export()


def test_after_a_killed_engine_a_cancel_is_enough(new_workspace: NewWorkspace, dev: Workspace) -> None:
    """The kill leaves a lock, and an operation of which nobody knows whether it happened."""
    workspace = new_workspace("dev")
    hanging = "kubernetes:helm.sh/v3:Release karpenter"
    type_, name = hanging.split()
    workspace.interrupt_at({"phase": "begin", "type": type_, "name": name}, FAKE_PROVIDER_HANG=f"create {hanging}")
    assert "locked" in workspace.fail("up", "--yes", "--skip-preview")
    workspace.succeed("cancel", "--yes")
    told = workspace.succeed("up", "--yes", "--skip-preview")
    assert "interrupted while creating" in told
    assert inputs(workspace) == inputs(dev)
    assert set(made(workspace).values()) == {1}
