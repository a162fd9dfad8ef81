"""One shard led inside the test, on a bus with traps and a clock of the test's own.

For failures that are about one decision: the test stops the leader between two writes, lets another lead, and lets the
first one go on. `die` is a kill -9 as far as the broker can tell: nothing more is written and the connection is gone.
"""

from __future__ import annotations

import secrets
from typing import TYPE_CHECKING

from gnomon_core.rules.account_rules import OPEN_TO_ALL, AccountRules
from gnomon_core.runtime.bus import connect
from gnomon_core.runtime.clock import Clock, SystemClock
from gnomon_core.runtime.membership import MemberWatch
from gnomon_core.runtime.metrics import Meter
from gnomon_core.runtime.settings import CommonSettings
from gnomon_core.runtime.tracing import Tracing
from gnomon_scheduler.measures import ShardMeasures
from gnomon_scheduler.object_catalogue import ObjectCatalogue
from gnomon_scheduler.pool_catalogue import PoolCatalogue
from gnomon_scheduler.replica import Replica
from gnomon_scheduler.shard import Shard
from gnomon_scheduler.shard_options import ShardOptions
from gnomon_scheduler.type_catalogue import TypeCatalogue
from tests.harness.stopping import TrapBus

if TYPE_CHECKING:
    from types import TracebackType

__all__ = ["Leader"]


class Leader:
    """A scheduler's part that leads one partition. `async with` starts it and lets it die in the end."""

    def __init__(
        self,
        url: str,
        partition: int = 0,
        *,
        partitions: int = 1,
        clock: Clock | None = None,
        fingerprint: str = "test",
        cancel_grace_ms: int = 10_000,
        catch_up_rate: float = 0.0,
        catch_up_hold_above: float = 0.0,
        lateness_quiet_ms: int = 600_000,
        name: str = "leader",
        rules: AccountRules = OPEN_TO_ALL,
    ) -> None:
        self.name = f"{name}-{secrets.token_hex(3)}"
        self.partition = partition
        self.clock = clock or SystemClock()
        self._url = url
        self._options = ShardOptions(
            owner=self.name,
            default_timezone="UTC",
            fingerprint=fingerprint,
            partitions=partitions,
            cancel_grace_ms=cancel_grace_ms,
            catch_up_rate=catch_up_rate,
            catch_up_hold_above=catch_up_hold_above,
            lateness_quiet_ms=lateness_quiet_ms,
            rules=rules,
        )
        self._alive = False
        self.bus: TrapBus
        self.types: TypeCatalogue
        self.pools: PoolCatalogue
        self.objects: ObjectCatalogue
        self.replica: Replica
        self.shard: Shard
        self._members: MemberWatch

    async def connect(self) -> Leader:
        """Connect and load, as a hot standby; traps may be set from here on."""
        bus = await connect(CommonSettings(nats_url=self._url), name=self.name, make_bus=TrapBus)
        assert isinstance(bus, TrapBus)
        self.bus = bus
        self._alive = True
        self._members = MemberWatch(bus, ("executor",))
        await self._members.start()
        self.types = TypeCatalogue(bus, self._members)
        self.types.on_change = self._executors_changed
        await self.types.start()
        self.pools = PoolCatalogue(bus)
        self.pools.on_change = self._pools_changed
        await self.pools.start()
        self.objects = ObjectCatalogue(bus)
        self.objects.listen(self._objects_changed)
        await self.objects.start()
        self.replica = Replica(bus, self.partition)
        await self.replica.start()
        self.shard = Shard(
            bus,
            self.replica,
            self.types,
            self.pools,
            self.objects,
            self.clock,
            self._options,
            1,
            ShardMeasures(Meter(), Tracing("scheduler", None)),
        )
        return self

    async def lead(self) -> Leader:
        """Take the shard over. Raises Deposed."""
        await self.shard.start()
        self.shard.pools_changed()
        self.shard.accounts_changed()
        self.shard.calendars_changed()
        return self

    async def die(self) -> None:
        """As by kill -9: what was not written never will be, and the broker sees the connection end."""
        if not self._alive:
            return
        self._alive = False
        await self.shard.abort()
        await self.replica.abort()
        await self.objects.abort()
        await self.pools.abort()
        await self.types.abort()
        await self._members.abort()
        await self.bus.close()

    async def stop(self) -> None:
        """A clean stop."""
        await self.shard.stop()
        await self.replica.stop()
        await self.die()

    def _executors_changed(self) -> None:
        shard = getattr(self, "shard", None)
        if shard is not None and shard.running:
            shard.executors_changed()

    def _pools_changed(self) -> None:
        shard = getattr(self, "shard", None)
        if shard is not None and shard.running:
            shard.pools_changed()

    def _objects_changed(self, kinds: frozenset[str]) -> None:
        shard = getattr(self, "shard", None)
        if shard is None or not shard.running:
            return
        if "account" in kinds:
            shard.accounts_changed()
        if "calendar" in kinds:
            shard.calendars_changed()

    async def __aenter__(self) -> Leader:
        await self.connect()
        try:
            return await self.lead()
        except BaseException:
            await self.die()
            raise

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.die()
