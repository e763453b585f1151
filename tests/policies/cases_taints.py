"""Cases of policies/rules/taints.py."""

from base import accepted, drop, put, refused

TAINTS = ("spec", "template", "spec", "taints")

CASES = [
    refused(
        "gpu-pool-taint",
        "no taints",
        drop("pool-shared", *TAINTS),
        says="lacks the taint nvidia.com/gpu=true:NoSchedule",
    ),
    refused(
        "gpu-pool-taint",
        "another value",
        put("pool-shared", *TAINTS, 0, "value", "present"),
        says="nvidia.com/gpu=present:NoSchedule",
    ),
    accepted(
        "gpu-pool-taint", "one taint more", put("pool-shared", *TAINTS, 1, {"key": "night", "effect": "NoExecute"})
    ),
]
