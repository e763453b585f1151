"""Cases of policies/rules/ownership.py."""

from typing import Any

from base import Edit, accepted, also, put_head, refused, without


def provider(name: str, value: str) -> Edit:
    return put_head(name, "provider", value)


PROVIDERS = [
    refused(
        "in-cluster-explicit-provider",
        "the default one",
        provider("web", "default"),
        says="goes to kubectl's current context",
    ),
    refused("in-cluster-explicit-provider", "the default one of a version", provider("web", "default_4_23_0")),
    refused(
        "in-cluster-explicit-provider",
        "the default one from an address",
        provider("web", "default_4_23_0_https___example.com"),
    ),
    refused("in-cluster-explicit-provider", "in a release", provider("gpu-operator", "default_4_23_0")),
    refused(
        "in-cluster-explicit-provider",
        "beside a classic cluster",
        provider("web", "default"),
        without("cluster-component"),
    ),
    refused(
        "in-cluster-explicit-provider",
        "beside a component's cluster",
        provider("web", "default"),
        without("cluster-classic"),
    ),
    accepted(
        "in-cluster-explicit-provider",
        "no cluster in the program",
        provider("web", "default"),
        without("cluster-component"),
        without("cluster-classic"),
    ),
    accepted(
        "in-cluster-explicit-provider",
        "a name that starts alike",
        provider("web", "default_east"),
        provider("quota", "defaults"),
    ),
    accepted("in-cluster-explicit-provider", "a name that ends alike", provider("web", "my-default")),
    accepted("in-cluster-explicit-provider", "a provider that is not known", provider("web", "")),
    accepted("in-cluster-explicit-provider", "the default one of AWS", provider("queue", "default_7_1_0")),
]


def patch(token: str, data: dict[str, Any]) -> Edit:
    return also("patch", f"kubernetes:{token}Patch", data)


def command(text: str, field: str = "create", type_: str = "command:local:Command") -> Edit:
    return also("command", type_, {field: text}, provider="")


SHARING = "version: v1\nsharing: {timeSlicing: {resources: [{name: nvidia.com/gpu, replicas: 2}]}}\n"
LAYOUTS = "version: v1\nmig-configs: {all-disabled: [{devices: all, mig-enabled: false}]}\n"

PATCHES = [
    *[
        refused(
            "no-patched-objects",
            f"a patch of {token}",
            patch(token, {"metadata": {"name": "x"}, "spec": {}}),
            says="changes an object that Helm",
        )
        for token in (
            "nvidia.com/v1:ClusterPolicy",
            "karpenter.sh/v1:NodePool",
            "karpenter.sh/v1alpha1:NodeOverlay",
            "karpenter.k8s.aws/v1:EC2NodeClass",
        )
    ],
    refused(
        "no-patched-objects",
        "a patch that names its kind itself",
        patch(
            "apiextensions.k8s.io:CustomResource",
            {"apiVersion": "nvidia.com/v1", "kind": "ClusterPolicy", "metadata": {"name": "cluster-policy"}},
        ),
    ),
    refused(
        "no-patched-objects",
        "sharing configurations",
        patch("core/v1:ConfigMap", {"apiVersion": "v1", "kind": "ConfigMap", "data": {"note": "x", "half": SHARING}}),
    ),
    refused("no-patched-objects", "MIG layouts", patch("core/v1:ConfigMap", {"data": {"config.yaml": LAYOUTS}})),
    refused(
        "no-patched-objects",
        "the configuration of a live node",
        patch("core/v1:Node", {"metadata": {"name": "n", "labels": {"nvidia.com/device-plugin.config": "half"}}}),
    ),
    refused(
        "no-patched-objects",
        "the layout of a live node",
        patch("core/v1:Node", {"metadata": {"name": "n", "labels": {"nvidia.com/mig.config": "<unknown>"}}}),
    ),
    *[
        refused("no-patched-objects", f"runs {text}", command(text), says="runs `kubectl")
        for text in (
            "kubectl patch clusterpolicies.nvidia.com/cluster-policy --type merge -p '{}'",
            "set -e; kubectl -n kube-system patch nodepool gpu -p '{}'",
            "kubectl patch clusterpolicy cluster-policy",
            "kubectl edit ec2nodeclasses gpu",
            "kubectl annotate ec2nc gpu a=b",
            "kubectl patch nodeoverlays gpu \\\n  -p '{}'",
            "kubectl patch \\\n  nodepool gpu",
            "kubectl get nodes && kubectl label node n nvidia.com/mig.config=all-1g.5gb --overwrite",
            "kubectl label namespace a b=c\nkubectl patch nodepool gpu",
            "kubectl rollout  restart -n gpu-operator daemonset/time-slicing",
        )
    ],
    refused("no-patched-objects", "a command for updates", command("kubectl patch nodepool gpu", "update")),
    refused("no-patched-objects", "a command for deletes", command("kubectl patch nodepool gpu", "delete")),
    refused(
        "no-patched-objects",
        "a command over there",
        command("kubectl patch nodepool gpu", type_="command:remote:Command"),
    ),
    accepted(
        "no-patched-objects",
        "another ConfigMap",
        patch("core/v1:ConfigMap", {"metadata": {"name": "coredns"}, "data": {"Corefile": "."}}),
    ),
    accepted(
        "no-patched-objects",
        "another label of a node",
        patch("core/v1:Node", {"metadata": {"name": "n", "labels": {"team": "vision"}}}),
    ),
    accepted("no-patched-objects", "a Deployment", patch("apps/v1:Deployment", {"metadata": {"name": "web"}})),
    accepted(
        "no-patched-objects", "another group's NodePool", patch("example.com/v1:NodePool", {"metadata": {"name": "x"}})
    ),
    *[
        accepted("no-patched-objects", f"runs {text}", command(text))
        for text in (
            "kubectl get nodepools",
            "kubectl get labels.example.com -n gpu-operator",
            "kubectl get configmap/patch -n gpu-operator",
            "kubectl label namespace vision team=vision",
            "kubectl get nodepool gpu | patch -p1",
            "kubectl wait --for=condition=Ready nodepool/patch-me",
            "kubectl label namespace vision a=b; kubectl get nodepools",
            "helm upgrade gpu-operator nvidia/gpu-operator",
            "kubectl rollout status -n gpu-operator deployment/gpu-operator",
        )
    ],
]

CASES = [*PROVIDERS, *PATCHES]
