"""The client's reading of what a server sends, where a real one sends it too rarely to wait for."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest
from kubernetes.client.exceptions import ApiException

from sandbox import SandboxError
from sandbox.client import ApiRefused, Cluster

RESOURCES = {"resources": [{"name": "pods", "kind": "Pod", "namespaced": True},
                           {"name": "pods/status", "kind": "Pod", "namespaced": True}]}  # fmt: skip


class Response:
    def __init__(self, *blocks: bytes) -> None:
        self.data = b"".join(blocks)
        self._blocks = blocks
        self.closed = False

    def stream(self, **_: Any) -> Iterator[bytes]:
        yield from self._blocks

    def close(self) -> None:
        self.closed = True


class Api:
    """Answers discovery, then `answer`."""

    def __init__(self, answer: Response | Exception) -> None:
        self.answer = answer
        self.urls: list[str] = []
        self.configuration = type("Configuration", (), {"host": "https://server"})()

    def call_api(self, url: str, method: str, **_: Any) -> tuple[Response, int, dict[str, str]]:
        self.urls.append(url)
        if url == "/api/v1":
            return Response(json.dumps(RESOURCES).encode()), 200, {}
        if isinstance(self.answer, Exception):
            raise self.answer
        return self.answer, 200, {}


def event(kind: str, **fields: object) -> bytes:
    return json.dumps({"type": kind, "object": fields}, ensure_ascii=False).encode() + b"\n"


@pytest.mark.parametrize("size", [1, 2, 7, 1000])
def test_events_may_be_cut_anywhere(size):
    data = event("ADDED", a="é") + event("MODIFIED", a="日本") + b"\n" + event("DELETED", a="")
    response = Response(*(data[start : start + size] for start in range(0, len(data), size)))
    events = list(Cluster(Api(response)).watch("v1", "Pod", "1", "ns"))
    assert events == [("ADDED", {"a": "é"}), ("MODIFIED", {"a": "日本"}), ("DELETED", {"a": ""})]
    assert response.closed


def test_a_version_that_is_too_old_is_told_by_its_status():
    response = Response(event("ERROR", code=410, reason="Expired", message="too old resource version"))
    with pytest.raises(ApiRefused, match="too old") as caught:
        list(Cluster(Api(response)).watch("v1", "Pod", "1"))
    assert (caught.value.status, caught.value.reason) == (410, "Expired")
    assert response.closed


def test_an_abandoned_watch_is_closed():
    response = Response(event("ADDED", a=1), event("ADDED", a=2))
    watch = Cluster(Api(response)).watch("v1", "Pod", "1")
    next(watch)
    watch.close()
    assert response.closed


def test_a_broken_tls_connection_is_no_refusal():
    cluster = Cluster(Api(ApiException(status=0, reason="certificate verify failed")))
    with pytest.raises(SandboxError, match=r"no answer .* https://server: certificate verify failed") as caught:
        cluster.get("v1", "Pod", "a")
    assert not isinstance(caught.value, ApiRefused)


@pytest.mark.parametrize("body", [None, b"upstream timed out", b'"text"', b"{}"])
def test_an_answer_that_is_no_status_is_shown_as_it_is(body):
    error = ApiException(status=502, reason="Bad Gateway")
    error.body = body
    with pytest.raises(ApiRefused) as caught:
        Cluster(Api(error)).get("v1", "Pod", "a")
    assert caught.value.status == 502
    assert caught.value.message == ((body or b"").decode() or "Bad Gateway")


def test_a_kind_is_looked_up_once():
    api = Api(Response(json.dumps({"items": [], "metadata": {"resourceVersion": "1"}}).encode()))
    cluster = Cluster(api)
    cluster.list("v1", "Pod")
    cluster.list("v1", "Pod", "ns")
    assert api.urls == ["/api/v1", "/api/v1/pods", "/api/v1/namespaces/ns/pods"]
