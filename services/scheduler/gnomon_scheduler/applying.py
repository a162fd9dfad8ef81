"""Applying a decision to the shard's memory: what commands and own changes have in common.

Nothing of it holds until the unit is stored; whoever dies before leaves the register as it was.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from gnomon_scheduler.book import Book
from gnomon_scheduler.decisions.command import Decision
from gnomon_scheduler.memory import TaskState
from gnomon_scheduler.registers import Cancelling
from gnomon_scheduler.units import Unit
from gnomon_schemas.subjects import TASK_RUN

__all__ = ["Applier", "closing_instant"]


@dataclass(frozen=True, slots=True)
class Applier:
    """Puts decisions into memory and makes the units that store them."""

    book: Book
    wish: Callable[[TaskState, Cancelling], None]
    """Told of what is to be ended, once that is stored."""
    after_change: Callable[[TaskState], None]
    """Told of a task whose slots have changed, once that is stored."""

    def apply(
        self,
        task: TaskState,
        decision: Decision,
        *,
        command_seq: int = 0,
        traceparent: str | None = None,
    ) -> Unit:
        """The unit of a decision: its notes are the events of the task, then the heads of chains."""
        book = self.book
        before, task.reg = task.reg, decision.reg
        notes = [book.note(event, traceparent=traceparent) for event in decision.events]
        notes += [
            book.note(event, run=event.run or TASK_RUN, expected=0, traceparent=traceparent)
            for event in decision.refused
        ]
        for flight in decision.waiting:
            book.take_off(task, flight)
        for flight, event in decision.queued:
            book.take_off(task, flight)
            notes.append(book.chain_head(flight, event, traceparent))
        for flight in (*decision.waiting, *(flight for flight, _ in decision.queued)):
            book.arm_once_stored(task.task_id, flight)
        for item in decision.cancels:
            task.wish(item)
        if decision.reg.spec.lateness_slo_seconds is not None:
            # It may be another one; of what is on its way already the same is asked from now on.
            book.lateness.watch_all(task)
        if decision.created:
            book.memory.schedule(task, book.watermark_ms)
        elif decision.rescheduled:
            book.memory.reschedule(task, before, book.watermark_ms)
        unit = book.unit(task, notes, command_seq=command_seq)
        if decision.rescheduled and not decision.created:
            # A resume may come after the last slot, and an update may leave none. A new task has one.
            unit.when_stored(_telling(self.after_change, task))
        for item in decision.cancels:
            unit.when_stored(_wishing(self.wish, task, item))
        return unit


def closing_instant(task: TaskState, now_ms: int, ahead: Mapping[str, int]) -> int:
    """At which instant a revision of the task may end: all its slots up to then were handed out.

    `now_ms`: of all tasks they were up to there; of those in `ahead` up to the instant given there.
    """
    return max(now_ms, task.reg.revision_from_ms, ahead.get(task.task_id, 0))


def _telling(tell: Callable[[TaskState], None], task: TaskState) -> Callable[[], None]:
    return lambda: tell(task)


def _wishing(
    wish: Callable[[TaskState, Cancelling], None], task: TaskState, item: Cancelling
) -> Callable[[], None]:
    return lambda: wish(task, item)
