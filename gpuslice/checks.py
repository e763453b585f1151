"""Rules between fields: what cannot work is refused here, before anything is registered or bought.

Each check takes valid models and yields `Problem`s. The sources of the rules are named beside them; the numbers
about hardware come from `gpuslice.catalog`.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Iterator, Sequence

from gpuslice import fields as f
from gpuslice.catalog import InstanceType, instance_types, versions
from gpuslice.fields import nearest
from gpuslice.pools import DAEMON_PODS, Pool, slice_memory_mib
from gpuslice.problems import Problem, shown
from gpuslice.settings import Cluster, Exclusive, Mig, Mps, PoolSettings, Replicated, Settings, TimeSlicing
from gpuslice.sharing.mig import MigLayoutError, place

LATEST_ALLOWED = ("local", "dev")
DERIVED_VALUES = (("mig", "strategy"), ("devicePlugin", "config"), ("migManager", "config"))


def pool_problems(pool: PoolSettings, path: str, settings_region: str, stack: str) -> Iterator[Problem]:
    """Everything that one pool says about itself that cannot work."""
    types = [instance_types()[name] for name in pool.instance_types]
    yield from _repeated(pool, path)
    yield from _hardware(pool, types, path)
    yield from _sharing(pool, types, path)
    yield from _capacity(pool, path)
    yield from _placement(pool, path, settings_region, stack)
    yield from _disruption(pool, path)
    yield from _taints(pool, path)


def _repeated(pool: PoolSettings, path: str) -> Iterator[Problem]:
    lists = {"instanceTypes": pool.instance_types, "capacityTypes": pool.capacity_types, "zones": pool.zones}
    for key, values in lists.items():
        for value in sorted({v for v in values if values.count(v) > 1}):
            yield Problem(f"{path}.{key}", shown(value), "is there twice", "each value once")


def _hardware(pool: PoolSettings, types: list[InstanceType], path: str) -> Iterator[Problem]:
    where = f"{path}.instanceTypes"
    architectures = sorted({t.architecture for t in types})
    if len(architectures) > 1:
        yield Problem(
            where,
            shown(list(pool.instance_types)),
            f"mixes {' and '.join(architectures)}: an image for one would crash on the other",
            "types of one CPU architecture",
        )
    if any(t.fractional for t in types) and not isinstance(pool.sharing, Exclusive):
        fractions = [t.name for t in types if t.fractional]
        yield Problem(where, shown(fractions), "is a fraction of a GPU already", "sharing.mode: exclusive")
    if any(t.fractional for t in types) and not all(t.fractional for t in types):
        yield Problem(where, shown(list(pool.instance_types)), "mixes whole GPUs and fractions", "one kind")
    if pool.efa:
        counts = {t.efa_interfaces for t in types}
        if 0 in counts:
            without = [t.name for t in types if not t.efa_interfaces]
            yield Problem(f"{path}.efa", "true", f"{', '.join(without)} has no EFA interface", "false")
        elif len(counts) > 1:
            yield Problem(
                where,
                shown(list(pool.instance_types)),
                "have different numbers of EFA interfaces",
                "types of one number",
            )


def _sharing(pool: PoolSettings, types: list[InstanceType], path: str) -> Iterator[Problem]:
    sharing = pool.sharing
    if isinstance(sharing, Mig):
        yield from _mig(pool, sharing, types, path)
    if isinstance(sharing, Replicated):
        yield from _replicas(sharing, types, path)
    if isinstance(sharing, Mps):
        # The MPS server takes 16 clients before compute capability 7.5 (k8s-device-plugin, MPS daemon).
        for t in types:
            if t.gpu.compute_capability < (7, 5) and sharing.replicas > 16:
                yield Problem(f"{path}.sharing.replicas", str(sharing.replicas), f"{t.gpu.key} takes 16", "at most 16")
    if pool.ami.startswith("bottlerocket@") and isinstance(sharing, Mig | Mps):
        yield Problem(
            f"{path}.ami",
            shown(pool.ami),
            f"{sharing.mode} on Bottlerocket is not proven: its own device plugin slices there",
            "al2023@vYYYYMMDD, or sharing.mode time-slicing or exclusive",
        )


def _mig(pool: PoolSettings, sharing: Mig, types: list[InstanceType], path: str) -> Iterator[Problem]:
    models = sorted({t.gpu.key for t in types})
    for t in types:
        if t.gpu.mig_status != "supported":
            why = "has no MIG" if t.gpu.mig_status == "none" else "has MIG in NVIDIA's tables, unproven on EC2"
            allowed = "types with A100, H100, H200 or Blackwell data-centre GPUs"
            yield Problem(f"{path}.sharing.mode", '"mig"', f"the {t.gpu.key} of {t.name} {why}", allowed)
            return
    if len(models) > 1:
        yield Problem(
            f"{path}.instanceTypes",
            shown(list(pool.instance_types)),
            f"a MIG layout belongs to one GPU model, these are {', '.join(models)}",
            "types of one GPU model",
        )
        return
    try:
        place(str(types[0].gpu.mig_gpu), sharing.layout)
    except MigLayoutError as error:
        yield Problem(
            f"{path}.sharing.layout",
            shown(sharing.layout),
            str(error),
            "see gpuslice mig --gpu ... --layouts",
        )
        return
    for t in types:
        yield from _pods(t, t.devices * sum(sharing.layout.values()), f"{path}.sharing.layout", shown(sharing.layout))


def _replicas(sharing: Replicated, types: list[InstanceType], path: str) -> Iterator[Problem]:
    where, value = f"{path}.sharing.replicas", str(sharing.replicas)
    if sharing.replicas > sharing.max_replicas:
        allowed = f"2 to {sharing.max_replicas} (sharing.maxReplicas)"
        yield Problem(where, value, "is over the limit for this pool", allowed)
    floor = f.mebibytes(sharing.min_memory)
    for t in types:
        memory = slice_memory_mib(t.gpu_memory_mib, sharing.replicas)
        if memory < floor:
            most = max((r for r in range(1, 49) if slice_memory_mib(t.gpu_memory_mib, r) >= floor), default=0)
            message = f"leaves {max(memory, 0)} MiB of the {t.gpu.key} of {t.name} to a slice"
            yield Problem(where, value, message, f"at least {floor} MiB (sharing.minMemory), so at most {most}")
        yield from _pods(t, t.devices * sharing.replicas, where, value)


def _pods(t: InstanceType, slices: int, where: str, value: str) -> Iterator[Problem]:
    if slices > t.max_pods - DAEMON_PODS:
        yield Problem(
            where,
            value,
            f"makes {slices} slices on {t.name}, which holds {t.max_pods} pods of which about {DAEMON_PODS} are system pods",
            f"at most {t.max_pods - DAEMON_PODS} slices on a node",
        )


def _capacity(pool: PoolSettings, path: str) -> Iterator[Problem]:
    reserved, terms = "reserved" in pool.capacity_types, pool.capacity_reservations
    if reserved and terms is None:
        yield Problem(
            f"{path}.capacityTypes", '"reserved"', "needs capacityReservations", "ids or tags of reservations"
        )
    if terms is not None:
        where = f"{path}.capacityReservations"
        if not terms.ids and not terms.tags:
            yield Problem(where, shown(terms.model_dump(by_alias=True)), "selects nothing", "ids or tags")
        if not all(k and v for k, v in terms.tags.items()):
            yield Problem(f"{where}.tags", shown(terms.tags), "has an empty key or value", "keys and values with text")
        if not reserved:
            yield Problem(where, "", "is there, but capacityTypes has no 'reserved'", "capacityTypes: [reserved, ...]")
        if terms.type == "capacity-block" and "spot" in pool.capacity_types:
            yield Problem(
                f"{path}.capacityTypes",
                '"spot"',
                "beside a capacity block: the block is paid for whether or not a spot node takes the work",
                "reserved, on-demand",
            )


def _placement(pool: PoolSettings, path: str, region: str, stack: str) -> Iterator[Problem]:
    for index, zone in enumerate(pool.zones):
        if not zone.startswith(region):
            yield Problem(f"{path}.zones[{index}]", shown(zone), f"is not in {region}", f"zones such as {region}a")
    if pool.ami.endswith("@latest") and stack not in LATEST_ALLOWED:
        message = "is not pinned: each AMI release would replace every GPU node"
        yield Problem(f"{path}.ami", shown(pool.ami), message, f"a release such as {versions.DEFAULT_AMI}")
    if f.mebibytes(pool.root_volume) < f.mebibytes("50Gi"):
        # CUDA images fill the default 20 GiB (karpenter-provider-aws issues 4149, 6358).
        yield Problem(f"{path}.rootVolume", shown(pool.root_volume), "is too small for CUDA images", "50Gi to 16Ti")
    if f.mebibytes(pool.root_volume) > f.mebibytes("16Ti"):
        yield Problem(f"{path}.rootVolume", shown(pool.root_volume), "is larger than a gp3 volume", "50Gi to 16Ti")


def _disruption(pool: PoolSettings, path: str) -> Iterator[Problem]:
    for index, budget in enumerate(pool.disruption.budgets):
        if (budget.schedule is None) != (budget.duration is None):
            where = f"{path}.disruption.budgets[{index}]"
            yield Problem(where, "", "schedule and duration go together", "both, or neither")
    grace = pool.disruption.termination_grace_period
    if not 0 < f.seconds(grace) <= 86400:
        where = f"{path}.disruption.terminationGracePeriod"
        yield Problem(where, shown(grace), "must be longer than nothing and at most a day", "1s to 24h")
    if f.seconds(pool.disruption.expire_after) < 600:
        where = f"{path}.disruption.expireAfter"
        message = "would replace nodes faster than a GPU node starts"
        yield Problem(where, shown(pool.disruption.expire_after), message, "at least 10m, or Never")


def _taints(pool: PoolSettings, path: str) -> Iterator[Problem]:
    seen: set[tuple[str, str]] = set()
    for index, taint in enumerate(pool.extra_taints):
        if (taint.key, taint.effect) in seen:
            where = f"{path}.extraTaints[{index}]"
            yield Problem(where, shown(taint.key), f"repeats {taint.key}:{taint.effect}", "each key and effect once")
        seen.add((taint.key, taint.effect))


def cluster_problems(cluster: Cluster, path: str) -> Iterator[Problem]:
    """Rules between the fields of `cluster`."""
    yield from _endpoint(cluster, path)
    if cluster.kubernetes_version not in versions.KUBERNETES_SUPPORTED:
        allowed = ", ".join(versions.KUBERNETES_SUPPORTED)
        yield Problem(f"{path}.kubernetesVersion", shown(cluster.kubernetes_version), "is not supported", allowed)
    for index, name in enumerate(cluster.system_nodes.instance_types):
        if name in instance_types():
            where = f"{path}.systemNodes.instanceTypes[{index}]"
            yield Problem(
                where,
                shown(name),
                "is a GPU type: system nodes run all the time",
                "CPU types, such as m7i.large",
            )
    cidr = getattr(cluster.vpc, "cidr", None)
    if cidr and ipaddress.ip_network(cidr).overlaps(ipaddress.ip_network(cluster.service_cidr)):
        where = f"{path}.serviceCidr"
        message = f"overlaps vpc.cidr {cidr}: pods could not reach one of the two"
        yield Problem(where, shown(cluster.service_cidr), message, "a range outside the VPC")
    yield from _existing(cluster, path)


def _endpoint(cluster: Cluster, path: str) -> Iterator[Problem]:
    endpoint, where = cluster.endpoint, f"{path}.endpoint"
    if not endpoint.private and not endpoint.public:
        yield Problem(where, "", "is neither private nor public: nobody could reach the cluster", "private: true")
    if endpoint.public and not endpoint.public_cidrs:
        yield Problem(
            f"{where}.publicCidrs",
            "[]",
            "is empty, which opens the API server to everybody",
            "CIDRs of yours",
        )
    if endpoint.public_cidrs and not endpoint.public:
        yield Problem(f"{where}.publicCidrs", shown(endpoint.public_cidrs), "has no effect", "public: true, or none")
    networks = [ipaddress.ip_network(c) for c in endpoint.public_cidrs]
    for index, network in enumerate(networks):
        if any(network.overlaps(other) for other in networks[:index]):
            yield Problem(
                f"{where}.publicCidrs[{index}]",
                shown(str(network)),
                "overlaps another entry",
                "disjoint CIDRs",
            )


def _existing(cluster: Cluster, path: str) -> Iterator[Problem]:
    where, source = f"{path}.kubeconfig", cluster.kubeconfig
    if cluster.mode != "existing":
        if source is not None:
            yield Problem(where, "", f"has no effect with mode: {cluster.mode}", "mode: existing")
        return
    if source is None or (source.path is None) == (source.stack_reference is None):
        yield Problem(where, "", "must say where the existing cluster's kubeconfig is", "one of path, stackReference")
    if source is not None and source.context and not source.path:
        yield Problem(f"{where}.context", shown(source.context), "belongs to a kubeconfig file", "with path")


def settings_problems(settings: Settings, base: str, sound: Sequence[PoolSettings]) -> Iterator[Problem]:
    """Rules between sections. `sound` are the pools without problems of their own: only they can be derived."""
    yield from _versions(settings, base)
    yield from _between_pools(settings, base)
    yield from _tenants(settings, base, sound)
    yield from _verification(settings, base, sound)
    for keys in DERIVED_VALUES:
        value: object = settings.gpu_operator.values
        for key in keys:
            value = value.get(key) if isinstance(value, dict) else None
        if value is not None:
            where = f"{base}gpuOperator.values.{'.'.join(keys)}"
            yield Problem(
                where,
                shown(value),
                "is derived from the pools: another value would leave nodes unready",
                "no value",
            )


def _parsed(version: str) -> tuple[int, ...]:
    return tuple(int(part) for part in version.lstrip("v").split("."))


def _versions(settings: Settings, base: str) -> Iterator[Problem]:
    karpenter, minor = settings.karpenter, _parsed(versions.KARPENTER)[:2]
    if _parsed(karpenter.version)[:2] != minor:
        allowed = f"{minor[0]}.{minor[1]}.x, whose IAM policy and CRDs this program carries"
        yield Problem(f"{base}karpenter.version", shown(karpenter.version), "is another minor version", allowed)
    if _parsed(settings.gpu_operator.version) < _parsed(versions.GPU_OPERATOR_FLOOR):
        message = "has known container escapes (CVE-2026-24260 and older)"
        allowed = f"{versions.GPU_OPERATOR_FLOOR} or later"
        yield Problem(f"{base}gpuOperator.version", shown(settings.gpu_operator.version), message, allowed)
    if not karpenter.install and settings.cluster.mode != "existing":
        yield Problem(
            f"{base}karpenter.install",
            "false",
            "needs a cluster that runs Karpenter",
            "cluster.mode: existing",
        )
    if karpenter.install and karpenter.node_role:
        yield Problem(f"{base}karpenter.nodeRole", shown(karpenter.node_role), "is made here", "install: false")
    if not karpenter.install and not karpenter.node_role:
        yield Problem(f"{base}karpenter.nodeRole", "", "is missing", "the node role of the installed Karpenter")


def _between_pools(settings: Settings, base: str) -> Iterator[Problem]:
    names = [p.name for p in settings.pools]
    modes = {p.sharing.mode for p in settings.pools}
    plain = [p for p in settings.pools if isinstance(p.sharing, TimeSlicing | Mps) and not p.sharing.rename]
    for index, pool in enumerate(settings.pools):
        path = f"{base}pools[{index}]"
        if pool.name in names[:index]:
            yield Problem(f"{path}.name", shown(pool.name), "is the name of another pool", "each name once")
        if pool in plain and "exclusive" in modes and not pool.extra_taints:
            message = "beside an exclusive pool: a pod asking nvidia.com/gpu could get a GPU or a slice"
            yield Problem(f"{path}.sharing.rename", "false", message, "true, or a taint of its own in extraTaints")
        if pool.sharing.mode == "mps" and "mig" in modes:
            # The device plugin refuses MPS with the strategy 'mixed', which the MIG pools need.
            message = "beside a MIG pool: the device plugin refuses MPS with --mig-strategy=mixed"
            yield Problem(f"{path}.sharing.mode", '"mps"', message, "MPS and MIG in different clusters")


def _tenants(settings: Settings, base: str, sound: Sequence[PoolSettings]) -> Iterator[Problem]:
    names = [p.name for p in settings.pools]
    pools = {p.name: Pool.of(p) for p in sound}
    seen: set[str] = set()
    for index, tenant in enumerate(settings.tenants):
        path = f"{base}tenants[{index}]"
        if tenant.namespace in f.POD_SECURITY_RESERVED or tenant.namespace in seen:
            message = "is the namespace of another tenant" if tenant.namespace in seen else "is a system namespace"
            yield Problem(f"{path}.namespace", shown(tenant.namespace), message, "a namespace of the tenant's own")
        seen.add(tenant.namespace)
        for name, quota in tenant.quota.items():
            where = f"{path}.quota.{name}"
            if name not in names:
                yield Problem(where, shown(quota), "is not a pool", ", ".join(names), nearest(name, names))
            if name in pools:
                yield from _quota(pools[name], quota, where)


def _quota(pool: Pool, quota: int | dict[str, int], where: str) -> Iterator[Problem]:
    profiles = [r.profile for r in pool.resources if r.profile]
    if isinstance(quota, int):
        if len(pool.resources) > 1:
            yield Problem(where, shown(quota), "does not say of which profile", "{" + ": n, ".join(profiles) + ": n}")
        return
    for profile in quota:
        if profile not in profiles:
            allowed = ", ".join(profiles) or "a number of slices"
            yield Problem(f"{where}.{profile}", shown(quota[profile]), "is not a profile of the pool", allowed)


def _verification(settings: Settings, base: str, sound: Sequence[PoolSettings]) -> Iterator[Problem]:
    wanted, path = settings.verification, f"{base}verification"
    if wanted is None:
        return
    names = [p.name for p in settings.pools]
    if wanted.pool not in names:
        yield Problem(
            f"{path}.pool", shown(wanted.pool), "is not a pool", ", ".join(names), nearest(wanted.pool, names)
        )
    if wanted.pool not in [p.name for p in sound]:
        return
    pool = Pool.of(settings.pool(wanted.pool))
    profiles = [r.profile for r in pool.resources if r.profile]
    if wanted.profile is not None and wanted.profile not in profiles:
        allowed = ", ".join(profiles) or "none: the pool has no MIG profiles"
        yield Problem(f"{path}.profile", shown(wanted.profile), "is not a profile of the pool", allowed)
