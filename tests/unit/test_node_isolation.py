"""`isolation: strict`: what a node is told at boot, what the GPU Operator is told with it, and what is refused.

That nodeadm, containerd and the container toolkit do with it what `docs/isolation.md` says is not tested here: the
page says how it was.
"""

import email
import os
import re
import shlex
import subprocess
import tomllib
from email.message import Message
from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st
from stackdata import GONE, PREFIX, changed, problems_of

from gpuslice.bottlerocket import user_data as bottlerocket_user_data
from gpuslice.catalog import versions
from gpuslice.gpu_operator import merge, values
from gpuslice.load import load_settings
from gpuslice.manifests.stack import stack_manifests
from gpuslice.node_isolation import BOUNDARY, user_data
from gpuslice.pools import Pool
from gpuslice.text import dump_toml
from tests.helpers import MIG, PRICES, ROOT, SHARED, WHOLE, pools, stack_of

STRICT = {"isolation": "strict"}
ROCKET = {**SHARED, "ami": "bottlerocket@v1.54.0"}
MPS = {**SHARED, "sharing": {"mode": "mps", "replicas": 4}}
RUNTIME = "io.containerd.cri.v1.runtime"
NODEADM = {
    "enable_cdi": True,
    "containerd": {
        "default_runtime_name": "nvidia",
        "runtimes": {
            "nvidia": {
                "runtime_type": "io.containerd.runc.v2",
                "base_runtime_spec": "/etc/containerd/base-runtime-spec.json",
                "options": {"BinaryName": "/usr/bin/nvidia-container-runtime", "SystemdCgroup": True},
            }
        },
    },
    "cni": {"bin_dir": "/opt/cni/bin", "conf_dir": "/etc/cni/net.d"},
}
"""What nodeadm of amazon-eks-ami v20260724 configures on a node with GPUs, in containerd's runtime plugin."""


def parts(text: str) -> list[Message]:
    archive = email.message_from_string(text)
    assert archive.get_content_type() == "multipart/mixed"
    found = archive.get_payload()
    assert isinstance(found, list)
    return found


def node_config() -> dict[str, Any]:
    document = yaml.safe_load(str(parts(user_data())[0].get_payload()))
    assert isinstance(document, dict)
    return document


def containerd() -> dict[str, Any]:
    return tomllib.loads(node_config()["spec"]["containerd"]["config"])


def node_class(base: dict[str, Any]) -> dict[str, Any]:
    (found,) = [m for m in objects(base) if m["kind"] == "EC2NodeClass"]
    return dict(found["spec"])


def objects(base: dict[str, Any]) -> list[dict[str, Any]]:
    return [m for manifests in stack_manifests(stack_of(base)).values() for m in manifests]


def operator_values(*given: dict[str, Any]) -> dict[str, Any]:
    return values(stack_of(*given), pools(*given))


class TestArchive:
    def test_a_part_for_nodeadm_and_one_for_cloud_init(self):
        assert [p.get_content_type() for p in parts(user_data())] == ["application/node.eks.aws", "text/x-shellscript"]

    def test_karpenter_takes_it_for_mime_and_loses_nothing(self):
        """It looks at the beginning alone, keeps content types only, and puts its own boundary `//` between parts."""
        text = user_data()
        assert text.startswith(("MIME-Version:", "Content-Type:"))
        assert text.isascii()
        for part in parts(text):
            body = str(part.get_payload())
            assert "Content-Transfer-Encoding" not in part
            assert "\r" not in body
            assert not [line for line in body.splitlines() if line.startswith(("--//", f"--{BOUNDARY}"))]

    def test_it_is_the_same_each_time(self):
        """Karpenter replaces the nodes of a class whose user data changed."""
        assert user_data() == user_data()

    def test_the_shell_part_is_one_that_cloud_init_runs(self):
        assert str(parts(user_data())[1].get_payload()).startswith("#!/bin/bash\n")


class TestContainerd:
    def test_it_is_a_node_config_that_says_nothing_else(self):
        document = node_config()
        assert (document["apiVersion"], document["kind"]) == ("node.eks.aws/v1alpha1", "NodeConfig")
        assert document["spec"].keys() == {"containerd"}
        assert document["spec"]["containerd"].keys() == {"config"}

    def test_the_schema_is_that_of_containerd_2(self):
        """nodeadm tells the two by these names; of the older schema it would migrate the whole file."""
        text = node_config()["spec"]["containerd"]["config"]
        assert RUNTIME in text
        assert "io.containerd.grpc.v1.cri" not in text
        assert containerd()["plugins"].keys() == {RUNTIME}

    def test_over_nodeadms_own_the_default_is_runc_and_all_else_stays(self):
        merged = merge(NODEADM, containerd()["plugins"][RUNTIME])
        assert merged["containerd"]["default_runtime_name"] == "runc"
        assert merged["containerd"]["runtimes"]["nvidia"] == NODEADM["containerd"]["runtimes"]["nvidia"]
        assert {k: v for k, v in merged.items() if k != "containerd"} == {
            k: v for k, v in NODEADM.items() if k != "containerd"
        }

    def test_runc_is_configured_as_the_runtime_that_it_replaces(self):
        """Such as its cgroup driver: with another one than the kubelet's no pod starts."""
        runtimes = containerd()["plugins"][RUNTIME]["containerd"]["runtimes"]
        assert runtimes.keys() == {"runc"}
        replaced = NODEADM["containerd"]["runtimes"]["nvidia"]
        assert runtimes["runc"] == merge(replaced, {"options": {"BinaryName": "/usr/sbin/runc"}})


class TestToolkit:
    def test_the_script_sets_the_one_flag_in_the_nodes_file(self, tmp_path):
        """Run for real, with a program in the place of nvidia-ctk that writes down its arguments."""
        program, seen = tmp_path / "nvidia-ctk", tmp_path / "seen"
        program.write_text(f'#!/bin/bash\nprintf "%s\\n" "$@" >> {shlex.quote(str(seen))}\n', encoding="utf-8")
        program.chmod(0o755)
        script = str(parts(user_data())[1].get_payload())
        environment = {"PATH": f"{tmp_path}{os.pathsep}{os.environ['PATH']}"}
        subprocess.run(["bash", "-c", script], check=True, env=environment)
        assert seen.read_text(encoding="utf-8").splitlines() == [
            "config",
            "--config-file=/etc/nvidia-container-runtime/config.toml",
            "--in-place",
            "--set",
            "accept-nvidia-visible-devices-envvar-when-unprivileged=false",
        ]


class TestNodeClass:
    @pytest.mark.parametrize("base", [SHARED, MIG, MPS, WHOLE], ids=lambda b: b["sharing"]["mode"])
    def test_strict_adds_the_user_data_and_changes_nothing_else(self, base):
        plain, strict = node_class(base), node_class(base | STRICT)
        assert "userData" not in plain
        assert strict == plain | {"userData": user_data()}

    @pytest.mark.parametrize("base", [SHARED, MIG, MPS, WHOLE, ROCKET], ids=lambda b: b["name"])
    def test_every_other_object_is_the_same(self, base):
        def others(given):
            return [m for m in objects(given) if m["kind"] != "EC2NodeClass"]

        assert others(base) == others(base | STRICT)

    def test_default_is_what_is_not_said(self):
        assert objects(SHARED) == objects(SHARED | {"isolation": "default"})

    def test_bottlerocket_states_its_own_default_beside_the_slices(self):
        plain, strict = (tomllib.loads(node_class(b)["userData"])["settings"] for b in (ROCKET, ROCKET | STRICT))
        assert plain.keys() == {"kubelet-device-plugins"}
        assert strict == plain | {"nvidia-container-runtime": {"visible-devices-envvar-when-unprivileged": False}}

    def test_bottlerocket_with_whole_gpus(self):
        sharing = stack_of(WHOLE).pools[0].sharing
        settings = tomllib.loads(bottlerocket_user_data(sharing, strict=True))["settings"]
        assert settings["nvidia-container-runtime"] == {"visible-devices-envvar-when-unprivileged": False}
        assert settings["kubelet-device-plugins"]["nvidia"] == {"device-sharing-strategy": "none"}

    def test_the_output_says_what_separates_neighbours_on_a_gpu_and_so_does_not_change(self):
        """Strict closes the way to other GPUs; those who share one still share its memory and its faults."""
        for base, isolation in ((SHARED, "none"), (MIG, "hardware")):
            plain, strict = (Pool.of(stack_of(b).pools[0]).output(PRICES) for b in (base, base | STRICT))
            assert plain == strict
            assert strict["isolation"] == isolation


class TestOperatorValues:
    def test_cdi_is_stated_where_a_pool_depends_on_it(self):
        given = (SHARED, {**MIG, **STRICT})
        assert operator_values(*given) == operator_values(SHARED, MIG) | {"cdi": {"enabled": True}}

    @pytest.mark.parametrize("base", [SHARED, ROCKET, {**ROCKET, **STRICT}], ids=["default", "rocket", "strict-rocket"])
    def test_elsewhere_it_is_the_charts(self, base):
        assert "cdi" not in operator_values(base)


T4 = "pools[0]"
VALUES = "gpuOperator.values"
STRATEGY = {"devicePlugin": {"env": [{"name": "DEVICE_LIST_STRATEGY", "value": "envvar"}]}}
AS_STRICT = {f"{T4}.isolation": "strict"}
AS_ROCKET = {f"{T4}.ami": "bottlerocket@v1.54.0"}
REFUSED = {
    "old-image": ({f"{T4}.ami": "al2023@v20260609"}, f"{T4}.ami", "CVE-2026-24260"),
    "cdi-off": ({VALUES: {"cdi": {"enabled": False}}}, f"{VALUES}.cdi.enabled", "without their GPUs"),
    "cdi-as-a-number": ({VALUES: {"cdi": {"enabled": 1}}}, f"{VALUES}.cdi.enabled", "without their GPUs"),
    "cdi-no-map": ({VALUES: {"cdi": True}}, f"{VALUES}.cdi", "without their GPUs"),
    "strategy": ({VALUES: STRATEGY}, f"{VALUES}.devicePlugin.env", "without their GPUs"),
}


class TestRefused:
    @pytest.mark.parametrize("name", REFUSED)
    def test_what_cannot_work_with_strict(self, name):
        changes, where, message = REFUSED[name]
        (problem,) = problems_of(changed(AS_STRICT | changes))
        assert problem.path == PREFIX + where
        assert message in str(problem)

    @pytest.mark.parametrize("name", REFUSED)
    @pytest.mark.parametrize("pool", [{}, AS_STRICT | AS_ROCKET], ids=["default", "strict-bottlerocket"])
    def test_the_same_where_it_does_no_harm(self, name, pool):
        changes = REFUSED[name][0]
        assert problems_of(changed(changes | pool)) == ()

    @pytest.mark.parametrize(
        "changes",
        [
            {},
            {f"{T4}.ami": f"al2023@{versions.STRICT_AMI_FLOOR}"},
            {VALUES: {"cdi": {"enabled": True}}},
            {VALUES: {"devicePlugin": {"env": [{"name": "PASS_DEVICE_SPECS", "value": "false"}]}}},
        ],
    )
    def test_what_works_is_accepted(self, changes):
        assert problems_of(changed(AS_STRICT | changes)) == ()

    def test_the_latest_image_is_new_enough(self):
        assert problems_of(changed(AS_STRICT | {f"{T4}.ami": "al2023@latest"}), stack="dev") == ()

    @pytest.mark.parametrize("value", ["Strict", "none", True, None, ""])
    def test_no_other_word(self, value):
        (problem,) = problems_of(changed({f"{T4}.isolation": value}))
        assert problem.path == f"{PREFIX}{T4}.isolation"

    def test_a_wrong_word_hides_no_other_problem_of_the_pool(self):
        found = problems_of(changed({f"{T4}.isolation": "strickt", f"{T4}.zones": ["eu-west-1a"]}))
        assert {p.path for p in found} == {f"{PREFIX}{T4}.isolation", f"{PREFIX}{T4}.zones[0]"}

    def test_every_kubernetes_that_is_supported_has_cdi_on_the_node(self):
        """nodeadm turns it on in containerd from kubelet 1.32 on."""
        oldest = min(tuple(map(int, v.split("."))) for v in versions.KUBERNETES_SUPPORTED)
        assert oldest >= (1, 32)

    def test_the_default_image_will_do(self):
        assert problems_of(changed(AS_STRICT | {f"{T4}.ami": GONE})) == ()


def test_the_page_shows_the_floor_and_pods_that_the_pool_would_take():
    """Else the five minutes would be spent on pods that stay pending."""
    page = (ROOT / "docs" / "isolation.md").read_text(encoding="utf-8")
    assert f"al2023@{versions.STRICT_AMI_FLOOR}" in page
    stack, pods = (
        yaml.safe_load(block) for block in re.findall(r"^```yaml\n(.*?)^```$", page, re.MULTILINE | re.DOTALL)
    )
    (found,) = [Pool.of(p) for p in load_settings(stack["config"], "prod").pools]
    assert found.strict
    for pod in pods["items"]:
        assert pod["spec"]["nodeSelector"] == found.node_selector
        assert {t["key"] for t in pod["spec"]["tolerations"]} == {t["key"] for t in found.taints}
        assert pod["spec"]["containers"][0]["image"] == versions.CUDA_IMAGE
    asked = {p["metadata"]["name"]: p["spec"]["containers"][0].get("resources") for p in pods["items"]}
    limits = {"limits": {found.resources[0].name: "1"}}
    assert asked == {"asks": limits, "asks-nothing": None, "names-class": None}


_scalars = st.booleans() | st.integers(-1000, 1000) | st.text("abc.\"\\'[]= \n", max_size=5)
_tables = st.recursive(
    st.dictionaries(st.text('ab.-_" ', max_size=4), _scalars, min_size=1, max_size=3),
    lambda below: st.dictionaries(st.text('ab.-_" ', max_size=4), _scalars | below, min_size=1, max_size=3),
)


@given(_tables)
def test_toml_reads_back_as_what_was_written(data):
    assert tomllib.loads(dump_toml(data)) == data
