"""A cluster that this program uses and does not manage."""

import json
from dataclasses import dataclass
from typing import Any

import pulumi
import pulumi_aws as aws

from components.kubernetes_cluster import KubernetesCluster
from gpuslice.kubeconfig import KubeconfigError, read_kubeconfig
from gpuslice.settings import Kubeconfig, Settings


@dataclass
class ExistingClusterArgs:
    """An EKS cluster that something else made."""

    cluster_name: str
    kubeconfig: pulumi.Input[str]
    """The text of a kubeconfig whose current context is the cluster."""
    endpoint: pulumi.Input[str] | None = None
    """The API server's address; asked of EKS when left out."""

    @classmethod
    def of(cls, settings: Settings) -> "ExistingClusterArgs":
        """The arguments that a stack's settings mean; KubeconfigError when the kubeconfig cannot be used."""
        if settings.cluster.kubeconfig is None:
            raise KubeconfigError("cluster.kubeconfig: missing, where is the existing cluster's kubeconfig?")
        return cls(settings.cluster.name, kubeconfig_from(settings.cluster.kubeconfig))


class ExistingCluster(KubernetesCluster):
    """A cluster that this program uses and does not manage.

    It needs the EKS Pod Identity agent, authentication mode API or API_AND_CONFIG_MAP, and private subnets tagged
    `karpenter.sh/discovery=<cluster>`.
    """

    def __init__(self, name: str, args: ExistingClusterArgs, opts: pulumi.ResourceOptions | None = None) -> None:
        super().__init__("gpu-slicing:index:ExistingCluster", name, {"clusterName": args.cluster_name}, opts)
        self.name = pulumi.Output.from_input(args.cluster_name)
        self.kubeconfig = pulumi.Output.secret(args.kubeconfig)
        if args.endpoint is not None:
            self.endpoint = pulumi.Output.from_input(args.endpoint)
        else:
            found = aws.eks.get_cluster_output(name=args.cluster_name, opts=pulumi.InvokeOptions(parent=self))
            self.endpoint = found.endpoint
        self.register_outputs({"name": self.name, "endpoint": self.endpoint, "kubeconfig": self.kubeconfig})


def kubeconfig_from(source: Kubeconfig) -> pulumi.Input[str]:
    """The text of the kubeconfig that the settings point to; KubeconfigError when it cannot be used."""
    if source.path is not None:
        return pulumi.Output.secret(read_kubeconfig(source.path, source.context))
    if source.stack_reference is None:
        raise KubeconfigError("cluster.kubeconfig: neither path nor stackReference is given")
    stack, key = source.stack_reference, source.output

    def text(value: Any) -> str:
        if not value:
            # Raised while the engine runs: Pulumi prints the text of this error alone, a traceback for any other.
            raise pulumi.RunError(f"cluster.kubeconfig: stack {stack} has no output '{key}'")
        return value if isinstance(value, str) else json.dumps(value, sort_keys=True)

    found: pulumi.Output[str] = pulumi.StackReference(stack).get_output(key).apply(text)
    return pulumi.Output.secret(found)
