"""How many no-op executions a second, with all that belongs to them?

    .venv/bin/python -m benchmarks.executions [--fast | --sync] [--scale 0.1]

*Whole*: one process of each kind. Interval tasks of one second, enough of them to keep everything busy, hand out a
known number of slots; from the first slot's instant until the last row is in Postgres. *Drained*: an executor and
the api alone; the queue is filled while the executor stands still (SIGSTOP), from its going on until the last row.
The bare loop takes its turn between, on the same server, with the services idle: fetch, two publishes that
expect the chain's last sequence, ack_sync, as many in flight as the executor has.
"""

from __future__ import annotations

import asyncio
import os
import secrets
import signal
import sys
import time

import asyncpg
import msgspec

from benchmarks.callers import NewTask, created_before, first_slot, now_ms, ran_out, text
from benchmarks.ceilings import BareStreams, Message, publish_batch
from benchmarks.measurement import Mode, Outcomes, Result, Series, rate_figure, rate_over_time
from benchmarks.options import Options
from benchmarks.recorded import projected, read_log, settle
from benchmarks.running import Question, main
from benchmarks.stage import PARTITIONS, Stage
from gnomon_schemas import subjects
from gnomon_schemas.clock_text import format_instant
from gnomon_schemas.codec import encode
from gnomon_schemas.dues import Due
from gnomon_schemas.tasks import Priority, RetryPolicy, Trigger
from tests.harness.events import Seen

__all__ = ["IN_FLIGHT", "QUESTION", "drain", "drained_outcomes"]

IN_FLIGHT = 200
_SLOTS = 8
"""Slots of each task, at full scale; with fewer the tasks stay as many as long as can be, or nothing is kept busy."""
_BARE = "fetch, 2 expected publishes, ack_sync"


async def measure(mode: Mode, options: Options) -> Result:
    """Both ways, in turn with the bare loop."""
    slots = max(2, round(_SLOTS * min(options.scale, 1.0)))
    busy = min(1.0, options.scale * _SLOTS / slots)
    offered = max(20, round((5_000 if mode == "fast" else 1_000) * busy))
    drained = options.count(20_000 if mode == "fast" else 4_000, least=50)
    ours: list[float] = []
    bare: list[float] = []
    alone: list[float] = []
    async with Stage("executions", mode, options) as stage:
        await stage.everything(concurrency=IN_FLIGHT)
        database = await stage.database()
        asked, log = 0, list[Seen]()
        for _ in range(options.turns(2)):
            rate = await whole(stage, database, offered, slots)
            ours.append(rate)
            asked += offered * slots
            bare.append(await bare_loop(stage.bare, drained))
        log = await read_log(stage)
        outcomes = await settle(log, now_ms(), asked, database)
        cpu, operations, notes = stage.cpu, stage.operations, stage.notes
    async with Stage("executions", mode, options) as stage:
        await stage.executor(concurrency=IN_FLIGHT)
        await stage.api()
        database = await stage.database()
        for turn in range(options.turns(3)):
            alone.append(await drain(stage, database, drained, turn))
            bare.append(await bare_loop(stage.bare, drained))
        outcomes_drained = await drained_outcomes(stage, database, drained * options.turns(3))
    judged = options.judged(mode)
    return Result(
        question="executions",
        title="no-op executions a second, rows and all, one executor process",
        mode=mode,
        settings={"tasks": offered, "slots each": slots, "drained": drained, "in flight": IN_FLIGHT},
        figures=(
            rate_figure(
                "whole: schedule to row", ours, ceiling=bare, ceiling_is=_BARE, aim=3_500, judged=judged
            ),
            rate_figure("drained: due to row, no scheduler", alone, ceiling=bare, ceiling_is=_BARE),
        ),
        outcomes=Outcomes(
            expected=outcomes.expected + outcomes_drained.expected,
            recorded=outcomes.recorded + outcomes_drained.recorded,
            rows=(outcomes.rows or 0) + (outcomes_drained.rows or 0),
        ),
        cpu={**cpu, **stage.cpu},
        operations={**operations, **stage.operations},
        notes=(*notes, *stage.notes),
        series=series_of(log),
    )


def series_of(log: list[Seen]) -> tuple[Series, ...]:
    """Executions over time, by the broker's clock."""
    times = [float(seen.time_ms) for seen in log if seen.name == "executed"]
    return (rate_over_time("executed", times),)


async def whole(stage: Stage, database: asyncpg.Connection[asyncpg.Record], tasks: int, slots: int) -> float:
    """Executions a second, all processes at work."""
    start = await first_slot(stage, tasks)
    schedule = {
        "kind": "interval",
        "every_seconds": 1,
        "anchor": text(start - 1000),
        "start_at": text(start),
        "end_at": text(start + slots * 1000),
    }
    await created_before(stage, [NewTask.of(schedule=schedule) for _ in range(tasks)], start, database)
    async with stage.measuring("execution, whole", tasks * slots):
        await ran_out(stage, start + (slots - 1) * 1000)
        await projected(stage, database)
        took = (now_ms() - start) / 1000
    return tasks * slots / took


async def bare_loop(streams: BareStreams, count: int) -> float:
    """Executions a second of the bare loop."""
    await streams.fill(count)
    return count / await streams.executions(count, IN_FLIGHT)


async def drain(
    stage: Stage,
    database: asyncpg.Connection[asyncpg.Record],
    count: int,
    turn: int,
    *,
    task_type: str = "bench_noop",
) -> float:
    """Executions a second of a full queue, without a scheduler."""
    pid = stage.services["executor-1"].pid
    os.kill(pid, signal.SIGSTOP)
    try:
        for begin in range(0, count, 500):
            dues = [
                a_due(f"d-{turn}-{begin + number}-{secrets.token_hex(4)}", task_type)
                for number in range(min(500, count - begin))
            ]
            await publish_batch(stage.nc, dues)
    finally:
        os.kill(pid, signal.SIGCONT)
    begun = time.perf_counter()
    async with stage.measuring(f"execution, drained ({task_type})", count):
        async with asyncio.timeout(180):
            while await stage.due_messages():  # noqa: ASYNC110 - only the broker knows
                await asyncio.sleep(0.02)
        await projected(stage, database)
        took = time.perf_counter() - begun
    return count / took


async def drained_outcomes(
    stage: Stage, database: asyncpg.Connection[asyncpg.Record], expected: int
) -> Outcomes:
    """Chains that ended once each. These dues have no task, so the oracle of the tests knows no slots of them."""
    ended = [(seen.task_id, seen.run) for seen in await read_log(stage) if seen.name == "executed"]
    outcomes = Outcomes(
        expected=expected,
        recorded=len(set(ended)),
        missed=expected - len(set(ended)),
        doubled=len(ended) - len(set(ended)),
        rows=await database.fetchval("select count(*) from executions where status = 'completed'"),
        details="dues without a scheduler",
    )
    outcomes.insist()
    return outcomes


def a_due(task_id: str, task_type: str) -> Message:
    """An execution of a task that nobody knows, as a scheduler would publish it."""
    at = format_instant(now_ms())
    run = "20260101T000000Z"
    due = Due(
        execution_id=f"{task_id}.{run}",
        task_id=task_id,
        run=run,
        user_id="u1",
        task_type=task_type,
        config=msgspec.Raw(b"{}"),
        trigger=Trigger.SCHEDULE,
        attempt=1,
        scheduled_for=at,
        due_at=at,
        expires_at=format_instant(now_ms() + 3_600_000),
        timeout_seconds=60.0,
        deadline=None,
        total_timeout_seconds=None,
        priority=Priority.MEDIUM,
        pool="default",
        credits_per_run=0,
        revision=1,
        epoch=1,
        cause_seq=0,
        retry=RetryPolicy(),
    )
    partition = subjects.partition_of(task_id, PARTITIONS)
    return Message(subjects.write(subjects.due("default", "medium", partition, task_id)), encode(due), {})


QUESTION = Question("executions", measure)

if __name__ == "__main__":
    sys.exit(main([QUESTION], __doc__))
