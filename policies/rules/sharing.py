"""The device plugin's configurations work, and every node finds the one that its label names."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from difflib import get_close_matches
from functools import partial

from policies import bottlerocket, device_plugin, facts, karpenter, mig_parted, slices
from policies.facts import GpuPool
from policies.items import HELM
from policies.model import Config, Finding, Item, Option, Rule, Stack, each
from policies.slices import MIG, PLUGIN, Sliced
from policies.view import View
from policies.workloads import GPU, PREFIX, Taint

PLUGIN_README = "https://github.com/NVIDIA/k8s-device-plugin#shared-access-to-gpus"
GPU_SHARING = "https://docs.nvidia.com/datacenter/cloud-native/gpu-operator/latest/gpu-sharing.html"
BOTTLEROCKET = "https://bottlerocket.dev/en/os/1.54.x/api/settings/kubelet-device-plugins"
PLUGIN_CHART = "nvidia-device-plugin"
"""The device plugin's own chart, for clusters without the GPU operator."""
MIG_KEY = "config.yaml"
"""The MIG manager reads this entry alone (controllers/object_controls.go)."""
_SOURCES = (facts.CONFIG_MAP, HELM)


def plugin_config_valid(item: Item, config: Config) -> Iterator[str]:
    for document in _plugin_documents(item):
        yield from device_plugin.problems(document)


def plugin_config_ignored_keys(item: Item, config: Config) -> Iterator[str]:
    for document in _plugin_documents(item):
        if device_plugin.is_valid(document):
            yield from device_plugin.ignored(document)
    if facts.chart_name(item) == facts.OPERATOR_CHART:
        for operand in (PLUGIN, MIG):
            values = slices.config_values(item, operand)
            if values["data"].fields() and not values["create"].flag():
                yield f"sets {values['data'].path}, which the chart ignores without create: true"


def _plugin_documents(item: Item) -> list[View]:
    """What is a device plugin configuration beyond doubt: by its form, or since a chart makes it one."""
    if facts.chart_name(item) == PLUGIN_CHART:
        return list(facts.documents(item.data.at("values", "config", "map"), facts.is_plugin_config).values())
    # `readable-resources` reports what cannot be read.
    return [document for found in facts.readable([item], _documents) for document in found.values()]


def _documents(item: Item) -> dict[str, View]:
    if item.kind == facts.CONFIG_MAP:
        return facts.documents(item.data["data"], device_plugin.looks_like_one)
    if facts.chart_name(item) == facts.OPERATOR_CHART:
        return facts.documents(slices.config_values(item, PLUGIN)["data"], facts.is_plugin_config)
    return {}


def plugin_config_entries(stack: Stack, config: Config) -> Iterator[Finding]:
    """Entries whose form does not tell what they are; the other rules on configurations judge those that do."""
    names = facts.readable(facts.releases(stack, facts.OPERATOR_CHART), partial(_config_map_name, PLUGIN))
    return each([item for item in stack.of(facts.CONFIG_MAP) if item.name in names], _doubtful_entries)


def _config_map_name(operand: str, release: Item) -> str:
    return slices.config_values(release, operand)["name"].text()


def _doubtful_entries(item: Item) -> Iterator[str]:
    readable = facts.documents(item.data["data"], lambda data: isinstance(data, dict))
    for key, entry in item.data["data"].fields().items():
        document = readable.get(key)
        if document is None and entry.text().strip():
            yield f"holds {entry.path}, which is no YAML object"
        elif document is not None and not device_plugin.looks_like_one(document.known()):
            yield from device_plugin.problems(document)
            yield from device_plugin.ignored(document)


def bottlerocket_slicing_valid(item: Item, config: Config) -> Iterator[str]:
    if facts.is_bottlerocket(item):
        if not bottlerocket.is_toml(item):
            yield "has user data that is no TOML"
        yield from bottlerocket.problems(bottlerocket.settings(item))


def slices_refuse_double_requests(item: Item, config: Config) -> Iterator[str]:
    if item.kind == karpenter.NODE_CLASS:
        valid = facts.is_bottlerocket(item) and bottlerocket.is_valid(item)
        documents = [bottlerocket.plugin_config(bottlerocket.settings(item))] if valid else []
    else:
        documents = [document for document in _plugin_documents(item) if device_plugin.is_valid(document)]
    for document in documents:
        for mode in device_plugin.BLOCKS:
            block = document["sharing"][mode]
            # The plugin's default: true for MPS, false for time-slicing (api/config/v1/config.go).
            if block.present and not block["failRequestsGreaterThanOne"].flag(mode == "mps"):
                yield f"does not set failRequestsGreaterThanOne to true in {block.path}"


def config_label_resolves(stack: Stack, config: Config) -> Iterator[Finding]:
    found = list(each(facts.releases(stack, facts.OPERATOR_CHART), partial(_unresolved_values, stack)))
    yield from found
    if not found:
        yield from slices.each(facts.pools(stack), partial(_unresolved_labels, stack))


def _unresolved_values(stack: Stack, release: Item) -> Iterator[str]:
    for operand in (PLUGIN, MIG):
        given = slices.config_values(release, operand)
        name = given["name"].text()
        if name and not given["create"].flag() and not _config_maps(stack, name):
            yield f"points {operand}.config.name at the ConfigMap {name}, which is not in this program"
    for item in _config_maps(stack, slices.config_values(release, MIG)["name"].text()):
        if not item.data["data"][MIG_KEY].present:
            yield f"points migManager.config.name at the ConfigMap {item.name}, which lacks the key {MIG_KEY}"
    default = slices.config_values(release, PLUGIN)["default"].text()
    if default and default not in _names(stack, release):
        yield f"sets devicePlugin.config.default to {default}{_known_names(default, _names(stack, release))}"
    default = slices.config_values(release, MIG)["default"].text()
    if default not in ("", mig_parted.DISABLED):
        yield f"sets migManager.config.default to {default}; allowed: {mig_parted.DISABLED}"


def _unresolved_labels(stack: Stack, pool: GpuPool) -> Iterator[str]:
    if slices.bottlerocket_class(stack, pool):
        return
    operators = facts.releases(stack, facts.OPERATOR_CHART)
    names = [name for release in operators for name in _names(stack, release)] or list(facts.plugin_configs(stack))
    # Without the operator and without a configuration, both are somewhere else.
    if pool.plugin and (operators or names) and pool.plugin not in names:
        yield f"has the label {facts.PLUGIN_LABEL}: {pool.plugin}{_known_names(pool.plugin, names)}"
    layouts = list(slices.mig_layouts(stack))
    if slices.is_mig(pool) and layouts and pool.mig not in layouts:
        yield f"has the label {facts.MIG_LABEL}: {pool.mig}{_known_names(pool.mig, layouts)}"


def _config_maps(stack: Stack, name: str) -> list[Item]:
    return [item for item in stack.of(facts.CONFIG_MAP) if item.name == name]


def _names(stack: Stack, release: Item) -> list[str]:
    """The device plugin configurations that the operator's nodes find."""
    given = slices.config_values(release, PLUGIN)
    maps = _config_maps(stack, given["name"].text())
    return [*given["data"].fields(), *(key for item in maps for key in item.data["data"].fields())]


def _known_names(name: str, known: Iterable[str]) -> str:
    close = get_close_matches(name, list(known), n=3)
    return f", which no configuration is named{', as is ' if close else ''}{', '.join(close)}"


def config_map_beside_operator(stack: Stack, config: Config) -> Iterator[Finding]:
    return each(facts.releases(stack, facts.OPERATOR_CHART), partial(_elsewhere, stack))


def _elsewhere(stack: Stack, release: Item) -> Iterator[str]:
    own = release.data["namespace"]
    for operand in (PLUGIN, MIG):
        name = slices.config_values(release, operand)["name"].text()
        for item in _config_maps(stack, name):
            place = item.data.at("metadata", "namespace")
            if own.present and place.present and own.text() != place.text():
                yield f"is in namespace {own.text()}, and its ConfigMap {name} in {place.text()}"


def sharing_has_effect(stack: Stack, config: Config) -> Iterator[Finding]:
    def check(sliced: Sliced) -> Iterator[str]:
        wanted = sliced.wanted if sliced.pool.plugin else []
        if wanted and sliced.types and not any(sliced.shares(t) for t in sliced.types):
            has = sorted({name for t in sliced.types for name in sliced.devices(t)})
            names = ", ".join(share.resource for share in wanted)
            yield f"is labelled with {sliced.pool.plugin}, which shares {names}; its nodes have {', '.join(has)}"

    return slices.each_known(stack, check)


def slice_name_unambiguous(stack: Stack, config: Config) -> Iterator[Finding]:
    whole = [sliced for sliced in slices.known(stack) if _gpus_per_gpu(sliced) == 1]

    def check(sliced: Sliced) -> Iterator[str]:
        if _gpus_per_gpu(sliced) > 1:
            own = _barriers(sliced)
            open_to = [other.pool.name for other in whole if own <= _barriers(other)]
            if open_to:
                yield (
                    f"calls its slices {GPU}, as pool {open_to[0]} calls whole GPUs, and has no taint of its own "
                    f"that keeps their pods away"
                )

    return slices.each_known(stack, check)


def _gpus_per_gpu(sliced: Sliced) -> int:
    """As how many `nvidia.com/gpu` the nodes offer each GPU, at most."""
    return max((sliced.offers(t).get(GPU, 0) // t.devices for t in sliced.types), default=0)


def _barriers(sliced: Sliced) -> set[Taint]:
    """Taints that keep pods away which do not tolerate them; EKS tolerates those of GPUs for every pod that asks."""
    taints = [Taint.of(taint) for taint in karpenter.taints(sliced.pool.item)]
    return {t for t in taints if t.effect in ("NoSchedule", "NoExecute") and not t.key.startswith(PREFIX)}


def slices_fit_pods(stack: Stack, config: Config) -> Iterator[Finding]:
    def check(sliced: Sliced) -> Iterator[str]:
        node_class = facts.node_class(stack, sliced.pool)
        own = node_class.data.at("spec", "kubelet", "maxPods").number() if node_class else None
        for instance_type in sliced.types:
            room = int(own or instance_type.max_pods) - config["systemPods"]
            number = sum(sliced.offers(instance_type).values())
            if number > room:
                yield f"offers {number} slices on a {instance_type.name}; allowed: {room}, beside the system's pods"

    return slices.each_known(stack, check)


RULES = (
    Rule(
        id="plugin-config-valid",
        description="Every device plugin configuration is one that the device plugin accepts.",
        why="The plugin does not start with any other: the node joins, never offers a GPU, and is billed, for "
        "Karpenter waits for it without end.",
        remedy="Correct the field as the device plugin's README describes it.",
        url=PLUGIN_README,
        severity="critical",
        check=plugin_config_valid,
        kinds=_SOURCES,
    ),
    Rule(
        id="plugin-config-ignored-keys",
        description="No device plugin configuration sets what the device plugin ignores.",
        why="The plugin neither reads keys that it does not know nor says so: a misspelt key, `rename` or `devices` "
        "leaves whole GPUs, or other names, where slices were meant.",
        remedy="Take the key away or spell it as the device plugin's README does.",
        url=PLUGIN_README,
        severity="high",
        check=plugin_config_ignored_keys,
        kinds=_SOURCES,
    ),
    Rule(
        id="plugin-config-entries",
        description="The ConfigMap that the operator gives to the device plugin holds its configurations alone.",
        why="The plugin of every node whose label names another entry does not start.",
        remedy="Write a YAML object with `version: v1`, or take the entry away.",
        url=GPU_SHARING,
        severity="high",
        check=plugin_config_entries,
    ),
    Rule(
        id="bottlerocket-slicing-valid",
        description="The user data of Bottlerocket nodes slices GPUs in a way that Bottlerocket accepts and does not "
        "ignore.",
        why="Bottlerocket's device plugin is part of the OS and reads the user data alone. A node does not start with "
        "settings that the OS does not know, and slices nothing without the strategy.",
        remedy="Set device-sharing-strategy and the table of the same name in settings.kubelet-device-plugins.nvidia.",
        url=BOTTLEROCKET,
        severity="high",
        check=bottlerocket_slicing_valid,
        kinds=(karpenter.NODE_CLASS,),
    ),
    Rule(
        id="slices-refuse-double-requests",
        description="The device plugin refuses a container that asks for more than one slice.",
        why="Two slices give no more of the GPU than one, and may be of the same GPU: who asks for two is mistaken, "
        "and takes a neighbour's place (gpu-operator issue 386). The default for time-slicing is to allow it.",
        remedy="Set failRequestsGreaterThanOne: true beside the resources.",
        url="https://github.com/NVIDIA/gpu-operator/issues/386",
        severity="medium",
        check=slices_refuse_double_requests,
        kinds=(*_SOURCES, karpenter.NODE_CLASS),
    ),
    Rule(
        id="config-label-resolves",
        description="Every sharing configuration that a pool's label or the operator names is there.",
        why="The device plugin of a node whose label names no entry never starts, and the MIG manager fails: the node "
        "never becomes ready, and is billed.",
        remedy="Name an entry of the ConfigMap, and keep that ConfigMap in the same program.",
        url=GPU_SHARING,
        severity="critical",
        check=config_label_resolves,
    ),
    Rule(
        id="config-map-beside-operator",
        description="The ConfigMaps that the GPU operator reads are in its own namespace.",
        why="A pod mounts ConfigMaps of its own namespace only: the operator's pods wait for ever.",
        remedy="Put the ConfigMap into the namespace of the release.",
        url=GPU_SHARING,
        severity="high",
        check=config_map_beside_operator,
    ),
    Rule(
        id="sharing-has-effect",
        description="The configuration that a pool's label names shares something that its nodes have.",
        why="The plugin passes over a resource that matches no device, without a word: the GPUs stay whole.",
        remedy="Share nvidia.com/gpu, or nvidia.com/mig-<profile> on nodes with MIG.",
        url=PLUGIN_README,
        severity="high",
        check=sharing_has_effect,
    ),
    Rule(
        id="slice-name-unambiguous",
        description="A pool that calls its slices nvidia.com/gpu beside a pool of whole GPUs has a taint of its own.",
        why="A pod that asks for nvidia.com/gpu cannot know whether it gets a GPU or a slice of one, and EKS "
        "tolerates the taint nvidia.com/gpu for it.",
        remedy="Set renameByDefault: true, or give the sliced pool a further taint.",
        url=PLUGIN_README,
        severity="high",
        check=slice_name_unambiguous,
    ),
    Rule(
        id="slices-fit-pods",
        description="A node holds a pod for each of its slices beside the system's pods.",
        why="The kubelet takes 29 pods on a g4dn.xlarge and 100 on a p5.48xlarge: slices over that are paid for and "
        "cannot be used, and Karpenter plans with them.",
        remedy="Share each GPU less often, or buy a type that holds more pods.",
        url="https://karpenter.sh/docs/reference/instance-types/",
        severity="medium",
        check=slices_fit_pods,
        options={
            "systemPods": Option("integer", 10, "Pods of DaemonSets on each GPU node.", minimum=0, maximum=100),
        },
    ),
)
