"""Catch-up while its leader dies: every late slot has one outcome, and those that run do so one after another."""

from __future__ import annotations

import asyncio

from gnomon_schemas.subjects import shard_id
from tests.harness.ledger import Audit
from tests.harness.stage import Stage, at_every_write
from tests.harness.world import World

EVERY_SECOND = {"kind": "interval", "every_seconds": 1}
EVERY_MINUTE = {"kind": "interval", "every_seconds": 60}


def assert_one_at_a_time(world: World, task: str) -> None:
    """No execution of the task began before the one before it had ended."""
    running = 0
    for seen in world.events.of(task_id=task):
        running += (seen.name == "started") - (seen.name == "executed")
        assert running <= 1, f"{seen.run} ran beside another"


async def test_a_backlog_that_runs_whole_is_run_once_whenever_the_leader_dies(world: World) -> None:
    """Policy `all`: cursor, span and entries are one batch; the newest `limit` run, the others are coalesced."""
    (await world.fake_executor()).run()

    async def prepare(stage: Stage) -> None:
        catch_up = {"policy": "all", "after_seconds": 5, "limit": 4}
        await stage.commands.create(stage.task, schedule=EVERY_SECOND, overlap="skip", catch_up=catch_up)
        stage.advance(2)
        await stage.settle()

    async def scene(stage: Stage) -> None:
        stage.advance(60)
        await stage.settle()

    def check(stage: Stage, audit: Audit) -> None:
        assert audit.outcomes["coalesced(catch_up_all, span)"] >= 46, audit
        late = [seen.event for seen in world.events.of("coalesced", stage.task)]
        assert len(late) == 1
        assert_one_at_a_time(world, stage.task)

    assert await at_every_write(world, scene, prepare=prepare, check=check) >= 8


HELD = {"policy": "all", "after_seconds": 5, "limit": 6}


async def held(stage: Stage, count: int) -> None:
    """Wait until the shard says that so many are held."""
    async with asyncio.timeout(10):
        while (status := stage.leader.shard.status()).catch_up_held != count:
            stage.advance(0.01)
            await asyncio.sleep(0.01)
    assert status.catch_up_waiting == count


async def test_what_is_held_runs_once_it_is_approved_whenever_the_leader_dies(world: World) -> None:
    """The approval is an instant in the shard register: the next leader finds the same ones approved."""
    (await world.fake_executor()).run()

    async def prepare(stage: Stage) -> None:
        await stage.commands.create(stage.task, schedule=EVERY_MINUTE, overlap="allow", catch_up=HELD)
        stage.advance(330)
        await held(stage, 5)
        assert world.events.of("started", stage.task) == []

    async def scene(stage: Stage) -> None:
        await stage.commands.ok("approve_catch_up", shard_id(0, world.partitions), kind="shard")
        await stage.settle()

    def check(stage: Stage, audit: Audit) -> None:
        assert audit.outcomes == {"executed": 5}, audit
        assert stage.leader.shard.status().catch_up_waiting == 0

    deaths = await at_every_write(world, scene, prepare=prepare, check=check, catch_up_hold_above=4)
    assert deaths >= 4


async def test_what_is_discarded_is_missed_once_whenever_the_leader_dies(world: World) -> None:
    """Each on its own chain, as `missed(catch_up_skip)`; nothing of it runs."""
    (await world.fake_executor()).run()

    async def prepare(stage: Stage) -> None:
        await stage.commands.create(stage.task, schedule=EVERY_MINUTE, overlap="skip", catch_up=HELD)
        stage.advance(330)
        await held(stage, 5)

    async def scene(stage: Stage) -> None:
        await stage.commands.ok("discard_catch_up", shard_id(0, world.partitions), kind="shard")
        await stage.settle()

    def check(stage: Stage, audit: Audit) -> None:
        assert audit.outcomes == {"missed(catch_up_skip)": 5}, audit

    deaths = await at_every_write(world, scene, prepare=prepare, check=check, catch_up_hold_above=4)
    assert deaths >= 4


async def test_live_slots_go_while_the_backlog_is_held_and_at_its_rate_when_it_is_not(world: World) -> None:
    """Slots that come on time do not wait for it; late ones go two a second of the shard's clock."""
    (await world.fake_executor()).run()
    stage = Stage(world, catch_up_rate=2.0, catch_up_hold_above=8)
    await stage.lead()
    catch_up = {"policy": "all", "after_seconds": 60, "limit": 10}
    await stage.commands.create(stage.task, schedule=EVERY_MINUTE, overlap="allow", catch_up=catch_up)
    await stage.leader.die()
    stage.clock.advance(630)  # nine slots are late, and the tenth is not
    await stage.lead()
    await held(stage, 9)
    await world.events.some(1, "executed", stage.task)
    for minute in (2, 3):
        stage.advance(60)
        await world.events.some(minute, "executed", stage.task)
    assert stage.leader.shard.status().catch_up_held == 9
    await stage.commands.ok("approve_catch_up", shard_id(0, world.partitions), kind="shard")
    for second in range(4):
        # At once what a second allows, and as many with each that passes.
        gone = 3 + 2 * (second + 1)
        await world.events.some(gone, "executed", stage.task)
        await stage.commands.ok("update", stage.task, {"description": f"a turn in second {second}"})
        assert len(world.events.of("started", stage.task)) == gone
        stage.advance(1)
    found = await stage.settle()
    assert found.outcomes == {"executed": 12}, found
