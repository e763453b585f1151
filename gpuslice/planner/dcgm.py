"""Reads an export of DCGM's metrics as CSV: what GPUs did, sample by sample.

The first line names the columns; upper and lower case are alike, their order is free, and others are passed over:

- `time` or `timestamp`: seconds or milliseconds since 1970, or ISO 8601 (UTC where it names no zone).
- `exported_namespace` and `exported_pod`, or else `namespace` and `pod`. Where Prometheus keeps its own labels, `pod`
  is the exporter's pod and `exported_pod` the one on the GPU. An empty pod is a GPU that no pod holds.
- `modelName`, such as `Tesla T4`. Wanted too: `UUID`, or `gpu` and `Hostname`, to tell GPUs apart; `GPU_I_PROFILE` and
  `GPU_I_ID`, which mark MIG instances.
- Either a column for each metric, or `metric` (or `__name__`) and `value`. The metrics are `DCGM_FI_DEV_GPU_UTIL`
  (0 to 100) or `DCGM_FI_PROF_GR_ENGINE_ACTIVE` (0 to 1), the larger where there are both, and `DCGM_FI_DEV_FB_USED`
  (MiB). An empty cell is no sample.

Values that DCGM marks as blank are dropped and counted (`DCGM_INT32_BLANK`, `DCGM_FP64_BLANK`, `DCGM_INT64_BLANK` and
the 15 values after each: docs.nvidia.com/datacenter/dcgm, Enums and Macros).
"""

from __future__ import annotations

import csv
import math
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from decimal import ROUND_CEILING, Decimal, InvalidOperation
from functools import lru_cache
from pathlib import Path

from gpuslice.planner.errors import InputError, shown
from gpuslice.planner.speeds import gpu_key
from gpuslice.planner.usage import Series, Usage, assemble

_COLUMNS: Mapping[str, tuple[str, ...]] = {
    "time": ("time", "timestamp"),
    "namespace": ("exported_namespace", "namespace"),
    "pod": ("exported_pod", "pod"),
    "model": ("modelname",),
    "uuid": ("uuid",),
    "index": ("gpu",),
    "host": ("hostname",),
    "mig profile": ("gpu_i_profile",),
    "mig id": ("gpu_i_id",),
    "metric": ("metric", "__name__"),
    "value": ("value",),
}
_REQUIRED = {"time": "time", "namespace": "namespace", "pod": "pod", "model": "modelName"}
_BLANKS = ((2**31 - 16, 2**31 - 1), (2**47, 2**47 + 15), (2**63 - 16, Decimal("9223372036854777000")))
_NAME = re.compile(r"[a-z0-9](?:[-a-z0-9.]{0,251}[a-z0-9])?")
_EXPORTER = "dcgm-exporter"
_MOST_PROBLEMS = 50
_MILLISECONDS = 1e11
_LATEST = 253402300800.0


@dataclass(frozen=True, slots=True, eq=False)
class Metric:
    """A metric of DCGM: its largest value, and what turns it into millionths of a GPU or MiB. One object for each."""

    name: str
    most: int
    scale: int
    unit: str


UTIL = Metric("DCGM_FI_DEV_GPU_UTIL", 100, 10_000, "percent, 0 to 100")
ACTIVE = Metric("DCGM_FI_PROF_GR_ENGINE_ACTIVE", 1, 1_000_000, "a share, 0 to 1")
MEMORY = Metric("DCGM_FI_DEV_FB_USED", 1_000_000, 1, "MiB, up to 1,000,000")
METRICS: Mapping[str, Metric] = {metric.name.lower(): metric for metric in (UTIL, ACTIVE, MEMORY)}


@lru_cache(maxsize=10_000)
def amount(text: str, metric: Metric) -> int | None:
    """A sample in whole millionths or MiB, rounded up; None where DCGM marks it as blank.

    Raises ValueError, with what is allowed, for what cannot be a value of the metric.
    """
    try:
        value = Decimal(text) if "_" not in text else Decimal("NaN")
    except InvalidOperation:
        value = Decimal("NaN")
    if not value.is_finite() or value < 0:
        raise ValueError(f"{metric.name}: {shown(text)} is no amount; allowed: {metric.unit}")
    if any(low <= value <= high for low, high in _BLANKS):
        return None
    if value > metric.most:
        raise ValueError(f"{metric.name}: {shown(text)} is too large; allowed: {metric.unit}")
    return int((value * metric.scale).to_integral_value(ROUND_CEILING))


def gpu_name(labels: Mapping[str, str]) -> str:
    """What tells a GPU from others: its UUID, else host and number; empty where neither is known."""
    if labels.get("uuid"):
        return labels["uuid"]
    return "/gpu".join(part for part in (labels.get("host", ""), labels.get("index", "")) if part)


def on_gpu(pod: str) -> bool:
    """False for the exporter's own pod: it names the source of a sample, not who holds the GPU."""
    return bool(pod) and _EXPORTER not in pod


def check_names(namespace: str, pod: str) -> None:
    """Raises ValueError for a namespace or pod that Kubernetes would not have."""
    for what, name in (("namespace", namespace), ("pod", pod)):
        if not _NAME.fullmatch(name):
            raise ValueError(f"{what} {shown(name)} is no Kubernetes name")


def read_dcgm_csv(path: Path | str, *, context_mib: int = 0) -> Usage:
    """The usage in a CSV export. `context_mib` is taken off each pod's memory (see `usage.assemble`).

    Raises InputError with file and line for what cannot be read, and for a file without samples of pods or GPUs.
    """
    reading = _Reading(str(path))
    try:
        with Path(path).open(encoding="utf-8-sig", newline="") as lines:
            reading.take(lines)
    except OSError as error:
        raise InputError([f"{path}: cannot be read: {error.strerror or error}"]) from error
    except UnicodeDecodeError as error:
        raise InputError([f"{path}: is not UTF-8 (after line {reading.line}): export it as UTF-8"]) from error
    series = reading.series()
    return assemble(series, place=str(path), blanks=reading.blanks, context_mib=context_mib)


@dataclass(slots=True)
class _Pod:
    """One pod on one GPU (or the GPU alone): its samples by time."""

    uses: dict[float, int] = field(default_factory=dict)
    memory: int | None = None
    first: float = math.inf
    last: float = -math.inf


@dataclass(frozen=True, slots=True)
class _Key:
    namespace: str
    pod: str
    gpu: str
    model: str | None
    mig: bool


class _Reading:
    """A file as it is read; `problems` are collected, so that one run shows them all."""

    def __init__(self, place: str) -> None:
        self.place = place
        self.line = 0
        self.blanks = 0
        self._pods: dict[_Key, _Pod] = {}
        self._known: dict[tuple[str, ...], tuple[_Key, _Pod]] = {}
        self._labels: list[int] = []
        self._long = False
        self._problems: list[str] = []
        self._columns: dict[str, int] = {}
        self._metrics: list[tuple[Metric, int]] = []
        self._models: dict[str, str | InputError] = {}
        self._shares = self._over_one = False
        self._unnamed: set[tuple[str, str, str, float, str]] = set()

    def take(self, lines: Iterable[str]) -> None:
        """Reads header and rows. Raises InputError for a header that lacks a column, and for what is not CSV."""
        rows = csv.reader(lines, strict=True)
        try:
            header = next(rows, [])
            self._read_header(header)
            for row in rows:
                self.line = rows.line_num
                if row:
                    self._read_row(row, len(header))
                if len(self._problems) >= _MOST_PROBLEMS:
                    break
        except csv.Error as error:
            raise InputError([*self._problems, f"{self.place}:{rows.line_num}: is not CSV: {error}"]) from error

    def series(self) -> list[Series]:
        """What was read. Raises InputError with all problems."""
        if self._shares and not self._over_one:
            self._problems.append(
                f"{self.place}: {UTIL.name} has fractions and is nowhere above 1: it must be in {UTIL.unit}; "
                f"call a column of shares {ACTIVE.name}"
            )
        if self._problems:
            raise InputError(self._problems)
        return [_series(key, pod) for key, pod in self._pods.items()]

    def _read_header(self, header: list[str]) -> None:
        names = [cell.strip().lower() for cell in header]
        if not any(names):
            raise InputError([f"{self.place}: is empty: the first line must name the columns"])
        twice = sorted({name for name in names if name and names.count(name) > 1})
        if twice:
            raise InputError([f"{self.place}:1: column {shown(name)} appears twice" for name in twice])
        for field_name, spellings in _COLUMNS.items():
            found = next((name for name in spellings if name in names), None)
            if found is not None:
                self._columns[field_name] = names.index(found)
        self._labels = [at for name, at in self._columns.items() if name not in {"time", "metric", "value"}]
        self._long = {"metric", "value"} <= self._columns.keys()
        self._metrics = [(metric, names.index(name)) for name, metric in METRICS.items() if name in names]
        missing = [shown(title) for name, title in _REQUIRED.items() if name not in self._columns]
        missing += self._missing_metrics()
        if missing:
            hint = "; is the file separated by semicolons or tabs?" if len(names) == 1 else ""
            raise InputError([f"{self.place}:1: no column for {', '.join(missing)}{hint}"])

    def _missing_metrics(self) -> list[str]:
        if self._long:
            return []
        present = [metric for metric, _ in self._metrics]
        use = [] if UTIL in present or ACTIVE in present else [f"'{UTIL.name}' or '{ACTIVE.name}'"]
        return use + ([] if MEMORY in present else [f"'{MEMORY.name}' (or for 'metric' and 'value')"])

    def _read_row(self, row: list[str], width: int) -> None:
        try:
            if len(row) != width:
                raise ValueError(f"{len(row)} cells, but the header has {width}")
            samples = self._samples(row)
            if samples:
                key, pod = self._who(row)
                self._add(key, pod, _seconds(row[self._columns["time"]].strip()), samples)
        except ValueError as error:
            self._problems.append(f"{self.place}:{self.line}: {error}")
        except InputError as error:
            self._problems.extend(f"{self.place}:{self.line}: {problem}" for problem in error.problems)

    def _samples(self, row: list[str]) -> list[tuple[Metric, str]]:
        """The metrics that a row has a value of."""
        found = [(metric, text) for metric, at in self._metrics if (text := row[at].strip())]
        if self._long:
            metric = METRICS.get(row[self._columns["metric"]].strip().lower())
            text = row[self._columns["value"]].strip()
            return [*found, (metric, text)] if metric is not None and text else found
        return found

    def _who(self, row: list[str]) -> tuple[_Key, _Pod]:
        """Whose sample a row is. Rows of one series repeat their labels, so each set of labels is looked at once."""
        labels = tuple([row[at] for at in self._labels])
        known = self._known.get(labels)
        if known is None:
            key = self._key({name: row[at].strip() for name, at in self._columns.items()})
            pod = _Pod() if key.mig and not key.pod else self._pods.setdefault(key, _Pod())
            known = self._known[labels] = (key, pod)
        return known

    def _add(self, key: _Key, pod: _Pod, time: float, samples: list[tuple[Metric, str]]) -> None:
        pod.first, pod.last = min(pod.first, time), max(pod.last, time)
        # DCGM_FI_DEV_GPU_UTIL is not valid on a MIG instance: its pod is only named, as left out.
        for metric, text in [] if key.mig else samples:
            value = amount(text, metric)
            if value is None:
                self.blanks += 1
            else:
                self._keep(key, pod, time, metric, value)

    def _keep(self, key: _Key, pod: _Pod, time: float, metric: Metric, value: int) -> None:
        if key.pod and not key.gpu:
            self._refuse_second(key, time, metric)
        if metric is MEMORY:
            pod.memory = max(value, pod.memory or 0)
            return
        pod.uses[time] = max(value, pod.uses.get(time, 0))
        if metric is UTIL:
            self._over_one = self._over_one or value > UTIL.scale
            self._shares = self._shares or value % UTIL.scale != 0

    def _refuse_second(self, key: _Key, time: float, metric: Metric) -> None:
        sample = (key.namespace, key.pod, key.model or "", time, metric.name)
        if sample in self._unnamed:
            raise ValueError(
                f"a second {metric.name} of pod {key.namespace}/{key.pod} at one time: "
                "add the column UUID (or gpu and Hostname) to tell its GPUs apart"
            )
        self._unnamed.add(sample)

    def _key(self, cells: Mapping[str, str]) -> _Key:
        mig = bool(cells.get("mig profile") or cells.get("mig id"))
        model = self._model(cells["model"])
        if not on_gpu(cells["pod"]):
            return _Key("", "", gpu_name(cells), model if isinstance(model, str) else None, mig)
        check_names(cells["namespace"], cells["pod"])
        if isinstance(model, InputError):
            raise model
        return _Key(cells["namespace"], cells["pod"], gpu_name(cells), model, mig)

    def _model(self, text: str) -> str | InputError:
        """The catalogue's key, or why there is none."""
        if text not in self._models:
            try:
                self._models[text] = gpu_key(text)
            except InputError as error:
                self._models[text] = error
        return self._models[text]


def _series(key: _Key, pod: _Pod) -> Series:
    uses = sorted(pod.uses.values())
    # The nearest rank, rounded up: a sample that was seen, and never below a percentile between two samples.
    p95 = uses[math.ceil(len(uses) * 95 / 100) - 1] if uses else 0
    return Series(
        namespace=key.namespace,
        pod=key.pod,
        gpu=key.gpu,
        model=key.model,
        mig=key.mig,
        samples=len(uses),
        total=sum(uses),
        p95=p95,
        memory_mib=pod.memory,
        first=pod.first,
        last=pod.last,
    )


def _seconds(text: str) -> float:
    """A time as seconds since 1970. Raises ValueError for what is none."""
    try:
        value = float(text)
        value = value / 1000 if value > _MILLISECONDS else value
    except ValueError:
        try:
            when = datetime.fromisoformat(text)
            value = (when if when.tzinfo else when.replace(tzinfo=UTC)).timestamp()
        except (ValueError, OverflowError):
            value = math.nan
    if not 0 <= value < _LATEST:
        raise ValueError(f"time {shown(text)} is neither seconds since 1970 nor ISO 8601")
    return value
