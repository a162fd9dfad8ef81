"""Short ways to write a schedule: `cron("*/5 * * * *")`, `interval(minutes=10)`,
`once("2027-01-01T09:00:00Z")`.

They only build the input form; the scheduler checks it and answers with the field at fault where it does not
hold.
"""

from __future__ import annotations

from datetime import datetime, timedelta

from gnomon_schemas.clock_text import format_instant
from gnomon_schemas.schedules import Cron, Interval, Once

__all__ = ["cron", "interval", "once"]

Instant = datetime | str
"""An aware datetime, or RFC 3339 text."""


def cron(
    expression: str,
    *,
    timezone: str | None = None,
    start_at: Instant | None = None,
    end_at: Instant | None = None,
    jitter_seconds: float = 0,
) -> Cron:
    """By the calendar: five fields (minute, hour, day of month, month, day of week), or six with seconds
    first.

    `timezone` is the IANA name of the zone whose clock the expression reads; None takes the system's default
    zone. Raises ValueError for a datetime without offset.
    """
    return Cron(
        expression=expression,
        timezone=timezone,
        start_at=_text(start_at),
        end_at=_text(end_at),
        jitter_seconds=jitter_seconds,
    )


def interval(
    every: float | timedelta = 0,
    *,
    seconds: float = 0,
    minutes: float = 0,
    hours: float = 0,
    days: float = 0,
    anchor: Instant | None = None,
    start_at: Instant | None = None,
    end_at: Instant | None = None,
    jitter_seconds: float = 0,
) -> Interval:
    """Every so much real time: `every` (seconds or a timedelta) and the named parts are added up.

    Slots lie at `anchor` plus or minus whole intervals; None means the task's creation. Raises ValueError for
    a datetime without offset.
    """
    base = every.total_seconds() if isinstance(every, timedelta) else every
    total = base + seconds + 60 * minutes + 3600 * hours + 86400 * days
    return Interval(
        every_seconds=int(total) if total == int(total) else total,
        anchor=_text(anchor),
        start_at=_text(start_at),
        end_at=_text(end_at),
        jitter_seconds=jitter_seconds,
    )


def once(at: Instant, *, timezone: str | None = None, jitter_seconds: float = 0) -> Once:
    """One fire. Text without an offset is read in `timezone`; a datetime must have an offset, else
    ValueError."""
    return Once(at=_text(at) or "", timezone=timezone, jitter_seconds=jitter_seconds)


def _text(instant: Instant | None) -> str | None:
    if isinstance(instant, datetime):
        return format_instant(instant)
    return instant
