"""Rules that one pool must keep: hardware, sharing, capacity, disruption."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

from gpuslice import fields as f
from gpuslice.catalog import InstanceType, instance_types, mig_gpus, mig_profiles, versions
from gpuslice.checks.repeated import repeated
from gpuslice.fields import nearest
from gpuslice.problems import Problem, join, shown
from gpuslice.reserves import DAEMON_PODS, slice_memory_mib
from gpuslice.settings import MAX_REPLICAS, Exclusive, Mig, Mps, PoolSettings, Replicated
from gpuslice.sharing.mig import MigLayoutError, place

LATEST_ALLOWED = ("local", "dev")


@dataclass(frozen=True)
class _Pool:
    """A pool under examination. `region` is empty when it is not known."""

    settings: PoolSettings
    types: tuple[InstanceType, ...]
    path: str
    region: str
    stack: str

    @property
    def type_names(self) -> str:
        return shown([t.name for t in self.types])


def pool_problems(
    pool: PoolSettings, path: str, region: str, stack: str, broken: frozenset[str] = frozenset()
) -> Iterator[Problem]:
    """Everything that one pool says about itself that cannot work. `broken`: fields that hold a stand-in."""
    known = instance_types()
    subject = _Pool(pool, tuple(known[name] for name in pool.instance_types), path, region, stack)
    for check, fields in _CHECKS:
        if not broken.intersection(fields):
            yield from check(subject)


def _repeated(pool: _Pool) -> Iterator[Problem]:
    settings = pool.settings
    lists = {"instanceTypes": settings.instance_types, "capacityTypes": settings.capacity_types}
    yield from repeated(lists | {"zones": settings.zones}, pool.path)
    for index, budget in enumerate(settings.disruption.budgets):
        yield from repeated({"reasons": budget.reasons}, f"{pool.path}.disruption.budgets[{index}]")


def _architecture(pool: _Pool) -> Iterator[Problem]:
    architectures = sorted({t.architecture for t in pool.types})
    if len(architectures) > 1:
        message = f"mixes {' and '.join(architectures)}: an image for one would crash on the other"
        yield Problem(f"{pool.path}.instanceTypes", pool.type_names, message, "types of one CPU architecture")


def _fractions(pool: _Pool) -> Iterator[Problem]:
    where = f"{pool.path}.instanceTypes"
    fractions = [t.name for t in pool.types if t.fractional]
    if fractions and not isinstance(pool.settings.sharing, Exclusive):
        yield Problem(where, shown(fractions), "is a fraction of a GPU already", "sharing.mode: exclusive")
    if fractions and len(fractions) < len(pool.types):
        yield Problem(where, pool.type_names, "mixes whole GPUs and fractions of one", "one kind")


def _efa(pool: _Pool) -> Iterator[Problem]:
    if not pool.settings.efa:
        return
    without = [t.name for t in pool.types if not t.efa_interfaces]
    if without:
        message = f"cannot be: {', '.join(without)} has no EFA interface"
        yield Problem(f"{pool.path}.efa", "true", message, "false, or types with EFA")
    elif len({t.efa_interfaces for t in pool.types}) > 1:
        message = "have different numbers of EFA interfaces"
        yield Problem(
            f"{pool.path}.instanceTypes", pool.type_names, message, "types with the same number, or efa: false"
        )


def _mig(pool: _Pool) -> Iterator[Problem]:
    sharing = pool.settings.sharing
    if not isinstance(sharing, Mig):
        return
    for t in pool.types:
        if t.gpu.mig_status != "supported":
            why = "has no MIG" if t.gpu.mig_status == "none" else "has MIG in NVIDIA's tables, but unproven on EC2"
            allowed = "types with A100, H100, H200 or Blackwell data-centre GPUs; or another sharing mode"
            yield Problem(
                f"{pool.path}.sharing.mode", '"mig"', f"cannot be: the {t.gpu.key} of {t.name} {why}", allowed
            )
            return
    models = sorted({t.gpu.key for t in pool.types})
    if len(models) > 1:
        message = f"are of several GPU models ({', '.join(models)}); a MIG layout belongs to one"
        yield Problem(f"{pool.path}.instanceTypes", pool.type_names, message, "types of one GPU model")
        return
    faults = [*_layout(str(pool.types[0].gpu.mig_gpu), sharing.layout, f"{pool.path}.sharing.layout")]
    yield from faults
    if not faults:
        yield from _pods(pool, sum(sharing.layout.values()), f"{pool.path}.sharing.layout", shown(sharing.layout))


def _layout(gpu: str, layout: dict[str, int], where: str) -> Iterator[Problem]:
    profiles = mig_profiles(gpu)
    unknown = [name for name in layout if name not in profiles]
    for name in unknown:
        owners = ", ".join(g for g in mig_gpus() if name in mig_profiles(g))
        message = f"is not a MIG profile of the {gpu}" + (f", but of {owners}" if owners else "")
        close = nearest(name, profiles)
        yield Problem(join(where, [name]), shown(layout[name]), message, ", ".join(profiles), close)
    if unknown:
        return
    try:
        place(gpu, layout)
    except MigLayoutError as error:
        yield Problem(where, shown(layout), str(error), f"what `gpuslice mig --gpu {gpu} --layouts` lists")


def _replicas(pool: _Pool) -> Iterator[Problem]:
    sharing, where = pool.settings.sharing, f"{pool.path}.sharing.replicas"
    if not isinstance(sharing, Replicated) or any(t.fractional for t in pool.types):
        return
    value = str(sharing.replicas)
    if sharing.replicas > sharing.max_replicas:
        allowed = f"2 to {sharing.max_replicas} (sharing.maxReplicas)"
        yield Problem(where, value, "is over the limit of this pool", allowed)
    floor, smallest = f.mebibytes(sharing.min_memory), min(pool.types, key=lambda t: t.gpu_memory_mib)
    memory = slice_memory_mib(smallest.gpu_memory_mib, sharing.replicas)
    if memory < floor:
        fits = [r for r in range(2, MAX_REPLICAS + 1) if slice_memory_mib(smallest.gpu_memory_mib, r) >= floor]
        most = f"so at most {fits[-1]} replicas" if fits else "so this GPU cannot be shared"
        message = f"leaves {max(memory, 0)} MiB of the {smallest.gpu.key} of {smallest.name} to a slice"
        yield Problem(where, value, message, f"at least {floor} MiB (sharing.minMemory), {most}")
    yield from _pods(pool, sharing.replicas, where, value)


def _pods(pool: _Pool, slices_per_gpu: int, where: str, value: str) -> Iterator[Problem]:
    """Every slice needs a pod, and a node holds only so many: the worst type is reported."""
    room, t = min(((t.max_pods - DAEMON_PODS - t.devices * slices_per_gpu, t) for t in pool.types), key=lambda p: p[0])
    if room < 0:
        message = f"makes {t.devices * slices_per_gpu} slices on a {t.name}, which holds {t.max_pods} pods"
        allowed = f"at most {t.max_pods - DAEMON_PODS} slices, as about {DAEMON_PODS} pods are the system's"
        yield Problem(where, value, message, allowed)


def _mps_clients(pool: _Pool) -> Iterator[Problem]:
    """The MPS server takes 16 clients before compute capability 7.5 (k8s-device-plugin, MPS daemon)."""
    sharing = pool.settings.sharing
    old = [t for t in pool.types if t.gpu.compute_capability < (7, 5)]
    if isinstance(sharing, Mps) and old and sharing.replicas > 16:
        message = f"is more than the {old[0].gpu.key} of {old[0].name} takes under MPS"
        yield Problem(f"{pool.path}.sharing.replicas", str(sharing.replicas), message, "2 to 16")


def _bottlerocket(pool: _Pool) -> Iterator[Problem]:
    mode = pool.settings.sharing.mode
    if pool.settings.ami.startswith("bottlerocket@") and mode in {"mig", "mps"}:
        message = f"cannot be with {mode}: Bottlerocket slices with its own device plugin, unproven for {mode} here"
        allowed = "al2023@vYYYYMMDD, or sharing.mode time-slicing or exclusive"
        yield Problem(f"{pool.path}.ami", shown(pool.settings.ami), message, allowed)


def _isolation(pool: _Pool) -> Iterator[Problem]:
    """Releases of AL2023 are dates, which compare as text."""
    family, _, release = pool.settings.ami.partition("@")
    if pool.settings.isolation != "strict" or family != "al2023" or release == "latest":
        return
    if release < versions.STRICT_AMI_FLOOR:
        message = "is too old for isolation: strict: its container toolkit has a known escape (CVE-2026-24260)"
        allowed = f"al2023@{versions.STRICT_AMI_FLOOR} or later"
        yield Problem(f"{pool.path}.ami", shown(pool.settings.ami), message, allowed)


def _capacity(pool: _Pool) -> Iterator[Problem]:
    kinds, terms = pool.settings.capacity_types, pool.settings.capacity_reservations
    where = f"{pool.path}.capacityTypes"
    if "reserved" in kinds and terms is None:
        message = "has 'reserved', but the pool names no reservation"
        yield Problem(where, shown(list(kinds)), message, "capacityReservations with ids or tags")
    if terms is None:
        return
    if "reserved" not in kinds:
        message = "has no effect: capacityTypes has no 'reserved'"
        yield Problem(f"{pool.path}.capacityReservations", "", message, "capacityTypes: [reserved, ...]")
    if terms.type == "capacity-block" and "spot" in kinds:
        message = "has 'spot' beside a capacity block, which is paid for whether or not a spot node takes the work"
        yield Problem(where, shown(list(kinds)), message, "reserved, on-demand")


def _reservations(pool: _Pool) -> Iterator[Problem]:
    terms, where = pool.settings.capacity_reservations, f"{pool.path}.capacityReservations"
    if terms is None:
        return
    if not terms.ids and not terms.tags:
        yield Problem(where, "", "selects nothing", "ids or tags")
    # One selector term for each id and one for the tags: the EC2NodeClass takes 30.
    if len(terms.ids) + bool(terms.tags) > 30:
        yield Problem(
            f"{where}.ids", f"{len(terms.ids)} ids and tags", "has too many entries", "at most 29 beside tags"
        )
    yield from repeated({"ids": terms.ids}, where)


def _zones(pool: _Pool) -> Iterator[Problem]:
    for index, zone in enumerate(pool.settings.zones):
        if pool.region and not zone.startswith(pool.region):
            message = f"is not in {pool.region} (aws:region)"
            yield Problem(f"{pool.path}.zones[{index}]", shown(zone), message, f"zones such as {pool.region}a")


def _image_and_volume(pool: _Pool) -> Iterator[Problem]:
    ami, volume = pool.settings.ami, pool.settings.root_volume
    if ami.endswith("@latest") and pool.stack not in LATEST_ALLOWED:
        message = "is not pinned: each AMI release would replace every GPU node"
        yield Problem(f"{pool.path}.ami", shown(ami), message, f"a release such as {versions.DEFAULT_AMI}")
    if not f.mebibytes("50Gi") <= f.mebibytes(volume) <= f.mebibytes("16Ti"):
        # CUDA images fill the default 20 GiB (karpenter-provider-aws issues 4149, 6358).
        small = f.mebibytes(volume) < f.mebibytes("50Gi")
        message = "is too small for CUDA images" if small else "is larger than a root volume may be"
        yield Problem(f"{pool.path}.rootVolume", shown(volume), message, "50Gi to 16Ti")


def _disruption(pool: _Pool) -> Iterator[Problem]:
    disruption, path = pool.settings.disruption, f"{pool.path}.disruption"
    for index, budget in enumerate(disruption.budgets):
        if (budget.schedule is None) != (budget.duration is None):
            there, missing = ("duration", "schedule") if budget.schedule is None else ("schedule", "duration")
            message = f"has a {there} without a {missing}"
            yield Problem(f"{path}.budgets[{index}]", "", message, "both, or neither")
    grace = disruption.termination_grace_period
    if not 0 < f.seconds(grace) <= 86400:
        message = "is no time at all" if f.seconds(grace) == 0 else "lets a drain take longer than a day"
        yield Problem(f"{path}.terminationGracePeriod", shown(grace), message, "1s to 24h")
    if f.seconds(disruption.expire_after) < 600:
        message = "would replace nodes faster than a GPU node starts"
        yield Problem(f"{path}.expireAfter", shown(disruption.expire_after), message, "at least 10m, or Never")


def _taints(pool: _Pool) -> Iterator[Problem]:
    seen: set[tuple[str, str]] = set()
    for index, taint in enumerate(pool.settings.extra_taints):
        if (taint.key, taint.effect) in seen:
            message = f"repeats {taint.key}:{taint.effect}"
            yield Problem(f"{pool.path}.extraTaints[{index}]", "", message, "each key and effect once")
        seen.add((taint.key, taint.effect))


_CHECKS: tuple[tuple[Callable[[_Pool], Iterator[Problem]], tuple[str, ...]], ...] = (
    (_repeated, ()),
    (_architecture, ("instance_types",)),
    (_fractions, ("instance_types", "sharing")),
    (_efa, ("instance_types", "efa")),
    (_mig, ("instance_types", "sharing")),
    (_replicas, ("instance_types", "sharing")),
    (_mps_clients, ("instance_types", "sharing")),
    (_bottlerocket, ("ami", "sharing")),
    (_isolation, ("ami", "isolation")),
    (_capacity, ("capacity_types", "capacity_reservations")),
    (_reservations, ("capacity_reservations",)),
    (_zones, ("zones",)),
    (_image_and_volume, ()),
    (_disruption, ()),
    (_taints, ()),
)
"""Each check, and the fields of which it says nothing while one of them holds a stand-in."""
