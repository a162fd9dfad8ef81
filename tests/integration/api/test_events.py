"""Server-sent events: live, resumed, with gaps told, and without waiting for slow readers."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import NamedTuple

import httpx
import msgspec
import pytest

from gnomon_api.event_hub import EventReader, LiveEvent, Wanted
from gnomon_core.runtime.kv import kv_delete, kv_put
from gnomon_schemas.codec import encode
from gnomon_schemas.members import PurgeFloor
from gnomon_schemas.subjects import ACCOUNTS_BUCKET, EVENTS_STREAM, PURGE_FLOOR_KEY, progress
from tests.integration.api.conftest import Running
from tests.integration.api.test_http_tasks import API, body, create, fresh_id, is_problem


class Sent(NamedTuple):
    """One server-sent event."""

    id: int | None
    event: str
    data: dict[str, object]


class Listener:
    """Reads a stream of events."""

    def __init__(self, response: httpx.Response) -> None:
        self._lines = response.aiter_lines()

    async def next_of(self, event: str) -> dict[str, object]:
        """The data of the next event, which must be of this name; ids that are no numbers are fine."""
        fields: dict[str, str] = {}
        async with asyncio.timeout(10):
            async for line in self._lines:
                if line == "" and "data" in fields:
                    assert fields["event"] == event, fields
                    found: dict[str, object] = msgspec.json.decode(fields["data"])
                    return found
                name, _, value = line.partition(": ")
                if name in ("event", "data"):
                    fields[name] = value
        raise AssertionError("the stream ended")

    async def next(self) -> Sent:
        """The next event; comments are passed over."""
        fields: dict[str, str] = {}
        async with asyncio.timeout(10):
            async for line in self._lines:
                if line == "" and "data" in fields:
                    seq = int(fields["id"]) if "id" in fields else None
                    return Sent(seq, fields["event"], msgspec.json.decode(fields["data"]))
                name, _, value = line.partition(": ")
                if name in ("id", "event", "data"):
                    fields[name] = value
        raise AssertionError("the stream ended")

    async def take(self, count: int) -> list[Sent]:
        return [await self.next() for _ in range(count)]

    async def opened(self) -> None:
        """Wait for the first comment: from here on the reader hears everything."""
        async with asyncio.timeout(5):
            async for line in self._lines:
                if line.startswith(":"):
                    return


@asynccontextmanager
async def listening(running: Running, *, after: int | None = None, **params: str) -> AsyncIterator[Listener]:
    headers = {} if after is None else {"Last-Event-ID": str(after)}
    async with running.http.stream("GET", f"{API}/events", params=params, headers=headers) as response:
        assert response.status_code == 200
        assert response.headers["content-type"].startswith("text/event-stream")
        listener = Listener(response)
        await listener.opened()
        yield listener


async def test_what_is_stored_is_heard_with_its_sequence(running: Running) -> None:
    async with listening(running) as listener:
        task = await create(running)
        sent = await listener.next()
        assert (sent.event, sent.data["task_id"]) == ("task.created", task["task_id"])
        assert sent.id == running.responder.last_seq
        stored = await running.api.services.bus.get(EVENTS_STREAM, sent.id)
        assert stored is not None
        assert msgspec.json.decode(stored.data) == sent.data


async def test_filters_by_event_and_task(running: Running) -> None:
    mine, other = fresh_id("mine"), fresh_id("other")
    async with listening(running, event="updated,task.deleted", task_id=f"{mine},nobody") as listener:
        for task_id in (other, mine):
            await create(running, task_id=task_id)
            await running.http.patch(f"{API}/tasks/{task_id}", json={"name": "New"})
            await running.http.delete(f"{API}/tasks/{task_id}")
        sent = await listener.take(2)
        assert [(one.event, one.data["task_id"]) for one in sent] == [
            ("task.updated", mine),
            ("task.deleted", mine),
        ]


async def test_filters_by_user(running: Running) -> None:
    async with listening(running, user_id="eve") as listener:
        await create(running)
        await running.http.post(f"{API}/tasks", json=body(), headers={"X-User-Id": "eve"})
        assert (await listener.next()).data["user_id"] == "eve"


async def test_a_last_event_id_resumes_without_gap_or_repetition(running: Running) -> None:
    first = await create(running)
    after = running.responder.last_seq
    missed = [await create(running) for _ in range(5)]
    async with listening(running, after=after, event="created") as listener:
        live = asyncio.create_task(create(running))
        sent = await listener.take(6)
        expected = [*(task["task_id"] for task in missed), (await live)["task_id"]]
        assert [one.data["task_id"] for one in sent] == expected
        assert first["task_id"] not in expected
        assert [one.id for one in sent] == sorted({one.id for one in sent if one.id})


async def test_resuming_under_load_misses_nothing(running: Running) -> None:
    """Events keep coming while a reader catches up; it must see each of them once."""
    await create(running)
    after = running.responder.last_seq
    stop = asyncio.Event()
    made: list[int] = []

    async def load() -> None:
        while not stop.is_set():
            await create(running)
            made.append(running.responder.last_seq)

    loading = asyncio.create_task(load())
    for _ in range(3):
        async with listening(running, after=after, event="created") as listener:
            seen = [(await listener.next()).id]
            while len(made) < 60 and (seen[-1] or 0) < after + 200:
                seen.append((await listener.next()).id)
        assert seen == sorted(set(seen), key=lambda one: one or 0)
        assert set(seen) >= {one for one in made if one <= (seen[-1] or 0)} - {None}
    stop.set()
    await loading


async def test_a_gap_is_told_when_what_was_missed_has_been_purged(running: Running) -> None:
    await create(running)
    after = running.responder.last_seq
    await create(running)
    floor = running.responder.last_seq + 1
    await create(running)
    created = (await running.api.services.bus.stream_info(EVENTS_STREAM)).created
    bus = running.api.services.bus
    await kv_put(bus, ACCOUNTS_BUCKET, PURGE_FLOOR_KEY, encode(PurgeFloor(created=created, sequence=floor)))
    try:
        async with listening(running, after=after, event="created") as listener:
            gap, following = await listener.take(2)
        assert (gap.event, gap.id, gap.data) == ("gap", None, {"after": after, "first_available": floor})
        assert following.id == running.responder.last_seq
        # Whoever has everything up to the floor has missed nothing.
        async with listening(running, after=floor - 1, event="created") as listener:
            assert (await listener.next()).event == "task.created"
        async with listening(running, after=10**15) as listener:
            assert (await listener.next()).event == "gap"
    finally:
        await kv_delete(bus, ACCOUNTS_BUCKET, PURGE_FLOOR_KEY)


async def test_progress_is_heard_without_an_id_and_shown_on_the_execution(running: Running) -> None:
    task_id = (await create(running))["task_id"]
    run = (await running.http.post(f"{API}/tasks/{task_id}/execute")).json()
    async with listening(running, event="progress") as listener:
        await running.api.services.bus.send(
            progress(task_id, run["run"]), encode({"fraction": 0.5, "message": "half"})
        )
        await running.api.services.bus.send(progress(task_id, run["run"]), b"]not json[")
        sent = await listener.next()
    assert (sent.id, sent.event) == (None, "task.progress")
    assert sent.data == {"fraction": 0.5, "message": "half"}
    read = (await running.http.get(f"{API}/executions/{run['execution_id']}")).json()
    assert read["progress"] == {"fraction": 0.5, "message": "half"}
    task = (await running.http.get(f"{API}/tasks/{task_id}")).json()
    (under_way,) = task["running"]
    assert (under_way["run"], under_way["status"]) == (run["run"], "queued")
    assert under_way["progress"] == {"fraction": 0.5, "message": "half"}
    sent_back = await running.http.patch(f"{API}/tasks/{task_id}", json=task)
    assert sent_back.status_code == 200, sent_back.text
    of_ann = {"fraction": 0.6, "user_id": "ann"}
    async with listening(running, event="progress", user_id="ann") as listener:
        subject = progress(task_id, run["run"])
        await running.api.services.bus.send(subject, encode({"fraction": 0.55, "user_id": "bob"}))
        await running.api.services.bus.send(subject, encode(of_ann))
        assert (await listener.next()).data == of_ann


@pytest.mark.parametrize(
    ("params", "headers", "code", "pointer"),
    [
        ({"event": "exploded"}, {}, "invalid", "#/event"),
        ({"task_id": "a.b"}, {}, "invalid_id", "#/task_id"),
        ({"tasks": "x"}, {}, "unknown_field", "#/tasks"),
        ({}, {"Last-Event-ID": "abc"}, "invalid", "#/Last-Event-ID"),
    ],
)
async def test_bad_wishes_are_refused(
    running: Running, params: dict[str, str], headers: dict[str, str], code: str, pointer: str
) -> None:
    response = await running.http.get(f"{API}/events", params=params, headers=headers)
    assert is_problem(response, 422, code)["errors"][0]["pointer"] == pointer


async def test_a_slow_reader_is_cut_and_not_buffered_for() -> None:
    reader = EventReader(Wanted(), limit=3)
    for seq in range(1, 4):
        reader.offer(LiveEvent(seq, "task.created", "T", "_", b"{}"))
    assert not reader.cut
    assert len(await reader.take(within=0)) == 3
    for seq in range(4, 9):
        reader.offer(LiveEvent(seq, "task.created", "T", "_", b"{}"))
    assert await reader.take(within=0) == []
    assert vars(reader)["cut"] is True


async def test_readers_that_leave_are_forgotten(running: Running) -> None:
    async with listening(running):
        assert running.api.services.hub.readers == 1
    async with asyncio.timeout(5):
        while running.api.services.hub.readers:
            await create(running)
