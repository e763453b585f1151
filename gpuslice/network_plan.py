"""How a VPC's addresses are divided among availability zones."""

from __future__ import annotations

import ipaddress
from dataclasses import dataclass

MAX_ZONES = 4
SMALLEST_PUBLIC_PREFIX = 27
"""An Application Load Balancer wants a /27 (Elastic Load Balancing user guide, subnets for your load balancer)."""

# EKS refuses subnets in these zones (EKS user guide, "VPC and subnet considerations"). By id, not name: the name
# of a zone differs between accounts.
ZONES_WITHOUT_EKS = ("cac1-az3", "use1-az3", "usw1-az2")


@dataclass(frozen=True)
class ZoneSubnets:
    """The two networks of one zone, as CIDRs."""

    private: str
    public: str


def plan_subnets(cidr: str, zones: int) -> tuple[ZoneSubnets, ...]:
    """One private and one public network for each of `zones` zones (1 to 4) of a VPC of /16 to /22.

    A zone owns a fixed quarter of the VPC whatever the number of zones, so that adding a zone later leaves the
    subnets of the others, and the nodes in them, alone. The first half of the quarter is private, because on EKS
    each pod takes a VPC address; the public network holds NAT gateways and load balancers only. The rest is free.
    ValueError for another prefix or number of zones.
    """
    vpc = ipaddress.IPv4Network(cidr)
    if not 16 <= vpc.prefixlen <= 22:
        raise ValueError(f"the VPC {cidr} is a /{vpc.prefixlen}; allowed are /16 to /22")
    if not 1 <= zones <= MAX_ZONES:
        raise ValueError(f"{zones} availability zones; allowed are 1 to {MAX_ZONES}")
    quarters = list(vpc.subnets(prefixlen_diff=2))[:zones]
    return tuple(_zone(quarter, vpc.prefixlen) for quarter in quarters)


def _zone(quarter: ipaddress.IPv4Network, vpc_prefix: int) -> ZoneSubnets:
    private, rest = quarter.subnets(prefixlen_diff=1)
    public = next(rest.subnets(new_prefix=min(vpc_prefix + 8, SMALLEST_PUBLIC_PREFIX)))
    return ZoneSubnets(str(private), str(public))


def choose_zones(available: list[str], count: int) -> list[str]:
    """The first `count` of a region's zone names, in order; ValueError when the region has fewer."""
    if len(available) < count:
        names = ", ".join(sorted(available)) or "none"
        raise ValueError(f"{count} availability zones are wanted, the region offers EKS {len(available)}: {names}")
    return sorted(available)[:count]
