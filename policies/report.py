"""Verdicts for people and for programs."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from policies.judge import Verdict


@dataclass(frozen=True)
class Violation:
    """What one policy says of one resource. `urn` is "" for a manifest, and where it speaks of the whole stack."""

    policy: str
    level: str
    resource: str
    message: str
    remedy: str = ""
    urn: str = ""

    @classmethod
    def of(cls, verdict: Verdict) -> Violation:
        resource = str(verdict.item) if verdict.item else ""
        remedy = "" if verdict.unknown else verdict.rule.remedy
        return cls(verdict.rule.id, verdict.level, resource, str(verdict), remedy, verdict.urn)

    def as_json(self) -> dict[str, str]:
        return {"policy": self.policy, "level": self.level, "resource": self.resource, "message": self.message}


@dataclass(frozen=True)
class Report:
    """The verdict over a program: how much was judged, and every violation."""

    policies: int
    resources: int
    violations: tuple[Violation, ...]

    @property
    def refused(self) -> bool:
        """Whether a mandatory policy is violated."""
        return any(v.level == "mandatory" for v in self.violations)

    def lines(self) -> list[str]:
        """The report for a person: one line where all is well."""
        judged = f"{self.policies} policies on {self.resources} resources"
        if not self.violations:
            return [f"Policies: no violation ({judged})."]
        mandatory = sum(v.level == "mandatory" for v in self.violations)
        counts = f"{mandatory} mandatory, {len(self.violations) - mandatory} advisory"
        return [f"Policies: {counts} ({judged})", *_by_policy(self.violations)]

    def as_json(self) -> dict[str, Any]:
        return {"violations": [violation.as_json() for violation in self.violations]}


def _by_policy(violations: Iterable[Violation]) -> list[str]:
    """Mandatory ones first; the remedy of a policy stands once, below all that it found."""
    groups: dict[tuple[bool, str], list[Violation]] = {}
    for violation in violations:
        groups.setdefault((violation.level != "mandatory", violation.policy), []).append(violation)
    lines = []
    for (_, policy), found in sorted(groups.items()):
        lines.append(f"  {found[0].level} {policy}")
        lines += [f"    {message}" for message in dict.fromkeys(v.message for v in found)]
        lines += [f"    -> {remedy}" for remedy in dict.fromkeys(v.remedy for v in found if v.remedy)]
    return lines
