"""One delivery of a due: the message as the broker handed it over, and the answers to it."""

from __future__ import annotations

from typing import Final

import msgspec

from gnomon_core.runtime import ack_subject as at
from gnomon_core.runtime.bus import Bus, NoAnswer, NoResponders
from gnomon_core.runtime.frames import parse_headers
from gnomon_schemas import headers as h

__all__ = ["Delivery", "ack", "in_progress", "nak", "parse_delivery", "term"]

_IN_PROGRESS: Final = b"+WPI"
_NAK: Final = b"-NAK"
_TERM: Final = b"+TERM"
_NANOSECONDS: Final = 10**9
_TRACED: Final = h.TRACEPARENT.encode()
_ACK_TIMEOUT: Final = 5.0


class Delivery(msgspec.Struct, frozen=True, gc=False):
    """A message of a work queue, delivered once more or for the first time."""

    subject: str
    """The stored subject."""
    data: bytes
    traceparent: str | None
    reply: str
    """Where the broker hears of its fate. An answer to an earlier delivery of the same message counts as
    well."""
    consumer: str
    stream_seq: int
    """Names the message: the same in every delivery of it."""
    count: int
    """How many times it has been delivered, this one included."""
    more: int
    """How many further messages wait in the same lane."""
    stored_ms: int
    """When the broker stored the message, in milliseconds since 1970."""


def parse_delivery(subject: str, reply: str, head: bytes, data: bytes) -> Delivery:
    """Take a delivered message apart. Raises ValueError where it does not come from a consumer."""
    told = at.ack_fields(reply)
    return Delivery(
        subject,
        data,
        traceparent=parse_headers(head).get(h.TRACEPARENT) if _TRACED in head else None,
        reply=reply,
        consumer=told[at.CONSUMER],
        stream_seq=int(told[at.STREAM_SEQ]),
        count=int(told[at.DELIVERED]),
        more=int(told[at.PENDING]),
        stored_ms=int(told[at.TIME]) // 1_000_000,
    )


async def ack(bus: Bus, delivery: Delivery) -> bool:
    """Take the message off the queue, and wait until the broker has done so.

    False where it is not known whether it did. That is safe: only a chain that is settled is acknowledged, so
    whoever is delivered the message again finds it so and acknowledges it.
    """
    try:
        await bus.request(delivery.reply, b"", _ACK_TIMEOUT)
    except (NoAnswer, NoResponders):
        return False
    return True


async def in_progress(bus: Bus, delivery: Delivery) -> None:
    """Begin the message's ack wait anew."""
    await bus.send(delivery.reply, _IN_PROGRESS)


async def nak(bus: Bus, delivery: Delivery, delay_seconds: float = 0.0) -> None:
    """Give the message back, to be delivered again at once or after a delay."""
    if delay_seconds > 0:
        body = _NAK + b" " + msgspec.json.encode({"delay": int(delay_seconds * _NANOSECONDS)})
    else:
        body = _NAK
    await bus.send(delivery.reply, body)


async def term(bus: Bus, delivery: Delivery) -> None:
    """Take the message off the queue although nobody can run it."""
    await bus.send(delivery.reply, _TERM)
