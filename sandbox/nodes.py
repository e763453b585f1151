"""What a GPU node looks like at each moment of its life: plain data from plain data.

The kubelet's part (a Node with the machine's capacity) and the GPU stack's (labels, the device plugin, the MIG
manager). Nothing here knows of NodeOverlays: the slices come from the machine, its labels and the ConfigMaps, as in
production, and a node whose overlay promised something else stays uninitialised, as in production.
"""

from __future__ import annotations

import math
import tomllib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import yaml

from gpuslice.catalog import InstanceType, mig_profiles
from sandbox import device_plugin, mig_manager
from sandbox.account import GpuStack
from sandbox.device_plugin import PluginError
from sandbox.mig_manager import Layout, MigError

PLUGIN_LABEL = "nvidia.com/device-plugin.config"
MIG_LABEL = "nvidia.com/mig.config"
MIG_STATE_LABEL = "nvidia.com/mig.config.state"
PLUGIN_ERROR = "sandbox.gpu-slicing.io/device-plugin-error"
MIG_ERROR = "sandbox.gpu-slicing.io/mig-manager-error"
UNREGISTERED = {"key": "karpenter.sh/unregistered", "effect": "NoExecute"}

# Karpenter v1.14.1's VM_MEMORY_OVERHEAD_PERCENT: what the hypervisor and the kernel keep of the machine's memory.
_MEMORY_SHARE = 1 - 0.075
# EKS' reservations: amazon-eks-ami templates/al2023 (memory by pods, cpu by cores), kubelet's hard eviction.
_EVICTION_MIB = 100
_CPU_RESERVED = ((1, 60), (1, 10), (2, 5), (math.inf, 2.5))
_DEFAULT_DISK = "20Gi"

_NFD_LABELS = {
    "feature.node.kubernetes.io/pci-10de.present": "true",
    "nvidia.com/gpu.present": "true",
    "nvidia.com/gpu.deploy.device-plugin": "true",
    "nvidia.com/gpu.deploy.gpu-feature-discovery": "true",
    "nvidia.com/gpu.deploy.dcgm-exporter": "true",
}
_BOTTLEROCKET_SHARING = {"time-slicing": "timeSlicing", "mps": "mps"}


@dataclass(frozen=True)
class Delays:
    """Seconds after the node joined until the GPU stack's parts have done their work.

    `mig` counts from the moment when the plugin first showed whole GPUs. Production takes minutes.
    """

    labels: float = 0.3
    plugin: float = 0.6
    mig: float = 2.0


@dataclass(frozen=True)
class Surroundings:
    """What the GPU stack on one node can see at one moment.

    `maps` are the ConfigMaps' data by name; `whole_gpu_pods` counts the pods that hold `nvidia.com/gpu`, when asked;
    `hold_mig` keeps the MIG manager from starting (a test's handle on the time before MIG is applied).
    """

    labels: Mapping[str, str]
    stack: GpuStack
    maps: Mapping[str, Mapping[str, str]]
    whole_gpu_pods: Callable[[], int] = lambda: 0
    hold_mig: bool = False


@dataclass(frozen=True)
class View:
    """What the GPU stack shows of a node: None while it has nothing to say."""

    labels: Mapping[str, str] = field(default_factory=dict)
    resources: Mapping[str, int] = field(default_factory=dict)
    errors: Mapping[str, str] = field(default_factory=dict)


@dataclass
class GpuNode:
    """The GPU stack of one node. `step` is called again and again; it changes only what time and labels change.

    As in production, a ConfigMap's content is read when the plugin starts or the node's label changes, not when
    the ConfigMap is edited.
    """

    kind: InstanceType
    joined: float
    delays: Delays = field(default_factory=Delays)
    bottlerocket: str | None = None
    """The EC2NodeClass' user data on Bottlerocket, where the plugin is part of the system; else None."""

    layouts: list[Layout] = field(default_factory=list)
    _plugin_choice: tuple[str | None, str] | None = None
    _plugin_text: str = ""
    _plugin_error: str = ""
    _mig_choice: str | None = None
    _mig_state: str = ""
    _mig_error: str = ""
    _shown_at: float | None = None

    def __post_init__(self) -> None:
        self.layouts = self.layouts or [None] * self.kind.devices

    def step(self, now: float, seen: Surroundings) -> View:
        """The node's GPU labels, extended resources and errors at time `now` (seconds, any epoch)."""
        age = now - self.joined
        if age < self.delays.labels:
            return View()
        labels = {**_NFD_LABELS, "nvidia.com/mig.capable": str(self._mig_capable()).lower()}
        if age < self.delays.plugin:
            return View(labels)
        if self._shown_at is None:
            self._shown_at = now
        if self.bottlerocket is None:
            self._read_plugin_config(seen)
            self._run_mig_manager(now, seen)
        if self._mig_state:
            labels[MIG_STATE_LABEL] = self._mig_state
        resources = {} if self._mig_state == "pending" else self._resources(seen.stack)
        errors = {PLUGIN_ERROR: self._plugin_error, MIG_ERROR: self._mig_error}
        return View(labels, resources, {name: text for name, text in errors.items() if text})

    def _mig_capable(self) -> bool:
        return self.kind.gpu.mig_status == "supported"

    def _read_plugin_config(self, seen: Surroundings) -> None:
        label, name = seen.labels.get(PLUGIN_LABEL), seen.stack.plugin_config_map
        if self._plugin_choice == (label, name or "") and not self._plugin_error:
            return
        configs = seen.maps.get(name) if name else {}
        try:
            if configs is None:
                raise PluginError(f'configmap "{name}" not found')
            chosen = device_plugin.select(configs, label, seen.stack.plugin_default)
            self._plugin_text, self._plugin_error = configs.get(chosen, ""), ""
        except PluginError as error:
            self._plugin_error = str(error)
        self._plugin_choice = (label, name or "")

    def _run_mig_manager(self, now: float, seen: Surroundings) -> None:
        label = seen.labels.get(MIG_LABEL)
        if not label or not self._mig_capable() or self._shown_at is None:
            return
        if self._mig_state == "pending":
            self._apply_mig(label, seen)
        elif label != self._mig_choice and not seen.hold_mig and now - self._shown_at >= self.delays.mig:
            self._mig_choice, self._mig_state, self._mig_error = label, "pending", ""

    def _apply_mig(self, label: str, seen: Surroundings) -> None:
        try:
            if seen.whole_gpu_pods():
                raise MigError("error setting MIGConfig: error clearing MigConfig: In use by another client")
            configs = seen.maps.get(seen.stack.mig_config_map or "")
            if configs is None or "config.yaml" not in configs:
                raise MigError(f'configmap "{seen.stack.mig_config_map}" with key config.yaml not found')
            self.layouts = self._wanted_layouts(configs["config.yaml"], label)
            self._mig_state, self._mig_error = "success", ""
        except MigError as error:
            self._mig_state, self._mig_error = "failed", str(error)

    def _wanted_layouts(self, text: str, label: str) -> list[Layout]:
        gpu = self.kind.gpu
        if gpu.mig_gpu is None or gpu.pci_device_id is None:
            raise MigError("MIG not supported")
        profiles = mig_profiles(gpu.mig_gpu)
        return mig_manager.apply(text, label, gpu.pci_device_id, self.kind.devices, profiles)

    def _resources(self, stack: GpuStack) -> dict[str, int]:
        shown, mig_gpus = mig_manager.physical(self.layouts)
        try:
            if self.bottlerocket is not None:
                text, strategy = bottlerocket_config(self.bottlerocket), "none"
            elif self._plugin_error:
                return {}
            else:
                text, strategy = self._plugin_text, stack.mig_strategy
            return device_plugin.advertised(text, shown, strategy, mig_gpus)
        except PluginError as error:
            self._plugin_error = str(error)
            return {}


def bottlerocket_config(user_data: str) -> str:
    """The plugin's configuration that Bottlerocket makes of its settings (bottlerocket PR 4230, 4418).

    Raises PluginError for user data that is not TOML, or settings of a wrong shape.
    """
    try:
        settings = tomllib.loads(user_data)
        plugin = settings.get("settings", {}).get("kubelet-device-plugins", {}).get("nvidia", {})
        strategy = plugin.get("device-sharing-strategy", "none")
        if strategy == "none":
            return yaml.safe_dump({"version": "v1"})
        mode = _BOTTLEROCKET_SHARING[strategy]
        block = plugin.get(strategy, {})
        resource = {"name": device_plugin.WHOLE_GPU, "replicas": block["replicas"]}
    except (tomllib.TOMLDecodeError, AttributeError, KeyError) as error:
        raise PluginError(f"Bottlerocket refuses its user data: {error}") from None
    sharing = {
        "renameByDefault": block.get("rename-by-default", False),
        "failRequestsGreaterThanOne": block.get("fail-requests-greater-than-one", False),
        "resources": [resource],
    }
    return yaml.safe_dump({"version": "v1", "sharing": {mode: sharing}})


def bottlerocket_user_data(node_class: Mapping[str, Any]) -> str | None:
    """The user data of an EC2NodeClass whose AMI is Bottlerocket's, None for any other AMI."""
    spec = node_class.get("spec", {})
    aliases = [term.get("alias", "") for term in spec.get("amiSelectorTerms", [])]
    family = spec.get("amiFamily", "")
    if family == "Bottlerocket" or any(alias.startswith("bottlerocket@") for alias in aliases):
        return str(spec.get("userData") or "")
    return None


def machine_resources(vcpus: int, memory_mib: int, max_pods: int, disk: str) -> tuple[dict[str, str], dict[str, str]]:
    """(capacity, allocatable) that the kubelet reports before any device plugin."""
    memory = math.floor(memory_mib * _MEMORY_SHARE)
    reserved = 11 * max_pods + 255 + _EVICTION_MIB
    capacity = {
        "cpu": str(vcpus),
        "memory": f"{memory}Mi",
        "pods": str(max_pods),
        "ephemeral-storage": disk,
        "hugepages-1Gi": "0",
        "hugepages-2Mi": "0",
    }
    allocatable = {
        **capacity,
        "cpu": f"{vcpus * 1000 - _reserved_millicores(vcpus)}m",
        "memory": f"{memory - reserved}Mi",
    }
    return capacity, allocatable


def _reserved_millicores(vcpus: int) -> int:
    reserved, left = 0.0, float(vcpus)
    for cores, millicores in _CPU_RESERVED:
        counted = min(left, cores)
        reserved += counted * millicores
        left -= counted
    return math.ceil(reserved)


def disk_size(node_class: Mapping[str, Any]) -> str:
    """The size of the volume that holds the pods' data, as the EC2NodeClass asks for it, else Karpenter's default."""
    mappings = node_class.get("spec", {}).get("blockDeviceMappings") or []
    data_device = "/dev/xvda" if bottlerocket_user_data(node_class) is None else "/dev/xvdb"
    chosen = [each for each in mappings if each.get("rootVolume")]
    chosen += [each for each in mappings if each.get("deviceName") == data_device]
    sizes = (each.get("ebs", {}).get("volumeSize") for each in chosen)
    return str(next(filter(None, sizes), _DEFAULT_DISK))


def node_manifest(
    claim: Mapping[str, Any], instance: Mapping[str, Any], node_class: Mapping[str, Any], resources: tuple[Any, Any]
) -> dict[str, Any]:
    """The Node as a kubelet with Karpenter's user data registers it; KWOK makes it Ready.

    `resources` is what `machine_resources` returned.
    """
    name = instance["private_dns_name"]
    spec = claim["spec"]
    labels = {
        **claim["metadata"].get("labels", {}),
        "kubernetes.io/hostname": name,
        "kubernetes.io/os": "linux",
        # Karpenter's user data sets it: the kubelet registers the taints, Karpenter does not sync them.
        "karpenter.sh/do-not-sync-taints": "true",
    }
    capacity, allocatable = resources
    return {
        "apiVersion": "v1",
        "kind": "Node",
        "metadata": {"name": name, "labels": labels},
        "spec": {
            "providerID": claim["status"]["providerID"],
            "taints": [*spec.get("taints", []), *spec.get("startupTaints", []), UNREGISTERED],
        },
        "status": {
            "capacity": capacity,
            "allocatable": allocatable,
            "nodeInfo": _node_info(labels.get("kubernetes.io/arch", "amd64"), node_class),
            "addresses": [
                {"type": "InternalIP", "address": instance["private_ip"]},
                {"type": "Hostname", "address": name},
            ],
        },
    }


def _node_info(architecture: str, node_class: Mapping[str, Any]) -> dict[str, str]:
    bottlerocket = bottlerocket_user_data(node_class) is not None
    return {
        "architecture": architecture,
        "operatingSystem": "linux",
        "osImage": "Bottlerocket OS" if bottlerocket else "Amazon Linux 2023",
        "kernelVersion": "simulated",
        "kubeletVersion": "simulated",
        "kubeProxyVersion": "",
        "containerRuntimeVersion": "containerd://simulated",
        "machineID": "",
        "systemUUID": "",
        "bootID": "",
    }


def status_change(node: Mapping[str, Any], resources: Mapping[str, int]) -> dict[str, Any] | None:
    """The merge patch that makes a Node advertise exactly these NVIDIA resources, None when it already does.

    A resource that the plugin no longer has stays with the value 0, as the kubelet leaves it.
    """
    capacity = node.get("status", {}).get("capacity", {})
    allocatable = node.get("status", {}).get("allocatable", {})
    gone = [name for name in capacity if name.startswith("nvidia.com/") and name not in resources]
    wanted = {**{name: str(count) for name, count in resources.items()}, **dict.fromkeys(gone, "0")}
    if all(capacity.get(name) == count == allocatable.get(name) for name, count in wanted.items()):
        return None
    return {"capacity": wanted, "allocatable": wanted}


def metadata_change(node: Mapping[str, Any], view: View) -> dict[str, Any] | None:
    """The merge patch for the GPU stack's labels and error annotations, None when they already are as wanted."""
    metadata = node["metadata"]
    labels = {k: v for k, v in view.labels.items() if metadata.get("labels", {}).get(k) != v}
    annotations: dict[str, str | None] = {}
    for name in (PLUGIN_ERROR, MIG_ERROR):
        now, wanted = metadata.get("annotations", {}).get(name), view.errors.get(name)
        if now != wanted:
            annotations[name] = wanted
    change = {"labels": labels, "annotations": annotations}
    return {key: value for key, value in change.items() if value} or None


def holds_whole_gpu(pod: Mapping[str, Any]) -> bool:
    """Whether a pod that is not over yet asks for whole GPUs."""
    if pod.get("status", {}).get("phase") in ("Succeeded", "Failed"):
        return False
    containers: Sequence[Mapping[str, Any]] = pod.get("spec", {}).get("containers", [])
    return any(device_plugin.WHOLE_GPU in c.get("resources", {}).get("limits", {}) for c in containers)
