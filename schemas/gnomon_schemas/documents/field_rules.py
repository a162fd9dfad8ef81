"""What the fields of messages may hold beyond their types, as JSON Schema keywords.

Types in the Structs stay plain, since every decoded event would pay for more; commands are checked by the shard, in
words. Here the same limits stand for documents and for those who check before they send. The tests hold both together:
what the shard refuses by a rule, its schema refuses too.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

import msgspec

from gnomon_schemas import limits
from gnomon_schemas.accounts import (
    ACCOUNT_ID_PATTERN,
    AMOUNT_MAX,
    LIMIT_MAX,
    LIMIT_NAMES,
    NOTE_MAX_CHARS,
    AccountCredited,
    AccountLimits,
    CreditAccount,
)
from gnomon_schemas.blackouts import Calendar, CalendarSpec, RecurringSpan, Selector, Span
from gnomon_schemas.commands import (
    BackfillTask,
    CancelExecution,
    Outcome,
    PauseTask,
    RepairTask,
    RetryExecution,
    RunTask,
    UpdatePool,
)
from gnomon_schemas.dues import Due
from gnomon_schemas.events import (
    DeadLettered,
    ErrorInfo,
    Executed,
    Missed,
    Queued,
    Rejected,
    Skipped,
    Started,
)
from gnomon_schemas.exclusions import DATE_PATTERN, EXCLUDED_MAX, ExcludedDays, Exclusions
from gnomon_schemas.members import Member, ProjectorPosition, PurgeFloor, TypeAnnouncement
from gnomon_schemas.pools import POOL_LIMIT_MAX, Pool, PoolUpdated
from gnomon_schemas.problems import FieldError, Problem
from gnomon_schemas.schedule_kinds import (
    EVERY_SECONDS_MAX,
    JITTER_SECONDS_MAX,
    MAX_RUNS_MAX,
    TIME_PATTERN,
    UNION_MAX,
    AnyOf,
    Cron,
    Daily,
    Interval,
    Monthly,
    Once,
    Weekly,
)
from gnomon_schemas.signals import Progress
from gnomon_schemas.subjects import PRIORITIES
from gnomon_schemas.tasks import Backfill, CatchUp, RateLimit, RetryPolicy, Task, TaskHeartbeat, TaskSpec
from gnomon_schemas.templates import Template, TemplateSpec

__all__ = ["EXECUTION_ID_PATTERN", "INSTANT", "RUN_PATTERN", "rule_of", "set_by_system"]

_ID_TAIL = limits.ID_PATTERN.strip("^$")
RUN_PATTERN: Final = limits.RUN_PATTERN
EXECUTION_ID_PATTERN: Final = rf"^{_ID_TAIL}\.{RUN_PATTERN.strip('^$')}$"
"""`<task_id>.<run>`."""

Rule = Mapping[str, Any]

_ID: Final[Rule] = {"pattern": limits.ID_PATTERN}
_USER: Final[Rule] = {"maxLength": limits.USER_ID_MAX_CHARS}
INSTANT: Final[Rule] = {
    "format": "date-time",
    "pattern": r"^\d{4}-\d{2}-\d{2}T\d{2}:\d{2}:\d{2}\.\d{3}Z$",
}
"""What Gnomon writes: UTC with milliseconds and `Z`."""
_GIVEN_INSTANT: Final[Rule] = {"format": "date-time"}
"""What callers may write: RFC 3339 with any offset."""
_COUNT: Final[Rule] = {"minimum": 0}
_TIME: Final[Rule] = {"pattern": TIME_PATTERN, "examples": ["09:00"]}
_FROM_1: Final[Rule] = {"minimum": 1}
_WORDS: Final[Rule] = {"x-maxBytes": limits.ERROR_TEXT_MAX}
_RUN_RULE: Final[Rule] = {"pattern": RUN_PATTERN}
_TRACE: Final[Rule] = {"pattern": "^[0-9a-f]{32}$"}

_INSTANTS = (
    "occurred_at created_at updated_at deleted_at changed_at scheduled_for due_at started_at first_started_at "
    "completed_at executed_at retry_at expires_at deadline from to at paused_until next_run_time last_run_time "
    "revision_from watermark next_fire recorded_at decided_at asked_at triggered_at"
)
_COUNTS = (
    "duration_ms credits_consumed tokens_used api_calls_made takeovers failure_count consecutive_failures run_count "
    "success_count seq cause_seq due_seq epoch sequence lag_seconds tasks in_flight capacity running pending "
    "credits_per_run revision total left"
)
_BY_NAME: Final[Mapping[str, Rule]] = {
    **dict.fromkeys(_INSTANTS.split(), INSTANT),
    **dict.fromkeys(_COUNTS.split(), _COUNT),
    **dict.fromkeys(("task_id", "command_id", "pool", "task_type"), _ID),
    **dict.fromkeys(("user_id", "changed_by"), _USER),
    **dict.fromkeys(("run", "into"), _RUN_RULE),
    **dict.fromkeys(("attempt", "count", "version", "pid"), _FROM_1),
    "success_rate": {"minimum": 0, "maximum": 1},
    "average_duration_ms": _COUNT,
    "account_id": {"pattern": ACCOUNT_ID_PATTERN},
    "template_id": _ID,
    "opening": _COUNT,
    "execution_id": {"pattern": EXECUTION_ID_PATTERN},
    "partition": {"minimum": 0, "maximum": limits.MAX_PARTITIONS - 1},
    "partitions": {"minimum": 1, "maximum": limits.MAX_PARTITIONS},
    "trace_id": _TRACE,
}
"""Fields that mean the same wherever they are."""


def _between(least: float, most: float) -> Rule:
    return {"minimum": least, "maximum": most}


def _one_of(words: str) -> Rule:
    return {"enum": words.split()}


_TIMEOUT: Final[Rule] = {"exclusiveMinimum": 0, "maximum": limits.DURATION_MAX_SECONDS}
_OBJECT: Final[Rule] = {"type": "object", "x-maxBytes": limits.CONFIG_MAX}
_TASK: Final[Mapping[str, Rule]] = {
    "name": {"minLength": 1, "maxLength": limits.NAME_MAX_CHARS},
    "description": {"maxLength": limits.DESCRIPTION_MAX_CHARS},
    "config": _OBJECT,
    "tags": {
        "maxItems": limits.TAGS_MAX,
        "items": {"type": "string", "minLength": 1, "maxLength": limits.TAG_MAX_CHARS},
    },
    "metadata": {"x-maxBytes": limits.METADATA_MAX},
    "due_date": _GIVEN_INSTANT,
    "reminder_time": _GIVEN_INSTANT,
    "timeout_seconds": _TIMEOUT,
    "total_timeout_seconds": _TIMEOUT,
    "expires_seconds": {"exclusiveMinimum": 0, "maximum": limits.SPAN_MAX_SECONDS},
    "concurrency_key": {"minLength": 1, "maxLength": limits.KEY_MAX_CHARS},
    "concurrency_limit": _between(1, limits.KEY_LIMIT_MAX),
    "unique_for_seconds": {"exclusiveMinimum": 0, "maximum": limits.SPAN_MAX_SECONDS},
    "max_consecutive_failures": _between(1, limits.FAILURES_MAX),
    "lateness_slo_seconds": {"exclusiveMinimum": 0, "maximum": limits.SPAN_MAX_SECONDS},
}
_PATHS: Final[Rule] = {"maxItems": limits.TEMPLATE_FIELDS_MAX, "items": {"type": "string", "minLength": 1}}
_CALENDAR: Final[Mapping[str, Rule]] = {
    **{name: _TASK[name] for name in ("name", "description")},
    "spans": {"maxItems": limits.CALENDAR_SPANS_MAX},
    "recurring": {"maxItems": limits.CALENDAR_RECURRING_MAX},
    "expanded_until": _GIVEN_INSTANT,
}
_TEMPLATE: Final[Mapping[str, Rule]] = {
    **{name: _TASK[name] for name in ("name", "description", "tags")},
    "category": {"minLength": 1, "maxLength": limits.CATEGORY_MAX_CHARS},
    "default_config": _OBJECT,
    "required_fields": _PATHS,
    "optional_fields": _PATHS,
    "config_schema": {"type": ["object", "boolean"], "x-maxBytes": limits.TEMPLATE_SCHEMA_MAX},
    "defaults": {"x-maxBytes": limits.TEMPLATE_DEFAULTS_MAX},
}
_DATE: Final[Rule] = {"format": "date", "pattern": DATE_PATTERN}
_WEEKDAY: Final[Rule] = {"pattern": "^[A-Za-z]{3}$", **_between(0, 6)}
_DAY_OR_DATE: Final[Rule] = {"pattern": rf"{DATE_PATTERN}|^[A-Za-z]{{3}}$", **_between(0, 6)}
_WINDOW: Final[Mapping[str, Rule]] = {
    "timezone": {"examples": ["Europe/Berlin"]},
    "start_at": _GIVEN_INSTANT,
    "end_at": _GIVEN_INSTANT,
    "jitter_seconds": _between(0, JITTER_SECONDS_MAX),
    "max_runs": _between(1, MAX_RUNS_MAX),
    "exclude": {
        "maxItems": EXCLUDED_MAX,
        "items": _DAY_OR_DATE,
        "examples": [["sat", "2026-12-24", {"holidays": "DE"}, {"from": "2027-08-01", "to": "2027-08-16"}]],
    },
}
_ANY_ID: Final[Mapping[str, Rule]] = {"command_id": {"maxLength": limits.REFUSAL_TEXT_MAX_CHARS}}
"""A refused command may have come without an id, or with one that is none."""

_BY_STRUCT: Final[Mapping[type[msgspec.Struct], Mapping[str, Rule]]] = {
    TaskSpec: {
        **_TASK,
        **{
            name: {"const": list(value) if isinstance(value, tuple) else value}
            for name, value in limits.NOT_YET.items()
        },
    },
    Task: {**_TASK, "due_date": INSTANT, "reminder_time": INSTANT, "template_id": _ID},
    RetryPolicy: {
        "max_attempts": _between(1, limits.ATTEMPTS_MAX),
        "initial_seconds": _between(0, limits.DURATION_MAX_SECONDS),
        "factor": _between(1, limits.FACTOR_MAX),
        "max_seconds": _between(0, limits.DURATION_MAX_SECONDS),
        "jitter": _between(0, 1),
    },
    CatchUp: {
        "after_seconds": _between(0, limits.SPAN_MAX_SECONDS),
        "grace_seconds": _between(0, limits.SPAN_MAX_SECONDS),
        "limit": _between(1, limits.CATCH_UP_LIMIT_MAX),
    },
    TaskHeartbeat: {
        "url": {"format": "uri", "maxLength": limits.URL_MAX_CHARS},
        "every_seconds": _between(10, 86_400),
        "within_seconds": _between(0, limits.SPAN_MAX_SECONDS),
    },
    RateLimit: {
        "count": _between(1, limits.RATE_COUNT_MAX),
        "per_seconds": {"exclusiveMinimum": 0, "maximum": limits.SPAN_MAX_SECONDS},
    },
    Cron: {**_WINDOW, "expression": {"minLength": 1, "examples": ["*/5 9-17 * * mon-fri", "@daily"]}},
    Interval: {
        **_WINDOW,
        "every_seconds": _between(1, EVERY_SECONDS_MAX),
        **dict.fromkeys(("minutes", "hours", "days", "weeks"), _COUNT),
        "anchor": _GIVEN_INSTANT,
    },
    Once: {**_WINDOW, "at": {"examples": ["2026-09-21T11:00:00+02:00"]}},
    Daily: {**_WINDOW, "time": _TIME},
    Weekly: {**_WINDOW, "time": _TIME, "days": {"minItems": 1, "examples": [["mon", "fri"]]}},
    Monthly: {**_WINDOW, "time": _TIME, "day": {"minimum": -1, "maximum": 31, "not": {"const": 0}}},
    AnyOf: {**_WINDOW, "schedules": {"minItems": 1, "maxItems": UNION_MAX}},
    ExcludedDays: {"holidays": {"minItems": 1}, "from": _DATE, "to": _DATE},
    Exclusions: {
        "dates": {"maxItems": EXCLUDED_MAX, "items": _DATE},
        "weekdays": {"maxItems": EXCLUDED_MAX, "items": _WEEKDAY},
        "holidays": {"examples": ["DE", ["DE-BY", "US-CA"]]},
        "ranges": {"maxItems": EXCLUDED_MAX},
    },
    RunTask: {
        "trigger_data": {"x-maxBytes": limits.TRIGGER_DATA_MAX},
        "config": {"x-maxBytes": limits.CONFIG_MAX},
    },
    CancelExecution: {"run": _RUN_RULE},
    RetryExecution: {"run": _RUN_RULE},
    PauseTask: {"until": _GIVEN_INSTANT},
    RepairTask: {
        "slots": {
            "minItems": 1,
            "maxItems": limits.REPAIR_SLOTS_MAX,
            "items": {"type": "string", "format": "date-time"},
        },
    },
    BackfillTask: {
        "from": _GIVEN_INSTANT,
        "to": _GIVEN_INSTANT,
        "slots": {
            "minItems": 1,
            "maxItems": limits.BACKFILL_SLOTS_MAX,
            "items": {"type": "string", "format": "date-time"},
        },
        "concurrency": _between(1, limits.BACKFILL_CONCURRENCY_MAX),
        "cancel": _ID,
    },
    Backfill: {"backfill_id": _ID},
    UpdatePool: {"max_in_flight": _between(1, POOL_LIMIT_MAX)},
    Pool: {"version": _COUNT},
    PoolUpdated: {"version": _COUNT},
    AccountLimits: {
        name: _between(0 if name in {"max_tasks", "runs_per_day"} else 1, LIMIT_MAX) for name in LIMIT_NAMES
    },
    CreditAccount: {
        "amount": _between(-AMOUNT_MAX, AMOUNT_MAX),
        "note": {"maxLength": NOTE_MAX_CHARS},
        "reference": {"maxLength": NOTE_MAX_CHARS},
    },
    TemplateSpec: _TEMPLATE,
    CalendarSpec: _CALENDAR,
    Calendar: _CALENDAR,
    Span: {"from": _GIVEN_INSTANT, "to": _GIVEN_INSTANT, "name": _TASK["name"]},
    RecurringSpan: {"duration_seconds": _between(1, limits.SPAN_MAX_SECONDS), "name": _TASK["name"]},
    Selector: {
        "tags": _TASK["tags"],
        "task_types": {"maxItems": limits.SELECTED_MAX, "items": _ID},
        "user_ids": {"maxItems": limits.SELECTED_MAX, "items": {"minLength": 1}},
    },
    Template: _TEMPLATE,
    AccountCredited: {"amount": _between(-AMOUNT_MAX, AMOUNT_MAX)},
    Outcome: _ANY_ID,
    Rejected: {"task_id": {"pattern": "^[A-Za-z0-9_-]{1,64}$"}, **_ANY_ID},
    Started: {"priority": {"enum": list(PRIORITIES)}},
    DeadLettered: {"reason": _one_of("crash_loop retries_exhausted")},
    Skipped: {
        "reason": _one_of("overlap paused blackout credits limit key unique cancelled deleted"),
    },
    Missed: {"reason": _one_of("grace_exceeded catch_up_skip expired")},
    Queued: {
        "reason": _one_of("manual webhook event overlap backfill retry repair pool key fair limit blackout"),
        "trigger_data": {"x-maxBytes": limits.TRIGGER_DATA_MAX},
        "config_overrides": {"x-maxBytes": limits.CONFIG_MAX},
    },
    Due: {"config": _OBJECT, "metadata": _OBJECT, "timeout_seconds": _COUNT},
    ErrorInfo: {"message": _WORDS, "traceback": _WORDS},
    Executed: {"result": {"x-maxBytes": limits.RESULT_MAX}},
    Problem: {
        "type": {"pattern": "^urn:gnomon:problem:[a-z_]+$"},
        "status": _between(400, 599),
    },
    FieldError: {"pointer": {"pattern": "^#"}},
    Progress: {"fraction": _between(0, 1)},
    TypeAnnouncement: {"name": _ID, "config_schema": {"type": ["object", "boolean"]}},
    Member: {"kind": {"enum": ["scheduler", "executor", "api"]}},
    ProjectorPosition: {"created": _GIVEN_INSTANT, "time": _GIVEN_INSTANT},
    PurgeFloor: {"created": _GIVEN_INSTANT},
}
"""Fields that have a rule of their own in one Struct."""


def rule_of(struct: type[msgspec.Struct], field: str) -> Rule:
    """The keywords for a field, by its name in JSON; empty where its type says all."""
    return _BY_STRUCT.get(struct, {}).get(field, _BY_NAME.get(field, {}))


def set_by_system(field: str) -> Rule:
    """The schema of a field that callers may send back and that is ignored."""
    return {"description": f"`{field}` is set by the system: ignored here, so that a read can be sent back."}
