"""What the simulated AWS must hold, read from the resources that the program declares (pure)."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from offline import Recording
from sandbox import SandboxError
from sandbox.account import CapacityReservation, GpuStack, SecurityGroup, SeedRequest, Subnet

CLUSTER_TAG = "aws:eks:cluster-name"
RELEASE = "kubernetes:helm.sh/v3:Release"
Manifest = Mapping[str, Any]


def seed_request(recording: Recording, region: str) -> SeedRequest:
    """The account as the program describes it, with every instance type of the catalogue: Karpenter reads them once.

    Raises SandboxError for a stack that declares no cluster of its own."""
    cluster = _only(recording, "eks:index:Cluster")
    vpc = _only(recording, "aws:ec2/vpc:Vpc")
    objects = recording.kubernetes_objects()
    subnets = [r.inputs for r in recording.by_type("aws:ec2/subnet:Subnet")]
    return SeedRequest(
        cluster_name=cluster["name"],
        kubernetes_version=cluster["version"],
        region=region,
        vpc_cidr=vpc["cidrBlock"],
        subnets=tuple(
            Subnet(cidr=s["cidrBlock"], zone=s["availabilityZone"], tags=s.get("tags") or {}) for s in subnets
        ),
        # EKS itself makes the cluster's security group: no program declares it.
        security_groups=(SecurityGroup(name=f"eks-cluster-sg-{cluster['name']}", tags={CLUSTER_TAG: cluster["name"]}),),
        node_role_name=_node_role(recording, objects),
        queue_name=_only(recording, "aws:sqs/queue:Queue")["name"],
        ami_aliases=tuple(_distinct(t["alias"] for o in _kind(objects, "EC2NodeClass") for t in _amis(o))),
        capacity_reservations=tuple(_reservations(objects, subnets)),
        gpu_stack=gpu_stack(recording),
    )


def _only(recording: Recording, token: str) -> Mapping[str, Any]:
    found = recording.by_type(token)
    if len(found) != 1:
        raise SandboxError(
            f"the program declares {len(found)} resources of type {token}, the sandbox needs one:"
            " use a stack with cluster.mode 'sandbox' or 'create'"
        )
    return found[0].inputs


def _kind(objects: Iterable[Manifest], kind: str) -> list[Manifest]:
    return [o for o in objects if o["kind"] == kind]


def _distinct(values: Iterable[str]) -> list[str]:
    return list(dict.fromkeys(values))


def _amis(node_class: Manifest) -> list[Manifest]:
    return [term for term in node_class["spec"]["amiSelectorTerms"] if "alias" in term]


def _node_role(recording: Recording, objects: Sequence[Manifest]) -> str:
    """The role that the EC2NodeClasses name; it must be one that the program makes."""
    wanted = _distinct(o["spec"]["role"] for o in _kind(objects, "EC2NodeClass"))
    made = {r.inputs.get("name") for r in recording.by_type("aws:iam/role:Role")}
    if len(wanted) != 1 or wanted[0] not in made:
        raise SandboxError(f"the EC2NodeClasses name the role {', '.join(wanted) or '(none)'}, which no resource makes")
    return wanted[0]


def requirement(node_pool: Manifest, key: str) -> list[str]:
    """The values of an `In` requirement of a NodePool."""
    requirements = node_pool["spec"]["template"]["spec"]["requirements"]
    return [str(v) for r in requirements if r["key"] == key and r["operator"] == "In" for v in r["values"]]


def instance_types(node_pool: Manifest) -> list[str]:
    return requirement(node_pool, "node.kubernetes.io/instance-type")


def _reservations(objects: Sequence[Manifest], subnets: Sequence[Mapping[str, Any]]) -> Iterable[CapacityReservation]:
    """Reservations that are named by id, each as large as its pool's limit, in the pool's first zone."""
    pools = {o["metadata"]["name"]: o for o in _kind(objects, "NodePool")}
    for node_class in _kind(objects, "EC2NodeClass"):
        pool = pools[node_class["metadata"]["name"]]
        zones = requirement(pool, "topology.kubernetes.io/zone") or [str(subnets[0]["availabilityZone"])]
        block = "capacity-block" in requirement(pool, "karpenter.k8s.aws/capacity-reservation-type")
        for term in node_class["spec"].get("capacityReservationSelectorTerms", []):
            if "id" in term:
                yield CapacityReservation(
                    id=term["id"],
                    instance_type=instance_types(pool)[0],
                    zone=zones[0],
                    count=int(pool["spec"]["limits"]["nodes"]),
                    kind="capacity-block" if block else "default",
                )


def gpu_stack(recording: Recording) -> GpuStack:
    """What the GPU Operator's release is told about its configurations."""
    values: Mapping[str, Any] = next(
        (r.inputs["values"] for r in recording.by_type(RELEASE) if r.inputs.get("chart") == "gpu-operator"), {}
    )
    plugin = values.get("devicePlugin", {}).get("config", {})
    manager = values.get("migManager", {}).get("config", {})
    return GpuStack(
        namespace="gpu-operator",
        plugin_config_map=plugin.get("name"),
        plugin_default=plugin.get("default", ""),
        mig_config_map=manager.get("name"),
        mig_strategy=values.get("mig", {}).get("strategy", "none"),
    )
