"""What other services told that could not be acted on: looked at, tried again, dropped. For admins."""

from __future__ import annotations

import re
from typing import Any, Final

import msgspec
from litestar import delete, get, post
from litestar.params import FromPath

from gnomon_api.database import Row
from gnomon_api.http_io import HttpRequest, HttpResponse, caller, json_response, services
from gnomon_api.idempotency import new_id
from gnomon_api.queries import shown_instant
from gnomon_api.readmodels.statements import statement
from gnomon_api.routes.commands import no_params
from gnomon_core.runtime.bus_errors import BusError
from gnomon_schemas import headers as h
from gnomon_schemas.problems import Code, FieldError, Refused

__all__ = ["ECOSYSTEM_ROUTES", "PoisonMessage", "PoisonPage"]

_ID: Final = re.compile(r"[0-9a-f]{32}")
_MOST: Final = 500
_decode_headers = msgspec.json.Decoder(dict[str, str]).decode


class PoisonMessage(msgspec.Struct, frozen=True, kw_only=True):
    """A message of another service that was set aside."""

    poison_id: str
    """Its id here."""
    name: str
    """What the message is known by: its own id, or the stream and sequence where it was."""
    subject: str
    stored_at: str
    """When it was told."""
    set_aside_at: str
    """When it was set aside, the last time."""
    reason: str
    """Why it cannot be acted on."""
    payload: str
    """As text; of a long one, in the list, the first 4,096 bytes. All of it is kept, and told again by a retry."""
    headers: dict[str, str]


class PoisonPage(msgspec.Struct, frozen=True, kw_only=True):
    """What was set aside, newest first; at most 500."""

    items: tuple[PoisonMessage, ...]
    next_cursor: None = None
    """There is no other page."""


@get("/ecosystem/poison")
async def list_poison(request: HttpRequest) -> HttpResponse:
    """Messages of other services that were set aside, newest first."""
    no_params(request)
    _admins_only(request)
    rows = await services(request).database.fetch(statement("poison"), _MOST)
    return json_response(PoisonPage(items=tuple(map(_shown, rows))))


@post("/ecosystem/poison/{poison_id:str}/retry", status_code=202)
async def retry_poison(request: HttpRequest, poison_id: FromPath[str]) -> HttpResponse:
    """Tell a message that was set aside once more, as if its owner had: 202 and the message."""
    no_params(request)
    _admins_only(request)
    api = services(request)
    row = await api.database.fetchrow(statement("one_poison"), _checked(poison_id))
    if row is None:
        raise _unknown(poison_id)
    # Under an id of its own: by the old one the shards would answer as they did before.
    told = {h.MSG_ID: f"again-{new_id()}"}
    if (trace := _decode_headers(row["headers"]).get(h.TRACEPARENT)) is not None:
        told[h.TRACEPARENT] = trace
    try:
        await api.bus.publish(row["subject"], row["payload"], told)
    except BusError as error:
        raise Refused(Code.UNAVAILABLE, f"NATS does not take it: {error}") from error
    await api.database.execute(statement("drop_poison"), poison_id)
    return json_response(_shown(row), 202)


@delete("/ecosystem/poison/{poison_id:str}", status_code=204)
async def drop_poison(request: HttpRequest, poison_id: FromPath[str]) -> None:
    """Forget a message that was set aside."""
    no_params(request)
    _admins_only(request)
    row = await services(request).database.fetchrow(statement("drop_poison"), _checked(poison_id))
    if row is None:
        raise _unknown(poison_id)


ECOSYSTEM_ROUTES: list[Any] = [list_poison, retry_poison, drop_poison]


def _admins_only(request: HttpRequest) -> None:
    if not caller(request).admin:
        raise Refused(Code.FORBIDDEN, "what other services told is for admins")


def _checked(poison_id: str) -> str:
    if _ID.fullmatch(poison_id) is None:
        message = f"is {poison_id[:80]!r}, which is no id of a message that was set aside"
        raise Refused(
            Code.INVALID_ID,
            f"poison_id {message}",
            FieldError(pointer="#/poison_id", code=Code.INVALID_ID, message=message),
        )
    return poison_id


def _unknown(poison_id: str) -> Refused:
    return Refused(Code.NOT_FOUND, f"no message {poison_id!r} is set aside")


def _shown(row: Row) -> PoisonMessage:
    return PoisonMessage(
        poison_id=row["poison_id"],
        name=row["name"],
        subject=row["subject"],
        stored_at=shown_instant(row["stored_at"]) or "",
        set_aside_at=shown_instant(row["set_aside_at"]) or "",
        reason=row["reason"],
        payload=bytes(row["payload"]).decode("utf-8", "replace"),
        headers=_decode_headers(row["headers"]),
    )
