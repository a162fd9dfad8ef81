"""Which shards this process leads: the bridge between leases, replicas and shards.

Every process keeps a replica of every partition, so it can lead any of them at once. A lease gained starts a shard on
the partition's replica; a lease lost stops it, after which the replica loads its memory anew. A shard that was
deposed answers no pings any more and lets its lease lapse, unless another has it already.
"""

from __future__ import annotations

import asyncio
import gc

import structlog
from nats.aio.msg import Msg

from gnomon_core.runtime.bus import NatsBus
from gnomon_core.runtime.bus_errors import BusError
from gnomon_core.runtime.clock import Clock
from gnomon_core.runtime.lease import Leases
from gnomon_core.runtime.membership import Membership, MemberWatch
from gnomon_core.runtime.service import Service
from gnomon_core.runtime.telemetry import LogEvent
from gnomon_scheduler.measures import ShardMeasures
from gnomon_scheduler.object_catalogue import ObjectCatalogue
from gnomon_scheduler.pool_catalogue import PoolCatalogue
from gnomon_scheduler.replica import Replica
from gnomon_scheduler.settings import SchedulerSettings
from gnomon_scheduler.shard import Shard
from gnomon_scheduler.shard_options import ShardOptions
from gnomon_scheduler.sweep import Sweep
from gnomon_scheduler.type_catalogue import TypeCatalogue
from gnomon_schemas.codec import encode
from gnomon_schemas.members import Lease, SchedulerStatus
from gnomon_schemas.subjects import SCHEDULER_STATUS

__all__ = ["Leading"]

_log = structlog.get_logger(__name__)


class Leading(Service):
    """Leads the shards whose lease this process holds."""

    def __init__(
        self,
        bus: NatsBus,
        types: TypeCatalogue,
        pools: PoolCatalogue,
        objects: ObjectCatalogue,
        members: MemberWatch,
        membership: Membership,
        clock: Clock,
        settings: SchedulerSettings,
        options: ShardOptions,
        measures: ShardMeasures,
    ) -> None:
        super().__init__("leading")
        self._bus, self._types, self._pools, self._members = bus, types, pools, members
        self._objects = objects
        self._membership, self._clock = membership, clock
        self._settings, self._options, self._measures = settings, options, measures
        self._replicas = [Replica(bus, partition) for partition in range(settings.partitions)]
        self._shards: dict[int, Shard] = {}
        self._sweeps: dict[int, Sweep] = {}
        self._watches: dict[int, list[asyncio.Task[None]]] = {}
        self._reloads: dict[int, asyncio.Task[None]] = {}
        self._leases: Leases | None = None
        types.on_change = self.executors_changed
        pools.on_change = self.pools_changed
        objects.listen(self._objects_changed)

    async def on_start(self) -> None:
        """Load every partition, then take part in the leases."""
        await Replica.load_together(self._bus, self._replicas)
        # What was loaded stays: the collector need not walk over it for ever.
        gc.collect()
        gc.freeze()
        _ = await asyncio.gather(*(self.start_child(replica) for replica in self._replicas))
        await self._bus.subscribe(SCHEDULER_STATUS, self._answer_status)
        self._leases = Leases(
            self._bus,
            self._options.owner,
            self._settings.partitions,
            self._settings.lease_ttl,
            members=self._members,
            on_gain=self._gained,
            on_lose=self._lost,
            alive=self._alive,
            may_lead=lambda: not self._membership.guard.off,
        )
        await self.start_child(self._leases)
        _ = self.spawn(self._forget(), "forget")

    async def _forget(self) -> None:
        """Keep the standbys free of tasks that their leaders have removed."""
        keep_ms = int(self._keep_seconds * 1000)
        while True:
            await asyncio.sleep(self._settings.sweep_every)
            for replica in self._replicas:
                if replica.partition in self._shards or not replica.running:
                    continue
                try:
                    await replica.forget_removed(self._clock.now_ms() - keep_ms)
                except BusError as error:
                    _log.info(LogEvent.SWEEP_WAITS, partition=replica.partition, error=str(error))

    @property
    def _keep_seconds(self) -> float:
        """How long a task that is over is kept."""
        return max(self._settings.finished_ttl, self._settings.event_ttl)

    def executors_changed(self) -> None:
        """Other types are announced or live: let the shards look at what waits for an executor."""
        for shard in self._shards.values():
            shard.executors_changed()

    def pools_changed(self) -> None:
        """Something was set of a pool: tell the shards."""
        for shard in self._shards.values():
            shard.pools_changed()

    def _objects_changed(self, kinds: frozenset[str]) -> None:
        if "account" in kinds:
            for shard in self._shards.values():
                shard.accounts_changed()
        if "calendar" in kinds:
            for shard in self._shards.values():
                shard.calendars_changed()

    def look(self) -> None:
        """Tell the metrics how the shards stand that are led here."""
        late_ms = tasks = in_flight = 0
        for shard in self._shards.values():
            memory, now_ms = shard.book.memory, self._clock.now_ms()
            due_ms = memory.next_due_ms()
            late_ms = max(late_ms, 0 if due_ms is None else now_ms - due_ms)
            tasks += len(memory.tasks)
            in_flight += sum(len(task.flights) for task in memory.in_flight.values())
        self._measures.stand(late_ms / 1000, tasks, in_flight)
        self._measures.broken(sum(len(shard.book.memory.slo_broken) for shard in self._shards.values()))
        self._measures.set_aside(sum(len(shard.book.memory.unreadable) for shard in self._shards.values()))
        self._measures.users_set_aside(
            sum(shard.book.memory.users_set_aside for shard in self._shards.values())
        )
        self._measures.gates_set_aside(
            sum(len(shard.book.memory.unreadable_gates) for shard in self._shards.values())
        )
        backlogs = [shard.late for shard in self._shards.values()]
        self._measures.backlog(sum(late.waiting for late in backlogs), sum(late.held for late in backlogs))

    def _alive(self, partition: int) -> bool:
        shard = self._shards.get(partition)
        return shard is None or not shard.deposed.is_set()

    async def _gained(self, partition: int, lease: Lease, _revision: int) -> None:
        reload = self._reloads.pop(partition, None)
        if reload is not None:
            await asyncio.wait([reload])
        shard = Shard(
            self._bus,
            self._replicas[partition],
            self._types,
            self._pools,
            self._objects,
            self._clock,
            self._options,
            lease.epoch,
            self._measures,
        )
        try:
            await shard.start()
        except BaseException:
            # Deposed on the way, or the lease was lost meanwhile: what was taken over so far is given up.
            self._reload(partition)
            raise
        self._shards[partition] = shard
        # What changed while it started was told to the others only.
        shard.pools_changed()
        shard.accounts_changed()
        shard.calendars_changed()
        shard.executors_changed()
        sweep = Sweep(
            self._bus,
            shard,
            self._clock,
            every_seconds=self._settings.sweep_every,
            keep_seconds=self._keep_seconds,
        )
        self._sweeps[partition] = sweep
        await sweep.start()
        self._watches[partition] = [
            self.spawn(self._watch(service), f"watch-{service.name}") for service in (shard, sweep)
        ]
        if self._leases is not None:
            await self._leases.raise_epoch(partition, shard.book.epoch)
        self._tell()

    async def _lost(self, partition: int) -> None:
        shard, sweep = self._shards.pop(partition, None), self._sweeps.pop(partition, None)
        # Nothing may keep a shard that is over: it holds the memory of all its tasks.
        for watch in self._watches.pop(partition, ()):
            watch.cancel()
        if sweep is not None:
            await sweep.stop()
        if shard is not None:
            await shard.stop()
            _log.info(LogEvent.SHARD_RELEASED, partition=partition, epoch=shard.book.epoch)
            self._tell()
            self._reload(partition)

    def _reload(self, partition: int) -> None:
        """After leading the memory may hold what was never stored: load it anew, beside everything else."""
        if self.running:
            self._reloads[partition] = self.spawn(
                self._replace_memory(self._replicas[partition]), f"reload-{partition}"
            )

    async def _replace_memory(self, replica: Replica) -> None:
        await self.stop_child(replica)
        await self.start_child(replica)

    async def _watch(self, service: Service) -> None:
        """A shard or sweep that fails takes its process along: whoever takes over begins from what is stored."""
        self.fail(await service.failed())

    def _tell(self) -> None:
        self._measures.leads(len(self._shards))
        self._membership.update(shards=tuple(sorted(self._shards)))

    async def _answer_status(self, message: Msg) -> None:
        if not message.reply:
            return
        member = self._membership.member
        status = SchedulerStatus(
            id=member.id,
            host=member.host,
            pid=member.pid,
            started_at=member.started_at,
            shards=tuple(shard.status() for _, shard in sorted(self._shards.items())),
        )
        await self._bus.send(message.reply, encode(status))
