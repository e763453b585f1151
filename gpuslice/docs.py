"""docs/settings.md, made from the settings' models: `python -m gpuslice.docs` writes it anew."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Annotated, Any, get_args, get_origin

import yaml
from pydantic import BaseModel, TypeAdapter
from pydantic.fields import FieldInfo

from gpuslice.load import BASE, DEFAULT_REGION, LISTS, REGION_KEY, SECTIONS

PAGE = Path(__file__).resolve().parents[1] / "docs" / "settings.md"
ORDER = ("pools", "tenants", "cluster", "karpenter", "gpuOperator", "admission", "monitoring", "verification")
LONGEST_ENUM = 12
KINDS = {"NewVpc": "for a new VPC", "ExistingVpc": "for a VPC that exists"}
"""What tells two models of one path apart, where no `mode` does."""
INTRODUCTION = f"""\
# Settings

Everything that `Pulumi.<stack>.yaml` may hold under `config:`. Only `{BASE}pools` must be there. `{REGION_KEY}`
(default `{DEFAULT_REGION}`) is the region of everything; the AWS provider reads it too.

An unknown key is an error, and so is a value of the wrong kind: `"4"` is not a number, `yes` is not `true`. All errors
of a file come in one report, before anything is made:

```console
$ .venv/bin/gpuslice validate Pulumi.dev.yaml
```

For completion in an editor, write the JSON Schema of stack files with
`.venv/bin/gpuslice schema -o build/stack.schema.json` and point the editor's YAML extension to it.

This page is made from `gpuslice/settings.py` by `.venv/bin/python -m gpuslice.docs`.
"""
MEANINGS: Mapping[str, str] = MappingProxyType(
    {
        "PoolSettings.name": "The name of the pool, of its NodePool and EC2NodeClass, and of its nodes' label.",
        "PoolSettings.sharing": "How its GPUs are shared.",
        "PoolSettings.capacity_types": "What Karpenter may buy; it prefers reserved, then spot.",
        "PoolSettings.capacity_reservations": "With `reserved`: which reservations.",
        "PoolSettings.ami": "The image of the nodes, pinned: a new one replaces every node of the pool.",
        "PoolSettings.root_volume": "The encrypted disk of a node. GPU images are large.",
        "PoolSettings.limits": "How much the pool may grow.",
        "PoolSettings.disruption": "When Karpenter may remove a node of the pool.",
        "TimeSlicing.mode": "The GPU's users take turns. No isolation of memory or faults.",
        "Mig.mode": "The GPU is cut in hardware; memory and faults are isolated.",
        "Mps.mode": "EXPERIMENTAL. The GPU's users run at once; memory and threads are divided equally.",
        "Exclusive.mode": "Whole GPUs.",
        "CapacityReservations.ids": "The ids of the reservations.",
        "CapacityReservations.tags": "Or the tags that they carry.",
        "Disruption.consolidation_policy": "`WhenEmptyOrUnderutilized` also moves pods to pack nodes tighter.",
        "Disruption.consolidate_after": "How long a node must be quiet before it is removed.",
        "Disruption.expire_after": "The longest life of a node.",
        "Disruption.budgets": "How many nodes may be disrupted at once, by reason and time.",
        "Budget.nodes": "Nodes of the pool that may be disrupted at once; `0` forbids it.",
        "Budget.schedule": "When the budget begins to hold, in UTC; only together with `duration`.",
        "Budget.duration": "For how long it then holds.",
        "Taint.key": "The taint's key.",
        "Taint.value": "Its value.",
        "Taint.effect": "What it does to a pod that does not tolerate it.",
        "Tenant.namespace": "The namespace that is made, with its quota and the limits of its containers.",
        "Tenant.pod_security": "The pod-security standard that is enforced there.",
        "Cluster.mode": "`create` a cluster, use an `existing` one, or the `sandbox` on this machine.",
        "Cluster.name": "The cluster's name.",
        "Cluster.kubernetes_version": "The Kubernetes version of a new cluster.",
        "Cluster.vpc": "The network of a new cluster: a new VPC, or private subnets of one that exists.",
        "Cluster.service_cidr": "The addresses of Services; they must not overlap the VPC.",
        "Cluster.endpoint": "Who reaches the Kubernetes API server.",
        "Cluster.system_nodes": "The nodes for Karpenter, CoreDNS and the operators.",
        "Cluster.deletion_protection": "Refuse to delete the cluster until this is `false`.",
        "NewVpc.cidr": "The addresses of the VPC.",
        "NewVpc.availability_zones": "In how many zones it has subnets.",
        "NewVpc.nat_gateways": "`perZone` survives the loss of a zone; `single` costs less.",
        "ExistingVpc.id": "The VPC.",
        "ExistingVpc.private_subnet_ids": "Its private subnets, in at least two zones.",
        "Endpoint.private": "Reachable from inside the VPC.",
        "Endpoint.public": "Reachable from the internet, by `publicCidrs` only.",
        "SystemNodes.instance_types": "Instance types without a GPU.",
        "SystemNodes.count": "How many, spread over the zones.",
        "Kubeconfig.path": "A kubeconfig file on the machine that runs Pulumi.",
        "Kubeconfig.context": "Its context; the current one when left out.",
        "Kubeconfig.stack_reference": "Or the stack that exports the kubeconfig.",
        "Kubeconfig.output": "The name of that stack's output.",
        "Karpenter.version": "The version of the two charts.",
        "GpuOperator.version": "The version of the chart.",
        "Verification.pool": "The pool to prove.",
        "Verification.replicas": "How many pods, each with one slice.",
    }
)
"""What a key means, where its model does not say it beside the field: `Model.field` to a sentence."""


def page() -> str:
    """The whole page as Markdown."""
    models = {**SECTIONS, **LISTS}
    parts = [INTRODUCTION]
    for name in ORDER:
        path = f"{BASE}{name}" + ("[]" if name in LISTS else "")
        parts += [_section(model, where) for model, where in _walk(models[name], path)]
    return "\n".join(parts)


def _walk(model: type[BaseModel], path: str) -> Iterator[tuple[type[BaseModel], str]]:
    """The model and those below it, each with its path in the file, in the order of the file."""
    yield model, path
    for field in model.model_fields.values():
        for below, suffix in _models(field.annotation):
            yield from _walk(below, f"{path}.{field.alias}{suffix}")


def _models(annotation: Any, suffix: str = "") -> Iterator[tuple[type[BaseModel], str]]:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        yield annotation, suffix
    inner = "[]" if get_origin(annotation) is tuple else suffix
    for argument in get_args(annotation):
        yield from _models(argument, inner)


def _section(model: type[BaseModel], path: str) -> str:
    level = "##" if path.removesuffix("[]").count(".") == 0 else "###"
    mode = model.model_fields.get("mode")
    kind = _schema(mode).get("const") if mode else None
    which = f" with `mode: {kind}`" if kind else f" {KINDS.get(model.__name__, '')}".rstrip()
    lines = [
        f"{level} `{path.removeprefix(BASE)}`{which}",
        "",
        "| key | value | default | meaning |",
        "|---|---|---|---|",
    ]
    lines += [_row(model, name, field) for name, field in model.model_fields.items()]
    return "\n".join([*lines, ""])


def _row(model: type[BaseModel], name: str, field: FieldInfo) -> str:
    cells = (f"`{field.alias}`", _type(_schema(field)), _default(model, field), meaning(model, name, field))
    return "| " + " | ".join(" ".join(cell.replace("|", "\\|").split()) for cell in cells) + " |"


def meaning(model: type[BaseModel], name: str, field: FieldInfo) -> str:
    """What the field says of itself, else what is said of it here; KeyError when nobody says anything."""
    return field.description or MEANINGS[f"{model.__name__}.{name}"]


def _schema(field: FieldInfo) -> dict[str, Any]:
    """The JSON Schema of the field's type, without the field's own description."""
    kind: Any = Annotated[field.annotation, *field.metadata] if field.metadata else field.annotation
    schema: dict[str, Any] = TypeAdapter(kind).json_schema()
    return schema


def _type(schema: Mapping[str, Any]) -> str:
    """A JSON Schema in a few words."""
    options = [o for o in (*schema.get("anyOf", ()), *schema.get("oneOf", ())) if o.get("type") != "null"]
    if "properties" in schema or "$ref" in schema:
        return "a map, see below"
    if options:
        return " or ".join(dict.fromkeys(_type(option) for option in options))
    if "const" in schema:
        return f"`{schema['const']}`"
    if len(schema.get("enum", ())) in range(1, LONGEST_ENUM):
        return " or ".join(f"`{value}`" for value in schema["enum"])
    return _plain_type(schema)


def _plain_type(schema: Mapping[str, Any]) -> str:
    kind = schema.get("type")
    if kind == "array":
        return "a list: " + _type(schema["items"])
    if kind == "object":
        values = schema["additionalProperties"]
        return "a map" if values is True else "a map; values: " + _type(values)
    if kind == "integer":
        return f"{schema['minimum']} to {schema['maximum']}"
    if kind == "boolean":
        return "`true` or `false`"
    return str(schema.get("description") or "text")


def _default(model: type[BaseModel], field: FieldInfo) -> str:
    if field.is_required():
        return "`gpu-<stack>`" if (model.__name__, field.alias) == ("Cluster", "name") else "**required**"
    value = field.get_default()
    if value is None:
        return "none"
    if isinstance(value, BaseModel):
        return "see below"
    kind: Any = field.annotation
    plain = TypeAdapter(kind).dump_python(value, mode="json", by_alias=True, exclude_none=True)
    text = yaml.safe_dump(plain, default_flow_style=True, width=1000).strip().removesuffix("...").strip()
    return f"`{text}`"


if __name__ == "__main__":
    PAGE.parent.mkdir(exist_ok=True)
    PAGE.write_text(page(), encoding="utf-8")
