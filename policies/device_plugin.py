"""Configurations of NVIDIA's device plugin: what the plugin refuses in one, what it ignores, and what it shares.

Source: NVIDIA/k8s-device-plugin v0.20.0, api/config/v1 and cmd/nvidia-device-plugin/main.go.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from difflib import get_close_matches
from typing import Any

from policies.model import notes
from policies.view import View
from policies.workloads import PREFIX

VERSION = "v1"
MPS_CLIENTS = 48
"""The most clients of one GPU under MPS; a GPU before compute capability 7.5 has fewer (mps/device.go)."""
MPS_CLIENTS_BEFORE_7_5 = 16
_NAME_LENGTH = 63
_NAME = re.compile(r"[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*")
# In the order in which they win: an `mps` block switches `timeSlicing` off, whatever it says (sharing.go).
BLOCKS = ("mps", "timeSlicing")

_BLOCK: dict[str, Any] = {
    "renameByDefault": {},
    "failRequestsGreaterThanOne": {},
    "resources": {"name": {}, "replicas": {}, "devices": {}, "rename": {}},
}
_FLAGS: dict[str, Any] = {
    "migStrategy": {},
    "failOnInitError": {},
    "mpsRoot": {},
    "nvidiaDriverRoot": {},
    "nvidiaDevRoot": {},
    "gdrcopyEnabled": {},
    "gdsEnabled": {},
    "mofedEnabled": {},
    "useNodeFeatureAPI": {},
    "deviceDiscoveryStrategy": {},
    "plugin": {
        "passDeviceSpecs": {},
        "deviceListStrategy": {},
        "deviceIDStrategy": {},
        "cdiAnnotationPrefix": {},
        "nvidiaCTKPath": {},
        "containerDriverRoot": {},
        "sharedDevicesAllocationPolicy": {},
    },
    "gfd": {"oneshot": {}, "noTimestamp": {}, "sleepInterval": {}, "outputFile": {}, "machineTypeFile": {}},
}
_KEYS: dict[str, Any] = {
    "version": {},
    "flags": _FLAGS,
    "resources": {},
    "sharing": dict.fromkeys(BLOCKS, _BLOCK),
    "imex": {"channelIDs": {}, "required": {}},
}
"""Every key that the plugin knows, with the keys below it; none below where it takes what it finds."""
MIG_STRATEGIES = ("none", "single", "mixed")
_CHOICES: dict[tuple[str, ...], tuple[str, ...]] = {
    ("migStrategy",): MIG_STRATEGIES,
    ("deviceDiscoveryStrategy",): ("auto", "nvml", "tegra"),
    ("plugin", "deviceIDStrategy"): ("uuid", "index"),
    ("plugin", "sharedDevicesAllocationPolicy"): ("distributed", "packed"),
}
_LIST_STRATEGIES = ("envvar", "volume-mounts", "cdi-annotations", "cdi-cri")
_SWITCHES = (
    ("failOnInitError",),
    ("gdrcopyEnabled",),
    ("gdsEnabled",),
    ("mofedEnabled",),
    ("useNodeFeatureAPI",),
    ("plugin", "passDeviceSpecs"),
)


@dataclass(frozen=True)
class Share:
    """A resource that a configuration shares: each device of `resource` becomes `replicas` of `name`."""

    mode: str
    resource: str
    replicas: int
    name: str


def looks_like_one(data: Any) -> bool:
    """Whether a YAML document can only be meant for the device plugin; other programs have `version` and `flags` too.

    A misspelt `sharing` beside `version: v1` is one.
    """
    if not isinstance(data, Mapping):
        return False
    if _is_near(BLOCKS, data.get("sharing")) or _is_near(_FLAGS, data.get("flags")):
        return True
    return data.get("version") == VERSION and _is_near(("sharing",), data)


def _is_near(names: Iterable[str], data: Any) -> bool:
    keys = [str(key) for key in data] if isinstance(data, Mapping) else []
    return any(get_close_matches(key, names, n=1, cutoff=0.8) for key in keys)


def shares(document: View) -> list[Share]:
    """What a valid configuration shares, in its order."""
    sharing = document["sharing"]
    mode = next((mode for mode in BLOCKS if sharing[mode].present), BLOCKS[0])
    suffix = ".shared" if sharing[mode]["renameByDefault"].flag() else ""
    found = []
    for entry in sharing[mode]["resources"].items():
        resource = _qualified(entry["name"].text())
        found.append(Share(mode, resource, int(entry["replicas"].number() or 0), resource + suffix))
    return found


def is_valid(document: View) -> bool:
    return not list(notes(lambda: problems(document)))


def problems(document: View) -> Iterator[str]:
    """For what the plugin does not start."""
    version = document["version"].text(VERSION)
    if version not in ("", VERSION):
        yield f"sets {document['version'].path} to {version}; allowed: {VERSION}"
    yield from _flag_problems(document["flags"])
    sharing = document["sharing"]
    for mode, block in sharing.fields().items():
        # Go leaves a pointer alone that YAML sets to null, and reads null into a struct: an empty `timeSlicing`.
        if mode in BLOCKS and (block.present or mode != "mps"):
            yield from _block_problems(mode, block)


def _block_problems(mode: str, block: View) -> Iterator[str]:
    for key in ("renameByDefault", "failRequestsGreaterThanOne"):
        yield from _no_switch(block[key])
    entries = block["resources"].items()
    if not entries:
        yield f"shares nothing in {block.path}: resources is empty"
    for entry in entries:
        yield from _name_problems(entry)
        yield from _replica_problems(entry["replicas"], MPS_CLIENTS if mode == "mps" else None)


def _name_problems(entry: View) -> Iterator[str]:
    name = _qualified(entry["name"].text())
    if not entry["name"].present:
        yield f"lacks {entry['name'].path}"
    elif len(name) > _NAME_LENGTH or not _NAME.fullmatch(name.removeprefix(PREFIX)):
        yield f"sets {entry['name'].path} to {name[:80]}; allowed: {PREFIX}<DNS name>, {_NAME_LENGTH} characters"


def _replica_problems(replicas: View, most: int | None) -> Iterator[str]:
    number = whole(replicas)
    if not replicas.present:
        yield f"lacks {replicas.path}"
    elif number is None or number < 2 or (most is not None and number > most):
        allowed = f"2 to {most}" if most else "2 or more"
        yield f"sets {replicas.path} to {str(replicas.known())[:80]!r}; allowed: a whole number, {allowed}"


def _flag_problems(flags: View) -> Iterator[str]:
    for path, allowed in _CHOICES.items():
        flag = flags.at(*path)
        if flag.present and flag.text() not in allowed:
            yield f"sets {flag.path} to {flag.text()[:80]!r}; allowed: {', '.join(allowed)}"
    for path in _SWITCHES:
        yield from _no_switch(flags.at(*path))
    listed = flags.at("plugin", "deviceListStrategy")
    names = [listed.text()] if isinstance(listed.known(), str) else listed.texts()
    wrong = [name for name in names if name not in _LIST_STRATEGIES]
    if wrong:
        yield f"sets {listed.path} to {wrong[0][:80]!r}; allowed: {', '.join(_LIST_STRATEGIES)}"


def _no_switch(field: View) -> Iterator[str]:
    """Go reads true and false alone: unlike elsewhere, the text `true` is none."""
    if field.present and not isinstance(field.known(), bool):
        yield f"sets {field.path} to {str(field.known())[:80]!r}; allowed: true or false"


def whole(field: View) -> int | None:
    """A whole number that is written as a number, else None."""
    value = field.known()
    if isinstance(value, int):
        return None if isinstance(value, bool) else value
    return int(value) if isinstance(value, float) and value.is_integer() else None


def ignored(document: View) -> Iterator[str]:
    """What a valid configuration says in vain: the plugin does not hear it, and does not say so."""
    yield from _unknown_keys(document, _KEYS)
    if document["resources"].fields():
        yield f"sets {document['resources'].path}, which the plugin ignores"
    sharing = document["sharing"]
    if all(sharing[mode].present for mode in BLOCKS):
        yield f"sets {sharing['timeSlicing'].path}, which the plugin ignores beside mps"
    for mode in BLOCKS:
        for entry in sharing[mode]["resources"].items():
            if entry["rename"].present:
                yield f"sets {entry['rename'].path}, which the plugin ignores"
            if entry["devices"].present and entry["devices"].known() != "all":
                yield f"sets {entry['devices'].path}, which the plugin ignores: it shares all devices"


def _unknown_keys(view: View, known: Mapping[str, Any]) -> Iterator[str]:
    for key, field in view.fields().items():
        if key not in known:
            close = get_close_matches(key, known, n=1)
            hint = f" (did you mean {close[0]}?)" if close else ""
            yield f"sets {field.path}, which the plugin does not know and ignores{hint}"
        elif known[key]:
            for part in field.items() if isinstance(field.known(), list | tuple) else [field]:
                yield from _unknown_keys(part, known[key])


def _qualified(name: str) -> str:
    return name if name.startswith(PREFIX) else PREFIX + name
