"""The strings that a stack file may hold: one annotated type for each kind, and the rule behind it.

Every refusal is a `PydanticCustomError` of type `gpuslice` whose context carries `allowed` and `suggestion`, so that
`gpuslice.problems` can print where, what, and what is allowed. The patterns are those that the Karpenter 1.14 CRDs
and Kubernetes itself enforce: what passes here is not refused later by the API server.
"""

from __future__ import annotations

import difflib
import ipaddress
import re
from collections.abc import Callable, Iterable
from datetime import date
from typing import Annotated, Any

from pydantic import AfterValidator, BeforeValidator, StringConstraints
from pydantic_core import PydanticCustomError

from gpuslice.catalog import instance_types

QUALIFIED_NAME = re.compile(
    r"([a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*/)?([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9]"
)
LABEL_VALUE = re.compile(r"(([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9])?")
POD_SECURITY_RESERVED = frozenset({"default", "kube-system", "kube-public", "kube-node-lease", "gpu-operator"})
AMI_FAMILIES = ("al2023", "bottlerocket")


def refuse(message: str, *, allowed: str = "", suggestion: str = "") -> PydanticCustomError:
    """The error that a validator raises: `message` says what is wrong, `allowed` what would be right."""
    context = {"message": message, "allowed": allowed, "suggestion": suggestion}
    return PydanticCustomError("gpuslice", "{message}", context)


def nearest(value: object, allowed: Iterable[str]) -> str:
    """The closest of `allowed` to `value`, or an empty string when none is close."""
    close = difflib.get_close_matches(str(value).lower(), {a.lower(): a for a in allowed}, n=1, cutoff=0.6)
    return next((a for a in allowed if close and a.lower() == close[0]), "")


def _matching(pattern: str, what: str, allowed: str, longest: int) -> Callable[[str], str]:
    compiled = re.compile(pattern)

    def check(value: str) -> str:
        if len(value) > longest:
            raise refuse(f"{what} has {len(value)} characters", allowed=f"at most {longest} characters")
        if not compiled.fullmatch(value):
            raise refuse(f"not {what}", allowed=allowed)
        return value

    return check


def _label_key(value: str) -> str:
    prefix, _, name = value.rpartition("/")
    if not QUALIFIED_NAME.fullmatch(value) or len(name) > 63 or len(prefix) > 253:
        raise refuse(
            "not a Kubernetes label key",
            allowed="letters, digits, '-', '_', '.', with an optional DNS prefix and '/'; name at most 63 characters",
        )
    return value


def _label_value(value: str) -> str:
    if len(value) > 63 or not LABEL_VALUE.fullmatch(value):
        raise refuse(
            "not a Kubernetes label value",
            allowed="at most 63 letters, digits, '-', '_', '.', starting and ending with a letter or digit",
        )
    return value


def _node_label_key(value: str) -> str:
    _label_key(value)
    domain = value.partition("/")[0] if "/" in value else ""
    owned = ("gpu-slicing.io", "nvidia.com", "karpenter.sh", "karpenter.k8s.aws", "kubernetes.io", "k8s.io")
    if domain and any(domain == o or domain.endswith("." + o) for o in owned):
        raise refuse(
            f"labels of '{domain}' are set by Kubernetes, Karpenter, NVIDIA or this program, not by hand",
            allowed=f"any domain but {', '.join(owned)}",
        )
    return value


def _taint_key(value: str) -> str:
    _label_key(value)
    if value in {"nvidia.com/gpu", "gpu-slicing.io/pool"}:
        raise refuse(f"the taint '{value}' is derived for every pool that needs it", allowed="any other key")
    return value


def _ami(value: str) -> str:
    family, at, version = value.partition("@")
    allowed = "al2023@vYYYYMMDD or bottlerocket@vX.Y.Z (or @latest, in the stacks local and dev only)"
    if not at or family not in AMI_FAMILIES:
        close = nearest(family, AMI_FAMILIES)
        raise refuse("not an AMI alias", allowed=allowed, suggestion=f"{close}@{version}" if close and version else "")
    pattern = r"v\d{8}" if family == "al2023" else r"v\d+\.\d+\.\d+"
    if version != "latest" and not re.fullmatch(pattern, version):
        raise refuse(f"not a release of {family}", allowed=allowed)
    if family == "al2023" and version != "latest":
        try:
            date.fromisoformat(f"{version[1:5]}-{version[5:7]}-{version[7:]}")
        except ValueError:
            raise refuse(f"'{version}' is not a date", allowed=allowed) from None
    if len(value) > 30:
        raise refuse("the alias is too long", allowed="at most 30 characters")
    return value


def _network(value: str) -> str:
    try:
        network = ipaddress.ip_network(value)
    except ValueError as error:
        raise refuse(str(error), allowed="an IPv4 network such as 10.40.0.0/16") from None
    if network.version != 4:
        raise refuse("not an IPv4 network", allowed="an IPv4 network such as 10.40.0.0/16")
    return value


PRIVATE_RANGES = tuple(
    ipaddress.ip_network(r) for r in ("10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16", "100.64.0.0/10")
)


def _private_network(value: str, shortest: int, longest: int) -> str:
    network = ipaddress.IPv4Network(_network(value))
    if not any(network.subnet_of(r) for r in PRIVATE_RANGES if isinstance(r, ipaddress.IPv4Network)):
        raise refuse("not a private range", allowed="within " + ", ".join(map(str, PRIVATE_RANGES)))
    if not shortest <= network.prefixlen <= longest:
        raise refuse(f"/{network.prefixlen} does not fit", allowed=f"a prefix of /{shortest} to /{longest}")
    return value


def _client_network(value: str) -> str:
    if ipaddress.IPv4Network(_network(value)).prefixlen < 8:
        raise refuse("opens the API server to a large part of the internet", allowed="networks of /8 or smaller")
    return value


CRON_FIELDS: tuple[tuple[str, int, int, tuple[str, ...]], ...] = (
    ("minute", 0, 59, ()),
    ("hour", 0, 23, ()),
    ("day of month", 1, 31, ()),
    ("month", 1, 12, ("jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec")),
    ("day of week", 0, 6, ("sun", "mon", "tue", "wed", "thu", "fri", "sat")),
)
CRON_WORDS = ("@annually", "@yearly", "@monthly", "@weekly", "@daily", "@midnight", "@hourly")


def _cron_number(text: str, low: int, high: int, names: tuple[str, ...]) -> int | None:
    number = names.index(text.lower()) + low if text.lower() in names else int(text) if text.isdecimal() else None
    return number if number is not None and low <= number <= high else None


def _cron_part(part: str, low: int, high: int, names: tuple[str, ...]) -> bool:
    span, slash, step = part.partition("/")
    if slash and not (step.isdecimal() and int(step) > 0):
        return False
    if span in {"*", "?"}:
        return True
    start, dash, end = span.partition("-")
    numbers = [_cron_number(text, low, high, names) for text in ([start, end] if dash else [start])]
    known = [n for n in numbers if n is not None]
    return len(known) == len(numbers) and known == sorted(known)


def _cron(value: str) -> str:
    if value in CRON_WORDS:
        return value
    fields = value.split()
    allowed = f"five fields (minute hour day-of-month month day-of-week), in UTC, or one of {', '.join(CRON_WORDS)}"
    if len(fields) != len(CRON_FIELDS):
        raise refuse(f"a schedule has 5 fields, this has {len(fields)}", allowed=allowed)
    for text, (name, low, high, names) in zip(fields, CRON_FIELDS, strict=True):
        if not all(_cron_part(part, low, high, names) for part in text.split(",")):
            raise refuse(f"'{text}' is not a {name}", allowed=f"{low} to {high}, '*', ranges, lists and steps")
    return value


def _gpu_instance_type(value: str) -> str:
    if value not in instance_types():
        allowed = "the EC2 types of gpuslice/catalog/instance_types.csv"
        raise refuse(
            "not a known NVIDIA GPU instance type",
            allowed=allowed,
            suggestion=nearest(value, instance_types()),
        )
    return value


def _budget_nodes(value: Any) -> Any:
    """Karpenter's CRD wants a string; a whole number written without quotes means the same."""
    return str(value) if type(value) is int else value


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


def _checked(*checks: Callable[[str], str], before: Callable[[Any], Any] | None = None) -> Any:
    """A strict string type that passes through `checks`; `before` sees the raw value first."""
    first = (BeforeValidator(before),) if before else ()
    return Annotated[str, StringConstraints(strict=True), *(AfterValidator(c) for c in checks), *first]


_DNS_LABEL = r"[a-z0-9]([-a-z0-9]*[a-z0-9])?"
_DNS_TEXT = "lower-case letters, digits and '-', starting and ending with a letter or digit (DNS-1123)"
_DURATION_TEXT = "whole hours, minutes and seconds such as 30s, 10m, 1h30m"

PoolName = _checked(_matching(_DNS_LABEL, "a pool name", _DNS_TEXT, 50))
Namespace = _checked(_matching(_DNS_LABEL, "a namespace name", _DNS_TEXT, 63))
# The node role is named <cluster>-<region>-gpu-node, and IAM allows 64 characters for a role.
ClusterName = _checked(_matching(_DNS_LABEL, "a cluster name", _DNS_TEXT, 40))
NodeLabelKey = _checked(_node_label_key)
LabelValue = _checked(_label_value)
TaintKey = _checked(_taint_key)
Ami = _checked(_ami)
Zone = _checked(_matching(r"[a-z]{2}(-[a-z0-9]+)+-\d[a-z]", "an availability zone", "such as us-east-1a", 40))
Region = _checked(_matching(r"[a-z]{2}(-[a-z]+)+-\d", "an AWS region", "such as us-east-1", 20))
GpuInstanceType = _checked(_gpu_instance_type)
InstanceTypeName = _checked(_matching(r"[a-z0-9-]+\.[a-z0-9-]+", "an EC2 instance type", "such as m7i.large", 40))
ReservationId = _checked(_matching(r"cr-[0-9a-f]{8,17}", "a capacity reservation", "cr- and 8 to 17 hex digits", 20))
SubnetId = _checked(_matching(r"subnet-[0-9a-f]{8,17}", "a subnet id", "subnet- and 8 to 17 hex digits", 24))
VpcId = _checked(_matching(r"vpc-[0-9a-f]{8,17}", "a VPC id", "vpc- and 8 to 17 hex digits", 21))
IamPrincipalArn = _checked(
    _matching(
        r"arn:aws[a-z-]*:iam::\d{12}:(role|user)/[\w+=,.@/-]+",
        "the ARN of an IAM role or user",
        "such as arn:aws:iam::123456789012:role/platform",
        512,
    )
)
RoleName = _checked(_matching(r"[\w+=,.@-]+", "the name of an IAM role", "a name, not an ARN", 64))
StackName = _checked(_matching(r"[\w.-]+/[\w.-]+/[\w.-]+", "a stack's full name", "organization/project/stack", 200))
Version = _checked(_matching(r"\d+\.\d+\.\d+", "a version", "X.Y.Z, without a 'v'", 20))
OperatorVersion = _checked(_matching(r"v\d+\.\d+\.\d+", "a GPU Operator version", "vX.Y.Z", 20))
KubernetesVersion = _checked(_matching(r"\d+\.\d+", "a Kubernetes version", 'X.Y in quotes, such as "1.35"', 10))
VolumeSize = _checked(_matching(r"[1-9]\d{0,4}Gi|[1-9]\d?Ti", "a volume size", "such as 100Gi or 1Ti", 8))
Memory = _checked(_matching(r"[1-9]\d{0,6}(Mi|Gi)", "an amount of memory", "such as 512Mi or 2Gi", 9))
Duration = _checked(_matching(r"([0-9]+[smh])+", "a duration", _DURATION_TEXT, 30))
DurationOrNever = _checked(_matching(r"([0-9]+[smh])+|Never", "a duration", _DURATION_TEXT + ", or Never", 30))
WindowDuration = _checked(
    _matching(
        r"(([0-9]+[hm])|([0-9]+h[0-9]+m))(0s)?",
        "a window's duration",
        "hours and minutes such as 8h or 1h30m",
        30,
    )
)
BudgetNodes = _checked(
    _matching(r"(100|[0-9]{1,2})%|[0-9]+", "a number of nodes", "a whole number or a percentage up to 100%", 9),
    before=_budget_nodes,
)
Cron = _checked(_cron)
VpcCidr = _checked(lambda value: _private_network(value, 16, 22))
ServiceCidr = _checked(lambda value: _private_network(value, 12, 24))
ClientCidr = _checked(_client_network)
