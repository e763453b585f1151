"""The API server's verdict on an object: what it refuses, and what it warns of, which the sandbox's client drops."""

from __future__ import annotations

import http.client
import json
import re
import ssl
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

Manifest = dict[str, Any]
Headers = Sequence[tuple[str, str]]
PATHS = {
    "Pod": "/api/v1/namespaces/{}/pods",
    "Binding": "/api/v1/namespaces/{}/bindings",
    "Deployment": "/apis/apps/v1/namespaces/{}/deployments",
    "ReplicaSet": "/apis/apps/v1/namespaces/{}/replicasets",
    "StatefulSet": "/apis/apps/v1/namespaces/{}/statefulsets",
    "DaemonSet": "/apis/apps/v1/namespaces/{}/daemonsets",
    "Job": "/apis/batch/v1/namespaces/{}/jobs",
    "CronJob": "/apis/batch/v1/namespaces/{}/cronjobs",
    "NodePool": "/apis/karpenter.sh/v1/nodepools",
    "EC2NodeClass": "/apis/karpenter.k8s.aws/v1/ec2nodeclasses",
}
_REFUSAL = re.compile(r"ValidatingAdmissionPolicy '[^']*' with binding '[^']*'(?: denied request)?: (.*)")
_RULE = re.compile(r"(?:^|(?<=\. ))([a-z]+(?:-[a-z]+)+): ")
_WARNING = re.compile(r'299 - "((?:[^"\\]|\\.)*)"')


@dataclass(frozen=True)
class Verdict:
    """`message` is the refusal, empty for what was taken; `object` is what the server would store, or its Status."""

    status: int
    message: str
    warnings: tuple[str, ...]
    object: Mapping[str, Any]

    @property
    def admitted(self) -> bool:
        return self.status < 300

    @property
    def refused_by(self) -> set[str]:
        """Every rule that refused it. Fails for a refusal that is no rule's."""
        return set() if self.admitted else rules_in(self.message)

    @property
    def warned_by(self) -> set[str]:
        """Every rule that warned. Fails for a warning that is no rule's."""
        return {rule for w in self.warnings if "ValidatingAdmissionPolicy" in w for rule in rules_in(w)}


def rules_in(text: str) -> set[str]:
    """The names of the rules in a refusal or a warning."""
    told = _REFUSAL.search(text)
    names = set(_RULE.findall(told[1])) if told else set()
    assert names, f"no rule says so: {text}"
    return names


class Api:
    """One API server over one connection, as the administrator or as somebody else."""

    def __init__(self, kubeconfig: Path) -> None:
        config = yaml.safe_load(kubeconfig.read_text())
        cluster, user = config["clusters"][0]["cluster"], config["users"][0]["user"]
        trust = ssl.create_default_context(cafile=cluster["certificate-authority"])
        trust.load_cert_chain(user["client-certificate"], user["client-key"])
        address = cluster["server"].removeprefix("https://")
        self._connection = http.client.HTTPSConnection(address, timeout=60, context=trust)

    def close(self) -> None:
        self._connection.close()

    def create(
        self, manifest: Manifest, *, dry_run: bool = True, user: str = "", groups: Sequence[str] = ()
    ) -> Verdict:
        path = PATHS[manifest["kind"]].format(manifest["metadata"].get("namespace", ""))
        return self.send("POST", path, manifest, dry_run=dry_run, user=user, groups=groups)

    def update(self, manifest: Manifest, subresource: str = "", *, dry_run: bool = True) -> Verdict:
        metadata = manifest["metadata"]
        if manifest["kind"] == "Pod":
            # Unconditionally: the scheduler writes the pod's status at any time.
            manifest = manifest | {"metadata": {k: v for k, v in metadata.items() if k != "resourceVersion"}}
        path = f"{PATHS[manifest['kind']].format(metadata.get('namespace', ''))}/{metadata['name']}"
        return self.send("PUT", f"{path}/{subresource}".rstrip("/"), manifest, dry_run=dry_run)

    def send(
        self,
        method: str,
        path: str,
        body: Manifest,
        *,
        dry_run: bool = True,
        user: str = "",
        groups: Sequence[str] = (),
    ) -> Verdict:
        headers = [("Content-Type", "application/json"), *(("Impersonate-Group", group) for group in groups)]
        if user:
            headers.append(("Impersonate-User", user))
        answer = self._answer(method, path + ("?dryRun=All" if dry_run else ""), headers, json.dumps(body).encode())
        found = json.loads(answer.read())
        warnings = tuple(_warnings(answer.headers.get_all("Warning") or ()))
        return Verdict(answer.status, found["message"] if answer.status >= 300 else "", warnings, found)

    def _answer(self, method: str, path: str, headers: Headers, data: bytes) -> http.client.HTTPResponse:
        try:
            return self._request(method, path, headers, data)
        except (OSError, http.client.HTTPException):
            # The server ends a connection that was idle for long.
            self._connection.close()
            return self._request(method, path, headers, data)

    def _request(self, method: str, path: str, headers: Headers, data: bytes) -> http.client.HTTPResponse:
        self._connection.putrequest(method, path)
        for name, value in [*headers, ("Content-Length", str(len(data)))]:
            self._connection.putheader(name, value)
        self._connection.endheaders(data)
        return self._connection.getresponse()


def _warnings(headers: Sequence[str]) -> list[str]:
    return [re.sub(r"\\(.)", r"\1", text) for header in headers for text in _WARNING.findall(header)]
