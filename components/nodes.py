"""The IAM role of worker nodes."""

import pulumi
import pulumi_aws as aws

from gpuslice.aws_policies import NODE_POLICIES, Account, dump, node_trust


class NodeRole:
    """A role for EC2 nodes and AWS's four managed policies on it. `ready` is what a node needs to join."""

    def __init__(
        self,
        name: str,
        account: pulumi.Output[Account],
        role_name: str | None,
        opts: pulumi.ResourceOptions,
    ) -> None:
        self.role = aws.iam.Role(
            name,
            name=role_name,
            assume_role_policy=account.apply(lambda a: dump(node_trust(a))),
            opts=opts,
        )
        self.ready: list[pulumi.Resource] = [self.role]
        for policy in NODE_POLICIES:
            attachment = aws.iam.RolePolicyAttachment(
                f"{name}-{policy}",
                role=self.role.name,
                policy_arn=_managed_policy(account, policy),
                opts=opts,
            )
            self.ready.append(attachment)


def _managed_policy(account: pulumi.Output[Account], policy: str) -> pulumi.Output[str]:
    return account.apply(lambda a: a.managed_policy_arn(policy))
