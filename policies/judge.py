"""Runs the rules on resources. Each rule sees only the kinds of item that it asked for."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

from policies.config import Configured, configure
from policies.items import items_of, stack_of
from policies.model import Change, Finding, Item, Level, Note, Resource, Rule, Stack, notes


@dataclass(frozen=True)
class Verdict:
    """What one rule says of one item. `unknown`: it could not be judged, and its level is advisory for that."""

    rule: Rule
    level: Level
    item: Item | None
    message: str
    unknown: bool = False

    @property
    def urn(self) -> str:
        return self.item.resource.urn if self.item else ""

    @property
    def mandatory(self) -> bool:
        return self.level == "mandatory"

    def __str__(self) -> str:
        return f"{self.item}: {self.message}" if self.item else self.message


class Judge:
    """The rules of a pack with their configuration. Raises ConfigError where that is wrong."""

    def __init__(self, rules: Iterable[Rule], config: Mapping[str, Any] | None = None) -> None:
        self.configured = configure(rules, {} if config is None else config)
        active = [c for c in self.configured.values() if c.level != "disabled"]
        self._stack = [c for c in active if c.rule.scope == "stack"]
        self._changes = [c for c in active if c.rule.scope == "change"]
        self._by_kind: dict[str, list[Configured]] = {}
        for entry in active:
            for kind in entry.rule.kinds:
                self._by_kind.setdefault(kind, []).append(entry)

    def resource(self, resource: Resource) -> list[Verdict]:
        """What the resource rules say of one resource."""
        return [verdict for item in items_of(resource) for verdict in self._item(item)]

    def stack(self, resources: Iterable[Resource]) -> list[Verdict]:
        """What the stack rules say of all resources together."""
        stack = stack_of(resources)
        return [verdict for entry in self._stack for verdict in _verdicts(entry, stack)]

    def changes(self, changes: Iterable[Change]) -> list[Verdict]:
        """What the rules on an update say of the steps of its preview."""
        listed = list(changes)
        return [verdict for entry in self._changes for verdict in _verdicts(entry, listed)]

    def all(self, resources: Iterable[Resource]) -> list[Verdict]:
        """What every rule on resources and stacks says of a program."""
        listed = list(resources)
        return [v for r in listed for v in self.resource(r)] + self.stack(listed)

    def _item(self, item: Item) -> Iterator[Verdict]:
        for entry in self._by_kind.get(item.kind, ()):
            for note in notes(partial(entry.rule.check, item, entry.options)):
                yield _verdict(entry, note, item)


def _verdicts(entry: Configured, given: Stack | list[Change]) -> Iterator[Verdict]:
    found: list[Finding] = []

    def collect() -> Iterator[str]:
        # What a rule says before it fails counts too.
        for finding in entry.rule.check(given, entry.options):
            found.append(finding)
        yield from ()

    failed = list(notes(collect))
    yield from (_verdict(entry, note, item) for note, item in found)
    yield from (_verdict(entry, note, None) for note in failed)


def _verdict(entry: Configured, note: Note, item: Item | None) -> Verdict:
    return Verdict(entry.rule, "advisory" if note.unknown else entry.level, item, note.message, note.unknown)
