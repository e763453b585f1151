"""The verification workload: a Deployment whose every pod holds one slice of a pool and lists its GPU."""

from dataclasses import dataclass

import pulumi
import pulumi_kubernetes as k8s

from gpuslice.manifests.verification import verification_manifests
from gpuslice.settings import Settings

# A GPU node takes minutes to boot and to be sliced, a MIG node with a reboot longer still.
START = pulumi.CustomTimeouts(create="30m", update="30m")


@dataclass
class VerificationArgs:
    """`settings.verification` says which pool and how many pods."""

    settings: Settings


class Verification(pulumi.ComponentResource):
    """Make it only where the stack asks for a verification; depend it on the pools."""

    def __init__(self, name: str, args: VerificationArgs, opts: pulumi.ResourceOptions | None = None) -> None:
        super().__init__("gpu-slicing:index:Verification", name, {}, opts)
        namespace, deployment = verification_manifests(args.settings)
        inside = k8s.core.v1.Namespace(
            namespace["metadata"]["name"],
            metadata=namespace["metadata"],
            opts=pulumi.ResourceOptions(parent=self),
        )
        k8s.apps.v1.Deployment(
            deployment["metadata"]["name"],
            metadata=deployment["metadata"],
            spec=deployment["spec"],
            opts=pulumi.ResourceOptions(parent=self, depends_on=[inside], custom_timeouts=START),
        )
        self.register_outputs({"deployment": deployment["metadata"]["name"]})
