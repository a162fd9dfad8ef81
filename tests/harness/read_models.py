"""The read models against the log: did everything arrive, once, and does a rebuild come to the same?"""

from __future__ import annotations

import asyncpg

from gnomon_api.readmodels import rebuild
from gnomon_schemas.subjects import EVENTS_FILTER, EVENTS_STREAM, LOGS_STREAM
from tests.harness.waiting import until_async
from tests.harness.world import World

__all__ = ["caught_up", "differences", "end_everything"]

_OUTCOMES = "('completed', 'failed', 'cancelled', 'timed_out')"


async def end_everything(world: World, dsn: str) -> None:
    """Stop schedulers, then executors, then, when all is projected, the api: after this nothing moves."""
    for kind in ("scheduler", "executor"):
        for process in world.processes:
            if process.name.startswith(kind) and process.running:
                await process.stop(within=60)
    await caught_up(world, dsn)
    for process in world.processes:
        if process.running:
            await process.stop()


async def caught_up(world: World, dsn: str, within: float = 60.0) -> None:
    """Wait until the test has heard, and the projector written, the last event of the stream; and until what handlers
    have logged is in Postgres too."""
    last = await world.bus.last(EVENTS_STREAM, EVENTS_FILTER)
    assert last is not None, "there is no event"
    seq = last.seq
    heard = world.events.sequences
    await world.events.wait_for(lambda: bool(heard) and heard[-1] >= seq, within)
    connection = await asyncpg.connect(dsn)
    try:

        async def written() -> bool:
            position = await connection.fetchval("select sequence from projector_position")
            return position is not None and position >= seq

        await until_async(written, within)
        lines = (await world.bus.stream_info(LOGS_STREAM)).last_seq

        async def taken() -> bool:
            position = await connection.fetchval("select max(sequence) from run_log_position")
            return position is not None and position >= lines

        if lines:
            await until_async(taken, within)
    finally:
        await connection.close()


async def differences(world: World, dsn: str) -> list[str]:
    """What is in the read models and not in the log, or the other way round, or not as a rebuild has it; in words.

    Nothing may move meanwhile.
    """
    connection = await asyncpg.connect(dsn)
    try:
        archived = [
            row["seq"] for row in await connection.fetch("select seq from event_archive order by seq")
        ]
        # The table's name is fixed, and so are the statuses.
        rows = await connection.fetch(f"select execution_id from executions where status in {_OUTCOMES}")  # noqa: S608
    finally:
        await connection.close()
    found = (await rebuild.verify(dsn)).differing
    if archived != world.events.sequences:
        found.append(f"{len(archived)} events are archived, {len(world.events.sequences)} were stored")
    executed = sorted(f"{seen.task_id}.{seen.run}" for seen in world.events.of("executed"))
    if sorted(row["execution_id"] for row in rows) != executed:
        found.append(f"{len(rows)} executions have a result in Postgres, {len(executed)} in the log")
    return found
