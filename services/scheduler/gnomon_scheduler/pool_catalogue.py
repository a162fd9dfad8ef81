"""What is set of every pool, as the whole process knows it: which have a gate, and which are paused."""

from __future__ import annotations

from collections.abc import Callable

import msgspec
import structlog

from gnomon_core.runtime.bus import NatsBus
from gnomon_core.runtime.follower import Follower
from gnomon_core.runtime.messages import Stored
from gnomon_core.runtime.service import Service
from gnomon_core.runtime.telemetry import LogEvent
from gnomon_scheduler import patient_reads
from gnomon_schemas.codec import decode
from gnomon_schemas.subjects import EVENTS_STREAM, POOL_REGISTERS

__all__ = ["PoolCatalogue", "PoolSettings"]

_log = structlog.get_logger(__name__)


class PoolSettings(msgspec.Struct, frozen=True, gc=False):
    """The part of a pool's register that every shard has to know."""

    gate: str
    max_in_flight: int | None = None
    paused: bool = False
    version: int = 0

    @property
    def limited(self) -> bool:
        """Whether the pool has a gate."""
        return self.paused or self.max_in_flight is not None


class PoolCatalogue(Service):
    """Follows the registers of all pools. Ready when all that is set so far is known."""

    def __init__(self, bus: NatsBus) -> None:
        super().__init__("pools")
        self._bus = bus
        self.limited: dict[str, PoolSettings] = {}
        """Pools that have a gate, by name. Shared with the shards, which only read it."""
        self._versions: dict[str, int] = {}
        self._unreadable: dict[str, int] = {}
        """Pools whose register cannot be read, with its sequence: as if they were paused, since nobody gives leave."""
        self.on_change: Callable[[], None] = lambda: None
        """Called when something was set of a pool."""

    async def on_start(self) -> None:
        """Load and follow."""
        follower = Follower(
            self._bus,
            EVENTS_STREAM,
            [POOL_REGISTERS],
            handler=self._heard,
            name="pools-follower",
            headers=False,
        )
        await self.start_child(follower)
        await follower.loaded.wait()

    async def reach(self, seq: int) -> None:
        """Know at least what was set before `seq` of the log: as much as whoever led a shard before that."""
        await self._heard(await patient_reads.last_of_each(self._bus, EVENTS_STREAM, [POOL_REGISTERS], seq))

    async def _heard(self, messages: list[Stored]) -> None:
        changed = [self._take(message) for message in messages]
        if any(changed):
            self.on_change()

    def _take(self, message: Stored) -> bool:
        pool = message.subject.rpartition(".")[2]
        if message.seq < self._unreadable.get(pool, 0):
            return False
        try:
            settings = decode(message.data, PoolSettings)
        except (msgspec.DecodeError, RecursionError) as error:
            _log.error(
                LogEvent.REGISTER_UNREADABLE, subject=message.subject, seq=message.seq, error=str(error)
            )
            self._unreadable[pool] = message.seq
            # Once it can be read its version may be what it was.
            version = self._versions.pop(pool, 0)
            self.limited[pool] = PoolSettings(pool, paused=True, version=version)
            return True
        self._unreadable.pop(pool, None)
        if settings.version <= self._versions.get(settings.gate, -1):
            # The register tells of units mostly.
            return False
        self._versions[settings.gate] = settings.version
        if settings.limited:
            self.limited[settings.gate] = settings
        else:
            self.limited.pop(settings.gate, None)
        return True
