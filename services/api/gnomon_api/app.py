"""The Litestar application: routes, errors as problem documents, and what every request passes through.

Every error leaves here as `application/problem+json`, whatever it was: a refusal of ours, an address that
does not exist, a method that is not allowed, a body that is too large, a database that is away, a fault of
our own. A fault is logged whole under its trace id, and its caller is told that id and nothing else.
"""

from __future__ import annotations

from typing import Any, Final

import msgspec
import structlog
from litestar import Litestar, Router
from litestar.datastructures import State
from litestar.exceptions import HTTPException
from litestar.types import ASGIApp

from gnomon_api.dashboard import dashboard_page
from gnomon_api.database import DatabaseAway
from gnomon_api.docs_page import docs_page, openapi_document, render_docs
from gnomon_api.edge import Edge
from gnomon_api.http_io import API, BODY_MAX, HttpRequest, HttpResponse, problem_response, traceparent
from gnomon_api.openapi import openapi
from gnomon_api.routes.accounts import ACCOUNT_ROUTES
from gnomon_api.routes.analytics import ANALYTICS_ROUTES
from gnomon_api.routes.backfills import BACKFILL_ROUTES
from gnomon_api.routes.calendar_feed import FEED_ROUTES
from gnomon_api.routes.calendars import CALENDAR_ROUTES
from gnomon_api.routes.catch_up import CATCH_UP_ROUTES
from gnomon_api.routes.commands import RefusedOutcome, read_command
from gnomon_api.routes.ecosystem import ECOSYSTEM_ROUTES
from gnomon_api.routes.events import read_events
from gnomon_api.routes.executions import EXECUTION_ROUTES
from gnomon_api.routes.explain import EXPLAIN_ROUTES
from gnomon_api.routes.forecast import FORECAST_ROUTES
from gnomon_api.routes.history import HISTORY_ROUTES
from gnomon_api.routes.ledger import LEDGER_ROUTES
from gnomon_api.routes.pools import POOL_ROUTES
from gnomon_api.routes.run_logs import RUN_LOG_ROUTES
from gnomon_api.routes.schedules import SCHEDULE_ROUTES
from gnomon_api.routes.status import HEALTH_ROUTES, STATUS_ROUTES
from gnomon_api.routes.tasks import TASK_ROUTES
from gnomon_api.routes.templates import TEMPLATE_ROUTES
from gnomon_api.services import ApiServices
from gnomon_core.runtime.telemetry import LogEvent
from gnomon_core.runtime.tracing import trace_id_of
from gnomon_schemas.problems import Code, Refused, problem

__all__ = ["API_ROUTES", "OUTER_ROUTES", "build_app", "document_of"]

API_ROUTES: Final = [
    *ANALYTICS_ROUTES,
    *TASK_ROUTES,
    *BACKFILL_ROUTES,
    *EXECUTION_ROUTES,
    *RUN_LOG_ROUTES,
    *EXPLAIN_ROUTES,
    *FORECAST_ROUTES,
    *HISTORY_ROUTES,
    *LEDGER_ROUTES,
    *ECOSYSTEM_ROUTES,
    *SCHEDULE_ROUTES,
    *FEED_ROUTES,
    *STATUS_ROUTES,
    *CATCH_UP_ROUTES,
    *POOL_ROUTES,
    *TEMPLATE_ROUTES,
    *ACCOUNT_ROUTES,
    *CALENDAR_ROUTES,
    read_command,
    read_events,
]
"""Routes under `/api/v1`."""
OUTER_ROUTES: Final = [*HEALTH_ROUTES, openapi_document, docs_page, dashboard_page]
"""Routes outside of it."""

_BODY_SLACK: Final = 64 * 1024
"""Litestar's own limit lies above ours, so that ours is what callers hear of, with words."""
_CODES: Final = {404: Code.NOT_FOUND, 405: Code.METHOD_NOT_ALLOWED, 413: Code.TOO_LARGE}
_log = structlog.get_logger(__name__)


def document_of(version: str) -> dict[str, Any]:
    """The OpenAPI document of all routes."""
    return openapi([*((API, one) for one in API_ROUTES), *(("", one) for one in OUTER_ROUTES)], version)


def build_app(services: ApiServices) -> ASGIApp:
    """The application over these services."""
    document = document_of(services.version)
    app = Litestar(
        [Router(API, route_handlers=API_ROUTES), *OUTER_ROUTES],
        state=State(
            {
                "services": services,
                "openapi_document": msgspec.json.encode(document),
                "docs_page": render_docs(document),
            }
        ),
        exception_handlers={
            Refused: _refused,
            RefusedOutcome: _refused,
            DatabaseAway: _away,
            HTTPException: _http_error,
            Exception: _fault,
        },
        openapi_config=None,
        request_max_body_size=BODY_MAX + _BODY_SLACK,
        logging_config=None,
    )
    return Edge(app, services.measures)


def _refused(request: HttpRequest, error: Refused | RefusedOutcome) -> HttpResponse:
    return problem_response(error.problem, traceparent(request))


def _away(request: HttpRequest, _: DatabaseAway) -> HttpResponse:
    words = "Postgres is away, so nothing can be read now; writes work, try reading again later"
    return problem_response(problem(Code.UNAVAILABLE, words), traceparent(request))


def _http_error(request: HttpRequest, error: HTTPException) -> HttpResponse:
    """What Litestar itself refuses: an address, a method, a size, a malformed request."""
    code = _CODES.get(error.status_code)
    path = request.scope["path"]
    if code is Code.NOT_FOUND:
        return problem_response(problem(code, f"there is nothing at {path[:200]!r}"), traceparent(request))
    if code is Code.METHOD_NOT_ALLOWED:
        detail = f"{request.method} is not allowed at {path[:200]!r}"
        response = problem_response(problem(code, detail), traceparent(request))
        response.headers.update({"Allow": ", ".join(_allowed_methods(path))})
        return response
    if code is not None:
        return problem_response(problem(code, f"allowed: {BODY_MAX:,} bytes"), traceparent(request))
    if error.status_code >= 500:
        return _fault(request, error)
    return problem_response(problem(Code.INVALID, error.detail), traceparent(request))


def _allowed_methods(path: str) -> list[str]:
    """The methods that an address takes."""
    parts = path.strip("/").split("/")
    found: set[str] = set()
    for prefix, handler in [*((API, one) for one in API_ROUTES), *(("", one) for one in OUTER_ROUTES)]:
        for known in handler.paths:
            pattern = f"{prefix}{known}".strip("/").split("/")
            if len(pattern) == len(parts) and all(
                expected.startswith("{") or expected == part
                for expected, part in zip(pattern, parts, strict=True)
            ):
                found |= handler.http_methods
    return sorted(found)


def _fault(request: HttpRequest, error: Exception) -> HttpResponse:
    trace = traceparent(request)
    _log.error(
        LogEvent.HTTP_FAILED,
        method=request.method,
        path=request.scope["path"],
        trace_id=trace_id_of(trace),
        exc_info=error,
    )
    return problem_response(problem(Code.INTERNAL, "the trace id finds it in the logs"), trace)
