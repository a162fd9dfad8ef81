"""1,000 interval tasks of one second, `overlap: allow`: is every slot executed once, and how late?

    .venv/bin/python -m benchmarks.intervals [--fast | --sync] [--scale 0.1]

One process of each kind. Intervals are anchored at whole seconds, so *in phase* all tasks are due at the same
instants, a thousand each second; *spread*, `jitter_seconds: 1` moves each slot within its second. Late is told three
ways: until the due is stored (the scheduler's part), until the claim is stored (a start, as `lateness_ms` has
it), and the bare loop's claim of as many messages, stored at one instant or spread as evenly.
"""

from __future__ import annotations

import asyncio
import sys
from typing import NamedTuple

from benchmarks.callers import NewTask, created_before, first_slot, now_ms, ran_out, text
from benchmarks.ceilings import BareStreams
from benchmarks.lateness import DuesHeard, of_starts
from benchmarks.measurement import Figure, Mode, Result, percentile, quantiles, time_figure
from benchmarks.options import Options
from benchmarks.recorded import projected, read_log, settle
from benchmarks.running import Question, main
from benchmarks.stage import Stage

__all__ = ["QUESTION"]

IN_FLIGHT = 200
_AIMS = {"p50": (0.5, 8.0), "p99": (0.99, 60.0)}
_BARE_SECONDS = 10
_IN_PHASE, _SPREAD = "in phase", "spread"


class Late(NamedTuple):
    """Milliseconds, of each slot."""

    dues: list[float]
    starts: list[float]
    bare: list[float]


async def measure(mode: Mode, options: Options) -> Result:
    """In phase, then spread."""
    # With fsync a bare loop claims and finishes fewer than 1,000 a second, and a full queue says nothing of lateness.
    count = options.count(1_000 if mode == "fast" else 100, least=10)
    seconds = max(3, options.count(60))
    late: dict[str, Late] = {}
    async with Stage("intervals", mode, options) as stage:
        await stage.everything(concurrency=IN_FLIGHT)
        database = await stage.database()
        before = 0
        for name, jitter in ((_IN_PHASE, 0), (_SPREAD, 1)):
            start = await first_slot(stage, count)
            schedule = {
                "kind": "interval",
                "every_seconds": 1,
                "anchor": text(start - 1000),
                "start_at": text(start),
                "end_at": text(start + seconds * 1000),
                "jitter_seconds": jitter,
            }
            tasks = [NewTask.of(schedule=schedule) for _ in range(count)]
            await created_before(stage, tasks, start, database)
            async with DuesHeard.on(stage) as dues, stage.measuring(f"execution, {name}", count * seconds):
                await ran_out(stage, start + (seconds - 1 + jitter) * 1000)
                await projected(stage, database)
            log = await read_log(stage)
            bare = await (bare_in_phase if name == _IN_PHASE else bare_spread)(stage.bare, count, seconds)
            late[name] = Late(dues.lateness(), of_starts(log[before:]), bare)
            before = len(log)
        outcomes = await settle(log, now_ms(), 2 * count * seconds, database)
    series = []
    for name, found in late.items():
        series += [
            quantiles(f"{name}: start", found.starts),
            quantiles(f"{name}: due stored", found.dues),
            quantiles(f"{name}: bare loop", found.bare, ceiling=True),
        ]
    return Result(
        question="intervals",
        title=f"{count:,} interval tasks of 1 s for {seconds} s",
        mode=mode,
        settings={"tasks": count, "seconds": seconds, "in flight": IN_FLIGHT},
        figures=tuple(
            figure for name, found in late.items() for figure in figures_of(name, found, options.judged(mode))
        ),
        outcomes=outcomes,
        cpu=stage.cpu,
        operations=stage.operations,
        notes=tuple(stage.notes),
        series=tuple(series),
    )


def figures_of(name: str, late: Late, judged: bool) -> list[Figure]:
    """Median and 99th percentile of starts and of dues."""
    return [
        time_figure(
            f"{name}: {what} late, {which}",
            [percentile(values, share)],
            ceiling=[percentile(late.bare, share)],
            ceiling_is="bare loop: work stored to claim stored",
            aim=aim,
            judged=judged,
        )
        for what, values in (("start", late.starts), ("due stored", late.dues))
        for which, (share, aim) in _AIMS.items()
    ]


async def bare_in_phase(streams: BareStreams, count: int, seconds: int) -> list[float]:
    """As many at one instant, once a second."""
    late: list[float] = []
    for _ in range(min(seconds, _BARE_SECONDS)):
        late += await streams.claims_after(count, IN_FLIGHT)
        await asyncio.sleep(0.3)
    return late


async def bare_spread(streams: BareStreams, count: int, seconds: int) -> list[float]:
    """As many a second, evenly."""
    seconds = min(seconds, _BARE_SECONDS)
    return await streams.claims_spread(count * seconds, seconds)


QUESTION = Question("intervals", measure)

if __name__ == "__main__":
    sys.exit(main([QUESTION], __doc__))
