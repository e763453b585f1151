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
    """The objects of one pool, as manifests."""

    pool_name: str
    node_class: dict[str, Any]
    overlays: list[dict[str, Any]]
    node_pool: dict[str, Any]
    delete_minutes: int
    """How long the deletion of one of them may take."""
    protect: bool
    """Refuse to delete the NodePool until this is false."""

    @classmethod
    def of(cls, pool: Pool, settings: Settings) -> "GpuPoolArgs":
        """The arguments that a pool of a stack's settings means."""
        return cls(
            pool_name=pool.name,
            node_class=ec2_node_class(pool, settings),
            overlays=[node_overlay(pool, overlay) for overlay in pool.overlays],
            node_pool=node_pool(pool),
            delete_minutes=delete_minutes(pool),
            # A deleted NodePool drains every node of it.
            protect=settings.protected,
        )


class GpuPool(pulumi.ComponentResource):
    """`node_pool` is the NodePool: workloads depend on it."""

    pool_name: pulumi.Output[str]

    def __init__(self, name: str, args: GpuPoolArgs, opts: pulumi.ResourceOptions | None = None) -> None:
        super().__init__("gpu-slicing:index:GpuPool", name, {"pool": args.pool_name}, opts)
        timeouts = pulumi.CustomTimeouts(delete=f"{args.delete_minutes}m")
        options = pulumi.ResourceOptions(parent=self, custom_timeouts=timeouts)
        node_class = custom_resource(args.node_class, options)
        overlays = [custom_resource(overlay, options) for overlay in args.overlays]
        depends = pulumi.ResourceOptions(depends_on=[node_class, *overlays], protect=args.protect or None)
        self.node_pool = custom_resource(args.node_pool, pulumi.ResourceOptions.merge(options, depends))
        self.pool_name = pulumi.Output.from_input(args.pool_name)
        self.register_outputs({"pool_name": self.pool_name})


def delete_minutes(pool: Pool) -> int:
    """How long a delete may take: the drain that the pool allows, and the stop of its instances."""
    return int(seconds(pool.settings.disruption.termination_grace_period) + INSTANCE_STOP_SECONDS + 59) // 60


def custom_resource(manifest: dict[str, Any], opts: pulumi.ResourceOptions) -> k8s.apiextensions.CustomResource:
    """A manifest as a resource; its metadata name is fixed, so no replacement gets another name."""
    return k8s.apiextensions.CustomResource(
        manifest["metadata"]["name"],
        api_version=manifest["apiVersion"],
        kind=manifest["kind"],
        metadata=manifest["metadata"],
        spec=manifest["spec"],
        opts=opts,
    )
