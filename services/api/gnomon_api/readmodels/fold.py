"""Events into rows: what each event changes, as plain functions over rows in memory.

The fold sees every event of a batch in stream order, and several events of one execution end in one row.
What it makes depends on the events and their order alone: not on where a batch ends, and not on the time at
which it runs. So rows made live and rows made again from the archive are the same, byte for byte; a test
compares them.

*Counted once.* A task's counts move when an execution's row leaves the statuses that are in flight. A row
that has ended is never changed by a further `started`, `retrying` or `executed` of its chain, so an
execution counts once even if the stream held a second result, which it never should.

*next_run_time* is the first slot after `seen_until`, the newest time that the task's own events tell. The
api shows the slot after the present moment instead; the column is for sorting and filters.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from functools import lru_cache
from typing import Any, Final

import msgspec
from msgspec import UNSET

from gnomon_api.readmodels.column_values import (
    as_instant,
    bounded,
    carried_json,
    indexable_json,
    maybe_instant,
    maybe_text,
    plain_text,
    trace_id_of,
)
from gnomon_api.readmodels.rows import (
    Attempt,
    CommandRow,
    ExecutionRow,
    HistoryRow,
    MarkRow,
    PoolRow,
    SecondEndingRow,
    SpanRow,
    TaskDefinition,
    TaskRow,
    json_text,
)
from gnomon_core.runtime.messages import Stored
from gnomon_core.timing import next_fire
from gnomon_schemas import events as ev
from gnomon_schemas.codec import decode_event
from gnomon_schemas.pools import PoolUpdated
from gnomon_schemas.schedules import Schedule
from gnomon_schemas.subjects import TASK_RUN, parse_event
from gnomon_schemas.tasks import ExecutionStatus, LastExecution, Task, TaskStatus, Trigger

_POOL_EVENT: Final = "updated"

__all__ = ["Fold", "fold_chain", "keys_of"]

_decode_schedule: Final = msgspec.json.Decoder(Schedule).decode


def keys_of(subject: str) -> tuple[str, str | None]:
    """The task and the execution that an event speaks of; None where it is of the task itself.

    Raises ValueError when the subject is not an event's.
    """
    _, _, _, task_id, run = parse_event(subject)
    return task_id, None if run == TASK_RUN else f"{task_id}.{run}"


class Fold:
    """Rows in memory, and what a batch of events makes of them.

    `tasks` and `executions` hold the rows that are known; before a batch, those it touches must have been
    loaded into them. `apply` is called for each event in order, then `finish` once; then the batch's
    changes are in `tasks_changed`, `executions_new` (of which no row was loaded), `executions_changed` (the
    others), `spans`, `history`, `marks`, `second_endings`, `pools` and `commands`, until `begin`. Events of
    pools come by `apply_pool`: each tells all that is set of its pool, so no row has to be known.
    """

    def __init__(self) -> None:
        self.tasks: dict[str, TaskRow] = {}
        self.executions: dict[str, ExecutionRow] = {}
        self._handlers: dict[type[ev.Event], Callable[[Stored, Any], None]] = {
            ev.Created: self._created,
            ev.Updated: self._updated,
            ev.StatusChanged: self._status_changed,
            ev.Replanned: self._replanned,
            ev.Deleted: self._deleted,
            ev.Queued: self._queued,
            ev.Started: self._started,
            ev.Retrying: self._retrying,
            ev.Executed: self._executed,
            ev.DeadLettered: self._dead_lettered,
            ev.Skipped: self._slot_outcome,
            ev.Missed: self._slot_outcome,
            ev.Coalesced: self._slot_outcome,
        }
        self.begin()

    def begin(self) -> None:
        """Start a new batch on the rows as they are."""
        self.definitions: dict[str, TaskDefinition] = {}
        self.tasks_changed: dict[str, TaskRow] = {}
        self.executions_new: dict[str, ExecutionRow] = {}
        self.executions_changed: dict[str, ExecutionRow] = {}
        self.spans: list[SpanRow] = []
        self.history: list[HistoryRow] = []
        self.marks: list[MarkRow] = []
        self.second_endings: list[SecondEndingRow] = []
        self.pools: dict[str, PoolRow] = {}
        self.commands: dict[str, CommandRow] = {}

    def forget(self) -> None:
        """Drop every row: they may not be what the database holds."""
        self.tasks.clear()
        self.executions.clear()
        self.begin()

    def apply(self, stored: Stored, event: ev.Event) -> None:
        """Fold one event. Raises ValueError or OverflowError for a value that no row can hold; then
        `forget`."""
        if event.command_id is not UNSET and event.command_id not in self.commands:
            self.commands[event.command_id] = _command(stored, event, event.command_id)
        handler = self._handlers.get(type(event))
        if handler is not None:
            handler(stored, event)
        task = self.tasks.get(event.task_id)
        if task is not None:
            self._touch(stored, task, as_instant(event.occurred_at))

    def apply_pool(self, stored: Stored, event: PoolUpdated) -> None:
        """Fold an event of a pool. Raises as `apply`."""
        if event.command_id is not UNSET and event.command_id not in self.commands:
            self.commands[event.command_id] = CommandRow(
                plain_text(event.command_id),
                "",  # of no task
                maybe_text(event.changed_by),
                None,
                "ok",
                _POOL_EVENT,
                None,
                as_instant(event.occurred_at),
                stored.seq,
            )
        self.pools[event.pool] = PoolRow(
            event.pool,
            event.max_in_flight,
            event.paused,
            event.version,
            as_instant(event.updated_at),
            maybe_text(event.changed_by),
            stored.seq,
        )

    def finish(self) -> None:
        """After the batch's last event: bring `next_run_time` of the tasks that changed up to date."""
        for task in self.tasks_changed.values():
            if task.base_status != TaskStatus.SCHEDULED or task.deleted_at is not None:
                task.next_run_time = None
            elif task.next_run_time is None or task.next_run_time <= task.seen_until:
                task.next_run_time = self._slot_after(task)

    def _slot_after(self, task: TaskRow) -> datetime | None:
        if task.schedule is None:
            return None
        slot = next_fire(_schedule(task.schedule), int(task.seen_until.timestamp()))
        return None if slot is None else datetime.fromtimestamp(slot, UTC)

    def _touch(self, stored: Stored, task: TaskRow, at: datetime) -> None:
        task.seq = stored.seq
        task.seen_until = max(task.seen_until, at)
        self.tasks_changed[task.task_id] = task

    # Events of the task itself.

    def _created(self, stored: Stored, event: ev.Created) -> None:
        row = _task_row(event.task, as_instant(event.occurred_at), stored.seq)
        self.tasks[row.task_id] = row
        self.definitions[row.task_id] = _definition(event.task)
        if row.schedule is not None:
            self._mark(stored, row, event.created_at, event.task.revision)
        self._remember(stored, event, row.version, "created", event.created_at, event.user_id, ())

    def _updated(self, stored: Stored, event: ev.Updated) -> None:
        before = self.tasks.get(event.task_id)
        row = _task_row(event.task, as_instant(event.occurred_at), stored.seq)
        if before is not None:
            _carry_over(before, row, event.changes)
        self.tasks[row.task_id] = row
        self.definitions[row.task_id] = _definition(event.task)
        if before is None or before.schedule != row.schedule or _slot_state(before) != _slot_state(row):
            self._mark(stored, row, event.updated_at, event.task.revision)
        self._remember(
            stored, event, row.version, "updated", event.updated_at, event.changed_by, event.changes
        )

    def _status_changed(self, stored: Stored, event: ev.StatusChanged) -> None:
        task = self.tasks.get(event.task_id)
        if event.task is not None:
            self._changed_itself(stored, event, task, event.task)
        elif task is not None and event.new_status is not TaskStatus.RUNNING:
            before = _slot_state(task)
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
        self.tasks[row.task_id] = row
        self.definitions[row.task_id] = _definition(task)
        if before is None or _slot_state(before) != _slot_state(row):
            # `occurred_at`: the last instant under what was before, where a pause lasted until `changed_at`.
            self._mark(stored, row, event.occurred_at)
        self._remember(stored, event, row.version, "updated", event.changed_at, None, event.changes)

    def _replanned(self, stored: Stored, event: ev.Replanned) -> None:
        """Another calendar: the same schedule has other slots, under a revision of its own."""
        before = self.tasks.get(event.task_id)
        row = _task_row(event.task, as_instant(event.occurred_at), stored.seq)
        if before is not None:
            _carry_over(before, row, ())
        self.tasks[row.task_id] = row
        self.definitions[row.task_id] = _definition(event.task)
        self._mark(stored, row, event.replanned_at, event.revision)
        change = ev.FieldChange(
            field="calendar",
            old=msgspec.to_builtins(event.old_calendar),
            new=msgspec.to_builtins(event.new_calendar),
        )
        self._remember(stored, event, row.version, "updated", event.replanned_at, None, (change,))

    def _deleted(self, stored: Stored, event: ev.Deleted) -> None:
        task = self.tasks.get(event.task_id)
        if task is not None:
            task.deleted_at = as_instant(event.deleted_at)
            task.version = event.version
            self._mark(stored, task, event.deleted_at)
        self._remember(stored, event, event.version, "deleted", event.deleted_at, event.user_id, ())

    def _mark(self, stored: Stored, task: TaskRow, at: str, revision: int | None = None) -> None:
        """From now on something else decides the task's slots; without a revision, its state alone."""
        schedule = None if revision is None else task.schedule
        self.marks.append(
            MarkRow(stored.seq, task.task_id, as_instant(at), _slot_state(task), revision, schedule)
        )

    def _remember(
        self,
        stored: Stored,
        event: ev.Event,
        version: int,
        what: str,
        at: str,
        user_id: str | None,
        changes: tuple[ev.FieldChange, ...],
    ) -> None:
        command_id = None if event.command_id is UNSET else maybe_text(event.command_id)
        self.history.append(
            HistoryRow(
                stored.seq,
                event.task_id,
                version,
                what,
                as_instant(at),
                maybe_text(user_id),
                command_id,
                trace_id_of(stored),
                json_text(changes),
            )
        )

    # Events of an execution.

    def _queued(self, stored: Stored, event: ev.Queued) -> None:
        row = self._execution(stored, event, ExecutionStatus.QUEUED)
        if row.active:
            row.reason = maybe_text(event.reason)
            row.trigger_data = row.trigger_data or carried_json(event.trigger_data)
            row.config_overrides = row.config_overrides or carried_json(event.config_overrides)

    def _started(self, stored: Stored, event: ev.Started) -> None:
        row = self._execution(stored, event, ExecutionStatus.RUNNING)
        if not row.active:
            return
        row.status = ExecutionStatus.RUNNING
        row.reason = None
        row.attempt = event.attempt
        row.executor = maybe_text(event.executor)
        row.started_at = row.started_at or as_instant(event.started_at)
        if row.attempts and row.attempts[-1].status == "running":
            row.attempts[-1].status = "lost"
        row.attempts.append(
            Attempt(
                attempt=event.attempt,
                executor=event.executor,
                started_at=event.started_at,
                takeovers=event.takeovers,
            )
        )

    def _retrying(self, stored: Stored, event: ev.Retrying) -> None:
        row = self._execution(stored, event, ExecutionStatus.RETRYING)
        if not row.active:
            return
        row.status = ExecutionStatus.RETRYING
        row.error = json_text(event.error)
        _end_attempt(row, event.status, event.occurred_at, event.duration_ms, event.error)

    def _executed(self, stored: Stored, event: ev.Executed) -> None:
        row = self._execution(stored, event, ExecutionStatus.RUNNING)
        if not row.active:
            self._second_ending(stored, event, row)
            return
        row.status = event.status
        row.reason = maybe_text(event.reason)
        row.attempt = event.attempt
        row.started_at = row.started_at or as_instant(event.started_at)
        row.completed_at = as_instant(event.completed_at)
        row.duration_ms = bounded(event.duration_ms)
        row.result = carried_json(event.result)
        row.result_truncated = event.result_truncated
        row.error = None if event.error is None else json_text(event.error)
        row.credits_consumed = event.credits_consumed
        row.tokens_used = bounded(event.tokens_used)
        row.api_calls_made = bounded(event.api_calls_made)
        row.executor = maybe_text(event.executor) or row.executor
        _end_attempt(row, event.status, event.completed_at, event.duration_ms, event.error)
        task = self.tasks.get(event.task_id)
        if task is not None:
            task.in_flight = max(0, task.in_flight - 1)
            _count(task, event)

    def _dead_lettered(self, stored: Stored, event: ev.DeadLettered) -> None:
        row = self.executions.get(event.execution_id)
        if row is not None:
            row.dead_letter = maybe_text(event.reason)
            self._changed(stored, row)

    def _slot_outcome(self, stored: Stored, event: ev.SlotOutcome) -> None:
        if event.execution_id is None or event.run is None:
            self._span(stored, event)
            return
        row = self.executions.get(event.execution_id)
        if row is None:
            row = ExecutionRow(
                execution_id=event.execution_id,
                task_id=event.task_id,
                run=event.run,
                user_id=maybe_text(event.user_id),
                task_type=event.task_type,
                partition=event.partition,
                status="",
                trigger=event.trigger,
                attempt=event.attempt or 0,
                recorded_at=as_instant(event.occurred_at),
                seq=stored.seq,
                scheduled_for=maybe_instant(event.scheduled_for),
                due_at=maybe_instant(event.due_at),
                revision=event.revision,
                trace_id=trace_id_of(stored),
            )
            self.executions[row.execution_id] = self.executions_new[row.execution_id] = row
        elif row.active:
            self._left_flight(event.task_id)
        else:
            self._second_ending(stored, event, row)
            return
        row.status = ev.event_name(event)
        row.reason = maybe_text(event.reason)
        row.into_run = event.into if isinstance(event, ev.Coalesced) else None
        row.completed_at = as_instant(event.occurred_at)
        self._changed(stored, row)

    def _second_ending(self, stored: Stored, event: ev.Event, row: ExecutionRow) -> None:
        """The row stays as its first ending left it; that there was another is for the audit to tell."""
        self.second_endings.append(
            SecondEndingRow(
                stored.seq,
                row.task_id,
                row.execution_id,
                ev.event_name(event),
                as_instant(event.occurred_at),
            )
        )

    def _span(self, stored: Stored, event: ev.SlotOutcome) -> None:
        self.spans.append(
            SpanRow(
                stored.seq,
                event.task_id,
                maybe_text(event.user_id),
                ev.event_name(event),
                plain_text(event.reason),
                event.revision,
                maybe_instant(event.from_),
                maybe_instant(event.to),
                event.count,
                event.into if isinstance(event, ev.Coalesced) else None,
                as_instant(event.occurred_at),
            )
        )

    def _execution(self, stored: Stored, event: ev.ExecutionEvent, status: str) -> ExecutionRow:
        """The row of an execution, made with `status` where this is its first event."""
        row = self.executions.get(event.execution_id)
        if row is None:
            row = ExecutionRow(
                execution_id=event.execution_id,
                task_id=event.task_id,
                run=event.run,
                user_id=maybe_text(event.user_id),
                task_type=event.task_type,
                partition=event.partition,
                status=status,
                trigger=event.trigger,
                attempt=event.attempt,
                recorded_at=as_instant(event.occurred_at),
                seq=stored.seq,
                scheduled_for=as_instant(event.scheduled_for),
                due_at=as_instant(event.due_at),
                retry_of=event.retry_of,
                revision=event.revision,
                trace_id=trace_id_of(stored),
            )
            self.executions[row.execution_id] = self.executions_new[row.execution_id] = row
            task = self.tasks.get(event.task_id)
            if task is not None:
                task.in_flight += 1
        self._changed(stored, row)
        return row

    def _left_flight(self, task_id: str) -> None:
        task = self.tasks.get(task_id)
        if task is not None:
            task.in_flight = max(0, task.in_flight - 1)

    def _changed(self, stored: Stored, row: ExecutionRow) -> None:
        row.seq = stored.seq
        if row.execution_id not in self.executions_new:
            self.executions_changed[row.execution_id] = row


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
    after.success_count = before.success_count
    after.failure_count = before.failure_count
    after.consecutive_failures = 0 if resumed else before.consecutive_failures
    after.seen_until = max(before.seen_until, after.seen_until)


def _count(task: TaskRow, event: ev.Executed) -> None:
    """One more run of the task. A cancelled run is neither success nor failure."""
    task.run_count += 1
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


def _end_attempt(
    row: ExecutionRow, status: str, completed_at: str, duration_ms: int, error: ev.ErrorInfo | None
) -> None:
    if row.attempts and row.attempts[-1].status == "running":
        last = row.attempts[-1]
        last.status = status
        last.completed_at = completed_at
        last.duration_ms = duration_ms
        last.error = error


def _command(stored: Stored, event: ev.Event, command_id: str) -> CommandRow:
    refused = isinstance(event, ev.Rejected)
    return CommandRow(
        plain_text(command_id),
        event.task_id,
        maybe_text(event.user_id),
        event.execution_id if isinstance(event, ev.ExecutionEvent | ev.SlotOutcome) else None,
        "refused" if refused else "ok",
        ev.event_name(event),
        json_text(event.error) if isinstance(event, ev.Rejected) else None,
        as_instant(event.occurred_at),
        stored.seq,
    )


def fold_chain(chain: Sequence[Stored]) -> ExecutionRow | None:
    """The execution that a chain's events tell, in any order; None for no event. What does not decode is
    passed over."""
    fold = Fold()
    row: ExecutionRow | None = None
    for stored in sorted(chain, key=lambda one: one.seq):
        try:
            event = decode_event(stored.data)
        except (msgspec.DecodeError, UnicodeDecodeError):
            continue
        fold.apply(stored, event)
        row = next(iter(fold.executions.values()), None)
    return row
