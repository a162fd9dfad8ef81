"""Folding execution events into a task: what they change, and what follows from them.

`fold` changes the memory of one task by one event and says whether the task's register now lacks something. An
event whose effect is already in the register (`runtime.folded`) changes nothing, so folding a span of the log twice
gives the same state. Events of the task itself (created, updated, …) are not folded: the register written in the
same batch contains them.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import msgspec

from gnomon_core.rules.status import status_of
from gnomon_core.rules.workless import is_workless
from gnomon_core.timing import next_fire
from gnomon_scheduler.decisions.views import resting_status
from gnomon_scheduler.memory import Flight, TaskState
from gnomon_scheduler.registers import TaskRegister
from gnomon_schemas.clock_text import format_instant, instant_ms
from gnomon_schemas.dues import PreviousRun
from gnomon_schemas.events import (
    DeadLettered,
    Event,
    Executed,
    ExecutionEvent,
    Failed,
    Queued,
    Retrying,
    SlotOutcome,
    Started,
    StatusChanged,
)
from gnomon_schemas.schedules import Once
from gnomon_schemas.tasks import ExecutionStatus, LastExecution, RetryPolicy, TaskStatus, Trigger

__all__ = ["Folded", "finish", "fold", "past_last_slot"]


@dataclass(slots=True)
class Folded:
    """What folding one event did."""

    dirty: bool = False
    """The register has to be written."""
    ended: bool = False
    """An execution ended: others of the task may go."""
    written_ahead: Flight | None = None
    """An execution that waits for its next attempt now."""
    derived: list[Event] = field(default_factory=list)
    """Events that follow from it, to be stored with the register."""


def fold(task: TaskState, seq: int, run: str, event: Event, *, retry: RetryPolicy) -> Folded:
    """Fold the event at `seq` of the chain `run`. `retry` is the policy in force, to tell when attempts are used up."""
    if seq <= task.reg.runtime.folded:
        return Folded()
    flight = task.flights.get(run)
    match event:
        case Started():
            return _started(task, flight, seq, event)
        case Retrying():
            return _retrying(task, flight, seq, event)
        case Executed():
            return _executed(task, seq, event, retry)
        case SlotOutcome() if event.run is not None:
            return _no_run(task, seq, run)
        case Queued():
            if flight is not None and not flight.first_seq:
                flight.first_seq, flight.last_seq = seq, seq
                if flight.attempt == 1:
                    flight.cause_seq = seq
    return Folded()


def _flight(task: TaskState, event: ExecutionEvent) -> Flight:
    """The flight of an execution that was handed out by a predecessor, as its event tells it."""
    flight = Flight(
        run=event.run,
        trigger=event.trigger,
        scheduled_ms=instant_ms(event.scheduled_for),
        due_ms=instant_ms(event.due_at),
        emit_ms=instant_ms(event.due_at),
        revision=event.revision,
        written=False,
        attempt=event.attempt,
        retry_of=event.retry_of,
    )
    task.take_off(flight)
    return flight


def _started(task: TaskState, flight: Flight | None, seq: int, event: Started) -> Folded:
    if flight is None:
        flight = _flight(task, event)
    if event.attempt >= flight.attempt:
        flight.attempt = event.attempt
        flight.emitted = flight.started = True
        flight.executor = event.executor
        flight.last_seq = seq
        flight.first_seq = flight.first_seq or seq
        flight.first_started_ms = flight.first_started_ms or instant_ms(event.started_at)
    return Folded()


def _retrying(task: TaskState, flight: Flight | None, seq: int, event: Retrying) -> Folded:
    if flight is None:
        flight = _flight(task, event)
    flight.attempt = event.attempt + 1
    flight.cause_seq = flight.last_seq = seq
    flight.first_seq = flight.first_seq or seq
    flight.first_started_ms = instant_ms(event.first_started_at)
    flight.emit_ms = instant_ms(event.retry_at)
    flight.emitted = flight.started = False
    flight.gated = False
    flight.expires_ms = None
    flight.due_seq = 0
    flight.written = True
    _note_folded(task, seq)
    return Folded(dirty=True, written_ahead=flight)


def _executed(task: TaskState, seq: int, event: Executed, retry: RetryPolicy) -> Folded:
    task.land(event.run)
    task.unwish(event.run)
    runtime = task.reg.runtime
    succeeded, failed = event.status == "completed", event.status in {"failed", "timed_out"}
    # A backfill's runs tell nothing of how the task fares now.
    counted = event.trigger is not Trigger.BACKFILL
    consecutive = runtime.consecutive_failures
    if counted:
        consecutive = 0 if succeeded else consecutive + failed
    task.reg = msgspec.structs.replace(
        task.reg,
        runtime=msgspec.structs.replace(
            runtime,
            folded=seq,
            run_count=runtime.run_count + 1,
            success_count=runtime.success_count + succeeded,
            failure_count=runtime.failure_count + failed,
            consecutive_failures=consecutive,
            last_run_ms=instant_ms(event.started_at),
            last_execution=LastExecution(
                execution_id=event.execution_id,
                run=event.run,
                status=ExecutionStatus(event.status),
                completed_at=event.completed_at,
                duration_ms=event.duration_ms,
                error=event.error.message[:500] if event.error else None,
            ),
            previous=PreviousRun(at=event.completed_at, run=event.run)
            if succeeded and counted
            else runtime.previous,
        ),
    )
    derived = _failures(task, event, retry) if failed else []
    return Folded(dirty=True, ended=True, derived=derived)


def _failures(task: TaskState, event: Executed, retry: RetryPolicy) -> list[Event]:
    runtime = task.reg.runtime
    derived: list[Event] = [
        Failed(
            task_id=event.task_id,
            user_id=event.user_id,
            partition=event.partition,
            occurred_at=event.occurred_at,
            execution_id=event.execution_id,
            run=event.run,
            task_type=event.task_type,
            attempt=event.attempt,
            trigger=event.trigger,
            scheduled_for=event.scheduled_for,
            due_at=event.due_at,
            revision=event.revision,
            retry_of=event.retry_of,
            status=event.status,
            error=event.error,
            failure_count=runtime.failure_count,
            consecutive_failures=runtime.consecutive_failures,
        )
    ]
    crashed = event.reason == "crash_loop"
    if crashed or (event.attempt > 1 and event.attempt >= retry.max_attempts):
        derived.append(
            DeadLettered(
                task_id=event.task_id,
                user_id=event.user_id,
                partition=event.partition,
                occurred_at=event.occurred_at,
                execution_id=event.execution_id,
                run=event.run,
                task_type=event.task_type,
                attempt=event.attempt,
                trigger=event.trigger,
                scheduled_for=event.scheduled_for,
                due_at=event.due_at,
                revision=event.revision,
                retry_of=event.retry_of,
                reason="crash_loop" if crashed else "retries_exhausted",
                error=event.error,
            )
        )
    return derived


def _no_run(task: TaskState, seq: int, run: str) -> Folded:
    flight = task.land(run)
    cancelled = task.unwish(run)
    if flight is None and cancelled is None:
        return Folded()
    dirty = cancelled is not None or (flight is not None and flight.written)
    if dirty:
        _note_folded(task, seq)
    return Folded(dirty=dirty, ended=True)


def _note_folded(task: TaskState, seq: int) -> None:
    task.reg = msgspec.structs.replace(
        task.reg, runtime=msgspec.structs.replace(task.reg.runtime, folded=seq)
    )


def past_last_slot(reg: TaskRegister, now_ms: int) -> bool:
    """Whether a task that is active has no slot after `now_ms`."""
    schedule = reg.spec.schedule
    if schedule is None or not reg.active:
        return False
    return reg.exhausted or next_fire(schedule, max(reg.cursor_s, now_ms // 1000)) is None


def finish(task: TaskState, now_ms: int, partition: int) -> StatusChanged | None:
    """End a task that has no slot left and nothing in flight; the event that says so, or None.

    `failed` when its only run failed, else `completed`. The cursor is behind the last slot by then, or the
    watermark is: `now_ms` is an instant up to which every slot was handed out.
    """
    reg = task.reg
    now_ms = max(now_ms, reg.cursor_s * 1000)
    if task.flights or not past_last_slot(reg, now_ms):
        return None
    if is_workless(reg.spec.task_type) and reg.reminder_due_ms is not None:
        return None  # its reminder is left
    last = reg.runtime.last_execution
    only_run_failed = (
        isinstance(reg.spec.schedule, Once)
        and last is not None
        and last.status in {ExecutionStatus.FAILED, ExecutionStatus.TIMED_OUT}
    )
    ended = "failed" if only_run_failed else "completed"
    before = resting_status(reg)
    task.reg = msgspec.structs.replace(reg, ended=ended, ended_ms=now_ms)
    return StatusChanged(
        task_id=reg.task_id,
        user_id=reg.user_id,
        partition=partition,
        occurred_at=format_instant(now_ms),
        old_status=before,
        new_status=status_of(ended=ended, paused=False, running=False, scheduled=True),
        reason="no_slot_left" if ended == TaskStatus.COMPLETED else "only_run_failed",
        changed_at=format_instant(now_ms),
    )
