"""From resources, as Pulumi registers them, to the items that rules look at.

Somebody else's program writes a NodePool as a CustomResource, as one of many documents in a ConfigGroup, or as YAML:
each becomes the same item.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import yaml

from policies import gitops
from policies.model import Item, Resource, Stack
from policies.view import OddShape, Unjudged, View

HELM = "helm"
PATCH = "patch"
"""A resource that changes a few fields of an object which others own."""
ODD = "odd"
"""A Kubernetes resource that cannot be told apart: its kind, its YAML or its list of objects is no such thing."""
_HELM_TOKENS = ("helm.sh/v3:Release", "helm.sh/v4:Chart", "helm.sh/v3:Chart")
_GROUPS = ("yaml:ConfigGroup", "yaml/v2:ConfigGroup", "yaml:ConfigFile", "yaml/v2:ConfigFile")


def stack_of(resources: Iterable[Resource]) -> Stack:
    """Every item of the resources."""
    listed = tuple(resources)
    return Stack(tuple(item for resource in listed for item in items_of(resource)), listed)


def items_of(resource: Resource) -> list[Item]:
    """The items in a resource: one, or one for each object of a group."""
    package, _, rest = resource.type.partition(":")
    if package != "kubernetes":
        return [_item(resource.type, resource.name, resource.properties, resource)]
    if rest in _HELM_TOKENS:
        return [_item(HELM, resource.name, resource.properties, resource)]
    if rest in _GROUPS:
        return list(_grouped(resource))
    kind = rest.rpartition(":")[2]
    if kind.endswith("Patch"):
        return [_item(PATCH, resource.name, resource.properties, resource)]
    return list(_objects(resource.properties, resource, _api_version(rest), kind))


def _api_version(rest: str) -> str:
    """`apps/v1:Deployment` as `apps/v1`, `core/v1:Pod` as `v1`."""
    return rest.rpartition(":")[0].removeprefix("core/")


def _grouped(resource: Resource) -> Iterator[Item]:
    """The objects of a ConfigGroup or ConfigFile that names them itself; those of a file are resources of their own."""
    objects: list[Any] = []
    for key in ("objs", "yaml"):
        given = resource.properties.get(key)
        parts = given if isinstance(given, list) else [] if given is None else [given]
        for part in parts:
            try:
                objects += _documents(part) if isinstance(part, str) else [part]
            except yaml.YAMLError as error:
                yield _item(ODD, resource.name, {"yaml": f"{str(error)[:200]}"}, resource)
    for document in objects:
        yield from _objects(document, resource)


def _documents(text: str) -> list[Any]:
    return [document for document in yaml.safe_load_all(text) if document is not None]


def _objects(document: Any, resource: Resource, api_version: str = "", kind: str = "") -> Iterator[Item]:
    """A manifest, or each of those in a List. What is given beside it is used where it does not say itself."""
    if not isinstance(document, Mapping):
        yield _item(ODD, resource.name, {"object": document}, resource)
        return
    own_version, own_kind = document.get("apiVersion", api_version), document.get("kind", kind)
    if not isinstance(own_version, str) or not isinstance(own_kind, str) or not own_kind:
        yield _item(ODD, resource.name, document, resource)
    elif own_kind.endswith("List") and "items" in document:
        if not isinstance(document["items"], list):
            yield _item(ODD, resource.name, document, resource)
            return
        for entry in document["items"]:
            yield from _objects(entry, resource, own_version, own_kind.removesuffix("List"))
    else:
        kind, name = f"{own_version.rpartition('/')[0]}/{own_kind}", _name(document) or resource.name
        yield _item(kind, name, document, resource)
        try:
            yield from (_item(HELM, name, chart, resource) for chart in gitops.charts(kind, View(document)))
        except (OddShape, Unjudged, yaml.YAMLError) as error:
            yield _item(ODD, name, {"chart": str(error)[:200]}, resource)


def _name(document: Mapping[str, Any]) -> str:
    metadata = document.get("metadata")
    name = metadata.get("name") if isinstance(metadata, Mapping) else None
    return name if isinstance(name, str) else ""


def _item(kind: str, name: str, data: Any, resource: Resource) -> Item:
    return Item(kind, name, View(data), resource)
