"""What follows from the instance types of the system nodes."""

from __future__ import annotations

import re
from collections.abc import Sequence

AMI_TYPES = {"amd64": "AL2023_x86_64_STANDARD", "arm64": "AL2023_ARM_64_STANDARD"}


def architecture(instance_type: str) -> str:
    """`amd64` or `arm64`. A `g` after the generation's digit means Graviton (`m7g`, `c7gn`), as does family `a1`.

    Source: EC2 user guide, "Amazon EC2 instance type naming conventions".
    """
    family = instance_type.partition(".")[0]
    options = re.fullmatch(r"[a-z]+\d+([a-z]*)(-.*)?", family)
    graviton = family == "a1" or (options is not None and "g" in options[1])
    return "arm64" if graviton else "amd64"


def ami_type(instance_types: Sequence[str]) -> str:
    """The EKS AMI type of a node group of these types; ValueError when they need different images."""
    kinds = {architecture(t): t for t in instance_types}
    if len(kinds) > 1:
        raise ValueError(
            f"cluster.systemNodes.instanceTypes mixes {kinds['amd64']} (x86) and {kinds['arm64']} (Arm): "
            "a node group has one image, so name types of one CPU architecture"
        )
    return AMI_TYPES[next(iter(kinds))]
