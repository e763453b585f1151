"""Answers of `gpuslice plan --json` to draw: two from files beside this one, one of 5,000 nodes made here."""

from __future__ import annotations

import copy
import json
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent / "answers"


def answer(name: str) -> dict[str, Any]:
    return json.loads((HERE / f"{name}.json").read_text())


def empty() -> dict[str, Any]:
    """A plan for no workload at all."""
    found = answer("quarters")
    nothing = {"usdPerHour": 0, "usdPerMonth": 0, "nodes": 0, "instanceTypes": {}}
    found |= {"before": nothing, "after": nothing, "gap": 0, "withHeadroom": None, "warnings": []}
    found["savings"] = {"usdPerHour": 0, "usdPerMonth": 0, "fraction": 0}
    found["lowerBound"] = {"usdPerHour": 0, "usdPerMonth": 0}
    return found | {key: [] for key in ("pools", "nodes", "placements", "refused", "unplaced", "replicas")}


def with_gpus(count: int, pools: int = 1) -> dict[str, Any]:
    """`count` nodes of one GPU each, spread over pools with long names."""
    found = answer("quarters")
    names = [f"inference-cluster-with-a-long-name-{i}-t4-shared-4" for i in range(pools)]
    found["pools"] = [copy.deepcopy(found["pools"][0]) | {"name": name} for name in names]
    found["nodes"] = [_node(i, names[i * pools // count]) for i in range(count)]
    return found


def _node(index: int, pool: str) -> dict[str, Any]:
    use = 0.3 + (index * 37 % 61) / 100
    return {
        "name": f"{pool}-{index}",
        "pool": pool,
        "instanceType": "g4dn.2xlarge",
        "gpus": [{"mean": round(use * 0.7, 3), "p95": round(use, 3), "slices": 4, "used": 1 + index % 4}],
        "cpu": {"used": 4.0, "allocatable": 7.91},
        "ramMiB": {"used": 8000, "allocatable": 30000},
    }


def huge(nodes: int = 5000) -> dict[str, Any]:
    """A plan of 5,000 nodes, 5 pools, 800 workloads and 20,000 placements, with as many refusals."""
    found = with_gpus(nodes, 5)
    found["placements"] = [
        {
            "workload": f"workload-{(i * 4 + slot) % 800}",
            "node": node["name"],
            "gpu": 0,
            "resource": "nvidia.com/gpu.shared",
            "count": 1,
        }
        for i, node in enumerate(found["nodes"])
        for slot in range(4)
    ]
    found["refused"] = [
        {"workloads": [f"workload-{i}"], "alternative": "mig", "reason": "the workload allows no MIG"}
        for i in range(800)
    ]
    found["unplaced"] = [{"workload": f"left-{i}", "count": 2, "reason": "no GPU is large enough"} for i in range(900)]
    found["after"] |= {"nodes": nodes, "usdPerMonth": 541.44 * nodes, "instanceTypes": {"g4dn.2xlarge": nodes}}
    found["before"] |= {
        "nodes": 4 * nodes,
        "usdPerMonth": 2165.76 * nodes,
        "instanceTypes": {"g4dn.2xlarge": 4 * nodes},
    }
    found["savings"]["usdPerMonth"] = 1624.32 * nodes
    found["lowerBound"]["usdPerMonth"] = 540.0 * nodes
    found["gap"] = 0.0027
    found["withHeadroom"] |= {"usdPerMonth": 1082.88 * nodes, "nodes": 2 * nodes}
    return found
