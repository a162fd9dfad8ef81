"""How long does a page of a list take, whatever is asked for?

    .venv/bin/python -m benchmarks.lists [--fast | --sync] [--scale 0.1] [--full]

100,000 tasks and 1,000,000 executions; `--full`: 1,000,000 and 10,000,000 (see `made_lists.py` for how they are). Every
filter, alone and together with others, in every order, page after page, through the api's own code, from the query
string to the items, in this process; only HTTP is left out. Each page is asked for twice, and the second time counts:
plans and rows are in memory, as they are where lists are read all day. The plans of the slowest pages, and of each
filter in the usual order, are written to `lists-plans.txt` beside the results.
"""

from __future__ import annotations

import itertools
import sys
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from typing import Final, NamedTuple, TypeAlias
from urllib.parse import parse_qsl

import asyncpg

from benchmarks.made_lists import fill
from benchmarks.measurement import Mode, Result, percentile, time_figure
from benchmarks.options import Options
from benchmarks.running import Question, main
from benchmarks.stage import Stage
from benchmarks.usage import per_operation
from gnomon_api.database import PAGE_SETTINGS, Database
from gnomon_api.event_hub import EventHub
from gnomon_api.execution_views import EXECUTION_LISTS, ExecutionViews
from gnomon_api.identity import caller_of
from gnomon_api.queries import Lists, parse_list
from gnomon_api.task_views import TASK_LISTS, ItemList, TaskViews
from gnomon_core.runtime.clock import SystemClock

__all__ = ["QUESTION"]

_TASKS: Final = 100_000
_EXECUTIONS: Final = 1_000_000
_PAGES: Final = 3
_SLOWEST: Final = 12
_LONGEST_SECONDS: Final = 7200.0
_SERVER: Final = {"shared_buffers": "6GB", "effective_cache_size": "16GB", "max_wal_size": "8GB"}
"""As on a machine of 24 GB that has Postgres to itself; everything else as it comes."""

Params: TypeAlias = list[tuple[str, str]]
_TASK_FILTERS: Final[Sequence[str]] = (
    "",
    "status=scheduled",
    "status=running",
    "status=failed",
    "status=completed",
    "status=failed,cancelled",
    "user_id=u0",
    "user_id=u5",
    "user_id=u19000",
    "user_id=nobody",
    "task_type=type-0",
    "task_type=type-19",
    "task_type=none",
    "tag=tag-0",
    "tag=tag-299",
    "tag=tag-3,tag-290",
    "tag=none",
    "priority=urgent",
    "priority=medium",
    "priority=urgent,high",
    "template_id=template-3",
    "template_id=none",
    "metadata.team=team-3",
    "metadata.number=17",
    "metadata.number=99999",
    "created_after=2026-11-01T00:00:00Z",
    "created_before=2025-12-15T00:00:00Z",
    "created_after=2026-03-01T00:00:00Z&created_before=2026-03-02T00:00:00Z",
    "due_before=2026-09-25T00:00:00Z",
    "due_after=2027-03-15T00:00:00Z",
    "next_run_before=2026-11-20T12:01:00Z",
    "overdue=true",
    "q=balta",
    "q=ve",
    "q=veghyt",
    "q=balta kolta",
    "q=tag",
    "q=nothing",
    'q="balta balta"',
    "user_id=u0&status=failed",
    "user_id=u0&q=risk",
    "user_id=u0&tag=tag-200",
    "status=failed&tag=tag-50",
    "task_type=type-3&status=paused&priority=high",
)
_EXECUTION_FILTERS: Final[Sequence[str]] = (
    "",
    "status=completed",
    "status=failed",
    "status=running",
    "status=cancelled",
    "status=coalesced",
    "status=failed,timed_out",
    "status=queued,running,retrying",
    "task_id=T5",
    "task_id=T77777",
    "task_id=none",
    "task_id=T5&status=failed",
    "task_id=T5,T6,T77,T888",
    "user_id=u0",
    "user_id=u19000",
    "user_id=u3&status=failed",
    "task_type=type-0",
    "task_type=type-19",
    "task_type=none",
    "task_type=type-3&status=timed_out",
    "trigger=schedule",
    "trigger=webhook",
    "trigger=event",
    "executor=e-1000",
    "executor=e-3",
    "executor=none",
    "executor=e-1000&status=failed",
    "scheduled_after=2026-11-20T00:00:00Z",
    "scheduled_after=2026-09-20T00:00:00Z",
    "scheduled_before=2026-09-20T00:00:00Z",
    "scheduled_after=2026-09-20T00:00:00Z&scheduled_before=2026-09-20T01:00:00Z",
    "scheduled_after=2026-09-01T00:00:00Z&scheduled_before=2026-10-01T00:00:00Z",
    "scheduled_after=2026-09-01T00:00:00Z&scheduled_before=2026-10-01T00:00:00Z&user_id=u3",
    "scheduled_after=2026-09-01T00:00:00Z&scheduled_before=2026-10-01T00:00:00Z&task_id=T5",
    "scheduled_after=2026-09-01T00:00:00Z&scheduled_before=2026-10-01T00:00:00Z&status=failed",
    "user_id=u0&task_type=type-3&status=missed",
)


class _Timed(NamedTuple):
    """One page."""

    ms: float
    page: int
    params: Params
    lists: Lists


async def measure(mode: Mode, options: Options) -> Result:
    """Fill, then ask for every page."""
    grown = 10 if options.full else 1
    tasks = options.count(_TASKS * grown, least=1000)
    executions = options.count(_EXECUTIONS * grown, least=10_000)
    async with Stage("lists", mode, options, postgres_settings=_SERVER) as stage:
        connection = await asyncpg.connect(stage.database_url)
        begun = time.perf_counter()
        async with stage.measuring("row made, with its indexes", tasks + executions):
            await fill(connection, tasks, executions)
        filled = time.perf_counter() - begun
        size = await connection.fetchval("select pg_size_pretty(pg_database_size(current_database()))")
        before = stage.cpu_now()
        timed = await ask(stage.database_url, EventHub(stage.bus))
        # Each page was asked for twice.
        stage.cpu["page"] = per_operation(before, stage.cpu_now(), 2 * len(timed))
        stage.operations["page"] = 2 * len(timed)
        options.out.mkdir(parents=True, exist_ok=True)
        (options.out / "lists-plans.txt").write_text(await plans(connection, timed), encoding="utf-8")
        await connection.close()
    judged = mode == "fast" and options.full and options.scale >= 1
    figures = []
    for name, kept in (
        ("tasks", [one for one in timed if one.lists is TASK_LISTS]),
        ("executions", [one for one in timed if one.lists is EXECUTION_LISTS]),
    ):
        times = [one.ms for one in kept]
        usual = [one.ms for one in kept if ("sort", one.lists.default_sort) in one.params]
        figures += [
            time_figure(f"{name}, any order, p50", [percentile(times, 0.5)]),
            time_figure(f"{name}, any order, p95", [percentile(times, 0.95)], aim=20, judged=judged),
            time_figure(f"{name}, usual order, p95", [percentile(usual, 0.95)], aim=20, judged=judged),
            time_figure(f"{name}, slowest page", [max(times)]),
        ]
    slowest = sorted(timed, key=_ms, reverse=True)[:5]
    return Result(
        question="lists",
        title="pages of lists",
        mode=mode,
        settings={"tasks": tasks, "executions": executions, "pages": len(timed), "database": size},
        figures=tuple(figures),
        cpu=stage.cpu,
        operations=stage.operations,
        notes=(
            f"filled in {filled:,.0f} s",
            *(f"slow: {one.ms:,.0f} ms, {_text(one)}" for one in slowest),
        ),
    )


async def ask(url: str, hub: EventHub) -> list[_Timed]:
    """Every page, each timed as the api's own code answers it."""
    database = Database(url)
    await database.start()
    caller = caller_of(None)
    tasks, executions = TaskViews(database, SystemClock()), ExecutionViews(database, hub)
    try:
        return [
            *[
                one
                async for one in _pages(TASK_LISTS, _TASK_FILTERS, lambda given: tasks.list(given, caller))
            ],
            *[
                one
                async for one in _pages(
                    EXECUTION_LISTS, _EXECUTION_FILTERS, lambda given: executions.list(given, caller)
                )
            ],
        ]
    finally:
        await database.stop()


async def _pages(
    lists: Lists, filters: Sequence[str], listed: Callable[[Params], Awaitable[ItemList]]
) -> AsyncIterator[_Timed]:
    orders = [way + name for name in lists.sorts for way in ("", "-")]
    for text, order in itertools.product(filters, orders):
        asked: Params = [*parse_qsl(text), ("sort", order)]
        given = asked
        for page in range(1, _PAGES + 1):
            await listed(given)
            begun = time.perf_counter()
            items = await listed(given)
            yield _Timed((time.perf_counter() - begun) * 1e3, page, given, lists)
            if items.next_cursor is None:
                break
            given = [*asked, ("cursor", items.next_cursor)]


async def plans(connection: asyncpg.Connection[asyncpg.Record], timed: Sequence[_Timed]) -> str:
    """The plans of the slowest pages, and of each first page in the usual order."""
    await connection.execute("; ".join(f"set {name} to '{value}'" for name, value in PAGE_SETTINGS.items()))
    usual = [one for one in timed if one.page == 1 and ("sort", one.lists.default_sort) in one.params]
    told = []
    for one in [*sorted(timed, key=_ms, reverse=True)[:_SLOWEST], *usual]:
        query = parse_list(one.lists, one.params)
        rows = await connection.fetch(f"explain (analyze, buffers) {query.sql}", *query.values)
        told.append("\n".join([f"== {_text(one)}: {one.ms:.1f} ms", *(row[0] for row in rows), ""]))
    return "\n".join(told)


def _ms(one: _Timed) -> float:
    return one.ms


def _text(one: _Timed) -> str:
    """What was asked for, in words."""
    shown = "&".join(f"{name}={value}" for name, value in one.params if name != "cursor")
    return f"{one.lists.key.removesuffix('_id')}s?{shown}, page {one.page}"


QUESTION = Question("lists", measure, _LONGEST_SECONDS)

if __name__ == "__main__":
    sys.exit(main([QUESTION], __doc__))
