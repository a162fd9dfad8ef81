"""How far the read models are, as every api process knows it.

The projector publishes its position after each commit under one key of `GNOMON_ACCOUNTS`; each api process
follows that key, and the process that has the projector is told directly. A write waits here, bounded, until
the read models have passed the sequence of its outcome, so that a client reads its own writes from whichever
replica answers it next.

While the projector stands still (Postgres is away) waiting is pointless: after one wait in vain nobody waits
until the position moves again.
"""

from __future__ import annotations

import asyncio
import heapq
import itertools

import msgspec
from typing_extensions import override

from gnomon_core.runtime.bus import NatsBus
from gnomon_core.runtime.follower import Follower
from gnomon_core.runtime.kv import bucket_stream, entry_of, key_subject
from gnomon_core.runtime.messages import Stored
from gnomon_core.runtime.service import Service
from gnomon_schemas.members import ProjectorPosition
from gnomon_schemas.problems import Code, Refused
from gnomon_schemas.subjects import ACCOUNTS_BUCKET, EVENTS_FILTER, EVENTS_STREAM, PROJECTOR_KEY

__all__ = ["Projection"]

_decode = msgspec.json.Decoder(ProjectorPosition).decode


class Projection(Service):
    """Follows the projector's position; `reached` waits for it."""

    def __init__(self, bus: NatsBus, stream_created: str) -> None:
        super().__init__("projection")
        self._bus = bus
        self._created = stream_created
        self._waiting: list[tuple[int, int, asyncio.Future[None]]] = []
        self._order = itertools.count()
        self._stuck_at: int | None = None
        self.sequence = 0
        """Last sequence of the stream that the read models have."""
        self.time: str | None = None
        """When the event at `sequence` was stored, RFC 3339."""
        self._follower = Follower(
            bus,
            bucket_stream(ACCOUNTS_BUCKET),
            [key_subject(ACCOUNTS_BUCKET, PROJECTOR_KEY)],
            handler=self._take,
            name="projection:follower",
        )

    @override
    async def on_start(self) -> None:
        """Follow the key; ready when its present value is known."""
        await self.start_child(self._follower)
        await self._follower.loaded.wait()

    def advance(self, position: ProjectorPosition) -> None:
        """The read models are this far. One that is behind what is known, or of another stream, is ignored."""
        if position.created != self._created or position.sequence <= self.sequence:
            return
        self.sequence, self.time = position.sequence, position.time
        self._stuck_at = None
        while self._waiting and self._waiting[0][0] <= self.sequence:
            future = heapq.heappop(self._waiting)[2]
            if not future.done():
                future.set_result(None)

    async def reached(self, sequence: int, *, within: float, insist: bool = False) -> bool:
        """Wait until the read models have `sequence`, for `within` seconds at the most; whether they have.

        `insist` waits although the last wait was in vain.
        """
        if self.sequence >= sequence:
            return True
        if within <= 0 or (self._stuck_at == self.sequence and not insist):
            return False
        begun_at = self.sequence
        future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        heapq.heappush(self._waiting, (sequence, next(self._order), future))
        try:
            async with asyncio.timeout(within):
                await future
        except TimeoutError:
            if self.sequence == begun_at:
                self._stuck_at = begun_at
            return False
        return True

    async def catch_up(self, *, within: float) -> None:
        """Wait until the read models have every event that there is now.

        Raises Refused where they have not within so many seconds, BusError while NATS does not answer.
        """
        newest = await self._bus.last(EVENTS_STREAM, EVENTS_FILTER)
        if newest is not None and not await self.reached(newest.seq, within=within, insist=True):
            raise Refused(
                Code.UNAVAILABLE,
                f"the read models are {newest.seq - self.sequence} messages behind the log; ask again later",
            )

    async def _take(self, batch: list[Stored]) -> None:
        entry = entry_of(batch[-1])
        if not entry.gone:
            self.advance(_decode(entry.value))
