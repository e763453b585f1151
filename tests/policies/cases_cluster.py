"""Cases of policies/rules/cluster.py."""

from base import accepted, drop, put, put_option, refused

COMPONENT, CLASSIC = "cluster-component", "cluster-classic"
VPC, ACCESS, KEY = "vpcConfig", "accessConfig", "encryptionConfig"
CIDRS = (CLASSIC, VPC, "publicAccessCidrs")
PUBLIC = "eks-endpoint-not-public-to-all"
PROTECTED = "eks-deletion-protection"
LOGS = ("api", "audit", "authenticator", "controllerManager", "scheduler")
HALVES = ["0.0.0.0/1", "128.0.0.0/1"]


def break_glass(*names):
    return {PROTECTED: {"breakGlass": list(names)}}


CASES = [
    refused("eks-endpoint-private", "component, off", put(COMPONENT, "endpointPrivateAccess", False)),
    refused(
        "eks-endpoint-private",
        "component, default",
        drop(COMPONENT, "endpointPrivateAccess"),
        says="Cluster cluster-component: has no private endpoint",
    ),
    refused("eks-endpoint-private", "classic, off", put(CLASSIC, VPC, "endpointPrivateAccess", False)),
    refused("eks-endpoint-private", "classic, default", drop(CLASSIC, VPC, "endpointPrivateAccess")),
    accepted("eks-endpoint-private", "public beside private", put(CLASSIC, VPC, "endpointPrivateAccess", "true")),
    refused(PUBLIC, "everybody", put(*CIDRS, ["0.0.0.0/0"]), says="is public to 0.0.0.0/0; the broadest allowed has"),
    refused(PUBLIC, "everybody, second in the list", put(*CIDRS, 1, "0.0.0.0/0")),
    refused(PUBLIC, "everybody, IPv6", put(*CIDRS, ["198.51.100.0/24", "::/0"]), says="is public to ::/0"),
    refused(PUBLIC, "two halves", put(*CIDRS, HALVES), says="is public to 0.0.0.0/0"),
    refused(PUBLIC, "two halves, IPv6", put(*CIDRS, ["::/1", "8000::/1"]), says="is public to ::/0"),
    refused(PUBLIC, "two halves in other words", put(*CIDRS, ["1.2.3.4/1", " 200.0.0.0/1 "]), says="0.0.0.0/0"),
    refused(PUBLIC, "nearly everybody", put(*CIDRS, ["0.0.0.0/1", "128.0.0.0/2"]), says="is public to 0.0.0.0/1"),
    refused(PUBLIC, "classic, no list", drop(*CIDRS), says="is public to 0.0.0.0/0 (publicAccessCidrs is not set)"),
    refused(PUBLIC, "classic, an empty list", put(*CIDRS, [])),
    refused(PUBLIC, "classic, default", drop(*CIDRS), drop(CLASSIC, VPC, "endpointPublicAccess")),
    refused(PUBLIC, "component, default", drop(COMPONENT, "endpointPublicAccess"), says="is not set"),
    refused(
        PUBLIC,
        "component, everybody",
        put(COMPONENT, "endpointPublicAccess", True),
        put(COMPONENT, "publicAccessCidrs", ["0.0.0.0/0"]),
    ),
    refused(
        PUBLIC, "no network", put(*CIDRS, ["office"]), says="vpcConfig.publicAccessCidrs[0] is 'office', not a CIDR"
    ),
    refused(PUBLIC, "broader than the default allows", put(*CIDRS, ["10.0.0.0/7"]), says="has a prefix of 8"),
    refused(PUBLIC, "broader than the default allows, IPv6", put(*CIDRS, ["2001::/15"]), says="has a prefix of 16"),
    refused(
        PUBLIC,
        "broader than the option allows",
        put(*CIDRS, ["198.51.100.0/24", "198.51.0.0/20"]),
        says="198.51.0.0/20; the broadest allowed has a prefix of 21",
        config={PUBLIC: {"ipv4Prefix": 21}},
    ),
    accepted(PUBLIC, "as broad as allowed", put(*CIDRS, ["10.0.0.0/8", "2001::/16", "198.51.100.7/32"])),
    accepted(PUBLIC, "as broad as the option allows", put(*CIDRS, ["64.0.0.0/3"]), config={PUBLIC: {"ipv4Prefix": 3}}),
    accepted(PUBLIC, "not public", put(CLASSIC, VPC, "endpointPublicAccess", False), drop(*CIDRS)),
    accepted(PUBLIC, "not public, in spite of a list", put(COMPONENT, "publicAccessCidrs", ["0.0.0.0/0"])),
    *(
        refused(
            "eks-logs-complete",
            f"{kind} is missing",
            put(COMPONENT, "enabledClusterLogTypes", [k for k in LOGS if k != kind]),
            says=f"does not log {kind}",
        )
        for kind in LOGS
    ),
    refused(
        "eks-logs-complete", "component, default", drop(COMPONENT, "enabledClusterLogTypes"), says="log api, audit"
    ),
    refused(
        "eks-logs-complete", "classic, one is missing", drop(CLASSIC, "enabledClusterLogTypes", 0), says="scheduler"
    ),
    refused("eks-logs-complete", "one has another name", put(CLASSIC, "enabledClusterLogTypes", 4, "API")),
    accepted("eks-logs-complete", "one twice", put(CLASSIC, "enabledClusterLogTypes", 5, "api")),
    refused(
        "eks-secrets-encrypted", "component, no key", drop(COMPONENT, "encryptionConfigKeyArn"), says="no key of yours"
    ),
    refused("eks-secrets-encrypted", "component, an empty key", put(COMPONENT, "encryptionConfigKeyArn", "")),
    refused("eks-secrets-encrypted", "classic, nothing", drop(CLASSIC, KEY)),
    refused("eks-secrets-encrypted", "classic, no key", put(CLASSIC, KEY, "provider", {})),
    refused("eks-secrets-encrypted", "classic, something else", put(CLASSIC, KEY, "resources", ["configmaps"])),
    accepted(
        "eks-secrets-encrypted",
        "a key that is known",
        put(COMPONENT, "encryptionConfigKeyArn", "arn:aws:kms:us-east-1:111122223333:key/1"),
        put(CLASSIC, KEY, "provider", "keyArn", "arn:aws:kms:us-east-1:111122223333:key/1"),
    ),
    accepted("eks-secrets-encrypted", "all of it is derived from a key to come", put(CLASSIC, KEY, "<unknown>")),
    refused("eks-api-authentication", "component, both", put(COMPONENT, "authenticationMode", "API_AND_CONFIG_MAP")),
    refused("eks-api-authentication", "component, default", drop(COMPONENT, "authenticationMode"), says="CONFIG_MAP"),
    refused(
        "eks-api-authentication", "classic, both", put(CLASSIC, ACCESS, "authenticationMode", "API_AND_CONFIG_MAP")
    ),
    refused("eks-api-authentication", "classic, default", drop(CLASSIC, ACCESS), says="mode CONFIG_MAP; allowed: API"),
    accepted("eks-api-authentication", "creator is admin", put(CLASSIC, ACCESS, {"authenticationMode": "API"})),
    refused(PROTECTED, "component, off", put(COMPONENT, "deletionProtection", False), says="deletionProtection is not"),
    refused(PROTECTED, "component, default", drop(COMPONENT, "deletionProtection")),
    refused(PROTECTED, "classic, default", drop(CLASSIC, "deletionProtection")),
    refused(
        PROTECTED, "not protected", put_option(CLASSIC, "protect", False), says="replaced: the resource option protect"
    ),
    refused(
        PROTECTED,
        "glass broken for another cluster",
        put_option(CLASSIC, "protect", False),
        config=break_glass("visio", "research"),
    ),
    refused(
        PROTECTED,
        "glass broken for another cluster, and a name to come",
        drop(CLASSIC, "deletionProtection"),
        put(CLASSIC, "name", "<unknown>"),
        config=break_glass("research"),
    ),
    accepted(
        PROTECTED,
        "glass broken, by name",
        drop(CLASSIC, "deletionProtection"),
        put_option(CLASSIC, "protect", False),
        config=break_glass("vision"),
    ),
    accepted(
        PROTECTED,
        "glass broken, by the name in the program",
        put_option(COMPONENT, "protect", False),
        put(COMPONENT, "name", "<unknown>"),
        config=break_glass("x", COMPONENT),
    ),
    accepted(PROTECTED, "a name that nobody needs", put(COMPONENT, "name", "<unknown>")),
]
