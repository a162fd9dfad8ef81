"""31: a span recorded over a slot that a lagging replica did not show."""

from __future__ import annotations

import pytest

from gnomon_core.runtime.embedded import EmbeddedNats
from gnomon_schemas.subjects import EVENTS_STREAM
from tests.harness.fixtures import CLUSTER
from tests.harness.world import World

pytestmark = [CLUSTER, pytest.mark.timeout(240)]

ROUNDS = 3
PATIENCE = 60.0
"""Seconds: whoever is connected to the node that stands still finds out after several."""


async def test_a_successor_that_may_ask_a_replica_which_lags_records_no_slot_twice(
    world: World, broker: EmbeddedNats
) -> None:
    """Which slots were handed out comes from the log in order, behind a barrier, and not from whoever answers."""
    (await world.fake_executor()).run()
    task = world.task_in(0)
    schedule = {"kind": "interval", "every_seconds": 1}
    leader = await world.leader().__aenter__()
    await world.commands.create(task, schedule=schedule, overlap="allow", catch_up={"after_seconds": 1})
    for _ in range(ROUNDS):
        leading = (await world.bus.stream_info(EVENTS_STREAM)).leader
        # Not the node of the test's own executor: what was delivered to it would wait out its ack wait.
        port = world.bus.nc.connected_url.port if world.bus.nc.connected_url else 0
        lagging = next(
            node for node in broker.nodes if node.name != leading and not node.url.endswith(f":{port}")
        )
        lagging.pause()
        before = len(world.events.of("executed", task))
        await world.events.some(before + 2, "executed", task, within=PATIENCE)
        # The register says nothing of the slots since: the dues are out, their outcomes stored, the watermark old.
        await leader.die()
        lagging.resume()
        leader = await world.leader().__aenter__()
        await world.events.some(before + 4, "executed", task, within=PATIENCE)
    audit = await world.settled()
    assert not audit.doubled
    assert not audit.missing
