"""17: the broker is away for longer than the ack wait, and every running handler starts again."""

from __future__ import annotations

import pytest

from gnomon_schemas.events import Executed
from tests.harness.commands import fresh_id
from tests.harness.fixtures import BOTH
from tests.harness.target import Target
from tests.harness.waiting import until_time
from tests.harness.world import World, now_ms

pytestmark = [BOTH, pytest.mark.timeout(120)]

ACK_WAIT_MS = 3000
RUNS = 6


async def test_handlers_that_run_through_an_outage_run_once(world: World) -> None:
    """Some end while the broker is away, some after it is back: each has run once, on the executor that began it, and
    its result is recorded."""
    await world.scheduler()
    for _ in range(2):
        await world.executor()
    task = fresh_id("t")
    async with Target() as target:
        target.hold()
        config = {"url": f"{target.url}/held", "timeout_seconds": 60}
        await world.commands.create(task, task_type="http_request", config=config, overlap="allow")
        runs = [(await world.commands.ok("run", task, {}))["execution"]["execution_id"] for _ in range(RUNS)]
        await target.called(*runs)
        await world.broker.stop()
        away_at = now_ms()
        for execution in runs[::2]:
            target.of(execution)[0].release()
        await until_time(away_at + ACK_WAIT_MS + 2000)
        await world.broker.start()
        back_at = now_ms()
        # Whoever would start again does so within an ack wait and the two seconds in which its owner is asked.
        await until_time(back_at + ACK_WAIT_MS + 2000)
        target.open()
        await world.events.some(RUNS, "executed", task, within=40)
        audit = await world.settled()
        assert target.counts() == dict.fromkeys(runs, 1)
    assert (audit.runs, audit.executed()) == (RUNS, RUNS), audit
    for seen in world.events.of("executed", task):
        assert isinstance(seen.event, Executed)
        assert seen.event.status == "completed"
        assert world.events.chain(task, seen.run) == ["queued", "started", "executed"]
