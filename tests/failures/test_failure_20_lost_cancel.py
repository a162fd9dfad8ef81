"""20: a cancel signal is lost with its executor."""

from __future__ import annotations

from typing import Any

import pytest

from gnomon_schemas.events import Executed
from tests.harness.world import World

pytestmark = pytest.mark.timeout(120)


async def test_a_cancel_whose_executor_dies_ends_the_execution_all_the_same(world: World) -> None:
    """The executor is killed before it hears of the cancel: the shard ends the execution after the grace, and whoever
    is delivered the work next finds it over."""
    await world.scheduler()
    executor = await world.executor()
    await world.commands.create("t", task_type="sleep", config={"seconds": 60})
    run = (await world.commands.ok("run", "t", {}))["execution"]["run"]
    await world.events.one("started", "t", run=run)
    await executor.pause()
    await world.commands.ok("cancel_execution", "t", {"run": run})
    await executor.kill()
    ended = await world.events.one("executed", "t", run=run, within=20)
    assert isinstance(ended.event, Executed)
    assert (ended.event.status, ended.event.executor) == ("cancelled", None)
    await world.executor()
    audit = await world.settled()
    assert (audit.runs, audit.executed()) == (1, 1), audit
    assert world.events.chain("t", run) == ["queued", "started", "executed"]


async def test_a_frozen_executor_that_wakes_up_after_the_cancel_records_nothing(world: World) -> None:
    """It stood still through the whole cancel, while the signal was sent again and again; its handler's end is
    refused."""
    await world.scheduler(GNOMON_CANCEL_GRACE="3s")
    signals: list[str] = []

    async def hear(message: Any) -> None:
        signals.append(message.subject)

    await world.bus.subscribe("gnomon.cancel.>", hear)
    executor = await world.executor(GNOMON_ACK_WAIT="60s")
    await world.commands.create("t", task_type="sleep", config={"seconds": 2})
    run = (await world.commands.ok("run", "t", {}))["execution"]["run"]
    await world.events.one("started", "t", run=run)
    await executor.pause()
    await world.commands.ok("cancel_execution", "t", {"run": run})
    ended = await world.events.one("executed", "t", run=run, within=20)
    assert isinstance(ended.event, Executed)
    assert ended.event.status == "cancelled"
    assert len(signals) >= 2
    assert set(signals) == {f"gnomon.cancel.t.{run}"}
    executor.resume()
    await executor.logged("result.late", execution_id=f"t.{run}")
    assert world.events.chain("t", run) == ["queued", "started", "executed"]
