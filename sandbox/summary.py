"""What runs in the sandbox after a deployment, and what it would cost: read from the cluster, not from the settings."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from textwrap import wrap
from typing import Any

from gpuslice.catalog import HOURS_PER_MONTH, InstanceType, instance_types
from gpuslice.catalog.prices import PriceTable
from gpuslice.pools import POOL_LABEL
from sandbox.client import Cluster

Manifest = Mapping[str, Any]
_NO_BREAK = "\N{NO-BREAK SPACE}"


@dataclass(frozen=True)
class PoolSummary:
    """One pool as it stands: `nodes` counts by instance type, `slices` are allocatable and used by resource name."""

    pool: str
    nodes: Mapping[str, int]
    slices: Mapping[str, tuple[int, int]]
    pods: int
    running: int

    def usd_per_hour(self, prices: PriceTable) -> Decimal | None:
        """What the nodes cost together; None where one has no price."""
        return _price(self.nodes, prices)

    def whole_gpus(self, prices: PriceTable) -> tuple[str, int] | None:
        """The nodes that the same pods would need with a GPU each: an instance type and a number, the cheapest."""
        types = [instance_types()[name] for name in self.nodes]
        priced = [(price, t) for t in types if (price := prices.of(t.name)) is not None]
        if not priced or not self.pods:
            return None
        _, best = min(priced, key=lambda pair: pair[0] * _nodes_for(pair[1], self.pods))
        return best.name, _nodes_for(best, self.pods)


def _nodes_for(instance_type: InstanceType, pods: int) -> int:
    return math.ceil(pods / instance_type.devices)


def _price(nodes: Mapping[str, int], prices: PriceTable) -> Decimal | None:
    total = Decimal(0)
    for name, count in nodes.items():
        price = prices.of(name)
        if price is None:
            return None
        total += price * count
    return total


def summarize(cluster: Cluster) -> list[PoolSummary]:
    """One entry for each pool that has nodes or pods, by name."""
    nodes = [n for n in cluster.list("v1", "Node") if POOL_LABEL in n["metadata"]["labels"]]
    return pool_summaries(nodes, cluster.list("v1", "Pod"))


def pool_summaries(nodes: Sequence[Manifest], pods: Sequence[Manifest]) -> list[PoolSummary]:
    """The same from plain Nodes and Pods."""
    wanting = [(str(_pool(p)), p) for p in pods if _pool(p) and _gpu_requests(p)]
    names = {n["metadata"]["labels"][POOL_LABEL] for n in nodes} | {name for name, _ in wanting}
    return [
        _summary(
            name,
            [n for n in nodes if n["metadata"]["labels"][POOL_LABEL] == name],
            [p for pool, p in wanting if pool == name],
        )
        for name in sorted(names)
    ]


def _pool(pod: Manifest) -> str | None:
    value = pod["spec"].get("nodeSelector", {}).get(POOL_LABEL)
    return None if value is None else str(value)


def _summary(name: str, nodes: Sequence[Manifest], pods: Sequence[Manifest]) -> PoolSummary:
    types = Counter(n["metadata"]["labels"]["node.kubernetes.io/instance-type"] for n in nodes)
    offered: Counter[str] = Counter()
    for node in nodes:
        offered.update({k: v for k, v in _gpu(node["status"].get("allocatable", {})).items() if v})
    used: Counter[str] = Counter()
    for pod in pods:
        if pod["spec"].get("nodeName"):
            used.update(_gpu_requests(pod))
    running = sum(p["status"].get("phase") == "Running" for p in pods)
    return PoolSummary(name, dict(types), {r: (offered[r], used[r]) for r in offered}, len(pods), running)


def _gpu_requests(pod: Manifest) -> dict[str, int]:
    total: Counter[str] = Counter()
    for container in pod["spec"]["containers"]:
        total.update(_gpu(container.get("resources", {}).get("requests", {})))
    return {name: count for name, count in total.items() if count}


def _gpu(resources: Mapping[str, Any]) -> dict[str, int]:
    return {name: int(value) for name, value in resources.items() if name.startswith("nvidia.com/")}


def lines(summaries: Iterable[PoolSummary], left_out: Mapping[str, int], region: str, prices: PriceTable) -> list[str]:
    """The summary of a stack in `region` for a person, at most 100 columns wide."""
    found = list(summaries)
    text = [line for summary in found for line in _pool_lines(summary, prices)]
    if not found:
        text.append("No pod asks for a slice, so no GPU node was bought.")
    text.append(f"Prices: on demand, {prices.region}, {prices.date}; a month has {HOURS_PER_MONTH} hours.")
    if region != prices.region:
        text.append(f"The stack is in {region}, whose prices are not known here: they differ from these.")
    text += ["", "The control plane and Karpenter are real; AWS, the nodes and the GPU Operator's work are simulated."]
    if left_out:
        total = sum(left_out.values())
        text.append(f"Not deployed here, {total} {'resource' if total == 1 else 'resources'} of a deployment to AWS:")
        text += _wrapped(f"{count} {_kind(token)}" for token, count in left_out.items())
    return text


def _wrapped(words: Iterable[str]) -> list[str]:
    joined = ", ".join(word.replace(" ", _NO_BREAK) for word in words)
    return [line.replace(_NO_BREAK, " ") for line in wrap(joined, 100, initial_indent="  ", subsequent_indent="  ")]


def _kind(token: str) -> str:
    """The resource's type without its package; a Helm release says what it is."""
    return "Helm release" if "helm.sh" in token else token.split("/")[-1].split(":")[-1]


def _pool_lines(summary: PoolSummary, prices: PriceTable) -> list[str]:
    nodes = ", ".join(f"{count} x {name}" for name, count in summary.nodes.items()) or "none"
    text = [f"Pool {summary.pool}", f"  pods     {summary.running}/{summary.pods} running", f"  nodes    {nodes}"]
    text += [f"  slices   {name}: {used} of {offered} used" for name, (offered, used) in summary.slices.items()]
    price, whole = summary.usd_per_hour(prices), summary.whole_gpus(prices)
    if price is not None and summary.nodes:
        text.append(f"  cost     {_money(price)}")
    if price is None:
        missing = [name for name in summary.nodes if prices.of(name) is None]
        text.append(f"  cost     not known: no price in {prices.region} for {', '.join(missing)}")
    elif whole is not None:
        text.append(_comparison(price, *whole, prices))
    return text


def _comparison(price: Decimal, name: str, count: int, prices: PriceTable) -> str:
    alone = (prices.of(name) or Decimal(0)) * count
    saved = round(100 * (1 - price / alone)) if alone else 0
    verdict = f"{saved} % less with slices" if saved > 0 else "slices save nothing here"
    return f"  against  {_money(alone)} for a whole GPU for each pod ({count} x {name}): {verdict}"


def _money(per_hour: Decimal) -> str:
    return f"${per_hour:,.3f}/h, ${per_hour * HOURS_PER_MONTH:,.2f}/month"
