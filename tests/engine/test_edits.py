"""What an edit of the settings changes in a deployed stack: what it is about, and nothing else."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from stacks import NEEDS_ENGINE, Operation, Workspace

pytestmark = NEEDS_ENGINE

MIG_POOL = {
    "name": "a100-slices",
    "instanceTypes": ["p4d.24xlarge"],
    "sharing": {"mode": "mig", "layout": {"1g.5gb": 7}},
    "ami": "al2023@v20260915",
    "limits": {"nodes": 1},
}


# What the admission rules know of the pools: the slices' memory and who may use them; and their names.
RULES_OF_PODS = {
    f"ValidatingAdmissionPolicy gpu-slicing-{kind}": "update" for kind in ("pods", "templates", "cronjobs")
}
RULES_OF_POOLS = RULES_OF_PODS | {"ValidatingAdmissionPolicy gpu-slicing-own-nodeclasses": "update"}


def pool(config: dict[str, Any], name: str) -> dict[str, Any]:
    return next(p for p in config["pools"] if p["name"] == name)


def did(workspace: Workspace) -> dict[str, str]:
    """`pulumi up`: what it did to which resource; create-before-delete shows as one `replace`."""
    done: dict[str, str] = {}
    for operation in workspace.up():
        done[operation.label] = "replace" if operation.label in done else operation.verb
    return done


def test_more_replicas_touch_the_pool_and_what_is_known_of_it_alone(dev: Workspace, tmp_path: Path) -> None:
    workspace = dev.copy(tmp_path / "copy")
    workspace.edit(lambda config: pool(config, "t4-shared")["sharing"].update(replicas=5))
    # The quota of the tenant counts slices, which the pool still has; the catalogue has replicas 5 already.
    # The EC2NodeClass has the new limits written down, for the rule of the NodePool.
    of_pool = ["NodeOverlay t4-shared-1gpu", "NodePool t4-shared", "EC2NodeClass t4-shared"]
    # Its pods promise to stay within their slice, which is smaller now.
    of_pool.append("Deployment time-slicing-verification")
    assert did(workspace) == dict.fromkeys(of_pool, "update") | RULES_OF_PODS


def test_a_pool_comes_and_goes_without_touching_another(dev: Workspace, tmp_path: Path) -> None:
    """A pool of a GPU and a way of sharing that the stack did not have, added and removed, protected in between."""
    workspace = dev.copy(tmp_path / "copy")

    def add(config: dict[str, Any]) -> None:
        config["cluster"]["deletionProtection"] = True
        config["pools"].append(MIG_POOL)

    def remove(config: dict[str, Any]) -> None:
        config["pools"].remove(pool(config, MIG_POOL["name"]))

    workspace.edit(add)
    # The tenant's quota of the new slices is none, until its settings say otherwise.
    tenant = {"ResourceQuota team-vision": "update", "LimitRange team-vision": "update"}
    operator = {"ConfigMap mig-layouts": "create", "Release gpu-operator": "update"}
    made = {"EC2NodeClass a100-slices", "NodeOverlay a100-slices-8gpu", "NodePool a100-slices"}
    protected = {"Cluster cluster-eksCluster": "update"}
    assert did(workspace) == {**tenant, **operator, **RULES_OF_POOLS, **protected, **dict.fromkeys(made, "create")}

    workspace.edit(remove)
    before = len(workspace.log_lines())
    for command in ("up", "destroy"):
        said = workspace.fail(command, "--yes")
        assert "NodePool::a100-slices" in said
        assert "because it is protected" in said or "marked for protection" in said
    assert not workspace.operations(before)

    # Two steps: the engine goes by the protection that the state has.
    workspace.edit(
        lambda config: (config["pools"].append(MIG_POOL), config["cluster"].update(deletionProtection=False))
    )
    assert did(workspace) == protected
    workspace.edit(remove)
    operations = workspace.up()
    gone = {o.label: o for o in operations if o.verb == "delete"}
    assert gone.keys() == {*made, "ConfigMap mig-layouts"}
    assert labels_of(operations, "update") == {*tenant, *RULES_OF_POOLS, "Release gpu-operator"}
    node_pool = gone.pop("NodePool a100-slices")
    assert all(o.began > (node_pool.ended or 0) for o in gone.values())


def labels_of(operations: list[Operation], verb: str) -> set[str]:
    return {o.label for o in operations if o.verb == verb}


def test_a_third_zone_keeps_the_subnets_that_there_are(dev: Workspace, tmp_path: Path) -> None:
    workspace = dev.copy(tmp_path / "copy")
    workspace.edit(lambda config: config["cluster"]["vpc"].update(availabilityZones=3))
    done = did(workspace)
    assert {label for label, verb in done.items() if verb == "create"} == {
        "Subnet network-public-2",
        "Subnet network-private-2",
        "RouteTable network-private-2",
        "Route network-private-2",
        "RouteTableAssociation network-public-2",
        "RouteTableAssociation network-private-2-2",
    }
    # A managed node group cannot move to other subnets: a new one comes before the old one goes.
    assert {label: verb for label, verb in done.items() if verb != "create"} == {
        "VpcEndpoint network-s3": "update",
        "Cluster cluster-eksCluster": "update",
        "NodeGroup cluster-system": "replace",
    }
    groups = [o.verb for o in workspace.operations() if o.kind == "NodeGroup"]
    assert groups == ["create", "delete"]


def _edits(config: dict[str, Any]) -> None:
    cluster, shared = config["cluster"], pool(config, "t4-shared")
    cluster["endpoint"] = {"private": True, "public": True, "publicCidrs": ["198.51.100.0/24"]}
    cluster["systemNodes"] = {"instanceTypes": ["m7i.large", "m6i.large"], "count": 4}
    cluster["adminArns"] = ["arn:aws:iam::123456789012:role/platform"]
    shared |= {
        "capacityTypes": ["on-demand"],
        "ami": "al2023@v20261001",
        "rootVolume": "150Gi",
        "limits": {"nodes": 5},
        "labels": {"team": "vision"},
        "instanceTypes": ["g4dn.xlarge"],
    }
    config["gpuOperator"] = {"values": {"dcgm": {"enabled": True}}}
    config["monitoring"] = {"enabled": False}
    config["karpenter"] = {"version": "1.14.0"}


def test_no_edit_of_a_running_stack_replaces_what_holds_it(prod: Workspace, tmp_path: Path) -> None:
    workspace = prod.copy(tmp_path / "copy")
    workspace.edit(_edits)
    assert workspace.changes() == {
        "Cluster cluster": "update",
        "Cluster cluster-eksCluster": "update",
        "AccessEntry cluster-admin-123456789012-role-platform": "create",
        "AccessPolicyAssociation cluster-admin-123456789012-role-platform": "create",
        "NodeGroup cluster-system": "update",
        "Release karpenter": "update",
        "Release karpenter-crd": "update",
        "Release gpu-operator": "update",
        "EC2NodeClass t4-shared": "update",
        "NodePool t4-shared": "update",
        "NodeOverlay t4-shared-1gpu": "update",
        # Of the type that the pool no longer has.
        "NodeOverlay t4-shared-4gpu": "delete",
    }
