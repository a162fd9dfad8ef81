"""What does a slot cost before anything is sent: schedules as arithmetic, in one process, without servers.

    .venv/bin/python -m benchmarks.arithmetic [--fast] [--scale 0.1]

CPU time, since nothing here waits. *One fire*: the next slot of an expression that is known, from the one before, over
expressions of all sorts and as many days as a shard meets again and again. *Parse and step*: an expression never seen,
until its first slot; the bare loop is croniter alone, on the very same text. *Heap*: schedules read from JSON, as
registers are, each with its next slot on a heap, in a fresh process: time, and what is resident then.
"""

from __future__ import annotations

import asyncio
import heapq
import os
import random
import statistics
import sys
import time
from collections.abc import Callable
from itertools import islice

import msgspec
from croniter import croniter

from benchmarks.measurement import Mode, Result, time_figure
from benchmarks.options import Options
from benchmarks.running import Question, main
from benchmarks.stage import ROOT
from benchmarks.usage import resident_bytes
from gnomon_core.timing import Timetable, next_fire, timetable
from gnomon_schemas.schedules import Cron, Schedule

__all__ = ["QUESTION"]

_NOW = 1_795_000_000  # 2026-11-18
_KNOWN = (
    *(
        "*/5 * * * *",
        "* * * * *",
        "*/10 * * * * *",
        "0 * * * *",
        "0 9 * * *",
        "30 2 * * *",
        "*/5 9-17 * * mon-fri",
    ),
    *("0 9 * * mon-fri", "15,45 8-20/4 * * *", "0 9 * * mon", "0 0 1,15 * *", "0 0 13 * 5"),
)
_ZONES = ("UTC", "Europe/Berlin")
_FIRES_EACH = 100
_WALKS = 20
"""So often are the same fires asked for in a round."""
_NEW = 1000
"""Expressions that are parsed in a round."""
_OF_CRONITER = 1.3
"""So many times as long as croniter alone may it take to parse and step."""
_SCHEDULES = 1_000_000
_EXPRESSIONS = 10_000
_HEAP = "heap"


async def measure(mode: Mode, options: Options) -> Result:
    """All three; the mode makes no difference."""
    turns = options.turns(5)
    fires = [one_fire() for _ in range(turns + 1)][1:]  # after the first, all days are known
    fresh = iter(expressions(options.count(_NEW) * turns, seed=1))
    parsed, alone = [], []
    for _ in range(turns):
        texts = list(islice(fresh, options.count(_NEW)))
        parsed.append(each_us(texts, lambda text: next_fire(Cron(expression=text, timezone="UTC"), _NOW)))
        alone.append(each_us(texts, lambda text: croniter(text, float(_NOW)).get_next(float)))
    count = options.count(_SCHEDULES, least=1000)
    seconds, gigabytes = await heap_in_a_process(count)
    judged = options.judged(mode)
    return Result(
        question="arithmetic",
        title=f"slots without servers; {count:,} schedules on a heap",
        mode=mode,
        settings={"schedules": count, "expressions": min(_EXPRESSIONS, count), "new expressions": _NEW},
        figures=(
            time_figure("one fire, expression known", fires, unit="µs", aim=2.0, judged=judged),
            time_figure(
                "parse and step",
                parsed,
                unit="µs",
                ceiling=alone,
                ceiling_is="croniter alone: the same text, one step",
                aim=_OF_CRONITER * statistics.median(alone),
                judged=judged,
            ),
            time_figure("heap built, CPU", [seconds], unit="s", aim=20.0, judged=judged),
            time_figure("heap, memory", [gigabytes], unit="GB", aim=1.2, judged=judged),
        ),
    )


def _walk(table: Timetable) -> None:
    at: int | None = _NOW
    for _ in range(_FIRES_EACH):
        assert at is not None, "none of these ends"
        at = table.next(at)


def one_fire() -> float:
    """Microseconds for the next slot after the one before, the mean over all known expressions.

    Known: it has been walked once. The first walk steps over days that nobody has asked for yet, and is not counted.
    """
    tables = [timetable(Cron(expression=text, timezone=zone)) for text in _KNOWN for zone in _ZONES]
    for table in tables:
        _walk(table)
    begun = time.process_time()
    for table in tables * _WALKS:
        _walk(table)
    return (time.process_time() - begun) / (len(tables) * _WALKS * _FIRES_EACH) * 1e6


def each_us(texts: list[str], ask: Callable[[str], float | None]) -> float:
    """Microseconds for one of them."""
    begun = time.process_time()
    for text in texts:
        ask(text)
    return (time.process_time() - begun) / len(texts) * 1e6


def expressions(count: int, seed: int) -> list[str]:
    """So many different expressions of the sorts that people write."""
    draw = random.Random(seed)
    found: dict[str, None] = {}
    while len(found) < count:
        minute, hour, day = draw.randrange(60), draw.randrange(24), draw.randrange(1, 29)
        found[
            draw.choice(
                (
                    f"{minute} {hour} * * *",
                    f"{minute} {hour} * * {draw.randrange(7)}",
                    f"{minute} {hour} * * 1-5",
                    f"{minute} {hour} {day} * *",
                    f"{minute} {hour} {day} {draw.randrange(1, 13)} *",
                    f"{minute}-59/{draw.randrange(2, 30)} {hour % 12}-{12 + hour % 12} * * *",
                    f"{minute},{draw.randrange(60)} * * * *",
                    f"{minute} {hour},{draw.randrange(24)} {day},{draw.randrange(1, 29)} * *",
                )
            )
        ] = None
    return list(found)


async def heap_in_a_process(count: int) -> tuple[float, float]:
    """CPU seconds and gigabytes of a fresh process that builds the heap."""
    command = (sys.executable, "-m", "benchmarks.arithmetic", _HEAP, str(count))
    process = await asyncio.create_subprocess_exec(*command, cwd=ROOT, stdout=asyncio.subprocess.PIPE)
    said, _ = await process.communicate()
    if process.returncode:
        raise RuntimeError(f"the process that builds the heap ended with exit code {process.returncode}")
    seconds, resident = msgspec.json.decode(said, type=tuple[float, int])
    return seconds, resident / 1e9


def build_heap(count: int) -> tuple[float, int]:
    """CPU seconds to build a heap of so many schedules, and the bytes that are resident then."""
    texts = expressions(min(_EXPRESSIONS, count), seed=2)
    raw = [msgspec.json.encode(Cron(expression=text, timezone="Europe/Berlin")) for text in texts]
    decode = msgspec.json.Decoder(Schedule).decode
    begun = time.process_time()
    heap: list[tuple[int, int]] = []
    schedules: list[Schedule] = []
    for number in range(count):
        schedule = decode(raw[number % len(raw)])
        slot = next_fire(schedule, _NOW)
        assert slot is not None, "none of these ends"
        schedules.append(schedule)
        heapq.heappush(heap, (slot, number))
    return time.process_time() - begun, resident_bytes(os.getpid())


QUESTION = Question("arithmetic", measure)

if __name__ == "__main__":
    if sys.argv[1:2] == [_HEAP]:
        sys.stdout.buffer.write(msgspec.json.encode(build_heap(int(sys.argv[2]))))
    else:
        sys.exit(main([QUESTION], __doc__))
