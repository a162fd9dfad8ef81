"""The lateness objective: what breaks it, what it takes to keep it again, and what is asked of a slot."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from gnomon_scheduler.decisions.lateness import (
    LateSlot,
    changed_objective,
    kept_again,
    late,
    promise_ms,
    waits_late,
)
from gnomon_scheduler.lateness_watch import LatenessWatch
from gnomon_scheduler.memory import TaskState
from gnomon_scheduler.registers import BrokenObjective, Cancelling, TaskRegister
from gnomon_schemas.clock_text import format_instant, slot_run
from gnomon_schemas.codec import decode, encode
from gnomon_schemas.tasks import Trigger
from tests.unit.scheduler.making import NOW_S, fly, memory_of, task_state

QUIET_MS = 10_000
DUE_S = NOW_S + 1


def task_with(objective: float | None = 2, broken: BrokenObjective | None = None, **spec: Any) -> TaskState:
    task = task_state(lateness_slo_seconds=objective, **spec)
    task.reg = msgspec.structs.replace(task.reg, slo_broken=broken)
    return task


def slot(at_ms: int, reason: str = "late_start") -> LateSlot:
    return LateSlot(slot_run(DUE_S), DUE_S * 1000, at_ms - DUE_S * 1000, at_ms, reason)


def test_the_first_late_slot_breaks_it_and_tells_which_and_by_how_much() -> None:
    task = task_with()
    at_ms = DUE_S * 1000 + 2001
    reg, event = late(task.reg, slot(at_ms), 0)
    assert reg.slo_broken == BrokenObjective(at_ms, at_ms)
    assert event is not None
    assert (event.objective_seconds, event.lateness_seconds, event.reason) == (2, 2.001, "late_start")
    assert (event.run, event.scheduled_for) == (slot_run(DUE_S), format_instant(DUE_S * 1000))
    assert event.broken_at == format_instant(at_ms)
    assert decode(encode(reg), TaskRegister).slo_broken == reg.slo_broken


def test_a_further_late_slot_tells_nothing_and_lengthens_the_wait() -> None:
    broken = BrokenObjective(1000, 5000)
    task = task_with(broken=broken)
    for at_ms, until in ((4000, 5000), (5000, 5000), (9000, 9000)):
        reg, event = late(task.reg, slot(at_ms), 0)
        assert (reg.slo_broken, event) == (BrokenObjective(1000, until), None)


@pytest.mark.parametrize(
    ("started_ms", "broken", "kept"),
    [
        (50_000, None, False),
        (50_000, BrokenObjective(1000, 40_000), True),
        (49_999, BrokenObjective(1000, 40_000), False),
        (30_000, BrokenObjective(1000, 40_000), False),
    ],
)
def test_a_slot_in_time_ends_it_when_none_was_late_for_a_while(
    started_ms: int, broken: BrokenObjective | None, kept: bool
) -> None:
    found = kept_again(task_with(broken=broken), "run", started_ms, 0, QUIET_MS)
    assert (found is not None) is kept
    if found is not None:
        reg, event = found
        assert reg.slo_broken is None
        assert (event.reason, event.broken_at) == ("on_time", format_instant(1000))
        assert event.recovered_at == format_instant(started_ms)
        assert event.execution_id == "t.run"


def test_it_is_not_kept_while_another_slot_waits_late() -> None:
    task = task_with(broken=BrokenObjective(1000, 1000))
    waiting = fly(task, DUE_S)
    started_ms = (DUE_S + 60) * 1000
    found = []
    for started in (False, True):
        waiting.started = started
        found.append((waits_late(task, started_ms), kept_again(task, "run", started_ms, 0, QUIET_MS) is None))
    assert found == [(True, True), (False, False)]


def test_another_objective_or_none_ends_it_too() -> None:
    old = task_with(2, BrokenObjective(1000, 2000)).reg
    for objective in (5.0, None):
        new = msgspec.structs.replace(
            old, spec=msgspec.structs.replace(old.spec, lateness_slo_seconds=objective)
        )
        reg, event = changed_objective(old, new, 9000, 0)
        assert reg.slo_broken is None
        assert event is not None
        assert (event.reason, event.objective_seconds) == ("objective_changed", objective)
    same = msgspec.structs.replace(old, version=2)
    assert changed_objective(old, same, 9000, 0) == (same, None)
    kept = msgspec.structs.replace(old, slo_broken=None)
    assert changed_objective(kept, new, 9000, 0) == (new, None)


def test_what_is_asked_of_an_execution() -> None:
    """Of a slot of the schedule, before its first start; nothing of what a rule ends or others ask for."""
    task = task_with(2)
    flight = fly(task, DUE_S)
    assert promise_ms(task, flight) == (DUE_S + 2) * 1000
    put_off = fly(task, DUE_S + 1)
    put_off.emit_ms = (DUE_S + 100) * 1000
    assert promise_ms(task, put_off) == (DUE_S + 102) * 1000
    for name, value in (
        ("started", True),
        ("attempt", 2),
        ("found_late", True),
        ("trigger", Trigger.BACKFILL),
    ):
        other = fly(task, DUE_S + 2)
        setattr(other, name, value)
        assert promise_ms(task, other) is None, name
    task.wish(Cancelling(run=flight.run, reason="paused", deadline_ms=0))
    assert promise_ms(task, flight) is None
    assert promise_ms(task_with(None), put_off) is None


def test_a_task_is_looked_at_once_for_its_earliest_promise() -> None:
    task, watch = task_with(2), LatenessWatch()
    for nominal in (DUE_S + 5, DUE_S, DUE_S + 9):
        watch.watch(task, fly(task, nominal))
    assert watch.next_ms == (DUE_S + 2) * 1000 + 1
    assert list(watch.pop((DUE_S + 2) * 1000)) == []
    assert list(watch.pop((DUE_S + 2) * 1000 + 1)) == ["t"]
    assert not watch.next_ms
    task.flights[slot_run(DUE_S)].found_late = True
    watch.watch_all(task)
    assert watch.next_ms == (DUE_S + 7) * 1000 + 1


def test_the_gauge_counts_tasks_that_are_not_over() -> None:
    task = task_with(broken=BrokenObjective(1000, 1000))
    memory = memory_of(task)
    assert memory.slo_broken == {"t"}
    task.reg = msgspec.structs.replace(task.reg, ended="completed", ended_ms=1)
    memory.note_objective(task)
    assert memory.slo_broken == set()
