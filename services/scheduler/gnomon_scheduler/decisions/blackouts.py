"""What a calendar of blackouts makes of a slot whose nominal time lies inside.

Terms. A slot is *put off* when a calendar defers it: its execution is in the task's register, with the calendar's name,
and goes when the blackout is over. Under `first_after` one put-off execution *stands for* those before it, which are
coalesced into it.

**Exactly one outcome.** A slot that is skipped gets its event and nothing else, as for any other rule. One that is put
off is written ahead before the watermark passes it, so a crash finds it in the register or not at all, and then the
slot is decided afresh. When it goes is not stored: whoever leads asks the calendars as they are then (`departing`), so
a calendar that is changed, switched off or deleted lets it go earlier or later, and never loses it. A put-off execution
that another stands for is ended as a withdrawal is: the wish, with the run that stands for it, is in the register with
that run's own entry, and the event expects what is last on the chain.

**Its place.** It waits as a late slot does: it is in nobody's way, whatever the overlap policy, since everything live
goes first; unless the policy is `allow`, the put-off ones of a task go one after another. They go at the pace that
operators set for late slots. They do not expire while they wait.

Between the moment at which a calendar is stored and the one at which a process hears of it, slots are decided by the
calendar as it was. A new leader knows all that is stored before it decides anything.
"""

from __future__ import annotations

from typing import NamedTuple

from gnomon_core.timing import Blackouts, Touch
from gnomon_scheduler.decisions.overlapping import room_for
from gnomon_scheduler.decisions.slots import flight_of
from gnomon_scheduler.memory import Flight, Slot, TaskState
from gnomon_scheduler.registers import Cancelling
from gnomon_schemas.blackouts import BlackoutAction
from gnomon_schemas.clock_text import format_instant, slot_run
from gnomon_schemas.tasks import Overlap

__all__ = [
    "Inside",
    "decide_inside",
    "put_off",
    "room_to_put_off",
    "stands_for",
    "stands_for_earlier",
    "touch_of",
    "touch_words",
]


class Inside(NamedTuple):
    """What becomes of a slot inside a blackout."""

    touch: Touch
    flight: Flight | None = None
    """Its execution, to be written ahead; None: it does not run."""
    reason: str = ""
    """Why it does not run."""
    detail: str = ""
    instead_of: tuple[Cancelling, ...] = ()
    """The executions that its own stands for: to be ended with it."""


def touch_of(blackouts: Blackouts, task: TaskState, at_s: int) -> Touch | None:
    """What touches a slot of the task at an instant; None: nothing."""
    if not blackouts.in_force(at_s):
        return None
    spec = task.reg.spec
    return blackouts.touch(spec.tags, spec.task_type, task.reg.user_id, at_s)


def decide_inside(slot: Slot, touch: Touch, now_ms: int) -> Inside:
    """What becomes of a slot that is touched, at `now_ms`."""
    task = slot.task
    if touch.action is BlackoutAction.SKIP:
        return Inside(touch, reason="blackout", detail=touch_words(touch))
    alone = touch.action is BlackoutAction.FIRST_AFTER
    before = _put_off_before(task)
    if room_to_put_off(task) <= 0 and not (alone and before):
        detail = f"{len(before)} executions wait for the end of a blackout; catch_up.limit is {_limit(task)}"
        return Inside(touch, reason="limit", detail=detail)
    flight = put_off(slot, touch)
    return Inside(touch, flight, instead_of=stands_for(task, flight.run, touch, now_ms) if alone else ())


def put_off(slot: Slot, touch: Touch) -> Flight:
    """The execution of a slot that waits for the end of a blackout: to be written ahead.

    It keeps its jitter, so that what waited for one end does not all go in one moment.
    """
    flight = flight_of(slot, written=True, gated=slot.task.reg.spec.overlap is not Overlap.ALLOW, queued=True)
    flight.calendar_id, flight.expires_ms = touch.calendar_id, None
    flight.emit_ms = touch.until_s * 1000 + slot.emit_ms - slot.nominal_s * 1000
    return flight


def stands_for(task: TaskState, run: str, touch: Touch, now_ms: int) -> tuple[Cancelling, ...]:
    """The wishes to end what is put off already, since `run` stands for it."""
    return tuple(
        Cancelling(
            run=flight.run, reason="blackout", deadline_ms=now_ms, into=run, calendar_id=touch.calendar_id
        )
        for flight in _put_off_before(task)
        if flight.run != run
    )


def stands_for_earlier(slot: Slot, touch: Touch, now_ms: int) -> list[Cancelling]:
    """The same for a slot of a backlog, some of which comes after it: that runs by itself, as it would have on time."""
    task = slot.task
    later = {flight.run for flight in task.flights.values() if flight.scheduled_ms > slot.nominal_s * 1000}
    wishes = stands_for(task, slot_run(slot.nominal_s), touch, now_ms)
    return [wish for wish in wishes if wish.run not in later]


def room_to_put_off(task: TaskState) -> int:
    """How many more slots of the task may wait for the end of a blackout: as many as its catch-up takes."""
    return min(_limit(task) - len(_put_off_before(task)), room_for(task))


def touch_words(touch: Touch) -> str:
    """What a calendar does to a slot, in words."""
    until = format_instant(touch.until_s * 1000)
    match touch.action:
        case BlackoutAction.SKIP:
            return f"calendar {touch.calendar_id!r} skips what lies inside; blackouts until {until}"
        case BlackoutAction.FIRST_AFTER:
            return f"calendar {touch.calendar_id!r} lets one run stand for all at the end, {until}"
    return f"calendar {touch.calendar_id!r} puts it off until {until}"


def _put_off_before(task: TaskState) -> list[Flight]:
    return [
        flight for flight in task.flights.values() if flight.put_off and flight.run not in task.cancelling
    ]


def _limit(task: TaskState) -> int:
    return task.reg.spec.catch_up.limit
