"""The rows that events are folded into: one Struct per table, its fields in the order of the writing
statement.

Rows are mutable and live in the projector's memory while it works on them; `record` gives the tuple that is
written. They hold nothing that could lead back to them, so the collector need not look at them (`gc=False`).
"""

from __future__ import annotations

from datetime import datetime
from typing import Any, NamedTuple

import msgspec

from gnomon_schemas.tasks import ExecutionStatus

__all__ = [
    "ACTIVE",
    "Attempt",
    "CommandRow",
    "ExecutionRow",
    "HistoryRow",
    "MarkRow",
    "PoolRow",
    "SecondEndingRow",
    "SpanRow",
    "TaskDefinition",
    "TaskRow",
    "json_text",
]

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
    attempts: list[Attempt] = msgspec.field(default_factory=list)

    @property
    def active(self) -> bool:
        """Whether it has not ended."""
        return self.status in ACTIVE

    def record(self) -> tuple[Any, ...]:
        """The values to write, in the order of the fields."""
        return (*msgspec.structs.astuple(self)[:-1], json_text(self.attempts))


class SpanRow(NamedTuple):
    """A row of `slot_spans`."""

    seq: int
    task_id: str
    user_id: str | None
    outcome: str
    reason: str
    revision: int
    from_at: datetime | None
    to_at: datetime | None
    slots: int
    into_run: str | None
    occurred_at: datetime


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


class SecondEndingRow(NamedTuple):
    """A row of `second_endings`: an outcome on a chain that had one. There should never be any."""

    seq: int
    task_id: str
    execution_id: str
    outcome: str
    occurred_at: datetime


class PoolRow(NamedTuple):
    """A row of `pools`."""

    pool: str
    max_in_flight: int | None
    paused: bool
    version: int
    updated_at: datetime
    changed_by: str | None
    seq: int


class HistoryRow(NamedTuple):
    """A row of `task_history`."""

    seq: int
    task_id: str
    version: int
    what: str
    at: datetime
    user_id: str | None
    command_id: str | None
    trace_id: str | None
    changes: str


class CommandRow(NamedTuple):
    """A row of `commands`."""

    command_id: str
    task_id: str
    user_id: str | None
    execution_id: str | None
    status: str
    event: str
    problem: str | None
    decided_at: datetime
    seq: int


_encode = msgspec.json.Encoder().encode


def json_text(value: Any) -> str:
    """A value as JSON text, as asyncpg takes `json`."""
    return _encode(value).decode()
