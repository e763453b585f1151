"""Which batch and processes a service runs with on a slice, and how many GPUs services need."""

from __future__ import annotations

from collections import Counter
from decimal import Decimal

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from profilefiles import profile, row

from gpuslice.planner.errors import InputError
from gpuslice.planner.profiles import Profile
from gpuslice.planner.services import GpuNode, Service, fewest_gpus, market, segments, sizes
from gpuslice.planner.solver import Node
from gpuslice.sharing import mig


def service(name: str, rate: str, latency_ms: str = "1000", *rows, **rates: str) -> Service:
    own = Profile(name, rows) if rows else profile(name, **rates)
    return Service(name, own, Decimal(rate), Decimal(latency_ms))


def test_a_slice_runs_at_the_highest_rate_of_all_processes_that_is_in_time():
    rows = (row(1, "100", "0.040", 4, 1), row(1, "60", "0.044", 4, 2), row(1, "200", "0.05", 8, 2))
    assert segments(service("a", "1", "100", *rows))[1] == rows[1]
    assert segments(service("a", "1", "100", *rows), max_processes=1)[1] == rows[0]
    assert segments(service("a", "1", "112", *rows))[1] == rows[2]


def test_the_objective_s_share_itself_is_not_in_time():
    """0.45 of 126 ms is 56.7 ms to the digit; in binary fractions it would be a hair more."""
    assert segments(service("a", "1", "126", row(1, "9", "0.0567")))[1] is None
    assert segments(service("a", "1", "126", row(1, "9", "0.0566")))[1] is not None


def test_of_equal_rates_the_fewest_processes_then_the_smallest_batch():
    rows = (row(1, "50", "0.01", 1, 2), row(1, "100", "0.01", 8, 1), row(1, "100", "0.01", 4, 1))
    assert segments(service("a", "1", "100", *rows))[1] == rows[2]


def test_a_service_that_no_slice_serves_in_time_is_named_with_the_fastest():
    slow = service("slow", "1", "20", row(1, "9", "0.03"), row(7, "9", "0.0125", 2, 3))
    with pytest.raises(InputError) as caught:
        fewest_gpus([slow, service("fine", "1", s1="5")])
    assert caught.value.problems == (
        (
            "service 'slow': no slice answers in time: the fastest takes 12.5 ms (7g, batch 2, 3 processes). "
            "Allowed: below 9 ms, which is 0.45 of its 20 ms"
        ),
    )
    with pytest.raises(InputError, match="nothing that ran with at most 2 processes"):
        fewest_gpus([service("a", "1", "20", row(1, "9", "0.001", 2, 3))], max_processes=2)


def test_services_of_one_name_and_endless_rates_are_refused():
    with pytest.raises(InputError, match="'a' is there twice"):
        fewest_gpus([service("a", "1", s1="5"), service("a", "2", s1="5")])
    with pytest.raises(InputError, match="more than 100000 slices"):
        fewest_gpus([service("a", "1000000000", s1="5")])


@pytest.mark.parametrize(
    ("asked", "gpus", "compute"),
    [
        ([("a", "70", {"s1": "10"})], 1, 7),
        ([("a", "70.001", {"s1": "10"})], 2, 8),
        ([("a", "70", {"s1": "9.9999"})], 2, 8),
        ([("a", "10", {"s3": "5"}), ("b", "1", {"s1": "1"})], 2, 7),
        ([("a", "5", {"s3": "5"}), ("b", "4", {"s1": "1"})], 1, 7),
        ([("a", "5", {"s4": "5"}), ("b", "5", {"s3": "5"})], 1, 7),
        ([("a", "10", {"s4": "5"})], 2, 8),
        ([("a", "15", {"s2": "5"}), ("b", "1", {"s1": "1"})], 1, 7),
        ([("a", "20", {"s2": "5"})], 2, 8),
        ([("a", "10", {"s1": "4", "s2": "9", "s7": "11"})], 1, 3),
        ([], 0, 0),
    ],
)
def test_known_optima_on_the_geometry_of_the_a100(asked, gpus, compute):
    plan = fewest_gpus([service(name, rate, **rates) for name, rate, rates in asked])
    assert (plan.gpus.value, plan.gpus.bound) == (gpus, gpus)
    assert (plan.slices.value, plan.slices.bound) == (compute, compute)
    assert (plan.gpus.certified, plan.slices.certified) == (True, True)


def test_an_offer_for_each_full_layout_of_the_measured_profiles():
    assert sizes("A100-80GB") == {1: "1g.10gb", 2: "2g.20gb", 3: "3g.40gb", 4: "4g.40gb", 7: "7g.80gb"}
    node = GpuNode("p4de.24xlarge", "A100-80GB", 8, 27_447_050, (95_000, 1_000_000, 700))
    offered = market([service("a", "1.0001", s1="5.9999", s7="9")], node)
    layouts = {tuple(sorted((kind[0], n // 8) for kind, n in offer.slots.items())) for offer in offered.market.offers}
    spelled = ["7", "43", "421", "4111", "33", "322", "3211", "31111", "2221", "22111", "211111", "1111111"]
    assert layouts == {tuple(sorted(Counter(layout).items())) for layout in spelled}
    assert {(offer.price, offer.room) for offer in offered.market.offers} == {(node.price, node.room)}
    demand = offered.market.demands[0]
    assert (demand.amount, set(demand.yields.values())) == (1001, {5999, 9000})


def test_instances_of_a_node_with_several_gpus_lie_in_their_layout():
    offered = market([service("a", "30", s2="5"), service("b", "20", s3="10")], GpuNode(gpus=2))
    index = [offer.slots for offer in offered.market.offers].index({"2g.20gb": 4, "3g.40gb": 2})
    takes = {(0, "2g.20gb"): 3, (1, "3g.40gb"): 1}
    placed = list(offered.placed([Node(index, 2, takes)]))
    assert [(p.node, p.gpu, p.start, p.slices, p.service) for p in placed] == [
        (node, *rest) for node in (0, 1) for rest in [(0, 0, 2, "a"), (0, 2, 2, "a"), (0, 4, 3, "b"), (1, 0, 2, "a")]
    ]


rates = st.integers(1, 60).map(str)
services = st.lists(
    st.tuples(rates, st.dictionaries(st.sampled_from(["s1", "s2", "s3", "s4", "s7"]), rates, min_size=1)),
    min_size=1,
    max_size=4,
).map(lambda found: [service(f"m{n}", rate, **own) for n, (rate, own) in enumerate(found)])


@settings(max_examples=30, deadline=None)
@given(services)
def test_every_rate_is_met_by_instances_that_do_not_meet(asked):
    plan = fewest_gpus(asked)
    given_rates = plan.rates()
    assert all(given_rates[one.name] >= one.rate for one in asked)
    assert plan.slices.value == sum(placed.slices for placed in plan.placed)
    assert plan.gpus.value == len({placed.node for placed in plan.placed})
    taken = Counter(
        (p.node, slot)
        for p in plan.placed
        for slot in range(p.start, p.start + {1: 1, 2: 2, 3: 4, 4: 4, 7: 8}[p.slices])
    )
    assert set(taken.values()) == {1}
    for node in {p.node for p in plan.placed}:
        mig.place("A100-80GB", Counter(p.profile for p in plan.placed if p.node == node))


@settings(max_examples=20, deadline=None)
@given(services, st.integers(0, 3), st.integers(1, 100))
def test_more_rate_never_takes_fewer_gpus(asked, which, more):
    busier = list(asked)
    one = busier[which % len(busier)]
    busier[which % len(busier)] = Service(one.name, one.profile, one.rate + more, one.latency_ms)
    before, after = fewest_gpus(asked), fewest_gpus(busier)
    assert after.gpus.value >= before.gpus.value
    assert before.gpus.bound <= before.gpus.value
    assert before.slices.bound <= before.slices.value


@settings(max_examples=20, deadline=None)
@given(services, st.randoms())
def test_the_order_of_services_does_not_matter(asked, random):
    other = list(asked)
    random.shuffle(other)
    assert fewest_gpus(asked) == fewest_gpus(other)
