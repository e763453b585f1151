"""What the AWS provider's functions (`aws.get_availability_zones` and its like) answer without AWS.

A function that is not listed is refused by name: a made-up answer would make a preview that no AWS gives.
"""

import json
from collections.abc import Callable, Mapping
from typing import Any

from offline.aws_outputs import Account, digest, eks_cluster_outputs

Arguments = Mapping[str, Any]


def answer_invoke(token: str, arguments: Arguments, account: Account) -> dict[str, Any]:
    """The result of provider function `token`; LookupError names a function that has no answer here."""
    function = _FUNCTIONS.get(token)
    if function is None:
        raise LookupError(
            f"the program calls {token}, which needs AWS: the credential-free run knows no answer. "
            f"It knows {', '.join(sorted(_FUNCTIONS))}"
        )
    return {"id": account.region, **function(arguments, account)}


def _zones(arguments: Arguments, account: Account) -> dict[str, Any]:
    area, direction, number = account.region.rsplit("-", 2)
    # use1-az1 is zone 1 of us-east-1: the area, the direction's first letter(s), the number.
    short = "".join(word[0] for word in _words(direction))
    excluded = set(arguments.get("excludeNames") or ())
    excluded_ids = set(arguments.get("excludeZoneIds") or ())
    pairs = [
        (name, f"{area.replace('-', '')}{short}{number}-az{index}")
        for index, name in enumerate(account.zones(), start=1)
    ]
    kept = [(name, id_) for name, id_ in pairs if name not in excluded and id_ not in excluded_ids]
    return {
        "names": [name for name, _ in kept],
        "zoneIds": [id_ for _, id_ in kept],
        "groupNames": [account.region],
        "region": account.region,
    }


def _words(direction: str) -> list[str]:
    """`northeast` -> [north, east]: zone ids take one letter of each."""
    for first in ("north", "south"):
        if direction.startswith(first) and direction != first:
            return [first, direction.removeprefix(first)]
    return [direction]


def _partition(_arguments: Arguments, account: Account) -> dict[str, Any]:
    reverse = ".".join(reversed(account.dns_suffix.split(".")))
    return {
        "id": account.partition,
        "partition": account.partition,
        "dnsSuffix": account.dns_suffix,
        "reverseDnsPrefix": reverse,
    }


def _caller(_arguments: Arguments, account: Account) -> dict[str, Any]:
    arn = account.arn("iam", "root", regional=False)
    return {"id": account.account_id, "accountId": account.account_id, "arn": arn, "userId": account.account_id}


def _region(arguments: Arguments, account: Account) -> dict[str, Any]:
    name = arguments.get("region") or arguments.get("name") or account.region
    endpoint = f"ec2.{name}.{account.dns_suffix}"
    return {"id": name, "name": name, "region": name, "endpoint": endpoint, "description": name}


def _eks_cluster(arguments: Arguments, account: Account) -> dict[str, Any]:
    name = str(arguments["name"])
    outputs = eks_cluster_outputs(name, f"existing/{account.region}/{name}", {}, account)
    authority = outputs.pop("certificateAuthority")
    vpc = {
        **outputs["vpcConfig"],
        "subnetIds": [f"subnet-{digest(f'{name}/{zone}', 17)}" for zone in account.zones()[:3]],
        "securityGroupIds": [],
        "publicAccessCidrs": [],
        "endpointPrivateAccess": True,
        "endpointPublicAccess": False,
    }
    role = account.arn("iam", f"role/{name}", regional=False)
    extra = {"certificateAuthorities": [authority], "vpcConfig": vpc, "roleArn": role, "region": account.region}
    return {**outputs, **extra, "id": name, "name": name, "tags": {}}


def _eks_token(arguments: Arguments, _account: Account) -> dict[str, Any]:
    return {"id": arguments["name"], "name": arguments["name"], "token": "offline"}


def _vpc(arguments: Arguments, account: Account) -> dict[str, Any]:
    id_ = arguments.get("id") or f"vpc-{digest(json.dumps(arguments, sort_keys=True), 17)}"
    return {"id": id_, "arn": account.arn("ec2", f"vpc/{id_}"), "cidrBlock": "10.0.0.0/16", "tags": {}}


def _subnet(arguments: Arguments, account: Account) -> dict[str, Any]:
    id_ = arguments.get("id") or f"subnet-{digest(json.dumps(arguments, sort_keys=True), 17)}"
    zones = account.zones()
    zone = zones[int(digest(id_, 4), 16) % len(zones)]
    vpc = arguments.get("vpcId") or f"vpc-{digest('existing', 17)}"
    arn = account.arn("ec2", f"subnet/{id_}")
    return {"id": id_, "arn": arn, "availabilityZone": zone, "vpcId": vpc, "tags": {}}


def _subnets(arguments: Arguments, account: Account) -> dict[str, Any]:
    key = json.dumps(arguments, sort_keys=True)
    return {"ids": [f"subnet-{digest(key + zone, 17)}" for zone in account.zones()[:3]]}


def _policy_document(arguments: Arguments, _account: Account) -> dict[str, Any]:
    """The document is computed by the provider itself, so it is exact and not a stand-in."""
    document: dict[str, Any] = {"Version": arguments.get("version") or "2012-10-17"}
    if arguments.get("policyId"):
        document["Id"] = arguments["policyId"]
    document["Statement"] = [_statement(item) for item in arguments.get("statements") or ()]
    text = json.dumps(document, separators=(",", ":"))
    return {"id": digest(text, 10), "json": json.dumps(document, indent=2), "minifiedJson": text}


_STATEMENT_KEYS = {
    "sid": "Sid",
    "actions": "Action",
    "notActions": "NotAction",
    "resources": "Resource",
    "notResources": "NotResource",
}


def _statement(item: Arguments) -> dict[str, Any]:
    statement: dict[str, Any] = {"Effect": item.get("effect") or "Allow"}
    for key, name in _STATEMENT_KEYS.items():
        if item.get(key):
            statement[name] = _one_or_many(item[key])
    for key, name in (("principals", "Principal"), ("notPrincipals", "NotPrincipal")):
        if item.get(key):
            statement[name] = _principals(item[key])
    conditions: dict[str, dict[str, Any]] = {}
    for condition in item.get("conditions") or ():
        conditions.setdefault(condition["test"], {})[condition["variable"]] = _one_or_many(condition["values"])
    if conditions:
        statement["Condition"] = conditions
    return statement


def _principals(items: list[Arguments]) -> Any:
    if items == [{"type": "*", "identifiers": ["*"]}]:
        return "*"
    merged: dict[str, list[str]] = {}
    for item in items:
        merged.setdefault(item["type"], []).extend(item["identifiers"])
    return {kind: _one_or_many(identifiers) for kind, identifiers in merged.items()}


def _one_or_many(values: Any) -> Any:
    return values[0] if isinstance(values, list) and len(values) == 1 else values


_FUNCTIONS: dict[str, Callable[[Arguments, Account], dict[str, Any]]] = {
    "aws:ec2/getSubnet:getSubnet": _subnet,
    "aws:ec2/getSubnets:getSubnets": _subnets,
    "aws:ec2/getVpc:getVpc": _vpc,
    "aws:eks/getCluster:getCluster": _eks_cluster,
    "aws:eks/getClusterAuth:getClusterAuth": _eks_token,
    "aws:iam/getPolicyDocument:getPolicyDocument": _policy_document,
    "aws:index/getAvailabilityZones:getAvailabilityZones": _zones,
    "aws:index/getCallerIdentity:getCallerIdentity": _caller,
    "aws:index/getPartition:getPartition": _partition,
    "aws:index/getRegion:getRegion": _region,
}
