"""Which lane is asked for how much: order, fairness, and never more than there is room for."""

from __future__ import annotations

import random

from hypothesis import given
from hypothesis import strategies as st

from gnomon_executor.pull_plan import STRIDE, Lanes, Pull, plan_pulls, share_evenly
from gnomon_schemas.subjects import PRIORITIES

LOTS = 1_000_000
counts = st.lists(st.integers(0, 200), min_size=1, max_size=6)


def test_urgent_goes_first() -> None:
    """While there is room and no turn of another's, the best priority gets what it wants."""
    assert plan_pulls(5, [3, 9, 9, 9], 0) == [3, 2, 0, 0]
    assert plan_pulls(3, [9, 9, 9, 9], 0) == [3, 0, 0, 0]


def test_each_lower_priority_gets_a_twentieth_under_saturation() -> None:
    """With everything waiting for ever, each lower one gets 5 % of the starts, whatever the steps they come in."""
    for step in (1, 2, 3, 7, 20, 100):
        given_to = [0, 0, 0, 0]
        started = 0
        while started < 2000:
            shares = plan_pulls(step, [LOTS] * 4, started)
            given_to = [a + b for a, b in zip(given_to, shares, strict=True)]
            started += sum(shares)
        total = sum(given_to)
        assert [round(count / total, 2) for count in given_to] == [0.85, 0.05, 0.05, 0.05]


@given(st.integers(0, 300), counts, st.integers(0, 10_000))
def test_a_plan_never_gives_more_than_is_free_or_wanted(free: int, waiting: list[int], started: int) -> None:
    """All of what is free is given out as long as anything waits, and no more."""
    shares = plan_pulls(free, waiting, started)
    assert sum(shares) == min(free, sum(waiting))
    assert all(share <= wanted for share, wanted in zip(shares, waiting, strict=True))


@given(st.integers(0, 300), counts, st.integers(0, 5))
def test_equals_share_evenly(amount: int, waiting: list[int], first: int) -> None:
    """Nobody gets more than it wants; nothing is left while somebody wants; nobody unsated gets less than others."""
    shares = share_evenly(amount, waiting, first % len(waiting))
    assert sum(shares) == min(amount, sum(waiting))
    unsated = [share for share, wanted in zip(shares, waiting, strict=True) if share < wanted]
    if unsated:
        assert max(shares) <= min(unsated) + max(1, amount // len(waiting) + 1)


class FakeBroker:
    """Answers pulls as the broker does: what there is, at once; nothing else until it expires."""

    def __init__(self, lanes: Lanes, waiting: list[int]) -> None:
        self.lanes = lanes
        self.waiting = waiting
        self.starts = [0] * len(waiting)
        self.lingering: list[Pull] = []

    def serve(self, pulls: list[Pull]) -> None:
        for pull in pulls:
            assert self.lanes.busy + self.lanes.outstanding <= self.lanes.capacity
            available = min(pull.batch, self.waiting[pull.lane])
            for _ in range(available):
                self.waiting[pull.lane] -= 1
                self.starts[pull.lane] += 1
                self.lanes.delivered(pull.lane, self.waiting[pull.lane], again=False)
            if available == 0:
                self.lingering.append(pull)
            elif available < pull.batch:
                self.lanes.ended(pull.number, empty=True)

    def arrive(self, lane: int, amount: int) -> None:
        self.waiting[lane] += amount
        served = [pull for pull in self.lingering if pull.lane == lane]
        self.lingering = [pull for pull in self.lingering if pull.lane != lane]
        self.serve(served)


def test_idle_lanes_are_polled_one_slot_each() -> None:
    """With nothing to do, every lane has exactly one message asked for, so work starts as soon as it is due."""
    lanes = Lanes(100, ["default"], PRIORITIES)
    pulls = lanes.plan(0.0)
    assert [(pull.lane, pull.batch) for pull in pulls] == [(0, 1), (1, 1), (2, 1), (3, 1)]
    assert lanes.plan(0.0) == []


def test_a_lane_with_work_gets_all_slots_but_those_of_the_idle_ones() -> None:
    """A backlog in one lane uses the whole capacity, less one slot for each other lane."""
    lanes = Lanes(100, ["default"], PRIORITIES)
    broker = FakeBroker(lanes, [0, 0, 0, 1000])
    for _ in range(10):
        broker.serve(lanes.plan(0.0))
    assert lanes.busy == 97
    assert lanes.free == 0


def test_few_slots_are_all_used() -> None:
    """With fewer slots than would allow polling everything, a backlog still gets every slot."""
    lanes = Lanes(2, ["default"], PRIORITIES)
    broker = FakeBroker(lanes, [0, 0, 50, 0])
    now = 0.0
    while lanes.busy < 2 and now < 5:
        for pull in list(broker.lingering):
            broker.lingering.remove(pull)
            lanes.ended(pull.number, empty=True)
        broker.serve(lanes.plan(now))
        now += 0.02
    assert lanes.busy == 2
    assert now < 1


def test_one_slot_looks_into_every_lane_in_turn() -> None:
    """A single slot is not stuck in one lane: whichever lane work comes to, it is found."""
    for lane in range(4):
        lanes = Lanes(1, ["default"], PRIORITIES)
        broker = FakeBroker(lanes, [1 if number == lane else 0 for number in range(4)])
        for step in range(20):
            for pull in list(broker.lingering):
                broker.lingering.remove(pull)
                lanes.ended(pull.number, empty=True)
            broker.serve(lanes.plan(step * 0.05))
        assert broker.starts[lane] == 1


def test_low_is_not_starved_and_urgent_goes_first_with_pulls() -> None:
    """The whole book under saturation: finishing executions one by one, the shares come out as planned."""
    lanes = Lanes(50, ["default"], PRIORITIES)
    broker = FakeBroker(lanes, [LOTS] * 4)
    broker.serve(lanes.plan(0.0))
    rng = random.Random(7)
    for step in range(4000):
        broker.serve(lanes.plan(step * 0.001))
        for _ in range(rng.randint(0, min(5, lanes.busy))):
            lanes.finished()
    total = sum(broker.starts)
    shares = [count / total for count in broker.starts]
    assert shares[0] > 0.8
    assert all(share >= 0.049 for share in shares[1:])


def test_a_grab_under_way_keeps_its_claim_on_freed_slots() -> None:
    """Slots that fall free while the better lane is being asked are not handed to a lower one."""
    lanes = Lanes(10, ["default"], ["urgent", "low"])
    lanes.plan(0.0)
    lanes.delivered(0, 100, again=False)
    lanes.delivered(1, 100, again=False)
    first = lanes.plan(0.0)[0]
    assert (first.lane, first.batch) == (0, 8)
    lanes.finished()
    lanes.finished()
    assert [pull.lane for pull in lanes.plan(0.0)] == []


def test_pools_of_one_priority_share() -> None:
    """Two pools with the same backlog get the same."""
    lanes = Lanes(100, ["a", "b"], ["medium"])
    broker = FakeBroker(lanes, [1000, 1000])
    for step in range(200):
        broker.serve(lanes.plan(step * 0.001))
        for _ in range(min(4, lanes.busy)):
            lanes.finished()
    assert abs(broker.starts[0] - broker.starts[1]) <= 5


def test_a_reconnect_begins_with_a_clean_book() -> None:
    """Pulls of an old connection hold no slots."""
    lanes = Lanes(100, ["default"], PRIORITIES)
    lanes.plan(0.0)
    assert lanes.outstanding == 4
    lanes.forget_pulls()
    assert lanes.outstanding == 0
    assert len(lanes.plan(0.0)) == 4


def test_a_pull_that_never_ends_is_given_up() -> None:
    """A lost answer costs its slots for a while, not for ever."""
    lanes = Lanes(100, ["default"], PRIORITIES)
    lanes.plan(0.0)
    assert lanes.give_up_lost(6.9) == []
    assert len(lanes.give_up_lost(7.1)) == 4


def test_redeliveries_are_followed_up_with_growing_pulls() -> None:
    """Messages that come again are not counted as waiting, so one of them means there may be more."""
    lanes = Lanes(100, ["default"], ["medium"])
    [pull] = lanes.plan(0.0)
    lanes.delivered(pull.lane, 0, again=True)
    [grab] = lanes.plan(0.0)
    assert grab.batch == 2


def test_the_stride_has_a_place_for_each_of_four_priorities() -> None:
    """Turns lie apart, and none falls on the best priority."""
    places = [number for number in range(STRIDE) if plan_pulls(1, [LOTS] * 4, number) != [1, 0, 0, 0]]
    assert places == [9, 14, 19]
