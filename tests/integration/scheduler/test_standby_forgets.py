"""A standby lets go of tasks whose registers were removed: nobody tells it, and it would keep them until it leads."""

from __future__ import annotations

import asyncio

import msgspec
import pytest

from gnomon_scheduler.object_registers import TemplateRegister
from gnomon_scheduler.replica import Replica
from gnomon_schemas import subjects
from gnomon_schemas.codec import encode
from gnomon_schemas.subjects import EVENTS_STREAM
from gnomon_schemas.templates import TemplateSpec
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


async def test_a_standby_forgets_tombstones_of_objects_that_are_gone(world: World) -> None:
    gone, kept = (world.task_in(0, prefix) for prefix in ("gone", "kept"))
    for template_id in (gone, kept):
        tombstone = TemplateRegister(
            object_id=template_id,
            version=2,
            created_ms=NOW_S * 1000,
            updated_ms=NOW_S * 1000,
            deleted_ms=NOW_S * 1000,
            spec=TemplateSpec(name="n", task_type="echo"),
        )
        register_of = subjects.object_register("template", 0, template_id)
        await world.bus.store(register_of, encode(tombstone), ROLLUP)
    replica = Replica(world.bus, 0)
    await replica.start()
    try:
        await world.bus.purge(EVENTS_STREAM, filter=subjects.object_register("template", 0, gone))
        assert await replica.forget_removed(NOW_S * 1000) == 0, "not old enough"
        assert await replica.forget_removed(NOW_S * 1000 + 1) == 1
        assert replica.memory.objects.get("template", gone) is None
        assert replica.memory.objects.get("template", kept) is not None
    finally:
        await replica.stop()
