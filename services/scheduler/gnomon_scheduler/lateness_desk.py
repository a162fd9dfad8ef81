"""The lateness desk: finds out which slots of tasks with an objective start late. See `decisions.lateness`.

It hears of starts and missed slots as they are folded, of slots that were missed in bulk when that is decided, and
looks by itself when a promise has passed. What it decides goes into the task's register, and the event with it.
"""

from __future__ import annotations

from collections.abc import Iterable

import msgspec

from gnomon_core.timing import last_fire
from gnomon_scheduler.book import Book
from gnomon_scheduler.decisions.lateness import LateSlot, allowed_ms, kept_again, late, promise_ms
from gnomon_scheduler.memory import Flight, TaskState
from gnomon_schemas.clock_text import instant_ms, slot_run
from gnomon_schemas.events import Event, Missed, SlotOutcome, Started
from gnomon_schemas.tasks import Trigger

__all__ = ["LatenessDesk"]


class LatenessDesk:
    """Judges the slots of one shard. To be used inside a turn, or before the first one."""

    def __init__(self, book: Book, quiet_ms: int) -> None:
        self._book, self._quiet_ms = book, quiet_ms

    @property
    def next_ms(self) -> int | None:
        """When a promise passes next; None: there is none."""
        return self._book.lateness.next_ms

    def work(self, now_ms: int) -> None:
        """Find the slots whose promise has passed."""
        for task_id in self._book.lateness.pop(now_ms):
            task = self._book.memory.tasks.get(task_id)
            if task is None:
                continue
            with self._book.aside.task(task_id, "judging its lateness"):
                self._judge(task, now_ms)

    def _judge(self, task: TaskState, now_ms: int) -> None:
        for flight in list(task.flights.values()):
            promise = promise_ms(task, flight)
            if promise is not None and promise < now_ms:
                flight.found_late = True
                due_ms = max(flight.due_ms, flight.emit_ms)
                self._count(task, in_time=False)
                slot = LateSlot(flight.run, flight.due_ms, now_ms - due_ms, now_ms, "not_started")
                self._note_late(task, slot)
                self._book.touch(task)
        self._book.lateness.watch_all(task)

    def folded(
        self, task: TaskState, flight: Flight | None, seq: int, event: Event, *, first_start: bool
    ) -> None:
        """An event of an execution was folded, for the first time.

        `flight`: the execution, where it was known before. `first_start`: it had not started.
        """
        allowed = allowed_ms(task.reg)
        if allowed is None:
            return
        if isinstance(event, Started):
            if first_start:
                self._started(task, flight, seq, event, allowed)
        elif isinstance(event, Missed) and event.trigger is Trigger.SCHEDULE and event.run is not None:
            self._missed(task, flight, seq, event)

    def missed_in_bulk(self, task: TaskState, spans: Iterable[SlotOutcome]) -> list[Event]:
        """Slots are missed without ever having been on their way: the events to store with that decision."""
        missed = [span for span in spans if isinstance(span, Missed) and span.to is not None]
        schedule = task.reg.spec.schedule
        if not missed or schedule is None or allowed_ms(task.reg) is None:
            return []
        newest = missed[-1]
        at_ms = instant_ms(newest.occurred_at)
        nominal = last_fire(schedule, instant_ms(newest.to or newest.occurred_at) // 1000 - 1)
        assert nominal is not None  # a span has a slot
        self._count(task, in_time=False, slots=sum(span.count for span in missed))
        slot = LateSlot(slot_run(nominal), nominal * 1000, at_ms - nominal * 1000, at_ms, "missed")
        task.reg, event = late(task.reg, slot, self._book.partition)
        self._book.memory.note_objective(task)
        return [] if event is None else [event]

    def _started(
        self, task: TaskState, flight: Flight | None, seq: int, event: Started, allowed: int
    ) -> None:
        if event.trigger is not Trigger.SCHEDULE or event.attempt > 1 or event.takeovers or event.released:
            return
        due_ms, started_ms = instant_ms(event.due_at), instant_ms(event.started_at)
        if flight is not None:
            due_ms = max(due_ms, flight.emit_ms)
        if started_ms - due_ms > allowed:
            if flight is None or not flight.found_late:
                self._count(task, in_time=False)
            slot = LateSlot(
                event.run, instant_ms(event.due_at), started_ms - due_ms, started_ms, "late_start"
            )
            self._note_late(task, slot)
            self._note_folded(task, seq)
            return
        self._count(task, in_time=True)
        kept = kept_again(task, event.run, started_ms, self._book.partition, self._quiet_ms)
        if kept is not None:
            task.reg, recovered = kept
            self._book.memory.note_objective(task)
            self._book.derive(task.task_id, [recovered])
            self._note_folded(task, seq)

    def _missed(self, task: TaskState, flight: Flight | None, seq: int, event: Missed) -> None:
        at_ms, due_ms = instant_ms(event.occurred_at), instant_ms(event.due_at or event.occurred_at)
        if flight is None or not flight.found_late:
            self._count(task, in_time=False)
        self._note_late(task, LateSlot(event.run or "", due_ms, at_ms - due_ms, at_ms, "missed"))
        self._note_folded(task, seq)

    def _note_late(self, task: TaskState, slot: LateSlot) -> None:
        task.reg, event = late(task.reg, slot, self._book.partition)
        self._book.memory.note_objective(task)
        if event is not None:
            self._book.derive(task.task_id, [event])

    def _note_folded(self, task: TaskState, seq: int) -> None:
        """What was judged by the event at `seq` is in memory, and goes into the register: never judge it again."""
        runtime = msgspec.structs.replace(task.reg.runtime, folded=max(task.reg.runtime.folded, seq))
        task.reg = msgspec.structs.replace(task.reg, runtime=runtime)
        self._book.memory.note_dirty(task, seq)
        self._book.flush_soon()

    def _count(self, task: TaskState, *, in_time: bool, slots: int = 1) -> None:
        self._book.measures.promised(task.reg.spec.task_type, in_time=in_time, slots=slots)
