"""Cases of policies/rules/shape.py."""

from typing import Any

from base import Edit, accepted, also, put, refused

POD = {"apiVersion": "v1", "kind": "Service", "metadata": {"name": "s"}}
NO_OBJECT = "is no Kubernetes object with apiVersion and kind: "


def group(**properties: Any) -> Edit:
    return also("group", "kubernetes:yaml/v2:ConfigGroup", properties)


def listed(items: Any) -> Edit:
    return also("listed", "kubernetes:core/v1:List", {"apiVersion": "v1", "kind": "List", "items": items})


CASES = [
    refused(
        "readable-resources",
        "capacity is a list",
        put("overlay-shared", "spec", "capacity", "nvidia.com/gpu.shared", ["4"]),
        says="spec.capacity[\"nvidia.com/gpu.shared\"] is ['4'], not a number or a quantity",
    ),
    refused(
        "readable-resources", "a heavy weight", put("overlay-shared", "spec", "weight", "heavy"), says="spec.weight"
    ),
    refused(
        "readable-resources",
        "requirements in words",
        put("overlay-shared", "spec", "requirements", "all"),
        says="spec.requirements is 'all', not a list",
    ),
    refused(
        "readable-resources",
        "a number for the MIG layouts",
        put("mig-configs", "data", "config.yaml", 7),
        says='data["config.yaml"] is 7, not a text',
    ),
    accepted(
        "readable-resources",
        "a configuration of something else that is not known yet",
        also(
            "other",
            "kubernetes:core/v1:ConfigMap",
            {"apiVersion": "v1", "kind": "ConfigMap", "data": {"config.yaml": "<unknown>"}},
        ),
    ),
    refused("readable-resources", "a number in a group", group(objs=[POD, 3]), says=NO_OBJECT),
    refused("readable-resources", "no kind", group(objs=[{"apiVersion": "v1"}]), says=NO_OBJECT),
    refused("readable-resources", "a number for a kind", group(objs=[{"apiVersion": "v1", "kind": 7}])),
    refused("readable-resources", "a number for a version", group(objs=[{"apiVersion": 7, "kind": "Pod"}])),
    refused("readable-resources", "broken YAML", group(yaml="kind: ["), says="while parsing"),
    refused("readable-resources", "a text in a list", listed(["x"])),
    refused("readable-resources", "a text for a list", listed("x")),
    refused(
        "readable-resources",
        "a chart in words",
        also(
            "flux",
            "kubernetes:helm.toolkit.fluxcd.io/v2:HelmRelease",
            {"apiVersion": "helm.toolkit.fluxcd.io/v2", "kind": "HelmRelease", "spec": {"chart": "gpu-operator"}},
        ),
        says="spec.chart is 'gpu-operator', not an object",
    ),
    accepted("readable-resources", "a number where a text is usual", put("overlay-shared", "spec", "weight", 0.0)),
    accepted("readable-resources", "a weight as a text", put("overlay-shared", "spec", "weight", "10")),
    accepted("readable-resources", "objects and YAML", group(objs=[POD], yaml="apiVersion: v1\nkind: Secret\n---\n")),
    accepted("readable-resources", "a list of objects", listed([POD])),
    accepted("readable-resources", "an empty list", listed([])),
    accepted(
        "readable-resources",
        "a kind that ends alike",
        also("allow", "kubernetes:example.com/v1:AllowList", {"apiVersion": "example.com/v1", "kind": "AllowList"}),
    ),
]
