"""Asks a Prometheus server what GPUs did, through its HTTP API (prometheus.io/docs/prometheus/latest/querying/api).

One instant query for each figure; `M` is a metric of DCGM, with `matchers` in its braces, `B` the least blank value:

- use: `sum_over_time((M < B)[window:step])`, `count_over_time(...)` and `quantile_over_time(0.95, ...)` of
  `DCGM_FI_DEV_GPU_UTIL` and of `DCGM_FI_PROF_GR_ENGINE_ACTIVE`; the larger figure counts where both are there.
- memory: `max_over_time((DCGM_FI_DEV_FB_USED < B)[window:step])`.
- when a pod ran: `min_over_time(timestamp(DCGM_FI_DEV_FB_USED)[window:step])`, and `max_over_time` alike.

Nothing is grouped in the query: a restart of the exporter or a move of a pod starts a new series, and series of one pod
and GPU are put together here (the largest 95th percentile, one mean over all samples).
"""

from __future__ import annotations

import http.client
import json
import math
import os
import re
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from decimal import ROUND_CEILING, Decimal, InvalidOperation
from typing import Any, NamedTuple, NoReturn

from gpuslice.planner.dcgm import ACTIVE, MEMORY, UTIL, Metric, amount, check_names, gpu_name, on_gpu
from gpuslice.planner.errors import InputError, shown
from gpuslice.planner.speeds import gpu_key
from gpuslice.planner.usage import Series, Usage, assemble

TOKEN = "GPUSLICE_PROMETHEUS_TOKEN"
"""The environment variable whose value is sent as bearer token, where it is set."""

_BLANK = 2**31 - 16
_DURATION = re.compile(r"(?:\d{1,6}(?:ms|s|m|h|d|w|y))+")
_FAR = 1e12
_LARGEST = 256 * 2**20
_LOCAL = {"localhost", "127.0.0.1", "::1"}
# Answers that say that the question is wrong; what else is no success is the server's or the network's fault.
_QUESTION = {400, 404, 405, 422}
_LABELS = {
    "uuid": "UUID",
    "index": "gpu",
    "host": "Hostname",
    "model": "modelName",
    "mig profile": "GPU_I_PROFILE",
    "mig id": "GPU_I_ID",
}

Labels = Mapping[str, str]


class SourceFailed(Exception):
    """The server could not be reached or did not answer: nothing is known to be wrong with the input. Exit code 2."""


def queries(window: str = "7d", step: str = "1m", matchers: str = "") -> dict[str, str]:
    """The PromQL of each figure by its name. `matchers`: label matchers, such as `cluster="prod"`."""
    asked = {}
    for short, metric in (("util", UTIL), ("active", ACTIVE)):
        seen = f"({metric.name}{{{matchers}}} < {_BLANK})[{window}:{step}]"
        asked[f"{short}_sum"] = f"sum_over_time({seen})"
        asked[f"{short}_count"] = f"count_over_time({seen})"
        asked[f"{short}_p95"] = f"quantile_over_time(0.95, {seen})"
    asked["memory"] = f"max_over_time(({MEMORY.name}{{{matchers}}} < {_BLANK})[{window}:{step}])"
    times = f"timestamp({MEMORY.name}{{{matchers}}})[{window}:{step}]"
    return {**asked, "first": f"min_over_time({times})", "last": f"max_over_time({times})"}


def from_prometheus(
    url: str,
    window: str = "7d",
    *,
    step: str = "1m",
    matchers: str = "",
    overrides: Mapping[str, str] | None = None,
    timeout: float = 30.0,
    context_mib: int = 0,
) -> Usage:
    """The usage that a Prometheus server saw in the last `window`, sampled every `step` (both PromQL durations).

    `url`: the server's base address, http or https. `overrides`: PromQL by name of figure (see `queries`) in place of
    the default; an empty text leaves a figure of use out. `timeout`: seconds, for each of the queries. The bearer token
    comes from the environment variable `GPUSLICE_PROMETHEUS_TOKEN` and goes over https or to this host only.

    Raises InputError for wrong arguments, a refused query, an answer that cannot be used and no data; SourceFailed
    where the server cannot be reached, fails or refuses the token.
    """
    asked = _asked(window, step, matchers, overrides or {})
    if not 0 < timeout < math.inf:
        raise InputError([f"timeout {shown(timeout)}: allowed: a number of seconds above 0"])
    server = _Server(_base(url), _token(url), timeout)
    now = next((time for _, _, time in server.ask("time", "vector(time())", "")), None)
    if now is None:
        raise InputError([f"{server.url}: time: the answer is empty: this is no Prometheus server"])
    reading = _Reading(server.url, now)
    answers = {name: server.ask(name, query, str(now)) for name, query in asked.items() if query}
    reading.exported = any("exported_pod" in labels for answer in answers.values() for labels, _, _ in answer)
    for name, answer in answers.items():
        for labels, value, _ in answer:
            reading.take(name, labels, value)
    series = reading.series()
    if not series:
        raise InputError([f"{server.url}: no DCGM metrics in the last {window}: is dcgm-exporter scraped?"])
    return assemble(series, place=server.url, warnings=server.warnings, context_mib=context_mib)


def _asked(window: str, step: str, matchers: str, overrides: Mapping[str, str]) -> dict[str, str]:
    problems = [
        f"{what} {shown(text)} is no duration; allowed: such as 30s, 5m, 12h, 7d"
        for what, text in (("window", window), ("step", step))
        if not _DURATION.fullmatch(text)
    ]
    known = queries(window, step, matchers)
    unknown = [name for name in overrides if name not in known]
    problems += [f"query {shown(name)} is not known; allowed: {', '.join(known)}" for name in unknown]
    asked = {**known, **overrides}
    problems += [f"query {name!r} must not be empty" for name in ("memory", "first", "last") if not asked[name]]
    if problems:
        raise InputError(problems)
    return asked


def _base(url: str) -> str:
    """The address without a slash at its end. Raises InputError, which does not show what may be a password."""
    try:
        parts = urllib.parse.urlsplit(url)
        host, _ = parts.hostname, parts.port
    except ValueError:
        raise InputError(["the address of Prometheus is no URL"]) from None
    if parts.username is not None or parts.password is not None:
        raise InputError([f"the address of Prometheus must hold no user or password: set {TOKEN}"])
    if parts.query or parts.fragment:
        raise InputError(["the address of Prometheus must end before any ? or #"])
    if parts.scheme not in {"http", "https"} or not host or any(not "!" <= c <= "~" for c in url):
        raise InputError([f"{shown(url)} is no address of Prometheus; allowed: such as https://prometheus.example.com"])
    return url.rstrip("/")


def _token(url: str) -> str:
    """The token to send, empty for none. No message holds it."""
    token = os.environ.get(TOKEN, "").strip()
    if any(not "!" <= c <= "~" for c in token):
        raise InputError([f"{TOKEN}: holds characters that no token has"])
    parts = urllib.parse.urlsplit(url)
    if token and parts.scheme == "http" and parts.hostname not in _LOCAL:
        raise InputError([f"{TOKEN} is set, but {shown(url)} would carry it unencrypted: use https"])
    return token


class _NoRedirect(urllib.request.HTTPRedirectHandler):
    """A redirect would carry the token to another host."""

    def redirect_request(self, *_: Any, **__: Any) -> None:
        return None


class _Server:
    def __init__(self, url: str, token: str, timeout: float) -> None:
        self.url = url
        self.warnings: list[str] = []
        self._token = token
        self._timeout = timeout
        self._opener = urllib.request.build_opener(_NoRedirect)

    def ask(self, name: str, query: str, at: str) -> list[tuple[Labels, str, float]]:
        """The vector that a query gives: labels, value, time of each element."""
        parameters = {"query": query, **({"time": at} if at else {})}
        address = f"{self.url}/api/v1/query?{urllib.parse.urlencode(parameters)}"
        headers = {"Accept": "application/json", **({"Authorization": f"Bearer {self._token}"} if self._token else {})}
        body = self._fetch(name, urllib.request.Request(address, headers=headers))
        answer = self._json(name, body)
        if answer.get("status") != "success":
            self._refuse(name, f"the query failed: {self._said(answer)}")
        warnings = answer.get("warnings")
        for warning in warnings if isinstance(warnings, list) else []:
            note = f"{self.url}: {self._safe(warning)}"
            self.warnings += [] if note in self.warnings else [note]
        return self._vector(name, answer.get("data"))

    def _fetch(self, name: str, request: urllib.request.Request) -> bytes:
        try:
            with self._opener.open(request, timeout=self._timeout) as response:
                body = bytes(response.read(_LARGEST + 1))
                # What a read of so many bytes leaves open: http.client does not complain of a short answer.
                missing = response.length or 0
        except urllib.error.HTTPError as error:
            self._failed(name, error)
        except urllib.error.URLError as error:
            raise SourceFailed(f"{self.url}: cannot be reached: {self._safe(str(error.reason))}") from None
        except TimeoutError:
            raise SourceFailed(f"{self.url}: {name}: no answer within {self._timeout:g} s") from None
        except (OSError, http.client.HTTPException) as error:
            raise SourceFailed(f"{self.url}: {name}: the answer broke off: {type(error).__name__}") from None
        if len(body) > _LARGEST:
            self._refuse(name, f"the answer is larger than {_LARGEST // 2**20} MiB: narrow it with matchers")
        if missing:
            raise SourceFailed(f"{self.url}: {name}: the answer broke off: {missing} bytes are missing")
        return body

    def _failed(self, name: str, error: urllib.error.HTTPError) -> NoReturn:
        """Raises what an HTTP error means."""
        with error:
            try:
                said = self._said(json.loads(error.read(100_000)))
            except (OSError, ValueError, RecursionError, http.client.HTTPException):
                said = ""
        reason = f"HTTP {error.code}{f': {said}' if said else ''}"
        if error.code in _QUESTION:
            self._refuse(name, reason)
        if error.code in {401, 403}:
            reason += f": is {TOKEN} right?" if self._token else f": it wants a token: set {TOKEN}"
        if 300 <= error.code < 400:
            reason += ": a redirect is not followed: give the address that it leads to"
        raise SourceFailed(f"{self.url}: {name}: {reason}") from None

    def _json(self, name: str, body: bytes) -> dict[str, Any]:
        try:
            answer = json.loads(body)
        except (ValueError, RecursionError):
            answer = None
        if not isinstance(answer, dict):
            self._refuse(name, "the answer is not that of a Prometheus server")
        return answer

    def _vector(self, name: str, data: Any) -> list[tuple[Labels, str, float]]:
        if not isinstance(data, dict) or data.get("resultType") != "vector" or not isinstance(data.get("result"), list):
            self._refuse(name, "the answer is no instant vector")
        found: list[tuple[Labels, str, float]] = []
        for element in data["result"]:
            match element:
                case {"metric": dict(labels), "value": [int() | float() as time, str(value)]} if abs(time) < _FAR:
                    found.append(({str(k): str(v) for k, v in labels.items()}, value, float(time)))
                case _:
                    self._refuse(name, f"an element of the answer has no labels or no value: {self._safe(element)}")
        return found

    def _said(self, answer: Any) -> str:
        text = answer.get("error") if isinstance(answer, dict) else None
        return self._safe(text) if text else ""

    def _safe(self, value: Any) -> str:
        text = str(value)
        return shown(text.replace(self._token, "***") if self._token else text)

    def _refuse(self, name: str, problem: str) -> NoReturn:
        raise InputError([f"{self.url}: {name}: {problem}"])


class _Key(NamedTuple):
    namespace: str
    pod: str
    gpu: str
    model: str
    mig: bool


@dataclass(slots=True)
class _Pod:
    """The figures of one pod on one GPU, put together from its series."""

    counts: dict[Metric, int] = field(default_factory=dict)
    sums: dict[Metric, Decimal] = field(default_factory=dict)
    p95: int = 0
    memory: int | None = None
    first: float = math.inf
    last: float = -math.inf

    def use(self, metric: Metric) -> tuple[int, int]:
        """Number and sum of the samples of a metric, the sum in millionths and no more than the samples allow."""
        count = self.counts.get(metric, 0)
        total = self.sums.get(metric, Decimal(0)) * metric.scale
        most = count * metric.most * metric.scale
        return count, min(most, int(total.to_integral_value(ROUND_CEILING)))


class _Reading:
    """The answers as they come in; `problems` are collected, so that one run shows them all."""

    def __init__(self, place: str, now: float) -> None:
        self.place = place
        self.now = now
        self.exported = False
        self._pods: dict[_Key, _Pod] = {}
        self._problems: dict[str, None] = {}

    def take(self, name: str, labels: Labels, value: str) -> None:
        key = self._key(labels)
        pod = self._pods.setdefault(key, _Pod())
        try:
            self._keep(pod, name, value)
        except ValueError as error:
            where = f"pod {key.namespace}/{key.pod}" if key.pod else f"GPU {shown(key.gpu)}"
            if not key.mig:
                self._problems[f"{self.place}: {name} of {where}: {error}"] = None

    def series(self) -> list[Series]:
        """What was read. Raises InputError with all problems."""
        models = {model: self._model(model, held) for held in (False, True) for model in self._models(held)}
        for pod in self._pods.values():
            # Without a sample of memory there are no times either: the pod is only named, as left out.
            if pod.first > pod.last:
                pod.first = pod.last = self.now
        found = [_series(key, pod, models[key.model]) for key, pod in self._pods.items()]
        for one in found:
            if one.pod:
                self._check(one)
        if self._problems:
            raise InputError(self._problems)
        return [one for one in found if one.pod or not one.mig]

    def _key(self, labels: Labels) -> _Key:
        cells = {name: labels.get(label, "") for name, label in _LABELS.items()}
        prefix = "exported_" if self.exported else ""
        pod, namespace = labels.get(f"{prefix}pod", ""), labels.get(f"{prefix}namespace", "")
        mig = bool(cells["mig profile"] or cells["mig id"])
        held = on_gpu(pod)
        return _Key(namespace if held else "", pod if held else "", gpu_name(cells), cells["model"], mig)

    def _keep(self, pod: _Pod, name: str, value: str) -> None:
        metric = ACTIVE if name.startswith("active") else UTIL
        if name in {"first", "last"}:
            time = float(_number(value))
            pod.first, pod.last = min(pod.first, time), max(pod.last, time)
        elif name == "memory":
            pod.memory = max(amount(value, MEMORY) or 0, pod.memory or 0)
        elif name.endswith("_p95"):
            pod.p95 = max(pod.p95, amount(value, metric) or 0)
        elif name.endswith("_count"):
            pod.counts[metric] = pod.counts.get(metric, 0) + int(_number(value))
        else:
            pod.sums[metric] = pod.sums.get(metric, Decimal(0)) + _number(value)

    def _models(self, held: bool) -> Iterable[str]:
        return dict.fromkeys(key.model for key in self._pods if bool(key.pod) == held)

    def _model(self, text: str, held: bool) -> str | None:
        try:
            return gpu_key(text)
        except InputError as error:
            if held:
                self._problems.update({f"{self.place}: modelName: {problem}": None for problem in error.problems})
            return None

    def _check(self, one: Series) -> None:
        try:
            check_names(one.namespace, one.pod)
        except ValueError as error:
            self._problems[f"{self.place}: {error}"] = None


def _series(key: _Key, pod: _Pod, model: str | None) -> Series:
    uses = [pod.use(metric) for metric in (UTIL, ACTIVE)]
    samples, total = max(uses, key=lambda use: (use[1] / use[0] if use[0] else -1.0, use[0]))
    return Series(
        namespace=key.namespace,
        pod=key.pod,
        gpu=key.gpu,
        model=model,
        mig=key.mig,
        samples=samples,
        total=total,
        p95=pod.p95,
        memory_mib=pod.memory,
        first=pod.first,
        last=pod.last,
    )


def _number(text: str) -> Decimal:
    """A number of at least 0. Raises ValueError for anything else."""
    try:
        value = Decimal(text)
    except InvalidOperation:
        value = Decimal("NaN")
    if not value.is_finite() or not 0 <= value < 10**20:
        raise ValueError(f"{shown(text)} is no amount")
    return value
