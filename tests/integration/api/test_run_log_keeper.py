"""Lines on their way from the stream into Postgres: each once, whoever is killed, and nothing waits for one that does
not fit."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import NamedTuple

import msgspec
import pytest
import pytest_asyncio

from gnomon_api.database import Database
from gnomon_api.run_log_keeper import RunLogKeeper
from gnomon_core.runtime.bus import NatsBus, connect
from gnomon_core.runtime.clock import SystemClock
from gnomon_core.runtime.settings import CommonSettings
from gnomon_core.runtime.topology import TopologySettings, ensure_topology
from gnomon_schemas.codec import encode
from gnomon_schemas.run_logs import RunLogLine, RunLogLines
from gnomon_schemas.subjects import LOGS_STREAM, run_log
from gnomon_schemas.tasks import NULL
from tests.harness.waiting import until_async

pytestmark = pytest.mark.asyncio(loop_scope="module")


class Bench(NamedTuple):
    """A stream and a database."""

    bus: NatsBus
    database: Database

    def keeper(self, retention_seconds: float = 3600.0) -> RunLogKeeper:
        """Somebody with the duty."""
        return RunLogKeeper(self.bus, self.database, SystemClock(), retention_seconds=retention_seconds)

    async def log(self, run: str, *numbers: int, message: str = "line") -> None:
        """Store lines of a run."""
        told = RunLogLines(
            execution_id=f"t.{run}",
            task_id="t",
            run=run,
            user_id=None,
            attempt=1,
            claim=7,
            executor="e-1",
            lines=tuple(
                RunLogLine(n=n, at="2026-11-21T09:00:00.000Z", level="info", message=message, details=NULL)
                for n in numbers
            ),
        )
        await self.bus.store(run_log(0, "t", run), encode(told))

    async def rows(self, run: str) -> list[tuple[int, str]]:
        """Numbers and messages in the table."""
        found = await self.database.fetch(
            "select n, message from run_logs where execution_id = $1 order by n", f"t.{run}"
        )
        return [(row["n"], row["message"]) for row in found]

    async def until_there(self, run: str, count: int) -> None:
        """Wait until so many lines are in the table."""

        async def there() -> bool:
            return len(await self.rows(run)) == count

        await until_async(there)


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def bench(nats_url: str, postgres_url: str) -> AsyncIterator[Bench]:
    """One for the module."""
    bus = await connect(CommonSettings(nats_url=nats_url), name="test")
    await ensure_topology(bus, TopologySettings())
    database = Database(postgres_url)
    await database.start()
    yield Bench(bus, database)
    await database.stop()
    await bus.close()


async def test_each_line_is_taken_once_whoever_has_the_duty(bench: Bench) -> None:
    await bench.log("r-1", 1, 2)
    first = bench.keeper()
    await first.start()
    await bench.until_there("r-1", 2)
    await first.abort()
    await bench.log("r-1", 2, 3)
    both = [bench.keeper(), bench.keeper()]
    for keeper in both:
        await keeper.start()
    await bench.until_there("r-1", 3)
    await bench.log("r-1", 4)
    await bench.until_there("r-1", 4)
    for keeper in both:
        await keeper.stop()
    assert [n for n, _ in await bench.rows("r-1")] == [1, 2, 3, 4]
    # As after a restore of an older database: what is taken again changes nothing.
    await bench.database.execute("update run_log_position set sequence = 0")
    again = bench.keeper()
    await again.start()
    await bench.log("r-1", 5)
    await bench.until_there("r-1", 5)
    await again.stop()


async def test_what_is_taken_leaves_the_stream_and_nothing_else_does(bench: Bench) -> None:
    keeper = bench.keeper()
    await keeper.start()
    await bench.log("r-2", 1)
    await bench.until_there("r-2", 1)
    await keeper.stop()
    await bench.log("r-2", 2)
    await keeper._purge()
    assert (await bench.bus.stream_info(LOGS_STREAM)).messages == 1
    await keeper.start()
    await bench.until_there("r-2", 2)
    await keeper.stop()


async def test_while_postgres_is_away_lines_wait(bench: Bench) -> None:
    keeper = bench.keeper()
    await keeper.start()
    await bench.log("r-3", 1)
    await bench.until_there("r-3", 1)
    await bench.database.execute("alter table run_logs rename to run_logs_away")
    await bench.log("r-3", 2)
    stuck = bench.keeper()
    await stuck.start()
    await stuck.stop()  # does not wait for a database
    await bench.database.execute("alter table run_logs_away rename to run_logs")
    await bench.until_there("r-3", 2)
    await keeper.stop()


async def test_nobodys_lines_wait_for_what_does_not_fit(bench: Bench) -> None:
    await bench.bus.store(run_log(0, "t", "r-4"), b"not JSON")
    await bench.bus.store(
        run_log(0, "t", "r-4"),
        encode(msgspec.json.decode(b'{"execution_id":"u.r-1","lines":[]}')),
    )
    deep = msgspec.Raw(b"[" * 20_000 + b"]" * 20_000)
    told = RunLogLines(
        execution_id="t.r-4",
        task_id="t",
        run="r-4",
        user_id=None,
        attempt=1,
        claim=7,
        executor="e-1",
        lines=(RunLogLine(n=1, at="2026-11-21T09:00:00.000Z", level="info", message="deep", details=deep),),
    )
    await bench.bus.store(run_log(0, "t", "r-4"), msgspec.json.encode(told))
    await bench.log("r-4", 2, message="half \0 of it")
    keeper = bench.keeper()
    await keeper.start()
    await bench.until_there("r-4", 1)
    await keeper.stop()
    assert await bench.rows("r-4") == [(2, "half \ufffd of it")]


async def test_lines_leave_the_table_by_their_age(bench: Bench) -> None:
    keeper = bench.keeper()
    await keeper.start()
    await bench.log("r-5", 1, 2)
    await bench.until_there("r-5", 2)
    await keeper.stop()
    await bench.database.execute(
        "update run_logs set stored_at = now() - interval '2 hours' where execution_id = 't.r-5' and n = 1"
    )
    later = bench.keeper(retention_seconds=3600.0)
    await later.start()
    await bench.until_there("r-5", 1)
    await later.stop()
    assert await bench.rows("r-5") == [(2, "line")]


async def test_a_keeper_killed_in_the_middle_of_its_write_leaves_nothing_half_done(bench: Bench) -> None:
    """Lines and position are one statement: the next keeper takes the same lines, once."""
    await bench.log("r-6", 1, 2)
    keeper = bench.keeper()
    async with bench.database.connection() as connection:
        transaction = connection.transaction()
        await transaction.start()
        await connection.execute("select 1 from run_log_position for update")
        await keeper.start()

        async def held_up() -> bool:
            return bool(await connection.fetchval("select count(*) from pg_locks where not granted"))

        await until_async(held_up)
        await keeper.abort()
        await transaction.rollback()
    assert await bench.rows("r-6") == []
    following = bench.keeper()
    await following.start()
    await bench.until_there("r-6", 2)
    last = (await bench.bus.stream_info(LOGS_STREAM)).last_seq
    position = await bench.database.fetchrow("select sequence from run_log_position")
    assert position is not None
    assert position["sequence"] == last
    await following.stop()


async def test_lines_that_come_while_one_write_is_done_share_the_next(bench: Bench) -> None:
    keeper = bench.keeper()
    await keeper.start()
    for n in range(1, 31):
        await bench.log("r-7", n)
    await bench.until_there("r-7", 30)
    await keeper.stop()
    writes = await bench.database.fetchrow(
        "select count(distinct xmin::text) as number from run_logs where execution_id = 't.r-7'"
    )
    assert writes is not None
    assert writes["number"] < 15


async def test_what_json_may_say_and_text_may_not_is_kept_as_it_is(bench: Bench) -> None:
    details = msgspec.Raw(b'{"zero": "a\\u0000b", "quote": "\\"", "text": "\xc3\xa9"}')
    told = RunLogLines(
        execution_id="t.r-8",
        task_id="t",
        run="r-8",
        user_id=None,
        attempt=1,
        claim=7,
        executor="e-1",
        lines=(
            RunLogLine(
                n=1, at="2026-11-21T11:00:00+02:00", level="info", message='"\\u0000" \t', details=details
            ),
        ),
    )
    await bench.bus.store(run_log(0, "t", "r-8"), encode(told))
    keeper = bench.keeper()
    await keeper.start()
    await bench.until_there("r-8", 1)
    await keeper.stop()
    row = await bench.database.fetchrow(
        "select message, details, at = '2026-11-21T09:00:00Z' as same from run_logs where execution_id = 't.r-8'"
    )
    assert row is not None
    assert (row["message"], row["details"], row["same"]) == ('"\\u0000" \t', bytes(details).decode(), True)
