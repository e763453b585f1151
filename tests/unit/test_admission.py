"""Admission rules as data: what the policies say of themselves, the parameters of pools, the order of the program.

How the API server judges by them is in `tests/sandbox/test_admission*.py`.
"""

import re
from typing import Any

import pytest
from hypothesis import HealthCheck, given
from hypothesis import settings as hypothesis_settings
from stackdata import problems_of

from gpuslice.catalog import instance_types
from gpuslice.load import load_settings
from gpuslice.manifests.admission import (
    EXEMPT_NAMESPACES,
    PARAMETER_LABEL,
    VERSION,
    admission_manifests,
    policies,
    pool_parameters,
)
from gpuslice.manifests.admission_cel import Rule, literal
from gpuslice.manifests.admission_nodes import gpu_categories
from gpuslice.manifests.admission_rules import MEMORY_ANNOTATION
from gpuslice.manifests.stack import stack_manifests
from gpuslice.manifests.verification import verification_manifests
from gpuslice.pools import Pool
from gpuslice.settings import Settings
from tests.helpers import MIG, ROOT, SHARED, STACKS, WHOLE, config_of, recorded, run, stack_of
from tests.strategies import stacks

MPS = {**SHARED, "name": "t4-mps", "sharing": {"mode": "mps", "replicas": 4}}
TWO = {**MIG, "sharing": {"mode": "mig", "layout": {"1g.5gb": 3, "2g.10gb": 2}}}
POLICY, BINDING = "ValidatingAdmissionPolicy", "ValidatingAdmissionPolicyBinding"
TOKEN = "kubernetes:admissionregistration.k8s.io/v1:"


def manifests(settings: Settings, kind: str = "") -> list[dict[str, Any]]:
    found = admission_manifests(settings, [Pool.of(p) for p in settings.pools])
    return [m for m in found if kind in ("", m["kind"])]


def rules() -> list[Rule]:
    return list({rule.name: rule for policy in policies([]) for rule in policy.rules}.values())


PROD = manifests(stack_of(SHARED, TWO, WHOLE))
PROD_BINDINGS = [m for m in PROD if m["kind"] == BINDING]
PROD_POLICIES = {m["metadata"]["name"]: m for m in PROD if m["kind"] == POLICY}


class TestPolicies:
    def test_every_policy_fails_closed(self):
        assert {m["spec"]["failurePolicy"] for m in PROD_POLICIES.values()} == {"Fail"}

    def test_every_policy_is_bound_and_every_binding_has_its_policy(self):
        assert {b["spec"]["policyName"] for b in PROD_BINDINGS} == PROD_POLICIES.keys()
        names = [m["metadata"]["name"] for m in PROD_BINDINGS]
        assert len(names) == len(set(names))

    def test_pods_are_refused_and_templates_warned_of(self):
        """A policy that only audits would look the same in a list of policies."""
        for binding in PROD_BINDINGS:
            templates = "templates" in binding["spec"]["policyName"] or "cronjobs" in binding["spec"]["policyName"]
            assert binding["spec"]["validationActions"] == ["Warn" if templates else "Deny", "Audit"]

    @pytest.mark.parametrize("name", ["gpu-slicing-pods", "gpu-slicing-pool-pods"])
    def test_pods_are_judged_when_they_are_made_changed_or_get_an_ephemeral_container(self, name):
        (rule,) = PROD_POLICIES[name]["spec"]["matchConstraints"]["resourceRules"]
        assert rule["resources"] == ["pods", "pods/ephemeralcontainers"]
        assert rule["operations"] == ["CREATE", "UPDATE"]

    def test_the_bindings_of_a_policy_cover_all_that_it_matches(self):
        for name, policy in PROD_POLICIES.items():
            bound = [b["spec"]["matchResources"] for b in PROD_BINDINGS if b["spec"]["policyName"] == name]
            wanted = {o for r in policy["spec"]["matchConstraints"]["resourceRules"] for o in r["operations"]}
            narrowed = [r for b in bound for r in b.get("resourceRules", [])]
            assert not narrowed or {o for r in narrowed for o in r["operations"]} == wanted
            assert narrowed or len(bound) == 1

    def test_no_deletion_is_judged(self):
        operations = {
            o
            for m in PROD_POLICIES.values()
            for r in m["spec"]["matchConstraints"]["resourceRules"]
            for o in r["operations"]
        }
        assert operations == {"CREATE", "UPDATE"}

    def test_exempt_are_namespaces_by_name_and_nothing_else(self):
        settings = stack_of(SHARED, admission={"exemptNamespaces": ["observability", "kube-system"]})
        for binding in manifests(settings, BINDING):
            matched = binding["spec"]["matchResources"]
            assert matched.keys() <= {"namespaceSelector", "resourceRules"}
            (expression,) = matched["namespaceSelector"]["matchExpressions"]
            assert expression == {
                "key": "kubernetes.io/metadata.name",
                "operator": "NotIn",
                "values": ["kube-system", "gpu-operator", "observability"],
            }
        for policy in manifests(settings, POLICY):
            assert policy["spec"]["matchConstraints"].keys() == {"matchPolicy", "resourceRules"}

    def test_the_service_accounts_of_exempt_namespaces_may_bind(self):
        settings = stack_of(SHARED, admission={"exemptNamespaces": ["batch"]})
        (policy,) = [m for m in manifests(settings, POLICY) if m["metadata"]["name"] == "gpu-slicing-bindings"]
        assert literal([*EXEMPT_NAMESPACES, "batch"]) in str(policy["spec"]["variables"])

    def test_only_new_pods_need_parameters(self):
        """A finalizer comes off by an update, a Deployment is only warned of, and a NodePool must be able to go."""
        refs = {b["metadata"]["name"]: b["spec"]["paramRef"] for b in PROD_BINDINGS if "paramRef" in b["spec"]}
        assert {n for n, r in refs.items() if r["parameterNotFoundAction"] == "Deny"} == {
            "gpu-slicing-pool-pods-create"
        }
        assert {r["parameterNotFoundAction"] for r in refs.values()} == {"Deny", "Allow"}
        for ref in refs.values():
            assert ref["namespace"] == "gpu-operator"
            assert ref["selector"] == {"matchLabels": PARAMETER_LABEL}

    def test_the_pools_change_the_parameters_and_not_the_rules(self):
        def said(*pools: dict[str, Any]) -> list[dict[str, Any]]:
            return [m for m in manifests(stack_of(*pools)) if m["kind"] != "ConfigMap"]

        assert said(SHARED) == said(TWO, WHOLE) == said(MPS)

    def test_messages_say_the_rule_and_what_to_do(self):
        for policy in policies([]):
            for rule, validation in zip(policy.rules, policy.manifest()["spec"]["validations"], strict=True):
                assert validation["message"] == f"{rule.name}: {rule.demand}"
                assert rule.demand[0].isupper()
                assert not rule.demand.endswith(".")
                assert "\n" not in validation["message"] + validation["messageExpression"]
                assert validation["reason"] == "Forbidden"

    def test_every_variable_is_there_before_it_is_used(self):
        for policy in PROD_POLICIES.values():
            known: set[str] = set()
            for variable in policy["spec"]["variables"]:
                assert set(re.findall(r"variables\.(\w+)", variable["expression"])) <= known
                known.add(variable["name"])
            used = re.findall(r"variables\.(\w+)", str(policy["spec"]["validations"]))
            assert set(used) <= known
            assert len(known) == len(policy["spec"]["variables"])


@pytest.mark.parametrize(
    ("value", "written"),
    [("a", "'a'"), ("it's", r"'it\'s'"), ("a\\d", r"'a\\d'"), (["a", "b"], "['a', 'b']"), ([], "[]")],
)
def test_text_in_cel_is_quoted(value, written):
    assert literal(value) == written


class TestGpuCategories:
    def test_they_are_the_letters_of_every_gpu_family(self):
        assert gpu_categories() == ["g", "gr", "p"]
        pattern = f"^({'|'.join(gpu_categories())})[0-9]"
        assert all(re.match(pattern, name) for name in instance_types())

    @pytest.mark.parametrize(
        "name", ["m7i.large", "c7g.xlarge", "r8g.large", "inf2.xlarge", "trn1.2xlarge", "dl1.24xlarge"]
    )
    def test_no_other_family_begins_so(self, name):
        assert not re.match(f"^({'|'.join(gpu_categories())})[0-9]", name)


class TestParameters:
    @pytest.mark.parametrize(
        ("pool", "expected"),
        [
            (
                SHARED,
                {
                    "mode": "time-slicing",
                    "memoryHint": "required",
                    "memoryMiB": "nvidia.com/gpu.shared=3584",
                    "taints": "nvidia.com/gpu=true:NoSchedule",
                    "limits": "nodes=2,nvidia.com/gpu.shared=8",
                },
            ),
            (MPS, {"mode": "mps", "memoryHint": "required", "memoryMiB": "nvidia.com/gpu.shared=3584"}),
            (
                TWO,
                {
                    "mode": "mig",
                    "memoryHint": "optional",
                    "memoryMiB": "nvidia.com/mig-1g.5gb=4608,nvidia.com/mig-2g.10gb=9728",
                    "taints": "nvidia.com/gpu=true:NoSchedule,gpu-slicing.io/pool=a100-mig:NoSchedule",
                    "limits": "nodes=2,nvidia.com/mig-1g.5gb=48,nvidia.com/mig-2g.10gb=32",
                },
            ),
            (WHOLE, {"mode": "exclusive", "memoryHint": "optional", "memoryMiB": "nvidia.com/gpu=81408"}),
        ],
        ids=lambda value: value.get("name", ""),
    )
    def test_they_are_what_the_pool_derives(self, pool, expected):
        settings = stack_of(pool)
        found = pool_parameters(Pool.of(settings.pools[0]), settings)
        assert found["metadata"]["name"] == f"gpu-slicing-pool-{pool['name']}"
        assert found["metadata"]["namespace"] == "gpu-operator"
        assert found["metadata"]["labels"].items() >= PARAMETER_LABEL.items()
        assert found["data"]["pool"] == pool["name"]
        assert found["data"].items() >= expected.items()

    @pytest.mark.parametrize(
        ("sections", "namespaces"),
        [
            ({}, "*"),
            ({"verification": {"pool": "t4-shared"}}, "*"),
            ({"tenants": [{"namespace": "team-a", "quota": {"t4-shared": 1}}]}, "team-a"),
            ({"tenants": [{"namespace": "team-a", "quota": {"t4-shared": 0}}]}, ""),
            ({"tenants": [{"namespace": "team-a"}]}, ""),
            ({"tenants": [{"namespace": "team-a", "quota": {"a100-mig": 3}}]}, ""),
            (
                {
                    "tenants": [{"namespace": n, "quota": {"t4-shared": 2}} for n in ("team-a", "team-b")],
                    "verification": {"pool": "t4-shared"},
                },
                "team-a,team-b,gpu-slicing-verification",
            ),
            ({"tenants": [{"namespace": "team-a"}], "verification": {"pool": "a100-mig"}}, ""),
        ],
    )
    def test_who_may_use_a_pool(self, sections, namespaces):
        settings = stack_of(SHARED, MIG, **sections)
        assert pool_parameters(Pool.of(settings.pools[0]), settings)["data"]["namespaces"] == namespaces

    @pytest.mark.parametrize(("quota", "may"), [({"2g.10gb": 1}, True), ({"1g.5gb": 0, "2g.10gb": 0}, False)])
    def test_any_profile_of_a_mig_pool_is_enough(self, quota, may):
        settings = stack_of(TWO, tenants=[{"namespace": "team-a", "quota": {"a100-mig": quota}}])
        found = pool_parameters(Pool.of(settings.pools[0]), settings)["data"]["namespaces"]
        assert found == ("team-a" if may else "")

    @hypothesis_settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck))
    @given(config=stacks())
    def test_of_any_stack_they_read_back_as_the_pool(self, config):
        """The rules split the text at commas, colons and equals signs: no name may hold one."""
        settings = load_settings(config, "prod")
        for pool in (Pool.of(p) for p in settings.pools):
            data = pool_parameters(pool, settings)["data"]
            assert dict(o.split("=") for o in data["memoryMiB"].split(",")) == {
                r.name: str(r.memory_mib) for r in pool.resources
            }
            assert dict(x.split("=") for x in data["limits"].split(",")) == {k: str(v) for k, v in pool.limits.items()}
            heads = [x.split(":") for x in data["taints"].split(",")]
            taints = [dict(zip(("key", "value"), head.split("="), strict=False), effect=e) for head, e in heads]
            assert taints == [{k: v for k, v in t.items() if v} for t in pool.taints]


class TestSettings:
    def test_on_is_the_default_and_off_leaves_nothing(self):
        assert "admission.yaml" in stack_manifests(stack_of(SHARED))
        off = stack_of(SHARED, admission={"enabled": False})
        assert manifests(off) == []
        assert "admission.yaml" not in stack_manifests(off)

    @pytest.mark.parametrize(
        ("section", "path", "message"),
        [
            ({"exemptNamespaces": ["a", "a"]}, "exemptNamespaces[1]", "is there twice"),
            ({"exemptNamespaces": ["kube-*"]}, "exemptNamespaces[0]", "is not a namespace name"),
            ({"exemptNamespaces": ["a"], "enabled": False}, "exemptNamespaces", "is exempt from rules that are off"),
            ({"exempt": ["a"]}, "exempt", "unknown key"),
        ],
    )
    def test_what_means_nothing_is_refused(self, section, path, message):
        (problem,) = problems_of(config_of({"pools": [SHARED], "admission": section}))
        assert (problem.path, problem.message) == (f"gpu-slicing:admission.{path}", message)


class TestProgram:
    @pytest.mark.parametrize("stack", STACKS)
    def test_it_registers_the_manifests_as_they_are(self, stack):
        found = recorded(stack)
        objects = found.recording.kubernetes_objects()
        assert manifests(found.settings)
        for manifest in manifests(found.settings):
            assert manifest in objects

    def test_off_it_registers_none(self):
        recording = run(config_of({"pools": [SHARED], "admission": {"enabled": False}}))
        assert not recording.by_type(TOKEN + POLICY)
        assert not recording.by_type("gpu-slicing:index:Admission")

    def test_a_binding_comes_after_its_policy_and_all_parameters(self):
        """And so goes before them: a rule without its parameters refuses every pod."""
        recording = recorded("prod").recording
        needed = {r.urn for r in recording.by_type(TOKEN + POLICY)} | self.parameters(recording)
        for binding in recording.by_type(TOKEN + BINDING):
            assert needed <= recording.reachable(binding.urn)

    def test_a_node_pool_comes_after_the_parameters_and_waits_for_no_rule(self):
        """A larger pool meets its new limits, and outlived by them it can be deleted whatever becomes of the rules."""
        recording = recorded("prod").recording
        own = {r.urn for token in (POLICY, BINDING) for r in recording.by_type(TOKEN + token)}
        for pool in recording.by_type("kubernetes:karpenter.sh/v1:NodePool"):
            assert self.parameters(recording) <= recording.reachable(pool.urn)
            assert not own & recording.reachable(pool.urn)

    def test_a_tenant_comes_after_the_rules(self):
        recording = recorded("prod").recording
        bindings = {r.urn for r in recording.by_type(TOKEN + BINDING)}
        tenants = [r for r in recording.by_type("kubernetes:core/v1:Namespace") if r.name.startswith("team-")]
        assert len(tenants) == 2
        for tenant in tenants:
            assert bindings <= recording.reachable(tenant.urn)

    @staticmethod
    def parameters(recording: Any) -> set[str]:
        found = {
            r.urn for r in recording.by_type("kubernetes:core/v1:ConfigMap") if r.name.startswith("gpu-slicing-pool-")
        }
        assert len(found) == 4
        return found


@pytest.mark.parametrize("pool", [SHARED, TWO, WHOLE, MPS], ids=lambda pool: pool["name"])
def test_the_verification_promises_what_its_slice_has(pool):
    settings = stack_of(pool, verification={"pool": pool["name"], "replicas": 1})
    (deployment,) = [m for m in verification_manifests(settings) if m["kind"] == "Deployment"]
    annotations = deployment["spec"]["template"]["metadata"]["annotations"]
    assert annotations == {MEMORY_ANNOTATION: str(Pool.of(settings.pools[0]).resources[0].memory_mib)}


def test_the_page_has_every_rule_with_its_message():
    text = (ROOT / "docs" / "admission.md").read_text(encoding="utf-8")
    rows = dict(re.findall(r"^\| `([a-z-]+)` \| .* \| (.+) \|$", text, flags=re.MULTILINE))
    assert rows.items() >= {rule.name: rule.demand for rule in rules()}.items()
    assert all(manifest["apiVersion"] == VERSION for manifest in PROD_POLICIES.values())
