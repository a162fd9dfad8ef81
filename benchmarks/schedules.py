"""A hundred thousand schedules, or with `--full` a million: registered, kept, loaded, taken over.

    .venv/bin/python -m benchmarks.schedules [--fast | --sync] [--full] [--scale 0.1]

Scheduler processes alone; an executor is announced by the benchmark. Daily crons, none of which fires within the next
three hours. *Registered*: commands published over NATS by one client, until the scheduler has them all; the bare loop
takes as many commands from a stream and stores two messages for each, in batches. *Memory*: resident, once all are
there, and of a process that has loaded them. *Cold start*: from the process's start until it leads every shard; the
bare loop reads every register. *Take-over*: a second scheduler has loaded everything and shares the shards; the first
is killed (SIGKILL): until the second leads all of them. Figures for fewer than a million say nothing about a million.
"""

from __future__ import annotations

import asyncio
import sys
import time
from collections.abc import Iterator

from benchmarks.announced import announced
from benchmarks.callers import NewTask, create, known_tasks
from benchmarks.measurement import Figure, Mode, Outcomes, Result, rate_figure, time_figure
from benchmarks.options import Options
from benchmarks.running import Question, main
from benchmarks.stage import PARTITIONS, Stage
from benchmarks.usage import resident_bytes
from gnomon_core.runtime.follower import Follower
from gnomon_core.runtime.messages import Stored
from gnomon_schemas.subjects import EVENTS_STREAM

__all__ = ["QUESTION"]

_FULL = 1_000_000
_USUAL = 100_000
_BARE_SHARE = 10
"""The bare registrations are a tenth as many."""
_BARE_BATCH = 200
_WITHIN = 800.0


async def measure(mode: Mode, options: Options) -> Result:
    """Register, weigh, start again, take over."""
    count = _FULL if options.full else options.count(_USUAL, least=500)
    async with Stage("schedules", mode, options, postgres=False) as stage, announced(stage):
        await stage.scheduler()
        async with stage.measuring("registration", count):
            took = await create(stage, crons(count), count=count, within=_WITHIN)
        registered = count / took
        memory = resident_bytes(stage.services["scheduler-1"].pid)
        bare_count = max(_BARE_BATCH, count // _BARE_SHARE)
        bare = bare_count / await stage.bare.registrations(bare_count, _BARE_BATCH)
        await stage.stop("scheduler-1")
        cold, loaded = await cold_start(stage, count)
        bare_load = await read_registers(stage, count)
        takeover, kept = await taken_over(stage, count)
        stored = await stage.count("state.task.*.*")
    outcomes = Outcomes(
        expected=count, recorded=min(stored, kept), missed=count - kept, details="schedules in memory"
    )
    outcomes.insist()
    judged = options.judged(mode) and options.full
    return Result(
        question="schedules",
        title=f"{count:,} schedules",
        mode=mode,
        settings={"schedules": count, "shards": PARTITIONS},
        figures=(
            rate_figure(
                "register over NATS",
                [registered],
                ceiling=[bare],
                ceiling_is=f"commands taken, 2 messages each stored in batches of {_BARE_BATCH} commands",
                aim=5_000,
                judged=judged,
            ),
            memory_figure("memory after registering", memory, judged),
            memory_figure("memory after loading", loaded, judged),
            time_figure(
                "cold start until all is led",
                [cold],
                unit="s",
                ceiling=[bare_load],
                ceiling_is="every register read",
                aim=30.0,
                judged=judged,
            ),
            time_figure("take-over by a warm standby", [takeover], unit="s", aim=2.0, judged=judged),
        ),
        outcomes=outcomes,
        cpu=stage.cpu,
        operations=stage.operations,
        notes=tuple(stage.notes),
    )


def memory_figure(name: str, resident: int, judged: bool) -> Figure:
    """Resident memory of one process."""
    return time_figure(name, [resident / 1e9], unit="GB", aim=1.5, judged=judged)


def crons(count: int) -> Iterator[NewTask]:
    """Daily crons, spread over the day, but for an hour behind and three before the present one."""
    hour = time.gmtime().tm_hour
    for number in range(count):
        at = (hour + 3 + number // 60 % 20) % 24
        yield NewTask.of(schedule={"kind": "cron", "expression": f"{number % 60} {at} * * *"})


async def cold_start(stage: Stage, count: int) -> tuple[float, int]:
    """Seconds from a scheduler's start until it leads every shard with every task, and its memory then."""
    begun = time.perf_counter()
    async with stage.measuring("schedule, cold start", count, profile=False):
        service = await stage.scheduler(2)
        took = time.perf_counter() - begun
    known = await known_tasks(stage)
    if known != count:
        raise RuntimeError(f"{count} schedules were stored and {known} are in memory after a start")
    return took, resident_bytes(service.pid)


async def read_registers(stage: Stage, count: int) -> float:
    """Seconds to read every task's register and make nothing of it."""
    seen = 0
    done = asyncio.Event()

    async def take(messages: list[Stored]) -> None:
        nonlocal seen
        seen += len(messages)
        if seen >= count:
            done.set()

    follower = Follower(stage.bus, EVENTS_STREAM, ["state.task.*.*"], handler=take, name="bare-load")
    begun = time.perf_counter()
    await follower.start()
    async with asyncio.timeout(_WITHIN):
        await done.wait()
    took = time.perf_counter() - begun
    await follower.stop()
    return took


async def taken_over(stage: Stage, count: int) -> tuple[float, int]:
    """Seconds from killing one of two schedulers until the other leads every shard; the tasks it then has."""
    await stage.scheduler(3)
    async with asyncio.timeout(120):
        while len(await _leaders(stage)) < 2:  # noqa: ASYNC110 - only asking tells
            await asyncio.sleep(0.1)
    begun = time.perf_counter()
    await stage.kill("scheduler-2")
    await stage.all_led()
    took = time.perf_counter() - begun
    return took, await known_tasks(stage)


async def _leaders(stage: Stage) -> set[str]:
    return {shard.leader for shard in await stage.shards()}


QUESTION = Question("schedules", measure)

if __name__ == "__main__":
    sys.exit(main([QUESTION], __doc__))
