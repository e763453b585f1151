"""Pods, and the rules that each must break."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from admission_pods import (
    GPU,
    H100,
    HINT,
    MIG_1G,
    MIG_2G,
    PLAIN,
    POOL,
    SHARED,
    WHOLE,
    Manifest,
    container,
    on_t4,
    own,
    pod,
    sidecar,
    with_main,
)


@dataclass(frozen=True)
class Case:
    """`breaks`: the rules that the pod breaks, `told`: a part of the message that the one rule must give.

    `template_breaks`: the same for a workload's template, where it differs, since EKS adds tolerations to pods alone.
    """

    name: str
    pod: Manifest
    breaks: frozenset[str] = frozenset()
    told: str = ""
    namespace: str = "team-a"
    template_breaks: frozenset[str] | None = None


@dataclass
class _Table:
    cases: list[Case] = field(default_factory=list)

    def ok(self, name: str, made: Manifest, namespace: str = "team-a") -> None:
        self.cases.append(Case(name, made, namespace=namespace))

    def bad(
        self, rules: str, name: str, made: Manifest, told: str = "", namespace: str = "team-a", **more: Any
    ) -> None:
        self.cases.append(Case(name, made, frozenset(rules.split()), told, namespace, **more))


def _one_slice(t: _Table) -> None:
    one, two = {SHARED: "1"}, {SHARED: "2"}
    rule, per_pod = "one-slice-per-container", "one-slice-per-pod"
    t.ok("one slice", on_t4())
    t.ok("one slice as an integer", on_t4(container(limits={SHARED: 1})))
    t.ok("one slice as 1000m", on_t4(container(limits={SHARED: "1000m"})))
    t.ok("no slice, said so", pod(container(limits={SHARED: "0"})))
    t.ok("requests and limits", on_t4(container(resources={"requests": one, "limits": one})))
    t.bad(rule, "two slices", on_t4(container(limits=two)), "container main asks for 2 nvidia.com/gpu.shared")
    t.bad(rule, "two slices as an integer", on_t4(container(limits={SHARED: 2})), "asks for 2 nvidia.com/gpu.shared")
    t.bad(rule, "two slices as 2000m", on_t4(container(limits={SHARED: "2000m"})), "asks for 2 ")
    t.bad(rule, "a thousand slices as 1k", on_t4(container(limits={SHARED: "1k"})), "asks for 1k ")
    t.bad(rule, "two slices in an init container", on_t4(initContainers=[container("a", two)]), "container a asks")
    t.bad(rule, "two MIG slices", pod(container(limits={MIG_1G: "2"}), tolerations=[GPU, own("a100-mig")]))
    t.bad(
        rule,
        "two slices of a pool that is not there",
        pod(container(limits={"nvidia.com/mig-7g.40gb": "2"}), tolerations=[GPU]),
    )
    t.bad(
        per_pod,
        "a slice for each of two containers",
        on_t4(container("a", one), container("b", one)),
        "containers a, b ask for a slice each",
    )
    t.ok("a container with a slice beside one without", on_t4(container("a", one), container("b")))
    t.ok("an init container hands its slice on", on_t4(initContainers=[container("first", one)]))
    t.ok("two init containers, one after the other", on_t4(initContainers=[container("a", one), container("b", one)]))
    t.bad(per_pod, "a sidecar and a container", on_t4(initContainers=[sidecar("side", one)]))
    only_inits = on_t4(container(), initContainers=[sidecar("side", one)])
    t.ok("a sidecar alone", only_inits)
    t.bad(per_pod, "two sidecars", on_t4(container(), initContainers=[sidecar("a", one), sidecar("b", one)]))
    t.bad(
        per_pod, "a sidecar, then an init", on_t4(container(), initContainers=[sidecar("a", one), container("b", one)])
    )
    t.ok("an init, then a sidecar", on_t4(container(), initContainers=[container("a", one), sidecar("b", one)]))


def _whole_gpus(t: _Table) -> None:
    plain = {"nodeSelector": {POOL: "t4-plain"}, "tolerations": [GPU, *PLAIN]}
    eight = container(limits={WHOLE: "8"})
    t.ok("eight whole GPUs", pod(eight, tolerations=[GPU]))
    t.ok("eight whole GPUs without toleration: EKS adds it", pod(eight))
    t.ok("whole GPUs in two containers", pod(container("a", {WHOLE: 4}), container("b", {WHOLE: 4}), tolerations=[GPU]))
    t.ok("a slice with the name of a GPU", pod(container(limits={WHOLE: 1}), hint="3584", **plain))
    t.bad(
        "one-slice-per-container",
        "two of them",
        pod(container(limits={WHOLE: 2}), hint="1", **plain),
        "2 nvidia.com/gpu",
    )
    two = [container("a", {WHOLE: 1}), container("b", {WHOLE: 1})]
    t.bad("one-slice-per-pod", "one in each of two containers", pod(*two, hint="1", **plain), "containers a, b ask")
    t.bad(
        "one-slice-per-container",
        "two GPUs where it can be either",
        pod(container(limits={WHOLE: 2}), hint="1", tolerations=[GPU, *PLAIN]),
    )
    t.ok("two GPUs of a pod that lacks one toleration", pod(container(limits={WHOLE: 2}), tolerations=[GPU, PLAIN[0]]))
    t.ok("two whole GPUs that cannot be slices", pod(container(limits={WHOLE: 2}), tolerations=[GPU]))


def _kinds(t: _Table) -> None:
    rule = "one-kind-of-gpu"
    mixed = {"tolerations": [GPU, own("a100-mig")], "hint": "1024"}
    t.bad(
        rule,
        "two kinds in one container",
        pod(container(limits={SHARED: 1, MIG_1G: 1}), **mixed),
        "No node offers both",
    )
    inits = [container("first", {SHARED: 1})]
    t.bad(rule, "two kinds, one after the other", pod(container(limits={WHOLE: 1}), initContainers=inits, **mixed))
    t.bad(
        f"{rule} one-slice-per-pod",
        "two MIG profiles in two containers",
        pod(container("a", {MIG_1G: 1}), container("b", {MIG_2G: 1}), **mixed),
    )
    t.ok("network devices of NVIDIA beside a slice", on_t4(container(limits={SHARED: 1, "nvidia.com/hostdev": 2})))
    t.ok("a second kind of which it asks none", on_t4(container(limits={SHARED: 1, MIG_1G: 0})))


def _devices(t: _Table) -> None:
    rule = "no-device-variables"
    for name in (
        "NVIDIA_VISIBLE_DEVICES",
        "NVIDIA_MIG_CONFIG_DEVICES",
        "NVIDIA_MIG_MONITOR_DEVICES",
        "NVIDIA_IMEX_CHANNELS",
    ):
        t.bad(rule, f"{name}=all", with_main(env=[{"name": name, "value": "all"}]), f"container main sets {name}")
    t.bad(rule, "all, without a GPU", pod(container(env=[{"name": "NVIDIA_VISIBLE_DEVICES", "value": "all"}])))
    for value in ("void", "none"):
        t.ok(f"NVIDIA_VISIBLE_DEVICES={value}", with_main(env=[{"name": "NVIDIA_VISIBLE_DEVICES", "value": value}]))
    t.bad(rule, "an empty value", with_main(env=[{"name": "NVIDIA_VISIBLE_DEVICES"}]))
    t.bad(rule, "none, and more", with_main(env=[{"name": "NVIDIA_VISIBLE_DEVICES", "value": "none,0"}]))
    source = {"configMapKeyRef": {"name": "any", "key": "any"}}
    t.bad(rule, "a value from elsewhere", with_main(env=[{"name": "NVIDIA_VISIBLE_DEVICES", "valueFrom": source}]))
    second = container("second", env=[{"name": "NVIDIA_VISIBLE_DEVICES", "value": "0"}])
    t.bad(rule, "a second container", on_t4(container(limits={SHARED: 1}), second), "container second sets")
    late = container("first", env=[{"name": "OTHER", "value": "x"}, {"name": "NVIDIA_IMEX_CHANNELS", "value": "0"}])
    t.bad(rule, "the second variable of an init container", on_t4(initContainers=[late]), "container first sets")
    t.ok("another NVIDIA variable", with_main(env=[{"name": "NVIDIA_DRIVER_CAPABILITIES", "value": "compute"}]))
    for prefix in ("N", "NVIDIA_", "NVIDIA_VISIBLE_DEVICES"):
        from_map = [{"configMapRef": {"name": "any"}, "prefix": prefix}]
        t.bad(
            "no-device-variable-prefix",
            f"envFrom with the prefix {prefix}",
            with_main(envFrom=from_map),
            f"prefix {prefix}",
        )
    for prefix in ({"prefix": "APP_"}, {"prefix": "NVIDIA_X"}, {}):
        t.ok(f"envFrom with {prefix or 'no prefix'}", with_main(envFrom=[{"secretRef": {"name": "any"}, **prefix}]))
    for name in ("nvidia", "nvidia-cdi", "nvidia-legacy"):
        t.bad(
            "no-gpu-runtime-class",
            f"the runtime class {name}",
            on_t4(runtimeClassName=name),
            f"runtimeClassName is {name}.",
        )
    t.ok("another runtime class", on_t4(runtimeClassName="gvisor"))
    scratch = {"volumes": [{"name": "v", "emptyDir": {}}]}
    for path in (
        "/var/run/nvidia-container-devices/all",
        "/run/nvidia-container-devices",
        "/var//run/./nvidia-container-devices/0",
    ):
        mounted = container(limits={SHARED: 1}, volumeMounts=[{"name": "v", "mountPath": path}])
        t.bad("no-device-mounts", f"a mount at {path}", on_t4(mounted, **scratch), "container main mounts")
    t.ok(
        "another mount",
        on_t4(container(limits={SHARED: 1}, volumeMounts=[{"name": "v", "mountPath": "/data"}]), **scratch),
    )
    t.bad(
        "no-cdi-annotations",
        "a CDI annotation",
        on_t4(annotations={"cdi.k8s.io/x": "nvidia.com/gpu=all"}),
        "annotation cdi.k8s.io/x",
    )
    t.bad(
        "no-cdi-annotations", "a CDI annotation, without a GPU", pod(annotations={"cdi.k8s.io/y": "nvidia.com/gpu=0"})
    )
    t.ok("an annotation that only mentions CDI", on_t4(annotations={"example.com/cdi.k8s.io": "x"}))


def _host(t: _Table) -> None:
    host_path = {"volumes": [{"name": "dev", "hostPath": {"path": "/dev"}}]}
    t.bad(
        "no-privileged", "privileged", with_main(securityContext={"privileged": True}), "container main is privileged"
    )
    t.bad(
        "no-privileged",
        "a privileged init container",
        on_t4(initContainers=[container("first", securityContext={"privileged": True})]),
        "container first is privileged",
    )
    second = container("second", securityContext={"privileged": True})
    t.bad(
        "no-privileged",
        "a privileged second container",
        on_t4(container(limits={SHARED: 1}), second),
        "container second is",
    )
    t.ok("privileged, without a GPU", pod(container(securityContext={"privileged": True})))
    t.ok("not privileged, said so", with_main(securityContext={"privileged": False}))
    for capability in ("SYS_ADMIN", "SYS_PTRACE", "ALL", "sys_admin", "CAP_SYS_PTRACE"):
        added = {"capabilities": {"add": ["NET_BIND_SERVICE", capability]}}
        t.bad(
            "no-capabilities", f"the capability {capability}", with_main(securityContext=added), f"adds {capability}."
        )
    t.ok(
        "another capability",
        with_main(securityContext={"capabilities": {"add": ["NET_BIND_SERVICE"], "drop": ["ALL"]}}),
    )
    for name in ("hostPID", "hostIPC", "hostNetwork"):
        t.bad("no-host-namespaces", name, on_t4(**{name: True}), f"{name} is true")
    t.ok("host namespaces, without a GPU", pod(hostPID=True, hostIPC=True, hostNetwork=True))
    t.bad("no-host-paths", "a hostPath", on_t4(**host_path), "volume dev is a hostPath")
    t.ok("a hostPath, without a GPU", pod(**host_path))
    t.bad("no-host-paths gpu-toleration", "a hostPath, near GPUs without asking", pod(tolerations=[GPU], **host_path))


def _tolerations(t: _Table) -> None:
    rule = "gpu-toleration"
    same = [
        {"key": WHOLE, "value": "true"},
        {"key": WHOLE, "value": "true", "effect": "NoSchedule"},
        {"key": WHOLE, "operator": "Exists"},
        {"key": WHOLE, "operator": "Exists", "effect": "NoSchedule"},
        GPU,
        {"key": POOL, "operator": "Exists"},
        own("t4"),
    ]
    for toleration in same:
        t.bad(rule, f"no GPU, but {toleration}", pod(tolerations=[toleration]), "asks for no GPU")
    other = [
        {"key": WHOLE, "operator": "Exists", "effect": "NoExecute"},
        {"key": WHOLE, "value": "false", "effect": "NoSchedule"},
        {"key": "nvidia.com/gpus", "operator": "Exists"},
        {"key": "example.com/plain", "operator": "Exists"},
    ]
    for toleration in other:
        t.ok(f"no GPU, and {toleration}", pod(tolerations=[toleration]))
    network = pod(container(limits={"nvidia.com/hostdev": 1, "nvidia.com/gpus": 1}), tolerations=[GPU])
    t.bad(rule, "a device of NVIDIA that is no GPU", network, "asks for no GPU")
    # EKS' admission adds the toleration for whatever resource is named, also for none of it.
    none = pod(container(limits={WHOLE: "0"}))
    t.bad(rule, "no GPU, asked for by name", none, "Ask for a GPU resource", template_breaks=frozenset())
    blanket = {"operator": "Exists"}
    t.bad(
        "no-blanket-toleration", "every taint, without a GPU", pod(tolerations=[blanket]), "a toleration without a key"
    )
    t.bad("no-blanket-toleration", "every effect of one kind", pod(tolerations=[{**blanket, "effect": "NoExecute"}]))
    t.bad("no-node-name", "a node of one's own choice", pod(nodeName="somewhere"), "nodeName is somewhere")
    t.ok("not a pod of GPUs at all", pod(), "elsewhere")


def _pools(t: _Table) -> None:
    rule, shared = "pool-namespace", container(limits={SHARED: 1})
    on_l4 = {"nodeSelector": {POOL: "l4"}, "tolerations": [GPU]}
    t.ok("a pool with a quota", pod(shared, hint="4000", **on_l4), "team-b")
    t.bad(rule, "a pool without", on_t4(), "pool t4, which namespace team-b may not use", "team-b")
    t.bad(
        rule,
        "no pool named, one of them without a quota",
        pod(shared, hint="1", tolerations=[GPU]),
        "pool t4",
        "team-b",
    )
    t.bad(rule, "a namespace that is no tenant", on_t4(), "namespace elsewhere may not use", "elsewhere")
    t.bad(rule, "a namespace that begins as a tenant", on_t4(), "namespace team-a-2 may not use", "team-a-2")
    t.ok("no pool named, all of them with a quota", pod(shared, hint="1", tolerations=[GPU]))
    t.bad(rule, "a whole GPU without a quota", pod(container(limits={WHOLE: 1})), "pool h100-whole", "team-b")
    t.ok("a pool that is not the stack's", pod(shared, nodeSelector={POOL: "other"}, tolerations=[GPU]), "elsewhere")
    t.ok("the verification", on_t4(), "gpu-slicing-verification")
    mig, foreign = container(limits={MIG_1G: 1}), container(limits={H100: 1})
    t.ok("a MIG slice", pod(mig, tolerations=[GPU, own("a100-mig")]))
    t.ok(
        "a MIG slice of another profile of the pool",
        pod(container(limits={MIG_2G: 1}), tolerations=[GPU, own("a100-mig")]),
    )
    t.ok("a MIG slice that it lacks the toleration for", pod(foreign, tolerations=[GPU]))
    t.bad(
        rule,
        "a MIG pool without a quota",
        pod(foreign, tolerations=[GPU, own("h100-mig")]),
        "h100-mig",
    )
    t.bad(
        rule,
        "a MIG pool with a quota of 0",
        pod(mig, tolerations=[GPU, own("a100-mig")]),
        "a100-mig",
        "team-b",
    )
    rule = "pool-toleration"
    t.bad(rule, "the taint of a foreign pool", on_t4(tolerations=[GPU, own("h100-mig")]), "the taint of pool h100-mig")
    t.bad(rule, "the taint of every pool", on_t4(tolerations=[GPU, {"key": POOL, "operator": "Exists"}]))
    t.bad("no-blanket-toleration", "every taint, with a GPU", on_t4(tolerations=[{"operator": "Exists"}]))
    t.ok(
        "the taint of a foreign pool with another effect",
        on_t4(tolerations=[GPU, {**own("h100-mig"), "effect": "NoExecute"}]),
    )


def _hints(t: _Table) -> None:
    needed, fits, form = "memory-hint-required", "memory-hint-fits", "memory-hint-format"
    mig = {"tolerations": [GPU, own("a100-mig")]}
    t.bad(needed, "no hint", on_t4(hint=None), "Set the annotation gpu-slicing.io/gpu-memory-mib")
    t.ok("no hint with MIG", pod(container(limits={MIG_1G: 1}), **mig))
    t.ok("no hint with a whole GPU", pod(container(limits={WHOLE: 1})))
    t.ok("all of the slice", on_t4(hint="3584"))
    t.bad(
        fits,
        "a MiB more",
        on_t4(hint="3585"),
        "needs 3585 MiB of GPU memory, and pool t4 has 3584 with nvidia.com/gpu.shared",
    )
    t.bad(fits, "more, by number and not by text", on_t4(hint="10000"))
    t.ok("it fits in the named pool", on_t4(hint="10932", nodeSelector={POOL: "l4"}))
    t.bad(
        fits,
        "it fits in one of the pools that it can land on",
        pod(container(limits={SHARED: 1}), hint="5000", tolerations=[GPU]),
        "pool t4 has 3584",
    )
    t.bad(
        fits,
        "a MIG slice too small",
        pod(container(limits={MIG_1G: 1}), hint="4609", **mig),
        "pool a100-mig has 4608 with nvidia.com/mig-1g.5gb",
    )
    t.ok("a larger MIG slice", pod(container(limits={MIG_2G: 1}), hint="4609", **mig))
    t.bad(fits, "a whole GPU too small", pod(container(limits={WHOLE: 1}), hint="81409"))
    for text in ("", "0", "-1", "2Gi", "1.5", "02048", "2048\n", "9" * 10, "two"):
        t.bad(form, f"the hint {text!r}", on_t4(hint=text), f"the annotation {HINT} is not a number")
    t.ok("a hint of no meaning, without a GPU", pod(hint="two"))


def cases() -> list[Case]:
    table = _Table()
    for part in (_one_slice, _whole_gpus, _kinds, _devices, _host, _tolerations, _pools, _hints):
        part(table)
    return table.cases
