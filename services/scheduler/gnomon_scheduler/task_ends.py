"""When a task ends by itself: after the last of what it has in flight, once its schedule has no slot left.

A slot before the watermark may still have to be handed out, so a task whose last slot is past ends only when the
watermark is past it too. Everything here happens inside a turn of the shard.
"""

from __future__ import annotations

from gnomon_scheduler.book import Book
from gnomon_scheduler.decisions.folding import finish, past_last_slot
from gnomon_scheduler.decisions.overlapping import next_gated
from gnomon_scheduler.memory import TaskState

__all__ = ["TaskEnds"]


class TaskEnds:
    """Ends tasks, and lets their next execution go where one waits for the one before."""

    def __init__(self, book: Book, partition: int) -> None:
        self._book, self._partition = book, partition
        self._waiting: dict[str, TaskState] = {}
        """Tasks past their last slot, that end once the watermark is there too."""

    def after_end(self, task: TaskState) -> None:
        """Something of the task ended: let a waiting execution go, or end the task."""
        book = self._book
        gated = next_gated(task) if task.flights else None
        if gated is not None:
            book.arm(task.task_id, gated)
        if task.flights or task.reg.deleted_ms is not None:
            return
        if task.task_id in book.memory.resumed:
            # Slots of before the watermark may be left.
            self._waiting[task.task_id] = task
            return
        if book.memory.waiting_for_jitter(task, book.watermark_ms):
            return
        changed = finish(task, book.watermark_ms, self._partition)
        if changed is not None:
            book.derive(task.task_id, [changed])
            book.memory.schedule(task, book.watermark_ms)
            book.touch(task)
        elif past_last_slot(task.reg, book.now_ms()):
            self._waiting[task.task_id] = task

    def watermark_moved(self) -> None:
        """End what was waiting for that."""
        waiting, self._waiting = self._waiting, {}
        for task in waiting.values():
            with self._book.aside.task(task.task_id, "ending it"):
                self.after_end(task)

    def forget(self, task_id: str) -> None:
        """A task was set aside: nothing ends it."""
        self._waiting.pop(task_id, None)
