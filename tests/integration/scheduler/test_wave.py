"""Many slots of one instant take several turns, and commands are decided between them."""

from __future__ import annotations

import pytest

from gnomon_scheduler import slot_desk
from gnomon_schemas.clock_text import format_instant
from tests.harness.world import World, now_ms

pytestmark = pytest.mark.asyncio(loop_scope="module")


async def test_a_pause_amid_the_slots_of_an_instant_leaves_one_outcome_for_a_slot_handed_out_before(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(slot_desk, "_SLOTS_A_TURN", 1)
    ids = [world.task_in(0, prefix) for prefix in "abcd"]
    await world.fake_executor()
    async with world.leader() as leader:
        anchor = format_instant((now_ms() // 1000 + 4) * 1000)
        schedule = {"kind": "interval", "every_seconds": 3600, "anchor": anchor}
        for task_id in ids:
            await world.commands.create(task_id, overlap="allow", schedule=schedule)
        second = leader.bus.trap("task.due.*", "hold", on="publish", nth=2)
        await second.reached.wait()
        (_, due), *_ = await world.dues()
        pause, _ = await world.commands.post("pause", due.task_id, {})
        while not leader.shard._commands.commands:
            leader.shard._wake.clear()
            await leader.shard._wake.wait()
        second.release()
        await world.commands.outcome(pause)
        skipped = await world.events.one("skipped", due.task_id, reason="paused")
        assert skipped.run == due.run
        while len({due.task_id for _, due in await world.dues()} | {skipped.task_id}) < len(ids):
            await world.events.more(len(world.events.all) - 1)
        await world.commands.ok("update", ids[-1], {"description": "all are handed out"})
        await world.commands.ok("resume", due.task_id, {})
        await world.commands.ok("update", due.task_id, {"description": "after it"})
        assert world.events.of("skipped", due.task_id) == [skipped]
