"""NodePool, EC2NodeClass and NodeOverlay, against the rules of their schemas (Karpenter 1.14)."""

import re
import tomllib
from typing import Any

import pytest

from gpuslice.bottlerocket import user_data
from gpuslice.catalog import instance_types
from gpuslice.manifests.karpenter import ec2_node_class, node_overlay, node_pool, node_role_name, pool_manifests
from gpuslice.manifests.stack import POOL_FILES, stack_manifests
from gpuslice.pools import Pool
from gpuslice.settings import SHARING_MODES
from tests.helpers import MIG, SHARED, WHOLE, stack_of

ROCKET = {**SHARED, "ami": "bottlerocket@v1.54.0"}
EFA_TYPES = sorted(t.name for t in instance_types().values() if t.efa_interfaces)
RESERVED = {**WHOLE, "capacityTypes": ["reserved"], "capacityReservations": {"ids": ["cr-0123456789abcdef0"]}}


def objects(base: dict[str, Any], **sections: Any) -> dict[str, Any]:
    """A pool's EC2NodeClass and NodePool by kind, and its overlays as a list."""
    settings = stack_of(base, **sections)
    made = pool_manifests(Pool.of(settings.pools[0]), settings)
    found = {m["kind"]: m for m in made if m["kind"] != "NodeOverlay"}
    return found | {"NodeOverlay": [m for m in made if m["kind"] == "NodeOverlay"]}


def node_class(base: dict[str, Any], **sections: Any) -> dict[str, Any]:
    return objects(base, **sections)["EC2NodeClass"]["spec"]


def nodes(base: dict[str, Any], **sections: Any) -> dict[str, Any]:
    return objects(base, **sections)["NodePool"]["spec"]


def requirements(spec: dict[str, Any]) -> dict[str, list[str]]:
    found = spec["template"]["spec"]["requirements"]
    assert all(r["operator"] == "In" and r["values"] for r in found)
    return {r["key"]: r["values"] for r in found}


class TestOrder:
    def test_overlays_come_before_the_node_pool(self):
        settings = stack_of({**SHARED, "instanceTypes": ["g4dn.xlarge", "g4dn.12xlarge"]})
        kinds = [m["kind"] for m in pool_manifests(Pool.of(settings.pools[0]), settings)]
        assert kinds == ["EC2NodeClass", "NodeOverlay", "NodeOverlay", "NodePool"]

    def test_files_keep_the_names_of_the_classic_recipe(self):
        settings = stack_of(SHARED, MIG, WHOLE, verification={"pool": "t4-shared", "replicas": 1})
        assert list(stack_manifests(settings)) == [
            "namespaces.yaml",
            "time-slicing-config-fine.yaml",
            "mig-layouts.yaml",
            "admission.yaml",
            "karpenter-soft.yaml",
            "karpenter-mig.yaml",
            "karpenter-exclusive.yaml",
            "time-slicing-verification.yaml",
        ]

    def test_every_sharing_mode_has_a_file(self):
        assert POOL_FILES.keys() == set(SHARING_MODES)

    def test_pools_of_one_mode_share_a_file(self):
        settings = stack_of(SHARED, {**SHARED, "name": "second"})
        names = [m["metadata"]["name"] for m in stack_manifests(settings)["karpenter-soft.yaml"]]
        assert names == ["t4-shared", "t4-shared-1gpu", "t4-shared", "second", "second-1gpu", "second"]


class TestNodeClass:
    def test_secure_by_default(self):
        spec = node_class(SHARED)
        assert spec["metadataOptions"]["httpTokens"] == "required"
        assert spec["metadataOptions"]["httpPutResponseHopLimit"] == 1
        assert spec["associatePublicIPAddress"] is False
        assert all(m["ebs"]["encrypted"] and m["ebs"]["deleteOnTermination"] for m in spec["blockDeviceMappings"])

    def test_the_image_is_an_alias_alone(self):
        """By alias Karpenter picks the NVIDIA variant itself; an id bypasses that (amazon-eks-ami issue 1817)."""
        assert node_class({**SHARED, "ami": "al2023@v20260801"})["amiSelectorTerms"] == [{"alias": "al2023@v20260801"}]

    @pytest.mark.parametrize(
        ("base", "volumes"),
        [(SHARED, {"/dev/xvda": "150Gi"}), (ROCKET, {"/dev/xvda": "4Gi", "/dev/xvdb": "150Gi"})],
        ids=["al2023", "bottlerocket"],
    )
    def test_the_volume_that_holds_images_is_the_large_one(self, base, volumes):
        mappings = node_class({**base, "rootVolume": "150Gi"})["blockDeviceMappings"]
        assert {m["deviceName"]: m["ebs"]["volumeSize"] for m in mappings} == volumes

    def test_new_networks_are_found_by_tag_and_given_ones_by_id(self):
        assert node_class(SHARED)["subnetSelectorTerms"] == [{"tags": {"karpenter.sh/discovery": "gpu-prod"}}]
        vpc = {"id": "vpc-0123456789abcdef0", "privateSubnetIds": ["subnet-11111111", "subnet-22222222"]}
        given = node_class(SHARED, cluster={"vpc": vpc})
        assert given["subnetSelectorTerms"] == [{"id": "subnet-11111111"}, {"id": "subnet-22222222"}]

    def test_the_role_is_of_the_cluster_and_region(self):
        assert node_class(SHARED)["role"] == node_role_name(stack_of(SHARED)) == "gpu-prod-us-east-1-gpu-node"

    def test_reservations(self):
        assert "capacityReservationSelectorTerms" not in node_class(SHARED)
        terms = {"ids": ["cr-0123456789abcdef0", "cr-00000001"], "tags": {"team": "ml"}}
        given = node_class({**RESERVED, "capacityReservations": terms})
        assert given["capacityReservationSelectorTerms"] == [
            {"id": "cr-0123456789abcdef0"},
            {"id": "cr-00000001"},
            {"tags": {"team": "ml"}},
        ]

    def test_no_restricted_tag(self):
        tags = node_class(SHARED)["tags"]
        assert not [k for k in tags if re.match(r"eks:|kubernetes\.io/cluster/|karpenter\.", k)]


class TestEfa:
    """The CEL rules of EC2NodeClass `networkInterfaces` (karpenter-provider-aws, pkg/apis/v1/ec2nodeclass.go)."""

    @pytest.fixture(params=EFA_TYPES)
    def instance_type(self, request):
        return instance_types()[request.param]

    @pytest.fixture
    def interfaces(self, instance_type):
        base = {**WHOLE, "instanceTypes": [instance_type.name], "efa": True}
        return node_class(base)["networkInterfaces"]

    def test_the_primary_is_an_ordinary_interface(self, interfaces):
        primary = {"networkCardIndex": 0, "deviceIndex": 0, "interfaceType": "interface"}
        assert interfaces.count(primary) == 1
        assert len([i for i in interfaces if i["interfaceType"] == "interface"]) == 1

    def test_no_card_and_device_twice_and_one_efa_for_a_card(self, interfaces):
        places = [(i["networkCardIndex"], i["deviceIndex"]) for i in interfaces]
        cards = [i["networkCardIndex"] for i in interfaces if i["interfaceType"] == "efa-only"]
        assert len(places) == len(set(places)) <= 150
        assert len(cards) == len(set(cards))

    def test_every_efa_interface_of_the_type_on_a_card_that_it_has(self, interfaces, instance_type):
        cards = [i["networkCardIndex"] for i in interfaces if i["interfaceType"] == "efa-only"]
        assert len(cards) == instance_type.efa_interfaces
        assert set(cards) <= set(range(instance_type.network_cards))

    def test_none_unless_asked(self):
        assert "networkInterfaces" not in node_class(WHOLE)


class TestBottlerocket:
    def test_al2023_gets_no_user_data(self):
        assert "userData" not in node_class(SHARED)

    @pytest.mark.parametrize("rename", [True, False])
    @pytest.mark.parametrize("replicas", [2, 7])
    def test_its_own_plugin_slices(self, replicas, rename):
        sharing = {"mode": "time-slicing", "replicas": replicas, "rename": rename}
        settings = tomllib.loads(node_class({**ROCKET, "sharing": sharing})["userData"])
        assert settings == {
            "settings": {
                "kubelet-device-plugins": {
                    "nvidia": {
                        "device-sharing-strategy": "time-slicing",
                        "time-slicing": {
                            "replicas": replicas,
                            "rename-by-default": rename,
                            "fail-requests-greater-than-one": True,
                        },
                    }
                }
            }
        }

    def test_whole_gpus_are_said_to_be_whole(self):
        settings = tomllib.loads(user_data(stack_of({**WHOLE, "ami": "bottlerocket@v1.54.0"}).pools[0].sharing))
        assert settings["settings"]["kubelet-device-plugins"]["nvidia"] == {"device-sharing-strategy": "none"}


class TestOverlay:
    def test_scoped_by_pool_and_type_without_a_price_or_weight(self):
        wide = {**SHARED, "instanceTypes": ["g4dn.xlarge", "g4dn.12xlarge"]}
        for overlay in objects(wide)["NodeOverlay"]:
            keys = {r["key"]: r["values"] for r in overlay["spec"]["requirements"]}
            assert keys["karpenter.sh/nodepool"] == ["t4-shared"]
            assert keys.keys() == {"karpenter.sh/nodepool", "node.kubernetes.io/instance-type"}
            assert overlay["spec"].keys() == {"requirements", "capacity"}

    def test_no_two_overlays_of_a_stack_match_one_type_of_one_pool(self):
        """The second would be rejected whole, and quietly (`conflict with another overlay`)."""
        wide = {**SHARED, "instanceTypes": ["g4dn.xlarge", "g4dn.2xlarge", "g4dn.12xlarge", "g4dn.metal"]}
        settings = stack_of(wide, {**wide, "name": "second"})
        matched = []
        for p in map(Pool.of, settings.pools):
            for overlay in p.overlays:
                keys = {r["key"]: r["values"] for r in node_overlay(p, overlay)["spec"]["requirements"]}
                matched += [(p.name, t) for t in keys["node.kubernetes.io/instance-type"]]
        assert len(matched) == len(set(matched)) == 8

    def test_every_type_of_a_sliced_pool_has_one(self):
        for base in (SHARED, MIG):
            p = Pool.of(stack_of(base).pools[0])
            assert {t for o in p.overlays for t in o.instance_types} == {t.name for t in p.types}

    def test_capacity_is_text_and_only_of_gpus(self):
        """The schema refuses cpu, memory, ephemeral-storage and pods."""
        for base in (SHARED, MIG):
            for overlay in objects(base)["NodeOverlay"]:
                assert all(k.startswith("nvidia.com/") for k in overlay["spec"]["capacity"])
                assert all(isinstance(v, str) and v.isdecimal() for v in overlay["spec"]["capacity"].values())


class TestNodePool:
    def test_types_are_explicit_and_the_architecture_follows(self):
        found = requirements(nodes(SHARED))
        assert found == {
            "node.kubernetes.io/instance-type": ["g4dn.xlarge"],
            "karpenter.sh/capacity-type": ["on-demand"],
            "kubernetes.io/arch": ["amd64"],
        }
        arm = requirements(nodes({**SHARED, "instanceTypes": ["g5g.xlarge"]}))
        assert arm["kubernetes.io/arch"] == ["arm64"]

    def test_zones_only_where_given(self):
        found = requirements(nodes({**SHARED, "zones": ["us-east-1a", "us-east-1c"]}))
        assert found["topology.kubernetes.io/zone"] == ["us-east-1a", "us-east-1c"]

    @pytest.mark.parametrize(
        ("kind", "types", "required"),
        [
            ("capacity-block", ["reserved"], ["capacity-block"]),
            ("default", ["reserved"], None),
            ("capacity-block", ["reserved", "on-demand"], None),
        ],
    )
    def test_a_pool_of_capacity_blocks_alone_asks_for_them(self, kind, types, required):
        """With a fallback beside them the requirement would rule the fallback out."""
        terms = {"ids": ["cr-0123456789abcdef0"], "type": kind}
        found = requirements(nodes({**RESERVED, "capacityTypes": types, "capacityReservations": terms}))
        assert found.get("karpenter.k8s.aws/capacity-reservation-type") == required

    def test_labels_taints_and_class(self):
        p = Pool.of(stack_of(MIG).pools[0])
        template = nodes(MIG)["template"]
        assert template["metadata"]["labels"] == p.node_labels
        assert template["spec"]["taints"] == p.taints
        assert "startupTaints" not in template["spec"]
        assert template["spec"]["nodeClassRef"] == {
            "group": "karpenter.k8s.aws",
            "kind": "EC2NodeClass",
            "name": "a100-mig",
        }

    def test_limits_are_text(self):
        assert nodes({**SHARED, "limits": {"nodes": 3}})["limits"] == {"nodes": "3", "nvidia.com/gpu.shared": "12"}

    def test_disruption_by_default_spares_nodes_at_work(self):
        found = nodes(SHARED)
        assert found["disruption"] == {
            "consolidationPolicy": "WhenEmpty",
            "consolidateAfter": "10m",
            "budgets": [
                {"nodes": "100%", "reasons": ["Empty"]},
                {"nodes": "1", "reasons": ["Drifted", "Underutilized"]},
            ],
        }
        assert found["template"]["spec"]["expireAfter"] == "720h"
        assert found["template"]["spec"]["terminationGracePeriod"] == "1h"

    def test_budgets_as_given(self):
        budget = {"nodes": "0", "reasons": ["Drifted"], "schedule": "0 9 * * mon-fri", "duration": "8h"}
        found = nodes({**SHARED, "disruption": {"budgets": [budget, {"nodes": 2}]}})
        assert found["disruption"]["budgets"] == [budget, {"nodes": "2"}]

    def test_manifests_are_not_shared_between_calls(self):
        """Pulumi and tests change what they are given; the next caller must not see it."""
        settings = stack_of(SHARED)
        p = Pool.of(settings.pools[0])
        for make in (lambda: node_pool(p), lambda: ec2_node_class(p, settings), lambda: node_overlay(p, p.overlays[0])):
            make()["metadata"]["labels"]["spoilt"] = "yes"
            assert "spoilt" not in make()["metadata"]["labels"]
