"""The device plugin's configuration for time-slicing (NVIDIA k8s-device-plugin, api/config/v1)."""

from __future__ import annotations

from typing import Any


def config(replicas: int, rename: bool) -> dict[str, Any]:
    """A plugin configuration that advertises each GPU `replicas` times; 2 or more.

    A pod that asks for two shares is refused (`failRequestsGreaterThanOne`): it would get no more of the GPU than
    with one (NVIDIA/gpu-operator issue 386).
    """
    return {"version": "v1", "sharing": {"timeSlicing": shared_resources(replicas, rename)}}


def shared_resources(replicas: int, rename: bool) -> dict[str, Any]:
    """The block that `timeSlicing` and `mps` have in common."""
    return {
        "renameByDefault": rename,
        "failRequestsGreaterThanOne": True,
        "resources": [{"name": "nvidia.com/gpu", "replicas": replicas}],
    }
