"""Everything that is recorded: one Struct per event type, tagged `gnomon.<kind>.<event>.v<n>`.

Stored under `<kind>.<event>.<p>.<id>.<run>` in `TASKS` and heard live on `<kind>.<event>`. Readers ignore fields
they do not know; a change that readers could not ignore gets a new version in the tag and a golden sample of the old.
"""

from __future__ import annotations

from typing import Any, Literal

import msgspec
from msgspec import UNSET, UnsetType

from gnomon_schemas.problems import Problem
from gnomon_schemas.schedules import Schedule
from gnomon_schemas.tasks import NULL, Task, TaskStatus, Trigger, Verdict

__all__ = [
    "EVENT_TYPES",
    "TERMINAL",
    "AnyEvent",
    "CalendarName",
    "Coalesced",
    "Created",
    "DeadLettered",
    "Deleted",
    "ErrorInfo",
    "Event",
    "Executed",
    "ExecutionEvent",
    "Failed",
    "FieldChange",
    "LatenessSloBroken",
    "LatenessSloRecovered",
    "Missed",
    "Queued",
    "Rejected",
    "ReminderTriggered",
    "Replanned",
    "Retrying",
    "Skipped",
    "SlotOutcome",
    "Started",
    "StatusChanged",
    "Unchanged",
    "Updated",
    "event_name",
]


class Event(msgspec.Struct, frozen=True, kw_only=True, tag_field="type", gc=False):
    """What every event carries. `occurred_at` is the shard's or the executor's clock when it decided."""

    task_id: str
    user_id: str | None
    partition: int
    occurred_at: str
    command_id: str | UnsetType = UNSET
    """Set where a command caused the event."""


class FieldChange(msgspec.Struct, frozen=True, kw_only=True):
    """One field before and after."""

    field: str
    old: Any
    new: Any


class Created(Event, frozen=True, kw_only=True, tag="gnomon.task.created.v1"):
    """A task exists. `task` is all of it."""

    name: str
    task_type: str
    schedule: Schedule | None
    created_at: str
    task: Task


class Updated(Event, frozen=True, kw_only=True, tag="gnomon.task.updated.v1"):
    """A caller's change was accepted (pause, resume and cancel too). `task` is the state after it."""

    updated_fields: tuple[str, ...]
    updated_at: str
    changed_by: str | None
    changes: tuple[FieldChange, ...]
    task: Task


class Unchanged(Event, frozen=True, kw_only=True, tag="gnomon.task.unchanged.v1"):
    """A command was accepted and changed nothing of a task. One to a shard has the shard's id here."""

    verb: str


class StatusChanged(Event, frozen=True, kw_only=True, tag="gnomon.task.status_changed.v1"):
    """The task's status changed. Never to or from `running`, which runs' own events tell. Where both are the same, what
    changed of its own accord is in `changes`."""

    old_status: TaskStatus
    new_status: TaskStatus
    reason: str
    """The verb that caused it, the caller's own words for a cancel or a complete, or why the task changed by itself:
    `no_slot_left`, `only_run_failed`, `reminded`, `pause_over`, `max_consecutive_failures`, `account_closed`."""
    changed_at: str
    task: Task | None = None
    """The task after a change of its own accord that is more than its status: a pause that ended or began. Its slots
    are others after `occurred_at`, the last instant before `changed_at` where a pause lasted until that time."""
    changes: tuple[FieldChange, ...] = ()
    """What that change was."""


class CalendarName(msgspec.Struct, frozen=True, kw_only=True):
    """Which calendar: what decides slots besides the schedule, above all the rules of time zones."""

    fingerprint: str
    """Of all that is in it."""
    versions: dict[str, str]
    """Of what it is made of, `tzdata` for one."""


class Replanned(Event, frozen=True, kw_only=True, tag="gnomon.task.replanned.v1"):
    """The calendar is another one, and moves slots of the task. A new revision goes by it; `version` stays."""

    replanned_at: str
    """The new revision has the slots after this instant; it lies where the former leader of the shard stopped."""
    revision: int
    old_calendar: CalendarName
    """By which the slots were made so far."""
    new_calendar: CalendarName
    """By which they are made from now on."""
    changed: tuple[str, ...]
    """What in the calendar is another: `zone-Asia/Beirut`."""
    first_difference: str | None
    """The first slot that only one of the calendars has; None where the schedule is too dense to be compared."""
    old_next: str | None
    """The slot after `replanned_at` under the old calendar."""
    new_next: str | None
    """And under the new one."""
    appeared: int
    """Slots of the 400 days after `replanned_at` that only the new calendar has. Counting stops at a thousand of both
    kinds together."""
    disappeared: int
    """Slots of those days that only the old one has."""
    task: Task


class Deleted(Event, frozen=True, kw_only=True, tag="gnomon.task.deleted.v1"):
    """The task is gone for its users; its history stays."""

    deleted_at: str
    version: int
    deleted_by: str | UnsetType | None = UNSET
    """Who asked for it: null is a service. Left out by schedulers of before, which did not tell."""


class ReminderTriggered(Event, frozen=True, kw_only=True, tag="gnomon.task.reminder_triggered.v1"):
    """Somebody is to be reminded of the task: once for its `reminder_time`, and once for each slot, or run on demand,
    of a type without work."""

    reminder_type: Literal["reminder_time", "schedule", "manual"]
    """What asked for it: the task's `reminder_time`, its schedule, or whoever ran it."""
    triggered_at: str
    """When it is told."""
    scheduled_for: str
    """When it was to be told. Where everybody was away, or the task paused, that is some time before."""
    name: str
    task_type: str
    description: str | None = None
    due_date: str | None = None
    execution_id: str | None = None
    """Of the slot or run that it tells; None for a `reminder_time`."""


class Rejected(Event, frozen=True, kw_only=True, tag="gnomon.task.rejected.v1"):
    """A command was refused, and this is all it left. Of a command without a usable id, `task_id` is `_invalid`."""

    verb: str
    error: Problem
    subject: str = ""
    """The command's subject, where its id cannot be told otherwise."""


class ErrorInfo(msgspec.Struct, frozen=True, kw_only=True):
    """Why an attempt failed. `message` and `traceback` have at most 16 KiB; what is longer is cut."""

    type: str
    message: str
    traceback: str | None = None
    details: dict[str, Any] | None = None


class ExecutionEvent(Event, frozen=True, kw_only=True):
    """What every event of an execution carries. Together they are the execution's chain."""

    execution_id: str
    run: str
    task_type: str
    attempt: int
    trigger: Trigger
    scheduled_for: str
    due_at: str
    revision: int
    retry_of: str | None = None
    epoch: int | UnsetType = UNSET
    """Of the shard's leader: the one that handed the attempt out (`started`), or that wrote the event itself."""


class Queued(ExecutionEvent, frozen=True, kw_only=True, tag="gnomon.task.queued.v1"):
    """An execution waits: made on demand, or its slot came while another was in flight."""

    reason: str
    """`manual`, `webhook` or `event` by what asked for it; `overlap`, `backfill`, `retry` or `repair`; `pool`, `key` or
    `fair` where it waits for its pool, its key, or for others of its user; `limit` where its user has as much in flight
    as may be; `blackout` where a calendar puts it off."""
    trigger_data: msgspec.Raw = NULL
    config_overrides: msgspec.Raw = NULL
    detail: str | UnsetType = UNSET
    """What it waits for, as it was then: the runs before it, the name of the key or pool."""
    calendar_id: str | UnsetType = UNSET
    """The calendar of blackouts that puts it off."""


class Started(ExecutionEvent, frozen=True, kw_only=True, tag="gnomon.task.started.v1"):
    """An executor claimed an attempt."""

    executor: str
    due_seq: int
    nonce: str
    takeovers: int
    """How often this attempt was taken over from an executor that had gone."""
    started_at: str
    pool: str
    priority: str
    released: bool = False
    """The executor stopped before the handler was through, and gives the attempt back: whoever is delivered it next
    claims on top, without asking and without counting a take-over."""
    due_published_at: str | UnsetType = UNSET
    """When the broker stored the due of the attempt: what was late before is the scheduler's, what was late after is
    the queue's."""


class Retrying(ExecutionEvent, frozen=True, kw_only=True, tag="gnomon.task.retrying.v1"):
    """An attempt failed and another follows at `retry_at`."""

    retry_at: str
    error: ErrorInfo
    executor: str
    started_at: str
    first_started_at: str
    """Start of the first attempt, from which `total_timeout_seconds` counts."""
    duration_ms: int
    status: Verdict = "failed"


class Executed(ExecutionEvent, frozen=True, kw_only=True, tag="gnomon.task.executed.v1"):
    """The one result of an execution that started. Durations in milliseconds."""

    status: Verdict
    result: msgspec.Raw
    error: ErrorInfo | None
    started_at: str
    completed_at: str
    executed_at: str
    duration_ms: int
    credits_consumed: float
    tokens_used: int
    api_calls_made: int
    executor: str | None
    """None where the shard ended it (a cancel that its executor did not answer)."""
    result_truncated: bool = False
    reason: str | None = None
    """`crash_loop`, `timeout`, `total_timeout`, `cancelled`, … where there is one to name."""


class Failed(ExecutionEvent, frozen=True, kw_only=True, tag="gnomon.task.failed.v1"):
    """Accompanies an `executed` with status failed or timed_out; derived by the shard when it folds that."""

    status: Verdict
    error: ErrorInfo | None
    failure_count: int
    consecutive_failures: int


class DeadLettered(ExecutionEvent, frozen=True, kw_only=True, tag="gnomon.task.dead_lettered.v1"):
    """An execution failed for good: its attempts are used up, or it took its executors down."""

    reason: str
    """`crash_loop` or `retries_exhausted`."""
    error: ErrorInfo | None


class SlotOutcome(Event, frozen=True, kw_only=True):
    """A slot, or a span of them, that ended without a run.

    One slot: on its chain, with `execution_id`, `run`, `scheduled_for` and `due_at`, `count` 1. A span: an event of
    the task (run `_`) with `from` and `to` (half-open, nominal times) and how many slots it stands for.
    """

    reason: str
    revision: int
    count: int = 1
    execution_id: str | None = None
    run: str | None = None
    task_type: str | None = None
    attempt: int | None = None
    trigger: Trigger = Trigger.SCHEDULE
    scheduled_for: str | None = None
    due_at: str | None = None
    from_: str | None = msgspec.field(default=None, name="from")
    to: str | None = None
    epoch: int | UnsetType = UNSET
    """Of the shard's leader that decided it, or that handed out what then expired."""
    detail: str | UnsetType = UNSET
    """What the decision rested on, as it was then: the run that was in the way, the grace in force, the key."""
    calendar_id: str | UnsetType = UNSET
    """The calendar of blackouts that touched it."""


class Skipped(SlotOutcome, frozen=True, kw_only=True, tag="gnomon.task.skipped.v1"):
    """Not run by a rule: `overlap paused blackout credits limit key unique cancelled deleted`."""


class Missed(SlotOutcome, frozen=True, kw_only=True, tag="gnomon.task.missed.v1"):
    """Could not run in time: `grace_exceeded catch_up_skip expired`."""


class Coalesced(SlotOutcome, frozen=True, kw_only=True, tag="gnomon.task.coalesced.v1"):
    """Stood in for by one other run of the task."""

    into: str
    """The run that ran instead."""


class LatenessSloBroken(Event, frozen=True, kw_only=True, tag="gnomon.task.lateness_slo_broken.v1"):
    """A slot of the task started later than `lateness_slo_seconds` allows, or has not started by then. Told once,
    until `lateness_slo_recovered`."""

    objective_seconds: float
    """`lateness_slo_seconds` of the task when it was broken."""
    lateness_seconds: float
    """How late the slot was when that was found; it may have started later still."""
    execution_id: str
    """Of the slot that broke it; of slots that were missed in bulk, the last one's."""
    run: str
    scheduled_for: str
    due_at: str
    broken_at: str
    """When that was found."""
    reason: str
    """`late_start`, `not_started` (nobody had claimed it by then) or `missed`."""


class LatenessSloRecovered(Event, frozen=True, kw_only=True, tag="gnomon.task.lateness_slo_recovered.v1"):
    """Slots of the task start in time again, or nothing is asked of them any more."""

    objective_seconds: float | None
    """What is in force now; None where the objective was taken away."""
    broken_at: str
    """When it was broken, as `lateness_slo_broken` told."""
    recovered_at: str
    """When the slot started that was in time again, or when the objective was changed."""
    reason: str
    """`on_time`: a slot started in time, and none was late for a while before it. `objective_changed`: the task's
    owner set another objective, or none."""
    execution_id: str | None = None
    """Of the slot that was in time."""


AnyEvent = (
    Created
    | Updated
    | Unchanged
    | StatusChanged
    | Replanned
    | ReminderTriggered
    | Deleted
    | Rejected
    | Queued
    | Started
    | Retrying
    | Executed
    | Failed
    | DeadLettered
    | Skipped
    | Missed
    | Coalesced
    | LatenessSloBroken
    | LatenessSloRecovered
)
"""Any event of kind `task`, told apart by its tag."""

EVENT_TYPES: dict[str, type[Event]] = {
    "created": Created,
    "updated": Updated,
    "unchanged": Unchanged,
    "status_changed": StatusChanged,
    "replanned": Replanned,
    "reminder_triggered": ReminderTriggered,
    "deleted": Deleted,
    "rejected": Rejected,
    "queued": Queued,
    "started": Started,
    "retrying": Retrying,
    "executed": Executed,
    "failed": Failed,
    "dead_lettered": DeadLettered,
    "skipped": Skipped,
    "missed": Missed,
    "coalesced": Coalesced,
    "lateness_slo_broken": LatenessSloBroken,
    "lateness_slo_recovered": LatenessSloRecovered,
}
"""Event name, as in the subject, to Struct."""

TERMINAL: frozenset[str] = frozenset(
    {"executed", "skipped", "missed", "coalesced", "failed", "dead_lettered"}
)
"""Names of events that end a chain: nothing is claimed after one of them."""

_NAMES: dict[type, str] = {struct: name for name, struct in EVENT_TYPES.items()}


def event_name(event: Event) -> str:
    """The event's name as in its subject, so `executed`."""
    return _NAMES[type(event)]
