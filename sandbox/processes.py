"""Child processes that outlive the program which starts them, and the waits for what they do.

A child is detached: its own session, no standard input, output to a file. A pipe would tie it to the caller
(the child dies of it, or a caller that reads to the end never returns).
"""

from __future__ import annotations

import os
import socket
import subprocess
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, TypeVar

import psutil

from sandbox import SandboxError

LOOPBACK = "127.0.0.1"

# Two reads of one process' start time differ by the resolution of the boot time (psutil: 0.01 s, and 1 s
# where the system's clock is being slewed); a reused pid starts later than that.
_SAME_START_SECONDS = 1.0

_T = TypeVar("_T")

# Popen objects of this program's own children: polling them reaps a child that ended, which is otherwise a
# zombie.
_children: dict[int, subprocess.Popen[bytes]] = {}


@dataclass(frozen=True)
class ProcessRecord:
    """What identifies a child later, in another program: the pid alone does not, the system reuses it."""

    name: str
    pid: int
    create_time: float
    argv: tuple[str, ...]
    log: str

    def as_dict(self) -> dict[str, Any]:
        return {**asdict(self), "argv": list(self.argv)}

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> ProcessRecord:
        """Raises KeyError or TypeError when `data` is not what `as_dict` wrote."""
        return cls(data["name"], int(data["pid"]), float(data["create_time"]), tuple(data["argv"]), data["log"])


def spawn(name: str, argv: Sequence[str], env: Mapping[str, str], log_dir: Path) -> ProcessRecord:
    """Start `argv` detached, with exactly the environment `env`, its output appended to `log_dir/name.log`.

    Raises SandboxError when the program cannot be started.
    """
    log_dir.mkdir(parents=True, exist_ok=True)
    log = log_dir / f"{name}.log"
    with log.open("ab") as output:
        try:
            child = subprocess.Popen(
                list(argv),
                env=dict(env),
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
                close_fds=True,
            )
        except OSError as error:
            raise SandboxError(f"cannot start {name} ({argv[0]}): {error.strerror or error}") from None
    _children[child.pid] = child
    return ProcessRecord(name, child.pid, _create_time(child.pid), tuple(argv), str(log))


def alive(record: ProcessRecord) -> bool:
    """Whether this very process runs: not a zombie, and not another one that got its pid."""
    return _find(record) is not None


def memory_mib(record: ProcessRecord) -> float:
    """Resident memory in MiB; 0 when the process is gone."""
    process = _find(record)
    try:
        return process.memory_info().rss / 2**20 if process else 0.0
    except psutil.Error:
        return 0.0


def terminate(record: ProcessRecord, grace: float = 10.0) -> None:
    """End one process. See `terminate_all`."""
    terminate_all([record], grace)


def terminate_all(records: Iterable[ProcessRecord], grace: float = 10.0) -> None:
    """Ask the processes to end (TERM), wait up to `grace` seconds for all of them together, kill the rest.

    Raises SandboxError when one survives even that (another user's process, or one stuck in the kernel).
    """
    end_processes([process for process in map(_find, records) if process is not None], grace)


def end_processes(processes: Iterable[psutil.Process], grace: float) -> None:
    """As `terminate_all`, for processes found on the system."""
    targets = list(processes)
    _signal(targets, psutil.Process.terminate)
    _, remaining = psutil.wait_procs(targets, timeout=grace)
    _signal(remaining, psutil.Process.kill)
    _, stuck = psutil.wait_procs(remaining, timeout=5)
    for target in targets:
        _reap(target.pid)
    if stuck:
        raise SandboxError(f"cannot end process {', '.join(str(process.pid) for process in stuck)}")


def marked(name: str, value: str) -> list[psutil.Process]:
    """This user's processes whose environment holds `name=value`, without the calling one."""
    return [p for p in psutil.process_iter() if p.pid != os.getpid() and _environment(p).get(name) == value]


def free_ports(count: int) -> list[int]:
    """`count` distinct TCP ports that are free on loopback now.

    Nothing reserves them: whoever uses them must be ready for another program to be faster.
    """
    with ExitStack() as held:
        sockets = [held.enter_context(socket.socket()) for _ in range(count)]
        for each in sockets:
            each.bind((LOOPBACK, 0))
        return [int(each.getsockname()[1]) for each in sockets]


def wait_for(
    condition: Callable[[], _T],
    timeout: float,
    what: str,
    poll: float = 0.1,
    *,
    watch: Iterable[ProcessRecord] = (),
) -> _T:
    """The first truthy value of `condition`, asked every `poll` seconds.

    Raises SandboxError after `timeout` seconds, or at once when a process in `watch` has died; the message
    names `what` was waited for and shows the end of that process' log.
    """
    watched = tuple(watch)
    deadline = time.monotonic() + timeout
    while True:
        value = condition()
        if value:
            return value
        dead = next((record for record in watched if not alive(record)), None)
        if dead:
            raise SandboxError(f"{dead.name} died while waiting for {what}\n{log_tail(dead.log)}")
        if time.monotonic() >= deadline:
            raise SandboxError(_timed_out(what, timeout, watched))
        time.sleep(poll)


def log_tail(path: str | Path, lines: int = 15) -> str:
    """The last lines of a log under a line with its path; says so when there is nothing to show."""
    try:
        with Path(path).open("rb") as log:
            log.seek(max(0, log.seek(0, os.SEEK_END) - 400 * lines))
            text = log.read().decode(errors="replace")
    except OSError as error:
        return f"  (no log at {path}: {error.strerror})"
    shown = [f"  | {line[:300]}" for line in text.splitlines()[-lines:]]
    return "\n".join([f"  the end of {path}:", *shown]) if shown else f"  ({path} is empty)"


def _timed_out(what: str, timeout: float, watched: Sequence[ProcessRecord]) -> str:
    message = f"waited {timeout:g} s in vain for {what}"
    return "\n".join([message, *(log_tail(record.log) for record in watched)])


def _find(record: ProcessRecord) -> psutil.Process | None:
    _reap(record.pid)
    try:
        process = psutil.Process(record.pid)
        if process.status() == psutil.STATUS_ZOMBIE:
            return None
        same = abs(process.create_time() - record.create_time) < _SAME_START_SECONDS
    except psutil.Error:
        return None
    return process if same else None


def _create_time(pid: int) -> float:
    try:
        return float(psutil.Process(pid).create_time())
    except psutil.Error:
        return time.time()


def _reap(pid: int) -> None:
    child = _children.get(pid)
    if child is not None and child.poll() is not None:
        del _children[pid]


def _signal(processes: Iterable[psutil.Process], action: Callable[[psutil.Process], None]) -> None:
    for process in processes:
        try:
            action(process)
        except psutil.AccessDenied:
            raise SandboxError(f"process {process.pid} ({process.name()}) belongs to another user") from None
        except psutil.NoSuchProcess:
            continue


def _environment(process: psutil.Process) -> dict[str, str]:
    try:
        return dict(process.environ())
    except psutil.Error:
        return {}
