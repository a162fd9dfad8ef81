"""10: a zombie's ack removes the message under its successor; a redelivery count that starts again at 1."""

from __future__ import annotations

import pytest

from gnomon_schemas.events import Executed, Started
from tests.harness.commands import fresh_id
from tests.harness.fixtures import BOTH
from tests.harness.stopping import Trap
from tests.harness.target import Target
from tests.harness.waiting import until_async
from tests.harness.world import World

pytestmark = [BOTH, pytest.mark.timeout(120)]


async def test_a_refused_zombie_acknowledges_nothing_and_take_overs_are_counted_on_the_chain(
    world: World,
) -> None:
    """An executor stops right before it records, is taken over, wakes up and is refused; then its successor dies too.
    The message is still there, so a third one finishes, and the chain says how often it was taken over."""
    await world.scheduler()
    task = fresh_id("t")
    async with Target() as target:
        target.hold()
        zombie = await world.executor(traps=[Trap(subject="task.executed.*", on="publish", do="pause")])
        await world.commands.create(
            task, task_type="http_request", config={"url": f"{target.url}/held", "timeout_seconds": 60}
        )
        outcome = await world.commands.ok("run", task, {})
        run = outcome["execution"]["run"]
        execution = outcome["execution"]["execution_id"]
        await target.called(execution)
        target.of(execution)[0].release()
        await zombie.logged("test.trap")
        successor = await world.executor()
        await target.called(execution, times=2, within=20)
        zombie.resume()
        await zombie.logged("result.dropped", execution_id=execution)
        assert len(await world.dues(task)) == 1, "the zombie took its successor's message off the queue"
        await zombie.stop()
        assert len(await world.dues(task)) == 1, "the zombie took its successor's message off the queue"
        await successor.kill()
        await world.executor()
        await target.called(execution, times=3, within=20)
        target.open()
        ended = await world.events.one("executed", task, run=run, within=20)
        assert {call.headers["idempotency-key"] for call in target.of(execution)} == {execution}
    assert isinstance(ended.event, Executed)
    assert ended.event.status == "completed"
    started = [seen.event for seen in world.events.of("started", task, run=run)]
    assert [event.takeovers for event in started if isinstance(event, Started)] == [0, 1, 2]
    assert world.events.chain(task, run) == ["queued", "started", "started", "started", "executed"]
    audit = await world.settled()
    assert (audit.runs, audit.executed()) == (1, 1), audit

    async def gone() -> bool:
        return await world.dues(task) == []

    await until_async(gone)
