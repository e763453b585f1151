"""Every rule of the pack, by domain. A rule that is not listed here does not run; a test compares."""

from __future__ import annotations

from policies.model import Rule
from policies.rules import (
    changes,
    cluster,
    disruption,
    iam,
    isolation,
    lifecycle,
    limits,
    mig,
    nodes,
    operands,
    operator,
    overlays,
    ownership,
    queue,
    shape,
    sharing,
    taints,
    tenancy,
    workloads,
)

DOMAINS = (
    changes,
    cluster,
    disruption,
    iam,
    isolation,
    lifecycle,
    limits,
    mig,
    nodes,
    operands,
    operator,
    overlays,
    ownership,
    queue,
    shape,
    sharing,
    taints,
    tenancy,
    workloads,
)
RULES: tuple[Rule, ...] = tuple(rule for domain in DOMAINS for rule in domain.RULES)
