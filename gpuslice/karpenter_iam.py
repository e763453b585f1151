"""What Karpenter may do in AWS, its interruption queue, and the events on it.

Actions, resources and conditions are those of Karpenter v1.14.1 (aws/karpenter-provider-aws,
website/content/en/v1.14/getting-started/getting-started-with-karpenter/cloudformation.yaml); the permissions change
with Karpenter's minor version, which is why the settings refuse another one.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from gpuslice.aws_policies import Account, Document, document

POLICY_LIMIT = 6144
"""Characters of a managed policy without white space (IAM user guide, "IAM and AWS STS quotas")."""

NODEPOOL_TAG = "karpenter.sh/nodepool"
NODECLASS_TAG = "karpenter.k8s.aws/ec2nodeclass"
CLUSTER_NAME_TAG = "eks:eks-cluster-name"
REGION_TAG = "topology.kubernetes.io/region"
LAUNCHED = ("fleet", "instance", "volume", "network-interface", "launch-template", "spot-instances-request")
REGIONAL_READS = (
    "CapacityReservations",
    "Images",
    "Instances",
    "InstanceStatus",
    "InstanceTypeOfferings",
    "InstanceTypes",
    "LaunchTemplates",
    "PlacementGroups",
    "SecurityGroups",
    "SpotPriceHistory",
    "Subnets",
)

CONTROLLER_POLICIES = (
    "node-lifecycle",
    "iam-integration",
    "eks-integration",
    "interruption",
    "zonal-shift",
    "resource-discovery",
)
"""The names of the controller's policies: known before the account is, of which the documents speak."""

# Rule -> (source, detail-type): every event that makes Karpenter replace a node before it is lost.
INTERRUPTION_EVENTS = {
    "scheduled-change": ("aws.health", "AWS Health Event"),
    "spot-interruption": ("aws.ec2", "EC2 Spot Instance Interruption Warning"),
    "rebalance": ("aws.ec2", "EC2 Instance Rebalance Recommendation"),
    "instance-state-change": ("aws.ec2", "EC2 Instance State-change Notification"),
    "capacity-reservation-interruption": ("aws.ec2", "EC2 Capacity Reservation Instance Interruption Warning"),
}


def _owned(cluster: str) -> str:
    return f"kubernetes.io/cluster/{cluster}"


def _tags(where: str, tags: dict[str, str]) -> dict[str, str]:
    """Condition entries on the tags of the resource (`Resource`) or of the request (`Request`)."""
    return {f"aws:{where}Tag/{key}": value for key, value in tags.items()}


def _allow(sid: str, actions: str | Iterable[str], resources: str | Iterable[str], **condition: Any) -> Document:
    statement: Document = {"Sid": sid, "Effect": "Allow"}
    statement["Action"] = actions if isinstance(actions, str) else list(actions)
    statement["Resource"] = resources if isinstance(resources, str) else list(resources)
    return statement | ({"Condition": condition} if condition else {})


def controller_policies(account: Account, cluster: str, node_role: str) -> dict[str, Document]:
    """The controller's managed policies by name. `node_role` is the name of the GPU nodes' role.

    Six and not one, as upstream has them: with a long cluster name, one document would be over POLICY_LIMIT.
    """
    cluster_arn = account.arn("eks", f"cluster/{cluster}")
    return {
        "node-lifecycle": document(*_launching(account, cluster), *_tagging_and_deleting(account, cluster)),
        "iam-integration": document(_passing(account, node_role), *_instance_profiles(account, cluster)),
        "eks-integration": document(_allow("AllowAPIServerEndpointDiscovery", "eks:DescribeCluster", cluster_arn)),
        "interruption": document(
            _allow(
                "AllowInterruptionQueueActions",
                [f"sqs:{a}" for a in ("DeleteMessage", "GetQueueUrl", "ReceiveMessage")],
                account.arn("sqs", queue_name(cluster)),
            )
        ),
        "zonal-shift": document(
            _allow(
                "AllowZonalShiftStatusReadOnly",
                "arc-zonal-shift:GetManagedResource",
                "*",
                StringEquals={"arc-zonal-shift:ResourceIdentifier": cluster_arn},
            )
        ),
        "resource-discovery": document(*_discovery(account)),
    }


def _ec2(account: Account, kinds: Iterable[str]) -> list[str]:
    return [f"arn:{account.partition}:ec2:{account.region}:*:{kind}/*" for kind in kinds]


def _launching(account: Account, cluster: str) -> list[Document]:
    """Use what every account may use, use launch templates of ours, make only what carries our tags."""
    launch = ["ec2:RunInstances", "ec2:CreateFleet"]
    public = [f"arn:{account.partition}:ec2:{account.region}::{kind}/*" for kind in ("image", "snapshot")]
    own = _ec2(account, ("security-group", "subnet", "capacity-reservation", "placement-group"))
    any_nodepool = {NODEPOOL_TAG: "*"}
    return [
        _allow("AllowScopedEC2InstanceAccessActions", launch, public + own),
        _allow(
            "AllowScopedEC2LaunchTemplateAccessActions",
            launch,
            _ec2(account, ["launch-template"]),
            StringEquals=_tags("Resource", {_owned(cluster): "owned"}),
            StringLike=_tags("Resource", any_nodepool),
        ),
        _allow(
            "AllowScopedEC2InstanceActionsWithTags",
            [*launch, "ec2:CreateLaunchTemplate"],
            _ec2(account, LAUNCHED),
            StringEquals=_tags("Request", {_owned(cluster): "owned", CLUSTER_NAME_TAG: cluster}),
            StringLike=_tags("Request", any_nodepool),
        ),
    ]


def _tagging_and_deleting(account: Account, cluster: str) -> list[Document]:
    """Tag while creating; later add three tags to our instances; terminate and delete only what is ours."""
    owned = _tags("Resource", {_owned(cluster): "owned"})
    in_pool = _tags("Resource", {NODEPOOL_TAG: "*"})
    creation = _tags("Request", {_owned(cluster): "owned", CLUSTER_NAME_TAG: cluster})
    creating = {"ec2:CreateAction": ["RunInstances", "CreateFleet", "CreateLaunchTemplate"]}
    late_tags = [CLUSTER_NAME_TAG, "karpenter.sh/nodeclaim", "Name"]
    return [
        _allow(
            "AllowScopedResourceCreationTagging",
            "ec2:CreateTags",
            _ec2(account, LAUNCHED),
            StringEquals=creation | creating,
            StringLike=_tags("Request", {NODEPOOL_TAG: "*"}),
        ),
        _allow(
            "AllowScopedResourceTagging",
            "ec2:CreateTags",
            _ec2(account, ["instance"]),
            StringEquals=owned,
            StringLike=in_pool,
            StringEqualsIfExists=_tags("Request", {CLUSTER_NAME_TAG: cluster}),
            **{"ForAllValues:StringEquals": {"aws:TagKeys": late_tags}},
        ),
        _allow(
            "AllowScopedDeletion",
            ["ec2:TerminateInstances", "ec2:DeleteLaunchTemplate"],
            _ec2(account, ["instance", "launch-template"]),
            StringEquals=owned,
            StringLike=in_pool,
        ),
    ]


def _passing(account: Account, node_role: str) -> Document:
    return _allow(
        "AllowPassingInstanceRole",
        "iam:PassRole",
        account.iam_arn(f"role/{node_role}"),
        StringEquals={"iam:PassedToService": ["ec2.amazonaws.com", "ec2.amazonaws.com.cn"]},
    )


def _instance_profiles(account: Account, cluster: str) -> list[Document]:
    """Karpenter makes an instance profile for each EC2NodeClass; it touches none of another cluster or region."""
    profiles = account.iam_arn("instance-profile/*")
    place = {_owned(cluster): "owned", REGION_TAG: account.region}
    existing, wanted = _tags("Resource", place), _tags("Request", place | {CLUSTER_NAME_TAG: cluster})
    existing_class, wanted_class = _tags("Resource", {NODECLASS_TAG: "*"}), _tags("Request", {NODECLASS_TAG: "*"})
    changes = ("AddRoleToInstanceProfile", "RemoveRoleFromInstanceProfile", "DeleteInstanceProfile")
    return [
        _allow(
            "AllowScopedInstanceProfileCreationActions",
            "iam:CreateInstanceProfile",
            profiles,
            StringEquals=wanted,
            StringLike=wanted_class,
        ),
        _allow(
            "AllowScopedInstanceProfileTagActions",
            "iam:TagInstanceProfile",
            profiles,
            StringEquals=existing | wanted,
            StringLike=existing_class | wanted_class,
        ),
        _allow(
            "AllowScopedInstanceProfileActions",
            [f"iam:{change}" for change in changes],
            profiles,
            StringEquals=existing,
            StringLike=existing_class,
        ),
    ]


def _discovery(account: Account) -> list[Document]:
    parameters = f"arn:{account.partition}:ssm:{account.region}::parameter/aws/service/*"
    here = {"aws:RequestedRegion": account.region}
    reads = [f"ec2:Describe{what}" for what in REGIONAL_READS]
    return [
        _allow("AllowRegionalReadActions", reads, "*", StringEquals=here),
        _allow("AllowSSMReadActions", "ssm:GetParameter", parameters),
        _allow("AllowPricingReadActions", "pricing:GetProducts", "*"),
        _allow("AllowUnscopedInstanceProfileListAction", "iam:ListInstanceProfiles", "*"),
        _allow("AllowInstanceProfileReadActions", "iam:GetInstanceProfile", account.iam_arn("instance-profile/*")),
    ]


def controller_trust(account: Account, cluster: str, namespace: str, service_account: str) -> Document:
    """EKS Pod Identity may use the role for one service account of this cluster, and for nobody else.

    The conditions are on the session tags that EKS Pod Identity sets itself (EKS user guide, "Create IAM role with
    trust policy required by EKS Pod Identity"). `aws:SourceArn` is left out on purpose: AWS does not document its
    value for Pod Identity, and the obvious one locks the pods out (awslabs/mountpoint-s3-csi-driver issue 781).
    """
    conditions = {
        "aws:SourceAccount": account.account_id,
        "aws:RequestTag/eks-cluster-arn": account.arn("eks", f"cluster/{cluster}"),
        "aws:RequestTag/kubernetes-namespace": namespace,
        "aws:RequestTag/kubernetes-service-account": service_account,
    }
    return document(
        {
            "Sid": "AllowPodIdentity",
            "Effect": "Allow",
            "Principal": {"Service": "pods.eks.amazonaws.com"},
            "Action": ["sts:AssumeRole", "sts:TagSession"],
            "Condition": {"StringEquals": conditions},
        }
    )


def queue_name(cluster: str) -> str:
    """The interruption queue is named like the cluster, as in Karpenter's own set-up."""
    return cluster


def queue_policy(queue_arn: str) -> Document:
    """EventBridge may send, nobody may use plain HTTP."""
    senders = {"Service": ["events.amazonaws.com", "sqs.amazonaws.com"]}
    return document(
        {
            "Sid": "AllowEvents",
            "Effect": "Allow",
            "Principal": senders,
            "Action": "sqs:SendMessage",
            "Resource": queue_arn,
        },
        {
            "Sid": "DenyPlainHttp",
            "Effect": "Deny",
            "Principal": "*",
            "Action": "sqs:*",
            "Resource": queue_arn,
            "Condition": {"Bool": {"aws:SecureTransport": "false"}},
        },
    )


def event_patterns() -> dict[str, dict[str, list[str]]]:
    """Rule name to its EventBridge event pattern."""
    return {
        rule: {"source": [source], "detail-type": [detail_type]}
        for rule, (source, detail_type) in INTERRUPTION_EVENTS.items()
    }
