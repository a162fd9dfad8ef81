"""What each verb does to a task: `decide(task, command, surroundings) -> Decision`, or `Refused`.

**Closing a revision.** A change that can move slots takes effect at the instant of its decision, T. The shard has
handed out every slot whose emission time is up to T before it decides anything at T. What is left of the old
revision are slots past their nominal time that still wait for their jitter: they are written ahead in the change's
own batch, and for pause, cancel and delete at once marked as being cancelled. So no crash between the change and
those slots can lose one, and none can fire under the wrong revision.

**Slots of a pause** are recorded as one `skipped(paused)` span when the pause ends (or the schedule changes while it
lasts): the cursor stands where the pause began, and the span counts the slots from there to T.
"""

from __future__ import annotations

from collections.abc import Callable
from difflib import get_close_matches

import msgspec

from gnomon_core.rules.decoding import parse_body
from gnomon_core.rules.merge_patch import merge_patch
from gnomon_core.rules.run_input import parse_run
from gnomon_core.rules.task_input import changed_fields, parse_create, parse_update
from gnomon_core.timing import count_fires, next_fire
from gnomon_scheduler.decisions.command import Command, Decision, Surroundings
from gnomon_scheduler.decisions.slots import check_jitter
from gnomon_scheduler.decisions.views import resting_status, view
from gnomon_scheduler.memory import Flight, Slot, TaskState
from gnomon_scheduler.registers import Cancelling, TaskRegister
from gnomon_schemas.clock_text import format_instant, slot_run
from gnomon_schemas.codec import encode
from gnomon_schemas.commands import (
    TASK_VERBS,
    CancelExecution,
    CancelTask,
    DeleteTask,
    PauseTask,
    ResumeTask,
    RunTask,
)
from gnomon_schemas.events import (
    Created,
    Deleted,
    FieldChange,
    Queued,
    Skipped,
    StatusChanged,
    Unchanged,
    Updated,
)
from gnomon_schemas.limits import ENTRIES_PER_TASK
from gnomon_schemas.problems import Code, FieldError, Refused
from gnomon_schemas.tasks import NULL, Overlap, TaskSpec, Trigger

__all__ = ["VERBS", "decide"]

_SHOWN_MAX = 64 * 1024


def decide(
    task: TaskState | None, waiting_for_jitter: list[Slot], command: Command, around: Surroundings
) -> Decision:
    """Decide a command of kind `task`.

    `task` is the task it names, or None; `waiting_for_jitter` are its slots between nominal and emission time at
    `around.now_ms`. Raises Refused with the problem to answer.
    """
    if command.verb == "create":
        return _create(task, command, around)
    if command.verb not in VERBS:
        raise Refused(
            Code.UNKNOWN_VERB, f"{command.verb!r} is not a verb of task; allowed are {', '.join(TASK_VERBS)}"
        )
    if task is None:
        raise _not_found(command)
    _check_owner(task.reg, command)
    if task.reg.deleted_ms is not None:
        raise _not_found(command)
    _check_version(task.reg, command)
    return VERBS[command.verb](task, waiting_for_jitter, command, around)


def _not_found(command: Command) -> Refused:
    return Refused(Code.NOT_FOUND, f"there is no task {command.object_id!r}")


def _check_owner(reg: TaskRegister, command: Command) -> None:
    if command.user is not None and not command.admin and reg.user_id != command.user:
        raise _not_found(command)


def _check_version(reg: TaskRegister, command: Command) -> None:
    if command.if_match is None or command.if_match.strip() == "*":
        return
    wanted = command.if_match.strip().removeprefix("W/").strip('"')
    if wanted != str(reg.version):
        raise Refused(
            Code.VERSION_MISMATCH, f"If-Match is {command.if_match}, the task is at version {reg.version}"
        )


def _create(task: TaskState | None, command: Command, around: Surroundings) -> Decision:
    if task is not None:
        return _create_again(task, command, around)
    now_ms = around.now_ms
    spec = parse_create(
        command.data, now_ms=now_ms, created_at_ms=now_ms, default_timezone=around.default_timezone
    )
    _check_type(spec, around)
    check_jitter(spec, now_ms)
    reg = TaskRegister(
        task_id=command.object_id,
        user_id=command.user,
        spec=spec,
        version=1,
        revision=1,
        revision_from_ms=now_ms,
        cursor_s=now_ms // 1000,
        created_ms=now_ms,
        updated_ms=now_ms,
        fingerprint=around.fingerprint,
        traceparent=command.traceparent,
    )
    if spec.schedule is not None and next_fire(spec.schedule, reg.cursor_s) is None:
        raise Refused(
            Code.INVALID_SCHEDULE,
            "no slot of this schedule lies in the future",
            FieldError(
                pointer="#/schedule",
                code="never_fires",
                message="no slot lies after now and inside start_at and end_at",
            ),
        )
    at = format_instant(now_ms)
    created = Created(
        task_id=reg.task_id,
        user_id=reg.user_id,
        partition=around.partition,
        occurred_at=at,
        command_id=_command_id(command),
        name=spec.name,
        task_type=spec.task_type,
        schedule=spec.schedule,
        created_at=at,
        task=view(reg, partition=around.partition, running=False, now_ms=now_ms, types=around.types),
    )
    return Decision(reg, [created], rescheduled=True, created=True)


def _create_again(task: TaskState, command: Command, around: Surroundings) -> Decision:
    """A create of an id that is there: fine when the body is the same, a conflict otherwise."""
    reg = task.reg
    if reg.deleted_ms is not None:
        raise Refused(
            Code.DELETED,
            f"task {reg.task_id!r} was deleted at {format_instant(reg.deleted_ms)}; its id is free again later",
        )
    if command.user is not None and not command.admin and reg.user_id != command.user:
        raise Refused(Code.ALREADY_EXISTS, f"the id {reg.task_id!r} is taken")
    spec = parse_create(
        command.data,
        now_ms=reg.created_ms,
        created_at_ms=reg.created_ms,
        default_timezone=around.default_timezone,
    )
    if changed_fields(reg.spec, spec):
        raise Refused(
            Code.ALREADY_EXISTS,
            f"there is a task {reg.task_id!r} already, and it differs in {', '.join(changed_fields(reg.spec, spec))}",
        )
    return Decision(reg, [_unchanged(reg, command, around)])


def _check_type(spec: TaskSpec, around: Surroundings) -> None:
    known = around.types.get(spec.task_type)
    if known is None:
        allowed = ", ".join(sorted(around.types)) or "none yet: no executor has started"
        close = get_close_matches(spec.task_type, around.types, n=1)
        meant = f" (did you mean {close[0]!r}?)" if close else ""
        raise Refused(
            Code.UNKNOWN_TASK_TYPE,
            f"no executor has announced the task type {spec.task_type!r}{meant}; known are: {allowed}",
            FieldError(
                pointer="#/task_type",
                code=Code.UNKNOWN_TASK_TYPE,
                message=f"{spec.task_type!r} is not known{meant}; known are: {allowed}",
            ),
        )
    faults = known.check(bytes(spec.config))
    if faults:
        raise Refused(
            Code.INVALID_CONFIG, f"the config does not fit the task type {spec.task_type!r}", *faults
        )


def _update(
    task: TaskState, waiting_for_jitter: list[Slot], command: Command, around: Surroundings
) -> Decision:
    reg = task.reg
    spec = parse_update(
        command.data,
        reg.spec,
        now_ms=around.now_ms,
        created_at_ms=reg.created_ms,
        default_timezone=around.default_timezone,
    )
    return _change(task, waiting_for_jitter, spec, reg.pause_note, command, around)


def _pause(
    task: TaskState, waiting_for_jitter: list[Slot], command: Command, around: Surroundings
) -> Decision:
    payload = parse_body(command.data, PauseTask)
    spec = msgspec.structs.replace(task.reg.spec, paused=True)
    return _change(task, waiting_for_jitter, spec, payload.note, command, around)


def _resume(
    task: TaskState, waiting_for_jitter: list[Slot], command: Command, around: Surroundings
) -> Decision:
    parse_body(command.data, ResumeTask)
    spec = msgspec.structs.replace(task.reg.spec, paused=False)
    return _change(task, waiting_for_jitter, spec, None, command, around)


def _change(
    task: TaskState,
    waiting_for_jitter: list[Slot],
    spec: TaskSpec,
    note: str | None,
    command: Command,
    around: Surroundings,
) -> Decision:
    """Give a task another spec: update, pause and resume alike."""
    old, now_ms = task.reg, around.now_ms
    if not spec.paused:
        note = None
    fields = changed_fields(old.spec, spec) + (("pause_note",) if note != old.pause_note else ())
    if not fields:
        return Decision(old, [_unchanged(old, command, around)])
    _check_change(old, spec, fields, around)
    decision = Decision(old)
    reschedules = bool({"schedule", "paused"} & set(fields))
    moved = "schedule" in fields
    revived = moved and old.ended in {"completed", "failed"} and spec.schedule is not None
    reg = msgspec.structs.replace(
        old,
        spec=spec,
        pause_note=note,
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
            fingerprint=around.fingerprint,
            traceparent=command.traceparent or old.traceparent,
        )
    if reschedules:
        reg = _close(task, reg, waiting_for_jitter, decision, command, around)
    decision.reg, decision.rescheduled = reg, reschedules
    updated = Updated(
        task_id=old.task_id,
        user_id=old.user_id,
        partition=around.partition,
        occurred_at=format_instant(now_ms),
        command_id=_command_id(command),
        updated_fields=fields,
        updated_at=format_instant(now_ms),
        changed_by=command.user,
        changes=tuple(_field_change(name, old, reg) for name in fields),
        task=view(reg, partition=around.partition, running=task.running, now_ms=now_ms, types=around.types),
    )
    decision.events.insert(0, updated)
    _note_status(decision, old, reg, command.verb, around)
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
        _check_type(spec, around)
    if "schedule" in fields:
        check_jitter(spec, around.now_ms)


def _field_change(name: str, old: TaskRegister, new: TaskRegister) -> FieldChange:
    if name == "pause_note":
        return FieldChange(field=name, old=old.pause_note, new=new.pause_note)
    return FieldChange(field=name, old=_shown(getattr(old.spec, name)), new=_shown(getattr(new.spec, name)))


def _shown(value: object) -> object:
    """A value for the history. A large one by its size: old, new and the task itself have to fit in one message."""
    size = len(encode(value))
    return value if size <= _SHOWN_MAX else {"omitted_bytes": size}


def _close(
    task: TaskState,
    reg: TaskRegister,
    waiting_for_jitter: list[Slot],
    decision: Decision,
    command: Command,
    around: Surroundings,
) -> TaskRegister:
    """Give every slot of the old revision up to now its outcome, or write it ahead; the cursor moves to now.

    `reg` is the register after the change. Slots that wait for their jitter run later under an update, and are
    withdrawn where the change ends or pauses the task.
    """
    old, now_ms = task.reg, around.now_ms
    now_s = now_ms // 1000
    if old.spec.paused and old.spec.schedule is not None and old.ended is None:
        count = count_fires(old.spec.schedule, old.cursor_s, now_s)
        if count:
            decision.events.append(
                Skipped(
                    task_id=old.task_id,
                    user_id=old.user_id,
                    partition=around.partition,
                    occurred_at=format_instant(now_ms),
                    reason="paused",
                    revision=old.revision,
                    count=count,
                    task_type=old.spec.task_type,
                    from_=format_instant((old.cursor_s + 1) * 1000),
                    to=format_instant((now_s + 1) * 1000),
                )
            )
    reason = _withdrawal_reason(reg)
    decision.waiting = [_flight_of_slot(slot) for slot in waiting_for_jitter]
    if reason is not None:
        deadline_ms = now_ms + around.cancel_grace_ms
        runs = [flight.run for flight in decision.waiting]
        runs += [
            run
            for run, flight in task.flights.items()
            if reason != "paused" or (flight.unclaimed and flight.trigger is Trigger.SCHEDULE)
        ]
        decision.cancels = [
            Cancelling(run=run, reason=reason, deadline_ms=deadline_ms, command_id=command.command_id)
            for run in runs
            if _is_stronger(reason, task.cancelling.get(run))
        ]
    return msgspec.structs.replace(reg, cursor_s=max(now_s, old.cursor_s))


def _is_stronger(reason: str, present: Cancelling | None) -> bool:
    """Whether a wish to end an execution replaces the one that is there. A pause's lets go of what was claimed."""
    return present is None or reason == "deleted" or (present.reason == "paused" and reason != "paused")


def _withdrawal_reason(reg: TaskRegister) -> str | None:
    if reg.deleted_ms is not None:
        return "deleted"
    if reg.ended == "cancelled":
        return "cancelled"
    return "paused" if reg.spec.paused else None


def _flight_of_slot(slot: Slot) -> Flight:
    spec = slot.task.reg.spec
    return Flight(
        run=slot_run(slot.nominal_s),
        trigger=Trigger.SCHEDULE,
        scheduled_ms=slot.nominal_s * 1000,
        due_ms=slot.emit_ms,
        emit_ms=slot.emit_ms,
        revision=slot.task.reg.revision,
        written=True,
        gated=spec.overlap is not Overlap.ALLOW,
        expires_ms=slot.emit_ms + int(spec.expires_after_seconds * 1000),
    )


def _cancel(
    task: TaskState, waiting_for_jitter: list[Slot], command: Command, around: Surroundings
) -> Decision:
    payload = parse_body(command.data, CancelTask)
    old = task.reg
    if old.ended == "cancelled":
        return Decision(old, [_unchanged(old, command, around)])
    decision = Decision(old, rescheduled=True)
    reg = msgspec.structs.replace(
        old,
        ended="cancelled",
        ended_ms=around.now_ms,
        version=old.version + 1,
        updated_ms=around.now_ms,
    )
    decision.reg = reg = _close(task, reg, waiting_for_jitter, decision, command, around)
    decision.events.insert(
        0,
        Updated(
            task_id=old.task_id,
            user_id=old.user_id,
            partition=around.partition,
            occurred_at=format_instant(around.now_ms),
            command_id=_command_id(command),
            updated_fields=("status",),
            updated_at=format_instant(around.now_ms),
            changed_by=command.user,
            changes=(FieldChange(field="status", old=resting_status(old), new=resting_status(reg)),),
            task=view(
                reg,
                partition=around.partition,
                running=False,
                now_ms=around.now_ms,
                types=around.types,
            ),
        ),
    )
    _note_status(decision, old, reg, payload.reason or "cancel", around)
    return decision


def _delete(
    task: TaskState, waiting_for_jitter: list[Slot], command: Command, around: Surroundings
) -> Decision:
    parse_body(command.data, DeleteTask)
    old = task.reg
    decision = Decision(old, rescheduled=True)
    reg = msgspec.structs.replace(
        old, deleted_ms=around.now_ms, version=old.version + 1, updated_ms=around.now_ms
    )
    reg = _close(task, reg, waiting_for_jitter, decision, command, around)
    # A tombstone keeps no more than folding and the owner check need.
    decision.reg = msgspec.structs.replace(
        reg, spec=TaskSpec(name=old.spec.name, task_type=old.spec.task_type), pause_note=None
    )
    decision.events.insert(
        0,
        Deleted(
            task_id=old.task_id,
            user_id=old.user_id,
            partition=around.partition,
            occurred_at=format_instant(around.now_ms),
            command_id=_command_id(command),
            deleted_at=format_instant(around.now_ms),
            version=reg.version,
        ),
    )
    return decision


def _run(task: TaskState, waiting_for_jitter: list[Slot], command: Command, around: Surroundings) -> Decision:
    reg = task.reg
    if reg.ended == "cancelled":
        raise Refused(Code.INVALID_STATE, "the task is cancelled; it does not run any more")
    payload = parse_run(command.data)
    overrides = None if payload.config is None else encode(payload.config)
    _check_run(task, payload, around)
    overlap = payload.overlap or reg.spec.overlap
    waits = overlap is Overlap.QUEUE and bool(task.flights)
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
        task_id=reg.task_id,
        user_id=reg.user_id,
        partition=around.partition,
        occurred_at=at,
        command_id=_command_id(command),
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
    return Decision(reg, queued=[(flight, queued)], run=run)


def _check_run(task: TaskState, payload: RunTask, around: Surroundings) -> None:
    overlap = payload.overlap or task.reg.spec.overlap
    if overlap is Overlap.SKIP and task.flights:
        raise Refused(
            Code.OVERLAP,
            f"{next(iter(task.flights))!r} is still in flight and overlap is skip; say overlap queue or allow",
        )
    if len(task.flights) >= ENTRIES_PER_TASK:
        raise Refused(Code.LIMIT, f"{len(task.flights)} executions wait; at most {ENTRIES_PER_TASK} may")
    if payload.config:
        merged = merge_patch(msgspec.json.decode(bytes(task.reg.spec.config)), payload.config)
        _check_type(msgspec.structs.replace(task.reg.spec, config=msgspec.Raw(encode(merged))), around)


def _given(raw: msgspec.Raw) -> bool:
    return bytes(raw) != bytes(NULL)


def _cancel_execution(
    task: TaskState, waiting_for_jitter: list[Slot], command: Command, around: Surroundings
) -> Decision:
    payload = parse_body(command.data, CancelExecution)
    decision = Decision(task.reg, [_unchanged(task.reg, command, around)], run=payload.run)
    if not _is_stronger("cancelled", task.cancelling.get(payload.run)):
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


def _unchanged(reg: TaskRegister, command: Command, around: Surroundings) -> Unchanged:
    return Unchanged(
        task_id=reg.task_id,
        user_id=reg.user_id,
        partition=around.partition,
        occurred_at=format_instant(around.now_ms),
        command_id=_command_id(command),
        verb=command.verb,
    )


def _note_status(
    decision: Decision, old: TaskRegister, new: TaskRegister, reason: str, around: Surroundings
) -> None:
    before, after = resting_status(old), resting_status(new)
    if before is not after:
        decision.events.append(
            StatusChanged(
                task_id=old.task_id,
                user_id=old.user_id,
                partition=around.partition,
                occurred_at=format_instant(around.now_ms),
                old_status=before,
                new_status=after,
                reason=reason,
                changed_at=format_instant(around.now_ms),
            )
        )


def _command_id(command: Command) -> str:
    assert command.command_id is not None  # `check_identity` comes first
    return command.command_id


VERBS: dict[str, Callable[[TaskState, list[Slot], Command, Surroundings], Decision]] = {
    "update": _update,
    "pause": _pause,
    "resume": _resume,
    "cancel": _cancel,
    "delete": _delete,
    "run": _run,
    "cancel_execution": _cancel_execution,
}
"""Every verb but `create`, which is the only one that needs no task."""
