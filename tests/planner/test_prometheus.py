"""What a Prometheus server says becomes workloads; what it refuses, and what fails, are told apart."""

import contextlib
import json
import socket
import threading
import time
import urllib.parse
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer, ThreadingHTTPServer
from typing import Any

import pytest

from gpuslice.planner.errors import InputError
from gpuslice.planner.prometheus import TOKEN, SourceFailed, from_prometheus, queries
from gpuslice.planner.usage import IdleGpu

NOW = 1_790_000_000.5
FIRST, LAST = NOW - 7 * 86_400, NOW - 30
ON_GPU = {
    "Hostname": "n1",
    "UUID": "GPU-1",
    "container": "exporter",
    "exported_container": "serve",
    "exported_namespace": "team-a",
    "exported_pod": "api-6d4b75cb6d-x2x5q",
    "gpu": "0",
    "modelName": "Tesla T4",
    "namespace": "monitoring",
    "pod": "dcgm-exporter-abcde",
}
HELD = {"exported_namespace", "exported_pod", "exported_container"}
IDLE = {**{k: v for k, v in ON_GPU.items() if k not in HELD}, "UUID": "GPU-9"}

Reply = tuple[int, bytes, dict[str, str]]


def vector(*elements: tuple[dict[str, str], object]) -> bytes:
    result = [{"metric": labels, "value": [NOW, str(value)]} for labels, value in elements]
    return json.dumps({"status": "success", "data": {"resultType": "vector", "result": result}}).encode()


class Fake:
    """A server on a free port of this host. `answers`: reply by name of figure; `seen`: queries, times, headers."""

    def __init__(self) -> None:
        self.answers: dict[str, Any] = {"time": vector(({}, NOW))}
        self.every: Callable[[], Reply] | None = None
        self.seen: list[tuple[str, str | None, str | None]] = []
        self.names = {query: name for name, query in queries().items()} | {"vector(time())": "time"}
        fake = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                fake.reply(self)

            def log_message(self, *_: Any) -> None:
                pass

        self.server: HTTPServer = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_address[1]}"
        self.thread = threading.Thread(target=self.server.serve_forever, kwargs={"poll_interval": 0.01})
        self.thread.start()

    def reply(self, request: BaseHTTPRequestHandler) -> None:
        parts = urllib.parse.urlsplit(request.path)
        asked = urllib.parse.parse_qs(parts.query)
        query = asked["query"][0]
        self.seen.append((query, asked.get("time", [None])[0], request.headers.get("Authorization")))
        if self.every:
            status, body, headers = self.every()
        else:
            status, body, headers = 200, self.answers.get(self.names.get(query, query), vector()), {}
        request.send_response(status)
        for name, value in {"Content-Length": str(len(body)), **headers}.items():
            request.send_header(name, value)
        request.end_headers()
        with contextlib.suppress(BrokenPipeError):
            request.wfile.write(body)

    def close(self) -> None:
        self.server.shutdown()
        self.thread.join()
        self.server.server_close()

    def pod(self, labels: dict[str, str], **figures: object) -> None:
        """Adds a series to the answers: figures by name, with the times where none are given."""
        for name, value in {"first": FIRST, "last": LAST, **figures}.items():
            known = json.loads(self.answers.get(name, vector()))["data"]["result"]
            self.answers[name] = vector(*[(e["metric"], e["value"][1]) for e in known], (labels, value))


@pytest.fixture
def fake(monkeypatch: pytest.MonkeyPatch) -> Iterator[Fake]:
    monkeypatch.delenv(TOKEN, raising=False)
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    server = Fake()
    yield server
    server.close()


def test_a_pod_becomes_a_workload_and_a_gpu_without_one_is_idle(fake):
    fake.pod(ON_GPU, util_sum=3_000, util_count=100, util_p95=62.5, memory=3000)
    fake.pod(IDLE, util_sum=0, util_count=50, util_p95=0, memory=3)
    usage = from_prometheus(fake.url)
    (workload,) = usage.workloads
    assert (workload.name, workload.group, workload.gpu, workload.count) == ("team-a/api", "team-a", "t4", 1)
    assert (workload.mean, workload.p95, workload.memory_mib) == (300_000, 625_000, 3000)
    assert usage.idle_gpus == (IdleGpu("GPU-9", "t4", 1_000_000, 50),)
    assert (usage.samples, usage.first, usage.last, usage.warnings) == (150, FIRST, LAST, ())


def test_all_queries_are_of_one_time_and_in_the_documented_form(fake):
    fake.pod(ON_GPU, util_sum=3_000, util_count=100, util_p95=62, memory=3000)
    from_prometheus(f"{fake.url}/")
    assert [query for query, _, _ in fake.seen] == ["vector(time())", *queries().values()]
    assert [at for _, at, _ in fake.seen] == [None] + [str(NOW)] * 9
    assert queries("3h", "30s", 'cluster="x"')["util_p95"] == (
        'quantile_over_time(0.95, (DCGM_FI_DEV_GPU_UTIL{cluster="x"} < 2147483632)[3h:30s])'
    )


def test_labels_that_the_exporter_was_allowed_to_keep(fake):
    labels = {"namespace": "team-a", "pod": "db-0", "UUID": "GPU-1", "modelName": "NVIDIA L4"}
    fake.pod(labels, active_sum=12.5, active_count=100, active_p95=0.3, memory=900)
    (workload,) = from_prometheus(fake.url).workloads
    assert (workload.name, workload.gpu, workload.mean, workload.p95) == ("team-a/db", "l4", 125_000, 300_000)


def test_series_of_one_pod_are_put_together(fake):
    again = {**ON_GPU, "pod": "dcgm-exporter-fghij"}
    fake.pod(ON_GPU, util_sum=3_000, util_count=100, util_p95=62, memory=3000, last=NOW - 5000)
    fake.pod(again, util_sum=1_000, util_count=300, util_p95=11, memory=4000, first=NOW - 4900)
    (workload,) = from_prometheus(fake.url).workloads
    assert (workload.mean, workload.p95, workload.memory_mib, workload.count) == (100_000, 620_000, 4000, 1)


def test_the_larger_of_two_metrics_counts(fake):
    fake.pod(ON_GPU, util_sum=3_000, util_count=100, util_p95=62, memory=3000)
    fake.pod(ON_GPU, active_sum=40, active_count=100, active_p95=0.5)
    (workload,) = from_prometheus(fake.url).workloads
    assert (workload.mean, workload.p95) == (400_000, 620_000)


def test_pods_that_follow_each_other_are_not_counted_together(fake):
    for at, suffix in enumerate(["x2x5q", "z7k9w", "b4c5d"]):
        labels = {**ON_GPU, "exported_pod": f"api-6d4b75cb6d-{suffix}", "UUID": f"GPU-{at}"}
        times = {"first": FIRST, "last": NOW - 900} if at == 0 else {"first": NOW - 600, "last": LAST}
        fake.pod(labels, util_sum=3_000, util_count=100, util_p95=62, memory=3000, **times)
    assert from_prometheus(fake.url).workloads[0].count == 2


def test_mig_instances_are_left_out_whatever_their_use_says(fake):
    mig = {**ON_GPU, "GPU_I_PROFILE": "1g.5gb", "GPU_I_ID": "7", "exported_pod": "mig-0"}
    fake.pod(mig, util_sum=0, util_count=100, util_p95="NaN", memory=300)
    fake.pod({**ON_GPU, "UUID": "GPU-2"}, util_sum=3_000, util_count=100, util_p95=62, memory=3000)
    usage = from_prometheus(fake.url)
    assert [w.name for w in usage.workloads] == ["team-a/api"]
    assert any("MIG" in warning and "team-a/mig-0" in warning for warning in usage.warnings)


def test_a_pod_without_a_sample_of_memory_is_left_out_and_named(fake):
    fake.pod(ON_GPU, util_sum=3_000, util_count=100, util_p95=62, memory=3000)
    bare = {**ON_GPU, "exported_pod": "db-0", "UUID": "GPU-2"}
    fake.answers["util_count"] = vector((ON_GPU, 100), (bare, 100))
    usage = from_prometheus(fake.url)
    assert [w.name for w in usage.workloads] == ["team-a/api"]
    assert any(warning.endswith("none of memory, left out: team-a/db") for warning in usage.warnings)


def test_a_server_that_knows_no_memory_gives_no_workloads_and_a_time(fake):
    fake.answers["util_count"] = vector((ON_GPU, 100))
    usage = from_prometheus(fake.url)
    assert (usage.workloads, usage.first, usage.last) == ((), NOW, NOW)
    assert any(warning.endswith("none of memory, left out: team-a/api") for warning in usage.warnings)


def test_the_servers_warnings_are_passed_on(fake):
    fake.pod(ON_GPU, util_sum=3_000, util_count=100, util_p95=62, memory=3000)
    answer = {**json.loads(fake.answers["memory"]), "warnings": ["store unavailable"]}
    fake.answers["memory"] = json.dumps(answer).encode()
    assert from_prometheus(fake.url).warnings == (f"{fake.url}: 'store unavailable'",)


def test_a_query_can_be_replaced_and_one_of_use_left_out(fake):
    fake.pod(ON_GPU, util_sum=3_000, util_count=100, util_p95=62)
    fake.answers["my_memory"] = vector((ON_GPU, 777))
    left_out = {name: "" for name in queries() if name.startswith("active")}
    usage = from_prometheus(fake.url, overrides={"memory": "my_memory", **left_out})
    assert usage.workloads[0].memory_mib == 777
    assert not any("GR_ENGINE" in query for query, _, _ in fake.seen)


# ---- the token


def test_the_token_is_sent_and_never_shown(fake, monkeypatch):
    monkeypatch.setenv(TOKEN, "s3cr3t")
    fake.every = lambda: (403, b'{"status":"error","error":"token s3cr3t is not allowed"}', {})
    with pytest.raises(SourceFailed) as caught:
        from_prometheus(fake.url)
    assert fake.seen[0][2] == "Bearer s3cr3t"
    assert "s3cr3t" not in str(caught.value)
    assert f"HTTP 403: 'token *** is not allowed': is {TOKEN} right?" in str(caught.value)
    assert caught.value.__cause__ is None


def test_without_a_token_none_is_sent_and_a_server_that_wants_one_is_told(fake):
    fake.every = lambda: (401, b"", {})
    with pytest.raises(SourceFailed, match=f"HTTP 401: it wants a token: set {TOKEN}"):
        from_prometheus(fake.url)
    assert fake.seen[0][2] is None


@pytest.mark.parametrize("token", ["two words", "line\nbreak", "é"])
def test_a_token_that_is_none_is_refused_unseen(fake, monkeypatch, token):
    monkeypatch.setenv(TOKEN, token)
    with pytest.raises(InputError, match=f"{TOKEN}: holds characters") as caught:
        from_prometheus(fake.url)
    assert token not in str(caught.value)
    assert fake.seen == []


def test_a_token_does_not_go_unencrypted_to_another_host(monkeypatch):
    monkeypatch.setenv(TOKEN, "s3cr3t")
    with pytest.raises(InputError, match="unencrypted: use https"):
        from_prometheus("http://prometheus.example.com")


def test_a_redirect_is_not_followed(fake, monkeypatch):
    monkeypatch.setenv(TOKEN, "s3cr3t")
    fake.every = lambda: (302, b"", {"Location": f"{fake.url}/elsewhere?query=x"})
    with pytest.raises(SourceFailed, match="HTTP 302: a redirect is not followed"):
        from_prometheus(fake.url)
    assert len(fake.seen) == 1


# ---- wrong questions, wrong answers, no answers


@pytest.mark.parametrize(
    "url",
    ["", "prometheus:9090", "file:///etc/passwd", "http://", "http://h ost", "http://h\n", "http://h:port", "ftp://h"],
)
def test_a_wrong_address_is_refused(url):
    with pytest.raises(InputError, match="address of Prometheus"):
        from_prometheus(url)


@pytest.mark.parametrize("url", ["https://me:s3cr3t@h", "https://h/?token=s3cr3t", "https://h/#s3cr3t"])
def test_an_address_with_a_secret_is_refused_unseen(url):
    with pytest.raises(InputError) as caught:
        from_prometheus(url)
    assert "s3cr3t" not in str(caught.value)


def test_wrong_options_are_refused_together(fake):
    with pytest.raises(InputError) as caught:
        from_prometheus(fake.url, "a week", step="", overrides={"cpu": "x", "memory": ""})
    said = str(caught.value)
    for part in ("window 'a week'", "step ''", "query 'cpu' is not known; allowed: util_sum", "'memory' must not be"):
        assert part in said
    with pytest.raises(InputError, match="timeout 0"):
        from_prometheus(fake.url, timeout=0)
    assert fake.seen == []


@pytest.mark.parametrize("status", [400, 404, 422])
def test_a_refused_query_is_an_error_of_the_input_with_the_servers_words(fake, status):
    fake.every = lambda: (status, b'{"status":"error","errorType":"bad_data","error":"parse error at char 7"}', {})
    with pytest.raises(InputError, match=f"{fake.url}: time: HTTP {status}: 'parse error at char 7'"):
        from_prometheus(fake.url)


def test_an_error_under_status_200_is_an_error_of_the_input(fake):
    fake.answers["memory"] = b'{"status":"error","error":"too many samples"}'
    with pytest.raises(InputError, match="memory: the query failed: 'too many samples'"):
        from_prometheus(fake.url)


@pytest.mark.parametrize("status", [429, 500, 502, 503])
def test_a_failing_server_is_no_error_of_the_input(fake, status):
    fake.every = lambda: (status, b"<html>oops</html>", {})
    with pytest.raises(SourceFailed, match=f"{fake.url}: time: HTTP {status}"):
        from_prometheus(fake.url)


@pytest.mark.parametrize(
    ("body", "said"),
    [
        (b"<html>Grafana</html>", "not that of a Prometheus server"),
        (b"[1]", "not that of a Prometheus server"),
        (b"[" * 100_000, "not that of a Prometheus server"),
        (b"\xff\xfe", "not that of a Prometheus server"),
        (b'{"status":"success"}', "no instant vector"),
        (b'{"status":"success","data":{"resultType":"matrix","result":[]}}', "no instant vector"),
        (b'{"status":"success","data":{"resultType":"vector","result":[{"metric":{}}]}}', "no labels or no value"),
        (b'{"status":"success","data":{"resultType":"vector","result":[{"metric":{},"value":[1e999,"1"]}]}}', "no val"),
    ],
)
def test_an_answer_that_is_none_is_refused(fake, body, said):
    fake.every = lambda: (200, body, {})
    with pytest.raises(InputError, match=said):
        from_prometheus(fake.url)


@pytest.mark.parametrize(
    ("figures", "labels", "said"),
    [
        (
            {"util_p95": 200},
            {},
            "util_p95 of pod team-a/api-6d4b75cb6d-x2x5q: DCGM_FI_DEV_GPU_UTIL: '200' is too large",
        ),
        ({"active_p95": 35}, {}, "DCGM_FI_PROF_GR_ENGINE_ACTIVE: '35' is too large; allowed: a share"),
        ({"util_sum": "NaN"}, {}, "util_sum of pod team-a/api-6d4b75cb6d-x2x5q: 'NaN' is no amount"),
        ({"memory": -1}, {}, "DCGM_FI_DEV_FB_USED: '-1' is no amount"),
        ({}, {"modelName": "A100"}, "modelName: GPU 'A100' may be a100-40gb or a100-80gb"),
        ({}, {"exported_pod": "No_Pod"}, "pod 'No_Pod' is no Kubernetes name"),
    ],
)
def test_figures_and_labels_that_cannot_be_are_refused(fake, figures, labels, said):
    fake.pod({**ON_GPU, **labels}, **{"util_sum": 1, "util_count": 1, "util_p95": 1, "memory": 1, **figures})
    with pytest.raises(InputError) as caught:
        from_prometheus(fake.url)
    assert said in str(caught.value)


def test_no_data_is_refused(fake):
    fake.answers["time"] = vector()
    with pytest.raises(InputError, match="time: the answer is empty"):
        from_prometheus(fake.url)
    fake.answers["time"] = vector(({}, NOW))
    with pytest.raises(InputError, match="no DCGM metrics in the last 7d: is dcgm-exporter scraped"):
        from_prometheus(fake.url)


def test_a_server_that_is_not_there_is_a_failed_source(monkeypatch):
    monkeypatch.delenv(TOKEN, raising=False)
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    with socket.socket() as bound:
        # Bound, but not listening: nobody else gets the port, and it refuses all.
        bound.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{bound.getsockname()[1]}"
        with pytest.raises(SourceFailed, match=f"{url}: cannot be reached"):
            from_prometheus(url)


def test_a_server_that_does_not_answer_in_time_is_a_failed_source(fake):
    def late() -> Reply:
        time.sleep(0.4)
        return 200, b"", {}

    fake.every = late
    with pytest.raises(SourceFailed, match=r"no answer within|cannot be reached"):
        from_prometheus(fake.url, timeout=0.1)


def test_an_answer_that_breaks_off_is_a_failed_source(fake):
    fake.every = lambda: (200, b"{", {"Content-Length": "100", "Connection": "close"})
    with pytest.raises(SourceFailed, match="broke off"):
        from_prometheus(fake.url, timeout=1)
