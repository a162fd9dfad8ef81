"""14: stepping down on "in process" flaps; going on after a timeout forks memory and log."""

from __future__ import annotations

from typing import Any

import pytest

from tests.harness.fixtures import BOTH
from tests.harness.world import World

pytestmark = BOTH

ROUNDS = 4


@pytest.mark.parametrize("do", ["in_process", "not_committed", "lose", "drop"])
async def test_whatever_the_broker_answers_a_batch_is_stored_once_and_its_leader_stays(
    world: World, do: Any
) -> None:
    """Refused for now: sent again. Lost: settled by a write that excludes it, and then sent again or not."""
    await world.fake_executor()
    task = world.task_in(0)
    async with world.leader() as leader:
        await world.commands.create(task)
        epoch = (await world.shard_register(0))[1].epoch
        for index in range(ROUNDS):
            trap = leader.bus.trap(
                "task.updated.*", do, times=2 if do in {"in_process", "not_committed"} else 1
            )
            outcome = await world.commands.ok("update", task, {"description": f"round {index}"}, within=30)
            assert trap.reached.is_set()
            assert outcome["task"]["version"] == index + 2
        _, register = await world.task_register(task)
        assert leader.shard.book.memory.tasks[task].reg.version == register.version == ROUNDS + 1
        assert len(await world.events.some(ROUNDS, "updated", task)) == ROUNDS
        assert (await world.shard_register(0))[1].epoch == epoch
        assert not leader.shard.deposed.is_set()


async def test_a_write_that_comes_late_out_of_a_buffer_is_refused(world: World) -> None:
    """The register written alone with the same expectation excludes the lost batch for good."""
    await world.fake_executor()
    task = world.task_in(0)
    async with world.leader() as leader:
        await world.commands.create(task)
        trap = leader.bus.trap("task.updated.*", "late")
        await world.commands.ok("update", task, {"description": "once"}, within=30)
        trap.release()
        for late in trap.late:
            with pytest.raises(Exception, match="wrong last sequence"):
                await late
        await world.commands.ok("pause", task)
        assert len(await world.events.some(2, "updated", task)) == 2
