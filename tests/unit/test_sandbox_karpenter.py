"""How Karpenter is started in the sandbox, and the change that keeps it on loopback."""

from __future__ import annotations

from pathlib import Path

import pytest

from sandbox import SandboxError, loopback
from sandbox.build import MODULES
from sandbox.karpenter import Options, command

OPTIONS = Options(
    kubeconfig=Path("/somewhere/kubeconfig"),
    cluster_name="prod",
    cluster_endpoint="https://127.0.0.1:6443",
    aws_endpoint="http://127.0.0.1:4000",
    pricing_endpoint="http://127.0.0.1:4001",
    region="eu-west-1",
    interruption_queue="prod-karpenter",
    metrics_port=8000,
    probe_port=8001,
)


def test_the_command_names_everything_and_reaches_nothing_else():
    argv, environment = command(Path("/bin/karpenter"), OPTIONS)
    assert argv == ["/bin/karpenter"]
    expected = {
        "KUBECONFIG": "/somewhere/kubeconfig",
        "CLUSTER_NAME": "prod",
        "CLUSTER_ENDPOINT": "https://127.0.0.1:6443",
        "AWS_ENDPOINT_URL": "http://127.0.0.1:4000",
        "AWS_ENDPOINT_URL_PRICING": "http://127.0.0.1:4001",
        "AWS_REGION": "eu-west-1",
        "INTERRUPTION_QUEUE": "prod-karpenter",
        "FEATURE_GATES": "NodeOverlay=true",
        "DISABLE_LEADER_ELECTION": "true",
        "METRICS_PORT": "8000",
        "HEALTH_PROBE_PORT": "8001",
        "AWS_EC2_METADATA_DISABLED": "true",
    }
    assert expected.items() <= environment.items()
    assert not {"BATCH_IDLE_DURATION", "BATCH_MAX_DURATION"} & set(environment)


def core(folder: Path, source: str) -> Path:
    module = folder / "core"
    operator = module / "pkg/operator/operator.go"
    operator.parent.mkdir(parents=True)
    operator.write_text(source)
    operator.chmod(0o444)
    (module / "go.mod").write_text("module sigs.k8s.io/karpenter\n")
    return module


def test_both_listeners_move_to_loopback(tmp_path):
    source = 'a := fmt.Sprintf(":%d", one)\nb := fmt.Sprintf(":%d", two)\n'
    changed = loopback.modfile(core(tmp_path, source), MODULES / "karpenter", tmp_path)
    copy = tmp_path / "karpenter-core"
    text = (copy / "pkg/operator/operator.go").read_text()
    assert text == source.replace(":%d", "127.0.0.1:%d")
    assert f'replace sigs.k8s.io/karpenter => "{copy}"' in changed.read_text().splitlines()
    assert changed.with_suffix(".sum").read_bytes() == (MODULES / "karpenter/go.sum").read_bytes()


def test_a_karpenter_that_listens_in_another_way_is_noticed(tmp_path):
    with pytest.raises(SandboxError, match="expected 2 listeners"):
        loopback.modfile(core(tmp_path, 'fmt.Sprintf(":%d", one)'), MODULES / "karpenter", tmp_path)
