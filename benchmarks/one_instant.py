"""10,000 one-shots that are due at one instant: how long until the last has started?

    .venv/bin/python -m benchmarks.one_instant [--fast | --sync] [--scale 0.1]

One process of each kind. Started means: the broker has stored the execution's claim. The bare loop stores as much
work in batches and claims it, with results and acknowledgements beside it as with us.
"""

from __future__ import annotations

import sys

from benchmarks.callers import NewTask, created_before, first_slot, now_ms, ran_out, text
from benchmarks.lateness import of_starts
from benchmarks.measurement import Mode, Result, Series, percentile, quantiles, time_figure
from benchmarks.options import Options
from benchmarks.recorded import projected, read_log, settle
from benchmarks.running import Question, main
from benchmarks.stage import Stage

__all__ = ["QUESTION"]

IN_FLIGHT = 200
_BARE = "batches of 500 stored, fetched, claimed; result and ack beside it"


async def measure(mode: Mode, options: Options) -> Result:
    """Rounds of fresh tasks, each with the bare loop after it."""
    count = options.count(10_000 if mode == "fast" else 2_000, least=50)
    last: list[float] = []
    middle: list[float] = []
    bare_last: list[float] = []
    bare_middle: list[float] = []
    series: tuple[Series, ...] = ()
    async with Stage("one_instant", mode, options) as stage:
        await stage.everything(concurrency=IN_FLIGHT)
        database = await stage.database()
        asked = before = 0
        for _ in range(options.turns(3)):
            at_ms = await first_slot(stage, count)
            schedule = {"kind": "once", "at": text(at_ms)}
            tasks = [NewTask.of(schedule=schedule) for _ in range(count)]
            await created_before(stage, tasks, at_ms, database)
            async with stage.measuring("execution", count):
                await ran_out(stage, at_ms)
                await projected(stage, database)
            asked += count
            log = await read_log(stage)
            late = of_starts(log[before:])
            before = len(log)
            last.append(max(late) / 1000)
            middle.append(percentile(late, 0.5) / 1000)
            bare = await stage.bare.claims_after(count, IN_FLIGHT)
            bare_last.append(max(bare) / 1000)
            bare_middle.append(percentile(bare, 0.5) / 1000)
            series = (quantiles("due to claim stored", late), quantiles("bare loop", bare, ceiling=True))
        outcomes = await settle(log, now_ms(), asked, database)
    return Result(
        question="one_instant",
        title=f"{count:,} one-shots due at one instant",
        mode=mode,
        settings={"tasks": count, "in flight": IN_FLIGHT},
        figures=(
            time_figure(
                "until the last has started",
                last,
                unit="s",
                ceiling=bare_last,
                ceiling_is=_BARE,
                aim=3.0,
                judged=options.judged(mode),
            ),
            time_figure("until half have started", middle, unit="s", ceiling=bare_middle, ceiling_is=_BARE),
        ),
        outcomes=outcomes,
        cpu=stage.cpu,
        operations=stage.operations,
        notes=tuple(stage.notes),
        series=series,
    )


QUESTION = Question("one_instant", measure)

if __name__ == "__main__":
    sys.exit(main([QUESTION], __doc__))
