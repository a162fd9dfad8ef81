"""Writes: a request becomes a command, its outcome the response. And what became of a command."""

from __future__ import annotations

from typing import Any

import msgspec
from litestar import get
from litestar.params import FromPath

from gnomon_api.commander import WantedCommand
from gnomon_api.http_io import (
    API,
    HttpRequest,
    HttpResponse,
    caller,
    json_response,
    services,
    traceparent,
)
from gnomon_api.idempotency import KEY_HEADER, RequestIdentity
from gnomon_api.queries import shown_instant
from gnomon_api.readmodels.statements import statement
from gnomon_schemas.commands import Outcome
from gnomon_schemas.limits import is_id
from gnomon_schemas.problems import Code, FieldError, Problem, Refused

__all__ = ["RefusedOutcome", "identity_of", "no_params", "pending_response", "read_command", "send"]


class RefusedOutcome(Exception):
    """The shard refused a command: its problem is the response."""

    def __init__(self, found: Problem) -> None:
        super().__init__(found.detail)
        self.problem = found


def no_params(request: HttpRequest, *allowed: str) -> None:
    """Refuse parameters that the route does not know. Raises Refused."""
    for name, _ in request.query_params.multi_items():
        if name not in allowed:
            words = ", ".join(allowed) or "none"
            message = f"the parameter {name[:80]!r} is not known here; allowed: {words}"
            error = FieldError(pointer=f"#/{name[:80]}", code=Code.UNKNOWN_FIELD, message=message)
            raise Refused(Code.UNKNOWN_FIELD, message, error)


async def identity_of(
    request: HttpRequest, body: bytes, *, task_id: str = "", index: int = 0
) -> RequestIdentity:
    """The ids of a write. Only POST takes an `Idempotency-Key`; the others are idempotent by themselves.
    Raises Refused."""
    key = request.headers.get(KEY_HEADER) if request.method == "POST" else None
    route = f"{request.method} {request.scope['path']}"
    return await services(request).requests.identify(
        caller(request), route, key, body, task_id=task_id, index=index
    )


async def send(
    request: HttpRequest,
    verb: str,
    object_id: str,
    payload: bytes,
    ids: RequestIdentity,
    *,
    kind: str = "task",
    matching: bool = True,
) -> Outcome | None:
    """Send a command, and wait for its outcome and until the read models show it.

    `matching`: the request's `If-Match` holds for this command. None: there was no outcome in time, and the
    caller is to hear 202. Raises Refused, RefusedOutcome.
    """
    api = services(request)
    wanted = WantedCommand(
        kind=kind,
        verb=verb,
        object_id=object_id,
        command_id=ids.command_id,
        payload=payload,
        caller=caller(request),
        traceparent=traceparent(request),
        if_match=request.headers.get("if-match") if matching else None,
    )
    outcome = await api.commander.send(wanted, within=api.settings.write_timeout)
    if outcome is None:
        task_id = object_id if kind == "task" else ""
        await api.requests.remember(ids.command_id, wanted.caller, task_id)
        return None
    if not outcome.ok:
        raise RefusedOutcome(outcome.error or Refused(Code.INTERNAL, "refused without a reason").problem)
    await api.projection.reached(outcome.seq, within=api.settings.read_your_writes)
    return outcome


def pending_response(ids: RequestIdentity) -> HttpResponse:
    """202: the command is stored, and its outcome is to be looked up."""
    return json_response(
        {"command_id": ids.command_id, "status": "pending"},
        202,
        {"Location": f"{API}/commands/{ids.command_id}"},
    )


@get("/commands/{command_id:str}")
async def read_command(request: HttpRequest, command_id: FromPath[str]) -> HttpResponse:
    """What became of a command: `pending`, `ok` or `refused`."""
    no_params(request)
    if not is_id(command_id):
        raise Refused(Code.INVALID_ID, f"{command_id[:80]!r} is no command id")
    api, who = services(request), caller(request)
    row = await api.database.fetchrow(statement("command_by_id"), command_id)
    if row is not None and (who.admin or row["user_id"] == who.user_id):
        problem = row["problem"]
        return json_response(
            {
                "command_id": command_id,
                "status": row["status"],
                "task_id": row["task_id"] or None,
                "execution_id": row["execution_id"],
                "event": row["event"],
                "error": None if problem is None else msgspec.Raw(problem.encode()),
                "decided_at": shown_instant(row["decided_at"]),
                "seq": row["seq"],
            }
        )
    asked = await api.database.fetchrow(statement("pending_command"), command_id)
    if asked is None or not (who.admin or asked["user_id"] == who.user_id):
        raise Refused(Code.NOT_FOUND, f"there is no command {command_id!r}")
    pending: dict[str, Any] = {
        "command_id": command_id,
        "status": "pending",
        "task_id": asked["task_id"] or None,
        "asked_at": shown_instant(asked["asked_at"]),
    }
    return json_response(pending)
