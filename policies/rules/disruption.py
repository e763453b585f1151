"""When Karpenter may take nodes with GPUs away: what runs there is long to start and dear to lose."""

from __future__ import annotations

import re
from collections.abc import Iterator
from math import ceil, isinf

from policies import facts, karpenter
from policies.model import Config, Item, Option, Rule
from policies.view import View

DISRUPTION = "https://karpenter.sh/docs/concepts/disruption/"
WHEN_EMPTY = "WhenEmpty"
CAPACITY_TYPE = "karpenter.sh/capacity-type"
_NODES = re.compile(r"(?P<number>\d+)(?P<percent>%?)")

# Defaults of the NodePool's CRD, Karpenter 1.14 (pkg/apis/v1/nodepool.go).
DEFAULT_POLICY = "WhenEmptyOrUnderutilized"
DEFAULT_CONSOLIDATE_AFTER = "0s"
DEFAULT_BUDGET_NODES = "10%"
DEFAULT_EXPIRE_AFTER = "720h"


def gpu_pool_consolidation(item: Item, config: Config) -> Iterator[str]:
    if facts.is_gpu_pool(item) and _moves_pods(item):
        after = _consolidate_after(item)
        if after < config["minMinutes"] * 60:
            yield (
                f"moves pods to other nodes after {after:.0f} s; allowed: consolidationPolicy {WHEN_EMPTY}, "
                f"or consolidateAfter of at least {config['minMinutes']}m"
            )


def _moves_pods(item: Item) -> bool:
    """Whether consolidation ends pods, and not empty nodes alone. A pool of fixed size is not consolidated."""
    policy = item.data.at("spec", "disruption", "consolidationPolicy").text(DEFAULT_POLICY)
    return policy != WHEN_EMPTY and not item.data.at("spec", "replicas").present


def _consolidate_after(item: Item) -> float:
    return item.data.at("spec", "disruption", "consolidateAfter").seconds(DEFAULT_CONSOLIDATE_AFTER)


def gpu_pool_idle(item: Item, config: Config) -> Iterator[str]:
    if not facts.is_gpu_pool(item) or item.data.at("spec", "replicas").present or _is_paid_anyhow(item):
        return
    after = _consolidate_after(item)
    if after > config["maxMinutes"] * 60:
        shown = "for ever" if isinf(after) else f"for {after:.0f} s"
        yield f"keeps empty nodes {shown}; allowed: consolidateAfter of at most {config['maxMinutes']}m"


def _is_paid_anyhow(item: Item) -> bool:
    """Whether the pool takes reserved capacity alone, which costs the same when it is idle."""
    named = [r for r in karpenter.requirements(item) if r["key"].text() == CAPACITY_TYPE]
    return any(r["operator"].text() == "In" and set(r["values"].texts()) == {"reserved"} for r in named)


def gpu_pool_budget(item: Item, config: Config) -> Iterator[str]:
    if not facts.is_gpu_pool(item):
        return
    spec = item.data["spec"]
    size = (spec["replicas"] if spec["replicas"].present else spec.at("limits", "nodes")).number()
    # Without a limit the pool may have one node, so more than one at once may be all.
    most = ceil((size or 1) * config["maxPercent"] / 100)
    for reason in ("Drifted", "Underutilized") if _moves_pods(item) else ("Drifted",):
        allowed = [budget["nodes"].text(DEFAULT_BUDGET_NODES) for budget in _budgets(item) if _applies(budget, reason)]
        if not any(_within(nodes, config["maxPercent"], most) for nodes in allowed):
            shown = ", ".join(allowed) or "any number"
            share = f"{config['maxPercent']}%, or {most} by number"
            yield f"lets {shown} of its nodes go at once as {reason}; allowed: {share}"


def _budgets(item: Item) -> list[View]:
    """An empty list is no default: then nothing limits Karpenter."""
    given = item.data.at("spec", "disruption", "budgets")
    return given.items() if given.present else [View({})]


def _applies(budget: View, reason: str) -> bool:
    """Whether a budget always holds for a reason. One with a schedule limits at its own time only."""
    always = not budget["schedule"].present and not budget["duration"].present
    return always and (not budget["reasons"].present or reason in budget["reasons"].texts())


def _within(nodes: str, percent: int, most: int) -> bool:
    match = _NODES.fullmatch(nodes)
    return match is not None and int(match["number"]) <= (percent if match["percent"] else most)


def gpu_pool_expiry(item: Item, config: Config) -> Iterator[str]:
    if not facts.is_gpu_pool(item):
        return
    spec = item.data.at("spec", "template", "spec")
    after = spec["expireAfter"].seconds(DEFAULT_EXPIRE_AFTER)
    if after < config["minHours"] * 3600:
        yield f"replaces nodes after {after:.0f} s; allowed: expireAfter of at least {config['minHours']}h, or Never"
    if not isinf(after) and not spec["terminationGracePeriod"].present:
        yield "lets nodes expire without a terminationGracePeriod: one pod can keep an expired node for ever"


RULES = (
    Rule(
        id="gpu-pool-consolidation",
        description="A pool of GPUs is consolidated when nodes are empty, or only after a while.",
        why="Karpenter's defaults move pods as soon as they would fit on fewer nodes. A GPU node starts in minutes and "
        "a model loads for minutes, so without a delay every finished pod restarts its neighbours.",
        remedy="Set spec.disruption.consolidationPolicy to WhenEmpty, or consolidateAfter to 5m or more.",
        url=DISRUPTION,
        severity="medium",
        check=gpu_pool_consolidation,
        kinds=(karpenter.NODE_POOL,),
        options={"minMinutes": Option("integer", 5, "the least consolidateAfter where pods may be moved", 1, 10080)},
    ),
    Rule(
        id="gpu-pool-idle",
        description="A pool of GPUs gives empty nodes back within hours, unless all its capacity is reserved.",
        why="consolidateAfter: Never keeps an empty node, and its bill, until it expires; with expireAfter: Never, for "
        "ever.",
        remedy="Set spec.disruption.consolidateAfter to minutes, such as 10m.",
        url=DISRUPTION,
        severity="medium",
        check=gpu_pool_idle,
        kinds=(karpenter.NODE_POOL,),
        options={"maxMinutes": Option("integer", 240, "the longest that an empty node may stay", 1, 10080)},
    ),
    Rule(
        id="gpu-pool-budget",
        description="The budgets of a pool of GPUs keep most of its nodes when it drifts or is consolidated.",
        why="A new image or label drifts every node of a pool at once. Karpenter takes the strictest budget that holds "
        "at the time; without one, all nodes go together, and capacity for their successors may be missing.",
        remedy='Write a budget without a schedule, such as {nodes: "1", reasons: [Drifted, Underutilized]}.',
        url=DISRUPTION,
        severity="high",
        check=gpu_pool_budget,
        kinds=(karpenter.NODE_POOL,),
        options={"maxPercent": Option("integer", 50, "the most nodes that may go at once, in percent", 1, 100)},
    ),
    Rule(
        id="gpu-pool-expiry",
        description="Nodes of a pool of GPUs live a day or longer, and a drain of an expired one ends.",
        why="Expiry ignores the budgets and pods that ask not to be disrupted. Without terminationGracePeriod such a "
        "pod, or a PodDisruptionBudget, holds the node in its drain without end.",
        remedy="Set expireAfter to 24h or more, or Never, and terminationGracePeriod in spec.template.spec.",
        url=DISRUPTION,
        severity="high",
        check=gpu_pool_expiry,
        kinds=(karpenter.NODE_POOL,),
        options={"minHours": Option("integer", 24, "the least expireAfter", 1, 8760)},
    ),
)
