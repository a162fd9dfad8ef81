"""Changing a task: update, pause, resume, complete, cancel and delete.

Each of them closes a revision where slots can move.
"""

from __future__ import annotations

from typing import NamedTuple

import msgspec

from gnomon_core.rules.decoding import parse_body
from gnomon_core.rules.pause_input import parse_pause
from gnomon_core.rules.task_input import changed_fields, parse_update
from gnomon_core.rules.task_type import check_type
from gnomon_core.timing import check_jitter
from gnomon_scheduler.decisions.closing import close
from gnomon_scheduler.decisions.command import Command, Decision, Surroundings
from gnomon_scheduler.decisions.own_changes import unfailed
from gnomon_scheduler.decisions.telling import about, command_id, note_status, unchanged, updated
from gnomon_scheduler.memory import Slot, TaskState
from gnomon_scheduler.registers import TaskRegister
from gnomon_schemas.clock_text import format_instant, instant_ms
from gnomon_schemas.commands import (
    CancelTask,
    CompleteTask,
    DeleteTask,
    ResumeTask,
)
from gnomon_schemas.events import (
    Deleted,
)
from gnomon_schemas.problems import Code, FieldError, Refused
from gnomon_schemas.tasks import TaskSpec

__all__ = ["cancel", "complete", "delete", "pause", "resume", "update"]


def update(
    task: TaskState, waiting_for_jitter: list[Slot], command: Command, around: Surroundings
) -> Decision:
    """Merge a patch into the task's spec. Raises Refused."""
    reg = task.reg
    spec = parse_update(
        command.data,
        reg.spec,
        now_ms=around.now_ms,
        created_at_ms=reg.created_ms,
        default_timezone=around.default_timezone,
    )
    return _change(
        task, waiting_for_jitter, spec, _Pause(reg.pause_note, reg.paused_until_ms), command, around
    )


def pause(
    task: TaskState, waiting_for_jitter: list[Slot], command: Command, around: Surroundings
) -> Decision:
    """Let no slot fire until it is resumed, and withdraw what is due and not claimed. Raises Refused."""
    payload = parse_pause(command.data, now_ms=around.now_ms)
    if payload.until is not None and task.reg.ended is not None:
        raise _until_of_ended(task.reg)
    spec = msgspec.structs.replace(task.reg.spec, paused=True)
    until_ms = None if payload.until is None else instant_ms(payload.until)
    return _change(task, waiting_for_jitter, spec, _Pause(payload.note, until_ms), command, around)


def _until_of_ended(reg: TaskRegister) -> Refused:
    message = f"the task is {reg.ended}: nothing of it would resume at that time"
    return Refused(
        Code.INVALID_STATE, message, FieldError(pointer="#/until", code=Code.INVALID_STATE, message=message)
    )


def resume(
    task: TaskState, waiting_for_jitter: list[Slot], command: Command, around: Surroundings
) -> Decision:
    """Let slots fire again from now on. Raises Refused."""
    parse_body(command.data, ResumeTask)
    spec = msgspec.structs.replace(task.reg.spec, paused=False)
    return _change(task, waiting_for_jitter, spec, _NO_PAUSE, command, around)


class _Pause(NamedTuple):
    """What is kept of a pause besides that it lasts."""

    note: str | None
    until_ms: int | None


_NO_PAUSE = _Pause(None, None)


def _change(
    task: TaskState,
    waiting_for_jitter: list[Slot],
    spec: TaskSpec,
    pause: _Pause,
    command: Command,
    around: Surroundings,
) -> Decision:
    """Give a task another spec: update, pause and resume alike."""
    old, now_ms = task.reg, around.now_ms
    if not spec.paused:
        pause = _NO_PAUSE
    fields = changed_fields(old.spec, spec)
    fields += ("pause_note",) if pause.note != old.pause_note else ()
    fields += ("paused_until",) if pause.until_ms != old.paused_until_ms else ()
    if not fields:
        return Decision(old, [unchanged(old, command, around)])
    _check_change(old, spec, fields, around)
    decision = Decision(old)
    reschedules = bool({"schedule", "paused"} & set(fields))
    moved = "schedule" in fields
    revived = moved and old.ended in {"completed", "failed"} and spec.schedule is not None
    reg = msgspec.structs.replace(
        old,
        spec=spec,
        pause_note=pause.note,
        paused_until_ms=pause.until_ms,
        runtime=unfailed(old.runtime) if old.spec.paused and not spec.paused else old.runtime,
        version=old.version + 1,
        updated_ms=now_ms,
        ended=None if revived else old.ended,
        ended_ms=None if revived else old.ended_ms,
    )
    if moved:
        reg = msgspec.structs.replace(
            reg,
            revision=old.revision + 1,
            revision_from_ms=now_ms,
            fired=0,
            fingerprint=around.fingerprint,
            traceparent=command.traceparent or old.traceparent,
        )
    if reschedules:
        reg = close(task, reg, waiting_for_jitter, decision, command.command_id, around)
    decision.reg, decision.rescheduled = reg, reschedules or "paused_until" in fields
    told = updated(old, reg, command, around, running=task.running, runs=task.flights)
    decision.events.insert(0, told)
    note_status(decision, old, reg, command.verb, around)
    return decision


def _check_change(old: TaskRegister, spec: TaskSpec, fields: tuple[str, ...], around: Surroundings) -> None:
    if old.ended == "cancelled":
        raise Refused(Code.INVALID_STATE, "the task is cancelled, which is final")
    if "task_type" in fields:
        raise Refused(
            Code.INVALID,
            "the task type cannot be changed after creation",
            FieldError(
                pointer="#/task_type",
                code=Code.INVALID,
                message=f"is {old.spec.task_type!r} for good; {spec.task_type!r} needs a task of its own",
            ),
        )
    if "config" in fields:
        check_type(spec, around.types)
    if "schedule" in fields:
        check_jitter(spec.schedule, around.now_ms // 1000)


def cancel(
    task: TaskState, waiting_for_jitter: list[Slot], command: Command, around: Surroundings
) -> Decision:
    """End the task for good, with all that is in flight. Raises Refused."""
    payload = parse_body(command.data, CancelTask)
    old = task.reg
    if old.ended == "cancelled":
        return Decision(old, [unchanged(old, command, around)])
    decision = Decision(old, rescheduled=True)
    reg = msgspec.structs.replace(
        old,
        ended="cancelled",
        ended_ms=around.now_ms,
        paused_until_ms=None,
        backfills=(),
        version=old.version + 1,
        updated_ms=around.now_ms,
    )
    decision.reg = reg = close(task, reg, waiting_for_jitter, decision, command.command_id, around)
    told = updated(old, reg, command, around, running=False)
    decision.events.insert(0, told)
    note_status(decision, old, reg, payload.reason or "cancel", around)
    return decision


def complete(
    task: TaskState, waiting_for_jitter: list[Slot], command: Command, around: Surroundings
) -> Decision:
    """End the task because its owner calls it done; what is in flight goes on. Raises Refused."""
    payload = parse_body(command.data, CompleteTask)
    old = task.reg
    if old.ended == "completed":
        return Decision(old, [unchanged(old, command, around)])
    if old.ended == "cancelled":
        raise Refused(Code.INVALID_STATE, "the task is cancelled, which is final")
    decision = Decision(old, rescheduled=True)
    reg = msgspec.structs.replace(
        old,
        ended="completed",
        ended_ms=around.now_ms,
        paused_until_ms=None,
        version=old.version + 1,
        updated_ms=around.now_ms,
    )
    decision.reg = reg = close(task, reg, waiting_for_jitter, decision, command.command_id, around)
    told = updated(old, reg, command, around, running=task.running, runs=task.flights)
    decision.events.insert(0, told)
    note_status(decision, old, reg, payload.note or "complete", around)
    return decision


def delete(
    task: TaskState, waiting_for_jitter: list[Slot], command: Command, around: Surroundings
) -> Decision:
    """Leave a tombstone of the task, and end all that is in flight. Raises Refused."""
    parse_body(command.data, DeleteTask)
    old = task.reg
    decision = Decision(old, rescheduled=True)
    reg = msgspec.structs.replace(
        old, deleted_ms=around.now_ms, version=old.version + 1, updated_ms=around.now_ms
    )
    reg = close(task, reg, waiting_for_jitter, decision, command.command_id, around)
    # A tombstone keeps no more than folding and the owner check need.
    decision.reg = msgspec.structs.replace(
        reg,
        spec=TaskSpec(name=old.spec.name, task_type=old.spec.task_type),
        pause_note=None,
        paused_until_ms=None,
        backfills=(),
    )
    decision.events.insert(
        0,
        Deleted(
            **about(old, around),
            command_id=command_id(command),
            deleted_at=format_instant(around.now_ms),
            version=reg.version,
        ),
    )
    return decision
