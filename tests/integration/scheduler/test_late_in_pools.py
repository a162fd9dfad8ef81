"""Late slots in a pool with a limit."""

from __future__ import annotations

import asyncio

import pytest

from gnomon_scheduler import departure_desk
from gnomon_scheduler.departure_desk import DepartureDesk
from gnomon_scheduler.late_runs import LateKey, LateRuns
from tests.harness.fake_executor import FakeExecutor
from tests.harness.stage import Stage
from tests.harness.waiting import until
from tests.harness.world import World


async def test_late_slots_wait_for_their_pool_behind_live_executions(world: World) -> None:
    """They are older than all that is live, and go after it all the same."""
    stage = Stage(world)
    fake = await world.fake_executor()
    await stage.lead()
    await world.leader(1).__aenter__()
    await stage.commands.ok("update", "default", {"max_in_flight": 1}, kind="pool")
    holder, live = world.task_in(0, "holder"), world.task_in(0, "live")
    for task in (holder, live):
        await stage.commands.create(task, overlap="allow")
    await stage.commands.ok("run", holder)
    held = await fake.next(task_id=holder)
    every_minute = {"kind": "interval", "every_seconds": 60}
    catch_up = {"policy": "all", "after_seconds": 5, "limit": 1}
    await stage.commands.create(stage.task, schedule=every_minute, overlap="allow", catch_up=catch_up)
    stage.advance(330)
    await until(lambda: stage.leader.shard.status().catch_up_waiting == 1)
    await stage.commands.ok("run", live)
    await fake.complete(held)
    assert await next_of(stage, fake) == live
    assert await next_of(stage, fake) == stage.task


async def test_late_slots_of_a_pool_that_was_paused_go_at_their_pace_when_it_opens(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A turn looks at a few of them only, also where none of them can go."""
    looked_at: list[int] = []
    publish, take = DepartureDesk.publish_armed, LateRuns.take

    async def publishing(desk: DepartureDesk, now_ms: int) -> None:
        looked_at.append(0)
        await publish(desk, now_ms)

    def taking(late: LateRuns, now_ms: int) -> LateKey | None:
        key = take(late, now_ms)
        looked_at[-1] += key is not None
        return key

    monkeypatch.setattr(DepartureDesk, "publish_armed", publishing)
    monkeypatch.setattr(LateRuns, "take", taking)
    monkeypatch.setattr(departure_desk, "_LOOKED_AT_A_TURN", 3)
    stage = Stage(world, catch_up_rate=2.0)
    fake = await world.fake_executor()
    await stage.lead()
    await world.leader(1).__aenter__()
    await stage.commands.ok("update", "default", {"paused": True}, kind="pool")
    await until(lambda: "default" in stage.leader.pools.limited)
    every_minute = {"kind": "interval", "every_seconds": 60}
    catch_up = {"policy": "all", "after_seconds": 5, "limit": 10}
    await stage.commands.create(stage.task, schedule=every_minute, overlap="allow", catch_up=catch_up)
    stage.advance(630)
    await until(lambda: stage.leader.shard.status().catch_up_waiting == 10)
    for _ in range(10):
        stage.advance(1)
        await stage.commands.ok("update", stage.task, {"description": f"{stage.clock.now_ms()}"})
    assert await world.dues() == []
    await stage.commands.ok("update", "default", {"paused": False}, kind="pool")
    await until(lambda: len(fake.seen) == 2)
    await stage.commands.ok("update", stage.task, {"description": "no time has passed"})
    assert len(await world.dues()) == 2
    stage.advance(1)
    await until(lambda: len(fake.seen) == 4)
    assert max(looked_at) == 3


async def next_of(stage: Stage, fake: FakeExecutor) -> str:
    """Complete what is handed out next while time passes, for statements are repeated by it; its task."""
    coming = asyncio.ensure_future(fake.next())
    while not coming.done():
        stage.advance(0.1)
        await asyncio.sleep(0.01)
    await fake.complete(coming.result())
    return coming.result().due.task_id
