"""The division of a VPC, and the network component on recorded data."""

import ipaddress
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gpuslice import aws_policies as policies
from gpuslice.network_plan import choose_zones, plan_subnets
from gpuslice.settings import Settings
from offline import ProgramFailed, Recording, record

ACCOUNT = policies.Account("aws", "amazonaws.com", "123456789012", "eu-west-1")


def settings(**cluster):
    values = {"stack": "test", "region": "us-east-1", "cluster": {"name": "gpu-test", **cluster}, "pools": ()}
    return Settings.model_validate(values, by_alias=True, by_name=True)


def run(chosen: Settings, *, preview: bool = False) -> Recording:
    def program():
        from components.network import Network, NetworkArgs

        Network("network", NetworkArgs.of(chosen, "arn:aws:kms:us-east-1:123456789012:key/1"))

    return record(program, project="p", stack="s", config={"aws:region": chosen.region}, preview=preview)


@pytest.fixture(scope="module")
def network() -> Recording:
    return run(settings())


def subnets(recording: Recording, kind: str) -> list[dict]:
    found = [r.inputs for r in recording.by_type("aws:ec2/subnet:Subnet") if f"-{kind}-" in r.name]
    return sorted(found, key=lambda s: s["availabilityZone"])


def inputs(recording: Recording, token: str) -> list[dict]:
    return [r.inputs for r in recording.by_type(token)]


@st.composite
def vpcs(draw):
    prefix = draw(st.integers(16, 22))
    block = draw(st.integers(0, 2 ** (prefix - 8) - 1))
    return str(ipaddress.IPv4Network(((10 << 24) + (block << (32 - prefix)), prefix)))


@given(vpcs(), st.integers(2, 4))
def test_a_plan_divides_the_vpc_without_overlap(cidr, zones):
    vpc = ipaddress.IPv4Network(cidr)
    plan = plan_subnets(cidr, zones)
    assert len(plan) == zones
    private = [ipaddress.IPv4Network(z.private) for z in plan]
    public = [ipaddress.IPv4Network(z.public) for z in plan]
    everything = [*private, *public]
    assert all(n.subnet_of(vpc) for n in everything)
    assert not any(a.overlaps(b) for i, a in enumerate(everything) for b in everything[:i])
    # Pods live in the private ones; AWS reserves five addresses and takes nothing smaller than a /28.
    assert all(n.num_addresses == vpc.num_addresses // 8 for n in private)
    assert all(n.prefixlen <= 27 for n in public)
    assert all(p.num_addresses >= 4 * q.num_addresses for p, q in zip(private, public, strict=True))


@given(vpcs(), st.integers(2, 3))
def test_another_zone_leaves_the_subnets_of_the_others_alone(cidr, zones):
    assert plan_subnets(cidr, zones + 1)[:zones] == plan_subnets(cidr, zones)


@pytest.mark.parametrize(
    ("cidr", "zones"), [("10.0.0.0/15", 2), ("10.0.0.0/23", 2), ("10.0.0.0/16", 0), ("10.0.0.0/16", 5)]
)
def test_a_plan_that_cannot_be_made_is_refused(cidr, zones):
    with pytest.raises(ValueError, match="allowed are"):
        plan_subnets(cidr, zones)


def test_zones_are_the_first_in_order_and_too_few_are_named():
    assert choose_zones(["c", "a", "b"], 2) == ["a", "b"]
    with pytest.raises(ValueError, match="3 availability zones are wanted, the region offers EKS 2: a, b"):
        choose_zones(["b", "a"], 3)


def test_subnets_lie_in_zones_that_eks_accepts(network):
    # us-east-1c is use1-az3 in this account, which EKS refuses.
    zones = [s["availabilityZone"] for s in subnets(network, "private")]
    assert zones == ["us-east-1a", "us-east-1b", "us-east-1d"]
    assert zones == [s["availabilityZone"] for s in subnets(network, "public")]


def test_a_region_with_too_few_zones_is_refused_in_words():
    values = {
        "stack": "t",
        "region": "ca-central-1",
        "cluster": {"name": "x", "vpc": {"availabilityZones": 4}},
        "pools": (),
    }
    with pytest.raises(ProgramFailed, match=r"^cluster\.vpc\.availabilityZones: 4 availability zones are wanted"):
        run(Settings.model_validate(values, by_alias=True, by_name=True))


def test_karpenter_and_load_balancers_find_their_subnets(network):
    for subnet in subnets(network, "private"):
        assert subnet["tags"]["karpenter.sh/discovery"] == "gpu-test"
        assert subnet["tags"]["kubernetes.io/role/internal-elb"] == "1"
    for subnet in subnets(network, "public"):
        assert subnet["tags"]["kubernetes.io/role/elb"] == "1"
        assert "karpenter.sh/discovery" not in subnet["tags"], "GPU nodes would be bought in a public subnet"


def test_nothing_gets_a_public_address_or_an_open_default_group(network):
    assert all(s["mapPublicIpOnLaunch"] is False for s in inputs(network, "aws:ec2/subnet:Subnet"))
    (group,) = inputs(network, "aws:ec2/defaultSecurityGroup:DefaultSecurityGroup")
    assert (group["ingress"], group["egress"]) == ([], [])
    (vpc,) = inputs(network, "aws:ec2/vpc:Vpc")
    assert vpc["enableDnsSupport"] is True
    assert vpc["enableDnsHostnames"] is True


def test_private_subnets_leave_by_the_nat_gateway_of_their_zone(network):
    ids = {r.id: r for r in network.resources if r.custom}
    exits = {}
    for association in inputs(network, "aws:ec2/routeTableAssociation:RouteTableAssociation"):
        (route,) = [
            r for r in inputs(network, "aws:ec2/route:Route") if r["routeTableId"] == association["routeTableId"]
        ]
        assert route["destinationCidrBlock"] == "0.0.0.0/0"
        exits[ids[association["subnetId"]].name] = route
    assert len(exits) == 6
    for index in range(3):
        assert "gatewayId" in exits[f"network-public-{index}"]
        nat = ids[exits[f"network-private-{index}"]["natGatewayId"]]
        own, gateway = ids[nat.inputs["subnetId"]].inputs, subnets(network, "private")[index]
        assert own["availabilityZone"] == gateway["availabilityZone"]
        assert own["tags"]["kubernetes.io/role/elb"] == "1", "a NAT gateway in a private subnet reaches nothing"


def test_images_do_not_pay_for_the_nat_gateway(network):
    (endpoint,) = inputs(network, "aws:ec2/vpcEndpoint:VpcEndpoint")
    assert endpoint["serviceName"] == "com.amazonaws.us-east-1.s3"
    assert endpoint["vpcEndpointType"] == "Gateway"
    nat_tables = {r["routeTableId"] for r in inputs(network, "aws:ec2/route:Route") if "natGatewayId" in r}
    assert set(endpoint["routeTableIds"]) == nat_tables
    assert len(nat_tables) == 3


def test_flow_logs_are_kept_encrypted_and_written_by_one_role(network):
    (group,) = inputs(network, "aws:cloudwatch/logGroup:LogGroup")
    assert group["retentionInDays"] >= 365
    assert group["kmsKeyId"].startswith("arn:aws:kms:")
    (log,) = inputs(network, "aws:ec2/flowLog:FlowLog")
    assert log["trafficType"] == "ALL"
    (vpc,) = network.by_type("aws:ec2/vpc:Vpc")
    assert log["vpcId"] == vpc.id
    (role,) = inputs(network, "aws:iam/role:Role")
    (statement,) = json.loads(role["assumeRolePolicy"])["Statement"]
    assert statement["Condition"]["StringEquals"] == {"aws:SourceAccount": "123456789012"}
    (policy,) = inputs(network, "aws:iam/rolePolicy:RolePolicy")
    (statement,) = json.loads(policy["policy"])["Statement"]
    arn = "arn:aws:logs:us-east-1:123456789012:log-group:/aws/vpc/gpu-test/flow-logs"
    assert statement["Resource"] == [arn, f"{arn}:*"]
    assert not any("*" in action for action in statement["Action"])


@pytest.mark.parametrize(
    ("change", "token", "read", "expected"),
    [
        (
            {"name": "other"},
            "aws:cloudwatch/logGroup:LogGroup",
            lambda r: [i["name"] for i in r],
            ["/aws/vpc/other/flow-logs"],
        ),
        ({"vpc": {"cidr": "10.9.0.0/20"}}, "aws:ec2/vpc:Vpc", lambda r: [i["cidrBlock"] for i in r], ["10.9.0.0/20"]),
        ({"vpc": {"availabilityZones": 2}}, "aws:ec2/subnet:Subnet", len, 4),
        ({"vpc": {"availabilityZones": 4}}, "aws:ec2/natGateway:NatGateway", len, 4),
        ({"vpc": {"natGateways": "single"}}, "aws:ec2/natGateway:NatGateway", len, 1),
    ],
)
def test_every_setting_of_the_vpc_reaches_a_resource(network, change, token, read, expected):
    assert read(inputs(network, token)) != expected
    assert read(inputs(run(settings(**change)), token)) == expected


def test_one_nat_gateway_serves_every_zone():
    single = run(settings(vpc={"natGateways": "single"}))
    targets = [r["natGatewayId"] for r in inputs(single, "aws:ec2/route:Route") if "natGatewayId" in r]
    assert len(targets) == 3
    assert len(set(targets)) == 1


def test_deletion_protection_protects_the_vpc_and_only_it(network):
    assert [r.type for r in network.resources if r.protect] == ["aws:ec2/vpc:Vpc"]
    assert not any(r.protect for r in run(settings(deletionProtection=False)).resources)


def test_a_preview_registers_what_an_update_makes(network):
    preview = run(settings(), preview=True)
    assert {r.urn for r in preview.resources} == {r.urn for r in network.resources}


def test_who_keeps_egress_keeps_all_of_it():
    found = {}

    def program():
        from components.network import Network, NetworkArgs

        found["network"] = Network("network", NetworkArgs.of(settings(), "arn:aws:kms:::key/1"))

    recording = record(program, project="p", stack="s", preview=False)
    egress = ("Route", "RouteTableAssociation", "InternetGateway", "NatGateway", "VpcEndpoint")
    wanted = {r.type for r in recording.resources if r.type.endswith(tuple(f":{e}" for e in egress))}
    routes = found["network"].routes
    assert {r.pulumi_resource_type for r in routes} == wanted
    assert len(wanted) == 5
    assert len(routes) == sum(len(recording.by_type(token)) for token in wanted)


def test_an_existing_vpc_is_not_made_again():
    from components.network import NetworkArgs

    existing = {
        "id": "vpc-0123456789abcdef0",
        "privateSubnetIds": ("subnet-0123456789abcdef0", "subnet-0123456789abcdef1"),
    }
    with pytest.raises(TypeError, match="a VPC that exists"):
        NetworkArgs.of(settings(vpc=existing), "arn")


def test_flow_log_documents_are_bound_to_account_and_log_group():
    trust = policies.flow_log_trust(ACCOUNT)["Statement"][0]
    assert trust["Principal"] == {"Service": "vpc-flow-logs.amazonaws.com"}
    assert trust["Condition"]["ArnLike"] == {"aws:SourceArn": "arn:aws:ec2:eu-west-1:123456789012:vpc-flow-log/*"}


@pytest.mark.parametrize(
    ("partition", "suffix", "region"),
    [("aws-cn", "amazonaws.com.cn", "cn-north-1"), ("aws-us-gov", "amazonaws.com", "us-gov-west-1")],
)
def test_documents_follow_the_partition(partition, suffix, region):
    account = policies.Account(partition, suffix, "123456789012", region)
    texts = [
        policies.dump(policies.flow_log_trust(account)),
        policies.dump(policies.flow_log_policy(account, "g")),
        policies.dump(policies.key_policy(account, ["g"])),
        account.managed_policy_arn("P"),
    ]
    assert all(f"arn:{partition}:" in text for text in texts)
    assert not any("arn:aws:" in text for text in texts)
    assert policies.node_trust(account)["Statement"][0]["Principal"] == {"Service": f"ec2.{suffix}"}


def test_in_china_the_whole_network_is_chinas():
    values = {"stack": "t", "region": "cn-north-1", "cluster": {"name": "x"}, "pools": ()}
    china = run(Settings.model_validate(values, by_alias=True, by_name=True))
    (role,) = inputs(china, "aws:iam/role:Role")
    assert "arn:aws-cn:ec2:cn-north-1:" in role["assumeRolePolicy"]
