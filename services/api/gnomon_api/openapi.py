"""The OpenAPI document, from the routes themselves and from the Structs they read and write.

Made here and not by the framework, whose schemas lose `additionalProperties: false`, nested limits and the
discriminators of tagged unions. A route without an entry in `OPERATIONS` is an error when the document is
made, which a test does.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final, NamedTuple

import msgspec
from litestar.handlers import HTTPRouteHandler

from gnomon_api.cluster import ExecutorsView, SchedulerView, TypeView
from gnomon_api.execution_views import EXECUTION_LISTS, Execution
from gnomon_api.explanation import Explanation
from gnomon_api.http_io import API
from gnomon_api.queries import Lists
from gnomon_api.routes.schedules import PreviewInput
from gnomon_api.task_views import TASK_LISTS
from gnomon_core.timing import Preview
from gnomon_schemas.commands import CancelTask, PauseTask, ResumeTask, RunTask
from gnomon_schemas.limits import ID_PATTERN
from gnomon_schemas.problems import CATALOGUE, Problem
from gnomon_schemas.schedules import Cron, Interval, Once
from gnomon_schemas.tasks import Task, TaskSpec

__all__ = ["OPERATIONS", "Operation", "openapi"]


class TaskPage(msgspec.Struct):
    """A page of tasks."""

    items: tuple[Task, ...]
    next_cursor: str | None


class ExecutionPage(msgspec.Struct):
    """A page of executions."""

    items: tuple[Execution, ...]
    next_cursor: str | None


class TypePage(msgspec.Struct):
    """All task types."""

    items: tuple[TypeView, ...]
    next_cursor: None


class CommandView(msgspec.Struct):
    """What became of a command; what is not known yet is left out."""

    command_id: str
    status: str
    """`pending`, `ok` or `refused`."""
    task_id: str | None = None
    execution_id: str | None = None
    event: str | None = None
    error: Problem | None = None
    decided_at: str | None = None
    seq: int | None = None


class CancelReason(msgspec.Struct):
    """Why an execution is ended."""

    reason: str | None = None


class Operation(NamedTuple):
    """What the document says of a route besides its docstring."""

    tag: str
    answers: Mapping[int, Any]
    """Status to type; None: no body."""
    body: Any = None
    params: Sequence[Mapping[str, Any]] = ()
    headers: Sequence[str] = ()
    problems: Sequence[int] = ()


def _query(name: str, words: str, kind: str = "string") -> dict[str, Any]:
    return {"name": name, "in": "query", "description": words, "schema": {"type": kind}}


def _list_params(lists: Lists) -> list[Mapping[str, Any]]:
    found: list[Mapping[str, Any]] = [
        {
            "name": "limit",
            "in": "query",
            "schema": {"type": "integer", "minimum": 1, "maximum": 500, "default": 50},
        },
        _query("cursor", "`next_cursor` of the page before."),
        _query("sort", f"One of {', '.join(sorted(lists.sorts))}; with `-` the other way round."),
    ]
    for name in sorted(lists.filters):
        shown = "metadata.<key>" if name == "metadata" else name
        if shown.startswith("metadata"):
            # Free-form names: one object parameter, spelled out as the query string has it.
            continue
        found.append(_query(shown, "Filter; several values with commas where it is no instant and no text."))
    return found


_TEXT: Final = "text"
_PENDING: Final = {202: CommandView}
_WRITE_PROBLEMS: Final = (400, 404, 409, 412, 413, 422, 429, 503)
_READ_PROBLEMS: Final = (404, 422, 503)
_KEY: Final = ("Idempotency-Key",)
_MATCH: Final = ("If-Match",)

OPERATIONS: Final[dict[str, Operation]] = {
    "create_task": Operation(
        "tasks", {201: Task, 200: Task, **_PENDING}, TaskSpec, headers=_KEY, problems=_WRITE_PROBLEMS
    ),
    "list_tasks": Operation(
        "tasks", {200: TaskPage}, params=_list_params(TASK_LISTS), problems=_READ_PROBLEMS
    ),
    "read_task": Operation("tasks", {200: Task}, problems=_READ_PROBLEMS),
    "patch_task": Operation(
        "tasks", {200: Task, **_PENDING}, {"type": "object"}, headers=_MATCH, problems=_WRITE_PROBLEMS
    ),
    "put_task": Operation(
        "tasks", {200: Task, **_PENDING}, {"type": "object"}, headers=_MATCH, problems=_WRITE_PROBLEMS
    ),
    "delete_task": Operation("tasks", {204: None, **_PENDING}, headers=_MATCH, problems=_WRITE_PROBLEMS),
    "pause_task": Operation(
        "tasks", {200: Task, **_PENDING}, PauseTask, headers=_KEY + _MATCH, problems=_WRITE_PROBLEMS
    ),
    "resume_task": Operation(
        "tasks", {200: Task, **_PENDING}, ResumeTask, headers=_KEY + _MATCH, problems=_WRITE_PROBLEMS
    ),
    "cancel_task": Operation(
        "tasks", {200: Task, **_PENDING}, CancelTask, headers=_KEY + _MATCH, problems=_WRITE_PROBLEMS
    ),
    "execute_task": Operation(
        "executions",
        {200: Execution, 202: Execution},
        RunTask,
        params=[_query("wait", "Seconds to wait for the end.", "number")],
        headers=(*_KEY, "Prefer"),
        problems=_WRITE_PROBLEMS,
    ),
    "list_task_executions": Operation(
        "executions", {200: ExecutionPage}, params=_list_params(EXECUTION_LISTS), problems=_READ_PROBLEMS
    ),
    "list_executions": Operation(
        "executions", {200: ExecutionPage}, params=_list_params(EXECUTION_LISTS), problems=_READ_PROBLEMS
    ),
    "read_execution": Operation("executions", {200: Execution}, problems=_READ_PROBLEMS),
    "cancel_execution": Operation(
        "executions", {202: Execution}, CancelReason, headers=_KEY, problems=_WRITE_PROBLEMS
    ),
    "explain_task": Operation(
        "executions",
        {200: Explanation},
        params=[
            _query("at", "An instant, RFC 3339: a slot, or any other."),
            _query("run", "A run, or the id of its execution; without either, the latest execution."),
        ],
        problems=_READ_PROBLEMS,
    ),
    "next_fires": Operation(
        "schedules",
        {200: Preview},
        params=[_query("count", "1 to 500.", "integer")],
        problems=_READ_PROBLEMS,
    ),
    "preview_schedule": Operation("schedules", {200: Preview}, PreviewInput, problems=(400, 413, 422)),
    "list_task_types": Operation("status", {200: TypePage}, problems=(422,)),
    "read_scheduler": Operation("status", {200: SchedulerView}, problems=(422, 503)),
    "read_executors": Operation("status", {200: ExecutorsView}, problems=(422, 503)),
    "read_command": Operation("commands", {200: CommandView}, problems=_READ_PROBLEMS),
    "read_events": Operation(
        "events",
        {200: _TEXT},
        params=[
            _query("event", "Names with commas, such as `executed,failed`."),
            _query("task_id", "Task ids with commas."),
            _query("user_id", "Owner of the tasks."),
        ],
        headers=("Last-Event-ID",),
        problems=(422,),
    ),
    "livez": Operation("health", {200: {"type": "object"}}),
    "readyz": Operation("health", {200: {"type": "object"}, 503: {"type": "object"}}),
    "health": Operation("health", {200: {"type": "object"}}),
    "metrics": Operation("health", {200: _TEXT}),
    "openapi_document": Operation("documents", {200: {"type": "object"}}),
    "docs_page": Operation("documents", {200: _TEXT}),
    "dashboard_page": Operation("documents", {200: _TEXT}),
}
"""Every route by the name of its function."""


def openapi(routes: Iterable[tuple[str, HTTPRouteHandler]], version: str) -> dict[str, Any]:
    """The document of these routes; each comes with the path that it lies under. Raises KeyError for a route
    that is not in `OPERATIONS`."""
    routes = list(routes)
    schemas, components = _schemas()
    paths: dict[str, dict[str, Any]] = {}
    for prefix, handler in routes:
        for path in handler.paths:
            shown = (prefix + path).replace(":str}", "}") or "/"
            for method in handler.http_methods:
                paths.setdefault(shown, {})[method.lower()] = _operation(handler, shown, schemas)
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "Gnomon",
            "version": version,
            "description": "A durable task scheduler. Errors are problem documents (RFC 9457).",
        },
        "servers": [{"url": "/"}],
        "tags": [{"name": tag} for tag in dict.fromkeys(one.tag for one in OPERATIONS.values())],
        "paths": paths,
        "components": {"schemas": components},
    }


def _operation(handler: HTTPRouteHandler, path: str, schemas: Mapping[Any, Any]) -> dict[str, Any]:
    name = handler.fn.__name__
    told = OPERATIONS[name]
    words = " ".join((handler.fn.__doc__ or "").split())
    found: dict[str, Any] = {
        "operationId": name,
        "tags": [told.tag],
        "summary": words.partition(". ")[0].rstrip("."),
        "description": words,
        "parameters": [*_path_params(path), *told.params, *_header_params(path, told.headers)],
        "responses": {str(status): _answer(kind, schemas) for status, kind in told.answers.items()},
    }
    if told.body is not None:
        found["requestBody"] = {"content": {"application/json": {"schema": _schema(told.body, schemas)}}}
    for status in told.problems:
        titles = sorted({entry.title for entry in CATALOGUE.values() if entry.status == status})
        found["responses"][str(status)] = {
            "description": "; ".join(titles),
            "content": {"application/problem+json": {"schema": schemas[Problem]}},
        }
    return found


def _answer(kind: Any, schemas: Mapping[Any, Any]) -> dict[str, Any]:
    if kind is None:
        return {"description": "Done"}
    if kind is _TEXT:
        return {"description": "Text", "content": {"text/plain": {"schema": {"type": "string"}}}}
    return {"description": "Done", "content": {"application/json": {"schema": _schema(kind, schemas)}}}


def _schema(kind: Any, schemas: Mapping[Any, Any]) -> Any:
    return kind if isinstance(kind, dict) else schemas[kind]


def _path_params(path: str) -> list[dict[str, Any]]:
    names = [part[1:-1] for part in path.split("/") if part.startswith("{")]
    return [
        {
            "name": name,
            "in": "path",
            "required": True,
            "schema": {"type": "string"}
            if name == "execution_id"
            else {"type": "string", "pattern": ID_PATTERN},
        }
        for name in names
    ]


def _header_params(path: str, names: Sequence[str]) -> list[dict[str, Any]]:
    if path.startswith(API):
        names = ("X-User-Id", *names)
    return [{"name": name, "in": "header", "schema": {"type": "string"}} for name in names]


def _schemas() -> tuple[dict[Any, Any], dict[str, Any]]:
    """The schema of every type that a route names, and all components under them."""
    kinds = {
        kind
        for told in OPERATIONS.values()
        for kind in (told.body, *told.answers.values())
        if isinstance(kind, type)
    }
    ordered = sorted(kinds | {Problem}, key=lambda kind: kind.__name__)
    documented = [_documented(kind) for kind in ordered]
    found, components = msgspec.json.schema_components(documented, ref_template="#/components/schemas/{name}")
    _describe_schedules(components)
    return dict(zip(ordered, found, strict=True)), components


def _documented(kind: type[msgspec.Struct]) -> type[msgspec.Struct]:
    """The same Struct for the document: a default that is JSON text cannot be written into a schema."""
    fields = msgspec.structs.fields(kind)
    if not any(isinstance(field.default, msgspec.Raw) for field in fields):
        return kind
    plain: list[Any] = []
    for field in fields:
        if isinstance(field.default, msgspec.Raw):
            value = msgspec.json.decode(field.default)
            default = msgspec.field(default_factory=dict) if value == {} else msgspec.field(default=value)
            plain.append((field.name, dict[str, Any] if value == {} else Any, default))
        elif field.default_factory is not msgspec.NODEFAULT:
            plain.append((field.name, field.type, msgspec.field(default_factory=field.default_factory)))
        elif field.default is not msgspec.NODEFAULT:
            plain.append((field.name, field.type, msgspec.field(default=field.default)))
        else:
            plain.append((field.name, field.type))
    made: type[msgspec.Struct] = msgspec.defstruct(
        kind.__name__,
        plain,
        kw_only=True,
        forbid_unknown_fields=kind.__struct_config__.forbid_unknown_fields,
        namespace={"__doc__": kind.__doc__},
    )
    return made


def _describe_schedules(components: dict[str, Any]) -> None:
    """What a schedule's `kind` says, as OpenAPI spells it."""
    for struct in (Cron, Interval, Once):
        kind = components.get(struct.__name__)
        if kind is not None:
            kind["properties"]["kind"] = {"const": struct.__struct_config__.tag}
