"""Hypothesis strategies: stacks that are right, over the whole catalogue, and configurations that are anything."""

import re

from hypothesis import strategies as st

from gpuslice.catalog import instance_types
from gpuslice.reserves import DAEMON_PODS, slice_memory_mib
from gpuslice.sharing.mig import layouts

TYPES = instance_types()
WHOLE = [t for t in TYPES.values() if not t.fractional]
FAMILIES = {}
"""CPU architecture and GPU model to the instance types that may stand in one pool, whatever its mode."""
for _type in WHOLE:
    FAMILIES.setdefault((_type.architecture, _type.gpu.key), []).append(_type)
MIG_FAMILIES = [types for types in FAMILIES.values() if types[0].gpu.mig_status == "supported"]
FRACTIONS = [t for t in TYPES.values() if t.fractional]
FLOORS = {"256Mi": 256, "1Gi": 1024, "2Gi": 2048}

_names = st.from_regex(r"[a-z]([a-z0-9-]{0,12}[a-z0-9])?", fullmatch=True)


def _some(types):
    return st.lists(st.sampled_from(types), min_size=1, max_size=4, unique_by=lambda t: t.name)


@st.composite
def _replicated(draw, mode, types):
    """Replicas that every type's memory and pods allow; None where a GPU is too small for two."""
    floor = draw(st.sampled_from(sorted(FLOORS)))
    fits = [
        replicas
        for replicas in range(2, 49)
        if all(slice_memory_mib(t.gpu_memory_mib, replicas) >= FLOORS[floor] for t in types)
        and all(t.devices * replicas <= t.max_pods - DAEMON_PODS for t in types)
        and not (mode == "mps" and replicas > 16 and any(t.gpu.compute_capability < (7, 5) for t in types))
    ]
    if not fits:
        return {"mode": "exclusive"}
    replicas = draw(st.sampled_from(fits))
    sharing = {"mode": mode, "replicas": replicas, "minMemory": floor, "maxReplicas": max(replicas, 16)}
    return sharing | draw(st.fixed_dictionaries({}, optional={"rename": st.booleans()}))


@st.composite
def _types_and_sharing(draw, modes):
    mode = draw(st.sampled_from(modes))
    if mode == "mig":
        types = draw(_some(draw(st.sampled_from(MIG_FAMILIES))))
        fitting = [
            layout
            for layout in layouts(types[0].gpu.mig_gpu)
            if all(t.devices * sum(layout.values()) <= t.max_pods - DAEMON_PODS for t in types)
        ]
        return types, {"mode": "mig", "layout": draw(st.sampled_from(fitting))}
    if mode == "exclusive":
        kinds = [*FAMILIES.values(), FRACTIONS]
        return draw(_some(draw(st.sampled_from(kinds)))), {"mode": "exclusive"}
    architecture = draw(st.sampled_from(["amd64", "arm64"]))
    types = draw(_some([t for t in WHOLE if t.architecture == architecture]))
    return types, draw(_replicated(mode, types))


_taints = st.lists(
    st.fixed_dictionaries(
        {
            "key": st.sampled_from(["example.com/team", "dedicated", "a.b.c/d"]),
            "effect": st.sampled_from(["NoSchedule", "PreferNoSchedule", "NoExecute"]),
        },
        optional={"value": st.from_regex(r"[A-Za-z0-9]{1,20}", fullmatch=True)},
    ),
    max_size=3,
    unique_by=lambda t: (t["key"], t["effect"]),
)
_budgets = st.lists(
    st.sampled_from(
        [
            {"nodes": "10%"},
            {"nodes": 0, "reasons": ["Drifted"], "schedule": "0 8 * * mon-fri", "duration": "10h"},
            {"nodes": "1", "reasons": ["Empty", "Underutilized"]},
            {"nodes": "0", "schedule": "@daily", "duration": "1h30m"},
        ]
    ),
    max_size=3,
)
_disruption = st.fixed_dictionaries(
    {},
    optional={
        "consolidationPolicy": st.sampled_from(["WhenEmpty", "WhenEmptyOrUnderutilized"]),
        "consolidateAfter": st.sampled_from(["0s", "30s", "10m", "Never"]),
        "expireAfter": st.sampled_from(["10m", "720h", "1h30m5s", "Never"]),
        "terminationGracePeriod": st.sampled_from(["1s", "24h"]),
        "budgets": _budgets,
    },
)


@st.composite
def pools(draw, modes=("time-slicing", "mig", "mps", "exclusive")):
    """One pool that is right by itself, in one of `modes`."""
    types, sharing = draw(_types_and_sharing(modes))
    images = ["al2023@v20260915"] + (["bottlerocket@v1.55.0"] if sharing["mode"] not in {"mig", "mps"} else [])
    pool = {"name": draw(_names), "instanceTypes": [t.name for t in types], "sharing": sharing}
    optional = {
        "ami": st.sampled_from(images),
        "isolation": st.sampled_from(["default", "strict"]),
        "rootVolume": st.sampled_from(["50Gi", "100Gi", "1Ti", "16Ti"]),
        "limits": st.fixed_dictionaries({"nodes": st.integers(1, 1000)}),
        "zones": st.lists(st.sampled_from(["us-east-1a", "us-east-1b", "us-east-1c"]), unique=True),
        "labels": st.dictionaries(
            st.sampled_from(["team", "example.com/x", "a_b"]), st.sampled_from(["", "y", "A.b-c_d"])
        ),
        "extraTaints": _taints,
        "disruption": _disruption,
    }
    pool |= draw(st.fixed_dictionaries({}, optional=optional))
    if draw(st.booleans()):
        pool["capacityTypes"] = ["reserved", "on-demand"]
        pool["capacityReservations"] = {"ids": ["cr-0123456789abcdef0"]}
    if len({t.efa_interfaces for t in types}) == 1 and types[0].efa_interfaces:
        pool["efa"] = draw(st.booleans())
    return pool


@st.composite
def stacks(draw, most=4):
    """The configuration of a stack that is right: full keys to data."""
    # MPS and MIG exclude each other in a cluster.
    modes = draw(st.sampled_from([("time-slicing", "mig", "exclusive"), ("time-slicing", "mps", "exclusive")]))
    chosen = draw(st.lists(pools(modes), min_size=1, max_size=most, unique_by=lambda p: p["name"]))
    if any(p["sharing"]["mode"] == "exclusive" for p in chosen):
        for pool in chosen:
            # Beside whole GPUs, slices keep a name of their own.
            pool["sharing"].pop("rename", None)
    first = chosen[0]
    tenants = [{"namespace": "team-a", "quota": {first["name"]: _quota(first)}}]
    config = {"gpu-slicing:pools": chosen, "gpu-slicing:tenants": draw(st.sampled_from([[], tenants]))}
    if draw(st.booleans()):
        config["gpu-slicing:verification"] = {"pool": first["name"], "replicas": 1}
    return config


def _quota(pool):
    return dict.fromkeys(pool["sharing"]["layout"], 1) if pool["sharing"]["mode"] == "mig" else 3


_scalars = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8)
KNOWN_KEYS = (
    "name instanceTypes sharing mode replicas layout quota vpc cidr limits nodes disruption budgets schedule labels "
    "extraTaints key value effect endpoint publicCidrs values kubeconfig path version pool namespace zones ami "
    "capacityReservations ids tags secure 1g.5gb"
)
_known_keys = st.sampled_from(re.findall(r"\S+", KNOWN_KEYS))
anything = st.recursive(
    _scalars
    | st.sampled_from(["mig", "time-slicing", "p4d.24xlarge", "g4dn.xlarge", "10.0.0.0/16", "1h", "* * * * *"]),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(_known_keys | st.text(max_size=4), inner, max_size=6),
    max_leaves=25,
)
"""Any value that YAML or JSON can say, with a taste for keys that mean something here."""
