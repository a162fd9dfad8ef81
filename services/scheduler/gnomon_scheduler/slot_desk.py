"""The slot desk: hands out slots as they come due.

See `decisions.slots` for what becomes of a slot. Two ways lead to a due: a *plain* slot is published at once and only
the watermark tells of it; anything else is in a register first, and from there on it is the departure desk's.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable
from functools import partial

import msgspec
from msgspec import UNSET

from gnomon_core.rules.task_type import resolve
from gnomon_core.runtime.bus import Bus
from gnomon_core.runtime.bus_errors import NoAnswer
from gnomon_core.timing import Touch
from gnomon_scheduler.admission import Admission
from gnomon_scheduler.blackout_catalogue import BlackoutCatalogue
from gnomon_scheduler.book import Book
from gnomon_scheduler.decisions.blackouts import (
    decide_inside,
    put_off,
    stands_for_earlier,
    touch_of,
    touch_words,
)
from gnomon_scheduler.decisions.catching_up import Backlog, catch_up, late_flight, waiting_flight
from gnomon_scheduler.decisions.counting import allowed, counted
from gnomon_scheduler.decisions.grounds import (
    account_detail,
    crowd_detail,
    hindered_by,
    runs_used_up,
    waits_for,
)
from gnomon_scheduler.decisions.overlapping import replaced
from gnomon_scheduler.decisions.slots import Course, course_of, flight_of
from gnomon_scheduler.departure_desk import DepartureDesk
from gnomon_scheduler.lateness_desk import LatenessDesk
from gnomon_scheduler.memory import Flight, Slot, TaskState
from gnomon_scheduler.registers import Cancelling
from gnomon_scheduler.telling_desk import TellingDesk
from gnomon_scheduler.type_catalogue import TypeCatalogue
from gnomon_scheduler.units import Note, Unit
from gnomon_schemas import subjects
from gnomon_schemas.blackouts import BlackoutAction
from gnomon_schemas.clock_text import format_instant
from gnomon_schemas.events import TERMINAL, Queued, Skipped
from gnomon_schemas.tasks import Overlap

__all__ = ["SlotDesk"]

_SLOTS_A_TURN = 1500
_SLOTS_A_ROUND = 500


class SlotDesk:
    """Hands out the slots of one shard."""

    def __init__(
        self,
        bus: Bus,
        book: Book,
        types: TypeCatalogue,
        departures: DepartureDesk,
        admission: Admission,
        telling: TellingDesk,
        blackouts: BlackoutCatalogue,
        after_end: Callable[[TaskState], None],
        ended_unseen: Callable[[TaskState, Flight], None],
        wish: Callable[[TaskState, Cancelling], None],
        lateness: LatenessDesk,
        *,
        cancel_grace_ms: int,
    ) -> None:
        self._bus, self._book, self._types, self._departures = bus, book, types, departures
        self._admission, self._telling, self._blackouts = admission, telling, blackouts
        self._after_end, self._ended_unseen, self._wish = after_end, ended_unseen, wish
        self._lateness = lateness
        self._cancel_grace_ms = cancel_grace_ms
        self.ahead: dict[str, int] = {}
        """Tasks of which a slot after the instant that `hand_out` told was handed out, and when that slot was due.

        A turn may end among the slots of one instant. The revision of these tasks lasts until theirs, or a change
        decided before it would take the slot for one of its own."""

    async def hand_out(self, now_ms: int) -> tuple[list[Unit], int, bool]:
        """Publish the plain slots up to `now_ms` and decide the others.

        Returns the units to store, up to when all slots were handed out, and whether any was. Raises Deposed.

        Up to the watermark it is all of them, however many: commands are decided by that. Some are left before it only
        of tasks that are tried again after they were set aside, of each as many as are not late yet.
        """
        memory = self._book.memory
        units: list[Unit] = []
        plain: list[tuple[TaskState, Flight]] = []
        count = 0
        while count < _SLOTS_A_TURN or memory.behind(self._book.watermark_ms):
            if count < _SLOTS_A_TURN:
                slots = memory.pop_due(now_ms, _SLOTS_A_TURN - count)
            else:
                await asyncio.sleep(0)  # the process has other shards, and leases
                slots = memory.pop_due(self._book.watermark_ms, _SLOTS_A_ROUND)
            self._book.aside.found_failing()
            if not slots:
                break
            count += len(slots)
            replanned: set[str] = set()
            for slot in slots:
                task_id = slot.task.task_id
                if task_id in self._book.aside:
                    continue
                self.ahead[task_id] = slot.emit_ms
                try:
                    if self._was_handled(slot):
                        # It may have ended before this leader began, and have been its task's last.
                        self._after_end(slot.task)
                    elif task_id not in replanned:
                        await self._look_at(slot, now_ms, plain, units, replanned)
                except Exception as error:
                    if not self._book.aside.takes(task_id, "handing out a slot", error):
                        raise
        due_ms = memory.next_due_ms()
        until_ms = now_ms if due_ms is None or due_ms > now_ms else max(self._book.watermark_ms, due_ms - 1)
        self.ahead = {task_id: at_ms for task_id, at_ms in self.ahead.items() if at_ms > until_ms}
        await self._departures.emit(plain)
        return units, until_ms, count > 0

    def _was_handled(self, slot: Slot) -> bool:
        handled = self._book.memory.handled.get(slot.task.task_id)
        return handled is not None and slot.nominal_s in handled

    async def _look_at(
        self,
        slot: Slot,
        now_ms: int,
        plain: list[tuple[TaskState, Flight]],
        units: list[Unit],
        replanned: set[str],
    ) -> None:
        task = slot.task
        if task.reg.exhausted:
            return  # what comes after the last one is no slot
        course = course_of(task, slot.emit_ms, now_ms, runnable=self._departures.runnable(task))
        if course is not Course.LATE:
            touch = touch_of(self._blackouts.present, task, slot.nominal_s)
            if touch is not None:
                units.append(self._inside(slot, touch, now_ms))
                return
        if course is Course.SKIP_OVERLAP and await self._clear_ghosts(task, now_ms):
            course = course_of(task, slot.emit_ms, now_ms, runnable=self._departures.runnable(task))
        if course is not Course.EMIT:
            units.append(self._unit_of(course, slot, now_ms))
            if course is Course.LATE:
                replanned.add(task.task_id)
            return
        pool = self._departures.pool(task)
        hindrance = self._admission.hindrance(task, pool)
        if hindrance is None:
            flight = flight_of(slot, written=False)
            self._book.take_off(task, flight)
            self._admission.take(task, flight, pool)
            plain.append((task, flight))
        else:
            units.append(self._wait_for_unit(slot, now_ms, hindrance))

    def _unit_of(self, course: Course, slot: Slot, now_ms: int) -> Unit:
        """What is stored of a slot that is not plain."""
        task = slot.task
        match course:
            case Course.TELL:
                return self._tell(slot, now_ms)
            case Course.WAIT_FOR_OTHERS:
                return self._write_ahead(slot, now_ms, gated=True, reason="overlap")
            case Course.REPLACE_OTHERS:
                return self._replace_others(slot, now_ms)
            case Course.SKIP_OVERLAP:
                return self._skip(slot, "overlap", hindered_by(task), now_ms)
            case Course.SKIP_LIMIT:
                return self._skip(slot, "limit", crowd_detail(task), now_ms)
            case Course.LATE:
                return self._catch_up(slot, now_ms)
        return self._write_ahead(slot, now_ms, gated=False)

    def _inside(self, slot: Slot, touch: Touch, now_ms: int) -> Unit:
        """A slot that a calendar of blackouts touches."""
        task, inside = slot.task, decide_inside(slot, touch, now_ms)
        if inside.flight is None:
            return self._skip(slot, inside.reason, inside.detail, now_ms, touch.calendar_id)
        # One that stands for others takes the place that they were counted for.
        notes = [] if inside.instead_of else self._count(slot, now_ms)
        notes.append(self._queued(task, inside.flight, now_ms, "blackout", touch))
        self._book.take_off(task, inside.flight)
        self._book.arm_once_stored(task.task_id, inside.flight)
        return self._unit_with_wishes(task, notes, inside.instead_of)

    def _unit_with_wishes(self, task: TaskState, notes: list[Note], wishes: Iterable[Cancelling]) -> Unit:
        """The task's register with wishes to end executions, which are known once it is stored."""
        items = list(wishes)
        for item in items:
            task.wish(item)
        unit = self._book.unit(task, notes)
        for item in items:
            unit.when_stored(partial(self._wish, task, item))
        return unit

    def _tell(self, slot: Slot, now_ms: int) -> Unit:
        """A slot of a type without work. Its end is folded like any other's."""
        counts = slot.task.reg.runs_left is not None
        notes = self._count(slot, now_ms)
        flight = flight_of(slot, written=False)
        return self._telling.tell(slot.task, flight, now_ms, changed=counts, notes=notes)

    def _write_ahead(self, slot: Slot, now_ms: int, *, gated: bool, reason: str | None = None) -> Unit:
        """Put the slot's execution in the register; with a reason to wait it also says so on its chain."""
        task = slot.task
        flight = flight_of(slot, written=True, gated=gated, queued=reason is not None)
        notes = self._count(slot, now_ms)
        if reason is not None:
            notes.append(self._queued(task, flight, now_ms, reason))
        self._book.take_off(task, flight)
        self._book.arm_once_stored(task.task_id, flight)
        return self._book.unit(task, notes)

    def _count(self, slot: Slot, now_ms: int) -> list[Note]:
        """Count a slot that goes into the register; after the last one the task has none any more.

        The events of those that still wait for their jitter then.
        """
        task, memory = slot.task, self._book.memory
        if task.reg.runs_left is None:
            return []
        waiting = memory.waiting_for_jitter(task, slot.emit_ms)
        task.reg = counted(task.reg, [slot])
        if not task.reg.exhausted:
            return []
        memory.schedule(task, self._book.watermark_ms)
        return [self._skipped(other, "limit", runs_used_up(task.reg.spec), now_ms) for other in waiting]

    def _wait_for_unit(self, slot: Slot, now_ms: int, hindrance: str) -> Unit:
        """Put the slot's execution in the register until its pool, key or user's account lets it go; or skip it, where
        that is known to refuse it.

        Where it may not wait for its key nothing is said on its chain: it goes, or is skipped, a moment later. So it
        does where its user's account is asked, unless as many of the user's executions are in flight as may be.
        """
        if hindrance in {"credits", "limit"}:
            return self._skip(slot, hindrance, account_detail(slot.task, hindrance), now_ms)
        patient = slot.task.reg.spec.overlap is not Overlap.SKIP
        match hindrance:
            case "account":
                reason = "limit" if patient and self._admission.crowded(slot.task) else None
            case "key":
                reason = "key" if patient else None
            case _:
                reason = hindrance
        return self._write_ahead(slot, now_ms, gated=False, reason=reason)

    def _replace_others(self, slot: Slot, now_ms: int) -> Unit:
        """Put the slot's execution in the register, and with it the wish to end what is in its way."""
        task = slot.task
        wishes = replaced(task, now_ms + self._cancel_grace_ms)
        for item in wishes:
            task.wish(item)
        unit = self._write_ahead(slot, now_ms, gated=True, reason="overlap")
        for item in wishes:
            unit.when_stored(partial(self._wish, task, item))
        return unit

    def _queued(
        self, task: TaskState, flight: Flight, now_ms: int, reason: str, touch: Touch | None = None
    ) -> Note:
        detail = waits_for(task, reason, self._departures.pool(task)) if touch is None else touch_words(touch)
        event = Queued(
            task_id=task.task_id,
            user_id=task.reg.user_id,
            partition=self._book.partition,
            occurred_at=format_instant(now_ms),
            execution_id=f"{task.task_id}.{flight.run}",
            run=flight.run,
            task_type=task.reg.spec.task_type,
            attempt=1,
            trigger=flight.trigger,
            scheduled_for=format_instant(flight.scheduled_ms),
            due_at=format_instant(flight.due_ms),
            revision=flight.revision,
            reason=reason,
            detail=detail or UNSET,
            calendar_id=UNSET if touch is None else touch.calendar_id,
        )
        return self._book.chain_head(flight, event)

    def _skip(
        self, slot: Slot, reason: str, detail: str, now_ms: int, calendar_id: str | None = None
    ) -> Unit:
        """A slot that does not run."""
        unit = Unit(notes=[self._skipped(slot, reason, detail, now_ms, calendar_id)])
        unit.when_stored(lambda: self._after_end(slot.task))
        return unit

    def _skipped(
        self, slot: Slot, reason: str, detail: str, now_ms: int, calendar_id: str | None = None
    ) -> Note:
        """The event of a slot that does not run, on its own chain. Nobody else writes there: no due of it was ever
        published."""
        flight = flight_of(slot, written=False)
        event = self._departures.no_run(Skipped, slot.task, flight, reason, detail, now_ms, calendar_id)
        self._book.measures.outcome(event)
        return self._book.note(event, run=flight.run, expected=0)

    def _catch_up(self, first: Slot, now_ms: int) -> Unit:
        """Decide a task's backlog from `first` on: spans, cursor and the slots that run, in one unit."""
        task = first.task
        handled = self._book.memory.handled.get(task.task_id, ())
        present, spec = self._blackouts.present, task.reg.spec
        calendars = present.of(spec.tags, spec.task_type, task.reg.user_id) if present else ()
        backlog = catch_up(
            first, now_ms, partition=self._book.partition, handled=handled, calendars=calendars
        )
        notes = [self._book.note(event) for event in backlog.events]
        for event in backlog.events:
            self._book.measures.outcome(event)
        notes += [self._book.note(event) for event in self._lateness.missed_in_bulk(task, backlog.events)]
        task.reg = msgspec.structs.replace(task.reg, cursor_s=max(task.reg.cursor_s, backlog.cursor_s))
        flights: list[Flight] = []
        for slot in backlog.runs:
            late = late_flight(slot, now_ms)
            if late is None:
                notes.append(self._skipped(slot, "overlap", hindered_by(task), now_ms))
            else:
                flights.append(late)
                task.reg = counted(task.reg, [slot])
        coming = self._coming(task, backlog, notes, now_ms)
        in_time = allowed(task.reg, [slot for slot, _ in coming])
        stands: tuple[Slot, Touch] | None = None
        for slot, touch in coming:
            if slot not in in_time:
                notes.append(self._skipped(slot, "limit", runs_used_up(task.reg.spec), now_ms))
            elif touch is None:
                flights.append(waiting_flight(slot))
            else:
                flights.append(put_off(slot, touch))
                notes.append(self._queued(task, flights[-1], now_ms, "blackout", touch))
                if touch.action is BlackoutAction.FIRST_AFTER:
                    stands = slot, touch
        for flight in flights:
            self._book.take_off(task, flight)
            self._book.arm_once_stored(task.task_id, flight)
        wishes: list[Cancelling] = []
        if stands is not None:
            wishes = stands_for_earlier(*stands, now_ms)
            if wishes:
                # It takes the place that they were counted for.
                in_time.remove(stands[0])
        task.reg = counted(task.reg, in_time)
        self._book.memory.schedule(task, self._book.watermark_ms)
        unit = self._unit_with_wishes(task, notes, wishes)
        if not task.flights:
            unit.when_stored(lambda: self._after_end(task))
        return unit

    def _coming(
        self, task: TaskState, backlog: Backlog, notes: list[Note], now_ms: int
    ) -> list[tuple[Slot, Touch | None]]:
        """The slots of a backlog that are to come, with the blackouts that put them off; `notes` are told of others."""
        coming: list[tuple[Slot, Touch | None]] = [*backlog.put_off]
        for slot in backlog.waiting:
            touch = touch_of(self._blackouts.present, task, slot.nominal_s)
            if touch is not None and touch.action is BlackoutAction.SKIP:
                notes.append(self._skipped(slot, "blackout", touch_words(touch), now_ms, touch.calendar_id))
            else:
                coming.append((slot, touch))
        return coming

    async def _clear_ghosts(self, task: TaskState, now_ms: int) -> bool:
        """Before a skip for something older than its timeout: has that ended unseen? True where something had.

        An execution that ended before this leader's fold position must not block its task for ever.
        """
        timeout_ms = int(resolve(task.reg.spec, self._types.known).timeout_seconds * 1000)
        cleared = False
        for flight in list(task.flights.values()):
            if flight.gated or now_ms - flight.due_ms <= timeout_ms:
                continue
            try:
                last = await self._bus.last(
                    subjects.EVENTS_STREAM, subjects.chain(self._book.partition, task.task_id, flight.run)
                )
            except NoAnswer:
                continue
            if last is None or last.seq > self._book.memory.position:
                continue
            if subjects.parse_event(last.subject).name in TERMINAL:
                self._ended_unseen(task, flight)
                cleared = True
        return cleared
