"""The main job: two hundred tasks call a service at their times, while schedulers and executors are killed at random.

What each task should have done is worked out here by arithmetic on whole seconds and by the zones' wall clocks, with
nothing of Gnomon's own timing: a cron of the kind used here fires at every multiple of some seconds, wherever it is,
as long as its minutes and hours, which are written in its zone's wall time, cover the test.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Any, Final
from zoneinfo import ZoneInfo

import asyncpg

from gnomon_schemas.clock_text import format_instant, instant_ms, slot_run
from gnomon_schemas.events import Created
from tests.harness.hand import Hand
from tests.harness.over_http import OverHttp
from tests.harness.read_models import differences, end_everything
from tests.harness.target import Target
from tests.harness.world import World, now_ms, tell

__all__ = ["MainJob", "main_job"]

ZONES: Final = (
    "America/St_Johns",  # 3 h 30 min behind, or 2 h 30 min
    "Europe/Berlin",
    "Asia/Kathmandu",  # 5 h 45 min ahead
    "Australia/Lord_Howe",  # moves by half an hour
    "Pacific/Chatham",  # 12 h 45 min ahead, or 13 h 45 min
)
CRON_STEPS: Final = (10, 12, 15)
INTERVALS: Final = (5, 6, 7, 8)
CRONS_A_ZONE: Final = 20
INTERVAL_TASKS: Final = 70
ONE_SHOTS: Final = 30
SETTLE_SECONDS: Final = 90


@dataclass(frozen=True)
class Job:
    """A task, and how to tell its slots."""

    task: str
    schedule: dict[str, Any]
    fires: Callable[[int, int], bool]
    """Whether it fires at a second, given the second in which it was created."""


def _multiple(step: int, second: int, _: int) -> bool:
    return second % step == 0


def _periodic(every: int, second: int, created: int) -> bool:
    return (second - created) % every == 0


def _at(at: int, second: int, _: int) -> bool:
    return second == at


class MainJob:
    """The tasks."""

    def __init__(self, world: World, target: Target, seconds: int, seed: int) -> None:
        self.world, self.target, self.seconds = world, target, seconds
        self._random = random.Random(seed)
        self.jobs: list[Job] = []

    async def create(self, http: OverHttp) -> None:
        """The tasks: half of them over HTTP, half over NATS."""
        begin = now_ms() // 1000 + 10
        self.jobs = [*self._crons(begin), *self._intervals(), *self._one_shots(begin)]
        turn = asyncio.Semaphore(20)

        async def create(number: int, job: Job) -> None:
            spec = {
                "task_type": "http_request",
                "schedule": job.schedule,
                "overlap": "allow",
                "config": {
                    "method": "POST",
                    "url": f"{self.target.url}/{job.task}",
                    "body": {"task": job.task},
                },
            }
            async with turn:
                await (http.create if number % 2 else self.world.commands.create)(job.task, **spec)

        await asyncio.gather(*(create(number, job) for number, job in enumerate(self.jobs)))

    def expected(self, until: int) -> set[str]:
        """The idempotency keys of all slots up to a second."""
        created = {
            seen.task_id: instant_ms(seen.event.created_at) // 1000
            for seen in self.world.events.of("created")
            if isinstance(seen.event, Created)
        }
        return {
            f"{job.task}.{slot_run(second)}"
            for job in self.jobs
            for second in range(created[job.task] + 1, until + 1)
            if job.fires(second, created[job.task])
        }

    # -- tasks -----------------------------------------------------------------------------------------

    def _crons(self, begin: int) -> list[Job]:
        found: list[Job] = []
        for zone in ZONES:
            for number in range(CRONS_A_ZONE):
                step = CRON_STEPS[number % len(CRON_STEPS)]
                schedule = {
                    "kind": "cron",
                    "expression": self._expression(step, zone, begin),
                    "timezone": zone,
                }
                task = f"cron-{zone.rpartition('/')[2]}-{number}"
                found.append(Job(task, schedule, partial(_multiple, step)))
        return found

    def _expression(self, step: int, zone: str, begin: int) -> str:
        """Every `step` seconds in those minutes, hours and weekdays of a zone that the test can last."""
        first = datetime.fromtimestamp(begin, UTC) - timedelta(minutes=2)
        minutes = range(4 + (self.seconds + SETTLE_SECONDS * 2) // 60)
        moments = [(first + timedelta(minutes=minute)).astimezone(ZoneInfo(zone)) for minute in minutes]
        texts = [
            ",".join(str(value) for value in sorted(set(values)))
            for values in (
                [moment.minute for moment in moments],
                [moment.hour for moment in moments],
                [moment.isoweekday() for moment in moments],
            )
        ]
        return f"*/{step} {texts[0]} {texts[1]} * * {texts[2]}"

    def _intervals(self) -> list[Job]:
        found: list[Job] = []
        for number in range(INTERVAL_TASKS):
            every = INTERVALS[number % len(INTERVALS)]
            schedule = {"kind": "interval", "every_seconds": every}
            found.append(Job(f"interval-{number}", schedule, partial(_periodic, every)))
        return found

    def _one_shots(self, begin: int) -> list[Job]:
        found: list[Job] = []
        for number in range(ONE_SHOTS):
            at = begin + self._random.randrange(self.seconds)
            schedule = {"kind": "once", "at": format_instant(at * 1000)}
            found.append(Job(f"once-{number}", schedule, partial(_at, at)))
        return found


@asynccontextmanager
async def _api(world: World, dsn: str) -> AsyncIterator[OverHttp]:
    async with OverHttp.of(await world.api(dsn)) as http:
        yield http


async def main_job(world: World, target: Target, dsn: str, *, seconds: int, seed: int) -> None:
    """Do the main job for so long, and check it: the key of every slot was seen and no other, no key more often than
    its execution was started, each execution has one recorded result, and Postgres tells the same."""
    tell(f"seed {seed}")
    job = MainJob(world, target, seconds, seed)
    hand = Hand(world, seed)
    await hand.start()
    async with _api(world, dsn) as http:
        await job.create(http)
        await hand.work_for(seconds)
        tell(f"ended: {', '.join(hand.ended)}")
        until = now_ms()
        audit = await world.settled(until, within=SETTLE_SECONDS)
        await end_everything(world, dsn)
    expected = job.expected(until // 1000)
    counts = target.counts()
    starts = {
        key: len(world.events.of("started", *key.split(".")[:1], run=key.split(".")[1])) for key in expected
    }
    repeated = {key: (counts[key], starts[key]) for key in expected if counts[key] > 1}
    tell(f"{audit}; {len(counts)} keys, {len(repeated)} seen more than once")
    assert audit.outcomes == {"executed": audit.expected}, audit
    assert audit.expected == len(expected)
    assert expected <= counts.keys(), sorted(expected - counts.keys())[:20]
    later = {key for key in counts.keys() - expected if key.split(".")[1] <= slot_run(until // 1000)}
    assert not later, f"called for slots that are none: {sorted(later)[:20]}"
    assert all(seen <= started for seen, started in repeated.values()), repeated
    assert await _recorded(dsn, expected) == dict.fromkeys(expected, "completed")
    assert await differences(world, dsn) == []


async def _recorded(dsn: str, keys: set[str]) -> dict[str, str]:
    """The status that Postgres has for each of these executions."""
    connection = await asyncpg.connect(dsn)
    try:
        rows = await connection.fetch(
            "select execution_id, status from executions where execution_id = any($1)", list(keys)
        )
    finally:
        await connection.close()
    return {row["execution_id"]: row["status"] for row in rows}
