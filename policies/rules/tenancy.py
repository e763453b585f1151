"""What keeps tenants apart: pod security, quotas that count, admission that cannot be got round, node isolation."""

from __future__ import annotations

from collections.abc import Iterator

from policies import admission, facts, node_runtime, slices
from policies.model import Config, Finding, Item, Option, Rule, Stack, each
from policies.workloads import PREFIX, namespace

NAMESPACE = "/Namespace"
QUOTA = "/ResourceQuota"
ENFORCE = "pod-security.kubernetes.io/enforce"
LEVELS = ("privileged", "baseline", "restricted")
REQUESTS = "requests."
POD_SECURITY = "https://kubernetes.io/docs/concepts/security/pod-security-admission/"
QUOTAS = "https://kubernetes.io/docs/concepts/policy/resource-quotas/"
ADMISSION = "https://kubernetes.io/docs/reference/access-authn-authz/validating-admission-policy/"
NODEADM = "https://github.com/awslabs/amazon-eks-ami/blob/main/nodeadm/internal/containerd/runtime_config_nvidia.go"


def namespace_pod_security(item: Item, config: Config) -> Iterator[str]:
    level = item.data.at("metadata", "labels")[ENFORCE].text()
    if not level:
        yield f"lacks the label {ENFORCE}; the API server takes that for privileged"
    elif level not in LEVELS:
        yield f"has the pod-security level {level[:80]!r}; allowed: {', '.join(LEVELS)}"
    elif level == "privileged" and item.name not in config["privileged"]:
        yield f"lets pods be privileged; allowed for: {', '.join(config['privileged'])}"


def quota_counts_slices(item: Item, config: Config) -> Iterator[str]:
    for name, amount in item.data.at("spec", "hard").fields().items():
        if PREFIX not in name:
            continue
        number = amount.number()
        if not name.startswith(REQUESTS + PREFIX):
            yield f"limits {name}, which nothing counts; allowed: {REQUESTS}{PREFIX}{name.partition(PREFIX)[2]}"
        elif number is None or number != number.to_integral_value():
            yield f"limits {name} to {amount.known()}; allowed: whole numbers"


def admission_fails_closed(item: Item, config: Config) -> Iterator[str]:
    # Missing is Fail (k8s.io/kubernetes pkg/apis/admissionregistration/v1/defaults.go).
    failure = item.data.at("spec", "failurePolicy").text("Fail")
    if failure != "Fail" and admission.guards_pods(item):
        yield f"has failurePolicy {failure[:80]}; allowed: Fail"


def admission_covers_ephemeral_containers(item: Item, config: Config) -> Iterator[str]:
    if admission.guards_pods(item) and not admission.asked(item, admission.DEBUGGED):
        yield f"is asked of pods and not of {admission.EPHEMERAL} (UPDATE)"


def admission_is_bound(stack: Stack, config: Config) -> Iterator[Finding]:
    def check(policy: Item) -> Iterator[str]:
        bindings = admission.bindings(stack, policy)
        if not bindings:
            yield "has no binding, without which it judges nothing"
            return
        for request in (admission.MADE, admission.CHANGED, admission.DEBUGGED):
            if admission.asked(policy, request) and not admission.denying(bindings, request):
                yield f"has no binding that denies: {request.operation} of {request.resource}"

    yield from each(stack.of(admission.POLICY), check)


def admission_needs_parameters(stack: Stack, config: Config) -> Iterator[Finding]:
    def check(policy: Item) -> Iterator[str]:
        if admission.asked(policy, admission.MADE):
            bindings = admission.denying(admission.bindings(stack, policy), admission.MADE)
            if bindings and not any(_outlives_parameters(binding) for binding in bindings):
                yield "lets every pod in where its parameters are gone; allowed: parameterNotFoundAction Deny"

    yield from each(stack.of(admission.POLICY), check)


def _outlives_parameters(binding: Item) -> bool:
    parameters = binding.data.at("spec", "paramRef")
    return not parameters.fields() or parameters["parameterNotFoundAction"].text() == "Deny"


def admission_exempts_by_name(stack: Stack, config: Config) -> Iterator[Finding]:
    guards = [p for p in stack.of(admission.POLICY) if facts.readable([p], admission.guards_pods) == [True]]
    yield from each(guards, lambda policy: admission.loopholes(policy.data.at("spec", "matchConstraints")))
    bindings = [binding for policy in guards for binding in admission.bindings(stack, policy)]
    yield from each(bindings, lambda binding: admission.loopholes(binding.data.at("spec", "matchResources")))


def shared_al2023_isolation(stack: Stack, config: Config) -> Iterator[Finding]:
    tenants = _tenants(stack)

    def check(sliced: slices.Sliced) -> Iterator[str]:
        node_class = facts.node_class(stack, sliced.pool)
        if node_class is None or not facts.is_al2023(node_class) or _overrides(node_class):
            return
        for resource in sorted({name for t in sliced.types for name, number in sliced.offers(t).items() if number > 1}):
            names = sorted(tenants.get(resource, ()))
            if len(names) > 1:
                yield (
                    f"shares nodes that offer {resource} between the namespaces {', '.join(names)}, and an image with "
                    "NVIDIA_VISIBLE_DEVICES=all sees every GPU of its node"
                )

    yield from slices.each_known(stack, check)


def _overrides(node_class: Item) -> bool:
    runtime = node_runtime.default_runtime(node_class)
    return bool(runtime) and not runtime.startswith("nvidia")


def _tenants(stack: Stack) -> dict[str, set[str]]:
    """GPU resource to the namespaces whose quota gives them some of it."""
    found: dict[str, set[str]] = {}
    for where, hard in facts.readable(stack.of(QUOTA), lambda q: (namespace(q), q.data.at("spec", "hard").fields())):
        for name, amount in hard.items():
            if name.startswith(REQUESTS) and amount.number():
                found.setdefault(name.removeprefix(REQUESTS), set()).add(where)
    return found


RULES = (
    Rule(
        id="namespace-pod-security",
        description="Every namespace enforces a pod-security level, and only those named here the level privileged.",
        why="A privileged pod has every device of its node, whatever it asked for. The labels warn and audit refuse "
        "nothing, and without enforce the API server allows all.",
        remedy=f"Set the label {ENFORCE} to restricted, or to baseline where the images need it.",
        url=POD_SECURITY,
        severity="high",
        check=namespace_pod_security,
        kinds=(NAMESPACE,),
        options={
            "privileged": Option(
                "list", ("gpu-operator", "kube-system", "karpenter"), "namespaces that may be privileged, by name"
            )
        },
    ),
    Rule(
        id="quota-counts-slices",
        description="A quota of GPU resources has the form requests.nvidia.com/... and whole numbers.",
        why="The API server accepts other names, limits.nvidia.com/gpu among them, and counts nothing; it accepts half "
        "a slice too, which is none.",
        remedy="Write requests.nvidia.com/<resource> with a whole number.",
        url=QUOTAS,
        severity="high",
        check=quota_counts_slices,
        kinds=(QUOTA,),
    ),
    Rule(
        id="admission-fails-closed",
        description="An admission policy on pods refuses what it cannot judge.",
        why="With failurePolicy Ignore a pod on which an expression fails is admitted, and a pod can be written so.",
        remedy="Set failurePolicy to Fail, or leave it out.",
        url=ADMISSION,
        severity="high",
        check=admission_fails_closed,
        kinds=(admission.POLICY,),
    ),
    Rule(
        id="admission-covers-ephemeral-containers",
        description="An admission policy on pods is also asked of their ephemeral containers.",
        why="kubectl debug adds a container to a running pod through a subresource of its own, which a rule for pods "
        "does not match.",
        remedy="Add pods/ephemeralcontainers, with UPDATE, to spec.matchConstraints.resourceRules.",
        url=ADMISSION,
        severity="high",
        check=admission_covers_ephemeral_containers,
        kinds=(admission.POLICY,),
    ),
    Rule(
        id="admission-is-bound",
        description="Every admission policy has a binding, and one on pods a binding that denies.",
        why="A policy without a binding is never asked, and with Warn or Audit alone it refuses nothing.",
        remedy="Add a ValidatingAdmissionPolicyBinding with this policyName and validationActions [Deny].",
        url=ADMISSION,
        severity="high",
        check=admission_is_bound,
    ),
    Rule(
        id="admission-needs-parameters",
        description="An admission policy on pods refuses new pods where its parameters are gone.",
        why="With parameterNotFoundAction Allow, whoever deletes a ConfigMap turns the policy off.",
        remedy="Set spec.paramRef.parameterNotFoundAction to Deny in a binding for CREATE of pods.",
        url=ADMISSION,
        severity="high",
        check=admission_needs_parameters,
    ),
    Rule(
        id="admission-exempts-by-name",
        description="An admission policy on pods leaves out namespaces by their names alone.",
        why="Who may edit a namespace or a pod sets its labels, and so chooses whether a policy that goes by them "
        f"applies. {admission.NAMESPACE_NAME} is set by the API server alone.",
        remedy=f"Use matchExpressions on {admission.NAMESPACE_NAME} with In or NotIn, and no objectSelector.",
        url=ADMISSION,
        severity="high",
        check=admission_exempts_by_name,
    ),
    Rule(
        id="shared-al2023-isolation",
        description="Namespaces that share AL2023 nodes are kept apart on the node, too.",
        why="On the AL2023 NVIDIA image the default runtime is nvidia, which obeys the image's environment: admission "
        "never sees it. By the sources of both; nobody has tried it on a GPU here.",
        remedy="Override containerd's default_runtime_name in the EC2NodeClass's userData (here: isolation: strict), "
        "use Bottlerocket, or give each tenant a pool.",
        url=NODEADM,
        severity="medium",
        check=shared_al2023_isolation,
        level="advisory",
    ),
)
