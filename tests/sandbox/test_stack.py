"""`gpuslice up`: the program's own objects in a real control plane, five pods on two GPUs, a second run, a third."""

from __future__ import annotations

from typing import Any

import pytest
from scenarios import condition

from gpuslice.pools import POOL_LABEL
from sandbox.deploy import READY_KINDS, Key
from tests.subset import missing

pytestmark = pytest.mark.sandbox

APP = "time-slicing-verification"


def test_up_ends_with_five_pods_on_the_two_nodes_that_they_need(local_up):
    seen = local_up.after
    assert local_up.exit_code == 0
    assert (seen.running(APP), len(seen.pods(APP))) == (5, 5)
    assert [i["type"] for i in seen.every_instance] == ["g4dn.xlarge"] * 2
    assert len(seen.objects["Node"]) == len(seen.claims("t4-shared")) == 2
    assert seen.hosts(APP) == {n["metadata"]["name"] for n in seen.nodes("t4-shared")}


def test_up_says_what_runs_what_it_costs_and_what_is_left_out(local_up):
    lines = [" ".join(line.split()) for line in local_up.printed.splitlines()]
    assert lines[:4] == [
        "Pool t4-shared",
        "pods 5/5 running",
        "nodes 2 x g4dn.xlarge",
        "slices nvidia.com/gpu.shared: 5 of 8 used",
    ]
    # 2 and 5 nodes at the list price of 0.526 an hour, 720 hours.
    assert lines[4] == "cost $1.052/h, $757.44/month"
    assert lines[5].startswith("against $2.630/h, $1,893.60/month for a whole GPU for each pod (5 x g4dn.xlarge)")
    assert "60 % less" in lines[5]
    start = next(n for n, line in enumerate(lines) if line.startswith("Not deployed here, "))
    left_out = lines[start + 1 :]
    assert "3 Helm release" in " ".join(left_out)
    assert "1 NodeGroup" in " ".join(left_out)
    assert any("kubectl --kubeconfig" in line for line in lines)


def test_up_tells_its_progress_apart_from_its_result(local_up):
    assert local_up.told[-1] == f"waiting for Deployment gpu-slicing-verification/{APP}: 5 pods"
    assert "Karpenter has accepted the pools" in local_up.told
    assert not set(local_up.told) & set(local_up.printed.splitlines())


def test_every_declared_object_is_in_the_cluster_as_declared(proof):
    for manifest in proof.objects:
        kind, name = manifest["kind"], manifest["metadata"]["name"]
        live = proof.after.named(kind).get(Key.of(manifest))
        assert live is not None, f"{kind} {name} is missing"
        assert missing(manifest, live) == [], f"{kind} {name} is not what the program declares"
    kinds = {m["kind"] for m in proof.objects}
    assert kinds == {
        "ConfigMap",
        "Deployment",
        "EC2NodeClass",
        "LimitRange",
        "Namespace",
        "NetworkPolicy",
        "NodeOverlay",
        "NodePool",
        "ResourceQuota",
        "ValidatingAdmissionPolicy",
        "ValidatingAdmissionPolicyBinding",
    }


def test_karpenter_finds_every_object_of_its_kinds_valid(proof):
    found = [o for kind in READY_KINDS for o in proof.after.objects[kind]]
    verdicts = {str(Key.of(o)): (condition(o, "ValidationSucceeded"), condition(o, "Ready")) for o in found}
    assert set(verdicts.values()) == {("True", "True")}, verdicts
    declared = {str(Key.of(o)) for o in (*proof.objects, *proof.loose_objects) if o["kind"] in READY_KINDS}
    assert verdicts.keys() == declared


def test_a_second_deployment_changes_nothing(proof, changed):
    def state(manifest: dict[str, Any]) -> Any:
        metadata = manifest["metadata"]
        # Controllers write the status of the others; only a change of what was asked for counts.
        return metadata.get("generation", metadata["resourceVersion"])

    for manifest in proof.objects:
        key = Key.of(manifest)
        before = proof.after.named(key.kind)[key]
        again = changed.again.named(key.kind)[key]
        assert (str(key), state(again)) == (str(key), state(before))
        assert again["metadata"]["uid"] == before["metadata"]["uid"]
    for kind in ("Node", "NodeClaim", "Pod"):
        assert changed.again.named(kind).keys() == proof.after.named(kind).keys()


GIVEN_UP = ("t4-five", "t4-plain-bare")
UNTOUCHED = ("t4-plain", "t4-five-bare", "a100-mig", "h100-mig", "h100-whole")


@pytest.mark.parametrize("pool", GIVEN_UP)
def test_a_pool_that_left_the_settings_is_gone_with_its_nodes(changed, pool):
    assert changed.again.instances(pool), "it had none before, so that its going shows nothing"
    for kind in READY_KINDS:
        names = [o["metadata"]["name"] for o in changed.after.objects[kind]]
        assert not [n for n in names if n == pool or n == f"{pool}-1gpu"]
    assert not changed.after.claims(pool)
    assert not changed.after.nodes(pool)
    assert not changed.after.instances(pool)
    assert len(changed.after.instances(pool, "terminated")) == len(changed.again.instances(pool))


@pytest.mark.parametrize("pool", UNTOUCHED)
def test_the_other_pools_are_left_alone(changed, pool):
    for kind in ("NodePool", "EC2NodeClass"):
        before, after = changed.again.get(kind, pool), changed.after.get(kind, pool)
        assert before["metadata"]["generation"] == after["metadata"]["generation"]
        assert before["metadata"]["uid"] == after["metadata"]["uid"]

    def names(manifests: list[dict[str, Any]]) -> set[str]:
        return {m["metadata"]["name"] for m in manifests}

    assert names(changed.after.nodes(pool)) == names(changed.again.nodes(pool))
    assert names(changed.after.claims(pool)) == names(changed.again.claims(pool))


def test_the_sandbox_remembers_what_it_deployed(changed, destroyed):
    assert changed.told[2] == "deleting NodePool t4-plain-bare, NodePool t4-five"
    # All of it was deleted by what was remembered, so nothing is left of either.
    assert destroyed.left == []
    assert POOL_LABEL not in str([n["metadata"]["labels"] for n in destroyed.after.objects["Node"]])
