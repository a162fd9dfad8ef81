"""Keys, rates and unique runs, between two shards with a leader each."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest_asyncio

from gnomon_core.runtime.embedded import EmbeddedNats
from gnomon_scheduler.admission import key_of
from gnomon_scheduler.gate_registers import GateRegister
from gnomon_scheduler.sweep import Sweep
from gnomon_schemas import subjects
from gnomon_schemas.clock_text import instant_ms
from gnomon_schemas.codec import decode
from gnomon_schemas.events import Queued, Skipped, Started
from gnomon_schemas.subjects import EVENTS_STREAM
from tests.harness.commands import fresh_id
from tests.harness.fake_executor import FakeExecutor
from tests.harness.leading import Leader
from tests.harness.waiting import until, until_async
from tests.harness.world import World

QUIET = 0.3
"""Seconds in which nothing comes that would have come, had it been let go."""
EVERY_SECOND: dict[str, Any] = {"kind": "interval", "every_seconds": 1}


class Two:
    """Two shards, each led on a connection of its own, and an executor of the default pool."""

    def __init__(self, world: World, fake: FakeExecutor, leaders: tuple[Leader, Leader]) -> None:
        self.world, self.fake, self.leaders = world, fake, leaders

    async def task(self, partition: int, **spec: Any) -> str:
        """A task of its own in a partition."""
        task = self.world.task_in(partition, fresh_id("t")[:12] + "-")
        await self.world.commands.create(task, **{"overlap": "allow", **spec})
        return task

    async def run(self, task: str, count: int = 1, **body: Any) -> None:
        """Run a task so often at once."""
        for _ in range(count):
            await self.world.commands.ok("run", task, body)


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def two(broker: EmbeddedNats) -> AsyncIterator[Two]:
    """The module's two shards."""
    async with World(broker, partitions=2) as world:
        async with world.leader(0) as first, world.leader(1) as second:
            yield Two(world, await world.fake_executor(), (first, second))


async def most_at_a_time(two: Two, *tasks: str) -> int:
    """How many executions of these tasks were running at the same time, at the most."""
    await two.world.events.catch_up()
    running = most = 0
    for seen in two.world.events.all:
        if seen.task_id in tasks:
            running += (seen.name == "started") - (seen.name == "executed")
            most = max(most, running)
    return most


async def test_one_at_a_time_of_a_key_whatever_the_task(two: Two) -> None:
    """Runs on demand wait for their key, in both shards, and all are served."""
    key = fresh_id("k")
    tasks = [await two.task(partition, concurrency_key=key) for partition in (0, 1)]
    for task in tasks:
        await two.run(task, 3)
    for _ in range(6):
        work = await two.fake.next()
        await two.fake.claim(work)
        assert len(await two.world.dues()) == 1
        await two.fake.finish(work)
        await two.fake.ack(work)
    for task in tasks:
        await two.world.events.some(3, "executed", task)
    assert await most_at_a_time(two, *tasks) == 1


async def test_the_least_limit_of_a_key_counts(two: Two) -> None:
    """Tasks that say three and two: two go."""
    key = fresh_id("k")
    three = await two.task(0, concurrency_key=key, concurrency_limit=3)
    pair = await two.task(1, concurrency_key=key, concurrency_limit=2)
    await two.run(three, 3)
    works = [await two.fake.next() for _ in range(3)]
    await two.run(pair)
    for work in works[:2]:
        await two.fake.complete(work)
    last = await two.fake.next(task_id=pair)
    for work in (last, works[2]):
        await two.fake.complete(work)
    await two.world.events.one("executed", pair)


async def test_a_slot_that_finds_its_key_busy_is_skipped_or_waits(two: Two) -> None:
    """Overlap `skip`: `skipped(key)`; `queue`: it is queued and runs when the key is free."""
    key = fresh_id("k")
    holder = await two.task(0, concurrency_key=key)
    await two.run(holder)
    work = await two.fake.next(task_id=holder)
    skips = await two.task(1, concurrency_key=key, overlap="skip", schedule=EVERY_SECOND)
    skipped = (await two.world.events.one("skipped", skips)).event
    assert isinstance(skipped, Skipped)
    assert skipped.reason == "key"
    await two.world.commands.ok("delete", skips)
    waits = await two.task(1, concurrency_key=key, overlap="queue", schedule=EVERY_SECOND)
    queued = (await two.world.events.one("queued", waits)).event
    assert isinstance(queued, Queued)
    assert queued.reason == "key"
    await two.fake.complete(work)
    await two.fake.complete(await two.fake.next(task_id=waits))
    await two.world.events.one("executed", waits, run=queued.run)
    await two.world.commands.ok("delete", waits)


async def test_a_key_is_free_between_two_attempts_and_gone_when_nobody_uses_it(two: Two) -> None:
    """A backoff keeps nobody out; what ends while it waits gives its place up; the register goes idle."""
    key = fresh_id("k")
    tasks = [await two.task(partition, concurrency_key=key) for partition in (0, 1)]
    await two.run(tasks[0])
    work = await two.fake.next(task_id=tasks[0])
    await two.run(tasks[1])
    await two.fake.claim(work)
    await two.fake.retry(work, 0.5)
    await two.fake.ack(work)
    other = await two.fake.next(task_id=tasks[1])
    await two.fake.claim(other)
    waiting = (await two.world.commands.ok("run", tasks[1]))["execution"]["run"]
    await two.world.commands.ok("cancel_execution", tasks[1], {"run": waiting})
    await two.world.events.one("skipped", tasks[1], run=waiting)
    await two.fake.finish(other)
    await two.fake.ack(other)
    again = await two.fake.next(task_id=tasks[0])
    assert again.due.attempt == 2
    await two.fake.complete(again)
    gate = await gate_of(two, tasks[0])
    partition = subjects.partition_of(gate, 2)
    register = subjects.gate_register("key", partition, gate)

    async def idle() -> bool:
        last = await two.world.bus.last(EVENTS_STREAM, register)
        return last is not None and not any(h.held for h in decode(last.data, GateRegister).holdings)

    await until_async(idle)
    leader = two.leaders[partition]
    sweep = Sweep(leader.bus, leader.shard, leader.clock, every_seconds=60, keep_seconds=600)

    async def gone() -> bool:
        await sweep.sweep()
        return await two.world.bus.last(EVENTS_STREAM, register) is None

    await until_async(gone)
    await until(lambda: gate not in leader.shard.book.memory.idle_keys)
    await two.run(tasks[0])
    await two.fake.complete(await two.fake.next(task_id=tasks[0]))


async def gate_of(two: Two, task: str) -> str:
    """The gate of a task's key."""
    found = key_of(task, (await two.world.task_register(task))[1].spec)
    assert found is not None
    return found


async def test_no_more_starts_than_the_rate_whatever_the_shard(two: Two) -> None:
    """Three in any second, of seven that want to go at once, of two tasks with one key."""
    key = fresh_id("k")
    rate = {"count": 3, "per_seconds": 1}
    tasks = [
        await two.task(partition, concurrency_key=key, concurrency_limit=100, rate_limit=rate)
        for partition in (0, 1)
    ]
    two.fake.run()
    await two.run(tasks[0], 4)
    await two.run(tasks[1], 3)
    for task, count in zip(tasks, (4, 3), strict=True):
        await two.world.events.some(count, "executed", task)
    await two.fake.rest()
    starts = sorted(
        instant_ms(seen.event.started_at)
        for seen in two.world.events.all
        if seen.task_id in tasks and isinstance(seen.event, Started)
    )
    assert len(starts) == 7
    for at_ms in starts:
        assert sum(at_ms <= other < at_ms + 1000 for other in starts) <= 3, starts
    assert starts[-1] - starts[0] < 8000, starts


async def test_a_rate_without_a_key_is_the_tasks_own(two: Two) -> None:
    """Another task with the same rate does not count."""
    rate = {"count": 1, "per_seconds": 60}
    tasks = [await two.task(0, rate_limit=rate) for _ in range(2)]
    for task in tasks:
        await two.run(task, 2)
    works = [await two.fake.next(), await two.fake.next()]
    assert {work.due.task_id for work in works} == set(tasks)
    for work in works:
        await two.fake.complete(work)
    await asyncio.sleep(QUIET)
    assert await two.world.dues() == []
    for task in tasks:
        await two.world.commands.ok("delete", task)


async def test_an_equal_run_is_recorded_and_not_run(two: Two) -> None:
    """By trigger data and overrides as JSON, whatever the order of their members; for so long."""
    task = await two.task(0, unique_for_seconds=1.5)
    await two.run(task, trigger_data={"a": 1, "b": [2]})
    again = await two.world.commands.ok("run", task, {"trigger_data": {"b": [2], "a": 1}})
    run = again["execution"]["run"]
    skipped = (await two.world.events.one("skipped", task, run=run)).event
    assert isinstance(skipped, Skipped)
    assert (skipped.reason, skipped.trigger, skipped.count) == ("unique", "manual", 1)
    await two.run(task, trigger_data={"a": 2, "b": [2]})
    for _ in range(2):
        await two.fake.complete(await two.fake.next(task_id=task))
    await asyncio.sleep(1.6)
    await two.run(task, trigger_data={"a": 1, "b": [2]})
    await two.fake.complete(await two.fake.next(task_id=task))
    await two.world.events.some(3, "executed", task)
    assert len(two.world.events.of("skipped", task)) == 1
    chain = subjects.chain(0, task, run)
    last = await two.world.bus.last(EVENTS_STREAM, chain)
    assert last is not None
    assert last.subject == subjects.event("task", "skipped", 0, task, run)
