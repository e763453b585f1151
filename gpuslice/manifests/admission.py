"""Admission rules of a stack: ValidatingAdmissionPolicies and their bindings.

Pods are refused, templates of pods only warned of, so that a user hears at `kubectl apply` what their pods will meet.

What the pools allow is data, apart from the rules: variables of the policy, which hold it as CEL. ConfigMaps as
parameters would be the usual way. But once the last binding that has parameters of a built-in kind is deleted, the API
server never looks at that kind again until it restarts (kubernetes/kubernetes issue 130887; 1.33 to 1.36 have it): no
pod could be made any more, and on EKS nobody can restart it. Parameters of another kind are safe from that. They are
used where the data must be the newest, which a policy is only after a second: the limits of a pool's NodePool come from
its EC2NodeClass.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

from gpuslice.gpu_operator import NAMESPACE as OPERATOR_NAMESPACE
from gpuslice.manifests.admission_cel import Rule, annotation, literal
from gpuslice.manifests.admission_nodes import (
    binding_rules,
    node_class_rules,
    node_pool_rules,
    node_pool_variables,
    own_node_pool_rules,
)
from gpuslice.manifests.admission_rules import CDI_PREFIX, MEMORY_ANNOTATION, pod_rules, pod_variables
from gpuslice.manifests.verification import NAMESPACE as VERIFICATION_NAMESPACE
from gpuslice.pools import GPU, MANAGED_BY, Pool
from gpuslice.settings import Replicated, Settings

Manifest = dict[str, Any]
VERSION = "admissionregistration.k8s.io/v1"
EXEMPT_NAMESPACES = ("kube-system", OPERATOR_NAMESPACE)
"""Where the cluster's own pods run, which must reach every node and its devices."""
EVERYBODY = "*"
_VALIDATION = {
    "expression": "size(variables.messages) == 0",
    "message": "breaks too many rules of gpu-slicing to list them: see its page docs/admission.md",
    "messageExpression": "variables.messages.join(' ')",
    "reason": "Forbidden",
}
"""One for all rules of a policy: of several, the API server would tell a user only of the first that fails. It also
compiles every variable of a policy anew for each, which for a validation of each rule took it 12 seconds."""


@dataclass(frozen=True)
class Policy:
    """A ValidatingAdmissionPolicy and its binding, which has the same name.

    `conditions` say which requests it is for. With `per_pool` it is judged once for each pool's EC2NodeClass, and each
    must agree.
    """

    name: str
    action: Literal["Deny", "Warn"]
    match: Sequence[Manifest]
    conditions: dict[str, str]
    variables: dict[str, str]
    rules: Sequence[Rule]
    per_pool: bool = False

    def manifest(self) -> Manifest:
        spec: Manifest = {
            # The rules of `per_pool` cannot fail. What can is the search for EC2NodeClasses, as long as the API server
            # does not know Karpenter's kinds, and then every NodePool would be refused.
            "failurePolicy": "Ignore" if self.per_pool else "Fail",
            "matchConstraints": {"matchPolicy": "Equivalent", "resourceRules": list(self.match)},
        }
        if self.per_pool:
            spec["paramKind"] = {"apiVersion": "karpenter.k8s.aws/v1", "kind": "EC2NodeClass"}
        if self.conditions:
            spec["matchConditions"] = _named(self.conditions)
        messages = {rule.variable: rule.message() for rule in self.rules}
        messages["messages"] = " + ".join(f"variables.{name}" for name in messages)
        spec["variables"] = _named(self.variables | messages)
        spec["validations"] = [_VALIDATION]
        return _object("ValidatingAdmissionPolicy", self.name, spec)

    def binding(self, exempt: Sequence[str]) -> Manifest:
        """Exempt by the names of namespaces alone: its owner sets a namespace's labels, anyone takes a prefix.

        What has no namespace is never exempt. Without a pool's parameters its NodePool can still be made, and go.
        """
        names = {"key": "kubernetes.io/metadata.name", "operator": "NotIn", "values": list(exempt)}
        spec: Manifest = {
            "policyName": self.name,
            "validationActions": [self.action, "Audit"],
            "matchResources": {"namespaceSelector": {"matchExpressions": [names]}},
        }
        if self.per_pool:
            spec["paramRef"] = {"selector": {"matchLabels": dict(MANAGED_BY)}, "parameterNotFoundAction": "Allow"}
        return _object("ValidatingAdmissionPolicyBinding", self.name, spec)


def admission_manifests(settings: Settings, pools: Sequence[Pool]) -> list[Manifest]:
    """Policies, then their bindings. Nothing where the stack wants none."""
    if not settings.admission.enabled:
        return []
    found, exempt = policies(settings, pools), exempt_namespaces(settings)
    return [*(policy.manifest() for policy in found), *(policy.binding(exempt) for policy in found)]


def exempt_namespaces(settings: Settings) -> list[str]:
    return list(dict.fromkeys([*EXEMPT_NAMESPACES, *settings.admission.exempt_namespaces]))


def policies(settings: Settings, pools: Sequence[Pool]) -> list[Policy]:
    data = pool_data(settings, pools)
    return [_pods(data), *_workloads(data), *_karpenter(pools), _bindings(exempt_namespaces(settings))]


def pool_data(settings: Settings, pools: Sequence[Pool]) -> dict[str, str]:
    """What the rules must know of the pools, as variables: the only part of a policy that follows from the settings.

    By name, so that their order in the settings means nothing.
    """
    named = sorted(pools, key=lambda pool: pool.name)
    users = {pool.name: allowed_namespaces(pool, settings) for pool in named}
    fences = {pool.name: _fences(pool) for pool in named}
    replicated = [p for p in named if isinstance(p.settings.sharing, Replicated)]
    return {
        "pools": literal([pool.name for pool in named]),
        "memoryMiB": literal({pool.name: {r.name: r.memory_mib for r in pool.resources} for pool in named}),
        # CEL wants the lists of a map to be of one type, which an empty one is not.
        "users": literal({name: namespaces for name, namespaces in users.items() if namespaces}),
        "fences": literal({name: taints for name, taints in fences.items() if taints}),
        # MIG and whole GPUs hold a pod to its memory themselves.
        "promised": literal([pool.name for pool in replicated]),
        "plain": literal([pool.name for pool in replicated if any(r.name == GPU for r in pool.resources)]),
    }


def allowed_namespaces(pool: Pool, settings: Settings) -> list[str]:
    """The tenants with a quota for the pool, and what verifies it; everybody where the stack names no tenants."""
    if not settings.tenants:
        return [EVERYBODY]
    found = [t.namespace for t in settings.tenants if _any(t.quota.get(pool.name, 0))]
    if settings.verification is not None and settings.verification.pool == pool.name:
        found.append(VERIFICATION_NAMESPACE)
    return found


def _any(quota: int | dict[str, int]) -> bool:
    return any(quota.values()) if isinstance(quota, dict) else quota > 0


def _fences(pool: Pool) -> list[dict[str, str]]:
    """The taints, beside that of all GPU nodes, that keep a pod off the pool."""
    kept = [t for t in pool.taints if t["key"] != GPU and t["effect"] != "PreferNoSchedule"]
    return [{"key": t["key"], "value": t.get("value", ""), "effect": t["effect"]} for t in kept]


def _pods(data: dict[str, str]) -> Policy:
    """Ephemeral containers are added through a subresource of their own."""
    match = [_rule("", ["pods", "pods/ephemeralcontainers"])]
    hint, old_hint = (annotation(f"{root}.metadata", MEMORY_ANNOTATION) for root in ("object", "oldObject"))
    conditions = _changed("object.spec", f"{hint} == {old_hint}", _NO_NEW_CDI_ANNOTATION)
    # The kubelet starts no ephemeral container of a pod that ends, but why rely on it.
    conditions["alive"] += " || has(request.subResource) && request.subResource == 'ephemeralcontainers'"
    variables = data | pod_variables("object.spec", "object.metadata")
    return Policy("gpu-slicing-pods", "Deny", match, conditions, variables, pod_rules("request.operation == 'CREATE'"))


_NO_NEW_CDI_ANNOTATION = (
    "!(has(object.metadata.annotations) && object.metadata.annotations.exists(a, "
    f"a.startsWith({literal(CDI_PREFIX)}) && !(has(oldObject.metadata.annotations)"
    " && a in oldObject.metadata.annotations && oldObject.metadata.annotations[a] == object.metadata.annotations[a])))"
)


def _workloads(data: dict[str, str]) -> list[Policy]:
    """One policy for each place of the template: the API server checks the types of an expression for each kind."""
    apps = ["deployments", "replicasets", "statefulsets", "daemonsets"]
    kinds = {
        "templates": ([_rule("apps", apps), _rule("batch", ["jobs"])], "object.spec.template"),
        "cronjobs": ([_rule("batch", ["cronjobs"])], "object.spec.jobTemplate.spec.template"),
    }
    found = []
    for kind, (match, template) in kinds.items():
        variables = data | pod_variables(f"{template}.spec", f"{template}.metadata")
        found.append(Policy(f"gpu-slicing-{kind}", "Warn", match, _changed(template), variables, pod_rules("true")))
    return found


def _karpenter(pools: Sequence[Pool]) -> list[Policy]:
    node_pools, classes = [_rule("karpenter.sh", ["nodepools"])], [_rule("karpenter.k8s.aws", ["ec2nodeclasses"])]
    variables, changed = node_pool_variables(), _changed("object.spec")
    # A dry run stores nothing. `pulumi preview` makes one of a NodePool's new limits before its EC2NodeClass has them.
    kept = changed | {"stored": "!has(request.dryRun) || !request.dryRun"}
    of_pool, names = {"taints": variables["taints"]}, {"pools": literal(sorted(pool.name for pool in pools))}
    return [
        Policy("gpu-slicing-nodepools", "Deny", node_pools, changed, variables, node_pool_rules()),
        Policy("gpu-slicing-own-nodepools", "Deny", node_pools, kept, of_pool, own_node_pool_rules(), per_pool=True),
        Policy("gpu-slicing-own-nodeclasses", "Deny", classes, changed, names, node_class_rules()),
    ]


def _bindings(exempt: Sequence[str]) -> Policy:
    """A pod is bound by its subresource or, as it was once done, by an object of its own."""
    match = [_rule("", ["pods/binding", "bindings"], ["CREATE"])]
    return Policy("gpu-slicing-bindings", "Deny", match, {}, {}, binding_rules(exempt))


def _changed(part: str, *same: str) -> dict[str, str]:
    """Only what is new or changes is judged.

    What was there before the rules must stay manageable: else no controller could take its finalizer off an old Job's
    pod or a NodePool, nor write an annotation. `same` are further conditions under which nothing has changed.
    """
    unchanged = " && ".join([f"{part} == {part.replace('object', 'oldObject', 1)}", *same])
    return {
        "changed": f"request.operation == 'CREATE' || !({unchanged})",
        "alive": "!has(object.metadata.deletionTimestamp)",
    }


def _rule(group: str, resources: list[str], operations: Sequence[str] = ("CREATE", "UPDATE")) -> Manifest:
    return {"apiGroups": [group], "apiVersions": ["v1"], "operations": list(operations), "resources": resources}


def _named(expressions: dict[str, str]) -> list[Manifest]:
    return [{"name": name, "expression": expression} for name, expression in expressions.items()]


def _object(kind: str, name: str, spec: Manifest) -> Manifest:
    return {
        "apiVersion": VERSION,
        "kind": kind,
        "metadata": {"name": name, "labels": dict(MANAGED_BY)},
        "spec": spec,
    }
