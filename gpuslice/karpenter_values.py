"""Helm values of the Karpenter chart (1.14)."""

from __future__ import annotations

from typing import Any

NAMESPACE = "kube-system"
"""Karpenter's requests then have the API server's priority of system components."""
SERVICE_ACCOUNT = "karpenter"
REPLICAS = 2
"""One leads, one waits. The chart spreads them over hosts and zones: hence two system nodes in two zones."""


def karpenter_values(
    *, cluster_name: str, cluster_endpoint: Any, queue_name: Any, region: str, monitoring: bool
) -> dict[str, Any]:
    """Values for the chart `karpenter`; what is not named here is the chart's default.

    `cluster_endpoint` and `queue_name` are strings, or promises of strings that are only passed through.
    """
    values: dict[str, Any] = {
        "settings": {
            "clusterName": cluster_name,
            "clusterEndpoint": cluster_endpoint,
            "interruptionQueue": queue_name,
            # Without this gate Karpenter ignores NodeOverlays and buys one node for each slice.
            "featureGates": {"nodeOverlay": True},
        },
        "serviceAccount": {"name": SERVICE_ACCOUNT},
        "replicas": REPLICAS,
        "controller": {
            # The nodes' hop limit of 1 keeps pods from the metadata service, where Karpenter would ask its region.
            "env": [{"name": "AWS_REGION", "value": region}],
            "resources": {"requests": {"cpu": "500m", "memory": "1Gi"}, "limits": {"memory": "1Gi"}},
        },
    }
    if monitoring:
        # The chart leaves it out where the cluster does not know ServiceMonitor.
        values["serviceMonitor"] = {"enabled": True}
    return values
