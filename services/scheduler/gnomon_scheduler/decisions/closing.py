"""Closing a revision: every slot that it had gets its outcome, or is written ahead.

A change that can move slots takes effect at the instant of its decision, T. The shard has
handed out every slot whose emission time is up to T before it decides anything at T. What is left of the old
revision are slots past their nominal time that still wait for their jitter: they are written ahead in the change's
own batch, and for pause, cancel and delete at once marked as being cancelled. So no crash between the change and
those slots can lose one, and none can fire under the wrong revision.

**Slots of a pause** are recorded as one `skipped(paused)` span when the pause ends (or the schedule changes while it
lasts): the cursor stands where the pause began, and the span counts the slots from there to T.
"""

from __future__ import annotations

import msgspec

from gnomon_core.timing import count_fires
from gnomon_scheduler.decisions.command import Decision, Surroundings
from gnomon_scheduler.decisions.counting import allowed, beyond, counted
from gnomon_scheduler.decisions.telling import about
from gnomon_scheduler.memory import Flight, Slot, TaskState
from gnomon_scheduler.registers import Cancelling, TaskRegister
from gnomon_schemas.clock_text import format_instant, slot_run
from gnomon_schemas.events import Event, Skipped
from gnomon_schemas.schedules import Schedule
from gnomon_schemas.tasks import Overlap, Trigger

__all__ = ["close", "flight_of_left", "is_stronger", "slots_of_pause"]


def close(
    task: TaskState,
    reg: TaskRegister,
    waiting_for_jitter: list[Slot],
    decision: Decision,
    command_id: str | None,
    around: Surroundings,
    schedule: Schedule | None = None,
) -> TaskRegister:
    """Give every slot of the old revision up to now its outcome, or write it ahead; the cursor moves to now.

    `reg` is the register after the change. Slots that wait for their jitter run later under an update, and are
    withdrawn where the change ends or pauses the task. `command_id` is None for a change that no command asked for.
    `schedule`: by which the slots of a pause are counted, where it is not the task's as it is read now.
    """
    old, now_ms = task.reg, around.now_ms
    now_s = now_ms // 1000
    decision.events += slots_of_pause(old, schedule or old.spec.schedule, now_s, around)
    reason = _withdrawal_reason(reg)
    decision.waiting = [flight_of_left(slot) for slot in waiting_for_jitter]
    if reg.revision == old.revision:
        reg = counted(reg, allowed(old, waiting_for_jitter))
    if reason is not None:
        deadline_ms = now_ms + around.cancel_grace_ms
        runs = [flight.run for flight in decision.waiting]
        runs += [
            run
            for run, flight in task.flights.items()
            if reason != "paused" or (flight.unclaimed and flight.trigger is Trigger.SCHEDULE)
        ]
        decision.cancels = [
            Cancelling(run=run, reason=reason, deadline_ms=deadline_ms, command_id=command_id)
            for run in runs
            if is_stronger(reason, task.cancelling.get(run))
        ]
    else:
        decision.cancels = beyond(old, waiting_for_jitter, now_ms, command_id)
    return msgspec.structs.replace(reg, cursor_s=max(now_s, old.cursor_s))


def slots_of_pause(
    reg: TaskRegister, schedule: Schedule | None, until_s: int, around: Surroundings
) -> list[Event]:
    """The span of a pause up to an instant, where the task is paused and had slots by `schedule`."""
    if schedule is None or not reg.spec.paused or reg.ended is not None or reg.exhausted:
        return []
    count = count_fires(schedule, reg.cursor_s, until_s)
    if not count:
        return []
    return [
        Skipped(
            **about(reg, around),
            reason="paused",
            revision=reg.revision,
            count=count,
            task_type=reg.spec.task_type,
            from_=format_instant((reg.cursor_s + 1) * 1000),
            to=format_instant((until_s + 1) * 1000),
        )
    ]


def is_stronger(reason: str, present: Cancelling | None) -> bool:
    """Whether a wish to end an execution replaces the one that is there. A pause's lets go of what was claimed."""
    return present is None or reason == "deleted" or (present.reason == "paused" and reason != "paused")


def _withdrawal_reason(reg: TaskRegister) -> str | None:
    if reg.deleted_ms is not None:
        return "deleted"
    if reg.ended == "cancelled":
        return "cancelled"
    return "paused" if reg.spec.paused else None


def flight_of_left(slot: Slot) -> Flight:
    """The execution, to be written ahead, of a slot that a revision leaves behind. `slot.task` still has it."""
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
