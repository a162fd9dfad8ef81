"""Tasks as callers read them: from rows, at a moment."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import Any, Final

import msgspec

from gnomon_api.database import Database, Row
from gnomon_api.identity import Caller
from gnomon_api.list_statements import Implied
from gnomon_api.queries import (
    Asked,
    Filter,
    Lists,
    flag_filter,
    instant_filter,
    instant_sort,
    metadata_filter,
    parse_list,
    shown_instant,
    text_filter,
    text_sort,
    words_filter,
)
from gnomon_api.readmodels.column_values import json_text
from gnomon_api.readmodels.statements import statement
from gnomon_api.run_counts import counted_runs, marks_of
from gnomon_core.runtime.clock import Clock
from gnomon_core.timing import next_fire
from gnomon_schemas.clock_text import format_instant
from gnomon_schemas.problems import Code, Refused
from gnomon_schemas.schedules import Schedule
from gnomon_schemas.tasks import Backfill, LastExecution, Priority, Task, TaskStatus

__all__ = ["TASK_LISTS", "ItemList", "TaskViews", "next_slot"]

_WITH_SLOTS: Final = frozenset({TaskStatus.SCHEDULED, TaskStatus.RUNNING})


def _implied(asked: Asked) -> Sequence[Implied]:
    values = asked.values
    found: list[Implied] = []
    statuses = values.get("status")
    if asked.order == "next_run_time" and statuses is not None and _WITH_SLOTS.isdisjoint(statuses):
        # Without this Postgres goes through all that have a slot before it comes to those that have none.
        found.append(("tasks_without_slots", None))
    if asked.order == "updated_at" and "created_after" in values:
        found.append(("tasks_updated_after", values["created_after"]))
    return found


def _tag_filter() -> Filter:
    """Tags as the database looks for them: spelled as within quotes in JSON."""
    plain = text_filter("tasks_with_tag")
    return plain._replace(read=lambda name, text: [json_text(tag)[1:-1] for tag in plain.read(name, text)])


TASK_LISTS: Final = Lists(
    columns="task_columns",
    key="task_id",
    filters={
        "status": text_filter("tasks_with_status", TaskStatus),
        "task_type": text_filter("tasks_with_task_type"),
        "user_id": text_filter("tasks_with_user_id"),
        "tag": _tag_filter(),
        "priority": text_filter("tasks_with_priority", Priority),
        "q": words_filter("tasks_with_q"),
        "template_id": text_filter("tasks_with_template_id"),
        "metadata": metadata_filter("tasks_with_metadata"),
        "created_after": instant_filter("tasks_with_created_after"),
        "created_before": instant_filter("tasks_with_created_before"),
        "due_after": instant_filter("tasks_with_due_after"),
        "due_before": instant_filter("tasks_with_due_before"),
        "overdue": flag_filter("tasks_overdue"),
        "next_run_before": instant_filter("tasks_with_next_run_before"),
    },
    sorts={
        "created_at": instant_sort("created_at", always=True),
        "updated_at": instant_sort("updated_at", always=True),
        "next_run_time": instant_sort("next_run_time"),
        "last_run_time": instant_sort("last_run_time"),
        "due_date": instant_sort("due_date"),
        "name": text_sort("name"),
        "task_id": text_sort("task_id"),
    },
    default_sort="-created_at",
    always=("tasks_present",),
    implied=_implied,
)
"""What lists of tasks take."""

_decode_task = msgspec.json.Decoder(Task).decode
_decode_last = msgspec.json.Decoder(LastExecution).decode
_decode_schedule: msgspec.json.Decoder[Schedule] = msgspec.json.Decoder(Schedule)


class ItemList(msgspec.Struct, frozen=True, kw_only=True):
    """A page of a list."""

    items: tuple[Any, ...]
    next_cursor: str | None


class TaskViews:
    """Reads tasks. Raises DatabaseAway while Postgres is away."""

    def __init__(self, database: Database, clock: Clock) -> None:
        self._database = database
        self._clock = clock

    async def get(self, task_id: str, caller: Caller) -> Task:
        """One task. Raises Refused `not_found` where there is none, it is another user's, or was deleted."""
        found = await self.known(task_id, caller)
        if found.deleted_at is not None:
            raise Refused(Code.NOT_FOUND, f"task {task_id!r} was deleted at {found.deleted_at}")
        (task,) = await self._as_of_now([found])
        return task

    async def known(self, task_id: str, caller: Caller) -> Task:
        """One task, deleted or not. Raises Refused `not_found` where there is none, or it is another user's."""
        row = await self._database.fetchrow(f"{statement('task_columns')} {statement('task_by_id')}", task_id)
        if row is None or not (caller.admin or row["user_id"] == caller.user_id):
            raise Refused(Code.NOT_FOUND, f"there is no task {task_id!r}")
        return self.shown(row)

    async def find(self, task_id: str) -> Task | None:
        """The task that has an id, whoever owns it, deleted or not; None where there is none."""
        row = await self._database.fetchrow(f"{statement('task_columns')} {statement('task_by_id')}", task_id)
        return None if row is None else (await self._as_of_now([self.shown(row)]))[0]

    async def list(self, given: list[tuple[str, str]], caller: Caller) -> ItemList:
        """A page of the tasks that a query string asks for. Raises Refused."""
        mine = None if caller.admin else {"user_id": [caller.user_id]}
        query = parse_list(TASK_LISTS, given, mine)
        page = query.page(await self._database.fetch_page(query.sql, *query.values))
        tasks = await self._as_of_now([self.shown(row) for row in page.rows])
        return ItemList(items=tuple(tasks), next_cursor=page.next_cursor)

    async def _as_of_now(self, tasks: Sequence[Task]) -> Sequence[Task]:
        """The tasks with what no row of theirs tells: it is counted from their executions."""
        return await self._with_progress(await self._with_runs_left(tasks))

    async def _with_runs_left(self, tasks: Sequence[Task]) -> Sequence[Task]:
        limited = [task.task_id for task in tasks if task.schedule is not None and task.schedule.max_runs]
        if not limited:
            return tasks
        marks = marks_of(await self._database.fetch(statement("audited_marks"), limited))
        runs = await counted_runs(self._database.fetch, marks)
        return [_with_left(task, runs.left(task.task_id)) for task in tasks]

    async def _with_progress(self, tasks: Sequence[Task]) -> Sequence[Task]:
        """The tasks with their backfills as they are now. The event of a change tells how they were then."""
        wanted = [(task.task_id, f"b-{each.backfill_id}-") for task in tasks for each in task.backfills]
        if not wanted:
            return tasks
        rows = await self._database.fetch(
            statement("backfill_progress"), *map(list, zip(*wanted, strict=True))
        )
        found = {(row["task_id"], row["prefix"]): (row["begun"], row["in_flight"]) for row in rows}
        return [
            msgspec.structs.replace(task, backfills=_under_way(task, found)) if task.backfills else task
            for task in tasks
        ]

    def shown(self, row: Row) -> Task:
        """A row as a task, at this moment."""
        last = row["last_execution"]
        return msgspec.structs.replace(
            _decode_task(row["task"]),
            status=TaskStatus(row["status"]),
            next_run_time=self._next_run_time(row),
            last_run_time=shown_instant(row["last_run_time"]),
            last_execution=None if last is None else _decode_last(last),
            run_count=row["run_count"],
            success_count=row["success_count"],
            failure_count=row["failure_count"],
            consecutive_failures=row["consecutive_failures"],
            version=row["version"],
            updated_at=format_instant(row["updated_at"]),
            deleted_at=shown_instant(row["deleted_at"]),
            lateness_slo_broken_since=shown_instant(row["slo_broken_since"]),
            success_rate=_share(row["success_count"], row["success_count"] + row["failure_count"]),
            average_duration_ms=round(row["duration_sum_ms"] / row["run_count"])
            if row["run_count"]
            else None,
        )

    def _next_run_time(self, row: Row) -> str | None:
        if row["base_status"] != TaskStatus.SCHEDULED or row["schedule"] is None:
            return None
        slot = next_slot(row["schedule"], self._clock.now_ms() // 1000)
        return None if slot is None else format_instant(slot * 1000)


def _share(part: int, whole: int) -> float | None:
    return part / whole if whole else None


def _with_left(task: Task, left: int | None) -> Task:
    if task.schedule is None or task.schedule.max_runs is None or left is None:
        return task
    return msgspec.structs.replace(task, runs_left=left, next_run_time=task.next_run_time if left else None)


def _under_way(task: Task, found: Mapping[tuple[str, str], tuple[int, int]]) -> tuple[Backfill, ...]:
    """The task's backfills that are not through, by how many executions of each were begun and are in flight."""
    under_way = []
    for each in task.backfills:
        begun, in_flight = found.get((task.task_id, f"b-{each.backfill_id}-"), (0, 0))
        if begun < each.total or in_flight:
            left = max(0, each.total - begun)
            under_way.append(msgspec.structs.replace(each, left=left, in_flight=in_flight))
    return tuple(under_way)


def next_slot(schedule: str, after: int) -> int | None:
    """The first slot of a schedule, given as JSON, after an instant; both in seconds since 1970."""
    return next_fire(_schedule(schedule), after)


@lru_cache(maxsize=10_000)
def _schedule(text: str) -> Schedule:
    return _decode_schedule.decode(text)
