"""What handlers logged, over HTTP: a page of it, or followed as server-sent events."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any, Final

import msgspec
from litestar import get
from litestar.params import FromPath
from litestar.response import Stream

from gnomon_api.database import DatabaseAway
from gnomon_api.http_io import (
    HttpRequest,
    HttpResponse,
    caller,
    execution_parts,
    flag,
    json_response,
    params_of,
    services,
)
from gnomon_api.parameters import Parameters, two_numbers
from gnomon_api.queries import LIMIT_DEFAULT, LIMIT_MAX
from gnomon_api.routes.executions import seen_execution
from gnomon_api.run_log_views import START, LogEntry, LogPosition, WantedLines
from gnomon_api.services import ApiServices
from gnomon_core.runtime.bus_errors import BusError
from gnomon_schemas.limits import ATTEMPTS_MAX
from gnomon_schemas.problems import Code, Refused
from gnomon_schemas.run_logs import LEVELS

__all__ = ["RUN_LOG_ROUTES", "read_run_log"]

_IDLE_SECONDS: Final = 15.0
"""After so long without a line a comment is sent, so that proxies keep the connection and dead ones are noticed."""
_LAST_ID_HEADER: Final = "last-event-id"
_encode = msgspec.json.Encoder().encode


@get("/executions/{execution_id:str}/logs")
async def read_run_log(request: HttpRequest, execution_id: FromPath[str]) -> HttpResponse | Stream:
    """What the handler of an execution logged, over all attempts. With `?follow=true` also what is to come."""
    params = Parameters(params_of(request), "limit", "cursor", "attempt", "level", "follow")
    task_id, run = execution_parts(execution_id)
    follow = flag(request, "follow")
    limit = params.number("limit", 1, LIMIT_MAX) or LIMIT_DEFAULT
    wanted = WantedLines(attempt=params.number("attempt", 1, ATTEMPTS_MAX), levels=_levels(params))
    cursor = _place(params, "cursor", params.text("cursor"))
    after = _place(params, "Last-Event-ID", request.headers.get(_LAST_ID_HEADER)) or cursor or START
    params.refuse()
    api = services(request)
    try:
        execution = await seen_execution(api, execution_id, caller(request))
        if not follow:
            page = await api.run_logs.page(task_id, run, wanted=wanted, after=after, limit=limit)
            return json_response(page)
    except BusError as error:
        raise Refused(Code.UNAVAILABLE, f"NATS does not answer: {error}") from error
    return Stream(
        _frames(api, execution_id, wanted, after, ended=execution.status not in _UNDER_WAY),
        media_type="text/event-stream",
        headers={"Cache-Control": "no-store", "X-Accel-Buffering": "no"},
    )


RUN_LOG_ROUTES: list[Any] = [read_run_log]

_UNDER_WAY: Final = frozenset({"queued", "running", "retrying"})


async def _frames(
    api: ApiServices, execution_id: str, wanted: WantedLines, after: LogPosition, *, ended: bool
) -> AsyncIterator[bytes]:
    """The stream's text."""
    task_id, run = execution_parts(execution_id)
    lines = api.run_logs.follow(task_id, run, wanted=wanted, after=after, ended=ended, idle=_IDLE_SECONDS)
    try:
        yield b"retry: 1000\n: connected\n\n"
        async for line in lines:
            yield b": still here\n\n" if line is None else _frame(line)
        yield b"event: end\ndata: " + _encode({"execution_id": execution_id}) + b"\n\n"
    except (BusError, DatabaseAway) as error:
        # A browser comes back by itself, with the id of the last line it has.
        yield b": " + str(error).replace("\r", " ").replace("\n", " ").encode() + b"\n\n"
    finally:
        await lines.aclose()


def _frame(line: LogEntry) -> bytes:
    """A line as the protocol writes it; JSON has no line breaks outside of strings but those that a handler's own
    encoder left in details, which mean nothing."""
    data = _encode(line).replace(b"\r", b" ").replace(b"\n", b" ")
    return b"id: " + line.id.encode() + b"\nevent: log\ndata: " + data + b"\n\n"


def _levels(params: Parameters) -> tuple[str, ...] | None:
    text = params.text("level")
    if text is None:
        return None
    names = tuple(part.strip() for part in text.split(","))
    for name in names:
        if name not in LEVELS:
            params.wrong("level", f"is {name[:80]!r}; allowed: {', '.join(LEVELS)}, several with commas")
    return names


def _place(params: Parameters, name: str, text: str | None) -> LogPosition | None:
    if not text:
        return None
    place = two_numbers(text)
    if place is None:
        params.wrong(name, f"is {text[:80]!r}; allowed is the id of a line, or `next_cursor`")
        return None
    return LogPosition(*place)
