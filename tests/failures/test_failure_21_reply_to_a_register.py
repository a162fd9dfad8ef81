"""21: a caller names a subject that matters as the place for its outcome."""

from __future__ import annotations

import pytest
from nats.aio.msg import Msg

from gnomon_schemas import subjects
from tests.harness.world import World


@pytest.mark.parametrize("door", ["", subjects.WRITE_DOOR])
async def test_an_outcome_is_never_sent_where_it_would_be_stored(world: World, door: str) -> None:
    """Only `_INBOX.` is answered; the command itself is decided as any other."""
    await world.fake_executor()
    victim, task = world.task_in(0, "victim"), world.task_in(0, "caller")
    async with world.leader():
        await world.commands.create(victim)
        before, _ = await world.task_register(victim)
        target = door + subjects.task_register(0, victim)
        heard: list[str] = []

        async def hear(message: Msg) -> None:
            heard.append(message.subject)

        await world.bus.subscribe("state.>", hear)
        await world.commands.post("create", task, {"name": "n", "task_type": "echo"}, reply_to=target)
        await world.events.one("created", task)
        # The answer of a later command: whatever was sent for the one before has arrived by now.
        await world.commands.ok("pause", task)
        after, register = await world.task_register(victim)
        assert (after.seq, after.data) == (before.seq, before.data)
        assert register.task_id == victim
        assert heard == []


async def test_the_trap_is_real_a_register_can_be_overwritten_through_the_door(world: World) -> None:
    """What the rule prevents: the streams take whatever comes through the door."""
    victim = world.task_in(0, "victim")
    await world.fake_executor()
    async with world.leader():
        await world.commands.create(victim)
        await world.bus.store(subjects.task_register(0, victim), b'{"ok":true}')
        last = await world.bus.last(subjects.EVENTS_STREAM, subjects.task_register(0, victim))
        assert last is not None
        assert last.data == b'{"ok":true}'
