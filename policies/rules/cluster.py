"""EKS clusters: who reaches them, what they record and encrypt, and that nobody ends one by accident.

Each rule judges the component `eks:index:Cluster` and the resource `aws:eks/cluster:Cluster` by their own inputs: a
preview without credentials shows the component alone, the engine also the resource inside it, whose inputs are the
component's.
"""

from __future__ import annotations

from collections.abc import Iterator
from ipaddress import IPv4Network, IPv6Network, collapse_addresses, ip_network

from policies.facts import CLUSTERS
from policies.model import Config, Item, Option, Rule
from policies.view import OddShape, View

COMPONENT, RESOURCE = CLUSTERS
LOGS = ("api", "audit", "authenticator", "controllerManager", "scheduler")
ENDPOINT = "https://docs.aws.amazon.com/eks/latest/userguide/cluster-endpoint.html"
LOGGING = "https://docs.aws.amazon.com/eks/latest/userguide/control-plane-logs.html"
ENCRYPTION = "https://docs.aws.amazon.com/eks/latest/userguide/enable-kms.html"
ACCESS = "https://docs.aws.amazon.com/eks/latest/userguide/setting-up-access-entries.html"
PROTECTION = "https://docs.aws.amazon.com/eks/latest/userguide/deletion-protection.html"


def _endpoint(item: Item) -> View:
    return item.data if item.kind == COMPONENT else item.data["vpcConfig"]


def eks_endpoint_private(item: Item, config: Config) -> Iterator[str]:
    # Both default to false (docstrings of pulumi-eks 4.4.0 and pulumi-aws 7.51.1).
    if not _endpoint(item)["endpointPrivateAccess"].flag():
        yield "has no private endpoint; its nodes talk to it over the internet"


def eks_endpoint_not_public_to_all(item: Item, config: Config) -> Iterator[str]:
    endpoint = _endpoint(item)
    # Public unless said otherwise, and then to 0.0.0.0/0 (the same docstrings).
    if not endpoint["endpointPublicAccess"].flag(True):
        return
    given = endpoint["publicAccessCidrs"].items()
    for network in _joined([_network(cidr) for cidr in given]) if given else [ip_network("0.0.0.0/0")]:
        shortest = config[f"ipv{network.version}Prefix"]
        if network.prefixlen < shortest:
            said = "" if given else " (publicAccessCidrs is not set)"
            yield f"is public to {network}{said}; the broadest allowed has a prefix of {shortest}"


def _network(cidr: View) -> IPv4Network | IPv6Network:
    try:
        return ip_network(cidr.text().strip(), strict=False)
    except ValueError:
        raise OddShape(f"{cidr.path} is {cidr.text()[:80]!r}, not a CIDR block") from None


def _joined(networks: list[IPv4Network | IPv6Network]) -> list[IPv4Network | IPv6Network]:
    """Halves that are everything together become everything."""
    v4 = collapse_addresses(n for n in networks if isinstance(n, IPv4Network))
    v6 = collapse_addresses(n for n in networks if isinstance(n, IPv6Network))
    return [*v4, *v6]


def eks_logs_complete(item: Item, config: Config) -> Iterator[str]:
    on = item.data["enabledClusterLogTypes"].texts()
    missing = [kind for kind in LOGS if kind not in on]
    if missing:
        yield f"does not log {', '.join(missing)}"


def eks_secrets_encrypted(item: Item, config: Config) -> Iterator[str]:
    if item.kind == COMPONENT:
        encrypted = _given(item.data["encryptionConfigKeyArn"])
    else:
        encryption = item.data["encryptionConfig"]
        # The component derives all of it from a key that may not exist yet.
        encrypted = encryption.unknown or (
            _given(encryption.at("provider", "keyArn")) and "secrets" in encryption["resources"].texts()
        )
    if not encrypted:
        yield "encrypts its secrets with no key of yours"


def _given(view: View) -> bool:
    return view.unknown or bool(view.text())


def eks_api_authentication(item: Item, config: Config) -> Iterator[str]:
    holder = item.data if item.kind == COMPONENT else item.data["accessConfig"]
    # Without a mode the component gives none, and EKS takes this one (EKS API, CreateAccessConfigRequest).
    mode = holder["authenticationMode"].text("CONFIG_MAP")
    if mode != "API":
        yield f"has the authentication mode {mode[:80]}; allowed: API"


def eks_deletion_protection(item: Item, config: Config) -> Iterator[str]:
    lacking = []
    if not item.data["deletionProtection"].flag():
        lacking.append("deletionProtection is not true")
    if item.resource.options and not item.resource.options.protect:
        lacking.append("the resource option protect is not set")
    if lacking and not _may_break(item, config["breakGlass"]):
        yield f"can be deleted or replaced: {' and '.join(lacking)}"


def _may_break(item: Item, names: tuple[str, ...]) -> bool:
    name = item.data["name"]
    return item.name in names or (not name.unknown and name.text() in names)


RULES = (
    Rule(
        id="eks-endpoint-private",
        description="The cluster's API endpoint is reachable from inside the VPC.",
        why="Without it the traffic of every node to the API leaves the VPC, so the public endpoint must stay open to "
        "them.",
        remedy="Set endpointPrivateAccess to true.",
        url=ENDPOINT,
        severity="high",
        check=eks_endpoint_private,
        kinds=CLUSTERS,
    ),
    Rule(
        id="eks-endpoint-not-public-to-all",
        description="The public API endpoint, where there is one, is open to named networks only.",
        why="An endpoint that is not configured is public to 0.0.0.0/0. Two halves of the internet are the internet.",
        remedy="Set endpointPublicAccess to false, or publicAccessCidrs to your own networks.",
        url=ENDPOINT,
        severity="critical",
        check=eks_endpoint_not_public_to_all,
        kinds=CLUSTERS,
        options={
            "ipv4Prefix": Option("integer", 8, "prefix of the broadest IPv4 network allowed", 1, 32),
            "ipv6Prefix": Option("integer", 16, "prefix of the broadest IPv6 network allowed", 1, 128),
        },
    ),
    Rule(
        id="eks-logs-complete",
        description="The control plane logs api, audit, authenticator, controllerManager and scheduler.",
        why="All are off by default. Without the audit log nobody can say who changed a pool or read a secret.",
        remedy="Set enabledClusterLogTypes to all five.",
        url=LOGGING,
        severity="high",
        check=eks_logs_complete,
        kinds=CLUSTERS,
    ),
    Rule(
        id="eks-secrets-encrypted",
        description="Kubernetes secrets are encrypted with a KMS key of your own.",
        why="EKS encrypts them with a key of AWS otherwise, which you can neither watch nor withdraw.",
        remedy="Give the ARN of a KMS key (encryptionConfigKeyArn; encryptionConfig with the resource secrets). It "
        "cannot be taken back.",
        url=ENCRYPTION,
        severity="high",
        check=eks_secrets_encrypted,
        kinds=CLUSTERS,
    ),
    Rule(
        id="eks-api-authentication",
        description="Access to the cluster is given by access entries alone.",
        why="The ConfigMap aws-auth can be edited by whoever may edit ConfigMaps in kube-system, and no AWS log shows "
        "it. It is the default, and API_AND_CONFIG_MAP still reads it.",
        remedy="Set authenticationMode to API.",
        url=ACCESS,
        severity="high",
        check=eks_api_authentication,
        kinds=CLUSTERS,
    ),
    Rule(
        id="eks-deletion-protection",
        description="The cluster is protected from deletion, in EKS and in Pulumi.",
        why="A changed name, subnet or key can make an update replace the cluster, which ends everything on it. Pulumi "
        "refuses to replace what is protected.",
        remedy="Set deletionProtection to true and the resource option protect; for an update that may delete or "
        "replace the cluster, name it in breakGlass of this rule.",
        url=PROTECTION,
        severity="critical",
        check=eks_deletion_protection,
        kinds=CLUSTERS,
        options={"breakGlass": Option("list", (), "names of clusters that may be deleted or replaced now")},
    ),
)
