"""Upcoming fires: of a task, and of a schedule that is only being thought about."""

from __future__ import annotations

from typing import Final

import msgspec
from litestar import get, post
from litestar.params import FromPath

from gnomon_api.http_io import (
    HttpRequest,
    HttpResponse,
    body_of,
    caller,
    checked_id,
    json_response,
    params_of,
    services,
)
from gnomon_api.parameters import Parameters
from gnomon_api.routes.commands import no_params
from gnomon_core.rules.decoding import parse_body, refuse, wrong
from gnomon_core.rules.schedule_input import read_input, stored_form
from gnomon_core.runtime.holiday_loading import holidays_at_hand
from gnomon_core.timing import Preview, marked, preview
from gnomon_schemas.clock_text import bound_ms
from gnomon_schemas.problems import FieldError
from gnomon_schemas.tasks import TaskStatus

__all__ = ["COUNT_DEFAULT", "COUNT_MAX", "SCHEDULE_ROUTES", "PreviewInput"]

COUNT_DEFAULT: Final = 5
COUNT_MAX: Final = 500
_FIRING: Final = (TaskStatus.SCHEDULED, TaskStatus.RUNNING)


class PreviewInput(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A schedule, and which of its fires to show: `count` of them, or all up to `until`."""

    schedule: msgspec.Raw
    after: str | None = None
    """RFC 3339, exclusive; null: now."""
    count: int | None = None
    """1 to 500; null: 5, or as many as there are up to `until`, 500 at the most."""
    until: str | None = None
    """RFC 3339, exclusive."""
    tags: tuple[str, ...] | None = None
    """Given: the slots are marked that calendars of blackouts touch, as those of a task of the caller's with these
    tags."""
    task_type: str | None = None
    """The type of that task."""


@get("/tasks/{task_id:str}/next")
async def next_fires(request: HttpRequest, task_id: FromPath[str]) -> HttpResponse:
    """The next fires of a task, no more than its `max_runs` leave: none while it is paused, or when it has ended. Those
    are marked that calendars of blackouts touch, as they are now."""
    params = Parameters(params_of(request), "count")
    api = services(request)
    count = params.number("count", 1, COUNT_MAX) or COUNT_DEFAULT
    params.refuse()
    task = await api.tasks.get(checked_id(task_id), caller(request))
    if task.schedule is None:
        return json_response(Preview(description="Runs on demand only", fires=()))
    left = count if task.runs_left is None else min(count, task.runs_left)
    found = preview(task.schedule, after=api.clock.now_ms() // 1000, count=left)
    fires = found.fires if task.status in _FIRING else ()
    shown = Preview(description=found.description, fires=fires)
    blackouts = await api.calendars.blackouts()
    return json_response(marked(shown, blackouts, task.tags, task.task_type, task.user_id))


@post("/schedules/preview", status_code=200)
async def preview_schedule(request: HttpRequest) -> HttpResponse:
    """A schedule in words, and its fires."""
    no_params(request)
    api = services(request)
    body = body_of(await request.body())
    await holidays_at_hand([body])
    given = parse_body(body, PreviewInput)
    now_ms = api.clock.now_ms()
    schedule, errors = read_input(given.schedule)
    if schedule is not None:
        schedule, errors = stored_form(
            schedule, now_ms=None, created_at_ms=now_ms, default_timezone=api.settings.timezone
        )
    elif not errors:
        errors += wrong("#/schedule", "is null; allowed is a schedule")
    after = _seconds("after", given.after, errors, now_ms // 1000)
    until = _seconds("until", given.until, errors, None)
    count = given.count
    if count is not None and not 1 <= count <= COUNT_MAX:
        errors += wrong("#/count", f"is {count}; allowed: 1 to {COUNT_MAX}")
    refuse(errors)
    assert schedule is not None, "a schedule that is none has been refused"
    assert after is not None, "its default is now"
    shown = COUNT_DEFAULT if count is None and until is None else count or COUNT_MAX
    if schedule.max_runs is not None:
        shown = min(shown, schedule.max_runs)
    # `until` is exclusive, and slots are whole seconds.
    found = preview(schedule, after=after, count=shown, until=None if until is None else until - 1)
    if given.tags is not None or given.task_type is not None:
        blackouts = await api.calendars.blackouts()
        user_id = caller(request).user_id
        found = marked(found, blackouts, given.tags or (), given.task_type or "", user_id)
    return json_response(found)


SCHEDULE_ROUTES = [next_fires, preview_schedule]


def _seconds(name: str, text: str | None, errors: list[FieldError], default: int | None) -> int | None:
    """An instant in whole seconds, rounded up: whatever lies before it lies before that second's end."""
    if text is None:
        return default
    try:
        milliseconds = bound_ms(text)
    except ValueError as error:
        errors += wrong(f"#/{name}", str(error))
        return default
    return milliseconds // 1000 if name == "after" else -(-milliseconds // 1000)
