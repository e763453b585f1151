"""What a ValidatingAdmissionPolicy and its bindings apply to.

Source: k8s.io/api admissionregistration/v1 (MatchResources, Rule, ValidatingAdmissionPolicyBindingSpec).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from policies.model import Item, Stack
from policies.view import View

POLICY = "admissionregistration.k8s.io/ValidatingAdmissionPolicy"
BINDING = "admissionregistration.k8s.io/ValidatingAdmissionPolicyBinding"
EPHEMERAL = "pods/ephemeralcontainers"
NAMESPACE_NAME = "kubernetes.io/metadata.name"


@dataclass(frozen=True)
class Request:
    """An operation on every object of a resource of the core group."""

    operation: str
    resource: str


MADE, CHANGED = Request("CREATE", "pods"), Request("UPDATE", "pods")
# An ephemeral container is added by an update of the pod's subresource.
DEBUGGED = Request("UPDATE", EPHEMERAL)


def guards_pods(policy: Item) -> bool:
    """Whether the policy is asked when pods are made or changed."""
    return asked(policy, MADE) or asked(policy, CHANGED)


def asked(policy: Item, request: Request) -> bool:
    return _matches(policy.data.at("spec", "matchConstraints"), request)


def applies(binding: Item, request: Request) -> bool:
    """Whether a binding leaves a request of its policy in; without rules of its own it leaves all of them in."""
    match = binding.data.at("spec", "matchResources")
    return _matches(match, request) if match["resourceRules"].items() else not _excludes(match, request)


def _matches(match: View, request: Request) -> bool:
    included = any(_names(r, request) and not r["resourceNames"].items() for r in match["resourceRules"].items())
    return included and not _excludes(match, request)


def _excludes(match: View, request: Request) -> bool:
    """Exclusions win, also those of some names: who makes a pod chooses its name."""
    return any(_names(rule, request) for rule in match["excludeResourceRules"].items())


def _names(rule: View, request: Request) -> bool:
    main, _, sub = request.resource.partition("/")
    names = {request.resource, "*/*"} | ({f"{main}/*", f"*/{sub}"} if sub else {"*"})
    fits = {"apiGroups": {"", "*"}, "operations": {request.operation, "*"}, "resources": names}
    return all(allowed & set(rule[field].texts()) for field, allowed in fits.items())


def bindings(stack: Stack, policy: Item) -> list[Item]:
    """The bindings of a policy, by its name or, where that is not known yet, by where it comes from."""
    return [binding for binding in stack.of(BINDING) if _binds(binding, policy)]


def _binds(binding: Item, policy: Item) -> bool:
    name = binding.data.at("spec", "policyName")
    if not name.unknown:
        return name.text() == policy.name
    resource = binding.resource
    return policy.resource.urn in (resource.property_dependencies.get("spec") or resource.dependencies)


def denying(bindings: Iterable[Item], request: Request) -> list[Item]:
    """Those that refuse the request; to warn and to audit is not to refuse."""
    denies = [b for b in bindings if "Deny" in b.data.at("spec", "validationActions").texts()]
    return [binding for binding in denies if applies(binding, request)]


def loopholes(match: View) -> Iterator[str]:
    """The labels by which somebody could leave what is matched."""
    selector = match["namespaceSelector"]
    keys = [*selector["matchLabels"].fields(), *(e["key"].text() for e in selector["matchExpressions"].items())]
    for key in keys:
        if key != NAMESPACE_NAME:
            yield f"chooses namespaces by the label {key[:200]}"
    for expression in selector["matchExpressions"].items():
        operator = expression["operator"].text()
        if operator not in ("In", "NotIn"):
            yield f"chooses namespaces by {operator[:80]}; allowed: In and NotIn, with names"
    if any(part.known() for part in match["objectSelector"].fields().values()):
        yield "chooses objects by their labels"
