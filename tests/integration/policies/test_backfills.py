"""Backfills through api, scheduler and executor: counted, run a few at a time, cancelled; their leader is killed."""

from __future__ import annotations

import asyncio
from collections import Counter
from typing import Any, Final

import pytest

from gnomon_schemas.clock_text import format_instant
from gnomon_schemas.events import Executed, Started
from tests.harness.events import Seen
from tests.harness.over_http import OverHttp
from tests.harness.recorded import most_at_once
from tests.harness.waiting import until_async
from tests.harness.world import World

pytestmark = pytest.mark.timeout(90)

ANCHOR_MS: Final = 1_767_225_600_000
"""2026-01-01: its slots are older than any task."""
MINUTES: Final = {"kind": "interval", "every_seconds": 60, "anchor": format_instant(ANCHOR_MS)}
CONCURRENCY: Final = 3


def _span(first: int, beyond: int, **fields: Any) -> dict[str, Any]:
    """A span of so many minutes."""
    start, end = (format_instant(ANCHOR_MS + minute * 60_000) for minute in (first, beyond))
    return {"from": start, "to": end, **fields}


async def test_a_backfill_runs_what_is_missing_once_whoever_dies_meanwhile(
    world: World, postgres_url: str
) -> None:
    """First the count, which changes nothing; then all of a span, three at a time, with the leader killed amid it; then
    the gaps of a longer span, which are what the first one did not run; the last one is cancelled."""
    first, _, api = await asyncio.gather(world.scheduler(), world.executor(), world.api(postgres_url))
    async with OverHttp.of(api) as http:
        await http.create("t", task_type="sleep", config={"seconds": 0.15}, schedule=MINUTES)
        counted = await http.post("/tasks/t/backfill", _span(0, 12, only="all", dry_run=True))
        assert (counted["count"], len(counted["slots"]), counted["dry_run"]) == (12, 12, True)
        whole = await http.post("/tasks/t/backfill", _span(0, 12, only="all", concurrency=CONCURRENCY))
        await world.events.some(CONCURRENCY, "executed", "t")
        await first.kill()
        await world.scheduler()
        runs = await _through(world, whole["backfill_id"], 12)
        assert Counter(seen.name for seen in runs)["executed"] == 12
        assert {seen.run for seen in runs} == {
            f"b-{whole['backfill_id']}-{_slot(minute)}" for minute in range(12)
        }
        assert 1 < most_at_once(runs) <= CONCURRENCY
        lanes = {
            (seen.event.priority, seen.event.trigger) for seen in runs if isinstance(seen.event, Started)
        }
        assert lanes == {("low", "backfill")}
        gaps = await http.post("/tasks/t/backfill", _span(0, 15))
        assert gaps["slots"] == [format_instant(ANCHOR_MS + minute * 60_000) for minute in (12, 13, 14)]
        await _through(world, gaps["backfill_id"], 3)
        await _cancelled(world, http)
        found = await world.settled()
        # A minute may have begun meanwhile: its slot is live.
        ended = found.executed() + found.outcomes["skipped(cancelled)"]
        assert ended == found.expected + found.runs, found
        await until_async(lambda: _nothing_under_way(http))


async def _cancelled(world: World, http: OverHttp) -> None:
    """Begin a backfill of a thousand minutes, and stop it while its first ones run."""
    long = await http.post("/tasks/t/backfill", _span(0, 1000, only="all", concurrency=2))
    prefix = f"b-{long['backfill_id']}-"
    await world.events.wait_for(lambda: _executed(world, prefix), what="a run of the last backfill")
    answer = await http.client.delete(f"/tasks/t/backfills/{long['backfill_id']}")
    assert answer.status_code == 204, answer.text
    await world.settled()
    begun = {seen.run for seen in world.events.of("queued", "t") if seen.run.startswith(prefix)}
    assert len(begun) < 100, "it went on after it was cancelled"


async def _through(world: World, backfill: str, count: int) -> list[Seen]:
    """Wait until so many of a backfill's runs were executed; all events of its runs."""
    prefix = f"b-{backfill}-"
    await world.events.wait_for(
        lambda: len(_executed(world, prefix)) >= count, what=f"{count} runs of {prefix}"
    )
    return [seen for seen in world.events.of(task_id="t") if seen.run.startswith(prefix)]


def _executed(world: World, prefix: str) -> list[Executed]:
    found = [seen.event for seen in world.events.of("executed", "t") if seen.run.startswith(prefix)]
    return [event for event in found if isinstance(event, Executed)]


async def _nothing_under_way(http: OverHttp) -> bool:
    """Whether the task shows no backfill any more."""
    shown = await http.get("/tasks/t")
    return not shown["backfills"]


def _slot(minute: int) -> str:
    return format_instant(ANCHOR_MS + minute * 60_000).replace("-", "").replace(":", "").replace(".000", "")
