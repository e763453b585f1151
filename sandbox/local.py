"""`up`, `down` and `status` of the sandbox, as the command line offers them."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from pathlib import Path

from gpuslice.catalog.prices import stack_prices
from offline import preview
from offline.policy_pack import PolicyRefused
from sandbox import build, controlplane, world
from sandbox.client import connect
from sandbox.deploy import deploy
from sandbox.summary import lines, summarize

Progress = Callable[[str], None]
FOLDER = ".sandbox"


def up(root: Path, stack: str, progress: Progress) -> int:
    """Deploys a stack of mode `sandbox` and prints what runs. Raises SandboxError, SettingsError or PolicyRefused."""
    recording = preview.judged(root, stack, unknowns=False)
    _refuse(recording, progress)
    if not build.built():
        preview.show(recording)
        progress("the control plane is built from source once, about 11 minutes on two cores; meanwhile, see above")
    binaries = build.ensure_binaries(progress)
    sandbox = world.start(root / FOLDER, progress, binaries)
    deployed = deploy(sandbox, recording.recording, recording.settings.region, progress)
    cluster = connect(sandbox.kubeconfig)
    try:
        region = recording.settings.region
        print("\n".join(lines(summarize(cluster), deployed.left_out, region, stack_prices(region))))
    finally:
        cluster.close()
    print(f"\nLook around: kubectl --kubeconfig {FOLDER}/kubeconfig get nodes,pods -A\nStop it:     make down")
    return 0


def _refuse(recording: preview.StackRecording, progress: Progress) -> None:
    """Stops before anything is built, started or changed where a mandatory policy is violated."""
    report = recording.policies
    if report is None or report.refused:
        told = "\n".join(report.lines()) if report else "the policy pack did not judge it"
        raise PolicyRefused(f"stack {recording.stack} was not deployed\n{told}")
    for line in report.lines():
        progress(line)


def start(root: Path, progress: Progress) -> int:
    """The control plane and the simulated AWS, with nothing deployed."""
    sandbox = world.start(root / FOLDER, progress)
    print(f"API server {sandbox.endpoint}\nkubeconfig {sandbox.kubeconfig}")
    return 0


def down(root: Path, progress: Progress) -> int:
    """Ends every process of the sandbox and deletes its data."""
    controlplane.stop(root / FOLDER, progress)
    progress("the sandbox is stopped")
    return 0


def status(root: Path, as_json: bool) -> int:
    """What runs: exit code 0 when the API server is healthy, else 2."""
    found = controlplane.status(root / FOLDER)
    if as_json:
        json.dump(found.as_dict(), sys.stdout, indent=2)
        print()
    elif not found.processes:
        print("no sandbox runs here; start one with `make up`")
    else:
        print(f"API server {'healthy' if found.api_healthy else 'DOWN'} at {found.endpoint}")
        for process in found.processes:
            state = "running" if process.alive else "DOWN"
            port = f"port {process.port}" if process.port else ""
            print(f"  {process.name:<24} {state:<8} pid {process.pid:<8} {process.memory_mib:7.1f} MiB  {port}")
        print(f"nodes {found.nodes}, pods {found.pods}")
    return 0 if found.api_healthy else 2
