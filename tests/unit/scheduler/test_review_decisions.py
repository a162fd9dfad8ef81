"""Decisions at the edges: many in flight, wishes that follow one another, jitter longer than the pace."""

from __future__ import annotations

import json
from typing import Any

from gnomon_core.rules.task_input import parse_create
from gnomon_scheduler.decisions.command import Command, Surroundings
from gnomon_scheduler.decisions.slots import Course, course_of, flight_of
from gnomon_scheduler.decisions.verbs import decide
from gnomon_scheduler.memory import Slot, TaskState
from gnomon_scheduler.registers import TaskRegister
from gnomon_schemas.limits import ENTRIES_PER_TASK

NOW_S = 1_795_000_000


def _task(**spec: Any) -> TaskState:
    body = {"name": "t", "task_type": "echo", "schedule": {"kind": "interval", "every_seconds": 1}, **spec}
    reg = TaskRegister(
        task_id="t",
        user_id=None,
        spec=parse_create(
            json.dumps(body).encode(),
            now_ms=NOW_S * 1000,
            created_at_ms=NOW_S * 1000,
            default_timezone="UTC",
        ),
        version=1,
        revision=1,
        revision_from_ms=NOW_S * 1000,
        cursor_s=NOW_S,
        created_ms=NOW_S * 1000,
        updated_ms=NOW_S * 1000,
        fingerprint="f",
    )
    return TaskState(reg, 1)


def _fly(task: TaskState, count: int) -> None:
    for number in range(1, count + 1):
        flight = flight_of(Slot(task, NOW_S + number, (NOW_S + number) * 1000), written=False)
        flight.emitted = True
        task.flights[flight.run] = flight


def _command(verb: str, **body: Any) -> Command:
    return Command("task", verb, "t", f"c-{verb}", None, False, None, json.dumps(body).encode(), 1)


def _around(now_s: int) -> Surroundings:
    return Surroundings(now_s * 1000, 0, {}, "UTC", "f", 10_000)


def test_a_task_with_as_many_in_flight_as_its_register_holds_skips_the_next_slot() -> None:
    """Each of them becomes an entry when it has to try again, and a register has to stay below a message's limit."""
    task = _task(overlap="allow")
    _fly(task, ENTRIES_PER_TASK)
    now_ms = (NOW_S + 2000) * 1000
    assert course_of(task, now_ms, now_ms, runnable=True) is Course.SKIP_LIMIT
    task.flights.popitem()
    assert course_of(task, now_ms, now_ms, runnable=True) is Course.EMIT


def test_a_cancel_right_after_a_pause_ends_also_what_the_pause_would_let_go_of() -> None:
    task = _task(overlap="allow")
    _fly(task, 1)
    run = next(iter(task.flights))
    paused = decide(task, [], _command("pause"), _around(NOW_S + 2))
    task.reg = paused.reg
    task.cancelling = {item.run: item for item in paused.cancels}
    assert task.cancelling[run].reason == "paused"
    for command in (_command("cancel"), _command("cancel_execution", run=run)):
        cancels = decide(task, [], command, _around(NOW_S + 2)).cancels
        assert [(item.run, item.reason) for item in cancels] == [(run, "cancelled")]
