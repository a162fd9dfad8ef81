"""What becomes of a task's late slots."""

from __future__ import annotations

from collections import Counter
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gnomon_core.timing import fires
from gnomon_scheduler.decisions.catching_up import Backlog, catch_up, late_flight, waiting_flight
from gnomon_scheduler.decisions.departing import Departure, departure, expired
from gnomon_scheduler.memory import Flight, Slot, TaskState
from gnomon_schemas.clock_text import instant_ms
from gnomon_schemas.events import Coalesced, Missed, Skipped, SlotOutcome
from tests.unit.scheduler.making import NOW_S, fly, run_at, task_state


def covered(task: TaskState, span: SlotOutcome) -> list[int]:
    """The slots of a span, counted anew."""
    assert span.from_ is not None
    assert span.to is not None
    schedule = task.reg.spec.schedule
    assert schedule is not None
    return list(fires(schedule, instant_ms(span.from_) // 1000 - 1, instant_ms(span.to) // 1000 - 1))


def outcomes(task: TaskState, backlog: Backlog, handled: set[int]) -> Counter[int]:
    """How often each slot is accounted for."""
    counted: Counter[int] = Counter(handled)
    for span in backlog.events:
        slots = covered(task, span)
        assert len(slots) == span.count > 0
        counted.update(slots)
    counted.update(slot.nominal_s for slot in backlog.waiting)
    counted.update(slot.nominal_s for slot in backlog.runs)
    return counted


@given(
    every=st.integers(1, 90),
    late=st.integers(0, 4000),
    after=st.integers(0, 300),
    grace=st.integers(300, 5000),
    policy=st.sampled_from(["latest", "all", "skip"]),
    limit=st.integers(1, 20),
    gone=st.sets(st.integers(1, 60)),
)
def test_every_late_slot_is_accounted_for_once_and_none_twice(
    every: int, late: int, after: int, grace: int, policy: str, limit: int, gone: set[int]
) -> None:
    """Spans, the slot that runs, and those that a predecessor handed out: together the slots up to the cursor."""
    task = task_state(
        schedule={"kind": "interval", "every_seconds": every},
        catch_up={"policy": policy, "after_seconds": after, "grace_seconds": grace, "limit": limit},
        expires_seconds=1,
    )
    handled = {NOW_S + number * every for number in gone}
    first_s = next(
        number for number in range(NOW_S + every, NOW_S + 100 * every, every) if number not in handled
    )
    now_ms = (first_s + after + late) * 1000
    backlog = catch_up(Slot(task, first_s, first_s * 1000), now_ms, partition=0, handled=handled)
    in_range = {slot for slot in handled if slot <= backlog.cursor_s}
    expected = set(range(NOW_S + every, backlog.cursor_s + 1, every)) | in_range
    assert outcomes(task, backlog, in_range) == Counter(expected)
    assert backlog.cursor_s == max(first_s, now_ms // 1000 - after)
    most = {"latest": 1, "all": limit, "skip": 0}[policy]
    assert len(backlog.runs) <= most
    assert all(one.nominal_s < other.nominal_s for one, other in pairwise(backlog.runs))
    coalesced = [span for span in backlog.events if isinstance(span, Coalesced)]
    if coalesced:
        assert len(backlog.runs) == most
        assert {span.into for span in coalesced} == {run_at(backlog.runs[0].nominal_s - NOW_S)}


def test_of_a_backlog_the_newest_runs_and_the_others_name_it() -> None:
    task = task_state(catch_up={"after_seconds": 10, "grace_seconds": 60})
    backlog = catch_up(Slot(task, NOW_S + 1, 0), (NOW_S + 100) * 1000, partition=3, handled=())
    missed, coalesced = backlog.events
    assert isinstance(missed, Missed)
    assert isinstance(coalesced, Coalesced)
    assert (missed.reason, missed.count) == ("grace_exceeded", 39)
    assert (coalesced.into, coalesced.count) == (run_at(90), 50)
    assert [slot.nominal_s for slot in backlog.runs] == [NOW_S + 90]
    assert missed.to == coalesced.from_
    assert {span.partition for span in backlog.events} == {3}


def test_a_slot_that_a_predecessor_handed_out_splits_the_span() -> None:
    task = task_state(catch_up={"after_seconds": 0, "grace_seconds": 60})
    handled = {NOW_S + 4, NOW_S + 10}
    backlog = catch_up(Slot(task, NOW_S + 1, 0), (NOW_S + 10) * 1000, partition=0, handled=handled)
    assert [(span.count, type(span)) for span in backlog.events] == [(3, Coalesced), (4, Coalesced)]
    assert [slot.nominal_s for slot in backlog.runs] == [NOW_S + 9]


def test_when_all_was_handed_out_nothing_is_left_to_run() -> None:
    task = task_state(catch_up={"after_seconds": 0})
    handled = {NOW_S + number for number in range(1, 6)}
    backlog = catch_up(Slot(task, NOW_S + 1, 0), (NOW_S + 5) * 1000, partition=0, handled=handled)
    assert (backlog.events, backlog.runs, backlog.cursor_s) == ([], [], NOW_S + 5)


def test_under_all_the_newest_run_and_the_older_ones_are_coalesced_into_the_oldest_that_runs() -> None:
    task = task_state(catch_up={"policy": "all", "after_seconds": 10, "grace_seconds": 60, "limit": 7})
    backlog = catch_up(Slot(task, NOW_S + 1, 0), (NOW_S + 100) * 1000, partition=0, handled=())
    missed, coalesced = backlog.events
    assert isinstance(missed, Missed)
    assert isinstance(coalesced, Coalesced)
    assert [slot.nominal_s - NOW_S for slot in backlog.runs] == [84, 85, 86, 87, 88, 89, 90]
    assert (coalesced.into, coalesced.count, coalesced.reason) == (run_at(84), 44, "catch_up_all")


def test_what_the_register_does_not_take_is_skipped_as_limit() -> None:
    task = task_state(catch_up={"policy": "all", "after_seconds": 0, "limit": 1000})
    for number in range(1, 991):
        fly(task, NOW_S + number, emitted=False, gated=True).late_ms = 1
    backlog = catch_up(Slot(task, NOW_S + 1001, 0), (NOW_S + 1100) * 1000, partition=0, handled=())
    assert len(backlog.runs) == 10
    for slot in backlog.runs:
        task.take_off(_late(slot))
    full = catch_up(Slot(task, NOW_S + 1101, 0), (NOW_S + 1200) * 1000, partition=0, handled=())
    (span,) = full.events
    assert isinstance(span, Skipped)
    assert (span.reason, span.count, full.runs) == ("limit", 100, [])


def _late(slot: Slot) -> Flight:
    flight = late_flight(slot, slot.nominal_s * 1000 + 90_000)
    assert flight is not None
    return flight


@pytest.mark.parametrize(
    ("policy", "overlap", "in_flight", "runs", "gated"),
    [
        ("latest", "skip", "", True, True),
        ("latest", "skip", "e", False, None),
        ("latest", "queue", "e", True, True),
        ("latest", "queue", "eg", False, None),
        ("latest", "queue_all", "eg", True, True),
        ("latest", "cancel_running", "e", True, True),
        ("latest", "allow", "e", True, False),
        ("all", "skip", "e", True, True),
        ("all", "queue", "eg", True, True),
        ("all", "cancel_running", "e", True, True),
        ("all", "allow", "e", True, False),
    ],
)
def test_a_late_slot_waits_for_what_runs_and_under_latest_gives_way_as_a_live_one(
    policy: str, overlap: str, in_flight: str, runs: bool, gated: bool | None
) -> None:
    task = task_state(overlap=overlap, catch_up={"policy": policy})
    for number, kind in enumerate(in_flight, 1):
        fly(task, NOW_S + number, emitted=kind == "e", gated=kind == "g")
    flight = late_flight(Slot(task, NOW_S + 50, (NOW_S + 50) * 1000), (NOW_S + 150) * 1000)
    assert (flight is not None) is runs
    if flight is not None:
        assert (flight.gated, flight.late_ms, flight.written) == (gated, (NOW_S + 150) * 1000, True)


def test_late_slots_go_one_after_another_and_a_live_one_that_waits_goes_before_them() -> None:
    task = task_state(overlap="queue", catch_up={"policy": "all"})
    first, second = (_late(Slot(task, NOW_S + n, (NOW_S + n) * 1000)) for n in (1, 2))
    for flight in (first, second):
        task.take_off(flight)
    now_ms = (NOW_S + 200) * 1000
    assert departure(task, first, now_ms, runnable=True) is Departure.GO
    first.emitted = True
    assert departure(task, second, now_ms, runnable=True) is Departure.WAIT
    live = fly(task, NOW_S + 200, emitted=False, gated=True)
    task.land(first.run)
    assert departure(task, second, now_ms, runnable=True) is Departure.WAIT
    assert departure(task, live, now_ms, runnable=True) is Departure.GO


def test_a_late_slot_expires_only_after_it_was_handed_out() -> None:
    flight = _late(Slot(task_state(expires_seconds=1), NOW_S + 1, (NOW_S + 1) * 1000))
    flight.expires_ms = 5
    assert not expired(flight, 10)
    flight.emitted = True
    assert expired(flight, 10)
    assert not expired(flight, 4)


def test_a_slot_that_waits_for_its_jitter_is_neither_late_nor_in_a_hurry() -> None:
    task = task_state(overlap="skip")
    flight = waiting_flight(Slot(task, NOW_S + 1, (NOW_S + 9) * 1000))
    assert (flight.late_ms, flight.gated, flight.emit_ms) == (0, True, (NOW_S + 9) * 1000)
