"""Re-planning a task: another calendar moves its slots. See ADR 0015.

The new revision begins where the former leader stopped, at the latest instant of this task at which something was
decided. What the old revision has left up to there is reckoned by `before`, the schedule as it is under the rules that
were kept; all that comes after is the ordinary business of the new leader, by its own rules.
"""

from __future__ import annotations

from collections.abc import Collection
from typing import NamedTuple

import msgspec

from gnomon_core.timing import Difference, count_fires, fires, jitter_ms, last_fire
from gnomon_scheduler.decisions.closing import blackout_wishes, flights_left, slots_of_pause
from gnomon_scheduler.decisions.command import Decision, Surroundings
from gnomon_scheduler.decisions.counting import allowed, beyond, counted
from gnomon_scheduler.decisions.telling import about
from gnomon_scheduler.decisions.views import view
from gnomon_scheduler.memory import Slot, TaskState
from gnomon_schemas.clock_text import format_instant, slot_run
from gnomon_schemas.events import CalendarName, Coalesced, Event, Replanned
from gnomon_schemas.schedules import Schedule
from gnomon_schemas.tasks import Trigger

__all__ = ["Calendars", "compared_from_s", "decided_until_ms", "replan"]

_RUN_MAX = 100
"""Slots that are left behind and run one by one, besides those that wait for their jitter."""


class Calendars(NamedTuple):
    """What is told of the change."""

    old: CalendarName
    new: CalendarName
    changed: tuple[str, ...]
    """Names of the parts that differ and that the task depends on."""


def decided_until_ms(task: TaskState, watermark_ms: int, handled: Collection[int]) -> int:
    """The latest instant at which anything of the task's slots was decided: there the new revision begins.

    `handled`: nominal times of slots that were handed out, or had another outcome, after the watermark.
    """
    outline = task.outline
    slots = [flight.scheduled_ms for flight in task.flights.values() if flight.trigger is Trigger.SCHEDULE]
    slots += [nominal_s * 1000 for nominal_s in handled]
    return max(watermark_ms, outline.revision_from_ms, outline.cursor_s * 1000, *slots)


def compared_from_s(task: TaskState, watermark_ms: int, at_ms: int) -> int:
    """After which instant a slot may still be without outcome: from there on the calendars are compared."""
    outline = task.outline
    if outline.spec.schedule is None:
        return at_ms // 1000
    if outline.spec.paused:
        # A pause's slots are counted when it ends; one whose end was not stored any more may have been over.
        until_ms = task.reg.paused_until_ms
        return (at_ms if until_ms is None else min(at_ms, until_ms - 1)) // 1000
    return max(outline.cursor_s, _waiting_from_s(outline.spec.schedule, watermark_ms))


def replan(
    task: TaskState,
    before: Schedule,
    difference: Difference,
    calendars: Calendars,
    *,
    at_ms: int,
    watermark_ms: int,
    handled: Collection[int],
    around: Surroundings,
) -> Decision:
    """Give a task a new revision from `at_ms` on (`decided_until_ms`), and the slots up to there their outcome.

    `before` is its schedule under the rules that its slots were made by. `around.fingerprint` is the new calendar's.
    """
    old, at_s = task.reg, at_ms // 1000
    reg = msgspec.structs.replace(
        old,
        revision=old.revision + 1,
        revision_from_ms=at_ms,
        cursor_s=max(at_s, old.cursor_s),
        fingerprint=around.fingerprint,
    )
    decision = Decision(reg, slots_of_pause(old, before, at_s, around), rescheduled=True)
    if old.active and not old.exhausted:
        left = _Left(task, before, at_s, watermark_ms, handled)
        decision.waiting = flights_left(left.slots, around)
        decision.cancels = beyond(old, left.slots, around.now_ms)
        decision.cancels += blackout_wishes(left.slots, decision.cancels, around)
        # Nobody changed the schedule: what ran of it before counts on.
        decision.reg = reg = counted(reg, allowed(old, left.slots))
        decision.events += left.spans(around)
    decision.events.append(
        Replanned(
            **about(old, around),
            replanned_at=format_instant(at_ms),
            revision=reg.revision,
            old_calendar=calendars.old,
            new_calendar=calendars.new,
            changed=calendars.changed,
            first_difference=_instant(difference.first),
            old_next=_instant(difference.old_next),
            new_next=_instant(difference.new_next),
            appeared=difference.appeared,
            disappeared=difference.disappeared,
            task=view(
                reg,
                partition=around.partition,
                running=task.running,
                now_ms=around.now_ms,
                types=around.types,
            ),
        )
    )
    return decision


class _Left:
    """Slots of a revision that ends, after the watermark and up to its end, that nobody has handed out.

    Those past their nominal time at the watermark wait for their jitter, and there are few. Others there are only
    where the former leader died between handing out a slot and storing what it had decided about the ones before it.
    """

    def __init__(
        self,
        task: TaskState,
        before: Schedule,
        at_s: int,
        watermark_ms: int,
        handled: Collection[int],
    ) -> None:
        self._task, self._before = task, before
        gone = {flight.scheduled_ms // 1000 for flight in task.flights.values()}
        self._gone = sorted(gone.union(handled))
        self._from_s = max(task.reg.cursor_s, watermark_ms // 1000)
        waiting = self._waiting(watermark_ms)
        newest = self._newest(at_s)
        self.slots = [*waiting, *newest]
        """What runs, in order."""
        self._beyond = newest[0].nominal_s if len(newest) == _RUN_MAX else None
        """Before this one even more was left: it runs for them."""

    def _waiting(self, watermark_ms: int) -> list[Slot]:
        after_s = max(self._task.reg.cursor_s, _waiting_from_s(self._before, watermark_ms))
        slots = (self._slot(nominal) for nominal in fires(self._before, after_s, self._from_s))
        return [slot for slot in slots if slot.emit_ms > watermark_ms and slot.nominal_s not in self._gone]

    def _newest(self, at_s: int) -> list[Slot]:
        slots: list[Slot] = []
        nominal = last_fire(self._before, at_s)
        while nominal is not None and nominal > self._from_s and len(slots) < _RUN_MAX:
            if nominal not in self._gone:
                slots.append(self._slot(nominal))
            nominal = last_fire(self._before, nominal - 1)
        return slots[::-1]

    def _slot(self, nominal_s: int) -> Slot:
        jitter = jitter_ms(self._task.task_id, nominal_s, self._before.jitter_seconds or 0)
        return Slot(self._task, nominal_s, nominal_s * 1000 + jitter)

    def spans(self, around: Surroundings) -> list[Event]:
        """What lies before the slots that run, as spans around what was handed out."""
        if self._beyond is None:
            return []
        reg = self._task.reg
        spans: list[Event] = []
        cuts = [nominal for nominal in self._gone if self._from_s < nominal < self._beyond]
        for after_s, beyond_s in zip([self._from_s, *cuts], [*cuts, self._beyond], strict=True):
            count = count_fires(self._before, after_s, beyond_s - 1)
            if count:
                spans.append(
                    Coalesced(
                        **about(reg, around),
                        reason="replanned",
                        revision=reg.revision,
                        count=count,
                        task_type=reg.spec.task_type,
                        from_=format_instant((after_s + 1) * 1000),
                        to=format_instant(beyond_s * 1000),
                        into=slot_run(self._beyond),
                    )
                )
        return spans


def _waiting_from_s(schedule: Schedule, watermark_ms: int) -> int:
    """No slot up to here waits for its jitter at the watermark."""
    if not schedule.jitter_seconds:
        return watermark_ms // 1000
    return (watermark_ms - int(schedule.jitter_seconds * 1000)) // 1000 - 1


def _instant(at_s: int | None) -> str | None:
    return None if at_s is None else format_instant(at_s * 1000)
