"""Cases of shared-al2023-isolation in policies/rules/tenancy.py."""

from email.mime.multipart import MIMEMultipart
from email.mime.nonmultipart import MIMENonMultipart

import yaml
from base import accepted, like, put, put_head, put_yaml, refused, without

ISOLATION, QUOTA = "shared-al2023-isolation", "quota-counts-slices"
USER_DATA = ("class-shared", "spec", "userData")
RUNTIME = "io.containerd.cri.v1.runtime"


def quota_for(namespace, **hard):
    return like(
        f"quota-{namespace}",
        "quota",
        put(f"quota-{namespace}", "metadata", "namespace", namespace),
        put(f"quota-{namespace}", "spec", "hard", hard or {"requests.nvidia.com/gpu.shared": "1"}),
    )


def node_config(name="runc", plugin=RUNTIME, comment=""):
    config = f'[plugins."{plugin}".containerd]\ndefault_runtime_name = "{name}"\n{comment}'
    return yaml.safe_dump({"kind": "NodeConfig", "spec": {"containerd": {"config": config}}})


def archive(*parts, kind="node.eks.aws"):
    found = MIMEMultipart(boundary="b")
    for text in parts:
        part = MIMENonMultipart("application", kind)
        part.set_payload(text)
        found.attach(part)
    return found.as_string()


TWO = quota_for("speech")

CASES = [
    refused(
        ISOLATION,
        "two tenants",
        TWO,
        says="NodePool shared: shares nodes that offer nvidia.com/gpu.shared between the namespaces speech, vision, ",
    ),
    refused(
        ISOLATION,
        "MIG",
        quota_for("a", **{"requests.nvidia.com/mig-1g.5gb": 1}),
        quota_for("b", **{"requests.nvidia.com/mig-1g.5gb": 1}),
        says="NodePool mig",
    ),
    refused(
        ISOLATION,
        "whole GPUs",
        quota_for("a", **{"requests.nvidia.com/gpu": 1}),
        quota_for("b", **{"requests.nvidia.com/gpu": 1}),
        says="NodePool whole",
    ),
    refused(
        ISOLATION,
        "an AMI by its family",
        TWO,
        put("class-shared", "spec", "amiSelectorTerms", [{"id": "ami-0123456789abcdef0"}]),
        put("class-shared", "spec", "amiFamily", "AL2023"),
        config={"gpu-pool-ami-by-alias": "disabled"},
    ),
    *(
        refused(ISOLATION, name, TWO, put(*USER_DATA, text), says="NodePool shared: shares nodes")
        for name, text in {
            "a script": "#!/bin/bash\n# default_runtime_name = 'runc'\ntrue: [\n",
            "a script that is YAML too": "#!/bin/bash\ntrue\n",
            "other user data": "kind: NodeConfig\n",
            "the image's runtime": node_config("nvidia"),
            "a runtime of the same maker": node_config("nvidia-cdi"),
            "an old name beside a new one": node_config(plugin="io.containerd.grpc.v1.cri", comment=f"# {RUNTIME}\n"),
            "an old name beside another new one": node_config(
                plugin="io.containerd.grpc.v1.cri", comment='[plugins."io.containerd.cri.v1.images"]\n'
            ),
            "another plugin": node_config(plugin="io.containerd.other"),
            "no TOML": node_config(comment="["),
            "a part of another kind": archive(node_config(), kind="x-other"),
            "a part in another encoding": archive("a2luZDogTm9kZUNvbmZpZwo="),
            "taken back by a later part": archive(node_config(), node_config("nvidia")),
        }.items()
    ),
    *(
        accepted(ISOLATION, name, TWO, put(*USER_DATA, text))
        for name, text in {
            "the runtime is overridden": node_config(),
            "overridden with a name of one's own": node_config("crun"),
            "overridden in the old schema": node_config(plugin="io.containerd.grpc.v1.cri"),
            "overridden in an archive": archive("kind: NodeConfig\n", node_config()),
            "overridden in an archive that starts with its version": "MIME-Version: 1.0\n"
            + archive(node_config()).replace("MIME-Version: 1.0\n", "", 1),
            "overridden, then something else": archive(node_config("nvidia"), node_config(), "kind: NodeConfig\n"),
            "overridden after an empty line": "\n" + archive(node_config()),
        }.items()
    ),
    refused(
        ISOLATION, "an odd NodeConfig", TWO, put(*USER_DATA, "spec: []\n"), says="userData.spec is [], not an object"
    ),
    refused(
        ISOLATION,
        "two slices",
        TWO,
        put_yaml("plugin-configs", "quarter", "sharing", "timeSlicing", "resources", 0, "replicas", 2),
        put("overlay-shared", "spec", "capacity", "nvidia.com/gpu.shared", "2"),
        put("pool-shared", "spec", "limits", "nvidia.com/gpu.shared", 20),
    ),
    accepted(
        ISOLATION,
        "the second tenant's quota counts nothing",
        quota_for("speech", **{"nvidia.com/gpu.shared": 1}),
        config={QUOTA: "disabled"},
    ),
    accepted(ISOLATION, "the second tenant has none", quota_for("speech", **{"requests.nvidia.com/gpu.shared": "0"})),
    accepted(
        ISOLATION, "the second tenant has another resource", quota_for("speech", **{"requests.nvidia.com/gpu": 4})
    ),
    accepted(ISOLATION, "one tenant with two quotas", like("more", "quota", put("more", "metadata", "name", "more"))),
    accepted(
        ISOLATION,
        "Bottlerocket alone",
        TWO,
        put("pool-shared", "spec", "template", "metadata", "labels", "nvidia.com/device-plugin.config", "whole"),
        put("pool-shared", "spec", "limits", {"nodes": 10, "nvidia.com/gpu": 10}),
        without("overlay-shared"),
        put_head("pool-shared", "dependencies", ["karpenter", "karpenter-crd", "class-shared"]),
    ),
    accepted(
        ISOLATION,
        "one GPU on a node",
        quota_for("a", **{"requests.nvidia.com/gpu": 1}),
        quota_for("b", **{"requests.nvidia.com/gpu": 1}),
        put("pool-whole", "spec", "template", "spec", "requirements", 1, "values", ["2"]),
        put("pool-whole", "spec", "limits", {"nodes": 4, "nvidia.com/gpu": 4}),
    ),
    accepted(ISOLATION, "a node class that is not here", TWO, without("class-shared")),
]
