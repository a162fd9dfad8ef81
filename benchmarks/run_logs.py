"""What do the lines cost that handlers log?

    .venv/bin/python -m benchmarks.run_logs [--fast | --sync] [--scale 0.1]

An executor and the api alone: the queue is filled while the executor stands still, and drained, by handlers that log
ten lines each and by handlers that log nothing, in turn on the same server. From the executor's going on until the last
row of an execution is in Postgres; the lines may come a little later, and are counted: every one has to be there.
"""

from __future__ import annotations

import asyncio
import sys

import asyncpg

from benchmarks.executions import IN_FLIGHT, drain, drained_outcomes
from benchmarks.measurement import Mode, Result, rate_figure
from benchmarks.options import Options
from benchmarks.running import Question, main
from benchmarks.stage import Stage
from benchmarks.task_types import LINES

__all__ = ["QUESTION"]

_POLL_SECONDS = 0.1


async def measure(mode: Mode, options: Options) -> Result:
    """Drain both kinds of queue in turn."""
    count = options.count(5_000 if mode == "fast" else 2_000, least=50)
    turns = options.turns(3)
    logging: list[float] = []
    silent: list[float] = []
    async with Stage("run_logs", mode, options) as stage:
        await stage.executor(concurrency=IN_FLIGHT)
        await stage.api()
        database = await stage.database()
        for turn in range(turns):
            silent.append(await drain(stage, database, count, 2 * turn))
            logging.append(await drain(stage, database, count, 2 * turn + 1, task_type="bench_logging"))
            async with stage.measuring("lines, after the runs", count * LINES):
                await _all_lines(database, count * LINES * (turn + 1))
        outcomes = await drained_outcomes(stage, database, 2 * count * turns)
    return Result(
        question="run_logs",
        title=f"executions a second that log {LINES} lines each, one executor process",
        mode=mode,
        settings={"drained": count, "lines each": LINES, "in flight": IN_FLIGHT},
        figures=(
            rate_figure(
                f"drained, {LINES} lines each",
                logging,
                ceiling=silent,
                ceiling_is="the same, logging nothing",
            ),
        ),
        outcomes=outcomes,
        cpu=stage.cpu,
        operations=stage.operations,
        notes=tuple(stage.notes),
    )


async def _all_lines(database: asyncpg.Connection[asyncpg.Record], lines: int) -> None:
    """Wait until so many lines are in Postgres."""
    async with asyncio.timeout(180):
        while await database.fetchval("select count(*) from run_logs") < lines:  # noqa: ASYNC110 - nobody tells
            await asyncio.sleep(_POLL_SECONDS)


QUESTION = Question("run_logs", measure)

if __name__ == "__main__":
    sys.exit(main([QUESTION], __doc__))
