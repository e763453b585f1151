"""Bottlerocket's own GPU sharing: its device plugin is part of the OS and reads TOML user data, not ConfigMaps.

Source: bottlerocket-os/bottlerocket pull requests 4230 and 4418 (`settings.kubelet-device-plugins.nvidia`).
"""

from __future__ import annotations

import json

from gpuslice.settings import Sharing, TimeSlicing

Scalar = str | int | bool
_PLUGIN = "settings.kubelet-device-plugins.nvidia"


def user_data(sharing: Sharing) -> str:
    """The TOML settings of a node of the pool."""
    if not isinstance(sharing, TimeSlicing):
        return _toml({_PLUGIN: {"device-sharing-strategy": "none"}})
    slicing: dict[str, Scalar] = {
        "replicas": sharing.replicas,
        "rename-by-default": sharing.rename,
        "fail-requests-greater-than-one": True,
    }
    return _toml({_PLUGIN: {"device-sharing-strategy": "time-slicing"}, f"{_PLUGIN}.time-slicing": slicing})


def _toml(tables: dict[str, dict[str, Scalar]]) -> str:
    """Tables of scalars as TOML: JSON's strings, numbers and booleans are TOML's too; the library only reads."""
    lines = []
    for name, table in tables.items():
        lines += [f"[{name}]", *(f"{key} = {json.dumps(value)}" for key, value in table.items())]
    return "\n".join(lines) + "\n"
