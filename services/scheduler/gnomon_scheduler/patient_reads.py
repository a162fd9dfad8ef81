"""Reads that a shard cannot do without: asked again until the broker answers.

A leader that cannot read cannot decide, and stepping down would not help: its successor could not read either. The
wait ends with the broker's answer, or with the shard (its task is cancelled when the lease is lost).
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

from gnomon_core.runtime.bus import Bus
from gnomon_core.runtime.bus_errors import NoAnswer
from gnomon_core.runtime.messages import Stored

__all__ = ["RETRY_PAUSE", "last", "last_of_each", "scan"]

RETRY_PAUSE = 0.05
"""Seconds between tries while the broker does not answer."""


async def last(bus: Bus, stream: str, subject: str) -> Stored | None:
    """The last message of a subject or filter, from the stream's leader."""
    while True:
        try:
            return await bus.last(stream, subject)
        except NoAnswer:
            await asyncio.sleep(RETRY_PAUSE)


async def last_of_each(bus: Bus, stream: str, filters: Sequence[str], at_least_seq: int) -> list[Stored]:
    """The last message of every subject that matches, from a replica that has reached `at_least_seq`."""
    while True:
        try:
            return await bus.multi_last(stream, filters, at_least_seq=at_least_seq)
        except NoAnswer:
            await asyncio.sleep(RETRY_PAUSE)


async def scan(bus: Bus, stream: str, subject: str, start_seq: int = 1) -> list[Stored]:
    """All messages of a subject or filter that the stream has by now, from a sequence on, in order."""
    newest = await last(bus, stream, subject)
    if newest is None or newest.seq < start_seq:
        return []
    while True:
        try:
            found = bus.scan(stream, subject, start_seq=start_seq, at_least_seq=newest.seq)
            return [stored async for stored in found]
        except NoAnswer:
            await asyncio.sleep(RETRY_PAUSE)
