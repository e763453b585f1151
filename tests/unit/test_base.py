"""The stack as it was: another file, or the stack's file in a revision of git."""

import shutil
import subprocess

import pytest
import yaml

from offline import base as module
from offline.base import BaseRefused, GitFailed, find_base
from tests.helpers import SHARED, config_of

NAME = "Pulumi.dev.yaml"


def stack_text(nodes: int = 10, **pool) -> str:
    return yaml.safe_dump({"config": config_of({"pools": [{**SHARED, "limits": {"nodes": nodes}, **pool}]})})


def git(folder, *arguments: str) -> None:
    given = ("-c", "user.name=t", "-c", "user.email=t@example.com", "-c", "commit.gpgsign=false", *arguments)
    subprocess.run(["git", "-C", str(folder), *given], check=True, capture_output=True)


def commit(folder, text: str | None) -> None:
    path = folder / NAME
    if text is None:
        path.unlink(missing_ok=True)
    else:
        path.write_text(text, encoding="utf-8")
    git(folder, "add", "-A")
    git(folder, "commit", "--allow-empty", "-m", "x")


@pytest.fixture
def repository(tmp_path, monkeypatch):
    """Three commits of the project in a folder of a repository: no stack file, one with 3 nodes, one with 5."""
    if shutil.which("git") is None:
        pytest.skip("needs git")
    for name in ("GIT_DIR", "GIT_WORK_TREE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("GIT_CONFIG_GLOBAL", "/dev/null")
    root = tmp_path / "repository" / "platform"
    root.mkdir(parents=True)
    git(root.parent, "init", "-q", "-b", "main")
    (root / "README.md").write_text("the platform\n", encoding="utf-8")
    for text in (None, stack_text(3), stack_text(5)):
        commit(root, text)
    return root


def nodes(found) -> int:
    return found.settings.pools[0].limits.nodes


def test_a_revision_is_the_file_as_it_was_there_and_not_as_it_is(repository):
    (repository / NAME).write_text(stack_text(99))
    assert nodes(find_base(repository, "dev", "main")) == 5
    found = find_base(repository, "dev", "HEAD^1")
    assert nodes(found) == 3
    assert found.label.startswith("HEAD^1 (")
    assert len(found.label) == len("HEAD^1 (1234567)")
    assert not found.new


def test_a_stack_without_a_file_there_is_new(repository):
    found = find_base(repository, "dev", "main~2")
    assert (found.settings, found.problem, found.new) == (None, "", True)


def test_a_file_is_read_by_its_own_name(tmp_path):
    """Which rules hold depends on the stack's name: `@latest` is for local and dev alone."""
    for name in ("Pulumi.dev.yaml", "Pulumi.prod.yaml"):
        (tmp_path / name).write_text(stack_text(7, ami="al2023@latest"))
    found = find_base(tmp_path, "prod", str(tmp_path / "Pulumi.dev.yaml"))
    assert (nodes(found), found.label) == (7, str(tmp_path / "Pulumi.dev.yaml"))
    assert "@latest" in find_base(tmp_path, "dev", str(tmp_path / "Pulumi.prod.yaml")).problem


def test_a_file_comes_before_a_revision_of_the_same_name(repository, monkeypatch):
    monkeypatch.chdir(repository)
    (repository / "main").write_text(stack_text(9))
    assert nodes(find_base(repository, "dev", "main")) == 9
    assert nodes(find_base(repository, "dev", "refs/heads/main")) == 5


@pytest.mark.parametrize("text", ["config: [", stack_text(5, replcas=2), "config: {a: 1}}"])
def test_a_base_that_is_refused_today_is_no_error(repository, text):
    commit(repository, text)
    found = find_base(repository, "dev", "main")
    assert (found.settings, found.new) == (None, False)
    assert "Pulumi.dev.yaml" in found.problem or "gpu-slicing:pools[0].replcas" in found.problem


def test_of_many_problems_a_few_are_shown(repository):
    commit(repository, stack_text(5, **{f"unknown{i}": i for i in range(8)}))
    lines = find_base(repository, "dev", "main").problem.splitlines()
    assert (len(lines), lines[-1]) == (6, "... and 3 more")


@pytest.mark.parametrize("given", ["nonsense", "origin/main", "HEAD:Pulumi.dev.yaml", "none.yaml", "a\nb", "^HEAD"])
def test_what_is_neither_a_file_nor_a_revision_is_refused(repository, given):
    with pytest.raises(BaseRefused, match=r"is neither a file nor a revision that git knows\. Allowed: the path of a"):
        find_base(repository, "dev", given)


@pytest.mark.parametrize("given", ["", " ", "-h", "--output=/tmp/x"])
def test_nothing_and_options_are_refused_before_git_sees_them(repository, given, monkeypatch):
    monkeypatch.setattr(module, "_git", None)
    with pytest.raises(BaseRefused, match="Allowed: the path of a stack file, or a revision"):
        find_base(repository, "dev", given)


def test_a_shallow_clone_says_that_it_is_one(repository, tmp_path):
    git(tmp_path, "clone", "-q", "--depth", "1", f"file://{repository.parent}", str(tmp_path / "clone"))
    with pytest.raises(BaseRefused, match="This clone is shallow: fetch the revision first"):
        find_base(tmp_path / "clone" / "platform", "dev", "HEAD^1")


def test_depth_two_holds_the_base_of_a_merge(repository, tmp_path):
    """As the workflow checks out: the merge of a pull request, whose first parent is the base."""
    git(repository, "checkout", "-q", "-b", "change", "HEAD^1")
    commit(repository, stack_text(8))
    git(repository, "checkout", "-q", "main")
    git(repository, "merge", "-q", "-X", "theirs", "change")
    git(tmp_path, "clone", "-q", "--depth", "2", f"file://{repository.parent}", str(tmp_path / "clone"))
    clone = tmp_path / "clone" / "platform"
    assert (nodes(find_base(clone, "dev", "HEAD")), nodes(find_base(clone, "dev", "HEAD^1"))) == (8, 5)


@pytest.mark.skipif(shutil.which("git") is None, reason="needs git")
def test_outside_a_repository(tmp_path, monkeypatch):
    monkeypatch.setenv("GIT_CEILING_DIRECTORIES", str(tmp_path.parent))
    with pytest.raises(GitFailed, match=r"base main: there is no such file, .* not a git repository"):
        find_base(tmp_path, "dev", "main")


def test_an_object_that_git_cannot_read_is_said(repository):
    """As in a clone that has no file contents yet, and no network."""
    for blob in (repository.parent / ".git" / "objects").glob("??/*"):
        found = subprocess.run(
            ["git", "-C", str(repository), "cat-file", "-t", blob.parent.name + blob.name], capture_output=True
        )
        if found.stdout == b"blob\n":
            blob.unlink()
    with pytest.raises(GitFailed, match=r"git show failed: .*bad object|git show failed: .*unable to read"):
        find_base(repository, "dev", "main")


def test_without_git(tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(GitFailed, match="git is not installed: give the path of a stack file"):
        find_base(tmp_path, "dev", "main")
