"""Cases of policies/rules/queue.py."""

from base import accepted, also, drop, like, put, put_head, refused, without

ARN = "arn:aws:sqs:us-east-1:111122223333:research"
STATEMENTS = ("queue-policy", "policy", "Statement")
ALLOW, DENY = (*STATEMENTS, 0), (*STATEMENTS, 1)
HTTP, SENDERS, EVENTS = "queue-denies-http", "queue-senders", "interruption-events-complete"
PATTERN = ("event-instances", "eventPattern")
S3 = {"Service": "s3.amazonaws.com"}
ACCOUNT = {"StringEquals": {"aws:SourceAccount": "111122223333"}}
TAKER = {"AWS": "arn:aws:iam::111122223333:role/reader"}
RELEASE = ("karpenter", "values", "settings", "interruptionQueue")
FILTERED = {"source": ["aws.health"], "detail-type": ["AWS Health Event"], "detail": {"service": ["EC2"]}}


def inline(*statements):
    """The queue's own document, in place of the queue policy."""
    return put("queue", "policy", {"Version": "2012-10-17", "Statement": list(statements)})


def deny(**changes):
    tls = {"Bool": {"aws:SecureTransport": "false"}}
    return {"Effect": "Deny", "Principal": "*", "Action": "sqs:*", "Resource": ARN, "Condition": tls} | changes


def allow(principal, **changes):
    return {"Effect": "Allow", "Principal": principal, "Action": "sqs:SendMessage", "Resource": ARN} | changes


CASES = [
    refused("queue-encrypted", "off", put("queue", "sqsManagedSseEnabled", False), says="is not encrypted"),
    refused("queue-encrypted", "not said", drop("queue", "sqsManagedSseEnabled"), says="does not say"),
    refused(
        "queue-encrypted", "an empty key", drop("queue", "sqsManagedSseEnabled"), put("queue", "kmsMasterKeyId", "")
    ),
    accepted(
        "queue-encrypted",
        "a key instead",
        drop("queue", "sqsManagedSseEnabled"),
        put("queue", "kmsMasterKeyId", "alias/queue"),
    ),
    accepted(
        "queue-encrypted",
        "a key to come instead",
        put("queue", "sqsManagedSseEnabled", False),
        put("queue", "kmsMasterKeyId", "<unknown>"),
    ),
    accepted("queue-encrypted", "as something to come says", put("queue", "sqsManagedSseEnabled", "<unknown>")),
    refused(
        HTTP, "no statement", drop(*DENY), says="does not deny sqs:SendMessage and sqs:ReceiveMessage to everybody"
    ),
    refused(
        HTTP, "receiving is left", put(*DENY, "Action", "sqs:SendMessage"), says="does not deny sqs:ReceiveMessage"
    ),
    refused(HTTP, "sending is left", put(*DENY, "NotAction", "sqs:SendMessage"), drop(*DENY, "Action")),
    refused(
        HTTP, "it allows", put(*DENY, "Effect", "Allow"), put(*DENY, "Principal", {"Service": "sqs.amazonaws.com"})
    ),
    refused(HTTP, "HTTPS is denied", put(*DENY, "Condition", "Bool", "aws:SecureTransport", "true")),
    refused(HTTP, "an exception", put(*DENY, "Condition", "StringNotEquals", {"aws:SourceVpce": "vpce-1"})),
    refused(HTTP, "for some", put(*DENY, "Principal", TAKER)),
    refused(HTTP, "for all but some", put(*DENY, "NotPrincipal", TAKER), drop(*DENY, "Principal")),
    refused(HTTP, "another queue", put(*DENY, "Resource", f"{ARN}-old")),
    refused(HTTP, "one queue of two", put(*ALLOW, "Resource", [ARN, f"{ARN}-old"])),
    refused(HTTP, "the queue's own document", inline(deny(Action="sqs:ReceiveMessage"))),
    accepted(HTTP, "a boolean", put(*DENY, "Condition", "Bool", "aws:SecureTransport", False)),
    accepted(
        HTTP, "also where it is not said", put(*DENY, "Condition", {"BoolIfExists": {"aws:SecureTransport": "false"}})
    ),
    accepted(HTTP, "the two actions", put(*DENY, "Action", ["sqs:Send*", "SQS:receivemessage"])),
    accepted(HTTP, "two statements", put(*DENY, "Action", "sqs:S*"), put(*STATEMENTS, 2, deny(Action="sqs:R*"))),
    accepted(HTTP, "every AWS principal", put(*DENY, "Principal", {"AWS": ["*"]})),
    accepted(HTTP, "every queue", put(*DENY, "Resource", "*"), put(*ALLOW, "Resource", "*")),
    refused(HTTP, "every queue, and no denial", put(*ALLOW, "Resource", "*"), drop(*DENY)),
    accepted(HTTP, "the queue, in other words", put(*ALLOW, "Resource", "*")),
    accepted(HTTP, "always", drop(*DENY, "Condition")),
    accepted(HTTP, "a statement alone", put("queue-policy", "policy", "Statement", deny())),
    refused(SENDERS, "everybody", put(*ALLOW, "Principal", "*"), says="lets everybody use the queue"),
    refused(SENDERS, "every AWS principal", put(*ALLOW, "Principal", {"AWS": "*"}), says="lets everybody"),
    refused(SENDERS, "everybody of the account", put(*ALLOW, "Principal", "*"), put(*ALLOW, "Condition", ACCOUNT)),
    refused(SENDERS, "all but one", put(*ALLOW, "NotPrincipal", TAKER), drop(*ALLOW, "Principal"), says="everybody"),
    refused(
        SENDERS, "another service", put(*ALLOW, "Principal", "Service", 2, "s3.amazonaws.com"), says="lets s3.amazon"
    ),
    refused(SENDERS, "a role", put(*ALLOW, "Principal", TAKER), says=":role/reader use the queue without a condition"),
    refused(SENDERS, "a service's name as a role", put(*ALLOW, "Principal", {"AWS": "sqs.amazonaws.com"})),
    refused(SENDERS, "the second statement", put(*STATEMENTS, 2, allow(S3))),
    refused(
        SENDERS, "any account", put(*STATEMENTS, 2, allow(S3, Condition={"StringLike": {"aws:SourceAccount": "*"}}))
    ),
    refused(
        SENDERS,
        "every account but the own",
        put(*STATEMENTS, 2, allow(S3, Condition={"StringNotEquals": ACCOUNT["StringEquals"]})),
    ),
    refused(
        SENDERS, "a condition on nothing of the kind", put(*STATEMENTS, 2, allow(S3, Condition={"Bool": {"x": "true"}}))
    ),
    refused(SENDERS, "the queue's own document", inline(deny(), allow(S3))),
    accepted(SENDERS, "the own account", put(*STATEMENTS, 2, allow(S3, Condition=ACCOUNT))),
    accepted(
        SENDERS,
        "a rule of the own account",
        put(*STATEMENTS, 2, allow(S3, Condition={"ArnLike": {"aws:SourceArn": "arn:aws:s3:*:111122223333:*"}})),
    ),
    accepted(
        SENDERS,
        "the own organisation",
        put(*STATEMENTS, 2, allow(TAKER, Condition={"StringEquals": {"aws:PrincipalOrgID": "o-a1b2c3d4e5"}})),
    ),
    accepted(SENDERS, "everybody is denied", put(*STATEMENTS, 2, deny(Action="sqs:DeleteQueue"))),
    refused("queue-has-policy", "none", without("queue-policy"), says="Queue queue: is Karpenter's interruption queue"),
    refused("queue-has-policy", "of another queue", put_head("queue-policy", "dependencies", ["node-role"])),
    refused(
        "queue-has-policy",
        "of another queue, by its URL",
        put_head("queue-policy", "dependencies", []),
        put("queue-policy", "queueUrl", "https://sqs.us-east-1.amazonaws.com/111122223333/old-research"),
    ),
    refused(
        "queue-has-policy",
        "of another queue, by its source",
        also("other", "aws:sqs/queue:Queue", {"sqsManagedSseEnabled": True}),
        put_head("queue-policy", "propertyDependencies", {"queueUrl": ["other"]}),
    ),
    refused(
        "queue-has-policy",
        "the release takes the queue's name from it",
        without("queue-policy"),
        put(*RELEASE, "<unknown>"),
    ),
    refused(
        "queue-has-policy",
        "the release takes all its values from it",
        without("queue-policy"),
        put("karpenter", "values", "<unknown>"),
        put_head("karpenter", "propertyDependencies", {"values": ["queue"], "version": ["node-role"]}),
        config={"karpenter-nodeoverlay-gate": "disabled"},
    ),
    refused(
        "queue-has-policy",
        "neither the queue nor the policy says which",
        drop("queue", "name"),
        put(*RELEASE, "<unknown>"),
        put_head("queue-policy", "dependencies", []),
        drop("queue-policy", "queueUrl"),
        config={EVENTS: "disabled"},
    ),
    accepted(
        "queue-has-policy",
        "by its URL",
        put_head("queue-policy", "dependencies", []),
        put("queue-policy", "queueUrl", "https://sqs.us-east-1.amazonaws.com/111122223333/research"),
    ),
    accepted(
        "queue-has-policy", "by its source", put_head("queue-policy", "propertyDependencies", {"queueUrl": ["queue"]})
    ),
    accepted("queue-has-policy", "its own document", without("queue-policy"), inline(deny())),
    accepted("queue-has-policy", "not Karpenter's", put(*RELEASE, "research-2"), without("queue-policy")),
    accepted("queue-has-policy", "without a name", drop("queue", "name"), without("queue-policy")),
    accepted("queue-has-policy", "a name to come", put("queue", "name", "<unknown>"), without("queue-policy")),
    accepted("queue-has-policy", "no queue is used", drop(*RELEASE), drop("queue", "name"), without("queue-policy")),
    accepted(
        "queue-has-policy",
        "a queue's name to come, from elsewhere",
        without("queue-policy"),
        put(*RELEASE, "<unknown>"),
        put_head("karpenter", "dependencies", ["karpenter-crd"]),
    ),
    accepted(
        "queue-has-policy",
        "a queue's name to come, from elsewhere by its source",
        without("queue-policy"),
        put(*RELEASE, "<unknown>"),
        put_head("karpenter", "propertyDependencies", {"values": ["cluster-classic"]}),
    ),
    accepted("queue-has-policy", "another chart", put("karpenter", "chart", "other"), without("queue-policy")),
    refused(
        EVENTS,
        "a letter is missing",
        put(*PATTERN, "detail-type", 2, "C2 Instance State-change Notification"),
        says="gets no event of: EC2 Instance State-change Notification",
    ),
    refused(EVENTS, "another source", put(*PATTERN, "source", ["aws.ec3"]), says="Warning, EC2 Instance Rebalance"),
    refused(
        EVENTS, "another source, for one", put("event-health", "eventPattern", "source", ["aws.ec2"]), says="AWS Health"
    ),
    *(
        refused(EVENTS, f"without event {number}", drop(*PATTERN, "detail-type", number), says=f"event of: {event}")
        for number, event in enumerate(["EC2 Spot", "EC2 Instance Rebalance", "EC2 Instance State-change"])
    ),
    refused(EVENTS, "no rule", without("event-health"), says="AWS Health Event"),
    refused(EVENTS, "no target", without("target-health")),
    refused(EVENTS, "a schedule and no pattern", drop("event-health", "eventPattern")),
    refused(EVENTS, "narrowed", put("event-health", "eventPattern", FILTERED)),
    refused(EVENTS, "no list", put(*PATTERN, "detail-type", "EC2*"), says="detail-type is 'EC2*', not a list"),
    refused(EVENTS, "no JSON", put(*PATTERN, "{"), says="eventPattern is no JSON"),
    refused(EVENTS, "a prefix", put("event-health", "eventPattern", "detail-type", [{"prefix": "AWS"}])),
    refused(EVENTS, "off", put("event-health", "state", "DISABLED")),
    refused(EVENTS, "off in the old way", put("event-health", "isEnabled", False)),
    refused(EVENTS, "another bus", put("event-health", "eventBusName", "team")),
    refused(EVENTS, "to another queue", put("target-health", "arn", f"{ARN}-2")),
    refused(EVENTS, "of another rule", put("target-health", "rule", "health")),
    refused(
        EVENTS,
        "the source of the target is another queue",
        also("other", "aws:sqs/queue:Queue", {"sqsManagedSseEnabled": True}),
        put_head("target-instances", "propertyDependencies", {"arn": ["other"], "rule": ["event-instances"]}),
    ),
    refused(
        EVENTS,
        "reservations are used",
        put("class-bottle", "spec", "capacityReservationSelectorTerms", [{"id": "cr-0123456789abcdef0"}]),
        says="gets no event of: EC2 Capacity Reservation Instance Interruption Warning",
    ),
    refused(
        EVENTS,
        "reservations are told of, and another event is not",
        put("class-bottle", "spec", "capacityReservationSelectorTerms", [{"id": "cr-0123456789abcdef0"}]),
        put(*PATTERN, "detail-type", 1, "EC2 Capacity Reservation Instance Interruption Warning"),
        says="gets no event of: EC2 Instance Rebalance Recommendation",
    ),
    accepted(
        EVENTS,
        "reservations are used, and told of",
        put("class-bottle", "spec", "capacityReservationSelectorTerms", [{"id": "cr-0123456789abcdef0"}]),
        put(*PATTERN, "detail-type", 3, "EC2 Capacity Reservation Instance Interruption Warning"),
    ),
    accepted(EVENTS, "any source", drop(*PATTERN, "source")),
    accepted(EVENTS, "one source more", put(*PATTERN, "source", 1, "aws.batch")),
    accepted(EVENTS, "on", put("event-health", "state", "ENABLED"), put("event-health", "isEnabled", True)),
    accepted(EVENTS, "the default bus", put("event-health", "eventBusName", "arn:aws:events:x:1:event-bus/default")),
    accepted(
        EVENTS,
        "two rules",
        drop(*PATTERN, "detail-type", 0),
        like("spot", "event-instances"),
        put("spot", "eventPattern", "detail-type", ["EC2 Spot Instance Interruption Warning"]),
        like("spot-target", "target-instances", put_head("spot-target", "dependencies", ["spot", "queue"])),
    ),
    accepted(
        EVENTS,
        "a rule of somebody else that cannot be read",
        like("x", "event-health"),
        put("x", "eventPattern", "{"),
        put("x", "name", "x"),
    ),
    accepted(EVENTS, "not Karpenter's", put(*RELEASE, "research-2"), without("event-health")),
]
