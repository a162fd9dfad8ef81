"""What waits for a pool or key goes by its task's policy, and by what its task says by then."""

from __future__ import annotations

import asyncio
from typing import Any

from gnomon_schemas.clock_text import format_instant
from tests.harness.commands import fresh_id
from tests.harness.fake_executor import FakeExecutor, Work
from tests.harness.waiting import until_async
from tests.integration.scheduler.led import FAR, Led

QUIET = 0.3
"""Seconds in which nothing comes that would have come, had it been let go."""


async def pool_of(led: Led, **settings: Any) -> tuple[str, FakeExecutor]:
    """A pool of a test's own, set like this, with an executor."""
    pool = fresh_id("p")
    fake = await led.world.fake_executor(pool=pool, types=("echo",))
    await led.commands.ok("update", pool, settings, kind="pool")
    return pool, fake


async def holds(led: Led, fake: FakeExecutor, **spec: Any) -> Work:
    """An execution of a task of its own that is handed out and does not end."""
    task = await led.task(overlap="allow", **spec)
    await led.commands.ok("run", task)
    return await fake.next(task_id=task)


async def out(led: Led, task: str, count: int) -> None:
    """So many dues of a task are out, and it stays so."""

    async def is_out() -> bool:
        return len(await led.world.dues(task)) == count

    await until_async(is_out)
    await asyncio.sleep(QUIET)
    assert len(await led.world.dues(task)) == count


async def test_of_one_task_two_that_waited_for_their_pool_do_not_go_together(led: Led) -> None:
    """Several units come free at once, and the task's policy is to wait for one another."""
    pool, fake = await pool_of(led, max_in_flight=1)
    holder = await holds(led, fake, pool=pool)
    task = await led.task(overlap="queue_all", pool=pool)
    for _ in range(3):
        await led.commands.ok("run", task)
    await out(led, task, 0)
    await led.commands.ok("update", pool, {"max_in_flight": 5}, kind="pool")
    for _ in range(3):
        await out(led, task, 1)
        await fake.complete(await fake.next(task_id=task))
    await fake.complete(holder)
    await led.events.some(3, "executed", task)


async def test_what_waits_for_a_key_asks_for_the_new_one_when_its_task_has_another(led: Led) -> None:
    """Not for the one that it waited for: its task's executions go by the new key."""
    first, second, third = fresh_id("k"), fresh_id("k"), fresh_id("k")
    holders = [await holds(led, led.fake, pool="default", concurrency_key=key) for key in (first, second)]
    task = await led.task(overlap="allow", pool="default", concurrency_key=first)
    await led.commands.ok("run", task)
    await out(led, task, 0)
    await led.commands.ok("update", task, {"concurrency_key": second})
    await led.fake.complete(holders[0])
    await out(led, task, 0)
    await led.commands.ok("update", task, {"concurrency_key": third})
    await led.fake.complete(await led.fake.next(task_id=task))
    await led.fake.complete(holders[1])
    await led.events.one("executed", task)


async def test_what_waits_for_a_pool_goes_to_the_new_one_when_its_task_has_another(led: Led) -> None:
    """The way out of a pool that stays paused."""
    pool, _ = await pool_of(led, paused=True)
    task = await led.task(overlap="allow", pool=pool)
    await led.commands.ok("run", task)
    await out(led, task, 0)
    await led.commands.ok("update", task, {"pool": "default"})
    await led.fake.complete(await led.fake.next(task_id=task))
    await led.events.one("executed", task)


async def test_a_backfill_waits_behind_all_others_whatever_its_task_is(led: Led) -> None:
    """Its lane is the last to be served, also at the door of its pool."""
    pool, fake = await pool_of(led, max_in_flight=1)
    holder = await holds(led, fake, pool=pool)
    urgent = await led.task(overlap="allow", pool=pool, priority="urgent", schedule=FAR)
    now_ms = led.leader.shard.book.now_ms()
    await led.commands.ok(
        "backfill",
        urgent,
        {"from": format_instant(now_ms - 86_400_000), "to": format_instant(now_ms), "only": "all"},
    )
    plain = await led.task(overlap="allow", pool=pool)
    await led.commands.ok("run", plain)
    await out(led, plain, 0)
    await fake.complete(holder)
    works = [await fake.next()]
    await fake.complete(works[0])
    works.append(await fake.next())
    await fake.complete(works[1])
    assert [work.due.task_id for work in works] == [plain, urgent]
