"""How many tasks users have elsewhere, where other shards' leaders are slow: asked for all of them at once."""

from __future__ import annotations

import asyncio

import pytest
from nats.aio.msg import Msg

from gnomon_scheduler.memory import ShardMemory
from gnomon_scheduler.task_counts import TaskCounts
from gnomon_schemas import subjects
from gnomon_schemas.budgets import TaskCount, TaskCountQuestion
from gnomon_schemas.codec import decode, encode
from tests.harness.world import World

USERS = [f"u{number}" for number in range(30)]


@pytest.mark.asyncio(loop_scope="module")
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
    found = await TaskCounts(world.bus, ShardMemory(0), 2).elsewhere(USERS)
    await subscription.unsubscribe()
    assert all_asked.is_set()
    assert found == {user: int(user[1:]) for user in USERS}
