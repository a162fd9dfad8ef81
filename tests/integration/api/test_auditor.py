"""The auditor: what it finds is told by its gauges, and a sign of life goes out while nothing is wrong, only then."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

import msgspec
import pytest
from nats.aio.msg import Msg

from gnomon_api.auditing import Auditing
from gnomon_api.auditor import Auditor, Heartbeat
from gnomon_api.task_heartbeats import TaskHeartbeats
from gnomon_core.runtime.guarded_http import AddressGuard, parse_networks
from gnomon_core.runtime.metrics import Meter, Metric
from gnomon_schemas.clock_text import slot_run
from gnomon_schemas.signals import SignOfLife
from gnomon_schemas.tasks import TaskHeartbeat
from tests.harness.waiting import until
from tests.integration.api.conftest import Running
from tests.integration.api.stories import START_MS, Story, a_task
from tests.integration.api.test_explain import store
from tests.integration.api.test_ledger import a_story, handed_out, minutes

PARTITIONS = 8
pytestmark = pytest.mark.asyncio(loop_scope="module")


class _Clock:
    """An hour after the stories begin."""

    def now_ms(self) -> int:
        return START_MS + 6 * 60_000

    def monotonic(self) -> float:
        return 0.0


@asynccontextmanager
async def a_watcher(status: str = "200 OK") -> AsyncIterator[tuple[str, list[str]]]:
    """Somebody else's service that is asked for signs of life: its address, and the requests that it got."""
    asked: list[str] = []

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        asked.append((await reader.readline()).decode().strip())
        while (await reader.readline()).strip():
            pass
        writer.write(f"HTTP/1.1 {status}\r\nContent-Length: 0\r\nConnection: close\r\n\r\n".encode())
        await writer.drain()
        writer.close()

    server = await asyncio.start_server(answer, "127.0.0.1", 0)
    try:
        yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/ping/abc", asked
    finally:
        server.close()
        await server.wait_closed()


def an_auditor(
    running: Running,
    meter: Meter,
    *,
    url: str = "",
    subject: str = "",
    of_tasks: TaskHeartbeats | None = None,
) -> Auditor:
    services = running.api.services
    auditing = Auditing(services.database, services.bus, services.projection, PARTITIONS)
    heartbeat = Heartbeat(services.bus, url, subject)
    return Auditor(
        auditing, heartbeat, _Clock(), meter, every_seconds=60, window_seconds=3600, of_tasks=of_tasks
    )


def gauge(meter: Meter) -> Callable[[Metric], float]:
    lines = dict(
        line.rsplit(" ", 1) for line in meter.render().decode().splitlines() if not line.startswith("#")
    )
    return lambda metric: float(lines[metric.value.name])


async def test_a_sign_of_life_goes_out_while_every_slot_is_in_order_and_only_then(running: Running) -> None:
    meter = Meter("api")
    task, story = await a_story(running, "watched", without=(3,))
    run = slot_run(minutes(task)[3] // 1000)
    await store(running, story)
    beats: asyncio.Queue[bytes] = asyncio.Queue()

    async def hear(message: Msg) -> None:
        beats.put_nowait(message.data)

    heard = await running.api.services.bus.subscribe("heart.beat", hear)
    async with a_watcher() as (url, asked):
        auditor = an_auditor(running, meter, url=url, subject="heart.beat")
        report = await auditor.audit()
        assert report is not None
        assert [slot.execution_id for slot in report.missing] == [f"watched.{run}"]
        assert asked == []
        assert beats.empty()
        assert gauge(meter)(Metric.LEDGER_MISSING) == 1
        late = Story(at_ms=minutes(task)[3])
        late.started(task, run)
        late.executed(task, run)
        await store(running, late)
        report = await auditor.audit()
        assert report is not None
        assert report.sound
        assert asked == ["GET /ping/abc HTTP/1.1"]
        async with asyncio.timeout(10):
            assert b'"sound":true' in await beats.get()
        assert gauge(meter)(Metric.LEDGER_MISSING) == 0
        assert gauge(meter)(Metric.LEDGER_AUDITED) == _Clock().now_ms() / 1000
    await heard.unsubscribe()


async def test_a_watcher_that_does_not_answer_well_stops_nothing(running: Running) -> None:
    async with a_watcher("503 Service Unavailable") as (url, asked):
        report = await an_auditor(running, Meter("api"), url=url).audit()
    assert report is not None
    assert report.sound
    assert len(asked) == 1


async def test_a_doubled_slot_is_told_by_its_gauge(running: Running) -> None:
    meter = Meter("api")
    task, story = await a_story(running, "twice")
    story.executed(task, slot_run(minutes(task)[1] // 1000))
    await store(running, story)
    report = await an_auditor(running, meter).audit()
    assert report is not None
    assert not report.sound
    assert gauge(meter)(Metric.LEDGER_DUPLICATE) == 1


async def test_the_duty_is_taken_by_an_api_process(running: Running) -> None:
    """By its lease: the first audit comes at once, of a window in which nothing is."""
    task = a_task("idle", schedule=None)
    story = Story()
    story.created(task)
    await handed_out(running, task)
    await store(running, story)
    meter = running.api.services.meter
    await until(lambda: gauge(meter)(Metric.LEDGER_AUDITED) > 0, within=20)


async def test_the_heartbeat_of_a_task_goes_out_while_its_slots_succeed_and_only_then(
    running: Running,
) -> None:
    """One that is in order, one whose last slot failed, one of which a slot is missing, one that is paused."""
    services = running.api.services
    beats: asyncio.Queue[tuple[str, bytes]] = asyncio.Queue()

    async def hear(message: Msg) -> None:
        beats.put_nowait((message.subject, message.data))

    heard = await services.bus.subscribe("gnomon.heartbeat.*", hear)
    async with a_watcher() as (url, asked):
        for name in ("well", "failing", "losing", "resting"):
            heartbeat = TaskHeartbeat(url=f"{url}/{name}", within_seconds=60)
            task = a_task(f"beats-{name}", heartbeat=heartbeat)
            story = Story(at_ms=START_MS)
            story.created(task)
            for number, at_ms in enumerate(minutes(task)):
                if (name, number) == ("losing", 2):
                    continue
                story.now_ms = at_ms
                run = slot_run(at_ms // 1000)
                story.started(task, run)
                failed = (name, number) == ("failing", 5)
                story.executed(task, run, status="failed" if failed else "completed")
            if name == "resting":
                story.status_changed(task, "scheduled", "paused")
            await handed_out(running, task)
            await store(running, story)
        guard = AddressGuard(parse_networks("127.0.0.0/8"))
        of_tasks = TaskHeartbeats(services.database, services.bus, _Clock(), guard)
        auditor = an_auditor(running, Meter("api"), of_tasks=of_tasks)
        assert await auditor.audit() is not None
        assert asked == ["GET /ping/abc/well HTTP/1.1"]
        async with asyncio.timeout(10):
            subject, data = await beats.get()
        assert subject == "gnomon.heartbeat.beats-well"
        last = f"beats-well.{slot_run(minutes(task)[5] // 1000)}"
        assert msgspec.json.decode(data, type=SignOfLife).last_success == last
        # Not more often than it says: the next round comes at once, by this clock.
        assert await auditor.audit() is not None
        assert len(asked) == 1
        assert beats.empty()
        # A guard without the network says so, and the sign on NATS goes out all the same.
        strict = TaskHeartbeats(services.database, services.bus, _Clock(), AddressGuard())
        assert await an_auditor(running, Meter("api"), of_tasks=strict).audit() is not None
        async with asyncio.timeout(10):
            assert (await beats.get())[0] == "gnomon.heartbeat.beats-well"
        assert len(asked) == 1
    await heard.unsubscribe()
