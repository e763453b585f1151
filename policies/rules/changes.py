"""What an update would do to what exists: rules on the steps of a preview.

The engine tells an analyzer what a resource should be and never what it was, so these rules cannot run in it. They run
on `pulumi preview --json`: in `make up` and `make preview`, before anything is changed, and in `gpuslice check`.
"""

from __future__ import annotations

from collections.abc import Iterator

from policies import facts, karpenter
from policies.items import items_of, stack_of
from policies.model import Change, Config, Finding, Item, Note, Option, Rule

CLUSTERS = ("eks:index:Cluster", "aws:eks/cluster:Cluster")
_ENDINGS = ("delete", "delete-replaced")
_REPLACEMENTS = ("replace", "create-replacement", "delete-replaced")
PREVIEW = "https://www.pulumi.com/docs/iac/cli/commands/pulumi_preview/"


def no_replacement_without_break_glass(changes: list[Change], config: Config) -> Iterator[Finding]:
    seen = set()
    for change in changes:
        item = _item(change)
        if change.op not in _REPLACEMENTS or item is None or item.resource.urn in seen:
            continue
        if _is_precious(item) and not {item.name, item.resource.name} & set(config["breakGlass"]):
            seen.add(item.resource.urn)
            yield Note("would be replaced: all that runs on it ends"), item


def _item(change: Change) -> Item | None:
    """What the change is about, as it is now where it exists."""
    resource = change.old or change.new
    found = items_of(resource) if resource else []
    return found[0] if found else None


def _is_precious(item: Item) -> bool:
    return item.kind in CLUSTERS or (item.kind == karpenter.NODE_POOL and any(facts.readable([item], facts.gpu_pool)))


def used_configs_kept(changes: list[Change], config: Config) -> Iterator[Finding]:
    old = stack_of(c.old for c in changes if c.old is not None)
    new = stack_of(c.new for c in changes if c.new is not None and c.op not in _ENDINGS)
    for configs, label in ((facts.plugin_configs, "plugin"), (facts.mig_configs, "mig")):
        before, after = configs(old), configs(new)
        for pool in facts.pools(old):
            name = getattr(pool, label)
            if name in before and name not in after:
                yield Note(f"has nodes with the configuration {name}, which the update takes away"), pool.item
            elif name in before and after[name].value != before[name].value:
                yield Note(f"has nodes with the configuration {name}, which the update changes in place"), pool.item


RULES = (
    Rule(
        id="no-replacement-without-break-glass",
        description="An update replaces no cluster and no pool of GPUs.",
        why="A replaced cluster ends everything on it, and collides with itself on fixed names; a replaced NodePool "
        "drains every node of the pool.",
        remedy="Make the change in a new cluster or pool and move over, or name the resource in breakGlass of this "
        "rule for this one update.",
        url=PREVIEW,
        severity="critical",
        check=no_replacement_without_break_glass,
        changes=True,
        options={"breakGlass": Option("list", (), "names of clusters and NodePools that may be replaced now")},
    ),
    Rule(
        id="used-configs-kept",
        description="An update keeps, unchanged, every sharing configuration that a running pool's nodes name.",
        why="The device plugin of a node whose label names no configuration never starts again, and an edited one "
        "applies whenever the plugin happens to restart (NVIDIA/gpu-operator issues 1144 and 412).",
        remedy="Add a configuration under a new name, change the pool's label to it, and take the old one away when no "
        "node names it any more.",
        url="https://github.com/NVIDIA/gpu-operator/issues/1144",
        severity="high",
        check=used_configs_kept,
        changes=True,
    ),
)
