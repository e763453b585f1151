"""Shared GPUs on EKS: settings, then components in the order of their dependencies, then what other stacks read."""

import pulumi

from components.config import refuse_engine, stack_settings
from components.gpu_operator import GpuOperator, GpuOperatorArgs
from components.gpu_pool import GpuPool, GpuPoolArgs
from components.karpenter import Karpenter, KarpenterArgs
from components.kubernetes_cluster import kubernetes_provider
from components.stack_cluster import stack_cluster
from components.tenancy import Admission, AdmissionArgs, Tenancy, TenancyArgs
from components.verification import Verification, VerificationArgs
from gpuslice.catalog.prices import stack_prices
from gpuslice.kubeconfig import KubeconfigError
from gpuslice.pools import Pool
from gpuslice.problems import SettingsError

CONTRACT_VERSION = 1


def main() -> None:
    settings = stack_settings()
    refuse_engine(settings)
    pools = [Pool.of(pool) for pool in settings.pools]

    cluster = stack_cluster(settings)
    provider = kubernetes_provider("cluster", cluster)
    in_cluster = pulumi.ResourceOptions(providers=[provider], depends_on=cluster.ready)

    karpenter = Karpenter("karpenter", KarpenterArgs.of(settings, cluster.endpoint), in_cluster)
    operator = GpuOperator("gpu-operator", GpuOperatorArgs.of(settings, pools), in_cluster)

    needs = [*cluster.ready, *karpenter.ready, *operator.ready]
    after_platform = pulumi.ResourceOptions(providers=[provider], depends_on=needs)
    gpu_pools = [GpuPool(pool.name, GpuPoolArgs.of(pool, settings), after_platform) for pool in pools]

    rules: list[pulumi.Resource] = []
    if settings.admission.enabled:
        rules = Admission("admission", AdmissionArgs.of(settings, pools), in_cluster).ready
    after_rules = pulumi.ResourceOptions(providers=[provider], depends_on=[*cluster.ready, *rules])
    for tenant in settings.tenants:
        Tenancy(tenant.namespace, TenancyArgs.of(tenant, settings, pools), after_rules)
    if settings.verification is not None:
        after_pools = pulumi.ResourceOptions(providers=[provider], depends_on=[p.node_pool for p in gpu_pools])
        Verification("verification", VerificationArgs.of(settings), after_pools)

    pulumi.export("contractVersion", CONTRACT_VERSION)
    pulumi.export("clusterName", cluster.name)
    pulumi.export("region", settings.region)
    pulumi.export("kubeconfig", pulumi.Output.secret(cluster.kubeconfig))
    prices = stack_prices(settings.region)
    pulumi.export("gpuPools", {pool.name: pool.output(prices) for pool in pools})


try:
    main()
except (SettingsError, KubeconfigError) as error:
    # Only the message: it says where and what, and a traceback would bury it.
    raise pulumi.RunError(f"the settings of this stack were refused:\n{error}") from None
