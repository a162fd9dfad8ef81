"""A schedule with `max_runs` as the api sees it: what is left of it, and slots that are none any more."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from gnomon_schemas.clock_text import slot_run
from gnomon_schemas.tasks import Task
from tests.integration.api.conftest import Running
from tests.integration.api.stories import EVERY_MINUTE, START_MS, Story, a_task
from tests.integration.api.test_explain import store
from tests.integration.api.test_ledger import audited, handed_out, minutes, names


async def a_story(running: Running, task_id: str, *, ran: int) -> tuple[Task, Story]:
    """A task of which three slots may run: the first was skipped, then some ran."""
    task = a_task(task_id, schedule=msgspec.structs.replace(EVERY_MINUTE, max_runs=3), runs_left=3)
    story = Story(at_ms=START_MS)
    story.created(task)
    story.now_ms = minutes(task)[0]
    story.skipped(task, slot_run(minutes(task)[0] // 1000))
    for at_ms in minutes(task)[1 : 1 + ran]:
        story.now_ms = at_ms
        story.started(task, slot_run(at_ms // 1000))
        story.executed(task, slot_run(at_ms // 1000))
    await handed_out(running, task)
    await store(running, story)
    return task, story


async def read(running: Running, path: str) -> dict[str, Any]:
    response = await running.http.get(f"/api/v1/tasks/{path}")
    assert response.status_code == 200, response.text
    found: dict[str, Any] = response.json()
    return found


@pytest.mark.asyncio(loop_scope="module")
async def test_what_is_left_is_counted_and_next_shows_no_more(running: Running) -> None:
    task, _ = await a_story(running, "two-of-three", ran=2)
    shown = await read(running, task.task_id)
    assert (shown["runs_left"], shown["next_run_time"] is None) == (1, False)
    assert len((await read(running, f"{task.task_id}/next?count=5"))["fires"]) == 1
    # Nobody says that the others were handed out, and they are no runs yet.
    found = await audited(running, task)
    assert names(found, "missing") == [slot_run(at_ms // 1000) for at_ms in minutes(task)[3:]]


@pytest.mark.asyncio(loop_scope="module")
async def test_after_the_last_run_nothing_is_expected_any_more(running: Running) -> None:
    task, _ = await a_story(running, "three-of-three", ran=3)
    shown = await read(running, task.task_id)
    assert (shown["runs_left"], shown["next_run_time"]) == (0, None)
    assert (await read(running, f"{task.task_id}/next"))["fires"] == []
    found = await audited(running, task)
    assert (found["sound"], found["expected"], found["pending"]) == (True, 4, 0)
    assert found["outcomes"] == {"executed": 3, "skipped": 1, "missed": 0, "coalesced": 0}
    response = await running.http.get("/api/v1/tasks")
    assert {one["task_id"]: one["runs_left"] for one in response.json()["items"]}[task.task_id] == 0


@pytest.mark.asyncio(loop_scope="module")
async def test_a_preview_shows_no_more_than_may_run(running: Running) -> None:
    body = {"schedule": {"kind": "interval", "every_seconds": 60, "max_runs": 2}, "count": 9}
    response = await running.http.post("/api/v1/schedules/preview", json=body)
    assert len(response.json()["fires"]) == 2
