"""One control plane for all tests that need one, and a namespace for each test."""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest

from sandbox import controlplane
from sandbox.build import Binaries, ensure_binaries
from sandbox.client import Cluster, connect
from sandbox.processes import wait_for
from sandbox.state import Progress, Sandbox


@pytest.fixture(scope="session")
def progress(pytestconfig: pytest.Config) -> Progress:
    """Prints at once, past pytest's capture: a first build takes minutes, and silence reads as a hang."""
    capture = pytestconfig.pluginmanager.getplugin("capturemanager")

    def show(line: str) -> None:
        if capture is None:
            print(line, flush=True)
            return
        with capture.global_and_fixture_disabled():
            print(f"\n{line}", end="", flush=True)

    return show


@pytest.fixture(scope="session")
def binaries(progress: Progress) -> Binaries:
    return ensure_binaries(progress)


@pytest.fixture(scope="session")
def control_plane(
    tmp_path_factory: pytest.TempPathFactory, binaries: Binaries, progress: Progress
) -> Iterator[Sandbox]:
    directory: Path = tmp_path_factory.mktemp("control-plane")
    sandbox = controlplane.start(directory, lambda line: None, binaries)
    yield sandbox
    controlplane.stop(sandbox, lambda line: None)


@pytest.fixture(scope="session")
def cluster(control_plane: Sandbox) -> Iterator[Cluster]:
    connected = connect(control_plane.kubeconfig)
    yield connected
    connected.close()


@pytest.fixture
def namespace(cluster: Cluster) -> Iterator[str]:
    """A new namespace that takes pods already."""
    name = f"test-{uuid.uuid4().hex[:8]}"
    cluster.apply({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}})
    wait_for(lambda: cluster.get("v1", "ServiceAccount", "default", name), 30, f"the service account of {name}")
    yield name
    cluster.delete("v1", "Namespace", name)
