"""What a node and a GPU keep for themselves, before any pod of a user."""

from __future__ import annotations

from math import ceil

from gpuslice.catalog import InstanceType

CONTEXT_RESERVE_MIB = 512
"""GPU memory that the CUDA context of one process takes: 0.2 to 0.5 GiB, counted at the upper end."""
DAEMON_PODS = 10
"""System pods on a GPU node: aws-node, kube-proxy, pod identity agent, EBS CSI, NFD worker, device plugin, GPU feature
discovery, DCGM exporter, MIG manager, operator validator."""
DAEMON_CPU_MILLI = 200
"""What they request in CPU: aws-node 50m, kube-proxy 100m, EBS CSI 30m, NFD worker 5m (defaults of the EKS add-ons and
of the NFD chart), rounded up."""
DAEMON_RAM_MIB = 256
"""What they request in memory: EBS CSI 120 MiB, NFD worker 64 MiB, rounded up."""
_VM_OVERHEAD = 0.075
_EVICTION_MIB = 100
# Up to so many millicores of the node, the kubelet keeps this share of each range.
_KUBE_RESERVED_CPU = ((1000, 0.06), (2000, 0.01), (4000, 0.005), (1 << 31, 0.0025))


def slice_memory_mib(gpu_memory_mib: int, replicas: int) -> int:
    """Memory that one of `replicas` tenants of a GPU can count on, in MiB, less its CUDA context."""
    return gpu_memory_mib // replicas - CONTEXT_RESERVE_MIB


def cpu_room_milli(instance_type: InstanceType) -> int:
    """Millicores of a node that pods of users can request.

    As Karpenter reckons allocatable CPU (karpenter-provider-aws v1.14.1, pkg/providers/instancetype/types.go), less
    what the daemons request.
    """
    reserved, floor = 0, 0
    milli = instance_type.vcpus * 1000
    for ceiling, share in _KUBE_RESERVED_CPU:
        reserved += int(max(0, min(milli, ceiling) - floor) * share)
        floor = ceiling
    return milli - reserved - DAEMON_CPU_MILLI


def ram_room_mib(instance_type: InstanceType) -> int:
    """MiB of a node's memory that pods of users can request, from the same source as the CPU.

    Karpenter takes 7.5 % off for what the hypervisor keeps (its default `vmMemoryOverheadPercent`).
    """
    memory = instance_type.memory_mib - (64 if instance_type.architecture == "arm64" else 0)
    memory -= ceil(memory * _VM_OVERHEAD)
    return memory - (11 * instance_type.max_pods + 255) - _EVICTION_MIB - DAEMON_RAM_MIB


def pod_room(instance_type: InstanceType) -> int:
    """Pods of users that a node holds."""
    return instance_type.max_pods - DAEMON_PODS
