"""The GPU Operator's Helm values and ConfigMaps, derived from the pools (chart v26.7)."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from gpuslice.pools import EXCLUSIVE_CONFIG, GPU, MANAGED_BY, Pool
from gpuslice.settings import Mig, Settings
from gpuslice.sharing import mig
from gpuslice.sharing.plugin import catalogue, mig_strategy
from gpuslice.text import dump

Manifest = dict[str, Any]
NAMESPACE = "gpu-operator"
PLUGIN_CONFIG_MAP = "time-slicing-config-fine"
MIG_CONFIG_MAP = "mig-layouts"
MIG_CONFIG_KEY = "config.yaml"
# Host drivers on the AL2023 NVIDIA AMI; a mode change of an Ampere GPU may need a reboot (gpu-operator issue 1606).
REBOOT_GPUS = ("A100-40GB", "A100-80GB")


def config_maps(pools: Sequence[Pool]) -> list[Manifest]:
    """The device plugin's and the MIG manager's configurations, named by content."""
    plugin = {name: dump(config) for name, config in catalogue(pools).items()}
    maps = [_config_map(PLUGIN_CONFIG_MAP, plugin)]
    mig_pools = [p for p in pools if isinstance(p.settings.sharing, Mig)]
    if mig_pools:
        maps.append(_config_map(MIG_CONFIG_MAP, {MIG_CONFIG_KEY: dump(mig_config(mig_pools))}))
    return maps


def mig_config(mig_pools: Sequence[Pool]) -> dict[str, Any]:
    """Every layout that fits the pools' GPU models, so that a label of a node that is being replaced still resolves."""
    gpus = list(dict.fromkeys(p.gpu for p in mig_pools))
    used = [(p.gpu, p.settings.sharing.layout) for p in mig_pools if isinstance(p.settings.sharing, Mig)]
    return mig.mig_parted_config(gpus, used)


def _config_map(name: str, data: Mapping[str, str]) -> Manifest:
    metadata = {
        "name": name,
        "namespace": NAMESPACE,
        "labels": dict(MANAGED_BY),
    }
    return {"apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata, "data": dict(data)}


def values(settings: Settings, pools: Sequence[Pool]) -> dict[str, Any]:
    """Helm values: what the pools need, then the user's own, merged last and deep."""
    derived: dict[str, Any] = {
        # The AL2023 and Bottlerocket NVIDIA AMIs bring driver and toolkit; no driver container exists for them.
        "driver": {"enabled": False},
        "toolkit": {"enabled": False},
        "mig": {"strategy": mig_strategy(pools)},
        "daemonsets": {"tolerations": tolerations(pools)},
        "node-feature-discovery": {"worker": {"tolerations": tolerations(pools)}},
        "devicePlugin": {
            "enabled": not _all_bottlerocket(pools),
            "config": {"create": False, "name": PLUGIN_CONFIG_MAP, "default": EXCLUSIVE_CONFIG},
        },
        "migManager": _mig_manager(pools),
        "dcgmExporter": _dcgm_exporter(settings.monitoring.enabled),
    }
    if needs_cdi(pools):
        derived["cdi"] = {"enabled": True}
    return merge(derived, settings.gpu_operator.values)


def needs_cdi(pools: Iterable[Pool]) -> bool:
    """Whether some nodes' default runtime is runc: there, only CDI brings a container the GPU that it was given."""
    return any(p.strict and not p.bottlerocket for p in pools)


def tolerations(pools: Sequence[Pool]) -> list[dict[str, str]]:
    """For every taint of every pool: the list replaces the chart's own, so the GPU taint is restated first."""
    keys = dict.fromkeys([(GPU, "NoSchedule")] + [(t["key"], t["effect"]) for p in pools for t in p.taints])
    return [{"key": key, "operator": "Exists", "effect": effect} for key, effect in keys]


def _all_bottlerocket(pools: Sequence[Pool]) -> bool:
    return bool(pools) and all(p.bottlerocket for p in pools)


def _mig_manager(pools: Sequence[Pool]) -> dict[str, Any]:
    mig_pools = [p for p in pools if isinstance(p.settings.sharing, Mig)]
    if not mig_pools:
        return {"enabled": False}
    manager: dict[str, Any] = {
        "enabled": True,
        "config": {"create": False, "name": MIG_CONFIG_MAP, "default": "all-disabled"},
    }
    if any(p.gpu.mig_gpu in REBOOT_GPUS for p in mig_pools):
        manager["env"] = [{"name": "WITH_REBOOT", "value": "true"}]
    return manager


def _dcgm_exporter(monitored: bool) -> dict[str, Any]:
    """One series for each pod that shares a GPU (KUBERNETES_VIRTUAL_GPUS); its values stay those of the whole GPU."""
    exporter: dict[str, Any] = {"enabled": True, "serviceMonitor": {"enabled": monitored}}
    if monitored:
        exporter["env"] = [{"name": "KUBERNETES_VIRTUAL_GPUS", "value": "true"}]
    return exporter


def efa_values(pools: Sequence[Pool]) -> dict[str, Any]:
    """Helm values of the EFA device plugin: it must tolerate what the operands tolerate."""
    return {"tolerations": tolerations(pools)}


def merge(base: Mapping[str, Any], over: Mapping[str, Any]) -> dict[str, Any]:
    """`over` laid over `base`: maps merge key by key, everything else is replaced."""
    merged = dict(base)
    for key, value in over.items():
        below = merged.get(key)
        merged[key] = merge(below, value) if isinstance(below, Mapping) and isinstance(value, Mapping) else value
    return merged
