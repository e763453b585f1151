"""The settings of a stack: strict, frozen, unknown keys refused. This module is the contract of `Pulumi.<stack>.yaml`.

Keys are camelCase, as Pulumi and Kubernetes users expect. `load_settings` in `gpuslice.load` is the way in: it
returns a `Settings` or raises one `SettingsError` that lists every problem of the file.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Discriminator, Field, Tag
from pydantic.alias_generators import to_camel

from gpuslice import fields as f
from gpuslice.catalog import versions

TAG_MARK = "\0"
"""Begins the tag of a union, so that a tag in the location of an error is never taken for a key of the file."""
CapacityType = Literal["spot", "on-demand", "reserved"]
MAX_REPLICAS = 48
"""The largest number of clients that the NVIDIA MPS server takes, and this program's bound for time-slicing."""
Replicas = Annotated[int, f.Whole(2, MAX_REPLICAS)]
MigInstances = Annotated[int, f.Whole(1, 8)]
PoolNodes = Annotated[int, f.Whole(1, 1000)]
ZoneCount = Annotated[int, f.Whole(2, 4)]
SystemNodeCount = Annotated[int, f.Whole(2, 20)]
Slices = Annotated[int, f.Whole(0, 100_000)]
Pods = Annotated[int, f.Whole(1, 500)]


class Model(BaseModel):
    """Base of all settings: no coercion, no unknown key, no change after construction."""

    model_config = ConfigDict(
        strict=True, frozen=True, extra="forbid", alias_generator=to_camel, use_attribute_docstrings=True
    )


class Replicated(Model):
    """What the two ways of sharing a GPU by replicas have in common."""

    replicas: Replicas
    """Slices that each physical GPU is advertised as."""
    rename: bool = True
    """Advertise `nvidia.com/gpu.shared`, so that a pod asking for a whole `nvidia.com/gpu` never gets a slice."""
    min_memory: f.Memory = "1Gi"
    """Refuse replicas that leave less GPU memory than this to a slice."""
    max_replicas: Replicas = 16
    """Refuse more replicas than this."""


class TimeSlicing(Replicated):
    """Replicas of each GPU, taking turns. No memory or fault isolation between tenants."""

    mode: Literal["time-slicing"]


class Mps(Replicated):
    """EXPERIMENTAL. Replicas of each GPU through NVIDIA MPS: concurrent, memory and threads divided equally."""

    mode: Literal["mps"]


class Mig(Model):
    """Hardware partitions, the same on every GPU of the pool."""

    mode: Literal["mig"]
    layout: Annotated[dict[str, MigInstances], Field(min_length=1)]
    """MIG profile to the number of its instances on each GPU, such as `{1g.5gb: 3, 2g.10gb: 2}`."""


class Exclusive(Model):
    """Whole GPUs: no sharing."""

    mode: Literal["exclusive"]


def _mode(value: Any) -> str | None:
    mode = value.get("mode") if isinstance(value, dict) else getattr(value, "mode", None)
    return None if mode is None else f"{TAG_MARK}{mode}"


SHARING_MODES = ("time-slicing", "mig", "mps", "exclusive")
Sharing = Annotated[
    Annotated[TimeSlicing, Tag(TAG_MARK + "time-slicing")]
    | Annotated[Mig, Tag(TAG_MARK + "mig")]
    | Annotated[Mps, Tag(TAG_MARK + "mps")]
    | Annotated[Exclusive, Tag(TAG_MARK + "exclusive")],
    Discriminator(_mode),
]


class CapacityReservations(Model):
    """On-demand capacity reservations or capacity blocks that the pool may use."""

    ids: Annotated[tuple[f.ReservationId, ...], Field(max_length=30)] = ()
    tags: Annotated[dict[f.TagText, f.TagText], Field(max_length=20)] = {}
    type: Literal["default", "capacity-block"] = "default"
    """`capacity-block` for capacity blocks for ML, which are bought for a fixed time."""


class Limits(Model):
    nodes: PoolNodes = 2
    """The most nodes that Karpenter may buy for the pool: the money cap."""


class Budget(Model):
    """One Karpenter disruption budget."""

    nodes: f.BudgetNodes
    reasons: Annotated[tuple[Literal["Underutilized", "Empty", "Drifted"], ...], Field(max_length=50)] = ()
    """Which disruptions the budget holds for; empty means all."""
    schedule: f.Cron | None = None
    duration: f.WindowDuration | None = None


class Disruption(Model):
    """When Karpenter may remove a node of the pool."""

    consolidation_policy: Literal["WhenEmpty", "WhenEmptyOrUnderutilized"] = "WhenEmpty"
    consolidate_after: f.DurationOrNever = "10m"
    expire_after: f.DurationOrNever = "720h"
    termination_grace_period: f.Duration = "1h"
    """The longest that a drain may take, pods that refuse disruption included."""
    budgets: Annotated[tuple[Budget, ...], Field(max_length=50)] = (
        Budget(nodes="100%", reasons=("Empty",)),
        Budget(nodes="1", reasons=("Drifted", "Underutilized")),
    )


class Taint(Model):
    key: f.TaintKey
    value: f.TaintValue | None = None
    effect: Literal["NoSchedule", "PreferNoSchedule", "NoExecute"]


class PoolSettings(Model):
    """One pool of GPU nodes. Everything else about it is derived in `gpuslice.pools`."""

    name: f.PoolName
    instance_types: Annotated[tuple[f.GpuInstanceType, ...], Field(min_length=1, max_length=60)]
    """EC2 instance types, all with NVIDIA GPUs. Several types of one GPU count give Karpenter a fallback."""
    sharing: Sharing
    capacity_types: Annotated[tuple[CapacityType, ...], Field(min_length=1)] = ("on-demand",)
    capacity_reservations: CapacityReservations | None = None
    zones: Annotated[tuple[f.Zone, ...], Field(max_length=30)] = ()
    """Availability zones; empty means all zones of the cluster's subnets."""
    ami: f.Ami = versions.DEFAULT_AMI
    isolation: Literal["default", "strict"] = "default"
    """`strict`: a container reaches the GPUs that it asks for and no others, whatever its image's environment says.
    UNPROVEN on a GPU, see `docs/isolation.md`. `default`: what the AMI does."""
    root_volume: f.VolumeSize = "100Gi"
    efa: bool = False
    """Attach every EFA interface of the instance type."""
    limits: Limits = Limits()
    disruption: Disruption = Disruption()
    labels: Annotated[dict[f.NodeLabelKey, f.LabelValue], Field(max_length=90)] = {}
    """Labels of the nodes besides the derived ones. A NodePool takes 100 in all."""
    extra_taints: Annotated[tuple[Taint, ...], Field(max_length=50)] = ()
    """Taints besides the derived ones; the pool's tolerations follow."""


class NewVpc(Model):
    cidr: f.VpcCidr = "10.40.0.0/16"
    availability_zones: ZoneCount = 3
    nat_gateways: Literal["perZone", "single"] = "perZone"


class ExistingVpc(Model):
    id: f.VpcId
    private_subnet_ids: Annotated[tuple[f.SubnetId, ...], Field(min_length=2, max_length=16)]


def _vpc_kind(value: Any) -> str:
    keys = value.keys() if isinstance(value, dict) else {"id"} if isinstance(value, ExistingVpc) else set()
    return TAG_MARK + ("existing" if keys & {"id", "privateSubnetIds"} else "new")


Vpc = Annotated[
    Annotated[NewVpc, Tag(TAG_MARK + "new")] | Annotated[ExistingVpc, Tag(TAG_MARK + "existing")],
    Discriminator(_vpc_kind),
]


class Endpoint(Model):
    """Who reaches the Kubernetes API server."""

    private: bool = True
    public: bool = False
    public_cidrs: Annotated[tuple[f.ClientCidr, ...], Field(max_length=40)] = ()
    """Who may reach the public endpoint; EKS takes 40 networks."""


class SystemNodes(Model):
    """The managed node group for Karpenter, CoreDNS and the operators: never a GPU type."""

    instance_types: Annotated[tuple[f.InstanceTypeName, ...], Field(min_length=1, max_length=20)] = ("m7i.large",)
    count: SystemNodeCount = 2


class Kubeconfig(Model):
    """Where the kubeconfig of an existing cluster comes from: a file, or another stack's output."""

    path: f.FreeText | None = None
    context: f.FreeText | None = None
    stack_reference: f.StackName | None = None
    output: f.FreeText = "kubeconfig"


class Cluster(Model):
    mode: Literal["create", "existing", "sandbox"] = "create"
    name: f.ClusterName
    kubernetes_version: f.KubernetesVersion = versions.KUBERNETES
    vpc: Vpc = NewVpc()
    service_cidr: f.ServiceCidr = "172.20.0.0/16"
    endpoint: Endpoint = Endpoint()
    system_nodes: SystemNodes = SystemNodes()
    admin_arns: Annotated[tuple[f.IamPrincipalArn, ...], Field(max_length=50)] = ()
    """IAM roles or users that get cluster-admin through an access entry."""
    deletion_protection: bool = True
    kubeconfig: Kubeconfig | None = None
    """For `mode: existing` only."""


class Karpenter(Model):
    version: f.Version = versions.KARPENTER
    install: bool = True
    """`false` on an existing cluster that runs Karpenter already (with the NodeOverlay feature gate on)."""
    node_role: f.RoleName | None = None
    """The node role of that installation; only with `install: false`."""


class GpuOperator(Model):
    version: f.OperatorVersion = versions.GPU_OPERATOR
    values: dict[str, Any] = {}
    """Helm values, merged last and deep."""


def _quota_kind(value: Any) -> str:
    return TAG_MARK + ("profiles" if isinstance(value, dict) else "slices")


Quota = Annotated[
    Annotated[Slices, Tag(TAG_MARK + "slices")]
    | Annotated[Annotated[dict[str, Slices], Field(min_length=1)], Tag(TAG_MARK + "profiles")],
    Discriminator(_quota_kind),
]


class Tenant(Model):
    namespace: f.Namespace
    quota: dict[str, Quota] = {}
    """Pool name to slices; for a MIG pool with several profiles, pool name to `{profile: slices}`."""
    pod_security: Literal["restricted", "baseline"] = "restricted"


class Admission(Model):
    """Rules of the API server for pods on GPUs and for Karpenter's pools: `docs/admission.md`."""

    enabled: bool = True
    """Refuse pods that reach past their slice, and GPU pools without taint or limit."""
    exempt_namespaces: Annotated[tuple[f.Namespace, ...], Field(max_length=100)] = ()
    """Namespaces, besides `kube-system` and `gpu-operator`, whose pods no rule is for."""


class Monitoring(Model):
    enabled: bool = True
    """The DCGM exporter, with one series for each pod that shares a GPU, and the ServiceMonitors."""


class Verification(Model):
    """A Deployment that proves that slices of a pool can be had."""

    pool: f.AnyName
    replicas: Pods = 5
    profile: f.AnyName | None = None
    """For a MIG pool: the profile that each pod asks for (default: the smallest of the layout)."""


class Settings(Model):
    stack: str
    region: f.Region
    cluster: Cluster
    karpenter: Karpenter = Karpenter()
    gpu_operator: GpuOperator = GpuOperator()
    pools: tuple[PoolSettings, ...]
    tenants: tuple[Tenant, ...] = ()
    admission: Admission = Admission()
    monitoring: Monitoring = Monitoring()
    verification: Verification | None = None

    def pool(self, name: str) -> PoolSettings:
        """The pool of that name; KeyError when there is none."""
        return {p.name: p for p in self.pools}[name]

    @property
    def protected(self) -> bool:
        """Whether what holds other people's work is protected against deletion.

        Not on an existing cluster: its settings have no deletion protection, so none that could be lifted.
        """
        return self.cluster.deletion_protection and self.cluster.mode != "existing"
