"""From nothing to a deployed stack and back to nothing, in the order in which the engine really did it."""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path

import pytest
from stacks import NEEDS_ENGINE, ROOT, NewWorkspace, Operation, Workspace

from gpuslice.catalog.prices import stack_prices
from gpuslice.pools import Pool
from gpuslice.project import read_settings

pytestmark = NEEDS_ENGINE

RULES = ("pods", "templates", "cronjobs", "nodepools", "own-nodepools", "own-nodeclasses", "bindings")
ADMISSION = {f"ValidatingAdmissionPolicy{kind} gpu-slicing-{rule}" for rule in RULES for kind in ("", "Binding")}
# What may go before the NodePools are gone: what runs on their nodes, and what their nodes' end does not need.
LEAVES_EARLY = ADMISSION | {
    "Deployment time-slicing-verification",
    "Namespace gpu-slicing-verification",
    "NetworkPolicy no-traffic",
}
T4 = {"name": "t4", "instanceTypes": ["g4dn.xlarge"], "sharing": {"mode": "time-slicing", "replicas": 4}}
TENANT_KINDS = {"Namespace", "ResourceQuota", "LimitRange"}


def labels(operations: Iterable[Operation]) -> set[str]:
    return {o.label for o in operations}


def ended(operation: Operation) -> int:
    assert operation.ended is not None, f"{operation.label} never ended"
    return operation.ended


def first_order(dev_or_prod: Workspace) -> list[Operation]:
    """The creates of the first `pulumi up` of a shared stack: nothing else was ever done to it."""
    operations = dev_or_prod.operations()
    assert {o.verb for o in operations} == {"create"}
    return operations


def unfinished_at(operations: Iterable[Operation], then: Operation) -> set[str]:
    """Those that had not ended when `then` began."""
    return labels(o for o in operations if ended(o) > then.began)


# ---- creation


@pytest.mark.parametrize("stack", ["dev", "prod"])
def test_a_node_pool_is_made_when_all_that_its_nodes_need_is_there(stack: str, request: pytest.FixtureRequest) -> None:
    operations = first_order(request.getfixturevalue(stack))
    pools = [o for o in operations if o.kind == "NodePool"]
    assert pools
    for pool in pools:
        needs = [o for o in operations if needed_by_node_pools(o, pool.name)]
        assert not unfinished_at(needs, pool)


@pytest.mark.parametrize("stack", ["dev", "prod"])
def test_the_platform_is_made_from_the_ground_up(stack: str, request: pytest.FixtureRequest) -> None:
    workspace: Workspace = request.getfixturevalue(stack)
    operations = first_order(workspace)
    by_label = {o.label: o for o in operations}
    cluster = by_label["Cluster cluster-eksCluster"]
    ground = [o for o in operations if o.kind in {"Subnet", "Route", "NatGateway", "Key"}]
    assert ground
    assert not unfinished_at(ground, cluster)
    assert ended(by_label["LogGroup cluster"]) < cluster.began
    assert ended(by_label["NodeGroup cluster-system"]) < by_label["Addon cluster-coredns"].began
    assert ended(by_label["Release karpenter-crd"]) < by_label["Release karpenter"].began
    for config_map in (o for o in operations if o.kind == "ConfigMap"):
        assert ended(by_label["Namespace gpu-operator"]) < config_map.began
        assert ended(config_map) < by_label["Release gpu-operator"].began


def test_the_kubernetes_provider_talks_to_the_new_cluster(dev: Workspace) -> None:
    """With an unknown address in the first preview, with that of the cluster in the update."""
    cluster = next(r for r in dev.export() if r["type"] == "aws:eks/cluster:Cluster")
    servers = {line["server"] for line in dev.log_lines() if line["operation"] == "configure"}
    assert servers == {cluster["outputs"]["endpoint"]}


# ---- the same again, and the outputs


def test_a_second_preview_shows_no_change(prod: Workspace) -> None:
    prod.succeed("preview", "--expect-no-changes")


def test_a_second_up_does_nothing(dev: Workspace) -> None:
    before = len(dev.log_lines())
    dev.succeed("up", "--yes", "--skip-preview", "--expect-no-changes")
    assert not dev.operations(before)


@pytest.mark.parametrize("stack", ["dev", "prod"])
def test_outputs_are_the_contract_that_other_stacks_read(stack: str, request: pytest.FixtureRequest) -> None:
    workspace: Workspace = request.getfixturevalue(stack)
    settings = read_settings(ROOT / f"Pulumi.{stack}.yaml")
    outputs = json.loads(workspace.succeed("stack", "output", "--json"))
    assert outputs == {
        "contractVersion": 1,
        "clusterName": settings.cluster.name,
        "region": settings.region,
        "kubeconfig": "[secret]",
        "gpuPools": {
            p.name: json.loads(json.dumps(Pool.of(p).output(stack_prices(settings.region)))) for p in settings.pools
        },
    }
    shown = json.loads(workspace.succeed("stack", "output", "--json", "--show-secrets"))["kubeconfig"]
    assert json.loads(shown)["users"][0]["user"]["exec"]["args"][-4:-2] == ["--cluster-name", settings.cluster.name]


def test_the_state_holds_no_kubeconfig_in_plain_text(dev: Workspace) -> None:
    """Of what this program puts there; what the EKS component itself reports is its own."""

    def ours(*arguments: str) -> str:
        return json.dumps([r for r in dev.export(*arguments) if r["type"] != "eks:index:Cluster"])

    for word in ("get-token", "current-context", "certificate-authority-data"):
        assert word in ours("--show-secrets")
        assert word not in ours()


# ---- destroy


def needed_by_node_pools(operation: Operation, pool: str) -> bool:
    """What the finalizers of a NodePool and its NodeClaims need, or what its nodes do until they are gone."""
    if operation.type.startswith("aws:"):
        return True
    if operation.kind in {"EC2NodeClass", "NodeOverlay"}:
        return operation.name == pool or operation.name.startswith(f"{pool}-")
    return operation.kind in {"Release", "ConfigMap"} or operation.label == "Namespace gpu-operator"


def early(operations: list[Operation]) -> set[str]:
    """What was gone, or going, before the last NodePool was gone; NodePools drain until nothing else happens."""
    last = max(ended(o) for o in operations if o.kind == "NodePool")
    return labels(o for o in operations if o.kind != "NodePool" and o.began < last)


def tenants(stack: str) -> set[str]:
    names = [tenant.namespace for tenant in read_settings(ROOT / f"Pulumi.{stack}.yaml").tenants]
    return {f"{kind} {name}" for kind in TENANT_KINDS for name in names}


def test_destroy_drains_the_pools_before_anything_that_they_need_goes(dev: Workspace, tmp_path: Path) -> None:
    workspace = dev.copy(tmp_path / "copy")
    operations = workspace.destroy()
    assert_drained_first(operations, LEAVES_EARLY | tenants("dev"))
    assert not workspace.export()


def assert_drained_first(operations: list[Operation], may_leave: set[str]) -> None:
    assert {o.verb for o in operations} == {"delete"}
    assert early(operations) <= may_leave
    by_label = {o.label: o for o in operations}
    for pool in (o for o in operations if o.kind == "NodePool"):
        needed = [o for o in operations if needed_by_node_pools(o, pool.name)]
        assert {"EC2NodeClass", "Release", "ConfigMap", "Role", "Queue", "AccessEntry", "NodeGroup"} <= {
            o.kind for o in needed
        }
        assert not [o.label for o in needed if o.began < ended(pool)]
    # Then Karpenter, then the cluster, then the way out of the network.
    cluster = by_label["Cluster cluster-eksCluster"]
    assert ended(by_label["Release karpenter"]) < by_label["Release karpenter-crd"].began
    assert ended(by_label["Release karpenter"]) < by_label["PodIdentityAssociation karpenter-controller"].began
    assert ended(by_label["NodeGroup cluster-system"]) < cluster.began
    assert ended(by_label["NodeGroup cluster-system"]) < by_label["Addon cluster-vpc-cni"].began
    for route in (o for o in operations if o.kind in {"Route", "NatGateway", "RouteTableAssociation", "VpcEndpoint"}):
        assert ended(cluster) < route.began


def test_without_the_edges_the_order_breaks(new_workspace: NewWorkspace) -> None:
    """The test above can fail: a program whose pools do not depend on the platform loses Karpenter first."""
    program = (ROOT / "__main__.py").read_text()
    edges = "depends_on=needs)"
    assert edges in program
    config = {
        "aws:region": "us-east-1",
        "gpu-slicing:cluster": {"name": "gpu-loose", "deletionProtection": False},
        "gpu-slicing:pools": [T4],
    }
    workspace = new_workspace("loose", config, program.replace(edges, "depends_on=[])"))
    workspace.up()
    operations = workspace.destroy()
    assert "Release karpenter" in early(operations)
    with pytest.raises(AssertionError):
        assert_drained_first(operations, LEAVES_EARLY)


def test_prod_drains_every_pool_first_once_its_protection_is_lifted(prod: Workspace, tmp_path: Path) -> None:
    """Two deliberate steps: `deletionProtection: false` and an update, then destroy. See `test_edits.py` for one."""
    workspace = prod.copy(tmp_path / "copy")
    workspace.edit(lambda config: config["cluster"].update(deletionProtection=False))
    assert {(o.verb, o.label) for o in workspace.up()} == {("update", "Cluster cluster-eksCluster")}
    operations = workspace.destroy()
    assert_drained_first(operations, LEAVES_EARLY | tenants("prod"))
    assert len([o for o in operations if o.kind == "NodePool"]) == 4


# ---- a cluster that exists


EXISTING_SERVER = "https://existing.example.org"


def kubeconfig(path: Path) -> None:
    user = {"exec": {"apiVersion": "client.authentication.k8s.io/v1beta1", "command": "aws", "args": ["eks"]}}
    path.write_text(
        json.dumps(
            {
                "apiVersion": "v1",
                "kind": "Config",
                "clusters": [{"name": "c", "cluster": {"server": EXISTING_SERVER}}],
                "contexts": [{"name": "ours", "context": {"cluster": "c", "user": "u"}}],
                "current-context": "ours",
                "users": [{"name": "u", "user": user}],
            }
        )
    )


def test_an_existing_cluster_is_used_and_not_touched(new_workspace: NewWorkspace, tmp_path: Path) -> None:
    file = tmp_path / "kubeconfig"
    kubeconfig(file)
    config = {
        "aws:region": "eu-west-1",
        "gpu-slicing:cluster": {
            "mode": "existing",
            "name": "theirs",
            "kubeconfig": {"path": str(file), "context": "ours"},
        },
        "gpu-slicing:pools": [T4],
    }
    workspace = new_workspace("theirs", config)
    made = workspace.up()
    assert not {o.kind for o in made} & {"Cluster", "Vpc", "Subnet", "NodeGroup", "Key"}
    assert {"NodePool t4", "Release karpenter", "Queue karpenter-interruption"} <= labels(made)
    assert {line["server"] for line in workspace.log_lines() if line["operation"] == "configure"} == {EXISTING_SERVER}
    workspace.succeed("preview", "--expect-no-changes")
    gone = workspace.destroy()
    assert early(gone) <= ADMISSION
    assert not workspace.export()


def test_a_kubeconfig_that_is_not_there_is_one_message(new_workspace: NewWorkspace, tmp_path: Path) -> None:
    config = {
        "aws:region": "eu-west-1",
        "gpu-slicing:cluster": {"mode": "existing", "name": "x", "kubeconfig": {"path": str(tmp_path / "none")}},
        "gpu-slicing:pools": [T4],
    }
    workspace = new_workspace("theirs", config)
    said = workspace.fail("preview")
    assert str(tmp_path / "none") in said
    assert "Traceback" not in said
