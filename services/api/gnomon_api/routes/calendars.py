"""Calendars of blackouts over HTTP: listed, kept by admins, and read from iCalendar files."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta
from typing import Any, Final

import msgspec
from litestar import delete, get, patch, post, put
from litestar.params import FromPath

from gnomon_api.calendar_import import HORIZON_DAYS, HORIZON_DAYS_MAX, Imported, read_ical
from gnomon_api.http_io import (
    API,
    HttpRequest,
    HttpResponse,
    body_of,
    caller,
    checked_id,
    chosen_id,
    json_response,
    params_of,
    services,
)
from gnomon_api.routes.commands import identity_of, no_params, pending_response, send
from gnomon_core.rules.calendar_input import parse_calendar, parse_calendar_patch
from gnomon_core.rules.decoding import parse_body, read_object, refuse
from gnomon_core.runtime.holiday_loading import holidays_at_hand
from gnomon_schemas.blackouts import BlackoutAction, CalendarSpec, DeleteCalendar, Selector
from gnomon_schemas.clock_text import EPOCH, parse_instant
from gnomon_schemas.commands import Outcome
from gnomon_schemas.problems import Code, FieldError, Refused
from gnomon_schemas.zones import zone

__all__ = ["CALENDAR_ROUTES", "CalendarImport", "CalendarReimport"]

_KIND: Final = "calendar"
_ICAL_TYPE: Final = "text/calendar"


class CalendarReimport(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """An iCalendar whose events are the calendar's spans from now on."""

    ical: str
    """As RFC 5545 has it: its events are read, but for cancelled ones and those that are over."""
    until: str | None = None
    """RFC 3339: up to here events that recur are written out; null: for 366 days. At most 3,660 days ahead."""


class CalendarImport(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """An iCalendar, and what is to be known of the calendar that is made of it."""

    ical: str
    """As RFC 5545 has it: its events are read, but for cancelled ones and those that are over."""
    selector: Selector
    """Whose slots it touches; empty: those of all tasks."""
    calendar_id: str | None = None
    """An id of the caller's choice."""
    name: str | None = None
    """Null: what the file calls itself, else `imported`."""
    description: str | None = None
    action: BlackoutAction = BlackoutAction.SKIP
    """What becomes of a slot inside."""
    timezone: str | None = None
    """Of whole days, and of times that name no zone; null: the default zone of the installation."""
    until: str | None = None
    """RFC 3339: up to here events that recur are written out; null: for 366 days. At most 3,660 days ahead."""


@get("/calendars")
async def list_calendars(request: HttpRequest) -> HttpResponse:
    """A page of the calendars of blackouts, and whether each is in force now."""
    return json_response(await services(request).calendars.page(params_of(request)))


@post("/calendars")
async def create_calendar(request: HttpRequest) -> HttpResponse:
    """Make a calendar, as an admin; under an id of the caller's choice where the body names one."""
    no_params(request)
    body = body_of(await request.body())
    await _checked(request, body)
    return await _create(request, body, body, chosen_id(body, "calendar_id"))


@post("/calendars/import")
async def import_calendar(request: HttpRequest) -> HttpResponse:
    """Make a calendar of the events of an iCalendar, as an admin."""
    no_params(request)
    body = body_of(await request.body())
    given = parse_body(body, CalendarImport)
    timezone = given.timezone or services(request).settings.timezone
    found = await _read(request, given.ical, timezone, given.until)
    spec = CalendarSpec(
        name=given.name if given.name is not None else found.name or "imported",
        selector=given.selector,
        description=given.description,
        action=given.action,
        timezone=timezone,
        spans=found.spans,
        expanded_until=found.expanded_until,
    )
    payload = msgspec.json.encode(spec)
    await _checked(request, payload)
    chosen = None if given.calendar_id is None else checked_id(given.calendar_id, "calendar_id")
    return await _create(request, body, payload, chosen)


@get("/calendars/{calendar_id:str}")
async def read_calendar(request: HttpRequest, calendar_id: FromPath[str]) -> HttpResponse:
    """One calendar, and whether it is in force now."""
    no_params(request)
    found = await services(request).calendars.get(checked_id(calendar_id, "calendar_id"))
    return json_response(found, headers={"ETag": f'"{found.version}"'})


@patch("/calendars/{calendar_id:str}")
async def patch_calendar(request: HttpRequest, calendar_id: FromPath[str]) -> HttpResponse:
    """Change a calendar by a merge patch, as an admin. What it put off goes when it is over as it is then."""
    return await _change(request, calendar_id)


@put("/calendars/{calendar_id:str}")
async def put_calendar(request: HttpRequest, calendar_id: FromPath[str]) -> HttpResponse:
    """Change a calendar by a merge patch, as an admin: PUT merges too, so that clients need not know every field."""
    return await _change(request, calendar_id)


@post("/calendars/{calendar_id:str}/import", status_code=200)
async def reimport_calendar(request: HttpRequest, calendar_id: FromPath[str]) -> HttpResponse:
    """Replace the spans of a calendar by the events of an iCalendar, as an admin. The body is JSON, or the file itself
    as `text/calendar`."""
    no_params(request)
    checked_id(calendar_id, "calendar_id")
    body = body_of(await request.body())
    if request.headers.get("content-type", "").partition(";")[0].strip().lower() == _ICAL_TYPE:
        given = CalendarReimport(ical=_text(body))
    else:
        given = parse_body(body, CalendarReimport)
    api = services(request)
    timezone = (await api.calendars.get(calendar_id)).timezone or api.settings.timezone
    found = await _read(request, given.ical, timezone, given.until)
    payload = msgspec.json.encode({"spans": found.spans, "expanded_until": found.expanded_until})
    return await _update(request, calendar_id, body, payload)


@delete("/calendars/{calendar_id:str}", status_code=200)
async def delete_calendar(request: HttpRequest, calendar_id: FromPath[str]) -> HttpResponse:
    """Delete a calendar, as an admin. What it put off goes."""
    no_params(request)
    ids = await identity_of(request, b"")
    payload = msgspec.json.encode(DeleteCalendar())
    outcome = await send(request, "delete", checked_id(calendar_id, "calendar_id"), payload, ids, kind=_KIND)
    return pending_response(ids) if outcome is None else HttpResponse(b"", status_code=204)


@get("/calendars/{calendar_id:str}/history")
async def calendar_history(request: HttpRequest, calendar_id: FromPath[str]) -> HttpResponse:
    """Every change of a calendar, the newest first: who, when, which fields, by which command."""
    checked_id(calendar_id, "calendar_id")
    return json_response(await services(request).calendars.history(calendar_id, params_of(request)))


async def _create(request: HttpRequest, body: bytes, payload: bytes, chosen: str | None) -> HttpResponse:
    ids = await identity_of(request, body, task_id=chosen or "")
    calendar_id = chosen or ids.object_id
    outcome = await send(request, "create", calendar_id, payload, ids, kind=_KIND)
    if outcome is None:
        return pending_response(ids)
    made = outcome.created or (outcome.replayed and ids.keyed)
    return _response(outcome, 201 if made else 200, {"Location": f"{API}/calendars/{calendar_id}"})


async def _change(request: HttpRequest, calendar_id: str) -> HttpResponse:
    no_params(request)
    checked_id(calendar_id, "calendar_id")
    body = body_of(await request.body())
    read_object(body)
    await holidays_at_hand([body])
    return await _update(request, calendar_id, body, body)


async def _update(request: HttpRequest, calendar_id: str, body: bytes, payload: bytes) -> HttpResponse:
    # Checked against an empty one, so that what is wrong is said at once; the shard merges it into what there is.
    api = services(request)
    nothing = CalendarSpec(name="x", selector=Selector())
    parse_calendar_patch(payload, nothing, now_ms=api.clock.now_ms(), default_timezone=api.settings.timezone)
    ids = await identity_of(request, body, task_id=calendar_id)
    outcome = await send(request, "update", calendar_id, payload, ids, kind=_KIND)
    return pending_response(ids) if outcome is None else _response(outcome)


async def _checked(request: HttpRequest, body: bytes) -> None:
    """Refuse here what the shard would refuse. Raises Refused."""
    await holidays_at_hand([body])
    api = services(request)
    parse_calendar(body, now_ms=api.clock.now_ms(), default_timezone=api.settings.timezone)


async def _read(request: HttpRequest, ical: str, timezone: str, until: str | None) -> Imported:
    """The spans of an iCalendar, read beside the event loop. Raises Refused."""
    # Who may not have it is told before any work is done for him.
    if not caller(request).admin:
        raise Refused(Code.FORBIDDEN, "calendars are everybody's: only the role admin may change one")
    errors: list[FieldError] = []
    now = EPOCH + timedelta(seconds=services(request).clock.now_ms() // 1000)
    end = _until(until, now, errors)
    try:
        zone(timezone)
    except ValueError as error:
        errors.append(FieldError(pointer="#/timezone", code=Code.INVALID, message=str(error)))
    refuse(errors)
    return await asyncio.to_thread(read_ical, ical, timezone=timezone, now=now, until=end)


def _until(text: str | None, now: datetime, errors: list[FieldError]) -> datetime:
    if text is None:
        return now + timedelta(days=HORIZON_DAYS)
    last = now + timedelta(days=HORIZON_DAYS_MAX)
    try:
        until = parse_instant(text).astimezone(UTC)
    except ValueError as error:
        errors.append(FieldError(pointer="#/until", code=Code.INVALID, message=str(error)))
        return last
    if not now < until <= last:
        message = f"is {text[:40]}; allowed: after now, by {HORIZON_DAYS_MAX:,} days at the most"
        errors.append(FieldError(pointer="#/until", code=Code.INVALID, message=message))
    return until


def _text(body: bytes) -> str:
    try:
        return body.decode()
    except UnicodeDecodeError as error:
        raise Refused(Code.INVALID, f"the body is no text in UTF-8: {error}") from error


def _response(outcome: Outcome, status: int = 200, headers: dict[str, str] | None = None) -> HttpResponse:
    if outcome.calendar is None:
        # Decided before, and gone since: there is no state left to show.
        return HttpResponse(b"", status_code=204)
    etag = {"ETag": f'"{outcome.calendar.version}"'}
    return json_response(outcome.calendar, status, {**(headers or {}), **etag})


CALENDAR_ROUTES: list[Any] = [
    list_calendars,
    create_calendar,
    import_calendar,
    read_calendar,
    patch_calendar,
    put_calendar,
    reimport_calendar,
    delete_calendar,
    calendar_history,
]
