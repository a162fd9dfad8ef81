"""Making a task, and what is looked at whenever a task gets a config."""

from __future__ import annotations

from difflib import get_close_matches

from gnomon_core.rules.task_input import changed_fields, parse_create
from gnomon_core.timing import next_fire
from gnomon_scheduler.decisions.command import Command, Decision, Surroundings
from gnomon_scheduler.decisions.slots import check_jitter
from gnomon_scheduler.decisions.telling import about, command_id, unchanged
from gnomon_scheduler.decisions.views import view
from gnomon_scheduler.memory import TaskState
from gnomon_scheduler.registers import TaskRegister
from gnomon_schemas.clock_text import format_instant
from gnomon_schemas.events import Created
from gnomon_schemas.problems import Code, FieldError, Refused
from gnomon_schemas.tasks import TaskSpec

__all__ = ["check_type", "create"]


def create(task: TaskState | None, command: Command, around: Surroundings) -> Decision:
    """Make a task; of one that is there, make sure that it is the same. Raises Refused."""
    if task is not None:
        return _create_again(task, command, around)
    now_ms = around.now_ms
    spec = parse_create(
        command.data, now_ms=now_ms, created_at_ms=now_ms, default_timezone=around.default_timezone
    )
    check_type(spec, around)
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
        **about(reg, around),
        command_id=command_id(command),
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
    return Decision(reg, [unchanged(reg, command, around)])


def check_type(spec: TaskSpec, around: Surroundings) -> None:
    """Make sure that the type is known and that the config fits it. Raises Refused."""
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
