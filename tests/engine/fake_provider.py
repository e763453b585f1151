"""The AWS, EKS and Kubernetes providers without AWS or a cluster: the real engine talks to them as to the real ones.

Run as `fake_provider.py PACKAGE [engine address]`; prints its port, as every provider plugin does. The answers are
those of the credential-free preview. Three environment variables steer it:

FAKE_PROVIDER_LOG    a file that gets one JSON line for the begin and the end of each create, update and delete
FAKE_PROVIDER_FAULT  `OPERATION TYPE NAME`, or several after `;`: these operations fail
FAKE_PROVIDER_HANG   `OPERATION TYPE NAME`: that operation never ends
"""

import fcntl
import json
import os
import sys
import threading
import time
from collections.abc import Iterable, Mapping
from concurrent import futures
from importlib.metadata import version
from pathlib import Path
from typing import Any

import grpc
from google.protobuf import empty_pb2, struct_pb2
from pulumi.runtime.proto import plugin_pb2, provider_pb2, provider_pb2_grpc, resource_pb2, resource_pb2_grpc

from offline import wire
from offline.aws_outputs import DEFAULT_REGION, Account, Answer, aws_answer, eks_cluster_outputs
from offline.component_outputs import EKS_CHILD, EKS_CLUSTER, eks_answer, eks_child, kubernetes_answer
from offline.invokes import answer_invoke
from offline.values import UNKNOWN

NODE_POOL = "kubernetes:karpenter.sh/v1:NodePool"
QUIET_S = 0.4
"""A NodePool drains until nothing else has happened for so long: the engine then has nothing else that it may do."""

# Properties that cannot be changed in place, as the providers' documentation marks them ("forces replacement").
IMMUTABLE: Mapping[str, tuple[str, ...]] = {
    "aws:cloudwatch/eventRule:EventRule": ("name",),
    "aws:cloudwatch/eventTarget:EventTarget": ("rule", "targetId"),
    "aws:cloudwatch/logGroup:LogGroup": ("name",),
    "aws:ec2/flowLog:FlowLog": ("vpcId", "trafficType", "logDestination", "iamRoleArn"),
    "aws:ec2/natGateway:NatGateway": ("allocationId", "subnetId"),
    "aws:ec2/route:Route": ("routeTableId", "destinationCidrBlock"),
    "aws:ec2/routeTable:RouteTable": ("vpcId",),
    "aws:ec2/routeTableAssociation:RouteTableAssociation": ("subnetId",),
    "aws:ec2/subnet:Subnet": ("availabilityZone", "cidrBlock", "vpcId"),
    "aws:ec2/vpc:Vpc": ("cidrBlock",),
    "aws:ec2/vpcEndpoint:VpcEndpoint": ("vpcId", "serviceName", "vpcEndpointType"),
    "aws:eks/accessEntry:AccessEntry": ("clusterName", "principalArn", "type"),
    "aws:eks/accessPolicyAssociation:AccessPolicyAssociation": ("clusterName", "principalArn", "policyArn"),
    "aws:eks/addon:Addon": ("addonName", "clusterName"),
    "aws:eks/cluster:Cluster": ("name", "roleArn", "encryptionConfig", "kubernetesNetworkConfig"),
    "aws:eks/nodeGroup:NodeGroup": (
        "amiType",
        "capacityType",
        "clusterName",
        "instanceTypes",
        "nodeRoleArn",
        "subnetIds",
    ),
    "aws:eks/podIdentityAssociation:PodIdentityAssociation": ("clusterName", "namespace", "serviceAccount"),
    "aws:iam/policy:Policy": ("name", "path"),
    "aws:iam/role:Role": ("name", "path"),
    "aws:iam/rolePolicy:RolePolicy": ("role", "name"),
    "aws:iam/rolePolicyAttachment:RolePolicyAttachment": ("role", "policyArn"),
    "aws:kms/alias:Alias": ("name",),
    "aws:sqs/queue:Queue": ("name",),
    "kubernetes:apps/v1:Deployment": ("spec.selector",),
    "kubernetes:helm.sh/v3:Release": ("name", "namespace"),
}
KUBERNETES_IMMUTABLE = ("apiVersion", "kind", "metadata.name", "metadata.namespace")


class Log:
    """The file of all operations, shared by the processes of all providers."""

    def __init__(self, path: str) -> None:
        self._path = path

    def add(self, phase: str, operation: str, urn: str, **more: Any) -> None:
        type_, name = type_of(urn), urn.split("::")[3]
        line = {"phase": phase, "operation": operation, "type": type_, "name": name, "urn": urn, **more}
        with open(self._path, "a", encoding="utf-8") as file:
            fcntl.flock(file, fcntl.LOCK_EX)
            file.write(json.dumps(line) + "\n")

    def wait_until_quiet(self) -> None:
        """Returns when no line has been added for `QUIET_S`."""
        size, since = -1, time.monotonic()
        while time.monotonic() - since < QUIET_S:
            now = os.stat(self._path).st_size
            if now != size:
                size, since = now, time.monotonic()
            time.sleep(QUIET_S / 20)


def type_of(urn: str) -> str:
    return urn.split("::")[2].rpartition("$")[2]


TRUST = json.dumps(
    {
        "Version": "2012-10-17",
        "Statement": [
            {"Effect": "Allow", "Principal": {"Service": "eks.amazonaws.com"}, "Action": "sts:AssumeRole"},
        ],
    }
)


def component_of(urn: str) -> str:
    """The URN of the `eks:index:Cluster` that this cluster is a child of: the made-up answers go by it."""
    start, types, name = urn.rpartition("::")[0].rpartition("::")[0], urn.split("::")[2], urn.split("::")[3]
    return f"{start}::{types.rpartition('$')[0]}::{name.removesuffix('-eksCluster')}"


def at(data: Any, path: str) -> Any:
    for key in path.split("."):
        data = data.get(key) if isinstance(data, dict) else None
    return data


class Provider(provider_pb2_grpc.ResourceProviderServicer):
    """One provider process. Methods are those of the protocol, pulumi/provider.proto."""

    def __init__(self, package: str, log: Log) -> None:
        self.package, self.log = package, log
        self.account = Account(DEFAULT_REGION)

    def Handshake(self, _request: Any, _context: Any) -> Any:
        return provider_pb2.ProviderHandshakeResponse(accept_secrets=True)

    def GetPluginInfo(self, _request: Any, _context: Any) -> Any:
        return plugin_pb2.PluginInfo(version=version(f"pulumi-{self.package}"))

    def CheckConfig(self, request: Any, _context: Any) -> Any:
        return provider_pb2.CheckResponse(inputs=request.news)

    def DiffConfig(self, request: Any, _context: Any) -> Any:
        # A Kubernetes provider that knows which cluster it serves is replaced only when that changes.
        return self._diff(request, ("clusterIdentifier",) if self.package == "kubernetes" else ("region",))

    def Configure(self, request: Any, _context: Any) -> Any:
        settings, _ = wire.read(request.args)
        if isinstance(settings.get("region"), str):
            self.account = Account(settings["region"])
        if self.package == "kubernetes" and isinstance(settings.get("kubeconfig"), str):
            cluster = json.loads(settings["kubeconfig"])["clusters"][0]["cluster"]
            self.log.add("end", "configure", request.urn, server=cluster["server"])
        return provider_pb2.ConfigureResponse(acceptSecrets=True, supportsPreview=True)

    def Check(self, request: Any, _context: Any) -> Any:
        return provider_pb2.CheckResponse(inputs=request.news)

    def Diff(self, request: Any, _context: Any) -> Any:
        type_ = type_of(request.urn)
        immutable = IMMUTABLE.get(type_, ())
        if type_.startswith("kubernetes:") and "helm.sh" not in type_:
            immutable = (*immutable, *KUBERNETES_IMMUTABLE)
        return self._diff(request, immutable)

    def _diff(self, request: Any, immutable: Iterable[str]) -> Any:
        old, _ = wire.read(request.old_inputs)
        new, _ = wire.read(request.news)
        changed = sorted(key for key in old.keys() | new.keys() if old.get(key) != new.get(key))
        replaced = [path for path in immutable if at(old, path) != at(new, path)]
        kind = provider_pb2.DiffResponse.DIFF_SOME if changed else provider_pb2.DiffResponse.DIFF_NONE
        return provider_pb2.DiffResponse(changes=kind, diffs=changed, replaces=replaced)

    def _answer(self, urn: str, properties: struct_pb2.Struct) -> Answer:
        inputs, _ = wire.read(properties)
        name = urn.split("::")[3]
        if self.package == "kubernetes":
            return kubernetes_answer(name, urn, inputs)
        if type_of(urn) == EKS_CHILD:
            cluster = str(inputs["name"])
            return Answer(cluster, {}, eks_cluster_outputs(cluster, component_of(urn), inputs, self.account))
        return aws_answer(type_of(urn), name, urn, inputs, self.account)

    def _state(self, answer: Answer, properties: struct_pb2.Struct, *, preview: bool) -> struct_pb2.Struct:
        state = struct_pb2.Struct()
        state.CopyFrom(properties)
        created = dict.fromkeys(answer.created, UNKNOWN) if preview else answer.created
        wire.write_into(state, {**answer.planned, **created})
        return state

    def _begin(self, operation: str, urn: str, context: Any) -> None:
        self.log.add("begin", operation, urn)
        this = f"{operation} {type_of(urn)} {urn.split('::')[3]}"
        if os.environ.get("FAKE_PROVIDER_HANG") == this:
            threading.Event().wait()
        if this in os.environ.get("FAKE_PROVIDER_FAULT", "").split(";"):
            self.log.add("failed", operation, urn)
            context.abort(grpc.StatusCode.UNKNOWN, f"fake fault: {this}: AccessDenied")

    def Create(self, request: Any, context: Any) -> Any:
        answer = self._answer(request.urn, request.properties)
        state = self._state(answer, request.properties, preview=request.preview)
        if request.preview:
            return provider_pb2.CreateResponse(properties=state)
        self._begin("create", request.urn, context)
        self.log.add("end", "create", request.urn, id=answer.id)
        return provider_pb2.CreateResponse(id=str(answer.id), properties=state)

    def Read(self, request: Any, _context: Any) -> Any:
        return provider_pb2.ReadResponse(id=request.id, properties=request.properties, inputs=request.inputs)

    def Update(self, request: Any, context: Any) -> Any:
        state = self._state(self._answer(request.urn, request.news), request.news, preview=False)
        if not request.preview:
            self._begin("update", request.urn, context)
            self.log.add("end", "update", request.urn, id=request.id)
        return provider_pb2.UpdateResponse(properties=state)

    def Delete(self, request: Any, context: Any) -> Any:
        self._begin("delete", request.urn, context)
        if type_of(request.urn) == NODE_POOL:
            self.log.wait_until_quiet()
        self.log.add("end", "delete", request.urn, id=request.id)
        return empty_pb2.Empty()

    def Invoke(self, request: Any, context: Any) -> Any:
        arguments, _ = wire.read(request.args)
        try:
            answer = answer_invoke(request.tok, arguments, self.account)
        except LookupError as error:
            context.abort(grpc.StatusCode.NOT_FOUND, str(error))
        return provider_pb2.InvokeResponse(**{"return": wire.write(answer)})

    def Construct(self, request: Any, context: Any) -> Any:
        if request.type != EKS_CLUSTER:
            context.abort(grpc.StatusCode.UNIMPLEMENTED, f"no component {request.type}")
        region = request.config.get("aws:region")
        with grpc.insecure_channel(request.monitorEndpoint) as channel:
            return EksCluster(request, Account(region), resource_pb2_grpc.ResourceMonitorStub(channel)).construct()

    def Cancel(self, _request: Any, _context: Any) -> Any:
        return empty_pb2.Empty()


class EksCluster:
    """The component `eks:index:Cluster`: a role, the cluster, and its two add-ons, in that order."""

    def __init__(self, request: Any, account: Account, monitor: Any) -> None:
        self.request, self.account, self.monitor = request, account, monitor
        self.inputs, _ = wire.read(request.inputs)
        self.from_inputs = sorted({urn for keys in request.inputDependencies.values() for urn in keys.urns})

    def construct(self) -> Any:
        name = self.request.name
        component = self._component()
        child = eks_child(name, component, self.inputs, self.account)
        role = self._child(component, "aws:iam/role:Role", f"{name}-eksRole-role", {"assumeRolePolicy": TRUST}, [])
        policy = "arn:aws:iam::aws:policy/AmazonEKSClusterPolicy"
        attached = self._child(
            component,
            "aws:iam/rolePolicyAttachment:RolePolicyAttachment",
            f"{name}-eksRole-4b490823",
            {"role": role.object["name"], "policyArn": policy},
            [role.urn],
        )
        inputs = {**child.answer.planned, **self._cluster_inputs(role)}
        cluster = self._child(component, EKS_CHILD, child.name, inputs, [role.urn, attached.urn, *self.from_inputs])
        for addon in ("kube-proxy", "vpc-cni"):
            inputs = {"addonName": addon, "clusterName": child.answer.id}
            self._child(component, "aws:eks/addon:Addon", f"{name}-{addon}", inputs, [cluster.urn])
        # A preview of a cluster that exists knows all of it.
        outputs = self._outputs(child, cluster.urn, component, preview=not cluster.id)
        self.monitor.RegisterResourceOutputs(
            resource_pb2.RegisterResourceOutputsRequest(urn=component, outputs=outputs)
        )
        dependencies = provider_pb2.ConstructResponse.PropertyDependencies(urns=[cluster.urn])
        return provider_pb2.ConstructResponse(
            urn=component, state=outputs, stateDependencies=dict.fromkeys(outputs.fields, dependencies)
        )

    def _component(self) -> str:
        request = self.request
        response = self.monitor.RegisterResource(
            resource_pb2.RegisterResourceRequest(
                type=request.type,
                name=request.name,
                parent=request.parent,
                object=request.inputs,
                protect=request.protect,
                dependencies=request.dependencies,
                acceptSecrets=True,
                acceptResources=True,
                supportsPartialValues=True,
            )
        )
        return str(response.urn)

    def _cluster_inputs(self, role: Any) -> dict[str, Any]:
        keys = ("deletionProtection", "enabledClusterLogTypes", "upgradePolicy")
        return {
            "roleArn": role.object["arn"],
            "vpcConfig": {
                "subnetIds": self.inputs.get("privateSubnetIds"),
                "endpointPrivateAccess": self.inputs.get("endpointPrivateAccess"),
                "endpointPublicAccess": self.inputs.get("endpointPublicAccess"),
                "publicAccessCidrs": self.inputs.get("publicAccessCidrs"),
            },
            "accessConfig": {"authenticationMode": self.inputs.get("authenticationMode")},
            "encryptionConfig": {
                "provider": {"keyArn": self.inputs.get("encryptionConfigKeyArn")},
                "resources": ["secrets"],
            },
            "kubernetesNetworkConfig": {"serviceIpv4Cidr": self.inputs.get("kubernetesServiceIpAddressRange")},
            **{key: self.inputs[key] for key in keys if key in self.inputs},
        }

    def _child(self, parent: str, type_: str, name: str, inputs: dict[str, Any], dependencies: list[str]) -> Any:
        return self.monitor.RegisterResource(
            resource_pb2.RegisterResourceRequest(
                type=type_,
                name=name,
                parent=parent,
                custom=True,
                object=wire.write(inputs),
                # The SDK in which the real component is written hands this down to children.
                protect=self.request.protect,
                dependencies=dependencies,
                acceptSecrets=True,
                acceptResources=True,
                supportsPartialValues=True,
            )
        )

    def _outputs(self, child: Any, child_urn: str, component: str, *, preview: bool) -> struct_pb2.Struct:
        answer = eks_answer(child, child_urn, preview, component, self.account)
        created = dict.fromkeys(answer.created, UNKNOWN) if preview else answer.created
        return wire.write({**answer.planned, **created})


def end_with_parent() -> None:
    """Ends this process when the engine that started it is gone, however it went."""
    parent = os.getppid()
    while os.getppid() == parent:
        time.sleep(0.2)
    os._exit(0)


def main() -> None:
    log = Path(os.environ["FAKE_PROVIDER_LOG"])
    log.touch()
    server = grpc.server(futures.ThreadPoolExecutor(max_workers=64))
    provider_pb2_grpc.add_ResourceProviderServicer_to_server(Provider(sys.argv[1], Log(str(log))), server)
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    print(port, flush=True)
    end_with_parent()


if __name__ == "__main__":
    main()
