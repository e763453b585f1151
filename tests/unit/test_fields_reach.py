"""No field of the settings is accepted and ignored.

For every field of every settings model there is a case: two configurations that differ in that field alone. Either
both are stacks, and what they make differs (manifests, Helm values, costs, outputs, or the program's resources and
their options); or the change is refused, for the fields that only limit others. The fields are found by walking the
models, so that a new field without a case fails.
"""

import copy
import json
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, get_args

import pytest
import yaml
from stackdata import GONE, GOOD, PREFIX, changed, problems_of, steps

from gpuslice.catalog.prices import stack_prices
from gpuslice.costs import costs_json
from gpuslice.kubeconfig import exec_kubeconfig
from gpuslice.load import load_settings
from gpuslice.pools import Pool
from gpuslice.render import rendered
from gpuslice.settings import Model, Settings
from offline import Recording
from tests.helpers import run

REFERENCES = {
    f"acme/network/{stack}": {
        output: json.dumps(exec_kubeconfig("old", f"https://{stack}.{output}.example.com", "Zm9v", "us-east-1"))
        for output in ("kubeconfig", "admin")
    }
    for stack in ("one", "two")
}


@dataclass(frozen=True)
class Case:
    """`given` is changed to `other` at `path`, on top of `setup`, in a stack called `stack`.

    `refused` is the part of the path at which the change is refused; None where both are stacks.
    """

    path: str
    other: Any
    setup: dict[str, Any] = field(default_factory=dict)
    refused: str | None = None
    stack: str = "prod"

    def configs(self) -> tuple[dict[str, Any], dict[str, Any]]:
        """The configuration before the change and after it."""
        before = changed(own(self.setup))
        if self.path == "stack":
            return before, before
        if self.path == "region":
            return before, before | {"aws:region": self.other}
        return before, changed(own({**self.setup, self.path: self.other}))


def own(changes: dict[str, Any]) -> dict[str, Any]:
    """A copy for one configuration, which later changes reach into; GONE stays the one that it is."""
    return copy.deepcopy(changes, {id(GONE): GONE})


SPREAD = {"pools[0].zones": GONE}
MPS = {
    "pools[0].sharing": {"mode": "mps", "replicas": 4, "minMemory": "2Gi", "maxReplicas": 8},
    "pools[1]": copy.deepcopy(GOOD["pools"][2]) | {"name": "another"},
    "tenants[0].quota": {"t4-shared": 8},
}
EXISTING_VPC = {
    "cluster.vpc": {"id": "vpc-0123456789abcdef0", "privateSubnetIds": ["subnet-11111111", "subnet-22222222"]}
}
# `folder` is replaced by one that holds the kubeconfigs `one` and `two`, each with the contexts `blue` and `green`.
EXISTING = {"cluster": {"mode": "existing", "name": "old", "kubeconfig": {"path": "folder/one"}}}
REFERENCE = {"cluster": {"mode": "existing", "name": "old", "kubeconfig": {"stackReference": "acme/network/one"}}}
MIG_VERIFIED = {"verification": {"pool": "a100-mig", "replicas": 2}}
BUDGET = "pools[0].disruption.budgets[0]"
TAINT = "pools[0].extraTaints[0]"

CASES = {
    # Only local and dev may follow the latest AMI; elsewhere it is refused.
    "Settings.stack": Case("stack", "prod", {"pools[0].ami": "al2023@latest"}, refused="pools[0].ami", stack="dev"),
    "Settings.region": Case("region", "us-west-2", SPREAD),
    "Settings.cluster": Case("cluster.name", "gpu-other"),
    "Settings.karpenter": Case("karpenter", GONE, {"karpenter.version": "1.14.0"}),
    "Settings.gpuOperator": Case("gpuOperator", GONE),
    "Settings.pools": Case("pools[2]", GONE),
    "Settings.tenants": Case("tenants", GONE),
    "Settings.admission": Case("admission", {"enabled": False}),
    "Settings.monitoring": Case("monitoring", {"enabled": False}),
    "Settings.verification": Case("verification", GONE),
    "Cluster.mode": Case("cluster.mode", "existing", refused="cluster.kubeconfig"),
    "Cluster.name": Case("cluster.name", "gpu-other"),
    "Cluster.kubernetesVersion": Case("cluster.kubernetesVersion", "1.34"),
    "Cluster.vpc": Case("cluster.vpc", EXISTING_VPC["cluster.vpc"]),
    "Cluster.serviceCidr": Case("cluster.serviceCidr", "172.21.0.0/16"),
    "Cluster.endpoint": Case("cluster.endpoint", GONE),
    "Cluster.systemNodes": Case("cluster.systemNodes", {"count": 4}),
    "Cluster.adminArns": Case("cluster.adminArns", GONE),
    "Cluster.deletionProtection": Case("cluster.deletionProtection", False),
    "Cluster.kubeconfig": Case("cluster.kubeconfig", {"path": "folder/two"}, EXISTING),
    "NewVpc.cidr": Case("cluster.vpc.cidr", "10.44.0.0/16"),
    "NewVpc.availabilityZones": Case("cluster.vpc.availabilityZones", 2),
    "NewVpc.natGateways": Case("cluster.vpc.natGateways", "perZone"),
    "ExistingVpc.id": Case("cluster.vpc.id", "vpc-0fedcba9876543210", EXISTING_VPC),
    "ExistingVpc.privateSubnetIds": Case(
        "cluster.vpc.privateSubnetIds", ["subnet-11111111", "subnet-33333333"], EXISTING_VPC
    ),
    "Endpoint.private": Case("cluster.endpoint.private", False),
    "Endpoint.public": Case("cluster.endpoint", {"private": True, "public": False}),
    "Endpoint.publicCidrs": Case("cluster.endpoint.publicCidrs", ["198.51.100.0/24"]),
    "SystemNodes.instanceTypes": Case("cluster.systemNodes.instanceTypes", ["m7g.large"]),
    "SystemNodes.count": Case("cluster.systemNodes.count", 3),
    "Kubeconfig.path": Case("cluster.kubeconfig.path", "folder/two", EXISTING),
    "Kubeconfig.context": Case("cluster.kubeconfig.context", "green", EXISTING),
    "Kubeconfig.stackReference": Case("cluster.kubeconfig.stackReference", "acme/network/two", REFERENCE),
    "Kubeconfig.output": Case("cluster.kubeconfig.output", "admin", REFERENCE),
    "Karpenter.version": Case("karpenter.version", "1.14.0"),
    "Karpenter.install": Case("karpenter.install", False, {**EXISTING, "karpenter": {}}, refused="karpenter.nodeRole"),
    "Karpenter.nodeRole": Case(
        "karpenter.nodeRole", "b", {**EXISTING, "karpenter": {"install": False, "nodeRole": "a"}}
    ),
    "GpuOperator.version": Case("gpuOperator.version", "v26.7.1"),
    "GpuOperator.values": Case("gpuOperator.values", {"operator": {"upgradeCRD": False}}),
    "PoolSettings.name": Case("pools[2].name", "h100-other"),
    "PoolSettings.instanceTypes": Case("pools[0].instanceTypes", ["g4dn.xlarge", "g4dn.12xlarge"]),
    "PoolSettings.sharing": Case("pools[2].sharing", {"mode": "mig", "layout": {"1g.10gb": 7}}),
    "PoolSettings.capacityTypes": Case("pools[0].capacityTypes", ["on-demand"]),
    "PoolSettings.capacityReservations": Case("pools[1].capacityReservations", {"ids": ["cr-00000000000000000"]}),
    "PoolSettings.zones": Case("pools[0].zones", ["us-east-1b"]),
    "PoolSettings.ami": Case("pools[0].ami", "al2023@v20260801"),
    "PoolSettings.isolation": Case("pools[0].isolation", "strict"),
    "PoolSettings.rootVolume": Case("pools[0].rootVolume", "101Gi"),
    "PoolSettings.efa": Case("pools[2].efa", False),
    "PoolSettings.limits": Case("pools[2].limits", {"nodes": 3}),
    "PoolSettings.disruption": Case("pools[2].disruption", {"expireAfter": "Never"}),
    "PoolSettings.labels": Case("pools[0].labels", {"example.com/team": "speech"}),
    "PoolSettings.extraTaints": Case("pools[0].extraTaints", GONE),
    "TimeSlicing.mode": Case("pools[0].sharing.mode", "mps", {k: v for k, v in MPS.items() if k != "pools[0].sharing"}),
    "TimeSlicing.replicas": Case("pools[0].sharing.replicas", 5),
    "TimeSlicing.rename": Case("pools[0].sharing.rename", False),
    "TimeSlicing.minMemory": Case("pools[0].sharing.minMemory", "4Gi", refused="pools[0].sharing.replicas"),
    "TimeSlicing.maxReplicas": Case("pools[0].sharing.maxReplicas", 3, refused="pools[0].sharing.replicas"),
    "Mps.mode": Case("pools[0].sharing.mode", "time-slicing", MPS),
    "Mps.replicas": Case("pools[0].sharing.replicas", 5, MPS),
    "Mps.rename": Case(
        "pools[0].sharing.rename", False, {**MPS, "pools[0].sharing": MPS["pools[0].sharing"] | {"rename": True}}
    ),
    "Mps.minMemory": Case("pools[0].sharing.minMemory", "4Gi", MPS, refused="pools[0].sharing.replicas"),
    "Mps.maxReplicas": Case("pools[0].sharing.maxReplicas", 3, MPS, refused="pools[0].sharing.replicas"),
    "Mig.mode": Case("pools[1].sharing.mode", "mps", refused="pools[1].sharing"),
    "Mig.layout": Case("pools[1].sharing.layout", {"1g.5gb": 2, "2g.10gb": 2}),
    "Exclusive.mode": Case("pools[2].sharing", {"mode": "time-slicing", "replicas": 2}),
    "CapacityReservations.ids": Case("pools[1].capacityReservations.ids", ["cr-00000000000000000"]),
    "CapacityReservations.tags": Case("pools[1].capacityReservations.tags", {"team": "speech"}),
    "CapacityReservations.type": Case(
        "pools[1].capacityReservations.type", "capacity-block", {"pools[1].capacityTypes": ["reserved"]}
    ),
    "Limits.nodes": Case("pools[0].limits.nodes", 11),
    "Disruption.consolidationPolicy": Case("pools[0].disruption.consolidationPolicy", "WhenEmptyOrUnderutilized"),
    "Disruption.consolidateAfter": Case("pools[0].disruption.consolidateAfter", "11m"),
    "Disruption.expireAfter": Case("pools[0].disruption.expireAfter", "100h"),
    "Disruption.terminationGracePeriod": Case("pools[0].disruption.terminationGracePeriod", "2h"),
    "Disruption.budgets": Case("pools[0].disruption.budgets", []),
    "Budget.nodes": Case(f"{BUDGET}.nodes", "20%"),
    "Budget.reasons": Case(f"{BUDGET}.reasons", ["Empty"]),
    "Budget.schedule": Case(f"{BUDGET}.schedule", "0 23 * * mon-fri"),
    "Budget.duration": Case(f"{BUDGET}.duration", "9h"),
    "Taint.key": Case(f"{TAINT}.key", "example.com/other"),
    "Taint.value": Case(f"{TAINT}.value", "speech"),
    "Taint.effect": Case(f"{TAINT}.effect", "NoExecute"),
    "Tenant.namespace": Case("tenants[0].namespace", "team-speech"),
    "Tenant.quota": Case("tenants[0].quota", {"t4-shared": 9}),
    "Tenant.podSecurity": Case("tenants[0].podSecurity", "baseline"),
    "Admission.enabled": Case("admission.enabled", False, {"admission": {"enabled": True}}),
    "Admission.exemptNamespaces": Case("admission.exemptNamespaces", ["observability"], {"admission": {}}),
    "Monitoring.enabled": Case("monitoring.enabled", False),
    "Verification.pool": Case("verification.pool", "h100-whole"),
    "Verification.replicas": Case("verification.replicas", 6),
    "Verification.profile": Case("verification.profile", "2g.10gb", MIG_VERIFIED),
}


def models(annotation: Any) -> Iterator[type[Model]]:
    """The settings models in an annotation, unions and containers included."""
    if isinstance(annotation, type) and issubclass(annotation, Model):
        yield annotation
    for part in get_args(annotation):
        yield from models(part)


def fields(model: type[Model] = Settings) -> set[str]:
    """`Model.alias` of every field below a model."""
    found = {f"{model.__name__}.{f.alias}" for f in model.model_fields.values()}
    for f in model.model_fields.values():
        for below in models(f.annotation):
            found |= fields(below)
    return found


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Two kubeconfigs of two contexts each: four servers."""
    path = tmp_path_factory.mktemp("kubeconfigs")
    for name in ("one", "two"):
        entries = {
            c: exec_kubeconfig(c, f"https://{c}.{name}.example.com", "Zm9v", "us-east-1") for c in ("blue", "green")
        }
        merged = entries["blue"]
        for section in ("clusters", "contexts", "users"):
            merged[section] = [*merged[section], *entries["green"][section]]
        (path / name).write_text(yaml.safe_dump(merged), encoding="utf-8")
    return path


def derived(config: dict[str, Any], stack: str) -> dict[str, Any]:
    """What follows from a configuration without the program: files, costs and outputs."""
    settings = load_settings(config, stack)
    pools, prices = [Pool.of(p) for p in settings.pools], stack_prices(settings.region)
    return {
        "files": rendered(settings),
        "costs": costs_json(pools, settings.region, prices),
        "outputs": [pool.output(prices) for pool in pools],
    }


def registered(config: dict[str, Any], stack: str) -> list[dict[str, Any]]:
    """What the program registers, options included."""
    return [as_data(recording := run(config, stack, stack_references=REFERENCES)), recording.outputs]


def as_data(recording: Recording) -> dict[str, Any]:
    return {
        r.urn: [r.inputs, r.protect, dict(r.custom_timeouts), r.deleted_with, sorted(r.dependencies)]
        for r in recording.resources
    }


def located(config: dict[str, Any], folder) -> dict[str, Any]:
    return json.loads(json.dumps(config).replace("folder/", f"{folder}/"))


def test_every_field_has_a_case():
    assert CASES.keys() == fields()


@pytest.mark.parametrize("name", CASES)
def test_the_case_changes_its_field(name):
    """A case under the wrong name would prove nothing about the field."""
    model, _, alias = name.partition(".")
    case = CASES[name]
    way = steps(case.path)
    inside = alias in way or (isinstance(case.other, dict) and alias in case.other) or model == "Exclusive"
    assert inside or case.path == alias
    before, after = case.configs()
    assert (before != after) or case.other != case.stack


@pytest.mark.parametrize("name", CASES)
def test_the_field_is_not_ignored(name, folder):
    case = CASES[name]
    before, after = (located(config, folder) for config in (case.configs()))
    stack_after = case.other if case.path == "stack" else case.stack
    assert problems_of(before, case.stack) == ()
    problems = problems_of(after, stack_after)
    if case.refused is not None:
        assert any(p.path.startswith(PREFIX + case.refused) for p in problems), problems
        return
    assert problems == ()
    if derived(before, case.stack) == derived(after, stack_after):
        assert registered(before, case.stack) != registered(after, stack_after)


def test_the_same_configuration_makes_the_same():
    """Else every comparison above would find a difference."""
    config = changed({})
    assert derived(config, "prod") == derived(changed({}), "prod")
    assert registered(config, "prod") == registered(changed({}), "prod")
