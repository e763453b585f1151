"""Stack files: what two YAML parsers could read differently, what could harm, and what is simply wrong."""

import contextlib
import os
import string
import time
from pathlib import Path

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st
from stackdata import PREFIX, changed, problems_of_file, written

from gpuslice.load import load_stack
from gpuslice.problems import SettingsError
from gpuslice.stackfile import MAX_BYTES, load_stack_file, load_yaml, read_stack_file

NAME = "Pulumi.prod.yaml"
POOL = """\
config:
  gpu-slicing:pools:
    - name: t4
      instanceTypes: [g4dn.xlarge]
      sharing: {mode: time-slicing, replicas: 4}
"""


def problems(text, tmp_path):
    path = tmp_path / NAME
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return problems_of_file(path)


def test_a_plain_file_is_read(tmp_path):
    (tmp_path / NAME).write_text(POOL)
    config = load_stack_file(tmp_path / NAME)
    assert config == {
        f"{PREFIX}pools": [
            {"name": "t4", "instanceTypes": ["g4dn.xlarge"], "sharing": {"mode": "time-slicing", "replicas": 4}}
        ]
    }
    assert load_stack(tmp_path / NAME, "prod").pools[0].sharing.replicas == 4


UNAMBIGUOUS = {
    "4": 4,
    "-4": -4,
    "+4": 4,
    "0": 0,
    "1.5": 1.5,
    ".5": 0.5,
    "1.5e+3": 1500.0,
    "true": True,
    "False": False,
    "TRUE": True,
    "al2023@v20260915": "al2023@v20260915",
    "10.40.0.0/16": "10.40.0.0/16",
    "1g.5gb": "1g.5gb",
    "10m": "10m",
    "100%": "100%",
    "'010'": "010",
    '"yes"': "yes",
    "y": "y",
    "-x": "-x",
    "0 22 * * mon-fri": "0 22 * * mon-fri",
    "2026-09-15T": "2026-09-15T",
    "|-\n        text": "text",
}


@pytest.mark.parametrize(("token", "value"), UNAMBIGUOUS.items())
def test_what_every_parser_reads_alike_is_read(token, value, tmp_path):
    (tmp_path / NAME).write_text(f"config:\n  a:b:\n    x: {token}\n")
    assert load_stack_file(tmp_path / NAME) == {"a:b": {"x": value}}


AMBIGUOUS = {
    "010": "a decimal number",
    "08": '"08" in quotes',
    "0o10": '"0o10" in quotes',
    "0x1F": "a decimal number",
    "0X1F": '"0X1F" in quotes',
    "0b101": "a decimal number",
    "1_000": "a decimal number",
    "1e3": '"1e3" in quotes',
    "1E3": '"1E3" in quotes',
    "1.5e3": '"1.5e3" in quotes',
    "-1e-3": '"-1e-3" in quotes',
    ".inf": "a finite decimal number",
    "-.INF": "a finite decimal number",
    ".nan": "a finite decimal number",
    "1:30": "a decimal number",
    "190:20:30.15": "a finite decimal number",
    "2026-09-15": '"2026-09-15" in quotes',
    "2026-9-5": '"2026-9-5" in quotes',
    "2026-09-15 10:00:00": '"2026-09-15 10:00:00" in quotes',
    "yes": "true or false",
    "No": "true or false",
    "on": "true or false",
    "OFF": "true or false",
    "=": '"=" in quotes',
    "<<": '"<<" in quotes',
}


@pytest.mark.parametrize(("token", "allowed"), AMBIGUOUS.items())
def test_a_value_with_two_readings_is_refused(token, allowed, tmp_path):
    text = POOL.replace("replicas: 4", f"replicas: {token}")
    found = problems(text, tmp_path)
    assert [p.path for p in found] == [f"{PREFIX}pools[0].sharing.replicas"]
    assert found[0].message == "line 5: may be read in more than one way"
    assert found[0].value == f'"{token}"'
    assert allowed in found[0].allowed


@pytest.mark.parametrize("digits", [20, 400])
@pytest.mark.parametrize("point", ["", ".0"])
def test_a_number_beyond_all_sense_is_refused(digits, point, tmp_path):
    found = problems(POOL.replace("replicas: 4", f"replicas: {'9' * digits}{point}"), tmp_path)
    # 20 digits and a point are a float that every parser rounds alike; the settings refuse it.
    where = f"{PREFIX}pools[0].sharing.replicas"
    assert [p.path for p in found] == [where]


# A text in place of the pool's `sharing`, and what is said: a part of the message.
TAGS = {
    "!!python/object:os.system {a: 1}": "has the tag !!python/object:os.system",
    "!!python/object/apply:os.system [ls]": "has the tag !!python/object/apply:os.system",
    "!!python/name:os.system x": "has the tag !!python/name:os.system",
    "!vault 12345": "has the tag !vault",
    "!vault {a: 1}": "has the tag !vault",
    "!Ref x": "has the tag !Ref",
    "!secret:str x": "has the tag !secret:str",
    "!!set {a, b}": "has the tag !!set",
    "!!omap [a: 1]": "has the tag !!omap",
    "!!binary aGVsbG8=": "has the tag !!binary",
    "{[a, b]: 1}": "has a key that is a list or a map",
    "{{a: b}: 1}": "has a key that is a list or a map",
    "{1: x}": "has a key that is not text",
    "{true: x}": "has a key that is not text",
    "{on: x}": "has a key that is not text",
    "{null: x}": "has a key that is not text",
    "{~: x}": "has a key that is not text",
    "{1.5: x}": "has a key that is not text",
    "{010: x}": "has a key that is not text",
    "{1e3: x}": "has a key that is not text",
    "{2026-09-15: x}": "has a key that is not text",
    "{<<: {a: 1}}": "has a merge key (<<)",
}


@pytest.mark.parametrize(("token", "message"), TAGS.items())
def test_tags_and_odd_keys_are_refused(token, message, tmp_path):
    found = problems(POOL.replace("{mode: time-slicing, replicas: 4}", token), tmp_path)
    assert [p.path for p in found] == [f"{PREFIX}pools[0].sharing"]
    assert message in found[0].message


def test_keys_that_are_there_twice(tmp_path):
    text = POOL.replace("replicas: 4", "replicas: 4, replicas: 8") + "  gpu-slicing:pools: []\n  monitoring: {}\n"
    found = problems(text + "  gpu-slicing:monitoring: {}\n", tmp_path)
    assert [(p.path, p.message) for p in found] == [
        (f"{PREFIX}monitoring", "is there twice"),
        (f"{PREFIX}pools", "line 6: is there twice"),
        (f"{PREFIX}pools[0].sharing.replicas", "line 5: is there twice"),
    ]


def test_aliases_of_whole_values_are_followed(tmp_path):
    text = POOL.replace("[g4dn.xlarge]", "&types [g4dn.xlarge]").replace("name: t4", "name: a")
    again = (
        text.split("gpu-slicing:pools:\n")[1].replace("name: a", "name: b").replace("&types [g4dn.xlarge]", "*types")
    )
    (tmp_path / NAME).write_text(text + again)
    pools = load_stack(tmp_path / NAME, "prod").pools
    assert [p.instance_types for p in pools] == [("g4dn.xlarge",), ("g4dn.xlarge",)]


def test_an_alias_bomb_ends_soon(tmp_path):
    lines = ["a: &a [x, x, x, x, x, x, x, x, x, x]"]
    lines += [f"{k}: &{k} [{', '.join(['*' + j] * 10)}]" for j, k in zip("abcdefgh", "bcdefghi", strict=True)]
    started = time.monotonic()
    found = problems("config:\n" + "".join(f"  a:{line}\n" for line in lines), tmp_path)
    assert "too many values once its aliases are followed" in found[0].message
    assert time.monotonic() - started < 20


def test_aliases_are_counted_where_they_are_used(tmp_path):
    """A small file of 130,000 values."""
    text = f"config:\n  a:x: &x [{'y, ' * 1000}]\n  a:z: [{'*x, ' * 129}]\n"
    assert "too many values" in problems(text, tmp_path)[0].message
    assert [p.message for p in problems(text.replace("*x, " * 100, ""), tmp_path)] == ["is missing"]


def test_an_alias_within_itself_ends(tmp_path):
    found = problems("config:\n  a:b: &a\n    c: *a\n", tmp_path)
    assert [p.message for p in found] == ["is nested too deeply"]


@pytest.mark.parametrize("opening", ["[", "{a: ", "- "])
def test_nesting_without_end_is_refused(opening, tmp_path):
    found = problems("config:\n  a:b: " + ("\n    " if opening == "- " else "") + opening * 20_000, tmp_path)
    assert len(found) == 1
    assert found[0].message == "is nested too deeply" or "is not YAML" in found[0].message


def test_a_huge_file_is_not_read(tmp_path):
    found = problems(POOL + "#" * MAX_BYTES, tmp_path)
    assert [(p.path, p.message) for p in found] == [(NAME, f"has {MAX_BYTES + len(POOL)} bytes")]


def test_the_largest_file_is_read_in_bounded_time(tmp_path):
    pool = '{name: t4, instanceTypes: [g4dn.xlarge], sharing: {mode: "time-slicing", replicas: 1}}'
    text = "config:\n  pools: [" + ", ".join([pool] * 9000) + "]\n"
    assert len(text) < MAX_BYTES
    started = time.monotonic()
    assert problems(text, tmp_path)
    assert time.monotonic() - started < 60


SYNTAX = {
    b"config: [\n": "is not YAML",
    b"config: {a: 1\n": "is not YAML",
    b"config:\n\ta: 1\n": "a tab indents the line",
    b"a: 1\n---\nb: 2\n": "begins a second document",
    b"config: *nowhere\n": "found undefined alias",
    b"config: 'x\n": "is not YAML",
    b"@config: 1\n": "is not YAML",
    b"config: \xff\xfe\n": "is not UTF-8 text (byte 8)",
    b"\xff\xfec\x00o\x00": "is not UTF-8 text (byte 0)",
    b"config:\n  a: \x00\n": "has the control character U+0000",
    b"config:\n  a: \x1b[31m\n": "has the control character U+001B",
    b"- config\n": "must be a map, not a list",
    b"config\n": "must be a map, not a single value",
    b"3\n": "must be a map, not a single value",
    b"config: []\n": "must be a map",
    b"config: false\n": "must be a map",
    b"config: text\n": "must be a map",
    b"confg:\n  aws:region: us-east-1\n": "unknown key",
    b"gpu-slicing:pools: []\n": "unknown key",
    b"%YAML 3.0\n---\na: 1\n": "is not YAML",
}


@pytest.mark.parametrize(("text", "message"), SYNTAX.items())
def test_broken_files_get_one_line(text, message, tmp_path):
    found = problems(text, tmp_path)
    assert len(found) == 1
    assert message in found[0].message
    assert found[0].path.startswith(NAME)
    assert found[0].allowed
    assert "\n" not in str(found[0])


def test_the_line_of_an_error_is_named(tmp_path):
    assert problems(POOL + "  b: 'x\n", tmp_path)[0].path.startswith(f"{NAME}:7:")
    assert problems(POOL + "  b: \x07\n", tmp_path)[0].path == f"{NAME}:6"


def test_a_misspelt_config_is_suggested(tmp_path):
    assert problems("confg: {}\n", tmp_path)[0].suggestion == "config"
    assert problems("gpu-slicing:pools: []\n", tmp_path)[0].suggestion == "the same below config:"


@pytest.mark.parametrize("text", ["", "\n", "# nothing\n", "config:\n", "config: {}\n", "---\n", "encryptionsalt: x\n"])
def test_a_file_without_settings_lacks_pools(text, tmp_path):
    assert [(p.path, p.message) for p in problems(text, tmp_path)] == [(f"{PREFIX}pools", "is missing")]


def test_what_the_pulumi_cli_keeps_in_the_file_is_left_alone(tmp_path):
    text = POOL + "encryptionsalt: v1:x\nsecretsprovider: passphrase\nencryptedkey: x\nenvironment: [a]\n"
    assert problems(text, tmp_path) == ()


def test_a_byte_order_mark_and_windows_line_ends_are_accepted(tmp_path):
    assert problems(b"\xef\xbb\xbf" + POOL.replace("\n", "\r\n").encode(), tmp_path) == ()


@pytest.mark.parametrize("key", ["pools", "gpu-slicing:pools", "gpu-slicing:config:pools"])
def test_the_three_ways_to_write_a_key(key, tmp_path):
    assert problems(POOL.replace("gpu-slicing:pools", key), tmp_path) == ()


class TestFilesThatAreNoFiles:
    def test_missing(self, tmp_path):
        found = problems_of_file(tmp_path / "Pulumi.nowhere.yaml")
        assert "cannot be read: No such file or directory" in found[0].message

    def test_a_folder(self, tmp_path):
        assert [p.message for p in problems_of_file(tmp_path)] == ["is not a file"]

    def test_a_pipe_is_not_waited_for(self, tmp_path):
        os.mkfifo(tmp_path / "pipe")
        assert [p.message for p in problems_of_file(tmp_path / "pipe")] == ["is not a file"]

    def test_a_device_is_not_read(self):
        assert [p.message for p in problems_of_file(Path("/dev/zero"))] == ["is not a file"]

    def test_a_name_with_a_null(self, tmp_path):
        assert "cannot be read" in problems_of_file(tmp_path / "a\0b")[0].message


def test_faults_of_the_yaml_and_of_the_settings_are_one_report(tmp_path):
    text = POOL.replace("replicas: 4", "replicas: 010, rename: yes") + "  gpu-slicing:clutser: {}\n"
    path = tmp_path / NAME
    path.write_text(text)
    with pytest.raises(SettingsError) as error:
        load_stack(path, "prod")
    assert [p.path for p in error.value.problems] == [
        f"{PREFIX}clutser",
        f"{PREFIX}pools[0].sharing.rename",
        f"{PREFIX}pools[0].sharing.replicas",
    ]
    assert len(read_stack_file(path).faults) == 2


def test_both_roads_give_the_same_data(tmp_path):
    config = changed({})
    assert load_stack_file(written(config, tmp_path)) == config


_SCALARS = st.none() | st.booleans() | st.integers(-(10**17), 10**17) | st.floats() | st.text()
_DATA = st.recursive(
    _SCALARS, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3), max_leaves=10
)


@settings(max_examples=60, deadline=None)
@given(
    st.text(alphabet=st.characters(codec="utf-8"), max_size=200) | st.text(string.punctuation + " \nab01", max_size=99)
)
def test_any_text_is_data_or_one_kind_of_error(text):
    with contextlib.suppress(SettingsError):
        load_yaml(text, NAME)


@settings(max_examples=60, deadline=None)
@given(_DATA)
def test_any_document_is_data_or_one_kind_of_error(data):
    text = yaml.safe_dump(data)
    try:
        found = load_yaml(text, NAME)
    except SettingsError:
        return
    assert found == yaml.safe_load(text)
