"""The program as a whole: its three stacks, its outputs, a stack of pools alone, an existing cluster, and refusals."""

import json
from collections import Counter

import pulumi.runtime.config as runtime_config
import pytest
import yaml
from stackdata import GOOD

import offline.monitor
from components.config import stack_settings
from gpuslice.kubeconfig import exec_kubeconfig
from gpuslice.manifests.stack import stack_manifests
from gpuslice.project import OFFLINE_VARIABLE
from offline import UNKNOWN, ProgramFailed, record
from offline.preview import as_json
from tests.helpers import MIG, SHARED, STACKS, WHOLE, config_of, multiset, recorded, run

OUTPUTS = {"contractVersion", "clusterName", "region", "kubeconfig", "gpuPools"}
POOL_OUTPUT = {
    "mode": str,
    "isolation": str,
    "gpuModels": list,
    "instanceTypes": list,
    "resources": list,
    "nodeSelector": dict,
    "tolerations": list,
    "maxNodes": int,
    "priceRegion": str,
}
RESOURCE_OUTPUT = {"name": str, "slicesPerNode": dict, "memoryMiB": int, "pricePerSliceHour": dict}
ABOVE_THE_CLUSTER = {
    "gpu-slicing:index:Admission",
    "gpu-slicing:index:ExistingCluster",
    "gpu-slicing:index:GpuOperator",
    "gpu-slicing:index:GpuPool",
    "gpu-slicing:index:Karpenter",
    "gpu-slicing:index:Tenancy",
    "gpu-slicing:index:Verification",
}


@pytest.fixture(params=STACKS)
def stack(request) -> str:
    return request.param


@pytest.fixture
def kubeconfig(tmp_path):
    """The file of a cluster that exists, and its text."""
    path = tmp_path / "kubeconfig"
    content = exec_kubeconfig("old-cluster", "https://example.com", "Zm9v", "us-east-1")
    path.write_text(yaml.safe_dump(content), encoding="utf-8")
    return path


def existing(source, **sections):
    cluster = {"mode": "existing", "name": "old-cluster", "kubeconfig": source}
    return config_of({"cluster": cluster, "pools": [SHARED, MIG], "tenants": [{"namespace": "team-a"}], **sections})


def kubernetes(recording):
    return [r for r in recording.resources if r.type.startswith("kubernetes:")]


class TestStacks:
    def test_a_first_preview_names_what_an_update_makes(self, stack):
        planned, made = recorded(stack, unknowns=True).recording, recorded(stack).recording
        assert planned.by_urn.keys() == made.by_urn.keys()
        assert planned.preview
        assert not made.preview

    def test_dependencies_do_not_depend_on_what_is_known(self, stack):
        planned, made = recorded(stack, unknowns=True).recording, recorded(stack).recording
        assert {r.urn: r.needs for r in planned.resources} == {r.urn: r.needs for r in made.resources}

    def test_the_program_warns_of_nothing(self, stack):
        assert recorded(stack, unknowns=True).recording.messages == ()
        assert recorded(stack).recording.messages == ()

    def test_nothing_unknown_reaches_an_update(self, stack):
        assert str(UNKNOWN) not in json.dumps(as_json(recorded(stack)))

    def test_every_kubernetes_resource_is_of_the_stacks_own_provider(self, stack):
        recording = recorded(stack).recording
        (provider,) = recording.by_type("pulumi:providers:kubernetes")
        assert {r.provider for r in kubernetes(recording)} == {provider.urn}
        assert provider.secret_paths == {"kubeconfig"}

    def test_render_and_up_agree_on_every_object(self, stack):
        report = recorded(stack)
        rendered = [manifest for file in stack_manifests(report.settings).values() for manifest in file]
        assert multiset(report.recording.kubernetes_objects()) == multiset(rendered)

    def test_no_object_is_there_twice(self, stack):
        names = Counter(
            (o["apiVersion"], o["kind"], o["metadata"].get("namespace"), o["metadata"]["name"])
            for o in recorded(stack).recording.kubernetes_objects()
        )
        assert set(names.values()) == {1}

    def test_a_namespace_comes_before_what_is_in_it(self, stack):
        recording = recorded(stack).recording
        namespaces = {r.inputs["metadata"]["name"]: r.urn for r in recording.by_type("kubernetes:core/v1:Namespace")}
        inside = [r for r in kubernetes(recording) if r.inputs.get("metadata", {}).get("namespace") in namespaces]
        inside += [r for r in recording.by_type("kubernetes:helm.sh/v3:Release") if r.inputs["namespace"] in namespaces]
        assert inside
        for resource in inside:
            namespace = resource.inputs.get("namespace") or resource.inputs["metadata"]["namespace"]
            assert namespaces[namespace] in recording.reachable(resource.urn)

    def test_every_component_says_that_it_is_complete(self, stack):
        recording = recorded(stack).recording
        components = {r.urn for r in recording.resources if r.type.startswith("gpu-slicing:")}
        assert components == recording.component_outputs.keys()


class TestOutputs:
    def test_the_contract(self, stack):
        report = recorded(stack)
        outputs = report.recording.outputs
        assert outputs.keys() == OUTPUTS
        assert outputs["contractVersion"] == 1
        assert outputs["clusterName"] == report.settings.cluster.name
        assert outputs["region"] == "us-east-1"
        assert outputs["gpuPools"].keys() == {p.name for p in report.settings.pools}

    def test_the_region_is_the_stacks(self):
        config = config_of({"pools": [SHARED]}, region="eu-west-1")
        assert run(config).outputs["region"] == "eu-west-1"

    def test_the_contract_of_a_pool(self, stack):
        for pool in recorded(stack).recording.outputs["gpuPools"].values():
            assert {key: type(value) for key, value in pool.items()} == POOL_OUTPUT
            assert pool["isolation"] in ("none", "hardware")
            for resource in pool["resources"]:
                assert {key: type(value) for key, value in resource.items()} == RESOURCE_OUTPUT
                assert resource["slicesPerNode"].keys() == set(pool["instanceTypes"])

    def test_the_pools_of_prod(self):
        pools = recorded("prod").recording.outputs["gpuPools"]
        assert pools["t4-shared"]["isolation"] == "none"
        assert pools["t4-shared"]["resources"] == [
            {
                "name": "nvidia.com/gpu.shared",
                "memoryMiB": 16384 // 4 - 512,
                "slicesPerNode": {"g4dn.xlarge": 4, "g4dn.2xlarge": 4, "g4dn.12xlarge": 16},
                "pricePerSliceHour": {"g4dn.xlarge": 0.1315, "g4dn.2xlarge": 0.188, "g4dn.12xlarge": 0.2445},
            }
        ]
        assert [(r["name"], r["slicesPerNode"]["p4d.24xlarge"]) for r in pools["a100-mig"]["resources"]] == [
            ("nvidia.com/mig-1g.5gb", 24),
            ("nvidia.com/mig-2g.10gb", 16),
        ]
        assert pools["a100-mig"]["isolation"] == pools["h100-whole"]["isolation"] == "hardware"
        assert pools["a100-mig"]["nodeSelector"] == {"gpu-slicing.io/pool": "a100-mig"}
        assert [t["key"] for t in pools["a100-mig"]["tolerations"]] == ["nvidia.com/gpu", "gpu-slicing.io/pool"]
        assert pools["h100-whole"]["resources"][0]["name"] == "nvidia.com/gpu"

    def test_a_pods_selector_and_tolerations_fit_the_nodes(self, stack):
        """What an output promises is what the NodePool gives its nodes."""
        report = recorded(stack)
        for manifest in report.recording.by_type("kubernetes:karpenter.sh/v1:NodePool"):
            output = report.recording.outputs["gpuPools"][manifest.inputs["metadata"]["name"]]
            template = manifest.inputs["spec"]["template"]
            assert output["nodeSelector"].items() <= template["metadata"]["labels"].items()
            tolerated = {(t["key"], t.get("value"), t["effect"]) for t in output["tolerations"]}
            assert tolerated == {(t["key"], t.get("value"), t["effect"]) for t in template["spec"]["taints"]}

    def test_only_the_kubeconfig_is_a_secret_and_in_no_other_place(self, stack):
        report = recorded(stack)
        kubeconfig = report.recording.outputs["kubeconfig"]
        assert report.recording.secret_outputs == {"kubeconfig"}
        shown = json.dumps(as_json(report))
        assert json.dumps(kubeconfig)[1:-1] not in shown
        assert as_json(report)["outputs"]["kubeconfig"] == "<secret>"
        assert as_json(recorded(stack, unknowns=True))["outputs"]["kubeconfig"] == "<secret>"

    def test_the_kubeconfig_holds_no_credentials(self, stack):
        config = json.loads(recorded(stack).recording.outputs["kubeconfig"])
        (user,) = config["users"]
        assert user["user"].keys() == {"exec"}
        assert user["user"]["exec"]["command"] == "aws"
        assert config["current-context"] == recorded(stack).settings.cluster.name

    def test_a_preview_knows_the_pools_already(self, stack):
        """A reviewer reads slices and prices before anything exists."""
        planned = recorded(stack, unknowns=True).recording.outputs
        assert planned["gpuPools"] == recorded(stack).recording.outputs["gpuPools"]
        assert planned["clusterName"] == recorded(stack).recording.outputs["clusterName"]
        assert planned["kubeconfig"] is UNKNOWN


@pytest.fixture(scope="module")
def recording():
    """A stack with one pool and no other key."""
    return run(config_of({"pools": [SHARED]}), "acme", unknowns=True)


class TestPoolsAlone:
    def test_everything_else_has_a_default(self, recording):
        assert recording.outputs["clusterName"] == "gpu-acme"
        assert recording.outputs["gpuPools"].keys() == {"t4-shared"}
        assert len(recording.by_type("kubernetes:karpenter.sh/v1:NodePool")) == 1

    def test_the_defaults_are_the_safe_ones(self, recording):
        (cluster,) = recording.by_type("eks:index:Cluster")
        assert cluster.inputs["endpointPrivateAccess"] is True
        assert cluster.inputs["endpointPublicAccess"] is False
        assert cluster.inputs["deletionProtection"] is True
        assert cluster.protect

    def test_nothing_is_made_that_was_not_asked_for(self, recording):
        assert not recording.by_type("gpu-slicing:index:Tenancy")
        assert not recording.by_type("kubernetes:apps/v1:Deployment")

    def test_each_sharing_mode_alone_is_a_stack(self):
        mps = {**SHARED, "sharing": {"mode": "mps", "replicas": 4}}
        for pool in (MIG, WHOLE, mps):
            assert run(config_of({"pools": [pool]})).outputs["gpuPools"].keys() == {pool["name"]}


class TestExistingCluster:
    def test_everything_above_the_cluster_and_nothing_of_it(self, kubeconfig):
        verification = {"pool": "t4-shared", "replicas": 1}
        recording = run(existing({"path": str(kubeconfig)}, verification=verification), unknowns=True)
        types = {r.type for r in recording.resources}
        assert {t for t in types if t.startswith("gpu-slicing:")} == ABOVE_THE_CLUSTER
        assert not [
            t for t in types if t.startswith(("aws:ec2/", "aws:kms/", "eks:", "aws:eks/nodeGroup", "aws:eks/addon"))
        ]
        assert len(recording.by_type("kubernetes:karpenter.sh/v1:NodePool")) == 2
        assert {r.name for r in recording.by_type("kubernetes:helm.sh/v3:Release")} == {
            "gpu-operator",
            "karpenter",
            "karpenter-crd",
        }
        assert {r.provider for r in kubernetes(recording)} == {recording.by_type("pulumi:providers:kubernetes")[0].urn}

    def test_its_kubeconfig_is_used_and_handed_on(self, kubeconfig):
        recording = run(existing({"path": str(kubeconfig)}))
        (provider,) = recording.by_type("pulumi:providers:kubernetes")
        for text in (provider.inputs["kubeconfig"], recording.outputs["kubeconfig"]):
            assert yaml.safe_load(text)["clusters"][0]["cluster"]["server"] == "https://example.com"
        assert recording.secret_outputs == {"kubeconfig"}

    def test_the_kubeconfig_of_another_stack(self, kubeconfig):
        reference = {"stackReference": "acme/network/prod"}
        outputs = {"acme/network/prod": {"kubeconfig": kubeconfig.read_text(encoding="utf-8")}}
        recording = run(existing(reference), stack_references=outputs)
        (provider,) = recording.by_type("pulumi:providers:kubernetes")
        assert provider.inputs["kubeconfig"] == outputs["acme/network/prod"]["kubeconfig"]

    def test_a_karpenter_that_runs_already_is_left_alone(self, kubeconfig):
        karpenter = {"install": False, "nodeRole": "old-node-role"}
        recording = run(existing({"path": str(kubeconfig)}, karpenter=karpenter))
        assert {r.name for r in recording.by_type("kubernetes:helm.sh/v3:Release")} == {"gpu-operator"}
        roles = {r.inputs["spec"]["role"] for r in recording.by_type("kubernetes:karpenter.k8s.aws/v1:EC2NodeClass")}
        assert roles == {"old-node-role"}


@pytest.fixture
def monitors(monkeypatch):
    """The monitors of this test's runs, whose registrations stay readable when a program fails."""
    made = []

    class Watched(offline.monitor.Monitor):
        def __init__(self, *args, **kwargs):
            super().__init__(*args, **kwargs)
            made.append(self)

    monkeypatch.setattr(offline.monitor, "Monitor", Watched)
    return made


class TestRefusals:
    def test_a_settings_error_comes_before_any_resource_and_is_whole(self, monitors):
        pools = [{**SHARED, "instanceTypes": ["g4dn.xlrge"]}, {**SHARED, "rootVolume": "1Gi", "zones": ["eu-west-1a"]}]
        with pytest.raises(ProgramFailed) as failed:
            run(config_of({"pools": pools, "monitorin": {}}))
        text = str(failed.value)
        assert text.startswith("the settings of this stack were refused:\n")
        for part in (
            "pools[0].instanceTypes[0]",
            "pools[1].rootVolume",
            "pools[1].zones[0]",
            "monitorin",
            "g4dn.xlarge",
        ):
            assert part in text
        assert "Traceback" not in text
        assert monitors[0].registrations == {}

    def test_the_watch_sees_registrations(self, monitors):
        run(config_of({"pools": [SHARED]}))
        assert monitors[0].registrations

    def test_a_kubeconfig_that_is_not_there_comes_before_any_resource(self, monitors, tmp_path):
        with pytest.raises(ProgramFailed) as failed:
            run(existing({"path": str(tmp_path / "nowhere")}))
        assert str(failed.value).startswith("the settings of this stack were refused:\ncluster.kubeconfig: cannot read")
        assert "nowhere" in str(failed.value)
        assert monitors[0].registrations == {}

    def test_a_missing_output_of_another_stack_is_named(self):
        config = existing({"stackReference": "acme/network/prod", "output": "config"})
        with pytest.raises(ProgramFailed, match=r"acme/network/prod.*has no output 'config'"):
            run(config, stack_references={"acme/network/prod": {}})

    def test_the_local_stack_is_refused_outside_the_sandbox(self, monitors, monkeypatch):
        monkeypatch.delenv(OFFLINE_VARIABLE, raising=False)
        with pytest.raises(ProgramFailed, match="make up"):
            run(config_of({"cluster": {"mode": "sandbox", "name": "gpu-local"}, "pools": [SHARED]}), "local")
        assert monitors[0].registrations == {}

    def test_an_encrypted_setting_is_refused_without_its_value(self, monkeypatch):
        """Which resources exist must be readable in a review; and its value must not be printed."""
        monkeypatch.setattr(runtime_config, "is_config_secret", lambda key: key == "gpu-slicing:tenants")

        config = {"gpu-slicing:pools": json.dumps([SHARED]), "gpu-slicing:tenants": '[{"namespace": "hush"}]'}
        with pytest.raises(ProgramFailed) as failed:
            record(stack_settings, project="gpu-slicing", stack="prod", config=config, preview=True)
        assert "gpu-slicing:tenants: is encrypted" in str(failed.value)
        assert "hush" not in str(failed.value)


def test_every_setting_at_once_is_a_stack():
    recording = run(config_of(GOOD), unknowns=True)
    assert recording.outputs["gpuPools"].keys() == {p["name"] for p in GOOD["pools"]}
