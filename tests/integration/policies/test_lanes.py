"""Priorities through scheduler and executor: under a backlog urgent work starts first, and low work gets its share."""

from __future__ import annotations

import asyncio
from collections import Counter
from typing import Final

from gnomon_schemas.events import Started
from gnomon_schemas.tasks import Priority
from tests.harness.target import Target
from tests.harness.world import World, tell

POOL: Final = "narrow"
ROOM: Final = 4
"""Executions at a time."""
RUNS: Final = 120
"""Of each priority."""
LEAST_SHARE: Final = 0.04
"""Of the starts while urgent work waits: one in twenty is promised, and the last stride may be cut short."""


async def test_urgent_work_goes_first_and_low_gets_its_share(world: World) -> None:
    """All work is waiting before the executor has room: urgent work is through first, and while it waits each lower
    priority has its twentieth."""
    await asyncio.gather(
        world.scheduler(),
        world.executor(GNOMON_EXECUTOR_CONCURRENCY=str(ROOM), GNOMON_EXECUTOR_POOLS=POOL),
    )
    async with Target() as target:
        await _occupy(world, target)
        # The worst first: whoever took them in the order in which they came would start with low.
        for priority in reversed(Priority):
            await world.commands.create(priority.value, priority=priority.value, pool=POOL, overlap="allow")
            for _ in range(RUNS):
                await world.commands.post("run", priority.value, reply_to="")
        for priority in Priority:
            await world.events.some(RUNS, "queued", priority.value)
        target.open()
        for priority in Priority:
            await world.events.some(RUNS, "executed", priority.value, within=30)
    order = [
        seen.event.priority
        for seen in world.events.of("started")
        if isinstance(seen.event, Started) and seen.task_id != "blocker"
    ]
    last_urgent = max(index for index, priority in enumerate(order) if priority == "urgent")
    shares = {name: count / (last_urgent + 1) for name, count in Counter(order[: last_urgent + 1]).items()}
    tell(f"shares while urgent work waited: {shares}")
    assert shares["urgent"] > 0.75, shares
    assert min(shares.values()) >= LEAST_SHARE, shares
    assert len(shares) == len(Priority), shares


async def _occupy(world: World, target: Target) -> None:
    """Take all room of the executor until the target opens."""
    config = {"url": f"{target.url}/held", "timeout_seconds": 60}
    await world.commands.create(
        "blocker", task_type="http_request", config=config, pool=POOL, overlap="allow"
    )
    outcomes = await asyncio.gather(*(world.commands.ok("run", "blocker") for _ in range(ROOM)))
    await target.called(*(outcome["execution"]["execution_id"] for outcome in outcomes))
