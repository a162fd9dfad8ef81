"""Folding: what executors have told of executions goes into the memory of the shard that leads their tasks.

Events are folded in the order of the log. A task's register says up to where it has counted them (`runtime.folded`),
so an event that is met once more counts nothing. What follows from one, that a retry is written ahead or a task ends,
is stored with a later batch: after a crash before that a successor folds the event again. Everything here happens
inside a turn of the shard, or before its first.
"""

from __future__ import annotations

from collections import deque

from gnomon_core.rules.task_type import resolve
from gnomon_core.runtime.messages import Stored
from gnomon_scheduler.admission import Admission
from gnomon_scheduler.aside_runs import AsideRuns
from gnomon_scheduler.book import Book
from gnomon_scheduler.decisions.folding import fold
from gnomon_scheduler.ending_desk import EndingDesk
from gnomon_scheduler.lateness_desk import LatenessDesk
from gnomon_scheduler.measures import ShardMeasures
from gnomon_scheduler.memory import Flight, TaskState
from gnomon_scheduler.own_desk import OwnDesk
from gnomon_scheduler.replica import note_answer, read_event
from gnomon_scheduler.task_ends import TaskEnds
from gnomon_scheduler.type_catalogue import TypeCatalogue
from gnomon_scheduler.user_doors import UserDoors
from gnomon_schemas.clock_text import instant_ms
from gnomon_schemas.events import Event, Executed, Started
from gnomon_schemas.subjects import TASK_RUN

__all__ = ["FoldingDesk", "read_of_execution"]

_OF_THE_TASK = f".{TASK_RUN}"


def read_of_execution(message: Stored) -> tuple[int, str, Event] | None:
    """Sequence, run and event of a message; None where it tells of no execution.

    Registers, and events of tasks themselves, are the leader's own, since all came here that was before the barrier; a
    higher epoch's shows at the next batch.
    """
    if message.subject.startswith("state.") or message.subject.endswith(_OF_THE_TASK):
        return None
    return read_event(message)


class FoldingDesk:
    """Folds events, and sees to what ends by them."""

    def __init__(
        self,
        book: Book,
        types: TypeCatalogue,
        admission: Admission,
        users: UserDoors,
        aside_runs: AsideRuns,
        endings: EndingDesk,
        lateness: LatenessDesk,
        own: OwnDesk,
        ends: TaskEnds,
        measures: ShardMeasures,
    ) -> None:
        self._book, self._types, self._measures = book, types, measures
        self._admission, self._users, self._aside_runs = admission, users, aside_runs
        self._endings, self._lateness, self._own, self._ends = endings, lateness, own, ends

    def fold_all(self, inbox: deque[Stored]) -> None:
        """Fold what the follower delivered, as far as a batch has room for what comes of it."""
        book = self._book
        while inbox and not book.full:
            message = inbox.popleft()
            read = read_of_execution(message)
            if read is not None:
                self.fold(*read)
            book.memory.position = message.seq

    def fold(self, seq: int, run: str, event: Event, *, again: bool = False) -> None:
        """Fold an event into the memory. `again`: one that was, or will be, met in the order of the log besides: what
        its user has used is counted there, since of each user only what comes in order is."""
        try:
            self._fold_into(seq, run, event, again=again)
        except Exception as error:
            if not self._book.aside.takes(event.task_id, "folding an event", error):
                raise

    def _fold_into(self, seq: int, run: str, event: Event, *, again: bool) -> None:
        book = self._book
        if not again and isinstance(event, Executed) and self._users.executed(seq, event):
            book.flush_soon()
        self._aside_runs.heard(run, event)
        task = book.memory.tasks.get(event.task_id)
        if task is None:
            return
        note_answer(book.memory, seq, event)
        flight = task.flights.get(run)
        is_new, first = seq > task.reg.runtime.folded, flight is None or not flight.started
        folded = fold(task, seq, run, event, retry=resolve(task.reg.spec, self._types.known).retry)
        book.memory.note_flights(task)
        if is_new:
            self._lateness.folded(task, flight, seq, event, first_start=first)
        if folded.dirty:
            book.memory.note_dirty(task, seq)
            book.flush_soon()
        if folded.derived:
            book.derive(task.task_id, folded.derived)
            self._measures.derived(folded.derived)
        if flight is not None:
            if isinstance(event, Started):
                self._admission.started(flight, instant_ms(event.started_at))
            elif folded.ended or folded.written_ahead is not None:
                # Between two attempts it holds nothing but its price.
                self._admission.release(task, flight, over=folded.ended)
        if folded.written_ahead is not None:
            book.arm_once_stored(task.task_id, folded.written_ahead)
        if folded.ended:
            self._measures.outcome(event)
            self._over(task, run)

    def ended_unseen(self, task: TaskState, flight: Flight) -> None:
        """Forget an execution whose end was folded before it came into memory."""
        task.land(flight.run)
        self._admission.release(task, flight, over=True)
        self._book.memory.note_flights(task)
        if task.unwish(flight.run) is not None or flight.written:
            self._book.touch(task)
        self._over(task, flight.run)

    def _over(self, task: TaskState, run: str) -> None:
        self._endings.done(task.task_id, run)
        self._ends.after_end(task)
        self._own.look_at(task)
