"""The catalogue of device plugin configurations, read by a model of the plugin that shares nothing with it."""

import pytest

from gpuslice.catalog import instance_types, mig_profiles
from gpuslice.gpu_operator import MIG_CONFIG_KEY, config_maps
from gpuslice.pools import MIG_LABEL, Pool, replicas_config_name
from gpuslice.settings import Mig
from gpuslice.sharing import mps, time_slicing
from gpuslice.sharing.plugin import COMMON_REPLICAS, catalogue, mig_strategy
from gpuslice.text import dump
from sandbox import device_plugin, mig_manager
from tests.helpers import MIG, SHARED, STACKS, WHOLE, pool, recorded

GPU = "nvidia.com/gpu"
MPS = {**SHARED, "name": "t4-mps", "sharing": {"mode": "mps", "replicas": 6}}
MANY = {
    **SHARED,
    "instanceTypes": ["g5.xlarge"],
    "sharing": {"mode": "time-slicing", "replicas": 20, "maxReplicas": 20, "minMemory": "256Mi"},
}
LAYOUT = {**MIG, "name": "mixed", "sharing": {"mode": "mig", "layout": {"1g.5gb": 3, "2g.10gb": 2}}}
MEDIA = {**MIG, "name": "media", "sharing": {"mode": "mig", "layout": {"1g.5gb+me": 1, "2g.10gb": 2}}}
H100 = {**MIG, "name": "h100", "instanceTypes": ["p5.4xlarge"], "sharing": {"mode": "mig", "layout": {"3g.40gb": 2}}}


def texts(*pools: Pool) -> dict[str, str]:
    """The plugin's ConfigMap, as a node gets it."""
    return config_maps(pools)[0]["data"]


def shown(found: Pool, type_name: str, all_pools: list[Pool]) -> dict[str, int]:
    """What a node of a pool advertises, going by its labels and the ConfigMaps' text alone."""
    maps = {m["metadata"]["name"]: m["data"] for m in config_maps(all_pools)}
    instance_type = instance_types()[type_name]
    physical, mig_gpus = {GPU: instance_type.devices}, 0
    layout = found.node_labels.get(MIG_LABEL)
    if layout:
        model = instance_type.gpu
        profiles = mig_profiles(str(model.mig_gpu))
        text = maps["mig-layouts"][MIG_CONFIG_KEY]
        applied = mig_manager.apply(text, layout, str(model.pci_device_id), instance_type.devices, profiles)
        physical, mig_gpus = mig_manager.physical(applied)
    plugin = maps["time-slicing-config-fine"]
    name = device_plugin.select(plugin, found.node_labels.get("nvidia.com/device-plugin.config"), "exclusive")
    return device_plugin.advertised(plugin[name], physical, mig_strategy(all_pools), mig_gpus)


class TestCatalogue:
    @pytest.mark.parametrize("gpus", [1, 4, 8])
    @pytest.mark.parametrize("rename", [True, False])
    @pytest.mark.parametrize("replicas", COMMON_REPLICAS)
    def test_each_entry_advertises_what_its_name_says(self, replicas, rename, gpus):
        text = texts(pool())[replicas_config_name("time-slicing", replicas, rename)]
        name = GPU + ".shared" if rename else GPU
        assert device_plugin.advertised(text, {GPU: gpus}, "mixed") == {name: replicas * gpus}
        assert device_plugin.fails_on_two(text)

    @pytest.mark.parametrize("rename", [True, False])
    @pytest.mark.parametrize("replicas", [*COMMON_REPLICAS, 48])
    def test_mps_too(self, replicas, rename):
        text = dump(mps.config(replicas, rename))
        name = GPU + ".shared" if rename else GPU
        assert device_plugin.advertised(text, {GPU: 4}, "none") == {name: replicas * 4}

    def test_every_entry_is_one_that_the_plugin_takes(self):
        for configs in (texts(pool()), texts(pool(MPS), pool(WHOLE)), texts(pool(MANY))):
            strategy = "none" if "mps-6" in configs else "mixed"
            for text in configs.values():
                assert sum(device_plugin.advertised(text, {GPU: 2}, strategy).values()) >= 2

    def test_the_default_shares_nothing(self):
        text = texts(pool())["exclusive"]
        assert device_plugin.advertised(text, {GPU: 8}, "mixed") == {GPU: 8}

    def test_the_common_ones_are_there_whatever_the_pools(self):
        """A pool that changes gets another label; what a node that is being replaced names must still resolve."""
        for pools in ([], [pool()], [pool(WHOLE)], [pool(MANY)]):
            names = catalogue(pools).keys()
            assert {f"time-slicing-{n}" for n in COMMON_REPLICAS} | {"exclusive"} <= names
        assert catalogue([pool()]) == catalogue([pool(WHOLE)]) == catalogue([])

    def test_what_pools_use_beyond_is_added(self):
        assert "time-slicing-20" in catalogue([pool(MANY)])
        assert "time-slicing-20" not in catalogue([pool()])
        assert "mps-6" in catalogue([pool(MPS)])
        assert not [name for name in catalogue([pool()]) if name.startswith("mps")]

    def test_no_entry_shares_by_less_than_two(self):
        """The plugin refuses replicas below 2 and a block without resources."""
        for config in catalogue([pool(MPS), pool(MANY)]).values():
            for block in config.get("sharing", {}).values():
                (resource,) = block["resources"]
                assert resource["replicas"] >= 2
                assert resource.keys() == {"name", "replicas"}

    def test_a_pod_that_asks_for_two_shares_is_refused(self):
        assert time_slicing.config(2, True)["sharing"]["timeSlicing"]["failRequestsGreaterThanOne"] is True


class TestStrategy:
    def test_every_profile_is_a_resource_of_its_own(self):
        assert mig_strategy([pool(MIG), pool()]) == "mixed"
        assert mig_strategy([]) == "mixed"

    def test_mps_takes_none(self):
        assert mig_strategy([pool(MPS)]) == "none"
        with pytest.raises(device_plugin.PluginError, match="not supported with MPS"):
            device_plugin.advertised(texts(pool(MPS))["mps-6"], {GPU: 1}, "mixed")


class TestAgreement:
    """What Karpenter believes of a node is what the node will show: the reason for all of this."""

    @pytest.mark.parametrize("stack", STACKS)
    def test_overlays_agree_with_the_nodes(self, stack):
        pools = [Pool.of(p) for p in recorded(stack).settings.pools]
        assert pools
        for found in pools:
            for overlay in found.overlays:
                wanted = {name: count for name, count in overlay.capacity.items() if count}
                for type_name in overlay.instance_types:
                    assert shown(found, type_name, pools) == wanted

    @pytest.mark.parametrize("base", [SHARED, MANY, MPS, MIG, LAYOUT, MEDIA, H100, WHOLE], ids=lambda b: b["name"])
    def test_slices_are_what_a_node_shows(self, base):
        found = pool(base)
        for t in found.types:
            assert shown(found, t.name, [found]) == found.slices(t)

    @pytest.mark.parametrize("order", [1, -1])
    def test_two_gpu_models_share_one_document(self, order):
        pools = [pool(LAYOUT), pool(H100), pool(MEDIA)][::order]
        for found in pools:
            assert isinstance(found.settings.sharing, Mig)
            for t in found.types:
                assert shown(found, t.name, pools) == found.slices(t)
