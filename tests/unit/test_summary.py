"""The summary after `gpuslice up`: from plain Nodes and Pods to the lines that a person reads."""

import pytest

from gpuslice.catalog import instance_types
from gpuslice.catalog.prices import on_demand, stack_prices
from gpuslice.pools import GPU, GPU_SHARED, POOL_LABEL
from sandbox.summary import lines, pool_summaries
from tests.helpers import PRICES

T4 = "g4dn.xlarge"


def node(pool, instance_type=T4, **allocatable):
    labels = {POOL_LABEL: pool, "node.kubernetes.io/instance-type": instance_type}
    return {"metadata": {"labels": labels}, "status": {"allocatable": {"cpu": "4", **allocatable}}}


def pod(pool, *requests, phase="Running", placed=True):
    containers = [{"resources": {"requests": {"cpu": "50m", **each}}} for each in requests]
    spec = {"nodeSelector": {POOL_LABEL: pool}, "containers": containers}
    return {"spec": spec | ({"nodeName": "n"} if placed else {}), "status": {"phase": phase}}


def four():
    return node("t4", **{GPU_SHARED: "4"})


def one(**options):
    return pod("t4", {GPU_SHARED: "1"}, **options)


def read(nodes, pods, left_out=None, region="us-east-1"):
    found = lines(pool_summaries(nodes, pods), left_out or {}, region, stack_prices(region))
    return [" ".join(line.split()) for line in found]


def test_five_pods_on_two_nodes_of_four_slices():
    text = read([four(), four()], [one() for _ in range(5)])
    assert text[:4] == [
        "Pool t4",
        "pods 5/5 running",
        "nodes 2 x g4dn.xlarge",
        "slices nvidia.com/gpu.shared: 5 of 8 used",
    ]
    price = instance_types()[T4].usd_per_hour
    assert text[4] == f"cost ${2 * price:.3f}/h, ${2 * price * 720:.2f}/month"
    assert f"${5 * price:.3f}/h" in text[5]
    assert "(5 x g4dn.xlarge): 60 % less with slices" in text[5]
    assert "720 hours" in text[6]


def test_one_pod_on_one_gpu_saves_nothing_and_the_summary_says_so():
    assert "slices save nothing here" in read([four()], [one()])[5]


def test_pending_pods_are_counted_but_use_nothing():
    (summary,) = pool_summaries([four()], [one(), one(phase="Pending", placed=False)])
    assert (summary.running, summary.pods) == (1, 2)
    assert summary.slices == {GPU_SHARED: (4, 1)}


def test_a_pod_that_is_placed_but_not_running_uses_its_slice():
    (summary,) = pool_summaries([four()], [one(phase="Pending")])
    assert (summary.running, summary.slices[GPU_SHARED]) == (0, (4, 1))


def test_the_slices_of_all_containers_count():
    (summary,) = pool_summaries([four()], [pod("t4", {GPU_SHARED: "1"}, {}, {GPU_SHARED: "1"})])
    assert summary.slices[GPU_SHARED] == (4, 2)


def test_pods_without_gpu_and_nodes_without_pool_are_nobodys():
    assert pool_summaries([], [pod("t4", {})]) == []
    summaries = pool_summaries([four()], [pod("t4", {}), {"spec": {"containers": []}, "status": {}}])
    assert [(s.pool, s.pods) for s in summaries] == [("t4", 0)]


def test_pods_before_any_node():
    """Waiting pods have bought nothing yet: there is no cost to show and nothing to compare."""
    text = read([], [one(phase="Pending", placed=False)])
    assert text[:3] == ["Pool t4", "pods 0/1 running", "nodes none"]
    assert not [line for line in text if line.startswith(("cost", "against", "slices"))]


def test_mig_profiles_are_told_apart_and_a_gpu_count_of_zero_is_not_shown():
    slices = {GPU: "0", "nvidia.com/mig-1g.5gb": "24", "nvidia.com/mig-2g.10gb": "16"}
    text = read([node("a100", "p4d.24xlarge", **slices)], [pod("a100", {"nvidia.com/mig-1g.5gb": "1"})] * 9)
    assert [line for line in text if line.startswith("slices")] == [
        "slices nvidia.com/mig-1g.5gb: 1 of 24 used".replace("1 of", "9 of"),
        "slices nvidia.com/mig-2g.10gb: 0 of 16 used",
    ]
    # Nine pods with a GPU each need two nodes of eight.
    assert "(2 x p4d.24xlarge): 50 % less with slices" in next(line for line in text if line.startswith("against"))


def test_the_comparison_takes_the_cheapest_way_to_whole_gpus():
    nodes = [node("t4", "g4dn.12xlarge", **{GPU_SHARED: "16"}), four()]
    (summary,) = pool_summaries(nodes, [one() for _ in range(3)])
    assert summary.whole_gpus(PRICES) == (T4, 3)


def test_a_type_without_a_list_price_has_no_cost_and_the_summary_says_so():
    (unpriced, *_) = [t.name for t in instance_types().values() if t.usd_per_hour is None]
    text = read([four(), node("t4", unpriced, **{GPU: "8"})], [pod("t4", {GPU: "1"})])
    assert f"nodes 1 x g4dn.xlarge, 1 x {unpriced}" in text
    assert f"cost not known: no price in us-east-1 for {unpriced}" in text
    assert not [line for line in text if line.startswith(("cost $", "against"))]


def test_the_prices_are_those_of_the_stacks_region():
    text = read([four()], [one()], region="eu-central-1")
    price = on_demand("eu-central-1").of(T4)
    assert price != PRICES.of(T4)
    assert f"cost ${price:.3f}/h, ${price * 720:.2f}/month" in text
    assert "Prices: on demand, eu-central-1, 2026-01-21; a month has 720 hours." in text


def test_a_region_without_prices_is_said():
    assert "The stack is in cn-north-1, whose prices are not known here: they differ from these." in read(
        [four()], [one()], region="cn-north-1"
    )
    assert not [line for line in read([four()], [one()]) if line.startswith("The stack is in")]


def test_pools_stand_in_the_order_of_their_names():
    summaries = pool_summaries([node("b"), node("a"), node("c")], [])
    assert [s.pool for s in summaries] == ["a", "b", "c"]


def test_nothing_bought_is_a_result_too():
    assert read([], [])[0] == "No pod asks for a slice, so no GPU node was bought."


@pytest.mark.parametrize(
    ("left_out", "expected"),
    [
        (
            {"aws:iam/role:Role": 4, "kubernetes:helm.sh/v3:Release": 3},
            ["Not deployed here, 7 resources of a deployment to AWS:", "4 Role, 3 Helm release"],
        ),
        ({"eks:index:Cluster": 1}, ["Not deployed here, 1 resource of a deployment to AWS:", "1 Cluster"]),
    ],
)
def test_what_is_not_deployed_here_is_named(left_out, expected):
    assert read([], [], left_out)[-2:] == expected
    assert not [line for line in read([], []) if line.startswith("Not deployed")]


def test_what_is_simulated_is_said():
    assert any("Karpenter are real; AWS, the nodes" in line for line in read([], []))


def test_long_lists_wrap_between_the_kinds():
    left_out = {f"aws:ec2/kind{number:02}:Kind{number:02}": number for number in range(10, 60)}
    text = lines([], left_out, "us-east-1", PRICES)
    assert max(map(len, text)) <= 100
    listed = ", ".join(line.strip().rstrip(",") for line in text[text.index("") + 3 :])
    assert listed == ", ".join(f"{n} Kind{n}" for n in range(10, 60))


def test_thousands_are_told_apart():
    text = read([node("a100", "p4d.24xlarge", **{"nvidia.com/mig-1g.5gb": "56"})] * 2, [])
    price = instance_types()["p4d.24xlarge"].usd_per_hour
    assert 2 * price * 720 > 1000
    assert f"${2 * price * 720:,.2f}/month" in next(line for line in text if line.startswith("cost"))
