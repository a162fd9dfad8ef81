"""What becomes of slots: each one's course, and the backlog of those that are late."""

from __future__ import annotations

from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gnomon_core.timing import fires
from gnomon_scheduler.decisions.slots import Backlog, Course, catch_up, course_of
from gnomon_scheduler.memory import Slot, TaskState
from gnomon_schemas.clock_text import instant_ms
from gnomon_schemas.events import Coalesced, Missed, SlotOutcome
from gnomon_schemas.tasks import Trigger
from tests.unit.scheduler.making import NOW_S, fly, run_at, task_state

SKIP, QUEUE, ALLOW, QUEUE_ALL, CANCEL = "skip", "queue", "allow", "queue_all", "cancel_running"
EMIT, OVERLAP = Course.EMIT, Course.SKIP_OVERLAP


@pytest.mark.parametrize(
    ("overlap", "in_flight", "runnable", "course"),
    [
        (SKIP, "", True, EMIT),
        (QUEUE, "", True, EMIT),
        (ALLOW, "", True, EMIT),
        (SKIP, "e", True, OVERLAP),
        (QUEUE, "e", True, Course.WAIT_FOR_OTHERS),
        (ALLOW, "e", True, EMIT),
        (QUEUE, "eg", True, OVERLAP),
        (QUEUE, "g", True, OVERLAP),
        (QUEUE_ALL, "", True, EMIT),
        (QUEUE_ALL, "e", True, Course.WAIT_FOR_OTHERS),
        (QUEUE_ALL, "egg", True, Course.WAIT_FOR_OTHERS),
        (QUEUE_ALL, "g" * 999, True, Course.WAIT_FOR_OTHERS),
        (QUEUE_ALL, "g" * 1000, True, Course.SKIP_LIMIT),
        (CANCEL, "", True, EMIT),
        (CANCEL, "", False, Course.WAIT_FOR_EXECUTOR),
        (CANCEL, "e", True, Course.REPLACE_OTHERS),
        (CANCEL, "eg", True, Course.REPLACE_OTHERS),
        (ALLOW, "e" * 1000, True, Course.SKIP_LIMIT),
        *((policy, "lll", True, EMIT) for policy in (SKIP, QUEUE, ALLOW, QUEUE_ALL, CANCEL)),
        *((policy, "bb", True, EMIT) for policy in (SKIP, QUEUE, ALLOW, QUEUE_ALL, CANCEL)),
        (SKIP, "Lll", True, OVERLAP),
        (CANCEL, "l" * 1000, True, EMIT),
        (ALLOW, "eee", False, Course.WAIT_FOR_EXECUTOR),
        (SKIP, "", False, Course.WAIT_FOR_EXECUTOR),
        (SKIP, "e", False, OVERLAP),
    ],
)
def test_the_course_of_a_slot_by_overlap_and_executors(
    overlap: str, in_flight: str, runnable: bool, course: Course
) -> None:
    """`e` is an execution that was handed out, `g` one that waits for others; `l` is a late one that waits, `L` one
    that was handed out; `b` is of a backfill."""
    task = task_state(overlap=overlap)
    for number, kind in enumerate(in_flight, 1):
        flight = fly(task, NOW_S + number, emitted=kind in "eLb", gated=kind in "gl")
        flight.late_ms = 1 if kind in "lL" else 0
        flight.trigger = Trigger.BACKFILL if kind == "b" else Trigger.SCHEDULE
    now_ms = (NOW_S + 10) * 1000
    assert course_of(task, now_ms, now_ms, runnable=runnable) is course


@pytest.mark.parametrize(("late_ms", "course"), [(0, EMIT), (4999, EMIT), (5000, Course.LATE)])
def test_a_slot_is_late_from_after_seconds_on(late_ms: int, course: Course) -> None:
    task = task_state(catch_up={"after_seconds": 5})
    emit_ms = (NOW_S + 1) * 1000
    assert course_of(task, emit_ms, emit_ms + late_ms, runnable=True) is course


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
    if backlog.run is not None:
        counted[backlog.run.nominal_s] += 1
    return counted


@given(
    every=st.integers(1, 90),
    late=st.integers(0, 4000),
    after=st.integers(0, 300),
    grace=st.integers(300, 5000),
    policy=st.sampled_from(["latest", "skip"]),
    gone=st.sets(st.integers(1, 60)),
)
def test_every_late_slot_is_accounted_for_once_and_none_twice(
    every: int, late: int, after: int, grace: int, policy: str, gone: set[int]
) -> None:
    """Spans, the slot that runs, and those that a predecessor handed out: together the slots up to the cursor."""
    task = task_state(
        schedule={"kind": "interval", "every_seconds": every},
        catch_up={"policy": policy, "after_seconds": after, "grace_seconds": grace},
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
    if policy == "skip":
        assert backlog.run is None


def test_of_a_backlog_the_newest_runs_and_the_others_name_it() -> None:
    task = task_state(catch_up={"after_seconds": 10, "grace_seconds": 60})
    backlog = catch_up(Slot(task, NOW_S + 1, 0), (NOW_S + 100) * 1000, partition=3, handled=())
    missed, coalesced = backlog.events
    assert isinstance(missed, Missed)
    assert isinstance(coalesced, Coalesced)
    assert (missed.reason, missed.count) == ("grace_exceeded", 39)
    assert (coalesced.into, coalesced.count) == (run_at(90), 50)
    assert backlog.run is not None
    assert backlog.run.nominal_s == NOW_S + 90
    assert missed.to == coalesced.from_
    assert {span.partition for span in backlog.events} == {3}


def test_a_slot_that_a_predecessor_handed_out_splits_the_span() -> None:
    task = task_state(catch_up={"after_seconds": 0, "grace_seconds": 60})
    handled = {NOW_S + 4, NOW_S + 10}
    backlog = catch_up(Slot(task, NOW_S + 1, 0), (NOW_S + 10) * 1000, partition=0, handled=handled)
    assert [(span.count, type(span)) for span in backlog.events] == [(3, Coalesced), (4, Coalesced)]
    assert backlog.run is not None
    assert backlog.run.nominal_s == NOW_S + 9


def test_when_all_was_handed_out_nothing_is_left_to_run() -> None:
    task = task_state(catch_up={"after_seconds": 0})
    handled = {NOW_S + number for number in range(1, 6)}
    backlog = catch_up(Slot(task, NOW_S + 1, 0), (NOW_S + 5) * 1000, partition=0, handled=handled)
    assert (backlog.events, backlog.run, backlog.cursor_s) == ([], None, NOW_S + 5)
