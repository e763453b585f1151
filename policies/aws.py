"""AWS resources of a program: their documents, and which resource names which."""

from __future__ import annotations

import json
from collections.abc import Iterable
from contextlib import suppress

from policies.iam_evaluator import Document, parse
from policies.model import Item
from policies.view import OddShape, Unjudged, View

QUEUE = "aws:sqs/queue:Queue"
QUEUE_POLICY = "aws:sqs/queuePolicy:QueuePolicy"
ROLE = "aws:iam/role:Role"
_POLICIES = (
    "aws:iam/policy:Policy",
    "aws:iam/rolePolicy:RolePolicy",
    "aws:iam/userPolicy:UserPolicy",
    "aws:iam/groupPolicy:GroupPolicy",
)
PERMISSIONS = (*_POLICIES, ROLE)
"""Resources with documents that say what somebody may do."""
RESOURCE_POLICIES = (QUEUE, QUEUE_POLICY, ROLE)
"""Resources with a document that says who may do something with them."""


def permissions(item: Item) -> list[View]:
    """The documents that say what somebody may do, trust aside."""
    if item.kind == ROLE:
        return _given(inline["policy"] for inline in item.data["inlinePolicies"].items())
    return _given([item.data["policy"]]) if item.kind in _POLICIES else []


def resource_policies(item: Item) -> list[View]:
    """The document that says who may use a queue, or become a role."""
    if item.kind == ROLE:
        return _given([item.data["assumeRolePolicy"]])
    return _given([item.data["policy"]]) if item.kind in RESOURCE_POLICIES else []


def _given(views: Iterable[View]) -> list[View]:
    return [view for view in views if view.present]


def decoded(view: View) -> View:
    """The object that a property holds, as such or as JSON text."""
    if not isinstance(view.known(), str):
        return view
    try:
        return View(json.loads(view.text()), view.path)
    except ValueError as error:
        raise OddShape(f"{view.path} is no JSON: {error}") from None


def parsed(documents: Iterable[View]) -> list[tuple[View, Document]]:
    """The documents that can be read; `readable-policy-documents` reports the others."""
    found = []
    for view in documents:
        with suppress(OddShape, Unjudged):
            found.append((view, parse(decoded(view))))
    return found


def points_to(item: Item, field: str, target: Item, name: str) -> bool:
    """Whether a property of a resource comes from another resource, or ends in its name as ARNs and URLs do."""
    resource, value = item.resource, item.data[field]
    if target.resource.urn in (resource.property_dependencies.get(field) or resource.dependencies):
        return True
    return not value.unknown and bool(name) and value.text().replace("/", ":").rpartition(":")[2] == name
