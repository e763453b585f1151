"""The pack as the engine talks to it: an analyzer of Pulumi's gRPC protocol.

The SDK's own server reads a resource anew for each of its policies, about 165 microseconds each time, which with this
many rules would be seconds for a stack. Here it is read once, and only the rules that want its kind run. A rule that
needs a value which is not known yet loses that one judgement and not the whole rule, and a wrong configuration is an
error, where the SDK keeps it.
"""

from __future__ import annotations

import sys
import threading
from collections.abc import Iterable, Mapping
from concurrent import futures
from contextlib import suppress
from dataclasses import replace
from typing import Any

import grpc
from google.protobuf import empty_pb2
from pulumi.runtime.proto import analyzer_pb2, analyzer_pb2_grpc, plugin_pb2

from policies.config import ALL, LEVEL_KEY, ConfigError
from policies.judge import Judge, Verdict
from policies.model import Option, Options, Resource, Rule
from policies.wire import plain

PACK = "gpu-slicing"
VERSION = "0.1.0"
_LEVELS = {
    "advisory": analyzer_pb2.ADVISORY,
    "mandatory": analyzer_pb2.MANDATORY,
    "disabled": analyzer_pb2.DISABLED,
}
_NAMES = {number: name for name, number in _LEVELS.items()} | {analyzer_pb2.REMEDIATE: "mandatory"}
_MESSAGE_LIMIT = 400 * 1024 * 1024


class Analyzer(analyzer_pb2_grpc.AnalyzerServicer):
    """Answers the engine with the verdicts of the rules."""

    def __init__(self, rules: Iterable[Rule]) -> None:
        self._rules = tuple(rules)
        self._judge = Judge(self._rules)
        self._inputs: dict[str, Mapping[str, Any]] = {}
        self.cancelled = threading.Event()

    def Handshake(self, request: Any, context: Any) -> Any:
        return analyzer_pb2.AnalyzerHandshakeResponse()

    def GetPluginInfo(self, request: Any, context: Any) -> Any:
        return plugin_pb2.PluginInfo(version=VERSION)

    def GetAnalyzerInfo(self, request: Any, context: Any) -> Any:
        # The engine cannot ask the rules on changes: it never says what a resource was.
        policies = [_info(rule) for rule in self._rules if rule.scope != "change"]
        return analyzer_pb2.AnalyzerInfo(name=PACK, version=VERSION, supportsConfig=True, policies=policies)

    def Configure(self, request: Any, context: Any) -> Any:
        """Levels and options; the defaults of what is not given are filled in, whoever calls.

        The engine has applied `all` to each rule already, and hands it over as if it were one.
        """
        given = {name: _config(entry) for name, entry in request.policyConfig.items() if name != ALL}
        try:
            self._judge = Judge(self._rules, given)
            self._inputs = {}  # what follows is another program
        except ConfigError as error:
            context.abort(grpc.StatusCode.INVALID_ARGUMENT, f"the configuration of the policy pack {PACK}:\n{error}")
        return empty_pb2.Empty()

    def ConfigureStack(self, request: Any, context: Any) -> Any:
        return analyzer_pb2.AnalyzerStackConfigureResponse()

    def Analyze(self, request: Any, context: Any) -> Any:
        resource = _resource(request)
        self._inputs[resource.urn] = resource.properties
        return _response(self._judge.resource(resource))

    def AnalyzeStack(self, request: Any, context: Any) -> Any:
        """The engine sends outputs here, which a provider may leave empty in a preview: the inputs come before them."""
        resources = [_resource(resource) for resource in request.resources]
        whole = [replace(r, properties={**r.properties, **self._inputs.get(r.urn, {})}) for r in resources]
        return _response(self._judge.stack(whole))

    def Remediate(self, request: Any, context: Any) -> Any:
        """No rule changes a resource: a program that says something else than it does cannot be reviewed."""
        return analyzer_pb2.RemediateResponse()

    def Cancel(self, request: Any, context: Any) -> Any:
        self.cancelled.set()
        return empty_pb2.Empty()


def serve(rules: Iterable[Rule]) -> None:
    """Listens on a free port of 127.0.0.1, prints it, and answers until cancelled or ended."""
    size = [(f"grpc.max_{way}_message_length", _MESSAGE_LIMIT) for way in ("send", "receive")]
    server = grpc.server(futures.ThreadPoolExecutor(max_workers=4), options=size)
    analyzer = Analyzer(rules)
    analyzer_pb2_grpc.add_AnalyzerServicer_to_server(analyzer, server)
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    sys.stdout.buffer.write(f"{port}\n".encode())
    sys.stdout.flush()
    with suppress(KeyboardInterrupt):
        analyzer.cancelled.wait()
    server.stop(0)


def _config(entry: Any) -> Mapping[str, Any]:
    properties = plain(entry.properties)
    return {LEVEL_KEY: _NAMES.get(entry.enforcementLevel, entry.enforcementLevel), **properties}


def _resource(message: Any) -> Resource:
    """A resource of either request; the one for a single resource has no dependencies."""
    given = message.options
    options = Options(given.protect, getattr(given.customTimeouts, "delete", 0.0))
    whole = message.DESCRIPTOR.name == "AnalyzerResource"
    return Resource(
        message.type,
        message.name,
        plain(message.properties),
        message.urn,
        options,
        message.provider.name,
        message.parent if whole else "",
        tuple(message.dependencies) if whole else (),
        {key: tuple(value.urns) for key, value in message.propertyDependencies.items()} if whole else {},
    )


def _response(verdicts: Iterable[Verdict]) -> Any:
    return analyzer_pb2.AnalyzeResponse(diagnostics=[_diagnostic(verdict) for verdict in verdicts])


def _diagnostic(verdict: Verdict) -> Any:
    rule = verdict.rule
    remedy = "" if verdict.unknown else f"\n{rule.remedy}"
    return analyzer_pb2.AnalyzeDiagnostic(
        policyName=rule.id,
        policyPackName=PACK,
        policyPackVersion=VERSION,
        description=rule.description,
        message=f"{rule.description}\n{_one_line(str(verdict))}{remedy}",
        enforcementLevel=_LEVELS[verdict.level],
        urn=verdict.urn,
        severity=_severity(rule),
    )


def _one_line(text: str) -> str:
    return " ".join(text.splitlines())


def _severity(rule: Rule) -> Any:
    return analyzer_pb2.PolicySeverity.Value(f"POLICY_SEVERITY_{rule.severity.upper()}")


def _info(rule: Rule) -> Any:
    scope = "POLICY_TYPE_RESOURCE" if rule.scope == "resource" else "POLICY_TYPE_STACK"
    info = analyzer_pb2.PolicyInfo(
        name=rule.id,
        description=rule.description,
        enforcementLevel=_LEVELS[rule.level],
        policy_type=analyzer_pb2.PolicyType.Value(scope),
        severity=_severity(rule),
        remediation_steps=rule.remedy,
        url=rule.url,
        tags=[rule.domain],
    )
    if rule.options:
        info.configSchema.properties.update({name: schema(option) for name, option in rule.options.items()})
    return info


def schema(option: Option) -> dict[str, Any]:
    """The option as JSON schema, with which the engine checks a configuration and fills in what it lacks."""
    whole = {"type": "integer", "minimum": option.minimum, "maximum": option.maximum}
    form: dict[str, Any] = {"description": option.description, "default": option.default}
    if option.type == "integer":
        return form | whole
    if option.type == "list":
        return form | {"type": "array", "items": {"type": "string", "minLength": 1}, "default": list(option.default)}
    names = dict.fromkeys(option.default, whole)
    return form | {"type": "object", "properties": names, "additionalProperties": False}
