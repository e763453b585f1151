"""What the simulated AWS is told: read from the resources of the real program, and from none that it does not make."""

from dataclasses import replace

import pytest

from gpuslice.project import project_root
from offline import preview
from offline.recording import Recording, Resource
from sandbox import SandboxError
from sandbox.account import CapacityReservation, GpuStack
from sandbox.seed import gpu_stack, instance_types, requirement, seed_request


@pytest.fixture(scope="module")
def prod():
    return preview.record_stack(project_root(), "prod", unknowns=False).recording


@pytest.fixture(scope="module")
def local():
    return preview.record_stack(project_root(), "local", unknowns=False).recording


def test_the_account_is_the_one_that_the_program_declares(prod):
    request = seed_request(prod, "us-east-1")
    (cluster,) = prod.by_type("eks:index:Cluster")
    assert (
        (request.cluster_name, request.kubernetes_version)
        == ("gpu-prod", "1.35")
        == (
            cluster.inputs["name"],
            cluster.inputs["version"],
        )
    )
    assert request.vpc_cidr == "10.40.0.0/16"
    assert [s.cidr for s in request.subnets] == [r.inputs["cidrBlock"] for r in prod.by_type("aws:ec2/subnet:Subnet")]
    assert {s.zone for s in request.subnets} == {
        r.inputs["availabilityZone"] for r in prod.by_type("aws:ec2/subnet:Subnet")
    }
    assert len({s.zone for s in request.subnets}) == 3
    assert request.ami_aliases == ("al2023@v20260915",)
    assert request.queue_name == prod.by_type("aws:sqs/queue:Queue")[0].inputs["name"]
    assert request.node_role_name in {r.inputs.get("name") for r in prod.by_type("aws:iam/role:Role")}


def test_karpenter_will_find_its_subnets_and_its_security_group(prod):
    """By the same tags as the EC2NodeClasses look for."""
    request = seed_request(prod, "us-east-1")
    for node_class in (o for o in prod.kubernetes_objects() if o["kind"] == "EC2NodeClass"):
        (term,) = node_class["spec"]["subnetSelectorTerms"]
        found = [s for s in request.subnets if term["tags"].items() <= s.tags.items()]
        assert len(found) == 3
        (term,) = node_class["spec"]["securityGroupSelectorTerms"]
        assert [g for g in request.security_groups if term["tags"].items() <= g.tags.items()]


def test_every_type_of_the_catalogue_is_offered_whatever_the_pools_name(prod):
    assert seed_request(prod, "us-east-1").instance_types == ()


def test_a_reservation_has_the_type_and_the_size_of_its_pool(prod):
    assert seed_request(prod, "us-east-1").capacity_reservations == (
        CapacityReservation(id="cr-0123456789abcdef0", instance_type="p4d.24xlarge", zone="us-east-1a", count=2),
    )


def test_the_gpu_stack_is_what_the_operators_release_says(prod, local):
    assert gpu_stack(prod) == GpuStack(
        namespace="gpu-operator",
        plugin_config_map="time-slicing-config-fine",
        plugin_default="exclusive",
        mig_config_map="mig-layouts",
        mig_strategy="mixed",
    )
    assert gpu_stack(local).mig_config_map is None
    maps = [o["metadata"]["name"] for o in prod.kubernetes_objects() if o["kind"] == "ConfigMap"]
    assert {gpu_stack(prod).plugin_config_map, gpu_stack(prod).mig_config_map} <= set(maps)


def test_without_the_operator_nothing_is_read_from_anywhere(local):
    assert gpu_stack(without(local, "kubernetes:helm.sh/v3:Release")) == GpuStack()


def without(recording: Recording, token: str) -> Recording:
    return replace(recording, resources=tuple(r for r in recording.resources if r.type != token))


def test_a_stack_without_a_cluster_of_its_own_is_refused(local):
    with pytest.raises(SandboxError) as refused:
        seed_request(without(local, "eks:index:Cluster"), "us-east-1")
    assert "declares 0 resources of type eks:index:Cluster, the sandbox needs one" in str(refused.value)
    assert "cluster.mode 'sandbox' or 'create'" in str(refused.value)


@pytest.mark.parametrize("token", ["eks:index:Cluster", "aws:ec2/vpc:Vpc", "aws:sqs/queue:Queue"])
def test_two_of_what_there_must_be_one_are_refused(local, token):
    second = replace(local.by_type(token)[0], urn="urn::second", name="second")
    doubled = replace(local, resources=(*local.resources, second))
    with pytest.raises(SandboxError, match=f"declares 2 resources of type {token}"):
        seed_request(doubled, "us-east-1")


def test_a_node_role_that_nobody_makes_is_refused(local):
    """Karpenter would find no such role in the account, and no node would ever start."""
    with pytest.raises(SandboxError, match="name the role gpu-local-us-east-1-gpu-node, which no resource makes"):
        seed_request(without(local, "aws:iam/role:Role"), "us-east-1")


def node_pool(name="t4", **requirements):
    spec = [{"key": key, "operator": "In", "values": values} for key, values in requirements.items()]
    template = {"spec": {"requirements": spec}}
    spec = {"template": template, "limits": {"nodes": "3"}}
    return {"apiVersion": "karpenter.sh/v1", "kind": "NodePool", "metadata": {"name": name}, "spec": spec}


def node_class(name="t4", **spec):
    spec = {"role": "node", "amiSelectorTerms": [{"alias": "al2023@v20260915"}], **spec}
    return {"apiVersion": "karpenter.k8s.aws/v1", "kind": "EC2NodeClass", "metadata": {"name": name}, "spec": spec}


def small(*objects):
    """A program of nothing but what a seed needs."""

    def aws(token, **inputs):
        return Resource(f"urn::{token}", token, token, None, inputs)

    manifests = tuple(
        Resource(f"urn::{n}", f"kubernetes:{o['apiVersion']}:{o['kind']}", str(n), None, o)
        for n, o in enumerate(objects)
    )
    return Recording(
        "p",
        "s",
        False,
        (
            aws("eks:index:Cluster", name="c", version="1.35"),
            aws("aws:ec2/vpc:Vpc", cidrBlock="10.0.0.0/16"),
            aws("aws:ec2/subnet:Subnet", cidrBlock="10.0.0.0/20", availabilityZone="us-east-1b"),
            aws("aws:sqs/queue:Queue", name="q"),
            aws("aws:iam/role:Role", name="node"),
            *manifests,
        ),
    )


def test_a_reservation_stands_in_the_pools_zone_and_is_a_block_where_the_pool_wants_blocks():
    pool = node_pool(
        **{
            "node.kubernetes.io/instance-type": ["p5.48xlarge"],
            "topology.kubernetes.io/zone": ["us-east-1c", "us-east-1b"],
            "karpenter.k8s.aws/capacity-reservation-type": ["capacity-block"],
        }
    )
    terms = [{"id": "cr-1"}, {"tags": {"team": "ml"}}, {"id": "cr-2"}]
    request = seed_request(small(node_class(capacityReservationSelectorTerms=terms), pool), "us-east-1")
    assert request.capacity_reservations == tuple(
        CapacityReservation(id=i, instance_type="p5.48xlarge", zone="us-east-1c", count=3, kind="capacity-block")
        for i in ("cr-1", "cr-2")
    )


def test_without_zones_a_reservation_stands_in_the_first_subnets_zone():
    pool = node_pool(**{"node.kubernetes.io/instance-type": ["p5.48xlarge"]})
    request = seed_request(small(node_class(capacityReservationSelectorTerms=[{"id": "cr-1"}]), pool), "us-east-1")
    assert [r.zone for r in request.capacity_reservations] == ["us-east-1b"]
    assert request.subnets[0].tags == {}


def test_an_alias_of_two_pools_is_named_once_and_an_image_by_id_not_at_all():
    by_id = node_class("c", amiSelectorTerms=[{"id": "ami-1"}])
    pools = [node_pool(name) for name in "abc"]
    request = seed_request(small(node_class("a"), node_class("b"), by_id, *pools), "us-east-1")
    assert request.ami_aliases == ("al2023@v20260915",)


def test_two_node_roles_are_refused():
    with pytest.raises(SandboxError, match="name the role node, other, which no resource makes"):
        seed_request(small(node_class("a"), node_class("b", role="other")), "us-east-1")


def test_only_in_requirements_name_values():
    pool = node_pool(**{"node.kubernetes.io/instance-type": ["g4dn.xlarge", "g4dn.2xlarge"]})
    pool["spec"]["template"]["spec"]["requirements"].append(
        {"key": "node.kubernetes.io/instance-type", "operator": "NotIn", "values": ["g5.xlarge"]}
    )
    assert instance_types(pool) == ["g4dn.xlarge", "g4dn.2xlarge"]
    assert requirement(pool, "topology.kubernetes.io/zone") == []
