"""Read `Pulumi.<stack>.yaml` strictly: what two YAML parsers would read differently is refused, with its place.

The Pulumi CLI reads stack files with a YAML 1.2 parser that keeps parts of YAML 1.1 (gopkg.in/yaml.v3); the program
sees the result as JSON. A value that changes its meaning on the way (`010`, `yes`, `1:30`, an unquoted date, `.inf`)
is an error here.
"""

from __future__ import annotations

import math
import re
import stat
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from gpuslice.fields import nearest
from gpuslice.plain import MAX_DEPTH
from gpuslice.plain import MAX_VALUES as MAX_NODES
from gpuslice.problems import Problem, SettingsError, join, shown
from gpuslice.text import too_deep

MAX_BYTES = 1024 * 1024
CONFIG = "config"
# What the Pulumi CLI keeps in a stack file.
TOP_KEYS = (CONFIG, "environment", "secretsprovider", "encryptedkey", "encryptionsalt")
_YAML = "tag:yaml.org,2002:"
_SAFE = {
    "bool": re.compile(r"true|false|True|False|TRUE|FALSE"),
    "int": re.compile(r"[-+]?(0|[1-9][0-9]*)"),
    "float": re.compile(r"[-+]?([0-9]+\.[0-9]*|\.[0-9]+)([eE][-+][0-9]+)?"),
}
# Text to this parser, a number or a date to the one of the Pulumi CLI: 08, 1e3, 0o10, 0X1F, 2026-1-5.
_OTHER_PARSERS_VALUE = re.compile(
    r"[-+]?(\.[0-9_]+|[0-9][0-9_]*(\.[0-9_]*)?)([eE][-+]?[0-9]+)?|[-+]?0[xXoObB][0-9a-fA-F_]+|[0-9]{4}-[0-9]{1,2}-[0-9]{1,2}"
)
_HINTS = {"bool": "true or false", "int": "a decimal number", "float": "a finite decimal number"}
_CONTROL = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\x7f]")
_Loader: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)


@dataclass(frozen=True)
class Reading:
    """The `config:` map of a stack file, and what in the file can be read in more than one way.

    `faults` maps the path of such a value within the configuration to its problem, which names the line.
    """

    config: dict[str, Any]
    faults: tuple[tuple[str, Problem], ...]


def load_stack_file(path: Path) -> dict[str, Any]:
    """The `config:` map of a stack file as plain values: full keys (`gpu-slicing:pools`) to data.

    Raises `SettingsError` for a file that is missing, too large, not UTF-8, not YAML, or ambiguous.
    """
    reading = read_stack_file(path)
    if reading.faults:
        raise SettingsError([problem for _, problem in reading.faults])
    return reading.config


def read_stack_file(path: Path) -> Reading:
    """As `load_stack_file`, but ambiguous values are handed back. Raises `SettingsError` where there is no reading."""
    document, faults = _read_yaml(_text(path), path.name)
    if document is None:
        document = {}
    if not isinstance(document, dict):
        raise _error(path.name, f"must be a map, not {_kind(document)}", "config:, with the settings below it")
    faults += [("", problem) for problem in _top_keys(document, path.name)]
    given = document.get(CONFIG)
    if given is not None and not isinstance(given, dict):
        problem = Problem(f"{path.name}: config", shown(given), "must be a map", "keys such as gpu-slicing:pools")
        raise SettingsError([problem, *(p for _, p in faults)])
    config: dict[str, Any] = {}
    for key, value in (given or {}).items():
        full = _full_key(key)
        if full in config:
            faults.append(("", Problem(full, "", "is there twice", "each setting once")))
        config[full] = value
    return Reading(config, tuple(faults))


def _full_key(key: str) -> str:
    """`pools` and the older `gpu-slicing:config:pools` are `gpu-slicing:pools` to Pulumi."""
    if ":" not in key:
        return f"gpu-slicing:{key}"
    namespace, _, name = key.partition(":")
    return f"{namespace}:{name.removeprefix('config:')}"


def _top_keys(document: dict[str, Any], name: str) -> list[Problem]:
    unknown = [key for key in document if key not in TOP_KEYS]
    problems = []
    for key in unknown:
        suggestion = "the same below config:" if ":" in key else nearest(key, TOP_KEYS)
        path = f"{name}: {join('', [key]).removeprefix('.')}"
        problems.append(Problem(path, shown(document[key], key), "unknown key", ", ".join(TOP_KEYS), suggestion))
    return problems


def _text(path: Path) -> str:
    """The file's text, without a byte order mark. Devices and pipes could be read for ever, so they are not."""
    try:
        kind = path.stat()
        if not stat.S_ISREG(kind.st_mode):
            raise _error(str(path), "is not a file", "a stack file")
        if kind.st_size > MAX_BYTES:
            raise _error(path.name, f"has {kind.st_size} bytes", f"at most {MAX_BYTES} bytes")
        text = path.read_bytes().decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise _error(path.name, f"is not UTF-8 text (byte {error.start})", "UTF-8") from None
    except OSError as error:
        raise _error(str(path), f"cannot be read: {error.strerror}", "a readable stack file") from None
    except ValueError as error:
        raise _error(shown(str(path)), f"cannot be read: {error}", "a readable stack file") from None
    control = _CONTROL.search(text)
    if control:
        line = text.count("\n", 0, control.start()) + 1
        message = f"has the control character U+{ord(control[0]):04X}"
        raise _error(f"{path.name}:{line}", message, "text; in quotes, escapes such as \\t")
    return text


def _error(where: str, message: str, allowed: str) -> SettingsError:
    return SettingsError([Problem(where, "", message, allowed)])


def load_yaml(text: str, name: str) -> Any:
    """The data of a YAML document; `name` stands in the paths of the errors. Raises `SettingsError`."""
    value, faults = _read_yaml(text, name)
    if faults:
        raise SettingsError([problem for _, problem in faults])
    return value


def _read_yaml(text: str, name: str) -> tuple[Any, list[tuple[str, Problem]]]:
    try:
        _refuse_deep(text, name)
        node = yaml.compose(text, Loader=_Loader)
    except yaml.MarkedYAMLError as error:
        raise _syntax_error(error, text, name) from None
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        raise _error(name, f"is not YAML: {str(error).splitlines()[0][:100]}", "one YAML document") from None
    reader = _Reader(name)
    value = reader.value(node, "", 0) if node is not None else None
    return value, reader.faults


def _refuse_deep(text: str, name: str) -> None:
    line = too_deep(text, _Loader, MAX_DEPTH)
    if line is not None:
        raise _error(f"{name}:{line}", "is nested too deeply", f"{MAX_DEPTH} levels")


def _syntax_error(error: yaml.MarkedYAMLError, text: str, name: str) -> SettingsError:
    mark = error.problem_mark
    where = f"{name}:{mark.line + 1}:{mark.column + 1}" if mark else name
    problem = str(error.problem or error.context)[:100]
    if "single document" in str(error.context):
        return _error(where, "begins a second document", "one YAML document")
    lines = text.splitlines()
    if mark and mark.line < len(lines) and re.match(r" *\t", lines[mark.line]):
        return _error(where, "is not YAML: a tab indents the line", "spaces")
    return _error(where, f"is not YAML: {problem}", "one YAML document")


class _Reader:
    """Turns composed nodes into plain data and notes every ambiguity on the way."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.faults: list[tuple[str, Problem]] = []
        self.nodes = 0

    def value(self, node: yaml.Node, path: str, depth: int) -> Any:
        self.nodes += 1
        if self.nodes > MAX_NODES:
            raise _error(self.name, "has too many values once its aliases are followed", f"at most {MAX_NODES}")
        if depth > MAX_DEPTH:
            raise _error(f"{self.name}:{node.start_mark.line + 1}", "is nested too deeply", f"{MAX_DEPTH} levels")
        if isinstance(node, yaml.MappingNode):
            self._check_tag(node, path, "map")
            return self._mapping(node, path, depth)
        if isinstance(node, yaml.SequenceNode):
            self._check_tag(node, path, "seq")
            return [self.value(n, join(path, [i]), depth + 1) for i, n in enumerate(node.value)]
        return self._scalar(node, path)

    def _check_tag(self, node: yaml.Node, path: str, kind: str) -> None:
        if node.tag != _YAML + kind:
            self._note(node, path, f"has the tag {_short(node.tag)}", "plain values, without tags")

    def _mapping(self, node: yaml.MappingNode, path: str, depth: int) -> dict[str, Any]:
        result: dict[str, Any] = {}
        for key_node, value_node in node.value:
            key = self._key(key_node, path)
            if key is None:
                continue
            # Keys of the configuration begin the paths that the settings' own errors have.
            below = _full_key(key) if path == CONFIG and depth == 1 else join(path, [key]).removeprefix(".")
            if key in result:
                self._note(key_node, below, "is there twice", "each key once")
            result[key] = self.value(value_node, below, depth + 1)
        return result

    def _key(self, node: yaml.Node, path: str) -> str | None:
        if not isinstance(node, yaml.ScalarNode):
            self._note(node, path, "has a key that is a list or a map", "keys of text")
        elif node.tag == _YAML + "merge":
            self._note(node, path, "has a merge key (<<)", "the keys themselves; aliases of whole values are fine")
        elif node.tag != _YAML + "str" or _another_value(node):
            self._note(node, path, "has a key that is not text", f'"{node.value}", in quotes', shown(node.value, path))
        else:
            return str(node.value)
        return None

    def _scalar(self, node: yaml.Node, path: str) -> Any:
        text = str(node.value)
        if not node.tag.startswith(_YAML):
            self._check_tag(node, path, "str")
            return text
        kind = node.tag.removeprefix(_YAML)
        if kind == "str" and not _another_value(node):
            return text
        if kind == "null":
            return None
        if kind in _SAFE and _SAFE[kind].fullmatch(text):
            return self._number(node, text, path) if kind != "bool" else text.lower() == "true"
        if ":" in kind or "/" in kind or kind in {"binary", "set", "omap", "pairs"}:
            self._check_tag(node, path, "str")
            return text
        allowed = " or ".join([h for h in (_HINTS.get(kind),) if h] + [f'"{text[:40]}" in quotes'])
        self._note(node, path, "may be read in more than one way", allowed, shown(text, path))
        return text

    def _number(self, node: yaml.Node, text: str, path: str) -> int | float:
        if node.tag == _YAML + "float" and len(text) <= 40 and math.isfinite(float(text)):
            return float(text)
        if node.tag == _YAML + "int" and len(text) <= 19:
            return int(text)
        self._note(node, path, "is too large a number", "at most 18 digits", shown(text, path))
        return 0

    def _note(self, node: yaml.Node, path: str, message: str, allowed: str, value: str = "") -> None:
        line = node.start_mark.line + 1
        where, said = (path, f"line {line}: {message}") if path else (f"{self.name}:{line}", message)
        self.faults.append((path, Problem(where, value, said, allowed)))


def _another_value(node: yaml.Node) -> bool:
    """Whether the Pulumi CLI would take this plain text for a number or a date."""
    return not getattr(node, "style", None) and bool(_OTHER_PARSERS_VALUE.fullmatch(str(node.value)))


def _short(tag: str) -> str:
    return tag.replace(_YAML, "!!")[:60]


def _kind(value: Any) -> str:
    return "a list" if isinstance(value, list) else "a single value"
