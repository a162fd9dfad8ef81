"""Tasks as they are, and when which schedule of each was in force.

*Counted once.* A task's counts move when an execution begins and when it ends, which the executions' section tells
once each, whatever is on its chain.

*next_run_time* is the first slot after `seen_until`, the newest time that the task's own events tell. The
api shows the slot after the present moment instead; the column is for sorting and filters.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from typing import Final, NamedTuple

import msgspec
from msgspec.structs import astuple
from typing_extensions import override

from gnomon_api.readmodels.column_values import (
    as_instant,
    bounded,
    indexable_json,
    json_text,
    maybe_instant,
    maybe_text,
    plain_text,
)
from gnomon_api.readmodels.section import Change, Fetch, Handler, Read, Section
from gnomon_api.readmodels.sections.executions import Began, Ended
from gnomon_api.readmodels.table import Mode, TableWrite, rows_by_key
from gnomon_core.runtime.messages import Stored
from gnomon_core.timing import next_fire
from gnomon_schemas import events as ev
from gnomon_schemas.clock_text import EPOCH
from gnomon_schemas.schedules import Schedule
from gnomon_schemas.tasks import ExecutionStatus, LastExecution, Task, TaskStatus, Trigger

__all__ = ["ChangedItself", "RanOnNewDay", "TaskSection"]

_DAY: Final = timedelta(days=1)
_decode_schedule: Final = msgspec.json.Decoder(Schedule).decode


class TaskDefinition(msgspec.Struct, gc=False):
    """The columns of `tasks` that only a caller's change touches. They may be large, and are written, not
    kept."""

    task_id: str
    user_id: str | None
    partition: int
    name: str
    description: str | None
    task_type: str
    priority: str
    tags: str
    metadata: str
    template_id: str | None
    task: str
    heartbeat: str | None
    revision_from: datetime
    due_date: datetime | None
    created_at: datetime


class TaskRow(msgspec.Struct, gc=False):
    """The other columns of `tasks`, which runs change, without those that the database derives."""

    task_id: str
    schedule: str | None
    base_status: str
    in_flight: int
    version: int
    next_run_time: datetime | None
    last_run_time: datetime | None
    last_execution: str | None
    run_count: int
    success_count: int
    failure_count: int
    consecutive_failures: int
    updated_at: datetime
    deleted_at: datetime | None
    seen_until: datetime
    seq: int
    active_day: int = 0
    """The last UTC day on which a run of the task completed, in days since 1970."""
    slo_broken_since: datetime | None = None
    """Since when its lateness objective is broken."""
    duration_sum_ms: int = 0
    """Of all its executions that ended with a result."""


class RanOnNewDay(NamedTuple):
    """The first run of a task that completed on a UTC day; told once a task and day, days in order."""

    completed_at: datetime


class MarkRow(NamedTuple):
    """A row of `slot_marks`: from `at` on, this decides the task's slots."""

    seq: int
    task_id: str
    at: datetime
    state: str
    """`active`, `paused` or `over`."""
    revision: int | None
    """None, with the schedule: as the mark before it says."""
    schedule: str | None


class ChangedItself(NamedTuple):
    """A task's status is another one, and no caller's change made it so: its last run ended, for one."""

    event: ev.StatusChanged
    version: int


_DEFINITION_COLUMNS: Final = TaskDefinition.__struct_fields__
_ROW_COLUMNS: Final = TaskRow.__struct_fields__
_WHOLE: Final = TableWrite("tasks", (*_DEFINITION_COLUMNS, *_ROW_COLUMNS[1:]), Mode.REPLACE, ("task_id",))
"""Tasks that a caller made or changed."""
_RAN: Final = TableWrite("tasks", _ROW_COLUMNS, Mode.UPDATE, ("task_id",), frozenset({"schedule"}))
"""Tasks that only runs have changed."""
_MARKS: Final = TableWrite("slot_marks", MarkRow._fields)
_LOAD: Final = rows_by_key("tasks", _ROW_COLUMNS, "task_id")


class TaskSection(Section):
    """The tables `tasks` and `slot_marks`."""

    writes = (_WHOLE, _RAN, _MARKS)

    def __init__(self) -> None:
        super().__init__()
        self._tasks: dict[str, TaskRow] = {}

    @override
    def listens(self) -> Iterable[tuple[type, Handler]]:
        return [
            (ev.Created, self._created),
            (ev.Updated, self._updated),
            (ev.StatusChanged, self._status_changed),
            (ev.Replanned, self._replanned),
            (ev.Deleted, self._deleted),
            (ev.LatenessSloBroken, self._slo_broken),
            (ev.LatenessSloRecovered, self._slo_recovered),
            (Began, self._began),
            (Ended, self._ended),
            (ev.Event, self._touch),
        ]

    @override
    async def load(self, fetch: Fetch, batch: Sequence[Read]) -> None:
        tasks = self._tasks
        missing = {one.event.task_id for one in batch if isinstance(one.event, ev.Event)} - tasks.keys()
        if missing:
            for row in await fetch(_LOAD, list(missing)):
                tasks[row["task_id"]] = TaskRow(*row.values())

    @override
    def begin(self) -> None:
        self._definitions: dict[str, TaskDefinition] = {}
        self._changed: dict[str, TaskRow] = {}
        self._marks: list[MarkRow] = []

    @override
    def finish(self) -> None:
        """Bring `next_run_time` of the tasks that changed up to date."""
        for task in self._changed.values():
            if task.base_status != TaskStatus.SCHEDULED or task.deleted_at is not None:
                task.next_run_time = None
            elif task.next_run_time is None or task.next_run_time <= task.seen_until:
                task.next_run_time = _slot_after(task)

    @override
    def changes(self) -> Iterable[Change]:
        whole, changed = self._definitions, self._changed
        return [
            (_WHOLE, [(*astuple(one), *astuple(changed[key])[1:]) for key, one in whole.items()]),
            (_RAN, [astuple(task) for key, task in changed.items() if key not in whole]),
            (_MARKS, self._marks),
        ]

    @override
    def forget(self) -> None:
        self._tasks.clear()

    @override
    def trim(self, committed: int, kept: int) -> None:
        if len(self._tasks) > kept:
            self._tasks = {key: task for key, task in self._tasks.items() if task.seq > committed}

    def _touch(self, stored: Stored, event: ev.Event) -> None:
        task = self._tasks.get(event.task_id)
        if task is not None:
            task.seq = stored.seq
            at = as_instant(event.occurred_at)
            if at > task.seen_until:
                task.seen_until = at
            self._changed[task.task_id] = task

    def _created(self, stored: Stored, event: ev.Created) -> None:
        row = _task_row(event.task, as_instant(event.occurred_at), stored.seq)
        self._tasks[row.task_id] = row
        self._definitions[row.task_id] = _definition(event.task)
        if row.schedule is not None:
            self._mark(stored, row, event.created_at, event.task.revision)

    def _updated(self, stored: Stored, event: ev.Updated) -> None:
        before = self._tasks.get(event.task_id)
        row = _task_row(event.task, as_instant(event.occurred_at), stored.seq)
        if before is not None:
            _carry_over(before, row, event.changes)
        self._tasks[row.task_id] = row
        self._definitions[row.task_id] = _definition(event.task)
        if before is None or before.schedule != row.schedule or _slot_state(before) != _slot_state(row):
            self._mark(stored, row, event.updated_at, event.task.revision)

    def _status_changed(self, stored: Stored, event: ev.StatusChanged) -> None:
        task = self._tasks.get(event.task_id)
        if event.task is not None:
            self._changed_itself(stored, event, task, event.task)
        elif task is not None and event.new_status is not TaskStatus.RUNNING:
            before = _slot_state(task)
            if task.base_status != event.new_status:
                # Otherwise the event of a caller's change has told it.
                self.tell(stored, ChangedItself(event, task.version))
            task.base_status = event.new_status
            if _slot_state(task) != before:
                self._mark(stored, task, event.changed_at)
            task.updated_at = max(task.updated_at, as_instant(event.changed_at))

    def _changed_itself(
        self, stored: Stored, event: ev.StatusChanged, before: TaskRow | None, task: Task
    ) -> None:
        """More of the task than its status is another, and no caller asked for it."""
        row = _task_row(task, as_instant(event.occurred_at), stored.seq)
        if before is not None:
            _carry_over(before, row, event.changes)
            row.updated_at = max(before.updated_at, as_instant(event.changed_at))
        self._tasks[row.task_id] = row
        self._definitions[row.task_id] = _definition(task)
        if before is None or _slot_state(before) != _slot_state(row):
            # `occurred_at`: the last instant under what was before, where a pause lasted until `changed_at`.
            self._mark(stored, row, event.occurred_at)

    def _replanned(self, stored: Stored, event: ev.Replanned) -> None:
        """Another calendar: the same schedule has other slots, under a revision of its own."""
        before = self._tasks.get(event.task_id)
        row = _task_row(event.task, as_instant(event.occurred_at), stored.seq)
        if before is not None:
            _carry_over(before, row, ())
        self._tasks[row.task_id] = row
        self._definitions[row.task_id] = _definition(event.task)
        self._mark(stored, row, event.replanned_at, event.revision)

    def _deleted(self, stored: Stored, event: ev.Deleted) -> None:
        task = self._tasks.get(event.task_id)
        if task is not None:
            task.deleted_at = as_instant(event.deleted_at)
            task.version = event.version
            self._mark(stored, task, event.deleted_at)

    def _slo_broken(self, _stored: Stored, event: ev.LatenessSloBroken) -> None:
        task = self._tasks.get(event.task_id)
        if task is not None:
            task.slo_broken_since = as_instant(event.broken_at)

    def _slo_recovered(self, _stored: Stored, event: ev.LatenessSloRecovered) -> None:
        task = self._tasks.get(event.task_id)
        if task is not None:
            task.slo_broken_since = None

    def _mark(self, stored: Stored, task: TaskRow, at: str, revision: int | None = None) -> None:
        """From now on something else decides the task's slots; without a revision, its state alone."""
        schedule = None if revision is None else task.schedule
        self._marks.append(
            MarkRow(stored.seq, task.task_id, as_instant(at), _slot_state(task), revision, schedule)
        )

    def _began(self, _stored: Stored, began: Began) -> None:
        task = self._tasks.get(began.row.task_id)
        if task is not None:
            task.in_flight += 1

    def _ended(self, stored: Stored, ended: Ended) -> None:
        task = self._tasks.get(ended.row.task_id)
        if task is None:
            return
        if ended.began:
            task.in_flight = max(0, task.in_flight - 1)
        if isinstance(ended.event, ev.Executed):
            _count(task, ended.event)
            completed_at = ended.row.completed_at
            assert completed_at is not None, "what has ended says when"
            day = (completed_at - EPOCH) // _DAY
            if day > task.active_day:
                task.active_day = day
                self.tell(stored, RanOnNewDay(completed_at))


def _slot_after(task: TaskRow) -> datetime | None:
    if task.schedule is None:
        return None
    slot = next_fire(_schedule(task.schedule), int(task.seen_until.timestamp()))
    return None if slot is None else datetime.fromtimestamp(slot, UTC)


@lru_cache(maxsize=20_000)
def _schedule(text: str) -> Schedule:
    """A schedule from its JSON: many tasks share one, and each is asked again and again."""
    schedule: Schedule = _decode_schedule(text)
    return schedule


def _definition(task: Task) -> TaskDefinition:
    return TaskDefinition(
        task_id=task.task_id,
        user_id=maybe_text(task.user_id),
        partition=task.partition,
        name=plain_text(task.name),
        description=maybe_text(task.description),
        task_type=task.task_type,
        priority=task.priority,
        tags=indexable_json(task.tags),
        metadata=indexable_json(task.metadata),
        template_id=task.template_id,
        task=json_text(task),
        heartbeat=None if task.heartbeat is None else json_text(task.heartbeat),
        revision_from=as_instant(task.revision_from),
        due_date=maybe_instant(task.due_date),
        created_at=as_instant(task.created_at),
    )


def _task_row(task: Task, at: datetime, seq: int) -> TaskRow:
    """A fresh row for the task that an event carries: nothing has run yet."""
    base = task.status
    if base is TaskStatus.RUNNING:
        base = TaskStatus.PENDING if task.schedule is None else TaskStatus.SCHEDULED
    return TaskRow(
        task_id=task.task_id,
        schedule=None if task.schedule is None else json_text(task.schedule),
        base_status=base,
        in_flight=0,
        version=task.version,
        next_run_time=None,
        last_run_time=None,
        last_execution=None,
        run_count=0,
        success_count=0,
        failure_count=0,
        consecutive_failures=0,
        updated_at=as_instant(task.updated_at),
        deleted_at=maybe_instant(task.deleted_at),
        seen_until=at,
        seq=seq,
    )


_OVER: Final = frozenset({TaskStatus.COMPLETED, TaskStatus.FAILED, TaskStatus.CANCELLED})


def _slot_state(task: TaskRow) -> str:
    """What becomes of the task's slots: `active`, `paused` or `over`."""
    if task.deleted_at is not None or task.base_status in _OVER:
        return "over"
    return "paused" if task.base_status == TaskStatus.PAUSED else "active"


def _carry_over(before: TaskRow, after: TaskRow, changes: tuple[ev.FieldChange, ...]) -> None:
    """What runs have told stays when the task is changed; but the end of a pause forgets failures in a row."""
    resumed = any(change.field == "paused" and change.new is False for change in changes)
    after.in_flight = before.in_flight
    after.last_run_time = before.last_run_time
    after.last_execution = before.last_execution
    after.run_count = before.run_count
    after.duration_sum_ms = before.duration_sum_ms
    after.success_count = before.success_count
    after.failure_count = before.failure_count
    after.consecutive_failures = 0 if resumed else before.consecutive_failures
    after.active_day = before.active_day
    after.slo_broken_since = before.slo_broken_since
    after.seen_until = max(before.seen_until, after.seen_until)


def _count(task: TaskRow, event: ev.Executed) -> None:
    """One more run of the task. A cancelled run is neither success nor failure."""
    task.run_count += 1
    task.duration_sum_ms = bounded(task.duration_sum_ms + event.duration_ms)
    task.last_run_time = as_instant(event.started_at)
    # A backfill's runs tell nothing of how the task fares now.
    counted = event.trigger is not Trigger.BACKFILL
    if event.status == "completed":
        task.success_count += 1
        task.consecutive_failures = 0 if counted else task.consecutive_failures
    elif event.status != "cancelled":
        task.failure_count += 1
        task.consecutive_failures += counted
    task.last_execution = json_text(
        LastExecution(
            execution_id=event.execution_id,
            run=event.run,
            status=ExecutionStatus(event.status),
            completed_at=event.completed_at,
            duration_ms=event.duration_ms,
            error=None if event.error is None else event.error.message,
        )
    )
