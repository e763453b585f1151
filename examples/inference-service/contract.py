"""What this program reads of a platform stack, and the choice of a slice from it.

The contract, version 1, is the platform's stack outputs `contractVersion`, `clusterName`, `region`, `kubeconfig` and
`gpuPools`. Everything here is plain data in and out, so it can be copied into any program.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

CONTRACT_VERSION = 1
HOURS_PER_MONTH = 720
ISOLATIONS = ("none", "hardware")


class ContractError(Exception):
    """The platform offers nothing that fits, or is not what this program knows. The text is for the user."""


@dataclass(frozen=True)
class Slice:
    """One kind of slice of one pool.

    `per_node` and `usd_per_hour` are by instance type; a type without a list price is missing from the latter.
    """

    pool: str
    resource: str
    memory_mib: int
    isolation: str
    max_nodes: int
    per_node: Mapping[str, int]
    usd_per_hour: Mapping[str, float]
    node_selector: Mapping[str, str]
    tolerations: tuple[Mapping[str, str], ...]

    @property
    def at_most(self) -> int:
        """How many the pool can have when every node is there."""
        return self.max_nodes * max(self.per_node.values())

    def usd_per_month(self, replicas: int) -> dict[str, float] | None:
        """List price of so many slices for 720 hours, by the cheapest and the dearest node; None without a price."""
        if not self.usd_per_hour:
            return None
        prices = self.usd_per_hour.values()
        hours = replicas * HOURS_PER_MONTH
        return {"least": round(min(prices) * hours, 2), "most": round(max(prices) * hours, 2)}

    def __str__(self) -> str:
        return f"{self.pool} offers {self.resource} ({self.memory_mib} MiB, isolation {self.isolation})"


@dataclass(frozen=True)
class Wanted:
    """What each replica needs. An empty `pool` means any; `isolation: none` takes hardware isolation too."""

    replicas: int
    memory_mib: int
    isolation: str
    pool: str = ""

    def __post_init__(self) -> None:
        if self.replicas < 1:
            raise ContractError(f"replicas is {self.replicas}. Allowed: 1 or more.")
        if self.isolation not in ISOLATIONS:
            raise ContractError(f"isolation is {self.isolation!r}. Allowed: {', '.join(ISOLATIONS)}.")


def slices(stack: str, outputs: Mapping[str, Any]) -> list[Slice]:
    """Every kind of slice that the platform offers. Raises ContractError when its outputs are not version 1."""
    version = outputs.get("contractVersion")
    if version != CONTRACT_VERSION:
        found = "exports no contractVersion" if version is None else f"has contract version {version:g}"
        raise ContractError(f"stack {stack} {found}. This program reads version {CONTRACT_VERSION} of gpu-slicing.")
    return [
        _slice(name, pool, resource) for name, pool in outputs["gpuPools"].items() for resource in pool["resources"]
    ]


def _slice(name: str, pool: Mapping[str, Any], resource: Mapping[str, Any]) -> Slice:
    return Slice(
        pool=name,
        resource=resource["name"],
        memory_mib=int(resource["memoryMiB"]),
        isolation=pool["isolation"],
        max_nodes=int(pool["maxNodes"]),
        per_node={instance_type: int(count) for instance_type, count in resource["slicesPerNode"].items()},
        usd_per_hour=dict(resource["pricePerSliceHour"]),
        node_selector=dict(pool["nodeSelector"]),
        tolerations=tuple(dict(t) for t in pool["tolerations"]),
    )


def choose(offered: Iterable[Slice], wanted: Wanted) -> Slice:
    """The cheapest slice that fits; the smallest where prices are equal or unknown. Raises ContractError."""
    known = list(offered)
    pools = sorted({s.pool for s in known})
    if wanted.pool and wanted.pool not in pools:
        raise ContractError(f"the platform has no pool {wanted.pool!r}. Allowed: {', '.join(pools)}.")
    candidates = [s for s in known if wanted.pool in ("", s.pool)]
    fitting = [s for s in candidates if not _why_not(s, wanted)]
    if not fitting:
        reasons = "\n".join(f"- {s}: {_why_not(s, wanted)}" for s in candidates)
        raise ContractError(f"no slice of the platform fits.\n{reasons}")
    return min(fitting, key=lambda s: (min(s.usd_per_hour.values(), default=float("inf")), s.memory_mib, s.pool))


def _why_not(offer: Slice, wanted: Wanted) -> str:
    """Why the slice cannot be used; empty when it can."""
    if wanted.isolation == "hardware" and offer.isolation != "hardware":
        return "its neighbours are not isolated by hardware"
    if offer.memory_mib < wanted.memory_mib:
        return f"less than the {wanted.memory_mib} MiB that a replica needs"
    if offer.at_most < wanted.replicas:
        return f"at most {offer.at_most} of them for {wanted.replicas} replicas"
    return ""
