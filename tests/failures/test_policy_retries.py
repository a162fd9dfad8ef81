"""Retries whose leader is killed, or stands still, while they wait: each comes once, and not before its time."""

from __future__ import annotations

import asyncio
from typing import Any, Final

import pytest

from gnomon_schemas.clock_text import instant_ms
from gnomon_schemas.events import Executed, Retrying, Started
from tests.harness.processes import Process
from tests.harness.world import World

pytestmark = pytest.mark.timeout(90)

RUNS: Final = 12
WAIT: Final = 1.5
"""Seconds that the handler asks for: the leader goes while they pass."""
TASK_TYPES: Final = "tests.integration.policies.task_types"


@pytest.mark.parametrize("ending", ["killed", "frozen"])
async def test_retries_that_wait_survive_their_leader(world: World, ending: str) -> None:
    """Attempts fail, their retries wait in registers, the leader goes: its successor makes each of them, at its time,
    and the total timeout still counts from the first start."""
    leader, _ = await asyncio.gather(world.scheduler(), world.executor(GNOMON_EXECUTOR_TASKS=TASK_TYPES))
    await world.leading(leader)
    await world.scheduler()
    tasks = [world.task_in(number % 2, f"t{number}-") for number in range(RUNS)]
    await asyncio.gather(*(_create(world, task) for task in tasks))
    outcomes = await asyncio.gather(*(world.commands.ok("run", task) for task in tasks))
    for task in tasks:
        await world.events.one("retrying", task)
    await _end(leader, ending)
    runs = {task: outcome["execution"]["run"] for task, outcome in zip(tasks, outcomes, strict=True)}
    for task, run in runs.items():
        await world.events.one("executed", task, run=run, within=30)
    if ending == "frozen":
        leader.resume()
    audit = await world.settled()
    assert (audit.runs, audit.executed()) == (RUNS, RUNS), audit
    for task, run in runs.items():
        chain: list[Any] = [
            seen.event for seen in world.events.all if seen.task_id == task and seen.run == run
        ]
        _, first, again, second, executed = chain
        assert isinstance(again, Retrying)
        assert isinstance(second, Started)
        assert isinstance(executed, Executed)
        assert instant_ms(second.started_at) >= instant_ms(again.retry_at)
        assert (second.attempt, executed.status) == (2, "completed")
        assert again.first_started_at == first.started_at


async def _create(world: World, task: str) -> None:
    await world.commands.create(
        task,
        task_type="policy_scripted",
        config={"steps": [f"again {WAIT}", "ok"]},
        retry={"max_attempts": 3},
        total_timeout_seconds=60,
    )


async def _end(leader: Process, ending: str) -> None:
    if ending == "killed":
        await leader.kill()
    else:
        await leader.pause()
