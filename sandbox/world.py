"""The processes beside the control plane: the simulated AWS with its nodes, and the AWS Karpenter controller."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from sandbox import SandboxError, account, controlplane, karpenter
from sandbox.account import SeedRequest, Simulator
from sandbox.build import Binaries, ensure_binaries
from sandbox.processes import alive, free_ports, terminate, wait_for
from sandbox.state import Sandbox

Progress = Callable[[str], None]
KARPENTER = "karpenter"
_START_SECONDS = 90.0


def start(directory: Path, progress: Progress, binaries: Binaries | None = None) -> Sandbox:
    """The control plane and the simulated AWS, started or found running."""
    sandbox = controlplane.start(directory, progress, binaries)
    if account.find(sandbox) is None:
        progress("starting the simulated AWS")
        account.start(sandbox)
    return sandbox


def simulator(sandbox: Sandbox) -> Simulator:
    """The simulated AWS of a running sandbox. Raises SandboxError where none answers."""
    found = account.find(sandbox)
    if found is None:
        raise SandboxError("the simulated AWS does not run: start it with `gpuslice sandbox up`")
    return found


def start_karpenter(sandbox: Sandbox, request: SeedRequest, progress: Progress) -> None:
    """The controller for that cluster; another cluster's is stopped first."""
    aws = simulator(sandbox)
    identity = [request.cluster_name, request.region, request.queue_name, aws.aws]
    record = sandbox.processes.get(KARPENTER)
    if record is not None and alive(record):
        if sandbox.facts.get(KARPENTER) == identity:
            return
        progress("stopping Karpenter: the cluster's name changed")
        terminate(record)
    progress("starting Karpenter")
    metrics_port, probe_port = free_ports(2)
    options = karpenter.Options(
        kubeconfig=sandbox.kubeconfig,
        cluster_name=request.cluster_name,
        cluster_endpoint=sandbox.endpoint,
        aws_endpoint=aws.aws,
        pricing_endpoint=aws.admin,
        region=request.region,
        interruption_queue=request.queue_name,
        metrics_port=metrics_port,
        probe_port=probe_port,
    )
    argv, environment = karpenter.command(ensure_binaries(progress).karpenter, options)
    sandbox.facts[KARPENTER] = identity
    sandbox.ports |= {KARPENTER: metrics_port, "karpenter-probe": probe_port}
    record = sandbox.spawn(KARPENTER, argv, environment)
    wait_for(lambda: karpenter.ready(probe_port), _START_SECONDS, "Karpenter to be ready", watch=[record])
