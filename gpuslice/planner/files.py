"""Text of input files."""

from __future__ import annotations

import stat
from pathlib import Path

from gpuslice.planner.errors import InputError, shown


def text_of(path: Path, name: str, allowed: str, most_bytes: int) -> str:
    """The text of a UTF-8 file, without a byte order mark. Devices and pipes could be read for ever, so they are not.

    `name`: what messages call the file; `allowed`: what may stand in its place. Raises InputError; OSError where
    unreadable.
    """
    kind = path.stat()
    if not stat.S_ISREG(kind.st_mode):
        raise InputError([f"{path}: is not a file. Allowed: {allowed}"])
    if kind.st_size > most_bytes:
        raise InputError([f"{name}: has {kind.st_size} bytes. Allowed: at most {most_bytes}"])
    try:
        return path.read_bytes().decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise InputError([f"{name}: is not UTF-8 text (byte {error.start}). Allowed: UTF-8"]) from None


def readable_text(path: Path, name: str, allowed: str, most_bytes: int) -> str:
    """As `text_of`, for a file that another input names: unreadable is an InputError too."""
    try:
        return text_of(path, name, allowed, most_bytes)
    except OSError as error:
        raise InputError([f"{path}: cannot be read: {error.strerror}"]) from None
    except ValueError as error:
        raise InputError([f"{shown(str(path))}: cannot be read: {error}"]) from None
