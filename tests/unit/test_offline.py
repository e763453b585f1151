"""Recording programs in process: what arrives, in which order, and that runs do not touch each other."""

import asyncio
import gc
import json
import os
import subprocess
import sys
import threading
import time
import warnings
from pathlib import Path

import pulumi
import pulumi_aws as aws
import pulumi_eks as eks
import pulumi_kubernetes as k8s
import pytest

from offline import UNKNOWN, ProgramFailed, Recording, Resource, Secret, record
from offline.aws_outputs import Account
from offline.invokes import answer_invoke
from offline.recording import in_dependency_order
from offline.tree import counts_by_package, resource_tree, short_type, to_json, to_rich
from offline.values import contains_unknown, property_path

PREFIX = "urn:pulumi:dev::gpu-slicing::"


def run(program, *, preview=True, **others) -> Recording:
    return record(program, project="gpu-slicing", stack="dev", preview=preview, **others)


def only(recording: Recording, name: str, type_: str | None = None) -> Resource:
    (found,) = [r for r in recording.resources if r.name == name and type_ in (None, r.type)]
    return found


def role(name: str, opts: pulumi.ResourceOptions | None = None, /, **inputs) -> aws.iam.Role:
    return aws.iam.Role(name, assume_role_policy="{}", opts=opts, **inputs)


def config_map(name: str, data, opts: pulumi.ResourceOptions | None = None) -> k8s.core.v1.ConfigMap:
    return k8s.core.v1.ConfigMap(name, metadata={"name": name}, data=data, opts=opts)


class Pair(pulumi.ComponentResource):
    """A role and a nested component that holds another."""

    def __init__(self, name: str, depth: int = 1, opts: pulumi.ResourceOptions | None = None) -> None:
        super().__init__("test:index:Pair", name, {"depth": depth}, opts)
        child = pulumi.ResourceOptions(parent=self)
        self.role = role(f"{name}-role", child)
        self.inner = Pair(f"{name}-inner", depth - 1, child) if depth else None
        self.register_outputs({"arn": self.role.arn})


class TestUnknowns:
    @staticmethod
    def program() -> None:
        given = role("given", name="exact", description="kept")
        config_map("uses", {"arn": given.arn, "name": given.name, "description": given.description})
        pulumi.export("arn", given.arn)
        pulumi.export("mixed", {"known": [1, "a"], "unknown": given.id})

    def test_a_preview_knows_inputs_and_not_what_aws_decides(self):
        recording = run(self.program)
        data = only(recording, "uses").inputs["data"]
        assert data == {"arn": UNKNOWN, "name": "exact", "description": "kept"}
        assert recording.outputs == {"arn": UNKNOWN, "mixed": {"known": [1, "a"], "unknown": UNKNOWN}}
        assert only(recording, "given").id is UNKNOWN

    def test_an_apply_knows_everything(self):
        recording = run(self.program, preview=False)
        arn = "arn:aws:iam::123456789012:role/exact"
        assert only(recording, "uses").inputs["data"]["arn"] == arn
        assert recording.outputs == {"arn": arn, "mixed": {"known": [1, "a"], "unknown": "exact"}}

    def test_apply_runs_on_known_values_only(self):
        seen = []

        def program():
            pulumi.Output.all(role("r").arn).apply(seen.append)
            pulumi.Output.all(role("s", description="d").description).apply(seen.append)

        run(program)
        assert seen == [["d"]]

    def test_a_text_around_an_unknown_is_unknown_as_a_whole(self):
        recording = run(lambda: config_map("c", {"k": pulumi.Output.concat("x-", role("r").arn)}))
        assert only(recording, "c").inputs["data"] == {"k": UNKNOWN}

    def test_in_an_apply_an_output_nobody_models_is_unknown_not_none(self):
        def program():
            pulumi.export("boundary", role("r").create_date.apply(lambda date: f"on {date}"))

        assert run(program, preview=False).outputs == {"boundary": UNKNOWN}

    def test_contains_unknown_looks_inside(self):
        assert contains_unknown({"a": [{"b": Secret(UNKNOWN)}]})
        assert not contains_unknown({"a": ["<unknown>", None]})


class TestSecrets:
    def test_values_are_unwrapped_and_their_paths_kept(self):
        def program():
            text = pulumi.Output.secret("hush")
            k8s.core.v1.Secret("s", metadata={"name": "s"}, string_data={"a.b": text, "open": "x"})
            config_map("derived", text.apply(lambda value: {"token": value}))

        recording = run(program)
        # pulumi-kubernetes makes stringData of a Secret secret as a whole
        secret = only(recording, "s")
        assert secret.inputs["stringData"] == {"a.b": "hush", "open": "x"}
        assert any(path.startswith("stringData") for path in secret.secret_paths)
        assert only(recording, "derived").secret_paths == {"data"}
        assert "hush" not in json.dumps(to_json(recording))

    def test_exports_that_hold_a_secret_are_named(self):
        def program():
            pulumi.export("plain", 1)
            pulumi.export("whole", pulumi.Output.secret("x"))
            pulumi.export("inside", {"list": [pulumi.Output.secret("y")]})
            pulumi.export("whole.not", "z")

        recording = run(program)
        assert recording.secret_outputs == {"whole", "inside"}
        assert recording.outputs["inside"] == {"list": ["y"]}

    def test_outputs_that_the_program_asks_to_hide_are_secret_downstream(self):
        def program():
            hidden = pulumi.ResourceOptions(additional_secret_outputs=["arn"])
            config_map("c", {"arn": role("r", hidden).arn})

        for preview in (True, False):
            assert only(run(program, preview=preview), "c").secret_paths

    @pytest.mark.parametrize(
        ("parent", "key", "path"),
        [
            ("", "spec", "spec"),
            ("spec", "limits", "spec.limits"),
            ("limits", "nvidia.com/gpu", 'limits["nvidia.com/gpu"]'),
            ("list", 0, "list[0]"),
            ("", "", '[""]'),
        ],
    )
    def test_property_paths(self, parent, key, path):
        assert property_path(parent, key) == path


class TestComponents:
    def test_urns_carry_the_whole_parent_chain_and_not_the_stack(self):
        recording = run(lambda: Pair("p"))
        chain = "test:index:Pair$test:index:Pair$aws:iam/role:Role"
        assert only(recording, "p-inner-role").urn == f"{PREFIX}{chain}::p-inner-role"
        assert only(recording, "p").urn == f"{PREFIX}test:index:Pair::p"
        assert only(recording, "p").parent is None
        assert only(recording, "p-inner").parent == only(recording, "p").urn

    def test_component_inputs_and_outputs(self):
        recording = run(lambda: Pair("p", 0), preview=False)
        component = only(recording, "p")
        assert (component.inputs, component.custom, component.id) == ({"depth": 0}, False, "")
        assert recording.component_outputs == {component.urn: {"arn": only(recording, "p-role").outputs["arn"]}}

    def test_depending_on_a_component_means_what_it_contains(self):
        def program():
            config_map("after", {}, pulumi.ResourceOptions(depends_on=[Pair("p")]))

        recording = run(program)
        roles = {only(recording, "p-role").urn, only(recording, "p-inner-role").urn}
        assert only(recording, "after").dependencies == roles

    def test_two_resources_of_one_urn_are_refused(self):
        with pytest.raises(ProgramFailed, match=r"two resources have the URN .*Role::same"):
            run(lambda: (role("same"), role("same")))


class TestOptions:
    def test_options_are_recorded(self):
        def program():
            old = role("old")
            role(
                "r",
                pulumi.ResourceOptions(
                    protect=True,
                    delete_before_replace=True,
                    retain_on_delete=True,
                    deleted_with=old,
                    ignore_changes=["tags"],
                    replace_on_changes=["name"],
                    custom_timeouts=pulumi.CustomTimeouts(create="5m", delete="1h"),
                    aliases=[pulumi.Alias(name="former")],
                    import_="role-in-aws",
                ),
            )

        recording = run(program)
        made = only(recording, "r")
        assert (made.protect, made.delete_before_replace, made.retain_on_delete) == (True, True, True)
        assert made.deleted_with == only(recording, "old").urn
        assert (made.ignore_changes, made.replace_on_changes) == (("tags",), ("name",))
        assert made.custom_timeouts == {"create": "5m", "delete": "1h"}
        assert made.aliases == ("name=former",)
        assert made.import_id == "role-in-aws"
        assert only(recording, "old").custom_timeouts == {}

    def test_children_inherit_what_the_sdk_and_the_engine_hand_down(self):
        def program():
            Pair("p", opts=pulumi.ResourceOptions(protect=True, retain_on_delete=True))

        inner = only(run(program), "p-inner-role")
        assert (inner.protect, inner.retain_on_delete) == (True, True)

    def test_a_provider_is_recorded_by_urn_and_reaches_the_children(self):
        def program():
            provider = k8s.Provider("k", kubeconfig="{}")
            parent = Pair("p", 0, pulumi.ResourceOptions(providers=[provider]))
            config_map("c", {}, pulumi.ResourceOptions(parent=parent))

        for preview in (True, False):
            recording = run(program, preview=preview)
            provider = only(recording, "k").urn
            assert only(recording, "c").provider == provider
            assert only(recording, "p").providers == {"kubernetes": provider}
            assert only(recording, "p-role").provider is None

    def test_messages_of_the_program_are_kept(self):
        recording = run(lambda: pulumi.log.warn("look here"))
        assert recording.messages == (("warning", "look here"),)


class TestReferencesBetweenResources:
    def test_a_resource_as_an_input_arrives_as_its_id(self):
        def program():
            k8s.core.v1.ConfigMap("c", metadata={"name": "c"}, data={"role": role("r", name="n")})  # type: ignore[dict-item]

        assert only(run(program), "c").inputs["data"] == {"role": UNKNOWN}
        recording = run(program, preview=False)
        assert only(recording, "c").inputs["data"] == {"role": "n"}
        assert only(recording, "c").dependencies == {only(recording, "r").urn}

    def test_a_component_as_an_input_arrives_as_its_urn(self):
        def program():
            cluster = eks.Cluster("eks")
            eks.ManagedNodeGroup("nodes", cluster=cluster, node_role=role("r"))

        recording = run(program)
        nodes = only(recording, "nodes")
        assert nodes.inputs["cluster"] == only(recording, "eks").urn
        assert (nodes.remote, nodes.inputs["nodeRole"]) == (True, UNKNOWN)

    def test_reachable_follows_dependencies_providers_and_parents(self):
        def program():
            provider = k8s.Provider("k", kubeconfig=role("kube").arn)
            parent = Pair("p", 0)
            aws.sqs.Queue("aside")
            config_map("c", {}, pulumi.ResourceOptions(parent=parent, provider=provider, depends_on=[role("dep")]))

        recording = run(program)
        names = {recording.by_urn[urn].name for urn in recording.reachable(only(recording, "c").urn)}
        assert names == {"k", "kube", "p", "dep"}
        with pytest.raises(KeyError):
            recording.reachable("urn:nowhere")


class TestEksCluster:
    @staticmethod
    def program() -> None:
        cluster = eks.Cluster(
            "main",
            name="gpu",
            version="1.35",
            authentication_mode=eks.AuthenticationMode.API,
            private_subnet_ids=["subnet-1", "subnet-2"],
            vpc_id="vpc-9",
        )
        inner = cluster.eks_cluster
        k8s.Provider("k", kubeconfig=cluster.kubeconfig_json)
        aws.eks.Addon("dns", cluster_name=inner.name, addon_name="coredns")
        pulumi.export("name", inner.name)
        pulumi.export("version", inner.version)
        pulumi.export("arn", inner.arn)
        pulumi.export("endpoint", inner.endpoint)
        pulumi.export("group", inner.vpc_config.cluster_security_group_id)
        pulumi.export("sameGroup", cluster.cluster_security_group_id)
        pulumi.export("vpc", inner.vpc_config.vpc_id)
        pulumi.export("server", cluster.kubeconfig["clusters"][0]["cluster"]["server"])
        pulumi.export("kubeconfig", cluster.get_kubeconfig())
        pulumi.export("issuer", cluster.oidc_provider_url)

    def test_an_apply_gives_values_that_agree(self):
        outputs = run(self.program, preview=False, config={"aws:region": "eu-west-1"}).outputs
        assert (outputs["name"], outputs["version"], outputs["vpc"]) == ("gpu", "1.35", "vpc-9")
        assert outputs["arn"] == "arn:aws:eks:eu-west-1:123456789012:cluster/gpu"
        assert outputs["group"] == outputs["sameGroup"]
        assert outputs["group"].startswith("sg-")
        assert outputs["server"] == outputs["endpoint"]
        assert outputs["issuer"].startswith("https://oidc.eks.eu-west-1.amazonaws.com/id/")
        user = json.loads(outputs["kubeconfig"])["users"][0]["user"]
        assert user["exec"]["args"][:3] == ["--region", "eu-west-1", "eks"]

    def test_a_preview_knows_the_name_only(self):
        recording = run(self.program)
        known = {key for key, value in recording.outputs.items() if value is not UNKNOWN}
        assert known == {"name", "version"}
        assert only(recording, "k").inputs == {"kubeconfig": UNKNOWN}

    def test_a_dependency_on_the_inner_cluster_counts_as_one_on_the_component(self):
        recording = run(self.program)
        assert only(recording, "dns").dependencies == {only(recording, "main").urn}
        assert {d for r in recording.resources for d in r.needs} <= recording.by_urn.keys()

    def test_the_region_of_the_provider_counts(self):
        def program():
            provider = aws.Provider("elsewhere", region="us-gov-west-1")
            options = pulumi.ResourceOptions(provider=provider)
            pulumi.export("queue", aws.sqs.Queue("q", opts=options).arn)
            pulumi.export("cluster", eks.Cluster("c", name="n", opts=options).eks_cluster.arn)

        outputs = run(program, preview=False, config={"aws:region": "eu-west-1"}).outputs
        assert outputs["queue"].startswith("arn:aws-us-gov:sqs:us-gov-west-1:123456789012:q-")
        assert outputs["cluster"] == "arn:aws-us-gov:eks:us-gov-west-1:123456789012:cluster/n"


class TestAwsAnswers:
    def test_ids_have_the_form_that_kubernetes_schemas_accept(self):
        def program():
            vpc = aws.ec2.Vpc("v", cidr_block="10.0.0.0/16")
            pulumi.export("subnet", aws.ec2.Subnet("s", vpc_id=vpc.id).id)
            pulumi.export("group", aws.ec2.SecurityGroup("g", vpc_id=vpc.id).id)
            pulumi.export("profile", aws.iam.InstanceProfile("p", path="/x/").arn)
            pulumi.export("queue", aws.sqs.Queue("q", name="events").url)

        outputs = run(program, preview=False).outputs
        assert outputs["subnet"].removeprefix("subnet-").isalnum()
        assert len(outputs["group"]) == len("sg-") + 17
        assert ":instance-profile/x/p-" in outputs["profile"]
        assert outputs["queue"] == "https://sqs.us-east-1.amazonaws.com/123456789012/events"

    def test_names_that_the_provider_makes_are_known_in_a_preview_and_stay(self):
        def program():
            pulumi.export("name", role("r").name)

        first = run(program).outputs["name"]
        assert first.startswith("r-")
        assert first == run(program, preview=False).outputs["name"]

    def test_functions(self):
        def program():
            pulumi.export("zones", aws.get_availability_zones(state="available").names)
            pulumi.export("zonesOutput", aws.get_availability_zones_output().zone_ids)
            pulumi.export("partition", aws.get_partition().partition)
            pulumi.export("account", aws.get_caller_identity().account_id)
            pulumi.export("region", aws.get_region().region)
            pulumi.export("endpoint", aws.eks.get_cluster(name="old").endpoint)

        outputs = run(program, config={"aws:region": "eu-west-1"}).outputs
        assert outputs["zones"] == ["eu-west-1a", "eu-west-1b", "eu-west-1c"]
        assert outputs["zonesOutput"] == ["euw1-az1", "euw1-az2", "euw1-az3"]
        assert (outputs["partition"], outputs["account"]) == ("aws", "123456789012")
        assert outputs["region"] == "eu-west-1"
        assert outputs["endpoint"].startswith("https://")

    def test_excluded_zones_and_compound_directions(self):
        answer = answer_invoke(
            "aws:index/getAvailabilityZones:getAvailabilityZones",
            {"excludeNames": ["ap-northeast-1b"]},
            Account("ap-northeast-1"),
        )
        assert answer["names"] == ["ap-northeast-1a", "ap-northeast-1c"]
        assert answer["zoneIds"] == ["apne1-az1", "apne1-az3"]

    def test_a_policy_document_is_the_one_that_the_provider_computes(self):
        def program():
            document = aws.iam.get_policy_document(
                statements=[
                    {
                        "sid": "One",
                        "actions": ["sts:AssumeRole", "sts:TagSession"],
                        "principals": [{"type": "Service", "identifiers": ["pods.eks.amazonaws.com"]}],
                    },
                    {
                        "effect": "Deny",
                        "actions": ["*"],
                        "resources": ["*"],
                        "principals": [{"type": "*", "identifiers": ["*"]}],
                        "conditions": [
                            {"test": "Bool", "variable": "aws:SecureTransport", "values": ["false"]},
                        ],
                    },
                ]
            )
            pulumi.export("json", document.json)

        assert json.loads(run(program).outputs["json"]) == {
            "Version": "2012-10-17",
            "Statement": [
                {
                    "Effect": "Allow",
                    "Sid": "One",
                    "Action": ["sts:AssumeRole", "sts:TagSession"],
                    "Principal": {"Service": "pods.eks.amazonaws.com"},
                },
                {
                    "Effect": "Deny",
                    "Action": "*",
                    "Resource": "*",
                    "Principal": "*",
                    "Condition": {"Bool": {"aws:SecureTransport": "false"}},
                },
            ],
        }

    def test_a_function_without_an_answer_is_refused_by_name(self):
        with pytest.raises(ProgramFailed, match="calls aws:index/getIpRanges:getIpRanges, which needs AWS"):
            run(lambda: aws.get_ip_ranges(services=["ec2"]))

    def test_a_resource_that_exists_already_is_read_and_not_made(self):
        def program():
            old = aws.ec2.Subnet.get("old", "subnet-12")
            pulumi.export("id", old.id)
            pulumi.export("arn", old.arn)
            pulumi.export("cidr", old.cidr_block)

        recording = run(program)
        assert recording.outputs == {
            "id": "subnet-12",
            "arn": "arn:aws:ec2:us-east-1:123456789012:subnet/subnet-12",
            "cidr": UNKNOWN,
        }
        assert only(recording, "old").read
        assert counts_by_package(recording) == {}


class TestStackReferences:
    @staticmethod
    def program() -> None:
        other = pulumi.StackReference("acme/gpu-slicing/prod")
        config_map("c", {"name": other.require_output("clusterName"), "config": other.get_output("kubeconfig")})
        pulumi.export("pools", other.require_output("gpuPools"))
        pulumi.export("later", other.require_output("later"))

    def test_given_outputs_reach_the_program(self):
        given = {
            "clusterName": "gpu",
            "kubeconfig": Secret("{}"),
            "gpuPools": {"t4": {"slicesPerNode": 4}},
            "later": 1.5,
        }
        recording = run(self.program, stack_references={"acme/gpu-slicing/prod": given})
        assert only(recording, "c").inputs["data"] == {"name": "gpu", "config": "{}"}
        assert only(recording, "c").secret_paths == {"data.config"}
        assert recording.outputs == {"pools": {"t4": {"slicesPerNode": 4}}, "later": 1.5}

    def test_a_recording_is_the_reference_of_the_next_program(self):
        def producer():
            pulumi.export("clusterName", "gpu")
            pulumi.export("kubeconfig", pulumi.Output.secret("{}"))
            pulumi.export("gpuPools", [1])
            pulumi.export("later", role("r").arn)

        reference = run(producer, preview=False).reference()
        recording = run(self.program, stack_references={"acme/gpu-slicing/prod": reference})
        assert only(recording, "c").secret_paths == {"data.config"}
        assert recording.outputs["later"].startswith("arn:aws:iam::")

    def test_one_unknown_output_makes_the_whole_reference_unknown(self):
        given = {"clusterName": "gpu", "kubeconfig": "", "gpuPools": [], "later": UNKNOWN}
        recording = run(self.program, stack_references={"acme/gpu-slicing/prod": given})
        assert recording.outputs == {"pools": UNKNOWN, "later": UNKNOWN}

    def test_a_stack_that_is_not_given_is_named(self):
        with pytest.raises(ProgramFailed, match=r"refers to the stack acme/gpu-slicing/prod.*given: other"):
            run(self.program, stack_references={"other": {}})

    def test_an_output_that_is_not_there_fails(self):
        # One alone: of several failures any may come first.
        given = {"gpuPools": [], "later": 1}
        with pytest.raises(ProgramFailed, match="KeyError: 'clusterName'"):
            run(self.program, stack_references={"acme/gpu-slicing/prod": given})


class TestKubernetesObjects:
    @staticmethod
    def program() -> None:
        namespace = k8s.core.v1.Namespace("z-first", metadata={"name": "gpu"})
        after = pulumi.ResourceOptions(depends_on=[namespace])
        k8s.apps.v1.Deployment(
            "a-second",
            metadata={"name": "d", "namespace": "gpu"},
            spec={
                "replicas": 5,
                "selector": {"matchLabels": {"a": "b"}},
                "template": {"metadata": {"labels": {"a": "b"}}, "spec": {"containers": []}},
            },
            opts=after,
        )
        k8s.apiextensions.CustomResource(
            "pool",
            api_version="karpenter.sh/v1",
            kind="NodePool",
            metadata={"name": "pool"},
            spec={"limits": {"nodes": 10, "cpu": 1.5}, "weight": 10, "on": True, "nothing": []},
            opts=after,
        )
        k8s.helm.v3.Release("chart", chart="karpenter", namespace="kube-system", values={"replicas": 1})
        k8s.core.v1.ConfigMap("unnamed", data={"n": "1"})
        k8s.core.v1.ConfigMap.get("existing", "gpu/existing")
        k8s.Provider("provider", kubeconfig="{}")

    def test_manifests_in_dependency_order_with_whole_numbers(self):
        objects = run(self.program, preview=False).kubernetes_objects()
        kinds = [item["kind"] for item in objects]
        assert sorted(kinds) == ["ConfigMap", "Deployment", "Namespace", "NodePool"]
        assert kinds.index("Namespace") < min(kinds.index("Deployment"), kinds.index("NodePool"))
        by_kind = dict(zip(kinds, objects, strict=True))
        replicas = by_kind["Deployment"]["spec"]["replicas"]
        assert (replicas, type(replicas)) == (5, int)
        assert by_kind["NodePool"] == {
            "apiVersion": "karpenter.sh/v1",
            "kind": "NodePool",
            "metadata": {"name": "pool"},
            "spec": {"limits": {"nodes": 10, "cpu": 1.5}, "weight": 10, "on": True, "nothing": []},
        }
        assert json.dumps(by_kind["NodePool"]["spec"]["limits"]) == '{"cpu": 1.5, "nodes": 10}'

    def test_an_object_without_a_name_gets_the_providers(self):
        def names(recording):
            return [o["metadata"]["name"] for o in recording.kubernetes_objects() if o["kind"] == "ConfigMap"]

        (name,) = names(run(self.program, preview=False))
        assert name.startswith("unnamed-")
        assert names(run(self.program)) == [name]

    def test_helm_release_status_is_unknown_until_it_is_deployed(self):
        def program():
            release = k8s.helm.v3.Release("r", chart="karpenter", name="karpenter", namespace="kube-system")
            pulumi.export("namespace", release.status.namespace)

        assert run(program).outputs == {"namespace": UNKNOWN}
        assert run(program, preview=False).outputs == {"namespace": "kube-system"}


class TestDeterminism:
    @staticmethod
    def program() -> None:
        for i in range(12):
            pair = Pair(f"p{i}", opts=pulumi.ResourceOptions(aliases=[pulumi.Alias(name=f"q{i}")]))
            config_map(f"c{i}", {"arn": pair.role.arn}, pulumi.ResourceOptions(depends_on=[pair]))
            pulumi.export(f"o{i}", pair.role.id)
            pulumi.log.info(f"message {i}")

    @pytest.mark.parametrize("preview", [True, False])
    def test_three_runs_give_the_same(self, preview):
        runs = [run(self.program, preview=preview) for _ in range(3)]
        texts = {
            json.dumps([to_json(r), r.messages, [dict(x.outputs) for x in r.resources]], default=str) for r in runs
        }
        assert len(texts) == 1

    def test_dependencies_come_first(self):
        recording = run(self.program)
        position = {r.urn: i for i, r in enumerate(recording.resources)}
        assert all(position[needed] < position[r.urn] for r in recording.resources for needed in r.needs)

    def test_a_cycle_is_refused(self):
        def resource(urn: str, needs: str) -> Resource:
            return Resource(urn, "t", urn, None, {}, dependencies=frozenset({needs}))

        with pytest.raises(ValueError, match="wait for each other: a, b"):
            in_dependency_order([resource("a", "b"), resource("b", "a"), resource("c", "c")])


class TestFailures:
    @pytest.mark.parametrize("preview", [True, False])
    def test_a_run_error_keeps_its_words(self, preview):
        def program():
            role("before")
            raise pulumi.RunError("pools[0].sharing: MIG needs another GPU")

        with pytest.raises(ProgramFailed) as failed:
            run(program, preview=preview)
        assert str(failed.value) == "pools[0].sharing: MIG needs another GPU"

    def test_an_error_inside_apply_is_found(self):
        def program():
            role("r", name="n").name.apply(lambda name: name.nonsense)

        with pytest.raises(ProgramFailed, match=r"^AttributeError: .*'nonsense' \(test_offline.py line \d+\)$"):
            run(program)

    def test_another_error_says_what_and_where_in_one_line(self):
        with pytest.raises(ProgramFailed, match=r"^KeyError: 'zones' \(test_offline.py line \d+\)$"):
            run(lambda: {}["zones"])

    @pytest.mark.parametrize(("code", "text"), [("stop here", "stop here"), (3, "the program exited with status 3")])
    def test_an_exit_is_a_failure(self, code, text):
        with pytest.raises(ProgramFailed, match=text):
            run(lambda: sys.exit(code))

    def test_an_exit_with_success_is_none(self):
        assert run(lambda: (role("r"), sys.exit(0))).resources[0].name == "r"

    def test_missing_configuration(self):
        with pytest.raises(ProgramFailed, match="Missing required configuration variable 'gpu-slicing:pools'"):
            run(lambda: pulumi.Config().require("pools"))

    def test_a_failure_leaves_nothing_behind(self):
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            for _ in range(2):
                with pytest.raises(ProgramFailed):
                    run(lambda: (Pair("p"), pulumi.StackReference("s").require_output("x"), 1 / 0))
            gc.collect()
            assert len(run(lambda: Pair("p", 0)).resources) == 2

    def test_the_traceback_is_kept_as_text(self):
        with pytest.raises(ProgramFailed) as failed:
            run(lambda: 1 / 0)
        assert "run(lambda: 1 / 0)" in failed.value.traceback
        assert failed.value.__cause__ is None


class TestRunsAreSeparate:
    def test_configuration_project_and_stack_are_each_runs_own(self):
        def program():
            pulumi.export("seen", [pulumi.get_project(), pulumi.get_stack(), pulumi.Config().get("size")])

        one = record(program, project="a", stack="x", config={"a:size": "1"}, preview=True)
        two = record(program, project="b", stack="y", config={"b:other": "2"}, preview=False)
        assert one.outputs == {"seen": ["a", "x", "1"]}
        assert two.outputs["seen"][:2] == ["b", "y"]
        assert two.outputs["seen"][2:] in ([], [None])

    def test_the_program_sees_all_its_keys(self):
        from pulumi.runtime import config as runtime_config

        config = {"gpu-slicing:pools": "[]", "gpu-slicing:pool": "[]", "aws:region": "eu-west-1"}
        recording = run(lambda: pulumi.export("keys", sorted(runtime_config.CONFIG.get())), config=config)
        assert recording.outputs == {"keys": sorted(config)}

    def test_the_callers_runtime_is_untouched(self):
        from pulumi.runtime import settings

        before = (pulumi.get_project(), pulumi.get_stack(), settings.get_root_resource(), settings.get_monitor())
        run(lambda: role("r"))
        after = (pulumi.get_project(), pulumi.get_stack(), settings.get_root_resource(), settings.get_monitor())
        assert before == after

    def test_threads_loops_and_collector_are_as_before(self):
        run(lambda: role("r"))
        threads = threading.active_count()
        for _ in range(3):
            run(lambda: role("r"))
        assert threading.active_count() <= threads
        assert gc.isenabled()
        with pytest.raises(RuntimeError):
            asyncio.get_running_loop()


class TestProgramFiles:
    @staticmethod
    def write(folder: Path, value: str) -> Path:
        folder.mkdir()
        (folder / "sibling.py").write_text(f"VALUE = {value!r}\n")
        (folder / "data.txt").write_text(value)
        (folder / "__main__.py").write_text(
            "import os, sys\n"
            "from pathlib import Path\n"
            "import pulumi, sibling\n"
            "pulumi.export('value', sibling.VALUE)\n"
            "pulumi.export('read', Path('data.txt').read_text())\n"
            "pulumi.export('main', __name__)\n"
            "pulumi.export('argv', sys.argv)\n"
            "pulumi.export('path', sys.path[0])\n"
        )
        return folder

    def test_runs_in_its_folder_as_main(self, tmp_path):
        folder = self.write(tmp_path / "one", "1")
        outputs = run(folder).outputs
        main = str(folder / "__main__.py")
        assert outputs == {"value": "1", "read": "1", "main": "__main__", "argv": [main], "path": str(folder)}

    def test_two_programs_with_modules_of_one_name(self, tmp_path):
        before = (Path.cwd(), list(sys.path), list(sys.argv))
        for value in ("first", "second"):
            folder = self.write(tmp_path / value, value)
            assert run(folder / "__main__.py").outputs["value"] == value
            assert "sibling" not in sys.modules
        assert before == (Path.cwd(), list(sys.path), list(sys.argv))

    def test_a_failing_program_gives_the_process_back(self, tmp_path):
        (tmp_path / "__main__.py").write_text("import sys\nsys.path.clear()\nraise ValueError('broken')\n")
        before = (Path.cwd(), list(sys.path))
        with pytest.raises(ProgramFailed, match=r"^ValueError: broken \(__main__.py line 3\)$"):
            run(tmp_path)
        assert before == (Path.cwd(), list(sys.path))

    def test_a_program_that_does_not_parse(self, tmp_path):
        (tmp_path / "__main__.py").write_text("def\n")
        with pytest.raises(ProgramFailed, match="SyntaxError"):
            run(tmp_path)

    def test_a_missing_program_is_named(self, tmp_path):
        with pytest.raises(ProgramFailed, match=r"__main__\.py does not exist"):
            run(tmp_path)

    def test_importing_the_package_does_not_load_the_sdk(self):
        code = "import sys, offline, offline.tree, offline.pulumi_cli; print('pulumi' in sys.modules)"
        root = Path(__file__).parents[2]
        done = subprocess.run(
            [sys.executable, "-c", code], env={**os.environ, "PYTHONPATH": str(root)}, capture_output=True, text=True
        )
        assert done.stdout.strip() == "False", done.stderr


class TestTree:
    @staticmethod
    def program() -> None:
        Pair("p", opts=pulumi.ResourceOptions(protect=True))
        config_map("c", {"secret": pulumi.Output.secret("hush"), "arn": role("alone").arn})
        pulumi.export("hidden", pulumi.Output.secret("hush"))
        pulumi.export("arn", role("other").arn)

    def test_children_stand_under_their_parents(self):
        tree = resource_tree(run(self.program))
        (pair,) = [node for node in tree.children if node.name == "p"]
        (inner,) = [node for node in pair.children if node.name == "p-inner"]
        assert tree.name == "gpu-slicing dev"
        assert tree.size() == 7
        assert pair.size() == 3
        assert [node.name for node in inner.children] == ["p-inner-role"]

    def test_text_shows_short_types_and_counts(self):
        from rich.console import Console

        console = Console(width=100, record=True, file=open(os.devnull, "w"))  # noqa: SIM115
        console.print(to_rich(resource_tree(run(self.program))))
        text = console.export_text()
        console.file.close()
        assert "gpu-slicing dev  7 resources" in text
        assert "aws:iam:Role p-inner-role" in text
        assert "test:index:Pair p  3" in text

    @pytest.mark.parametrize(
        ("token", "short"),
        [
            ("aws:iam/role:Role", "aws:iam:Role"),
            ("aws:iam/rolePolicyAttachment:RolePolicyAttachment", "aws:iam:RolePolicyAttachment"),
            ("kubernetes:karpenter.sh/v1:NodePool", "kubernetes:karpenter.sh/v1:NodePool"),
            ("pulumi:providers:kubernetes", "pulumi:providers:kubernetes"),
            ("eks:index:Cluster", "eks:index:Cluster"),
        ],
    )
    def test_short_types(self, token, short):
        assert short_type(token) == short

    def test_json_hides_secrets_and_marks_unknowns(self):
        recording = run(self.program)
        data = json.loads(json.dumps(to_json(recording)))
        (item,) = [r for r in data["resources"] if r["name"] == "c"]
        assert item["inputs"]["data"] == {"secret": "<secret>", "arn": "<unknown>"}
        assert item["dependencies"] == [only(recording, "alone").urn]
        assert data["outputs"] == {"arn": "<unknown>", "hidden": "<secret>"}
        assert (data["stack"], data["project"], data["preview"]) == ("dev", "gpu-slicing", True)
        (pair,) = [r for r in data["resources"] if r["name"] == "p"]
        assert pair["options"] == {"protect": True}

    def test_counts_leave_components_out(self):
        assert counts_by_package(run(self.program)) == {"aws": 4, "kubernetes": 1}


def test_a_hundred_resources_take_well_under_a_second():
    def program():
        for i in range(100):
            config_map(f"c{i}", {"k": "v"})

    def seconds() -> float:
        start = time.process_time()
        assert len(run(program).resources) == 100
        return time.process_time() - start

    assert min(seconds() for _ in range(3)) < 1.0
