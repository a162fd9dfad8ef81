"""What becomes of a slot that came due."""

from __future__ import annotations

import pytest

from gnomon_scheduler.decisions.slots import Course, course_of
from gnomon_schemas.tasks import Trigger
from tests.unit.scheduler.making import NOW_S, fly, task_state

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
