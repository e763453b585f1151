"""Plain values to and from the protocol buffers of Pulumi's resource monitor.

The signatures are those of the SDK (`pulumi.runtime.rpc`), which documents them as part of the protocol:
they mark secrets, assets and resource references inside a `google.protobuf.Struct`.
"""

from collections.abc import Mapping
from operator import itemgetter
from typing import Any

from google.protobuf import struct_pb2

from offline.values import UNKNOWN, ResourceReference, Secret, property_path

SIGNATURE = "4dabf18193072939515e22adb298388d"
SECRET = "1b47061264138c4ac30d75fd1eb44270"
RESOURCE = "5cf8f73096256a8f31e491e813e4eb8e"
UNKNOWN_TEXT = "04da6b54-80e4-46f7-96ec-b56ff0331ba9"


def read(struct: struct_pb2.Struct) -> tuple[dict[str, Any], frozenset[str]]:
    """The plain data in `struct` and the property paths of its secrets.

    Secrets are unwrapped, unknowns become `UNKNOWN`, whole numbers become `int` (the protocol has only
    doubles), and a resource passed as a value becomes its id, or its URN when it is a component.
    """
    secrets: set[str] = set()
    data = {key: _read(value, property_path("", key), secrets) for key, value in _sorted(struct)}
    return data, frozenset(secrets)


def _sorted(struct: struct_pb2.Struct) -> list[tuple[str, struct_pb2.Value]]:
    """The fields by name: a protocol buffer's map has another order in every process."""
    return sorted(struct.fields.items(), key=itemgetter(0))


def _read(value: struct_pb2.Value, path: str, secrets: set[str]) -> Any:
    kind = value.WhichOneof("kind")
    if kind == "string_value":
        return UNKNOWN if value.string_value == UNKNOWN_TEXT else value.string_value
    if kind == "number_value":
        number = value.number_value
        return int(number) if number.is_integer() else number
    if kind == "bool_value":
        return value.bool_value
    if kind == "list_value":
        return [_read(item, property_path(path, index), secrets) for index, item in enumerate(value.list_value.values)]
    if kind == "struct_value":
        return _read_struct(value.struct_value, path, secrets)
    return None


def _read_struct(struct: struct_pb2.Struct, path: str, secrets: set[str]) -> Any:
    fields = struct.fields
    signature = fields[SIGNATURE].string_value if SIGNATURE in fields else None
    if signature == SECRET:
        secrets.add(path)
        return _read(fields["value"], path, secrets)
    if signature == RESOURCE:
        return _read(fields["id" if "id" in fields else "urn"], path, secrets) or UNKNOWN
    return {key: _read(value, property_path(path, key), secrets) for key, value in fields.items() if key != SIGNATURE}


def write(data: Mapping[str, Any]) -> struct_pb2.Struct:
    """`data` as a struct, with `UNKNOWN`, `Secret` and `ResourceReference` as the SDK expects them."""
    struct = struct_pb2.Struct()
    write_into(struct, data)
    return struct


def write_into(struct: struct_pb2.Struct, data: Mapping[str, Any]) -> None:
    """Sets each key of `data` on `struct`, replacing what it had under that key."""
    for key, value in data.items():
        struct.fields[key].CopyFrom(_write(value))


def _write(value: Any) -> struct_pb2.Value:
    if value is None:
        return struct_pb2.Value(null_value=struct_pb2.NULL_VALUE)
    if value is UNKNOWN:
        return struct_pb2.Value(string_value=UNKNOWN_TEXT)
    if isinstance(value, bool):
        return struct_pb2.Value(bool_value=value)
    if isinstance(value, int | float):
        return struct_pb2.Value(number_value=value)
    if isinstance(value, str):
        return struct_pb2.Value(string_value=value)
    if isinstance(value, Secret):
        return struct_pb2.Value(struct_value=write({SIGNATURE: SECRET, "value": value.value}))
    if isinstance(value, ResourceReference):
        # An empty id is the protocol's "not known yet".
        known = "" if value.id is UNKNOWN else value.id
        return struct_pb2.Value(struct_value=write({SIGNATURE: RESOURCE, "urn": value.urn, "id": known}))
    if isinstance(value, Mapping):
        return struct_pb2.Value(struct_value=write(value))
    if isinstance(value, list | tuple):
        return struct_pb2.Value(list_value=struct_pb2.ListValue(values=[_write(item) for item in value]))
    raise TypeError(f"a {type(value).__name__} has no form in Pulumi's protocol")


def dereference(struct: struct_pb2.Struct) -> None:
    """Replaces in place each resource reference by the resource's id, or by its URN for a component.

    That is what the engine sends to a provider that does not take references; and the SDK cannot read a
    reference back on the thread of a mock monitor, whose event loop is not the program's.
    """
    for value in struct.fields.values():
        _dereference(value)


def _dereference(value: struct_pb2.Value) -> None:
    kind = value.WhichOneof("kind")
    if kind == "list_value":
        for item in value.list_value.values:
            _dereference(item)
    elif kind == "struct_value":
        fields = value.struct_value.fields
        if SIGNATURE in fields and fields[SIGNATURE].string_value == RESOURCE:
            text = fields["id" if "id" in fields else "urn"].string_value
            value.string_value = text or UNKNOWN_TEXT
        else:
            dereference(value.struct_value)
