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
from gnomon_scheduler.decisions.telling import about
from gnomon_scheduler.memory import Flight, Slot, TaskState
from gnomon_scheduler.registers import Cancelling, TaskRegister
from gnomon_schemas.clock_text import format_instant, slot_run
from gnomon_schemas.events import Skipped
from gnomon_schemas.tasks import Overlap, Trigger

__all__ = ["close", "is_stronger"]


def close(
    task: TaskState,
    reg: TaskRegister,
    waiting_for_jitter: list[Slot],
    decision: Decision,
    command_id: str | None,
    around: Surroundings,
) -> TaskRegister:
    """Give every slot of the old revision up to now its outcome, or write it ahead; the cursor moves to now.

    `reg` is the register after the change. Slots that wait for their jitter run later under an update, and are
    withdrawn where the change ends or pauses the task. `command_id` is None for a change that no command asked for.
    """
    old, now_ms = task.reg, around.now_ms
    now_s = now_ms // 1000
    if old.spec.paused and old.spec.schedule is not None and old.ended is None:
        count = count_fires(old.spec.schedule, old.cursor_s, now_s)
        if count:
            decision.events.append(
                Skipped(
                    **about(old, around),
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
            Cancelling(run=run, reason=reason, deadline_ms=deadline_ms, command_id=command_id)
            for run in runs
            if is_stronger(reason, task.cancelling.get(run))
        ]
    return msgspec.structs.replace(reg, cursor_s=max(now_s, old.cursor_s))


def is_stronger(reason: str, present: Cancelling | None) -> bool:
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
