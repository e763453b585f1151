"""Nodes follow slices: what the overlays save, that all counts of slices agree, and how a pool gets other slices."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pytest
import yaml
from scenarios import BARE_POOLS, Snapshot, condition, gpu_resources

from gpuslice.gpu_operator import MIG_CONFIG_KEY, MIG_CONFIG_MAP, PLUGIN_CONFIG_MAP
from gpuslice.pools import GPU, GPU_SHARED, MIG_LABEL, PLUGIN_LABEL

pytestmark = pytest.mark.sandbox

APPLIED = "karpenter.sh/capacity-overlay-applied"
POOL_HASH = "karpenter.sh/nodepool-hash"
GPU_COUNT = "karpenter.k8s.aws/instance-gpu-count"
SLICED = ("t4-shared", "t4-five", "t4-plain", "a100-mig", "h100-mig")


def test_five_slices_of_one_gpu_are_one_node_for_five_pods(proof):
    seen = proof.held
    assert seen.running("t4-five") == 5
    assert [i["type"] for i in seen.instances("t4-five")] == ["g4dn.xlarge"]
    assert seen.gpus("t4-five") == [{GPU_SHARED: 5}]
    assert seen.hosts("t4-five") == {n["metadata"]["name"] for n in seen.nodes("t4-five")}


def test_four_slices_of_one_gpu_are_two_nodes_for_five_pods(proof):
    assert proof.after.gpus("t4-shared") == [{GPU_SHARED: 4}] * 2
    assert proof.after.running("time-slicing-verification") == 5


def test_the_overlay_is_what_saves_four_nodes_of_five(proof):
    """Two pools alike but for the overlay: the device plugin's slices come too late for what is bought."""
    seen = proof.held
    assert (seen.running("t4-plain"), len(seen.instances("t4-plain"))) == (5, 1)
    assert (seen.running("t4-plain-bare"), len(seen.instances("t4-plain-bare"))) == (5, 5)
    assert seen.gpus("t4-plain-bare") == [{GPU: 5}] * 5
    with_overlay, without = seen.get("NodePool", "t4-plain"), seen.get("NodePool", "t4-plain-bare")
    assert with_overlay["spec"]["limits"] == without["spec"]["limits"]
    labels = [p["spec"]["template"]["metadata"]["labels"][PLUGIN_LABEL] for p in (with_overlay, without)]
    assert labels == ["time-slicing-5-plain"] * 2
    assert [o["metadata"]["name"] for o in seen.objects["NodeOverlay"] if "plain" in o["metadata"]["name"]] == [
        "t4-plain-1gpu"
    ]


def test_renamed_slices_without_the_overlay_are_never_bought(proof, changed):
    for seen in (proof.held, proof.after, changed.after):
        refusals = seen.karpenter_refusals("t4-five-bare")
        assert len(seen.pods("t4-five-bare")) == 5
        assert len({r for r in refusals if "no instance type has enough resources" in r}) >= 1
        assert any('"nvidia.com/gpu.shared":"1"' in r for r in refusals)
        assert seen.hosts("t4-five-bare") == set()
        assert not seen.claims("t4-five-bare")
        assert not seen.instances("t4-five-bare")
        assert not seen.instances("t4-five-bare", "terminated")


@pytest.mark.parametrize("pool", SLICED)
def test_node_overlay_and_plugin_configuration_say_the_same_number_of_slices(proof, pool):
    nodes = proof.after.nodes(pool)
    assert nodes
    for node in nodes:
        advertised = gpu_resources(node["status"]["allocatable"])
        assert advertised == overlay_capacity(proof.after, node)
        assert advertised == configured(proof.after, node)


@pytest.mark.parametrize("pool", SLICED)
def test_karpenter_counted_with_the_overlay(proof, pool):
    claims = proof.after.claims(pool)
    assert claims
    for claim in claims:
        assert claim["metadata"]["annotations"][APPLIED] == "true"
        assert condition(claim, "Initialized") == "True"
        node = proof.after.get("Node", claim["status"]["nodeName"])
        assert gpu_resources(claim["status"]["capacity"]) == gpu_resources(node["status"]["capacity"])


@pytest.mark.parametrize("pool", ["t4-plain-bare", "h100-whole"])
def test_karpenter_counted_the_gpus_of_ec2_where_there_is_no_overlay(proof, pool):
    for claim in proof.after.claims(pool):
        assert APPLIED not in claim["metadata"]["annotations"]
        assert gpu_resources(claim["status"]["capacity"]) == {GPU: 1 if pool in BARE_POOLS else 8}


def overlay_capacity(seen: Snapshot, node: Mapping[str, Any]) -> dict[str, int]:
    """The capacity of the one overlay whose requirements the node's labels meet."""
    labels = node["metadata"]["labels"]
    (overlay,) = [
        o
        for o in seen.objects["NodeOverlay"]
        if all(labels.get(r["key"]) in r["values"] for r in o["spec"]["requirements"])
    ]
    return gpu_resources(overlay["spec"]["capacity"])


def configured(seen: Snapshot, node: Mapping[str, Any]) -> dict[str, int]:
    """The slices that the ConfigMap's entry of the node's label makes of the GPUs that EC2 says the node has."""
    labels = node["metadata"]["labels"]
    gpus = int(labels[GPU_COUNT])
    if MIG_LABEL in labels:
        text = seen.get("ConfigMap", MIG_CONFIG_MAP)["data"][MIG_CONFIG_KEY]
        (entry,) = yaml.safe_load(text)["mig-configs"][labels[MIG_LABEL]]
        return {f"nvidia.com/mig-{profile}": count * gpus for profile, count in entry["mig-devices"].items()}
    sharing = yaml.safe_load(seen.get("ConfigMap", PLUGIN_CONFIG_MAP)["data"][labels[PLUGIN_LABEL]])["sharing"]
    (resource,) = sharing["timeSlicing"]["resources"]
    suffix = ".shared" if sharing["timeSlicing"]["renameByDefault"] else ""
    return {resource["name"] + suffix: resource["replicas"] * gpus}


def test_other_replicas_replace_the_nodes(changed):
    """Four slices on each of two nodes become five on one: nothing is edited on a living node."""
    before, after = changed.again, changed.after
    old = {n["metadata"]["name"] for n in before.nodes("t4-shared")}
    (node,) = after.nodes("t4-shared")
    assert node["metadata"]["name"] not in old
    assert node["metadata"]["labels"][PLUGIN_LABEL] == "time-slicing-5"
    assert after.gpus("t4-shared") == [{GPU_SHARED: 5}]
    assert after.running("time-slicing-verification") == 5
    assert after.hosts("time-slicing-verification") == {node["metadata"]["name"]}
    assert len(after.instances("t4-shared", "terminated")) == 2


def test_other_replicas_are_drift_and_the_budget_takes_one_node_at_a_time(changed):
    old = {c["metadata"]["name"] for c in changed.again.claims("t4-shared")}
    versions = [(c["metadata"]["name"], c) for _, c in changed.claims if c["metadata"]["name"] in old]
    drifted = {name for name, claim in versions if condition(claim, "Drifted") == "True"}
    assert drifted == old
    hashes = {c["metadata"]["annotations"][POOL_HASH] for c in changed.again.claims("t4-shared")}
    assert {c["metadata"]["annotations"][POOL_HASH] for c in changed.after.claims("t4-shared")}.isdisjoint(hashes)
    pool = changed.after.get("NodePool", "t4-shared")
    (claim,) = changed.after.claims("t4-shared")
    assert claim["metadata"]["annotations"][POOL_HASH] == pool["metadata"]["annotations"][POOL_HASH]
    assert {"nodes": "1", "reasons": ["Drifted", "Underutilized"]} in pool["spec"]["disruption"]["budgets"]
    going = [name for name, claim in versions if claim["metadata"].get("deletionTimestamp")]
    first, second = dict.fromkeys(going)
    drained = next(i for i, (n, c) in enumerate(versions) if n == first and condition(c, "Drained") == "True")
    chosen = next(i for i, (n, c) in enumerate(versions) if n == second and c["metadata"].get("deletionTimestamp"))
    assert drained < chosen, "both nodes were drained at once"
