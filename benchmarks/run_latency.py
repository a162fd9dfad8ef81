"""From a run command's publish until its handler begins: how long, on an idle machine?

    .venv/bin/python -m benchmarks.run_latency [--fast | --sync] [--scale 0.1]

One process of each kind. A command is published, the handler's first line reads the clock (same machine, same clock),
and when the execution has ended, the bare relay has its turn: command stored and taken, a batch of three stored, work
stored and taken, a claim stored.
"""

from __future__ import annotations

import asyncio
import random
import secrets
import sys
import time

import msgspec
from nats.aio.msg import Msg

from benchmarks.callers import NewTask, create, now_ms
from benchmarks.measurement import Mode, Result, percentile, quantiles, time_figure
from benchmarks.options import Options
from benchmarks.recorded import projected, read_log, settle
from benchmarks.running import Question, main
from benchmarks.stage import Stage
from gnomon_schemas import headers as h
from gnomon_schemas import subjects
from gnomon_schemas.codec import decode_event
from gnomon_schemas.events import Executed

__all__ = ["QUESTION"]

_BARE = "command taken, batch of 3, work taken, claim stored"
_WARM_UP = 20
_PAUSE_SECONDS = (0.004, 0.012)
"""Drawn anew each time, so that nobody's timer falls into step with the callers."""


async def measure(mode: Mode, options: Options) -> Result:
    """One after another, in turn with the bare relay."""
    count = options.count(600, least=20)
    bare: list[float] = []
    async with Stage("run_latency", mode, options) as stage:
        await stage.everything()
        database = await stage.database()
        relay = await stage.bare.relay()
        task = NewTask.of(task_type="bench_clock", schedule=None)
        await create(stage, [task])
        caller = Caller(stage, task.task_id)
        await caller.open()
        draw = random.Random(7)
        for _ in range(_WARM_UP):
            await caller.run()
            await relay.run()
        caller.late.clear()
        async with stage.measuring("run, with its bare one", count):
            for _ in range(count):
                await asyncio.sleep(draw.uniform(*_PAUSE_SECONDS))
                await caller.run()
                await asyncio.sleep(draw.uniform(*_PAUSE_SECONDS))
                bare.append(await relay.run())
        await projected(stage, database)
        outcomes = await settle(await read_log(stage), now_ms(), count + _WARM_UP, database)
        await relay.close()
    return Result(
        question="run_latency",
        title="run command to handler start",
        mode=mode,
        settings={"runs": count},
        figures=tuple(
            time_figure(
                f"run to handler, {name}",
                [percentile(caller.late, share)],
                ceiling=[percentile(bare, share)],
                ceiling_is=_BARE,
                aim=aim,
                judged=options.judged(mode),
            )
            for name, share, aim in (("p50", 0.5, 6.0), ("p99", 0.99, 20.0))
        ),
        outcomes=outcomes,
        cpu=stage.cpu,
        operations=stage.operations,
        notes=tuple(stage.notes),
        series=(quantiles("run to handler", caller.late), quantiles("bare relay", bare, ceiling=True)),
    )


class _Began(msgspec.Struct):
    """Result of `bench_clock`."""

    began_ns: int


class Caller:
    """Runs one task on demand, again and again."""

    def __init__(self, stage: Stage, task_id: str) -> None:
        self._stage, self._subject = stage, subjects.command("task", "run", task_id)
        self._ended: asyncio.Queue[bytes] = asyncio.Queue()
        self.late: list[float] = []
        """Milliseconds from before the publish until the handler's first line."""

    async def open(self) -> None:
        """Listen for ends of executions."""
        await self._stage.nc.subscribe(subjects.live("task", "executed"), cb=self._take)
        await self._stage.nc.flush()

    async def run(self) -> None:
        """Publish a command, wait until its execution has ended. Raises RuntimeError for a result that is none."""
        command_id = secrets.token_hex(8)
        begun_ns = time.time_ns()
        await self._stage.nc.publish(self._subject, b"{}", headers={h.MSG_ID: command_id})
        async with asyncio.timeout(30):
            event = decode_event(await self._ended.get())
        if not isinstance(event, Executed) or event.run != f"r-{command_id}" or event.status != "completed":
            raise RuntimeError(f"another end was heard than that of {command_id}: {event}")
        began = msgspec.json.decode(event.result, type=_Began)
        self.late.append((began.began_ns - begun_ns) / 1e6)

    async def _take(self, message: Msg) -> None:
        self._ended.put_nowait(message.data)


QUESTION = Question("run_latency", measure)

if __name__ == "__main__":
    sys.exit(main([QUESTION], __doc__))
