"""How many events a second do the read models take: made again from the archive, and live?

    .venv/bin/python -m benchmarks.projector [--fast | --sync] [--scale 0.1]

Postgres alone; the projector's writer and the rebuild run in this process, as they do in the api's and in the
rebuild's own. A made-up stream: 1,000 tasks, a start and an end an execution. Two ceilings take turns with
the rebuild: the very rows that it made, copied (COPY) in batches as large into empty tables of the same shape, with
the same keys and indexes, by the same client; and the archive read, and copied, without anything made of it.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

import asyncpg
import msgspec

from benchmarks.measurement import Mode, Outcomes, Result, percentile, rate_figure, time_figure
from benchmarks.options import Options
from benchmarks.running import Question, main
from benchmarks.stage import Stage
from gnomon_api.readmodels import rebuild as rebuilding
from gnomon_api.readmodels.partitions import PartitionKeeper
from gnomon_api.readmodels.pipeline import WritePipeline
from gnomon_api.readmodels.sections import READ_MODELS
from gnomon_api.readmodels.statements import statement
from gnomon_api.readmodels.writer import WRITER_SETTINGS, Position, ReadModelWriter, Unreadable
from gnomon_core.runtime.messages import Stored
from gnomon_core.runtime.supervisor import collect_seldom
from tests.integration.api.stories import START_MS, Story, a_task

__all__ = ["QUESTION"]

_TASKS = 1000
_BATCH = 2000
_SINGLE = 300
_COLUMNS = """
    select array_agg(column_name::text order by ordinal_position) from information_schema.columns
    where table_schema = current_schema() and table_name = $1 and is_generated = 'NEVER'
"""
"""What can be copied into a table: generated columns make themselves."""


async def measure(mode: Mode, options: Options) -> Result:
    """Live, then rebuilt in turn with the ceiling, then one event alone."""
    events = made_up(options.count(80_000, least=4_000))
    rebuilt: list[float] = []
    copied: list[float] = []
    async with Stage("projector", mode, options) as stage:
        connection = await asyncpg.connect(stage.database_url, server_settings=WRITER_SETTINGS)
        await connection.execute(statement("begin_position"), "benchmark")
        behind = await asyncpg.connect(stage.database_url, server_settings=WRITER_SETTINGS)
        writer = ReadModelWriter(
            connection, Position("benchmark", 0, datetime.fromtimestamp(0, UTC)), reader=behind
        )
        pipeline = WritePipeline(writer, _written)
        collect_seldom()  # as the api and the rebuild do
        begun = time.perf_counter()
        async with stage.measuring("event, live", len(events)):
            for start in range(0, len(events), _BATCH):
                await pipeline.put(events[start : start + _BATCH])
            await pipeline.flush()
        live = len(events) / (time.perf_counter() - begun)
        reader = await stage.database()
        live_copied = await copy_ceiling(reader, len(events), archive=True)
        for _ in range(options.turns(3)):
            begun = time.perf_counter()
            async with stage.measuring("event, rebuilt", len(events)):
                done = await rebuilding.rebuild(stage.database_url)
            rebuilt.append(done.events / (time.perf_counter() - begun))
            copied.append(await copy_ceiling(reader, len(events), archive=False))
        differences = (await rebuilding.verify(stage.database_url)).differing
        alone = await one_by_one(writer, events[-1].seq, options.count(_SINGLE, least=20))
        rows = await reader.fetchval("select count(*) from event_archive where seq <= $1", events[-1].seq)
        await connection.close()
        await behind.close()
    outcomes = Outcomes(
        expected=len(events),
        recorded=done.events,
        missed=len(events) - done.events + len(done.unreadable),
        doubled=len(differences),
        rows=rows,
        details="; ".join(differences),
    )
    outcomes.insist()
    judged = options.judged(mode)
    ceiling_is = "COPY of the same rows, and the archive read or copied"
    return Result(
        question="projector",
        title="events a second into the read models",
        mode=mode,
        settings={"events": len(events), "tasks": _TASKS, "batch": _BATCH},
        figures=(
            rate_figure("rebuild", rebuilt, ceiling=copied, ceiling_is=ceiling_is, aim=20_000, judged=judged),
            rate_figure("live, archive and rows", [live], ceiling=[live_copied], ceiling_is=ceiling_is),
            time_figure("one event alone, p50", [percentile(alone, 0.5)]),
            time_figure("one event alone, p95", [percentile(alone, 0.95)]),
        ),
        outcomes=outcomes,
        cpu=stage.cpu,
        operations=stage.operations,
        notes=tuple(stage.notes),
    )


def _written(_batch: Sequence[Stored], unreadable: list[Unreadable], _seconds: float) -> None:
    if unreadable:
        raise AssertionError(f"made-up events that are no rows: {unreadable}")


def made_up(count: int) -> list[Stored]:
    """A stream: every execution has a start and an end, a hundred at a time."""
    story = Story()
    tasks = [a_task(f"T{number}") for number in range(_TASKS)]
    for task in tasks:
        story.created(task)
    turn = 0
    while len(story.stored) < count:
        turn += 1
        group = tasks[turn * 100 % _TASKS :][:100]
        run = story.run_of(START_MS + turn * 60_000)
        for task in group:
            story.started(task, run)
        for task in group:
            story.executed(task, run, result=msgspec.Raw(b'{"status": 200, "body": "hello"}'))
        story.now_ms -= 199_000
    return story.stored


async def copy_ceiling(
    connection: asyncpg.Connection[asyncpg.Record], events: int, *, archive: bool
) -> float:
    """Events a second, if their rows had only to be copied. With `archive` the events are copied as well, as live;
    without they are read, as in a rebuild."""
    tables = [*READ_MODELS, *(["event_archive"] if archive else [])]
    rows: dict[str, list[asyncpg.Record]] = {}
    await connection.execute("create schema bare")
    try:
        await rebuilding.define(connection, "bare", "table")
        await rebuilding.define(connection, "bare", "index")
        await connection.execute("create table bare.event_archive (like event_archive including all)")
        for table in tables:
            # Names of our own: an identifier cannot be a parameter.
            columns = ", ".join(await connection.fetchval(_COLUMNS, table))
            rows[table] = await connection.fetch(f"select {columns} from {table}")  # noqa: S608
        await connection.execute("set search_path to bare")
        months = [row["completed_at"] for row in rows["executions"] if row["completed_at"] is not None]
        await PartitionKeeper(connection).months("executions_ended", months)
        await connection.execute("reset search_path")
        begun = time.perf_counter()
        if not archive:
            position = 0
            while read := await connection.fetch(statement("read_archive"), position, events, _BATCH):
                position = read[-1]["seq"]
        for table in tables:
            for start in range(0, len(rows[table]), _BATCH):
                part: list[Any] = rows[table][start : start + _BATCH]
                await connection.copy_records_to_table(
                    table, schema_name="bare", columns=list(part[0].keys()), records=part
                )
        return events / (time.perf_counter() - begun)
    finally:
        await connection.execute("drop schema bare cascade")


async def one_by_one(writer: ReadModelWriter, last_seq: int, count: int) -> list[float]:
    """Milliseconds of single events: somebody waits to read what was just written."""
    story = Story(first_seq=last_seq + 1)
    took: list[float] = []
    for number in range(count):
        one = story.created(a_task(f"single-{number}"), command_id=f"command-{number}")
        begun = time.perf_counter()
        await writer.write([one])
        took.append((time.perf_counter() - begun) * 1e3)
    return took


QUESTION = Question("projector", measure)

if __name__ == "__main__":
    sys.exit(main([QUESTION], __doc__))
