"""A rule of the pack, what it looks at, and what it finds. Nothing here knows Pulumi's protocol."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property, partial
from typing import Any, Literal

from policies.view import OddShape, Unjudged, View

Level = Literal["advisory", "mandatory", "disabled"]
Severity = Literal["low", "medium", "high", "critical"]
Scope = Literal["resource", "stack", "change"]
Config = Mapping[str, Any]
"""The options of one rule, defaults filled in."""


@dataclass(frozen=True)
class Options:
    """The resource options that a program gives beside the properties. None where nobody can know them (a manifest)."""

    protect: bool = False
    delete_timeout: float = 0.0
    """Seconds; 0 is the provider's default."""


@dataclass(frozen=True, eq=False)
class Resource:
    """One resource as the engine sends it: `properties` is plain data, with `UNKNOWN` for what is not known yet.

    `dependencies` are URNs; `provider` is the name of its provider, "" where it is not given. They and `parent` are
    known to stack rules only.
    """

    type: str
    name: str
    properties: Mapping[str, Any]
    urn: str = ""
    options: Options | None = None
    provider: str = ""
    parent: str = ""
    dependencies: tuple[str, ...] = ()
    property_dependencies: Mapping[str, tuple[str, ...]] = field(default_factory=dict)


@dataclass(frozen=True, eq=False)
class Item:
    """What rules look at: a resource, or one of the Kubernetes objects inside it.

    `kind` is what rules are chosen by: `<API group>/<kind>` of a Kubernetes object (`karpenter.sh/NodePool`, `/Pod`),
    `helm` for a Helm release or chart, and the type token of everything else (`aws:eks/cluster:Cluster`).
    """

    kind: str
    name: str
    data: View
    resource: Resource

    def __str__(self) -> str:
        return f"{self.kind.rpartition('/')[2].rpartition(':')[2]} {self.name}"


@dataclass(frozen=True, eq=False)
class Change:
    """One step of a preview: `op` is the engine's word (`create`, `update`, `replace`, `delete`, `same`, ...)."""

    op: str
    old: Resource | None
    new: Resource | None


@dataclass(frozen=True, eq=False)
class Stack:
    """All items of a program, and all its resources: some hold no item, such as a file of manifests."""

    items: tuple[Item, ...]
    resources: tuple[Resource, ...] = ()

    @cached_property
    def _by_kind(self) -> dict[str, list[Item]]:
        kinds: dict[str, list[Item]] = {}
        for item in self.items:
            kinds.setdefault(item.kind, []).append(item)
        return kinds

    @cached_property
    def memo(self) -> dict[Any, Any]:
        """What rules derive from the whole stack and share with each other."""
        return {}

    def of(self, *kinds: str) -> list[Item]:
        """The items of these kinds, in the order of the program."""
        return [item for kind in kinds for item in self._by_kind.get(kind, [])]


@dataclass(frozen=True)
class Option:
    """One option of a rule, with the JSON schema type of its value.

    A number lies within `minimum` and `maximum`; a list holds texts; a map leads from text to whole numbers within the
    same bounds.
    """

    type: Literal["integer", "list", "map"]
    default: Any
    description: str
    minimum: int = 0
    maximum: int = 1_000_000


@dataclass(frozen=True)
class Note:
    """One thing that a rule says of an item. `unknown`: it could not be judged, since a value is not known yet."""

    message: str
    unknown: bool = False


Finding = tuple[Note, Item]
ResourceCheck = Callable[[Item, Config], Iterable[str]]
StackCheck = Callable[[Stack, Config], Iterable[Finding]]


@dataclass(frozen=True)
class Rule:
    """One rule: what must hold, why, how to comply, and the function that finds where it does not.

    `description` is one sentence. `kinds` are the kinds of `Item` that the check wants; a rule without them gets the
    whole stack, or the steps of a preview where it judges `changes`. `remedy` is an order to whoever reads the
    violation. `url` is where the fact comes from.
    """

    id: str
    description: str
    why: str
    remedy: str
    url: str
    severity: Severity
    check: Callable[..., Iterable[Any]]
    kinds: tuple[str, ...] = ()
    level: Level = "mandatory"
    options: Mapping[str, Option] = field(default_factory=dict)
    changes: bool = False

    @property
    def scope(self) -> Scope:
        return "resource" if self.kinds else "change" if self.changes else "stack"

    @property
    def domain(self) -> str:
        """The module that the rule stands in, such as `taints`."""
        return self.check.__module__.rpartition(".")[2]


def notes(check: Callable[[], Iterable[str]]) -> Iterator[Note]:
    """What a check finds, and what kept it from judging, as notes: it never raises."""
    try:
        for message in check():
            yield Note(message)
    except Unjudged as unknown:
        yield Note(f"cannot be judged yet: {unknown} is known only after the update", unknown=True)
    except OddShape as odd:
        yield Note(str(odd))
    except Exception as error:  # whatever it is, what was not judged must not pass
        yield Note(f"the rule failed on this resource, which is refused for it: {type(error).__name__}: {error}")


def each(items: Iterable[Item], check: Callable[[Item], Iterable[str]]) -> Iterator[Finding]:
    """The findings of a stack rule that looks at one item after the other.

    What is unknown or odd in one of them does not keep the others from being judged.
    """
    for item in items:
        for note in notes(partial(check, item)):
            yield note, item
