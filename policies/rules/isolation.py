"""Walls between a workload and the GPUs that it did not ask for."""

from __future__ import annotations

import posixpath
from collections.abc import Iterator

from policies.model import Config, Item, Option, Rule
from policies.view import View
from policies.workloads import EXEMPT, WORKLOADS, asks_for_gpu, containers, exempt, pod_metadata, pod_spec

RUNTIME_CLASS = "node.k8s.io/RuntimeClass"
ALL_GPUS = "https://github.com/NVIDIA/gpu-operator/issues/421"
_DEVICE_VARIABLES = (
    "NVIDIA_VISIBLE_DEVICES",
    "NVIDIA_MIG_CONFIG_DEVICES",
    "NVIDIA_MIG_MONITOR_DEVICES",
    "NVIDIA_IMEX_CHANNELS",
)
_NO_DEVICES = ("void", "none")
# Source: nvidia-container-toolkit, internal/config/image: a mount below it asks for the device that its name gives.
_DEVICE_MOUNTS = "/var/run/nvidia-container-devices"
_CDI_ANNOTATIONS = "cdi.k8s.io/"
_RUNTIME_CLASSES = ("nvidia", "nvidia-cdi", "nvidia-legacy")
_HOST_NAMESPACES = ("hostPID", "hostIPC", "hostNetwork")
_HOST_CAPABILITIES = ("ALL", "SYS_ADMIN", "SYS_PTRACE")


def no_visible_devices_env(item: Item, config: Config) -> Iterator[str]:
    for container in containers(pod_spec(item)):
        for entry in container["env"].items():
            name = entry["name"].text()
            if name in _DEVICE_VARIABLES and not exempt(item, config) and entry["value"].text() not in _NO_DEVICES:
                value = "what another object says" if entry["valueFrom"].present else repr(entry["value"].known())[:80]
                yield f"sets {name} to {value} in container {container['name'].text()}; allowed: void, none"


def no_device_injection(item: Item, config: Config) -> Iterator[str]:
    annotations = pod_metadata(item)["annotations"].fields()
    mounts = [m["mountPath"] for c in containers(pod_spec(item)) for m in c["volumeMounts"].items()]
    found = [f"the annotation {name}" for name in annotations if name.startswith(_CDI_ANNOTATIONS)]
    found += [f"a mount at {mount.text()}" for mount in mounts if _names_a_device(mount.text())]
    if found and not exempt(item, config):
        yield f"asks the container runtime itself for devices, by {', '.join(found)}"


def _names_a_device(path: str) -> bool:
    return f"{posixpath.normpath('/' + path.lstrip('/'))}/".startswith(f"{_DEVICE_MOUNTS}/")


def no_nvidia_runtime_class(item: Item, config: Config) -> Iterator[str]:
    name = pod_spec(item)["runtimeClassName"].text()
    if name in config["classes"] and not exempt(item, config):
        yield f"uses the runtime class {name}"


def no_renamed_runtime_class(item: Item, config: Config) -> Iterator[str]:
    handler = item.data["handler"].text()
    if handler in config["classes"] and item.name not in config["classes"]:
        yield f"gives the runtime {handler} another name; allowed names: {', '.join(config['classes'])}"


def no_privileged_gpu_pod(item: Item, config: Config) -> Iterator[str]:
    spec = pod_spec(item)
    if asks_for_gpu(spec):
        found = ", ".join(_reaches_out(spec))
        if found and not exempt(item, config):
            yield f"asks for a GPU and has {found}"


def _reaches_out(spec: View) -> Iterator[str]:
    """What lets a pod past its own slice. All of it is off where it is missing (core/v1 PodSpec, SecurityContext)."""
    yield from (name for name in _HOST_NAMESPACES if spec[name].flag())
    yield from ("hostPath" for volume in spec["volumes"].items() if volume["hostPath"].present)
    if spec["nodeName"].text():
        yield "nodeName"
    for container in containers(spec):
        context = container["securityContext"]
        if context["privileged"].flag():
            yield f"the privileged container {container['name'].text()}"
        for capability in context.at("capabilities", "add").texts():
            if capability in _HOST_CAPABILITIES:
                yield f"the capability {capability}"


_CLASSES = {"classes": Option("list", _RUNTIME_CLASSES, "runtime classes of the NVIDIA container toolkit")}
RULES = (
    Rule(
        id="no-visible-devices-env",
        description="No container outside the system's namespaces sets NVIDIA_VISIBLE_DEVICES and its like to "
        "anything but void or none.",
        why="Where the nvidia runtime is the default, as on Amazon's AL2023 image, the variable gives a container "
        "every GPU of its node without asking for one. An image can still set it: only the node can prevent that.",
        remedy="Take the variable away: the device plugin sets it for a container that asks for a GPU.",
        url=ALL_GPUS,
        severity="critical",
        check=no_visible_devices_env,
        kinds=WORKLOADS,
        options=EXEMPT,
    ),
    Rule(
        id="no-device-injection",
        description="No pod outside the system's namespaces asks the container runtime for devices by CDI annotations "
        "or by mounts.",
        why="Annotations under cdi.k8s.io and mounts below /var/run/nvidia-container-devices name GPUs to the runtime, "
        "past the scheduler and the quota.",
        remedy="Ask for a GPU resource instead.",
        url="https://github.com/NVIDIA/nvidia-container-toolkit",
        severity="critical",
        check=no_device_injection,
        kinds=WORKLOADS,
        options=EXEMPT,
    ),
    Rule(
        id="no-nvidia-runtime-class",
        description="No workload outside the system's namespaces uses a runtime class of the NVIDIA toolkit.",
        why="These runtimes obey NVIDIA_VISIBLE_DEVICES of any image, also on nodes where the default runtime does "
        "not. A pod that asks for a GPU resource needs none of them.",
        remedy="Take runtimeClassName away.",
        url="https://github.com/NVIDIA/gpu-operator/issues/1588",
        severity="critical",
        check=no_nvidia_runtime_class,
        kinds=WORKLOADS,
        options=EXEMPT | _CLASSES,
    ),
    Rule(
        id="no-renamed-runtime-class",
        description="A RuntimeClass with a handler of the NVIDIA toolkit bears the name of such a handler.",
        why="Pods are judged by the name of their runtime class: under another name the runtime would pass.",
        remedy="Name it as its handler.",
        url="https://kubernetes.io/docs/concepts/containers/runtime-class/",
        severity="high",
        check=no_renamed_runtime_class,
        kinds=(RUNTIME_CLASS,),
        options=_CLASSES,
    ),
    Rule(
        id="no-privileged-gpu-pod",
        description="No workload that asks for a GPU outside the system's namespaces is privileged, reaches the host "
        "or names its node.",
        why="A privileged container sees every GPU of its node, whatever it asked for; the host's namespaces and "
        "paths lead to its neighbours and to the kubelet; nodeName goes past the scheduler and its taints.",
        remedy="Take privileged, hostPID, hostIPC, hostNetwork, hostPath, nodeName and the capabilities SYS_ADMIN and "
        "SYS_PTRACE away.",
        url="https://kubernetes.io/docs/concepts/security/pod-security-standards/",
        severity="critical",
        check=no_privileged_gpu_pod,
        kinds=WORKLOADS,
        options=EXEMPT,
    ),
)
