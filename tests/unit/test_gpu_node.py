"""The GPU stack of one simulated node, step by step, with a clock of the test's own."""

from __future__ import annotations

from dataclasses import replace

import pytest
import yaml

from gpuslice.catalog import instance_types
from sandbox.account import GpuStack
from sandbox.device_plugin import PluginError
from sandbox.nodes import (
    MIG_ERROR,
    MIG_LABEL,
    MIG_STATE_LABEL,
    PLUGIN_ERROR,
    PLUGIN_LABEL,
    Delays,
    GpuNode,
    Surroundings,
    View,
    bottlerocket_config,
    bottlerocket_user_data,
    disk_size,
    holds_whole_gpu,
    machine_resources,
    metadata_change,
    node_manifest,
    status_change,
)

STACK = GpuStack(plugin_config_map="plugin", plugin_default="exclusive", mig_config_map="mig", mig_strategy="mixed")
SHARING = {"renameByDefault": True, "resources": [{"name": "nvidia.com/gpu", "replicas": 4}]}
LAYOUT = {"devices": "all", "mig-enabled": True, "mig-devices": {"1g.5gb": 3, "2g.10gb": 2}}
MAPS = {
    "plugin": {
        "exclusive": "version: v1",
        "time-slicing-4": yaml.safe_dump({"version": "v1", "sharing": {"timeSlicing": SHARING}}),
        "broken": "version: v2",
    },
    "mig": {"config.yaml": yaml.safe_dump({"version": "v1", "mig-configs": {"a100": [LAYOUT]}})},
}
DELAYS = Delays(labels=1, plugin=2, mig=10)


def node(kind: str = "g4dn.12xlarge", **options: object) -> GpuNode:
    return GpuNode(instance_types()[kind], 0.0, DELAYS, **options)


def seen(**labels: str) -> Surroundings:
    return Surroundings({key.replace("__", "/"): value for key, value in labels.items()}, STACK, MAPS)


def sliced(label: str = "time-slicing-4") -> Surroundings:
    return replace(seen(), labels={PLUGIN_LABEL: label})


def mig(label: str = "a100", **options: object) -> Surroundings:
    return replace(seen(), labels={MIG_LABEL: label}, **options)


def test_labels_come_first_then_the_slices():
    gpu_node = node()
    assert gpu_node.step(0.5, sliced()) == View()
    early = gpu_node.step(1.5, sliced())
    assert early.labels["nvidia.com/gpu.present"] == "true"
    assert not early.resources
    assert gpu_node.step(2, sliced()).resources == {"nvidia.com/gpu.shared": 16}


def test_without_a_label_the_default_counts():
    assert node().step(3, seen()).resources == {"nvidia.com/gpu": 4}


def test_a_fraction_of_a_gpu_is_one_device():
    assert node("g6f.large").step(3, seen()).resources == {"nvidia.com/gpu": 1}


def test_a_label_without_a_configuration_leaves_the_node_without_gpus():
    view = node().step(3, sliced("time-slicing-5"))
    assert not view.resources
    assert view.errors == {PLUGIN_ERROR: "specified config time-slicing-5 does not exist"}


def test_a_broken_configuration_leaves_the_node_without_gpus():
    view = node().step(3, sliced("broken"))
    assert not view.resources
    gpu_node = node()
    gpu_node.step(3, sliced("broken"))
    assert gpu_node.step(4, sliced("broken")).errors == {PLUGIN_ERROR: "unknown version: v2"}


def test_the_plugin_recovers_when_the_configuration_appears():
    gpu_node = node()
    assert gpu_node.step(3, replace(sliced(), maps={})).errors == {PLUGIN_ERROR: 'configmap "plugin" not found'}
    assert gpu_node.step(4, sliced()).resources == {"nvidia.com/gpu.shared": 16}


def test_an_edited_config_map_changes_nothing_on_a_live_node_but_a_label_does():
    gpu_node = node()
    gpu_node.step(3, sliced())
    edited = replace(sliced(), maps={**MAPS, "plugin": {**MAPS["plugin"], "time-slicing-4": "version: v1"}})
    assert gpu_node.step(4, edited).resources == {"nvidia.com/gpu.shared": 16}
    assert gpu_node.step(5, sliced("exclusive")).resources == {"nvidia.com/gpu": 4}


def test_mig_shows_whole_gpus_first_then_nothing_then_slices():
    gpu_node = node("p4d.24xlarge")
    whole = gpu_node.step(2, mig())
    assert whole.resources == {"nvidia.com/gpu": 8}
    assert MIG_STATE_LABEL not in whole.labels
    assert gpu_node.step(11, mig()).resources == {"nvidia.com/gpu": 8}
    pending = gpu_node.step(12, mig())
    assert pending.labels[MIG_STATE_LABEL] == "pending"
    assert not pending.resources
    done = gpu_node.step(13, mig())
    assert done.labels[MIG_STATE_LABEL] == "success"
    assert done.resources == {"nvidia.com/mig-1g.5gb": 24, "nvidia.com/mig-2g.10gb": 16}


def test_mig_can_be_held():
    gpu_node = node("p4d.24xlarge")
    for time in (2, 100, 1000):
        assert gpu_node.step(time, mig(hold_mig=True)).resources == {"nvidia.com/gpu": 8}
    gpu_node.step(1001, mig())
    assert "nvidia.com/mig-1g.5gb" in gpu_node.step(1002, mig()).resources


@pytest.mark.parametrize(
    ("surroundings", "message"),
    [
        (mig("h100"), "selected mig-config not present: h100"),
        (mig(maps={"plugin": MAPS["plugin"]}), 'configmap "mig" with key config.yaml not found'),
        (
            mig(whole_gpu_pods=lambda: 1),
            "error setting MIGConfig: error clearing MigConfig: In use by another client",
        ),
    ],
)
def test_a_failed_layout_leaves_whole_gpus(surroundings, message):
    gpu_node = node("p4d.24xlarge")
    for time in (2, 12):
        gpu_node.step(time, surroundings)
    view = gpu_node.step(13, surroundings)
    assert view.labels[MIG_STATE_LABEL] == "failed"
    assert view.errors == {MIG_ERROR: message}
    assert view.resources == {"nvidia.com/gpu": 8}


def test_a_gpu_without_mig_ignores_the_label():
    gpu_node = node("g5.xlarge")
    for time in (2, 12, 13):
        view = gpu_node.step(time, mig())
    assert view.resources == {"nvidia.com/gpu": 1}
    assert MIG_STATE_LABEL not in view.labels


def bottlerocket(**settings: object) -> str:
    lines = ["[settings.kubelet-device-plugins.nvidia]", 'device-sharing-strategy = "time-slicing"']
    lines += ["[settings.kubelet-device-plugins.nvidia.time-slicing]"]
    lines += [f"{key.replace('_', '-')} = {str(value).lower()}" for key, value in settings.items()]
    return "\n".join(lines)


def test_bottlerocket_reads_its_user_data_and_no_config_map():
    gpu_node = node(bottlerocket=bottlerocket(replicas=3, rename_by_default=True))
    assert gpu_node.step(3, sliced("missing")).resources == {"nvidia.com/gpu.shared": 12}
    assert node(bottlerocket="").step(3, seen()).resources == {"nvidia.com/gpu": 4}


def test_bottlerocket_refuses_what_is_wrong():
    with pytest.raises(PluginError, match="Bottlerocket refuses its user data"):
        bottlerocket_config("not toml")
    assert PLUGIN_ERROR in node(bottlerocket=bottlerocket()).step(3, seen()).errors
    broken = node(bottlerocket=bottlerocket(replicas=1))
    broken.step(3, seen())
    assert broken.step(4, seen()).errors == {PLUGIN_ERROR: "number of replicas must be >= 2"}


def test_which_node_class_is_bottlerocket():
    def node_class(**spec: object) -> dict[str, object]:
        return {"spec": spec}

    assert bottlerocket_user_data(node_class(amiSelectorTerms=[{"alias": "al2023@v1"}], userData="x")) is None
    term = [{"alias": "bottlerocket@v1.50.0"}]
    assert bottlerocket_user_data(node_class(amiSelectorTerms=term, userData="x")) == "x"
    assert bottlerocket_user_data(node_class(amiSelectorTerms=term)) == ""
    assert bottlerocket_user_data(node_class(amiFamily="Bottlerocket", amiSelectorTerms=[{"id": "a"}])) == ""


def test_machine_resources_leave_room_for_the_system():
    capacity, allocatable = machine_resources(4, 16384, 29, "100Gi")
    assert capacity["cpu"] == "4"
    assert allocatable["cpu"] == "3920m"
    assert capacity["memory"] == "15155Mi"
    assert allocatable["memory"] == f"{15155 - 11 * 29 - 255 - 100}Mi"
    assert capacity["pods"] == allocatable["pods"] == "29"


def test_the_disk_is_the_volume_for_the_pods_data():
    first = {"deviceName": "/dev/xvda", "ebs": {"volumeSize": "4Gi"}}
    second = {"deviceName": "/dev/xvdb", "ebs": {"volumeSize": "100Gi"}}
    bottlerocket_alias = [{"alias": "bottlerocket@v1.50.0"}]
    assert disk_size({"spec": {"blockDeviceMappings": [first, second]}}) == "4Gi"
    assert disk_size({"spec": {"blockDeviceMappings": [first, {**second, "rootVolume": True}]}}) == "100Gi"
    spec = {"amiSelectorTerms": bottlerocket_alias, "blockDeviceMappings": [first, second]}
    assert disk_size({"spec": spec}) == "100Gi"
    assert disk_size({"spec": {}}) == "20Gi"


def test_a_node_registers_as_karpenter_expects():
    taint = {"key": "nvidia.com/gpu", "value": "true", "effect": "NoSchedule"}
    claim = {
        "metadata": {"labels": {"karpenter.sh/nodepool": "t4", "kubernetes.io/arch": "amd64"}},
        "spec": {"taints": [taint], "startupTaints": [{"key": "wait", "effect": "NoSchedule"}]},
        "status": {"providerID": "aws:///us-east-1a/i-1", "capacity": {"nvidia.com/gpu.shared": "4"}},
    }
    instance = {"private_dns_name": "ip-10-0-0-4.ec2.internal", "private_ip": "10.0.0.4"}
    manifest = node_manifest(claim, instance, {}, machine_resources(4, 16384, 29, "20Gi"))
    assert manifest["metadata"]["name"] == "ip-10-0-0-4.ec2.internal"
    assert manifest["metadata"]["labels"]["karpenter.sh/nodepool"] == "t4"
    assert manifest["spec"]["providerID"] == "aws:///us-east-1a/i-1"
    keys = [each["key"] for each in manifest["spec"]["taints"]]
    assert keys == ["nvidia.com/gpu", "wait", "karpenter.sh/unregistered"]
    assert not any(name.startswith("nvidia.com/") for name in manifest["status"]["capacity"])


def test_only_differences_are_written():
    node_now = {
        "metadata": {"labels": {"a": "1"}, "annotations": {PLUGIN_ERROR: "old"}},
        "status": {"capacity": {"cpu": "4", "nvidia.com/gpu": "8"}, "allocatable": {"nvidia.com/gpu": "8"}},
    }
    assert status_change(node_now, {"nvidia.com/gpu": 8}) is None
    change = {"nvidia.com/mig-1g.5gb": "56", "nvidia.com/gpu": "0"}
    assert status_change(node_now, {"nvidia.com/mig-1g.5gb": 56}) == {"capacity": change, "allocatable": change}
    assert metadata_change(node_now, View({"a": "1"}, {}, {PLUGIN_ERROR: "old"})) is None
    assert metadata_change(node_now, View({"a": "2"})) == {"labels": {"a": "2"}, "annotations": {PLUGIN_ERROR: None}}


def test_which_pods_hold_a_whole_gpu():
    def pod(resource: str, phase: str = "Running") -> dict[str, object]:
        return {"spec": {"containers": [{"resources": {"limits": {resource: "1"}}}]}, "status": {"phase": phase}}

    assert holds_whole_gpu(pod("nvidia.com/gpu"))
    assert not holds_whole_gpu(pod("nvidia.com/gpu", "Succeeded"))
    assert not holds_whole_gpu(pod("nvidia.com/gpu.shared"))
