"""Requests that are repeated while the first is under way: one command, and an answer to each of them."""

from __future__ import annotations

import asyncio

from gnomon_api.commander import Commander, WantedCommand
from gnomon_api.identity import Caller
from gnomon_core.runtime.tracing import new_traceparent
from tests.harness.commands import fresh_id
from tests.harness.world import World


async def test_each_of_many_at_once_is_answered(world: World) -> None:
    """The broker keeps one of the copies that come together, and answers to nobody else's inbox."""
    await world.fake_executor()
    task_id = world.task_in(0)
    wanted = WantedCommand(
        verb="create",
        object_id=task_id,
        command_id=fresh_id(),
        payload=b'{"name":"n","task_type":"echo"}',
        caller=Caller(user_id="u1", roles=frozenset()),
        traceparent=new_traceparent(),
    )
    # Of two processes: copies that are sent later must not come together for ever.
    here, there = Commander(world.bus), Commander(world.bus)
    await here.start()
    await there.start()
    try:
        async with world.leader(0):
            outcomes = await asyncio.gather(
                *(commander.send(wanted, within=8) for commander in (here, there) for _ in range(12))
            )
    finally:
        await here.stop()
        await there.stop()
    assert [None if one is None else one.ok for one in outcomes] == [True] * 24
    assert [seen.name for seen in world.events.of()] == ["created"]
