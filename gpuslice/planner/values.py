"""Values of the input, from text or YAML to whole numbers. Each raises ValueError with what is allowed."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from difflib import get_close_matches
from functools import lru_cache
from typing import Any

from gpuslice.planner.errors import shown
from gpuslice.planner.model import MILLION

MOST_COUNT = 1_000_000
_MOST_MIB = 4 * 1024 * 1024
_UNITS = {"Ki": 1 / 1024, "Mi": 1.0, "Gi": 1024.0, "Ti": 1024.0 * 1024, "M": 1e6 / 2**20, "G": 1e9 / 2**20}
_AMOUNT = re.compile(r"([0-9]{1,9}(?:\.[0-9]{1,6})?)(Ki|Mi|Gi|Ti|M|G)")
_CPU = re.compile(r"([0-9]{1,6}(?:\.[0-9]{1,3})?)(m?)")
_GROUP = re.compile(r"[a-z0-9]([-a-z0-9]{0,28}[a-z0-9])?")
_MEMORY_WORDS = "an amount such as 512Mi or 3Gi"


class Wrong(ValueError):
    """A value that cannot be used: what is wrong, and what is allowed."""

    def __init__(self, what: str, allowed: str) -> None:
        super().__init__(f"{what}. Allowed: {allowed}")


def name(value: Any) -> str:
    text = value if isinstance(value, str) else ""
    if not text.strip() or len(text) > 253 or not text.isprintable():
        raise Wrong(f"is {shown(value)}", "text of 1 to 253 printable characters")
    return text.strip()


def count(value: Any) -> int:
    number = value if isinstance(value, int) and not isinstance(value, bool) else _whole(value)
    if number is None or not 1 <= number <= MOST_COUNT:
        raise Wrong(f"is {shown(value)}", f"a whole number from 1 to {MOST_COUNT}")
    return number


def _whole(value: Any) -> int | None:
    text = value.strip() if isinstance(value, str) else ""
    return int(text) if re.fullmatch(r"0|[1-9][0-9]{0,8}", text, re.ASCII) else None


def amount_mib(value: Any, least: int = 1) -> int:
    """Memory with a unit, in MiB, rounded up."""
    match = _AMOUNT.fullmatch(value.strip()) if isinstance(value, str) else None
    if match is None:
        raise Wrong(
            f"is {shown(value)}, without a unit" if _number(value) is not None else f"is {shown(value)}", _MEMORY_WORDS
        )
    mib = math.ceil(round(float(match[1]) * _UNITS[match[2]], 6))
    if not least <= mib <= _MOST_MIB:
        raise Wrong(f"is {shown(value)}", f"{_MEMORY_WORDS}, from {least}Mi to 4Ti")
    return mib


def gib(value: Any, least: int = 1) -> int:
    """A number of GiB, in MiB, rounded up."""
    number = _number(value)
    if number is None or not least / 1024 <= number <= 4096:
        hint = f" ({number:g} is a number of MiB, it seems)" if number is not None and number > 4096 else ""
        raise Wrong(f"is {shown(value)}{hint}", f"a number of GiB from {least / 1024:.3g} to 4096")
    return math.ceil(round(number * 1024, 6))


def share(value: Any) -> int:
    """A part of a GPU, in millionths, rounded up."""
    number = _number(value)
    if number is None or not 0 < number <= 1:
        hint = ""
        if number is not None and 2 <= number <= 100:
            hint = f" (write {number / 100:g} for {number:g} %)"
        raise Wrong(f"is {shown(value)}{hint}", "a part of one GPU above 0, up to 1, such as 0.25")
    return min(MILLION, math.ceil(round(number * MILLION, 3)))


def _number(value: Any) -> float | None:
    """A finite number, from a number or plain decimal text; no `nan`, no `1_000`, no `٣`."""
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        return None
    if isinstance(value, str):
        text = value.strip()
        if not re.fullmatch(r"-?[0-9]{1,12}(\.[0-9]{0,12})?([eE][-+]?[0-9]{1,2})?|-?\.[0-9]{1,12}", text, re.ASCII):
            return None
        value = float(text)
    return float(value) if abs(value) < 1e15 and math.isfinite(value) else None


def plain(text: str) -> int | float | str:
    """Text of a command line as the value that the same text is in YAML."""
    number = _number(text)
    if number is None:
        return text
    return int(text) if text.strip().isdecimal() else number


def cpu_milli(value: Any) -> int:
    """Cores such as `2`, `0.5` or `500m`, in millicores."""
    text = str(value).strip() if isinstance(value, int | float | str) and not isinstance(value, bool) else ""
    match = _CPU.fullmatch(text)
    milli = math.ceil(round(float(match[1]) * (1 if match[2] else 1000), 6)) if match else 0
    if match is None or not 0 <= milli <= 1_000_000:
        raise Wrong(f"is {shown(value)}", "cores such as 2 or 500m, at most 1000")
    return milli


def group(value: Any) -> str:
    text = value if isinstance(value, str) else ""
    if text and not _GROUP.fullmatch(text):
        raise Wrong(f"is {shown(value)}", "1 to 30 lower-case letters, digits and hyphens, such as team-a")
    if not text and value not in ("", None):
        raise Wrong(f"is {shown(value)}", "text such as team-a")
    return text


def one_of(value: Any, allowed: Sequence[str]) -> str:
    if value not in allowed:
        raise Wrong(f"is {shown(value)}", f"{', '.join(allowed)}{nearest(value, allowed)}")
    return str(value)


def nearest(value: Any, allowed: Sequence[str]) -> str:
    """`. Did you mean x?` for a near miss, else nothing."""
    close = get_close_matches(str(value).lower(), allowed, n=1)
    return f". Did you mean {close[0]}?" if close else ""


@lru_cache(maxsize=4096)
def gpu(value: str) -> str:
    """The catalogue's key of a GPU model that is written as people and DCGM do. Raises InputError."""
    from gpuslice.planner.speeds import gpu_key

    return gpu_key(value)
