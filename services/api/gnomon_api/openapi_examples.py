"""Examples for the OpenAPI document: bodies of requests, and what they are answered."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any, Final

import msgspec

from gnomon_api.analytics import HourSums, TaskCount, period_of, platform_analytics, task_analytics
from gnomon_api.calendar_examples import CALENDAR_BODIES, calendar_answers
from gnomon_api.planning import DryRun
from gnomon_api.system_examples import SYSTEM_ANSWERS
from gnomon_core.timing import Course, plan
from gnomon_schemas.clock_text import instant_ms
from gnomon_schemas.codec import encode
from gnomon_schemas.events import Created
from gnomon_schemas.problems import CATALOGUE, Code, FieldError, problem
from gnomon_schemas.samples import samples
from gnomon_schemas.schedules import Cron

__all__ = ["ANSWERS", "BODIES", "RUN_LOG_STREAM", "problem_example"]


def _plain(value: msgspec.Struct) -> Any:
    return msgspec.json.decode(encode(value))


_AT: Final = "2026-11-21T09:00:00.000Z"
_AUDIT: Final[dict[str, Any]] = {
    "since": "2026-11-20T09:00:00.000Z",
    "until": _AT,
    "tasks": 3,
    "expected": 4321,
    "outcomes": {"executed": 4310, "skipped": 6, "missed": 0, "coalesced": 4},
    "pending": 0,
    "missing_count": 1,
    "missing": [
        {
            "execution_id": "hello.20261121T085900Z",
            "task_id": "hello",
            "scheduled_for": "2026-11-21T08:59:00.000Z",
            "revision": 2,
        }
    ],
    "duplicate_count": 0,
    "duplicate": [],
    "misplaced_count": 0,
    "misplaced": [],
    "miscounted": [],
    "engine": "timing",
    "cross_check": None,
    "sound": False,
}
_FORECAST: Final[dict[str, Any]] = {
    "from": _AT,
    "to": "2026-11-21T11:00:00.000Z",
    "bucket": 3600,
    "tasks": 501,
    "total": 560,
    "skipped": 0,
    "put_off": 0,
    "buckets": [
        {"at": _AT, "fires": 530},
        {"at": "2026-11-21T10:00:00.000Z", "fires": 30},
    ],
    "hot": [{"at": _AT, "fires": 501, "with_jitter": 101}],
}
_PERIOD: Final = period_of(
    datetime(2026, 10, 22, 10, tzinfo=UTC), datetime(2026, 11, 21, 10, tzinfo=UTC), 30, "UTC"
)
_TASKS_COUNTED: Final = [
    TaskCount("scheduled", "http_request", False, 2),
    TaskCount("completed", "todo", False, 1),
]
_HOURS: Final = [
    HourSums(datetime(2026, 11, 20, 9, tzinfo=UTC), "http_request", 58, 1, 1, 0, 12_000, 0, 0, 60),
    HourSums(datetime(2026, 11, 21, 9, tzinfo=UTC), "http_request", 60, 0, 0, 0, 11_000, 0, 0, 60),
]
_SAMPLES: Final = samples()
_CREATED: Final = _SAMPLES["task.created"]
assert isinstance(_CREATED, Created)
_A_TASK: Final = _CREATED.task
_TASK: Final[dict[str, Any]] = msgspec.json.decode(encode(_A_TASK))
_RUN: Final = "r-0193a4e2"
_EXECUTION: Final[dict[str, Any]] = {
    "execution_id": f"{_TASK['task_id']}.{_RUN}",
    "task_id": _TASK["task_id"],
    "run": _RUN,
    "user_id": "u1",
    "task_type": "http_request",
    "status": "completed",
    "reason": None,
    "trigger": "manual",
    "trigger_data": {"order": 17},
    "scheduled_for": _AT,
    "due_at": _AT,
    "started_at": "2026-11-21T09:00:00.008Z",
    "completed_at": "2026-11-21T09:00:00.120Z",
    "duration_ms": 112,
    "lateness_ms": 8,
    "lateness": {"scheduler_ms": 3, "queue_ms": 5, "run_ms": 12},
    "attempt": 1,
    "attempts": [
        {
            "attempt": 1,
            "executor": "e-1",
            "started_at": "2026-11-21T09:00:00.008Z",
            "takeovers": 0,
            "status": "completed",
            "completed_at": "2026-11-21T09:00:00.120Z",
            "duration_ms": 112,
            "error": None,
        }
    ],
    "progress": None,
    "result": {"status": 200},
    "result_truncated": False,
    "error": None,
    "credits_consumed": 0,
    "tokens_used": 0,
    "api_calls_made": 1,
    "executor": "e-1",
    "deliveries": [],
    "retry_of": None,
    "dead_letter": None,
    "into": None,
    "calendar_id": None,
    "revision": 1,
    "trace_id": "0af7651916cd43dd8448eb211c80319c",
    "recorded_at": "2026-11-21T09:00:00.120Z",
}
_WAITING: Final = {
    **_EXECUTION,
    "status": "queued",
    **dict.fromkeys(
        ("started_at", "completed_at", "duration_ms", "lateness_ms", "lateness", "result", "executor")
    ),
    "attempts": [],
    "api_calls_made": 0,
    "recorded_at": _AT,
}
_PREVIEW: Final = {
    "description": "At 09:00, Monday to Friday, Europe/Berlin",
    "fires": [
        {
            "at": "2026-11-23T08:00:00.000Z",
            "local": "2026-11-23T09:00:00+01:00",
            "note": None,
        },
        {
            "at": "2026-11-24T08:00:00.000Z",
            "local": "2026-11-24T09:00:00+01:00",
            "note": None,
        },
    ],
}
_NINE: Final = Cron(expression="0 9 * * 1-5", timezone="Europe/Berlin")
_EIGHT_TO_TEN: Final = Cron(expression="0 8-10/2 * * 1-5", timezone="Europe/Berlin")
_NOW: Final = instant_ms(_AT) // 1000
_CHANGED: Final = {**_TASK, "priority": "high", "version": 2}
_PAUSED: Final = {
    **_TASK,
    "status": "paused",
    "paused": True,
    "pause_note": "until the migration is done",
    "version": 2,
}
_CANCELLED: Final = {**_TASK, "status": "cancelled", "next_run_time": None, "version": 2}
_CREATED_DRY: Final = DryRun(
    changed_fields=("name", "task_type", "config", "schedule"),
    task=_A_TASK,
    plan=plan(Course(None), Course(_NINE), now=_NOW),
)
_CHANGED_DRY: Final = DryRun(
    changed_fields=("schedule",),
    task=msgspec.structs.replace(_A_TASK, schedule=_EIGHT_TO_TEN, version=2, revision=2),
    plan=plan(Course(_NINE), Course(_EIGHT_TO_TEN), now=_NOW),
)
_PENDING: Final = {"command_id": "0193a4e2", "status": "pending"}

BODIES: Final[dict[str, dict[str, Any]]] = {
    "create_task": {
        "cron": {
            "task_id": "nightly-report",
            "name": "Nightly report",
            "task_type": "http_request",
            "config": {"method": "GET", "url": "https://example.org/report"},
            "schedule": {"kind": "cron", "expression": "0 9 * * 1-5", "timezone": "Europe/Berlin"},
            "retry": {"max_attempts": 3},
            "tags": ["reports"],
            "metadata": {"team": "finance"},
        },
        "interval": {
            "name": "Ping",
            "task_type": "http_request",
            "config": {"url": "https://example.org/health"},
            "schedule": {"kind": "interval", "every_seconds": 30},
            "overlap": "skip",
        },
        "once": {
            "name": "Reminder",
            "task_type": "echo",
            "config": {"say": "now"},
            "schedule": {"kind": "once", "at": "2030-01-01T08:00:00", "timezone": "Asia/Kathmandu"},
        },
        "union": {
            "name": "Twice a week, and at the end of the month",
            "task_type": "echo",
            "config": {},
            "schedule": {
                "kind": "any_of",
                "timezone": "Europe/Berlin",
                "schedules": [
                    {"kind": "weekly", "time": "02:30", "days": ["mon", "thu"], "dst": {"gap": "shift"}},
                    {"kind": "monthly", "time": "18:00", "day": -1},
                ],
            },
        },
        "on_demand": {"name": "By hand", "task_type": "echo"},
    },
    "patch_task": {
        "a_field": {"priority": "high"},
        "into_the_schedule": {"schedule": {"jitter_seconds": 30}},
        "to_its_default": {"retry": None},
        "pause": {"status": "paused"},
    },
    "put_task": {"a_read_sent_back": {**_TASK, "priority": "high"}},
    "pause_task": {"with_a_note": {"note": "until the migration is done"}, "empty": {}},
    "resume_task": {"empty": {}},
    "complete_task": {"with_a_note": {"note": "the project is over"}, "empty": {}},
    "cancel_task": {"with_a_reason": {"reason": "the customer has left"}, "empty": {}},
    "backfill_task": {
        "how_many_gaps": {"from": "2026-11-19T00:00:00Z", "to": "2026-11-21T00:00:00Z", "dry_run": True},
        "all_of_a_span": {
            "from": "2026-11-19T00:00:00Z",
            "to": "2026-11-21T00:00:00Z",
            "only": "all",
            "concurrency": 5,
        },
    },
    "execute_task": {
        "empty": {},
        "with_data": {"trigger_data": {"order": 17}, "config": {"url": "https://example.org/other"}},
        "beside_another": {"overlap": "allow"},
    },
    "cancel_execution": {"with_a_reason": {"reason": "took too long"}, "empty": {}},
    "forecast_with": {
        "and five hundred more": {
            "add": [{"schedule": {"kind": "cron", "expression": "0 9 * * mon-fri"}, "tasks": 500}]
        }
    },
    "decide_catch_up": {
        "let_them_run": {"action": "approve"},
        "record_them_as_missed": {"action": "discard"},
    },
    "patch_pool": {
        "a_limit": {"max_in_flight": 20},
        "no_limit": {"max_in_flight": None},
        "pause": {"paused": True},
    },
    "put_account": {
        "tier_and_a_limit": {"tier": "pro", "limits": {"max_concurrent": 4}},
        "the_tiers_limits_again": {"tier_limits": True},
    },
    "patch_account": {"of_ones_own": {"calendar_reminders": True}},
    "credit_account": {
        "topup": {"amount": 50, "reference": "invoice 2026-114"},
        "grant": {"amount": 5, "kind": "grant", "note": "for the trouble"},
        "taken_back": {"amount": -5, "kind": "adjustment", "note": "booked twice"},
    },
    **CALENDAR_BODIES,
    "create_template": {"daily_weather": _SAMPLES["command.template.create"]},
    "patch_template": {"for_pro_users": {"required_subscription_level": "pro"}},
    "put_template": {"not_to_be_used": {"is_active": False}},
    "instantiate_template": {"what_it_asks_for": {"config": {"params": {"location": "Berlin"}}}},
    "retry_execution": {"empty": {}},
    "preview_schedule": {
        "the_next_two": {
            "schedule": {"kind": "cron", "expression": "0 9 * * 1-5", "timezone": "Europe/Berlin"},
            "after": "2026-11-21T09:00:00Z",
            "count": 2,
        },
        "all_of_a_day": {
            "schedule": {"kind": "interval", "hours": 6},
            "after": "2026-11-21T00:00:00Z",
            "until": "2026-11-22T00:00:00Z",
        },
    },
}
"""Bodies by operation, each with a name."""

_TEMPLATE: Final[dict[str, Any]] = msgspec.json.decode(encode(_SAMPLES["outcome.template"]))["template"]
_ACCOUNT: Final = {
    "user_id": "u1",
    "account_id": "dTE",
    "tier": "pro",
    "limits": {"max_concurrent": 4},
    "effective_limits": {
        "max_tasks": None,
        "runs_per_day": None,
        "min_interval_seconds": None,
        "max_concurrent": 4,
    },
    "calendar_reminders": False,
    "balance": 137.5,
    "credited": 150.0,
    "closed": False,
    "closed_note": None,
    "consumed": 12.5,
    "version": 3,
    "created_at": _AT,
    "updated_at": _AT,
}
_ENTRIES: Final = {
    "items": [
        {
            "at": _AT,
            "amount": -12.5,
            "kind": "consumption",
            "execution_id": "nightly-report.20261121T090000Z",
            "command_id": None,
            "note": None,
            "reference": None,
            "seq": 52,
        },
        {
            "at": _AT,
            "amount": 50.0,
            "kind": "topup",
            "execution_id": None,
            "command_id": "c22",
            "note": None,
            "reference": "invoice 2026-114",
            "seq": 46,
        },
    ],
    "next_cursor": None,
}
_LOG_LINE: Final = {
    "id": "40-1",
    "attempt": 1,
    "at": _AT,
    "level": "info",
    "message": "fetched",
    "details": {"bytes": 512},
    "executor": "e-1",
}
RUN_LOG_STREAM: Final = (
    f"id: 40-1\nevent: log\ndata: {msgspec.json.encode(_LOG_LINE).decode()}\n\n"
    f'event: end\ndata: {{"execution_id": "{_EXECUTION["execution_id"]}"}}\n\n'
)
"""The same line as a follower gets it, and the end."""
ANSWERS: Final[dict[tuple[str, int], Any]] = {
    **SYSTEM_ANSWERS,
    ("create_task", 201): _TASK,
    ("create_task", 200): {"there_already": _TASK, "dry_run": _plain(_CREATED_DRY)},
    ("list_tasks", 200): {"items": [_TASK], "next_cursor": None},
    ("read_task", 200): {
        "now": {
            **_TASK,
            "running": [
                {
                    "execution_id": f"{_TASK['task_id']}.{_RUN}",
                    "run": _RUN,
                    "status": "running",
                    "attempt": 1,
                    "started_at": _AT,
                    "progress": {"fraction": 0.4, "message": "2 of 5 files"},
                }
            ],
        },
        "at_an_instant": {
            **_TASK,
            **dict.fromkeys(("run_count", "success_count", "failure_count", "consecutive_failures")),
            **dict.fromkeys(("last_run_time", "last_execution", "next_run_time", "runs_left")),
            "running": [],
            "not_known": f"executions that ended before {_AT} have been removed (GNOMON_EXECUTION_RETENTION)",
        },
    },
    ("task_history", 200): {
        "items": [
            {
                "version": 2,
                "at": _AT,
                "what": "updated",
                "user_id": "u1",
                "command_id": "0193a4e3",
                "trace_id": "0af7651916cd43dd8448eb211c80319c",
                "changes": [{"field": "priority", "old": "medium", "new": "high"}],
                "status_reason": None,
                "seq": 57,
            }
        ],
        "next_cursor": None,
    },
    ("patch_task", 200): {"changed": _CHANGED, "dry_run": _plain(_CHANGED_DRY)},
    ("put_task", 200): {"changed": _CHANGED, "dry_run": _plain(_CHANGED_DRY)},
    ("pause_task", 200): _PAUSED,
    ("resume_task", 200): {**_TASK, "version": 3},
    ("cancel_task", 200): _CANCELLED,
    ("complete_task", 200): {**_CANCELLED, "status": "completed"},
    ("backfill_task", 200): {
        "dry_run": False,
        "count": 2,
        "slots": ["2026-11-19T08:00:00.000Z", "2026-11-20T08:00:00.000Z"],
        "from": "2026-11-19T00:00:00.000Z",
        "to": "2026-11-21T00:00:00.000Z",
        "backfill_id": "0193a4e2",
        "task": {
            **_TASK,
            "backfills": [
                {
                    "backfill_id": "0193a4e2",
                    "from": "2026-11-19T00:00:00.000Z",
                    "to": "2026-11-21T00:00:00.000Z",
                    "total": 2,
                    "left": 1,
                    "in_flight": 1,
                }
            ],
        },
    },
    **{
        (name, 202): _PENDING
        for name in (
            *("create_task", "patch_task", "put_task", "delete_task"),
            *("patch_pool", "pause_task", "resume_task", "cancel_task", "complete_task"),
            *("backfill_task", "cancel_backfill"),
        )
    },
    **{(f"{verb}_account", 200): _ACCOUNT for verb in ("read_own", "read", "put", "patch", "credit")},
    **{(f"{verb}_account", 202): _PENDING for verb in ("put", "patch", "credit")},
    ("list_accounts", 200): {"items": [_ACCOUNT], "next_cursor": None},
    **{(f"read_{whose}entries", 200): _ENTRIES for whose in ("own_", "")},
    ("account_history", 200): {
        "items": [
            {
                "version": 2,
                "at": _AT,
                "what": "updated",
                "user_id": "root",
                "command_id": "c21",
                "trace_id": None,
                "changes": [{"field": "limits.max_concurrent", "old": "tier", "new": 4}],
                "seq": 45,
            }
        ],
        "next_cursor": None,
    },
    **{(f"{verb}_template", 200): _TEMPLATE for verb in ("create", "patch", "put")},
    ("create_template", 201): _TEMPLATE,
    **calendar_answers(_PENDING),
    ("read_template", 200): {**_TEMPLATE, "available": True},
    ("list_templates", 200): {"items": [{**_TEMPLATE, "available": True}], "next_cursor": None},
    ("template_history", 200): {
        "items": [
            {
                "version": 2,
                "at": _AT,
                "what": "updated",
                "user_id": "u1",
                "command_id": "c8",
                "trace_id": None,
                "changes": [{"field": "required_subscription_level", "old": "free", "new": "basic"}],
                "seq": 45,
            }
        ],
        "next_cursor": None,
    },
    ("instantiate_template", 200): {"there_already": _TASK, "dry_run": _plain(_CREATED_DRY)},
    ("instantiate_template", 201): {**_TASK, "template_id": _TEMPLATE["template_id"]},
    **{(f"{verb}_template", 202): _PENDING for verb in ("create", "patch", "put", "delete", "instantiate")},
    ("execute_task", 200): _EXECUTION,
    ("execute_task", 202): _WAITING,
    ("list_task_executions", 200): {"items": [_EXECUTION], "next_cursor": None},
    ("list_executions", 200): {"items": [_EXECUTION], "next_cursor": "WyItcmVjb3JkZWRfYXQiXQ"},
    ("read_execution", 200): _EXECUTION,
    ("read_run_log", 200): {"items": [_LOG_LINE], "next_cursor": None},
    ("cancel_execution", 202): {**_EXECUTION, "status": "running", "completed_at": None, "result": None},
    ("retry_execution", 202): {
        **_WAITING,
        "trigger": "retry",
        "reason": "retry",
        "retry_of": _EXECUTION["execution_id"],
    },
    ("explain_task", 200): {
        "slot": _AT,
        "verdict": "skipped",
        "reason": "An earlier execution was in flight, and the task's overlap policy is `skip`.",
        "steps": [
            {"at": _AT, "what": "skipped", "seq": 42, "detail": "skipped: overlap"},
        ],
    },
    ("read_task_analytics", 200): _plain(task_analytics("u1", _PERIOD, _TASKS_COUNTED, _HOURS)),
    ("read_platform_analytics", 200): _plain(
        platform_analytics(
            _PERIOD,
            _TASKS_COUNTED,
            _HOURS,
            {
                "starts": 120,
                "on_time": 119,
                "created": 3,
                "created_from_template": 1,
                "create_refused": 0,
                "missed": 3,
                "users": 1,
                "tasks_of_users": 3,
                "users_old": 1,
                "users_retained": 1,
                "storage_bytes": 9_000_000,
            },
            [(12, 110), (20, 10)],
            [(datetime(2026, 11, 20, tzinfo=UTC), 1), (datetime(2026, 11, 21, tzinfo=UTC), 1)],
        )
    ),
    ("forecast", 200): _FORECAST,
    ("forecast_with", 200): _FORECAST,
    ("audit_ledger", 200): _AUDIT,
    ("repair_ledger", 200): {"audit": _AUDIT, "repaired": 1, "archive_only": 0, "refused": [], "pending": 0},
    ("repair_ledger", 202): {"audit": _AUDIT, "repaired": 0, "archive_only": 0, "refused": [], "pending": 1},
    ("next_fires", 200): _PREVIEW,
    ("preview_schedule", 200): _PREVIEW,
    ("read_command", 200): {
        "command_id": "0193a4e2",
        "status": "ok",
        "task_id": _TASK["task_id"],
        "execution_id": None,
        "event": "created",
        "error": None,
        "decided_at": _AT,
        "seq": 42,
    },
    (
        "calendar_feed",
        200,
    ): "BEGIN:VCALENDAR\r\nVERSION:2.0\r\nPRODID:-//Gnomon//tasks//EN\r\nBEGIN:VEVENT\r\n…",
    ("read_events", 200): 'id: 42\nevent: task.executed\ndata: {"type":"gnomon.task.executed.v1", …}\n\n',
}
"""Answers by operation and status; where there are several, each with a name."""

_FIELDS: Final = {
    Code.INVALID: FieldError(
        pointer="#/name", code=Code.INVALID, message="has 0 characters; allowed: 1 to 255"
    ),
    Code.INVALID_SCHEDULE: FieldError(
        pointer="#/schedule/expression", code="invalid_cron", message="minute 61 is not 0 to 59"
    ),
    Code.UNKNOWN_FIELD: FieldError(
        pointer="#/nam", code=Code.UNKNOWN_FIELD, message="the field 'nam' is not known"
    ),
}


def problem_example(code: Code) -> dict[str, Any]:
    """The problem document of a code."""
    faults = [_FIELDS[code]] if code in _FIELDS else []
    words = f"{faults[0].pointer}: {faults[0].message}" if faults else CATALOGUE[code].title
    found = msgspec.structs.replace(problem(code, words, *faults), trace_id=_EXECUTION["trace_id"])
    decoded: dict[str, Any] = msgspec.json.decode(encode(found))
    return decoded
