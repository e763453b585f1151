"""That the other rules can read what they judge."""

from __future__ import annotations

from collections.abc import Iterator

from policies import facts, karpenter
from policies.items import HELM, ODD
from policies.model import Config, Item, Rule

KUBERNETES_OBJECTS = "https://kubernetes.io/docs/concepts/overview/working-with-objects/"


def readable_resources(item: Item, config: Config) -> Iterator[str]:
    if item.kind == ODD:
        yield f"is no Kubernetes object with apiVersion and kind: {str(item.data.value)[:80]}"
    elif item.kind == karpenter.NODE_POOL:
        facts.gpu_pool(item)
    elif item.kind == karpenter.OVERLAY:
        facts.overlay(item)
    elif item.kind == karpenter.NODE_CLASS:
        facts.is_bottlerocket(item)
    elif item.kind == facts.CONFIG_MAP:
        facts.documents(item.data["data"], facts.is_plugin_config)
    elif facts.chart_name(item) == facts.OPERATOR_CHART:
        for operand in ("devicePlugin", "migManager"):
            facts.documents(item.data.at("values", operand, "config", "data"), facts.is_plugin_config)


RULES = (
    Rule(
        id="readable-resources",
        description="Karpenter's objects and the sharing configurations have a shape that can be judged.",
        why="What cannot be read cannot be judged, and would pass the rules that look at several resources together.",
        remedy="Write the field in the form that its schema asks for.",
        url=KUBERNETES_OBJECTS,
        severity="high",
        check=readable_resources,
        kinds=(karpenter.NODE_POOL, karpenter.OVERLAY, karpenter.NODE_CLASS, facts.CONFIG_MAP, HELM, ODD),
    ),
)
