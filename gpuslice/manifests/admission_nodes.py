"""What the API server asks of Karpenter's objects, whoever writes them, and of who puts a pod on a node."""

from __future__ import annotations

import re
from collections.abc import Sequence

from gpuslice.catalog import instance_types
from gpuslice.manifests.admission_cel import Rule, annotation, literal, only, when
from gpuslice.pools import GPU, Pool, Taint

SCHEDULER = "system:kube-scheduler"
TAINTS_ANNOTATION = "gpu-slicing.io/taints"
LIMITS_ANNOTATION = "gpu-slicing.io/limits"
"""On a pool's EC2NodeClass: what its NodePool must have, as comma-separated `key=value:effect` and `name=most`."""
_AWS = "karpenter.k8s.aws/instance-"


def node_class_annotations(pool: Pool) -> dict[str, str]:
    """What a pool's EC2NodeClass says of its NodePool."""
    limits = [f"{name}={most}" for name, most in pool.limits.items()]
    return {TAINTS_ANNOTATION: ",".join(map(_written, pool.taints)), LIMITS_ANNOTATION: ",".join(limits)}


def _written(taint: Taint) -> str:
    value = f"={taint['value']}" if taint.get("value") else ""
    return f"{taint['key']}{value}:{taint['effect']}"


def gpu_categories() -> list[str]:
    """The letters with which the names of EC2's GPU families begin, which Karpenter calls their category."""
    return sorted({re.split(r"\d", name)[0] for name in instance_types()})


def _excludes_gpus() -> str:
    """Whether the requirement `r` of a NodePool keeps every GPU type out.

    By letters, not by the catalogue's families: EC2 gets new ones, and those count as GPUs from the first day.
    """
    categories = gpu_categories()
    family = literal(f"^({'|'.join(categories)})[0-9]")
    kept_in = [
        f"r.key in ['node.kubernetes.io/instance-type', '{_AWS}family'] && r.values.all(v, !v.matches({family}))",
        f"r.key == '{_AWS}category' && r.values.all(v, !(v in {literal(categories)}))",
        f"r.key == '{_AWS}gpu-manufacturer' && r.values.all(v, v != 'nvidia')",
    ]
    kept_out = [
        f"r.key == '{_AWS}category' && {literal(categories)}.all(v, v in r.values)",
        f"r.key == '{_AWS}gpu-manufacturer' && 'nvidia' in r.values",
    ]
    labels = literal([f"{_AWS}gpu-{label}" for label in ("count", "manufacturer", "memory", "name")])
    return (
        f"r.operator == 'In' && has(r.values) && ({' || '.join(kept_in)})"
        f" || r.operator == 'NotIn' && has(r.values) && ({' || '.join(kept_out)})"
        f" || r.operator == 'DoesNotExist' && r.key in {labels}"
    )


def node_pool_variables() -> dict[str, str]:
    spec = "object.spec.template.spec"
    return {
        "requirements": f"has({spec}.requirements) ? {spec}.requirements : []",
        "taints": f"has({spec}.taints) ? {spec}.taints : []",
        "buysGpus": f"!variables.requirements.exists(r, {_excludes_gpus()})",
    }


def node_pool_rules() -> list[Rule]:
    """Of every NodePool that can buy a GPU: an untainted one takes any pod, an unlimited one any money."""
    tainted = f"t.key == {literal(GPU)} && has(t.value) && t.value == 'true' && t.effect == 'NoSchedule'"
    limited = "has(object.spec.limits) && object.spec.limits.exists(k, k == 'nodes' || k.startsWith('nvidia.com/'))"
    without = f"require {_AWS}category NotIn {', '.join(gpu_categories())}"
    return [
        Rule(
            "gpu-pool-taint",
            when(
                f"variables.buysGpus && !variables.taints.exists(t, {tainted})",
                "'the NodePool can buy GPU instances and has not the taint of GPU nodes'",
            ),
            f"Give it the taint {GPU}=true:NoSchedule, or {without}",
        ),
        Rule(
            "gpu-pool-limits",
            when(f"variables.buysGpus && !({limited})", "'the NodePool can buy GPU instances without limit'"),
            f"Set a limit of nodes or of an nvidia.com resource, or {without}",
        ),
    ]


def own_node_pool_rules() -> list[Rule]:
    """Of the NodePool of one of the stack's pools: what was derived stays, as its EC2NodeClass has it written down.

    They have no way to fail: the policy that they are for lets pass what it cannot judge.
    """
    ours = "object.metadata.name == params.metadata.name"
    noted = (annotation("params.metadata", key) for key in (TAINTS_ANNOTATION, LIMITS_ANNOTATION))
    taints, limits = (f"{text}.split(',')" for text in noted)
    written = "t.key + (has(t.value) && t.value != '' ? '=' + t.value : '') + ':' + t.effect"
    lost = f"{taints}.filter(x, !variables.taints.exists(t, {written} == x))"
    key, most = "x.split('=')[0]", "x.split('=')[1]"
    kept = (
        f"x.contains('=') && isQuantity({most}) && has(object.spec.limits) && {key} in object.spec.limits"
        f" && quantity(string(object.spec.limits[{key}])).compareTo(quantity({most})) <= 0"
    )
    return [
        Rule(
            "pool-keeps-taints",
            only(ours, f"{lost}.map(x, 'the taint ' + x + ' is missing')"),
            "Change the pool in the settings of its stack instead",
        ),
        Rule(
            "pool-keeps-limits",
            only(ours, f"{limits}.filter(x, !({kept})).map(x, 'the limit is not ' + x)"),
            "A smaller one is fine; for a larger one, change limits.nodes in the settings of its stack",
        ),
    ]


def node_class_rules() -> list[Rule]:
    """Of the EC2NodeClass of one of the stack's pools."""
    ours = "object.metadata.name in variables.pools"
    options, volumes = "object.spec.metadataOptions", "object.spec.blockDeviceMappings"
    closed = (
        f"has({options}) && has({options}.httpTokens) && {options}.httpTokens == 'required'"
        f" && has({options}.httpPutResponseHopLimit) && {options}.httpPutResponseHopLimit == 1"
    )
    encrypted = (
        f"has({volumes}) && size({volumes}) > 0"
        f" && {volumes}.all(b, has(b.ebs) && has(b.ebs.encrypted) && b.ebs.encrypted)"
    )
    return [
        Rule(
            "node-class-metadata",
            when(f"{ours} && !({closed})", "'pods could take the credentials of their node'"),
            "Keep httpTokens at required and httpPutResponseHopLimit at 1",
        ),
        Rule(
            "node-class-volumes",
            when(f"{ours} && !({encrypted})", "'a volume is not encrypted, or none is named'"),
            "Name the volumes, and set encrypted on each",
        ),
    ]


def binding_rules(exempt: Sequence[str]) -> list[Rule]:
    """Who may put a pod on a node: the scheduler, and what runs in an exempt namespace."""
    user = "request.userInfo.username"
    trusted = (
        f"{user} == {literal(SCHEDULER)}"
        f" || {literal(exempt)}.exists(n, {user}.startsWith('system:serviceaccount:' + n + ':'))"
    )
    return [
        Rule(
            "no-direct-binding",
            when(f"!({trusted})", f"{user} + ' is not the scheduler'"),
            "It passes by the scheduler and the taints; use nodeSelector",
        )
    ]
