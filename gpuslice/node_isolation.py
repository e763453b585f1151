"""What a strict AL2023 node is told at boot, so that a container gets the GPUs that it asked for and no others.

The AMI makes `nvidia` the default runtime, and that runtime obeys the environment of any image. Two walls:

1. The default runtime is runc. GPUs that were asked for come by CDI, from containerd itself. Handler `nvidia` stays
   for the GPU Operator's own pods, which name it.
2. The runtime `nvidia` ignores the environment of containers without privileges, whoever names it.

Sources: awslabs/amazon-eks-ami v20260724 (nodeadm/internal/containerd; its units run nodeadm before the shell part of
the user data, and start containerd and the kubelet after it), aws/karpenter-provider-aws v1.14.1
(pkg/providers/amifamily/bootstrap), NVIDIA/nvidia-container-toolkit v1.19.1.
"""

from __future__ import annotations

import shlex
from email.mime.multipart import MIMEMultipart
from email.mime.nonmultipart import MIMENonMultipart
from typing import Any

from gpuslice.text import dump, dump_toml

# The user data is part of what Karpenter compares: a random boundary would replace every node at each run.
BOUNDARY = "gpu-slicing"
TOOLKIT_CONFIG = "/etc/nvidia-container-runtime/config.toml"
IGNORE_ENVIRONMENT = "accept-nvidia-visible-devices-envvar-when-unprivileged=false"
# What nodeadm itself writes for runc on a node without GPUs; on a GPU node it writes `nvidia` in its place.
RUNC: dict[str, Any] = {
    "runtime_type": "io.containerd.runc.v2",
    "base_runtime_spec": "/etc/containerd/base-runtime-spec.json",
    "options": {"BinaryName": "/usr/sbin/runc", "SystemdCgroup": True},
}


def user_data() -> str:
    """A MIME archive, to which Karpenter adds its own NodeConfig: nodeadm merges the two."""
    archive = MIMEMultipart(boundary=BOUNDARY)
    archive.attach(_part("application", "node.eks.aws", dump(node_config())))
    archive.attach(_part("text", "x-shellscript", toolkit_script()))
    return archive.as_string()


def node_config() -> dict[str, Any]:
    """nodeadm merges the TOML key by key over its own, in the schema of containerd 2."""
    runtimes = {"default_runtime_name": "runc", "runtimes": {"runc": RUNC}}
    config = dump_toml({"plugins": {"io.containerd.cri.v1.runtime": {"containerd": runtimes}}})
    return {
        "apiVersion": "node.eks.aws/v1alpha1",
        "kind": "NodeConfig",
        "spec": {"containerd": {"config": config}},
    }


def toolkit_script() -> str:
    """Sets one key of the toolkit's configuration and keeps the others."""
    command = ["nvidia-ctk", "config", f"--config-file={TOOLKIT_CONFIG}", "--in-place", "--set", IGNORE_ENVIRONMENT]
    return f"#!/bin/bash\n{shlex.join(command)}\n"


def _part(main: str, sub: str, text: str) -> MIMENonMultipart:
    # As it stands: Karpenter keeps a part's content type and drops its transfer encoding.
    part = MIMENonMultipart(main, sub)
    part.set_payload(text)
    return part
