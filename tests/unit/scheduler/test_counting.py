"""`max_runs`: what counts, and what becomes of the slots after the last."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from gnomon_scheduler.decisions.catching_up import catch_up
from gnomon_scheduler.decisions.counting import allowed, counted
from gnomon_scheduler.decisions.folding import finish
from gnomon_scheduler.decisions.slots import Course, course_of
from gnomon_scheduler.decisions.views import next_run_ms, view
from gnomon_scheduler.memory import ShardMemory, Slot, TaskState
from gnomon_scheduler.registers import TaskRegister
from gnomon_schemas.codec import encode
from tests.unit.scheduler.making import NOW_S, fly, memory_of, task_state


def task_of(max_runs: int, fired: int = 0, *, jitter_seconds: int = 0, **spec: Any) -> TaskState:
    """A task with a slot a second, of which so many may run and so many did."""
    schedule = {
        "kind": "interval",
        "every_seconds": 1,
        "max_runs": max_runs,
        "jitter_seconds": jitter_seconds,
    }
    task = task_state(schedule=schedule, **spec)
    task.reg = msgspec.structs.replace(task.reg, fired=fired)
    return task


def slot(task: TaskState, offset_s: int) -> Slot:
    return Slot(task, NOW_S + offset_s, (NOW_S + offset_s) * 1000)


@pytest.mark.parametrize(
    ("overlap", "in_flight", "runnable", "course"),
    [
        ("skip", "", True, Course.COUNT),
        ("skip", "", False, Course.COUNT),
        ("allow", "e", True, Course.COUNT),
        ("skip", "e", True, Course.SKIP_OVERLAP),
        ("queue", "e", True, Course.WAIT_FOR_OTHERS),
        ("cancel_running", "e", True, Course.REPLACE_OTHERS),
    ],
)
def test_a_slot_that_counts_is_never_plain(
    overlap: str, in_flight: str, runnable: bool, course: Course
) -> None:
    task = task_of(3, overlap=overlap)
    for number, _ in enumerate(in_flight, 1):
        fly(task, NOW_S + number)
    now_ms = (NOW_S + 5) * 1000
    assert course_of(task, now_ms, now_ms, runnable=runnable) is course


def test_count_and_cursor_move_together_and_with_jitter_only_the_count() -> None:
    task = task_of(3)
    reg = counted(task.reg, [slot(task, 1), slot(task, 2)])
    assert (reg.fired, reg.cursor_s, reg.runs_left, reg.exhausted) == (2, NOW_S + 2, 1, False)
    jittered = task_of(3, jitter_seconds=9)
    reg = counted(jittered.reg, [slot(jittered, 1)])
    assert (reg.fired, reg.cursor_s, reg.runs_left) == (1, NOW_S, 2)
    plain = task_state()
    assert counted(plain.reg, [slot(plain, 1)]) is plain.reg
    assert plain.reg.runs_left is None


def test_those_that_come_due_first_are_allowed() -> None:
    task = task_of(5, fired=3)
    early, late, later = (Slot(task, NOW_S + n, (NOW_S + due) * 1000) for n, due in ((1, 7), (2, 4), (3, 5)))
    assert allowed(task.reg, [early, late, later]) == [late, later]
    assert allowed(task_state().reg, [early, late, later]) == [late, later, early]


@pytest.mark.parametrize(("fired", "runs"), [(0, [9, 10]), (3, [9, 10]), (4, [10])])
def test_of_a_backlog_no_more_run_than_are_left(fired: int, runs: list[int]) -> None:
    task = task_of(5, fired, catch_up={"policy": "all", "after_seconds": 0, "limit": 2})
    backlog = catch_up(slot(task, 1), (NOW_S + 10) * 1000, partition=0, handled=())
    assert [one.nominal_s - NOW_S for one in backlog.runs] == runs
    assert sum(span.count for span in backlog.events) == 10 - len(runs)


def test_when_none_is_left_no_slot_is_planned_and_the_task_ends_when_nothing_is_in_flight() -> None:
    task = task_of(2, fired=2)
    assert memory_of(task).next_due_ms() is None
    assert next_run_ms(task.reg, NOW_S * 1000) is None
    flight = fly(task, NOW_S + 2)
    now_ms = (NOW_S + 3) * 1000
    assert finish(task, now_ms, 0) is None
    task.land(flight.run)
    changed = finish(task, now_ms, 0)
    assert changed is not None
    assert (changed.new_status, changed.reason, task.reg.ended) == ("completed", "no_slot_left", "completed")


def test_a_standby_takes_the_last_slots_off_its_heap_with_the_register_that_tells() -> None:
    memory = ShardMemory(0)
    reg = task_of(2, fired=1).reg
    for seq, fired in ((1, 1), (2, 2)):
        told = msgspec.structs.replace(reg, fired=fired)
        memory.apply_task(seq, told, encode(told))
        assert (memory.next_due_ms() is None) is (fired == 2)


@pytest.mark.parametrize(("max_runs", "fired", "left"), [(3, 1, 2), (3, 3, 0), (3, 5, 0)])
def test_a_task_shows_how_many_are_left(max_runs: int, fired: int, left: int) -> None:
    reg: TaskRegister = task_of(max_runs, fired).reg
    assert view(reg, partition=0, running=False, now_ms=NOW_S * 1000, types={}).runs_left == left
    assert view(task_state().reg, partition=0, running=False, now_ms=0, types={}).runs_left is None
