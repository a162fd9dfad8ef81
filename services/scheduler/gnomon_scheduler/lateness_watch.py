"""When which task has to be looked at because one of its slots should have started by then.

One time a task, however many slots of it are on their way: the earliest promise. Looked at, it is found out what is
late, and the next promise is put in. So memory is bounded by tasks, and a slot that starts in time costs nothing here.
"""

from __future__ import annotations

from collections.abc import Iterator

from gnomon_scheduler.decisions.lateness import promise_ms
from gnomon_scheduler.memory import Flight, TaskState
from gnomon_scheduler.timers import Timers

__all__ = ["LatenessWatch"]


class LatenessWatch:
    """The earliest promise of every task that has one."""

    def __init__(self) -> None:
        self._promises = Timers()

    @property
    def next_ms(self) -> int | None:
        """When the next task is to be looked at; None: none is. A promise is kept at its very instant."""
        promise = self._promises.next_ms()
        return None if promise is None else promise + 1

    def watch(self, task: TaskState, flight: Flight) -> None:
        """An execution is on its way."""
        promise = promise_ms(task, flight)
        if promise is not None:
            known = self._promises.at(task.task_id)
            self._promises.set(task.task_id, promise if known is None else min(known, promise))

    def watch_all(self, task: TaskState) -> None:
        """The same of all that the task has in flight: something about it has changed."""
        for flight in task.flights.values():
            self.watch(task, flight)

    def pop(self, now_ms: int) -> Iterator[str]:
        """The tasks of which a promise has passed: each is to be put in again by `watch_all`."""
        while (next_ms := self.next_ms) is not None and next_ms <= now_ms:
            yield self._promises.pop()
