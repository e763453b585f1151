"""Faults of the pack itself: each must fail a test of the rule that has it.

The numbers are those of the list of mutants that the project set itself.
"""

from __future__ import annotations

from benchmarks.mutants.model import Edit, Mutant

CASES = "tests/policies/test_cases.py"
PACK = "tests/policies/test_pack.py"
CHECK = "tests/policies/test_check.py"
ODD = "tests/policies/test_odd_shapes.py"
WORKLOADS = "policies/workloads.py"
KARPENTER = "policies/karpenter.py"
ITEMS = "policies/items.py"
LIMITS = "policies/rules/limits.py"


def _one(name: str, file: str, old: str, new: str, *tests: str) -> Mutant:
    return Mutant(name, (Edit(file, old, new),), tests or (CASES,))


def _cases(words: str) -> tuple[str, ...]:
    """The cases of some rules: the whole of them takes a minute."""
    return (CASES, "-k", words)


MUTANTS = (
    _one(
        "1 mandatory becomes advisory",
        "policies/model.py",
        'level: Level = "mandatory"',
        'level: Level = "advisory"',
        PACK,
        "-k",
        "not grpc",
    ),
    _one(
        "1 the configuration's level is ignored",
        "policies/config.py",
        "entry.get(LEVEL_KEY, given.get(ALL, rule.level))",
        "rule.level",
        PACK,
        "-k",
        "level or all_sets",
    ),
    _one(
        "2 the cap itself is refused",
        LIMITS,
        "not 1 <= number <= Decimal(most)",
        "not 1 <= number < Decimal(most)",
        *_cases("capped"),
    ),
    _one(
        "2 one replica over the cap is fine",
        LIMITS,
        "if share.replicas > cap:",
        "if share.replicas > cap + 1:",
        *_cases("replicas"),
    ),
    _one(
        "3 any requirement for all of them",
        KARPENTER,
        "return all(limit.allows(labels)",
        "return any(limit.allows(labels)",
        *_cases("pool"),
    ),
    _one(
        "4 init containers dropped",
        WORKLOADS,
        'fields or ("initContainers", "containers", "ephemeralContainers")',
        'fields or ("containers", "ephemeralContainers")',
        *_cases("slice or gpu or env"),
    ),
    _one(
        "5 ephemeral containers dropped",
        WORKLOADS,
        'fields or ("initContainers", "containers", "ephemeralContainers")',
        'fields or ("initContainers", "containers")',
        *_cases("slice or gpu or env"),
    ),
    _one(
        "6 only the first taint",
        KARPENTER,
        'return pool.data.at("spec", "template", "spec", field).items()',
        'return pool.data.at("spec", "template", "spec", field).items()[:1]',
        *_cases("taint"),
    ),
    _one(
        "6 only the first volume",
        "policies/view.py",
        "for index, value in enumerate(self.value)]",
        "for index, value in enumerate(self.value[:1])]",
        *_cases("volumes"),
    ),
    _one(
        "7 wrong type token",
        KARPENTER,
        'NODE_POOL = "karpenter.sh/NodePool"',
        'NODE_POOL = "karpenter.sh/Nodepool"',
        *_cases("taint"),
    ),
    _one(
        "7 only one version of the API",
        ITEMS,
        "{own_version.rpartition('/')[0]}/{own_kind}",
        "{own_version.removesuffix('/v1')}/{own_kind}",
        *_cases("overlay"),
    ),
    _one(
        "8 kind by the name in the program",
        ITEMS,
        'kind = rest.rpartition(":")[2]',
        "kind = resource.name",
        *_cases("taint"),
    ),
    _one(
        "9 a taint key that starts alike",
        WORKLOADS,
        'key not in ("", taint.key)',
        "not taint.key.startswith(key)",
        *_cases("toler"),
    ),
    _one("10 effect ignored", WORKLOADS, 'effect not in ("", taint.effect) or ', "", *_cases("toler")),
    _one(
        "11 startup taints for taints",
        KARPENTER,
        'field: str = "taints"',
        'field: str = "startupTaints"',
        *_cases("taint"),
    ),
    _one(
        "12 a missing endpoint setting is fine",
        "policies/rules/cluster.py",
        'endpoint["endpointPublicAccess"].flag(True)',
        'endpoint["endpointPublicAccess"].flag()',
        *_cases("endpoint"),
    ),
    _one(
        "13 an error ends the rule in silence",
        "policies/model.py",
        "        yield Note(str(odd))\n",
        "        return\n",
        ODD,
    ),
    _one(
        "14 violations are only logged",
        "policies/server.py",
        "_response(self._judge.resource(resource))",
        "_response([])",
        PACK,
        "-k",
        "grpc and taint",
    ),
    _one(
        "15 snake case",
        "policies/rules/cluster.py",
        '["endpointPrivateAccess"]',
        '["endpoint_private_access"]',
        *_cases("endpoint"),
    ),
    _one(
        "16 only replacements that create",
        "policies/rules/changes.py",
        '_REPLACEMENTS = ("replace", "create-replacement", "delete-replaced")',
        '_REPLACEMENTS = ("create-replacement",)',
        CHECK,
        "-k",
        "replacement",
    ),
    _one("17 Helm releases skipped", ITEMS, "if rest in _HELM_TOKENS:", "if rest in ():", *_cases("operator")),
    _one(
        "18 the EKS component skipped",
        "policies/facts.py",
        'CLUSTERS = ("eks:index:Cluster", "aws:eks/cluster:Cluster")',
        'CLUSTERS = ("eks:index:Component", "aws:eks/cluster:Cluster")',
        *_cases("eks"),
    ),
    _one(
        "19 a domain missing from the pack",
        "policies/pack.py",
        "for domain in DOMAINS for rule",
        "for domain in DOMAINS[:-1] for rule",
        CASES,
        "-k",
        "listed or no_case_names",
    ),
    _one(
        "20 limits compared as texts",
        LIMITS,
        "number is not None and not 1 <= number <= Decimal(most)",
        "number is not None and not '1' <= str(number) <= str(most)",
        *_cases("capped"),
    ),
    _one(
        "21 MB for MiB",
        "policies/quantity.py",
        "Decimal(1024) ** power",
        "Decimal(1000) ** power",
        *_cases("volume or memory"),
    ),
    _one(
        "22 replicas of a node, not of a GPU",
        "policies/slices.py",
        "offered.pop(share.resource) * share.replicas",
        "min(1, offered.pop(share.resource)) * share.replicas",
        *_cases("overlay or limits"),
    ),
    _one(
        "23 exempt by the start of a namespace",
        WORKLOADS,
        'return namespace(item) in config["namespaces"]',
        'return namespace(item).startswith(tuple(config["namespaces"]))',
        *_cases("namespace or toleration or exempt"),
    ),
    _one(
        "24 exempt by a label that a user sets",
        "policies/admission.py",
        "if key != NAMESPACE_NAME:",
        'if "/" not in key:',
        *_cases("exempts"),
    ),
    _one(
        "25 every option in any range",
        "policies/config.py",
        "return option.minimum <= value <= option.maximum and",
        "return",
        PACK,
        "-k",
        "configuration",
    ),
    _one(
        "26 an unknown value passes in silence",
        "policies/model.py",
        '        yield Note(f"cannot be judged yet: {unknown} is known only after the update", unknown=True)\n',
        "        return\n",
        PACK,
        "-k",
        "not_known",
    ),
    _one(
        "27 no name of the resource",
        "policies/judge.py",
        'return f"{self.item}: {self.message}"',
        "return self.message",
        PACK,
        CASES,
        "-k",
        "says",
    ),
    _one(
        "28 the default provider is fine",
        "policies/rules/ownership.py",
        "_DEFAULT_PROVIDER.fullmatch(item.resource.provider)",
        "not item.resource.provider",
        *_cases("provider"),
    ),
)
