"""Judges a recording with the policy pack, started and asked as the engine does it: a child process and gRPC."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import IO, Any

import grpc
from google.protobuf import empty_pb2
from pulumi.runtime.proto import analyzer_pb2, analyzer_pb2_grpc

from gpuslice.fields import seconds
from offline import wire
from offline.recording import Recording, Resource
from offline.values import Secret, property_path
from policies.report import Report, Violation

START_TIMEOUT_S = 60.0
_LEVELS = {analyzer_pb2.ADVISORY: "advisory", analyzer_pb2.MANDATORY: "mandatory"}
_MESSAGE_LIMIT = 400 * 1024 * 1024


class PolicyPackFailed(Exception):
    """The pack did not start or refused its configuration; the text says why."""


class PolicyRefused(Exception):
    """A mandatory policy is violated, so nothing is deployed; the text says which and where."""


class PolicyConfigRefused(Exception):
    """The pack's configuration is wrong; the text has a line for each problem."""


def judge(recording: Recording, folder: Path, config: Path | None = None) -> Report:
    """Every verdict of the pack in `folder` on the recording; `config` as for `pulumi --policy-pack-config`.

    Raises PolicyPackFailed, or PolicyConfigRefused for a configuration that is no use.
    """
    with running(folder) as stub:
        return ask(stub, recording, config)


def ask(stub: Any, recording: Recording, config: Path | None = None) -> Report:
    """As `judge`, of a pack that runs."""
    given = read_config(config) if config else {}
    resources = [resource for resource in recording.resources if not resource.read]
    messages = [analyzer_resource(resource) for resource in resources]
    info = stub.GetAnalyzerInfo(empty_pb2.Empty())
    configure(stub, info, given)
    found = [d for message in messages for d in stub.Analyze(_request(message)).diagnostics]
    found += stub.AnalyzeStack(analyzer_pb2.AnalyzeStackRequest(resources=messages)).diagnostics
    return Report(len(info.policies), len(messages), tuple(_violation(d) for d in found))


def read_config(path: Path) -> dict[str, Any]:
    """The configuration file. Raises PolicyConfigRefused where it is no JSON object."""
    try:
        data = json.loads(path.read_text(encoding="utf-8"))
    except (ValueError, UnicodeDecodeError) as error:
        raise PolicyConfigRefused(f"{path}: not JSON: {error}") from None
    if not isinstance(data, dict):
        raise PolicyConfigRefused(f"{path}: {str(data)[:80]} is not an object of policy names")
    return data


@contextmanager
def starting(folder: Path) -> Iterator[Callable[[], Any]]:
    """The pack, started as the engine starts it, and ended when the block ends.

    What it gives waits until the pack listens, and returns a stub of its analyzer: the second that a start takes can
    be used for something else.
    """
    environment = {k: v for k, v in os.environ.items() if not k.startswith("PULUMI_")}
    command = [sys.executable, "-u", "-m", "pulumi.policy", "127.0.0.1:0", str(folder)]
    with tempfile.TemporaryFile() as errors, ExitStack() as opened:
        child = subprocess.Popen(
            command, cwd=folder, env=environment, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=errors
        )

        def connect() -> Any:
            size = [(f"grpc.max_{way}_message_length", _MESSAGE_LIMIT) for way in ("send", "receive")]
            channel = grpc.insecure_channel(f"127.0.0.1:{_port(child, errors)}", options=size)
            return analyzer_pb2_grpc.AnalyzerStub(opened.enter_context(channel))

        try:
            yield connect
        finally:
            child.terminate()
            child.communicate()


@contextmanager
def running(folder: Path) -> Iterator[Any]:
    """The pack once it listens; a stub of its analyzer."""
    with starting(folder) as connect:
        yield connect()


def _port(child: subprocess.Popen[bytes], errors: IO[bytes]) -> int:
    """The port that the pack prints as its first line."""
    assert child.stdout is not None
    timer = threading.Timer(START_TIMEOUT_S, child.kill)
    timer.start()
    line = child.stdout.readline()
    timer.cancel()
    if line.strip().isdigit():
        return int(line)
    child.wait()
    errors.seek(0)
    said = errors.read().decode(errors="replace").strip()
    raise PolicyPackFailed(f"the policy pack did not start: {said[-2000:] or 'it said nothing'}")


def configure(stub: Any, info: Any, given: Mapping[str, Any]) -> None:
    """Hands the pack its configuration. What the file does not name keeps the pack's own level and defaults."""
    levels = {policy.name: policy.enforcementLevel for policy in info.policies}
    config = {name: _policy_config(name, entry, levels) for name, entry in given.items() if name != "all"}
    if "all" in given:
        everywhere = {name: _policy_config(name, given["all"], levels) for name in levels}
        config = everywhere | config
    try:
        stub.Configure(analyzer_pb2.ConfigureAnalyzerRequest(policyConfig=config))
    except grpc.RpcError as error:
        raise PolicyConfigRefused(error.details()) from None


def _policy_config(name: str, entry: Any, levels: Mapping[str, Any]) -> Any:
    properties = dict(entry) if isinstance(entry, Mapping) else {"enforcementLevel": entry}
    level = properties.pop("enforcementLevel", None)
    known = {"advisory": analyzer_pb2.ADVISORY, "mandatory": analyzer_pb2.MANDATORY, "disabled": analyzer_pb2.DISABLED}
    if level is not None and level not in known:
        raise PolicyConfigRefused(f"{name}.enforcementLevel: {level!r} is no level. Allowed: {', '.join(known)}")
    message = analyzer_pb2.PolicyConfig(
        enforcementLevel=known[level] if level else levels.get(name, analyzer_pb2.ADVISORY)
    )
    message.properties.update(properties)
    return message


def analyzer_resource(resource: Resource) -> Any:
    """A recorded resource as the engine sends it to an analyzer, secrets marked, unknown values as their marks."""
    dependencies = resource.property_dependencies.items()
    return analyzer_pb2.AnalyzerResource(
        type=resource.type,
        urn=resource.urn,
        name=resource.name,
        properties=wire.write(_secrets_marked(resource)),
        options=_options(resource),
        provider=_provider(resource),
        parent=resource.parent or "",
        dependencies=sorted(resource.dependencies),
        propertyDependencies={
            key: analyzer_pb2.AnalyzerPropertyDependencies(urns=sorted(urns)) for key, urns in dependencies
        },
    )


def _request(message: Any) -> Any:
    names = ("type", "properties", "urn", "name", "options", "provider")
    return analyzer_pb2.AnalyzeRequest(**{name: getattr(message, name) for name in names})


def _options(resource: Resource) -> Any:
    timeouts = {name: seconds(text) for name, text in resource.custom_timeouts.items()}
    return analyzer_pb2.AnalyzerResourceOptions(
        protect=resource.protect,
        ignoreChanges=resource.ignore_changes,
        aliases=resource.aliases,
        parent=resource.parent or "",
        customTimeouts=analyzer_pb2.AnalyzerResourceOptions.CustomTimeouts(**timeouts),
    )


def _provider(resource: Resource) -> Any:
    """The provider's name; the engine makes the default one itself and calls it `default_<version>`."""
    if resource.provider is None:
        return analyzer_pb2.AnalyzerProviderResource(name="default") if resource.custom else None
    type_, name = resource.provider.split("::")[2:4]
    return analyzer_pb2.AnalyzerProviderResource(type=type_, urn=resource.provider, name=name)


def _secrets_marked(resource: Resource) -> dict[str, Any]:
    def mark(value: Any, path: str) -> Any:
        if path in resource.secret_paths:
            return Secret(value)
        if isinstance(value, Mapping):
            return {key: mark(item, property_path(path, key)) for key, item in value.items()}
        if isinstance(value, list):
            return [mark(item, property_path(path, index)) for index, item in enumerate(value)]
        return value

    return {key: mark(value, property_path("", key)) for key, value in resource.inputs.items()}


def _violation(diagnostic: Any) -> Violation:
    """The message's lines are the policy's description, what was found, and what to do."""
    _, found, *remedy = diagnostic.message.split("\n")
    name = diagnostic.urn.rpartition("::")[2]
    return Violation(
        diagnostic.policyName, _LEVELS[diagnostic.enforcementLevel], name, found, " ".join(remedy), diagnostic.urn
    )
