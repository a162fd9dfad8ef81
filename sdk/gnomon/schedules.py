"""Short ways to write a schedule: `cron("*/5 * * * *")`, `interval(minutes=10)`, `weekly("09:00", ["mon"])`,
`once("2027-01-01T09:00:00Z")`, `any_of(daily("09:00"), monthly("18:00", -1))`.

They only build the input form; the scheduler checks it and answers with the field at fault where it does not
hold.
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import date, datetime, timedelta

from gnomon_schemas.clock_text import format_instant
from gnomon_schemas.exclusions import ExcludedDays
from gnomon_schemas.schedules import AnyOf, Cron, Daily, Dst, Interval, Monthly, Once, Schedule, Weekly

__all__ = ["any_of", "cron", "daily", "date_span", "holidays", "interval", "monthly", "once", "weekly"]

Instant = datetime | str
"""An aware datetime, or RFC 3339 text."""
Day = date | str | int | ExcludedDays
"""A date (or its text), a day of the week (`sat`, or 0 = Monday), or what `holidays` and `date_span` give."""
Days = Iterable[Day]


def holidays(*places: str) -> ExcludedDays:
    """Public holidays, to be excluded: `daily("09:00", exclude=[holidays("DE-BY")])`. Places are ISO 3166 codes (`DE`),
    or with a part of the country (`DE-BY`)."""
    return ExcludedDays(holidays=places[0] if len(places) == 1 else places)


def date_span(first: date | str, beyond: date | str) -> ExcludedDays:
    """A span of dates, to be excluded: from `first` up to the day before `beyond`."""
    return ExcludedDays(from_=str(first), to=str(beyond))


def cron(
    expression: str,
    *,
    timezone: str | None = None,
    start_at: Instant | None = None,
    end_at: Instant | None = None,
    jitter_seconds: float = 0,
    dst: Dst | None = None,
    exclude: Days = (),
    max_runs: int | None = None,
) -> Cron:
    """By the calendar: five fields (minute, hour, day of month, month, day of week), or six with seconds
    first.

    `timezone` is the IANA name of the zone whose clock the expression reads; None takes the system's default
    zone. `dst` is what becomes of times that the clock skips or shows twice. `exclude` names days without
    slots: `["sat", "2026-12-24", holidays("DE")]`. After `max_runs` slots the task is completed. Raises
    ValueError for a datetime without offset.
    """
    return Cron(
        expression=expression,
        timezone=timezone,
        start_at=_text(start_at),
        end_at=_text(end_at),
        jitter_seconds=jitter_seconds,
        dst=dst,
        exclude=_days(exclude),
        max_runs=max_runs,
    )


def daily(
    time: str,
    *,
    timezone: str | None = None,
    start_at: Instant | None = None,
    end_at: Instant | None = None,
    jitter_seconds: float = 0,
    dst: Dst | None = None,
    exclude: Days = (),
    max_runs: int | None = None,
) -> Daily:
    """Every day at `HH:MM` or `HH:MM:SS` on the zone's clock. The rest as for `cron`."""
    return Daily(
        time=time,
        timezone=timezone,
        start_at=_text(start_at),
        end_at=_text(end_at),
        jitter_seconds=jitter_seconds,
        dst=dst,
        exclude=_days(exclude),
        max_runs=max_runs,
    )


def weekly(
    time: str,
    days: Iterable[str | int],
    *,
    timezone: str | None = None,
    start_at: Instant | None = None,
    end_at: Instant | None = None,
    jitter_seconds: float = 0,
    dst: Dst | None = None,
    exclude: Days = (),
    max_runs: int | None = None,
) -> Weekly:
    """On these days of the week (`mon` to `sun`, or 0 = Monday) at one time. The rest as for `cron`."""
    return Weekly(
        time=time,
        days=tuple(days),
        timezone=timezone,
        start_at=_text(start_at),
        end_at=_text(end_at),
        jitter_seconds=jitter_seconds,
        dst=dst,
        exclude=_days(exclude),
        max_runs=max_runs,
    )


def monthly(
    time: str,
    day: int | None = None,
    *,
    timezone: str | None = None,
    start_at: Instant | None = None,
    end_at: Instant | None = None,
    jitter_seconds: float = 0,
    dst: Dst | None = None,
    exclude: Days = (),
    max_runs: int | None = None,
) -> Monthly:
    """On one day of each month (-1: the last; None: that of creation) at one time. The rest as for `cron`."""
    return Monthly(
        time=time,
        day=day,
        timezone=timezone,
        start_at=_text(start_at),
        end_at=_text(end_at),
        jitter_seconds=jitter_seconds,
        dst=dst,
        exclude=_days(exclude),
        max_runs=max_runs,
    )


def any_of(
    *schedules: Schedule,
    timezone: str | None = None,
    start_at: Instant | None = None,
    end_at: Instant | None = None,
    jitter_seconds: float = 0,
    exclude: Days = (),
    max_runs: int | None = None,
) -> AnyOf:
    """The union of schedules: one instant fires once. Zone and bounds hold for all of them."""
    return AnyOf(
        schedules=schedules,
        timezone=timezone,
        start_at=_text(start_at),
        end_at=_text(end_at),
        jitter_seconds=jitter_seconds,
        exclude=_days(exclude),
        max_runs=max_runs,
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
    exclude: Days = (),
    max_runs: int | None = None,
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
        exclude=_days(exclude),
        max_runs=max_runs,
    )


def once(at: Instant, *, timezone: str | None = None, jitter_seconds: float = 0) -> Once:
    """One fire. Text without an offset is read in `timezone`; a datetime must have an offset, else
    ValueError."""
    return Once(at=_text(at) or "", timezone=timezone, jitter_seconds=jitter_seconds)


def _days(exclude: Days) -> tuple[str | int | ExcludedDays, ...] | None:
    if isinstance(exclude, str):
        exclude = (exclude,)  # one day instead of its letters
    return tuple(day.isoformat() if isinstance(day, date) else day for day in exclude) or None


def _text(instant: Instant | None) -> str | None:
    if isinstance(instant, datetime):
        return format_instant(instant)
    return instant
