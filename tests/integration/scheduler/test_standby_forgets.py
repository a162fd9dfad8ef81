"""A standby lets go of tasks whose registers were removed: nobody tells it, and it would keep them until it leads."""

from __future__ import annotations

import asyncio

import msgspec
import pytest

from gnomon_scheduler.replica import Replica
from gnomon_schemas import subjects
from gnomon_schemas.codec import encode
from gnomon_schemas.subjects import EVENTS_STREAM
from tests.harness.world import World
from tests.unit.scheduler.making import NOW_S, register

pytestmark = pytest.mark.asyncio(loop_scope="module")

ROLLUP = {"Nats-Rollup": "sub"}


async def test_a_standby_forgets_what_is_gone_and_nothing_else(world: World) -> None:
    gone, kept, again = (world.task_in(0, prefix) for prefix in ("gone", "kept", "again"))
    for task_id in (gone, kept, again):
        tombstone = msgspec.structs.replace(register(task_id), deleted_ms=NOW_S * 1000)
        await world.bus.store(subjects.task_register(0, task_id), encode(tombstone), ROLLUP)
    replica = Replica(world.bus, 0)
    await replica.start()
    try:
        assert replica.memory.tasks.keys() == {gone, kept, again}
        for task_id in (gone, again):
            await world.bus.purge(EVENTS_STREAM, filter=subjects.task_register(0, task_id))
        ack = await world.bus.store(subjects.task_register(0, again), encode(register(again)), ROLLUP)
        async with asyncio.timeout(10):
            await replica.wait_for(ack.seq)
        assert await replica.forget_removed(NOW_S * 1000) == 0, "not old enough"
        assert await replica.forget_removed(NOW_S * 1000 + 1) == 1
        assert replica.memory.tasks.keys() == {kept, again}
        assert replica.memory.over.keys() == {kept}
    finally:
        await replica.stop()
