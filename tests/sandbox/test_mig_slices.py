"""MIG pools: slices come after the node, and until then whole GPUs stand there that nobody must take."""

from __future__ import annotations

import pytest
from scenarios import TAINT_KEYS, WHOLE_GPU_PODS, tolerated_keys

from gpuslice.pools import GPU, POOL_LABEL
from sandbox.nodes import MIG_STATE_LABEL

pytestmark = pytest.mark.sandbox

SLICES = {
    "a100-mig": {"nvidia.com/mig-1g.5gb": 24, "nvidia.com/mig-2g.10gb": 16},
    "h100-mig": {"nvidia.com/mig-1g.10gb": 7},
}
# 24 pods of one slice, 16 of the other, 7 on the H100: exactly what one node of each pool has.
APPS = {"a100-mig-1g": ("a100-mig", 24), "a100-mig-2g": ("a100-mig", 16), "h100-mig": ("h100-mig", 7)}


@pytest.mark.parametrize(("pool", "instance_type"), [("a100-mig", "p4d.24xlarge"), ("h100-mig", "p5.4xlarge")])
def test_one_node_has_all_the_slices_of_its_layout(proof, pool, instance_type):
    assert [i["type"] for i in proof.after.instances(pool)] == [instance_type]
    assert proof.after.gpus(pool) == [SLICES[pool]]
    assert [n["metadata"]["labels"][MIG_STATE_LABEL] for n in proof.after.nodes(pool)] == ["success"]


@pytest.mark.parametrize("app", APPS)
def test_pods_that_ask_for_mig_slices_fill_that_node(proof, app):
    pool, pods = APPS[app]
    assert proof.after.running(app) == pods
    assert proof.after.hosts(app) == {n["metadata"]["name"] for n in proof.after.nodes(pool)}


def test_while_mig_is_held_back_the_nodes_show_whole_gpus_and_slices_wait(proof):
    assert proof.held.gpus("a100-mig") == [{GPU: 8}]
    assert proof.held.gpus("h100-mig") == [{GPU: 1}]
    for app in APPS:
        assert proof.held.running(app) == 0
        assert proof.held.hosts(app) == set()
    nodes = {pool: [n["metadata"]["uid"] for n in proof.held.nodes(pool)] for pool in SLICES}
    assert {pool: [n["metadata"]["uid"] for n in proof.after.nodes(pool)] for pool in SLICES} == nodes


@pytest.mark.parametrize("app", WHOLE_GPU_PODS)
def test_a_pod_for_a_whole_gpu_never_lands_on_a_node_of_slices(proof, changed, app):
    """It tolerates what EKS' admission makes it tolerate, and asks for a node of the pool by its label."""
    (pod,) = proof.held.pods(app)
    assert tolerated_keys(pod) & TAINT_KEYS == {GPU}
    for seen in (proof.held, proof.loose, proof.after, changed.again, changed.after):
        assert seen.hosts(app) == set()
        assert len(seen.pods(app)) == 1


@pytest.mark.parametrize("pool", ["a100-mig", "h100-mig"])
def test_its_own_taint_keeps_the_whole_gpu_pod_away_while_whole_gpus_are_free(proof, pool):
    app = f"whole-on-{pool}"
    (verdict,) = proof.held.unschedulable(app)
    assert "untolerated taint" in verdict
    # The nodes of other pools fall to the label first, so the taint is what the scheduler says of this one.
    assert "Insufficient" not in verdict
    taint = f"did not tolerate taint (taint={POOL_LABEL}={pool}:NoSchedule)"
    assert any(taint in refusal for refusal in proof.held.karpenter_refusals(app))


def test_on_a_time_sliced_node_the_whole_gpu_pod_finds_no_whole_gpu(proof):
    (verdict,) = proof.held.unschedulable("whole-on-t4-shared")
    assert "Insufficient nvidia.com/gpu" in verdict
    refusals = proof.held.karpenter_refusals("whole-on-t4-shared")
    assert any("no instance type has enough resources" in refusal for refusal in refusals)


def test_eight_whole_gpus_are_found_in_the_exclusive_pool_although_eight_stand_idle_beside(proof):
    seen = proof.held
    assert seen.gpus("a100-mig") == [{GPU: 8}]
    assert seen.running("whole-anywhere") == 1
    assert [i["type"] for i in seen.instances("h100-whole")] == ["p5.48xlarge"]
    assert seen.hosts("whole-anywhere") == {n["metadata"]["name"] for n in seen.nodes("h100-whole")}
    (pod,) = seen.pods("whole-anywhere")
    assert tolerated_keys(pod) & TAINT_KEYS == {GPU}
    assert "nodeSelector" not in pod["spec"]


def test_without_its_own_taint_a_mig_node_is_taken_by_a_whole_gpu_and_mig_fails(proof, changed):
    """The same pool less one taint: it is this taint, and nothing else, that keeps whole GPUs away."""
    guarded, loose = proof.loose.get("NodePool", "a100-mig"), proof.loose.get("NodePool", "a100-loose")
    taints = [p["spec"]["template"]["spec"]["taints"] for p in (guarded, loose)]
    assert [t for t in taints[0] if t not in taints[1]] == [
        {"key": POOL_LABEL, "value": "a100-mig", "effect": "NoSchedule"}
    ]
    assert proof.loose.running("whole-on-a100-loose") == 1
    assert proof.loose.hosts("whole-on-a100-loose") == {n["metadata"]["name"] for n in proof.loose.nodes("a100-loose")}
    (guarded_pod,), (loose_pod,) = proof.loose.pods("whole-on-a100-mig"), proof.loose.pods("whole-on-a100-loose")
    assert tolerated_keys(guarded_pod) == tolerated_keys(loose_pod)
    assert tolerated_keys(guarded_pod) & TAINT_KEYS == {GPU}
    (node,) = changed.again.nodes("a100-loose")
    assert node["metadata"]["labels"][MIG_STATE_LABEL] == "failed"
    assert changed.again.running("a100-loose") == 0
