"""EC2NodeClass, NodeOverlays and NodePool of a pool (Karpenter 1.14: karpenter.sh/v1 and v1alpha1, AWS v1)."""

from __future__ import annotations

from typing import Any

from gpuslice import bottlerocket, node_isolation
from gpuslice.catalog import InstanceType
from gpuslice.manifests.admission_nodes import node_class_annotations
from gpuslice.pools import MANAGED_BY, Overlay, Pool
from gpuslice.settings import Disruption, ExistingVpc, Settings

Manifest = dict[str, Any]
DISCOVERY_TAG = "karpenter.sh/discovery"
# EKS puts this tag on the one security group that it makes for the cluster, and on no other.
CLUSTER_TAG = "aws:eks:cluster-name"


def node_role_name(settings: Settings) -> str:
    """The IAM role of GPU nodes. IAM is global, so the region is part of the name; at most 64 characters."""
    if settings.karpenter.node_role:
        return str(settings.karpenter.node_role)
    return f"{settings.cluster.name}-{settings.region}-gpu-node"


def pool_manifests(pool: Pool, settings: Settings) -> list[Manifest]:
    """The objects of a pool in the order in which they must exist.

    Overlays come before the NodePool, else the first pods are planned with raw GPU counts.
    """
    overlays = [node_overlay(pool, overlay) for overlay in pool.overlays]
    return [ec2_node_class(pool, settings), *overlays, node_pool(pool)]


def ec2_node_class(pool: Pool, settings: Settings) -> Manifest:
    """How a node of the pool is made in EC2: pinned AMI, encrypted volumes, IMDSv2 with hop limit 1."""
    spec: Manifest = {
        "amiSelectorTerms": [{"alias": pool.settings.ami}],
        "role": node_role_name(settings),
        "subnetSelectorTerms": _subnets(settings),
        "securityGroupSelectorTerms": [{"tags": {CLUSTER_TAG: settings.cluster.name}}],
        "associatePublicIPAddress": False,
        "metadataOptions": {
            "httpEndpoint": "enabled",
            "httpProtocolIPv6": "disabled",
            "httpPutResponseHopLimit": 1,
            "httpTokens": "required",
        },
        "blockDeviceMappings": _volumes(pool),
        "tags": {"Name": f"{settings.cluster.name}-{pool.name}", "gpu-slicing.io/pool": pool.name},
    }
    reservations = pool.settings.capacity_reservations
    if reservations:
        terms = [{"id": i} for i in reservations.ids]
        spec["capacityReservationSelectorTerms"] = terms + (
            [{"tags": dict(reservations.tags)}] if reservations.tags else []
        )
    if pool.settings.efa:
        spec["networkInterfaces"] = _network_interfaces(pool.types[0])
    user_data = _user_data(pool)
    if user_data:
        spec["userData"] = user_data
    manifest = _object("karpenter.k8s.aws/v1", "EC2NodeClass", pool.name, spec)
    if settings.admission.enabled:
        manifest["metadata"]["annotations"] = node_class_annotations(pool)
    return manifest


def _subnets(settings: Settings) -> list[Manifest]:
    vpc = settings.cluster.vpc
    if isinstance(vpc, ExistingVpc):
        return [{"id": subnet} for subnet in vpc.private_subnet_ids]
    return [{"tags": {DISCOVERY_TAG: settings.cluster.name}}]


def _user_data(pool: Pool) -> str:
    if pool.bottlerocket:
        return bottlerocket.user_data(pool.settings.sharing, pool.strict)
    return node_isolation.user_data() if pool.strict else ""


def _volumes(pool: Pool) -> list[Manifest]:
    if not pool.bottlerocket:
        return [_volume("/dev/xvda", pool.settings.root_volume)]
    # Bottlerocket keeps its OS on xvda; images and containers live on xvdb.
    return [_volume("/dev/xvda", "4Gi"), _volume("/dev/xvdb", pool.settings.root_volume)]


def _volume(device: str, size: str) -> Manifest:
    ebs = {"volumeSize": size, "volumeType": "gp3", "encrypted": True, "deleteOnTermination": True}
    return {"deviceName": device, "ebs": ebs}


def _network_interfaces(instance_type: InstanceType) -> list[Manifest]:
    """The primary interface, and an EFA-only one on each network card that takes one.

    Where a type has more cards than EFA interfaces (p6-b300), the first card is the one without.
    """
    primary = {"networkCardIndex": 0, "deviceIndex": 0, "interfaceType": "interface"}
    cards = range(instance_type.network_cards - instance_type.efa_interfaces, instance_type.network_cards)
    return [primary, *({"networkCardIndex": c, "deviceIndex": 1, "interfaceType": "efa-only"} for c in cards)]


def node_overlay(pool: Pool, overlay: Overlay) -> Manifest:
    """Scoped by pool and instance type: the quantities depend on both. No price: it loops on spot (aws issue 8704)."""
    spec = {
        "requirements": [
            _in("karpenter.sh/nodepool", [pool.name]),
            _in("node.kubernetes.io/instance-type", list(overlay.instance_types)),
        ],
        "capacity": {resource: str(quantity) for resource, quantity in overlay.capacity.items()},
    }
    return _object("karpenter.sh/v1alpha1", "NodeOverlay", overlay.name, spec)


def node_pool(pool: Pool) -> Manifest:
    """What Karpenter may buy for the pool, and when it may take a node away."""
    template_spec: Manifest = {
        "nodeClassRef": {"group": "karpenter.k8s.aws", "kind": "EC2NodeClass", "name": pool.name},
        "requirements": _requirements(pool),
        "taints": pool.taints,
        "expireAfter": pool.settings.disruption.expire_after,
        "terminationGracePeriod": pool.settings.disruption.termination_grace_period,
    }
    spec = {
        "template": {"metadata": {"labels": pool.node_labels}, "spec": template_spec},
        "limits": {key: str(value) for key, value in pool.limits.items()},
        "disruption": _disruption(pool.settings.disruption),
    }
    return _object("karpenter.sh/v1", "NodePool", pool.name, spec)


def _requirements(pool: Pool) -> list[Manifest]:
    requirements = [
        _in("node.kubernetes.io/instance-type", list(pool.settings.instance_types)),
        _in("karpenter.sh/capacity-type", list(pool.settings.capacity_types)),
        _in("kubernetes.io/arch", [pool.types[0].architecture]),
    ]
    if pool.settings.zones:
        requirements.append(_in("topology.kubernetes.io/zone", list(pool.settings.zones)))
    reservations = pool.settings.capacity_reservations
    if reservations and reservations.type == "capacity-block" and pool.settings.capacity_types == ("reserved",):
        requirements.append(_in("karpenter.k8s.aws/capacity-reservation-type", ["capacity-block"]))
    return requirements


def _disruption(disruption: Disruption) -> Manifest:
    budgets = [b.model_dump(by_alias=True, exclude_none=True, exclude_defaults=True) for b in disruption.budgets]
    return {
        "consolidationPolicy": disruption.consolidation_policy,
        "consolidateAfter": disruption.consolidate_after,
        "budgets": [b | ({"reasons": list(b["reasons"])} if "reasons" in b else {}) for b in budgets],
    }


def _in(key: str, values: list[str]) -> Manifest:
    return {"key": key, "operator": "In", "values": values}


def _object(api_version: str, kind: str, name: str, spec: Manifest) -> Manifest:
    metadata = {"name": name, "labels": dict(MANAGED_BY)}
    return {"apiVersion": api_version, "kind": kind, "metadata": metadata, "spec": spec}
