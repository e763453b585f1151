"""The pack as the engine starts and asks it: the same verdicts over gRPC, levels and options from its configuration."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any

import grpc
import pytest
from base import resources_of
from cases import CASES
from google.protobuf import empty_pb2
from pulumi.runtime.proto import analyzer_pb2

from offline import policy_pack, wire
from offline.values import UNKNOWN as RECORDED_UNKNOWN
from policies.model import Resource
from policies.pack import RULES
from policies.view import UNKNOWN
from tests.helpers import ROOT, STACKS, recorded

FOLDER = ROOT / "policies"
RESOURCE_RULES = [rule for rule in RULES if rule.scope == "resource"]


@pytest.fixture(scope="module")
def stub() -> Iterator[Any]:
    with policy_pack.running(FOLDER) as started:
        yield started


@pytest.fixture(scope="module")
def info(stub):
    return stub.GetAnalyzerInfo(empty_pb2.Empty())


def _for_wire(value: Any) -> Any:
    if value is UNKNOWN:
        return RECORDED_UNKNOWN
    if isinstance(value, Mapping):
        return {key: _for_wire(item) for key, item in value.items()}
    return [_for_wire(item) for item in value] if isinstance(value, list) else value


def message_of(resource: Resource) -> Any:
    """A resource as the engine sends it: every number a double, what is unknown as the engine's mark."""
    options = resource.options
    return analyzer_pb2.AnalyzerResource(
        type=resource.type,
        urn=resource.urn,
        name=resource.name,
        properties=wire.write(_for_wire(resource.properties)),
        provider=analyzer_pb2.AnalyzerProviderResource(name=resource.provider) if resource.provider else None,
        parent=resource.parent,
        dependencies=resource.dependencies,
        propertyDependencies={
            key: analyzer_pb2.AnalyzerPropertyDependencies(urns=urns)
            for key, urns in resource.property_dependencies.items()
        },
        options=analyzer_pb2.AnalyzerResourceOptions(
            protect=options.protect,
            customTimeouts=analyzer_pb2.AnalyzerResourceOptions.CustomTimeouts(delete=options.delete_timeout),
        )
        if options
        else None,
    )


BASE = {resource.name: message_of(resource) for resource in resources_of()}


def diagnostics(stub: Any, resources: list[Resource], *, every: bool = False) -> list[Any]:
    """What the pack says of a program. What is as in the base program, of which it has nothing to say, is asked about
    only as a part of the stack."""
    messages = [message_of(resource) for resource in resources]
    changed = [m for m in messages if every or m != BASE.get(m.name)]
    found = [d for m in changed for d in stub.Analyze(policy_pack._request(m)).diagnostics]
    return found + list(stub.AnalyzeStack(analyzer_pb2.AnalyzeStackRequest(resources=messages)).diagnostics)


def test_the_base_program_is_accepted_over_grpc(stub, info):
    policy_pack.configure(stub, info, {})
    assert [d for m in BASE.values() for d in stub.Analyze(policy_pack._request(m)).diagnostics] == []
    assert diagnostics(stub, resources_of()) == []


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.id)
def test_a_case_over_grpc_is_judged_by_its_rule_alone(stub, info, case):
    policy_pack.configure(stub, info, case.config)
    found = diagnostics(stub, resources_of(*case.edits), every=bool(case.config))
    shown = [f"{d.policyName}: {d.message}" for d in found]
    assert {d.policyName for d in found} == ({case.rule} if case.refused else set()), shown
    assert all("cannot be judged yet" not in d.message for d in found), shown


@pytest.mark.parametrize("unknowns", [True, False], ids=["first preview", "all known"])
@pytest.mark.parametrize("stack", STACKS)
def test_our_own_stacks_have_no_violation_and_nothing_that_cannot_be_judged(stack, unknowns):
    config = ROOT / f"policies.{stack}.json"
    report = policy_pack.judge(recorded(stack, unknowns).recording, FOLDER, config if config.exists() else None)
    assert report.lines() == [f"Policies: no violation ({report.policies} policies on {report.resources} resources)."]
    assert report.resources > 90


def test_the_engine_hears_of_every_rule_that_it_can_ask(info):
    told = {policy.name: policy for policy in info.policies}
    assert set(told) == {rule.id for rule in RULES if rule.scope != "change"}
    for rule in RULES:
        if rule.scope != "change":
            policy = told[rule.id]
            level = analyzer_pb2.EnforcementLevel.Value(rule.level.upper())
            assert (policy.description, policy.enforcementLevel, policy.url) == (rule.description, level, rule.url)
            assert set(dict(policy.configSchema.properties)) == set(rule.options)


@pytest.mark.parametrize("level", ["advisory", "disabled"])
def test_a_level_from_the_configuration_holds(stub, info, level):
    case = next(c for c in CASES if c.rule == "gpu-pool-taint" and c.refused)
    policy_pack.configure(stub, info, {"gpu-pool-taint": level})
    found = diagnostics(stub, resources_of(*case.edits))
    expected = [] if level == "disabled" else [analyzer_pb2.ADVISORY]
    assert [d.enforcementLevel for d in found] == expected


def test_all_sets_every_level_but_those_that_are_named(stub, info):
    case = next(c for c in CASES if c.rule == "gpu-pool-taint" and c.refused)
    policy_pack.configure(stub, info, {"all": "disabled"})
    assert diagnostics(stub, resources_of(*case.edits)) == []
    policy_pack.configure(stub, info, {"all": "disabled", "gpu-pool-taint": "mandatory"})
    assert [d.policyName for d in diagnostics(stub, resources_of(*case.edits))] == ["gpu-pool-taint"]


def test_all_is_no_rule_when_the_engine_hands_it_over(stub, info):
    """It sends the level of every rule, and `all` beside them."""
    case = next(c for c in CASES if c.rule == "gpu-pool-taint" and c.refused)
    level = analyzer_pb2.PolicyConfig(enforcementLevel=analyzer_pb2.ADVISORY)
    stub.Configure(analyzer_pb2.ConfigureAnalyzerRequest(policyConfig={"all": level, "gpu-pool-taint": level}))
    assert [d.enforcementLevel for d in diagnostics(stub, resources_of(*case.edits))] == [analyzer_pb2.ADVISORY]


def test_a_violation_says_what_must_hold_what_is_wrong_and_what_to_do(stub, info):
    case = next(c for c in CASES if c.rule == "gpu-pool-taint" and c.refused)
    policy_pack.configure(stub, info, {})
    (found,) = diagnostics(stub, resources_of(*case.edits))
    rule = next(r for r in RULES if r.id == "gpu-pool-taint")
    description, wrong, remedy = found.message.split("\n")
    assert (description, remedy) == (rule.description, rule.remedy)
    assert wrong.startswith("NodePool shared: ")
    assert found.urn.endswith("::pool-shared")
    assert found.enforcementLevel == analyzer_pb2.MANDATORY


@pytest.mark.parametrize(
    ("given", "says"),
    [
        ({"gpu-pool-tant": "advisory"}, "no rule of this pack. Did you mean gpu-pool-taint?"),
        ({"gpu-pool-taint": {"strict": True}}, "gpu-pool-taint.strict: unknown option"),
        (
            {"replicas-within-cap": {"maxReplicas": {"t4": 0}}},
            "replicas-within-cap.maxReplicas: {'t4': 0} is not allowed",
        ),
        ({"pool-nodes-capped": {"maxNodes": "many"}}, "pool-nodes-capped.maxNodes: 'many' is not allowed"),
        ({"pool-nodes-capped": {"maxNodes": 2.5}}, "Allowed: a whole number from 1 to"),
    ],
)
def test_a_wrong_configuration_is_refused_with_rule_key_value_and_what_is_allowed(stub, info, given, says):
    with pytest.raises(policy_pack.PolicyConfigRefused) as refused:
        policy_pack.configure(stub, info, given)
    assert says in str(refused.value)


def test_a_wrong_level_is_refused(stub, info):
    with pytest.raises(policy_pack.PolicyConfigRefused, match=r"'hard' is no level\. Allowed: advisory, mandatory"):
        policy_pack.configure(stub, info, {"gpu-pool-taint": "hard"})


def test_a_refused_configuration_leaves_the_one_before(stub, info):
    case = next(c for c in CASES if c.rule == "gpu-pool-taint" and c.refused)
    policy_pack.configure(stub, info, {"gpu-pool-taint": "disabled"})
    with pytest.raises(policy_pack.PolicyConfigRefused):
        policy_pack.configure(stub, info, {"gpu-pool-taint": {"strict": True}})
    assert diagnostics(stub, resources_of(*case.edits)) == []


def test_defaults_are_filled_in_where_the_engine_sends_none(stub, info):
    """The SDK's own server hands a rule an empty configuration where only its level was sent."""
    case = next(c for c in CASES if c.rule == "pool-nodes-capped" and c.refused and not c.config)
    level = analyzer_pb2.PolicyConfig(enforcementLevel=analyzer_pb2.MANDATORY)
    stub.Configure(analyzer_pb2.ConfigureAnalyzerRequest(policyConfig={"pool-nodes-capped": level}))
    assert [d.policyName for d in diagnostics(stub, resources_of(*case.edits))] == ["pool-nodes-capped"]


def test_a_value_that_is_not_known_yet_is_remarked_and_never_refused_nor_passed(stub, info):
    policy_pack.configure(stub, info, {})

    def hide(program):
        program["pool-shared"]["properties"]["spec"]["limits"]["nodes"] = "<unknown>"

    found = [d for d in diagnostics(stub, resources_of(hide)) if d.policyName == "pool-nodes-capped"]
    assert [d.enforcementLevel for d in found] == [analyzer_pb2.ADVISORY]
    assert "cannot be judged yet: spec.limits.nodes is known only after the update" in found[0].message


def test_a_secret_is_judged_and_not_shown(stub, info):
    policy_pack.configure(stub, info, {})
    resource = next(r for r in resources_of() if r.name == "overlay-shared")
    message = message_of(resource)
    secret = {wire.SIGNATURE: wire.SECRET, "value": "hunter2"}
    message.properties["spec"]["capacity"].update({"nvidia.com/gpu": secret})
    found = stub.Analyze(policy_pack._request(message)).diagnostics
    assert found, "a capacity that is no number must be refused"
    assert all("hunter2" not in d.message for d in found)


def test_the_pack_ends_when_it_is_cancelled():
    with policy_pack.running(FOLDER) as stub:
        stub.Cancel(empty_pb2.Empty())
        with pytest.raises(grpc.RpcError):
            _ask_for_ever(stub)


def _ask_for_ever(stub: Any) -> None:
    while True:
        stub.GetPluginInfo(empty_pb2.Empty())


def test_a_pack_that_does_not_start_says_why(tmp_path):
    (tmp_path / "__main__.py").write_text("raise RuntimeError('no such rule')\n")
    with pytest.raises(policy_pack.PolicyPackFailed, match="no such rule"), policy_pack.running(tmp_path):
        pass


@pytest.mark.parametrize("text", ["{", "[1]", '"mandatory"'])
def test_a_configuration_that_is_no_object_is_refused(tmp_path, text):
    path = tmp_path / "policies.json"
    path.write_text(text)
    with pytest.raises(policy_pack.PolicyConfigRefused, match=r"policies\.json: "):
        policy_pack.read_config(path)


def test_json_of_the_configuration_is_what_the_command_line_of_pulumi_takes(info):
    """Each option's schema stands as the engine validates it: with a default of the right type."""
    for policy in info.policies:
        for name, option in json.loads(json.dumps(_plain(policy.configSchema.properties))).items():
            assert option["type"] in ("integer", "array", "object"), (policy.name, name)
            assert "default" in option


def _plain(struct: Any) -> Any:
    from google.protobuf import json_format

    return json_format.MessageToDict(struct)
