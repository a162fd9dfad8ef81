"""19: a rebuild destroys what is older than the stream."""

from __future__ import annotations

import asyncpg

from gnomon_api.readmodels import rebuild as rebuilding
from gnomon_schemas.subjects import EVENTS_FILTER, EVENTS_STREAM
from tests.harness.waiting import until_async
from tests.harness.world import World


async def test_read_models_are_made_again_from_the_archive_when_the_stream_has_forgotten(
    world: World, postgres_url: str
) -> None:
    """Every raw event is archived in the transaction that wrote its rows, so a purge takes nothing away."""
    (await world.fake_executor()).run()
    await world.scheduler()
    await world.api(postgres_url, GNOMON_HTTP_PORT="0")
    await world.commands.create("t", schedule={"kind": "interval", "every_seconds": 1}, overlap="allow")
    await world.events.some(3, "executed", "t")
    await world.commands.ok("cancel", "t")
    last = (await world.events.one("status_changed", "t")).seq
    connection = await asyncpg.connect(postgres_url)
    try:

        async def projected() -> bool:
            return bool(await connection.fetchval("select sequence >= $1 from projector_position", last))

        await until_async(projected)
        before = await connection.fetchval("select count(*) from executions where status = 'completed'")
        assert before >= 3
        assert await world.bus.purge(EVENTS_STREAM, filter=EVENTS_FILTER) > 0
        assert await world.bus.last(EVENTS_STREAM, EVENTS_FILTER) is None
        assert (await rebuilding.verify(postgres_url)).differing == []
        rebuilt = await rebuilding.replace(postgres_url)
        assert rebuilt.sequence == last
        assert before == await connection.fetchval(
            "select count(*) from executions where status = 'completed'"
        )
    finally:
        await connection.close()
