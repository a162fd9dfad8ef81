"""What the OpenAPI document says of each route besides its docstring: types, parameters, headers, problem codes."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from gnomon_api.account_views import AccountPage, AccountView, CreditEntryPage
from gnomon_api.analytics import PlatformAnalytics, TaskAnalytics
from gnomon_api.auditing import AuditReport, Engine
from gnomon_api.backfilling import BackfillAnswer, BackfillInput
from gnomon_api.calendar_feed import FEED_DAYS_DEFAULT, FEED_DAYS_MAX, FEED_FILTERS
from gnomon_api.calendar_views import CALENDAR_LISTS, CalendarPage, CalendarView
from gnomon_api.cluster import ExecutorsView, SchedulerView
from gnomon_api.execution_views import EXECUTION_LISTS, Execution
from gnomon_api.explaining import Explanation
from gnomon_api.forecasting import ForecastReport
from gnomon_api.misfits import MisfitPage
from gnomon_api.object_history import ObjectChanges
from gnomon_api.openapi_examples import RUN_LOG_STREAM
from gnomon_api.operation_types import (
    CommandView,
    ExecutionPage,
    OneOf,
    Operation,
    OrStream,
    Patch,
    PoolPage,
    TaskPage,
    Text,
    TypePage,
)
from gnomon_api.planning import DryRun
from gnomon_api.queries import LIMIT_DEFAULT, LIMIT_MAX, Lists
from gnomon_api.repairing import RepairReport
from gnomon_api.routes.analytics import DAYS_DEFAULT, DAYS_MAX
from gnomon_api.routes.calendars import CalendarImport, CalendarReimport
from gnomon_api.routes.catch_up import CatchUpAnswer, CatchUpInput
from gnomon_api.routes.ecosystem import PoisonMessage, PoisonPage
from gnomon_api.routes.executions import CancelReason, NoFields
from gnomon_api.routes.forecast import BUCKET_DEFAULT, TOLERANCE_DEFAULT, ForecastInput
from gnomon_api.routes.schedules import COUNT_DEFAULT, COUNT_MAX, PreviewInput
from gnomon_api.run_log_views import LogPage
from gnomon_api.task_details import PastTask, TaskDetail
from gnomon_api.task_history import HISTORY_SORTS, HistoryPage
from gnomon_api.task_views import TASK_LISTS
from gnomon_api.template_views import TEMPLATE_LISTS, TemplatePage, TemplateView
from gnomon_core.timing import Preview
from gnomon_schemas.accounts import CreditAccount, UpdateAccount
from gnomon_schemas.blackouts import Calendar, CalendarSpec
from gnomon_schemas.commands import CancelTask, CompleteTask, PauseTask, ResumeTask, RunTask, UpdatePool
from gnomon_schemas.events import EVENT_TYPES
from gnomon_schemas.limits import ID_PATTERN
from gnomon_schemas.pools import Pool
from gnomon_schemas.problems import Code
from gnomon_schemas.run_logs import LEVELS
from gnomon_schemas.tasks import Task, TaskSpec
from gnomon_schemas.templates import Template, TemplateSpec

__all__ = ["OPERATIONS", "OneOf", "Operation", "OrStream", "Patch", "Text"]


def _query(name: str, words: str, **schema: Any) -> dict[str, Any]:
    return {"name": name, "in": "query", "description": words, "schema": {"type": "string", **schema}}


def _list_params(lists: Lists, *, without: str = "") -> list[Mapping[str, Any]]:
    sorts = [way + name for name in sorted(lists.sorts) for way in ("", "-")]
    found: list[Mapping[str, Any]] = [
        _query("limit", "How many.", type="integer", minimum=1, maximum=LIMIT_MAX, default=LIMIT_DEFAULT),
        _query("cursor", "`next_cursor` of the page before."),
        _query("sort", "By what; with `-` the other way round.", enum=sorts, default=lists.default_sort),
    ]
    for name, one in sorted(lists.filters.items()):
        if name == without:
            continue
        words, schema = _FILTER_WORDS[name], dict(one.schema)
        param: dict[str, Any] = {"name": name, "in": "query", "description": words, "schema": schema}
        if schema["type"] == "array":
            param |= {"style": "form", "explode": False}
            param["description"] += " Several with commas."
        elif schema["type"] == "object":
            example = {"team": {"value": {"metadata.team": "finance"}}}
            param |= {"name": "metadata.<key>", "style": "form", "explode": True, "examples": example}
        found.append(param)
    return found


_FILTER_WORDS: Final = {
    "status": "Where it stands.",
    "task_type": "What it does.",
    "user_id": "Its owner; only an admin sees others than their own.",
    "tag": "One of its tags.",
    "priority": "Its lane.",
    "q": "Text in its name or description.",
    "template_id": "The template that it was made from.",
    "overdue": "Due before now and neither completed nor cancelled.",
    "subscription_level": "Open to this subscription level; the caller's own where it is left out.",
    "category": "What it is grouped by.",
    "enabled": "Whether it touches anything.",
    "action": "What becomes of a slot inside.",
    "include_inactive": "Inactive ones too, for admins.",
    "metadata": "Members of its metadata, each as a parameter of its own: `metadata.team=finance`. The value is "
    "compared as text, and as the number, true, false or null that it spells. Several values with commas.",
    "created_after": "Created after this instant.",
    "created_before": "Created before this instant.",
    "due_after": "`due_date` after this instant.",
    "due_before": "`due_date` before this instant.",
    "next_run_before": "Runs next before this instant.",
    "task_id": "Of these tasks.",
    "trigger": "What made it.",
    "executor": "Run by this executor.",
    "scheduled_after": "`scheduled_for` after this instant.",
    "scheduled_before": "`scheduled_for` before this instant.",
}

_AUDIT_PARAMS: Final = (
    _query("since", "From here on; a day before `until` where it is not given.", format="date-time"),
    _query("until", "Up to here, exclusive; now, which is the latest there is.", format="date-time"),
    _query("task_id", "One task alone.", pattern=ID_PATTERN),
)
_FORECAST_PARAMS: Final = (
    _query("from", "From here on, cut to the minute; now.", format="date-time"),
    _query("to", "Up to here, exclusive; a day after `from`.", format="date-time"),
    _query(
        "bucket", "Seconds of a bucket, whole minutes.", type="integer", minimum=60, default=BUCKET_DEFAULT
    ),
    _query(
        "tolerance",
        "So many seconds late a task may be that has no `lateness_slo_seconds`, for `with_jitter`; its own jitter "
        "where that is longer.",
        type="integer",
        minimum=0,
        maximum=86400,
        default=TOLERANCE_DEFAULT,
    ),
)
_ANALYTICS_PARAMS: Final = (
    _query(
        "days",
        "So many days back from now, in whole hours.",
        type="integer",
        minimum=1,
        maximum=DAYS_MAX,
        default=DAYS_DEFAULT,
    ),
    _query("timezone", "IANA name of the zone in which the busiest hours and days are told; the api's own."),
)
_READ: Final = (Code.INVALID, Code.UNAVAILABLE)
_READ_PAGE: Final = (*_READ, Code.UNKNOWN_FIELD)
_READ_ONE: Final = (Code.INVALID_ID, Code.UNKNOWN_FIELD, Code.NOT_FOUND, Code.UNAVAILABLE)
_BODY: Final = (Code.NOT_JSON, Code.INVALID, Code.UNKNOWN_FIELD, Code.TOO_LARGE)
_WRITE: Final = (*_BODY, Code.INVALID_ID, Code.UNAVAILABLE, Code.UNREADABLE_STATE)
_BY_TEMPLATE: Final = (
    *(Code.TEMPLATE_NOT_FOUND, Code.TEMPLATE_INACTIVE, Code.SUBSCRIPTION_REQUIRED, Code.FORBIDDEN),
)
_SPEC: Final = (
    *(Code.INVALID_SCHEDULE, Code.INVALID_CONFIG, Code.UNKNOWN_TASK_TYPE, Code.UNSUPPORTED),
    *(Code.ACCOUNT_LIMIT, Code.ACCOUNT_REQUIRED, Code.ACCOUNT_CLOSED),
)
_ACCOUNT: Final = (Code.ACCOUNT_REQUIRED, Code.ACCOUNT_CLOSED)
_OF_TASK: Final = (Code.NOT_FOUND, Code.INVALID_STATE)
_CHANGE: Final = (*_WRITE, *_OF_TASK, Code.VERSION_MISMATCH)
_GONE: Final = (
    *(Code.INVALID_ID, Code.UNKNOWN_FIELD, Code.NOT_FOUND, Code.VERSION_MISMATCH),
    *(Code.UNAVAILABLE, Code.UNREADABLE_STATE),
)
_ONCE: Final = (Code.IDEMPOTENCY_MISMATCH,)
_KEY: Final = ("Idempotency-Key",)
_MATCH: Final = ("If-Match",)
_PENDING: Final = {202: CommandView}
_PAGE: Final = [
    _query("limit", "How many.", type="integer", minimum=1, maximum=LIMIT_MAX, default=LIMIT_DEFAULT),
    _query("cursor", "`next_cursor` of the page before."),
]
_DRY_RUN: Final = _query(
    "dry_run",
    "Store nothing, and tell what would be.",
    type="string",
    enum=["true", "false"],
    default="false",
)
_TASK_OR_PLAN: Final = OneOf((Task, DryRun))
_OBJECT: Final = {"type": "object"}
_FROM_TEMPLATE: Final = {"$ref": "#/components/schemas/TaskFromTemplate"}


def _act(body: Any) -> Operation:
    """A command whose body is its payload."""
    return Operation(
        "tasks", {200: Task, **_PENDING}, body, headers=_KEY + _MATCH, problems=(*_CHANGE, *_ONCE)
    )


def _set_account() -> Operation:
    return Operation(
        "accounts",
        {200: AccountView, **_PENDING},
        UpdateAccount,
        headers=_MATCH,
        problems=(*_BODY, Code.FORBIDDEN, Code.VERSION_MISMATCH, Code.UNAVAILABLE),
    )


def _of_objects(
    kind: str, lists: Lists, page: Any, view: Any, answer: Any, spec: Any, *more: Code
) -> dict[str, Operation]:
    """What every kind of object that admins keep has; `more`: problems of its writes besides the usual."""
    tag, writes = f"{kind}s", (*_WRITE, *more, Code.FORBIDDEN)
    patch = Operation(
        tag,
        {200: answer, **_PENDING},
        Patch(spec),
        headers=_MATCH,
        problems=(*writes, Code.NOT_FOUND, Code.VERSION_MISMATCH),
    )
    made = {201: answer, 200: answer, **_PENDING}
    making = (*writes, *_ONCE, Code.ALREADY_EXISTS, Code.DELETED)
    gone = (*_GONE, Code.FORBIDDEN)
    return {
        f"list_{tag}": Operation(
            tag, {200: page}, params=_list_params(lists), problems=(*_READ, Code.FORBIDDEN)
        ),
        f"create_{kind}": Operation(tag, made, spec, headers=_KEY, problems=making),
        f"read_{kind}": Operation(tag, {200: view}, problems=_READ_ONE),
        f"patch_{kind}": patch,
        f"put_{kind}": patch,
        f"delete_{kind}": Operation(tag, {204: None, **_PENDING}, headers=_MATCH, problems=gone),
        f"{kind}_history": Operation(
            tag, {200: ObjectChanges}, params=_PAGE, problems=(*_READ_PAGE, Code.FORBIDDEN)
        ),
    }


def _patch() -> Operation:
    return Operation(
        "tasks",
        {200: _TASK_OR_PLAN, **_PENDING},
        Patch(),
        params=[_DRY_RUN],
        headers=_MATCH,
        problems=(*_CHANGE, *_SPEC, Code.FORBIDDEN),
    )


OPERATIONS: Final[dict[str, Operation]] = {
    "create_task": Operation(
        "tasks",
        {201: Task, 200: _TASK_OR_PLAN, **_PENDING},
        TaskSpec,
        params=[_DRY_RUN],
        headers=_KEY,
        problems=(*_WRITE, *_SPEC, *_ONCE, *_BY_TEMPLATE, Code.ALREADY_EXISTS, Code.DELETED),
    ),
    "list_tasks": Operation("tasks", {200: TaskPage}, params=_list_params(TASK_LISTS), problems=_READ),
    "read_task": Operation(
        "tasks",
        {200: OneOf((TaskDetail, PastTask))},
        params=[_query("at", "A past instant: the task as it was then.", format="date-time")],
        problems=(*_READ_ONE, Code.INVALID),
    ),
    "task_history": Operation(
        "tasks",
        {200: HistoryPage},
        params=[
            _query("limit", "How many.", type="integer", minimum=1, maximum=LIMIT_MAX, default=LIMIT_DEFAULT),
            _query("cursor", "`next_cursor` of the page before."),
            _query(
                "sort", "The newest change first, or the oldest.", enum=list(HISTORY_SORTS), default="-at"
            ),
            _query("field", "Changes of these fields alone; several with commas."),
            _query("user_id", "Changes that these users asked for; several with commas."),
        ],
        problems=(*_READ_ONE, Code.INVALID),
    ),
    "patch_task": _patch(),
    "put_task": _patch(),
    "delete_task": Operation("tasks", {204: None, **_PENDING}, headers=_MATCH, problems=_GONE),
    "pause_task": _act(PauseTask),
    "resume_task": _act(ResumeTask),
    "cancel_task": _act(CancelTask),
    "complete_task": _act(CompleteTask),
    "backfill_task": Operation(
        "tasks",
        {200: BackfillAnswer, **_PENDING},
        BackfillInput,
        headers=_KEY + _MATCH,
        problems=(*_CHANGE, *_ONCE, Code.LIMIT, *_ACCOUNT),
    ),
    "cancel_backfill": Operation(
        "tasks",
        {204: None, **_PENDING},
        headers=_MATCH,
        problems=(*_GONE, Code.INVALID_STATE),
    ),
    "execute_task": Operation(
        "executions",
        {200: Execution, 202: Execution},
        RunTask,
        params=[_query("wait", "Seconds to wait for the end; then 200.", type="number", minimum=0)],
        headers=(*_KEY, "Prefer"),
        problems=(
            *_WRITE,
            *_OF_TASK,
            *_ONCE,
            Code.OVERLAP,
            Code.LIMIT,
            Code.UNSUPPORTED,
            Code.VERSION_MISMATCH,
            *_ACCOUNT,
        ),
    ),
    "list_task_executions": Operation(
        "executions",
        {200: ExecutionPage},
        params=_list_params(EXECUTION_LISTS, without="task_id"),
        problems=(*_READ, Code.INVALID_ID, Code.NOT_FOUND),
    ),
    "list_executions": Operation(
        "executions", {200: ExecutionPage}, params=_list_params(EXECUTION_LISTS), problems=_READ
    ),
    "read_execution": Operation("executions", {200: Execution}, problems=_READ_ONE),
    "read_run_log": Operation(
        "executions",
        {200: OrStream(LogPage, RUN_LOG_STREAM)},
        params=[
            _query("limit", "How many.", type="integer", minimum=1, maximum=LIMIT_MAX, default=LIMIT_DEFAULT),
            _query("cursor", "`next_cursor` of the page before, or the `id` of a line: what comes after it."),
            _query("attempt", "Of this attempt alone.", type="integer", minimum=1),
            {
                "name": "level",
                "in": "query",
                "description": "Of these levels. Several with commas.",
                "style": "form",
                "explode": False,
                "schema": {"type": "array", "items": {"type": "string", "enum": [*LEVELS]}},
            },
            _query(
                "follow",
                "As server-sent events, with those to come: `log` for a line, and `end` when the execution has ended.",
                enum=["true", "false"],
                default="false",
            ),
        ],
        headers=("Last-Event-ID",),
        problems=(*_READ_ONE, Code.INVALID),
    ),
    "cancel_execution": Operation(
        "executions",
        {202: Execution},
        CancelReason,
        headers=_KEY,
        problems=(*_WRITE, *_OF_TASK, *_ONCE),
    ),
    "retry_execution": Operation(
        "executions",
        {202: Execution},
        NoFields,
        headers=_KEY,
        problems=(*_WRITE, *_OF_TASK, *_ONCE, Code.OVERLAP, Code.LIMIT, *_ACCOUNT),
    ),
    "explain_task": Operation(
        "executions",
        {200: Explanation},
        params=[
            _query("at", "An instant: a slot, or any other.", format="date-time"),
            _query("run", "A run, or the id of its execution; without either, the latest execution."),
        ],
        problems=(*_READ_ONE, Code.INVALID),
    ),
    "forecast": Operation(
        "ledger", {200: ForecastReport}, params=_FORECAST_PARAMS, problems=(*_READ, Code.UNKNOWN_FIELD)
    ),
    "forecast_with": Operation(
        "ledger",
        {200: ForecastReport},
        ForecastInput,
        params=_FORECAST_PARAMS,
        problems=(*_BODY, Code.INVALID_SCHEDULE, Code.UNAVAILABLE),
    ),
    "read_task_analytics": Operation(
        "analytics",
        {200: TaskAnalytics},
        params=[*_ANALYTICS_PARAMS, _query("user_id", "Whose; the caller's own where it is not given.")],
        problems=(*_READ, Code.INVALID_ID, Code.FORBIDDEN, Code.UNKNOWN_FIELD),
    ),
    "read_platform_analytics": Operation(
        "analytics",
        {200: PlatformAnalytics},
        params=_ANALYTICS_PARAMS,
        problems=(*_READ, Code.FORBIDDEN, Code.UNKNOWN_FIELD),
    ),
    "audit_ledger": Operation(
        "ledger",
        {200: AuditReport},
        params=[
            *_AUDIT_PARAMS,
            _query(
                "engine",
                "By whose arithmetic the slots of cron schedules are reckoned: Gnomon's own, or cronsim's.",
                enum=list(Engine),
                default=Engine.TIMING,
            ),
        ],
        problems=(*_READ_ONE, Code.INVALID),
    ),
    "repair_ledger": Operation(
        "ledger",
        {200: RepairReport, 202: RepairReport},
        params=_AUDIT_PARAMS,
        problems=(*_READ_ONE, Code.INVALID, Code.FORBIDDEN),
    ),
    "next_fires": Operation(
        "schedules",
        {200: Preview},
        params=[
            _query("count", "How many.", type="integer", minimum=1, maximum=COUNT_MAX, default=COUNT_DEFAULT)
        ],
        problems=(*_READ_ONE, Code.INVALID),
    ),
    "preview_schedule": Operation(
        "schedules", {200: Preview}, PreviewInput, problems=(*_BODY, Code.INVALID_SCHEDULE)
    ),
    "list_misfits": Operation(
        "status",
        {200: MisfitPage},
        params=[
            _query("limit", "How many.", type="integer", minimum=1, maximum=LIMIT_MAX, default=LIMIT_DEFAULT),
            _query("cursor", "`next_cursor` of the page before."),
        ],
        problems=(*_READ_ONE, Code.INVALID),
    ),
    "list_task_types": Operation("status", {200: TypePage}, problems=(Code.UNKNOWN_FIELD,)),
    "read_scheduler": Operation(
        "status", {200: SchedulerView}, problems=(Code.UNKNOWN_FIELD, Code.UNAVAILABLE)
    ),
    "read_executors": Operation(
        "status", {200: ExecutorsView}, problems=(Code.UNKNOWN_FIELD, Code.UNAVAILABLE)
    ),
    "decide_catch_up": Operation(
        "status",
        {200: CatchUpAnswer, 202: CatchUpAnswer},
        CatchUpInput,
        headers=_KEY,
        problems=(*_BODY, *_ONCE, Code.FORBIDDEN, Code.UNAVAILABLE, Code.UNREADABLE_STATE, Code.NOT_FOUND),
    ),
    "list_pools": Operation("pools", {200: PoolPage}, problems=(Code.UNKNOWN_FIELD, Code.UNAVAILABLE)),
    "read_own_account": Operation(
        "accounts", {200: AccountView}, problems=(Code.UNKNOWN_FIELD, Code.UNAVAILABLE)
    ),
    "read_own_entries": Operation("accounts", {200: CreditEntryPage}, params=_PAGE, problems=_READ_PAGE),
    "list_accounts": Operation(
        "accounts", {200: AccountPage}, params=_PAGE, problems=(*_READ_PAGE, Code.FORBIDDEN)
    ),
    "read_account": Operation("accounts", {200: AccountView}, problems=_READ_ONE),
    "put_account": _set_account(),
    "patch_account": _set_account(),
    "credit_account": Operation(
        "accounts",
        {200: AccountView, **_PENDING},
        CreditAccount,
        headers=_KEY + _MATCH,
        problems=(*_BODY, *_ONCE, Code.FORBIDDEN, Code.VERSION_MISMATCH, Code.UNAVAILABLE),
    ),
    "read_entries": Operation(
        "accounts", {200: CreditEntryPage}, params=_PAGE, problems=(*_READ_ONE, Code.INVALID)
    ),
    "account_history": Operation(
        "accounts", {200: ObjectChanges}, params=_PAGE, problems=(*_READ_PAGE, Code.FORBIDDEN)
    ),
    **_of_objects("template", TEMPLATE_LISTS, TemplatePage, TemplateView, Template, TemplateSpec),
    **_of_objects(
        *("calendar", CALENDAR_LISTS, CalendarPage, CalendarView, Calendar, CalendarSpec),
        Code.INVALID_SCHEDULE,
    ),
    "import_calendar": Operation(
        "calendars",
        {201: Calendar, 200: Calendar, **_PENDING},
        CalendarImport,
        headers=_KEY,
        problems=(*_WRITE, *_ONCE, Code.FORBIDDEN, Code.ALREADY_EXISTS, Code.DELETED),
    ),
    "reimport_calendar": Operation(
        "calendars",
        {200: Calendar, **_PENDING},
        CalendarReimport,
        headers=_KEY + _MATCH,
        problems=(*_WRITE, *_ONCE, Code.NOT_FOUND, Code.FORBIDDEN, Code.VERSION_MISMATCH),
    ),
    "instantiate_template": Operation(
        "templates",
        {201: Task, 200: _TASK_OR_PLAN, **_PENDING},
        _FROM_TEMPLATE,
        params=[_DRY_RUN],
        headers=_KEY,
        problems=(*_WRITE, *_SPEC, *_ONCE, *_BY_TEMPLATE, Code.ALREADY_EXISTS, Code.DELETED),
    ),
    "patch_pool": Operation(
        "pools",
        {200: Pool, **_PENDING},
        UpdatePool,
        headers=_MATCH,
        problems=(*_WRITE, Code.FORBIDDEN, Code.VERSION_MISMATCH),
    ),
    "list_poison": Operation(
        "ecosystem", {200: PoisonPage}, problems=(Code.FORBIDDEN, Code.UNKNOWN_FIELD, Code.UNAVAILABLE)
    ),
    "retry_poison": Operation("ecosystem", {202: PoisonMessage}, problems=(*_READ_ONE, Code.FORBIDDEN)),
    "drop_poison": Operation("ecosystem", {204: None}, problems=(*_READ_ONE, Code.FORBIDDEN)),
    "read_command": Operation("commands", {200: CommandView}, problems=_READ_ONE),
    "calendar_feed": Operation(
        "schedules",
        {200: Text("text/calendar")},
        params=[
            _query(
                "days",
                "How many days back and ahead.",
                type="integer",
                minimum=1,
                maximum=FEED_DAYS_MAX,
                default=FEED_DAYS_DEFAULT,
            ),
            *(one for one in _list_params(TASK_LISTS) if one["name"] in FEED_FILTERS),
        ],
        problems=_READ,
    ),
    "read_events": Operation(
        "events",
        {200: Text("text/event-stream")},
        params=[
            {
                "name": "event",
                "in": "query",
                "description": "Names of events. Several with commas.",
                "style": "form",
                "explode": False,
                "schema": {
                    "type": "array",
                    "items": {"type": "string", "enum": [*EVENT_TYPES, "progress"]},
                },
            },
            {
                "name": "task_id",
                "in": "query",
                "description": "Of these tasks. Several with commas.",
                "style": "form",
                "explode": False,
                "schema": {"type": "array", "items": {"type": "string", "pattern": ID_PATTERN}},
            },
            _query("user_id", "Owner of the tasks; an admin's choice."),
        ],
        headers=("Last-Event-ID",),
        problems=(Code.INVALID, Code.INVALID_ID, Code.UNKNOWN_FIELD),
    ),
    "livez": Operation("health", {200: _OBJECT}),
    "readyz": Operation("health", {200: _OBJECT, 503: _OBJECT}),
    "health": Operation("health", {200: _OBJECT}),
    "metrics": Operation("health", {200: Text("text/plain")}),
    "openapi_document": Operation("documents", {200: _OBJECT}),
    "docs_page": Operation("documents", {200: Text("text/html")}),
    "dashboard_page": Operation(
        "documents",
        {200: Text("text/html")},
        params=[
            _query(
                "bare", "Without style and script.", type="string", enum=["true", "false"], default="false"
            )
        ],
        problems=(Code.INVALID,),
    ),
}
"""Every route by the name of its function."""
