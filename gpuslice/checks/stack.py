"""Rules between the sections of a stack."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from gpuslice.catalog import versions
from gpuslice.checks.repeated import repeated
from gpuslice.fields import nearest
from gpuslice.gpu_operator import NAMESPACE as OPERATOR_NAMESPACE
from gpuslice.gpu_operator import needs_cdi, tolerations
from gpuslice.manifests.karpenter import node_role_name
from gpuslice.manifests.verification import NAMESPACE as VERIFICATION_NAMESPACE
from gpuslice.pools import Pool
from gpuslice.problems import Problem, join, shown
from gpuslice.settings import Mps, Replicated, Settings

LONGEST_ROLE = 64

SYSTEM_NAMESPACES = frozenset({"default", "kube-system", "kube-public", "kube-node-lease"})
OWN_NAMESPACES = frozenset({OPERATOR_NAMESPACE, VERIFICATION_NAMESPACE})
DERIVED_VALUES: tuple[tuple[str, ...], ...] = (
    ("mig", "strategy"),
    ("devicePlugin", "config"),
    ("migManager", "config"),
)
"""Helm values that follow from the pools."""
IMAGE_VALUES: tuple[tuple[str, ...], ...] = (("driver", "enabled"), ("toolkit", "enabled"))
"""Helm values that follow from the AMI, which brings the driver and the container toolkit."""
TOLERATION_VALUES: tuple[tuple[str, ...], ...] = (
    ("daemonsets", "tolerations"),
    ("node-feature-discovery", "worker", "tolerations"),
)
"""Lists that replace the derived ones, so they must hold them."""
CDI_VALUE = ("cdi", "enabled")
PLUGIN_ENV_VALUE = ("devicePlugin", "env")


@dataclass(frozen=True)
class Draft:
    """Settings of which some fields may hold stand-ins: `broken` maps the path of a section to those fields.

    `sound` are the pools without problems of their own, by name: only they can be derived. `names` are the names of
    all pools; None when they are not known, as one of them is wrong.
    """

    settings: Settings
    base: str
    sound: Mapping[str, Pool]
    names: Sequence[str] | None
    broken: Mapping[str, frozenset[str]]

    def holds(self, section: str, *fields: str) -> bool:
        """Whether the fields of a section are the file's own."""
        return not self.broken.get(section, frozenset()).intersection(fields)


def settings_problems(draft: Draft) -> Iterator[Problem]:
    """Everything that the sections of a stack say about each other that cannot work."""
    yield from _versions(draft)
    yield from _karpenter(draft)
    yield from _between_pools(draft)
    yield from _tenants(draft)
    yield from _verification(draft)
    yield from _admission(draft)
    yield from _helm_values(draft)
    yield from _strict_values(draft)


def _parsed(version: str) -> tuple[int, ...]:
    return tuple(int(part) for part in version.lstrip("v").split("."))


def _versions(draft: Draft) -> Iterator[Problem]:
    karpenter, minor = draft.settings.karpenter, _parsed(versions.KARPENTER)[:2]
    if _parsed(karpenter.version)[:2] != minor:
        allowed = f"{minor[0]}.{minor[1]}.x, whose IAM policy and CRDs this program carries"
        yield Problem(
            f"{draft.base}karpenter.version", shown(karpenter.version), "is of another minor version", allowed
        )
    operator = draft.settings.gpu_operator.version
    if _parsed(operator) < _parsed(versions.GPU_OPERATOR_FLOOR):
        message = "has known container escapes (CVE-2026-24260 and older)"
        allowed = f"{versions.GPU_OPERATOR_FLOOR} or later"
        yield Problem(f"{draft.base}gpuOperator.version", shown(operator), message, allowed)


def _karpenter(draft: Draft) -> Iterator[Problem]:
    karpenter, where = draft.settings.karpenter, f"{draft.base}karpenter"
    if not draft.holds("karpenter", "install", "node_role"):
        return
    if not karpenter.install and draft.holds("cluster", "mode") and draft.settings.cluster.mode != "existing":
        message = "needs a cluster that runs Karpenter already"
        yield Problem(f"{where}.install", "false", message, "true, or cluster.mode: existing")
    if karpenter.install and karpenter.node_role:
        yield Problem(f"{where}.nodeRole", shown(karpenter.node_role), "is made by this program", "install: false")
    if not karpenter.install and not karpenter.node_role:
        yield Problem(f"{where}.nodeRole", "", "is missing", "the node role of the Karpenter that is installed")
    role = node_role_name(draft.settings)
    if len(role) > LONGEST_ROLE and draft.holds("cluster", "name"):
        name, longest = draft.settings.cluster.name, LONGEST_ROLE - len(role) + len(draft.settings.cluster.name)
        message = f"makes the node role's name, {role}, longer than IAM's {LONGEST_ROLE} characters"
        yield Problem(f"{draft.base}cluster.name", shown(name), message, f"at most {longest} characters")


def _between_pools(draft: Draft) -> Iterator[Problem]:
    shared = [_holding(draft, index, "sharing") for index in range(len(draft.settings.pools))]
    modes = {p.sharing.mode for p, known in zip(draft.settings.pools, shared, strict=True) if known}
    for index, pool in enumerate(draft.settings.pools):
        path = f"{draft.base}pools[{index}]"
        if draft.names and _holding(draft, index, "name") and pool.name in draft.names[:index]:
            yield Problem(f"{path}.name", shown(pool.name), "is the name of another pool", "each name once")
        fenced = any(t.effect != "PreferNoSchedule" for t in pool.extra_taints)
        plain = isinstance(pool.sharing, Replicated) and not pool.sharing.rename
        if plain and "exclusive" in modes and not fenced:
            message = "stands beside an exclusive pool: a pod asking nvidia.com/gpu could get a GPU or a slice"
            yield Problem(f"{path}.sharing.rename", "false", message, "true, or a taint of its own in extraTaints")
        if isinstance(pool.sharing, Mps) and "mig" in modes:
            # The device plugin refuses MPS with the strategy 'mixed', which the MIG pools need.
            message = "stands beside a MIG pool: the device plugin refuses MPS with --mig-strategy=mixed"
            yield Problem(f"{path}.sharing.mode", '"mps"', message, "MPS and MIG in different clusters")


def _holding(draft: Draft, index: int, field: str) -> bool:
    return draft.holds(f"pools[{index}]", field)


def _tenants(draft: Draft) -> Iterator[Problem]:
    seen: set[str] = set()
    for index, tenant in enumerate(draft.settings.tenants):
        path = f"{draft.base}tenants[{index}]"
        if draft.holds(f"tenants[{index}]", "namespace"):
            fault = _namespace_fault(tenant.namespace, seen)
            if fault:
                yield Problem(f"{path}.namespace", shown(tenant.namespace), fault, "a namespace of the tenant's own")
            seen.add(tenant.namespace)
        for name, quota in tenant.quota.items():
            where = join(f"{path}.quota", [name])
            if draft.names is not None and name not in draft.names:
                yield Problem(where, shown(quota), "is not a pool", _names(draft.names), nearest(name, draft.names))
            elif name in draft.sound:
                yield from _quota(draft.sound[name], quota, where)


def _namespace_fault(namespace: str, seen: set[str]) -> str:
    if namespace in SYSTEM_NAMESPACES or namespace.startswith("kube-"):
        return "is a system namespace"
    if namespace in OWN_NAMESPACES:
        return "is a namespace of this program"
    return "is the namespace of another tenant" if namespace in seen else ""


def _names(names: Sequence[str]) -> str:
    listed = ", ".join(dict.fromkeys(names[:20]))
    return listed + (f" and {len(names) - 20} more" if len(names) > 20 else "")


def _profiles(pool: Pool) -> list[str]:
    return [r.profile for r in pool.resources if r.profile]


def _quota(pool: Pool, quota: int | dict[str, int], where: str) -> Iterator[Problem]:
    profiles = _profiles(pool)
    if isinstance(quota, int):
        if len(pool.resources) > 1:
            yield Problem(where, shown(quota), "does not say of which profile", "{" + ": n, ".join(profiles) + ": n}")
        return
    if not profiles:
        yield Problem(where, shown(quota), "names profiles, but the pool has no MIG", "a number of slices")
        return
    for profile in quota:
        if profile not in profiles:
            path = join(where, [profile])
            close = nearest(profile, profiles)
            yield Problem(path, shown(quota[profile]), "is not a profile of the pool", ", ".join(profiles), close)


def _verification(draft: Draft) -> Iterator[Problem]:
    wanted, path = draft.settings.verification, f"{draft.base}verification"
    if wanted is None or not draft.holds("verification", "pool"):
        return
    if draft.names is not None and wanted.pool not in draft.names:
        close = nearest(wanted.pool, draft.names)
        yield Problem(f"{path}.pool", shown(wanted.pool), "is not a pool", _names(draft.names), close)
    if wanted.pool not in draft.sound or not draft.holds("verification", "profile", "replicas"):
        return
    pool = draft.sound[wanted.pool]
    profiles = _profiles(pool)
    if wanted.profile is not None and wanted.profile not in profiles:
        allowed = ", ".join(profiles) or "no profile: the pool has no MIG"
        close = nearest(wanted.profile, profiles)
        yield Problem(f"{path}.profile", shown(wanted.profile), "is not a profile of the pool", allowed, close)
        return
    resource = next((r for r in pool.resources if r.profile == wanted.profile), pool.resources[0])
    most = pool.limits[resource.name]
    if wanted.replicas > most:
        message = f"can never all run: the pool's {pool.settings.limits.nodes} nodes hold {most} {resource.name}"
        yield Problem(f"{path}.replicas", str(wanted.replicas), message, f"1 to {most}, or a larger limits.nodes")


def _admission(draft: Draft) -> Iterator[Problem]:
    admission, path = draft.settings.admission, f"{draft.base}admission"
    yield from repeated({"exemptNamespaces": admission.exempt_namespaces}, path)
    if admission.exempt_namespaces and not admission.enabled and draft.holds("admission", "enabled"):
        given = shown(list(admission.exempt_namespaces))
        yield Problem(f"{path}.exemptNamespaces", given, "is exempt from rules that are off", "enabled: true")


def _helm_values(draft: Draft) -> Iterator[Problem]:
    given, base = draft.settings.gpu_operator.values, f"{draft.base}gpuOperator.values"
    for keys in (*DERIVED_VALUES, *IMAGE_VALUES):
        path, value = _given(given, keys)
        if value is None or (keys in IMAGE_VALUES and value is False):
            continue
        why = "the AMI, which brings it" if keys in IMAGE_VALUES else "the pools: another one would leave nodes unready"
        yield Problem(join(base, path), shown(value), f"follows from {why}", "no value")
    needed = [t["key"] for t in tolerations(list(draft.sound.values()))]
    for keys in TOLERATION_VALUES:
        path, value = _given(given, keys)
        if value is None:
            continue
        entries = [e for e in value if isinstance(e, dict)] if isinstance(value, list) else []
        missing = [key for key in dict.fromkeys(needed) if not any(e.get("key") in {key, None} for e in entries)]
        if missing:
            message = f"replaces the derived list, without a toleration for {', '.join(missing)}"
            yield Problem(join(base, path), shown(value), message, "a list with one for each taint of the pools")


def _strict_values(draft: Draft) -> Iterator[Problem]:
    """Where runc is the default runtime, a container has its GPU by CDI or not at all."""
    given, base = draft.settings.gpu_operator.values, f"{draft.base}gpuOperator.values"
    if not needs_cdi(draft.sound.values()):
        return
    message = "would leave the containers of pools with isolation: strict without their GPUs"
    path, enabled = _given(given, CDI_VALUE)
    if enabled is not None and not (path == CDI_VALUE and enabled is True):
        yield Problem(join(base, path), shown(enabled), message, "true, or no value")
    path, env = _given(given, PLUGIN_ENV_VALUE)
    entries = [e for e in env if isinstance(e, dict)] if isinstance(env, list) else []
    if any(e.get("name") == "DEVICE_LIST_STRATEGY" for e in entries):
        yield Problem(join(base, path), shown(env), message, "no DEVICE_LIST_STRATEGY")


def _given(values: Mapping[str, Any], keys: Sequence[str]) -> tuple[Sequence[str], Any]:
    """The value at `keys`, or the first thing on the way there that is no map and so replaces it; None if neither."""
    value: Any = values
    for depth, key in enumerate(keys):
        if not isinstance(value, Mapping):
            return keys[:depth], value
        value = value.get(key)
        if value is None:
            return keys, None
    return keys, value
