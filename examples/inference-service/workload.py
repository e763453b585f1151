"""The Kubernetes objects of the service as plain data: Deployment, Service, PodDisruptionBudget."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from contract import Slice

HTTP_PORT, METRICS_PORT = 8000, 8002
MODELS = "/models"
# What a pod promises to stay within: the platform admits no pod on a time-sliced GPU without it.
MEMORY_ANNOTATION = "gpu-slicing.io/gpu-memory-mib"
# The user `triton-server` of NVIDIA's image. Pod-security level `restricted` refuses root.
USER = 1000
Manifest = dict[str, Any]


@dataclass(frozen=True)
class Service:
    """`model_repository` is a place that the server can read by itself; empty for none."""

    name: str
    namespace: str
    replicas: int
    image: str
    model_repository: str = ""

    @property
    def labels(self) -> dict[str, str]:
        return {"app.kubernetes.io/name": self.name}

    @property
    def metadata(self) -> Manifest:
        return {"name": self.name, "namespace": self.namespace, "labels": self.labels}

    @property
    def url(self) -> str:
        """Inside the cluster."""
        return f"http://{self.name}.{self.namespace}.svc:{HTTP_PORT}"


def deployment_spec(service: Service, offer: Slice) -> Manifest:
    """A pod for each replica, each with one slice.

    A rollout ends an old pod before it starts a new one: a surge would need a slice beyond the quota, and perhaps
    one more GPU node for a minute of use.
    """
    metadata = {"labels": service.labels, "annotations": {MEMORY_ANNOTATION: str(offer.memory_mib)}}
    return {
        "replicas": service.replicas,
        "selector": {"matchLabels": service.labels},
        "strategy": {"type": "RollingUpdate", "rollingUpdate": {"maxSurge": 0, "maxUnavailable": 1}},
        # Waiting for a GPU node takes minutes, and the first pull of the image some more.
        "progressDeadlineSeconds": 1800,
        "template": {"metadata": metadata, "spec": _pod(service, offer)},
    }


def service_spec(service: Service) -> Manifest:
    ports = [{"name": "http", "port": HTTP_PORT, "targetPort": "http"}]
    return {"type": "ClusterIP", "selector": service.labels, "ports": ports}


def disruption_budget_spec(service: Service) -> Manifest:
    """One pod at a time may be moved, so that a node can always be drained, also with a single replica."""
    return {"maxUnavailable": 1, "selector": {"matchLabels": service.labels}}


def _pod(service: Service, offer: Slice) -> Manifest:
    return {
        "nodeSelector": dict(offer.node_selector),
        "tolerations": [dict(t) for t in offer.tolerations],
        "automountServiceAccountToken": False,
        "terminationGracePeriodSeconds": 60,
        "securityContext": {
            "runAsNonRoot": True,
            "runAsUser": USER,
            "runAsGroup": USER,
            "fsGroup": USER,
            "seccompProfile": {"type": "RuntimeDefault"},
        },
        "containers": [_container(service, offer)],
        "volumes": [
            {"name": "models", "emptyDir": {"sizeLimit": "1Gi"}},
            {"name": "tmp", "emptyDir": {"sizeLimit": "1Gi"}},
            {"name": "shared-memory", "emptyDir": {"medium": "Memory", "sizeLimit": "256Mi"}},
        ],
    }


def _container(service: Service, offer: Slice) -> Manifest:
    return {
        "name": "server",
        "image": service.image,
        "args": ["tritonserver", f"--model-repository={service.model_repository or MODELS}"],
        # Nothing holds a time-sliced pod to its share of the memory: a server that can limit itself reads it here.
        "env": [{"name": "GPU_SLICE_MEMORY_MIB", "value": str(offer.memory_mib)}, {"name": "HOME", "value": "/tmp"}],
        "ports": [
            {"name": "http", "containerPort": HTTP_PORT},
            {"name": "metrics", "containerPort": METRICS_PORT},
        ],
        "resources": {
            "requests": {"cpu": "500m", "memory": "2Gi", offer.resource: "1"},
            "limits": {"memory": "2Gi", offer.resource: "1"},
        },
        "startupProbe": _probe("/v2/health/ready", period=10, failures=30),
        "readinessProbe": _probe("/v2/health/ready", period=10, failures=3),
        "livenessProbe": _probe("/v2/health/live", period=20, failures=3),
        "securityContext": {
            "allowPrivilegeEscalation": False,
            "readOnlyRootFilesystem": True,
            "capabilities": {"drop": ["ALL"]},
        },
        "volumeMounts": [
            {"name": "models", "mountPath": MODELS},
            {"name": "tmp", "mountPath": "/tmp"},
            {"name": "shared-memory", "mountPath": "/dev/shm"},
        ],
    }


def _probe(path: str, *, period: int, failures: int) -> Manifest:
    action = {"path": path, "port": "http"}
    return {"httpGet": action, "periodSeconds": period, "timeoutSeconds": 5, "failureThreshold": failures}
