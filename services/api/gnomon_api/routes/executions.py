"""Executions over HTTP: running a task now, looking at runs, ending one."""

from __future__ import annotations

import asyncio
from typing import Final

import msgspec
import structlog
from litestar import get, post
from litestar.params import FromPath

from gnomon_api.database import DatabaseAway
from gnomon_api.execution_views import Execution, shown_row
from gnomon_api.http_io import (
    API,
    HttpRequest,
    HttpResponse,
    body_of,
    caller,
    checked_id,
    execution_parts,
    json_response,
    params_of,
    services,
    wait_seconds,
)
from gnomon_api.identity import Caller
from gnomon_api.readmodels.fold import fold_chain
from gnomon_api.routes.commands import identity_of, no_params, pending_response, send
from gnomon_api.services import ApiServices
from gnomon_core.rules.decoding import parse_body
from gnomon_core.rules.run_input import parse_retry, parse_run
from gnomon_core.runtime.bus_errors import BusError
from gnomon_core.runtime.telemetry import LogEvent
from gnomon_schemas.commands import AcceptedExecution, CancelExecution, RetryExecution
from gnomon_schemas.problems import Code, Refused
from gnomon_schemas.subjects import EVENTS_STREAM, chain, partition_of
from gnomon_schemas.tasks import ExecutionStatus

__all__ = ["EXECUTION_ROUTES", "CancelReason", "NoFields", "seen_execution"]

_LOOK_SECONDS: Final = 1.0
"""How long the read models may take to show an execution that a write was about."""
_log = structlog.get_logger(__name__)


class CancelReason(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Why an execution is ended."""

    reason: str | None = None


class NoFields(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Nothing is to be said."""


@post("/tasks/{task_id:str}/execute", status_code=202)
async def execute_task(request: HttpRequest, task_id: FromPath[str]) -> HttpResponse:
    """Run a task now. 202 and the execution; with `?wait=` 200 and the finished one."""
    no_params(request, "wait")
    api = services(request)
    checked_id(task_id)
    wait = wait_seconds(request, api.settings.execute_wait)
    body = body_of(await request.body())
    parse_run(body)
    ids = await identity_of(request, body, task_id=task_id)
    # Before the command is sent: a quick run may be over before its outcome is here.
    execution_id = f"{task_id}.r-{ids.command_id}"
    ended = api.hub.expect_end(execution_id)
    try:
        outcome = await send(request, "run", task_id, body or b"{}", ids)
        if outcome is None:
            return pending_response(ids)
        headers = {"Location": f"{API}/executions/{execution_id}"}
        if wait is not None:
            headers["Preference-Applied"] = f"wait={wait:g}"
            await _until_ended(api, ended, wait)
        execution = await _execution(api, execution_id, outcome.execution)
        finished = getattr(execution, "completed_at", None) is not None
        return json_response(execution, 200 if wait is not None and finished else 202, headers)
    finally:
        api.hub.forget(execution_id, ended)


@get("/tasks/{task_id:str}/executions")
async def list_task_executions(request: HttpRequest, task_id: FromPath[str]) -> HttpResponse:
    """A page of a task's executions, also of one that was deleted."""
    api, who = services(request), caller(request)
    await api.tasks.known(checked_id(task_id), who)
    return json_response(await api.executions.list(params_of(request), who, task_id=task_id))


@get("/executions")
async def list_executions(request: HttpRequest) -> HttpResponse:
    """A page of executions."""
    return json_response(await services(request).executions.list(params_of(request), caller(request)))


@get("/executions/{execution_id:str}")
async def read_execution(request: HttpRequest, execution_id: FromPath[str]) -> HttpResponse:
    """One execution."""
    no_params(request)
    execution_parts(execution_id)
    return json_response(await services(request).executions.get(execution_id, caller(request)))


@post("/executions/{execution_id:str}/cancel", status_code=202)
async def cancel_execution(request: HttpRequest, execution_id: FromPath[str]) -> HttpResponse:
    """End one execution, waiting or running. 202: a running handler is given time to stop."""
    no_params(request)
    task_id, run = execution_parts(execution_id)
    body = body_of(await request.body())
    reason = parse_body(body, CancelReason).reason
    ids = await identity_of(request, body, task_id=task_id)
    payload = msgspec.json.encode(CancelExecution(run=run, reason=reason))
    outcome = await send(request, "cancel_execution", task_id, payload, ids)
    if outcome is None:
        return pending_response(ids)
    api = services(request)
    return json_response(await _execution(api, execution_id, outcome.execution), 202)


@post("/executions/{execution_id:str}/retry", status_code=202)
async def retry_execution(request: HttpRequest, execution_id: FromPath[str]) -> HttpResponse:
    """Run an execution that has ended once more, with what it was given: 202 and the new execution."""
    no_params(request)
    task_id, run = execution_parts(execution_id)
    payload = msgspec.json.encode(RetryExecution(run=run))
    body = body_of(await request.body())
    parse_body(body, NoFields)
    parse_retry(payload)
    ids = await identity_of(request, payload, task_id=task_id)
    outcome = await send(request, "retry_execution", task_id, payload, ids)
    if outcome is None:
        return pending_response(ids)
    made = f"{task_id}.r-{ids.command_id}"
    found = await _execution(services(request), made, outcome.execution)
    return json_response(found, 202, {"Location": f"{API}/executions/{made}"})


EXECUTION_ROUTES = [
    execute_task,
    list_task_executions,
    list_executions,
    read_execution,
    cancel_execution,
    retry_execution,
]


async def _until_ended(api: ApiServices, ended: asyncio.Future[int], wait: float) -> None:
    """Wait until the execution has ended and the read models say so, or the time is up."""
    try:
        async with asyncio.timeout(wait):
            sequence = await ended
    except TimeoutError:
        return
    await api.projection.reached(sequence, within=api.settings.read_your_writes)


async def _execution(
    api: ApiServices, execution_id: str, accepted: AcceptedExecution | None
) -> Execution | AcceptedExecution:
    """The execution as the read models have it; from its own events where they are behind or away.

    The command is decided by now, so its caller is answered even where nothing can be read: with what the shard said.
    """
    try:
        told = await _from_events(api, execution_id)
    except BusError as error:
        _log.warning(LogEvent.EXECUTION_UNREAD, execution_id=execution_id, error=str(error))
        told = None
    try:
        # A database that hangs is not to hold up what is decided, and known from its events.
        async with asyncio.timeout(_LOOK_SECONDS):
            found = await api.executions.find(execution_id)
    except (DatabaseAway, TimeoutError):
        found = None
    if found is not None and (told is None or _rank(found) >= _rank(told)):
        return found
    return told or accepted or _nothing_known(execution_id)


async def seen_execution(api: ApiServices, execution_id: str, who: Caller) -> Execution:
    """An execution that the caller may see, also one that began just now. Raises Refused, DatabaseAway, BusError."""
    found = await api.executions.find(execution_id) or await _from_events(api, execution_id)
    if found is None or not (who.admin or found.user_id == who.user_id):
        raise Refused(Code.NOT_FOUND, f"there is no execution {execution_id!r}")
    return found


async def _from_events(api: ApiServices, execution_id: str) -> Execution | None:
    task_id, run = execution_parts(execution_id)
    subject = chain(partition_of(task_id, api.settings.partitions), task_id, run)
    row = fold_chain(await api.bus.multi_last(EVENTS_STREAM, [subject]))
    return None if row is None else shown_row(row)


def _rank(execution: Execution) -> int:
    """How far an execution is."""
    order = {ExecutionStatus.QUEUED: 0, ExecutionStatus.RUNNING: 1, ExecutionStatus.RETRYING: 1}
    return order.get(execution.status, 2)


def _nothing_known(execution_id: str) -> AcceptedExecution:
    task_id, run = execution_parts(execution_id)
    return AcceptedExecution(execution_id=execution_id, task_id=task_id, run=run, scheduled_for="")
