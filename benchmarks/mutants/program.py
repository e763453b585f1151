"""Faults of the program: what the pack must refuse in its stacks, or a test must notice.

The numbers are those of the list of mutants that the project set itself.
"""

from __future__ import annotations

from benchmarks.mutants.model import Edit, Mutant

POOLS = "gpuslice/pools.py"
KARPENTER = "gpuslice/manifests/karpenter.py"
IAM = "gpuslice/karpenter_iam.py"
CLUSTER = "components/cluster.py"
OPERATOR = "gpuslice/gpu_operator.py"
ADMISSION = "gpuslice/manifests/admission.py"
GPU_POOL = "components/gpu_pool.py"
GPU_TAINT = '[{"key": GPU, "value": "true", "effect": "NoSchedule"}]'
MISSPELT = GPU_TAINT.replace("GPU", "'nvidia.com/gpus'")
OURS = '_ec2(account, ["instance", "launch-template"]),'
LIMITS = '"limits": {key: str(value) for key, value in pool.limits.items()},'


def _one(name: str, file: str, old: str, new: str, *tests: str) -> Mutant:
    return Mutant(name, (Edit(file, old, new),), tests)


MUTANTS = (
    _one("29 no taint", POOLS, f"taints = {GPU_TAINT}", "taints: list[Taint] = []"),
    _one("30 taint key with a typo", POOLS, f"taints = {GPU_TAINT}", f"taints = {MISSPELT}"),
    _one("31 taint only as a startup taint", KARPENTER, '"taints": pool.taints,', '"startupTaints": pool.taints,'),
    _one(
        "32 toleration of the operands lost",
        OPERATOR,
        '"daemonsets": {"tolerations": tolerations(pools)}',
        '"daemonsets": {"tolerations": tolerations(pools)[1:]}',
    ),
    _one("33 no limits", KARPENTER, LIMITS, '"limits": {},'),
    _one("34 limits on cpu only", KARPENTER, LIMITS, '"limits": {"cpu": "1000"},'),
    _one("35 hop limit 2", KARPENTER, '"httpPutResponseHopLimit": 1', '"httpPutResponseHopLimit": 2'),
    _one(
        "35 hop limit 2 of the system nodes", CLUSTER, "http_put_response_hop_limit=1", "http_put_response_hop_limit=2"
    ),
    _one("36 tokens optional", KARPENTER, '"httpTokens": "required"', '"httpTokens": "optional"'),
    _one("36 tokens optional on the system nodes", CLUSTER, 'http_tokens="required"', 'http_tokens="optional"'),
    _one(
        "37 second volume unencrypted",
        KARPENTER,
        '"encrypted": True, "deleteOnTermination"',
        '"encrypted": device != "/dev/xvdb", "deleteOnTermination"',
    ),
    _one("38 queue without the denial of plain HTTP", IAM, '"Effect": "Deny"', '"Effect": "Allow"'),
    _one(
        "38 queue policy without its second statement",
        IAM,
        '"aws:SecureTransport": "false"',
        '"aws:SecureTransport": "true"',
    ),
    _one("39 anybody may send to the queue", IAM, '"Principal": senders', '"Principal": "*"'),
    _one("40 PassRole of every role", IAM, 'account.iam_arn(f"role/{node_role}")', '"*"'),
    _one(
        "41 terminate what is not ours",
        IAM,
        f"{OURS}\n            StringEquals=owned,\n            StringLike=in_pool,",
        OURS,
    ),
    _one(
        "42 endpoint open to everybody", "Pulumi.dev.yaml", "publicCidrs: [203.0.113.0/24]", "publicCidrs: [0.0.0.0/0]"
    ),
    _one("42 endpoint open by default", CLUSTER, "args.public_cidrs if args.public_endpoint else None", "None"),
    _one("43 audit log missing", CLUSTER, '("api", "audit", ', '("api", '),
    _one(
        "44 two slices accepted",
        "gpuslice/sharing/time_slicing.py",
        '"failRequestsGreaterThanOne": True',
        '"failRequestsGreaterThanOne": False',
    ),
    _one("45 one replica over the cap", "Pulumi.dev.yaml", "replicas: 4}", "replicas: 5}"),
    _one(
        "46 a layout that does not fit",
        "gpuslice/sharing/mig.py",
        '"mig-devices": dict(counts)',
        '"mig-devices": {name: count + 1 for name, count in counts}',
    ),
    _one(
        "47 a label that names no configuration", POOLS, "return key, self.config_name", 'return key, "time-slicing-3x"'
    ),
    _one(
        "47 a configuration missing from the ConfigMap",
        "gpuslice/gpu_operator.py",
        "for name, config in catalogue(pools).items()}",
        'for name, config in catalogue(pools).items() if name != "time-slicing-4"}',
    ),
    _one(
        "48 CRDs of another version",
        "components/karpenter.py",
        "version=self._args.version,",
        'version=self._args.version if release == "karpenter" else "1.13.0",',
    ),
    _one(
        "49 the pool depends on nothing",
        "__main__.py",
        "after_platform = pulumi.ResourceOptions(providers=[provider], depends_on=needs)",
        "after_platform = pulumi.ResourceOptions(providers=[provider])",
    ),
    _one(
        "50 the pool is deleted with the cluster",
        GPU_POOL,
        "options = pulumi.ResourceOptions(parent=self, custom_timeouts=timeouts)",
        "options = pulumi.ResourceOptions(parent=self, custom_timeouts=timeouts, deleted_with=self)",
        "tests/unit/test_graph.py",
        "tests/unit/test_gpu_pool.py",
    ),
    _one("51 no timeout for the drain", GPU_POOL, "parent=self, custom_timeouts=timeouts)", "parent=self)"),
    _one(
        "52 the default provider",
        "__main__.py",
        "after_platform = pulumi.ResourceOptions(providers=[provider], depends_on",
        "after_platform = pulumi.ResourceOptions(depends_on",
    ),
    _one(
        "53 kubeconfig exported plain",
        "__main__.py",
        "pulumi.Output.secret(cluster.kubeconfig)",
        "pulumi.Output.unsecret(cluster.kubeconfig)",
        "tests/unit/test_program.py",
    ),
    _one(
        "54 pod security only warned of",
        "gpuslice/manifests/tenancy.py",
        'for mode in ("enforce", "warn", "audit")',
        'for mode in ("warn", "audit")',
    ),
    _one(
        "55 admission that gives way to errors",
        ADMISSION,
        '"failurePolicy": "Ignore" if self.per_pool else "Fail"',
        '"failurePolicy": "Ignore"',
    ),
    _one(
        "56 admission that only notes",
        ADMISSION,
        '"validationActions": [self.action, "Audit"]',
        '"validationActions": ["Audit"]',
    ),
    _one(
        "57 admission without ephemeral containers",
        ADMISSION,
        '["pods", "pods/ephemeralcontainers"]',
        '["pods"]',
    ),
    _one(
        "58 operator below the CVE floor",
        "gpuslice/catalog/versions.py",
        'GPU_OPERATOR = "v26.7.0"',
        'GPU_OPERATOR = "v25.3.0"',
    ),
    _one(
        "59 toolkit that obeys the environment",
        OPERATOR,
        '"toolkit": {"enabled": False},',
        '"toolkit": {"enabled": False, "env": [{"name": "ACCEPT_NVIDIA_VISIBLE_DEVICES_ENVVAR_WHEN_UNPRIVILEGED", '
        '"value": "true"}]},',
    ),
    _one("60 newest image", KARPENTER, '[{"alias": pool.settings.ami}]', '[{"alias": "al2023@latest"}]'),
    _one(
        "61 nodes are administrators",
        "gpuslice/aws_policies.py",
        '"AmazonSSMManagedInstanceCore",',
        '"AdministratorAccess",',
    ),
    Mutant(
        "62 nodes administer the cluster",
        (
            Edit(
                "components/karpenter.py",
                "        self.ready += [*nodes.ready, entry]\n",
                "        aws.eks.AccessPolicyAssociation(\n"
                '            f"{self._name}-node",\n'
                "            cluster_name=self._args.cluster_name,\n"
                "            principal_arn=nodes.role.arn,\n"
                '            policy_arn="arn:aws:eks::aws:cluster-access-policy/AmazonEKSClusterAdminPolicy",\n'
                '            access_scope=aws.eks.AccessPolicyAssociationAccessScopeArgs(type="cluster"),\n'
                "            opts=self._after(entry),\n"
                "        )\n"
                "        self.ready += [*nodes.ready, entry]\n",
            ),
        ),
    ),
    _one(
        "63 all nodes of a pool at once",
        "gpuslice/settings.py",
        'Budget(nodes="1", reasons=("Drifted", "Underutilized"))',
        'Budget(nodes="100%")',
    ),
    Mutant(
        "64 nodes for ever, of the newest image",
        (
            Edit(
                "gpuslice/settings.py",
                'expire_after: f.DurationOrNever = "720h"',
                'expire_after: f.DurationOrNever = "Never"',
            ),
            Edit(KARPENTER, '[{"alias": pool.settings.ami}]', '[{"alias": "al2023@latest"}]'),
        ),
    ),
    _one("65 pools unprotected", GPU_POOL, "protect=settings.protected,", "protect=False,"),
    _one(
        "65 cluster unprotected",
        CLUSTER,
        "protect = pulumi.ResourceOptions(protect=args.deletion_protection)",
        "protect = pulumi.ResourceOptions()",
    ),
    _one(
        "66 autonamed pools",
        GPU_POOL,
        'metadata=manifest["metadata"],',
        'metadata={key: value for key, value in manifest["metadata"].items() if key != "name"},',
    ),
)
