"""The key that encrypts a cluster's secrets and logs."""

from dataclasses import dataclass

import pulumi
import pulumi_aws as aws

from components.account import account_of
from gpuslice.aws_policies import dump, key_policy, log_group_name
from gpuslice.settings import Settings


@dataclass
class ClusterKeyArgs:
    """What a cluster's key is for."""

    cluster_name: str
    region: str
    deletion_protection: bool
    """Refuse to delete the key: without it the cluster's secrets are lost."""

    @classmethod
    def of(cls, settings: Settings) -> "ClusterKeyArgs":
        """The arguments that a stack's settings mean."""
        return cls(settings.cluster.name, settings.region, settings.cluster.deletion_protection)


class ClusterKey(pulumi.ComponentResource):
    """A KMS key with yearly rotation and an alias, usable by the account's IAM and for two log groups."""

    arn: pulumi.Output[str]

    def __init__(self, name: str, args: ClusterKeyArgs, opts: pulumi.ResourceOptions | None = None) -> None:
        super().__init__("gpu-slicing:index:ClusterKey", name, {"clusterName": args.cluster_name}, opts)
        groups = [log_group_name(kind, args.cluster_name) for kind in ("control-plane", "flow-logs")]
        policy = account_of(args.region, self).apply(lambda account: dump(key_policy(account, groups)))
        key = aws.kms.Key(
            name,
            description=f"Secrets and logs of the EKS cluster {args.cluster_name}",
            enable_key_rotation=True,
            deletion_window_in_days=30,
            policy=policy,
            opts=pulumi.ResourceOptions(parent=self, protect=args.deletion_protection),
        )
        aws.kms.Alias(
            name,
            name=f"alias/eks/{args.cluster_name}",
            target_key_id=key.key_id,
            opts=pulumi.ResourceOptions(parent=self),
        )
        self.arn = key.arn
        self.register_outputs({"arn": self.arn})
