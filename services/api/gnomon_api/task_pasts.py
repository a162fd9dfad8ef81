"""A task as it was at a past instant.

What a caller sets is in the events of its changes, which the archive holds whole: the newest one up to the instant
carries the task as it was from then on. What runs tell (counts, status, last result) is counted from the executions:
the counts of now, less what has ended since. So they are told as far back as executions are kept, and not before.
What looks back from the instant (failures in a row, the last run, the runs that are left and with them the next run)
may rest on executions that have been removed although the instant itself is after them: it is told where those that
are kept suffice for it (`_resting_on_removed`).

What is not told: whether the lateness objective was broken. And the failures in a row, and what was in flight, are
counted from what was recorded by then by the clocks of the processes that told it, which may differ from
the order in the log.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from datetime import datetime, timedelta
from typing import Any, Final

import msgspec

from gnomon_api.database import Database, Row
from gnomon_api.identity import Caller
from gnomon_api.readmodels.sections.executions import Attempt
from gnomon_api.readmodels.statements import statement
from gnomon_api.task_details import OF_RUNS, PastTask, past_detail
from gnomon_api.task_views import TaskViews
from gnomon_core.runtime.clock import Clock
from gnomon_core.timing import next_fire
from gnomon_schemas import events as ev
from gnomon_schemas.clock_text import EPOCH, format_instant, instant_ms
from gnomon_schemas.codec import decode_event
from gnomon_schemas.problems import Code, FieldError, Refused
from gnomon_schemas.tasks import ExecutionStatus, LastExecution, Task, TaskStatus

__all__ = ["TaskPasts"]

_CLOCKS_DIFFER: Final = timedelta(minutes=1)
"""How much the clock of whoever told an event may be ahead of the broker's, by which the archive is ordered."""
_OVER: Final = frozenset({TaskStatus.COMPLETED, TaskStatus.FAILED, TaskStatus.CANCELLED})
_decode_changes: Final = msgspec.json.Decoder(tuple[ev.FieldChange, ...]).decode
_decode_attempts: Final = msgspec.json.Decoder(tuple[Attempt, ...]).decode
_decode_error: Final = msgspec.json.Decoder(ev.ErrorInfo).decode


class TaskPasts:
    """Reads past states. Raises DatabaseAway while Postgres is away."""

    def __init__(self, database: Database, tasks: TaskViews, clock: Clock) -> None:
        self._database, self._tasks, self._clock = database, tasks, clock

    async def at(self, task_id: str, at_ms: int, caller: Caller) -> PastTask:
        """The task at an instant. Raises Refused where it was not there then, or that is still to come."""
        now = await self._tasks.known(task_id, caller)
        if at_ms > self._clock.now_ms():
            message = f"{format_instant(at_ms)} is still to come; allowed: instants up to now"
            raise Refused(
                Code.INVALID, f"at: {message}", FieldError(pointer="#/at", code=Code.INVALID, message=message)
            )
        at = EPOCH + timedelta(milliseconds=at_ms)
        sql = f"{statement('changes_shown')} and {statement('changes_until')}"
        changes = await self._database.fetch(sql, task_id, at)
        if not changes:
            made = format_instant(instant_ms(now.created_at))
            raise Refused(
                Code.NOT_FOUND,
                f"task {task_id!r} was not there yet at {format_instant(at_ms)}: it was made at {made}",
            )
        if changes[0]["what"] == "deleted":
            gone = format_instant(changes[0]["at"])
            raise Refused(Code.NOT_FOUND, f"task {task_id!r} was deleted at {gone}")
        told, status = await self._told(changes)
        past, whole_from = await self._with_runs(told, status, now, changes, at)
        # Asked last: what is removed between the two is not counted and called complete.
        removed = await self._database.fetchrow(statement("executions_removed_before"))
        if removed is None:
            return past_detail(past, None, ())
        before: datetime = removed["before"]
        unknown = OF_RUNS if before > at else _resting_on_removed(told, past, whole_from, before)
        return past_detail(past, before, unknown)

    async def _told(self, changes: Sequence[Row]) -> tuple[Task, TaskStatus]:
        """The task as the newest change with the whole of it told, and its status after those that told only that."""
        status: TaskStatus | None = None
        for row in changes:
            archived = await self._database.fetchrow(
                statement("archived_event"), row["seq"], row["at"] - _CLOCKS_DIFFER
            )
            event = None if archived is None else decode_event(archived["payload"])
            task = getattr(event, "task", None)
            if isinstance(task, Task):
                return task, status or _resting(task)
            for change in _decode_changes(row["changes"]):
                if change.field == "status" and status is None:
                    status = TaskStatus(change.new)
        raise Refused(Code.NOT_FOUND, "the archive does not hold the events that tell of that time")

    async def _with_runs(
        self, task: Task, status: TaskStatus, now: Task, changes: Sequence[Row], at: datetime
    ) -> tuple[Task, datetime | None]:
        """The task with what runs had told by then, and from when on its failures in a row are counted."""
        task_id = task.task_id
        resumed = _last_resume(changes)
        runs = await self._database.fetchrow(statement("task_runs_at"), task_id, at, resumed)
        last = await self._database.fetchrow(statement("last_result_at"), task_id, at)
        assert runs is not None  # it counts, and a count has one row
        left = await self._runs_left(task, at)
        at_s = int(at.timestamp())
        following = None
        if status is TaskStatus.SCHEDULED and task.schedule is not None and left != 0:
            following = next_fire(task.schedule, at_s)
        running = runs["in_flight"] and status in (TaskStatus.PENDING, TaskStatus.SCHEDULED)
        past = msgspec.structs.replace(
            task,
            status=TaskStatus.RUNNING if running else status,
            next_run_time=None if following is None else format_instant(following * 1000),
            run_count=now.run_count - runs["runs_since"],
            success_count=now.success_count - runs["successes_since"],
            failure_count=now.failure_count - runs["failures_since"],
            consecutive_failures=runs["failures_in_row"],
            runs_left=left,
            backfills=(),
            lateness_slo_broken_since=None,
            success_rate=None,
            average_duration_ms=None,
            **_last_run(last),
        )
        return past, max((one for one in (runs["last_good"], resumed) if one is not None), default=None)

    async def _runs_left(self, task: Task, at: datetime) -> int | None:
        if task.runs_left is None:
            return None
        told_at = _instant(task.updated_at)
        row = await self._database.fetchrow(statement("slots_counted_between"), task.task_id, told_at, at)
        assert row is not None  # it counts, and a count has one row
        return max(0, task.runs_left - int(row["counted"]))


def _resting_on_removed(
    told: Task, past: Task, whole_from: datetime | None, before: datetime
) -> Collection[str]:
    """Names of what a past state cannot tell, since executions that ended before an instant before it are gone.

    `told`: the task as its newest change told it; `past`: with what the executions that are kept tell, whose counts of
    runs are right; `whole_from`: from when on its failures in a row are counted, None: from its beginning on.
    """
    if _instant(told.created_at) >= before:
        return ()
    unknown: list[str] = []
    # Where those that are kept and in a row are all the failures that there were, none of the row is gone.
    if past.consecutive_failures < past.failure_count and (whole_from is None or whole_from < before):
        unknown.append("consecutive_failures")
    # What is gone can only have left fewer.
    if past.runs_left and _instant(told.updated_at) < before:
        unknown += ("runs_left", "next_run_time")
    if past.last_execution is None and past.run_count > 0:
        unknown += ("last_run_time", "last_execution")
    return unknown


def _instant(text: str) -> datetime:
    return EPOCH + timedelta(milliseconds=instant_ms(text))


def _resting(task: Task) -> TaskStatus:
    """The status that a task was told with, apart from what was in flight."""
    if task.status is TaskStatus.RUNNING:
        return TaskStatus.PENDING if task.schedule is None else TaskStatus.SCHEDULED
    return task.status


def _last_resume(changes: Sequence[Row]) -> datetime | None:
    """When a pause ended last: failures in a row are counted anew from there."""
    for row in changes:
        for change in _decode_changes(row["changes"]):
            if change.field == "paused" and change.new is False:
                found: datetime = row["at"]
                return found
    return None


def _last_run(row: Row | None) -> dict[str, Any]:
    if row is None:
        return {"last_run_time": None, "last_execution": None}
    attempts = _decode_attempts(row["attempts"])
    return {
        "last_run_time": attempts[-1].started_at if attempts else None,
        "last_execution": LastExecution(
            execution_id=row["execution_id"],
            run=row["run"],
            status=ExecutionStatus(row["status"]),
            completed_at=format_instant(row["completed_at"]),
            duration_ms=row["duration_ms"],
            error=None if row["error"] is None else _decode_error(row["error"]).message,
        ),
    }
