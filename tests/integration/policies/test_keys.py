"""Keys and rates through api, schedulers and executor, while schedulers are killed that hold and grant them."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from typing import Any, Final

import pytest

from gnomon_schemas.clock_text import instant_ms
from gnomon_schemas.events import Skipped, Started
from tests.harness.over_http import OverHttp
from tests.harness.recorded import most_at_once, most_in_any
from tests.harness.world import World

pytestmark = pytest.mark.timeout(90)

TASK_TYPES: Final = "tests.integration.policies.task_types"
RATE: Final = {"count": 3, "per_seconds": 1}
REFUSED: Final = {"name": "K", "task_type": "policy_alone", "config": {}, "concurrency_key": "mine"}
RUNS: Final = 4
"""Of each task."""


async def test_keys_and_rates_hold_though_schedulers_are_killed(world: World) -> None:
    """Two tasks in two shards share a key, two others a rate. Two of three schedulers are killed, one after the other,
    while runs wait: never are two of the key in flight, nor do more start than the rate allows, and all have run."""
    *schedulers, _, _ = await asyncio.gather(
        *(world.scheduler() for _ in range(3)), world.executor(GNOMON_EXECUTOR_TASKS=TASK_TYPES)
    )
    keyed = [world.task_in(partition, "keyed-") for partition in (0, 1)]
    rated = [world.task_in(partition, "rated-") for partition in (0, 1)]
    for task in keyed:
        await _create(world, task, config={"steps": ["fail", "ok"]}, concurrency_key="one")
    for task in rated:
        await _create(world, task, concurrency_key="rate", concurrency_limit=100, rate_limit=RATE)
    for _ in range(RUNS):
        for task in (*keyed, *rated):
            await world.commands.ok("run", task)
    for index, scheduler in enumerate(schedulers):
        await world.events.some(2 + index, "executed", keyed[index])
        await scheduler.kill()
    for task in (*keyed, *rated):
        await world.events.some(RUNS, "executed", task, within=40)
    found = await world.settled()
    assert (found.runs, found.executed()) == (4 * RUNS, 4 * RUNS), found
    assert most_at_once(seen for seen in world.events.all if seen.task_id in keyed) == 1
    starts = _starts(world, rated)
    assert len(starts) == 2 * RUNS
    assert most_in_any(RATE["per_seconds"] * 1000, starts) <= RATE["count"], starts


async def test_of_a_type_that_runs_one_at_a_time_never_two_are_in_flight(world: World) -> None:
    """Two tasks of it in two shards, run at once; the leaders of one are killed while the other's runs wait."""
    first, *_ = await asyncio.gather(
        *(world.scheduler() for _ in range(2)), world.executor(GNOMON_EXECUTOR_TASKS=TASK_TYPES)
    )
    alone = [world.task_in(partition, "alone-") for partition in (0, 1)]
    for task in alone:
        await _create(world, task, task_type="policy_alone", config={}, overlap="queue_all")
        for _ in range(RUNS):
            await world.commands.ok("run", task)
    await world.events.one("executed", alone[0])
    await first.kill()
    for task in alone:
        await world.events.some(RUNS, "executed", task, within=40)
    assert most_at_once(seen for seen in world.events.all if seen.task_id in alone) == 1
    outcome = await world.commands.send("create", world.task_in(0, "keyed-"), REFUSED)
    assert [error["pointer"] for error in outcome["error"]["errors"]] == ["#/concurrency_key"]


async def test_an_equal_run_is_not_made_again_though_the_leader_is_killed(
    world: World, postgres_url: str
) -> None:
    """`unique_for_seconds`, over HTTP: the second one is recorded as skipped, also by the next leader."""
    first, _, api = await asyncio.gather(world.scheduler(), world.executor(), world.api(postgres_url))
    await _create(world, "t", task_type="echo", config={}, unique_for_seconds=3600)
    async with OverHttp.of(api) as http:
        asked = [await http.post("/tasks/t/execute", {"trigger_data": {"order": 7}}) for _ in range(2)]
        await first.kill()
        await world.scheduler()
        asked.append(await http.post("/tasks/t/execute", {"trigger_data": {"order": 7}}))
        asked.append(await http.post("/tasks/t/execute", {"trigger_data": {"order": 8}}))
        for execution in (asked[0], asked[3]):
            await world.events.one("executed", "t", run=execution["run"])
        for execution in asked[1:3]:
            event = (await world.events.one("skipped", "t", run=execution["run"])).event
            assert isinstance(event, Skipped)
            assert event.reason == "unique"
            assert (execution["status"], execution["reason"]) == ("skipped", "unique"), execution
    found = await world.settled()
    assert found.outcomes == {"executed": 2, "skipped(unique)": 2}, found


async def _create(world: World, task: str, **spec: Any) -> None:
    usual = {"task_type": "policy_scripted", "config": {"steps": ["ok"]}, "overlap": "allow"}
    retry = {"max_attempts": 2, "backoff": "constant", "initial_seconds": 0.1}
    await world.commands.create(task, **{**usual, "retry": retry, **spec})


def _starts(world: World, tasks: Iterable[str]) -> list[int]:
    """When executions of these tasks started, in milliseconds."""
    wanted = set(tasks)
    found = [seen.event for seen in world.events.of("started") if seen.task_id in wanted]
    return [instant_ms(event.started_at) for event in found if isinstance(event, Started)]
