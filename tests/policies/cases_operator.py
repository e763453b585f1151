"""Cases of policies/rules/operator.py."""

from base import Edit, accepted, also, drop, like, put, put_head, refused, without

ENV = ("values", "toolkit", "env")
ENVVAR = "ACCEPT_NVIDIA_VISIBLE_DEVICES_ENVVAR_WHEN_UNPRIVILEGED"
PLUGIN_OFF = "nvidia.com/gpu.deploy.device-plugin"
OPERANDS_OFF = "nvidia.com/gpu.deploy.operands"
NVIDIA_CHARTS = "https://helm.ngc.nvidia.com/nvidia/charts"


def version(value: object, name: str = "gpu-operator") -> Edit:
    return put(name, "version", value)


def chart(value: str, name: str = "gpu-operator") -> Edit:
    return put(name, "chart", value)


def image(operand: str, value: object) -> Edit:
    return put("gpu-operator", "values", operand, "version", value)


FLOOR = [
    refused(
        "operator-cve-floor",
        "one patch below",
        version("v26.3.1"),
        says="installs v26.3.1; allowed: a release, by its number, from v26.3.2 on",
    ),
    refused("operator-cve-floor", "one minor below", version("v26.2.9")),
    refused("operator-cve-floor", "one year below", version("v25.10.10")),
    refused("operator-cve-floor", "a patch that only looks higher", version("v9.30.0")),
    refused("operator-cve-floor", "a pre-release", version("v26.7.0-rc.1")),
    refused("operator-cve-floor", "a build of a developer", version("v1.0.0-devel")),
    refused("operator-cve-floor", "a range", version(">=26.3.2")),
    refused("operator-cve-floor", "a minor version", version("v26.7")),
    refused(
        "operator-cve-floor", "no version", drop("gpu-operator", "version"), says="installs the newest version there is"
    ),
    refused(
        "operator-cve-floor",
        "an old file",
        drop("gpu-operator", "version"),
        chart(f"{NVIDIA_CHARTS}/gpu-operator-v24.9.0.tgz"),
        says="v24.9.0",
    ),
    refused(
        "operator-cve-floor",
        "an old file without the v",
        drop("gpu-operator", "version"),
        chart(f"{NVIDIA_CHARTS}/gpu-operator-24.9.0.tgz"),
    ),
    refused(
        "operator-cve-floor",
        "an old tag",
        drop("gpu-operator", "version"),
        chart("oci://registry.example.com:5000/gpu-operator:v24.9.0"),
        says="v24.9.0",
    ),
    refused(
        "operator-cve-floor",
        "a digest",
        drop("gpu-operator", "version"),
        chart("oci://registry.example.com/gpu-operator@sha256:0abc"),
    ),
    refused(
        "operator-cve-floor", "an old one beside a new one", like("more", "gpu-operator", version("v25.3.1", "more"))
    ),
    refused(
        "operator-cve-floor",
        "an old one in a chart that Pulumi renders",
        put_head("gpu-operator", "type", "kubernetes:helm.sh/v4:Chart"),
        version("v25.3.1"),
    ),
    refused(
        "operator-cve-floor",
        "an old operator image",
        image("operator", "v26.3.1"),
        says="sets operator.version to v26.3.1",
    ),
    refused(
        "operator-cve-floor",
        "an old toolkit",
        image("toolkit", "v1.19.0-ubi9"),
        says="toolkit.version to v1.19.0-ubi9; allowed: a release, by its number, from v1.19.1 on",
    ),
    refused("operator-cve-floor", "an old device plugin", image("devicePlugin", "v0.17.2")),
    refused("operator-cve-floor", "an old MIG manager", image("migManager", "v0.12.1-ubuntu20.04")),
    refused("operator-cve-floor", "a pre-release of the toolkit", image("toolkit", "v1.20.0-rc.2-ubi9")),
    refused("operator-cve-floor", "an alpha of the toolkit", image("toolkit", "v1.20.0-alpha")),
    refused("operator-cve-floor", "a beta of the toolkit", image("toolkit", "v1.20.0-beta.1")),
    refused("operator-cve-floor", "a toolkit of a developer", image("toolkit", "v1.20.0-dev")),
    refused("operator-cve-floor", "an image by digest", image("toolkit", "sha256:0abc"), says="to sha256:0abc"),
    refused("operator-cve-floor", "no text for a version", image("toolkit", "")),
    accepted("operator-cve-floor", "the floor", version("v26.3.2")),
    accepted("operator-cve-floor", "without the v", version("26.3.2")),
    accepted("operator-cve-floor", "a minor above", version("v26.10.0")),
    accepted("operator-cve-floor", "a year above", version("v27.0.0")),
    accepted(
        "operator-cve-floor",
        "a file",
        drop("gpu-operator", "version"),
        chart(f"{NVIDIA_CHARTS}/gpu-operator-v26.3.2.tgz"),
    ),
    accepted(
        "operator-cve-floor",
        "a chart of another name",
        like("more", "gpu-operator", version("v1.0.0", "more"), chart("gpu-operator-dashboards", "more")),
    ),
    *[
        accepted("operator-cve-floor", f"the floor of {operand}", image(operand, value))
        for operand, value in (
            ("operator", "v26.3.2"),
            ("toolkit", "v1.19.1-ubi9"),
            ("devicePlugin", "0.17.3"),
            ("migManager", "v0.12.2-ubuntu20.04"),
        )
    ],
]

HOST_DRIVER = [
    refused(
        "operator-host-driver",
        "the driver",
        put("gpu-operator", "values", "driver", "enabled", True),
        says="installs the driver",
    ),
    refused(
        "operator-host-driver",
        "the toolkit",
        put("gpu-operator", "values", "toolkit", "enabled", True),
        says="installs the toolkit",
    ),
    refused("operator-host-driver", "the chart's driver", drop("gpu-operator", "values", "driver")),
    refused(
        "operator-host-driver", "the chart's toolkit", put("gpu-operator", "values", "toolkit", {"version": "v1.20.0"})
    ),
    accepted(
        "operator-host-driver",
        "a version of what is not installed",
        put("gpu-operator", "values", "driver", "version", "595.91.07"),
    ),
    accepted(
        "operator-host-driver",
        "another chart",
        like("more", "gpu-operator", chart("jetstack/cert-manager", "more"), put("more", "values", {})),
    ),
]


def env(*variables: dict[str, object]) -> Edit:
    return put("gpu-operator", *ENV, list(variables))


REFUSES = [
    *[
        refused(
            "toolkit-refuses-env",
            f"written {value!r}",
            env({"name": ENVVAR, "value": value}),
            says=f"sets {ENVVAR} to true",
        )
        for value in ("1", "t", "T", "true", "TRUE", "True", True, 1)
    ],
    refused(
        "toolkit-refuses-env",
        "the second variable",
        env({"name": "CONTAINERD_SOCKET", "value": "/run/x"}, {"name": ENVVAR, "value": "true"}),
    ),
    refused(
        "toolkit-refuses-env",
        "from somewhere else",
        env({"name": ENVVAR, "valueFrom": {"configMapKeyRef": {"name": "toolkit", "key": "env"}}}),
    ),
    accepted("toolkit-refuses-env", "false", env({"name": ENVVAR, "value": "false"})),
    accepted("toolkit-refuses-env", "a boolean that is false", env({"name": ENVVAR, "value": False})),
    accepted(
        "toolkit-refuses-env",
        "the variable for volume mounts",
        env({"name": "ACCEPT_NVIDIA_VISIBLE_DEVICES_AS_VOLUME_MOUNTS", "value": "true"}),
    ),
    accepted(
        "toolkit-refuses-env",
        "another chart",
        like(
            "more",
            "gpu-operator",
            chart("nvidia/toolkit", "more"),
            put("more", *ENV, [{"name": ENVVAR, "value": "true"}]),
        ),
    ),
]

LABELS = ("spec", "template", "metadata", "labels")

TWO_PLUGINS = [
    refused(
        "operator-two-plugins",
        "no label",
        drop("pool-bottle", *LABELS, PLUGIN_OFF),
        says="gets a device plugin beside Bottlerocket's own",
    ),
    refused("operator-two-plugins", "a label that is true", put("pool-bottle", *LABELS, PLUGIN_OFF, "true")),
    refused(
        "operator-two-plugins",
        "the label of another operand",
        drop("pool-bottle", *LABELS, PLUGIN_OFF),
        put("pool-bottle", *LABELS, "nvidia.com/gpu.deploy.driver", "false"),
    ),
    refused(
        "operator-two-plugins",
        "the plugin on, in so many words",
        drop("pool-bottle", *LABELS, PLUGIN_OFF),
        put("gpu-operator", "values", "devicePlugin", "enabled", True),
    ),
    refused(
        "operator-two-plugins",
        "the plugin off in one of two releases",
        drop("pool-bottle", *LABELS, PLUGIN_OFF),
        like("more", "gpu-operator", put("more", "values", "devicePlugin", "enabled", False)),
    ),
    refused(
        "operator-two-plugins",
        "the plugin off in the first of two releases",
        drop("pool-bottle", *LABELS, PLUGIN_OFF),
        put("gpu-operator", "values", "devicePlugin", "enabled", False),
        like("more", "gpu-operator", put("more", "values", "devicePlugin", "enabled", True)),
    ),
    accepted(
        "operator-two-plugins",
        "a class of another program",
        put("pool-whole", "spec", "template", "spec", "nodeClassRef", "name", "elsewhere"),
    ),
    accepted(
        "operator-two-plugins",
        "the plugin off",
        drop("pool-bottle", *LABELS, PLUGIN_OFF),
        put("gpu-operator", "values", "devicePlugin", "enabled", False),
    ),
    accepted(
        "operator-two-plugins",
        "all operands kept off",
        drop("pool-bottle", *LABELS, PLUGIN_OFF),
        put("pool-bottle", *LABELS, OPERANDS_OFF, "false"),
    ),
    accepted(
        "operator-two-plugins",
        "no operator in the program",
        drop("pool-bottle", *LABELS, PLUGIN_OFF),
        without("gpu-operator"),
    ),
]

CHARTS = {
    "karpenter": "oci://public.ecr.aws/karpenter/karpenter",
    "karpenter-crd": "oci://public.ecr.aws/karpenter/karpenter-crd",
    "efa": "aws-efa-k8s-device-plugin",
}


def efa(**fields: object) -> Edit:
    return also(
        "efa",
        "kubernetes:helm.sh/v3:Release",
        {
            "chart": CHARTS["efa"],
            "namespace": "kube-system",
            "values": {
                "tolerations": [{"key": "nvidia.com/gpu", "operator": "Exists"}, {"key": "team", "operator": "Exists"}]
            },
            **fields,
        },
    )


VERSIONS = [
    refused(
        "chart-versions-pinned", "no version of Karpenter", drop("karpenter", "version"), says="fits nothing at all"
    ),
    refused("chart-versions-pinned", "no version of the CRDs", drop("karpenter-crd", "version")),
    refused("chart-versions-pinned", "no version of the EFA plugin", efa()),
    refused("chart-versions-pinned", "a range", version("^1.14.1", "karpenter"), says="fits ^1.14.1"),
    refused("chart-versions-pinned", "a minor version", version("1.14", "karpenter")),
    refused("chart-versions-pinned", "a wildcard", version("1.14.x", "karpenter-crd")),
    refused("chart-versions-pinned", "from one to another", version("1.14.1 - 1.15.0", "karpenter")),
    refused("chart-versions-pinned", "two versions", version("1.14.1 || 1.14.2", "karpenter")),
    accepted("chart-versions-pinned", "a v", version("v1.14.1", "karpenter"), version("v1.14.1", "karpenter-crd")),
    accepted(
        "chart-versions-pinned",
        "a pre-release",
        version("1.15.0-rc.1", "karpenter"),
        version("1.15.0-rc.1", "karpenter-crd"),
    ),
    accepted("chart-versions-pinned", "the EFA plugin", efa(version="v0.5.30")),
    accepted(
        "chart-versions-pinned",
        "a file",
        drop("karpenter", "version"),
        chart("https://charts.example.com/karpenter-1.14.1.tgz", "karpenter"),
    ),
    accepted(
        "chart-versions-pinned",
        "a tag",
        drop("karpenter", "version"),
        chart(f"{CHARTS['karpenter']}:1.14.1", "karpenter"),
    ),
    accepted(
        "chart-versions-pinned",
        "another chart",
        like("more", "karpenter", drop("more", "version"), chart("cert-manager", "more")),
    ),
]

CASES = [*FLOOR, *HOST_DRIVER, *REFUSES, *TWO_PLUGINS, *VERSIONS]
