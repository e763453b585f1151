"""Plain values that a recording hands out, and the two marks that a program's values can carry."""

import enum
from dataclasses import dataclass
from typing import Any, Final


class Unknown(enum.Enum):
    """A value that only the cloud knows, after the resource exists; its one member is `UNKNOWN`.

    An enumeration, because its member stays the same object through copying and pickling.
    """

    UNKNOWN = "<unknown>"

    def __repr__(self) -> str:
        return self.value

    __str__ = __repr__


UNKNOWN: Final = Unknown.UNKNOWN


@dataclass(frozen=True, repr=False)
class Secret:
    """A value that a stack reference or a provider gives as a secret. Its text form hides it."""

    value: Any

    def __repr__(self) -> str:
        return "<secret>"


@dataclass(frozen=True)
class ResourceReference:
    """A resource as the value of another resource's output, such as `eks.Cluster.eks_cluster`."""

    urn: str
    id: str | Unknown


def contains_unknown(value: Any) -> bool:
    """True when `value`, or anything inside its dicts, lists and secrets, is `UNKNOWN`."""
    if isinstance(value, Secret):
        return contains_unknown(value.value)
    if isinstance(value, dict):
        return any(contains_unknown(item) for item in value.values())
    if isinstance(value, list):
        return any(contains_unknown(item) for item in value)
    return value is UNKNOWN


def property_path(parent: str, key: str | int) -> str:
    """One step deeper in Pulumi's property path notation: `spec.limits["nvidia.com/gpu"]`, `args[0]`.

    Source of the notation: https://www.pulumi.com/docs/iac/concepts/options/ignorechanges/
    """
    if isinstance(key, int):
        return f"{parent}[{key}]"
    if not key or any(mark in key for mark in '."[]'):
        escaped = key.replace('"', '\\"')
        return f'{parent}["{escaped}"]'
    return f"{parent}.{key}" if parent else key
