"""The VPC of a new cluster: private subnets for the nodes, NAT for their egress, nothing reachable from outside."""

from dataclasses import dataclass

import pulumi
import pulumi_aws as aws

from components.account import account_of
from gpuslice.aws_policies import LOG_RETENTION_DAYS, dump, flow_log_policy, flow_log_trust, log_group_name
from gpuslice.network_plan import ZONES_WITHOUT_EKS, ZoneSubnets, choose_zones, plan_subnets
from gpuslice.settings import NewVpc, Settings

ANYWHERE = "0.0.0.0/0"


@dataclass
class NetworkArgs:
    """A VPC and how it is divided."""

    cluster_name: str
    region: str
    cidr: str
    availability_zones: int
    single_nat_gateway: bool
    """One NAT gateway for all zones: cheaper, and when its zone fails no node reaches AWS."""
    deletion_protection: bool
    log_key_arn: pulumi.Input[str]
    """The KMS key of the flow logs."""

    @classmethod
    def of(cls, settings: Settings, log_key_arn: pulumi.Input[str]) -> "NetworkArgs":
        """The arguments that a stack's settings mean; TypeError when the settings bring their own VPC."""
        cluster = settings.cluster
        if not isinstance(cluster.vpc, NewVpc):
            raise TypeError("cluster.vpc names a VPC that exists: there is no network to make")
        return cls(
            cluster_name=cluster.name,
            region=settings.region,
            cidr=cluster.vpc.cidr,
            availability_zones=cluster.vpc.availability_zones,
            single_nat_gateway=cluster.vpc.nat_gateways == "single",
            deletion_protection=cluster.deletion_protection,
            log_key_arn=log_key_arn,
        )


class Network(pulumi.ComponentResource):
    """A VPC with one private and one public subnet in each zone, NAT, an S3 endpoint and flow logs.

    `routes` is what gives the nodes their way out: who needs egress while it is destroyed depends on it.
    """

    vpc_id: pulumi.Output[str]
    private_subnet_ids: pulumi.Output[list[str]]
    public_subnet_ids: pulumi.Output[list[str]]

    def __init__(self, name: str, args: NetworkArgs, opts: pulumi.ResourceOptions | None = None) -> None:
        super().__init__("gpu-slicing:index:Network", name, {"clusterName": args.cluster_name}, opts)
        self._name, self._args = name, args
        self._options = pulumi.ResourceOptions(parent=self)
        self.routes: list[pulumi.Resource] = []
        self._vpc = aws.ec2.Vpc(
            name,
            cidr_block=args.cidr,
            enable_dns_hostnames=True,
            enable_dns_support=True,
            tags={"Name": args.cluster_name},
            opts=pulumi.ResourceOptions(parent=self, protect=args.deletion_protection),
        )
        # An empty default group: what forgets to name a security group gets no traffic at all.
        aws.ec2.DefaultSecurityGroup(name, vpc_id=self._vpc.id, ingress=[], egress=[], opts=self._options)
        plan = plan_subnets(args.cidr, args.availability_zones)
        zones = self._zones(len(plan))
        public = self._public(plan, zones)
        private = self._private(plan, zones, self._nat_gateways(public))
        self._flow_logs()
        self.vpc_id = self._vpc.id
        self.private_subnet_ids = pulumi.Output.all(*[subnet.id for subnet in private])
        self.public_subnet_ids = pulumi.Output.all(*[subnet.id for subnet in public])
        self.register_outputs(
            {
                "vpc_id": self.vpc_id,
                "private_subnet_ids": self.private_subnet_ids,
                "public_subnet_ids": self.public_subnet_ids,
            }
        )

    def _zones(self, count: int) -> pulumi.Output[list[str]]:
        """Zones that need no opt-in (no local zones) and that EKS accepts."""
        found = aws.get_availability_zones_output(
            state="available",
            filters=[aws.GetAvailabilityZonesFilterArgs(name="opt-in-status", values=["opt-in-not-required"])],
            exclude_zone_ids=list(ZONES_WITHOUT_EKS),
            opts=pulumi.InvokeOptions(parent=self),
        )

        def chosen(available: list[str]) -> list[str]:
            try:
                return choose_zones(available, count)
            except ValueError as error:
                # Pulumi prints the text of this error alone, and a traceback for any other.
                raise pulumi.RunError(f"cluster.vpc.availabilityZones: {error}") from None

        names: pulumi.Output[list[str]] = found.names.apply(chosen)
        return names

    def _subnet(
        self, kind: str, index: int, cidr: str, zones: pulumi.Output[list[str]], tags: dict[str, str]
    ) -> aws.ec2.Subnet:
        return aws.ec2.Subnet(
            f"{self._name}-{kind}-{index}",
            vpc_id=self._vpc.id,
            cidr_block=cidr,
            availability_zone=zones[index],
            map_public_ip_on_launch=False,
            tags={"Name": f"{self._args.cluster_name}-{kind}-{index}", **tags},
            opts=self._options,
        )

    def _routed(
        self, label: str, subnets: dict[int, aws.ec2.Subnet], **target: pulumi.Input[str]
    ) -> aws.ec2.RouteTable:
        """A route table for these subnets whose way out is `target`."""
        name = f"{self._name}-{label}"
        tags = {"Name": f"{self._args.cluster_name}-{label}"}
        table = aws.ec2.RouteTable(name, vpc_id=self._vpc.id, tags=tags, opts=self._options)
        out = aws.ec2.Route(
            name, route_table_id=table.id, destination_cidr_block=ANYWHERE, opts=self._options, **target
        )
        self.routes.append(out)
        for index, subnet in subnets.items():
            association = aws.ec2.RouteTableAssociation(
                f"{name}-{index}", route_table_id=table.id, subnet_id=subnet.id, opts=self._options
            )
            self.routes.append(association)
        return table

    def _public(self, plan: tuple[ZoneSubnets, ...], zones: pulumi.Output[list[str]]) -> list[aws.ec2.Subnet]:
        tags = {"kubernetes.io/role/elb": "1"}
        subnets = [self._subnet("public", i, zone.public, zones, tags) for i, zone in enumerate(plan)]
        gateway = aws.ec2.InternetGateway(
            self._name, vpc_id=self._vpc.id, tags={"Name": self._args.cluster_name}, opts=self._options
        )
        self.routes.append(gateway)
        self._routed("public", dict(enumerate(subnets)), gateway_id=gateway.id)
        return subnets

    def _nat_gateways(self, public: list[aws.ec2.Subnet]) -> list[aws.ec2.NatGateway]:
        """One for each zone, or one; each after the way to the internet that it uses."""
        needs = pulumi.ResourceOptions(parent=self, depends_on=list(self.routes))
        gateways = []
        for index, subnet in enumerate(public[:1] if self._args.single_nat_gateway else public):
            name = f"{self._name}-nat-{index}"
            tags = {"Name": f"{self._args.cluster_name}-nat-{index}"}
            address = aws.ec2.Eip(name, domain="vpc", tags=tags, opts=needs)
            gateways.append(
                aws.ec2.NatGateway(name, allocation_id=address.id, subnet_id=subnet.id, tags=tags, opts=needs)
            )
        self.routes.extend(gateways)
        return gateways

    def _private(
        self, plan: tuple[ZoneSubnets, ...], zones: pulumi.Output[list[str]], nat: list[aws.ec2.NatGateway]
    ) -> list[aws.ec2.Subnet]:
        tags = {"karpenter.sh/discovery": self._args.cluster_name, "kubernetes.io/role/internal-elb": "1"}
        subnets = [self._subnet("private", i, zone.private, zones, tags) for i, zone in enumerate(plan)]
        tables = [
            self._routed(f"private-{i}", {i: subnet}, nat_gateway_id=nat[i % len(nat)].id)
            for i, subnet in enumerate(subnets)
        ]
        # Image layers come from S3: without the endpoint every node's pull is paid for at the NAT gateway.
        endpoint = aws.ec2.VpcEndpoint(
            f"{self._name}-s3",
            vpc_id=self._vpc.id,
            service_name=f"com.amazonaws.{self._args.region}.s3",
            vpc_endpoint_type="Gateway",
            route_table_ids=[table.id for table in tables],
            tags={"Name": f"{self._args.cluster_name}-s3"},
            opts=self._options,
        )
        self.routes.append(endpoint)
        return subnets

    def _flow_logs(self) -> None:
        account = account_of(self._args.region, self)
        group = aws.cloudwatch.LogGroup(
            f"{self._name}-flow-logs",
            name=log_group_name("flow-logs", self._args.cluster_name),
            retention_in_days=LOG_RETENTION_DAYS,
            kms_key_id=self._args.log_key_arn,
            opts=self._options,
        )
        role = aws.iam.Role(
            f"{self._name}-flow-logs",
            assume_role_policy=account.apply(lambda a: dump(flow_log_trust(a))),
            opts=self._options,
        )
        name = log_group_name("flow-logs", self._args.cluster_name)
        policy = aws.iam.RolePolicy(
            f"{self._name}-flow-logs",
            role=role.id,
            policy=account.apply(lambda a: dump(flow_log_policy(a, name))),
            opts=self._options,
        )
        aws.ec2.FlowLog(
            self._name,
            vpc_id=self._vpc.id,
            traffic_type="ALL",
            log_destination=group.arn,
            iam_role_arn=role.arn,
            opts=pulumi.ResourceOptions(parent=self, depends_on=[policy]),
        )
