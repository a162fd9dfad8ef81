"""Making a task."""

from __future__ import annotations

from gnomon_core.rules.task_input import changed_fields, parse_create
from gnomon_core.rules.task_type import check_type
from gnomon_core.rules.templating import named_template, same_by_template
from gnomon_core.rules.workless import check_reminder
from gnomon_core.timing import check_fires, check_jitter
from gnomon_scheduler.decisions.command import Command, Decision, Surroundings
from gnomon_scheduler.decisions.from_template import body_of_new_task
from gnomon_scheduler.decisions.reminding import reminder_after
from gnomon_scheduler.decisions.telling import about, command_id, unchanged
from gnomon_scheduler.decisions.user_limits import check_new_task
from gnomon_scheduler.decisions.views import view
from gnomon_scheduler.memory import TaskState
from gnomon_scheduler.registers import TaskRegister
from gnomon_schemas.clock_text import format_instant
from gnomon_schemas.events import Created
from gnomon_schemas.problems import Code, Refused

__all__ = ["create"]


def create(task: TaskState | None, command: Command, around: Surroundings) -> Decision:
    """Make a task; of one that is there, make sure that it is the same. Raises Refused."""
    if task is not None:
        return _create_again(task, command, around)
    now_ms = around.now_ms
    spec = parse_create(
        body_of_new_task(command, around),
        now_ms=now_ms,
        created_at_ms=now_ms,
        default_timezone=around.default_timezone,
    )
    check_new_task(command.user, spec.schedule, around)
    check_type(spec, around.types)
    check_reminder(spec)
    check_jitter(spec.schedule, now_ms // 1000)
    check_fires(spec.schedule, now_ms // 1000)
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
        reminder_ms=reminder_after(None, spec, now_ms),
        traceparent=command.traceparent,
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
    if not command.privileged and reg.user_id != command.user:
        raise Refused(Code.ALREADY_EXISTS, f"the id {reg.task_id!r} is taken")
    if reg.deleted_ms is not None:
        raise Refused(
            Code.DELETED,
            f"task {reg.task_id!r} was deleted at {format_instant(reg.deleted_ms)}; its id is free again later",
        )
    made_from = reg.spec.template_id
    again = made_from is not None and named_template(command.data) == made_from
    spec = parse_create(
        same_by_template(command.data, reg.spec) if again else command.data,
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
