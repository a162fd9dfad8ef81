"""How long does a report over 30 days take at 10,000,000 executions?

    .venv/bin/python -m benchmarks.analytics [--fast | --sync] [--scale 0.1]

Postgres and the api's own code in this process. 1,000,000 tasks of 10,000 users are made by one statement; the hourly
rollups of 10,000,000 executions by the projector's own code, fed with made-up endings of runs, and copied. Each user
has a report made anew; what is kept for five minutes is not measured. The ceiling is the two statements that a
report needs, bare; and of the platform's, the slowest of its statements.
"""

from __future__ import annotations

import random
import sys
import time
from datetime import UTC, datetime, timedelta

import asyncpg
import msgspec

from benchmarks.measurement import Mode, Outcomes, Result, percentile, time_figure
from benchmarks.options import Options
from benchmarks.running import Question, main
from benchmarks.stage import Stage
from gnomon_api.analytics_queries import Analytics
from gnomon_api.database import Database
from gnomon_api.readmodels.rollups import Rollups
from gnomon_api.readmodels.sections.rollups import RollupSection
from gnomon_api.readmodels.statements import statement
from gnomon_core.runtime.clock import SystemClock
from gnomon_schemas.events import Executed
from gnomon_schemas.samples import samples

__all__ = ["QUESTION"]

_TASKS = 1_000_000
_EXECUTIONS = 10_000_000
_TASKS_A_USER = 100
_DAYS = 30
_TYPES = tuple(f"type-{number}" for number in range(5))
_ASKED = 200
_ROUNDS = 3
_TASKS_SQL = """
insert into tasks (task_id, user_id, partition, name, task_type, priority, tags, metadata, base_status, in_flight, task,
                   version, run_count, success_count, failure_count, consecutive_failures, created_at, updated_at,
                   deleted_at, seen_until, seq)
select 'task-' || n, 'user-' || n / $2, n % 8, 'Task ' || n, 'type-' || n % 5, 'medium', '[]', '{}',
       case n % 20 when 0 then 'paused' when 1 then 'completed' when 2 then 'failed' else 'scheduled' end, 0, '{}',
       1, 0, 0, 0, 0, now() - interval '60 days', now(), case when n % 25 = 24 then now() end, now(), n
from generate_series(0, $1 - 1) as n
"""
"""Tasks in many statuses; what a report does not look at is empty."""


async def measure(mode: Mode, options: Options) -> Result:
    """Fill the tables, then ask."""
    tasks = options.count(_TASKS, least=1000)
    users = tasks // _TASKS_A_USER
    executions = options.count(_EXECUTIONS, least=10_000)
    chance = random.Random(1)
    async with Stage("analytics", mode, options) as stage:
        connection = await stage.database()
        await connection.execute("set plan_cache_mode to force_custom_plan")  # as the api's are
        await connection.execute(_TASKS_SQL, tasks, _TASKS_A_USER, timeout=600)
        await fill(connection, executions, users, chance)
        await connection.execute("vacuum analyze", timeout=600)
        counted = await connection.fetchval(
            "select sum(completed + failed + timed_out + cancelled)::bigint from platform_rollups"
        )
        rows = await connection.fetchval("select count(*) from run_rollups")
        database = Database(stage.database_url)
        await database.start()
        try:
            analytics = Analytics(database, SystemClock())
            asked = [f"user-{chance.randrange(users)}" for _ in range(options.count(_ASKED, least=20))]
            await analytics.of_user(asked[0], _DAYS, "UTC", fresh=True)
            ours = []
            async with stage.measuring("report of a user", len(asked)):
                for user_id in asked:
                    begun = time.perf_counter()
                    await analytics.of_user(user_id, _DAYS, "Europe/Berlin", fresh=True)
                    ours.append(_ms_since(begun))
            bare = [await _bare(connection, user_id) for user_id in asked]
            platform = []
            for _ in range(options.turns(_ROUNDS)):
                begun = time.perf_counter()
                await analytics.of_platform(_DAYS, "Europe/Berlin", fresh=True)
                platform.append(_ms_since(begun))
        finally:
            await database.stop()
    judged = options.judged(mode)
    return Result(
        question="analytics",
        title=f"reports over {_DAYS} days",
        mode=mode,
        settings={"tasks": tasks, "executions": executions, "users": users, "rollup rows": rows},
        figures=(
            time_figure("a user's, p50", [percentile(ours, 0.5)], ceiling=[percentile(bare, 0.5)]),
            time_figure(
                "a user's, p95",
                [percentile(ours, 0.95)],
                ceiling=[percentile(bare, 0.95)],
                ceiling_is="its two statements alone",
                aim=50,
                judged=judged,
            ),
            time_figure("the platform's", platform),
        ),
        outcomes=Outcomes(expected=executions, recorded=counted, missed=executions - counted),
        cpu=stage.cpu,
        operations=stage.operations,
        notes=tuple(stage.notes),
    )


async def fill(
    connection: asyncpg.Connection[asyncpg.Record], executions: int, users: int, chance: random.Random
) -> None:
    """The rollups of so many executions, spread over all hours of the span and all users."""
    endings = [_ending(number) for number in range(20)]
    now = datetime.now(UTC).replace(minute=0, second=0, microsecond=0)
    hours = _DAYS * 24
    for number in range(hours):
        rollups = Rollups()
        hour = now - timedelta(hours=number)
        for _ in range(executions * (number + 1) // hours - executions * number // hours):
            rollups.executed(chance.choice(endings), f"user-{chance.randrange(users)}", hour)
            rollups.started("schedule", hour, hour + timedelta(milliseconds=chance.expovariate(1 / 20)))
        rollups.first_of_the_day(hour)
        rollups.created(hour, from_template=number % 3 == 0)
        records = (
            rollups.run_records(),
            rollups.platform_records(),
            rollups.hour_records(),
            rollups.latency_records(),
        )
        # Of another hour each time, so no row is there yet.
        for write, added in zip(RollupSection.writes, records, strict=True):
            await connection.copy_records_to_table(write.table, columns=write.columns, records=list(added))


def _ending(number: int) -> Executed:
    sample = samples()["task.executed"]
    assert isinstance(sample, Executed)
    return msgspec.structs.replace(
        sample,
        task_type=_TYPES[number % len(_TYPES)],
        status="failed" if number == 0 else "completed",
        duration_ms=100 + number,
        credits_consumed=number / 10,
    )


async def _bare(connection: asyncpg.Connection[asyncpg.Record], user_id: str) -> float:
    """Milliseconds of the two statements."""
    now = datetime.now(UTC)
    begun = time.perf_counter()
    await connection.fetch(statement("tasks_counted_of_user"), user_id)
    await connection.fetch(statement("runs_of_user_by_hour"), user_id, now - timedelta(days=_DAYS), now)
    return _ms_since(begun)


def _ms_since(begun: float) -> float:
    return (time.perf_counter() - begun) * 1e3


QUESTION = Question("analytics", measure)

if __name__ == "__main__":
    sys.exit(main([QUESTION], __doc__))
