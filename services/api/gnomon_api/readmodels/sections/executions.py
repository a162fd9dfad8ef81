"""Executions: each chain of events ends in one row.

The table has parts. What is in flight (`completed_at` is null) is in `executions_active`, which stays small however
much has ended: there rows change, with few indexes. What has ended is in one part a month, by `completed_at`, where
rows hardly change any more, with all the indexes that lists need; a month can be dropped whole.

*Ended once.* A row that has ended is never changed by a further `started`, `retrying` or `executed` of its chain; that
there was another ending goes to `second_endings`, for the audit to tell. So what counts executions listens to `Began`
and `Ended`, and counts each once even if the stream held a second result, which it never should.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import datetime
from typing import Any, Final, NamedTuple

import msgspec
from msgspec import UNSET
from typing_extensions import override

from gnomon_api.readmodels.column_values import (
    as_instant,
    bounded,
    carried_json,
    json_text,
    maybe_instant,
    maybe_text,
    trace_id_of,
)
from gnomon_api.readmodels.section import Change, Fetch, Handler, Read, Section
from gnomon_api.readmodels.table import Mode, TableWrite, rows_by_key
from gnomon_core.runtime.messages import Stored
from gnomon_schemas import events as ev
from gnomon_schemas.tasks import ExecutionStatus

__all__ = ["ACTIVE", "Attempt", "Began", "Ended", "ExecutionRow", "ExecutionSection", "FirstStarted"]

ACTIVE: frozenset[str] = frozenset(
    {ExecutionStatus.QUEUED, ExecutionStatus.RUNNING, ExecutionStatus.RETRYING}
)
"""Statuses of an execution that has not ended."""


class Attempt(msgspec.Struct, omit_defaults=False, kw_only=True, gc=False):
    """One attempt of an execution, as `attempts` shows it. Times are RFC 3339 text."""

    attempt: int
    executor: str | None
    started_at: str
    takeovers: int = 0
    status: str = "running"
    """`running`, `lost` (another executor took it over), or how it ended."""
    completed_at: str | None = None
    duration_ms: int | None = None
    error: Any = None


class ExecutionRow(msgspec.Struct, gc=False):
    """A row of `executions`."""

    execution_id: str
    task_id: str
    run: str
    user_id: str | None
    task_type: str | None
    partition: int
    status: str
    trigger: str
    attempt: int
    recorded_at: datetime
    seq: int
    reason: str | None = None
    trigger_data: str | None = None
    config_overrides: str | None = None
    scheduled_for: datetime | None = None
    due_at: datetime | None = None
    started_at: datetime | None = None
    completed_at: datetime | None = None
    duration_ms: int | None = None
    result: str | None = None
    result_truncated: bool = False
    error: str | None = None
    credits_consumed: float = 0.0
    tokens_used: int = 0
    api_calls_made: int = 0
    executor: str | None = None
    retry_of: str | None = None
    dead_letter: str | None = None
    into_run: str | None = None
    revision: int | None = None
    trace_id: str | None = None
    due_published_at: datetime | None = None
    calendar_id: str | None = None
    attempts: list[Attempt] = msgspec.field(default_factory=list)

    @property
    def active(self) -> bool:
        """Whether it has not ended."""
        return self.status in ACTIVE

    def record(self) -> tuple[Any, ...]:
        """The values to write, in the order of the fields."""
        return (*msgspec.structs.astuple(self)[:-1], json_text(self.attempts))


class SecondEndingRow(NamedTuple):
    """A row of `second_endings`: an outcome on a chain that had one. There should never be any."""

    seq: int
    task_id: str
    execution_id: str
    outcome: str
    occurred_at: datetime


class Began(NamedTuple):
    """The first event of an execution that is now in flight; told after it was folded into the row's beginning."""

    event: ev.ExecutionEvent
    row: ExecutionRow


class FirstStarted(NamedTuple):
    """The first attempt of an execution has begun; told once, with `started_at` in the row."""

    row: ExecutionRow


class Ended(NamedTuple):
    """The event that ended an execution, or tells that a slot was none; told when the row is what it made of it."""

    event: ev.Executed | ev.SlotOutcome
    row: ExecutionRow
    began: bool
    """Whether it was in flight before. A slot that is skipped at once was not."""


_OF_EXECUTION: Final = (ev.ExecutionEvent, ev.SlotOutcome)
_COLUMNS: Final = ExecutionRow.__struct_fields__
_FOR_GOOD: Final = frozenset({"task_id", "run", "partition", "recorded_at"})
_PARTS: Final = "executions_ended"
_NEW: Final = TableWrite("executions", _COLUMNS, by_month="completed_at", parts=_PARTS)
# What is in flight is in a small part of the table by itself, which the condition names; what ended meanwhile moves.
_CHANGED: Final = TableWrite(
    "executions",
    _COLUMNS,
    Mode.UPDATE,
    ("execution_id",),
    _FOR_GOOD,
    only="t.completed_at is null",
    by_month="completed_at",
    parts=_PARTS,
)
_ENDED_BEFORE: Final = TableWrite(
    "executions", _COLUMNS, Mode.UPDATE, ("execution_id", "completed_at"), _FOR_GOOD
)
_SECOND_ENDINGS: Final = TableWrite("second_endings", SecondEndingRow._fields)
_LOAD: Final = rows_by_key("executions", _COLUMNS, "execution_id")
_decode_attempts: Final = msgspec.json.Decoder(list[Attempt]).decode


class ExecutionSection(Section):
    """The tables `executions` and `second_endings`."""

    writes = (_NEW, _CHANGED, _ENDED_BEFORE, _SECOND_ENDINGS)

    def __init__(self) -> None:
        super().__init__()
        self.rows: dict[str, ExecutionRow] = {}
        """Those in memory, by id."""

    @override
    def listens(self) -> Iterable[tuple[type, Handler]]:
        return [
            (ev.Queued, self._queued),
            (ev.Started, self._started),
            (ev.Retrying, self._retrying),
            (ev.Executed, self._executed),
            (ev.DeadLettered, self._dead_lettered),
            (ev.SlotOutcome, self._slot_outcome),
        ]

    @override
    async def load(self, fetch: Fetch, batch: Sequence[Read]) -> None:
        rows = self.rows
        told = {one.event.execution_id for one in batch if isinstance(one.event, _OF_EXECUTION)}
        missing = [key for key in told if key is not None and key not in rows]
        if missing:
            for row in await fetch(_LOAD, missing):
                values = list(row.values())
                values[-1] = _decode_attempts(values[-1])
                rows[row["execution_id"]] = ExecutionRow(*values)

    @override
    def begin(self) -> None:
        self._new: dict[str, ExecutionRow] = {}
        self._changed: dict[str, ExecutionRow] = {}
        self._ended_before: dict[str, ExecutionRow] = {}
        self._second_endings: list[SecondEndingRow] = []

    @override
    def changes(self) -> Iterable[Change]:
        return [
            # What no row was loaded of has none: only the holder of the position writes here.
            (_NEW, [row.record() for row in self._new.values()]),
            (_CHANGED, [row.record() for row in self._changed.values()]),
            (_ENDED_BEFORE, [row.record() for row in self._ended_before.values()]),
            (_SECOND_ENDINGS, self._second_endings),
        ]

    @override
    def forget(self) -> None:
        self.rows.clear()

    @override
    def trim(self, committed: int, kept: int) -> None:
        if len(self.rows) > kept:
            self.rows = {key: row for key, row in self.rows.items() if row.seq > committed}

    def _queued(self, stored: Stored, event: ev.Queued) -> None:
        row = self._execution(stored, event, ExecutionStatus.QUEUED)
        if row.active:
            row.reason = maybe_text(event.reason)
            row.calendar_id = event.calendar_id or None
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
        if row.started_at is None:
            row.started_at = as_instant(event.started_at)
            row.due_published_at = (
                None if event.due_published_at is UNSET else as_instant(event.due_published_at)
            )
            self.tell(stored, FirstStarted(row))
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
        self.tell(stored, Ended(event, row, began=True))

    def _dead_lettered(self, stored: Stored, event: ev.DeadLettered) -> None:
        row = self.rows.get(event.execution_id)
        if row is not None:
            row.dead_letter = maybe_text(event.reason)
            self._touch(stored, row)

    def _slot_outcome(self, stored: Stored, event: ev.SlotOutcome) -> None:
        if event.execution_id is None or event.run is None:
            return  # a span, which is a section of its own
        row = self.rows.get(event.execution_id)
        began = row is not None
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
            self.rows[row.execution_id] = self._new[row.execution_id] = row
        elif not row.active:
            self._second_ending(stored, event, row)
            return
        self._touch(stored, row)
        row.status = ev.event_name(event)
        row.reason = maybe_text(event.reason)
        row.into_run = event.into if isinstance(event, ev.Coalesced) else None
        row.calendar_id = event.calendar_id or row.calendar_id
        row.completed_at = as_instant(event.occurred_at)
        self.tell(stored, Ended(event, row, began))

    def _second_ending(self, stored: Stored, event: ev.Event, row: ExecutionRow) -> None:
        """The row stays as its first ending left it; that there was another is for the audit to tell."""
        self._second_endings.append(
            SecondEndingRow(
                stored.seq,
                row.task_id,
                row.execution_id,
                ev.event_name(event),
                as_instant(event.occurred_at),
            )
        )

    def _execution(self, stored: Stored, event: ev.ExecutionEvent, status: str) -> ExecutionRow:
        """The row of an execution, made with `status` where this is its first event."""
        row = self.rows.get(event.execution_id)
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
            self.rows[row.execution_id] = self._new[row.execution_id] = row
            self.tell(stored, Began(event, row))
        self._touch(stored, row)
        return row

    def _touch(self, stored: Stored, row: ExecutionRow) -> None:
        """Remember that an event changes a row; to be called while the row still tells whether it has ended."""
        row.seq = stored.seq
        key = row.execution_id
        if key not in self._new and key not in self._changed:
            (self._changed if row.active else self._ended_before)[key] = row


def _end_attempt(
    row: ExecutionRow, status: str, completed_at: str, duration_ms: int, error: ev.ErrorInfo | None
) -> None:
    if row.attempts and row.attempts[-1].status == "running":
        last = row.attempts[-1]
        last.status = status
        last.completed_at = completed_at
        last.duration_ms = duration_ms
        last.error = error
