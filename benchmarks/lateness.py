"""How late things were, from the log and from the dues that were heard live."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from datetime import UTC, datetime

import msgspec
from nats.aio.msg import Msg

from benchmarks.stage import Stage
from gnomon_schemas import headers as h
from gnomon_schemas.clock_text import instant_ms
from gnomon_schemas.events import Started
from gnomon_schemas.subjects import live
from tests.harness.events import Seen

__all__ = ["DuesHeard", "of_starts"]


def of_starts(log: Iterable[Seen]) -> list[float]:
    """Of every execution: milliseconds from its `due_at` until the broker had stored its `started`."""
    return [
        float(seen.time_ms - instant_ms(seen.event.due_at)) for seen in log if isinstance(seen.event, Started)
    ]


class _Due(msgspec.Struct):
    due_at: str


class DuesHeard:
    """Dues as any listener hears them. They leave the stream when they are done, so the log does not tell."""

    def __init__(self) -> None:
        self._heard: list[tuple[str, bytes]] = []

    @classmethod
    @asynccontextmanager
    async def on(cls, stage: Stage) -> AsyncIterator[DuesHeard]:
        """Listen meanwhile."""
        heard = cls()
        subscription = await stage.nc.subscribe(live("task", "due"), cb=heard._take, pending_msgs_limit=-1)
        await stage.nc.flush()
        yield heard
        await stage.nc.flush()
        await subscription.unsubscribe()

    def lateness(self) -> list[float]:
        """Milliseconds from each `due_at` until the broker had stored the due."""
        decode = msgspec.json.Decoder(_Due).decode
        return [_ms(stamp) - instant_ms(decode(data).due_at) for stamp, data in self._heard]

    async def _take(self, message: Msg) -> None:
        self._heard.append(((message.headers or {})[h.REPUBLISHED_TIME], message.data))


def _ms(stamp: str) -> float:
    """The broker's stamp, with up to nine digits of a second, in epoch milliseconds."""
    whole, _, fraction = stamp.rstrip("Z").partition(".")
    seconds = datetime.fromisoformat(whole).replace(tzinfo=UTC).timestamp()
    return (seconds + float(f"0.{fraction or 0}")) * 1000
