"""18: a take-over waits for a consumer that stalled when the broker restarted."""

from __future__ import annotations

import asyncio

import pytest

from gnomon_core.runtime.embedded import EmbeddedNats
from tests.harness.fixtures import BOTH
from tests.harness.world import World

pytestmark = [BOTH, pytest.mark.timeout(180)]

STALL_SECONDS = 12.0
"""Less than the 18 s that an ordered consumer of the client library was seen to stall."""


async def test_a_standby_whose_broker_was_restarted_takes_over_without_waiting_out_a_stall(
    world: World, broker: EmbeddedNats
) -> None:
    """The follower makes its consumer anew on reconnect, so what was stored meanwhile is in memory at once."""
    # A due that the broker was delivering when it was restarted is not waited for much longer than the take-over.
    (await world.fake_executor(ack_wait_seconds=5)).run()
    task = world.task_in(0)
    first = await world.leader().__aenter__()
    standby = await world.leader().connect()
    await world.commands.create(task, schedule={"kind": "interval", "every_seconds": 1}, overlap="allow")
    await world.events.one("executed", task)
    before = standby.replica.memory.position
    for node in broker.nodes:
        await node.restart()
    await world.events.more(len(world.events.of("executed", task)), 30)
    await first.die()
    async with asyncio.timeout(STALL_SECONDS):
        await standby.lead()
    assert standby.replica.memory.position > before
    await world.settled()
