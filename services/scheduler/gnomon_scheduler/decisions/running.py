"""Runs on demand, and ending one execution."""

from __future__ import annotations

import msgspec

from gnomon_core.rules.decoding import parse_body
from gnomon_core.rules.merge_patch import merge_patch
from gnomon_core.rules.run_input import parse_run
from gnomon_core.rules.task_type import check_type
from gnomon_scheduler.decisions.closing import is_stronger
from gnomon_scheduler.decisions.command import Command, Decision, Surroundings
from gnomon_scheduler.decisions.overlapping import Way, has_room, in_the_way, replaced, way_past
from gnomon_scheduler.decisions.telling import about, command_id, unchanged
from gnomon_scheduler.memory import Flight, Slot, TaskState
from gnomon_scheduler.registers import Cancelling
from gnomon_schemas.clock_text import format_instant
from gnomon_schemas.codec import encode
from gnomon_schemas.commands import (
    CancelExecution,
    RunTask,
)
from gnomon_schemas.events import Queued
from gnomon_schemas.limits import ENTRIES_PER_TASK
from gnomon_schemas.problems import Code, FieldError, Refused
from gnomon_schemas.tasks import NULL, Trigger

__all__ = ["cancel_execution", "run_now"]


def run_now(
    task: TaskState, waiting_for_jitter: list[Slot], command: Command, around: Surroundings
) -> Decision:
    """Put an execution on demand in flight. Raises Refused."""
    reg = task.reg
    if reg.ended == "cancelled":
        raise Refused(Code.INVALID_STATE, "the task is cancelled; it does not run any more")
    payload = parse_run(command.data)
    overrides = None if payload.config is None else encode(payload.config)
    _check_run(task, payload, around)
    overlap = payload.overlap or reg.spec.overlap
    way = way_past(overlap, in_the_way(task), on_demand=True)
    waits = way is not Way.GO
    run = f"r-{command.command_id}"
    flight = Flight(
        run=run,
        trigger=Trigger.MANUAL,
        scheduled_ms=around.now_ms,
        due_ms=around.now_ms,
        emit_ms=around.now_ms,
        revision=reg.revision,
        written=True,
        queued=True,
        gated=waits,
        expires_ms=around.now_ms + int(reg.spec.expires_after_seconds * 1000),
        has_input=_given(payload.trigger_data) or overrides is not None,
        traceparent=command.traceparent,
    )
    at = format_instant(around.now_ms)
    queued = Queued(
        **about(reg, around),
        command_id=command_id(command),
        execution_id=f"{reg.task_id}.{run}",
        run=run,
        task_type=reg.spec.task_type,
        attempt=1,
        trigger=Trigger.MANUAL,
        scheduled_for=at,
        due_at=at,
        revision=reg.revision,
        reason="overlap" if waits else "manual",
        trigger_data=payload.trigger_data,
        config_overrides=NULL if overrides is None else msgspec.Raw(overrides),
    )
    decision = Decision(reg, queued=[(flight, queued)], run=run)
    if way is Way.REPLACE:
        decision.cancels = replaced(task, around.now_ms + around.cancel_grace_ms, command.command_id)
    return decision


def _check_run(task: TaskState, payload: RunTask, around: Surroundings) -> None:
    others = in_the_way(task)
    if way_past(payload.overlap or task.reg.spec.overlap, others, on_demand=True) is Way.GIVE_WAY:
        raise Refused(
            Code.OVERLAP,
            f"{others[0].run!r} is still in flight and overlap is skip; say overlap queue, allow or cancel_running",
        )
    if not has_room(task):
        raise Refused(Code.LIMIT, f"{len(task.flights)} executions wait; at most {ENTRIES_PER_TASK} may")
    if payload.config:
        merged = merge_patch(msgspec.json.decode(bytes(task.reg.spec.config)), payload.config)
        check_type(msgspec.structs.replace(task.reg.spec, config=msgspec.Raw(encode(merged))), around.types)


def _given(raw: msgspec.Raw) -> bool:
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
