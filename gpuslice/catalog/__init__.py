"""The hardware catalogue: EC2 GPU instance types, GPU models, MIG profiles and list prices."""

from gpuslice.catalog.load import (
    HOURS_PER_MONTH,
    PRICE_DATE,
    PRICE_REGION,
    PRICE_SOURCE,
    UnknownGpu,
    gpu_models,
    instance_types,
    mig_gpus,
    mig_profiles,
)
from gpuslice.catalog.records import Architecture, GpuModel, InstanceType, MigProfile, MigStatus

__all__ = [
    "HOURS_PER_MONTH",
    "PRICE_DATE",
    "PRICE_REGION",
    "PRICE_SOURCE",
    "Architecture",
    "GpuModel",
    "InstanceType",
    "MigProfile",
    "MigStatus",
    "UnknownGpu",
    "gpu_models",
    "instance_types",
    "mig_gpus",
    "mig_profiles",
]
