"""The verification workload: a Deployment whose every pod holds one slice of a pool and lists its GPU."""

from dataclasses import dataclass
from typing import Any

import pulumi
import pulumi_kubernetes as k8s

from gpuslice.manifests.verification import verification_manifests
from gpuslice.settings import Settings

# A GPU node takes minutes to boot and to be sliced, a MIG node with a reboot longer still.
START = pulumi.CustomTimeouts(create="30m", update="30m")


@dataclass
class VerificationArgs:
    """The workload, as manifests."""

    namespace: dict[str, Any]
    network_policy: dict[str, Any]
    deployment: dict[str, Any]

    @classmethod
    def of(cls, settings: Settings) -> "VerificationArgs":
        """The arguments that a stack's settings mean; for a stack that asks for a verification."""
        return cls(*verification_manifests(settings))


class Verification(pulumi.ComponentResource):
    """Make it only where the stack asks for a verification; depend it on the pools."""

    deployment: pulumi.Output[str]

    def __init__(self, name: str, args: VerificationArgs, opts: pulumi.ResourceOptions | None = None) -> None:
        super().__init__("gpu-slicing:index:Verification", name, {}, opts)
        space, workload = args.namespace["metadata"], args.deployment["metadata"]
        namespace = k8s.core.v1.Namespace(space["name"], metadata=space, opts=pulumi.ResourceOptions(parent=self))
        isolation = k8s.networking.v1.NetworkPolicy(
            args.network_policy["metadata"]["name"],
            metadata=args.network_policy["metadata"],
            spec=args.network_policy["spec"],
            opts=pulumi.ResourceOptions(parent=self, depends_on=[namespace]),
        )
        k8s.apps.v1.Deployment(
            workload["name"],
            metadata=workload,
            spec=args.deployment["spec"],
            opts=pulumi.ResourceOptions(parent=self, depends_on=[namespace, isolation], custom_timeouts=START),
        )
        self.deployment = pulumi.Output.from_input(workload["name"])
        self.register_outputs({"deployment": self.deployment})
