"""Calendars of blackouts as callers read them, and as the slots that are still to come are compared with them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

import msgspec

from gnomon_api.database import Database, Row
from gnomon_api.object_history import ObjectChanges, ObjectHistory
from gnomon_api.queries import (
    Filter,
    Lists,
    contains_filter,
    instant_sort,
    parse_list,
    text_filter,
    text_sort,
)
from gnomon_api.readmodels.statements import statement
from gnomon_core.runtime.clock import Clock
from gnomon_core.timing import Blackout, Blackouts
from gnomon_schemas.blackouts import BlackoutAction, Calendar, CalendarSpec
from gnomon_schemas.clock_text import format_instant
from gnomon_schemas.problems import Code, Refused

__all__ = ["CALENDAR_LISTS", "CalendarPage", "CalendarView", "CalendarViews"]


def _flag(name: str, text: str) -> bool:
    if text not in ("true", "false"):
        message = f"is {text[:80]!r}; allowed: true, false"
        raise Refused.at(f"#/{name}", message)
    return text == "true"


CALENDAR_LISTS: Final = Lists(
    columns="calendar_columns",
    key="calendar_id",
    filters={
        "enabled": Filter("calendars_with_enabled", _flag, {"type": "boolean"}),
        "action": text_filter("calendars_with_action", BlackoutAction),
        "tag": text_filter("calendars_with_tag"),
        "q": contains_filter("calendars_with_q"),
    },
    sorts={
        "name": text_sort("name"),
        "created_at": instant_sort("created_at"),
        "updated_at": instant_sort("updated_at"),
        "calendar_id": text_sort("calendar_id"),
    },
    default_sort="name",
    always=("calendars_present",),
)
"""What lists of calendars take."""


class CalendarView(Calendar, frozen=True, kw_only=True):
    """A calendar, and whether it is in force now."""

    in_force: bool
    """It is enabled, and now lies in one of its spans."""
    until: str | None
    """When that ends; null: it is not in force."""
    next_start: str | None
    """When a span of it begins next, whether it is enabled or not; null: none does."""


class CalendarPage(msgspec.Struct, frozen=True, kw_only=True):
    """A page of calendars."""

    items: tuple[CalendarView, ...]
    next_cursor: str | None
    """`cursor` of the next page; null: this is the last."""


_decode: Final = msgspec.json.Decoder(Calendar).decode


class CalendarViews:
    """Reads calendars. Raises DatabaseAway while Postgres is away."""

    def __init__(self, database: Database, clock: Clock) -> None:
        self._database, self._clock = database, clock
        self._history = ObjectHistory(database)

    async def page(self, given: Sequence[tuple[str, str]]) -> CalendarPage:
        """A page of the calendars that a query string asks for. Raises Refused."""
        query = parse_list(CALENDAR_LISTS, given, {})
        page = query.page(await self._database.fetch_page(query.sql, *query.values))
        now_s = self._clock.now_ms() // 1000
        return CalendarPage(
            items=tuple(_shown(row, now_s) for row in page.rows), next_cursor=page.next_cursor
        )

    async def get(self, calendar_id: str) -> CalendarView:
        """One calendar. Raises Refused `not_found` where there is none."""
        sql = f"{statement('calendar_columns')} {statement('calendar_by_id')}"
        row = await self._database.fetchrow(sql, calendar_id)
        if row is None or row["deleted_at"] is not None:
            raise Refused(Code.NOT_FOUND, f"there is no calendar {calendar_id!r}")
        return _shown(row, self._clock.now_ms() // 1000)

    async def history(self, calendar_id: str, given: Sequence[tuple[str, str]]) -> ObjectChanges:
        """The changes of a calendar that was there at some time. Raises Refused."""
        return await self._history.page("calendar", calendar_id, given)

    async def blackouts(self) -> Blackouts:
        """Those that are enabled, to compare slots with."""
        rows = await self._database.fetch(f"{statement('calendar_columns')} {statement('calendars_enabled')}")
        return Blackouts(_blackout(_decode(row["calendar"])) for row in rows)


def _blackout(calendar: Calendar) -> Blackout:
    spec = CalendarSpec(**{name: getattr(calendar, name) for name in CalendarSpec.__struct_fields__})
    return Blackout(calendar.calendar_id, spec)


def _shown(row: Row, now_s: int) -> CalendarView:
    calendar = _decode(row["calendar"])
    times = _blackout(calendar)
    end = times.end(now_s) if calendar.enabled else None
    following = times.next_start(now_s)
    fields: dict[str, Any] = {name: getattr(calendar, name) for name in Calendar.__struct_fields__}
    return CalendarView(
        **fields,
        in_force=end is not None,
        until=None if end is None else format_instant(end * 1000),
        next_start=None if following is None else format_instant(following * 1000),
    )
