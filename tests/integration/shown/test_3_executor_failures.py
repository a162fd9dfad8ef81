"""Executors die and freeze, handlers block, the broker is away: nothing is recorded twice, nothing runs in vain."""

from __future__ import annotations

import asyncio
import json
import statistics
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Final

import pytest
import pytest_asyncio

from gnomon_core.runtime.embedded import EmbeddedNats
from gnomon_schemas.events import Executed, Started
from tests.harness.commands import fresh_id
from tests.harness.fixtures import CLUSTER_IN_CHAOS
from tests.harness.live import Live
from tests.harness.processes import Process
from tests.harness.target import Target
from tests.harness.waiting import until_time
from tests.harness.world import World, now_ms, tell

pytestmark = [pytest.mark.timeout(120), pytest.mark.alone, CLUSTER_IN_CHAOS]

ACK_WAIT: Final = 3
RUNS: Final = 20
SLOTS: Final = 15
"""How many executions each of two executors takes: `RUNS` are too many for one and few enough for both."""


@pytest_asyncio.fixture(loop_scope="module")
async def target() -> AsyncIterator[Target]:
    """The service that the tasks call."""
    async with Target() as target:
        yield target


async def _executor(world: World, tasks: str = "") -> Process:
    """Start an executor, with the task types of a module besides the built-in ones."""
    return await world.executor(GNOMON_EXECUTOR_CONCURRENCY=str(SLOTS), GNOMON_EXECUTOR_TASKS=tasks)


async def _start(world: World, tasks: str = "") -> tuple[Process, Process]:
    """A scheduler, and two executors, which it returns."""
    _, one, other = await asyncio.gather(world.scheduler(), _executor(world, tasks), _executor(world, tasks))
    return one, other


async def _run_held(world: World, target: Target, count: int = RUNS) -> list[str]:
    """Run a task so often that calls the target and waits for its answer; the execution ids, all called."""
    target.hold()
    task = fresh_id("t")
    config = {"url": f"{target.url}/held", "timeout_seconds": 60}
    await world.commands.create(task, task_type="http_request", config=config, overlap="allow")
    outcomes = await asyncio.gather(*(world.commands.ok("run", task, {}) for _ in range(count)))
    executions = [outcome["execution"]["execution_id"] for outcome in outcomes]
    await target.called(*executions)
    return executions


async def _executor_id(world: World, process: Process) -> str:
    """The id by which an executor's process goes."""
    ids = {member.pid: member.id for member in await world.members("executor")}
    return ids[process.pid]


def _chain(world: World, execution_id: str) -> list[str]:
    return world.events.chain(*execution_id.split(".", 1))


def _starts(world: World, execution_id: str) -> list[Started]:
    """The claims of an execution, in order."""
    task, run = execution_id.split(".", 1)
    return [
        seen.event for seen in world.events.of("started", task, run=run) if isinstance(seen.event, Started)
    ]


async def _run_by(world: World, process: Process, executions: list[str]) -> list[str]:
    """Those of these executions that a process has claimed."""
    executor = await _executor_id(world, process)
    for execution in executions:
        await world.events.one("started", execution.split(".", 1)[0], run=execution.split(".", 1)[1])
    return [execution for execution in executions if _starts(world, execution)[0].executor == executor]


async def _ended(
    world: World, executions: list[str], within: float = 20.0
) -> dict[str, tuple[int, Executed]]:
    """Wait until these executions are executed; when (by the broker) and what was recorded."""
    found: dict[str, tuple[int, Executed]] = {}
    for execution in executions:
        task, run = execution.split(".", 1)
        seen = await world.events.one("executed", task, run=run, within=within)
        assert isinstance(seen.event, Executed)
        found[execution] = (seen.time_ms, seen.event)
    return found


async def test_a_killed_executors_work_finishes_elsewhere(world: World, target: Target) -> None:
    """After kill -9 of an executor its executions finish elsewhere within the ack wait and 3 s; the others' go on."""
    executors = [*await _start(world)]
    delays: list[float] = []
    for _ in range(3):
        executions = await _run_held(world, target)
        victim = executors.pop(0)
        orphans = await _run_by(world, victim, executions)
        assert orphans, "the killed executor had no work"
        killed_at = now_ms()
        await victim.kill()
        target.open()
        ended = await _ended(world, executions)
        executors.append(await _executor(world))
        delays.append((max(ended[execution][0] for execution in orphans) - killed_at) / 1000)
        for execution in executions:
            expected = 2 if execution in orphans else 1
            assert len(target.of(execution)) == expected, f"{execution} ran {len(target.of(execution))} times"
            assert _chain(world, execution) == ["queued", *["started"] * expected, "executed"]
            assert ended[execution][1].status == "completed"
    audit = await world.settled()
    tell(f"finished elsewhere after {delays} s; {audit}")
    assert audit.outcomes == {"executed": 3 * RUNS}, audit
    assert statistics.median(delays) <= ACK_WAIT + 3, delays


async def test_a_frozen_executors_results_are_refused_and_unheard(world: World, target: Target) -> None:
    """An executor that stands still past its ack wait and goes on: one terminal event per execution, its own results
    refused, and nobody hears of them - whether its successor has finished by then or is still at it."""
    live = await Live.open(world.broker.url, "task.>")
    zombie, successor = await _start(world)
    executions = await _run_held(world, target)
    taken_over = await _run_by(world, zombie, executions)
    assert len(taken_over) >= 2, "the frozen executor had too little work"
    finished, unfinished = taken_over[::2], taken_over[1::2]
    for execution in set(executions) - set(taken_over):
        target.of(execution)[0].release()
    await zombie.pause()
    await target.called(*taken_over, times=2, within=ACK_WAIT + 10)
    for execution in finished:
        target.of(execution)[1].release()
    await _ended(world, finished)
    for execution in taken_over:
        target.of(execution)[0].release()
    zombie.resume()
    for execution in finished:
        await zombie.logged("result.late", execution_id=execution)
    for execution in unfinished:
        await zombie.logged("result.dropped", execution_id=execution)
    target.open()
    ended = await _ended(world, executions)
    audit = await world.settled()
    await live.wait_for(lambda: len(live.of("task.executed")) >= RUNS)
    await live.close()
    successor_id = await _executor_id(world, successor)
    assert audit.outcomes == {"executed": RUNS}, audit
    assert {execution: len(live.of("task.executed", execution_id=execution)) for execution in executions} == (
        dict.fromkeys(executions, 1)
    )
    assert {ended[execution][1].executor for execution in taken_over} == {successor_id}
    assert all(_chain(world, e) == ["queued", "started", "started", "executed"] for e in taken_over)
    assert all(heard.stored_subject for heard in live.all), "something was heard that is not stored"


async def test_a_handler_that_blocks_for_three_ack_waits_runs_once(
    broker: EmbeddedNats, replicas: int, tmp_path: Path
) -> None:
    """A handler that blocks 15 s under an ack wait of 5 s runs once: on a loop, in a thread, in a worker process, or
    computing all the time."""
    types = ("shown_block_loop", "shown_block_thread", "shown_block_process", "shown_spin")
    async with World(broker, replicas=replicas, settings={"GNOMON_ACK_WAIT": "5s"}) as world:
        await _start(world, "tests.integration.shown.task_types")
        for name in types:
            config = {"trace": str(tmp_path / name), "seconds": 15}
            await world.commands.create(name, task_type=name, config=config)
            await world.commands.ok("run", name, {})
        for name in types:
            ended = await world.events.one("executed", name, within=40)
            assert isinstance(ended.event, Executed)
            assert ended.event.status == "completed", ended.event
            assert (tmp_path / name).read_text().count("\n") == 1, f"{name} ran more than once"
            assert world.events.chain(name, ended.run) == ["queued", "started", "executed"]
        assert (await world.settled()).outcomes == {"executed": len(types)}


@pytest.mark.parametrize("how", ["kill", pytest.param("stop", marks=pytest.mark.chaos)])
async def test_the_broker_away_for_longer_than_the_ack_wait(world: World, target: Target, how: str) -> None:
    """nats-server is away for longer than the ack wait while handlers run: each runs once, those that finish meanwhile
    and those that finish later."""
    await _start(world)
    every_second = {"kind": "interval", "every_seconds": 1}
    await world.commands.create("clock", schedule=every_second, overlap="allow")
    executions = await _run_held(world, target)
    await (world.broker.kill() if how == "kill" else world.broker.stop())
    away_at = now_ms()
    for execution in executions[::2]:
        target.of(execution)[0].release()
    await until_time(away_at + (ACK_WAIT + 2) * 1000)
    await world.broker.start()
    back_at = now_ms()
    later = back_at + (ACK_WAIT + 2) * 1000
    await world.events.wait_for(
        lambda: [seen for seen in world.events.of("executed", "clock") if seen.time_ms > later], within=30
    )
    target.open()
    ended = await _ended(world, executions)
    audit = await world.settled()
    assert audit.outcomes == {"executed": audit.expected + RUNS}, audit
    assert target.counts() == dict.fromkeys(executions, 1)
    for execution in executions:
        assert _chain(world, execution) == ["queued", "started", "executed"]
        assert ended[execution][1].status == "completed"
        assert json.loads(bytes(ended[execution][1].result))["status"] == 200
