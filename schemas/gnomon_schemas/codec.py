"""Encoding and decoding of messages: one shared encoder, one decoder per type."""

from __future__ import annotations

from functools import cache
from typing import Any, TypeVar

import msgspec

from gnomon_schemas import headers as h
from gnomon_schemas.events import AnyEvent, Event
from gnomon_schemas.objects import ObjectEvent
from gnomon_schemas.pools import PoolUpdated

__all__ = ["cloud_event_headers", "decode", "decode_event", "encode"]

T = TypeVar("T")

_encoder = msgspec.json.Encoder()
_event_decoder: msgspec.json.Decoder[Any] = msgspec.json.Decoder(AnyEvent)

encode = _encoder.encode
"""Any Struct or plain value as JSON bytes (UTF-8)."""


@cache
def _decoder(kind: Any) -> msgspec.json.Decoder[Any]:
    return msgspec.json.Decoder(kind)


def decode(data: bytes, kind: type[T]) -> T:
    """Decode JSON as `kind`. Raises msgspec.DecodeError (not JSON) or msgspec.ValidationError (does not fit)."""
    key: Any = kind  # mypy does not take a type variable's type for hashable
    value: T = _decoder(key).decode(data)
    return value


def decode_event(data: bytes) -> Event:
    """Decode any event by its tag. Raises msgspec.DecodeError or msgspec.ValidationError."""
    event: Event = _event_decoder.decode(data)
    return event


def cloud_event_headers(
    event: Event | PoolUpdated | ObjectEvent, *, ce_id: str, source: str, traceparent: str | None = None
) -> dict[str, str]:
    """CloudEvents 1.0 attributes in the NATS binding's binary mode.

    `source` is a URI reference like `gnomon/scheduler/<id>`.
    """
    tag = event.__struct_config__.tag
    headers = {
        h.CE_SPECVERSION: "1.0",
        h.CE_TYPE: str(tag),
        h.CE_ID: ce_id,
        h.CE_SOURCE: source,
        h.CE_TIME: event.occurred_at,
        h.CE_SUBJECT: _subject(event),
        h.CE_CONTENT_TYPE: "application/json",
    }
    if traceparent:
        headers[h.TRACEPARENT] = traceparent
    return headers


def _subject(event: Event | PoolUpdated | ObjectEvent) -> str:
    """Id of what an event speaks of."""
    if isinstance(event, ObjectEvent):
        return event.object_id
    return event.pool if isinstance(event, PoolUpdated) else event.task_id
