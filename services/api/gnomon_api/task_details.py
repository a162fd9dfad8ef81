"""One task with what lists leave out: what of it is under way and how far, and the result of its last execution."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime
from typing import Any, Final

import msgspec

from gnomon_api.database import Database, Row
from gnomon_api.event_hub import EventHub
from gnomon_api.queries import shown_instant
from gnomon_api.readmodels.statements import statement
from gnomon_schemas.clock_text import format_instant
from gnomon_schemas.tasks import NULL, ExecutionStatus, LastExecution, Task

__all__ = [
    "OF_RUNS",
    "FinishedExecution",
    "PastTask",
    "RunningExecution",
    "TaskDetail",
    "TaskDetails",
    "past_detail",
]

_RUNNING_SHOWN: Final = 20
OF_RUNS: Final = (
    *("run_count", "success_count", "failure_count", "consecutive_failures", "runs_left"),
    *("last_run_time", "last_execution", "next_run_time"),
)
"""What a past state tells by the executions that there were."""


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


class PastTask(TaskDetail, frozen=True, kw_only=True):
    """A task as it was at a past instant. What runs had told by then is counted from the executions since: where some
    of these have been removed it is not known, and null."""

    # Wider than of a task of the present, which always knows them; nobody takes the one for the other.
    run_count: int | None  # type: ignore[assignment]
    success_count: int | None  # type: ignore[assignment]
    failure_count: int | None  # type: ignore[assignment]
    consecutive_failures: int | None  # type: ignore[assignment]
    not_known: str | None
    """Why some of what runs had told (counts, last run, next run) is not; null: all of it is."""


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


def past_detail(task: Task, runs_from: datetime | None, unknown: Iterable[str]) -> PastTask:
    """A task as it was once: what was under way then, and what came of it, its executions tell.

    `runs_from`: the executions that ended before this instant are gone; `unknown`: the fields that rest on such ones.
    """
    fields = _fields(task, None)
    names = tuple(unknown)
    why = None
    if runs_from is not None and names:
        at = format_instant(round(runs_from.timestamp() * 1000))
        why = f"executions that ended before {at} have been removed (GNOMON_EXECUTION_RETENTION)"
        fields |= dict.fromkeys(names)
    return PastTask(**fields, running=(), not_known=why)


def _detail(task: Task, running: tuple[RunningExecution, ...], finished: Row | None) -> TaskDetail:
    return TaskDetail(**_fields(task, finished), running=running)


def _fields(task: Task, finished: Row | None) -> dict[str, Any]:
    """The fields of a task, with the result of its last execution."""
    fields, last = msgspec.structs.asdict(task), task.last_execution
    if last is not None:
        result = None if finished is None else finished["result"]
        fields["last_execution"] = FinishedExecution(
            **msgspec.structs.asdict(last),
            result=NULL if result is None else msgspec.Raw(result.encode()),
            result_truncated=finished is not None and finished["result_truncated"],
        )
    return fields
