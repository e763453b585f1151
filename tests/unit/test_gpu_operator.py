"""The GPU Operator's Helm values and ConfigMaps."""

import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
import yaml

from gpuslice.catalog import instance_types, mig_profiles
from gpuslice.gpu_operator import config_maps, efa_values, merge, mig_config, tolerations, values
from gpuslice.sharing.mig import layout_name, layouts, maximal_layouts
from gpuslice.text import dump
from offline import Recording
from sandbox import mig_manager
from tests.helpers import MIG, SHARED, WHOLE, config_of, pool, pools, recorded, run, stack_of

BOTTLEROCKET = {**SHARED, "name": "t4-rocket", "ami": "bottlerocket@v1.54.0"}
H100 = {
    **MIG,
    "name": "h100-mig",
    "instanceTypes": ["p5.4xlarge"],
    "sharing": {"mode": "mig", "layout": {"1g.10gb": 7}},
}
A100_80 = {**H100, "name": "a100-80", "instanceTypes": ["p4de.24xlarge"]}
TAINTED = {
    **SHARED,
    "name": "fenced",
    "extraTaints": [{"key": "example.com/team", "value": "a", "effect": "NoExecute"}],
}
STRICT = {**SHARED, "isolation": "strict"}
MPS = {**SHARED, "name": "t4-mps", "sharing": {"mode": "mps", "replicas": 4}}
CHART = "GPU_OPERATOR_VALUES"
RELEASE = "kubernetes:helm.sh/v3:Release"


def of(*given: Mapping[str, Any], **sections: Any) -> dict[str, Any]:
    return values(stack_of(*given, **sections), pools(*given))


def release(recording: Recording, name: str = "gpu-operator"):
    (found,) = [r for r in recording.by_type(RELEASE) if r.name == name]
    return found


class TestImages:
    """The AMI decides what of the stack the operator brings (NVIDIA/gpu-operator issue 686)."""

    @pytest.mark.parametrize(
        ("given", "plugin"),
        [((SHARED,), True), ((BOTTLEROCKET,), False), ((SHARED, BOTTLEROCKET), True)],
        ids=["al2023", "bottlerocket", "both"],
    )
    def test_driver_and_toolkit_are_the_amis_and_the_plugin_too_on_bottlerocket(self, given, plugin):
        found = of(*given)
        assert found["driver"] == found["toolkit"] == {"enabled": False}
        assert found["devicePlugin"]["enabled"] is plugin

    def test_beside_al2023_the_labels_keep_the_plugin_off_bottlerocket(self):
        assert pool(BOTTLEROCKET).node_labels["nvidia.com/gpu.deploy.device-plugin"] == "false"
        assert "nvidia.com/gpu.deploy.device-plugin" not in pool(SHARED).node_labels


class TestSharing:
    def test_the_cluster_policy_points_at_the_config_maps(self):
        found = of(SHARED, MIG)
        names = [m["metadata"]["name"] for m in config_maps(pools(SHARED, MIG))]
        assert found["devicePlugin"]["config"] == {"create": False, "name": names[0], "default": "exclusive"}
        assert found["migManager"]["config"] == {"create": False, "name": names[1], "default": "all-disabled"}
        assert names == ["time-slicing-config-fine", "mig-layouts"]

    def test_the_default_of_each_is_an_entry_of_it(self):
        plugin, layouts_ = (m["data"] for m in config_maps(pools(SHARED, MIG)))
        assert "exclusive" in plugin
        assert "all-disabled" in yaml.safe_load(layouts_["config.yaml"])["mig-configs"]

    def test_config_maps_are_in_the_operators_namespace(self):
        assert {m["metadata"]["namespace"] for m in config_maps(pools(MIG))} == {"gpu-operator"}

    def test_without_mig_pools_there_is_no_manager(self):
        assert of(SHARED)["migManager"] == {"enabled": False}
        assert len(config_maps(pools(SHARED))) == 1

    @pytest.mark.parametrize(("given", "strategy"), [((SHARED,), "mixed"), ((MIG, SHARED), "mixed"), ((MPS,), "none")])
    def test_strategy(self, given, strategy):
        assert of(*given)["mig"] == {"strategy": strategy}

    @pytest.mark.parametrize(
        ("given", "reboots"),
        [((MIG,), True), ((A100_80,), True), ((H100,), False), ((H100, MIG), True), ((SHARED,), False)],
        ids=["a100-40", "a100-80", "h100", "both", "none"],
    )
    def test_only_ampere_may_reboot_for_mig(self, given, reboots):
        """NVIDIA/gpu-operator issues 1606 and 668."""
        env = of(*given)["migManager"].get("env", [])
        assert env == ([{"name": "WITH_REBOOT", "value": "true"}] if reboots else [])


class TestMigDocument:
    @pytest.mark.parametrize("base", [MIG, H100, A100_80], ids=lambda b: b["name"])
    def test_the_manager_applies_every_layout_that_fills_a_gpu(self, base):
        found = pool(base)
        text, gpu = dump(mig_config([found])), str(found.gpu.mig_gpu)
        profiles, device = mig_profiles(gpu), str(found.gpu.pci_device_id)
        for layout in maximal_layouts(gpu):
            applied = mig_manager.apply(text, layout_name(gpu, layout), device, found.types[0].devices, profiles)
            assert applied == [layout] * found.types[0].devices

    @pytest.mark.parametrize("base", [MIG, H100, A100_80], ids=lambda b: b["name"])
    def test_every_layout_has_an_entry(self, base):
        """Whatever a node's label says that this program ever wrote: it still resolves."""
        gpu = str(pool(base).gpu.mig_gpu)
        entries = mig_manager.configurations(dump(mig_config([pool(base)])))
        for layout in layouts(gpu):
            (entry,) = entries[layout_name(gpu, layout)]
            assert entry["mig-devices"] == layout

    def test_another_gpu_is_left_alone(self):
        text = dump(mig_config(pools(MIG, H100)))
        name = layout_name("A100-40GB", {"1g.5gb": 7})
        h100 = instance_types()["p5.4xlarge"].gpu
        applied = mig_manager.apply(text, name, str(h100.pci_device_id), 1, mig_profiles("H100-80GB"))
        assert applied == [None]

    def test_all_disabled_takes_every_gpu_out_of_mig(self):
        text = dump(mig_config(pools(MIG)))
        assert mig_manager.apply(text, "all-disabled", "0x20B0", 8, mig_profiles("A100-40GB")) == [None] * 8

    def test_the_order_of_pools_changes_nothing(self):
        assert mig_config(pools(MIG, H100)) == mig_config(pools(H100, MIG))

    def test_a_config_map_has_room_for_every_gpu(self):
        """Kubernetes takes 1 MiB."""
        types = ["p4d.24xlarge", "p4de.24xlarge", "p5.4xlarge", "p5e.48xlarge", "p6-b200.48xlarge", "p6-b300.48xlarge"]
        given = []
        for index, name in enumerate(types):
            first = layouts(str(instance_types()[name].gpu.mig_gpu))[0]
            sharing = {"mode": "mig", "layout": dict(first)}
            given.append({"name": f"p{index}", "instanceTypes": [name], "sharing": sharing})
        assert sum(len(dump(m)) for m in config_maps(pools(*given))) < 600_000


class TestTolerations:
    PLACES = (("daemonsets",), ("node-feature-discovery", "worker"))

    @pytest.mark.parametrize("place", PLACES, ids=lambda p: p[0])
    def test_every_taint_of_every_pool_in_both_places(self, place):
        """Both lists replace the chart's own, and a taint that is missed in one leaves nodes unsliced."""
        found = of(SHARED, MIG, TAINTED)
        for key in place:
            found = found[key]
        assert found["tolerations"] == [
            {"key": "nvidia.com/gpu", "operator": "Exists", "effect": "NoSchedule"},
            {"key": "gpu-slicing.io/pool", "operator": "Exists", "effect": "NoSchedule"},
            {"key": "example.com/team", "operator": "Exists", "effect": "NoExecute"},
        ]

    def test_each_taint_is_tolerated_by_kubernetes_own_rule(self):
        given = pools(SHARED, MIG, TAINTED, WHOLE)
        for found in given:
            for taint in found.taints:
                assert any(
                    t["key"] == taint["key"] and t["effect"] == taint["effect"] and t["operator"] == "Exists"
                    for t in tolerations(given)
                )

    def test_a_taint_of_many_pools_is_tolerated_once(self):
        second = {**MIG, "name": "more-mig"}
        keys = [(t["key"], t["effect"]) for t in tolerations(pools(MIG, second))]
        assert len(keys) == len(set(keys)) == 2

    def test_one_key_with_two_effects_is_tolerated_twice(self):
        both = [{"key": "example.com/a", "effect": e} for e in ("NoSchedule", "NoExecute")]
        found = tolerations(pools({**SHARED, "extraTaints": both}))
        assert [t["effect"] for t in found if t["key"] == "example.com/a"] == ["NoSchedule", "NoExecute"]

    def test_the_gpu_taint_is_tolerated_without_pools(self):
        assert [t["key"] for t in tolerations([])] == ["nvidia.com/gpu"]


class TestMonitoring:
    def test_the_exporter_is_always_on_and_labels_sharing_pods_with_monitoring(self):
        on, off = of(SHARED)["dcgmExporter"], of(SHARED, monitoring={"enabled": False})["dcgmExporter"]
        assert on["enabled"] is off["enabled"] is True
        assert on["serviceMonitor"] == {"enabled": True}
        assert off["serviceMonitor"] == {"enabled": False}
        assert on["env"] == [{"name": "KUBERNETES_VIRTUAL_GPUS", "value": "true"}]
        assert "env" not in off


class TestOwnValues:
    def test_they_come_last_and_merge_deep(self):
        own = {"dcgmExporter": {"serviceMonitor": {"interval": "30s"}}, "cdi": {"enabled": False}}
        found, derived = of(SHARED, gpuOperator={"values": own}), of(SHARED)
        assert found["dcgmExporter"]["serviceMonitor"] == {"enabled": True, "interval": "30s"}
        assert found["dcgmExporter"]["env"] == derived["dcgmExporter"]["env"]
        assert found["cdi"] == {"enabled": False}
        assert found["devicePlugin"] == derived["devicePlugin"]

    def test_they_win(self):
        own = {"dcgmExporter": {"enabled": False}}
        assert of(SHARED, gpuOperator={"values": own})["dcgmExporter"]["enabled"] is False

    @pytest.mark.parametrize(
        ("base", "over", "merged"),
        [
            ({"a": {"b": 1, "c": 2}}, {"a": {"b": 3}}, {"a": {"b": 3, "c": 2}}),
            ({"a": [1, 2]}, {"a": [3]}, {"a": [3]}),
            ({"a": {"b": 1}}, {"a": 2}, {"a": 2}),
            ({"a": 1}, {"a": {"b": 2}}, {"a": {"b": 2}}),
            ({"a": {"b": {"c": 1}}}, {"a": {"b": {"d": 2}}}, {"a": {"b": {"c": 1, "d": 2}}}),
            ({}, {"a": 1}, {"a": 1}),
        ],
    )
    def test_merge(self, base, over, merged):
        before = yaml.safe_dump(base)
        assert merge(base, over) == merged
        assert yaml.safe_dump(base) == before


class TestRelease:
    def test_the_release_is_given_the_values(self):
        report = recorded("prod")
        found = release(report.recording).inputs
        assert found["values"] == values(report.settings, pools(*_plain(report.settings)))
        assert found["version"] == report.settings.gpu_operator.version
        assert found["namespace"] == "gpu-operator"

    def test_its_namespace_lets_operands_mount_host_paths(self):
        (namespace,) = [
            r for r in recorded("prod").recording.by_type("kubernetes:core/v1:Namespace") if r.name == "gpu-operator"
        ]
        assert namespace.inputs["metadata"]["labels"]["pod-security.kubernetes.io/enforce"] == "privileged"

    def test_efa_brings_its_plugin_with_every_toleration(self):
        efa = {**WHOLE, "efa": True}
        found = release(run(config_of({"pools": [efa, MIG]})), "aws-efa-k8s-device-plugin")
        assert found.inputs["values"] == efa_values(pools(efa, MIG))
        assert [t["key"] for t in found.inputs["values"]["tolerations"]] == ["nvidia.com/gpu", "gpu-slicing.io/pool"]
        names = {r.name for r in run(config_of({"pools": [WHOLE]})).by_type(RELEASE)}
        assert "aws-efa-k8s-device-plugin" not in names


def _plain(settings) -> list[dict[str, Any]]:
    return [p.model_dump(by_alias=True, mode="json", exclude_none=True) for p in settings.pools]


def paths(data: Mapping[str, Any], above: tuple[str, ...] = ()) -> Iterator[tuple[str, ...]]:
    """The path of every leaf; lists are leaves."""
    for key, value in data.items():
        if isinstance(value, Mapping) and value:
            yield from paths(value, (*above, key))
        else:
            yield (*above, key)


def absent(chart: Mapping[str, Any], path: tuple[str, ...]) -> bool:
    """Whether a chart's default values have no such key: Helm would take the value and nothing would read it."""
    found: Any = chart
    for key in path:
        if not isinstance(found, Mapping) or key not in found:
            return True
        found = found[key]
    return False


@pytest.mark.skipif(CHART not in os.environ, reason=f"{CHART} does not name the chart's values.yaml (v26.7)")
@pytest.mark.parametrize("given", [(SHARED, MIG, TAINTED, WHOLE), (BOTTLEROCKET,), (MPS,), (H100,), (STRICT,)])
def test_every_value_is_one_that_the_chart_knows(given):
    chart = yaml.safe_load(Path(os.environ[CHART]).read_text(encoding="utf-8"))
    found = of(*given)
    assert len(list(paths(found))) > 8
    assert [path for path in paths(found) if absent(chart, path)] == []
    assert absent(chart, ("devicePlugin", "configs"))
