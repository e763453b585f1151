"""What a pool derives: resources, slices, overlays, limits, labels, taints and memory."""

import re
from fractions import Fraction

import pytest

from gpuslice.catalog import instance_types
from gpuslice.pools import Pool, SliceResource, warnings
from gpuslice.reserves import CONTEXT_RESERVE_MIB
from tests.helpers import MIG, SHARED, WHOLE, pool

T4_MIB = 16384


def shared(**sharing) -> Pool:
    return pool(sharing={"mode": "time-slicing", "replicas": 4, **sharing})


class TestResources:
    def test_time_slicing(self):
        assert shared().resources == (
            SliceResource("nvidia.com/gpu.shared", 4, T4_MIB // 4 - CONTEXT_RESERVE_MIB, Fraction(1, 4)),
        )

    def test_without_renaming_a_slice_has_the_name_of_a_gpu(self):
        assert [r.name for r in shared(rename=False).resources] == ["nvidia.com/gpu"]

    def test_mps_is_as_time_slicing(self):
        assert shared(mode="mps").resources == shared().resources

    def test_mig_profiles_in_the_catalogues_order(self):
        layout = {"2g.10gb": 2, "1g.5gb": 3}
        resources = pool(MIG, sharing={"mode": "mig", "layout": layout}).resources
        assert [(r.name, r.per_gpu, r.profile) for r in resources] == [
            ("nvidia.com/mig-1g.5gb", 3, "1g.5gb"),
            ("nvidia.com/mig-2g.10gb", 2, "2g.10gb"),
        ]

    def test_a_profile_with_media_has_a_dot_where_the_profile_has_a_plus(self):
        resources = pool(MIG, sharing={"mode": "mig", "layout": {"1g.5gb+me": 1}}).resources
        assert [r.name for r in resources] == ["nvidia.com/mig-1g.5gb.me"]

    def test_whole_gpus(self):
        assert [(r.name, r.per_gpu, r.price_share) for r in pool(WHOLE).resources] == [("nvidia.com/gpu", 1, 1)]

    def test_memory_is_the_least_over_the_types(self):
        mixed = pool(instanceTypes=["g5.xlarge", "g4dn.xlarge"])
        assert mixed.resources[0].memory_mib == T4_MIB // 4 - CONTEXT_RESERVE_MIB

    def test_a_mig_slice_has_its_profiles_memory(self):
        (resource,) = pool(MIG).resources
        assert resource.memory_mib == 5 * 1024 - CONTEXT_RESERVE_MIB

    @pytest.mark.parametrize(
        ("base", "isolation"), [(SHARED, "none"), (MIG, "hardware"), (WHOLE, "hardware")], ids=lambda v: str(v)[:20]
    )
    def test_isolation(self, base, isolation):
        assert pool(base).isolation == isolation

    def test_mps_isolates_no_faults(self):
        assert shared(mode="mps").isolation == "none"


class TestOverlays:
    def test_one_for_each_number_of_gpus(self):
        found = pool(instanceTypes=["g4dn.12xlarge", "g4dn.xlarge", "g4dn.2xlarge", "g4dn.metal"]).overlays
        assert [(o.name, o.instance_types, dict(o.capacity)) for o in found] == [
            ("t4-shared-1gpu", ("g4dn.xlarge", "g4dn.2xlarge"), {"nvidia.com/gpu": 0, "nvidia.com/gpu.shared": 4}),
            ("t4-shared-4gpu", ("g4dn.12xlarge",), {"nvidia.com/gpu": 0, "nvidia.com/gpu.shared": 16}),
            ("t4-shared-8gpu", ("g4dn.metal",), {"nvidia.com/gpu": 0, "nvidia.com/gpu.shared": 32}),
        ]

    def test_a_renamed_slice_hides_the_whole_gpu_and_a_plain_one_replaces_it(self):
        assert dict(shared(rename=True).overlays[0].capacity) == {"nvidia.com/gpu": 0, "nvidia.com/gpu.shared": 4}
        assert dict(shared(rename=False).overlays[0].capacity) == {"nvidia.com/gpu": 4}

    def test_mig(self):
        (overlay,) = pool(MIG, sharing={"mode": "mig", "layout": {"1g.5gb": 3, "2g.10gb": 2}}).overlays
        assert dict(overlay.capacity) == {
            "nvidia.com/gpu": 0,
            "nvidia.com/mig-1g.5gb": 24,
            "nvidia.com/mig-2g.10gb": 16,
        }

    def test_whole_gpus_need_none(self):
        assert pool(WHOLE).overlays == []

    def test_a_fraction_of_a_gpu_needs_one_as_ec2_counts_none(self):
        """EC2 reports 0 GPUs for g6f (karpenter.sh, NodeOverlays)."""
        (overlay,) = pool(WHOLE, instanceTypes=["g6f.large", "g6f.xlarge"]).overlays
        assert dict(overlay.capacity) == {"nvidia.com/gpu": 1}

    def test_capacity_is_what_a_node_of_each_type_shows(self):
        wide = pool(instanceTypes=["g4dn.xlarge", "g4dn.12xlarge", "g4dn.metal"])
        for overlay in wide.overlays:
            for name in overlay.instance_types:
                slices = wide.slices(instance_types()[name])
                assert dict(overlay.capacity) == {"nvidia.com/gpu": 0} | slices


class TestLimits:
    def test_nodes_and_slices_of_the_largest_type(self):
        found = pool(instanceTypes=["g4dn.xlarge", "g4dn.12xlarge"], limits={"nodes": 3}).limits
        assert found == {"nodes": 3, "nvidia.com/gpu.shared": 3 * 16}

    def test_the_default_is_never_less_than_a_node(self):
        """A limit below one node's slices filters out every instance type, and nothing is ever bought."""
        for base in (SHARED, MIG, WHOLE):
            one = pool(base)
            for t in one.types:
                for resource, quantity in one.slices(t).items():
                    assert one.limits[resource] >= quantity

    def test_one_limit_for_each_profile(self):
        found = pool(MIG, sharing={"mode": "mig", "layout": {"1g.5gb": 3, "2g.10gb": 2}}, limits={"nodes": 2}).limits
        assert found == {"nodes": 2, "nvidia.com/mig-1g.5gb": 48, "nvidia.com/mig-2g.10gb": 32}


class TestLabelsAndTaints:
    @pytest.mark.parametrize(
        ("given", "label"),
        [
            (shared(), ("nvidia.com/device-plugin.config", "time-slicing-4")),
            (shared(rename=False), ("nvidia.com/device-plugin.config", "time-slicing-4-plain")),
            (shared(mode="mps"), ("nvidia.com/device-plugin.config", "mps-4")),
            (pool(WHOLE), ("nvidia.com/device-plugin.config", "exclusive")),
            (pool(MIG), ("nvidia.com/mig.config", "a100-40gb.1g.5gb-7")),
        ],
        ids=["time-slicing", "plain", "mps", "exclusive", "mig"],
    )
    def test_the_label_names_the_configuration_by_its_content(self, given, label):
        assert given.config_label == label
        assert given.node_labels[label[0]] == label[1]
        assert given.node_labels["gpu-slicing.io/pool"] == given.name

    def test_every_pool_has_the_gpu_taint_and_mig_one_of_its_own(self):
        gpu = {"key": "nvidia.com/gpu", "value": "true", "effect": "NoSchedule"}
        own = {"key": "gpu-slicing.io/pool", "value": "a100-mig", "effect": "NoSchedule"}
        assert pool(SHARED).taints == [gpu]
        assert pool(WHOLE).taints == [gpu]
        assert pool(MIG).taints == [gpu, own]

    def test_tolerations_are_the_taints(self):
        extra = [
            {"key": "example.com/team", "value": "vision", "effect": "NoExecute"},
            {"key": "example.com/soon", "effect": "PreferNoSchedule"},
        ]
        found = pool(MIG, extraTaints=extra)
        assert [(t["key"], t["operator"], t.get("value"), t["effect"]) for t in found.tolerations] == [
            ("nvidia.com/gpu", "Equal", "true", "NoSchedule"),
            ("gpu-slicing.io/pool", "Equal", "a100-mig", "NoSchedule"),
            ("example.com/team", "Equal", "vision", "NoExecute"),
            ("example.com/soon", "Exists", None, "PreferNoSchedule"),
        ]

    def test_own_labels_are_added(self):
        assert pool(labels={"example.com/team": "vision"}).node_labels["example.com/team"] == "vision"

    def test_bottlerocket_keeps_the_operators_operands_away(self):
        found = pool(ami="bottlerocket@v1.54.0").node_labels
        assert found["nvidia.com/gpu.deploy.device-plugin"] == "false"
        assert all(re.fullmatch(r"nvidia\.com/gpu\.deploy\.[a-z-]+", key) for key, v in found.items() if v == "false")
        assert not [key for key in pool().node_labels if "deploy" in key]


def test_mps_alone_is_said_to_be_experimental():
    assert warnings([shared(), pool(MIG), pool(WHOLE)]) == []
    [warning] = warnings([shared(), shared(mode="mps")])
    assert warning.startswith("pool t4-shared: MPS sharing is experimental")
