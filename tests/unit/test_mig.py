"""MIG placement against known layouts and against a search written another way."""

import itertools
import re
from fractions import Fraction

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from gpuslice.catalog import UnknownGpu, gpu_models, mig_gpus, mig_profiles
from gpuslice.sharing.mig import (
    MigLayoutError,
    layout_name,
    layouts,
    maximal_layouts,
    mig_parted_config,
    place,
    resources,
    shares,
)

EIGHT_SLICE_GPUS = [gpu for gpu in mig_gpus() if gpu not in ("A30-24GB", "RTX-PRO-6000-96GB")]
FOUR_SLICE_GPUS = ["A30-24GB", "RTX-PRO-6000-96GB"]
MIG_MODELS = [model for model in gpu_models().values() if model.mig_gpu]
LABEL_VALUE = re.compile(r"[A-Za-z0-9]([-A-Za-z0-9_.]{0,61}[A-Za-z0-9])?")

# The maximal layouts of an 8-slice GPU without the double-memory 1g: NVIDIA MIG user guide, A100-40GB names.
TWELVE = [
    {"7g.40gb": 1},
    {"4g.20gb": 1, "3g.20gb": 1},
    {"4g.20gb": 1, "2g.10gb": 1, "1g.5gb": 1},
    {"4g.20gb": 1, "1g.5gb": 3},
    {"3g.20gb": 2},
    {"3g.20gb": 1, "2g.10gb": 2},
    {"3g.20gb": 1, "2g.10gb": 1, "1g.5gb": 2},
    {"3g.20gb": 1, "1g.5gb": 4},
    {"2g.10gb": 3, "1g.5gb": 1},
    {"2g.10gb": 2, "1g.5gb": 3},
    {"2g.10gb": 1, "1g.5gb": 5},
    {"1g.5gb": 7},
]
PLACEABLE = [
    *TWELVE,
    {"1g.5gb": 6, "1g.10gb": 1},
    {"1g.10gb": 4},
    {"1g.5gb": 3, "2g.10gb": 2},
    {"1g.5gb": 6, "1g.5gb+me": 1},
    {"4g.20gb": 1, "2g.10gb": 1, "1g.5gb+me": 1},
]
NOT_PLACEABLE = [
    {"1g.10gb": 4, "1g.5gb": 3},
    {"1g.10gb": 4, "1g.5gb": 1},
    {"4g.20gb": 2},
    {"3g.20gb": 2, "1g.5gb": 1},
    {"4g.20gb": 1, "3g.20gb": 1, "1g.5gb": 1},
    {"1g.5gb": 8},
    {"1g.5gb+me": 2},
    {"1g.5gb": 7, "1g.5gb+me": 1},
    {"7g.40gb": 1, "1g.5gb": 1},
]


def spell(layout):
    return "+".join(f"{count}x{name}" for name, count in layout.items())


def brute_force(gpu, layout):
    """Every way to put the instances down one after another, kept as the sets of taken memory slices."""
    profiles = mig_profiles(gpu)
    if any(count > profiles[name].max_instances for name, count in layout.items()):
        return False
    if sum(count for name, count in layout.items() if "+me" in name) > 1:
        return False
    boards = {frozenset()}
    for name in itertools.chain.from_iterable([name] * count for name, count in layout.items()):
        size = profiles[name].memory_slices
        spans = [frozenset(range(start, start + size)) for start in profiles[name].placements]
        boards = {board | span for board in boards for span in spans if not board & span}
    return bool(boards)


def contains(larger, smaller):
    return larger != smaller and all(larger.get(name, 0) >= count for name, count in smaller.items())


@pytest.mark.parametrize("layout", PLACEABLE, ids=spell)
def test_known_layouts_are_placed(layout):
    assert len(place("A100-40GB", layout)) == sum(layout.values())


@pytest.mark.parametrize("layout", NOT_PLACEABLE, ids=spell)
def test_known_impossible_layouts_are_refused(layout):
    with pytest.raises(MigLayoutError, match="A100-40GB"):
        place("A100-40GB", layout)


def test_three_and_four_slices_need_backtracking():
    starts = {instance.profile.name: instance.start for instance in place("A100-40GB", {"3g.20gb": 1, "4g.20gb": 1})}
    assert starts == {"4g.20gb": 0, "3g.20gb": 4}


@st.composite
def gpu_and_layout(draw):
    gpu = draw(st.sampled_from(mig_gpus()))
    names = draw(st.lists(st.sampled_from(list(mig_profiles(gpu))), min_size=1, max_size=8))
    return gpu, {name: names.count(name) for name in names}


@settings(max_examples=300, deadline=None)
@given(gpu_and_layout())
def test_place_agrees_with_brute_force(case):
    gpu, layout = case
    try:
        instances = place(gpu, layout)
    except MigLayoutError:
        assert not brute_force(gpu, layout)
        return
    assert brute_force(gpu, layout)
    assert {name: sum(i.profile.name == name for i in instances) for name in layout} == layout
    taken = [part for i in instances for part in range(i.start, i.start + i.profile.memory_slices)]
    assert len(taken) == len(set(taken))
    assert all(i.start in i.profile.placements for i in instances)
    assert [i.start for i in instances] == sorted(i.start for i in instances)


@settings(max_examples=100, deadline=None)
@given(gpu_and_layout(), st.randoms(use_true_random=False))
def test_the_order_of_the_keys_never_matters(case, random):
    gpu, layout = case
    shuffled = dict(random.sample(list(layout.items()), len(layout)))
    if brute_force(gpu, layout):
        assert place(gpu, layout) == place(gpu, shuffled)
        assert layout_name(gpu, layout) == layout_name(gpu, shuffled)
        assert list(resources(gpu, layout).items()) == list(resources(gpu, shuffled).items())


@pytest.mark.parametrize("gpu", mig_gpus())
def test_each_profile_fits_its_maximum_and_no_more(gpu):
    for name, profile in mig_profiles(gpu).items():
        assert len(place(gpu, {name: profile.max_instances})) == profile.max_instances
        with pytest.raises(MigLayoutError, match=re.escape(name)):
            place(gpu, {name: profile.max_instances + 1})


@pytest.mark.parametrize("gpu", EIGHT_SLICE_GPUS)
def test_an_eight_slice_gpu_has_77_layouts_28_of_them_maximal(gpu):
    found = layouts(gpu)
    assert len(found) == 77
    maximal = maximal_layouts(gpu)
    assert len(maximal) == 28
    assert [one for one in found if not any(contains(other, one) for other in found)] == list(maximal)


def test_without_the_double_memory_slice_twelve_are_maximal():
    found = [one for one in layouts("A100-40GB") if "1g.10gb" not in one]
    maximal = [one for one in found if not any(contains(other, one) for other in found)]
    assert {frozenset(one.items()) for one in maximal} == {frozenset(one.items()) for one in TWELVE}
    assert len(maximal) == 12


@pytest.mark.parametrize("gpu", FOUR_SLICE_GPUS)
def test_a_four_slice_gpu_has_four_maximal_layouts(gpu):
    one, two, four = (name for name, profile in mig_profiles(gpu).items() if profile.plain)
    expected = [{four: 1}, {two: 2}, {two: 1, one: 2}, {one: 4}]
    assert {frozenset(layout.items()) for layout in maximal_layouts(gpu)} == {
        frozenset(layout.items()) for layout in expected
    }


@pytest.mark.parametrize("gpu", ["A100-40GB", *FOUR_SLICE_GPUS])
def test_media_layouts_are_exactly_what_brute_force_finds(gpu):
    profiles = mig_profiles(gpu)
    slices = max(profile.memory_slices for profile in profiles.values())
    expected = {
        frozenset((name, names.count(name)) for name in names)
        for size in range(1, slices + 1)
        for names in itertools.combinations_with_replacement(profiles, size)
        if sum(profiles[name].memory_slices for name in names) <= slices
        and brute_force(gpu, {name: names.count(name) for name in names})
    }
    found = layouts(gpu, media=True)
    assert {frozenset(layout.items()) for layout in found} == expected
    assert len(found) == len(expected)


def test_layouts_are_handed_out_as_copies():
    layouts("A30-24GB")[0].clear()
    maximal_layouts("A30-24GB")[0].clear()
    assert all(layouts("A30-24GB"))
    assert all(maximal_layouts("A30-24GB"))


@pytest.mark.parametrize(
    ("layout", "message"),
    [
        ({}, "A100-40GB: the layout is empty; allowed profiles: 1g.5gb, 1g.5gb+me, 1g.10gb"),
        ({"1g.5gb": 0}, "A100-40GB: 1g.5gb: 0 is not a count; allowed: 1 to 7"),
        ({"1g.5gb": -1}, "-1 is not a count"),
        ({"1g.5gb": True}, "True is not a count"),
        ({"1g.5gb": 2.0}, "2.0 is not a count"),
        ({"1g.5gb": "2"}, "'2' is not a count"),
        ({"1g.5gb": 10**15}, "1000000000000000 asked, at most 7 on one GPU"),
        ({"1g5gb": 1}, "A100-40GB has no MIG profile '1g5gb'; allowed: 1g.5gb, "),
        ({"3G.20GB": 1}, "did you mean 3g.20gb?"),
        ({"1g.20gb": 1}, "(A100-80GB, H100-80GB have it)"),
        ({"7g.141gb": 1}, "(H200-141GB has it)"),
        ({"x" * 500: 1}, f"no MIG profile '{'x' * 79}; allowed"),
        ({7: 1}, "A100-40GB has no MIG profile 7; allowed"),
        ({"1g.5gb+me": 2}, "1g.5gb+me: 2 asked, at most 1 on one GPU"),
        (
            {"3g.20gb": 2, "1g.5gb": 1},
            "1 x 1g.5gb + 2 x 3g.20gb cannot be placed: it needs 9 of 8 memory slices",
        ),
        (
            {"3g.20gb": 2, "1g.5gb": 1},
            "of it at most 2 x 3g.20gb fits on one GPU",
        ),
    ],
)
def test_a_refusal_names_what_is_wrong_and_what_is_allowed(layout, message):
    with pytest.raises(MigLayoutError, match=re.escape(message)):
        place("A100-40GB", layout)


def test_two_media_profiles_on_one_gpu_are_refused_together():
    with pytest.raises(MigLayoutError, match="at most one \\+me instance"):
        place("RTX-PRO-6000-96GB", {"1g.24gb+me": 1, "1g.24gb+me.all": 1})


@pytest.mark.parametrize("ask", [place, layout_name, resources, shares])
def test_every_question_refuses_what_does_not_fit(ask):
    with pytest.raises(MigLayoutError, match="cannot be placed"):
        ask("A100-40GB", {"4g.20gb": 1, "3g.20gb": 1, "1g.5gb": 1})
    with pytest.raises(UnknownGpu, match="'L4'"):
        ask("L4", {"1g.5gb": 1})


def test_a_layout_name_reads_as_its_counts():
    assert layout_name("A100-40GB", {"2g.10gb": 2, "1g.5gb": 3}) == "a100-40gb.1g.5gb-3.2g.10gb-2"
    assert layout_name("A100-80GB", {"1g.10gb+me": 1}) == "a100-80gb.1g.10gb.me-1"


def test_layout_names_are_label_values_and_never_shared():
    everything = [(gpu, layout) for gpu in mig_gpus() for layout in layouts(gpu, media=True)]
    names = [layout_name(gpu, layout) for gpu, layout in everything]
    assert [name for name in names if not LABEL_VALUE.fullmatch(name)] == []
    assert len(set(names)) == len(everything)


def test_resources_are_counted_for_one_gpu():
    assert resources("A100-40GB", {"2g.10gb": 2, "1g.5gb+me": 1}) == {
        "nvidia.com/mig-1g.5gb.me": 1,
        "nvidia.com/mig-2g.10gb": 2,
    }


@pytest.mark.parametrize("gpu", mig_gpus())
def test_the_shares_of_a_gpu_add_up_to_exactly_one(gpu):
    for layout in layouts(gpu, media=True):
        parts = shares(gpu, layout)
        assert sum(parts[name] * count for name, count in layout.items()) == 1
        assert all(part > 0 for part in parts.values())


def test_shares_follow_the_scarcer_of_compute_and_memory():
    assert shares("A100-40GB", {"1g.5gb": 7}) == {"1g.5gb": Fraction(1, 7)}
    assert shares("A100-40GB", {"1g.10gb": 4}) == {"1g.10gb": Fraction(1, 4)}
    assert shares("A100-40GB", {"3g.20gb": 1, "4g.20gb": 1}) == {
        "3g.20gb": Fraction(7, 15),
        "4g.20gb": Fraction(8, 15),
    }
    assert shares("A30-24GB", {"1g.6gb": 2, "2g.12gb": 1}) == {
        "1g.6gb": Fraction(1, 4),
        "2g.12gb": Fraction(1, 2),
    }


def mig_parted_faults(document):
    """What mig-parted v0.15.0 would refuse in a document (api/spec/v1/spec.go), written from its rules."""
    if document.get("version") != "v1" or set(document) != {"version", "mig-configs"}:
        yield "top level"
    for name, entries in document["mig-configs"].items():
        if not entries:
            yield f"{name}: no entries"
        for entry in entries:
            if unexpected := set(entry) - {"device-filter", "devices", "mig-enabled", "mig-devices"}:
                yield f"{name}: unexpected {unexpected}"
            if entry.get("devices") != "all" or not isinstance(entry.get("mig-enabled"), bool):
                yield f"{name}: devices or mig-enabled"
            if entry.get("mig-enabled") and not entry.get("mig-devices"):
                yield f"{name}: no mig-devices"
            if not entry.get("mig-enabled") and entry.get("mig-devices"):
                yield f"{name}: mig-devices on a disabled GPU"
            for profile, count in entry.get("mig-devices", {}).items():
                if not re.fullmatch(r"\d+g\.\d+gb([+-][a-z.]+)?", profile) or count < 1:
                    yield f"{name}: {profile}: {count}"


def test_the_config_document_is_one_that_mig_parted_accepts():
    document = yaml.safe_load(yaml.safe_dump(mig_parted_config(MIG_MODELS)))
    assert list(mig_parted_faults(document)) == []


def test_the_config_document_holds_the_closed_catalogue():
    configs = mig_parted_config(MIG_MODELS)["mig-configs"]
    assert configs.pop("all-disabled") == [{"devices": "all", "mig-enabled": False}]
    expected = {layout_name(m.mig_gpu, layout): (m, layout) for m in MIG_MODELS for layout in layouts(m.mig_gpu)}
    assert set(configs) == set(expected)
    for name, (model, layout) in expected.items():
        (entry,) = configs[name]
        assert entry["device-filter"] == [model.pci_device_id + "10DE"]
        assert entry["mig-enabled"] is True
        assert entry["mig-devices"] == layout


def test_the_filter_is_the_device_and_vendor_id():
    configs = mig_parted_config([gpu_models()["a100-40gb"]])["mig-configs"]
    assert configs["a100-40gb.1g.5gb-7"] == [
        {
            "device-filter": ["0x20B010DE"],
            "devices": "all",
            "mig-enabled": True,
            "mig-devices": {"1g.5gb": 7},
        }
    ]


def test_a_document_without_gpus_still_switches_mig_off():
    assert list(mig_parted_config([])["mig-configs"]) == ["all-disabled"]


def test_an_extra_layout_is_added_once():
    a100, h100 = gpu_models()["a100-40gb"], gpu_models()["h100-80gb"]
    media = {"1g.5gb+me": 1, "2g.10gb": 3}
    configs = mig_parted_config([a100], [(a100, media), (a100, {"1g.5gb": 7}), (h100, {"1g.10gb": 7})])["mig-configs"]
    assert set(configs) - set(mig_parted_config([a100])["mig-configs"]) == {
        "a100-40gb.1g.5gb.me-1.2g.10gb-3",
        "h100-80gb.1g.10gb-7",
    }
    assert all(len(entries) == 1 for entries in configs.values())


def test_the_document_does_not_depend_on_the_order_of_its_arguments():
    extra = [(MIG_MODELS[0], {"1g.5gb+me": 1}), (MIG_MODELS[2], {"1g.10gb+me": 1})]
    one = mig_parted_config(MIG_MODELS, extra)
    other = mig_parted_config([*reversed(MIG_MODELS), MIG_MODELS[0]], reversed(extra))
    assert yaml.safe_dump(one, sort_keys=False) == yaml.safe_dump(other, sort_keys=False)


def test_the_document_refuses_a_gpu_without_mig_and_a_layout_that_does_not_fit():
    with pytest.raises(MigLayoutError, match="GPU t4 has no MIG profiles; GPUs with MIG: A100-40GB"):
        mig_parted_config([gpu_models()["t4"]])
    with pytest.raises(MigLayoutError, match="cannot be placed"):
        mig_parted_config([], [(gpu_models()["a100-40gb"], {"3g.20gb": 2, "2g.10gb": 1})])
