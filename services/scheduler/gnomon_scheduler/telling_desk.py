"""The telling desk: records what executions of types without work leave. See `decisions.reminding`."""

from __future__ import annotations

from collections.abc import Callable, Iterable

from gnomon_scheduler.book import Book
from gnomon_scheduler.decisions.command import Surroundings
from gnomon_scheduler.decisions.reminding import told
from gnomon_scheduler.memory import Flight, TaskState
from gnomon_scheduler.units import Note, Unit

__all__ = ["TellingDesk"]


class TellingDesk:
    """Makes the units by which the executions of one shard's reminders are told."""

    def __init__(self, book: Book, surroundings: Callable[[int], Surroundings]) -> None:
        self._book, self._surroundings = book, surroundings

    def tell(
        self,
        task: TaskState,
        flight: Flight,
        now_ms: int,
        *,
        changed: bool = False,
        notes: Iterable[Note] = (),
    ) -> Unit:
        """The unit of an execution that was never handed out: its start, its end and the reminder, at once.

        `changed`: the task's register goes along, since it counts the slot; so do other `notes` of the task.
        """
        book = self._book
        with book.measures.firing(task, flight) as traceparent:
            started, executed, reminder = told(task, flight, self._surroundings(now_ms), book.owner)
        head = book.note(started, run=flight.run, expected=flight.cause_seq, traceparent=traceparent)
        made = [
            head,
            book.note(executed, run=flight.run, traceparent=traceparent, follows=head),
            book.note(reminder, traceparent=traceparent, follows=head),
        ]
        book.measures.fired([(now_ms - flight.emit_ms, flight.trigger)])
        return book.unit(task, [*notes, *made]) if changed else Unit(notes=made)
