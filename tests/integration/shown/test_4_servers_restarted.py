"""The servers underneath go away under load: nothing is lost, nothing doubled, and the read models are right."""

from __future__ import annotations

import asyncio
from typing import Final

import pytest

from gnomon_core.runtime.embedded import EmbeddedPostgres
from tests.harness.over_http import OverHttp
from tests.harness.processes import Process
from tests.harness.read_models import differences, end_everything
from tests.harness.world import World, now_ms, tell
from tests.integration.shown.load import Load

pytestmark = pytest.mark.timeout(240)

AWAY_SECONDS: Final = 20
UNDER_WAY_SECONDS: Final = 3
"""So long the load goes on between one restart and the next."""


async def _start(world: World, dsn: str) -> Process:
    """Two schedulers, two executors, and an api, which it returns."""
    await asyncio.gather(world.scheduler(), world.scheduler(), world.executor(), world.executor())
    return await world.api(dsn)


async def _end(world: World, load: Load, dsn: str) -> None:
    """Let everything come to its end, and compare it with the log and with a rebuild."""
    until = now_ms()
    await world.settled(until, within=60)
    await end_everything(world, dsn)
    audit = world.audit(until)
    tell(f"{audit}; {len(world.events.all)} events")
    load.check(audit)
    assert await differences(world, dsn) == []


async def test_the_broker_restarted_under_load(world: World, postgres_url: str) -> None:
    """nats-server is stopped and started, then killed and started, under load: every slot and every run that was asked
    for has its one result, in the log and in Postgres, and the read models equal a rebuild."""
    api = await _start(world, postgres_url)
    async with OverHttp.of(api) as http:
        async with Load(world, http) as load:
            for end in (world.broker.stop, world.broker.kill):
                await end()
                await world.broker.start()
                await load.fires_after(now_ms() + UNDER_WAY_SECONDS * 1000)
        await _end(world, load, postgres_url)


async def test_postgres_stopped_for_a_while_under_load(
    world: World, postgres_server: EmbeddedPostgres
) -> None:
    """Postgres is stopped for 20 s under load: writes go on, reads say so, and afterwards every slot and every run has
    its one row, and the read models equal a rebuild."""
    api = await _start(world, postgres_server.url)
    async with OverHttp.of(api) as http:
        async with Load(world, http) as load:
            await postgres_server.stop()
            stopped_at = now_ms()
            read = await http.client.get("/tasks")
            assert (read.status_code, read.headers["content-type"]) == (503, "application/problem+json")
            await http.create("made-meanwhile", overlap="allow")
            await load.fires_after(stopped_at + AWAY_SECONDS * 1000)
            await postgres_server.start()
        load.runs.append((await http.post("/tasks/made-meanwhile/execute", {}))["execution_id"])
        await _end(world, load, postgres_server.url)
