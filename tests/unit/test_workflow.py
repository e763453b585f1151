"""The workflows take nothing unpinned, ask for no more than they need, and give a fork nothing of value."""

import json
import re
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from gpuslice.catalog import versions

ROOT = Path(__file__).parents[2]
FOLDER = ROOT / ".github" / "workflows"
WORKFLOWS = sorted(FOLDER.glob("*.y*ml"))
USES = re.compile(r"^\s*(?:- )?uses: (?P<action>\S+)@(?P<commit>\S+)(?P<rest>.*)$", flags=re.MULTILINE)
OWN_BRANCH = "github.event.pull_request.head.repo.full_name == github.repository"
# What a job may ask for beyond reading the code, and the step that needs it.
GRANTS = {"id-token": "aws-actions/configure-aws-credentials", "pull-requests": "pulumi/actions"}


def load(path: Path) -> dict[str, Any]:
    # YAML 1.1 reads the key `on` as true.
    data = yaml.safe_load(path.read_text(encoding="utf-8"))
    data["on"] = data.pop(True)
    return data


def jobs(path: Path) -> dict[str, dict[str, Any]]:
    return load(path)["jobs"]


def open_to_forks(job: dict[str, Any]) -> bool:
    return OWN_BRANCH not in str(job.get("if", ""))


ALL_JOBS = [pytest.param(job, id=f"{p.stem}-{name}") for p in WORKFLOWS for name, job in jobs(p).items()]
any_workflow = pytest.mark.parametrize("path", WORKFLOWS, ids=[p.name for p in WORKFLOWS])
any_job = pytest.mark.parametrize("job", ALL_JOBS)


def test_the_workflows_are_there():
    assert [p.name for p in WORKFLOWS] == ["preview.yaml", "test.yaml"]


@any_workflow
def test_every_action_is_pinned_by_its_full_commit_with_the_version_beside_it(path):
    found = list(USES.finditer(path.read_text(encoding="utf-8")))
    used = [step["uses"] for job in jobs(path).values() for step in job["steps"] if "uses" in step]
    assert len(found) == len(used) > 0
    for match in found:
        assert re.fullmatch(r"[0-9a-f]{40}", match["commit"]), match[0]
        assert re.fullmatch(r" # v\d+\.\d+\.\d+", match["rest"]), match[0]


def test_one_action_has_one_commit_everywhere():
    pins = {}
    for path in WORKFLOWS:
        for match in USES.finditer(path.read_text(encoding="utf-8")):
            assert pins.setdefault(match["action"], (match["commit"], match["rest"])) == (
                match["commit"],
                match["rest"],
            )
    assert len({commit for commit, _ in pins.values()}) == len(pins)


@any_workflow
def test_the_workflow_itself_may_only_read(path):
    assert load(path)["permissions"] == {"contents": "read"}


@any_job
def test_a_job_asks_for_a_permission_only_where_a_step_needs_it(job):
    wanted = {name: level for name, level in job.get("permissions", {}).items() if name != "contents"}
    assert job.get("permissions", {}).get("contents", "read") == "read"
    actions = {step["uses"].partition("@")[0] for step in job["steps"] if "uses" in step}
    assert wanted == {name: "write" for name, action in GRANTS.items() if action in actions}


@any_workflow
def test_nothing_runs_with_the_rights_of_the_target_branch(path):
    assert not {"pull_request_target", "workflow_run", "issue_comment"} & load(path)["on"].keys()


@any_job
def test_what_a_fork_can_start_has_no_secrets_and_no_identity(job):
    if open_to_forks(job):
        text = yaml.safe_dump(job)
        assert "secrets" not in text
        assert "id-token" not in text
        assert "configure-aws-credentials" not in text


@any_job
def test_the_checked_out_token_is_not_left_on_disk(job):
    checkouts = [step for step in job["steps"] if step.get("uses", "").startswith("actions/checkout@")]
    assert checkouts
    assert all(step["with"]["persist-credentials"] is False for step in checkouts)


@any_job
def test_no_expression_is_pasted_into_a_shell_script(job):
    """A branch name or a title may hold shell commands: values reach a script as environment variables."""
    assert not [step["run"] for step in job["steps"] if "${{" in step.get("run", "")]


@any_job
def test_every_job_ends(job):
    assert job["timeout-minutes"] <= 60


@any_workflow
def test_a_job_that_changes_a_stack_is_never_cancelled(path):
    """An update that is cut short leaves pending operations and half-made resources."""
    workflow = load(path)
    for job in workflow["jobs"].values():
        commands = [step.get("with", {}).get("command") for step in job["steps"]]
        scripts = "\n".join(step.get("run", "") for step in job["steps"])
        if {"up", "destroy", "refresh"} & set(commands) or re.search(
            r"\b(make|pulumi|gpuslice) (up|down|destroy)", scripts
        ):
            concurrency = [workflow.get("concurrency", {}), job.get("concurrency", {})]
            assert not any(c.get("cancel-in-progress") for c in concurrency)


def test_every_stack_but_the_local_one_is_previewed():
    stacks = {p.name.split(".")[1] for p in ROOT.glob("Pulumi.*.yaml")}
    for name, job in jobs(FOLDER / "preview.yaml").items():
        assert set(job["strategy"]["matrix"]["stack"]) == stacks - {"local"}, name
        assert job["strategy"]["fail-fast"] is False


def test_forks_get_the_preview_without_credentials():
    (job,) = [job for job in jobs(FOLDER / "preview.yaml").values() if open_to_forks(job)]
    assert "if" not in job
    scripts = [step.get("run", "") for step in job["steps"]]
    assert any("make preview STACK=" in script for script in scripts)
    assert any("GITHUB_STEP_SUMMARY" in script for script in scripts)


def test_the_reviewer_sees_the_change_in_cost_against_the_base_branch():
    """A pull request's checkout is its merge into the base: with its parents fetched, the first one is the base."""
    (job,) = [job for job in jobs(FOLDER / "preview.yaml").values() if open_to_forks(job)]
    (checkout,) = [step["with"] for step in job["steps"] if step.get("uses", "").startswith("actions/checkout@")]
    assert checkout["fetch-depth"] == 2
    assert "ref" not in checkout
    (preview,) = [step for step in job["steps"] if "make preview" in step.get("run", "")]
    assert preview["env"]["BASE"] == "HEAD^1"
    assert 'BASE="$BASE"' in preview["run"]


def test_make_hands_the_base_on():
    def recipe(*words: str) -> str:
        command = ["make", "-n", "-o", ".venv/.ready", "preview", "STACK=dev", *words]
        return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout

    assert '--engine auto --base "HEAD^1"' in recipe("BASE=HEAD^1")
    assert "--base" not in recipe()


def test_the_engine_previews_and_edits_its_comment_in_place():
    (job,) = [job for job in jobs(FOLDER / "preview.yaml").values() if not open_to_forks(job)]
    (step,) = [step for step in job["steps"] if step.get("uses", "").startswith("pulumi/actions@")]
    assert step["with"]["command"] == "preview"
    assert step["with"]["comment-on-pr"] is True
    assert step["with"]["edit-pr-comment"] is True
    assert "vars.AWS_ROLE_ARN != ''" in job["if"]


def test_the_engine_has_the_version_of_the_sdk():
    """The step that reads the version from requirements.in finds exactly one."""
    (job,) = [job for job in jobs(FOLDER / "preview.yaml").values() if not open_to_forks(job)]
    (script,) = [step["run"] for step in job["steps"] if step.get("id") == "pins"]
    pattern = re.search(r"s/(\^pulumi==)//p", script)
    found = re.findall(pattern[1] + r"(\S+)$", (ROOT / "requirements.in").read_text(), flags=re.MULTILINE)
    assert len(found) == 1


def test_tests_run_what_continuous_integration_runs():
    scripts = [step.get("run", "") for job in jobs(FOLDER / "test.yaml").values() for step in job["steps"]]
    assert ".ci/run" in scripts
    assert "make lint" in scripts


def test_the_programs_cache_depends_on_everything_that_they_are_built_from():
    (cache,) = [
        step["with"]
        for job in jobs(FOLDER / "test.yaml").values()
        for step in job["steps"]
        if step.get("id") == "programs"
    ]
    patterns = re.findall(r"'([^']+)'", cache["key"])
    assert patterns
    for pattern in patterns:
        assert list(ROOT.glob(pattern)), pattern
    assert "sandbox/modules/**" in patterns
    assert cache["path"] == "~/.cache/gpu-slicing"


# --- renovate -----------------------------------------------------------------------------------------------------


def renovate() -> dict[str, Any]:
    return json.loads((ROOT / "renovate.json").read_text(encoding="utf-8"))


def pinned_by_renovate() -> dict[str, dict[str, str]]:
    """Dependency to the groups that Renovate's own expression finds in versions.py."""
    (manager,) = renovate()["customManagers"]
    (expression,) = manager["matchStrings"]
    # JavaScript and RE2 write a named group without the P.
    found = re.finditer(expression.replace("(?<", "(?P<"), Path(versions.__file__).read_text(encoding="utf-8"))
    return {match["depName"]: match.groupdict() for match in found}


def test_renovate_reads_every_marker():
    """A marker that the expression does not match is skipped without a word, and its pin grows old."""
    markers = re.findall(
        r"^# renovate: datasource=\S+ depName=(\S+)", Path(versions.__file__).read_text(), re.MULTILINE
    )
    assert sorted(pinned_by_renovate()) == sorted(markers)
    assert len(markers) >= 8


def test_renovate_reads_the_version_without_its_prefix():
    found = {name: groups["currentValue"] for name, groups in pinned_by_renovate().items()}
    assert found["awslabs/amazon-eks-ami"] == versions.DEFAULT_AMI.partition("@")[2]
    assert found["nvcr.io/nvidia/cuda"] == versions.CUDA_IMAGE.rpartition(":")[2]
    assert found["NVIDIA/gpu-operator"] == versions.GPU_OPERATOR
    assert found["aws/karpenter-provider-aws"] == versions.KARPENTER
    assert found["amazon-eks"] == versions.KUBERNETES


def test_renovate_reads_what_a_marker_says_of_its_source():
    found = pinned_by_renovate()
    assert found["aws/karpenter-provider-aws"]["extractVersion"] == "^v(?<version>.+)$"
    assert found["aws-efa-k8s-device-plugin"]["registryUrl"] == versions.EKS_CHARTS
    assert found["awslabs/amazon-eks-ami"]["versioning"] == "loose"


def test_renovate_looks_at_files_that_are_there():
    (manager,) = renovate()["customManagers"]
    names = [str(p.relative_to(ROOT)) for p in (*ROOT.glob("gpuslice/catalog/*.py"), *ROOT.glob("requirements*.in"))]
    patterns = manager["managerFilePatterns"] + renovate()["pip_requirements"]["managerFilePatterns"]
    for pattern in patterns:
        assert any(re.search(pattern.strip("/"), name) for name in names), pattern
