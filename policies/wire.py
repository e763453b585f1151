"""Plain data from the structs of Pulumi's analyzer protocol.

The signatures mark secrets, assets and references inside a struct; the unknown values are the engine's own marks.
Source: pulumi/pulumi sdk/go/common/resource/properties.go and sdk/go/common/resource/plugin/rpc.go.
"""

from __future__ import annotations

from typing import Any

from google.protobuf import struct_pb2

from policies.view import UNKNOWN

SIGNATURE = "4dabf18193072939515e22adb298388d"
SECRET = "1b47061264138c4ac30d75fd1eb44270"
RESOURCE = "5cf8f73096256a8f31e491e813e4eb8e"
OUTPUT = "d0e6a833031e9bbcd3f4e8bde6ca49a4"
UNKNOWNS = frozenset(
    {
        "1c4a061d-8072-4f0a-a4cb-0ff528b18fe7",  # a boolean
        "3eeb2bf0-c639-47a8-9e75-3b44932eb421",  # a number
        "04da6b54-80e4-46f7-96ec-b56ff0331ba9",  # a string
        "6a19a0b0-7e62-4c92-b797-7f8e31da9cc2",  # an array
        "030794c1-ac77-496b-92df-f27374a8bd58",  # an asset
        "e48ece36-62e2-4504-bad9-02848725956a",  # an archive
        "dd056dcd-154b-4c76-9bd3-c8f88648b5ff",  # an object
    }
)


class SecretText(str):
    """A secret: rules may judge it, and no message shows it."""

    def __repr__(self) -> str:
        return "<secret>"


def plain(struct: struct_pb2.Struct) -> dict[str, Any]:
    """The properties of a resource: whole numbers as int, unknown values as `UNKNOWN`, secrets unwrapped."""
    return {key: _value(value) for key, value in sorted(struct.fields.items(), key=lambda field: field[0])}


def _value(value: struct_pb2.Value) -> Any:
    kind = value.WhichOneof("kind")
    if kind == "string_value":
        return UNKNOWN if value.string_value in UNKNOWNS else value.string_value
    if kind == "number_value":
        number = value.number_value
        return int(number) if number.is_integer() else number
    if kind == "bool_value":
        return value.bool_value
    if kind == "list_value":
        return [_value(item) for item in value.list_value.values]
    return _struct(value.struct_value) if kind == "struct_value" else None


def _struct(struct: struct_pb2.Struct) -> Any:
    fields = struct.fields
    signature = fields[SIGNATURE].string_value if SIGNATURE in fields else None
    if signature is None:
        return plain(struct)
    if signature in (SECRET, OUTPUT):
        inner = _value(fields["value"]) if "value" in fields else UNKNOWN
        return SecretText(inner) if signature == SECRET and isinstance(inner, str) else inner
    if signature == RESOURCE:
        return _value(fields["id" if "id" in fields else "urn"]) or UNKNOWN
    return "<asset>"
