"""The iCalendar feed over HTTP."""

from __future__ import annotations

from typing import Any

from litestar import get

from gnomon_api.calendar_feed import CalendarFeed
from gnomon_api.http_io import HttpRequest, HttpResponse, caller, params_of, services

__all__ = ["FEED_ROUTES"]


@get("/calendar.ics")
async def calendar_feed(request: HttpRequest) -> HttpResponse:
    """Past runs, coming fires, due dates and reminders as an iCalendar that calendar programs subscribe to."""
    api = services(request)
    feed = CalendarFeed(api.database, api.tasks, api.calendars, api.clock)
    body = await feed.render(params_of(request), caller(request))
    return HttpResponse(body, media_type="text/calendar", headers={"Cache-Control": "private, max-age=60"})


FEED_ROUTES: list[Any] = [calendar_feed]
