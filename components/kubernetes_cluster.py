"""What everything above a cluster knows of it, and the provider of what is in it."""

from collections.abc import Mapping
from typing import Any

import pulumi
import pulumi_kubernetes as kubernetes


class KubernetesCluster(pulumi.ComponentResource):
    """What everything above a cluster may know of it, whoever made the cluster.

    `ready` is what must be there before anything runs in the cluster, and until everything has left it.
    """

    name: pulumi.Output[str]
    endpoint: pulumi.Output[str]
    kubeconfig: pulumi.Output[str]
    """JSON; a secret. Asks the AWS CLI for credentials unless the user's own file does otherwise."""

    def __init__(self, type_: str, name: str, inputs: Mapping[str, Any], opts: pulumi.ResourceOptions | None) -> None:
        super().__init__(type_, name, dict(inputs), opts)
        self.ready: list[pulumi.Resource] = []
        self._provider_kubeconfig: pulumi.Output[str] | None = None

    @property
    def provider_kubeconfig(self) -> pulumi.Output[str]:
        """The kubeconfig for this program's own Kubernetes provider."""
        return self.kubeconfig if self._provider_kubeconfig is None else self._provider_kubeconfig


def kubernetes_provider(
    name: str, cluster: KubernetesCluster, opts: pulumi.ResourceOptions | None = None
) -> kubernetes.Provider:
    """The provider of everything in `cluster`: server-side apply, safe against a changed or unreachable kubeconfig."""
    return kubernetes.Provider(
        name,
        kubeconfig=cluster.provider_kubeconfig,
        # Only a change of this replaces the provider, and with it all that it manages; a new kubeconfig does not.
        cluster_identifier=cluster.name,
        enable_server_side_apply=True,
        # The ConfigMaps that the device plugin and the MIG manager read have fixed names. Without this a change
        # deletes and recreates them, and a GPU node that starts in between finds no configuration.
        enable_config_map_mutable=True,
        # A cluster that cannot be reached still has its GPU nodes: forgetting its NodePools would orphan them.
        delete_unreachable=False,
        skip_update_unreachable=False,
        opts=opts,
    )
