"""The catalogue holds together, and agrees with figures read off their sources one by one."""

from decimal import Decimal

import pytest

from gpuslice import catalog
from gpuslice.catalog import gpu_models, instance_types, mig_gpus, mig_profiles

# Karpenter's instance type reference: pods, architecture, EFA interfaces
# (github.com/aws/karpenter-provider-aws website/content/en/docs/reference/instance-types.md, August 2026).
PODS = {
    "g4dn.xlarge": 29,
    "g5.xlarge": 58,
    "g6.xlarge": 58,
    "g6f.large": 20,
    "p4d.24xlarge": 737,
    "p5.4xlarge": 118,
    "p5.48xlarge": 100,
    "p5e.48xlarge": 100,
    "p5en.48xlarge": 198,
    "p6-b200.48xlarge": 198,
    "p6-b300.48xlarge": 198,
}
EFA = {
    "g4dn.xlarge": 0,
    "g4dn.8xlarge": 1,
    "g6e.48xlarge": 4,
    "p4d.24xlarge": 4,
    "p5.4xlarge": 1,
    "p5.48xlarge": 32,
}
CARDS = {"g4dn.xlarge": 1, "g6e.48xlarge": 4, "p4d.24xlarge": 4, "p5.48xlarge": 32, "p6-b300.48xlarge": 17}
FRACTIONS = {"g6f.large", "g6f.xlarge", "g6f.2xlarge", "g6f.4xlarge", "gr6f.4xlarge"}
COMPUTE_CAPABILITY = {
    "t4": (7, 5),
    "t4g": (7, 5),
    "v100": (7, 0),
    "a100-40gb": (8, 0),
    "a100-80gb": (8, 0),
    "a10g": (8, 6),
    "l4": (8, 9),
    "l40s": (8, 9),
    "h100-80gb": (9, 0),
    "h200-141gb": (9, 0),
    "b200-180gb": (10, 0),
    "b300-269gb": (10, 3),
    "rtx-pro-4500": (12, 0),
    "rtx-pro-server-6000": (12, 0),
}


@pytest.mark.parametrize(
    ("attribute", "figures"), [("max_pods", PODS), ("efa_interfaces", EFA), ("network_cards", CARDS)]
)
def test_figures_match_their_source(attribute, figures):
    types = instance_types()
    assert {name: getattr(types[name], attribute) for name in figures} == figures


def test_there_are_65_types_in_the_order_of_the_table():
    names = list(instance_types())
    assert len(names) == 65
    assert (names[0], names[-1]) == ("g4dn.xlarge", "p6-b300.48xlarge")
    assert all(name == record.name for name, record in instance_types().items())


@pytest.mark.parametrize("record", instance_types().values(), ids=instance_types().keys())
def test_every_type_is_whole(record):
    assert gpu_models()[record.gpu.key] is record.gpu
    assert record.usd_per_hour is None or record.usd_per_hour > 0
    assert record.vcpus > 0
    assert record.memory_mib >= 1024 * record.vcpus
    assert record.max_pods > 0
    assert 0 <= record.efa_interfaces <= record.network_cards
    assert record.architecture == ("arm64" if record.name.startswith("g5g.") else "amd64")
    if record.fractional:
        assert 0 < record.gpu_memory_mib < record.gpu.memory_mib
    else:
        assert record.gpu_memory_mib == record.gpu.memory_mib


def test_a_fraction_shows_as_one_device():
    fractions = {name for name, record in instance_types().items() if record.fractional}
    assert fractions == FRACTIONS
    assert {instance_types()[name].devices for name in fractions} == {1}
    assert instance_types()["p4d.24xlarge"].devices == 8


def test_prices_are_exact_and_dated():
    assert instance_types()["g4dn.xlarge"].usd_per_hour == Decimal("0.526")
    assert instance_types()["p4d.24xlarge"].usd_per_hour == Decimal("21.957642")
    assert [name for name, record in instance_types().items() if record.usd_per_hour is None] == ["p5e.48xlarge"]
    assert "karpenter-provider-aws" in catalog.PRICE_SOURCE
    assert (catalog.PRICE_REGION, catalog.PRICE_DATE) == ("us-east-1", "2026-07-20")
    assert catalog.HOURS_PER_MONTH == 720


def test_models_are_told_apart_by_karpenter_name_and_memory():
    models = gpu_models().values()
    assert len({(model.karpenter_name, model.memory_mib) for model in models}) == len(models)
    assert {record.gpu for record in instance_types().values()} == set(models)
    assert {key: model.compute_capability for key, model in gpu_models().items()} == COMPUTE_CAPABILITY


@pytest.mark.parametrize("model", gpu_models().values(), ids=gpu_models().keys())
def test_a_model_with_mig_has_profiles_and_a_device_id(model):
    assert (model.mig_gpu is None) == (model.pci_device_id is None)
    if model.mig_status == "supported":
        assert model.mig_gpu is not None
    if model.mig_status == "none":
        assert model.mig_gpu is None
    if model.mig_gpu is not None:
        assert model.mig_gpu in mig_gpus()
        whole = max(profile.memory_gb for profile in mig_profiles(model.mig_gpu).values())
        assert whole == pytest.approx(model.memory_mib / 1024, rel=0.05)


def test_the_gpus_with_mig_on_ec2():
    assert {key: model.pci_device_id for key, model in gpu_models().items() if model.mig_status == "supported"} == {
        "a100-40gb": "0x20B0",
        "a100-80gb": "0x20B2",
        "h100-80gb": "0x2330",
        "h200-141gb": "0x2335",
        "b200-180gb": "0x2901",
        "b300-269gb": "0x3182",
    }
    unproven = {key for key, model in gpu_models().items() if model.mig_status == "unproven"}
    assert unproven == {"rtx-pro-4500", "rtx-pro-server-6000"}


@pytest.mark.parametrize("gpu", mig_gpus())
def test_every_profile_stays_on_its_gpu(gpu):
    profiles = mig_profiles(gpu)
    memory_slices = 4 if gpu in ("A30-24GB", "RTX-PRO-6000-96GB") else 8
    assert max(profile.memory_slices for profile in profiles.values()) == memory_slices
    for name, profile in profiles.items():
        assert (profile.gpu, profile.name) == (gpu, name)
        assert name.startswith(f"{profile.compute_slices}g.{profile.memory_gb}gb")
        assert list(profile.placements) == sorted(set(profile.placements))
        assert profile.placements[-1] + profile.memory_slices <= memory_slices
        assert 1 <= profile.max_instances <= len(profile.placements)


def test_resource_names_are_the_device_plugins():
    profiles = mig_profiles("RTX-PRO-6000-96GB")
    assert profiles["1g.24gb+me.all"].resource == "nvidia.com/mig-1g.24gb.me.all"
    assert profiles["1g.24gb-me"].resource == "nvidia.com/mig-1g.24gb-me"
    assert mig_profiles("A100-40GB")["3g.20gb"].resource == "nvidia.com/mig-3g.20gb"


def test_an_unknown_gpu_is_refused_with_the_known_ones():
    with pytest.raises(catalog.UnknownGpu, match="'T4'; allowed: A100-40GB, A100-80GB, H100-80GB"):
        mig_profiles("T4")


def test_the_tables_are_read_only():
    with pytest.raises(TypeError):
        instance_types()["g4dn.xlarge"] = None
    with pytest.raises(TypeError):
        mig_profiles("A100-40GB")["1g.5gb"] = None
