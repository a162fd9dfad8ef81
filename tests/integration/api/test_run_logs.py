"""What handlers log, over HTTP: read at once, page by page, followed, and never mixed up between attempts."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import httpx
import msgspec
import pytest

from gnomon_core.runtime.bus import connect
from gnomon_schemas import subjects
from gnomon_schemas.codec import encode
from gnomon_schemas.run_logs import LogLevel, RunLogLine, RunLogLines
from gnomon_schemas.tasks import Task
from tests.harness.waiting import until, until_async
from tests.integration.api.conftest import Running
from tests.integration.api.test_events import Listener
from tests.integration.api.test_http_tasks import API, create, is_problem

pytestmark = pytest.mark.asyncio(loop_scope="module")

RUN = "r-logged"


def lines(
    task_id: str, *numbers: int, claim: int = 10, attempt: int = 1, level: LogLevel = "info"
) -> RunLogLines:
    """Lines as an executor tells them."""
    return RunLogLines(
        execution_id=f"{task_id}.{RUN}",
        task_id=task_id,
        run=RUN,
        user_id="local",
        attempt=attempt,
        claim=claim,
        executor="e-1",
        lines=tuple(
            RunLogLine(
                n=n,
                at="2026-11-21T09:00:00.000Z",
                level=level,
                message=f"line {n}",
                details=msgspec.Raw(b'{"n":%d}' % n),
            )
            for n in numbers
        ),
    )


async def store(running: Running, told: RunLogLines) -> None:
    """Put lines into the stream, as an executor does."""
    api = running.api.services
    partition = subjects.partition_of(told.task_id, api.settings.partitions)
    await api.bus.store(subjects.run_log(partition, told.task_id, told.run), encode(told))


async def started(running: Running) -> Task:
    """A task with an execution under way."""
    task = running.responder.tasks[(await create(running, schedule=None))["task_id"]]
    await running.responder.start(task, RUN)
    return task


def path(task: Task) -> str:
    return f"{API}/executions/{task.task_id}.{RUN}/logs"


async def read(running: Running, task: Task, **params: Any) -> dict[str, Any]:
    response = await running.http.get(path(task), params=params)
    assert response.status_code == 200, response.text
    found: dict[str, Any] = response.json()
    return found


async def in_table(running: Running, task: Task) -> int:
    row = await running.api.services.database.fetchrow(
        "select count(*) as lines from run_logs where execution_id = $1", f"{task.task_id}.{RUN}"
    )
    assert row is not None
    return int(row["lines"])


async def test_lines_are_read_at_once_and_the_same_once_they_are_in_postgres(running: Running) -> None:
    task = await started(running)
    assert await read(running, task) == {"items": [], "next_cursor": None}
    await store(running, lines(task.task_id, 1, 2))
    await store(running, lines(task.task_id, 1, 2))  # sent again: its answer was lost
    await store(running, lines(task.task_id, 3, level="error"))
    at_once = (await read(running, task))["items"]
    assert [(line["id"], line["message"], line["level"], line["details"]) for line in at_once] == [
        ("10-1", "line 1", "info", {"n": 1}),
        ("10-2", "line 2", "info", {"n": 2}),
        ("10-3", "line 3", "error", {"n": 3}),
    ]
    await _until_in_table(running, task, 3)
    assert (await read(running, task))["items"] == at_once


async def _until_in_table(running: Running, task: Task, count: int) -> None:
    async def there() -> bool:
        return await in_table(running, task) == count

    await until_async(there)


async def test_attempts_and_levels_are_told_apart_and_pages_follow_each_other(running: Running) -> None:
    task = await started(running)
    await store(running, lines(task.task_id, 1, 2, 3, claim=10, attempt=1))
    await store(running, lines(task.task_id, 1, claim=20, attempt=2, level="warning"))
    await _until_in_table(running, task, 4)
    await store(running, lines(task.task_id, 2, 3, claim=20, attempt=2))
    whole = (await read(running, task))["items"]
    assert [line["id"] for line in whole] == ["10-1", "10-2", "10-3", "20-1", "20-2", "20-3"]
    assert [line["id"] for line in (await read(running, task, attempt=2))["items"]] == [
        "20-1",
        "20-2",
        "20-3",
    ]
    assert [line["id"] for line in (await read(running, task, level="warning,error"))["items"]] == ["20-1"]
    pages: list[list[str]] = []
    cursor: str | None = ""
    while cursor is not None:
        page = await read(running, task, limit=2, **({"cursor": cursor} if cursor else {}))
        pages.append([line["id"] for line in page["items"]])
        cursor = page["next_cursor"]
    assert pages == [["10-1", "10-2"], ["10-3", "20-1"], ["20-2", "20-3"]]


@asynccontextmanager
async def following(running: Running, task: Task, after: str = "", **params: str) -> AsyncIterator[Listener]:
    headers = {"Last-Event-ID": after} if after else {}
    async with running.http.stream(
        "GET", path(task), params={"follow": "true", **params}, headers=headers
    ) as response:
        assert response.status_code == 200, await response.aread()
        assert response.headers["content-type"].startswith("text/event-stream")
        yield Listener(response)


async def test_a_follower_gets_what_was_logged_what_is_being_logged_and_the_end(running: Running) -> None:
    task = await started(running)
    await store(running, lines(task.task_id, 1))
    async with following(running, task) as listener:
        assert (await listener.next_of("log"))["id"] == "10-1"
        await store(running, lines(task.task_id, 2, 3))
        assert [(await listener.next_of("log"))["message"] for _ in range(2)] == ["line 2", "line 3"]
        await running.responder.run_to_end(task, RUN)
        await store(running, lines(task.task_id, 4))  # its result was quicker
        assert (await listener.next_of("log"))["id"] == "10-4"
        assert await listener.next_of("end") == {"execution_id": f"{task.task_id}.{RUN}"}
    async with following(running, task, after="10-2", level="info") as listener:
        assert [(await listener.next_of("log"))["id"] for _ in range(2)] == ["10-3", "10-4"]
        await listener.next_of("end")


async def test_a_follower_misses_nothing_over_a_broken_connection(running: Running, nats_url: str) -> None:
    task = await started(running)
    bus = running.api.services.bus
    other = await connect(running.api.services.settings, name="other")
    async with following(running, task) as listener:
        await store(running, lines(task.task_id, 1))
        assert (await listener.next_of("log"))["id"] == "10-1"
        generation = bus.generation
        assert bus.nc._transport is not None
        bus.nc._transport.close()  # type: ignore[no-untyped-call]  # of nats-py
        await until(lambda: not bus.connected)
        told = lines(task.task_id, 2)
        partition = subjects.partition_of(task.task_id, running.api.services.settings.partitions)
        await other.store(subjects.run_log(partition, task.task_id, RUN), encode(told))
        assert (await listener.next_of("log"))["id"] == "10-2"
        assert bus.generation > generation
    await other.close()


@pytest.mark.parametrize(
    ("params", "pointer"),
    [
        ({"level": "loud"}, "#/level"),
        ({"attempt": "0"}, "#/attempt"),
        ({"limit": "501"}, "#/limit"),
        ({"cursor": "first"}, "#/cursor"),
        ({"follow": "yes"}, "#/follow"),
    ],
)
async def test_what_is_asked_wrongly_is_named(running: Running, params: dict[str, str], pointer: str) -> None:
    task = await started(running)
    response = await running.http.get(path(task), params=params)
    assert response.status_code == 422
    assert response.json()["errors"][0]["pointer"] == pointer


async def test_a_parameter_that_there_is_not_is_named(running: Running) -> None:
    task = await started(running)
    problem = is_problem(await running.http.get(path(task), params={"wait": "3"}), 422, "unknown_field")
    assert "'wait'" in problem["detail"]


async def test_an_execution_that_is_not_there_has_no_lines(running: Running) -> None:
    response: httpx.Response = await running.http.get(f"{API}/executions/nobody.r-1/logs")
    is_problem(response, 404, "not_found")
    response = await running.http.get(f"{API}/executions/a*b/logs")
    is_problem(response, 422, "invalid_id")
