"""A task whose last slot is over ends, whoever saw to that slot and however it went."""

from __future__ import annotations

import pytest

from gnomon_schemas.clock_text import format_instant
from tests.harness.world import World, now_ms

pytestmark = pytest.mark.asyncio(loop_scope="module")


def _once(in_ms: int) -> dict[str, str]:
    return {"kind": "once", "at": format_instant(now_ms() // 1000 * 1000 + in_ms)}


async def test_a_run_that_ended_under_the_leader_before_ends_its_task(world: World) -> None:
    """The predecessor handed the slot out and died before its watermark said so."""
    task_id = world.task_in(0)
    fake = await world.fake_executor()
    async with world.leader() as first:
        await world.commands.create(task_id, schedule=_once(3000))
        # From here on nothing of the first leader is stored any more.
        hold = first.bus.trap("state.shard.0", "hold", on="batch")
        work = await fake.next(task_id=task_id)
        await fake.complete(work)
        await hold.reached.wait()
    async with world.leader():
        await world.events.one("status_changed", task_id, new_status="completed")


async def test_a_pause_that_outlasts_the_last_slot_ends_the_task_at_its_resume(world: World) -> None:
    task_id = world.task_in(0)
    await world.fake_executor()
    async with world.leader():
        created = await world.commands.create(task_id, schedule=_once(2000))
        await world.commands.ok("pause", task_id, {})
        at = created["task"]["schedule"]["at"]
        while format_instant(now_ms()) <= at:
            await world.commands.ok("update", task_id, {"description": format_instant(now_ms())})
        await world.commands.ok("resume", task_id, {})
        await world.events.one("skipped", task_id, reason="paused")
        await world.events.one("status_changed", task_id, new_status="completed", reason="no_slot_left")
