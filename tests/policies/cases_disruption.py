"""Cases of policies/rules/disruption.py."""

from base import Edit, accepted, drop, put, refused

POLICY = ("spec", "disruption", "consolidationPolicy")
AFTER = ("spec", "disruption", "consolidateAfter")
BUDGETS = ("spec", "disruption", "budgets")
TEMPLATE = ("spec", "template", "spec")
UNDERUTILIZED = put("pool-shared", *POLICY, "WhenEmptyOrUnderutilized")
CAPACITY_TYPE = {"key": "karpenter.sh/capacity-type", "operator": "In"}
CAPACITY = (*TEMPLATE, "requirements", 1)


def after(value: object) -> Edit:
    return put("pool-shared", *AFTER, value)


def budgets(*given: dict[str, object], name: str = "pool-shared") -> Edit:
    return put(name, *BUDGETS, list(given))


def fixed_size(name: str = "pool-shared", replicas: object = 2) -> Edit:
    return put(name, "spec", "replicas", replicas)


CONSOLIDATION = [
    refused(
        "gpu-pool-consolidation",
        "at once",
        UNDERUTILIZED,
        after("0s"),
        says="after 0 s; allowed: consolidationPolicy WhenEmpty, or consolidateAfter of at least 5m",
    ),
    refused("gpu-pool-consolidation", "a second short", UNDERUTILIZED, after("4m59s"), says="after 299 s"),
    refused(
        "gpu-pool-consolidation",
        "Karpenter's default policy",
        drop("pool-bottle", *POLICY),
        put("pool-bottle", *AFTER, "30s"),
    ),
    refused("gpu-pool-consolidation", "balanced", put("pool-shared", *POLICY, "Balanced"), after("1m")),
    refused("gpu-pool-consolidation", "Karpenter's default delay", UNDERUTILIZED, drop("pool-shared", *AFTER)),
    refused("gpu-pool-consolidation", "all of Karpenter's defaults", drop("pool-whole", "spec", "disruption")),
    refused(
        "gpu-pool-consolidation",
        "sooner than a user wants",
        UNDERUTILIZED,
        config={"gpu-pool-consolidation": {"minMinutes": 11}},
        says="at least 11m",
    ),
    refused("gpu-pool-consolidation", "four minutes in seconds", UNDERUTILIZED, after("240s")),
    accepted("gpu-pool-consolidation", "exactly the delay", UNDERUTILIZED, after("5m")),
    accepted("gpu-pool-consolidation", "the delay in parts", UNDERUTILIZED, after("4m60s")),
    accepted("gpu-pool-consolidation", "hours", UNDERUTILIZED, after("1h")),
    accepted("gpu-pool-consolidation", "empty nodes at once", after("0s")),
    accepted("gpu-pool-consolidation", "a pool of fixed size", UNDERUTILIZED, after("0s"), fixed_size()),
    accepted("gpu-pool-consolidation", "a pool without GPUs", put("pool-general", *AFTER, "0s")),
    accepted(
        "gpu-pool-consolidation",
        "sooner where a user wants it",
        UNDERUTILIZED,
        after("1m"),
        config={"gpu-pool-consolidation": {"minMinutes": 1}},
    ),
]

IDLE = [
    refused(
        "gpu-pool-idle",
        "never",
        after("Never"),
        says="keeps empty nodes for ever; allowed: consolidateAfter of at most 240m",
    ),
    refused("gpu-pool-idle", "a second long", after("4h1s"), says="for 14401 s"),
    refused(
        "gpu-pool-idle",
        "reserved capacity and more",
        put("pool-shared", *CAPACITY, "values", ["reserved", "on-demand"]),
        after("Never"),
    ),
    refused(
        "gpu-pool-idle",
        "all but reserved capacity",
        put(
            "pool-shared", *CAPACITY, {"key": "karpenter.sh/capacity-type", "operator": "NotIn", "values": ["reserved"]}
        ),
        after("Never"),
    ),
    refused(
        "gpu-pool-idle",
        "another requirement of that value",
        put("pool-shared", *CAPACITY, {"key": "team", "operator": "In", "values": ["reserved"]}),
        after("Never"),
    ),
    refused("gpu-pool-idle", "longer than a user wants", config={"gpu-pool-idle": {"maxMinutes": 9}}),
    accepted("gpu-pool-idle", "exactly the time", after("4h")),
    accepted(
        "gpu-pool-idle",
        "reserved capacity alone",
        put("pool-shared", *CAPACITY, "values", ["reserved"]),
        after("Never"),
    ),
    accepted(
        "gpu-pool-idle",
        "reserved capacity alone, by two requirements",
        put("pool-shared", *TEMPLATE, "requirements", 2, {**CAPACITY_TYPE, "values": ["reserved"]}),
        after("Never"),
    ),
    accepted("gpu-pool-idle", "a pool of fixed size", after("Never"), fixed_size()),
    accepted("gpu-pool-idle", "a pool without GPUs", put("pool-general", *AFTER, "Never")),
]

BUDGET = [
    refused(
        "gpu-pool-budget",
        "everything at once",
        budgets({"nodes": "100%"}),
        says="lets 100% of its nodes go at once as Drifted; allowed: 50%, or 5 by number",
    ),
    refused("gpu-pool-budget", "a percent too many", budgets({"nodes": "51%"})),
    refused(
        "gpu-pool-budget", "more nodes than half of the limit", budgets({"nodes": "6"}), says="lets 6 of its nodes"
    ),
    refused("gpu-pool-budget", "no budget", budgets(), says="lets any number of its nodes go at once as Drifted"),
    refused("gpu-pool-budget", "a budget for empty nodes alone", budgets({"nodes": "0", "reasons": ["Empty"]})),
    refused("gpu-pool-budget", "no reason is no budget", budgets({"nodes": "0", "reasons": []})),
    refused(
        "gpu-pool-budget",
        "a budget at night alone",
        budgets({"nodes": "0", "schedule": "0 22 * * *", "duration": "8h"}),
    ),
    refused("gpu-pool-budget", "a duration without a schedule", budgets({"nodes": "0", "duration": "8h"})),
    refused("gpu-pool-budget", "a schedule without a duration", budgets({"nodes": "0", "schedule": "@daily"})),
    refused(
        "gpu-pool-budget",
        "consolidation without one",
        UNDERUTILIZED,
        budgets({"nodes": "1", "reasons": ["Drifted"]}),
        says="as Underutilized",
    ),
    refused(
        "gpu-pool-budget",
        "consolidation by default without one",
        drop("pool-shared", *POLICY),
        budgets({"nodes": "1", "reasons": ["Drifted"]}),
    ),
    refused("gpu-pool-budget", "no form that Karpenter knows", budgets({"nodes": "50 %"}), says="lets 50 % of"),
    refused("gpu-pool-budget", "the second pool", budgets({"nodes": "100%"}, name="pool-mig")),
    refused(
        "gpu-pool-budget",
        "a pool of fixed size",
        fixed_size(),
        budgets({"nodes": "2"}),
        says="allowed: 50%, or 1 by number",
    ),
    refused(
        "gpu-pool-budget",
        "more than a user wants",
        drop("pool-shared", *BUDGETS),
        config={"gpu-pool-budget": {"maxPercent": 9}},
        says="lets 10% of",
    ),
    refused(
        "gpu-pool-budget",
        "a budget without a number",
        budgets({"reasons": ["Drifted"]}),
        config={"gpu-pool-budget": {"maxPercent": 9}},
    ),
    refused(
        "gpu-pool-budget",
        "drift without one",
        UNDERUTILIZED,
        budgets({"nodes": "1", "reasons": ["Underutilized"]}),
        says="as Drifted",
    ),
    refused(
        "gpu-pool-budget",
        "two of no nodes, where all may go",
        fixed_size(replicas=0),
        budgets({"nodes": "2"}),
        config={"gpu-pool-budget": {"maxPercent": 100}},
    ),
    accepted("gpu-pool-budget", "half of a pool of fixed size", fixed_size(replicas=202.0), budgets({"nodes": "101"})),
    refused("gpu-pool-budget", "two of no nodes", fixed_size(replicas=0), budgets({"nodes": "2"})),
    accepted("gpu-pool-budget", "one of no nodes", fixed_size(replicas=0), budgets({"nodes": "1"})),
    accepted("gpu-pool-budget", "exactly half", budgets({"nodes": "50%"})),
    accepted("gpu-pool-budget", "half of the nodes by number", budgets({"nodes": "5"})),
    accepted(
        "gpu-pool-budget",
        "one node of a pool of one",
        put("pool-shared", "spec", "limits", "nodes", 1.0),
        put("pool-shared", "spec", "limits", "nvidia.com/gpu.shared", 4),
        budgets({"nodes": "1"}),
    ),
    accepted("gpu-pool-budget", "the strictest holds", budgets({"nodes": "100%"}, {"nodes": "1"})),
    accepted(
        "gpu-pool-budget",
        "a window in which nothing goes",
        budgets({"nodes": "10%"}, {"nodes": "0", "schedule": "@daily", "duration": "8h"}),
    ),
    accepted("gpu-pool-budget", "Karpenter's default", drop("pool-shared", *BUDGETS)),
    accepted(
        "gpu-pool-budget",
        "Karpenter's default number",
        budgets({"reasons": ["Drifted"]}),
        config={"gpu-pool-budget": {"maxPercent": 10}},
    ),
    accepted(
        "gpu-pool-budget",
        "each reason has one",
        UNDERUTILIZED,
        budgets({"nodes": "1", "reasons": ["Underutilized"]}, {"nodes": "0", "reasons": ["Drifted"]}),
    ),
    accepted("gpu-pool-budget", "a pool without GPUs", budgets({"nodes": "100%"}, name="pool-general")),
    accepted(
        "gpu-pool-budget",
        "a pool of fixed size whose nodes go one by one",
        fixed_size(),
        budgets({"nodes": "1", "reasons": ["Drifted"]}),
        UNDERUTILIZED,
    ),
    accepted(
        "gpu-pool-budget",
        "all of them where a user wants it",
        budgets({"nodes": "100%"}),
        config={"gpu-pool-budget": {"maxPercent": 100}},
    ),
]


def expire(value: object) -> Edit:
    return put("pool-shared", *TEMPLATE, "expireAfter", value)


EXPIRY = [
    refused(
        "gpu-pool-expiry",
        "a second short",
        expire("23h59m59s"),
        says="replaces nodes after 86399 s; allowed: expireAfter of at least 24h, or Never",
    ),
    refused("gpu-pool-expiry", "an hour", put("pool-bottle", *TEMPLATE, "expireAfter", "1h")),
    refused(
        "gpu-pool-expiry",
        "an endless drain",
        drop("pool-shared", *TEMPLATE, "terminationGracePeriod"),
        says="without a terminationGracePeriod",
    ),
    refused(
        "gpu-pool-expiry",
        "an endless drain by default",
        drop("pool-shared", *TEMPLATE, "terminationGracePeriod"),
        drop("pool-shared", *TEMPLATE, "expireAfter"),
    ),
    refused(
        "gpu-pool-expiry",
        "Karpenter's default is too short for a user",
        drop("pool-shared", *TEMPLATE, "expireAfter"),
        config={"gpu-pool-expiry": {"minHours": 721}},
        says="2592000 s",
    ),
    accepted("gpu-pool-expiry", "exactly a day", expire("24h")),
    accepted("gpu-pool-expiry", "a day in minutes", expire("1440m")),
    accepted(
        "gpu-pool-expiry",
        "Karpenter's default",
        drop("pool-shared", *TEMPLATE, "expireAfter"),
        config={"gpu-pool-expiry": {"minHours": 720}},
    ),
    accepted(
        "gpu-pool-expiry",
        "never, with an endless drain",
        expire("Never"),
        drop("pool-shared", *TEMPLATE, "terminationGracePeriod"),
    ),
    accepted("gpu-pool-expiry", "a pool without GPUs", put("pool-general", *TEMPLATE, "expireAfter", "1h")),
]

CASES = [*CONSOLIDATION, *IDLE, *BUDGET, *EXPIRY]
