"""How the sandbox runs the AWS Karpenter controller outside a cluster, against the simulated account."""

from __future__ import annotations

import urllib.error
import urllib.request
from dataclasses import dataclass
from pathlib import Path

from sandbox.account import CREDENTIALS

# Namespace in which Karpenter records its own events and would elect a leader; production's.
SYSTEM_NAMESPACE = "kube-system"

_PROBE_SECONDS = 2.0


@dataclass(frozen=True)
class Options:
    """`metrics_port` and `probe_port` are free TCP ports; `cluster_endpoint` is what nodes would connect to.

    `aws_endpoint` and `pricing_endpoint` are the simulator's `aws` and `admin`.
    """

    kubeconfig: Path
    cluster_name: str
    cluster_endpoint: str
    aws_endpoint: str
    pricing_endpoint: str
    region: str
    interruption_queue: str
    metrics_port: int
    probe_port: int
    log_level: str = "info"


def command(binary: Path, options: Options) -> tuple[list[str], dict[str, str]]:
    """The argument vector and the environment to add for the child.

    Option names: karpenter v1.14.1 `pkg/operator/options` of the core and of the AWS provider; the kubeconfig is
    found as controller-runtime does, by KUBECONFIG. Batching, budgets and timeouts keep production's defaults.
    The instance metadata service and the user's AWS files are out of reach, so that nothing but the simulated
    account can ever be called.
    """
    environment = {
        **CREDENTIALS,
        "AWS_ENDPOINT_URL": options.aws_endpoint,
        "AWS_ENDPOINT_URL_PRICING": options.pricing_endpoint,
        "AWS_REGION": options.region,
        "AWS_EC2_METADATA_DISABLED": "true",
        "AWS_CONFIG_FILE": "/dev/null",
        "AWS_SHARED_CREDENTIALS_FILE": "/dev/null",
        "NO_PROXY": "127.0.0.1,localhost",
        "KUBECONFIG": str(options.kubeconfig),
        "SYSTEM_NAMESPACE": SYSTEM_NAMESPACE,
        "KARPENTER_SERVICE": "karpenter",
        "CLUSTER_NAME": options.cluster_name,
        "CLUSTER_ENDPOINT": options.cluster_endpoint,
        "INTERRUPTION_QUEUE": options.interruption_queue,
        "FEATURE_GATES": "NodeOverlay=true",
        "DISABLE_LEADER_ELECTION": "true",
        "METRICS_PORT": str(options.metrics_port),
        "HEALTH_PROBE_PORT": str(options.probe_port),
        "LOG_LEVEL": options.log_level,
    }
    return [str(binary)], environment


def ready(probe_port: int) -> bool:
    """Whether the controller's caches are filled and its CRDs are there (`/readyz`)."""
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{probe_port}/readyz", timeout=_PROBE_SECONDS) as answer:
            return bool(answer.status == 200)
    except (urllib.error.URLError, OSError):
        return False
