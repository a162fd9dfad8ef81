"""1: a deposed leader resumes and updates a task that its successor has not written yet."""

from __future__ import annotations

import pytest

from gnomon_core.runtime.bus import Outgoing, WrongSequence
from tests.harness.fixtures import BOTH
from tests.harness.stopping import Trap
from tests.harness.world import World

pytestmark = BOTH


async def test_a_deposed_leader_is_refused_also_for_a_task_that_its_successor_has_not_written(
    world: World,
) -> None:
    """Every batch expects the shard register before it, so the zombie's is refused whichever task it names."""
    await world.fake_executor()
    task, other = world.task_in(0), world.task_in(0, "other")
    zombie = await (await world.leader(name="zombie").connect()).lead()
    await world.commands.create(task)
    await world.commands.create(other)
    held = zombie.bus.trap("state.task.*", on="batch")
    command, _ = await world.commands.post("update", task, {"name": "changed"})
    await held.reached.wait()

    successor = await world.leader(name="successor").connect()
    not_yet = successor.bus.trap("state.task.*", on="batch")
    await successor.lead()
    await not_yet.reached.wait()
    stored, register = await world.task_register(task)
    assert register.version == 1, "the successor was to have written nothing of the task"

    held.release()
    await zombie.shard.deposed.wait()
    assert (await world.task_register(task))[0].seq == stored.seq
    assert world.commands.outcomes_waiting(command) == 0, "who is deposed answers nobody"

    not_yet.release()
    outcome = await world.commands.outcome(command)
    assert outcome["ok"]
    assert (outcome["task"]["name"], outcome["task"]["version"]) == ("changed", 2)
    assert (await world.commands.ok("update", task, {"name": "again"}))["task"]["version"] == 3
    assert not successor.shard.deposed.is_set()
    assert len(world.events.of("updated", task)) == 2


async def test_the_trap_expecting_the_tasks_own_sequence_would_let_the_zombie_in(world: World) -> None:
    """The successor's later write, which expects what it knows, is refused then; with the fence the zombie's is."""
    await world.fake_executor()
    task = world.task_in(0)
    first = await (await world.leader().connect()).lead()
    await world.commands.create(task)
    known, _ = await world.task_register(task)
    shard, _ = await world.shard_register()
    await first.die()
    await (await world.leader().connect()).lead()
    # The zombie still knows both sequences from before it was deposed.
    fenced = Outgoing(shard.subject, shard.data, None, shard.seq, None, rollup=True)
    naive = Outgoing(known.subject, known.data, None, known.seq, None, rollup=True)
    with pytest.raises(WrongSequence):
        await world.bus.publish_batch([fenced, naive])
    await world.bus.publish_batch([naive])
    with pytest.raises(WrongSequence):
        await world.bus.publish_batch([naive])


async def test_a_scheduler_paused_at_an_update_is_deposed_when_it_resumes(world: World) -> None:
    """The same with processes: SIGSTOP right before the batch, another takes over, SIGCONT."""
    await world.fake_executor()
    task = world.task_in(0)
    paused = Trap(subject="state.task.*", on="batch", do="pause", nth=2)
    zombie = await world.scheduler(traps=[paused])
    await world.commands.create(task)
    command, _ = await world.commands.post("update", task, {"name": "changed"})
    await zombie.paused()
    successor = await world.scheduler()
    outcome = await world.commands.outcome(command)
    assert outcome["ok"], outcome
    zombie.resume()
    await zombie.logged("shard.deposed", partition=0)
    assert (await world.commands.ok("update", task, {"name": "again"}))["task"]["version"] == 3
    assert len(world.events.of("updated", task)) == 2
    assert not successor.has_logged("shard.deposed")
