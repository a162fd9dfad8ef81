"""Changing a task: update, pause, resume, complete, cancel and delete.

Each of them closes a revision where slots can move. A `status` in an update asks for one of the other verbs
(`gnomon_core.rules.transitions`): fields and status are then one change, under one version.
"""

from __future__ import annotations

from typing import NamedTuple

import msgspec

from gnomon_core.rules.decoding import parse_body
from gnomon_core.rules.pause_input import parse_pause
from gnomon_core.rules.task_input import changed_fields, parse_update
from gnomon_core.rules.task_type import check_type
from gnomon_core.rules.templating import check_price
from gnomon_core.rules.transitions import asked, check_not_final
from gnomon_core.rules.workless import check_reminder
from gnomon_core.timing import check_jitter, next_fire
from gnomon_scheduler.decisions.closing import close
from gnomon_scheduler.decisions.command import Command, Decision, Surroundings
from gnomon_scheduler.decisions.from_template import may_set_price
from gnomon_scheduler.decisions.lateness import changed_objective
from gnomon_scheduler.decisions.own_changes import unfailed
from gnomon_scheduler.decisions.reminding import reminder_after
from gnomon_scheduler.decisions.telling import about, command_id, note_status, unchanged, updated
from gnomon_scheduler.decisions.user_limits import check_account, check_pace
from gnomon_scheduler.decisions.views import ended_status, resting_status
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
from gnomon_schemas.tasks import TaskSpec, TaskStatus

__all__ = ["cancel", "complete", "delete", "pause", "resume", "update"]


def update(
    task: TaskState, waiting_for_jitter: list[Slot], command: Command, around: Surroundings
) -> Decision:
    """Merge a patch into the task's spec, and do what a `status` in it asks for. Raises Refused."""
    reg = task.reg
    spec = parse_update(
        command.data,
        reg.spec,
        now_ms=around.now_ms,
        created_at_ms=reg.created_ms,
        default_timezone=around.default_timezone,
    )
    wanted = asked(command.data, reg.spec, spec, ended_status(reg), lambda new: _has_slot(reg, new, around))
    change = _Change(
        wanted.spec,
        _Pause(reg.pause_note, reg.paused_until_ms),
        wanted.ended,
        wanted.verb or command.verb,
    )
    return _change(task, waiting_for_jitter, change, command, around)


def _has_slot(reg: TaskRegister, spec: TaskSpec, around: Surroundings) -> bool:
    return not reg.exhausted and (
        spec.schedule is None or next_fire(spec.schedule, around.now_ms // 1000) is not None
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
    change = _Change(spec, _Pause(payload.note, until_ms), ended_status(task.reg), command.verb)
    return _change(task, waiting_for_jitter, change, command, around)


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
    change = _Change(spec, _NO_PAUSE, ended_status(task.reg), command.verb)
    return _change(task, waiting_for_jitter, change, command, around)


class _Pause(NamedTuple):
    """What is kept of a pause besides that it lasts."""

    note: str | None
    until_ms: int | None


_NO_PAUSE = _Pause(None, None)


class _Change(NamedTuple):
    """What a task is to be after a change."""

    spec: TaskSpec
    pause: _Pause
    ended: TaskStatus | None
    reason: str
    """Told with the status, where that changes."""
    gentle: bool = False
    """What has been claimed goes on."""


def _change(
    task: TaskState,
    waiting_for_jitter: list[Slot],
    change: _Change,
    command: Command,
    around: Surroundings,
) -> Decision:
    """Give a task another spec, or another status."""
    old, spec, now_ms = task.reg, change.spec, around.now_ms
    ends = change.ended is not None and change.ended != old.ended
    # By a status, another schedule or another reminder: what lay in the time in which it had ended is nothing of it.
    reopens = old.ended is not None and change.ended is None
    pause = change.pause if spec.paused else _NO_PAUSE
    if ends:
        pause = _Pause(pause.note, None)
    fields = changed_fields(old.spec, spec)
    fields += ("pause_note",) if pause.note != old.pause_note else ()
    fields += ("paused_until",) if pause.until_ms != old.paused_until_ms else ()
    if not fields and change.ended == old.ended:
        return Decision(old, [unchanged(old, command, around)])
    _check_change(old, spec, fields, command, around)
    if reopens:
        check_account(old.user_id, around)
    decision = Decision(old)
    moved = "schedule" in fields or reopens
    reschedules = moved or "paused" in fields or ends
    reg = msgspec.structs.replace(
        old,
        spec=spec,
        pause_note=pause.note,
        paused_until_ms=pause.until_ms,
        runtime=unfailed(old.runtime) if old.spec.paused and not spec.paused else old.runtime,
        version=old.version + 1,
        updated_ms=now_ms,
        ended=None if change.ended is None else change.ended.value,
        ended_ms=now_ms if ends else old.ended_ms if change.ended is not None else None,
        backfills=() if change.ended is TaskStatus.CANCELLED else old.backfills,
        reminder_ms=reminder_after(old, spec, now_ms, reopens=reopens),
    )
    if moved:
        reg = msgspec.structs.replace(
            reg,
            revision=old.revision + 1,
            revision_from_ms=now_ms,
            # The same schedule goes on counting.
            fired=old.fired if "schedule" not in fields else 0,
            fingerprint=around.fingerprint,
            traceparent=command.traceparent or old.traceparent,
        )
    if reschedules:
        reg = close(task, reg, waiting_for_jitter, decision, command.command_id, around, gentle=change.gentle)
    reg, recovered = changed_objective(old, reg, now_ms, around.partition)
    decision.reg = reg
    decision.rescheduled = reschedules or bool({"paused_until", "reminder_time"} & set(fields))
    cancelled = change.ended is TaskStatus.CANCELLED and not change.gentle
    told = updated(
        old,
        reg,
        command,
        around,
        running=task.running and not cancelled,
        runs=() if cancelled else task.flights,
    )
    decision.events.insert(0, told)
    if recovered is not None:
        decision.events.append(recovered)
    note_status(decision, old, reg, change.reason, command, around)
    return decision


def _check_change(
    old: TaskRegister, spec: TaskSpec, fields: tuple[str, ...], command: Command, around: Surroundings
) -> None:
    check_not_final(resting_status(old))
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
    check_price(old.spec, fields, may_set_price=may_set_price(command))
    if "config" in fields:
        check_type(spec, around.types)
    if {"schedule", "reminder_time"} & set(fields):
        check_reminder(spec)
    if "schedule" in fields:
        check_pace(old.user_id, spec.schedule, around)
        check_jitter(spec.schedule, around.now_ms // 1000)


def cancel(
    task: TaskState, waiting_for_jitter: list[Slot], command: Command, around: Surroundings
) -> Decision:
    """End the task for good, with all that is in flight, or all of that but what runs. Raises Refused."""
    payload = parse_body(command.data, CancelTask)
    reason, gentle = payload.reason or "cancel", payload.running == "finish"
    return _end(task, waiting_for_jitter, TaskStatus.CANCELLED, reason, command, around, gentle=gentle)


def complete(
    task: TaskState, waiting_for_jitter: list[Slot], command: Command, around: Surroundings
) -> Decision:
    """End the task because its owner calls it done; what is in flight goes on. Raises Refused."""
    payload = parse_body(command.data, CompleteTask)
    return _end(task, waiting_for_jitter, TaskStatus.COMPLETED, payload.note or "complete", command, around)


def _end(
    task: TaskState,
    waiting_for_jitter: list[Slot],
    ended: TaskStatus,
    reason: str,
    command: Command,
    around: Surroundings,
    *,
    gentle: bool = False,
) -> Decision:
    reg = task.reg
    pause = _Pause(reg.pause_note, reg.paused_until_ms)
    change = _Change(reg.spec, pause, ended, reason, gentle=gentle)
    return _change(task, waiting_for_jitter, change, command, around)


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
        reminder_ms=None,
        slo_broken=None,
        backfills=(),
    )
    decision.events.insert(
        0,
        Deleted(
            **about(old, around),
            command_id=command_id(command),
            deleted_at=format_instant(around.now_ms),
            version=reg.version,
            deleted_by=command.user,
        ),
    )
    return decision
