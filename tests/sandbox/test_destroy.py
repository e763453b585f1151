"""Everything deleted in the reverse of the order of creation, while pods run: no instance outlives its NodePool."""

from __future__ import annotations

import pytest
from scenarios import Snapshot

from sandbox.deploy import READY_KINDS, Key

pytestmark = pytest.mark.sandbox

BUSY = ("t4-shared", "t4-plain", "a100-mig", "h100-mig", "h100-whole", "a100-loose")


def before(destroyed, kind: str) -> Snapshot:
    """What was there when the objects of a kind began to be deleted."""
    (moment,) = [seen for line, seen in destroyed.moments.items() if line.startswith(f"deleting {kind} ")]
    return moment


def deletions(destroyed, kind: str) -> dict[str, int]:
    """Name to the revision of the cluster at which the object was gone: one clock for all kinds."""
    gone = [o["metadata"] for event, o in destroyed.history[kind] if event == "DELETED"]
    return {m["name"]: int(m["resourceVersion"]) for m in gone}


def test_pods_ran_on_every_pool_when_the_node_pools_were_deleted(destroyed):
    seen = before(destroyed, "NodePool")
    for app, pods in {"t4-plain": 5, "a100-mig-1g": 24, "h100-mig": 7, "whole-anywhere": 1}.items():
        assert seen.running(app) == pods
    for pool in BUSY:
        assert len(seen.instances(pool)) == 1


def test_no_instance_and_no_claim_is_left_when_the_node_classes_go(destroyed):
    seen = before(destroyed, "EC2NodeClass")
    assert not seen.objects["NodePool"]
    assert not seen.objects["NodeClaim"]
    assert {i["state"] for i in seen.every_instance} == {"terminated"}
    # What the finalizers need is still there.
    assert {o["metadata"]["name"] for o in seen.objects["EC2NodeClass"]} >= set(BUSY)
    assert seen.get("Namespace", "gpu-operator")


@pytest.mark.parametrize("pool", BUSY)
def test_claims_then_their_pool_then_its_node_class(destroyed, pool):
    claims = [revision for name, revision in deletions(destroyed, "NodeClaim").items() if name.startswith(f"{pool}-")]
    assert claims
    assert max(claims) < deletions(destroyed, "NodePool")[pool] < deletions(destroyed, "EC2NodeClass")[pool]


def test_nothing_is_left(destroyed, proof):
    after = destroyed.after
    assert not after.objects["NodeClaim"]
    assert not after.objects["Node"]
    for kind in READY_KINDS:
        assert not after.objects[kind]
    assert len(after.every_instance) >= len(BUSY)
    assert {i["state"] for i in after.every_instance} == {"terminated"}
    left = {key for kind in after.objects for key in after.named(kind)}
    assert not left & {Key.of(o) for o in proof.objects}
