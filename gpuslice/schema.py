"""The JSON Schema of a stack file, made from the settings' models: completion and first errors in an editor.

The schema says what one value may be. The rules between values (MIG placement, memory of a slice, overlaps) are in
`gpuslice.checks` alone; `gpuslice validate` knows them all.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pydantic import TypeAdapter
from pydantic.json_schema import models_json_schema

from gpuslice import fields as f
from gpuslice.load import BASE, LISTS, MAX_ENTRIES, REGION_KEY, SECTIONS
from gpuslice.stackfile import TOP_KEYS

DIALECT = "https://json-schema.org/draft/2020-12/schema"
Schema = dict[str, Any]


def stack_schema() -> Schema:
    """The schema of `Pulumi.<stack>.yaml` as plain data; the same for every call."""
    models = {**SECTIONS, **LISTS}
    found, definitions = models_json_schema(
        [(model, "validation") for model in models.values()], ref_template="#/$defs/{model}"
    )
    references = {name: found[(model, "validation")] for name, model in models.items()}
    settings = {BASE + name: _setting(name, reference) for name, reference in references.items()}
    definitions = _tidy(definitions)["$defs"]
    # A name is made from the stack's when none is given.
    definitions["Cluster"]["required"] = []
    return {
        "$schema": DIALECT,
        "title": "Settings of a gpu-slicing stack (Pulumi.<stack>.yaml)",
        "type": "object",
        "properties": {key: _config(settings) if key == "config" else {} for key in TOP_KEYS},
        "required": ["config"],
        "additionalProperties": False,
        "$defs": definitions,
    }


def _config(settings: Mapping[str, Schema]) -> Schema:
    """The settings of this program, strictly; the keys of providers and of Pulumi itself as they come."""
    return {
        "type": "object",
        "properties": {REGION_KEY: _tidy(TypeAdapter(f.Region).json_schema()), **settings},
        "patternProperties": {f"^{BASE}(?!({'|'.join(k.removeprefix(BASE) for k in settings)})$)": False},
        "required": [BASE + "pools"],
    }


def _setting(name: str, reference: Schema) -> Schema:
    if name not in LISTS:
        return reference
    return {"type": "array", "items": reference, "minItems": int(name == "pools"), "maxItems": MAX_ENTRIES}


def _tidy(schema: Any) -> Any:
    """Without what pydantic adds: titles made from names, and null for what may be left out, which is refused here."""
    if isinstance(schema, list):
        return [_tidy(entry) for entry in schema]
    if not isinstance(schema, dict):
        return schema
    kept = {k: _tidy(v) for k, v in schema.items() if v is not None and not (k == "title" and isinstance(v, str))}
    alternatives = [s for s in kept.get("anyOf", []) if s != {"type": "null"}]
    if len(alternatives) == 1 and "default" not in kept:
        return alternatives[0] | {k: v for k, v in kept.items() if k != "anyOf"}
    return kept
