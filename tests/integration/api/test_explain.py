"""Why a slot ran or did not, over HTTP: from the events that are stored, with their sequences."""

from __future__ import annotations

import itertools
from typing import Any

import httpx
import msgspec
import pytest

from gnomon_schemas import events as ev
from gnomon_schemas.blackouts import BlackoutAction, Calendar, CalendarCreated, Selector, Span
from gnomon_schemas.clock_text import format_instant, instant_ms, slot_run
from gnomon_schemas.codec import cloud_event_headers, decode_event, encode
from gnomon_schemas.subjects import EVENTS_STREAM, chain, event
from gnomon_schemas.tasks import Task, Trigger
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
    """The events that are told, but for the schedule's; what is told of the read models is no event."""
    return [
        (step["what"], step["seq"])
        for step in found["steps"]
        if step["what"] not in ("schedule", "projection") and step["seq"]
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
        ({"when": "now"}, 422, "#/when"),
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


def outcome_of(task: Task, kind: type[ev.SlotOutcome], run: str, at_ms: int, **fields: Any) -> ev.SlotOutcome:
    """The event of a slot, or of a run on demand, that did not run."""
    at = format_instant(at_ms)
    return kind(
        task_id=task.task_id,
        user_id=task.user_id,
        partition=task.partition,
        occurred_at=at,
        revision=1,
        execution_id=f"{task.task_id}.{run}",
        run=run,
        task_type=task.task_type,
        attempt=1,
        trigger=Trigger.MANUAL if run.startswith("r-") else Trigger.SCHEDULE,
        scheduled_for=at,
        due_at=at,
        epoch=4,
        **fields,
    )


SKIPPED = {
    "overlap": "an earlier execution of the task was still in flight",
    "paused": "the task was paused",
    "blackout": "calendar 'xmas' says that nothing runs at that time",
    "credits": "no credits left",
    "limit": "a limit was reached",
    "key": "all units of its key",
    "unique": "the same input had been asked for",
    "cancelled": "it was cancelled before anybody had claimed it",
    "deleted": "the task was deleted before anybody had claimed it",
}
MISSED = {
    "grace_exceeded": "within its grace",
    "catch_up_skip": "what is late was not to run",
    "expired": "nobody had claimed it in time",
}


async def test_every_reason_of_a_slot_that_did_not_run_is_told_alone_and_in_a_span(running: Running) -> None:
    """All reasons that the contract names, each with what the decision rested on, by the events as they are stored."""
    task = await a_created_task(running)
    first, story = first_slot(task), Story()
    expected: list[tuple[int, str, str, int]] = []
    told: list[tuple[type[ev.SlotOutcome], str]] = [
        *((ev.Skipped, one) for one in SKIPPED),
        *((ev.Missed, one) for one in MISSED),
        (ev.Coalesced, "catch_up_latest"),
    ]
    for number, (kind, reason) in enumerate(told):
        calendar = {"calendar_id": "xmas"} if reason == "blackout" else {}
        into = {"into": "20990101T000000Z"} if kind is ev.Coalesced else {}
        fields: dict[str, Any] = {"reason": reason, "detail": f"as it was then: {reason}", **calendar, **into}
        alone, spanned = first + 240_000 * number, first + 240_000 * number + 60_000
        story.tell(outcome_of(task, kind, slot_run(alone // 1000), alone, **fields))
        expected.append((alone, ev.event_name(outcome_of(task, kind, "r", alone, **fields)), reason, 1))
        span: dict[str, Any] = {
            "from_": format_instant(spanned),
            "to": format_instant(spanned + 120_000),
            "count": 2,
            "epoch": 4,
        }
        story.tell(kind(**story.common(task), revision=1, **span, **fields))
        expected.append((spanned + 60_000, expected[-1][1], reason, 2))
    seqs = await store(running, story)
    for (at_ms, outcome, reason, slots), seq in zip(expected, seqs, strict=True):
        found = await explained(running, task, at=format_instant(at_ms))
        assert (found["verdict"], found["slot"]) == (outcome, format_instant(at_ms))
        words = SKIPPED.get(reason) or MISSED.get(reason) or "run 20990101T000000Z stood in for all of them"
        assert words in found["reason"], (reason, found["reason"])
        assert f"as it was then: {reason}" in found["reason"]
        assert recorded(found) == [(outcome, seq)]
        steps = {step["what"]: step["detail"] for step in found["steps"]}
        assert {"schedule", "slot", "lease", outcome, "projection"} <= steps.keys()
        assert "epoch 4" in steps["lease"]
        assert steps["projection"].startswith("the read models have it")
        assert ("one of 2 slots" in steps[outcome]) is (slots == 2)


ENDS: dict[str, tuple[dict[str, Any], str]] = {
    "completed": ({}, "It ran and completed at the first attempt"),
    "failed": ({"reason": "crash_loop"}, "It ran and failed at the first attempt: Boom: it broke"),
    "timed_out": ({"reason": "timeout"}, "ended by its time limit at the first attempt"),
    "cancelled": ({"reason": "cancelled"}, "It was started, and cancelled (cancelled)"),
}


async def test_every_way_in_which_an_execution_ends_or_goes_on_is_told(running: Running) -> None:
    task = await a_created_task(running)
    first, story = first_slot(task), Story()
    wanted: dict[int, tuple[str, str]] = {}
    for number, (status, (fields, words)) in enumerate(ENDS.items()):
        story.now_ms = at_ms = first + 60_000 * number
        run = slot_run(at_ms // 1000)
        story.now_ms += 250
        story.started(task, run, published_ms=at_ms + 40)
        one = story.executed(task, run, status=status)
        told = decode_event(one.data)
        assert isinstance(told, ev.Executed)
        data = encode(msgspec.structs.replace(told, **fields))
        story.stored[-1] = msgspec.structs.replace(one, data=data)
        wanted[at_ms] = (status, words)
    for number, (tell, verdict, words) in enumerate(
        (
            (("queued",), "queued", "an earlier execution of the task has not ended"),
            (("started",), "running", "It is running: attempt 1 on x1"),
            (("started", "retrying"), "retrying", "Attempt 1 failed (Boom: it broke); the next is due at"),
        ),
        len(ENDS),
    ):
        story.now_ms = at_ms = first + 60_000 * number
        for name in tell:
            getattr(story, name)(task, slot_run(at_ms // 1000))
        wanted[at_ms] = (verdict, words)
    await store(running, story)
    for at_ms, (verdict, words) in wanted.items():
        found = await explained(running, task, at=format_instant(at_ms))
        assert (found["verdict"], words in found["reason"]) == (verdict, True), found["reason"]
        whats = [step["what"] for step in found["steps"]]
        assert whats[:2] == ["schedule", "slot"]
        assert whats[-1] == "projection"
        if verdict in ENDS:
            assert whats[2:-1] == ["policy", "lease", "due", "started", "executed"]
            assert "epoch 3" in found["steps"][3]["detail"]
            assert "sequence 1 of TASK_DUE" in found["steps"][4]["detail"]
            assert "published 40 ms after it was due" in found["steps"][4]["detail"]
            assert "250 ms after due, 210 ms of it in the queue" in found["steps"][5]["detail"]


async def test_a_run_on_demand_that_was_not_repeated_says_so(running: Running) -> None:
    task = await a_created_task(running, schedule=None)
    story, run = Story(), f"r-u{next(_numbers)}"
    story.tell(outcome_of(task, ev.Skipped, run, story.now_ms, reason="unique"))
    await store(running, story)
    found = await explained(running, task, run=run)
    assert (found["slot"], found["verdict"]) == (None, "skipped")
    assert SKIPPED["unique"] in found["reason"]


async def a_calendar(
    running: Running, calendar_id: str, *, tags: tuple[str, ...], spans: tuple[Span, ...]
) -> None:
    """A calendar that puts off what lies inside, once the read models have it."""
    at = format_instant(1_790_000_000_000)
    calendar = Calendar(
        calendar_id=calendar_id,
        name="Quiet",
        selector=Selector(tags=tags),
        description=None,
        action=BlackoutAction.DEFER,
        timezone="UTC",
        spans=spans,
        recurring=(),
        enabled=True,
        expanded_until=None,
        version=1,
        created_at=at,
        updated_at=at,
    )
    told = CalendarCreated(
        calendar_id=calendar_id, partition=0, occurred_at=at, changed_by="u1", version=1, calendar=calendar
    )
    headers = cloud_event_headers(told, ce_id=f"e-{calendar_id}", source="gnomon/test")
    ack = await running.api.services.bus.store(
        event("calendar", "created", 0, calendar_id), encode(told), headers
    )
    assert await running.api.services.projection.reached(ack.seq, within=10)


async def test_a_coming_slot_tells_what_would_be_in_its_way_by_what_is_set_now(running: Running) -> None:
    """Executor, pool and calendar of blackouts, as the cluster has them at this moment."""
    task = await a_created_task(running, tags=["quiet"], concurrency_key="k")
    coming = await explained(running, task)
    assert coming["verdict"] == "planned"
    assert "no live executor of pool 'default'" in coming["reason"]
    whats = [step["what"] for step in coming["steps"]]
    assert whats == ["schedule", "slot", "due", "policy", "executors", "key"]
    story = Story()
    story.pool_updated("default", paused=True, max_in_flight=3)
    story.started(task, "r-busy")
    await store(running, story)
    slot_ms = instant_ms(coming["slot"])
    spans = (Span(from_=format_instant(slot_ms), to=format_instant(slot_ms + 60_000)),)
    await a_calendar(running, "xmas", tags=("quiet",), spans=spans)
    found = await explained(running, task, at=coming["slot"])
    whats = [step["what"] for step in found["steps"]]
    assert whats[4:] == ["blackout", "executors", "pool", "in_flight", "pool", "key"]
    assert "calendar 'xmas' will put it off: it runs when the blackout ends" in found["reason"]
    in_flight = next(step["detail"] for step in found["steps"] if step["what"] == "in_flight")
    assert in_flight == "run r-busy has not ended: if that is still so then, it is skipped"
    next_one = await explained(running, task, at=format_instant(slot_ms + 60_000))
    assert "blackout" not in [step["what"] for step in next_one["steps"]]
