"""30: a ring of 32 does not know the 100 commands of a group that was committed and not acknowledged."""

from __future__ import annotations

import asyncio

from gnomon_scheduler.registers import RING_SIZE
from tests.harness.fixtures import BOTH
from tests.harness.world import World

pytestmark = BOTH

GROUP = 100


async def test_commands_of_a_committed_group_are_answered_and_not_decided_again(world: World) -> None:
    """The shard register keeps the position of the last one decided, in the same batch."""
    await world.fake_executor()
    task = world.task_in(0)
    first = await (await world.leader().connect()).lead()
    await world.commands.create(task)
    # Hold one batch, so that all that is posted meanwhile goes into the next; that one is stored and not answered.
    gate = first.bus.trap("task.updated.*", on="batch", nth=1)
    committed = first.bus.trap("task.updated.*", on="batch", nth=2, when="after")
    opening, _ = await world.commands.post("update", task, {"description": "opens the gate"})
    await gate.reached.wait()
    posted = [await world.commands.post("update", task, {"description": str(n)}) for n in range(GROUP)]
    gate.release()
    await committed.reached.wait()
    _, register = await world.shard_register()
    assert register.last_command == posted[-1][1].seq, "all of them were to be in one group"
    await first.die()

    await (await world.leader().connect()).lead()
    outcomes = await asyncio.gather(*(world.commands.outcome(command) for command, _ in posted))
    await world.commands.outcome(opening)
    assert all(outcome["ok"] for outcome in outcomes), [o for o in outcomes if not o["ok"]][:3]
    final = (await world.commands.ok("update", task, {"name": "and on"}))["task"]
    assert final["version"] == 2 + GROUP + 1
    assert final["description"] == str(GROUP - 1)
    answered = [seen.event.command_id for seen in world.events.of("updated", task)]
    assert len(answered) == len(set(answered)) == 1 + GROUP + 1


async def test_the_trap_the_ring_alone_would_decide_most_of_them_again(world: World) -> None:
    """A register remembers 32 commands: of a group of 100 it does not know the first 68."""
    await world.fake_executor()
    task = world.task_in(0)
    await (await world.leader().connect()).lead()
    await world.commands.create(task)
    posted = [await world.commands.post("update", task, {"description": str(n)}) for n in range(GROUP)]
    await world.commands.outcome(posted[-1][0])
    _, register = await world.task_register(task)
    known = {entry.command_id for entry in register.ring}
    assert len(known) == RING_SIZE
    assert posted[0][0] not in known
