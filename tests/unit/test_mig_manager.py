"""The model of mig-parted against mig-parted's own rules and error texts."""

from __future__ import annotations

from collections import Counter
from itertools import product

import pytest
import yaml

from gpuslice.catalog import mig_gpus, mig_profiles
from sandbox.mig_manager import MigError, apply, configurations, physical, place

A100 = mig_profiles("A100-40GB")
ENTRY = {"devices": "all", "mig-enabled": True, "mig-devices": {"1g.5gb": 7}}


def text(*entries: object, name: str = "layout") -> str:
    return yaml.safe_dump({"version": "v1", "mig-configs": {name: list(entries)}})


def refused(config: str, name: str = "layout") -> str:
    with pytest.raises(MigError) as caught:
        apply(config, name, "0x20B0", 8, A100)
    return str(caught.value)


def without(*keys: str) -> dict[str, object]:
    return {key: value for key, value in ENTRY.items() if key not in keys}


@pytest.mark.parametrize(
    ("config", "message"),
    [
        ("mig-configs: {a: [1]}", "unable to parse with missing 'version' field"),
        ("version: v2", "unknown version: v2"),
        ("version: v1\nmigConfigs: {}", "unexpected field: migConfigs"),
        ("version: v1\nmig-configs: {}", "at least one entry in 'mig-configs' is required"),
        (text(), "at least one entry in 'layout' is required"),
        (text(without("devices")), "missing required field: devices"),
        (text(without("mig-enabled")), "missing required field: mig-enabled"),
        (text({**ENTRY, "mig-device": {}}), "unexpected field: mig-device"),
        (text({**ENTRY, "devices": "some"}), "invalid string input for 'devices': some"),
        (
            text(without("mig-devices")),
            "missing required field 'mig-devices' when 'mig-enabled' is true",
        ),
        (text({**ENTRY, "mig-enabled": False}), "MIG devices included when 'mig-enabled' is false"),
        (
            text({**ENTRY, "mig-devices": {"1g.5gb": 0}}),
            "error validating values in 'mig-devices' field: all counts for all MigProfiles are 0",
        ),
        (
            text({**ENTRY, "mig-devices": {"1g.5gb": -1}}),
            "error validating values in 'mig-devices' field: invalid count for '1g.5gb': -1",
        ),
        (text(ENTRY, name="other"), "selected mig-config not present: layout"),
    ],
)
def test_refused_with_mig_partes_words(config, message):
    assert refused(config) == message


@pytest.mark.parametrize("profile", ["1g", "5gb", "1g.5GB", "g.5gb", "1g.5gb+", "1g.10gb+me-gfx", "1g.5gb +me"])
def test_a_profile_that_is_none(profile):
    message = refused(text({**ENTRY, "mig-devices": {profile: 1}}))
    assert message == f"error validating values in 'mig-devices' field: invalid format for '{profile}'"


@pytest.mark.parametrize("profile", ["1g.5gb", "1c.2g.10gb", "1g.10gb+me", "1g.24gb-me", "1g.24gb+me.all"])
def test_a_profile_that_is_one(profile):
    assert configurations(text({**ENTRY, "mig-devices": {profile: 1}}))


@pytest.mark.parametrize(
    "change",
    [{"devices": 3}, {"devices": ["0"]}, {"mig-enabled": "yes"}, {"device-filter": 5}, {"mig-devices": [1]}],
)
def test_a_field_of_another_type(change):
    assert refused(text({**ENTRY, **change})).startswith("unmarshal error")


def test_one_mistake_anywhere_refuses_the_whole_file():
    config = yaml.safe_dump({"version": "v1", "mig-configs": {"layout": [ENTRY], "other": [{"devices": "all"}]}})
    assert refused(config) == "missing required field: mig-enabled"


def test_applied_to_every_gpu():
    layouts = apply(text(ENTRY), "layout", "0x20B0", 8, A100)
    assert layouts == [{"1g.5gb": 7}] * 8
    assert physical(layouts) == ({"nvidia.com/mig-1g.5gb": 56}, 8)


def test_disabled_and_empty():
    disabled = {"devices": "all", "mig-enabled": False}
    assert physical(apply(text(disabled), "layout", "0x20B0", 8, A100)) == ({"nvidia.com/gpu": 8}, 0)
    assert physical(apply(text({**ENTRY, "mig-devices": {}}), "layout", "0x20B0", 8, A100)) == ({}, 8)


def test_some_gpus_stay_whole():
    layouts = apply(text({**ENTRY, "devices": [0, 3]}), "layout", "0x20B0", 8, A100)
    assert physical(layouts) == ({"nvidia.com/gpu": 6, "nvidia.com/mig-1g.5gb": 14}, 2)


def test_a_filter_for_another_model_changes_nothing():
    ours = {**ENTRY, "device-filter": ["0x20B010DE"]}
    theirs = {**ENTRY, "device-filter": "0x233010DE"}
    assert apply(text(ours), "layout", "0x20B0", 1, A100) == [{"1g.5gb": 7}]
    assert apply(text(theirs), "layout", "0x20B0", 1, A100) == [None]


@pytest.mark.parametrize(
    "layout",
    [
        {"3g.20gb": 1, "4g.20gb": 1},
        {"4g.20gb": 1, "2g.10gb": 1, "1g.5gb": 1},
        {"1g.5gb": 6, "1g.10gb": 1},
        {"1g.5gb": 3, "2g.10gb": 2},
        {"1g.5gb+me": 1, "1g.5gb": 6},
    ],
)
def test_placeable(layout):
    placed = place(layout, A100)
    assert Counter(name for name, _ in placed) == layout
    slices = [start + i for name, start in placed for i in range(A100[name].memory_slices)]
    assert len(slices) == len(set(slices))
    assert all(start in A100[name].placements for name, start in placed)


@pytest.mark.parametrize(
    "layout",
    [
        {"1g.10gb": 4, "1g.5gb": 3},
        {"4g.20gb": 2},
        {"3g.20gb": 2, "1g.5gb": 1},
        {"4g.20gb": 1, "3g.20gb": 1, "1g.5gb": 1},
        {"1g.5gb": 8},
        {"1g.5gb+me": 2},
        {"1g.6gb": 1},
        {"1g.5gb": 1_000_000},
    ],
)
def test_not_placeable(layout):
    assert refused(text({**ENTRY, "mig-devices": layout})) == (
        "error attempting multiple config orderings: all orderings failed"
    )


def maximal_layouts(gpu: str) -> set[tuple[tuple[str, int], ...]]:
    """Layouts of the plain profiles with one slice of memory per compute slice to which nothing can be added."""
    profiles = mig_profiles(gpu)
    smallest = next(iter(profiles.values())).memory_gb
    base = [p.name for p in profiles.values() if p.plain and (p.compute_slices > 1 or p.memory_gb == smallest)]

    def fits(counts: tuple[int, ...]) -> bool:
        try:
            place(dict(zip(base, counts, strict=True)), profiles)
        except MigError:
            return False
        return True

    fitting = {
        counts for counts in product(*(range(profiles[name].max_instances + 1) for name in base)) if fits(counts)
    }

    def bigger(counts: tuple[int, ...]) -> list[tuple[int, ...]]:
        return [tuple(c + (i == j) for j, c in enumerate(counts)) for i in range(len(counts))]

    return {
        tuple(zip(base, counts, strict=True))
        for counts in fitting
        if not any(more in fitting for more in bigger(counts))
    }


@pytest.mark.parametrize(("gpu", "expected"), [("A100-40GB", 12), ("H100-80GB", 12), ("H200-141GB", 12)])
def test_the_number_of_maximal_layouts_is_nvidias(gpu, expected):
    assert len(maximal_layouts(gpu)) == expected


@pytest.mark.parametrize("gpu", mig_gpus())
def test_every_profile_fits_alone_as_often_as_its_table_says(gpu):
    profiles = mig_profiles(gpu)
    for profile in profiles.values():
        place({profile.name: profile.max_instances}, profiles)
        with pytest.raises(MigError):
            place({profile.name: profile.max_instances + 1}, profiles)
