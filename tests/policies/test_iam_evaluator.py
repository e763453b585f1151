"""IAM documents are judged as AWS judges them; what is not understood allows and does not deny."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from policies.iam_evaluator import EVERYBODY, Condition, Request, every, may_allow, opposite, parse, some, surely_denies
from policies.view import OddShape, View

INSTANCE = "arn:aws:ec2:us-east-1:111122223333:instance/i-1"
ANYWHERE = "arn:*:ec2:*:*:instance/i-1"
TAGGED = {"aws:ResourceTag/team": ("vision",), "aws:TagKeys": ("team", "Name"), "aws:RequestTag/*": ("x",)}
TAGGED |= {"aws:SourceArn": ("arn:aws:sqs:us-east-1:1:q:fifo",), "aws:ResourceTag/any": (None,)}
TAGGED |= {"aws:ResourceTag/loud": ("VISION",), "aws:ResourceTag/odd": ("[v]ision",)}


def statement(**fields):
    return {"Effect": "Allow", "Action": "ec2:TerminateInstances", "Resource": "*"} | fields


def allowed(*statements, action="ec2:TerminateInstances", resource=INSTANCE, **context):
    document = parse(View({"Statement": list(statements)}, "policy"))
    return may_allow(document, Request(action, resource, context))


def denied(action="ec2:TerminateInstances", resource=INSTANCE, **fields):
    document = parse(View({"Statement": statement(Effect="Deny", **fields)}))
    return surely_denies(document, Request(action, resource))


@pytest.mark.parametrize(
    ("operator", "key", "wanted", "expected"),
    [
        ("StringEquals", "aws:ResourceTag/team", ["speech", "vision"], True),
        ("StringEquals", "AWS:resourcetag/TEAM", "vision", True),
        ("StringEquals", "aws:ResourceTag/team", "Vision", False),
        ("StringEquals", "aws:ResourceTag/team", "vis*", False),
        ("StringEquals", "aws:ResourceTag/team", [], False),
        ("StringEquals", "aws:ResourceTag/none", "vision", False),
        ("StringEquals", "aws:ResourceTag/any", "vision", None),
        ("StringEquals", "aws:SourceIp", "10.0.0.0/8", None),
        ("StringEquals", "aws:ResourceTag/team", "${aws:PrincipalTag/team}", None),
        ("StringEquals", "aws:RequestTag/whatever", "x", True),
        ("StringEqualsIgnoreCase", "aws:ResourceTag/team", "VISION", True),
        ("StringEqualsIgnoreCase", "aws:ResourceTag/loud", "vision", True),
        ("StringEqualsIgnoreCase", "aws:ResourceTag/team", "vis", False),
        ("StringLike", "aws:ResourceTag/team", "v?s*", True),
        ("StringLike", "aws:ResourceTag/team", "is*", False),
        ("StringLike", "aws:ResourceTag/team", "[v]ision", False),
        ("StringLike", "aws:ResourceTag/odd", "[v]is*", True),
        ("StringNotEquals", "aws:ResourceTag/team", "speech", True),
        ("StringNotEquals", "aws:ResourceTag/team", ["speech", "vision"], False),
        ("StringNotEquals", "aws:ResourceTag/none", "speech", True),
        ("StringNotEquals", "aws:ResourceTag/any", "speech", None),
        ("StringNotEqualsIgnoreCase", "aws:ResourceTag/team", "VISION", False),
        ("StringNotLike", "aws:ResourceTag/team", "v*", False),
        ("StringNotLike", "aws:ResourceTag/team", "s*", True),
        ("StringEqualsIfExists", "aws:ResourceTag/none", "vision", True),
        ("StringEqualsIfExists", "aws:ResourceTag/team", "speech", False),
        ("StringEqualsIfExists", "aws:SourceIp", "speech", None),
        ("ArnLike", "aws:SourceArn", "arn:aws:sqs:*:1:q:*", True),
        ("ArnEquals", "aws:SourceArn", "arn:aws:sqs:us-east-?:1:q*", True),
        ("ArnLike", "aws:SourceArn", "arn:aws:s*:1:q:fifo", False),
        ("ArnLike", "aws:SourceArn", "*", False),
        ("ArnNotLike", "aws:SourceArn", "arn:aws:sqs:*:2:*", True),
        ("ArnNotEquals", "aws:SourceArn", "arn:aws:sqs:*:1:*", False),
        ("Bool", "aws:ResourceTag/team", "VISION", True),
        ("Bool", "aws:ResourceTag/team", "true", False),
        ("Null", "aws:ResourceTag/team", "false", True),
        ("Null", "aws:ResourceTag/team", "true", False),
        ("Null", "aws:ResourceTag/none", "True", True),
        ("Null", "aws:ResourceTag/none", "false", False),
        ("Null", "aws:ResourceTag/any", "false", True),
        ("Null", "aws:SourceIp", "true", None),
        ("ForAllValues:StringEquals", "aws:TagKeys", ["Name", "team", "more"], True),
        ("ForAllValues:StringEquals", "aws:TagKeys", ["Name"], False),
        ("ForAllValues:StringEquals", "aws:ResourceTag/none", "x", True),
        ("ForAllValues:StringNotEquals", "aws:TagKeys", ["Name"], False),
        ("ForAllValues:StringNotEquals", "aws:TagKeys", ["more"], True),
        ("ForAnyValue:StringEquals", "aws:TagKeys", ["Name"], True),
        ("ForAnyValue:StringEquals", "aws:TagKeys", ["more"], False),
        ("ForAnyValue:StringEquals", "aws:ResourceTag/none", "x", False),
        ("ForAnyValue:StringNotEquals", "aws:TagKeys", ["Name"], True),
        ("ForAnyValue:StringNotEquals", "aws:ResourceTag/none", "x", False),
        ("ForAnyValue:StringEqualsIfExists", "aws:ResourceTag/none", "x", True),
        ("ForSomeValues:StringEquals", "aws:TagKeys", ["Name"], None),
        ("StringEquals", "aws:TagKeys", ["Name", "team"], None),
        ("NumericLessThan", "aws:ResourceTag/team", "3", None),
        ("NumericNotEquals", "aws:ResourceTag/none", "3", None),
        ("NullIfExists", "aws:ResourceTag/none", "true", None),
    ],
)
def test_a_condition_holds_as_in_aws(operator, key, wanted, expected):
    values = tuple(wanted) if isinstance(wanted, list) else (wanted,)
    assert Condition(operator, key, values).holds(Request("x:Y", "*", TAGGED)) is expected


@pytest.mark.parametrize("key", ["aws:RequestTag/x", "ec2:ResourceTag/x", "iam:ResourceTag/x", "aws:TagKeys"])
def test_tags_that_a_request_does_not_have_are_known_to_be_absent(key):
    assert Request("x:Y").values(key) == ()
    assert Condition("Null", key, ("true",)).holds(Request("x:Y")) is True


@pytest.mark.parametrize("key", ["ec2:CreateAction", "iam:PassedToService"])
def test_what_one_action_alone_has_is_known_to_be_absent_from_others(key):
    assert Request("x:Y").values(key) == ()
    assert Request("x:Y", "*", {key: ("z",)}).values(key) == ("z",)


@pytest.mark.parametrize(
    ("pattern", "expected"),
    [
        ("*", True),
        ("ec2:*", True),
        ("EC2:terminate*", True),
        ("ec2:Terminate?nstances", True),
        ("ec2:Terminate", False),
        ("iam:*", False),
    ],
)
def test_actions_match_without_case_and_with_wildcards(pattern, expected):
    assert allowed(statement(Action=pattern)) is expected
    assert allowed(statement(Action=["s3:Get", pattern])) is expected
    without = {"Effect": "Allow", "NotAction": pattern, "Resource": "*"}
    assert allowed(without) is not expected


@pytest.mark.parametrize(
    ("pattern", "expected"),
    [
        ("*", True),
        ("arn:aws:ec2:*", True),
        ("arn:aws-cn:ec2:eu-west-1:*:instance/*", True),
        ("arn:aws:ec2:eu-west-1:9:instance/i-1", True),
        ("arn:*:instance/*", True),
        ("arn:aws:ec2:*:*:instance/${aws:PrincipalTag/id}", True),
        ("arn:aws:ec2:*:*:instance/I-1", False),
        ("arn:aws:ec2:*:*:volume/*", False),
        ("arn:aws:rds:*", False),
    ],
)
def test_a_resource_is_allowed_where_some_region_and_account_fits(pattern, expected):
    assert allowed(statement(Resource=["arn:aws:s3:::x", pattern]), resource=ANYWHERE) is expected


@pytest.mark.parametrize(
    ("pattern", "expected"),
    [
        ("*", True),
        ("arn:aws:ec2:*:*:instance/*", True),
        ("arn:aws:ec2:us-east-1:*:instance/*", False),
        ("arn:aws:ec2:*:111122223333:instance/*", False),
        ("arn:aws:ec2:*:*:instance/${aws:PrincipalTag/id}", False),
        ("arn:aws:ec2:*:*:volume/*", False),
    ],
)
def test_a_resource_is_denied_where_every_region_and_account_fits(pattern, expected):
    assert denied(resource=ANYWHERE, Resource=pattern) is expected


def test_a_free_name_is_whichever_a_policy_allows_and_all_that_it_denies():
    anything = "arn:*:iam::*:*"
    assert allowed(statement(Resource="arn:aws:iam::1:role/x"), resource=anything)
    assert not denied(resource=anything, Resource="arn:aws:iam::1:role/x")
    assert denied(resource=anything, Resource="arn:aws:iam::*:*")


def test_a_resource_that_is_left_out_is_allowed_only_where_some_of_it_may_remain():
    left_out = {"Effect": "Allow", "Action": "ec2:*", "NotResource": "arn:aws:ec2:*:*:instance/*"}
    assert not allowed(left_out, resource=ANYWHERE)
    assert allowed(left_out | {"NotResource": "arn:aws:ec2:us-east-1:*:instance/*"}, resource=ANYWHERE)
    assert allowed(left_out, resource="arn:aws:ec2:us-east-1:1:volume/v")


def test_all_operators_and_all_keys_must_hold():
    both = {"StringEquals": {"aws:RequestTag/a": "1", "aws:RequestTag/b": "2"}, "StringLike": {"aws:RequestTag/c": "*"}}
    context = {"aws:RequestTag/a": ("1",), "aws:RequestTag/b": ("2",), "aws:RequestTag/c": ("3",)}
    assert allowed(statement(Condition=both), **context)
    for key in context:
        assert not allowed(statement(Condition=both), **{k: v for k, v in context.items() if k != key})


def test_a_denial_wins_wherever_it_stands():
    deny = statement(Effect="Deny", Action="ec2:*")
    assert not allowed(statement(), deny)
    assert not allowed(deny, statement())
    assert not allowed(deny)
    assert allowed(statement(Effect="Deny", Action="s3:*"), statement())


@pytest.mark.parametrize("condition", [{"Shape": {"aws:x": "1"}}, {"NumericEquals": {"aws:RequestTag/x": "1"}}])
def test_what_is_not_understood_allows_and_does_not_deny(condition):
    assert allowed(statement(Condition=condition))
    assert not denied(Condition=condition)
    assert not allowed(statement(Effect="Deny", Condition=condition))


def test_booleans_and_numbers_are_taken_for_their_texts():
    values = {
        "Bool": {"aws:RequestTag/a": False},
        "StringEquals": {"aws:RequestTag/b": [1, 2.5], "aws:RequestTag/c": True},
    }
    context = {"aws:RequestTag/a": ("false",), "aws:RequestTag/b": ("2.5",), "aws:RequestTag/c": ("true",)}
    assert allowed(statement(Condition=values), **context)
    assert not allowed(statement(Condition=values), **context | {"aws:RequestTag/a": ("true",)})


@pytest.mark.parametrize(
    ("fields", "allow", "deny"),
    [
        ({"Principal": "*"}, True, True),
        ({"Principal": {"AWS": ["arn:aws:iam::1:root", "*"]}}, True, True),
        ({"Principal": {"Service": "*"}}, False, False),
        ({"Principal": {"AWS": "arn:aws:iam::1:root"}}, False, False),
        ({"NotPrincipal": {"AWS": "arn:aws:iam::1:root"}}, True, False),
        ({}, False, False),
    ],
)
def test_who_everybody_is(fields, allow, deny):
    for effect, expected in (("Allow", allow), ("Deny", deny)):
        (found,) = parse(View({"Statement": statement(Effect=effect, **fields)}))
        assert found.for_everybody is expected


def test_a_trust_policy_is_about_its_own_role():
    (found,) = parse(View({"Statement": {"Effect": "Allow", "Principal": "*", "Action": "sts:AssumeRole"}}))
    assert found.resources == (EVERYBODY,)
    assert found.applies(Request("sts:AssumeRole")) is True


@pytest.mark.parametrize(
    ("document", "says"),
    [
        ({}, "policy has no Statement"),
        ({"Statement": []}, "policy has no Statement"),
        ({"Statement": "x"}, "policy.Statement is 'x', not an object"),
        (
            {"Statement": [statement(), statement(Effect="allow")]},
            "policy.Statement[1].Effect is 'allow', not Allow or",
        ),
        ({"Statement": [{"Effect": "Deny"}]}, "policy.Statement[0] has neither Action nor NotAction"),
        ({"Statement": statement(Action={})}, "policy.Statement.Action is {}, not a text"),
        ({"Statement": statement(Resource=[1])}, "policy.Statement.Resource[0] is 1, not a text"),
        ({"Statement": statement(Condition=["x"])}, "policy.Statement.Condition is ['x'], not an object"),
        ({"Statement": statement(Condition={"Bool": "x"})}, "Condition.Bool is 'x', not an object"),
        ({"Statement": statement(Condition={"Bool": {"x": {}}})}, "Bool.x is {}, not a text"),
        ({"Statement": statement(Principal=[{}])}, "Principal is [{}], not an object"),
    ],
)
def test_what_aws_would_refuse_is_odd(document, says):
    with pytest.raises(OddShape) as odd:
        parse(View(document, "policy"))
    assert says in str(odd.value)


def test_answers_of_three_values():
    assert (some([False, None]), some([None, True]), some([False]), some([])) == (None, True, False, False)
    assert (every([True, None]), every([None, False]), every([True]), every([])) == (None, False, True, True)
    assert (opposite(True), opposite(False), opposite(None)) == (False, True, None)


ANY_JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text() | st.sampled_from(["*", "Allow", "${x}", "arn:aws:ec2:*"]),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(
                ["Statement", "Effect", "Action", "NotAction", "Resource", "NotResource", "Condition", "Bool"]
            ),
            inner,
            max_size=5,
        )
    ),
    max_leaves=25,
)


@given(ANY_JSON)
def test_any_json_is_a_document_or_odd(value):
    try:
        document = parse(View(json.loads(json.dumps(value))))
    except OddShape:
        return
    may_allow(document, Request("ec2:RunInstances", ANYWHERE, TAGGED))
