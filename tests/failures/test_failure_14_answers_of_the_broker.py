"""14: stepping down on "in process" flaps; going on after a timeout forks memory and log."""

from __future__ import annotations

from typing import Any

import pytest

from gnomon_core.runtime.bus import WrongSequence
from tests.harness.fixtures import BOTH
from tests.harness.stopping import Do
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


@pytest.mark.parametrize("do", ["lose", "late"])
async def test_a_lost_batch_that_another_leader_outran_deposes(world: World, do: Do) -> None:
    """The leader cannot tell by the timeout; the register it then writes, or finds, does."""
    await world.fake_executor()
    task = world.task_in(0)
    first = await (await world.leader().connect()).lead()
    await world.commands.create(task)
    trap = first.bus.trap("task.updated.*", on="batch", do=do)
    # The probe that settles the loss is held, so that the successor comes between.
    probe = first.bus.trap("state.shard.*", on="batch", without="task.*")
    command, _ = await world.commands.post("update", task, {"description": "once"})
    await trap.reached.wait()
    await probe.reached.wait()
    second = await (await world.leader().connect()).lead()
    outcome = await world.commands.outcome(command)
    assert outcome["ok"]
    probe.release()
    trap.release()
    await first.shard.deposed.wait()
    for late in trap.late:
        with pytest.raises(WrongSequence):
            await late
    await world.events.catch_up()
    assert len(world.events.of("updated", task)) == 1
    assert (await world.commands.ok("update", task, {"description": "twice"}))["task"]["version"] == 3
    assert not second.shard.deposed.is_set()
