"""The Kubernetes API as plain dicts: server-side apply, get, list, delete, patch, watch.

The `kubernetes` package brings the kubeconfig, TLS and connection pool. Its dynamic client is not used: it
keeps what it discovered in a temporary file that the next sandbox would find, and knows nothing of kinds
added later. Discovery here is one request for a group and version, kept in memory.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import yaml
from kubernetes import client as kubernetes_client
from kubernetes import config as kubernetes_config
from kubernetes.client.exceptions import ApiException
from kubernetes.config.config_exception import ConfigException
from urllib3.exceptions import HTTPError

from sandbox import SandboxError

FIELD_MANAGER = "gpu-slicing"

Manifest = dict[str, Any]
Manifests = list[Manifest]
PatchType = Literal["merge", "strategic", "json"]

_PATCH_CONTENT = {
    "merge": "application/merge-patch+json",
    "strategic": "application/strategic-merge-patch+json",
    "json": "application/json-patch+json",
}
_REQUEST_SECONDS = 60
_NOT_FOUND = 404


class ApiRefused(SandboxError):
    """The API server said no: `status` is the HTTP code, `reason` Kubernetes' word for it (Invalid)."""

    def __init__(self, kind: str, name: str, status: int, reason: str, message: str) -> None:
        super().__init__(f"the API server refused {kind} {name}: {message}")
        self.kind = kind
        self.name = name
        self.status = status
        self.reason = reason
        self.message = message


@dataclass(frozen=True)
class _Resource:
    """How the API names a kind."""

    path: str
    plural: str
    namespaced: bool

    def url(self, namespace: str | None, name: str | None = None, subresource: str | None = None) -> str:
        parts = [
            self.path,
            *(("namespaces", namespace) if self.namespaced and namespace else ()),
            self.plural,
        ]
        return "/".join([*parts, *(part for part in (name, subresource) if part)])


class Cluster:
    """One cluster. Usable from several threads. Every method raises SandboxError when no server answers."""

    def __init__(self, api: kubernetes_client.ApiClient) -> None:
        self._api = api
        self._resources: dict[tuple[str, str], _Resource] = {}

    def apply(self, manifest: Manifest, *, dry_run: bool = False, force: bool = True) -> Manifest:
        """Server-side apply; returns the object as the server has it, or would have it (`dry_run`).

        A namespaced object without a namespace goes to `default`. Raises ApiRefused.
        """
        kind, name = manifest["kind"], manifest["metadata"]["name"]
        url = self._url(manifest["apiVersion"], kind, name, manifest["metadata"].get("namespace"))
        query = {"fieldManager": FIELD_MANAGER, "force": str(force).lower()}
        if dry_run:
            query["dryRun"] = "All"
        return self._send("PATCH", url, kind, name, query, manifest, "application/apply-patch+yaml")

    def create(self, manifest: Manifest) -> Manifest:
        """Create, status included where the kind takes it at creation (a Node does). Raises ApiRefused."""
        kind = manifest["kind"]
        name = manifest["metadata"].get("name") or manifest["metadata"].get("generateName", "")
        url = self._url(manifest["apiVersion"], kind, None, manifest["metadata"].get("namespace"))
        return self._send("POST", url, kind, name, {"fieldManager": FIELD_MANAGER}, manifest)

    def get(self, api_version: str, kind: str, name: str, namespace: str | None = None) -> Manifest | None:
        """None when there is no such object. Raises ApiRefused, also for a kind the server does not know."""
        url = self._url(api_version, kind, name, namespace)
        try:
            return self._send("GET", url, kind, name)
        except ApiRefused as refusal:
            if refusal.status == _NOT_FOUND:
                return None
            raise

    def list(
        self, api_version: str, kind: str, namespace: str | None = None, label_selector: str | None = None
    ) -> Manifests:
        """The objects of a namespace, or of all of them. Raises ApiRefused."""
        return self.list_with_version(api_version, kind, namespace, label_selector)[0]

    def list_with_version(
        self, api_version: str, kind: str, namespace: str | None = None, label_selector: str | None = None
    ) -> tuple[Manifests, str]:
        """`list`, and the resource version from which `watch` goes on without a gap."""
        query = {"labelSelector": label_selector} if label_selector else {}
        url = self._resource(api_version, kind).url(namespace)
        answer = self._send("GET", url, kind, "list", query)
        # The server leaves out what all items of a list share.
        items = [{"apiVersion": api_version, "kind": kind, **item} for item in answer["items"]]
        return items, str(answer["metadata"]["resourceVersion"])

    def delete(
        self,
        api_version: str,
        kind: str,
        name: str,
        namespace: str | None = None,
        *,
        propagation: Literal["Background", "Foreground", "Orphan"] = "Background",
        grace_seconds: int | None = None,
    ) -> bool:
        """Ask for the deletion; False when there was no such object. Finalizers may keep it for a while."""
        url = self._url(api_version, kind, name, namespace)
        options: Manifest = {"propagationPolicy": propagation}
        if grace_seconds is not None:
            options["gracePeriodSeconds"] = grace_seconds
        try:
            self._send("DELETE", url, kind, name, body=options)
        except ApiRefused as refusal:
            if refusal.status == _NOT_FOUND:
                return False
            raise
        return True

    def patch(
        self,
        api_version: str,
        kind: str,
        name: str,
        body: Any,
        namespace: str | None = None,
        *,
        patch_type: PatchType = "merge",
        subresource: str | None = None,
    ) -> Manifest:
        """Patch an object; in a merge patch None removes a key and a list replaces the whole list.

        Raises ApiRefused (status 404 when there is no such object).
        """
        url = self._url(api_version, kind, name, namespace, subresource)
        return self._send("PATCH", url, kind, name, {}, body, _PATCH_CONTENT[patch_type])

    def patch_status(
        self, api_version: str, kind: str, name: str, status: Mapping[str, Any], namespace: str | None = None
    ) -> Manifest:
        """Merge `status` into the object's status subresource. See `patch`."""
        return self.patch(api_version, kind, name, {"status": dict(status)}, namespace, subresource="status")

    def watch(
        self,
        api_version: str,
        kind: str,
        resource_version: str,
        namespace: str | None = None,
        seconds: int = 300,
    ) -> Iterator[tuple[str, Manifest]]:
        """Changes after `resource_version` as (ADDED | MODIFIED | DELETED, object), for at most `seconds`.

        Raises ApiRefused with status 410 when the version is too old: list again.
        """
        url = self._resource(api_version, kind).url(namespace)
        query = {"watch": "true", "resourceVersion": resource_version, "timeoutSeconds": str(seconds)}
        response = self._call("GET", url, kind, "watch", query, timeout=seconds + 10)
        try:
            for line in _lines(response):
                event = json.loads(line)
                if event["type"] == "ERROR":
                    failure = event["object"]
                    raise ApiRefused(kind, "watch", failure["code"], failure["reason"], failure["message"])
                yield event["type"], event["object"]
        except HTTPError as error:
            raise SandboxError(f"the watch on {kind} broke: {error}") from None
        finally:
            response.close()

    def raw(self, path: str, timeout: float = 5) -> str:
        """The text at a path that is no object, such as `/readyz`. Raises ApiRefused."""
        response = self._call("GET", path, "path", path, {}, timeout=timeout)
        return str(response.data.decode())

    def close(self) -> None:
        self._api.close()

    def _url(
        self,
        api_version: str,
        kind: str,
        name: str | None,
        namespace: str | None,
        subresource: str | None = None,
    ) -> str:
        return self._resource(api_version, kind).url(namespace or "default", name, subresource)

    def _resource(self, api_version: str, kind: str) -> _Resource:
        known = self._resources.get((api_version, kind))
        if known is None:
            self._discover(api_version, kind)
            known = self._resources.get((api_version, kind))
        if known is None:
            raise ApiRefused(kind, "(any)", _NOT_FOUND, "UnknownKind", f"it has no kind {kind} in {api_version}")
        return known

    def _discover(self, api_version: str, kind: str) -> None:
        path = f"/apis/{api_version}" if "/" in api_version else f"/api/{api_version}"
        try:
            answer = self._send("GET", path, kind, "(any)")
        except ApiRefused as refusal:
            if refusal.status == _NOT_FOUND:
                return
            raise
        for entry in answer["resources"]:
            if "/" not in entry["name"]:
                resource = _Resource(path, entry["name"], entry["namespaced"])
                self._resources[api_version, entry["kind"]] = resource

    def _send(
        self,
        method: str,
        url: str,
        kind: str,
        name: str,
        query: Mapping[str, str] | None = None,
        body: Any = None,
        content_type: str = "application/json",
    ) -> Manifest:
        response = self._call(method, url, kind, name, query or {}, body, content_type)
        answer: Manifest = json.loads(response.data)
        return answer

    def _call(
        self,
        method: str,
        url: str,
        kind: str,
        name: str,
        query: Mapping[str, str],
        body: Any = None,
        content_type: str = "application/json",
        timeout: float = _REQUEST_SECONDS,
    ) -> Any:
        try:
            response, _, _ = self._api.call_api(
                url,
                method,
                query_params=list(query.items()),
                header_params={"Accept": "application/json", "Content-Type": content_type},
                body=body,
                auth_settings=["BearerToken"],
                _preload_content=False,
                _request_timeout=timeout,
            )
        except ApiException as error:
            if error.status:
                raise _refusal(error, kind, name) from None
            # Status 0 is the package's way to say that TLS failed.
            raise self._unreachable(error.reason) from None
        except (HTTPError, OSError) as error:
            raise self._unreachable(error) from None
        return response

    def _unreachable(self, cause: object) -> SandboxError:
        return SandboxError(f"no answer from the API server at {self._api.configuration.host}: {cause}")


def connect(kubeconfig: Path) -> Cluster:
    """A cluster by its kubeconfig's current context. Opens no connection yet.

    Raises SandboxError when the file is missing or is no kubeconfig.
    """
    configuration = kubernetes_client.Configuration()
    # A failed attempt is the caller's to repeat: it knows whether the server is starting, stopping or dead.
    configuration.retries = False
    try:
        kubernetes_config.load_kube_config(str(kubeconfig), client_configuration=configuration)
    except (ConfigException, OSError, yaml.YAMLError, LookupError, TypeError, AttributeError) as error:
        # The package reads the file without checking its shape, so a wrong one fails in any of these ways.
        raise SandboxError(f"cannot use the kubeconfig {kubeconfig}: {error}") from None
    return Cluster(kubernetes_client.ApiClient(configuration))


def _refusal(error: ApiException, kind: str, name: str) -> ApiRefused:
    body = error.body.decode(errors="replace") if isinstance(error.body, bytes) else error.body or ""
    try:
        status = json.loads(body)
        reason, message = status.get("reason", ""), status["message"]
    except (ValueError, LookupError, TypeError, AttributeError):
        # Not Kubernetes' Status object: something before the API server answered.
        reason, message = str(error.reason), body or str(error.reason)
    return ApiRefused(kind, name, int(error.status), reason, message)


def _lines(response: Any) -> Iterator[bytes]:
    """Whole lines of a streamed answer. Its blocks end anywhere, in the middle of a character too."""
    rest = b""
    for block in response.stream(amt=None, decode_content=False):
        *lines, rest = (rest + block).split(b"\n")
        yield from (line for line in lines if line.strip())
