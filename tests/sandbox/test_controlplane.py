"""The control plane, started for real: it comes up, serves loopback alone, recovers, and leaves nothing behind."""

from __future__ import annotations

import json
import os
import pickle
import signal
import socket
import ssl
import subprocess
import sys
import urllib.error
import urllib.request
from dataclasses import replace
from pathlib import Path

import psutil
import pytest
import yaml

from gpuslice.catalog.versions import SANDBOX_KUBERNETES
from sandbox import SandboxError, controlplane
from sandbox.build import Binaries
from sandbox.client import ApiRefused, Cluster, connect
from sandbox.processes import alive, marked, spawn, wait_for
from sandbox.state import MARKER, Sandbox

pytestmark = pytest.mark.sandbox

SERVERS = ["etcd", "kube-apiserver", "kube-controller-manager", "kube-scheduler", "kwok"]


def ignore(line: str) -> None:
    """Progress nobody reads."""


def children(directory: Path) -> list[psutil.Process]:
    return marked(MARKER, str(directory.resolve()))


@pytest.fixture
def directory(tmp_path):
    """A folder for a sandbox of the test's own; whatever the test leaves there is ended."""
    folder = tmp_path / "sandbox"
    yield folder
    controlplane.stop(folder, ignore)


def test_start_status_second_start_stop(directory, binaries):
    assert controlplane.status(directory).as_dict()["running"] is False
    sandbox = controlplane.start(directory, ignore, binaries)
    status = controlplane.status(directory)
    assert status.running
    assert json.loads(json.dumps(status.as_dict()))["api_healthy"] is True
    assert [process.name for process in status.processes] == SERVERS
    assert all(process.alive and process.port and process.memory_mib > 10 for process in status.processes)
    assert (status.nodes, status.pods) == (0, 0)
    assert (status.endpoint, status.kubeconfig) == (sandbox.endpoint, str(sandbox.kubeconfig))

    again = controlplane.start(directory, ignore, binaries)
    assert again == sandbox, "a running sandbox was not returned as it is"

    pids = [record.pid for record in sandbox.processes.values()]
    controlplane.stop(sandbox, ignore)
    assert not any(psutil.pid_exists(pid) for pid in pids)
    assert children(directory) == []
    assert sorted(path.name for path in directory.iterdir()) == ["lock", "logs"]
    assert {path.stem for path in sandbox.log_dir.iterdir()} == set(SERVERS)
    assert controlplane.status(directory).running is False
    controlplane.stop(directory, ignore)


def test_children_killed_outright_are_replaced(directory, binaries):
    old = controlplane.start(directory, ignore, binaries)
    connect(old.kubeconfig).apply(config_map("from-before", "default"))
    # A child whose record was lost is among them.
    lost = spawn("lost", [sys.executable, "-c", "import signal; signal.pause()"],
                 {MARKER: str(old.directory)}, old.log_dir)  # fmt: skip
    for record in old.processes.values():
        os.kill(record.pid, signal.SIGKILL)
    wait_for(lambda: not any(map(alive, old.processes.values())), 20, "the children to be gone")
    assert not controlplane.status(directory).running

    new = controlplane.start(directory, ignore, binaries)
    assert controlplane.status(directory).running
    assert not alive(lost)
    assert {process.pid for process in children(directory)} == {r.pid for r in new.processes.values()}
    assert connect(new.kubeconfig).get("v1", "ConfigMap", "from-before", "default") is None


def test_without_etcd_everything_else_still_ends(directory, binaries):
    sandbox = controlplane.start(directory, ignore, binaries)
    os.kill(sandbox.processes["etcd"].pid, signal.SIGKILL)
    controlplane.stop(sandbox, ignore)
    assert children(directory) == []


def test_a_start_that_was_killed_midway_is_begun_anew(directory, binaries):
    program = (
        "import sys, pathlib, pickle; from sandbox import controlplane;"
        "controlplane.start(pathlib.Path(sys.argv[1]), print, pickle.loads(bytes.fromhex(sys.argv[2])))"
    )
    caller = subprocess.Popen(
        [sys.executable, "-c", program, str(directory), pickle.dumps(binaries).hex()], stdout=subprocess.DEVNULL
    )
    try:
        wait_for(lambda: len(children(directory)) >= 2, 60, "the caller to start its first children")
    finally:
        caller.kill()
        caller.wait()
    half = {process.pid for process in children(directory)}
    assert half, "nothing was left to clean"
    sandbox = controlplane.start(directory, ignore, binaries)
    running = {process.pid for process in children(directory)}
    assert running == {record.pid for record in sandbox.processes.values()}
    assert not running & half


def test_a_damaged_state_does_not_stop_a_stop(directory, binaries):
    sandbox = controlplane.start(directory, ignore, binaries)
    sandbox.state_file.write_text("{")
    with pytest.raises(SandboxError, match="cannot read"):
        controlplane.status(directory)
    said: list[str] = []
    controlplane.stop(directory, said.append)
    assert children(directory) == []
    assert any("going by the processes' marks" in line for line in said)


def test_a_server_that_cannot_start_is_named_and_nothing_stays(directory, binaries):
    broken = directory.parent / "kube-scheduler"
    broken.write_text("#!/bin/sh\necho 'unknown flag: --colour' >&2\nexit 2\n")
    broken.chmod(0o755)
    with pytest.raises(SandboxError) as caught:
        controlplane.start(directory, ignore, replace(binaries, kube_scheduler=broken))
    assert "kube-scheduler died" in str(caught.value)
    assert "unknown flag: --colour" in str(caught.value)
    assert children(directory) == []
    assert not (directory / "state.json").exists()
    assert (directory / "logs" / "kube-scheduler.log").exists()


def test_a_lost_port_is_replaced_by_another(directory, binaries, monkeypatch):
    taken = socket.create_server(("127.0.0.1", 0))
    real = controlplane.free_ports
    calls: list[int] = []

    def first_one_taken(count: int) -> list[int]:
        calls.append(count)
        ports = real(count)
        return ports if len(calls) > 1 else [ports[0], taken.getsockname()[1], *ports[2:]]

    monkeypatch.setattr(controlplane, "free_ports", first_one_taken)
    said: list[str] = []
    with taken:
        controlplane.start(directory, said.append, binaries)
    assert len(calls) == 2
    assert "another program took one of the ports; trying others" in said
    assert controlplane.status(directory).running


def test_only_loopback_is_served(control_plane: Sandbox):
    for record in control_plane.processes.values():
        connections = psutil.Process(record.pid).net_connections(kind="inet")
        listening = [each.laddr for each in connections if each.status == psutil.CONN_LISTEN]
        assert listening, f"{record.name} serves nothing"
        assert {address.ip for address in listening} == {"127.0.0.1"}, record.name
        assert {address.port for address in listening} <= set(control_plane.ports.values()), record.name


def test_keys_are_for_their_owner_alone(control_plane: Sandbox):
    assert control_plane.kubeconfig.stat().st_mode & 0o777 == 0o600
    keys = list(control_plane.pki_dir.iterdir())
    assert keys
    assert {path.stat().st_mode & 0o777 for path in keys} == {0o600}
    assert yaml.safe_load(control_plane.kubeconfig.read_text())["clusters"][0]["cluster"]["server"].startswith(
        "https://127.0.0.1:"
    )


def test_nobody_gets_in_without_a_certificate(control_plane: Sandbox):
    trust = ssl.create_default_context(cafile=str(control_plane.pki_dir / "ca.crt"))
    with pytest.raises(urllib.error.HTTPError) as caught:
        urllib.request.urlopen(f"{control_plane.endpoint}/api/v1/secrets", context=trust, timeout=10)
    assert caught.value.code == 401
    etcd = f"https://127.0.0.1:{control_plane.ports['etcd']}/health"
    with pytest.raises(OSError, match=r"(?i)certificate|handshake|reset|closed"):
        urllib.request.urlopen(etcd, context=trust, timeout=10)


def test_the_server_tells_the_version_that_karpenter_reads(cluster: Cluster):
    assert json.loads(cluster.raw("/version"))["gitVersion"] == SANDBOX_KUBERNETES


def test_karpenters_kinds_are_served_when_start_returns(cluster: Cluster):
    for api_version, kind in (
        ("karpenter.sh/v1", "NodePool"),
        ("karpenter.sh/v1", "NodeClaim"),
        ("karpenter.sh/v1alpha1", "NodeOverlay"),
        ("karpenter.k8s.aws/v1", "EC2NodeClass"),
    ):
        assert isinstance(cluster.list(api_version, kind), list)


def node(name: str, **allocatable: str) -> dict:
    resources = {"cpu": "4", "memory": "16Gi", "pods": "29", **allocatable}
    return {
        "apiVersion": "v1",
        "kind": "Node",
        "metadata": {"name": name},
        "spec": {"taints": [{"key": "nvidia.com/gpu", "value": "true", "effect": "NoSchedule"}]},
        "status": {"allocatable": resources, "capacity": resources},
    }


def pod(name: str, namespace: str, resource: str, **spec: object) -> dict:
    container = {"name": "main", "image": "example.com/none", "resources": {"limits": {resource: "1"}}}
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": name, "namespace": namespace},
        "spec": {"containers": [container], **spec},
    }


def config_map(name: str, namespace: str, **data: str) -> dict:
    return {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": {"name": name, "namespace": namespace},
        "data": data,
    }


def phase(cluster: Cluster, name: str, namespace: str) -> str:
    return (cluster.get("v1", "Pod", name, namespace) or {}).get("status", {}).get("phase", "")


def test_a_node_becomes_ready_keeps_its_resources_and_runs_pods(cluster: Cluster, namespace: str):
    cluster.create(node("by-hand", **{"nvidia.com/gpu": "1"}))
    try:
        wait_for(lambda: ready(cluster, "by-hand"), 60, "the node to be ready")
        status = (cluster.get("v1", "Node", "by-hand") or {})["status"]
        assert status["allocatable"] == {"cpu": "4", "memory": "16Gi", "pods": "29", "nvidia.com/gpu": "1"}

        cluster.apply(pod("slice", namespace, "nvidia.com/gpu.shared",
                          tolerations=[{"key": "nvidia.com/gpu", "operator": "Exists"}]))  # fmt: skip
        cluster.apply(pod("whole", namespace, "nvidia.com/gpu"))
        # The second shows the plugin ExtendedResourceToleration: it was given no toleration.
        wait_for(lambda: phase(cluster, "whole", namespace) == "Running", 60, "the pod on a whole GPU")
        assert phase(cluster, "slice", namespace) == "Pending"

        cluster.patch_status("v1", "Node", "by-hand", {
            "allocatable": {"nvidia.com/gpu.shared": "4"}, "capacity": {"nvidia.com/gpu.shared": "4"},
        })  # fmt: skip
        wait_for(lambda: phase(cluster, "slice", namespace) == "Running", 60, "the pod on a slice")
    finally:
        cluster.delete("v1", "Node", "by-hand")


def ready(cluster: Cluster, name: str) -> bool:
    status = (cluster.get("v1", "Node", name) or {}).get("status", {})
    return any(each["type"] == "Ready" and each["status"] == "True" for each in status.get("conditions", []))


def test_the_controllers_make_pods_of_a_deployment(cluster: Cluster, namespace: str):
    labels = {"app": "a"}
    template = {"metadata": {"labels": labels}, "spec": pod("", "", "nvidia.com/gpu.shared")["spec"]}
    spec = {"replicas": 3, "selector": {"matchLabels": labels}, "template": template}
    metadata = {"name": "deployed", "namespace": namespace}
    cluster.apply({"apiVersion": "apps/v1", "kind": "Deployment", "metadata": metadata, "spec": spec})
    wait_for(lambda: len(cluster.list("v1", "Pod", namespace, "app=a")) == 3, 30, "three pods")
    assert cluster.list("v1", "Pod", namespace, "app=b") == []
    assert cluster.delete("apps/v1", "Deployment", "deployed", namespace)
    wait_for(lambda: not cluster.list("v1", "Pod", namespace), 30, "the pods to be collected")


def test_apply_creates_then_changes_and_owns_its_fields(cluster: Cluster, namespace: str):
    first = cluster.apply(config_map("a", namespace, x="1", y="2"))
    assert first["metadata"]["managedFields"][0]["manager"] == "gpu-slicing"
    second = cluster.apply(config_map("a", namespace, x="3"))
    assert second["data"] == {"x": "3"}, "a field that is no longer applied must go"
    assert cluster.get("v1", "ConfigMap", "a", namespace)["data"] == {"x": "3"}


def test_a_dry_run_answers_and_changes_nothing(cluster: Cluster, namespace: str):
    assert cluster.apply(config_map("dry", namespace, x="1"), dry_run=True)["data"] == {"x": "1"}
    assert cluster.get("v1", "ConfigMap", "dry", namespace) is None


def test_without_force_a_field_of_another_is_refused(cluster: Cluster, namespace: str):
    cluster.apply(config_map("shared", namespace, x="1"))
    another = {"metadata": {"managedFields": None}, "data": {"x": "2"}}
    cluster.patch("v1", "ConfigMap", "shared", another, namespace)
    with pytest.raises(ApiRefused) as caught:
        cluster.apply(config_map("shared", namespace, x="3"), force=False)
    assert (caught.value.status, caught.value.reason) == (409, "Conflict")
    assert cluster.apply(config_map("shared", namespace, x="3"))["data"] == {"x": "3"}


def test_a_bad_manifest_is_refused_in_the_servers_words(cluster: Cluster):
    node_pool = {
        "apiVersion": "karpenter.sh/v1",
        "kind": "NodePool",
        "metadata": {"name": "bad"},
        "spec": {"template": {"spec": {"requirements": [
            {"key": "karpenter.sh/capacity-type", "operator": "Sometimes", "values": ["spot"]}
        ]}}},
    }  # fmt: skip
    with pytest.raises(ApiRefused) as caught:
        cluster.apply(node_pool, dry_run=True)
    refusal = caught.value
    assert (refusal.kind, refusal.name, refusal.status, refusal.reason) == ("NodePool", "bad", 422, "Invalid")
    assert str(refusal).startswith("the API server refused NodePool bad: ")
    assert 'Unsupported value: "Sometimes"' in refusal.message
    assert isinstance(refusal, SandboxError)


def test_a_misspelt_field_is_refused(cluster: Cluster, namespace: str):
    bad = pod("typo", namespace, "nvidia.com/gpu")
    bad["spec"]["containers"][0]["imagge"] = "x"
    with pytest.raises(ApiRefused, match="imagge"):
        cluster.apply(bad)


def test_an_unknown_kind_is_refused_until_it_exists(cluster: Cluster):
    with pytest.raises(ApiRefused, match=r"no kind Widget in example\.com/v1"):
        cluster.list("example.com/v1", "Widget")
    with pytest.raises(ApiRefused, match=r"no kind Widget in example\.com/v1"):
        cluster.get("example.com/v1", "Widget", "a")
    cluster.apply(WIDGETS)
    try:
        wait_for(lambda: knows_widgets(cluster), 30, "the new kind")
        made = cluster.apply({"apiVersion": "example.com/v1", "kind": "Widget", "metadata": {"name": "w"}})
        assert made["metadata"]["name"] == "w"
    finally:
        cluster.delete("apiextensions.k8s.io/v1", "CustomResourceDefinition", "widgets.example.com")


WIDGETS = {
    "apiVersion": "apiextensions.k8s.io/v1",
    "kind": "CustomResourceDefinition",
    "metadata": {"name": "widgets.example.com"},
    "spec": {
        "group": "example.com",
        "scope": "Cluster",
        "names": {"plural": "widgets", "singular": "widget", "kind": "Widget"},
        "versions": [
            {"name": "v1", "served": True, "storage": True, "schema": {"openAPIV3Schema": {"type": "object"}}}
        ],
    },
}


def knows_widgets(cluster: Cluster) -> bool:
    try:
        return cluster.list("example.com/v1", "Widget") == []
    except ApiRefused:
        return False


def test_deleting_what_is_not_there_says_so(cluster: Cluster, namespace: str):
    assert cluster.delete("v1", "ConfigMap", "absent", namespace) is False
    cluster.apply(config_map("present", namespace))
    assert cluster.delete("v1", "ConfigMap", "present", namespace) is True


def test_patching_what_is_not_there_is_refused(cluster: Cluster, namespace: str):
    with pytest.raises(ApiRefused) as caught:
        cluster.patch("v1", "ConfigMap", "absent", {"data": {}}, namespace)
    assert caught.value.status == 404


def test_a_watch_tells_every_change_since_the_list(cluster: Cluster, namespace: str):
    items, version = cluster.list_with_version("v1", "ConfigMap", namespace)
    before = {item["metadata"]["name"] for item in items}
    cluster.apply(config_map("watched", namespace, x="ünïcode"))
    cluster.apply(config_map("watched", namespace, x="2"))
    cluster.delete("v1", "ConfigMap", "watched", namespace)
    seen = []
    for event, item in cluster.watch("v1", "ConfigMap", version, namespace, seconds=30):
        if item["metadata"]["name"] not in before | {"kube-root-ca.crt"}:
            seen.append((event, item["data"]["x"]))
        if event == "DELETED":
            break
    assert seen == [("ADDED", "ünïcode"), ("MODIFIED", "2"), ("DELETED", "2")]


def test_a_watch_ends_by_itself(cluster: Cluster, namespace: str):
    _, version = cluster.list_with_version("v1", "Secret", namespace)
    assert list(cluster.watch("v1", "Secret", version, namespace, seconds=1)) == []


def test_a_watch_from_nowhere_is_refused(cluster: Cluster, namespace: str):
    with pytest.raises(ApiRefused, match=r"refused ConfigMap watch.*notanumber"):
        list(cluster.watch("v1", "ConfigMap", "notanumber", namespace, seconds=1))


def test_no_server_is_one_clear_message(tmp_path, control_plane: Sandbox):
    config = yaml.safe_load(control_plane.kubeconfig.read_text())
    config["clusters"][0]["cluster"]["server"] = "https://127.0.0.1:1"
    path = tmp_path / "kubeconfig"
    path.write_text(yaml.safe_dump(config))
    with pytest.raises(SandboxError, match=r"no answer from the API server at https://127\.0\.0\.1:1"):
        connect(path).list("v1", "Node")


@pytest.mark.parametrize("text", [None, "", "{", "apiVersion: v1\nkind: Config\n", "- a\n"])
def test_what_is_no_kubeconfig_is_one_clear_message(tmp_path, text):
    path = tmp_path / "kubeconfig"
    if text is not None:
        path.write_text(text)
    with pytest.raises(SandboxError, match="cannot use the kubeconfig"):
        connect(path)


def test_the_binaries_fixture_is_real(binaries: Binaries):
    answer = subprocess.run([binaries.kube_apiserver, "--version"], capture_output=True, text=True, timeout=60)
    assert answer.stdout.strip() == f"Kubernetes {SANDBOX_KUBERNETES}"
