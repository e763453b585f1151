"""Where the project is, and which stacks it has."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

from gpuslice.fields import nearest
from gpuslice.load import load_stack
from gpuslice.problems import Problem, SettingsError, shown
from gpuslice.settings import Settings

PROJECT = "gpu-slicing"
OFFLINE_VARIABLE = "GPU_SLICING_OFFLINE"
"""Set while the program runs in process, without the engine."""


def project_root() -> Path:
    """The folder with the program: the nearest parent of the current one that holds it, else where this code is."""
    here = Path.cwd()
    for folder in (here, *here.parents):
        if (folder / "Pulumi.yaml").is_file() and (folder / "gpuslice").is_dir():
            return folder
    return Path(__file__).resolve().parents[1]


def stack_file(stack: str, root: Path | None = None) -> Path:
    """The stack's file. Raises SettingsError, naming the stacks that there are, when it has none."""
    folder = root or project_root()
    path = folder / f"Pulumi.{stack}.yaml"
    if not path.is_file():
        stacks = sorted(p.name.split(".")[1] for p in folder.glob("Pulumi.*.yaml"))
        message = f"has no file {path.name} in {folder}"
        problem = Problem("stack", shown(stack), message, ", ".join(stacks), nearest(stack, stacks))
        raise SettingsError([problem])
    return path


def policy_config(stack: str, root: Path) -> Path | None:
    """The stack's configuration of the policy pack, `policies.<stack>.json`; None where it has none."""
    path = root / f"policies.{stack}.json"
    return path if path.is_file() else None


def stack_name(path: Path) -> str:
    """`dev` for `Pulumi.dev.yaml`; the file's stem for any other name."""
    parts = path.name.split(".")
    return parts[1] if len(parts) == 3 and parts[0] == "Pulumi" else path.stem


def read_settings(path: Path) -> Settings:
    """The settings of a stack file. Raises SettingsError."""
    return load_stack(path, stack_name(path))


def cache_directory(environment: Mapping[str, str] = os.environ) -> Path:
    """`$GPUSLICE_CACHE`, else `gpu-slicing` under `$XDG_CACHE_HOME`, else under `~/.cache`."""
    if chosen := environment.get("GPUSLICE_CACHE"):
        return Path(chosen).expanduser().resolve()
    # The XDG specification has relative paths ignored.
    base = Path(environment.get("XDG_CACHE_HOME", ""))
    return (base if base.is_absolute() else Path.home() / ".cache") / "gpu-slicing"
