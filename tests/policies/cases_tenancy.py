"""Cases of policies/rules/tenancy.py."""

import cases_tenancy_isolation
import yaml
from base import accepted, also, drop, like, put, put_head, refused, without

SECURITY, QUOTA, CLOSED = "namespace-pod-security", "quota-counts-slices", "admission-fails-closed"
EPHEMERAL, BOUND = "admission-covers-ephemeral-containers", "admission-is-bound"
PARAMETERS, BY_NAME = "admission-needs-parameters", "admission-exempts-by-name"
LABELS = ("namespace", "metadata", "labels")
ENFORCE = "pod-security.kubernetes.io/enforce"
HARD = ("quota", "spec", "hard")
MATCH = ("guard", "spec", "matchConstraints")
RULE = (*MATCH, "resourceRules", 0)
SELECTOR = ("guard-binding", "spec", "matchResources", "namespaceSelector")
REF = ("guard-binding", "spec", "paramRef")
PODS = {"apiGroups": [""], "apiVersions": ["v1"], "operations": ["*"], "resources": ["pods"]}
EPHEMERALS = PODS | {"resources": ["pods/ephemeralcontainers"]}
BOTH = PODS | {"resources": ["pods", "pods/ephemeralcontainers"]}


def named(name):
    return put("namespace", "metadata", "name", name)


def privileged(name):
    return put(*LABELS, ENFORCE, "privileged"), named(name)


def exempt(key="kubernetes.io/metadata.name", operator="NotIn", **fields):
    return {"key": key, "operator": operator, "values": ["kube-system"]} | fields


def narrowed(*rules, field="resourceRules"):
    return put("guard-binding", "spec", "matchResources", field, list(rules))


ALLOWED = {"name": "x", "parameterNotFoundAction": "Allow"}
NAMESPACES = [
    {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "first", "labels": {ENFORCE: "baseline"}}},
    {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "second"}},
]

CASES = [
    refused(
        SECURITY,
        "no labels",
        drop("namespace", "metadata", "labels"),
        says=f"Namespace vision: lacks the label {ENFORCE}",
    ),
    refused(
        SECURITY,
        "warnings alone",
        drop(*LABELS, ENFORCE),
        put(*LABELS, "pod-security.kubernetes.io/warn", "restricted"),
        put(*LABELS, "pod-security.kubernetes.io/audit", "restricted"),
    ),
    refused(
        SECURITY,
        "no level",
        put(*LABELS, ENFORCE, "strict"),
        says="'strict'; allowed: privileged, baseline, restricted",
    ),
    refused(SECURITY, "privileged", put(*LABELS, ENFORCE, "privileged"), says="allowed for: gpu-operator, kube-system"),
    refused(SECURITY, "privileged, a name that only starts alike", *privileged("kube-system-2")),
    refused(
        SECURITY,
        "privileged, not in the option",
        *privileged("karpenter"),
        config={SECURITY: {"privileged": ["vision"]}},
    ),
    refused(
        SECURITY,
        "one of many objects in YAML",
        also("group", "kubernetes:yaml/v2:ConfigGroup", {"yaml": yaml.safe_dump_all(NAMESPACES)}),
        says="Namespace second: lacks the label",
    ),
    accepted(SECURITY, "baseline", put(*LABELS, ENFORCE, "baseline")),
    *(
        accepted(SECURITY, f"privileged {name}", *privileged(name))
        for name in ("gpu-operator", "kube-system", "karpenter")
    ),
    accepted(
        SECURITY, "privileged, in the option", *privileged("vision"), config={SECURITY: {"privileged": ["vision"]}}
    ),
    refused(
        QUOTA,
        "the plain name",
        put(*HARD, "nvidia.com/gpu", "8"),
        says="limits nvidia.com/gpu, which nothing counts; allowed: requests.nvidia.com/gpu",
    ),
    refused(
        QUOTA, "limits", put(*HARD, {"limits.nvidia.com/mig-1g.5gb": 1}), says="allowed: requests.nvidia.com/mig-1g.5gb"
    ),
    refused(QUOTA, "a half", put(*HARD, "requests.nvidia.com/gpu", "500m"), says="to 500m; allowed: whole numbers"),
    refused(QUOTA, "a fraction", put(*HARD, "requests.nvidia.com/gpu", 1.5), says="to 1.5"),
    refused(QUOTA, "nothing", put(*HARD, "requests.nvidia.com/gpu", None), says="to None"),
    refused(QUOTA, "after other things", put(*HARD, {"pods": 3, "nvidia.com/gpu": 1})),
    accepted(
        QUOTA,
        "numbers in other forms",
        put(*HARD, {"requests.nvidia.com/gpu": 4.0, "requests.nvidia.com/mig-1g.5gb": "2k"}),
    ),
    accepted(QUOTA, "other things", put(*HARD, {"requests.cpu": "500m", "limits.cpu": "1500m", "pods": 3})),
    refused(
        CLOSED, "ignored", put("guard", "spec", "failurePolicy", "Ignore"), says="failurePolicy Ignore; allowed: Fail"
    ),
    refused(
        CLOSED,
        "ignored, when pods are updated",
        put("guard", "spec", "failurePolicy", "Ignore"),
        put(*RULE, "operations", ["UPDATE"]),
    ),
    refused(
        CLOSED,
        "ignored, on everything",
        put("guard", "spec", "failurePolicy", "Ignore"),
        put(*RULE, "resources", ["*/*"]),
    ),
    accepted(CLOSED, "the default", drop("guard", "spec", "failurePolicy")),
    accepted(
        CLOSED,
        "not on pods",
        put("guard", "spec", "failurePolicy", "Ignore"),
        put(*RULE, "resources", ["services", "pods/log", "pods/*"]),
    ),
    accepted(
        CLOSED,
        "on pods that go",
        put("guard", "spec", "failurePolicy", "Ignore"),
        put(*RULE, "operations", ["DELETE", "CONNECT"]),
    ),
    accepted(
        CLOSED,
        "on pods of another group",
        put("guard", "spec", "failurePolicy", "Ignore"),
        put(*RULE, "apiGroups", ["metrics.k8s.io"]),
    ),
    refused(
        EPHEMERAL, "pods alone", put(*RULE, "resources", ["pods"]), says="not of pods/ephemeralcontainers (UPDATE)"
    ),
    refused(EPHEMERAL, "every resource, no subresource", put(*RULE, "resources", ["*"])),
    refused(EPHEMERAL, "pods alone, of any group", put(*RULE, "resources", ["pods"]), put(*RULE, "apiGroups", ["*"])),
    refused(EPHEMERAL, "not when it is updated", put(*RULE, "operations", ["CREATE"])),
    refused(EPHEMERAL, "of some pods", put(*MATCH, "resourceRules", [PODS, EPHEMERALS | {"resourceNames": ["a"]}])),
    refused(EPHEMERAL, "excluded", put(*MATCH, "excludeResourceRules", [EPHEMERALS])),
    refused(
        EPHEMERAL, "excluded for some", put(*MATCH, "excludeResourceRules", [EPHEMERALS | {"resourceNames": ["a"]}])
    ),
    refused(EPHEMERAL, "another subresource", put(*RULE, "resources", ["pods", "pods/status", "*/exec"])),
    *(
        accepted(EPHEMERAL, f"as {name}", put(*RULE, "resources", ["pods", name]))
        for name in ("pods/*", "*/ephemeralcontainers", "pods/ephemeralcontainers")
    ),
    accepted(EPHEMERAL, "everything", put(*RULE, PODS | {"resources": ["*/*"], "apiGroups": ["*"]})),
    accepted(
        EPHEMERAL, "in a second rule", put(*RULE, "resources", ["pods"]), put(*MATCH, "resourceRules", 1, EPHEMERALS)
    ),
    accepted(
        EPHEMERAL,
        "something else is excluded",
        put(*MATCH, "excludeResourceRules", [PODS | {"resources": ["pods/log"]}]),
    ),
    accepted(EPHEMERAL, "not on pods", put(*RULE, "resources", ["services"])),
    accepted(EPHEMERAL, "on some pods", put(*RULE, PODS | {"resourceNames": ["a"]})),
    accepted(EPHEMERAL, "pods are excluded", put(*RULE, PODS), put(*MATCH, "excludeResourceRules", [PODS])),
    refused(
        BOUND, "no binding", without("guard-binding"), says="one-slice: has no binding, without which it judges nothing"
    ),
    refused(BOUND, "a binding of another", put("guard-binding", "spec", "policyName", "one-slice-2")),
    refused(BOUND, "a binding of another, by its source", put("guard-binding", "spec", "policyName", "<unknown>")),
    refused(
        BOUND,
        "it audits",
        put("guard-binding", "spec", "validationActions", ["Audit", "Warn"]),
        says="has no binding that denies: CREATE of pods",
    ),
    refused(BOUND, "it denies nothing", drop("guard-binding", "spec", "validationActions")),
    refused(BOUND, "it denies something else", narrowed(PODS | {"resources": ["services"]})),
    refused(BOUND, "it denies pods alone", narrowed(PODS), says="denies: UPDATE of pods/ephemeralcontainers"),
    refused(
        BOUND,
        "it denies new pods alone",
        narrowed(PODS | {"operations": ["CREATE"]}, EPHEMERALS),
        says="UPDATE of pods",
    ),
    refused(
        BOUND, "it denies changes alone", narrowed(BOTH | {"operations": ["UPDATE"]}), says="denies: CREATE of pods"
    ),
    refused(BOUND, "it denies ephemeral containers alone", narrowed(EPHEMERALS)),
    refused(BOUND, "it excludes pods", narrowed(PODS, field="excludeResourceRules")),
    refused(BOUND, "it excludes ephemeral containers", narrowed(EPHEMERALS, field="excludeResourceRules")),
    refused(
        BOUND,
        "one of two",
        like("other", "guard", put("other", "metadata", "name", "other")),
        says="ValidatingAdmissionPolicy other: has no binding",
    ),
    refused(BOUND, "not on pods, and no binding", put(*RULE, "resources", ["services"]), without("guard-binding")),
    accepted(
        BOUND,
        "asked of changes alone, it denies them",
        put(*RULE, "operations", ["UPDATE"]),
        narrowed(BOTH | {"operations": ["UPDATE"]}),
    ),
    accepted(BOUND, "it says what its policy says", narrowed(PODS, EPHEMERALS)),
    accepted(
        BOUND, "it excludes something else", narrowed(PODS | {"resources": ["pods/log"]}, field="excludeResourceRules")
    ),
    accepted(
        BOUND,
        "by its source",
        put("guard-binding", "spec", "policyName", "<unknown>"),
        put_head("guard-binding", "propertyDependencies", {"spec": ["guard"]}),
    ),
    accepted(
        BOUND,
        "by its dependency",
        put("guard-binding", "spec", "policyName", "<unknown>"),
        put_head("guard-binding", "dependencies", ["guard"]),
    ),
    accepted(
        BOUND,
        "a second binding warns",
        like("warning", "guard-binding", put("warning", "spec", "validationActions", ["Warn"])),
    ),
    accepted(
        BOUND,
        "not on pods, and it warns",
        put(*RULE, "resources", ["services"]),
        put("guard-binding", "spec", "validationActions", ["Warn"]),
    ),
    refused(PARAMETERS, "allowed", put(*REF, ALLOWED), says="allowed: parameterNotFoundAction Deny"),
    refused(PARAMETERS, "not said", put(*REF, {"name": "x"})),
    accepted(PARAMETERS, "denied", put(*REF, {"name": "x", "parameterNotFoundAction": "Deny"})),
    accepted(
        PARAMETERS,
        "a warning",
        like("warning", "guard-binding"),
        put("warning", "spec", "validationActions", ["Warn"]),
        put("warning", "spec", "paramRef", ALLOWED),
    ),
    refused(
        PARAMETERS,
        "the second of two",
        like("more", "guard-binding"),
        put("more", "spec", "paramRef", ALLOWED),
        put(*REF, ALLOWED),
        says="one-slice: lets every pod in where its parameters are gone",
    ),
    accepted(
        PARAMETERS, "another binding denies", like("more", "guard-binding"), put("more", "spec", "paramRef", ALLOWED)
    ),
    accepted(
        PARAMETERS,
        "another binding denies without them",
        like("more", "guard-binding"),
        put(*REF, ALLOWED),
        put("more", "spec", "paramRef", ALLOWED | {"parameterNotFoundAction": "Deny"}),
    ),
    accepted(
        PARAMETERS,
        "allowed for changes alone",
        narrowed(BOTH | {"operations": ["UPDATE"]}),
        put(*REF, ALLOWED),
        like("made", "guard-binding"),
        put("made", "spec", "matchResources", "resourceRules", [BOTH | {"operations": ["CREATE"]}]),
        put("made", "spec", "paramRef", ALLOWED | {"parameterNotFoundAction": "Deny"}),
    ),
    accepted(
        PARAMETERS,
        "the policy is asked of changes alone",
        put(*RULE, "operations", ["UPDATE"]),
        put(*REF, ALLOWED),
    ),
    accepted(
        PARAMETERS,
        "not on pods",
        put(*RULE, "resources", ["services"]),
        put(*REF, ALLOWED),
    ),
    refused(BY_NAME, "a label with a prefix", put(*SELECTOR, "matchLabels", {"example.com/exempt": "true"})),
    refused(
        BY_NAME, "a label", put(*SELECTOR, "matchLabels", {"team": "a"}), says="chooses namespaces by the label team"
    ),
    refused(
        BY_NAME,
        "a label, in an expression",
        put(*SELECTOR, "matchExpressions", [exempt(), exempt("skip")]),
        says="skip",
    ),
    refused(
        BY_NAME,
        "nothing has it",
        put(*SELECTOR, "matchExpressions", [exempt(operator="DoesNotExist")]),
        says="DoesNotExist",
    ),
    refused(
        BY_NAME,
        "the policy itself",
        put(*MATCH, "namespaceSelector", {"matchLabels": {"team": "a"}}),
        says="ValidatingAdmissionPolicy one-slice: chooses",
    ),
    refused(
        BY_NAME,
        "labels of pods",
        put("guard-binding", "spec", "matchResources", "objectSelector", {"matchLabels": {"a": "b"}}),
        says="chooses objects by their labels",
    ),
    refused(
        BY_NAME, "labels of pods, in the policy", put(*MATCH, "objectSelector", {"matchExpressions": [exempt("skip")]})
    ),
    accepted(BY_NAME, "names", put(*SELECTOR, "matchExpressions", [exempt(), exempt(operator="In")])),
    accepted(BY_NAME, "one name", put(*SELECTOR, "matchLabels", {"kubernetes.io/metadata.name": "vision"})),
    accepted(BY_NAME, "empty", put(*SELECTOR, {}), put(*MATCH, "objectSelector", {"matchLabels": {}})),
    accepted(
        BY_NAME, "not on pods", put(*RULE, "resources", ["services"]), put(*SELECTOR, "matchLabels", {"team": "a"})
    ),
    *cases_tenancy_isolation.CASES,
]
