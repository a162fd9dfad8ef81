"""Leases spread evenly, move when members come and go, and are never held by two who both think they may."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack

import msgspec
import pytest

from gnomon_core.runtime.bus import NatsBus
from gnomon_core.runtime.embedded import EmbeddedNats
from gnomon_core.runtime.kv import bucket_stream, key_subject, kv_create, kv_get, kv_put
from gnomon_core.runtime.lease import Leases, SingletonLease, shard_key
from gnomon_core.runtime.membership import Membership, MemberWatch, this_process
from gnomon_core.runtime.topology import TopologySettings, ensure_topology
from gnomon_schemas.members import Lease
from gnomon_schemas.subjects import LEASES_BUCKET, MEMBERS_BUCKET
from tests.integration.runtime.connecting import fresh, open_bus, until

PARTITIONS = 8


class Scheduler:
    """What one scheduler process is to leases, on a connection of its own."""

    def __init__(self, bus: NatsBus, ttl: float) -> None:
        self.bus = bus
        self.id = fresh("s")
        self.leading: dict[int, Lease] = {}
        self.gains: list[int] = []
        self.losses: list[int] = []
        self.lost_at = 0.0
        self.clock_right = True
        self.alive = True
        self.finishing = asyncio.Event()
        self.finishing.set()
        self.fail_to_start: set[int] = set()
        self.members = MemberWatch(bus, ("scheduler",))
        self.membership = Membership(bus, this_process("scheduler", self.id, "test"))
        self.leases = Leases(
            bus,
            self.id,
            PARTITIONS,
            ttl,
            members=self.members,
            on_gain=self.gain,
            on_lose=self.lose,
            may_lead=lambda: self.clock_right,
            alive=lambda _: self.alive,
        )

    async def gain(self, partition: int, lease: Lease, revision: int) -> None:
        assert revision > 0
        assert lease.owner == self.id
        assert partition not in self.leading, "gained twice without losing"
        if partition in self.fail_to_start:
            raise RuntimeError("no")
        self.leading[partition] = lease
        self.gains.append(partition)

    async def lose(self, partition: int) -> None:
        await self.finishing.wait()
        self.leading.pop(partition, None)
        self.losses.append(partition)
        self.lost_at = time.monotonic()

    async def start(self) -> None:
        await self.membership.start()
        await self.members.start()
        await self.leases.start()

    async def stop(self) -> None:
        await self.leases.stop()
        await self.members.stop()
        await self.membership.stop()


class Cluster:
    """Schedulers of one test."""

    def __init__(self, url: str, stack: AsyncExitStack) -> None:
        self.url = url
        self.schedulers: list[Scheduler] = []
        self._stack = stack

    async def add(self, ttl: float = 3) -> Scheduler:
        bus = await self._stack.enter_async_context(open_bus(self.url))
        scheduler = Scheduler(bus, ttl)
        await scheduler.start()
        self._stack.push_async_callback(scheduler.stop)
        self.schedulers.append(scheduler)
        return scheduler

    def counts(self) -> list[int]:
        return sorted(len(scheduler.leading) for scheduler in self.schedulers)

    def settled(self, *counts: int) -> bool:
        """Whether all partitions are led, once each, spread as said."""
        if any(s.leading.keys() != s.leases.held().keys() for s in self.schedulers):
            return False  # somebody leads without a lease, or has one without leading
        led = sorted(partition for scheduler in self.schedulers for partition in scheduler.leading)
        return led == list(range(PARTITIONS)) and self.counts() == sorted(counts)


@pytest.fixture
async def cluster(broker: EmbeddedNats, replicas: int) -> AsyncIterator[Cluster]:
    """No schedulers yet, no leases, no members."""
    async with open_bus(broker.url) as bus:
        await ensure_topology(bus, TopologySettings(partitions=PARTITIONS, replicas=replicas))
        for bucket in (LEASES_BUCKET, MEMBERS_BUCKET):
            await bus.purge(bucket_stream(bucket))
    async with AsyncExitStack() as stack:
        yield Cluster(broker.url, stack)


async def test_one_scheduler_takes_all(cluster: Cluster) -> None:
    only = await cluster.add()
    await until(lambda: cluster.settled(8))
    assert {lease.epoch for lease in only.leading.values()} == {1}
    assert only.leases.held().keys() == only.leading.keys()


async def test_members_that_come_get_their_share_and_nothing_moves_needlessly(cluster: Cluster) -> None:
    """8, then 4 and 4, then 3, 3 and 2: four moves and then two, none of them back."""
    first = await cluster.add()
    await until(lambda: cluster.settled(8))
    second = await cluster.add()
    await until(lambda: cluster.settled(4, 4))
    assert (len(first.losses), len(second.gains)) == (4, 4)
    third = await cluster.add()
    await until(lambda: cluster.settled(3, 3, 2))
    assert (len(first.losses) + len(second.losses), len(third.gains)) == (6, 2)
    assert (len(first.gains), len(second.gains)) == (8, 4)


async def test_members_that_start_together_spread(cluster: Cluster) -> None:
    await asyncio.gather(*[cluster.add() for _ in range(3)])
    await until(lambda: cluster.settled(3, 3, 2), within=15)


async def test_a_clean_stop_hands_over_in_milliseconds(cluster: Cluster) -> None:
    """The work in hand is finished first; then the others take over at once, without waiting for any
    clock."""
    first, second, third = [await cluster.add(ttl=30) for _ in range(3)]
    await until(lambda: cluster.settled(3, 3, 2))
    mine = len(first.leading)
    first.finishing.clear()
    stopping = asyncio.create_task(first.stop())
    await asyncio.sleep(0.5)
    assert len(first.leading) == mine, "nothing is handed over before the work in hand is finished"
    assert len(second.leading) + len(third.leading) == PARTITIONS - mine
    first.finishing.set()
    await until(lambda: cluster.settled(0, 4, 4), within=5)
    took = time.monotonic() - first.lost_at
    await stopping
    assert took < 0.5, f"the hand-over took {took:.3f} s"
    assert {lease.epoch for s in (second, third) for lease in s.leading.values()} >= {2}


async def test_a_young_connection_suspects_nobody(cluster: Cluster) -> None:
    """After a restart of the broker all are silent for a moment, and nobody may take that for death."""
    first = await cluster.add(ttl=30)
    await until(lambda: cluster.settled(8))
    first.alive = False  # it answers no pings and gives them up with its next renewal
    await first.leases._posts[0].key._silence()
    async with open_bus(cluster.url) as bus:
        young = Scheduler(bus, 30)
        await young.members.start()
        await young.leases.start()  # without a membership of its own nothing is handed to it
        await asyncio.sleep(1.2)
        assert len(first.leading) == PARTITIONS
        await until(lambda: 0 in young.leading, within=5)
        await young.leases.stop()
        await young.members.stop()


async def never_answers() -> bool:
    """A renewal that stands still."""
    await asyncio.get_running_loop().create_future()
    return True


async def test_a_holder_whose_renewals_get_no_answer_gives_up_by_its_own_clock(cluster: Cluster) -> None:
    """A TTL after the last renewal that was stored, whatever the broker may still have under the key."""
    only = await cluster.add(ttl=30)
    await until(lambda: cluster.settled(8))
    for post in only.leases._posts:
        post.key.renew = never_answers  # type: ignore[method-assign]
        post.key._until = asyncio.get_running_loop().time() + 0.5
    await asyncio.sleep(0.3)
    assert not only.losses
    await until(lambda: len(only.losses) == PARTITIONS, within=1)


async def test_the_marker_of_an_expired_lease_is_no_obstacle(cluster: Cluster) -> None:
    """Nor is a key whose marker has gone too while it was still believed to be there."""
    async with open_bus(cluster.url) as bus:
        for partition in range(PARTITIONS):
            lease = msgspec.json.encode(Lease(owner="gone", epoch=7))
            await kv_create(bus, LEASES_BUCKET, shard_key(partition), lease, ttl=1)
        for partition in range(PARTITIONS):
            await until_marker(bus, shard_key(partition))
        second = await cluster.add()
        await until(lambda: cluster.settled(8))
        assert len(second.gains) == PARTITIONS
        # A key vanishes with all its messages, which no watcher is told of: what is expected is not there
        # any more.
        await bus.purge(bucket_stream(LEASES_BUCKET), filter=key_subject(LEASES_BUCKET, shard_key(0)))
        await until(lambda: second.losses == [0])
        await until(lambda: cluster.settled(8))
        assert second.leading[0].epoch > 1


async def until_marker(bus: NatsBus, key: str) -> None:
    """Wait until the broker has put its marker of expiry in place of a key."""
    async with asyncio.timeout(10):
        while True:
            entry = await kv_get(bus, LEASES_BUCKET, key, even_gone=True)
            if entry is not None and entry.gone:
                assert "Nats-Marker-Reason" in entry.headers
                return
            await asyncio.sleep(0.05)


async def test_all_leave_and_the_epochs_go_on(cluster: Cluster) -> None:
    """The shard register's epoch is put in when the key has forgotten it, and stays through renewals."""
    only = await cluster.add(ttl=2)
    await until(lambda: cluster.settled(8))
    assert await only.leases.raise_epoch(5, 41)
    assert await only.leases.raise_epoch(5, 17), "a lower one changes nothing"
    assert only.leases.held()[5].epoch == 41
    await asyncio.sleep(1)
    assert only.leases.held()[5].epoch == 41
    assert only.losses == []
    answer = await only.bus.request("gnomon.leader.5.41.ping", b"", 1)
    assert answer.data.decode() == only.id
    successor = await cluster.add(ttl=2)
    await until(lambda: cluster.settled(4, 4))
    if 5 in successor.leading:
        assert successor.leading[5].epoch == 42


async def test_a_leader_whose_clock_is_off_does_not_lead(cluster: Cluster) -> None:
    first, second = await cluster.add(ttl=30), await cluster.add(ttl=30)
    await until(lambda: cluster.settled(4, 4))
    first.clock_right = False
    await until(lambda: len(second.leading) == PARTITIONS, within=10)
    assert not first.leading
    first.clock_right = True
    await until(lambda: len(first.leading) > 0, within=30)


async def test_a_shard_that_cannot_be_begun_goes_to_another(cluster: Cluster) -> None:
    first = await cluster.add()
    first.fail_to_start = set(range(PARTITIONS))
    second = await cluster.add()
    await until(lambda: len(second.leading) == PARTITIONS, within=15)
    assert first.leases.failure is None


async def test_a_newcomer_does_not_count_on_the_dead(cluster: Cluster) -> None:
    """Members that are listed and fell silent before a scheduler came do not keep it from what is free."""
    staying = await cluster.add()
    await until(lambda: cluster.settled(8))
    for _ in range(3):
        dead = this_process("scheduler", fresh("dead"), "test")
        await kv_put(staying.bus, MEMBERS_BUCKET, f"scheduler.{dead.id}", msgspec.json.encode(dead), ttl=60)
    await until(lambda: len(staying.members.members) == 4)
    await until(
        lambda: all(staying.members.behind_ms(m) > 5000 for m in staying.members.members if m != staying.id)
    )
    newcomer = await cluster.add()
    await until(lambda: cluster.settled(4, 4))
    stopped = time.monotonic()
    await staying.stop()
    await until(lambda: len(newcomer.leading) == PARTITIONS)
    assert time.monotonic() - stopped < 0.4, "what was free waited for the dead"


async def test_the_broker_restarts_and_everything_stays_where_it_was(
    cluster: Cluster, broker: EmbeddedNats
) -> None:
    """Nobody suspects anybody when all come back, and a short outage costs no lease."""
    first, second = await cluster.add(ttl=30), await cluster.add(ttl=30)
    await until(lambda: cluster.settled(4, 4))
    before = (dict(first.leading), dict(second.leading))
    await broker.kill()
    await broker.start()
    await first.bus.wait_connected()
    await second.bus.wait_connected()
    await asyncio.sleep(3.5)
    assert (first.leading, second.leading) == before


async def test_a_singleton_is_held_by_one_and_goes_to_the_next(cluster: Cluster) -> None:
    """After a clean stop in milliseconds, after a death by suspicion."""
    holding: set[str] = set()
    async with AsyncExitStack() as stack:

        async def contender(name: str) -> tuple[NatsBus, SingletonLease]:
            bus = await stack.enter_async_context(open_bus(cluster.url))

            async def gain() -> None:
                assert not holding
                holding.add(name)

            async def lose() -> None:
                holding.discard(name)

            lease = SingletonLease(bus, name, "projector", 30, on_gain=gain, on_lose=lose)
            await lease.start()
            stack.push_async_callback(lease.stop)
            return bus, lease

        first_bus, first = await contender("first")
        await first.held.wait()
        await until(lambda: holding == {"first"})
        _, second = await contender("second")
        await asyncio.sleep(0.5)
        assert holding == {"first"}
        begin = time.monotonic()
        await first.stop()
        assert not first.held.is_set()
        await second.held.wait()
        await until(lambda: holding == {"second"})
        assert time.monotonic() - begin < 0.5
        await first.start()
        await asyncio.sleep(2.1)
        second_bus = second._bus
        second_bus.nc.abort()
        holding.discard("second")
        await second_bus.close()
        await second.abort()
        async with asyncio.timeout(3):
            await first.held.wait()
        assert first_bus.connected
