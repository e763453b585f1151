"""The re-implementation of FGD's protocol, on clusters small enough to know the right answer by hand."""

import json
import os
import random
from pathlib import Path

import numpy as np
import pytest

from benchmarks import fgd
from benchmarks.fgd import POLICIES, Cluster, Placement, allocated, faults, refused, simulate
from benchmarks.fgd_policies import FGD, BestFit, Ours, Usable, View, waste_table
from benchmarks.fgd_trace import Mix, Node, PodType, Run, arrivals, read_nodes, read_pods
from gpuslice.planner.errors import InputError

WHOLE_POD = PodType(5000, 10, 1, 1000)
SHARE = PodType(1000, 10, 1, 500)
BIG_SHARE = PodType(20_000, 10, 1, 500)
SMALL, LARGE = Node("small", 10_000, 1000, 1, "T4"), Node("large", 100_000, 1000, 1, "T4")
LIST = [WHOLE_POD] * 8 + [SHARE, BIG_SHARE]
RUN = Run((BIG_SHARE, SHARE, WHOLE_POD), (SMALL, LARGE))
PODS = "cpu_milli,memory_mib,num_gpu,gpu_milli,gpu_spec\n"
NODES = "sn,cpu_milli,memory_mib,gpu,model\n"


def placed(name, run, pods):
    mix = Mix.of(pods, run.nodes)
    return simulate(run, mix, POLICIES[name](mix))


def mixed():
    """A list and nodes with every kind of pod, too much for the cluster in each dimension."""
    rng = random.Random(7)
    shapes = [(0, 0), (1, 230), (1, 470), (1, 810), (1, 1000), (2, 1000), (4, 1000)]
    models = [(), (), ("T4",), ("G2", "P100"), ("A10",)]
    pods = [
        PodType(rng.randrange(1, 12) * 1000, rng.randrange(1, 9) * 512, *shape, rng.choice(models) if shape[0] else ())
        for shape in rng.choices(shapes, k=80)
    ]
    kinds = [("T4", 2, 16_000), ("G2", 4, 40_000), ("P100", 1, 8000), ("", 0, 8000)]
    nodes = [Node(f"n{i}", cpu, 16_384, gpus, model) for i, (model, gpus, cpu) in enumerate(kinds * 4)]
    return pods, nodes


@pytest.mark.parametrize(("name", "second", "percent"), [("BestFit", 0, 50), ("FGD", 1, 100), ("ours", 1, 100)])
def test_best_fit_spoils_the_small_node_and_the_others_do_not(name, second, percent):
    """The large share fits the large node alone. Then half of its GPU is free: best fit sees its idle CPU only."""
    placements = placed(name, RUN, LIST)
    assert placements[:2] == [Placement(0, 1, (0,)), Placement(1, second, (0,))]
    assert allocated(RUN, placements) == percent
    assert not faults(RUN, placements)


@pytest.mark.parametrize(("policy", "small", "large"), [(BestFit, 93, 69), (FGD, 41, 59)])
def test_scores_known_by_hand(policy, small, large):
    """Best fit: 9 of 128 cores and 500 of 8,000 left, or 79 cores and nothing.

    FGD: on the small node 1,000 free of which 90 % of the pods can use all, then 500 of which 10 % can: -350.
    On the large one 500 of which 20 % can, then nothing: 400. Points: 100 / (1 + exp(-x / 1000)).
    """
    mix = Mix.of(LIST, RUN.nodes)
    at = mix.requests.index(SHARE.request)
    views = View.of(mix, 0, 10_000, [1000]), View.of(mix, 0, 80_000, [500])
    assert [policy(mix).scores(view)[0][at] for view in views] == [small, large]


def test_waste_table_by_hand():
    pods = [PodType(800, 1, 1, 600), PodType(800, 1, 1, 400)]
    table = waste_table(Mix.of(pods, [SMALL]), 0, 100, 400, 10)
    # 600 then 400 leaves 0; 400 first leaves 600, of which either 600 or 400 goes: 0 or 200.
    assert table[10, 9] == pytest.approx(0.5 * 0 + 0.5 * 100)
    assert table[10, 1] == 1000
    assert table[10, 2] == pytest.approx((400 + 600) / 2)
    assert table[3, 9] == 300


def test_waste_of_our_greedy_by_hand():
    """With 400, 600 and 1,000: an idle GPU wastes 100 / 3, 600 free wastes 100, the rest nothing.

    A second, untouched GPU adds nothing.
    """
    pods = [PodType(800, 1, 1, milli) for milli in (400, 600, 1000)]
    mix = Mix.of(pods, [SMALL])
    sharing, others = Ours(mix).less_waste(View.of(mix, 0, 64_000, [1000, 1000]))
    np.testing.assert_allclose(sharing, [[100 / 3 - 100], [100 / 3]])
    np.testing.assert_allclose(others, [100 / 3])


def test_several_gpus_need_several_idle():
    """Half of the pods take two GPUs. A share on one of two idle GPUs leaves them none; the other half has 1,500."""
    pods = [SHARE, SHARE._replace(gpus=2, milli=1000)]
    mix = Mix.of(pods, [LARGE])
    usable = Usable(mix, dict.fromkeys(mix.requests, 0.5))
    sharing, others = usable.change(View.of(mix, 0, 50_000, [1000, 1000]))
    np.testing.assert_allclose(sharing, [[0.5 * 1500 - 2000]])
    np.testing.assert_allclose(others, [-2000])


@pytest.mark.parametrize("name", POLICIES)
def test_parts_of_gpus_are_no_whole_gpu(name):
    share = SHARE._replace(milli=600)
    run = Run((share, share, share, WHOLE_POD), (Node("a", 64_000, 1000, 3, "T4"),))
    assert [placement.gpus for placement in placed(name, run, run.pods)] == [(0,), (1,), (2,)]


@pytest.mark.parametrize("name", POLICIES)
def test_whole_gpus_are_of_one_node_and_idle(name):
    pair, share = PodType(1000, 1, 2, 1000), PodType(1000, 1, 1, 10)
    nodes = (Node("a", 9000, 9, 1, "T4"), Node("b", 9000, 9, 1, "T4"), Node("c", 9000, 9, 3, "T4"))
    run = Run((pair, pair, share, share), nodes)
    placements = placed(name, run, run.pods)
    assert [placement.arrival for placement in placements] == [0, 2, 3]
    assert placements[0] == Placement(0, 2, (0, 1))
    assert refused(run, placements) == 50


@pytest.mark.parametrize("name", POLICIES)
def test_policies_respect_every_limit_and_turn_no_pod_away(name):
    pods, nodes = mixed()
    run = arrivals(pods, nodes, 3, 2.0)
    placements = placed(name, run, pods)
    assert not faults(run, placements)
    assert 50 < allocated(run, placements) <= 100
    where = {placement.arrival: placement for placement in placements}
    cpu, memory = [node.cpu for node in nodes], [node.memory for node in nodes]
    names = [node.name for node in nodes]
    free = [[1000] * node.gpus for node in nodes]
    for arrival, pod in enumerate(run.pods):
        if arrival in where:
            at = names.index(run.nodes[where[arrival].node].name)
            cpu[at] -= pod.cpu
            memory[at] -= pod.memory
            for gpu in where[arrival].gpus:
                free[at][gpu] -= pod.milli
            continue
        for at, node in enumerate(nodes):
            room = sum(amount >= pod.milli for amount in free[at]) >= pod.gpus
            suits = not pod.models or node.model in pod.models
            assert not (cpu[at] >= pod.cpu and memory[at] >= pod.memory and room and suits)


@pytest.mark.parametrize("name", POLICIES)
def test_gpu_spec_decides(name):
    pod, other = PodType(1000, 1, 1, 300, ("G2", "P100")), PodType(1000, 1, 1, 300, ("A10",))
    nodes = (Node("t", 64_000, 99, 8, "T4"), Node("p", 64_000, 99, 1, "P100"))
    run = Run((pod, other, pod, pod, pod), nodes)
    placements = placed(name, run, run.pods)
    assert [(placement.arrival, placement.node) for placement in placements] == [(0, 1), (2, 1), (3, 1)]


@pytest.mark.parametrize("name", POLICIES)
def test_scores_kept_are_those_of_the_state(name):
    pods, nodes = mixed()
    run = arrivals(pods, nodes, 5, 1.0)
    mix = Mix.of(pods, nodes)
    cluster = Cluster(mix, run, POLICIES[name](mix))
    for pod in run.pods:
        cluster.place(cluster.kinds.index(pod))
    fresh = [cluster.scored(place)[0] for place in range(len(nodes))]
    np.testing.assert_array_equal(cluster.scores, np.array(fresh).T)


@pytest.mark.parametrize(
    ("pods", "placements", "fault"),
    [
        ((SHARE, WHOLE_POD), [(0, 0, (0,)), (1, 0, (0,))], "small: GPU 0 has 1500"),
        ((BIG_SHARE,), [(0, 0, (0,))], "small: CPU 20000 of 10000"),
        ((SHARE._replace(memory=2000),), [(0, 0, (0,))], "small: memory 2000 of 1000"),
        ((SHARE._replace(models=("A10", "G2")),), [(0, 1, (0,))], "arrival 0 needs A10|G2, is on T4 (large)"),
        ((SHARE,), [(0, 0, (1,))], "arrival 0 needs 1 GPUs, has [1] on small"),
        ((SHARE,), [(0, 0, ())], "arrival 0 needs 1 GPUs, has [] on small"),
        ((SHARE,), [(0, 0, (0,)), (0, 1, (0,))], "arrival 0 is placed twice"),
    ],
)
def test_the_check_sees_a_planted_fault(pods, placements, fault):
    run = Run(pods, (SMALL, LARGE))
    assert faults(run, [Placement(*placement) for placement in placements]) == [fault]


def test_a_run_that_breaks_a_limit_is_no_result(monkeypatch, tmp_path, capsys):
    monkeypatch.setattr(fgd, "simulate", lambda *_: [Placement(i, 0, (0,)) for i in range(3)])
    assert fgd.main([str(path) for path in tiny(tmp_path)]) == 1
    assert "BestFit, seed 42: " in capsys.readouterr().err


def test_arrivals_are_the_list_then_clones_up_to_the_mark():
    pods, nodes = mixed()
    few = pods[:20]
    run = arrivals(few, nodes, 42, 2.0)
    assert sorted(run.pods[:20]) == sorted(few)
    assert list(run.pods[:20]) != few
    assert sorted(run.nodes) == sorted(nodes)
    assert list(run.nodes) != nodes
    assert set(run.pods[20:]) <= set(few)
    demand = sum(pod.demand for pod in run.pods)
    assert 2.0 * run.capacity - 4000 < demand <= 2.0 * run.capacity + 3000
    assert run == arrivals(few, nodes, 42, 2.0) != arrivals(few, nodes, 43, 2.0)
    fewer = arrivals(pods, nodes, 42, 0.5)
    assert len(fewer.pods) < len(pods)
    assert sum(pod.demand for pod in fewer.pods) <= 0.5 * fewer.capacity


def tiny(folder, pods="4000,10,1,460,T4|G2\n2000,10,0,0,\n", nodes="a,64000,1000,2,T4\nb,64000,1000,1,G3\n"):
    paths = folder / "openb_pod_list_default.csv", folder / "nodes.csv"
    paths[0].write_text(PODS + pods)
    paths[1].write_text(NODES + nodes)
    return paths


def test_lists_are_read(tmp_path):
    pods, nodes = tiny(tmp_path, pods="4000,10,1,460,V100M32|T4|V100M32\n2000,10,0,0,T4\n")
    assert read_pods(pods) == [PodType(4000, 10, 1, 460, ("T4", "V100M32")), PodType(2000, 10, 0, 0)]
    assert read_nodes(nodes)[1] == Node("b", 64_000, 1000, 1, "G3")
    pods.write_text("name,cpu_milli,memory_mib,num_gpu,gpu_milli\nx,1,2,8,1000\n")
    assert read_pods(pods) == [PodType(1, 2, 8, 1000)]


@pytest.mark.parametrize(
    ("pods", "message"),
    [
        ("x,1,1,500,\n", "line 2, column cpu_milli: 'x' is not a whole number from 0"),
        ("1,-1,1,500,\n", "line 2, column memory_mib: '-1' is not a whole number from 0"),
        ("1,1,0,0,\n1,1,99,1000,\n", "line 3, column num_gpu: '99' is not a whole number from 0 to 64"),
        ("1,1,1,0,\n", "line 2, column gpu_milli: '0' is not a whole number from 1 to 1000"),
        ("1,1,1\n", "line 2, column gpu_milli: None is not a whole number from 1 to 1000"),
        ("1,1,2,500,\n", "line 2, column gpu_milli: '500' is not 1000"),
        ("", "line 2: there are no pods"),
        ("1,1,0,0,\n", "column num_gpu: no pod asks for a GPU"),
    ],
)
def test_a_bad_pod_list_is_refused_with_its_place(tmp_path, capsys, pods, message):
    paths = tiny(tmp_path, pods=pods)
    assert fgd.main([str(path) for path in paths]) == 1
    error = capsys.readouterr().err
    assert error.startswith(f"fgd: {paths[0]}, {message}")
    assert error.count("\n") == 1


@pytest.mark.parametrize(
    ("nodes", "message"),
    [
        ("a,1,1,1.5,T4\n", "line 2, column gpu: '1.5' is not"),
        ("a,1,1,1,T4\na,1,1,1,T4\n", "line 3, column sn: 'a' is not a new name: line 2 has it"),
        (",1,1,1,T4\n", "line 2, column sn: '' is not a name"),
        ("a,1,1,0,\n", "column gpu: no node has a GPU"),
    ],
)
def test_a_bad_node_list_is_refused_with_its_place(tmp_path, nodes, message):
    with pytest.raises(InputError) as caught:
        read_nodes(tiny(tmp_path, nodes=nodes)[1])
    assert message in str(caught.value)


@pytest.mark.parametrize("content", [None, b"\xff\xfe", b"a,b\n"])
def test_a_file_that_is_no_list_is_refused(tmp_path, capsys, content):
    paths = tiny(tmp_path)
    paths[0].unlink() if content is None else paths[0].write_bytes(content)
    assert fgd.main([str(path) for path in paths]) == 1
    assert capsys.readouterr().err.startswith(f"fgd: {paths[0]}")


def test_report(tmp_path, capsys):
    command = [str(path) for path in tiny(tmp_path)] + ["--seeds", "2"]
    assert fgd.main([*command, "--json"]) == 0
    answer = json.loads(capsys.readouterr().out)
    assert (answer["podList"], answer["gpus"], answer["ratio"]) == ("openb_pod_list_default.csv", 3, 1.3)
    assert [row["policy"] for row in answer["rows"]] == ["BestFit", "FGD", "ours"]
    for row in answer["rows"]:
        # 4 shares of 460 fit the two GPUs of the T4 node; the third GPU is of another model.
        assert row["allocation"]["mean"] == pytest.approx(100 * 4 * 0.46 / 3)
        assert row["unallocatedGpus"] == pytest.approx(3 - 4 * 0.46)
        assert (row["seeds"], row["published"]) == (2, None)
    assert fgd.main(command) == 0
    assert len(capsys.readouterr().out.splitlines()) == 6


def test_published_figures_belong_to_a_known_list_and_cluster():
    known = Path("openb_pod_list_default.csv")
    assert fgd.published(known, 6212) == {"BestFit": 93.08, "FGD": 95.39}
    assert fgd.published(known, 6211) == fgd.published(Path("mine.csv"), 6212) == {}


def test_default_list_of_the_trace():
    folder = os.environ.get("OPENB_DATA")
    if not folder:
        pytest.skip("OPENB_DATA does not name a folder with the openb lists")
    pods = read_pods(Path(folder) / "openb_pod_list_default.csv")
    nodes = read_nodes(Path(folder) / "openb_node_list_gpu_node.csv")
    runs, mix = [arrivals(pods, nodes, 42, fgd.RATIO)], Mix.of(pods, nodes)
    rows = {name: fgd.measured(name, runs, mix, {}) for name in POLICIES}
    assert rows["BestFit"].mean == pytest.approx(93.08, abs=0.4)
    assert rows["FGD"].mean == pytest.approx(95.39, abs=0.4)
    assert rows["ours"].mean > 95.39
