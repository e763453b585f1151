"""Use carried from one GPU model to another is never too low, and names of GPUs mean one model or are refused."""

from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gpuslice.catalog import gpu_models
from gpuslice.planner.errors import InputError
from gpuslice.planner.model import MILLION
from gpuslice.planner.speeds import carried, gpu_key, gpu_speeds, speed

KNOWN = st.sampled_from(list(gpu_speeds()))
USE = st.integers(0, 2 * MILLION)


def test_the_table_is_of_catalogue_models_with_positive_figures_and_a_source():
    assert gpu_speeds().keys() <= gpu_models().keys()
    assert set(gpu_models()) - set(gpu_speeds()) == {"t4g", "rtx-pro-4500"}
    for row in gpu_speeds().values():
        assert min(row.figures) > 0
        assert row.source


def test_the_least_of_the_three_ratios_counts():
    # L4 against T4: bandwidth 300/320, FP16 121/65, FP32 30.3/8.1.
    assert speed("t4", "l4") == Fraction(300, 320)
    # T4 against A10G: bandwidth 320/600, FP16 65/70, FP32 8.1/35.
    assert speed("a10g", "t4") == Fraction(81, 350)
    # A100 against A10G: bandwidth 1555/600, FP16 312/70, FP32 19.5/35.
    assert speed("a10g", "a100-40gb") == Fraction(195, 350)


def test_use_carried_is_rounded_up_and_not_capped():
    assert carried(400_000, "t4", "l4") == 426_667
    assert carried(400_000, "a10g", "t4") == 1_728_396
    assert carried(1, "t4", "h100-80gb") == 1
    assert carried(0, "t4", "h100-80gb") == 0


def test_the_same_model_is_exactly_as_fast_even_without_figures():
    assert speed("t4g", "t4g") == 1
    assert carried(123_457, "rtx-pro-4500", "rtx-pro-4500") == 123_457


@pytest.mark.parametrize("pair", [("t4", "t4g"), ("t4g", "t4"), ("rtx-pro-4500", "l4"), ("t4", "abacus")])
def test_nothing_is_carried_where_figures_are_missing(pair):
    assert speed(*pair) is None
    assert carried(500_000, *pair) is None


@given(USE, USE, KNOWN, KNOWN)
def test_more_use_never_becomes_less(one, other, start, target):
    low, high = sorted((one, other))
    assert carried(low, start, target) <= carried(high, start, target)


@given(USE, KNOWN, KNOWN)
def test_there_and_back_is_never_below(use, start, target):
    assert carried(carried(use, start, target), target, start) >= use


@given(USE, KNOWN, KNOWN, KNOWN)
def test_a_detour_is_never_below_the_direct_way(use, start, between, target):
    assert carried(carried(use, start, between), between, target) >= carried(use, start, target)


@given(USE, KNOWN, KNOWN)
def test_no_figure_of_the_target_is_asked_for_more_than_measured(use, start, target):
    there = carried(use, start, target)
    for of, to in zip(gpu_speeds()[start].figures, gpu_speeds()[target].figures, strict=True):
        assert there * to >= use * of


@pytest.mark.parametrize("key", list(gpu_models()))
def test_every_key_of_the_catalogue_means_itself(key):
    assert gpu_key(key) == key
    assert gpu_key(f" {key.upper()} ") == key


@pytest.mark.parametrize(
    ("name", "key"),
    [
        ("T4", "t4"),
        ("Tesla T4", "t4"),
        ("NVIDIA T4G", "t4g"),
        ("A10G", "a10g"),
        ("NVIDIA A10G", "a10g"),
        ("NVIDIA L4", "l4"),
        ("NVIDIA L40S", "l40s"),
        ("L40S-48GB", "l40s"),
        ("V100", "v100"),
        ("Tesla V100-SXM2-16GB", "v100"),
        ("Tesla V100-SXM2-32GB", "v100"),
        ("A100-40GB", "a100-40gb"),
        ("A100 40 GB", "a100-40gb"),
        ("NVIDIA A100-SXM4-40GB", "a100-40gb"),
        ("NVIDIA A100-SXM4-80GB", "a100-80gb"),
        ("NVIDIA A100 80GB PCIe", "a100-80gb"),
        ("H100", "h100-80gb"),
        ("NVIDIA H100 80GB HBM3", "h100-80gb"),
        ("NVIDIA H200", "h200-141gb"),
        ("NVIDIA B200", "b200-180gb"),
        ("NVIDIA B300 SXM6 AC", "b300-269gb"),
        ("NVIDIA RTX PRO 6000 Blackwell Server Edition", "rtx-pro-server-6000"),
        ("NVIDIA RTX PRO 4500 Blackwell Server Edition", "rtx-pro-4500"),
        ("NVIDIA L4 Tensor Core GPU", "l4"),
    ],
)
def test_names_as_people_and_dcgm_write_them(name, key):
    assert gpu_key(name) == key


@pytest.mark.parametrize("name", ["A100", "NVIDIA A100-SXM4", "a100 gpu"])
def test_a_name_that_fits_two_models_is_refused_with_both(name):
    with pytest.raises(InputError, match="may be a100-40gb or a100-80gb") as caught:
        gpu_key(name)
    assert repr(name) in str(caught.value)


@pytest.mark.parametrize(
    ("name", "near"),
    [
        ("A10", "a10g"),
        ("NVIDIA L40", "l40s"),
        ("T4-32GB", "t4"),
        ("H100 NVL", "h100-80gb"),
        ("NVIDIA GB200", "b200-180gb"),
        ("NVIDIA RTX PRO 4500 Blackwell", "rtx-pro-4500"),
        ("Tesla V100-SXM2-64GB", "v100"),
        ("A100-SXM4-40GB MIG 1g.5gb", "a100-40gb or a100-80gb"),
    ],
)
def test_an_unknown_name_is_refused_with_the_allowed_keys_and_the_nearest(name, near):
    with pytest.raises(InputError) as caught:
        gpu_key(name)
    assert f"allowed: {', '.join(gpu_models())}" in str(caught.value)
    assert str(caught.value).endswith(f"did you mean {near}?")


@pytest.mark.parametrize(
    "name", ["", "GPU", "rtx", "Radeon", "NVIDIA RTX PRO 6000 Blackwell Workstation Edition", "☃" * 500]
)
def test_a_name_far_from_all_is_refused(name):
    with pytest.raises(InputError, match="is not known"):
        gpu_key(name)


@given(st.text(max_size=40))
def test_no_text_is_anything_but_a_key_or_a_refusal(text):
    try:
        key = gpu_key(text)
    except InputError:
        return
    assert key in gpu_models()
