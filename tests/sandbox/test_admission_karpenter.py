"""Karpenter's pools and node classes, whoever writes them: what buys a GPU has a taint and a limit."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from admission_pods import SHARED, Manifest
from admission_stack import INSTANCE_TYPE, SETTLE_SECONDS, TAINT, Rules, node_pool, requires

from gpuslice.manifests.admission_nodes import LIMITS_ANNOTATION
from gpuslice.manifests.karpenter import pool_manifests
from sandbox.processes import wait_for

pytestmark = pytest.mark.sandbox

NODES = {"nodes": 4}
NO_GPU = [
    requires(INSTANCE_TYPE, "In", "m7i.large", "c7i.large"),
    requires("family", "In", "m7i", "r7g", "inf2", "trn1"),
    requires("category", "In", "c", "m", "r"),
    requires("category", "NotIn", "g", "gr", "p"),
    requires("gpu-count", "DoesNotExist"),
    requires("gpu-name", "DoesNotExist"),
    requires("gpu-manufacturer", "NotIn", "nvidia"),
    requires("gpu-manufacturer", "In", "amd"),
]
GPU = [
    requires(INSTANCE_TYPE, "In", "m7i.large", "g4dn.xlarge"),
    requires(INSTANCE_TYPE, "In", "p6-b200.48xlarge"),
    requires(INSTANCE_TYPE, "In", "g9.xlarge"),
    requires(INSTANCE_TYPE, "NotIn", "g4dn.xlarge"),
    requires("family", "In", "m7i", "gr6"),
    requires("family", "NotIn", "g4dn"),
    requires("category", "In", "c", "g"),
    requires("category", "In", "gr"),
    requires("category", "NotIn", "g", "p"),
    requires("gpu-count", "Exists"),
    requires("gpu-count", "Gt", "0"),
    requires("gpu-name", "In", "t4"),
    requires("gpu-manufacturer", "In", "nvidia", "amd"),
    requires("cpu", "Gt", "3"),
]


def label(found: Manifest) -> str:
    return f"{found['key'].split('/')[-1]} {found['operator']} {','.join(found.get('values', ()))}"


@pytest.mark.parametrize("found", NO_GPU, ids=label)
def test_a_pool_that_keeps_gpus_out_needs_neither_taint_nor_limit(rules, found):
    assert rules.api.create(node_pool("other", found)).admitted


@pytest.mark.parametrize("found", GPU, ids=label)
def test_a_pool_that_can_buy_a_gpu_needs_taint_and_limit(rules, found):
    assert rules.api.create(node_pool("other", found, limits=NODES, taints=[TAINT])).admitted
    assert rules.api.create(node_pool("other", found, limits=NODES)).refused_by == {"gpu-pool-taint"}
    assert rules.api.create(node_pool("other", found, taints=[TAINT])).refused_by == {"gpu-pool-limits"}


def test_a_pool_that_says_nothing_of_its_instances_can_buy_a_gpu(rules):
    verdict = rules.api.create(node_pool("other", limits=NODES))
    assert verdict.refused_by == {"gpu-pool-taint"}
    assert "require karpenter.k8s.aws/instance-category NotIn g, gr, p" in verdict.message


@pytest.mark.parametrize(
    "taint",
    [
        {**TAINT, "key": "nvidia.com/gpus"},
        {**TAINT, "key": "nvidia.com"},
        {**TAINT, "value": "false"},
        {**TAINT, "value": "present"},
        {**TAINT, "effect": "NoExecute"},
        {**TAINT, "effect": "PreferNoSchedule"},
        {"key": "nvidia.com/gpu", "effect": "NoSchedule"},
    ],
    ids=str,
)
def test_the_taint_is_exactly_that_one(rules, taint):
    assert rules.api.create(node_pool("other", limits=NODES, taints=[taint])).refused_by == {"gpu-pool-taint"}


def test_a_taint_that_goes_once_the_node_is_up_does_not_count(rules):
    started = node_pool("other", limits=NODES, startupTaints=[TAINT])
    assert rules.api.create(started).refused_by == {"gpu-pool-taint"}


@pytest.mark.parametrize(
    ("limits", "enough"),
    [({"nodes": "3"}, True), ({"nvidia.com/gpu": 8}, True), ({SHARED: "8"}, True), ({"cpu": "100"}, False)],
)
def test_the_limit_is_one_of_nodes_or_of_gpus(rules, limits, enough):
    verdict = rules.api.create(node_pool("other", limits=limits, taints=[TAINT]))
    assert verdict.refused_by == (set() if enough else {"gpu-pool-limits"})


def test_every_object_of_the_stack_itself_is_admitted(rules):
    for pool in rules.pools:
        for manifest in pool_manifests(pool, rules.settings):
            if manifest["kind"] != "NodeOverlay":
                assert rules.really(manifest).admitted


@pytest.fixture(scope="module")
def classes(rules: Rules) -> Iterator[None]:
    """The pools' EC2NodeClasses, from which the rules know what the NodePools must have."""
    for pool in rules.pools:
        rules.cluster.apply(of_pool(rules, "EC2NodeClass", pool.name))
    raised = of_pool(rules, "NodePool", "h100-whole")
    raised["spec"]["limits"]["nodes"] = "9"
    wait_for(lambda: not rules.really(raised).admitted, SETTLE_SECONDS, "the node classes to be known")
    yield
    for pool in rules.pools:
        rules.cluster.delete("karpenter.k8s.aws/v1", "EC2NodeClass", pool.name)


def of_pool(rules: Rules, kind: str, name: str) -> Manifest:
    (pool,) = [p for p in rules.pools if p.name == name]
    return copy.deepcopy(next(m for m in pool_manifests(pool, rules.settings) if m["kind"] == kind))


def taints(spec: Manifest) -> list[Manifest]:
    found: list[Manifest] = spec["template"]["spec"]["taints"]
    return found


LOST: dict[str, tuple[str, Callable[[Manifest], Any], str]] = {
    "no MIG taint": ("a100-mig", lambda s: taints(s).pop(), "gpu-slicing.io/pool=a100-mig:NoSchedule"),
    "another pool's": ("a100-mig", lambda s: taints(s)[1].update(value="h100-mig"), "a100-mig:NoSchedule"),
    "another effect": ("a100-mig", lambda s: taints(s)[1].update(effect="NoExecute"), "a100-mig:NoSchedule"),
    "no extra taint": ("t4-plain", lambda s: taints(s).pop(1), "example.com/plain:NoSchedule"),
    "no soft taint": ("t4-plain", lambda s: taints(s).pop(), "example.com/soft:PreferNoSchedule"),
    "no value": ("t4-plain", lambda s: taints(s)[2].pop("value"), "example.com/team=a:NoExecute"),
    "an extra taint with a value": ("t4-plain", lambda s: taints(s)[1].update(value="x"), "example.com/plain:"),
}
RAISED: dict[str, tuple[Callable[[Manifest], Any], str]] = {
    "more nodes": (lambda s: s["limits"].update(nodes="3"), "nodes=2"),
    "more slices": (lambda s: s["limits"].update({SHARED: 9}), f"{SHARED}=8"),
    "more, by number and not by text": (lambda s: s["limits"].update(nodes="10"), "nodes=2"),
    "no limit of nodes": (lambda s: s["limits"].pop("nodes"), "nodes=2"),
    "no limit of slices": (lambda s: s["limits"].pop(SHARED), f"{SHARED}=8"),
    "no limit at all": (lambda s: s.update(limits={"cpu": "1", "nodes": "9"}), f"nodes=2; the limit is not {SHARED}=8"),
}


@pytest.mark.parametrize("change", LOST)
def test_a_pool_of_the_stack_keeps_its_taints(rules, classes, change):
    name, edit, told = LOST[change]
    changed = of_pool(rules, "NodePool", name)
    edit(changed["spec"])
    verdict = rules.really(changed)
    assert verdict.refused_by == {"pool-keeps-taints"}
    assert f"the taint {told}" in verdict.message or f"={told}" in verdict.message


@pytest.mark.parametrize("change", RAISED)
def test_a_pool_of_the_stack_keeps_its_limits(rules, classes, change):
    edit, told = RAISED[change]
    changed = of_pool(rules, "NodePool", "t4")
    edit(changed["spec"])
    verdict = rules.really(changed)
    assert verdict.refused_by == {"pool-keeps-limits"}
    assert f"the limit is not {told}" in verdict.message


@pytest.mark.parametrize(
    "edit",
    [
        lambda s: s["limits"].update(nodes=1),
        lambda s: s["limits"].update({SHARED: "4", "cpu": "9"}),
        lambda s: taints(s).append({"key": "example.com/more", "effect": "NoSchedule"}),
        lambda s: s.update(weight=5),
    ],
    ids=["fewer nodes", "fewer slices", "another taint", "another weight"],
)
def test_it_may_be_made_smaller(rules, classes, edit):
    changed = of_pool(rules, "NodePool", "t4")
    edit(changed["spec"])
    assert rules.really(changed).admitted


@pytest.mark.parametrize(("given", "number"), [("8", 8), ("8000m", 8), ("9", 9), ("9000m", 9), ("1k", 1000)])
def test_a_limit_is_a_number_however_it_is_written(rules, classes, given, number):
    """As the server hands it to the rules: nobody rewrites the quantities of Karpenter's objects."""
    for amount in (given, number):
        changed = of_pool(rules, "NodePool", "t4")
        changed["spec"]["limits"][SHARED] = amount
        assert rules.really(changed).refused_by == (set() if number <= 8 else {"pool-keeps-limits"})


def test_a_dry_run_of_a_larger_pool_is_not_refused(rules, classes):
    """`pulumi preview` makes one while its EC2NodeClass is still the old one."""
    changed = of_pool(rules, "NodePool", "t4")
    changed["spec"]["limits"]["nodes"] = "3"
    assert rules.api.create(changed).admitted
    assert not rules.really(changed).admitted


def test_another_pool_is_not_held_to_the_limits_of_this_one(rules, classes):
    changed = of_pool(rules, "NodePool", "t4")
    changed["metadata"]["name"] = "t4-more"
    changed["spec"]["limits"] = {"nodes": "100"}
    assert rules.really(changed).admitted


NODE_CLASSES: dict[str, tuple[str, Callable[[Manifest], Any]]] = {
    "hop limit 2": ("node-class-metadata", lambda s: s["metadataOptions"].update(httpPutResponseHopLimit=2)),
    "tokens optional": ("node-class-metadata", lambda s: s["metadataOptions"].update(httpTokens="optional")),
    "a plain volume": ("node-class-volumes", lambda s: s["blockDeviceMappings"][0]["ebs"].update(encrypted=False)),
    "a volume that does not say": ("node-class-volumes", lambda s: s["blockDeviceMappings"][0]["ebs"].pop("encrypted")),
    "a second, plain volume": (
        "node-class-volumes",
        lambda s: s["blockDeviceMappings"].append({"deviceName": "/dev/xvdz", "ebs": {"volumeSize": "9Gi"}}),
    ),
    "an empty list of volumes": ("node-class-volumes", lambda s: s.update(blockDeviceMappings=[])),
    "no volumes": ("node-class-volumes", lambda s: s.pop("blockDeviceMappings")),
}


@pytest.mark.parametrize("change", NODE_CLASSES)
def test_a_node_class_of_the_stack_stays_closed(rules, classes, change):
    rule, edit = NODE_CLASSES[change]
    changed = rules.cluster.get("karpenter.k8s.aws/v1", "EC2NodeClass", "t4")
    changed["spec"]["tags"]["example.com/note"] = "x"
    assert rules.api.update(changed).admitted
    edit(changed["spec"])
    assert rules.api.update(changed).refused_by == {rule}
    other = of_pool(rules, "EC2NodeClass", "t4")
    other["metadata"]["name"] = "somebody-elses"
    edit(other["spec"])
    assert rules.api.create(other).admitted


def test_a_node_class_without_metadata_options_has_closed_ones(rules, classes):
    """Karpenter's schema fills them in before the rules look."""
    changed = rules.cluster.get("karpenter.k8s.aws/v1", "EC2NodeClass", "t4")
    del changed["spec"]["metadataOptions"]
    assert rules.api.update(changed).admitted


def test_pools_are_judged_at_an_update_and_node_classes_at_their_creation_too(rules, classes):
    made = rules.cluster.create(of_pool(rules, "NodePool", "a100-mig"))
    taints(made["spec"]).pop()
    assert rules.api.update(made, dry_run=False).refused_by == {"pool-keeps-taints"}
    rules.cluster.delete("karpenter.sh/v1", "NodePool", "a100-mig")
    open_class = of_pool(rules, "EC2NodeClass", "t4")
    open_class["spec"]["metadataOptions"]["httpPutResponseHopLimit"] = 2
    rules.cluster.delete("karpenter.k8s.aws/v1", "EC2NodeClass", "t4")
    assert rules.really(open_class).refused_by == {"node-class-metadata"}
    rules.cluster.apply(of_pool(rules, "EC2NodeClass", "t4"))


def test_a_larger_pool_is_taken_once_its_node_class_says_so(rules, classes):
    """The order in which the program makes them: the rule reads the newest, in no time."""
    larger, node_class = of_pool(rules, "NodePool", "l4"), of_pool(rules, "EC2NodeClass", "l4")
    larger["spec"]["limits"]["nodes"] = "3"
    assert rules.really(larger).refused_by == {"pool-keeps-limits"}
    annotations = node_class["metadata"]["annotations"]
    annotations[LIMITS_ANNOTATION] = annotations[LIMITS_ANNOTATION].replace("nodes=2", "nodes=3")
    rules.cluster.apply(node_class)
    wait_for(lambda: rules.really(larger).admitted, 1, "the node class to be read")


@pytest.mark.parametrize("annotations", [{}, {LIMITS_ANNOTATION: "x"}, {LIMITS_ANNOTATION: "nodes=x"}])
def test_a_node_class_that_lost_its_notes_does_not_open_its_pool(rules, classes, annotations):
    node_class = of_pool(rules, "EC2NodeClass", "h100-mig")
    node_class["metadata"]["annotations"] = annotations
    rules.cluster.apply(node_class)
    pool = of_pool(rules, "NodePool", "h100-mig")
    wait_for(lambda: not rules.really(pool).admitted, SETTLE_SECONDS, "the node class to be read")
    assert "pool-keeps-limits" in rules.really(pool).refused_by


def test_a_node_pool_without_its_node_class_can_be_made_and_go(rules):
    lone = of_pool(rules, "NodePool", "t4")
    lone["metadata"]["name"], lone["metadata"]["finalizers"] = "lone", ["example.com/keep"]
    assert rules.really(lone).admitted
    wait_for(lambda: rules.cluster.get("karpenter.sh/v1", "NodePool", "lone") is None, 30, "the pool to be gone")
