"""Money, shares and names as pictures and pages print them."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

UNKNOWN = "unknown"
# What neither XML nor HTML may hold, and what would break or turn a line of text.
_ODD = re.compile("[\x00-\x1f\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069\ud800-\udfff\ufffe\uffff]")


def dollars(value: float | None) -> str:
    """US dollars to the cent, such as `$2,165.76`; `unknown` for None."""
    return UNKNOWN if value is None else _signed(value, f"{abs(value):,.2f}")


def hourly(value: float | None) -> str:
    """US dollars with every digit of a price per hour, at least two: `$3.008`."""
    if value is None:
        return UNKNOWN
    whole, _, rest = f"{abs(value):,.6f}".partition(".")
    return _signed(value, f"{whole}.{rest.rstrip('0').ljust(2, '0')}")


def compact(value: float) -> str:
    """US dollars in few characters, for axes and crowded bars: `$541`, `$10.8k`, `$1.2M`."""
    size = abs(value)
    if size >= 999_500:
        return _signed(value, f"{size / 1e6:,.3g}M" if size < 1e9 else f"{size / 1e6:,.0f}M")
    if size >= 9_995:
        return _signed(value, f"{size / 1000:.3g}k")
    return _signed(value, f"{size:,.0f}" if size >= 10 or size == int(size) else f"{size:.2f}")


def _signed(value: float, digits: str) -> str:
    return f"-${digits}" if value < 0 else f"${digits}"


def listed(names: Sequence[str], most: int, count: int = 0, what: str = "more") -> str:
    """The first few names, and how many more there are: `a, b and 3 more`. `count`: of all, where not all are given."""
    more = max(count, len(names)) - most
    return ", ".join(names[:most]) + (f" and {more} {what}" if more > 0 else "")


def percent(fraction: float | None, digits: int = 1) -> str:
    """A share in percent with no idle zeros: `75 %`, `11.1 %`; what is not nought is never shown as nought."""
    if fraction is None:
        return UNKNOWN
    least = 10**-digits
    if 0 < abs(fraction) * 100 < least / 2:
        return f"< {least:.{digits}f}\u00a0%"
    text = f"{fraction * 100:,.{digits}f}"
    text = text.rstrip("0").rstrip(".") if "." in text else text
    return f"{'0' if text == '-0' else text}\u00a0%"


def counted(count: int, one: str, many: str = "") -> str:
    """`1 node`, `5,000 nodes`."""
    return f"{count:,} {one if count == 1 else many or one + 's'}"


def clean(value: Any) -> str:
    """A value from the input on one line, without characters that XML or HTML forbids or that turn the text's order."""
    return _ODD.sub("\ufffd", str(value).replace("\r\n", " ").replace("\n", " ").replace("\t", " "))


def shorten(value: Any, most: int) -> str:
    """At most `most` characters; what is left out is left out of the middle, as names often differ at their end."""
    text = clean(value)
    if len(text) <= most:
        return text
    tail = (most - 1) // 3
    return f"{text[: most - 1 - tail]}…{text[len(text) - tail :]}"
