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

from gnomon_core.timing import Touch, count_fires
from gnomon_scheduler.decisions.blackouts import put_off, touch_of
from gnomon_scheduler.decisions.command import Decision, Surroundings
from gnomon_scheduler.decisions.counting import allowed, beyond, counted
from gnomon_scheduler.decisions.telling import about
from gnomon_scheduler.decisions.wishes import is_stronger
from gnomon_scheduler.memory import Flight, Slot, TaskState
from gnomon_scheduler.registers import Cancelling, TaskRegister
from gnomon_schemas.blackouts import BlackoutAction
from gnomon_schemas.clock_text import format_instant, slot_run
from gnomon_schemas.events import Event, Skipped
from gnomon_schemas.schedules import Schedule
from gnomon_schemas.tasks import Overlap, Trigger

__all__ = ["blackout_wishes", "close", "flights_left", "slots_of_pause"]


def close(
    task: TaskState,
    reg: TaskRegister,
    waiting_for_jitter: list[Slot],
    decision: Decision,
    command_id: str | None,
    around: Surroundings,
    schedule: Schedule | None = None,
    *,
    gentle: bool = False,
) -> TaskRegister:
    """Give every slot of the old revision up to now its outcome, or write it ahead; the cursor moves to now.

    `reg` is the register after the change. Slots that wait for their jitter run later under an update, and are
    withdrawn where the change ends or pauses the task. `command_id` is None for a change that no command asked for.
    `gentle`: a change that ends the task leaves what has been claimed alone.
    `schedule`: by which the slots of a pause are counted, where it is not the task's as it is read now.
    """
    old, now_ms = task.reg, around.now_ms
    now_s = now_ms // 1000
    decision.events += slots_of_pause(old, schedule or old.spec.schedule, now_s, around)
    reason = _withdrawal_reason(reg)
    decision.waiting = flights_left(waiting_for_jitter, around)
    if reg.revision == old.revision:
        reg = counted(reg, allowed(old, waiting_for_jitter))
    if reason is not None:
        deadline_ms = now_ms + around.cancel_grace_ms
        runs = [flight.run for flight in decision.waiting]
        runs += [
            run
            for run, flight in task.flights.items()
            if reason != "paused" or (flight.unclaimed and flight.trigger is Trigger.SCHEDULE)
            if not gentle or flight.unclaimed
        ]
        decision.cancels = [
            Cancelling(run=run, reason=reason, deadline_ms=deadline_ms, command_id=command_id, gentle=gentle)
            for run in runs
            if is_stronger(reason, task.cancelling.get(run))
        ]
    else:
        decision.cancels = beyond(old, waiting_for_jitter, now_ms, command_id)
        decision.cancels += blackout_wishes(waiting_for_jitter, decision.cancels, around)
    return msgspec.structs.replace(reg, cursor_s=max(now_s, old.cursor_s))


def flights_left(slots: list[Slot], around: Surroundings) -> list[Flight]:
    """The executions, to be written ahead, of slots that a revision leaves behind; what a blackout puts off waits for
    its end. Their task still has that revision."""
    return [_flight_left(slot, touch_of(around.blackouts, slot.task, slot.nominal_s)) for slot in slots]


def _flight_left(slot: Slot, touch: Touch | None) -> Flight:
    if touch is None or touch.action is BlackoutAction.SKIP:
        return _flight_of_left(slot)
    flight = put_off(slot, touch)
    flight.queued = False
    return flight


def blackout_wishes(slots: list[Slot], others: list[Cancelling], around: Surroundings) -> list[Cancelling]:
    """The wishes to end those of some slots, written ahead, that a blackout skips, besides what is ended anyway."""
    ended = {item.run for item in others}
    found = []
    for slot in slots:
        touch = touch_of(around.blackouts, slot.task, slot.nominal_s)
        run = slot_run(slot.nominal_s)
        if touch is not None and touch.action is BlackoutAction.SKIP and run not in ended:
            found.append(
                Cancelling(
                    run=run, reason="blackout", deadline_ms=around.now_ms, calendar_id=touch.calendar_id
                )
            )
    return found


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


def _withdrawal_reason(reg: TaskRegister) -> str | None:
    if reg.deleted_ms is not None:
        return "deleted"
    if reg.ended == "cancelled":
        return "cancelled"
    return "paused" if reg.spec.paused else None


def _flight_of_left(slot: Slot) -> Flight:
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
