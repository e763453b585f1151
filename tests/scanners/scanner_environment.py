"""The scanners in a virtual environment of their own, made once and kept in the cache."""

from __future__ import annotations

import hashlib
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

from sandbox.state import locked


class ScannersUnavailable(Exception):
    """The environment could not be made. The text is for the user."""


def scanners_python(requirements: Path, cache: Path, progress: Callable[[str], None]) -> Path:
    """The Python that has the pinned scanners. Once it is there, this needs no network.

    Raises ScannersUnavailable, so that tests fail where nothing was scanned.
    """
    folder = cache / f"scanners-{_digest(requirements)}"
    python = folder / "bin" / "python"
    with locked(cache / "scanners.lock", lambda: progress("scanners: another program installs them; waiting")):
        # It links to the Python that it was made with: where that one is gone, this is not there either.
        if not python.exists():
            progress("scanners: installing checkov and kubernetes-validate (a minute, once)")
            _install_into(folder, requirements)
    return python


def _digest(requirements: Path) -> str:
    parts = [requirements.read_bytes(), sys.version.encode(), sys.base_prefix.encode()]
    return hashlib.sha256(b"\0".join(parts)).hexdigest()[:16]


def _install_into(folder: Path, requirements: Path) -> None:
    """Into a folder beside it that is renamed, so that `folder` is whole whenever it exists."""
    shutil.rmtree(folder, ignore_errors=True)
    # One fixed name: whoever holds the lock may clear what a killed installation left.
    partial = folder.with_name(".scanners.partial")
    shutil.rmtree(partial, ignore_errors=True)
    # This environment's own pip installs into the other one, which needs none and is smaller without.
    _run("-m", "venv", "--without-pip", str(partial))
    install = ["install", "--quiet", "--no-input", "--disable-pip-version-check", "--require-hashes"]
    _run("-m", "pip", "--python", str(partial / "bin" / "python"), *install, "-r", str(requirements))
    partial.rename(folder)


def _run(*arguments: str) -> None:
    done = subprocess.run([sys.executable, *arguments], stdin=subprocess.DEVNULL, capture_output=True, text=True)
    if done.returncode != 0:
        told = "\n".join((done.stdout + done.stderr).splitlines()[-10:])
        raise ScannersUnavailable(f"the scanners could not be installed; once, they need the package registry\n{told}")
