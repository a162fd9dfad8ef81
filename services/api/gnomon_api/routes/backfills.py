"""Backfills over HTTP: running slots of the past, and stopping that."""

from __future__ import annotations

from typing import Any

import msgspec
from litestar import delete, post
from litestar.params import FromPath

from gnomon_api.backfilling import Backfilling, BackfillInput
from gnomon_api.http_io import (
    HttpRequest,
    HttpResponse,
    body_of,
    caller,
    checked_id,
    json_response,
    services,
)
from gnomon_api.routes.commands import identity_of, no_params, pending_response, send
from gnomon_core.rules.decoding import parse_body
from gnomon_core.runtime.bus_errors import BusError
from gnomon_schemas.commands import BackfillTask
from gnomon_schemas.problems import Code, Refused

__all__ = ["BACKFILL_ROUTES"]


@post("/tasks/{task_id:str}/backfill", status_code=200)
async def backfill_task(request: HttpRequest, task_id: FromPath[str]) -> HttpResponse:
    """Run slots of the past: all of a span, or those without a success. With `dry_run` nothing is run, and the answer
    tells how many there would be. The runs have a lane of their own: they wait for everything live."""
    no_params(request)
    checked_id(task_id)
    api = services(request)
    body = body_of(await request.body())
    wanted = parse_body(body, BackfillInput)
    backfilling = Backfilling(api.tasks, api.limits, api.database, api.projection)
    try:
        chosen = await backfilling.select(task_id, wanted, caller(request), now_ms=api.clock.now_ms())
    except BusError as error:
        raise Refused(Code.UNAVAILABLE, f"NATS does not answer: {error}") from error
    if wanted.dry_run:
        return json_response(chosen.answer(dry_run=True))
    ids = await identity_of(request, body, task_id=task_id)
    if not chosen.count:
        return json_response(chosen.answer(dry_run=False))
    outcome = await send(request, "backfill", task_id, chosen.payload(wanted.concurrency), ids)
    if outcome is None:
        return pending_response(ids)
    return json_response(chosen.answer(dry_run=False, backfill_id=ids.command_id, task=outcome.task))


@delete("/tasks/{task_id:str}/backfills/{backfill_id:str}", status_code=200)
async def cancel_backfill(
    request: HttpRequest, task_id: FromPath[str], backfill_id: FromPath[str]
) -> HttpResponse:
    """Stop a backfill: what it has not handed out yet does not run."""
    no_params(request)
    checked_id(task_id)
    checked_id(backfill_id, "backfill_id")
    ids = await identity_of(request, b"")
    payload = msgspec.json.encode(BackfillTask(cancel=backfill_id))
    outcome = await send(request, "backfill", task_id, payload, ids)
    return pending_response(ids) if outcome is None else HttpResponse(b"", status_code=204)


BACKFILL_ROUTES: list[Any] = [backfill_task, cancel_backfill]
