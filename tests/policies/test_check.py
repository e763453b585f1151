"""`gpuslice check`: the pack on manifests, exported states and previews."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import yaml
from base import Edit, drop, program_of, put, urn

from gpuslice.cli import main

TAINTS = ("spec", "template", "spec", "taints")
NO_TAINT = drop("pool-shared", *TAINTS)


def kubernetes_objects(*edits: Edit) -> list[dict[str, Any]]:
    """The manifests of the base program, as a GitOps repository holds them."""
    entries = program_of(*edits).values()
    objects = [e["properties"] for e in entries if e["type"].startswith("kubernetes:") and "helm.sh" not in e["type"]]
    return json.loads(json.dumps(objects))


def state_of(*edits: Edit) -> dict[str, Any]:
    """The base program as `pulumi stack export` prints it once deployed."""
    return {"version": 3, "deployment": {"resources": [exported(entry) for entry in program_of(*edits).values()]}}


def exported(entry: dict[str, Any]) -> dict[str, Any]:
    options = entry.get("options", {})
    inputs = {k: json.dumps(v) if k in ("policy", "assumeRolePolicy") else v for k, v in entry["properties"].items()}
    known = json.loads(json.dumps(inputs).replace("<unknown>", "known-1"))
    types = {name: e["type"] for name, e in program_of().items()}
    return {
        "urn": urn(entry["name"], entry["type"]),
        "type": entry["type"],
        "custom": True,
        "inputs": known,
        "protect": options.get("protect", False),
        "customTimeouts": {"delete": options.get("deleteTimeout", 0) * 10**9},
        "provider": f"urn:pulumi:prod::research::pulumi:providers:kubernetes::{entry.get('provider', 'aws')}::id-1",
        "dependencies": [urn(name, types[name]) for name in entry.get("dependencies", [])],
    }


def write(path: Path, *documents: Any) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    text = json.dumps(documents[0]) if path.suffix == ".json" else yaml.safe_dump_all(documents)
    path.write_text(text, encoding="utf-8")
    return path


def run(capsys, *arguments: Any) -> tuple[int, str, str]:
    code = main(["check", *map(str, arguments)])
    out, err = capsys.readouterr()
    return code, out, err


def violations(capsys, *arguments: Any) -> list[dict[str, str]]:
    code, out, _ = run(capsys, "--json", *arguments)
    found = json.loads(out)["violations"]
    assert code == int(any(v["level"] == "mandatory" for v in found))
    return found


def test_manifests_of_several_documents_and_folders_are_judged_together(tmp_path, capsys):
    objects = kubernetes_objects()
    write(tmp_path / "a" / "pools.yaml", *objects[:8])
    write(tmp_path / "b" / "deeper" / "rest.yml", *objects[8:])
    code, out, err = run(capsys, tmp_path)
    assert (code, err) == (0, "")
    assert out.startswith("Policies: no violation (")
    assert f"on {len(objects)} resources" in out


def test_a_violation_in_a_manifest_is_exit_1_and_says_where_what_and_how(tmp_path, capsys):
    file = write(tmp_path / "all.yaml", *kubernetes_objects(NO_TAINT))
    code, out, _ = run(capsys, file)
    assert code == 1
    assert "mandatory gpu-pool-taint" in out
    assert "NodePool shared: lacks the taint nvidia.com/gpu=true:NoSchedule" in out
    assert "-> Add {key: nvidia.com/gpu" in out


def test_json_has_policy_level_resource_and_message_and_nothing_else_is_printed(tmp_path, capsys):
    file = write(tmp_path / "all.yaml", *kubernetes_objects(NO_TAINT))
    (found,) = violations(capsys, file)
    assert list(found) == ["policy", "level", "resource", "message"]
    assert (found["policy"], found["level"], found["resource"]) == ("gpu-pool-taint", "mandatory", "NodePool shared")


def test_an_advisory_violation_is_exit_0(tmp_path, capsys):
    file = write(tmp_path / "all.yaml", *kubernetes_objects(NO_TAINT))
    config = write(tmp_path / "policies.json", {"gpu-pool-taint": "advisory"})
    code, out, _ = run(capsys, file, "--config", config)
    assert code == 0
    assert "0 mandatory, 1 advisory" in out


def test_a_list_of_objects_is_its_objects(tmp_path, capsys):
    listed = {"apiVersion": "v1", "kind": "List", "items": kubernetes_objects(NO_TAINT)}
    assert [v["policy"] for v in violations(capsys, write(tmp_path / "list.json", listed))] == ["gpu-pool-taint"]


def test_an_exported_state_is_judged_with_its_aws_resources_and_options(tmp_path, capsys):
    assert violations(capsys, write(tmp_path / "state.json", state_of())) == []
    public = put("cluster-classic", "vpcConfig", "publicAccessCidrs", ["0.0.0.0/0"])
    (found,) = violations(capsys, write(tmp_path / "state.json", state_of(public)))
    assert found["policy"] == "eks-endpoint-not-public-to-all"


def test_what_a_state_is_about_to_delete_or_only_reads_is_not_judged(tmp_path, capsys):
    for mark in ("delete", "external"):
        state = state_of(NO_TAINT)
        for resource in state["deployment"]["resources"]:
            if resource["urn"].endswith("pool-shared"):
                resource[mark] = True
        assert violations(capsys, write(tmp_path / "state.json", state)) == []


def test_an_encrypted_value_of_a_state_that_a_rule_needs_is_remarked(tmp_path, capsys):
    state = state_of()
    for resource in state["deployment"]["resources"]:
        if resource["urn"].endswith("overlay-shared"):
            secret = {"4dabf18193072939515e22adb298388d": "1b47061264138c4ac30d75fd1eb44270", "ciphertext": "v1:x"}
            resource["inputs"]["spec"]["capacity"]["nvidia.com/gpu"] = secret
    found = violations(capsys, write(tmp_path / "state.json", state))
    assert {v["level"] for v in found} <= {"advisory", "mandatory"}
    assert any("cannot be judged yet" in v["message"] for v in found)


def steps_of(*steps: tuple[str, list[Edit], list[Edit]]) -> dict[str, Any]:
    """A preview in which each resource of the base is the same, but for the named steps (op, name, edits)."""
    before = {r["urn"]: r for r in state_of()["deployment"]["resources"]}
    listed = [{"op": "same", "urn": u, "oldState": r, "newState": r} for u, r in before.items()]
    for op, name, edits in steps:
        after = {r["urn"]: r for r in state_of(*edits)["deployment"]["resources"]}
        for step in listed:
            if step["urn"].endswith(f"::{name}"):
                step |= {"op": op, "newState": after.get(step["urn"])}
    return {"steps": listed}


def test_a_preview_without_changes_is_fine(tmp_path, capsys):
    assert violations(capsys, write(tmp_path / "preview.json", steps_of())) == []


@pytest.mark.parametrize(
    ("name", "kind"), [("cluster-classic", "Cluster"), ("cluster-component", "Cluster"), ("pool-mig", "NodePool")]
)
@pytest.mark.parametrize("op", ["replace", "create-replacement", "delete-replaced"])
def test_a_replacement_of_a_cluster_or_a_pool_needs_the_break_glass(tmp_path, capsys, name, kind, op):
    file = write(tmp_path / "preview.json", steps_of((op, name, [])))
    (found,) = violations(capsys, file)
    assert found["policy"] == "no-replacement-without-break-glass"
    assert found["resource"].startswith(kind)
    config = write(tmp_path / "policies.json", {found["policy"]: {"breakGlass": [name]}})
    assert violations(capsys, file, "--config", config) == []


def test_the_break_glass_opens_for_the_named_one_only(tmp_path, capsys):
    file = write(tmp_path / "preview.json", steps_of(("replace", "pool-mig", []), ("replace", "pool-shared", [])))
    config = write(tmp_path / "policies.json", {"no-replacement-without-break-glass": {"breakGlass": ["mig"]}})
    assert [v["resource"] for v in violations(capsys, file, "--config", config)] == ["NodePool shared"]


@pytest.mark.parametrize(("op", "name"), [("replace", "pool-general"), ("replace", "queue"), ("update", "pool-mig")])
def test_other_replacements_and_updates_are_not_its_business(tmp_path, capsys, op, name):
    assert violations(capsys, write(tmp_path / "preview.json", steps_of((op, name, [])))) == []


def relabelled(*edits: Edit) -> list[Edit]:
    """The shared pool moves on to whole GPUs, as a change of its settings would have it."""
    return [
        put("pool-shared", "spec", "template", "metadata", "labels", "nvidia.com/device-plugin.config", "half"),
        *edits,
    ]


def test_a_configuration_that_running_nodes_name_must_stay(tmp_path, capsys):
    def gone(program):
        del program["plugin-configs"]["properties"]["data"]["quarter"]

    file = write(tmp_path / "preview.json", steps_of(("update", "plugin-configs", [gone])))
    found = [v for v in violations(capsys, file) if v["policy"] == "used-configs-kept"]
    assert [v["message"] for v in found] == [
        "NodePool shared: has nodes with the configuration quarter, which the update takes away"
    ]


def test_a_configuration_that_running_nodes_name_must_not_be_edited(tmp_path, capsys):
    def edited(program):
        data = program["mig-configs"]["properties"]["data"]
        data["config.yaml"] = data["config.yaml"].replace('"1g.5gb": 3', '"1g.5gb": 2')

    file = write(tmp_path / "preview.json", steps_of(("update", "mig-configs", [edited])))
    found = [v for v in violations(capsys, file) if v["policy"] == "used-configs-kept"]
    assert [v["message"] for v in found] == [
        "NodePool mig: has nodes with the configuration a100-mixed, which the update changes in place"
    ]


def test_a_configuration_that_no_pool_names_may_go(tmp_path, capsys):
    def gone(program):
        del program["plugin-configs"]["properties"]["data"]["tenth"]

    assert violations(capsys, write(tmp_path / "preview.json", steps_of(("update", "plugin-configs", [gone])))) == []


FLUX = {
    "apiVersion": "helm.toolkit.fluxcd.io/v2",
    "kind": "HelmRelease",
    "metadata": {"name": "gpu-operator", "namespace": "gpu-operator"},
    "spec": {
        "chart": {"spec": {"chart": "gpu-operator", "version": "v25.3.0"}},
        "values": {"driver": {"enabled": False}, "toolkit": {"enabled": False}, "mig": {"strategy": "mixed"}},
    },
}
ARGO = {
    "apiVersion": "argoproj.io/v1alpha1",
    "kind": "Application",
    "metadata": {"name": "gpu-operator", "namespace": "argocd"},
    "spec": {
        "source": {
            "repoURL": "https://helm.ngc.nvidia.com/nvidia",
            "chart": "gpu-operator",
            "targetRevision": "v25.3.0",
            "helm": {"values": "driver: {enabled: false}\ntoolkit: {enabled: false}\nmig: {strategy: mixed}\n"},
        }
    },
}


def argo_object() -> dict[str, Any]:
    changed = json.loads(json.dumps(ARGO))
    changed["spec"]["source"]["helm"] = {"valuesObject": FLUX["spec"]["values"]}
    return changed


@pytest.mark.parametrize("document", [FLUX, ARGO, argo_object()], ids=["flux", "argo", "argo-object"])
def test_a_chart_that_flux_or_argo_installs_is_judged(tmp_path, capsys, document):
    assert [v["policy"] for v in violations(capsys, write(tmp_path / "app.yaml", document))] == ["operator-cve-floor"]


@pytest.mark.parametrize(
    ("name", "text", "says"),
    [
        ("a.yaml", "kind: [", "not yaml"),
        ("a.json", "{", "not json"),
        ("a.yaml", "", "nothing to judge"),
        ("a.yaml", "just a text", "document 1: neither a Kubernetes object"),
        ("a.yaml", "a: 1", "neither a Kubernetes object"),
        ("a.json", '{"steps": [1]}', "1 is not a step of a preview"),
        ("a.json", '{"deployment": {"resources": [1]}}', "1 is not a resource with a type"),
        ("a.yaml", "a: &a [*a]", "neither a Kubernetes object"),
    ],
)
def test_a_file_that_cannot_be_judged_is_one_message_and_exit_1(tmp_path, capsys, name, text, says):
    (tmp_path / name).write_text(text)
    code, out, err = run(capsys, tmp_path / name)
    assert (code, out) == (1, "")
    assert says in err
    assert "Traceback" not in err


def test_binary_and_missing_files_are_one_message(tmp_path, capsys):
    (tmp_path / "a.yaml").write_bytes(b"\xff\xfe\x00kind")
    assert "not UTF-8 text (byte 0)" in run(capsys, tmp_path / "a.yaml")[2]
    code, _, err = run(capsys, tmp_path / "none.yaml")
    assert (code, err) == (1, f"gpuslice: {tmp_path / 'none.yaml'}: no such file or folder\n")


def test_a_folder_without_files_to_judge_is_refused(tmp_path, capsys):
    code, _, err = run(capsys, tmp_path)
    assert code == 1
    assert "no file that ends with .yaml, .yml, .json in this folder" in err


def test_other_files_of_a_folder_are_skipped_and_named(tmp_path, capsys):
    write(tmp_path / "pools.yaml", *kubernetes_objects())
    write(tmp_path / "values.yaml", {"replicas": 2})
    code, _, err = run(capsys, tmp_path)
    assert code == 0
    assert err == f"gpuslice: skipped {tmp_path / 'values.yaml'}, document 1: has no apiVersion and kind\n"


@pytest.mark.parametrize("text", ["{", "[]"])
def test_a_configuration_that_is_no_use_is_exit_1(tmp_path, capsys, text):
    file = write(tmp_path / "all.yaml", *kubernetes_objects())
    (tmp_path / "policies.json").write_text(text)
    code, _, err = run(capsys, file, "--config", tmp_path / "policies.json")
    assert code == 1
    assert "Traceback" not in err
