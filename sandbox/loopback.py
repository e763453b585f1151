"""The one change that the sandbox makes to Karpenter: it listens on loopback only.

Karpenter v1.14.1 serves metrics and probes on every address of the machine (sigs.k8s.io/karpenter,
pkg/operator/operator.go) and has no option for the address. `go build -overlay` refuses to touch the module cache,
so the core module is copied, changed and put in the original's place by a go.mod of its own.
"""

from __future__ import annotations

import shutil
from pathlib import Path

from sandbox import SandboxError

CORE = "sigs.k8s.io/karpenter"
PATCH = ('fmt.Sprintf(":%d"', 'fmt.Sprintf("127.0.0.1:%d"')
"""What is replaced by what: a part of the build's digest."""

_SOURCE = Path("pkg/operator/operator.go")
_LISTENERS = 2


def modfile(core: Path, module: Path, folder: Path) -> Path:
    """The file for `go build -modfile` that builds `module` (a folder with go.mod and go.sum) with the changed core.

    `core` is the core module's folder in Go's module cache; the copy and the file are written to `folder`.
    Raises SandboxError when that version of Karpenter listens in another way, or the module does not pin the core.
    """
    copy = folder / "karpenter-core"
    for name in ("go.mod", "pkg"):
        _copy(core / name, copy / name)
    source = copy / _SOURCE
    text = source.read_text()
    if text.count(PATCH[0]) != _LISTENERS:
        raise SandboxError(f"{CORE}: expected {_LISTENERS} listeners in {_SOURCE}; it changed with its version")
    source.write_text(text.replace(*PATCH))
    changed = folder / "loopback.mod"
    changed.write_text(_replaced((module / "go.mod").read_text(), copy))
    shutil.copyfile(module / "go.sum", changed.with_suffix(".sum"))
    return changed


def _replaced(go_mod: str, copy: Path) -> str:
    prefix = f"replace {CORE} => "
    lines = go_mod.splitlines()
    if sum(line.startswith(prefix) for line in lines) != 1:
        raise SandboxError(f"go.mod does not replace {CORE} in one line")
    return "\n".join(f'{prefix}"{copy}"' if line.startswith(prefix) else line for line in lines) + "\n"


def _copy(source: Path, target: Path) -> None:
    """Contents without modes: files of Go's module cache are read-only, and a copy must be deletable."""
    if source.is_dir():
        for child in source.iterdir():
            _copy(child, target / child.name)
    else:
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(source, target)
