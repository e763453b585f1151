"""The text that a stack file may hold: one annotated type for each kind, and the rule behind it.

The patterns are those that the Karpenter 1.14 CRDs,
Kubernetes, EKS and EC2 enforce: what passes here is not refused later by one of them.
"""

from __future__ import annotations

import ipaddress
import json
import re
import unicodedata
from collections.abc import Callable, Iterable
from datetime import date
from typing import Annotated, Any

from pydantic import AfterValidator, BeforeValidator, WithJsonSchema
from pydantic_core import PydanticCustomError

from gpuslice.catalog import instance_types
from gpuslice.cron import CRON_WORDS, cron_fault
from gpuslice.refusal import Whole as Whole
from gpuslice.refusal import nearest as nearest
from gpuslice.refusal import refuse as refuse

Check = Callable[[str], str]
_DNS_LABEL = r"[a-z0-9]([-a-z0-9]*[a-z0-9])?"

QUALIFIED_NAME = re.compile(
    r"([a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*/)?([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9]"
)
LABEL_VALUE = re.compile(r"([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9]")
AMI_FAMILIES = ("al2023", "bottlerocket")
PRIVATE_RANGES = tuple(ipaddress.IPv4Network(r) for r in ("10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16"))
# EKS takes this range too for a VPC (RFC 6598), but not for services.
CARRIER_RANGE = ipaddress.IPv4Network("100.64.0.0/10")
# Karpenter's CRD refuses every key whose first part merely ends in one of these, with or without a dot before.
KARPENTER_DOMAINS = ("karpenter.sh", "karpenter.k8s.aws")
OWNED_LABEL_DOMAINS = ("gpu-slicing.io", "nvidia.com", "kubernetes.io", "k8s.io")
OWNED_TAINT_DOMAINS = ("gpu-slicing.io", "kubernetes.io", "k8s.io")
LONGEST_DURATION_HOURS = 87_600
"""Ten years. Go, and so Karpenter, cannot read a duration of more than 292 years from an object that it stored."""


def _ascii(value: str) -> str:
    """Refuses look-alikes such as a Cyrillic `a` by name; nothing of AWS or Kubernetes in these fields has them."""
    strange = next((c for c in value if not c.isascii()), None)
    if strange is not None:
        name = unicodedata.name(strange, "a character without a name")
        raise refuse(f"has the character U+{ord(strange):04X} ({name})", allowed="ASCII characters")
    return value


def _matching(pattern: str, what: str, allowed: str, longest: int) -> Check:
    compiled = re.compile(pattern, re.ASCII)

    def check(value: str) -> str:
        if len(value) > longest:
            raise refuse(f"has {len(value)} characters, too many for {what}", allowed=f"at most {longest} characters")
        if not compiled.fullmatch(value):
            close = re.sub(r"[^a-z0-9]+", "-", value.lower()).strip("-") if pattern == _DNS_LABEL else ""
            raise refuse(f"is not {what}", allowed=allowed, suggestion=close)
        return value

    return check


def _label_key(value: str) -> str:
    prefix, _, name = value.rpartition("/")
    if len(name) > 63 or len(prefix) > 253 or not QUALIFIED_NAME.fullmatch(value):
        raise refuse(
            "is not a Kubernetes label key",
            allowed="letters, digits, '-', '_', '.', with an optional DNS prefix and '/'; name at most 63 characters",
        )
    return value


def _label_value(value: str) -> str:
    if value and (len(value) > 63 or not LABEL_VALUE.fullmatch(value)):
        raise refuse(
            "is not a Kubernetes label value",
            allowed="at most 63 letters, digits, '-', '_', '.', starting and ending with a letter or digit",
        )
    return value


def _taint_value(value: str) -> str:
    if not value:
        raise refuse("is empty, which the NodePool's schema refuses", allowed="a label value, or leave value out")
    return _label_value(value)


def _owner(key: str, owned: Iterable[str]) -> str:
    """The domain of `owned` that the key belongs to; an empty string when it is free."""
    head, slash, _ = key.partition("/")
    karpenter = next((d for d in KARPENTER_DOMAINS if head.endswith(d)), "")
    return karpenter or next((d for d in owned if slash and (head == d or head.endswith("." + d))), "")


def _node_label_key(value: str) -> str:
    owner = _owner(_label_key(value), OWNED_LABEL_DOMAINS)
    if owner:
        raise refuse(
            f"is a label of {owner}, which Kubernetes, Karpenter, NVIDIA or this program sets",
            allowed=f"any domain but {', '.join(OWNED_LABEL_DOMAINS + KARPENTER_DOMAINS)}",
        )
    return value


def _taint_key(value: str) -> str:
    if _label_key(value) == "nvidia.com/gpu":
        raise refuse("is the taint that every pool has already", allowed="any other key")
    owner = _owner(value, OWNED_TAINT_DOMAINS)
    if owner:
        raise refuse(
            f"is a taint of {owner}, which Kubernetes, Karpenter or this program sets and removes",
            allowed=f"any domain but {', '.join(OWNED_TAINT_DOMAINS + KARPENTER_DOMAINS)}",
        )
    return value


_AMI_TEXT = "al2023@vYYYYMMDD or bottlerocket@vX.Y.Z (@latest only in the stacks local and dev)"


def _ami(value: str) -> str:
    family, _, version = value.partition("@")
    if family not in AMI_FAMILIES:
        close = nearest(family, AMI_FAMILIES)
        raise refuse(
            f"names no AMI family that this program knows ({', '.join(AMI_FAMILIES)})",
            allowed=_AMI_TEXT,
            suggestion=f"{close}@{version}" if close and version else "",
        )
    pattern = r"v20\d{6}" if family == "al2023" else r"v\d+\.\d+\.\d+"
    if version != "latest" and not re.fullmatch(pattern, version, re.ASCII):
        raise refuse(f"names no release of {family}", allowed=_AMI_TEXT)
    if family == "al2023" and version != "latest":
        try:
            date.fromisoformat(f"{version[1:5]}-{version[5:7]}-{version[7:]}")
        except ValueError:
            raise refuse(f"names no release of al2023: {version[1:]} is not a date", allowed=_AMI_TEXT) from None
    if len(value) > 30:
        raise refuse("is too long for an AMI alias", allowed="at most 30 characters")
    return value


_NETWORK_TEXT = "an IPv4 network such as 10.40.0.0/16"


def _network(value: str) -> ipaddress.IPv4Network:
    if not re.fullmatch(r"\d{1,3}(\.\d{1,3}){3}/\d{1,2}", value, re.ASCII):
        message = "is an IPv6 network" if ":" in value else "is not a network in CIDR notation"
        suggestion = f"{value}/32" if re.fullmatch(r"\d{1,3}(\.\d{1,3}){3}", value, re.ASCII) else ""
        raise refuse(message, allowed=_NETWORK_TEXT, suggestion=suggestion)
    try:
        network = ipaddress.IPv4Network(value, strict=False)
    except ValueError:
        raise refuse("has a number that no IPv4 network has", allowed=_NETWORK_TEXT) from None
    if str(network) != value:
        raise refuse("has bits set after its prefix", allowed=_NETWORK_TEXT, suggestion=str(network))
    return network


def _private_network(ranges: tuple[ipaddress.IPv4Network, ...], shortest: int, longest: int) -> Check:
    def check(value: str) -> str:
        network = _network(value)
        if not any(network.subnet_of(r) for r in ranges):
            raise refuse("is not a private range", allowed="a network within " + ", ".join(map(str, ranges)))
        if not shortest <= network.prefixlen <= longest:
            message = f"is too {'large' if network.prefixlen < shortest else 'small'}"
            raise refuse(message, allowed=f"a prefix of /{shortest} to /{longest}")
        return value

    return check


def _client_network(value: str) -> str:
    network = _network(value)
    if network.prefixlen < 8:
        raise refuse("opens the API server to a large part of the internet", allowed="networks of /8 or smaller")
    if any(network.overlaps(r) for r in (*PRIVATE_RANGES, CARRIER_RANGE)):
        raise refuse("is private: no client comes from there to a public endpoint", allowed="public IPv4 networks")
    return value


def _cron(value: str) -> str:
    fault = cron_fault(value)
    if fault:
        raise refuse(fault[0], allowed=fault[1])
    return value


def _gpu_instance_type(value: str) -> str:
    known = instance_types()
    if value not in known:
        family = value.partition(".")[0]
        sizes = [name for name in known if name.partition(".")[0] == family]
        families = dict.fromkeys(name.partition(".")[0] for name in known)
        raise refuse(
            f"is not a size of {family}" if sizes else "is not an EC2 type with NVIDIA GPUs that this program knows",
            allowed=", ".join(sizes) if sizes else "types of the families " + ", ".join(families),
            suggestion=nearest(value, sizes or known) if sizes or nearest(family, families) else "",
        )
    return value


_UNITS = {"Mi": 1, "Gi": 1024, "Ti": 1024 * 1024}


def mebibytes(quantity: str) -> int:
    """`512Mi`, `100Gi` or `2Ti` in MiB."""
    return int(quantity[:-2]) * _UNITS[quantity[-2:]]


def seconds(duration: str) -> float:
    """`1h30m` in seconds; `Never` is infinite."""
    if duration == "Never":
        return float("inf")
    units = {"s": 1, "m": 60, "h": 3600}
    return sum(int(n) * units[u] for n, u in re.findall(r"(\d+)([smh])", duration))


def _duration(pattern: str, what: str, allowed: str) -> Check:
    compiled = re.compile(pattern, re.ASCII)

    def check(value: str) -> str:
        if not compiled.fullmatch(value) or len(value) > 30:
            days = re.fullmatch(r"(\d{1,4})d", value, re.ASCII)
            raise refuse(f"is not {what}", allowed=allowed, suggestion=f"{int(days[1]) * 24}h" if days else "")
        if value != "Never" and seconds(value) > LONGEST_DURATION_HOURS * 3600:
            raise refuse("is longer than ten years", allowed=f"at most {LONGEST_DURATION_HOURS}h")
        return value

    return check


def _window(value: str) -> str:
    if seconds(value) == 0:
        raise refuse("is a window of no time, which would never apply", allowed="1m or longer")
    return value


def _budget_nodes(value: Any) -> Any:
    """Karpenter's CRD wants a string; a whole number written without quotes means the same."""
    return str(value) if type(value) is int else value


def _text(*rules: Check, allowed: str = "", schema: dict[str, Any] | None = None, before: Any = None) -> Any:
    """A strict string type that passes through `rules`; `before` sees the raw value first."""

    def is_text(value: Any) -> Any:
        value = before(value) if before else value
        if isinstance(value, str):
            return value
        raise refuse("must be a string", allowed=allowed, suggestion=_quoted(value, rules))

    json_schema = WithJsonSchema({"type": "string"} | ({"description": allowed} if allowed else {}) | (schema or {}))
    return Annotated[str, BeforeValidator(is_text), *(AfterValidator(rule) for rule in rules), json_schema]


def _quoted(value: Any, rules: Iterable[Check]) -> str:
    """The value in quotes, where it would then be right."""
    if not isinstance(value, bool | int | float):
        return ""
    text = json.dumps(value)
    try:
        for rule in rules:
            rule(text)
    except PydanticCustomError:
        return ""
    return f'"{text}", in quotes'


def _pattern(pattern: str, what: str, allowed: str, longest: int, *more: Check) -> Any:
    schema = {"pattern": f"^({pattern})$", "maxLength": longest}
    return _text(_ascii, _matching(pattern, what, allowed, longest), *more, allowed=allowed, schema=schema)


_DNS_TEXT = "lower-case letters, digits and '-', starting and ending with a letter or digit (DNS-1123)"
_DURATION_TEXT = "whole hours, minutes and seconds, such as 30s, 10m, 1h30m"
_DURATION = r"([0-9]+[smh])+"
_WINDOW = r"(([0-9]+[hm])|([0-9]+h[0-9]+m))(0s)?"

FreeText = _text(_matching(r"(?s).+", "text", "text that is not empty", 4096), allowed="text")
AnyName = _text(_matching(r"(?s).{1,253}", "a name", "a name", 253), allowed="a name")
PoolName = _pattern(_DNS_LABEL, "a pool name", _DNS_TEXT, 50)
Namespace = _pattern(_DNS_LABEL, "a namespace name", _DNS_TEXT, 63)
# The node role is named <cluster>-<region>-gpu-node, and IAM allows 64 characters for a role.
ClusterName = _pattern(_DNS_LABEL, "a cluster name", _DNS_TEXT, 40)
NodeLabelKey = _text(_ascii, _node_label_key, allowed="a label key")
LabelValue = _text(_ascii, _label_value, allowed="a label value")
TaintKey = _text(_ascii, _taint_key, allowed="a taint key")
TaintValue = _text(_ascii, _taint_value, allowed="a label value")
Ami = _text(
    _ascii,
    _ami,
    allowed=_AMI_TEXT,
    schema={"pattern": r"^(al2023@(v20\d{6}|latest)|bottlerocket@(v\d+\.\d+\.\d+|latest))$", "maxLength": 30},
)
Zone = _pattern(r"[a-z]{2}(-[a-z0-9]+)+-\d[a-z]", "an availability zone", "such as us-east-1a", 40)
Region = _pattern(r"[a-z]{2}(-[a-z]+)+-\d", "an AWS region", "such as us-east-1", 20)
GpuInstanceType = _text(
    _ascii, _gpu_instance_type, allowed="an EC2 instance type", schema={"enum": list(instance_types())}
)
InstanceTypeName = _pattern(r"[a-z0-9-]+\.[a-z0-9-]+", "an EC2 instance type", "such as m7i.large", 40)
ReservationId = _pattern(r"cr-[0-9a-f]{8,17}", "a capacity reservation id", "cr- and 8 to 17 hex digits", 20)
SubnetId = _pattern(r"subnet-[0-9a-f]{8,17}", "a subnet id", "subnet- and 8 to 17 hex digits", 24)
VpcId = _pattern(r"vpc-[0-9a-f]{8,17}", "a VPC id", "vpc- and 8 to 17 hex digits", 21)
IamPrincipalArn = _pattern(
    r"arn:aws[a-z-]*:iam::[0-9]{12}:(role|user)/[A-Za-z0-9_+=,.@/-]+",
    "the ARN of an IAM role or user",
    "such as arn:aws:iam::123456789012:role/platform",
    512,
)
RoleName = _pattern(r"[A-Za-z0-9_+=,.@-]+", "the name of an IAM role", "a name, not an ARN", 64)
_STACK = r"[A-Za-z0-9_.-]+"
StackName = _pattern(rf"{_STACK}/{_STACK}/{_STACK}", "a stack's full name", "organization/project/stack", 200)
Version = _pattern(r"[0-9]+\.[0-9]+\.[0-9]+", "a version", "X.Y.Z, without a 'v'", 20)
OperatorVersion = _pattern(r"v[0-9]+\.[0-9]+\.[0-9]+", "a GPU Operator version", "vX.Y.Z", 20)
KubernetesVersion = _pattern(r"[0-9]+\.[0-9]+", "a Kubernetes version", 'X.Y in quotes, such as "1.35"', 10)
VolumeSize = _pattern(r"[1-9][0-9]{0,4}Gi|[1-9][0-9]?Ti", "a volume size", "such as 100Gi or 1Ti", 8)
Memory = _pattern(r"[1-9][0-9]{0,6}(Mi|Gi)", "an amount of memory", "such as 512Mi or 2Gi", 9)
TagText = _text(
    _matching(r"(?s).+", "text that EC2 takes as a tag", "at least one character", 256), allowed="text in quotes"
)
Duration = _text(
    _ascii,
    _duration(_DURATION, "a duration", _DURATION_TEXT),
    allowed=_DURATION_TEXT,
    schema={"pattern": f"^{_DURATION}$"},
)
DurationOrNever = _text(
    _ascii,
    _duration(_DURATION + "|Never", "a duration", _DURATION_TEXT + ", or Never"),
    allowed=_DURATION_TEXT + ", or Never",
    schema={"pattern": f"^({_DURATION}|Never)$"},
)
WindowDuration = _text(
    _ascii,
    _duration(_WINDOW, "a window's duration", "hours and minutes, such as 8h or 1h30m"),
    _window,
    allowed="hours and minutes, such as 8h or 1h30m",
    schema={"pattern": f"^({_WINDOW})$"},
)
_NODES_TEXT = "a whole number or a percentage up to 100%"
BudgetNodes = _text(
    _ascii,
    _matching(r"(100|[0-9]{1,2})%|[0-9]+", "a number of nodes", _NODES_TEXT, 9),
    allowed=_NODES_TEXT,
    before=_budget_nodes,
    schema={"type": ["string", "integer"], "minimum": 0, "pattern": r"^((100|[0-9]{1,2})%|[0-9]+)$"},
)
Cron = _text(
    _ascii, _cron, allowed="five fields such as '0 22 * * mon-fri', in UTC, or one of " + ", ".join(CRON_WORDS)
)
VpcCidr = _text(_ascii, _private_network((*PRIVATE_RANGES, CARRIER_RANGE), 16, 22), allowed=_NETWORK_TEXT)
ServiceCidr = _text(_ascii, _private_network(PRIVATE_RANGES, 12, 24), allowed=_NETWORK_TEXT)
ClientCidr = _text(_ascii, _client_network, allowed=_NETWORK_TEXT)
