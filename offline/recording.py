"""A recorded program as plain data, independent of the Pulumi SDK."""

import heapq
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

from offline.values import Secret, Unknown

# Modules of the Kubernetes package whose resources stand for many objects, or for none.
_NOT_OBJECTS = ("helm.sh", "yaml", "kustomize")


@dataclass(frozen=True, eq=False)
class Resource:
    """One resource of the program as it would be sent to the engine.

    `inputs` and `outputs` are plain dicts keyed as the provider's schema (camelCase), whole numbers as int,
    unknown values as `UNKNOWN`, secrets unwrapped; `secret_paths` says which properties were secret, in
    Pulumi's notation (`data.password`, `metadata.labels["a.b/c"]`). `id` is "" for components.
    `dependencies` are the URNs that must exist first: `depends_on` and the sources of the inputs. A component
    among them is already replaced by what it contains (the SDK does so); a resource inside a remote component
    is replaced by that component. `retain_on_delete` and `deleted_with` are as the engine would set them,
    inherited from the parent where the resource says nothing. `read` marks a resource that exists already
    (`.get()`, `StackReference`); `remote` a component whose children are made by another process.
    """

    urn: str
    type: str
    name: str
    parent: str | None
    inputs: dict[str, Any]
    secret_paths: frozenset[str] = frozenset()
    id: str | Unknown = ""
    outputs: dict[str, Any] = field(default_factory=dict)
    dependencies: frozenset[str] = frozenset()
    property_dependencies: Mapping[str, frozenset[str]] = field(default_factory=dict)
    provider: str | None = None
    providers: Mapping[str, str] = field(default_factory=dict)
    protect: bool = False
    delete_before_replace: bool = False
    deleted_with: str | None = None
    retain_on_delete: bool = False
    ignore_changes: tuple[str, ...] = ()
    replace_on_changes: tuple[str, ...] = ()
    custom_timeouts: Mapping[str, str] = field(default_factory=dict)
    aliases: tuple[str, ...] = ()
    import_id: str | None = None
    custom: bool = True
    remote: bool = False
    read: bool = False

    @cached_property
    def needs(self) -> frozenset[str]:
        """Every URN that this resource directly needs: dependencies, providers and parent."""
        direct = {*self.dependencies, *self.providers.values()}
        direct |= {urn for urn in (self.provider, self.parent) if urn}
        return frozenset(direct - {self.urn})


@dataclass(frozen=True, eq=False)
class Recording:
    """All that one run of a program asked for.

    `resources` come dependencies first, ties in the order of their URNs, so two runs of one program give the
    same sequence. `outputs` are the stack's exports, `secret_outputs` the names of those that hold a secret.
    `component_outputs` is what each component registered, by URN. `messages` are what the program logged, as
    (severity, text).
    """

    project: str
    stack: str
    preview: bool
    resources: tuple[Resource, ...]
    outputs: dict[str, Any] = field(default_factory=dict)
    secret_outputs: frozenset[str] = frozenset()
    component_outputs: Mapping[str, dict[str, Any]] = field(default_factory=dict)
    messages: tuple[tuple[str, str], ...] = ()

    @cached_property
    def by_urn(self) -> dict[str, Resource]:
        return {resource.urn: resource for resource in self.resources}

    def by_type(self, token: str) -> tuple[Resource, ...]:
        """The resources of exactly this type, such as `kubernetes:karpenter.sh/v1:NodePool`."""
        return tuple(resource for resource in self.resources if resource.type == token)

    def reachable(self, urn: str) -> set[str]:
        """The URNs of everything that must exist before `urn`, and so is destroyed after it.

        An edge leads from a resource to its dependencies, its providers and its parent. What a component
        contains counts when it is depended on, because the SDK lists it; a parent brings only itself.
        KeyError for a URN that is not in the recording.
        """
        found: set[str] = set()
        pending = [urn]
        self.by_urn[urn]  # an unknown start is an error; a URN outside the recording is only an end
        while pending:
            resource = self.by_urn.get(pending.pop())
            new = (resource.needs if resource else frozenset()) - found
            found |= new
            pending.extend(new)
        return found

    def kubernetes_objects(self) -> list[dict[str, Any]]:
        """The manifests that the program declares, in an order in which they can be applied.

        Left out are Helm releases and charts, YAML and Kustomize groups, providers and objects that the
        program only reads. An object without a name carries the name that the provider would give it.
        """
        return [_manifest(resource) for resource in self.resources if is_kubernetes_object(resource)]

    def reference(self) -> dict[str, Any]:
        """The exports as another program's stack reference sees them, for `record(stack_references=...)`.

        Take it from a recording without `preview`: one unknown output makes a whole reference unknown, and a
        stack that others refer to is deployed.
        """
        return {name: Secret(value) if name in self.secret_outputs else value for name, value in self.outputs.items()}


def is_kubernetes_object(resource: Resource) -> bool:
    """True when the resource is one object of the Kubernetes API that the program creates."""
    package, _, rest = resource.type.partition(":")
    if package != "kubernetes" or not resource.custom or resource.remote or resource.read:
        return False
    return rest.split(":")[0].split("/")[0] not in _NOT_OBJECTS and "kind" in resource.inputs


def _manifest(resource: Resource) -> dict[str, Any]:
    metadata = resource.outputs.get("metadata")
    return dict(resource.inputs) if metadata is None else {**resource.inputs, "metadata": metadata}


def in_dependency_order(resources: Iterable[Resource]) -> tuple[Resource, ...]:
    """`resources` with each after all it needs, ties in the order of URNs.

    ValueError names the resources of a cycle, which the engine could not create either.
    """
    by_urn = {resource.urn: resource for resource in resources}
    waiting = {urn: len(resource.needs & by_urn.keys()) for urn, resource in by_urn.items()}
    dependents: dict[str, list[str]] = {urn: [] for urn in by_urn}
    for urn, resource in by_urn.items():
        for needed in resource.needs & by_urn.keys():
            dependents[needed].append(urn)
    ready = sorted(urn for urn, count in waiting.items() if count == 0)
    ordered = []
    while ready:
        urn = heapq.heappop(ready)
        ordered.append(by_urn[urn])
        for dependent in dependents[urn]:
            waiting[dependent] -= 1
            if waiting[dependent] == 0:
                heapq.heappush(ready, dependent)
    if len(ordered) < len(by_urn):
        cycle = sorted(urn for urn, count in waiting.items() if count > 0)
        raise ValueError("these resources wait for each other: " + ", ".join(cycle))
    return tuple(ordered)
