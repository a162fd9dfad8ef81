"""The janitor: purges events that nobody needs from `TASKS`, each minute, under a lease of its own.

Events carry no TTL: a claim that expired under a running handler, or an event that expired unread, would break the
promises. Instead they are purged below a *floor*, the least of

* the first event younger than `GNOMON_EVENT_TTL`, counted back from the slowest of all watermarks, the projector's
  time and the oldest due that is unfinished;
* every shard's fold position, and every shard's oldest unfinished sequence;
* the projector's position.

Where one of these is missing, nothing is purged. Registers stay: the purge's filter names events only.
"""

from __future__ import annotations

import asyncio

import msgspec
import structlog

from gnomon_core.runtime.bus import NatsBus
from gnomon_core.runtime.bus_errors import BusError
from gnomon_core.runtime.kv import kv_get, kv_put
from gnomon_core.runtime.lease import SingletonLease
from gnomon_core.runtime.service import Service
from gnomon_core.runtime.telemetry import LogEvent
from gnomon_scheduler.registers import ShardRegister
from gnomon_schemas import subjects
from gnomon_schemas.clock_text import instant_ms
from gnomon_schemas.codec import decode, encode
from gnomon_schemas.members import ProjectorPosition, PurgeFloor
from gnomon_schemas.subjects import (
    ACCOUNTS_BUCKET,
    DUE_STREAM,
    EVENTS_FILTER,
    EVENTS_STREAM,
    PROJECTOR_KEY,
    PURGE_FLOOR_KEY,
)

__all__ = ["Janitor", "JanitorPost", "floor_sequences", "oldest_needed_ms"]

_log = structlog.get_logger(__name__)


def oldest_needed_ms(
    shards: list[ShardRegister], projector: ProjectorPosition, oldest_due_ms: int | None, ttl_ms: int
) -> int:
    """Events from this instant on are kept, in epoch milliseconds."""
    newest_safe = min([shard.watermark_ms for shard in shards] + [instant_ms(projector.time)])
    floor_ms = newest_safe - ttl_ms
    return floor_ms if oldest_due_ms is None else min(floor_ms, oldest_due_ms)


def floor_sequences(shards: list[ShardRegister], projector: ProjectorPosition) -> int:
    """The first sequence that a shard or the projector still needs."""
    needed = [shard.fold_position + 1 for shard in shards]
    needed += [shard.oldest_unfinished for shard in shards if shard.oldest_unfinished]
    return min([*needed, projector.sequence + 1])


class Janitor(Service):
    """Purges while its process holds the janitor's lease: started when it is gained, stopped when it is lost."""

    def __init__(self, bus: NatsBus, partitions: int, *, event_ttl: float, every_seconds: float) -> None:
        super().__init__("janitor")
        self._bus, self._partitions = bus, partitions
        self._ttl_ms, self._every = int(event_ttl * 1000), every_seconds

    async def on_start(self) -> None:
        """Begin to purge, the first time at once."""
        _ = self.spawn(self._loop(), "loop")

    async def _loop(self) -> None:
        while True:
            try:
                await self.clean()
            except BusError as error:
                _log.info(LogEvent.JANITOR_WAITS, missing=f"an answer of the broker: {error}")
            await asyncio.sleep(self._every)

    async def clean(self) -> int:
        """Purge once; how many events. Raises BusError when the broker does not answer."""
        created = (await self._bus.stream_info(EVENTS_STREAM)).created
        shards = await self._shards()
        projector = await self._projector(created)
        if shards is None or projector is None:
            _log.info(LogEvent.JANITOR_WAITS, missing="shard register" if shards is None else "projector")
            return 0
        oldest_ms = oldest_needed_ms(shards, projector, await self._oldest_due_ms(), self._ttl_ms)
        floor = min(await self._first_since(oldest_ms), floor_sequences(shards, projector))
        # The floor is told before anything is gone: a projector that is below it then knows why.
        await kv_put(
            self._bus, ACCOUNTS_BUCKET, PURGE_FLOOR_KEY, encode(PurgeFloor(created=created, sequence=floor))
        )
        purged = await self._bus.purge(EVENTS_STREAM, filter=EVENTS_FILTER, up_to_seq=floor)
        if purged:
            _log.info(LogEvent.JANITOR_PURGED, floor=floor, purged=purged)
        return purged

    async def _shards(self) -> list[ShardRegister] | None:
        found = []
        for partition in range(self._partitions):
            last = await self._bus.last(EVENTS_STREAM, subjects.shard_register(partition))
            if last is None:
                return None
            found.append(decode(last.data, ShardRegister))
        return found

    async def _projector(self, created: str) -> ProjectorPosition | None:
        entry = await kv_get(self._bus, ACCOUNTS_BUCKET, PROJECTOR_KEY)
        if entry is None:
            return None
        try:
            position = decode(entry.value, ProjectorPosition)
        except msgspec.DecodeError:
            return None
        return position if position.created == created else None

    async def _oldest_due_ms(self) -> int | None:
        oldest = await self._bus.first_from(DUE_STREAM, subjects.pool_dues("*", "*"), 1)
        return None if oldest is None else oldest.time_ms

    async def _first_since(self, at_ms: int) -> int:
        """Sequence of the first event stored at `at_ms` or later, by bisection; one past the last if none is."""
        info = await self._bus.stream_info(EVENTS_STREAM)
        low, high = info.first_seq, info.last_seq + 1
        while low < high:
            middle = (low + high) // 2
            event = await self._bus.first_from(EVENTS_STREAM, EVENTS_FILTER, middle)
            if event is None or event.time_ms >= at_ms:
                high = middle
            else:
                low = event.seq + 1
        return low


class JanitorPost(Service):
    """The duty of being the janitor: taken with its lease, given up with it. A janitor that fails fails the post."""

    def __init__(self, bus: NatsBus, member_id: str, lease_ttl: float, janitor: Janitor) -> None:
        super().__init__("janitor-post")
        self._lease = SingletonLease(
            bus,
            member_id,
            "janitor",
            lease_ttl,
            on_gain=lambda: self.start_child(janitor),
            on_lose=lambda: self.stop_child(janitor),
        )

    async def on_start(self) -> None:
        """Take part in the lease."""
        await self.start_child(self._lease)
