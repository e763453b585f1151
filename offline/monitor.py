"""A resource monitor for the Pulumi SDK that stands in for the engine and its providers.

It differs from the SDK's `MockMonitor` where that one differs from the engine: URNs carry the whole parent
chain, a URN may be registered once only, resources may be passed as inputs, resource methods can be called,
reads answer with an id, and every request is kept whole. It never deserializes with the SDK, so that it
needs no event loop on the threads that it is called on.
"""

import threading
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from google.protobuf import empty_pb2, struct_pb2
from pulumi import RunError
from pulumi.runtime import mocks
from pulumi.runtime.proto import engine_pb2, provider_pb2, resource_pb2

from offline import wire
from offline.aws_outputs import DEFAULT_REGION, Account, Answer, aws_answer, digest
from offline.component_outputs import EKS_CLUSTER, eks_answer, eks_child, kubernetes_answer
from offline.invokes import answer_invoke
from offline.values import UNKNOWN, Secret, Unknown

STACK = "pulumi:pulumi:Stack"
_SEVERITIES = {
    engine_pb2.DEBUG: "debug",
    engine_pb2.INFO: "info",
    engine_pb2.WARNING: "warning",
    engine_pb2.ERROR: "error",
}
STACK_REFERENCE = "pulumi:pulumi:StackReference"


@dataclass(frozen=True)
class Registration:
    """One registered or read resource: the request as the SDK sent it, and the answer it got.

    `outputs` holds what is known, without the inputs that are echoed.
    """

    urn: str
    request: Any
    inputs: dict[str, Any]
    secret_paths: frozenset[str]
    id: str | Unknown
    outputs: dict[str, Any]
    read: bool = False


class _Unused(mocks.Mocks):
    """`MockMonitor` wants an object of this class; every method that would call it is replaced."""

    def call(self, args: mocks.MockCallArgs) -> Any:
        raise NotImplementedError(args.token)

    def new_resource(self, args: mocks.MockResourceArgs) -> Any:
        raise NotImplementedError(args.typ)


class Monitor(mocks.MockMonitor):
    """Answers a program's registrations, reads, function and method calls, and keeps what it saw.

    `region` is the region of the default AWS provider. In a preview, what a cloud knows only after creation
    is left out of the answers, which the SDK reads as unknown.
    """

    def __init__(
        self,
        project: str,
        stack: str,
        *,
        preview: bool,
        region: str = DEFAULT_REGION,
        stack_references: Mapping[str, Mapping[str, Any]] | None = None,
    ) -> None:
        super().__init__(_Unused())
        self.project, self.stack, self.preview = project, stack, preview
        self.region = region
        self.stack_references = stack_references or {}
        self.registrations: dict[str, Registration] = {}
        self.children: dict[str, tuple[str, Answer]] = {}  # of remote components: URN -> (component, answer)
        self.component_outputs: dict[str, struct_pb2.Struct] = {}
        self.stack_outputs = struct_pb2.Struct()
        self._claimed: set[str] = set()
        self._claims_lock = threading.Lock()

    def make_urn(self, parent: str, type_: str, name: str) -> str:
        """The engine's URN: the types of all ancestors, without the stack itself.

        Source: sdk/go/common/resource/urn/urn.go of pulumi/pulumi.
        """
        chain = parent.split("::")[2] if parent else STACK
        qualified = type_ if chain == STACK else f"{chain}${type_}"
        return f"urn:pulumi:{self.stack}::{self.project}::{qualified}::{name}"

    def account(self, provider: str, inputs: Mapping[str, Any]) -> Account:
        """The account that a request goes to: its own region, its provider's, or the default."""
        registered = self.registrations.get(provider_urn(provider) or "")
        of_provider = registered.inputs.get("region") if registered else None
        for region in (inputs.get("region"), of_provider):
            if isinstance(region, str):
                return Account(region)
        return Account(self.region)

    def RegisterResource(self, request: Any) -> Any:
        urn = self.make_urn(request.parent, request.type, request.name)
        if request.type == STACK:
            return resource_pb2.RegisterResourceResponse(urn=urn)
        self._claim(urn)
        inputs, secret_paths = wire.read(request.object)
        answer = self._answer(request, urn, inputs)
        id_, outputs = self._visible(answer)
        self.registrations[urn] = Registration(urn, request, inputs, secret_paths, id_, outputs)
        state = struct_pb2.Struct()
        if not request.remote:  # a remote component returns its outputs only
            state.CopyFrom(request.object)
            wire.dereference(state)
        wire.write_into(state, _with_secrets(outputs, inputs, request.additionalSecretOutputs))
        return resource_pb2.RegisterResourceResponse(
            urn=urn,
            id="" if id_ is UNKNOWN else id_,
            object=state,
            # Outputs that this answer lacks then reach the program as unknown, never as a silent None.
            unknown=request.custom,
        )

    def _claim(self, urn: str) -> None:
        with self._claims_lock:  # the SDK registers from a pool of threads
            if urn in self._claimed:
                raise RunError(f"two resources have the URN {urn}: give one of them another name")
            self._claimed.add(urn)

    def _visible(self, answer: Answer) -> tuple[str | Unknown, dict[str, Any]]:
        """The id and outputs that the program may see now."""
        if self.preview:
            return (UNKNOWN if answer.id else ""), dict(answer.planned)
        return answer.id, {**answer.planned, **answer.created}

    def _answer(self, request: Any, urn: str, inputs: Mapping[str, Any]) -> Answer:
        if request.type == EKS_CLUSTER:
            return self._eks(request, urn, inputs)
        if not request.custom:
            return Answer("", {}, {"resources": []} if request.remote else {})
        if request.type.startswith("aws:"):
            return aws_answer(request.type, request.name, urn, inputs, self.account(request.provider, inputs))
        if request.type.startswith("kubernetes:"):
            return kubernetes_answer(request.name, urn, inputs)
        return Answer(f"{request.name}-{digest(urn, 7)}")

    def _eks(self, request: Any, urn: str, inputs: Mapping[str, Any]) -> Answer:
        provider = request.provider or request.providers.get("aws", "")
        account = self.account(provider, inputs)
        child = eks_child(request.name, urn, inputs, account)
        child_urn = self.make_urn(urn, child.type, child.name)
        self.children[child_urn] = (urn, child.answer)
        return eks_answer(child, child_urn, self.preview, urn, account)

    def ReadResource(self, request: Any) -> Any:
        urn = self.make_urn(request.parent, request.type, request.name)
        self._claim(urn)
        inputs, secret_paths = wire.read(request.properties)
        known_id = request.id != wire.UNKNOWN_TEXT
        if request.type == STACK_REFERENCE:
            outputs = self._stack_reference(request.id)
        elif known_id and request.type.startswith("aws:"):
            outputs = self._existing(request, inputs)
        else:
            outputs = {}
        id_ = request.id if known_id else UNKNOWN
        self.registrations[urn] = Registration(urn, request, inputs, secret_paths, id_, outputs, read=True)
        state = struct_pb2.Struct()
        state.CopyFrom(request.properties)
        wire.dereference(state)
        wire.write_into(state, outputs)
        return resource_pb2.ReadResourceResponse(
            urn=urn, id=request.id if known_id else "", properties=state, unknown=True
        )

    def _existing(self, request: Any, inputs: Mapping[str, Any]) -> dict[str, Any]:
        """What can be said of a resource that exists already under `request.id`: its ARN and name."""
        account = self.account(request.provider, inputs)
        named = aws_answer(request.type, request.name, request.id, {"name": request.id, **inputs}, account)
        arn = str(named.created["arn"])
        return {"name": request.id, "arn": arn.replace(str(named.id), request.id)}

    def _stack_reference(self, name: str) -> dict[str, Any]:
        outputs = self.stack_references.get(name)
        if outputs is None:
            given = ", ".join(sorted(self.stack_references)) or "none"
            raise RunError(f"the program refers to the stack {name}, of which no outputs are at hand (given: {given})")
        secret = sorted(key for key, value in outputs.items() if isinstance(value, Secret))
        return {"name": name, "outputs": dict(outputs), "secretOutputNames": secret}

    def Invoke(self, request: Any) -> Any:
        arguments, _ = wire.read(request.args)
        if request.tok == "pulumi:pulumi:getResource":
            result = self._get_resource(arguments["urn"])
        else:
            result = self._invoke(request, arguments)
        return resource_pb2.ResourceInvokeResponse(**{"return": result})

    def _invoke(self, request: Any, arguments: Mapping[str, Any]) -> struct_pb2.Struct:
        try:
            answer = answer_invoke(request.tok, arguments, self.account(request.provider, arguments))
        except LookupError as error:
            raise RunError(str(error)) from None
        return wire.write(answer)

    def _get_resource(self, urn: str) -> struct_pb2.Struct:
        """The state of a resource that the SDK met as a reference."""
        if urn in self.children:
            id_, state = self._visible(self.children[urn][1])
        elif urn in self.registrations:
            registration = self.registrations[urn]
            id_, state = registration.id, {**registration.inputs, **registration.outputs}
        else:
            raise RunError(f"the program refers to the resource {urn}, which is not registered")
        return wire.write({"urn": urn, "id": "" if id_ is UNKNOWN else id_, "state": state})

    def Call(self, request: Any) -> Any:
        """Resource methods; `MockMonitor` has none. Only `eks.Cluster.get_kubeconfig` is known."""
        if request.tok != "eks:index:Cluster/getKubeconfig":
            raise RunError(f"the program calls {request.tok}, which needs a provider")
        arguments, _ = wire.read(request.args)
        cluster = self.registrations.get(self._component_of(request.args, arguments))
        config: Any = cluster.outputs.get("kubeconfigJson", UNKNOWN) if cluster else UNKNOWN
        return provider_pb2.CallResponse(**{"return": wire.write({"result": config})})

    def _component_of(self, args: struct_pb2.Struct, arguments: Mapping[str, Any]) -> str:
        reference = args.fields["__self__"].struct_value.fields
        return str(reference["urn"].string_value if "urn" in reference else arguments["__self__"])

    def RegisterResourceOutputs(self, request: Any) -> Any:
        if request.urn == self.make_urn("", STACK, f"{self.project}-{self.stack}"):
            self.stack_outputs = request.outputs
        else:
            self.component_outputs[request.urn] = request.outputs
        return empty_pb2.Empty()


class Engine:
    """The part of the engine service that programs use: messages are kept as (severity, text)."""

    def __init__(self) -> None:
        self.messages: list[tuple[str, str]] = []

    def Log(self, request: Any) -> Any:
        severity = _SEVERITIES[request.severity]
        if severity != "debug":  # the SDK logs each of its own steps at this level
            self.messages.append((severity, request.message))
        return empty_pb2.Empty()

    def RequirePulumiVersion(self, _request: Any) -> Any:
        """There is no CLI here whose version could be wrong."""
        return empty_pb2.Empty()


def provider_urn(reference: str) -> str | None:
    """The URN in a provider reference `<urn>::<id>`, or None for the default provider."""
    return reference.rpartition("::")[0] or None


def _with_secrets(outputs: Mapping[str, Any], inputs: Mapping[str, Any], names: Any) -> dict[str, Any]:
    """`outputs` with those that the program asked to keep secret marked so, whether known yet or not."""
    marked = dict(outputs)
    for name in names:
        marked[name] = Secret(marked.get(name, inputs.get(name, UNKNOWN)))
    return marked
