"""More executions of one task end at once than the events that follow from them fit into a batch."""

from __future__ import annotations

import asyncio

from gnomon_schemas.clock_text import format_instant
from gnomon_schemas.limits import BACKFILL_CONCURRENCY_MAX
from tests.harness.fake_executor import Work
from tests.harness.world import World, now_ms


async def test_a_thousand_executions_of_a_task_fail_while_nobody_leads(world: World) -> None:
    """Each leaves an event of its own; the next leader stores them all, and its shard goes on."""
    fake = await world.fake_executor()
    task = world.task_in(0)
    first = await world.leader().__aenter__()
    at_ms = now_ms()
    await world.commands.create(
        task,
        overlap="allow",
        schedule={"kind": "interval", "every_seconds": 86400},
        retry={"max_attempts": 1},
    )
    span = {"from": format_instant(at_ms - 100 * 86_400_000), "to": format_instant(at_ms)}
    for _ in range(5):
        await world.commands.ok(
            "backfill", task, {**span, "only": "all", "concurrency": BACKFILL_CONCURRENCY_MAX}
        )
    for _ in range(10):
        await asyncio.gather(*(world.commands.ok("run", task) for _ in range(50)))
    works = [await fake.next(task_id=task) for _ in range(1000)]
    await first.die()

    async def fail(some: list[Work]) -> None:
        for work in some:
            await fake.finish(work, "failed")

    await asyncio.gather(*(fail(works[start::20]) for start in range(20)))
    async with world.leader():
        await world.events.some(len(works), "failed", task)
        _, register = await world.task_register(task)
        assert register.runtime.failure_count == len(works)
        assert register.entries == ()
