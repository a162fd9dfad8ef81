"""`max_runs` is exact, whoever leads: the count and what is counted are in one register."""

from __future__ import annotations

import asyncio
from typing import Any

from gnomon_schemas.events import StatusChanged
from tests.harness.ledger import Audit
from tests.harness.stage import Stage, at_every_write
from tests.harness.waiting import until
from tests.harness.world import World


def every_second(max_runs: int, **fields: Any) -> dict[str, Any]:
    """A slot a second, of which so many run."""
    return {"kind": "interval", "every_seconds": 1, "max_runs": max_runs, **fields}


async def ended(world: World, stage: Stage) -> None:
    """Let time pass until the task has told that its status changed: no slot may come any more meanwhile."""
    async with asyncio.timeout(20):
        while not world.events.of("status_changed", stage.task):
            stage.advance(0.5)
            await asyncio.sleep(0.02)


def assert_ended_after(world: World, stage: Stage, runs: int) -> None:
    """So many slots have run, none more, and then the task was completed."""
    assert len({seen.run for seen in world.events.of("started", stage.task)}) == runs
    (changed,) = (
        seen.event
        for seen in world.events.of("status_changed", stage.task)
        if isinstance(seen.event, StatusChanged)
    )
    assert (changed.new_status, changed.reason) == ("completed", "no_slot_left")


async def test_as_many_slots_run_as_were_asked_for_whenever_the_leader_dies(world: World) -> None:
    (await world.fake_executor()).run()

    async def prepare(stage: Stage) -> None:
        await stage.commands.create(stage.task, schedule=every_second(4), overlap="queue_all")

    async def scene(stage: Stage) -> None:
        for number in range(1, 5):
            stage.advance(1)
            await world.events.some(number, "executed", stage.task)
        await ended(world, stage)

    def check(stage: Stage, audit: Audit) -> None:
        assert audit.outcomes == {"executed": 4}, audit
        assert_ended_after(world, stage, 4)

    assert await at_every_write(world, scene, prepare=prepare, check=check) >= 8


async def test_slots_of_a_backlog_count_and_skipped_ones_do_not(world: World) -> None:
    """Two run, an outage follows, and of its slots as many as are left."""
    (await world.fake_executor()).run()

    async def prepare(stage: Stage) -> None:
        catch_up = {"policy": "all", "after_seconds": 5, "limit": 10}
        await stage.commands.create(stage.task, schedule=every_second(5), overlap="skip", catch_up=catch_up)
        for number in (1, 2):
            stage.advance(1)
            await world.events.some(number, "executed", stage.task)
            # Until the leader has heard of it too, the next slot would be skipped.
            await until(lambda: not stage.leader.shard.book.memory.in_flight)

    async def scene(stage: Stage) -> None:
        stage.advance(30)
        await ended(world, stage)

    def check(stage: Stage, audit: Audit) -> None:
        assert (audit.outcomes["executed"], audit.outcomes["coalesced(catch_up_all, span)"] > 15) == (
            5,
            True,
        ), audit
        assert_ended_after(world, stage, 5)

    assert await at_every_write(world, scene, prepare=prepare, check=check) >= 6


async def test_with_jitter_longer_than_the_pace_every_slot_up_to_the_last_has_an_outcome(
    world: World,
) -> None:
    (await world.fake_executor()).run()

    async def prepare(stage: Stage) -> None:
        schedule = every_second(3, jitter_seconds=6)
        await stage.commands.create(stage.task, schedule=schedule, overlap="allow")

    async def scene(stage: Stage) -> None:
        for _ in range(4):
            stage.advance(2)
            await stage.commands.ok("update", stage.task, {"description": f"at {stage.clock.now_ms()}"})
        await ended(world, stage)

    def check(stage: Stage, audit: Audit) -> None:
        assert audit.outcomes["executed"] == 3, audit
        assert set(audit.outcomes) <= {"executed", "skipped(limit)"}, audit
        assert_ended_after(world, stage, 3)

    assert await at_every_write(world, scene, prepare=prepare, check=check, subject="state.shard.*") >= 4


async def test_a_new_schedule_begins_to_count_anew_and_a_run_on_demand_does_not_count(world: World) -> None:
    (await world.fake_executor()).run()
    stage = Stage(world)
    await stage.lead()
    made = await stage.commands.create(stage.task, schedule=every_second(2), overlap="queue_all")
    assert made["task"]["runs_left"] == 2
    for number in (1, 2):
        await stage.commands.ok("run", stage.task)
        await world.events.some(2 * number - 1, "executed", stage.task)
        stage.advance(1)
        await world.events.some(2 * number, "executed", stage.task)
    await ended(world, stage)
    again = (await stage.commands.ok("update", stage.task, {"schedule": {"max_runs": 3}}))["task"]
    assert (again["status"], again["runs_left"]) == ("scheduled", 3)
    for number in (5, 6, 7):
        stage.advance(1)
        await world.events.some(number, "executed", stage.task)
    stage.advance(5)
    found = await stage.settle()
    assert found.outcomes == {"executed": 7}, found
