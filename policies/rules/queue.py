"""Karpenter's interruption queue: encrypted, closed, and told of everything that ends a node."""

from __future__ import annotations

from collections.abc import Iterator

from policies import aws, facts, karpenter
from policies.iam_evaluator import Document, Request, Statement, surely_denies
from policies.iam_probes import FOREIGNER
from policies.model import Config, Finding, Item, Rule, Stack, each
from policies.view import View

QUEUES = (aws.QUEUE, aws.QUEUE_POLICY)
EVENT_RULE = "aws:cloudwatch/eventRule:EventRule"
EVENT_TARGET = "aws:cloudwatch/eventTarget:EventTarget"
SENDERS = ("events.amazonaws.com", "sqs.amazonaws.com")
EVENTS = (
    ("aws.health", "AWS Health Event"),
    ("aws.ec2", "EC2 Spot Instance Interruption Warning"),
    ("aws.ec2", "EC2 Instance Rebalance Recommendation"),
    ("aws.ec2", "EC2 Instance State-change Notification"),
)
RESERVATION_EVENT = ("aws.ec2", "EC2 Capacity Reservation Instance Interruption Warning")
SQS_DEFAULT = (
    "https://aws.amazon.com/blogs/compute/announcing-server-side-encryption-with-amazon-simple-queue-service-managed-"
    "encryption-keys-sse-sqs-by-default/"
)
SQS_SECURITY = (
    "https://docs.aws.amazon.com/AWSSimpleQueueService/latest/SQSDeveloperGuide/sqs-security-best-practices.html"
)
INTERRUPTION = "https://karpenter.sh/docs/concepts/disruption/#interruption"


def queue_encrypted(item: Item, config: Config) -> Iterator[str]:
    key, managed = item.data["kmsMasterKeyId"], item.data["sqsManagedSseEnabled"]
    if key.unknown or key.text() or managed.unknown or managed.flag():
        return
    yield "is not encrypted" if managed.present else "does not say that it is encrypted"


def queue_denies_http(item: Item, config: Config) -> Iterator[str]:
    for _, document in aws.parsed(aws.resource_policies(item)):
        allowed = [action for action in ("sqs:SendMessage", "sqs:ReceiveMessage") if not _denied(document, action)]
        if allowed:
            yield f"does not deny {' and '.join(allowed)} to everybody over plain HTTP"


def _denied(document: Document, action: str) -> bool:
    """Whether everybody is denied the action without TLS on each queue that the document names."""
    plain = {"aws:SecureTransport": ("false",)}
    queues = {name for s in document for name in s.resources if "*" not in name} or {"arn:*:sqs:*:*:*"}
    denials = tuple(s for s in document if s.for_everybody)
    return all(surely_denies(denials, Request(action, queue, plain)) for queue in queues)


def queue_senders(item: Item, config: Config) -> Iterator[str]:
    for _, document in aws.parsed(aws.resource_policies(item)):
        for statement in document:
            if statement.allows:
                yield from _open_to(statement)


def _open_to(statement: Statement) -> Iterator[str]:
    if statement.for_everybody:
        yield "lets everybody use the queue"
        return
    bound = statement.conditions_hold(Request("", context=FOREIGNER)) is False
    for kind, name in statement.principals:
        if not bound and (kind, name) not in [("Service", sender) for sender in SENDERS]:
            yield f"lets {name[:200]} use the queue without a condition on the account or the organisation"


def queue_has_policy(stack: Stack, config: Config) -> Iterator[Finding]:
    policies = stack.of(aws.QUEUE_POLICY)

    def check(queue: Item) -> Iterator[str]:
        named = any(aws.points_to(policy, "queueUrl", queue, _name(queue)) for policy in policies)
        if not named and not queue.data["policy"].present:
            yield "is Karpenter's interruption queue and has no policy"

    yield from each(_karpenters(stack), check)


def _name(item: Item) -> str:
    """The name in AWS, "" where it is not known yet."""
    name = item.data["name"]
    return "" if name.unknown else name.text()


def _karpenters(stack: Stack) -> list[Item]:
    """The queues of the program that a release of Karpenter names."""
    releases = facts.releases(stack, facts.KARPENTER_CHART)
    return [queue for queue in stack.of(aws.QUEUE) if any(_uses(release, queue) for release in releases)]


def _uses(release: Item, queue: Item) -> bool:
    values = release.data["values"]
    named = View(None) if values.unknown else values.at("settings", "interruptionQueue")
    if values.unknown or named.unknown:
        resource = release.resource
        return queue.resource.urn in (resource.property_dependencies.get("values") or resource.dependencies)
    return bool(named.text()) and named.text() == _name(queue)


def interruption_events_complete(stack: Stack, config: Config) -> Iterator[Finding]:
    classes = stack.of(karpenter.NODE_CLASS)
    reserved = any(facts.readable(classes, lambda c: c.data.at("spec", "capacityReservationSelectorTerms").items()))
    events = (*EVENTS, RESERVATION_EVENT) if reserved else EVENTS

    def check(queue: Item) -> Iterator[str]:
        patterns = [_pattern(rule) for rule in _rules_to(stack, queue)]
        missing = [detail for source, detail in events if not any(_sends(p, source, detail) for p in patterns)]
        if missing:
            yield f"gets no event of: {', '.join(missing)}"

    yield from each(_karpenters(stack), check)


def _rules_to(stack: Stack, queue: Item) -> list[Item]:
    """The event rules with a target that is the queue. AWS sends its own events to the default bus alone."""
    targets = [t for t in stack.of(EVENT_TARGET) if aws.points_to(t, "arn", queue, _name(queue))]
    rules = [r for r in stack.of(EVENT_RULE) if any(aws.points_to(t, "rule", r, _name(r)) for t in targets)]
    return [rule for rule in rules if _is_on(rule)]


def _is_on(rule: Item) -> bool:
    bus = rule.data["eventBusName"].text("default").rpartition("/")[2]
    return bus == "default" and rule.data["state"].text() != "DISABLED" and rule.data["isEnabled"].flag(True)


def _pattern(rule: Item) -> View:
    return aws.decoded(rule.data["eventPattern"])


def _sends(pattern: View, source: str, detail_type: str) -> bool:
    """Whether every event of the type matches. A pattern that asks for more than these two is not counted."""
    wanted = {"source": source, "detail-type": detail_type}
    fields = pattern.fields()
    return bool(fields) and all(
        wanted.get(key) in [value.known() for value in field.items()] for key, field in fields.items()
    )


RULES = (
    Rule(
        id="queue-encrypted",
        description="Every queue says that it is encrypted.",
        why="AWS encrypts new queues by itself since 2022, those made over HTTPS. Where the field is not set, the "
        "provider neither keeps it so nor notices when it is switched off.",
        remedy="Set sqsManagedSseEnabled to true, or kmsMasterKeyId.",
        url=SQS_DEFAULT,
        severity="medium",
        check=queue_encrypted,
        kinds=(aws.QUEUE,),
    ),
    Rule(
        id="queue-denies-http",
        description="A queue's policy denies everybody to send or receive over plain HTTP.",
        why="SQS answers without TLS, and whoever listens learns which nodes go, or adds a warning of their own.",
        remedy="Add a statement: Deny, Principal *, sqs:*, Bool aws:SecureTransport false, and no exception.",
        url=SQS_SECURITY,
        severity="high",
        check=queue_denies_http,
        kinds=QUEUES,
    ),
    Rule(
        id="queue-senders",
        description="A queue's policy allows EventBridge and SQS, others only from the own account or organisation.",
        why="Who may write to the interruption queue can tell Karpenter that a node is lost, and Karpenter drains it.",
        remedy="Name events.amazonaws.com and sqs.amazonaws.com in Principal, or add a condition on aws:SourceAccount "
        "or aws:PrincipalOrgID.",
        url=SQS_SECURITY,
        severity="critical",
        check=queue_senders,
        kinds=QUEUES,
    ),
    Rule(
        id="queue-has-policy",
        description="Karpenter's interruption queue has a policy.",
        why="Without one EventBridge may not write to it: no warning arrives, and nothing says so. Nor is plain HTTP "
        "denied.",
        remedy="Add a QueuePolicy that lets events.amazonaws.com send and denies plain HTTP.",
        url=INTERRUPTION,
        severity="high",
        check=queue_has_policy,
    ),
    Rule(
        id="interruption-events-complete",
        description="Every AWS event that ends a node reaches Karpenter's interruption queue.",
        why="Karpenter drains a node before AWS takes it only if it is told. One letter wrong in a detail-type and the "
        "event never comes, without an error: cdk-eks-blueprints had C2 for EC2.",
        remedy="Add an EventRule with exactly this source and detail-type, and an EventTarget with the queue's ARN.",
        url=INTERRUPTION,
        severity="high",
        check=interruption_events_complete,
    ),
)
