"""Pools through api, schedulers and executor: a limit over all shards, paused and resumed, and a share for everyone."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from typing import Any, Final

import pytest

from gnomon_schemas.subjects import partition_of
from tests.harness.events import Seen
from tests.harness.over_http import OverHttp
from tests.harness.processes import Process
from tests.harness.recorded import most_at_once
from tests.harness.world import World, now_ms

pytestmark = pytest.mark.timeout(90)

POOL: Final = "narrow"
LIMIT: Final = 3
RUNS: Final = 8
"""Of each task."""


async def test_a_limit_holds_over_all_shards_though_its_leader_is_killed(
    world: World, postgres_url: str
) -> None:
    """Set over HTTP. Whoever leads the shard in which the pool's number is kept is killed while it is contended: never
    are more in flight, and each run is executed once. Paused, nothing begins; resumed, all goes on."""
    executor = world.executor(GNOMON_EXECUTOR_POOLS=POOL, GNOMON_EXECUTOR_CONCURRENCY="20")
    one, other, _, api = await asyncio.gather(
        world.scheduler(), world.scheduler(), executor, world.api(postgres_url)
    )
    tasks = [world.task_in(partition, f"{name}-") for partition in (0, 1) for name in ("a", "b")]
    async with OverHttp.of(api) as http:
        await _set(http, max_in_flight=LIMIT)
        for task in tasks:
            await world.commands.create(
                task, task_type="sleep", config={"seconds": 0.1}, pool=POOL, overlap="allow"
            )
        await _run(world, tasks)
        await world.events.wait_for(lambda: len(world.events.of("executed")) > LIMIT, what="the first runs")
        await (await _leader_of(world, (one, other), partition_of(POOL, world.partitions))).kill()
        await _all_executed(world, tasks, RUNS)
        await _set(http, paused=True)
        paused = len(world.events.all)
        await _run(world, tasks)
        for task in tasks:
            await world.events.some(2 * RUNS, "queued", task)
        assert not [seen for seen in world.events.all[paused:] if seen.name == "started"]
        await _set(http, paused=False)
        await _all_executed(world, tasks, 2 * RUNS)
        shown = await http.get("/pools")
        assert next(item for item in shown["items"] if item["pool"] == POOL)["max_in_flight"] == LIMIT
    found = await world.settled()
    assert (found.runs, found.executed()) == (2 * RUNS * len(tasks),) * 2, found
    assert 1 < most_at_once(world.events.all) <= LIMIT


async def test_a_users_flood_does_not_starve_another(world: World) -> None:
    """One user has asked for sixty runs before another asks for one: it does not wait for the sixty."""
    await asyncio.gather(world.scheduler(), world.executor(GNOMON_EXECUTOR_CONCURRENCY="2"))
    spec: dict[str, Any] = {"task_type": "sleep", "config": {"seconds": 0.03}, "overlap": "allow"}
    for user in ("flood", "other"):
        for partition in (0, 1):
            task = world.task_in(partition, f"{user}-")
            await world.commands.create(task, headers={"Gnomon-User": user}, **spec)
    flood = [world.task_in(partition, "flood-") for partition in (0, 1)]
    for _ in range(30):
        for task in flood:
            await world.commands.post("run", task, reply_to="")
    await world.events.wait_for(lambda: len(world.events.of("queued")) == 60, what="sixty runs")
    waiting = 60 - len(world.events.of("started"))
    assert waiting > 30, "too little was left to show anything"
    asked = [world.task_in(partition, "other-") for partition in (0, 1)]
    for task in asked:
        await world.commands.ok("run", task)
    for task in asked:
        queued = world.events.of("queued", task)[0].seq
        started = (await world.events.one("started", task)).seq
        before = [seen for seen in _started(world.events.all) if queued < seen.seq < started]
        assert len(before) < 12, f"{len(before)} of {waiting} runs of the other user went first"
    for task in flood:
        await world.events.some(30, "executed", task, within=30)


async def _set(http: OverHttp, **settings: Any) -> None:
    answer = await http.client.patch(f"/pools/{POOL}", json=settings)
    assert answer.status_code == 200, answer.text


async def _run(world: World, tasks: Iterable[str]) -> None:
    """Ask for all runs of all tasks, without waiting for answers."""
    for _ in range(RUNS):
        for task in tasks:
            await world.commands.post("run", task, reply_to="")


async def _all_executed(world: World, tasks: Iterable[str], count: int) -> None:
    for task in tasks:
        await world.events.some(count, "executed", task, within=40)


async def _leader_of(world: World, schedulers: Iterable[Process], partition: int) -> Process:
    """Which of these processes leads a partition."""
    begun = now_ms()
    while now_ms() - begun < 15_000:
        for status in await world.statuses(within=0.2):
            for process in schedulers:
                if process.pid == status.pid and partition in {shard.partition for shard in status.shards}:
                    return process
    raise AssertionError(f"nobody leads partition {partition}")


def _started(events: Iterable[Seen]) -> list[Seen]:
    return [seen for seen in events if seen.name == "started"]
