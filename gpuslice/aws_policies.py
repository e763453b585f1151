"""IAM and KMS policy documents of the network and the cluster, as data.

Everything is a function of plain strings, so that the documents can be judged without AWS. Sources are the AWS user
guides named at each function.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

Document = dict[str, Any]
POLICY_VERSION = "2012-10-17"
LOG_RETENTION_DAYS = 365
"""An audit asks for a year (checkov CKV_AWS_338)."""


@dataclass(frozen=True)
class Account:
    """Where resources are. `partition` is `aws`, `aws-cn`, `aws-us-gov` ...; `dns_suffix` its `amazonaws.com`."""

    partition: str
    dns_suffix: str
    account_id: str
    region: str

    def arn(self, service: str, resource: str) -> str:
        """The ARN of a regional resource of this account."""
        return f"arn:{self.partition}:{service}:{self.region}:{self.account_id}:{resource}"

    def iam_arn(self, resource: str) -> str:
        """The ARN of an IAM resource of this account, such as `role/name`: IAM has no region."""
        return f"arn:{self.partition}:iam::{self.account_id}:{resource}"

    def managed_policy_arn(self, name: str) -> str:
        """The ARN of a policy that AWS maintains."""
        return f"arn:{self.partition}:iam::aws:policy/{name}"


# What a worker node needs (EKS user guide, "Amazon EKS node IAM role"). Pull-only: a node never pushes an image.
NODE_POLICIES = (
    "AmazonEKSWorkerNodePolicy",
    "AmazonEKS_CNI_Policy",
    "AmazonEC2ContainerRegistryPullOnly",
    "AmazonSSMManagedInstanceCore",
)


def document(*statements: Document) -> Document:
    """A policy document of these statements."""
    return {"Version": POLICY_VERSION, "Statement": list(statements)}


def dump(policy: Document) -> str:
    """The document as compact JSON: IAM limits the size of a policy."""
    return json.dumps(policy, separators=(",", ":"))


def log_group_name(kind: str, cluster: str) -> str:
    """The log group of a cluster's control plane (`control-plane`; EKS fixes that name) or of its `flow-logs`."""
    return {"control-plane": f"/aws/eks/{cluster}/cluster", "flow-logs": f"/aws/vpc/{cluster}/flow-logs"}[kind]


def node_trust(account: Account) -> Document:
    """Lets EC2 instances use the role."""
    principal = {"Service": f"ec2.{account.dns_suffix}"}
    return document({"Effect": "Allow", "Principal": principal, "Action": "sts:AssumeRole"})


def key_policy(account: Account, log_groups: Sequence[str]) -> Document:
    """The account's IAM decides who uses the key; CloudWatch Logs uses it for these log groups alone.

    EKS needs no statement: it works through a grant that the cluster's creator gives. Source: CloudWatch Logs user
    guide, "Encrypt log data in CloudWatch Logs using AWS KMS".
    """
    logs = {
        "Sid": "CloudWatchLogs",
        "Effect": "Allow",
        "Principal": {"Service": f"logs.{account.region}.{account.dns_suffix}"},
        "Action": ["kms:Encrypt", "kms:Decrypt", "kms:ReEncrypt*", "kms:GenerateDataKey*", "kms:DescribeKey"],
        "Resource": "*",
        "Condition": {
            "ArnEquals": {
                "kms:EncryptionContext:aws:logs:arn": [account.arn("logs", f"log-group:{g}") for g in log_groups]
            }
        },
    }
    owner = {
        "Sid": "AccountPolicies",
        "Effect": "Allow",
        "Principal": {"AWS": account.iam_arn("root")},
        "Action": "kms:*",
        "Resource": "*",
    }
    return document(owner, logs)


def flow_log_trust(account: Account) -> Document:
    """Lets this account's flow logs, and no other account's, use the role. Source: VPC user guide, "Flow logs"."""
    return document(
        {
            "Effect": "Allow",
            "Principal": {"Service": "vpc-flow-logs.amazonaws.com"},
            "Action": "sts:AssumeRole",
            "Condition": {
                "StringEquals": {"aws:SourceAccount": account.account_id},
                "ArnLike": {"aws:SourceArn": account.arn("ec2", "vpc-flow-log/*")},
            },
        }
    )


def flow_log_policy(account: Account, log_group: str) -> Document:
    """Lets flow logs write to their one log group, which exists already."""
    arn = account.arn("logs", f"log-group:{log_group}")
    actions = ["CreateLogStream", "PutLogEvents", "DescribeLogGroups", "DescribeLogStreams"]
    return document(
        {"Effect": "Allow", "Action": [f"logs:{a}" for a in actions], "Resource": [arn, f"{arn}:*"]},
    )
