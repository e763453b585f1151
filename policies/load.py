"""Resources from files: Kubernetes manifests, exported states, and previews.

What a file is shows in its content: a state is what `pulumi stack export` prints, a preview what
`pulumi preview --json` or `gpuslice preview --json` prints, and everything else is manifests.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from policies.model import Change, Options, Resource
from policies.view import UNKNOWN
from policies.wire import SECRET, SIGNATURE, UNKNOWNS

SUFFIXES = (".yaml", ".yml", ".json")
_NOTHING_NEW = ("delete", "delete-replaced", "read", "read-replacement", "discard")
_SECONDS = 1_000_000_000
# The text that `gpuslice preview --json` writes for what is not known yet and for what it hides.
_HIDDEN = ("<unknown>", "<secret>")
_LOADER = getattr(yaml, "CSafeLoader", yaml.SafeLoader)


class LoadError(ValueError):
    """A file cannot be judged; the text says which, where and why."""


@dataclass
class Loaded:
    """What the files hold. `skipped` are files of a folder, and documents, that are none of what is judged."""

    resources: list[Resource] = field(default_factory=list)
    changes: list[Change] = field(default_factory=list)
    skipped: list[str] = field(default_factory=list)


def load(paths: Iterable[Path]) -> Loaded:
    """Everything in the files, and in the YAML and JSON files of the folders. Raises LoadError, and OSError."""
    loaded = Loaded()
    for path in paths:
        if path.is_dir():
            files = sorted(f for f in path.rglob("*") if f.suffix in SUFFIXES and f.is_file() and not _hidden(f, path))
            if not files:
                raise LoadError(f"{path}: no file that ends with {', '.join(SUFFIXES)} in this folder")
            for file in files:
                _load_file(file, loaded, of_folder=True)
        elif path.exists():
            _load_file(path, loaded, of_folder=False)
        else:
            raise LoadError(f"{path}: no such file or folder")
    if not loaded.resources and not loaded.changes:
        raise LoadError("nothing to judge: no Kubernetes object, state or preview in what was given")
    return loaded


def _hidden(file: Path, folder: Path) -> bool:
    return any(part.startswith(".") for part in file.relative_to(folder).parts)


def _load_file(path: Path, loaded: Loaded, *, of_folder: bool) -> None:
    for number, document in enumerate(_documents(path), start=1):
        where = f"{path}, document {number}"
        if isinstance(document, Mapping) and isinstance(document.get("deployment"), Mapping):
            loaded.resources += _state(document["deployment"], where)
        elif isinstance(document, Mapping) and isinstance(document.get("steps"), list):
            changes = preview_changes(document["steps"], where)
            loaded.changes += changes
            loaded.resources += _planned(changes)
        elif isinstance(document, Mapping) and "schemaVersion" in document and "resources" in document:
            loaded.resources += [_recorded(r) for r in _objects(document["resources"], where)]
        elif _is_manifest(document):
            loaded.resources.append(_manifest(document))
        elif of_folder:
            loaded.skipped.append(f"{where}: has no apiVersion and kind")
        else:
            raise LoadError(f"{where}: neither a Kubernetes object (apiVersion, kind) nor a state nor a preview")


def _documents(path: Path) -> list[Any]:
    try:
        text = path.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        raise LoadError(f"{path}: not UTF-8 text (byte {error.start})") from None
    try:
        if path.suffix == ".json":
            return [json.loads(text)]
        return [d for d in yaml.load_all(text, Loader=_LOADER) if d is not None]
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        reason = " ".join(str(error).split()) or "nested too deeply"
        raise LoadError(f"{path}: not {path.suffix.lstrip('.') or 'YAML'}: {reason[:300]}") from None


def _is_manifest(document: Any) -> bool:
    return isinstance(document, Mapping) and isinstance(document.get("kind"), str) and "apiVersion" in document


def _manifest(document: Mapping[str, Any]) -> Resource:
    """A manifest as the resource that a CustomResource would be. Nobody knows the options of one."""
    version = str(document["apiVersion"])
    group = version if "/" in version else f"core/{version}"
    metadata = document.get("metadata")
    name = metadata.get("name") if isinstance(metadata, Mapping) else None
    return Resource(f"kubernetes:{group}:{document['kind']}", str(name or "(no name)"), document)


def _objects(data: Any, where: str) -> Iterator[Mapping[str, Any]]:
    for entry in data if isinstance(data, list) else [data]:
        if not isinstance(entry, Mapping) or not isinstance(entry.get("type"), str):
            raise LoadError(f"{where}: {str(entry)[:80]} is not a resource with a type")
        yield entry


def _state(deployment: Mapping[str, Any], where: str) -> list[Resource]:
    """The resources of an export, without those that are about to be deleted and those that Pulumi only reads."""
    entries = _objects(deployment.get("resources") or [], where)
    return [_exported(entry) for entry in entries if not entry.get("delete") and not entry.get("external")]


def preview_changes(steps: Iterable[Any], where: str = "the preview") -> list[Change]:
    """The steps of `pulumi preview --json`. Raises LoadError for what is none."""
    changes = []
    for step in steps:
        if not isinstance(step, Mapping) or not isinstance(step.get("op"), str):
            raise LoadError(f"{where}: {str(step)[:80]} is not a step of a preview")
        changes.append(Change(step["op"], _state_of(step, "oldState"), _state_of(step, "newState")))
    return changes


def _planned(changes: Iterable[Change]) -> list[Resource]:
    """What would be there after the changes. A replacement is several steps, each with the same new state."""
    new = [c.new for c in changes if c.new is not None and c.op not in _NOTHING_NEW]
    return list({resource.urn: resource for resource in new}.values())


def _state_of(step: Mapping[str, Any], key: str) -> Resource | None:
    state = step.get(key)
    return _exported(state) if isinstance(state, Mapping) and isinstance(state.get("type"), str) else None


def _exported(entry: Mapping[str, Any]) -> Resource:
    """A resource of a state. Its inputs are what the rules judge, as in the engine."""
    timeouts = entry.get("customTimeouts") or {}
    urn = str(entry.get("urn", ""))
    return Resource(
        entry["type"],
        urn.rpartition("::")[2],
        _plain(entry.get("inputs") or {}),
        urn,
        Options(bool(entry.get("protect")), float(timeouts.get("delete") or 0) / _SECONDS),
        _provider_name(entry),
        str(entry.get("parent") or ""),
        tuple(map(str, entry.get("dependencies") or ())),
        {key: tuple(urns or ()) for key, urns in (entry.get("propertyDependencies") or {}).items()},
    )


def _provider_name(entry: Mapping[str, Any]) -> str:
    """The name in a provider reference `urn:...::<name>::<id>`."""
    parts = str(entry.get("provider") or "").split("::")
    return parts[-2] if len(parts) > 2 else ""


def _recorded(entry: Mapping[str, Any]) -> Resource:
    """A resource of `gpuslice preview --json`."""
    options = entry.get("options") or {}
    provider = str(entry.get("provider") or "").rpartition("::")[2]
    return Resource(
        entry["type"],
        str(entry.get("name", "")),
        _plain(entry.get("inputs") or {}),
        str(entry.get("urn", "")),
        Options(bool(options.get("protect")), _duration((options.get("customTimeouts") or {}).get("delete", ""))),
        provider,
        str(entry.get("parent") or ""),
        tuple(map(str, entry.get("dependencies") or ())),
    )


def _duration(text: str) -> float:
    """`1h30m` in seconds."""
    total, digits = 0.0, ""
    for letter in text:
        if letter.isdigit():
            digits += letter
        else:
            total += int(digits or 0) * {"h": 3600, "m": 60, "s": 1}.get(letter, 0)
            digits = ""
    return total


def _plain(value: Any) -> Any:
    """JSON data with the marks of what is not known, or is encrypted, made `UNKNOWN`."""
    if isinstance(value, str):
        return UNKNOWN if value in UNKNOWNS or value in _HIDDEN else value
    if isinstance(value, Mapping):
        if value.get(SIGNATURE) == SECRET:
            return _secret(value)
        return {key: _plain(item) for key, item in value.items()}
    return [_plain(item) for item in value] if isinstance(value, list) else value


def _secret(value: Mapping[str, Any]) -> Any:
    """A secret that was exported with `--show-secrets` is JSON text; without, it cannot be read."""
    try:
        return _plain(json.loads(value["plaintext"]))
    except (KeyError, TypeError, ValueError):
        return UNKNOWN
