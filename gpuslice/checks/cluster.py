"""Rules between the fields of `cluster`."""

from __future__ import annotations

import ipaddress
from collections.abc import Iterator

from gpuslice.catalog import instance_types, versions
from gpuslice.checks.repeated import repeated
from gpuslice.problems import Problem, shown
from gpuslice.settings import Cluster, ExistingVpc, NewVpc
from gpuslice.system_nodes import architecture

MADE_HERE = ("vpc", "service_cidr", "endpoint", "system_nodes", "admin_arns", "deletion_protection")
"""What only a cluster that this program makes can be told."""


def cluster_problems(cluster: Cluster, path: str, broken: frozenset[str] = frozenset()) -> Iterator[Problem]:
    """Everything that the cluster's settings say that cannot work. `broken`: fields that hold a stand-in."""
    yield from _endpoint(cluster, f"{path}.endpoint")
    if cluster.kubernetes_version not in versions.KUBERNETES_SUPPORTED:
        allowed = ", ".join(versions.KUBERNETES_SUPPORTED)
        yield Problem(f"{path}.kubernetesVersion", shown(cluster.kubernetes_version), "is not supported", allowed)
    for index, name in enumerate(cluster.system_nodes.instance_types):
        if name in instance_types():
            where, message = f"{path}.systemNodes.instanceTypes[{index}]", "is a GPU type, and system nodes always run"
            yield Problem(where, shown(name), message, "CPU types, such as m7i.large")
    if len({architecture(name) for name in cluster.system_nodes.instance_types}) > 1:
        where, given = f"{path}.systemNodes.instanceTypes", list(cluster.system_nodes.instance_types)
        yield Problem(where, shown(given), "mixes x86 and Arm, and one image serves them all", "one CPU architecture")
    yield from repeated({"adminArns": cluster.admin_arns}, path)
    yield from repeated({"instanceTypes": cluster.system_nodes.instance_types}, f"{path}.systemNodes")
    if isinstance(cluster.vpc, ExistingVpc):
        yield from repeated({"privateSubnetIds": cluster.vpc.private_subnet_ids}, f"{path}.vpc")
    if not broken & {"vpc", "service_cidr"}:
        yield from _overlap(cluster, path)
    if not broken & {"mode", "kubeconfig"}:
        yield from _existing(cluster, path)


def _overlap(cluster: Cluster, path: str) -> Iterator[Problem]:
    if not isinstance(cluster.vpc, NewVpc):
        return
    services = ipaddress.IPv4Network(cluster.service_cidr)
    if services.overlaps(ipaddress.IPv4Network(cluster.vpc.cidr)):
        message = f"overlaps vpc.cidr {cluster.vpc.cidr}: pods could not reach one of the two"
        yield Problem(f"{path}.serviceCidr", shown(cluster.service_cidr), message, "a range outside the VPC")


def _endpoint(cluster: Cluster, where: str) -> Iterator[Problem]:
    endpoint = cluster.endpoint
    if not endpoint.private and not endpoint.public:
        yield Problem(where, "", "is neither private nor public: nobody could reach the cluster", "private: true")
    if endpoint.public and not endpoint.public_cidrs:
        message = "is empty, which opens the API server to everybody"
        yield Problem(f"{where}.publicCidrs", "[]", message, "your networks, such as those of an office or a VPN")
    if endpoint.public_cidrs and not endpoint.public:
        message = "has no effect while public is false"
        yield Problem(
            f"{where}.publicCidrs", shown(list(endpoint.public_cidrs)), message, "public: true, or no networks"
        )
    networks = [ipaddress.IPv4Network(c) for c in endpoint.public_cidrs]
    for index, network in enumerate(networks):
        if any(network.overlaps(other) for other in networks[:index]):
            message = "overlaps another entry"
            yield Problem(f"{where}.publicCidrs[{index}]", shown(str(network)), message, "disjoint networks")


def _existing(cluster: Cluster, path: str) -> Iterator[Problem]:
    where, source = f"{path}.kubeconfig", cluster.kubeconfig
    if cluster.mode != "existing":
        if source is not None:
            yield Problem(where, "", f"has no effect with mode: {cluster.mode}", "mode: existing")
        return
    for name in MADE_HERE:
        # Subnets of an existing VPC are where Karpenter puts the nodes, whoever made the cluster.
        if name in cluster.model_fields_set and not (name == "vpc" and isinstance(cluster.vpc, ExistingVpc)):
            key = str(Cluster.model_fields[name].alias)
            yield Problem(f"{path}.{key}", "", "has no effect with mode: existing", f"no {key}, or mode: create")
    if source is None:
        yield Problem(where, "", "is missing, so the existing cluster cannot be reached", "path or stackReference")
        return
    if (source.path is None) == (source.stack_reference is None):
        message = "names both a file and a stack" if source.path else "names neither a file nor a stack"
        yield Problem(where, "", message, "one of path, stackReference")
    if source.context and not source.path:
        yield Problem(f"{where}.context", shown(source.context), "belongs to a kubeconfig file", "a path beside it")
    if "output" in source.model_fields_set and not source.stack_reference:
        yield Problem(f"{where}.output", shown(source.output), "is an output of a stack", "a stackReference beside it")
