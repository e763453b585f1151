"""A new EKS cluster, its system nodes and its add-ons."""

import json
from dataclasses import dataclass

import pulumi
import pulumi_aws as aws
import pulumi_eks as eks

from components.account import account_of
from components.kubernetes_cluster import KubernetesCluster
from components.nodes import NodeRole
from gpuslice.aws_policies import LOG_RETENTION_DAYS, log_group_name
from gpuslice.kubeconfig import exec_kubeconfig
from gpuslice.settings import Settings
from gpuslice.system_nodes import ami_type

CONTROL_PLANE_LOGS = ("api", "audit", "authenticator", "controllerManager", "scheduler")
SYSTEM_DISK_GIB = 50


@dataclass
class ClusterArgs:
    """A new EKS cluster and the nodes that its own software runs on."""

    cluster_name: str
    region: str
    kubernetes_version: str
    vpc_id: pulumi.Input[str]
    private_subnet_ids: pulumi.Input[list[str]]
    """At least two, in different zones."""
    service_cidr: str
    private_endpoint: bool
    public_endpoint: bool
    public_cidrs: list[str]
    """Who reaches the public endpoint; empty unless there is one."""
    system_instance_types: list[str]
    """Of one CPU architecture, without GPUs."""
    system_node_count: int
    admin_arns: list[str]
    """IAM principals that get cluster-admin. Not the one that creates the cluster: EKS gives it an entry itself."""
    deletion_protection: bool
    key_arn: pulumi.Input[str]
    """The KMS key of the secrets and of the control plane's logs."""

    @classmethod
    def of(
        cls,
        settings: Settings,
        vpc_id: pulumi.Input[str],
        private_subnet_ids: pulumi.Input[list[str]],
        key_arn: pulumi.Input[str],
    ) -> "ClusterArgs":
        """The arguments that a stack's settings mean."""
        cluster = settings.cluster
        return cls(
            cluster_name=cluster.name,
            region=settings.region,
            kubernetes_version=cluster.kubernetes_version,
            vpc_id=vpc_id,
            private_subnet_ids=private_subnet_ids,
            service_cidr=cluster.service_cidr,
            private_endpoint=cluster.endpoint.private,
            public_endpoint=cluster.endpoint.public,
            public_cidrs=list(cluster.endpoint.public_cidrs),
            system_instance_types=list(cluster.system_nodes.instance_types),
            system_node_count=cluster.system_nodes.count,
            admin_arns=list(cluster.admin_arns),
            deletion_protection=cluster.deletion_protection,
            key_arn=key_arn,
        )


class Cluster(KubernetesCluster):
    """A hardened EKS cluster with a managed node group for Karpenter, CoreDNS and the operators.

    `depends_on` of the component reaches the cluster and its nodes: give it the network's `routes`.
    """

    security_group_id: pulumi.Output[str]
    """The one security group, made by EKS, of the control plane and of every node."""
    certificate_authority: pulumi.Output[str]
    """Base64."""

    def __init__(self, name: str, args: ClusterArgs, opts: pulumi.ResourceOptions | None = None) -> None:
        super().__init__("gpu-slicing:index:Cluster", name, {"clusterName": args.cluster_name}, opts)
        self._name, self._args = name, args
        self._needs = pulumi.ResourceOptions(parent=self, depends_on=opts.depends_on if opts else None)
        self._component = self._control_plane()
        cluster = self._component.eks_cluster
        self.name = cluster.name
        self.endpoint = cluster.endpoint
        self.certificate_authority = cluster.certificate_authority.apply(lambda authority: authority.data)
        self.security_group_id = cluster.vpc_config.apply(lambda vpc: vpc.cluster_security_group_id)
        self.kubeconfig = self._kubeconfig(None)
        # Everybody's copy names no profile, which is a matter of one machine.
        self._provider_kubeconfig = self._kubeconfig(pulumi.Config("aws").get("profile"))
        nodes = self._system_nodes()
        self.ready = [
            self._component,
            nodes,
            # CoreDNS is healthy only where it can run: after the nodes. The agent is a DaemonSet and needs none.
            self._addon("coredns", [nodes]),
            self._addon("eks-pod-identity-agent", []),
            *self._administrators(),
        ]
        self.register_outputs(
            {
                "name": self.name,
                "endpoint": self.endpoint,
                "kubeconfig": self.kubeconfig,
                "security_group_id": self.security_group_id,
                "certificate_authority": self.certificate_authority,
            }
        )

    def _after(self, *resources: pulumi.Resource) -> pulumi.ResourceOptions:
        return pulumi.ResourceOptions.merge(self._needs, pulumi.ResourceOptions(depends_on=list(resources)))

    def _control_plane(self) -> eks.Cluster:
        args = self._args
        # EKS would make this log group itself, without retention and without the key.
        logs = aws.cloudwatch.LogGroup(
            self._name,
            name=log_group_name("control-plane", args.cluster_name),
            retention_in_days=LOG_RETENTION_DAYS,
            kms_key_id=args.key_arn,
            opts=pulumi.ResourceOptions(parent=self),
        )
        protect = pulumi.ResourceOptions(protect=args.deletion_protection)
        return eks.Cluster(
            self._name,
            name=args.cluster_name,
            version=args.kubernetes_version,
            # Extended support costs six times as much and hides that an upgrade is due.
            upgrade_policy=aws.eks.ClusterUpgradePolicyArgs(support_type="STANDARD"),
            authentication_mode=eks.AuthenticationMode.API,
            vpc_id=args.vpc_id,
            private_subnet_ids=args.private_subnet_ids,
            kubernetes_service_ip_address_range=args.service_cidr,
            endpoint_private_access=args.private_endpoint,
            endpoint_public_access=args.public_endpoint,
            # The provider refuses the list where there is no public endpoint.
            public_access_cidrs=args.public_cidrs if args.public_endpoint else None,
            enabled_cluster_log_types=list(CONTROL_PLANE_LOGS),
            encryption_config_key_arn=args.key_arn,
            deletion_protection=args.deletion_protection,
            skip_default_node_group=True,
            # EKS's own security group then serves control plane and nodes, Karpenter's too; the provider would
            # add two more, which only its own node groups use.
            skip_default_security_groups=True,
            # Without this the tenants' network policies are accepted and do nothing.
            vpc_cni_options=eks.VpcCniOptionsArgs(enable_network_policy=True),
            opts=pulumi.ResourceOptions.merge(self._after(logs), protect),
        )

    def _kubeconfig(self, profile: str | None) -> pulumi.Output[str]:
        region = self._args.region
        parts = pulumi.Output.all(self.name, self.endpoint, self.certificate_authority)
        config = parts.apply(lambda v: json.dumps(exec_kubeconfig(v[0], v[1], v[2], region, profile), sort_keys=True))
        secret: pulumi.Output[str] = pulumi.Output.secret(config)
        return secret

    def _system_nodes(self) -> aws.eks.NodeGroup:
        """The managed node group. EKS itself gives its role an access entry (EC2_LINUX), and takes it away."""
        args = self._args
        name = f"{self._name}-system"
        role = NodeRole(name, account_of(args.region, self), None, pulumi.ResourceOptions(parent=self))
        template = self._launch_template(name)
        return aws.eks.NodeGroup(
            name,
            cluster_name=self.name,
            version=args.kubernetes_version,
            node_role_arn=role.role.arn,
            subnet_ids=args.private_subnet_ids,
            ami_type=ami_type(args.system_instance_types),
            capacity_type="ON_DEMAND",
            instance_types=args.system_instance_types,
            scaling_config=aws.eks.NodeGroupScalingConfigArgs(
                min_size=args.system_node_count,
                desired_size=args.system_node_count,
                max_size=args.system_node_count + 1,
            ),
            update_config=aws.eks.NodeGroupUpdateConfigArgs(max_unavailable=1),
            launch_template=aws.eks.NodeGroupLaunchTemplateArgs(
                id=template.id, version=template.latest_version.apply(str)
            ),
            tags={"Name": f"{args.cluster_name}-system"},
            opts=self._after(self._component, *role.ready),
        )

    def _launch_template(self, name: str) -> aws.ec2.LaunchTemplate:
        tags = {"Name": f"{self._args.cluster_name}-system"}
        disk = aws.ec2.LaunchTemplateBlockDeviceMappingArgs(
            device_name="/dev/xvda",
            ebs=aws.ec2.LaunchTemplateBlockDeviceMappingEbsArgs(
                volume_size=SYSTEM_DISK_GIB, volume_type="gp3", encrypted="true", delete_on_termination="true"
            ),
        )
        interface = aws.ec2.LaunchTemplateNetworkInterfaceArgs(
            device_index=0,
            associate_public_ip_address="false",
            delete_on_termination="true",
            security_groups=[self.security_group_id],
        )
        return aws.ec2.LaunchTemplate(
            name,
            block_device_mappings=[disk],
            network_interfaces=[interface],
            metadata_options=aws.ec2.LaunchTemplateMetadataOptionsArgs(
                http_endpoint="enabled", http_tokens="required", http_put_response_hop_limit=1
            ),
            tag_specifications=[
                aws.ec2.LaunchTemplateTagSpecificationArgs(resource_type=kind, tags=tags)
                for kind in ("instance", "volume", "network-interface")
            ],
            update_default_version=True,
            tags=tags,
            opts=pulumi.ResourceOptions(parent=self),
        )

    def _addon(self, addon: str, after: list[pulumi.Resource]) -> aws.eks.Addon:
        return aws.eks.Addon(
            f"{self._name}-{addon}",
            cluster_name=self.name,
            addon_name=addon,
            # EKS put an unmanaged copy of CoreDNS into the new cluster: the add-on takes it over.
            resolve_conflicts_on_create="OVERWRITE",
            resolve_conflicts_on_update="OVERWRITE",
            opts=self._after(self._component, *after),
        )

    def _administrators(self) -> list[pulumi.Resource]:
        """Access entries beside the EKS component, not in it: a child of the protected one could not be removed."""
        account = account_of(self._args.region, self)
        policy = account.apply(
            lambda a: f"arn:{a.partition}:eks::aws:cluster-access-policy/AmazonEKSClusterAdminPolicy"
        )
        made: list[pulumi.Resource] = []
        for arn in self._args.admin_arns:
            # By name, not by position: removing one from the list must not touch the others.
            name = f"{self._name}-admin-{arn.partition(':iam::')[2].replace(':', '-').replace('/', '-')}"
            entry = aws.eks.AccessEntry(
                name, cluster_name=self.name, principal_arn=arn, type="STANDARD", opts=self._after(self._component)
            )
            association = aws.eks.AccessPolicyAssociation(
                name,
                cluster_name=self.name,
                principal_arn=arn,
                policy_arn=policy,
                access_scope=aws.eks.AccessPolicyAssociationAccessScopeArgs(type="cluster"),
                opts=self._after(entry),
            )
            made.extend([entry, association])
        return made
