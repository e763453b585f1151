"""What the providers of Kubernetes objects and of the remote component `eks:index:Cluster` answer."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from offline.aws_outputs import Account, Answer, digest, eks_cluster_outputs, known, oidc_issuer, physical_name
from offline.values import UNKNOWN, ResourceReference

EKS_CLUSTER = "eks:index:Cluster"
EKS_CHILD = "aws:eks/cluster:Cluster"


@dataclass(frozen=True)
class Child:
    """A resource that a remote component makes, and that the program reaches through its outputs."""

    type: str
    name: str
    answer: Answer


def kubernetes_answer(name: str, urn: str, inputs: Mapping[str, Any]) -> Answer:
    """The answer for a Kubernetes object or a Helm release.

    The provider names an object itself when the program gives neither `name` nor `generateName`; it does so
    before it asks the cluster, so a preview knows that name.
    """
    if "chart" in inputs:
        return _helm_release_answer(name, urn, inputs)
    metadata = inputs.get("metadata")
    metadata = dict(metadata) if isinstance(metadata, Mapping) else {}
    planned = {}
    if "name" not in metadata and "generateName" not in metadata:
        metadata["name"] = f"{name}-{digest(urn, 8)}"
        planned["metadata"] = metadata
    namespace, own = metadata.get("namespace"), known(metadata.get("name"), name)
    id_ = f"{namespace}/{own}" if isinstance(namespace, str) else own
    return Answer(id_, planned, {})


def _helm_release_answer(name: str, urn: str, inputs: Mapping[str, Any]) -> Answer:
    given = physical_name(name, urn, inputs)
    namespace = known(inputs.get("namespace"), "default")
    status = {
        "name": given,
        "namespace": namespace,
        "chart": inputs["chart"],
        "version": inputs.get("version"),
        "revision": 1,
        "status": "deployed",
    }
    return Answer(f"{namespace}/{given}", {"name": given}, {"status": status})


def eks_child(name: str, urn: str, inputs: Mapping[str, Any], account: Account) -> Child:
    """The `aws:eks/cluster:Cluster` inside an `eks:index:Cluster` of this URN and these inputs."""
    physical = known(inputs.get("name"), f"{name}-eksCluster-{digest(urn, 7)}")
    planned = {"name": physical}
    for key in ("version", "tags"):
        if key in inputs:
            planned[key] = inputs[key]
    created = eks_cluster_outputs(physical, urn, inputs, account)
    subnets = inputs.get("privateSubnetIds") or inputs.get("subnetIds") or []
    created["vpcConfig"] |= {
        "subnetIds": subnets,
        "endpointPrivateAccess": inputs.get("endpointPrivateAccess", False),
        "endpointPublicAccess": inputs.get("endpointPublicAccess", True),
    }
    if isinstance(inputs.get("vpcId"), str):
        created["vpcConfig"]["vpcId"] = inputs["vpcId"]
    created["roleArn"] = account.arn("iam", f"role/{name}-eksRole-role-{digest(urn, 7)}", regional=False)
    return Child(EKS_CHILD, f"{name}-eksCluster", Answer(physical, planned, created))


def eks_answer(child: Child, child_urn: str, preview: bool, urn: str, account: Account) -> Answer:
    """The outputs of the `eks:index:Cluster` component around `child`.

    The reference to the cluster is planned (its URN is known before it exists); the rest is created.
    """
    cluster = child.answer.created
    issuer = oidc_issuer(urn, account)
    config = kubeconfig(str(child.answer.id), cluster, account)
    reference = ResourceReference(child_urn, UNKNOWN if preview else child.answer.id)
    created = {
        "clusterSecurityGroupId": cluster["vpcConfig"]["clusterSecurityGroupId"],
        "nodeSecurityGroupId": f"sg-{digest(urn + '/node', 17)}",
        "clusterIngressRuleId": f"sgrule-{digest(urn + '/ingress', 17)}",
        "autoModeNodeRoleName": "",
        "defaultNodeGroupAsgName": "",
        "fargateProfileId": "",
        "fargateProfileStatus": "",
        "instanceRoles": [],
        "kubeconfig": config,
        "kubeconfigJson": json.dumps(config),
        "oidcIssuer": issuer.removeprefix("https://"),
        "oidcProviderArn": account.arn("iam", f"oidc-provider/{issuer.removeprefix('https://')}", regional=False),
        "oidcProviderUrl": issuer,
    }
    return Answer("", {"eksCluster": reference}, created)


def kubeconfig(name: str, cluster: Mapping[str, Any], account: Account) -> dict[str, Any]:
    """A kubeconfig that asks the AWS CLI for a token; it holds no credential."""
    arguments = ["--region", account.region, "eks", "get-token", "--cluster-name", name, "--output", "json"]
    command = {"apiVersion": "client.authentication.k8s.io/v1beta1", "command": "aws", "args": arguments}
    server = {
        "server": cluster["endpoint"],
        "certificate-authority-data": cluster["certificateAuthority"]["data"],
    }
    return {
        "apiVersion": "v1",
        "kind": "Config",
        "clusters": [{"name": "kubernetes", "cluster": server}],
        "contexts": [{"name": "aws", "context": {"cluster": "kubernetes", "user": "aws"}}],
        "current-context": "aws",
        "users": [{"name": "aws", "user": {"exec": command}}],
    }
