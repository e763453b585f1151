"""Kubernetes quantities as exact numbers."""

from __future__ import annotations

import re
from decimal import Decimal
from typing import Any

# Source: apimachinery's resource.Quantity: an optional binary or decimal suffix, or an exponent.
_FORM = re.compile(r"([+-]?(?:\d+(?:\.\d*)?|\.\d+))(Ki|Mi|Gi|Ti|Pi|Ei|[numkMGTPE]|[eE][+-]?\d+)?")
_BINARY = {f"{letter}i": Decimal(1024) ** power for power, letter in enumerate("KMGTPE", start=1)}
_DECIMAL = {"n": -9, "u": -6, "m": -3, "k": 3, "M": 6, "G": 9, "T": 12, "P": 15, "E": 18}
_EXPONENT_LIMIT = 100


def parse_quantity(value: Any) -> Decimal | None:
    """The exact value of a quantity or a number, None where it is neither. A boolean is no number."""
    if isinstance(value, bool) or not isinstance(value, str | int | float | Decimal):
        return None
    match = _FORM.fullmatch(str(value).strip())
    if match is None:
        return None
    number, suffix = Decimal(match[1]), match[2] or ""
    if suffix in _BINARY:
        return number * _BINARY[suffix]
    exponent = _DECIMAL[suffix] if suffix in _DECIMAL else int(suffix[1:] or 0)
    return number.scaleb(exponent) if abs(exponent) <= _EXPONENT_LIMIT else None


def mib(value: Decimal) -> Decimal:
    """Bytes in MiB."""
    return value / (1024 * 1024)
