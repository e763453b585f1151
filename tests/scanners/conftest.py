"""The scanners, made once, and what they say of all that this project puts into a cluster, asked once."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import yaml
from scanner_environment import scanners_python
from scanner_runs import Checked, Manifest, Validated, checkov, validate

from gpuslice.project import cache_directory
from gpuslice.render import rendered
from offline import record
from offline.preview import engine_config
from tests.helpers import ROOT, STACKS, recorded

REQUIREMENTS = ROOT / "requirements-scanners.txt"
EXAMPLE = ROOT / "examples" / "inference-service"


@dataclass(frozen=True)
class InCluster:
    """What a stack's cluster holds: the stack's manifests, and those of the example on it.

    `left_out` are rendered files that hold no manifests.
    """

    version: str
    manifests: list[Manifest]
    left_out: set[str]


@pytest.fixture(scope="session")
def python(pytestconfig: pytest.Config) -> Path:
    """The Python of the scanners' environment."""
    capture = pytestconfig.pluginmanager.getplugin("capturemanager")

    def show(line: str) -> None:
        # Past pytest's capture: a minute of silence reads as a hang.
        with capture.global_and_fixture_disabled():
            print(f"\n{line}", flush=True)

    return scanners_python(REQUIREMENTS, cache_directory(), show)


@pytest.fixture(scope="session")
def in_clusters() -> dict[str, InCluster]:
    return {stack: _in_cluster(stack) for stack in STACKS}


@pytest.fixture(scope="session")
def manifests(in_clusters: dict[str, InCluster]) -> dict[str, list[Manifest]]:
    return {stack: found.manifests for stack, found in in_clusters.items()}


@pytest.fixture(scope="session")
def checked(python: Path, manifests: dict[str, list[Manifest]]) -> Checked:
    return checkov(python, manifests)


@pytest.fixture(scope="session")
def validated(python: Path, manifests: dict[str, list[Manifest]], in_clusters: dict[str, InCluster]) -> Validated:
    return validate(python, manifests, {stack: found.version for stack, found in in_clusters.items()})


def _in_cluster(stack: str) -> InCluster:
    settings = recorded(stack).settings
    files = {name: list(yaml.safe_load_all(text)) for name, text in rendered(settings).items()}
    kept = {name for name, documents in files.items() if any("kind" in d for d in documents)}
    manifests = [manifest for name in sorted(kept) for manifest in files[name]]
    return InCluster(settings.cluster.kubernetes_version, manifests + _example(stack), files.keys() - kept)


def _example(stack: str) -> list[Manifest]:
    """What the example deploys on the stack, as its program registers it; nothing where it has no stack for it."""
    file = EXAMPLE / f"Pulumi.{stack}.yaml"
    if not file.is_file():
        return []
    config: dict[str, Any] = yaml.safe_load(file.read_text(encoding="utf-8"))["config"]
    recording = record(
        EXAMPLE,
        project="inference-service",
        stack=stack,
        config=engine_config(config),
        preview=False,
        stack_references={config["inference-service:platformStack"]: recorded(stack).recording.reference()},
    )
    return recording.kubernetes_objects()
