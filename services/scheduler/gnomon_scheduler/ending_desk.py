"""The ending desk: carries out wishes to end executions, `withdrawals.BATCH_MAX` at a time. See `withdrawals`."""

from __future__ import annotations

import asyncio

import structlog

from gnomon_core.runtime.bus import Bus
from gnomon_core.runtime.bus_errors import NoAnswer
from gnomon_core.runtime.telemetry import LogEvent
from gnomon_scheduler.book import Book
from gnomon_scheduler.commit import ChainMoved
from gnomon_scheduler.memory import TaskState
from gnomon_scheduler.registers import Cancelling
from gnomon_scheduler.units import Note
from gnomon_scheduler.withdrawals import BATCH_MAX, SIGNAL_EVERY_MS, Step, Wish, act, read_last
from gnomon_schemas import subjects
from gnomon_schemas.codec import encode
from gnomon_schemas.signals import CancelSignal
from gnomon_schemas.subjects import DUE_STREAM

__all__ = ["EndingDesk"]

_log = structlog.get_logger(__name__)
_READ_AGAIN_MS = 100
_DELETES_AT_ONCE = 32


class EndingDesk:
    """Ends executions of one shard."""

    def __init__(self, bus: Bus, book: Book) -> None:
        self._bus, self._book = bus, book
        self._wishes: dict[tuple[str, str], Wish] = {}

    @property
    def next_ms(self) -> int | None:
        """When the next wish is to be looked at; None: there is none."""
        return min((wish.next_ms for wish in self._wishes.values()), default=None)

    def wish(self, task: TaskState, item: Cancelling) -> None:
        """End an execution, as the task's register says."""
        self._wishes[task.task_id, item.run] = Wish(
            task, item.run, item.reason, item.deadline_ms, item.into, item.calendar_id, item.gentle
        )

    def expire(self, task: TaskState, run: str) -> None:
        """End a first attempt that nobody claimed in time."""
        if (task.task_id, run) not in self._wishes:
            self._wishes[task.task_id, run] = Wish(task, run, "expired", 0)

    def done(self, task_id: str, run: str) -> None:
        """The execution has ended."""
        self._wishes.pop((task_id, run), None)

    async def work(self, now_ms: int) -> None:
        """Work at what is to be ended, `BATCH_MAX` executions at a time."""
        due = [wish for wish in self._wishes.values() if wish.next_ms <= now_ms][:BATCH_MAX]
        if not due:
            return
        try:
            lasts = await read_last(self._bus, self._book.partition, due)
        except NoAnswer:
            for wish in due:
                wish.next_ms = now_ms + _READ_AGAIN_MS
            return
        notes: list[tuple[Wish, Note]] = []
        for wish, last in zip(due, lasts, strict=True):
            # A wish whose event is stored waits for the fold; one that was refused is read again at once.
            wish.next_ms = now_ms + SIGNAL_EVERY_MS
            with self._book.aside.task(wish.task.task_id, "ending an execution"):
                step = act(wish, last, now_ms, self._book.partition)
                if step is Step.DROP:
                    self._forget(wish)
                elif step is Step.SIGNAL:
                    await self._bus.send(
                        subjects.cancel_signal(wish.task.task_id, wish.run),
                        encode(CancelSignal(reason=wish.reason)),
                    )
                elif not isinstance(step, Step):
                    event, expected = step
                    notes.append((wish, self._book.note(event, run=wish.run, expected=expected)))
        if notes:
            await self._store_endings(notes)

    async def _store_endings(self, notes: list[tuple[Wish, Note]]) -> None:
        try:
            await self._book.store_endings([note for _, note in notes])
        except ChainMoved:
            # One of them was claimed meanwhile. Nothing is stored; the next turn reads the chains again.
            for wish, _ in notes:
                wish.next_ms = 0
            return
        flights = [wish.task.flights.get(wish.run) for wish, _ in notes]
        await self.delete_dues(
            [flight.due_seq for flight in flights if flight is not None and flight.due_seq]
        )

    def _forget(self, wish: Wish) -> None:
        self._wishes.pop((wish.task.task_id, wish.run), None)
        flight = wish.task.flights.get(wish.run)
        if flight is not None and not flight.emitted:
            # It waits for its next attempt, and was passed over for as long as it was to be ended.
            self._book.arm(wish.task.task_id, flight)
        if wish.task.unwish(wish.run) is not None:
            self._book.touch(wish.task)

    async def delete_dues(self, sequences: list[int]) -> None:
        """Take dues that are over out of `TASK_DUE`, a number of them at once."""
        for start in range(0, len(sequences), _DELETES_AT_ONCE):
            group = sequences[start : start + _DELETES_AT_ONCE]
            await asyncio.gather(*(self.delete_due(seq) for seq in group))

    async def delete_due(self, seq: int) -> None:
        """Take a due that is over out of `TASK_DUE`. When it fails, the sweep or its executor does it."""
        try:
            await self._bus.delete(DUE_STREAM, seq)
        except NoAnswer:
            _log.info(LogEvent.DUE_NOT_DELETED, partition=self._book.partition, seq=seq)
