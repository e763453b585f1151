"""Cases of policies/rules/shape.py."""

from base import accepted, put, refused

CASES = [
    refused(
        "readable-resources",
        "capacity is a list",
        put("overlay-shared", "spec", "capacity", ["nvidia.com/gpu"]),
        says="spec.capacity is ['nvidia.com/gpu'], not an object",
    ),
    accepted(
        "readable-resources",
        "a number where a text is usual",
        put("overlay-shared", "spec", "capacity", "nvidia.com/gpu", 0.0),
    ),
]
