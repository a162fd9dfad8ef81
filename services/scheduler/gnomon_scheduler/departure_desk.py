"""The departure desk: publishes dues, and decides when what is written ahead may go.

An execution that is in a register is *armed* for the time at which its due is to be published; then
`decisions.departing` says whether it goes. One whose type no live executor runs is *parked* until the members change: a
due that nobody can run would only fill its pool. One that lacks a unit of its pool or key waits in `admission`. Late
slots go after all others, when `late_runs` lets them; so do those that a blackout put off, once it is over.
"""

from __future__ import annotations

import heapq
from collections import deque
from collections.abc import Callable, Iterator
from functools import partial

from msgspec import UNSET

from gnomon_core.rules.task_type import resolve
from gnomon_core.rules.workless import is_workless
from gnomon_scheduler.admission import Admission
from gnomon_scheduler.blackout_catalogue import BlackoutCatalogue
from gnomon_scheduler.book import Armed, Book
from gnomon_scheduler.decisions.blackouts import touch_of
from gnomon_scheduler.decisions.departing import Departure, departure
from gnomon_scheduler.decisions.grounds import account_detail, hindered_by, key_detail
from gnomon_scheduler.decisions.queue import Item
from gnomon_scheduler.decisions.views import optional_instant
from gnomon_scheduler.dues import due_of
from gnomon_scheduler.emission import OutgoingDue
from gnomon_scheduler.late_runs import LateKey, LateRuns
from gnomon_scheduler.memory import Flight, TaskState
from gnomon_scheduler.telling_desk import TellingDesk
from gnomon_scheduler.type_catalogue import TypeCatalogue
from gnomon_scheduler.units import Unit
from gnomon_schemas.clock_text import format_instant
from gnomon_schemas.events import Event, Missed, Skipped

__all__ = ["DepartureDesk"]

_DUES_A_TURN = 1500
_LOOKED_AT_A_TURN = 5000
"""So many are looked at in a turn that may go, or have to wait for something else."""
_DISCARDS_A_TURN = 500
_TAKEN_UP_A_TURN = 2000
"""So many of each kind of what waited elsewhere are looked at in a turn: there may be a hundred thousand, and the
process has leases to keep."""

Ready = tuple[TaskState, Flight]


class DepartureDesk:
    """Publishes the dues of one shard."""

    def __init__(
        self,
        book: Book,
        types: TypeCatalogue,
        admission: Admission,
        telling: TellingDesk,
        blackouts: BlackoutCatalogue,
        ended_unseen: Callable[[TaskState, Flight], None],
        *,
        catch_up_rate: float,
        catch_up_hold_above: float,
    ) -> None:
        self._book, self._types, self._ended_unseen = book, types, ended_unseen
        self._admission, self._telling, self._blackouts = admission, telling, blackouts
        self._parked: set[tuple[str, str]] = set()
        self._late_parked: dict[str, list[LateKey]] = {}
        """Late slots whose pool is paused, by pool."""
        self._let_in: deque[LateKey] = deque()
        """Late slots whose pool is paused no more."""
        self._unparked: deque[tuple[str, str]] = deque()
        """What was parked, to be looked at again since other types are live."""
        self._in_blackouts: deque[str] = deque()
        """Tasks whose executions are to be looked at again since calendars are others."""
        self.late = LateRuns(
            self._find, book.catch_up_order, rate=catch_up_rate, hold_above=catch_up_hold_above
        )
        """Late slots that wait."""

    def next_ms(self, now_ms: int) -> int | None:
        """When something may go that is not armed for a time; None: nothing waits for that."""
        return now_ms if self._let_in or self._unparked or self._in_blackouts else self.late.next_ms(now_ms)

    def runnable(self, task: TaskState) -> bool:
        """Whether a live executor of its pool runs the task's type."""
        return self._types.is_live(self.pool(task), task.reg.spec.task_type)

    def pool(self, task: TaskState) -> str:
        """The pool of the task's executions."""
        return resolve(task.reg.spec, self._types.known).pool

    async def emit(self, flights: list[Ready]) -> None:
        """Publish the dues of some executions, fenced. Raises Deposed."""
        if not flights:
            return
        emitted: list[Flight] = []
        sequences = await self._book.emitter.emit(self._dues(flights, emitted))
        for flight, seq in zip(emitted, sequences, strict=True):
            flight.due_seq = seq
        published_ms = self._book.now_ms()
        self._book.measures.fired([(published_ms - flight.emit_ms, flight.trigger) for flight in emitted])

    def _dues(self, flights: list[Ready], emitted: list[Flight]) -> Iterator[OutgoingDue]:
        """The dues of some executions, made as they are asked for; `emitted` is told whose they are."""
        for task, flight in flights:
            if task.task_id in self._book.aside:
                # Set aside meanwhile, over another one of it: nobody would fold what becomes of this one.
                self._stays(task, flight)
                continue
            try:
                due = self._due(task, flight)
            except Exception as error:
                # First of all: of a task that is set aside, what is out is seen to its end, and this never ends.
                flight.emitted = False
                if not self._book.aside.takes(task.task_id, "making a due", error):
                    raise
                continue
            flight.emitted = True
            emitted.append(flight)
            yield due

    def _stays(self, task: TaskState, flight: Flight) -> None:
        """An execution that was to go is not handed out by this leader: what it held is free."""
        flight.emitted = False
        self._admission.release(task, flight, over=True)

    def _due(self, task: TaskState, flight: Flight) -> OutgoingDue:
        with self._book.measures.firing(task, flight) as traceparent:
            # The next attempt, if there is one, continues this one's trace.
            flight.traceparent = traceparent
            return due_of(
                task,
                flight,
                partition=self._book.partition,
                epoch=self._book.epoch,
                types=self._types.known,
                traceparent=traceparent,
            )

    def unpark(self) -> None:
        """Other types are live now: look again at what waits for an executor."""
        self._unparked.extend(self._parked)
        self._parked.clear()

    def pools_changed(self) -> None:
        """Something was set of a pool: late slots may go on, at their pace, into one that is paused no more."""
        for pool in [pool for pool in self._late_parked if not self._admission.paused(pool)]:
            self._let_in.extend(self._late_parked.pop(pool))

    def _take_up(self) -> None:
        for _ in range(min(_TAKEN_UP_A_TURN, len(self._let_in))):
            key = self._let_in.popleft()
            flight = self._find(*key)
            if flight is not None and flight.waits_late:
                self.late.add(key.task_id, flight)
        for _ in range(min(_TAKEN_UP_A_TURN, len(self._unparked))):
            task_id, run = self._unparked.popleft()
            flight = self._find(task_id, run)
            if flight is not None:
                self._book.arm(task_id, flight)
        for _ in range(min(_TAKEN_UP_A_TURN, len(self._in_blackouts))):
            task = self._book.memory.in_flight.get(self._in_blackouts.popleft())
            for flight in task.flights.values() if task is not None else ():
                if task is not None and flight.put_off:
                    self._look_at_once(task, flight)

    def look_again(self, task: TaskState) -> None:
        """The task has changed: what of it waits for an executor, a pool or a key may need another one now."""
        for flight in task.flights.values():
            if flight.written and not flight.emitted:
                self._admission.release(task, flight, over=flight.attempt == 1)
                if flight.put_off:
                    self._look_at_once(task, flight)
                else:
                    self._book.arm(task.task_id, flight)

    def calendars_changed(self) -> None:
        """Calendars of blackouts are others now: what they put off may go earlier."""
        self._in_blackouts = deque(self._book.memory.in_flight)

    def _look_at_once(self, task: TaskState, flight: Flight) -> None:
        heapq.heappush(self._book.armed, Armed(0, task.task_id, flight.run))

    async def publish_armed(self, now_ms: int) -> None:
        """Publish the dues of what is written ahead and may go now. Raises Deposed."""
        ready: list[Ready] = []
        units: list[Unit] = []
        armed = self._book.armed
        over: dict[str, list[Flight]] = {}
        self._take_up()
        for _ in range(_LOOKED_AT_A_TURN):
            if not armed or armed[0].at_ms > now_ms or len(ready) >= _DUES_A_TURN:
                break
            _, task_id, run = heapq.heappop(armed)
            task, flight = self._waiting(task_id, run)
            if task is None or flight is None:
                continue
            with self._book.aside.task(task_id, "handing out what was written ahead"):
                if flight.put_off and self._inside(task, flight, now_ms):
                    continue
                if flight.put_off and not flight.late_ms:
                    over.setdefault(task_id, []).append(flight)
                elif flight.waits_late:
                    self.late.add(task_id, flight)
                else:
                    self._depart(task, flight, now_ms, ready, units)
        for task_id, flights in over.items():
            with self._book.aside.task(task_id, "finding a blackout over"):
                units.append(self._found_late(task_id, flights, now_ms))
        if not (armed and armed[0].at_ms <= now_ms) and not self._book.memory.behind(now_ms):
            self._let_late_ones_go(now_ms, ready, units)
        self._let_admitted_go(now_ms, ready, units)
        self._discard_late_ones(now_ms, units)
        await self.emit(ready)
        if units:
            await self._book.store(units, self._book.watermark_ms)

    def _inside(self, task: TaskState, flight: Flight, now_ms: int) -> bool:
        """Whether a blackout is in force for an execution that is put off; it is looked at again at the end then."""
        touch = touch_of(self._blackouts.present, task, now_ms // 1000)
        if touch is None:
            return False
        flight.emit_ms = touch.until_s * 1000 + flight.due_ms - flight.scheduled_ms
        self._book.arm(task.task_id, flight)
        return True

    def _found_late(self, task_id: str, flights: list[Flight], now_ms: int) -> Unit:
        """The blackout is over that put these off: they are late ones from now on.

        Since when is stored before any of them goes, so that an operator's order about what was late by then holds
        under the next leader too.
        """
        for flight in flights:
            flight.late_ms = now_ms
        unit = self._book.unit(self._book.memory.tasks[task_id])
        for flight in flights:
            unit.when_stored(partial(self.late.add, task_id, flight))
        return unit

    def _depart(
        self, task: TaskState, flight: Flight, now_ms: int, ready: list[Ready], units: list[Unit]
    ) -> None:
        """Decide about one execution whose time has come: `ready` are those that go."""
        if not self._may_go(task, flight, now_ms, units):
            return
        if flight.waits_late:
            # Also where it has to wait for its pool: what is let go from there is bounded by the pool alone.
            self.late.let_go()
        if is_workless(task.reg.spec.task_type):
            units.append(self._tell(task, flight, now_ms))
        elif self._admission.admit(task, flight, self.pool(task)):
            self._go(task, flight, now_ms, ready)

    def _tell(self, task: TaskState, flight: Flight, now_ms: int) -> Unit:
        """An execution of a type without work: it is over when that is stored."""
        if flight.waits_late:
            self.late.over(LateKey(task.task_id, flight.run))
        flight.gated, flight.emitted = False, True
        unit = self._telling.tell(task, flight, now_ms)
        unit.when_stored(partial(self._ended_unseen, task, flight))
        return unit

    def _go(self, task: TaskState, flight: Flight, now_ms: int, ready: list[Ready]) -> None:
        if flight.waits_late:
            # Late as it is, it has as long to be claimed as one that came on time.
            flight.expires_ms = now_ms + int(task.reg.spec.expires_after_seconds * 1000)
            self.late.over(LateKey(task.task_id, flight.run))
        flight.gated, flight.emitted = False, True
        ready.append((task, flight))

    def _may_go(self, task: TaskState, flight: Flight, now_ms: int, units: list[Unit]) -> bool:
        """Whether an execution may go, but for its pool and key."""
        if flight.put_off and self._inside(task, flight, now_ms):
            return False
        match departure(task, flight, now_ms, runnable=self.runnable(task)):
            case Departure.GO:
                return True
            case Departure.NO_EXECUTOR:
                self._parked.add((task.task_id, flight.run))
            case Departure.EXPIRED:
                detail = f"it could not be handed out by {optional_instant(flight.expires_ms)}"
                units.append(self._drop(task, flight, Missed, "expired", detail, now_ms))
            case Departure.GIVE_WAY:
                units.append(self._drop(task, flight, Skipped, "overlap", hindered_by(task, flight), now_ms))
        return False

    def _let_admitted_go(self, now_ms: int, ready: list[Ready], units: list[Unit]) -> None:
        """Let those go that have waited for their pool or key, and end those that may not wait for it."""

        def may_go(task: TaskState, flight: Flight) -> bool:
            _, waiting = self._waiting(task.task_id, flight.run)
            with self._book.aside.task(task.task_id, "handing out what has waited"):
                return waiting is flight and self._may_go(task, flight, now_ms, units)
            return False

        def go(item: Item) -> None:
            with self._book.aside.task(item.task.task_id, "handing out what has waited"):
                self._go(item.task, item.flight, now_ms, ready)

        self._admission.let_go(may_go, go, max(0, _DUES_A_TURN - len(ready)))
        for item, reason in self._admission.turned_away():
            with self._book.aside.task(item.task.task_id, "turning an execution away"):
                units.append(self._refuse(item, reason, now_ms))

    def _refuse(self, item: Item, reason: str, now_ms: int) -> Unit:
        """End an execution that its key, or the credits or limits of its user, do not let go."""
        task, flight = item.task, item.flight
        if flight.waits_late:
            self.late.over(LateKey(task.task_id, flight.run))
        detail = key_detail(task.reg.spec) if reason == "key" else account_detail(task, reason)
        return self._drop(task, flight, Skipped, reason, detail, now_ms)

    def _let_late_ones_go(self, now_ms: int, ready: list[Ready], units: list[Unit]) -> None:
        """After everything live, and when the shard has decided all that is late: as many as the rate allows."""
        self.late.look(now_ms)
        for _ in range(_LOOKED_AT_A_TURN):
            key = self.late.take(now_ms) if len(ready) < _DUES_A_TURN else None
            if key is None:
                return
            task, flight = self._waiting(*key)
            if task is None or flight is None:
                continue
            pool = self.pool(task)
            if self._admission.paused(pool):
                # In the queue of the pool it would wait too, and leave it with all others in the moment it opens.
                self._late_parked.setdefault(pool, []).append(key)
                continue
            with self._book.aside.task(task.task_id, "handing out a late slot"):
                self._depart(task, flight, now_ms, ready, units)

    def _discard_late_ones(self, now_ms: int, units: list[Unit]) -> None:
        for _ in range(_DISCARDS_A_TURN):
            key = self.late.take_discarded()
            if key is None:
                return
            self.late.over(key)
            task, flight = self._waiting(*key)
            if task is not None and flight is not None:
                detail = "an operator discarded what was late"
                with self._book.aside.task(task.task_id, "discarding a late slot"):
                    units.append(self._drop(task, flight, Missed, "catch_up_skip", detail, now_ms))

    def _find(self, task_id: str, run: str) -> Flight | None:
        task = self._book.memory.tasks.get(task_id)
        return None if task is None else task.flights.get(run)

    def _waiting(self, task_id: str, run: str) -> tuple[TaskState | None, Flight | None]:
        """A task and its execution that waits to be handed out; None where there is none, or it is being ended."""
        task = self._book.memory.tasks.get(task_id)
        flight = None if task is None else task.flights.get(run)
        if task is None or flight is None or flight.emitted or run in task.cancelling:
            return task, None
        return task, flight

    def _drop(
        self,
        task: TaskState,
        flight: Flight,
        kind: type[Skipped] | type[Missed],
        reason: str,
        detail: str,
        now_ms: int,
    ) -> Unit:
        """End an execution that was written ahead and never handed out."""
        event = self.no_run(kind, task, flight, reason, detail, now_ms)
        unit = Unit(notes=[self._book.note(event, run=flight.run, expected=flight.cause_seq)])
        self._book.measures.outcome(event)
        # At once: until its event is folded it would be looked at again, and end twice.
        unit.when_stored(partial(self._ended_unseen, task, flight))
        return unit

    def no_run(
        self,
        kind: type[Skipped] | type[Missed],
        task: TaskState,
        flight: Flight,
        reason: str,
        detail: str,
        now_ms: int,
        calendar_id: str | None = None,
    ) -> Event:
        """The event of an execution that does not run. `detail`: what that rests on; `calendar_id`: of the calendar
        of blackouts by which it does not."""
        return kind(
            task_id=task.task_id,
            user_id=task.reg.user_id,
            partition=self._book.partition,
            occurred_at=format_instant(now_ms),
            reason=reason,
            revision=flight.revision,
            execution_id=f"{task.task_id}.{flight.run}",
            run=flight.run,
            task_type=task.reg.spec.task_type,
            attempt=flight.attempt,
            trigger=flight.trigger,
            scheduled_for=format_instant(flight.scheduled_ms),
            due_at=format_instant(flight.due_ms),
            detail=detail,
            calendar_id=calendar_id or UNSET,
        )
