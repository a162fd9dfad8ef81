"""One task with what lists leave out: what of it is under way and how far, and the result of its last execution."""

from __future__ import annotations

from typing import Final

import msgspec

from gnomon_api.database import Database, Row
from gnomon_api.event_hub import EventHub
from gnomon_api.queries import shown_instant
from gnomon_api.readmodels.statements import statement
from gnomon_schemas.tasks import NULL, ExecutionStatus, LastExecution, Task

__all__ = ["FinishedExecution", "RunningExecution", "TaskDetail", "TaskDetails", "past_detail"]

_RUNNING_SHOWN: Final = 20


class RunningExecution(msgspec.Struct, frozen=True, kw_only=True):
    """An execution that has not ended."""

    execution_id: str
    run: str
    status: ExecutionStatus
    attempt: int
    """The try that has begun last, from 1; 0: none has."""
    started_at: str | None
    """Start of the first attempt."""
    progress: msgspec.Raw
    """The last progress it told: `{"fraction", "message"}`; null where it told none."""


class FinishedExecution(LastExecution, frozen=True, kw_only=True):
    """The newest finished execution of a task, with what came of it."""

    result: msgspec.Raw
    """What its handler returned; null where that was nothing, or nobody has read it yet."""
    result_truncated: bool
    """The result was longer than is kept; `result` tells how long, and holds the beginning as text."""


class TaskDetail(Task, frozen=True, kw_only=True):
    """A task, with what of it is under way."""

    last_execution: FinishedExecution | None
    running: tuple[RunningExecution, ...]
    """What has not ended, newest first: at most 20."""


class TaskDetails:
    """Adds to a task what its executions tell. Raises DatabaseAway while Postgres is away."""

    def __init__(self, database: Database, hub: EventHub) -> None:
        self._database, self._hub = database, hub

    async def of(self, task: Task) -> TaskDetail:
        """A task as it is now, in full."""
        last = task.last_execution
        rows = await self._database.fetch(
            statement("executions_of_a_task_now"),
            task.task_id,
            None if last is None else last.execution_id,
            _RUNNING_SHOWN,
        )
        running: list[RunningExecution] = []
        finished = None
        for row in rows:
            if last is not None and row["execution_id"] == last.execution_id:
                finished = row
            else:
                progress = self._hub.progress_of(row["execution_id"])
                running.append(
                    RunningExecution(
                        execution_id=row["execution_id"],
                        run=row["run"],
                        status=ExecutionStatus(row["status"]),
                        attempt=row["attempt"],
                        started_at=shown_instant(row["started_at"]),
                        progress=NULL if progress is None else msgspec.Raw(progress),
                    )
                )
        return _detail(task, tuple(running), finished)


def past_detail(task: Task) -> TaskDetail:
    """A task as it was once: what was under way then, and what came of it, its executions tell."""
    return _detail(task, (), None)


def _detail(task: Task, running: tuple[RunningExecution, ...], finished: Row | None) -> TaskDetail:
    fields, last = msgspec.structs.asdict(task), task.last_execution
    if last is not None:
        result = None if finished is None else finished["result"]
        fields["last_execution"] = FinishedExecution(
            **msgspec.structs.asdict(last),
            result=NULL if result is None else msgspec.Raw(result.encode()),
            result_truncated=finished is not None and finished["result_truncated"],
        )
    return TaskDetail(**fields, running=running)
