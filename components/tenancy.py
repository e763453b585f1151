"""A tenant of the shared GPUs: its namespace with pod-security labels, its quota in slices, its containers' limits."""

from dataclasses import dataclass

import pulumi
import pulumi_kubernetes as k8s

from gpuslice.manifests.tenancy import tenant_manifests
from gpuslice.pools import Pool
from gpuslice.settings import Settings, Tenant


@dataclass
class TenancyArgs:
    """`tenant` is a tenant of `settings`, `pools` are all its pools."""

    tenant: Tenant
    settings: Settings
    pools: list[Pool]


class Tenancy(pulumi.ComponentResource):
    """The objects of one tenant."""

    namespace: k8s.core.v1.Namespace

    def __init__(self, name: str, args: TenancyArgs, opts: pulumi.ResourceOptions | None = None) -> None:
        super().__init__("gpu-slicing:index:Tenancy", name, {"namespace": args.tenant.namespace}, opts)
        namespace, quota, limits = tenant_manifests(args.tenant, args.settings, args.pools)
        self.namespace = k8s.core.v1.Namespace(
            name, metadata=namespace["metadata"], opts=pulumi.ResourceOptions(parent=self)
        )
        inside = pulumi.ResourceOptions(parent=self, depends_on=[self.namespace])
        k8s.core.v1.ResourceQuota(name, metadata=quota["metadata"], spec=quota["spec"], opts=inside)
        k8s.core.v1.LimitRange(name, metadata=limits["metadata"], spec=limits["spec"], opts=inside)
        self.register_outputs({"namespace": args.tenant.namespace})
