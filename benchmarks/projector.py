"""How many events a second does the projector's writer take, and how long does one event take by itself?

    python benchmarks/projector.py [EVENTS] [BATCH]

Starts a Postgres of its own, writes a made-up stream (1,000 tasks, two events an execution) in batches, rebuilds it
from the archive, compares checksums, and then writes single events.
"""

from __future__ import annotations

import sys
import time
from datetime import UTC, datetime

import asyncpg
import msgspec
import uvloop

from gnomon_api.readmodels import rebuild as rebuilding
from gnomon_api.readmodels.migrate import migrate
from gnomon_api.readmodels.statements import statement
from gnomon_api.readmodels.writer import WRITER_SETTINGS, Position, ReadModelWriter
from gnomon_core.runtime.embedded import EmbeddedPostgres
from gnomon_core.runtime.messages import Stored
from tests.integration.api.stories import START_MS, Story, a_task
from tests.servers import reachable_folder

TASKS = 1000
SINGLE = 500


def made_up(count: int) -> list[Stored]:
    story = Story()
    tasks = [a_task(f"T{number}") for number in range(TASKS)]
    for task in tasks:
        story.created(task)
    turn = 0
    while len(story.stored) < count:
        turn += 1
        group = tasks[turn * 100 % TASKS :][:100]
        run = story.run_of(START_MS + turn * 60_000)
        for task in group:
            story.started(task, run)
        for task in group:
            story.executed(task, run, result=msgspec.Raw(b'{"status": 200, "body": "hello"}'))
        story.now_ms -= 199_000
    return story.stored


async def main(count: int, batch: int) -> None:
    with reachable_folder() as folder:
        postgres = EmbeddedPostgres(folder / "postgres", fast="--fast" in sys.argv)
        await postgres.start()
        try:
            await measure(postgres.url_of("postgres"), made_up(count), batch)
        finally:
            await postgres.stop()


async def measure(dsn: str, events: list[Stored], batch: int) -> None:
    await migrate(dsn)
    connection = await asyncpg.connect(dsn, server_settings=WRITER_SETTINGS)
    await connection.execute(statement("begin_position"), "benchmark")
    writer = ReadModelWriter(connection, Position("benchmark", 0, datetime.fromtimestamp(0, UTC)))
    begun, cpu = time.perf_counter(), time.process_time()
    for start in range(0, len(events), batch):
        await writer.write(events[start : start + batch])
    took, used = time.perf_counter() - begun, time.process_time() - cpu
    print(
        f"live, archive and rows: {len(events) / took:,.0f} events/s, {used / len(events) * 1e6:.0f} µs of CPU an event"
    )

    begun = time.perf_counter()
    rebuilt = await rebuilding.rebuild(dsn)
    print(f"rebuild from the archive: {rebuilt.events / (time.perf_counter() - begun):,.0f} events/s")
    print(f"differences: {await rebuilding.check(dsn) or 'none'}")

    story = Story(first_seq=events[-1].seq + 1)
    took_each = []
    for number in range(SINGLE):
        one = story.created(a_task(f"single-{number}"), command_id=f"command-{number}")
        begun = time.perf_counter()
        await writer.write([one])
        took_each.append(time.perf_counter() - begun)
    took_each.sort()
    median, p95 = took_each[SINGLE // 2] * 1e3, took_each[SINGLE * 95 // 100] * 1e3
    print(f"one event alone: median {median:.1f} ms, p95 {p95:.1f} ms")
    await connection.close()


if __name__ == "__main__":
    given = [int(text) for text in sys.argv[1:] if text.isdigit()]
    uvloop.run(main(*(given + [60_000, 2_000][len(given) :])))
