"""What holds for every stack: of right ones, what is derived agrees with itself; of any other, that it is refused."""

import copy
import json
import re

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from stackdata import GOOD, problems_of

from gpuslice.gpu_operator import mig_config
from gpuslice.gpu_operator import tolerations as operator_tolerations
from gpuslice.load import load_settings
from gpuslice.manifests.stack import stack_manifests
from gpuslice.pools import GPU, MIG_LABEL, POOL_LABEL, Pool
from gpuslice.settings import Mig, Replicated
from gpuslice.sharing.plugin import catalogue
from tests.strategies import FAMILIES, TYPES, anything, pools, stacks

LABEL_VALUE = re.compile(r"[A-Za-z0-9]([-A-Za-z0-9_.]{0,61}[A-Za-z0-9])?")
some = settings(
    max_examples=50, deadline=None, suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large]
)
few = settings(some, max_examples=20)


def advertised(pool: Pool, devices: int, files: list[Pool]) -> dict[str, int]:
    """What a node with that many GPUs will offer, going by its label and the ConfigMaps alone."""
    key, name = pool.config_label
    if key == MIG_LABEL:
        entries = mig_config([p for p in files if isinstance(p.settings.sharing, Mig)])["mig-configs"][name]
        (entry,) = [e for e in entries if e["device-filter"] == [f"{pool.gpu.pci_device_id}10DE"]]
        return {
            "nvidia.com/mig-" + profile.replace("+", "."): count * devices
            for profile, count in entry["mig-devices"].items()
        }
    sharing = catalogue(files)[name].get("sharing")
    if not sharing:
        return {GPU: devices}
    (block,) = sharing.values()
    (resource,) = block["resources"]
    renamed = resource["name"] + (".shared" if block["renameByDefault"] else "")
    return {renamed: resource["replicas"] * devices}


def derived(config):
    loaded = load_settings(config, "prod")
    return loaded, [Pool.of(p) for p in loaded.pools]


@some
@given(stacks())
def test_karpenter_expects_what_the_device_plugin_advertises(config):
    _, found = derived(config)
    for pool in found:
        covered = {name: overlay for overlay in pool.overlays for name in overlay.instance_types}
        for t in pool.types:
            expected = advertised(pool, t.devices, found)
            assert pool.slices(t) == expected
            if t.name in covered:
                assert {k: v for k, v in covered[t.name].capacity.items() if v} == expected
                assert covered[t.name].capacity[GPU] == expected.get(GPU, 0)
            else:
                # Karpenter counts whole GPUs by itself.
                assert expected == {GPU: t.gpu_count}


@some
@given(stacks())
def test_limits_let_every_node_in(config):
    _, found = derived(config)
    for pool in found:
        assert pool.limits["nodes"] >= 1
        for t in pool.types:
            for resource, quantity in pool.slices(t).items():
                assert pool.limits[resource] >= quantity


@some
@given(stacks())
def test_no_two_overlays_meet(config):
    _, found = derived(config)
    scopes = [(pool.name, name) for pool in found for overlay in pool.overlays for name in overlay.instance_types]
    assert len(scopes) == len(set(scopes))
    names = [overlay.name for pool in found for overlay in pool.overlays]
    assert len(names) == len(set(names))


@some
@given(stacks())
def test_labels_resolve(config):
    _, found = derived(config)
    for pool in found:
        key, name = pool.config_label
        assert LABEL_VALUE.fullmatch(name)
        entries = mig_config([pool])["mig-configs"] if key == MIG_LABEL else catalogue(found)
        assert name in entries
        assert pool.node_labels[key] == name
        assert pool.node_labels[POOL_LABEL] == pool.name


def tolerated(taint, tolerations):
    return any(
        t["key"] == taint["key"]
        and t.get("effect") in {None, taint["effect"]}
        and (t["operator"] == "Exists" or t.get("value", "") == taint.get("value", ""))
        for t in tolerations
    )


@some
@given(stacks())
def test_tolerations_match_taints_and_no_more(config):
    _, found = derived(config)
    operands = operator_tolerations(found)
    for pool in found:
        assert all(tolerated(taint, pool.tolerations) for taint in pool.taints)
        assert all(tolerated(taint, operands) for taint in pool.taints)
        assert len(pool.tolerations) == len(pool.taints)
        for other in found:
            if other.name != pool.name and isinstance(other.settings.sharing, Mig):
                assert not all(tolerated(taint, pool.tolerations) for taint in other.taints)


@some
@given(stacks())
def test_memory_of_a_slice_keeps_the_floor(config):
    _, found = derived(config)
    for pool in found:
        if isinstance(pool.settings.sharing, Replicated):
            floor = pool.settings.sharing.min_memory
            least = int(floor[:-2]) * {"Mi": 1, "Gi": 1024}[floor[-2:]]
            assert pool.resources[0].memory_mib >= least
        assert all(r.memory_mib > 0 for r in pool.resources)


@some
@given(stacks())
def test_the_slices_of_a_gpu_share_its_price(config):
    _, found = derived(config)
    for pool in found:
        assert sum(r.price_share * r.per_gpu for r in pool.resources) == 1


def unordered(value):
    """The value with every list sorted: what is left is what it says, not in which order."""
    if isinstance(value, dict):
        return {key: unordered(below) for key, below in value.items()}
    if isinstance(value, list):
        return sorted((unordered(below) for below in value), key=lambda v: json.dumps(v, sort_keys=True))
    return value


@few
@given(stacks(), st.randoms(use_true_random=False))
def test_the_order_of_pools_and_types_changes_nothing_but_order(config, random):
    shuffled = copy.deepcopy(config)
    for pool in shuffled["gpu-slicing:pools"]:
        for key in ("instanceTypes", "capacityTypes", "zones"):
            random.shuffle(pool.get(key, []))
        if "layout" in pool["sharing"]:
            profiles = list(pool["sharing"]["layout"].items())
            random.shuffle(profiles)
            pool["sharing"]["layout"] = dict(profiles)
    random.shuffle(shuffled["gpu-slicing:pools"])
    before, after = (stack_manifests(load_settings(c, "prod")) for c in (config, shuffled))
    assert unordered(before) == unordered(after)


@few
@given(stacks(most=3), pools(("time-slicing",)))
def test_another_pool_changes_no_object_of_the_first(config, another):
    """A pool's own objects depend on that pool alone."""
    more = copy.deepcopy(config)
    another["sharing"].pop("rename", None)
    if another["name"] in {p["name"] for p in config["gpu-slicing:pools"]}:
        another["name"] += "-x"
    more["gpu-slicing:pools"].append(another)
    before, after = (own_objects(c) for c in (config, more))
    assert {key: after[key] for key in before} == before


def own_objects(config):
    files = stack_manifests(load_settings(config, "prod"))
    kinds = {"NodePool", "EC2NodeClass", "NodeOverlay"}
    return {(o["kind"], o["metadata"]["name"]): o for objects in files.values() for o in objects if o["kind"] in kinds}


@pytest.mark.parametrize("name", TYPES)
def test_every_type_of_the_catalogue_can_be_a_pool(name):
    pool = {"name": "p", "instanceTypes": [name], "sharing": {"mode": "exclusive"}}
    assert problems_of({"gpu-slicing:pools": [pool]}) == ()


def test_the_strategies_reach_the_whole_catalogue():
    assert {t.name for types in FAMILIES.values() for t in types} | {
        n for n, t in TYPES.items() if t.fractional
    } == set(TYPES)


def accepted_or_refused(config):
    for problem in problems_of(config):
        assert problem.path
        assert problem.message
        assert len(problem.value) <= 80
        line = str(problem)
        assert line.isprintable()
        line.encode("utf-8")
        json.dumps(problem.as_json())


@settings(some, max_examples=150)
@given(anything)
def test_any_configuration_is_accepted_or_refused(config):
    accepted_or_refused(config)


@settings(some, max_examples=150)
@given(st.dictionaries(st.sampled_from([f"gpu-slicing:{key}" for key in GOOD]), anything))
def test_any_sections_are_accepted_or_refused(config):
    accepted_or_refused(config)


@st.composite
def nearly_right(draw):
    """The good settings with one value somewhere replaced by anything, or with one more key."""
    data = copy.deepcopy({f"gpu-slicing:{key}": value for key, value in GOOD.items()})
    target = data
    while True:
        step = draw(st.sampled_from(sorted(target) if isinstance(target, dict) else range(len(target))))
        below = target[step]
        if not isinstance(below, dict | list) or not below or draw(st.integers(0, 3)) == 0:
            break
        target = below
    if isinstance(target, dict) and draw(st.booleans()):
        step = draw(st.text(max_size=4) | st.sampled_from(["name", "mode", "nodes", "ids"]))
    target[step] = draw(anything)
    return data


@settings(some, max_examples=300)
@given(nearly_right())
def test_any_single_change_is_accepted_or_refused(config):
    accepted_or_refused(config)
