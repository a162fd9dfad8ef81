"""All that the task domain has, at work at the same time while processes are killed.

In the end the books, the logs, the audits and a rebuild all tell the same, also after what is old has been removed.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any, Final

import asyncpg

from gnomon_api.readmodels import rebuild
from gnomon_schemas.events import Executed
from tests.chaos.accounts_at_work import OPENING, wrong_books
from tests.chaos.audited import audited, tell_of
from tests.chaos.domain_at_work import DOMAIN
from tests.harness.at_work import Part
from tests.harness.hand import Hand
from tests.harness.processes import Process
from tests.harness.read_models import differences, end_everything
from tests.harness.waiting import until_async
from tests.harness.world import World, now_ms, tell

__all__ = ["SETTINGS", "whole_domain"]

SETTINGS: Final = {"GNOMON_INITIAL_CREDITS": str(OPENING)}
"""What the world of such a test has to be started with."""
TASK_TYPES: Final = "tests.integration.policies.task_types"
_MONTHS_LATER_MS: Final = 62 * 86_400_000
_ENGINES: Final = ("timing", "cronsim")


async def whole_domain(
    world: World,
    dsn: str,
    work: Callable[[Hand], Awaitable[object]],
    *,
    seed: int,
    schedulers: int,
    executors: int,
    settle_seconds: float,
    **options: Any,
) -> None:
    """Let everything work while `work` does with the hand what it likes, and check it."""
    tell(f"seed {seed}")
    begin_ms = now_ms()

    async def executor() -> Process:
        return await world.executor(GNOMON_EXECUTOR_TASKS=TASK_TYPES)

    async def api() -> Process:
        return await world.api(dsn, GNOMON_AUDIT_EVERY="0s")

    hand = Hand(
        world, seed, schedulers=schedulers, executors=executors, executor=executor, api=api, **options
    )
    await hand.start()
    parts = [part(world, seed) for part in DOMAIN]
    await asyncio.gather(*(part.begin() for part in parts))
    await _at_work(parts, work(hand))
    tell(f"ended: {', '.join(hand.ended)}")
    await asyncio.gather(*(part.finish() for part in parts))
    until_ms = now_ms()
    found = await world.settled(until_ms, within=settle_seconds)
    tell(f"settled {(now_ms() - until_ms) / 1000:g} s after the last act: {found}")
    await asyncio.gather(*(part.agree() for part in parts))
    for engine in _ENGINES:
        report = await audited(world, dsn, hand.apis[0], begin_ms, until_ms, engine)
        tell(tell_of(report))
        assert report["sound"], report
    await end_everything(world, dsn)
    for part in parts:
        part.check()
    assert await differences(world, dsn) == []
    async with _connected(dsn) as db:
        for part in parts:
            await part.check_rows(db)
        assert await _wrong_books(world, db) == []
    await _after_old_is_removed(world, dsn, executor, begin_ms)


async def _at_work(parts: list[Part], work: Awaitable[object]) -> None:
    over = asyncio.Event()
    async with asyncio.TaskGroup() as users:
        for part in parts:
            users.create_task(part.go_on(over), name=part.name)
        try:
            await work
        finally:
            over.set()


async def _after_old_is_removed(
    world: World, dsn: str, executor: Callable[[], Awaitable[Process]], begin_ms: int
) -> None:
    """Two months later, as far as the api knows: what all of these ran is removed, and what was over then. Then they
    run again, a while."""
    heard = len(world.events.all)
    api = await world.api(
        dsn,
        clock_offset_ms=_MONTHS_LATER_MS,
        GNOMON_EXECUTION_RETENTION="24h",
        GNOMON_TASK_RETENTION="24h",
        GNOMON_AUDIT_EVERY="0s",
    )
    async with _connected(dsn) as db:

        async def removed() -> bool:
            return bool(await db.fetchval("select count(distinct what) = 2 from retirements"))

        await until_async(removed, within=60)
        gone = await db.fetch(
            "select what, sum(gone)::bigint as gone from retirements group by what order by what"
        )
        tell(f"removed: {[tuple(row) for row in gone]}")
        await asyncio.gather(world.scheduler(), executor())
        await world.events.more(heard + 100, within=60)
        until_ms = now_ms()
        await world.settled(until_ms, within=60)
        for engine in _ENGINES:
            report = await audited(world, dsn, api, begin_ms, until_ms, engine)
            tell(f"after that: {tell_of(report)}")
            assert report["sound"], report
        await end_everything(world, dsn)
        assert (await rebuild.verify(dsn)).differing == []
        assert await _wrong_books(world, db) == []


async def _wrong_books(world: World, db: asyncpg.Connection[asyncpg.Record]) -> list[str]:
    ends = (seen.event for seen in world.events.of("executed"))
    return await wrong_books(db, [event for event in ends if isinstance(event, Executed)])


@asynccontextmanager
async def _connected(dsn: str) -> AsyncIterator[asyncpg.Connection[asyncpg.Record]]:
    db = await asyncpg.connect(dsn)
    try:
        yield db
    finally:
        await db.close()
