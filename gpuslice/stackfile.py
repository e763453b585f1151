"""Read `Pulumi.<stack>.yaml` strictly: what two YAML parsers would read differently is refused, with its place.

The Pulumi CLI reads stack files with a YAML 1.2 parser that keeps parts of YAML 1.1; the program sees the result as
JSON. A value that changes its meaning on the way (`010`, `yes`, `1:30`, an unquoted date, `.inf`) is an error here.
"""

from __future__ import annotations

import math
import re
from collections.abc import Hashable
from pathlib import Path
from typing import Any

import yaml

from gpuslice.problems import Problem, SettingsError

MAX_BYTES = 1024 * 1024
MAX_NODES = 100_000
MAX_DEPTH = 60

_AMBIGUOUS = {
    "tag:yaml.org,2002:bool": re.compile(r"true|false|True|False|TRUE|FALSE"),
    "tag:yaml.org,2002:int": re.compile(r"[-+]?(0|[1-9][0-9]*)"),
}


# A string to this parser, a number to the one of the Pulumi CLI.
_OTHER_PARSERS_NUMBER = re.compile(r"[-+]?(0o[0-7]+|\.?[0-9][0-9_]*(\.[0-9]*)?[eE][-+]?[0-9]+)")


class _Loader(yaml.SafeLoader):
    """Counts nodes while it composes, so that aliases cannot blow a small file up."""


def load_stack_file(path: Path) -> dict[str, Any]:
    """The `config:` map of a stack file as plain values: full keys (`gpu-slicing:pools`) to data.

    Raises `SettingsError` for a file that is missing, too large, not UTF-8, not YAML, or ambiguous.
    """
    document = load_yaml(_read(path), path.name)
    if document is None:
        document = {}
    if not isinstance(document, dict):
        raise SettingsError([Problem(path.name, "", "must be a map", "config:, with the settings below it")])
    config = document.get("config") or {}
    if not isinstance(config, dict):
        raise SettingsError([Problem(f"{path.name}: config", "", "must be a map", "keys such as gpu-slicing:pools")])
    return {_full_key(str(key)): value for key, value in config.items()}


def _full_key(key: str) -> str:
    return key if ":" in key else f"gpu-slicing:{key}"


def _read(path: Path) -> str:
    try:
        size = path.stat().st_size
        if size > MAX_BYTES:
            raise _problem(path.name, f"has {size} bytes", f"at most {MAX_BYTES} bytes")
        return path.read_text(encoding="utf-8")
    except UnicodeDecodeError as error:
        raise _problem(path.name, f"is not UTF-8 text (byte {error.start})", "UTF-8") from None
    except OSError as error:
        raise _problem(str(path), f"cannot be read: {error.strerror}", "a readable stack file") from None


def _problem(where: str, message: str, allowed: str, value: str = "") -> SettingsError:
    return SettingsError([Problem(where, value, message, allowed)])


def load_yaml(text: str, name: str) -> Any:
    """The data of a YAML document; `name` stands in the paths of the errors."""
    try:
        node = yaml.compose(text, Loader=_Loader)
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark
        where = f"{name}:{mark.line + 1}:{mark.column + 1}" if mark else name
        raise _problem(where, f"is not YAML: {error.problem or error.context}", "one YAML document") from None
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        raise _problem(name, f"is not YAML: {str(error).splitlines()[0][:100]}", "one YAML document") from None
    reader = _Reader(name)
    value = reader.value(node, "", 0) if node is not None else None
    if reader.problems:
        raise SettingsError(reader.problems)
    return value


class _Reader:
    """Turns composed nodes into plain data and notes every ambiguity on the way."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.problems: list[Problem] = []
        self.nodes = 0

    def value(self, node: yaml.Node, path: str, depth: int) -> Any:
        self.nodes += 1
        if self.nodes > MAX_NODES:
            raise _problem(self.name, "has too many values once its aliases are followed", f"at most {MAX_NODES}")
        if depth > MAX_DEPTH:
            raise _problem(f"{self.name}:{node.start_mark.line + 1}", "is nested too deeply", f"{MAX_DEPTH} levels")
        if isinstance(node, yaml.MappingNode):
            return self._mapping(node, path, depth)
        if isinstance(node, yaml.SequenceNode):
            return [self.value(n, f"{path}[{i}]", depth + 1) for i, n in enumerate(node.value)]
        return self._scalar(node, path)

    def _mapping(self, node: yaml.MappingNode, path: str, depth: int) -> dict[Hashable, Any]:
        result: dict[Hashable, Any] = {}
        for key_node, value_node in node.value:
            key = key_node.value if isinstance(key_node, yaml.ScalarNode) else None
            if not isinstance(key, str) or key_node.tag == "tag:yaml.org,2002:merge":
                self._note(key_node, path, "only plain keys are allowed", "a name, and no merge key (<<)")
                continue
            below = f"{path}.{key}" if path else key
            if key in result:
                self._note(key_node, below, "the key is there twice", "each key once")
            result[key] = self.value(value_node, below, depth + 1)
        return result

    def _scalar(self, node: yaml.Node, path: str) -> Any:
        text, kind = str(node.value), node.tag.rsplit(":", 1)[-1]
        if kind == "str" and not (getattr(node, "style", None) is None and _OTHER_PARSERS_NUMBER.fullmatch(text)):
            return text
        if kind == "null":
            return None
        if kind == "bool" and _AMBIGUOUS[node.tag].fullmatch(text):
            return text.lower() == "true"
        if kind == "int" and _AMBIGUOUS[node.tag].fullmatch(text):
            return self._integer(node, text, path)
        if kind == "float" and _finite(text):
            return float(text)
        hint = {"bool": "true or false", "int": "a decimal number", "float": "a finite decimal number"}
        allowed = " or ".join([h for h in (hint.get(kind),) if h] + [f'"{text}" in quotes'])
        self._note(node, path, "may be read in more than one way", allowed, text)
        return text

    def _integer(self, node: yaml.Node, text: str, path: str) -> int:
        if len(text) > 19:
            self._note(node, path, "is too large a number", "at most 18 digits", text[:40])
            return 0
        return int(text)

    def _note(self, node: yaml.Node, path: str, message: str, allowed: str, value: str = "") -> None:
        where = f"{self.name}:{node.start_mark.line + 1}: {path}" if path else f"{self.name}:{node.start_mark.line + 1}"
        self.problems.append(Problem(where, value, message, allowed))


def _finite(text: str) -> bool:
    try:
        return math.isfinite(float(text))
    except ValueError:
        return False
