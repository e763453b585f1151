"""Scanners that know nothing of this project find no fault in what it renders, beside those that waivers.yaml names."""

import json
import subprocess
import sys
from datetime import date
from pathlib import Path

import pytest
from scanner_driver import EXIT_CODE
from scanner_environment import ScannersUnavailable, scanners_python
from scanner_runs import DRIVER, ScanFailed, checkov, validate
from scanner_waivers import problems, read_waivers

from gpuslice.catalog import versions
from tests.helpers import ROOT

WAIVERS = read_waivers(Path(__file__).with_name("waivers.yaml").read_text(encoding="utf-8"))
# Kinds on which checkov has no opinion. What they say is tested elsewhere: tests/policies, tests/unit/test_tenancy.py,
# tests/sandbox/test_admission.py.
UNJUDGED = {
    "EC2NodeClass",
    "LimitRange",
    "Namespace",
    "NetworkPolicy",
    "NodeOverlay",
    "NodePool",
    "PodDisruptionBudget",
    "ResourceQuota",
    "ValidatingAdmissionPolicy",
    "ValidatingAdmissionPolicyBinding",
}
# Kinds that are no part of Kubernetes. The sandbox's API server holds them against Karpenter's own schemas:
# tests/sandbox/test_dry_run.py.
NO_SCHEMA = {"karpenter.k8s.aws/v1 EC2NodeClass", "karpenter.sh/v1 NodePool", "karpenter.sh/v1alpha1 NodeOverlay"}

ESCAPE = {
    "apiVersion": "v1",
    "kind": "Pod",
    "metadata": {"name": "escape", "namespace": "team-a"},
    "spec": {
        "hostPID": True,
        "hostNetwork": True,
        "containers": [
            {
                "name": "escape",
                "image": "busybox",
                "securityContext": {"privileged": True, "allowPrivilegeEscalation": True},
                "volumeMounts": [{"name": "host", "mountPath": "/host"}],
            }
        ],
        "volumes": [{"name": "host", "hostPath": {"path": "/var/run/docker.sock"}}],
    },
}
SERVER = {
    "apiVersion": "apps/v1",
    "kind": "Deployment",
    "metadata": {"name": "server", "namespace": "team-a"},
    "spec": {
        "replicas": 2,
        "selector": {"matchLabels": {"app": "server"}},
        "template": {
            "metadata": {"labels": {"app": "server"}},
            "spec": {"containers": [{"name": "server", "image": "example.test/server:1"}]},
        },
    },
}


# --- what is rendered ---------------------------------------------------------------------------------------------


def test_every_finding_has_a_waiver_and_every_waiver_a_finding(checked, validated):
    told = problems([*checked.findings, *validated.findings], WAIVERS, date.today())
    assert not told, "\n".join(told)


def test_what_checkov_has_no_opinion_on_is_known(manifests, checked):
    kinds = {m["kind"] for objects in manifests.values() for m in objects}
    assert kinds - checked.judged == UNJUDGED


def test_every_built_in_object_is_held_against_the_schemas_of_its_version_of_kubernetes(in_clusters, validated):
    """Where kubernetes-validate has no schemas of a version, it takes older ones and is content."""
    assert validated.versions == {found.version for found in in_clusters.values()}


def test_what_has_no_schema_is_known(validated):
    assert validated.unknown == NO_SCHEMA


def test_all_that_is_rendered_is_scanned_but_the_values_of_charts(in_clusters):
    for found in in_clusters.values():
        assert found.left_out == {"gpu-operator-values.yaml"}


def test_the_example_is_scanned_on_every_stack_that_it_is_for(manifests):
    namespaced = {
        stack: {m["metadata"].get("namespace") for m in objects if m["kind"] == "Deployment"}
        for stack, objects in manifests.items()
    }
    assert {stack for stack, found in namespaced.items() if "team-vision" in found} == {"dev", "prod"}


# --- the scanners themselves --------------------------------------------------------------------------------------


def test_a_pod_that_takes_its_node_over_is_found_and_named(python):
    told = problems(checkov(python, {"prod": [ESCAPE]}).findings, [], date.today())
    # Privileged, root, the host's processes and its network, its container runtime, and traffic from everywhere.
    checks = ("CKV_K8S_16", "CKV_K8S_23", "CKV_K8S_17", "CKV_K8S_19", "CKV_K8S_27")
    for check in checks:
        assert any(line.startswith(f"{check} Pod.team-a.escape (prod): ") for line in told), check


def test_a_network_policy_is_for_its_own_namespace(python):
    metadata = {"name": "none", "namespace": "team-b"}
    spec = {"podSelector": {}, "policyTypes": ["Ingress", "Egress"]}
    policy = {"apiVersion": "networking.k8s.io/v1", "kind": "NetworkPolicy", "metadata": metadata, "spec": spec}
    own = {**policy, "metadata": {**metadata, "namespace": "team-a"}}
    # The third has no pods: its policy is not for those of the first.
    stacks = {"another's": [SERVER, policy], "its own": [SERVER, own], "no pods": [own]}
    assert {f.where for f in checkov(python, stacks).findings if f.id == "CKV2_K8S_6"} == {"another's"}


def test_a_check_that_a_manifest_switches_off_is_no_way_past_the_waivers(python):
    annotations = {"checkov.io/skip1": "CKV_K8S_16=because"}
    with pytest.raises(ScanFailed, match="left something out"):
        checkov(python, {"prod": [{**ESCAPE, "metadata": {**ESCAPE["metadata"], "annotations": annotations}}]})


def test_an_object_that_checkov_takes_for_a_template_is_no_clean_one(python):
    annotations = {"example.test/greeting": "Hello {{ .Values.name }}"}
    with pytest.raises(ScanFailed, match=r"left something out(.*\n)*.*Pod\.team-a\.escape"):
        checkov(python, {"prod": [{**ESCAPE, "metadata": {**ESCAPE["metadata"], "annotations": annotations}}]})


@pytest.mark.parametrize(
    ("changes", "complaint"),
    [
        ({"replicas": "two"}, "spec.replicas: 'two' is not of type"),
        ({"replicaCount": 2}, "spec: Additional properties are not allowed ('replicaCount' was unexpected)"),
        ({"selector": {"matchLabels": ["app"]}}, "spec.selector.matchLabels: ['app'] is not of type"),
        ({"template": {"spec": {}}}, "spec.template.spec: 'containers' is a required property"),
    ],
)
def test_an_object_that_does_not_fit_its_schema_is_found_and_named(python, changes, complaint):
    bad = {**SERVER, "spec": {**SERVER["spec"], **changes}}
    found = validate(python, {"prod": [SERVER, bad]}, {"prod": versions.KUBERNETES}).findings
    (told,) = problems(found, [], date.today())
    assert told.startswith(f"kubernetes-validate Deployment.team-a.server (prod): {complaint}")


def test_a_scanner_that_turns_to_the_network_is_ended(tmp_path):
    scanner = "import socket\n\ndef validate(*_, **__):\n    socket.create_connection(('127.0.0.1', 9))\n"
    (tmp_path / "kubernetes_validate.py").write_text(scanner, encoding="utf-8")
    done = subprocess.run(
        [sys.executable, str(DRIVER), "schemas"],
        env={"PYTHONPATH": str(tmp_path)},
        input=json.dumps([(versions.KUBERNETES, SERVER)]),
        capture_output=True,
        text=True,
    )
    assert done.returncode == EXIT_CODE
    assert "a scanner turned to the network: socket." in done.stderr


# --- their environment --------------------------------------------------------------------------------------------


def test_without_the_registry_the_tests_fail_and_say_why(tmp_path, monkeypatch):
    requirements = tmp_path / "requirements.txt"
    requirements.write_text(f"checkov==3.3.30 --hash=sha256:{'0' * 64}\n", encoding="utf-8")
    monkeypatch.setenv("PIP_INDEX_URL", "http://127.0.0.1:9/simple")
    monkeypatch.setenv("PIP_RETRIES", "0")
    with pytest.raises(ScannersUnavailable, match=r"package registry\n(.*\n)*.*No matching distribution"):
        scanners_python(requirements, tmp_path / "cache", lambda line: None)
    assert not list((tmp_path / "cache").glob("scanners-*"))


def test_a_second_call_installs_nothing(python, monkeypatch):
    monkeypatch.setattr("subprocess.run", pytest.fail)
    assert scanners_python(ROOT / "requirements-scanners.txt", python.parents[2], pytest.fail) == python
