"""The NVIDIA GPU Operator, and the versions of the charts that decide over nodes with GPUs."""

from __future__ import annotations

import re
from collections.abc import Iterator

from gpuslice.catalog import versions
from policies import facts, karpenter
from policies.items import HELM
from policies.model import Config, Finding, Item, Rule, Stack, each
from policies.view import View

EFA_CHART = "aws-efa-k8s-device-plugin"
# The operator's own chart is judged by `operator-cve-floor`.
PINNED_CHARTS = (facts.KARPENTER_CHART, facts.KARPENTER_CRD_CHART, EFA_CHART)
ENVVAR = "ACCEPT_NVIDIA_VISIBLE_DEVICES_ENVVAR_WHEN_UNPRIVILEGED"
# Either keeps the operator's device plugin off a node. Source: gpu-operator controllers/state_manager.go
PLUGIN_OFF_LABELS = ("nvidia.com/gpu.deploy.device-plugin", "nvidia.com/gpu.deploy.operands")
# What Go's strconv.ParseBool, with which the toolkit reads its environment, takes for true.
_TRUE = ("1", "t", "T", "true", "TRUE", "True")

_RELEASE = re.compile(r"v?(\d+)\.(\d+)\.(\d+)")
# The version of an image is its tag, with the base image or a pre-release after a dash.
_TAG = re.compile(r"(v?\d+\.\d+\.\d+)(?!-(?:rc|alpha|beta|dev))(?:-[\w.-]+)?")
_IMAGE_FLOORS = {
    "operator": versions.GPU_OPERATOR_FLOOR,
    "toolkit": versions.CONTAINER_TOOLKIT_FLOOR,
    "devicePlugin": versions.DEVICE_PLUGIN_FLOOR,
    "migManager": versions.MIG_MANAGER_FLOOR,
}


def operator_cve_floor(item: Item, config: Config) -> Iterator[str]:
    if not _is_operator(item):
        return
    version = facts.chart_version(item)
    if not _at_least(version, versions.GPU_OPERATOR_FLOOR):
        shown = version or "the newest version there is"
        yield f"installs {shown}; allowed: a release, by its number, from {versions.GPU_OPERATOR_FLOOR} on"
    for operand, floor in _IMAGE_FLOORS.items():
        given = item.data.at("values", operand, "version")
        match = _TAG.fullmatch(given.text())
        if given.present and not (match and _at_least(match[1], floor)):
            yield f"sets {operand}.version to {given.text()}; allowed: a release, by its number, from {floor} on"


def _is_operator(item: Item) -> bool:
    return facts.chart_name(item) == facts.OPERATOR_CHART


def _at_least(version: str, floor: str) -> bool:
    return _numbers(version) >= _numbers(floor)


def _numbers(version: str) -> tuple[int, ...]:
    """The numbers of a release, none of anything else, which is less than any release."""
    match = _RELEASE.fullmatch(version)
    return tuple(int(number) for number in match.groups()) if match else ()


def operator_host_driver(item: Item, config: Config) -> Iterator[str]:
    if not _is_operator(item):
        return
    for operand in ("driver", "toolkit"):
        if item.data.at("values", operand, "enabled").flag(default=True):
            yield f"installs the {operand} on nodes whose image brings it; allowed: {operand}.enabled: false"


def toolkit_refuses_env(item: Item, config: Config) -> Iterator[str]:
    if not _is_operator(item):
        return
    for variable in item.data.at("values", "toolkit", "env").items():
        if variable["name"].text() == ENVVAR and (variable["valueFrom"].present or _is_true(variable["value"])):
            yield f"sets {ENVVAR} to true or to what is not in the values; allowed: 'false'"


def _is_true(value: View) -> bool:
    return str(value.known()) in _TRUE


def operator_two_plugins(stack: Stack, config: Config) -> Iterator[Finding]:
    operators = facts.releases(stack, facts.OPERATOR_CHART)

    def check(item: Item) -> Iterator[str]:
        labels = karpenter.node_labels(item)
        if any(labels[label].text() == "false" for label in PLUGIN_OFF_LABELS):
            return
        if any(o.data.at("values", "devicePlugin", "enabled").flag(default=True) for o in operators):
            yield f'gets a device plugin beside Bottlerocket\'s own; allowed: the label {PLUGIN_OFF_LABELS[0]}: "false"'

    return each(_bottlerocket_pools(stack), check)


def _bottlerocket_pools(stack: Stack) -> list[Item]:
    classes = [(pool.item, facts.node_class(stack, pool)) for pool in facts.pools(stack)]
    return [item for item, node_class in classes if node_class and facts.is_bottlerocket(node_class)]


def chart_versions_pinned(item: Item, config: Config) -> Iterator[str]:
    version = facts.chart_version(item)
    if facts.chart_name(item) in PINNED_CHARTS and not facts.EXACT_VERSION.fullmatch(version):
        yield f"takes the newest chart that fits {version or 'nothing at all'}; allowed: one exact version"


RULES = (
    Rule(
        id="operator-cve-floor",
        description="The GPU Operator and the images that its values name are releases with the known escapes fixed.",
        why="CVE-2024-0132, CVE-2025-23266 and CVE-2026-24260 let a container reach its node through the toolkit. "
        "A missing version or a range may be any release, and a pre-release comes before the fix.",
        remedy="Name one release of the chart that is not below the floor, and leave the images' versions to it.",
        url="https://nvidia.custhelp.com/app/answers/detail/a_id/5850",
        severity="critical",
        check=operator_cve_floor,
        kinds=(HELM,),
    ),
    Rule(
        id="operator-host-driver",
        description="The GPU Operator installs neither driver nor toolkit; the charts' defaults are that it does.",
        why="The AL2023 and Bottlerocket NVIDIA images bring both, and NVIDIA builds no driver container for them: the "
        "driver's pods fail, and the node never offers a GPU.",
        remedy="Set driver.enabled and toolkit.enabled to false in the values.",
        url="https://github.com/NVIDIA/gpu-operator/issues/686",
        severity="high",
        check=operator_host_driver,
        kinds=(HELM,),
    ),
    Rule(
        id="toolkit-refuses-env",
        description="The container toolkit does not give GPUs to whoever sets NVIDIA_VISIBLE_DEVICES.",
        why="With the variable accepted, a pod whose image asks for all GPUs sees those of its neighbours, without "
        "asking for a slice.",
        remedy=f"Set {ENVVAR} to 'false' in toolkit.env, or leave it out where the image brings the toolkit.",
        url="https://github.com/NVIDIA/gpu-operator/issues/421",
        severity="critical",
        check=toolkit_refuses_env,
        kinds=(HELM,),
    ),
    Rule(
        id="operator-two-plugins",
        description="The GPU Operator's device plugin stays away from Bottlerocket nodes, which have their own.",
        why="Two plugins register the same resource in turn, and the slices of the one are not those of the other.",
        remedy='Label the pool\'s nodes nvidia.com/gpu.deploy.device-plugin: "false", or set devicePlugin.enabled to '
        "false where all pools are Bottlerocket.",
        url="https://github.com/bottlerocket-os/bottlerocket/pull/4230",
        severity="high",
        check=operator_two_plugins,
    ),
    Rule(
        id="chart-versions-pinned",
        description="The charts of Karpenter, its CRDs and the EFA device plugin are named in one exact version.",
        why="Without it two runs of one program install two versions, and the CRDs move apart from the controller.",
        remedy="Name one exact version, such as 1.14.1.",
        url="https://helm.sh/docs/helm/helm_install/",
        severity="medium",
        check=chart_versions_pinned,
        kinds=(HELM,),
    ),
)
