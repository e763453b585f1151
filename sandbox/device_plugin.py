"""What the NVIDIA device plugin makes of its configuration file.

A model of its own: it reads text and shares nothing with the code that writes it, so that it can disagree.
Sources: NVIDIA/k8s-device-plugin v0.20.0, `api/config/v1/{config,replicas,resources,sharing,flags}.go`,
`internal/rm`, `cmd/config-manager`. Error texts are the plugin's.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Any

import yaml

WHOLE_GPU = "nvidia.com/gpu"
MIG_PREFIX = "nvidia.com/mig-"
SHARED_SUFFIX = ".shared"
# Without a node label and without a default, config-manager uses this empty configuration.
FALLBACK = "empty"

_PREFIX = "nvidia.com/"
_LONGEST_NAME = 63
_DNS_SUBDOMAIN = re.compile(r"[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*")
_UUID = r"[0-9a-fA-F]{8}(-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}"
_DEVICE = re.compile(rf"\d+|\d+:\d+|GPU-{_UUID}|MIG-{_UUID}|MIG-GPU-{_UUID}/\d+/\d+")
# Concurrent MPS clients of one GPU: 48 since compute capability 7.5 (Turing), 16 before.
_MPS_CLIENTS = 48

_CHOICES = {
    "deviceListStrategy": ("envvar", "volume-mounts", "cdi-annotations", "cdi-cri"),
    "deviceIDStrategy": ("uuid", "index"),
    "sharedDevicesAllocationPolicy": ("distributed", "packed"),
}
_CHOICE_ERRORS = {
    "deviceListStrategy": "invalid --device-list-strategy option",
    "deviceIDStrategy": "invalid --device-id-strategy option",
    "sharedDevicesAllocationPolicy": "invalid --shared-devices-allocation-policy option",
}


class PluginError(Exception):
    """The plugin, or its config-manager, ends with this message; the kubelet then advertises nothing."""


def select(configs: Mapping[str, str], label: str | None, default: str) -> str:
    """The name of the configuration that config-manager picks on a node, or `FALLBACK`.

    `label` is the value of the node label `nvidia.com/device-plugin.config`, None where it is absent.
    Raises PluginError for a name that the ConfigMap lacks.
    """
    name = label or default
    if not name:
        return FALLBACK
    if name not in configs:
        raise PluginError(f"specified config {name} does not exist")
    return name


def advertised(
    config_text: str, physical: Mapping[str, int], mig_strategy: str = "", mig_gpus: int = 0
) -> dict[str, int]:
    """The extended resources that the kubelet advertises, by name.

    `physical` is what NVML shows: whole GPUs that are not in MIG mode as `nvidia.com/gpu`, MIG devices as
    `nvidia.com/mig-<profile>`. `mig_gpus` counts the GPUs in MIG mode. `mig_strategy` is the plugin's
    environment variable; it wins over the file, empty leaves the file's.
    Raises PluginError.
    """
    config = _load(config_text)
    flags = _mapping(config.get("flags"))
    strategy = mig_strategy or flags.get("migStrategy") or "none"
    _check_flags(flags, strategy)
    mode, resources, rename = _sharing(_mapping(config.get("sharing")))
    if mode == "mps" and strategy == "mixed":
        raise PluginError("using --mig-strategy=mixed is not supported with MPS")
    devices = _visible(physical, strategy, mig_gpus)
    if mode == "mps" and mig_gpus:
        raise PluginError("sharing using MPS is not supported for MIG devices")
    return _replicate(devices, resources, rename)


def fails_on_two(config_text: str) -> bool:
    """Whether a container that asks for two shares is refused (`failRequestsGreaterThanOne`)."""
    sharing = _mapping(_load(config_text).get("sharing"))
    if sharing.get("mps") is not None:
        return bool(_mapping(sharing["mps"]).get("failRequestsGreaterThanOne", True))
    return bool(_mapping(sharing.get("timeSlicing")).get("failRequestsGreaterThanOne", False))


def _load(text: str) -> Mapping[str, Any]:
    try:
        config = _mapping(yaml.safe_load(text) if text.strip() else {})
    except yaml.YAMLError as error:
        raise PluginError(f"unmarshal error: {error}") from None
    version = config.get("version") or "v1"
    if version != "v1":
        raise PluginError(f"unknown version: {version}")
    return config


def _mapping(value: Any) -> Mapping[str, Any]:
    if value is None:
        return {}
    if not isinstance(value, Mapping):
        raise PluginError(f"unmarshal error: {value!r} is not an object")
    return value


def _check_flags(flags: Mapping[str, Any], strategy: str) -> None:
    if strategy not in ("none", "single", "mixed"):
        raise PluginError(f"unknown MIG strategy: {strategy}")
    plugin = _mapping(flags.get("plugin"))
    for name, choices in _CHOICES.items():
        value = plugin.get(name)
        values = value if isinstance(value, list) else [] if value is None else [value]
        for each in values:
            if each not in choices:
                raise PluginError(f"{_CHOICE_ERRORS[name]}: {each}")
    discovery = flags.get("deviceDiscoveryStrategy")
    if discovery not in (None, "auto", "nvml", "tegra", "vfio"):
        raise PluginError(f"invalid --device-discovery-strategy option: {discovery}")


def _sharing(sharing: Mapping[str, Any]) -> tuple[str, list[tuple[str, int]], bool]:
    """(mode, [(resource, replicas)], rename by default). Both blocks are parsed, MPS wins."""
    parsed = {}
    for mode in ("timeSlicing", "mps"):
        if sharing.get(mode) is not None:
            block = _mapping(sharing[mode])
            parsed[mode] = (_resources(block, mode), bool(block.get("renameByDefault", False)))
    for mode in ("mps", "timeSlicing"):
        if mode in parsed:
            return (mode, *parsed[mode])
    return "none", [], False


def _resources(block: Mapping[str, Any], mode: str) -> list[tuple[str, int]]:
    resources = block.get("resources")
    if not resources:
        raise PluginError("no resources specified")
    if not isinstance(resources, list):
        raise PluginError("unmarshal error: resources is not an array")
    parsed = [_resource(_mapping(resource)) for resource in resources]
    for _, replicas in parsed:
        if mode == "mps" and replicas > _MPS_CLIENTS:
            raise PluginError(f"invalid device maximum allowed replicas exceeded: {replicas} > {_MPS_CLIENTS}")
    return parsed


def _resource(resource: Mapping[str, Any]) -> tuple[str, int]:
    if "name" not in resource:
        raise PluginError("no resource name specified")
    name = _resource_name(resource["name"])
    if "devices" in resource:
        _check_devices(resource["devices"])
    if "replicas" not in resource:
        raise PluginError("no replicas specified")
    replicas = resource["replicas"]
    if type(replicas) is not int:
        raise PluginError(f"unmarshal error: replicas {replicas!r} is not an int")
    if replicas < 2:
        raise PluginError("number of replicas must be >= 2")
    return name, replicas


def _resource_name(value: Any) -> str:
    if not isinstance(value, str):
        raise PluginError(f"unmarshal error: name {value!r} is not a string")
    name = value if value.startswith(_PREFIX) else _PREFIX + value
    if len(name) > _LONGEST_NAME:
        raise PluginError("fully-qualified resource name must be 63 characters or less")
    if not _DNS_SUBDOMAIN.fullmatch(name.removeprefix(_PREFIX)):
        raise PluginError("incorrect format for resource name")
    return name


def _check_devices(devices: Any) -> None:
    """Parsed, then ignored: the plugin replicates every device whatever is written here."""
    if isinstance(devices, str):
        if devices != "all":
            raise PluginError(f"devices set as '{devices}' but the only valid string input is 'all'")
    elif type(devices) is int:
        if devices <= 0:
            raise PluginError(f"devices set as '{devices}' but a count of devices must be > 0")
    elif isinstance(devices, list):
        _check_device_list(devices)
    else:
        raise PluginError(f"unrecognized type for devices spec: {devices}")


def _check_device_list(devices: Iterable[Any]) -> None:
    for device in devices:
        index = type(device) is int and device >= 0
        if not index and not (isinstance(device, str) and _DEVICE.fullmatch(device)):
            raise PluginError(f"unsupported type for device in devices list: {device}")


def _visible(physical: Mapping[str, int], strategy: str, mig_gpus: int) -> dict[str, int]:
    """The devices by resource name before sharing, as the MIG strategy names them."""
    whole = physical.get(WHOLE_GPU, 0)
    mig = {name: count for name, count in physical.items() if name.startswith(MIG_PREFIX) and count}
    if strategy == "none":
        # Without a strategy a GPU in MIG mode is a GPU like any other.
        return _present({WHOLE_GPU: whole + mig_gpus})
    if strategy == "mixed":
        return _present({WHOLE_GPU: whole, **mig})
    if not mig_gpus and not mig:
        return _present({WHOLE_GPU: whole})
    if whole:
        raise PluginError("all devices on the node must be configured with the same migEnabled value")
    if not mig:
        raise PluginError("device 0 has no MIG devices configured")
    if len(mig) > 1:
        raise PluginError("more than one MIG device type present on node")
    return _present({WHOLE_GPU: sum(mig.values())})


def _present(devices: Mapping[str, int]) -> dict[str, int]:
    return {name: count for name, count in devices.items() if count}


def _replicate(devices: dict[str, int], resources: list[tuple[str, int]], rename: bool) -> dict[str, int]:
    """A resource that matches no device is skipped without a word: a typo means no sharing."""
    shared = dict(devices)
    for name, replicas in resources:
        if name in devices:
            del shared[name]
            shared[name + SHARED_SUFFIX if rename else name] = devices[name] * replicas
    return shared
