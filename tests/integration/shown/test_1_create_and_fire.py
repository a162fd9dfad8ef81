"""A task's whole way: created from outside, fired, run, and told everywhere alike."""

from __future__ import annotations

import asyncio
import json
import statistics
from typing import Any, Final

import asyncpg
import pytest

from gnomon_schemas.clock_text import format_instant, parse_slot_run
from gnomon_schemas.events import Executed
from tests.harness.events import Seen
from tests.harness.live import Live
from tests.harness.over_http import OverHttp, Sse
from tests.harness.read_models import caught_up
from tests.harness.world import World, now_ms, tell

pytestmark = pytest.mark.timeout(90)

RECURRING: Final = {"nats": "over-nats", "http": "over-http"}
ONCE: Final = {"nats": "once-over-nats", "http": "once-over-http"}
SLOTS: Final = 3


async def _create(world: World, http: OverHttp) -> None:
    """Two tasks by each way: one that fires every second, and one that fires once."""
    every_second = {"kind": "interval", "every_seconds": 1}
    in_three_seconds = {"kind": "once", "at": format_instant(now_ms() + 3000)}
    for way, create in (("nats", world.commands.create), ("http", http.create)):
        await create(RECURRING[way], schedule=every_second, overlap="allow", config={"by": way})
        await create(ONCE[way], schedule=in_three_seconds, config={"by": way})


async def _durable(world: World, task: str, count: int) -> dict[int, dict[str, Any]]:
    """The results of a task as nats-py alone reads them from the stream, by sequence."""
    js = world.commands.nc.jetstream()
    pull = await js.pull_subscribe(f"task.executed.*.{task}.*", stream="TASKS")
    try:
        messages = await pull.fetch(count, timeout=10)
    finally:
        await pull.unsubscribe()
    return {message.metadata.sequence.stream: json.loads(message.data) for message in messages}


async def _rows(dsn: str, task: str) -> dict[str, asyncpg.Record]:
    """The rows of a task's executions, by run."""
    connection = await asyncpg.connect(dsn)
    try:
        rows = await connection.fetch(
            "select * from executions where task_id = $1 and status = 'completed'", task
        )
        assert await connection.fetchval("select count(*) from tasks where task_id = $1", task) == 1
    finally:
        await connection.close()
    return {row["run"]: row for row in rows}


def _lateness(world: World, seen: Seen) -> float:
    """By how many seconds an execution began after its nominal time, by the broker's clock."""
    nominal = parse_slot_run(seen.run)
    assert nominal is not None
    started = world.events.of("started", seen.task_id, run=seen.run)[0]
    return started.time_ms / 1000 - nominal.timestamp()


async def test_tasks_created_over_nats_and_http_fire_and_are_told_everywhere(
    world: World, postgres_url: str
) -> None:
    """A task created over raw NATS and one over HTTP fire on time and run; what came of them is the same in Postgres,
    live on `task.*`, durably in `TASKS`, in server-sent events, and over HTTP."""
    live = await Live.open(world.broker.url, "task.*")
    await asyncio.gather(world.scheduler(), world.executor())
    api = await world.api(postgres_url)
    async with OverHttp.of(api) as http, Sse.read(http, event="executed") as sse:
        await _create(world, http)
        ends: list[Seen] = []
        for way in ("nats", "http"):
            ends += (await world.events.some(SLOTS, "executed", RECURRING[way]))[:SLOTS]
            ends += await world.events.some(1, "executed", ONCE[way])
        await caught_up(world, postgres_url)
        wanted = {seen.seq for seen in ends}
        told: dict[int, Any] = {}
        while not wanted <= told.keys():
            event = await sse.next()
            assert event.event == "task.executed"
            told[int(event.id)] = json.loads(event.data)
        await live.wait_for(lambda: wanted <= {heard.seq for heard in live.of("task.executed")})
        heard = {heard.seq: heard for heard in live.of("task.executed")}
        for seen in ends:
            assert isinstance(seen.event, Executed)
            stored = (await _durable(world, seen.task_id, SLOTS))[seen.seq]
            row = (await _rows(postgres_url, seen.task_id))[seen.run]
            way = "nats" if seen.task_id.endswith("nats") else "http"
            assert stored["status"] == "completed"
            assert stored["result"] == {"by": way}
            assert told[seen.seq] == stored
            assert heard[seen.seq].data == stored
            assert (
                heard[seen.seq].stored_subject
                == f"task.executed.{seen.subject.partition}.{seen.task_id}.{seen.run}"
            )
            assert (row["seq"], json.loads(row["result"])) == (seen.seq, stored["result"])
            assert row["scheduled_for"] == parse_slot_run(seen.run)
            shown = await http.get(f"/tasks/{seen.task_id}/executions", status="completed")
            assert stored["execution_id"] in {item["execution_id"] for item in shown["items"]}
        for way in ("nats", "http"):
            names = {heard.subject for heard in live.all if heard.data["task_id"] == ONCE[way]}
            assert {"task.created", "task.due", "task.started", "task.executed"} <= names
            assert (await http.get(f"/tasks/{ONCE[way]}"))["status"] == "completed"
    await live.close()
    audit = await world.settled()
    assert audit.outcomes == {"executed": audit.expected}, audit
    late = {
        way: [_lateness(world, seen) for seen in ends if seen.task_id == RECURRING[way]] for way in RECURRING
    }
    tell(f"late by {late} s; {audit}")
    for figures in late.values():
        assert min(figures) >= 0, "an execution began before its time"
        assert statistics.median(figures) < 0.5, figures
