"""Reads the catalogue's tables. Each is read once; the results are read-only.

Sources of the figures:
- instance_types.csv, gpu_models.csv: the instance type reference and the VPC limits of the Karpenter AWS provider
  (github.com/aws/karpenter-provider-aws, August 2026). Network cards come from
  pkg/providers/instancetype/zz_generated.vpclimits.go; pods, architecture and EFA interfaces from
  website/content/en/docs/reference/instance-types.md.
- prices.csv: see `gpuslice.catalog.prices`.
- mig_profiles.csv: the default configuration of mig-parted v0.15.0 and NVIDIA's MIG placement tables; the
  placements of H100 NVL, GH200, B200, GB200, B300, GB300 and RTX PRO 6000 are inferred from the geometry
  of 8 or 4 memory slices that they share with A100, H100, H200 and A30.
"""

from __future__ import annotations

import csv
from collections.abc import Mapping
from decimal import Decimal
from functools import lru_cache
from pathlib import Path
from types import MappingProxyType
from typing import cast, get_args

from gpuslice.catalog.records import Architecture, GpuModel, InstanceType, MigProfile, MigStatus

PRICE_REGION = "us-east-1"
"""The region of `InstanceType.usd_per_hour`."""
PRICE_SOURCE = (
    "github.com/aws/karpenter-provider-aws commit 6fc13b5, pkg/providers/pricing/zz_generated.pricing_aws*.go"
)
PRICE_DATE = "2026-07-20"
"""Source of that region's prices, and the day that the source says it was generated."""
HOURS_PER_MONTH = 720

_HERE = Path(__file__).parent


class UnknownGpu(ValueError):
    """A GPU name that the MIG profile table does not have. The message lists the ones it has."""


@lru_cache(maxsize=1)
def gpu_models() -> Mapping[str, GpuModel]:
    """Every GPU model by its key, in table order."""
    return MappingProxyType({row["key"]: _gpu_model(row) for row in _rows("gpu_models.csv")})


@lru_cache(maxsize=1)
def instance_types() -> Mapping[str, InstanceType]:
    """Every GPU instance type by its name, in table order."""
    models, prices = gpu_models(), list_prices()[PRICE_REGION]
    types = (_instance_type(row, models, prices.get(row["name"])) for row in _rows("instance_types.csv"))
    return MappingProxyType({found.name: found for found in types})


@lru_cache(maxsize=1)
def list_prices() -> Mapping[str, Mapping[str, Decimal]]:
    """On-demand US dollars per hour: region to instance type to price. A type without a list price is missing."""
    regions: dict[str, dict[str, Decimal]] = {}
    for row in _rows("prices.csv"):
        regions.setdefault(row["region"], {})[row["instance_type"]] = Decimal(row["usd_per_hour"])
    return MappingProxyType({region: MappingProxyType(prices) for region, prices in regions.items()})


def mig_gpus() -> tuple[str, ...]:
    """The GPUs that have MIG profiles, in table order."""
    return tuple(_profile_tables())


def mig_profiles(mig_gpu: str) -> Mapping[str, MigProfile]:
    """The MIG profiles of a GPU (such as `A100-40GB`) by name, in table order: smallest first.

    Raises UnknownGpu for a name that the table does not have.
    """
    table = _profile_tables().get(mig_gpu)
    if table is None:
        raise UnknownGpu(f"no MIG profiles are known for GPU {mig_gpu!r}; allowed: {', '.join(mig_gpus())}")
    return table


@lru_cache(maxsize=1)
def _profile_tables() -> Mapping[str, Mapping[str, MigProfile]]:
    tables: dict[str, dict[str, MigProfile]] = {}
    for row in _rows("mig_profiles.csv"):
        profile = _mig_profile(row)
        tables.setdefault(profile.gpu, {})[profile.name] = profile
    return MappingProxyType({gpu: MappingProxyType(profiles) for gpu, profiles in tables.items()})


def _rows(file: str) -> list[dict[str, str]]:
    with (_HERE / file).open(encoding="utf-8", newline="") as lines:
        return list(csv.DictReader(lines))


def _gpu_model(row: dict[str, str]) -> GpuModel:
    status = row["mig_status"]
    if status not in get_args(MigStatus):
        raise ValueError(f"gpu_models.csv: {row['key']}: mig_status {status!r}")
    major, minor = row["compute_capability"].split(".")
    return GpuModel(
        key=row["key"],
        karpenter_name=row["karpenter_name"],
        memory_mib=int(row["memory_mib"]),
        mig_gpu=row["mig_gpu"] or None,
        mig_status=cast(MigStatus, status),
        pci_device_id=row["pci_device_id"] or None,
        compute_capability=(int(major), int(minor)),
        source=row["source"],
    )


def _instance_type(row: dict[str, str], models: Mapping[str, GpuModel], price: Decimal | None) -> InstanceType:
    architecture = row["architecture"]
    if architecture not in get_args(Architecture):
        raise ValueError(f"instance_types.csv: {row['name']}: architecture {architecture!r}")
    return InstanceType(
        name=row["name"],
        vcpus=int(row["vcpus"]),
        memory_mib=int(row["memory_mib"]),
        gpu=models[row["gpu"]],
        gpu_count=int(row["gpu_count"]),
        gpu_memory_mib=int(row["gpu_memory_mib"]),
        usd_per_hour=price,
        max_pods=int(row["max_pods"]),
        architecture=cast(Architecture, architecture),
        network_cards=int(row["network_cards"]),
        efa_interfaces=int(row["efa_interfaces"]),
    )


def _mig_profile(row: dict[str, str]) -> MigProfile:
    return MigProfile(
        gpu=row["gpu"],
        name=row["profile"],
        compute_slices=int(row["compute_slices"]),
        memory_slices=int(row["memory_slices"]),
        memory_gb=int(row["memory_gb"]),
        max_instances=int(row["max_instances"]),
        placements=tuple(int(start) for start in row["placements"].split(";")),
    )
