"""What every request passes through: its trace begins or goes on here, its log lines get their ids, it is counted."""

from __future__ import annotations

import re
import time
from typing import Any
from urllib.parse import unquote

import structlog
from litestar.enums import ScopeType
from litestar.types import ASGIApp, Message, Receive, Scope, Send

from gnomon_api.http_io import API, ENCODED_SLASH, TRACE_KEY
from gnomon_api.measures import ApiMeasures
from gnomon_core.runtime.logs import handling
from gnomon_core.runtime.telemetry import LogEvent
from gnomon_core.runtime.tracing import child_traceparent, new_traceparent

__all__ = ["Edge"]

_ACCOUNTS = f"{API}/accounts/"
_NO_ROUTE = "(none)"
_FAULT = 500
_log = structlog.get_logger(__name__)


class Edge:
    """Wraps the application."""

    def __init__(self, app: ASGIApp, measures: ApiMeasures) -> None:
        self._app = app
        self._measures = measures

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        if scope["type"] == ScopeType.WEBSOCKET:
            await self._app(scope, receive, send)
            return
        raw = scope.get("raw_path")
        if raw and b"%2" in raw and scope["path"].startswith(_ACCOUNTS):
            scope["path"] = _path_of(raw)
        above = _traceparent_of(scope["headers"])
        request = _Handled(scope)
        tracing = self._measures.tracing
        if not tracing.recording or not scope["path"].startswith(API):
            # What only looks whether the process is well would fill the traces.
            scope[TRACE_KEY] = child_traceparent(above) if above else new_traceparent()  # type: ignore[typeddict-unknown-key]  # an extra key of ours
            with handling(request):
                await self._serve(scope, receive, send)
            return
        with tracing.span(f"{scope['method']}", above, kind="server") as traceparent:
            scope[TRACE_KEY] = traceparent  # type: ignore[typeddict-unknown-key]  # an extra key of ours
            with handling(request):
                route, status = await self._serve(scope, receive, send)
            tracing.tell(
                f"answered {status}" if status >= _FAULT else None,
                {
                    "http.request.method": scope["method"],
                    "http.route": route,
                    "http.response.status_code": status,
                },
                name=f"{scope['method']} {route}",
            )

    async def _serve(self, scope: Any, receive: Receive, send: Send) -> tuple[str, int]:
        """Serve; the route's pattern, and the status answered."""
        begun, status = time.perf_counter(), _FAULT

        async def answer(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                message["headers"] = [*message["headers"], (b"x-content-type-options", b"nosniff")]
            await send(message)

        try:
            await self._app(_asked_for(scope), receive, answer)
        finally:
            route = _route_of(scope)
            seconds = time.perf_counter() - begun
            self._measures.answered(str(scope["method"]), route, status, seconds)
            _log.debug(
                LogEvent.HTTP_ANSWERED,
                method=scope["method"],
                route=route,
                status=status,
                ms=round(seconds * 1000, 1),
            )
        return route, status


def _asked_for(scope: Any) -> Any:
    """The request as the application hears it. HEAD is GET to it, and the server keeps the body back: probes and
    browsers ask so. Not under the API, where a stream would have no end."""
    if scope["method"] != "HEAD" or scope["path"].startswith(API):
        return scope
    return {**scope, "method": "GET"}


class _Handled:
    """What log lines about a request carry."""

    __slots__ = ("_scope",)

    def __init__(self, scope: Any) -> None:
        self._scope = scope

    def log_fields(self) -> dict[str, str | None]:
        """See `Handled`. The ids in the address are there once the route was found."""
        params = self._scope.get("path_params") or {}
        return {
            "traceparent": self._scope.get(TRACE_KEY),
            **{
                name: str(params[name])
                for name in ("task_id", "execution_id", "command_id")
                if name in params
            },
        }


def _path_of(raw: bytes) -> str:
    """A path in which slashes that were sent encoded can be told from those between segments."""
    return unquote(re.sub("%2f", ENCODED_SLASH, raw.decode("ascii"), flags=re.IGNORECASE))


def _traceparent_of(headers: Any) -> str | None:
    for name, value in headers:
        if name == b"traceparent":
            return str(value.decode("latin-1"))
    return None


def _route_of(scope: Any) -> str:
    """The pattern of the address, never the address itself: as a label it must not grow without bound."""
    if scope.get("route_handler") is None:
        return _NO_ROUTE
    return str(scope.get("path_template") or _NO_ROUTE)
