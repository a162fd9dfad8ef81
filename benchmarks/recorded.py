"""After each run: what is recorded, in the stream by the oracle of the tests, and in Postgres by counting."""

from __future__ import annotations

import asyncio

import asyncpg

from benchmarks.measurement import Outcomes
from benchmarks.stage import Stage
from gnomon_core.runtime.follower import Follower
from gnomon_core.runtime.messages import Stored
from gnomon_schemas.codec import decode_event
from gnomon_schemas.subjects import EVENTS_FILTER, EVENTS_STREAM, parse_event
from tests.harness.events import Seen
from tests.harness.ledger import audit

__all__ = ["projected", "read_log", "settle"]

_POLL_SECONDS = 0.02


async def read_log(stage: Stage) -> list[Seen]:
    """Every event of the stream."""
    log: list[Seen] = []

    async def take(messages: list[Stored]) -> None:
        for message in messages:
            subject, event = parse_event(message.subject), decode_event(message.data)
            log.append(Seen(message.seq, message.time_ms, subject, event, message.headers))

    follower = Follower(stage.bus, EVENTS_STREAM, [EVENTS_FILTER], start_seq=1, handler=take, name="read-log")
    await follower.start()
    try:
        async with asyncio.timeout(120):
            await follower.caught_up.wait()
    finally:
        await follower.stop()
    return log


async def projected(
    stage: Stage, database: asyncpg.Connection[asyncpg.Record], within: float = 120.0
) -> None:
    """Wait until the projector has written the last event that is stored now."""
    last = await stage.bus.last(EVENTS_STREAM, EVENTS_FILTER)
    if last is None:
        return
    async with asyncio.timeout(within):
        position = "select sequence from projector_position"
        while (await database.fetchval(position) or 0) < last.seq:  # noqa: ASYNC110 - only asking tells
            await asyncio.sleep(_POLL_SECONDS)


async def settle(
    log: list[Seen],
    until_ms: float,
    expected: int,
    database: asyncpg.Connection[asyncpg.Record] | None = None,
) -> Outcomes:
    """Expected against recorded for all slots up to an instant and all runs, executed ones alone counting as well done.

    `expected` is what the benchmark itself knows that it asked for. Raises Unsound.
    """
    found = audit(log, int(until_ms))
    rows = None
    if database is not None:
        rows = await database.fetchval("select count(*) from executions where status = 'completed'")
    outcomes = Outcomes(
        expected=expected,
        recorded=found.executed(),
        missed=found.expected + found.runs - found.executed() - len(found.doubled),
        doubled=len(found.doubled) + len(found.strange),
        rows=rows,
        details=str(found),
    )
    outcomes.insist()
    return outcomes
