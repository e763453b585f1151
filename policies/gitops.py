"""Helm charts that Flux or Argo CD installs, in the form of Pulumi's Helm releases."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import yaml

from policies.view import MISSING, View

FLUX = "helm.toolkit.fluxcd.io/HelmRelease"
ARGO = "argoproj.io/Application"


def charts(kind: str, document: View) -> Iterator[dict[str, Any]]:
    """The charts of an object: `chart`, `version` and `values`. Raises what a View raises, and YAMLError."""
    if kind == FLUX:
        chart = document.at("spec", "chart", "spec")
        yield _release(chart["chart"], chart["version"], document.at("spec", "values"))
    elif kind == ARGO:
        spec = document["spec"]
        for source in (spec["source"], *spec["sources"].items()):
            if source["chart"].present:
                yield _release(source["chart"], source["targetRevision"], _argo_values(source["helm"]))


def _argo_values(helm: View) -> View:
    """`valuesObject` wins over the text in `values` (Argo CD user guide, "Helm")."""
    if helm["valuesObject"].present or not helm["values"].present:
        return helm["valuesObject"]
    return View(yaml.safe_load(helm["values"].text()))


def _release(chart: View, version: View, values: View) -> dict[str, Any]:
    """What is missing stays missing: the rules know what a chart does without a value."""
    fields = {"chart": chart.value, "version": version.value, "values": values.value}
    return {name: value for name, value in fields.items() if value is not MISSING}
