"""What a user's tasks did and will do, as an iCalendar (RFC 5545) that calendar programs subscribe to.

| in the feed | as | id |
|---|---|---|
| a past run | event from its start to its end | the execution's |
| a coming fire | event, tentative, at its nominal time | that of the execution that it will be |
| a due date | to-do | `<task_id>.due` |
| a reminder that is still to come | event with an alarm | `<task_id>.reminder` |
| an entry linked by a `calendar_event` | event from its `start_time` to its `end_time` | `<task_id>.event` |

So a fire that has run takes the place of the fire that was to come. One that a calendar of blackouts puts off is shown
when the blackout ends; what a calendar skips is not in the feed, nor what another run stands for (`coming_fires.py`).
Times are UTC: programs show their own zone. Ids are stable, and a program that asks again replaces what it has.

A calendar is for people: there is a bound on each part, what comes first in time goes in, and the feed says where it
was cut.
"""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from itertools import islice
from typing import Any, Final, NamedTuple

import icalendar
import msgspec

from gnomon_api.calendar_views import CalendarViews
from gnomon_api.coming_fires import ComingFire, coming_fires
from gnomon_api.database import Database, Row
from gnomon_api.identity import Caller
from gnomon_api.parameters import whole_number
from gnomon_api.queries import LIMIT_MAX
from gnomon_api.readmodels.statements import statement
from gnomon_api.task_views import TaskViews
from gnomon_core.runtime.clock import Clock
from gnomon_core.timing import Blackouts, fires
from gnomon_schemas.clock_text import format_instant, parse_instant, slot_run
from gnomon_schemas.lifecycle import ENDED
from gnomon_schemas.problems import Code, FieldError, Refused
from gnomon_schemas.tasks import Task, TaskStatus
from gnomon_schemas.workless import CALENDAR_EVENT, TODO

__all__ = ["FEED_DAYS_DEFAULT", "FEED_DAYS_MAX", "FEED_FILTERS", "CalendarFeed", "Cut", "PutOff", "feed_of"]

FEED_DAYS_DEFAULT: Final = 30
FEED_DAYS_MAX: Final = 366
FEED_FILTERS: Final = ("task_type", "tag", "priority", "q", "user_id")
"""Filters of lists of tasks that a feed takes."""
_TASKS_MAX: Final = 1000
_RUNS_MAX: Final = 1000
_FIRES_MAX: Final = 2000
_FIRES_A_TASK: Final = 200
_FIRING: Final = (TaskStatus.SCHEDULED, TaskStatus.RUNNING)
_ALARM: Final = timedelta(0)


class Cut(NamedTuple):
    """What did not fit."""

    tasks: bool
    runs: bool


class PutOff(NamedTuple):
    """What keeps slots from going at their times."""

    blackouts: Blackouts
    waiting: Sequence[Row | Mapping[str, Any]] = ()
    """Slots that calendars put off and that have not gone: `task_id` and `scheduled_for`."""


class CalendarFeed:
    """Makes feeds. Raises DatabaseAway while Postgres is away."""

    def __init__(self, database: Database, tasks: TaskViews, calendars: CalendarViews, clock: Clock) -> None:
        self._database, self._tasks, self._calendars = database, tasks, calendars
        self._clock = clock

    async def render(self, given: Sequence[tuple[str, str]], caller: Caller) -> bytes:
        """The feed that a query string asks for, of `days` to both sides. Raises Refused."""
        days = _days([text for name, text in given if name == "days"])
        filters = [(name, text) for name, text in given if name != "days"]
        unknown = [name for name, _ in filters if name not in FEED_FILTERS]
        if unknown:
            allowed = ", ".join(("days", *FEED_FILTERS))
            message = f"the parameter {unknown[0][:80]!r} is not known; allowed: {allowed}"
            # Told as every other filter of the list behind it: only the field's error says that it is not known.
            error = FieldError(pointer=f"#/{unknown[0][:80]}", code=Code.UNKNOWN_FIELD, message=message)
            raise Refused(Code.INVALID, message, error)
        tasks = await self._all_tasks(filters, caller)
        now = datetime.fromtimestamp(self._clock.now_ms() // 1000, UTC)
        ids = [task.task_id for task in tasks[:_TASKS_MAX]]
        runs = await self._database.fetch(
            statement("calendar_runs"), ids, now - timedelta(days=days), _RUNS_MAX + 1
        )
        put_off = PutOff(
            await self._calendars.blackouts(),
            await self._database.fetch(statement("calendar_put_off"), ids, _FIRES_MAX),
        )
        cut = Cut(len(tasks) > _TASKS_MAX, len(runs) > _RUNS_MAX)
        # Apart from the loop: a full feed is a second's work or more.
        return await asyncio.to_thread(
            _text_of, tasks[:_TASKS_MAX], runs[:_RUNS_MAX], now, days, cut, put_off
        )

    async def _all_tasks(self, filters: list[tuple[str, str]], caller: Caller) -> list[Task]:
        found: list[Task] = []
        cursor: str | None = None
        while len(found) <= _TASKS_MAX:
            page = [*filters, ("sort", "-updated_at"), ("limit", str(LIMIT_MAX))]
            listed = await self._tasks.list(page if cursor is None else [*page, ("cursor", cursor)], caller)
            found += listed.items
            cursor = listed.next_cursor
            if cursor is None:
                break
        return found


def _text_of(
    tasks: Sequence[Task], runs: Sequence[Row], now: datetime, days: int, cut: Cut, put_off: PutOff
) -> bytes:
    return bytes(feed_of(tasks, runs, now, days, cut, put_off).to_ical())


def feed_of(
    tasks: Sequence[Task],
    runs: Iterable[Row | Mapping[str, Any]],
    now: datetime,
    days: int,
    cut: Cut,
    put_off: PutOff | None = None,
) -> icalendar.Calendar:
    """The feed of some tasks and of their runs. `now` is an instant in UTC."""
    calendar = icalendar.Calendar()
    calendar.add("prodid", "-//Gnomon//tasks//EN")
    calendar.add("version", "2.0")
    calendar.add("method", "PUBLISH")
    calendar.add("x-wr-calname", "Gnomon")
    # How often programs ask again.
    calendar.add("refresh-interval", timedelta(minutes=15), parameters={"VALUE": "DURATION"})
    names = {task.task_id: task for task in tasks}
    until = now + timedelta(days=days)
    dropped = _add_fires(calendar, tasks, now, until, put_off or PutOff(Blackouts()))
    for run in runs:
        calendar.add_component(_run(run, names[run["task_id"]], now))
    for task in tasks:
        for part in _parts(task, now, until):
            calendar.add_component(part)
    said = [
        words
        for words, is_so in (
            (f"the {_TASKS_MAX} tasks that were changed last", cut.tasks),
            (f"the newest {_RUNS_MAX} runs", cut.runs),
            (f"the next {_FIRES_MAX} fires, {_FIRES_A_TASK} a task", dropped),
        )
        if is_so
    ]
    if said:
        calendar.add("x-wr-caldesc", f"Not all of it: {'; '.join(said)}.")
    return calendar


def _add_fires(
    calendar: icalendar.Calendar, tasks: Sequence[Task], now: datetime, until: datetime, put_off: PutOff
) -> bool:
    """Put the coming fires in; whether some were left out."""
    after_s, until_s = int(now.timestamp()), int(until.timestamp())
    blackouts = put_off.blackouts.between(after_s, until_s)
    waiting: defaultdict[str, list[int]] = defaultdict(list)
    for row in put_off.waiting:
        waiting[row["task_id"]].append(int(row["scheduled_for"].timestamp()))
    coming: list[tuple[ComingFire, Task]] = []
    dropped = False
    for task in tasks:
        slots, more = _slots(task, after_s, until_s)
        dropped = dropped or more
        fires_of = coming_fires(task, slots, blackouts, after_s, waiting=waiting[task.task_id])
        coming += [(fire, task) for fire in fires_of if fire.at_s <= until_s]
    # By the times alone: what put a fire off may be nothing, which has no place among names.
    coming.sort(key=lambda one: one[0][:2])
    for fire, task in coming[:_FIRES_MAX]:
        calendar.add_component(_fire(fire, task, now))
    return dropped or len(coming) > _FIRES_MAX


def _slots(task: Task, after_s: int, until_s: int) -> tuple[list[int], bool]:
    """The slots of (after, until] that a feed has room for, and whether there are more."""
    if task.schedule is None or task.status not in _FIRING:
        return [], False
    most = _FIRES_A_TASK if task.runs_left is None else min(_FIRES_A_TASK, task.runs_left)
    slots = list(islice(fires(task.schedule, after_s, until_s), most + 1))
    return slots[:most], len(slots) > _FIRES_A_TASK


def _fire(fire: ComingFire, task: Task, now: datetime) -> icalendar.Event:
    key = f"{task.task_id}.{slot_run(fire.nominal_s)}"
    event = _event(key, task.name, datetime.fromtimestamp(fire.at_s, UTC), now)
    event.add("status", "TENTATIVE")
    words = [task.description] if task.description else []
    if fire.put_off_by is not None:
        nominal = format_instant(fire.nominal_s * 1000)
        words.append(f"Put off by the calendar {fire.put_off_by!r}; its time was {nominal}.")
    _describe(event, task, "\n".join(words))
    return event


def _run(run: Row | Mapping[str, Any], task: Task, now: datetime) -> icalendar.Event:
    status = run["status"]
    event = _event(
        run["execution_id"],
        task.name if status == "completed" else f"{task.name} ({status.replace('_', ' ')})",
        run["started_at"],
        now,
    )
    event.add("dtend", _whole(run["completed_at"] or now))
    event.add("status", "CANCELLED" if status == "cancelled" else "CONFIRMED")
    error = None if run["error"] is None else msgspec.json.decode(run["error"])
    _describe(event, task, None if error is None else f"{error['type']}: {error['message']}")
    return event


def _parts(task: Task, now: datetime, until: datetime) -> Iterable[icalendar.Component]:
    """What of a task is in the calendar besides its runs and fires."""
    since = now - (until - now)
    if task.due_date is not None and since <= parse_instant(task.due_date) < until:
        yield _due(task, now)
    if task.reminder_time is not None and task.status not in ENDED:
        at = parse_instant(task.reminder_time)
        if now <= at < until:
            reminder = _event(f"{task.task_id}.reminder", f"Reminder: {task.name}", at, now)
            reminder.add_component(_alarm(task))
            _describe(reminder, task, task.description)
            yield reminder
    if task.task_type == CALENDAR_EVENT:
        yield from _linked(task, now, since, until)


def _due(task: Task, now: datetime) -> icalendar.Todo:
    due = icalendar.Todo()
    due.add("uid", f"{task.task_id}.due@gnomon")
    due.add("dtstamp", now)
    due.add("summary", task.name)
    due.add("due", _whole(parse_instant(task.due_date or "")))
    over = {TaskStatus.COMPLETED: "COMPLETED", TaskStatus.CANCELLED: "CANCELLED"}
    due.add("status", over.get(task.status, "NEEDS-ACTION"))
    if task.status is TaskStatus.COMPLETED and task.task_type == TODO:
        due.add("completed", _whole(parse_instant(task.updated_at)))
    _describe(due, task, task.description)
    return due


def _linked(task: Task, now: datetime, since: datetime, until: datetime) -> Iterable[icalendar.Event]:
    config = msgspec.json.decode(bytes(task.config))
    try:
        start = parse_instant(config["start_time"])
        end = None if config.get("end_time") is None else parse_instant(config["end_time"])
    except (KeyError, TypeError, ValueError):
        return  # the entry's times are not kept with it, or are not instants
    if since <= start < until:
        event = _event(f"{task.task_id}.event", config.get("title") or task.name, start, now)
        if end is not None and end > start:
            event.add("dtend", _whole(end))
        if config.get("location"):
            event.add("location", config["location"])
        _describe(event, task, task.description)
        yield event


def _event(key: str, summary: str, start: datetime, now: datetime) -> icalendar.Event:
    event = icalendar.Event()
    event.add("uid", f"{key}@gnomon")
    event.add("dtstamp", now)
    event.add("dtstart", _whole(start))
    event.add("summary", summary)
    event.add("transp", "TRANSPARENT")  # nobody is busy because of it
    return event


def _alarm(task: Task) -> icalendar.Alarm:
    alarm = icalendar.Alarm()
    alarm.add("action", "DISPLAY")
    alarm.add("description", task.name)
    alarm.add("trigger", _ALARM)
    return alarm


def _describe(part: icalendar.Component, task: Task, words: str | None) -> None:
    if words:
        part.add("description", words)
    if task.tags:
        part.add("categories", list(task.tags))


def _whole(at: datetime) -> datetime:
    """To the second, as the format has it."""
    return at.astimezone(UTC).replace(microsecond=0)


def _days(given: list[str]) -> int:
    text = given[0] if given else str(FEED_DAYS_DEFAULT)
    days = whole_number(text, 1, FEED_DAYS_MAX)
    if len(given) > 1 or days is None:
        raise Refused.at("#/days", f"is {', '.join(given)[:80]!r}; allowed: 1 to {FEED_DAYS_MAX}")
    return days
