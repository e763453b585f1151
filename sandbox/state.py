"""What one sandbox is: a folder, the processes and ports in it, and facts about the cluster."""

from __future__ import annotations

import fcntl
import json
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from sandbox import SandboxError, processes
from sandbox.processes import ProcessRecord

DEFAULT_DIRECTORY = Path(__file__).resolve().parents[1] / ".sandbox"

# Every child carries this variable, so that a child whose record was lost (a caller killed between starting
# it and writing it down) is still found and ended.
MARKER = "GPU_SLICING_SANDBOX"

Progress = Callable[[str], None]

_VERSION = 1


@dataclass
class Sandbox:
    """One sandbox. `facts` holds plain JSON values that the parts of the sandbox tell each other.

    Only one program at a time may change a sandbox (`locked`); any may read it.
    """

    directory: Path
    ports: dict[str, int] = field(default_factory=dict)
    processes: dict[str, ProcessRecord] = field(default_factory=dict)
    facts: dict[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.directory = self.directory.resolve()

    @property
    def state_file(self) -> Path:
        return self.directory / "state.json"

    @property
    def data_dir(self) -> Path:
        """Deleted by stop."""
        return self.directory / "data"

    @property
    def pki_dir(self) -> Path:
        """Keys and certificates; deleted by stop."""
        return self.directory / "pki"

    @property
    def log_dir(self) -> Path:
        """One file per process; kept by stop, emptied by the next start."""
        return self.directory / "logs"

    @property
    def kubeconfig(self) -> Path:
        """The administrator's, mode 0600."""
        return self.directory / "kubeconfig"

    @property
    def endpoint(self) -> str:
        """The API server's URL."""
        return f"https://{processes.LOOPBACK}:{self.ports['kube-apiserver']}"

    @classmethod
    def load(cls, directory: Path = DEFAULT_DIRECTORY) -> Sandbox:
        """Raises SandboxError when there is no sandbox in the folder, or its state cannot be read."""
        found = cls.find(directory)
        if found is None:
            raise SandboxError(f"no sandbox in {directory}: start one with `gpuslice sandbox up`")
        return found

    @classmethod
    def find(cls, directory: Path = DEFAULT_DIRECTORY) -> Sandbox | None:
        """The sandbox in the folder, None where there is none. Raises SandboxError if it is unreadable."""
        path = directory / "state.json"
        try:
            data = json.loads(path.read_text())
        except FileNotFoundError:
            return None
        except (OSError, ValueError) as error:
            raise SandboxError(f"cannot read {path}: {error}; `gpuslice sandbox down` clears it") from None
        try:
            return cls._from_dict(directory, data)
        except (KeyError, TypeError, ValueError, AttributeError):
            raise SandboxError(f"{path} is not a sandbox's state; `gpuslice sandbox down` clears it") from None

    def save(self) -> None:
        """Write the state so that a reader sees the old one or the new one, never a part."""
        _private_folder(self.directory)
        data = {
            "version": _VERSION,
            "ports": self.ports,
            "processes": {name: record.as_dict() for name, record in self.processes.items()},
            "facts": self.facts,
            "kubeconfig": str(self.kubeconfig),
        }
        write_private(self.state_file, json.dumps(data, indent=2).encode())

    def spawn(self, name: str, argv: Sequence[str], env: Mapping[str, str] | None = None) -> ProcessRecord:
        """Start a child of this sandbox (`processes.spawn`), mark it, record it and save.

        `env` is added to PATH, HOME (a folder of the sandbox) and the marker; nothing else of the caller's
        environment reaches the child, so a user's credentials and KUBECONFIG cannot.
        """
        record = processes.spawn(name, argv, {**self._environment(), **(env or {})}, self.log_dir)
        self.processes[name] = record
        self.save()
        return record

    def _environment(self) -> dict[str, str]:
        home = self.data_dir / "home"
        home.mkdir(parents=True, exist_ok=True)
        return {"PATH": os.environ.get("PATH", os.defpath), "HOME": str(home), MARKER: str(self.directory)}

    @classmethod
    def _from_dict(cls, directory: Path, data: Mapping[str, Any]) -> Sandbox:
        if data["version"] != _VERSION:
            raise ValueError("written by another version")
        records = {name: ProcessRecord.from_dict(record) for name, record in data["processes"].items()}
        ports = {name: int(port) for name, port in data["ports"].items()}
        return cls(directory, ports, records, dict(data["facts"]))


def write_private(path: Path, content: bytes) -> None:
    """Write a file readable by its owner alone, at once: a crash leaves the old file or the new one."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(descriptor, "wb") as file:
        file.write(content)
    temporary.replace(path)


@contextmanager
def locked(path: Path, on_wait: Callable[[], None]) -> Iterator[None]:
    """Hold an exclusive lock on a file; calls `on_wait` once when another program has it.

    The lock is the system's, so it ends with its holder however that dies: no leftovers.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("a") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            on_wait()
            fcntl.flock(file, fcntl.LOCK_EX)
        yield


def _private_folder(path: Path) -> None:
    path.mkdir(parents=True, exist_ok=True)
    path.chmod(0o700)
