"""Writes the Kubernetes half of a stack as YAML files, for those who deploy with GitOps."""

from __future__ import annotations

import errno
import os
from collections.abc import Iterable
from pathlib import Path

from gpuslice.manifests.stack import helm_values, stack_manifests
from gpuslice.pools import Pool
from gpuslice.settings import Settings
from gpuslice.text import dump_all

HEADER = "# Made by gpuslice render. Change the stack's settings instead of this file.\n"


def rendered(settings: Settings) -> dict[str, str]:
    """File name to text: every manifest of the stack, and the values of the charts that it needs."""
    pools = [Pool.of(p) for p in settings.pools]
    files = {name: dump_all(objects) for name, objects in stack_manifests(settings).items()}
    files |= {name: dump_all([values]) for name, values in helm_values(settings, pools).items()}
    return {name: HEADER + text for name, text in files.items()}


def write(settings: Settings, folder: Path) -> list[Path]:
    """Writes `rendered` into the folder, which is made if need be, and returns the files. Raises OSError."""
    if folder.exists() and not folder.is_dir():
        raise NotADirectoryError(errno.ENOTDIR, os.strerror(errno.ENOTDIR), str(folder))
    folder.mkdir(parents=True, exist_ok=True)
    paths = []
    for name, text in rendered(settings).items():
        path = folder / name
        path.write_text(text, encoding="utf-8")
        paths.append(path)
    return paths


def leftovers(folder: Path, written: Iterable[Path]) -> list[Path]:
    """Files of an earlier `write` that this one did not make: what they describe is no longer part of the stack."""
    others = sorted(set(folder.glob("*.yaml")) - set(written))
    return [path for path in others if path.read_bytes().startswith(HEADER.encode())]
