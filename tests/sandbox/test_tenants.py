"""What a tenant's namespace lets in: one slice for a container, its quota in all, and no GPU for who asks for none."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any

import pytest
from scenarios import tolerated_keys

from gpuslice.pools import GPU, GPU_SHARED
from gpuslice.project import project_root
from offline import preview
from sandbox.client import ApiRefused, Cluster
from sandbox.deploy import Manifest
from sandbox.processes import wait_for

pytestmark = pytest.mark.sandbox

TEAM = "team-vision"
RESTRICTED = {
    "allowPrivilegeEscalation": False,
    "runAsNonRoot": True,
    "capabilities": {"drop": ["ALL"]},
    "seccompProfile": {"type": "RuntimeDefault"},
}


@pytest.fixture(scope="module")
def team(cluster: Cluster) -> Iterator[str]:
    """The tenant of the stack `prod`, with its quota in force."""
    stack = preview.record_stack(project_root(), "prod", unknowns=False)
    objects = stack.recording.kubernetes_objects()
    mine = [o for o in objects if TEAM in (o["metadata"].get("namespace"), o["metadata"]["name"])]
    assert [o["kind"] for o in mine] == ["Namespace", "LimitRange", "ResourceQuota"]
    for manifest in mine:
        cluster.apply(manifest)
    wait_for(lambda: cluster.get("v1", "ServiceAccount", "default", TEAM), 30, f"the service account of {TEAM}")

    def counted() -> Any:
        return (cluster.get("v1", "ResourceQuota", "gpu-slices", TEAM) or {}).get("status", {}).get("used")

    wait_for(counted, 30, "the quota to be counted")
    yield TEAM
    cluster.delete("v1", "Namespace", TEAM)


def pod(name: str, *containers: Mapping[str, str], **spec: Any) -> Manifest:
    """A pod whose containers ask for these resources."""
    made = [
        {
            "name": f"c{number}",
            "image": "registry.invalid/none",
            "securityContext": RESTRICTED,
            "resources": {"limits": dict(limits)} if limits else {},
        }
        for number, limits in enumerate(containers)
    ]
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": name, "namespace": TEAM},
        "spec": {"containers": made, **spec},
    }


def try_out(cluster: Cluster, manifest: Manifest) -> Manifest:
    return cluster.apply(manifest, dry_run=True)


def test_one_slice_is_admitted_and_tolerates_its_taint(cluster, team):
    admitted = try_out(cluster, pod("one", {GPU_SHARED: "1"}))
    (container,) = admitted["spec"]["containers"]
    assert container["resources"]["limits"][GPU_SHARED] == "1"
    assert tolerated_keys(admitted) >= {GPU_SHARED}


def test_two_slices_in_one_container_are_refused(cluster, team):
    with pytest.raises(ApiRefused, match=r"maximum nvidia.com/gpu.shared usage per Container is 1, but limit is 2"):
        try_out(cluster, pod("two", {GPU_SHARED: "2"}))


def test_a_pod_without_gpu_gets_no_slice_and_no_toleration_for_whole_gpus(cluster, team):
    admitted = try_out(cluster, pod("none", {}))
    (container,) = admitted["spec"]["containers"]
    counts = {**container["resources"].get("limits", {}), **container["resources"].get("requests", {})}
    assert {name: n for name, n in counts.items() if name.startswith("nvidia.com/") and n != "0"} == {}
    assert GPU not in tolerated_keys(admitted)
    # It has what a container without requests gets here.
    assert container["resources"]["requests"]["cpu"] == "100m"


def test_a_quota_of_the_pool_is_the_limit_and_names_itself(cluster, team):
    sixteen = [{GPU_SHARED: "1"}] * 16
    try_out(cluster, pod("sixteen", *sixteen))
    with pytest.raises(ApiRefused) as refused:
        try_out(cluster, pod("seventeen", *sixteen, {GPU_SHARED: "1"}))
    assert "exceeded quota: gpu-slices" in refused.value.message
    assert "requested: requests.nvidia.com/gpu.shared=17" in refused.value.message
    assert "limited: requests.nvidia.com/gpu.shared=16" in refused.value.message


@pytest.mark.parametrize(("resource", "quota"), [("nvidia.com/mig-1g.5gb", 12), ("nvidia.com/mig-2g.10gb", 8)])
def test_each_mig_profile_has_a_quota_of_its_own(cluster, team, resource, quota):
    try_out(cluster, pod("all", *[{resource: "1"}] * quota))
    with pytest.raises(ApiRefused, match=f"limited: requests.{resource}={quota}"):
        try_out(cluster, pod("more", *[{resource: "1"}] * (quota + 1)))


@pytest.mark.parametrize("resource", [GPU, "nvidia.com/mig-1g.10gb"])
def test_what_the_tenant_was_not_given_is_refused(cluster, team, resource):
    with pytest.raises(ApiRefused, match=f"exceeded quota: gpu-slices.*limited: requests.{resource}=0"):
        try_out(cluster, pod("foreign", {resource: "1"}))


def test_pods_must_meet_the_restricted_standard(cluster, team):
    loose = pod("loose", {})
    del loose["spec"]["containers"][0]["securityContext"]
    with pytest.raises(ApiRefused, match=re.escape('violates PodSecurity "restricted:v1.35"')):
        try_out(cluster, loose)
