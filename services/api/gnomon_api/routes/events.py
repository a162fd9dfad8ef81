"""Server-sent events: what happens, as it is stored."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Final

import msgspec
from litestar import get
from litestar.response import Stream

from gnomon_api.event_hub import EventHub, Gap, LiveEvent, Reading, Wanted
from gnomon_api.http_io import HttpRequest, caller, checked_id, params_of, services
from gnomon_api.parameters import SEQUENCE_MAX, whole_number
from gnomon_core.rules.decoding import refuse, wrong
from gnomon_core.runtime.bus_errors import BusError
from gnomon_schemas.events import EVENT_TYPES
from gnomon_schemas.problems import Code, FieldError, Refused

__all__ = ["read_events"]

_IDLE_SECONDS: Final = 15.0
"""After so long without an event a comment is sent, so that proxies keep the connection and dead ones are
noticed."""
_NAMES: Final = frozenset(EVENT_TYPES) | {"progress"}
_PARAMS: Final = ("event", "task_id", "user_id")
_LAST_ID_HEADER: Final = "last-event-id"


@get("/events")
async def read_events(request: HttpRequest) -> Stream:
    """Events as they are stored: `?event=executed,failed&task_id=…`; `Last-Event-ID` resumes."""
    errors: list[FieldError] = []
    given = _given(request, errors)
    wanted = Wanted(
        names=_names(given.get("event"), errors),
        task_ids=_task_ids(given.get("task_id"), errors),
        user_id=_user(request, given.get("user_id")),
    )
    after = _last_id(request.headers.get(_LAST_ID_HEADER), errors)
    refuse(errors)
    api = services(request)
    return Stream(
        _frames(api.hub, wanted, after),
        media_type="text/event-stream",
        headers={"Cache-Control": "no-store", "X-Accel-Buffering": "no"},
    )


async def _frames(hub: EventHub, wanted: Wanted, after: int | None) -> AsyncIterator[bytes]:
    """The stream's text. It ends when the reader is too slow; a browser comes back by itself."""
    readings = hub.read(hub.connect(wanted, live=after is None), after=after, idle=_IDLE_SECONDS)
    try:
        # Whoever reads this line hears all that follows.
        yield b"retry: 1000\n: connected\n\n"
        async for reading in readings:
            yield frame(reading)
    except BusError as error:
        yield b": " + _one_line(f"NATS does not answer: {error}".encode()) + b"\n\n"
    finally:
        await readings.aclose()


def frame(reading: Reading) -> bytes:
    """One reading as the protocol writes it."""
    if reading is None:
        return b": still here\n\n"
    if isinstance(reading, Gap):
        data = msgspec.json.encode({"after": reading.after, "first_available": reading.first})
        return b"event: gap\ndata: " + data + b"\n\n"
    return (
        _id_line(reading)
        + b"event: "
        + reading.name.encode()
        + b"\ndata: "
        + _one_line(reading.data)
        + b"\n\n"
    )


def _id_line(event: LiveEvent) -> bytes:
    return b"" if event.seq is None else b"id: %d\n" % event.seq


def _one_line(data: bytes) -> bytes:
    """JSON on one line. A line break in it is outside of strings, where it means nothing."""
    if b"\n" in data or b"\r" in data:
        return data.replace(b"\r", b" ").replace(b"\n", b" ")
    return data


def _given(request: HttpRequest, errors: list[FieldError]) -> dict[str, str]:
    given: dict[str, str] = {}
    for name, text in params_of(request):
        if name not in _PARAMS:
            message = f"the parameter {name[:80]!r} is not known; allowed: {', '.join(_PARAMS)}"
            errors += wrong(f"#/{name}", message, Code.UNKNOWN_FIELD)
        given[name] = f"{given[name]},{text}" if name in given else text
    return given


def _names(text: str | None, errors: list[FieldError]) -> frozenset[str] | None:
    if text is None:
        return None
    names = frozenset(part.strip().removeprefix("task.") for part in text.split(","))
    for name in sorted(names - _NAMES):
        message = f"is {name[:80]!r}; allowed: {', '.join(sorted(_NAMES))}"
        errors += wrong("#/event", message)
    return names


def _task_ids(text: str | None, errors: list[FieldError]) -> frozenset[str] | None:
    if text is None:
        return None
    found: set[str] = set()
    for part in text.split(","):
        try:
            found.add(checked_id(part.strip()))
        except Refused as refused:
            errors += refused.problem.errors
    return frozenset(found)


def _user(request: HttpRequest, asked: str | None) -> str | None:
    """Whose events are shown: an admin's choice, else the caller's own."""
    who = caller(request)
    return asked if who.admin else who.user_id


def _last_id(text: str | None, errors: list[FieldError]) -> int | None:
    if text is None or text == "":
        return None
    found = whole_number(text, 0, SEQUENCE_MAX)
    if found is None:
        errors += wrong("#/Last-Event-ID", f"is {text[:80]!r}; allowed is the id of an event")
    return found
