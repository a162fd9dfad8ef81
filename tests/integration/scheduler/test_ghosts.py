"""An execution that has ended, or that nobody claims, does not stay in a leader's memory."""

from __future__ import annotations

import pytest

from gnomon_scheduler.sweep import Sweep
from gnomon_schemas.events import Missed
from tests.harness.world import World

pytestmark = pytest.mark.asyncio(loop_scope="module")


async def test_the_sweep_forgets_an_execution_whose_end_was_folded_before(world: World) -> None:
    task_id = world.task_in(0)
    fake = await world.fake_executor()
    async with world.leader() as leader:
        await world.commands.create(task_id, overlap="queue")
        outcome = await world.commands.ok("run", task_id, {})
        run = outcome["execution"]["run"]
        work = await fake.next(task_id=task_id)
        task = leader.shard.book.memory.tasks[task_id]
        flight = task.flights[run]
        await fake.complete(work)
        await world.events.one("executed", task_id)
        await world.commands.ok("update", task_id, {"description": "by now it is folded"})
        while task.flights:
            await world.commands.ok("update", task_id, {"description": f"{len(world.events.all)}"})
        # As a due that was published twice leaves it: its executor finds the chain ended and acknowledges.
        leader.shard.request(lambda: leader.shard.book.take_off(task, flight))
        sweep = Sweep(leader.bus, leader.shard, leader.clock, every_seconds=60, keep_seconds=600)
        await world.commands.ok("update", task_id, {"description": "after the request"})
        assert run in task.flights
        await sweep.sweep()
        await world.commands.ok("update", task_id, {"description": "after the sweep"})
        assert task.flights == {}
        assert task_id not in leader.shard.book.memory.in_flight


async def test_what_nobody_claims_in_time_is_missed_soon_after(world: World) -> None:
    """Its owner waits for that: not until the sweep, which looks once a minute."""
    task_id = world.task_in(0)
    await world.fake_executor()
    async with world.leader() as leader:
        sweep = Sweep(leader.bus, leader.shard, leader.clock, every_seconds=60, keep_seconds=600)
        await sweep.start()
        try:
            await world.commands.create(task_id, expires_seconds=0.5, pool="nobody")
            outcome = await world.commands.ok("run", task_id, {})
            missed = await world.events.one("missed", task_id, within=20)
        finally:
            await sweep.stop()
        assert isinstance(missed.event, Missed)
        assert (missed.event.reason, missed.run) == ("expired", outcome["execution"]["run"])
