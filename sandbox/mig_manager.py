"""What the NVIDIA MIG manager makes of its configuration file.

A model of its own: it reads text and places GPU instances one after the other, as the driver does, where the core
searches; so the two can disagree. Sources: NVIDIA/mig-parted v0.15.0, `api/spec/v1/spec.go`, `pkg/types`,
`pkg/mig/config/config.go`. Error texts are mig-parted's.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

import yaml

from gpuslice.catalog import MigProfile

Layout = dict[str, int] | None
"""One GPU's MIG devices by profile; empty is MIG mode without devices, None is MIG mode off."""

_NVIDIA_VENDOR = 0x10DE
_PROFILE = re.compile(
    r"(?:[1-9]\d*c\.)?[1-9]\d*g\.[1-9]\d*gb"
    r"(?:(?P<plus>\+[a-z][a-z0-9.]*(?:,[a-z][a-z0-9.]*)*)|(?P<minus>-[a-z][a-z0-9.]*(?:,[a-z][a-z0-9.]*)*))?",
)
_FIELDS = ("device-filter", "devices", "mig-enabled", "mig-devices")


class MigError(Exception):
    """mig-parted ends with this message and the node's `nvidia.com/mig.config.state` becomes `failed`."""


def configurations(config_text: str) -> dict[str, list[dict[str, Any]]]:
    """The file's configurations by name, every one checked: mig-parted refuses the whole file for one mistake.

    Raises MigError.
    """
    try:
        spec = yaml.safe_load(config_text)
    except yaml.YAMLError as error:
        raise MigError(f"unmarshal error: {error}") from None
    if not isinstance(spec, dict):
        raise MigError("unmarshal error: the file is not an object")
    if "version" not in spec:
        raise MigError("unable to parse with missing 'version' field")
    if spec["version"] != "v1":
        raise MigError(f"unknown version: {spec['version']}")
    for key in spec:
        if key not in ("version", "mig-configs"):
            raise MigError(f"unexpected field: {key}")
    configs = spec.get("mig-configs") or {}
    if "mig-configs" in spec and not configs:
        raise MigError("at least one entry in 'mig-configs' is required")
    if not isinstance(configs, dict):
        raise MigError("unmarshal error: mig-configs is not an object")
    return {str(name): _entries(name, entries) for name, entries in configs.items()}


def apply(
    config_text: str, name: str, pci_device_id: str, gpus: int, profiles: Mapping[str, MigProfile]
) -> list[Layout]:
    """Every GPU's layout after the manager applied configuration `name` to a node with MIG mode off.

    `pci_device_id` is the model's, such as `0x20B0`; `profiles` are that GPU's. A GPU that no entry selects stays
    as it is. Raises MigError.
    """
    configs = configurations(config_text)
    if name not in configs:
        raise MigError(f"selected mig-config not present: {name}")
    layouts: list[Layout] = [None] * gpus
    for entry in configs[name]:
        if not _selects_model(entry, pci_device_id):
            continue
        for gpu in _devices(entry, gpus):
            layouts[gpu] = _layout(entry, profiles)
    return layouts


def place(layout: Mapping[str, int], profiles: Mapping[str, MigProfile]) -> list[tuple[str, int]]:
    """(profile, first memory slice) for each GPU instance, in the order in which the driver accepted them.

    mig-parted creates the instances in one order after the other until the driver takes a whole one; the driver
    gives each the lowest free place. Raises MigError when no order works.
    """
    placed = _place(dict(layout), [], profiles)
    if placed is None:
        raise MigError("error attempting multiple config orderings: all orderings failed")
    return placed


def physical(layouts: Sequence[Layout]) -> tuple[dict[str, int], int]:
    """(what NVML shows as `device_plugin.advertised` takes it, GPUs in MIG mode)."""
    shown: dict[str, int] = {}
    for layout in layouts:
        resources = {"nvidia.com/gpu": 1} if layout is None else _mig_resources(layout)
        for resource, count in resources.items():
            shown[resource] = shown.get(resource, 0) + count
    return shown, sum(layout is not None for layout in layouts)


def _mig_resources(layout: Mapping[str, int]) -> dict[str, int]:
    return {f"nvidia.com/mig-{profile.replace('+', '.')}": count for profile, count in layout.items() if count}


def _entries(name: Any, entries: Any) -> list[dict[str, Any]]:
    if not entries:
        raise MigError(f"at least one entry in '{name}' is required")
    if not isinstance(entries, list) or not all(isinstance(entry, dict) for entry in entries):
        raise MigError(f"unmarshal error: {name} is not a list of objects")
    for entry in entries:
        _check_entry(entry)
    return entries


def _check_entry(entry: Mapping[str, Any]) -> None:
    for required in ("devices", "mig-enabled"):
        if required not in entry:
            raise MigError(f"missing required field: {required}")
    for key in entry:
        if key not in _FIELDS:
            raise MigError(f"unexpected field: {key}")
    _check_devices(entry["devices"])
    _check_filter(entry.get("device-filter"))
    enabled, layout = entry["mig-enabled"], entry.get("mig-devices")
    if type(enabled) is not bool:
        raise MigError(f"unmarshal error: mig-enabled {enabled!r} is not a bool")
    if layout is not None:
        _check_layout(layout)
    if enabled and layout is None:
        raise MigError("missing required field 'mig-devices' when 'mig-enabled' is true")
    if not enabled and layout:
        raise MigError("MIG devices included when 'mig-enabled' is false")


def _check_devices(devices: Any) -> None:
    if isinstance(devices, str):
        if devices != "all":
            raise MigError(f"invalid string input for 'devices': {devices}")
    elif not isinstance(devices, list) or not all(type(device) is int for device in devices):
        raise MigError(f"unmarshal error: devices {devices!r} is neither a string nor a list of ints")


def _check_filter(value: Any) -> None:
    filters = value if isinstance(value, list) else [] if value is None else [value]
    if not all(isinstance(each, str) for each in filters):
        raise MigError(f"unmarshal error: device-filter {value!r} is neither a string nor a list of strings")


def _check_layout(layout: Any) -> None:
    where = "error validating values in 'mig-devices' field: "
    if not isinstance(layout, dict):
        raise MigError(f"unmarshal error: mig-devices {layout!r} is not an object")
    for profile, count in layout.items():
        if not isinstance(profile, str) or not _PROFILE.fullmatch(profile):
            raise MigError(f"{where}invalid format for '{profile}'")
        if type(count) is not int or count < 0:
            raise MigError(f"{where}invalid count for '{profile}': {count}")
    if layout and not any(layout.values()):
        raise MigError(f"{where}all counts for all MigProfiles are 0")


def _selects_model(entry: Mapping[str, Any], pci_device_id: str) -> bool:
    """A filter is the device id followed by the vendor id, as the PCI configuration space has them."""
    value = entry.get("device-filter")
    filters = value if isinstance(value, list) else [] if value in (None, "") else [value]
    full = int(pci_device_id, 16) << 16 | _NVIDIA_VENDOR
    try:
        return not filters or full in [int(each, 16) for each in filters]
    except ValueError:
        raise MigError(f"error checking device filter: {value}") from None


def _devices(entry: Mapping[str, Any], gpus: int) -> list[int]:
    devices = entry["devices"]
    return [gpu for gpu in range(gpus) if devices == "all" or gpu in devices]


def _layout(entry: Mapping[str, Any], profiles: Mapping[str, MigProfile]) -> Layout:
    if not entry["mig-enabled"]:
        return None
    wanted = {profile: count for profile, count in entry["mig-devices"].items() if count}
    place(wanted, profiles)
    return wanted


def _place(
    left: dict[str, int], placed: list[tuple[str, int]], profiles: Mapping[str, MigProfile]
) -> list[tuple[str, int]] | None:
    """Depth first over the orders of what is left; an order whose beginning fails is not tried to its end."""
    if not any(left.values()):
        return placed
    for profile in [name for name, count in left.items() if count]:
        start = _create(profile, placed, profiles)
        if start is None:
            continue
        rest = {**left, profile: left[profile] - 1}
        found = _place(rest, [*placed, (profile, start)], profiles)
        if found is not None:
            return found
    return None


def _create(profile: str, placed: Sequence[tuple[str, int]], profiles: Mapping[str, MigProfile]) -> int | None:
    """The driver's answer to one CreateGpuInstance: the lowest free place, None where there is none."""
    shape = profiles.get(profile)
    if shape is None or sum(name == profile for name, _ in placed) >= shape.max_instances:
        return None
    if shape.takes_media and any(profiles[name].takes_media for name, _ in placed):
        return None
    taken = {start + i for name, start in placed for i in range(profiles[name].memory_slices)}
    free = (start for start in sorted(shape.placements) if not taken & set(range(start, start + shape.memory_slices)))
    return next(free, None)
