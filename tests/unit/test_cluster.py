"""The cluster components on recorded data, the policies of its key, and kubeconfigs."""

import base64
import json
import sys

import pulumi
import pytest
import yaml

from components.existing_cluster import ExistingCluster, ExistingClusterArgs, kubeconfig_from
from gpuslice import aws_policies as policies
from gpuslice.kubeconfig import KubeconfigError, exec_kubeconfig, read_kubeconfig
from gpuslice.settings import Kubeconfig, Settings
from gpuslice.system_nodes import ami_type, architecture
from offline import UNKNOWN, ProgramFailed, Recording, record

KEY = "arn:aws:kms:us-east-1:123456789012:key/1"
EKS = "eks:index:Cluster"
GROUP = "aws:eks/nodeGroup:NodeGroup"
TEMPLATE = "aws:ec2/launchTemplate:LaunchTemplate"


def settings(region="us-east-1", **cluster):
    values = {"stack": "test", "region": region, "cluster": {"name": "gpu-test", **cluster}, "pools": ()}
    return Settings.model_validate(values, by_alias=True, by_name=True)


def run(chosen: Settings, *, preview: bool = False, config=None, stack_references=None) -> Recording:
    def program():
        from components.kubernetes_cluster import kubernetes_provider
        from components.stack_cluster import stack_cluster

        cluster = stack_cluster(chosen)
        kubernetes_provider("kubernetes", cluster)
        pulumi.export("name", cluster.name)
        pulumi.export("endpoint", cluster.endpoint)
        pulumi.export("kubeconfig", cluster.kubeconfig)

    return record(
        program,
        project="p",
        stack="s",
        config={"aws:region": chosen.region, **(config or {})},
        preview=preview,
        stack_references=stack_references,
    )


@pytest.fixture(scope="module")
def cluster() -> Recording:
    return run(
        settings(adminArns=("arn:aws:iam::123456789012:role/team/platform", "arn:aws:iam::123456789012:user/ann"))
    )


def only(recording: Recording, token: str):
    (found,) = recording.by_type(token)
    return found


def of(recording: Recording, token: str) -> dict:
    return only(recording, token).inputs


# --- the control plane ---


def test_the_control_plane_is_hardened(cluster):
    eks = of(cluster, EKS)
    assert eks["authenticationMode"] == "API"
    assert (eks["endpointPrivateAccess"], eks["endpointPublicAccess"]) == (True, False)
    assert "publicAccessCidrs" not in eks, "the provider refuses the list without a public endpoint"
    assert set(eks["enabledClusterLogTypes"]) == {"api", "audit", "authenticator", "controllerManager", "scheduler"}
    assert eks["deletionProtection"] is True
    assert eks["encryptionConfigKeyArn"] == only(cluster, "aws:kms/key:Key").outputs["arn"]
    assert eks["skipDefaultNodeGroup"] is True
    assert eks["skipDefaultSecurityGroups"] is True
    assert eks["vpcCniOptions"]["enableNetworkPolicy"] is True
    assert eks["upgradePolicy"] == {"supportType": "STANDARD"}
    assert "createOidcProvider" not in eks


def test_the_key_rotates_and_cannot_be_lost_at_once(cluster):
    key = of(cluster, "aws:kms/key:Key")
    assert key["enableKeyRotation"] is True
    assert key["deletionWindowInDays"] == 30
    assert of(cluster, "aws:kms/alias:Alias")["name"] == "alias/eks/gpu-test"
    owner, logs = json.loads(key["policy"])["Statement"]
    assert owner["Principal"] == {"AWS": "arn:aws:iam::123456789012:root"}
    assert logs["Principal"] == {"Service": "logs.us-east-1.amazonaws.com"}
    allowed = logs["Condition"]["ArnEquals"]["kms:EncryptionContext:aws:logs:arn"]
    groups = {r.inputs["name"] for r in cluster.by_type("aws:cloudwatch/logGroup:LogGroup")}
    assert (
        {arn.partition(":log-group:")[2] for arn in allowed}
        == groups
        == {
            "/aws/eks/gpu-test/cluster",
            "/aws/vpc/gpu-test/flow-logs",
        }
    )


def test_no_document_of_the_cluster_lets_everybody_in(cluster):
    texts = [r.inputs[key] for r in cluster.resources for key in ("policy", "assumeRolePolicy") if key in r.inputs]
    statements = [s for text in texts for s in json.loads(text)["Statement"]]
    principals = [s["Principal"] for s in statements if "Principal" in s]
    assert len(principals) == 4, "two of the key, the flow logs' role, the nodes' role"
    assert all(isinstance(p, dict) and "*" not in p.values() for p in principals)


def test_logs_are_kept_and_encrypted_before_the_cluster_writes_any(cluster):
    (logs,) = [r for r in cluster.by_type("aws:cloudwatch/logGroup:LogGroup") if "/eks/" in r.inputs["name"]]
    assert logs.inputs["retentionInDays"] >= 365
    assert logs.inputs["kmsKeyId"] == only(cluster, "aws:kms/key:Key").outputs["arn"]
    assert logs.urn in only(cluster, EKS).dependencies


def test_deletion_protection_protects_what_cannot_be_made_again(cluster):
    assert {r.type for r in cluster.resources if r.protect} == {EKS, "aws:kms/key:Key", "aws:ec2/vpc:Vpc"}
    free = run(settings(deletionProtection=False))
    assert not any(r.protect for r in free.resources)
    assert of(free, EKS)["deletionProtection"] is False


def test_administrators_get_entries_that_can_be_taken_away(cluster):
    entries = cluster.by_type("aws:eks/accessEntry:AccessEntry")
    associations = cluster.by_type("aws:eks/accessPolicyAssociation:AccessPolicyAssociation")
    assert [e.inputs["principalArn"] for e in entries] == [a.inputs["principalArn"] for a in associations]
    assert {e.inputs["type"] for e in entries} == {"STANDARD"}
    for association in associations:
        assert association.inputs["policyArn"] == "arn:aws:eks::aws:cluster-access-policy/AmazonEKSClusterAdminPolicy"
        assert association.inputs["accessScope"] == {"type": "cluster"}
    # Not inside the protected component, and named after the principal, not its place in the list.
    assert {e.name for e in entries} == {
        "cluster-admin-123456789012-role-team-platform",
        "cluster-admin-123456789012-user-ann",
    }
    assert not any(e.protect or EKS in e.urn for e in entries)
    assert not run(settings()).by_type("aws:eks/accessEntry:AccessEntry"), "EKS makes the node group's entry itself"


# --- the system nodes ---


def test_system_nodes_are_hardened(cluster):
    template = of(cluster, TEMPLATE)
    options = template["metadataOptions"]
    assert (options["httpTokens"], options["httpPutResponseHopLimit"]) == ("required", 1)
    (disk,) = template["blockDeviceMappings"]
    assert disk["ebs"]["encrypted"] == "true"
    assert disk["ebs"]["volumeType"] == "gp3"
    (interface,) = template["networkInterfaces"]
    assert interface["associatePublicIpAddress"] == "false"
    assert interface["securityGroups"] == [only(cluster, EKS).outputs["clusterSecurityGroupId"]]
    assert not {"keyName", "userData", "iamInstanceProfile"} & set(template)
    assert "remoteAccess" not in of(cluster, GROUP)


def test_the_node_group_is_what_the_settings_say(cluster):
    group = of(cluster, GROUP)
    assert group["scalingConfig"]["minSize"] == group["scalingConfig"]["desiredSize"] == 2
    assert group["instanceTypes"] == ["m7i.large"]
    assert group["capacityType"] == "ON_DEMAND"
    private = {
        r.id: r.inputs["availabilityZone"] for r in cluster.by_type("aws:ec2/subnet:Subnet") if "private" in r.name
    }
    assert set(group["subnetIds"]) == set(private)
    assert len({private[s] for s in group["subnetIds"]}) >= 2
    assert group["launchTemplate"]["id"] == only(cluster, TEMPLATE).id


def test_the_node_role_has_the_four_policies_before_the_nodes_come(cluster):
    attachments = cluster.by_type("aws:iam/rolePolicyAttachment:RolePolicyAttachment")
    assert {a.inputs["policyArn"].rpartition("/")[2] for a in attachments} == {
        "AmazonEKSWorkerNodePolicy",
        "AmazonEKS_CNI_Policy",
        "AmazonEC2ContainerRegistryPullOnly",
        "AmazonSSMManagedInstanceCore",
    }
    assert {a.urn for a in attachments} <= only(cluster, GROUP).dependencies


def test_addons_come_where_they_can_run(cluster):
    addons = {a.inputs["addonName"]: a for a in cluster.by_type("aws:eks/addon:Addon")}
    assert set(addons) == {"coredns", "eks-pod-identity-agent"}
    group = only(cluster, GROUP).urn
    assert group in addons["coredns"].dependencies, "without nodes CoreDNS never gets healthy, and the add-on times out"
    assert group not in addons["eks-pod-identity-agent"].dependencies


def test_egress_outlives_the_nodes(cluster):
    egress = {r.urn for r in cluster.resources if r.type.endswith((":NatGateway", ":Route", ":InternetGateway"))}
    assert len(egress) == 8
    assert egress <= cluster.reachable(only(cluster, GROUP).urn)
    assert egress <= cluster.reachable(only(cluster, EKS).urn)


@pytest.mark.parametrize(
    ("names", "wanted"),
    [
        (["m7i.large", "c6a.xlarge"], "AL2023_x86_64_STANDARD"),
        (["m7g.large"], "AL2023_ARM_64_STANDARD"),
        (["c7gn.large", "a1.large", "r8gd.xlarge"], "AL2023_ARM_64_STANDARD"),
        (["u7i-12tb.224xlarge"], "AL2023_x86_64_STANDARD"),
    ],
)
def test_the_image_follows_the_instance_types(names, wanted):
    assert ami_type(names) == wanted


@pytest.mark.parametrize(
    ("name", "wanted"), [("g4dn.xlarge", "amd64"), ("g5g.xlarge", "arm64"), ("im4gn.large", "arm64")]
)
def test_a_graviton_type_is_told_from_a_gpu_type(name, wanted):
    assert architecture(name) == wanted


def test_mixed_architectures_are_refused():
    with pytest.raises(ValueError, match=r"mixes m7i\.large \(x86\) and m7g\.large \(Arm\)"):
        ami_type(["m7i.large", "m7g.large"])


# --- every setting reaches a resource ---


EXISTING_VPC = {
    "id": "vpc-0123456789abcdef0",
    "privateSubnetIds": ("subnet-0123456789abcdef0", "subnet-0123456789abcdef1"),
}


@pytest.mark.parametrize(
    ("change", "token", "path", "expected"),
    [
        ({"name": "other"}, EKS, ["name"], "other"),
        ({"kubernetesVersion": "1.34"}, EKS, ["version"], "1.34"),
        ({"kubernetesVersion": "1.34"}, GROUP, ["version"], "1.34"),
        ({"serviceCidr": "172.21.0.0/16"}, EKS, ["kubernetesServiceIpAddressRange"], "172.21.0.0/16"),
        (
            {"endpoint": {"private": False, "public": True, "publicCidrs": ("192.0.2.0/24",)}},
            EKS,
            ["endpointPrivateAccess"],
            False,
        ),
        ({"endpoint": {"public": True, "publicCidrs": ("192.0.2.0/24",)}}, EKS, ["endpointPublicAccess"], True),
        (
            {"endpoint": {"public": True, "publicCidrs": ("192.0.2.0/24",)}},
            EKS,
            ["publicAccessCidrs"],
            ["192.0.2.0/24"],
        ),
        ({"systemNodes": {"instanceTypes": ("m7g.large",)}}, GROUP, ["instanceTypes"], ["m7g.large"]),
        ({"systemNodes": {"instanceTypes": ("m7g.large",)}}, GROUP, ["amiType"], "AL2023_ARM_64_STANDARD"),
        ({"systemNodes": {"count": 5}}, GROUP, ["scalingConfig"], {"minSize": 5, "desiredSize": 5, "maxSize": 6}),
        (
            {"adminArns": ("arn:aws:iam::123456789012:role/x",)},
            "aws:eks/accessEntry:AccessEntry",
            ["principalArn"],
            "arn:aws:iam::123456789012:role/x",
        ),
        ({"deletionProtection": False}, EKS, ["deletionProtection"], False),
        ({"vpc": EXISTING_VPC}, EKS, ["vpcId"], "vpc-0123456789abcdef0"),
        ({"vpc": EXISTING_VPC}, EKS, ["privateSubnetIds"], list(EXISTING_VPC["privateSubnetIds"])),
        ({"vpc": EXISTING_VPC}, GROUP, ["subnetIds"], list(EXISTING_VPC["privateSubnetIds"])),
    ],
)
def test_every_setting_of_the_cluster_reaches_a_resource(cluster_without_admins, change, token, path, expected):
    def read(recording):
        values = [r.inputs for r in recording.by_type(token)]
        return [v.get(path[0]) for v in values]

    assert read(cluster_without_admins) != [expected]
    assert read(run(settings(**change))) == [expected]


@pytest.fixture(scope="module")
def cluster_without_admins() -> Recording:
    return run(settings())


def test_an_existing_vpc_gets_no_network():
    recording = run(settings(vpc=EXISTING_VPC))
    assert not [r for r in recording.resources if r.type in ("aws:ec2/vpc:Vpc", "aws:ec2/subnet:Subnet")]


# --- kubeconfig and provider ---


def test_the_kubeconfig_is_secret_and_holds_no_credential(cluster):
    assert "kubeconfig" in cluster.secret_outputs
    config = json.loads(cluster.outputs["kubeconfig"])
    (user,) = config["users"]
    assert set(user["user"]) == {"exec"}
    command = user["user"]["exec"]
    assert [command["command"], *command["args"][:6]] == [
        "aws", "--region", "us-east-1", "eks", "get-token", "--cluster-name", "gpu-test"
    ]  # fmt: skip
    assert "token" not in user["user"]
    (server,) = config["clusters"]
    assert server["cluster"]["server"] == cluster.outputs["endpoint"]
    assert server["cluster"]["certificate-authority-data"]
    assert "insecure-skip-tls-verify" not in server["cluster"]


def test_the_provider_survives_a_new_kubeconfig_and_an_unreachable_cluster(cluster):
    provider = only(cluster, "pulumi:providers:kubernetes")
    assert provider.inputs["clusterIdentifier"] == "gpu-test"
    assert provider.inputs["enableServerSideApply"] == "true"
    assert provider.inputs["enableConfigMapMutable"] == "true"
    assert provider.inputs["deleteUnreachable"] == "false"
    assert "kubeconfig" in provider.secret_paths


def test_the_profile_of_the_stack_is_the_providers_and_nobody_elses():
    recording = run(settings(), config={"aws:profile": "platform"})
    ours = json.loads(only(recording, "pulumi:providers:kubernetes").inputs["kubeconfig"])
    assert ours["users"][0]["user"]["exec"]["args"][-2:] == ["--profile", "platform"]
    assert "platform" not in recording.outputs["kubeconfig"]


def test_a_kubeconfig_without_profile_leaves_the_choice_to_the_environment():
    config = exec_kubeconfig("c", "https://e", "Q0E=", "us-east-1")
    assert "--profile" not in config["users"][0]["user"]["exec"]["args"]


def test_a_preview_registers_what_an_update_makes(cluster):
    preview = run(
        settings(adminArns=("arn:aws:iam::123456789012:role/team/platform", "arn:aws:iam::123456789012:user/ann")),
        preview=True,
    )
    assert {r.urn for r in preview.resources} == {r.urn for r in cluster.resources}
    assert preview.outputs["endpoint"] is UNKNOWN
    assert preview.outputs["name"] == "gpu-test", (
        "the provider's identity must not be unknown: it would look like a replacement"
    )


def test_partitions_reach_the_cluster():
    china = run(settings(region="cn-north-1", adminArns=("arn:aws-cn:iam::123456789012:role/x",)))
    association = of(china, "aws:eks/accessPolicyAssociation:AccessPolicyAssociation")
    assert association["policyArn"].startswith("arn:aws-cn:eks::aws:")
    for attachment in china.by_type("aws:iam/rolePolicyAttachment:RolePolicyAttachment"):
        assert attachment.inputs["policyArn"].startswith("arn:aws-cn:iam::aws:policy/")
    assert "ec2.amazonaws.com.cn" in "".join(r.inputs["assumeRolePolicy"] for r in china.by_type("aws:iam/role:Role"))


# --- a cluster that exists ---


def kubeconfig_file(folder, **extra):
    def named(kind, name, **values):
        return {"name": name, kind: values}

    (folder / "ca.pem").write_bytes(b"CA")
    config = {
        "apiVersion": "v1",
        "kind": "Config",
        "current-context": "one",
        "clusters": [
            named("cluster", "a", server="https://one", **{"certificate-authority": "ca.pem"}),
            named("cluster", "b", server="https://two"),
        ],
        "users": [
            named("user", "u", exec={"command": "./login", "args": []}),
            named("user", "v", token="hidden"),
        ],
        "contexts": [
            named("context", "one", cluster="a", user="u"),
            named("context", "two", cluster="b", user="v"),
            named("context", "broken", cluster="missing", user="u"),
        ],
        **extra,
    }
    path = folder / "config"
    path.write_text(yaml.safe_dump(config))
    return path


def existing(path=None, **source):
    values = {"mode": "existing", "kubeconfig": {"path": str(path) if path else None, **source}}
    return settings(**values)


def test_only_the_chosen_context_leaves_the_file(tmp_path):
    path = kubeconfig_file(tmp_path)
    config = json.loads(read_kubeconfig(str(path)))
    assert config["current-context"] == "one"
    assert [c["cluster"]["server"] for c in config["clusters"]] == ["https://one"]
    assert "hidden" not in json.dumps(config), "another cluster's token has no business in this state"
    assert json.loads(read_kubeconfig(str(path), "two"))["users"][0]["user"] == {"token": "hidden"}


def test_the_text_needs_no_other_file(tmp_path):
    config = json.loads(read_kubeconfig(str(kubeconfig_file(tmp_path))))
    assert config["clusters"][0]["cluster"]["certificate-authority-data"] == base64.b64encode(b"CA").decode()
    assert "certificate-authority" not in config["clusters"][0]["cluster"]
    assert config["users"][0]["user"]["exec"]["command"] == str(tmp_path / "login")


@pytest.mark.parametrize(
    ("text", "context", "message"),
    [
        (None, None, "cannot read .*No such file"),
        ("{unfinished", None, "is not YAML or JSON"),
        (b"\xff\xfe\x00", None, "is not YAML or JSON"),
        ("just text", None, "is not a kubeconfig"),
        ("kind: Deployment", None, "is not a kubeconfig"),
        ("{kind: Config}", None, "has no current-context; its contexts: none"),
        ("{kind: Config, contexts: 5}", None, "'contexts' of .* is not a list"),
        ("{kind: Config, contexts: [{context: {}}]}", None, "'contexts' of .* is not a list of named entries"),
        ("{kind: Config, current-context: x, contexts: [{name: x}]}", None, "names cluster 'None', which is not there"),
        ("good", "three", "has no context 'three'; its contexts: broken, one, two"),
        ("good", "broken", "context 'broken' .* names cluster 'missing', which is not there"),
    ],
)
def test_an_unusable_kubeconfig_is_one_clear_message(tmp_path, text, context, message):
    path = kubeconfig_file(tmp_path)
    if text is None:
        path = tmp_path / "nowhere"
    elif text != "good":
        path.write_bytes(text if isinstance(text, bytes) else text.encode())
    with pytest.raises(KubeconfigError, match=message) as caught:
        read_kubeconfig(str(path), context)
    assert "\n" not in str(caught.value)
    with pytest.raises(KubeconfigError, match=message):
        ExistingClusterArgs.of(existing(path, context=context))


def test_a_lost_certificate_is_named(tmp_path):
    path = kubeconfig_file(tmp_path)
    (tmp_path / "ca.pem").unlink()
    with pytest.raises(KubeconfigError, match=r"certificate-authority of .*ca\.pem: No such file"):
        read_kubeconfig(str(path))


def test_an_existing_cluster_offers_what_a_new_one_does(tmp_path):
    recording = run(existing(kubeconfig_file(tmp_path), context="two"))
    assert recording.outputs["name"] == "gpu-test"
    assert recording.outputs["endpoint"].startswith("https://")
    assert json.loads(recording.outputs["kubeconfig"])["current-context"] == "two"
    assert "kubeconfig" in recording.secret_outputs
    assert only(recording, "pulumi:providers:kubernetes").inputs["clusterIdentifier"] == "gpu-test"
    assert not [r for r in recording.resources if r.type.startswith("aws:")], (
        "nothing of an existing cluster is managed"
    )


def test_a_kubeconfig_that_somebody_hands_over_becomes_secret():
    def program():
        args = ExistingClusterArgs("c", "{}", endpoint="https://given")
        cluster = ExistingCluster("cluster", args)
        pulumi.export("kubeconfig", cluster.kubeconfig)
        pulumi.export("endpoint", cluster.endpoint)

    recording = record(program, project="p", stack="s", preview=True)
    assert recording.secret_outputs == {"kubeconfig"}
    assert recording.outputs["endpoint"] == "https://given"


@pytest.mark.parametrize("value", [{"kind": "Config"}, '{"kind": "Config"}'])
def test_a_kubeconfig_can_come_from_another_stack(value):
    chosen = existing(stackReference="org/base/prod", output="config")
    recording = run(chosen, stack_references={"org/base/prod": {"config": value}})
    assert json.loads(recording.outputs["kubeconfig"]) == {"kind": "Config"}
    assert "kubeconfig" in recording.secret_outputs


def test_another_stack_without_that_output_is_named():
    chosen = existing(stackReference="org/base/prod", output="config")
    with pytest.raises(ProgramFailed, match=r"^cluster\.kubeconfig: stack org/base/prod has no output 'config'$"):
        run(chosen, stack_references={"org/base/prod": {"other": "x"}})


def test_an_existing_cluster_without_a_source_is_refused():
    with pytest.raises(KubeconfigError, match="missing"):
        ExistingClusterArgs.of(settings(mode="existing"))
    with pytest.raises(KubeconfigError, match="neither path nor stackReference"):
        kubeconfig_from(Kubeconfig())


def test_the_pure_core_needs_no_pulumi():
    import subprocess

    modules = "aws_policies, karpenter_iam, karpenter_values, kubeconfig, network_plan, system_nodes"
    code = f"import sys; from gpuslice import {modules}; sys.exit('pulumi' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_a_log_group_has_one_name_for_all_who_need_it():
    assert policies.log_group_name("control-plane", "c") == "/aws/eks/c/cluster", "EKS fixes this name"
