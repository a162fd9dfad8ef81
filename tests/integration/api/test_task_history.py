"""What a task was: every change of it, and the whole of it at a past instant, over HTTP."""

from __future__ import annotations

import itertools
from typing import Any

import msgspec
import pytest
from msgspec import UNSET, UnsetType

from gnomon_schemas.clock_text import format_instant, instant_ms, slot_run
from gnomon_schemas.events import FieldChange
from gnomon_schemas.tasks import Task
from tests.integration.api.conftest import Running
from tests.integration.api.stories import Story, a_task

API = "/api/v1"
_numbers = itertools.count()
_LONG_AGO_MS = 1_790_000_000_000


async def store(running: Running, story: Story) -> list[int]:
    """Store a story's events as services do; their sequences, once the read models have them."""
    bus = running.api.services.bus
    seqs = [(await bus.store(one.subject, one.data, one.headers)).seq for one in story.stored]
    assert await running.api.services.projection.reached(seqs[-1], within=10)
    return seqs


async def a_life(running: Running) -> Task:
    """A task that was made, ran well, was changed, failed twice, was paused, resumed, and ended by itself."""
    task = a_task(f"was-{next(_numbers)}", at_ms=_LONG_AGO_MS)
    story = Story(at_ms=_LONG_AGO_MS)
    story.created(task)
    for number in range(3):
        run = slot_run(_LONG_AGO_MS // 1000 + 60 * (number + 1))
        story.now_ms = _LONG_AGO_MS + 60_000 * (number + 1)
        story.started(task, run)
        story.executed(task, run, status="failed" if number else "completed")
        if number == 0:
            changed = msgspec.structs.replace(task, priority="high", version=2, updated_at=story.now)
            story.updated(changed, _change("priority", "medium", "high"), command_id="c-up", by="u2")
            task = changed
    story.now_ms = _LONG_AGO_MS + 240_000
    paused = msgspec.structs.replace(task, paused=True, status="paused", version=3, updated_at=story.now)
    story.updated(paused, _change("paused", False, True), command_id="c-pause")
    story.status_changed(paused, "scheduled", "paused", "pause")
    story.now_ms = _LONG_AGO_MS + 300_000
    resumed = msgspec.structs.replace(task, version=4, updated_at=story.now)
    story.updated(resumed, _change("paused", True, False), command_id="c-resume")
    story.status_changed(resumed, "paused", "scheduled", "resume")
    story.now_ms = _LONG_AGO_MS + 360_000
    story.status_changed(resumed, "scheduled", "completed", "no_slot_left")
    await store(running, story)
    return task


def _change(field: str, old: Any, new: Any) -> FieldChange:
    return FieldChange(field=field, old=old, new=new)


async def history(running: Running, task: Task, **params: str) -> dict[str, Any]:
    response = await running.http.get(f"{API}/tasks/{task.task_id}/history", params=params)
    assert response.status_code == 200, response.text
    found: dict[str, Any] = response.json()
    return found


async def was(running: Running, task: Task, second: float) -> dict[str, Any]:
    """The task so many seconds after it was made."""
    at = format_instant(_LONG_AGO_MS + round(second * 1000))
    response = await running.http.get(f"{API}/tasks/{task.task_id}", params={"at": at})
    assert response.status_code == 200, response.text
    found: dict[str, Any] = response.json()
    return found


async def test_every_change_is_told_with_who_when_and_what(running: Running) -> None:
    task = await a_life(running)
    found = await history(running, task)
    told = [
        (one["version"], one["what"], one["user_id"], one["command_id"], [c["field"] for c in one["changes"]])
        for one in found["items"]
    ]
    assert told == [
        (4, "updated", None, None, ["status"]),
        (4, "updated", "u1", "c-resume", ["paused"]),
        (3, "updated", "u1", "c-pause", ["paused"]),
        (2, "updated", "u2", "c-up", ["priority"]),
        (1, "created", "u1", "c-create", []),
    ]
    assert found["next_cursor"] is None
    assert found["items"][0]["changes"] == [{"field": "status", "old": "scheduled", "new": "completed"}]
    assert found["items"][3]["changes"] == [{"field": "priority", "old": "medium", "new": "high"}]
    assert found["items"][3]["at"] == format_instant(_LONG_AGO_MS + 62_000)


@pytest.mark.parametrize(
    ("by", "shown"), [("admin-7", "admin-7"), (None, None), (UNSET, "u1")], ids=["admin", "service", "before"]
)
async def test_who_deleted_a_task_is_told(
    running: Running, by: str | UnsetType | None, shown: str | None
) -> None:
    """Not its owner, where it was somebody else; events of before did not say, and then it is taken to be the owner."""
    task = a_task(f"gone-{next(_numbers)}", at_ms=_LONG_AGO_MS)
    story = Story(at_ms=_LONG_AGO_MS)
    story.created(task)
    story.deleted(task, command_id="c-delete", by=by)
    await store(running, story)
    last = (await history(running, task))["items"][0]
    assert (last["what"], last["user_id"], last["command_id"]) == ("deleted", shown, "c-delete")


async def test_a_history_is_read_page_by_page_either_way_and_filtered(running: Running) -> None:
    task = await a_life(running)
    whole = (await history(running, task))["items"]
    for sort, expected in (("-at", whole), ("at", whole[::-1])):
        pages, cursor = [], None
        while True:
            page = await history(
                running, task, sort=sort, limit="2", **({"cursor": cursor} if cursor else {})
            )
            pages += page["items"]
            cursor = page["next_cursor"]
            if cursor is None:
                break
        assert pages == expected
    assert [one["version"] for one in (await history(running, task, field="priority,status"))["items"]] == [
        4,
        2,
    ]
    assert [one["version"] for one in (await history(running, task, user_id="u2"))["items"]] == [2]


async def test_what_is_asked_wrongly_of_a_history_is_refused_by_name(running: Running) -> None:
    task = await a_life(running)
    for name, value in (("limit", "0"), ("sort", "version"), ("cursor", "x"), ("filed", "a")):
        response = await running.http.get(f"{API}/tasks/{task.task_id}/history", params={name: value})
        assert response.status_code == 422, response.text
        assert response.json()["errors"][0]["pointer"] == f"#/{name}"
    assert (await running.http.get(f"{API}/tasks/none-such/history")).status_code == 404


async def test_a_task_as_it_was_at_any_instant_of_its_life(running: Running) -> None:
    task = await a_life(running)
    seen = {second: await was(running, task, second) for second in (1, 60.5, 63, 130, 190, 241, 302, 400)}
    assert {s: one["status"] for s, one in seen.items()} == {
        1: "scheduled",
        60.5: "running",
        63: "scheduled",
        130: "scheduled",
        190: "scheduled",
        241: "paused",
        302: "scheduled",
        400: "completed",
    }
    assert {s: one["version"] for s, one in seen.items()} == {
        1: 1, 60.5: 1, 63: 2, 130: 2, 190: 2, 241: 3, 302: 4, 400: 4
    }  # fmt: skip
    assert {s: (one["run_count"], one["success_count"], one["failure_count"]) for s, one in seen.items()} == {
        1: (0, 0, 0),
        60.5: (0, 0, 0),
        63: (1, 1, 0),
        130: (2, 1, 1),
        190: (3, 1, 2),
        241: (3, 1, 2),
        302: (3, 1, 2),
        400: (3, 1, 2),
    }
    assert [seen[s]["consecutive_failures"] for s in (63, 130, 190, 241, 302)] == [0, 1, 2, 2, 0]
    assert (seen[60.5]["priority"], seen[63]["priority"]) == ("medium", "high")
    assert seen[1]["last_execution"] is None
    assert seen[130]["last_execution"]["status"] == "failed"
    assert seen[130]["last_run_time"] == format_instant(_LONG_AGO_MS + 120_000)
    assert instant_ms(seen[1]["next_run_time"]) > _LONG_AGO_MS
    assert (seen[241]["next_run_time"], seen[400]["next_run_time"]) == (None, None)


async def test_a_task_that_is_gone_is_still_what_it_was_before(running: Running) -> None:
    task = await a_life(running)
    now = (await running.http.get(f"{API}/tasks/{task.task_id}")).json()
    later = Story(at_ms=_LONG_AGO_MS + 500_000)
    later.deleted(msgspec.structs.replace(task, version=4))
    await store(running, later)
    assert (await was(running, task, 499))["run_count"] == now["run_count"]
    assert (await history(running, task))["items"][0]["what"] == "deleted"
    for second, words in ((501.0, "was deleted at"), (-1.0, "was not there yet")):
        at = format_instant(_LONG_AGO_MS + round(second * 1000))
        response = await running.http.get(f"{API}/tasks/{task.task_id}", params={"at": at})
        assert response.status_code == 404
        assert words in response.json()["detail"]


async def test_an_instant_that_is_none_or_still_to_come_is_refused(running: Running) -> None:
    task = await a_life(running)
    for at in ("2099-01-01T00:00:00Z", "yesterday", "2026-09-21T09:00:00"):
        response = await running.http.get(f"{API}/tasks/{task.task_id}", params={"at": at})
        assert response.status_code == 422, response.text
        assert response.json()["errors"][0]["pointer"] == "#/at"
