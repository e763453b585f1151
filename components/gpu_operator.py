"""The NVIDIA GPU Operator: its namespace, the sharing configurations, and the Helm release that is pointed at them.

The ClusterPolicy comes from the chart's values alone: what the classic recipe does with `kubectl patch` and
`rollout restart` is declared. It does not own the choice of a node's configuration: that is a label of the pool.
"""

from dataclasses import dataclass
from typing import Any

import pulumi
import pulumi_kubernetes as k8s

from gpuslice.catalog import versions
from gpuslice.gpu_operator import NAMESPACE, config_maps, efa_values, values
from gpuslice.manifests.tenancy import operator_namespace
from gpuslice.pools import Pool
from gpuslice.settings import Settings


@dataclass
class GpuOperatorArgs:
    """The operator's version, and what the pools of a stack mean to it."""

    version: str
    values: dict[str, Any]
    """Helm values of the chart."""
    namespace: dict[str, Any]
    config_maps: list[dict[str, Any]]
    """The sharing configurations that `values` points to; in the operator's namespace."""
    efa_values: dict[str, Any] | None
    """Helm values of the EFA device plugin; None where no pool has EFA."""

    @classmethod
    def of(cls, settings: Settings, pools: list[Pool]) -> "GpuOperatorArgs":
        """The arguments that a stack's settings mean; `pools` are all its pools."""
        return cls(
            version=settings.gpu_operator.version,
            values=values(settings, pools),
            namespace=operator_namespace(settings),
            config_maps=config_maps(pools),
            efa_values=efa_values(pools) if any(p.settings.efa for p in pools) else None,
        )


class GpuOperator(pulumi.ComponentResource):
    """`ready`: what a pool must depend on, so that its first node finds its configuration."""

    namespace: pulumi.Output[str]

    def __init__(self, name: str, args: GpuOperatorArgs, opts: pulumi.ResourceOptions | None = None) -> None:
        super().__init__("gpu-slicing:index:GpuOperator", name, {"version": args.version}, opts)
        child = pulumi.ResourceOptions(parent=self)
        namespace = k8s.core.v1.Namespace(NAMESPACE, metadata=args.namespace["metadata"], opts=child)
        inside = pulumi.ResourceOptions(parent=self, depends_on=[namespace])
        maps = [
            k8s.core.v1.ConfigMap(m["metadata"]["name"], metadata=m["metadata"], data=m["data"], opts=inside)
            for m in args.config_maps
        ]
        # The chart's own Deployments are awaited. The operands' DaemonSets are the operator's and are not: on the first
        # day no GPU node exists. Not atomic: a slow image would take a working operator away again.
        operator = self._release(
            "gpu-operator",
            version=args.version,
            repository=versions.NVIDIA_CHARTS,
            namespace=NAMESPACE,
            values=args.values,
            timeout=900,
            opts=pulumi.ResourceOptions(parent=self, depends_on=[namespace, *maps]),
        )
        self.ready: list[pulumi.Resource] = [*maps, operator]
        if args.efa_values is not None:
            efa = self._release(
                "aws-efa-k8s-device-plugin",
                version=versions.EFA_DEVICE_PLUGIN,
                repository=versions.EKS_CHARTS,
                namespace="kube-system",
                values=args.efa_values,
                timeout=600,
                opts=child,
            )
            self.ready.append(efa)
        self.namespace = pulumi.Output.from_input(NAMESPACE)
        self.register_outputs({"namespace": self.namespace})

    def _release(
        self,
        chart: str,
        *,
        version: str,
        repository: str,
        namespace: str,
        values: dict[str, Any],
        timeout: int,
        opts: pulumi.ResourceOptions,
    ) -> k8s.helm.v3.Release:
        return k8s.helm.v3.Release(
            chart,
            name=chart,
            chart=chart,
            version=version,
            repository_opts=k8s.helm.v3.RepositoryOptsArgs(repo=repository),
            namespace=namespace,
            values=values,
            cleanup_on_fail=True,
            max_history=5,
            timeout=timeout,
            opts=opts,
        )
