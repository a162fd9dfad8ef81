"""What was out of a task when it was set aside: attempts that executors run, and what those hold.

Such an attempt keeps its pool's unit, its key and its price until the log tells that it is over, though nothing else
of the task is looked at. A new leader has no use for this: it finds what is out in `TASK_DUE` and on the chains.
"""

from __future__ import annotations

from gnomon_scheduler.admission import Admission
from gnomon_scheduler.memory import Flight, TaskState
from gnomon_schemas.events import TERMINAL, Event, Retrying, event_name

__all__ = ["AsideRuns"]


class AsideRuns:
    """The attempts that are out, of all tasks that this leader has set aside. To be used inside a turn."""

    def __init__(self, admission: Admission) -> None:
        self._admission = admission
        self._out: dict[tuple[str, str], tuple[TaskState, Flight]] = {}

    def keep(self, task: TaskState, flight: Flight) -> None:
        """An attempt of a task that is set aside is out."""
        self._out[task.task_id, flight.run] = (task, flight)

    def heard(self, run: str, event: Event) -> None:
        """An event of a task that is not in memory: where it ends an attempt that is out, what that held is free."""
        if self._out and (event_name(event) in TERMINAL or isinstance(event, Retrying)):
            task, flight = self._out.pop((event.task_id, run), (None, None))
            if task is not None and flight is not None:
                self._admission.release(task, flight, over=True)
