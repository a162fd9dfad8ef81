"""Calendars of blackouts as their newest event tells them, the deleted ones too."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime
from typing import NamedTuple

from typing_extensions import override

from gnomon_api.readmodels.column_values import as_instant, indexable_json, json_text, maybe_text, plain_text
from gnomon_api.readmodels.section import Change, Handler, Section
from gnomon_api.readmodels.table import Mode, TableWrite
from gnomon_core.runtime.messages import Stored
from gnomon_schemas.blackouts import Calendar, CalendarCreated, CalendarDeleted, CalendarUpdated

__all__ = ["CalendarSection"]


class CalendarRow(NamedTuple):
    """A row of `calendars`."""

    calendar_id: str
    name: str
    description: str | None
    action: str
    tags: str
    enabled: bool
    calendar: str
    version: int
    created_at: datetime
    updated_at: datetime
    deleted_at: datetime | None
    seq: int


_CALENDARS = TableWrite("calendars", CalendarRow._fields, Mode.REPLACE, ("calendar_id",))


class CalendarSection(Section):
    """The table `calendars`. Its events are read for the history of objects already."""

    writes = (_CALENDARS,)

    @override
    def listens(self) -> Iterable[tuple[type, Handler]]:
        return [
            (CalendarCreated, self._changed),
            (CalendarUpdated, self._changed),
            (CalendarDeleted, self._deleted),
        ]

    @override
    def begin(self) -> None:
        self._rows: dict[str, CalendarRow] = {}

    @override
    def changes(self) -> Iterable[Change]:
        return [(_CALENDARS, list(self._rows.values()))]

    def _changed(self, stored: Stored, event: CalendarCreated | CalendarUpdated) -> None:
        self._rows[event.calendar_id] = _row(stored, event.calendar, event.version, None)

    def _deleted(self, stored: Stored, event: CalendarDeleted) -> None:
        deleted_at = as_instant(event.deleted_at)
        self._rows[event.calendar_id] = _row(stored, event.calendar, event.version, deleted_at)


def _row(stored: Stored, calendar: Calendar, version: int, deleted_at: datetime | None) -> CalendarRow:
    return CalendarRow(
        calendar.calendar_id,
        plain_text(calendar.name),
        maybe_text(calendar.description),
        calendar.action,
        indexable_json(calendar.selector.tags),
        calendar.enabled,
        json_text(calendar),
        version,
        as_instant(calendar.created_at),
        as_instant(calendar.updated_at),
        deleted_at,
        stored.seq,
    )
