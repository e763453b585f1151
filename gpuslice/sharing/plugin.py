"""The closed catalogue of device plugin configurations.

A node's label must always resolve: the plugin of a node whose label names no entry never starts. The catalogue
therefore holds every configuration up to the usual bound, whatever the pools of today use; a pool that changes gets
another label, and no entry that a live node may still name is ever edited or removed.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from gpuslice.pools import EXCLUSIVE_CONFIG, Pool, replicas_config_name
from gpuslice.settings import Mps, Replicated
from gpuslice.sharing import mps, time_slicing

COMMON_REPLICAS = range(2, 17)


def catalogue(pools: Iterable[Pool]) -> dict[str, dict[str, Any]]:
    """Configuration name to plugin configuration: the common ones, and those that `pools` use beyond them."""
    configs: dict[str, dict[str, Any]] = {EXCLUSIVE_CONFIG: {"version": "v1"}}
    for replicas in COMMON_REPLICAS:
        configs |= dict(_both_names("time-slicing", replicas))
    for sharing in (pool.settings.sharing for pool in pools):
        if isinstance(sharing, Mps):
            for replicas in (*COMMON_REPLICAS, sharing.replicas):
                configs |= dict(_both_names("mps", replicas))
        elif isinstance(sharing, Replicated):
            configs |= dict(_both_names("time-slicing", sharing.replicas))
    return configs


def _both_names(mode: str, replicas: int) -> Iterable[tuple[str, dict[str, Any]]]:
    module = mps if mode == "mps" else time_slicing
    for rename in (True, False):
        yield replicas_config_name(mode, replicas, rename), module.config(replicas, rename)


def mig_strategy(pools: Iterable[Pool]) -> str:
    """The device plugin's MIG strategy for the cluster: `mixed`, or `none` where a pool uses MPS.

    `mixed` names every profile as a resource of its own, so that a slice can never pass for a GPU; the plugin refuses
    it together with MPS.
    """
    return "none" if any(isinstance(p.settings.sharing, Mps) for p in pools) else "mixed"
