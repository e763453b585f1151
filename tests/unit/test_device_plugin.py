"""The model of the NVIDIA device plugin against the plugin's own rules and error texts."""

from __future__ import annotations

import pytest
import yaml

from sandbox.device_plugin import FALLBACK, PluginError, advertised, fails_on_two, select

GPU = "nvidia.com/gpu"
FOUR = {GPU: 4}
A100 = {"nvidia.com/mig-1g.5gb": 24, "nvidia.com/mig-2g.10gb": 16}


def config(**sharing: object) -> str:
    return yaml.safe_dump({"version": "v1", "sharing": sharing})


def block(replicas: object = 4, name: object = GPU, **options: object) -> dict[str, object]:
    return {**options, "resources": [{"name": name, "replicas": replicas}]}


def refused(text: str, physical: dict[str, int] | None = None, strategy: str = "", mig_gpus: int = 0) -> str:
    with pytest.raises(PluginError) as caught:
        advertised(text, FOUR if physical is None else physical, strategy, mig_gpus)
    return str(caught.value)


@pytest.mark.parametrize("text", ["", "version: v1", "{}", "version: v1\nsharing: {}\n", "version: ''"])
def test_without_sharing_the_node_has_its_gpus(text):
    assert advertised(text, FOUR) == FOUR


def test_replicas_multiply_every_gpu():
    assert advertised(config(timeSlicing=block(5)), FOUR) == {GPU: 20}


def test_renaming_leaves_no_whole_gpu():
    assert advertised(config(timeSlicing=block(5, renameByDefault=True)), FOUR) == {GPU + ".shared": 20}


def test_a_name_gets_its_prefix():
    assert advertised(config(timeSlicing=block(2, "gpu")), FOUR) == {GPU: 8}


@pytest.mark.parametrize("name", ["nvidia.com/gpus", "nvidia.com/mig-1g.5gb", "amd.com.gpu"])
def test_a_name_that_matches_nothing_is_skipped_without_a_word(name):
    assert advertised(config(timeSlicing=block(5, name)), FOUR) == FOUR


def test_unknown_keys_are_ignored():
    text = yaml.safe_dump({"version": "v1", "sharing": {"timeslicing": block(5)}, "shering": {"mps": 1}})
    assert advertised(text, FOUR) == FOUR


def test_a_custom_rename_and_a_device_selection_are_ignored():
    resource = {"name": GPU, "replicas": 3, "rename": "nvidia.com/slice", "devices": [0]}
    assert advertised(config(timeSlicing={"resources": [resource]}), FOUR) == {GPU: 12}


def test_mps_wins_over_time_slicing():
    text = config(timeSlicing=block(5), mps=block(3, renameByDefault=True))
    assert advertised(text, FOUR) == {GPU + ".shared": 12}


def test_time_slicing_beside_mps_is_still_parsed():
    assert refused(config(timeSlicing={}, mps=block(3))) == "no resources specified"


def test_fail_requests_greater_than_one_defaults():
    assert not fails_on_two(config(timeSlicing=block()))
    assert fails_on_two(config(timeSlicing=block(failRequestsGreaterThanOne=True)))
    assert fails_on_two(config(mps=block()))
    assert not fails_on_two(config(mps=block(failRequestsGreaterThanOne=False), timeSlicing=block()))


@pytest.mark.parametrize(
    ("sharing", "message"),
    [
        ({"timeSlicing": {}}, "no resources specified"),
        ({"timeSlicing": {"resources": []}}, "no resources specified"),
        ({"mps": {}}, "no resources specified"),
        ({"timeSlicing": {"resources": [{"replicas": 2}]}}, "no resource name specified"),
        ({"timeSlicing": {"resources": [{"name": GPU}]}}, "no replicas specified"),
        ({"timeSlicing": block(1)}, "number of replicas must be >= 2"),
        ({"timeSlicing": block(0)}, "number of replicas must be >= 2"),
        ({"timeSlicing": block(-3)}, "number of replicas must be >= 2"),
        (
            {"timeSlicing": block(2, "a" * 53)},
            "fully-qualified resource name must be 63 characters or less",
        ),
        ({"timeSlicing": block(2, "nvidia.com/GPU")}, "incorrect format for resource name"),
        ({"timeSlicing": block(2, "nvidia.com/")}, "incorrect format for resource name"),
        ({"mps": block(49)}, "invalid device maximum allowed replicas exceeded: 49 > 48"),
    ],
)
def test_sharing_is_refused_with_the_plugins_words(sharing, message):
    assert refused(config(**sharing)) == message


def test_the_longest_name_and_the_most_clients_pass():
    assert advertised(config(timeSlicing=block(2, "a" * 52)), FOUR) == FOUR
    assert advertised(config(mps=block(48)), {GPU: 1}) == {GPU: 48}
    assert advertised(config(timeSlicing=block(1000)), {GPU: 1}) == {GPU: 1000}


@pytest.mark.parametrize(
    ("devices", "message"),
    [
        ("some", "devices set as 'some' but the only valid string input is 'all'"),
        (0, "devices set as '0' but a count of devices must be > 0"),
        (-1, "devices set as '-1' but a count of devices must be > 0"),
        (["zero"], "unsupported type for device in devices list: zero"),
        ([1.5], "unsupported type for device in devices list: 1.5"),
        ({"a": 1}, "unrecognized type for devices spec: {'a': 1}"),
    ],
)
def test_devices_are_checked_before_they_are_ignored(devices, message):
    resource = {"name": GPU, "replicas": 2, "devices": devices}
    assert refused(config(timeSlicing={"resources": [resource]})) == message


@pytest.mark.parametrize("devices", ["all", 2, [0, "1", "0:1", "GPU-b1028956-cfa2-0990-bf4a-5da9abb51763"]])
def test_good_devices(devices):
    resource = {"name": GPU, "replicas": 2, "devices": devices}
    assert advertised(config(timeSlicing={"resources": [resource]}), FOUR) == {GPU: 8}


@pytest.mark.parametrize("replicas", ["4", 2.5, True, None])
def test_replicas_of_another_type(replicas):
    assert "replicas" in refused(config(timeSlicing=block(replicas)))


def test_version():
    assert refused("version: v2") == "unknown version: v2"


@pytest.mark.parametrize("text", ["[1]", "text", "sharing: [1]", "sharing: {timeSlicing: 4}", "a: [", "flags: 3"])
def test_what_is_no_object_is_refused(text):
    assert refused(text).startswith("unmarshal error")


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        ({"migStrategy": "both"}, "unknown MIG strategy: both"),
        ({"plugin": {"deviceListStrategy": "x"}}, "invalid --device-list-strategy option: x"),
        ({"plugin": {"deviceListStrategy": ["envvar", "x"]}}, "invalid --device-list-strategy option: x"),
        ({"plugin": {"deviceIDStrategy": "x"}}, "invalid --device-id-strategy option: x"),
        (
            {"plugin": {"sharedDevicesAllocationPolicy": "x"}},
            "invalid --shared-devices-allocation-policy option: x",
        ),
        ({"deviceDiscoveryStrategy": "x"}, "invalid --device-discovery-strategy option: x"),
    ],
)
def test_flags(flags, message):
    assert refused(yaml.safe_dump({"version": "v1", "flags": flags})) == message


def test_mig_strategies():
    assert advertised("", A100, "mixed", 8) == A100
    assert advertised("", A100, "none", 8) == {GPU: 8}
    assert advertised("", {"nvidia.com/mig-1g.10gb": 7}, "single", 1) == {GPU: 7}
    assert advertised("", FOUR, "single") == FOUR


def test_the_environment_wins_over_the_file():
    text = yaml.safe_dump({"version": "v1", "flags": {"migStrategy": "mixed"}})
    assert advertised(text, A100, "", 8) == A100
    assert advertised(text, A100, "none", 8) == {GPU: 8}


def test_single_is_refused_where_gpus_differ():
    mixed = {GPU: 7, "nvidia.com/mig-1g.5gb": 7}
    assert refused("", mixed, "single", 1) == (
        "all devices on the node must be configured with the same migEnabled value"
    )
    assert refused("", {}, "single", 8) == "device 0 has no MIG devices configured"
    assert refused("", A100, "single", 8) == "more than one MIG device type present on node"


def test_mig_devices_can_be_time_sliced():
    text = config(timeSlicing=block(2, "nvidia.com/mig-1g.5gb", renameByDefault=True))
    assert advertised(text, A100, "mixed", 8) == {"nvidia.com/mig-1g.5gb.shared": 48, "nvidia.com/mig-2g.10gb": 16}


def test_mps_and_mig_exclude_each_other():
    assert refused(config(mps=block()), FOUR, "mixed") == ("using --mig-strategy=mixed is not supported with MPS")
    assert refused(config(mps=block()), {"nvidia.com/mig-1g.10gb": 7}, "single", 1) == (
        "sharing using MPS is not supported for MIG devices"
    )


def test_the_node_label_chooses():
    configs = {"exclusive": "version: v1", "time-slicing-4": config(timeSlicing=block())}
    assert select(configs, "time-slicing-4", "exclusive") == "time-slicing-4"
    assert select(configs, None, "exclusive") == "exclusive"
    assert select(configs, None, "") == FALLBACK
    for label, default in (("time-slicing-5", "exclusive"), (None, "missing")):
        with pytest.raises(PluginError, match=r"^specified config (time-slicing-5|missing) does not exist$"):
            select(configs, label, default)
