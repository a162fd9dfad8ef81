"""How many fires a second does one scheduler process hand out, leading 8 shards?

    .venv/bin/python -m benchmarks.fires [--fast | --sync] [--scale 0.1]

A scheduler alone: an executor is announced by the benchmark and takes nothing, so the dues stay in the queue, where
they are counted. More interval tasks of one second than it can serve; from the first slot's instant until the last
due is stored, by the broker's clock. The bare loop stores the very same messages again, in atomic batches, as many
batches at a time as there are shards.
"""

from __future__ import annotations

import asyncio
import sys

import msgspec

from benchmarks.announced import announced
from benchmarks.callers import NewTask, created_before, first_slot, text, until_ms
from benchmarks.ceilings import Message
from benchmarks.measurement import Mode, Outcomes, Result, Series, rate_figure, rate_over_time
from benchmarks.options import Options
from benchmarks.running import Question, main
from benchmarks.stage import PARTITIONS, Stage
from gnomon_core.runtime.messages import Stored
from gnomon_schemas.subjects import DUE_STREAM

__all__ = ["QUESTION"]

_SLOTS = 8
_BATCH = 500
_POLL_SECONDS = 0.1
_BARE_STREAM = "bare_work"


async def measure(mode: Mode, options: Options) -> Result:
    """Each round on a stage of its own."""
    slots = max(2, round(_SLOTS * min(options.scale, 1.0)))
    busy = min(1.0, options.scale * _SLOTS / slots)
    tasks = max(20, round((20_000 if mode == "fast" else 10_000) * busy))
    ours: list[float] = []
    bare: list[float] = []
    expected = recorded = doubled = 0
    for _ in range(options.turns(2)):
        async with Stage("fires", mode, options, postgres=False) as stage, announced(stage):
            await stage.scheduler()
            start = await register(stage, tasks, slots)
            async with stage.measuring("fire", tasks * slots):
                await all_fired(stage, start + (slots - 1) * 1000, tasks * slots)
            dues = [due async for due in stage.bus.scan(DUE_STREAM, "task.due.>")]
            ours.append(len(dues) / (max(due.time_ms for due in dues) - start) * 1000)
            again = [as_bare(due) for due in dues]
            bare.append(len(again) / await stage.bare.batches(again, _BATCH, PARTITIONS))
        distinct = len({msgspec.json.decode(due.data, type=_Named).execution_id for due in dues})
        expected, recorded = expected + tasks * slots, recorded + distinct
        doubled += len(dues) - distinct
        series = series_of(dues)
    outcomes = Outcomes(
        expected=expected, recorded=recorded, missed=expected - recorded, doubled=doubled, details="dues"
    )
    outcomes.insist()
    return Result(
        question="fires",
        title=f"fires a second, one scheduler process, {PARTITIONS} shards",
        mode=mode,
        settings={"tasks": tasks, "slots each": slots, "shards": PARTITIONS},
        figures=(
            rate_figure(
                "fires",
                ours,
                ceiling=bare,
                ceiling_is=f"the same messages in batches of {_BATCH}, {PARTITIONS} at a time",
                aim=12_000,
                judged=options.judged(mode),
            ),
        ),
        outcomes=outcomes,
        cpu=stage.cpu,
        operations=stage.operations,
        notes=tuple(stage.notes),
        series=series,
    )


class _Named(msgspec.Struct):
    execution_id: str


async def register(stage: Stage, tasks: int, slots: int) -> float:
    """Create the tasks; the instant of their first slot, which is close when this returns."""
    start = await first_slot(stage, tasks)
    schedule = {
        "kind": "interval",
        "every_seconds": 1,
        "anchor": text(start - 1000),
        "start_at": text(start),
        "end_at": text(start + slots * 1000),
    }
    await created_before(stage, [NewTask.of(schedule=schedule) for _ in range(tasks)], start, None)
    return start


async def all_fired(stage: Stage, last_ms: float, expected: int) -> None:
    """Wait until the watermark of every shard has passed the last slot."""
    await until_ms(last_ms)
    async with asyncio.timeout(180):
        while await stage.due_messages() < expected:  # noqa: ASYNC110 - only asking tells
            await asyncio.sleep(_POLL_SECONDS)
        while not await stage.passed(last_ms):  # noqa: ASYNC110 - only asking tells
            await asyncio.sleep(_POLL_SECONDS)


def as_bare(due: Stored) -> Message:
    """The same message, for a stream of the bare loops."""
    tail = due.subject.partition(".")[2]
    headers = {name: value for name, value in due.headers.items() if not name.startswith("Nats-")}
    return Message(f"{_BARE_STREAM}.{tail}", due.data, headers)


def series_of(dues: list[Stored]) -> tuple[Series, ...]:
    """Fires over time."""
    return (rate_over_time("dues stored", [float(due.time_ms) for due in dues]),)


QUESTION = Question("fires", measure)

if __name__ == "__main__":
    sys.exit(main([QUESTION], __doc__))
