"""One deployed stack for all tests that only look at it, and new ones for those that change theirs."""

from __future__ import annotations

import shlex
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from stacks import NewWorkspace, Workspace, make_workspace

PACKAGES = ("aws", "eks", "kubernetes")


@pytest.fixture(scope="session")
def plugins(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder for PATH with the provider plugins: the engine takes them before it looks for installed ones."""
    folder = tmp_path_factory.mktemp("plugins")
    provider = Path(__file__).with_name("fake_provider.py")
    for package in PACKAGES:
        script = folder / f"pulumi-resource-{package}"
        script.write_text(f'#!/bin/sh\nexec {shlex.join([sys.executable, str(provider), package])} "$@"\n')
        script.chmod(0o755)
    return folder


@pytest.fixture(scope="session")
def new_workspace(tmp_path_factory: pytest.TempPathFactory, plugins: Path) -> NewWorkspace:
    """`new_workspace(stack, config=None, program=None)`: an initialised stack that has never been deployed."""

    def make(stack: str, config: Mapping[str, Any] | None = None, program: str | None = None) -> Workspace:
        return make_workspace(tmp_path_factory.mktemp(stack) / "workspace", plugins, stack, config, program)

    return make


@pytest.fixture(scope="session")
def dev(new_workspace: NewWorkspace) -> Workspace:
    """The stack dev, deployed. Shared: look, and change copies only."""
    workspace = new_workspace("dev")
    workspace.up()
    return workspace


@pytest.fixture(scope="session")
def prod(new_workspace: NewWorkspace) -> Workspace:
    """The stack prod, deployed. Shared: look, and change copies only."""
    workspace = new_workspace("prod")
    workspace.up()
    return workspace
