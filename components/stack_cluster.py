"""The cluster that a stack's settings ask for: a new one in a new or a given network, or one that exists."""

import pulumi

from components.cluster import Cluster, ClusterArgs
from components.encryption import ClusterKey, ClusterKeyArgs
from components.existing_cluster import ExistingCluster, ExistingClusterArgs
from components.kubernetes_cluster import KubernetesCluster
from components.network import Network, NetworkArgs
from gpuslice.settings import ExistingVpc, Settings


def stack_cluster(settings: Settings) -> KubernetesCluster:
    """Registers the cluster and what it stands on.

    `mode: sandbox` declares the same resources as `create`: the sandbox plays them.
    """
    if settings.cluster.mode == "existing":
        return ExistingCluster("cluster", ExistingClusterArgs.of(settings))
    key = ClusterKey("encryption", ClusterKeyArgs.of(settings))
    vpc = settings.cluster.vpc
    if isinstance(vpc, ExistingVpc):
        return Cluster("cluster", ClusterArgs.of(settings, vpc.id, list(vpc.private_subnet_ids), key.arn))
    network = Network("network", NetworkArgs.of(settings, key.arn))
    args = ClusterArgs.of(settings, network.vpc_id, network.private_subnet_ids, key.arn)
    # Nodes that leave still need their way out, to EC2 and STS: the routes go last.
    return Cluster("cluster", args, pulumi.ResourceOptions(depends_on=network.routes))
