"""What a ValidatingAdmissionPolicy and its bindings apply to.

Source: k8s.io/api admissionregistration/v1 (MatchResources, Rule, ValidatingAdmissionPolicyBindingSpec).
"""

from __future__ import annotations

from collections.abc import Iterator

from policies.model import Item, Stack
from policies.view import View

POLICY = "admissionregistration.k8s.io/ValidatingAdmissionPolicy"
BINDING = "admissionregistration.k8s.io/ValidatingAdmissionPolicyBinding"
PODS = "pods"
EPHEMERAL = "pods/ephemeralcontainers"
NAMESPACE_NAME = "kubernetes.io/metadata.name"
# An ephemeral container is added by an update of the pod's subresource.
_OPERATIONS = {PODS: ("CREATE", "UPDATE", "*"), EPHEMERAL: ("UPDATE", "*")}


def guards_pods(policy: Item) -> bool:
    """Whether the policy is asked when pods are made or changed."""
    return matches(policy.data.at("spec", "matchConstraints"), PODS)


def matches(match: View, resource: str) -> bool:
    """Whether rules take in all pods or all their ephemeral containers. Exclusions win, those of some names too."""
    included = any(_names(r, resource) and not r["resourceNames"].items() for r in match["resourceRules"].items())
    return included and not any(_names(r, resource) for r in match["excludeResourceRules"].items())


def narrows(binding: Item, resource: str) -> bool:
    """Whether a binding leaves out what its policy matches; without rules of its own it leaves out nothing."""
    match = binding.data.at("spec", "matchResources")
    if match["resourceRules"].items():
        return not matches(match, resource)
    return any(_names(rule, resource) for rule in match["excludeResourceRules"].items())


def _names(rule: View, resource: str) -> bool:
    groups, operations = rule["apiGroups"].texts(), rule["operations"].texts()
    in_group = "" in groups or "*" in groups
    return in_group and any(o in _OPERATIONS[resource] for o in operations) and _lists(rule, resource)


def _lists(rule: View, resource: str) -> bool:
    main, _, sub = resource.partition("/")
    names = (resource, f"{main}/*", f"*/{sub}", "*/*") if sub else (resource, "*", "*/*")
    return any(name in names for name in rule["resources"].texts())


def bindings(stack: Stack, policy: Item) -> list[Item]:
    """The bindings of a policy, by its name or, where that is not known yet, by where it comes from."""
    return [binding for binding in stack.of(BINDING) if _binds(binding, policy)]


def _binds(binding: Item, policy: Item) -> bool:
    name = binding.data.at("spec", "policyName")
    if not name.unknown:
        return name.text() == policy.name
    resource = binding.resource
    return policy.resource.urn in (resource.property_dependencies.get("spec") or resource.dependencies)


def denies(binding: Item) -> bool:
    return "Deny" in binding.data.at("spec", "validationActions").texts()


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
