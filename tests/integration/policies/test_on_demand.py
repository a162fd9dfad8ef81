"""Run now and cancel, through api, scheduler and executor: what the handler is given, and what overlap says to it."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator
from functools import partial
from pathlib import Path
from typing import Any

import msgspec
import pytest
import pytest_asyncio

from gnomon_schemas.events import Executed, Queued
from tests.harness.commands import fresh_id
from tests.harness.ledger import audit
from tests.harness.over_http import OverHttp
from tests.harness.target import Target
from tests.harness.waiting import until
from tests.harness.world import World, now_ms
from tests.integration.policies.task_types import marks

HEARD_WITHIN_MS = 1000
"""In this time a cancel has reached the handler."""


@pytest_asyncio.fixture(loop_scope="module")
async def target() -> AsyncIterator[Target]:
    """A service that answers when the test lets it: so long does the handler that calls it run."""
    async with Target() as target:
        yield target


async def test_a_run_is_given_its_trigger_data_and_its_own_config(running: World, http: OverHttp) -> None:
    """Overrides merge into the task's config for this run alone; over HTTP and over NATS alike."""
    task = fresh_id("t")
    await running.commands.create(
        task,
        task_type="policy_told",
        config={"kept": 1, "changed": {"a": 1, "b": 2}},
        overlap="allow",
        metadata={"team": "blue"},
    )
    body = {"trigger_data": {"order": [7, None]}, "config": {"changed": {"a": None, "c": 3}}}
    over_http = (await http.post(f"/tasks/{task}/execute", body))["run"]
    over_nats = (await running.commands.ok("run", task, body))["execution"]["run"]
    plain = (await running.commands.ok("run", task))["execution"]["run"]
    for run in (over_http, over_nats):
        seen = await _result(running, task, run)
        assert seen["config"] == {"kept": 1, "changed": {"b": 2, "c": 3}}
        assert (seen["trigger"], seen["trigger_data"]) == ("manual", {"order": [7, None]})
        assert (seen["key"], seen["metadata"]) == (f"{task}.{run}", {"team": "blue"})
    for trigger in ("webhook", "event"):
        heard = (await http.post(f"/tasks/{task}/execute", {"trigger": trigger}))["run"]
        assert (await _result(running, task, heard))["trigger"] == trigger
    wrong = await http.client.post(f"/tasks/{task}/execute", json={"trigger": "schedule"})
    assert (wrong.status_code, wrong.json()["errors"][0]["pointer"]) == (422, "#/trigger"), wrong.text
    seen = await _result(running, task, plain)
    assert (seen["config"], seen["trigger_data"]) == ({"kept": 1, "changed": {"a": 1, "b": 2}}, None)


async def _result(world: World, task: str, run: str) -> dict[str, Any]:
    event = (await world.events.one("executed", task, run=run)).event
    assert isinstance(event, Executed)
    assert event.status == "completed", event.error
    found: dict[str, Any] = msgspec.json.decode(event.result)
    return found


async def test_a_run_keeps_to_the_overlap_policy_unless_told_otherwise(
    running: World, http: OverHttp, target: Target
) -> None:
    """While one runs: `skip` is refused by both ways alike, `queue` waits for it, `allow` runs beside it."""
    task = fresh_id("t")
    config = {"url": f"{target.url}/held", "timeout_seconds": 60}
    await running.commands.create(task, task_type="http_request", config=config)
    first = (await running.commands.ok("run", task))["execution"]["execution_id"]
    await target.called(first)
    over_nats = (await running.commands.send("run", task))["error"]
    answer = await http.client.post(f"/tasks/{task}/execute", json={})
    assert (answer.status_code, over_nats["code"]) == (409, "overlap")
    assert {**answer.json(), "trace_id": None} == {**over_nats, "trace_id": None}
    waiting = (await running.commands.ok("run", task, {"overlap": "queue"}))["execution"]["execution_id"]
    beside = (await http.post(f"/tasks/{task}/execute", {"overlap": "allow"}))["execution_id"]
    await target.called(beside)
    assert target.of(waiting) == []
    target.open()
    await target.called(waiting)
    await running.events.some(3, "executed", task)
    found = audit(running.events.of(task_id=task), now_ms())
    assert found.settled, found
    assert (found.runs, found.executed()) == (3, 3), found
    reasons = {
        seen.run: seen.event.reason
        for seen in running.events.of("queued", task)
        if isinstance(seen.event, Queued)
    }
    assert reasons == {
        first.split(".")[1]: "manual",
        waiting.split(".")[1]: "overlap",
        beside.split(".")[1]: "manual",
    }


async def test_a_run_beside_the_slots_of_its_task(running: World, target: Target) -> None:
    """A run on demand that is under way keeps a slot of the task away under `skip`, and the slot says so."""
    task = fresh_id("t")
    config = {"url": f"{target.url}/held", "timeout_seconds": 60}
    await running.commands.create(
        task, task_type="http_request", config=config, schedule={"kind": "interval", "every_seconds": 1}
    )
    first = (await running.commands.ok("run", task, {"overlap": "allow"}))["execution"]["execution_id"]
    await target.called(first)
    await running.events.some(1, "skipped", task, reason="overlap")
    target.open()
    await running.events.one("executed", task, run=first.split(".")[1])
    await running.commands.ok("delete", task)
    found = audit(running.events.of(task_id=task), now_ms())
    assert found.sound, found


async def test_an_execution_is_repeated_with_what_it_was_given_and_a_task_is_called_done(
    running: World, http: OverHttp
) -> None:
    """By its owner, over HTTP: another run that names the one it repeats; a task that is done fires no more."""
    task = fresh_id("t")
    await running.commands.create(
        task, task_type="policy_told", config={"a": 1}, schedule={"kind": "interval", "every_seconds": 86400}
    )
    body = {"trigger_data": {"order": 7}, "config": {"a": 2}}
    first = (await http.post(f"/tasks/{task}/execute", body))["execution_id"]
    before = await _result(running, task, first.partition(".")[2])
    again = await http.post(f"/executions/{first}/retry")
    event = (await running.events.one("executed", task, run=again["run"])).event
    assert isinstance(event, Executed)
    assert (event.retry_of, event.trigger) == (first, "retry")
    after = await _result(running, task, again["run"])
    assert (after["config"], after["trigger_data"]) == (before["config"], before["trigger_data"])
    assert after["key"] != before["key"], "another execution has a key of its own"
    done = await http.post(f"/tasks/{task}/complete", {})
    assert (done["status"], done["next_run_time"]) == ("completed", None)


@pytest.mark.alone
@pytest.mark.parametrize("task_type", ["policy_patient", "policy_patient_thread"])
async def test_a_cancel_reaches_the_handler_within_a_second(
    running: World, http: OverHttp, tmp_path: Path, task_type: str
) -> None:
    """Over HTTP and over NATS: from the request to the handler's own clock; and what it returned is kept."""
    figures = []
    for way in ("http", "nats"):
        trace, task = tmp_path / f"{task_type}-{way}", fresh_id("t")
        await running.commands.create(task, task_type=task_type, config={"trace": str(trace)})
        execution = (await running.commands.ok("run", task))["execution"]
        await until(partial(_left, trace, 1))
        begun_ms = time.time_ns() // 1_000_000
        if way == "http":
            await http.post(f"/executions/{execution['execution_id']}/cancel", {"reason": "enough"})
        else:
            await running.commands.ok("cancel_execution", task, {"run": execution["run"]})
        await until(partial(_left, trace, 2))
        figures.append(marks(trace)[1].at_ms - begun_ms)
        event = (await running.events.one("executed", task, run=execution["run"])).event
        assert isinstance(event, Executed)
        assert (event.status, event.reason, bytes(event.result)) == ("cancelled", "cancelled", b'"stopped"')
        assert event.executor is not None, "its executor recorded it, not the shard"
    assert max(figures) < HEARD_WITHIN_MS, figures


def _left(trace: Path, count: int) -> bool:
    return len(marks(trace)) >= count
