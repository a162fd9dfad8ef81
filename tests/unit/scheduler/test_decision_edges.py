"""Decisions at the edges: many in flight, wishes that follow one another, jitter longer than the pace."""

from __future__ import annotations

import json
from collections import Counter
from typing import Any

import msgspec
import pytest

from gnomon_core.rules.task_input import parse_create
from gnomon_scheduler.decisions.catching_up import catch_up
from gnomon_scheduler.decisions.command import Command, Surroundings
from gnomon_scheduler.decisions.slots import Course, course_of, flight_of
from gnomon_scheduler.decisions.verbs import decide
from gnomon_scheduler.memory import ShardMemory, Slot, TaskState
from gnomon_scheduler.registers import TaskRegister
from gnomon_schemas.clock_text import parse_instant
from gnomon_schemas.limits import ENTRIES_PER_TASK
from gnomon_schemas.problems import Refused

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
        task.take_off(flight)


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
    task.land(next(iter(task.flights)))
    assert course_of(task, now_ms, now_ms, runnable=True) is Course.EMIT


def test_a_cancel_right_after_a_pause_ends_also_what_the_pause_would_let_go_of() -> None:
    task = _task(overlap="allow")
    _fly(task, 1)
    run = next(iter(task.flights))
    paused = decide(task, [], _command("pause"), _around(NOW_S + 2))
    task.reg = paused.reg
    for item in paused.cancels:
        task.wish(item)
    assert task.cancelling[run].reason == "paused"
    for command in (_command("cancel"), _command("cancel_execution", run=run)):
        cancels = decide(task, [], command, _around(NOW_S + 2)).cancels
        assert [(item.run, item.reason) for item in cancels] == [(run, "cancelled")]


@pytest.mark.parametrize("jitter", [0, 7, 30, 95])
@pytest.mark.parametrize("policy", ["latest", "all", "skip"])
@pytest.mark.parametrize("grace", [200, 100_000])
def test_a_backlog_gives_every_slot_one_outcome_however_long_the_jitter(
    jitter: int, policy: str, grace: int
) -> None:
    """Slots every 10 s, handed out in order of emission for a while; then an outage; then the backlog is decided."""
    task = _task(
        schedule={"kind": "interval", "every_seconds": 10, "jitter_seconds": jitter},
        overlap="allow",
        catch_up={"policy": policy, "after_seconds": 60, "grace_seconds": grace, "limit": 30},
    )
    memory = ShardMemory(0)
    memory.tasks["t"] = task
    memory.schedule(task, NOW_S * 1000)
    before_ms, now_ms = (NOW_S + 333) * 1000, (NOW_S + 1111) * 1000
    outcomes = Counter(slot.nominal_s for slot in memory.pop_due(before_ms, 10_000))
    while slots := memory.pop_due(now_ms, 10_000):
        replanned = False
        for slot in slots:
            if replanned:
                continue
            if course_of(task, slot.emit_ms, now_ms, runnable=True) is not Course.LATE:
                outcomes[slot.nominal_s] += 1
                continue
            backlog = catch_up(slot, now_ms, partition=0, handled=())
            for span in backlog.events:
                start, end = (parse_instant(text).timestamp() for text in (str(span.from_), str(span.to)))
                covered = range(int(start), int(end))
                counted = [nominal for nominal in covered if (nominal - NOW_S) % 10 == 0]
                assert len(counted) == span.count
                outcomes.update(counted)
            outcomes.update(slot.nominal_s for slot in (*backlog.waiting, *backlog.runs))
            task.reg = msgspec.structs.replace(task.reg, cursor_s=backlog.cursor_s)
            memory.schedule(task, before_ms)
            replanned = True
    waiting = {slot.nominal_s for slot in memory.waiting_for_jitter(task, now_ms)}
    expected = set(range(NOW_S + 10, NOW_S + 1112, 10)) - waiting
    assert outcomes == Counter(expected)


def test_a_jitter_that_holds_more_slots_than_a_register_takes_is_refused() -> None:
    schedule = {"kind": "interval", "every_seconds": 1, "jitter_seconds": 3600}
    with pytest.raises(Refused, match="the jitter is too long") as refused:
        decide(_task(), [], _command("update", schedule=schedule), _around(NOW_S))
    assert refused.value.problem.errors[0].pointer == "#/schedule/jitter_seconds"
    schedule["jitter_seconds"] = 90
    assert decide(_task(), [], _command("update", schedule=schedule), _around(NOW_S)).rescheduled
