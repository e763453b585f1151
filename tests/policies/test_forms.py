"""Somebody else writes the same objects in other forms: each is judged alike."""

from __future__ import annotations

from typing import Any

import pytest
import yaml
from base import Edit, drop, put, resources_of

from policies.judge import Judge
from policies.pack import RULES

TEMPLATE = ("spec", "template", "spec")
FAULTS = {
    "gpu-pool-taint": ("pool-shared", drop("pool-shared", *TEMPLATE, "taints")),
    "gpu-pool-has-limits": ("pool-whole", put("pool-whole", "spec", "limits", {"cpu": 100})),
    "overlay-matches-config": ("overlay-mig", put("overlay-mig", "spec", "capacity", "nvidia.com/mig-1g.5gb", 56)),
    "nodeclass-imds": ("class-shared", put("class-shared", "spec", "metadataOptions", "httpPutResponseHopLimit", 2)),
    "one-slice-per-container": (
        "server",
        put("server", *TEMPLATE, "containers", 0, "resources", {"limits": {"nvidia.com/gpu.shared": 2}}),
    ),
}


def grouped(name: str, form: str) -> Edit:
    """The resource as one object of a ConfigGroup, of a YAML text, or of a List in one."""

    def edit(program: dict[str, Any]) -> None:
        entry = program[name]
        manifest = entry["properties"]
        forms = {
            "objects": {"objs": [{"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "x"}}, manifest]},
            "yaml": {"yaml": f"---\n{yaml.safe_dump(manifest)}---\n"},
            "several yamls": {"yaml": ["", yaml.safe_dump(manifest)]},
            "list": {"yaml": yaml.safe_dump({"apiVersion": "v1", "kind": "List", "items": [manifest]})},
        }
        entry["type"] = "kubernetes:yaml/v2:ConfigGroup" if form != "several yamls" else "kubernetes:yaml:ConfigGroup"
        entry["properties"] = forms[form]

    return edit


@pytest.mark.parametrize("form", ["objects", "yaml", "several yamls", "list"])
@pytest.mark.parametrize("rule", FAULTS)
def test_an_object_in_a_group_is_judged_as_one_of_its_own(rule, form):
    name, fault = FAULTS[rule]
    assert {v.rule.id for v in Judge(RULES).all(resources_of(fault, grouped(name, form)))} == {rule}


@pytest.mark.parametrize("form", ["objects", "yaml", "several yamls", "list"])
@pytest.mark.parametrize("name", ["pool-shared", "overlay-mig", "class-shared", "plugin-configs", "server", "quota"])
def test_a_compliant_object_in_a_group_is_accepted(name, form):
    assert [f"{v.rule.id}: {v}" for v in Judge(RULES).all(resources_of(grouped(name, form)))] == []


@pytest.mark.parametrize("token", ["helm.sh/v4:Chart", "helm.sh/v3:Chart", "helm.sh/v3:Release"])
def test_a_chart_of_every_kind_is_judged(token):
    def edit(program: dict[str, Any]) -> None:
        program["gpu-operator"]["type"] = f"kubernetes:{token}"
        program["gpu-operator"]["properties"]["values"]["driver"] = {"enabled": True}

    assert {v.rule.id for v in Judge(RULES).all(resources_of(edit))} == {"operator-host-driver"}
