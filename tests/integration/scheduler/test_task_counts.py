"""How many tasks users have elsewhere: asked of all shards at once, and right also where several make some at once."""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager

import pytest
from nats.aio.msg import Msg

from gnomon_scheduler.memory import ShardMemory, TaskState
from gnomon_scheduler.registers import TaskRegister
from gnomon_scheduler.task_counts import TaskCounts
from gnomon_schemas import subjects
from gnomon_schemas.budgets import TaskCount, TaskCountQuestion
from gnomon_schemas.codec import decode, encode
from gnomon_schemas.tasks import TaskSpec
from tests.harness.commands import fresh_id
from tests.harness.world import World, now_ms

pytestmark = pytest.mark.asyncio(loop_scope="module")

USERS = [f"u{number}" for number in range(30)]
SHARDS, MOST = 4, 37


async def test_a_turn_waits_for_a_slow_shard_once_and_not_for_every_user(world: World) -> None:
    heard: list[tuple[str, str]] = []
    all_asked = asyncio.Event()

    async def answer_when_all_have_asked(message: Msg) -> None:
        heard.append((decode(message.data, TaskCountQuestion).user, message.reply))
        if len(heard) == len(USERS):
            all_asked.set()
            for user, reply in heard:
                await world.bus.send(reply, encode(TaskCount(partition=1, tasks=int(user[1:]))))

    subscription = await world.bus.subscribe(subjects.task_counts(1), answer_when_all_have_asked)
    counts = TaskCounts(world.bus, ShardMemory(0), 2, now_ms)
    found = await counts.elsewhere(dict.fromkeys(USERS, 1))
    await subscription.unsubscribe()
    assert all_asked.is_set()
    assert found == {user: int(user[1:]) for user in USERS}


class _Shard:
    """A shard that makes as many tasks of its user as fit, some at a time."""

    def __init__(self, world: World, partition: int, *, behind_ms: int) -> None:
        self.memory, self._world = ShardMemory(partition), world
        self.counts = TaskCounts(world.bus, self.memory, SHARDS, lambda: now_ms() - behind_ms)

    @asynccontextmanager
    async def answering(self) -> AsyncIterator[_Shard]:
        async def asked(message: Msg) -> None:
            told = await self.counts.answer(decode(message.data, TaskCountQuestion))
            await self._world.bus.send(message.reply, encode(told))

        subscription = await self._world.bus.subscribe(subjects.task_counts(self.memory.partition), asked)
        yield self
        await subscription.unsubscribe()

    async def turn(self, wanted: int, dawdling: float) -> int:
        """Ask, take some time as a turn does, and decide; how many were refused."""
        there = (await self.counts.elsewhere({"u": wanted}))["u"]
        await asyncio.sleep(dawdling)
        refused = 0
        for _ in range(wanted):
            if there + self.counts.counted("u") >= MOST:
                refused += 1
            else:
                self._make(fresh_id("t"))
        self.counts.settle()
        return refused

    def _make(self, task_id: str) -> None:
        reg = TaskRegister(
            task_id=task_id,
            user_id="u",
            spec=TaskSpec(name="n", task_type="echo"),
            version=1,
            revision=1,
            revision_from_ms=0,
            cursor_s=0,
            created_ms=0,
            updated_ms=0,
            fingerprint="",
        )
        self.memory.tasks[task_id] = TaskState(reg, 0)
        self.counts.note_created("u", task_id)


async def test_shards_that_make_tasks_at_once_make_exactly_as_many_as_are_allowed(world: World) -> None:
    """Whatever their clocks say, and however their questions and turns fall."""
    for seed in range(8):
        lots = random.Random(seed)
        async with AsyncExitStack() as stack:
            shards = [
                await stack.enter_async_context(
                    _Shard(world, partition, behind_ms=lots.choice([0, 0, 5, 60_000])).answering()
                )
                for partition in range(SHARDS)
            ]

            async def work(shard: _Shard, lots: random.Random) -> int:
                refused = 0
                while not refused:
                    refused = await shard.turn(lots.randint(1, 6), lots.random() * 0.004)
                return refused

            await asyncio.gather(*(work(shard, random.Random(lots.random())) for shard in shards))
            made = [len(shard.memory.tasks) for shard in shards]
        assert sum(made) == MOST, (seed, made)
