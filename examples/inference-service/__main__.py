"""An inference service on GPU slices: read the platform's outputs, choose a slice, deploy, say what it costs."""

from collections.abc import Mapping
from typing import Any

import pulumi
import pulumi_kubernetes as k8s
from contract import ContractError, Slice, Wanted, choose, slices
from workload import Service, deployment_spec, disruption_budget_spec, service_spec

IMAGE = "nvcr.io/nvidia/tritonserver:25.03-py3"

config = pulumi.Config()
stack = config.require("platformStack")
replicas = config.get_int("replicas", 2)
service = Service(
    name=config.get("name", "inference"),
    namespace=config.require("namespace"),
    replicas=replicas,
    image=config.get("image", IMAGE),
    model_repository=config.get("modelRepository", ""),
)
try:
    wanted = Wanted(replicas, config.get_int("memoryMiB", 1), config.get("isolation", "none"), config.get("pool", ""))
except ContractError as error:
    raise pulumi.RunError(str(error)) from None


def chosen(outputs: Mapping[str, Any]) -> Slice:
    try:
        return choose(slices(stack, outputs), wanted)
    except ContractError as error:
        raise pulumi.RunError(str(error)) from None


platform = pulumi.StackReference(stack)
# Only what is not secret: a value made from the kubeconfig too would be a secret itself.
public = {name: platform.get_output(name) for name in ("contractVersion", "gpuPools")}
offer = pulumi.Output.all(**public).apply(chosen)

provider = k8s.Provider(
    "platform",
    kubeconfig=platform.get_output("kubeconfig"),
    cluster_identifier=platform.get_output("clusterName"),
    enable_server_side_apply=True,
)
options = pulumi.ResourceOptions(provider=provider)

deployment = k8s.apps.v1.Deployment(
    service.name,
    metadata=service.metadata,
    spec=offer.apply(lambda found: deployment_spec(service, found)),
    opts=options,
)
k8s.core.v1.Service(service.name, metadata=service.metadata, spec=service_spec(service), opts=options)
k8s.policy.v1.PodDisruptionBudget(
    service.name, metadata=service.metadata, spec=disruption_budget_spec(service), opts=options
)

pulumi.export("pool", offer.apply(lambda found: found.pool))
pulumi.export("sliceResource", offer.apply(lambda found: found.resource))
pulumi.export("memoryMiB", offer.apply(lambda found: found.memory_mib))
pulumi.export("usdPerMonth", offer.apply(lambda found: found.usd_per_month(replicas)))
pulumi.export("url", service.url)
