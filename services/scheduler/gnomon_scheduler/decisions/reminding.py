"""Reminders: `reminder_time` of any task, and the slots of types without work. Pure.

**Once.** When a reminder is to be told stands in the register (`reminder_ms`), from the change that sets it on. Telling
it is an own change: the event and the register without it are one batch. So a crash before leaves it owed, and one
after finds it told.

**Late.** A reminder is told however late everybody was; `scheduled_for` says when it was meant for. One whose time
comes while the task is paused is told when the pause ends. A task that has ended, or was deleted, reminds nobody; one
that is opened again owes only what lies ahead.

**Slots of types without work** are recorded by the shard itself: `started` and `executed` on the chain of the slot,
and the reminder, in one batch. Nobody else writes on that chain, no due is published, and a reader sees an execution
like any other. Overlap, pools and keys do not matter to what takes no time, nor does it cost credits or count as a run
of its user's day.
"""

from __future__ import annotations

from typing import Any, Literal

import msgspec

from gnomon_core.rules.task_type import DEFAULT_POOL
from gnomon_scheduler.decisions.command import Decision, Surroundings
from gnomon_scheduler.decisions.telling import about
from gnomon_scheduler.decisions.views import resting_status
from gnomon_scheduler.memory import Flight, Slot, TaskState
from gnomon_scheduler.registers import TaskRegister
from gnomon_schemas.clock_text import format_instant, instant_ms
from gnomon_schemas.events import Executed, ReminderTriggered, Started, StatusChanged
from gnomon_schemas.tasks import NULL, TaskSpec, Trigger
from gnomon_schemas.workless import REMINDER

__all__ = ["remind", "reminder_after", "told"]

_TOLD = 0
"""In `reminder_ms`: it was told, or its time had passed before the task was opened again."""


def reminder_after(
    old: TaskRegister | None, spec: TaskSpec, now_ms: int, *, reopens: bool = False
) -> int | None:
    """`reminder_ms` of a task that is made (`old` None) or changed to a spec."""
    if spec.reminder_time is None:
        return None
    at_ms = instant_ms(spec.reminder_time)
    if old is None or old.spec.reminder_time != spec.reminder_time:
        return at_ms
    if reopens or old.reminder_ms is None:
        return at_ms if at_ms > now_ms else _TOLD
    return old.reminder_ms


def remind(task: TaskState, waiting_for_jitter: list[Slot], around: Surroundings) -> Decision | None:
    """Tell the reminder of a task whose time has come; None where it is owed no more.

    A task of type `reminder` that has nothing but this one is completed by it.
    """
    old, at_ms = task.reg, task.reg.reminder_due_ms
    if at_ms is None or at_ms > around.now_ms:
        return None
    reg = msgspec.structs.replace(old, reminder_ms=_TOLD)
    now = format_instant(around.now_ms)
    decision = Decision(reg, [_reminder(old, "reminder_time", at_ms, None, around)], rescheduled=True)
    if old.spec.task_type == REMINDER and old.spec.schedule is None:
        decision.reg = msgspec.structs.replace(reg, ended="completed", ended_ms=around.now_ms)
        decision.events.append(
            StatusChanged(
                **about(old, around),
                old_status=resting_status(old),
                new_status=resting_status(decision.reg),
                reason="reminded",
                changed_at=now,
            )
        )
    return decision


def told(
    task: TaskState, flight: Flight, around: Surroundings, owner: str
) -> tuple[Started, Executed, ReminderTriggered]:
    """What an execution of a type without work leaves: it starts and ends at once. `owner` is who tells it."""
    reg, now = task.reg, format_instant(around.now_ms)
    common: dict[str, Any] = {
        **about(reg, around),
        "execution_id": f"{reg.task_id}.{flight.run}",
        "run": flight.run,
        "task_type": reg.spec.task_type,
        "attempt": flight.attempt,
        "trigger": flight.trigger,
        "scheduled_for": format_instant(flight.scheduled_ms),
        "due_at": format_instant(flight.due_ms),
        "revision": flight.revision,
        "retry_of": flight.retry_of,
    }
    started = Started(
        **common,
        executor=owner,
        due_seq=0,
        nonce="",
        takeovers=0,
        started_at=now,
        pool=reg.spec.pool or DEFAULT_POOL,
        priority=reg.spec.priority,
    )
    executed = Executed(
        **common,
        status="completed",
        result=NULL,
        error=None,
        started_at=now,
        completed_at=now,
        executed_at=now,
        duration_ms=0,
        credits_consumed=0,
        tokens_used=0,
        api_calls_made=0,
        executor=None,
    )
    kind: Literal["schedule", "manual"] = "schedule" if flight.trigger is Trigger.SCHEDULE else "manual"
    return started, executed, _reminder(reg, kind, flight.due_ms, started.execution_id, around)


def _reminder(
    reg: TaskRegister,
    kind: Literal["reminder_time", "schedule", "manual"],
    at_ms: int,
    execution_id: str | None,
    around: Surroundings,
) -> ReminderTriggered:
    return ReminderTriggered(
        **about(reg, around),
        reminder_type=kind,
        triggered_at=format_instant(around.now_ms),
        scheduled_for=format_instant(at_ms),
        name=reg.spec.name,
        task_type=reg.spec.task_type,
        description=reg.spec.description,
        due_date=reg.spec.due_date,
        execution_id=execution_id,
    )
