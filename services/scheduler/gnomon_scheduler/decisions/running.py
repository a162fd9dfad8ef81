"""Runs on demand, repeating an execution, and ending one."""

from __future__ import annotations

from hashlib import blake2b
from typing import NamedTuple

import msgspec
from msgspec import UNSET

from gnomon_core.rules.decoding import parse_body
from gnomon_core.rules.merge_patch import merge_patch
from gnomon_core.rules.run_input import parse_retry, parse_run
from gnomon_core.rules.task_type import check_type
from gnomon_scheduler.decisions.command import Command, Decision, Surroundings
from gnomon_scheduler.decisions.grounds import equal_run_detail
from gnomon_scheduler.decisions.overlapping import Way, has_room, in_the_way, replaced, way_past
from gnomon_scheduler.decisions.telling import about, command_id, unchanged
from gnomon_scheduler.decisions.user_limits import check_account
from gnomon_scheduler.decisions.wishes import is_stronger
from gnomon_scheduler.memory import Flight, Slot, TaskState
from gnomon_scheduler.registers import Cancelling, TaskRegister, UniqueRun
from gnomon_schemas.clock_text import format_instant, instant_ms
from gnomon_schemas.codec import encode
from gnomon_schemas.commands import (
    CancelExecution,
    RunTask,
)
from gnomon_schemas.events import TERMINAL, ExecutionEvent, Queued, Skipped, SlotOutcome, event_name
from gnomon_schemas.limits import ENTRIES_PER_TASK, UNIQUE_RUNS
from gnomon_schemas.problems import Code, FieldError, Refused
from gnomon_schemas.tasks import NULL, Overlap, Trigger

__all__ = ["cancel_execution", "retry_execution", "run_now"]


def run_now(
    task: TaskState, waiting_for_jitter: list[Slot], command: Command, around: Surroundings
) -> Decision:
    """Put an execution on demand in flight. Raises Refused."""
    reg = task.reg
    if reg.ended == "cancelled":
        raise Refused(Code.INVALID_STATE, "the task is cancelled; it does not run any more")
    check_account(reg.user_id, around)
    payload = parse_run(command.data)
    overrides = None if payload.config is None else encode(payload.config)
    digest = None if reg.spec.unique_for_seconds is None else _digest(payload)
    if digest is not None and (equal := _equal_run(reg, digest, around.now_ms)) is not None:
        return _not_again(task, equal, _trigger_of(payload), command, around)
    _check_run(task, payload, around)
    overridden = NULL if overrides is None else msgspec.Raw(overrides)
    given = _Given(payload.trigger_data, overridden, _trigger_of(payload))
    decision = _put_in_flight(task, command, around, payload.overlap or reg.spec.overlap, given)
    if digest is not None:
        decision.reg = _remembering(decision.reg, digest, decision.run or "", around.now_ms)
    return decision


def _trigger_of(payload: RunTask) -> Trigger:
    """What made the caller ask for a run."""
    return Trigger.MANUAL if payload.trigger is UNSET else Trigger(payload.trigger)


def _digest(payload: RunTask) -> str:
    """Of what a run is given: equal for equal JSON, however it is written."""
    given = [msgspec.json.decode(payload.trigger_data), payload.config or None]
    return blake2b(msgspec.json.encode(given, order="sorted"), digest_size=12).hexdigest()


def _equal_run(reg: TaskRegister, digest: str, now_ms: int) -> UniqueRun | None:
    """The run with this input that is too young for another."""
    return next((one for one in reg.unique if one.digest == digest and now_ms < one.until_ms), None)


def _remembering(reg: TaskRegister, digest: str, run: str, now_ms: int) -> TaskRegister:
    until_ms = now_ms + int((reg.spec.unique_for_seconds or 0) * 1000)
    kept = [one for one in reg.unique if one.until_ms > now_ms]
    return msgspec.structs.replace(reg, unique=(*kept, UniqueRun(digest, run, until_ms))[-UNIQUE_RUNS:])


def _not_again(
    task: TaskState, equal: UniqueRun, trigger: Trigger, command: Command, around: Surroundings
) -> Decision:
    """A run with the same input as one shortly before: recorded, and not run."""
    reg, run, at = task.reg, f"r-{command.command_id}", format_instant(around.now_ms)
    skipped = Skipped(
        **about(reg, around),
        command_id=command_id(command),
        execution_id=f"{reg.task_id}.{run}",
        run=run,
        task_type=reg.spec.task_type,
        attempt=1,
        trigger=trigger,
        scheduled_for=at,
        due_at=at,
        revision=reg.revision,
        reason="unique",
        detail=equal_run_detail(reg.spec, equal.run),
    )
    return Decision(reg, refused=[skipped], run=run)


class _Given(NamedTuple):
    """What an execution on demand is given, and what it repeats where it does."""

    trigger_data: msgspec.Raw = NULL
    overrides: msgspec.Raw = NULL
    trigger: Trigger = Trigger.MANUAL
    scheduled_ms: int | None = None
    """Nominal time; None: now."""
    retry_of: str | None = None


def _put_in_flight(
    task: TaskState, command: Command, around: Surroundings, overlap: Overlap, given: _Given
) -> Decision:
    """An execution of its own, `r-<command id>`, written ahead; gated where others are in its way."""
    reg = task.reg
    way = way_past(overlap, in_the_way(task), on_demand=True)
    waits = way is not Way.GO
    run = f"r-{command.command_id}"
    scheduled_ms = around.now_ms if given.scheduled_ms is None else given.scheduled_ms
    flight = Flight(
        run=run,
        trigger=given.trigger,
        scheduled_ms=scheduled_ms,
        due_ms=around.now_ms,
        emit_ms=around.now_ms,
        revision=reg.revision,
        written=True,
        queued=True,
        gated=waits,
        expires_ms=around.now_ms + int(reg.spec.expires_after_seconds * 1000),
        has_input=_is_given(given.trigger_data) or _is_given(given.overrides),
        retry_of=given.retry_of,
        traceparent=command.traceparent,
    )
    queued = Queued(
        **about(reg, around),
        command_id=command_id(command),
        execution_id=f"{reg.task_id}.{run}",
        run=run,
        task_type=reg.spec.task_type,
        attempt=1,
        trigger=given.trigger,
        scheduled_for=format_instant(scheduled_ms),
        due_at=format_instant(around.now_ms),
        revision=reg.revision,
        retry_of=given.retry_of,
        reason="overlap" if waits else given.trigger,
        trigger_data=given.trigger_data,
        config_overrides=given.overrides,
    )
    decision = Decision(reg, queued=[(flight, queued)], run=run)
    if way is Way.REPLACE:
        decision.cancels = replaced(task, around.now_ms + around.cancel_grace_ms, command.command_id)
    return decision


def retry_execution(
    task: TaskState, waiting_for_jitter: list[Slot], command: Command, around: Surroundings
) -> Decision:
    """Put an execution that has ended in flight once more, with what it was given. Raises Refused.

    `command.past` is its chain.
    """
    reg = task.reg
    run = parse_retry(command.data).run
    if reg.ended == "cancelled":
        raise Refused(Code.INVALID_STATE, "the task is cancelled; it does not run any more")
    check_account(reg.user_id, around)
    ended = command.past[-1] if command.past else None
    if run in task.flights or (ended is not None and event_name(ended) not in TERMINAL):
        raise _not_to_be_repeated(Code.INVALID_STATE, task, run, "is still in flight")
    if not isinstance(ended, ExecutionEvent | SlotOutcome) or ended.scheduled_for is None:
        message = "is not known: it never was, its slot was passed over in a span, or its events are gone"
        raise _not_to_be_repeated(Code.NOT_FOUND, task, run, message)
    _check_overlap(task, reg.spec.overlap)
    queued = next((event for event in command.past if isinstance(event, Queued)), None)
    if queued is None and ended.trigger not in {Trigger.SCHEDULE, Trigger.BACKFILL}:
        message = "cannot be repeated: what it was given is not in the log any more"
        raise _not_to_be_repeated(Code.INVALID_STATE, task, run, message)
    given = _Given(
        trigger_data=NULL if queued is None else queued.trigger_data,
        overrides=NULL if queued is None else queued.config_overrides,
        trigger=Trigger.RETRY,
        scheduled_ms=instant_ms(ended.scheduled_for),
        retry_of=f"{reg.task_id}.{run}",
    )
    return _put_in_flight(task, command, around, reg.spec.overlap, given)


def _not_to_be_repeated(code: Code, task: TaskState, run: str, message: str) -> Refused:
    return Refused(
        code,
        f"execution {task.task_id}.{run} {message}",
        FieldError(pointer="#/run", code=code, message=f"{run!r} {message}"),
    )


def _check_run(task: TaskState, payload: RunTask, around: Surroundings) -> None:
    _check_overlap(task, payload.overlap or task.reg.spec.overlap)
    if payload.config:
        merged = merge_patch(msgspec.json.decode(bytes(task.reg.spec.config)), payload.config)
        check_type(msgspec.structs.replace(task.reg.spec, config=msgspec.Raw(encode(merged))), around.types)


def _check_overlap(task: TaskState, overlap: Overlap) -> None:
    """Raises Refused where an execution on demand may not even wait."""
    others = in_the_way(task)
    if way_past(overlap, others, on_demand=True) is Way.GIVE_WAY:
        raise Refused(
            Code.OVERLAP,
            f"{others[0].run!r} is still in flight and overlap is skip; say overlap queue, allow or cancel_running",
        )
    if not has_room(task):
        raise Refused(Code.LIMIT, f"{len(task.flights)} executions wait; at most {ENTRIES_PER_TASK} may")


def _is_given(raw: msgspec.Raw) -> bool:
    return bytes(raw) != bytes(NULL)


def cancel_execution(
    task: TaskState, waiting_for_jitter: list[Slot], command: Command, around: Surroundings
) -> Decision:
    """End one execution that is in flight. Raises Refused."""
    payload = parse_body(command.data, CancelExecution)
    decision = Decision(task.reg, [unchanged(task.reg, command, around)], run=payload.run)
    if not is_stronger("cancelled", task.cancelling.get(payload.run)):
        return decision
    if payload.run not in task.flights:
        raise Refused(
            Code.INVALID_STATE,
            f"execution {task.task_id}.{payload.run} is not in flight: it has ended, or never was",
            FieldError(pointer="#/run", code=Code.INVALID_STATE, message=f"{payload.run!r} is not in flight"),
        )
    decision.cancels = [
        Cancelling(
            run=payload.run,
            reason="cancelled",
            deadline_ms=around.now_ms + around.cancel_grace_ms,
            command_id=command.command_id,
        )
    ]
    return decision
