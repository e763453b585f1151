"""The device plugin's configuration for MPS. EXPERIMENTAL, as NVIDIA says of it: no fault isolation between clients."""

from __future__ import annotations

from typing import Any

from gpuslice.sharing.time_slicing import shared_resources


def config(replicas: int, rename: bool) -> dict[str, Any]:
    """A plugin configuration that gives each of `replicas` clients an equal part of memory and threads."""
    return {"version": "v1", "sharing": {"mps": shared_resources(replicas, rename)}}
