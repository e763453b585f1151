"""A pool of GPU nodes: EC2NodeClass, NodeOverlays and NodePool, as `gpuslice.manifests.karpenter` derives them.

It owns these objects and their order. It does not own Karpenter, the IAM role of the nodes, or what slices the GPUs:
they come in as `depends_on`, so that on destroy the NodePool goes first, while everything that its finalizers need
is still there.
"""

from dataclasses import dataclass
from typing import Any

import pulumi
import pulumi_kubernetes as k8s

from gpuslice.fields import seconds
from gpuslice.manifests.karpenter import ec2_node_class, node_overlay, node_pool
from gpuslice.pools import Pool
from gpuslice.settings import Settings

INSTANCE_STOP_SECONDS = 1800
"""How long EC2 may take to stop a GPU instance after its drain, with a margin."""


@dataclass
class GpuPoolArgs:
    """`pool` is a pool of `settings`."""

    pool: Pool
    settings: Settings


class GpuPool(pulumi.ComponentResource):
    """`node_pool` is the NodePool: workloads depend on it."""

    node_pool: k8s.apiextensions.CustomResource

    def __init__(self, name: str, args: GpuPoolArgs, opts: pulumi.ResourceOptions | None = None) -> None:
        super().__init__("gpu-slicing:index:GpuPool", name, {"pool": args.pool.name}, opts)
        timeouts = pulumi.CustomTimeouts(delete=f"{delete_minutes(args.pool)}m")
        options = pulumi.ResourceOptions(parent=self, custom_timeouts=timeouts)
        node_class = custom_resource(name, ec2_node_class(args.pool, args.settings), options)
        overlays = [
            custom_resource(overlay.name, node_overlay(args.pool, overlay), options) for overlay in args.pool.overlays
        ]
        depends = pulumi.ResourceOptions(depends_on=[node_class, *overlays], protect=_protected(args.settings))
        self.node_pool = custom_resource(name, node_pool(args.pool), pulumi.ResourceOptions.merge(options, depends))
        self.register_outputs({"pool": args.pool.name})


def _protected(settings: Settings) -> bool | None:
    """A deleted NodePool drains every node of it: with deletion protection, that needs a word more.

    Not on an existing cluster: its settings have no deletion protection, so none that could be lifted.
    """
    cluster = settings.cluster
    return True if cluster.deletion_protection and cluster.mode != "existing" else None


def delete_minutes(pool: Pool) -> int:
    """How long a delete may take: the drain that the pool allows, and the stop of its instances."""
    return int(seconds(pool.settings.disruption.termination_grace_period) + INSTANCE_STOP_SECONDS + 59) // 60


def custom_resource(
    name: str, manifest: dict[str, Any], opts: pulumi.ResourceOptions
) -> k8s.apiextensions.CustomResource:
    """A manifest as a resource; its metadata name is fixed, so no replacement gets another name."""
    return k8s.apiextensions.CustomResource(
        name,
        api_version=manifest["apiVersion"],
        kind=manifest["kind"],
        metadata=manifest["metadata"],
        spec=manifest["spec"],
        opts=opts,
    )
