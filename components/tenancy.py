"""A tenant of the shared GPUs: its namespace with pod-security labels, its quota in slices, its containers' limits."""

from dataclasses import dataclass
from typing import Any

import pulumi
import pulumi_kubernetes as k8s

from gpuslice.manifests.tenancy import tenant_manifests
from gpuslice.pools import Pool
from gpuslice.settings import Settings, Tenant


@dataclass
class TenancyArgs:
    """The objects of one tenant, as manifests."""

    namespace: dict[str, Any]
    quota: dict[str, Any]
    limits: dict[str, Any]
    protect: bool
    """Refuse to delete the namespace, and the tenant's workloads with it, until this is false."""

    @classmethod
    def of(cls, tenant: Tenant, settings: Settings, pools: list[Pool]) -> "TenancyArgs":
        """The arguments that a tenant of a stack's settings means; `pools` are all its pools."""
        namespace, quota, limits = tenant_manifests(tenant, settings, pools)
        return cls(namespace, quota, limits, settings.protected)


class Tenancy(pulumi.ComponentResource):
    """The objects of one tenant."""

    namespace: pulumi.Output[str]

    def __init__(self, name: str, args: TenancyArgs, opts: pulumi.ResourceOptions | None = None) -> None:
        metadata = args.namespace["metadata"]
        super().__init__("gpu-slicing:index:Tenancy", name, {"namespace": metadata["name"]}, opts)
        options = pulumi.ResourceOptions(parent=self, protect=args.protect or None)
        namespace = k8s.core.v1.Namespace(name, metadata=metadata, opts=options)
        inside = pulumi.ResourceOptions(parent=self, depends_on=[namespace])
        k8s.core.v1.ResourceQuota(name, metadata=args.quota["metadata"], spec=args.quota["spec"], opts=inside)
        k8s.core.v1.LimitRange(name, metadata=args.limits["metadata"], spec=args.limits["spec"], opts=inside)
        self.namespace = pulumi.Output.from_input(metadata["name"])
        self.register_outputs({"namespace": self.namespace})
