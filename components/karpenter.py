"""Karpenter: its permissions, its interruption queue, its two Helm releases, and the role of the nodes it buys."""

import json
from dataclasses import dataclass

import pulumi
import pulumi_aws as aws
import pulumi_kubernetes as kubernetes

from components.account import account_of
from components.nodes import NodeRole
from gpuslice import karpenter_iam as iam
from gpuslice.aws_policies import Account, Document, dump
from gpuslice.catalog import versions
from gpuslice.karpenter_values import NAMESPACE, SERVICE_ACCOUNT, karpenter_values
from gpuslice.manifests.karpenter import node_role_name
from gpuslice.settings import Settings

HELM_TIMEOUT_SECONDS = 600
RETENTION_SECONDS = 300
"""An interruption is two minutes ahead at most: an older message is about a node that is gone."""


@dataclass
class KarpenterArgs:
    """Karpenter on one cluster."""

    cluster_name: str
    cluster_endpoint: pulumi.Input[str]
    region: str
    version: str
    """Of both charts; without a `v`."""
    install: bool
    """False where the cluster runs Karpenter already: nothing is made."""
    node_role_name: str
    """The IAM role that each EC2NodeClass names; at most 64 characters."""
    monitoring: bool
    """Add a ServiceMonitor."""

    @classmethod
    def of(cls, settings: Settings, cluster_endpoint: pulumi.Input[str]) -> "KarpenterArgs":
        """The arguments that a stack's settings mean."""
        return cls(
            cluster_name=settings.cluster.name,
            cluster_endpoint=cluster_endpoint,
            region=settings.region,
            version=settings.karpenter.version,
            install=settings.karpenter.install,
            node_role_name=node_role_name(settings),
            monitoring=settings.monitoring.enabled,
        )


class Karpenter(pulumi.ComponentResource):
    """The AWS Karpenter controller with Pod Identity, and what its nodes need to join.

    `depends_on` of the component reaches what it makes: give it the cluster's `ready`. `ready` is what every
    NodePool depends on: all that the NodePool's finalizers need, so that it is destroyed while they can still run.
    Nothing here has `deleted_with` or `retain_on_delete`: skipping its deletion, or its order, orphans instances.
    """

    node_role_name: pulumi.Output[str]
    queue_name: pulumi.Output[str] | None
    """None where Karpenter is not installed by this program."""

    def __init__(self, name: str, args: KarpenterArgs, opts: pulumi.ResourceOptions | None = None) -> None:
        super().__init__("gpu-slicing:index:Karpenter", name, {"clusterName": args.cluster_name}, opts)
        self._name, self._args = name, args
        self._options = pulumi.ResourceOptions(parent=self)
        self._cluster = pulumi.ResourceOptions(parent=self, depends_on=opts.depends_on if opts else None)
        self.ready: list[pulumi.Resource] = []
        self.node_role_name = pulumi.Output.from_input(args.node_role_name)
        self.queue_name = None
        if args.install:
            account = account_of(args.region, self)
            self._nodes(account)
            self._controller(account)
            queue = self._interruption_queue(account)
            self.queue_name = queue.name
            self._releases(queue)
        self.register_outputs({"node_role_name": self.node_role_name, "queue_name": self.queue_name})

    def _after(self, *resources: pulumi.Resource) -> pulumi.ResourceOptions:
        return pulumi.ResourceOptions.merge(self._cluster, pulumi.ResourceOptions(depends_on=list(resources)))

    def _nodes(self, account: pulumi.Output[Account]) -> None:
        """The nodes' role. Its name is fixed: manifests refer to it before it exists."""
        nodes = NodeRole(f"{self._name}-node", account, self._args.node_role_name, self._options)
        entry = aws.eks.AccessEntry(
            f"{self._name}-node",
            cluster_name=self._args.cluster_name,
            principal_arn=nodes.role.arn,
            # Nodes that EKS does not manage get no entry from it.
            type="EC2_LINUX",
            opts=self._after(nodes.role),
        )
        self.ready += [*nodes.ready, entry]

    def _controller(self, account: pulumi.Output[Account]) -> None:
        args, name = self._args, f"{self._name}-controller"
        trust = account.apply(lambda a: dump(iam.controller_trust(a, args.cluster_name, NAMESPACE, SERVICE_ACCOUNT)))
        role = aws.iam.Role(name, assume_role_policy=trust, opts=self._options)
        documents = account.apply(lambda a: iam.controller_policies(a, args.cluster_name, args.node_role_name))
        attached = [self._policy(role, part, documents) for part in iam.CONTROLLER_POLICIES]
        association = aws.eks.PodIdentityAssociation(
            name,
            cluster_name=args.cluster_name,
            namespace=NAMESPACE,
            service_account=SERVICE_ACCOUNT,
            role_arn=role.arn,
            opts=self._after(*attached),
        )
        self.ready += [role, *attached, association]

    def _policy(
        self, role: aws.iam.Role, part: str, documents: pulumi.Output[dict[str, Document]]
    ) -> aws.iam.RolePolicyAttachment:
        name = f"{self._name}-{part}"
        policy = aws.iam.Policy(name, policy=documents.apply(lambda d: dump(d[part])), opts=self._options)
        return aws.iam.RolePolicyAttachment(name, role=role.name, policy_arn=policy.arn, opts=self._options)

    def _interruption_queue(self, account: pulumi.Output[Account]) -> aws.sqs.Queue:
        queue_name = iam.queue_name(self._args.cluster_name)
        queue = aws.sqs.Queue(
            f"{self._name}-interruption",
            name=queue_name,
            message_retention_seconds=RETENTION_SECONDS,
            sqs_managed_sse_enabled=True,
            opts=self._options,
        )
        policy = aws.sqs.QueuePolicy(
            f"{self._name}-interruption",
            queue_url=queue.url,
            policy=account.apply(lambda a: dump(iam.queue_policy(a.arn("sqs", queue_name)))),
            opts=self._options,
        )
        self.ready += [queue, policy]
        for rule_name, pattern in iam.event_patterns().items():
            name = f"{self._name}-{rule_name}"
            rule = aws.cloudwatch.EventRule(name, event_pattern=json.dumps(pattern), opts=self._options)
            target = aws.cloudwatch.EventTarget(name, rule=rule.name, arn=queue.arn, opts=self._options)
            self.ready += [rule, target]
        return queue

    def _releases(self, queue: aws.sqs.Queue) -> None:
        """CRDs as a release of their own: Helm never upgrades those in a chart's `crds` folder."""
        values = karpenter_values(
            cluster_name=self._args.cluster_name,
            cluster_endpoint=self._args.cluster_endpoint,
            queue_name=queue.name,
            region=self._args.region,
            monitoring=self._args.monitoring,
        )
        crds = self._release(f"{self._name}-crd", "karpenter-crd", versions.KARPENTER_CRD_CHART, {}, self._after())
        needs = self._after(crds, *self.ready)
        self.ready += [crds, self._release(self._name, "karpenter", versions.KARPENTER_CHART, values, needs)]

    def _release(
        self, name: str, release: str, chart: str, values: dict[str, object], opts: pulumi.ResourceOptions
    ) -> kubernetes.helm.v3.Release:
        return kubernetes.helm.v3.Release(
            name,
            name=release,
            namespace=NAMESPACE,
            chart=chart,
            version=self._args.version,
            values=values,
            skip_crds=True,
            # A failed installation is removed, so that the next run starts afresh.
            atomic=True,
            cleanup_on_fail=True,
            timeout=HELM_TIMEOUT_SECONDS,
            opts=pulumi.ResourceOptions.merge(
                opts, pulumi.ResourceOptions(custom_timeouts=pulumi.CustomTimeouts(delete="15m"))
            ),
        )
