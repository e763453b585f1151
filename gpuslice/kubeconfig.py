"""Kubeconfigs as data: one that holds no credential for a new cluster, and the one that a user's file gives."""

from __future__ import annotations

import base64
import json
from pathlib import Path
from typing import Any

import yaml

Config = dict[str, Any]
# (section of an entry, key with a file's path, key with the same content inline)
INLINED = (
    ("cluster", "certificate-authority", "certificate-authority-data"),
    ("user", "client-certificate", "client-certificate-data"),
    ("user", "client-key", "client-key-data"),
)


class KubeconfigError(ValueError):
    """A kubeconfig that cannot be used; the text names the file and what is wrong."""


def exec_kubeconfig(name: str, endpoint: str, ca_data: str, region: str, profile: str | None = None) -> Config:
    """Asks the AWS CLI for a token at each use: nothing in it is secret for long, and nothing changes between runs.

    `ca_data` is base64. `profile` is the AWS CLI's; without it, the environment decides.
    """
    arguments = ["--region", region, "eks", "get-token", "--cluster-name", name, "--output", "json"]
    command = {
        "apiVersion": "client.authentication.k8s.io/v1beta1",
        "command": "aws",
        "args": arguments + (["--profile", profile] if profile else []),
        "interactiveMode": "Never",
    }
    server = {"server": endpoint, "certificate-authority-data": ca_data}
    return {
        "apiVersion": "v1",
        "kind": "Config",
        "clusters": [{"name": name, "cluster": server}],
        "contexts": [{"name": name, "context": {"cluster": name, "user": name}}],
        "current-context": name,
        "users": [{"name": name, "user": {"exec": command}}],
    }


def read_kubeconfig(path: str, context: str | None = None) -> str:
    """One context of a kubeconfig file, as JSON text that needs no other file.

    `context` defaults to the file's current one. Only that context's cluster and user are kept: the text goes into
    Pulumi's state, where credentials for other clusters have no business. Certificates that the file points to are
    taken in. KubeconfigError when the file is missing, is not a kubeconfig, or lacks the context.
    """
    file = Path(path).expanduser()
    config = _parse(file)
    contexts = _entries(config, "contexts", file)
    wanted = context or config.get("current-context")
    if wanted not in contexts:
        has = ", ".join(sorted(contexts)) or "none"
        what = f"has no context '{wanted}'" if wanted else "has no current-context"
        raise KubeconfigError(f"cluster.kubeconfig: {file} {what}; its contexts: {has}")
    kept: Config = {"apiVersion": "v1", "kind": "Config", "current-context": wanted}
    kept["contexts"] = [{"name": wanted, "context": _mapping(contexts[wanted], "context")}]
    for section, kind in (("clusters", "cluster"), ("users", "user")):
        name = kept["contexts"][0]["context"].get(kind)
        entry = _entries(config, section, file).get(name)
        if entry is None:
            raise KubeconfigError(
                f"cluster.kubeconfig: context '{wanted}' of {file} names {kind} '{name}', which is not there"
            )
        kept[section] = [{"name": name, kind: _self_contained(_mapping(entry, kind), kind, file)}]
    return json.dumps(kept, sort_keys=True)


def _parse(file: Path) -> Config:
    try:
        config = yaml.safe_load(file.read_text(encoding="utf-8"))
    except OSError as error:
        raise KubeconfigError(f"cluster.kubeconfig: cannot read {file}: {error.strerror}") from None
    except (yaml.YAMLError, UnicodeDecodeError):
        raise KubeconfigError(f"cluster.kubeconfig: {file} is not YAML or JSON") from None
    if not isinstance(config, dict) or config.get("kind", "Config") != "Config":
        raise KubeconfigError(f"cluster.kubeconfig: {file} is not a kubeconfig (kind: Config)")
    return config


def _mapping(entry: Config, key: str) -> Config:
    value = entry.get(key)
    return dict(value) if isinstance(value, dict) else {}


def _entries(config: Config, section: str, file: Path) -> dict[str, Config]:
    entries = config.get(section) or []
    if not isinstance(entries, list) or not all(isinstance(e, dict) and "name" in e for e in entries):
        raise KubeconfigError(f"cluster.kubeconfig: '{section}' of {file} is not a list of named entries")
    return {str(entry["name"]): entry for entry in entries}


def _self_contained(entry: Config, kind: str, file: Path) -> Config:
    """Paths inside a kubeconfig are relative to its folder, which the text leaves behind."""
    for section, key, inline in INLINED:
        if section == kind and key in entry:
            content = _content(file.parent / str(entry.pop(key)), key, file)
            entry.setdefault(inline, base64.b64encode(content).decode())
    if "tokenFile" in entry:
        entry["tokenFile"] = str((file.parent / str(entry["tokenFile"])).resolve())
    command = entry.get("exec")
    if isinstance(command, dict) and "/" in str(command.get("command", "")):
        entry["exec"] = command | {"command": str((file.parent / str(command["command"])).resolve())}
    return entry


def _content(path: Path, key: str, file: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise KubeconfigError(f"cluster.kubeconfig: {key} of {file} is {path}: {error.strerror}") from None
