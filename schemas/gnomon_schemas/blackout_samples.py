"""Samples of the messages about calendars of blackouts: see `samples`."""

from __future__ import annotations

from typing import Any

import msgspec

from gnomon_schemas import blackouts
from gnomon_schemas.commands import Outcome
from gnomon_schemas.events import FieldChange

__all__ = ["blackout_samples"]

_AT = "2026-11-21T09:00:00.000Z"
_ID = "maintenance"
_SPEC: dict[str, Any] = {
    "name": "Maintenance of the database",
    "description": "Sunday mornings, and over Christmas.",
    "selector": {"tags": ["db"]},
    "action": "defer",
    "timezone": "Europe/Berlin",
    "spans": [
        {"from": "2026-12-23T23:00:00.000Z", "to": "2026-12-26T23:00:00.000Z", "name": "Christmas"},
    ],
    "recurring": [
        {
            "schedule": {"kind": "weekly", "days": ["sun"], "time": "02:00", "timezone": "Europe/Berlin"},
            "duration_seconds": 7200,
        }
    ],
}


def _calendar(version: int = 1) -> blackouts.Calendar:
    spec = msgspec.convert(_SPEC, blackouts.CalendarSpec)
    values = {name: getattr(spec, name) for name in blackouts.CalendarSpec.__struct_fields__}
    return blackouts.Calendar(calendar_id=_ID, **values, version=version, created_at=_AT, updated_at=_AT)


def blackout_samples() -> dict[str, msgspec.Struct | dict[str, Any]]:
    """A sample of every message of kind `calendar`, by the name of its golden file."""
    event: dict[str, Any] = {
        "calendar_id": _ID,
        "partition": 3,
        "occurred_at": _AT,
        "command_id": "c9",
        "changed_by": "u1",
    }
    return {
        "command.calendar.create": _SPEC,
        "command.calendar.update": {"action": "skip", "description": None},
        "command.calendar.delete": blackouts.DeleteCalendar(),
        "calendar.created": blackouts.CalendarCreated(**event, version=1, calendar=_calendar()),
        "calendar.updated": blackouts.CalendarUpdated(
            **event,
            version=2,
            changes=(FieldChange(field="action", old="skip", new="defer"),),
            calendar=_calendar(2),
        ),
        "calendar.deleted": blackouts.CalendarDeleted(
            **event, version=3, deleted_at=_AT, calendar=_calendar(2)
        ),
        "outcome.calendar": Outcome(ok=True, command_id="c9", seq=46, calendar=_calendar(), created=True),
    }
