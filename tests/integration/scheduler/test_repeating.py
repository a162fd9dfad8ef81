"""Repeating an execution that has ended, and calling a task done, over the real server."""

from __future__ import annotations

import msgspec

from gnomon_schemas.events import Queued
from gnomon_schemas.problems import Code
from tests.harness.fake_executor import Work
from tests.integration.scheduler.led import FAR, Led


async def test_an_execution_runs_once_more_with_what_it_was_given(led: Led) -> None:
    task = await led.task(schedule=FAR, config={"a": 1})
    outcomes = ["failed", "completed"]

    async def do(work: Work) -> None:
        await led.fake.claim(work)
        await led.fake.finish(work, outcomes.pop(0))
        await led.fake.ack(work)

    led.fake.run(do)
    try:
        body = {"trigger_data": {"order": 17}, "config": {"a": 2}}
        first = (await led.commands.ok("run", task, body))["execution"]["run"]
        await led.events.one("executed", task, run=first)
        again = (await led.commands.ok("retry_execution", task, {"run": first}))["execution"]
        result = (await led.events.one("executed", task, run=again["run"])).event
    finally:
        await led.fake.rest()
    assert getattr(result, "status", None) == "completed"
    (event,) = (seen.event for seen in led.events.of("queued", task, run=again["run"]))
    assert isinstance(event, Queued)
    assert (event.retry_of, event.trigger, event.reason) == (f"{task}.{first}", "retry", "retry")
    assert msgspec.json.decode(event.trigger_data) == {"order": 17}
    assert msgspec.json.decode(event.config_overrides) == {"a": 2}


async def test_what_is_in_flight_or_never_was_is_refused(led: Led) -> None:
    task = await led.task(schedule=FAR, overlap="allow")
    run = (await led.commands.ok("run", task))["execution"]["run"]
    await led.refused("retry_execution", task, {"run": run}, code=Code.INVALID_STATE, pointer="#/run")
    await led.refused("retry_execution", task, {"run": "r-nobody"}, code=Code.NOT_FOUND, pointer="#/run")
    for hostile in ("*", ">", "r-a.b", "r-*", "_"):
        await led.refused("retry_execution", task, {"run": hostile}, code=Code.INVALID, pointer="#/run")
    await led.commands.ok("delete", task)
