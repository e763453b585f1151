"""The command line: results, messages and exit codes (0 fine, 1 the input was refused, 2 the environment failed)."""

import json
import os
import re
import shutil
import subprocess
import sys

import pytest
import yaml

import offline.preview
from gpuslice import cli
from gpuslice.load import load_settings
from gpuslice.project import stack_name
from offline import ProgramFailed, engine
from sandbox import local
from tests.helpers import ROOT, SHARED, STACKS, config_of, previewed, recorded
from tests.helpers import run as program_run

TRACEBACK = "Traceback (most recent call last)"


@pytest.fixture(autouse=True)
def at_the_root(monkeypatch):
    monkeypatch.chdir(ROOT)


@pytest.fixture
def gpuslice(capsys):
    """Runs a command; (exit code, standard output, standard error)."""

    def run(*arguments: object) -> tuple[int, str, str]:
        try:
            code = cli.main([str(a) for a in arguments])
        except SystemExit as stop:
            code = int(stop.code or 0)
        out, err = capsys.readouterr()
        assert TRACEBACK not in err
        return code, out, err

    return run


@pytest.fixture
def stack_path(tmp_path):
    """Writes a stack file for these sections."""

    def write(name: str = "Pulumi.prod.yaml", **sections: object):
        path = tmp_path / name
        path.write_text(yaml.safe_dump({"config": config_of(sections)}), encoding="utf-8")
        return path

    return write


@pytest.fixture
def once(monkeypatch):
    """`preview` shows recordings that the test run has made already."""
    monkeypatch.setattr(offline.preview, "preview", lambda _root, stack: previewed(stack))


@pytest.fixture
def refused_root(tmp_path, monkeypatch):
    """A copy of the program whose stacks dev and local the pack refuses: too many replicas."""
    for package in ("gpuslice", "components", "policies"):
        (tmp_path / package).symlink_to(ROOT / package)
    for name in ("__main__.py", "Pulumi.yaml", "policies.dev.json", "policies.local.json"):
        shutil.copy(ROOT / name, tmp_path)
    for stack in ("dev", "local"):
        text = (ROOT / f"Pulumi.{stack}.yaml").read_text()
        (tmp_path / f"Pulumi.{stack}.yaml").write_text(text.replace("replicas: 4}", "replicas: 8}"))
    monkeypatch.chdir(tmp_path)
    return tmp_path


class TestUsage:
    def test_help_lists_the_commands(self, gpuslice):
        code, out, _ = gpuslice("--help")
        assert code == 0
        for command in ("validate", "preview", "render", "mig", "check", "schema", "up", "down", "sandbox"):
            assert re.search(rf"^\s+{command}\s+\w", out, re.MULTILINE)

    @pytest.mark.parametrize("arguments", [(), ("validat",), ("preview",), ("render", "--stack", "dev"), ("mig",)])
    def test_a_wrong_command_line_is_the_users_input(self, gpuslice, arguments):
        code, out, err = gpuslice(*arguments)
        assert code == 1
        assert out == ""
        assert err.startswith("gpuslice")
        assert "usage: gpuslice" in err

    def test_an_error_of_the_program_itself_is_not_hidden(self, monkeypatch):
        """A defect must reach whoever mends it whole."""
        monkeypatch.setattr("gpuslice.mig_report.layouts_report", lambda _gpu: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            cli.main(["mig", "--gpu", "A100-40GB"])

    def test_an_interrupt_is_no_traceback(self, gpuslice, monkeypatch):
        def interrupted(_gpu):
            raise KeyboardInterrupt

        monkeypatch.setattr("gpuslice.mig_report.layouts_report", interrupted)
        assert gpuslice("mig", "--gpu", "A100-40GB") == (130, "", "gpuslice: interrupted\n")

    def test_a_reader_that_stops_early_hears_nothing(self):
        """As `gpuslice ... | head -1`."""
        command = [sys.executable, "-m", "gpuslice.cli", "mig", "--gpu", "A100-40GB", "--layouts"]
        buffered = {key: value for key, value in os.environ.items() if key != "PYTHONUNBUFFERED"}
        reading, writing = os.pipe()
        os.close(reading)
        try:
            done = subprocess.run(
                command, cwd=ROOT, env=buffered, stdout=writing, stderr=subprocess.PIPE, text=True, timeout=60
            )
        finally:
            os.close(writing)
        assert done.stderr == ""


class TestValidate:
    @pytest.mark.parametrize("stack", STACKS)
    def test_the_projects_own_stacks_are_fine(self, gpuslice, stack):
        code, out, err = gpuslice("validate", f"Pulumi.{stack}.yaml")
        assert code == 0
        assert err == ""
        assert out.startswith(f"Pulumi.{stack}.yaml: fine (")

    def test_one_is_not_several(self, gpuslice, stack_path):
        path = stack_path(pools=[SHARED], tenants=[{"namespace": "a"}, {"namespace": "b"}])
        assert gpuslice("validate", path) == (0, f"{path}: fine (1 pool, 2 tenants)\n", "")

    def test_mps_is_fine_and_warned_of(self, gpuslice, stack_path):
        mps = {**SHARED, "sharing": {"mode": "mps", "replicas": 4}}
        code, out, err = gpuslice("validate", stack_path(pools=[mps]))
        assert code == 0
        assert "fine" in out
        assert err.startswith("gpuslice: warning: pool t4-shared: MPS sharing is experimental")

    def test_json_of_a_file_that_is_fine(self, gpuslice):
        code, out, err = gpuslice("validate", "Pulumi.dev.yaml", "--json")
        assert (code, json.loads(out), err) == (0, {"errors": []}, "")

    def test_every_problem_on_a_line(self, gpuslice, stack_path):
        path = stack_path(pools=[{**SHARED, "rootVolume": "1Gi", "ami": "al2023"}], tenant=[])
        code, out, err = gpuslice("validate", path)
        first, *lines = err.splitlines()
        assert (code, out, first) == (1, "", "gpuslice: 3 problems:")
        assert [line.split(": ")[0] for line in lines] == [
            "gpu-slicing:pools[0].ami",
            "gpu-slicing:pools[0].rootVolume",
            "gpu-slicing:tenant",
        ]
        assert "Did you mean gpu-slicing:tenants?" in lines[2]

    def test_one_problem_is_one(self, gpuslice, stack_path):
        _, _, err = gpuslice("validate", stack_path(pools=[]))
        assert err.startswith("gpuslice: 1 problem:\n")

    def test_json_of_problems(self, gpuslice, stack_path):
        code, out, err = gpuslice("validate", stack_path(pools=[{**SHARED, "name": "T4"}]), "--json")
        (problem,) = json.loads(out)["errors"]
        assert (code, err) == (1, "")
        assert problem.keys() == {"path", "value", "message", "allowed", "suggestion"}
        assert problem["path"] == "gpu-slicing:pools[0].name"
        assert problem["value"] == '"T4"'
        assert problem["suggestion"] == "t4"

    def test_yaml_and_settings_in_one_report(self, gpuslice, tmp_path):
        path = tmp_path / "Pulumi.x.yaml"
        path.write_text(
            "config:\n  gpu-slicing:pools: [{name: T4, instanceTypes: [g4dn.xlarge], sharing: {mode: exclusive}}]\n"
            "  gpu-slicing:monitoring: {enabled: yes}\n"
        )
        code, out, _ = gpuslice("validate", path, "--json")
        paths = {p["path"] for p in json.loads(out)["errors"]}
        assert code == 1
        assert "gpu-slicing:pools[0].name" in paths
        assert len(paths) == 2

    @pytest.mark.parametrize("as_json", [False, True])
    def test_a_file_that_is_not_there(self, gpuslice, tmp_path, as_json):
        missing = tmp_path / "Pulumi.none.yaml"
        code, out, err = gpuslice("validate", missing, *(["--json"] if as_json else []))
        text = out if as_json else err
        assert code == 1
        assert str(missing) in text
        assert "No such file" in text
        assert (out == "") is not as_json

    def test_a_folder_is_no_file(self, gpuslice, tmp_path):
        code, _, err = gpuslice("validate", tmp_path)
        assert code == 1
        assert "is not a file" in err

    def test_the_stack_is_named_by_its_file(self, gpuslice, stack_path):
        """Which rules hold depends on it: `@latest` is for local and dev alone."""
        latest = [{**SHARED, "ami": "al2023@latest"}]
        assert gpuslice("validate", stack_path("Pulumi.dev.yaml", pools=latest))[0] == 0
        assert gpuslice("validate", stack_path("Pulumi.prod.yaml", pools=latest))[0] == 1

    @pytest.mark.parametrize(
        ("name", "stack"), [("Pulumi.dev.yaml", "dev"), ("candidate.yaml", "candidate"), ("Pulumi.yaml", "Pulumi")]
    )
    def test_stack_names(self, name, stack, tmp_path):
        assert stack_name(tmp_path / name) == stack


class TestPreview:
    @pytest.mark.parametrize("stack", STACKS)
    def test_shows_the_tree_the_slices_and_the_cost(self, gpuslice, once, stack):
        code, out, err = gpuslice("preview", "--stack", stack)
        assert (code, err) == (0, "")
        for pool in recorded(stack).settings.pools:
            assert out.count(pool.name) >= 4
        for part in ("eks:index:Cluster", "NodePool", "Slices of a node", "Monthly cost", "720 hours"):
            assert part in out
        assert "No credentials were used; nothing was made." in out.replace("\n", " ").replace("  ", " ")

    @pytest.mark.parametrize("stack", STACKS)
    def test_the_verdict_of_the_policies_is_one_line_where_all_is_well(self, gpuslice, once, stack):
        _, out, _ = gpuslice("preview", "--stack", stack)
        report = previewed(stack).policies
        assert out.endswith(
            f"\n\nPolicies: no violation ({report.policies} policies on {report.resources} resources).\n"
        )

    def test_a_mandatory_violation_is_exit_1_with_what_is_wrong_and_what_to_do(self, gpuslice, refused_root):
        code, out, _ = gpuslice("preview", "--stack", "dev")
        assert code == 1
        assert "Policies: 1 mandatory, 0 advisory (" in out
        assert "  mandatory replicas-within-cap\n    NodePool t4-shared: shares nvidia.com/gpu 8 times; allowed" in out
        assert "\n    -> " in out

    def test_violations_are_part_of_the_json(self, gpuslice, refused_root):
        code, out, _ = gpuslice("preview", "--stack", "dev", "--json", "-")
        assert code == 1
        assert [v["policy"] for v in json.loads(out)["violations"]] == ["replicas-within-cap"]

    def test_the_stacks_configuration_of_the_policies_is_used(self, gpuslice, refused_root):
        (refused_root / "policies.dev.json").write_text(
            json.dumps({"replicas-within-cap": "advisory", "eks-deletion-protection": "disabled"})
        )
        code, out, _ = gpuslice("preview", "--stack", "dev")
        assert code == 0
        assert "Policies: 0 mandatory, 1 advisory (" in out

    @pytest.mark.parametrize("text", ["{", '{"replicas-within-cup": "advisory"}'])
    def test_a_configuration_of_the_policies_that_is_no_use_is_exit_1(self, gpuslice, refused_root, text):
        (refused_root / "policies.dev.json").write_text(text)
        code, out, err = gpuslice("preview", "--stack", "dev")
        assert (code, out) == (1, "")
        assert "policies.dev.json: not JSON" in err or "Did you mean replicas-within-cap?" in err

    @pytest.mark.parametrize("columns", [80, 120])
    @pytest.mark.parametrize("stack", STACKS)
    def test_fits_into_a_terminal_without_folding_a_cell(self, gpuslice, once, monkeypatch, stack, columns):
        monkeypatch.setenv("COLUMNS", str(columns))
        _, out, _ = gpuslice("preview", "--stack", stack)
        assert max(map(len, out.splitlines())) <= columns
        tables = out[out.index("Slices of a node") :]
        assert "…" not in tables
        pools = recorded(stack).recording.outputs["gpuPools"]
        for pool in pools.values():
            for resource in pool["resources"]:
                assert resource["name"] in tables
            for name in pool["instanceTypes"]:
                assert name in tables

    def test_a_long_pool_name_is_folded_and_nothing_else(self, capsys, monkeypatch):
        monkeypatch.setenv("COLUMNS", "80")
        name = "inference-for-the-whole-of-the-department-a"
        pool = {**SHARED, "name": name, "instanceTypes": ["g4dn.xlarge", "g4dn.12xlarge"]}
        config = config_of({"pools": [pool]})
        offline.preview.show(
            offline.preview.StackRecording("prod", load_settings(config, "prod"), program_run(config, unknowns=True))
        )
        out = capsys.readouterr().out
        tables = out[out.index("Slices of a node") :]
        assert max(map(len, tables.splitlines())) <= 80
        for whole in ("nvidia.com/gpu.shared", "g4dn.12xlarge", "time-slicing", "$378.72 to $2,816.64"):
            assert whole in tables
        assert name not in tables

    def test_the_figures_of_prod(self, gpuslice, once, monkeypatch):
        monkeypatch.setenv("COLUMNS", "80")
        _, out, _ = gpuslice("preview", "--stack", "prod")
        rows = [line.split() for line in out[out.index("Slices of a node") :].splitlines()]
        assert ["t4-shared", "nvidia.com/gpu.shared", "g4dn.xlarge", "4", "3,584", "0.1315"] in rows
        assert ["g4dn.12xlarge", "16", "3,584", "0.2445"] in rows
        assert ["nvidia.com/mig-2g.10gb", "p4d.24xlarge", "16", "9,728", "0.7842"] in rows
        assert ["t4-shared", "time-slicing", "none", "$378.72", "to", "$2,816.64", "10", "$28,166.40"] in rows
        assert ["h100-whole", "exclusive", "hardware", "$39,628.80", "1", "$39,628.80"] in rows

    def test_json_into_a_file_beside_the_text(self, gpuslice, once, tmp_path):
        code, out, _ = gpuslice("preview", "--stack", "dev", "--json", tmp_path / "preview.json")
        data = json.loads((tmp_path / "preview.json").read_text(encoding="utf-8"))
        assert code == 0
        assert "Monthly cost" in out
        assert data["stack"] == "dev"
        assert data["costs"]["hoursPerMonth"] == 720
        assert data["outputs"]["gpuPools"].keys() == {"t4-shared"}
        assert {r["type"] for r in data["resources"]} >= {"eks:index:Cluster"}

    def test_json_alone_on_standard_output(self, gpuslice, once):
        code, out, err = gpuslice("preview", "--stack", "dev", "--json", "-")
        assert (code, err) == (0, "")
        assert json.loads(out)["costs"]["pools"][0]["name"] == "t4-shared"

    def test_json_where_nothing_can_be_written(self, gpuslice, once, tmp_path):
        (tmp_path / "file").write_text("")
        code, _, err = gpuslice("preview", "--stack", "dev", "--json", tmp_path / "file" / "x.json")
        assert code == 2
        assert err == f"gpuslice: {tmp_path / 'file' / 'x.json'}: Not a directory\n"

    def test_an_unknown_stack(self, gpuslice):
        code, out, err = gpuslice("preview", "--stack", "prdo")
        assert (code, out) == (1, "")
        assert "Pulumi.prdo.yaml" in err
        assert "Allowed: dev, local, prod." in err
        assert "Did you mean prod?" in err

    @pytest.fixture
    def cheaper(self, tmp_path):
        """The stack `dev` with fewer nodes, as a file to compare with."""
        text = (ROOT / "Pulumi.dev.yaml").read_text(encoding="utf-8")
        path = tmp_path / "Pulumi.dev.yaml"
        path.write_text(text.replace("limits: {nodes: 2}", "limits: {nodes: 1}"), encoding="utf-8")
        assert path.read_text(encoding="utf-8") != text
        return path

    @pytest.mark.parametrize("columns", [80, 120])
    def test_the_change_in_cost_against_a_base(self, gpuslice, once, monkeypatch, cheaper, columns):
        monkeypatch.setenv("COLUMNS", str(columns))
        code, out, err = gpuslice("preview", "--stack", "dev", "--base", cheaper)
        assert (code, err) == (0, "")
        assert max(map(len, out.splitlines())) <= max(columns, len(str(cheaper)))
        rows = [line.split() for line in out[out.index("Change in cost") :].splitlines()]
        assert ["t4-shared", "$541.44", "$1,082.88", "+$541.44"] in rows
        assert ["t4-shared", "changed:", "limits.nodes", "1", "->", "2"] in rows
        assert out.index("Monthly cost") < out.index("Change in cost") < out.index("Policies: no violation")

    def test_the_change_is_part_of_the_json(self, gpuslice, once, cheaper):
        code, out, err = gpuslice("preview", "--stack", "dev", "--base", cheaper, "--json", "-")
        assert (code, err) == (0, "")
        found = json.loads(out)["costChange"]
        assert (found["base"], found["newStack"]) == (str(cheaper), False)
        assert found["usdPerMonthAtLimit"] == {"before": 541.44, "after": 1082.88, "change": 541.44}
        assert "costChange" not in json.loads(gpuslice("preview", "--stack", "dev", "--json", "-")[1])

    def test_without_a_base_nothing_is_compared(self, gpuslice, once):
        assert "Change in cost" not in gpuslice("preview", "--stack", "dev")[1]

    def test_a_base_that_todays_rules_refuse_does_not_fail_the_preview(self, gpuslice, once, cheaper):
        cheaper.write_text(cheaper.read_text(encoding="utf-8").replace("replicas", "replcas"), encoding="utf-8")
        code, out, _ = gpuslice("preview", "--stack", "dev", "--base", cheaper)
        assert code == 0
        assert "The change in cost is not known: today's rules refuse the stack file" in " ".join(out.split())
        assert "gpu-slicing:pools[0].sharing.replcas: unknown key" in " ".join(out.split())

    @pytest.mark.skipif(shutil.which("git") is None, reason="needs git")
    def test_a_base_that_is_not_there_is_exit_1_before_the_program_runs(self, gpuslice, refused_root, monkeypatch):
        subprocess.run(["git", "init", "-q", str(refused_root)], check=True)
        monkeypatch.setattr(offline.preview, "preview", None)
        code, out, err = gpuslice("preview", "--stack", "dev", "--base", "no-such-branch")
        assert (code, out) == (1, "")
        assert err.startswith("gpuslice: base no-such-branch: is neither a file nor a revision that git knows.")

    def test_without_git_a_revision_is_exit_2(self, gpuslice, monkeypatch, tmp_path):
        monkeypatch.setenv("PATH", str(tmp_path))
        code, out, err = gpuslice("preview", "--stack", "dev", "--base", "HEAD")
        assert (code, out) == (2, "")
        assert err == "gpuslice: git is not installed: give the path of a stack file as the base, or install git\n"

    def test_a_program_that_fails_says_why(self, gpuslice, monkeypatch):
        def fail(_root, _stack):
            raise ProgramFailed("the kubeconfig is gone")

        monkeypatch.setattr(offline.preview, "preview", fail)
        assert gpuslice("preview", "--stack", "dev") == (1, "", "gpuslice: the kubeconfig is gone\n")


class TestEngine:
    """The Pulumi CLI where it and credentials are there, and what is done where they are not."""

    @pytest.fixture
    def ran(self, monkeypatch):
        found: list[tuple[str, ...]] = []
        monkeypatch.setattr(engine, "usable", lambda *_: object())
        monkeypatch.setattr(engine, "run", lambda _cli, _root, s, *words: found.append((s.stack, *words)))
        return found

    @pytest.mark.parametrize(("command", "run"), [("up", "up"), ("down", "destroy")])
    def test_an_aws_stack_goes_to_the_cli(self, gpuslice, ran, command, run):
        assert gpuslice(command, "--stack", "dev")[0] == 0
        assert gpuslice(command, "--stack", "dev", "--yes")[0] == 0
        assert ran == [("dev", run), ("dev", run, "--yes")]

    def test_a_failure_of_the_cli_is_the_environments(self, gpuslice, ran, monkeypatch):
        def fail(*_):
            raise engine.EngineFailed("pulumi up ended with code 7.")

        monkeypatch.setattr(engine, "run", fail)
        assert gpuslice("up", "--stack", "dev") == (2, "", "gpuslice: pulumi up ended with code 7.\n")

    def test_preview_with_the_cli_and_without_being_asked_for_it(self, gpuslice, ran, once):
        assert gpuslice("preview", "--stack", "dev", "--engine", "auto")[0] == 0
        assert gpuslice("preview", "--stack", "dev")[0] == 0
        assert ran == [("dev", "preview")]

    def test_after_the_preview_of_the_cli_come_slices_cost_and_change(self, gpuslice, ran):
        code, out, err = gpuslice("preview", "--stack", "dev", "--engine", "auto", "--base", "Pulumi.prod.yaml")
        assert (code, err, ran) == (0, "", [("dev", "preview")])
        assert out.index("Slices of a node") < out.index("Monthly cost") < out.index("Change in cost against")
        assert "a100-mig removed" in out
        assert "eks:index:Cluster" not in out
        assert "Change in cost" not in gpuslice("preview", "--stack", "dev", "--engine", "auto")[1]

    def test_the_sandboxs_stack_never_goes_to_the_cli(self, gpuslice, ran, once):
        assert gpuslice("preview", "--stack", "local", "--engine", "auto")[0] == 0
        assert ran == []

    @pytest.mark.parametrize("command", ["up", "down"])
    def test_without_the_cli_an_aws_stack_cannot_be_deployed(self, gpuslice, monkeypatch, command):
        monkeypatch.setattr(engine, "usable", lambda *_: None)
        code, out, err = gpuslice(command, "--stack", "dev")
        assert (code, out) == (2, "")
        assert "needs the Pulumi CLI and AWS credentials" in err

    def test_without_the_cli_a_preview_is_made_in_process(self, gpuslice, monkeypatch, once):
        monkeypatch.setattr(engine, "usable", lambda *_: None)
        code, out, _ = gpuslice("preview", "--stack", "dev", "--engine", "auto")
        assert code == 0
        assert "Monthly cost" in out

    @pytest.mark.parametrize("command", ["up", "down"])
    def test_an_unknown_stack(self, gpuslice, command):
        code, _, err = gpuslice(command, "--stack", "loca")
        assert code == 1
        assert "Did you mean local?" in err


class TestUp:
    def test_a_mandatory_violation_stops_it_before_anything_is_built_or_started(
        self, gpuslice, refused_root, monkeypatch
    ):
        def never(*_):
            raise AssertionError("something was built or started")

        monkeypatch.setattr(local.build, "ensure_binaries", never)
        monkeypatch.setattr(local.world, "start", never)
        code, out, err = gpuslice("up", "--stack", "local")
        assert (code, out) == (1, "")
        assert err.startswith("gpuslice: stack local was not deployed\nPolicies: 1 mandatory, 0 advisory (")
        assert "replicas-within-cap" in err
        assert not (refused_root / local.FOLDER).exists()


class TestSandbox:
    @pytest.fixture
    def called(self, monkeypatch):
        found: list[str] = []
        monkeypatch.setattr(local, "up", lambda _root, stack, _progress: found.append(f"up {stack}") or 0)
        monkeypatch.setattr(local, "start", lambda _root, _progress: found.append("start") or 0)
        monkeypatch.setattr(local, "down", lambda _root, _progress: found.append("down") or 0)
        monkeypatch.setattr(local, "status", lambda _root, *, as_json: found.append(f"status {as_json}") or 0)
        return found

    @pytest.mark.parametrize(
        ("arguments", "call"),
        [
            (("up",), "up local"),
            (("down",), "down"),
            (("sandbox", "up"), "start"),
            (("sandbox", "down"), "down"),
            (("sandbox", "status"), "status False"),
            (("sandbox", "status", "--json"), "status True"),
        ],
    )
    def test_commands_reach_it(self, gpuslice, called, arguments, call):
        assert gpuslice(*arguments)[0] == 0
        assert called == [call]

    def test_its_failure_is_the_environments(self, gpuslice, monkeypatch):
        from sandbox.processes import SandboxError

        def fail(_root, _progress):
            raise SandboxError("no compiler")

        monkeypatch.setattr(local, "start", fail)
        assert gpuslice("sandbox", "up") == (2, "", "gpuslice: no compiler\n")


class TestRender:
    def test_writes_the_files_and_names_them(self, gpuslice, tmp_path):
        code, out, err = gpuslice("render", "--stack", "prod", "-o", tmp_path / "new")
        names = {line.rpartition("/")[2] for line in out.splitlines()}
        assert (code, err) == (0, "")
        assert names == {p.name for p in (tmp_path / "new").iterdir()}
        assert names >= {"karpenter-soft.yaml", "time-slicing-config-fine.yaml", "time-slicing-verification.yaml"}

    def test_tells_of_files_that_are_no_longer_part_of_the_stack(self, gpuslice, tmp_path):
        gpuslice("render", "--stack", "prod", "-o", tmp_path)
        code, out, err = gpuslice("render", "--stack", "dev", "-o", tmp_path)
        assert code == 0
        assert "karpenter-mig.yaml" not in out
        assert f"{tmp_path / 'karpenter-mig.yaml'} is of an earlier render" in err

    @pytest.mark.parametrize("below", ["", "deeper"])
    def test_where_nothing_can_be_written(self, gpuslice, tmp_path, below):
        (tmp_path / "file").write_text("")
        code, out, err = gpuslice("render", "--stack", "dev", "-o", tmp_path / "file" / below)
        assert (code, out) == (2, "")
        assert re.fullmatch(r"gpuslice: \S+/file\S*: Not a directory\n", err)

    def test_an_unknown_stack_writes_nothing(self, gpuslice, tmp_path):
        assert gpuslice("render", "--stack", "none", "-o", tmp_path / "new")[0] == 1
        assert not (tmp_path / "new").exists()


class TestMig:
    def test_placeable_with_the_start_slices_and_the_label(self, gpuslice):
        code, out, err = gpuslice("mig", "--gpu", "A100-40GB", "3g.20gb", "1g.5gb")
        assert (code, err) == (0, "")
        assert out.splitlines() == [
            "placeable on A100-40GB; as a node label: nvidia.com/mig.config=a100-40gb.1g.5gb-1.3g.20gb-1",
            "  3g.20gb      memory slices 0 to 3",
            "  1g.5gb       memory slice 4",
            "EC2: p4d.24xlarge",
        ]

    def test_needs_the_search(self, gpuslice):
        """3g first at slice 0 leaves 4g no place: only a search finds that 3g must take 4 to 7."""
        code, out, _ = gpuslice("mig", "--gpu", "A100-40GB", "3g.20gb", "4g.20gb", "--json")
        starts = {i["profile"]: i["start"] for i in json.loads(out)["instances"]}
        assert (code, starts) == (0, {"4g.20gb": 0, "3g.20gb": 4})

    def test_not_placeable(self, gpuslice):
        code, out, err = gpuslice("mig", "--gpu", "A100-40GB", "3g.20gb=2", "1g.5gb")
        assert (code, err) == (1, "")
        assert out.startswith("not placeable: A100-40GB: 1 x 1g.5gb + 2 x 3g.20gb cannot be placed")

    def test_not_placeable_as_json(self, gpuslice):
        code, out, err = gpuslice("mig", "--gpu", "A100-40GB", "1g.10gb=4", "1g.5gb", "--json")
        data = json.loads(out)
        assert (code, err, data["placeable"]) == (1, "", False)
        assert data["layout"] == {"1g.10gb": 4, "1g.5gb": 1}
        assert data["reason"]

    @pytest.mark.parametrize("extra", [("--layouts",), ()])
    def test_the_layouts_that_fill_a_gpu(self, gpuslice, extra):
        code, out, _ = gpuslice("mig", "--gpu", "a100-40gb", *extra)
        assert code == 0
        assert out.startswith("A100-40GB: 28 layouts that leave no room for another instance\n")
        assert "  7 x 1g.5gb\n" in out

    def test_the_layouts_as_json(self, gpuslice):
        data = json.loads(gpuslice("mig", "--gpu", "H100-80GB", "--json")[1])
        assert data["instanceTypes"] == ["p5.4xlarge", "p5.48xlarge"]
        assert {"7g.80gb": 1} in data["layouts"]

    @pytest.mark.parametrize(
        ("arguments", "words"),
        [
            (("--gpu", "T4", "1g.5gb"), "T4 has no MIG"),
            (("--gpu", "A100", "1g.5gb"), "Did you mean A100-40GB or A100-80GB?"),
            (("--gpu", "H100-81GB"), "Did you mean H100-80GB?"),
            (("--gpu", "A100-40GB", "1g.5gb=x"), "the count is not a whole number"),
        ],
    )
    @pytest.mark.parametrize("as_json", [False, True])
    def test_wrong_input(self, gpuslice, arguments, words, as_json):
        code, out, err = gpuslice("mig", *arguments, *(["--json"] if as_json else []))
        assert code == 1
        assert words in err
        if as_json:
            assert words in json.loads(out)["reason"]
        else:
            assert out == ""

    def test_a_wrong_profile_names_the_right_ones(self, gpuslice):
        code, out, _ = gpuslice("mig", "--gpu", "A100-40GB", "1g.10g")
        assert code == 1
        assert "allowed: 1g.5gb, " in out
        assert "did you mean 1g.10gb?" in out

    def test_a_gpu_that_is_not_proven_on_ec2_says_so(self, gpuslice):
        code, out, _ = gpuslice("mig", "--gpu", "RTX-PRO-6000-96GB")
        assert code == 0
        assert "unproven: a stack that asks for it is refused" in out


class TestSchema:
    def test_is_json_and_the_file_in_the_project_is_the_same(self, gpuslice, tmp_path):
        _, out, _ = gpuslice("schema")
        assert json.loads(out)["$schema"]
        assert gpuslice("schema", "-o", tmp_path / "a" / "schema.json") == (0, "", "")
        assert (tmp_path / "a" / "schema.json").read_text(encoding="utf-8") == out
        assert (ROOT / "schema" / "pulumi-stack.schema.json").read_text(encoding="utf-8") == out


def test_help_does_not_load_the_sdk():
    """`gpuslice --help` and `validate` stay fast: Pulumi is loaded by what runs a program."""
    code = (
        "import sys; from gpuslice import cli; cli.main(['validate', 'Pulumi.prod.yaml']);"
        "print([m for m in ('pulumi', 'rich', 'moto') if m in sys.modules])"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, timeout=60, check=True
    )
    assert done.stdout.splitlines()[-1] == "[]"
