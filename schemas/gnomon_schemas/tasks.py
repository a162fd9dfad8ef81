"""The task: what a caller sets (`TaskSpec`) and what everybody reads (`Task`).

Times in payloads are text, RFC 3339 in UTC with milliseconds and `Z` (see `clock_text`). Durations are seconds.
JSON values that Gnomon only carries (`config`, results) are `msgspec.Raw`: they are never decoded on the way through.
"""

from __future__ import annotations

from enum import StrEnum
from typing import Any, Literal

import msgspec

from gnomon_schemas.schedules import Schedule

__all__ = [
    "EMPTY_OBJECT",
    "NULL",
    "SYSTEM_FIELDS",
    "Backfill",
    "Backoff",
    "CatchUp",
    "CatchUpPolicy",
    "ExecutionStatus",
    "LastExecution",
    "Overlap",
    "Priority",
    "RateLimit",
    "Resolved",
    "RetryPolicy",
    "Task",
    "TaskHeartbeat",
    "TaskSpec",
    "TaskStatus",
    "Trigger",
    "Verdict",
]

EMPTY_OBJECT = msgspec.Raw(b"{}")
NULL = msgspec.Raw(b"null")
"""What a carried value is when there is none. Not `Raw | None`: msgspec decodes only null for that type."""


class Priority(StrEnum):
    """Lane of a task's executions, first to last."""

    URGENT = "urgent"
    HIGH = "high"
    MEDIUM = "medium"
    LOW = "low"


class Overlap(StrEnum):
    """What becomes of a slot while an earlier execution of the task is in flight."""

    SKIP = "skip"
    """The slot is `skipped(overlap)`."""
    QUEUE = "queue"
    """One slot waits; a further one is `skipped(overlap)`."""
    QUEUE_ALL = "queue_all"
    """Every slot waits, one runs after another; with 1,000 in flight a further one is `skipped(limit)`."""
    ALLOW = "allow"
    """They run side by side."""
    CANCEL_RUNNING = "cancel_running"
    """What is in flight is cancelled, and the slot runs when it is gone."""


class CatchUpPolicy(StrEnum):
    """What becomes of slots that are `after_seconds` late or more (downtime)."""

    LATEST = "latest"
    """The newest runs, the others are `coalesced` into it."""
    ALL = "all"
    """They run one after another, oldest first; of more than `limit` the newest, the others are `coalesced`."""
    SKIP = "skip"
    """All are `missed(catch_up_skip)`."""


class Backoff(StrEnum):
    """How the delay before a further attempt grows."""

    EXPONENTIAL = "exponential"
    LINEAR = "linear"
    CONSTANT = "constant"


class TaskStatus(StrEnum):
    """Where a task is in its life. `running` is derived and told by execution events, never by `status_changed`."""

    PENDING = "pending"
    SCHEDULED = "scheduled"
    RUNNING = "running"
    COMPLETED = "completed"
    FAILED = "failed"
    CANCELLED = "cancelled"
    PAUSED = "paused"


class ExecutionStatus(StrEnum):
    """Where an execution is, or how it ended."""

    QUEUED = "queued"
    RUNNING = "running"
    RETRYING = "retrying"
    COMPLETED = "completed"
    FAILED = "failed"
    CANCELLED = "cancelled"
    TIMED_OUT = "timed_out"
    SKIPPED = "skipped"
    MISSED = "missed"
    COALESCED = "coalesced"


class Trigger(StrEnum):
    """What made an execution."""

    SCHEDULE = "schedule"
    MANUAL = "manual"
    WEBHOOK = "webhook"
    EVENT = "event"
    CHAIN = "chain"
    BACKFILL = "backfill"
    RETRY = "retry"


class RetryPolicy(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, gc=False):
    """How often and after which delays an execution is attempted. Delays in seconds."""

    max_attempts: int = 1
    """All attempts together, 1 to 100; 1 means no retry."""
    backoff: Backoff = Backoff.EXPONENTIAL
    initial_seconds: float = 5.0
    """Delay before the second attempt."""
    factor: float = 2.0
    """Growth per attempt under `exponential`."""
    max_seconds: float = 3600.0
    """No delay is longer than this."""
    jitter: float = 0.1
    """Share of the delay, 0 to 1, by which it varies at random, up or down."""


class CatchUp(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, gc=False):
    """What happens to slots that could not fire on time. Seconds."""

    policy: CatchUpPolicy = CatchUpPolicy.LATEST
    after_seconds: float = 60.0
    """A slot less late than this fires by itself; from here on the policy decides."""
    grace_seconds: float = 3600.0
    """A slot later than this is `missed(grace_exceeded)`, whatever the policy."""
    limit: int = 100
    """Under `all`: how many at the most."""


class RateLimit(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, gc=False):
    """At most `count` starts in any `per_seconds`."""

    count: int
    per_seconds: float


class TaskHeartbeat(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, gc=False):
    """A dead-man's switch of one task: a sign of life goes out while its ledger is in order and its slots succeed, and
    at no other time. It is published on `gnomon.heartbeat.<task_id>`, and asked of `url` where there is one."""

    url: str | None = None
    """Asked by GET, `http` or `https`; its answer is not looked at but for being a success."""
    every_seconds: float = 60.0
    """As often at the most, 10 to 86400; never more often than the auditor looks (`GNOMON_AUDIT_EVERY`)."""
    within_seconds: float = 300.0
    """How long after its time a slot may take to succeed before the sign of life stays away, 0 to 604800."""


class TaskSpec(
    msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True, gc=False
):
    """What a caller sets of a task: the body of `create`, and what PATCH and PUT merge into.

    Where a field is null its value comes from the task's type, then from the system, and is shown under `resolved`.
    """

    name: str
    task_type: str
    description: str | None = None
    config: msgspec.Raw = EMPTY_OBJECT
    """Checked against the type's JSON Schema when the task is created or changed."""
    schedule: Schedule | None = None
    """None: runs on demand only."""
    template_id: str | None = None
    """The template that it is made from, which gives what the body leaves out. Cannot be changed."""
    priority: Priority = Priority.MEDIUM
    pool: str | None = None
    tags: tuple[str, ...] = ()
    metadata: dict[str, Any] = msgspec.field(default_factory=dict)
    credits_per_run: float = 0
    due_date: str | None = None
    reminder_time: str | None = None
    timeout_seconds: float | None = None
    """Of one attempt."""
    total_timeout_seconds: float | None = None
    """Of all attempts and the delays between them, from the first start."""
    retry: RetryPolicy | None = None
    overlap: Overlap = Overlap.SKIP
    catch_up: CatchUp = CatchUp()
    expires_seconds: float | None = None
    """Work not claimed this long after its slot is `missed(expired)`; None: `catch_up.grace_seconds`."""
    concurrency_key: str | None = None
    concurrency_limit: int = 1
    rate_limit: RateLimit | None = None
    unique_for_seconds: float | None = None
    max_consecutive_failures: int | None = None
    lateness_slo_seconds: float | None = None
    notify: tuple[dict[str, Any], ...] = ()
    heartbeat: TaskHeartbeat | None = None
    paused: bool = False

    @property
    def expires_after_seconds(self) -> float:
        """Seconds after its slot at which unclaimed work expires."""
        return self.catch_up.grace_seconds if self.expires_seconds is None else self.expires_seconds


class Resolved(msgspec.Struct, frozen=True, kw_only=True):
    """What is in force where the task says null: read only."""

    pool: str
    timeout_seconds: float
    retry: RetryPolicy


class LastExecution(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """The newest finished execution of a task, in short."""

    execution_id: str
    run: str
    status: ExecutionStatus
    completed_at: str
    duration_ms: int | None = None
    error: str | None = None
    """The error's message, when it failed."""


class Backfill(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """One backfill of a task that is not through yet."""

    backfill_id: str
    """Id of the command that began it: what cancels it."""
    from_: str = msgspec.field(name="from")
    to: str
    total: int
    """Slots that it is about."""
    left: int
    """Those that have not been handed out yet."""
    in_flight: int
    """Those that have been and have not ended."""


class Task(msgspec.Struct, frozen=True, kw_only=True):
    """A task as everybody reads it. Fields as in `TaskSpec`, then those that only the system sets."""

    task_id: str
    user_id: str | None
    name: str
    description: str | None
    task_type: str
    config: msgspec.Raw
    schedule: Schedule | None
    template_id: str | None
    priority: Priority
    pool: str | None
    tags: tuple[str, ...]
    metadata: dict[str, Any]
    credits_per_run: float
    due_date: str | None
    reminder_time: str | None
    timeout_seconds: float | None
    total_timeout_seconds: float | None
    retry: RetryPolicy | None
    overlap: Overlap
    catch_up: CatchUp
    expires_seconds: float | None
    concurrency_key: str | None
    concurrency_limit: int
    rate_limit: RateLimit | None
    unique_for_seconds: float | None
    max_consecutive_failures: int | None
    lateness_slo_seconds: float | None
    paused: bool
    notify: tuple[dict[str, Any], ...]
    status: TaskStatus
    paused_until: str | None
    pause_note: str | None
    next_run_time: str | None
    last_run_time: str | None
    last_execution: LastExecution | None
    run_count: int
    success_count: int
    failure_count: int
    consecutive_failures: int
    version: int
    revision: int
    """Goes up when a change can move slots."""
    revision_from: str
    """The instant from which the revision's slots count."""
    partition: int
    resolved: Resolved
    runs_left: int | None = None
    """Slots that may still be handed out before `max_runs` is reached; None: any number."""
    backfills: tuple[Backfill, ...] = ()
    """Spans of the past that are being run."""
    success_rate: float | None = None
    """Share of its executions that succeeded, of those that succeeded, failed or timed out; None: none did either."""
    average_duration_ms: int | None = None
    """Mean duration of its executions that ended with a result; None: there is none."""
    heartbeat: TaskHeartbeat | None = None
    lateness_slo_broken_since: str | None = None
    """Since when slots start later than `lateness_slo_seconds` allows; None: they do not."""
    created_at: str
    updated_at: str
    deleted_at: str | None


SYSTEM_FIELDS: frozenset[str] = frozenset(Task.__struct_fields__) - frozenset(TaskSpec.__struct_fields__) | {
    "running",
    "not_known",
}
"""Fields that only the system sets: ignored on input, so that a read can be sent back. `running`, and `not_known` of a
past state, are the api's alone."""

Verdict = Literal["completed", "failed", "cancelled", "timed_out"]
"""How an execution that started ended."""
