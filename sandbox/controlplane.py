"""The control plane of one sandbox: etcd, API server, controller manager, scheduler and KWOK, on loopback.

The cluster is new at every start: its purpose is to show what a deployment does, and yesterday's objects
would hide that.
"""

from __future__ import annotations

import shutil
import ssl
import time
import urllib.error
import urllib.request
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any

import yaml

from gpuslice.catalog.versions import SANDBOX_KUBERNETES
from sandbox import SandboxError, servers
from sandbox.build import Binaries, ensure_binaries
from sandbox.client import Cluster, connect
from sandbox.processes import (
    LOOPBACK,
    ProcessRecord,
    alive,
    end_processes,
    free_ports,
    marked,
    memory_mib,
    terminate_all,
    wait_for,
)
from sandbox.servers import API_SERVER, CONTROLLER_MANAGER, ETCD, KWOK, SCHEDULER, SERVERS, Credentials
from sandbox.state import DEFAULT_DIRECTORY, MARKER, Progress, Sandbox, locked, write_private

_START_SECONDS = 120
_GRACE_SECONDS = 10
_LEFTOVER_GRACE_SECONDS = 1
_ATTEMPTS = 3
_VERSION_FACT = "kubernetesVersion"
_PORT_TAKEN = "address already in use"


@dataclass(frozen=True)
class ProcessStatus:
    """One child; `port` is None where it serves none, `memory_mib` 0 where it is dead."""

    name: str
    pid: int
    alive: bool
    port: int | None
    memory_mib: float


@dataclass(frozen=True)
class Status:
    """What runs in a folder. `nodes` and `pods` are None where no API server answers."""

    directory: str
    api_healthy: bool
    endpoint: str | None
    kubeconfig: str | None
    processes: tuple[ProcessStatus, ...]
    nodes: int | None
    pods: int | None

    @property
    def running(self) -> bool:
        """Every process lives and the API server is ready."""
        return self.api_healthy and all(process.alive for process in self.processes)

    def as_dict(self) -> dict[str, Any]:
        """Plain JSON values."""
        return {
            **asdict(self),
            "running": self.running,
            "processes": [asdict(each) for each in self.processes],
        }


def start(directory: Path = DEFAULT_DIRECTORY, progress: Progress = print, binaries: Binaries | None = None) -> Sandbox:
    """The control plane of this folder, ready: it is returned as it is when it runs, else made anew.

    Ready means: the API server answers, Karpenter's CRDs are established, the controllers, the scheduler
    and KWOK work. What an earlier, killed run left (processes, data) is removed first. `binaries` saves the
    look into the cache. Raises SandboxError; then nothing is left running, and the logs are kept.
    """
    with _exclusive(directory, progress):
        running = _healthy(directory)
        if running is not None:
            progress(f"the control plane runs at {running.endpoint}")
            return running
        programs = binaries or ensure_binaries(progress)
        _clear(directory, progress)
        return _boot_on_free_ports(directory, programs, progress)


def stop(target: Sandbox | Path = DEFAULT_DIRECTORY, progress: Progress = print) -> None:
    """End every process of the sandbox and delete its data, keys and kubeconfig; the logs stay.

    Nothing to stop is no error. Raises SandboxError when a process survives.
    """
    directory = target.directory if isinstance(target, Sandbox) else target
    if not directory.is_dir():
        return
    with _exclusive(directory, progress):
        _clear(directory, progress)


def status(directory: Path = DEFAULT_DIRECTORY) -> Status:
    """What runs in the folder; for an absent sandbox a status without processes. Raises SandboxError for a
    state that cannot be read."""
    sandbox = Sandbox.find(directory)
    if sandbox is None:
        return Status(str(directory), False, None, None, (), None, None)
    cluster = connect(sandbox.kubeconfig) if sandbox.kubeconfig.exists() else None
    healthy = cluster is not None and _ready(cluster)
    return Status(
        directory=str(sandbox.directory),
        api_healthy=healthy,
        endpoint=sandbox.endpoint,
        kubeconfig=str(sandbox.kubeconfig),
        processes=tuple(_process_status(sandbox, record) for record in sandbox.processes.values()),
        nodes=len(cluster.list("v1", "Node")) if cluster and healthy else None,
        pods=len(cluster.list("v1", "Pod")) if cluster and healthy else None,
    )


def _process_status(sandbox: Sandbox, record: ProcessRecord) -> ProcessStatus:
    port = sandbox.ports.get(record.name)
    return ProcessStatus(record.name, record.pid, alive(record), port, round(memory_mib(record), 1))


def _exclusive(directory: Path, progress: Progress) -> AbstractContextManager[None]:
    def waiting() -> None:
        progress(f"another program starts or stops the sandbox in {directory}; waiting")

    return locked(directory / "lock", waiting)


def _healthy(directory: Path) -> Sandbox | None:
    try:
        sandbox = Sandbox.find(directory)
        if sandbox is None or not all(name in sandbox.processes for name in SERVERS):
            return None
        if not all(alive(sandbox.processes[name]) for name in SERVERS):
            return None
        # Written last: without it the start was cut short; with another version the project has moved on.
        if sandbox.facts.get(_VERSION_FACT) != SANDBOX_KUBERNETES:
            return None
        return sandbox if _ready(connect(sandbox.kubeconfig)) else None
    except SandboxError:
        # Whatever is wrong with the old one, a new one takes its place.
        return None


def _clear(directory: Path, progress: Progress) -> None:
    """End what runs and delete all but the logs."""
    try:
        sandbox = Sandbox.find(directory) or Sandbox(directory)
    except SandboxError as error:
        progress(f"{error.args[0].splitlines()[0]}: going by the processes' marks instead")
        sandbox = Sandbox(directory)
    running = [record for record in sandbox.processes.values() if alive(record)]
    if running:
        progress(f"stopping {', '.join(record.name for record in reversed(running))}")
    _end(running)
    # In no known order, so the API server may not end by itself; nothing of theirs is worth waiting for.
    end_processes(marked(MARKER, str(sandbox.directory)), _LEFTOVER_GRACE_SECONDS)
    for folder in (sandbox.data_dir, sandbox.pki_dir):
        shutil.rmtree(folder, ignore_errors=True)
    for file in (sandbox.kubeconfig, sandbox.state_file):
        file.unlink(missing_ok=True)


def _end(running: list[ProcessRecord]) -> None:
    by_name = {record.name: record for record in running}
    store, api = by_name.pop(ETCD, None), by_name.pop(API_SERVER, None)
    terminate_all(by_name.values(), _GRACE_SECONDS)
    if api:
        # Without etcd the API server ignores the request to end, so it goes first, or at once.
        terminate_all([api], _GRACE_SECONDS if store else 0)
    if store:
        terminate_all([store], _GRACE_SECONDS)


def _boot_on_free_ports(directory: Path, binaries: Binaries, progress: Progress) -> Sandbox:
    for attempt in range(1, _ATTEMPTS + 1):
        sandbox = Sandbox(directory, dict(zip(servers.PORTS, free_ports(len(servers.PORTS)), strict=True)))
        shutil.rmtree(sandbox.log_dir, ignore_errors=True)
        try:
            _boot(sandbox, binaries, progress)
            return sandbox
        except BaseException as error:
            _clear(directory, progress)
            retry = isinstance(error, SandboxError) and _lost_a_port(sandbox)
            if not retry or attempt == _ATTEMPTS:
                raise
        progress("another program took one of the ports; trying others")
    raise AssertionError("unreachable: the last attempt returns or raises")


def _lost_a_port(sandbox: Sandbox) -> bool:
    return any(_PORT_TAKEN in log.read_text(errors="replace") for log in sandbox.log_dir.glob("*.log"))


def _boot(sandbox: Sandbox, binaries: Binaries, progress: Progress) -> None:
    started = time.monotonic()
    credentials = _prepare(sandbox)
    progress("starting etcd and the API server")
    sandbox.spawn(ETCD, servers.etcd(sandbox, binaries, credentials))
    sandbox.spawn(API_SERVER, servers.api_server(sandbox, binaries, credentials))
    cluster = connect(sandbox.kubeconfig)
    _wait(sandbox, lambda: _ready(cluster), "the API server to be ready")
    progress("starting the controller manager, the scheduler and KWOK")
    sandbox.spawn(CONTROLLER_MANAGER, servers.controller_manager(sandbox, binaries, credentials))
    sandbox.spawn(SCHEDULER, servers.scheduler(sandbox, binaries, credentials))
    sandbox.spawn(KWOK, servers.kwok(sandbox, binaries))
    _install_crds(sandbox, cluster, binaries.karpenter_crds)
    _wait_for_components(sandbox, cluster, credentials)
    cluster.close()
    sandbox.facts[_VERSION_FACT] = SANDBOX_KUBERNETES
    sandbox.save()
    progress(f"the control plane is ready at {sandbox.endpoint} after {time.monotonic() - started:.1f} s")


def _prepare(sandbox: Sandbox) -> Credentials:
    sandbox.save()
    sandbox.data_dir.mkdir(exist_ok=True)
    credentials = servers.issue(sandbox.pki_dir)
    for user in ("admin", CONTROLLER_MANAGER, SCHEDULER, KWOK):
        text = yaml.safe_dump(credentials.kubeconfig(user, sandbox.endpoint), sort_keys=False)
        write_private(servers.kubeconfig_path(sandbox, user), text.encode())
    return credentials


def _install_crds(sandbox: Sandbox, cluster: Cluster, folder: Path) -> None:
    # The C loader where PyYAML has it: these files are large, and the other takes seconds for them.
    loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
    names = []
    for file in sorted(folder.glob("*.yaml")):
        for crd in yaml.load_all(file.read_text(), Loader=loader):
            cluster.apply(crd)
            names.append(crd["metadata"]["name"])

    def established() -> bool:
        return all(_established(cluster, name) for name in names)

    _wait(sandbox, established, f"the CRDs {', '.join(names)} to be established")


def _established(cluster: Cluster, name: str) -> bool:
    crd = cluster.get("apiextensions.k8s.io/v1", "CustomResourceDefinition", name) or {}
    # The server writes null before it writes the first condition.
    conditions = crd.get("status", {}).get("conditions") or []
    return any(each["type"] == "Established" and each["status"] == "True" for each in conditions)


def _wait_for_components(sandbox: Sandbox, cluster: Cluster, credentials: Credentials) -> None:
    trust = ssl.create_default_context(cafile=str(credentials.authority))
    # KWOK alone serves plain HTTP.
    for name, scheme in ((CONTROLLER_MANAGER, "https"), (SCHEDULER, "https"), (KWOK, "http")):
        url = f"{scheme}://{LOOPBACK}:{sandbox.ports[name]}/healthz"
        _wait(sandbox, partial(_answers, url, trust), f"{name} to be healthy")
    # Without its service account a namespace takes no pods.
    account = ("v1", "ServiceAccount", "default", "default")
    _wait(sandbox, lambda: cluster.get(*account) is not None, "the default service account")


def _wait(sandbox: Sandbox, condition: Callable[[], bool], what: str) -> None:
    wait_for(condition, _START_SECONDS, what, watch=sandbox.processes.values())


def _ready(cluster: Cluster) -> bool:
    try:
        return cluster.raw("/readyz") == "ok"
    except SandboxError:
        return False


def _answers(url: str, trust: ssl.SSLContext) -> bool:
    # No proxy of the caller's environment may stand before loopback.
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}), urllib.request.HTTPSHandler(context=trust))
    try:
        with opener.open(url, timeout=5) as answer:
            return bool(answer.status == 200)
    except (urllib.error.URLError, OSError):
        return False
