"""9: five rolling deploys "crash-loop" a healthy task; deliveries that they spent leave a message for ever."""

from __future__ import annotations

import pytest

from gnomon_schemas.events import Executed, Started
from gnomon_schemas.subjects import DUE_STREAM, PRIORITIES
from tests.harness.target import Target
from tests.harness.world import World

pytestmark = pytest.mark.timeout(120)

DEPLOYS = 5


async def test_a_handler_that_outlives_every_grace_is_moved_on_and_still_finishes(world: World) -> None:
    """Each deploy ends its executor in the middle of the run. None of them counts as a crash, each hands the work on at
    once, and the message comes again however often that happens."""
    await world.scheduler()
    executor = await world.executor(GNOMON_DRAIN_GRACE="0s")
    async with Target() as target:
        target.hold()
        config = {"url": f"{target.url}/held", "timeout_seconds": 100}
        await world.commands.create("t", task_type="http_request", config=config)
        outcome = await world.commands.ok("run", "t", {})
        run, key = outcome["execution"]["run"], outcome["execution"]["execution_id"]
        for deploy in range(1, DEPLOYS + 1):
            await target.called(key, times=deploy, within=20)
            following = await world.executor(GNOMON_DRAIN_GRACE="0s")
            assert await executor.stop() == 0
            executor = following
        await target.called(key, times=DEPLOYS + 1, within=20)
        target.open()
        ended = await world.events.one("executed", "t", run=run, within=30)
    assert isinstance(ended.event, Executed)
    assert ended.event.status == "completed"
    claims_seen = [seen.event for seen in world.events.of("started", "t", run=run)]
    assert [event.released for event in claims_seen if isinstance(event, Started)] == [
        False,
        True,
    ] * DEPLOYS + [False]
    assert {event.takeovers for event in claims_seen if isinstance(event, Started)} == {0}
    audit = await world.settled()
    assert (audit.runs, audit.executed()) == (1, 1), audit


async def test_no_delivery_is_ever_the_last(world: World) -> None:
    """Deliveries are also spent by restarts, drains and messages given back, so the broker must not count them."""
    await world.executor()
    for priority in PRIORITIES:
        info = await world.bus.api(f"CONSUMER.INFO.{DUE_STREAM}.exec_default_{priority}")
        assert info["config"]["max_deliver"] == -1
