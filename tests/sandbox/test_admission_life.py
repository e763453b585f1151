"""What becomes of pods that the rules admitted, or that were there before them; who is exempt; who may bind a pod."""

from __future__ import annotations

import copy
import uuid
from collections.abc import Iterator
from typing import Any

import pytest
from admission_client import Verdict
from admission_pods import (
    EXEMPT,
    GPU,
    HINT,
    POOL,
    SECTIONS,
    SHARED,
    Manifest,
    container,
    named,
    on_t4,
    own,
    pod,
)
from admission_stack import SETTLE_SECONDS, Rules, bound, finalized, remove, wait_in_force

from gpuslice.manifests.admission import VERSION
from gpuslice.manifests.verification import verification_manifests
from offline import record
from offline.preview import engine_config
from sandbox.processes import wait_for
from tests.helpers import ROOT, config_of, run

pytestmark = pytest.mark.sandbox

POLICY = "ValidatingAdmissionPolicy"
ADMINISTRATORS = ("system:masters",)


@pytest.fixture
def living(rules: Rules) -> Iterator[Manifest]:
    """A pod that the rules admitted."""
    made = rules.cluster.create(named(on_t4(), f"living-{uuid.uuid4().hex[:8]}", "team-a"))
    yield made
    remove(rules.cluster, made)


def debugged(made: Manifest, *, spec: Manifest | None = None, **fields: Any) -> Manifest:
    """The pod with an ephemeral container, as `kubectl debug` asks for one."""
    changed = copy.deepcopy(made)
    changed["spec"] |= spec or {}
    changed["spec"]["ephemeralContainers"] = [{"name": "debugger", "image": "registry.invalid/none", **fields}]
    return changed


def ephemeral(rules: Rules, changed: Manifest) -> Verdict:
    return rules.api.update(changed, "ephemeralcontainers")


def test_an_ephemeral_container_is_admitted(rules, living):
    assert ephemeral(rules, debugged(living)).admitted


@pytest.mark.parametrize(
    ("rule", "fields"),
    [
        ("no-device-variables", {"env": [{"name": "NVIDIA_VISIBLE_DEVICES", "value": "all"}]}),
        ("no-device-variable-prefix", {"envFrom": [{"configMapRef": {"name": "any"}, "prefix": "NVIDIA_"}]}),
        ("no-privileged", {"securityContext": {"privileged": True}}),
        ("no-capabilities", {"securityContext": {"capabilities": {"add": ["SYS_PTRACE"]}}}),
    ],
)
def test_an_ephemeral_container_is_held_to_the_rules(rules, living, rule, fields):
    verdict = ephemeral(rules, debugged(living, **fields))
    assert verdict.refused_by == {rule}
    assert "container debugger" in verdict.message


def test_an_ephemeral_container_cannot_mount_devices(rules):
    path = {"name": "v", "mountPath": "/var/run/nvidia-container-devices/all"}
    made = rules.cluster.create(named(on_t4(volumes=[{"name": "v", "emptyDir": {}}]), "mounting", "team-a"))
    assert ephemeral(rules, debugged(made, volumeMounts=[path])).refused_by == {"no-device-mounts"}
    remove(rules.cluster, made)


def test_a_pod_that_ends_gets_no_ephemeral_container_past_the_rules(rules):
    made = rules.cluster.create(finalized(named(on_t4(), "ending", "team-a")))
    rules.cluster.delete("v1", "Pod", "ending", "team-a", grace_seconds=0)
    ending = rules.cluster.get("v1", "Pod", "ending", "team-a")
    assert ending["metadata"]["deletionTimestamp"]
    bad = debugged(ending, securityContext={"privileged": True})
    assert ephemeral(rules, bad).refused_by == {"no-privileged"}
    remove(rules.cluster, made)


@pytest.mark.parametrize("toleration", [{"operator": "Exists"}, {"key": POOL, "operator": "Exists"}])
def test_a_living_pod_gets_no_toleration_past_the_rules(rules, living, toleration):
    changed = copy.deepcopy(living)
    changed["spec"]["tolerations"].append(toleration)
    assert rules.api.update(changed).refused_by == {
        "pool-toleration" if "key" in toleration else "no-blanket-toleration"
    }
    changed["spec"]["tolerations"][-1] = {"key": "example.com/other", "operator": "Exists"}
    assert rules.api.update(changed).admitted


def test_a_pod_comes_to_no_foreign_pool_by_a_later_toleration(rules):
    """Without it the pod could not land there, and so was admitted."""
    asking = pod(container(limits={"nvidia.com/mig-1g.10gb": 1}), tolerations=[GPU])
    made = rules.cluster.create(named(asking, "creeping", "team-a"))
    changed = copy.deepcopy(made)
    changed["spec"]["tolerations"].append(own("h100-mig"))
    assert rules.api.update(changed).refused_by == {"pool-namespace"}
    remove(rules.cluster, made)


@pytest.mark.parametrize(
    ("hint", "breaks"), [("3584", set()), ("3585", {"memory-hint-fits"}), ("x", {"memory-hint-format"})]
)
def test_a_changed_hint_is_judged_again(rules, living, hint, breaks):
    changed = copy.deepcopy(living)
    changed["metadata"]["annotations"][HINT] = hint
    assert rules.api.update(changed).refused_by == breaks


def test_a_hint_is_not_taken_away(rules, living):
    changed = copy.deepcopy(living)
    del changed["metadata"]["annotations"][HINT]
    assert rules.api.update(changed).refused_by == {"memory-hint-required"}


def test_a_living_pod_gets_no_cdi_annotation(rules, living):
    changed = copy.deepcopy(living)
    changed["metadata"]["annotations"]["cdi.k8s.io/x"] = "nvidia.com/gpu=all"
    assert rules.api.update(changed).refused_by == {"no-cdi-annotations"}


def test_what_was_there_before_the_rules_can_be_managed(rules):
    """Controllers write annotations and finalizers of pods and NodePools that no rule would admit today."""
    for old in rules.old:
        changed = current(rules, old)
        changed["metadata"].setdefault("annotations", {})["example.com/note"] = "x"
        changed["metadata"]["labels"] = {"example.com/note": "x"}
        changed["metadata"]["finalizers"].append("example.com/more")
        assert rules.api.update(changed).admitted
        changed["metadata"]["finalizers"] = []
        assert rules.api.update(changed).admitted


def test_what_was_there_before_the_rules_is_judged_once_it_changes(rules):
    changed, pool = (current(rules, old) for old in rules.old)
    changed["spec"]["tolerations"].append({"key": "example.com/other", "operator": "Exists"})
    assert rules.api.update(changed).refused_by == {"one-slice-per-container", "memory-hint-required"}
    pool["spec"]["weight"] = 7
    assert rules.api.update(pool).refused_by == {"gpu-pool-taint", "gpu-pool-limits"}


def test_what_breaks_rules_can_go_with_its_finalizer(rules):
    """As the pods of a Job, which keep theirs until the Job's controller has counted them. On the way all is free."""
    for leaving in rules.leaving:
        metadata = leaving["metadata"]
        key = (leaving["apiVersion"], leaving["kind"], metadata["name"], metadata.get("namespace"))
        rules.cluster.delete(*key, grace_seconds=0)
        ending = current(rules, leaving)
        assert ending["metadata"]["deletionTimestamp"]
        ending["spec"] |= {"activeDeadlineSeconds": 9} if leaving["kind"] == "Pod" else {"weight": 9}
        assert rules.api.update(ending).admitted
        remove(rules.cluster, leaving)
        wait_for(lambda made=leaving: current(rules, made) is None, 30, "it to be gone")


def current(rules: Rules, made: Manifest) -> Manifest | None:
    metadata = made["metadata"]
    return rules.cluster.get(made["apiVersion"], made["kind"], metadata["name"], metadata.get("namespace"))


@pytest.mark.parametrize("namespace", ["kube-system", "gpu-operator", EXEMPT])
def test_an_exempt_namespace_is_exempt_by_its_name(rules, namespace):
    assert rules.api.create(named(pod(tolerations=[{"operator": "Exists"}]), "tried", namespace)).admitted


@pytest.mark.parametrize("namespace", ["kube-systems", "gpu-operator-2", "fake-system", "default"])
def test_neither_a_prefix_nor_a_label_exempts(rules, namespace):
    verdict = rules.api.create(
        named(pod(tolerations=[{"operator": "Exists", "effect": "NoExecute"}]), "tried", namespace)
    )
    assert verdict.refused_by == {"no-blanket-toleration"}


@pytest.mark.parametrize("old_way", [False, True])
@pytest.mark.parametrize(
    ("user", "allowed"),
    [
        ("system:kube-scheduler", True),
        ("system:serviceaccount:kube-system:any", True),
        (f"system:serviceaccount:{EXEMPT}:scheduler", True),
        ("system:serviceaccount:kube-systems:any", False),
        ("system:serviceaccount:team-a:kube-system", False),
        ("kube-scheduler", False),
        ("admin", False),
    ],
)
def test_the_scheduler_alone_puts_pods_on_nodes(rules, living, user, allowed, old_way):
    binding = bound(living["metadata"]["name"])
    if old_way:
        verdict = rules.api.create(binding, user=user, groups=ADMINISTRATORS)
    else:
        path = f"/api/v1/namespaces/team-a/pods/{living['metadata']['name']}/binding"
        verdict = rules.api.send("POST", path, binding, user=user, groups=ADMINISTRATORS)
    assert verdict.admitted == allowed, verdict.message
    assert verdict.refused_by == (set() if allowed else {"no-direct-binding"})
    assert allowed or f"{user} is not the scheduler" in verdict.message


def test_the_verification_breaks_no_rule(rules):
    (deployment,) = [m for m in verification_manifests(rules.settings) if m["kind"] == "Deployment"]
    assert_taken(rules, deployment)


@pytest.mark.parametrize("pool", ["t4", "l4", "a100-mig", "h100-whole"])
def test_the_example_of_another_team_breaks_no_rule(rules, pool):
    """It knows the stack by its outputs alone."""
    platform = run(config_of(SECTIONS))
    wanted = {"platformStack": "organization/gpu-slicing/prod", "namespace": "team-a", "pool": pool}
    example = record(
        ROOT / "examples" / "inference-service",
        project="inference-service",
        stack="prod",
        config=engine_config({f"inference-service:{key}": value for key, value in wanted.items()}),
        preview=False,
        stack_references={wanted["platformStack"]: platform.reference()},
    )
    (deployment,) = [o for o in example.kubernetes_objects() if o["kind"] == "Deployment"]
    assert_taken(rules, deployment)


def assert_taken(rules: Rules, deployment: Manifest) -> None:
    """The Deployment without a warning, and each of its pods."""
    verdict = rules.api.create(deployment)
    assert (verdict.admitted, verdict.warnings) == (True, ())
    template = deployment["spec"]["template"]
    verdict = rules.api.create(named(template, "tried", deployment["metadata"]["namespace"]))
    assert verdict.admitted, verdict.message


def test_rules_that_were_off_come_back_as_they_were(rules):
    """Kubernetes forgets parameters of a built-in kind when the last of their bindings goes, and then no pod is made.

    As when somebody turns the rules off and on again (kubernetes/kubernetes issue 130887).
    """
    bindings = rules.of_kind("ValidatingAdmissionPolicyBinding")
    for binding in bindings:
        remove(rules.cluster, binding)
    wait_in_force(rules.api, False)
    for binding in bindings:
        rules.cluster.apply(binding)
    wait_in_force(rules.api)
    assert rules.api.create(named(on_t4(), "tried", "team-a")).admitted
    assert rules.api.create(named(on_t4(hint=None), "tried", "team-a")).refused_by == {"memory-hint-required"}


def test_a_changed_pool_changes_the_verdict(rules):
    """A smaller slice: the pod that fits exactly fits no more."""
    exact = named(on_t4(hint="3584"), "tried", "team-a")
    assert rules.api.create(exact).admitted
    (policy,) = [m for m in rules.of_kind(POLICY) if m["metadata"]["name"] == "gpu-slicing-pods"]
    smaller = copy.deepcopy(policy)
    (memory,) = [v for v in smaller["spec"]["variables"] if v["name"] == "memoryMiB"]
    memory["expression"] = memory["expression"].replace(f'"{SHARED}": 3584', f'"{SHARED}": 3583')
    assert smaller != policy
    rules.cluster.apply(smaller)
    wait_for(lambda: not rules.api.create(exact).admitted, SETTLE_SECONDS, "the new data to be in force")
    assert rules.api.create(exact).refused_by == {"memory-hint-fits"}
    rules.cluster.apply(policy)
    wait_for(lambda: rules.api.create(exact).admitted, SETTLE_SECONDS, "the old data to be in force")


def test_the_server_finds_no_fault_with_the_types_of_the_rules(rules):
    assert warnings(rules, rules.of_kind(POLICY)) == {}


def test_nor_with_those_of_their_variables(rules):
    """The server checks the types of validations alone: here the variables are some."""
    assert warnings(rules, [exposed(m) for m in rules.of_kind(POLICY)]) == {}


def test_a_wrong_field_would_be_seen(rules):
    policy = exposed(rules.of_kind(POLICY)[0])
    policy["spec"]["validations"].append({"expression": "has(object.spec.nothing)"})
    (faults,) = warnings(rules, [policy]).values()
    assert "undefined field 'nothing'" in faults[0]["warning"]


def exposed(policy: Manifest) -> Manifest:
    """A policy, bound by nothing, whose one validation is all the variables and conditions of another."""
    spec = copy.deepcopy(policy["spec"])
    expressions = [e["expression"] for e in (*spec["variables"], *spec.pop("matchConditions", []))]
    spec["validations"] = [{"expression": f"size([{', '.join(f'dyn({e})' for e in expressions)}]) > 0"}]
    return policy | {"metadata": {"name": f"types-{policy['metadata']['name']}"}, "spec": spec}


def warnings(rules: Rules, policies: list[Manifest]) -> dict[str, Any]:
    """What the controller that checks types says of each policy that it has a warning for."""
    known = {m["metadata"]["name"] for m in rules.of_kind(POLICY)}
    found = {}
    for policy in policies:
        rules.cluster.apply(policy)
    for policy in policies:
        name = policy["metadata"]["name"]

        def checked(name: str = name) -> Any:
            live = rules.cluster.get(VERSION, POLICY, name)
            status = live.get("status", {})
            return status if status.get("observedGeneration") == live["metadata"]["generation"] else None

        wait_for(lambda: checked() is not None, 60, f"the types of {name} to be checked")
        faults = checked().get("typeChecking", {}).get("expressionWarnings", [])
        if faults:
            found[name] = faults
        if name not in known:
            rules.cluster.delete(VERSION, POLICY, name)
    return found
