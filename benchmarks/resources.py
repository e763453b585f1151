"""500 resources that every rule of the pack accepts, and slips that single rules refuse, as data for every engine.

They have the form of `gpuslice preview --json`, which `gpuslice check` reads, and which is plain JSON to conftest.
"""

from __future__ import annotations

import copy
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import yaml

COUNT = 500
COPIES = 10
BASE = Path(__file__).resolve().parents[1] / "tests" / "policies" / "base.yaml"
# What a team has many of; everything else of the base program is there once.
_MANY = ("EC2NodeClass", "NodeOverlay", "NodePool", "Deployment", "Job", "LaunchTemplate")
# Where one object names another.
_NAMING_KEYS = ("name", "values")
_DOCUMENTS = ("policy", "assumeRolePolicy")
_TRUST = {"Effect": "Allow", "Principal": {"Service": "lambda.amazonaws.com"}, "Action": "sts:AssumeRole"}
Entry = dict[str, Any]
"""One resource as base.yaml writes it."""


@dataclass(frozen=True)
class Slip:
    """A copy of a resource of the base program with one property changed, or taken away where the value is None."""

    rule: str
    of: str
    path: tuple[str | int, ...]
    value: Any


_TEMPLATE = ("spec", "template", "spec")
_GENERAL = ("pool-general", (*_TEMPLATE, "requirements"))
_TAINT = {"key": "nvidia.com/gpu", "value": "true", "effect": "NoSchedule"}
_SLICE = {"limits": {"nvidia.com/gpu.shared": 1}}
SLIPS = (
    Slip("gpu-pool-taint", "pool-shared", (*_TEMPLATE, "taints"), []),
    Slip("gpu-pool-taint", "pool-whole", (*_TEMPLATE, "taints", 0, "value"), "present"),
    Slip("gpu-pool-taint", "pool-bottle", (*_TEMPLATE, "taints", 0, "effect"), "PreferNoSchedule"),
    Slip("general-pool-excludes-gpus", *_GENERAL, []),
    Slip(
        "general-pool-excludes-gpus",
        *_GENERAL,
        [{"key": "karpenter.k8s.aws/instance-category", "operator": "NotIn", "values": ["p", "g"]}],
    ),
    Slip(
        "general-pool-excludes-gpus",
        *_GENERAL,
        [
            {"key": "karpenter.k8s.aws/instance-cpu", "operator": "Gt", "values": ["150"]},
            {"key": "kubernetes.io/arch", "operator": "In", "values": ["amd64"]},
        ],
    ),
    Slip("distinct-taints", "pool-shared", (*_TEMPLATE, "taints"), [_TAINT, {**_TAINT, "value": "yes"}]),
    Slip("distinct-taints", "pool-whole", (*_TEMPLATE, "startupTaints"), [_TAINT]),
    Slip("gpu-pool-has-limits", "pool-shared", ("spec", "limits"), {"cpu": "1000", "nvidia.com/gpu": 8}),
    Slip("gpu-pool-has-limits", "pool-mig", ("spec", "limits"), {"nodes": 2}),
    Slip("ami-pinned", "class-shared", ("spec", "amiSelectorTerms", 0, "alias"), "al2023@latest"),
    Slip("ami-pinned", "class-bottle", ("spec", "amiSelectorTerms"), [{"tags": {"team": "vision"}}]),
    Slip("nodeclass-imds", "class-shared", ("spec", "metadataOptions", "httpTokens"), "optional"),
    Slip("nodeclass-imds", "class-bottle", ("spec", "metadataOptions", "httpPutResponseHopLimit"), 2),
    Slip("nodeclass-volumes-encrypted", "class-shared", ("spec", "blockDeviceMappings", 1, "ebs", "encrypted"), False),
    Slip("nodeclass-volumes-encrypted", "class-bottle", ("spec", "blockDeviceMappings", 1), None),
    Slip("nodeclass-no-public-address", "class-shared", ("spec", "associatePublicIPAddress"), None),
    Slip("nodeclass-no-public-address", "class-bottle", ("spec", "associatePublicIPAddress"), True),
    Slip("gpu-toleration-needs-gpu", "web", (*_TEMPLATE, "tolerations"), [{"operator": "Exists"}]),
    Slip("gpu-workload-tolerates-taint", "server", (*_TEMPLATE, "tolerations"), None),
    Slip(
        "gpu-workload-tolerates-taint",
        "server",
        (*_TEMPLATE, "tolerations"),
        [{"key": "nvidia.com/gpu", "value": "present", "effect": "NoSchedule"}],
    ),
    Slip(
        "one-slice-per-container",
        "server",
        (*_TEMPLATE, "containers", 0, "resources", "limits", "nvidia.com/gpu.shared"),
        "2",
    ),
    Slip("one-slice-per-pod", "server", (*_TEMPLATE, "containers", 1, "resources"), _SLICE),
    Slip(
        "one-slice-per-pod",
        "server",
        (*_TEMPLATE, "initContainers", 0),
        {"name": "cache", "image": "example.com/cache:1", "restartPolicy": "Always", "resources": _SLICE},
    ),
)


def compliant() -> list[Entry]:
    """The base program, copies of its pools and workloads, and resources that no rule wants, up to COUNT."""
    base = _base()
    entries = [*base.values(), *(entry for number in range(COPIES) for entry in _copies(base, number))]
    plain = [_plain(number) for number in range(COUNT - len(entries))]
    return _all_recorded([*entries, *plain])


def violating() -> list[Entry]:
    """The base program and the slips."""
    base = _base()
    return _all_recorded([*base.values(), *(_slipped(base, number) for number in range(len(SLIPS)))])


def expected() -> set[tuple[str, str]]:
    """What must be found in `violating`: rule and resource."""
    return {(slip.rule, f"slip-{number}") for number, slip in enumerate(SLIPS)}


def document(entries: Sequence[Entry]) -> str:
    """The file that every engine reads."""
    return json.dumps({"schemaVersion": 1, "resources": list(entries)})


@cache
def _base() -> dict[str, Entry]:
    return {entry["name"]: entry for entry in yaml.safe_load(BASE.read_text(encoding="utf-8"))}


def _copies(base: Mapping[str, Entry], number: int) -> list[Entry]:
    """The pools and workloads once more: every name in it that means a part of it gets the number."""
    originals = [entry for entry in base.values() if entry["type"].rpartition(":")[2] in _MANY]
    known = {str(entry["properties"].get("metadata", {}).get("name", "")) for entry in originals}
    own = {entry["name"] for entry in originals}
    return [
        {
            **entry,
            "name": f"{entry['name']}-{number}",
            "properties": _renamed(entry["properties"], known, f"-{number}"),
            "dependencies": [f"{d}-{number}" if d in own else d for d in entry.get("dependencies", ())],
        }
        for entry in originals
    ]


def _renamed(value: Any, known: set[str], suffix: str, key: str = "") -> Any:
    if isinstance(value, dict):
        return {k: _renamed(v, known, suffix, k) for k, v in value.items()}
    if isinstance(value, list):
        return [_renamed(v, known, suffix, key) for v in value]
    return f"{value}{suffix}" if key in _NAMING_KEYS and value in known else value


def _plain(number: int) -> Entry:
    """A resource as any program has many of."""
    name = f"plain-{number}"
    metadata = {"name": name, "namespace": "web", "labels": {"app": name}}
    ports = [{"port": 80, "targetPort": 8080}]
    container = {"name": "web", "image": f"example.com/{name}:1", "ports": [{"containerPort": 8080}]}
    pod = {"metadata": {"labels": {"app": name}}, "spec": {"containers": [container]}}
    kinds: tuple[tuple[str, dict[str, Any]], ...] = (
        (
            "kubernetes:core/v1:ConfigMap",
            {"metadata": metadata, "data": {"settings.yaml": f"name: {name}\nlevel: info\n"}},
        ),
        ("kubernetes:core/v1:Service", {"metadata": metadata, "spec": {"selector": {"app": name}, "ports": ports}}),
        ("kubernetes:core/v1:ServiceAccount", {"metadata": metadata, "automountServiceAccountToken": False}),
        ("kubernetes:apps/v1:Deployment", {"metadata": metadata, "spec": {"replicas": 2, "template": pod}}),
        ("aws:iam/role:Role", {"name": name, "assumeRolePolicy": {"Version": "2012-10-17", "Statement": [_TRUST]}}),
        ("aws:s3/bucketV2:BucketV2", {"bucket": name, "tags": {"team": "web"}}),
    )
    type_, properties = kinds[number % len(kinds)]
    return {"name": name, "type": type_, "properties": properties}


def _slipped(base: Mapping[str, Entry], number: int) -> Entry:
    slip = SLIPS[number]
    entry = copy.deepcopy(base[slip.of])
    entry["name"] = entry["properties"]["metadata"]["name"] = f"slip-{number}"
    place = entry["properties"]
    *way, last = slip.path
    for key in way:
        place = place[key]
    if slip.value is None:
        del place[last]
    else:
        place[last] = slip.value
    return entry


def _all_recorded(entries: Sequence[Entry]) -> list[Entry]:
    urns = {entry["name"]: f"urn:pulumi:prod::research::{entry['type']}::{entry['name']}" for entry in entries}
    return [_recorded(entry, urns) for entry in entries]


def _recorded(entry: Entry, urns: Mapping[str, str]) -> Entry:
    options = entry.get("options", {})
    return {
        "urn": urns[entry["name"]],
        "type": entry["type"],
        "name": entry["name"],
        "inputs": _inputs(entry["properties"]),
        "provider": f"provider::{entry['provider']}" if "provider" in entry else "",
        "parent": entry.get("parent", ""),
        "dependencies": [urns[name] for name in entry.get("dependencies", ())],
        "options": {
            "protect": options.get("protect", False),
            "customTimeouts": {"delete": f"{options.get('deleteTimeout', 0)}s"},
        },
    }


def _inputs(properties: Mapping[str, Any]) -> dict[str, Any]:
    """The properties as the engine sends them: IAM documents are texts."""
    known: dict[str, Any] = _with_known(properties)
    return {k: json.dumps(v) if k in _DOCUMENTS and isinstance(v, dict) else v for k, v in known.items()}


def _with_known(value: Any, key: str = "") -> Any:
    """The base program after its first update.

    The SDK's server gives up a rule that meets an unknown value, so the engines would not do the same work.
    """
    if value == "<unknown>":
        return ["subnet-0a1", "subnet-0b2"] if key.endswith("Ids") else f"arn:aws:example:us-east-1:111122223333:{key}"
    if isinstance(value, dict):
        return {k: _with_known(v, k) for k, v in value.items()}
    return [_with_known(v, key) for v in value] if isinstance(value, list) else value
