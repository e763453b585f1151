"""The verification workload asks for a slice of its pool, can run there, and nowhere it should not."""

from typing import Any

import pytest

from gpuslice.catalog import versions
from gpuslice.manifests.verification import deployment_name, verification_manifests
from gpuslice.pools import Pool
from tests.helpers import MIG, SHARED, WHOLE, config_of, run, stack_of

TWO = {**MIG, "sharing": {"mode": "mig", "layout": {"2g.10gb": 2, "1g.5gb": 3}}}
TAINTED = {**SHARED, "extraTaints": [{"key": "example.com/team", "effect": "NoExecute"}]}
MPS = {**SHARED, "sharing": {"mode": "mps", "replicas": 4}}
ALL = [SHARED, TAINTED, MPS, TWO, WHOLE]


def manifests(base: dict[str, Any], **fields: Any) -> list[dict[str, Any]]:
    return verification_manifests(stack_of(base, verification={"pool": base["name"], **fields}))


def template(base: dict[str, Any], **fields: Any) -> dict[str, Any]:
    return manifests(base, **fields)[-1]["spec"]["template"]["spec"]


def resources(base: dict[str, Any], **fields: Any) -> dict[str, Any]:
    (container,) = template(base, **fields)["containers"]
    return container["resources"]


def tolerates(toleration: dict[str, str], taint: dict[str, str]) -> bool:
    """Kubernetes' rule for one taint."""
    if toleration["key"] != taint["key"] or toleration["effect"] != taint["effect"]:
        return False
    return toleration["operator"] == "Exists" or toleration.get("value", "") == taint.get("value", "")


@pytest.mark.parametrize(
    ("base", "fields", "resource"),
    [
        (SHARED, {}, "nvidia.com/gpu.shared"),
        (MPS, {}, "nvidia.com/gpu.shared"),
        (WHOLE, {}, "nvidia.com/gpu"),
        (TWO, {}, "nvidia.com/mig-1g.5gb"),
        (TWO, {"profile": "2g.10gb"}, "nvidia.com/mig-2g.10gb"),
    ],
)
def test_each_pod_asks_for_one_slice(base, fields, resource):
    found = resources(base, **fields)
    for part in ("requests", "limits"):
        assert {k: v for k, v in found[part].items() if k.startswith("nvidia.com/")} == {resource: "1"}


@pytest.mark.parametrize("base", ALL, ids=lambda b: f"{b['name']} {b['sharing']['mode']}")
def test_it_runs_on_its_pools_nodes_alone(base):
    pod = template(base)
    pool = Pool.of(stack_of(base).pools[0])
    assert pod["nodeSelector"] == {"gpu-slicing.io/pool": pool.name}
    assert pod["nodeSelector"].items() <= pool.node_labels.items()
    for taint in pool.taints:
        assert any(tolerates(toleration, taint) for toleration in pod["tolerations"])


@pytest.mark.parametrize("base", ALL, ids=lambda b: f"{b['name']} {b['sharing']['mode']}")
def test_it_meets_the_restricted_standard_that_its_namespace_demands(base):
    """kubernetes.io/docs/concepts/security/pod-security-standards"""
    space, _, deployment = manifests(base)
    assert space["metadata"]["labels"]["pod-security.kubernetes.io/enforce"] == "restricted"
    assert deployment["metadata"]["namespace"] == space["metadata"]["name"]
    pod = template(base)
    (container,) = pod["containers"]
    assert pod["securityContext"]["runAsNonRoot"] is True
    assert pod["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
    assert container["securityContext"]["allowPrivilegeEscalation"] is False
    assert container["securityContext"]["capabilities"] == {"drop": ["ALL"]}
    assert not {"hostNetwork", "hostPID", "hostIPC", "volumes"} & pod.keys()


def test_its_pods_have_no_network():
    """An empty selector is every pod of the namespace; a direction without a rule lets nothing through."""
    space, policy, deployment = manifests(SHARED)
    assert policy["kind"] == "NetworkPolicy"
    namespaces = {space["metadata"]["name"], *(o["metadata"]["namespace"] for o in (policy, deployment))}
    assert len(namespaces) == 1
    assert policy["spec"] == {"podSelector": {}, "policyTypes": ["Ingress", "Egress"]}


def test_the_component_has_no_pod_before_the_network_is_closed():
    recording = run(config_of({"pools": [SHARED], "verification": {"pool": "t4-shared", "replicas": 1}}))
    (policy,) = recording.by_type("kubernetes:networking.k8s.io/v1:NetworkPolicy")
    (deployment,) = recording.by_type("kubernetes:apps/v1:Deployment")
    assert policy.inputs["spec"] == manifests(SHARED)[1]["spec"]
    assert policy.urn in deployment.dependencies


def test_names_follow_the_sharing_mode():
    names = {deployment_name(Pool.of(stack_of(base).pools[0])) for base in (SHARED, MPS, TWO, WHOLE)}
    assert names == {"time-slicing-verification", "mps-verification", "mig-verification", "exclusive-verification"}


def test_replicas_selector_and_image():
    deployment = manifests(SHARED, replicas=3)[-1]
    assert deployment["spec"]["replicas"] == 3
    labels = deployment["spec"]["template"]["metadata"]["labels"]
    assert deployment["spec"]["selector"]["matchLabels"].items() <= labels.items()
    assert template(SHARED)["containers"][0]["image"] == versions.CUDA_IMAGE


def test_an_update_buys_no_node_for_a_moment():
    assert manifests(SHARED)[-1]["spec"]["strategy"] == {"type": "Recreate"}


def test_a_stack_without_one_has_none():
    assert verification_manifests(stack_of(SHARED)) == []


def test_the_component_waits_as_long_as_a_gpu_node_takes():
    recording = run(config_of({"pools": [SHARED], "verification": {"pool": "t4-shared", "replicas": 1}}))
    (deployment,) = recording.by_type("kubernetes:apps/v1:Deployment")
    assert deployment.custom_timeouts == {"create": "30m", "update": "30m"}
