"""The projector in its process: lease, outages of Postgres, strange databases, and rebuilds under load."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

import asyncpg
import httpx
import pytest
import pytest_asyncio

from gnomon_api.bootstrap import Api, build
from gnomon_api.measures import ApiMeasures
from gnomon_api.projection import Projection
from gnomon_api.readmodels import rebuild as rebuilding
from gnomon_api.readmodels.migrate import migrate
from gnomon_api.readmodels.projector import Projector
from gnomon_core.runtime.bus import NatsBus, connect
from gnomon_core.runtime.embedded import EmbeddedNats, EmbeddedPostgres
from gnomon_core.runtime.kv import kv_put
from gnomon_core.runtime.metrics import Meter
from gnomon_core.runtime.topology import TopologySettings, ensure_topology
from gnomon_core.runtime.tracing import Tracing
from gnomon_schemas.codec import encode
from gnomon_schemas.members import PurgeFloor
from gnomon_schemas.subjects import (
    ACCOUNTS_BUCKET,
    EVENTS_FILTER,
    EVENTS_STREAM,
    PURGE_FLOOR_KEY,
)
from tests.integration.api.conftest import settings_for
from tests.integration.api.responder import Responder
from tests.integration.api.stories import Story, a_task

API = "/api/v1"


class Place:
    """Servers of this module, and api processes on them."""

    def __init__(self, nats: EmbeddedNats, postgres: EmbeddedPostgres, bus: NatsBus) -> None:
        self.nats = nats
        self.postgres = postgres
        self.bus = bus
        self._databases = 0

    async def fresh_database(self) -> str:
        """A database with nothing in it."""
        self._databases += 1
        name = f"projector_{self._databases}"
        connection = await asyncpg.connect(self.postgres.url_of("postgres"))
        await connection.execute(f"create database {name}")
        await connection.close()
        return self.postgres.url_of(name)

    @asynccontextmanager
    async def api(self, dsn: str) -> AsyncIterator[Api]:
        """An api process in this one."""
        api = await build(settings_for(self.nats.url, dsn))
        await api.supervisor.start()
        try:
            yield api
        finally:
            await api.supervisor.stop()

    async def tell(self, story: Story) -> int:
        """Store a story's events in the stream; the last sequence."""
        seq = 0
        for one in story.stored:
            seq = (await self.bus.store(one.subject, one.data, one.headers)).seq
        story.stored.clear()
        return seq


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def place(nats_server: EmbeddedNats, postgres_server: EmbeddedPostgres) -> AsyncIterator[Place]:
    """Servers that tests may stop."""
    settings = settings_for(nats_server.url, postgres_server.url)
    bus = await connect(settings, name="test")
    await ensure_topology(bus, TopologySettings())
    yield Place(nats_server, postgres_server, bus)
    await bus.close()


async def until(holds: Callable[[], bool], *, seconds: float = 15) -> None:
    """Wait until something that has no signal of its own holds."""
    async with asyncio.timeout(seconds):
        while not holds():  # noqa: ASYNC110 - what is asked for has no signal
            await asyncio.sleep(0.02)


async def count(dsn: str, sql: str) -> int:
    connection = await asyncpg.connect(dsn)
    try:
        found: int = await connection.fetchval(sql)
        return found
    finally:
        await connection.close()


def some_runs(task_id: str, runs: int) -> Story:
    story = Story()
    task = a_task(task_id)
    story.created(task)
    for number in range(runs):
        story.started(task, f"run{number}")
        story.executed(task, f"run{number}")
    return story


async def test_what_was_told_before_the_start_is_projected_and_the_position_published(place: Place) -> None:
    last = await place.tell(some_runs("before", 10))
    dsn = await place.fresh_database()
    async with place.api(dsn) as api:
        assert await api.services.projection.reached(last, within=15, insist=True)
        assert await count(dsn, "select count(*) from executions where task_id = 'before'") == 10

        created = (await place.bus.stream_info(EVENTS_STREAM)).created
        # Another process knows it by the key alone.
        other = Projection(place.bus, created)
        await other.start()
        assert await other.reached(last, within=5)
        await other.stop()
        events = sum([1 async for _ in place.bus.scan(EVENTS_STREAM, EVENTS_FILTER)])
        assert await count(dsn, "select count(*) from event_archive") == events


async def test_one_of_two_replicas_projects_and_both_know_the_position(place: Place) -> None:
    dsn = await place.fresh_database()
    async with place.api(dsn) as first:
        await until(lambda: first.projector.running)
        async with place.api(dsn) as second:
            last = await place.tell(some_runs("shared", 3))
            assert await first.services.projection.reached(last, within=15, insist=True)
            assert await second.services.projection.reached(last, within=15, insist=True)
            assert first.projector.running
            assert not second.projector.running
            await first.supervisor.stop()
            await until(lambda: second.projector.running)
            last = await place.tell(some_runs("handed-over", 3))
            assert await second.services.projection.reached(last, within=15, insist=True)
            assert await count(dsn, "select count(*) from executions where task_id = 'handed-over'") == 3
            assert (await rebuilding.verify(dsn)).differing == []


async def test_postgres_away_at_the_start_and_later_loses_nothing(place: Place) -> None:
    dsn = await place.fresh_database()
    await place.postgres.stop()
    async with place.api(dsn) as api:
        responder_bus = await connect(api.services.settings, name="responder")
        responder = Responder(responder_bus)
        await responder.open()
        async with httpx.AsyncClient(base_url=api.http.url, timeout=20) as http:
            # The process is up, says what is wrong, and takes commands.
            ready = await http.get("/readyz")
            assert ready.status_code == 200
            assert ready.json()["checks"]["postgres"] != "ok"
            read = await http.get(f"{API}/tasks")
            assert (read.status_code, read.json()["code"]) == (503, "unavailable")
            assert int(read.headers["retry-after"]) > 0
            key = {"Idempotency-Key": "k1"}
            made = await http.post(f"{API}/tasks", json={"name": "n", "task_type": "echo"}, headers=key)
            assert made.status_code == 201
            again = await http.post(f"{API}/tasks", json={"name": "n", "task_type": "echo"}, headers=key)
            assert again.json()["task_id"] == made.json()["task_id"]
            run = await http.post(f"{API}/tasks/{made.json()['task_id']}/execute")
            assert (run.status_code, run.json()["status"]) == (202, "queued")
            assert (await http.get("/")).status_code == 200

            await place.postgres.start()
            assert await api.services.projection.reached(responder.last_seq, within=20, insist=True)
            shown = await http.get(f"{API}/tasks/{made.json()['task_id']}")
            assert shown.status_code == 200
            assert (await http.get("/readyz")).json()["checks"]["projector"] == "ok"

            # Killed under load: what was committed stays, what was not is projected afterwards.
            for name in ("a", "b"):
                await place.tell(some_runs(f"load-{name}", 200))
            await place.postgres.kill()
            last = await place.tell(some_runs("load-c", 200))
            await place.postgres.start()
            assert await api.services.projection.reached(last, within=30, insist=True)
            assert await count(dsn, "select count(*) from executions where task_id like 'load-%'") == 600
            assert await count(dsn, "select count(*) from tasks where run_count = 200") == 3
            assert (await rebuilding.verify(dsn)).differing == []
        await responder.close()
        await responder_bus.close()


async def test_a_database_of_another_stream_is_refused_in_words(place: Place) -> None:
    dsn = await place.fresh_database()
    await migrate(dsn)
    connection = await asyncpg.connect(dsn)
    await connection.execute("insert into projector_position values (true, '2001-01-01T00:00:00Z', 5, now())")
    async with place.api(dsn) as api:
        await until(lambda: api.projector.trouble is not None)
        assert "of 2001-01-01T00:00:00Z" in (api.projector.trouble or "")
        assert await connection.fetchval("select sequence from projector_position") == 5
        # Mending the cause is enough.
        await connection.execute("truncate projector_position")
        await until(lambda: api.projector.trouble is None)
    await connection.close()


async def test_a_position_beyond_the_stream_or_below_the_floor_is_refused_in_words(place: Place) -> None:
    last = await place.tell(some_runs("floor", 3))
    created = (await place.bus.stream_info(EVENTS_STREAM)).created
    dsn = await place.fresh_database()
    await migrate(dsn)
    connection = await asyncpg.connect(dsn)
    await connection.execute("insert into projector_position values (true, $1, 99999999, now())", created)
    async with place.api(dsn) as api:
        await until(lambda: "NATS has lost events" in (api.projector.trouble or ""))
        await kv_put(
            place.bus, ACCOUNTS_BUCKET, PURGE_FLOOR_KEY, encode(PurgeFloor(created=created, sequence=last))
        )
        await connection.execute("update projector_position set sequence = $1", last - 2)
        await until(lambda: "have been purged" in (api.projector.trouble or ""))
        await connection.execute("update projector_position set sequence = $1", last - 1)
        await until(lambda: api.projector.trouble is None)
    await connection.close()
    await place.bus.purge("KV_GNOMON_ACCOUNTS", filter=f"$KV.{ACCOUNTS_BUCKET}.{PURGE_FLOOR_KEY}")


async def test_failure_19_a_rebuild_keeps_what_is_older_than_the_stream(place: Place) -> None:
    """The archive holds what the janitor has purged; the stream goes on after it."""
    dsn = await place.fresh_database()
    async with place.api(dsn) as api:
        last = await place.tell(some_runs("old", 20))
        assert await api.services.projection.reached(last, within=15, insist=True)
        created = (await place.bus.stream_info(EVENTS_STREAM)).created
        await kv_put(
            place.bus,
            ACCOUNTS_BUCKET,
            PURGE_FLOOR_KEY,
            encode(PurgeFloor(created=created, sequence=last + 1)),
        )
        await place.bus.purge(EVENTS_STREAM, filter=EVENTS_FILTER, up_to_seq=last + 1)
        assert [one async for one in place.bus.scan(EVENTS_STREAM, EVENTS_FILTER)] == []
        connection = await asyncpg.connect(dsn)
        await connection.execute("delete from executions; update tasks set name = 'broken'")
        await connection.close()

        telling = asyncio.create_task(place.tell(some_runs("new", 50)))
        rebuilt = await rebuilding.replace(dsn)
        assert rebuilt.sequence >= last
        last = await telling
        assert await api.services.projection.reached(last, within=20, insist=True)
        assert await count(dsn, "select count(*) from executions where task_id = 'old'") == 20
        assert await count(dsn, "select count(*) from executions where task_id = 'new'") == 50
        assert await count(dsn, "select count(*) from tasks where name = 'broken'") == 0
        assert (await rebuilding.verify(dsn)).differing == []
    await place.bus.purge("KV_GNOMON_ACCOUNTS", filter=f"$KV.{ACCOUNTS_BUCKET}.{PURGE_FLOOR_KEY}")


async def test_failure_11_a_projector_that_was_away_finds_everything_it_missed(place: Place) -> None:
    """Events carry no TTL: the stream waits for the projector, however long it was away."""
    dsn = await place.fresh_database()
    async with place.api(dsn) as api:
        last = await place.tell(some_runs("seen", 2))
        assert await api.services.projection.reached(last, within=15, insist=True)
    last = await place.tell(some_runs("missed", 100))
    config = (await place.bus.stream_info(EVENTS_STREAM)).config
    assert config.get("max_age", 0) == 0
    async with place.api(dsn) as api:
        assert await api.services.projection.reached(last, within=20, insist=True)
        assert await count(dsn, "select count(*) from executions where task_id = 'missed'") == 100


async def test_a_projector_that_is_stopped_while_it_connects_ends_at_once(place: Place) -> None:
    """Not when the five seconds are over that the last batch is given."""
    dsn = await place.fresh_database()
    await migrate(dsn)
    created = (await place.bus.stream_info(EVENTS_STREAM)).created
    measures = ApiMeasures(Meter("api"), Tracing("api", None))
    projector = Projector(place.bus, dsn, created, on_position=lambda _: None, measures=measures)
    await projector.start()
    await asyncio.sleep(0)  # one turn of the loop: it connects now
    async with asyncio.timeout(4):
        await projector.stop()


@pytest.mark.parametrize(
    "garbage", [b"", b"{", b"\xff\xfe", b'{"type":"gnomon.task.executed.v1"}', b"[" * 5000]
)
async def test_garbage_in_the_stream_is_archived_and_stops_nothing(place: Place, garbage: bytes) -> None:
    dsn = await place.fresh_database()
    async with place.api(dsn) as api:
        story = some_runs("garbage", 1)
        subject = subject_of_first(story)
        await place.bus.store(subject, garbage)
        last = await place.tell(story)
        assert await api.services.projection.reached(last, within=20, insist=True)
        assert b"gnomon_projector_unreadable_total" in api.services.meter.render()
        connection = await asyncpg.connect(dsn)
        kept = await connection.fetchval("select payload from event_archive where seq = $1", last - 3)
        await connection.close()
        assert kept == garbage


def subject_of_first(story: Story) -> str:
    return story.stored[0].subject
