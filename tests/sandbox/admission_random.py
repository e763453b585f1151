"""Random pods that the API itself takes: mostly right, each with a few things that may be wrong."""

from __future__ import annotations

import copy
from random import Random
from typing import Any

from admission_pods import GPU, H100, HINT, MIG_1G, MIG_2G, PLAIN, POOL, SHARED, WHOLE, Manifest, own

NAMESPACES = (*["team-a"] * 6, "team-b", "elsewhere", "gpu-slicing-verification")
KINDS = (SHARED, SHARED, WHOLE, MIG_1G, MIG_2G, H100)
AMOUNTS: tuple[str | int, ...] = (*["1", 1, "1000m"] * 4, "0", 0, "2", 2, "2000m", "1k")
HINTS = (*["1", "2048"] * 4, "3584", "3585", "4608", "4609", "10932", "81409", "0", "2Gi", "")
FIELDS: tuple[dict[str, Any], ...] = (
    {"env": [{"name": "NVIDIA_VISIBLE_DEVICES", "value": "all"}]},
    {"env": [{"name": "A", "value": "all"}, {"name": "NVIDIA_IMEX_CHANNELS", "value": "none"}]},
    {"env": [{"name": "NVIDIA_MIG_CONFIG_DEVICES", "valueFrom": {"fieldRef": {"fieldPath": "metadata.name"}}}]},
    {"envFrom": [{"configMapRef": {"name": "any"}, "prefix": "NVIDIA_V"}]},
    {"envFrom": [{"configMapRef": {"name": "any"}, "prefix": "APP_"}, {"secretRef": {"name": "any"}}]},
    {"securityContext": {"privileged": True}},
    {"securityContext": {"capabilities": {"add": ["SYS_ADMIN"]}}},
    {"securityContext": {"capabilities": {"add": ["CHOWN"], "drop": ["ALL"]}}},
    {"volumeMounts": [{"name": "v", "mountPath": "/var/run/nvidia-container-devices/0"}]},
    {"volumeMounts": [{"name": "v", "mountPath": "/data"}]},
)
SPECS: tuple[dict[str, Any], ...] = (
    {"runtimeClassName": "nvidia"},
    {"runtimeClassName": "gvisor"},
    {"hostPID": True},
    {"hostIPC": True},
    {"hostNetwork": True},
    {"nodeName": "somewhere"},
    {"volumes": [{"name": "v", "emptyDir": {}}, {"name": "w", "hostPath": {"path": "/dev"}}]},
)
EFFECTS = (None, "NoSchedule", "NoSchedule", "NoExecute", "PreferNoSchedule")


class Pods:
    """Pods from a seed: the same ones each time."""

    def __init__(self, seed: int) -> None:
        self._random = Random(seed)

    def one(self) -> tuple[Manifest, str]:
        """A pod without name and namespace, and a namespace for it."""
        kind = self._random.choice(KINDS)
        spec: Manifest = {
            "containers": [self._container(f"c{i}", kind) for i in range(self._random.choice((1, 1, 1, 2)))]
        }
        inits = [self._container(f"i{i}", kind) for i in range(self._random.choice((0, 0, 0, 1, 2)))]
        if inits:
            spec["initContainers"] = [i | ({"restartPolicy": "Always"} if self._chance(0.4) else {}) for i in inits]
        spec["volumes"] = [{"name": "v", "emptyDir": {}}]
        spec["tolerations"] = self._tolerations(kind)
        if self._chance(0.8):
            pools = {SHARED: ("t4", "t4", "l4"), WHOLE: ("t4-plain", "h100-whole"), H100: ("h100-mig",)}
            spec["nodeSelector"] = {POOL: self._random.choice((*pools.get(kind, ("a100-mig",)) * 3, "t4", "other"))}
        if self._chance(0.15):
            spec |= copy.deepcopy(self._random.choice(SPECS))
        return {"metadata": self._metadata(), "spec": spec}, self._random.choice(NAMESPACES)

    def _chance(self, probability: float) -> bool:
        return self._random.random() < probability

    def _metadata(self) -> Manifest:
        annotations = {HINT: self._random.choice(HINTS)} if self._chance(0.8) else {}
        if self._chance(0.05):
            annotations["cdi.k8s.io/any"] = "nvidia.com/gpu=all"
        return {"annotations": annotations}

    def _container(self, name: str, kind: str) -> Manifest:
        made: Manifest = {"name": name, "image": "registry.invalid/none"}
        if self._chance(0.75):
            kinds = {kind} | ({self._random.choice(KINDS)} if self._chance(0.1) else set())
            made["resources"] = {"limits": {k: self._random.choice(AMOUNTS) for k in sorted(kinds)}}
        if self._chance(0.12):
            made |= copy.deepcopy(self._random.choice(FIELDS))
        return made

    def _tolerations(self, kind: str) -> list[Manifest]:
        """Those of the pools that offer the kind, most of the time, and seldom others."""
        a100, h100 = [own("a100-mig")], [own("h100-mig")]
        right = {MIG_1G: a100, MIG_2G: a100, H100: h100, WHOLE: PLAIN}.get(kind)
        found = [GPU] if self._chance(0.9) else []
        for tolerations in (a100, h100, PLAIN, PLAIN[:1]):
            if self._chance(0.85 if tolerations == right else 0.05):
                found += tolerations
        return [*found, *([self._toleration()] if self._chance(0.15) else [])]

    def _toleration(self) -> Manifest:
        key = self._random.choice((None, WHOLE, POOL, "example.com/plain", "nvidia.com/gpus"))
        operator = "Exists" if key is None else self._random.choice((None, "Equal", "Exists"))
        value = None if operator == "Exists" else self._random.choice((None, "true", "false", "a100-mig", "h100-mig"))
        parts = {"key": key, "operator": operator, "value": value, "effect": self._random.choice(EFFECTS)}
        return {name: part for name, part in parts.items() if part is not None}
