"""That the other rules can read what they judge."""

from __future__ import annotations

from collections.abc import Iterator

from policies import facts, karpenter
from policies.items import ODD
from policies.model import Config, Item, Rule

KUBERNETES_OBJECTS = "https://kubernetes.io/docs/concepts/overview/working-with-objects/"


def readable_resources(item: Item, config: Config) -> Iterator[str]:
    if item.kind == ODD:
        yield f"is no Kubernetes object with apiVersion and kind: {str(item.data.value)[:80]}"
    elif item.kind == facts.CONFIG_MAP:
        layouts = item.data.at("data", "config.yaml")
        if not layouts.unknown:
            layouts.text()
    else:
        facts.overlay(item)


RULES = (
    Rule(
        id="readable-resources",
        description="Kubernetes objects, and Karpenter's overlays among them, have a shape that can be judged.",
        why="What cannot be read cannot be judged, and would pass the rules that look at several resources together. "
        "Other kinds are read by rules of their own.",
        remedy="Write the field in the form that its schema asks for.",
        url=KUBERNETES_OBJECTS,
        severity="high",
        check=readable_resources,
        kinds=(karpenter.OVERLAY, facts.CONFIG_MAP, ODD),
    ),
)
