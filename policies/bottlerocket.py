"""How Bottlerocket's own device plugin and MIG manager slice GPUs: by the TOML user data of a node.

Source: bottlerocket-os/bottlerocket-core-kit, packages/nvidia-k8s-device-plugin and sources/nvidia-migmanager.
"""

from __future__ import annotations

import tomllib
from collections.abc import Iterator, Mapping
from difflib import get_close_matches
from typing import Any

from gpuslice.catalog import GpuModel, mig_profiles
from policies.device_plugin import whole
from policies.model import Item, notes
from policies.view import MISSING, View
from policies.workloads import GPU

_SETTINGS = ("settings", "kubelet-device-plugins", "nvidia")
_STRATEGIES = {
    "device-sharing-strategy": ("none", "time-slicing", "mps"),
    "device-partitioning-strategy": ("none", "mig"),
}
# Each strategy reads the table of its own name.
_TABLES = {
    "time-slicing": "device-sharing-strategy",
    "mps": "device-sharing-strategy",
    "mig": "device-partitioning-strategy",
}
_KEYS: dict[str, tuple[str, ...]] = {
    "": (*_STRATEGIES, *_TABLES, "enabled", "device-id-strategy", "device-list-strategy", "pass-device-specs"),
    "time-slicing": ("replicas", "rename-by-default", "fail-requests-greater-than-one"),
    "mps": ("replicas", "rename-by-default"),
    "mig": ("profile",),
}
_REPLICAS = 2
"""What the OS takes where `replicas` is missing; the two switches beside it are then true."""


def is_toml(node_class: Item) -> bool:
    """Whether the user data of a Bottlerocket node can be read; a node with another does not start."""
    return isinstance(_parsed(node_class), Mapping)


def settings(node_class: Item) -> View:
    """`settings.kubelet-device-plugins.nvidia`, missing where the user data does not say it."""
    return View(_parsed(node_class), "userData").at(*_SETTINGS)


def _parsed(node_class: Item) -> Any:
    try:
        return tomllib.loads(node_class.data.at("spec", "userData").text())
    except tomllib.TOMLDecodeError:
        return MISSING


def is_valid(node_class: Item) -> bool:
    return is_toml(node_class) and not list(notes(lambda: problems(settings(node_class))))


def problems(nvidia: View) -> Iterator[str]:
    """For what the OS refuses the user data, or leaves the GPUs as they are without a word."""
    for table, known in _KEYS.items():
        for key, field in (nvidia[table] if table else nvidia).fields().items():
            if key not in known:
                close = get_close_matches(key, known, n=1)
                yield f"sets {field.path}, which Bottlerocket does not know" + (
                    f" (did you mean {close[0]}?)" if close else ""
                )
    for key, allowed in _STRATEGIES.items():
        if nvidia[key].text("none") not in allowed:
            yield f"sets {nvidia[key].path} to {nvidia[key].text()[:80]!r}; allowed: {', '.join(allowed)}"
    for table, key in _TABLES.items():
        if nvidia[table].fields() and nvidia[key].text("none") != table:
            yield f"sets {nvidia[table].path}, which has no effect: {key} is {nvidia[key].text('none')}"
    if _strategies(nvidia) == ("mps", "mig"):
        yield "combines MPS with MIG, which Bottlerocket refuses"
    if not nvidia["enabled"].flag(True):
        yield f"sets {nvidia['enabled'].path} to false: its nodes offer no GPUs"
    yield from _value_problems(nvidia)


def _value_problems(nvidia: View) -> Iterator[str]:
    for table in ("time-slicing", "mps"):
        replicas, number = nvidia[table]["replicas"], whole(nvidia[table]["replicas"])
        if replicas.present and (number is None or number < 2):
            yield f"sets {replicas.path} to {str(replicas.known())[:80]!r}; allowed: a whole number, 2 or more"
        for key in _KEYS[table][1:]:
            nvidia[table][key].flag()
    for profile in nvidia["mig"]["profile"].fields().values():
        profile.text()


def _strategies(nvidia: View) -> tuple[str, ...]:
    return tuple(nvidia[key].text("none") for key in _STRATEGIES)


def plugin_config(nvidia: View) -> View:
    """The device plugin configuration that the OS makes of valid settings, for all GPUs of the node."""
    mode = nvidia["device-sharing-strategy"].text("none")
    if mode == "none":
        return View({}, nvidia.path)
    table = nvidia[mode]
    block = {
        "renameByDefault": table["rename-by-default"].flag(True),
        "failRequestsGreaterThanOne": table["fail-requests-greater-than-one"].flag(True),
        "resources": [{"name": GPU, "replicas": whole(table["replicas"]) or _REPLICAS}],
    }
    return View({"sharing": {"mps" if mode == "mps" else "timeSlicing": block}}, nvidia.path)


def partitions(nvidia: View, gpu: GpuModel) -> int | None:
    """Equal MIG instances that the OS makes of one GPU, 1 without MIG; None where the GPU has no such profile.

    All of them are offered as `nvidia.com/gpu` (strategy `single`); the layout is applied before the plugin starts.
    """
    if nvidia["device-partitioning-strategy"].text("none") != "mig":
        return 1
    if gpu.mig_status != "supported":
        return None
    wanted = nvidia["mig"]["profile"][gpu.key.replace("-", ".")].text("1")
    sizes = {p.name: p.max_instances for p in mig_profiles(str(gpu.mig_gpu)).values() if p.plain}
    if wanted.isdigit():
        return int(wanted) if int(wanted) in sizes.values() else None
    return sizes.get(wanted)
