"""Cases of the rule on Bottlerocket's own slicing of GPUs, by user data."""

from base import Edit, accepted, drop, put, refused

BOTTLE = "bottlerocket-slicing-valid"
CAPACITY, LIMITS = ("spec", "capacity"), ("spec", "limits")
SHARED, WHOLE = "nvidia.com/gpu.shared", "nvidia.com/gpu"
NVIDIA = "[settings.kubelet-device-plugins.nvidia]"
SLICES = "[settings.kubelet-device-plugins.nvidia.time-slicing]"


def user_data(*lines: str) -> Edit:
    return put("class-bottle", "spec", "userData", "\n".join(lines))


CASES = [
    refused(BOTTLE, "no TOML", user_data("replicas: 4"), says="has user data that is no TOML"),
    refused(
        BOTTLE, "no strategy", user_data(SLICES, "replicas = 3"), says="no effect: device-sharing-strategy is none"
    ),
    refused(
        BOTTLE,
        "another strategy",
        user_data(NVIDIA, 'device-sharing-strategy = "timeslicing"'),
        says="to 'timeslicing'; allowed: none, time-slicing, mps",
    ),
    refused(
        BOTTLE,
        "another strategy's table",
        user_data(NVIDIA, 'device-sharing-strategy = "mps"', SLICES, "replicas = 3"),
        says="time-slicing, which has no effect: device-sharing-strategy is mps",
    ),
    refused(BOTTLE, "a table of MPS", user_data(NVIDIA, "mps.replicas = 3"), says="mps, which has no effect"),
    refused(
        BOTTLE,
        "a table of MIG",
        user_data(NVIDIA, 'mig.profile."a100.40gb" = "3"'),
        says="device-partitioning-strategy is none",
    ),
    refused(
        BOTTLE,
        "another partitioning",
        user_data(NVIDIA, 'device-partitioning-strategy = "mixed"'),
        says="to 'mixed'; allowed: none, mig",
    ),
    refused(
        BOTTLE,
        "MPS with MIG",
        user_data(NVIDIA, 'device-sharing-strategy = "mps"', 'device-partitioning-strategy = "mig"'),
        says="combines MPS with MIG",
    ),
    refused(
        BOTTLE, "an unknown key", user_data(NVIDIA, "replicas = 3"), says="nvidia.replicas, which Bottlerocket does"
    ),
    refused(
        BOTTLE,
        "an unknown key behind others",
        user_data(NVIDIA, "pass-device-specs = true", "strategy = 'none'"),
        says="nvidia.strategy, which Bottlerocket does not know",
    ),
    refused(
        BOTTLE, "no plugin", user_data(NVIDIA, "enabled = false"), says="enabled to false: its nodes offer no GPUs"
    ),
    refused(
        BOTTLE,
        "an unknown key below",
        user_data(NVIDIA, 'device-sharing-strategy = "time-slicing"', SLICES, "rename = true"),
        says="time-slicing.rename, which Bottlerocket does not know",
    ),
    refused(
        BOTTLE,
        "MPS that cannot refuse",
        user_data(NVIDIA, 'device-sharing-strategy = "mps"', "mps.fail-requests-greater-than-one = true"),
        says="mps.fail-requests-greater-than-one, which",
    ),
    refused(
        BOTTLE,
        "an unknown key of MIG",
        user_data(NVIDIA, 'device-partitioning-strategy = "mig"', 'mig.profiles = "3"'),
        says="(did you mean profile?)",
    ),
    refused(
        BOTTLE,
        "one replica",
        user_data(NVIDIA, 'device-sharing-strategy = "time-slicing"', SLICES, "replicas = 1"),
        says="replicas to '1'; allowed: a whole number, 2 or more",
    ),
    refused(
        BOTTLE,
        "replicas of MPS as a text",
        user_data(NVIDIA, 'device-sharing-strategy = "mps"', 'mps.replicas = "3"'),
        says="replicas to '3'",
    ),
    refused(
        BOTTLE,
        "a switch as a text",
        user_data(NVIDIA, 'device-sharing-strategy = "time-slicing"', SLICES, 'rename-by-default = "yes"'),
        says="rename-by-default is 'yes', not true or false",
    ),
    refused(
        BOTTLE,
        "the second switch",
        user_data(NVIDIA, 'device-sharing-strategy = "time-slicing"', SLICES, 'fail-requests-greater-than-one = "yes"'),
        says="fail-requests-greater-than-one is 'yes'",
    ),
    refused(
        BOTTLE,
        "the second profile",
        user_data(NVIDIA, 'device-partitioning-strategy = "mig"', 'mig.profile = {"a100.40gb" = "3", "h100.80gb" = 3}'),
        says="is 3, not a text",
    ),
    refused(
        BOTTLE,
        "a profile that is a number",
        user_data(NVIDIA, 'device-partitioning-strategy = "mig"', 'mig.profile."a100.40gb" = 3'),
        says="is 3, not a text",
    ),
    accepted(
        BOTTLE,
        "other settings besides",
        user_data(
            "[settings.kubernetes]",
            "max-pods = 58",
            NVIDIA,
            "enabled = true",
            'device-id-strategy = "index"',
            'device-list-strategy = "volume-mounts"',
            "pass-device-specs = true",
            'device-partitioning-strategy = "none"',
            'device-sharing-strategy = "time-slicing"',
            SLICES,
            "replicas = 3",
        ),
    ),
    accepted(
        BOTTLE,
        "MPS",
        user_data(NVIDIA, 'device-sharing-strategy = "mps"', "mps = {replicas = 3, rename-by-default = true}"),
    ),
    accepted(
        BOTTLE,
        "two replicas, without a number",
        user_data(NVIDIA, 'device-sharing-strategy = "mps"'),
        put("overlay-bottle", *CAPACITY, SHARED, 2),
    ),
    accepted(
        BOTTLE,
        "no settings at all",
        drop("class-bottle", "spec", "userData"),
        put("overlay-bottle", *CAPACITY, {WHOLE: 1}),
        put("pool-bottle", *LIMITS, {"nodes": 3, WHOLE: 3}),
    ),
    accepted(BOTTLE, "another OS", put("class-shared", "spec", "userData", "MIME-Version: 1.0")),
]
