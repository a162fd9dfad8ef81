"""Repeating an execution that has ended, and calling a task done."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from gnomon_scheduler.decisions.command import Command
from gnomon_scheduler.decisions.verbs import decide
from gnomon_scheduler.memory import Slot, TaskState
from gnomon_schemas.clock_text import format_instant, slot_run
from gnomon_schemas.events import Event, Skipped, StatusChanged, Unchanged, Updated
from gnomon_schemas.problems import Code, Refused
from gnomon_schemas.tasks import Trigger
from tests.unit.scheduler.making import (
    NOW_S,
    executed,
    fly,
    queued,
    retrying,
    run_at,
    started,
    task_state,
)
from tests.unit.scheduler.test_own_changes import around, command

NOW_MS = (NOW_S + 60) * 1000
RUN = run_at(1)


def asked(run: str, *past: Event) -> Command:
    """A `retry_execution` for which the chain was read."""
    return command("retry_execution", run=run)._replace(past=past)


def skipped(run: str) -> Skipped:
    """A slot that did not run."""
    at = format_instant(NOW_S * 1000)
    return Skipped(
        task_id="t",
        user_id=None,
        partition=0,
        occurred_at=at,
        reason="overlap",
        revision=1,
        execution_id=f"t.{run}",
        run=run,
        task_type="echo",
        attempt=1,
        scheduled_for=at,
        due_at=at,
    )


@pytest.mark.parametrize(
    "past",
    [
        (started(RUN), executed(RUN, "failed")),
        (started(RUN), executed(RUN, "completed")),
        (started(RUN), executed(RUN, "cancelled")),
        (skipped(RUN),),
        (executed(RUN, "failed"),),
    ],
)
def test_whatever_has_ended_can_be_repeated(past: tuple[Event, ...]) -> None:
    task = task_state()
    decision = decide(task, [], asked(RUN, *past), around(NOW_MS))
    ((flight, event),) = decision.queued
    assert decision.run == flight.run == event.run == "r-c-retry_execution"
    assert (flight.trigger, flight.retry_of) == (Trigger.RETRY, f"t.{RUN}")
    assert (event.retry_of, event.reason) == (f"t.{RUN}", "retry")
    assert (flight.scheduled_ms, flight.due_ms) == (NOW_S * 1000, NOW_MS), "the slot's, and now"
    assert not flight.has_input
    assert decision.reg is task.reg


def test_it_is_given_what_the_first_one_was_given() -> None:
    given = msgspec.structs.replace(
        queued("r-1"), trigger_data=msgspec.Raw(b'{"a":1}'), config_overrides=msgspec.Raw(b'{"b":2}')
    )
    decision = decide(task_state(), [], asked("r-1", given, started("r-1"), executed("r-1")), around(NOW_MS))
    ((flight, event),) = decision.queued
    assert flight.has_input
    assert (bytes(event.trigger_data), bytes(event.config_overrides)) == (b'{"a":1}', b'{"b":2}')


def _on_demand(event: Any) -> Any:
    return msgspec.structs.replace(event, trigger=Trigger.MANUAL)


@pytest.mark.parametrize(
    ("run", "past", "code", "words"),
    [
        (RUN, (started(RUN),), Code.INVALID_STATE, "still in flight"),
        (RUN, (started(RUN), retrying(RUN)), Code.INVALID_STATE, "still in flight"),
        ("r-1", (queued("r-1"),), Code.INVALID_STATE, "still in flight"),
        (RUN, (), Code.NOT_FOUND, "is not known"),
        ("r-1", (_on_demand(executed("r-1")),), Code.INVALID_STATE, "not in the log any more"),
        ("r->", (), Code.INVALID, "allowed"),
        ("*", (), Code.INVALID, "allowed"),
        ("", (), Code.INVALID, "allowed"),
    ],
)
def test_what_cannot_be_repeated_is_refused_with_its_field(
    run: str, past: tuple[Event, ...], code: Code, words: str
) -> None:
    with pytest.raises(Refused) as caught:
        decide(task_state(), [], asked(run, *past), around(NOW_MS))
    (error,) = caught.value.problem.errors
    assert (caught.value.problem.code, error.pointer) == (code, "#/run")
    assert words in error.message


def test_one_that_is_in_flight_in_memory_is_not_repeated() -> None:
    task = task_state(overlap="allow")
    run = fly(task, NOW_S + 1).run
    with pytest.raises(Refused) as caught:
        decide(task, [], asked(run), around(NOW_MS))
    assert caught.value.problem.code == Code.INVALID_STATE


@pytest.mark.parametrize(
    ("overlap", "gated"), [("skip", None), ("queue", True), ("queue_all", True), ("allow", False)]
)
def test_it_keeps_to_the_overlap_policy(overlap: str, gated: bool | None) -> None:
    task = task_state(overlap=overlap)
    fly(task, NOW_S + 9)
    repeat = asked(RUN, started(RUN), executed(RUN))
    if gated is None:
        with pytest.raises(Refused) as caught:
            decide(task, [], repeat, around(NOW_MS))
        assert caught.value.problem.code == Code.OVERLAP
    else:
        ((flight, event),) = decide(task, [], repeat, around(NOW_MS)).queued
        assert (flight.gated, event.reason) == (gated, "overlap" if gated else "retry")


def test_a_cancelled_task_repeats_nothing() -> None:
    task = task_state()
    task.reg = msgspec.structs.replace(task.reg, ended="cancelled")
    with pytest.raises(Refused):
        decide(task, [], asked(RUN, executed(RUN)), around(NOW_MS))


def test_a_task_that_is_called_done_fires_no_more_and_what_is_in_flight_goes_on() -> None:
    task = task_state(overlap="allow", schedule={"kind": "interval", "every_seconds": 1, "jitter_seconds": 5})
    fly(task, NOW_S + 9)
    waiting = [Slot(task, NOW_S + 58, NOW_MS + 2000)]
    decision = decide(task, waiting, command("complete", note="over"), around(NOW_MS))
    reg = decision.reg
    assert (reg.ended, reg.ended_ms, reg.version, reg.cursor_s) == ("completed", NOW_MS, 2, NOW_S + 60)
    assert not reg.active
    assert decision.cancels == []
    assert [flight.run for flight in decision.waiting] == [slot_run(NOW_S + 58)], "its slot had come"
    updated, changed = decision.events
    assert isinstance(updated, Updated)
    assert [change.field for change in updated.changes] == ["status"]
    assert isinstance(changed, StatusChanged)
    assert (changed.new_status, changed.reason) == ("completed", "over")
    task.reg = reg
    (again,) = decide(task, [], command("complete"), around(NOW_MS)).events
    assert isinstance(again, Unchanged)


@pytest.mark.parametrize(("ended", "allowed"), [("cancelled", False), ("failed", True), (None, True)])
def test_only_what_is_cancelled_cannot_be_called_done(ended: str | None, allowed: bool) -> None:
    task = TaskState(msgspec.structs.replace(task_state().reg, ended=ended), 1)
    if allowed:
        assert decide(task, [], command("complete"), around(NOW_MS)).reg.ended == "completed"
    else:
        with pytest.raises(Refused) as caught:
            decide(task, [], command("complete"), around(NOW_MS))
        assert caught.value.problem.code == Code.INVALID_STATE


def test_one_that_was_called_done_lives_again_with_another_schedule() -> None:
    task = task_state()
    task.reg = decide(task, [], command("complete"), around(NOW_MS)).reg
    schedule = {"kind": "interval", "every_seconds": 7}
    reg = decide(task, [], command("update", schedule=schedule), around(NOW_MS + 1000)).reg
    assert (reg.ended, reg.active) == (None, True)


def test_a_pause_until_a_time_ends_with_the_task() -> None:
    task = task_state()
    until = format_instant(NOW_MS + 5000)
    task.reg = decide(task, [], command("pause", until=until), around(NOW_MS)).reg
    assert decide(task, [], command("complete"), around(NOW_MS)).reg.paused_until_ms is None
