"""What somebody who acts on a plan for services should know, the dearest mistake first."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from decimal import Decimal

from gpuslice.planner.amounts import listed
from gpuslice.planner.service_plan import ServicePlan, ServicePool, largest

_NAMES = 5
_RATES = 12


def warnings(made: ServicePlan, pools: Sequence[ServicePool], rates: Mapping[str, Decimal]) -> list[str]:
    """One sentence each, without its full stop."""
    found = [*_unplaced(made), *_measured(made), *_processes(pools), *_headroom(made, rates), *_idle(made, pools)]
    return [*found, *_unknown_room(made), *_before(made), *_uses(made), *_prices(made), *_proof(made)]


def _names(names: Sequence[str]) -> str:
    return listed(names, _NAMES)


def _unplaced(made: ServicePlan) -> list[str]:
    names = [entry.service.name for entry in made.unplaced]
    return [f"served by no slice, and in no figure: {_names(names)}"] if names else []


def _measured(made: ServicePlan) -> list[str]:
    name = made.hardware.kind.name
    return [
        (
            f"rates and latencies are those of the machine that was measured: unless that was a {name} with the same"
            " driver and software, measure on one before you rely on them"
        )
    ]


def _processes(pools: Sequence[ServicePool]) -> list[str]:
    several = {p.service for pool in pools for node in pool.nodes for p in node.placed if p.processes > 1}
    if not several:
        return []
    return [
        (
            f"a slice holds one pod, and a pod has one process unless it starts several: {_names(sorted(several))} must"
            " start MPS and as many processes as the placement says, in the pod; maxProcesses: 1 plans without that"
        )
    ]


def _headroom(made: ServicePlan, rates: Mapping[str, Decimal]) -> list[str]:
    """Given against asked, the tightest first."""
    services = sorted(made.offered.services, key=lambda s: (rates[s.name] / s.rate, s.name))
    if not services:
        return []
    told = [
        f"{s.name} {float(rates[s.name]):.6g} for {float(s.rate):.6g} (+{float(rates[s.name] / s.rate - 1):.1%})"
        for s in services[:_RATES]
    ]
    more = f" and {len(services) - _RATES} more with more room" if len(services) > _RATES else ""
    return [f"requests per second that are given for those asked, the tightest first: {', '.join(told)}{more}"]


def _idle(made: ServicePlan, pools: Sequence[ServicePool]) -> list[str]:
    devices, nodes = made.hardware.kind.devices, [node for pool in pools for node in pool.nodes]
    idle = devices * len(nodes) - sum(len({placed.gpu for placed in node.placed}) for node in nodes)
    return [f"{idle} of {devices * len(nodes)} GPUs hold nothing: a node has {devices} of them"] if idle else []


def _unknown_room(made: ServicePlan) -> list[str]:
    without = [s.name for s in made.offered.services if not (s.cpu_milli and s.ram_mib)]
    return [f"no CPU or memory is given for {_names(without)}: nodes may be too small for it"] if without else []


def _before(made: ServicePlan) -> list[str]:
    top = largest(made.offered)
    missing = [s.name for s, row in zip(made.offered.services, made.offered.rows, strict=True) if top not in row]
    if not missing:
        return []
    return [f"{_names(missing)} has no {top} in time: before, its best smaller slice stands for a whole GPU"]


def _uses(made: ServicePlan) -> list[str]:
    if not made.offered.services:
        return []
    return [
        (
            "use of a GPU is in compute slices: p95 those that hold a service, mean those that the rates asked for keep"
            " busy; profiles tell of no peaks"
        )
    ]


def _prices(made: ServicePlan) -> list[str]:
    options, found = made.request.options, []
    if made.unpriced:
        found.append(f"no price in {options.region}, so not a candidate: {', '.join(made.unpriced)}")
    if options.basis != "on-demand":
        found.append(
            f"prices are {options.price_factor:g} of on-demand, as you say: {options.basis} prices are not known here"
        )
    return found


def _proof(made: ServicePlan) -> list[str]:
    cost, bound = made.after.cost, made.after.bound
    if cost <= bound:
        return []
    how = "in the time given" if made.exact else "by the greedy method"
    return [f"not proven the cheapest {how}: the proven bound is {(cost - bound) / cost:.1%} lower"]
