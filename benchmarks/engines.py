"""What judges the same resources by the same rules: this pack's server, the Pulumi SDK's own, and conftest."""

from __future__ import annotations

import json
import re
import subprocess
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from pulumi.runtime.proto import analyzer_pb2
from pulumi_policy import EnforcementLevel, Policy, ResourceValidationPolicy, StackValidationPolicy

# Private, and used here alone: the public way to this server is a process of its own, which would be timed with it.
from pulumi_policy.policy import _PolicyAnalyzerServicer

from benchmarks.timing import ROOT
from gpuslice.catalog import instance_types
from offline import wire
from policies import karpenter
from policies.config import Configured, configure
from policies.items import items_of
from policies.model import Item, Options, Resource, Rule, Stack, notes
from policies.server import PACK, VERSION
from sandbox.build import Module, ensure
from sandbox.state import Progress

Found = set[tuple[str, str]]
"""Rule and name of the resource."""
MODULES = ROOT / "benchmarks"
REGO = MODULES / "rego"
CONFTEST = Module("conftest", {"conftest": "conftest"})
REGO_RULES = (
    "ami-pinned",
    "distinct-taints",
    "general-pool-excludes-gpus",
    "gpu-pool-has-limits",
    "gpu-pool-taint",
    "gpu-toleration-needs-gpu",
    "gpu-workload-tolerates-taint",
    "nodeclass-imds",
    "nodeclass-no-public-address",
    "nodeclass-volumes-encrypted",
    "one-slice-per-container",
    "one-slice-per-pod",
)
"""Rules of the pack that `benchmarks/rego` says again, for plain resources; it does not look into groups and lists."""


@dataclass(frozen=True)
class Questions:
    """What an engine asks a server in one preview: each resource, then all of them together."""

    requests: tuple[Any, ...]
    stack: Any

    @classmethod
    def about(cls, resources: Iterable[Resource]) -> Questions:
        messages = [_message(resource) for resource in resources]
        names = ("type", "properties", "urn", "name", "options", "provider")
        requests = [analyzer_pb2.AnalyzeRequest(**{name: getattr(m, name) for name in names}) for m in messages]
        return cls(tuple(requests), analyzer_pb2.AnalyzeStackRequest(resources=messages))

    def ask(self, server: Any) -> Found:
        """The answers, without gRPC between."""
        answers = [server.Analyze(request, None) for request in self.requests]
        answers.append(server.AnalyzeStack(self.stack, None))
        return {(d.policyName, d.urn.rpartition("::")[2]) for answer in answers for d in answer.diagnostics}


def _message(resource: Resource) -> Any:
    options = resource.options or Options()
    timeouts = analyzer_pb2.AnalyzerResourceOptions.CustomTimeouts(delete=options.delete_timeout)
    return analyzer_pb2.AnalyzerResource(
        type=resource.type,
        urn=resource.urn,
        name=resource.name,
        properties=wire.write(dict(resource.properties)),
        options=analyzer_pb2.AnalyzerResourceOptions(protect=options.protect, customTimeouts=timeouts),
        provider=analyzer_pb2.AnalyzerProviderResource(name=resource.provider),
        parent=resource.parent,
        dependencies=resource.dependencies,
    )


def sdk_server(rules: Iterable[Rule], resources: Sequence[Resource]) -> Any:
    """The SDK's server with one policy for each rule, which is how the SDK wants a pack to be written.

    It reads every resource as it always does. The rules then get the plain data that they know, at no cost of its own.
    """
    items = {resource.urn: items_of(resource) for resource in resources}
    policies = [_policy(entry, items) for entry in configure(rules, {}).values()]
    return _PolicyAnalyzerServicer(PACK, VERSION, policies, EnforcementLevel.MANDATORY)


def _policy(entry: Configured, items: Mapping[str, list[Item]]) -> Policy:
    rule = entry.rule

    def validate(args: Any, report: Any) -> None:
        for item in items[args.urn]:
            if item.kind in rule.kinds:
                for note in notes(partial(rule.check, item, entry.options)):
                    report(note.message, args.urn)

    def validate_stack(args: Any, report: Any) -> None:
        stack = Stack(tuple(item for resource in args.resources for item in items[resource.urn]))
        for note, item in rule.check(stack, entry.options):
            report(note.message, item.resource.urn)

    if rule.scope == "stack":
        return StackValidationPolicy(rule.id, rule.description, validate_stack)
    return ResourceValidationPolicy(rule.id, rule.description, validate)


@dataclass(frozen=True)
class Conftest:
    """The program with the rules of `benchmarks/rego`, and with the catalogue's instance types as its data."""

    program: Path
    data: Path

    @classmethod
    def built(cls, folder: Path, progress: Progress) -> Conftest:
        """Built where the cache lacks it. Raises SandboxError where that fails."""
        program = ensure(CONFTEST, progress, MODULES) / "conftest"
        data = folder / "catalogue.json"
        data.write_text(json.dumps(catalogue()), encoding="utf-8")
        return cls(program, data)

    def arguments(self, file: Path) -> tuple[str, ...]:
        given = ("--policy", str(REGO), "--data", str(self.data), "--output", "json")
        return (str(self.program), "test", *given, str(file))

    def judge(self, file: Path) -> Found:
        answer = subprocess.run(self.arguments(file), capture_output=True, text=True)
        # The exit code is 1 for findings and for failures; a failure prints no findings.
        if not answer.stdout:
            raise RuntimeError(f"conftest: {answer.stderr}")
        return set(findings(answer.stdout))


def findings(output: str) -> Iterator[tuple[str, str]]:
    """What conftest prints as JSON, as rule and resource."""
    for result in json.loads(output):
        for failure in result.get("failures", ()):
            yield failure["metadata"]["rule"], failure["metadata"]["resource"]


def catalogue() -> dict[str, Any]:
    """The labels of every GPU instance type, which the rules in Rego cannot import."""
    return {"types": [dict(karpenter.type_labels(name)) for name in instance_types()]}


def conftest_version() -> str:
    match = re.search(
        r"open-policy-agent/conftest (v\S+)", (MODULES / "conftest" / "go.mod").read_text(encoding="utf-8")
    )
    return match[1] if match else ""
