"""Tenants: pod-security labels, quotas in slices, limits of containers."""

from typing import Any

import pytest

from gpuslice.manifests.tenancy import (
    limit_range,
    namespace,
    operator_namespace,
    quota,
    resource_quota,
    tenant_manifests,
)
from gpuslice.pools import Pool
from gpuslice.settings import Tenant
from tests.helpers import MIG, SHARED, WHOLE, config_of, pools, run, stack_of

MODES = ("enforce", "warn", "audit")
TWO = {**MIG, "sharing": {"mode": "mig", "layout": {"1g.5gb": 3, "2g.10gb": 2}}}
PLAIN = {**SHARED, "name": "plain", "sharing": {"mode": "time-slicing", "replicas": 4, "rename": False}}
MORE = {**SHARED, "name": "t4-more"}


def tenant(*given: dict[str, Any], **fields: Any) -> tuple[Tenant, list[Pool]]:
    settings = stack_of(*given, tenants=[{"namespace": "team-a", **fields}])
    return settings.tenants[0], [Pool.of(p) for p in settings.pools]


def limits(*given: dict[str, Any]) -> dict[str, Any]:
    (found,) = limit_range(*tenant(*given))["spec"]["limits"]
    return found


class TestNamespace:
    @pytest.mark.parametrize("level", ["restricted", "baseline"])
    def test_pods_must_meet_the_standard_at_a_pinned_version(self, level):
        labels = namespace("team-a", level, "1.34")["metadata"]["labels"]
        assert {labels[f"pod-security.kubernetes.io/{mode}"] for mode in MODES} == {level}
        assert labels["pod-security.kubernetes.io/enforce-version"] == "v1.34"

    def test_restricted_is_the_default_and_the_version_is_the_clusters(self):
        settings = stack_of(SHARED, tenants=[{"namespace": "team-a"}], cluster={"kubernetesVersion": "1.34"})
        found = tenant_manifests(settings.tenants[0], settings, pools(SHARED))[0]["metadata"]["labels"]
        assert found["pod-security.kubernetes.io/enforce"] == "restricted"
        assert found["pod-security.kubernetes.io/enforce-version"] == "v1.34"

    def test_only_the_operators_is_privileged(self):
        settings = stack_of(SHARED)
        assert operator_namespace(settings)["metadata"]["labels"]["pod-security.kubernetes.io/enforce"] == "privileged"


class TestQuota:
    def test_what_was_not_given_is_nothing(self):
        assert quota(*tenant(SHARED, TWO, quota={"t4-shared": 8})) == {
            "nvidia.com/gpu": 0,
            "nvidia.com/gpu.shared": 8,
            "nvidia.com/mig-1g.5gb": 0,
            "nvidia.com/mig-2g.10gb": 0,
        }

    def test_by_profile(self):
        found = quota(*tenant(TWO, quota={"a100-mig": {"1g.5gb": 12}}))
        assert found == {"nvidia.com/gpu": 0, "nvidia.com/mig-1g.5gb": 12, "nvidia.com/mig-2g.10gb": 0}

    def test_a_number_is_enough_for_one_profile(self):
        assert quota(*tenant(MIG, quota={"a100-mig": 3}))["nvidia.com/mig-1g.5gb"] == 3

    def test_whole_gpus(self):
        assert quota(*tenant(WHOLE, quota={"h100-whole": 8})) == {"nvidia.com/gpu": 8}

    def test_pools_of_one_resource_add_up(self):
        """Kubernetes counts by the resource's name, not by where the pod runs."""
        found = quota(*tenant(SHARED, MORE, quota={"t4-shared": 3, "t4-more": 4}))
        assert found == {"nvidia.com/gpu": 0, "nvidia.com/gpu.shared": 7}

    def test_slices_that_keep_the_name_of_a_gpu(self):
        assert quota(*tenant(PLAIN, quota={"plain": 5})) == {"nvidia.com/gpu": 5}

    def test_extended_resources_have_the_requests_form_and_text(self):
        manifest = resource_quota(*tenant(SHARED, quota={"t4-shared": 8}))
        assert manifest["spec"]["hard"] == {"requests.nvidia.com/gpu": "0", "requests.nvidia.com/gpu.shared": "8"}
        assert manifest["metadata"]["namespace"] == "team-a"


class TestLimits:
    @pytest.mark.parametrize("given", [(SHARED,), (TWO,), (PLAIN,), (WHOLE,), (SHARED, TWO, WHOLE)])
    def test_never_the_plain_gpu(self, given):
        """A default for it, even of 0, makes EKS add the GPU toleration to every pod of the namespace."""
        found = limits(*given)
        for part in ("default", "defaultRequest", "max"):
            assert "nvidia.com/gpu" not in found.get(part, {})

    def test_one_slice_for_a_container_and_none_for_who_asks_none(self):
        found = limits(SHARED, TWO)
        names = {"nvidia.com/gpu.shared", "nvidia.com/mig-1g.5gb", "nvidia.com/mig-2g.10gb"}
        assert found["max"] == dict.fromkeys(names, "1")
        assert found["default"] == dict.fromkeys(names, "0")
        # Kubernetes wants request and limit of an extended resource to be equal.
        assert {name: found["defaultRequest"][name] for name in names} == found["default"]

    def test_cpu_and_memory_have_a_request_and_no_limit(self):
        found = limits(WHOLE)
        assert found["defaultRequest"].keys() == {"cpu", "memory"}
        assert "default" not in found
        assert "max" not in found


def test_the_component_makes_the_three_objects_of_each_tenant():
    tenants = [{"namespace": "team-a", "quota": {"t4-shared": 1}}, {"namespace": "team-b", "podSecurity": "baseline"}]
    settings = stack_of(SHARED, tenants=tenants)
    made = run(config_of({"pools": [SHARED], "tenants": tenants})).kubernetes_objects()
    for one in settings.tenants:
        for manifest in tenant_manifests(one, settings, pools(SHARED)):
            assert manifest in made
