"""What the API server asks of a pod: each rule as data, its condition in CEL (Kubernetes 1.31 and later).

A rule reads the variables of its policy, never the object itself, so that pods and the templates of workloads are held
to the same text. Sources: what the NVIDIA container toolkit (v1.20) and device plugin take from a container past the
scheduler, and Kubernetes' own rule for tolerations (k8s.io/component-helpers).
"""

from __future__ import annotations

from gpuslice.manifests.admission_cel import Rule, literal, only, tolerates, when
from gpuslice.pools import GPU, POOL_LABEL

MEMORY_ANNOTATION = "gpu-slicing.io/gpu-memory-mib"
"""On a pod: the GPU memory, in MiB, that it needs of its slice. A promise: nothing holds a time-sliced pod to it."""
DEVICE_VARIABLES = (
    "NVIDIA_VISIBLE_DEVICES",
    "NVIDIA_MIG_CONFIG_DEVICES",
    "NVIDIA_MIG_MONITOR_DEVICES",
    "NVIDIA_IMEX_CHANNELS",
)
"""What the NVIDIA container runtime reads of a container's environment to give it devices."""
NO_DEVICES = ("void", "none")
RUNTIME_CLASSES = ("nvidia", "nvidia-cdi", "nvidia-legacy")
CAPABILITIES = ("ALL", "SYS_ADMIN", "SYS_PTRACE")
DEVICE_MOUNTS = "nvidia-container-devices"
"""A mount below `/var/run/nvidia-container-devices` names a device to the toolkit. Every spelling has this part."""
CDI_PREFIX = "cdi.k8s.io/"

IS_GPU = "k.matches('^nvidia[.]com/(gpu($|[.])|mig-)')"
"""NVIDIA has other devices too, such as network cards."""
IS_SLICE = f"{IS_GPU} && (k != {literal(GPU)} || variables.gpuIsSlice)"
TOLERATES_GPU = tolerates(literal(GPU), "'true'", "'NoSchedule'")
# Where no pool has a fence of its own, CEL knows nothing of the type of one.
_TOLERATES_FENCE = tolerates("string(x.key)", "string(x.value)", "string(x.effect)")
_HINT = f"variables.annotations[{literal(MEMORY_ANNOTATION)}]"
_HAS_HINT = f"{literal(MEMORY_ANNOTATION)} in variables.annotations"
_HINT_IS_NUMBER = f"{_HINT}.matches('^[1-9][0-9]{{0,8}}$')"


def _sidecar(container: str) -> str:
    return f"has({container}.restartPolicy) && {container}.restartPolicy == 'Always'"


def _more_than(least: int, container: str, resource: str) -> str:
    """Whether the limit `k` of a container is a `resource` and more than `least`.

    The API server wants the requests of extended resources to equal their limits, so limits say it all.
    """
    return f"{resource} && quantity(string({container}.resources.limits[k])).isGreaterThan(quantity('{least}'))"


def _some_limit(condition: str, container: str = "c") -> str:
    limits = f"{container}.resources.limits"
    return f"has({container}.resources) && has({limits}) && {limits}.exists(k, {condition})"


def pod_variables(spec: str, metadata: str) -> dict[str, str]:
    """What the rules read of a pod: `spec` and `metadata` say where they lie in the object.

    The kinds of containers are types of their own to CEL, so their lists join only as dynamic values.
    """
    asked = _more_than(0, "c", IS_GPU)
    return {
        "spec": spec,
        "annotations": f"has({metadata}.annotations) ? {metadata}.annotations : {{}}",
        "tolerations": "has(variables.spec.tolerations) ? variables.spec.tolerations : []",
        "inits": "has(variables.spec.initContainers) ? dyn(variables.spec.initContainers) : dyn([])",
        "ephemerals": "has(variables.spec.ephemeralContainers) ? dyn(variables.spec.ephemeralContainers) : dyn([])",
        "containers": "dyn(variables.spec.containers) + variables.inits + variables.ephemerals",
        # The GPU resources of the containers, as one flat list: CEL joins no lists of lists.
        "kinds": (
            f"variables.containers.filter(c, {_some_limit(asked)}).map(c, c.resources.limits.filter(k, {asked})"
            ".map(k, string(k)).join(',')).join(',').split(',').filter(k, k != '')"
        ),
        "usesGpus": "size(variables.kinds) > 0",
        "nearGpus": f"variables.usesGpus || variables.tolerations.exists(t, {TOLERATES_GPU})",
    } | _pod_and_pools()


def _pod_and_pools() -> dict[str, str]:
    """`reached`: the pools on whose nodes the pod can land.

    Not those where its nodeSelector names another, nor those of which it lacks the toleration for an own taint. The GPU
    taint keeps nobody away who asks for a GPU.
    """
    selector = "variables.spec.nodeSelector"
    named = f"has({selector}) && {literal(POOL_LABEL)} in {selector}"
    return {
        "reached": (
            "variables.pools.filter(p, variables.memoryMiB[p].exists(r, r in variables.kinds)"
            f" && (!({named}) || {selector}[{literal(POOL_LABEL)}] == p)"
            " && (!(p in variables.fences) || variables.fences[p].all(x,"
            f" variables.tolerations.exists(t, {_TOLERATES_FENCE}))))"
        ),
        # Where the slices of a pool keep the name of a whole GPU.
        "gpuIsSlice": "variables.reached.exists(p, p in variables.plain)",
    }


def _each(bad: str, finding: str) -> str:
    """What is wrong with each container `c`, of whatever kind, that is `bad`; the finding goes on after its name."""
    return f"variables.containers.filter(c, {bad}).map(c, 'container ' + string(c.name) + {finding})"


def _one_slice() -> list[Rule]:
    """One slice for a container and for a pod.

    More slices of one GPU give a pod nothing, and the device plugin refuses them only on the node. An init container
    that ends hands its slice on; a sidecar keeps it, so nothing that starts after it may ask.
    """
    many, asks = _more_than(1, "c", IS_SLICE), _some_limit(_more_than(0, "c", IS_SLICE))
    order = "variables.inits.map(i, string(i.name))"
    earlier = (
        f"{_sidecar('s')} && {_some_limit(_more_than(0, 's', IS_SLICE), 's')}"
        f" && {order}.indexOf(string(s.name)) < {order}.indexOf(string(c.name))"
    )
    together = (
        f"(dyn(variables.spec.containers) + variables.ephemerals).filter(c, {asks}).size()"
        f" + variables.inits.filter(c, {_sidecar('c')} && {asks}).size() > 1"
    )
    after = f"variables.inits.exists(c, !({_sidecar('c')}) && {asks} && variables.inits.exists(s, {earlier}))"
    names = f"variables.containers.filter(c, {asks}).map(c, string(c.name)).join(', ')"
    amounts = f"c.resources.limits.filter(k, {many}).map(k, string(c.resources.limits[k]) + ' ' + string(k)).join(', ')"
    return [
        Rule(
            "one-slice-per-container",
            _each(_some_limit(many), f"' asks for ' + {amounts}"),
            "More slices of one GPU give a container nothing; ask for 1",
        ),
        Rule(
            "one-slice-per-pod",
            when(f"{together} || {after}", f"'containers ' + {names} + ' ask for a slice each'"),
            "A pod can use one; give it to one container, or make several pods",
        ),
    ]


def _resources() -> list[Rule]:
    others = "variables.kinds.filter(k, k != variables.kinds[0])"
    malformed = f"variables.usesGpus && {_HAS_HINT} && !{_HINT_IS_NUMBER}"
    return [
        *_one_slice(),
        Rule(
            "one-kind-of-gpu",
            when(f"size({others}) > 0", f"'the pod asks for ' + variables.kinds[0] + ' and ' + {others}.join(' and ')"),
            "No node offers both to one pod; ask for one kind",
        ),
        Rule(
            "memory-hint-format",
            # Not its text: a line break in it would cost the whole message.
            when(malformed, literal(f"the annotation {MEMORY_ANNOTATION} is not a number")),
            "It is the GPU memory that the pod needs, in MiB: a positive whole number such as 2048",
        ),
    ]


def _devices() -> list[Rule]:
    """Ways past the device plugin to GPUs that a pod did not ask for."""
    names = literal(DEVICE_VARIABLES)
    sets = f"e.name in {names} && !(has(e.value) && e.value in {literal(NO_DEVICES)})"
    begins = f"has(f.prefix) && f.prefix != '' && {names}.exists(n, n.startsWith(f.prefix))"
    mounts = f"has(c.volumeMounts) && c.volumeMounts.exists(m, m.mountPath.contains({literal(DEVICE_MOUNTS)}))"
    runtime = "variables.spec.runtimeClassName"
    return [
        Rule(
            "no-device-variables",
            _each(
                f"has(c.env) && c.env.exists(e, {sets})",
                f"' sets ' + c.env.filter(e, {sets}).map(e, string(e.name)).join(', ')",
            ),
            "It reaches GPUs that the pod did not ask for; remove it, or set it to void or none",
        ),
        Rule(
            "no-device-variable-prefix",
            _each(
                f"has(c.envFrom) && c.envFrom.exists(f, {begins})",
                f"' has the envFrom prefix ' + c.envFrom.filter(f, {begins}).map(f, string(f.prefix)).join(', ')",
            ),
            f"A key can make it one of {', '.join(DEVICE_VARIABLES)}; use another prefix",
        ),
        Rule(
            "no-gpu-runtime-class",
            when(f"has({runtime}) && {runtime} in {literal(RUNTIME_CLASSES)}", f"'runtimeClassName is ' + {runtime}"),
            "The default runtime of the node gives a pod the GPU that it asks for; remove runtimeClassName",
        ),
        Rule(
            "no-device-mounts",
            _each(mounts, literal(f" mounts a path with {DEVICE_MOUNTS}")),
            "It names devices to the NVIDIA runtime; ask for a GPU resource instead",
        ),
        Rule(
            "no-cdi-annotations",
            f"variables.annotations.filter(a, a.startsWith({literal(CDI_PREFIX)})).map(a, 'annotation ' + a)",
            "It names devices to the NVIDIA runtime; ask for a GPU resource instead",
        ),
    ]


def _host() -> list[Rule]:
    """What reaches a node's devices and neighbours without the device plugin; only of pods that can be on such a node.

    containerd takes capabilities in any case, other runtimes also with the prefix that the kernel gives them.
    """
    spec, near, context = "variables.spec", "variables.nearGpus", "c.securityContext"
    strong = f"k.upperAscii().replace('CAP_', '') in {literal(CAPABILITIES)}"
    added = f"{context}.capabilities.add"
    adds = f"has({context}) && has({context}.capabilities) && has({added}) && {added}.exists(k, {strong})"
    fields = ("hostPID", "hostIPC", "hostNetwork")
    shared = " + ".join(f"(has({spec}.{f}) && {spec}.{f} ? ['{f} is true'] : [])" for f in fields)
    paths = f"{spec}.volumes.filter(v, has(v.hostPath)).map(v, 'volume ' + v.name + ' is a hostPath')"
    return [
        Rule(
            "no-privileged",
            only(
                near, _each(f"has({context}) && has({context}.privileged) && {context}.privileged", "' is privileged'")
            ),
            "It sees every GPU of its node; remove privileged",
        ),
        Rule(
            "no-capabilities",
            only(near, _each(adds, f"' adds ' + {added}.filter(k, {strong}).map(k, string(k)).join(', ')")),
            "It reaches its neighbours on the node; remove it",
        ),
        Rule(
            "no-host-namespaces",
            only(near, shared),
            "The pod reaches its neighbours on the node; remove it",
        ),
        Rule(
            "no-host-paths",
            only(f"{near} && has({spec}.volumes)", paths),
            "It reaches the devices and sockets of the node; use another kind of volume",
        ),
    ]


def _placement(unplaced: str) -> list[Rule]:
    """How a pod gets to a GPU node; `unplaced` is CEL for whether the scheduler is still to choose its node."""
    node, gpu_taints = "variables.spec.nodeName", f"t.key == {literal(POOL_LABEL)} || {TOLERATES_GPU}"
    keyed = f"variables.tolerations.exists(t, has(t.key) && t.key != '' && ({gpu_taints}))"
    return [
        Rule(
            "gpu-toleration",
            when(f"!variables.usesGpus && {keyed}", "'the pod tolerates the taints of GPU nodes and asks for no GPU'"),
            f"Ask for a GPU resource, or remove the tolerations for {GPU} and {POOL_LABEL}",
        ),
        Rule(
            "no-blanket-toleration",
            when(
                "variables.tolerations.exists(t, !has(t.key) || t.key == '')",
                "'a toleration without a key is for every taint'",
            ),
            "Name the keys of the taints that the pod must tolerate",
        ),
        Rule(
            "no-node-name",
            when(f"{unplaced} && has({node}) && {node} != ''", f"'nodeName is ' + {node}"),
            "It passes by the scheduler and the taints; use nodeSelector",
        ),
    ]


def _pools() -> list[Rule]:
    """What each pool asks of the pods that can land on it."""
    forbidden = "p + ', which namespace ' + request.namespace + ' may not use'"
    may = "p in variables.users && variables.users[p].exists(n, n in ['*', request.namespace])"
    keyed = f"variables.tolerations.exists(t, has(t.key) && t.key != '' && {_TOLERATES_FENCE})"
    own = f"p in variables.fences && variables.fences[p].exists(x, x.key == {literal(POOL_LABEL)} && {keyed})"
    stray = f"variables.pools.filter(p, !(p in variables.reached) && !({may}) && {own})"
    memory = "variables.memoryMiB[p]"
    tight = f"{memory}.exists(r, r in variables.kinds && int({_HINT}) > {memory}[r])"
    has = f"{memory}.filter(r, r in variables.kinds).map(r, string({memory}[r]) + ' with ' + r).join(', ')"
    return [
        Rule(
            "pool-namespace",
            f"variables.reached.filter(p, !({may})).map(p, 'the pod can land on pool ' + {forbidden})",
            f"In nodeSelector, set {POOL_LABEL} to a pool for which the namespace has a quota",
        ),
        Rule(
            "pool-toleration",
            only("variables.usesGpus", f"{stray}.map(p, 'the pod tolerates the taint of pool ' + {forbidden})"),
            f"Tolerate {POOL_LABEL} with operator Equal and the name of a pool for which the namespace has a quota",
        ),
        Rule(
            "memory-hint-required",
            only(
                f"!({_HAS_HINT})",
                "variables.reached.filter(p, p in variables.promised)"
                ".map(p, 'the pod can land on pool ' + p + ', whose GPU memory only promises divide')",
            ),
            f"Set the annotation {MEMORY_ANNOTATION} to the GPU memory that the pod needs, in MiB",
        ),
        Rule(
            "memory-hint-fits",
            only(
                f"{_HAS_HINT} && {_HINT_IS_NUMBER}",
                f"variables.reached.filter(p, {tight})"
                f".map(p, 'the pod needs ' + string({_HINT}) + ' MiB of GPU memory, and pool ' + p + ' has ' + {has})",
            ),
            f"Ask for a larger slice, or in nodeSelector set {POOL_LABEL} to a pool with larger ones",
        ),
    ]


def pod_rules(unplaced: str) -> list[Rule]:
    """Every rule of a pod; see `_placement` for `unplaced`."""
    return [*_resources(), *_devices(), *_host(), *_placement(unplaced), *_pools()]
