"""Tenants of the shared GPUs, and the rules that hold for everybody's pods.

A tenant is its namespace with pod-security labels, its quota in slices, its containers' limits. The rules are the API
server's own (ValidatingAdmissionPolicies): no program of this stack must run for them to hold.
"""

from dataclasses import dataclass
from typing import Any

import pulumi
import pulumi_kubernetes as k8s

from gpuslice.manifests.admission import admission_manifests
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


@dataclass
class AdmissionArgs:
    """The rules of a stack, as manifests."""

    policies: list[dict[str, Any]]
    bindings: list[dict[str, Any]]

    @classmethod
    def of(cls, settings: Settings, pools: list[Pool]) -> "AdmissionArgs":
        """The arguments that a stack's settings mean; for a stack that wants the rules. `pools` are all its pools."""
        manifests = admission_manifests(settings, pools)
        kinds = ("ValidatingAdmissionPolicy", "ValidatingAdmissionPolicyBinding")
        return cls(*([m for m in manifests if m["kind"] == kind] for kind in kinds))


class Admission(pulumi.ComponentResource):
    """`ready`: the rules in force. Every tenant depends on them; no NodePool does, so that it can always go."""

    def __init__(self, name: str, args: AdmissionArgs, opts: pulumi.ResourceOptions | None = None) -> None:
        super().__init__("gpu-slicing:index:Admission", name, {}, opts)
        child, rules = pulumi.ResourceOptions(parent=self), k8s.admissionregistration.v1
        policies = [
            rules.ValidatingAdmissionPolicy(m["metadata"]["name"], metadata=m["metadata"], spec=m["spec"], opts=child)
            for m in args.policies
        ]
        after = pulumi.ResourceOptions(parent=self, depends_on=policies)
        self.ready: list[pulumi.Resource] = [
            rules.ValidatingAdmissionPolicyBinding(
                m["metadata"]["name"], metadata=m["metadata"], spec=m["spec"], opts=after
            )
            for m in args.bindings
        ]
        self.register_outputs({})
