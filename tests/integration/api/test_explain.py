"""Why a slot ran or did not, over HTTP: from the events that are stored, with their sequences."""

from __future__ import annotations

import itertools
from typing import Any

import httpx
import pytest

from gnomon_schemas import events as ev
from gnomon_schemas.clock_text import format_instant, instant_ms, slot_run
from gnomon_schemas.subjects import EVENTS_STREAM, chain
from gnomon_schemas.tasks import Task
from tests.integration.api.conftest import Running
from tests.integration.api.stories import Story

API = "/api/v1"
_numbers = itertools.count()


async def a_created_task(running: Running, **fields: Any) -> Task:
    """A task of the responder's, made over HTTP."""
    schedule = {"kind": "interval", "every_seconds": 60}
    task_id = f"why-{next(_numbers)}"
    body = {"task_id": task_id, "name": "Why", "task_type": "echo", "schedule": schedule, **fields}
    response = await running.http.post(f"{API}/tasks", json=body)
    assert response.status_code == 201, response.text
    return running.responder.tasks[task_id]


async def store(running: Running, story: Story) -> list[int]:
    """Store a story's events as services do; their sequences, once the read models have them."""
    bus = running.api.services.bus
    seqs = [(await bus.store(one.subject, one.data, one.headers)).seq for one in story.stored]
    assert await running.api.services.projection.reached(seqs[-1], within=10)
    return seqs


async def explained(running: Running, task: Task, **params: str) -> dict[str, Any]:
    response = await running.http.get(f"{API}/tasks/{task.task_id}/explain", params=params)
    assert response.status_code == 200, response.text
    found: dict[str, Any] = response.json()
    assert set(found) == {"slot", "verdict", "reason", "steps"}
    assert all(set(step) == {"at", "what", "seq", "detail"} for step in found["steps"])
    return found


def first_slot(task: Task) -> int:
    """The first slot of the task, in milliseconds."""
    made = instant_ms(task.created_at)
    return made - made % 1000 + 60_000


async def ran(running: Running, task: Task) -> list[int]:
    """Store a first slot that failed once and then completed."""
    story, run = Story(at_ms=first_slot(task)), slot_run(first_slot(task) // 1000)
    story.started(task, run)
    story.retrying(task, run)
    story.started(task, run, 2)
    story.executed(task, run, 2)
    return await store(running, story)


def recorded(found: dict[str, Any]) -> list[tuple[str, int]]:
    return [
        (step["what"], step["seq"]) for step in found["steps"] if step["what"] != "schedule" and step["seq"]
    ]


async def test_the_latest_execution_is_told_with_every_event_of_its_chain(running: Running) -> None:
    task = await a_created_task(running)
    seqs = await ran(running, task)
    found = await explained(running, task)
    assert found["verdict"] == "completed"
    assert found["slot"] == format_instant(first_slot(task))
    names = ["started", "retrying", "started", "executed"]
    assert recorded(found) == list(zip(names, seqs, strict=True))
    assert found["steps"][0]["what"] == "schedule"
    assert found["steps"][0]["detail"].startswith("every minute")


async def test_instant_run_and_execution_id_name_the_same_slot(running: Running) -> None:
    task = await a_created_task(running)
    await ran(running, task)
    by_instant = await explained(running, task, at=format_instant(first_slot(task)))
    run = slot_run(first_slot(task) // 1000)
    assert await explained(running, task, run=run) == by_instant
    assert await explained(running, task, run=f"{task.task_id}.{run}") == by_instant
    moved = format_instant(first_slot(task) + 7_200_000).replace("Z", "+02:00")
    assert await explained(running, task, at=moved) == by_instant


async def test_what_the_stream_no_longer_holds_comes_from_the_archive(running: Running) -> None:
    task = await a_created_task(running)
    seqs = await ran(running, task)
    before = await explained(running, task)
    subject = chain(task.partition, task.task_id, slot_run(first_slot(task) // 1000))
    bus = running.api.services.bus
    await bus.purge(EVENTS_STREAM, filter=subject, up_to_seq=seqs[1])  # cut in the middle, then all of it
    assert await explained(running, task) == before
    await bus.purge(EVENTS_STREAM, filter=subject, up_to_seq=seqs[-1] + 1)
    assert await explained(running, task) == before


async def test_a_span_of_slots_that_were_missed_is_told(running: Running) -> None:
    task = await a_created_task(running)
    story, first = Story(at_ms=first_slot(task)), first_slot(task)
    missed = ev.Missed(
        **story.common(task),
        reason="grace_exceeded",
        revision=1,
        count=3,
        from_=format_instant(first),
        to=format_instant(first + 180_000),
    )
    story.tell(missed)
    (seq,) = await store(running, story)
    found = await explained(running, task, at=format_instant(first + 60_000))
    assert found["verdict"] == "missed"
    assert recorded(found) == [("missed", seq)]
    assert "grace" in found["reason"]


async def test_a_coming_slot_a_time_that_is_none_and_a_task_that_is_gone(running: Running) -> None:
    task = await a_created_task(running)
    coming = await explained(running, task)
    assert (coming["verdict"], coming["slot"]) == ("planned", format_instant(first_slot(task)))
    between = await explained(running, task, at=format_instant(first_slot(task) + 30_000))
    assert between["verdict"] == "no_slot"
    assert [step["what"] for step in between["steps"]] == ["schedule", "slot_before", "slot_after"]
    assert (await running.http.delete(f"{API}/tasks/{task.task_id}")).status_code in (200, 204)
    gone = await explained(running, task, at=format_instant(first_slot(task) + 60_000))
    assert gone["verdict"] == "no_slot"
    assert "was deleted at" in gone["reason"]


async def test_a_run_on_demand_is_told_from_its_command_on(running: Running) -> None:
    task = await a_created_task(running, schedule=None)
    assert (await explained(running, task))["reason"].endswith("it runs on demand only.")
    response = await running.http.post(f"{API}/tasks/{task.task_id}/execute")
    assert response.status_code == 202
    found = await explained(running, task, run=response.json()["execution_id"])
    assert (found["slot"], found["verdict"]) == (None, "queued")
    assert [what for what, _ in recorded(found)] == ["queued"]


def is_problem(response: httpx.Response, status: int, pointer: str | None) -> None:
    assert response.status_code == status, response.text
    assert response.headers["content-type"] == "application/problem+json"
    assert [error["pointer"] for error in response.json().get("errors", [])] == ([pointer] if pointer else [])


@pytest.mark.parametrize(
    ("params", "status", "pointer"),
    [
        ({"at": "yesterday"}, 422, "#/at"),
        ({"at": "2026-09-21T09:00:00"}, 422, "#/at"),
        ({"at": "2026-09-21T09:00:00Z", "run": "r-1"}, 422, "#/run"),
        ({"run": "other.r-1"}, 422, "#/run"),
        ({"run": "a b"}, 422, "#/execution_id"),
        ({"run": "r-nobody"}, 404, None),
        ({"when": "now"}, 422, None),
    ],
)
async def test_a_question_that_makes_no_sense_is_refused_by_field(
    running: Running, params: dict[str, str], status: int, pointer: str | None
) -> None:
    task = await a_created_task(running)
    is_problem(await running.http.get(f"{API}/tasks/{task.task_id}/explain", params=params), status, pointer)


async def test_a_task_that_is_not_there_is_404(running: Running) -> None:
    is_problem(await running.http.get(f"{API}/tasks/nobody/explain"), 404, None)
    is_problem(await running.http.get(f"{API}/tasks/a.b/explain"), 422, "#/task_id")
