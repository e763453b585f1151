"""Bottlerocket's own GPU sharing: its device plugin is part of the OS and reads TOML user data, not ConfigMaps.

Sources: bottlerocket-os/bottlerocket pull requests 4230 and 4418 (`settings.kubelet-device-plugins.nvidia`); the
settings reference of Bottlerocket 1.54 (`settings.nvidia-container-runtime`).
"""

from __future__ import annotations

from typing import Any

from gpuslice.settings import Sharing, TimeSlicing
from gpuslice.text import dump_toml


def user_data(sharing: Sharing, strict: bool = False) -> str:
    """The TOML settings of a node of the pool. `strict` states Bottlerocket's own default, so that it stays."""
    settings: dict[str, Any] = {"kubelet-device-plugins": {"nvidia": _slicing(sharing)}}
    if strict:
        settings["nvidia-container-runtime"] = {"visible-devices-envvar-when-unprivileged": False}
    return dump_toml({"settings": settings})


def _slicing(sharing: Sharing) -> dict[str, Any]:
    if not isinstance(sharing, TimeSlicing):
        return {"device-sharing-strategy": "none"}
    slicing = {
        "replicas": sharing.replicas,
        "rename-by-default": sharing.rename,
        "fail-requests-greater-than-one": True,
    }
    return {"device-sharing-strategy": "time-slicing", "time-slicing": slicing}
