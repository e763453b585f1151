"""The engine's own first preview against the credential-free one: the same resources, parents, inputs and needs."""

from typing import Any

import pytest
from stacks import NEEDS_ENGINE, ROOT, NewWorkspace, Workspace

from gpuslice.project import OFFLINE_VARIABLE, PROJECT, stack_file
from gpuslice.stackfile import load_stack_file
from offline import Recording, Resource, record
from offline.component_outputs import EKS_CLUSTER
from offline.preview import engine_config
from offline.values import UNKNOWN
from offline.wire import SECRET, SIGNATURE, UNKNOWN_TEXT

pytestmark = NEEDS_ENGINE

POOLS_ONLY = {
    "aws:region": "eu-central-1",
    "gpu-slicing:cluster": {"name": "gpu-tiny"},
    "gpu-slicing:pools": [
        {"name": "shared", "instanceTypes": ["g5.xlarge"], "sharing": {"mode": "mps", "replicas": 3}},
        {"name": "whole", "instanceTypes": ["g6.xlarge"], "sharing": {"mode": "exclusive"}},
    ],
}


def seen_by_both(states: list[dict[str, Any]]) -> dict[str, dict[str, Any]]:
    """The engine's resources by URN, without the stack, default providers, and what is inside the EKS component."""
    return {
        s["urn"]: s
        for s in states
        if s["type"] != "pulumi:pulumi:Stack"
        and f"{EKS_CLUSTER}$" not in s["urn"]
        and not (s["type"].startswith("pulumi:providers:") and "::default" in s["urn"])
    }


def plain(value: Any) -> Any:
    """A value of the engine's JSON, with secrets hidden as a preview hides them."""
    if isinstance(value, dict):
        return "[secret]" if value.get(SIGNATURE) == SECRET else {k: plain(v) for k, v in value.items()}
    if isinstance(value, list):
        return [plain(v) for v in value]
    return UNKNOWN if value == UNKNOWN_TEXT else value


def recorded_inputs(resource: Resource) -> dict[str, Any]:
    """The inputs as the engine shows them: secrets hidden, null left out."""
    hidden = {key: "[secret]" for key in resource.inputs if key in resource.secret_paths}
    return {key: value for key, value in {**resource.inputs, **hidden}.items() if value is not None}


def engine_inputs(state: dict[str, Any]) -> dict[str, Any]:
    ours = {key: plain(value) for key, value in state.get("inputs", {}).items()}
    # The engine's own notes on a provider.
    return {k: v for k, v in ours.items() if k not in ("__internal", "version")} if _is_provider(state) else ours


def _is_provider(state: dict[str, Any]) -> bool:
    return str(state["type"]).startswith("pulumi:providers:")


def needs(state: dict[str, Any]) -> set[str]:
    """What a resource depends on; what is inside the EKS component counts as the component."""
    return {_component(urn) for urn in state.get("dependencies", [])} - {state["urn"]}


def _component(urn: str) -> str:
    start, inside, _ = urn.partition(f"{EKS_CLUSTER}$")
    return f"{start}{EKS_CLUSTER}::cluster" if inside else urn


def assert_same(states: list[dict[str, Any]], recording: Recording) -> None:
    engine = seen_by_both(states)
    ours = recording.by_urn
    assert engine.keys() == ours.keys()
    for urn, state in engine.items():
        resource = ours[urn]
        parent = state.get("parent", "")
        assert (None if "pulumi:pulumi:Stack::" in parent else parent) == resource.parent, urn
        assert state.get("protect", False) == resource.protect, urn
        assert engine_inputs(state) == recorded_inputs(resource), urn
        assert needs(state) == resource.dependencies, urn
        assert state.get("provider", "").rpartition("::")[0] in (resource.provider, _default(state)), urn


def _default(state: dict[str, Any]) -> str:
    """The provider that the engine chose for a resource whose program chose none."""
    provider = str(state.get("provider", "")).rpartition("::")[0]
    return provider if not provider or "::default" in provider else "a provider of the program"


def recorded(stack: str, config: dict[str, Any] | None, monkeypatch: pytest.MonkeyPatch, *, preview: bool) -> Recording:
    monkeypatch.setenv(OFFLINE_VARIABLE, "1")
    values = engine_config(config or load_stack_file(stack_file(stack, ROOT)))
    return record(ROOT, project=PROJECT, stack=stack, config=values, preview=preview)


@pytest.mark.parametrize(("stack", "config"), [("dev", None), ("prod", None), ("tiny", POOLS_ONLY)])
def test_the_engine_previews_what_the_credential_free_preview_shows(
    new_workspace: NewWorkspace, stack: str, config: dict[str, Any] | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    workspace = new_workspace(stack, config)
    preview = workspace.preview()
    assert set(preview["changeSummary"]) == {"create"}
    assert_same([step["newState"] for step in preview["steps"]], recorded(stack, config, monkeypatch, preview=True))
    assert not [line for line in workspace.log_lines() if line["operation"] != "configure"]


@pytest.mark.parametrize("stack", ["dev", "prod"])
def test_a_deployed_stack_holds_what_the_recorder_says_with_everything_known(
    stack: str, request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch
) -> None:
    workspace: Workspace = request.getfixturevalue(stack)
    assert_same(workspace.export(), recorded(stack, None, monkeypatch, preview=False))


def test_a_wrong_setting_is_one_report_and_nothing_is_registered(new_workspace: NewWorkspace) -> None:
    workspace = new_workspace("dev")

    def misspell(config: dict[str, Any]) -> None:
        config["pools"][0]["sharing"]["replcas"] = 4
        config["pools"][0]["limits"] = {"nodes": 0}

    workspace.edit(misspell)
    said = workspace.fail("up", "--yes", "--skip-preview")
    assert "gpu-slicing:pools[0].sharing.replcas: unknown key (got 4)." in said
    assert "Did you mean replicas?" in said
    assert "gpu-slicing:pools[0].limits.nodes" in said
    assert "Traceback" not in said
    assert not workspace.log_lines()
    assert {r["type"] for r in workspace.export()} <= {"pulumi:pulumi:Stack"}


def test_the_sandbox_stack_is_refused_by_the_engine(new_workspace: NewWorkspace) -> None:
    workspace = new_workspace("local")
    said = workspace.fail("preview")
    assert said.count("gpu-slicing:cluster.mode: belongs to `make up`, not to `pulumi up`") == 1
    assert "Traceback" not in said
    assert not workspace.log_lines()
