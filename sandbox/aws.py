"""The simulated AWS account: moto, served on loopback, and filled with what a stack declares.

`seed` goes through the AWS API wherever moto allows it and through moto's backends where it does not: parameters
under `/aws/` and tags beginning with `aws:` belong to AWS, and a registered image cannot state its architecture.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from typing import Any

import boto3
from botocore.config import Config
from moto import settings as moto_settings
from moto.backends import get_backend
from moto.core.exceptions import ServiceException
from moto.ec2.models.instance_types import (
    INSTANCE_TYPE_OFFERINGS,
    INSTANCE_TYPES,
    InstanceType,
    InstanceTypeBackend,
)
from moto.moto_server.threaded_moto_server import ThreadedMotoServer
from moto.ssm.models import Parameter

from gpuslice import catalog
from sandbox import SandboxError, fleet
from sandbox.account import CREDENTIALS, SecurityGroup, SeedRequest, SeedResult, Subnet

ACCOUNT = "123456789012"  # moto's default account

# General purpose types beside the GPU ones: Karpenter v1.14.1 validates an EC2NodeClass that no NodePool uses
# with the first two (`getFallbackInstanceTypes`), and system workloads run on the rest.
GENERAL_TYPES = ("m5.large", "m6g.large", "m7i.large", "m7i.xlarge")

# The share of the on-demand price at which the simulated account sells spot capacity.
SPOT_SHARE = 0.4

_AL2023_VARIANTS = {"x86_64": ("standard", "nvidia"), "arm64": ("standard", "nvidia")}


class SimulatedAws:
    """moto on a loopback port. One per process: moto's state is global."""

    def __init__(self, port: int = 0) -> None:
        # The images that moto ships take seconds to load, and nothing here uses them.
        os.environ.setdefault("MOTO_EC2_LOAD_DEFAULT_AMIS", "false")
        assert not moto_settings.ec2_load_default_amis()
        fleet.install({name: price * SPOT_SHARE for name, price in on_demand_prices().items()})
        self._server = ThreadedMotoServer("127.0.0.1", port, verbose=False)
        self._server.start()
        host, self.port = self._server.get_host_and_port()
        self.endpoint = f"http://{host}:{self.port}"

    def stop(self) -> None:
        self._server.stop()

    def seed(self, request: SeedRequest) -> SeedResult:
        """Make the account hold what `request` says. Doing it twice changes nothing.

        Raises SandboxError for an instance type or an AMI alias that the account cannot offer.
        """
        return _Seeding(request, self.endpoint).run()

    def terminate(self, region: str, instance_id: str) -> None:
        """Raises SandboxError for an instance that does not exist."""
        try:
            get_backend("ec2")[ACCOUNT][region].terminate_instances([instance_id])
        except ServiceException as error:
            raise SandboxError(f"{instance_id}: {error}") from None

    def machine(self, instance_type: str) -> tuple[int, int, int]:
        """(vCPUs, memory in MiB, pods) of a type, by EC2's figures and EKS' formula for pods."""
        figures = INSTANCE_TYPES[instance_type]
        network = figures["NetworkInfo"]
        pods = network["MaximumNetworkInterfaces"] * (network["Ipv4AddressesPerInterface"] - 1) + 2
        return figures["VCpuInfo"]["DefaultVCpus"], figures["MemoryInfo"]["SizeInMiB"], pods

    def instances(self, region: str) -> list[dict[str, Any]]:
        """Every instance, terminated ones included: id, type, state, zone, private DNS name, market, tags."""
        return [
            {
                "id": instance.id,
                "type": instance.instance_type,
                "state": instance.state,
                "zone": instance.availability_zone,
                "private_dns_name": instance.private_dns_name,
                "private_ip": instance.private_ip,
                "market": instance.lifecycle or "on-demand",
                "reservation": getattr(instance, "capacity_reservation_id", None),
                "tags": {tag["key"]: tag["value"] for tag in instance.get_tags()},
            }
            for instance in get_backend("ec2")[ACCOUNT][region].all_instances()
        ]


def on_demand_prices() -> dict[str, float]:
    """USD per hour of every type of the catalogue that has a price; Karpenter keeps its own for the others."""
    kinds = catalog.instance_types().values()
    return {kind.name: float(kind.usd_per_hour) for kind in kinds if kind.usd_per_hour is not None}


def image_parameters(alias: str, kubernetes_version: str) -> dict[str, tuple[str, str]]:
    """SSM parameter -> (image name, architecture) for an alias of Karpenter.

    Source: karpenter-provider-aws v1.14.1, pkg/providers/amifamily/al2023.go and bottlerocket.go.
    """
    family, _, version = alias.partition("@")
    if family == "al2023" and version:
        return _al2023_parameters(version, kubernetes_version)
    if family == "bottlerocket" and version:
        return _bottlerocket_parameters(version.lstrip("v"), kubernetes_version)
    raise SandboxError(f"AMI alias {alias!r}: the sandbox has al2023@VERSION and bottlerocket@VERSION")


def _al2023_parameters(version: str, kubernetes: str) -> dict[str, tuple[str, str]]:
    parameters = {}
    for architecture, variants in _AL2023_VARIANTS.items():
        for variant in variants:
            name = f"amazon-eks-node-al2023-{architecture}-{variant}-{kubernetes}-{version}"
            key = "recommended" if version == "latest" else name
            path = f"/aws/service/eks/optimized-ami/{kubernetes}/amazon-linux-2023/{architecture}/{variant}"
            parameters[f"{path}/{key}/image_id"] = (name, architecture)
    return parameters


def _bottlerocket_parameters(version: str, kubernetes: str) -> dict[str, tuple[str, str]]:
    return {
        f"/aws/service/bottlerocket/aws-k8s-{kubernetes}{variant}/{architecture}/{version}/image_id": (
            f"bottlerocket-aws-k8s-{kubernetes}{variant}-{architecture}-v{version}",
            architecture,
        )
        for variant in ("", "-nvidia")
        for architecture in ("x86_64", "arm64")
    }


def tag_list(tags: Mapping[str, str]) -> list[dict[str, str]]:
    return [{"Key": key, "Value": value} for key, value in tags.items()]


class _Seeding:
    """One run of `seed`; every step finds what it made before by its natural key."""

    def __init__(self, request: SeedRequest, endpoint: str) -> None:
        self.request = request
        self.endpoint = endpoint
        session = boto3.Session(
            CREDENTIALS["AWS_ACCESS_KEY_ID"], CREDENTIALS["AWS_SECRET_ACCESS_KEY"], region_name=request.region
        )
        settings = Config(retries={"max_attempts": 1}, proxies={})
        self.ec2 = session.client("ec2", endpoint_url=endpoint, config=settings)
        self.eks = session.client("eks", endpoint_url=endpoint, config=settings)
        self.iam = session.client("iam", endpoint_url=endpoint, config=settings)
        self.sqs = session.client("sqs", endpoint_url=endpoint, config=settings)
        self.backend = get_backend("ec2")[ACCOUNT][request.region]

    def run(self) -> SeedResult:
        request = self.request
        self._instance_types()
        vpc = self._vpc()
        subnets = {subnet.cidr: self._subnet(vpc, subnet) for subnet in request.subnets}
        cluster_group = self._security_group(
            vpc,
            SecurityGroup(
                name=f"eks-cluster-sg-{request.cluster_name}",
                tags={
                    "aws:eks:cluster-name": request.cluster_name,
                    f"kubernetes.io/cluster/{request.cluster_name}": "owned",
                },
            ),
        )
        groups = {group.name: self._security_group(vpc, group) for group in request.security_groups}
        role = self._role(request.node_role_name)
        self._cluster(list(subnets.values()), cluster_group)
        images = self._images()
        fleet.BOOK.replace(tuple(fleet.Reservation(**entry.model_dump()) for entry in request.capacity_reservations))
        return SeedResult(
            account=ACCOUNT,
            region=request.region,
            endpoint=self.endpoint,
            vpc_id=vpc,
            cluster_security_group_id=cluster_group,
            subnet_ids=subnets,
            security_group_ids=groups,
            image_ids=images,
            queue_url=self.sqs.create_queue(QueueName=request.queue_name)["QueueUrl"],
            node_role_arn=role,
        )

    def _instance_types(self) -> None:
        """Offer the wanted types, and no others, in every zone of the subnets.

        Which zones of AWS really have a type is not simulated: a stack must be able to try any of them.
        """
        wanted = {*(self.request.instance_types or catalog.instance_types()), *GENERAL_TYPES}
        wanted |= {entry.instance_type for entry in self.request.capacity_reservations}
        unknown = sorted(wanted - set(INSTANCE_TYPES))
        if unknown:
            raise SandboxError(f"the simulated account has no figures for {', '.join(unknown)}")
        InstanceTypeBackend.instance_types = [InstanceType(name) for name in sorted(wanted)]
        region = self.request.region
        zones = sorted({subnet.zone for subnet in self.request.subnets})
        INSTANCE_TYPE_OFFERINGS["availability-zone"][region] = _offerings(wanted, zones, "availability-zone")
        INSTANCE_TYPE_OFFERINGS["region"][region] = _offerings(wanted, [region], "region")

    def _vpc(self) -> str:
        name = f"{self.request.cluster_name}-vpc"
        found = self.ec2.describe_vpcs(
            Filters=[{"Name": "tag:Name", "Values": [name]}, {"Name": "cidr", "Values": [self.request.vpc_cidr]}]
        )["Vpcs"]
        if found:
            return str(found[0]["VpcId"])
        vpc = self.ec2.create_vpc(
            CidrBlock=self.request.vpc_cidr,
            TagSpecifications=[{"ResourceType": "vpc", "Tags": tag_list({"Name": name})}],
        )
        return str(vpc["Vpc"]["VpcId"])

    def _subnet(self, vpc: str, subnet: Subnet) -> str:
        filters = [{"Name": "vpc-id", "Values": [vpc]}, {"Name": "cidr-block", "Values": [subnet.cidr]}]
        found = self.ec2.describe_subnets(Filters=filters)["Subnets"]
        if not found:
            made = self.ec2.create_subnet(VpcId=vpc, CidrBlock=subnet.cidr, AvailabilityZone=subnet.zone)
            found = [made["Subnet"]]
        identifier = str(found[0]["SubnetId"])
        self.backend.create_tags([identifier], dict(subnet.tags))
        return identifier

    def _security_group(self, vpc: str, group: SecurityGroup) -> str:
        filters = [{"Name": "vpc-id", "Values": [vpc]}, {"Name": "group-name", "Values": [group.name]}]
        found = self.ec2.describe_security_groups(Filters=filters)["SecurityGroups"]
        identifier = (
            found[0]["GroupId"]
            if found
            else self.ec2.create_security_group(GroupName=group.name, Description=group.name, VpcId=vpc)["GroupId"]
        )
        self.backend.create_tags([identifier], dict(group.tags))
        return str(identifier)

    def _role(self, name: str) -> str:
        try:
            return str(self.iam.get_role(RoleName=name)["Role"]["Arn"])
        except self.iam.exceptions.NoSuchEntityException:
            role = self.iam.create_role(RoleName=name, AssumeRolePolicyDocument="{}")
            return str(role["Role"]["Arn"])

    def _cluster(self, subnets: list[str], security_group: str) -> None:
        name = self.request.cluster_name
        if name in self.eks.list_clusters()["clusters"]:
            return
        self.eks.create_cluster(
            name=name,
            version=self.request.kubernetes_version,
            roleArn=self._role(f"{name}-control-plane"),
            resourcesVpcConfig={"subnetIds": subnets, "securityGroupIds": [security_group]},
        )

    def _images(self) -> dict[str, str]:
        parameters: dict[str, str] = {}
        for alias in self.request.ami_aliases:
            for path, (name, architecture) in image_parameters(alias, self.request.kubernetes_version).items():
                parameters[path] = self._image(name, architecture)
                self._parameter(path, parameters[path])
        return parameters

    def _image(self, name: str, architecture: str) -> str:
        found = self.ec2.describe_images(Filters=[{"Name": "name", "Values": [name]}])["Images"]
        if found:
            return str(found[0]["ImageId"])
        identifier = str(self.ec2.register_image(Name=name, RootDeviceName="/dev/xvda")["ImageId"])
        self.backend.amis[identifier].architecture = architecture
        self.backend.amis[identifier].virtualization_type = "hvm"
        return identifier

    def _parameter(self, path: str, image: str) -> None:
        store = get_backend("ssm")[ACCOUNT][self.request.region]._parameters
        if store[path]:
            return
        # moto's type is abstract for CloudFormation's sake only, and moto itself makes such objects.
        make: Any = Parameter
        store[path].append(
            make(
                account_id=ACCOUNT,
                name=path,
                value=image,
                parameter_type="String",
                description=None,
                allowed_pattern=None,
                keyid=None,
                last_modified_date=self.backend.amis[image].creation_date,
                version=1,
                data_type="aws:ec2:image",
            )
        )


def _offerings(types: Iterable[str], locations: Iterable[str], kind: str) -> list[dict[str, str]]:
    return [
        {"InstanceType": name, "Location": location, "LocationType": kind}
        for name in sorted(types)
        for location in locations
    ]
