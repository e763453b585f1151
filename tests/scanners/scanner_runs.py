"""What checkov and kubernetes-validate say of Kubernetes manifests, as findings."""

from __future__ import annotations

import json
import os
import subprocess
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from scanner_waivers import Finding

from gpuslice.text import dump_all

DRIVER = Path(__file__).with_name("scanner_driver.py")
Manifest = dict[str, Any]


class ScanFailed(Exception):
    """The scanner itself failed, or did not look at everything."""


@dataclass(frozen=True)
class Checked:
    """checkov's word. `judged`: the kinds that a check was for."""

    findings: list[Finding]
    judged: set[str]


@dataclass(frozen=True)
class Validated:
    """kubernetes-validate's word. `versions`: of the schemas that were met; `unknown`: what has no schema."""

    findings: list[Finding]
    versions: set[str]
    unknown: set[str]


def checkov(python: Path, manifests: Mapping[str, Sequence[Manifest]]) -> Checked:
    """`manifests` by stack. Each namespace is looked at alone.

    To checkov any NetworkPolicy covers the pods of every namespace, and the same object of two stacks is one.
    """
    groups = [(s, group) for s, objects in manifests.items() for group in _by_namespace(objects)]
    with tempfile.TemporaryDirectory() as folder:
        folders = [_written(Path(folder, str(number)), group) for number, (_, group) in enumerate(groups)]
        reports = _drive(python, "checkov", folders)
    findings: list[Finding] = []
    judged: set[str] = set()
    for (stack, group), report in zip(groups, reports, strict=True):
        _refuse_gaps(stack, group, report["summary"])
        failed, passed = report["results"]["failed_checks"], report["results"]["passed_checks"]
        findings += [Finding(f["check_id"], f["resource"], stack, f["check_name"]) for f in failed]
        judged |= {result["resource"].partition(".")[0] for result in failed + passed}
    return Checked(findings, judged)


def validate(python: Path, manifests: Mapping[str, Sequence[Manifest]], versions: Mapping[str, str]) -> Validated:
    """`manifests` and `versions` of Kubernetes by stack."""
    named = [(stack, manifest) for stack, objects in manifests.items() for manifest in objects]
    verdicts = _drive(python, "schemas", [(versions[stack], manifest) for stack, manifest in named])
    findings = [
        Finding("kubernetes-validate", _name(manifest), stack, verdict["wrong"])
        for (stack, manifest), verdict in zip(named, verdicts, strict=True)
        if "wrong" in verdict
    ]
    met, unknown = ({v[key] for v in verdicts if key in v} for key in ("checked", "unknown"))
    return Validated(findings, met, unknown)


def _drive(python: Path, scanner: str, given: Any) -> Any:
    """Nothing of the user's environment reaches a scanner: a variable could switch checks off."""
    environment = {"PATH": os.environ.get("PATH", os.defpath)}
    command = [str(python), str(DRIVER), scanner]
    done = subprocess.run(command, env=environment, input=json.dumps(given), capture_output=True, text=True)
    if done.returncode != 0:
        raise ScanFailed(f"{scanner} ended with {done.returncode}\n{done.stderr[-2000:]}")
    return json.loads(done.stdout)


def _by_namespace(manifests: Sequence[Manifest]) -> list[list[Manifest]]:
    groups: dict[str | None, list[Manifest]] = {}
    for manifest in manifests:
        groups.setdefault(manifest["metadata"].get("namespace"), []).append(manifest)
    return list(groups.values())


def _written(folder: Path, manifests: Sequence[Manifest]) -> str:
    folder.mkdir()
    (folder / "manifests.yaml").write_text(dump_all(manifests), encoding="utf-8")
    return str(folder)


def _refuse_gaps(stack: str, manifests: Sequence[Manifest], summary: Mapping[str, int]) -> None:
    """checkov passes over a file that it takes for a Helm template, and over checks that an annotation names."""
    # It looks at the pods of a workload on their own.
    wanted = len(manifests) + sum(_has_pods(m) for m in manifests)
    if summary["resource_count"] != wanted or summary["skipped"] or summary["parsing_errors"]:
        names = ", ".join(map(_name, manifests))
        raise ScanFailed(f"{stack}: checkov left something out, {wanted} expected: {summary}\n{names}")


def _has_pods(manifest: Manifest) -> bool:
    return "containers" in manifest.get("spec", {}).get("template", {}).get("spec", {})


def _name(manifest: Manifest) -> str:
    """As checkov names it: `Deployment.team-vision.inference`."""
    metadata = manifest["metadata"]
    return f"{manifest['kind']}.{metadata.get('namespace', 'default')}.{metadata['name']}"
