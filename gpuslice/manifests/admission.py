"""Admission rules of a stack: ValidatingAdmissionPolicies, their bindings, and the parameters of each pool.

Pods are refused, templates of pods only warned of, so that a user hears at `kubectl apply` what their pods will meet.
The policies say how to judge and do not change with the pools: what a pool allows is data, in a ConfigMap.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
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
from gpuslice.manifests.admission_rules import (
    CDI_PREFIX,
    MEMORY_ANNOTATION,
    pod_rules,
    pod_variables,
    pool_rules,
    pool_variables,
)
from gpuslice.manifests.verification import NAMESPACE as VERIFICATION_NAMESPACE
from gpuslice.pools import MANAGED_BY, Pool
from gpuslice.settings import Replicated, Settings

Manifest = dict[str, Any]
Action = Literal["Deny", "Warn"]
NotFound = Literal["Deny", "Allow"]
VERSION = "admissionregistration.k8s.io/v1"
EXEMPT_NAMESPACES = ("kube-system", OPERATOR_NAMESPACE)
"""Where the cluster's own pods run, which must reach every node and its devices."""
PARAMETER_LABEL = {"gpu-slicing.io/admission": "pool"}
EVERYBODY = "*"


@dataclass(frozen=True)
class Policy:
    """A ValidatingAdmissionPolicy and its bindings. `conditions` say which requests it is for.

    A policy with `parameters` is judged once for each pool, and each must agree. `parameters` says by operation what
    happens where there are none, which takes a binding for each; see `PODS` and `OTHERS`.
    """

    name: str
    action: Action
    match: Sequence[Manifest]
    conditions: dict[str, str]
    variables: dict[str, str]
    rules: Sequence[Rule]
    parameters: Mapping[str, NotFound] = field(default_factory=dict)

    def manifest(self) -> Manifest:
        spec: Manifest = {
            "failurePolicy": "Fail",
            "matchConstraints": {"matchPolicy": "Equivalent", "resourceRules": list(self.match)},
        }
        if self.parameters:
            spec["paramKind"] = {"apiVersion": "v1", "kind": "ConfigMap"}
        if self.conditions:
            spec["matchConditions"] = _named(self.conditions)
        spec["variables"] = _named(self.variables | {rule.variable: rule.found for rule in self.rules})
        spec["validations"] = [rule.validation() for rule in self.rules]
        return _object("ValidatingAdmissionPolicy", self.name, spec)

    def bindings(self, exempt: Sequence[str]) -> list[Manifest]:
        if len(self.parameters) < 2:
            return [self._binding(self.name, exempt, *self.parameters.items())]
        return [self._binding(f"{self.name}-{entry[0].lower()}", exempt, entry) for entry in self.parameters.items()]

    def _binding(self, name: str, exempt: Sequence[str], *parameters: tuple[str, NotFound]) -> Manifest:
        """Exempt by the names of namespaces alone: its owner sets a namespace's labels, anyone takes a prefix."""
        names = {"key": "kubernetes.io/metadata.name", "operator": "NotIn", "values": list(exempt)}
        matched: Manifest = {"namespaceSelector": {"matchExpressions": [names]}}
        spec: Manifest = {"policyName": self.name, "validationActions": [self.action, "Audit"]}
        for operation, not_found in parameters:
            if operation != EVERY:
                matched["resourceRules"] = [rule | {"operations": [operation]} for rule in self.match]
            spec["paramRef"] = {
                "namespace": OPERATOR_NAMESPACE,
                "selector": {"matchLabels": dict(PARAMETER_LABEL)},
                "parameterNotFoundAction": not_found,
            }
        return _object("ValidatingAdmissionPolicyBinding", name, spec | {"matchResources": matched})


EVERY = "*"
PODS: Mapping[str, NotFound] = {"CREATE": "Deny", "UPDATE": "Allow"}
"""Without parameters no pod is made. But a pod that there is must be able to go, and a controller that takes off its
finalizer makes an update; a missing parameter is an error before any condition is looked at."""
OTHERS: Mapping[str, NotFound] = {EVERY: "Allow"}
"""A warning that lost its parameters must not become a refusal, nor may a NodePool be kept from going."""


def admission_manifests(settings: Settings, pools: Sequence[Pool]) -> list[Manifest]:
    """Parameters, policies, bindings: in the order in which they must exist. Nothing where the stack wants none."""
    if not settings.admission.enabled:
        return []
    exempt = exempt_namespaces(settings)
    found = policies(exempt)
    parameters = [pool_parameters(pool, settings) for pool in pools]
    bindings = [binding for policy in found for binding in policy.bindings(exempt)]
    return [*parameters, *(policy.manifest() for policy in found), *bindings]


def exempt_namespaces(settings: Settings) -> list[str]:
    return list(dict.fromkeys([*EXEMPT_NAMESPACES, *settings.admission.exempt_namespaces]))


def pool_parameters(pool: Pool, settings: Settings) -> Manifest:
    """What the rules need to know of a pool. A list is one text, its entries parted by commas."""
    metadata = {
        "name": f"gpu-slicing-pool-{pool.name}",
        "namespace": OPERATOR_NAMESPACE,
        "labels": MANAGED_BY | PARAMETER_LABEL,
    }
    sharing = pool.settings.sharing
    data = {
        "pool": pool.name,
        "mode": sharing.mode,
        # MIG and whole GPUs hold a pod to its memory themselves.
        "memoryHint": "required" if isinstance(sharing, Replicated) else "optional",
        "memoryMiB": ",".join(f"{r.name}={r.memory_mib}" for r in pool.resources),
        "namespaces": ",".join(allowed_namespaces(pool, settings)),
        "taints": ",".join(_written(taint) for taint in pool.taints),
        "limits": ",".join(f"{key}={value}" for key, value in pool.limits.items()),
    }
    return {"apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata, "data": data}


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


def _written(taint: dict[str, str]) -> str:
    value = f"={taint['value']}" if taint.get("value") else ""
    return f"{taint['key']}{value}:{taint['effect']}"


def policies(exempt: Sequence[str]) -> list[Policy]:
    return [*_pods(), *_workloads(), *_karpenter(), _bindings(exempt)]


def _pods() -> list[Policy]:
    """Ephemeral containers are added through a subresource of their own."""
    match = [_rule("", ["pods", "pods/ephemeralcontainers"])]
    spec, metadata = "object.spec", "object.metadata"
    hint, old_hint = (annotation(f"{root}.metadata", MEMORY_ANNOTATION) for root in ("object", "oldObject"))
    conditions = _changed("object.spec", f"{hint} == {old_hint}", _NO_NEW_CDI_ANNOTATION)
    # The kubelet starts no ephemeral container of a pod that ends, but why rely on it.
    conditions["alive"] += " || has(request.subResource) && request.subResource == 'ephemeralcontainers'"
    rules = pod_rules("request.operation == 'CREATE'")
    return [
        Policy("gpu-slicing-pods", "Deny", match, conditions, pod_variables(spec, metadata), rules),
        Policy("gpu-slicing-pool-pods", "Deny", match, conditions, pool_variables(spec, metadata), pool_rules(), PODS),
    ]


_NO_NEW_CDI_ANNOTATION = (
    "!(has(object.metadata.annotations) && object.metadata.annotations.exists(a, "
    f"a.startsWith({literal(CDI_PREFIX)}) && !(has(oldObject.metadata.annotations)"
    " && a in oldObject.metadata.annotations && oldObject.metadata.annotations[a] == object.metadata.annotations[a])))"
)


def _workloads() -> list[Policy]:
    """One policy for each place of the template: the API server checks the types of an expression for each kind."""
    found = []
    kinds = {
        "templates": ([_rule("apps", _APPS), _rule("batch", ["jobs"])], "object.spec.template"),
        "cronjobs": ([_rule("batch", ["cronjobs"])], "object.spec.jobTemplate.spec.template"),
    }
    for kind, (match, template) in kinds.items():
        where, conditions = (f"{template}.spec", f"{template}.metadata"), _changed(template)
        general, of_pool = pod_variables(*where), pool_variables(*where)
        found += [
            Policy(f"gpu-slicing-{kind}", "Warn", match, conditions, general, pod_rules("true")),
            Policy(f"gpu-slicing-pool-{kind}", "Warn", match, conditions, of_pool, pool_rules(), OTHERS),
        ]
    return found


_APPS = ["deployments", "replicasets", "statefulsets", "daemonsets"]


def _karpenter() -> list[Policy]:
    pools, classes = [_rule("karpenter.sh", ["nodepools"])], [_rule("karpenter.k8s.aws", ["ec2nodeclasses"])]
    variables, changed = node_pool_variables(), _changed("object.spec")
    # A dry run stores nothing. `pulumi preview` makes one of a pool's new limits while the parameters are still old.
    kept = changed | {"stored": "!has(request.dryRun) || !request.dryRun"}
    of_pool = {"taints": variables["taints"]}
    return [
        Policy("gpu-slicing-nodepools", "Deny", pools, changed, variables, node_pool_rules()),
        Policy("gpu-slicing-pool-nodepools", "Deny", pools, kept, of_pool, own_node_pool_rules(), OTHERS),
        Policy("gpu-slicing-pool-nodeclasses", "Deny", classes, changed, {}, node_class_rules(), OTHERS),
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
