"""The problems of an input file, and its YAML: read so that no document can take all memory or all stack."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from gpuslice.planner.errors import InputError, shown
from gpuslice.planner.values import Wrong

_MOST_PROBLEMS = 1000
_MOST_DEPTH = 20
_PLAIN_INT = re.compile(r"[-+]?(0|[1-9][0-9]{0,17})", re.ASCII)
_PLAIN_FLOAT = re.compile(
    r"[-+]?([0-9]{1,18}\.[0-9]*|\.[0-9]+)([eE][-+]?[0-9]{1,3})?|[-+]?\.(inf|nan)", re.ASCII | re.I
)


@dataclass
class Problems:
    """What is wrong with one file. Raises InputError when a thousand things are."""

    file: str
    found: list[str] = field(default_factory=list)

    def note(self, place: str, problem: str) -> None:
        self.found.append(f"{self.file}{place}: {problem}")
        if len(self.found) >= _MOST_PROBLEMS:
            raise InputError(self.found)

    def read(self, place: str, parse: Callable[[Any], Any], value: Any) -> Any:
        """The parsed value; None, after a note, where it is wrong."""
        try:
            return parse(value)
        except Wrong as error:
            self.note(place, str(error))
        except InputError as error:
            self.note(place, str(error))
        return None


def load_yaml(text: str, problems: Problems) -> Any:
    """The YAML document. A key that is there twice, and whatever PyYAML refuses, is a problem with its line."""
    import yaml

    from gpuslice.text import too_deep

    base: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)

    class Loader(base):  # type: ignore[misc]
        def construct_mapping(self, node: Any, deep: bool = False) -> Any:
            seen: set[Any] = set()
            for key, _ in node.value:
                if key.tag == "tag:yaml.org,2002:merge":
                    # Merges of merges grow without end.
                    what = "has a merge key (<<). Allowed: the keys themselves; aliases of whole values are fine"
                    problems.note(f":{key.start_mark.line + 1}", what)
                    raise InputError(problems.found)
                text = key.value if isinstance(key.value, str) else str(key.start_mark.line)
                if text in seen:
                    problems.note(
                        f":{key.start_mark.line + 1}", f"{shown(text)} is there twice. Allowed: each key once"
                    )
                seen.add(text)
            return super().construct_mapping(node, deep)

    # PyYAML reads 010 as 8 and 1:30 as 90, as YAML 1.1 has it: what is not a plain number stays text.
    for tag, plain, read in (("int", _PLAIN_INT, int), ("float", _PLAIN_FLOAT, float)):
        Loader.add_constructor(f"tag:yaml.org,2002:{tag}", _number(plain, read))
    try:
        line = too_deep(text, base, _MOST_DEPTH)
        if line is not None:
            problems.note(f":{line}" if line else "", f"is nested too deeply. Allowed: at most {_MOST_DEPTH} levels")
            raise InputError(problems.found)
        return yaml.load(text, Loader=Loader)
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        problems.note(f":{mark.line + 1}" if mark else "", f"is not YAML: {error.problem or error.context}")
    except (yaml.YAMLError, RecursionError, ValueError) as error:
        problems.note("", f"is not YAML: {str(error).splitlines()[0] if str(error) else type(error).__name__}")
    except (LookupError, AttributeError, TypeError):
        # What PyYAML's constructors raise for `!!bool x`, `!!int ""` and `!!timestamp x`.
        problems.note("", "is not YAML: a value does not suit its tag. Allowed: values without tags (!!)")
    raise InputError(problems.found)


def _python(text: str) -> str:
    """`.inf` and `.nan` as Python spells them."""
    return text.replace(".", "") if text[-1:].isalpha() else text


def _number(plain: re.Pattern[str], read: Callable[[str], Any]) -> Callable[[Any, Any], Any]:
    return lambda loader, node: read(_python(node.value)) if plain.fullmatch(str(node.value)) else node.value
