"""Rendered files: every object of the stack once, as YAML that reads back, and nothing left unsaid."""

import pytest
import yaml

from gpuslice.manifests.stack import helm_values, stack_manifests
from gpuslice.pools import Pool
from gpuslice.render import HEADER, leftovers, rendered, write
from gpuslice.text import dump, dump_all
from tests.helpers import MIG, SHARED, STACKS, WHOLE, multiset, recorded, stack_of


@pytest.mark.parametrize("stack", STACKS)
def test_the_files_read_back_as_the_objects(stack):
    settings = recorded(stack).settings
    texts, manifests = rendered(settings), stack_manifests(settings)
    values = helm_values(settings, [Pool.of(p) for p in settings.pools])
    assert texts.keys() == manifests.keys() | values.keys()
    for name, objects in manifests.items():
        assert multiset(yaml.safe_load_all(texts[name])) == multiset(objects)
    for name, data in values.items():
        assert yaml.safe_load(texts[name]) == data


def test_every_file_says_where_it_comes_from():
    assert all(text.startswith(HEADER) for text in rendered(stack_of(SHARED)).values())


def test_configurations_inside_config_maps_are_readable_text():
    text = rendered(stack_of(SHARED, MIG))["time-slicing-config-fine.yaml"]
    assert "  time-slicing-4: |\n    version: v1\n    sharing:\n" in text
    assert "\\n" not in text


def test_the_same_settings_give_the_same_bytes():
    assert rendered(stack_of(SHARED, MIG)) == rendered(stack_of(SHARED, MIG))


def test_writing_makes_the_folder_and_names_the_files(tmp_path):
    folder = tmp_path / "a" / "b"
    paths = write(stack_of(SHARED), folder)
    assert sorted(paths) == sorted(folder.iterdir())
    assert {p.name: p.read_text(encoding="utf-8") for p in paths} == rendered(stack_of(SHARED))


def test_writing_again_replaces(tmp_path):
    write(stack_of(SHARED), tmp_path)
    (tmp_path / "karpenter-soft.yaml").write_text("stale")
    write(stack_of(SHARED), tmp_path)
    assert "stale" not in (tmp_path / "karpenter-soft.yaml").read_text(encoding="utf-8")


def test_what_an_earlier_render_left_is_found_and_foreign_files_are_not(tmp_path):
    write(stack_of(SHARED, WHOLE), tmp_path)
    (tmp_path / "own.yaml").write_text("kind: Secret\n")
    (tmp_path / "binary.yaml").write_bytes(b"\xff\xfe")
    written = write(stack_of(SHARED), tmp_path)
    assert leftovers(tmp_path, written) == [tmp_path / "karpenter-exclusive.yaml"]


def test_a_file_in_the_folders_place_is_an_error_of_the_environment(tmp_path):
    (tmp_path / "out").write_text("")
    with pytest.raises(NotADirectoryError):
        write(stack_of(SHARED), tmp_path / "out")


@pytest.mark.parametrize("value", ["yes", "on", "1e3", "010", "null", "~", "a: b", "# no", "x\ny\n", "é", "'", '"'])
def test_text_stays_text(value):
    """YAML 1.1 and 1.2 read some words as truth values and numbers."""
    assert yaml.safe_load(dump({"key": value})) == {"key": value}


def test_keys_keep_their_order_and_nothing_is_an_anchor():
    shared = {"b": 1, "a": 2}
    text = dump_all([{"x": shared, "y": shared}])
    assert text.index("b:") < text.index("a:")
    assert "&" not in text
    assert "*" not in text
