"""Admission rules as data: what the policies say of themselves, the parameters of pools, the order of the program.

How the API server judges by them is in `tests/sandbox/test_admission*.py`.
"""

import json
import re
from typing import Any

import pytest
from hypothesis import HealthCheck, given
from hypothesis import settings as hypothesis_settings
from stackdata import problems_of

from gpuslice.catalog import instance_types
from gpuslice.load import load_settings
from gpuslice.manifests.admission import EXEMPT_NAMESPACES, Policy, admission_manifests, policies, pool_data
from gpuslice.manifests.admission_cel import literal
from gpuslice.manifests.admission_nodes import gpu_categories, node_class_annotations
from gpuslice.manifests.admission_rules import MEMORY_ANNOTATION
from gpuslice.manifests.karpenter import ec2_node_class
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


def all_policies(settings: Settings) -> list[Policy]:
    return policies(settings, [Pool.of(p) for p in settings.pools])


PROD_SETTINGS = stack_of(SHARED, TWO, WHOLE)
PROD = manifests(PROD_SETTINGS)
RULES = {rule.name: rule for policy in all_policies(PROD_SETTINGS) for rule in policy.rules}
PROD_BINDINGS = [m for m in PROD if m["kind"] == BINDING]
PROD_POLICIES = {m["metadata"]["name"]: m for m in PROD if m["kind"] == POLICY}


class TestPolicies:
    def test_every_policy_fails_closed(self):
        """But one, whose rules cannot fail: an error there says that the server does not know Karpenter's kinds yet."""
        found = {name: m["spec"]["failurePolicy"] for name, m in PROD_POLICIES.items()}
        assert found.pop("gpu-slicing-own-nodepools") == "Ignore"
        assert set(found.values()) == {"Fail"}

    def test_every_policy_is_bound_and_every_binding_has_its_policy(self):
        assert {b["spec"]["policyName"] for b in PROD_BINDINGS} == PROD_POLICIES.keys()
        names = [m["metadata"]["name"] for m in PROD_BINDINGS]
        assert len(names) == len(set(names))

    def test_pods_are_refused_and_templates_warned_of(self):
        """A policy that only audits would look the same in a list of policies."""
        for binding in PROD_BINDINGS:
            templates = "templates" in binding["spec"]["policyName"] or "cronjobs" in binding["spec"]["policyName"]
            assert binding["spec"]["validationActions"] == ["Warn" if templates else "Deny", "Audit"]

    def test_pods_are_judged_when_they_are_made_changed_or_get_an_ephemeral_container(self):
        (rule,) = PROD_POLICIES["gpu-slicing-pods"]["spec"]["matchConstraints"]["resourceRules"]
        assert rule["resources"] == ["pods", "pods/ephemeralcontainers"]
        assert rule["operations"] == ["CREATE", "UPDATE"]

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
            assert matched.keys() == {"namespaceSelector"}
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

    def test_no_policy_has_parameters_of_a_built_in_kind(self):
        """The API server forgets those when the rules are turned off, and then refuses every pod (issue 130887)."""
        kinds = [m["spec"]["paramKind"] for m in PROD_POLICIES.values() if "paramKind" in m["spec"]]
        assert kinds == [{"apiVersion": "karpenter.k8s.aws/v1", "kind": "EC2NodeClass"}]
        refs = [b["spec"]["paramRef"] for b in PROD_BINDINGS if "paramRef" in b["spec"]]
        # A NodePool whose node class is gone must be able to go too.
        assert [ref["parameterNotFoundAction"] for ref in refs] == ["Allow"]

    def test_every_node_class_of_the_stack_is_a_parameter_and_no_dry_run_is_judged_by_it(self):
        (binding,) = [b for b in PROD_BINDINGS if "paramRef" in b["spec"]]
        wanted = binding["spec"]["paramRef"]["selector"]["matchLabels"]
        for pool in (Pool.of(p) for p in PROD_SETTINGS.pools):
            assert wanted.items() <= ec2_node_class(pool, PROD_SETTINGS)["metadata"]["labels"].items()
        conditions = PROD_POLICIES[binding["spec"]["policyName"]]["spec"]["matchConditions"]
        assert {"name": "stored", "expression": "!has(request.dryRun) || !request.dryRun"} in conditions

    def test_the_pools_change_the_data_and_not_the_rules(self):
        def said(*pools: dict[str, Any]) -> list[Any]:
            settings = stack_of(*pools)
            data = pool_data(settings, [Pool.of(p) for p in settings.pools])
            assert len(set(data.values())) > 1
            found = manifests(settings)
            for policy in (m for m in found if m["kind"] == POLICY):
                kept = [v for v in policy["spec"]["variables"] if data.get(v["name"]) != v["expression"]]
                policy["spec"]["variables"] = kept
            return found

        assert said(SHARED) == said(TWO, WHOLE) == said(MPS)

    def test_demands_are_parts_of_a_sentence(self):
        """They stand between what was found and the full stop."""
        for rule in RULES.values():
            assert rule.demand[0].isupper()
            assert not rule.demand.endswith(".")
            assert "\n" not in rule.demand

    def test_every_rule_of_a_policy_is_asked(self):
        for policy in all_policies(PROD_SETTINGS):
            spec = policy.manifest()["spec"]
            variables = {v["name"]: v["expression"] for v in spec["variables"]}
            assert variables["messages"].split(" + ") == [f"variables.{rule.variable}" for rule in policy.rules]
            (validation,) = spec["validations"]
            assert validation["expression"] == "size(variables.messages) == 0"
            assert validation["messageExpression"] == "variables.messages.join(' ')"

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
    [
        ("it's", '"it\'s"'),
        ('a"\\d', r'"a\"\\d"'),
        (["a", "b"], '["a", "b"]'),
        ({"a": {"b": 1}, "c": ["d"]}, '{"a": {"b": 1}, "c": ["d"]}'),
    ],
)
def test_data_in_cel(value, written):
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


def data_of(*pools: dict[str, Any], **sections: Any) -> dict[str, Any]:
    """The pools' data, read back."""
    settings = stack_of(*pools, **sections)
    return read_back(pool_data(settings, [Pool.of(p) for p in settings.pools]))


def read_back(data: dict[str, str]) -> dict[str, Any]:
    return {name: json.loads(text) for name, text in data.items()}


class TestPoolData:
    def test_it_is_what_the_pools_derive(self):
        plain = {**SHARED, "name": "plain", "sharing": {"mode": "time-slicing", "replicas": 4, "rename": False}}
        extra = [{"key": "a", "effect": "NoExecute"}, {"key": "b", "value": "c", "effect": "PreferNoSchedule"}]
        found = data_of(SHARED, TWO, WHOLE, plain | {"extraTaints": extra})
        assert found["pools"] == ["a100-mig", "h100-whole", "plain", "t4-shared"]
        assert found["memoryMiB"] == {
            "t4-shared": {"nvidia.com/gpu.shared": 3584},
            "a100-mig": {"nvidia.com/mig-1g.5gb": 4608, "nvidia.com/mig-2g.10gb": 9728},
            "h100-whole": {"nvidia.com/gpu": 81408},
            "plain": {"nvidia.com/gpu": 3584},
        }
        assert found["fences"] == {
            "a100-mig": [{"key": "gpu-slicing.io/pool", "value": "a100-mig", "effect": "NoSchedule"}],
            "plain": [{"key": "a", "value": "", "effect": "NoExecute"}],
        }
        assert found["promised"] == ["plain", "t4-shared"]
        assert found["plain"] == ["plain"]

    def test_memory_is_promised_on_mps_too(self):
        assert data_of(MPS)["promised"] == ["t4-mps"]

    @pytest.mark.parametrize(
        ("sections", "users"),
        [
            ({}, ["*"]),
            ({"verification": {"pool": "t4-shared"}}, ["*"]),
            ({"tenants": [{"namespace": "team-a", "quota": {"t4-shared": 1}}]}, ["team-a"]),
            ({"tenants": [{"namespace": "team-a", "quota": {"t4-shared": 0}}]}, None),
            ({"tenants": [{"namespace": "team-a"}]}, None),
            ({"tenants": [{"namespace": "team-a", "quota": {"a100-mig": 3}}]}, None),
            (
                {
                    "tenants": [{"namespace": n, "quota": {"t4-shared": 2}} for n in ("team-a", "team-b")],
                    "verification": {"pool": "t4-shared"},
                },
                ["team-a", "team-b", "gpu-slicing-verification"],
            ),
            ({"tenants": [{"namespace": "team-a"}], "verification": {"pool": "a100-mig"}}, None),
        ],
    )
    def test_who_may_use_a_pool(self, sections, users):
        assert data_of(SHARED, MIG, **sections)["users"].get("t4-shared") == users

    @pytest.mark.parametrize(("quota", "users"), [({"2g.10gb": 1}, ["team-a"]), ({"1g.5gb": 0, "2g.10gb": 0}, None)])
    def test_any_profile_of_a_mig_pool_is_enough(self, quota, users):
        found = data_of(TWO, tenants=[{"namespace": "team-a", "quota": {"a100-mig": quota}}])
        assert found["users"].get("a100-mig") == users

    @hypothesis_settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck))
    @given(config=stacks())
    def test_of_any_stack_it_reads_back(self, config):
        """The NodePools' data is text that the rules split at commas, colons and equals signs: no name may hold one."""
        settings = load_settings(config, "prod")
        pools = [Pool.of(p) for p in settings.pools]
        found = read_back(pool_data(settings, pools))
        assert found["memoryMiB"] == {p.name: {r.name: r.memory_mib for r in p.resources} for p in pools}
        for pool in pools:
            taints, limits = node_class_annotations(pool).values()
            assert dict(x.split("=") for x in limits.split(",")) == {k: str(v) for k, v in pool.limits.items()}
            heads = [x.split(":") for x in taints.split(",")]
            parsed = [dict(zip(("key", "value"), head.split("="), strict=False), effect=e) for head, e in heads]
            assert parsed == [{k: v for k, v in t.items() if v} for t in pool.taints]


class TestNodeClasses:
    def test_the_limits_and_taints_of_the_node_pool_are_noted(self):
        pool = Pool.of(PROD_SETTINGS.pools[1])
        assert ec2_node_class(pool, PROD_SETTINGS)["metadata"]["annotations"] == {
            "gpu-slicing.io/taints": "nvidia.com/gpu=true:NoSchedule,gpu-slicing.io/pool=a100-mig:NoSchedule",
            "gpu-slicing.io/limits": "nodes=2,nvidia.com/mig-1g.5gb=48,nvidia.com/mig-2g.10gb=32",
        }

    def test_nothing_is_noted_where_nothing_reads_it(self):
        settings = stack_of(SHARED, admission={"enabled": False})
        assert "annotations" not in ec2_node_class(Pool.of(settings.pools[0]), settings)["metadata"]


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

    def test_a_binding_comes_after_its_policy(self):
        recording = recorded("prod").recording
        needed = {r.urn for r in recording.by_type(TOKEN + POLICY)}
        for binding in recording.by_type(TOKEN + BINDING):
            assert needed <= recording.reachable(binding.urn)

    def test_a_node_pool_comes_after_its_node_class_and_waits_for_no_rule(self):
        """A larger pool meets its new limits, and nothing of the rules can keep it from going."""
        recording = recorded("prod").recording
        own = {r.urn for token in (POLICY, BINDING) for r in recording.by_type(TOKEN + token)}
        for pool in recording.by_type("kubernetes:karpenter.sh/v1:NodePool"):
            before = recording.reachable(pool.urn)
            (node_class,) = [
                r for r in recording.by_type("kubernetes:karpenter.k8s.aws/v1:EC2NodeClass") if r.name == pool.name
            ]
            assert node_class.urn in before
            assert not own & before

    def test_a_tenant_comes_after_the_rules(self):
        recording = recorded("prod").recording
        bindings = {r.urn for r in recording.by_type(TOKEN + BINDING)}
        tenants = [r for r in recording.by_type("kubernetes:core/v1:Namespace") if r.name.startswith("team-")]
        assert len(tenants) == 2
        for tenant in tenants:
            assert bindings <= recording.reachable(tenant.urn)


@pytest.mark.parametrize("pool", [SHARED, TWO, WHOLE, MPS], ids=lambda pool: pool["name"])
def test_the_verification_promises_what_its_slice_has(pool):
    settings = stack_of(pool, verification={"pool": pool["name"], "replicas": 1})
    (deployment,) = [m for m in verification_manifests(settings) if m["kind"] == "Deployment"]
    annotations = deployment["spec"]["template"]["metadata"]["annotations"]
    assert annotations == {MEMORY_ANNOTATION: str(Pool.of(settings.pools[0]).resources[0].memory_mib)}


def test_the_page_has_every_rule_with_its_message():
    text = (ROOT / "docs" / "admission.md").read_text(encoding="utf-8")
    rows = dict(re.findall(r"^\| `([a-z-]+)` \| .* \| (.+) \|$", text, flags=re.MULTILINE))
    assert rows == {name: rule.demand for name, rule in RULES.items()}
