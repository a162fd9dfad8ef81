"""The OpenAPI document, from the routes themselves and from the Structs they read and write.

Made here and not by the framework, whose schemas lose `additionalProperties: false`, nested limits and the
discriminators of tagged unions. A route without an entry in `OPERATIONS` is an error when the document is
made, which a test does.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final

import msgspec
from litestar.handlers import HTTPRouteHandler

from gnomon_api.account_views import AccountView
from gnomon_api.calendar_views import CalendarView
from gnomon_api.http_io import API
from gnomon_api.openapi_examples import ANSWERS, BODIES, problem_example
from gnomon_api.operations import OPERATIONS, OneOf, Operation, OrStream, Patch, Text
from gnomon_api.task_details import TaskDetail
from gnomon_schemas.accounts import UpdateAccount
from gnomon_schemas.blackouts import Calendar, CalendarSpec
from gnomon_schemas.commands import BackfillTask, UpdatePool
from gnomon_schemas.documents.field_rules import EXECUTION_ID_PATTERN, rule_of
from gnomon_schemas.documents.json_schema import (
    components,
    input_of,
    patch_name,
    patch_of,
    task_input,
)
from gnomon_schemas.limits import ID_PATTERN, USER_ID_MAX_CHARS
from gnomon_schemas.pools import Pool
from gnomon_schemas.problems import CATALOGUE, Code, Problem
from gnomon_schemas.tasks import Task, TaskSpec, TaskStatus
from gnomon_schemas.templates import Template, TemplateSpec

__all__ = ["OPERATIONS", "openapi"]

_REF: Final = "#/components/schemas/{name}"
_PATCH: Final = "TaskPatch"
_VERSIONED: Final = (Task, TaskDetail, Pool, Template, Calendar, CalendarView, AccountView)
"""What is answered with its version as `ETag`."""
_BODY_REQUIRED: Final = (
    *("create_task", "patch_task", "put_task", "backfill_task"),
    *("preview_schedule", "decide_catch_up", "patch_pool"),
    *("create_template", "patch_template", "put_template"),
    *("put_account", "patch_account", "credit_account"),
    *("create_calendar", "patch_calendar", "put_calendar", "import_calendar", "reimport_calendar"),
)
"""Operations whose body may not be left out."""
_HEADERS: Final[Mapping[str, Mapping[str, Any]]] = {
    "X-User-Id": {
        "description": "The acting user; without it `local`. Everybody is an admin while there is no sign-in.",
        "schema": {"type": "string", "minLength": 1, "maxLength": USER_ID_MAX_CHARS},
    },
    "Idempotency-Key": {
        "description": "Sent again with the same key and body, a request is answered again and not done again.",
        "schema": {"type": "string", "minLength": 1},
    },
    "If-Match": {
        "description": "The version that was last seen, as the `ETag` told it: refused where it has changed since.",
        "schema": {"type": "string"},
        "example": '"3"',
    },
    "Prefer": {
        "description": "`wait=<seconds>`, as the parameter `wait`.",
        "schema": {"type": "string"},
        "example": "wait=10",
    },
    "Last-Event-ID": {
        "description": "Goes on after this event; an event `gap` tells when some of what was missed is gone.",
        "schema": {"type": "string", "pattern": r"^\d{0,18}$"},
    },
}
_ANSWER_HEADERS: Final[Mapping[str, str]] = {
    "ETag": "The task's version, for `If-Match`.",
    "Location": "Where to look for it.",
    "Retry-After": "Seconds after which to try again.",
}


def openapi(routes: Iterable[tuple[str, HTTPRouteHandler]], version: str) -> dict[str, Any]:
    """The document of these routes; each comes with the path that it lies under. Raises KeyError for a route
    that is not in `OPERATIONS`."""
    refs, schemas = _schemas()
    paths: dict[str, dict[str, Any]] = {}
    for prefix, handler in routes:
        for path in handler.paths:
            shown = (prefix + path).replace(":str}", "}") or "/"
            for method in handler.http_methods:
                paths.setdefault(shown, {})[method.lower()] = _operation(handler, shown, method, refs)
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "Gnomon",
            "version": version,
            "description": "A durable task scheduler. Errors are problem documents (RFC 9457). Times are RFC 3339: any "
            "offset is taken, and answers are in UTC with milliseconds.",
        },
        "servers": [{"url": "/"}],
        "tags": [{"name": tag} for tag in dict.fromkeys(one.tag for one in OPERATIONS.values())],
        "paths": paths,
        "components": {"schemas": schemas},
    }


def _operation(handler: HTTPRouteHandler, path: str, method: str, refs: Mapping[Any, Any]) -> dict[str, Any]:
    name = handler.fn.__name__
    told = OPERATIONS[name]
    words = " ".join((handler.fn.__doc__ or "").split())
    found: dict[str, Any] = {
        "operationId": name,
        "tags": [told.tag],
        "summary": words.partition(". ")[0].rstrip("."),
        "description": words,
        "parameters": [*_path_params(path), *told.params, *_header_params(path, told.headers)],
        "responses": {
            str(status): _answer(name, status, kind, refs) for status, kind in told.answers.items()
        },
    }
    if told.body is not None:
        examples = {title: {"value": body} for title, body in BODIES[name].items()}
        content = {"schema": _schema(told.body, refs), "examples": examples}
        required = name in _BODY_REQUIRED
        found["requestBody"] = {"required": required, "content": {"application/json": content}}
    for status, codes in _problem_codes(path, method, told).items():
        found["responses"][str(status)] = _problem(status, codes, refs)
    return found


def _answer(name: str, status: int, kind: Any, refs: Mapping[Any, Any]) -> dict[str, Any]:
    if kind is None:
        return {"description": "Done"}
    example = ANSWERS.get((name, status))
    if isinstance(kind, Text):
        content: dict[str, Any] = {"schema": {"type": "string"}}
        media_type = kind.media_type
    else:
        shown = kind.kind if isinstance(kind, OrStream) else kind
        content, media_type = {"schema": _schema(shown, refs)}, "application/json"
    if isinstance(kind, OneOf):
        assert example is not None, f"{name} {status} shows nothing"
        content["examples"] = {title: {"value": one} for title, one in example.items()}
    elif example is not None:
        content["example"] = example
    words = "Stored; its outcome is not there yet" if status == 202 else "Done"
    found: dict[str, Any] = {"description": words, "content": {media_type: content}}
    if isinstance(kind, OrStream):
        found["content"]["text/event-stream"] = {
            "schema": {"type": "string"},
            "example": kind.stream,
        }
    kinds = kind.kinds if isinstance(kind, OneOf) else (kind,)
    headers = ["ETag"] if any(one in _VERSIONED for one in kinds) else []
    if status in (201, 202):
        headers.append("Location")
    if headers:
        found["headers"] = _answer_headers(headers)
    return found


def _answer_headers(names: Sequence[str]) -> dict[str, Any]:
    return {name: {"description": _ANSWER_HEADERS[name], "schema": {"type": "string"}} for name in names}


def _problem_codes(path: str, method: str, told: Operation) -> dict[int, list[Code]]:
    codes = list(told.problems)
    if path.startswith(API):
        # Whoever asks may be named wrongly, a parameter may be one that is not known, and a fault of ours anywhere.
        codes += [Code.INVALID_ID, Code.UNKNOWN_FIELD, Code.INTERNAL]
        # A page from elsewhere may change nothing.
        codes += [] if method == "GET" else [Code.FORBIDDEN]
    found: dict[int, list[Code]] = {}
    for code in sorted(set(codes), key=list(Code).index):
        found.setdefault(CATALOGUE[code].status, []).append(code)
    return found


def _problem(status: int, codes: Sequence[Code], refs: Mapping[Any, Any]) -> dict[str, Any]:
    schema = {"allOf": [refs[Problem], {"properties": {"code": {"enum": [str(code) for code in codes]}}}]}
    examples = {str(code): {"value": problem_example(code)} for code in codes}
    found: dict[str, Any] = {
        "description": "; ".join(f"`{code}`: {CATALOGUE[code].title}" for code in codes),
        "content": {"application/problem+json": {"schema": schema, "examples": examples}},
    }
    if status == 503:
        found["headers"] = _answer_headers(["Retry-After"])
    return found


def _schema(kind: Any, refs: Mapping[Any, Any]) -> Any:
    if isinstance(kind, OneOf):
        # Not oneOf: readers ignore fields that they do not know, so an answer may fit more than one of them.
        return {"anyOf": [refs[one] for one in kind.kinds]}
    if isinstance(kind, Patch):
        return {"$ref": _REF.format(name=patch_name(kind.kind))}
    return kind if isinstance(kind, dict) else refs[kind]


_PATH_RULES: Final[Mapping[str, Mapping[str, Any]]] = {
    "execution_id": {"pattern": EXECUTION_ID_PATTERN},
    "user": {"minLength": 1, "maxLength": USER_ID_MAX_CHARS},
}
"""Parts of paths that are no plain ids."""


def _path_params(path: str) -> list[dict[str, Any]]:
    names = [part[1:-1] for part in path.split("/") if part.startswith("{")]
    return [
        {
            "name": name,
            "in": "path",
            "required": True,
            "schema": {"type": "string", **_PATH_RULES.get(name, {"pattern": ID_PATTERN})},
        }
        for name in names
    ]


def _header_params(path: str, names: Sequence[str]) -> list[dict[str, Any]]:
    if path.startswith(API):
        names = ("X-User-Id", *names)
    return [{"name": name, "in": "header", **_HEADERS[name]} for name in names]


def _schemas() -> tuple[dict[Any, Any], dict[str, Any]]:
    """The reference to every type that a route names, and all components."""
    kinds: set[type[msgspec.Struct]] = {Problem, Task}
    for told in OPERATIONS.values():
        for kind in (told.body, *told.answers.values()):
            if isinstance(kind, OneOf):
                kinds.update(kind.kinds)
            elif isinstance(kind, OrStream | Patch):
                kinds.add(kind.kind)
            elif isinstance(kind, type):
                kinds.add(kind)
    refs, found = components(kinds, _REF, discriminators=True)
    spec = found[TaskSpec.__name__]
    found[_PATCH] = patch_of(found, spec)
    found[_PATCH]["properties"]["status"] = {
        "type": "string",
        "enum": [str(status) for status in TaskStatus],
        "description": "`paused`, `scheduled`, `pending` and `cancelled` ask for that; the status that the task has, "
        "and `running`, ask for nothing.",
    }
    found[TaskSpec.__name__] = task_input(spec, with_id=True)
    found["TaskFromTemplate"] = {
        key: value for key, value in found[TaskSpec.__name__].items() if key != "anyOf"
    } | {"description": "The body of a new task, of which what it leaves out comes from the template."}
    template = found[TemplateSpec.__name__]
    found[patch_name(TemplateSpec)] = patch_of(found, template, TemplateSpec)
    found[TemplateSpec.__name__] = input_of(template, TemplateSpec)
    calendar = found[CalendarSpec.__name__]
    found[patch_name(CalendarSpec)] = patch_of(found, calendar, CalendarSpec)
    found[CalendarSpec.__name__] = input_of(calendar, CalendarSpec)
    for kind in (UpdateAccount, UpdatePool):
        found[kind.__name__] = input_of(found[kind.__name__], kind)
    # In an event an attempt has begun; an execution may still wait for its first.
    for name in ("Execution", "RunningExecution"):
        found[name]["properties"]["attempt"] |= {
            "minimum": 0,
            "description": "The try that has begun last, from 1; 0: none has.",
        }
    # The command that it becomes says what its fields may hold; and a span may have nothing to run.
    for name in ("from", "to", "concurrency"):
        field = found["BackfillInput"]["properties"][name]
        field.pop("pattern", None)
        field.update(rule_of(BackfillTask, name))
    found["BackfillAnswer"]["properties"]["count"]["minimum"] = 0
    for name in ("Pool", "PoolView"):
        found[name]["properties"]["version"]["minimum"] = 0
    # The route reads it in two steps, so that it can say all that is wrong.
    for name in ("PreviewInput", "PlannedInput"):
        found[name]["properties"]["schedule"] = {
            key: value
            for key, value in spec["properties"]["schedule"].items()
            if key in ("anyOf", "discriminator")
        } | {"description": "As a task has it."}
    return refs, found
