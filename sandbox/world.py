"""The processes beside the control plane: the simulated AWS with its nodes, and the AWS Karpenter controller."""

from __future__ import annotations

import json
import sys
import urllib.error
import urllib.request
from collections.abc import Callable
from pathlib import Path
from typing import Any

from sandbox import SandboxError, controlplane, karpenter
from sandbox.aws import SeedRequest, SeedResult
from sandbox.build import Binaries, ensure_binaries
from sandbox.processes import alive, free_ports, terminate, wait_for
from sandbox.simulator import ADDRESS_FILE
from sandbox.state import Sandbox

Progress = Callable[[str], None]
SIMULATOR, KARPENTER = "simulator", "karpenter"
_START_SECONDS = 90.0
_SEED_SECONDS = 60.0


def start(directory: Path, progress: Progress, binaries: Binaries | None = None) -> Sandbox:
    """The control plane and the simulated AWS, started or found running."""
    sandbox = controlplane.start(directory, progress, binaries)
    start_simulator(sandbox, progress)
    return sandbox


def start_simulator(sandbox: Sandbox, progress: Progress) -> None:
    record = sandbox.processes.get(SIMULATOR)
    if record is not None and alive(record):
        return
    progress("starting the simulated AWS")
    (sandbox.directory / ADDRESS_FILE).unlink(missing_ok=True)
    root = Path(__file__).resolve().parents[1]
    argv = [sys.executable, "-m", "sandbox.simulator", "--directory", str(sandbox.directory)]
    record = sandbox.spawn(SIMULATOR, argv, {"PYTHONPATH": str(root)})
    wait_for(lambda: _addresses(sandbox) is not None, _START_SECONDS, "the simulated AWS to answer", watch=[record])


def _addresses(sandbox: Sandbox) -> dict[str, Any] | None:
    try:
        found = json.loads((sandbox.directory / ADDRESS_FILE).read_text())
    except (OSError, ValueError):
        return None
    return found if found.get("pid") == sandbox.processes[SIMULATOR].pid else None


def addresses(sandbox: Sandbox) -> dict[str, str]:
    """`aws` and `admin`: the simulator's URLs. Raises SandboxError while it does not run."""
    found = _addresses(sandbox)
    if found is None:
        raise SandboxError("the simulated AWS does not run: start it with `gpuslice sandbox up`")
    return found


def post(sandbox: Sandbox, path: str, body: bytes) -> Any:
    """A call of the simulator's administration endpoint."""
    request = urllib.request.Request(addresses(sandbox)["admin"] + path, data=body, method="POST")
    try:
        with urllib.request.urlopen(request, timeout=_SEED_SECONDS) as answer:
            return json.loads(answer.read())
    except urllib.error.HTTPError as error:
        raise SandboxError(f"the simulated AWS refused {path}: {error.read().decode(errors='replace')[:500]}") from None
    except OSError as error:
        raise SandboxError(f"the simulated AWS did not answer {path}: {error}") from None


def instances(sandbox: Sandbox) -> list[dict[str, Any]]:
    """The EC2 instances of the simulated account, terminated ones included."""
    with urllib.request.urlopen(addresses(sandbox)["admin"] + "/instances", timeout=_SEED_SECONDS) as answer:
        found: list[dict[str, Any]] = json.loads(answer.read())
    return found


def seed(sandbox: Sandbox, request: SeedRequest) -> SeedResult:
    """Make the simulated account hold what the program declares; doing it twice changes nothing."""
    return SeedResult.model_validate(post(sandbox, "/seed", request.model_dump_json().encode()))


def start_karpenter(sandbox: Sandbox, request: SeedRequest, progress: Progress) -> None:
    """The controller for that cluster; another cluster's is stopped first."""
    identity = [request.cluster_name, request.region, request.queue_name, addresses(sandbox)["aws"]]
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
        aws_endpoint=addresses(sandbox)["aws"],
        pricing_endpoint=addresses(sandbox)["admin"],
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
