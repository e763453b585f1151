"""The NVIDIA GPU Operator: its namespace, the sharing configurations, and the Helm release that is pointed at them.

The ClusterPolicy comes from the chart's values alone: what the classic recipe does with `kubectl patch` and
`rollout restart` is declared. It does not own the choice of a node's configuration: that is a label of the pool.
"""

from dataclasses import dataclass

import pulumi
import pulumi_kubernetes as k8s

from gpuslice.catalog import versions
from gpuslice.gpu_operator import NAMESPACE, config_maps, efa_values, values
from gpuslice.manifests.tenancy import operator_namespace
from gpuslice.pools import Pool
from gpuslice.settings import Settings


@dataclass
class GpuOperatorArgs:
    """`pools` are all pools of `settings`."""

    settings: Settings
    pools: list[Pool]


class GpuOperator(pulumi.ComponentResource):
    """`ready`: what a pool must depend on, so that its first node finds its configuration."""

    ready: list[pulumi.Resource]

    def __init__(self, name: str, args: GpuOperatorArgs, opts: pulumi.ResourceOptions | None = None) -> None:
        super().__init__("gpu-slicing:index:GpuOperator", name, {"pools": [p.name for p in args.pools]}, opts)
        child = pulumi.ResourceOptions(parent=self)
        manifest = operator_namespace(args.settings)
        namespace = k8s.core.v1.Namespace(NAMESPACE, metadata=manifest["metadata"], opts=child)
        inside = pulumi.ResourceOptions(parent=self, depends_on=[namespace])
        maps = [
            k8s.core.v1.ConfigMap(m["metadata"]["name"], metadata=m["metadata"], data=m["data"], opts=inside)
            for m in config_maps(args.pools)
        ]
        release = self._release(args, pulumi.ResourceOptions(parent=self, depends_on=[namespace, *maps]))
        self.ready = [*maps, release]
        if any(p.settings.efa for p in args.pools):
            self.ready.append(self._efa_device_plugin(args, child))
        self.register_outputs({"namespace": NAMESPACE})

    def _release(self, args: GpuOperatorArgs, opts: pulumi.ResourceOptions) -> k8s.helm.v3.Release:
        # The chart's own Deployments are awaited. The operands' DaemonSets are the operator's and are not: on the first
        # day no GPU node exists. Not atomic: a slow image would take a working operator away again.
        return k8s.helm.v3.Release(
            "gpu-operator",
            name="gpu-operator",
            chart="gpu-operator",
            version=args.settings.gpu_operator.version,
            repository_opts=k8s.helm.v3.RepositoryOptsArgs(repo=versions.NVIDIA_CHARTS),
            namespace=NAMESPACE,
            values=values(args.settings, args.pools),
            cleanup_on_fail=True,
            max_history=5,
            timeout=900,
            opts=opts,
        )

    def _efa_device_plugin(self, args: GpuOperatorArgs, opts: pulumi.ResourceOptions) -> k8s.helm.v3.Release:
        return k8s.helm.v3.Release(
            "aws-efa-k8s-device-plugin",
            name="aws-efa-k8s-device-plugin",
            chart="aws-efa-k8s-device-plugin",
            version=versions.EFA_DEVICE_PLUGIN,
            repository_opts=k8s.helm.v3.RepositoryOptsArgs(repo=versions.EKS_CHARTS),
            namespace="kube-system",
            values=efa_values(args.pools),
            cleanup_on_fail=True,
            max_history=5,
            timeout=600,
            opts=opts,
        )
