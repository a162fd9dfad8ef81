"""Examples of calendars of blackouts for the OpenAPI document: see `openapi_examples`."""

from __future__ import annotations

from typing import Any, Final

import msgspec

from gnomon_schemas.blackout_samples import blackout_samples
from gnomon_schemas.codec import encode

__all__ = ["CALENDAR_BODIES", "calendar_answers"]

_AT: Final = "2026-11-21T09:00:00.000Z"
_SAMPLES: Final = blackout_samples()
_ICAL: Final = (
    "BEGIN:VCALENDAR\r\nVERSION:2.0\r\nPRODID:-//example//EN\r\nBEGIN:VEVENT\r\nUID:1\r\n"
    "DTSTART;TZID=Europe/Berlin:20261206T020000\r\nDURATION:PT2H\r\nRRULE:FREQ=WEEKLY\r\nSUMMARY:Maintenance\r\n"
    "END:VEVENT\r\nEND:VCALENDAR\r\n"
)
_CALENDAR: Final[dict[str, Any]] = msgspec.json.decode(encode(_SAMPLES["outcome.calendar"]))["calendar"]
_CALENDAR_NOW: Final = {
    **_CALENDAR,
    "in_force": False,
    "until": None,
    "next_start": "2026-11-22T01:00:00.000Z",
}
CALENDAR_BODIES: Final[dict[str, dict[str, Any]]] = {
    "create_calendar": {"sunday_mornings": _SAMPLES["command.calendar.create"]},
    "patch_calendar": {"off": {"enabled": False}},
    "put_calendar": {"skip_instead": {"action": "skip"}},
    "import_calendar": {"a_file": {"ical": _ICAL, "selector": {"tags": ["db"]}, "action": "defer"}},
    "reimport_calendar": {"a_newer_file": {"ical": _ICAL}},
}
"""Bodies by operation, each with a name."""


def calendar_answers(pending: Any) -> dict[tuple[str, int], Any]:
    """Answers by operation and status; `pending` is that to a command whose outcome has not come."""
    return {
        **{(f"{verb}_calendar", 200): _CALENDAR for verb in ("create", "patch", "put", "import", "reimport")},
        **{(f"{verb}_calendar", 201): _CALENDAR for verb in ("create", "import")},
        **{
            (f"{verb}_calendar", 202): pending
            for verb in ("create", "patch", "put", "import", "reimport", "delete")
        },
        ("read_calendar", 200): _CALENDAR_NOW,
        ("list_calendars", 200): {"items": [_CALENDAR_NOW], "next_cursor": None},
        ("calendar_history", 200): {
            "items": [
                {
                    "version": 2,
                    "at": _AT,
                    "what": "updated",
                    "user_id": "u1",
                    "command_id": "c9",
                    "trace_id": None,
                    "changes": [{"field": "action", "old": "skip", "new": "defer"}],
                    "seq": 46,
                }
            ],
            "next_cursor": None,
        },
    }
