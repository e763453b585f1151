"""Every rule of the objects that we make is kept by the settings first.

The rules are those of Karpenter v1.14.1 (pkg/apis/crds of github.com/aws/karpenter-provider-aws: patterns, limits and
CEL), its checks at run time (sigs.k8s.io/karpenter pkg/apis/v1/*_validation.go), EKS and EC2. One case for each rule
that a setting can reach; a rule about a value that this program makes alone is not here.
"""

import contextlib
import re
from datetime import timedelta

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import TypeAdapter, ValidationError
from stackdata import GONE, PREFIX, changed, problems_of

from gpuslice import fields as f
from gpuslice.load import load_settings
from gpuslice.manifests.stack import stack_manifests

T4, A100 = "pools[0]", "pools[1]"
RESERVATIONS = f"{A100}.capacityReservations"
BUDGETS = f"{T4}.disruption.budgets"
TAINT = {"key": "a", "effect": "NoSchedule"}

RULES = {
    "NodePool labels: value pattern": {f"{T4}.labels": {"a": "-x"}},
    "NodePool labels: value maxLength 63": {f"{T4}.labels": {"a": "x" * 64}},
    "NodePool labels: maxProperties 100": {f"{T4}.labels": {f"k{i}": "v" for i in range(99)}},
    "NodePool labels: qualified name (run time)": {f"{T4}.labels": {"a/b/c": "v"}},
    "NodePool labels: name at most 63 (run time)": {f"{T4}.labels": {"example.com/" + "k" * 64: "v"}},
    "NodePool labels: prefix at most 253 (run time)": {f"{T4}.labels": {"x." * 127 + "com/k": "v"}},
    "NodePool labels: karpenter.sh restricted": {f"{T4}.labels": {"karpenter.sh/x": "v"}},
    "NodePool labels: karpenter.sh/nodepool restricted": {f"{T4}.labels": {"karpenter.sh/nodepool": "v"}},
    "NodePool labels: subdomain of karpenter.sh": {f"{T4}.labels": {"a.karpenter.sh/x": "v"}},
    "NodePool labels: anything that ends in karpenter.sh": {f"{T4}.labels": {"mykarpenter.sh/x": "v"}},
    "NodePool labels: a key without prefix that ends in karpenter.sh": {f"{T4}.labels": {"my-karpenter.sh": "v"}},
    "NodePool labels: karpenter.k8s.aws restricted": {f"{T4}.labels": {"karpenter.k8s.aws/x": "v"}},
    "NodePool labels: anything that ends in karpenter.k8s.aws": {f"{T4}.labels": {"mykarpenter.k8s.aws": "v"}},
    "NodePool labels: kubernetes.io/hostname restricted": {f"{T4}.labels": {"kubernetes.io/hostname": "v"}},
    "NodePool taints: key pattern": {f"{T4}.extraTaints": [TAINT | {"key": "-a"}]},
    "NodePool taints: key minLength 1": {f"{T4}.extraTaints": [TAINT | {"key": ""}]},
    "NodePool taints: key at most 63 (run time)": {f"{T4}.extraTaints": [TAINT | {"key": "k" * 64}]},
    "NodePool taints: value pattern": {f"{T4}.extraTaints": [TAINT | {"value": "a b"}]},
    "NodePool taints: value is not empty": {f"{T4}.extraTaints": [TAINT | {"value": ""}]},
    "NodePool taints: value at most 63 (run time)": {f"{T4}.extraTaints": [TAINT | {"value": "v" * 64}]},
    "NodePool taints: effect enum": {f"{T4}.extraTaints": [TAINT | {"effect": "NoStart"}]},
    "NodePool taints: duplicate key and effect (run time)": {f"{T4}.extraTaints": [TAINT, TAINT | {"value": "b"}]},
    "NodePool requirements: In needs values (types)": {f"{T4}.instanceTypes": []},
    "NodePool requirements: In needs values (capacity types)": {f"{T4}.capacityTypes": []},
    "NodePool requirements: known capacity types (run time)": {f"{T4}.capacityTypes": ["cheap"]},
    "NodePool requirements: value pattern (zones)": {f"{T4}.zones": ["us-east-1a/"]},
    "NodePool requirements: value maxLength 63 (zones)": {f"{T4}.zones": ["us-" + "x" * 60 + "-1a"]},
    "NodePool requirements: value pattern (name in overlays)": {f"{T4}.name": "t4-"},
    "NodePool requirements: value maxLength 63 (name in overlays)": {f"{T4}.name": "t" * 64},
    "NodePool disruption: consolidateAfter pattern": {f"{T4}.disruption.consolidateAfter": "1d"},
    "NodePool disruption: consolidationPolicy enum": {f"{T4}.disruption.consolidationPolicy": "Never"},
    "NodePool disruption: budgets maxItems 50": {BUDGETS: [{"nodes": "1"}] * 51},
    "NodePool disruption: schedule with duration": {BUDGETS: [{"nodes": "1", "schedule": "@daily"}]},
    "NodePool disruption: duration with schedule": {BUDGETS: [{"nodes": "1", "duration": "1h"}]},
    "NodePool disruption: budget duration pattern": {
        BUDGETS: [{"nodes": "1", "schedule": "@daily", "duration": "1h30s"}]
    },
    "NodePool disruption: budget nodes pattern": {BUDGETS: [{"nodes": "110%"}]},
    "NodePool disruption: reasons maxItems 50": {BUDGETS: [{"nodes": "1", "reasons": ["Empty"] * 51}]},
    "NodePool disruption: reasons enum": {BUDGETS: [{"nodes": "1", "reasons": ["Unhealthy"]}]},
    "NodePool disruption: schedule pattern": {BUDGETS: [{"nodes": "1", "schedule": "@sometimes", "duration": "1h"}]},
    "NodePool disruption: schedule that cron reads (run time)": {
        BUDGETS: [{"nodes": "1", "schedule": "61 * * * *", "duration": "1h"}]
    },
    "NodePool template: expireAfter pattern": {f"{T4}.disruption.expireAfter": "forever"},
    "NodePool template: terminationGracePeriod pattern": {f"{T4}.disruption.terminationGracePeriod": "Never"},
    "NodePool: durations that Go can hold (run time)": {f"{T4}.disruption.expireAfter": "2562048h"},
    "NodePool metadata: name is a DNS subdomain": {f"{T4}.name": "T4"},
    "EC2NodeClass amiSelectorTerms: alias format": {f"{T4}.ami": "al2023-v20260915"},
    "EC2NodeClass amiSelectorTerms: alias family": {f"{T4}.ami": "al2022@v20260915"},
    "EC2NodeClass amiSelectorTerms: alias maxLength 30": {f"{T4}.ami": "bottlerocket@v" + "1" * 12 + ".10.10"},
    "EC2NodeClass blockDeviceMappings: volumeSize pattern": {f"{T4}.rootVolume": "100"},
    "EC2NodeClass blockDeviceMappings: volumeSize at most 59000Gi": {f"{T4}.rootVolume": "59001Gi"},
    "EC2NodeClass capacityReservationSelectorTerms: at least one of id, tags": {RESERVATIONS: {"ids": [], "tags": {}}},
    "EC2NodeClass capacityReservationSelectorTerms: id pattern": {f"{RESERVATIONS}.ids": ["cr-"]},
    "EC2NodeClass capacityReservationSelectorTerms: maxItems 30": {
        RESERVATIONS: {"ids": [f"cr-{i:017x}" for i in range(31)]}
    },
    "EC2NodeClass capacityReservationSelectorTerms: maxItems 30 with the one for tags": {
        RESERVATIONS: {"ids": [f"cr-{i:017x}" for i in range(30)], "tags": {"a": "b"}}
    },
    "EC2NodeClass capacityReservationSelectorTerms: tags maxProperties 20": {
        f"{RESERVATIONS}.tags": {f"k{i}": "v" for i in range(21)}
    },
    "EC2NodeClass capacityReservationSelectorTerms: empty tag key": {f"{RESERVATIONS}.tags": {"": "v"}},
    "EC2NodeClass capacityReservationSelectorTerms: empty tag value": {f"{RESERVATIONS}.tags": {"k": ""}},
    "EC2NodeClass subnetSelectorTerms: id pattern": {
        "cluster.vpc": {"id": "vpc-0123456789abcdef0", "privateSubnetIds": ["subnet-0123456789abcdef0", "sn-1"]}
    },
    "EC2NodeClass subnetSelectorTerms: maxItems 30": {
        "cluster.vpc": {
            "id": "vpc-0123456789abcdef0",
            "privateSubnetIds": [f"subnet-{i:017x}" for i in range(31)],
        }
    },
    "EC2NodeClass role: not empty": {
        "karpenter": {"install": False, "nodeRole": ""},
        "cluster": {"mode": "existing", "name": "x", "kubeconfig": {"path": "k"}},
    },
    "EC2NodeClass networkInterfaces: not on a type without EFA": {"pools[2].instanceTypes": ["g4dn.xlarge"]},
    "NodeOverlay metadata: name is a DNS subdomain": {f"{T4}.name": "t4_shared"},
    "Namespace metadata: name is a DNS label": {"tenants[0].namespace": "team.vision"},
    "Namespace metadata: name at most 63": {"tenants[0].namespace": "n" * 64},
    "ResourceQuota: no negative quantity": {"tenants[0].quota.t4-shared": -1},
    "device plugin: number of replicas must be >= 2": {f"{T4}.sharing.replicas": 1},
    "device plugin: MPS takes 48 clients": {f"{T4}.sharing": {"mode": "mps", "replicas": 49}},
    "device plugin: MPS takes 16 clients before compute capability 7.5": {
        f"{T4}.sharing": {"mode": "mps", "replicas": 17, "maxReplicas": 48},
        f"{T4}.instanceTypes": ["p3dn.24xlarge"],
        "pools[1].sharing": {"mode": "exclusive"},
        "tenants": GONE,
    },
    "device plugin: mixed is not supported with MPS": {f"{T4}.sharing": {"mode": "mps", "replicas": 4}},
    "mig-parted: a count is at least 1": {f"{A100}.sharing.layout": {"1g.5gb": 0}, "tenants": GONE},
    "mig-parted: a layout is not empty": {f"{A100}.sharing.layout": {}, "tenants": GONE},
    "EKS: name of a cluster": {"cluster.name": "a cluster"},
    "EKS: service range is private": {"cluster.serviceCidr": "100.64.0.0/16"},
    "EKS: service range from /12": {"cluster.serviceCidr": "10.0.0.0/11"},
    "EKS: service range to /24": {"cluster.serviceCidr": "172.20.0.0/25"},
    "EKS: service range apart from the VPC": {"cluster.serviceCidr": "10.40.0.0/20"},
    "EKS: at most 40 public networks": {"cluster.endpoint.publicCidrs": [f"203.0.{i}.0/24" for i in range(41)]},
    "EKS: no private network at the public endpoint": {"cluster.endpoint.publicCidrs": ["192.168.0.0/16"]},
    "EKS: subnets in two zones": {
        "cluster.vpc": {"id": "vpc-0123456789abcdef0", "privateSubnetIds": ["subnet-0123456789abcdef0"]}
    },
    "EC2: a VPC has /16 at most": {"cluster.vpc.cidr": "10.0.0.0/15"},
    "IAM: a role's name has 64 characters": {"cluster.name": "c" * 41},
    "Helm: the pools' taints are tolerated": {"gpuOperator.values": {"daemonsets": {"tolerations": [{"key": "x"}]}}},
}


@pytest.mark.parametrize("changes", RULES.values(), ids=RULES)
def test_a_rule_is_kept(changes):
    found = problems_of(changed(changes))
    assert len(found) == 1, "\n".join(map(str, found))
    assert any(found[0].path.startswith(PREFIX + re.split(r"[.\[]", path)[0]) for path in changes)


AT_THE_EDGE = {
    "90 labels": {f"{T4}.labels": {f"k{i}": "v" for i in range(90)}},
    "a label of a domain like Karpenter's": {
        f"{T4}.labels": {"karpenter.shop/x": "v", "karpenter.k8s.aws.example/x": "v"}
    },
    "a label of a domain like NVIDIA's": {f"{T4}.labels": {"notnvidia.com/x": "v"}},
    "an empty label value": {f"{T4}.labels": {"a": ""}},
    "a label value of 63": {f"{T4}.labels": {"a": "x" * 63}},
    "a taint without a value": {f"{T4}.extraTaints": [TAINT]},
    "the same key with two effects": {f"{T4}.extraTaints": [TAINT, TAINT | {"effect": "NoExecute"}]},
    "50 budgets": {BUDGETS: [{"nodes": "1"}] * 50},
    "a budget of no nodes": {BUDGETS: [{"nodes": 0}]},
    "a budget of all nodes": {BUDGETS: [{"nodes": "100%"}]},
    "30 reservations": {RESERVATIONS: {"ids": [f"cr-{i:017x}" for i in range(30)]}},
    "29 reservations and tags": {RESERVATIONS: {"ids": [f"cr-{i:017x}" for i in range(29)], "tags": {"a": "b"}}},
    "a volume of 16Ti": {f"{T4}.rootVolume": "16Ti"},
    "a pool name of 50": {f"{T4}.name": "t" * 50, "tenants": GONE, "verification": GONE},
    "ten years": {f"{T4}.disruption.expireAfter": "87600h"},
    "a drain of a day": {f"{T4}.disruption.terminationGracePeriod": "24h"},
    "40 public networks": {"cluster.endpoint.publicCidrs": [f"203.0.{i}.0/24" for i in range(40)]},
    "a VPC in the carrier range": {"cluster.vpc.cidr": "100.64.0.0/16"},
    "Helm tolerations that keep the pools'": {
        "gpuOperator.values": {"daemonsets": {"tolerations": [{"operator": "Exists"}]}, "driver": {"enabled": False}}
    },
}


@pytest.mark.parametrize("changes", AT_THE_EDGE.values(), ids=AT_THE_EDGE)
def test_the_edge_is_inside(changes):
    assert problems_of(changed(changes)) == ()


def test_the_labels_of_a_node_pool_never_pass_100():
    """The largest number of labels that settings may have, on the image with the most derived ones."""
    labels = {f"k{i}": "v" for i in range(90)}
    config = changed({f"{T4}.labels": labels, f"{T4}.ami": "bottlerocket@v1.55.0"})
    assert problems_of(config) == ()
    objects = [o for file in stack_manifests(load_settings(config, "prod")).values() for o in file]
    counts = [len(o["spec"]["template"]["metadata"]["labels"]) for o in objects if o["kind"] == "NodePool"]
    assert 90 < max(counts) <= 100


# Patterns of the CRDs, as Karpenter v1.14.1 has them.
QUALIFIED = (
    r"^([a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*(\/))?([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9]$"
)
VOLUME_SIZE = (
    r"^((?:[1-9][0-9]{0,3}|[1-4][0-9]{4}|[5][0-8][0-9]{3}|59000)Gi"
    r"|(?:[1-9][0-9]{0,3}|[1-5][0-9]{4}|[6][0-3][0-9]{3}|64000)G"
    r"|([1-9]||[1-5][0-7]|58)Ti|([1-9]||[1-5][0-9]|6[0-3]|64)T)$"
)
SCHEDULE = r"^(@(annually|yearly|monthly|weekly|daily|midnight|hourly))|((.+)\s(.+)\s(.+)\s(.+)\s(.+))$"
CRD_PATTERNS = {
    "LabelValue": r"^(([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9])?$",
    "NodeLabelKey": QUALIFIED,
    "TaintKey": QUALIFIED,
    "TaintValue": QUALIFIED,
    "Duration": r"^([0-9]+(s|m|h))+$",
    "DurationOrNever": r"^(([0-9]+(s|m|h))+|Never)$",
    "WindowDuration": r"^((([0-9]+(h|m))|([0-9]+h[0-9]+m))(0s)?)$",
    "BudgetNodes": r"^((100|[0-9]{1,2})%|[0-9]+)$",
    "Cron": SCHEDULE,
    "Ami": r"^[a-zA-Z0-9]+@.+$",
    "ReservationId": r"^cr-[0-9a-z]+$",
    "SubnetId": r"^subnet-[0-9a-z]+$",
    "Zone": r"^(([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9])?$",
    "PoolName": r"^[a-z0-9]([-a-z0-9]*[a-z0-9])?$",
}
PIECES = ["a", "Z", "0", "9", "-", "_", ".", "/", "@", "%", "h", "m", "s", "0s", "1h", "100", "Never", "*", " ", ","]
NEAR = {
    "Cron": ["0 1 2 3 4", "*/5 * * * *", "@daily", "0 22 * * mon-fri", "? * * * *"],
    "Ami": ["al2023@v20260915", "bottlerocket@v1.2.3", "al2023@latest"],
    "ReservationId": ["cr-0123456789abcdef0", "cr-01234567"],
    "SubnetId": ["subnet-0123456789abcdef0", "subnet-01234567"],
    "Zone": ["us-east-1a", "us-west-2-lax-1a", "us-gov-west-1b"],
    "WindowDuration": ["8h", "1h30m", "1h0s", "90m"],
}


@st.composite
def _near(draw, kind):
    """Strings that a rule may take: pieces put together, or a right one with a piece put in or a character lost."""
    text = draw(st.lists(st.sampled_from(PIECES), max_size=6).map("".join) | st.sampled_from(NEAR.get(kind, ["a"])))
    at = draw(st.integers(0, len(text)))
    return draw(
        st.sampled_from([text, text[:at] + draw(st.sampled_from(PIECES)) + text[at:], text[:at] + text[at + 1 :]])
    )


@pytest.mark.parametrize("kind", CRD_PATTERNS)
@settings(max_examples=60, deadline=None)
@given(st.data())
def test_what_passes_here_passes_there(kind, data):
    text = data.draw(_near(kind))
    with contextlib.suppress(ValidationError):
        accepted = TypeAdapter(getattr(f, kind)).validate_python(text)
        assert re.search(CRD_PATTERNS[kind], accepted, re.ASCII)
        assert len(accepted) <= 316


@pytest.mark.parametrize("kind", CRD_PATTERNS)
def test_something_passes(kind):
    examples = {"Duration": "10m", "DurationOrNever": "Never", "BudgetNodes": "10%", "NodeLabelKey": "a.b/c"}
    text = examples.get(kind, NEAR.get(kind, ["a"])[0])
    assert TypeAdapter(getattr(f, kind)).validate_python(text) == text


def test_every_volume_size_that_a_pool_may_have_is_one_for_karpenter():
    sizes = [f"{n}Gi" for n in (*range(50, 16385, 7), 16384)] + [f"{n}Ti" for n in range(1, 17)]
    for size in sizes:
        assert TypeAdapter(f.VolumeSize).validate_python(size) == size
        assert re.search(VOLUME_SIZE, size)


def test_the_longest_duration_fits_into_go():
    """time.Duration counts nanoseconds in 64 bits."""
    assert timedelta(hours=f.LONGEST_DURATION_HOURS).total_seconds() * 10**9 < 2**63
    with pytest.raises(ValidationError):
        TypeAdapter(f.Duration).validate_python(f"{f.LONGEST_DURATION_HOURS}h1s")


RESTRICTED = ("karpenter.sh", "karpenter.k8s.aws")


@settings(max_examples=100, deadline=None)
@given(
    st.lists(st.sampled_from([*RESTRICTED, "a", "my", "example.com", "kubernetes.io"]), min_size=1, max_size=3),
    st.sampled_from(["", ".", "-"]),
    st.sampled_from(["", "/x", "/nodepool"]),
)
def test_no_label_that_karpenter_restricts_passes(parts, glue, name):
    """The CEL rule of NodePool labels: the part before the slash, or all of it, must not end in a restricted domain."""
    key = glue.join(parts) + name
    head = key.partition("/")[0]
    with contextlib.suppress(ValidationError):
        TypeAdapter(f.NodeLabelKey).validate_python(key)
        assert not head.endswith(RESTRICTED)
        assert key != "kubernetes.io/hostname"
