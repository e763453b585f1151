"""Who writes to a cluster: this program, to the cluster that it means, and nobody beside the owner of an object."""

from __future__ import annotations

import re
from collections.abc import Iterator

from policies import facts, karpenter
from policies.items import PATCH
from policies.model import Config, Finding, Item, Note, Rule, Stack
from policies.view import View

COMMANDS = ("command:local:Command", "command:remote:Command")
NODE = "/Node"
OWNED = ("nvidia.com/ClusterPolicy", karpenter.NODE_POOL, karpenter.NODE_CLASS, karpenter.OVERLAY)

# The engine's names of the provider that it makes itself: pkg/resource/deploy/providers/provider.go DefaultName.
_DEFAULT_PROVIDER = re.compile(r"default(_\d+_\d+_\d+.*)?")
_CHANGING = re.compile(r"\bkubectl\b[^\n;&|]*?\s(?:patch|label|annotate|edit|rollout\s+restart)\s[^\n;&|]*")
_OWNED_WORDS = re.compile(r"clusterpolic|nodepool|nodeoverlay|ec2nodeclass|ec2nc|nvidia|gpu-operator")


def in_cluster_explicit_provider(stack: Stack, config: Config) -> Iterator[Finding]:
    if not stack.of(*facts.CLUSTERS):
        return
    found = {item.resource.urn: item for item in stack.items if item.resource.type.startswith("kubernetes:")}
    for item in found.values():
        if _DEFAULT_PROVIDER.fullmatch(item.resource.provider):
            yield (
                Note("goes to kubectl's current context and not to the cluster of this program; allowed: a provider"),
                item,
            )


def no_patched_objects(item: Item, config: Config) -> Iterator[str]:
    if item.kind != PATCH:
        yield from _changing_commands(item.data)
    elif _changes_owned(item):
        yield "changes an object that Helm, the operator or another resource owns; allowed: the chart's values"


def _changing_commands(command: View) -> Iterator[str]:
    for field in ("create", "update", "delete"):
        text = command[field].text().replace("\\\n", " ")
        for match in _CHANGING.finditer(text):
            if _OWNED_WORDS.search(match[0]):
                yield f"runs `{' '.join(match[0].split())[:80]}`; allowed: the chart's values, labels of the NodePool"


def _changes_owned(item: Item) -> bool:
    version, _, kind = item.resource.type.removeprefix("kubernetes:").removeprefix("core/").rpartition(":")
    group = item.data["apiVersion"].text(version).rpartition("/")[0]
    patched = f"{group}/{item.data['kind'].text(kind.removesuffix('Patch'))}"
    if patched == NODE:
        labels = item.data.at("metadata", "labels")
        return labels[facts.PLUGIN_LABEL].present or labels[facts.MIG_LABEL].present
    if patched == facts.CONFIG_MAP:
        data = item.data["data"]
        return any(facts.documents(data, fits) for fits in (facts.is_plugin_config, facts.is_mig_config))
    return patched in OWNED


RULES = (
    Rule(
        id="in-cluster-explicit-provider",
        description="A program that makes the cluster names the provider of every Kubernetes resource.",
        why="The default provider is kubectl's current context, which is another cluster, or none, when this one is "
        "made.",
        remedy="Give the resource, or its component, a kubernetes.Provider with this cluster's kubeconfig.",
        url="https://www.pulumi.com/docs/iac/concepts/resources/providers/#explicit-provider-configuration",
        severity="critical",
        check=in_cluster_explicit_provider,
    ),
    Rule(
        id="no-patched-objects",
        description="No program patches, labels or restarts what Karpenter, the GPU Operator or a chart owns.",
        why="A patch beside the owner is invisible in previews. The next release of the chart undoes it, or fights "
        "with it; a label on a live node cuts its GPUs anew under running pods.",
        remedy="Say it in the chart's values, the ConfigMap or the labels of the NodePool.",
        url="https://github.com/NVIDIA/gpu-operator/issues/1692",
        severity="high",
        check=no_patched_objects,
        kinds=(PATCH, *COMMANDS),
    ),
)
