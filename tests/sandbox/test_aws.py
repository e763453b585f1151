"""The simulated account: what `seed` puts into it, read back through the AWS API."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import boto3
import pytest

from gpuslice import catalog
from sandbox import SandboxError
from sandbox.account import CapacityReservation, SecurityGroup, SeedRequest, SeedResult, Subnet
from sandbox.aws import SimulatedAws, image_parameters, on_demand_prices
from sandbox.fleet import price_list

REQUEST = SeedRequest(
    cluster_name="seed",
    kubernetes_version="1.35",
    region="us-east-1",
    vpc_cidr="10.40.0.0/16",
    subnets=(
        Subnet(cidr="10.40.0.0/20", zone="us-east-1a", tags={"karpenter.sh/discovery": "seed"}),
        Subnet(cidr="10.40.16.0/20", zone="us-east-1b", tags={"karpenter.sh/discovery": "seed"}),
    ),
    security_groups=(SecurityGroup(name="nodes", tags={"karpenter.sh/discovery": "seed"}),),
    node_role_name="node-role",
    queue_name="interruptions",
    ami_aliases=("al2023@v20260915", "bottlerocket@v1.50.0"),
    capacity_reservations=(
        CapacityReservation(id="cr-1", instance_type="p4d.24xlarge", zone="us-east-1a", count=2, tags={"a": "b"}),
    ),
)


@pytest.fixture(scope="module")
def aws() -> Iterator[SimulatedAws]:
    account = SimulatedAws()
    yield account
    account.stop()


@pytest.fixture(scope="module")
def seeded(aws: SimulatedAws) -> SeedResult:
    return aws.seed(REQUEST)


@pytest.fixture
def client(aws: SimulatedAws, seeded: SeedResult) -> Any:
    session = boto3.Session("test", "test", region_name=REQUEST.region)
    return lambda service: session.client(service, endpoint_url=aws.endpoint)


def everything(client: Any) -> Any:
    ec2 = client("ec2")
    return [
        sorted(vpc["VpcId"] for vpc in ec2.describe_vpcs()["Vpcs"]),
        sorted((subnet["SubnetId"], str(subnet["Tags"])) for subnet in _tagged(ec2.describe_subnets()["Subnets"])),
        sorted(group["GroupId"] for group in ec2.describe_security_groups()["SecurityGroups"]),
        sorted(image["ImageId"] for image in ec2.describe_images()["Images"]),
        client("eks").list_clusters()["clusters"],
        sorted(role["RoleName"] for role in client("iam").list_roles()["Roles"]),
        client("sqs").list_queues()["QueueUrls"],
    ]


def _tagged(items: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return [item for item in items if item.get("Tags")]


def test_seeding_twice_changes_nothing(aws, seeded, client):
    before = everything(client)
    assert aws.seed(REQUEST) == seeded
    assert everything(client) == before


def test_subnets_and_groups_are_found_by_their_tags(seeded, client):
    by_tag = [{"Name": "tag:karpenter.sh/discovery", "Values": ["seed"]}]
    found = client("ec2").describe_subnets(Filters=by_tag)["Subnets"]
    assert {subnet["CidrBlock"]: subnet["SubnetId"] for subnet in found} == seeded.subnet_ids
    assert {subnet["AvailabilityZone"] for subnet in found} == {"us-east-1a", "us-east-1b"}
    groups = client("ec2").describe_security_groups(Filters=by_tag)["SecurityGroups"]
    assert [group["GroupId"] for group in groups] == [seeded.security_group_ids["nodes"]]


def test_the_clusters_own_security_group_has_the_tag_that_eks_gives_it(seeded, client):
    by_tag = [{"Name": "tag:aws:eks:cluster-name", "Values": ["seed"]}]
    groups = client("ec2").describe_security_groups(Filters=by_tag)["SecurityGroups"]
    assert [group["GroupId"] for group in groups] == [seeded.cluster_security_group_id]


@pytest.mark.parametrize(
    ("path", "architecture"),
    [
        (
            (
                "/aws/service/eks/optimized-ami/1.35/amazon-linux-2023/x86_64/nvidia/"
                "amazon-eks-node-al2023-x86_64-nvidia-1.35-v20260915/image_id"
            ),
            "x86_64",
        ),
        (
            (
                "/aws/service/eks/optimized-ami/1.35/amazon-linux-2023/arm64/standard/"
                "amazon-eks-node-al2023-arm64-standard-1.35-v20260915/image_id"
            ),
            "arm64",
        ),
        ("/aws/service/bottlerocket/aws-k8s-1.35-nvidia/x86_64/1.50.0/image_id", "x86_64"),
        ("/aws/service/bottlerocket/aws-k8s-1.35/arm64/1.50.0/image_id", "arm64"),
    ],
)
def test_images_are_found_where_karpenter_looks(client, path, architecture):
    image = client("ssm").get_parameter(Name=path)["Parameter"]["Value"]
    found = client("ec2").describe_images(Filters=[{"Name": "image-id", "Values": [image]}])["Images"]
    assert [each["Architecture"] for each in found] == [architecture]


def test_each_variant_has_an_image_of_its_own(seeded):
    assert len(set(seeded.image_ids.values())) == len(seeded.image_ids) == 8


def test_latest_is_the_recommended_image():
    paths = image_parameters("al2023@latest", "1.35")
    assert all(path.endswith("/recommended/image_id") for path in paths)


@pytest.mark.parametrize("alias", ["al2@latest", "al2023", "windows2022@latest", ""])
def test_another_alias_is_refused(alias):
    with pytest.raises(SandboxError, match="al2023@VERSION and bottlerocket@VERSION"):
        image_parameters(alias, "1.35")


@pytest.mark.parametrize("name", catalog.instance_types())
def test_ec2s_figures_agree_with_the_catalogue(aws, seeded, name):
    kind = catalog.instance_types()[name]
    vcpus, memory_mib, _ = aws.machine(name)
    assert (vcpus, memory_mib) == (kind.vcpus, kind.memory_mib)


def test_every_type_of_the_catalogue_is_offered_in_every_zone_with_its_gpus(client):
    ec2 = client("ec2")
    offered: set[tuple[str, str]] = set()
    for page in ec2.get_paginator("describe_instance_type_offerings").paginate(LocationType="availability-zone"):
        offered |= {(each["InstanceType"], each["Location"]) for each in page["InstanceTypeOfferings"]}
    described: dict[str, Any] = {}
    for page in ec2.get_paginator("describe_instance_types").paginate():
        described |= {each["InstanceType"]: each for each in page["InstanceTypes"]}
    for name, kind in catalog.instance_types().items():
        assert {(name, "us-east-1a"), (name, "us-east-1b")} <= offered
        (gpu,) = described[name]["GpuInfo"]["Gpus"]
        assert gpu["Manufacturer"] == "NVIDIA"
        assert gpu["Count"] == kind.gpu_count
        assert gpu["Name"].lower().replace(" ", "-") == kind.gpu.karpenter_name
        assert gpu["MemoryInfo"]["SizeInMiB"] == kind.gpu_memory_mib


def test_an_unknown_instance_type_is_refused(aws, seeded):
    with pytest.raises(SandboxError, match=r"no figures for p9\.giant"):
        aws.seed(REQUEST.model_copy(update={"instance_types": ("p9.giant",)}))
    aws.seed(REQUEST)


def test_reservations_are_found_by_id_and_by_tag(client):
    ec2 = client("ec2")
    (found,) = ec2.describe_capacity_reservations(CapacityReservationIds=["cr-1"])["CapacityReservations"]
    assert (found["InstanceType"], found["AvailableInstanceCount"]) == ("p4d.24xlarge", 2)
    by_tag = ec2.describe_capacity_reservations(Filters=[{"Name": "tag:a", "Values": ["b"]}])
    assert by_tag["CapacityReservations"] == [found]
    other = ec2.describe_capacity_reservations(Filters=[{"Name": "tag:a", "Values": ["c"]}])
    assert other["CapacityReservations"] == []


def launch(client: Any, seeded: SeedResult, market: str = "on-demand", **template: Any) -> dict[str, Any]:
    """One instance, as Karpenter launches it: a template, and overrides with prices for priorities."""
    ec2 = client("ec2")
    name = f"template-{len(ec2.describe_launch_templates()['LaunchTemplates'])}"
    group = seeded.security_group_ids["nodes"]
    data = {"ImageId": "ami-1", "NetworkInterfaces": [{"DeviceIndex": 0, "Groups": [group]}], **template}
    ec2.create_launch_template(LaunchTemplateName=name, LaunchTemplateData=data)
    image = next(iter(seeded.image_ids.values()))
    overrides = [
        {"InstanceType": kind, "SubnetId": subnet, "ImageId": image, "Priority": price}
        for kind, price in (("g4dn.2xlarge", 0.752), ("g4dn.xlarge", 0.526))
        for subnet in seeded.subnet_ids.values()
    ]
    fleet = ec2.create_fleet(
        Type="instant",
        LaunchTemplateConfigs=[
            {
                "LaunchTemplateSpecification": {"LaunchTemplateName": name, "Version": "$Latest"},
                "Overrides": overrides,
            }
        ],
        TargetCapacitySpecification={"TotalTargetCapacity": 1, "DefaultTargetCapacityType": market},
        TagSpecifications=[{"ResourceType": "instance", "Tags": [{"Key": "owner", "Value": "test"}]}],
    )
    if not fleet["Instances"]:
        return {}
    (identifier,) = fleet["Instances"][0]["InstanceIds"]
    described = ec2.describe_instances(InstanceIds=[identifier])["Reservations"][0]["Instances"][0]
    return dict(described)


def test_a_fleet_launches_the_cheapest_override_with_the_templates_groups(seeded, client):
    instance = launch(client, seeded)
    assert instance["InstanceType"] == "g4dn.xlarge"
    assert [group["GroupId"] for group in instance["SecurityGroups"]] == [seeded.security_group_ids["nodes"]]
    assert instance["ImageId"] in seeded.image_ids.values()
    assert {"Key": "owner", "Value": "test"} in instance["Tags"]
    assert "SpotInstanceRequestId" not in instance


def test_a_spot_instance_says_so(seeded, client):
    assert launch(client, seeded, "spot")["SpotInstanceRequestId"].startswith("sir-")


def test_a_reservation_fills_up_and_empties(seeded, client):
    ec2 = client("ec2")
    target = {
        "CapacityReservationPreference": "capacity-reservations-only",
        "CapacityReservationTarget": {"CapacityReservationId": "cr-1"},
    }

    def free() -> int:
        found = ec2.describe_capacity_reservations(CapacityReservationIds=["cr-1"])["CapacityReservations"]
        return int(found[0]["AvailableInstanceCount"])

    launched = [launch(client, seeded, CapacityReservationSpecification=target) for _ in range(2)]
    assert [instance["CapacityReservationId"] for instance in launched] == ["cr-1", "cr-1"]
    assert free() == 0
    assert launch(client, seeded, CapacityReservationSpecification=target) == {}
    ec2.terminate_instances(InstanceIds=[launched[0]["InstanceId"]])
    assert free() == 1


def test_a_capacity_block_is_a_market_of_its_own(seeded, client):
    assert launch(client, seeded, "capacity-block")["InstanceLifecycle"] == "capacity-block"


def test_the_spot_price_is_below_the_on_demand_price(client):
    history = client("ec2").describe_spot_price_history(InstanceTypes=["g4dn.xlarge"])["SpotPriceHistory"]
    prices = {each["InstanceType"]: float(each["SpotPrice"]) for each in history}
    assert 0 < prices["g4dn.xlarge"] < on_demand_prices()["g4dn.xlarge"]
    assert prices["g4dn.xlarge"] < prices["p4d.24xlarge"]


def test_prices_are_the_catalogues():
    virtual = price_list(on_demand_prices(), {"Filters": [{"Field": "productFamily", "Value": "Compute Instance"}]})
    metal = price_list(
        on_demand_prices(), {"Filters": [{"Field": "productFamily", "Value": "Compute Instance (bare metal)"}]}
    )
    assert len(virtual["PriceList"]) + len(metal["PriceList"]) == len(on_demand_prices())
    assert metal["PriceList"]
    assert any('"g4dn.xlarge"' in product and '"0.5260000000"' in product for product in virtual["PriceList"])


def test_a_request_with_a_mistake_is_refused():
    with pytest.raises(ValueError, match="subnets"):
        SeedRequest.model_validate({**REQUEST.model_dump(), "subnets": []})
    with pytest.raises(ValueError, match="extra"):
        SeedRequest.model_validate({**REQUEST.model_dump(), "extra": 1})
