"""A stack that is right in every field, and small changes to it."""

import copy
import re
from pathlib import Path

import yaml

from gpuslice.load import load_settings
from gpuslice.problems import Problem, SettingsError
from gpuslice.stackfile import load_stack_file

PREFIX = "gpu-slicing:"
GONE = object()
GOOD = {
    "cluster": {
        "mode": "create",
        "name": "gpu-test",
        "kubernetesVersion": "1.35",
        "vpc": {"cidr": "10.40.0.0/16", "availabilityZones": 3, "natGateways": "single"},
        "serviceCidr": "172.20.0.0/16",
        "endpoint": {"private": True, "public": True, "publicCidrs": ["203.0.113.0/24"]},
        "systemNodes": {"instanceTypes": ["m7i.large"], "count": 2},
        "adminArns": ["arn:aws:iam::123456789012:role/platform"],
        "deletionProtection": True,
    },
    "karpenter": {"version": "1.14.1"},
    "gpuOperator": {"version": "v26.7.0", "values": {"operator": {"upgradeCRD": True}}},
    "pools": [
        {
            "name": "t4-shared",
            "instanceTypes": ["g4dn.xlarge", "g4dn.2xlarge"],
            "capacityTypes": ["spot", "on-demand"],
            "zones": ["us-east-1a"],
            "sharing": {"mode": "time-slicing", "replicas": 4, "rename": True, "minMemory": "2Gi", "maxReplicas": 8},
            "ami": "al2023@v20260915",
            "isolation": "default",
            "rootVolume": "100Gi",
            "limits": {"nodes": 10},
            "disruption": {
                "consolidationPolicy": "WhenEmpty",
                "consolidateAfter": "10m",
                "expireAfter": "720h",
                "terminationGracePeriod": "1h",
                "budgets": [{"nodes": "10%", "reasons": ["Drifted"], "schedule": "0 22 * * mon-fri", "duration": "8h"}],
            },
            "labels": {"example.com/team": "vision"},
            "extraTaints": [{"key": "example.com/team", "value": "vision", "effect": "NoSchedule"}],
        },
        {
            "name": "a100-mig",
            "instanceTypes": ["p4d.24xlarge"],
            "capacityTypes": ["reserved", "on-demand"],
            "capacityReservations": {"ids": ["cr-0123456789abcdef0"], "tags": {"team": "ml"}, "type": "default"},
            "sharing": {"mode": "mig", "layout": {"1g.5gb": 3, "2g.10gb": 2}},
            "limits": {"nodes": 2},
        },
        {"name": "h100-whole", "instanceTypes": ["p5.48xlarge"], "sharing": {"mode": "exclusive"}, "efa": True},
    ],
    "tenants": [
        {
            "namespace": "team-vision",
            "quota": {"t4-shared": 8, "a100-mig": {"1g.5gb": 2}},
            "podSecurity": "restricted",
        }
    ],
    "admission": {"enabled": True, "exemptNamespaces": ["observability"]},
    "monitoring": {"enabled": True},
    "verification": {"pool": "t4-shared", "replicas": 5},
}


def steps(path):
    """`pools[0].labels` as its keys and indices. A MIG profile is one key; a key in quotes may hold anything."""
    found = re.findall(r'\[(\d+)\]|\["([^"]*)"\]|(\d+g\.\w+|[^.\[\]]+)', path)
    return [int(index) if index else quoted or key for index, quoted, key in found]


def changed(changes, good=GOOD):
    """The good settings with `changes`: path to new value, or GONE. Full keys to data, as Pulumi has them."""
    data = copy.deepcopy(good)
    for path, value in changes.items():
        *way, last = steps(path)
        target = data
        for step in way:
            target = target.setdefault(step, {}) if isinstance(target, dict) else target[step]
        if value is GONE:
            del target[last]
        elif isinstance(target, list) and last == len(target):
            target.append(value)
        else:
            target[last] = value
    return {"aws:region": "us-east-1"} | {PREFIX + key: value for key, value in data.items()}


def problems_of(config, stack="prod") -> tuple[Problem, ...]:
    """What `load_settings` says against a configuration; nothing when it accepts it."""
    try:
        load_settings(config, stack)
    except SettingsError as error:
        return error.problems
    return ()


def problems_of_file(path: Path, stack="prod") -> tuple[Problem, ...]:
    """What is said against a stack file, by its reader or by the settings."""
    try:
        load_settings(load_stack_file(path), stack)
    except SettingsError as error:
        return error.problems
    return ()


def written(config, folder: Path) -> Path:
    """The configuration as a stack file."""
    path = folder / "Pulumi.prod.yaml"
    path.write_text(yaml.safe_dump({"config": config}, sort_keys=False, allow_unicode=True), encoding="utf-8")
    return path
