"""The records of the hardware catalogue."""

from __future__ import annotations

from dataclasses import dataclass
from decimal import Decimal
from typing import Literal

Architecture = Literal["amd64", "arm64"]
MigStatus = Literal["supported", "none", "unproven"]


@dataclass(frozen=True, slots=True)
class GpuModel:
    """One GPU model as EC2 offers it.

    `key` is the catalogue's own name, `karpenter_name` the value of the node label
    `karpenter.k8s.aws/instance-gpu-name`; two models can share the latter (A100 40 GB and 80 GB).
    `mig_gpu` names the model's rows in the MIG profile table, None where there are none.
    `mig_status` is `unproven` where NVIDIA lists MIG profiles but MIG on EC2 has not been seen to work.
    `compute_capability` is (major, minor), as CUDA counts it.
    """

    key: str
    karpenter_name: str
    memory_mib: int
    mig_gpu: str | None
    mig_status: MigStatus
    pci_device_id: str | None
    compute_capability: tuple[int, int]
    source: str


@dataclass(frozen=True, slots=True)
class InstanceType:
    """One EC2 GPU instance type.

    `gpu_count` is what EC2 reports: 0 stands for a fraction of one GPU (g6f, gr6f).
    `gpu_memory_mib` is the memory of each GPU, or of the fraction. `usd_per_hour` is the on-demand list
    price in `PRICE_REGION`, None where the type has none there. `max_pods` is the kubelet's default.
    `efa_interfaces` is 0 for a type without EFA.
    """

    name: str
    vcpus: int
    memory_mib: int
    gpu: GpuModel
    gpu_count: int
    gpu_memory_mib: int
    usd_per_hour: Decimal | None
    max_pods: int
    architecture: Architecture
    network_cards: int
    efa_interfaces: int

    @property
    def fractional(self) -> bool:
        """True where a node has a part of one GPU, not a whole one."""
        return self.gpu_count == 0

    @property
    def devices(self) -> int:
        """The GPUs that the device plugin sees on a node: a fraction shows as one."""
        return max(1, self.gpu_count)


@dataclass(frozen=True, slots=True)
class MigProfile:
    """One MIG profile of one GPU: a shape of GPU instance and the memory slices where it may start.

    An instance that starts at memory slice `s` takes the slices `s` to `s + memory_slices - 1`.
    """

    gpu: str
    name: str
    compute_slices: int
    memory_slices: int
    memory_gb: int
    max_instances: int
    placements: tuple[int, ...]

    @property
    def resource(self) -> str:
        """The extended resource that the device plugin advertises under the MIG strategy `mixed`."""
        return "nvidia.com/mig-" + self.name.replace("+", ".")

    @property
    def plain(self) -> bool:
        """True for a profile without an attribute (`+me`, `+gfx`, `-me`)."""
        return not {"+", "-"} & set(self.name)

    @property
    def takes_media(self) -> bool:
        """True for a profile that takes media engines by name (`+me`, `+me.all`)."""
        return "+me" in self.name
