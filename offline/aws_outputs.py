"""What AWS answers when a resource is created: ids, ARNs and the few computed properties programs read.

Everything is derived from the resource's URN, so the same program gives the same values in every run.
Forms of ids and ARNs: https://docs.aws.amazon.com/service-authorization/latest/reference/
"""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from offline.values import Unknown

# The account number that AWS uses in its own documentation; moto uses it too.
ACCOUNT_ID = "123456789012"
DEFAULT_REGION = "us-east-1"

# Zone letters of regions that do not offer a, b and c (docs.aws.amazon.com/global-infrastructure, 2026-11).
_ZONE_LETTERS = {"us-east-1": "abcdef", "us-west-2": "abcd", "ap-northeast-2": "abcd"}
_PARTITIONS = {"cn": ("aws-cn", "amazonaws.com.cn"), "us-gov": ("aws-us-gov", "amazonaws.com")}


@dataclass(frozen=True)
class Account:
    """Where the program would deploy. `region` is a full name such as `us-east-1`."""

    region: str = DEFAULT_REGION
    account_id: str = ACCOUNT_ID

    @property
    def partition(self) -> str:
        return self._partition_and_suffix()[0]

    @property
    def dns_suffix(self) -> str:
        return self._partition_and_suffix()[1]

    def _partition_and_suffix(self) -> tuple[str, str]:
        family = self.region.rsplit("-", 2)[0]
        return _PARTITIONS.get(family, ("aws", "amazonaws.com"))

    def zones(self) -> list[str]:
        """Availability zone names, at least three, in order."""
        return [self.region + letter for letter in _ZONE_LETTERS.get(self.region, "abc")]

    def arn(self, service: str, resource: str, *, regional: bool = True) -> str:
        """`resource` as an ARN of this account; IAM's ARNs have no region."""
        region = self.region if regional else ""
        return f"arn:{self.partition}:{service}:{region}:{self.account_id}:{resource}"


@dataclass(frozen=True)
class Answer:
    """A provider's answer to a create request.

    `planned` is known in a preview already (the provider computes it without the cloud), `created` and
    `id` only after the resource exists.
    """

    id: str | Unknown = ""
    planned: Mapping[str, Any] = field(default_factory=dict)
    created: Mapping[str, Any] = field(default_factory=dict)


def digest(urn: str, length: int) -> str:
    """`length` hexadecimal digits that stand for this resource, the same in every run."""
    return hashlib.sha256(urn.encode()).hexdigest()[:length]


# Type -> prefix of the id. The id's other part is 17 hexadecimal digits.
_EC2_PREFIXES = {
    "aws:ec2/eip:Eip": "eipalloc",
    "aws:ec2/internetGateway:InternetGateway": "igw",
    "aws:ec2/launchTemplate:LaunchTemplate": "lt",
    "aws:ec2/natGateway:NatGateway": "nat",
    "aws:ec2/networkAcl:NetworkAcl": "acl",
    "aws:ec2/placementGroup:PlacementGroup": "pg",
    "aws:ec2/routeTable:RouteTable": "rtb",
    "aws:ec2/routeTableAssociation:RouteTableAssociation": "rtbassoc",
    "aws:ec2/securityGroup:SecurityGroup": "sg",
    "aws:ec2/subnet:Subnet": "subnet",
    "aws:ec2/vpc:Vpc": "vpc",
    "aws:ec2/vpcEndpoint:VpcEndpoint": "vpce",
    "aws:vpc/securityGroupEgressRule:SecurityGroupEgressRule": "sgr",
    "aws:vpc/securityGroupIngressRule:SecurityGroupIngressRule": "sgr",
}

# Types that the provider names itself when the program gives no name -> (ARN service, ARN resource).
_NAMED = {
    "aws:cloudwatch/eventRule:EventRule": ("events", "rule/{name}"),
    "aws:cloudwatch/logGroup:LogGroup": ("logs", "log-group:{name}"),
    "aws:cloudwatch/metricAlarm:MetricAlarm": ("cloudwatch", "alarm:{name}"),
    "aws:eks/cluster:Cluster": ("eks", "cluster/{name}"),
    "aws:iam/instanceProfile:InstanceProfile": ("iam", "instance-profile{path}{name}"),
    "aws:iam/policy:Policy": ("iam", "policy{path}{name}"),
    "aws:iam/role:Role": ("iam", "role{path}{name}"),
    "aws:sns/topic:Topic": ("sns", "{name}"),
    "aws:sqs/queue:Queue": ("sqs", "{name}"),
}


def aws_answer(type_: str, name: str, urn: str, inputs: Mapping[str, Any], account: Account) -> Answer:
    """The answer for any `aws:` resource; types without an entry get a generic id and ARN."""
    if type_ in _EC2_PREFIXES:
        return _ec2_answer(type_, urn, account)
    if type_ in _NAMED:
        return _named_answer(type_, name, urn, inputs, account)
    if type_ == "aws:kms/key:Key":
        return _kms_key_answer(urn, account)
    module, _, kind = type_.removeprefix("aws:").partition("/")
    id_ = f"{name}-{digest(urn, 7)}"
    created = {"arn": account.arn(module, f"{kind.partition(':')[0].lower()}/{id_}")}
    if type_ == "aws:eks/podIdentityAssociation:PodIdentityAssociation":
        created |= {"associationId": id_, "associationArn": created["arn"]}
    if type_ == "aws:eks/accessEntry:AccessEntry":
        created["accessEntryArn"] = created["arn"]
    return Answer(id_, {}, created)


def _ec2_answer(type_: str, urn: str, account: Account) -> Answer:
    id_ = f"{_EC2_PREFIXES[type_]}-{digest(urn, 17)}"
    kind = type_.rpartition(":")[2]
    # subnet, security-group, nat-gateway ...: the class name with dashes
    resource = "".join(f"-{c.lower()}" if c.isupper() else c for c in kind).lstrip("-")
    created: dict[str, Any] = {
        "arn": account.arn("ec2", f"{resource}/{id_}"),
        "ownerId": account.account_id,
    }
    if kind == "Vpc":
        created["defaultSecurityGroupId"] = f"sg-{digest(urn + '/default', 17)}"
        created["mainRouteTableId"] = f"rtb-{digest(urn + '/main', 17)}"
    if kind == "Eip":
        # 203.0.113.0/24 is reserved for documentation (RFC 5737).
        created |= {"allocationId": id_, "publicIp": f"203.0.113.{int(digest(urn, 2), 16)}"}
    if kind == "LaunchTemplate":
        created |= {"latestVersion": 1, "defaultVersion": 1}
    return Answer(id_, {}, created)


def physical_name(name: str, urn: str, inputs: Mapping[str, Any]) -> str:
    """The name in AWS: the program's, else the logical name and seven hexadecimal digits as Pulumi adds."""
    given = inputs.get("name")
    if isinstance(given, str):
        return given
    prefix = inputs.get("namePrefix")
    return f"{prefix if isinstance(prefix, str) else name + '-'}{digest(urn, 7)}"


def _named_answer(type_: str, name: str, urn: str, inputs: Mapping[str, Any], account: Account) -> Answer:
    physical = physical_name(name, urn, inputs)
    service, resource = _NAMED[type_]
    path = inputs.get("path")
    resource = resource.format(name=physical, path=path if isinstance(path, str) else "/")
    arn = account.arn(service, resource, regional=service != "iam")
    planned = {} if "name" in inputs else {"name": physical}
    if type_ == "aws:eks/cluster:Cluster":
        return Answer(physical, planned, eks_cluster_outputs(physical, urn, inputs, account))
    if type_ == "aws:sqs/queue:Queue":
        url = f"https://sqs.{account.region}.{account.dns_suffix}/{account.account_id}/{physical}"
        return Answer(url, planned, {"arn": arn, "url": url})
    id_ = arn if type_ in ("aws:iam/policy:Policy", "aws:sns/topic:Topic") else physical
    created = {"arn": arn}
    if service == "iam":
        created["uniqueId" if "role" in type_ else "policyId"] = digest(urn, 20).upper()
    return Answer(id_, planned, created)


def _kms_key_answer(urn: str, account: Account) -> Answer:
    hexadecimal = digest(urn, 32)
    id_ = "-".join((hexadecimal[:8], hexadecimal[8:12], hexadecimal[12:16], hexadecimal[16:20], hexadecimal[20:]))
    return Answer(id_, {}, {"keyId": id_, "arn": account.arn("kms", f"key/{id_}")})


def eks_cluster_outputs(name: str, urn: str, inputs: Mapping[str, Any], account: Account) -> dict[str, Any]:
    """What EKS knows of a cluster once it is active, keyed as `aws:eks/cluster:Cluster`."""
    unique = digest(urn, 32).upper()
    vpc = inputs.get("vpcConfig")
    return {
        "arn": account.arn("eks", f"cluster/{name}"),
        "endpoint": f"https://{unique}.gr7.{account.region}.eks.{account.dns_suffix}",
        "certificateAuthority": {"data": "b2ZmbGluZQ=="},  # "offline" in base64
        "identities": [{"oidcs": [{"issuer": oidc_issuer(urn, account)}]}],
        "platformVersion": "eks.1",
        "status": "ACTIVE",
        "vpcConfig": {
            **(vpc if isinstance(vpc, Mapping) else {}),
            "clusterSecurityGroupId": f"sg-{digest(urn + '/cluster', 17)}",
            "vpcId": f"vpc-{digest(urn + '/vpc', 17)}",
        },
    }


def oidc_issuer(urn: str, account: Account) -> str:
    """The address of the cluster's OpenID Connect issuer, as EKS forms it."""
    return f"https://oidc.eks.{account.region}.{account.dns_suffix}/id/{digest(urn, 32).upper()}"


def known(value: Any, otherwise: str) -> str:
    """`value` when the program knows it, else `otherwise`."""
    return value if isinstance(value, str) else otherwise
