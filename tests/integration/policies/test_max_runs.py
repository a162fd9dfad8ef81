"""`max_runs` through scheduler and executor: as many slots run as were asked for, whoever leads."""

from __future__ import annotations

import asyncio
from typing import Any, Final

import pytest

from gnomon_schemas.events import StatusChanged
from tests.harness.ledger import audit
from tests.harness.world import World, now_ms

pytestmark = pytest.mark.timeout(90)

RUNS: Final = 4
TASK_TYPES: Final = "tests.integration.policies.task_types"
EVERY_SECOND: Final = {"kind": "interval", "every_seconds": 1, "max_runs": RUNS}
TASKS: Final[dict[str, dict[str, Any]]] = {
    "plain": {"overlap": "allow"},
    "one-at-a-time": {"overlap": "skip", "task_type": "sleep", "config": {"seconds": 1.3}},
    "failing": {
        "overlap": "allow",
        "task_type": "policy_scripted",
        "config": {"steps": ["fail", "fail", "ok"]},
        "retry": {"max_attempts": 3, "backoff": "constant", "initial_seconds": 0.2},
    },
    "late": {"overlap": "queue_all", "catch_up": {"policy": "all", "after_seconds": 1}},
}


async def test_as_many_slots_run_as_were_asked_for_though_the_leader_stands_still(world: World) -> None:
    """The leader freezes amid the runs, another goes on, the first wakes up: four slots of each task have run, however
    they came to it, and then the task is completed. Attempts and runs on demand do not count."""
    first, _ = await asyncio.gather(world.scheduler(), world.executor(GNOMON_EXECUTOR_TASKS=TASK_TYPES))
    await world.leading(first)
    for task, spec in TASKS.items():
        await world.commands.create(task, schedule=EVERY_SECOND, **spec)
    await world.commands.ok("run", "plain", {"overlap": "allow"})
    for task in TASKS:
        await world.events.one("started", task)
    await first.pause()
    await world.scheduler()
    await world.events.one("status_changed", "plain", within=30)
    first.resume()
    for task in TASKS:
        event = (await world.events.one("status_changed", task, within=30)).event
        assert isinstance(event, StatusChanged)
        assert (event.new_status, event.reason) == ("completed", "no_slot_left"), task
    found = await world.settled()
    for task in TASKS:
        slots = {seen.run for seen in world.events.of("executed", task) if not seen.run.startswith("r-")}
        assert len(slots) == RUNS, f"{task}: {audit(world.events.of(task_id=task), now_ms())}"
    assert found.runs == 1
