"""Pools with a limit, between two shards with a leader each: commands, who is handed out, and who waits."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest_asyncio

from gnomon_core.runtime.embedded import EmbeddedNats
from gnomon_schemas import subjects
from gnomon_schemas.codec import decode
from gnomon_schemas.events import Queued
from gnomon_schemas.pools import PoolUpdated
from gnomon_schemas.subjects import EVENTS_STREAM
from tests.harness.commands import fresh_id
from tests.harness.fake_executor import FakeExecutor, Work
from tests.harness.waiting import until_async
from tests.harness.world import World

QUIET = 0.3
"""Seconds in which nothing comes that would have come, had it been let go."""


class Two:
    """Two shards, each led on a connection of its own, and an executor that does as told."""

    def __init__(self, world: World, fake: FakeExecutor) -> None:
        self.world, self.fake = world, fake

    async def task(self, partition: int, pool: str, **spec: Any) -> str:
        """A task of its own in a partition."""
        task = self.world.task_in(partition, fresh_id("t")[:12] + "-")
        await self.world.commands.create(task, pool=pool, **{"overlap": "allow", **spec})
        return task

    async def run(self, task: str, count: int = 1) -> None:
        """Run a task so often at once."""
        for _ in range(count):
            await self.world.commands.ok("run", task)

    async def set(self, pool: str, **settings: Any) -> dict[str, Any]:
        """Set something of a pool; the outcome."""
        return await self.world.commands.ok("update", pool, settings, kind="pool")

    async def out(self, pool: str) -> int:
        """How many dues of a pool there are: handed out and not acknowledged."""
        return sum(due.pool == pool for _, due in await self.world.dues())

    async def quiet(self, pool: str, count: int) -> None:
        """So many are out, and it stays so."""
        await until_async(lambda: self._is_out(pool, count))
        await asyncio.sleep(QUIET)
        assert await self.out(pool) == count

    async def _is_out(self, pool: str, count: int) -> bool:
        return await self.out(pool) == count


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def two(broker: EmbeddedNats) -> AsyncIterator[Two]:
    """The module's two shards."""
    async with World(broker, partitions=2) as world:
        async with world.leader(0), world.leader(1):
            yield Two(world, await world.fake_executor(pool="p", types=("echo",)))


async def fresh(two: Two, pool: str) -> FakeExecutor:
    """An executor of a pool of a test's own."""
    return await two.world.fake_executor(pool=pool, types=("echo",))


async def test_a_pool_is_set_by_command_and_told(two: Two) -> None:
    """What is left out stays; the event says what changed; a retry is answered alike."""
    pool, command = fresh_id("p"), fresh_id()
    outcome = await two.world.commands.ok(
        "update", pool, {"max_in_flight": 7}, kind="pool", command_id=command
    )
    assert outcome["pool"] == {
        "pool": pool,
        "max_in_flight": 7,
        "paused": False,
        "version": 1,
        "updated_at": outcome["pool"]["updated_at"],
    }
    partition = subjects.partition_of(pool, 2)
    last = await two.world.bus.last(EVENTS_STREAM, subjects.event("pool", "updated", partition, pool))
    assert last is not None
    event = decode(last.data, PoolUpdated)
    assert [(change.field, change.old, change.new) for change in event.changes] == [
        ("max_in_flight", None, 7)
    ]
    assert (event.command_id, event.max_in_flight, event.paused, event.version) == (command, 7, False, 1)
    assert last.seq <= outcome["seq"]
    again = await two.world.commands.decided(
        "update", pool, {"max_in_flight": 7}, kind="pool", command_id=command, within=0.5
    )
    assert again["replayed"]
    paused = (await two.set(pool, paused=True))["pool"]
    assert (paused["max_in_flight"], paused["paused"], paused["version"]) == (7, True, 2)
    same = (await two.set(pool, paused=True))["pool"]
    assert same["version"] == 2


async def test_what_cannot_be_set_is_refused(two: Two) -> None:
    """By field, value and what is allowed; nothing is changed."""
    pool = fresh_id("p")
    cases: list[tuple[Any, str, str]] = [
        ({"max_in_flight": 0}, "invalid", "#/max_in_flight"),
        ({"max_in_flight": 1_000_001}, "invalid", "#/max_in_flight"),
        ({"max_in_flight": "5"}, "invalid", "#/max_in_flight"),
        ({"paused": None}, "invalid", "#/paused"),
        ({"limit": 5}, "unknown_field", "#/limit"),
    ]
    for body, code, pointer in cases:
        outcome = await two.world.commands.send("update", pool, body, kind="pool")
        assert not outcome["ok"]
        assert outcome["error"]["code"] == code, outcome
        assert [error["pointer"] for error in outcome["error"]["errors"]] == [pointer]
    verb = await two.world.commands.send("drain", pool, {}, kind="pool")
    assert verb["error"]["code"] == "unknown_verb"
    user = await two.world.commands.send(
        "update", pool, {"paused": True}, kind="pool", headers={"Gnomon-User": "u1"}
    )
    assert user["error"]["code"] == "forbidden"
    stale = await two.world.commands.send(
        "update", pool, {"paused": True}, kind="pool", headers={"Gnomon-If-Match": "3"}
    )
    assert stale["error"]["code"] == "version_mismatch"
    unchanged = (await two.set(pool))["pool"]
    assert (unchanged["version"], unchanged["max_in_flight"], unchanged["paused"]) == (0, None, False)


async def test_a_limit_is_one_number_over_all_shards(two: Two) -> None:
    """Of six that want to go two do, whatever their shard; as one ends another goes, until all have."""
    pool = fresh_id("p")
    fake = await fresh(two, pool)
    await two.set(pool, max_in_flight=2)
    tasks = [await two.task(0, pool), await two.task(1, pool)]
    for task in tasks:
        await two.run(task, 3)
    await two.quiet(pool, 2)
    for _ in range(5):
        await fake.complete(await fake.next())
        assert await two.out(pool) <= 2
    await fake.complete(await fake.next())
    for task in tasks:
        await two.world.events.some(3, "executed", task)


async def test_a_limit_may_change_and_a_pool_be_paused(two: Two) -> None:
    """What is out beyond a lowered limit goes on, and nothing follows until there is room."""
    pool = fresh_id("p")
    fake = await fresh(two, pool)
    tasks = [await two.task(0, pool), await two.task(1, pool)]
    for task in tasks:
        await two.run(task, 3)
    await two.quiet(pool, 6)
    await two.set(pool, max_in_flight=2)
    for task in tasks:
        await two.run(task, 3)
    works = [await fake.next() for _ in range(6)]
    for work in works[:4]:
        await fake.complete(work)
    await two.quiet(pool, 2)
    await two.set(pool, paused=True)
    for work in works[4:]:
        await fake.complete(work)
    await two.quiet(pool, 0)
    await two.set(pool, max_in_flight=4, paused=False)
    await two.quiet(pool, 4)
    await two.set(pool, max_in_flight=None)
    await two.quiet(pool, 6)
    fake.run()
    for task in tasks:
        await two.world.events.some(6, "executed", task)


async def test_urgent_goes_first_and_low_has_its_share(two: Two) -> None:
    """Under a pool's limit of one: of what waits in both shards."""
    pool = fresh_id("p")
    fake = await fresh(two, pool)
    await two.set(pool, max_in_flight=1)
    low = await two.task(0, pool, priority="low")
    urgent = await two.task(1, pool, priority="urgent")
    await two.run(low, 8)
    await two.run(urgent, 8)
    await two.quiet(pool, 1)
    order = []
    async with asyncio.timeout(20):
        for _ in range(16):
            work = await fake.next()
            order.append(work.due.task_id)
            await fake.complete(work)
    assert order[0] == low
    first = order[1:9]
    assert first.count(urgent) >= 5, order
    assert low in first, order


async def test_one_users_flood_does_not_starve_another(two: Two) -> None:
    """A pool without a limit: of a user no more is out than the executors can take twice, and others pass."""
    pool = fresh_id("p")
    fake = await fresh(two, pool)
    await fake.announce(capacity=2)
    await asyncio.sleep(QUIET)
    flood = [await two.task(partition, pool, headers={"Gnomon-User": "flood"}) for partition in (0, 1)]
    for task in flood:
        await two.run(task, 30)
    await two.quiet(pool, 4)
    other = await two.task(0, pool, headers={"Gnomon-User": "other"})
    await two.run(other)
    seen: list[Work] = []
    async with asyncio.timeout(20):
        while not seen or seen[-1].due.task_id != other:
            seen.append(await fake.next())
            await fake.complete(seen[-1])
    assert len(seen) <= 8, [work.due.task_id for work in seen]
    fake.run()
    for task in flood:
        await two.world.events.some(30, "executed", task, within=30)


async def test_slots_wait_for_their_pool_and_say_so(two: Two) -> None:
    """A slot of a paused pool is written ahead, with `queued` on its chain, and goes when the pool is resumed."""
    pool = fresh_id("p")
    fake = await fresh(two, pool)
    await two.set(pool, paused=True)
    task = await two.task(0, pool, schedule={"kind": "interval", "every_seconds": 1}, overlap="queue")
    queued = (await two.world.events.one("queued", task)).event
    assert isinstance(queued, Queued)
    assert queued.reason == "pool"
    assert await two.out(pool) == 0
    await two.set(pool, paused=False)
    fake.run()
    await two.world.events.one("executed", task, run=queued.run)
    await two.world.commands.ok("delete", task)
