"""Bad settings, each by two roads: as the data that Pulumi hands to a program, and as the text of a stack file.

Every case asserts all lines of the report: where, a part of the message, and the suggestion where there is one. A
fault that is reported twice, or that hides another, fails its case.
"""

import itertools

import pytest
from stackdata import GONE, GOOD, PREFIX, changed, problems_of, problems_of_file, written

from gpuslice.load import load_settings
from gpuslice.problems import LONGEST_VALUE, SettingsError
from gpuslice.settings import PoolSettings

T4, A100, H100 = "pools[0]", "pools[1]", "pools[2]"
MIG_ON = {f"{T4}.sharing": {"mode": "mig", "layout": {"1g.5gb": 1}}, "verification": GONE, "tenants": GONE}


def case(path, value, message, suggestion="", where=None, **more):
    """One change and the one line that it must give."""
    return {path: value} | more.get("also", {}), [(where or path, message, suggestion)]


NAMES = [
    case(f"{T4}.name", "T4_Shared", "is not a pool name", "t4-shared"),
    case(f"{T4}.name", "-t4", "is not a pool name", "t4"),
    case(f"{T4}.name", "t4.shared", "is not a pool name", "t4-shared"),
    case(f"{T4}.name", "", "is not a pool name"),
    case(f"{T4}.name", "t" * 51, "has 51 characters, too many for a pool name"),
    case(f"{T4}.name", "t4-sh\u0430red", "has the character U+0430 (CYRILLIC SMALL LETTER A)"),
    case(f"{T4}.name", "t\u0664", "has the character U+0664 (ARABIC-INDIC DIGIT FOUR)"),
    case(f"{T4}.name", 4, "must be a string", '"4", in quotes'),
    case(f"{T4}.name", True, "must be a string", '"true", in quotes'),
    case(f"{T4}.name", ["t4"], "must be a string"),
    case(f"{T4}.name", {"a": 1}, "must be a string"),
    case(f"{T4}.name", GONE, "is missing"),
    case("tenants[0].namespace", "Team_Vision", "is not a namespace name", "team-vision"),
    case("tenants[0].namespace", "n" * 64, "has 64 characters"),
    case("tenants[0].namespace", "kube-system", "is a system namespace"),
    case("tenants[0].namespace", "kube-anything", "is a system namespace"),
    case("tenants[0].namespace", "default", "is a system namespace"),
    case("tenants[0].namespace", "gpu-operator", "is a namespace of this program"),
    case("tenants[0].namespace", "gpu-slicing-verification", "is a namespace of this program"),
    case("tenants[0].namespace", GONE, "is missing"),
    case("cluster.name", "GPU cluster", "is not a cluster name", "gpu-cluster"),
    case("cluster.name", "c" * 41, "has 41 characters"),
    case(f"{H100}.name", "a100-mig", "is the name of another pool"),
    case(
        "tenants[1]", {"namespace": "team-vision"}, "is the namespace of another tenant", where="tenants[1].namespace"
    ),
]
TYPES = [
    case("pools", {"name": "t4"}, "must be a list"),
    case("pools", "t4", "must be a list"),
    case("pools", 4, "must be a list"),
    case("pools", [], "is empty"),
    case("pools", None, "has no value"),
    case("pools", [{}] * 501, "has 501 entries"),
    case(T4, "t4", "must be a map"),
    case(T4, [], "must be a map"),
    case(T4, None, "has no value"),
    case("tenants", {"a": 1}, "must be a list"),
    case("tenants[0]", 3, "must be a map"),
    case("cluster", [], "must be a map"),
    case("cluster", "gpu", "must be a map"),
    case("karpenter", "1.14.1", "must be a map"),
    case("karpenter", {"secure": "AAABAFc="}, "is encrypted"),
    case(f"{T4}.sharing.replicas", {"secure": "AAABAFc="}, "is encrypted"),
    case("monitoring", True, "must be a map"),
    case("verification", "t4-shared", "must be a map"),
    case("gpuOperator", [], "must be a map"),
    case("gpuOperator.values", [], "must be a map"),
    case(f"{T4}.limits", 10, "must be a map"),
    case(f"{T4}.sharing", "time-slicing", "must be a map"),
    case(f"{T4}.sharing", GONE, "is missing"),
    case(f"{T4}.disruption", "never", "must be a map"),
    case(f"{T4}.disruption.budgets", {"nodes": "1"}, "must be a list"),
    case(f"{T4}.zones", "us-east-1a", "must be a list"),
    case(f"{T4}.zones[0]", 1, "must be a string"),
    case(f"{T4}.labels", ["a"], "must be a map"),
    case(f"{T4}.extraTaints", {"key": "a"}, "must be a list"),
    case(f"{T4}.extraTaints[0]", "a=b:NoSchedule", "must be a map"),
    case("monitoring.enabled", "yes", "must be true or false", "true"),
    case("monitoring.enabled", 0, "must be true or false"),
    case("monitoring.enabled", "off", "must be true or false", "false"),
    case(f"{H100}.efa", "true", "must be true or false", "true"),
    case("cluster.endpoint.private", 1, "must be true or false"),
    case("cluster.vpc", "10.0.0.0/16", "must be a map"),
    case("cluster.endpoint.publicCidrs", "203.0.113.0/24", "must be a list"),
    case("tenants[0].quota", ["t4-shared"], "must be a map"),
    case("tenants[0].quota.t4-shared", "8", "must be a whole number", "8, without quotes"),
    case("tenants[0].quota.t4-shared", [8], "must be a whole number"),
    case("tenants[0].quota.t4-shared", -1, "is too small"),
    case("tenants[0].quota.a100-mig", {}, "is empty"),
    case("tenants[0].quota.a100-mig", {"1g.5gb": -1}, "is too small", where="tenants[0].quota.a100-mig.1g.5gb"),
]
NUMBERS = [
    case(f"{T4}.sharing.replicas", 0, "is too small"),
    case(f"{T4}.sharing.replicas", 1, "is too small"),
    case(f"{T4}.sharing.replicas", -4, "is too small"),
    case(f"{T4}.sharing.replicas", 49, "is too large"),
    case(f"{T4}.sharing.replicas", 10**18, "is too large"),
    case(f"{T4}.sharing.replicas", 4.0, "must be a whole number", "4"),
    case(f"{T4}.sharing.replicas", 1.5, "must be a whole number"),
    case(f"{T4}.sharing.replicas", "4", "must be a whole number", "4, without quotes"),
    case(f"{T4}.sharing.replicas", "four", "must be a whole number"),
    case(f"{T4}.sharing.replicas", True, "must be a whole number"),
    case(f"{T4}.sharing.replicas", None, "has no value"),
    case(f"{T4}.sharing.replicas", [4], "must be a whole number"),
    case(f"{T4}.sharing.replicas", GONE, "is missing"),
    case(f"{T4}.sharing.maxReplicas", 1, "is too small"),
    case(f"{T4}.sharing.maxReplicas", 49, "is too large"),
    case(f"{T4}.sharing.maxReplicas", 3, "is over the limit of this pool", where=f"{T4}.sharing.replicas"),
    case(f"{T4}.limits.nodes", 0, "is too small"),
    case(f"{T4}.limits.nodes", 1001, "is too large"),
    case(f"{T4}.limits.nodes", "10", "must be a whole number", "10, without quotes"),
    case("cluster.systemNodes.count", 1, "is too small"),
    case("cluster.vpc.availabilityZones", 1, "is too small"),
    case("cluster.vpc.availabilityZones", 5, "is too large"),
    case("verification.replicas", 0, "is too small"),
    case("verification.replicas", 501, "is too large"),
    case("verification.replicas", 41, "can never all run"),
    case(f"{A100}.sharing.layout.1g.5gb", 0, "is too small"),
    case(f"{A100}.sharing.layout.1g.5gb", "3", "must be a whole number", "3, without quotes"),
]
KEYS = [
    case("clutser", {}, "unknown key", "gpu-slicing:cluster"),
    case("zzz", 1, "unknown key"),
    case("pool", [], "unknown key", "gpu-slicing:pools", also={"pools": GONE, "tenants": GONE, "verification": GONE}),
    case("pools", GONE, "is missing", also={"tenants": GONE, "verification": GONE}),
    case("cluster.nmae", "x", "unknown key", "name"),
    case("cluster.kubernetes_version", "1.35", "unknown key", "kubernetesVersion"),
    case("cluster.vpc.cidrBlock", "10.0.0.0/16", "unknown key", "cidr"),
    case("cluster.endpoint.publicCIDRs", [], "unknown key", "publicCidrs"),
    case("cluster.systemNodes.instance_types", [], "unknown key", "instanceTypes"),
    case("karpenter.versoin", "1.14.1", "unknown key", "version"),
    case("gpuOperator.vals", {}, "unknown key", "values"),
    case("monitoring.enable", True, "unknown key", "enabled"),
    case("verification.pools", "t4-shared", "unknown key", "pool"),
    case("verification.pol", "t4-shared", "unknown key", "pool", also={"verification.pool": GONE}),
    case("tenants[0].name", "x", "unknown key", "namespace"),
    case("tenants[0].pod_security", "restricted", "unknown key", "podSecurity"),
    case(f"{T4}.instance_types", ["g4dn.xlarge"], "unknown key", "instanceTypes", also={f"{T4}.instanceTypes": GONE}),
    case(f"{T4}.instanceType", "g4dn.xlarge", "unknown key", "instanceTypes"),
    case(f"{T4}.replicas", 4, "unknown key"),
    case(f"{T4}.sharing.replica", 4, "unknown key", "replicas", also={f"{T4}.sharing.replicas": GONE}),
    case(f"{T4}.sharing.layout", {}, "unknown key"),
    case(f"{T4}.sharing.time-slicing", 1, "unknown key"),
    case(f"{A100}.sharing.mig", {"1g.5gb": 7}, "unknown key"),
    case(f"{A100}.sharing.layuot", {}, "unknown key", "layout", also={f"{A100}.sharing.layout": GONE}),
    case(f"{H100}.sharing.replicas", 2, "unknown key"),
    case(f"{T4}.limits.node", 1, "unknown key", "nodes"),
    case(f"{T4}.limits.cpu", 1, "unknown key"),
    case(f"{T4}.disruption.consolidate_after", "1m", "unknown key", "consolidateAfter"),
    case(f"{T4}.disruption.budgets[0].node", "1", "unknown key", "nodes"),
    case(f"{T4}.extraTaints[0].vlaue", "x", "unknown key", "value"),
    case(f"{A100}.capacityReservations.id", "cr-1", "unknown key", "ids"),
    case('["a b"]', 1, "unknown key", where=f'["{PREFIX}a b"]'),
    case("sharing.mode", "mig", "unknown key", where="sharing"),
]
ENUMS = [
    case(f"{T4}.sharing.mode", "timeslicing", "is not a sharing mode", "time-slicing"),
    case(f"{T4}.sharing.mode", "MIG", "is not a sharing mode", "mig"),
    case(f"{T4}.sharing.mode", ["mig"], "is not a sharing mode"),
    case(f"{T4}.sharing.mode", 3, "is not a sharing mode"),
    case(f"{T4}.sharing.mode", GONE, "is missing"),
    case(f"{T4}.capacityTypes", [], "is empty"),
    case(f"{T4}.capacityTypes[0]", "Spot", "is not one of the allowed values", "spot"),
    case(f"{T4}.capacityTypes[0]", "ondemand", "is not one of the allowed values", "on-demand"),
    case("cluster.mode", "crate", "is not one of the allowed values", "create"),
    case("cluster.vpc.natGateways", "perzone", "is not one of the allowed values", "perZone"),
    case("tenants[0].podSecurity", "privileged", "is not one of the allowed values"),
    case(f"{T4}.extraTaints[0].effect", "noschedule", "is not one of the allowed values", "NoSchedule"),
    case(f"{T4}.disruption.consolidationPolicy", "WhenUnderutilized", "is not one", "WhenEmptyOrUnderutilized"),
    case(f"{T4}.disruption.budgets[0].reasons[0]", "drifted", "is not one of the allowed values", "Drifted"),
    case(f"{A100}.capacityReservations.type", "block", "is not one of the allowed values"),
]
HARDWARE = [
    case(f"{T4}.instanceTypes", GONE, "is missing"),
    case(f"{T4}.instanceTypes", [], "is empty"),
    case(f"{T4}.instanceTypes", "g4dn.xlarge", "must be a list"),
    case(f"{T4}.instanceTypes[0]", "g4dn.xlrage", "is not a size of g4dn", "g4dn.xlarge"),
    case(f"{T4}.instanceTypes[0]", "G4DN.XLARGE", "is not an EC2 type with NVIDIA GPUs", "g4dn.xlarge"),
    case(f"{T4}.instanceTypes[0]", "g4ad.xlarge", "is not an EC2 type with NVIDIA GPUs", "g4dn.xlarge"),
    case(f"{T4}.instanceTypes[0]", "m7i.large", "is not an EC2 type with NVIDIA GPUs"),
    case(f"{T4}.instanceTypes[0]", "inf2.xlarge", "is not an EC2 type with NVIDIA GPUs"),
    case(f"{T4}.instanceTypes[1]", "g4dn.xlarge", "is there twice"),
    case(f"{T4}.instanceTypes", ["g4dn.xlarge", "g5g.xlarge"], "mixes amd64 and arm64"),
    case(f"{T4}.instanceTypes", ["g6f.2xlarge"], "is a fraction of a GPU already"),
    case(
        f"{H100}.instanceTypes",
        ["g6f.xlarge", "g6.xlarge"],
        "mixes whole GPUs and fractions",
        also={f"{H100}.efa": False},
    ),
    case(f"{T4}.sharing.minMemory", "4Gi", "leaves 3584 MiB of the t4", where=f"{T4}.sharing.replicas"),
    case(
        f"{T4}.sharing.replicas",
        16,
        "leaves 512 MiB",
        also={f"{T4}.sharing.maxReplicas": 16, f"{T4}.sharing.minMemory": "1Gi"},
    ),
    case(
        f"{T4}.instanceTypes",
        ["p5.48xlarge"],
        "makes 96 slices on a p5.48xlarge, which holds 100 pods",
        where=f"{T4}.sharing.replicas",
        also={f"{T4}.sharing.replicas": 12, f"{T4}.sharing.maxReplicas": 16},
    ),
    case(f"{T4}.sharing.minMemory", "2GB", "is not an amount of memory"),
    case(f"{T4}.sharing.minMemory", 2, "must be a string"),
    case(f"{T4}.sharing.mode", "mps", "the device plugin refuses MPS with --mig-strategy=mixed"),
    case(f"{T4}.sharing.rename", False, "beside an exclusive pool", also={f"{T4}.extraTaints": []}),
    case(
        f"{T4}.extraTaints[0].effect",
        "PreferNoSchedule",
        "beside an exclusive pool",
        where=f"{T4}.sharing.rename",
        also={f"{T4}.sharing.rename": False},
    ),
    case(f"{T4}.sharing.mode", "mig", "has no MIG", also=MIG_ON | {}),
    case(f"{H100}.efa", True, "g4dn.xlarge has no EFA interface", also={f"{H100}.instanceTypes": ["g4dn.xlarge"]}),
    case(f"{H100}.instanceTypes", ["p5.48xlarge", "p5.4xlarge"], "have different numbers of EFA interfaces"),
]
MIG = [
    case(f"{A100}.sharing.layout", {}, "is empty"),
    case(f"{A100}.sharing.layout", GONE, "is missing"),
    case(f"{A100}.sharing.layout", [7], "must be a map"),
    case(f"{A100}.sharing.layout", {"1g.5gb": 8}, "at most 7 on one GPU"),
    case(f"{A100}.sharing.layout", {"1g.5gb": 7, "2g.10gb": 1}, "cannot be placed"),
    case(f"{A100}.sharing.layout", {"4g.20gb": 2}, "at most 1 on one GPU"),
    case(f"{A100}.sharing.layout", {"3g.20gb": 2, "1g.5gb": 1}, "cannot be placed"),
    case(f"{A100}.sharing.layout", {"1g.10gb": 4, "1g.5gb": 1}, "cannot be placed"),
    case(
        f"{A100}.sharing.layout", {"1g.5gb+me": 1, "1g.5gb": 9}, "is too large", where=f"{A100}.sharing.layout.1g.5gb"
    ),
    case(f"{A100}.sharing.layout.1g.5bg", 1, "is not a MIG profile of the A100-40GB", "1g.5gb"),
    case(f"{A100}.sharing.layout.1g.18gb", 1, "but of GH200-144GB, H200-141GB", "1g.10gb"),
    case(f"{A100}.sharing.layout.all-balanced", 1, "is not a MIG profile of the A100-40GB"),
    case(
        f"{A100}.instanceTypes",
        ["p4d.24xlarge", "p4de.24xlarge"],
        "are of several GPU models (a100-40gb, a100-80gb)",
    ),
    case(f"{A100}.instanceTypes", ["g5.xlarge"], "has no MIG", where=f"{A100}.sharing.mode"),
    case(f"{A100}.instanceTypes", ["p3dn.24xlarge"], "has no MIG", where=f"{A100}.sharing.mode"),
    case(f"{A100}.instanceTypes", ["g7e.2xlarge"], "unproven on EC2", where=f"{A100}.sharing.mode"),
    case(f"{A100}.instanceTypes", ["g7.2xlarge"], "unproven on EC2", where=f"{A100}.sharing.mode"),
    case(f"{A100}.ami", "bottlerocket@v1.55.0", "cannot be with mig"),
]
for changes, lines in MIG:
    # Where the layout is wrong, what refers to its profiles is not examined; where it is changed, it would be wrong.
    if not lines[0][0].startswith("tenants"):
        changes.setdefault("tenants", GONE)
CAPACITY = [
    case(f"{A100}.capacityReservations", GONE, "the pool names no reservation", where=f"{A100}.capacityTypes"),
    case(f"{A100}.capacityTypes", ["on-demand"], "has no effect", where=f"{A100}.capacityReservations"),
    case(f"{A100}.capacityReservations", {}, "selects nothing"),
    case(
        f"{A100}.capacityReservations.ids", ["cr-XYZ"], "is not a capacity", where=f"{A100}.capacityReservations.ids[0]"
    ),
    case(f"{A100}.capacityReservations.ids[1]", "cr-0123456789abcdef0", "is there twice"),
    case(f"{A100}.capacityReservations.tags.team", "", "is not text that EC2 takes"),
    case(f"{A100}.capacityReservations.tags.team", 3, "must be a string", '"3", in quotes'),
    case(
        f"{A100}.capacityReservations.type",
        "capacity-block",
        "has 'spot' beside a capacity block",
        where=f"{A100}.capacityTypes",
        also={f"{A100}.capacityTypes": ["reserved", "spot"]},
    ),
    case(f"{T4}.capacityTypes", ["spot", "spot"], "is there twice", where=f"{T4}.capacityTypes[1]"),
    case(f"{T4}.zones", ["us-east-1a", "us-east-1a"], "is there twice", where=f"{T4}.zones[1]"),
    case(f"{T4}.zones[0]", "us-west-2a", "is not in us-east-1"),
    case(f"{T4}.zones[0]", "us-east-1", "is not an availability zone"),
    case(f"{T4}.zones[0]", "use1-az1", "is not an availability zone"),
    case(f"{T4}.rootVolume", "20Gi", "is too small for CUDA images"),
    case(f"{T4}.rootVolume", "17Ti", "is larger than a root volume may be"),
    case(f"{T4}.rootVolume", "100GB", "is not a volume size"),
    case(f"{T4}.rootVolume", 100, "must be a string"),
    case(f"{T4}.rootVolume", "0Gi", "is not a volume size"),
    case(f"{T4}.ami", "al2023@latest", "is not pinned"),
    case(f"{T4}.ami", "bottlerocket@latest", "is not pinned"),
    case(f"{T4}.ami", "al2@v20260915", "names no AMI family", "al2023@v20260915"),
    case(f"{T4}.ami", "ubuntu@v20260915", "names no AMI family"),
    case(f"{T4}.ami", "ami-0123456789abcdef0", "names no AMI family"),
    case(f"{T4}.ami", "al2023", "names no release of al2023"),
    case(f"{T4}.ami", "al2023@", "names no release of al2023"),
    case(f"{T4}.ami", "al2023@v20261332", "20261332 is not a date"),
    case(f"{T4}.ami", "al2023@20260915", "names no release of al2023"),
    case(f"{T4}.ami", "bottlerocket@v20260915", "names no release of bottlerocket"),
    case(f"{T4}.ami", "AL2023@v20260915", "names no AMI family", "al2023@v20260915"),
    case(f"{T4}.ami", "bottlerocket@v1000000.2000000.3000000", "is too long for an AMI alias"),
]
TIME = [
    case(f"{T4}.disruption.expireAfter", "30d", "is not a duration", "720h"),
    case(f"{T4}.disruption.expireAfter", "10", "is not a duration"),
    case(f"{T4}.disruption.expireAfter", 720, "must be a string"),
    case(f"{T4}.disruption.expireAfter", "never", "is not a duration"),
    case(f"{T4}.disruption.expireAfter", "5m", "would replace nodes faster"),
    case(f"{T4}.disruption.expireAfter", "9999999h", "is longer than ten years"),
    case(f"{T4}.disruption.consolidateAfter", "-1h", "is not a duration"),
    case(f"{T4}.disruption.consolidateAfter", "", "is not a duration"),
    case(f"{T4}.disruption.consolidateAfter", "1.5h", "is not a duration"),
    case(f"{T4}.disruption.consolidateAfter", "10 m", "is not a duration"),
    case(f"{T4}.disruption.terminationGracePeriod", "Never", "is not a duration"),
    case(f"{T4}.disruption.terminationGracePeriod", "0s", "is no time at all"),
    case(f"{T4}.disruption.terminationGracePeriod", "25h", "lets a drain take longer than a day"),
]
BUDGET = f"{T4}.disruption.budgets[0]"
TIME += [
    case(f"{BUDGET}.nodes", "101%", "is not a number of nodes"),
    case(f"{BUDGET}.nodes", -1, "is not a number of nodes"),
    case(f"{BUDGET}.nodes", "ten", "is not a number of nodes"),
    case(f"{BUDGET}.nodes", 1.5, "must be a string"),
    case(f"{BUDGET}.nodes", GONE, "is missing"),
    case(f"{BUDGET}.duration", GONE, "has a schedule without a duration", where=BUDGET),
    case(f"{BUDGET}.schedule", GONE, "has a duration without a schedule", where=BUDGET),
    case(f"{BUDGET}.duration", "30s", "is not a window's duration"),
    case(f"{BUDGET}.duration", "0h", "is a window of no time"),
    case(f"{BUDGET}.duration", "1d", "is not a window's duration", "24h"),
    case(f"{BUDGET}.schedule", "0 22 * *", "has 4 fields; a schedule has 5"),
    case(f"{BUDGET}.schedule", "0 0 22 * * *", "has 6 fields"),
    case(f"{BUDGET}.schedule", "", "has 0 fields"),
    case(f"{BUDGET}.schedule", "60 * * * *", "has '60' as its minute"),
    case(f"{BUDGET}.schedule", "0 24 * * *", "has '24' as its hour"),
    case(f"{BUDGET}.schedule", "0 0 0 * *", "has '0' as its day of the month"),
    case(f"{BUDGET}.schedule", "0 0 * foo *", "has 'foo' as its month"),
    case(f"{BUDGET}.schedule", "0 0 * * 7", "has '7' as its day of the week"),
    case(f"{BUDGET}.schedule", "0 0 * * fri-mon", "has 'fri-mon' as its day of the week"),
    case(f"{BUDGET}.schedule", "*/0 * * * *", "has '*/0' as its minute"),
    case(f"{BUDGET}.schedule", "1,,2 * * * *", "has '1,,2' as its minute"),
    case(f"{BUDGET}.schedule", "@reboot", "has 1 field"),
    case(f"{BUDGET}.schedule", "@every 1h", "has 2 fields"),
    case(f"{BUDGET}.schedule", "0 \u0662 * * *", "has the character U+0662"),
    case(f"{BUDGET}.schedule", "0 " * 200, "has 400 characters"),
    case(f"{BUDGET}.reasons[1]", "Drifted", "is there twice"),
]
NETWORK = [
    case("cluster.vpc.cidr", "8.8.0.0/16", "is not a private range"),
    case("cluster.vpc.cidr", "10.40.1.0/16", "has bits set after its prefix", "10.40.0.0/16"),
    case("cluster.vpc.cidr", "10.0.0.0/8", "is too large"),
    case("cluster.vpc.cidr", "10.0.0.0/24", "is too small"),
    case("cluster.vpc.cidr", "10.0.0.0", "is not a network in CIDR notation", "10.0.0.0/32"),
    case("cluster.vpc.cidr", "10.0.0.0/255.255.0.0", "is not a network in CIDR notation"),
    case("cluster.vpc.cidr", "10.0.300.0/16", "has a number that no IPv4 network has"),
    case("cluster.vpc.cidr", "10.0.0.0/33", "has a number that no IPv4 network has"),
    case("cluster.vpc.cidr", "fd00::/56", "is an IPv6 network"),
    case("cluster.vpc.cidr", 10, "must be a string"),
    case("cluster.serviceCidr", "10.40.128.0/20", "overlaps vpc.cidr 10.40.0.0/16"),
    case("cluster.serviceCidr", "100.64.0.0/16", "is not a private range"),
    case("cluster.serviceCidr", "10.0.0.0/11", "is too large"),
    case("cluster.endpoint.publicCidrs[0]", "0.0.0.0/0", "opens the API server to a large part of the internet"),
    case("cluster.endpoint.publicCidrs[0]", "10.0.0.0/16", "is private"),
    case("cluster.endpoint.publicCidrs[0]", "2001:db8::/32", "is an IPv6 network"),
    case("cluster.endpoint.publicCidrs[0]", "203.0.113.9", "is not a network", "203.0.113.9/32"),
    case("cluster.endpoint.publicCidrs[1]", "203.0.113.128/25", "overlaps another entry"),
    case("cluster.endpoint.publicCidrs", [], "is empty, which opens the API server to everybody"),
    case("cluster.endpoint.public", False, "has no effect", where="cluster.endpoint.publicCidrs"),
    case("cluster.endpoint", {"private": False}, "nobody could reach the cluster"),
    case("cluster.vpc", {"id": "vpc-0123456789abcdef0"}, "is missing", where="cluster.vpc.privateSubnetIds"),
    case(
        "cluster.vpc",
        {"id": "vpc-1", "privateSubnetIds": ["subnet-0123456789abcdef0", "subnet-0123456789abcdef1"]},
        "is not a VPC id",
        where="cluster.vpc.id",
    ),
    case(
        "cluster.vpc",
        {"id": "vpc-0123456789abcdef0", "privateSubnetIds": ["subnet-0123456789abcdef0"]},
        "has too few entries",
        where="cluster.vpc.privateSubnetIds",
    ),
    case(
        "cluster.vpc",
        {"id": "vpc-0123456789abcdef0", "privateSubnetIds": ["subnet-0123456789abcdef0"] * 2},
        "is there twice",
        where="cluster.vpc.privateSubnetIds[1]",
    ),
    case("cluster.adminArns[0]", "arn:aws:iam::123:role/x", "is not the ARN of an IAM role or user"),
    case("cluster.adminArns[0]", "arn:aws:sts::123456789012:assumed-role/x/y", "is not the ARN of an IAM role"),
    case("cluster.adminArns[1]", "arn:aws:iam::123456789012:role/platform", "is there twice"),
    case("cluster.systemNodes.instanceTypes[0]", "g4dn.xlarge", "is a GPU type"),
    case("cluster.systemNodes.instanceTypes[0]", "large", "is not an EC2 instance type"),
]
LABELS = [
    case(f"{T4}.labels", {"a b": "x"}, "is not a Kubernetes label key"),
    case(f"{T4}.labels", {"": "x"}, "is not a Kubernetes label key"),
    case(f"{T4}.labels", {"karpenter.sh/nodepool": "x"}, "is a label of karpenter.sh"),
    case(f"{T4}.labels", {"kubernetes.io/hostname": "x"}, "is a label of kubernetes.io"),
    case(f"{T4}.labels", {"nvidia.com/mig.config": "x"}, "is a label of nvidia.com"),
    case(f"{T4}.labels", {"nvidia.com/device-plugin.config": "x"}, "is a label of nvidia.com"),
    case(f"{T4}.labels", {"gpu-slicing.io/pool": "x"}, "is a label of gpu-slicing.io"),
    case(f"{T4}.labels", {"team": "a b"}, "is not a Kubernetes label value", where=f"{T4}.labels.team"),
    case(f"{T4}.labels", {"team": "x" * 64}, "is not a Kubernetes label value", where=f"{T4}.labels.team"),
    case(f"{T4}.labels", {"gpu": True}, "must be a string", '"true", in quotes', where=f"{T4}.labels.gpu"),
    case(f"{T4}.labels", {"n": 1}, "must be a string", '"1", in quotes', where=f"{T4}.labels.n"),
    case(f"{T4}.labels", {"n": 1.5}, "must be a string", '"1.5", in quotes', where=f"{T4}.labels.n"),
    case(f"{T4}.labels", {"n": None}, "has no value", where=f"{T4}.labels.n"),
    case(f"{T4}.labels", {"n": "\u200b"}, "has the character U+200B", where=f"{T4}.labels.n"),
    case(f"{T4}.extraTaints[0].key", "nvidia.com/gpu", "is the taint that every pool has already"),
    case(f"{T4}.extraTaints[0].key", "gpu-slicing.io/pool", "is a taint of gpu-slicing.io"),
    case(f"{T4}.extraTaints[0].key", "karpenter.sh/disrupted", "is a taint of karpenter.sh"),
    case(f"{T4}.extraTaints[0].key", "node.kubernetes.io/not-ready", "is a taint of kubernetes.io"),
    case(f"{T4}.extraTaints[0].key", "", "is not a Kubernetes label key"),
    case(f"{T4}.extraTaints[0].key", GONE, "is missing"),
    case(f"{T4}.extraTaints[0].value", "", "is empty, which the NodePool's schema refuses"),
    case(f"{T4}.extraTaints[1]", {"key": "example.com/team", "effect": "NoSchedule"}, "repeats example.com/team:NoSch"),
]
VERSIONS = [
    case("gpuOperator.version", "v26.3.1", "has known container escapes"),
    case("gpuOperator.version", "v24.9.0", "has known container escapes"),
    case("gpuOperator.version", "26.7.0", "is not a GPU Operator version"),
    case("gpuOperator.version", "latest", "is not a GPU Operator version"),
    case(
        "gpuOperator.values",
        {"mig": {"strategy": "single"}},
        "follows from the pools",
        where="gpuOperator.values.mig.strategy",
    ),
    case("gpuOperator.values", {"mig": "single"}, "follows from the pools", where="gpuOperator.values.mig"),
    case(
        "gpuOperator.values",
        {"devicePlugin": {"config": {"name": "mine"}}},
        "follows from the pools",
        where="gpuOperator.values.devicePlugin.config",
    ),
    case(
        "gpuOperator.values",
        {"driver": {"enabled": True}},
        "follows from the AMI",
        where="gpuOperator.values.driver.enabled",
    ),
    case(
        "gpuOperator.values",
        {"daemonsets": {"tolerations": [{"key": "other", "operator": "Exists"}]}},
        "without a toleration for nvidia.com/gpu, example.com/team, gpu-slicing.io/pool",
        where="gpuOperator.values.daemonsets.tolerations",
    ),
    case("karpenter.version", "1.13.0", "is of another minor version"),
    case("karpenter.version", "v1.14.1", "is not a version"),
    case("karpenter.version", 1.14, "must be a string"),
    case(
        "karpenter.install", False, "needs a cluster that runs Karpenter already", also={"karpenter.nodeRole": "nodes"}
    ),
    case("karpenter.nodeRole", "nodes", "is made by this program"),
    case("karpenter.nodeRole", "arn:aws:iam::123456789012:role/x", "is not the name of an IAM role"),
    case("cluster.kubernetesVersion", 1.35, "must be a string", '"1.35", in quotes'),
    case("cluster.kubernetesVersion", "1.29", "is not supported"),
    case("cluster.kubernetesVersion", "v1.35", "is not a Kubernetes version"),
    case("cluster.kubernetesVersion", "1.35.4", "is not a Kubernetes version"),
    case("cluster.kubeconfig", {"path": "~/.kube/config"}, "has no effect with mode: create"),
]
REFERENCES = [
    case("tenants[0].quota.t4-sharde", 1, "is not a pool", "t4-shared"),
    case("tenants[0].quota.zzz", 1, "is not a pool"),
    case("tenants[0].quota.a100-mig", 3, "does not say of which profile"),
    case(
        "tenants[0].quota.a100-mig",
        {"3g.20gb": 1},
        "is not a profile",
        "2g.10gb",
        where="tenants[0].quota.a100-mig.3g.20gb",
    ),
    case("tenants[0].quota.t4-shared", {"1g.5gb": 1}, "the pool has no MIG"),
    case("verification.pool", "t4_shared", "is not a pool", "t4-shared"),
    case("verification.pool", "", "is not a name"),
    case("verification.pool", GONE, "is missing"),
    case("verification.profile", "1g.5gb", "is not a profile of the pool"),
    case(
        "verification.profile",
        "1g.5bg",
        "is not a profile of the pool",
        "1g.5gb",
        also={"verification.pool": "a100-mig"},
    ),
]
EXISTING = {"mode": "existing", "name": "theirs", "kubeconfig": {"path": "~/.kube/config"}}
EXISTING_CLUSTER = [
    case("cluster", {"mode": "existing", "name": "theirs"}, "is missing", where="cluster.kubeconfig"),
    case("cluster", {k: v for k, v in EXISTING.items() if k != "name"}, "is missing", where="cluster.name"),
    case("cluster", EXISTING | {"kubeconfig": {}}, "names neither a file nor a stack", where="cluster.kubeconfig"),
    case(
        "cluster",
        EXISTING | {"kubeconfig": {"path": "a", "stackReference": "o/p/s"}},
        "names both a file and a stack",
        where="cluster.kubeconfig",
    ),
    case(
        "cluster",
        EXISTING | {"kubeconfig": {"stackReference": "p/s"}},
        "is not a stack's full name",
        where="cluster.kubeconfig.stackReference",
    ),
    case(
        "cluster",
        EXISTING | {"kubeconfig": {"stackReference": "o/p/s", "context": "x"}},
        "belongs to a kubeconfig file",
        where="cluster.kubeconfig.context",
    ),
    case(
        "cluster",
        EXISTING | {"kubeconfig": {"path": "a", "output": "x"}},
        "is an output of a stack",
        where="cluster.kubeconfig.output",
    ),
    case("cluster", EXISTING | {"kubeconfig": {"path": ""}}, "is not text", where="cluster.kubeconfig.path"),
    case(
        "cluster", EXISTING | {"serviceCidr": "172.20.0.0/16"}, "has no effect with mode", where="cluster.serviceCidr"
    ),
    case("cluster", EXISTING | {"vpc": {"cidr": "10.0.0.0/16"}}, "has no effect with mode", where="cluster.vpc"),
]
TEXT = [
    case(f"{T4}.name", "t4\u0000", "has the control character U+0000"),
    case(f"{T4}.labels", {"a\u0007": "x"}, "has a key that has the control character U+0007"),
    case(f"{T4}.name", "t4\n", "is not a pool name", "t4"),
    case(f"{T4}.name", "x" * 5000, "has 5000 characters"),
    case('["[key]"]', 1, "unknown key", where=f'["{PREFIX}[key]"]'),
    case('cluster["[key]"]', 1, "unknown key"),
    case(f'{T4}["[key]"]', {"a": 1}, "unknown key"),
    case(f'{T4}.labels["[key]"]', "v", "is not a Kubernetes label key", where=f"{T4}.labels"),
    case('tenants[0].quota["[key]"]', "x", "must be a whole number"),
    case(f'{A100}.sharing.layout["[key]"]', "x", "must be a whole number"),
    case('gpuOperator["<b>"]', 1, "unknown key"),
    case(f"{T4}.{'k' * 5000}", 1, "unknown key", where=f'{T4}["{"k" * 76}...]'),
]
CASES = [
    *NAMES,
    *TYPES,
    *NUMBERS,
    *KEYS,
    *ENUMS,
    *HARDWARE,
    *MIG,
    *CAPACITY,
    *TIME,
    *NETWORK,
    *LABELS,
    *VERSIONS,
    *REFERENCES,
    *EXISTING_CLUSTER,
    *TEXT,
]


def _id(entry):
    changes, lines = entry
    return f"{lines[0][0]}={next(iter(changes.values()))!r}"[:70].replace("\x00", "NUL")


@pytest.mark.parametrize(("changes", "lines"), CASES, ids=map(_id, CASES))
def test_a_fault_is_one_line(changes, lines, tmp_path):
    config = changed(changes)
    found = problems_of(config)
    assert [(p.path, p.suggestion) for p in found] == [(_full(where), suggestion) for where, _, suggestion in lines]
    for problem, (_, message, _) in zip(found, lines, strict=True):
        assert message in problem.message
        assert len(problem.value) <= LONGEST_VALUE
        assert problem.allowed
        assert "\n" not in str(problem)
    assert problems_of_file(written(config, tmp_path)) == found


def _full(where):
    return where if where.startswith(f'["{PREFIX}') else PREFIX + where


def test_there_are_enough_cases():
    assert len(CASES) >= 120
    assert len({_id(c) for c in CASES}) > 0.9 * len(CASES)


def test_the_good_settings_are_good(tmp_path):
    assert problems_of(changed({})) == ()
    assert problems_of_file(written(changed({}), tmp_path)) == ()


FIFTEEN = {
    "clutser": {},
    "cluster.kubernetesVersion": "1.29",
    "cluster.serviceCidr": "10.40.0.0/20",
    "karpenter.version": "1.12.0",
    "gpuOperator.version": "v25.3.0",
    f"{T4}.name": "T4",
    f"{T4}.instanceTypes[0]": "g4dn.xlrage",
    f"{T4}.ami": "al2023@latest",
    f"{T4}.rootVolume": "20Gi",
    f"{A100}.sharing.layout": {"1g.5gb": 8},
    f"{A100}.capacityTypes": ["on-demand"],
    f"{H100}.limits": {"nodes": 0},
    f"{H100}.instanceTypes": ["g4dn.xlarge"],
    "tenants[0].namespace": "kube-system",
    "verification.replicas": 501,
}


def test_fifteen_faults_are_fifteen_lines(tmp_path):
    config = changed(FIFTEEN)
    found = problems_of(config)
    assert len(found) == 15, "\n".join(map(str, found))
    assert problems_of_file(written(config, tmp_path)) == found
    where = [p.path.removeprefix(PREFIX) for p in found]
    assert {f"{T4}.instanceTypes[0]", f"{A100}.sharing.layout", f"{H100}.efa", "verification.replicas"} <= set(where)


def test_the_report_does_not_depend_on_the_order_of_the_file():
    config = changed(FIFTEEN)
    expected = problems_of(config)
    for keys in itertools.islice(itertools.permutations(config), 0, 5000, 1000):
        assert problems_of({k: config[k] for k in keys}) == expected


def test_pools_are_reported_in_their_order():
    pools = [{"name": f"p{i}", "instanceTypes": ["x"], "sharing": {"mode": "exclusive"}} for i in range(12)]
    found = problems_of({f"{PREFIX}pools": pools})
    assert [p.path for p in found] == [f"{PREFIX}pools[{i}].instanceTypes[0]" for i in range(12)]


def test_a_wrong_field_does_not_hide_what_else_is_known_of_its_pool():
    found = problems_of(changed({f"{T4}.limits": {"nodes": "ten"}, f"{T4}.sharing.replicas": 8, "verification": GONE}))
    assert [p.path for p in found] == [f"{PREFIX}{T4}.limits.nodes", f"{PREFIX}{T4}.sharing.replicas"]


def test_a_stand_in_is_never_blamed():
    """With unknown instance types nothing is said about the hardware, with a wrong mode nothing about sharing."""
    found = problems_of(changed({f"{H100}.instanceTypes": ["p9.large"], f"{T4}.sharing.mode": "shared"}))
    assert [p.path for p in found] == [f"{PREFIX}{T4}.sharing.mode", f"{PREFIX}{H100}.instanceTypes[0]"]


def test_references_to_a_pool_with_a_wrong_name_are_not_errors_too():
    changes = {f"{T4}.name": "T4", "tenants[0].quota": {"T4": 1}, "verification.pool": "T4"}
    assert [p.path for p in problems_of(changed(changes))] == [f"{PREFIX}{T4}.name"]


def test_keys_of_other_namespaces_are_left_alone():
    config = changed({}) | {"aws:profile": 3, "pulumi:tags": {"a": None}, "kubernetes:x": [object()], "other": 1}
    assert problems_of(config) == ()


@pytest.mark.parametrize("region", ["useast", "us-east-1a", 3, None, "", ["us-east-1"]])
def test_the_region_is_checked(region):
    found = problems_of(changed({}) | {"aws:region": region})
    assert [p.path for p in found] == ["aws:region"]
    assert "such as us-east-1" in found[0].allowed


@pytest.mark.parametrize(
    ("stack", "name"),
    [("dev", "gpu-dev"), ("My_Stack.2", "gpu-my-stack-2"), ("_", "gpu"), ("x" * 90, "gpu-" + "x" * 36)],
)
def test_the_default_name_of_the_cluster_comes_from_any_stack_name(stack, name):
    assert load_settings(changed({"cluster.name": GONE}), stack).cluster.name == name


def test_a_name_that_makes_the_node_role_too_long_is_refused():
    config = changed({"cluster.name": "c" * 40}) | {"aws:region": "us-isof-south-1"}
    [problem] = [p for p in problems_of(config, "dev") if p.path.endswith("cluster.name")]
    assert problem.allowed == "at most 39 characters"


def test_system_nodes_of_two_architectures_are_refused():
    found = problems_of(changed({"cluster.systemNodes.instanceTypes": ["m7i.large", "m7g.large"]}), "dev")
    assert [(p.path, p.allowed) for p in found] == [
        (f"{PREFIX}cluster.systemNodes.instanceTypes", "one CPU architecture")
    ]


def test_latest_images_are_for_local_and_dev():
    config = changed({f"{T4}.ami": "al2023@latest"})
    assert problems_of(config, "dev") == problems_of(config, "local") == ()
    assert [p.path for p in problems_of(config, "prod")] == [f"{PREFIX}{T4}.ami"]


def test_a_schedule_that_never_begins_passes():
    assert problems_of(changed({f"{BUDGET}.schedule": "0 0 30 feb *"})) == ()


class TestSecrets:
    SECRET = "hunter2-hunter2"

    @pytest.mark.parametrize(
        "changes",
        [
            {"gpuOperator.password": SECRET},
            {"gpuOperator.vals": {"registry": {"apiKey": SECRET}}},
            {"gpuOperator.vals": {"list": [{"client_secret": SECRET}]}},
            {"gpuOperator.version": {"secure": SECRET}},
            {"monitoring": {"secure": SECRET}},
            {"karpenter.accessKeyId": SECRET},
            {"karpenter.zzz": "AKIAABCDEFGHIJKLMNOP"},
            {"karpenter.zzz": "ghp_abcdefghijklmnopqrstuvwxyz0123456789"},
            {"karpenter.zzz": "-----BEGIN RSA PRIVATE KEY-----\nabc"},
            {"gpuOperator.values": {"token": 10**30, "mig": {"strategy": {"password": SECRET}}}},
        ],
    )
    def test_they_are_not_shown(self, changes, tmp_path):
        config = changed(changes)
        for found in (problems_of(config), problems_of_file(written(config, tmp_path))):
            report = "\n".join(map(str, found))
            assert found
            for secret in (self.SECRET, "AKIAABCDEF", "ghp_abc", "BEGIN RSA", str(10**30)):
                assert secret not in report


class TestDataThatIsNotJson:
    @pytest.mark.parametrize(
        ("value", "message"),
        [
            (float("nan"), "is not a number"),
            (float("inf"), "is not a number"),
            (10**30, "is too large a number"),
            (10**5000, "is too large a number"),
            (b"bytes", "is not a value of YAML or JSON"),
            ({1, 2}, "is not a value of YAML or JSON"),
            (object(), "is not a value of YAML or JSON"),
            ("\ud800", "is not Unicode text"),
        ],
        ids=["nan", "inf", "large", "huge", "bytes", "set", "object", "surrogate"],
    )
    def test_values(self, value, message):
        for where in (f"{T4}.sharing.replicas", "gpuOperator.values.x"):
            found = problems_of(changed({where: value}))
            assert [p.path for p in found] == [PREFIX + where]
            assert message in found[0].message
            str(found[0]).encode("utf-8")

    @pytest.mark.parametrize("key", [1, 1.5, None, True, ("a",), b"x"])
    def test_keys(self, key):
        for where in (f"{T4}.labels", "gpuOperator.values", "cluster.vpc"):
            config = changed({where: {key: "x"}})
            assert [(p.path, p.message) for p in problems_of(config)] == [
                (PREFIX + where, "has a key that is not text")
            ]
        assert problems_of(changed({}) | {key: 1}) == ()

    def test_deep_values(self):
        deep = value = {}
        for _ in range(3000):
            value["a"] = value = {}
        found = problems_of(changed({"gpuOperator.values": deep}))
        assert [p.message for p in found] == ["is nested too deeply"]

    def test_a_value_within_itself(self):
        knot = {}
        knot["a"] = knot
        assert [p.message for p in problems_of(changed({"gpuOperator.values": knot}))] == ["is nested too deeply"]

    def test_a_great_many_values(self):
        found = problems_of(changed({"gpuOperator.values": {"x": [0] * 200_000}}))
        assert [p.message for p in found] == ["has too many values"]

    @pytest.mark.parametrize("config", [None, [], "pools", 3, [("gpu-slicing:pools", [])]])
    def test_a_configuration_that_is_no_map(self, config):
        assert [(p.path, p.message) for p in problems_of(config)] == [("config", "must be a map")]


def test_a_report_of_thousands_is_cut_but_keeps_its_data():
    config = changed({f"{T4}.labels": {}}) | {f"{PREFIX}x{i}": 1 for i in range(3000)}
    found = problems_of(config)
    assert len(found) == 3000
    with pytest.raises(SettingsError, match=r"\.\.\. and 2800 more"):
        load_settings(config, "prod")


def test_the_good_settings_name_every_field_of_a_pool():
    named = set().union(*GOOD["pools"])
    assert named == {f.alias for f in PoolSettings.model_fields.values()}
