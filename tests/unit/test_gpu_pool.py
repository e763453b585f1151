"""The component of one pool, and that every component of this project could be published."""

import pulumi
import pytest
from pulumi.provider.experimental.analyzer import Analyzer

from components.cluster import Cluster
from components.encryption import ClusterKey
from components.existing_cluster import ExistingCluster
from components.gpu_operator import GpuOperator
from components.gpu_pool import GpuPool, GpuPoolArgs, delete_minutes
from components.karpenter import Karpenter
from components.network import Network
from components.tenancy import Admission, Tenancy
from components.verification import Verification
from gpuslice.manifests.karpenter import pool_manifests
from gpuslice.pools import Pool
from offline import Recording, record
from tests.helpers import MIG, SHARED, WHOLE, multiset, pool, stack_of

COMPONENTS = [
    Admission,
    Cluster,
    ClusterKey,
    ExistingCluster,
    GpuOperator,
    GpuPool,
    Karpenter,
    Network,
    Tenancy,
    Verification,
]
KINDS = {
    "NodePool": "kubernetes:karpenter.sh/v1:NodePool",
    "EC2NodeClass": "kubernetes:karpenter.k8s.aws/v1:EC2NodeClass",
    "NodeOverlay": "kubernetes:karpenter.sh/v1alpha1:NodeOverlay",
}


def made(base, **sections) -> Recording:
    settings = stack_of(base, **sections)

    def program():
        found = GpuPool("pool", GpuPoolArgs.of(Pool.of(settings.pools[0]), settings))
        pulumi.export("name", found.pool_name)

    return record(program, project="p", stack="s", preview=True)


@pytest.mark.parametrize("base", [SHARED, MIG, WHOLE], ids=lambda b: b["name"])
def test_it_registers_what_the_core_derives(base):
    settings = stack_of(base)
    recording = made(base)
    assert multiset(recording.kubernetes_objects()) == multiset(pool_manifests(Pool.of(settings.pools[0]), settings))
    assert recording.outputs == {"name": base["name"]}


def test_resources_are_named_as_the_objects_and_are_children():
    recording = made({**SHARED, "instanceTypes": ["g4dn.xlarge", "g4dn.12xlarge"]})
    (component,) = recording.by_type("gpu-slicing:index:GpuPool")
    children = [r for r in recording.resources if r.parent == component.urn]
    assert len(children) == 4
    assert all(r.name == r.inputs["metadata"]["name"] for r in children)


def test_the_node_pool_waits_for_its_class_and_every_overlay():
    recording = made({**SHARED, "instanceTypes": ["g4dn.xlarge", "g4dn.12xlarge"]})
    (node_pool,) = recording.by_type(KINDS["NodePool"])
    before = {r.urn for kind in ("EC2NodeClass", "NodeOverlay") for r in recording.by_type(KINDS[kind])}
    assert len(before) == 3
    assert before <= node_pool.dependencies


@pytest.mark.parametrize(
    ("grace", "least"), [("1s", 30), ("1h", 90), ("1h1s", 91), ("24h", 24 * 60 + 30)], ids=lambda v: str(v)
)
def test_a_delete_may_take_the_drain_and_half_an_hour(grace, least):
    """Rounded up to whole minutes: never shorter than the drain that the pool allows."""
    assert delete_minutes(pool(disruption={"terminationGracePeriod": grace})) in (least, least + 1)
    assert delete_minutes(pool(disruption={"terminationGracePeriod": grace})) * 60 >= least * 60


@pytest.mark.parametrize("protected", [True, False])
def test_protection(protected):
    recording = made(SHARED, cluster={"deletionProtection": protected})
    guarded = {kind: recording.by_type(token)[0].protect for kind, token in KINDS.items()}
    assert guarded == {"NodePool": protected, "EC2NodeClass": False, "NodeOverlay": False}


def test_every_component_can_be_published():
    """The SDK infers a schema from annotations; unions, bare lists and foreign classes are beyond it."""
    found = Analyzer("gpu-slicing").analyze(COMPONENTS)["component_definitions"]
    assert found.keys() == {c.__name__ for c in COMPONENTS}
    for name, definition in found.items():
        assert definition.inputs, name
    assert set(found["GpuPool"].inputs) >= {"poolName", "nodeClass", "overlays", "nodePool"}
    assert set(found["GpuPool"].outputs) == {"poolName"}


def test_no_component_is_forgotten():
    """Every class that registers itself under this project's name is in the list above."""

    def below(base: type) -> set[type]:
        return {base} | {c for sub in base.__subclasses__() for c in below(sub)}

    own = {c.__name__ for c in below(pulumi.ComponentResource) if c.__module__.startswith("components.")}
    assert own - {"KubernetesCluster"} == {c.__name__ for c in COMPONENTS}
