"""Whatever the settings accept, the API server accepts: real schemas, real CEL rules, nothing stored."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings

from gpuslice.load import load_settings
from gpuslice.manifests.stack import stack_manifests
from gpuslice.project import project_root
from offline import preview
from sandbox.client import ApiRefused, Cluster
from sandbox.deploy import Key, Manifest
from tests.strategies import stacks

pytestmark = pytest.mark.sandbox


def refusals(cluster: Cluster, manifests: Iterable[Manifest], namespace: str) -> list[str]:
    """What the API server says against the objects; those of a namespace are tried in one that exists."""
    found = []
    for manifest in manifests:
        metadata = manifest["metadata"]
        if "namespace" in metadata:
            manifest = manifest | {"metadata": metadata | {"namespace": namespace}}
        try:
            cluster.apply(manifest, dry_run=True)
        except ApiRefused as refusal:
            found.append(f"{Key.of(manifest)}: {refusal.message}")
    return found


@pytest.mark.parametrize("stack", ["dev", "prod", "local"])
def test_every_object_of_the_program_is_accepted(cluster, namespace, stack):
    root: Path = project_root()
    objects = preview.record_stack(root, stack, unknowns=False).recording.kubernetes_objects()
    kinds = [o["kind"] for o in objects]
    assert {"EC2NodeClass", "NodePool", "NodeOverlay", "ConfigMap", "Namespace", "Deployment"} <= set(kinds)
    assert kinds.count("NodePool") == (4 if stack == "prod" else 1)
    assert refusals(cluster, objects, namespace) == []
    for manifest in (o for o in objects if o["kind"] == "NodePool"):
        assert cluster.get(manifest["apiVersion"], "NodePool", manifest["metadata"]["name"]) is None, "it was stored"


@settings(max_examples=40, deadline=None, suppress_health_check=list(HealthCheck))
@given(config=stacks())
def test_every_object_of_any_stack_that_the_settings_accept_is_accepted(cluster, config):
    files = stack_manifests(load_settings(config, "prod"))
    assert refusals(cluster, (o for objects in files.values() for o in objects), "default") == []


BROKEN = {
    "NodePool": ("spec.disruption.consolidateAfter", lambda spec: spec["disruption"].update(consolidateAfter="10x")),
    "NodeOverlay": ("restricted", lambda spec: spec["capacity"].update(cpu="1")),
    "EC2NodeClass": ("role", lambda spec: spec.pop("role")),
    "Deployment": ("spec.replicas", lambda spec: spec.update(replicas=-1)),
    "LimitRange": ("default", lambda spec: spec["limits"][0]["default"].update({"nvidia.com/gpu.shared": "9"})),
    "ResourceQuota": ("standard resource for quota", lambda spec: spec["hard"].update(gpus="1")),
}


@pytest.mark.parametrize("kind", BROKEN)
def test_the_api_server_would_have_said_no(cluster, namespace, kind):
    """One object of each kind, broken in one place: the dry run is a real one."""
    complaint, damage = BROKEN[kind]
    files = stack_manifests(preview.record_stack(project_root(), "local", unknowns=False).settings)
    manifest = next(o for objects in files.values() for o in objects if o["kind"] == kind)
    assert refusals(cluster, [manifest], namespace) == []
    damage(manifest["spec"])
    (refusal,) = refusals(cluster, [manifest], namespace)
    assert complaint in refusal
