"""The iCalendar feed, read as calendar programs read it; and what is overdue."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import icalendar
import msgspec
import pytest

from gnomon_api.calendar_feed import Cut, PutOff, feed_of
from gnomon_core.timing import Blackout, Blackouts
from gnomon_schemas.blackouts import BlackoutAction, CalendarSpec, Selector, Span
from gnomon_schemas.clock_text import format_instant
from gnomon_schemas.lifecycle import ENDED
from gnomon_schemas.schedules import Interval
from gnomon_schemas.tasks import Task, TaskStatus
from tests.integration.api.conftest import Running
from tests.integration.api.stories import a_task
from tests.integration.api.test_http_tasks import API, create, is_problem

NOW = datetime(2026, 9, 21, 12, 0, tzinfo=UTC)
UNCUT = Cut(tasks=False, runs=False)


def text(at: datetime) -> str:
    return format_instant(int(at.timestamp() * 1000))


def read(feed: bytes) -> dict[str, Any]:
    """The parts of a feed by uid."""
    calendar = icalendar.Calendar.from_ical(feed)
    assert calendar["version"] == "2.0"
    return {str(part["uid"]): part for part in calendar.walk() if part.name in ("VEVENT", "VTODO")}


async def test_a_user_subscribes_to_runs_fires_due_dates_and_reminders(running: Running) -> None:
    now = datetime.now(UTC)
    due, remind = text(now + timedelta(days=2)), text(now + timedelta(days=1))
    who = {"X-User-Id": "feeder"}
    daily = {"kind": "daily", "time": "09:00"}
    made: list[dict[str, Any]] = []
    for fields in (
        {"schedule": daily, "tags": ["home"]},
        {"task_type": "todo", "due_date": due, "reminder_time": remind, "description": "Milk"},
    ):
        body = {"name": "Report", "task_type": "echo", **fields}
        made.append((await running.http.post(f"{API}/tasks", json=body, headers=who)).json())
    scheduled, todo = made
    await running.responder.run_to_end(running.responder.tasks[scheduled["task_id"]], "20260901T090000Z")
    await running.api.services.projection.reached(running.responder.last_seq, within=5)
    answer = await running.http.get(f"{API}/calendar.ics", params={"days": "3", "user_id": "feeder"})
    assert answer.headers["content-type"] == "text/calendar; charset=utf-8"
    parts = read(answer.content)
    run = parts.pop(f"{scheduled['task_id']}.20260901T090000Z@gnomon")
    assert (str(run["summary"]), str(run["status"])) == ("Report", "CONFIRMED")
    todo_part = parts.pop(f"{todo['task_id']}.due@gnomon")
    assert todo_part.name == "VTODO"
    assert (todo_part["due"].dt, str(todo_part["status"])) == (_second(due), "NEEDS-ACTION")
    assert str(todo_part["description"]) == "Milk"
    reminder = parts.pop(f"{todo['task_id']}.reminder@gnomon")
    assert reminder["dtstart"].dt == _second(remind)
    assert [alarm.name for alarm in reminder.subcomponents] == ["VALARM"]
    assert len(parts) == 3, sorted(parts)
    for part in parts.values():
        assert (part["dtstart"].dt.hour, str(part["status"])) == (9, "TENTATIVE")
        assert list(part["categories"].cats) == ["home"]
    tagged = await running.http.get(f"{API}/calendar.ics", params={"tag": "no-such", "user_id": "feeder"})
    assert read(tagged.content) == {}


def _second(at: str) -> datetime:
    return datetime.fromisoformat(at).replace(microsecond=0)


async def test_what_a_feed_does_not_take_is_refused_by_name(running: Running) -> None:
    for days in ("0", "367", "x", "-1"):
        problem = is_problem(
            await running.http.get(f"{API}/calendar.ics", params={"days": days}), 422, "invalid"
        )
        assert problem["errors"][0]["pointer"] == "#/days"
    problem = is_problem(await running.http.get(f"{API}/calendar.ics?limit=5"), 422, "invalid")
    assert [(one["pointer"], one["code"]) for one in problem["errors"]] == [("#/limit", "unknown_field")]


def linked(**config: Any) -> Task:
    return a_task(
        "linked",
        schedule=None,
        task_type="calendar_event",
        config=msgspec.Raw(msgspec.json.encode({"event_id": "e1", **config})),
    )


def test_an_entry_of_a_calendar_is_shown_where_its_times_are_kept() -> None:
    start, end = NOW + timedelta(hours=1), NOW + timedelta(hours=2)
    task = linked(title="Board", start_time=text(start), end_time=text(end), location="Room 1")
    (part,) = read(feed_of([task], [], NOW, 1, UNCUT).to_ical()).values()
    assert (str(part["summary"]), part["dtstart"].dt, part["dtend"].dt) == ("Board", start, end)
    assert str(part["location"]) == "Room 1"
    for config in (
        {},
        {"start_time": None},
        {"start_time": 7},
        {"start_time": text(NOW + timedelta(days=2))},
    ):
        assert read(feed_of([linked(**config)], [], NOW, 1, UNCUT).to_ical()) == {}


@pytest.mark.parametrize("status", TaskStatus)
def test_what_has_ended_has_no_reminder_to_come(status: TaskStatus) -> None:
    """A reminder is told of no task that has ended: of one that has failed it was shown all the same."""
    task = a_task("r", schedule=None, status=status, reminder_time=text(NOW + timedelta(hours=1)))
    shown = read(feed_of([task], [], NOW, 1, UNCUT).to_ical())
    assert list(shown) == ([] if status in ENDED else ["r.reminder@gnomon"])


def test_a_feed_is_bounded_and_says_where_it_was_cut() -> None:
    every_second = Interval(every_seconds=1, anchor="2026-09-21T00:00:00.000Z", timezone="UTC")
    tasks = [a_task(f"t{number}", schedule=every_second) for number in range(12)]
    calendar = feed_of(tasks, [], NOW, 1, Cut(tasks=True, runs=True))
    assert len(read(calendar.to_ical())) == 2000
    words = str(calendar["x-wr-caldesc"])
    assert all(one in words for one in ("1000 tasks", "1000 runs", "2000 fires")), words
    left = a_task("left", schedule=every_second, runs_left=3)
    assert len(read(feed_of([left], [], NOW, 1, UNCUT).to_ical())) == 3
    for status in (TaskStatus.PAUSED, TaskStatus.COMPLETED):
        assert read(feed_of([a_task("p", status=status)], [], NOW, 1, UNCUT).to_ical()) == {}


def test_slots_of_one_time_of_which_a_calendar_put_off_one_are_both_there() -> None:
    """One of two tasks is in a calendar that was in force at their slot and will be again: there was no answer."""
    slot = NOW - timedelta(hours=2)
    spans = [
        Span(from_=text(NOW + timedelta(hours=hour)), to=text(NOW + timedelta(hours=hour + 2)))
        for hour in (-3, 3)
    ]
    spec = CalendarSpec(
        name="m", selector=Selector(tags=("in",)), action=BlackoutAction.DEFER, spans=tuple(spans)
    )
    tasks = [a_task(name, schedule=None, tags=(name,)) for name in ("in", "out")]
    waiting = [{"task_id": task.task_id, "scheduled_for": slot} for task in tasks]
    put_off = PutOff(Blackouts([Blackout("maintenance", spec)]), waiting)
    parts = read(feed_of(tasks, [], NOW, 1, UNCUT, put_off).to_ical())
    assert [part["dtstart"].dt for part in parts.values()] == [NOW, NOW]


def test_how_a_run_ended_is_shown() -> None:
    run = {
        "execution_id": "t.r-1",
        "task_id": "t",
        "started_at": NOW - timedelta(seconds=90),
        "completed_at": NOW - timedelta(seconds=30),
        "error": '{"type":"Boom","message":"it\\nbroke"}',
    }
    for status, summary, shown in (
        ("timed_out", "Task t (timed out)", "CONFIRMED"),
        ("cancelled", "Task t (cancelled)", "CANCELLED"),
    ):
        feed = feed_of([a_task("t", schedule=None)], [{**run, "status": status}], NOW, 1, UNCUT)
        (part,) = read(feed.to_ical()).values()
        assert (str(part["summary"]), str(part["status"])) == (summary, shown)
        assert part["dtend"].dt - part["dtstart"].dt == timedelta(minutes=1)
        assert str(part["description"]) == "Boom: it\nbroke"


async def test_what_is_overdue_is_listed_until_it_is_done(running: Running) -> None:
    past, coming = "2026-01-01T00:00:00Z", text(datetime.now(UTC) + timedelta(days=1))
    late = await create(running, task_type="todo", due_date=past, tags=["overdue"])
    done = await create(running, task_type="todo", due_date=past, tags=["overdue"])
    await create(running, task_type="todo", due_date=coming, tags=["overdue"])
    await create(running, task_type="todo", tags=["overdue"])
    await running.http.put(f"{API}/tasks/{done['task_id']}", json={"status": "completed"})
    params = {"overdue": "true", "tag": "overdue", "sort": "due_date"}
    listed = (await running.http.get(f"{API}/tasks", params=params)).json()["items"]
    assert [task["task_id"] for task in listed] == [late["task_id"]]
    for wrong in ("false", "1", ""):
        problem = is_problem(
            await running.http.get(f"{API}/tasks", params={"overdue": wrong}), 422, "invalid"
        )
        assert problem["errors"][0]["pointer"] == "#/overdue"
