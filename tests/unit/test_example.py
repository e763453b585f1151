"""The example reads the platform's real outputs: a change of the contract that breaks other teams fails here."""

import ast
import json
import re
import sys
from pathlib import Path

import pytest
import yaml

from gpuslice.catalog import HOURS_PER_MONTH, instance_types
from gpuslice.manifests.admission_rules import MEMORY_ANNOTATION
from gpuslice.pools import Pool
from offline import ProgramFailed, record
from offline.preview import engine_config, record_stack

ROOT = Path(__file__).parents[2]
EXAMPLE = ROOT / "examples" / "inference-service"
PINNED = re.compile(r"^([A-Za-z0-9._-]+)==([^\s;\\]+)", flags=re.MULTILINE)


@pytest.fixture(scope="module")
def platforms():
    """What the program of each AWS stack registers when it is deployed."""
    return {stack: record_stack(ROOT, stack, unknowns=False) for stack in ("dev", "prod")}


@pytest.fixture
def deploy(platforms):
    """Records the example on a platform stack; `outputs` replaces some of the platform's."""

    def deploy(platform="prod", *, preview=False, outputs=None, **settings):
        stack = f"organization/gpu-slicing/{platform}"
        plain = {"platformStack": stack, "namespace": "team-vision"} | settings
        return record(
            EXAMPLE,
            project="inference-service",
            stack=platform,
            config=engine_config({f"inference-service:{key}": value for key, value in plain.items()}),
            preview=preview,
            stack_references={stack: platforms[platform].recording.reference() | (outputs or {})},
        )

    return deploy


def own_settings(stack):
    """The settings of the example's own stack file."""
    text = (EXAMPLE / f"Pulumi.{stack}.yaml").read_text(encoding="utf-8")
    config = yaml.safe_load(text)["config"]
    return {key.removeprefix("inference-service:"): value for key, value in config.items()}


def object_of(recording, kind, name=None):
    """The only object of that kind (and name)."""
    found = [o for o in recording.kubernetes_objects() if o["kind"] == kind]
    (only,) = [o for o in found if name in (None, o["metadata"]["name"])]
    return only


def pod_of(recording):
    return object_of(recording, "Deployment")["spec"]["template"]["spec"]


def gpu(resources):
    return {name: int(count) for name, count in resources.items() if name.startswith("nvidia.com/")}


def tenancy(platform, kind, namespace):
    objects = platform.recording.kubernetes_objects()
    (only,) = [o for o in objects if o["kind"] == kind and o["metadata"].get("namespace") == namespace]
    return only


# --- the contract -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("stack", ["dev", "prod"])
def test_the_platform_exports_the_contract_as_plain_data(platforms, stack):
    recording = platforms[stack].recording
    assert {"contractVersion", "clusterName", "region", "kubeconfig", "gpuPools"} <= recording.outputs.keys()
    assert recording.outputs["contractVersion"] == 1
    assert recording.secret_outputs == {"kubeconfig"}
    public = {name: value for name, value in recording.outputs.items() if name not in recording.secret_outputs}
    assert json.loads(json.dumps(public)) == public
    for pool in public["gpuPools"].values():
        assert pool.keys() == {
            "mode",
            "isolation",
            "gpuModels",
            "instanceTypes",
            "resources",
            "nodeSelector",
            "tolerations",
            "maxNodes",
            "priceRegion",
        }
        for resource in pool["resources"]:
            assert resource.keys() == {"name", "slicesPerNode", "memoryMiB", "pricePerSliceHour"}
            assert resource["slicesPerNode"].keys() == set(pool["instanceTypes"])


@pytest.mark.parametrize("stack", ["dev", "prod"])
def test_the_example_fits_its_own_platform_stack(platforms, deploy, stack):
    platform, settings = platforms[stack], own_settings(stack)
    recording = deploy(stack, **settings)
    outputs, pod = recording.outputs, pod_of(recording)
    pool = Pool.of(platform.settings.pool(outputs["pool"]))
    node_pool = object_of(platform.recording, "NodePool", pool.name)["spec"]["template"]

    (container,) = pod["containers"]
    assert gpu(container["resources"]["requests"]) == gpu(container["resources"]["limits"])
    assert gpu(container["resources"]["requests"]) == {outputs["sliceResource"]: 1}
    assert outputs["sliceResource"] in {r.name for r in pool.resources}
    assert outputs["memoryMiB"] >= settings["memoryMiB"]
    assert int({e["name"]: e["value"] for e in container["env"]}["GPU_SLICE_MEMORY_MIB"]) == outputs["memoryMiB"]
    assert pod["nodeSelector"].items() <= node_pool["metadata"]["labels"].items()
    tolerated = {(t["key"], t.get("value"), t["effect"]) for t in pod["tolerations"]}
    assert tolerated >= {(t["key"], t.get("value"), t["effect"]) for t in node_pool["spec"]["taints"]}


@pytest.mark.parametrize("stack", ["dev", "prod"])
def test_its_pods_fit_the_quota_and_the_limits_of_the_namespace(platforms, deploy, stack):
    recording = deploy(stack, **own_settings(stack))
    deployment = object_of(recording, "Deployment")
    namespace = deployment["metadata"]["namespace"]
    quota = tenancy(platforms[stack], "ResourceQuota", namespace)["spec"]["hard"]
    (limits,) = tenancy(platforms[stack], "LimitRange", namespace)["spec"]["limits"]
    assert deployment["spec"]["strategy"]["rollingUpdate"]["maxSurge"] == 0
    for container in pod_of(recording)["containers"]:
        for name, count in gpu(container["resources"]["requests"]).items():
            assert count * deployment["spec"]["replicas"] <= int(quota[f"requests.{name}"])
            assert count <= int(limits["max"][name])


def test_its_pods_meet_the_restricted_pod_security_standard(platforms, deploy):
    """The rules of the Kubernetes pod-security standard `restricted` that a Deployment can break."""
    pod = pod_of(deploy())
    namespace = object_of(platforms["prod"].recording, "Namespace", "team-vision")
    assert namespace["metadata"]["labels"]["pod-security.kubernetes.io/enforce"] == "restricted"
    assert pod["securityContext"]["runAsNonRoot"] is True
    assert pod["securityContext"]["runAsUser"] != 0
    assert pod["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
    assert not {"hostNetwork", "hostPID", "hostIPC"} & pod.keys()
    assert all(volume.keys() <= {"name", "emptyDir"} for volume in pod["volumes"])
    for container in pod["containers"]:
        context = container["securityContext"]
        assert context["allowPrivilegeEscalation"] is False
        assert context["capabilities"] == {"drop": ["ALL"]}
        assert "privileged" not in context
    assert pod["automountServiceAccountToken"] is False


def test_its_pods_promise_to_stay_within_their_slice(deploy):
    """The platform's admission rules ask for it; how the API server judges the pods is tested in the sandbox."""
    recording = deploy()
    annotations = object_of(recording, "Deployment")["spec"]["template"]["metadata"]["annotations"]
    assert annotations == {MEMORY_ANNOTATION: str(recording.outputs["memoryMiB"])}


def test_the_service_and_the_budget_select_the_pods(deploy):
    recording = deploy(name="ranker", replicas=1)
    labels = object_of(recording, "Deployment")["spec"]["template"]["metadata"]["labels"]
    service = object_of(recording, "Service")["spec"]
    (container,) = pod_of(recording)["containers"]
    assert service["selector"].items() <= labels.items()
    assert {p["targetPort"] for p in service["ports"]} <= {p["name"] for p in container["ports"]}
    budget = object_of(recording, "PodDisruptionBudget")["spec"]
    assert budget["selector"]["matchLabels"].items() <= labels.items()
    assert budget["maxUnavailable"] == 1
    assert recording.outputs["url"] == "http://ranker.team-vision.svc:8000"


def test_every_probe_asks_a_port_of_the_container(deploy):
    (container,) = pod_of(deploy())["containers"]
    ports = {p["name"] for p in container["ports"]}
    for name in ("startupProbe", "readinessProbe", "livenessProbe"):
        assert container[name]["httpGet"]["port"] in ports


def test_every_setting_reaches_the_deployment(deploy):
    recording = deploy(
        namespace="team-language", name="chat", replicas=3, image="example.test/server:1", modelRepository="s3://b/m"
    )
    deployment = object_of(recording, "Deployment")
    (container,) = deployment["spec"]["template"]["spec"]["containers"]
    assert deployment["metadata"]["name"] == "chat"
    assert deployment["metadata"]["namespace"] == "team-language"
    assert deployment["spec"]["replicas"] == 3
    assert container["image"] == "example.test/server:1"
    assert "--model-repository=s3://b/m" in container["args"]


# --- the choice ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("settings", "pool", "resource"),
    [
        ({}, "t4-shared", "nvidia.com/gpu.shared"),
        ({"memoryMiB": 3584}, "t4-shared", "nvidia.com/gpu.shared"),
        ({"memoryMiB": 3585}, "a100-mig", "nvidia.com/mig-1g.5gb"),
        ({"isolation": "hardware"}, "a100-mig", "nvidia.com/mig-1g.5gb"),
        ({"memoryMiB": 8192}, "a100-mig", "nvidia.com/mig-2g.10gb"),
        ({"memoryMiB": 8192, "pool": "h100-mig"}, "h100-mig", "nvidia.com/mig-1g.10gb"),
        ({"memoryMiB": 20000}, "h100-whole", "nvidia.com/gpu"),
        ({"replicas": 33, "memoryMiB": 8192, "pool": "a100-mig"}, None, None),
        ({"replicas": 32, "memoryMiB": 8192, "pool": "a100-mig"}, "a100-mig", "nvidia.com/mig-2g.10gb"),
    ],
)
def test_the_cheapest_slice_that_fits_is_chosen(deploy, settings, pool, resource):
    if pool is None:
        with pytest.raises(ProgramFailed, match="at most 32 of them for 33 replicas"):
            deploy(**settings)
        return
    outputs = deploy(**settings).outputs
    assert (outputs["pool"], outputs["sliceResource"]) == (pool, resource)


def test_the_price_is_the_slices_share_of_the_nodes_list_price(deploy):
    """A fourth of a T4, on the cheapest and the dearest node of the pool."""
    price = {name: float(instance_types()[name].usd_per_hour) for name in ("g4dn.xlarge", "g4dn.12xlarge")}
    month = 3 * HOURS_PER_MONTH
    assert deploy(replicas=3).outputs["usdPerMonth"] == {
        "least": round(price["g4dn.xlarge"] / 4 * month, 2),
        "most": round(price["g4dn.12xlarge"] / 16 * month, 2),
    }


def test_a_pool_without_a_list_price_is_chosen_last_and_has_no_price(platforms, deploy):
    pools = json.loads(json.dumps(platforms["prod"].recording.outputs["gpuPools"]))
    for resource in pools["t4-shared"]["resources"]:
        resource["pricePerSliceHour"] = {}
    assert deploy(outputs={"gpuPools": pools}).outputs["pool"] == "a100-mig"
    alone = deploy(outputs={"gpuPools": pools}, pool="t4-shared").outputs
    assert "usdPerMonth" not in alone  # Pulumi leaves out an output without a value


# --- refusals -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        (
            {"pool": "t4-shard"},
            "the platform has no pool 't4-shard'. Allowed: a100-mig, h100-mig, h100-whole, t4-shared.",
        ),
        ({"isolation": "strong"}, "isolation is 'strong'. Allowed: none, hardware."),
        ({"replicas": 0}, "replicas is 0. Allowed: 1 or more."),
        (
            {"pool": "t4-shared", "isolation": "hardware"},
            (
                "no slice of the platform fits.\n- t4-shared offers nvidia.com/gpu.shared (3584 MiB, isolation none):"
                " its neighbours are not isolated by hardware"
            ),
        ),
    ],
)
def test_what_cannot_be_had_is_refused_in_one_message(deploy, settings, message):
    with pytest.raises(ProgramFailed) as refused:
        deploy(**settings)
    assert str(refused.value) == message


def test_when_nothing_fits_every_pool_is_named_with_its_reason(platforms, deploy):
    with pytest.raises(ProgramFailed) as refused:
        deploy(memoryMiB=100_000)
    lines = str(refused.value).splitlines()
    offered = [
        (p, r["name"]) for p, v in platforms["prod"].recording.outputs["gpuPools"].items() for r in v["resources"]
    ]
    assert len(lines) == 1 + len(offered)
    assert all("less than the 100000 MiB" in line for line in lines[1:])


@pytest.mark.parametrize(("version", "found"), [(2, "has contract version 2"), (None, "exports no contractVersion")])
def test_another_contract_version_is_refused_before_anything_is_deployed(deploy, version, found):
    with pytest.raises(ProgramFailed) as refused:
        deploy(outputs={"contractVersion": version})
    stack = "organization/gpu-slicing/prod"
    assert str(refused.value) == f"stack {stack} {found}. This program reads version 1 of gpu-slicing."


def test_a_missing_setting_is_named(deploy, platforms):
    with pytest.raises(ProgramFailed, match="platformStack"):
        record(EXAMPLE, project="inference-service", stack="dev", config={}, preview=True)


# --- the program on its own ---------------------------------------------------------------------------------------


def test_a_first_preview_knows_the_choice(deploy):
    """The platform is deployed, so its outputs are known: the reviewer sees the price before anything is made."""
    assert deploy(preview=True).outputs == deploy(preview=False).outputs


def test_only_the_kubeconfig_is_secret_and_only_the_provider_has_it(deploy):
    recording = deploy()
    assert recording.secret_outputs == frozenset()
    secret = {r.type: set(r.secret_paths) for r in recording.resources if r.secret_paths}
    assert secret == {"pulumi:providers:kubernetes": {"kubeconfig"}}


def test_it_imports_nothing_of_the_platform():
    modules = set()
    for path in EXAMPLE.glob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Import):
                modules |= {alias.name.partition(".")[0] for alias in node.names}
            elif isinstance(node, ast.ImportFrom):
                modules.add(str(node.module).partition(".")[0])
    own = {path.stem for path in EXAMPLE.glob("*.py")}
    assert modules - own - sys.stdlib_module_names == {"pulumi", "pulumi_kubernetes"}


def test_its_pins_are_those_of_the_platform():
    ours = dict(PINNED.findall((ROOT / "requirements.txt").read_text(encoding="utf-8")))
    theirs = dict(PINNED.findall((EXAMPLE / "requirements.txt").read_text(encoding="utf-8")))
    direct = dict(PINNED.findall((EXAMPLE / "requirements.in").read_text(encoding="utf-8")))
    assert direct.keys() == {"pulumi", "pulumi-kubernetes"}
    assert direct.items() <= theirs.items()
    assert theirs.items() <= ours.items()


def test_every_required_key_is_declared_and_every_stack_file_sets_it():
    """The Pulumi CLI refuses a stack that lacks a key which Pulumi.yaml declares without a default."""
    declared = yaml.safe_load((EXAMPLE / "Pulumi.yaml").read_text(encoding="utf-8"))["config"]
    required = set(re.findall(r'require\("(\w+)"\)', (EXAMPLE / "__main__.py").read_text(encoding="utf-8")))
    assert {key for key, value in declared.items() if "default" not in value} == required
    stacks = [path.name.split(".")[1] for path in EXAMPLE.glob("Pulumi.*.yaml")]
    assert sorted(stacks) == ["dev", "prod"]
    for stack in stacks:
        assert required <= own_settings(stack).keys()


def test_the_readme_names_every_setting_with_its_default():
    source = (EXAMPLE / "__main__.py").read_text(encoding="utf-8")
    used = set(re.findall(r'config\.(?:get|get_int|require)\("(\w+)"', source))
    text = (EXAMPLE / "README.md").read_text(encoding="utf-8")
    table = re.findall(r"^\| `(\w+)` \| (?:`([^`]*)`)? ?\|", text, flags=re.MULTILINE)
    assert {name for name, _ in table} - {"dev", "prod"} == used
    image = re.search(r'^IMAGE = "(.*)"$', source, flags=re.MULTILINE)
    assert dict(table)["image"] == image[1]
    assert not image[1].endswith(":latest")


@pytest.mark.parametrize("stack", ["dev", "prod"])
def test_the_readme_tells_the_price_of_each_stack(deploy, stack):
    outputs = deploy(stack, **own_settings(stack)).outputs
    (row,) = [line for line in (EXAMPLE / "README.md").read_text().splitlines() if line.startswith(f"| `{stack}` |")]
    assert outputs["pool"] in row
    assert outputs["sliceResource"] in row
    assert {f"${outputs['usdPerMonth'][bound]:,.2f}" for bound in ("least", "most")} == set(
        re.findall(r"\$[\d,.]+\d", row)
    )
