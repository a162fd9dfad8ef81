"""The other processes, as this one sees them: schedulers and their shards, executors and pools, task types."""

from __future__ import annotations

import asyncio
from typing import Any, Final

import msgspec
from nats.aio.msg import Msg
from typing_extensions import override

from gnomon_core.rules.task_type import KnownType
from gnomon_core.rules.workless import WORKLESS_TYPES, is_workless
from gnomon_core.runtime.bus import NatsBus
from gnomon_core.runtime.bus_errors import BusRefused
from gnomon_core.runtime.follower import Follower
from gnomon_core.runtime.kv import bucket_filter, bucket_stream, entry_of
from gnomon_core.runtime.membership import MemberWatch
from gnomon_core.runtime.messages import Stored
from gnomon_core.runtime.service import Service
from gnomon_schemas.members import SchedulerStatus, ShardStatus, TypeAnnouncement
from gnomon_schemas.subjects import DUE_STREAM, PRIORITIES, SCHEDULER_STATUS, TYPES_BUCKET

__all__ = [
    "CatchUpEntry",
    "Cluster",
    "ExecutorEntry",
    "ExecutorsView",
    "PoolEntry",
    "SchedulerView",
    "ShardEntry",
    "TypeView",
]

_GATHER_SECONDS: Final = 0.3
"""How long schedulers may take to tell their status."""
_NOT_FOUND: Final = 404
_decode_type = msgspec.json.Decoder(TypeAnnouncement).decode
_decode_status = msgspec.json.Decoder(SchedulerStatus).decode


class CatchUpEntry(msgspec.Struct, frozen=True, kw_only=True):
    """A shard's late slots that are to run."""

    waiting: int
    """All that were not handed out yet, those that are held included."""
    held: int
    """Those of them that wait for an operator's word: `POST /scheduler/catch-up`."""


class SetAsideEntry(msgspec.Struct, frozen=True, kw_only=True):
    """A shard's tasks that nothing is decided about: doing so failed, or their register cannot be read."""

    tasks: int
    """How many there are."""
    ids: tuple[str, ...]
    """The ids of some of them."""


class ShardEntry(msgspec.Struct, frozen=True, kw_only=True):
    """One shard; without a leader all else is null."""

    partition: int
    leader: str | None
    epoch: int | None = None
    watermark: str | None = None
    lag_seconds: float | None = None
    tasks: int | None = None
    in_flight: int | None = None
    next_fire: str | None = None
    catch_up: CatchUpEntry | None = None
    set_aside: SetAsideEntry | None = None


class SchedulerView(msgspec.Struct, frozen=True, kw_only=True):
    """`GET /scheduler`."""

    partitions: int
    shards: tuple[ShardEntry, ...]
    schedulers: tuple[SchedulerStatus, ...]


class ExecutorEntry(msgspec.Struct, frozen=True, kw_only=True):
    """One executor."""

    id: str
    host: str
    pid: int
    version: str
    pools: tuple[str, ...]
    task_types: tuple[str, ...]
    capacity: int
    running: int
    draining: bool
    started_at: str


class PoolEntry(msgspec.Struct, frozen=True, kw_only=True):
    """What waits in one pool at one priority, and what is being worked on."""

    pool: str
    priority: str
    pending: int
    in_flight: int


class ExecutorsView(msgspec.Struct, frozen=True, kw_only=True):
    """`GET /executors`."""

    items: tuple[ExecutorEntry, ...]
    pools: tuple[PoolEntry, ...]


class TypeView(msgspec.Struct, frozen=True, kw_only=True):
    """A task type that executors have announced."""

    name: str
    description: str
    pool: str
    timeout_seconds: float
    retry: Any
    config_schema: msgspec.Raw
    isolation: str
    version: str
    one_at_a_time: bool
    """Of all tasks of this type together, one execution is in flight at a time."""
    live: bool
    """Whether an executor that takes work runs it now."""


class Cluster(Service):
    """Follows members and task types; asks the schedulers for their status."""

    def __init__(self, bus: NatsBus, members: MemberWatch, partitions: int) -> None:
        super().__init__("cluster")
        self._bus = bus
        self._members = members
        self.partitions: Final = partitions
        self.known_types: dict[str, KnownType] = dict(WORKLESS_TYPES)
        """Announced types, and those without work, by name, as the shards know them."""
        self._follower = Follower(
            bus,
            bucket_stream(TYPES_BUCKET),
            [bucket_filter(TYPES_BUCKET)],
            handler=self._take_types,
            name="cluster:types",
        )

    @override
    async def on_start(self) -> None:
        """Follow the task types; ready when the present ones are known."""
        await self.start_child(self._follower)
        await self._follower.loaded.wait()

    def task_types(self) -> list[TypeView]:
        """All task types by name."""
        return [self._type_view(one.announcement) for _, one in sorted(self.known_types.items())]

    def runs(self, pool: str, task_type: str) -> bool:
        """Whether a live executor of a pool runs a type, or it needs none."""
        return is_workless(task_type) or task_type in self._members.types_live(pool)

    async def schedulers(self) -> SchedulerView:
        """Shards and schedulers, as the schedulers tell within a moment. Raises BusError."""
        told = await self._ask_schedulers()
        shards: dict[int, ShardStatus] = {}
        for scheduler in told:
            for shard in scheduler.shards:
                # During a hand-over two may claim a shard: the higher epoch is the newer leader.
                if shard.partition not in shards or shard.epoch > shards[shard.partition].epoch:
                    shards[shard.partition] = shard
        return SchedulerView(
            partitions=self.partitions,
            shards=tuple(_shard_entry(number, shards.get(number)) for number in range(self.partitions)),
            schedulers=tuple(sorted(told, key=lambda one: one.id)),
        )

    async def executors(self) -> ExecutorsView:
        """Executors and what waits in their pools. Raises BusError."""
        members = self._members.of_kind("executor")
        pools = sorted({pool for member in members for pool in member.pools})
        entries = await asyncio.gather(
            *(self._pool(pool, priority) for pool in pools for priority in PRIORITIES)
        )
        return ExecutorsView(
            items=tuple(
                ExecutorEntry(
                    id=member.id,
                    host=member.host,
                    pid=member.pid,
                    version=member.version,
                    pools=member.pools,
                    task_types=member.task_types,
                    capacity=member.capacity,
                    running=member.running,
                    draining=member.draining,
                    started_at=member.started_at,
                )
                for member in members
            ),
            pools=tuple(entry for entry in entries if entry is not None),
        )

    async def _ask_schedulers(self) -> list[SchedulerStatus]:
        """Ask all schedulers at once; done when all that are known have answered, or the time is up."""
        expected = {member.id for member in self._members.of_kind("scheduler")}
        told: dict[str, SchedulerStatus] = {}
        complete = asyncio.Event()

        async def take(message: Msg) -> None:
            if not message.data:
                complete.set()  # "no responders": nobody will answer
                return
            status = _decode_status(message.data)
            told[status.id] = status
            if expected and expected <= told.keys():
                complete.set()

        inbox = self._bus.nc.new_inbox()
        subscription = await self._bus.subscribe(inbox, take)
        try:
            await self._bus.nc.publish(SCHEDULER_STATUS, b"", reply=inbox)
            async with asyncio.timeout(_GATHER_SECONDS):
                await complete.wait()
        except TimeoutError:
            return list(told.values())
        finally:
            await subscription.unsubscribe()
        return list(told.values())

    async def _pool(self, pool: str, priority: str) -> PoolEntry | None:
        """A pool's queue at one priority; None where no executor has opened it yet. Raises BusError."""
        try:
            info = await self._bus.api(f"CONSUMER.INFO.{DUE_STREAM}.exec_{pool}_{priority}")
        except BusRefused as error:
            if error.code == _NOT_FOUND:
                return None
            raise
        return PoolEntry(
            pool=pool, priority=priority, pending=info["num_pending"], in_flight=info["num_ack_pending"]
        )

    def _type_view(self, one: TypeAnnouncement) -> TypeView:
        live = one.name in self._members.types_live(one.pool)
        return TypeView(
            name=one.name,
            description=one.description,
            pool=one.pool,
            timeout_seconds=one.timeout_seconds,
            retry=one.retry,
            config_schema=one.config_schema,
            isolation=one.isolation,
            version=one.version,
            one_at_a_time=one.one_at_a_time,
            live=is_workless(one.name) or live or any(one.name in m.task_types for m in self._takers()),
        )

    def _takers(self) -> list[Any]:
        return [member for member in self._members.of_kind("executor") if not member.draining]

    async def _take_types(self, batch: list[Stored]) -> None:
        for stored in batch:
            entry = entry_of(stored)
            if is_workless(entry.key):
                continue
            if entry.gone:
                self.known_types.pop(entry.key, None)
                continue
            try:
                self.known_types[entry.key] = KnownType.of(_decode_type(entry.value))
            except (msgspec.DecodeError, ValueError):
                continue  # of a later version, or with a schema that is none: unknown to the shards, too


def _shard_entry(number: int, shard: ShardStatus | None) -> ShardEntry:
    if shard is None:
        return ShardEntry(partition=number, leader=None)
    return ShardEntry(
        partition=number,
        leader=shard.leader,
        epoch=shard.epoch,
        watermark=shard.watermark,
        lag_seconds=shard.lag_seconds,
        tasks=shard.tasks,
        in_flight=shard.in_flight,
        next_fire=shard.next_fire,
        catch_up=CatchUpEntry(waiting=shard.catch_up_waiting, held=shard.catch_up_held),
        set_aside=SetAsideEntry(tasks=shard.set_aside, ids=shard.set_aside_tasks),
    )
