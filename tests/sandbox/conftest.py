"""One control plane for all tests that need one, and a namespace for each test."""

from __future__ import annotations

import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path

import pytest
import story
from admission_stack import Rules, installed

from sandbox import controlplane, local
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


@pytest.fixture(scope="module")
def rules(cluster: Cluster, control_plane: Sandbox) -> Iterator[Rules]:
    """The admission rules, in force for the tests of one module."""
    with installed(cluster, control_plane.kubeconfig) as found:
        yield found


@pytest.fixture
def namespace(cluster: Cluster) -> Iterator[str]:
    """A new namespace that takes pods already."""
    name = f"test-{uuid.uuid4().hex[:8]}"
    cluster.apply({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}})
    wait_for(lambda: cluster.get("v1", "ServiceAccount", "default", name), 30, f"the service account of {name}")
    yield name
    cluster.delete("v1", "Namespace", name)


@pytest.fixture(scope="session")
def timed(progress: Progress) -> Callable[[str], AbstractContextManager[None]]:
    """Shows how long a chapter took: the stack's life is most of the time that these tests take."""

    @contextmanager
    def chapter(name: str) -> Iterator[None]:
        started = time.monotonic()
        yield
        progress(f"[{name}: {time.monotonic() - started:.1f} s]")

    return chapter


@pytest.fixture(scope="session")
def local_up(tmp_path_factory: pytest.TempPathFactory, binaries: Binaries, timed) -> Iterator[story.LocalUp]:
    """A sandbox of its own: nothing of other tests is in it, and `up` starts it as a user does."""
    folder = tmp_path_factory.mktemp("stack")
    try:
        with timed("up --stack local"):
            started = story.up(folder)
        yield started
        started.world.cluster.close()
    finally:
        controlplane.stop(folder / local.FOLDER, lambda line: None)


@pytest.fixture(scope="session")
def proof(local_up: story.LocalUp, timed) -> story.Proof:
    with timed("every kind of pool"):
        return story.prove(local_up)


@pytest.fixture(scope="session")
def changed(local_up: story.LocalUp, proof: story.Proof, timed) -> story.Changed:
    with timed("replicas 4 -> 5, two pools fewer"):
        return story.change(local_up, proof)


@pytest.fixture(scope="session")
def destroyed(local_up: story.LocalUp, proof: story.Proof, changed: story.Changed, timed) -> story.Destroyed:
    with timed("destroy"):
        return story.destroy(local_up, proof)


@pytest.fixture(scope="session")
def followed(local_up: story.LocalUp, destroyed: story.Destroyed, timed) -> story.Followed:
    with timed("the planner's pools"):
        told = story.follow_plan(local_up)
    # The story is over: the memory of its control plane is for other tests.
    controlplane.stop(local_up.sandbox, lambda line: None)
    return told
