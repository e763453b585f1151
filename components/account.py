"""Where this program's AWS resources are: partition and account, asked of the provider."""

import pulumi
import pulumi_aws as aws

from gpuslice.aws_policies import Account


def account_of(region: str, parent: pulumi.Resource) -> pulumi.Output[Account]:
    """The account that `parent`'s AWS provider works in; known in a preview."""
    options = pulumi.InvokeOptions(parent=parent)
    partition = aws.get_partition_output(opts=options)
    caller = aws.get_caller_identity_output(opts=options)

    def account(values: list[str]) -> Account:
        name, suffix, account_id = values
        return Account(name, suffix, account_id, region)

    parts = pulumi.Output.all(partition.partition, partition.dns_suffix, caller.account_id)
    result: pulumi.Output[Account] = parts.apply(account)
    return result
