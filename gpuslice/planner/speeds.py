"""How fast one GPU model is against another, and which model a written name means.

The figures are the vendor's peaks (`catalog/gpu_speeds.csv`, with the source of each): memory bandwidth, dense FP16 of
the tensor cores, FP32. What bounds a workload is not known, so the least of the three ratios counts: a workload is
taken to gain the least, or to lose the most, that any of them allows. Two models have no figures: `t4g` (no vendor
datasheet found) and `rtx-pro-4500` (no dense FP16 found for the Server Edition). Use is not carried to or from them.
"""

from __future__ import annotations

import csv
import difflib
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from fractions import Fraction
from functools import lru_cache
from pathlib import Path
from types import MappingProxyType

from gpuslice.catalog import gpu_models
from gpuslice.planner.errors import InputError, shown

_TABLE = Path(__file__).parents[1] / "catalog" / "gpu_speeds.csv"

# The sizes, in GB, that a name may give, each with the key that it means. A V100 of 16 GB is a `v100` too: the
# datasheet gives both sizes the same bandwidth and speed, and the key says nothing else about measured use.
_FAMILIES: Mapping[str, Mapping[int, str]] = {
    "t4": {16: "t4"},
    "t4g": {16: "t4g"},
    "a10g": {24: "a10g"},
    "l4": {24: "l4"},
    "l40s": {48: "l40s"},
    "v100": {16: "v100", 32: "v100"},
    "a100": {40: "a100-40gb", 80: "a100-80gb"},
    "h100": {80: "h100-80gb"},
    "h200": {141: "h200-141gb"},
    "b200": {180: "b200-180gb", 192: "b200-180gb"},
    "b300": {269: "b300-269gb", 288: "b300-269gb"},
    "rtxpro4500": {32: "rtx-pro-4500"},
    "rtxpro6000": {96: "rtx-pro-server-6000"},
}
# Other makes of a chip: those of PCIe are slower than the catalogue's SXM, so use measured on them is carried too
# high, never too low. NVL, Max-Q and Workstation cards are faster in one respect or other, so they are not here.
_MAKE = re.compile(r"sxm\d?|pcie|hbm\d?e?|ac")
_FILLERS = frozenset({"nvidia", "tesla", "tensor", "core", "gpu"})
_SIZE = re.compile(r"(\d+)gb")


@dataclass(frozen=True, slots=True)
class Speed:
    """Peaks of one GPU: memory bandwidth in GB/s, dense FP16 tensor TFLOPS, FP32 TFLOPS."""

    memory_gb_s: Fraction
    fp16_tflops: Fraction
    fp32_tflops: Fraction
    source: str

    @property
    def figures(self) -> tuple[Fraction, Fraction, Fraction]:
        return self.memory_gb_s, self.fp16_tflops, self.fp32_tflops


@lru_cache(maxsize=1)
def gpu_speeds() -> Mapping[str, Speed]:
    """The known speeds by the catalogue's key of the GPU model, in table order."""
    with _TABLE.open(encoding="utf-8", newline="") as lines:
        rows = list(csv.DictReader(lines))
    return MappingProxyType({row["key"]: _speed(row) for row in rows})


def _speed(row: Mapping[str, str]) -> Speed:
    return Speed(
        memory_gb_s=Fraction(row["memory_gb_s"]),
        fp16_tflops=Fraction(row["fp16_tflops"]),
        fp32_tflops=Fraction(row["fp32_tflops"]),
        source=row["source"],
    )


@lru_cache(maxsize=1024)
def speed(from_gpu: str, to_gpu: str) -> Fraction | None:
    """How many times as fast `to_gpu` is as `from_gpu` at the least; 1 for the same model, None where not known."""
    if from_gpu == to_gpu:
        return Fraction(1)
    known = gpu_speeds()
    if from_gpu not in known or to_gpu not in known:
        return None
    return min(to / of for of, to in zip(known[from_gpu].figures, known[to_gpu].figures, strict=True))


def carried(use_millionths: int, from_gpu: str, to_gpu: str) -> int | None:
    """Use measured on one GPU as use of another, in millionths, rounded up; None where the speeds are not known.

    More than a million means that one GPU of the target is too slow for it.
    """
    ratio = speed(from_gpu, to_gpu)
    return None if ratio is None else -(-use_millionths * ratio.denominator // ratio.numerator)


def gpu_key(text: str) -> str:
    """The catalogue's key of a GPU model as people and DCGM write it: `T4`, `Tesla T4`, `NVIDIA A100-SXM4-40GB`.

    Raises InputError for a name that is not known, or that fits more than one model (`A100`).
    """
    name = text.strip().lower()
    if name in gpu_models():
        return name
    keys = _keys(name)
    if len(keys) == 1:
        return keys[0]
    if keys:
        raise InputError([f"GPU {shown(text)} may be {' or '.join(keys)}: write which"])
    raise InputError([_unknown(text, name)])


def _keys(name: str) -> tuple[str, ...]:
    """The keys that a name can mean: none, one, or more when it leaves the size of the memory open."""
    family, rest = _family(_words(name))
    sizes = [int(found[1]) for word in rest if (found := _SIZE.fullmatch(word))]
    others = [word for word in rest if not _SIZE.fullmatch(word)]
    known = _FAMILIES.get(family, {})
    if len(sizes) > 1 or not all(_MAKE.fullmatch(word) for word in others):
        return ()
    return _once(key for size, key in known.items() if not sizes or size == sizes[0])


def _words(name: str) -> list[str]:
    joined = re.sub(r"\b(\d+)[ -]?(?:gib|gb|g)\b", r"\1gb", name)
    return [word for word in re.findall(r"[a-z0-9]+", joined) if word not in _FILLERS]


def _family(words: list[str]) -> tuple[str, list[str]]:
    """The family that a name starts with, and the words after it. RTX PRO is on EC2 in its Server Edition only."""
    if words[:2] != ["rtx", "pro"]:
        return (words[0], words[1:]) if words else ("", [])
    rest = [word for word in words[2:] if word not in {"blackwell", "server", "edition"}]
    # DCGM calls the Workstation card "RTX PRO 4500 Blackwell": without "Server" it is another card.
    workstation = "blackwell" in words and "server" not in words
    return ("", []) if workstation or not rest else (f"rtxpro{rest[0]}", rest[1:])


def _once(keys: Iterable[str]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(keys))


def _unknown(text: str, name: str) -> str:
    allowed = list(gpu_models())
    words = _words(name)
    close = list(_FAMILIES.get(words[0], {}).values()) if words else []
    close = close or difflib.get_close_matches(" ".join(words)[:80], allowed, n=1, cutoff=0.5)
    hint = f"; did you mean {' or '.join(_once(close))}?" if close else ""
    return f"GPU {shown(text)} is not known; allowed: {', '.join(allowed)}{hint}"
